//! A configuration snapshot in the words of its readers: IKE, the packet path, and the host's routing table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use base::{Duration, IpRange};
use dataplane::{InterfaceKind, TunnelPath};
use ipnet::IpNet;
use objects::{Conditions, Snapshot};

use crate::HostRoute;

/// Packets that wait for one tunnel to come up.
const WAITING_PER_TUNNEL_MAX: usize = 64;
/// How long a packet waits for its tunnel: what a person at the other end still takes for a slow connection.
const WAITING_TIME: Duration = Duration::from_secs(15);

/// What IKE must know.
pub(crate) fn ike_config(snapshot: &Snapshot) -> ike::Config {
    let ipsec = &snapshot.settings.ipsec;
    let size = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
    ike::Config {
        tunnels: snapshot.tunnels.iter().map(|tunnel| Arc::new(ike_tunnel(snapshot, tunnel))).collect(),
        settings: ike::Settings {
            initial_contact: ipsec.initial_contact,
            force_cookies: ipsec.force_cookies,
            half_open_cookie_threshold: size(ipsec.half_open_cookie_threshold),
            half_open_max: size(ipsec.half_open_max),
            half_open_per_source_max: size(ipsec.half_open_per_source_max),
            half_open_lifetime: ipsec.half_open_lifetime,
            retransmit_first: ipsec.retransmit_first,
            retransmit_max: ipsec.retransmit_max,
            retransmit_tries: ipsec.retransmit_tries,
            fragment_size: size(ipsec.fragment_size),
            auto_establish_retry: ipsec.auto_establish_retry,
        },
    }
}

fn ike_tunnel(snapshot: &Snapshot, tunnel: &objects::Tunnel) -> ike::Tunnel {
    let remote_endpoint = match &tunnel.remote_endpoint {
        objects::RemoteEndpoint::Any => ike::RemoteEndpoint::Any,
        objects::RemoteEndpoint::Address(address) => ike::RemoteEndpoint::Address(*address),
        objects::RemoteEndpoint::Within(ranges) => ike::RemoteEndpoint::Within(ranges.clone()),
    };
    let local_address_hint = match tunnel.remote_endpoint {
        objects::RemoteEndpoint::Address(remote) => address_towards(snapshot, tunnel.outgoing_table, remote),
        objects::RemoteEndpoint::Any | objects::RemoteEndpoint::Within(_) => None,
    };
    ike::Tunnel {
        id: ike::TunnelId(tunnel.id.0),
        name: tunnel.name.clone(),
        local_endpoint: tunnel.local_endpoint,
        local_address_hint,
        remote_endpoint,
        local_identity: match &tunnel.local_identity {
            objects::LocalIdentity::Auto => ike::LocalIdentity::Auto,
            objects::LocalIdentity::Address(address) => ike::LocalIdentity::Fixed(ike::Identity::Address(*address)),
            objects::LocalIdentity::Dns(name) => ike::LocalIdentity::Fixed(ike::Identity::Fqdn(name.clone())),
            objects::LocalIdentity::Email(name) => ike::LocalIdentity::Fixed(ike::Identity::Email(name.clone())),
        },
        psk: tunnel.psk.secret.clone(),
        psk_name: tunnel.psk.name.clone(),
        ike: algorithms(&tunnel.ike),
        groups: tunnel.groups.clone(),
        esp: algorithms(&tunnel.esp),
        pfs_groups: tunnel.pfs_groups.clone(),
        local_networks: tunnel.local_networks.clone(),
        remote_networks: tunnel.remote_networks.clone(),
        ike_lifetime: tunnel.ike_lifetime,
        ipsec_lifetime: tunnel.ipsec_lifetime,
        ipsec_lifetime_kilobytes: tunnel.ipsec_lifetime_kilobytes,
        dpd_interval: tunnel.dpd_interval,
        nat_traversal: match tunnel.nat_traversal {
            objects::NatTraversal::Off => ike::NatTraversal::Off,
            objects::NatTraversal::On => ike::NatTraversal::On,
            objects::NatTraversal::OnIfNeeded => ike::NatTraversal::IfNeeded,
        },
        auto_establish: tunnel.auto_establish,
        sa_per: match tunnel.sa_per {
            objects::SaPer::Net => ike::SaPer::Net,
            objects::SaPer::Host => ike::SaPer::Host,
            objects::SaPer::Port => ike::SaPer::Port,
        },
        esn: tunnel.esn,
        ike_ds: tunnel.ike_ds,
    }
}

