//! The routing tables: the gateway's own addresses, the interfaces' networks, the tunnels' networks, and Route objects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use base::{Duration, IpRange};
use schema::{Object, Problem};

use crate::ethernet::{Layer3, Membership};
use crate::interfaces::{Ids, proxy};
use crate::ipsec_tunnel::{IpsecTunnel, OriginatorType};
use crate::resolve::{Resolver, networks};
use crate::routing::{self, Method, MonitoredHost as Host, Route as Declared, RoutingTable as Table};
use crate::snapshot::{
    Interface, InterfaceId, InterfaceKind, MonitoredHost, Ordering, PollMethod, Reachability, Route, RouteMonitor,
    RouteOrigin, RoutingTable, TableId, Tunnel,
};

type Ethernets<'a> = [(&'a Object, Option<Interface>)];
type Tunnels<'a> = [(&'a Object, Option<Arc<Tunnel>>)];

/// All tables, `main` first.
pub(crate) fn compile(
    cx: &mut Resolver<'_>,
    ethernets: &Ethernets<'_>,
    tunnels: &Tunnels<'_>,
    ids: &Ids,
) -> Option<Vec<RoutingTable>> {
    let tree = cx.tree;
    let mut objects: Vec<&Object> = tree.enabled(Table::TYPE).collect();
    objects.sort_by_key(|object| !object.is_called(routing::MAIN));
    let tables: Vec<Option<RoutingTable>> =
        objects.into_iter().map(|object| table(cx, object, ethernets, tunnels, ids)).collect();
    tables.into_iter().collect()
}

fn table(
    cx: &mut Resolver<'_>,
    object: &Object,
    ethernets: &Ethernets<'_>,
    tunnels: &Tunnels<'_>,
    ids: &Ids,
) -> Option<RoutingTable> {
    let read = Table::read(object)?;
    let name = object.name.clone()?;
    let id = ids.table(&name)?;
    let mut routes: Vec<Route> = Vec::new();
    let mut add = |route: Route| {
        if !routes.contains(&route) {
            routes.push(route);
        }
    };
    for network in own(ethernets, id, read.remove) {
        add(core(network));
    }
    for address in originators(ethernets, tunnels, id) {
        add(core(IpRange::host(address)));
    }
    for (object, interface) in ethernets {
        // An interface that belongs to every table has its routes in main.
        if let Some(interface) = interface.as_ref().filter(|interface| interface.table.unwrap_or(TableId::MAIN) == id) {
            for route in of_interface(cx, object, interface)? {
                add(route);
            }
        }
    }
    for (object, tunnel) in tunnels {
        let Some((tunnel, read)) = tunnel.as_ref().zip(IpsecTunnel::read(object)) else { continue };
        if !read.route || tunnel_table(&read, ids).unwrap_or(TableId::MAIN) != id {
            continue;
        }
        let metric = u32::try_from(read.metric).ok()?;
        let proxied = proxy(cx, object, read.proxy_all, read.proxy.as_deref(), ids);
        for network in tunnel.remote_networks.iter().copied().flat_map(networks) {
            add(Route {
                proxy: proxied.clone(),
                ..automatic(tunnel.id.interface(), network, metric, RouteOrigin::Tunnel)
            });
        }
    }
    let mut complete = true;
    let tree = cx.tree;
    for route in tree.enabled(Declared::TYPE).filter(|route| route.parent == Some(object.id)) {
        match declared(cx, route, ids) {
            Some(Some(route)) => add(route),
            Some(None) => {}
            None => complete = false,
        }
    }
    let ordering = match read.ordering {
        routing::Ordering::Default => Ordering::Default,
        routing::Ordering::First => Ordering::First,
        routing::Ordering::Only => Ordering::Only,
    };
    complete.then_some(RoutingTable { id, name, ordering, routes })
}

/// The one table that a tunnel belongs to; `None`: it belongs to all.
pub(crate) fn tunnel_table(read: &IpsecTunnel, ids: &Ids) -> Option<TableId> {
    let name = (read.member == Membership::Specific).then_some(read.table.as_str());
    ids.own_table(name)
}

/// What is for the gateway itself in a table: addresses of the interfaces that belong to it, and multicast.
fn own(ethernets: &Ethernets<'_>, table: TableId, without_addresses: bool) -> Vec<IpRange> {
    let loopback = IpRange::host(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let multicast4 = IpRange::network(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4);
    let multicast6 = IpRange::network(IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8);
    let here = |interface: &&Interface| interface.table.is_none_or(|own| own == table) && !without_addresses;
    let interfaces = ethernets.iter().filter_map(|(_, interface)| interface.as_ref()).filter(here);
    let addresses = interfaces.flat_map(|interface| &interface.addresses).map(|(address, _)| IpRange::host(*address));
    std::iter::once(loopback).chain(addresses).chain(multicast4).chain(multicast6).collect()
}

/// The originator addresses that are the gateway's own in a table. One written by hand is everywhere. One that was made
/// up from a local network on no interface is in every table but main: in main it may belong to a host.
fn originators(ethernets: &Ethernets<'_>, tunnels: &Tunnels<'_>, table: TableId) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for (object, tunnel) in tunnels {
        let Some(address) = tunnel.as_ref().and_then(|tunnel| tunnel.originator) else { continue };
        let manual = IpsecTunnel::read(object).is_some_and(|read| read.originator_type == OriginatorType::Manual);
        let interfaces = ethernets.iter().filter_map(|(_, interface)| interface.as_ref());
        let mut addresses = interfaces.flat_map(|interface| &interface.addresses);
        let on_interface = addresses.any(|(own, _)| *own == address);
        if manual || (!on_interface && table != TableId::MAIN) {
            found.push(address);
        }
    }
    found
}

