//! Warnings about what is right object by object and does not work together: cards and addresses with two owners,
//! policies that fit no packet, translation whose answers go elsewhere, gateways that no interface reaches.

use std::net::IpAddr;

use base::IpRange;
use schema::{Object, Problem};

use crate::ip_policy::IpPolicy;
use crate::resolve::Resolver;
use crate::routing::Route as DeclaredRoute;
use crate::snapshot::{
    Interface, InterfaceId, InterfaceKind, Interfaces, Policy, Snapshot, SourceTranslation, TableId,
};

/// Two interfaces of one card, and two of one address in one routing table.
pub(crate) fn owners(cx: &mut Resolver<'_>, ethernets: &[(&Object, Option<Interface>)]) {
    for (number, (object, interface)) in ethernets.iter().enumerate() {
        let Some(interface) = interface else { continue };
        let before = ethernets.iter().take(number).filter_map(|(_, other)| other.as_ref());
        for other in before {
            if let (InterfaceKind::Ethernet { device, .. }, InterfaceKind::Ethernet { device: taken, .. }) =
                (&interface.kind, &other.kind)
                && device == taken
            {
                let problem = Problem::error(format!("{device} is the network card of {} already", other.name));
                let remedy = format!("name another card, or make a VLAN on {}", other.name);
                cx.report(object, "EthernetDevice", problem.remedy(remedy));
            }
            let apart = matches!((interface.table, other.table), (Some(one), Some(two)) if one != two);
            let both = |address: &IpAddr| other.addresses.iter().any(|(taken, _)| taken == address);
            let mut own = interface.addresses.iter().map(|(address, _)| *address);
            if let Some(address) = own.find(both).filter(|_| !apart && (is_owned(interface) || is_owned(other))) {
                let property = if address.is_ipv4() { "IP" } else { "IPv6IP" };
                let problem = Problem::error(format!("{address} is the address of {} already", other.name));
                cx.report(object, property, problem.remedy("give each interface an address of its own"));
            }
        }
    }
}

const fn is_owned(interface: &Interface) -> bool {
    matches!(interface.kind, InterfaceKind::Ethernet { owned: true, .. } | InterfaceKind::Vlan { .. })
}

/// What a complete configuration says that cannot have the effect it was written for.
pub(crate) fn whole(cx: &mut Resolver<'_>, snapshot: &Snapshot) {
    gateways(cx, snapshot);
    let tree = cx.tree;
    // With several tables it depends on the connection where an address leads.
    let core = match snapshot.tables.as_slice() {
        [main] => {
            Some(main.routes.iter().filter(|route| route.interface == InterfaceId::CORE).map(|route| route.network))
        }
        _ => None,
    };
    let core: Option<Vec<IpRange>> = core.map(Iterator::collect);
    let objects = tree.objects().filter(|object| object.info.is_numbered_with(IpPolicy::TYPE) && !object.disabled);
    for (object, policy) in objects.zip(&snapshot.policies) {
        if let Some(core) = &core {
            destination(cx, object, policy, core);
        }
        sender(cx, object, policy, snapshot);
    }
}

/// Gateways of Route objects that their interface does not reach.
fn gateways(cx: &mut Resolver<'_>, snapshot: &Snapshot) {
    let tree = cx.tree;
    for object in tree.enabled(DeclaredRoute::TYPE) {
        let Some(read) = DeclaredRoute::read(object) else { continue };
        let Some(interface) = snapshot.interface(&read.interface).filter(|interface| is_owned(interface)) else {
            continue;
        };
        let Some(gateway) = read.gateway.and_then(|terms| cx.host(object, "Gateway", &terms)) else { continue };
        let reached = |(address, prefix): &(IpAddr, u8)| {
            IpRange::network(*address, *prefix).is_ok_and(|network| network.contains(gateway))
        };
        let link_local = matches!(gateway, IpAddr::V6(address) if address.is_unicast_link_local());
        if interface.addresses.iter().any(|(own, _)| *own == gateway) {
            let problem = Problem::error(format!("{gateway} is the gateway's own address on {}", interface.name));
            cx.report(object, "Gateway", problem.remedy("write the address of the next router"));
        } else if !interface.addresses.is_empty() && !link_local && !interface.addresses.iter().any(reached) {
            let problem = Problem::warning(format!("{gateway} lies in no network of {}", interface.name));
            cx.report(object, "Gateway", problem.remedy("correct Gateway or Interface: nobody may answer ARP there"));
        }
    }
}

/// The typical mistake about a server at a public address: its address is the gateway's own, which is `core`.
fn destination(cx: &mut Resolver<'_>, object: &Object, policy: &Policy, core: &[IpRange]) {
    let Interfaces::Only(interfaces) = &policy.destination_interface else { return };
    if !policy.destination_network.names.is_empty() {
        return;
    }
    let leads_to_core =
        |range: &IpRange| core.iter().any(|network| network.contains(range.first()) && network.contains(range.last()));
    let hosts = policy.destination_network.ranges.iter().all(|range| range.first() == range.last());
    if !hosts {
        return;
    }
    let found = policy.destination_network.ranges.first().map_or_else(String::new, ToString::to_string);
    let to_core = interfaces.contains(&InterfaceId::CORE);
    if !to_core && policy.destination_network.ranges.iter().all(leads_to_core) {
        let problem = Problem::warning(format!("{found} is the gateway's own, which is core: no packet fits"));
        cx.report(object, "DestinationInterface", problem.remedy("set DestinationInterface=core"));
    } else if *interfaces == [InterfaceId::CORE] && !policy.destination_network.ranges.iter().any(leads_to_core) {
        let problem = Problem::warning(format!("no route leads {found} to core, so no packet fits"));
        let remedy = format!("add Route Interface=core Network={found} in table main, or name the right interface");
        cx.report(object, "DestinationNetwork", problem.remedy(remedy));
    }
}

/// Translation to an address for which nobody answers ARP.
fn sender(cx: &mut Resolver<'_>, object: &Object, policy: &Policy, snapshot: &Snapshot) {
    let SourceTranslation::Address(address) = policy.source else { return };
    let own = snapshot.interfaces.iter().any(|interface| interface.addresses.iter().any(|(own, _)| *own == address));
    let on = snapshot.interfaces.iter().filter(|interface| is_owned(interface)).find(|interface| {
        interface
            .addresses
            .iter()
            .any(|(own, prefix)| IpRange::network(*own, *prefix).is_ok_and(|network| network.contains(address)))
    });
    let Some(on) = on.filter(|_| !own) else { return };
    let published =
        snapshot.link.publish.iter().any(|publish| publish.interface == on.id && publish.range.contains(address));
    let main = snapshot.tables.iter().filter(|table| table.id == TableId::MAIN);
    let mut routes = main.flat_map(|table| &table.routes);
    if !published && !routes.any(|route| route.proxy.contains(&on.id) && route.network.contains(address)) {
        let message = format!("nobody answers ARP for {address} on {}, so answers do not come back", on.name);
        let remedy = format!("add ARPND Interface={} IP={address}, or use an address of the gateway", on.name);
        cx.report(object, "NATSenderAddress", Problem::warning(message).remedy(remedy));
    }
}
