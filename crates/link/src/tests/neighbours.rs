//! Neighbours are found, doubted, moved, and not invented.

use base::Buffer;
use wire::arp::{Arp, Operation};
use wire::ethernet::{self, Prefix};
use wire::ndp::Message;

use super::*;
use crate::{StaticNeighbor, events};

/// An ARP message in its frame.
fn arp(operation: Operation, (sender_mac, sender): (Mac, &str), to: Mac, target: &str) -> Vec<u8> {
    let v4 = |text: &str| text.parse().unwrap();
    let arp = Arp { operation, sender_mac, sender: v4(sender), target_mac: Mac::ZERO, target: v4(target) };
    [Prefix::new(to, sender_mac, None, ethernet::ARP).bytes(), &arp.write()].concat()
}

const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 0xee]);

#[test]
fn the_first_packet_waits_for_the_answer_and_the_next_does_not() {
    for (from, to) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")] {
        let mut world = World::pair(1);
        world.send(0, to, echo(from, to));
        assert_eq!(world.packets(1), 1);
        assert_eq!(world.state(0, to), Some(State::Reachable));
        assert_eq!(world.neighbour(0, to).unwrap().mac, Some(MAC_B));
        let before = world.frames.len();
        world.send(0, to, echo(from, to));
        assert_eq!((world.packets(1), world.frames.len() - before), (1, 1));
    }
}

#[test]
fn a_known_neighbours_packet_is_framed_in_its_own_memory() {
    let mut world = World::pair(1);
    world.send(0, "10.0.0.2", echo("10.0.0.1", "10.0.0.2"));
    let packet = echo("10.0.0.1", "10.0.0.2");
    let (place, len) = (packet.bytes().as_ptr(), packet.len());
    let mut out = Vec::new();
    world.stations[0].link.send(world.now, IF, ip("10.0.0.2"), packet, &mut out);
    let [Output::Frame { port: PORT, frame }] = out.as_slice() else { panic!("{out:?}") };
    assert_eq!(frame.len(), len + ethernet::HEADER);
    assert_eq!(frame.bytes()[ethernet::HEADER..].as_ptr(), place);
}

#[test]
fn neighbours_are_found_in_spite_of_loss() {
    let mut found = 0;
    for seed in 0..50 {
        let mut world = World::pair(seed);
        world.loss = 30;
        for to in ["10.0.0.2", "2001:db8::2"] {
            let from = if to.contains(':') { "2001:db8::1" } else { "10.0.0.1" };
            world.send(0, to, echo(from, to));
            world.run_secs(4);
            found += usize::from(world.neighbour(0, to).is_some());
        }
    }
    // Three tries, each of which needs two frames: 1 - 0.51^3 is 87 %.
    assert!((75..100).contains(&found), "{found}");
}

#[test]
fn who_does_not_answer_three_questions_is_unreachable_and_forgotten() {
    let mut world = World::pair(1);
    for _ in 0..12 {
        world.send(0, "10.0.0.9", echo("10.0.0.1", "10.0.0.9"));
    }
    let asked = |world: &World| world.frames.iter().filter(|frame| frame[38..42] == [10, 0, 0, 9]).count();
    assert_eq!((asked(&world), world.neighbour(0, "10.0.0.9").unwrap().waiting), (1, 8));
    assert_eq!(world.drops(0, Reason::QueueFull), 4);
    world.run_secs(4);
    assert_eq!((asked(&world), world.neighbour(0, "10.0.0.9")), (3, None));
    let unreachable = |output: &&Output| matches!(output, Output::Unreachable { interface: IF, .. });
    assert_eq!(world.stations[0].out.iter().filter(unreachable).count(), 8);
    assert!(world.logs(0).iter().any(|record| record.is::<events::NeighborUnreachable>()));
}

#[test]
fn a_neighbour_that_is_used_is_asked_now_and_then_and_forgotten_once_it_is_gone() {
    for to in ["10.0.0.2", "2001:db8::2"] {
        let mut world = World::pair(1);
        let from = if to.contains(':') { "2001:db8::1" } else { "10.0.0.1" };
        world.send(0, to, echo(from, to));
        world.run_secs(46);
        assert_eq!(world.state(0, to), Some(State::Stale));
        world.send(0, to, echo(from, to));
        assert_eq!((world.state(0, to), world.packets(1)), (Some(State::Delay), 2));
        world.run_secs(6);
        assert_eq!(world.state(0, to), Some(State::Reachable), "it was asked and has answered");
        world.run_secs(46);
        world.loss = 100;
        world.send(0, to, echo(from, to));
        world.run_secs(6);
        assert_eq!(world.state(0, to), Some(State::Probe));
        world.run_secs(3);
        assert_eq!(world.neighbour(0, to), None);
    }
}

