//! The client of DHCP (RFC 2131): how an interface gets, keeps and gives back its IPv4 address.
//!
//! Messages are made at layer 2, also those to the server alone: the hardware address from which the server's answer
//! came leads to it.

use std::net::Ipv4Addr;

use base::{Duration, Instant, Random};
use wire::arp::{Arp, Operation};
use wire::dhcp::{CLIENT_PORT, Kind, Message, SERVER_PORT};
use wire::ethernet::{self, Mac};
use wire::{ip, ipv4, udp};

use crate::interface::Interface;
use crate::link::Task;
use crate::{InterfaceId, Lease, Link, Output, Reason, events};

/// The first wait for an answer, and the longest; each is twice the one before, give or take a second (section 4.1).
const WAIT_FIRST: u64 = 4;
const WAIT_MAX: u64 = 64;
/// Tries to get what was offered before another offer is looked for.
const REQUESTS_MAX: u32 = 4;
/// Tries without answer until it is logged, and between two such lines.
const LOG_EVERY: u32 = 5;
/// The wait after a refusal, so that a server which always refuses is not asked without end.
const AFTER_REFUSAL: Duration = Duration::from_secs(2);
/// The wait after an address was declined (section 3.1 step 5).
const AFTER_DECLINE: Duration = Duration::from_secs(10);
/// Between two questions while a lease is renewed, when there is time (section 4.4.5).
const RENEW_AGAIN: Duration = Duration::from_secs(60);
/// Questions whether somebody uses the address, the least time between two, and the time after the last (RFC 5227
/// section 1.1).
const PROBES: u8 = 3;
const PROBE_MIN: Duration = Duration::from_secs(1);
const ANNOUNCE_WAIT: Duration = Duration::from_secs(2);
/// What a server is asked for: mask, router, name servers, lease, server, renewal, rebinding.
const WANTED: [u8; 7] = [1, 3, 6, 51, 54, 58, 59];

/// What a server gives.
#[derive(Clone, Debug)]
struct Grant {
    address: Ipv4Addr,
    prefix: u8,
    router: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    server: Ipv4Addr,
    /// Where the server's messages come from.
    server_mac: Mac,
    /// From when it counts: when it was asked for (section 4.4.1).
    since: Instant,
    renewal: Duration,
    rebinding: Duration,
    /// None for ever.
    duration: Option<Duration>,
}

impl Grant {
    fn new(message: &Message, server_mac: Mac, since: Instant) -> Option<Self> {
        let address = message.yiaddr;
        let impossible = address.is_unspecified() || address.is_multicast() || address.is_broadcast();
        if impossible || address.is_loopback() {
            return None;
        }
        let seconds = message.lease.filter(|seconds| *seconds > 0)?;
        let [class, ..] = address.octets();
        let mask = message.mask.unwrap_or(match class {
            // A server that names no mask means the network's own (RFC 2132 section 3.3).
            0..128 => Ipv4Addr::new(255, 0, 0, 0),
            128..192 => Ipv4Addr::new(255, 255, 0, 0),
            _ => Ipv4Addr::new(255, 255, 255, 0),
        });
        let prefix = u8::try_from(mask.to_bits().leading_ones()).ok()?;
        if prefix == 0 || u32::from(prefix) != mask.to_bits().count_ones() {
            return None;
        }
        let default = |part: u32| u32::try_from(u64::from(seconds) * u64::from(part) / 8).unwrap_or(seconds);
        let (t1, t2) = (message.renewal.unwrap_or(default(4)), message.rebinding.unwrap_or(default(7)));
        let (t1, t2) = if 0 < t1 && t1 < t2 && t2 < seconds { (t1, t2) } else { (default(4), default(7)) };
        let secs = |seconds: u32| Duration::from_secs(seconds.into());
        Some(Self {
            address,
            prefix,
            router: message.router.filter(|router| !router.is_unspecified()),
            dns: message.dns.clone(),
            server: message.server?,
            server_mac,
            since,
            renewal: secs(t1),
            rebinding: secs(t2),
            duration: (seconds != u32::MAX).then(|| secs(seconds)),
        })
    }

