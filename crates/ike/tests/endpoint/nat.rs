//! NAT between the two: RFC 7296 section 2.23, RFC 3948.

use std::net::{IpAddr, SocketAddr};

use ike::NatTraversal;
use ike::pair::{A, B, Datagram, Nat, Pair, pair};

use super::{assert_settled, secs};

const OUTSIDE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 5));

/// Side A behind a NAT; side B takes anybody.
fn natted(seed: u64) -> Pair {
    let mut world = pair(seed, |_, b| b.remote_endpoint = ike::RemoteEndpoint::Any);
    world.nat = Some(Nat { outside: OUTSIDE, shift: 10_000 });
    world.connect(A);
    world.run(secs(1));
    world
}

#[test]
fn a_nat_moves_both_to_port_4500_and_esp_into_udp() {
    let mut world = natted(1);
    let (a, b) = (&world.sides[A], &world.sides[B]);
    assert_eq!(a.endpoint.ike_sas(world.now)[0].nat, (true, false));
    assert_eq!(b.endpoint.ike_sas(world.now)[0].nat, (false, true));
    let (of_a, of_b) = (&a.children.values().next().unwrap().sa, &b.children.values().next().unwrap().sa);
    assert!(of_a.udp_encapsulated && of_b.udp_encapsulated);
    assert_eq!((of_a.path.local.port(), of_a.path.remote.port()), (4500, 4500));
    assert_eq!(of_b.path.remote, SocketAddr::new(OUTSIDE, 14_500));
    assert_settled(&mut world);
}

#[test]
fn keep_alives_go_out_only_from_behind_the_nat_and_only_in_silence() {
    let mut world = pair(2, |a, b| {
        b.remote_endpoint = ike::RemoteEndpoint::Any;
        (a.dpd_interval, b.dpd_interval) = (None, None);
    });
    world.nat = Some(Nat { outside: OUTSIDE, shift: 10_000 });
    world.connect(A);
    world.run(secs(201));
    assert_eq!((world.sides[A].keep_alives, world.sides[B].keep_alives), (10, 0));
    for _ in 0..20 {
        world.run(secs(10));
        assert!(world.ping());
    }
    assert_eq!(world.sides[A].keep_alives, 10);
}

#[test]
fn a_new_mapping_is_followed_by_authenticated_messages_only() {
    let mut world = natted(3);
    let genuine = world.seen.iter().rfind(|datagram| datagram.from == A).cloned().unwrap();
    world.nat = Some(Nat { outside: OUTSIDE, shift: 20_000 });
    // A replay from the new address moves nothing.
    world.deliver(&genuine);
    let mut forged = genuine.clone();
    forged.message[20] ^= 1;
    forged.message[30] ^= 1;
    world.deliver(&forged);
    let remote = |world: &Pair| world.sides[B].endpoint.ike_sas(world.now)[0].path.remote;
    assert_eq!(remote(&world), SocketAddr::new(OUTSIDE, 14_500));
    world.run(secs(60));
    assert_eq!(remote(&world), SocketAddr::new(OUTSIDE, 24_500));
    let child = &world.sides[B].children.values().next().unwrap().sa;
    assert_eq!(child.path.remote, SocketAddr::new(OUTSIDE, 24_500));
    assert_eq!(world.sides[B].events("peer_address_changed").len(), 1);
    assert_settled(&mut world);
}

#[test]
fn esp_from_a_new_address_moves_the_whole_ike_sa() {
    let mut world = natted(4);
    let id = *world.sides[B].children.keys().next().unwrap();
    let moved: SocketAddr = "203.0.113.6:31000".parse().unwrap();
    world.act(B, |endpoint, now, out| endpoint.peer_moved(now, id, moved, out));
    assert_eq!(world.sides[B].endpoint.ike_sas(world.now)[0].path.remote, moved);
    assert_eq!(world.sides[B].children[&id].sa.path.remote, moved);
}

#[test]
fn a_peer_without_nat_is_not_followed() {
    let mut world = pair(5, |_, _| {});
    world.connect(A);
    world.run(secs(1));
    let id = *world.sides[B].children.keys().next().unwrap();
    let before = world.sides[B].endpoint.ike_sas(world.now)[0].path;
    world.act(B, |endpoint, now, out| endpoint.peer_moved(now, id, "203.0.113.6:31000".parse().unwrap(), out));
    assert_eq!(world.sides[B].endpoint.ike_sas(world.now)[0].path, before);
}

#[test]
fn encapsulation_can_be_forced_and_forbidden() {
    for (a_mode, b_mode, encapsulated) in [
        (NatTraversal::On, NatTraversal::IfNeeded, true),
        (NatTraversal::IfNeeded, NatTraversal::On, true),
        (NatTraversal::On, NatTraversal::Off, false),
        (NatTraversal::Off, NatTraversal::On, false),
        (NatTraversal::Off, NatTraversal::IfNeeded, false),
        (NatTraversal::IfNeeded, NatTraversal::Off, false),
        (NatTraversal::IfNeeded, NatTraversal::IfNeeded, false),
    ] {
        let mut world = pair(6, |a, b| (a.nat_traversal, b.nat_traversal) = (a_mode, b_mode));
        world.connect(A);
        world.run(secs(1));
        for side in [A, B] {
            let child = &world.sides[side].children.values().next().unwrap().sa;
            assert_eq!(child.udp_encapsulated, encapsulated, "{a_mode:?} {b_mode:?} side {side}");
            assert_eq!(child.path.local.port(), if encapsulated { 4500 } else { 500 });
        }
        assert_settled(&mut world);
    }
}

#[test]
fn an_answer_goes_back_where_the_question_came_from() {
    let mut world = natted(7);
    let first: Datagram = world.seen[0].clone();
    let before = world.seen.len();
    world.deliver(&first);
    // The first message is known by the digest and its sender, whose IKE SA stands: no answer, no new state.
    assert_eq!(world.seen.len(), before);
    assert_eq!(world.sides[B].endpoint.ike_sas(world.now).len(), 1);
}

#[test]
fn who_is_behind_a_nat_follows_nobody() {
    let mut world = pair(1, |_, b| {
        (b.nat_traversal, b.remote_endpoint) = (NatTraversal::On, ike::RemoteEndpoint::Any);
    });
    world.nat = Some(Nat { outside: OUTSIDE, shift: 10_000 });
    world.connect(A);
    world.run(secs(1));
    let status = &world.sides[A].endpoint.ike_sas(world.now)[0];
    let (path, nat) = (status.path, status.nat);
    assert_eq!(nat, (true, true));
    let id = *world.sides[A].children.keys().next().unwrap();
    world.act(A, |endpoint, now, out| endpoint.peer_moved(now, id, "203.0.113.6:31000".parse().unwrap(), out));
    assert_eq!(world.sides[A].endpoint.ike_sas(world.now)[0].path, path);
    assert_eq!(world.sides[A].children[&id].sa.path, path);
}
