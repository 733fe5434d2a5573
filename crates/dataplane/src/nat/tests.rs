//! Packets and errors about them, translated there and back.

use std::net::IpAddr;

use base::{Mutations, Offload};
use proptest::prelude::*;
use wire::checksum::Sum;
use wire::icmp::{self, Problem};
use wire::{ip, octets};

use super::icmp::translate_error;
use super::rewrite::{Checksums, apply};
use crate::harness::nat_icmp;
use crate::inspect::{Key, Seen};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn seen(packet: &[u8]) -> Seen {
    Seen::new(packet, ip::Header::parse(packet).unwrap()).unwrap()
}

/// Where the checksum of a protocol stands in its header.
fn sum_at(protocol: u8) -> usize {
    match protocol {
        ip::TCP => 16,
        ip::UDP | 33 | 136 => 6,
        _ => 2,
    }
}

/// A sum over the pseudo header, where there is one, and `bytes`.
fn sum(seen: &Seen, bytes: &[u8]) -> u16 {
    let len = u32::try_from(seen.ip.total - seen.ip.payload).unwrap();
    let start = match seen.ip.protocol {
        ip::ICMP => Sum::new(),
        protocol => Sum::new().with_pseudo_header(seen.ip.source, seen.ip.destination, protocol, len),
    };
    start.with(bytes).checksum()
}

/// A packet of a connection, with a right checksum. An echo is a request from `key.ports.0` or a reply to `key.ports.1`.
fn packet(key: &Key, data: &[u8]) -> Vec<u8> {
    let v6 = key.source.is_ipv6();
    let [s0, s1] = key.ports.0.to_be_bytes();
    let [d0, d1] = key.ports.1.to_be_bytes();
    let mut payload = match key.protocol {
        ip::TCP => vec![s0, s1, d0, d1, 0, 0, 0, 9, 0, 0, 0, 7, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0],
        ip::UDP => {
            let [l0, l1] = u16::try_from(8 + data.len()).unwrap().to_be_bytes();
            vec![s0, s1, d0, d1, l0, l1, 0, 0]
        }
        ip::ICMP | ip::ICMPV6 => {
            let kind = match (v6, key.ports.1) {
                (false, 0) => 8,
                (false, _) => 0,
                (true, 0) => 128,
                (true, _) => 129,
            };
            vec![kind, 0, 0, 0, s0 | d0, s1 | d1, 0, 1]
        }
        _ => vec![0; 8],
    };
    payload.extend(data);
    let mut packet = icmp::ip_packet(key.source, key.destination, key.protocol, &payload).unwrap();
    if has_sum(key.protocol) {
        let right = sum(&seen(&packet), &payload);
        // UDP: zero would say that there is none (RFC 768).
        let right = if right == 0 && key.protocol == ip::UDP { 0xffff } else { right };
        let at = packet.len() - payload.len() + sum_at(key.protocol);
        octets::put_u16(&mut packet, at, right);
    }
    packet
}

fn has_sum(protocol: u8) -> bool {
    matches!(protocol, ip::TCP | ip::UDP | ip::ICMP | ip::ICMPV6 | 33 | 136)
}

#[track_caller]
fn assert_right(packet: &[u8]) {
    let seen = seen(packet);
    if has_sum(seen.ip.protocol) {
        assert_eq!(sum(&seen, seen.ip.payload_of(packet)), 0, "{packet:02x?}");
    }
    let field = octets::u16(packet, seen.ip.payload + sum_at(seen.ip.protocol));
    assert!(seen.ip.protocol != ip::UDP || field != Some(0), "the datagram has a checksum");
}

fn an_address(v6: bool) -> BoxedStrategy<IpAddr> {
    match v6 {
        false => any::<[u8; 4]>().prop_map(IpAddr::from).boxed(),
        true => any::<[u8; 16]>().prop_map(IpAddr::from).boxed(),
    }
}

