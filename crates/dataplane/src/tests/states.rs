//! Windows of TCP, stateless rules, time-outs of services, a full table.

use super::firewall::*;
use super::*;

fn all() -> Rule {
    rule("all", &[LAN, WAN], &[LAN, WAN], RuleAction::Allow)
}

fn established(firewall: &mut Firewall) {
    firewall.passes(LAN, &tcp((INSIDE, 4000), (STRANGER, 80), tcp::SYN, 100, 0));
    firewall.passes(WAN, &tcp((STRANGER, 80), (INSIDE, 4000), tcp::SYN | tcp::ACK, 900, 101));
    firewall.passes(LAN, &tcp((INSIDE, 4000), (STRANGER, 80), tcp::ACK, 101, 901));
}

#[test]
pub(super) fn a_segment_out_of_the_window_goes_nowhere_and_ends_nothing() {
    let mut firewall = Firewall::new(vec![all()]);
    established(&mut firewall);
    let back = |flags, sequence| tcp((STRANGER, 80), (INSIDE, 4000), flags, sequence, 101);
    for flags in [tcp::ACK, tcp::RST, tcp::FIN | tcp::ACK] {
        let out = firewall.drops(
            WAN,
            &back(flags, 900_000_000),
            Reason::TcpWindow,
            &["tcp_out_of_window TCPSequenceNumbers"],
        );
        assert!(
            lines(&out).concat().contains("recvif=wan srcip=203.0.113.9 destip=10.0.0.10 srcport=80 destport=4000")
        );
    }
    let listed: Vec<_> = firewall.gateway.connections(firewall.now).map(|flow| flow.state).collect();
    assert_eq!(listed, ["TCP_OPEN"]);
    firewall.passes(WAN, &back(tcp::RST, 901));
    assert_eq!(firewall.gateway.connections(firewall.now).next().unwrap().state, "RST_RECV");
}

#[test]
fn a_stateless_rule_lets_each_packet_pass_by_itself() {
    let mut firewall = Firewall::new(vec![rule("out", &[LAN], &[WAN], RuleAction::Stateless)]);
    firewall.passes(LAN, &tcp((INSIDE, 4000), (STRANGER, 80), tcp::ACK, 5, 5));
    firewall.passes(LAN, &pong(&ping(STRANGER, INSIDE, 8)));
    let about = udp((STRANGER, 53), (INSIDE, 4000), b"x");
    firewall.passes(LAN, &icmp::error_packet(icmp::Problem::Prohibited, ip(INSIDE), ip(STRANGER), &about).unwrap());
    let request = ping(INSIDE, STRANGER, 8);
    firewall.passes(LAN, &request);
    assert_eq!(firewall.gateway.connections(firewall.now).count(), 0);
    firewall.drops(WAN, &pong(&request), Reason::NoConnection, &["no_new_conn_for_this_packet"]);
    let mut both = vec![rule("out", &[LAN], &[WAN], RuleAction::Stateless)];
    both.push(rule("in", &[WAN], &[LAN], RuleAction::Stateless));
    firewall.replace(Policy { rules: both, ..bare() });
    firewall.passes(WAN, &pong(&request));
}

#[test]
fn the_gateway_answers_what_came_by_a_stateless_rule() {
    let mut firewall = Firewall::new(vec![rule("ping", &[LAN], &[CORE], RuleAction::Stateless)]);
    let request = ping(INSIDE, "10.0.0.1", 8);
    assert_eq!(firewall.passes(LAN, &request).2, pong(&request));
}

#[test]
fn a_connection_that_becomes_stateless_ends() {
    let mut firewall = Firewall::new(vec![all()]);
    established(&mut firewall);
    firewall.replace(Policy { rules: vec![rule("all", &[LAN], &[WAN], RuleAction::Stateless)], ..bare() });
    assert_eq!(firewall.gateway.connections(firewall.now).count(), 0);
    firewall.passes(LAN, &tcp((INSIDE, 4000), (STRANGER, 80), tcp::ACK, 101, 901));
    assert_eq!(firewall.gateway.flows.len(), 0);
}

