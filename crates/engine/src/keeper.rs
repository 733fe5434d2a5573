//! What changes while a configuration runs, and what follows from it: names are resolved, schedules begin and end, routes
//! fail and come back, clients bring theirs. Any of it makes the policy of the packet path anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use base::{Buffer, Duration, Event, Instant, Now, Random, Record};
use ike::{ChildId, ChildSa};
use objects::{Conditions, InterfaceId, InterfaceKind, Route, RouteKey, Snapshot, TableId, TunnelId};

use crate::client_routes::{self, ClientRoutes};
use crate::events::{ClientRouteTaken, ClientRoutesRefused};
use crate::job::{Job, JobKind, JobResult, Jobs, Probe, ProbeMethod, Ticket};
use crate::monitor::{self, Change, Changes, Monitors, Poll, Which};
use crate::names::Names;
use crate::schedules::{self, Schedules};
use crate::{NameStatus, WatchStatus, events};

/// How long asking for a name may take.
const RESOLVE_TIME: Duration = Duration::from_secs(10);
/// A tunnel whose SAs are watched and not there is set up so often.
const CONNECT_AGAIN: Duration = Duration::from_secs(10);

/// What a job is for.
#[derive(Debug)]
enum Purpose {
    Name(String),
    Poll(RouteKey, Which, u16),
}

/// What is to be done, in order.
#[derive(Debug)]
pub(crate) enum Order {
    Start(Job),
    /// Send a packet of the gateway's own over this interface and by this next hop, wherever the routes lead.
    Originate(InterfaceId, Option<IpAddr>, Buffer),
    Connect(TunnelId),
    /// Routes of clients come.
    AddRoutes(Vec<(TableId, Route)>),
    /// Routes of clients go.
    RemoveRoutes(Vec<(TableId, Route)>),
    Log(Record),
}

/// Keeps the conditions under which a configuration runs.
#[derive(Debug)]
pub(crate) struct Keeper {
    conditions: Conditions,
    names: Names,
    schedules: Schedules,
    monitors: Monitors,
    clients: ClientRoutes,
    jobs: Jobs<Purpose>,
    /// The kernel's names of interfaces without link.
    down: BTreeSet<String>,
    /// Pairs of SAs, tunnel by tunnel.
    sas: BTreeMap<ChildId, TunnelId>,
    /// When tunnels that are wanted are set up again.
    connect: Option<Instant>,
    /// The packet path has not been told the latest conditions.
    changed: bool,
    next: Option<Instant>,
    orders: Vec<Order>,
}

impl Keeper {
    pub(crate) fn new(random: Random) -> Self {
        Self {
            conditions: Conditions::default(),
            names: Names::default(),
            schedules: Schedules::default(),
            monitors: Monitors::new(random),
            clients: ClientRoutes::default(),
            jobs: Jobs::default(),
            down: BTreeSet::new(),
            sas: BTreeMap::new(),
            connect: None,
            changed: false,
            next: None,
            orders: Vec::new(),
        }
    }

    /// A new configuration: what it has in common with the one before goes on.
    pub(crate) fn configure(&mut self, now: Now, snapshot: &Snapshot) {
        let mut log = Vec::new();
        self.names.configure(now.mono, &snapshot.names(), &mut log);
        self.log(log);
        self.schedules.configure(now, snapshot);
        self.monitors.configure(now.mono, snapshot);
        let routes = self.clients.all(snapshot);
        let before = std::mem::take(&mut self.conditions.routes);
        let gone: Vec<_> = before.iter().filter(|route| !routes.contains(route)).cloned().collect();
        let new: Vec<_> = routes.iter().filter(|route| !before.contains(route)).cloned().collect();
        self.conditions.routes = routes;
        self.order_routes(gone, new);
        self.look_at_links(now.mono, snapshot);
        self.gather(now);
        self.next = Some(now.mono);
    }