    fn end(&self) -> Option<Instant> {
        self.duration.map(|duration| self.since + duration)
    }
}

/// Where the client stands (RFC 2131 section 4.4).
#[derive(Clone, Debug)]
enum Stand {
    /// Not begun.
    Off,
    /// Begins when the time has come.
    Pausing,
    /// Looks for an offer.
    Selecting,
    /// Has chosen an offer.
    Requesting(Grant),
    /// Has the address and asks whether somebody uses it.
    Probing(Grant, u8),
    Bound(Grant),
    /// Asks its server to prolong.
    Renewing(Grant),
    /// Asks any server to prolong.
    Rebinding(Grant),
}

/// What the client wants.
#[derive(Debug)]
pub(crate) enum Act {
    Send {
        to_mac: Mac,
        to: Ipv4Addr,
        from: Ipv4Addr,
        message: Message,
    },
    /// Ask whether somebody uses an address.
    Probe(Ipv4Addr),
    Lease {
        lease: Lease,
        log: events::DhcpLease,
    },
    Lost(events::DhcpLeaseLost),
    NoServer(events::DhcpNoServer),
    Declined(events::DhcpDeclined),
    Refused(events::DhcpRefused),
}

/// The client of an interface.
#[derive(Debug)]
pub(crate) struct Client {
    mac: Mac,
    iface: String,
    hostname: String,
    stand: Stand,
    xid: u32,
    /// When the exchange began.
    began: Instant,
    /// When the last request was sent.
    requested: Instant,
    tries: u32,
    /// The address it had last.
    last: Option<Ipv4Addr>,
    deadline: Option<Instant>,
}

impl Client {
    pub(crate) fn new(mac: Mac, iface: &str, hostname: &str) -> Self {
        Self {
            mac,
            iface: iface.to_owned(),
            hostname: hostname.to_owned(),
            stand: Stand::Off,
            xid: 0,
            began: Instant::ZERO,
            requested: Instant::ZERO,
            tries: 0,
            last: None,
            deadline: None,
        }
    }

    /// Takes the names of a client that would begin now.
    pub(crate) fn rename(&mut self, fresh: Self) {
        (self.iface, self.hostname) = (fresh.iface, fresh.hostname);
    }

    /// The interface has a link. Who has a lease asks whether it is still good here, as in rebinding.
    pub(crate) fn link_up(&mut self, now: Instant, random: &mut Random, acts: &mut Vec<Act>) {
        match std::mem::replace(&mut self.stand, Stand::Off) {
            Stand::Bound(grant) | Stand::Renewing(grant) | Stand::Rebinding(grant) => {
                self.begin(now, random);
                self.rebind(now, grant, acts);
            }
            Stand::Off | Stand::Pausing | Stand::Selecting | Stand::Requesting(_) | Stand::Probing(..) => {
                self.discover(now, random, acts);
            }
        }
    }

    /// True until the client has begun.
    pub(crate) const fn is_off(&self) -> bool {
        matches!(self.stand, Stand::Off)
    }

