//! Where a packet goes: with its connection, past it for good reasons, or by opening one.

use base::Instant;
use wire::icmp::{self, Class, Problem};

use super::judge::Own;
use super::{Denial, Hop, Source, Work};
use crate::flows::{Place, Side, Step, Way};
use crate::inspect::{Key, Seen, Transport};
use crate::{CORE, Dataplane, MAIN, Output, Reason, rules};

impl Dataplane {
    /// Finds out where a packet goes, or why nowhere.
    pub(super) fn decide(
        &mut self,
        now: Instant,
        work: &Work,
        seen: &Seen,
        out: &mut Vec<Output>,
    ) -> Result<Hop, Denial> {
        if let Source::Error(back) = work.source {
            // An error goes where the packet came from that it is about.
            let to = match back {
                Some(interface) => self.side_towards(interface, self.table_of(interface), seen.ip.destination),
                None => self.side_of(self.tables.lookup(MAIN, seen.ip.destination).ok_or(Reason::NoRoute)?),
            };
            return Ok(Hop::past(self.side(CORE), to));
        }
        if seen.class() == Some(Class::Redirect) {
            return Err(Reason::Redirect.into());
        }
        if let Source::Link(interface) = work.source
            && let Some(admitted) = self.past_rules(interface, seen)
        {
            return admitted;
        }
        if seen.is_icmp_error() {
            return self.related(work, seen).or_else(|denial| self.unrelated(work, seen).ok_or(denial));
        }
        if let Transport::Tcp(segment) = &seen.transport
            && segment.impossible_flags()
        {
            return Err(Reason::TcpFlags.into());
        }
        if let Some((slot, way)) = self.flows.find(&seen.key())
            && let Some(hop) = self.hop_of(now, work.source, slot, way, out)
        {
            check_ttl(seen, hop.from, hop.to)?;
            match self.flows.packet(now, slot, way, seen, &self.policy.settings) {
                Step::Pass => return Ok(hop),
                Step::Another => self.close_flow(now, slot, out),
                Step::Outside => return Err(Reason::TcpWindow.into()),
            }
        }
        self.open_flow(now, work.source, seen, out)
    }

    /// The way of a packet with a connection, if it comes from where packets of that direction come from and the policy of
    /// now still allows it.
    fn hop_of(&mut self, now: Instant, source: Source, slot: u32, way: Way, out: &mut Vec<Output>) -> Option<Hop> {
        let flow = self.flows.get(slot)?;
        // Nor does a packet that only claims to be ours share a connection that no rule has allowed.
        if flow.verdict.own != Own::No && way == Way::Forth && source == Source::Port {
            return None;
        }
        if flow.judged != self.generation && !self.judge_again(now, slot, out) {
            return None;
        }
        let flow = self.flows.get(slot)?;
        let (sender, receiver) = flow.ends(way);
        let (from, to) = (sender.side(), receiver.side());
        let translated = flow.translated.is_some();
        self.comes_from(source, from).then_some(Hop { from, to, flow: Some((slot, way)), translated })
    }

    /// Finds out where a packet goes that was let in under an earlier policy and has waited since. Its connection, if it is
    /// still there, has counted it already.
    pub(crate) fn decide_again(
        &mut self,
        now: Instant,
        work: &mut Work,
        seen: &mut Seen,
        out: &mut Vec<Output>,
    ) -> Result<(Side, Option<(u32, Way)>), Denial> {
        if work.original.is_some() {
            work.undo_translation();
            *seen = work.seen().ok_or(Reason::MalformedTransport)?;
        }
        let known = self.flows.find(&seen.key()).filter(|_| !seen.is_icmp_error());
        let hop = if seen.is_icmp_error() {
            self.related(work, seen)?
        } else if let Some((slot, way)) = known
            && let Some(hop) = self.hop_of(now, work.source, slot, way, out)
        {
            hop
        } else {
            self.open_flow(now, work.source, seen, out)?
        };
        self.translate(work, seen, hop)?;
        Ok((hop.to, hop.flow))
    }

