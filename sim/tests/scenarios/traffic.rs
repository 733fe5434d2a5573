//! What tunnels carry, and what they do not let through.

use sim::{Plan, Seconds};

use crate::office::{agree, assert_nothing_leaked, ike_sas, offices};

#[test]
fn tcp_arrives_whole_both_ways_over_a_bad_link() {
    for seed in 0..3 {
        let (mut world, net) = offices(seed, Plan::example());
        world.between(&net).loss(3).reordering(10).duplication(3).corruption(2);
        let there = world.transfer(net.hq.host, net.branch.host, 300_000);
        let back = world.transfer(net.branch.host, net.hq.host, 300_000);
        let done = world.run_until(900.secs(), |_| there.is_complete() && back.is_complete());
        assert!(done, "seed {seed}: {there:?} {back:?}");
        assert_eq!(there.checksum(), there.expected_checksum());
        assert_eq!(back.checksum(), back.expected_checksum());
        assert_nothing_leaked(&mut world, &net);
    }
}

#[test]
fn every_size_of_packet_passes() {
    let (mut world, net) = offices(4, Plan::example());
    world.ping(net.hq.host, net.branch.address);
    world.run_for(2.secs());
    let sizes = [8, 9, 56, 500, 1_300, 1_372, 1_373, 1_392, 1_393, 1_400, 1_472, 1_473, 3_000, 9_000, 20_000];
    let pings = sizes.map(|size| world.pings(net.hq.host, net.branch.address, 1, 1.secs(), size));
    world.run_for(3.secs());
    for (size, ping) in sizes.iter().zip(&pings) {
        assert_eq!((ping.answers(), ping.strangers()), (1, 0), "{size} bytes of data");
    }
}

#[test]
fn tcp_passes_a_black_hole_that_a_tunnel_would_fall_into() {
    let (mut world, net) = offices(5, Plan::example());
    let undisturbed = world.transfer(net.hq.host, net.branch.host, 1_000_000);
    assert!(world.run_until(120.secs(), |_| undisturbed.is_complete()));
    // Full packets of the inner network do not fit with the tunnel's headers, and nobody would say so.
    world.between(&net).black_hole_over(1_500);
    let limited = world.transfer(net.hq.host, net.branch.host, 1_000_000);
    assert!(world.run_until(120.secs(), |_| limited.is_complete()), "{limited:?}");
    let (before, after) = (undisturbed.took().unwrap(), limited.took().unwrap());
    assert!(after < before * 2, "{after:?} instead of {before:?}");
}

#[test]
fn what_is_outside_the_tunnels_networks_does_not_go_through_it() {
    let (mut world, net) = offices(6, Plan::example());
    let stranger = world.ping(net.hq.host, "192.168.12.10".parse::<std::net::IpAddr>().unwrap());
    let ping = world.ping(net.hq.host, net.branch.address);
    world.run_for(3.secs());
    assert_eq!((stranger.answers(), ping.answers()), (0, 1));
    // Nobody protects 192.168.12.0/24: the kernel sends it to the internet, which refuses it.
    assert_eq!(world.router(net.internet).leaks(), 1);
}

#[test]
fn nothing_leaves_in_clear_while_there_is_no_tunnel() {
    let (mut world, net) = offices(7, Plan::example());
    world.power_off(net.branch.gateway);
    let ping = world.ping_out(&net, 100.millis());
    let transfer = world.transfer(net.hq.host, net.branch.host, 100_000);
    world.run_for(300.secs());
    assert_eq!((ping.answers(), transfer.received()), (0, 0));
    assert_nothing_leaked(&mut world, &net);
    world.power_on(net.branch.gateway);
    assert!(world.run_until(120.secs(), |_| ping.answers() > 0 && transfer.is_complete()), "{transfer:?}");
    assert_nothing_leaked(&mut world, &net);
}

#[test]
fn the_same_seed_gives_byte_equal_actions() {
    let history = |seed| {
        let (mut world, net) = offices(seed, Plan::example().tunnel("IPsecLifeTimeSeconds=40"));
        world.gateway(net.hq.gateway).record();
        world.between(&net).loss(10).reordering(10).duplication(5).corruption(5).jitter(20.millis());
        let _ping = world.ping_in(&net, 300.millis());
        let _transfer = world.transfer(net.hq.host, net.branch.host, 50_000);
        world.run_for(120.secs());
        world.cli(net.hq.gateway, "ike");
        world.cli(net.hq.gateway, "ipsec -usage");
        let digest = world.gateway(net.branch.gateway).digest();
        (world.gateway(net.hq.gateway).recorded().to_vec(), digest)
    };
    let (first, again, other) = (history(8), history(8), history(9));
    assert!(!first.0.is_empty());
    assert!(first == again, "the same seed gave another history");
    assert!(first.0 != other.0 && first.1 != other.1, "another seed gave the same history");
}

#[test]
fn hosts_and_ports_get_sas_of_their_own_where_the_tunnel_says_so() {
    for (per, expected) in [("Host", 1), ("Port", 3)] {
        let (mut world, net) = offices(9, Plan::example().tunnel(&format!("SetupSAPer={per}")));
        let ping = world.ping_out(&net, 500.millis());
        let first = world.transfer(net.hq.host, net.branch.host, 100_000);
        let second = world.transfer(net.hq.host, net.branch.host, 100_000);
        let done = world.run_until(60.secs(), |_| first.is_complete() && second.is_complete() && ping.answers() > 5);
        assert!(done, "{per}: {first:?} {second:?} {ping:?}");
        let sas = ike_sas(&mut world, net.hq.gateway);
        assert_eq!(sas.len(), 1);
        let children: Vec<String> = sas[0]
            .children
            .iter()
            .filter(|child| child.current)
            .map(|child| format!("{} to {}", child.local[0], child.remote[0]))
            .collect();
        assert_eq!(children.len(), expected, "{per}: {children:?}");
        assert!(children.iter().all(|child| !child.contains("/24")), "{children:?}");
        assert!(agree(&mut world, &net));
        assert_nothing_leaked(&mut world, &net);
        // What is used is rekeyed: the pings go on. What is not used ends.
        world.run_for(8_000.secs());
        let left: usize = ike_sas(&mut world, net.hq.gateway).iter().map(|sa| sa.children.len()).sum();
        assert_eq!((left, ping.unanswered()), (1, 0), "{per}");
    }
}