fn algorithms(list: &objects::Algorithms) -> ike::Algorithms {
    ike::Algorithms {
        name: list.name.clone(),
        encryption: list.encryption.clone(),
        integrity: list.integrity.clone(),
        prf: list.prf.clone(),
    }
}

/// Our address on the interface that the route to `remote` leads to in this table.
fn address_towards(snapshot: &Snapshot, table: objects::TableId, remote: IpAddr) -> Option<IpAddr> {
    let route = snapshot
        .table_by_id(table)
        .map_or(&[][..], |table| &table.routes)
        .iter()
        .filter(|route| route.network.contains(remote))
        .filter(|route| {
            snapshot.interface_by_id(route.interface).is_some_and(|interface| {
                use objects::InterfaceKind::{Ethernet, Vlan};
                matches!(interface.kind, Ethernet { .. } | Vlan { .. })
            })
        })
        .min_by_key(|route| (std::cmp::Reverse(route.network.prefix()), route.metric))?;
    let own = || {
        let interface = snapshot.interface_by_id(route.interface)?;
        interface.addresses.iter().map(|(address, _)| *address).find(|address| address.is_ipv4() == remote.is_ipv4())
    };
    route.local_ip.or_else(own)
}

/// What the packet path must know, under these conditions: entries whose schedule is not in force and routes that fail
/// are left out, names are the addresses they resolve to.
pub(crate) fn policy(snapshot: &Snapshot, conditions: &Conditions) -> dataplane::Policy {
    let settings = &snapshot.settings;
    let in_force = |schedule: &Option<_>| conditions.in_force(schedule.as_ref(), settings.utc_offset);
    let rules = snapshot.policies.iter().filter(|policy| in_force(&policy.schedule));
    let routing_rules = snapshot.routing_rules.iter().filter(|rule| in_force(&rule.schedule));
    dataplane::Policy {
        interfaces: snapshot.interfaces.iter().map(|interface| self::interface(snapshot, interface)).collect(),
        tables: snapshot.tables.iter().map(|table| self::table(table, conditions)).collect(),
        routing_rules: routing_rules.filter_map(|rule| routing_rule(rule, conditions)).collect(),
        access: snapshot.access.iter().map(access).collect(),
        rules: rules.filter_map(|policy| rule(policy, conditions)).collect(),
        settings: dataplane::Settings {
            connections_max: usize::try_from(settings.max_connections).unwrap_or(usize::MAX),
            when_full: match settings.when_full {
                objects::WhenFull::Drop => dataplane::WhenFull::Drop,
                objects::WhenFull::Replace => dataplane::WhenFull::Replace,
                objects::WhenFull::ReplaceLog => dataplane::WhenFull::ReplaceLog,
            },
            tcp_opening: settings.timeouts.tcp_syn,
            tcp_established: settings.timeouts.tcp_open,
            tcp_closing: settings.timeouts.tcp_fin,
            udp: settings.timeouts.udp,
            udp_both_ways: settings.timeouts.udp_both_ways,
            ping: settings.timeouts.ping,
            igmp: settings.timeouts.igmp,
            other: settings.timeouts.other,
            mss_max: settings.tcp_mss_max,
            mss_vpn_max: settings.tcp_mss_vpn_max,
            mss_auto: settings.tcp_mss_auto,
            strip_df_max: settings.strip_df_max,
            ipsec_before_rules: settings.ipsec.before_rules,
            waiting_per_tunnel_max: WAITING_PER_TUNNEL_MAX,
            waiting_time: WAITING_TIME,
        },
    }
}

fn table(table: &objects::RoutingTable, conditions: &Conditions) -> dataplane::RoutingTable {
    dataplane::RoutingTable {
        id: table_id(table.id),
        name: table.name.as_str().into(),
        ordering: match table.ordering {
            objects::Ordering::Default => dataplane::Ordering::Default,
            objects::Ordering::First => dataplane::Ordering::First,
            objects::Ordering::Only => dataplane::Ordering::Only,
        },
        routes: table
            .routes
            .iter()
            .filter(|route| route.monitor.is_none() || !conditions.failed.contains(&route.key(table.id)))
            .filter_map(route)
            .collect(),
    }
}

