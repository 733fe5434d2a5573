//! May this source come in here? Access rules first, then the route back (RFC 3704 section 2.2).

use super::{Denial, Source};
use crate::flows::{Place, Side};
use crate::inspect::Seen;
use crate::{AccessAction, CORE, Dataplane, InterfaceId, MAIN, Question, Reason, TableId};

/// A packet that may come in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entrance {
    /// What rules take for its source interface.
    pub(super) received: InterfaceId,
    /// Where its answers go.
    pub(super) side: Side,
    /// The table that it is routed by.
    pub(super) forward: TableId,
}

/// Stands for an interface behind the host port that is not known. No interface has this number.
const UNKNOWN: InterfaceId = InterfaceId(u32::MAX);

impl Dataplane {
    /// Where a packet has come in and by which tables it is routed, if its source may come in there.
    pub(super) fn enter(&self, source: Source, seen: &Seen) -> Result<Entrance, Denial> {
        let received = match source {
            Source::Core | Source::Originated(_) | Source::Error(_) => {
                let (forward, _) = self.tables_for(CORE, seen);
                return Ok(Entrance { received: CORE, side: self.side(CORE), forward });
            }
            Source::Tunnel(interface) | Source::Link(interface) => interface,
            Source::Port => self.behind_host_port(seen).unwrap_or(UNKNOWN),
        };
        // In transport mode the peers themselves speak, whose addresses the outer header had.
        if let Source::Tunnel(tunnel) = source
            && self.sas.is_transport(tunnel, seen.ip.destination, seen.ip.source)
        {
            return Ok(Entrance { received, side: self.side(tunnel), forward: self.table_of(tunnel) });
        }
        let (forward, back) = self.tables_for(received, seen);
        // Behind the host port the interface was found by this very route.
        let known = source == Source::Port && back == MAIN && received != UNKNOWN;
        let route = if known { None } else { self.tables.lookup(back, seen.ip.source) };
        if route.is_some_and(|route| self.is_for_all(route, seen.ip.source)) {
            return Err(Reason::ImpossibleSource.into());
        }
        let answers = if known { Some(received) } else { route.map(|route| route.interface) };
        if !self.accepted_by_rule(received, seen)? && !answers.is_some_and(|answers| self.same(received, answers)) {
            return Err(Reason::DefaultAccessRule.into());
        }
        // What an access rule lets in against the routes is answered where it came from.
        let interface = answers.filter(|answers| self.same(received, *answers)).unwrap_or(received);
        let side = self.side_towards(interface, back, seen.ip.source);
        Ok(Entrance { received, side, forward })
    }

    /// What the access rules say: true when one accepts the source there, false when none speaks of it.
    pub(super) fn accepted_by_rule(&self, received: InterfaceId, seen: &Seen) -> Result<bool, Denial> {
        if self.policy.access.is_empty() {
            return Ok(false);
        }
        let question = Question::of(seen, received, CORE);
        let rules = &self.policy.access;
        let Some(rule) = self.access.first_match(rules, &question).and_then(|at| rules.get(at)) else {
            return Ok(false);
        };
        let here = rule.interfaces.as_ref().is_none_or(|interfaces| interfaces.contains(&received));
        match rule.action {
            AccessAction::Accept => Ok(received != UNKNOWN),
            AccessAction::Expect if here && received != UNKNOWN => Ok(true),
            AccessAction::Expect | AccessAction::Drop => Err(Denial::by_rule(Reason::AccessRule, &rule.name, rule.log)),
        }
    }

    /// The interface that a packet of the host port came in by: where the route back to its source leads.
    pub(super) fn behind_host_port(&self, seen: &Seen) -> Option<InterfaceId> {
        let route = self.tables.main().lookup(seen.ip.source)?;
        matches!(self.side(route.interface).place, Place::Host | Place::Core).then_some(route.interface)
    }

    /// True for one interface, and for two that are the same to the access check.
    pub(crate) fn same(&self, one: InterfaceId, other: InterfaceId) -> bool {
        one == other || self.interface(one).is_some_and(|interface| interface.equivalents.contains(&other))
    }
}
