//! How a tunnel comes up.

use sim::{Plan, Seconds};

use crate::office::{assert_at_rest, assert_nothing_leaked, counter, ike_sas, offices};

#[test]
fn the_first_packet_brings_the_tunnel_up_and_gets_its_answer() {
    let (mut world, net) = offices(1, Plan::example());
    world.run_for(60.secs());
    assert!(ike_sas(&mut world, net.hq.gateway).is_empty(), "nobody has asked for a tunnel yet");
    let ping = world.ping(net.hq.host, net.branch.address);
    world.run_for(2.secs());
    assert_eq!((ping.answers(), ping.duplicates()), (1, 0));
    assert_at_rest(&mut world, &net);
    assert!(ike_sas(&mut world, net.hq.gateway)[0].initiator);
    assert!(!ike_sas(&mut world, net.branch.gateway)[0].initiator);
    assert_nothing_leaked(&mut world, &net);
}

#[test]
fn packets_that_wait_for_the_tunnel_are_not_lost() {
    let (mut world, net) = offices(2, Plan::example());
    let pings = world.pings(net.hq.host, net.branch.address, 5, 1.millis(), 500);
    world.run_for(2.secs());
    assert_eq!(pings.answers(), 5);
}

#[test]
fn the_branch_can_begin_as_well() {
    let (mut world, net) = offices(3, Plan::example());
    let ping = world.ping(net.branch.host, net.hq.address);
    world.run_for(2.secs());
    assert_eq!(ping.answers(), 1);
    assert_at_rest(&mut world, &net);
    assert!(ike_sas(&mut world, net.branch.gateway)[0].initiator);
}

#[test]
fn auto_establish_needs_no_packet() {
    let (mut world, net) = offices(4, Plan::example().tunnel_at_branch("AutoEstablish=Yes"));
    world.run_for(5.secs());
    assert_at_rest(&mut world, &net);
    let ping = world.ping(net.hq.host, net.branch.address);
    world.run_for(1.secs());
    // 16.4 ms one way; nothing was negotiated for this packet.
    assert_eq!(ping.round_trip().map(|(fastest, _)| fastest < 50.millis()), Some(true), "{ping:?}");
}

#[test]
fn auto_establish_goes_on_until_the_peer_is_there() {
    let (mut world, net) = offices(5, Plan::example().tunnel_at_head_office("AutoEstablish=Yes"));
    world.link(net.branch.wan).down();
    world.run_for(600.secs());
    assert!(ike_sas(&mut world, net.branch.gateway).is_empty());
    world.link(net.branch.wan).up();
    assert!(world.run_until(60.secs(), |world| !ike_sas(world, net.branch.gateway).is_empty()));
    world.run_for(5.secs());
    assert_at_rest(&mut world, &net);
}

#[test]
fn the_operator_can_set_it_up() {
    let (mut world, net) = offices(6, Plan::example());
    let answer = world.cli(net.hq.gateway, "ike -connect ipsec_hq_to_branch");
    assert!(answer.success, "{}", answer.text);
    world.run_for(2.secs());
    assert_at_rest(&mut world, &net);
    let shown = world.cli(net.hq.gateway, "ike").text;
    assert!(shown.contains("ipsec_hq_to_branch") && shown.contains("203.0.113.1"), "{shown}");
}

#[test]
fn a_tunnel_comes_up_although_every_first_packet_is_lost() {
    let (mut world, net) = offices(7, Plan::example());
    world.between(&net).drop_first_of_each_exchange();
    let ping = world.ping_out(&net, 1.secs());
    world.run_for(30.secs());
    ping.stop();
    world.run_for(2.secs());
    assert!(ping.answers() > 20, "{ping:?}");
    assert_at_rest(&mut world, &net);
}

