//! Which sources may come in where.

use super::firewall::*;
use super::*;

fn access(name: &str, action: AccessAction, interface: Option<InterfaceId>, network: &str) -> AccessRule {
    AccessRule {
        name: name.into(),
        action,
        interfaces: interface.map(|interface| vec![interface]),
        networks: vec![range(network)],
        log: Some(Severity::Warning),
    }
}

fn with(access: Vec<AccessRule>) -> Firewall {
    let rules = vec![Rule { log: None, ..Rule::new("all", RuleAction::Allow) }];
    Firewall::with(Policy { rules, access, ..bare() })
}

const DEFAULT: &[&str] = &["ruleset_drop_packet Default_Access_Rule"];

#[test]
fn without_a_rule_the_route_back_must_lead_to_where_it_came_from() {
    let mut firewall = with(Vec::new());
    firewall.passes(LAN, &ping(INSIDE, STRANGER, 8));
    firewall.drops(WAN, &ping("10.0.0.11", SERVER, 8), Reason::DefaultAccessRule, DEFAULT);
    firewall.drops(LAN, &ping(STRANGER, SERVER, 8), Reason::DefaultAccessRule, DEFAULT);
    firewall.drops(LAN, &ping(PUBLIC, SERVER, 8), Reason::DefaultAccessRule, DEFAULT);
    firewall.drops(InterfaceId(99), &ping(INSIDE, SERVER, 8), Reason::DefaultAccessRule, DEFAULT);
}

#[test]
pub(super) fn the_first_rule_for_a_source_decides() {
    let mut firewall = with(vec![
        access("noise", AccessAction::Drop, None, "10.66.0.0/16"),
        access("office", AccessAction::Expect, Some(DMZ), "10.55.0.0/16"),
        access("lab", AccessAction::Accept, Some(LAN), "10.0.0.0/8"),
    ]);
    let by = |name: &'static str| [format!("ruleset_drop_packet {name}")];
    for interface in [LAN, WAN, DMZ] {
        let log = by("noise");
        firewall.drops(interface, &ping("10.66.0.1", STRANGER, 8), Reason::AccessRule, &[&log[0]]);
    }
    firewall.passes(DMZ, &ping("10.55.0.1", STRANGER, 8));
    let log = by("office");
    firewall.drops(LAN, &ping("10.55.0.2", STRANGER, 8), Reason::AccessRule, &[&log[0]]);
    firewall.passes(LAN, &ping("10.44.0.1", STRANGER, 8));
    firewall.drops(DMZ, &ping("10.44.0.2", STRANGER, 8), Reason::DefaultAccessRule, DEFAULT);
}

#[test]
fn what_an_access_rule_lets_in_against_the_routes_is_answered_where_it_came_from() {
    let mut firewall = with(vec![access("client", AccessAction::Accept, Some(DMZ), "203.0.113.0/24")]);
    let (interface, ..) = firewall.passes(DMZ, &ping(STRANGER, INSIDE, 8));
    assert_eq!(interface, LAN);
    let (interface, hop, _) = firewall.passes(LAN, &pong(&ping(STRANGER, INSIDE, 8)));
    assert_eq!((interface, hop), (DMZ, ip(STRANGER)));
}

#[test]
fn a_rule_that_does_not_log_silences_a_noisy_source() {
    let silent = AccessRule { log: None, ..access("noise", AccessAction::Drop, None, "10.66.0.0/16") };
    let mut firewall = with(vec![silent.clone()]);
    firewall.drops(WAN, &ping("10.66.0.1", SERVER, 8), Reason::AccessRule, &[]);
    // Also behind the host port, where nobody knows by which interface it came.
    let mut lab = Lab::new();
    let silenced = Policy { access: vec![silent], ..policy(&HEAD) };
    lab.head.control(lab.now, Control::Replace(Arc::new(silenced)), &mut Vec::new()).unwrap();
    let watch = Watch::over(&lab.head);
    assert!(logs(&lab.head_plain(&ping("10.66.0.1", BRANCH_HOST, 8))).is_empty());
    watch.only(&lab.head, &[(Reason::AccessRule, 1)]);
}

#[test]
fn equivalent_interfaces_are_the_same_to_the_check_and_to_standing_connections() {
    let mut policy = bare();
    policy.rules = vec![rule("out", &[LAN], &[WAN, WAN2], RuleAction::Allow)];
    policy.interfaces[3].equivalents = vec![WAN2];
    policy.interfaces[4].equivalents = vec![WAN];
    let mut firewall = Firewall::with(policy.clone());
    let request = ping(INSIDE, STRANGER, 8);
    firewall.passes(LAN, &request);
    firewall.passes(WAN2, &pong(&request));
    // The first way fails.
    for route in &mut policy.tables[0].routes {
        if route.network == "0.0.0.0/0".parse().unwrap() {
            (route.interface, route.gateway) = (WAN2, Some(ip("192.0.2.254")));
        }
    }
    firewall.replace(policy);
    let (interface, hop, _) = firewall.passes(LAN, &request);
    assert_eq!((interface, hop), (WAN2, ip("192.0.2.254")));
    let connections: Vec<_> = firewall.gateway.connections(firewall.now).collect();
    assert_eq!((connections.len(), connections[0].source.packets), (1, 2), "it is the same connection");
}

#[test]
fn ipsec_is_not_above_access_rules() {
    let mut firewall = with(vec![access("enemy", AccessAction::Drop, None, "203.0.113.66")]);
    let ike = |from| udp((from, 500), (PUBLIC, 500), b"ike");
    let out = firewall.receive(WAN, &ike(STRANGER));
    assert!(matches!(&out[..], [Output::Ike { .. }]), "{out:?}");
    firewall.drops(WAN, &ike("203.0.113.66"), Reason::AccessRule, &["ruleset_drop_packet enemy"]);
    firewall.drops(LAN, &ike(STRANGER), Reason::DefaultAccessRule, DEFAULT);
    let esp = icmp::ip_packet(ip(STRANGER), ip(PUBLIC), ip::ESP, &[7; 40]).unwrap();
    firewall.drops(LAN, &esp, Reason::DefaultAccessRule, DEFAULT);
    firewall.drops(WAN, &esp, Reason::UnknownSpi, &["sa_lookup_failure"]);
}

#[test]
fn access_rules_hold_for_ipsec_at_the_host_port_too() {
    let mut lab = Lab::up(GCM);
    let enemy = access("enemy", AccessAction::Drop, None, BRANCH.wan);
    let closed = Policy { access: vec![enemy], ..policy(&HEAD) };
    lab.head.control(lab.now, Control::Replace(Arc::new(closed)), &mut Vec::new()).unwrap();
    let sent = lab.branch_plain(&ping(BRANCH_HOST, HEAD_HOST, 8));
    let watch = Watch::over(&lab.head);
    let out = lab.at_head(&sent);
    watch.only(&lab.head, &[(Reason::AccessRule, 1)]);
    assert_eq!(logs(&out), ["ruleset_drop_packet enemy"]);
    let (local, remote) = ((ip(HEAD.wan), 500).into(), (ip(BRANCH.wan), 500).into());
    assert!(!lab.head.admit_ike(lab.now, local, remote, 0, &mut Vec::new()));
    assert!(lab.head.admit_ike(lab.now, local, (ip("203.0.113.2"), 500).into(), 0, &mut Vec::new()));
}
