//! On to where a packet goes: translated, one hop older, cut if it must be.

use base::{Buffer, Instant, Offload};
use wire::icmp::{self, Class, Problem};
use wire::{ip, ipv4};

use super::decide::quotes_outer;
use super::{Denial, Hop, Source, Work};
use crate::flows::{Place, Side};
use crate::inspect::{Seen, Transport};
use crate::nat::icmp::translate_error;
use crate::nat::rewrite::{self, Checksums};
use crate::{Dataplane, InterfaceId, Output, Reason, fragments, mss};

impl Dataplane {
    pub(super) fn forward(&mut self, now: Instant, mut work: Work, mut seen: Seen, hop: Hop, out: &mut Vec<Output>) {
        if let Err(denial) = self.translate(&mut work, &mut seen, hop) {
            return self.deny(now, work, denial, out);
        }
        if hop.to.place == Place::Core {
            return self.deliver(now, work, &seen, hop, out);
        }
        if hop.from.place != Place::Core {
            ip::decrement_ttl(work.packet.bytes_mut());
            self.let_cut(&mut work, &mut seen);
        }
        self.clamp_mss(&mut work, &seen, hop);
        match hop.to.place {
            Place::Tunnel => self.send(now, work, &seen, hop.to.interface, hop.flow, out),
            Place::Port => self.emit_link(now, work, &seen, hop.to, out),
            Place::Host | Place::Core => self.emit(now, work, &seen, hop.to.interface, out),
        }
    }

    /// Gives a packet the addresses and ports that it has on the other side of the gateway.
    pub(super) fn translate(&self, work: &mut Work, seen: &mut Seen, hop: Hop) -> Result<(), Denial> {
        if !hop.translated {
            return Ok(());
        }
        let Some((slot, way)) = hop.flow else { return Ok(()) };
        let Some(flow) = self.flows.get(slot) else { return Ok(()) };
        let (arrives, leaves) = flow.keys(way);
        let checksums = Checksums::of(&work.offload, seen);
        let packet = work.packet.bytes_mut();
        if seen.is_icmp_error() {
            if !translate_error(packet, seen, &arrives, &leaves, checksums) {
                return Err(Reason::UnrelatedIcmpError.into());
            }
        } else {
            rewrite::apply(packet, seen, &leaves, checksums);
            work.original = Some(arrives);
        }
        work.header = Some(seen.ip);
        Ok(())
    }

    /// Lets us and routers behind us cut the packet.
    fn let_cut(&mut self, work: &mut Work, seen: &mut Seen) {
        let longest = usize::from(self.policy.settings.strip_df_max);
        if !seen.ip.whole || !seen.ip.is_v4() || seen.ip.total > longest {
            return;
        }
        self.strip_df(&mut work.packet);
        seen.ip.whole = false;
        work.header = Some(seen.ip);
    }

    /// For the gateway itself: IKE and ESP go to their places, an echo request is answered, everything else is for the
    /// control side.
    fn deliver(&mut self, now: Instant, mut work: Work, seen: &Seen, hop: Hop, out: &mut Vec<Output>) {
        if matches!(work.source, Source::Link(_)) && hop.flow.is_none() && quotes_outer(&work, seen) {
            return self.outer_error(now, work.packet, out);
        }
        if matches!(work.source, Source::Link(_)) && super::outer::is_ipsec(seen) {
            return self.receive_ipsec(now, work, seen, out);
        }
        if !matches!(seen.class(), Some(Class::Request(_))) {
            out.push(Output::Local { from: hop.from.interface, packet: work.packet, offload: work.offload });
            return;
        }
        let bytes = work.packet.bytes_mut();
        ip::swap_addresses(bytes);
        ip::set_ttl(bytes, 64);
        if let Some(message) = bytes.get_mut(seen.ip.payload..) {
            icmp::turn_into_reply(message, !seen.ip.is_v4());
        }
        // What came by a stateless rule has no connection to be answered by.
        let source = if hop.flow.is_some() { Source::Core } else { Source::Error(Some(hop.from.interface)) };
        self.queue.push_back(Work { cut: work.cut, ..Work::new(work.packet, source) });
    }

    /// Out of the host port; what came in pieces leaves in pieces.
    fn emit(&mut self, now: Instant, work: Work, seen: &Seen, interface: InterfaceId, out: &mut Vec<Output>) {
        let Some(cut) = work.cut.filter(|cut| work.packet.len() > cut.longest()) else {
            out.push(Output::Plain { interface, packet: work.packet, offload: work.offload });
            return;
        };
        match fragments::cut(work.packet.bytes(), &seen.ip, Some(cut), cut.longest(), &mut self.pool) {
            Some(pieces) => {
                self.pool.give(work.packet);
                let plain = |packet| Output::Plain { interface, packet, offload: Offload::NONE };
                out.extend(pieces.into_iter().map(plain));
            }
            None => self.deny(now, work, Denial::of(Reason::TooBig), out),
        }
    }

