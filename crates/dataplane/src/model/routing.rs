//! Routes and rules, looked for one by one.

use std::net::IpAddr;

use base::IpRange;

use super::packet::{Body, Packet};
use crate::{
    AccessAction, CORE, InterfaceId, InterfaceKind, MAIN, Ordering, Policy, Route, RoutingTable, Rule, Service, TableId,
};

/// The best route of some: the longest prefix, then the lowest metric, then the first.
fn best<'a>(routes: impl Iterator<Item = &'a Route>, address: IpAddr) -> Option<&'a Route> {
    let mut best: Option<&Route> = None;
    for route in routes.filter(|route| route.network.contains(&address)) {
        let better = best.is_none_or(|best| {
            let (new, old) = (route.network.prefix_len(), best.network.prefix_len());
            new > old || new == old && route.metric < best.metric
        });
        if better {
            best = Some(route);
        }
    }
    best
}

/// The routing tables: those of the policy, and behind their routes those that came since.
pub(super) struct Routing<'a> {
    pub(super) policy: &'a Policy,
    pub(super) added: &'a [(TableId, Route)],
}

impl<'a> Routing<'a> {
    fn in_table(&self, table: &'a RoutingTable, address: IpAddr) -> Option<&'a Route> {
        let added = self.added.iter().filter(move |(id, _)| *id == table.id).map(|(_, route)| route);
        best(table.routes.iter().chain(added), address)
    }

    /// By the main table.
    pub(super) fn main(&self, address: IpAddr) -> Option<&'a Route> {
        self.policy.tables.iter().find(|table| table.id == MAIN).and_then(|table| self.in_table(table, address))
    }

    /// By a table, which goes together with the main one as its ordering says. One that there is not is the main one.
    pub(super) fn by(&self, id: TableId, address: IpAddr) -> Option<&'a Route> {
        let main = self.main(address);
        let Some(table) = self.policy.tables.iter().find(|table| table.id == id && id != MAIN) else { return main };
        let own = self.in_table(table, address);
        match table.ordering {
            // The main one, unless that has nothing or only a route to everywhere.
            Ordering::Default if main.is_some_and(|route| route.network.prefix_len() > 0) => main,
            Ordering::Default | Ordering::First => own.or(main),
            Ordering::Only => own,
        }
    }

    /// The gateway's own addresses.
    pub(super) fn own(&self) -> Vec<IpAddr> {
        let host =
            |route: &&Route| route.interface == CORE && route.network.prefix_len() == route.network.max_prefix_len();
        self.policy.main_routes().iter().filter(host).map(|route| route.network.addr()).collect()
    }
}

pub(super) fn kind(policy: &Policy, interface: InterfaceId) -> InterfaceKind {
    let found = policy.interfaces.iter().find(|candidate| candidate.id == interface);
    found.map_or(InterfaceKind::Host, |found| found.kind.clone())
}

/// True for one interface, and for two that are the same to the access check.
pub(super) fn same(policy: &Policy, one: InterfaceId, other: InterfaceId) -> bool {
    let equivalents = policy.interfaces.iter().find(|interface| interface.id == one).map(|found| &found.equivalents);
    one == other || equivalents.is_some_and(|equivalents| equivalents.contains(&other))
}

/// The address of all hosts of a network right behind a packet port.
pub(super) fn for_all(policy: &Policy, route: &Route, address: IpAddr) -> bool {
    let ipnet::IpNet::V4(network) = route.network else { return false };
    matches!(kind(policy, route.interface), InterfaceKind::Port)
        && route.gateway.is_none()
        && network.prefix_len() <= 30
        && address == network.broadcast()
}

fn within(networks: &[IpRange], address: IpAddr) -> bool {
    networks.iter().any(|range| range.contains(address))
}

fn among(interfaces: Option<&[InterfaceId]>, interface: InterfaceId) -> bool {
    interfaces.is_none_or(|interfaces| interfaces.contains(&interface))
}

/// No interface: behind the host port, where no route leads back to.
pub(super) const NOWHERE: InterfaceId = InterfaceId(u32::MAX);

/// What the access rules say of a source at an interface. The first rule decides that speaks of it: a rule to drop or accept
/// speaks of its own interfaces, one that expects speaks of all.
pub(super) fn access(policy: &Policy, received: InterfaceId, source: IpAddr) -> Option<bool> {
    for rule in policy.access.iter().filter(|rule| within(&rule.networks, source)) {
        let here = among(rule.interfaces.as_deref(), received);
        match rule.action {
            AccessAction::Drop if here => return Some(false),
            AccessAction::Accept if here => return Some(true),
            AccessAction::Expect => return Some(here && received != NOWHERE),
            AccessAction::Drop | AccessAction::Accept => {}
        }
    }
    None
}

/// The tables that a connection is routed by, and its answers.
pub(super) fn tables(routing: &Routing<'_>, received: InterfaceId, packet: &Packet) -> (TableId, TableId) {
    let towards = routing.main(packet.destination).map_or(CORE, |route| route.interface);
    let rule = routing.policy.routing_rules.iter().find(|rule| {
        among(rule.source_interfaces.as_deref(), received)
            && among(rule.destination_interfaces.as_deref(), towards)
            && within(&rule.source_networks, packet.source)
            && within(&rule.destination_networks, packet.destination)
            && rule.services.iter().any(|service| fits(service, packet))
    });
    match rule {
        Some(rule) => (rule.forward, rule.back),
        None => {
            let own = table_of(routing.policy, received);
            (own, own)
        }
    }
}

pub(super) fn table_of(policy: &Policy, interface: InterfaceId) -> TableId {
    policy.interfaces.iter().find(|candidate| candidate.id == interface).and_then(|found| found.table).unwrap_or(MAIN)
}

/// The first rule of the rule set for a packet between two interfaces.
pub(super) fn rule<'a>(policy: &'a Policy, packet: &Packet, from: InterfaceId, to: InterfaceId) -> Option<&'a Rule> {
    policy.rules.iter().find(|rule| {
        among(rule.source_interfaces.as_deref(), from)
            && among(rule.destination_interfaces.as_deref(), to)
            && within(&rule.source_networks, packet.source)
            && within(&rule.destination_networks, packet.destination)
            && rule.services.iter().any(|service| fits(service, packet))
    })
}

fn fits(service: &Service, packet: &Packet) -> bool {
    match service {
        Service::All => true,
        Service::Protocol(range) => range.contains(&packet.protocol()),
        Service::Ports { protocol, source, destination } => {
            let (from, to) = match &packet.body {
                Body::Tcp(segment) => segment.ports,
                Body::Udp { ports, .. } => *ports,
                Body::Icmp { .. } | Body::Other { .. } => return false,
            };
            *protocol == packet.protocol()
                && source.iter().any(|range| range.contains(&from))
                && destination.iter().any(|range| range.contains(&to))
        }
        Service::Icmp { protocol, types } => match &packet.body {
            Body::Icmp { kind, .. } => *protocol == packet.protocol() && (types.is_empty() || types.contains(kind)),
            _ => false,
        },
    }
}
