//! Bounds, and that they are counted: strangers in great number.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use base::IpRange;
use ike::pair::{A, B, Fate, Pair, TUNNEL, config, pair, tunnel};
use ike::{Config, Output, Path, RemoteEndpoint, Traffic, Trigger, Tunnel, Usage};

use wire::ike::{ExchangeType, Flags, Header, Message, Payload, parse_message};

use super::{assert_settled, millis, secs};

struct Nothing;

impl Traffic for Nothing {
    fn usage(&self, _: ike::ChildId) -> Usage {
        Usage::default()
    }
}

fn open_house() -> Config {
    config(Tunnel { remote_endpoint: RemoteEndpoint::Any, ..tunnel(B) })
}

/// A first message with an SPI of its own, as `from` would send it. Returns the answers.
fn knock(world: &mut Pair, from: IpAddr, spi: u64, template: &[u8]) -> Vec<Vec<u8>> {
    let mut message = template.to_vec();
    message[..8].copy_from_slice(&spi.to_be_bytes());
    let path = Path { local: SocketAddr::new(world.sides[B].address, 500), remote: SocketAddr::new(from, 500) };
    let mut out = Vec::new();
    let now = world.now;
    world.sides[B].endpoint.receive(now, path, &message, &Nothing, &mut out);
    out.into_iter()
        .filter_map(|output| match output {
            Output::Send { message, .. } => Some(message),
            _ => None,
        })
        .collect()
}

fn template() -> Vec<u8> {
    let mut world = pair(1, |_, _| {});
    world.connect(A);
    world.seen[0].message.clone()
}

#[test]
fn one_source_has_no_more_than_its_share() {
    let mut world = pair(1, |_, _| {});
    world.configure(B, open_house());
    let template = template();
    let from = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
    for spi in 1..=100 {
        assert_eq!(knock(&mut world, from, spi, &template).len(), 1);
    }
    // The first half for whoever says so, the rest only for who returns a cookie.
    assert_eq!(world.sides[B].endpoint.ike_sas(world.now).len(), 16);
    assert_eq!(world.sides[B].endpoint.counters().cookies_demanded, 84);
    // Its half-open IKE SAs end after their time.
    world.run(secs(31));
    assert_eq!(world.sides[B].endpoint.counters().half_open_expired, 16);
    assert!(world.sides[B].endpoint.ike_sas(world.now).is_empty());
    assert!(!knock(&mut world, from, 200, &template).is_empty());
}

#[test]
fn strangers_who_write_a_peers_address_do_not_keep_the_peer_out() {
    let mut world = pair(7, |_, _| {});
    let template = template();
    let from = world.sides[A].address;
    for spi in 1..=1_000 {
        knock(&mut world, from, spi, &template);
    }
    world.connect(A);
    world.run(secs(1));
    assert!(world.ping());
    assert_eq!(world.sides[B].endpoint.counters().cookies_accepted, 1);
}

#[test]
fn under_load_cookies_are_demanded_and_real_peers_still_come_in() {
    let mut world = pair(2, |_, _| {});
    world.configure(B, open_house());
    let template = template();
    let mut sizes = 0;
    for n in 0..5_000_u32 {
        let from = IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + n));
        let answers = knock(&mut world, from, u64::from(n) + 1, &template);
        if n >= 64 {
            assert_eq!(answers.len(), 1);
            assert!(answers[0].len() < template.len() / 2);
            sizes += answers[0].len();
        }
    }
    assert!(sizes > 0);
    let counters = world.sides[B].endpoint.counters();
    assert_eq!(counters.cookies_demanded, 5_000 - 64);
    assert_eq!(world.sides[B].endpoint.ike_sas(world.now).len(), 64);
    world.connect(A);
    world.run(secs(1));
    assert!(world.ping());
    world.run(secs(40));
    assert_settled(&mut world);
}

