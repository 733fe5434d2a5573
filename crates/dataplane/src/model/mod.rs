//! A second packet path: simple, slow, obviously right. It searches lists, keeps connections in one, makes every packet anew
//! from its fields, and shares nothing with the first but the policy and the readers of headers. Both get the same packets
//! and must agree (`story.rs`); called by tests alone.
//!
//! What is left to the gateway's choice (the port of a translation, the address of a pool, which of the connections idle for
//! as long has to go, an identification) is looked up in what the engine has done, and checked to be one of those allowed.
//! Tunnels are interfaces here that are always up. Fragments that come in, IKE, and packets that wait are not in it.

mod decide;
mod flows;
mod nat;
mod open;
mod packet;
mod reader;
mod reassembly;
mod routing;
mod send;
mod story;
mod tcp;

pub use reassembly::{reassembly, reassembly_seeds};
pub use story::{run, seeds};

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use base::Instant;

use crate::{Control, InterfaceId, NatPool, Policy, Reason, Route, TableId};
use flows::Flow;
use packet::{Key, Packet};
use routing::Routing;

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// The host port; its source address says by which interface.
    Host,
    /// A packet port.
    Port(InterfaceId),
    /// Out of a tunnel, with the addresses of the outer packet: the peer's and ours.
    Tunnel(InterfaceId, (IpAddr, IpAddr)),
    /// The gateway, by itself.
    Originated,
    /// The gateway, answering an echo.
    Answer,
    /// The gateway, telling whoever sent a packet by this interface; `None`: by the host port, or itself.
    Error(Option<InterfaceId>),
}

/// A packet that goes out.
#[derive(Clone, Debug, PartialEq)]
struct Sent {
    to: To,
    packet: Vec<u8>,
    /// Its identification is any but zero.
    any_id: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum To {
    Host(InterfaceId),
    Port(InterfaceId, IpAddr),
    /// Sealed, under this DiffServ byte.
    Tunnel(InterfaceId, u8),
    /// For the gateway itself, and by which interface it came.
    Local(InterfaceId),
}

/// What becomes of a packet, and of all that it gives rise to.
#[derive(Clone, Debug, Default, PartialEq)]
struct Answer {
    sent: Vec<Sent>,
    drops: Vec<Reason>,
}

/// What the engine has done where it may choose: the connections that it has now, as both ends see them.
#[derive(Clone, Debug, Default)]
struct Oracle {
    flows: Vec<(Key, Key)>,
}

impl Oracle {
    fn far(&self, near: &Key) -> Option<Key> {
        self.flows.iter().find(|(key, _)| key == near).map(|(_, far)| *far)
    }
}

/// The gateway.
#[derive(Debug)]
struct Model {
    now: Instant,
    policy: Arc<Policy>,
    /// Routes beside those of the policy.
    added: Vec<(TableId, Route)>,
    flows: Vec<Flow>,
    /// Hosts that pools of the fixed kind have given an address.
    fixed: Vec<(Arc<NatPool>, IpAddr, IpAddr)>,
    queue: VecDeque<(From, Packet)>,
    answer: Answer,
    oracle: Oracle,
    /// A choice of the engine that it did not have.
    wrong: Option<String>,
}

impl Model {
    fn new(policy: Arc<Policy>, now: Instant) -> Self {
        Self {
            now,
            policy,
            added: Vec::new(),
            flows: Vec::new(),
            fixed: Vec::new(),
            queue: VecDeque::new(),
            answer: Answer::default(),
            oracle: Oracle::default(),
            wrong: None,
        }
    }

    fn routing(&self) -> Routing<'_> {
        Routing { policy: &self.policy, added: &self.added }
    }

    /// Takes a packet.
    fn packet(&mut self, from: From, bytes: &[u8], oracle: Oracle) -> Answer {
        self.oracle = oracle;
        self.receive(from, bytes);
        while let Some((from, packet)) = self.queue.pop_front() {
            self.carry(from, packet);
        }
        std::mem::take(&mut self.answer)
    }

    /// Time passes; connections end when their time is up.
    fn advance(&mut self, now: Instant) {
        self.now = now;
        self.flows.retain(|flow| flow.until > now);
    }

    /// Does what the control side says. Connections are judged again: all of them under a new policy, and by their next
    /// packet when routes have come or gone.
    fn control(&mut self, control: &Control) {
        match control {
            Control::Replace(policy) => {
                self.policy = Arc::clone(policy);
                self.added.retain(|(table, route)| {
                    policy.tables.iter().any(|kept| kept.id == *table)
                        && policy.interfaces.iter().any(|kept| kept.id == route.interface)
                });
                self.flows.iter_mut().for_each(|flow| flow.stale = true);
                let mut flows = std::mem::take(&mut self.flows);
                flows.retain_mut(|flow| self.judged_again(flow));
                self.flows = flows;
            }
            Control::AddRoutes(routes) => {
                let known = |(table, _): &&(TableId, Route)| self.policy.tables.iter().any(|kept| kept.id == *table);
                let new: Vec<_> = routes.iter().filter(known).cloned().collect();
                self.added.extend(new);
                self.flows.iter_mut().for_each(|flow| flow.stale = true);
            }
            Control::RemoveRoutes(routes) => {
                for route in routes {
                    if let Some(at) = self.added.iter().rposition(|added| added == route) {
                        self.added.remove(at);
                    }
                }
                self.flows.iter_mut().for_each(|flow| flow.stale = true);
            }
            _ => {}
        }
    }

    /// The connection that has this key at one of its sides, and whether it is the opener's.
    fn find(&self, key: &Key) -> Option<(usize, bool)> {
        let forth = self.flows.iter().position(|flow| flow.near == *key).map(|at| (at, true));
        forth.or_else(|| self.flows.iter().position(|flow| flow.far.reversed() == *key).map(|at| (at, false)))
    }

    fn drop(&mut self, reason: Reason) {
        self.answer.drops.push(reason);
    }
}
