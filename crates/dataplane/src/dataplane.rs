//! The packet path as a whole: its state, and the calls it takes.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use base::{Buffer, Duration, Instant, Pool, Random, Record};

use crate::esp::entry::{Entry, Sending};
use crate::esp::path_mtu::Paths;
use crate::esp::receive::Strangers;
use crate::esp::sa::SaError;
use crate::esp::table::SaTable;
use crate::flows::{ConnectionStatus, Flow, Flows, Looked, Verdict};
use crate::fragments::Fragments;
use crate::icmp_errors::AnswerLimit;
use crate::inspect::Seen;
use crate::log_limit::LogLimit;
use crate::nat::pools::Pools;
use crate::path::judge::Own;
use crate::path::peers::Peers;
use crate::path::route::Hops;
use crate::path::{Denial, ORIGINATED, Over, Source, Work};
use crate::routes::Tables;
use crate::shards::{Handed, Handoff, ShardId, Shards};
use crate::waiting::WaitingRoom;
use crate::{
    CORE, Classifier, Control, Counters, Interface, InterfaceId, InterfaceKind, Output, Policy, Question, Reason,
    Route, Rule, RuleAction, SaId, SaUsage, ServiceTimeouts, TunnelPath,
};

/// Buffers are made for packets of this length; longer ones grow.
const BUFFER_LEN: usize = 2048;
/// Buffers kept for use again.
const BUFFERS_KEPT: usize = 1024;
/// Larger ones are for what stands for many packets.
const LARGE_BUFFER_LEN: usize = 65_536;
/// Large buffers kept for use again.
const LARGE_BUFFERS_KEPT: usize = 64;
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
    pub(crate) tables: Tables,
    /// Next hops of all routes.
    pub(crate) hops: Hops,
    /// The policy's rules, access rules and routing rules, compiled.
    pub(crate) rules: Classifier,
    pub(crate) access: Classifier,
    pub(crate) routing_rules: Classifier,
    /// What connections keep of the rule that has allowed them, by the rule's place.
    pub(crate) verdicts: Vec<Arc<Verdict>>,
    /// Of those that the gateway itself begins.
    pub(crate) originated: Arc<Verdict>,
    /// Some rule lets packets pass without a connection.
    pub(crate) has_stateless: bool,
    /// There are packet ports, and interfaces behind the host port.
    pub(crate) has_ports: bool,
    pub(crate) has_host: bool,
    /// Which policy and routes these are: connections of an older generation are judged again by their next packet.
    pub(crate) generation: u32,
    /// Connections from here on have to be judged again though they say nothing.
    sweep: Option<u32>,
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
    pub(crate) pools: Pools,
    pub(crate) peers: Peers,
    pub(crate) random: Random,
    pub(crate) pool: Pool,
    /// Packets that begin at the top of the path.
    pub(crate) queue: VecDeque<Work>,
    held_logs: Vec<Record>,
    pub(crate) handoffs: Vec<(u16, Handoff)>,
    pub(crate) shards: Shards,
    /// More has to end, but not before this.
    expiry_paused: Option<Instant>,
    /// When it was called last, for calls that come without a time.
    last: Instant,
    /// Every packet goes by the path.
    #[cfg(test)]
    pub(crate) without_lane: bool,
}

impl Dataplane {
    /// A packet path under `policy`, with no SA and no connection.
    pub fn new(policy: Arc<Policy>) -> Self {
        Self::with_hash_key(policy, 0)
    }

    /// [`Self::new`] with a random key for its tables, so that nobody outside can choose addresses and ports that fall on
    /// one place. The key changes no result but the ports of translated connections.
    pub fn with_hash_key(policy: Arc<Policy>, hash_key: u64) -> Self {
        Self::shard(policy, hash_key, ShardId::ONLY)
    }