#[test]
fn with_a_right_cookie_the_oldest_half_open_one_gives_way() {
    let mut world = pair(3, |_, _| {});
    let mut open = open_house();
    (open.settings.half_open_max, open.settings.half_open_cookie_threshold) = (10, 1_000);
    world.configure(B, open);
    let template = template();
    for n in 0..50_u8 {
        knock(&mut world, IpAddr::V4(Ipv4Addr::new(203, 0, 113, n)), u64::from(n) + 1, &template);
    }
    assert_eq!(world.sides[B].endpoint.ike_sas(world.now).len(), 10);
    assert_eq!(world.sides[B].endpoint.counters().half_open_limit, 40);
    world.connect(A);
    world.run(secs(1));
    assert!(world.ping());
    assert_eq!(world.sides[B].endpoint.counters().cookies_accepted, 1);
    // Nine strangers and the peer.
    assert_eq!(world.sides[B].endpoint.ike_sas(world.now).len(), 10);
}

#[test]
fn no_answer_to_a_stranger_is_larger_than_its_question() {
    // A short question that would cost a cookie.
    let mut world = pair(12, |_, _| {});
    let mut demanding = config(tunnel(B));
    demanding.settings.force_cookies = true;
    world.configure(B, demanding);
    let flags = Flags { initiator: true, response: false, version: false };
    let header = Header::new(7, 0, ExchangeType::IKE_SA_INIT, flags, 0);
    let bare = Message { header, payloads: vec![Payload::Nonce(vec![1; 16])] }.write().unwrap();
    let from = world.sides[A].address;
    assert!(knock(&mut world, from, 7, &bare).is_empty());

    // A whole one with the shortest nonce.
    let least = |a: &mut Tunnel, b: &mut Tunnel| {
        for side in [a, b] {
            side.nat_traversal = ike::NatTraversal::Off;
            side.ike.encryption = vec![crypto::Encryption::AesGcm16(256)];
            side.groups = vec![crypto::Group::Curve25519];
        }
    };
    let mut world = pair(13, least);
    world.script(|_, _| Fate::Drop);
    world.connect(A);
    let mut message = parse_message(&world.seen[0].message).unwrap();
    for payload in &mut message.payloads {
        if let Payload::Nonce(nonce) = payload {
            nonce.truncate(16);
        }
    }
    let question = message.write().unwrap();
    let answers = knock(&mut world, from, 8, &question);
    assert_eq!(answers.len(), 1);
    assert!(answers[0].len() <= question.len(), "{} {}", answers[0].len(), question.len());

    // A PRF with longer keys wants more of a nonce.
    let mut world = pair(14, |a, b| {
        least(a, b);
        (a.ike.prf, b.ike.prf) = (vec![crypto::Prf::HmacSha2_512], vec![crypto::Prf::HmacSha2_512]);
    });
    world.connect(A);
    let mut message = parse_message(&world.seen[0].message).unwrap();
    for payload in &mut message.payloads {
        if let Payload::Nonce(nonce) = payload {
            nonce.truncate(31);
        }
    }
    assert!(knock(&mut world, from, 8, &message.write().unwrap()).is_empty());
    world.run(secs(1));
    assert_settled(&mut world);
}

#[test]
fn a_first_message_too_large_to_keep_is_dropped() {
    let mut world = pair(15, |_, _| {});
    let mut message = parse_message(&template()).unwrap();
    message.payloads.push(Payload::Vendor(vec![7; 60_000]));
    let from = world.sides[A].address;
    assert!(knock(&mut world, from, 8, &message.write().unwrap()).is_empty());
    assert_eq!(world.sides[B].endpoint.counters().first_message_too_large, 1);
    // With every group and every algorithm it is not.
    let all = |a: &mut Tunnel, b: &mut Tunnel| {
        for side in [a, b] {
            side.groups = crypto::Group::ALL.to_vec();
            side.ike.encryption = crypto::Encryption::ALL.to_vec();
            side.ike.integrity = crypto::Integrity::ALL.to_vec();
            side.ike.prf = crypto::Prf::ALL.to_vec();
        }
    };
    let mut world = pair(16, all);
    world.connect(A);
    world.run(secs(1));
    assert_settled(&mut world);
}

#[test]
fn refusals_and_their_log_lines_are_rationed() {
    let mut world = pair(4, |_, b| b.groups = vec![crypto::Group::Modp2048]);
    let template = template();
    let from = world.sides[A].address;
    let before = world.sides[B].records.len();
    let answers: Vec<usize> =
        (1..=1_000).map(|spi| knock(&mut world, from, spi, &template)).map(|answers| answers.len()).collect();
    assert_eq!(answers.iter().sum::<usize>(), 100);
    assert_eq!(world.sides[B].endpoint.counters().rate_limited, 900);
    assert_eq!(world.sides[B].records.len(), before);
    assert_eq!(world.sides[B].endpoint.troubles()[0].0, TUNNEL);
}

