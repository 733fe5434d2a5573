//! Peers that die, come back, or only seem to.

use ike::pair::{A, B, Fate, TUNNEL, pair, tunnel};
use ike::{Output, Traffic, Usage};

use super::{assert_settled, millis, secs};

#[test]
fn silence_is_questioned_after_the_interval_and_answered() {
    let mut world = pair(1, |_, b| b.dpd_interval = None);
    world.connect(A);
    world.run(secs(29));
    assert_eq!(world.seen.len(), 4);
    world.run(secs(2));
    assert_eq!(world.seen.len(), 6);
    assert_settled(&mut world);
}

#[test]
fn traffic_from_the_peer_keeps_the_question_back() {
    let mut world = pair(2, |_, _| {});
    world.connect(A);
    for _ in 0..120 {
        world.run(secs(1));
        assert!(world.ping());
    }
    assert_eq!(world.seen.len(), 4);
}

#[test]
fn a_dead_peer_is_noticed_within_fifteen_seconds_of_the_question() {
    let mut world = pair(3, |_, _| {});
    world.connect(A);
    world.run(secs(1));
    world.cut(B, true);
    world.run(secs(43));
    assert_eq!(world.sides[A].endpoint.ike_sas(world.now).len(), 1);
    world.run(secs(3));
    assert!(world.sides[A].endpoint.ike_sas(world.now).is_empty());
    assert!(world.sides[A].children.is_empty());
    assert_eq!(world.sides[A].events("dpd_peer_dead").len(), 1);
    assert_eq!(world.sides[A].endpoint.troubles()[0].1.explanation.kind, "peer_dead");
    // Without AutoEstablish nothing more is sent until somebody asks.
    let sent = world.seen.len();
    world.run(secs(100));
    assert_eq!(world.seen.len(), sent);
}

#[test]
fn an_auto_establish_tunnel_comes_back_with_its_peer() {
    let mut world = pair(4, |a, _| a.auto_establish = true);
    world.run(secs(1));
    assert!(world.ping());
    world.cut(B, true);
    world.run(secs(600));
    assert!(!world.packet(A));
    world.cut(B, false);
    world.run(secs(30));
    assert_settled(&mut world);
}

#[test]
fn a_restarted_initiator_makes_the_responder_forget() {
    let mut world = pair(5, |a, _| a.auto_establish = true);
    world.run(secs(1));
    let mut again = tunnel(A);
    again.auto_establish = true;
    world.restart(A, 77, ike::pair::config(again));
    world.run(secs(2));
    assert_settled(&mut world);
    assert_eq!(world.sides[B].events("initial_contact").len(), 1);
}

#[test]
fn a_restarted_responder_is_found_out_by_its_own_hint() {
    let mut world = pair(6, |a, _| a.auto_establish = true);
    world.run(secs(1));
    world.restart(B, 78, ike::pair::config(tunnel(B)));
    // The data path of the restarted side reports an unknown SPI only to its own IKE, which knows nobody; the question
    // of the other side comes with its liveness check.
    world.run(secs(60));
    assert_settled(&mut world);
}

#[test]
fn esp_with_an_unknown_spi_is_a_hint_and_rate_limited() {
    let mut world = pair(7, |_, _| {});
    world.connect(A);
    world.run(secs(1));
    let remote = world.sides[B].address;
    for _ in 0..100 {
        world.act(A, |endpoint, now, out| endpoint.unknown_spi(now, remote, out));
        world.run(millis(30));
    }
    assert_eq!(world.seen.len(), 6);
    world.act(A, |endpoint, now, out| endpoint.unknown_spi(now, "203.0.113.77".parse().unwrap(), out));
    assert_settled(&mut world);
}

#[test]
fn esp_that_arrives_says_that_the_peer_lives_though_ike_is_lost() {
    struct Alive;
    impl Traffic for Alive {
        fn usage(&self, _: ike::ChildId) -> Usage {
            Usage::default()
        }
    }
    let mut world = pair(8, |_, b| b.dpd_interval = None);
    world.connect(A);
    world.run(secs(1));
    world.script(|_, _| Fate::Drop);
    // The question goes out in a silence, then ESP comes again: no verdict of death while it does.
    world.run(secs(31));
    for _ in 0..60 {
        world.run(secs(1));
        assert!(world.packet(B));
    }
    assert_eq!(world.sides[A].endpoint.counters().peers_dead, 0);
    world.script(|_, _| Fate::Deliver);
    world.run(secs(10));
    assert_settled(&mut world);
    let mut out: Vec<Output> = Vec::new();
    world.sides[A].endpoint.expire(world.now, &Alive, &mut out);
    assert!(out.is_empty());
}

#[test]
fn packets_do_not_hammer_a_tunnel_that_has_just_failed() {
    let mut world = pair(9, |_, b| b.psk = base::Secret::copy(b"wrong"));
    let trigger = ike::Trigger {
        source: ("10.1.0.5".parse().unwrap(), 1),
        destination: ("10.2.0.5".parse().unwrap(), 2),
        protocol: 17,
    };
    for _ in 0..100 {
        world.act(A, |endpoint, now, out| endpoint.acquire(now, TUNNEL, Some(trigger), out));
        world.run(millis(100));
    }
    assert!(world.seen.len() <= 4 * 4, "{}", world.seen.len());
}

#[test]
fn a_request_is_repeated_on_while_the_peer_is_heard_though_not_for_ever() {
    for heals in [true, false] {
        let mut world = pair(10, |a, b| (a.dpd_interval, b.dpd_interval) = (None, None));
        world.connect(A);
        world.run(secs(1));
        assert!(world.ping());
        world.script(|_, _| Fate::Drop);
        let id = *world.sides[A].children.keys().next().unwrap();
        world.act(A, |endpoint, now, out| endpoint.soft_limit(now, id, out));
        // Long after the usual number of tries.
        for _ in 0..150 {
            world.run(secs(1));
            assert!(world.ping());
        }
        assert_eq!(world.sides[A].endpoint.counters().peers_dead, 0);
        if heals {
            world.script(|_, _| Fate::Deliver);
            for _ in 0..30 {
                world.run(secs(1));
                assert!(world.ping());
            }
            assert_settled(&mut world);
            assert_eq!(world.sides[A].endpoint.counters().child_rekeyed, 1);
        } else {
            for _ in 0..200 {
                world.run(secs(1));
                world.packet(B);
            }
            assert_eq!(world.sides[A].endpoint.counters().peers_dead, 1);
        }
    }
}

#[test]
fn a_request_to_a_peer_that_is_silent_is_given_up_after_its_tries() {
    let mut world = pair(11, |a, b| (a.dpd_interval, b.dpd_interval) = (None, None));
    world.connect(A);
    world.run(secs(1));
    assert!(world.ping());
    world.cut(B, true);
    let id = *world.sides[A].children.keys().next().unwrap();
    world.act(A, |endpoint, now, out| endpoint.soft_limit(now, id, out));
    world.run(secs(80));
    assert_eq!(world.sides[A].endpoint.counters().peers_dead, 1);
}