    /// A packet of no connection: may it open one?
    pub(super) fn open_flow(
        &mut self,
        now: Instant,
        source: Source,
        seen: &Seen,
        out: &mut Vec<Output>,
    ) -> Result<Hop, Denial> {
        let entrance = self.enter(source, seen)?;
        if !rules::may_open(seen) {
            return self.stateless_only(source, seen).ok_or_else(|| Reason::NoConnection.into());
        }
        let own = match source {
            Source::Originated(over) => Own::Originated(over),
            _ => Own::No,
        };
        let plan = self.plan(&entrance, seen, own)?;
        let (from, to) = (plan.from, plan.to);
        check_ttl(seen, from, to)?;
        if plan.stateless {
            return Ok(Hop::past(from, to));
        }
        let slot = self.open(now, seen, plan, out)?;
        let translated = self.flows.get(slot).is_some_and(|flow| flow.translated.is_some());
        Ok(Hop { from, to, flow: Some((slot, Way::Forth)), translated })
    }

    /// A packet that can open no connection passes by a stateless rule alone.
    fn stateless_only(&self, source: Source, seen: &Seen) -> Option<Hop> {
        if !self.has_stateless {
            return None;
        }
        let entrance = self.enter(source, seen).ok()?;
        let plan = self.plan(&entrance, seen, Own::No).ok().filter(|plan| plan.stateless)?;
        check_ttl(seen, plan.from, plan.to).ok()?;
        Some(Hop::past(plan.from, plan.to))
    }

    /// An ICMP error of no connection: about an outer packet of our own, or let in by a stateless rule.
    fn unrelated(&self, work: &Work, seen: &Seen) -> Option<Hop> {
        if let Source::Link(interface) = work.source
            && self.is_own(seen.ip.destination)
            && quotes_outer(work, seen)
        {
            return self.enter(work.source, seen).ok().map(|_| Hop::past(self.side(interface), self.side(CORE)));
        }
        self.stateless_only(work.source, seen)
    }

    /// An ICMP error passes with the connection it is about, against the direction of the packet it quotes.
    fn related(&self, work: &Work, seen: &Seen) -> Result<Hop, Denial> {
        let entrance = self.enter(work.source, seen)?;
        let quoted = icmp::quotation(seen.ip.payload_of(work.packet.bytes()));
        let key = Key::of_quotation(quoted).ok_or(Reason::UnrelatedIcmpError)?;
        let (slot, way) = self.flows.find(&key.reversed()).ok_or(Reason::UnrelatedIcmpError)?;
        let flow = self.flows.get(slot).ok_or(Reason::UnrelatedIcmpError)?;
        // Under other routes its sides have other next hops.
        let (opener, other) = if flow.judged == self.generation {
            (flow.opener.side(), flow.other.side())
        } else {
            let renewed = self.renewed(flow).ok_or(Reason::UnrelatedIcmpError)?;
            (renewed.from, renewed.to)
        };
        let (sender, receiver) = if way == Way::Forth { (opener, other) } else { (other, opener) };
        // It goes to whoever sent the packet, and comes from beyond the gateway on the packet's way, or from ourselves.
        let on_the_way = self.same(entrance.received, sender.interface) || entrance.side.place == Place::Core;
        if seen.ip.destination != key.source || !on_the_way {
            return Err(Reason::UnrelatedIcmpError.into());
        }
        check_ttl(seen, entrance.side, receiver)?;
        let translated = flow.translated.is_some();
        Ok(Hop { from: entrance.side, to: receiver, flow: Some((slot, way)), translated })
    }

    /// True when a packet from `source` can come from this side of its connection.
    fn comes_from(&self, source: Source, side: Side) -> bool {
        match source {
            Source::Port => matches!(side.place, Place::Host | Place::Core),
            Source::Tunnel(interface) | Source::Link(interface) => {
                side.interface == interface || side.place != Place::Core && self.same(side.interface, interface)
            }
            Source::Core | Source::Originated(_) | Source::Error(_) => side.place == Place::Core,
        }
    }
}

/// True for an ICMP error about IKE or ESP.
pub(super) fn quotes_outer(work: &Work, seen: &Seen) -> bool {
    let quoted = icmp::quotation(seen.ip.payload_of(work.packet.bytes()));
    seen.is_icmp_error() && Key::of_quotation(quoted).is_some_and(|key| super::outer::is_ours(&key))
}

/// A router takes one off the time to live and forwards nothing with none left (RFC 1812 section 5.3.1).
fn check_ttl(seen: &Seen, from: Side, to: Side) -> Result<(), Denial> {
    if from.place == Place::Core || to.place == Place::Core || seen.ip.ttl > 1 {
        return Ok(());
    }
    Err(Denial::telling(Reason::TtlExpired, Problem::TimeExceeded))
}
