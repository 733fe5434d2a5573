//! Connections: what they let through, how long they live, what a new policy does to them.

use super::*;
use crate::dataplane::{EXPIRED_AT_ONCE, EXPIRY_PAUSE};

fn status(lab: &Lab) -> Vec<(&'static str, &'static str, u64)> {
    lab.head.connections(lab.now).map(|flow| (flow.protocol, flow.state, flow.timeout.as_secs())).collect()
}

#[test]
fn a_tcp_connection_is_followed_and_listed() {
    let mut lab = Lab::up(GCM);
    let (client, server) = ((HEAD_HOST, 4000), (BRANCH_HOST, 80));
    let forth = |lab: &mut Lab, flags, sequence, acknowledgement| {
        let sent = lab.head_plain(&tcp(client, server, flags, sequence, acknowledgement));
        plain(&lab.at_branch(&sent)).len()
    };
    let back = |lab: &mut Lab, flags, sequence, acknowledgement| {
        let sent = lab.branch_plain(&tcp(server, client, flags, sequence, acknowledgement));
        plain(&lab.at_head(&sent)).len()
    };
    assert_eq!(forth(&mut lab, tcp::SYN, 100, 0), 1);
    assert_eq!(status(&lab), [("TCP", "SYN_RECV", 60)]);
    assert_eq!(back(&mut lab, tcp::SYN | tcp::ACK, 500, 101), 1);
    assert_eq!(status(&lab), [("TCP", "SYNACK_S", 60)]);
    assert_eq!(forth(&mut lab, tcp::ACK, 101, 501), 1);
    assert_eq!(status(&lab), [("TCP", "TCP_OPEN", 262_144)]);
    assert_eq!(back(&mut lab, tcp::FIN | tcp::ACK, 501, 101), 1);
    assert_eq!(status(&lab), [("TCP", "FIN_RECV", 80)]);
    let flow = lab.head.connections(lab.now).next().unwrap();
    assert_eq!((&*flow.source.interface, flow.source.address, flow.source.port), ("lan", ip(HEAD_HOST), 4000));
    assert_eq!((&*flow.destination.interface, flow.destination.port), ("office", 80));
    assert_eq!((&*flow.rule, flow.source.packets, flow.destination.packets), ("out", 2, 2));
}

#[test]
fn a_connection_ends_when_its_time_is_up_and_not_before() {
    let mut lab = Lab::up(GCM);
    let request = ping(HEAD_HOST, BRANCH_HOST, 8);
    let mut out = lab.head_plain(&request);
    assert_eq!(logs(&out), ["conn_open out"]);
    lab.now = at(5);
    lab.head_plain(&request);
    out.clear();
    // The first look is at 9 s; the flow has lived on by then.
    assert_eq!(lab.head.next_deadline(), Some(at(9)));
    lab.head.expire(at(9), &mut out);
    assert_eq!((lab.head.connections(at(9)).count(), lab.head.next_deadline()), (1, Some(at(13))));
    lab.head.expire(at(13), &mut out);
    assert_eq!(lab.head.connections(at(13)).count(), 0);
    assert_eq!(logs(&out), ["conn_close out"]);
}

#[test]
fn a_tcp_connection_that_closes_is_not_kept_for_the_time_of_an_open_one() {
    let mut lab = Lab::up(GCM);
    let (client, server) = ((HEAD_HOST, 4000), (BRANCH_HOST, 80));
    lab.head_plain(&tcp(client, server, tcp::SYN, 100, 0));
    let answer = lab.branch_plain(&tcp(server, client, tcp::SYN | tcp::ACK, 500, 101));
    drop(answer);
    // The branch knows no such connection: open it there first.
    let sent = lab.head_plain(&tcp(client, server, tcp::SYN, 100, 0));
    lab.at_branch(&sent);
    let answer = lab.branch_plain(&tcp(server, client, tcp::SYN | tcp::ACK, 500, 101));
    lab.at_head(&answer);
    lab.head_plain(&tcp(client, server, tcp::ACK, 101, 501));
    lab.head.expire(at(62), &mut Vec::new());
    assert_eq!(lab.head.next_deadline(), Some(at(262_145)));
    lab.now = at(100);
    lab.head_plain(&tcp(client, server, tcp::FIN | tcp::ACK, 101, 501));
    assert_eq!(lab.head.next_deadline(), Some(at(180)));
}

#[test]
fn only_the_opener_keeps_a_udp_connection_alive() {
    let mut lab = Lab::up(GCM);
    let (client, server) = ((HEAD_HOST, 4000), (BRANCH_HOST, 53));
    let sent = lab.head_plain(&udp(client, server, b"question"));
    lab.at_branch(&sent);
    lab.now = at(101);
    let sent = lab.branch_plain(&udp(server, client, b"answer"));
    assert_eq!(plain(&lab.at_head(&sent)).len(), 1);
    assert_eq!(status(&lab), [("UDP", "UDP_OPEN", 30)]);
}

