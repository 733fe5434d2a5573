//! The kernel's routes for the tunnels' networks: exactly those that the gateway asked for last, each with a second one
//! behind it that leads nowhere. That one stays when the first goes away with its device, with its source address or
//! with a gateway that was killed, so that nothing meant for a tunnel ever takes the default route in clear text.

use std::collections::BTreeSet;
use std::io;

use engine::HostRoute;

use crate::netlink::effective_metric;

/// The metric of a route that leads nowhere: every other route to the same network is better.
const UNREACHABLE_METRIC: u32 = HostRoute::NOWHERE;

/// Where a route of ours leads. What leads nowhere comes first: it is there before the others, and longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// The kernel refuses the packet, and tells its sender so.
    Nowhere,
    /// Over the interface with this number.
    Over(u32),
}

/// A route that bears our mark.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnRoute {
    /// Where it leads.
    pub way: Way,
    /// Network, preferred source and metric.
    pub route: HostRoute,
}

/// What keeps our routes: the kernel.
pub trait Table {
    /// Every route that bears our mark.
    fn own_routes(&mut self) -> io::Result<Vec<OwnRoute>>;
    /// Adds a route. One of somebody else's with the same network and metric is an error.
    fn add_route(&mut self, route: &OwnRoute) -> io::Result<()>;
    /// Removes a route.
    fn remove_route(&mut self, route: &OwnRoute) -> io::Result<()>;
}

/// The routes we have asked the kernel for.
#[derive(Debug, Default)]
pub struct Routes {
    wanted: Vec<HostRoute>,
    known: BTreeSet<(Problem, OwnRoute)>,
}

/// What can go wrong with a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// The kernel did not take it.
    Refused,
    /// The kernel took it only without its source address.
    SourceRefused,
    /// The kernel did not give it up.
    NotRemoved,
}

/// A route that is not as it should be.
#[derive(Debug)]
pub struct Trouble {
    /// What is wrong.
    pub problem: Problem,
    /// With which.
    pub route: OwnRoute,
    /// Why, in words.
    pub reason: String,
}

impl Routes {
    /// From now on these, and no others, are to be there.
    pub fn want(&mut self, wanted: Vec<HostRoute>) {
        self.wanted = wanted
            .into_iter()
            .map(|route| HostRoute { metric: effective_metric(&route), network: route.network.trunc(), ..route })
            .collect();
    }

    /// True when a wanted route belongs to this family.
    pub fn has_family(&self, ipv6: bool) -> bool {
        self.wanted.iter().any(|route| route.network.addr().is_ipv6() == ipv6)
    }

    /// Compares with the kernel and mends the differences: after a new wish, and after anything has changed there.
    /// One route's trouble leaves the others alone. Returns the troubles that were not there the last time; everything
    /// is tried again each time.
    pub fn apply(&mut self, table: &mut impl Table, interface: u32) -> io::Result<Vec<Trouble>> {
        let ours = |own: &OwnRoute| matches!(own.way, Way::Nowhere) || own.way == Way::Over(interface);
        let present: BTreeSet<OwnRoute> = table.own_routes()?.into_iter().filter(ours).collect();
        let wanted: BTreeSet<OwnRoute> = self
            .wanted
            .iter()
            .flat_map(|route| {
                let over = OwnRoute { way: Way::Over(interface), route: route.clone() };
                let leads = route.metric != UNREACHABLE_METRIC;
                [Some(unreachable(route)), leads.then_some(over)]
            })
            .flatten()
            .collect();
        // What stands in for a route whose source address was refused may stay.
        let stand_ins: BTreeSet<OwnRoute> = wanted.difference(&present).filter_map(without_source).collect();
        let spare = |own: &&OwnRoute| !wanted.contains(*own) && !stand_ins.contains(*own);

        let mut troubles = Vec::new();
        // Nobody's packet may find neither the one nor the other.
        for own in wanted.difference(&present).filter(|own| own.way == Way::Nowhere) {
            add(table, own, &present, &mut troubles);
        }
        for own in present.iter().filter(spare).filter(|own| own.way != Way::Nowhere) {
            remove(table, own, &mut troubles);
        }
        for own in wanted.difference(&present).filter(|own| own.way != Way::Nowhere) {
            add(table, own, &present, &mut troubles);
        }
        for own in present.iter().filter(spare).filter(|own| own.way == Way::Nowhere) {
            remove(table, own, &mut troubles);
        }
        let key = |trouble: &Trouble| (trouble.problem, trouble.route.clone());
        let known = std::mem::replace(&mut self.known, troubles.iter().map(key).collect());
        troubles.retain(|trouble| !known.contains(&key(trouble)));
        Ok(troubles)
    }
}

