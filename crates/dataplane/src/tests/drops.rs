//! Every reason to drop a packet: what causes it, its counter and no other, and the event it writes.

use super::*;

/// One packet at the head office's host port: the counters that change, and the log.
#[track_caller]
fn one(lab: &mut Lab, packet: &[u8], reason: Reason, log: &[&str]) -> Vec<Output> {
    let watch = Watch::over(&lab.head);
    let out = lab.head_plain(packet);
    watch.only(&lab.head, &[(reason, 1)]);
    assert_eq!(logs(&out), log);
    assert_eq!(sealed(&out), 0);
    out
}

#[test]
pub(super) fn a_malformed_packet() {
    let mut lab = Lab::up(GCM);
    let good = ping(HEAD_HOST, BRANCH_HOST, 8);
    one(&mut lab, &[], Reason::MalformedIp, &["malformed_packet"]);
    one(&mut lab, &good[..27], Reason::MalformedIp, &["malformed_packet"]);
    let mut sum = good.clone();
    sum[11] ^= 1;
    one(&mut lab, &sum, Reason::MalformedIp, &["malformed_packet"]);
    let short = icmp::ip_packet(ip(HEAD_HOST), ip(BRANCH_HOST), 6, &[0; 19]).unwrap();
    one(&mut lab, &short, Reason::MalformedTransport, &["malformed_packet"]);
    let flags = tcp((HEAD_HOST, 1), (BRANCH_HOST, 2), tcp::SYN | tcp::FIN, 1, 0);
    one(&mut lab, &flags, Reason::TcpFlags, &["malformed_packet"]);
}

#[test]
pub(super) fn an_impossible_source() {
    let mut lab = Lab::up(GCM);
    for source in ["127.0.0.1", "0.1.2.3", "224.0.0.1", "255.255.255.255", BRANCH_HOST] {
        one(&mut lab, &ping(source, BRANCH_HOST, 8), Reason::ImpossibleSource, &["impossible_source"]);
    }
    one(&mut lab, &ping("::1", BRANCH_HOST_V6, 8), Reason::ImpossibleSource, &["impossible_source"]);
    one(&mut lab, &ping(HEAD_HOST, "127.0.0.1", 8), Reason::ImpossibleSource, &["impossible_source"]);
}

#[test]
pub(super) fn what_stays_on_the_link() {
    let mut lab = Lab::up(GCM);
    one(&mut lab, &ping(HEAD_HOST, "224.0.0.5", 8), Reason::NotUnicast, &[]);
    one(&mut lab, &ping(HEAD_HOST, "255.255.255.255", 8), Reason::NotUnicast, &[]);
    one(&mut lab, &ping("fe80::1", "ff02::2", 8), Reason::NotUnicast, &[]);
    one(&mut lab, &ping("fe80::1", BRANCH_HOST_V6, 8), Reason::NotUnicast, &[]);
}

#[test]
pub(super) fn a_source_behind_another_interface() {
    let mut lab = Lab::up(GCM);
    let rule = &["ruleset_drop_packet Default_Access_Rule"];
    // It claims to come from the branch, but not out of the tunnel; or from nowhere.
    one(&mut lab, &ping("192.168.11.99", HEAD_HOST, 8), Reason::DefaultAccessRule, rule);
    one(&mut lab, &ping("8.8.8.8", BRANCH_HOST, 8), Reason::DefaultAccessRule, rule);
}

#[test]
pub(super) fn a_packet_in_the_middle_of_nothing() {
    let mut lab = Lab::up(GCM);
    let log = &["no_new_conn_for_this_packet"];
    one(&mut lab, &tcp((HEAD_HOST, 1), (BRANCH_HOST, 2), tcp::ACK, 1, 1), Reason::NoConnection, log);
    one(&mut lab, &pong(&ping(BRANCH_HOST, HEAD_HOST, 8)), Reason::NoConnection, log);
    let quoted = ping(BRANCH_HOST, HEAD_HOST, 8);
    let error = icmp::error_packet(icmp::Problem::TimeExceeded, ip(HEAD_HOST), ip(BRANCH_HOST), &quoted).unwrap();
    one(&mut lab, &error, Reason::UnrelatedIcmpError, &[]);
}

