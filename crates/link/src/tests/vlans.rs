//! Frames: whose they are, and what they may carry.

use wire::ethernet::{self, Prefix};

use super::*;
use crate::{Cast, PublishMode};

fn two_vlans(mac: Mac, last: u8) -> Config {
    let mut config = config(mac, &[&format!("10.0.0.{last}/24")]);
    config.ports[0].interfaces.push(interface(InterfaceId(10), Some(10), &[&format!("10.0.10.{last}/24")]));
    config.ports[0].interfaces.push(interface(InterfaceId(20), Some(20), &[&format!("10.0.20.{last}/24")]));
    config
}

fn frame(to: Mac, from: Mac, vlan: Option<u16>, kind: u16, payload: &[u8]) -> Vec<u8> {
    [Prefix::new(to, from, vlan, kind).bytes(), payload].concat()
}

#[test]
fn vlans_do_not_see_each_other() {
    let mut world = World::new(1, vec![two_vlans(MAC_A, 1), two_vlans(MAC_B, 2)]);
    let packet = || echo("10.0.10.1", "10.0.10.2");
    world.with(0, |link, now, out| link.send(now, InterfaceId(10), ip("10.0.10.2"), packet(), out));
    let [.., Output::Packet { interface, cast: Cast::Unicast, .. }] = world.stations[1].out.as_slice() else {
        panic!("{:?}", world.stations[1].out)
    };
    assert_eq!(*interface, InterfaceId(10));
    assert_eq!(world.stations[0].link.lookup(InterfaceId(10), ip("10.0.10.2")), Some(MAC_B));
    world.with(0, |link, now, out| link.send(now, InterfaceId(20), ip("10.0.10.2"), packet(), out));
    world.run_secs(4);
    let refused = |output: &Output| matches!(output, Output::Unreachable { interface: InterfaceId(20), .. });
    assert!(world.stations[0].out.iter().any(refused));
    assert_eq!(world.stations[0].link.lookup(IF, ip("10.0.10.2")), None);
}

#[test]
fn every_frame_that_is_not_ours_is_dropped_for_its_reason() {
    let stranger = Mac([2, 0, 0, 0, 0, 0xee]);
    let ping = echo("10.0.0.2", "10.0.0.1");
    let many = echo("10.0.0.2", "10.0.0.255");
    let v4 = ethernet::IPV4;
    let cases = [
        (Reason::MalformedFrame, vec![0; 13]),
        (Reason::MalformedFrame, frame(MAC_A, MAC_B, None, 46, ping.bytes())),
        (Reason::DoubleTagged, frame(MAC_A, MAC_B, Some(10), ethernet::VLAN, ping.bytes())),
        (Reason::UnknownVlan, frame(MAC_A, MAC_B, Some(11), v4, ping.bytes())),
        (Reason::SourceMac, frame(MAC_A, Mac::BROADCAST, None, v4, ping.bytes())),
        (Reason::OwnFrame, frame(MAC_A, MAC_A, None, v4, ping.bytes())),
        (Reason::NotForUs, frame(stranger, MAC_B, None, v4, ping.bytes())),
        (Reason::NotForUs, frame(Mac([1, 0, 0x5e, 0, 0, 5]), MAC_B, None, v4, ping.bytes())),
        (Reason::UnknownEtherType, frame(MAC_A, MAC_B, None, 0x88cc, ping.bytes())),
        (Reason::NotIp, frame(MAC_A, MAC_B, None, ethernet::IPV6, ping.bytes())),
        (Reason::NotIp, frame(MAC_A, MAC_B, None, v4, &[0x45; 19])),
        (Reason::UnicastInGroupFrame, frame(Mac::BROADCAST, MAC_B, None, v4, ping.bytes())),
        (Reason::ArpMalformed, frame(Mac::BROADCAST, MAC_B, None, ethernet::ARP, ping.bytes())),
    ];
    for (reason, bytes) in cases {
        let mut world = World::new(1, vec![two_vlans(MAC_A, 1)]);
        world.inject(0, &bytes);
        let counted: Vec<_> = world.stations[0].link.counters().iter().filter(|(_, count, _)| *count > 0).collect();
        assert_eq!(counted, [(reason.name(), 1, reason.sentence())]);
        assert_eq!(world.packets(0), 0);
    }
    let mut world = World::new(1, vec![two_vlans(MAC_A, 1)]);
    world.inject(0, &frame(Mac::BROADCAST, MAC_B, None, v4, many.bytes()));
    assert_eq!(world.packets(0), 1, "a broadcast in a broadcast");
    world.with(0, |link, now, out| link.frame(now, PortId(9), Buffer::copy(&[0; 60]), out));
    assert_eq!(world.drops(0, Reason::UnknownPort), 1);
    world.with(0, |link, now, out| link.send(now, InterfaceId(99), ip("10.0.0.2"), ping, out));
    assert_eq!(world.drops(0, Reason::UnknownInterface), 1);
}

#[test]
fn what_pads_a_frame_is_not_part_of_the_packet() {
    let mut world = World::new(1, vec![config(MAC_A, &["10.0.0.1/24", "2001:db8::1/64"])]);
    for (from, to, kind) in [("10.0.0.2", "10.0.0.1", ethernet::IPV4), ("2001:db8::2", "2001:db8::1", ethernet::IPV6)] {
        let ping = echo(from, to);
        let mut bytes = frame(MAC_A, MAC_B, None, kind, ping.bytes());
        bytes.extend([0; 20]);
        world.inject(0, &bytes);
        let packet = Output::Packet { interface: IF, packet: ping, cast: Cast::Unicast };
        assert_eq!(world.stations[0].out.last(), Some(&packet));
    }
}

#[test]
fn the_card_is_told_what_it_must_let_through() {
    let mut config = config(MAC_A, &["10.0.0.1/24", "2001:db8::1/64"]);
    let published = Mac([2, 0, 0, 0, 0, 0x77]);
    config.publish.push(crate::Publish {
        interface: IF,
        range: net("10.0.0.7/32"),
        mac: Some(published),
        mode: PublishMode::XPublish,
    });
    let mut world = World::new(1, vec![config]);
    let filter = world.stations[0].link.filter(PORT);
    assert_eq!((filter.unicast, filter.all_groups), (vec![published], false));
    let group = |text: &str| Mac::of_group(ip(text));
    assert!(filter.groups.contains(&group("ff02::1")) && filter.groups.contains(&group("ff02::1:ff00:1")));
    world.with(0, |link, _, _| link.proxy_add(IF, net("2001:db8:7::/64")));
    assert!(world.stations[0].link.filter(PORT).all_groups);
}
