//! SAs per network, host and port: what is asked for, which one a packet gets, and what each lets in.

use super::*;

/// A pair of SAs with these selectors at the head office; the branch's is its mirror.
pub(super) fn install(lab: &mut Lab, number: u32, local: &[Selector], remote: &[Selector]) -> Vec<Output> {
    let mut out = Vec::new();
    for head in [true, false] {
        let (mine, theirs) = if head { (local, remote) } else { (remote, local) };
        let (inward, outward) = if head { (1, 2) } else { (2, 1) };
        let (spi_in, spi_out) =
            if head { (0x1_0000 + number, 0x2_0000 + number) } else { (0x2_0000 + number, 0x1_0000 + number) };
        let parameters = SaParameters {
            id: SaId(1_000 + u64::from(number)),
            tunnel: TUNNEL,
            mode: Mode::Tunnel,
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
            local: mine,
            remote: theirs,
            outer: GCM.outer(head),
            outbound_now: true,
            replaces: None,
            soft_bytes: None,
            hard_bytes: None,
        };
        let sa = Sa::new(&parameters).unwrap();
        let (gateway, out) = if head { (&mut lab.head, &mut out) } else { (&mut lab.branch, &mut Vec::new()) };
        gateway.control(lab.now, Control::Install(sa), out).unwrap();
    }
    out
}

fn host(text: &str) -> Selector {
    Selector::all(range(text))
}

fn port(text: &str, protocol: u8, first: u16, last: u16) -> Selector {
    Selector { protocol, port_first: first, port_last: last, ..host(text) }
}

fn spi(out: &[Output]) -> Option<u32> {
    out.iter().find_map(|output| match output {
        Output::Outer { packet, .. } => wire::esp::Header::parse(packet.bytes()).map(|header| header.spi - 0x2_0000),
        _ => None,
    })
}

fn per(lab: &mut Lab, per: SaPer) {
    let mut new = policy(&HEAD);
    if let InterfaceKind::Tunnel(path) = &mut new.interfaces[3].kind {
        path.sa_per = per;
    }
    new.settings.waiting_per_tunnel_max = 64;
    lab.head.control(lab.now, Control::Replace(Arc::new(new)), &mut Vec::new()).unwrap();
}

#[test]
fn an_sa_is_asked_for_by_network_by_host_or_by_port() {
    let packets = [
        udp((HEAD_HOST, 1000), (BRANCH_HOST, 53), b"x"),
        udp((HEAD_HOST, 1001), (BRANCH_HOST, 53), b"x"),
        tcp((HEAD_HOST, 1000), (BRANCH_HOST, 53), tcp::SYN, 1, 0),
        ping(HEAD_HOST, BRANCH_HOST, 8),
        icmp::echo_request(ip(HEAD_HOST), ip(BRANCH_HOST), 99, 1, b"x").unwrap(),
        udp((HEAD_HOST, 1000), ("192.168.11.77", 53), b"x"),
        udp(("172.16.1.77", 1000), (BRANCH_HOST, 53), b"x"),
    ];
    for (granularity, asked) in [
        (SaPer::Net, vec![true, false, false, false, false, false, false]),
        (SaPer::Host, vec![true, false, false, false, false, true, true]),
        (SaPer::Port, vec![true, true, true, true, false, true, true]),
    ] {
        let mut lab = Lab::new();
        per(&mut lab, granularity);
        let raised: Vec<Vec<Exception>> = packets.iter().map(|packet| exceptions(&lab.head_plain(packet))).collect();
        assert_eq!(raised.iter().map(|one| one.len() == 1).collect::<Vec<_>>(), asked, "{granularity:?}");
        let first = Exception::Acquire {
            tunnel: TUNNEL,
            source: (ip(HEAD_HOST), 1000),
            destination: (ip(BRANCH_HOST), 53),
            protocol: 17,
        };
        assert_eq!(raised[0], [first]);
        for exception in raised.concat() {
            let Exception::Acquire { source, destination, protocol, .. } = exception else { panic!("{exception:?}") };
            assert!(protocol != 1 || (source.1, destination.1) == (0, 0), "an echo has no ports");
        }
    }
}

