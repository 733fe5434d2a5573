use std::ops::RangeInclusive;

use base::Random;
use proptest::prelude::*;

use super::*;
use crate::RuleAction;

fn linear<R: Conditional>(rules: &[R], question: &Question) -> Option<usize> {
    rules.iter().position(|rule| rule.conditions().hold(question))
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn network(text: &str) -> IpRange {
    let (address, prefix) = text.split_once('/').unwrap();
    IpRange::network(address.parse().unwrap(), prefix.parse().unwrap()).unwrap()
}

fn rule(source: &[&str], destination: &[&str], services: &[Service]) -> Rule {
    Rule {
        source_networks: source.iter().map(|text| network(text)).collect(),
        destination_networks: destination.iter().map(|text| network(text)).collect(),
        services: services.to_vec(),
        ..Rule::new("a rule", RuleAction::Allow)
    }
}

fn tcp(ports: RangeInclusive<u16>) -> Service {
    Service::Ports { protocol: ip::TCP, source: vec![0..=u16::MAX], destination: vec![ports] }
}

fn to(destination: &str, port: u16) -> Question {
    let destination = address(destination);
    Question {
        source_interface: InterfaceId(1),
        destination_interface: InterfaceId(2),
        source: if destination.is_ipv4() { address("10.0.0.1") } else { address("2001:db8::1") },
        destination,
        protocol: ip::TCP,
        ports: (40_000, port),
        icmp: None,
    }
}

fn first(rules: &[Rule], question: &Question) -> Option<usize> {
    let found = Classifier::new(rules).first_match(rules, question);
    assert_eq!(found, linear(rules, question));
    found
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = [
        rule(&["10.0.0.0/8"], &["192.0.2.0/24"], &[tcp(80..=80)]),
        rule(&["0.0.0.0/0"], &["192.0.2.7/32"], &[Service::All]),
        rule(&["0.0.0.0/0", "::/0"], &["192.0.2.0/24", "2001:db8:1::/48"], &[Service::All]),
    ];
    assert_eq!(first(&rules, &to("192.0.2.7", 80)), Some(0));
    assert_eq!(first(&rules, &to("192.0.2.7", 81)), Some(1));
    assert_eq!(first(&rules, &to("192.0.2.8", 81)), Some(2));
    assert_eq!(first(&rules, &to("2001:db8:1::1", 81)), Some(2));
    assert_eq!(first(&rules, &to("2001:db8:2::1", 81)), None);
    assert_eq!(first(&rules, &to("192.0.3.0", 81)), None);
}

#[test]
fn no_rules_match_nothing() {
    assert_eq!(first(&[], &to("192.0.2.7", 80)), None);
    assert_eq!(first(&[rule(&[], &["0.0.0.0/0"], &[Service::All])], &to("192.0.2.7", 80)), None);
    assert_eq!(first(&[rule(&["0.0.0.0/0"], &["0.0.0.0/0"], &[])], &to("192.0.2.7", 80)), None);
}

#[test]
fn interfaces_are_asked_for() {
    let any = Rule::new("any", RuleAction::Drop);
    let between = |from: &[u32], to: &[u32]| Rule {
        source_interfaces: Some(from.iter().copied().map(InterfaceId).collect()),
        destination_interfaces: Some(to.iter().copied().map(InterfaceId).collect()),
        ..any.clone()
    };
    let rules = [between(&[1], &[1, u32::MAX]), between(&[], &[2]), between(&[0, 1, 7], &[2]), any.clone()];
    let ask = |from, to_interface| {
        let (source_interface, destination_interface) = (InterfaceId(from), InterfaceId(to_interface));
        first(&rules, &Question { source_interface, destination_interface, ..to("192.0.2.7", 80) })
    };
    assert_eq!((ask(1, u32::MAX), ask(1, 2), ask(7, 2), ask(2, 2)), (Some(0), Some(2), Some(2), Some(3)));
}

#[test]
fn source_and_destination_ports_of_one_service_go_together() {
    let ports = |protocol, from, to| Service::Ports { protocol, source: vec![from], destination: vec![to] };
    let services =
        [ports(ip::TCP, 0..=1023, 513..=514), ports(ip::TCP, 0..=u16::MAX, 80..=80), ports(ip::UDP, 53..=53, 53..=53)];
    let rules = [rule(&["0.0.0.0/0"], &["0.0.0.0/0"], &services), Rule::new("any", RuleAction::Drop)];
    let ask = |protocol, ports| first(&rules, &Question { protocol, ports, ..to("192.0.2.7", 0) });
    assert_eq!((ask(ip::TCP, (1023, 513)), ask(ip::TCP, (1024, 513))), (Some(0), Some(1)));
    assert_eq!((ask(ip::TCP, (1023, 80)), ask(ip::TCP, (1024, 80))), (Some(0), Some(0)));
    assert_eq!((ask(ip::UDP, (53, 53)), ask(ip::UDP, (53, 80)), ask(ip::UDP, (54, 53))), (Some(0), Some(1), Some(1)));
}

#[test]
fn icmp_is_told_by_type_and_other_protocols_by_number() {
    let icmp = |protocol, types: &[u8]| Service::Icmp { protocol, types: types.to_vec() };
    let services = [icmp(ip::ICMP, &[0, 8]), icmp(ip::ICMPV6, &[]), Service::Protocol(50..=51)];
    let rules = [rule(&["0.0.0.0/0", "::/0"], &["0.0.0.0/0", "::/0"], &services)];
    let ask = |protocol, icmp| first(&rules, &Question { protocol, ports: (0, 0), icmp, ..to("192.0.2.7", 0) });
    assert_eq!((ask(ip::ICMP, Some(8)), ask(ip::ICMP, Some(9)), ask(ip::ICMP, None)), (Some(0), None, None));
    assert_eq!(
        (ask(ip::ICMPV6, Some(255)), ask(50, None), ask(51, None), ask(52, None)),
        (Some(0), Some(0), Some(0), None)
    );
}

#[test]
fn an_access_rule_that_expects_addresses_speaks_of_all_interfaces() {
    let rule = |action, interface: u32, text| AccessRule {
        name: "a rule".into(),
        action,
        interfaces: Some(vec![InterfaceId(interface)]),
        networks: vec![network(text)],
        log: None,
    };
    let rules = [
        rule(AccessAction::Drop, 1, "10.1.0.0/16"),
        rule(AccessAction::Expect, 2, "10.0.0.0/8"),
        rule(AccessAction::Accept, 1, "0.0.0.0/0"),
    ];
    let classifier = Classifier::new(&rules);
    let ask = |interface, source| {
        let question =
            Question { source_interface: InterfaceId(interface), source: address(source), ..to("192.0.2.7", 80) };
        classifier.first_match(&rules, &question)
    };
    assert_eq!((ask(1, "10.1.0.1"), ask(2, "10.1.0.1"), ask(1, "10.2.0.1")), (Some(0), Some(1), Some(1)));
    assert_eq!((ask(1, "192.0.2.1"), ask(2, "192.0.2.1"), ask(1, "2001:db8::1")), (Some(2), None, None));
}

#[test]
fn thousands_of_rules_are_compiled_whole() {
    let host = |number: u32| IpRange::host(IpAddr::V4((0x0a00_0000 + number).into()));
    let pair = |number| Rule {
        source_networks: vec![host(number)],
        destination_networks: vec![host(number * 7)],
        ..Rule::new("pair", RuleAction::Allow)
    };
    let mut rules: Vec<Rule> = (0..10_000).map(pair).collect();
    rules.push(Rule::new("any", RuleAction::Drop));
    let classifier = Classifier::new(&rules);
    assert_eq!(classifier.compiled, rules.len());
    for number in [0, 1, 511, 512, 5_000, 9_999] {
        let question =
            Question { source: host(number).first(), destination: host(number * 7).first(), ..to("192.0.2.7", 80) };
        assert_eq!(classifier.first_match(&rules, &question), Some(number as usize));
        let other = Question { destination: host(number * 7 + 1).first(), ..question };
        assert_eq!(classifier.first_match(&rules, &other), Some(10_000));
    }
}

#[test]
fn rules_beyond_the_bounds_are_searched_too() {
    let rules: Vec<Rule> = (0..40_000u32)
        .map(|number| rule(&["0.0.0.0/0"], &[&format!("10.{}.{}.0/24", number >> 8, number & 255)], &[Service::All]))
        .collect();
    let classifier = Classifier::new(&rules);
    assert_eq!(classifier.compiled, 20_000);
    for number in [0u32, 19_999, 20_000, 39_999] {
        let question = to(&format!("10.{}.{}.9", number >> 8, number & 255), 80);
        assert_eq!(classifier.first_match(&rules, &question), Some(number as usize));
    }
    assert_eq!(classifier.first_match(&rules, &to("11.0.0.1", 80)), None);
}

#[test]
fn a_single_rule_beyond_the_bounds_is_searched_alone() {
    // As many entries as there are source ports.
    let service = |port| Service::Ports { protocol: ip::UDP, source: vec![port..=port], destination: vec![1..=port] };
    let rules = [rule(&["0.0.0.0/0"], &["0.0.0.0/0"], &(1..=33_000).map(service).collect::<Vec<_>>())];
    let classifier = Classifier::new(&rules);
    assert_eq!(classifier.compiled, 0);
    let ask = |ports| Question { protocol: ip::UDP, ports, ..to("192.0.2.7", 0) };
    assert_eq!(classifier.first_match(&rules, &ask((7, 7))), Some(0));
    assert_eq!(classifier.first_match(&rules, &ask((7, 8))), None);
}

// What rules and questions are drawn from: few values that meet often, the ends of everything among them.

fn v4() -> impl Strategy<Value = IpAddr> {
    let bits = prop_oneof![
        Just(0),
        Just(u32::MAX),
        0x0a00_0000u32..0x0a00_0010,
        (0u32..8).prop_map(|high| high << 29),
        any::<u32>()
    ];
    bits.prop_map(|bits| IpAddr::V4(bits.into()))
}

fn v6() -> impl Strategy<Value = IpAddr> {
    let low = 0x2001_0db8u128 << 96;
    prop_oneof![Just(0), Just(u128::MAX), low..low + 16, (0u128..8).prop_map(|high| high << 125)]
        .prop_map(|bits| IpAddr::V6(bits.into()))
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![3 => v4(), 1 => v6()]
}

fn networks() -> impl Strategy<Value = Vec<IpRange>> {
    let ends = |(one, other): (IpAddr, IpAddr)| IpRange::new(one.min(other), one.max(other)).unwrap();
    let around = |(address, prefix): (IpAddr, u8)| {
        IpRange::network(address, prefix.min(if address.is_ipv4() { 32 } else { 128 })).unwrap()
    };
    let range = prop_oneof![
        (v4(), v4()).prop_map(ends),
        (v6(), v6()).prop_map(ends),
        (any_address(), 0u8..=128).prop_map(around),
        any_address().prop_map(IpRange::host),
        Just(IpRange::ALL_V4),
        Just(IpRange::ALL_V6),
    ];
    proptest::collection::vec(range, 0..5)
}

fn interfaces() -> impl Strategy<Value = Option<Vec<InterfaceId>>> {
    let interface = prop_oneof![4 => 0u32..4, 1 => Just(u32::MAX)].prop_map(InterfaceId);
    proptest::option::of(proptest::collection::vec(interface, 0..4))
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), Just(1), Just(79), Just(80), Just(81), Just(65_534), Just(65_535), any::<u16>()]
}