#[test]
fn an_icmp_error_passes_with_the_connection_it_is_about() {
    let mut lab = Lab::up(GCM);
    let packet = udp((HEAD_HOST, 4000), (BRANCH_HOST, 53), b"question");
    let sent = lab.head_plain(&packet);
    lab.at_branch(&sent);
    let refusal =
        |about: &[u8]| icmp::error_packet(icmp::Problem::Prohibited, ip(BRANCH_HOST), ip(HEAD_HOST), about).unwrap();
    let sent = lab.branch_plain(&refusal(&packet));
    let back = lab.at_head(&sent);
    assert_eq!(plain(&back).len(), 1);
    let watch = Watch::over(&lab.branch);
    lab.branch_plain(&refusal(&udp((HEAD_HOST, 4000), (BRANCH_HOST, 54), b"another")));
    watch.only(&lab.branch, &[(Reason::UnrelatedIcmpError, 1)]);
}

#[test]
fn a_new_policy_ends_what_it_forbids_and_keeps_the_rest() {
    let mut lab = Lab::up(GCM);
    lab.head_plain(&udp((HEAD_HOST, 1), (BRANCH_HOST, 53), b"x"));
    lab.head_plain(&udp((HEAD_HOST, 1), (BRANCH_HOST, 80), b"x"));
    let mut narrower = policy(&HEAD);
    narrower.rules[2].services =
        vec![Service::Ports { protocol: 17, source: vec![0..=65_535], destination: vec![53..=53] }];
    narrower.rules[2].name = "dns".into();
    let mut out = Vec::new();
    lab.head.control(lab.now, Control::Replace(Arc::new(narrower)), &mut out).unwrap();
    let left = |lab: &Lab| -> Vec<(u16, Arc<str>)> {
        lab.head.connections(lab.now).map(|flow| (flow.destination.port, flow.rule)).collect()
    };
    assert_eq!((logs(&out).len(), left(&lab)), (0, vec![(53, "dns".into())]), "a listing asks the new policy");
    assert_eq!(lab.head.next_deadline(), Some(lab.now));
    lab.head.expire(lab.now, &mut out);
    assert_eq!((logs(&out), left(&lab)), (vec!["conn_close out".to_owned()], vec![(53, "dns".into())]));
    assert_ne!(lab.head.next_deadline(), Some(lab.now), "all have been judged");

    let mut elsewhere = policy(&HEAD);
    for route in &mut elsewhere.tables[0].routes {
        if route.interface == TUNNEL {
            route.interface = WAN;
        }
    }
    lab.head.control(lab.now, Control::Replace(Arc::new(elsewhere)), &mut out).unwrap();
    assert_eq!(lab.head.connections(lab.now).count(), 0, "the route leads elsewhere now");
}

#[test]
fn connections_are_closed_by_hand() {
    let mut lab = Lab::up(GCM);
    for port in 1..=3 {
        lab.head_plain(&udp((HEAD_HOST, port), (BRANCH_HOST, 53), b"x"));
    }
    assert_eq!(lab.head.close_connections(|flow| flow.source.port == 2), 1);
    assert_eq!(lab.head.connections(lab.now).count(), 2);
    assert_eq!(lab.head.next_deadline(), Some(Instant::ZERO), "the log line wants out");
    let mut out = Vec::new();
    lab.head.expire(lab.now, &mut out);
    assert_eq!(logs(&out), ["conn_close out"]);
}

#[test]
fn a_connection_out_of_the_wrong_interface_is_none() {
    let mut lab = Lab::up(GCM);
    let packet = udp((HEAD_HOST, 1), (BRANCH_HOST, 53), b"x");
    lab.head_plain(&packet);
    // The answer arrives in clear instead of through the tunnel.
    let watch = Watch::over(&lab.head);
    lab.head_plain(&udp((BRANCH_HOST, 53), (HEAD_HOST, 1), b"x"));
    watch.only(&lab.head, &[(Reason::DefaultAccessRule, 1)]);
}

#[test]
fn connections_that_end_together_end_in_portions_with_time_for_packets_between() {
    let mut lab = Lab::up(GCM);
    let mut wide = policy(&HEAD);
    let count = EXPIRED_AT_ONCE * 2 + 10;
    wide.settings.connections_max = count;
    lab.head.control(lab.now, Control::Replace(Arc::new(wide)), &mut Vec::new()).unwrap();
    for port in 0..u16::try_from(count).unwrap() {
        lab.head_plain(&udp((HEAD_HOST, port), (BRANCH_HOST, 53), b"x"));
    }
    lab.head.expire(at(2), &mut Vec::new());
    let mut now = at(131);
    assert_eq!(lab.head.next_deadline(), Some(now));
    let mut left = Vec::new();
    while let Some(next) = lab.head.next_deadline().filter(|next| *next < at(132)) {
        now = next;
        lab.head.expire(now, &mut Vec::new());
        left.push(lab.head.connections(now).count());
        assert!(lab.head.next_deadline().is_none_or(|next| next > now), "packets get their turn");
    }
    assert_eq!(left, [EXPIRED_AT_ONCE + 10, 10, 0]);
    assert_eq!(now, at(131) + EXPIRY_PAUSE + EXPIRY_PAUSE);
}
