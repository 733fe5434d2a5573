//! Packets that wait for their tunnel to come up: a bounded queue per tunnel, the oldest dropped first.

use std::collections::{BTreeMap, VecDeque};

use base::{Duration, Instant, Timers};

use crate::InterfaceId;
use crate::esp::unit::Unit;
use crate::path::Work;

/// Things that an SA is being asked for at a time, of one tunnel. The control side asks the peer for them one by one.
pub const ASKED_PER_TUNNEL_MAX: usize = 256;
/// The same SA is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What an SA is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    /// A local and a remote network of the tunnel, by their places.
    Networks(usize, usize),
    /// Hosts, or ports between them.
    Unit(Unit),
}

/// Whether the control side is asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MayAsk {
    Yes,
    /// It has just been asked for the same.
    NotYet,
    /// It has just been asked for as much as may be at a time.
    TooMany,
}

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
    /// When the control side was last asked for an SA.
    asked: BTreeMap<InterfaceId, BTreeMap<Asked, Instant>>,
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

    /// Whether the control side may be asked for this SA: once a second.
    pub(crate) fn may_ask(&mut self, now: Instant, tunnel: InterfaceId, what: Asked) -> MayAsk {
        let asked = self.asked.entry(tunnel).or_default();
        let lately = |at: &Instant| now.since(*at) < ASK_AGAIN;
        if asked.get(&what).is_some_and(lately) {
            return MayAsk::NotYet;
        }
        if asked.len() >= ASKED_PER_TUNNEL_MAX {
            asked.retain(|_, at| lately(at));
            if asked.len() >= ASKED_PER_TUNNEL_MAX {
                return MayAsk::TooMany;
            }
        }
        asked.insert(what, now);
        MayAsk::Yes
    }

    /// An SA of this tunnel has come, for one unit or for more: should it go again at once, it may be asked for again at
    /// once.
    pub(crate) fn answered(&mut self, tunnel: InterfaceId, unit: Option<Unit>) {
        let Some(unit) = unit else {
            self.asked.remove(&tunnel);
            return;
        };
        if let Some(asked) = self.asked.get_mut(&tunnel) {
            asked.remove(&Asked::Unit(unit));
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

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    fn hosts(last: u32) -> Unit {
        let address = |last| std::net::Ipv4Addr::from_bits(0x0a00_0000 + last).into();
        Unit { local: address(0), remote: address(last), protocol: 0, ports: None }
    }

    #[test]
    fn an_sa_is_asked_for_once_a_second_unless_one_has_come() {
        let mut room = WaitingRoom::default();
        let (tunnel, other) = (InterfaceId(7), InterfaceId(8));
        let (first, second) = (Asked::Networks(0, 0), Asked::Networks(0, 1));
        assert_eq!(room.may_ask(at(5_000), tunnel, first), MayAsk::Yes);
        assert_eq!(room.may_ask(at(5_000), tunnel, second), MayAsk::Yes);
        assert_eq!(room.may_ask(at(5_000), other, first), MayAsk::Yes);
        assert_eq!(room.may_ask(at(5_900), tunnel, first), MayAsk::NotYet);
        room.answered(tunnel, None);
        assert_eq!(room.may_ask(at(5_901), tunnel, first), MayAsk::Yes);
        assert_eq!(room.may_ask(at(5_901), tunnel, second), MayAsk::Yes);
        assert_eq!(room.may_ask(at(5_901), other, first), MayAsk::NotYet, "another tunnel has got nothing");
        assert_eq!(room.may_ask(at(6_000), other, first), MayAsk::Yes);
    }

    #[test]
    fn each_pair_of_hosts_is_asked_for_by_itself_and_so_many_at_a_time() {
        let mut room = WaitingRoom::default();
        let (tunnel, other) = (InterfaceId(7), InterfaceId(8));
        let most = u32::try_from(ASKED_PER_TUNNEL_MAX).unwrap();
        for number in 0..most {
            assert_eq!(room.may_ask(at(1), tunnel, Asked::Unit(hosts(number))), MayAsk::Yes);
        }
        assert_eq!(room.may_ask(at(2), tunnel, Asked::Unit(hosts(most))), MayAsk::TooMany);
        assert_eq!(room.may_ask(at(2), other, Asked::Unit(hosts(most))), MayAsk::Yes, "others have their own bound");
        room.answered(tunnel, Some(hosts(3)));
        assert_eq!(room.may_ask(at(3), tunnel, Asked::Unit(hosts(3))), MayAsk::Yes);
        assert_eq!(room.may_ask(at(3), tunnel, Asked::Unit(hosts(4))), MayAsk::NotYet);
        assert_eq!(room.may_ask(at(1_001), tunnel, Asked::Unit(hosts(most))), MayAsk::Yes);
        assert_eq!(room.asked[&tunnel].len(), 2, "what was asked long ago is forgotten");
    }
}