fn ports() -> impl Strategy<Value = Vec<RangeInclusive<u16>>> {
    // Backwards ones too: they contain nothing.
    let range = prop_oneof![2 => Just(0..=u16::MAX), 3 => (port(), port()).prop_map(|(first, last)| first..=last)];
    proptest::collection::vec(range, 0..4)
}

fn protocol() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(ip::TCP), 4 => Just(ip::UDP), 2 => Just(ip::ICMP), 2 => Just(ip::ICMPV6), 1 => any::<u8>(), 1 => Just(0), 1 => Just(255)]
}

fn service() -> impl Strategy<Value = Service> {
    let kinds = prop_oneof![Just(vec![]), proptest::collection::vec(prop_oneof![0u8..10, 250u8..=255], 1..4)];
    prop_oneof![
        1 => Just(Service::All),
        2 => (protocol(), protocol()).prop_map(|(first, last)| Service::Protocol(first..=last)),
        5 => (protocol(), ports(), ports()).prop_map(|(protocol, source, destination)| Service::Ports { protocol, source, destination }),
        2 => (protocol(), kinds).prop_map(|(protocol, types)| Service::Icmp { protocol, types }),
    ]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    (interfaces(), networks(), interfaces(), networks(), proptest::collection::vec(service(), 0..4)).prop_map(
        |(source_interfaces, source_networks, destination_interfaces, destination_networks, services)| Rule {
            source_interfaces,
            source_networks,
            destination_interfaces,
            destination_networks,
            services,
            ..Rule::new("a rule", RuleAction::Allow)
        },
    )
}

