//! The outer side behind packet ports: IKE and ESP that come in with their IP headers, and leave with them.

use std::net::{IpAddr, SocketAddr};

use base::{Buffer, Event, Instant, Segments};
use wire::{ip, ipv4, ipv6, octets, udp};

use super::judge::IKE_PORTS;
use super::{Denial, Hop, Source, Work};
use crate::events::OuterPacketNotSent;
use crate::flows::{Place, Side, Step, Way};
use crate::inspect::{Key, Seen, Transport};
use crate::{CORE, Dataplane, InterfaceId, MAIN, Outer, Output, Reason, TableId, fragments};

/// The port on which ESP may travel and IKE messages carry a marker (RFC 3948 section 2).
const NAT_T_PORT: u16 = 4500;
/// Four zero bytes where an ESP packet would have its SPI (RFC 3948 section 2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// The whole of a NAT keep-alive (RFC 3948 section 2.3).
const KEEP_ALIVE: [u8; 1] = [0xff];
/// Outer packets have this time to live.
const TTL: u8 = 64;

/// ESP, and UDP to a port of IKE.
pub(super) fn is_ipsec(seen: &Seen) -> bool {
    match &seen.transport {
        Transport::Udp(udp) => IKE_PORTS.contains(&udp.destination),
        Transport::Other => seen.ip.protocol == ip::ESP,
        Transport::Tcp(_) | Transport::Icmp(_) => false,
    }
}

/// Of a packet with this key: ESP, and UDP from a port of IKE.
pub(super) fn is_ours(key: &Key) -> bool {
    key.protocol == ip::ESP || key.protocol == ip::UDP && IKE_PORTS.contains(&key.ports.0)
}

impl Dataplane {
    /// True for IKE and ESP that go past the rule set.
    pub(crate) fn is_for_ipsec(&self, seen: &Seen) -> bool {
        is_ipsec(seen) && self.policy.settings.ipsec_before_rules && self.is_own(seen.ip.destination)
    }

    /// IKE and ESP for us go past the rule set where the settings say so, but not past the access check. `None` for
    /// everything else.
    pub(super) fn past_rules(&mut self, interface: InterfaceId, seen: &Seen) -> Option<Result<Hop, Denial>> {
        if !self.policy.settings.ipsec_before_rules || !is_ipsec(seen) {
            return None;
        }
        let (generation, source, destination) = (self.generation, seen.ip.source, seen.ip.destination);
        if !self.peers.has_come(generation, interface, source, destination) {
            if !self.is_own(destination) {
                return None;
            }
            if let Err(denial) = self.enter(Source::Link(interface), seen) {
                return Some(Err(denial));
            }
            // Without routing rules, which may ask for ports, it depends on nothing else.
            if self.policy.routing_rules.is_empty() {
                self.peers.comes(generation, interface, source, destination);
            }
        }
        let core = Side { interface: CORE, hop: 0, place: Place::Core };
        let from = Side { interface, hop: 0, place: Place::Port };
        Some(Ok(Hop::past(from, core)))
    }

    /// May IKE messages come in by the host port? Asked for each before it is looked at. Access rules always decide, and
    /// the rule set where IPsec does not go past it.
    pub fn admit_ike(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        ds: u8,
        out: &mut Vec<Output>,
    ) -> bool {
        self.begin(now, out);
        self.admit_outer(now, &Outer { local, remote, udp: true }, ds, 0, out)
    }

    /// The same for every outer packet of the host port.
    pub(crate) fn admit_outer(
        &mut self,
        now: Instant,
        outer: &Outer,
        ds: u8,
        len: usize,
        out: &mut Vec<Output>,
    ) -> bool {
        let settings = &self.policy.settings;
        if settings.ipsec_before_rules && self.policy.access.is_empty() {
            return true;
        }
        let Some(seen) = as_received(outer, ds, len) else { return false };
        let admitted = if settings.ipsec_before_rules {
            let received = self.behind_host_port(&seen).unwrap_or(CORE);
            self.accepted_by_rule(received, &seen).map(|_| ())
        } else {
            self.ask_rules(now, &seen, out)
        };
        let Err(denial) = admitted else { return true };
        let mut work = Work::new(self.pool.take(), Source::Port);
        work.header = Some(seen.ip);
        self.counters.count(denial.reason);
        self.log_denial(now, &work, &denial, out);
        self.pool.give(work.packet);
        false
    }

    fn ask_rules(&mut self, now: Instant, seen: &Seen, out: &mut Vec<Output>) -> Result<(), Denial> {
        if let Some((slot, Way::Forth)) = self.flows.find(&seen.key())
            && let Some(flow) = self.flows.get(slot)
            && flow.opener.side().place != Place::Tunnel
            && (flow.judged == self.generation || self.judge_again(now, slot, out))
        {
            let step = self.flows.packet(now, slot, Way::Forth, seen, &self.policy.settings);
            return if step == Step::Pass { Ok(()) } else { Err(Reason::NoConnection.into()) };
        }
        let hop = self.open_flow(now, Source::Port, seen, out)?;
        // A rule may send it on to somewhere else; the kernel has given it to us.
        if hop.to.place == Place::Core { Ok(()) } else { Err(Reason::DefaultRule.into()) }
    }

