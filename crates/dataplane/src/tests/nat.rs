//! Connections whose addresses are others on the other side.

use super::firewall::*;
use super::*;
use crate::inspect::Key;

fn out_by(source: SourceTranslation) -> Rule {
    Rule { source, ..rule("out", &[LAN], &[WAN], RuleAction::Allow) }
}

fn web() -> Rule {
    Rule {
        destination_networks: vec![range(PUBLIC)],
        services: vec![tcp_service(80)],
        destination: DestinationTranslation::Static {
            address: Some(AddressMap::Single(ip(SERVER))),
            port: Some(PortMap::Single(8080)),
        },
        ..rule("web", &[WAN, LAN], &[CORE], RuleAction::Allow)
    }
}

#[test]
fn many_hosts_share_the_address_of_the_interface_and_answers_find_them() {
    let mut firewall = Firewall::new(vec![out_by(SourceTranslation::Interface)]);
    let mut seen = Vec::new();
    for host in [INSIDE, "10.0.0.11"] {
        let question = udp((host, 4000), (STRANGER, 53), b"question");
        let (interface, hop, sent) = firewall.passes(LAN, &question);
        assert_eq!((interface, hop), (WAN, ip(NEXT_HOP)));
        let (from, to) = ends(&sent);
        assert!(from.starts_with("198.51.100.1:") && to == "203.0.113.9:53", "{from} {to}");
        assert!(!seen.contains(&from), "each has a port of its own");
        let port = key(&sent).ports.0;
        let (interface, hop, back) = firewall.passes(WAN, &udp((STRANGER, 53), (PUBLIC, port), b"answer"));
        assert_eq!((interface, hop, ends(&back)), (LAN, ip(host), ("203.0.113.9:53".into(), format!("{host}:4000"))));
        seen.push(from);
    }
    let listed = firewall.gateway.connections(firewall.now).next().unwrap();
    assert_eq!(listed.source.translated, Some((ip(PUBLIC), 4000)));
    assert_eq!((listed.destination.translated, &*listed.destination.interface), (None, "wan"));
}

#[test]
fn the_log_tells_both_sides_of_a_translated_connection() {
    let mut firewall = Firewall::new(vec![out_by(SourceTranslation::Address(ip("198.51.100.7")))]);
    let out = firewall.receive(LAN, &tcp((INSIDE, 4000), (STRANGER, 80), tcp::SYN, 1, 0));
    assert_eq!(
        lines(&out).concat(),
        "rev=1 event=conn_open_natsat action=none rule=out conn=open connipproto=TCP connrecvif=lan \
         connsrcip=10.0.0.10 connsrcport=4000 conndestif=wan conndestip=203.0.113.9 conndestport=80 \
         connnewsrcip=198.51.100.7 connnewsrcport=4000 connnewdestip=203.0.113.9 connnewdestport=80"
    );
    assert_eq!(firewall.gateway.close_connections(|_| true), 1);
    let mut out = Vec::new();
    firewall.gateway.expire(firewall.now, &mut out);
    assert!(lines(&out).concat().contains("event=conn_close_natsat action=close rule=out conn=close "));
}

#[test]
fn auto_translates_private_sources_towards_public_destinations_only() {
    let mut firewall =
        Firewall::new(vec![Rule { destination_interfaces: Some(vec![WAN, DMZ]), ..out_by(SourceTranslation::Auto) }]);
    let (_, _, sent) = firewall.passes(LAN, &ping(INSIDE, STRANGER, 8));
    assert_eq!(key(&sent).source, ip(PUBLIC));
    let (interface, _, sent) = firewall.passes(LAN, &ping(INSIDE, SERVER, 8));
    assert_eq!((interface, key(&sent).source), (DMZ, ip(INSIDE)));
    let (_, _, sent) = firewall.passes(LAN, &ping("2001:db8::10", "2001:db8:77::1", 8));
    assert_eq!(key_of(&sent).source, ip("2001:db8::10"), "IPv6 needs none");
}

#[test]
fn a_server_behind_the_gateway_is_reached_at_the_public_address() {
    let mut firewall = Firewall::new(vec![web()]);
    let syn = tcp((STRANGER, 4000), (PUBLIC, 80), tcp::SYN, 1, 0);
    let (interface, hop, sent) = firewall.passes(WAN, &syn);
    assert_eq!((interface, hop), (DMZ, ip(SERVER)));
    assert_eq!(ends(&sent), ("203.0.113.9:4000".into(), "10.0.1.5:8080".into()));
    let (interface, hop, back) =
        firewall.passes(DMZ, &tcp((SERVER, 8080), (STRANGER, 4000), tcp::SYN | tcp::ACK, 9, 2));
    assert_eq!((interface, hop), (WAN, ip(NEXT_HOP)));
    assert_eq!(ends(&back), ("198.51.100.1:80".into(), "203.0.113.9:4000".into()));
    let listed = firewall.gateway.connections(firewall.now).next().unwrap();
    assert_eq!(listed.destination.translated, Some((ip(SERVER), 8080)));
}

