//! The world without a gateway: links, routers, NAT boxes and hosts do what they are said to do.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

use sim::{Fate, Interface, LinkId, NodeId, Seconds, World};

/// Two hosts with public addresses and the internet between them.
struct Neighbours {
    alice: NodeId,
    bob: NodeId,
    internet: NodeId,
    to_bob: LinkId,
}

const BOB: &str = "203.0.113.20";
const BOB_V6: &str = "2001:db8:203::20";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn neighbours(world: &mut World) -> Neighbours {
    let interface = |name: &str, v4: &str, v6: &str| Interface::new(name).address(v4).address(v6);
    let alice = interface("eth0", "198.51.100.20/24", "2001:db8:100::20/64");
    let bob = interface("eth0", "203.0.113.20/24", "2001:db8:203::20/64");
    let alice = world.add_host("alice", alice.gateway("198.51.100.254").gateway("2001:db8:100::fe"));
    let bob = world.add_host("bob", bob.gateway("203.0.113.254").gateway("2001:db8:203::fe"));
    let internet = world.add_router(
        "internet",
        vec![
            interface("to-a", "198.51.100.254/24", "2001:db8:100::fe/64"),
            interface("to-b", "203.0.113.254/24", "2001:db8:203::fe/64"),
        ],
    );
    world.join((alice, "eth0"), (internet, "to-a"), 5.millis());
    let to_bob = world.join((bob, "eth0"), (internet, "to-b"), 5.millis());
    Neighbours { alice, bob, internet, to_bob }
}

#[test]
fn a_ping_takes_twice_the_way() {
    let mut world = World::seeded(1);
    let net = neighbours(&mut world);
    for bob in [BOB, BOB_V6] {
        let ping = world.ping(net.alice, ip(bob));
        world.run_for(1.secs());
        assert_eq!((ping.answers(), ping.round_trip()), (1, Some((20.millis(), 20.millis()))));
    }
}

#[test]
fn what_a_link_is_said_to_do_to_packets_it_does() {
    let mut world = World::seeded(2);
    let net = neighbours(&mut world);
    world.link(net.to_bob).loss(20);
    let ping = world.pings(net.alice, ip(BOB), 1_000, 10.millis(), 56);
    world.run_for(20.secs());
    // Both directions lose a fifth: some 640 answers.
    assert!((580..700).contains(&ping.answers()), "{ping:?}");

    world.link(net.to_bob).heal().duplication(50);
    let ping = world.pings(net.alice, ip(BOB), 100, 10.millis(), 56);
    world.run_for(5.secs());
    assert_eq!(ping.answers(), 100);
    assert!(ping.duplicates() > 50);

    world.link(net.to_bob).heal().corruption(30);
    let ping = world.pings(net.alice, ip(BOB), 100, 10.millis(), 56);
    world.run_for(5.secs());
    assert!((25..75).contains(&ping.answers()) && ping.strangers() == 0, "{ping:?}");

    world.link(net.to_bob).heal().reordering(30);
    let stream = world.stream(net.alice, net.bob, 1.millis(), 100);
    world.run_for(2.secs());
    stream.stop();
    world.run_for(1.secs());
    assert_eq!((stream.received(), stream.duplicates(), stream.strangers()), (stream.sent(), 0, 0));
    assert!(stream.reordered() > 100);

    world.link(net.to_bob).heal().jitter(50.millis());
    let stream = world.stream(net.alice, net.bob, 1.millis(), 100);
    world.run_for(2.secs());
    stream.stop();
    world.run_for(1.secs());
    assert_eq!((stream.received(), stream.reordered()), (stream.sent(), 0));

    world.link(net.to_bob).heal().down();
    let ping = world.ping(net.alice, ip(BOB));
    world.run_for(5.secs());
    assert_eq!((ping.sent(), ping.answers()), (1, 0));
}

#[test]
fn the_first_packets_can_be_lost_and_a_filter_decides_about_any_other() {
    let mut world = World::seeded(3);
    let net = neighbours(&mut world);
    world.link(net.to_bob).drop_first(3);
    let ping = world.pings(net.alice, ip(BOB), 10, 1.secs(), 56);
    world.run_for(20.secs());
    assert_eq!((ping.answers(), ping.waiting().len()), (7, 3));

    let seen = Rc::new(Cell::new(0));
    let count = seen.clone();
    world.link(net.to_bob).heal().filter(move |sighting| {
        count.set(count.get() + 1);
        if sighting.from == net.bob { Fate::Delay(500.millis()) } else { Fate::Pass }
    });
    let ping = world.ping(net.alice, ip(BOB));
    world.run_for(2.secs());
    assert_eq!((ping.round_trip(), seen.get()), (Some((520.millis(), 520.millis())), 2));
}

#[test]
fn a_tcp_transfer_survives_a_bad_link() {
    for seed in 0..5 {
        let mut world = World::seeded(seed);
        let net = neighbours(&mut world);
        world.link(net.to_bob).loss(3).duplication(3).reordering(10).corruption(2).jitter(3.millis());
        let there = world.transfer(net.alice, net.bob, 300_000);
        let back = world.transfer_to(net.bob, net.alice, ip("2001:db8:100::20"), 300_000);
        let done = world.run_until(900.secs(), |_| there.is_complete() && back.is_complete());
        assert!(done, "seed {seed}: {there:?} {back:?}");
        assert_eq!(there.checksum(), there.expected_checksum());
    }
}

