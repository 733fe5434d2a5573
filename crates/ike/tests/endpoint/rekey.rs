//! Replacing SAs before their lives end, without losing a packet.

use crypto::Group;
use ike::pair::{A, B, Fate, Pair, pair};
use ike::{ChildId, Tunnel, Which};

use super::{assert_settled, millis, secs};

/// Packets both ways all the time; none may be lost.
fn steady(world: &mut Pair, steps: u64, step_millis: u64) {
    for step in 0..steps {
        world.run(millis(step_millis));
        assert!(world.ping(), "packet lost after {} of {steps} steps at {}", step, world.now);
    }
}

fn short(a: &mut Tunnel, b: &mut Tunnel) {
    for side in [a, b] {
        (side.ipsec_lifetime, side.ike_lifetime) = (secs(40), secs(3_600));
    }
}

fn up(seed: u64, change: impl FnOnce(&mut Tunnel, &mut Tunnel)) -> Pair {
    let mut world = pair(seed, change);
    world.connect(A);
    world.run(secs(1));
    assert!(world.ping());
    world
}

#[test]
fn a_child_sa_of_forty_seconds_is_rekeyed_every_ten_without_a_lost_packet() {
    let mut world = up(1, short);
    steady(&mut world, 6_000, 20);
    let rekeyed = world.sides[A].endpoint.counters().child_rekeyed;
    assert!((10..=13).contains(&rekeyed), "{rekeyed}");
    world.run(secs(7));
    let installed = world.sides[A].children.len();
    assert!(installed <= 2, "{installed}");
}

#[test]
fn an_ike_sa_is_rekeyed_and_keeps_its_child_sas() {
    let mut world = up(2, |a, b| (a.ike_lifetime, b.ike_lifetime) = (secs(90), secs(90)));
    let before = world.sides[A].endpoint.ike_sas(world.now)[0].spis;
    steady(&mut world, 2_000, 100);
    let counters = world.sides[B].endpoint.counters();
    assert!(counters.ike_rekeyed >= 2, "{counters:?}");
    assert_eq!((counters.child_established, counters.ike_established), (1, 1));
    assert_ne!(world.sides[A].endpoint.ike_sas(world.now)[0].spis, before);
    assert_settled(&mut world);
}

#[test]
fn a_child_sa_without_traffic_is_dropped_and_comes_back_on_demand() {
    let mut world = up(3, |a, b| {
        short(a, b);
        (a.dpd_interval, b.dpd_interval) = (None, None);
    });
    world.run(secs(30));
    assert!(world.sides[A].children.is_empty() && world.sides[B].children.is_empty());
    assert_eq!(world.sides[A].endpoint.ike_sas(world.now).len(), 1);
    world.connect(A);
    world.run(secs(1));
    assert_settled(&mut world);
    // The IKE SA goes too when it has carried nothing at its own end.
    world.run(secs(3_700));
    assert!(world.sides.iter().all(|side| side.endpoint.ike_sas(world.now).is_empty()));
}

#[test]
fn an_auto_establish_tunnel_stays_up_without_traffic() {
    let mut world = pair(4, |a, b| {
        short(a, b);
        a.auto_establish = true;
    });
    for _ in 0..100 {
        world.run(secs(7));
    }
    world.run(secs(60));
    let current = |world: &Pair, side: usize| {
        world.sides[side].endpoint.ike_sas(world.now)[0].children.iter().filter(|child| child.current).count()
    };
    assert!(current(&world, A) <= 1 && world.sides[A].endpoint.ike_sas(world.now).len() == 1);
    world.run(secs(11));
    assert!(world.ping());
}

