//! All connections: found by either key, in the order of their ends, bounded.

use std::sync::Arc;

use base::Instant;
use wire::tcp;

use super::due::{Due, Link, Links, second_behind};
use super::flow::{End, Flow, Side, Tracking, Translated, Verdict, Way};
use super::tcp::Step;
use crate::Settings;
use crate::index::{HashKey, Index, WORDS};
use crate::inspect::{Key, Seen, Transport};

/// Connections are kept in pieces of this many: a table that grows moves none of them.
const PIECE: usize = 1024;
/// Connections among which one is looked for that may end. They lie side by side in memory.
const CANDIDATES: usize = 64;
/// Empty places that are passed by then.
const GAPS_MAX: usize = 1024;

/// What became of a connection that was looked at.
pub(crate) enum Looked {
    /// Its time was up.
    Expired(Box<Flow>),
    /// It has lived on.
    Lives,
    /// None has to be looked at yet.
    NoneDue,
}

/// What opens a connection.
pub(crate) struct Opening {
    pub(crate) from: Side,
    pub(crate) to: Side,
    pub(crate) verdict: Arc<Verdict>,
    pub(crate) translated: Option<Translated>,
    /// The policy and routes that it was judged under.
    pub(crate) judged: u32,
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Flows {
    slots: Slots,
    free: Vec<u32>,
    hash_key: HashKey,
    /// Slots doubled, plus one for the way back.
    index: Index,
    /// When to look at a flow again. Packets do not move it: a flow that has lived on is found out when it is looked at.
    due: Due,
    /// Where the next search for an idle one begins.
    hand: u32,
}

#[derive(Debug, Default)]
struct Slots {
    pieces: Vec<Vec<Option<Flow>>>,
    len: u32,
}

impl Slots {
    #[inline]
    fn get(&self, slot: u32) -> Option<&Flow> {
        let slot = usize::try_from(slot).ok()?;
        self.pieces.get(slot / PIECE)?.get(slot % PIECE)?.as_ref()
    }

    #[inline]
    fn place(&mut self, slot: u32) -> Option<&mut Option<Flow>> {
        let slot = usize::try_from(slot).ok()?;
        self.pieces.get_mut(slot / PIECE)?.get_mut(slot % PIECE)
    }

    /// A place that has not been used yet.
    fn add(&mut self) -> u32 {
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE => last.push(None),
            Some(_) | None => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(None);
                self.pieces.push(piece);
            }
        }
        let slot = self.len;
        self.len += 1;
        slot
    }
}

impl Links for Slots {
    fn link(&mut self, slot: u32) -> Option<&mut Link> {
        self.place(slot)?.as_mut().map(|flow| &mut flow.due)
    }
}

impl Flows {
    pub(crate) fn new(hash_key: u64) -> Self {
        Self {
            slots: Slots::default(),
            free: Vec::new(),
            hash_key: HashKey::new(hash_key),
            index: Index::new(),
            due: Due::default(),
            hand: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.slots.len).unwrap_or(usize::MAX) - self.free.len()
    }

    /// The connection that a packet with this key belongs to, on either side of the gateway.
    pub(crate) fn find(&self, key: &Key) -> Option<(u32, Way)> {
        let is = |number| {
            self.get(number >> 1).is_some_and(|flow| match way_of(number) {
                Way::Forth => flow.key == *key,
                Way::Back => flow.far_key().is_reverse_of(key),
            })
        };
        let number = self.index.find(self.hash_key.hash(&key.words()), is)?;
        Some((number >> 1, way_of(number)))
    }

    /// The same by the words of a key ([`Key::words`]) and their hash.
    #[inline]
    pub(crate) fn find_by_words(&self, hash: u64, words: &[u64; WORDS]) -> Option<(u32, Way)> {
        let is = |number| {
            self.get(number >> 1).is_some_and(|flow| match way_of(number) {
                Way::Forth => flow.key.has_words(words),
                Way::Back => flow.far_key().has_words_reversed(words),
            })
        };
        let number = self.index.find(hash, is)?;
        Some((number >> 1, way_of(number)))
    }

    #[inline]
    pub(crate) fn hash(&self, words: &[u64; WORDS]) -> u64 {
        self.hash_key.hash(words)
    }