/// Routes of clients, which come and go beside the policy.
pub(crate) fn routes(routes: &[(objects::TableId, objects::Route)]) -> Vec<(dataplane::TableId, dataplane::Route)> {
    routes.iter().filter_map(|(table, route)| Some((table_id(*table), self::route(route)?))).collect()
}

fn route(route: &objects::Route) -> Option<dataplane::Route> {
    Some(dataplane::Route {
        network: network(&route.network)?,
        interface: interface_id(route.interface),
        gateway: route.gateway,
        local_ip: route.local_ip,
        metric: route.metric,
    })
}

fn routing_rule(rule: &objects::RoutingRule, conditions: &Conditions) -> Option<dataplane::RoutingRule> {
    Some(dataplane::RoutingRule {
        name: rule.name.as_str().into(),
        source_interfaces: interfaces(&rule.source_interface),
        source_networks: networks(&rule.source_network, conditions)?,
        destination_interfaces: interfaces(&rule.destination_interface),
        destination_networks: networks(&rule.destination_network, conditions)?,
        services: rule.service.matches.iter().map(service).collect(),
        forward: table_id(rule.forward),
        back: table_id(rule.back),
    })
}

fn access(access: &objects::Access) -> dataplane::AccessRule {
    dataplane::AccessRule {
        name: access.name.as_str().into(),
        action: match access.action {
            objects::AccessAction::Drop => dataplane::AccessAction::Drop,
            objects::AccessAction::Accept => dataplane::AccessAction::Accept,
            objects::AccessAction::Expect => dataplane::AccessAction::Expect,
        },
        interfaces: interfaces(&access.interface),
        networks: access.network.clone(),
        log: access.log,
    }
}

fn interface(snapshot: &Snapshot, interface: &objects::Interface) -> dataplane::Interface {
    let kind = match &interface.kind {
        objects::InterfaceKind::Core => InterfaceKind::Core,
        objects::InterfaceKind::Ethernet { owned: false, .. } => InterfaceKind::Host,
        objects::InterfaceKind::Ethernet { owned: true, .. } | objects::InterfaceKind::Vlan { .. } => {
            InterfaceKind::Port
        }
        objects::InterfaceKind::Tunnel(id) => InterfaceKind::Tunnel(snapshot.tunnel_by_id(*id).map_or_else(
            || TunnelPath::between(Vec::new(), Vec::new()),
            |tunnel| TunnelPath {
                plaintext_mtu: u16::try_from(tunnel.plaintext_mtu).unwrap_or(u16::MAX),
                outer_ds: tunnel.ipsec_ds,
                local_networks: tunnel.local_networks.clone(),
                remote_networks: tunnel.remote_networks.clone(),
                originator: tunnel.originator.into_iter().collect(),
                sa_per: match tunnel.sa_per {
                    objects::SaPer::Net => dataplane::SaPer::Net,
                    objects::SaPer::Host => dataplane::SaPer::Host,
                    objects::SaPer::Port => dataplane::SaPer::Port,
                },
                outer_table: table_id(tunnel.outgoing_table),
            },
        )),
    };
    dataplane::Interface {
        addresses: interface.addresses.iter().map(|(address, _)| *address).collect(),
        mtu: u16::try_from(interface.mtu).unwrap_or(u16::MAX),
        table: interface.table.map(table_id),
        equivalents: interface.equivalents.iter().copied().map(interface_id).collect(),
        ..dataplane::Interface::new(interface_id(interface.id), &interface.name, kind)
    }
}

fn interfaces(set: &objects::Interfaces) -> Option<Vec<dataplane::InterfaceId>> {
    match set {
        objects::Interfaces::Any => None,
        objects::Interfaces::Only(ids) => Some(ids.iter().copied().map(interface_id).collect()),
    }
}

/// `None`: no name of it is resolved, so nothing fits.
fn networks(networks: &objects::Networks, conditions: &Conditions) -> Option<Vec<IpRange>> {
    Some(networks.resolved(&conditions.names)).filter(|ranges| !ranges.is_empty())
}

