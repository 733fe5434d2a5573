//! A stateful harness: arbitrary bytes become a story of two endpoints, in which messages are damaged, repeated, invented
//! and spoken inside the protection. Whatever happens, the bounds hold and nobody without the key gets a child SA.

use std::net::SocketAddr;

use base::{Duration, Instant, Secret};

use crate::pair::{A, B, Datagram, Pair, TUNNEL, pair};
use crate::v2::Forgery;
use crate::{Path, Which};

/// Steps of one story.
const STEPS_MAX: usize = 64;
/// IKE SAs that a story may leave on one side: its own, and half-open ones of one source.
const SAS_MAX: usize = 80;

/// What a story came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Pairs of child SAs that either side installed.
    pub installs: [usize; 2],
    /// Most IKE SAs that a side had at the end.
    pub sas: usize,
    /// The bounds held.
    pub bounded: bool,
}

/// Tells the story that the bytes say. With `authentic` the two share a key; otherwise every install is a failure.
pub fn story(bytes: &[u8], authentic: bool) -> Outcome {
    let mut read = Bytes(bytes);
    let mut world = pair(u64::from(read.u8()), |a, b| {
        if !authentic {
            b.psk = Secret::copy(b"a key that the other side does not have");
        }
        let lives = read.u8();
        if lives & 1 != 0 {
            (a.ipsec_lifetime, b.ipsec_lifetime) = (Duration::from_secs(40), Duration::from_secs(50));
        }
        if lives & 2 != 0 {
            (a.ike_lifetime, b.ike_lifetime) = (Duration::from_secs(60), Duration::from_secs(70));
        }
        (a.auto_establish, b.auto_establish) = (lives & 4 != 0, lives & 8 != 0);
        if lives & 16 != 0 {
            (a.pfs_groups, b.pfs_groups) = (a.groups.clone(), b.groups.clone());
        }
    });
    for _ in 0..STEPS_MAX {
        if read.0.is_empty() {
            break;
        }
        step(&mut world, &mut read);
    }
    world.run(Duration::from_secs(5));
    let count =
        |world: &Pair, side: usize| world.sides.get(side).map_or(0, |own| own.endpoint.ike_sas(world.now).len());
    let sas = count(&world, A).max(count(&world, B));
    let installs = world.sides.each_ref().map(|side| side.installs);
    Outcome { installs, sas, bounded: sas <= SAS_MAX }
}

fn step(world: &mut Pair, read: &mut Bytes<'_>) {
    let op = read.u8();
    let side = usize::from(op >> 7);
    match op & 15 {
        0 => world.connect(side),
        1 => world.run(Duration::from_millis(u64::from(read.u8()))),
        2 => world.run(Duration::from_secs(u64::from(read.u8() & 31))),
        3 => {
            world.ping();
        }
        4 => {
            let message = read.rest(256).to_vec();
            invent(world, side, message);
        }
        5 | 6 => replay(world, read, true),
        7 => replay(world, read, false),
        8 => {
            let child = world.sides.get(side).and_then(|own| own.children.keys().next().copied());
            if let Some(child) = child {
                world.act(side, |endpoint, now, out| endpoint.soft_limit(now, child, out));
            }
        }
        9 => world.act(side, |endpoint, now, out| {
            endpoint.delete(now, Which::Tunnel(TUNNEL), out);
        }),
        _ => {
            let (shape, first) = (read.u8(), read.u8());
            let exchange = 34 + (shape & 3);
            let id = (shape & 4 != 0).then(|| u32::from(read.u8() & 7));
            let first = if shape & 8 != 0 { 33 + first % 16 } else { first };
            let chain = read.rest(usize::from(shape >> 4) * 12).to_vec();
            let forgery = Forgery { exchange, response: shape & 64 != 0, id, first, chain: &chain };
            world.act(side, |endpoint, _: Instant, out| endpoint.forge(&forgery, out));
        }
    }
}

/// Sends bytes that nobody made.
fn invent(world: &mut Pair, side: usize, message: Vec<u8>) {
    let address = |side: usize| world.sides.get(side).map(|own| SocketAddr::new(own.address, 500));
    if let (Some(local), Some(remote)) = (address(side), address(1 - side)) {
        world.deliver(&Datagram { from: side, path: Path { local, remote }, message });
    }
}

/// Delivers a message of the past again, damaged or not.
fn replay(world: &mut Pair, read: &mut Bytes<'_>, damage: bool) {
    let index = usize::from(read.u8());
    let count = world.seen.len();
    let Some(mut datagram) = world.seen.get(index % count.max(1)).cloned() else { return };
    if damage {
        let (at, how) = (usize::from(read.u8()), read.u8());
        let length = datagram.message.len().max(1);
        if how & 1 != 0 {
            datagram.message.truncate(at % length);
            fix_length(&mut datagram.message);
        } else if let Some(byte) = datagram.message.get_mut(at % length) {
            *byte ^= how | 1;
        }
    }
    world.deliver(&datagram);
}

/// Puts the header's length right, so that the damage is looked at and not the length.
fn fix_length(message: &mut [u8]) {
    let length = u32::try_from(message.len()).unwrap_or(0).to_be_bytes();
    if let Some(field) = message.get_mut(24..28) {
        field.copy_from_slice(&length);
    }
}

/// The bytes that are left of a story; zero when there are none.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn rest(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
