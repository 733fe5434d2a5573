//! From nothing to traffic.

use std::net::IpAddr;

use base::{IpRange, Selector};
use crypto::{Encryption, Group, Integrity, Prf};
use ike::pair::{A, B, Fate, Pair, TUNNEL, config, pair, tunnel};
use ike::{Identity, LocalIdentity, RemoteEndpoint, SaPer, Trigger, Tunnel, TunnelId, Which};

use super::{assert_settled, millis, secs};

#[test]
fn a_tunnel_comes_up_in_four_messages_and_carries_packets_both_ways() {
    let mut world = pair(1, |_, _| {});
    world.connect(A);
    world.run(secs(1));
    assert_eq!(world.seen.len(), 4);
    assert_settled(&mut world);
    for side in [A, B] {
        assert_eq!(world.sides[side].events("ike_sa_negotiation_completed").len(), 1);
        assert_eq!(world.sides[side].events("ipsec_sa_negotiation_completed").len(), 1);
        assert!(world.sides[side].endpoint.troubles().is_empty());
    }
    let status = &world.sides[A].endpoint.ike_sas(world.now)[0];
    assert_eq!(status.algorithms.as_deref(), Some("AES-CBC-256/HMAC-SHA256-128/PRF-HMAC-SHA256/Curve25519"));
    assert_eq!(status.remote_id.as_deref(), Some("192.0.2.2"));
}

#[test]
fn every_algorithm_brings_a_tunnel_up() {
    let hashes = [
        (Integrity::HmacSha1_96, Prf::HmacSha1),
        (Integrity::HmacSha2_256_128, Prf::HmacSha2_256),
        (Integrity::HmacSha2_512_256, Prf::HmacSha2_512),
    ];
    for (seed, encryption) in (10..).zip(Encryption::ALL) {
        for (integrity, prf) in hashes {
            let mut world = pair(seed, |a, b| {
                for side in [a, b] {
                    let ike = if *encryption == Encryption::Null { Encryption::AesCbc(128) } else { *encryption };
                    (side.ike.encryption, side.esp.encryption) = (vec![ike], vec![*encryption]);
                    (side.ike.integrity, side.esp.integrity) = (vec![integrity], vec![integrity]);
                    side.ike.prf = vec![prf];
                }
            });
            world.connect(A);
            world.run(secs(1));
            assert_settled(&mut world);
        }
    }
}

#[test]
fn every_group_up_to_4096_bits_brings_a_tunnel_up_with_forward_secrecy() {
    for group in Group::ALL.iter().filter(|group| group.public_len() <= 512) {
        let mut world = pair(2, |a, b| {
            for side in [a, b] {
                (side.groups, side.pfs_groups) = (vec![*group], vec![*group]);
                (side.ipsec_lifetime, side.dpd_interval) = (secs(60), None);
                side.auto_establish = true;
            }
        });
        world.run(secs(40));
        assert!(world.ping());
        assert!(world.sides[B].endpoint.counters().child_rekeyed >= 1, "{group}");
    }
}

#[test]
fn the_greatest_common_group_wins_by_way_of_invalid_ke() {
    let mut world = pair(3, |a, b| {
        a.groups = vec![Group::Modp2048, Group::Ecp256, Group::Curve25519];
        b.groups = vec![Group::Ecp256, Group::Modp2048];
    });
    world.connect(A);
    world.run(secs(1));
    assert_eq!(world.seen.len(), 6);
    assert_settled(&mut world);
    let status = &world.sides[B].endpoint.ike_sas(world.now)[0];
    assert!(status.algorithms.as_deref().unwrap().ends_with("ECP random 256"));
}

#[test]
fn a_cookie_is_returned_when_it_is_demanded() {
    let mut world = pair(4, |_, _| {});
    let mut config = config(tunnel(B));
    config.settings.force_cookies = true;
    world.configure(B, config);
    world.connect(A);
    world.run(secs(1));
    assert_eq!(world.seen.len(), 6);
    assert!(world.seen[1].message.len() < world.seen[0].message.len());
    assert_eq!(world.sides[B].endpoint.counters().cookies_accepted, 1);
    assert_settled(&mut world);
}

