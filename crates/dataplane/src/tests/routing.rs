//! Tables, routing rules, routes that come and go.

use super::firewall::*;
use super::*;
use crate::dataplane::EXPIRED_AT_ONCE;

const ISP: TableId = TableId(7);

fn two_ways(ordering: Ordering) -> Policy {
    let mut policy = bare();
    policy.rules = vec![Rule { log: None, ..Rule::new("all", RuleAction::Allow) }];
    let everywhere = Route { gateway: Some(ip("192.0.2.254")), ..Route::new("0.0.0.0/0".parse().unwrap(), WAN2, 100) };
    policy.tables.push(RoutingTable { id: ISP, name: "isp".into(), ordering, routes: vec![everywhere] });
    policy
}

fn routing_rule(services: Vec<Service>, from: InterfaceId, forward: TableId, back: TableId) -> RoutingRule {
    RoutingRule {
        name: "isp".into(),
        source_interfaces: Some(vec![from]),
        source_networks: vec![IpRange::ALL_V4],
        destination_interfaces: None,
        destination_networks: vec![IpRange::ALL_V4],
        services,
        forward,
        back,
    }
}

#[test]
fn a_routing_rule_sends_a_service_another_way() {
    let mut policy = two_ways(Ordering::Default);
    policy.routing_rules = vec![
        routing_rule(vec![tcp_service(25)], LAN, ISP, MAIN),
        // What comes in by the second way is answered by it.
        routing_rule(vec![Service::All], WAN2, MAIN, ISP),
    ];
    let mut firewall = Firewall::with(policy);
    let syn = |port| tcp((INSIDE, 4000), (STRANGER, port), tcp::SYN, 1, 0);
    let (interface, hop, _) = firewall.passes(LAN, &syn(25));
    assert_eq!((interface, hop), (WAN2, ip("192.0.2.254")));
    let (interface, hop, _) = firewall.passes(LAN, &syn(80));
    assert_eq!((interface, hop), (WAN, ip(NEXT_HOP)));
    let back = tcp((STRANGER, 25), (INSIDE, 4000), tcp::SYN | tcp::ACK, 1, 2);
    assert_eq!(firewall.passes(WAN2, &back).0, LAN);
    let request = ping(STRANGER, SERVER, 8);
    assert_eq!(firewall.passes(WAN2, &request).0, DMZ);
    let (interface, hop, _) = firewall.passes(DMZ, &pong(&request));
    assert_eq!((interface, hop), (WAN2, ip("192.0.2.254")));
}

#[test]
fn an_interface_may_have_a_table_of_its_own() {
    let mut policy = two_ways(Ordering::First);
    policy.interfaces[2].table = Some(ISP);
    let mut firewall = Firewall::with(policy);
    firewall.drops(
        DMZ,
        &ping("8.8.8.8", STRANGER, 8),
        Reason::DefaultAccessRule,
        &["ruleset_drop_packet Default_Access_Rule"],
    );
    assert_eq!(firewall.passes(LAN, &ping(INSIDE, STRANGER, 8)).0, WAN);
    let mut only = two_ways(Ordering::First);
    only.interfaces[2].table = Some(ISP);
    only.tables[1].routes.push(Route::new("10.0.1.0/24".parse().unwrap(), DMZ, 1));
    firewall.replace(only);
    let (interface, hop, _) = firewall.passes(DMZ, &ping(SERVER, STRANGER, 8));
    assert_eq!((interface, hop), (WAN2, ip("192.0.2.254")));
}

#[test]
fn a_route_may_say_which_address_stands_for_those_behind_it() {
    let mut policy = bare();
    policy.rules =
        vec![Rule { source: SourceTranslation::Interface, ..rule("out", &[LAN], &[WAN], RuleAction::Allow) }];
    for route in &mut policy.tables[0].routes {
        route.local_ip = (route.interface == WAN).then(|| ip("198.51.100.99"));
    }
    let mut firewall = Firewall::with(policy);
    assert_eq!(key(&firewall.passes(LAN, &ping(INSIDE, STRANGER, 8)).2).source, ip("198.51.100.99"));
}

