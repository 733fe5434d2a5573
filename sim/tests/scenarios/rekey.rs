//! Rekeying under traffic: nothing is lost, nothing is left over, however the two sides collide.

use sim::{LanToLan, Ping, Plan, Seconds, World};

use crate::office::{assert_at_rest, assert_nothing_leaked, counter, offices};

/// Both rekey at the same time: the lifetimes are the same on both sides.
const SHORT: &str = "IPsecLifeTimeSeconds=40";

/// Traffic in both directions through a tunnel that one side has brought up.
fn steady(world: &mut World, net: &LanToLan) -> (Ping, Ping) {
    let first = world.ping_out(net, 1.secs());
    assert!(world.run_until(30.secs(), |_| first.answers() > 0));
    first.stop();
    (world.ping_out(net, 50.millis()), world.ping_in(net, 50.millis()))
}

#[test]
fn child_sas_are_rekeyed_without_losing_a_packet() {
    let (mut world, net) = offices(1, Plan::example().tunnel_at_head_office(SHORT));
    let (out, back) = steady(&mut world, &net);
    world.run_for(600.secs());
    out.stop();
    back.stop();
    world.run_for(2.secs());
    assert_eq!((out.unanswered(), out.duplicates()), (0, 0));
    assert_eq!((back.unanswered(), back.duplicates()), (0, 0));
    assert!(counter(&mut world, net.hq.gateway, "child_rekeyed") > 50);
    world.run_for(5.secs());
    assert_nothing_leaked(&mut world, &net);
}

#[test]
fn ike_sas_are_rekeyed_without_losing_a_packet() {
    let plan = Plan::example().tunnel_at_branch("IKELifeTimeSeconds=90 IPsecLifeTimeSeconds=60");
    let (mut world, net) = offices(2, plan);
    let (out, back) = steady(&mut world, &net);
    world.run_for(1_200.secs());
    out.stop();
    back.stop();
    world.run_for(2.secs());
    assert_eq!((out.unanswered(), back.unanswered()), (0, 0));
    assert!(counter(&mut world, net.branch.gateway, "ike_rekeyed") > 15);
    assert_at_rest(&mut world, &net);
}

/// ```text
/// hq                              branch
/// CREATE_CHILD_SA (rekey A) --.  .-- CREATE_CHILD_SA (rekey A)
///                              \/
///              response     <--/\-->     response
/// both pairs exist; the one made with the lowest of the four nonces is deleted by the side that made it
/// ```
/// RFC 7296 section 2.8.1. The slower the link, the more of the exchanges overlap.
#[test]
fn child_rekeyings_that_collide_lose_nothing_and_leave_nothing() {
    for (seed, latency) in [1, 20, 100, 300, 900, 1_500].into_iter().enumerate() {
        let (mut world, net) = offices(seed as u64, Plan::example().tunnel(SHORT));
        world.between(&net).latency(latency.millis());
        let (out, back) = steady(&mut world, &net);
        world.run_for(300.secs());
        out.stop();
        back.stop();
        world.run_for(8.secs());
        let lost = [out.unanswered(), back.unanswered(), out.duplicates(), back.duplicates()];
        assert_eq!(lost, [0; 4], "latency {latency} ms");
        assert!(counter(&mut world, net.hq.gateway, "child_rekeyed") > 10, "latency {latency} ms");
        assert_nothing_leaked(&mut world, &net);
    }
}

/// RFC 7296 section 2.8.2: both sides rekey the IKE SA at the same time, the children move to the survivor.
#[test]
fn ike_rekeyings_that_collide_lose_nothing_and_leave_nothing() {
    for (seed, latency) in [1, 100, 900].into_iter().enumerate() {
        let plan = Plan::example().tunnel("IKELifeTimeSeconds=90 IPsecLifeTimeSeconds=600");
        let (mut world, net) = offices(seed as u64, plan);
        world.between(&net).latency(latency.millis());
        let (out, back) = steady(&mut world, &net);
        world.run_for(500.secs());
        out.stop();
        back.stop();
        world.run_for(10.secs());
        assert_eq!((out.unanswered(), back.unanswered()), (0, 0), "latency {latency} ms");
        let rekeyed = counter(&mut world, net.hq.gateway, "ike_rekeyed");
        assert!(rekeyed >= 5, "latency {latency} ms: {rekeyed}");
        assert_at_rest(&mut world, &net);
    }
}

