//! The kernel's routes to our TUN device: exactly those that the gateway asked for last.

use std::collections::BTreeSet;
use std::io;

use engine::HostRoute;

use crate::netlink::{Netlink, effective_metric};

/// The routes we have asked the kernel for.
#[derive(Debug, Default)]
pub struct Routes {
    wanted: BTreeSet<HostRoute>,
    refused: BTreeSet<HostRoute>,
}

/// A route that the kernel did not take.
#[derive(Debug)]
pub struct Refused {
    /// Which.
    pub route: HostRoute,
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
        self.refused.retain(|route| self.wanted.contains(route));
    }

    /// True when a wanted route belongs to this family.
    pub fn has_family(&self, ipv6: bool) -> bool {
        self.wanted.iter().any(|route| route.network.addr().is_ipv6() == ipv6)
    }

    /// Compares with the kernel and mends the differences: after a new wish, and after anything has changed there.
    /// Returns the routes that are newly refused; one that was refused before is tried again in silence.
    pub fn apply(&mut self, netlink: &mut Netlink, interface: u32) -> io::Result<Vec<Refused>> {
        let present: BTreeSet<HostRoute> = netlink
            .own_routes()?
            .into_iter()
            .filter_map(|(index, route)| (index == interface).then_some(route))
            .collect();
        for route in present.difference(&self.wanted) {
            ignore_absent(netlink.remove_route(interface, route))?;
        }
        let mut news = Vec::new();
        for route in self.wanted.difference(&present) {
            match netlink.add_route(interface, route) {
                Ok(()) => {
                    self.refused.remove(route);
                }
                Err(error) => {
                    if self.refused.insert(route.clone()) {
                        news.push(Refused { route: route.clone(), reason: explain(&error) });
                    }
                }
            }
        }
        Ok(news)
    }
}

/// Removes what a gateway left that did not end properly. Returns how many routes that were.
pub fn remove_stale(netlink: &mut Netlink) -> io::Result<usize> {
    let stale = netlink.own_routes()?;
    for (interface, route) in &stale {
        ignore_absent(netlink.remove_route(*interface, route))?;
    }
    Ok(stale.len())
}

/// A route that is gone already, with its device or its source address, is no failure.
fn ignore_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENODEV)) => Ok(()),
        result => result,
    }
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EEXIST) => "the host has a route of its own with this network and metric".to_owned(),
        Some(libc::EINVAL) => "the source address is not, or not yet, an address of this host".to_owned(),
        _ => error.to_string(),
    }
}
