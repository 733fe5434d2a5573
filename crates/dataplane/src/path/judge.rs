//! What becomes of a connection: where it goes, which rule lets it, what is translated. A new one is asked about by its
//! first packet, a standing one again by its next packet under other rules or routes.

use std::net::IpAddr;
use std::sync::Arc;

use base::Instant;

use super::access::Entrance;
use super::{Denial, Over, Source};
use crate::esp::send::networks_of;
use crate::events::OutOfConnections;
use crate::flows::{Flow, Opening, Place, Side, Translated, Verdict, Way};
use crate::inspect::{Key, Seen};
use crate::nat::{destination, source};
use crate::shards::Handed;
use crate::{CORE, Dataplane, DestinationTranslation, Output, Reason, Rule, RuleAction, SourceTranslation, WhenFull};
use base::Event;

/// Ports that the gateway itself receives on.
pub(super) const IKE_PORTS: [u16; 2] = [500, 4500];

/// Whether the gateway began a connection by itself, so that no rule is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// No.
    No,
    /// Yes, and perhaps it goes this way wherever the routes lead.
    Originated(Option<Over>),
}

/// What the policy says of a connection.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) from: Side,
    pub(super) to: Side,
    pub(super) verdict: Arc<Verdict>,
    /// Each packet passes by itself.
    pub(super) stateless: bool,
    source: SourceTranslation,
    /// As its opener sends, to its new destination.
    key: Key,
    /// The gateway's address where it leaves.
    address: Option<IpAddr>,
}

/// What a standing connection is under other rules or routes.
#[derive(Debug)]
pub(crate) struct Renewed {
    pub(super) from: Side,
    pub(super) to: Side,
    pub(crate) verdict: Arc<Verdict>,
}

impl Dataplane {
    /// Where a connection would go, and under which rule.
    pub(super) fn plan(&self, entrance: &Entrance, seen: &Seen, own: Own) -> Result<Plan, Denial> {
        if let Own::Originated(Some(over)) = own {
            return self.plan_over(entrance, seen, over);
        }
        let route = self.tables.lookup(entrance.forward, seen.ip.destination).ok_or(Reason::NoRoute)?;
        let to = self.side_of(route);
        if entrance.side.place == Place::Core && to.place == Place::Core {
            return Err(Reason::ImpossibleSource.into());
        }
        let v4 = seen.ip.is_v4();
        let mut plan = Plan {
            from: entrance.side,
            to,
            verdict: Arc::clone(&self.originated),
            stateless: false,
            source: SourceTranslation::None,
            key: seen.key(),
            address: None,
        };
        // A packet from the host port with a source of ours proves nothing: Linux forwards such IPv6 packets for anybody.
        if own != Own::No {
            return Ok(plan);
        }
        if self.is_for_all(route, seen.ip.destination) {
            return Err(Reason::NotUnicast.into());
        }
        let (at, rule) = self.first_match(seen, entrance.received, to.interface).ok_or(Reason::DefaultRule)?;
        match rule.action {
            RuleAction::Allow => {}
            RuleAction::Stateless => plan.stateless = true,
            RuleAction::Drop => return Err(Denial::by_rule(Reason::RuleDrop, &rule.name, rule.log)),
            RuleAction::Reject => return Err(Denial::by_rule(Reason::RuleReject, &rule.name, rule.log)),
        }
        if let Some(verdict) = self.verdicts.get(at) {
            plan.verdict = Arc::clone(verdict);
        }
        if plan.stateless {
            return Ok(plan);
        }
        // The rule is that of the old destination; the packet goes to the new one.
        plan.key = destination::translate(&rule.destination, &plan.key)?;
        let route = if plan.key.destination == seen.ip.destination {
            route
        } else {
            let route = self.tables.lookup(entrance.forward, plan.key.destination).ok_or(Reason::NoRoute)?;
            if self.is_for_all(route, plan.key.destination) {
                return Err(Reason::NotUnicast.into());
            }
            plan.to = self.side_of(route);
            route
        };
        if plan.from.place == Place::Core && plan.to.place == Place::Core {
            return Err(Reason::ImpossibleSource.into());
        }
        plan.source = source_of(rule, &plan);
        plan.address = self.address_by(route, v4);
        Ok(plan)
    }

