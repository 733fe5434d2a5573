//! Both sides at once: RFC 7296 sections 2.8 and 2.25, each under its ladder. The scripted network holds messages so
//! that they cross.

use std::cell::Cell;
use std::rc::Rc;

use ike::pair::{A, B, Datagram, Fate, Pair, pair};
use ike::{ChildId, Which};

use super::{assert_settled, millis, secs};

fn up(seed: u64) -> Pair {
    let mut world = pair(seed, |a, b| (a.dpd_interval, b.dpd_interval) = (None, None));
    world.connect(A);
    world.run(secs(1));
    assert!(world.ping());
    world
}

const CREATE_CHILD_SA: u8 = 36;
const INFORMATIONAL: u8 = 37;

/// The exchange type of a datagram.
fn exchange(datagram: &Datagram) -> u8 {
    datagram.message[18]
}

fn child(world: &Pair, side: usize) -> ChildId {
    *world.sides[side].children.keys().next_back().unwrap()
}

fn rekey_child(world: &mut Pair, side: usize) {
    let id = child(world, side);
    world.act(side, |endpoint, now, out| endpoint.soft_limit(now, id, out));
}

/// Packets both ways while the dust settles.
fn settle(world: &mut Pair) {
    for _ in 0..200 {
        world.run(millis(50));
        assert!(world.ping(), "a packet was lost at {}", world.now);
    }
    assert_settled(world);
}

/// An IKE SA whose rekeying is due on both sides within the same flight: lives are equal, jitter is spent.
fn ike_pair(seed: u64) -> Pair {
    let mut world = pair(seed, |a, b| {
        for side in [a, b] {
            (side.dpd_interval, side.ike_lifetime) = (None, secs(40));
        }
    });
    // So slow that both begin before either hears of it: jitter is at most two seconds.
    world.connect(A);
    world.run(secs(1));
    assert!(world.ping());
    world.latency = millis(1_900);
    world
}

// A                          B
// REKEY_SA(old) -----\ /---- REKEY_SA(old)
//               <-----X---->
// new A (SA..)  -----\ /---- new B (SA..)
//               <-----X---->
// the lowest nonce loses: its maker deletes it, the other deletes old
#[test]
fn both_rekey_the_child_sa_at_once() {
    for seed in 0..20 {
        let mut world = up(seed);
        rekey_child(&mut world, A);
        rekey_child(&mut world, B);
        settle(&mut world);
        assert_eq!(world.sides[A].endpoint.counters().child_rekeyed, 2);
    }
}

// A                          B
// REKEY_SA(old) ---- lost
//               <----------- REKEY_SA(old)
// new           ----------->
//               <----------- DELETE(old)
// REKEY_SA(old) -----------> closing it: TEMPORARY_FAILURE
#[test]
fn a_rekeying_arrives_after_the_peer_has_finished_its_own() {
    for held in [500, 1_900, 4_000] {
        let mut world = up(3);
        let first = world.seen.len();
        world.script(move |number, _| if number == first { Fate::Delay(millis(held)) } else { Fate::Deliver });
        rekey_child(&mut world, A);
        rekey_child(&mut world, B);
        settle(&mut world);
    }
}

// A                          B
// REKEY_SA(old) -----------> new
//               lost, held   <---- answer
// (repeated)    ----------->
//               <----------- REKEY_SA(old), crossing
#[test]
fn answers_of_colliding_rekeyings_are_late_or_lost() {
    for which in 0..6 {
        for fate in [Fate::Drop, Fate::Delay(millis(700)), Fate::Delay(millis(2_600)), Fate::Duplicate] {
            let mut world = up(4);
            let first = world.seen.len();
            let then = fate.clone();
            world.script(move |number, _| if number == first + which { then.clone() } else { Fate::Deliver });
            rekey_child(&mut world, A);
            rekey_child(&mut world, B);
            settle(&mut world);
        }
    }
}

// A                          B
// REKEY_SA(old) -----\ /---- DELETE(old)
//               <-----X---->
// DELETE(old)   -----\ /---- CHILD_SA_NOT_FOUND or TEMPORARY_FAILURE
#[test]
fn a_rekeying_crosses_the_deletion_of_its_child_sa() {
    let mut world = up(5);
    let id = child(&world, B);
    rekey_child(&mut world, A);
    world.act(B, |endpoint, now, out| endpoint.hard_limit(now, id, out));
    world.run(secs(10));
    for side in [A, B] {
        assert!(world.sides[side].children.is_empty(), "side {side}");
        assert_eq!(world.sides[side].endpoint.ike_sas(world.now).len(), 1);
    }
    world.connect(B);
    world.run(secs(1));
    assert_settled(&mut world);
}