const fn automatic(interface: InterfaceId, network: IpRange, metric: u32, origin: RouteOrigin) -> Route {
    Route { interface, network, gateway: None, local_ip: None, metric, origin, proxy: Vec::new(), monitor: None }
}

const fn core(network: IpRange) -> Route {
    automatic(InterfaceId::CORE, network, 0, RouteOrigin::Core)
}

fn of_interface(cx: &mut Resolver<'_>, object: &Object, interface: &Interface) -> Option<Vec<Route>> {
    let read = Layer3::read(object)?;
    let metric = u32::try_from(read.metric).ok()?;
    let route =
        |network, gateway| Route { gateway, ..automatic(interface.id, network, metric, RouteOrigin::Interface) };
    let mut routes = Vec::new();
    let families = || read.families.iter().filter(|family| !read.is_off(family));
    if read.network_route {
        for family in families() {
            let (property, terms) = &family.network;
            if let Some(terms) = terms {
                routes.push(route(cx.network(object, property, terms)?, None));
            }
        }
        let known = interface.addresses.iter().filter_map(|(address, prefix)| IpRange::network(*address, *prefix).ok());
        routes.extend(known.filter(|network| network.first() != network.last()).map(|network| route(network, None)));
    }
    if read.gateway_route {
        for family in families() {
            let (property, terms) = &family.gateway;
            if let Some(terms) = terms {
                let gateway = cx.host(object, property, terms)?;
                let network = if gateway.is_ipv4() { IpRange::ALL_V4 } else { IpRange::ALL_V6 };
                routes.push(route(network, Some(gateway)));
            }
        }
    }
    Some(routes)
}

/// A Route object. Outer `None`: it has an error. Inner `None`: its interface is a tunnel beyond the limit.
fn declared(cx: &mut Resolver<'_>, object: &Object, ids: &Ids) -> Option<Option<Route>> {
    let read = Declared::read(object)?;
    if read.interface.eq_ignore_ascii_case("any") {
        let problem = Problem::error("a route leads to one interface; found any");
        cx.report(object, "Interface", problem.remedy("name the interface"));
        return None;
    }
    let network = cx.network(object, "Network", &read.network);
    let host = |cx: &mut Resolver<'_>, property: &str, terms: &Option<Vec<_>>| match terms {
        None => Some(None),
        Some(terms) => cx.host(object, property, terms).map(Some),
    };
    let gateway = host(cx, "Gateway", &read.gateway);
    let local_ip = host(cx, "LocalIP", &read.local_ip);
    let (network, gateway, local_ip) = (network?, gateway?, local_ip?);
    for (property, address) in [("Gateway", gateway), ("LocalIP", local_ip)] {
        if let Some(address) = address
            && address.is_ipv4() != network.is_ipv4()
        {
            let message = format!("{address} and the network {network} are not of one family");
            cx.report(object, property, Problem::error(message).remedy("write an address of the network's family"));
            return None;
        }
    }
    let proxied = proxy(cx, object, read.proxy_all, read.proxy.as_deref(), ids);
    let tree = cx.tree;
    if !(read.monitor && read.hosts) && tree.enabled(Host::TYPE).any(|host| host.parent == Some(object.id)) {
        let problem = Problem::warning("the route has a MonitoredHost, and is not watched by hosts");
        let property = if read.monitor { "EnableHostMonitoring" } else { "RouteMonitor" };
        cx.report(object, property, problem.remedy("set RouteMonitor=Yes and EnableHostMonitoring=Yes"));
    }
    let monitor = if read.monitor { Some(Arc::new(monitor(cx, object, &read, gateway)?)) } else { None };
    let metric = u32::try_from(read.metric).ok()?;
    let found = ids.find(&read.interface);
    if found == Some(InterfaceId::CORE) && monitor.is_some() {
        let problem = Problem::error("a route to the gateway itself cannot fail");
        cx.report(object, "RouteMonitor", problem.remedy("set RouteMonitor=No"));
        return None;
    }
    Some(found.map(|interface| Route {
        gateway,
        local_ip,
        proxy: proxied,
        monitor,
        ..automatic(interface, network, metric, RouteOrigin::Configured)
    }))
}