#[test]
pub(super) fn no_route() {
    let mut lab = Lab::up(GCM);
    one(&mut lab, &ping(HEAD_HOST, "8.8.8.8", 8), Reason::NoRoute, &["no_route"]);
}

#[test]
pub(super) fn what_the_rules_forbid() {
    let mut lab = Lab::up(GCM);
    let to = |port| udp((HEAD_HOST, 1000), (BRANCH_HOST, port), b"x");
    one(&mut lab, &to(99), Reason::RuleDrop, &["ruleset_drop_packet silence"]);
    let out = one(&mut lab, &to(98), Reason::RuleReject, &["ruleset_drop_packet refusal"]);
    assert_eq!(plain(&out)[0][20..22], [3, 13], "administratively prohibited");
    let syn = tcp((HEAD_HOST, 1000), (BRANCH_HOST, 98), tcp::SYN, 5, 0);
    let out = one(&mut lab, &syn, Reason::RuleReject, &["ruleset_drop_packet refusal"]);
    let reset = &plain(&out)[0];
    assert_eq!((reset[33], &reset[28..32]), (tcp::RST | tcp::ACK, &6_u32.to_be_bytes()[..]));
    // No rule lets the LAN out to the WAN.
    one(&mut lab, &ping(HEAD_HOST, "203.0.113.77", 8), Reason::DefaultRule, &["ruleset_drop_packet Default_Rule"]);
}

#[test]
fn a_line_says_what_a_policy_for_the_packet_must_allow() {
    let mut lab = Lab::up(GCM);
    let line = |lab: &mut Lab, packet: &[u8]| lines(&lab.head_plain(packet)).concat();
    assert_eq!(
        line(&mut lab, &ping(HEAD_HOST, "203.0.113.77", 8)),
        "rev=2 event=ruleset_drop_packet action=drop rule=Default_Rule recvif=lan srcip=172.16.1.10 destif=wan \
         destip=203.0.113.77 ipproto=ICMP ipdatalen=16 icmptype=ECHO_REQUEST echoid=7 echoseq=1"
    );
    assert_eq!(
        line(&mut lab, &udp((HEAD_HOST, 1000), (BRANCH_HOST, 98), b"x")),
        "rev=2 event=ruleset_drop_packet action=drop rule=refusal recvif=lan srcip=172.16.1.10 destif=office \
         destip=192.168.11.10 ipproto=UDP ipdatalen=9 srcport=1000 destport=98"
    );
    let gre = icmp::ip_packet(ip(HEAD_HOST), ip("203.0.113.77"), 47, b"gre").unwrap();
    assert!(line(&mut lab, &gre).ends_with("destif=wan destip=203.0.113.77 ipproto=47 ipdatalen=3"));
    let nowhere = ping("8.8.8.8", "8.8.4.4", 8);
    assert!(line(&mut lab, &nowhere).contains("rule=Default_Access_Rule recvif=host srcip=8.8.8.8 destif=\"\" "));
    let unasked = pong(&ping(BRANCH_HOST_V6, HEAD_HOST_V6, 8));
    assert!(line(&mut lab, &unasked).ends_with("ipproto=ICMPV6 icmptype=ECHO_REPLY echoid=7 echoseq=1"));
}

#[test]
pub(super) fn a_time_to_live_that_runs_out() {
    let mut lab = Lab::up(GCM);
    let last = changed(ping(HEAD_HOST, BRANCH_HOST, 8), |packet| packet[8] = 1);
    let out = one(&mut lab, &last, Reason::TtlExpired, &[]);
    assert_eq!(plain(&out)[0][20..22], [11, 0]);
    assert_eq!(lab.head.connections(lab.now).count(), 0, "it opened nothing");
}

#[test]
pub(super) fn too_many_connections() {
    let mut lab = Lab::up(GCM);
    let mut strict = policy(&HEAD);
    strict.settings.when_full = WhenFull::Drop;
    lab.head.control(lab.now, Control::Replace(Arc::new(strict)), &mut Vec::new()).unwrap();
    for port in 0..1000 {
        assert_eq!(sealed(&lab.head_plain(&udp((HEAD_HOST, port), (BRANCH_HOST, 53), b"x"))), 1);
    }
    lab.now = at(2);
    let packet = udp((HEAD_HOST, 1000), (BRANCH_HOST, 53), b"x");
    let out = one(&mut lab, &packet, Reason::ConnectionTableFull, &["packet_log_flood", "connection_table_full"]);
    drop(out);
}

