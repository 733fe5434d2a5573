//! What attackers send: nothing of it passes, and nothing grows without bound. Each with its counters, and with the sizes of
//! all tables before and after.

use super::fragments::nested;
use super::selectors::install;
use super::*;

/// Sizes of all tables: connections, unfinished packets and their bytes, SAs, what is due.
fn sizes(dataplane: &Dataplane, now: Instant) -> (usize, (usize, usize), usize, Option<Instant>) {
    let deadline = dataplane.next_deadline();
    (dataplane.connections(now).count(), dataplane.fragments.held(), dataplane.sas.len(), deadline)
}

/// Packets at the host port: each is dropped for this reason, none passes, nothing is kept.
#[track_caller]
fn nothing_passes(packets: &[Vec<u8>], reason: Reason) {
    let mut lab = Lab::up(GCM);
    let before = sizes(&lab.head, lab.now);
    let watch = Watch::over(&lab.head);
    for packet in packets {
        lab.now += Duration::from_micros(1);
        let out = lab.head_plain(packet);
        let answers = plain(&out).len() + local(&out).len() + sealed(&out);
        assert_eq!(answers, 0, "{:?}", key_of(packet));
    }
    watch.only(&lab.head, &[(reason, packets.len() as u64)]);
    let (connections, fragments, sas, _) = sizes(&lab.head, lab.now);
    assert_eq!((connections, fragments, sas), (before.0, before.1, before.2));
}

/// What the branch office's peer seals, at the head office.
#[track_caller]
fn nothing_passes_sealed(inner: &[(Vec<u8>, u8)], reason: Reason) {
    let mut lab = Lab::up(GCM);
    let slot = lab.branch.sas.by_spi(0x2001).unwrap();
    let watch = Watch::over(&lab.head);
    for (packet, next_header) in inner {
        let padding = wire::esp::padding(packet.len(), 4);
        let mut text = packet.clone();
        text.resize(packet.len() + padding + 2, 0);
        wire::esp::write_trailer(&mut text[packet.len()..], *next_header);
        let bytes = lab.branch.sas.get(slot).unwrap().sa.seal_text(&text);
        let mut out = Vec::new();
        lab.head.esp(lab.now, GCM.outer(true), 0, Buffer::copy(&bytes), &mut out);
        assert_eq!(plain(&out).len() + local(&out).len() + sealed(&out), 0);
    }
    watch.only(&lab.head, &[(reason, inner.len() as u64)]);
    let (connections, fragments, sas, _) = sizes(&lab.head, lab.now);
    assert_eq!((connections, fragments, sas), (0, (0, 0), 1));
}

#[test]
fn land() {
    let packets: Vec<Vec<u8>> = [HEAD_HOST, BRANCH_HOST, HEAD.own[0], HEAD.wan, HEAD_HOST_V6, HEAD.own[1]]
        .iter()
        .flat_map(|address| {
            [tcp((address, 139), (address, 139), tcp::SYN, 1, 0), udp((address, 7), (address, 7), b"echo")]
        })
        .collect();
    nothing_passes(&packets, Reason::ImpossibleSource);
    let selves = udp((HEAD_HOST, 7), (HEAD_HOST, 7), b"echo");
    nothing_passes_sealed(&[(selves, 4)], Reason::InnerAddress);
}

#[test]
fn land_between_two_addresses_of_the_gateway() {
    let packets = [udp((HEAD.wan, 7), (HEAD.own[0], 7), b"x"), ping(HEAD.own[0], HEAD.wan, 8)];
    nothing_passes(&packets, Reason::ImpossibleSource);
}

#[test]
fn spoofed_sources_inside_the_tunnel() {
    let v4 = [HEAD_HOST, HEAD.own[0], "8.8.8.8", "10.99.0.1", HEAD.wan];
    let inner: Vec<_> = v4.iter().map(|source| (ping(source, HEAD_HOST, 8), 4)).collect();
    nothing_passes_sealed(&inner, Reason::InnerAddress);
    let v6 = [HEAD_HOST_V6, HEAD.own[1], "2001:db8:3::1"];
    let inner: Vec<_> = v6.iter().map(|source| (ping(source, HEAD_HOST_V6, 8), 41)).collect();
    nothing_passes_sealed(&inner, Reason::InnerAddress);
    let elsewhere = ["8.8.8.8", "10.99.0.1", HEAD.wan, BRANCH_HOST];
    let inner: Vec<_> = elsewhere.iter().map(|to| (ping("192.168.11.9", to, 8), 4)).collect();
    nothing_passes_sealed(&inner, Reason::InnerAddress);
}