// A                          B
// DELETE(old)   -----\ /---- DELETE(old)
//               <-----X---->
// (nothing)     -----\ /---- (nothing): RFC 7296 section 1.4.1
#[test]
fn both_delete_the_child_sa_at_once() {
    let mut world = up(6);
    for side in [A, B] {
        let id = child(&world, side);
        world.act(side, |endpoint, now, out| endpoint.hard_limit(now, id, out));
    }
    world.run(secs(10));
    for side in [A, B] {
        assert!(world.sides[side].children.is_empty());
        assert_eq!(world.sides[side].endpoint.ike_sas(world.now).len(), 1);
    }
}

// A                          B
// SA(IKE)       -----\ /---- SA(IKE)
//               <-----X---->
// SA(IKE)       -----\ /---- SA(IKE)
//               <-----X---->
// the lowest nonce loses; the children go to the winner
#[test]
fn both_rekey_the_ike_sa_at_once() {
    let mut collisions = 0;
    for seed in 0..20 {
        let mut world = ike_pair(seed);
        for _ in 0..300 {
            world.run(millis(50));
            assert!(world.ping(), "seed {seed} at {}", world.now);
        }
        collisions += world.sides[A].endpoint.counters().ike_rekeyed.saturating_sub(1);
        world.latency = millis(10);
        for _ in 0..400 {
            world.run(millis(50));
            assert!(world.ping(), "seed {seed} at {}", world.now);
        }
        let sas: Vec<_> = [A, B].iter().map(|side| world.sides[*side].endpoint.ike_sas(world.now)).collect();
        let living = |side: usize| sas[side].iter().filter(|sa| sa.state == "Established").count();
        assert!(living(A) >= 1 && living(B) >= 1, "seed {seed}: {sas:#?}");
        assert_eq!(world.sides[A].endpoint.counters().peers_dead, 0);
    }
    assert!(collisions > 0);
}

#[test]
fn colliding_ike_rekeyings_survive_loss_and_delay_of_each_message() {
    for which in 0..8 {
        for fate in [Fate::Drop, Fate::Delay(millis(3_000)), Fate::Duplicate] {
            for seed in 0..4 {
                let mut world = ike_pair(seed);
                let first = world.seen.len();
                let then = fate.clone();
                world.script(move |number, _| if number == first + which { then.clone() } else { Fate::Deliver });
                for _ in 0..400 {
                    world.run(millis(50));
                    assert!(world.ping(), "message {which} {fate:?} seed {seed} at {}", world.now);
                }
                world.latency = millis(10);
                world.script(|_, _| Fate::Deliver);
                for _ in 0..200 {
                    world.run(millis(50));
                    assert!(world.ping(), "message {which} {fate:?} seed {seed} at {}", world.now);
                }
                assert!(world.sides.iter().all(|side| side.endpoint.counters().peers_dead == 0));
            }
        }
    }
}

// A                          B
// SA(IKE)       -----\ /---- DELETE(IKE)
//               <-----X---->
#[test]
fn a_rekeying_crosses_the_deletion_of_the_ike_sa() {
    for seed in 0..10 {
        let mut world = ike_pair(seed);
        world.run(secs(10));
        world.act(B, |endpoint, now, out| {
            endpoint.delete(now, Which::All, out);
        });
        world.run(secs(60));
        for side in [A, B] {
            assert!(world.sides[side].children.is_empty(), "seed {seed}");
            assert!(world.sides[side].endpoint.ike_sas(world.now).is_empty(), "seed {seed}");
        }
    }
}

// A                          B
// DELETE(IKE)   -----\ /---- DELETE(IKE)
//               <-----X---->
#[test]
fn both_delete_the_ike_sa_at_once() {
    let mut world = up(8);
    for side in [A, B] {
        world.act(side, |endpoint, now, out| {
            endpoint.delete(now, Which::All, out);
        });
    }
    world.run(secs(30));
    for side in [A, B] {
        assert_eq!(world.sides[side].endpoint.next_deadline(), None);
        assert_eq!(world.sides[side].endpoint.counters().retransmitted, 0);
    }
}

// A                          B
// SA(IKE)       -----\ /---- REKEY_SA(child)
//               <-----X---->
// TEMPORARY_FAILURE -\ /---- TEMPORARY_FAILURE
#[test]
fn a_child_is_rekeyed_while_the_ike_sa_is() {
    for offset in [0, 200, 500, 1_000, 1_500, 2_500] {
        for seed in 0..4 {
            let mut world = ike_pair(seed);
            world.latency = millis(400);
            world.run(secs(9) + millis(offset));
            for side in [A, B] {
                rekey_child(&mut world, side);
            }
            for _ in 0..300 {
                world.run(millis(50));
                assert!(world.ping(), "offset {offset} seed {seed} at {}", world.now);
            }
            let counters = world.sides[A].endpoint.counters();
            assert!(counters.child_rekeyed >= 1 && counters.ike_rekeyed >= 1, "{counters:?}");
            assert_eq!(counters.peers_dead, 0);
        }
    }
}