#[test]
fn hosts_inside_reach_an_inside_server_at_the_public_address() {
    for source in [SourceTranslation::Auto, SourceTranslation::Interface] {
        let back_inside =
            DestinationTranslation::Static { address: Some(AddressMap::Single(ip("10.0.0.80"))), port: None };
        let mut firewall = Firewall::new(vec![Rule { source, destination: back_inside, ..web() }]);
        let (interface, hop, sent) = firewall.passes(LAN, &tcp((INSIDE, 4000), (PUBLIC, 80), tcp::SYN, 1, 0));
        assert_eq!((interface, hop, key(&sent).source), (LAN, ip("10.0.0.80"), ip("10.0.0.1")));
        let port = key(&sent).ports.0;
        let answer = tcp(("10.0.0.80", 80), ("10.0.0.1", port), tcp::SYN | tcp::ACK, 9, 2);
        let (interface, hop, back) = firewall.passes(LAN, &answer);
        assert_eq!((interface, hop, ends(&back).0), (LAN, ip(INSIDE), "198.51.100.1:80".into()));
    }
}

#[test]
fn an_error_about_a_translated_packet_reaches_its_sender_in_its_own_words() {
    let mut firewall = Firewall::new(vec![out_by(SourceTranslation::Address(ip("198.51.100.7")))]);
    let question = udp((INSIDE, 4000), (STRANGER, 53), b"question");
    let (_, _, sent) = firewall.passes(LAN, &question);
    let error = icmp::error_packet(icmp::Problem::TimeExceeded, ip("192.0.2.77"), ip("198.51.100.7"), &sent).unwrap();
    firewall.drops(WAN2, &error, Reason::UnrelatedIcmpError, &[]);
    let router = icmp::error_packet(icmp::Problem::TimeExceeded, ip(STRANGER), ip("198.51.100.7"), &sent).unwrap();
    let (interface, hop, back) = firewall.passes(WAN, &router);
    assert_eq!((interface, hop, key(&back).destination), (LAN, ip(INSIDE), ip(INSIDE)));
    let quoted = Key::of_quotation(icmp::quotation(key_of(&back).payload_of(&back))).unwrap();
    assert_eq!((quoted.source, quoted.ports), (ip(INSIDE), (4000, 53)));
    firewall.drops(WAN, &changed(router, |packet| packet[20 + 8 + 20 + 3] ^= 1), Reason::UnrelatedIcmpError, &[]);
}

#[test]
fn whoever_sends_too_much_is_told_about_the_packet_that_he_sent() {
    let mut policy = Policy { rules: vec![out_by(SourceTranslation::Interface)], ..bare() };
    policy.interfaces[3].mtu = 1000;
    let mut firewall = Firewall::with(policy);
    let big = changed(udp((INSIDE, 4000), (STRANGER, 53), &pattern(1200)), |packet| packet[6] = 0x40);
    let out = firewall.drops(LAN, &big, Reason::TooBig, &["conn_open_natsat out"]);
    let [(interface, hop, error)] = &links(&out)[..] else { panic!("{out:?}") };
    assert_eq!((*interface, *hop, key_of(error).source), (LAN, ip(INSIDE), ip("10.0.0.1")));
    let quoted = Key::of_quotation(icmp::quotation(key_of(error).payload_of(error))).unwrap();
    assert_eq!((quoted.source, quoted.ports), (ip(INSIDE), (4000, 53)));
}

#[test]
pub(super) fn a_translation_that_cannot_be_had_is_refused() {
    let mut firewall = Firewall::new(vec![
        Rule { services: vec![tcp_service(25)], ..out_by(SourceTranslation::Address(ip("2001:db8:f::7"))) },
        Rule { services: vec![Service::Protocol(47..=47)], ..out_by(SourceTranslation::Interface) },
    ]);
    let mail = tcp((INSIDE, 4000), (STRANGER, 25), tcp::SYN, 1, 0);
    firewall.drops(LAN, &mail, Reason::NatNoAddress, &["nat_failed"]);
    let gre = |host| icmp::ip_packet(ip(host), ip(STRANGER), 47, b"gre").unwrap();
    firewall.passes(LAN, &gre(INSIDE));
    firewall.drops(LAN, &gre("10.0.0.11"), Reason::NatTaken, &["nat_failed"]);
}