fn question() -> impl Strategy<Value = Question> {
    let interface = || prop_oneof![4 => 0u32..5, 1 => Just(u32::MAX)].prop_map(InterfaceId);
    let kind = prop_oneof![0u8..10, 250u8..=255];
    (interface(), interface(), any_address(), any_address(), protocol(), (port(), port()), kind).prop_map(
        |(source_interface, destination_interface, source, destination, protocol, ports, kind)| Question {
            source_interface,
            destination_interface,
            source,
            destination,
            protocol,
            ports: if matches!(protocol, ip::TCP | ip::UDP) { ports } else { (0, 0) },
            icmp: (matches!(protocol, ip::ICMP | ip::ICMPV6) && kind != 9).then_some(kind),
        },
    )
}

proptest! {
    #[test]
    fn the_classifier_finds_what_a_search_one_by_one_finds(
        rules in proptest::collection::vec(any_rule(), 0..24),
        questions in proptest::collection::vec(question(), 32),
    ) {
        let classifier = Classifier::new(&rules);
        for question in questions {
            prop_assert_eq!(classifier.first_match(&rules, &question), linear(&rules, &question), "{:?}", question);
        }
    }
}

/// Rules of many shapes, more than one block of them, asked at their own ends.
#[test]
fn large_rule_sets_agree_with_a_search_one_by_one() {
    let mut random = Random::from_seed([7; 32]);
    let mut below = move |limit: u32| u32::try_from(random.below(limit.into())).unwrap();
    let mut rules = Vec::new();
    for number in 0..3_000u32 {
        let (first, wide) = (below(4_000), below(64));
        let range = |first: u32, last: u32| IpRange::new(IpAddr::V4(first.into()), IpAddr::V4(last.into())).unwrap();
        let source = match below(4) {
            0 => vec![range(first, first)],
            1 => vec![range(first, first + wide), range(first + 100, first + 100 + wide)],
            2 => vec![range(number, 10_000 - number)],
            _ => vec![IpRange::ALL_V4, IpRange::ALL_V6],
        };
        let destination = vec![range(first / 2, first / 2 + wide)];
        let port = u16::try_from(below(50)).unwrap();
        let services = vec![tcp(port..=port), tcp(port + 100..=port + 101)];
        rules.push(Rule {
            source_networks: source,
            destination_networks: destination,
            services,
            ..Rule::new("a rule", RuleAction::Allow)
        });
    }
    let classifier = Classifier::new(&rules);
    assert_eq!(classifier.compiled, rules.len());
    let mut found = 0;
    for _ in 0..2_000 {
        let ports = (1, u16::try_from(below(152)).unwrap());
        let (source, destination) = (IpAddr::V4(below(5_000).into()), IpAddr::V4(below(2_100).into()));
        let question = Question { source, destination, ports, ..to("192.0.2.7", 0) };
        let answer = linear(&rules, &question);
        assert_eq!(classifier.first_match(&rules, &question), answer, "{question:?}");
        found += usize::from(answer.is_some_and(|answer| answer > 512));
    }
    assert!(found > 100, "{found} answers lie behind the first block");
}
