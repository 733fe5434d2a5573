//! Sets of entries, many of them and much alike, and the first entry that several have in common.

use std::collections::BTreeMap;

/// Entries at most, so that one word can say which blocks of a set are not empty.
pub(crate) const ENTRIES_MAX: usize = BLOCK_BITS * 64;
/// Sets to intersect at most.
pub(crate) const FIELDS_MAX: usize = 6;
/// Numbers kept for all sets at most: 64 MiB. A place among them has 24 bits.
const KEPT_MAX: usize = 1 << 24;
/// Blocks looked at or changed while sets are made, at most: some hundred milliseconds.
const WORK_MAX: usize = 1 << 24;

const BLOCK_BITS: usize = 512;
const WORDS: usize = 8;
/// Blocks with more words than this that are not empty are kept with the empty ones: then all are compared at once.
const SPARSE_MAX: u32 = 3;

/// A part of a set.
type Block = [u64; WORDS];
const EMPTY: Block = [0; WORDS];

/// A set of entries, by its place in [`Sets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Set(u32);

impl Set {
    /// The set without entries.
    pub(crate) const NONE: Self = Self(0);
}

/// Where a block is kept, in the lower 24 bits, and which of its words, in the upper 8. The empty block is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept(u32);

impl Kept {
    fn words(self) -> u32 {
        self.0 >> 24
    }

    fn at(self) -> usize {
        self.0 as usize & (KEPT_MAX - 1)
    }
}

/// Sets in blocks, of which the empty ones are left out and those that neighbours share are there once.
#[derive(Clone, Debug)]
pub(crate) struct Sets {
    /// How many blocks a set of all entries has.
    width: usize,
    /// Words of blocks, each as two numbers, the lower first; and for each set two numbers that say which of its blocks are
    /// not empty, and behind them where these are. What a set does not share stands together.
    kept: Vec<u32>,
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
        let mut sets = Self { width, kept: vec![0, 0], all: Set::NONE, work: 0 };
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
            blocks: vec![Kept(0); width],
            stale: Vec::new(),
            lists: 0,
            known: BTreeMap::new(),
        }
    }

    /// The first entry that is in all of `sets`.
    pub(crate) fn first_in_all(&self, sets: [Set; FIELDS_MAX]) -> Option<usize> {
        let mut common = self.filled(self.all);
        let (mut asked, mut count) = ([(0, 0); FIELDS_MAX], 0);
        for set in sets.into_iter().filter(|set| *set != self.all) {
            let filled = self.filled(set);
            common &= filled;
            *asked.get_mut(count)? = (filled, set.0 + 2);
            count += 1;
        }
        let asked = asked.get(..count)?;
        let mut blocks = [Kept(0); FIELDS_MAX];
        let blocks = blocks.get_mut(..count)?;
        while common != 0 {
            let place = common.trailing_zeros();
            let below = (1u64 << place).wrapping_sub(1);
            let mut words = 0xff;
            for ((filled, list), block) in asked.iter().zip(&mut *blocks) {
                *block = Kept(*self.kept.get((list + (filled & below).count_ones()) as usize)?);
                words &= block.words();
            }
            if let Some(bit) = self.first_in_blocks(blocks, words) {
                return Some(place as usize * BLOCK_BITS + bit);
            }
            common &= common - 1;
        }
        None
    }

    /// The first bit that all of `blocks` have, among `words`, which all of them have.
    #[expect(clippy::indexing_slicing, reason = "both arrays have the same length, and the places are below it")]
    fn first_in_blocks(&self, blocks: &[Kept], mut words: u32) -> Option<usize> {
        const HALVES: usize = WORDS * 2;
        if words == 0xff {
            let mut meet = [u32::MAX; HALVES];
            for block in blocks {
                let halves: &[u32; HALVES] = self.kept.get(block.at()..)?.first_chunk()?;
                for at in 0..HALVES {
                    meet[at] &= halves[at];
                }
            }
            // Most blocks have nothing in common: that is seen of all at once.
            if meet.iter().fold(0, |any, half| any | half) == 0 {
                return None;
            }
            let first = meet.iter().position(|half| *half != 0)?;
            return Some(first * 32 + meet[first].trailing_zeros() as usize);
        }
        while words != 0 {
            let word = words.trailing_zeros();
            let mut meet = u64::MAX;
            for block in blocks {
                meet &= self.word(*block, word);
            }
            if meet != 0 {
                return Some((word * 64 + meet.trailing_zeros()) as usize);
            }
            words &= words - 1;
        }
        None
    }

    /// A word of a block which has it.
    fn word(&self, block: Kept, word: u32) -> u64 {
        let rank = (block.words() & ((1 << word) - 1)).count_ones();
        self.wide(block.at() + 2 * rank as usize)
    }

    fn wide(&self, at: usize) -> u64 {
        match self.kept.get(at..at + 2) {
            Some([low, high]) => u64::from(*low) | u64::from(*high) << 32,
            _ => 0,
        }
    }

    /// Which blocks of a set are not empty.
    fn filled(&self, set: Set) -> u64 {
        self.wide(set.0 as usize)
    }

    fn blocks_of(&self, set: Set) -> impl Iterator<Item = Kept> {
        let filled = self.filled(set);
        let mut next = set.0 as usize + 2;
        (0..self.width).map(move |place| {
            if filled >> place & 1 == 0 {
                return Kept(0);
            }
            next += 1;
            Kept(self.kept.get(next - 1).copied().unwrap_or(0))
        })
    }

    fn is(&self, kept: Kept, block: &Block) -> bool {
        (0..).zip(block).all(|(word, bits)| {
            let has = kept.words() >> word & 1 == 1;
            *bits == if has { self.word(kept, word) } else { 0 }
        })
    }

    fn keep(&mut self, block: &Block) -> Option<Kept> {
        let filled = (0..).zip(block).filter(|(_, bits)| **bits != 0).fold(0u32, |words, (word, _)| words | 1 << word);
        let words = if filled.count_ones() > SPARSE_MAX { 0xff } else { filled };
        let at = self.kept.len();
        if at + self.width + 2 * WORDS + 2 > KEPT_MAX {
            return None;
        }
        let kept = (0..).zip(block).filter(|(word, _)| words >> word & 1 == 1);
        self.kept.extend(kept.flat_map(|(_, bits)| halves(*bits)));
        Some(if words == 0 { Kept(0) } else { Kept(words << 24 | u32::try_from(at).ok()?) })
    }
}

