//! A configuration snapshot in the words of its readers: IKE, the packet path, and the host's routing table.

use std::net::IpAddr;
use std::sync::Arc;

use base::{Duration, IpRange};
use dataplane::{InterfaceKind, TunnelPath};
use ipnet::IpNet;
use objects::Snapshot;

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
        objects::RemoteEndpoint::Address(remote) => address_towards(snapshot, remote),
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

/// Our address on the interface that the route to `remote` leads to.
fn address_towards(snapshot: &Snapshot, remote: IpAddr) -> Option<IpAddr> {
    let route = snapshot
        .routes
        .iter()
        .filter(|route| route.network.contains(remote))
        .filter(|route| {
            snapshot
                .interface_by_id(route.interface)
                .is_some_and(|interface| matches!(interface.kind, objects::InterfaceKind::Ethernet { .. }))
        })
        .min_by_key(|route| (std::cmp::Reverse(route.network.prefix()), route.metric))?;
    let own = || {
        let interface = snapshot.interface_by_id(route.interface)?;
        interface.addresses.iter().map(|(address, _)| *address).find(|address| address.is_ipv4() == remote.is_ipv4())
    };
    route.local_ip.or_else(own)
}

/// What the packet path must know.
pub(crate) fn policy(snapshot: &Snapshot) -> dataplane::Policy {
    let settings = &snapshot.settings;
    dataplane::Policy {
        interfaces: snapshot.interfaces.iter().map(|interface| self::interface(snapshot, interface)).collect(),
        tables: vec![dataplane::RoutingTable {
            id: dataplane::MAIN,
            name: "main".into(),
            ordering: dataplane::Ordering::Default,
            routes: snapshot.routes.iter().filter_map(route).collect(),
        }],
        routing_rules: Vec::new(),
        access: Vec::new(),
        rules: snapshot.policies.iter().map(rule).collect(),
        settings: dataplane::Settings {
            connections_max: usize::try_from(settings.max_connections).unwrap_or(usize::MAX),
            tcp_opening: settings.timeouts.tcp_syn,
            tcp_established: settings.timeouts.tcp_open,
            tcp_closing: settings.timeouts.tcp_fin,
            udp: settings.timeouts.udp,
            ping: settings.timeouts.ping,
            other: settings.timeouts.other,
            mss_vpn_max: settings.tcp_mss_vpn_max,
            waiting_per_tunnel_max: WAITING_PER_TUNNEL_MAX,
            waiting_time: WAITING_TIME,
            ..dataplane::Settings::default()
        },
    }
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

fn interface(snapshot: &Snapshot, interface: &objects::Interface) -> dataplane::Interface {
    let kind = match &interface.kind {
        objects::InterfaceKind::Core => InterfaceKind::Core,
        objects::InterfaceKind::Ethernet { .. } => InterfaceKind::Host,
        objects::InterfaceKind::Tunnel(id) => {
            let tunnel = snapshot.tunnel_by_id(*id);
            let networks = |of: fn(&objects::Tunnel) -> &Vec<IpRange>| tunnel.map_or_else(Vec::new, |t| of(t).clone());
            InterfaceKind::Tunnel(TunnelPath {
                plaintext_mtu: tunnel.map_or(u16::MAX, |t| u16::try_from(t.plaintext_mtu).unwrap_or(u16::MAX)),
                outer_ds: tunnel.and_then(|t| t.ipsec_ds),
                originator: tunnel.and_then(|t| t.originator).into_iter().collect(),
                ..TunnelPath::between(networks(|t| &t.local_networks), networks(|t| &t.remote_networks))
            })
        }
    };
    dataplane::Interface {
        addresses: interface.addresses.iter().map(|(address, _)| *address).collect(),
        mtu: u16::try_from(interface.mtu).unwrap_or(u16::MAX),
        ..dataplane::Interface::new(interface_id(interface.id), &interface.name, kind)
    }
}

fn rule(policy: &objects::Policy) -> dataplane::Rule {
    let interfaces = |set: &objects::Interfaces| match set {
        objects::Interfaces::Any => None,
        objects::Interfaces::Only(ids) => Some(ids.iter().copied().map(interface_id).collect()),
    };
    dataplane::Rule {
        name: policy.name.as_str().into(),
        source_interfaces: interfaces(&policy.source_interface),
        source_networks: policy.source_network.clone(),
        destination_interfaces: interfaces(&policy.destination_interface),
        destination_networks: policy.destination_network.clone(),
        services: policy.service.matches.iter().map(service).collect(),
        action: match policy.action {
            objects::Action::Allow => dataplane::RuleAction::Allow,
            objects::Action::Drop => dataplane::RuleAction::Drop,
            objects::Action::Reject => dataplane::RuleAction::Reject,
        },
        source: dataplane::SourceTranslation::None,
        destination: dataplane::DestinationTranslation::None,
        timeouts: dataplane::ServiceTimeouts::default(),
        log: policy.log,
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

/// What the kernel must route to us: every route that leads into a tunnel.
pub(crate) fn host_routes(snapshot: &Snapshot) -> Vec<HostRoute> {
    let own = snapshot.interface_by_id(objects::InterfaceId::CORE);
    let is_own = |address: &IpAddr| own.is_some_and(|core| core.addresses.iter().any(|(own, _)| own == address));
    let mut routes: Vec<HostRoute> = snapshot
        .routes
        .iter()
        .filter_map(|route| {
            let tunnel = snapshot.tunnels.iter().find(|tunnel| tunnel.id.interface() == route.interface)?;
            let source = tunnel.originator.filter(is_own);
            Some(HostRoute { network: network(&route.network)?, source, metric: route.metric })
        })
        .collect();
    routes.sort();
    routes.dedup_by_key(|route| (route.network, route.metric));
    routes
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
        };
        let hosts = [interface("lan", "172.16.1.1", &[]), interface("wan", "198.51.100.1", &["198.51.100.254"])];
        objects::compile_text(text, &hosts).unwrap().1
    }

    #[test]
    fn the_kernel_routes_every_remote_network_to_us_and_prefers_the_originator_s_address() {
        let routes = host_routes(&office(OFFICE));
        let networks: Vec<String> = routes.iter().map(|route| route.network.to_string()).collect();
        assert_eq!(networks, ["192.168.11.0/24", "192.168.12.0/24"]);
        assert!(routes.iter().all(|route| route.source == Some("172.16.1.1".parse().unwrap())));
    }

    #[test]
    fn a_tunnel_without_an_automatic_route_has_none_in_the_kernel() {
        let text = OFFICE.replace("PSK=key\n", "PSK=key AutoInterfaceNetworkRoute=No\n");
        assert_eq!(host_routes(&office(&text)), []);
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
        let (config, policy) = (ike_config(&snapshot), policy(&snapshot));
        let tunnel =
            policy.interfaces.iter().find(|interface| matches!(interface.kind, InterfaceKind::Tunnel(_))).unwrap();
        assert_eq!(tunnel.id.0, config.tunnels[0].id.0);
        assert!(policy.main_routes().iter().any(|route| route.interface == tunnel.id));
        assert_eq!(policy.rules[0].destination_interfaces, Some(vec![tunnel.id]));
    }

    #[test]
    fn a_translation_of_the_same_configuration_is_the_same() {
        assert_eq!(policy(&office(OFFICE)), policy(&office(OFFICE)));
        assert_eq!(ike_config(&office(OFFICE)), ike_config(&office(OFFICE)));
    }
}
