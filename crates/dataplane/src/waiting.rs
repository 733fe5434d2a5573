//! Packets that wait for their tunnel to come up: a bounded queue per tunnel, the oldest dropped first.

use std::collections::{BTreeMap, VecDeque};

use base::{Instant, Timers};

use crate::InterfaceId;
use crate::path::Work;

/// A packet that waits, ready to be sealed.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) work: Work,
    pub(crate) until: Instant,
}

/// The queues of all tunnels.
#[derive(Debug, Default)]
pub(crate) struct WaitingRoom {
    queues: BTreeMap<InterfaceId, VecDeque<Waiting>>,
    timers: Timers<InterfaceId>,
    /// When the control side was last asked for an SA, per tunnel and pair of networks.
    asked: BTreeMap<(InterfaceId, usize, usize), Instant>,
}

impl WaitingRoom {
    /// Lets a packet wait. Returns the one that has to go for it: the oldest, or the packet itself when none may wait.
    pub(crate) fn enter(&mut self, tunnel: InterfaceId, work: Work, until: Instant, most: usize) -> Option<Work> {
        if most == 0 {
            return Some(work);
        }
        let queue = self.queues.entry(tunnel).or_default();
        let gone = if queue.len() >= most { queue.pop_front() } else { None };
        queue.push_back(Waiting { work, until });
        self.set_timer(tunnel);
        gone.map(|waiting| waiting.work)
    }

    /// Takes all that wait for a tunnel, oldest first.
    pub(crate) fn take(&mut self, tunnel: InterfaceId) -> VecDeque<Waiting> {
        self.timers.cancel(&tunnel);
        self.queues.remove(&tunnel).unwrap_or_default()
    }

    /// Gives back those that still have to wait, in their order.
    pub(crate) fn put_back(&mut self, tunnel: InterfaceId, queue: VecDeque<Waiting>) {
        if !queue.is_empty() {
            self.queues.insert(tunnel, queue);
            self.set_timer(tunnel);
        }
    }

    /// Takes a packet that has waited in vain, and says for which tunnel.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<(InterfaceId, Work)> {
        while let Some(tunnel) = self.timers.pop_due(now) {
            let queue = self.queues.get_mut(&tunnel)?;
            let gone = if queue.front().is_some_and(|first| first.until <= now) { queue.pop_front() } else { None };
            if queue.is_empty() {
                self.queues.remove(&tunnel);
            }
            self.set_timer(tunnel);
            if let Some(waiting) = gone {
                return Some((tunnel, waiting.work));
            }
        }
        None
    }

    /// True when the control side may be asked for an SA for this pair of networks: once a second.
    pub(crate) fn may_ask(&mut self, now: Instant, tunnel: InterfaceId, pair: (usize, usize)) -> bool {
        let at = self.asked.entry((tunnel, pair.0, pair.1));
        let fresh = matches!(&at, std::collections::btree_map::Entry::Occupied(entry)
            if now.since(*entry.get()) < base::Duration::from_secs(1));
        if !fresh {
            at.insert_entry(now);
        }
        !fresh
    }

    /// SAs of this tunnel have come: should they go again at once, they may be asked for again at once.
    pub(crate) fn answered(&mut self, tunnel: InterfaceId) {
        let mine = (tunnel, usize::MIN, usize::MIN)..=(tunnel, usize::MAX, usize::MAX);
        let pairs: Vec<_> = self.asked.range(mine).map(|(pair, _)| *pair).collect();
        for pair in pairs {
            self.asked.remove(&pair);
        }
    }

    /// Forgets when SAs were asked for: the tunnels and their networks are others now.
    pub(crate) fn forget_asking(&mut self) {
        self.asked.clear();
    }

    pub(crate) fn tunnels(&self) -> Vec<InterfaceId> {
        self.queues.keys().copied().collect()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next().map(|(at, _)| at)
    }

    fn set_timer(&mut self, tunnel: InterfaceId) {
        match self.queues.get(&tunnel).and_then(VecDeque::front) {
            Some(first) => self.timers.set(tunnel, first.until),
            None => self.timers.cancel(&tunnel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sa_is_asked_for_once_a_second_unless_one_has_come() {
        let mut room = WaitingRoom::default();
        let at = |millis: u64| Instant::from_micros(millis * 1_000);
        let (tunnel, other) = (InterfaceId(7), InterfaceId(8));
        assert!(room.may_ask(at(5_000), tunnel, (0, 0)) && room.may_ask(at(5_000), tunnel, (0, 1)));
        assert!(room.may_ask(at(5_000), other, (0, 0)));
        assert!(!room.may_ask(at(5_900), tunnel, (0, 0)));
        room.answered(tunnel);
        assert!(room.may_ask(at(5_901), tunnel, (0, 0)) && room.may_ask(at(5_901), tunnel, (0, 1)));
        assert!(!room.may_ask(at(5_901), other, (0, 0)), "another tunnel has got nothing");
        assert!(room.may_ask(at(6_000), other, (0, 0)));
    }
}
