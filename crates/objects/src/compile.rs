//! From a configuration to a [`Snapshot`]: every object checked, every name resolved, all problems at once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use base::IpRange;
use schema::{Object, Problem, Tree};

use crate::algorithms::{IkeAlgorithms, IpsecAlgorithms};
use crate::ethernet::Ethernet;
use crate::host::{addresses, present};
use crate::ip_policy::{Action as Wanted, IpPolicy};
use crate::ipsec_tunnel::IpsecTunnel;
use crate::psk::Psk;
use crate::resolve::Resolver;
use crate::snapshot::{
    Action, DestinationTranslation, HostInterface, Interface, InterfaceId, InterfaceKind, Interfaces, Link, Networks,
    Ordering, Policy, RoutingTable, Snapshot, SourceTranslation, TableId, Tunnel, TunnelId,
};
use crate::{routes, settings, tunnels};

/// Checks a configuration and makes a snapshot of it. `hosts` are the interfaces of the host; with none given, the
/// configuration is taken to know them all.
///
/// # Errors
///
/// Everything that is wrong, warnings too, when anything is an error. A configuration with errors has no snapshot.
pub fn compile(tree: &Tree, hosts: &[HostInterface]) -> Result<(Snapshot, Vec<Problem>), Vec<Problem>> {
    let mut tree = tree.clone();
    present(&mut tree, hosts);
    tree.derive();
    let mut problems = tree.check();
    let mut cx = Resolver::new(&tree);
    let snapshot = build(&mut cx, hosts);
    problems.append(&mut cx.problems);
    let mut seen = BTreeSet::new();
    problems.retain(|problem| seen.insert(format!("{problem}")));
    problems.sort_by_key(|problem| problem.position);
    let failed = problems.iter().any(Problem::is_error);
    match snapshot {
        Some(snapshot) if !failed => Ok((snapshot, problems)),
        Some(_) | None => {
            if !failed {
                // Checking and reading disagree about a value: better no configuration than half of one.
                problems.push(Problem::error("the configuration could not be read").remedy("report this as a defect"));
            }
            Err(problems)
        }
    }
}

fn build(cx: &mut Resolver<'_>, hosts: &[HostInterface]) -> Option<Snapshot> {
    keys_and_lists(cx);
    let settings = settings::compile(cx.tree);
    let mut ids = Ids::default();
    let ethernets = ethernets(cx, hosts, &mut ids);
    let own: Vec<Interface> = ethernets.iter().filter_map(|(_, interface)| interface.clone()).collect();
    let max = settings
        .as_ref()
        .map_or(usize::MAX, |settings| usize::try_from(settings.ipsec.max_tunnels).unwrap_or(usize::MAX));
    let mut compiled: Vec<(&Object, Option<Arc<Tunnel>>)> = Vec::new();
    for (number, object) in cx.tree.enabled(IpsecTunnel::TYPE).enumerate() {
        let id = TunnelId(ids.of(object));
        if number >= max {
            let message =
                format!("Cfg Warning (S1325) section 'IPSEC': - Disabling IPsec tunnel {}", cx.tree.path(object));
            let problem = Problem::warning(message).of(object.title()).at(object.position);
            cx.problems.push(
                problem.remedy(format!("IPsecMaxTunnels of IPsecTunnelSettings is {max}: raise it, or remove tunnels")),
            );
            continue;
        }
        let tunnel = tunnels::compile(cx, object, id, &own);
        compiled.push((object, tunnel.map(Arc::new)));
    }
    tunnels::hidden(cx, &compiled);
    let mut interfaces = vec![core(&own)];
    interfaces.extend(own);
    interfaces.extend(compiled.iter().filter_map(|(_, tunnel)| tunnel.as_deref()).map(tunnel_interface));
    // Routes and policies are checked against every interface there will be, even if one of them has an error.
    let routes = routes::compile(cx, &ethernets, &compiled, &ids);
    let policies = policies(cx, &ids);
    let complete =
        ethernets.iter().all(|(_, interface)| interface.is_some()) && compiled.iter().all(|(_, t)| t.is_some());
    complete.then_some(())?;
    Some(Snapshot {
        interfaces,
        tunnels: compiled.into_iter().filter_map(|(_, tunnel)| tunnel).collect(),
        tables: vec![RoutingTable {
            id: TableId::MAIN,
            name: "main".to_owned(),
            ordering: Ordering::Default,
            routes: routes?,
        }],
        routing_rules: Vec::new(),
        access: Vec::new(),
        link: Link::default(),
        policies: policies?,
        settings: settings?,
    })
}