/// `None`: nothing fits the policy under these conditions.
fn rule(policy: &objects::Policy, conditions: &Conditions) -> Option<dataplane::Rule> {
    let timeouts = &policy.service.timeouts;
    Some(dataplane::Rule {
        name: policy.name.as_str().into(),
        source_interfaces: interfaces(&policy.source_interface),
        source_networks: networks(&policy.source_network, conditions)?,
        destination_interfaces: interfaces(&policy.destination_interface),
        destination_networks: networks(&policy.destination_network, conditions)?,
        services: policy.service.matches.iter().map(service).collect(),
        action: match policy.action {
            objects::Action::Allow => dataplane::RuleAction::Allow,
            objects::Action::Drop => dataplane::RuleAction::Drop,
            objects::Action::Reject => dataplane::RuleAction::Reject,
            objects::Action::Stateless => dataplane::RuleAction::Stateless,
        },
        source: source_translation(&policy.source),
        destination: destination_translation(&policy.destination),
        timeouts: dataplane::ServiceTimeouts {
            initial: timeouts.initial,
            idle: timeouts.idle,
            closing: timeouts.closing,
        },
        log: policy.log,
    })
}

fn source_translation(source: &objects::SourceTranslation) -> dataplane::SourceTranslation {
    use dataplane::SourceTranslation as Path;
    match source {
        objects::SourceTranslation::None => Path::None,
        objects::SourceTranslation::Auto => Path::Auto,
        objects::SourceTranslation::Interface => Path::Interface,
        objects::SourceTranslation::Address(address) => Path::Address(*address),
        objects::SourceTranslation::Pool(pool) => Path::Pool(Arc::new(dataplane::NatPool {
            name: pool.name.as_str().into(),
            ranges: pool.ranges.clone(),
            kind: match pool.kind {
                objects::NatPoolKind::Stateful => dataplane::NatPoolKind::Stateful,
                objects::NatPoolKind::Stateless => dataplane::NatPoolKind::Stateless,
                objects::NatPoolKind::Fixed => dataplane::NatPoolKind::Fixed,
            },
        })),
        objects::SourceTranslation::Static(map) => Path::Static(address_map(*map)),
    }
}

fn destination_translation(destination: &objects::DestinationTranslation) -> dataplane::DestinationTranslation {
    match destination {
        objects::DestinationTranslation::None => dataplane::DestinationTranslation::None,
        objects::DestinationTranslation::Static { address, port } => dataplane::DestinationTranslation::Static {
            address: address.map(address_map),
            port: port.map(|port| match port {
                objects::PortMap::Single(port) => dataplane::PortMap::Single(port),
                objects::PortMap::Transposed { from_first, to_first } => {
                    dataplane::PortMap::Transposed { from_first, to_first }
                }
            }),
        },
    }
}

fn address_map(map: objects::AddressMap) -> dataplane::AddressMap {
    match map {
        objects::AddressMap::Single(address) => dataplane::AddressMap::Single(address),
        objects::AddressMap::Transposed { from, to_first } => dataplane::AddressMap::Transposed { from, to_first },
    }
}

fn service(service: &objects::ServiceMatch) -> dataplane::Service {
    let ports = |pairs: &[(u16, u16)]| pairs.iter().map(|(first, last)| *first..=*last).collect();
    let types = |types: &objects::IcmpTypes| match types {
        objects::IcmpTypes::All => Vec::new(),
        objects::IcmpTypes::Only(types) => types.clone(),
    };
    match service {
        objects::ServiceMatch::Tcp { source, destination } => {
            dataplane::Service::Ports { protocol: 6, source: ports(source), destination: ports(destination) }
        }
        objects::ServiceMatch::Udp { source, destination } => {
            dataplane::Service::Ports { protocol: 17, source: ports(source), destination: ports(destination) }
        }
        objects::ServiceMatch::Icmp(kinds) => dataplane::Service::Icmp { protocol: 1, types: types(kinds) },
        objects::ServiceMatch::Icmpv6(kinds) => dataplane::Service::Icmp { protocol: 58, types: types(kinds) },
        objects::ServiceMatch::Protocol(0, 255) => dataplane::Service::All,
        objects::ServiceMatch::Protocol(first, last) => dataplane::Service::Protocol(*first..=*last),
    }
}

