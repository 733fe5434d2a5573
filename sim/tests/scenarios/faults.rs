//! Peers that die, addresses that change, clocks that jump, links that break.

use sim::{Plan, Seconds};

use crate::office::{agree, assert_at_rest, assert_nothing_leaked, child_spis, ike_spis, offices};

#[test]
fn a_branch_that_restarts_is_taken_back_by_its_initial_contact() {
    let (mut world, net) = offices(1, Plan::example().tunnel_at_branch("AutoEstablish=Yes"));
    let ping = world.ping_out(&net, 1.secs());
    world.run_for(10.secs());
    world.power_off(net.branch.gateway);
    world.run_for(3.secs());
    world.power_on(net.branch.gateway);
    world.run_for(2.secs());
    let before = ping.answers();
    world.run_for(5.secs());
    assert!(ping.answers() >= before + 4, "{ping:?}");
    // RFC 7296 section 2.4: what the branch had before it lost its memory is gone.
    assert_at_rest(&mut world, &net);
}

#[test]
fn a_peer_that_lost_its_memory_is_found_out_under_traffic() {
    let (mut world, net) = offices(2, Plan::example());
    let ping = world.ping_out(&net, 1.secs());
    world.run_for(10.secs());
    world.power_off(net.branch.gateway);
    world.power_on(net.branch.gateway);
    let before = ping.answers();
    // An SPI that the branch does not know is a hint to probe; DPD finds out in any case: 30 s and the probes.
    assert!(world.run_until(60.secs(), |_| ping.answers() > before), "{ping:?}");
    world.run_for(40.secs());
    assert_at_rest(&mut world, &net);
    assert_nothing_leaked(&mut world, &net);
}

#[test]
fn a_dead_peer_is_noticed_and_explained() {
    let (mut world, net) = offices(3, Plan::example());
    let ping = world.ping_out(&net, 1.secs());
    world.run_for(10.secs());
    world.power_off(net.branch.gateway);
    let gone = ike_spis(&mut world, net.hq.gateway);
    assert!(world.run_until(60.secs(), |world| ike_spis(world, net.hq.gateway).is_disjoint(&gone)));
    assert_eq!(world.gateway(net.hq.gateway).logged("dpd_peer_dead"), 1);
    world.run_for(200.secs());
    let shown = world.cli(net.hq.gateway, "ike").text;
    assert!(shown.contains("last trouble"), "{shown}");
    world.power_on(net.branch.gateway);
    let before = ping.answers();
    assert!(world.run_until(60.secs(), |_| ping.answers() > before), "{ping:?}");
    assert_nothing_leaked(&mut world, &net);
}

#[test]
fn who_goes_down_in_order_takes_its_sas_along() {
    let (mut world, net) = offices(4, Plan::example());
    let ping = world.ping(net.hq.host, net.branch.address);
    world.run_for(2.secs());
    assert_eq!(ping.answers(), 1);
    world.shut_down(net.branch.gateway);
    world.run_for(2.secs());
    assert!(world.gateway(net.branch.gateway).is_down());
    assert!(child_spis(&mut world, net.hq.gateway).is_empty() && ike_spis(&mut world, net.hq.gateway).is_empty());
}

#[test]
fn an_operator_who_deletes_a_tunnel_deletes_it_at_both_ends() {
    let (mut world, net) = offices(5, Plan::example());
    let ping = world.ping_out(&net, 1.secs());
    world.run_for(5.secs());
    ping.stop();
    world.run_for(1.secs());
    let answer = world.cli(net.hq.gateway, "ike -delete ipsec_hq_to_branch");
    assert!(answer.success, "{}", answer.text);
    world.run_for(1.secs());
    for node in [net.hq.gateway, net.branch.gateway] {
        assert!(ike_spis(&mut world, node).is_empty());
    }
    let again = world.ping(net.branch.host, net.hq.address);
    world.run_for(2.secs());
    assert_eq!(again.answers(), 1);
}

#[test]
fn a_nat_in_front_of_the_branch_is_found_and_kept_open() {
    let (mut world, net) = offices(6, Plan::example().nat());
    let first = world.ping(net.branch.host, net.hq.address);
    world.run_for(2.secs());
    assert_eq!(first.answers(), 1);
    // Silence, but for the keep-alives that hold the NAT box's mapping of 60 seconds.
    world.run_for(600.secs());
    let back = world.pings(net.hq.host, net.branch.address, 10, 1.secs(), 56);
    world.run_for(12.secs());
    assert_eq!(back.answers(), 10);
    assert_nothing_leaked(&mut world, &net);
}

