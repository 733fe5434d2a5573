//! Sets of entries, many of them and much alike, and the first entry that several have in common.

use std::collections::BTreeMap;

/// Entries at most, so that one word can say which blocks of a set are not empty.
pub(crate) const ENTRIES_MAX: usize = BLOCK_BITS * 64;
/// Blocks at most: 32 MiB.
const BLOCKS_MAX: usize = 1 << 19;
/// What all sets' lists of blocks may have at most: 32 MiB.
const LISTS_MAX: usize = 1 << 23;
/// Blocks looked at or changed while sets are made, at most: some hundred milliseconds.
const WORK_MAX: usize = 1 << 24;

const BLOCK_BITS: usize = 512;
const WORDS: usize = 8;

/// A part of a set: one cache line.
type Block = [u64; WORDS];
const EMPTY: Block = [0; WORDS];

/// A set of entries, by its place among [`Sets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Set(u32);

impl Set {
    /// The set without entries.
    pub(crate) const NONE: Self = Self(0);
}

/// Sets in blocks, of which the empty ones are left out and equal ones of neighbours are there once.
#[derive(Clone, Debug)]
pub(crate) struct Sets {
    /// How many blocks a set of all entries has.
    width: usize,
    blocks: Vec<Block>,
    /// For each set two numbers that say which blocks are not empty, and behind them those blocks.
    lists: Vec<u32>,
    /// The set of all entries.
    all: Set,
    work: usize,
}

/// Entries that come and go together.
#[derive(Debug)]
pub(crate) struct Patch(Vec<(usize, Block)>);

impl Patch {
    /// `entries` are in order.
    pub(crate) fn new(entries: &[usize]) -> Self {
        let mut blocks: Vec<(usize, Block)> = Vec::new();
        for entry in entries {
            let place = entry / BLOCK_BITS;
            if blocks.last().is_none_or(|(last, _)| *last != place) {
                blocks.push((place, EMPTY));
            }
            if let Some(word) = blocks.last_mut().and_then(|(_, block)| block.get_mut(entry % BLOCK_BITS / 64)) {
                *word |= 1 << (entry % 64);
            }
        }
        Self(blocks)
    }
}

impl Sets {
    /// For sets of the entries from 0 to below `entries`; `None` when these are too many.
    pub(crate) fn new(entries: usize) -> Option<Self> {
        if entries > ENTRIES_MAX {
            return None;
        }
        let width = entries.div_ceil(BLOCK_BITS);
        let mut sets = Self { width, blocks: vec![EMPTY], lists: vec![0, 0], all: Set::NONE, work: 0 };
        let mut sweep = sets.sweep();
        sweep.toggle(0, &Patch::new(&(0..entries).collect::<Vec<_>>()))?;
        sets.all = sweep.set()?;
        Some(sets)
    }

    /// A walk over values, on which entries come and go. It begins with none.
    pub(crate) fn sweep(&mut self) -> Sweep<'_> {
        let width = self.width;
        Sweep {
            sets: self,
            now: vec![EMPTY; width],
            blocks: vec![0; width],
            stale: Vec::new(),
            lists: 0,
            known: BTreeMap::new(),
        }
    }

    /// The first entry that is in all of `sets`.
    #[expect(clippy::indexing_slicing, reason = "a word's place in a block is below WORDS by the type of both")]
    pub(crate) fn first_in_all(&self, sets: &[Set]) -> Option<usize> {
        let mut common = self.filled(self.all);
        for set in sets {
            common &= self.filled(*set);
        }
        while common != 0 {
            let place = common.trailing_zeros();
            let below = (1u64 << place).wrapping_sub(1);
            let mut meet = [u64::MAX; WORDS];
            for set in sets {
                if *set == self.all {
                    continue;
                }
                let rank = (self.filled(*set) & below).count_ones();
                let block = self.lists.get((set.0 + 2 + rank) as usize).and_then(|id| self.blocks.get(*id as usize))?;
                for word in 0..WORDS {
                    meet[word] &= block[word];
                }
            }
            if let Some(word) = meet.iter().position(|word| *word != 0) {
                let bit = meet[word].trailing_zeros() as usize;
                return Some(place as usize * BLOCK_BITS + word * 64 + bit);
            }
            common &= common - 1;
        }
        None
    }

    /// Which blocks of a set are not empty.
    fn filled(&self, set: Set) -> u64 {
        let at = set.0 as usize;
        match self.lists.get(at..at + 2) {
            Some([low, high]) => u64::from(*low) | u64::from(*high) << 32,
            _ => 0,
        }
    }

    fn blocks_of(&self, set: Set) -> impl Iterator<Item = u32> {
        let filled = self.filled(set);
        let mut next = set.0 as usize + 2;
        (0..self.width).map(move |place| {
            if filled >> place & 1 == 0 {
                return 0;
            }
            next += 1;
            self.lists.get(next - 1).copied().unwrap_or(0)
        })
    }
}

