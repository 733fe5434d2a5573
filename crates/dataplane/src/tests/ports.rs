//! Packet ports: what comes in with its interface and leaves with its next hop, outer packets included.

use super::firewall::*;
use super::*;

/// The head office with packet ports instead of a host port.
fn owned(office: &Office) -> Policy {
    let mut policy = policy(office);
    for interface in &mut policy.interfaces {
        if interface.kind == InterfaceKind::Host {
            interface.kind = InterfaceKind::Port;
        }
    }
    policy.interfaces[1].addresses = office.own.iter().map(|text| ip(text)).collect();
    policy.interfaces[2].addresses = vec![ip(office.wan), ip("2001:db8:f::1")];
    let outer = Route { gateway: Some(ip(NEXT_HOP)), ..Route::new("203.0.113.0/24".parse().unwrap(), WAN, 1) };
    policy.tables[0].routes.push(outer);
    policy.tables[0].routes.push(Route::new("2001:db8:f::/64".parse().unwrap(), WAN, 1));
    policy.tables[0].routes.push(Route::new("2001:db8:f::1/128".parse().unwrap(), CORE, 1));
    policy
}

fn lab(keying: Keying) -> Lab {
    let mut lab = Lab::new();
    lab.head = Dataplane::new(Arc::new(owned(&HEAD)));
    lab.install(keying);
    lab
}

fn link(lab: &mut Lab, interface: InterfaceId, packet: &[u8]) -> Vec<Output> {
    let mut out = Vec::new();
    lab.head.link(lab.now, interface, Buffer::copy(packet), &mut out);
    out
}

/// The ESP packet within an outer packet.
fn within(packet: &[u8], udp: bool) -> Vec<u8> {
    let header = key_of(packet);
    packet[header.payload + if udp { 8 } else { 0 }..].to_vec()
}

#[test]
fn sealed_packets_leave_and_come_with_their_outer_headers() {
    for (udp, outer_v6) in [(true, false), (false, false), (true, true), (false, true)] {
        let keying = Keying { udp, outer_v6, ..GCM };
        let mut lab = lab(keying);
        let request = ping(HEAD_HOST, BRANCH_HOST, 40);
        let out = link(&mut lab, LAN, &request);
        let [(interface, hop, sent)] = &links(&out)[..] else { panic!("{out:?}") };
        let next = if outer_v6 { "2001:db8:f::2" } else { NEXT_HOP };
        assert_eq!((*interface, *hop), (WAN, ip(next)));
        let header = key_of(sent);
        let outer = keying.outer(true);
        assert_eq!((header.source, header.destination), (outer.local.ip(), outer.remote.ip()));
        assert_eq!(header.protocol, if udp { 17 } else { 50 });
        if udp {
            key(sent);
            assert_eq!(sent[header.payload + 6..header.payload + 8] == [0, 0], !outer_v6);
        }
        let mut arrived = Vec::new();
        let esp = Buffer::copy(&within(sent, udp));
        lab.branch.esp(lab.now, keying.outer(false), 0, esp, &mut arrived);
        assert_eq!(plain(&arrived), [after_hops(request.clone(), 2)]);

        let answer = lab.branch_plain(&pong(&request));
        let Some(Output::Outer { packet, .. }) = answer.last() else { panic!("{answer:?}") };
        let outer = keying.outer(false);
        let protocol = if udp { ip::UDP } else { ip::ESP };
        let mut payload = Vec::new();
        if udp {
            let header = wire::udp::Header { source: 4500, destination: 4500 };
            payload = header.datagram(outer.local.ip(), outer.remote.ip(), packet.bytes()).unwrap();
        } else {
            payload.extend(packet.bytes());
        }
        let packet = icmp::ip_packet(outer.local.ip(), outer.remote.ip(), protocol, &payload).unwrap();
        let out = link(&mut lab, WAN, &packet);
        let [(interface, hop, back)] = &links(&out)[..] else { panic!("{out:?}") };
        assert_eq!((*interface, *hop, back), (LAN, ip(HEAD_HOST), &after_hops(pong(&request), 2)));
    }
}

