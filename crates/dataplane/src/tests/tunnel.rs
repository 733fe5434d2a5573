//! Traffic between two offices.

use super::*;

#[test]
fn a_ping_goes_through_the_tunnel_and_its_reply_comes_back() {
    for (from, to) in [(HEAD_HOST, BRANCH_HOST), (HEAD_HOST_V6, BRANCH_HOST_V6)] {
        for outer_v6 in [false, true] {
            for udp in [false, true] {
                let mut lab = Lab::up(Keying { outer_v6, udp, ..GCM });
                let request = ping(from, to, 56);
                let sent = lab.head_plain(&request);
                assert_eq!((sealed(&sent), plain(&sent).len()), (1, 0));
                let arrived = lab.at_branch(&sent);
                assert_eq!(plain(&arrived), [after_hops(request.clone(), 2)]);
                let answered = lab.branch_plain(&pong(&request));
                let back = lab.at_head(&answered);
                assert_eq!(plain(&back), [after_hops(pong(&request), 2)]);
            }
        }
    }
}

#[test]
fn every_algorithm_carries_every_size() {
    for &encryption in Encryption::ALL {
        let integrities: Vec<Option<Integrity>> =
            if encryption.is_aead() { vec![None] } else { Integrity::ALL.iter().copied().map(Some).collect() };
        for integrity in integrities {
            for esn in [false, true] {
                let mut lab = Lab::up(Keying { encryption, integrity, esn, ..GCM });
                for len in (0..64).chain([500, 1000, 1300]) {
                    let packet = udp((HEAD_HOST, 1000), (BRANCH_HOST, 2000), &pattern(len));
                    let sent = lab.head_plain(&packet);
                    assert_eq!(
                        plain(&lab.at_branch(&sent)),
                        [after_hops(packet, 2)],
                        "{encryption} {integrity:?} {len}"
                    );
                }
            }
        }
    }
}

#[test]
fn no_outer_packet_is_longer_than_the_wire_takes() {
    for &encryption in Encryption::ALL {
        for outer_v6 in [false, true] {
            let integrity = (!encryption.is_aead()).then_some(Integrity::HmacSha2_512_256);
            let mut lab = Lab::new();
            let mut wide = policy(&HEAD);
            if let InterfaceKind::Tunnel(path) = &mut wide.interfaces[3].kind {
                path.plaintext_mtu = 9000;
            }
            lab.head.control(lab.now, Control::Replace(Arc::new(wide)), &mut Vec::new()).unwrap();
            lab.install(Keying { encryption, integrity, outer_v6, ..GCM });
            let around = if outer_v6 { 48 } else { 28 };
            for len in 1330..1500 {
                let sent = lab.head_plain(&udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(len)));
                for output in &sent {
                    if let Output::Outer { packet, .. } = output {
                        assert!(packet.len() + around <= 1500, "{encryption} {len}");
                    }
                }
                assert!(sealed(&sent) >= 1);
                lab.at_branch(&sent);
            }
        }
    }
}

#[test]
fn the_first_packet_asks_for_the_tunnel_and_waits_for_it() {
    let mut lab = Lab::new();
    let packets: Vec<_> = (0..3).map(|i| udp((HEAD_HOST, 1000), (BRANCH_HOST, 53), &[i; 9])).collect();
    let first = lab.head_plain(&packets[0]);
    let acquire = Exception::Acquire {
        tunnel: TUNNEL,
        source: (ip(HEAD_HOST), 1000),
        destination: (ip(BRANCH_HOST), 53),
        protocol: 17,
    };
    assert_eq!(exceptions(&first), [acquire]);
    assert_eq!(exceptions(&lab.head_plain(&packets[1])), [], "it has just asked");
    lab.now = at(3);
    assert_eq!(exceptions(&lab.head_plain(&packets[2])), [acquire], "nobody has come, so it asks again");
    let sent = GCM.install(true, &mut lab.head, lab.now);
    GCM.install(false, &mut lab.branch, lab.now);
    let arrived = plain(&lab.at_branch(&sent));
    assert_eq!(arrived, packets.into_iter().map(|packet| after_hops(packet, 2)).collect::<Vec<_>>());
}

