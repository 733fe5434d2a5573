//! The anti-replay window (RFC 4303 section 3.4.3) and the guess of the upper half of a sequence number (appendix A2).

/// Windows are at least this wide (RFC 4303 section 3.4.3 asks for 32).
pub const WINDOW_MIN: u32 = 32;
/// Windows are at most this wide.
pub const WINDOW_MAX: u32 = 4096;

/// Which sequence numbers have been seen: a ring of bits that ends at the highest one.
#[derive(Debug)]
pub(crate) struct Window {
    size: u64,
    highest: u64,
    /// A power of two of words, at least one more than the window needs: the words between the old and the new highest
    /// number are cleared when the window moves, so no bit ever stands for two numbers.
    ring: Box<[u64]>,
}

impl Window {
    /// A window of `size` numbers, rounded into what is allowed.
    pub(crate) fn new(size: u32) -> Self {
        let size = size.clamp(WINDOW_MIN, WINDOW_MAX);
        let words = usize::try_from(size.div_ceil(64) + 1).unwrap_or(65).next_power_of_two();
        Self { size: u64::from(size), highest: 0, ring: vec![0; words].into_boxed_slice() }
    }

    /// The highest number marked.
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    /// The whole number that the sender most likely means by its lower half; `None` when it would lie before the first.
    pub(crate) fn guess(&self, low: u32) -> Option<u64> {
        let top = self.highest;
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
        if number > self.highest {
            return true;
        }
        number != 0 && self.highest - number < self.size && !self.bit(number)
    }

    /// Marks a number that the integrity check has proved.
    pub(crate) fn mark(&mut self, number: u64) {
        if number > self.highest {
            let (from, to) = (self.highest / 64, number / 64);
            let words = self.words();
            for word in from + 1..=to.min(from + words) {
                if let Some(place) = self.word_mut(word) {
                    *place = 0;
                }
            }
            if to > from + words
                && let Some(place) = self.word_mut(to)
            {
                *place = 0;
            }
            self.highest = number;
        }
        if let Some(word) = self.word_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    fn words(&self) -> u64 {
        u64::try_from(self.ring.len()).unwrap_or(u64::MAX)
    }

    fn bit(&self, number: u64) -> bool {
        let index = usize::try_from(number / 64 % self.words()).unwrap_or(0);
        self.ring.get(index).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    fn word_mut(&mut self, word: u64) -> Option<&mut u64> {
        let index = usize::try_from(word % self.words()).ok()?;
        self.ring.get_mut(index)
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
            let mut window = Window::new(size);
            let mut model = Model { size: u64::from(size), seen: BTreeSet::new() };
            for number in numbers(&mut random, 0, 20_000, u64::from(size) * 2) {
                let new = window.is_new(number);
                assert_eq!(new, model.take(number), "number {number}, highest {}", window.highest());
                if new {
                    window.mark(number);
                }
            }
        }
    }

    #[test]
    fn extended_numbers_are_guessed_across_the_boundary() {
        for (seed, size) in [(1, 32), (2, 64), (3, 4096)] {
            let mut random = Random::numbered(seed);
            let mut window = Window::new(size);
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

    proptest! {
        #[test]
        fn no_number_is_new_twice(size in 1u32..5000, numbers in proptest::collection::vec(1u64..10_000, 1..300)) {
            let mut window = Window::new(size);
            let mut seen = BTreeSet::new();
            for number in numbers {
                if window.is_new(number) {
                    window.mark(number);
                    prop_assert!(seen.insert(number));
                }
                prop_assert!(!window.is_new(number));
            }
        }
    }
}