#[test]
fn a_service_has_time_outs_of_its_own() {
    let mut quick = all();
    let secs = |secs| Some(Duration::from_secs(secs));
    quick.timeouts = ServiceTimeouts { initial: secs(3), idle: secs(700), closing: secs(5) };
    let mut firewall = Firewall::new(vec![quick]);
    let mut timeout = |interface, packet: &[u8]| {
        firewall.passes(interface, packet);
        firewall.gateway.connections(firewall.now).last().unwrap().timeout.as_secs()
    };
    assert_eq!(timeout(LAN, &tcp((INSIDE, 4000), (STRANGER, 80), tcp::SYN, 100, 0)), 3);
    assert_eq!(timeout(WAN, &tcp((STRANGER, 80), (INSIDE, 4000), tcp::SYN | tcp::ACK, 900, 101)), 3);
    assert_eq!(timeout(LAN, &tcp((INSIDE, 4000), (STRANGER, 80), tcp::ACK, 101, 901)), 700);
    assert_eq!(timeout(LAN, &tcp((INSIDE, 4000), (STRANGER, 80), tcp::FIN | tcp::ACK, 101, 901)), 5);
    assert_eq!(timeout(LAN, &udp((INSIDE, 4000), (STRANGER, 53), b"x")), 3);
    timeout(WAN, &udp((STRANGER, 53), (INSIDE, 4000), b"x"));
    assert_eq!(timeout(LAN, &udp((INSIDE, 4000), (STRANGER, 53), b"x")), 700);
}

#[test]
fn every_kind_of_connection_has_its_time() {
    let mut firewall = Firewall::new(vec![all()]);
    let raw = |protocol| icmp::ip_packet(ip(INSIDE), ip(STRANGER), protocol, &[0; 20]).unwrap();
    for (packet, secs) in [(raw(2), 12), (raw(47), 130), (ping(INSIDE, STRANGER, 8), 8)] {
        firewall.passes(LAN, &packet);
        assert_eq!(firewall.gateway.connections(firewall.now).last().unwrap().timeout.as_secs(), secs);
    }
    let mut patient = Policy { rules: vec![all()], ..bare() };
    patient.settings.udp_both_ways = true;
    let mut firewall = Firewall::with(patient);
    firewall.passes(LAN, &udp((INSIDE, 4000), (STRANGER, 53), b"x"));
    firewall.now = at(100);
    firewall.passes(WAN, &udp((STRANGER, 53), (INSIDE, 4000), b"x"));
    assert_eq!(firewall.gateway.connections(firewall.now).next().unwrap().timeout.as_secs(), 130);
}

#[test]
fn in_a_full_table_one_that_has_been_idle_goes() {
    for (when_full, log) in [(WhenFull::ReplaceLog, &["out_of_connections out"][..]), (WhenFull::Replace, &[])] {
        let quiet = Rule { log: None, ..rule("out", &[LAN], &[WAN], RuleAction::Allow) };
        let mut policy = Policy { rules: vec![quiet], ..bare() };
        policy.settings.connections_max = 10;
        policy.settings.when_full = when_full;
        let mut firewall = Firewall::with(policy);
        let packet = |port| udp((INSIDE, port), (STRANGER, 53), b"x");
        for port in 1..=10 {
            firewall.now = at(if port == 7 { 1 } else { 5 });
            firewall.passes(LAN, &packet(port));
        }
        firewall.now = at(9);
        assert_eq!(logs(&firewall.receive(LAN, &packet(11))), log);
        let mut left: Vec<u16> = firewall.gateway.connections(firewall.now).map(|flow| flow.source.port).collect();
        left.sort_unstable();
        assert_eq!(left, [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]);
        assert_eq!(firewall.gateway.counters().replaced_connections(), 1);
        assert_eq!(firewall.gateway.counters().drops(Reason::ConnectionTableFull), 0);
    }
}