#[test]
pub(super) fn a_packet_that_is_none_of_the_tunnels() {
    let mut lab = Lab::up(GCM);
    one(&mut lab, &ping(HEAD_HOST, "10.99.0.1", 8), Reason::OutsideTunnel, &["packet_outside_tunnel"]);
}

#[test]
pub(super) fn packets_that_wait_in_vain() {
    let mut lab = Lab::new();
    let packet = |i| udp((HEAD_HOST, 1000), (BRANCH_HOST, 53), &[i; 4]);
    lab.head_plain(&packet(0));
    let watch = Watch::over(&lab.head);
    for i in 1..4 {
        lab.head_plain(&packet(i));
    }
    watch.only(&lab.head, &[]);
    let out = lab.head_plain(&packet(4));
    watch.only(&lab.head, &[(Reason::WaitingFull, 1)]);
    let not_sent = |reason: &str| {
        format!(
            "rev=2 event=tunnel_packet_not_sent action=drop tunnel=office srcip={HEAD_HOST} \
             destip={BRANCH_HOST} ipproto=UDP reason=\"{reason}\""
        )
    };
    let full = "Too many packets wait for tunnel office, and this is the oldest; 'ike' says why it is not up.";
    assert_eq!(lines(&out), [not_sent(full)]);

    // They have come at second 1 and may wait 5 seconds.
    assert!(lab.head.next_deadline().is_some_and(|deadline| deadline == at(6)));
    let mut out = Vec::new();
    lab.head.expire(at(5), &mut out);
    watch.only(&lab.head, &[(Reason::WaitingFull, 1)]);
    lab.head.expire(at(6), &mut out);
    watch.only(&lab.head, &[(Reason::WaitingFull, 1), (Reason::WaitingTimeout, 4)]);
    assert_eq!(lines(&out)[0], not_sent("Tunnel office did not come up in time; 'ike' says why."));

    lab.now = at(7);
    lab.head_plain(&packet(5));
    let watch = Watch::over(&lab.head);
    lab.head.control(lab.now, Control::Abandon(TUNNEL), &mut out).unwrap();
    watch.only(&lab.head, &[(Reason::TunnelUnavailable, 1)]);
    assert_eq!(lines(&out).last(), Some(&not_sent("Tunnel office could not be set up; 'ike' says why.")));
    assert_eq!(exceptions(&lab.head_plain(&packet(6))).len(), 0, "a tunnel that fails is not asked for without pause");
    lab.now = at(8);
    assert_eq!(exceptions(&lab.head_plain(&packet(7))).len(), 1);
}

#[test]
fn a_packet_that_has_waited_and_cannot_be_read_is_counted() {
    let mut lab = Lab::new();
    let unreadable = || path::Work::new(Buffer::copy(&[0; 3]), path::Source::Port);
    assert!(lab.head.waiting.enter(TUNNEL, unreadable(), at(9), 4).is_none());
    let watch = Watch::over(&lab.head);
    lab.head.control(lab.now, Control::Replace(Arc::new(policy(&HEAD))), &mut Vec::new()).unwrap();
    watch.only(&lab.head, &[(Reason::MalformedTransport, 1)]);
    assert!(lab.head.waiting.enter(TUNNEL, unreadable(), at(9), 4).is_none());
    lab.install(GCM);
    watch.only(&lab.head, &[(Reason::MalformedTransport, 2)]);
}

#[test]
fn the_log_is_bounded_and_says_what_it_left_out() {
    let mut lab = Lab::up(GCM);
    let mut lines = 0;
    for i in 0..1000 {
        let out = lab.head_plain(&udp((HEAD_HOST, i), (BRANCH_HOST, 99), b"x"));
        lines += logs(&out).len();
    }
    assert_eq!(lines, 20);
    assert_eq!(lab.head.counters().suppressed_logs(), 980);
    assert_eq!(lab.head.next_deadline(), Some(at(2)));
    let mut out = Vec::new();
    lab.head.expire(at(2), &mut out);
    let Some(Output::Log(record)) = out.first() else { panic!("nothing was logged") };
    assert_eq!(record.to_string().split("event=").nth(1), Some("packet_log_flood action=none suppressed=980"));
}

