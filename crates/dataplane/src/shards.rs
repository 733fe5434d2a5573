//! Several shards of one packet path, each on a thread of its own: which packet belongs to which, and what one hands to
//! another.
//!
//! Both directions of a connection belong to one shard, found by a hash of addresses and ports that is the same for both.
//! Translation gives a connection a second name, whose hash may point elsewhere: the shard that it points at is told by a
//! *claim* whose connection it is. All packets that an SA seals are sealed by one shard, its *home*, so that they leave in
//! the order of their sequence numbers. A shard hands on what is not its own; whoever carries that between threads keeps
//! the order of what one shard hands to another, and lets a shard take it before packets that were received later.

use std::net::IpAddr;

use base::Instant;
use wire::icmp::{self, Class};
use wire::ip;

use crate::index::{HashKey, Index};
use crate::inspect::{Key, Seen};
use crate::path::{Denial, Source, Work};
use crate::{Dataplane, Output, Reason, SaId};

/// Connections of other shards that a shard knows by their claims. More than that go unclaimed, and are refused there.
const CLAIMS_MAX: usize = 1 << 20;

/// A packet that was handed on so often stays where it is: its connection has just ended, and not everybody knows.
const HANDED_MAX: u8 = 3;

/// Which shard this is, of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardId {
    /// From 0 on.
    pub index: u16,
    /// At least 1.
    pub count: u16,
}

impl ShardId {
    /// The only one.
    pub const ONLY: Self = Self { index: 0, count: 1 };
}

/// What one shard hands to another.
#[derive(Debug)]
pub struct Handoff(pub(crate) Handed);

#[derive(Debug)]
pub(crate) enum Handed {
    /// A packet of a connection of yours, before anything was decided about it.
    Packet(Work),
    /// A packet on which all is decided but how it is sealed: with this SA, or what has taken over from it.
    Seal(SaId, Work),
    /// The connection with this name in either direction is that shard's.
    Claim(Key, u16),
    /// It is no more.
    Release(Key),
}

impl Handoff {
    /// True for packets, which may be lost on their way like any packet. Whose a connection is may not.
    pub fn is_packet(&self) -> bool {
        match self.0 {
            Handed::Packet(_) | Handed::Seal(..) => true,
            Handed::Claim(..) | Handed::Release(_) => false,
        }
    }
}

impl Dataplane {
    /// Takes over what another shard has handed on.
    pub fn take_over(&mut self, now: Instant, Handoff(handed): Handoff, out: &mut Vec<Output>) {
        self.begin(now, out);
        match handed {
            Handed::Packet(work) => self.run(now, Work { handed: work.handed.saturating_add(1), ..work }, out),
            Handed::Seal(id, work) => {
                let slot = self.sas.slot_of(id);
                match (work.seen(), slot.and_then(|slot| Some((slot, self.sas.get(slot)?.sa.tunnel)))) {
                    (Some(seen), Some((slot, tunnel))) => self.send_by(now, (tunnel, slot), work, &seen, out),
                    // It was removed while the packet was on its way here.
                    _ => self.deny(now, work, Denial::of(Reason::TunnelUnavailable), out),
                }
                self.run_queue(now, out);
            }
            Handed::Claim(key, owner) => self.shards.claim(key, owner),
            Handed::Release(key) => self.shards.release(&key),
        }
    }

