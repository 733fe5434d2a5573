//! Into a tunnel: the SA for the packet, or the queue until there is one; pieces that fit; sealing.

use base::{Buffer, Event, Instant};

use super::sa::Limit;
use crate::events::SequenceNumberOverflow;
use crate::flows::{CachedSa, Place, Way};
use crate::inspect::Seen;
use crate::path::{Denial, Source, Work};
use crate::{Dataplane, Exception, InterfaceId, Output, Reason, TunnelPath, fragments};
use wire::icmp::Problem;

impl Dataplane {
    /// Sends a packet into a tunnel, or lets it wait for it.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        work: Work,
        seen: &Seen,
        tunnel: InterfaceId,
        flow: Option<(u32, Way)>,
        out: &mut Vec<Output>,
    ) {
        match self.choose(seen, tunnel, flow) {
            Some(slot) => self.send_by(now, (tunnel, slot), work, seen, out),
            None => self.wait_for(now, work, seen, tunnel, out),
        }
    }

    /// The SA for a packet, remembered in its flow.
    fn choose(&mut self, seen: &Seen, tunnel: InterfaceId, flow: Option<(u32, Way)>) -> Option<u32> {
        // An ICMP error has selectors of its own, whatever it is about.
        let flow = flow.filter(|_| !seen.is_icmp_error());
        let end = flow.and_then(|(slot, way)| Some(self.flows.get_mut(slot)?.towards(way)));
        let cached = end.as_ref().and_then(|end| end.sa);
        if let Some(CachedSa { slot, selection }) = cached
            && self.sas.get(slot).is_some_and(|sa| sa.selection == selection)
        {
            return Some(slot);
        }
        let (source_port, destination_port) = seen.selector_ports();
        let source = (seen.ip.source, source_port);
        let slot = self.sas.select(tunnel, seen.ip.protocol, source, (seen.ip.destination, destination_port))?;
        if let (Some(end), Some(sa)) = (end, self.sas.get(slot)) {
            end.sa = Some(CachedSa { slot, selection: sa.selection });
        }
        Some(slot)
    }

    fn wait_for(&mut self, now: Instant, work: Work, seen: &Seen, tunnel: InterfaceId, out: &mut Vec<Output>) {
        let until = now + self.policy.settings.waiting_time;
        self.wait_until(now, until, work, seen, tunnel, out);
    }

    fn wait_until(
        &mut self,
        now: Instant,
        until: Instant,
        work: Work,
        seen: &Seen,
        tunnel: InterfaceId,
        out: &mut Vec<Output>,
    ) {
        let pair = self.tunnel(tunnel).and_then(|path| networks_of(path, seen));
        let Some(pair) = pair else {
            return self.deny(now, work, Denial::of(Reason::OutsideTunnel), out);
        };
        if work.source == Source::Error {
            return self.deny(now, work, Denial::by_tunnel(Reason::TunnelUnavailable, tunnel), out);
        }
        let key = seen.key();
        let most = self.policy.settings.waiting_per_tunnel_max;
        if let Some(gone) = self.waiting.enter(tunnel, work, until, most) {
            self.deny(now, gone, Denial::by_tunnel(Reason::WaitingFull, tunnel), out);
        }
        if self.waiting.may_ask(now, tunnel, pair) {
            out.push(Output::Exception(Exception::Acquire {
                tunnel,
                source: (key.source, key.ports.0),
                destination: (key.destination, key.ports.1),
                protocol: key.protocol,
            }));
        }
    }

    /// Sends what waits for a tunnel and fits one of its SAs.
    pub(crate) fn send_waiting(&mut self, now: Instant, tunnel: InterfaceId, out: &mut Vec<Output>) {
        let mut staying = std::collections::VecDeque::new();
        for waiting in self.waiting.take(tunnel) {
            let Some(seen) = seen_of(&waiting.work) else {
                self.deny(now, waiting.work, Denial::of(Reason::MalformedTransport), out);
                continue;
            };
            match self.choose(&seen, tunnel, None) {
                Some(slot) => self.send_by(now, (tunnel, slot), waiting.work, &seen, out),
                None => staying.push_back(waiting),
            }
        }
        self.waiting.put_back(tunnel, staying);
    }

    /// Asks the new policy about what waits; connections have been judged before. What may go on by the same or another
    /// tunnel does; to leave in clear it has not been let in.
    pub(crate) fn judge_waiting_again(&mut self, now: Instant, out: &mut Vec<Output>) {
        let longest = now + self.policy.settings.waiting_time;
        for tunnel in self.waiting.tunnels() {
            for waiting in self.waiting.take(tunnel) {
                let (until, work) = (waiting.until.min(longest), waiting.work);
                let Some(seen) = seen_of(&work) else {
                    self.deny(now, work, Denial::of(Reason::MalformedTransport), out);
                    continue;
                };
                match self.decide_again(now, &work, &seen, out) {
                    Ok((to, flow)) if to.place == Place::Tunnel => match self.choose(&seen, to.interface, flow) {
                        Some(slot) => self.send_by(now, (to.interface, slot), work, &seen, out),
                        None => self.wait_until(now, until, work, &seen, to.interface, out),
                    },
                    Ok(_) => self.deny(now, work, Denial::by_tunnel(Reason::TunnelUnavailable, tunnel), out),
                    Err(denial) => self.deny(now, work, denial, out),
                }
            }
        }
    }

    /// Seals a packet with an SA of a tunnel, in pieces if it must be.
    fn send_by(
        &mut self,
        now: Instant,
        (tunnel, slot): (InterfaceId, u32),
        work: Work,
        seen: &Seen,
        out: &mut Vec<Output>,
    ) {
        let Some(sa) = self.sas.get(slot) else {
            return self.deny(now, work, Denial::by_tunnel(Reason::TunnelUnavailable, tunnel), out);
        };
        let room = sa.room(seen.ip.is_v4());
        let limit = work.cut.map_or(room, |cut| cut.longest().min(room));
        if work.packet.len() <= limit {
            return self.seal(now, slot, work.packet, seen, out);
        }
        // RFC 4301 section 8.2.1: whoever forbids fragments is told the size. What came in pieces may leave in pieces.
        let pieces = if seen.ip.whole && work.cut.is_none() {
            None
        } else {
            fragments::cut(work.packet.bytes(), &seen.ip, work.cut, room, &mut self.pool)
        };
        let Some(pieces) = pieces else {
            let problem = Problem::TooBig(u16::try_from(room).unwrap_or(u16::MAX));
            return self.deny(now, work, Denial::telling(Reason::TooBig, problem), out);
        };
        self.pool.give(work.packet);
        for piece in pieces {
            self.seal(now, slot, piece, seen, out);
        }
    }

    fn seal(&mut self, now: Instant, slot: u32, mut packet: Buffer, seen: &Seen, out: &mut Vec<Output>) {
        let Some(sa) = self.sas.get_mut(slot) else { return };
        if sa.seal(now, &mut packet).is_err() {
            // Should the numbers be used up, this SA is no choice any more.
            let limit = sa.limit_reached();
            self.counters.count(Reason::NotSealed);
            self.pool.give(packet);
            if let Some(limit) = limit {
                self.tell_limit(now, slot, limit, out);
            }
            return;
        }
        // RFC 6040 section 4.1, normal mode: the outer packet says of ECN what the inner one says.
        let ds = sa.outer_ds.map_or(seen.ip.ds, |outer| outer & !3 | seen.ip.ds & 3);
        out.push(Output::Outer { outer: sa.outer, ds, packet });
        if let Some(limit) = sa.limit_reached() {
            self.tell_limit(now, slot, limit, out);
        }
    }

    /// Tells the control side that an SA is near or at its end.
    pub(super) fn tell_limit(&mut self, now: Instant, slot: u32, limit: Limit, out: &mut Vec<Output>) {
        let Some(entry) = self.sas.get(slot) else { return };
        let (sa, outer) = (&entry.sa, entry.outer);
        let (id, tunnel) = (sa.id, sa.tunnel);
        match limit {
            Limit::Soft => out.push(Output::Exception(Exception::SoftLimit(id))),
            Limit::Hard => {
                let event = SequenceNumberOverflow {
                    source_ip: outer.local.ip().to_string(),
                    dest_ip: outer.remote.ip().to_string(),
                    spi: format!("{:#010x}", sa.spi_out),
                    seq: sa.usage().packets_out,
                    protocol: "ESP".to_owned(),
                    reason: Reason::SaUsedUp.sentence().to_owned(),
                };
                self.log(now, Reason::SaUsedUp, event.record(), out);
                self.sas.successors_of(tunnel, id);
                self.sas.choose_again(tunnel);
                out.push(Output::Exception(Exception::HardLimit(id)));
            }
        }
    }
}

fn seen_of(work: &Work) -> Option<Seen> {
    Seen::new(work.packet.bytes(), work.header?)
}

/// Which of the tunnel's local and remote networks a packet is between.
pub(crate) fn networks_of(path: &TunnelPath, seen: &Seen) -> Option<(usize, usize)> {
    let local = path.local_networks.iter().position(|range| range.contains(seen.ip.source))?;
    let remote = path.remote_networks.iter().position(|range| range.contains(seen.ip.destination))?;
    Some((local, remote))
}