#[test]
pub(super) fn no_more_hosts_are_asked_for_at_a_time_than_may_be() {
    let mut lab = Lab::new();
    per(&mut lab, SaPer::Port);
    let watch = Watch::over(&lab.head);
    let most = waiting::ASKED_PER_TUNNEL_MAX as u16;
    let mut asked = 0;
    for number in 0..most + 3 {
        let out = lab.head_plain(&udp((HEAD_HOST, 1000 + number), (BRANCH_HOST, 53), b"x"));
        asked += exceptions(&out).len();
    }
    assert_eq!(asked, usize::from(most));
    watch.only(&lab.head, &[(Reason::WaitingFull, u64::from(most) - 64), (Reason::AskedLimit, 3)]);
}

#[test]
fn a_packet_gets_the_narrowest_sa_that_fits_and_falls_back_when_it_ends() {
    let mut lab = Lab::new();
    install(&mut lab, 4, &[port(HEAD_HOST, 17, 1000, 1000)], &[port(BRANCH_HOST, 17, 53, 53)]);
    install(&mut lab, 3, &[port(HEAD_HOST, 17, 0, 65_535)], &[port(BRANCH_HOST, 17, 0, 65_535)]);
    install(&mut lab, 2, &[host(HEAD_HOST)], &[host(BRANCH_HOST)]);
    install(&mut lab, 1, &[host("172.16.1.0/24")], &[host("192.168.11.0/24")]);
    let dns = udp((HEAD_HOST, 1000), (BRANCH_HOST, 53), b"x");
    let expect = |lab: &mut Lab, packet: &[u8], number: u32| {
        for _ in 0..2 {
            let sent = lab.head_plain(packet);
            assert_eq!(spi(&sent), Some(number));
            assert_eq!(plain(&lab.at_branch(&sent)).len(), 1);
        }
    };
    expect(&mut lab, &dns, 4);
    expect(&mut lab, &udp((HEAD_HOST, 1000), (BRANCH_HOST, 54), b"x"), 3);
    expect(&mut lab, &ping(HEAD_HOST, BRANCH_HOST, 8), 2);
    expect(&mut lab, &ping(HEAD_HOST, "192.168.11.77", 8), 1);
    for (gone, next) in [(4, 3), (3, 2), (2, 1)] {
        let stop = if gone == 3 { Control::StopSending } else { Control::Remove };
        lab.head.control(lab.now, stop(SaId(1_000 + gone)), &mut Vec::new()).unwrap();
        expect(&mut lab, &dns, next);
    }
    // And the narrow one is taken again once it is there again, by connections that have chosen another.
    lab.branch.control(lab.now, Control::Remove(SaId(1_004)), &mut Vec::new()).unwrap();
    install(&mut lab, 4, &[port(HEAD_HOST, 17, 1000, 1000)], &[port(BRANCH_HOST, 17, 53, 53)]);
    expect(&mut lab, &dns, 4);
}

#[test]
fn each_of_many_hosts_has_its_own_sa() {
    let mut lab = Lab::new();
    let there = |number: u32| format!("192.168.11.{}", number % 200 + 10);
    let here = |number: u32| format!("172.16.1.{}", number / 200 + 10);
    for number in 0..2_000 {
        install(&mut lab, number, &[host(&here(number))], &[host(&there(number))]);
    }
    assert_eq!((lab.head.sas.len(), lab.branch.sas.len()), (2_000, 2_000));
    for number in (0..2_000).step_by(7) {
        lab.now += Duration::from_secs(1);
        let sent = lab.head_plain(&udp((&here(number), 1), (&there(number), 2), b"x"));
        assert_eq!(spi(&sent), Some(number));
        assert_eq!(plain(&lab.at_branch(&sent)).len(), 1);
    }
    for number in 0..2_000 {
        lab.head.control(lab.now, Control::Remove(SaId(1_000 + number)), &mut Vec::new()).unwrap();
    }
    assert_eq!(lab.head.sas.len(), 0);
    assert_eq!(spi(&lab.head_plain(&udp((&here(7), 1), (&there(7), 2), b"x"))), None);
}

