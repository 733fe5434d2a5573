//! Transport mode: what the two gateways themselves say to each other.

use super::*;

/// The pair of SAs between the two gateways themselves, of the UDP port of L2TP.
fn transport(lab: &mut Lab, udp: bool) {
    let keying = Keying { udp, ..GCM };
    for head in [true, false] {
        let outer = keying.outer(head);
        let selector = |address: std::net::SocketAddr| Selector {
            protocol: 17,
            port_first: 1701,
            port_last: 1701,
            ..Selector::all(IpRange::host(address.ip()))
        };
        let (inward, outward) = if head { (1, 2) } else { (2, 1) };
        let (spi_in, spi_out) = if head { (0x5001, 0x5002) } else { (0x5002, 0x5001) };
        let parameters = SaParameters {
            id: SaId(50),
            tunnel: TUNNEL,
            mode: Mode::Transport,
            spi_in,
            spi_out,
            encryption: Encryption::AesGcm16(128),
            integrity: None,
            encryption_key_in: &[inward; 20],
            integrity_key_in: &[],
            encryption_key_out: &[outward; 20],
            integrity_key_out: &[],
            esn: false,
            replay_window: 64,
            local: &[selector(outer.local)],
            remote: &[selector(outer.remote)],
            outer,
            outbound_now: true,
            replaces: None,
            soft_bytes: None,
            hard_bytes: None,
        };
        let gateway = if head { &mut lab.head } else { &mut lab.branch };
        gateway.control(lab.now, Control::Install(Sa::new(&parameters).unwrap()), &mut Vec::new()).unwrap();
    }
}

/// A gateway whose packets for the other one go into the tunnel, as they will once something asks for that.
fn to_the_peer(office: &Office, other: &Office) -> Arc<Policy> {
    let mut policy = policy(office);
    policy.tables[0].routes.push(Route::new(format!("{}/32", other.wan).parse().unwrap(), TUNNEL, 0));
    if let InterfaceKind::Tunnel(path) = &mut policy.interfaces[3].kind {
        path.local_networks.push(range(office.wan));
        path.remote_networks.push(range(other.wan));
    }
    Arc::new(policy)
}

fn lab(udp: bool) -> Lab {
    let mut lab = Lab::new();
    lab.head.control(lab.now, Control::Replace(to_the_peer(&HEAD, &BRANCH)), &mut Vec::new()).unwrap();
    transport(&mut lab, udp);
    lab
}

#[test]
fn what_the_peer_itself_says_is_for_the_gateway_and_its_answer_is_sealed() {
    for encapsulated in [false, true] {
        let mut lab = lab(encapsulated);
        let call = udp((HEAD.wan, 1701), (BRANCH.wan, 1701), b"a call");
        let mut sent = Vec::new();
        lab.head.originate(lab.now, Buffer::copy(&call), &mut sent);
        assert_eq!(sealed(&sent), 1);
        let Some(Output::Outer { packet, .. }) = sent.last() else { panic!("not sealed") };
        let expected = 8 + 8 + (call.len() - 20 + 2_usize).next_multiple_of(4) + 16;
        assert_eq!(packet.len(), expected, "the IP header is not inside");
        // The route back to the peer leads elsewhere at the branch: that it came out of the SA is proof enough.
        let watch = Watch::over(&lab.branch);
        let arrived = lab.at_branch(&sent);
        watch.only(&lab.branch, &[]);
        let [got] = &local(&arrived)[..] else { panic!("not delivered: {arrived:?}") };
        let header = key_of(got);
        assert_eq!((header.source, header.destination), (ip(HEAD.wan), ip(BRANCH.wan)));
        assert_eq!(got[20..], call[20..]);
        let answer = udp((BRANCH.wan, 1701), (HEAD.wan, 1701), b"an answer");
        let back = lab.branch_plain(&answer);
        assert_eq!((sealed(&back), plain(&back).len()), (1, 0));
        assert_eq!(local(&lab.at_head(&back)).len(), 1);
    }
}

#[test]
fn the_rules_are_asked_about_what_comes_in_transport_mode() {
    let mut lab = lab(true);
    let mut strict = policy(&BRANCH);
    strict.rules.retain(|rule| &*rule.name != "self");
    lab.branch.control(lab.now, Control::Replace(Arc::new(strict)), &mut Vec::new()).unwrap();
    let mut sent = Vec::new();
    lab.head.originate(lab.now, Buffer::copy(&udp((HEAD.wan, 1701), (BRANCH.wan, 1701), b"x")), &mut sent);
    let watch = Watch::over(&lab.branch);
    assert!(local(&lab.at_branch(&sent)).is_empty());
    watch.only(&lab.branch, &[(Reason::DefaultRule, 1)]);
}

#[test]
fn a_sum_that_a_nat_has_spoilt_is_mended() {
    let mut lab = lab(true);
    let mut call = udp((HEAD.wan, 1701), (BRANCH.wan, 1701), b"over a NAT");
    call[26..28].copy_from_slice(&[0x12, 0x34]);
    let mut sent = Vec::new();
    lab.head.originate(lab.now, Buffer::copy(&call), &mut sent);
    let arrived = local(&lab.at_branch(&sent));
    let len = u32::try_from(call.len() - 20).unwrap();
    let sum = wire::checksum::Sum::new().with_pseudo_header(ip(HEAD.wan), ip(BRANCH.wan), 17, len);
    assert_eq!(sum.with(&arrived[0][20..]).checksum(), 0);
}

#[test]
fn a_packet_of_others_never_leaves_in_transport_mode() {
    let elsewhere = Outer { remote: (ip("192.0.2.9"), 0).into(), udp: false, ..GCM.outer(true) };
    for control in [Control::Remove(SaId(50)), Control::Move(SaId(50), elsewhere)] {
        let (mut lab, mut out) = (lab(false), Vec::new());
        lab.head.control(lab.now, control, &mut out).unwrap();
        lab.head.originate(lab.now, Buffer::copy(&udp((HEAD.wan, 1701), (BRANCH.wan, 1701), b"x")), &mut out);
        assert_eq!(sealed(&out), 0);
    }
}

#[test]
fn what_is_too_long_for_the_path_is_cut_after_it_is_sealed() {
    let mut lab = lab(false);
    let call = udp((HEAD.wan, 1701), (BRANCH.wan, 1701), &pattern(1_480));
    let mut sent = Vec::new();
    lab.head.originate(lab.now, Buffer::copy(&call), &mut sent);
    let [Output::Outer { df: false, packet, .. }] = &sent[..] else { panic!("{sent:?}") };
    assert!(packet.len() > 1_480);
    assert_eq!(local(&lab.at_branch(&sent)).len(), 1);
}
