//! The routing tables: longest prefix, then lowest metric, then the order.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use crate::{CORE, MAIN, Ordering, Policy, Route, TableId};

/// Finds routes in a time that does not grow with their number.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    v4: PrefixMap<Ipv4Net, Alternatives>,
    v6: PrefixMap<Ipv6Net, Alternatives>,
    own: Vec<IpAddr>,
}

/// The routes of one network, the best first.
#[derive(Debug, Default)]
struct Alternatives(Vec<Alternative>);

#[derive(Debug)]
struct Alternative {
    route: Route,
    /// Not of the policy: it comes and goes by itself.
    dynamic: bool,
}

impl Routes {
    pub(crate) fn new(routes: &[Route]) -> Self {
        let mut table = Self::default();
        for route in routes {
            table.add(route.clone(), false);
        }
        table
    }

    /// Adds a route behind those of its network and metric that are there.
    fn add(&mut self, route: Route, dynamic: bool) {
        if !dynamic && route.interface == CORE && route.network.prefix_len() == route.network.max_prefix_len() {
            self.own.push(route.network.addr());
        }
        let alternatives = match route.network {
            IpNet::V4(network) => self.v4.entry(network.trunc()).or_default(),
            IpNet::V6(network) => self.v6.entry(network.trunc()).or_default(),
        };
        let at = alternatives.0.partition_point(|other| other.route.metric <= route.metric);
        alternatives.0.insert(at, Alternative { route, dynamic });
    }

    /// Takes a dynamic route away; false when there is none like it.
    fn remove(&mut self, route: &Route) -> bool {
        match route.network {
            IpNet::V4(network) => {
                let network = network.trunc();
                let Some(alternatives) = self.v4.get_mut(&network) else { return false };
                let (found, empty) = alternatives.remove(route);
                if empty {
                    self.v4.remove(&network);
                }
                found
            }
            IpNet::V6(network) => {
                let network = network.trunc();
                let Some(alternatives) = self.v6.get_mut(&network) else { return false };
                let (found, empty) = alternatives.remove(route);
                if empty {
                    self.v6.remove(&network);
                }
                found
            }
        }
    }

    fn dynamic(&self) -> impl Iterator<Item = &Route> {
        let all = self.v4.values().chain(self.v6.values()).flat_map(|alternatives| &alternatives.0);
        all.filter(|alternative| alternative.dynamic).map(|alternative| &alternative.route)
    }

    /// The route to `address`.
    pub(crate) fn lookup(&self, address: IpAddr) -> Option<&Route> {
        let alternatives = match address {
            IpAddr::V4(address) => self.v4.get_lpm(&address.into())?.1,
            IpAddr::V6(address) => self.v6.get_lpm(&address.into())?.1,
        };
        alternatives.0.first().map(|alternative| &alternative.route)
    }

    /// The gateway's own addresses: hosts behind `core`.
    pub(crate) fn own_addresses(&self) -> &[IpAddr] {
        &self.own
    }
}

impl Alternatives {
    /// Whether there was such a dynamic route, and whether nothing is left.
    fn remove(&mut self, route: &Route) -> (bool, bool) {
        let found = self.0.iter().rposition(|alternative| alternative.dynamic && alternative.route == *route);
        if let Some(at) = found {
            self.0.remove(at);
        }
        (found.is_some(), self.0.is_empty())
    }
}

/// All routing tables.
#[derive(Debug)]
pub(crate) struct Tables {
    main: Routes,
    others: Vec<Table>,
}

#[derive(Debug)]
struct Table {
    id: TableId,
    ordering: Ordering,
    routes: Routes,
}

impl Tables {
    pub(crate) fn new(policy: &Policy) -> Self {
        let other = |table: &crate::RoutingTable| Table {
            id: table.id,
            ordering: table.ordering,
            routes: Routes::new(&table.routes),
        };
        let others = policy.tables.iter().filter(|table| table.id != MAIN).map(other).collect();
        Self { main: Routes::new(policy.main_routes()), others }
    }

    /// The main table.
    pub(crate) fn main(&self) -> &Routes {
        &self.main
    }

    /// The route to an address by a table, which goes together with the main one as its ordering says. A table that there
    /// is not is the main one.
    pub(crate) fn lookup(&self, table: TableId, address: IpAddr) -> Option<&Route> {
        let main = || self.main.lookup(address);
        let Some(table) = self.others.iter().find(|other| other.id == table) else { return main() };
        let own = || table.routes.lookup(address);
        match table.ordering {
            Ordering::Default => match main() {
                Some(route) if route.network.prefix_len() > 0 => Some(route),
                everywhere => own().or(everywhere),
            },
            Ordering::First => own().or_else(main),
            Ordering::Only => own(),
        }
    }

    /// Adds a dynamic route; false when there is no such table.
    pub(crate) fn add(&mut self, table: TableId, route: Route) -> bool {
        self.routes_of(table).map(|routes| routes.add(route, true)).is_some()
    }

    /// Takes a dynamic route away; false when there is none like it.
    pub(crate) fn remove(&mut self, table: TableId, route: &Route) -> bool {
        self.routes_of(table).is_some_and(|routes| routes.remove(route))
    }