    /// What is for other shards, by their index, since the last call: whoever carries it takes it after each call, and sends
    /// packets only then, so that a claim is known before an answer can come.
    pub fn handoffs(&mut self) -> std::vec::Drain<'_, (u16, Handoff)> {
        self.handoffs.drain(..)
    }

    pub(crate) fn hand(&mut self, to: u16, handed: Handed) {
        self.handoffs.push((to, Handoff(handed)));
    }

    /// The shard that a packet belongs to, when it is not this one. What ESP is opened from stays where it has come.
    pub(crate) fn elsewhere(&self, work: &Work, seen: &Seen) -> Option<u16> {
        if self.shards.is_alone() || work.handed >= HANDED_MAX || matches!(work.source, Source::Error(_)) {
            return None;
        }
        if matches!(work.source, Source::Link(_)) && self.is_for_ipsec(seen) {
            return None;
        }
        let key = match seen.class() {
            // A connection is known by the way the error goes: against the packet that it quotes.
            Some(Class::Error) => {
                Key::of_quotation(icmp::quotation(seen.ip.payload_of(work.packet.bytes())))?.reversed()
            }
            _ => seen.key(),
        };
        if self.flows.find(&key).is_some() {
            return None;
        }
        self.shards.elsewhere(&key)
    }

    /// The shard that puts a packet together from its fragments, when it is not this one.
    pub(crate) fn fragments_elsewhere(&self, work: &Work, header: &ip::Header) -> Option<u16> {
        let fragment = header.fragment.filter(|_| !self.shards.is_alone() && work.handed < HANDED_MAX)?;
        let to = self.shards.of_fragments(header.source, header.destination, fragment.id);
        (to != self.shards.me.index).then_some(to)
    }
}

/// What a shard knows of itself and of the others.
#[derive(Debug)]
pub(crate) struct Shards {
    me: ShardId,
    hash_key: HashKey,
    claims: Claims,
}

impl Shards {
    pub(crate) fn new(me: ShardId, hash_key: u64) -> Self {
        Self { me, hash_key: HashKey::new(hash_key), claims: Claims::default() }
    }

    pub(crate) fn me(&self) -> ShardId {
        self.me
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.me.count <= 1
    }

    pub(crate) fn count(&self) -> usize {
        usize::from(self.me.count.max(1))
    }

    /// True when the connection is ours by its addresses and ports.
    pub(crate) fn is_mine(&self, key: &Key) -> bool {
        self.is_alone() || self.of_key(key) == self.me.index
    }

    /// Whose the connection is by its addresses and ports, when not ours.
    pub(crate) fn owner_elsewhere(&self, key: &Key) -> Option<u16> {
        (!self.is_mine(key)).then(|| self.of_key(key))
    }

    /// The shard that the connection belongs to by its addresses and ports.
    pub(crate) fn of_key(&self, key: &Key) -> u16 {
        let (one, other) = (end(key.source, key.ports.0), end(key.destination, key.ports.1));
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        let words = [low.0, low.1, high.0, high.1, u64::from(low.2) << 16 | u64::from(high.2), u64::from(key.protocol)];
        self.pick(self.hash_key.hash(&words))
    }

    /// The shard that puts the fragments of a packet together.
    pub(crate) fn of_fragments(&self, source: IpAddr, destination: IpAddr, id: u32) -> u16 {
        let (one, other) = (end(source, 0), end(destination, 0));
        self.pick(self.hash_key.hash(&[one.0, one.1, other.0, other.1, u64::from(id), 1 << 32]))
    }

    /// The shard of a connection that is not one of ours: by its claim, else by its addresses and ports. `None`: ours.
    pub(crate) fn elsewhere(&self, key: &Key) -> Option<u16> {
        if self.is_alone() {
            return None;
        }
        match self.of_key(key) {
            index if index != self.me.index => Some(index),
            _ => self.claims.find(&self.hash_key, key),
        }
    }

    pub(crate) fn claim(&mut self, key: Key, owner: u16) {
        self.claims.insert(&self.hash_key, key, owner);
    }

    pub(crate) fn release(&mut self, key: &Key) {
        self.claims.remove(&self.hash_key, key);
    }

    /// Connections of others that are known.
    #[cfg(test)]
    pub(crate) fn claimed(&self) -> usize {
        self.claims.slots.len() - self.claims.free.len()
    }

    fn pick(&self, hash: u64) -> u16 {
        // The upper bits of the product are uniform over the shards.
        let wide = u128::from(hash) * u128::from(self.me.count);
        u16::try_from(wide >> 64).unwrap_or(0)
    }
}

/// One end of a connection as two words and a port.
fn end(address: IpAddr, port: u16) -> (u64, u64, u16) {
    match address {
        IpAddr::V4(address) => (0, u64::from(address.to_bits()), port),
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h] = address.segments().map(u64::from);
            (a << 48 | b << 32 | c << 16 | d, e << 48 | f << 32 | g << 16 | h, port)
        }
    }
}

