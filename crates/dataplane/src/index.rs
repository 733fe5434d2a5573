//! Where things are, by the hash of their key: a table of small numbers whose cost does not grow with what is in it.
//!
//! The table holds no keys: an entry is 32 bits of hash beside the number of a slot, 8 bytes together, and whoever asks
//! compares the key in the slot. So a look-up touches one line of the table and the slot that the packet needs anyway, and
//! a flow, found under two keys, costs 21 to 43 bytes here. Its order can never show: there is no iterator.
//!
//! With a million flows nearly every look-up waits for memory. For a batch of packets the waits overlap when each step is
//! made for all packets before the next one: [`HashKey::hash`], [`Index::likely`], reading the slots named, [`Index::find`].

use std::fmt;

/// Entries are 2 to this power at least.
const BITS_MIN: u32 = 4;
/// Entries are 2 to this power at most.
const BITS_MAX: u32 = 31;
/// Words that are hashed at once.
pub const WORDS: usize = 6;

/// The secret under which keys are hashed.
///
/// Outsiders choose the keys of flows, so they must not be able to choose ones that fall together. The hash is a sum of
/// products of word pairs, each word with a secret added (the NH family of UMAC, RFC 4418 section 5.2.2, at twice its
/// width): whichever two keys somebody picks without knowing the secret, at most one secret in 2^64 gives them the same
/// sum. No output is ever seen outside. One more product with two more secrets spreads the sum over all bits.
#[derive(Clone, Copy)]
pub struct HashKey([u64; WORDS + 2]);

impl HashKey {
    /// The secret grown from 64 random bits.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        // The generator SplitMix64 of Steele, Lea and Flood (2014): every seed gives eight words that look unrelated.
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        }))
    }

    /// The hash of a key written as words; what a shorter key does not need is zero.
    #[inline]
    #[must_use]
    pub fn hash(&self, words: &[u64; WORDS]) -> u64 {
        let ([a, b, c, d, e, f], [ka, kb, kc, kd, ke, kf, kx, ky]) = (words, &self.0);
        let sum =
            product(*a, *ka, *b, *kb).wrapping_add(product(*c, *kc, *d, *kd)).wrapping_add(product(*e, *ke, *f, *kf));
        let (low, high) = halves(sum);
        let (low, high) = halves(product(low, *kx, high, *ky));
        low ^ high
    }
}

#[inline]
fn product(a: u64, a_secret: u64, b: u64, b_secret: u64) -> u128 {
    // Two factors of 64 bits never overflow 128.
    u128::from(a.wrapping_add(a_secret)).wrapping_mul(u128::from(b.wrapping_add(b_secret)))
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
const fn halves(wide: u128) -> (u64, u64) {
    (wide as u64, (wide >> 64) as u64)
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey")
    }
}

/// From hashes to numbers. Open addressing in a power of two of entries, of which at most three quarters are used. An entry
/// stands at its home or behind, and never behind one that is nearer to its own home: so a look-up for what is not there
/// ends early too, and what is taken out leaves no trace.
#[derive(Clone)]
pub struct Index {
    /// Zero for none, else [`entry`].
    entries: Vec<u64>,
    bits: u32,
    len: usize,
}

/// What an entry remembers of a hash: its upper half, made odd so that no entry is zero. The home is in its upper bits.
#[inline]
const fn tag(hash: u64) -> u64 {
    hash >> 32 | 1
}

