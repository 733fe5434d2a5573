//! From a configuration to a [`Snapshot`]: every object checked, every name resolved, all problems at once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use schema::{Object, Problem, Tree};

use crate::algorithms::{IkeAlgorithms, IpsecAlgorithms};
use crate::host::present;
use crate::interfaces::Ids;
use crate::ipsec_tunnel::IpsecTunnel;
use crate::psk::Psk;
use crate::resolve::Resolver;
use crate::snapshot::{
    HostInterface, Interface, InterfaceId, InterfaceKind, Link, Snapshot, TableId, Tunnel, TunnelId,
};
use crate::{interfaces, routes, rules, settings, tunnels, unwise};

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
    ids.number_tables(cx);
    let ethernets = interfaces::compile(cx, hosts, &mut ids);
    unwise::owners(cx, &ethernets);
    let own: Vec<Interface> = ethernets.iter().filter_map(|(_, interface)| interface.clone()).collect();
    let max = settings
        .as_ref()
        .map_or(usize::MAX, |settings| usize::try_from(settings.ipsec.max_tunnels).unwrap_or(usize::MAX));
    let numbered: Vec<(&Object, TunnelId)> =
        cx.tree.enabled(IpsecTunnel::TYPE).map(|object| (object, TunnelId(ids.of(object)))).collect();
    // Groups stand for numbers, which tunnels have before they are compiled.
    interfaces::groups(cx, &mut ids);
    let mut compiled: Vec<(&Object, Option<Arc<Tunnel>>)> = Vec::new();
    for (number, (object, id)) in numbered.into_iter().enumerate() {
        if number >= max {
            let message =
                format!("Cfg Warning (S1325) section 'IPSEC': - Disabling IPsec tunnel {}", cx.tree.path(object));
            let problem = Problem::warning(message).of(object.title()).at(object.position);
            cx.problems.push(
                problem.remedy(format!("IPsecMaxTunnels of IPsecTunnelSettings is {max}: raise it, or remove tunnels")),
            );
            continue;
        }
        let tunnel = tunnels::compile(cx, object, id, &own, &ids);
        compiled.push((object, tunnel.map(Arc::new)));
    }
    tunnels::hidden(cx, &compiled);
    let mut interfaces = vec![core(&own)];
    interfaces.extend(own);
    interfaces.extend(compiled.iter().filter_map(|(object, tunnel)| {
        let table = IpsecTunnel::read(object).and_then(|read| routes::tunnel_table(&read, &ids));
        tunnel.as_deref().map(|tunnel| tunnel_interface(tunnel, table))
    }));
    ids.make_equivalent(&mut interfaces);
    // Routes and rules are checked against every interface there will be, even if one of them has an error.
    let tables = routes::compile(cx, &ethernets, &compiled, &ids);
    if let Some(tables) = &tables {
        routes::hidden(cx, tables, &interfaces);
    }
    let policies = rules::policies(cx, &ids);
    let access = rules::access(cx, &ids);
    let routing_rules = rules::routing_rules(cx, &ids);
    let link = interfaces::link(cx, &ethernets, &ids);
    let pools = rules::pools(cx, &ids);
    let complete =
        ethernets.iter().all(|(_, interface)| interface.is_some()) && compiled.iter().all(|(_, t)| t.is_some());
    complete.then_some(())?;
    let snapshot = Snapshot {
        interfaces,
        tunnels: compiled.into_iter().filter_map(|(_, tunnel)| tunnel).collect(),
        tables: tables?,
        routing_rules: routing_rules?,
        access: access?,
        link: Link { pools: pools?, ..link? },
        policies: policies?,
        settings: settings?,
    };
    unwise::whole(cx, &snapshot);
    Some(snapshot)
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

fn tunnel_interface(tunnel: &Tunnel, table: Option<TableId>) -> Interface {
    let full = |address: IpAddr| (address, if address.is_ipv4() { 32 } else { 128 });
    Interface {
        id: tunnel.id.interface(),
        name: tunnel.name.clone(),
        kind: InterfaceKind::Tunnel(tunnel.id),
        addresses: tunnel.originator.map(full).into_iter().collect(),
        mtu: tunnel.plaintext_mtu,
        table,
        equivalents: Vec::new(),
    }
}