/// What is wrong or weak about keys and proposal lists, used or not.
fn keys_and_lists(cx: &mut Resolver<'_>) {
    let tree = cx.tree;
    for object in tree.enabled(Psk::TYPE) {
        if let Some(problem) = Psk::read(object).and_then(|psk| psk.weakness(object)) {
            cx.problems.push(problem.of(tree.title(object)));
        }
    }
    let ike = tree.enabled(IkeAlgorithms::TYPE).filter_map(|o| IkeAlgorithms::read(o).map(|list| list.compile(o)));
    let ipsec =
        tree.enabled(IpsecAlgorithms::TYPE).filter_map(|o| IpsecAlgorithms::read(o).map(|list| list.compile(o)));
    for result in ike.chain(ipsec) {
        match result {
            Ok((_, warnings)) => cx.problems.extend(warnings),
            Err(errors) => cx.problems.extend(errors),
        }
    }
}

/// Numbers for interfaces, derived from their names.
#[derive(Default)]
pub(crate) struct Ids(Vec<(String, u32)>);

impl Ids {
    /// The number of an object's name. Two names that come to the same number are told apart by their order.
    fn of(&mut self, object: &Object) -> u32 {
        let name = object.name.as_deref().unwrap_or_default().to_lowercase();
        // FNV-1a, 32 bits: spreads short names well and needs no state.
        let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let mut number = name.bytes().fold(0x811c_9dc5, hash);
        while number == InterfaceId::CORE.0 || self.0.iter().any(|(_, taken)| *taken == number) {
            number = number.wrapping_add(1);
        }
        self.0.push((name, number));
        number
    }

    /// The interface of this name; `core` is one.
    pub(crate) fn find(&self, name: &str) -> Option<InterfaceId> {
        let name = name.to_lowercase();
        if name == "core" {
            return Some(InterfaceId::CORE);
        }
        self.0.iter().find(|(known, _)| *known == name).map(|(_, number)| InterfaceId(*number))
    }
}

fn core(own: &[Interface]) -> Interface {
    let full = |address: IpAddr| (address, if address.is_ipv4() { 32 } else { 128 });
    let addresses = own.iter().flat_map(|interface| &interface.addresses).map(|(address, _)| full(*address)).collect();
    Interface {
        id: InterfaceId::CORE,
        name: "core".to_owned(),
        kind: InterfaceKind::Core,
        addresses,
        mtu: 65535,
        table: None,
        equivalents: Vec::new(),
    }
}

fn tunnel_interface(tunnel: &Tunnel) -> Interface {
    let full = |address: IpAddr| (address, if address.is_ipv4() { 32 } else { 128 });
    Interface {
        id: tunnel.id.interface(),
        name: tunnel.name.clone(),
        kind: InterfaceKind::Tunnel(tunnel.id),
        addresses: tunnel.originator.map(full).into_iter().collect(),
        mtu: tunnel.plaintext_mtu,
        table: None,
        equivalents: Vec::new(),
    }
}

/// Every Ethernet interface; one that has an error is there without being compiled.
fn ethernets<'a>(
    cx: &mut Resolver<'a>,
    hosts: &[HostInterface],
    ids: &mut Ids,
) -> Vec<(&'a Object, Option<Interface>)> {
    let tree = cx.tree;
    tree.enabled(Ethernet::TYPE)
        .map(|object| (object, ethernet(cx, object, hosts, InterfaceId(ids.of(object)))))
        .collect()
}