    /// What is most likely the connection under a hash.
    #[inline]
    pub(crate) fn likely(&self, hash: u64) -> Option<u32> {
        self.index.likely(hash).map(|number| number >> 1)
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<&Flow> {
        self.slots.get(slot)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Flow> {
        self.slots.place(slot)?.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Flow)> {
        (0..).zip(self.slots.pieces.iter().flatten()).filter_map(|(slot, flow)| flow.as_ref().map(|flow| (slot, flow)))
    }

    /// Behind the last place that has been used.
    pub(crate) fn end(&self) -> u32 {
        self.slots.len
    }

    /// A new connection; the caller has made sure that neither of its keys is that of another, and that there may be one
    /// more.
    pub(crate) fn open(&mut self, now: Instant, seen: &Seen, opening: Opening, settings: &Settings) -> u32 {
        let key = seen.key();
        let mut flow = Flow {
            key,
            translated: opening.translated.map(Box::new),
            opener: End::new(opening.from),
            other: End::new(opening.to),
            tracking: Tracking::of(seen, &key),
            verdict: opening.verdict,
            judged: opening.judged,
            opened: now,
            expires: now,
            due: Link::default(),
        };
        flow.expires = now + flow.lifetime(settings);
        let (second, back) = (second_behind(flow.expires), flow.far_key().reversed());
        let slot = self.free.pop().unwrap_or_else(|| self.slots.add());
        if let Some(place) = self.slots.place(slot) {
            *place = Some(flow);
        }
        self.index.insert(self.hash_key.hash(&key.words()), slot << 1);
        // A connection of an address with itself under the same port has one key; it is refused before.
        if back != key {
            self.index.insert(self.hash_key.hash(&back.words()), slot << 1 | 1);
        }
        self.due.set(&mut self.slots, slot, second);
        slot
    }

    /// A packet of the connection: counts it and puts off the end, unless it is none of its packets.
    pub(crate) fn packet(&mut self, now: Instant, slot: u32, way: Way, seen: &Seen, settings: &Settings) -> Step {
        let segment = match &seen.transport {
            Transport::Tcp(segment) => Some(segment),
            _ => None,
        };
        self.segment(now, (slot, way), segment, seen.ip.total, settings)
    }

    /// The same of a packet of `len` bytes, for TCP with its header.
    #[inline]
    pub(crate) fn segment(
        &mut self,
        now: Instant,
        (slot, way): (u32, Way),
        segment: Option<&tcp::Header>,
        len: usize,
        settings: &Settings,
    ) -> Step {
        let Some(flow) = self.get_mut(slot) else { return Step::Another };
        if let (Tracking::Tcp(tcp), Some(segment)) = (&mut flow.tracking, segment) {
            match tcp.advance(way, segment) {
                Step::Pass => {}
                step => return step,
            }
        }
        let sender = flow.sender(way);
        sender.packets += 1;
        sender.bytes += u64::try_from(len).unwrap_or(0);
        // Only whoever opened a UDP connection keeps it alive: answers alone do not prove that somebody wants them.
        if way == Way::Forth || settings.udp_both_ways || !matches!(flow.tracking, Tracking::Udp) {
            flow.expires = now + flow.lifetime(settings);
        }
        // Only a shorter time moves the timer: a connection that closes must not wait for the time of an open one.
        let second = second_behind(flow.expires);
        if second < flow.due.second() {
            self.due.remove(&mut self.slots, slot);
            self.due.set(&mut self.slots, slot, second);
        }
        Step::Pass
    }

    /// The last packet of a direction has stood for `packets`, which all have its headers.
    pub(crate) fn carried_more(&mut self, slot: u32, way: Way, packets: u64, headers: u16) {
        let Some(flow) = self.get_mut(slot) else { return };
        let more = packets.saturating_sub(1);
        let sender = flow.sender(way);
        sender.packets += more;
        sender.bytes += more * u64::from(headers);
    }

    /// Forgets a connection.
    pub(crate) fn close(&mut self, slot: u32) -> Option<Flow> {
        self.get(slot)?;
        self.due.remove(&mut self.slots, slot);
        let flow = self.slots.place(slot)?.take()?;
        self.index.remove(self.hash_key.hash(&flow.key.words()), slot << 1);
        self.index.remove(self.hash_key.hash(&flow.far_key().reversed().words()), slot << 1 | 1);
        self.free.push(slot);
        Some(flow)
    }

    /// Looks at the next connection whose time may be up, and takes it if it is.
    pub(crate) fn look_at_next(&mut self, now: Instant) -> Looked {
        let Some(slot) = self.due.first(now) else { return Looked::NoneDue };
        let Some(expires) = self.get(slot).map(|flow| flow.expires) else { return Looked::NoneDue };
        if expires > now {
            self.due.remove(&mut self.slots, slot);
            self.due.set(&mut self.slots, slot, second_behind(expires));
            return Looked::Lives;
        }
        self.close(slot).map_or(Looked::Lives, |flow| Looked::Expired(Box::new(flow)))
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.due.next()
    }

    /// Of the next few connections one that nobody has answered, for anybody can open those with sources that are not theirs, or
    /// else the one that has been idle longest: one of the oldest few per cent, nearly always, at a cost that does not grow with
    /// the table.
    pub(crate) fn idlest(&mut self, now: Instant, settings: &Settings) -> Option<u32> {
        let end = self.slots.len;
        let start = if self.hand < end { self.hand } else { 0 };
        let around = (start..end).chain(0..start).take(CANDIDATES + GAPS_MAX);
        let flows = around.filter_map(|slot| Some((slot, self.get(slot)?))).take(CANDIDATES);
        let mut last = start;
        let idlest = flows
            .inspect(|(slot, _)| last = *slot)
            .max_by_key(|(slot, flow)| (!flow.is_answered(), flow.idle(now, settings), std::cmp::Reverse(*slot)))
            .map(|(slot, _)| slot);
        self.hand = last.saturating_add(1);
        idlest
    }
}

const fn way_of(number: u32) -> Way {
    if number.is_multiple_of(2) { Way::Forth } else { Way::Back }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_needs_little_memory() {
        // Two entries of 8 bytes in an index that is at least three eighths full.
        let in_index = 2 * 8 * 8 / 3;
        assert_eq!(size_of::<Option<Flow>>() + in_index, 250);
    }
}
