//! Which table, which route, which next hop.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::flows::{Place, Side};
use crate::inspect::Seen;
use crate::{CORE, Dataplane, InterfaceId, InterfaceKind, MAIN, Question, Route, TableId};

/// The gateways that routes name, numbered from 1 on: connections keep the number.
#[derive(Debug, Default)]
pub(crate) struct Hops {
    numbers: BTreeMap<IpAddr, u32>,
    hops: Vec<IpAddr>,
}

impl Hops {
    /// Numbers the next hop of a route.
    pub(crate) fn add(&mut self, route: &Route) {
        if let Some(gateway) = route.gateway {
            self.add_gateway(gateway);
        }
    }

    /// Numbers a next hop.
    pub(crate) fn add_gateway(&mut self, gateway: IpAddr) {
        if !self.numbers.contains_key(&gateway) {
            self.hops.push(gateway);
            self.numbers.insert(gateway, u32::try_from(self.hops.len()).unwrap_or(0));
        }
    }

    pub(crate) fn number(&self, gateway: Option<IpAddr>) -> u32 {
        gateway.and_then(|gateway| self.numbers.get(&gateway)).copied().unwrap_or(0)
    }

    /// The next hop on the way to a destination.
    pub(crate) fn next(&self, side: Side, destination: IpAddr) -> IpAddr {
        let at = side.hop.checked_sub(1).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.hops.get(at)).copied().unwrap_or(destination)
    }
}

impl Dataplane {
    /// The tables for the packets of whoever opens a connection, and for the answers.
    pub(super) fn tables_for(&self, received: InterfaceId, seen: &Seen) -> (TableId, TableId) {
        let rules = &self.policy.routing_rules;
        if !rules.is_empty() {
            let towards = self.tables.main().lookup(seen.ip.destination).map_or(CORE, |route| route.interface);
            let question = Question::of(seen, received, towards);
            if let Some(rule) = self.routing_rules.first_match(rules, &question).and_then(|at| rules.get(at)) {
                return (rule.forward, rule.back);
            }
        }
        let own = self.table_of(received);
        (own, own)
    }

    /// The table that packets of an interface are routed by when no rule says otherwise.
    pub(super) fn table_of(&self, interface: InterfaceId) -> TableId {
        self.interface(interface).and_then(|interface| interface.table).unwrap_or(MAIN)
    }

    /// What a route leads to.
    pub(super) fn side_of(&self, route: &Route) -> Side {
        Side { hop: self.hops.number(route.gateway), ..self.side(route.interface) }
    }

    /// An interface, with the next hop to an address if a route leads there by it.
    pub(super) fn side_towards(&self, interface: InterfaceId, table: TableId, address: IpAddr) -> Side {
        let side = self.side(interface);
        if side.place != Place::Port {
            return side;
        }
        match self.tables.lookup(table, address).filter(|route| route.interface == interface) {
            Some(route) => self.side_of(route),
            None => side,
        }
    }

    /// True for the address of all hosts of a network that lies right behind a packet port. Nothing is passed on to it
    /// (RFC 2644 section 2), and nobody has it for a source (RFC 1812 section 5.3.7): one packet would become as many answers as
    /// there are hosts.
    pub(super) fn is_for_all(&self, route: &Route, address: IpAddr) -> bool {
        let IpNet::V4(network) = route.network else { return false };
        route.gateway.is_none()
            && network.prefix_len() < 31
            && address == IpAddr::V4(network.broadcast())
            && self.side(route.interface).place == Place::Port
    }

    pub(crate) fn side(&self, interface: InterfaceId) -> Side {
        let place = match self.interface(interface).map(|interface| &interface.kind) {
            _ if interface == CORE => Place::Core,
            Some(InterfaceKind::Core) => Place::Core,
            Some(InterfaceKind::Tunnel(_)) => Place::Tunnel,
            Some(InterfaceKind::Port) => Place::Port,
            Some(InterfaceKind::Host) | None => Place::Host,
        };
        Side { interface, hop: 0, place }
    }

    /// The gateway's address towards what a route leads to: the route's own, or the interface's; of a tunnel its
    /// originator address.
    pub(super) fn address_by(&self, route: &Route, v4: bool) -> Option<IpAddr> {
        let family = |address: &&IpAddr| address.is_ipv4() == v4;
        let interface = self.interface(route.interface)?;
        let originator = match &interface.kind {
            InterfaceKind::Tunnel(path) => path.originator.iter().find(family),
            InterfaceKind::Core | InterfaceKind::Host | InterfaceKind::Port => None,
        };
        let own = originator.or_else(|| interface.addresses.iter().find(family));
        route.local_ip.as_ref().filter(family).or(own).copied()
    }

    /// True for an address of the gateway's own.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        self.tables.main().lookup(address).is_some_and(|route| route.interface == CORE)
    }
}
