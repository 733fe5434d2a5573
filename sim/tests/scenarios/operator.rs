//! What administrators do, and what they are told.

use sim::{HEAD_OFFICE, Plan, Seconds};

use crate::office::{assert_at_rest, assert_nothing_leaked, child_spis, ike_spis, offices};

#[test]
fn a_wrong_key_is_explained_on_both_sides() {
    let (mut world, net) = offices(1, Plan::example().change_branch("somesecretasciikey", "anothersecretkey"));
    let ping = world.ping_out(&net, 1.secs());
    world.run_for(20.secs());
    assert_eq!(ping.answers(), 0);
    for node in [net.hq.gateway, net.branch.gateway] {
        let shown = world.cli(node, "ike").text;
        assert!(shown.contains("last trouble") || shown.contains("No tunnel for"), "{shown}");
        assert!(shown.contains("Remedy") && shown.to_lowercase().contains("key"), "{shown}");
        assert!(!shown.contains("secretkey") && !shown.contains("somesecret"), "a key is shown: {shown}");
    }
    assert_nothing_leaked(&mut world, &net);
}

#[test]
fn no_common_algorithm_is_explained_on_both_sides() {
    let plan = Plan::example()
        .change_head_office(
            "add Interface IPsecTunnel",
            "add IKEAlgorithms old DES3Enabled=Yes SHA1Enabled=Yes\nadd Interface IPsecTunnel",
        )
        .tunnel_at_head_office("IKEAlgorithms=old");
    let (mut world, net) = offices(2, plan);
    let ping = world.ping_out(&net, 1.secs());
    world.run_for(20.secs());
    assert_eq!(ping.answers(), 0);
    for node in [net.hq.gateway, net.branch.gateway] {
        let shown = world.cli(node, "ike").text;
        assert!(shown.contains("Remedy") && shown.contains("3DES"), "{shown}");
    }
}

#[test]
fn of_networks_that_differ_the_tunnel_carries_what_both_have() {
    let plan = Plan::example().change_branch("172.16.1.0/24", "172.16.0.0/16");
    let (mut world, net) = offices(3, plan);
    // RFC 7296 section 2.9: the smaller is taken as it is, the larger is narrowed.
    for (host, address) in [(net.hq.host, net.branch.address), (net.branch.host, net.hq.address)] {
        let ping = world.ping(host, address);
        world.run_for(3.secs());
        assert_eq!(ping.answers(), 1);
        let shown = world.cli(net.branch.gateway, "ipsec").text;
        assert!(shown.contains("172.16.1.0/24") && !shown.contains("172.16.0.0/16"), "{shown}");
        assert!(world.cli(net.hq.gateway, "ike -delete -all").success);
        world.run_for(1.secs());
    }
}

#[test]
fn networks_that_have_nothing_in_common_are_explained_on_both_sides() {
    let plan = Plan::example().change_branch("172.16.1.0/24", "172.16.2.0/24");
    let (mut world, net) = offices(3, plan);
    let ping = world.ping(net.hq.host, net.branch.address);
    world.run_for(20.secs());
    assert_eq!(ping.answers(), 0);
    for node in [net.hq.gateway, net.branch.gateway] {
        let shown = world.cli(node, "ike").text;
        assert!(shown.contains("172.16.1.0/24") && shown.contains("Remedy"), "{shown}");
    }
    let shown = world.cli(net.branch.gateway, "ike").text;
    assert!(shown.contains("172.16.2.0/24"), "the branch knows what it has: {shown}");
    assert_nothing_leaked(&mut world, &net);
}

#[test]
fn an_activation_that_nobody_commits_goes_back_and_keeps_the_tunnel() {
    let (mut world, net) = offices(4, Plan::example());
    let ping = world.ping_out(&net, 1.secs());
    world.run_for(5.secs());
    let before = (ike_spis(&mut world, net.hq.gateway), child_spis(&mut world, net.hq.gateway));
    let hq = net.hq.gateway;
    for line in ["add IP4Address spare Address=10.1.2.3", "activate"] {
        let answer = world.cli(hq, line);
        assert!(answer.success, "{line}: {}", answer.text);
    }
    assert!(world.cli(hq, "show IP4Address spare").success);
    world.run_for(40.secs());
    let told = world.cli(hq, "show -changes").text;
    assert!(told.contains("not confirmed in time") && told.contains("IP4Address spare"), "{told}");
    assert_eq!(world.gateway(hq).stored(), HEAD_OFFICE);
    ping.stop();
    world.run_for(1.secs());
    assert_eq!(ping.unanswered(), 0);
    assert_eq!((ike_spis(&mut world, hq), child_spis(&mut world, hq)), before);
}

#[test]
fn a_committed_change_survives_a_power_cut() {
    let (mut world, net) = offices(5, Plan::example());
    let hq = net.hq.gateway;
    for line in ["add IP4Address spare Address=10.1.2.3", "activate", "commit"] {
        let answer = world.cli(hq, line);
        assert!(answer.success, "{line}: {}", answer.text);
    }
    assert!(world.gateway(hq).stored().contains("spare"));
    world.power_off(hq);
    world.power_on(hq);
    let answer = world.cli(hq, "show IP4Address spare");
    assert!(answer.success && answer.text.contains("10.1.2.3"), "{}", answer.text);
    let ping = world.ping(net.hq.host, net.branch.address);
    world.run_for(2.secs());
    assert_eq!(ping.answers(), 1);
}

#[test]
fn a_change_of_the_tunnel_takes_effect_and_a_change_beside_it_does_not_disturb() {
    let (mut world, net) = offices(6, Plan::example());
    let ping = world.ping_out(&net, 500.millis());
    world.run_for(5.secs());
    let before = child_spis(&mut world, net.hq.gateway);
    let hq = net.hq.gateway;
    for line in ["set IPPolicy hq_to_branch Comments=\"still the same\"", "activate", "commit"] {
        assert!(world.cli(hq, line).success, "{line}");
    }
    world.run_for(5.secs());
    assert_eq!(child_spis(&mut world, hq), before);
    for line in ["set Interface IPsecTunnel ipsec_hq_to_branch IPsecLifeTimeSeconds=1800", "activate", "commit"] {
        assert!(world.cli(hq, line).success, "{line}");
    }
    world.run_for(10.secs());
    assert_ne!(child_spis(&mut world, hq), before);
    let answered = ping.answers();
    world.run_for(5.secs());
    assert!(ping.answers() >= answered + 9);
    assert_at_rest(&mut world, &net);
    assert_nothing_leaked(&mut world, &net);
}

#[test]
fn the_gateway_pings_through_its_tunnel() {
    let (mut world, net) = offices(7, Plan::example());
    let answer = world.cli(net.hq.gateway, "ping 192.168.11.10 -count=3");
    assert!(answer.success, "{}", answer.text);
}