#[test]
fn a_small_link_is_told_of_and_tcp_shrinks() {
    for address in [BOB, BOB_V6] {
        let mut world = World::seeded(4);
        let net = neighbours(&mut world);
        world.set_mtu(net.to_bob, 1_300);
        // Bob's stack has been made for 1500 bytes, so that only the router's word can help.
        let transfer = world.transfer_to(net.alice, net.bob, ip(address), 200_000);
        assert!(world.run_until(120.secs(), |_| transfer.is_complete()), "{transfer:?}");
        assert!(world.counters(net.internet).too_big > 0);
        let ping = world.pings(net.alice, ip(address), 1, 1.secs(), 4_000);
        world.run_for(1.secs());
        assert_eq!(ping.answers(), 1);
    }
}

#[test]
fn a_black_hole_swallows_without_a_word() {
    let mut world = World::seeded(5);
    let net = neighbours(&mut world);
    world.link(net.to_bob).black_hole_over(1_300);
    let [short, long] = [1_272, 1_273].map(|size| world.pings(net.alice, ip(BOB), 1, 1.secs(), size));
    world.run_for(1.secs());
    assert_eq!((short.answers(), long.answers(), long.unreachable()), (1, 0, 0));
}

#[test]
fn the_internet_carries_nothing_private_and_counts_it() {
    let mut world = World::seeded(6);
    let net = neighbours(&mut world);
    world.ping(net.alice, ip("192.168.11.10"));
    world.run_for(1.secs());
    let internet = world.router(net.internet);
    assert_eq!(internet.leaks(), 1);
    assert!(internet.leaked()[0].contains("198.51.100.20 > 192.168.11.10 echo request"), "{:?}", internet.leaked());
}

/// Alice behind a NAT box, Bob on the internet.
fn behind_nat(world: &mut World) -> (NodeId, NodeId, NodeId) {
    let internet = world.add_router(
        "internet",
        vec![Interface::new("to-nat").address("192.0.2.254/24"), Interface::new("to-b").address("203.0.113.254/24")],
    );
    let nat = world.add_nat(
        "nat",
        Interface::new("in").address("10.99.0.1/24"),
        Interface::new("out").address("192.0.2.2/24").gateway("192.0.2.254"),
    );
    let alice = Interface::new("eth0").address("10.99.0.10/24").gateway("10.99.0.1");
    let alice = world.add_host("alice", alice);
    let bob = world.add_host("bob", Interface::new("eth0").address("203.0.113.20/24").gateway("203.0.113.254"));
    world.join((alice, "eth0"), (nat, "in"), 1.millis());
    world.join((nat, "out"), (internet, "to-nat"), 5.millis());
    world.join((internet, "to-b"), (bob, "eth0"), 5.millis());
    (alice, nat, bob)
}

#[test]
fn who_is_behind_a_nat_reaches_and_is_not_reached() {
    let mut world = World::seeded(7);
    let (alice, nat, bob) = behind_nat(&mut world);
    let out = world.pings(alice, ip(BOB), 3, 1.secs(), 3_000);
    let transfer = world.transfer(alice, bob, 100_000);
    let stream = world.stream(alice, bob, 10.millis(), 1_400);
    world.run_for(10.secs());
    assert_eq!(out.answers(), 3);
    assert!(transfer.is_complete());
    assert!(stream.received() > 990 && stream.strangers() == 0);
    assert_eq!(world.nat(nat).mappings(), 3);

    let uninvited = world.ping(bob, ip("192.0.2.2"));
    world.run_for(1.secs());
    assert_eq!(uninvited.answers(), 1, "the box itself answers");
    let refused = world.nat(nat).refused();
    let knock = world.transfer_to(bob, alice, ip("192.0.2.2"), 10);
    world.run_for(10.secs());
    assert_eq!(knock.received(), 0);
    assert!(world.nat(nat).refused() > refused);
}

#[test]
fn a_mapping_that_is_not_used_ends_and_a_rebind_changes_the_port() {
    let mut world = World::seeded(8);
    let (alice, nat, bob) = behind_nat(&mut world);
    let stream = world.stream(alice, bob, 1.secs(), 10);
    world.run_for(2.secs());
    let port = |world: &mut World| {
        let last = world.trace().entries().rfind(|entry| &*entry.to == "bob").unwrap().to_string();
        last.split("UDP ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    };
    let before = port(&mut world);
    world.nat(nat).rebind();
    world.run_for(2.secs());
    assert_ne!(port(&mut world), before);
    stream.stop();
    world.run_for(61.secs());
    world.ping(alice, ip("10.99.0.1"));
    world.run_for(1.secs());
    assert_eq!(world.nat(nat).mappings(), 0);
    world.nat(nat).move_to("192.0.2.3".parse().unwrap());
    let ping = world.ping(alice, ip(BOB));
    world.run_for(1.secs());
    assert_eq!(ping.answers(), 1);
    assert!(world.trace().entries().any(|entry| entry.to_string().contains("203.0.113.20 > 192.0.2.3 echo reply")));
}

#[test]
fn the_same_seed_is_the_same_history() {
    let history = |seed| {
        let mut world = World::seeded(seed);
        let net = neighbours(&mut world);
        world.link(net.to_bob).loss(10).reordering(10).duplication(5).corruption(5).jitter(9.millis());
        let _transfer = world.transfer(net.alice, net.bob, 50_000);
        world.ping_every(100.millis(), net.bob, ip("198.51.100.20"));
        world.run_for(20.secs());
        world.trace().pcap("bob")
    };
    assert!(history(9) == history(9));
    assert!(history(9) != history(10));
}