/// A walk over values, on which entries come and go.
#[derive(Debug)]
pub(crate) struct Sweep<'a> {
    sets: &'a mut Sets,
    now: Vec<Block>,
    /// Where these blocks are kept, those in `stale` excepted.
    blocks: Vec<u32>,
    stale: Vec<usize>,
    /// Which patches are applied, mixed to one number.
    lists: u64,
    known: BTreeMap<u64, Set>,
}

impl Sweep<'_> {
    /// Lets the entries of a patch come or go. A number names the same patch always.
    pub(crate) fn toggle(&mut self, number: usize, patch: &Patch) -> Option<()> {
        self.lists ^= mixed(number as u64);
        self.sets.work += patch.0.len();
        for (place, block) in &patch.0 {
            let now = self.now.get_mut(*place)?;
            for (word, bits) in now.iter_mut().zip(block) {
                *word ^= bits;
            }
            self.stale.push(*place);
        }
        Some(())
    }

    /// The set of the entries that are there now; `None` when there is no place for it.
    pub(crate) fn set(&mut self) -> Option<Set> {
        self.sets.work += self.now.len();
        if self.sets.work > WORK_MAX {
            return None;
        }
        if let Some(set) = self.known.get(&self.lists).copied()
            && self.is(set)
        {
            // As so often: a host ends, and what holds for the network around it goes on.
            self.blocks.clear();
            self.blocks.extend(self.sets.blocks_of(set));
            self.stale.clear();
            return Some(set);
        }
        for place in self.stale.drain(..) {
            let (now, kept) = (self.now.get(place)?, self.blocks.get_mut(place)?);
            if self.sets.blocks.get(*kept as usize) != Some(now) {
                *kept = if *now == EMPTY { 0 } else { u32::try_from(self.sets.blocks.len()).ok()? };
                if *kept != 0 {
                    self.sets.blocks.push(*now);
                }
            }
        }
        let set = if self.is(self.sets.all) { self.sets.all } else { self.keep()? };
        self.known.insert(self.lists, set);
        Some(set)
    }

    fn keep(&mut self) -> Option<Set> {
        if self.blocks.iter().all(|block| *block == 0) {
            return Some(Set::NONE);
        }
        let Sets { blocks, lists, .. } = &mut *self.sets;
        if blocks.len() > BLOCKS_MAX || lists.len() > LISTS_MAX {
            return None;
        }
        let set = Set(u32::try_from(lists.len()).ok()?);
        let filled = self.blocks.iter().enumerate().filter(|(_, block)| **block != 0);
        let filled = filled.fold(0u64, |filled, (place, _)| filled | 1 << place);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of it")]
        lists.extend([filled as u32, (filled >> 32) as u32]);
        lists.extend(self.blocks.iter().filter(|block| **block != 0));
        Some(set)
    }

    fn is(&self, set: Set) -> bool {
        let kept = self.sets.blocks_of(set).map(|block| self.sets.blocks.get(block as usize));
        kept.zip(&self.now).all(|(kept, now)| kept == Some(now))
    }
}

/// Spreads numbers over 64 bits; two mixtures that are the same by chance are told apart by their sets.
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}
