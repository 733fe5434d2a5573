//! The routing table: the gateway's own addresses, the interfaces' networks, the tunnels' networks, and Route objects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use base::IpRange;
use schema::{Object, Problem};

use crate::compile::Ids;
use crate::ethernet::Ethernet;
use crate::ipsec_tunnel::{IpsecTunnel, OriginatorType};
use crate::resolve::{Resolver, networks};
use crate::routing::Route as Declared;
use crate::snapshot::{Interface, InterfaceId, Route, RouteOrigin, Tunnel};

/// The whole table.
pub(crate) fn compile(
    cx: &mut Resolver<'_>,
    ethernets: &[(&Object, Option<Interface>)],
    tunnels: &[(&Object, Option<Arc<Tunnel>>)],
    ids: &Ids,
) -> Option<Vec<Route>> {
    let mut routes: Vec<Route> = Vec::new();
    let mut add = |route: Route| {
        if !routes.contains(&route) {
            routes.push(route);
        }
    };
    let loopback = IpRange::host(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let multicast4 = IpRange::network(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4);
    let multicast6 = IpRange::network(IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8);
    let own = ethernets.iter().filter_map(|(_, interface)| interface.as_ref());
    let addresses = own.flat_map(|interface| &interface.addresses).map(|(address, _)| IpRange::host(*address));
    for network in std::iter::once(loopback).chain(addresses).chain(multicast4).chain(multicast6) {
        add(core(network));
    }
    for (object, tunnel) in tunnels {
        let read = IpsecTunnel::read(object);
        let manual = read.is_some_and(|read| read.originator_type == OriginatorType::Manual);
        // An originator address written by hand is the gateway's own; a chosen one may belong to a host.
        if let Some(address) = tunnel.as_ref().and_then(|tunnel| tunnel.originator).filter(|_| manual) {
            add(core(IpRange::host(address)));
        }
    }
    for (object, interface) in ethernets {
        if let Some(interface) = interface {
            for route in of_interface(cx, object, interface)? {
                add(route);
            }
        }
    }
    for (object, tunnel) in tunnels {
        let Some((tunnel, read)) = tunnel.as_ref().zip(IpsecTunnel::read(object)) else { continue };
        let metric = u32::try_from(read.metric).ok()?;
        for network in tunnel.remote_networks.iter().copied().flat_map(networks).filter(|_| read.route) {
            let interface = tunnel.id.interface();
            add(Route {
                interface,
                network,
                gateway: None,
                local_ip: None,
                metric,
                origin: RouteOrigin::Tunnel,
                proxy: Vec::new(),
                monitor: None,
            });
        }
    }
    let mut complete = true;
    let tree = cx.tree;
    for object in tree.enabled(Declared::TYPE) {
        match declared(cx, object, ids) {
            Some(Some(route)) => add(route),
            Some(None) => {}
            None => complete = false,
        }
    }
    complete.then_some(routes)
}

const fn core(network: IpRange) -> Route {
    Route {
        interface: InterfaceId::CORE,
        network,
        gateway: None,
        local_ip: None,
        metric: 0,
        origin: RouteOrigin::Core,
        proxy: Vec::new(),
        monitor: None,
    }
}

fn of_interface(cx: &mut Resolver<'_>, object: &Object, interface: &Interface) -> Option<Vec<Route>> {
    let read = Ethernet::read(object)?;
    let metric = u32::try_from(read.metric).ok()?;
    let route = |network, gateway| Route {
        interface: interface.id,
        network,
        gateway,
        local_ip: None,
        metric,
        origin: RouteOrigin::Interface,
        proxy: Vec::new(),
        monitor: None,
    };
    let mut routes = Vec::new();
    if read.network_route {
        let declared = [("Network", &read.network), ("IPv6Network", &read.network6)];
        for (property, terms) in declared {
            if let Some(terms) = terms {
                routes.push(route(cx.network(object, property, terms)?, None));
            }
        }
        let known = interface.addresses.iter().filter_map(|(address, prefix)| IpRange::network(*address, *prefix).ok());
        routes.extend(known.filter(|network| network.first() != network.last()).map(|network| route(network, None)));
    }
    if read.gateway_route {
        let declared = [
            ("DefaultGateway", &read.gateway, IpRange::ALL_V4),
            ("IPv6DefaultGateway", &read.gateway6, IpRange::ALL_V6),
        ];
        for (property, terms, network) in declared {
            if let Some(terms) = terms {
                routes.push(route(network, Some(cx.host(object, property, terms)?)));
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
    let metric = u32::try_from(read.metric).ok()?;
    let found = ids.find(&read.interface);
    Some(found.map(|interface| Route {
        interface,
        network,
        gateway,
        local_ip,
        metric,
        origin: RouteOrigin::Configured,
        proxy: Vec::new(),
        monitor: None,
    }))
}