#[test]
fn routes_to_clients_come_and_go_and_their_connections_with_them() {
    let mut firewall = Firewall::with(two_ways(Ordering::Default));
    let client = Route::new("203.0.113.9/32".parse().unwrap(), DMZ, 1);
    let request = ping(INSIDE, STRANGER, 8);
    assert_eq!(firewall.passes(LAN, &request).0, WAN);
    firewall.control(Control::AddRoutes(vec![(MAIN, client.clone())]));
    assert_eq!(firewall.passes(LAN, &request).0, DMZ);
    assert_eq!(firewall.gateway.connections(firewall.now).count(), 1, "the old one has ended");
    firewall.replace(two_ways(Ordering::Default));
    assert_eq!(firewall.passes(LAN, &request).0, DMZ, "it outlives a new policy");
    firewall.control(Control::RemoveRoutes(vec![(MAIN, client.clone()), (MAIN, client)]));
    assert_eq!(firewall.passes(LAN, &request).0, WAN);
}

#[test]
fn a_policy_that_forbids_a_connection_lets_no_packet_of_it_pass() {
    let mut firewall = Firewall::with(two_ways(Ordering::Default));
    let request = ping(INSIDE, STRANGER, 8);
    firewall.passes(LAN, &request);
    firewall.replace(bare());
    assert_eq!(firewall.gateway.connections(firewall.now).count(), 0);
    firewall.drops(WAN, &pong(&request), Reason::NoConnection, &["no_new_conn_for_this_packet"]);
    firewall.drops(LAN, &request, Reason::DefaultRule, &["ruleset_drop_packet Default_Rule"]);
    let error = icmp::error_packet(icmp::Problem::Prohibited, ip(STRANGER), ip(INSIDE), &request).unwrap();
    firewall.drops(WAN, &error, Reason::UnrelatedIcmpError, &[]);
}

#[test]
fn connections_that_say_nothing_are_judged_in_portions() {
    let mut policy = two_ways(Ordering::Default);
    let count = 2 * EXPIRED_AT_ONCE + 5;
    policy.settings.connections_max = count;
    let mut firewall = Firewall::with(policy);
    for port in 0..count {
        firewall.passes(LAN, &udp((INSIDE, port as u16), (STRANGER, 53), b"x"));
    }
    firewall.replace(bare());
    let mut left = Vec::new();
    while let Some(next) = firewall.gateway.next_deadline().filter(|next| *next < at(2)) {
        firewall.gateway.expire(next, &mut Vec::new());
        left.push(firewall.gateway.flows.len());
    }
    assert_eq!(left, [count - 1024, count - 2048, 0]);
}

#[test]
fn an_error_about_a_connection_of_other_routes_takes_the_way_of_now() {
    let policy = Policy { rules: vec![Rule { log: None, ..Rule::new("all", RuleAction::Allow) }], ..bare() };
    let mut firewall = Firewall::with(policy.clone());
    let packet = udp((STRANGER, 4000), (SERVER, 53), b"question");
    firewall.passes(WAN, &packet);
    let mut next = policy;
    let elsewhere = Route { gateway: Some(ip("10.0.0.99")), ..Route::new("10.7.0.0/16".parse().unwrap(), LAN, 100) };
    next.tables[0].routes.insert(0, elsewhere);
    firewall.replace(next);
    let arrived = after_hops(packet, 1);
    let error = icmp::error_packet(icmp::Problem::Prohibited, ip(SERVER), ip(STRANGER), &arrived).unwrap();
    let (interface, hop, _) = firewall.passes(DMZ, &error);
    assert_eq!((interface, hop), (WAN, ip(NEXT_HOP)));
}