#[test]
fn spoofed_sources_within_selectors_that_allow_everything() {
    // The SA allows all, so the access check must not: the route back to the source does not lead into the tunnel.
    let mut lab = Lab::new();
    install(&mut lab, 1, &[Selector::all(IpRange::ALL_V4)], &[Selector::all(IpRange::ALL_V4)]);
    let slot = lab.branch.sas.by_spi(0x2_0001).unwrap();
    let watch = Watch::over(&lab.head);
    let sources = [HEAD_HOST, "8.8.8.8", "203.0.113.99"];
    for source in sources {
        let mut text = ping(source, HEAD_HOST, 8);
        text.extend([1, 2, 2, 4]);
        let bytes = lab.branch.sas.get(slot).unwrap().sa.seal_text(&text);
        let mut out = Vec::new();
        lab.head.esp(lab.now, GCM.outer(true), 0, Buffer::copy(&bytes), &mut out);
        assert_eq!((plain(&out).len(), local(&out).len()), (0, 0));
    }
    watch.only(&lab.head, &[(Reason::ImpossibleSource, 1), (Reason::DefaultAccessRule, 2)]);
    assert_eq!(sizes(&lab.head, lab.now).0, 0);
}

#[test]
fn sources_at_the_host_port_that_belong_into_the_tunnel() {
    let packets: Vec<_> = (1..200)
        .filter(|host| *host != 10)
        .map(|host| ping(&format!("192.168.11.{host}"), HEAD_HOST, 8))
        .filter(|packet| packet[15] != 1)
        .collect();
    nothing_passes(&packets, Reason::DefaultAccessRule);
}

#[test]
fn chains_of_extension_headers() {
    let packet = udp((HEAD_HOST_V6, 1), (BRANCH_HOST_V6, 2), b"data");
    // Destination options, one behind the other: more than any node needs.
    let chain = |count: usize| {
        let mut long = packet[..40].to_vec();
        for index in 0..count {
            long.extend([if index + 1 < count { 60 } else { 17 }, 0, 1, 4, 0, 0, 0, 0]);
        }
        long.extend(&packet[40..]);
        long[6] = 60;
        let len = long.len() - 40;
        wire::ipv6::set_payload_length(&mut long, len);
        long
    };
    let most = wire::ipv6::EXTENSIONS_MAX;
    nothing_passes(&[chain(most + 1), chain(most + 2), chain(150), nested(&packet, 2), nested(&packet, 100)], {
        Reason::MalformedIp
    });
    let inner = [(chain(most + 1), 41), (chain(120), 41)];
    nothing_passes_sealed(&inner, Reason::InnerMalformed);
    let mut lab = Lab::up(GCM);
    assert_eq!(sealed(&lab.head_plain(&chain(most))), 1, "as many as there may be");
    // Source routing, hop-by-hop options in the second place, and a chain that ends outside of the packet.
    let mut routing = chain(1);
    routing[6] = 43;
    routing[42] = 0;
    let mut late = chain(2);
    late[40] = 0;
    let mut outside = chain(1);
    outside[41] = 200;
    nothing_passes(&[routing, late, outside], Reason::MalformedIp);
}

#[test]
fn replays_of_every_age() {
    let mut lab = Lab::up(GCM);
    let mut seen = Vec::new();
    for _ in 0..200 {
        let sent = lab.head_plain(&udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"x"));
        assert_eq!(plain(&lab.at_branch(&sent)).len(), 1);
        seen.extend(sent);
    }
    let before = sizes(&lab.branch, lab.now);
    let usage = lab.branch.usage(SaId(1)).unwrap();
    let watch = Watch::over(&lab.branch);
    for _ in 0..3 {
        assert_eq!(plain(&lab.at_branch(&seen)).len(), 0);
    }
    let replays = seen.iter().filter(|output| matches!(output, Output::Outer { .. })).count() as u64 * 3;
    watch.only(&lab.branch, &[(Reason::Replayed, replays)]);
    assert_eq!(sizes(&lab.branch, lab.now).0, before.0);
    assert_eq!(lab.branch.usage(SaId(1)).unwrap(), usage);
}