/// What the kernel must route to us under these conditions: every route that leads into a tunnel, and holds. Nothing where
/// the kernel has no packets to route, because the gateway owns every card that has addresses.
pub(crate) fn host_routes(snapshot: &Snapshot, conditions: &Conditions) -> Vec<HostRoute> {
    let is_kernels = |interface: &objects::Interface| {
        let kernels = matches!(interface.kind, objects::InterfaceKind::Ethernet { owned: false, .. });
        kernels && !interface.addresses.is_empty()
    };
    if !snapshot.interfaces.iter().any(is_kernels) {
        return Vec::new();
    }
    let own = snapshot.interface_by_id(objects::InterfaceId::CORE);
    let is_own = |address: &IpAddr| own.is_some_and(|core| core.addresses.iter().any(|(own, _)| own == address));
    let tunnels: BTreeMap<_, _> = snapshot.tunnels.iter().map(|tunnel| (tunnel.id.interface(), tunnel)).collect();
    let main = snapshot.tables.first().into_iter().flat_map(|table| conditions.routes_of(table));
    let mut routes: Vec<HostRoute> = main
        .filter_map(|route| {
            let source = tunnels.get(&route.interface)?.originator.filter(is_own);
            Some(HostRoute { network: network(&route.network)?, source, metric: route.metric })
        })
        .collect();
    let lead: BTreeSet<IpNet> = routes.iter().map(|route| route.network).collect();
    let nowhere = networks_without_route(snapshot, conditions, &tunnels).filter(|network| !lead.contains(network));
    routes.extend(nowhere.map(|network| HostRoute { network, source: None, metric: HostRoute::NOWHERE }));
    routes.sort();
    routes.dedup_by_key(|route| (route.network, route.metric));
    routes
}

/// Networks to which a route into a tunnel may lead again: those of routes that fail, and those of clients that are not
/// there. Not everything: a tunnel for clients anywhere does not shut the host off.
fn networks_without_route<'a>(
    snapshot: &'a Snapshot,
    conditions: &'a Conditions,
    tunnels: &'a BTreeMap<objects::InterfaceId, &Arc<objects::Tunnel>>,
) -> impl Iterator<Item = IpNet> + 'a {
    let failed = conditions.failed.iter().filter(|key| key.table == objects::TableId::MAIN);
    let failed = failed.filter(|key| tunnels.contains_key(&key.interface)).map(|key| key.network);
    let clients = snapshot
        .tunnels
        .iter()
        .filter(|tunnel| tunnel.dynamic_routes.as_ref().is_some_and(|routes| routes.table == objects::TableId::MAIN));
    let clients = clients.flat_map(|tunnel| tunnel.remote_networks.iter().copied());
    failed.chain(clients).filter_map(|range| network(&range)).filter(|network| network.prefix_len() > 0)
}

pub(crate) fn table_id(id: objects::TableId) -> dataplane::TableId {
    dataplane::TableId(id.0)
}

pub(crate) fn interface_id(id: objects::InterfaceId) -> dataplane::InterfaceId {
    dataplane::InterfaceId(id.0)
}

fn network(range: &IpRange) -> Option<IpNet> {
    IpNet::new(range.first(), range.prefix()?).ok()
}

#[cfg(test)]
mod tests {
    use objects::HostInterface;

    use super::*;

    const OFFICE: &str = "add PSK key Type=HEX PSKHex=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n\
        add Interface IPsecTunnel branch LocalNetwork=172.16.1.0/24 RemoteNetwork=192.168.11.0/24,192.168.12.0/24 \
        RemoteEndpoint=203.0.113.1 PSK=key\n\
        add IPPolicy Name=web SourceInterface=lan SourceNetwork=172.16.1.0/24 DestinationInterface=branch \
        DestinationNetwork=192.168.11.0/24 Service=http Action=Allow\n";

    fn office(text: &str) -> Snapshot {
        let interface = |name: &str, address: &str, gateways: &[&str]| HostInterface {
            name: name.into(),
            addresses: vec![(address.parse().unwrap(), 24)],
            mtu: 1500,
            gateways: gateways.iter().map(|gateway| gateway.parse().unwrap()).collect(),
            leases: Vec::new(),
        };
        let hosts = [interface("lan", "172.16.1.1", &[]), interface("wan", "198.51.100.1", &["198.51.100.254"])];
        objects::compile_text(text, &hosts).unwrap().1
    }

