use std::collections::{BTreeMap, BTreeSet};

use crate::Instant;

/// A queue of wake-ups, one per key. Setting a key again moves it. Cost: logarithmic in the number of keys.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    order: BTreeSet<(Instant, K)>,
    when: BTreeMap<K, Instant>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { order: BTreeSet::new(), when: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// Wakes `key` at `at`, whatever it was set to before.
    pub fn set(&mut self, key: K, at: Instant) {
        self.cancel(&key);
        self.order.insert((at, key.clone()));
        self.when.insert(key, at);
    }

    /// Forgets `key`; does nothing when it is not set.
    pub fn cancel(&mut self, key: &K) {
        if let Some((key, at)) = self.when.remove_entry(key) {
            self.order.remove(&(at, key));
        }
    }

    /// When `key` will wake.
    pub fn at(&self, key: &K) -> Option<Instant> {
        self.when.get(key).copied()
    }

    /// The earliest wake-up and what it is for.
    pub fn next(&self) -> Option<(Instant, &K)> {
        self.order.first().map(|(at, key)| (*at, key))
    }

    /// Takes the earliest key that is due at `now`; keys due together come in their own order.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, _) = self.order.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.when.remove(&key);
        Some(key)
    }

    /// Number of keys set.
    pub fn len(&self) -> usize {
        self.when.len()
    }

    /// True when nothing is set.
    pub fn is_empty(&self) -> bool {
        self.when.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    #[test]
    fn keys_come_out_in_the_order_of_their_time_and_never_early() {
        let mut timers = Timers::default();
        timers.set("rekey", at(30));
        timers.set("retransmit", at(2));
        timers.set("dpd", at(30));
        assert_eq!(timers.next(), Some((at(2), &"retransmit")));
        assert_eq!(timers.pop_due(at(1)), None);
        assert_eq!(timers.pop_due(at(40)), Some("retransmit"));
        assert_eq!(timers.pop_due(at(40)), Some("dpd"));
        assert_eq!(timers.pop_due(at(40)), Some("rekey"));
        assert!(timers.is_empty());
    }

    #[test]
    fn setting_a_key_again_moves_it() {
        let mut timers = Timers::default();
        timers.set(1, at(5));
        timers.set(1, at(9));
        assert_eq!((timers.len(), timers.at(&1)), (1, Some(at(9))));
        assert_eq!(timers.pop_due(at(5)), None);
        timers.cancel(&1);
        assert_eq!(timers.pop_due(at(99)), None);
    }
}
