//! What is said when something is wrong.

use base::{IpRange, Secret};
use crypto::{Encryption, Group};
use ike::pair::{A, B, Fate, Pair, pair, tunnel};
use ike::{Explanation, RemoteEndpoint};

use super::secs;

fn trouble(world: &Pair, side: usize) -> Explanation {
    let troubles = world.sides[side].endpoint.troubles();
    assert_eq!(troubles.len(), 1, "{troubles:#?}");
    troubles[0].1.explanation.clone()
}

#[test]
fn a_wrong_key_is_named_on_both_sides() {
    let mut world = pair(1, |_, b| b.psk = Secret::copy(b"something else"));
    world.connect(A);
    world.run(secs(2));
    let (a, b) = (trouble(&world, A), trouble(&world, B));
    assert_eq!((a.kind, b.kind), ("authentication_refused_by_peer", "wrong_psk"));
    assert!(b.expected.contains("the key shared of tunnel to-a"), "{b:?}");
    assert!(b.remedy.contains("shared"));
    for side in [A, B] {
        assert_eq!(world.sides[side].events("ike_sa_failed").len(), 1);
        assert_eq!(world.sides[side].installs, 0);
    }
    assert_eq!(world.sides[A].failed, 1);
    world.run(secs(60));
    assert!(world.sides.iter().all(|side| side.endpoint.ike_sas(world.now).is_empty()));
}

#[test]
fn proposals_without_anything_in_common_are_explained_on_both_sides() {
    let mut world = pair(2, |a, b| (a.groups, b.groups) = (vec![Group::Modp1024], vec![Group::Modp2048]));
    world.connect(A);
    world.run(secs(60));
    let (a, b) = (trouble(&world, A), trouble(&world, B));
    assert_eq!((a.kind, b.kind), ("proposals_refused_by_peer", "no_proposal_chosen"));
    assert!(b.nearest.as_ref().unwrap().contains("MODP 1024 (2): only the DH group is not allowed here"), "{b:?}");
    assert_eq!(b.remedy, "add 2 to DHGroup of tunnel to-a or configure one of its groups at the peer");
    assert_eq!(world.sides[A].events("ike_invalid_proposal").len(), 1);
    // Asked several times and answered as often, but explained once; a new attempt is explained anew.
    assert!(world.seen.iter().filter(|datagram| datagram.from == B).count() > 1);
    assert_eq!(world.sides[B].events("ike_invalid_proposal").len(), 1);
    world.connect(A);
    world.run(secs(60));
    assert_eq!(world.sides[B].events("ike_invalid_proposal").len(), 2);
}

#[test]
fn child_proposals_without_anything_in_common_leave_the_ike_sa_standing() {
    let mut world = pair(3, |_, b| b.esp.encryption = vec![Encryption::AesGcm16(128)]);
    world.connect(A);
    world.run(secs(2));
    let (a, b) = (trouble(&world, A), trouble(&world, B));
    assert_eq!((a.kind, b.kind), ("proposals_refused_by_peer", "no_proposal_chosen"));
    assert!(b.remedy.contains(" in IPsecAlgorithms "), "{b:?}");
    assert_eq!(world.sides[A].endpoint.ike_sas(world.now).len(), 1);
    assert_eq!(world.sides[A].failed, 1);
}

#[test]
fn larger_networks_are_refused_with_both_networks_named() {
    let wide = IpRange::network("10.1.0.0".parse().unwrap(), 16).unwrap();
    let mut world = pair(4, |a, _| a.local_networks = vec![wide]);
    world.connect(A);
    world.run(secs(2));
    let (a, b) = (trouble(&world, A), trouble(&world, B));
    assert_eq!((a.kind, b.kind), ("selectors_refused_by_peer", "selectors_unacceptable"));
    assert_eq!((b.found.as_str(), b.expected.as_str()), ("10.1.0.0/16", "10.1.0.0/24"));
    assert!(b.remedy.starts_with("set RemoteNetwork of tunnel to-a to 10.1.0.0/16"), "{b:?}");
    assert_eq!(world.sides[B].events("ipsec_sa_selection_failed").len(), 1);
    assert!(world.sides.iter().all(|side| side.installs == 0));
}

#[test]
fn an_attempt_under_way_shows_its_age_its_tries_and_what_an_unprotected_answer_claims() {
    let mut world = pair(12, |a, b| (a.groups, b.groups) = (vec![Group::Modp1024], vec![Group::Modp2048]));
    let note = |world: &Pair| world.sides[A].endpoint.ike_sas(world.now)[0].note.clone();
    world.connect(A);
    assert_eq!(note(&world).unwrap(), "connecting for 0s, sent once");
    world.run(secs(3));
    assert_eq!(
        note(&world).unwrap(),
        "connecting for 3s, sent 2 times; 192.0.2.2 answers NO_PROPOSAL_CHOSEN (unprotected, so asked again)"
    );
    let mut world = pair(13, |_, _| {});
    world.connect(A);
    world.run(secs(1));
    assert_eq!((world.sides[A].endpoint.ike_sas(world.now)[0].state, note(&world)), ("Established", None));
}