#[test]
fn the_loss_of_any_single_message_is_survived() {
    for lost in 0..8 {
        let mut world = pair(5, |a, b| {
            a.groups = vec![Group::Ecp256, Group::Curve25519];
            b.groups = vec![Group::Ecp256];
        });
        let mut config = config(Tunnel { groups: vec![Group::Ecp256], ..tunnel(B) });
        config.settings.force_cookies = true;
        world.configure(B, config);
        world.script(move |number, _| if number == lost { Fate::Drop } else { Fate::Deliver });
        world.connect(A);
        world.run(secs(20));
        assert_settled(&mut world);
    }
}

#[test]
fn every_message_may_come_twice_late_and_out_of_order() {
    for seed in 0..200 {
        let mut world = pair(seed, |a, b| (a.auto_establish, a.dpd_interval, b.dpd_interval) = (true, None, None));
        let mut chance = base::Random::numbered(seed);
        world.script(move |_, _| match chance.below(10) {
            0 | 1 => Fate::Drop,
            2 | 3 => Fate::Duplicate,
            4 => Fate::Delay(millis(50)),
            5 => Fate::Delay(secs(3)),
            _ => Fate::Deliver,
        });
        world.run(secs(100));
        assert_settled(&mut world);
    }
}

#[test]
fn each_pair_of_networks_gets_a_child_sa_of_its_own() {
    let net = |text: &str| IpRange::network(text.parse().unwrap(), 24).unwrap();
    let mut world = pair(6, |a, b| {
        a.local_networks.push(net("10.11.0.0"));
        b.remote_networks.push(net("10.11.0.0"));
        a.remote_networks.push(net("10.12.0.0"));
        b.local_networks.push(net("10.12.0.0"));
        a.local_networks.push(net("2001:db8::"));
        b.remote_networks.push(net("2001:db8::"));
    });
    world.connect(A);
    world.run(secs(1));
    for side in [A, B] {
        let sas = world.sides[side].endpoint.ike_sas(world.now);
        assert_eq!((sas.len(), sas[0].children.len(), world.sides[side].children.len()), (1, 4, 4));
    }
}

#[test]
fn a_packet_brings_up_its_own_pair_and_comes_first_in_the_request() {
    let mut world = pair(7, |_, _| {});
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let trigger = Trigger { source: (address("10.1.0.5"), 4_000), destination: (address("10.2.0.7"), 80), protocol: 6 };
    world.act(A, |endpoint, now, out| endpoint.acquire(now, TUNNEL, Some(trigger), out));
    world.act(A, |endpoint, now, out| endpoint.acquire(now, TUNNEL, Some(trigger), out));
    world.run(secs(1));
    assert_eq!(world.seen.len(), 4);
    assert_settled(&mut world);
    // A packet of no configured network is nobody's.
    let stray = Trigger { source: (address("10.99.0.5"), 0), ..trigger };
    world.act(A, |endpoint, now, out| endpoint.acquire(now, TUNNEL, Some(stray), out));
    assert_eq!(world.sides[A].failed, 1);
}

#[test]
fn each_pair_of_hosts_or_ports_gets_its_own_child_sa_where_the_tunnel_says_so() {
    let packet = |from: &str, to: &str, protocol, ports: (u16, u16)| Trigger {
        source: (from.parse().unwrap(), ports.0),
        destination: (to.parse().unwrap(), ports.1),
        protocol,
    };
    let packets = [
        packet("10.1.0.5", "10.2.0.7", 6, (4_000, 80)),
        packet("10.1.0.5", "10.2.0.7", 6, (4_001, 80)),
        packet("10.1.0.5", "10.2.0.7", 1, (0, 0)),
        packet("10.1.0.6", "10.2.0.7", 17, (53, 53)),
        packet("10.1.0.6", "10.2.0.7", 17, (53, 53)),
    ];
    for (sa_per, expected) in [
        (SaPer::Host, vec!["10.1.0.5 to 10.2.0.7", "10.1.0.6 to 10.2.0.7"]),
        (
            SaPer::Port,
            vec![
                "10.1.0.5:tcp/4000 to 10.2.0.7:tcp/80",
                "10.1.0.5:tcp/4001 to 10.2.0.7:tcp/80",
                "10.1.0.5:icmp to 10.2.0.7:icmp",
                "10.1.0.6:udp/53 to 10.2.0.7:udp/53",
            ],
        ),
    ] {
        let mut world = pair(12, |a, _| a.sa_per = sa_per);
        for packet in packets {
            world.act(A, |endpoint, now, out| endpoint.acquire(now, TUNNEL, Some(packet), out));
        }
        world.run(secs(2));
        let children = |world: &Pair, side: usize| -> Vec<String> {
            let sas = world.sides[side].endpoint.ike_sas(world.now);
            assert_eq!(sas.len(), 1);
            let ends = |local: &[Selector], remote: &[Selector]| {
                if side == A { (local[0], remote[0]) } else { (remote[0], local[0]) }
            };
            let mut children: Vec<_> = sas[0].children.iter().map(|child| (child.id, child)).collect();
            children.sort_by_key(|(id, _)| *id);
            children
                .iter()
                .map(|(_, child)| ends(&child.local, &child.remote))
                .map(|(local, remote)| format!("{local} to {remote}"))
                .collect()
        };
        assert_eq!(children(&world, A), expected, "{sa_per:?}");
        assert_eq!(children(&world, B), expected, "{sa_per:?}");
        // Nobody uses them: they end when they would be rekeyed.
        world.run(secs(3_600));
        assert!(children(&world, A).is_empty() && children(&world, B).is_empty());
        // A packet of no configured network is nobody's, and without a packet there is nothing to ask for.
        let stray = packet("10.99.0.5", "10.2.0.7", 6, (1, 1));
        world.act(A, |endpoint, now, out| endpoint.acquire(now, TUNNEL, Some(stray), out));
        world.act(A, |endpoint, now, out| endpoint.acquire(now, TUNNEL, None, out));
        assert_eq!(world.sides[A].failed, 2);
    }
}