#[inline]
const fn entry(tag: u64, value: u32) -> u64 {
    tag << 32 | value as u64
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower half of an entry is its value")]
const fn value_of(entry: u64) -> u32 {
    entry as u32
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

impl Index {
    /// An empty table.
    pub fn new() -> Self {
        Self::with_bits(BITS_MIN)
    }

    /// An empty table that takes `len` entries before it grows. Growing moves every entry: some 5 ms for a million.
    pub fn with_capacity(len: usize) -> Self {
        let entries = len.saturating_mul(4).div_ceil(3).max(1);
        Self::with_bits(entries.checked_next_power_of_two().map_or(BITS_MAX, usize::ilog2))
    }

    fn with_bits(bits: u32) -> Self {
        let bits = bits.clamp(BITS_MIN, BITS_MAX);
        Self { entries: vec![0; 1 << bits], bits, len: 0 }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value under this hash of which `is` says that its key is the one looked for.
    #[inline]
    pub fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        self.position(tag(hash), |entry| is(value_of(entry))).map(|(_, entry)| value_of(entry))
    }

    /// The value that is most likely the one under this hash: right but for one in a thousand times when it is there. Its
    /// slot can be read ahead, and the line of the table is near when [`Self::find`] comes.
    #[inline]
    pub fn likely(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// Puts a value under a hash. The caller has made sure that it is not there yet, and that there are fewer than 2^30:
    /// beyond three quarters of the largest table nothing is taken in.
    pub fn insert(&mut self, hash: u64, value: u32) {
        if self.len >= self.entries.len() / 4 * 3 {
            if self.bits == BITS_MAX {
                return;
            }
            let mut larger = Self::with_bits(self.bits + 1);
            for entry in self.entries.iter().filter(|entry| **entry != 0) {
                larger.put(*entry);
            }
            *self = larger;
        }
        self.put(entry(tag(hash), value));
    }

    /// Takes a value from under its hash; does nothing when it is not there.
    pub fn remove(&mut self, hash: u64, value: u32) {
        let Some((mut at, _)) = self.position(tag(hash), |entry| value_of(entry) == value) else { return };
        self.len -= 1;
        // What stands behind moves up, until a gap or one that is at home.
        for _ in 0..self.entries.len() {
            let next = self.behind(at);
            let entry = self.entries.get(next).copied().filter(|entry| *entry != 0 && self.distance(*entry, next) != 0);
            if let Some(place) = self.entries.get_mut(at) {
                *place = entry.unwrap_or(0);
            }
            if entry.is_none() {
                return;
            }
            at = next;
        }
    }

    #[inline]
    fn position(&self, tag: u64, mut is: impl FnMut(u64) -> bool) -> Option<(usize, u64)> {
        let mut at = self.home(tag);
        for distance in 0..self.entries.len() {
            let entry = *self.entries.get(at)?;
            if entry >> 32 == tag && is(entry) {
                return Some((at, entry));
            }
            if entry == 0 || self.distance(entry, at) < distance {
                return None;
            }
            at = self.behind(at);
        }
        None
    }

    fn put(&mut self, mut entry: u64) {
        let mut at = self.home(entry >> 32);
        let mut distance = 0;
        while let Some(there) = self.entries.get(at).copied() {
            let its_distance = self.distance(there, at);
            if there == 0 || its_distance < distance {
                if let Some(place) = self.entries.get_mut(at) {
                    *place = entry;
                }
                if there == 0 {
                    self.len += 1;
                    return;
                }
                (entry, distance) = (there, its_distance);
            }
            at = self.behind(at);
            distance += 1;
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a tag has 32 bits, of which at most 31 are left")]
    const fn home(&self, tag: u64) -> usize {
        (tag >> (32 - self.bits)) as usize
    }

    #[inline]
    fn behind(&self, at: usize) -> usize {
        (at + 1) & (self.entries.len() - 1)
    }

    /// How far behind its home an entry stands.
    #[inline]
    fn distance(&self, entry: u64, at: usize) -> usize {
        at.wrapping_sub(self.home(entry >> 32)) & (self.entries.len() - 1)
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({} entries)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_goes_in_is_found_until_it_is_taken_out() {
        let key = HashKey::new(7);
        let (a, b, c) = (key.hash(&[1; WORDS]), key.hash(&[2; WORDS]), key.hash(&[3; WORDS]));
        let mut index = Index::new();
        index.insert(a, 1);
        index.insert(b, 2);
        assert_eq!((index.likely(a), index.likely(b), index.likely(c)), (Some(1), Some(2), None));
        assert_eq!(index.find(a, |value| value == 2), None, "whoever asks compares the key");
        index.remove(a, 2);
        assert_eq!(index.likely(a), Some(1));
        index.remove(a, 1);
        assert_eq!(index.likely(a), None);
        assert_eq!(format!("{index:?} {key:?}"), "Index(1 entries) HashKey");
    }

    #[test]
    fn a_hash_that_falls_together_with_others_is_still_found_by_its_value() {
        let mut index = Index::new();
        // All at home in the last entry, so that they run over the end.
        for value in 0..11 {
            index.insert(u64::MAX, value);
        }
        for value in 0..11 {
            assert_eq!(index.find(u64::MAX, |found| found == value), Some(value));
        }
        for value in (0..11).rev() {
            index.remove(u64::MAX, value);
            assert_eq!(index.find(u64::MAX, |found| found == value), None);
        }
        assert!(index.entries.iter().all(|entry| *entry == 0) && index.is_empty());
    }

    #[test]
    fn a_table_made_for_some_does_not_grow_before_they_are_in() {
        for len in [0, 12, 13, 96, 100, 1000] {
            let mut index = Index::with_capacity(len);
            let bits = index.bits;
            let key = HashKey::new(1);
            for value in 0..u32::try_from(len).unwrap() {
                index.insert(key.hash(&[u64::from(value), 0, 0, 0, 0, 0]), value);
            }
            assert_eq!((index.bits, index.len()), (bits, len));
        }
    }

    #[test]
    fn every_bit_of_a_key_changes_about_half_of_the_hash() {
        let key = HashKey::new(42);
        let words = [0x0a01_0001_0a02_0001, 0, 0, 0, 0x1f90_c350_0600_0000, 0];
        for bit in 0..64 * WORDS {
            let mut other = words;
            other[bit / 64] ^= 1 << (bit % 64);
            let changed = (key.hash(&words) ^ key.hash(&other)).count_ones();
            assert!((10..=54).contains(&changed), "bit {bit}: {changed}");
        }
    }

    #[test]
    fn flows_that_differ_in_little_stand_near_their_homes() {
        let key = HashKey::new(3);
        let mut index = Index::with_capacity(90_000);
        for value in 0..90_000u32 {
            let (port, host) = (u64::from(value % 300), u64::from(value / 300));
            index.insert(key.hash(&[0x0a01_0000_0a02_0000 + host, 0, 0, 0, port << 48 | 0x0050_0600_0000, 0]), value);
        }
        let distances = index.entries.iter().zip(0..).filter(|(entry, _)| **entry != 0);
        let total: usize = distances.map(|(entry, at)| index.distance(*entry, at)).sum();
        // 90,000 of 131,072: one that is spread by chance stands 1.1 entries behind its home on average.
        assert!(total < 2 * 90_000, "{total}");
    }

    #[test]
    fn another_secret_gives_other_hashes() {
        let words = [1, 2, 3, 4, 5, 6];
        assert_ne!(HashKey::new(1).hash(&words), HashKey::new(2).hash(&words));
    }

    proptest! {
        #[test]
        fn it_does_what_a_map_does(steps in proptest::collection::vec((0u32..60, any::<bool>(), any::<bool>()), 1..400)) {
            let mut index = Index::new();
            let mut map = BTreeMap::new();
            let key = HashKey::new(9);
            for (number, add, narrow) in steps {
                // Few homes, many clashes; the rest anywhere.
                let hash = if narrow { u64::from(number % 3) << 61 } else { key.hash(&[u64::from(number), 0, 0, 0, 0, 0]) };
                let value = number + if narrow { 1000 } else { 0 };
                if add && !map.contains_key(&value) {
                    index.insert(hash, value);
                    map.insert(value, hash);
                } else if !add {
                    index.remove(hash, value);
                    map.remove(&value);
                }
                prop_assert_eq!(index.len(), map.len());
                for (value, hash) in &map {
                    prop_assert_eq!(index.find(*hash, |found| found == *value), Some(*value));
                }
            }
        }
    }
}