/// Two keys of one connection in the same direction.
fn two_keys() -> impl Strategy<Value = (Key, Key)> {
    (any::<bool>(), 0usize..6, any::<bool>()).prop_flat_map(|(v6, which, reply)| {
        let protocol = [ip::TCP, ip::UDP, if v6 { ip::ICMPV6 } else { ip::ICMP }, ip::ESP, 33, 136][which];
        let key = move |source, destination, a: u16, b: u16| {
            let ports = match protocol {
                ip::TCP | ip::UDP => (a, b),
                ip::ICMP | ip::ICMPV6 if reply => (0, a.max(1)),
                ip::ICMP | ip::ICMPV6 => (a, 0),
                _ => (0, 0),
            };
            Key { source, destination, protocol, ports, message: None }
        };
        let one = move || (an_address(v6), an_address(v6), any::<u16>(), any::<u16>());
        (one(), one()).prop_map(move |(x, y)| (key(x.0, x.1, x.2, x.3), key(y.0, y.1, y.2, y.3)))
    })
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..60)
}

/// What somebody else would make of the packet: the other packet from scratch.
fn rewritten(bytes: &[u8], to: &Key) -> Vec<u8> {
    let (mut bytes, mut header) = (bytes.to_vec(), seen(bytes));
    apply(&mut bytes, &mut header, to, Checksums::Whole);
    assert_eq!(format!("{header:?}"), format!("{:?}", seen(&bytes)), "what is known of it follows");
    bytes
}

proptest! {
    #[test]
    fn a_translated_packet_is_what_its_new_sender_would_have_sent((from, to) in two_keys(), data in data()) {
        let sent = packet(&from, &data);
        let translated = rewritten(&sent, &to);
        assert_right(&translated);
        prop_assert_eq!(&translated, &packet(&to, &data));
        prop_assert_eq!(rewritten(&translated, &from), sent);
    }

    #[test]
    fn a_partial_checksum_follows_the_addresses_alone((from, to) in two_keys(), data in data()) {
        if !has_sum(from.protocol) || from.protocol == ip::ICMP {
            return Ok(());
        }
        let with_partial = |key: &Key| {
            let mut bytes = packet(key, &data);
            let (header, at) = (seen(&bytes), seen(&bytes).ip.payload + sum_at(key.protocol));
            octets::put_u16(&mut bytes, at, !sum(&header, &[]));
            bytes
        };
        let mut bytes = with_partial(&from);
        let mut header = seen(&bytes);
        let start = u16::try_from(header.ip.payload).unwrap();
        let missing = base::Checksum { start, offset: u16::try_from(sum_at(from.protocol)).unwrap() };
        let offload = Offload { checksum: Some(missing), segments: None };
        let checksums = Checksums::of(&offload, &header);
        apply(&mut bytes, &mut header, &to, checksums);
        prop_assert_eq!(bytes, with_partial(&to));
    }

    #[test]
    fn an_error_comes_back_naming_the_packet_that_was_sent((inner, outer) in two_keys(), data in data(), quoted in 28usize..200) {
        let sent = packet(&inner, &data);
        let translated = packet(&outer, &data);
        let header = if inner.source.is_ipv6() { 40 } else { 20 };
        // Of half a checksum nobody can say what it becomes.
        let quoted = if quoted == 20 + sum_at(inner.protocol) + 1 { 28 } else { quoted } + header - 20;
        let error = |by: &Key, offender: &[u8]| {
            let offender = &offender[..offender.len().min(quoted)];
            icmp::error_packet(Problem::TooBig(1300), by.destination, by.source, offender).unwrap()
        };
        let mut bytes = error(&outer, &translated);
        let arrived = bytes.clone();
        let mut header = seen(&bytes);
        prop_assert!(translate_error(&mut bytes, &mut header, &outer.reversed(), &inner.reversed(), Checksums::Whole));
        prop_assert_eq!(format!("{header:?}"), format!("{:?}", seen(&bytes)));
        assert_right(&bytes);
        prop_assert_eq!(Key::of_quotation(icmp::quotation(header.ip.payload_of(&bytes))), Some(inner));
        prop_assert_eq!(&bytes, &error(&inner, &sent), "the error is what it would be without the translation");
        prop_assert!(translate_error(&mut bytes, &mut header, &inner.reversed(), &outer.reversed(), Checksums::Whole));
        prop_assert_eq!(bytes, arrived);
    }

    #[test]
    fn no_quotation_stops_it(v6: bool, sides: u8, mut quoted in proptest::collection::vec(any::<u8>(), 0..120), known in 0usize..9) {
        let (source, destination) = if v6 { ("fd00::1", "2001:db8::9") } else { ("10.0.0.1", "192.0.2.9") };
        // Mostly one that begins like a packet of a protocol with ports.
        let protocol = [ip::TCP, ip::UDP, ip::ICMP, ip::ICMPV6].get(known).copied();
        octets::put(&mut quoted, 0, [if v6 { 0x60 } else { 0x45 }]);
        if let Some(protocol) = protocol {
            octets::put(&mut quoted, if v6 { 6 } else { 9 }, [protocol]);
            octets::put(&mut quoted, if v6 { 40 } else { 20 }, [if v6 { 128 } else { 8 }]);
            octets::put_u16(&mut quoted, 6, if v6 { u16::from(protocol) << 8 } else { 0 });
        }
        let to = octets::array::<16>(&quoted, 8).map_or(address(source), IpAddr::from);
        let to_v4 = octets::array::<4>(&quoted, 12).map_or(address(source), IpAddr::from);
        let to = if v6 { to } else { to_v4 };
        let error = icmp::error_packet(Problem::TimeExceeded, address(destination), to, &quoted).unwrap();
        nat_icmp(&[&[sides], error.as_slice()].concat());
    }
}