#[test]
fn a_packet_for_the_gateway_is_answered_or_handed_to_the_kernel() {
    let mut lab = Lab::up(GCM);
    let request = ping(HEAD_HOST, BRANCH.own[0], 20);
    let sent = lab.head_plain(&request);
    let answered = lab.at_branch(&sent);
    assert_eq!((sealed(&answered), local(&answered).len()), (1, 0));
    assert_eq!(plain(&lab.at_head(&answered)), [after_hops(pong(&request), 1)]);

    let ssh = tcp((HEAD_HOST, 4000), (BRANCH.own[0], 22), tcp::SYN, 1, 0);
    let sent = lab.head_plain(&ssh);
    let arrived = lab.at_branch(&sent);
    assert_eq!(local(&arrived).len(), 1);
    let syn_ack = tcp((BRANCH.own[0], 22), (HEAD_HOST, 4000), tcp::SYN | tcp::ACK, 9, 2);
    let answered = lab.branch_plain(&syn_ack);
    assert_eq!(plain(&lab.at_head(&answered)).len(), 1, "the kernel's answer finds its connection");
}

#[test]
fn the_gateway_pings_through_its_tunnel_without_a_rule() {
    let mut lab = Lab::up(GCM);
    let mut strict = policy(&HEAD);
    strict.rules.clear();
    let mut out = Vec::new();
    lab.head.control(lab.now, Control::Replace(Arc::new(strict)), &mut out).unwrap();
    let request = ping(HEAD.own[0], BRANCH_HOST, 4);
    lab.head.originate(lab.now, Buffer::copy(&request), &mut out);
    let arrived = lab.at_branch(&out);
    assert_eq!(plain(&arrived), [after_hops(request.clone(), 1)]);
    let answered = lab.branch_plain(&pong(&request));
    let back = lab.at_head(&answered);
    assert_eq!(local(&back), [after_hops(pong(&request), 1)]);
}

#[test]
fn the_maximum_segment_size_is_lowered_in_both_directions() {
    let mut lab = Lab::up(GCM);
    let mss = |packet: &[u8]| u16::from_be_bytes([packet[42], packet[43]]);
    let syn = tcp((HEAD_HOST, 4000), (BRANCH_HOST, 80), tcp::SYN, 1, 0);
    assert_eq!(mss(&syn), 1460);
    let sent = lab.head_plain(&syn);
    let arrived = plain(&lab.at_branch(&sent));
    assert_eq!(mss(&arrived[0]), 1380, "1420 less 40 bytes of headers");
    let syn_ack = tcp((BRANCH_HOST, 80), (HEAD_HOST, 4000), tcp::SYN | tcp::ACK, 1, 2);
    let answered = lab.branch_plain(&syn_ack);
    assert_eq!(mss(&plain(&lab.at_head(&answered))[0]), 1380);
}

#[test]
fn a_packet_that_is_too_big_is_cut_or_its_sender_told() {
    let mut lab = Lab::up(GCM);
    let big = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(1450));
    let sent = lab.head_plain(&big);
    assert_eq!(sealed(&sent), 2);
    let arrived = plain(&lab.at_branch(&sent));
    assert_eq!(arrived.len(), 2, "it leaves in the pieces it came in");
    assert!(arrived.iter().all(|piece| piece.len() <= 1420));

    let watch = Watch::over(&lab.head);
    let whole = changed(big, |packet| packet[6] = 0x40);
    let refused = lab.head_plain(&whole);
    watch.only(&lab.head, &[(Reason::TooBig, 1)]);
    let error = &plain(&refused)[0];
    let header = key_of(error);
    assert_eq!((header.source, header.destination), (ip(HEAD.own[0]), ip(HEAD_HOST)));
    assert_eq!(error[20..22], [3, 4]);
    assert_eq!(error[26..28], 1420_u16.to_be_bytes());

    let v6 = udp((HEAD_HOST_V6, 1), (BRANCH_HOST_V6, 2), &pattern(1400));
    let error = plain(&lab.head_plain(&v6));
    assert_eq!((error[0][40], &error[0][44..48]), (2, &1420_u32.to_be_bytes()[..]));
    watch.only(&lab.head, &[(Reason::TooBig, 2)]);
}

