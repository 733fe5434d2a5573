//! The table of neighbours: found by one hash, listed in order, bounded for each interface.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::net::IpAddr;

use base::{Buffer, Duration, Instant, Timers};
use wire::ethernet::{Mac, Prefix};

use crate::{InterfaceId, NeighbourStatus, State};

/// Interface and address.
pub(crate) type Key = (InterfaceId, IpAddr);
/// Its place in the table.
pub(crate) type Slot = u32;

#[expect(clippy::disallowed_types, reason = "only looked up, never walked over, so the order never shows")]
type Index = std::collections::HashMap<Key, Slot, HashKey>;

/// Keys the hash, so that outsiders cannot make entries collide.
#[derive(Clone, Copy)]
struct HashKey(u64);

impl BuildHasher for HashKey {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

/// A neighbour.
#[derive(Debug)]
pub(crate) struct Neighbour {
    pub(crate) key: Key,
    pub(crate) state: State,
    /// [`Mac::ZERO`] while incomplete.
    pub(crate) mac: Mac,
    /// What is put in front of packets for it.
    pub(crate) prefix: Prefix,
    /// Index of its port.
    pub(crate) port: usize,
    /// Questions since it was last heard of.
    pub(crate) asked: u8,
    pub(crate) since: Instant,
    queue: VecDeque<Buffer>,
}

impl Neighbour {
    pub(crate) fn new(key: Key, state: State, port: usize, mac: Mac, prefix: Prefix, now: Instant) -> Self {
        Self { key, state, mac, prefix, port, asked: 0, since: now, queue: VecDeque::new() }
    }

    /// Who is forgotten first: those that never answered, then those long unheard of.
    fn age(&self, slot: Slot) -> Option<(InterfaceId, bool, Instant, Slot)> {
        (self.state != State::Static).then_some((self.key.0, self.state != State::Incomplete, self.since, slot))
    }
}

/// How many of something an interface has.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    neighbours: usize,
    waiting: usize,
}

/// All neighbours of all interfaces.
pub(crate) struct Neighbours {
    index: Index,
    slots: Vec<Option<Neighbour>>,
    free: Vec<Slot>,
    listed: BTreeMap<Key, Slot>,
    ages: BTreeSet<(InterfaceId, bool, Instant, Slot)>,
    timers: Timers<Slot>,
    tallies: BTreeMap<InterfaceId, Tally>,
}

impl fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Neighbours({} entries)", self.listed.len())
    }
}

impl Neighbours {
    pub(crate) fn new(hash_key: u64) -> Self {
        Self {
            index: Index::with_hasher(HashKey(hash_key)),
            slots: Vec::new(),
            free: Vec::new(),
            listed: BTreeMap::new(),
            ages: BTreeSet::new(),
            timers: Timers::default(),
            tallies: BTreeMap::new(),
        }
    }