#[test]
fn silence_is_explained_with_the_number_of_tries() {
    let mut world = pair(5, |_, _| {});
    world.script(|_, _| Fate::Drop);
    world.connect(A);
    world.run(secs(200));
    let a = trouble(&world, A);
    assert_eq!(a.kind, "no_answer");
    assert!(a.found.contains("IKE_SA_INIT, sent 7 times"), "{a:?}");
    assert!(a.remedy.contains("500 and 4500"));
    assert_eq!(world.sides[A].events("ike_retry_limit_reached").len(), 1);
    assert_eq!((world.seen.len(), world.sides[A].failed), (7, 1));
}

#[test]
fn silence_after_the_first_answer_points_at_what_differs_there() {
    let mut world = pair(10, |_, _| {});
    world.script(|number, _| if number < 2 { Fate::Deliver } else { Fate::Drop });
    world.connect(A);
    world.run(secs(200));
    let a = trouble(&world, A);
    assert_eq!(a.kind, "no_answer");
    assert!(a.found.contains("IKE_AUTH, sent 7 times") && a.remedy.contains("large datagrams"), "{a:?}");
}

#[test]
fn a_peer_that_called_the_wrong_address_of_ours_is_told_from_one_that_nobody_knows() {
    let mut world = pair(11, |_, b| b.local_endpoint = Some("192.0.2.99".parse().unwrap()));
    world.connect(A);
    world.run(secs(2));
    let stranger = world.sides[B].endpoint.stranger_troubles()[0].clone();
    assert_eq!(stranger.explanation.expected, "to-a: LocalEndpoint is 192.0.2.99");
    assert!(stranger.explanation.remedy.ends_with("set LocalEndpoint of its tunnel to 192.0.2.2"), "{stranger:?}");
}

#[test]
fn a_stranger_is_told_why_each_tunnel_was_passed_over() {
    let elsewhere = "203.0.113.9".parse().unwrap();
    let mut world = pair(6, |_, b| b.remote_endpoint = RemoteEndpoint::Address(elsewhere));
    world.connect(A);
    world.run(secs(2));
    assert!(world.sides[B].endpoint.troubles().is_empty());
    let strangers = world.sides[B].endpoint.stranger_troubles();
    assert_eq!(strangers[0].explanation.kind, "no_tunnel");
    assert_eq!(strangers[0].explanation.expected, "to-a: RemoteEndpoint is 203.0.113.9");
    assert!(!world.sides[B].events("ike_sa_negotiation_failed").is_empty());
}

#[test]
fn a_tunnel_for_anybody_cannot_begin_and_says_so() {
    let mut world = pair(7, |a, _| a.remote_endpoint = RemoteEndpoint::Any);
    world.connect(A);
    assert_eq!(trouble(&world, A).kind, "cannot_initiate");
    assert_eq!((world.seen.len(), world.sides[A].failed), (0, 1));
}

#[test]
fn a_host_without_route_to_the_peer_says_so_and_names_the_peer() {
    let mut world = pair(14, |a, _| (a.local_endpoint, a.local_address_hint) = (None, None));
    world.connect(A);
    let trouble = world.sides[A].endpoint.troubles()[0].1.clone();
    assert_eq!(trouble.remote, world.sides[B].address);
    assert_eq!(
        trouble.explanation.summary,
        "tunnel to-b cannot be set up from this side: this host has no route to 192.0.2.2"
    );
    assert!(trouble.explanation.remedy.starts_with("give the interface towards 192.0.2.2 its address and route"));
    let logged = world.sides[A].events("ike_cannot_initiate");
    assert_eq!((logged.len(), logged[0].field("remote")), (1, Some("192.0.2.2")));
    assert!(!logged[0].to_string().contains("0.0.0.0") && !logged[0].to_string().contains("spi"));
}

#[test]
fn trouble_is_forgotten_when_the_tunnel_comes_up() {
    let mut world = pair(8, |_, b| b.psk = Secret::copy(b"something else"));
    world.connect(A);
    world.run(secs(2));
    assert_eq!(world.sides[A].endpoint.troubles().len(), 1);
    world.configure(B, ike::pair::config(tunnel(B)));
    world.connect(A);
    world.run(secs(2));
    assert!(world.sides.iter().all(|side| side.endpoint.troubles().is_empty()));
}

#[test]
fn no_secret_is_ever_printed() {
    let mut world = pair(9, |_, _| {});
    world.connect(A);
    world.run(secs(2));
    let printed = format!("{:?} {:?}", world.sides[A].endpoint, world.sides[A].children);
    assert!(!printed.contains("correct horse") && !printed.contains("99, 111, 114, 114, 101, 99, 116"));
}