#[test]
fn congestion_marks_and_the_code_point_cross_the_tunnel() {
    let mut lab = Lab::up(GCM);
    let marked = |ds: u8| changed(udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"x"), |packet| packet[1] = ds);
    let mut sent = lab.head_plain(&marked(0xba));
    let Some(Output::Outer { ds, .. }) = sent.iter_mut().find(|output| matches!(output, Output::Outer { .. })) else {
        panic!("nothing was sealed");
    };
    assert_eq!(*ds, 0xba, "code point and ECN are copied");
    *ds = 0xbb; // a router on the way is congested
    assert_eq!(plain(&lab.at_branch(&sent))[0][1], 0xbb);

    let mut fixed = policy(&HEAD);
    if let InterfaceKind::Tunnel(path) = &mut fixed.interfaces[3].kind {
        path.outer_ds = Some(0x28);
    }
    lab.head.control(lab.now, Control::Replace(Arc::new(fixed)), &mut Vec::new()).unwrap();
    let sent = lab.head_plain(&marked(0xba));
    assert!(sent.iter().any(|output| matches!(output, Output::Outer { ds: 0x2a, .. })), "the code point is fixed");
}

#[test]
fn a_packet_that_claims_our_own_address_asks_the_rules() {
    for (own, there) in [(HEAD.own[0], BRANCH_HOST), (HEAD.own[1], BRANCH_HOST_V6)] {
        let mut lab = Lab::up(GCM);
        let request = ping(own, there, 8);
        assert_eq!(sealed(&lab.head_plain(&request)), 1, "a rule lets our own kernel through");
        let mut strict = policy(&HEAD);
        strict.rules.retain(|rule| &*rule.name != "kernel");
        lab.head.control(lab.now, Control::Replace(Arc::new(strict)), &mut Vec::new()).unwrap();
        let watch = Watch::over(&lab.head);
        // Nothing proves that it began here: anybody behind the host port can write this source.
        assert_eq!(sealed(&lab.head_plain(&request)), 0);
        watch.only(&lab.head, &[(Reason::DefaultRule, 1)]);
        // Not even a connection that the gateway began by itself lets it pass.
        let mut out = Vec::new();
        lab.head.originate(lab.now, Buffer::copy(&request), &mut out);
        assert_eq!(sealed(&out), 1);
        assert_eq!(sealed(&lab.head_plain(&request)), 0);
        watch.only(&lab.head, &[(Reason::DefaultRule, 2)]);
        let arrived = lab.at_branch(&out);
        assert_eq!(plain(&arrived).len(), 1);
        let answered = lab.branch_plain(&pong(&request));
        assert_eq!(local(&lab.at_head(&answered)).len(), 1, "and it ends none");
    }
}

#[test]
fn what_waits_for_a_tunnel_is_judged_again_by_a_new_policy() {
    let mut lab = Lab::new();
    let packet = |port: u16| udp((HEAD_HOST, 1000), (BRANCH_HOST, port), b"x");
    for port in [53, 80, 98] {
        lab.head_plain(&packet(port));
    }
    lab.head_plain(&ping(HEAD_HOST, BRANCH_HOST, 8));
    let watch = Watch::over(&lab.head);
    let mut narrower = policy(&HEAD);
    narrower.rules[2].services =
        vec![Service::Ports { protocol: 17, source: vec![0..=65_535], destination: vec![53..=53] }];
    lab.now = at(3);
    let mut out = Vec::new();
    lab.head.control(lab.now, Control::Replace(Arc::new(narrower)), &mut out).unwrap();
    // The third never waited: a rule rejects it. The echo and the second are forbidden now.
    watch.only(&lab.head, &[(Reason::DefaultRule, 2)]);
    assert_eq!(exceptions(&out).len(), 1, "what still waits asks for the tunnel as it is now");
    lab.head.expire(lab.now, &mut out);
    assert_eq!(lab.head.next_deadline(), Some(at(6)), "and waits no longer than before");
    let sent = GCM.install(true, &mut lab.head, lab.now);
    GCM.install(false, &mut lab.branch, lab.now);
    assert_eq!(plain(&lab.at_branch(&sent)), [after_hops(packet(53), 2)]);
}