#[test]
fn a_neighbour_that_is_not_used_is_forgotten_after_a_while() {
    let mut world = World::pair(1);
    world.send(0, "10.0.0.2", echo("10.0.0.1", "10.0.0.2"));
    world.run_secs(800);
    assert_eq!(world.state(0, "10.0.0.2"), Some(State::Stale));
    world.run_secs(200);
    assert_eq!(world.neighbour(0, "10.0.0.2"), None);
}

#[test]
fn a_neighbour_that_moves_is_followed_and_checked_at_its_next_use() {
    let mut world = World::pair(1);
    world.send(0, "10.0.0.2", echo("10.0.0.1", "10.0.0.2"));
    world.stations.pop();
    let moved = Mac([2, 0, 0, 0, 0, 0xcc]);
    world.join(config(moved, &["10.0.0.2/24"]));
    let neighbour = world.neighbour(0, "10.0.0.2").unwrap();
    assert_eq!((neighbour.mac, neighbour.state), (Some(moved), State::Stale));
    assert!(world.logs(0).iter().any(|record| record.is::<events::HardwareAddressChanged>()));
    world.send(0, "10.0.0.2", echo("10.0.0.1", "10.0.0.2"));
    assert_eq!(world.packets(1), 1);
}

#[test]
fn an_answer_that_nobody_asked_for_changes_nothing() {
    let mut world = World::pair(1);
    let lie = arp(Operation::Reply, (STRANGER, "10.0.0.7"), MAC_A, "10.0.0.1");
    world.inject(0, &lie);
    assert_eq!((world.neighbour(0, "10.0.0.7"), world.drops(0, Reason::ArpUnsolicited)), (None, 1));
    world.send(0, "10.0.0.2", echo("10.0.0.1", "10.0.0.2"));
    world.inject(0, &arp(Operation::Reply, (STRANGER, "10.0.0.2"), MAC_A, "10.0.0.1"));
    assert_eq!(world.neighbour(0, "10.0.0.2").unwrap().mac, Some(MAC_B));
    assert_eq!(world.drops(0, Reason::ArpUnsolicited), 2);
    world.inject(0, &arp(Operation::Request, (STRANGER, "10.0.0.8"), Mac::BROADCAST, "10.0.0.8"));
    assert_eq!(world.neighbour(0, "10.0.0.8"), None, "an announcement makes no new neighbour");
}

#[test]
fn who_asks_us_is_known_and_who_is_of_another_network_is_not() {
    let mut world = World::pair(1);
    world.inject(0, &arp(Operation::Request, (STRANGER, "10.0.0.7"), Mac::BROADCAST, "10.0.0.1"));
    assert_eq!(world.state(0, "10.0.0.7"), Some(State::Stale));
    world.inject(0, &arp(Operation::Request, (STRANGER, "10.9.0.7"), Mac::BROADCAST, "10.0.0.1"));
    assert_eq!((world.neighbour(0, "10.9.0.7"), world.drops(0, Reason::ArpForeignNetwork)), (None, 1));
    let mut forged = arp(Operation::Request, (STRANGER, "10.0.0.6"), Mac::BROADCAST, "10.0.0.1");
    forged[6..12].copy_from_slice(&MAC_B.0);
    world.inject(0, &forged);
    assert_eq!((world.neighbour(0, "10.0.0.6"), world.drops(0, Reason::ArpSenderMismatch)), (None, 1));
    world.inject(0, &arp(Operation::Request, (STRANGER, "10.0.0.7"), Mac::BROADCAST, "10.0.0.77"));
    assert_eq!(world.drops(0, Reason::ArpNotForUs), 1);
}

