//! When to look at which connection: lists by the second, linked through the connections themselves.

use std::collections::BTreeMap;

use base::Instant;

/// No connection.
const NONE: u32 = u32::MAX;

/// The place of a connection in the list of its second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    second: u32,
    next: u32,
    previous: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self { second: 0, next: NONE, previous: NONE }
    }
}

impl Link {
    /// The second in which the connection is looked at.
    pub(super) fn second(&self) -> u32 {
        self.second
    }
}

/// The second that has begun when `at` is over: many that end together cost one wake-up.
pub(super) fn second_behind(at: Instant) -> u32 {
    u32::try_from(at.as_micros().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

/// Where links are kept.
pub(super) trait Links {
    fn link(&mut self, slot: u32) -> Option<&mut Link>;
}

/// The first connection of each second. Costs a search among the seconds, of which there are at most as many as the longest
/// lifetime has.
#[derive(Debug, Default)]
pub(super) struct Due(BTreeMap<u32, u32>);

impl Due {
    /// Looks at a connection in this second. It stands in no list.
    pub(super) fn set(&mut self, links: &mut impl Links, slot: u32, second: u32) {
        let next = self.0.insert(second, slot).unwrap_or(NONE);
        if let Some(link) = links.link(next) {
            link.previous = slot;
        }
        if let Some(link) = links.link(slot) {
            *link = Link { second, next, previous: NONE };
        }
    }

    /// Takes a connection out of its list.
    pub(super) fn remove(&mut self, links: &mut impl Links, slot: u32) {
        let Some(link) = links.link(slot).map(|link| *link) else { return };
        if let Some(next) = links.link(link.next) {
            next.previous = link.previous;
        }
        match links.link(link.previous) {
            Some(previous) => previous.next = link.next,
            None if link.next == NONE => drop(self.0.remove(&link.second)),
            None => drop(self.0.insert(link.second, link.next)),
        }
    }

    /// The first connection of the earliest second, if that has come.
    pub(super) fn first(&self, now: Instant) -> Option<u32> {
        let (second, slot) = self.0.first_key_value()?;
        (begin_of(*second) <= now).then_some(*slot)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first_key_value().map(|(second, _)| begin_of(*second))
    }
}

fn begin_of(second: u32) -> Instant {
    Instant::from_micros(u64::from(second) * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Links for Vec<Link> {
        fn link(&mut self, slot: u32) -> Option<&mut Link> {
            self.get_mut(usize::try_from(slot).ok()?)
        }
    }

    fn slots(due: &mut Due, links: &mut Vec<Link>, now: u64) -> Vec<u32> {
        let mut slots = Vec::new();
        while let Some(slot) = due.first(Instant::from_micros(now * 1_000_000)) {
            due.remove(links, slot);
            slots.push(slot);
        }
        slots.sort_unstable();
        slots
    }

    #[test]
    fn connections_are_looked_at_in_their_second_wherever_others_are_taken_out() {
        let seconds = [5, 5, 3, 5, 9, 5];
        for gone in [0, 1, 3, 5] {
            let (mut due, mut links) = (Due::default(), vec![Link::default(); seconds.len()]);
            for (slot, second) in (0..).zip(seconds) {
                due.set(&mut links, slot, second);
            }
            assert_eq!(due.next(), Some(Instant::from_micros(3_000_000)));
            due.remove(&mut links, gone);
            assert!(slots(&mut due, &mut links, 2).is_empty());
            assert_eq!(slots(&mut due, &mut links, 3), [2]);
            let left: Vec<u32> = [0, 1, 3, 5].into_iter().filter(|slot| *slot != gone).collect();
            assert_eq!(slots(&mut due, &mut links, 5), left);
            assert_eq!(slots(&mut due, &mut links, 100), [4]);
            assert_eq!(due.next(), None);
        }
    }

    #[test]
    fn a_second_that_has_begun_is_over_with_the_next() {
        assert_eq!(second_behind(Instant::from_micros(4_000_000)), 4);
        assert_eq!(second_behind(Instant::from_micros(4_000_001)), 5);
    }
}