    /// IKE and ESP that came by a packet port.
    pub(super) fn receive_ipsec(&mut self, now: Instant, mut work: Work, seen: &Seen, out: &mut Vec<Output>) {
        if let Some(segments) = work.offload.segments {
            return self.receive_train(now, work, (seen, segments), out);
        }
        work.complete();
        let Transport::Udp(udp) = seen.transport else {
            work.packet.strip(seen.ip.payload);
            let (local, remote) = (SocketAddr::new(seen.ip.destination, 0), SocketAddr::new(seen.ip.source, 0));
            return self.unseal(now, Outer { local, remote, udp: false }, seen.ip.ds, work.packet, out);
        };
        let (source, destination) = (seen.ip.source, seen.ip.destination);
        let (local, remote) = (SocketAddr::new(destination, udp.destination), SocketAddr::new(source, udp.source));
        let datagram = seen.ip.payload_of(work.packet.bytes());
        let len = octets::u16(datagram, 4).map_or(0, usize::from);
        let payload = datagram.get(udp::HEADER..len).unwrap_or_default();
        let natt = udp.destination == NAT_T_PORT;
        if natt && payload == KEEP_ALIVE {
            return self.pool.give(work.packet);
        }
        let ike = !natt || payload.starts_with(&NON_ESP_MARKER);
        // RFC 3948 section 2.1: the checksum of ESP in UDP is not looked at; it has its own.
        if ike && udp::checked_payload(datagram, source, destination).is_none() {
            return self.deny(now, work, Denial::of(Reason::MalformedTransport), out);
        }
        work.packet.truncate(seen.ip.payload + len);
        work.packet.strip(seen.ip.payload + udp::HEADER);
        if ike {
            out.push(Output::Ike { local, remote, ds: seen.ip.ds, payload: work.packet });
        } else {
            self.unseal(now, Outer { local, remote, udp: true }, seen.ip.ds, work.packet, out);
        }
    }

    /// Datagrams of one peer that a card has put together.
    fn receive_train(
        &mut self,
        now: Instant,
        mut work: Work,
        (seen, segments): (&Seen, Segments),
        out: &mut Vec<Output>,
    ) {
        let natt = matches!(&seen.transport, Transport::Udp(udp) if udp.destination == NAT_T_PORT);
        let payload = seen.ip.payload + udp::HEADER;
        let first = work.packet.bytes().get(payload..).unwrap_or_default();
        // Messages of IKE are rare enough to take apart again, and so is what has another length than it says.
        if !natt || segments.size < 8 || first.starts_with(&NON_ESP_MARKER) {
            return self.each_segment(now, work, (seen, segments), out, |dataplane, work, seen, out| {
                dataplane.receive_ipsec(now, work, seen, out);
            });
        }
        let (Transport::Udp(ports), (source, destination)) = (seen.transport, (seen.ip.source, seen.ip.destination))
        else {
            return self.pool.give(work.packet);
        };
        let (local, remote) = (SocketAddr::new(destination, ports.destination), SocketAddr::new(source, ports.source));
        work.packet.strip(payload);
        let outer = Outer { local, remote, udp: true };
        self.unseal_train(now, outer, seen.ip.ds, work.packet, usize::from(segments.size), out);
    }

    /// An ESP packet that leaves through the outside.
    pub(crate) fn emit_outer(
        &mut self,
        now: Instant,
        tunnel: InterfaceId,
        (outer, ds, df): (Outer, u8, bool),
        packet: Buffer,
        out: &mut Vec<Output>,
    ) {
        if !self.has_ports {
            out.push(Output::Outer { outer, ds, df, packet, segment: None });
            return;
        }
        let table = self.tunnel(tunnel).map_or(MAIN, |path| path.outer_table);
        self.send_by_route(now, table, (outer, ds, df), packet, out);
    }

    /// A datagram of the control side's own: an IKE message, with its marker if it needs one, or a NAT keep-alive. Behind a
    /// packet port it leaves as [`Output::Link`], and otherwise as [`Output::Outer`].
    pub fn send_outer(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        ds: u8,
        payload: Buffer,
        out: &mut Vec<Output>,
    ) {
        self.begin(now, out);
        let here = self.policy.interfaces.iter().find(|interface| interface.addresses.contains(&local.ip()));
        let table = here.and_then(|interface| interface.table).unwrap_or(MAIN);
        self.send_by_route(now, table, (Outer { local, remote, udp: true }, ds, false), payload, out);
    }