/// ESP packets at the branch: the counters that change, and the log.
#[track_caller]
fn esp(lab: &mut Lab, ds: u8, bytes: &[u8], reason: Reason, log: &[&str]) -> Vec<Output> {
    let watch = Watch::over(&lab.branch);
    let mut out = Vec::new();
    lab.branch.esp(lab.now, GCM.outer(false), ds, Buffer::copy(bytes), &mut out);
    watch.only(&lab.branch, &[(reason, 1)]);
    assert_eq!(logs(&out), log);
    assert_eq!((plain(&out).len(), local(&out).len()), (0, 0));
    out
}

/// A packet as the head office seals it.
fn seal(lab: &mut Lab, packet: &[u8]) -> Vec<u8> {
    let sent = lab.head_plain(packet);
    let bytes = sent.iter().find_map(|output| match output {
        Output::Outer { packet, .. } => Some(packet.bytes().to_vec()),
        _ => None,
    });
    bytes.expect("it is sealed")
}

/// What the head office would send if it sealed whatever it is given.
fn seal_text(lab: &mut Lab, text: &[u8]) -> Vec<u8> {
    let slot = lab.head.sas.by_spi(0x1001).unwrap();
    lab.head.sas.get(slot).unwrap().sa.seal_text(text)
}

fn text(inner: &[u8], next_header: u8) -> Vec<u8> {
    let padding = wire::esp::padding(inner.len(), 1);
    let mut text = inner.to_vec();
    text.resize(inner.len() + padding + 2, 0);
    wire::esp::write_trailer(&mut text[inner.len()..], next_header);
    text
}

#[test]
pub(super) fn esp_packets_that_are_refused() {
    let mut lab = Lab::up(GCM);
    let good = seal(&mut lab, &udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"x"));
    esp(&mut lab, 0, &[], Reason::EspMalformed, &["packet_corrupt"]);
    esp(&mut lab, 0, &good[..25], Reason::EspMalformed, &["packet_corrupt"]);
    let out = esp(&mut lab, 0, &[0x77; 60], Reason::UnknownSpi, &["sa_lookup_failure"]);
    assert_eq!(exceptions(&out), [Exception::UnknownSpi { spi: 0x7777_7777, remote: GCM.outer(true).local }]);
    let out = esp(&mut lab, 0, &[0x77; 60], Reason::UnknownSpi, &["sa_lookup_failure"]);
    assert_eq!(exceptions(&out), [], "once a second per address");
    let mut forged = good.clone();
    forged[20] ^= 1;
    esp(&mut lab, 0, &forged, Reason::IcvFailure, &["icv_failure"]);
    let watch = Watch::over(&lab.branch);
    lab.branch.esp(lab.now, GCM.outer(false), 0, Buffer::copy(&good), &mut Vec::new());
    watch.only(&lab.branch, &[]);
    esp(&mut lab, 0, &good, Reason::Replayed, &["sequence_number_failure"]);
}

#[test]
pub(super) fn authentic_packets_that_are_refused() {
    let mut lab = Lab::up(GCM);
    let inner = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"x");
    let mut refused = |text: &[u8], reason, log: &[&str]| {
        let sealed = seal_text(&mut lab, text);
        esp(&mut lab, 0, &sealed, reason, log);
    };
    let mut bad = text(&inner, 4);
    let at = bad.len() - 3;
    bad[at] ^= 1;
    refused(&bad, Reason::BadPadding, &["bad_padding"]);
    refused(&text(&inner, 6), Reason::NextHeader, &["packet_corrupt"]);
    refused(&text(b"anything", 59), Reason::Dummy, &[]);
    refused(&[9, 9, 9, 59], Reason::Dummy, &[]);
    refused(&text(&inner, 41), Reason::InnerMalformed, &["packet_corrupt"]);
    refused(&text(&inner[..10], 4), Reason::InnerMalformed, &["packet_corrupt"]);
    let foreign = udp(("10.0.0.1", 1), (BRANCH_HOST, 2), b"x");
    refused(&text(&foreign, 4), Reason::InnerAddress, &["ip_validation_failure"]);
    let elsewhere = udp((HEAD_HOST, 1), ("10.0.0.1", 2), b"x");
    refused(&text(&elsewhere, 4), Reason::InnerAddress, &["ip_validation_failure"]);
    let sealed = seal_text(&mut lab, &text(&inner, 4));
    esp(&mut lab, 3, &sealed, Reason::Congestion, &[]);
}

