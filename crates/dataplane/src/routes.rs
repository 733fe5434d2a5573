//! The routing table: longest prefix, then lowest metric.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use crate::{CORE, Route};

/// Finds routes in a time that does not grow with their number.
#[derive(Debug)]
pub(crate) struct Routes {
    all: Vec<Route>,
    v4: PrefixMap<Ipv4Net, usize>,
    v6: PrefixMap<Ipv6Net, usize>,
    own: Vec<IpAddr>,
}

impl Routes {
    pub(crate) fn new(routes: &[Route]) -> Self {
        let host =
            |route: &&Route| route.interface == CORE && route.network.prefix_len() == route.network.max_prefix_len();
        let own = routes.iter().filter(host).map(|route| route.network.addr()).collect();
        let mut table = Self { all: routes.to_vec(), v4: PrefixMap::new(), v6: PrefixMap::new(), own };
        // The last insert of a network stays: of equal metrics the route that is listed first.
        let mut order: Vec<usize> = (0..routes.len()).rev().collect();
        order.sort_by_key(|index| std::cmp::Reverse(routes.get(*index).map(|route| route.metric)));
        for index in order {
            match routes.get(index).map(|route| route.network) {
                Some(IpNet::V4(network)) => drop(table.v4.insert(network.trunc(), index)),
                Some(IpNet::V6(network)) => drop(table.v6.insert(network.trunc(), index)),
                None => {}
            }
        }
        table
    }

    /// The route to `address`.
    pub(crate) fn lookup(&self, address: IpAddr) -> Option<&Route> {
        let index = match address {
            IpAddr::V4(address) => *self.v4.get_lpm(&address.into())?.1,
            IpAddr::V6(address) => *self.v6.get_lpm(&address.into())?.1,
        };
        self.all.get(index)
    }

    /// The gateway's own addresses: hosts behind `core`.
    pub(crate) fn own_addresses(&self) -> &[IpAddr] {
        &self.own
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
}