fn ethernet(cx: &mut Resolver<'_>, object: &Object, hosts: &[HostInterface], id: InterfaceId) -> Option<Interface> {
    let read = Ethernet::read(object)?;
    let name = object.name.clone()?;
    let device = read.device.clone().unwrap_or_else(|| name.clone());
    let host = hosts.iter().find(|host| host.name == device);
    if host.is_none() && !hosts.is_empty() {
        let known: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        let problem =
            Problem::warning(format!("this host has no interface called {device}; it has {}", known.join(", ")));
        cx.report(
            object,
            "EthernetDevice",
            problem.remedy("set EthernetDevice to the name of an interface of the host"),
        );
    }
    let mut own = Vec::new();
    let pairs = [
        ("IP", &read.ip, "Network", &read.network, "DefaultGateway", &read.gateway),
        ("IPv6IP", &read.ip6, "IPv6Network", &read.network6, "IPv6DefaultGateway", &read.gateway6),
    ];
    for (ip, address, net, network, gw, gateway) in pairs {
        let network = match network {
            Some(terms) => Some(cx.network(object, net, terms)?),
            None => None,
        };
        if let Some(terms) = gateway {
            let gateway = cx.host(object, gw, terms)?;
            // What the kernel has works, odd as it may look: a link-local gateway, or one beside the network.
            let is_declared = object.given().any(|(property, _)| property.name == gw);
            if is_declared && network.is_none_or(|network| !network.contains(gateway)) {
                let problem = Problem::warning(format!("the gateway {gateway} does not lie within {net}"));
                cx.report(object, gw, problem.remedy(format!("check {gw} and {net}")));
            }
        }
        let Some(terms) = address else { continue };
        let address = cx.host(object, ip, terms)?;
        if let Some(outside) = network.filter(|network| !network.contains(address)) {
            let problem = Problem::error(format!("{address} does not lie within the interface's network {outside}"));
            cx.report(object, ip, problem.remedy(format!("correct {ip} or {net}")));
        }
        if host.is_some_and(|host| !host.addresses.iter().any(|(known, _)| *known == address)) {
            let problem =
                Problem::warning(format!("the host's interface {device} does not have the address {address}"));
            cx.report(
                object,
                ip,
                problem.remedy("give it the address in the host's own configuration, or correct this one"),
            );
        }
        let full = if address.is_ipv4() { 32 } else { 128 };
        own.push((address, network.and_then(|network| network.prefix()).unwrap_or(full)));
    }
    for (address, prefix) in host.into_iter().flat_map(addresses) {
        if !own.iter().any(|(known, _)| *known == address) {
            own.push((address, prefix));
        }
    }
    let mtu = u32::try_from(read.mtu).ok()?;
    Some(Interface {
        id,
        name,
        kind: InterfaceKind::Ethernet { device, owned: false },
        addresses: own,
        mtu,
        table: None,
        equivalents: Vec::new(),
    })
}

fn policies(cx: &mut Resolver<'_>, ids: &Ids) -> Option<Vec<Policy>> {
    let tree = cx.tree;
    let compiled: Vec<Option<Policy>> = tree.enabled(IpPolicy::TYPE).map(|object| policy(cx, object, ids)).collect();
    compiled.into_iter().collect()
}

fn policy(cx: &mut Resolver<'_>, object: &Object, ids: &Ids) -> Option<Policy> {
    let read = IpPolicy::read(object)?;
    let source = cx.addresses(object, "SourceNetwork", &read.source_network);
    let destination = cx.addresses(object, "DestinationNetwork", &read.destination_network);
    let (source_network, destination_network) = (source?, destination?);
    let family = |ranges: &[IpRange]| ranges.first().map(IpRange::is_ipv4);
    if family(&source_network) != family(&destination_network) {
        let problem = Problem::warning("source and destination network are of different families, so no packet fits");
        cx.report(object, "DestinationNetwork", problem.remedy("make a policy for each family"));
    }
    let index = u32::try_from(cx.tree.index(object)).ok()?;
    Some(Policy {
        index,
        name: object.name.clone().unwrap_or_else(|| index.to_string()),
        source_interface: interface_set(cx, object, "SourceInterface", &read.source_interface, ids)?,
        source_network: Networks { ranges: source_network, names: Vec::new() },
        destination_interface: interface_set(cx, object, "DestinationInterface", &read.destination_interface, ids)?,
        destination_network: Networks { ranges: destination_network, names: Vec::new() },
        service: cx.service(object, &read.service)?,
        action: match (read.action, read.reject) {
            (Wanted::Allow, _) => Action::Allow,
            (Wanted::Deny, false) => Action::Drop,
            (Wanted::Deny, true) => Action::Reject,
        },
        source: SourceTranslation::None,
        destination: DestinationTranslation::None,
        schedule: None,
        log: read.log.then(|| read.severity.severity(read.action)),
    })
}

fn interface_set(
    cx: &mut Resolver<'_>,
    object: &Object,
    property: &str,
    names: &[String],
    ids: &Ids,
) -> Option<Interfaces> {
    if names.iter().any(|name| name.eq_ignore_ascii_case("any")) {
        if names.len() > 1 {
            cx.report(
                object,
                property,
                Problem::warning("any already means every interface").remedy("leave the others out"),
            );
        }
        return Some(Interfaces::Any);
    }
    // A tunnel beyond the limit is disabled: the policy stands without it.
    let known: Vec<InterfaceId> = names.iter().filter_map(|name| ids.find(name)).collect();
    Some(Interfaces::Only(known))
}
