//! `rules`: the IP rule set, in use.

use std::fmt::Write;

use objects::{
    Action, AddressMap, DestinationTranslation, IcmpTypes, Interfaces, Networks, Policy, PortMap, ServiceMatch,
    Snapshot, SourceTranslation,
};

use super::{Arguments, Outcome, list};
use crate::table::Table;

pub(super) fn run(gateway: &engine::Gateway, arguments: &Arguments<'_>) -> Outcome {
    let snapshot = gateway.snapshot();
    match arguments.value("type") {
        Some(kind) if kind.eq_ignore_ascii_case("ACCESS") => return access(snapshot, arguments),
        Some(kind) if !kind.eq_ignore_ascii_case("IP") => {
            return Outcome::failed(format!("-type={kind}: write IP or ACCESS.\n"));
        }
        _ => {}
    }
    let mut text = String::from("Contents of ruleset main; default action is DROP\n\n");
    let mut table = Table::new(&[">#", "Name", "Action", "Source", "Destination", "Service"]);
    for policy in &snapshot.policies {
        let source = interfaces(snapshot, &policy.source_interface);
        let destination = interfaces(snapshot, &policy.destination_interface);
        table.row([
            policy.index.to_string(),
            policy.name.clone(),
            match policy.action {
                Action::Allow => "Allow",
                Action::Drop => "Drop",
                Action::Reject => "Reject",
                Action::Stateless => "Stateless",
            }
            .to_owned(),
            format!("{source}:{}", networks(&policy.source_network)),
            format!("{destination}:{}", networks(&policy.destination_network)),
            policy.service.name.clone(),
        ]);
    }
    table.print(arguments.limit(), &mut text);
    if arguments.has("verbose") {
        text.push('\n');
        for policy in &snapshot.policies {
            let matches: Vec<String> = policy.service.matches.iter().map(service).collect();
            let log = policy.log.map_or_else(|| "not logged".to_owned(), |severity| format!("logged as {severity}"));
            let more: Vec<String> = translation(policy).into_iter().chain(schedule(policy)).chain([log]).collect();
            let (service, more) = (&policy.service.name, more.join("; "));
            let _ = writeln!(text, "{:>3} {service}: {}; {more}", policy.index, matches.join("; "));
        }
    }
    Outcome::ok(text)
}

/// What becomes of source and destination, when anything does.
fn translation(policy: &Policy) -> Vec<String> {
    let map = |map: &AddressMap| match map {
        AddressMap::Single(address) => address.to_string(),
        AddressMap::Transposed { to_first, .. } => format!("{to_first} and following"),
    };
    let source = match &policy.source {
        SourceTranslation::None => None,
        SourceTranslation::Auto => (policy.action == Action::Allow).then(|| "Auto NAT".to_owned()),
        SourceTranslation::Interface => Some("NAT to the interface's address".to_owned()),
        SourceTranslation::Address(address) => Some(format!("NAT to {address}")),
        SourceTranslation::Pool(pool) => Some(format!("NAT to pool {}", pool.name)),
        SourceTranslation::Static(to) => Some(format!("source SAT to {}", map(to))),
    };
    let destination = match &policy.destination {
        DestinationTranslation::None => None,
        DestinationTranslation::Static { address, port } => {
            let address = address.as_ref().map(map);
            let port = port.as_ref().map(|port| match port {
                PortMap::Single(port) => format!("port {port}"),
                PortMap::Transposed { to_first, .. } => format!("port {to_first} and following"),
            });
            Some(format!("SAT to {}", address.into_iter().chain(port).collect::<Vec<_>>().join(" ")))
        }
    };
    source.into_iter().chain(destination).collect()
}

fn schedule(policy: &Policy) -> Option<String> {
    policy.schedule.as_ref().map(|schedule| format!("by schedule {}", schedule.name))
}

/// The access rules.
fn access(snapshot: &Snapshot, arguments: &Arguments<'_>) -> Outcome {
    let mut text =
        String::from("Access rules; by default a source must be routed back to the interface it came in by\n\n");
    let mut table = Table::new(&[">#", "Name", "Action", "Interface", "Network"]);
    for rule in &snapshot.access {
        table.row([
            rule.index.to_string(),
            rule.name.clone(),
            format!("{:?}", rule.action),
            interfaces(snapshot, &rule.interface),
            list(&rule.network),
        ]);
    }
    table.print(arguments.limit(), &mut text);
    Outcome::ok(text)
}

fn networks(networks: &Networks) -> String {
    let ranges = networks.ranges.iter().map(ToString::to_string);
    ranges.chain(networks.names.iter().cloned()).collect::<Vec<_>>().join(",")
}

fn interfaces(snapshot: &Snapshot, set: &Interfaces) -> String {
    match set {
        Interfaces::Any => "any".to_owned(),
        Interfaces::Only(ids) => {
            let names = ids.iter().map(|id| snapshot.interface_by_id(*id).map_or("?", |i| i.name.as_str()));
            names.collect::<Vec<_>>().join(",")
        }
    }
}

fn service(kind: &ServiceMatch) -> String {
    let ports = |pairs: &[(u16, u16)]| {
        let each = pairs.iter().map(|(first, last)| match (*first, *last) {
            (0, u16::MAX) => "any".to_owned(),
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        });
        each.collect::<Vec<_>>().join(",")
    };
    let types = |types: &IcmpTypes| match types {
        IcmpTypes::All => "every type".to_owned(),
        IcmpTypes::Only(types) => format!("types {}", list(types)),
    };
    match kind {
        ServiceMatch::Tcp { source, destination } => format!("TCP {} -> {}", ports(source), ports(destination)),
        ServiceMatch::Udp { source, destination } => format!("UDP {} -> {}", ports(source), ports(destination)),
        ServiceMatch::Icmp(kinds) => format!("ICMP {}", types(kinds)),
        ServiceMatch::Icmpv6(kinds) => format!("ICMPv6 {}", types(kinds)),
        ServiceMatch::Protocol(0, 255) => "all IP traffic".to_owned(),
        ServiceMatch::Protocol(first, last) if first == last => format!("IP protocol {first}"),
        ServiceMatch::Protocol(first, last) => format!("IP protocols {first}-{last}"),
    }
}