fn udp_key(source: &str, destination: &str, ports: (u16, u16)) -> Key {
    Key { source: address(source), destination: address(destination), protocol: ip::UDP, ports, message: None }
}

#[test]
fn a_datagram_without_a_checksum_stays_without() {
    let (from, to) = (udp_key("10.0.0.1", "192.0.2.9", (5000, 53)), udp_key("198.51.100.1", "192.0.2.9", (6000, 53)));
    let mut bytes = packet(&from, b"question");
    octets::put_u16(&mut bytes, 26, 0);
    let translated = rewritten(&bytes, &to);
    assert_eq!(octets::u16(&translated, 26), Some(0));
    assert_eq!(seen(&translated).key(), to);
}

#[test]
fn a_checksum_that_becomes_zero_is_sent_as_its_twin() {
    let from = udp_key("10.0.0.1", "192.0.2.9", (5000, 53));
    let bytes = packet(&from, b"question");
    // The new port makes up for all that the checksum was.
    let checksum = octets::u16(&bytes, 26).unwrap();
    let port = 5000u32 + u32::from(checksum);
    let port = u16::try_from(if port > 0xffff { port - 0xffff } else { port }).unwrap();
    let translated = rewritten(&bytes, &Key { ports: (port, 53), ..from });
    assert_eq!(octets::u16(&translated, 26), Some(0xffff));
    assert_eq!(rewritten(&translated, &from), bytes);
}

#[test]
fn a_checksum_that_is_missing_further_inside_is_none_of_the_outer_header() {
    let header = seen(&packet(&udp_key("10.0.0.1", "192.0.2.9", (5000, 4789)), &[0; 100]));
    let inside = Offload { checksum: Some(base::Checksum { start: 92, offset: 16 }), segments: None };
    assert_eq!(Checksums::of(&inside, &header), Checksums::Whole);
    assert_eq!(Checksums::of(&Offload::NONE, &header), Checksums::Whole);
}

#[test]
fn a_key_of_the_other_family_changes_nothing() {
    let bytes = packet(&udp_key("10.0.0.1", "192.0.2.9", (5000, 53)), b"question");
    assert_eq!(rewritten(&bytes, &udp_key("fd00::1", "2001:db8::9", (1, 2))), bytes);
    assert_eq!(rewritten(&bytes, &Key { source: address("fd00::1"), ..seen(&bytes).key() }), bytes);
}

#[test]
fn a_message_of_another_kind_keeps_what_stands_in_the_place_of_an_identifier() {
    for (protocol, source, to) in [(ip::ICMP, "10.0.0.1", "198.51.100.1"), (ip::ICMPV6, "fd00::1", "2001:db8::1")] {
        let destination = address(if protocol == ip::ICMP { "192.0.2.9" } else { "2001:db8::9" });
        let message = [13, 0, 0, 0, 0x12, 0x34, 0, 1, 7, 7, 7, 7];
        let mut bytes = icmp::ip_packet(address(source), destination, protocol, &message).unwrap();
        let at = bytes.len() - message.len();
        let right = sum(&seen(&bytes), &message);
        octets::put_u16(&mut bytes, at + 2, right);
        let translated = rewritten(&bytes, &Key { source: address(to), ..seen(&bytes).key() });
        assert_right(&translated);
        assert_eq!(octets::u16(&translated, at + 4), Some(0x1234));
    }
    // ICMP for IPv4 means nothing inside IPv6.
    let bytes =
        icmp::ip_packet(address("fd00::1"), address("2001:db8::9"), ip::ICMP, &[8, 0, 0, 0, 1, 2, 0, 1]).unwrap();
    let translated = rewritten(&bytes, &Key { source: address("2001:db8::1"), ..seen(&bytes).key() });
    assert_eq!(translated[40..], bytes[40..]);
}