#[test]
fn the_data_path_asks_for_a_rekeying_by_bytes() {
    let mut world = up(5, |a, b| (a.ipsec_lifetime_kilobytes, b.ipsec_lifetime_kilobytes) = (1_024, 0));
    let (id, soft, hard) = {
        let child = world.sides[A].children.values().next().unwrap();
        (child.sa.id, child.sa.soft_bytes.unwrap(), child.sa.hard_bytes.unwrap())
    };
    assert_eq!((soft, hard), (917_504, 1_048_576));
    world.act(A, |endpoint, now, out| endpoint.soft_limit(now, id, out));
    world.act(A, |endpoint, now, out| endpoint.soft_limit(now, id, out));
    world.run(secs(10));
    assert_settled(&mut world);
    assert_eq!(world.sides[A].endpoint.counters().child_rekeyed, 1);
    let id = *world.sides[A].children.keys().next().unwrap();
    world.act(A, |endpoint, now, out| endpoint.hard_limit(now, id, out));
    assert!(world.sides[A].children.is_empty());
    world.run(secs(10));
    assert!(world.sides[B].children.is_empty());
    world.act(A, |endpoint, now, out| endpoint.hard_limit(now, ChildId(99), out));
}

#[test]
fn a_rekeying_survives_the_loss_of_each_of_its_messages() {
    for lost in 0..4 {
        for ike in [false, true] {
            let mut world = up(6, |a, _| {
                if ike {
                    a.ike_lifetime = secs(40);
                } else {
                    a.ipsec_lifetime = secs(40);
                }
            });
            let first = world.seen.len();
            world.script(move |number, _| if number == first + lost { Fate::Drop } else { Fate::Deliver });
            steady(&mut world, 250, 100);
            world.script(|_, _| Fate::Deliver);
            let counters = world.sides[A].endpoint.counters();
            assert!(counters.child_rekeyed + counters.ike_rekeyed >= 1);
        }
    }
}

#[test]
fn forward_secrecy_by_another_group_takes_one_more_round() {
    let mut world = up(7, |a, b| {
        short(a, b);
        b.ipsec_lifetime = secs(3_600);
        a.pfs_groups = vec![Group::Ecp256, Group::Curve25519];
        b.pfs_groups = vec![Group::Ecp256];
    });
    steady(&mut world, 200, 100);
    assert!(world.sides[A].endpoint.counters().child_rekeyed >= 1);
    let pfs: Vec<_> = world.sides[B].endpoint.ike_sas(world.now)[0].children.iter().map(|c| c.pfs).collect();
    assert!(pfs.contains(&Some("ECP random 256")), "{pfs:?}");
}

#[test]
fn a_day_of_rekeying_leaves_no_sa_over() {
    let mut world = up(8, |a, b| {
        for side in [a, b] {
            (side.ipsec_lifetime, side.ike_lifetime) = (secs(120), secs(1_000));
        }
    });
    for _ in 0..24 * 360 {
        world.run(secs(10));
        assert!(world.ping(), "{}", world.now);
    }
    for side in [A, B] {
        let own = &world.sides[side];
        assert!(own.children.len() <= 3 && own.endpoint.ike_sas(world.now).len() <= 2);
        assert!(own.endpoint.counters().child_rekeyed > 900 && own.endpoint.counters().ike_rekeyed > 80);
        assert_eq!((own.failed, own.endpoint.counters().peers_dead), (0, 0));
    }
    world.act(A, |endpoint, now, out| {
        endpoint.delete(now, Which::All, out);
    });
    world.run(secs(60));
    for side in [A, B] {
        assert!(world.sides[side].children.is_empty());
        assert_eq!(world.sides[side].endpoint.next_deadline(), None);
    }
}

#[test]
fn the_group_agreed_on_once_is_the_first_choice_of_every_later_rekeying() {
    let mut world = up(6, |a, b| {
        a.pfs_groups = vec![Group::Curve25519, Group::Ecp256];
        b.pfs_groups = vec![Group::Ecp256];
        (a.ipsec_lifetime, b.ipsec_lifetime) = (secs(100), secs(1_000));
    });
    let before = world.seen.len();
    steady(&mut world, 300, 1_000);
    assert!(world.sides[A].events("ike_quickmode_failed").is_empty());
    let rekeyed = usize::try_from(world.sides[A].endpoint.counters().child_rekeyed).unwrap();
    assert!(rekeyed >= 3, "{rekeyed}");
    // A request, its answer, the DELETE and its answer; and once the group that the peer wants.
    assert_eq!(world.seen.len() - before, 4 * rekeyed + 2);
}