    /// The time has come.
    fn expire(&mut self, now: Instant, random: &mut Random, acts: &mut Vec<Act>) {
        if self.deadline.is_none_or(|at| at > now) {
            return;
        }
        self.deadline = None;
        match std::mem::replace(&mut self.stand, Stand::Off) {
            Stand::Off => {}
            Stand::Pausing => self.discover(now, random, acts),
            Stand::Selecting => {
                if self.tries.is_multiple_of(LOG_EVERY) {
                    acts.push(Act::NoServer(events::DhcpNoServer { iface: self.iface.clone(), tries: self.tries }));
                }
                self.stand = Stand::Selecting;
                self.send_discover(now, random, acts);
            }
            Stand::Requesting(_) if self.tries >= REQUESTS_MAX => self.discover(now, random, acts),
            Stand::Requesting(grant) => self.send_request(now, grant, random, acts),
            Stand::Probing(grant, sent) if sent < PROBES => self.probe(now, grant, sent, random, acts),
            Stand::Probing(grant, _) => self.bind(now, grant, acts),
            Stand::Bound(grant) => {
                self.begin(now, random);
                self.renew(now, grant, acts);
            }
            Stand::Renewing(grant) if now >= grant.since + grant.rebinding => self.rebind(now, grant, acts),
            Stand::Renewing(grant) => self.renew(now, grant, acts),
            Stand::Rebinding(grant) if grant.end().is_some_and(|end| now >= end) => {
                self.lost(&grant, "the lease has ended and no server has prolonged it", acts);
                self.discover(now, random, acts);
            }
            Stand::Rebinding(grant) => self.rebind(now, grant, acts),
        }
    }

    /// A server has answered.
    fn receive(
        &mut self,
        now: Instant,
        message: &Message,
        from: Mac,
        random: &mut Random,
        acts: &mut Vec<Act>,
    ) -> Result<(), Reason> {
        if message.xid != self.xid || message.chaddr != self.mac || !message.is_reply() {
            return Err(Reason::DhcpUnexpected);
        }
        let stand = std::mem::replace(&mut self.stand, Stand::Off);
        match (stand, message.kind) {
            (Stand::Selecting, Kind::Offer) => {
                let Some(grant) = Grant::new(message, from, now) else {
                    self.stand = Stand::Selecting;
                    return Err(Reason::DhcpUnexpected);
                };
                self.tries = 0;
                self.send_request(now, grant, random, acts);
            }
            (Stand::Requesting(offer), Kind::Ack) => {
                match Grant::new(message, from, self.requested).filter(|grant| grant.server == offer.server) {
                    Some(grant) => self.probe(now, grant, 0, random, acts),
                    None => {
                        self.stand = Stand::Requesting(offer);
                        return Err(Reason::DhcpUnexpected);
                    }
                }
            }
            (Stand::Requesting(offer), Kind::Nak) if message.server.is_none_or(|server| server == offer.server) => {
                self.refused(now, &offer, message, acts);
            }
            (stand @ (Stand::Renewing(_) | Stand::Rebinding(_)), Kind::Ack) => {
                let grant = Grant::new(message, from, self.requested);
                match grant.filter(|grant| Some(grant.address) == self.last) {
                    Some(grant) => self.bind(now, grant, acts),
                    None => {
                        self.stand = stand;
                        return Err(Reason::DhcpUnexpected);
                    }
                }
            }
            (Stand::Renewing(old) | Stand::Rebinding(old), Kind::Nak) => {
                self.lost(&old, "the server refused to prolong it", acts);
                self.refused(now, &old, message, acts);
            }
            (stand, _) => {
                self.stand = stand;
                return Err(Reason::DhcpUnexpected);
            }
        }
        Ok(())
    }

    /// Somebody has sent ARP: is it the one who uses the address that we are about to take (RFC 5227 section 2.1.1)?
    fn overhears(&mut self, now: Instant, arp: &Arp, acts: &mut Vec<Act>) {
        let Stand::Probing(grant, _) = &self.stand else { return };
        let uses = arp.sender == grant.address;
        let wants = arp.sender.is_unspecified() && arp.target == grant.address;
        if arp.sender_mac == self.mac || !(uses || wants && arp.operation == Operation::Request) {
            return;
        }
        let (address, server) = (grant.address, grant.server);
        let mut message = self.message(Kind::Decline, now);
        (message.requested, message.server) = (Some(address), Some(server));
        message.wanted.clear();
        message.hostname.clear();
        acts.push(broadcast(message));
        acts.push(Act::Declined(events::DhcpDeclined {
            iface: self.iface.clone(),
            ip: address,
            hwsender: arp.sender_mac.to_string(),
            dhcp_server: server,
        }));
        self.last = None;
        self.pause(now, AFTER_DECLINE);
    }

