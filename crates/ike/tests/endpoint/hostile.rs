//! Whoever has no key changes nothing; whoever damages messages delays at most.

use std::net::SocketAddr;

use base::{Random, Secret};
use ike::pair::{A, B, Datagram, Fate, Pair, pair, tunnel};
use ike::{Path, harness};
use wire::ike::{ExchangeType, Flags, Header, Message, Notify, NotifyType, Payload, parse_message};

use super::{assert_settled, millis, secs};

fn fixed_length(mut message: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    if let Some(field) = message.get_mut(24..28) {
        field.copy_from_slice(&length);
    }
    message
}

/// Every message of a handshake, damaged in every way at hand, arrives in front of the true one.
#[test]
fn garbage_never_ends_a_state() {
    let mut random = Random::numbered(1);
    let lengths: Vec<usize> = {
        let mut world = pair(1, |_, _| {});
        world.connect(A);
        world.run(secs(1));
        world.seen.iter().map(|datagram| datagram.message.len()).collect()
    };
    for (number, length) in lengths.into_iter().enumerate() {
        for at in (0..length).step_by(3) {
            let (bit, cut) = (random.below(8), random.chance(1, 3));
            let mut world = pair(1, |_, _| {});
            // The true message comes when it is sent again.
            world.script(move |count, datagram| {
                if count != number {
                    return Fate::Deliver;
                }
                let mut bad = datagram.message.clone();
                if cut {
                    bad.truncate(at);
                    bad = fixed_length(bad);
                } else {
                    bad[at] ^= 1 << bit;
                }
                Fate::Replace(bad)
            });
            world.connect(A);
            world.run(secs(100));
            // A changed byte of the clear messages may be what AUTH is there to find out: the attempt fails, and says
            // so; whatever it is, the next attempt works.
            if world.sides[A].endpoint.ike_sas(world.now).len() != 1 || !world.packet(A) {
                assert!(number < 2, "message {number} byte {at}");
                world.connect(A);
                world.run(secs(60));
            }
            assert!(world.ping(), "message {number} byte {at}");
        }
    }
}

#[test]
fn every_old_message_may_come_again_at_any_time() {
    let mut world = pair(2, |a, b| {
        for side in [a, b] {
            (side.ipsec_lifetime, side.ike_lifetime) = (secs(60), secs(100));
        }
    });
    world.connect(A);
    for _ in 0..60 {
        world.run(secs(2));
        assert!(world.ping());
        let old = world.seen.clone();
        for datagram in &old {
            world.deliver(datagram);
        }
        assert!(world.ping());
    }
    assert_eq!(world.sides[A].endpoint.counters().ike_failed, 0);
    assert_eq!(world.sides[B].endpoint.counters().ike_established, 1);
}

fn unprotected(
    world: &Pair,
    from: usize,
    exchange: ExchangeType,
    response: bool,
    id: u32,
    kind: NotifyType,
) -> Datagram {
    let (spi_i, spi_r) = world.sides[A].endpoint.ike_sas(world.now)[0].spis;
    let flags = Flags { initiator: from == A, response, version: false };
    let payloads = vec![Payload::Notify(Notify::new(kind, Vec::new()))];
    let message = Message { header: Header::new(spi_i, spi_r, exchange, flags, id), payloads }.write().unwrap();
    let at = |side: usize| SocketAddr::new(world.sides[side].address, 500);
    Datagram { from, path: Path { local: at(from), remote: at(1 - from) }, message }
}

const ERRORS: [NotifyType; 8] = [
    NotifyType::NO_PROPOSAL_CHOSEN,
    NotifyType::AUTHENTICATION_FAILED,
    NotifyType::INVALID_SYNTAX,
    NotifyType::INVALID_IKE_SPI,
    NotifyType::INVALID_SPI,
    NotifyType::INVALID_MAJOR_VERSION,
    NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD,
    NotifyType::TEMPORARY_FAILURE,
];

#[test]
fn unprotected_errors_end_nothing_at_any_stage() {
    for kind in ERRORS {
        for stage in 0..8 {
            let mut world = pair(3, |_, _| {});
            world.connect(A);
            world.run(millis(5 + stage * 5));
            for (exchange, id) in [
                (ExchangeType::IKE_SA_INIT, 0),
                (ExchangeType::IKE_AUTH, 1),
                (ExchangeType::INFORMATIONAL, 0),
                (ExchangeType::INFORMATIONAL, 2),
            ] {
                for from in [A, B] {
                    for response in [false, true] {
                        let forged = unprotected(&world, from, exchange, response, id, kind);
                        world.deliver(&forged);
                    }
                }
            }
            world.run(secs(20));
            assert_settled(&mut world);
        }
    }
}

#[test]
fn a_forged_refusal_before_the_true_answer_delays_nothing() {
    let mut world = pair(4, |_, _| {});
    world.connect(A);
    let forged = unprotected(&world, B, ExchangeType::IKE_SA_INIT, true, 0, NotifyType::NO_PROPOSAL_CHOSEN);
    world.deliver(&forged);
    world.run(secs(1));
    assert_settled(&mut world);
}