#[test]
fn collisions_of_every_kind_under_loss_leave_one_pair_and_no_orphan() {
    for seed in 0..30 {
        let mut world = pair(seed, |a, b| {
            for side in [a, b] {
                (side.ipsec_lifetime, side.ike_lifetime, side.auto_establish) = (secs(45), secs(130), true);
            }
        });
        let mut chance = base::Random::numbered(seed);
        world.script(move |_, _| match chance.below(20) {
            0 => Fate::Drop,
            1 => Fate::Duplicate,
            2 => Fate::Delay(millis(900)),
            _ => Fate::Deliver,
        });
        world.latency = millis(150);
        for _ in 0..120 {
            world.run(secs(5));
            world.ping();
        }
        // The network heals: in a minute both sides agree again.
        world.script(|_, _| Fate::Deliver);
        world.run(secs(60));
        assert!(world.ping(), "seed {seed}");
        let count = |world: &Pair, side: usize| {
            let sas = world.sides[side].endpoint.ike_sas(world.now);
            sas.iter().flat_map(|sa| &sa.children).filter(|child| child.current).count()
        };
        assert!(count(&world, A) <= 2 && count(&world, B) <= 2, "seed {seed}");
        for side in [A, B] {
            world.act(side, |endpoint, now, out| endpoint.shut_down(now, out));
        }
        world.run(secs(60));
        assert!(world.sides.iter().all(|side| side.children.is_empty() && side.endpoint.is_quiet()), "seed {seed}");
    }
}

// A                          B
// SA(IKE)       ---- lost
//               <----------- SA(IKE)
// SA(IKE)       ----------->            children move to the new IKE SA at B, and DELETE(old) leaves before
//               <----------- DELETE(old)
//               <----------- REKEY_SA(child) on the new one
#[test]
fn a_child_is_rekeyed_on_the_new_ike_sa_while_the_peers_own_rekeying_was_lost() {
    for lost_delete in [false, true] {
        for seed in 100..120 {
            let mut world = pair(seed, |a, b| {
                for side in [a, b] {
                    (side.dpd_interval, side.ike_lifetime) = (None, secs(100));
                }
            });
            world.connect(A);
            world.run(secs(1));
            assert!(world.ping());
            let loser = Rc::new(Cell::new(None));
            let (told, delete_lost) = (loser.clone(), Cell::new(!lost_delete));
            world.script(move |_, datagram| {
                if exchange(datagram) == CREATE_CHILD_SA && told.get().is_none() {
                    told.set(Some(datagram.from));
                    return Fate::Drop;
                }
                if exchange(datagram) == INFORMATIONAL && !delete_lost.replace(true) {
                    Fate::Drop
                } else {
                    Fate::Deliver
                }
            });
            while loser.get().is_none() {
                world.run(millis(1));
                assert!(world.ping());
            }
            let winner = 1 - loser.get().unwrap();
            let first = world.seen.len();
            while !world.seen[first..].iter().any(|one| one.from == winner) {
                world.run(millis(1));
                assert!(world.ping());
            }
            rekey_child(&mut world, winner);
            for _ in 0..500 {
                world.run(millis(10));
                assert!(world.ping(), "seed {seed}, DELETE lost: {lost_delete}, at {}", world.now);
            }
            let ended = |side: usize| world.sides[side].events("ipsec_sa_deleted").len();
            assert!(ended(A) <= 1 && ended(B) <= 1, "seed {seed}");
            assert_eq!(world.sides[A].endpoint.counters().child_rekeyed, 1);
        }
    }
}

// A                          B
// SA(IKE)       -----\ /---- SA(IKE)
//               <-----X---->
// (configured anew)          both new IKE SAs and the old one end
#[test]
fn a_new_configuration_during_a_collision_leaves_nothing_of_the_old_one() {
    for seed in 0..20 {
        for after in [9_000, 10_500, 12_000, 13_500, 15_000, 17_000] {
            let mut world = ike_pair(seed);
            world.run(millis(after));
            let changed = ike::Tunnel { ike_lifetime: secs(3_600), ..ike::pair::tunnel(A) };
            world.configure(A, ike::pair::config(changed));
            world.run(secs(90));
            for side in [A, B] {
                assert!(world.sides[side].children.is_empty(), "seed {seed} after {after}");
                let left = world.sides[side].endpoint.ike_sas(world.now);
                assert!(left.is_empty(), "seed {seed} after {after}: {left:#?}");
            }
        }
    }
}