#[test]
fn a_neighbour_that_is_told_is_never_asked_for_and_never_overridden() {
    let mut told = config(MAC_A, &["10.0.0.1/24"]);
    told.statics.push(StaticNeighbor { interface: IF, address: ip("10.0.0.2"), mac: MAC_B });
    let mut world = World::new(1, vec![told]);
    world.inject(0, &arp(Operation::Request, (STRANGER, "10.0.0.2"), Mac::BROADCAST, "10.0.0.1"));
    assert_eq!(world.neighbour(0, "10.0.0.2").unwrap().mac, Some(MAC_B));
    assert_eq!(world.drops(0, Reason::StaticOverride), 1);
    assert!(world.logs(0).iter().any(|record| record.is::<events::StaticNeighborMismatch>()));
    let before = world.frames.len();
    world.send(0, "10.0.0.2", echo("10.0.0.1", "10.0.0.2"));
    assert_eq!((world.frames.len() - before, &world.frames[before][..6]), (1, &MAC_B.0[..]));
}

#[test]
fn an_address_that_somebody_else_uses_is_defended_once_in_ten_seconds() {
    let mut world = World::pair(1);
    let theft = arp(Operation::Request, (STRANGER, "10.0.0.1"), Mac::BROADCAST, "10.0.0.2");
    let before = world.frames.len();
    for _ in 0..5 {
        world.inject(0, &theft);
    }
    assert_eq!(world.frames.len() - before, 1, "one announcement");
    assert_eq!(world.drops(0, Reason::AddressConflict), 5);
    let conflict = |output: &&Output| matches!(output, Output::Conflict { kept: true, mac: STRANGER, .. });
    assert_eq!(world.stations[0].out.iter().filter(conflict).count(), 1);
    world.run_secs(11);
    world.inject(0, &theft);
    assert_eq!(world.stations[0].out.iter().filter(conflict).count(), 2);
    assert!(world.logs(0).iter().any(|record| record.is::<events::AddressConflict>()));
}

#[test]
fn an_ipv6_address_that_somebody_has_is_not_used() {
    let mut world = World::pair(1);
    let late = world.join(config(Mac([2, 0, 0, 0, 0, 0xcc]), &["2001:db8::2/64"]));
    world.run_secs(5);
    let conflict = |output: &Output| matches!(output, Output::Conflict { kept: false, mac: MAC_B, .. });
    assert!(world.stations[late].out.iter().any(conflict));
    assert!(world.logs(late).iter().any(|record| record.is::<events::DuplicateAddress>()));
    world.send(0, "2001:db8::2", echo("2001:db8::1", "2001:db8::2"));
    assert_eq!((world.packets(1), world.packets(late)), (1, 0));
}

#[test]
fn addresses_are_announced_twice_at_the_start_and_when_the_link_comes_back() {
    let mut world = World::new(1, vec![config(MAC_A, &["10.0.0.1/24"])]);
    let announcement = arp(Operation::Request, (MAC_A, "10.0.0.1"), Mac::BROADCAST, "10.0.0.1");
    assert_eq!(world.frames, [announcement.clone(), announcement.clone()]);
    world.with(0, |link, now, out| link.link_state(now, PORT, false, out));
    world.send(0, "10.0.0.2", echo("10.0.0.1", "10.0.0.2"));
    assert_eq!(world.drops(0, Reason::PortDown), 1);
    world.with(0, |link, now, out| link.link_state(now, PORT, true, out));
    world.run_secs(3);
    assert_eq!(world.frames.len(), 4);
    let more = Arc::new(config(MAC_A, &["10.0.0.1/24", "10.0.0.3/24"]));
    world.with(0, |link, now, out| link.configure(now, more, out));
    world.run_secs(3);
    let new = arp(Operation::Request, (MAC_A, "10.0.0.3"), Mac::BROADCAST, "10.0.0.3");
    assert_eq!(world.frames[4..], [new.clone(), new], "only what is new");
}

#[test]
fn another_configuration_keeps_the_neighbours_of_interfaces_that_stay() {
    let mut world = World::pair(1);
    world.send(0, "10.0.0.2", echo("10.0.0.1", "10.0.0.2"));
    let same = Arc::new(config(MAC_A, &["10.0.0.1/24", "10.0.0.5/24"]));
    world.with(0, |link, now, out| link.configure(now, same, out));
    assert_eq!(world.state(0, "10.0.0.2"), Some(State::Reachable));
    let mut tagged = config(MAC_A, &["10.0.0.1/24"]);
    tagged.ports[0].interfaces[0].vlan = Some(7);
    world.with(0, |link, now, out| link.configure(now, Arc::new(tagged), out));
    assert_eq!(world.neighbour(0, "10.0.0.2"), None);
}