    /// The conditions, and whether they have changed since this was asked last.
    pub(crate) fn conditions(&mut self, now: Now) -> Option<&Conditions> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.gather(now);
        Some(&self.conditions)
    }

    /// The conditions as they were told last.
    pub(crate) fn told(&self) -> &Conditions {
        &self.conditions
    }

    /// Does what the time has come for.
    pub(crate) fn expire(&mut self, now: Now, snapshot: &Snapshot) {
        let mut log = Vec::new();
        self.changed |= self.schedules.look(now, &mut log);
        if self.next.is_some_and(|next| next <= now.mono) {
            while let Some(purpose) = self.jobs.give_up(now.mono) {
                self.failed(now.mono, snapshot, purpose, "it has not come back in time");
            }
            self.changed |= self.names.expire(now.mono, &mut log);
            let changes = self.monitors.expire(now.mono);
            self.heed(snapshot, changes);
            self.ask(now.mono);
            while let Some(poll) = self.monitors.next_poll(now.mono) {
                self.send(now.mono, snapshot, poll);
            }
            self.connect(now.mono, snapshot);
            self.plan();
        }
        self.log(log);
    }

    /// What is to be done.
    pub(crate) fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        [self.next, self.schedules.next_deadline()].into_iter().flatten().min()
    }

    /// A job has come back.
    pub(crate) fn finished(&mut self, now: Instant, snapshot: &Snapshot, ticket: Ticket, result: JobResult) {
        let Some(purpose) = self.jobs.finish(ticket) else { return };
        match (purpose, result) {
            (Purpose::Name(name), JobResult::Resolved { v4, v6 }) => {
                let mut log = Vec::new();
                self.changed |= self.names.answer(now, &name, [v4, v6], &mut log);
                self.log(log);
            }
            (Purpose::Poll(route, which, sequence), JobResult::Probed(result)) => {
                let changes = self.monitors.answer(now, (route, which, sequence), result.ok());
                self.heed(snapshot, changes);
            }
            (purpose, _) => self.failed(now, snapshot, purpose, "the answer is to another question"),
        }
        self.plan();
    }

    /// A packet for the gateway: true when it answers a poll.
    pub(crate) fn receive(&mut self, now: Instant, snapshot: &Snapshot, packet: &[u8]) -> bool {
        let Some(answer) = monitor::read_answer(packet) else { return false };
        let Some((route, changes)) = self.monitors.receive(now, &answer) else { return false };
        self.orders.extend(answer.farewell.map(|farewell| Order::Originate(route.interface, route.gateway, farewell)));
        self.heed(snapshot, changes);
        self.plan();
        true
    }

    /// These interfaces of the kernel have no link.
    pub(crate) fn links(&mut self, now: Instant, snapshot: &Snapshot, down: BTreeSet<String>) {
        self.down = down;
        self.look_at_links(now, snapshot);
        self.plan();
    }

    /// SAs are in use.
    pub(crate) fn installed(&mut self, now: Instant, snapshot: &Snapshot, sa: &ChildSa) {
        let tunnel = TunnelId(sa.tunnel.0);
        self.sas.insert(sa.id, tunnel);
        let changes = self.clients.add(snapshot, sa.id, tunnel, &sa.remote);
        self.heed_clients(snapshot, tunnel, changes);
        self.look_at_links(now, snapshot);
        self.plan();
    }

    /// SAs are gone.
    pub(crate) fn removed(&mut self, now: Instant, snapshot: &Snapshot, child: ChildId) {
        let Some(tunnel) = self.sas.remove(&child) else { return };
        let changes = self.clients.remove(snapshot, child);
        self.heed_clients(snapshot, tunnel, changes);
        self.look_at_links(now, snapshot);
        self.plan();
    }

    /// Asks for all names anew; returns how many there are.
    pub(crate) fn ask_again(&mut self, now: Instant) -> usize {
        let count = self.names.ask_all(now);
        self.plan();
        count
    }

    pub(crate) fn names(&self) -> Vec<NameStatus> {
        self.names.list()
    }

    pub(crate) fn watches(&self, now: Instant) -> Vec<WatchStatus> {
        self.monitors.list(now)
    }

    fn gather(&mut self, now: Now) {
        self.conditions.names = self.names.addresses();
        self.conditions.failed = self.monitors.failed();
        self.conditions.unix_seconds = schedules::seconds(now);
    }

    fn plan(&mut self) {
        let next = [self.names.next_deadline(), self.monitors.next_deadline(), self.jobs.next_deadline(), self.connect];
        self.next = next.into_iter().flatten().min();
    }

    fn ask(&mut self, now: Instant) {
        while let Some(name) = self.names.next_question(now) {
            let kind = JobKind::Resolve { name: name.clone() };
            match self.jobs.begin(now, Purpose::Name(name.clone()), kind, RESOLVE_TIME) {
                Some(job) => self.orders.push(Order::Start(job)),
                None => self.unresolved(now, &name, "too many jobs are under way"),
            }
        }
    }

    /// Sends a poll: as a packet of our own, or as a job where the kernel owns the interface.
    fn send(&mut self, now: Instant, snapshot: &Snapshot, poll: Poll) {
        let Poll { route, which, terms, identifier, sequence, patience } = poll;
        let Some(interface) = snapshot.interface_by_id(route.interface) else { return };
        let device = match &interface.kind {
            InterfaceKind::Ethernet { device, owned } if !owned || terms.method == ProbeMethod::Neighbor => {
                Some(device)
            }
            _ => None,
        };
        let sent = match device {
            Some(device) => {
                let (method, target, source) = (terms.method, terms.target, terms.source);
                let kind = JobKind::Probe(Probe { method, target, source, device: device.clone() });
                let job = self.jobs.begin(now, Purpose::Poll(route, which, sequence), kind, patience);
                job.map(Order::Start)
            }
            None => terms
                .source
                .and_then(|source| monitor::request(terms.method, source, terms.target, identifier, sequence))
                .map(|packet| Order::Originate(route.interface, route.gateway, packet)),
        };
        match sent {
            Some(order) => self.orders.push(order),
            None => {
                let changes = self.monitors.answer(now, (route, which, sequence), None);
                self.heed(snapshot, changes);
            }
        }
    }

    /// Sets up tunnels whose SAs are watched: a route that is not used brings no packet that would.
    fn connect(&mut self, now: Instant, snapshot: &Snapshot) {
        let wanted = self.monitors.wanted_links();
        let tunnels: Vec<TunnelId> =
            snapshot.tunnels.iter().map(|tunnel| tunnel.id).filter(|id| wanted.contains(&id.interface())).collect();
        if tunnels.is_empty() {
            self.connect = None;
        } else if self.connect.is_none_or(|at| at <= now) {
            self.connect = Some(now + CONNECT_AGAIN);
            self.orders.extend(tunnels.into_iter().map(Order::Connect));
        }
    }

    fn look_at_links(&mut self, now: Instant, snapshot: &Snapshot) {
        let (down, sas) = (&self.down, &self.sas);
        let changes = self.monitors.set_links(now, |interface| has_link(snapshot, interface, down, sas));
        self.heed(snapshot, changes);
        if self.connect.is_none() && !self.monitors.wanted_links().is_empty() {
            self.connect = Some(now);
        }
    }

    fn failed(&mut self, now: Instant, snapshot: &Snapshot, purpose: Purpose, reason: &str) {
        match purpose {
            Purpose::Name(name) => self.unresolved(now, &name, reason),
            Purpose::Poll(route, which, sequence) => {
                let changes = self.monitors.answer(now, (route, which, sequence), None);
                self.heed(snapshot, changes);
            }
        }
    }

    fn unresolved(&mut self, now: Instant, name: &str, reason: &str) {
        let mut log = Vec::new();
        let answers = [Err(reason.to_owned()), Err(reason.to_owned())];
        self.changed |= self.names.answer(now, name, answers, &mut log);
        self.log(log);
    }

    fn heed(&mut self, snapshot: &Snapshot, changes: Changes) {
        for (route, change) in changes {
            self.changed |= matches!(change, Change::Holds | Change::Fails(_));
            self.orders.push(Order::Log(event(snapshot, &route, change)));
        }
    }

    fn heed_clients(&mut self, snapshot: &Snapshot, tunnel: TunnelId, changes: client_routes::Changes) {
        let name = |tunnel: TunnelId| interface_name(snapshot, tunnel.interface());
        for (network, holder) in changes.taken {
            let event = ClientRouteTaken { tunnel: name(tunnel), network, holder: name(holder) };
            self.orders.push(Order::Log(event.record()));
        }
        if changes.refused > 0 {
            let event = ClientRoutesRefused { tunnel: name(tunnel), networks: changes.refused };
            self.orders.push(Order::Log(event.record()));
        }
        let routes = &mut self.conditions.routes;
        if !changes.removed.is_empty() {
            routes.retain(|route| !changes.removed.contains(route));
        }
        routes.extend(changes.added.iter().cloned());
        self.order_routes(changes.removed, changes.added);
    }

    fn order_routes(&mut self, gone: Vec<(TableId, Route)>, new: Vec<(TableId, Route)>) {
        if !gone.is_empty() {
            self.orders.push(Order::RemoveRoutes(gone));
        }
        if !new.is_empty() {
            self.orders.push(Order::AddRoutes(new));
        }
    }

    fn log(&mut self, records: Vec<Record>) {
        self.orders.extend(records.into_iter().map(Order::Log));
    }
}