#[test]
fn a_sequence_number_that_would_wrap() {
    let mut lab = Lab::up(GCM);
    let slot = lab.head.sas.by_spi(0x1001).unwrap();
    lab.head.sas.get(slot).unwrap().sa.pretend_sent(u64::from(u32::MAX));
    let watch = Watch::over(&lab.head);
    let packet = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"x");
    for _ in 0..3 {
        assert_eq!(sealed(&lab.head_plain(&packet)), 0);
    }
    // The first finds no number; from then on the SA is no choice, and the others wait for one that is.
    watch.only(&lab.head, &[(Reason::NotSealed, 1)]);
    // The other direction: the last number passes once, and what follows would be the first again.
    let mut lab = Lab::up(GCM);
    let slot = lab.head.sas.by_spi(0x1001).unwrap();
    let first = lab.head_plain(&packet);
    lab.head.sas.get(slot).unwrap().sa.pretend_sent(u64::from(u32::MAX) - 1);
    let last = lab.head_plain(&packet);
    assert_eq!((plain(&lab.at_branch(&last)).len(), plain(&lab.at_branch(&first)).len()), (1, 0));
    assert_eq!(lab.branch.counters().drops(Reason::Replayed), 1);
}

#[test]
fn a_flood_of_unknown_spis() {
    let mut lab = Lab::up(GCM);
    let (mut told, mut out) = (0, Vec::new());
    for number in 0..20_000_u32 {
        let remote = std::net::Ipv4Addr::from_bits(0xc000_0200 + number);
        let outer = Outer { remote: (remote, 4500).into(), ..GCM.outer(true) };
        let bytes = [&(0x9000_0000 + number).to_be_bytes()[..], &[0; 60]].concat();
        out.clear();
        lab.head.esp(lab.now, outer, 0, Buffer::copy(&bytes), &mut out);
        told += exceptions(&out).len();
    }
    assert_eq!(lab.head.counters().drops(Reason::UnknownSpi), 20_000);
    assert!((100..=256).contains(&told), "{told}");
    assert_eq!(sizes(&lab.head, lab.now).0, 0);
}

#[test]
fn a_flood_of_fragments_costs_what_its_bounds_say() {
    let mut lab = Lab::up(GCM);
    let before = lab.head.fragments.held();
    // Beginnings, ends, overlaps, from everywhere, with every identification.
    for number in 0..30_000_u32 {
        let source = std::net::Ipv4Addr::from_bits(0xcb00_7100 + number % 251);
        let piece = changed(udp((&source.to_string(), 1), (HEAD_HOST, 2), &pattern(1200)), |packet| {
            packet[4..6].copy_from_slice(&((number / 3) as u16).to_be_bytes());
            packet[6..8].copy_from_slice(&(0x2000 | ((number * 151) % 0x1000) as u16 & 0xfff8).to_be_bytes());
        });
        let out = lab.head_plain(&piece);
        assert_eq!(plain(&out).len() + sealed(&out), 0);
    }
    let (packets, bytes) = lab.head.fragments.held();
    assert!(packets <= fragments_max() && bytes <= crate::fragments::BYTES_MAX, "{packets} {bytes}");
    lab.now += crate::fragments::TIME_MAX;
    while lab.head.next_deadline().is_some_and(|at| at <= lab.now) {
        lab.head.expire(lab.now, &mut Vec::new());
        lab.now += Duration::from_millis(2);
    }
    assert_eq!(lab.head.fragments.held(), before, "and all of it is given back");
}

fn fragments_max() -> usize {
    crate::fragments::PACKETS_MAX
}