    /// Where a connection of the gateway's own goes that has its way.
    fn plan_over(&self, entrance: &Entrance, seen: &Seen, over: Over) -> Result<Plan, Denial> {
        if over.interface == CORE || self.interface(over.interface).is_none() {
            return Err(Reason::NoRoute.into());
        }
        let verdict = Verdict { own: Own::Originated(Some(over)), ..Verdict::clone(&self.originated) };
        Ok(Plan {
            from: entrance.side,
            to: Side { hop: self.hops.number(over.gateway), ..self.side(over.interface) },
            verdict: Arc::new(verdict),
            stateless: false,
            source: SourceTranslation::None,
            key: seen.key(),
            address: None,
        })
    }

    /// Opens a connection as planned.
    pub(super) fn open(&mut self, now: Instant, seen: &Seen, plan: Plan, out: &mut Vec<Output>) -> Result<u32, Denial> {
        let key = seen.key();
        if let Some((slot, _)) = self.flows.find(&key) {
            // The same connection by another way than before: routes have changed, and the rules have allowed the new way.
            self.close_flow(now, slot, out);
        }
        let full = self.flows.len() >= self.policy.settings.connections_max / self.shards.count();
        if full && self.policy.settings.when_full == WhenFull::Drop {
            return Err(Reason::ConnectionTableFull.into());
        }
        let Self { flows, pools, random, tables, shards, .. } = self;
        let own = |address: IpAddr| tables.main().own_addresses().contains(&address);
        let taken = |answer: &Key| {
            let ours = || {
                answer.destination != key.source
                    && answer.protocol == wire::ip::UDP
                    && IKE_PORTS.contains(&answer.ports.1)
                    && own(answer.destination)
            };
            // Ports that can be chosen are chosen so that the answers come to this shard, and no other one chooses the same.
            let not_mine = || {
                !shards.is_alone()
                    && answer.destination != key.source
                    && !matches!(plan.source, SourceTranslation::Static(_))
                    && answer.message.is_none()
                    && matches!(answer.protocol, wire::ip::TCP | wire::ip::UDP | wire::ip::ICMP)
                    && !shards.is_mine(answer)
            };
            flows.find(answer).is_some() || ours() || not_mine()
        };
        let chosen = source::choose(&plan.source, &plan.key, plan.address, pools, random, taken)?;
        let outside = plan.to.place == Place::Tunnel && !self.fits_tunnel(plan.to, &chosen.key);
        if outside || full && !self.make_room(now, out) {
            if let Some(pool) = &chosen.pool {
                self.pools.end(pool, key.source, chosen.key.source);
            }
            return Err(if outside { Reason::OutsideTunnel } else { Reason::ConnectionTableFull }.into());
        }
        let translated =
            (chosen.key != key || chosen.pool.is_some()).then_some(Translated { key: chosen.key, pool: chosen.pool });
        let Plan { from, to, verdict, .. } = plan;
        let opening = Opening { from, to, verdict, translated, judged: self.generation };
        let slot = self.flows.open(now, seen, opening, &self.policy.settings);
        if chosen.key != key
            && let Some(to) = self.shards.owner_elsewhere(&chosen.key)
        {
            let claim = Handed::Claim(chosen.key, self.shards.me().index);
            self.hand(to, claim);
        }
        self.log_opened(now, slot, out);
        self.flows.packet(now, slot, Way::Forth, seen, &self.policy.settings);
        Ok(slot)
    }