#[test]
fn ike_messages_come_out_and_go_in() {
    let mut firewall = Firewall::new(Vec::new());
    let out = firewall.receive(WAN, &udp((STRANGER, 4444), (PUBLIC, 500), b"message"));
    let [Output::Ike { local, remote, payload, .. }] = &out[..] else { panic!("{out:?}") };
    assert_eq!((*local, *remote), ((ip(PUBLIC), 500).into(), (ip(STRANGER), 4444).into()));
    assert_eq!(payload.bytes(), b"message");
    let marked = b"\0\0\0\0message";
    let out = firewall.receive(WAN, &udp((STRANGER, 4444), (PUBLIC, 4500), marked));
    assert!(matches!(&out[..], [Output::Ike { payload, .. }] if payload.bytes() == marked), "{out:?}");
    let watch = Watch::over(&firewall.gateway);
    assert!(firewall.receive(WAN, &udp((STRANGER, 4444), (PUBLIC, 4500), &[0xff])).is_empty(), "a keep-alive");
    watch.only(&firewall.gateway, &[]);
    let wrong = changed(udp((STRANGER, 500), (PUBLIC, 500), b"x"), |packet| packet[27] = 9);
    firewall.drops(WAN, &wrong, Reason::MalformedTransport, &["malformed_packet"]);
    // Through the gateway it is like any other.
    let through = udp((INSIDE, 500), (STRANGER, 500), b"x");
    firewall.drops(LAN, &through, Reason::DefaultRule, &["ruleset_drop_packet Default_Rule"]);

    let mut out = Vec::new();
    let (local, remote) = ((ip(PUBLIC), 4500).into(), (ip(STRANGER), 4444).into());
    firewall.gateway.send_outer(firewall.now, local, remote, 0xb8, Buffer::copy(marked), &mut out);
    let [(interface, hop, sent)] = &links(&out)[..] else { panic!("{out:?}") };
    assert_eq!((*interface, *hop, sent[1], &sent[28..]), (WAN, ip(NEXT_HOP), 0xb8, &marked[..]));
    assert_eq!(ends(sent), ("198.51.100.1:4500".into(), "203.0.113.9:4444".into()));
}

#[test]
fn a_long_message_leaves_in_fragments_and_comes_in_them() {
    for (local, remote) in [(PUBLIC, STRANGER), ("2001:db8:f::1", "2001:db8:77::9")] {
        let mut firewall = Firewall::new(Vec::new());
        let message = pattern(4000);
        let mut out = Vec::new();
        let (from, to) = ((ip(local), 500).into(), (ip(remote), 500).into());
        firewall.gateway.send_outer(firewall.now, from, to, 0, Buffer::copy(&message), &mut out);
        let pieces = links(&out);
        assert_eq!(pieces.len(), 3);
        assert!(pieces.iter().all(|(_, _, piece)| piece.len() <= 1500));
        // As if the peer had sent them.
        let mut received = Vec::new();
        for (_, _, mut piece) in pieces {
            ip::swap_addresses(&mut piece);
            received.extend(firewall.receive(WAN, &piece));
        }
        let [Output::Ike { payload, .. }] = &received[..] else { panic!("{received:?}") };
        assert_eq!(payload.bytes(), message);
    }
}

#[test]
pub(super) fn no_sealed_packet_leaves_where_no_route_or_a_tunnel_leads_to_the_peer() {
    for lost in [true, false] {
        let mut lab = lab(GCM);
        let mut policy = owned(&HEAD);
        for route in &mut policy.tables[0].routes {
            if route.network == "203.0.113.0/24".parse().unwrap() {
                route.interface = TUNNEL;
            }
        }
        if lost {
            policy.tables[0].routes.retain(|route| route.network != "203.0.113.0/24".parse().unwrap());
        }
        lab.head.control(lab.now, Control::Replace(Arc::new(policy)), &mut Vec::new()).unwrap();
        let watch = Watch::over(&lab.head);
        let out = link(&mut lab, LAN, &ping(HEAD_HOST, BRANCH_HOST, 8));
        watch.only(&lab.head, &[(Reason::OuterRoute, 1)]);
        assert_eq!((logs(&out).last().map(String::as_str), links(&out).len()), (Some("outer_packet_not_sent"), 0));
    }
}

