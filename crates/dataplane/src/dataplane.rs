//! The packet path as a whole: its state, and the calls it takes.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use base::{Buffer, Duration, Instant, Pool, Record};

use crate::esp::entry::{Entry, Sending};
use crate::esp::path_mtu::Paths;
use crate::esp::receive::Strangers;
use crate::esp::sa::SaError;
use crate::esp::table::SaTable;
use crate::events::{self, ConnClose, protocol_name};
use crate::flows::{ConnectionStatus, Flow, Flows, Looked};
use crate::fragments::Fragments;
use crate::icmp_errors::AnswerLimit;
use crate::inspect::Seen;
use crate::log_limit::LogLimit;
use crate::path::{Denial, Source, Work};
use crate::routes::Routes;
use crate::waiting::WaitingRoom;
use crate::{
    CORE, Classifier, Control, Counters, Interface, InterfaceId, InterfaceKind, Output, Policy, Question, Reason,
    Route, Rule, RuleAction, SaId, SaUsage, TunnelPath,
};

/// Buffers are made for packets of this length; longer ones grow.
const BUFFER_LEN: usize = 2048;
/// Buffers kept for use again.
const BUFFERS_KEPT: usize = 1024;
/// Things looked at in one call of [`Dataplane::expire`] because their time may be up.
pub(crate) const EXPIRED_AT_ONCE: usize = 1024;
/// When there are more, they are looked at after a pause, in which packets get their turn.
pub(crate) const EXPIRY_PAUSE: Duration = Duration::from_millis(1);
/// Log lines kept until the next call that can hand them out.
const HELD_LOGS_MAX: usize = 1024;

/// Takes packets and decides what becomes of them. One shard: nothing in it is shared.
#[derive(Debug)]
pub struct Dataplane {
    pub(crate) policy: Arc<Policy>,
    pub(crate) interfaces: BTreeMap<InterfaceId, usize>,
    pub(crate) routes: Routes,
    /// The policy's rules, compiled.
    pub(crate) rules: Classifier,
    pub(crate) flows: Flows,
    pub(crate) fragments: Fragments,
    pub(crate) waiting: WaitingRoom,
    pub(crate) sas: SaTable,
    pub(crate) paths: Paths,
    /// The last one that was given to an IPv4 packet.
    pub(crate) identification: u16,
    pub(crate) strangers: Strangers,
    pub(crate) counters: Counters,
    pub(crate) log_limit: LogLimit,
    pub(crate) answers: AnswerLimit,
    pub(crate) pool: Pool,
    /// Packets that begin at the top of the path.
    pub(crate) queue: VecDeque<Work>,
    held_logs: Vec<Record>,
    /// More has to end, but not before this.
    expiry_paused: Option<Instant>,
    /// When it was called last, for calls that come without a time.
    last: Instant,
}

impl Dataplane {
    /// A packet path under `policy`, with no SA and no connection.
    pub fn new(policy: Arc<Policy>) -> Self {
        Self::with_hash_key(policy, 0)
    }

    /// [`Self::new`] with a random key for its tables, so that nobody outside can choose addresses and ports that fall on
    /// one place. The key changes no result.
    pub fn with_hash_key(policy: Arc<Policy>, hash_key: u64) -> Self {
        Self {
            interfaces: positions(&policy),
            routes: Routes::new(policy.main_routes()),
            rules: Classifier::new(&policy.rules),
            policy,
            flows: Flows::new(hash_key),
            fragments: Fragments::default(),
            waiting: WaitingRoom::default(),
            sas: SaTable::new(hash_key),
            paths: Paths::default(),
            identification: 0,
            strangers: Strangers::default(),
            counters: Counters::default(),
            log_limit: LogLimit::new(0),
            answers: AnswerLimit::default(),
            pool: Pool::new(BUFFER_LEN, BUFFERS_KEPT),
            queue: VecDeque::with_capacity(16),
            held_logs: Vec::new(),
            expiry_paused: None,
            last: Instant::ZERO,
        }
    }

    /// Does what the control side says.
    ///
    /// # Errors
    /// Only for [`Control::Install`]: when the SPI or number is in use. Nothing is changed then.
    pub fn control(&mut self, now: Instant, control: Control, out: &mut Vec<Output>) -> Result<(), SaError> {
        self.begin(now, out);
        match control {
            Control::Replace(policy) => self.replace(now, policy, out),
            Control::Install(sa) => {
                let (tunnel, replaces) = (sa.tunnel, sa.replaces);
                let mut entry = Entry::new(sa);
                entry.path_mtu = self.paths.mtu(entry.outer.remote.ip());
                let unit = entry.unit;
                if let Some(path) = self.tunnel(tunnel) {
                    entry.obey(path);
                }
                // The pair to be replaced is gone or stopped already: nothing is left to wait for.
                let nothing_before =
                    replaces.is_some_and(|old| self.sas.by_id(old).is_none_or(|old| old.sending == Sending::Never));
                let slot = self.sas.insert(entry)?;
                if nothing_before {
                    self.sas.start_sending(slot);
                }
                self.waiting.answered(tunnel, unit);
                self.send_waiting(now, tunnel, out);
                self.run_queue(now, out);
            }
            Control::StopSending(id) => self.sas.stop_sending(id),
            Control::Remove(id) => {
                self.sas.stop_sending(id);
                self.sas.remove(id);
            }
            Control::Move(id, outer) => {
                self.sas.move_to(id, outer, self.paths.mtu(outer.remote.ip()));
            }
            Control::Abandon(tunnel) => self.abandon(now, tunnel, out),
            Control::PathMtu(remote, mtu) => self.path_takes(now, remote, usize::from(mtu)),
        }
        Ok(())
    }