/// Children and IKE SA are due in the same second, on both sides: TEMPORARY_FAILURE and CHILD_SA_NOT_FOUND of RFC 7296
/// section 2.25 are what keeps them apart.
#[test]
fn rekeyings_of_different_kinds_that_collide_lose_nothing() {
    for seed in 0..4 {
        let plan = Plan::example().tunnel("IKELifeTimeSeconds=60 IPsecLifeTimeSeconds=60");
        let (mut world, net) = offices(seed, plan);
        world.between(&net).latency((1 + seed * 200).millis());
        let (out, back) = steady(&mut world, &net);
        world.run_for(600.secs());
        out.stop();
        back.stop();
        world.run_for(10.secs());
        assert_eq!((out.unanswered(), back.unanswered()), (0, 0), "seed {seed}");
        assert!(crate::office::agree(&mut world, &net), "seed {seed}");
    }
}

#[test]
fn rekeyings_collide_on_bad_links_and_heal() {
    for seed in 0..12 {
        let plan = Plan::example().tunnel("IKELifeTimeSeconds=100 IPsecLifeTimeSeconds=40");
        let (mut world, net) = offices(seed, plan);
        world.between(&net).latency(100.millis()).loss(15).reordering(20).duplication(10).jitter(100.millis());
        let ping = world.ping_out(&net, 200.millis());
        world.run_for(400.secs());
        assert_eq!(ping.duplicates(), 0, "seed {seed}");
        world.between(&net).heal();
        let before = ping.answers();
        let again = world.run_until(30.secs(), |_| ping.answers() > before + 10);
        assert!(again, "seed {seed}: the tunnel does not come back");
        world.run_for(60.secs());
        let lost_before = ping.unanswered();
        world.run_for(60.secs());
        assert!(ping.unanswered() <= lost_before + 1, "seed {seed}: packets are lost on a healed link");
        assert_nothing_leaked(&mut world, &net);
    }
}

#[test]
fn a_limit_in_kilobytes_rekeys_too() {
    let (mut world, net) = offices(5, Plan::example().tunnel_at_head_office("IPsecLifeTimeKilobytes=200"));
    let transfer = world.transfer(net.hq.host, net.branch.host, 3_000_000);
    world.run_for(120.secs());
    assert!(transfer.is_complete(), "{transfer:?}");
    let rekeyed = counter(&mut world, net.hq.gateway, "child_rekeyed");
    assert!(rekeyed >= 5, "{rekeyed} rekeyings for 3 MB at 200 KB each");
}

#[test]
fn what_is_not_used_is_dropped_and_comes_back_on_demand() {
    let plan = Plan::example().tunnel("IKELifeTimeSeconds=120 IPsecLifeTimeSeconds=60");
    let (mut world, net) = offices(6, plan);
    let first = world.ping(net.hq.host, net.branch.address);
    world.run_for(600.secs());
    assert_eq!(first.answers(), 1);
    for node in [net.hq.gateway, net.branch.gateway] {
        assert!(crate::office::child_spis(&mut world, node).is_empty(), "unused SAs are kept");
    }
    let again = world.ping(net.hq.host, net.branch.address);
    world.run_for(2.secs());
    assert_eq!(again.answers(), 1);
}

#[test]
fn a_day_of_steady_traffic_loses_no_packet() {
    let (mut world, net) = offices(24, Plan::example());
    let ping = world.ping_out(&net, 1.secs());
    world.run_for((24 * 3_600).secs());
    ping.stop();
    world.run_for(2.secs());
    assert_eq!((ping.unanswered(), ping.duplicates(), ping.strangers()), (0, 0, 0));
    assert!(ping.sent() >= 86_400);
    let rekeyed = counter(&mut world, net.hq.gateway, "child_rekeyed");
    assert!((23..=60).contains(&rekeyed), "{rekeyed} rekeyings in a day of hours");
    assert!(counter(&mut world, net.hq.gateway, "ike_rekeyed") >= 2);
    assert_at_rest(&mut world, &net);
    assert_nothing_leaked(&mut world, &net);
}