    /// Out of a packet port, in pieces if the link takes no more or it came in pieces.
    fn emit_link(&mut self, now: Instant, mut work: Work, seen: &Seen, to: Side, out: &mut Vec<Output>) {
        let (interface, next_hop) = (to.interface, self.hops.next(to, seen.ip.destination));
        let mtu = self.mtu(interface);
        if let Some(segments) = work.offload.segments {
            if seen.ip.whole && work.longest_segment() > mtu {
                let problem = Problem::TooBig(u16::try_from(mtu).unwrap_or(u16::MAX));
                return self.deny(now, work, Denial::telling(Reason::TooBig, problem), out);
            }
            return self.each_segment(now, work, (seen, segments), out, |dataplane, work, seen, out| {
                dataplane.emit_link(now, work, seen, to, out);
            });
        }
        work.complete();
        let limit = work.cut.map_or(mtu, |cut| cut.longest().min(mtu));
        if work.packet.len() <= limit {
            out.push(Output::Link { interface, next_hop, packet: work.packet });
            return;
        }
        let mut seen = *seen;
        if work.cut.is_none() {
            // Of what is forwarded this is done already, and our own packets are no better.
            self.let_cut(&mut work, &mut seen);
        }
        let pieces = if seen.ip.whole && work.cut.is_none() {
            None
        } else {
            fragments::cut(work.packet.bytes(), &seen.ip, work.cut, mtu, &mut self.pool)
        };
        match pieces {
            Some(pieces) => {
                self.pool.give(work.packet);
                out.extend(pieces.into_iter().map(|packet| Output::Link { interface, next_hop, packet }));
            }
            None => {
                let problem = Problem::TooBig(u16::try_from(mtu).unwrap_or(u16::MAX));
                self.deny(now, work, Denial::telling(Reason::TooBig, problem), out);
            }
        }
    }

    fn clamp_mss(&self, work: &mut Work, seen: &Seen, hop: Hop) {
        if !matches!(&seen.transport, Transport::Tcp(segment) if segment.has(wire::tcp::SYN)) {
            return;
        }
        // Who adds the rest of a checksum would add what changes here.
        work.complete();
        let settings = &self.policy.settings;
        let sides = [hop.from, hop.to];
        let v4 = seen.ip.is_v4();
        let largest =
            if sides.iter().any(|side| side.place == Place::Tunnel) { settings.mss_vpn_max } else { settings.mss_max };
        let mtu = |side: Side| match side.place {
            Place::Tunnel => self.tunnel_mtu(side.interface, v4),
            Place::Host | Place::Port if settings.mss_auto => Some(self.mtu(side.interface)),
            Place::Host | Place::Port | Place::Core => None,
        };
        let mtu = sides.into_iter().filter_map(mtu).min().unwrap_or(usize::from(u16::MAX));
        mss::clamp(work.packet.bytes_mut(), seen, mtu, largest);
    }

    /// What a tunnel takes in one piece: its newest SA knows, and until there is one the configuration.
    fn tunnel_mtu(&self, tunnel: InterfaceId, v4: bool) -> Option<usize> {
        let configured = || self.tunnel(tunnel).map(|path| usize::from(path.plaintext_mtu));
        self.sas.newest(tunnel).map(|sa| sa.room(v4)).or_else(configured)
    }

    /// What an interface takes in one piece.
    pub(super) fn mtu(&self, interface: InterfaceId) -> usize {
        self.interface(interface).map_or(usize::from(u16::MAX), |interface| usize::from(interface.mtu))
    }

    /// Takes DF off a packet. One that forbade to be cut may have any identification, so it gets one of ours.
    pub(crate) fn strip_df(&mut self, packet: &mut Buffer) {
        let id = self.next_id();
        let packet = packet.bytes_mut();
        ipv4::change(packet, 4, id);
        ipv4::change(packet, 6, 0);
    }

    /// An identification for an IPv4 packet that may be cut: no two of a pair of hosts within what may be on its way (RFC 6864
    /// section 4.3).
    pub(crate) fn next_id(&mut self) -> u16 {
        self.identification = self.identification.wrapping_add(1).max(1);
        self.identification
    }
}