#[test]
fn padding_behind_the_inner_packet_is_taken_off() {
    let mut lab = Lab::up(GCM);
    let inner = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"x");
    let mut padded = inner.clone();
    padded.extend([0; 300]);
    let sealed = seal_text(&mut lab, &text(&padded, 4));
    let mut out = Vec::new();
    lab.branch.esp(lab.now, GCM.outer(false), 0, Buffer::copy(&sealed), &mut out);
    assert_eq!(plain(&out), [after_hops(inner, 1)]);
}

#[test]
pub(super) fn an_sa_that_is_used_up() {
    let mut lab = Lab::up(Keying { soft_bytes: Some(100), hard_bytes: Some(200), ..GCM });
    let packet = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &[0; 22]); // 50 bytes
    let exceptions_of = |lab: &mut Lab| exceptions(&lab.head_plain(&packet));
    assert_eq!(exceptions_of(&mut lab), []);
    assert_eq!(exceptions_of(&mut lab), [Exception::SoftLimit(SaId(1))]);
    assert_eq!(exceptions_of(&mut lab), []);
    let out = lab.head_plain(&packet);
    assert_eq!(exceptions(&out), [Exception::HardLimit(SaId(1))]);
    assert_eq!((sealed(&out), logs(&out)), (1, vec!["sequence_number_overflow".to_owned()]));
    let out = lab.head_plain(&packet);
    assert_eq!(sealed(&out), 0);
    assert!(matches!(exceptions(&out)[..], [Exception::Acquire { .. }]), "it needs another SA");

    // In the other direction nothing passes either.
    let back = udp((BRANCH_HOST, 2), (HEAD_HOST, 1), b"x");
    let sent = lab.branch_plain(&back);
    let watch = Watch::over(&lab.head);
    lab.at_head(&sent);
    watch.only(&lab.head, &[(Reason::SaUsedUp, 1)]);
}

#[test]
pub(super) fn a_packet_for_which_no_sequence_number_is_left() {
    let mut lab = Lab::up(GCM);
    let slot = lab.head.sas.by_spi(0x1001).unwrap();
    lab.head.sas.get_mut(slot).unwrap().sa.pretend_sent(u64::from(u32::MAX));
    let out = one(
        &mut lab,
        &ping(HEAD_HOST, BRANCH_HOST, 8),
        Reason::NotSealed,
        &["conn_open out", "sequence_number_overflow"],
    );
    assert_eq!(exceptions(&out), [Exception::HardLimit(SaId(1))]);
    assert!(matches!(exceptions(&lab.head_plain(&ping(HEAD_HOST, BRANCH_HOST, 8)))[..], [Exception::Acquire { .. }]));
}

#[test]
fn a_host_behind_the_tunnel_is_told_through_it() {
    let mut lab = Lab::up(GCM);
    let last = changed(ping(HEAD_HOST, BRANCH_HOST, 8), |packet| packet[8] = 2);
    let sent = lab.head_plain(&last);
    let watch = Watch::over(&lab.branch);
    let told = lab.at_branch(&sent);
    watch.only(&lab.branch, &[(Reason::TtlExpired, 1)]);
    assert_eq!((sealed(&told), plain(&told).len()), (1, 0));
    let error = plain(&lab.at_head(&told));
    let header = key_of(&error[0]);
    assert_eq!((header.source, header.destination), (ip(BRANCH.own[0]), ip(HEAD_HOST)));
}

#[test]
pub(super) fn the_kernel_is_told_by_an_error_it_believes() {
    let mut lab = Lab::up(GCM);
    let whole = changed(udp((HEAD.own[0], 1), (BRANCH_HOST, 2), &pattern(1450)), |packet| packet[6] = 0x40);
    let watch = Watch::over(&lab.head);
    let out = lab.head_plain(&whole);
    watch.only(&lab.head, &[(Reason::TooBig, 1)]);
    let header = key_of(&local(&out)[0]);
    assert_eq!((header.source, header.destination), (ip(BRANCH_HOST), ip(HEAD.own[0])));
}

