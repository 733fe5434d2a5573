//! Into a tunnel: the SA for the packet, or the queue until there is one; pieces that fit; sealing.

use std::net::IpAddr;

use base::{Buffer, Event, Instant};
use wire::icmp::Problem;

use super::sa::Limit;
use super::unit::Unit;
use crate::events::SequenceNumberOverflow;
use crate::flows::{CachedSa, Place, Way};
use crate::inspect::Seen;
use crate::path::{Denial, Source, Work};
use crate::shards::Handed;
use crate::waiting::{Asked, MayAsk};
use crate::{Dataplane, Exception, InterfaceId, Mode, Output, Reason, SaId, TunnelPath, fragments};

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
            Some(slot) => match self.sealed_elsewhere(slot) {
                Some((to, id)) => self.hand(to, Handed::Seal(id, work)),
                None => self.send_by(now, (tunnel, slot), work, seen, out),
            },
            None => self.wait_for(now, work, seen, tunnel, out),
        }
    }

    /// The shard that seals with an SA, when it is not this one: the first that ever did.
    #[inline]
    pub(crate) fn sealed_elsewhere(&self, slot: u32) -> Option<(u16, SaId)> {
        if self.shards.is_alone() {
            return None;
        }
        let (sa, me) = (&self.sas.get(slot)?.sa, self.shards.me().index);
        let home = sa.home(me);
        (home != me).then(|| (home, sa.id))
    }

    /// The SA for a packet, remembered in its flow.
    fn choose(&mut self, seen: &Seen, tunnel: InterfaceId, flow: Option<(u32, Way)>) -> Option<u32> {
        // An ICMP error has selectors of its own, whatever it is about.
        let flow = flow.filter(|_| !seen.is_icmp_error());
        let end = flow.and_then(|(slot, way)| Some(self.flows.get_mut(slot)?.towards(way)));
        let cached = end.as_ref().and_then(|end| end.sa());
        if let Some(CachedSa { slot, selection }) = cached
            && self.sas.get(slot).is_some_and(|sa| sa.selection == selection)
        {
            return Some(slot);
        }
        let (source_port, destination_port) = seen.selector_ports();
        let source = (seen.ip.source, source_port);
        let slot = self.sas.select(tunnel, seen.ip.protocol, source, (seen.ip.destination, destination_port))?;
        if let (Some(end), Some(sa)) = (end, self.sas.get(slot)) {
            end.remember_sa(CachedSa { slot, selection: sa.selection });
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
        let networks = self
            .tunnel(tunnel)
            .and_then(|path| Some((path.sa_per, networks_of(path, seen.ip.source, seen.ip.destination)?)));
        let Some((per, (local, remote))) = networks else {
            return self.deny(now, work, Denial::of(Reason::OutsideTunnel), out);
        };
        if matches!(work.source, Source::Error(_)) {
            return self.deny(now, work, Denial::by_tunnel(Reason::TunnelUnavailable, tunnel), out);
        }
        let unit = Unit::wanted(seen, per);
        let may_ask = self.waiting.may_ask(now, tunnel, unit.map_or(Asked::Networks(local, remote), Asked::Unit));
        if may_ask == MayAsk::TooMany {
            return self.deny(now, work, Denial::by_tunnel(Reason::AskedLimit, tunnel), out);
        }
        let most = self.policy.settings.waiting_per_tunnel_max;
        if let Some(gone) = self.waiting.enter(tunnel, work, until, most) {
            self.deny(now, gone, Denial::by_tunnel(Reason::WaitingFull, tunnel), out);
        }
        if may_ask == MayAsk::Yes {
            // An echo's identifier is no port, and type and code are not what its answer has.
            let ports = seen.ports().unwrap_or_default();
            out.push(Output::Exception(Exception::Acquire {
                tunnel,
                source: (seen.ip.source, ports.0),
                destination: (seen.ip.destination, ports.1),
                protocol: seen.ip.protocol,
            }));
        }
    }

    /// Sends what waits for a tunnel and fits one of its SAs.
    pub(crate) fn send_waiting(&mut self, now: Instant, tunnel: InterfaceId, out: &mut Vec<Output>) {
        let mut staying = std::collections::VecDeque::new();
        for waiting in self.waiting.take(tunnel) {
            let Some(seen) = waiting.work.seen() else {
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
                let (until, mut work) = (waiting.until.min(longest), waiting.work);
                let Some(mut seen) = work.seen() else {
                    self.deny(now, work, Denial::of(Reason::MalformedTransport), out);
                    continue;
                };
                match self.decide_again(now, &mut work, &mut seen, out) {
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
    pub(crate) fn send_by(
        &mut self,
        now: Instant,
        (tunnel, slot): (InterfaceId, u32),
        mut work: Work,
        seen: &Seen,
        out: &mut Vec<Output>,
    ) {
        if let Some(segments) = work.offload.segments {
            return self.send_segments(now, (tunnel, slot), work, (seen, segments), out);
        }
        work.complete();
        let Some(sa) = self.sas.get(slot) else {
            return self.deny(now, work, Denial::by_tunnel(Reason::TunnelUnavailable, tunnel), out);
        };
        let room = sa.room(seen.ip.is_v4());
        let limit = work.cut.map_or(room, |cut| cut.longest().min(room));
        // RFC 4303 section 3.3.4: in transport mode it is the ESP packet that is cut.
        let uncut = sa.sa.mode == Mode::Transport && (!seen.ip.whole || work.cut.is_some());
        if work.packet.len() <= limit || uncut {
            return self.seal(now, slot, &mut work.packet, seen.ip.ds, out);
        }
        let strip_df_max = usize::from(self.policy.settings.strip_df_max);
        if work.cut.is_none() && seen.ip.is_v4() && seen.ip.whole && work.packet.len() <= strip_df_max {
            self.strip_df(&mut work.packet);
        } else if seen.ip.whole && work.cut.is_none() {
            return self.too_long(now, work, room, out);
        }
        // What came in pieces may leave in pieces.
        let Some(pieces) = fragments::cut(work.packet.bytes(), &seen.ip, work.cut, room, &mut self.pool) else {
            return self.too_long(now, work, room, out);
        };
        self.pool.give(work.packet);
        for mut piece in pieces {
            self.seal(now, slot, &mut piece, seen.ip.ds, out);
        }
    }

    /// RFC 4301 section 8.2.1: whoever forbids fragments is told the size.
    pub(super) fn too_long(&mut self, now: Instant, work: Work, room: usize, out: &mut Vec<Output>) {
        let problem = Problem::TooBig(u16::try_from(room).unwrap_or(u16::MAX));
        self.deny(now, work, Denial::telling(Reason::TooBig, problem), out);
    }

    /// Seals a packet whose DiffServ byte is `ds`.
    #[inline]
    pub(crate) fn seal(&mut self, now: Instant, slot: u32, packet: &mut Buffer, ds: u8, out: &mut Vec<Output>) {
        let Some(sa) = self.sas.get_mut(slot) else { return };
        if sa.seal(now, packet).is_err() {
            // Should the numbers be used up, this SA is no choice any more.
            let limit = sa.limit_reached();
            self.counters.count(Reason::NotSealed);
            self.pool.give(std::mem::take(packet));
            if let Some(limit) = limit {
                self.tell_limit(now, slot, limit, out);
            }
            return;
        }
        let (ds, df) = (sa.outer_ds(ds), sa.whole(packet.len()));
        let (outer, tunnel, limit) = (sa.outer, sa.sa.tunnel, sa.limit_reached());
        if self.has_ports {
            self.emit_outer(now, tunnel, (outer, ds, df), std::mem::take(packet), out);
        } else {
            out.push(Output::Outer { outer, ds, df, packet: std::mem::take(packet), segment: None });
        }
        if let Some(limit) = limit {
            self.tell_limit(now, slot, limit, out);
        }
    }

    /// Tells the control side that an SA is near or at its end.
    pub(super) fn tell_limit(&mut self, now: Instant, slot: u32, limit: Limit, out: &mut Vec<Output>) {
        let Some(entry) = self.sas.get(slot) else { return };
        let (sa, outer) = (&entry.sa, entry.outer);
        let id = sa.id;
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
                self.sas.pass_on(slot, id);
                out.push(Output::Exception(Exception::HardLimit(id)));
            }
        }
    }
}

/// Which of the tunnel's local and remote networks a packet is between.
pub(crate) fn networks_of(path: &TunnelPath, source: IpAddr, destination: IpAddr) -> Option<(usize, usize)> {
    let local = path.local_networks.iter().position(|range| range.contains(source))?;
    let remote = path.remote_networks.iter().position(|range| range.contains(destination))?;
    Some((local, remote))
}
