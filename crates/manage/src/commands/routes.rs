//! `routes`: a routing table, in use.

use std::fmt::Write;
use std::net::IpAddr;

use objects::RouteOrigin;

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
    let name = arguments.word(0).unwrap_or("main");
    let Some(table) = snapshot.table(name) else {
        let known: Vec<&str> = snapshot.tables.iter().map(|table| table.name.as_str()).collect();
        return Outcome::failed(format!("There is no routing table {name}; there are: {}.\n", known.join(", ")));
    };
    let shown = |route: &&objects::Route| route.origin != RouteOrigin::Core || arguments.has("all");
    let mut routes: Vec<_> = table.routes.iter().filter(shown).collect();
    // IPv4 before IPv6; in each the longest prefix first, as they are searched.
    routes.sort_by_key(|route| {
        (!route.network.is_ipv4(), std::cmp::Reverse(route.network.prefix()), route.network, route.metric)
    });
    let mut table = Table::new(&["Flags", "Network", "Iface", "Gateway", "Local IP", ">Metric"]);
    for route in routes {
        let gateway = match (route.origin, route.gateway) {
            (RouteOrigin::Core, _) => "(Iface IP)".to_owned(),
            (_, gateway) => gateway.map_or_else(String::new, |address| address.to_string()),
        };
        table.row([
            String::new(),
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