/// An unprotected answer to our first request with this notification alone.
fn answer_to_first(world: &Pair, notify: Notify) -> Datagram {
    let question = parse_message(&world.seen[0].message).unwrap();
    let flags = Flags { initiator: false, response: true, version: false };
    let header = Header::new(question.header.initiator_spi, 0, ExchangeType::IKE_SA_INIT, flags, 0);
    let message = Message { header, payloads: vec![Payload::Notify(notify)] }.write().unwrap();
    let Path { local, remote } = world.seen[0].path;
    Datagram { from: B, path: Path { local: remote, remote: local }, message }
}

#[test]
fn a_refusal_without_proof_is_at_least_explained_when_nothing_better_comes() {
    let explained = |notify: Notify| {
        let mut world = pair(11, |_, _| {});
        world.script(|_, _| Fate::Drop);
        world.connect(A);
        let refusal = answer_to_first(&world, notify);
        for _ in 0..10 {
            world.deliver(&refusal);
        }
        world.run(secs(100));
        world.sides[A].endpoint.troubles()[0].1.explanation.clone()
    };
    let group = explained(Notify::new(NotifyType::INVALID_KE_PAYLOAD, vec![0, 16]));
    assert_eq!(group.kind, "group_refused_by_peer");
    assert!(group.found.ends_with("group 16 (MODP 4096)"), "{group:?}");
    assert_eq!(group.remedy, "add 16 to DHGroup of tunnel to-b or configure one of its groups at the peer");
    let unknown = explained(Notify::new(NotifyType::INVALID_KE_PAYLOAD, vec![9, 9]));
    assert_eq!(unknown.kind, "group_refused_by_peer");
    let endless = explained(Notify::new(NotifyType::COOKIE, vec![1]));
    assert_eq!((endless.kind, endless.found.as_str()), ("peer_misbehaved", "a request for a cookie again and again"));
    let long = explained(Notify::new(NotifyType::COOKIE, vec![1; 65]));
    assert_eq!(long.found, "a cookie of 65 bytes");
}

#[test]
fn any_number_of_cookies_is_survived_and_few_are_returned() {
    let mut world = pair(10, |_, _| {});
    world.script(|_, _| Fate::Drop);
    world.connect(A);
    let demand = answer_to_first(&world, Notify::new(NotifyType::COOKIE, vec![1, 2, 3, 4]));
    for _ in 0..1_000 {
        world.deliver(&demand);
    }
    assert_eq!(world.seen.len(), 7);
}

#[test]
fn our_own_messages_sent_back_change_nothing() {
    let mut world = pair(5, |_, _| {});
    world.connect(A);
    world.run(secs(1));
    for datagram in world.seen.clone() {
        let Datagram { from, path, message } = datagram;
        let back = Path { local: path.remote, remote: path.local };
        world.deliver(&Datagram { from: 1 - from, path: back, message });
    }
    assert_settled(&mut world);
}

#[test]
fn another_major_version_is_told_ours_and_no_more() {
    let mut world = pair(6, |_, _| {});
    world.connect(A);
    let mut newer = world.seen[0].clone();
    newer.message[17] = 0x30;
    let before = world.seen.len();
    for _ in 0..1_000 {
        world.deliver(&newer);
    }
    let answers = &world.seen[before..];
    assert_eq!(answers.len(), 50);
    assert!(answers.iter().all(|answer| answer.message.len() <= newer.message.len()));
    newer.message[17] = 0x10;
    let before = world.seen.len();
    world.deliver(&newer);
    assert_eq!(world.seen.len(), before);
    assert_eq!(world.sides[B].endpoint.counters().other_version, 1_001);
}

#[test]
fn random_stories_hold_their_bounds_and_never_panic() {
    let mut random = Random::numbered(7);
    for _ in 0..1_500 {
        let mut bytes = vec![0; usize::try_from(random.below(400)).unwrap()];
        random.fill(&mut bytes);
        let outcome = harness::story(&bytes, true);
        assert!(outcome.bounded, "{outcome:?} {bytes:?}");
    }
}

#[test]
fn no_story_without_the_key_installs_anything() {
    let mut random = Random::numbered(8);
    for _ in 0..1_500 {
        let mut bytes = vec![0; usize::try_from(random.below(400)).unwrap()];
        random.fill(&mut bytes);
        // Begin, so that there are keys to speak under.
        bytes.splice(0..0, [1, 0, 0, 1, 25]);
        let outcome = harness::story(&bytes, false);
        assert_eq!(outcome.installs, [0, 0], "{bytes:?}");
        assert!(outcome.bounded);
    }
}

#[test]
fn hostile_names_stay_on_one_line_of_the_log() {
    let hostile = "x\"\n action=none \u{1b}[2J\u{202e}";
    let mut world = pair(9, |a, b| {
        a.local_identity = ike::LocalIdentity::Fixed(ike::Identity::Fqdn(hostile.into()));
        b.psk = Secret::copy(b"wrong");
    });
    world.connect(A);
    world.run(secs(5));
    world.configure(B, ike::pair::config(tunnel(B)));
    world.connect(A);
    world.run(secs(5));
    assert!(world.ping());
    for record in world.sides.iter().flat_map(|side| &side.records) {
        let line = record.to_string();
        assert!(!line.contains(['\n', '\u{1b}', '\u{202e}']), "{line}");
    }
}
