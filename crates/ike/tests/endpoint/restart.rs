//! A side that has lost its memory while the other has not.

use ike::NatTraversal;
use ike::pair::{A, B, Pair, config, pair, tunnel};
use wire::ike::{ExchangeType, Flags, Header, Message, Notify, NotifyType, Payload};

use super::{assert_settled, millis, secs};

/// A tunnel that is up, and side B fresh again.
fn restarted(seed: u64) -> Pair {
    let mut world = pair(seed, |_, _| {});
    world.connect(A);
    world.run(secs(1));
    assert!(world.ping());
    world.restart(B, 77, config(tunnel(B)));
    world
}

#[test]
fn esp_under_an_sa_that_was_forgotten_brings_the_tunnel_back_at_once() {
    let mut world = restarted(1);
    let remote = world.sides[A].address;
    world.act(B, |endpoint, now, out| endpoint.unknown_spi(now, remote, out));
    world.run(millis(100));
    assert_settled(&mut world);
    assert_eq!(world.sides[A].events("initial_contact").len(), 1);
}

#[test]
fn ike_under_an_sa_that_was_forgotten_brings_the_tunnel_back_at_once() {
    let mut world = restarted(2);
    let child = *world.sides[A].children.keys().next().unwrap();
    world.act(A, |endpoint, now, out| endpoint.soft_limit(now, child, out));
    world.run(millis(200));
    assert_settled(&mut world);
}

#[test]
fn unknown_esp_from_a_silent_peer_begins_one_attempt_in_ten_seconds() {
    let mut world = pair(3, |_, _| {});
    let remote = world.sides[A].address;
    world.cut(A, true);
    let mut firsts = std::collections::BTreeSet::new();
    for _ in 0..200 {
        world.act(B, |endpoint, now, out| endpoint.unknown_spi(now, remote, out));
        world.act(B, |endpoint, now, out| endpoint.unknown_spi(now, "203.0.113.5".parse().unwrap(), out));
        world.run(secs(1));
        firsts.extend(world.seen.drain(..).map(|datagram| datagram.message[..8].to_vec()));
    }
    // Each attempt takes 76 seconds, and ten pass before the next.
    assert_eq!(firsts.len(), 3);
}

#[test]
fn what_arrives_late_after_an_end_of_ours_does_not_bring_the_tunnel_back() {
    let mut world = pair(4, |_, _| {});
    world.connect(A);
    world.run(secs(1));
    world.act(B, |endpoint, now, out| _ = endpoint.delete(now, ike::Which::All, out));
    let remote = world.sides[A].address;
    for _ in 0..50 {
        world.act(B, |endpoint, now, out| endpoint.unknown_spi(now, remote, out));
        world.run(millis(100));
    }
    assert!(world.sides.iter().all(|side| side.endpoint.ike_sas(world.now).is_empty()));
}

#[test]
fn a_restarted_peer_that_cannot_begin_is_found_out_in_seconds_by_its_hint() {
    let mut world = pair(5, |a, _| a.auto_establish = true);
    world.run(secs(1));
    let anybody = ike::Tunnel { remote_endpoint: ike::RemoteEndpoint::Any, ..tunnel(B) };
    world.restart(B, 78, config(anybody));
    let child = *world.sides[A].children.keys().next().unwrap();
    world.act(A, |endpoint, now, out| endpoint.soft_limit(now, child, out));
    world.run(secs(5));
    assert_settled(&mut world);
}

#[test]
fn a_forged_hint_ends_nothing_while_the_peer_answers() {
    let mut world = pair(6, |_, _| {});
    world.connect(A);
    world.run(secs(1));
    let child = *world.sides[A].children.keys().next().unwrap();
    world.act(A, |endpoint, now, out| endpoint.soft_limit(now, child, out));
    let question = world.seen.last().unwrap().clone();
    let spi = |at: usize| u64::from_be_bytes(question.message[at..at + 8].try_into().unwrap());
    let id = u32::from_be_bytes(question.message[20..24].try_into().unwrap());
    let flags = Flags { initiator: false, response: true, version: false };
    let header = Header::new(spi(0), spi(8), ExchangeType::CREATE_CHILD_SA, flags, id);
    let payloads = vec![Payload::Notify(Notify::new(NotifyType::INVALID_IKE_SPI, Vec::new()))];
    let message = Message { header, payloads }.write().unwrap();
    let path = ike::Path { local: question.path.remote, remote: question.path.local };
    for _ in 0..10 {
        world.deliver(&ike::pair::Datagram { from: B, path, message: message.clone() });
    }
    world.run(secs(60));
    assert_settled(&mut world);
    assert_eq!(world.sides[A].endpoint.counters().peers_dead, 0);
}

#[test]
fn fragments_fit_into_the_least_packet_of_ipv6_with_their_headers() {
    for nat in [NatTraversal::Off, NatTraversal::On] {
        let mut world = pair(7, |a, b| {
            for side in [a, b] {
                side.nat_traversal = nat;
                side.local_identity = ike::LocalIdentity::Fixed(ike::Identity::Fqdn("long".repeat(500)));
            }
        });
        world.connect(A);
        world.run(secs(1));
        assert_settled(&mut world);
        let largest = world.seen.iter().map(|datagram| {
            let marker = if datagram.path.remote.port() == 4500 { 4 } else { 0 };
            40 + 8 + marker + datagram.message.len()
        });
        let largest = largest.max().unwrap();
        assert!((1_200..=1_280).contains(&largest), "{largest}");
    }
}