#[test]
fn a_smaller_offer_is_accepted_as_it_is() {
    let small = IpRange::network("10.1.0.128".parse().unwrap(), 25).unwrap();
    let mut world = pair(8, |a, _| a.local_networks = vec![small]);
    world.connect(A);
    world.run(secs(1));
    assert_settled(&mut world);
    let child = &world.sides[B].endpoint.ike_sas(world.now)[0].children[0];
    assert_eq!(child.remote, vec![Selector::all(small)]);
}

#[test]
fn an_offer_of_everything_is_narrowed_and_the_initiator_takes_it() {
    let mut world = pair(9, |a, _| {
        (a.local_networks, a.remote_networks) = (vec![IpRange::ALL_V4], vec![IpRange::ALL_V4]);
    });
    world.connect(A);
    world.run(secs(1));
    assert_settled(&mut world);
    let child = &world.sides[A].endpoint.ike_sas(world.now)[0].children[0];
    assert_eq!(child.local[0].to_string(), "10.1.0.0/24");
}

#[test]
fn the_key_picks_among_tunnels_for_anybody() {
    let other = Tunnel {
        id: TunnelId(9),
        name: "roaming".into(),
        psk: base::Secret::copy(b"another key"),
        remote_endpoint: RemoteEndpoint::Any,
        ..tunnel(B)
    };
    let mut world = pair(10, |a, _| a.local_identity = LocalIdentity::Fixed(Identity::Fqdn("a.example".into())));
    let mut config = config(tunnel(B));
    config.tunnels.insert(0, std::sync::Arc::new(other));
    world.configure(B, config);
    world.connect(A);
    world.run(secs(1));
    assert_settled(&mut world);
    let status = &world.sides[B].endpoint.ike_sas(world.now)[0];
    assert_eq!((status.tunnel, status.remote_id.as_deref()), (Some(TUNNEL), Some("a.example")));
}

#[test]
fn networks_that_do_not_fit_move_on_to_the_next_tunnel() {
    let elsewhere = IpRange::network("172.16.0.0".parse().unwrap(), 16).unwrap();
    let other = Tunnel { id: TunnelId(9), name: "first".into(), remote_networks: vec![elsewhere], ..tunnel(B) };
    let mut world = pair(11, |_, _| {});
    let mut config = config(tunnel(B));
    config.tunnels.insert(0, std::sync::Arc::new(other));
    world.configure(B, config);
    world.connect(A);
    world.run(secs(1));
    assert_eq!(world.sides[B].endpoint.ike_sas(world.now)[0].tunnel, Some(TUNNEL));
    assert_settled(&mut world);
}