    /// One of several shards; all have the same key.
    pub fn shard(policy: Arc<Policy>, hash_key: u64, shard: ShardId) -> Self {
        let originated = Verdict {
            rule: ORIGINATED.into(),
            log: None,
            timeouts: ServiceTimeouts::default(),
            own: Own::Originated(None),
        };
        let mut random = Random::numbered(hash_key.wrapping_add(u64::from(shard.index)));
        let identification = u16::try_from(random.below(1 << 16)).unwrap_or(0);
        let mut dataplane = Self {
            interfaces: BTreeMap::new(),
            tables: Tables::new(&policy),
            hops: Hops::default(),
            rules: Classifier::new(&policy.rules),
            access: Classifier::new(&policy.access),
            routing_rules: Classifier::new(&policy.routing_rules),
            verdicts: Vec::new(),
            originated: Arc::new(originated),
            has_stateless: false,
            has_ports: false,
            has_host: false,
            generation: 0,
            sweep: None,
            policy,
            pools: Pools::default(),
            peers: Peers::default(),
            random,
            flows: Flows::new(hash_key),
            fragments: Fragments::default(),
            waiting: WaitingRoom::default(),
            sas: SaTable::new(hash_key),
            paths: Paths::default(),
            identification,
            strangers: Strangers::default(),
            counters: Counters::default(),
            log_limit: LogLimit::new(0),
            answers: AnswerLimit::default(),
            pool: Pool::new(BUFFER_LEN, BUFFERS_KEPT).with_large(LARGE_BUFFER_LEN, LARGE_BUFFERS_KEPT),
            queue: VecDeque::with_capacity(16),
            held_logs: Vec::new(),
            handoffs: Vec::new(),
            shards: Shards::new(shard, hash_key),
            expiry_paused: None,
            last: Instant::ZERO,
            #[cfg(test)]
            without_lane: false,
        };
        dataplane.prepare();
        dataplane
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
            Control::AddRoutes(routes) => {
                for (table, route) in routes {
                    self.hops.add(&route);
                    self.tables.add(table, route);
                }
                self.begin_generation();
            }
            Control::RemoveRoutes(routes) => {
                for (table, route) in &routes {
                    self.tables.remove(*table, route);
                }
                self.begin_generation();
            }
        }
        Ok(())
    }

    /// A packet read from the host port. The receiving interface follows from its source address: an address of ours is
    /// [`CORE`], any other is where the route back leads.
    pub fn plain(&mut self, now: Instant, mut packet: Buffer, out: &mut Vec<Output>) {
        self.begin(now, out);
        if !self.express(now, Source::Port, &mut packet, out) {
            self.run(now, Work::new(packet, Source::Port), out);
        }
    }

    /// An IP packet received by a packet port.
    pub fn link(&mut self, now: Instant, interface: InterfaceId, mut packet: Buffer, out: &mut Vec<Output>) {
        self.begin(now, out);
        if !self.express(now, Source::Link(interface), &mut packet, out) {
            self.run(now, Work::new(packet, Source::Link(interface)), out);
        }
    }

    /// A packet that the gateway itself originates, from [`CORE`]. No rule is asked.
    pub fn originate(&mut self, now: Instant, packet: Buffer, out: &mut Vec<Output>) {
        self.begin(now, out);
        self.run(now, Work::new(packet, Source::Originated(None)), out);
    }

    /// A packet that the gateway itself originates, by a way of its own, wherever the routes lead. So do the answers come
    /// back.
    pub fn originate_over(&mut self, now: Instant, over: Over, packet: Buffer, out: &mut Vec<Output>) {
        self.begin(now, out);
        if let Some(gateway) = over.gateway {
            self.hops.add_gateway(gateway);
        }
        self.run(now, Work::new(packet, Source::Originated(Some(over))), out);
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
        } else if let Some(slot) = self.sweep {
            self.sweep = Some(slot.saturating_add(1)).filter(|next| *next < self.flows.end());
            if self.flows.get(slot).is_some_and(|flow| flow.judged != self.generation) {
                self.judge_again(now, slot, out);
            }
        } else if !self.expire_path(now) {
            match self.flows.look_at_next(now) {
                Looked::Expired(flow) => {
                    self.ended(&flow);
                    self.log_closed(now, &flow, out);
                }
                Looked::Lives => {}
                Looked::NoneDue => return false,
            }
        }
        true
    }

    /// When [`Self::expire`] wants to be called. It may be called at any other time too.
    pub fn next_deadline(&self) -> Option<Instant> {
        let held = (!self.held_logs.is_empty()).then_some(Instant::ZERO);
        let sweep = self.sweep.map(|_| self.last);
        let packets = [self.fragments.next_deadline(), self.waiting.next_deadline(), sweep];
        let expiry = [self.flows.next_deadline(), self.paths.next_deadline()].into_iter().chain(packets);
        let expiry = expiry.flatten().min().map(|at| self.expiry_paused.map_or(at, |until| at.max(until)));
        [held, expiry, self.log_limit.next_deadline()].into_iter().flatten().min()
    }

    /// What has passed through a pair of SAs; `None` when there is no such pair.
    pub fn usage(&self, sa: SaId) -> Option<SaUsage> {
        self.sas.by_id(sa).map(|entry| entry.sa.usage())
    }

    /// The route of the main table to an address: longest prefix, then lowest metric.
    pub fn lookup(&self, address: IpAddr) -> Option<&Route> {
        self.tables.main().lookup(address)
    }

    /// All connections that the policy of now allows, as far as it has been asked or by asking it.
    pub fn connections(&self, now: Instant) -> impl Iterator<Item = ConnectionStatus> {
        self.flows.iter().filter_map(move |(_, flow)| self.status(now, flow))
    }

    fn status(&self, now: Instant, flow: &Flow) -> Option<ConnectionStatus> {
        let rule = if flow.judged == self.generation {
            flow.verdict.rule.clone()
        } else {
            self.renewed(flow)?.verdict.rule.clone()
        };
        Some(flow.status(now, rule, |interface| self.name(interface)))
    }

    /// Ends the connections that `filter` picks; returns how many.
    pub fn close_connections(&mut self, filter: impl Fn(&ConnectionStatus) -> bool) -> usize {
        let now = self.last;
        let picked = |(slot, flow): (u32, &Flow)| self.status(now, flow).filter(&filter).map(|_| slot);
        let picked: Vec<u32> = self.flows.iter().filter_map(picked).collect();
        for slot in &picked {
            if let Some(flow) = self.forget(*slot)
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

    /// Takes an empty buffer for a packet that stands for many, or a train of packets.
    pub fn large_buffer(&mut self) -> Buffer {
        self.pool.take_for(LARGE_BUFFER_LEN)
    }

    /// Gives a buffer back, to be used again.
    pub fn recycle(&mut self, buffer: Buffer) {
        self.pool.give(buffer);
    }

    /// What follows from the policy.
    fn prepare(&mut self) {
        let policy = Arc::clone(&self.policy);
        self.interfaces = policy.interfaces.iter().zip(0..).map(|(interface, at)| (interface.id, at)).collect();
        let of = |kind: fn(&InterfaceKind) -> bool| policy.interfaces.iter().any(|interface| kind(&interface.kind));
        self.has_ports = of(|kind| matches!(kind, InterfaceKind::Port));
        self.has_host = of(|kind| matches!(kind, InterfaceKind::Host));
        self.has_stateless = policy.rules.iter().any(|rule| rule.action == RuleAction::Stateless);
        let verdict =
            |rule: &Rule| Verdict { rule: rule.name.clone(), log: rule.log, timeouts: rule.timeouts, own: Own::No };
        self.verdicts = policy.rules.iter().map(|rule| Arc::new(verdict(rule))).collect();
        self.hops = Hops::default();
        policy.tables.iter().flat_map(|table| &table.routes).for_each(|route| self.hops.add(route));
        self.tables.dynamic().for_each(|route| self.hops.add(route));
    }

    /// Connections are to be judged again.
    fn begin_generation(&mut self) {
        // After 2^32 changes an old connection could pass for a new one, unless all of them are looked at before: they are,
        // by every new policy and by their next packet.
        self.generation = self.generation.wrapping_add(1);
    }

    /// A new policy takes the place of the old one. Dynamic routes stay while their interface and table do.
    ///
    /// Connections are judged again one by one: by their next packet, or when [`Self::expire`] comes to them. A listing asks
    /// the new policy before.
    fn replace(&mut self, now: Instant, policy: Arc<Policy>, out: &mut Vec<Output>) {
        let mut tables = Tables::new(&policy);
        tables
            .take_over(&self.tables, |route| policy.interfaces.iter().any(|interface| interface.id == route.interface));
        self.tables = tables;
        self.rules = Classifier::new(&policy.rules);
        self.access = Classifier::new(&policy.access);
        self.routing_rules = Classifier::new(&policy.routing_rules);
        self.policy = policy;
        self.prepare();
        self.begin_generation();
        self.sweep = (self.flows.len() > 0).then_some(0);
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
        self.judge_waiting_again(now, out);
        self.run_queue(now, out);
    }

    /// The first rule for a packet which would open a connection between two interfaces, and its place.
    pub(crate) fn first_match(
        &self,
        seen: &Seen,
        source: InterfaceId,
        destination: InterfaceId,
    ) -> Option<(usize, &Rule)> {
        let question = Question::of(seen, source, destination);
        let at = self.rules.first_match(&self.policy.rules, &question)?;
        Some((at, self.policy.rules.get(at)?))
    }

    /// Drops what waits for a tunnel.
    fn abandon(&mut self, now: Instant, tunnel: InterfaceId, out: &mut Vec<Output>) {
        for waiting in self.waiting.take(tunnel) {
            self.deny(now, waiting.work, Denial::by_tunnel(Reason::TunnelUnavailable, tunnel), out);
        }
    }

    /// Ends a connection.
    pub(crate) fn close_flow(&mut self, now: Instant, slot: u32, out: &mut Vec<Output>) {
        if let Some(flow) = self.forget(slot) {
            self.log_closed(now, &flow, out);
        }
    }

    /// Ends a connection without a word.
    pub(crate) fn forget(&mut self, slot: u32) -> Option<Flow> {
        let flow = self.flows.close(slot)?;
        self.ended(&flow);
        Some(flow)
    }

    fn ended(&mut self, flow: &Flow) {
        if flow.translated.is_some()
            && let Some(to) = self.shards.owner_elsewhere(flow.far_key())
        {
            self.hand(to, Handed::Release(*flow.far_key()));
        }
        if let Some(translated) = &flow.translated
            && let Some(pool) = &translated.pool
        {
            self.pools.end(pool, flow.key.source, translated.key.source);
        }
    }

    /// Remembers the time, and hands out log lines of calls that could not.
    pub(crate) fn begin(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.last = now;
        if !self.held_logs.is_empty() {
            out.extend(self.held_logs.drain(..).map(Output::Log));
        }
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