    /// A packet read from the host port. The receiving interface follows from its source address: an address of ours is
    /// [`CORE`], any other is where the route back leads.
    pub fn plain(&mut self, now: Instant, packet: Buffer, out: &mut Vec<Output>) {
        self.begin(now, out);
        self.run(now, Work { packet, source: Source::Port, header: None, cut: None }, out);
    }

    /// A packet that the gateway itself originates, from [`CORE`]. No rule is asked.
    pub fn originate(&mut self, now: Instant, packet: Buffer, out: &mut Vec<Output>) {
        self.begin(now, out);
        self.run(now, Work { packet, source: Source::Originated, header: None, cut: None }, out);
    }

    /// Ends what has lived too long: connections, unfinished packets, packets that wait. Looks at a bounded number of
    /// them, and leaves the rest to the next call.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.begin(now, out);
        self.turn_log(now, out);
        if self.expiry_paused.is_none_or(|until| until <= now) {
            let all = (0..EXPIRED_AT_ONCE).any(|_| !self.expire_one(now, out));
            self.expiry_paused = (!all).then(|| now + EXPIRY_PAUSE);
        }
        self.run_queue(now, out);
    }

    /// Looks at one thing whose time may be up; false when there is none.
    fn expire_one(&mut self, now: Instant, out: &mut Vec<Output>) -> bool {
        if self.fragments.expire(now) {
            self.counters.count(Reason::FragmentTimeout);
        } else if let Some((tunnel, work)) = self.waiting.pop_expired(now) {
            self.deny(now, work, Denial::by_tunnel(Reason::WaitingTimeout, tunnel), out);
        } else if !self.expire_path(now) {
            match self.flows.look_at_next(now) {
                Looked::Expired(flow) => self.log_closed(now, &flow, out),
                Looked::Lives => {}
                Looked::NoneDue => return false,
            }
        }
        true
    }

    /// When [`Self::expire`] wants to be called. It may be called at any other time too.
    pub fn next_deadline(&self) -> Option<Instant> {
        let held = (!self.held_logs.is_empty()).then_some(Instant::ZERO);
        let packets = [self.fragments.next_deadline(), self.waiting.next_deadline()];
        let expiry = [self.flows.next_deadline(), self.paths.next_deadline()].into_iter().chain(packets);
        let expiry = expiry.flatten().min().map(|at| self.expiry_paused.map_or(at, |until| at.max(until)));
        [held, expiry, self.log_limit.next_deadline()].into_iter().flatten().min()
    }

    /// What has passed through a pair of SAs; `None` when there is no such pair.
    pub fn usage(&self, sa: SaId) -> Option<SaUsage> {
        self.sas.by_id(sa).map(|entry| entry.sa.usage())
    }

    /// The route to an address: longest prefix, then lowest metric.
    pub fn lookup(&self, address: IpAddr) -> Option<&Route> {
        self.routes.lookup(address)
    }

    /// All connections.
    pub fn connections(&self, now: Instant) -> impl Iterator<Item = ConnectionStatus> {
        self.flows.iter().map(move |(_, flow)| flow.status(now, |interface| self.name(interface)))
    }

    /// Ends the connections that `filter` picks; returns how many.
    pub fn close_connections(&mut self, filter: impl Fn(&ConnectionStatus) -> bool) -> usize {
        let now = self.last;
        let picked: Vec<u32> = self
            .flows
            .iter()
            .filter(|(_, flow)| filter(&flow.status(now, |interface| self.name(interface))))
            .map(|(slot, _)| slot)
            .collect();
        for slot in &picked {
            if let Some(flow) = self.flows.close(*slot)
                && let Some(record) = self.closed_record(&flow, now)
                && self.held_logs.len() < HELD_LOGS_MAX
            {
                self.held_logs.push(record);
            }
        }
        picked.len()
    }

    /// How often packets were dropped, by reason.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The policy in force.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Takes an empty buffer.
    pub fn buffer(&mut self) -> Buffer {
        self.pool.take()
    }

    /// Gives a buffer back, to be used again.
    pub fn recycle(&mut self, buffer: Buffer) {
        self.pool.give(buffer);
    }

    fn replace(&mut self, now: Instant, policy: Arc<Policy>, out: &mut Vec<Output>) {
        self.interfaces = positions(&policy);
        self.routes = Routes::new(policy.main_routes());
        self.rules = Classifier::new(&policy.rules);
        self.policy = policy;
        for sa in self.sas.iter_mut() {
            let index = self.interfaces.get(&sa.sa.tunnel);
            let interface = index.and_then(|index| self.policy.interfaces.get(*index));
            if let Some(InterfaceKind::Tunnel(path)) = interface.map(|interface| &interface.kind) {
                sa.obey(path);
            }
        }
        for tunnel in self.waiting.tunnels() {
            if self.tunnel(tunnel).is_none() {
                self.abandon(now, tunnel, out);
            }
        }
        self.waiting.forget_asking();
        self.judge_flows_again(now, out);
        self.judge_waiting_again(now, out);
        self.run_queue(now, out);
    }

    /// Ends the connections that the new policy would not allow, or would send by another way.
    ///
    /// All in one step, so that no packet passes by what is forbidden now. It costs two lookups of routes and one of the
    /// rules for each connection.
    fn judge_flows_again(&mut self, now: Instant, out: &mut Vec<Output>) {
        let slots: Vec<u32> = self.flows.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Some(flow) = self.flows.get(slot) else { continue };
            let leads = |address, interface| self.lookup(address).is_some_and(|route| route.interface == interface);
            let (from, to) = (flow.opener.side, flow.other.side);
            let same_way = (from.interface == CORE || leads(flow.key.source, from.interface))
                && leads(flow.key.destination, to.interface)
                && self.side(from.interface) == from
                && self.side(to.interface) == to;
            let seen = flow.opening_packet();
            let verdict = if flow.originated {
                Some((flow.rule.clone(), flow.log))
            } else {
                self.first_match(&seen, from.interface, to.interface)
                    .filter(|rule| rule.action == RuleAction::Allow)
                    .map(|rule| (rule.name.clone(), rule.log))
            };
            match verdict.filter(|_| same_way) {
                Some((rule, log)) => {
                    if let Some(flow) = self.flows.get_mut(slot) {
                        (flow.rule, flow.log) = (rule, log);
                    }
                }
                None => self.close_flow(now, slot, out),
            }
        }
    }

    /// The first rule for a packet which would open a connection between two interfaces.
    pub(crate) fn first_match(&self, seen: &Seen, source: InterfaceId, destination: InterfaceId) -> Option<&Rule> {
        let question = Question::of(seen, source, destination);
        self.policy.rules.get(self.rules.first_match(&self.policy.rules, &question)?)
    }

    /// Drops what waits for a tunnel.
    fn abandon(&mut self, now: Instant, tunnel: InterfaceId, out: &mut Vec<Output>) {
        for waiting in self.waiting.take(tunnel) {
            self.deny(now, waiting.work, Denial::by_tunnel(Reason::TunnelUnavailable, tunnel), out);
        }
    }

    /// Ends a connection.
    pub(crate) fn close_flow(&mut self, now: Instant, slot: u32, out: &mut Vec<Output>) {
        if let Some(flow) = self.flows.close(slot) {
            self.log_closed(now, &flow, out);
        }
    }

    fn log_closed(&mut self, now: Instant, flow: &Flow, out: &mut Vec<Output>) {
        if flow.log.is_some()
            && self.may_log_connection(now, out)
            && let Some(record) = self.closed_record(flow, now)
        {
            out.push(Output::Log(record));
        }
    }

    fn closed_record(&self, flow: &Flow, now: Instant) -> Option<Record> {
        let event = ConnClose {
            rule: flow.rule.to_string(),
            conn: "close".to_owned(),
            connipproto: protocol_name(flow.key.protocol),
            connrecvif: self.name(flow.opener.side.interface).to_string(),
            connsrcip: flow.key.source.to_string(),
            connsrcport: flow.key.ports.0,
            conndestif: self.name(flow.other.side.interface).to_string(),
            conndestip: flow.key.destination.to_string(),
            conndestport: flow.key.ports.1,
            origsent: flow.opener.bytes,
            termsent: flow.other.bytes,
            conntime: now.since(flow.opened).as_secs(),
        };
        Some(events::record_at(&event, flow.log?))
    }

    /// Remembers the time, and hands out log lines of calls that could not.
    pub(crate) fn begin(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.last = now;
        out.extend(self.held_logs.drain(..).map(Output::Log));
    }

    pub(crate) fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.policy.interfaces.get(*self.interfaces.get(&id)?)
    }

    /// What is known of a tunnel; `None` for any other interface.
    pub(crate) fn tunnel(&self, id: InterfaceId) -> Option<&TunnelPath> {
        match &self.interface(id)?.kind {
            InterfaceKind::Tunnel(path) => Some(path),
            InterfaceKind::Core | InterfaceKind::Host | InterfaceKind::Port => None,
        }
    }

    /// An interface's name, for logs and listings.
    pub(crate) fn name(&self, id: InterfaceId) -> Arc<str> {
        match self.interface(id) {
            Some(interface) => interface.name.clone(),
            None if id == CORE => "core".into(),
            None => "(gone)".into(),
        }
    }
}

fn positions(policy: &Policy) -> BTreeMap<InterfaceId, usize> {
    policy.interfaces.iter().enumerate().map(|(index, interface)| (interface.id, index)).collect()
}