#[test]
fn errors_are_bounded_per_second() {
    let mut lab = Lab::up(GCM);
    let last = changed(ping(HEAD_HOST, BRANCH_HOST, 8), |packet| packet[8] = 1);
    let told: usize = (0..1000).map(|_| plain(&lab.head_plain(&last)).len()).sum();
    assert_eq!(told, 200);
    lab.now = at(2);
    assert_eq!(plain(&lab.head_plain(&last)).len(), 1);
}

#[test]
fn a_flood_of_other_errors_does_not_silence_the_size_of_packets() {
    let mut lab = Lab::up(GCM);
    let last = changed(ping(HEAD_HOST, BRANCH_HOST, 8), |packet| packet[8] = 1);
    let refused = tcp((HEAD_HOST, 1000), (BRANCH_HOST, 98), tcp::SYN, 1, 0);
    for _ in 0..300 {
        lab.head_plain(&last);
        lab.head_plain(&refused);
    }
    let too_big = changed(udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(1450)), |packet| packet[6] = 0x40);
    let told: usize = (0..300).map(|_| plain(&lab.head_plain(&too_big)).len()).sum();
    assert_eq!(told, 200, "it has a bound of its own");
    assert_eq!(plain(&lab.head_plain(&last)).len(), 0);
}

/// An ICMP message of eight bytes with an identifier of 0.
fn message(kind: u8, from: &str, to: &str) -> Vec<u8> {
    let v6 = ip(from).is_ipv6();
    let mut bytes = [kind, 0, 0, 0, 0, 0, 0, 1];
    let protocol = if v6 { ip::ICMPV6 } else { ip::ICMP };
    let sum = wire::checksum::Sum::new();
    let sum = if v6 { sum.with_pseudo_header(ip(from), ip(to), protocol, 8) } else { sum };
    let sum = sum.with(&bytes).checksum();
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    icmp::ip_packet(ip(from), ip(to), protocol, &bytes).unwrap()
}

#[test]
pub(super) fn a_redirect_goes_nowhere_whatever_the_rules_say() {
    let mut lab = Lab::up(GCM);
    for (kind, from, to) in
        [(5, HEAD_HOST, BRANCH_HOST), (137, HEAD_HOST_V6, BRANCH_HOST_V6), (5, HEAD_HOST, HEAD.own[0])]
    {
        one(&mut lab, &message(kind, from, to), Reason::Redirect, &[]);
    }
}

#[test]
fn an_echo_allows_no_other_message_of_icmp() {
    for (echo, others, from, to) in
        [(8, [13, 15, 17, 9, 40], HEAD_HOST, BRANCH_HOST), (128, [0, 139, 144, 200, 130], HEAD_HOST_V6, BRANCH_HOST_V6)]
    {
        let mut lab = Lab::up(GCM);
        let mut only_echo = policy(&HEAD);
        let protocol = if echo == 8 { 1 } else { 58 };
        only_echo.rules = vec![Rule {
            services: vec![Service::Icmp { protocol, types: vec![echo] }],
            ..rule("echo", &[LAN], &[TUNNEL], RuleAction::Allow)
        }];
        lab.head.control(lab.now, Control::Replace(Arc::new(only_echo)), &mut Vec::new()).unwrap();
        assert_eq!(sealed(&lab.head_plain(&message(echo, from, to))), 1);
        for other in others {
            assert_eq!(sealed(&lab.head_plain(&message(other, from, to))), 0, "{other}");
        }
    }
}

#[test]
fn a_message_of_icmp_allows_no_echo_and_is_judged_by_a_new_policy() {
    let mut lab = Lab::up(GCM);
    let mut timestamps = policy(&HEAD);
    timestamps.rules = vec![Rule {
        services: vec![Service::Icmp { protocol: 1, types: vec![13] }],
        ..rule("timestamps", &[LAN], &[TUNNEL], RuleAction::Allow)
    }];
    let timestamps = Arc::new(timestamps);
    lab.head.control(lab.now, Control::Replace(timestamps.clone()), &mut Vec::new()).unwrap();
    assert_eq!(sealed(&lab.head_plain(&message(13, HEAD_HOST, BRANCH_HOST))), 1);
    assert_eq!(sealed(&lab.head_plain(&message(8, HEAD_HOST, BRANCH_HOST))), 0);
    lab.head.control(lab.now, Control::Replace(timestamps), &mut Vec::new()).unwrap();
    assert_eq!(lab.head.connections(lab.now).count(), 1, "the rule still allows it");
}