#[test]
fn outer_packets_are_routed_by_the_tunnels_own_table() {
    let mut lab = lab(GCM);
    let mut policy = owned(&HEAD);
    let other = Route { gateway: Some(ip("172.16.1.254")), ..Route::new("0.0.0.0/0".parse().unwrap(), LAN, 1) };
    let ordering = Ordering::Only;
    policy.tables.push(RoutingTable { id: TableId(3), name: "outer".into(), ordering, routes: vec![other] });
    if let InterfaceKind::Tunnel(path) = &mut policy.interfaces[3].kind {
        path.outer_table = TableId(3);
    }
    lab.head.control(lab.now, Control::Replace(Arc::new(policy)), &mut Vec::new()).unwrap();
    let out = link(&mut lab, LAN, &ping(HEAD_HOST, BRANCH_HOST, 8));
    let sent: Vec<_> = links(&out).into_iter().map(|(interface, hop, _)| (interface, hop)).collect();
    assert_eq!(sent, [(LAN, ip("172.16.1.254"))]);
}

#[test]
fn a_packet_longer_than_the_link_is_cut_or_its_sender_told() {
    let mut policy = Policy { rules: vec![Rule { log: None, ..Rule::new("all", RuleAction::Allow) }], ..bare() };
    policy.interfaces[3].mtu = 1300;
    let mut firewall = Firewall::with(policy.clone());
    let big = udp((INSIDE, 1), (STRANGER, 2), &pattern(1400));
    let pieces = links(&firewall.receive(LAN, &big));
    assert!(pieces.len() == 2 && pieces.iter().all(|(_, _, piece)| piece.len() <= 1300));
    let whole = changed(big.clone(), |packet| packet[6] = 0x40);
    let out = firewall.drops(LAN, &whole, Reason::TooBig, &[]);
    let [(_, _, error)] = &links(&out)[..] else { panic!("{out:?}") };
    assert_eq!((&error[20..22], &error[26..28]), (&[3, 4][..], &1300_u16.to_be_bytes()[..]));
    // Nor does it say so when it may take the prohibition off.
    policy.settings.strip_df_max = 65_535;
    firewall.replace(policy);
    let pieces = links(&firewall.receive(LAN, &whole));
    assert_eq!(pieces.len(), 2);
    assert_ne!(pieces[0].2[4..6], [0, 0], "what is cut has an identification");
    assert_eq!(pieces[0].2[4..6], pieces[1].2[4..6]);
    let small = changed(udp((INSIDE, 1), (STRANGER, 2), b"x"), |packet| packet[6] = 0x40);
    assert_eq!(firewall.passes(LAN, &small).2[6], 0, "routers behind may cut it");
}

#[test]
fn the_segment_size_is_lowered_to_what_links_take() {
    let mss = |packet: &[u8]| u16::from_be_bytes([packet[42], packet[43]]);
    let mut policy = Policy { rules: vec![Rule { log: None, ..Rule::new("all", RuleAction::Allow) }], ..bare() };
    policy.settings.mss_max = 1400;
    let mut sizes = Vec::new();
    for (mtu, auto) in [(1500, true), (1300, true), (1300, false), (68, true)] {
        policy.interfaces[3].mtu = mtu;
        policy.settings.mss_auto = auto;
        let mut firewall = Firewall::with(policy.clone());
        sizes.push(mss(&firewall.passes(LAN, &tcp((INSIDE, 1), (STRANGER, 2), tcp::SYN, 1, 0)).2));
    }
    assert_eq!(sizes, [1400, 1260, 1400, 100]);
}

