//! Which set of entries a value belongs to: all values in order, cut where the set changes.

use std::collections::BTreeMap;

use super::sets::{Patch, Set, Sets};

/// Ranges of values, both ends included, in order and apart from each other.
pub(crate) type Ranges<K> = Vec<(K, K)>;
/// Ranges of values, and the entries for which they hold, in order.
pub(crate) type Lists<K> = BTreeMap<Ranges<K>, Vec<usize>>;

/// What can be asked for.
pub(crate) trait Value: Copy + Ord {
    const FIRST: Self;
    const LAST: Self;
    fn next(self) -> Option<Self>;
}

macro_rules! values {
    ($($number:ty),*) => {
        $(impl Value for $number {
            const FIRST: Self = 0;
            const LAST: Self = <$number>::MAX;
            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
        })*
    };
}
values!(u16, u32, u128);

/// A search tree of nodes of `B` values, which are one or two cache lines and are compared all at once: twenty thousand
/// values of 32 bits are four nodes deep.
#[derive(Clone, Debug)]
pub(crate) struct Steps<K, const B: usize> {
    /// From the root to the leaves. A node's values are the first values of the nodes below it.
    layers: Vec<Vec<[K; B]>>,
    /// The set from each value of the leaves on.
    sets: Vec<Set>,
}

impl<K: Value, const B: usize> Steps<K, B> {
    /// Cuts all values where the set of entries changes; `None` where `sets` is full.
    pub(crate) fn new(lists: &Lists<K>, sets: &mut Sets) -> Option<Self> {
        let patches: Vec<Patch> = lists.values().map(|entries| Patch::new(entries)).collect();
        let mut changes: Vec<(K, usize)> = Vec::new();
        for (list, ranges) in lists.keys().enumerate() {
            for (first, last) in ranges {
                changes.push((*first, list));
                changes.extend(last.next().map(|behind| (behind, list)));
            }
        }
        changes.sort_unstable();
        let mut sweep = sets.sweep();
        let (mut starts, mut found) = (vec![K::FIRST], Vec::new());
        for (at, list) in changes {
            if starts.last() != Some(&at) {
                found.push(sweep.set()?);
                starts.push(at);
            }
            if let Some(patch) = patches.get(list) {
                sweep.toggle(list, patch)?;
            }
        }
        found.push(sweep.set()?);
        Some(Self::of(starts, found))
    }

    fn of(starts: Vec<K>, found: Vec<Set>) -> Self {
        let mut kept: Vec<(K, Set)> = starts.into_iter().zip(found).collect();
        kept.dedup_by_key(|(_, set)| *set);
        let (mut values, sets): (Vec<K>, Vec<Set>) = kept.into_iter().unzip();
        let mut layers = Vec::new();
        loop {
            let layer: Vec<[K; B]> = values.chunks(B).map(node).collect();
            values = layer.iter().filter_map(|node| node.first().copied()).collect();
            let root = layer.len() <= 1;
            layers.push(layer);
            if root {
                break;
            }
        }
        layers.reverse();
        Self { layers, sets }
    }

    /// The entries for which `value` is right.
    pub(crate) fn find(&self, value: K) -> Set {
        let mut at = 0;
        for layer in &self.layers {
            // Past the end are only the fillers of the last node, which the last value of all is not above.
            let place = at.min(layer.len().saturating_sub(1));
            let Some(node) = layer.get(place) else { return Set::NONE };
            let mut upto = 0u32;
            for start in node {
                upto = upto.wrapping_add(u32::from(*start <= value));
            }
            at = place * B + (upto as usize).saturating_sub(1);
        }
        self.sets.get(at.min(self.sets.len().saturating_sub(1))).copied().unwrap_or(Set::NONE)
    }
}

fn node<K: Value, const B: usize>(values: &[K]) -> [K; B] {
    std::array::from_fn(|index| values.get(index).copied().unwrap_or(K::LAST))
}

/// The same values as ranges in order, apart from each other.
pub(crate) fn in_order<K: Value>(ranges: impl IntoIterator<Item = (K, K)>) -> Ranges<K> {
    let mut ranges: Ranges<K> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
    ranges.sort_unstable();
    ranges.dedup_by(|(first, last), (_, before)| {
        let joined = before.next().is_none_or(|next| *first <= next);
        if joined {
            *before = (*before).max(*last);
        }
        joined
    });
    ranges
}