#[test]
fn what_waits_for_a_tunnel_never_leaves_by_another_way() {
    let mut lab = Lab::new();
    lab.head_plain(&udp((HEAD_HOST, 1000), (BRANCH_HOST, 53), b"x"));
    let mut elsewhere = policy(&HEAD);
    for route in &mut elsewhere.tables[0].routes {
        if route.interface == TUNNEL {
            route.interface = WAN;
        }
    }
    elsewhere.rules.push(rule("clear", &[LAN], &[WAN], RuleAction::Allow));
    let watch = Watch::over(&lab.head);
    let mut out = Vec::new();
    lab.head.control(lab.now, Control::Replace(Arc::new(elsewhere)), &mut out).unwrap();
    watch.only(&lab.head, &[(Reason::TunnelUnavailable, 1)]);
    assert_eq!((sealed(&out), plain(&out).len()), (0, 0));
    let line = lines(&out).concat();
    assert!(line.contains(" tunnel=office ") && line.contains("no longer sends it through the tunnel"), "{line}");
}

#[test]
fn every_pair_of_marks_crosses_the_tunnel_as_rfc_6040_says() {
    const CE: u8 = 3;
    for (from, to) in [(HEAD_HOST, BRANCH_HOST), (HEAD_HOST_V6, BRANCH_HOST_V6)] {
        for (inner, outer) in (0..4_u8).flat_map(|inner| (0..4_u8).map(move |outer| (inner, outer))) {
            let mut lab = Lab::up(GCM);
            let mut packet = udp((from, 1), (to, 2), b"x");
            ip::set_ds(&mut packet, 0x28 | inner);
            let mut sent = lab.head_plain(&packet);
            let Some(Output::Outer { ds, .. }) = sent.last_mut() else { panic!("not sealed") };
            assert_eq!(*ds, 0x28 | inner, "normal mode copies the mark");
            *ds = outer;
            let watch = Watch::over(&lab.branch);
            let arrived = plain(&lab.at_branch(&sent));
            // Figure 4 of section 4.2.
            let expected = match (inner, outer) {
                (0, CE) => None,
                (0 | CE, _) => Some(inner),
                (_, CE) => Some(CE),
                (2, 1) => Some(1),
                _ => Some(inner),
            };
            let Some(mark) = expected else {
                assert!(arrived.is_empty());
                watch.only(&lab.branch, &[(Reason::Congestion, 1)]);
                continue;
            };
            watch.only(&lab.branch, &[]);
            assert_eq!(key_of(&arrived[0]).ds, 0x28 | mark, "{inner} {outer}");
        }
    }
}

#[test]
fn an_error_about_a_packet_with_extension_headers_finds_its_connection() {
    let mut lab = Lab::up(GCM);
    let plainly = udp((HEAD_HOST_V6, 1), (BRANCH_HOST_V6, 2), &pattern(100));
    let mut packet = plainly[..40].to_vec();
    packet.extend([17, 0, 1, 4, 0, 0, 0, 0]); // destination options with nothing but padding
    packet.extend(&plainly[40..]);
    packet[6] = 60;
    let len = packet.len() - 40;
    wire::ipv6::set_payload_length(&mut packet, len);
    let sent = lab.head_plain(&packet);
    assert_eq!(plain(&lab.at_branch(&sent)).len(), 1);
    let quoted = after_hops(packet, 2);
    let error = icmp::error_packet(icmp::Problem::TooBig(1280), ip(BRANCH_HOST_V6), ip(HEAD_HOST_V6), &quoted).unwrap();
    let back = lab.branch_plain(&error);
    assert_eq!(plain(&lab.at_head(&back)).len(), 1);
}