    /// Ends the connection that has been idle longest for a new one.
    fn make_room(&mut self, now: Instant, out: &mut Vec<Output>) -> bool {
        let Some(slot) = self.flows.idlest(now, &self.policy.settings) else { return false };
        let Some(flow) = self.forget(slot) else { return false };
        self.counters.replace_connection();
        if self.policy.settings.when_full == WhenFull::ReplaceLog {
            let event = OutOfConnections {
                rule: flow.verdict.rule.to_string(),
                connipproto: crate::events::protocol_name(flow.key.protocol),
                connsrcip: flow.key.source.to_string(),
                connsrcport: flow.key.ports.0,
                conndestip: flow.key.destination.to_string(),
                conndestport: flow.key.ports.1,
                limit: self.policy.settings.connections_max,
            };
            self.log(now, Reason::ConnectionTableFull, event.record(), out);
        }
        true
    }

    /// True when a connection, as the other end sees it, lies within the networks of the tunnel that it goes through.
    fn fits_tunnel(&self, to: Side, key: &Key) -> bool {
        self.tunnel(to.interface).is_some_and(|path| networks_of(path, key.source, key.destination).is_some())
    }

    /// Asks about a connection that was judged under other rules or routes. False when it is over.
    pub(crate) fn judge_again(&mut self, now: Instant, slot: u32, out: &mut Vec<Output>) -> bool {
        let renewed = self.flows.get(slot).and_then(|flow| self.renewed(flow));
        let generation = self.generation;
        match (renewed, self.flows.get_mut(slot)) {
            (Some(renewed), Some(flow)) => {
                flow.judged = generation;
                flow.verdict = renewed.verdict;
                flow.opener.moves(renewed.from);
                flow.other.moves(renewed.to);
                true
            }
            _ => {
                self.close_flow(now, slot, out);
                false
            }
        }
    }

    /// What a connection is now; `None` when it is allowed no more, or would go another way, or be translated otherwise.
    /// Over an equivalent interface it goes on.
    pub(crate) fn renewed(&self, flow: &Flow) -> Option<Renewed> {
        let (from, to) = (flow.opener.side(), flow.other.side());
        let seen = flow.opening_packet();
        let source = match from.place {
            Place::Core => Source::Core,
            Place::Host => Source::Port,
            Place::Port => Source::Link(from.interface),
            Place::Tunnel => Source::Tunnel(from.interface),
        };
        let entrance = self.enter(source, &seen).ok()?;
        let plan = self.plan(&entrance, &seen, flow.verdict.own).ok()?;
        let same = |old: Side, new: Side| old.place == new.place && self.same(old.interface, new.interface);
        let far = flow.far_key();
        let stays = !plan.stateless
            && same(from, plan.from)
            && same(to, plan.to)
            && (plan.key.destination, plan.key.ports.1) == (far.destination, far.ports.1)
            && keeps_source(&plan, flow)
            && (to.place != Place::Tunnel || self.fits_tunnel(plan.to, far));
        stays.then_some(Renewed { from: plan.from, to: plan.to, verdict: plan.verdict })
    }
}

/// What becomes of the source. Who comes back to where they are must be translated, or the answers would pass us by.
fn source_of(rule: &Rule, plan: &Plan) -> SourceTranslation {
    let back_inside = plan.from.interface == plan.to.interface
        && matches!(rule.destination, DestinationTranslation::Static { address: Some(_), .. });
    match &rule.source {
        SourceTranslation::Auto if back_inside => SourceTranslation::Interface,
        other => other.clone(),
    }
}

/// True when the source would be translated as it is.
fn keeps_source(plan: &Plan, flow: &Flow) -> bool {
    let far = flow.far_key();
    let pool = flow.translated.as_ref().and_then(|translated| translated.pool.as_ref());
    let untouched = (far.source, far.ports.0) == (flow.key.source, flow.key.ports.0);
    match &plan.source {
        SourceTranslation::Pool(wanted) => pool == Some(wanted),
        _ if pool.is_some() => false,
        SourceTranslation::None => untouched,
        SourceTranslation::Auto if !source::auto(plan.key.source, plan.key.destination) => untouched,
        SourceTranslation::Auto | SourceTranslation::Interface => plan.address == Some(far.source),
        SourceTranslation::Address(address) => *address == far.source,
        SourceTranslation::Static(map) => map.map(flow.key.source) == Some(far.source),
    }
}
