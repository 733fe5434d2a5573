//! The anti-replay window (RFC 4303 section 3.4.3) and the guess of the upper half of a sequence number (appendix A2).

use std::sync::atomic::{AtomicU64, Ordering};

/// Windows are at least this wide (RFC 4303 section 3.4.3 asks for 32).
pub const WINDOW_MIN: u32 = 32;
/// Windows are at most this wide.
pub const WINDOW_MAX: u32 = 4096;

/// Numbers that share a word of the ring.
const PER_WORD: u64 = 32;

/// Which sequence numbers have been seen. Several threads may ask and mark at once, and of a number that two of them mark
/// only one is told that it was new: no lock, one exchange of a word.
///
/// A word of the ring carries in its upper half which 32 numbers it stands for, in its lower half their bits. So a word
/// that the window has moved away from needs no clearing: whoever comes first with newer numbers replaces it whole.
#[derive(Debug)]
pub(crate) struct Window {
    size: u64,
    highest: AtomicU64,
    /// A power of two of words, at least one more than the window needs: numbers of one window never share a place.
    ring: Box<[AtomicU64]>,
}

impl Window {
    /// A window of `size` numbers, rounded into what is allowed.
    pub(crate) fn new(size: u32) -> Self {
        let size = u64::from(size.clamp(WINDOW_MIN, WINDOW_MAX));
        let words = usize::try_from(size.div_ceil(PER_WORD) + 1).unwrap_or(129).next_power_of_two();
        Self { size, highest: AtomicU64::new(0), ring: (0..words).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Something of the word that the next number will go to: reading it brings that near.
    #[inline]
    pub(crate) fn lies_near(&self) -> u64 {
        let highest = self.highest();
        self.word(highest.wrapping_add(1)).map_or(highest, |word| word.load(Ordering::Relaxed))
    }

    /// The highest number marked.
    pub(crate) fn highest(&self) -> u64 {
        self.highest.load(Ordering::Acquire)
    }

    /// The whole number that the sender most likely means by its lower half; `None` when it would lie before the first.
    pub(crate) fn guess(&self, low: u32) -> Option<u64> {
        let top = self.highest();
        let (top_high, top_low) = (top >> 32, top & 0xffff_ffff);
        let low = u64::from(low);
        let high = if top_low >= self.size - 1 {
            // The window lies in one half: numbers below it can only be of the next.
            if low + self.size > top_low { top_high } else { top_high + 1 }
        } else {
            // The window reaches back into the half before: numbers at its far end are of that one.
            let bottom = (top_low + (1 << 32)) - (self.size - 1);
            if low >= bottom { top_high.checked_sub(1)? } else { top_high }
        };
        Some(high << 32 | low)
    }

    /// True when the number is not too old and has not been marked. 0 is never sent (RFC 4303 section 3.3.3).
    pub(crate) fn is_new(&self, number: u64) -> bool {
        let highest = self.highest();
        if number > highest {
            return true;
        }
        let Some(word) = self.word(number) else { return false };
        number != 0 && highest - number < self.size && with(word.load(Ordering::Acquire), number).is_some()
    }

    /// Marks a number that the integrity check has proved; false when it has been marked before, or is too old by now.
    pub(crate) fn mark(&self, number: u64) -> bool {
        let Some(word) = self.word(number) else { return false };
        let highest = self.highest();
        if number == 0 || number < highest && highest - number >= self.size {
            return false;
        }
        let mark = |old| with(old, number);
        let new = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, mark).is_ok();
        if new && number > highest {
            self.highest.fetch_max(number, Ordering::AcqRel);
        }
        new
    }

    fn word(&self, number: u64) -> Option<&AtomicU64> {
        let words = u64::try_from(self.ring.len()).ok()?;
        self.ring.get(usize::try_from((number / PER_WORD) & (words - 1)).ok()?)
    }
}

/// The word once `number` is marked in it; `None` when it is already, or when the word stands for later numbers.
fn with(word: u64, number: u64) -> Option<u64> {
    let (block, bit) = ((number / PER_WORD) & 0xffff_ffff, 1 << (number % PER_WORD));
    match word >> 32 {
        mine if mine == block => (word & bit == 0).then_some(word | bit),
        // Of the two, the one that is less than half of all ahead is the later.
        other if block.wrapping_sub(other) & 0xffff_ffff < 1 << 31 => Some(block << 32 | bit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use base::Random;
    use proptest::prelude::*;

    use super::*;

    /// What the window must do, without any cleverness.
    struct Model {
        size: u64,
        seen: BTreeSet<u64>,
    }

    impl Model {
        fn highest(&self) -> u64 {
            self.seen.last().copied().unwrap_or(0)
        }

        fn take(&mut self, number: u64) -> bool {
            let fits = number != 0 && number + self.size > self.highest();
            fits && self.seen.insert(number)
        }
    }

    /// Numbers as a bad network delivers them: shuffled within a distance, some twice, some far ahead.
    fn numbers(random: &mut Random, start: u64, count: u64, distance: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        let mut next = start;
        for _ in 0..count {
            next += if random.chance(1, 5_000) { random.below(3 * distance) } else { 1 };
            numbers.push((next + random.below(distance), next));
            if random.chance(1, 10) {
                numbers.push((next + random.below(2 * distance), next));
            }
        }
        numbers.sort();
        numbers.into_iter().map(|(_, number)| number).collect()
    }

    #[test]
    fn the_window_agrees_with_a_set_over_a_hundred_thousand_numbers() {
        for (seed, size) in [(1, 32), (2, 64), (3, 100), (4, 1024), (5, 4096)] {
            let mut random = Random::numbered(seed);
            let window = Window::new(size);
            let mut model = Model { size: u64::from(size), seen: BTreeSet::new() };
            for number in numbers(&mut random, 0, 20_000, u64::from(size) * 2) {
                let new = window.is_new(number);
                assert_eq!(new, model.take(number), "number {number}, highest {}", window.highest());
                assert_eq!(window.mark(number), new);
            }
        }
    }

    #[test]
    fn extended_numbers_are_guessed_across_the_boundary() {
        for (seed, size) in [(1, 32), (2, 64), (3, 4096)] {
            let mut random = Random::numbered(seed);
            let window = Window::new(size);
            let mut model = Model { size: u64::from(size), seen: BTreeSet::new() };
            // Begin shortly before the lower half wraps, in a high half of 4.
            let start = (5 << 32) - 10_000;
            window.mark(start);
            model.seen.insert(start);
            for number in numbers(&mut random, start, 20_000, u64::from(size) / 2) {
                let low = u32::try_from(number & 0xffff_ffff).unwrap();
                let guess = window.guess(low).unwrap();
                if number + u64::from(size) > window.highest() {
                    assert_eq!(guess, number, "highest {}", window.highest());
                }
                let new = window.is_new(guess);
                if guess == number {
                    assert_eq!(new, model.take(number));
                }
                // What is guessed wrong fails the integrity check.
                if new && guess == number {
                    window.mark(guess);
                }
            }
            assert!(window.highest() > 5 << 32);
        }
    }

    #[test]
    fn before_the_first_packet_there_is_no_half_before() {
        let window = Window::new(64);
        assert_eq!(window.guess(1), Some(1));
        assert_eq!(window.guess(u32::MAX), None);
        assert!(!window.is_new(0));
    }

    #[test]
    fn of_many_threads_with_the_same_numbers_each_number_is_new_to_one() {
        let window = Window::new(4096);
        let new: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (1..=4000).filter(|number| window.mark(*number)).count())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(new, 4000);
    }

    proptest! {
        #[test]
        fn no_number_is_new_twice(size in 1u32..5000, numbers in proptest::collection::vec(1u64..10_000, 1..300)) {
            let window = Window::new(size);
            let mut seen = BTreeSet::new();
            for number in numbers {
                if window.is_new(number) {
                    prop_assert!(window.mark(number));
                    prop_assert!(seen.insert(number));
                }
                prop_assert!(!window.is_new(number) && !window.mark(number));
            }
        }
    }
}