    /// Gives the address back.
    fn release(&mut self, now: Instant, random: &mut Random, acts: &mut Vec<Act>) {
        let stand = std::mem::replace(&mut self.stand, Stand::Off);
        self.deadline = None;
        if let Stand::Bound(grant) | Stand::Renewing(grant) | Stand::Rebinding(grant) = stand {
            self.begin(now, random);
            let mut message = self.message(Kind::Release, now);
            message.wanted.clear();
            message.hostname.clear();
            (message.ciaddr, message.server, message.secs) = (grant.address, Some(grant.server), 0);
            let (to_mac, to, from) = (grant.server_mac, grant.server, grant.address);
            acts.push(Act::Send { to_mac, to, from, message });
        }
    }

    fn begin(&mut self, now: Instant, random: &mut Random) {
        (self.xid, self.began, self.tries) = (random.u32(), now, 0);
    }

    fn discover(&mut self, now: Instant, random: &mut Random, acts: &mut Vec<Act>) {
        self.begin(now, random);
        self.stand = Stand::Selecting;
        self.send_discover(now, random, acts);
    }

    fn send_discover(&mut self, now: Instant, random: &mut Random, acts: &mut Vec<Act>) {
        let mut message = self.message(Kind::Discover, now);
        message.requested = self.last;
        acts.push(broadcast(message));
        self.back_off(now, random);
    }

    fn send_request(&mut self, now: Instant, grant: Grant, random: &mut Random, acts: &mut Vec<Act>) {
        let mut message = self.message(Kind::Request, now);
        (message.requested, message.server) = (Some(grant.address), Some(grant.server));
        acts.push(broadcast(message));
        self.requested = now;
        self.stand = Stand::Requesting(grant);
        self.back_off(now, random);
    }

    fn probe(&mut self, now: Instant, grant: Grant, sent: u8, random: &mut Random, acts: &mut Vec<Act>) {
        acts.push(Act::Probe(grant.address));
        // Between one and two seconds apart.
        let apart = PROBE_MIN + Duration::from_micros(random.below(1_000_000));
        self.deadline = Some(now + if sent + 1 < PROBES { apart } else { ANNOUNCE_WAIT });
        self.stand = Stand::Probing(grant, sent + 1);
    }

    fn bind(&mut self, now: Instant, grant: Grant, acts: &mut Vec<Act>) {
        let left = grant.end().map(|end| end.since(now));
        let lease = Lease {
            interface: InterfaceId::default(),
            address: grant.address,
            prefix: grant.prefix,
            router: grant.router,
            dns: grant.dns.clone(),
            server: grant.server,
            duration: left,
        };
        let log = events::DhcpLease {
            iface: self.iface.clone(),
            ip: grant.address,
            prefix: grant.prefix,
            gateway: grant.router.map(|router| router.to_string()).unwrap_or_default(),
            dhcp_server: grant.server,
            lease_time: grant.duration.map_or("infinite".to_owned(), |duration| duration.as_secs().to_string()),
        };
        acts.push(Act::Lease { lease, log });
        self.last = Some(grant.address);
        self.deadline = grant.duration.map(|_| grant.since + grant.renewal);
        self.stand = Stand::Bound(grant);
    }

    /// Asks the server that gave the lease; the next time after half of what is left until another is asked.
    fn renew(&mut self, now: Instant, grant: Grant, acts: &mut Vec<Act>) {
        let mut message = self.message(Kind::Request, now);
        message.ciaddr = grant.address;
        let (to_mac, to, from) = (grant.server_mac, grant.server, grant.address);
        acts.push(Act::Send { to_mac, to, from, message });
        self.requested = now;
        self.deadline = Some(half_way(now, grant.since + grant.rebinding));
        self.stand = Stand::Renewing(grant);
    }