    pub(crate) fn find(&self, key: &Key) -> Option<Slot> {
        self.index.get(key).copied()
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Neighbour> {
        self.slots.get(usize::try_from(slot).ok()?)?.as_ref()
    }

    fn get_mut(&mut self, slot: Slot) -> Option<&mut Neighbour> {
        self.slots.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }

    /// Puts one in; none of its key may be there.
    pub(crate) fn insert(&mut self, neighbour: Neighbour) -> Slot {
        let key = neighbour.key;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot::try_from(self.slots.len() - 1).unwrap_or(Slot::MAX)
        });
        self.ages.extend(neighbour.age(slot));
        if neighbour.state != State::Static {
            self.tallies.entry(key.0).or_default().neighbours += 1;
        }
        if let Some(place) = usize::try_from(slot).ok().and_then(|index| self.slots.get_mut(index)) {
            *place = Some(neighbour);
        }
        self.index.insert(key, slot);
        self.listed.insert(key, slot);
        slot
    }

    /// Takes one out, with the packets that waited for it.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<(Neighbour, VecDeque<Buffer>)> {
        let mut neighbour = self.slots.get_mut(usize::try_from(slot).ok()?)?.take()?;
        self.free.push(slot);
        self.timers.cancel(&slot);
        self.index.remove(&neighbour.key);
        self.listed.remove(&neighbour.key);
        let queue = std::mem::take(&mut neighbour.queue);
        if let Some(age) = neighbour.age(slot) {
            self.ages.remove(&age);
        }
        if let Some(tally) = self.tallies.get_mut(&neighbour.key.0) {
            tally.waiting = tally.waiting.saturating_sub(queue.len());
            if neighbour.state != State::Static {
                tally.neighbours = tally.neighbours.saturating_sub(1);
            }
        }
        Some((neighbour, queue))
    }

    /// The one of an interface that should be forgotten for another.
    pub(crate) fn oldest(&self, interface: InterfaceId) -> Option<Slot> {
        let from = (interface, false, Instant::ZERO, 0);
        self.ages.range(from..).next().filter(|(of, ..)| *of == interface).map(|(.., slot)| *slot)
    }

    pub(crate) fn count(&self, interface: InterfaceId) -> usize {
        self.tallies.get(&interface).map_or(0, |tally| tally.neighbours)
    }

    pub(crate) fn waiting(&self, interface: InterfaceId) -> usize {
        self.tallies.get(&interface).map_or(0, |tally| tally.waiting)
    }

    /// Changes the state of one, which wakes after `wake`.
    pub(crate) fn set(&mut self, slot: Slot, state: State, now: Instant, wake: Option<Duration>) {
        let Some(neighbour) = self.get_mut(slot) else { return };
        let before = neighbour.age(slot);
        (neighbour.state, neighbour.since, neighbour.asked) = (state, now, 0);
        let after = neighbour.age(slot);
        if let Some(before) = before {
            self.ages.remove(&before);
        }
        self.ages.extend(after);
        match wake {
            Some(wake) => self.timers.set(slot, now + wake),
            None => self.timers.cancel(&slot),
        }
    }

    /// Notes that one was asked and wakes after `wake`.
    pub(crate) fn asked(&mut self, slot: Slot, now: Instant, wake: Duration) {
        if let Some(neighbour) = self.get_mut(slot) {
            neighbour.asked = neighbour.asked.saturating_add(1);
            self.timers.set(slot, now + wake);
        }
    }

    pub(crate) fn set_mac(&mut self, slot: Slot, mac: Mac, prefix: Prefix) {
        if let Some(neighbour) = self.get_mut(slot) {
            (neighbour.mac, neighbour.prefix) = (mac, prefix);
        }
    }

    pub(crate) fn set_port(&mut self, slot: Slot, port: usize) {
        if let Some(neighbour) = self.get_mut(slot) {
            neighbour.port = port;
        }
    }

    /// Lets a packet wait; gives the one back that has waited longest when there are `queue_max` already.
    pub(crate) fn enqueue(&mut self, slot: Slot, packet: Buffer, queue_max: usize) -> Option<Buffer> {
        let neighbour = self.get_mut(slot)?;
        let interface = neighbour.key.0;
        let oldest = if neighbour.queue.len() >= queue_max { neighbour.queue.pop_front() } else { None };
        neighbour.queue.push_back(packet);
        if oldest.is_none() {
            self.tallies.entry(interface).or_default().waiting += 1;
        }
        oldest
    }

    /// The packets that waited for one.
    pub(crate) fn dequeue(&mut self, slot: Slot) -> VecDeque<Buffer> {
        let Some(neighbour) = self.get_mut(slot) else { return VecDeque::new() };
        let interface = neighbour.key.0;
        let queue = std::mem::take(&mut neighbour.queue);
        if let Some(tally) = self.tallies.get_mut(&interface) {
            tally.waiting = tally.waiting.saturating_sub(queue.len());
        }
        queue
    }

    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Slot> {
        self.timers.pop_due(now)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next().map(|(at, _)| at)
    }

    /// Every neighbour's place, in the order of interfaces and addresses.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        self.listed.values().copied().collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = NeighbourStatus> + '_ {
        self.listed.iter().filter_map(|((interface, address), slot)| {
            let neighbour = self.get(*slot)?;
            Some(NeighbourStatus {
                interface: *interface,
                address: *address,
                mac: (neighbour.state != State::Incomplete).then_some(neighbour.mac),
                state: neighbour.state,
                since: neighbour.since,
                until: self.timers.at(slot),
                waiting: neighbour.queue.len(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ethernet;

    const IF: InterfaceId = InterfaceId(1);

    fn neighbour(last: u8, state: State, secs: u64) -> Neighbour {
        let prefix = Prefix::new(Mac::ZERO, Mac::ZERO, None, ethernet::IPV4);
        let at = Instant::from_micros(secs * 1_000_000);
        Neighbour::new((IF, IpAddr::from([10, 0, 0, last])), state, 0, Mac::ZERO, prefix, at)
    }

    #[test]
    fn who_never_answered_is_forgotten_before_who_did_long_ago() {
        let mut table = Neighbours::new(7);
        let old = table.insert(neighbour(1, State::Stale, 1));
        table.insert(neighbour(2, State::Static, 0));
        let silent = table.insert(neighbour(3, State::Incomplete, 9));
        assert_eq!((table.count(IF), table.oldest(IF), table.oldest(InterfaceId(0))), (2, Some(silent), None));
        table.remove(silent);
        assert_eq!(table.oldest(IF), Some(old));
        table.remove(old);
        assert_eq!((table.count(IF), table.oldest(IF)), (0, None), "the told one stays");
        assert_eq!(table.iter().count(), 1);
    }

    #[test]
    fn the_packets_that_wait_are_counted_and_bounded() {
        let mut table = Neighbours::new(7);
        let slot = table.insert(neighbour(1, State::Incomplete, 1));
        assert_eq!((0..5).filter_map(|_| table.enqueue(slot, Buffer::copy(b"x"), 3)).count(), 2);
        assert_eq!(table.waiting(IF), 3);
        assert_eq!((table.dequeue(slot).len(), table.waiting(IF)), (3, 0));
        table.enqueue(slot, Buffer::copy(b"x"), 3);
        assert_eq!(table.remove(slot).unwrap().1.len(), 1);
        assert_eq!((table.waiting(IF), table.find(&(IF, IpAddr::from([10, 0, 0, 1])))), (0, None));
    }
}
