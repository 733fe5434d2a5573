//! Routing tables, routes with what watches over them, routing rules.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use base::{Duration, IpRange};

use super::{InterfaceId, Interfaces, Networks, Schedule, Service};

/// A routing table, the same number for the same name in every snapshot (but for the rare collision of two names).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u32);

impl TableId {
    /// The table `main`.
    pub const MAIN: Self = Self(0);
}

/// A routing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingTable {
    /// Its number.
    pub id: TableId,
    /// Its name.
    pub name: String,
    /// How it goes together with `main`.
    pub ordering: Ordering,
    /// Everything in it: core routes, interface routes, the tunnels' own, configured ones.
    pub routes: Vec<Route>,
}

/// How a routing table goes together with `main`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ordering {
    /// `main` first; this one where that has nothing but a route to everywhere.
    #[default]
    Default,
    /// This one first; `main` where it has nothing.
    First,
    /// Only this one.
    Only,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where packets go.
    pub interface: InterfaceId,
    /// Which packets: always exactly a network, so `network.prefix()` is never `None`.
    pub network: IpRange,
    /// The next hop; `None`: the destination itself is on the link (or in the tunnel).
    pub gateway: Option<IpAddr>,
    /// Own address towards this network, where it is not the interface's.
    pub local_ip: Option<IpAddr>,
    /// Of two routes to the same network the one with the lower metric is used.
    pub metric: u32,
    /// Why it is there.
    pub origin: RouteOrigin,
    /// Interfaces on which the gateway answers ARP and neighbour discovery for the network's hosts.
    pub proxy: Vec<InterfaceId>,
    /// What is watched; while that fails the route is not used. `None`: the route always holds.
    pub monitor: Option<Arc<RouteMonitor>>,
}

impl Route {
    /// What tells the route from others of its table, in every snapshot that has it.
    pub const fn key(&self, table: TableId) -> RouteKey {
        RouteKey { table, interface: self.interface, network: self.network, gateway: self.gateway, metric: self.metric }
    }
}

/// A route's name for whoever watches over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// Its table.
    pub table: TableId,
    /// Where it leads.
    pub interface: InterfaceId,
    /// What it leads to.
    pub network: IpRange,
    /// Its next hop.
    pub gateway: Option<IpAddr>,
    /// Its metric.
    pub metric: u32,
}

/// Why a route is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteOrigin {
    /// An address of the gateway itself, or multicast: leads to `core`.
    Core,
    /// A network on an interface of the host, or its default gateway.
    Interface,
    /// A tunnel's automatic route (`AutoInterfaceNetworkRoute`, `AddRouteToRemoteNet`).
    Tunnel,
    /// A Route object.
    Configured,
}

/// What is watched about a route. It holds while everything that is watched is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteMonitor {
    /// The interface's link must be up; a tunnel must have SAs.
    pub link: bool,
    /// The gateway must answer ARP or neighbour solicitations, asked this often.
    pub gateway: Option<Duration>,
    /// These hosts must answer.
    pub hosts: Vec<MonitoredHost>,
    /// How many of them.
    pub reachability: Reachability,
    /// How long after a new configuration or a start nothing counts as failed.
    pub grace: Duration,
}

/// How many monitored hosts must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reachability {
    /// Every one.
    All,
    /// One.
    Any,
}

/// A host that is polled to know whether a route leads anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitoredHost {
    /// How it is polled.
    pub method: PollMethod,
    /// Its address.
    pub address: IpAddr,
    /// Our address in the polls; `None`: that of the route's interface.
    pub source: Option<IpAddr>,
    /// Time between two polls.
    pub interval: Duration,
    /// Of how many polls the answers are counted.
    pub samples: u32,
    /// Polls among those that may go unanswered.
    pub fails_max: u32,
    /// Average time to an answer beyond which the host counts as not reachable.
    pub latency_max: Duration,
    /// It must answer whatever the others do.
    pub required: bool,
}

/// How a monitored host is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollMethod {
    /// ICMP echo.
    Icmp,
    /// A TCP handshake with this port.
    Tcp(u16),
}

/// Which table a connection is routed by; the first that fits decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingRule {
    /// Position, from 1.
    pub index: u32,
    /// Its name, or its position as text when it has none.
    pub name: String,
    /// Where the packet came from.
    pub source_interface: Interfaces,
    /// Source addresses.
    pub source_network: Networks,
    /// Where the route of table `main` leads.
    pub destination_interface: Interfaces,
    /// Destination addresses.
    pub destination_network: Networks,
    /// What the packet is.
    pub service: Service,
    /// The table for packets of whoever opened the connection.
    pub forward: TableId,
    /// The table for the answers.
    pub back: TableId,
    /// When it is in force; `None`: always.
    pub schedule: Option<Arc<Schedule>>,
}

/// What changes while a configuration runs: what names resolve to, which routes fail, which ones clients brought, and
/// the time. The packet path is told anew whenever one of these changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Addresses of host names, lower case. A name that is not here is not resolved and fits nothing.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Monitored routes that fail at the moment.
    pub failed: std::collections::BTreeSet<RouteKey>,
    /// Routes that came with SAs (`AddRouteToRemoteNet`).
    pub routes: Vec<(TableId, Route)>,
    /// Seconds since 1970 in UTC, to tell which schedules are in force; `None`: the time is not known, and only
    /// what has no schedule is in force.
    pub unix_seconds: Option<i64>,
}

impl Conditions {
    /// The routes of a table that hold, those of clients last.
    pub fn routes_of<'a>(&'a self, table: &'a RoutingTable) -> impl Iterator<Item = &'a Route> {
        let holds = |route: &&Route| route.monitor.is_none() || !self.failed.contains(&route.key(table.id));
        let dynamic = self.routes.iter().filter(|(id, _)| *id == table.id).map(|(_, route)| route);
        table.routes.iter().filter(holds).chain(dynamic)
    }

    /// True when what has this schedule is in force. `offset` is the gateway's time zone in seconds east of UTC.
    pub fn in_force(&self, schedule: Option<&Arc<Schedule>>, offset: i32) -> bool {
        schedule.is_none_or(|schedule| {
            self.unix_seconds.is_some_and(|utc| schedule.active(utc.saturating_add(i64::from(offset))))
        })
    }
}
