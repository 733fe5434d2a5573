//! `routes`: a routing table, in use.

use std::fmt::Write;
use std::net::IpAddr;

use objects::{Route, RouteOrigin, Snapshot};

use super::{Arguments, Outcome};
use crate::table::Table;

pub(super) fn run(gateway: &engine::Gateway, arguments: &Arguments<'_>) -> Outcome {
    if let Some(text) = arguments.value("lookup") {
        return match text.parse() {
            Ok(address) => lookup(gateway, address),
            Err(_) => Outcome::failed(format!("'{text}' is not an IP address. Usage: routes -lookup=<ip>\n")),
        };
    }
    let snapshot = gateway.snapshot();
    if arguments.has("tables") {
        return tables(snapshot, arguments);
    }
    let name = arguments.word(0).unwrap_or("main");
    let Some(table) = snapshot.table(name) else {
        let known: Vec<&str> = snapshot.tables.iter().map(|table| table.name.as_str()).collect();
        return Outcome::failed(format!("There is no routing table {name}; there are: {}.\n", known.join(", ")));
    };
    let shown = |route: &&Route| route.origin != RouteOrigin::Core || arguments.has("all");
    let id = table.id;
    let conditions = gateway.conditions();
    let dynamic = conditions.routes.iter().filter(|(table, _)| *table == id).map(|(_, route)| (route, true));
    let mut routes: Vec<_> = table.routes.iter().filter(shown).map(|route| (route, false)).chain(dynamic).collect();
    // IPv4 before IPv6; in each the longest prefix first, as they are searched.
    routes.sort_by_key(|(route, _)| {
        (!route.network.is_ipv4(), std::cmp::Reverse(route.network.prefix()), route.network, route.metric)
    });
    let mut table = Table::new(&["Flags", "Network", "Iface", "Gateway", "Local IP", ">Metric"]);
    for (route, dynamic) in routes {
        let gateway = match (route.origin, route.gateway) {
            (RouteOrigin::Core, _) => "(Iface IP)".to_owned(),
            (_, gateway) => gateway.map_or_else(String::new, |address| address.to_string()),
        };
        table.row([
            flags(route, conditions.failed.contains(&route.key(id)), dynamic),
            route.network.to_string(),
            snapshot.interface_by_id(route.interface).map_or("?", |interface| interface.name.as_str()).to_owned(),
            gateway,
            route.local_ip.map_or_else(String::new, |address| address.to_string()),
            route.metric.to_string(),
        ]);
    }
    let mut text = String::new();
    table.print(arguments.limit(), &mut text);
    Outcome::ok(text)
}

/// X: fails and is not used. M: watched over. A: the gateway answers ARP for its hosts. D: came with an SA.
fn flags(route: &Route, failed: bool, dynamic: bool) -> String {
    let flags = [('X', failed), ('M', route.monitor.is_some()), ('A', !route.proxy.is_empty()), ('D', dynamic)];
    flags.iter().filter(|(_, set)| *set).map(|(flag, _)| *flag).collect()
}

fn tables(snapshot: &Snapshot, arguments: &Arguments<'_>) -> Outcome {
    let mut shown = Table::new(&["Table", "Ordering", ">Routes"]);
    for table in &snapshot.tables {
        shown.row([table.name.clone(), format!("{:?}", table.ordering), table.routes.len().to_string()]);
    }
    let mut text = String::new();
    shown.print(arguments.limit(), &mut text);
    Outcome::ok(text)
}

fn lookup(gateway: &engine::Gateway, address: IpAddr) -> Outcome {
    let Some(route) = gateway.lookup(address) else {
        return Outcome::failed(format!("No route leads to {address}.\n"));
    };
    let interface = gateway.snapshot().interface_by_id(objects::InterfaceId(route.interface.0));
    let mut text = String::new();
    let _ = write!(text, "{address} is reached by {} over interface ", route.network);
    let _ = write!(text, "{}", interface.map_or("?", |interface| interface.name.as_str()));
    if let Some(next_hop) = route.gateway {
        let _ = write!(text, ", gateway {next_hop}");
    }
    let _ = writeln!(text, ", metric {}.", route.metric);
    Outcome::ok(text)
}