#[test]
fn selectors_with_ports_hold_in_both_directions() {
    let mut lab = Lab::new();
    // What the head office's hosts ask of the branch's web servers, and the answers.
    let local = [port("172.16.1.0/24", 6, 0, 65_535)];
    let remote = [port("192.168.11.0/24", 6, 80, 88)];
    install(&mut lab, 1, &local, &remote);
    let ask = |port| tcp((HEAD_HOST, 4000), (BRANCH_HOST, port), tcp::SYN, 1, 0);
    for port in [80, 84, 88] {
        let sent = lab.head_plain(&ask(port));
        assert_eq!(plain(&lab.at_branch(&sent)).len(), 1);
        let back = lab.branch_plain(&tcp((BRANCH_HOST, port), (HEAD_HOST, 4000), tcp::SYN | tcp::ACK, 1, 2));
        assert_eq!(plain(&lab.at_head(&back)).len(), 1);
    }
    for outside in [ask(79), ask(89), udp((HEAD_HOST, 4000), (BRANCH_HOST, 80), b"x"), ping(HEAD_HOST, BRANCH_HOST, 8)]
    {
        assert_eq!(sealed(&lab.head_plain(&outside)), 0);
    }
    // A peer that seals them all the same is refused: ports and protocol, source and destination.
    let slot = lab.branch.sas.by_spi(0x2_0001).unwrap();
    let forged = [
        tcp((BRANCH_HOST, 79), (HEAD_HOST, 4000), tcp::SYN, 1, 0),
        udp((BRANCH_HOST, 80), (HEAD_HOST, 4000), b"x"),
        tcp(("192.168.12.1", 80), (HEAD_HOST, 4000), tcp::SYN, 1, 0),
        tcp((BRANCH_HOST, 80), ("172.16.2.1", 4000), tcp::SYN, 1, 0),
    ];
    for (count, inner) in forged.iter().enumerate() {
        let watch = Watch::over(&lab.head);
        let padding = wire::esp::padding(inner.len(), 4);
        let mut text = inner.clone();
        text.resize(inner.len() + padding + 2, 0);
        wire::esp::write_trailer(&mut text[inner.len()..], 4);
        let bytes = lab.branch.sas.get(slot).unwrap().sa.seal_text(&text);
        let mut out = Vec::new();
        lab.head.esp(lab.now, GCM.outer(true), 0, Buffer::copy(&bytes), &mut out);
        watch.only(&lab.head, &[(Reason::InnerAddress, 1)]);
        assert!(plain(&out).is_empty(), "{count}");
    }
}

#[test]
fn selectors_of_icmp_hold_type_and_code() {
    let mut lab = Lab::new();
    let echo = |net, kind: u16| port(net, 1, kind << 8, kind << 8 | 0xff);
    install(&mut lab, 1, &[echo("172.16.1.0/24", 8)], &[echo("192.168.11.0/24", 8)]);
    let request = ping(HEAD_HOST, BRANCH_HOST, 8);
    let sent = lab.head_plain(&request);
    assert_eq!(plain(&lab.at_branch(&sent)).len(), 1);
    assert_eq!(sealed(&lab.branch_plain(&pong(&request))), 0, "the reply is of another type");
    install(&mut lab, 2, &[echo("172.16.1.0/24", 0)], &[echo("192.168.11.0/24", 0)]);
    lab.now = at(3);
    let back = lab.branch_plain(&pong(&request));
    assert!(!plain(&lab.at_head(&back)).is_empty());
}