/// Removes the routes over interfaces that a gateway left which did not end properly. Those that lead nowhere stay
/// until [`Routes::apply`] decides: they are what keeps the tunnels' networks shut. Returns how many went, and what
/// could not be removed.
pub fn remove_stale(table: &mut impl Table) -> io::Result<(usize, Vec<Trouble>)> {
    let mut stale = table.own_routes()?;
    stale.retain(|own| own.way != Way::Nowhere);
    let mut troubles = Vec::new();
    for own in &stale {
        remove(table, own, &mut troubles);
    }
    Ok((stale.len().saturating_sub(troubles.len()), troubles))
}

fn unreachable(route: &HostRoute) -> OwnRoute {
    let route = HostRoute { network: route.network, source: None, metric: UNREACHABLE_METRIC };
    OwnRoute { way: Way::Nowhere, route }
}

/// The same route without its source address, if it has one.
fn without_source(own: &OwnRoute) -> Option<OwnRoute> {
    own.route.source?;
    Some(OwnRoute { way: own.way, route: HostRoute { source: None, ..own.route.clone() } })
}

/// A source address that the kernel does not accept is no reason to leave the network without its route.
fn add(table: &mut impl Table, own: &OwnRoute, present: &BTreeSet<OwnRoute>, troubles: &mut Vec<Trouble>) {
    let mut result = table.add_route(own);
    let stand_in = without_source(own);
    let has_stand_in = stand_in.as_ref().is_some_and(|stand_in| present.contains(stand_in));
    if let (Err(error), Some(stand_in)) = (&result, &stand_in) {
        match error.raw_os_error() {
            // The source is looked at first: it is fine now, only the stand-in is in the way.
            Some(libc::EEXIST) if has_stand_in => {
                remove(table, stand_in, troubles);
                result = table.add_route(own);
            }
            Some(libc::EINVAL) => {
                let reason = explain(error);
                result = if has_stand_in { Ok(()) } else { table.add_route(stand_in) };
                if result.is_ok() {
                    troubles.push(Trouble { problem: Problem::SourceRefused, route: own.clone(), reason });
                }
            }
            _ => {}
        }
    }
    if let Err(error) = result {
        troubles.push(Trouble { problem: Problem::Refused, route: own.clone(), reason: explain(&error) });
    }
}

