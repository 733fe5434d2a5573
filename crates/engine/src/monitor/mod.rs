//! Routes that are watched over: link, gateway, hosts. While something of that is not well the route is not used.
//!
//! Pure: polls go out as values, answers and links come in as calls, and what has come of them is handed back.

mod packet;
mod poll;
mod route;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use base::{Duration, Instant, Random};
use objects::{InterfaceId, RouteKey, Snapshot};

pub(crate) use packet::{Answer, read as read_answer, request};
pub use poll::PollStatus;
pub(crate) use poll::Terms;
use route::Watch;
pub(crate) use route::{Change, Which};

/// A poll that is to be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Poll {
    pub(crate) route: RouteKey,
    pub(crate) which: Which,
    pub(crate) terms: Terms,
    pub(crate) identifier: u16,
    pub(crate) sequence: u16,
    pub(crate) patience: Duration,
}

/// How it stands with a watched route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchStatus {
    /// Which route.
    pub route: RouteKey,
    /// It is not used.
    pub failed: bool,
    /// So long nothing counts as failed.
    pub grace: Duration,
    /// The gateway, where it is asked.
    pub gateway: Option<PollStatus>,
    /// The hosts.
    pub hosts: Vec<PollStatus>,
}

/// Every watched route.
#[derive(Debug)]
pub(crate) struct Monitors {
    watches: BTreeMap<RouteKey, Watch>,
    random: Random,
}

/// What has happened, route by route.
pub(crate) type Changes = Vec<(RouteKey, Change)>;

impl Monitors {
    pub(crate) fn new(random: Random) -> Self {
        Self { watches: BTreeMap::new(), random }
    }

    /// From now on these routes. Those that are watched in the same way already go on as they are.
    pub(crate) fn configure(&mut self, now: Instant, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.watches);
        for table in &snapshot.tables {
            for route in &table.routes {
                let Some(monitor) = &route.monitor else { continue };
                let key = route.key(table.id);
                let watch = match before.remove(&key).filter(|watch| watch.monitor == *monitor) {
                    Some(watch) => watch,
                    None => {
                        let source = |target: IpAddr| {
                            let interface = snapshot.interface_by_id(route.interface)?;
                            let mut own = interface.addresses.iter().map(|(address, _)| *address);
                            own.find(|address| address.is_ipv4() == target.is_ipv4())
                        };
                        Watch::new(now, route, monitor, source, &mut self.random)
                    }
                };
                self.watches.insert(key, watch);
            }
        }
    }

    /// The links are these now.
    pub(crate) fn set_links(&mut self, now: Instant, is_up: impl Fn(InterfaceId) -> bool) -> Changes {
        self.each(|key, watch| watch.change(now, |watch| watch.set_link(is_up(key.interface))))
    }

    /// Polls whose answers are overdue have none; what had its grace has it no more.
    pub(crate) fn expire(&mut self, now: Instant) -> Changes {
        self.each(|_, watch| {
            if watch.next_deadline().is_none_or(|at| at > now) {
                return Vec::new();
            }
            watch.change(now, |watch| watch.polls_mut().for_each(|(_, polled)| polled.expire(now)))
        })
    }

    /// The next poll that is due; the caller sends it.
    pub(crate) fn next_poll(&mut self, now: Instant) -> Option<Poll> {
        self.watches.iter_mut().find_map(|(key, watch)| {
            let (which, ask) = watch.next_ask(now)?;
            let polled = watch.poll_mut(which)?;
            let (terms, identifier) = (polled.terms.clone(), polled.identifier);
            let (sequence, patience) = (ask.sequence, ask.patience);
            Some(Poll { route: *key, which, terms, identifier, sequence, patience })
        })
    }

    /// What came of a poll: how long the answer took, or nothing.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        (key, which, sequence): (RouteKey, Which, u16),
        took: Option<Duration>,
    ) -> Changes {
        let Some(watch) = self.watches.get_mut(&key) else { return Vec::new() };
        let changes = watch.change(now, |watch| {
            if let Some(polled) = watch.poll_mut(which) {
                match took {
                    Some(took) => drop(polled.answer(now, sequence, Some(took))),
                    None => polled.lose(sequence),
                }
            }
        });
        changes.into_iter().map(|change| (key, change)).collect()
    }

    /// A packet that answers a poll, or refuses. `None`: it is none of ours.
    pub(crate) fn receive(&mut self, now: Instant, answer: &Answer) -> Option<(RouteKey, Changes)> {
        let (key, watch) = self.watches.iter_mut().find(|(_, watch)| {
            let mut polls = watch.hosts().iter();
            polls.any(|host| host.identifier == answer.identifier && host.terms.target == answer.from)
        })?;
        let changes = watch.change(now, |watch| {
            let mut polls = watch.polls_mut().map(|(_, polled)| polled);
            let host = polls.find(|host| host.identifier == answer.identifier && host.terms.target == answer.from);
            match host {
                Some(host) if answer.well => drop(host.answer(now, answer.sequence, None)),
                Some(host) => host.lose(answer.sequence),
                None => {}
            }
        });
        Some((*key, changes.into_iter().map(|change| (*key, change)).collect()))
    }

    /// The routes that fail.
    pub(crate) fn failed(&self) -> BTreeSet<RouteKey> {
        self.watches.iter().filter(|(_, watch)| watch.has_failed()).map(|(key, _)| *key).collect()
    }

    /// Interfaces whose link is watched and down.
    pub(crate) fn wanted_links(&self) -> BTreeSet<InterfaceId> {
        self.watches.iter().filter(|(_, watch)| watch.wants_link()).map(|(key, _)| key.interface).collect()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.watches.values().filter_map(Watch::next_deadline).min()
    }

    /// Everything, in order.
    pub(crate) fn list(&self, now: Instant) -> Vec<WatchStatus> {
        let status = |(key, watch): (&RouteKey, &Watch)| WatchStatus {
            route: *key,
            failed: watch.has_failed(),
            grace: watch.grace_left(now),
            gateway: watch.gateway().map(poll::Polled::status),
            hosts: watch.hosts().iter().map(poll::Polled::status).collect(),
        };
        self.watches.iter().map(status).collect()
    }

    fn each(&mut self, mut act: impl FnMut(&RouteKey, &mut Watch) -> Vec<Change>) -> Changes {
        let of = |(key, watch): (&RouteKey, &mut Watch)| {
            act(key, watch).into_iter().map(|change| (*key, change)).collect::<Vec<_>>()
        };
        self.watches.iter_mut().flat_map(of).collect()
    }
}