    /// All dynamic routes.
    pub(crate) fn dynamic(&self) -> impl Iterator<Item = &Route> {
        self.main.dynamic().chain(self.others.iter().flat_map(|table| table.routes.dynamic()))
    }

    /// Takes over the dynamic routes of other tables, as far as `keep` says.
    pub(crate) fn take_over(&mut self, others: &Self, keep: impl Fn(&Route) -> bool) {
        let of_main = others.main.dynamic().map(|route| (MAIN, route));
        let of_others = others.others.iter().flat_map(|table| table.routes.dynamic().map(|route| (table.id, route)));
        for (table, route) in of_main.chain(of_others).filter(|(_, route)| keep(route)) {
            self.add(table, route.clone());
        }
    }

    fn routes_of(&mut self, table: TableId) -> Option<&mut Routes> {
        if table == MAIN {
            return Some(&mut self.main);
        }
        self.others.iter_mut().find(|other| other.id == table).map(|other| &mut other.routes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InterfaceId;

    fn route(network: &str, interface: u32, metric: u32) -> Route {
        Route::new(network.parse().unwrap(), InterfaceId(interface), metric)
    }

    fn to(routes: &Routes, address: &str) -> Option<u32> {
        routes.lookup(address.parse().unwrap()).map(|route| route.interface.0)
    }

    #[test]
    fn the_longest_prefix_wins_then_the_lowest_metric_then_the_order() {
        let routes = Routes::new(&[
            route("0.0.0.0/0", 1, 1),
            route("10.0.0.0/8", 2, 100),
            route("10.1.0.0/16", 3, 100),
            route("10.1.0.0/16", 4, 90),
            route("10.1.0.0/16", 5, 90),
            route("10.1.0.1/32", 0, 0),
        ]);
        assert_eq!(to(&routes, "10.1.2.3"), Some(4));
        assert_eq!(to(&routes, "10.2.2.3"), Some(2));
        assert_eq!(to(&routes, "192.0.2.1"), Some(1));
        assert_eq!(to(&routes, "10.1.0.1"), Some(0));
        assert_eq!(to(&routes, "2001:db8::1"), None);
        assert_eq!(routes.own_addresses(), ["10.1.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn families_have_their_own_tables() {
        let routes = Routes::new(&[route("::/0", 1, 1), route("2001:db8::/32", 2, 1)]);
        assert_eq!((to(&routes, "2001:db8::1"), to(&routes, "::1"), to(&routes, "1.2.3.4")), (Some(2), Some(1), None));
    }

    fn tables(ordering: Ordering) -> Tables {
        let main = vec![route("0.0.0.0/0", 1, 1), route("10.0.0.0/8", 2, 1)];
        let mut policy = Policy::new(Vec::new(), main);
        let routes = vec![route("10.1.0.0/16", 3, 1), route("192.0.2.0/24", 4, 1)];
        policy.tables.push(crate::RoutingTable { id: TableId(7), name: "isp".into(), ordering, routes });
        Tables::new(&policy)
    }

    fn by(tables: &Tables, table: u32, address: &str) -> Option<u32> {
        tables.lookup(TableId(table), address.parse().unwrap()).map(|route| route.interface.0)
    }

    #[test]
    fn a_table_goes_together_with_the_main_one_as_its_ordering_says() {
        let answers = |ordering| {
            let tables = tables(ordering);
            ["10.1.2.3", "10.2.2.3", "192.0.2.1", "8.8.8.8"].map(|address| by(&tables, 7, address))
        };
        assert_eq!(answers(Ordering::Default), [Some(2), Some(2), Some(4), Some(1)]);
        assert_eq!(answers(Ordering::First), [Some(3), Some(2), Some(4), Some(1)]);
        assert_eq!(answers(Ordering::Only), [Some(3), None, Some(4), None]);
        assert_eq!(by(&tables(Ordering::Only), 8, "8.8.8.8"), Some(1), "there is no such table");
    }

    #[test]
    fn dynamic_routes_come_and_go_and_survive_a_new_policy() {
        let (mut tables, mut next) = (tables(Ordering::First), tables(Ordering::First));
        let (client, rival) = (route("10.1.9.9/32", 9, 1), route("10.1.0.0/16", 9, 0));
        assert!(tables.add(TableId(7), client.clone()) && tables.add(TableId(7), rival.clone()));
        assert!(!tables.add(TableId(8), client.clone()));
        assert_eq!(
            (by(&tables, 7, "10.1.9.9"), by(&tables, 7, "10.1.1.1"), by(&tables, 0, "10.1.9.9")),
            (Some(9), Some(9), Some(2))
        );
        next.take_over(&tables, |route| route.metric == 1);
        assert_eq!((by(&next, 7, "10.1.9.9"), by(&next, 7, "10.1.1.1")), (Some(9), Some(3)));
        assert!(next.remove(TableId(7), &client) && !next.remove(TableId(7), &client));
        assert!(!next.remove(TableId(7), &route("10.1.0.0/16", 3, 1)), "that one is of the policy");
        assert_eq!(by(&next, 7, "10.1.9.9"), Some(3));
    }
}