fn halves(bits: u64) -> [u32; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of it")]
    [bits as u32, (bits >> 32) as u32]
}

/// A walk over values, on which entries come and go.
#[derive(Debug)]
pub(crate) struct Sweep<'a> {
    sets: &'a mut Sets,
    now: Vec<Block>,
    /// Where these blocks are kept, those in `stale` excepted.
    blocks: Vec<Kept>,
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
            if !self.sets.is(*kept, now) {
                *kept = self.sets.keep(now)?;
            }
        }
        let set = if self.is(self.sets.all) { self.sets.all } else { self.keep()? };
        self.known.insert(self.lists, set);
        Some(set)
    }

    fn keep(&mut self) -> Option<Set> {
        let filled = self.blocks.iter().enumerate().filter(|(_, block)| **block != Kept(0));
        let filled = filled.fold(0u64, |filled, (place, _)| filled | 1 << place);
        if filled == 0 {
            return Some(Set::NONE);
        }
        let kept = &mut self.sets.kept;
        if kept.len() + self.blocks.len() + 2 > KEPT_MAX {
            return None;
        }
        let set = Set(u32::try_from(kept.len()).ok()?);
        kept.extend(halves(filled));
        kept.extend(self.blocks.iter().filter(|block| **block != Kept(0)).map(|block| block.0));
        Some(set)
    }

    fn is(&self, set: Set) -> bool {
        self.sets.blocks_of(set).zip(&self.now).all(|(kept, now)| self.sets.is(kept, now))
    }
}

/// Spreads numbers over 64 bits; two mixtures that are the same by chance are told apart by their sets.
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}