#[test]
pub(super) fn a_pool_whose_ports_are_used_up_refuses_and_gets_its_addresses_back() {
    let pool = NatPool { name: "pool".into(), ranges: vec![range("198.51.100.20")], kind: NatPoolKind::Stateful };
    let mut policy = Policy { rules: vec![out_by(SourceTranslation::Pool(Arc::new(pool)))], ..bare() };
    policy.settings.connections_max = 100_000;
    policy.rules[0].log = None;
    let mut firewall = Firewall::with(policy);
    let from = |host: u16, port| udp((&format!("10.0.0.{host}"), port), (STRANGER, 53), b"x");
    for port in 1024..=u16::MAX {
        firewall.receive(LAN, &from(10, port));
    }
    assert_eq!(firewall.gateway.connections(firewall.now).count(), 64_512);
    firewall.drops(LAN, &from(11, 5000), Reason::NatPortsExhausted, &["nat_failed"]);
    firewall.gateway.close_connections(|connection| connection.source.port == 7000);
    let (_, _, sent) = firewall.passes(LAN, &from(11, 7000));
    assert_eq!(ends(&sent).0, "198.51.100.20:7000");
}

#[test]
fn the_ports_of_ike_are_not_given_to_anybody() {
    let mut firewall = Firewall::new(vec![out_by(SourceTranslation::Interface)]);
    let (_, _, sent) = firewall.passes(LAN, &udp((INSIDE, 500), (STRANGER, 500), b"ike"));
    assert_ne!(key(&sent).ports.0, 500);
}

#[test]
fn a_translated_connection_is_kept_by_a_policy_that_translates_it_the_same_and_ended_by_another() {
    let kept = |after: SourceTranslation| {
        let mut firewall = Firewall::new(vec![out_by(SourceTranslation::Interface)]);
        firewall.passes(LAN, &udp((INSIDE, 4000), (STRANGER, 53), b"x"));
        firewall.replace(Policy { rules: vec![out_by(after)], ..bare() });
        let listed = firewall.gateway.connections(firewall.now).count();
        let out = firewall.receive(WAN, &udp((STRANGER, 53), (PUBLIC, 4000), b"x"));
        assert_eq!(links(&out).len(), listed);
        listed == 1
    };
    assert!(kept(SourceTranslation::Interface) && kept(SourceTranslation::Address(ip(PUBLIC))));
    assert!(kept(SourceTranslation::Auto));
    assert!(!kept(SourceTranslation::None) && !kept(SourceTranslation::Address(ip("198.51.100.7"))));
}

#[test]
fn into_a_tunnel_the_originator_address_stands_for_all_hosts() {
    let mut lab = Lab::up(GCM);
    let mut translating = policy(&HEAD);
    let other = ["10.7.7.0/24"].map(|network| Route::new(network.parse().unwrap(), LAN, 100));
    translating.tables[0].routes.extend(other);
    translating.rules[2].source = SourceTranslation::Interface;
    lab.head.control(lab.now, Control::Replace(Arc::new(translating.clone())), &mut Vec::new()).unwrap();
    // Its own address is none of the tunnel's networks, its translated one is.
    let request = ping("10.7.7.7", BRANCH_HOST, 8);
    let sent = lab.head_plain(&request);
    let arrived = plain(&lab.at_branch(&sent));
    assert_eq!(key_of(&arrived[0]).source, ip(HEAD.own[0]));
    let sent = lab.branch_plain(&pong(&arrived[0]));
    let back = plain(&lab.at_head(&sent));
    assert_eq!(key_of(&back[0]).destination, ip("10.7.7.7"));
    // And one translated out of the networks is none.
    translating.rules[2].source = SourceTranslation::Address(ip("10.9.9.9"));
    lab.head.control(lab.now, Control::Replace(Arc::new(translating)), &mut Vec::new()).unwrap();
    let watch = Watch::over(&lab.head);
    lab.head_plain(&ping(HEAD_HOST, BRANCH_HOST, 8));
    watch.only(&lab.head, &[(Reason::OutsideTunnel, 1)]);
}

#[test]
fn what_waits_for_a_tunnel_is_translated_once_also_when_it_is_judged_again() {
    let mut lab = Lab::new();
    let mut translating = policy(&HEAD);
    translating.rules[2].source = SourceTranslation::Interface;
    let translating = Arc::new(translating);
    lab.head.control(lab.now, Control::Replace(translating.clone()), &mut Vec::new()).unwrap();
    lab.head_plain(&udp((HEAD_HOST, 4000), (BRANCH_HOST, 53), b"x"));
    lab.head.control(lab.now, Control::Replace(translating), &mut Vec::new()).unwrap();
    let sent = GCM.install(true, &mut lab.head, lab.now);
    GCM.install(false, &mut lab.branch, lab.now);
    let arrived = plain(&lab.at_branch(&sent));
    assert_eq!(ends(&arrived[0]), ("172.16.1.1:4000".into(), "192.168.11.10:53".into()));
    assert_eq!(lab.head.connections(lab.now).count(), 1);
}