    fn send_by_route(
        &mut self,
        now: Instant,
        table: TableId,
        (outer, ds, df): (Outer, u8, bool),
        mut packet: Buffer,
        out: &mut Vec<Output>,
    ) {
        let side = self.way_to_peer(table, outer.remote.ip());
        let side = match side {
            Some(side) if side.place == Place::Port => side,
            // Never into a tunnel from here: two of them would carry each other without end.
            _ if self.has_host => {
                out.push(Output::Outer { outer, ds, df, packet, segment: None });
                return;
            }
            Some(_) | None => return self.no_way_out(now, &outer, packet, out),
        };
        let id = self.next_id();
        let Some(header) = dress(&outer, ds, (id, if df { ipv4::DF } else { 0 }), &mut packet) else {
            return self.no_way_out(now, &outer, packet, out);
        };
        let (interface, next_hop) = (side.interface, self.hops.next(side, outer.remote.ip()));
        let mtu = self.mtu(interface);
        if packet.len() <= mtu {
            out.push(Output::Link { interface, next_hop, packet });
            return;
        }
        // The next ones are made to fit.
        self.path_takes(now, outer.remote.ip(), mtu);
        let pieces = if header.is_v4() {
            fragments::cut(packet.bytes(), &header, None, mtu, &mut self.pool)
        } else {
            let id = self.random.u32();
            fragments::cut_own(packet.bytes(), id, mtu, &mut self.pool)
        };
        let Some(pieces) = pieces else { return self.no_way_out(now, &outer, packet, out) };
        self.pool.give(packet);
        out.extend(pieces.into_iter().map(|packet| Output::Link { interface, next_hop, packet }));
    }

    fn way_to_peer(&mut self, table: TableId, remote: IpAddr) -> Option<Side> {
        let known = self.peers.way(self.generation, table, remote);
        if known.is_some() {
            return known;
        }
        let side = self.side_of(self.tables.lookup(table, remote)?);
        self.peers.leaves(self.generation, table, remote, side);
        Some(side)
    }

    fn no_way_out(&mut self, now: Instant, outer: &Outer, packet: Buffer, out: &mut Vec<Output>) {
        self.counters.count(Reason::OuterRoute);
        let (local, remote) = (outer.local.ip().to_string(), outer.remote.ip().to_string());
        let event = OuterPacketNotSent { local, remote, reason: Reason::OuterRoute.sentence().to_owned() };
        self.log(now, Reason::OuterRoute, event.record(), out);
        self.pool.give(packet);
    }
}

/// What an outer packet of the host port looks like to rules.
fn as_received(outer: &Outer, ds: u8, len: usize) -> Option<Seen> {
    let (source, destination) = (outer.remote.ip(), outer.local.ip());
    if source.is_ipv4() != destination.is_ipv4() {
        return None;
    }
    let header = if source.is_ipv4() { ipv4::HEADER } else { ipv6::HEADER };
    let (protocol, transport, before) = if outer.udp {
        let ports = udp::Header { source: outer.remote.port(), destination: outer.local.port() };
        (ip::UDP, Transport::Udp(ports), udp::HEADER)
    } else {
        (ip::ESP, Transport::Other, 0)
    };
    let ip = ip::Header {
        source,
        destination,
        ds,
        ttl: TTL,
        protocol,
        payload: header,
        total: header + before + len,
        whole: false,
        fragment: None,
    };
    Some(Seen { ip, transport })
}

/// Puts the outer headers on. `None` when the packet would be too long.
fn dress(outer: &Outer, ds: u8, (id, flags): (u16, u16), packet: &mut Buffer) -> Option<ip::Header> {
    let (local, remote) = (outer.local, outer.remote);
    let protocol = if outer.udp { ip::UDP } else { ip::ESP };
    if outer.udp {
        let len = u16::try_from(packet.len() + udp::HEADER).ok()?;
        let header = packet.prepend(udp::HEADER);
        octets::put_u16(header, 0, local.port());
        octets::put_u16(header, 2, remote.port());
        octets::put_u16(header, 4, len);
        octets::put_u16(header, 6, 0);
        // RFC 3948 section 2.1: none over IPv4; over IPv6 there must be one (RFC 8200 section 8.1).
        if local.is_ipv6() {
            let sum = wire::checksum::Sum::new().with_pseudo_header(local.ip(), remote.ip(), protocol, u32::from(len));
            let sum = sum.with(packet.bytes()).checksum();
            octets::put_u16(packet.bytes_mut(), 6, if sum == 0 { 0xffff } else { sum });
        }
    }
    let len = packet.len();
    match (local.ip(), remote.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) if len <= ipv4::TOTAL_MAX - ipv4::HEADER => {
            let repr = ipv4::Repr { source, destination, protocol, ds, ttl: TTL, id, flags };
            repr.write(packet.prepend(ipv4::HEADER).first_chunk_mut()?, len);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) if len <= usize::from(u16::MAX) => {
            let repr = ipv6::Repr { source, destination, protocol, ds, ttl: TTL };
            repr.write(packet.prepend(ipv6::HEADER).first_chunk_mut()?, len);
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => return None,
    }
    ip::Header::parse(packet.bytes()).ok()
}