/// Connections of others.
#[derive(Debug, Default)]
struct Claims {
    slots: Vec<Option<(Key, u16)>>,
    free: Vec<u32>,
    index: Index,
}

impl Claims {
    fn slot(&self, hash_key: &HashKey, key: &Key) -> Option<u32> {
        self.index.find(hash_key.hash(&key.words()), |slot| self.get(slot).is_some_and(|(claimed, _)| claimed == key))
    }

    fn get(&self, slot: u32) -> Option<&(Key, u16)> {
        self.slots.get(usize::try_from(slot).ok()?)?.as_ref()
    }

    /// Whose connection this is, by its name in either direction.
    fn find(&self, hash_key: &HashKey, key: &Key) -> Option<u16> {
        if self.slots.len() == self.free.len() {
            return None;
        }
        let slot = self.slot(hash_key, key).or_else(|| self.slot(hash_key, &key.reversed()))?;
        self.get(slot).map(|(_, owner)| *owner)
    }

    fn insert(&mut self, hash_key: &HashKey, key: Key, owner: u16) {
        self.remove(hash_key, &key);
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() >= CLAIMS_MAX => return,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(place) = usize::try_from(slot).ok().and_then(|slot| self.slots.get_mut(slot)) {
            *place = Some((key, owner));
        }
        self.index.insert(hash_key.hash(&key.words()), slot);
    }

    fn remove(&mut self, hash_key: &HashKey, key: &Key) {
        if let Some(slot) = self.slot(hash_key, key)
            && let Some(place) = usize::try_from(slot).ok().and_then(|slot| self.slots.get_mut(slot))
        {
            *place = None;
            self.index.remove(hash_key.hash(&key.words()), slot);
            self.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Random;

    use super::*;

    fn key(random: &mut Random) -> Key {
        let mut address = || -> IpAddr { random.u32().to_be_bytes().into() };
        let (source, destination) = (address(), address());
        let mut port = || u16::try_from(random.below(65_536)).unwrap();
        Key { source, destination, protocol: 6, ports: (port(), port()), message: None }
    }

    #[test]
    fn both_directions_belong_to_one_shard_and_all_shards_get_their_share() {
        let mut random = Random::numbered(1);
        let shards: Vec<Shards> = (0..5).map(|index| Shards::new(ShardId { index, count: 5 }, 9)).collect();
        let mut share = [0; 5];
        for _ in 0..5_000 {
            let key = key(&mut random);
            let owner = shards[0].of_key(&key);
            assert!(shards.iter().all(|s| s.of_key(&key) == owner && s.of_key(&key.reversed()) == owner));
            share[usize::from(owner)] += 1;
        }
        assert!(share.iter().all(|count| (900..1100).contains(count)), "{share:?}");
    }

    #[test]
    fn a_claim_sends_both_directions_to_the_claimant_until_it_is_released() {
        let mut random = Random::numbered(2);
        let mut shard = Shards::new(ShardId { index: 1, count: 3 }, 9);
        let mine: Vec<Key> = (0..3_000).map(|_| key(&mut random)).filter(|key| shard.of_key(key) == 1).collect();
        for key in &mine {
            shard.claim(*key, 2);
        }
        assert!(mine.iter().all(|key| shard.elsewhere(key) == Some(2) && shard.elsewhere(&key.reversed()) == Some(2)));
        for key in &mine {
            shard.release(key);
        }
        assert!(mine.iter().all(|key| shard.elsewhere(key).is_none()));
        assert_eq!(shard.claims.slots.len(), mine.len(), "places are used again");
        for key in &mine {
            shard.claim(*key, 0);
        }
        assert_eq!(shard.claims.slots.len(), mine.len());
    }

    #[test]
    fn alone_nothing_is_elsewhere() {
        let shard = Shards::new(ShardId::ONLY, 9);
        assert_eq!(shard.elsewhere(&key(&mut Random::numbered(3))), None);
    }
}