fn monitor(cx: &mut Resolver<'_>, object: &Object, read: &Declared, gateway: Option<IpAddr>) -> Option<RouteMonitor> {
    if !(read.link || read.monitor_gateway || read.hosts) {
        let problem = Problem::error("the route is to be watched, and nothing says by what");
        let remedy = "set MonitorLinkStatus, MonitorGateway or EnableHostMonitoring to Yes, or RouteMonitor to No";
        cx.report(object, "RouteMonitor", problem.remedy(remedy));
        return None;
    }
    if read.monitor_gateway && gateway.is_none() {
        let problem = Problem::error("the route has no gateway to be watched");
        cx.report(object, "MonitorGateway", problem.remedy("set Gateway, or MonitorGateway=No"));
        return None;
    }
    let tree = cx.tree;
    let inside: Vec<&Object> = tree.enabled(Host::TYPE).filter(|host| host.parent == Some(object.id)).collect();
    if read.hosts && inside.is_empty() {
        let problem = Problem::error("hosts are to be watched, and the route has no MonitoredHost");
        let path = format!("\"cc RoutingTable ...\", \"cc Route {}\"", tree.index(object));
        cx.report(object, "EnableHostMonitoring", problem.remedy(format!("add one in the route: {path}")));
        return None;
    }
    let hosts: Vec<Option<MonitoredHost>> = inside.into_iter().map(|host| monitored(cx, host)).collect();
    let hosts: Vec<MonitoredHost> = hosts.into_iter().collect::<Option<_>>()?;
    Some(RouteMonitor {
        link: read.link,
        gateway: read.monitor_gateway.then(|| Duration::from_millis(read.gateway_interval)),
        hosts: if read.hosts { hosts } else { Vec::new() },
        reachability: match read.reachability {
            routing::Reachability::All => Reachability::All,
            routing::Reachability::Any => Reachability::Any,
        },
        grace: Duration::from_secs(read.grace),
    })
}

fn monitored(cx: &mut Resolver<'_>, object: &Object) -> Option<MonitoredHost> {
    let read = Host::read(object)?;
    let address = cx.host(object, "IPAddress", &read.address)?;
    let source = match &read.originator {
        Some(terms) => Some(cx.host(object, "OriginatorIP", terms)?),
        None => None,
    };
    if let Some(source) = source.filter(|source| source.is_ipv4() != address.is_ipv4()) {
        let message = format!("{source} and the host {address} are not of one family");
        cx.report(object, "OriginatorIP", Problem::error(message).remedy("write an address of the host's family"));
        return None;
    }
    if read.fails >= read.samples {
        let message = format!("{} of {} polls may go unanswered, so the host can never fail", read.fails, read.samples);
        cx.report(object, "MaxPollFails", Problem::error(message).remedy("write less than SampleSize"));
        return None;
    }
    if read.latency > read.interval {
        let message =
            format!("answers may take {} ms, longer than the {} ms between polls", read.latency, read.interval);
        cx.report(object, "MaxAverageLatency", Problem::warning(message).remedy("write at most PollingInterval"));
    }
    Some(MonitoredHost {
        method: match read.method {
            Method::Icmp => PollMethod::Icmp,
            Method::Tcp => PollMethod::Tcp(u16::try_from(read.port?).ok()?),
        },
        address,
        source,
        interval: Duration::from_millis(read.interval),
        samples: u32::try_from(read.samples).ok()?,
        fails_max: u32::try_from(read.fails).ok()?,
        latency_max: Duration::from_millis(read.latency),
        required: read.required,
    })
}

/// Warns of what looks like a fail-over and is none: a monitored route beside an automatic one to the same network that
/// is preferred.
pub(crate) fn hidden(cx: &mut Resolver<'_>, tables: &[RoutingTable], interfaces: &[Interface]) {
    let tree = cx.tree;
    for object in tree.enabled(Declared::TYPE) {
        let Some(read) = Declared::read(object).filter(|read| read.monitor) else { continue };
        let Some(parent) = object.parent.and_then(|parent| tree.get(parent)).and_then(|parent| parent.name.as_deref())
        else {
            continue;
        };
        let Some(table) = tables.iter().find(|table| table.name.eq_ignore_ascii_case(parent)) else { continue };
        let Some(interface) = interfaces.iter().find(|interface| interface.name.eq_ignore_ascii_case(&read.interface))
        else {
            continue;
        };
        let Some(network) = cx.network(object, "Network", &read.network) else { continue };
        let automatic = table.routes.iter().find(|route| {
            route.interface == interface.id
                && route.network == network
                && matches!(route.origin, RouteOrigin::Interface | RouteOrigin::Tunnel)
        });
        if let Some(automatic) = automatic {
            let message = format!(
                "an automatic route of {} to {network} with metric {} holds whatever is watched here",
                interface.name, automatic.metric
            );
            let property = if matches!(interface.kind, InterfaceKind::Tunnel(_)) || automatic.gateway.is_none() {
                "AutoInterfaceNetworkRoute"
            } else {
                "AutoDefaultGatewayRoute"
            };
            let problem = Problem::warning(message);
            cx.report(object, "RouteMonitor", problem.remedy(format!("set {property}=No of {}", interface.name)));
        }
    }
}