#[test]
fn both_sides_may_begin_at_once() {
    for seed in 0..10 {
        let mut world = pair(seed, |a, b| (a.auto_establish, b.auto_establish) = (true, true));
        world.run(secs(5));
        assert!(world.ping());
        // Duplicates are the same on both sides and carry traffic; disuse removes the spare one.
        let ids = |side: usize| {
            let mut ids: Vec<_> = world.sides[side].endpoint.ike_sas(world.now).iter().map(|sa| sa.spis).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(ids(A), ids(B));
        for _ in 0..9 {
            world.run(secs(3_600));
            assert!(world.ping());
        }
        assert_settled(&mut world);
    }
}

#[test]
fn large_messages_travel_in_fragments() {
    let mut world = pair(12, |a, b| {
        for side in [a, b] {
            side.local_identity = LocalIdentity::Fixed(Identity::Other(11, vec![7; 3_000]));
        }
    });
    world.connect(A);
    world.run(secs(1));
    assert!(world.seen.len() > 6);
    assert!(world.seen.iter().all(|datagram| datagram.message.len() <= 1_280));
    assert_settled(&mut world);
    for lost in 2..8 {
        let mut world = pair(12, |a, b| {
            for side in [a, b] {
                side.local_identity = LocalIdentity::Fixed(Identity::Other(11, vec![7; 3_000]));
            }
        });
        world.script(move |number, _| if number == lost { Fate::Drop } else { Fate::Duplicate });
        world.connect(A);
        world.run(secs(10));
        assert_settled(&mut world);
    }
}

#[test]
fn the_operator_ends_a_tunnel_on_both_sides_and_shutting_down_leaves_nothing() {
    let mut world = pair(13, |_, _| {});
    world.connect(A);
    world.run(secs(1));
    world.act(B, |endpoint, now, out| assert_eq!(endpoint.delete(now, Which::Tunnel(TUNNEL), out), 1));
    world.run(secs(1));
    for side in [A, B] {
        assert!(world.sides[side].endpoint.ike_sas(world.now).is_empty());
        assert!(world.sides[side].children.is_empty());
    }
    world.connect(A);
    world.run(secs(1));
    assert!(world.ping());
    world.act(A, |endpoint, now, out| endpoint.shut_down(now, out));
    assert!(!world.sides[A].endpoint.is_quiet());
    world.run(secs(1));
    assert!(world.sides[A].endpoint.is_quiet());
    assert!(world.sides[B].endpoint.ike_sas(world.now).is_empty());
    world.run(secs(60));
    assert_eq!(world.sides[A].endpoint.next_deadline(), None);
}

#[test]
fn an_unchanged_tunnel_survives_a_new_configuration_and_a_changed_one_does_not() {
    let mut world = pair(14, |_, _| {});
    world.connect(A);
    world.run(secs(1));
    world.configure(A, config(tunnel(A)));
    world.run(secs(1));
    assert_settled(&mut world);
    world.configure(A, config(Tunnel { name: "renamed".into(), ..tunnel(A) }));
    world.run(secs(1));
    assert!(world.sides[B].endpoint.ike_sas(world.now).is_empty());
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |seed| {
        let mut world = pair(seed, |a, b| {
            for side in [a, b] {
                (side.auto_establish, side.ipsec_lifetime, side.ike_lifetime) = (true, secs(60), secs(150));
            }
        });
        world.run(secs(600));
        let logs: Vec<String> = world.sides.iter().flat_map(|side| &side.records).map(ToString::to_string).collect();
        (world.seen, logs)
    };
    assert_eq!(run(15), run(15));
    assert_ne!(run(15).0, run(16).0);
}

/// Two tunnels of A to the same peer, which has one with the networks of both.
fn two_tunnels(seed: u64) -> Pair {
    let network = |third| IpRange::network(IpAddr::from([10, third, 0, 0]), 24).unwrap();
    let mut config_a = config(tunnel(A));
    let second = Tunnel { id: SECOND, name: "second".into(), local_networks: vec![network(3)], ..tunnel(A) };
    config_a.tunnels.push(std::sync::Arc::new(second));
    let mut b = tunnel(B);
    b.remote_networks.push(network(3));
    Pair::new(seed, [config_a, config(b)])
}

const SECOND: TunnelId = TunnelId(2);

#[test]
fn a_second_tunnel_to_the_same_peer_does_not_end_the_first() {
    for wait in [0, 1_000] {
        let mut world = two_tunnels(1);
        world.connect(A);
        world.run(millis(wait));
        world.act(A, |endpoint, now, out| endpoint.acquire(now, SECOND, None, out));
        world.run(secs(10));
        for side in [A, B] {
            assert_eq!(world.sides[side].endpoint.ike_sas(world.now).len(), 2, "side {side}, {wait} ms between");
            assert_eq!(world.sides[side].children.len(), 2);
        }
        assert!(world.sides[B].events("initial_contact").is_empty());
    }
}