/// An inner host at 10.0.0.1 is seen as 198.51.100.1:6000 by 192.0.2.9:53.
fn masqueraded() -> (Key, Key) {
    (udp_key("10.0.0.1", "192.0.2.9", (5000, 53)), udp_key("198.51.100.1", "192.0.2.9", (6000, 53)))
}

#[test]
fn a_router_outside_keeps_its_address() {
    let (inner, outer) = masqueraded();
    let offender = packet(&outer, b"question");
    let mut bytes =
        icmp::error_packet(Problem::TimeExceeded, address("203.0.113.77"), outer.source, &offender).unwrap();
    let mut header = seen(&bytes);
    assert!(translate_error(&mut bytes, &mut header, &outer.reversed(), &inner.reversed(), Checksums::Whole));
    assert_eq!((header.ip.source, header.ip.destination), (address("203.0.113.77"), inner.source));
    assert_right(&bytes);
    assert_eq!(icmp::quotation(header.ip.payload_of(&bytes)), packet(&inner, b"question"));
}

#[test]
fn a_router_inside_hides_behind_the_address_of_the_connection() {
    let (inner, outer) = masqueraded();
    // It is about an answer, which has reached it translated.
    let offender = packet(&inner.reversed(), b"answer");
    let mut bytes =
        icmp::error_packet(Problem::TooBig(1300), address("10.0.0.254"), inner.destination, &offender).unwrap();
    let mut header = seen(&bytes);
    assert!(translate_error(&mut bytes, &mut header, &inner, &outer, Checksums::Whole));
    assert_eq!((header.ip.source, header.ip.destination), (address("198.51.100.1"), address("192.0.2.9")));
    assert_right(&bytes);
    assert_eq!(icmp::quotation(header.ip.payload_of(&bytes)), packet(&outer.reversed(), b"answer"));
}

#[test]
fn an_error_about_something_else_does_not_change() {
    let (inner, outer) = masqueraded();
    let another = Key { ports: (6001, 53), ..outer };
    let unmoved = |mut bytes: Vec<u8>| {
        let (before, mut header) = (bytes.clone(), seen(&bytes));
        assert!(!translate_error(&mut bytes, &mut header, &outer.reversed(), &inner.reversed(), Checksums::Whole));
        assert_eq!(bytes, before);
    };
    let error =
        |to, offender: &[u8]| icmp::error_packet(Problem::TooBig(1300), outer.destination, to, offender).unwrap();
    unmoved(error(outer.source, &packet(&another, b"question")));
    unmoved(error(address("198.51.100.2"), &packet(&outer, b"question")));
    unmoved(error(outer.source, &packet(&outer, b"question")[..23]));
    unmoved(packet(&outer.reversed(), b"answer"));
}

#[test]
fn no_damaged_error_stops_it() {
    let mut seeds = Vec::new();
    for (source, destination) in [("10.0.0.1", "192.0.2.9"), ("fd00::1", "2001:db8::9")] {
        let v6 = source.contains(':');
        for protocol in [ip::TCP, ip::UDP, if v6 { ip::ICMPV6 } else { ip::ICMP }, ip::ESP] {
            let ports = match protocol {
                ip::TCP | ip::UDP => (5000, 53),
                ip::ESP => (0, 0),
                _ => (77, 0),
            };
            let (source, destination) = (address(source), address(destination));
            let offender = packet(&Key { source, destination, protocol, ports, message: None }, b"data");
            let error = icmp::error_packet(Problem::TooBig(1300), destination, source, &offender).unwrap();
            for sides in 0..4 {
                seeds.push([&[sides], offender.as_slice()].concat());
                seeds.push([&[sides], error.as_slice()].concat());
            }
        }
    }
    Mutations::new(3, seeds).take(100_000).for_each(|bytes| nat_icmp(&bytes));
}