#[test]
fn it_comes_up_whichever_packets_are_lost_first() {
    for lost in 1..=5 {
        for from_hq in [true, false] {
            let (mut world, net) = offices(8, Plan::example());
            let sender = if from_hq { net.internet } else { net.branch.gateway };
            let mut left = lost;
            world.between(&net).filter(move |sighting| {
                let drop = sighting.from == sender && left > 0;
                left -= usize::from(drop);
                if drop { sim::Fate::Drop } else { sim::Fate::Pass }
            });
            let ping = world.ping_out(&net, 1.secs());
            let up = world.run_until(40.secs(), |_| ping.answers() > 0);
            assert!(up, "{lost} packets lost, from the head office: {from_hq}");
            world.run_for(30.secs());
            assert_at_rest(&mut world, &net);
        }
    }
}

#[test]
fn it_comes_up_when_a_fifth_of_all_packets_is_lost() {
    let mut slowest = 0.secs();
    for seed in 0..150 {
        let (mut world, net) = offices(seed, Plan::example());
        world.between(&net).loss(20);
        let ping = world.ping_out(&net, 1.secs());
        let up = world.run_until(60.secs(), |_| ping.answers() > 0);
        assert!(up, "seed {seed}: {ping:?}");
        slowest = slowest.max(world.now().since(base::Instant::ZERO));
        world.between(&net).heal();
        world.run_for(60.secs());
        assert_at_rest(&mut world, &net);
        assert_nothing_leaked(&mut world, &net);
    }
    assert!(slowest < 40.secs(), "the slowest took {slowest:?}");
}

#[test]
fn bad_links_of_every_kind_delay_it_only() {
    for seed in 0..60 {
        let (mut world, net) = offices(seed, Plan::example());
        world.between(&net).loss(30).duplication(20).reordering(30).corruption(5).jitter(200.millis());
        let ping = world.ping_out(&net, 1.secs());
        world.run_for(60.secs());
        world.between(&net).heal();
        let before = ping.answers();
        assert!(world.run_until(30.secs(), |_| ping.answers() > before), "seed {seed}: {ping:?}");
        assert_eq!(ping.strangers(), 0, "seed {seed}");
        // A network may double a packet; the replay window may not let it through.
        assert_eq!(ping.duplicates(), 0, "seed {seed}");
        assert_nothing_leaked(&mut world, &net);
    }
}

#[test]
fn both_sides_may_begin_at_the_same_time() {
    for seed in 0..20 {
        let (mut world, net) = offices(seed, Plan::example().tunnel("AutoEstablish=Yes"));
        let (out, back) = (world.ping_out(&net, 1.secs()), world.ping_in(&net, 1.secs()));
        world.run_for(120.secs());
        out.stop();
        back.stop();
        world.run_for(2.secs());
        assert_eq!((out.unanswered(), back.unanswered()), (0, 0), "seed {seed}");
        assert!(crate::office::agree(&mut world, &net), "seed {seed}");
        let made = counter(&mut world, net.hq.gateway, "ike_established");
        assert!(made <= 2, "seed {seed}: {made} IKE SAs for one tunnel");
    }
}

#[test]
fn every_mixture_of_ipv4_and_ipv6_carries_ping_and_tcp() {
    for (seed, plan) in
        [Plan::example(), Plan::example().inner_v6(), Plan::example().outer_v6(), Plan::example().inner_v6().outer_v6()]
            .into_iter()
            .enumerate()
    {
        let (mut world, net) = offices(seed as u64, plan);
        let ping = world.pings(net.hq.host, net.branch.address, 3, 1.secs(), 3_000);
        world.run_for(2.secs());
        let there = world.transfer_to(net.hq.host, net.branch.host, net.branch.address, 200_000);
        let back = world.transfer_to(net.branch.host, net.hq.host, net.hq.address, 200_000);
        world.run_for(60.secs());
        assert_eq!(ping.answers(), 3, "mixture {seed}");
        assert!(there.is_complete() && back.is_complete(), "mixture {seed}: {there:?} {back:?}");
        assert_at_rest(&mut world, &net);
        assert_nothing_leaked(&mut world, &net);
    }
}