/// A route that is gone already, with its device or its source address, is no trouble.
fn remove(table: &mut impl Table, own: &OwnRoute, troubles: &mut Vec<Trouble>) {
    match table.remove_route(own) {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENODEV)) => {
            troubles.push(Trouble { problem: Problem::NotRemoved, route: own.clone(), reason: error.to_string() });
        }
        _ => {}
    }
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EEXIST) => "the host has a route of its own with this network and metric".to_owned(),
        Some(libc::EINVAL) => "the source address is not, or not yet, an address of this host".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUN: u32 = 7;

    /// A kernel with the one interface, which writes down what it is asked for.
    #[derive(Default)]
    struct Kernel {
        routes: BTreeSet<OwnRoute>,
        sources: Vec<&'static str>,
        stuck: Option<&'static str>,
        asked: Vec<String>,
    }

    impl Table for Kernel {
        fn own_routes(&mut self) -> io::Result<Vec<OwnRoute>> {
            Ok(self.routes.iter().cloned().collect())
        }

        fn add_route(&mut self, own: &OwnRoute) -> io::Result<()> {
            self.asked.push(format!("add {:?} {}", own.way, own.route.network));
            let known = |source: std::net::IpAddr| self.sources.contains(&source.to_string().as_str());
            if own.route.source.is_some_and(|source| !known(source)) {
                return Err(io::Error::from_raw_os_error(libc::EINVAL));
            }
            let key = |own: &OwnRoute| (own.route.network, own.route.metric);
            if self.routes.iter().any(|other| key(other) == key(own)) {
                return Err(io::Error::from_raw_os_error(libc::EEXIST));
            }
            self.routes.insert(own.clone());
            Ok(())
        }

        fn remove_route(&mut self, own: &OwnRoute) -> io::Result<()> {
            self.asked.push(format!("remove {:?} {}", own.way, own.route.network));
            if self.stuck.is_some_and(|network| own.route.network.to_string() == network) {
                return Err(io::Error::from_raw_os_error(libc::EPERM));
            }
            if self.routes.remove(own) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
        }
    }

    impl Kernel {
        fn route_to(&self, network: &str) -> Option<HostRoute> {
            let to = |own: &&OwnRoute| own.way == Way::Over(TUN) && own.route.network.to_string() == network;
            self.routes.iter().find(to).map(|own| own.route.clone())
        }
    }

    fn route(network: &str, source: Option<&str>) -> HostRoute {
        let source = source.map(|source| source.parse().unwrap());
        HostRoute { network: network.parse().unwrap(), source, metric: 90 }
    }

    #[test]
    fn what_leads_nowhere_comes_before_its_route_and_goes_after_it() {
        let (mut kernel, mut routes) = (Kernel::default(), Routes::default());
        routes.want(vec![route("10.2.0.0/16", None), route("10.1.0.0/16", None)]);
        assert!(routes.apply(&mut kernel, TUN).unwrap().is_empty());
        routes.want(vec![route("10.1.0.0/16", None)]);
        assert!(routes.apply(&mut kernel, TUN).unwrap().is_empty());
        let expected = [
            "add Nowhere 10.1.0.0/16",
            "add Nowhere 10.2.0.0/16",
            "add Over(7) 10.1.0.0/16",
            "add Over(7) 10.2.0.0/16",
            "remove Over(7) 10.2.0.0/16",
            "remove Nowhere 10.2.0.0/16",
        ];
        assert_eq!(kernel.asked, expected);
        assert!(routes.apply(&mut kernel, TUN).unwrap().is_empty());
        assert_eq!(kernel.asked.len(), expected.len());
    }

    #[test]
    fn a_network_that_has_lost_its_tunnel_leads_nowhere() {
        let (mut kernel, mut routes) = (Kernel::default(), Routes::default());
        routes.want(vec![route("10.1.0.0/16", None)]);
        routes.apply(&mut kernel, TUN).unwrap();
        routes.want(vec![HostRoute { metric: HostRoute::NOWHERE, ..route("10.1.0.0/16", None) }]);
        assert!(routes.apply(&mut kernel, TUN).unwrap().is_empty());
        assert_eq!(kernel.asked.last().map(String::as_str), Some("remove Over(7) 10.1.0.0/16"));
        assert_eq!(kernel.routes.iter().map(|own| own.way).collect::<Vec<_>>(), [Way::Nowhere]);
    }

    #[test]
    fn a_route_that_cannot_be_removed_is_reported_once_and_keeps_nothing_undone() {
        let mut kernel = Kernel { stuck: Some("10.1.0.0/16"), ..Kernel::default() };
        let mut routes = Routes::default();
        routes.want(vec![route("10.1.0.0/16", None), route("10.2.0.0/16", None)]);
        routes.apply(&mut kernel, TUN).unwrap();
        routes.want(vec![route("10.3.0.0/16", None)]);
        let troubles = routes.apply(&mut kernel, TUN).unwrap();
        assert_eq!(troubles.len(), 2, "{troubles:?}");
        assert!(troubles.iter().all(|trouble| trouble.problem == Problem::NotRemoved));
        assert_eq!(kernel.route_to("10.2.0.0/16"), None);
        assert!(kernel.route_to("10.3.0.0/16").is_some());
        assert!(routes.apply(&mut kernel, TUN).unwrap().is_empty());
        kernel.stuck = None;
        routes.apply(&mut kernel, TUN).unwrap();
        assert_eq!(kernel.route_to("10.1.0.0/16"), None);
    }

    #[test]
    fn a_refused_source_address_leaves_a_route_without_one_until_it_is_accepted() {
        let (mut kernel, mut routes) = (Kernel::default(), Routes::default());
        let with_source = route("10.1.0.0/16", Some("172.16.1.1"));
        routes.want(vec![with_source.clone()]);
        let troubles = routes.apply(&mut kernel, TUN).unwrap();
        assert_eq!(troubles.iter().map(|trouble| trouble.problem).collect::<Vec<_>>(), [Problem::SourceRefused]);
        assert_eq!(kernel.route_to("10.1.0.0/16"), Some(route("10.1.0.0/16", None)));
        assert!(routes.apply(&mut kernel, TUN).unwrap().is_empty());
        assert_eq!(kernel.route_to("10.1.0.0/16"), Some(route("10.1.0.0/16", None)));
        kernel.sources.push("172.16.1.1");
        assert!(routes.apply(&mut kernel, TUN).unwrap().is_empty());
        assert_eq!(kernel.route_to("10.1.0.0/16"), Some(with_source));
    }

    #[test]
    fn a_start_removes_what_leads_over_an_interface_and_takes_over_what_leads_nowhere() {
        let (mut kernel, mut routes) = (Kernel::default(), Routes::default());
        routes.want(vec![route("10.1.0.0/16", None), route("10.2.0.0/16", None)]);
        routes.apply(&mut kernel, TUN).unwrap();
        let (removed, troubles) = remove_stale(&mut kernel).unwrap();
        assert_eq!((removed, troubles.len()), (2, 0));
        assert!(kernel.routes.iter().all(|own| own.way == Way::Nowhere) && kernel.routes.len() == 2);
        let mut routes = Routes::default();
        routes.want(vec![route("10.2.0.0/16", None)]);
        routes.apply(&mut kernel, TUN).unwrap();
        assert!(kernel.routes.iter().all(|own| own.route.network.to_string() == "10.2.0.0/16"));
        assert_eq!(kernel.routes.len(), 2);
    }
}