#[test]
fn a_full_table_forgets_who_never_answered_first() {
    let mut small = config(MAC_A, &["10.0.0.1/16"]);
    small.limits.neighbours_max = 3;
    let mut world = World::new(1, vec![small, config(MAC_B, &["10.0.0.2/16"])]);
    world.send(0, "10.0.0.2", echo("10.0.0.1", "10.0.0.2"));
    for host in 10..30 {
        world.send(0, &format!("10.0.1.{host}"), echo("10.0.0.1", "10.0.1.1"));
    }
    assert_eq!((world.stations[0].link.neighbours().count(), world.drops(0, Reason::TableFull)), (3, 18));
    assert_eq!(world.state(0, "10.0.0.2"), Some(State::Reachable));
    assert!(world.logs(0).iter().any(|record| record.is::<events::NeighborTableFull>()));
    // Who only asks forgets nobody.
    world.inject(0, &arp(Operation::Request, (STRANGER, "10.0.0.7"), Mac::BROADCAST, "10.0.0.1"));
    assert_eq!(world.neighbour(0, "10.0.0.7"), None);
}

#[test]
fn questions_have_a_rate() {
    let mut slow = config(MAC_A, &["10.0.0.1/16"]);
    slow.limits.questions_per_second = 5;
    let mut world = World::new(1, vec![slow]);
    let before = world.frames.len();
    for host in 10..30 {
        world.send(0, &format!("10.0.1.{host}"), echo("10.0.0.1", "10.0.1.1"));
    }
    assert_eq!((world.frames.len() - before, world.drops(0, Reason::QuestionRate)), (5, 15));
}

#[test]
fn a_probe_tells_that_the_gateway_was_heard() {
    let mut world = World::pair(1);
    for address in ["10.0.0.2", "2001:db8::2"] {
        world.with(0, |link, now, out| link.probe(now, IF, ip(address), out));
        let heard = Output::Heard { interface: IF, address: ip(address), mac: MAC_B };
        assert_eq!(world.stations[0].out.iter().filter(|output| **output == heard).count(), 1);
    }
    world.loss = 100;
    world.with(0, |link, now, out| link.probe(now, IF, ip("10.0.0.2"), out));
    world.loss = 0;
    world.run_secs(4);
    world.inject(0, &arp(Operation::Reply, (MAC_B, "10.0.0.2"), MAC_A, "10.0.0.1"));
    let heard = |output: &&Output| matches!(output, Output::Heard { .. });
    assert_eq!(world.stations[0].out.iter().filter(heard).count(), 2, "too late");
}

#[test]
fn what_neighbour_discovery_must_not_say_is_counted() {
    let mut world = World::pair(1);
    let frame = |packet: &[u8]| [Prefix::new(MAC_A, MAC_B, None, ethernet::IPV6).bytes(), packet].concat();
    let v6 = |text: &str| text.parse().unwrap();
    let target_mac = Some(STRANGER);
    let say = |target: &str, solicited, overrides| {
        let message = Message::Advertisement { target: v6(target), target_mac, router: false, solicited, overrides };
        frame(&message.packet(v6(target), v6("2001:db8::1")).unwrap())
    };
    world.send(0, "2001:db8::2", echo("2001:db8::1", "2001:db8::2"));
    world.inject(0, &say("2001:db8::2", true, true));
    assert_eq!(world.drops(0, Reason::NdpUnsolicited), 1, "nobody asked");
    world.inject(0, &say("2001:db8::2", false, false));
    assert_eq!(world.neighbour(0, "2001:db8::2").unwrap().mac, Some(MAC_B), "it does not insist");
    world.inject(0, &say("2001:db8:9::2", false, true));
    assert_eq!(world.drops(0, Reason::NdpForeignNetwork), 1);
    let mut redirect = say("2001:db8::2", false, true);
    redirect[14 + 40] = 137;
    world.inject(0, &redirect);
    assert_eq!(world.drops(0, Reason::NdpMalformed), 1, "the checksum is that of another message");
    world.inject(0, &say("2001:db8::2", false, true));
    assert_eq!(world.neighbour(0, "2001:db8::2").unwrap().mac, target_mac, "it has moved");
}