#[test]
fn a_nat_that_forgets_costs_a_packet_at_most() {
    let (mut world, net) = offices(7, Plan::example().nat());
    let nat = net.nat.expect("this plan has one");
    let (out, back) = (world.ping_out(&net, 200.millis()), world.ping_in(&net, 200.millis()));
    // The head office cannot begin: behind a NAT only the branch can.
    world.run_for(5.secs());
    let before = (out.unanswered(), back.unanswered());
    for _ in 0..5 {
        world.nat(nat).rebind();
        world.run_for(10.secs());
    }
    world.nat(nat).move_to("203.0.113.77".parse().unwrap());
    world.run_for(10.secs());
    out.stop();
    back.stop();
    world.run_for(2.secs());
    let lost = (out.unanswered().saturating_sub(before.0), back.unanswered().saturating_sub(before.1));
    // RFC 7296 section 2.23: the first authenticated packet from the new place moves the SA.
    assert!(lost.0 <= 2 * 6 && lost.1 <= 6, "{lost:?} lost in six changes");
    assert!(agree(&mut world, &net));
    assert_nothing_leaked(&mut world, &net);
}

#[test]
fn a_wall_clock_that_jumps_closes_nothing() {
    let (mut world, net) = offices(8, Plan::example());
    let ping = world.ping_out(&net, 1.secs());
    world.run_for(10.secs());
    let before = child_spis(&mut world, net.hq.gateway);
    const HOUR: i64 = 3_600;
    for jump in [HOUR, -2 * HOUR, 25 * HOUR, -48 * HOUR, 5 * 365 * 24 * HOUR, -6 * 365 * 24 * HOUR] {
        world.gateway(net.hq.gateway).turn_clock(jump);
        world.run_for(20.secs());
    }
    ping.stop();
    world.run_for(1.secs());
    assert_eq!(ping.unanswered(), 0);
    assert_eq!(child_spis(&mut world, net.hq.gateway), before);
}

#[test]
fn a_link_that_was_down_carries_again() {
    for (seed, down) in [5, 50, 500].into_iter().enumerate() {
        let (mut world, net) = offices(seed as u64, Plan::example());
        let (out, back) = (world.ping_out(&net, 1.secs()), world.ping_in(&net, 1.secs()));
        world.run_for(10.secs());
        world.between(&net).down();
        world.run_for(down.secs());
        world.between(&net).up();
        let before = (out.answers(), back.answers());
        let healed = world.run_until(30.secs(), |_| out.answers() > before.0 && back.answers() > before.1);
        assert!(healed, "after {down} s of silence: {out:?}");
        assert_nothing_leaked(&mut world, &net);
    }
}

#[test]
fn traffic_flows_again_soon_after_any_faults_heal() {
    let (mut slow, runs) = (0, 40);
    for seed in 0..runs {
        let plan = Plan::example().tunnel("IKELifeTimeSeconds=120 IPsecLifeTimeSeconds=40");
        let (mut world, net) = offices(seed, plan);
        let ping = world.ping_out(&net, 500.millis());
        world.run_for(10.secs());
        world.between(&net).loss(60).duplication(20).reordering(30).corruption(10).jitter(500.millis());
        world.run_for((20 + seed * 3).secs());
        if seed % 3 == 0 {
            world.power_off(net.branch.gateway);
            world.run_for(2.secs());
            world.power_on(net.branch.gateway);
        }
        world.between(&net).heal();
        let before = ping.answers();
        let soon = world.run_until(5.secs(), |_| ping.answers() > before);
        let at_all = soon || world.run_until(55.secs(), |_| ping.answers() > before);
        assert!(at_all, "seed {seed}: {ping:?}");
        slow += u64::from(!soon);
        assert_eq!((ping.strangers(), ping.duplicates()), (0, 0), "seed {seed}");
        assert_nothing_leaked(&mut world, &net);
    }
    assert!(slow * 2 < runs, "{slow} of {runs} took longer than 5 s");
}