    /// Asks every server.
    fn rebind(&mut self, now: Instant, grant: Grant, acts: &mut Vec<Act>) {
        let mut message = self.message(Kind::Request, now);
        message.ciaddr = grant.address;
        acts.push(Act::Send { to_mac: Mac::BROADCAST, to: Ipv4Addr::BROADCAST, from: grant.address, message });
        self.requested = now;
        self.deadline = Some(grant.end().map_or(now + RENEW_AGAIN, |end| half_way(now, end)));
        self.stand = Stand::Rebinding(grant);
    }

    fn lost(&mut self, grant: &Grant, reason: &str, acts: &mut Vec<Act>) {
        let (iface, ip, reason) = (self.iface.clone(), grant.address, reason.to_owned());
        acts.push(Act::Lost(events::DhcpLeaseLost { iface, ip, reason }));
    }

    fn refused(&mut self, now: Instant, grant: &Grant, message: &Message, acts: &mut Vec<Act>) {
        acts.push(Act::Refused(events::DhcpRefused {
            iface: self.iface.clone(),
            ip: grant.address,
            dhcp_server: message.server.map(|server| server.to_string()).unwrap_or_default(),
        }));
        self.last = None;
        self.pause(now, AFTER_REFUSAL);
    }

    fn pause(&mut self, now: Instant, wait: Duration) {
        self.stand = Stand::Pausing;
        self.deadline = Some(now + wait);
    }

    /// Waits for an answer, each time twice as long.
    fn back_off(&mut self, now: Instant, random: &mut Random) {
        let seconds = WAIT_FIRST.checked_shl(self.tries).unwrap_or(WAIT_MAX).clamp(WAIT_FIRST, WAIT_MAX);
        let micros = (seconds - 1) * 1_000_000 + random.below(2_000_000);
        self.tries = self.tries.saturating_add(1);
        self.deadline = Some(now + Duration::from_micros(micros));
    }

    fn message(&self, kind: Kind, now: Instant) -> Message {
        let Mac([a, b, c, d, e, f]) = self.mac;
        Message {
            secs: u16::try_from(now.since(self.began).as_secs()).unwrap_or(u16::MAX),
            hostname: self.hostname.clone(),
            wanted: WANTED.to_vec(),
            client_id: vec![1, a, b, c, d, e, f],
            ..Message::new(kind, self.xid, self.mac)
        }
    }
}

const fn broadcast(message: Message) -> Act {
    Act::Send { to_mac: Mac::BROADCAST, to: Ipv4Addr::BROADCAST, from: Ipv4Addr::UNSPECIFIED, message }
}

/// Half of the way to `end`, a minute at least, but not behind it.
fn half_way(now: Instant, end: Instant) -> Instant {
    (now + (end.since(now) / 2).max(RENEW_AGAIN)).min(end.max(now))
}

impl Link {
    /// Lets the client of an interface begin, when its port has a link, or look whether its lease is still good.
    pub(crate) fn start_dhcp(&mut self, now: Instant, index: usize, up_again: bool, out: &mut Vec<Output>) {
        let leader = self.is_leader();
        let Some(up) = self.interfaces.get(index).map(|interface| self.is_up(interface.port)) else { return };
        self.with_client(index, out, now, |client, random, acts| {
            if leader && up && (up_again || client.is_off()) {
                client.link_up(now, random, acts);
            }
        });
    }

    pub(crate) fn dhcp_expire(&mut self, now: Instant, interface: InterfaceId, out: &mut Vec<Output>) {
        if let Some(index) = self.by_id.get(&interface).copied() {
            self.with_client(index, out, now, |client, random, acts| client.expire(now, random, acts));
        }
    }