/// A tunnel has one while it has SAs; an interface of the kernel as the kernel says; any other always.
fn has_link(
    snapshot: &Snapshot,
    interface: InterfaceId,
    down: &BTreeSet<String>,
    sas: &BTreeMap<ChildId, TunnelId>,
) -> bool {
    match snapshot.interface_by_id(interface).map(|interface| &interface.kind) {
        Some(InterfaceKind::Ethernet { device, .. }) => !down.contains(device),
        Some(InterfaceKind::Vlan { base, .. }) if *base != interface => has_link(snapshot, *base, down, sas),
        Some(InterfaceKind::Tunnel(id)) => sas.values().any(|tunnel| tunnel == id),
        Some(InterfaceKind::Core | InterfaceKind::Vlan { .. }) | None => true,
    }
}

fn interface_name(snapshot: &Snapshot, interface: InterfaceId) -> String {
    snapshot.interface_by_id(interface).map_or_else(|| "-".to_owned(), |interface| interface.name.clone())
}

fn event(snapshot: &Snapshot, route: &RouteKey, change: Change) -> Record {
    let (iface, network, metric) = (interface_name(snapshot, route.interface), route.network, route.metric);
    match change {
        Change::Link(true) => events::HasLink { iface, network }.record(),
        Change::Link(false) => events::NoLink { iface, network }.record(),
        Change::Gateway(address, true) => events::HasArp { iface, network, gateway: address }.record(),
        Change::Gateway(address, false) => events::NoArp { iface, network, gateway: address }.record(),
        Change::Host(host, true, _) => events::HasPing { iface, network, host }.record(),
        Change::Host(host, false, reason) => events::NoPing { iface, network, host, reason }.record(),
        Change::Holds => events::RouteEnabled { iface, network, metric }.record(),
        Change::Fails(reason) => events::RouteDisabled { iface, network, metric, reason }.record(),
    }
}