#[test]
fn no_packet_becomes_many() {
    // What comes in by one packet leaves by one; what was put together leaves in no more pieces than a path of the least
    // length needs; an answer is no longer than what it answers but for its own headers.
    let mut lab = Lab::up(GCM);
    for len in [0, 8, 500, 1300] {
        for packet in [ping(HEAD_HOST, BRANCH_HOST, len), ping(HEAD_HOST, BRANCH.own[0], len)] {
            let sent = lab.head_plain(&packet);
            let arrived = lab.at_branch(&sent);
            assert_eq!(sealed(&sent), 1);
            assert_eq!(plain(&arrived).len() + sealed(&arrived), 1);
        }
    }
    let long = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(65_507));
    let sent = lab.head_plain(&long);
    assert!(sealed(&sent) <= 65_535_usize.div_ceil(1_400 - 20), "{}", sealed(&sent));
    let watch = Watch::over(&lab.head);
    let whole = changed(long, |packet| packet[6] = 0x40);
    let told = plain(&lab.head_plain(&whole));
    assert!(told.len() == 1 && told[0].len() <= 576);
    watch.only(&lab.head, &[(Reason::TooBig, 1)]);
    // Nothing an attacker compresses is ever unpacked: the next header of IPComp is no IP packet.
    nothing_passes_sealed(&[(vec![4, 0, 0, 2, 0x63, 0], 108)], Reason::NextHeader);
}

#[test]
fn an_ipv4_address_dressed_as_ipv6() {
    let to = |from: &str, to: &str| {
        changed(ping("2001:db8:1::10", "2001:db8:2::10", 8), |packet| {
            for (at, address) in [(8, ip(from)), (24, ip(to))] {
                let IpAddr::V6(address) = address else { panic!("{address}") };
                packet[at..at + 16].copy_from_slice(&address.octets());
            }
        })
    };
    nothing_passes(
        &[
            to("::ffff:127.0.0.1", BRANCH_HOST_V6),
            to("::ffff:172.16.1.10", BRANCH_HOST_V6),
            to(HEAD_HOST_V6, "::ffff:192.168.11.10"),
        ],
        Reason::ImpossibleSource,
    );
}

#[test]
fn one_packet_to_all_hosts_of_a_network_or_from_all() {
    use super::firewall::{Firewall, INSIDE, STRANGER};
    let mut firewall = Firewall::new(vec![Rule { log: None, ..Rule::new("all", RuleAction::Allow) }]);
    firewall.drops(WAN, &ping(STRANGER, "10.0.0.255", 8), Reason::NotUnicast, &[]);
    firewall.drops(LAN, &ping("10.0.0.255", STRANGER, 8), Reason::ImpossibleSource, &["impossible_source"]);
    firewall.drops(LAN, &ping("10.0.0.255", "10.0.0.1", 8), Reason::ImpossibleSource, &["impossible_source"]);
    firewall.passes(WAN, &ping(STRANGER, INSIDE, 8));
    firewall.passes(LAN, &ping(INSIDE, "203.0.113.255", 8));
}

#[test]
fn a_flood_of_connections_that_nobody_answers_ends_none_that_somebody_has() {
    use super::firewall::{Firewall, INSIDE, SERVER, bare};
    let settings = Settings { connections_max: 40, when_full: WhenFull::Replace, ..settings() };
    let rules = vec![Rule { log: None, ..Rule::new("all", RuleAction::Allow) }];
    let mut firewall = Firewall::with(Policy { rules, settings, ..bare() });
    for port in 1..=30 {
        let (client, server) = ((INSIDE, port), (SERVER, 80));
        firewall.passes(LAN, &tcp(client, server, tcp::SYN, 100, 0));
        firewall.passes(firewall::DMZ, &tcp(server, client, tcp::SYN | tcp::ACK, 500, 101));
        firewall.passes(LAN, &tcp(client, server, tcp::ACK, 101, 501));
    }
    firewall.now = at(3000);
    for number in 0..500_u16 {
        let from = format!("203.0.{}.{}", number / 250 + 1, number % 250 + 1);
        firewall.passes(WAN, &tcp((&from, 1000), (SERVER, 80), tcp::SYN, 1, 0));
        firewall.passes(WAN, &udp((&from, 1000), (SERVER, 53), b"x"));
    }
    let open = firewall.gateway.connections(firewall.now).filter(|flow| flow.state == "TCP_OPEN").count();
    assert_eq!(open, 30);
}