#[test]
fn the_first_message_of_a_half_open_ike_sa_is_answered_again_byte_for_byte_and_not_in_a_flood() {
    let mut world = pair(5, |_, _| {});
    world.configure(B, open_house());
    let template = template();
    let from = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
    let first = knock(&mut world, from, 9, &template);
    let again: Vec<_> = (0..100).map(|_| knock(&mut world, from, 9, &template)).collect();
    assert_eq!(again[0], first);
    assert_eq!(again.iter().filter(|answers| !answers.is_empty()).count(), 8);
    world.run(secs(2));
    assert_eq!(knock(&mut world, from, 9, &template), first);
    assert_eq!(world.sides[B].endpoint.ike_sas(world.now).len(), 1);
}

fn packet() -> Trigger {
    let (source, destination) = ("10.1.0.5".parse().unwrap(), "10.2.0.5".parse().unwrap());
    Trigger { source: (source, 1), destination: (destination, 1), protocol: 17 }
}

#[test]
fn a_stranger_who_fits_nothing_does_not_hold_a_tunnel_off_or_hide_its_trouble() {
    let mut world = pair(8, |_, _| {});
    let mut other = pair(9, |_, b| b.groups = vec![crypto::Group::Modp1024]);
    other.connect(B);
    let forged = other.seen[0].clone();
    world.script(|_, _| Fate::Drop);
    world.connect(A);
    world.run(secs(120));
    assert_eq!(world.sides[A].endpoint.troubles()[0].1.explanation.kind, "no_answer");
    world.deliver(&forged);
    assert_eq!(world.sides[A].endpoint.troubles()[0].1.explanation.kind, "no_answer");
    assert_eq!(world.sides[A].endpoint.stranger_troubles()[0].explanation.kind, "no_proposal_chosen");
    world.script(|_, _| Fate::Deliver);
    world.act(A, |endpoint, now, out| endpoint.acquire(now, TUNNEL, Some(packet()), out));
    world.run(secs(1));
    assert_settled(&mut world);
}

#[test]
fn a_child_sa_that_was_refused_is_not_asked_for_by_every_packet() {
    let elsewhere = IpRange::network("10.99.0.0".parse().unwrap(), 24).unwrap();
    let mut world = pair(10, |_, b| b.local_networks = vec![elsewhere]);
    for _ in 0..100 {
        world.act(A, |endpoint, now, out| endpoint.acquire(now, TUNNEL, Some(packet()), out));
        world.run(millis(30));
    }
    assert!(world.seen.len() < 10, "{}", world.seen.len());
    // Another pair of networks does not wait for it.
    let mut world = pair(11, |a, b| {
        a.remote_networks.insert(0, elsewhere);
        b.local_networks = tunnel(B).local_networks;
    });
    let refused = Trigger { destination: ("10.99.0.1".parse().unwrap(), 1), ..packet() };
    for _ in 0..10 {
        world.act(A, |endpoint, now, out| endpoint.acquire(now, TUNNEL, Some(refused), out));
        world.run(millis(100));
    }
    world.act(A, |endpoint, now, out| endpoint.acquire(now, TUNNEL, Some(packet()), out));
    world.run(secs(1));
    assert!(world.ping());
}

#[test]
fn ike_sas_that_failed_to_prove_themselves_count_until_they_are_forgotten() {
    let mut world = pair(6, |a, _| a.psk = base::Secret::copy(b"wrong"));
    for _ in 0..100 {
        world.connect(A);
        world.run(base::Duration::from_millis(100));
    }
    let counters = world.sides[B].endpoint.counters();
    assert_eq!((counters.ike_failed, counters.cookies_accepted, counters.half_open_source_limit), (100, 84, 68));
    let kept = |world: &Pair| format!("{:?}", world.sides[B].endpoint).matches("state: Closing(").count();
    assert_eq!(kept(&world), 32);
    // What is logged of it is rationed.
    for _ in 0..500 {
        world.connect(A);
        world.run(millis(70));
    }
    assert!(world.sides[B].endpoint.counters().rate_limited > 0);
    assert_eq!(kept(&world), 32);
    world.run(secs(120));
    assert_eq!(kept(&world), 0);
}