#[test]
fn routers_and_redirects_are_not_listened_to() {
    let control = |kind: u8| {
        let mut message = vec![0; 40];
        message[0] = kind;
        let (from, to) = (ip("2001:db8::2"), ip("2001:db8::1"));
        let sum = wire::checksum::Sum::new().with_pseudo_header(from, to, 58, 40).with(&message).checksum();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut packet = icmp::ip_packet(from, to, 58, &message).unwrap();
        packet[7] = 255;
        [Prefix::new(MAC_A, MAC_B, None, ethernet::IPV6).bytes(), &packet].concat()
    };
    let mut world = World::pair(1);
    for (kind, reason) in [(133, Reason::RouterDiscovery), (134, Reason::RouterDiscovery), (137, Reason::NdpRedirect)] {
        let before = world.drops(0, reason);
        world.inject(0, &control(kind));
        assert_eq!(world.drops(0, reason), before + 1, "{kind}");
    }
    assert_eq!((world.packets(0), world.stations[0].link.neighbours().count()), (0, 0));
}

#[test]
fn who_asks_for_others_is_not_answered_and_who_asks_too_often_neither() {
    let mut busy = config(MAC_A, &["10.0.0.1/24", "2001:db8::1/64"]);
    busy.limits.answers_per_second = 3;
    let mut world = World::new(1, vec![busy]);
    let ask = |target: &str| {
        let message = Message::Solicitation { target: target.parse().unwrap(), source_mac: Some(MAC_B) };
        let packet = message.packet("2001:db8::2".parse().unwrap(), "2001:db8::1".parse().unwrap()).unwrap();
        [Prefix::new(MAC_A, MAC_B, None, ethernet::IPV6).bytes(), &packet].concat()
    };
    world.inject(0, &ask("2001:db8::9"));
    assert_eq!(world.drops(0, Reason::NdpNotForUs), 1);
    let before = world.frames.len();
    for _ in 0..5 {
        world.inject(0, &ask("2001:db8::1"));
        world.inject(0, &arp(Operation::Request, (MAC_B, "10.0.0.2"), Mac::BROADCAST, "10.0.0.1"));
    }
    assert_eq!((world.frames.len() - before, world.drops(0, Reason::AnswerRate)), (3, 7));
}

#[test]
fn a_router_outside_of_our_networks_is_heard_once_it_was_asked_for() {
    let mut world = World::new(1, vec![config(MAC_A, &["192.0.2.77/32"])]);
    let question = arp(Operation::Request, (MAC_B, "10.0.0.2"), Mac::BROADCAST, "192.0.2.77");
    world.inject(0, &question);
    assert_eq!((world.drops(0, Reason::ArpForeignNetwork), world.neighbour(0, "10.0.0.2")), (1, None));
    world.send(0, "10.0.0.2", echo("192.0.2.77", "198.51.100.1"));
    world.inject(0, &arp(Operation::Reply, (MAC_B, "10.0.0.2"), MAC_A, "192.0.2.77"));
    assert_eq!(world.state(0, "10.0.0.2"), Some(State::Reachable));
    let before = world.frames.len();
    world.inject(0, &question);
    assert_eq!((world.frames.len() - before, world.drops(0, Reason::ArpForeignNetwork)), (1, 1));
}

#[test]
fn packets_that_wait_are_bounded_for_the_whole_interface() {
    let mut small = config(MAC_A, &["10.0.0.1/16"]);
    small.limits.waiting_max = 10;
    let mut world = World::new(1, vec![small]);
    for host in 0..30 {
        world.send(0, &format!("10.0.1.{host}"), echo("10.0.0.1", "10.0.1.1"));
    }
    let waiting: usize = world.stations[0].link.neighbours().map(|neighbour| neighbour.waiting).sum();
    assert_eq!((waiting, world.drops(0, Reason::QueueFull)), (10, 20));
}

#[test]
fn groups_need_no_question() {
    let mut world = World::pair(1);
    for (next_hop, mac) in
        [("224.0.0.5", Mac([1, 0, 0x5e, 0, 0, 5])), ("255.255.255.255", Mac::BROADCAST), ("10.0.0.255", Mac::BROADCAST)]
    {
        world.send(0, next_hop, echo("10.0.0.1", next_hop));
        assert_eq!(world.frames.last().unwrap()[..6], mac.0);
    }
    world.send(0, "10.0.0.1", echo("10.0.0.1", "10.0.0.1"));
    assert_eq!(world.drops(0, Reason::OwnAddress), 1);
    world.send(0, "10.0.0.255", Buffer::copy(&[0x50; 20]));
    assert_eq!(world.drops(0, Reason::NotIpOut), 1);
}