    /// A packet for the port of clients has come in.
    pub(crate) fn dhcp(
        &mut self,
        now: Instant,
        index: usize,
        source: Mac,
        packet: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), Reason> {
        let header = ip::Header::parse(packet).map_err(|_| Reason::DhcpUnexpected)?;
        let payload = udp::checked_payload(header.payload_of(packet), header.source, header.destination);
        let message = payload.and_then(Message::parse).ok_or(Reason::DhcpUnexpected)?;
        let mut outcome = Err(Reason::DhcpUnexpected);
        self.with_client(index, out, now, |client, random, acts| {
            outcome = client.receive(now, &message, source, random, acts);
        });
        outcome
    }

    pub(crate) fn dhcp_overhears(&mut self, now: Instant, index: usize, arp: &Arp, out: &mut Vec<Output>) {
        self.with_client(index, out, now, |client, _, acts| client.overhears(now, arp, acts));
    }

    /// Gives back the lease of an interface that is about to go.
    pub(crate) fn release(&mut self, now: Instant, interface: &mut Interface, out: &mut Vec<Output>) {
        let Some(client) = &mut interface.dhcp else { return };
        let mut acts = Vec::new();
        client.release(now, &mut self.random, &mut acts);
        for act in acts {
            if let Act::Send { to_mac, to, from, message } = act
                && let Some(packet) = packet(to, from, &message)
            {
                let prefix = interface.prefix(to_mac, interface.mac, ethernet::IPV4);
                let mut frame = base::Buffer::copy(&packet);
                frame.prepend(prefix.bytes().len()).copy_from_slice(prefix.bytes());
                out.push(Output::Frame { port: interface.port_id, frame });
            }
        }
    }

    /// Does something with the client of an interface, then what it wants.
    fn with_client(
        &mut self,
        index: usize,
        out: &mut Vec<Output>,
        now: Instant,
        action: impl FnOnce(&mut Client, &mut Random, &mut Vec<Act>),
    ) {
        let Some(interface) = self.interfaces.get_mut(index) else { return };
        let id = interface.id;
        let Some(client) = &mut interface.dhcp else { return };
        let mut acts = Vec::new();
        action(client, &mut self.random, &mut acts);
        match client.deadline {
            Some(at) => self.timers.set(Task::Dhcp(id), at),
            None => self.timers.cancel(&Task::Dhcp(id)),
        }
        for act in acts {
            self.act(now, index, act, out);
        }
    }

    fn act(&mut self, now: Instant, index: usize, act: Act, out: &mut Vec<Output>) {
        let Some((id, mac)) = self.interfaces.get(index).map(|interface| (interface.id, interface.mac)) else {
            return;
        };
        match act {
            Act::Send { to_mac, to, from, message } => {
                if let Some(packet) = packet(to, from, &message) {
                    self.transmit(index, (to_mac, mac), ethernet::IPV4, &packet, out);
                }
            }
            Act::Probe(address) => self.arp_question(index, Ipv4Addr::UNSPECIFIED, address, None, out),
            Act::Lease { lease, log } => {
                out.push(Output::Lease(Lease { interface: id, ..lease }));
                self.log(now, &log, out);
            }
            Act::Lost(log) => {
                out.push(Output::LeaseLost { interface: id, address: log.ip });
                self.log(now, &log, out);
            }
            Act::NoServer(log) => self.log(now, &log, out),
            Act::Declined(log) => self.log(now, &log, out),
            Act::Refused(log) => self.log(now, &log, out),
        }
    }
}

/// The IPv4 packet of a message.
fn packet(to: Ipv4Addr, from: Ipv4Addr, message: &Message) -> Option<Vec<u8>> {
    let ports = udp::Header { source: CLIENT_PORT, destination: SERVER_PORT };
    let datagram = ports.datagram(from.into(), to.into(), &message.write())?;
    let mut header = [0; ipv4::HEADER];
    let repr = ipv4::Repr { source: from, destination: to, protocol: ip::UDP, ds: 0, ttl: 64, id: 0, flags: ipv4::DF };
    repr.write(&mut header, datagram.len());
    Some([&header[..], &datagram].concat())
}