    #[test]
    fn the_kernel_routes_every_remote_network_to_us_and_prefers_the_originator_s_address() {
        let routes = host_routes(&office(OFFICE), &Conditions::default());
        let networks: Vec<String> = routes.iter().map(|route| route.network.to_string()).collect();
        assert_eq!(networks, ["192.168.11.0/24", "192.168.12.0/24"]);
        assert!(routes.iter().all(|route| route.source == Some("172.16.1.1".parse().unwrap())));
    }

    #[test]
    fn a_tunnel_without_an_automatic_route_has_none_in_the_kernel() {
        let text = OFFICE.replace("PSK=key\n", "PSK=key AutoInterfaceNetworkRoute=No\n");
        assert_eq!(host_routes(&office(&text), &Conditions::default()), []);
    }

    #[test]
    fn ike_speaks_from_the_address_of_the_interface_towards_the_peer() {
        let config = ike_config(&office(OFFICE));
        assert_eq!(config.tunnels[0].local_address_hint, Some("198.51.100.1".parse().unwrap()));
        assert_eq!(config.tunnels[0].local_endpoint, None);
    }

    #[test]
    fn a_tunnel_is_the_same_number_to_ike_the_packet_path_and_the_routes() {
        let snapshot = office(OFFICE);
        let (config, policy) = (ike_config(&snapshot), policy(&snapshot, &Conditions::default()));
        let tunnel =
            policy.interfaces.iter().find(|interface| matches!(interface.kind, InterfaceKind::Tunnel(_))).unwrap();
        assert_eq!(tunnel.id.0, config.tunnels[0].id.0);
        assert!(policy.main_routes().iter().any(|route| route.interface == tunnel.id));
        assert_eq!(policy.rules[0].destination_interfaces, Some(vec![tunnel.id]));
    }

    #[test]
    fn what_is_not_in_force_does_not_resolve_or_fails_is_left_out() {
        let text = format!(
            "add FQDNAddress www Address=www.example.com\nadd ScheduleProfile late Sun=23\n{OFFICE}\
             add IPPolicy Name=name SourceInterface=any SourceNetwork=all-nets DestinationInterface=any \
             DestinationNetwork=www Service=http Action=Allow\n\
             add IPPolicy Name=night SourceInterface=any SourceNetwork=all-nets DestinationInterface=any \
             DestinationNetwork=all-nets Service=http Action=Allow Schedule=late\n\
             cc RoutingTable main\nadd Route Interface=wan Network=10.9.0.0/16 RouteMonitor=Yes MonitorLinkStatus=Yes\n",
        );
        let snapshot = office(&text);
        let rules = |conditions: &Conditions| {
            policy(&snapshot, conditions).rules.iter().map(|rule| rule.name.to_string()).collect::<Vec<_>>()
        };
        let mut conditions = Conditions::default();
        assert_eq!(rules(&conditions), ["web"]);
        conditions.names.insert("www.example.com".to_owned(), vec!["192.0.2.80".parse().unwrap()]);
        assert_eq!(rules(&conditions), ["web", "name"]);
        // Sunday, 4 January 1970, 23:10.
        conditions.unix_seconds = Some(3 * 86_400 + 23 * 3600 + 600);
        assert_eq!(rules(&conditions), ["web", "name", "night"]);
        let watched = snapshot.main_routes().iter().find(|route| route.monitor.is_some()).unwrap();
        let holds = |conditions: &Conditions| {
            policy(&snapshot, conditions).main_routes().iter().any(|route| route.network.to_string() == "10.9.0.0/16")
        };
        assert!(holds(&conditions));
        conditions.failed.insert(watched.key(objects::TableId::MAIN));
        assert!(!holds(&conditions));
    }

    #[test]
    fn a_translation_of_the_same_configuration_is_the_same() {
        assert_eq!(policy(&office(OFFICE), &Conditions::default()), policy(&office(OFFICE), &Conditions::default()));
        assert_eq!(ike_config(&office(OFFICE)), ike_config(&office(OFFICE)));
    }
}