#[test]
fn the_gateway_answers_and_refuses_where_the_packet_came_from() {
    let core = rule("ping", &[LAN], &[CORE], RuleAction::Allow);
    let mut firewall = Firewall::new(vec![core, rule("no", &[DMZ], &[WAN], RuleAction::Reject)]);
    let request = ping(INSIDE, "10.0.0.1", 8);
    let (interface, hop, answer) = firewall.passes(LAN, &request);
    assert_eq!((interface, hop, answer), (LAN, ip(INSIDE), pong(&request)));
    let ssh = firewall.receive(LAN, &tcp((INSIDE, 1), ("10.0.0.1", 22), tcp::SYN, 1, 0));
    assert_eq!(local(&ssh).len(), 1);
    let log = &["ruleset_drop_packet no"];
    let out = firewall.drops(DMZ, &ping(SERVER, STRANGER, 8), Reason::RuleReject, log);
    let [(interface, hop, error)] = &links(&out)[..] else { panic!("{out:?}") };
    assert_eq!((*interface, *hop, key_of(error).source), (DMZ, ip(SERVER), ip("10.0.1.1")));
    firewall.drops(LAN, &ping(INSIDE, "255.255.255.255", 8), Reason::NotUnicast, &[]);
}

#[test]
fn an_error_about_a_sealed_packet_teaches_what_the_path_takes() {
    let mut lab = lab(GCM);
    let out = link(&mut lab, LAN, &udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(1300)));
    let sent = links(&out).remove(0).2;
    let error = icmp::error_packet(icmp::Problem::TooBig(1000), ip("203.0.113.77"), ip(HEAD.wan), &sent).unwrap();
    let watch = Watch::over(&lab.head);
    assert!(link(&mut lab, WAN, &error).is_empty());
    watch.only(&lab.head, &[]);
    let out = link(&mut lab, LAN, &udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(1300)));
    let sent = links(&out);
    assert!(sent.len() > 1 && sent.iter().all(|(_, _, packet)| packet.len() <= 1000), "{out:?}");
    let forged = changed(error, |packet| packet[20 + 8 + 20 + 8] ^= 1);
    link(&mut lab, WAN, &forged);
    watch.only(&lab.head, &[(Reason::UnrelatedIcmpError, 1)]);
}

#[test]
fn the_rule_set_decides_about_ipsec_when_it_does_not_go_before() {
    let mut policy = Policy { rules: vec![rule("vpn", &[WAN], &[CORE], RuleAction::Allow)], ..bare() };
    policy.rules[0].source_networks = vec![range(STRANGER)];
    policy.settings.ipsec_before_rules = false;
    let mut firewall = Firewall::with(policy);
    let out = firewall.receive(WAN, &udp((STRANGER, 500), (PUBLIC, 500), b"ike"));
    assert!(matches!(&out[..], [Output::Log(_), Output::Ike { .. }]), "{out:?}");
    let log = &["ruleset_drop_packet Default_Rule"];
    firewall.drops(WAN, &udp(("203.0.113.8", 500), (PUBLIC, 500), b"ike"), Reason::DefaultRule, log);

    // The same at the host port.
    let mut lab = Lab::up(GCM);
    let sent = lab.branch_plain(&ping(BRANCH_HOST, HEAD_HOST, 8));
    let mut strict = super::policy(&HEAD);
    strict.settings.ipsec_before_rules = false;
    lab.head.control(lab.now, Control::Replace(Arc::new(strict.clone())), &mut Vec::new()).unwrap();
    let watch = Watch::over(&lab.head);
    lab.at_head(&sent);
    watch.only(&lab.head, &[(Reason::DefaultRule, 1)]);
    let (local, remote) = ((ip(HEAD.wan), 500).into(), (ip(BRANCH.wan), 500).into());
    assert!(!lab.head.admit_ike(lab.now, local, remote, 0, &mut Vec::new()));
    strict.rules.push(rule("vpn", &[WAN], &[CORE], RuleAction::Allow));
    lab.head.control(lab.now, Control::Replace(Arc::new(strict)), &mut Vec::new()).unwrap();
    assert_eq!(plain(&lab.at_head(&sent)).len(), 1);
    assert!(lab.head.admit_ike(lab.now, local, remote, 0, &mut Vec::new()));
}
