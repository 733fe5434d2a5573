//! A route that is watched over: what is well about it, and whether it holds.

use std::net::IpAddr;
use std::sync::Arc;

use base::{Duration, Instant, Random};
use objects::{Reachability, Route, RouteMonitor};

use super::poll::{Ask, Polled, Terms};

/// What there is to tell about a watched route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its link.
    Link(bool),
    /// Its gateway answers, or not any more.
    Gateway(IpAddr, bool),
    /// A host answers, or not any more, and why.
    Host(IpAddr, bool, String),
    /// It is used again.
    Holds,
    /// It is not used any more, and why.
    Fails(String),
}

/// Which of a route's polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Which {
    Gateway,
    Host(usize),
}

/// One watched route.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) monitor: Arc<RouteMonitor>,
    link: bool,
    gateway: Option<Polled>,
    hosts: Vec<Polled>,
    /// Until then nothing counts as failed.
    grace: Instant,
    failed: bool,
}

impl Watch {
    /// Begins to watch. `source` is our address on the route's interface.
    pub(crate) fn new(
        now: Instant,
        route: &Route,
        monitor: &Arc<RouteMonitor>,
        source: impl Fn(IpAddr) -> Option<IpAddr>,
        random: &mut Random,
    ) -> Self {
        let mut identifier = || u16::try_from(random.below(0x1_0000)).unwrap_or(0);
        let gateway = route.gateway.zip(monitor.gateway).map(|(target, interval)| {
            let terms = Terms::of_gateway(target, route.local_ip.or_else(|| source(target)), interval);
            Polled::new(now, terms, identifier())
        });
        let hosts = monitor.hosts.iter().map(|host| {
            let mut terms = Terms::of_host(host);
            terms.source = terms.source.or(route.local_ip).or_else(|| source(host.address));
            Polled::new(now, terms, identifier())
        });
        Self {
            monitor: Arc::clone(monitor),
            link: true,
            gateway,
            hosts: hosts.collect(),
            grace: now + monitor.grace,
            failed: false,
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// True when its link is watched and down.
    pub(crate) fn wants_link(&self) -> bool {
        self.monitor.link && !self.link
    }

    pub(crate) fn hosts(&self) -> &[Polled] {
        &self.hosts
    }

    pub(crate) fn gateway(&self) -> Option<&Polled> {
        self.gateway.as_ref()
    }

    pub(crate) fn poll_mut(&mut self, which: Which) -> Option<&mut Polled> {
        match which {
            Which::Gateway => self.gateway.as_mut(),
            Which::Host(index) => self.hosts.get_mut(index),
        }
    }

    pub(crate) fn polls_mut(&mut self) -> impl Iterator<Item = (Which, &mut Polled)> {
        let hosts = self.hosts.iter_mut().enumerate().map(|(index, host)| (Which::Host(index), host));
        self.gateway.iter_mut().map(|gateway| (Which::Gateway, gateway)).chain(hosts)
    }

    /// Lets something happen to it, and says what has come of that.
    pub(crate) fn change(&mut self, now: Instant, happen: impl FnOnce(&mut Self)) -> Vec<Change> {
        let before: Vec<bool> = self.polls_mut().map(|(_, polled)| polled.is_reachable()).collect();
        let link = self.link;
        happen(self);
        let mut changes = Vec::new();
        if self.monitor.link && link != self.link {
            changes.push(Change::Link(self.link));
        }
        for ((which, polled), before) in self.polls_mut().zip(before) {
            let (target, reachable) = (polled.terms.target, polled.is_reachable());
            if reachable != before {
                changes.push(match which {
                    Which::Gateway => Change::Gateway(target, reachable),
                    Which::Host(_) => Change::Host(target, reachable, polled.trouble()),
                });
            }
        }
        changes.extend(self.judge(now));
        changes
    }

    pub(crate) fn set_link(&mut self, up: bool) {
        self.link = up;
    }

    /// The next poll that is due.
    pub(crate) fn next_ask(&mut self, now: Instant) -> Option<(Which, Ask)> {
        self.polls_mut().find_map(|(which, polled)| polled.ask(now).map(|ask| (which, ask)))
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let polls = self.hosts.iter().chain(&self.gateway).map(Polled::next_deadline).min();
        let grace = (!self.failed && self.trouble().is_some()).then_some(self.grace);
        [polls, grace].into_iter().flatten().min()
    }

    /// Does it hold? What has come back has its grace again, so that a route does not go up and down faster than that.
    fn judge(&mut self, now: Instant) -> Option<Change> {
        match (self.trouble(), self.failed) {
            (Some(reason), false) if self.grace <= now => {
                self.failed = true;
                Some(Change::Fails(reason))
            }
            (None, true) => {
                self.failed = false;
                self.grace = now + self.monitor.grace;
                Some(Change::Holds)
            }
            _ => None,
        }
    }

    /// What is not well, in words.
    fn trouble(&self) -> Option<String> {
        if self.monitor.link && !self.link {
            return Some("no link".to_owned());
        }
        if let Some(gateway) = self.gateway.as_ref().filter(|gateway| !gateway.is_reachable()) {
            return Some(format!("gateway {} does not answer", gateway.terms.target));
        }
        let gone = |polled: &&Polled| !polled.is_reachable();
        let first = self.hosts.iter().find(gone)?;
        let decisive = match self.monitor.reachability {
            Reachability::All => Some(first),
            Reachability::Any if self.hosts.iter().all(|host| gone(&host)) => Some(first),
            Reachability::Any => self.hosts.iter().filter(|host| host.terms.required).find(gone),
        };
        decisive.map(|host| format!("host {}: {}", host.terms.target, host.trouble()))
    }

    pub(crate) fn grace_left(&self, now: Instant) -> Duration {
        self.grace.since(now)
    }
}

#[cfg(test)]
mod tests {
    use base::IpRange;
    use objects::{InterfaceId, MonitoredHost, PollMethod, RouteOrigin};

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn host(last: u8, required: bool) -> MonitoredHost {
        MonitoredHost {
            method: PollMethod::Icmp,
            address: [192, 168, 1, last].into(),
            source: None,
            interval: Duration::from_secs(1),
            samples: 3,
            fails_max: 1,
            latency_max: Duration::from_millis(800),
            required,
        }
    }

    fn watch(reachability: Reachability, hosts: Vec<MonitoredHost>, grace: u64) -> Watch {
        let monitor =
            RouteMonitor { link: true, gateway: None, hosts, reachability, grace: Duration::from_secs(grace) };
        let monitor = Arc::new(monitor);
        let route = Route {
            interface: InterfaceId(7),
            network: IpRange::network([192, 168, 1, 0].into(), 24).unwrap(),
            gateway: None,
            local_ip: None,
            metric: 90,
            origin: RouteOrigin::Configured,
            proxy: Vec::new(),
            monitor: Some(Arc::clone(&monitor)),
        };
        Watch::new(at(0), &route, &monitor, |_| None, &mut Random::numbered(1))
    }

    /// One round of polls, at the second: which hosts answer.
    fn round(watch: &mut Watch, second: u64, answers: &[bool]) -> Vec<Change> {
        watch.change(at(second), |watch| {
            while let Some((which, ask)) = watch.next_ask(at(second)) {
                let Which::Host(index) = which else { panic!("there is no gateway") };
                let polled = watch.poll_mut(which).unwrap();
                if answers[index] {
                    polled.answer(at(second), ask.sequence, None);
                } else {
                    polled.lose(ask.sequence);
                }
            }
        })
    }

    fn verdicts(changes: &[Change]) -> Vec<&Change> {
        changes.iter().filter(|change| matches!(change, Change::Holds | Change::Fails(_))).collect()
    }

    #[test]
    fn nothing_counts_as_failed_within_the_grace_period() {
        let mut watch = watch(Reachability::All, vec![host(1, false)], 5);
        for second in 0..5 {
            assert_eq!(verdicts(&round(&mut watch, second, &[false])), Vec::<&Change>::new(), "{second}");
        }
        assert_eq!(watch.next_deadline(), Some(at(5)));
        let changes = watch.change(at(5), |_| {});
        assert!(matches!(&changes[..], [Change::Fails(reason)] if reason.contains("192.168.1.1")), "{changes:?}");
        assert!(watch.has_failed());
    }

    #[test]
    fn a_route_that_has_come_back_has_its_grace_again() {
        let mut watch = watch(Reachability::All, vec![host(1, false)], 30);
        let mut last = None;
        let mut flaps = 0;
        // Two seconds up, two seconds down, for ever.
        for second in 0..600 {
            for change in round(&mut watch, second, &[second % 6 < 3]) {
                match change {
                    Change::Holds => last = Some(second),
                    Change::Fails(_) => {
                        assert!(last.is_none_or(|up| second >= up + 30), "failed at {second}, up since {last:?}");
                        flaps += 1;
                    }
                    _ => {}
                }
            }
        }
        assert!((10..=20).contains(&flaps), "{flaps}");
    }

    #[test]
    fn of_any_hosts_one_is_enough_but_a_required_one_must_answer() {
        let mut any = watch(Reachability::Any, vec![host(1, false), host(2, false)], 0);
        let mut required = watch(Reachability::Any, vec![host(1, false), host(2, true)], 0);
        let mut all = watch(Reachability::All, vec![host(1, false), host(2, false)], 0);
        for second in 0..3 {
            for watch in [&mut any, &mut required, &mut all] {
                round(watch, second, &[true, false]);
            }
        }
        assert_eq!([any.has_failed(), required.has_failed(), all.has_failed()], [false, true, true]);
        for second in 3..6 {
            round(&mut any, second, &[false, false]);
        }
        assert!(any.has_failed());
    }

    #[test]
    fn a_link_that_goes_down_takes_the_route_along_at_once() {
        let mut watch = watch(Reachability::All, Vec::new(), 0);
        let down = watch.change(at(1), |watch| watch.set_link(false));
        assert_eq!(down, [Change::Link(false), Change::Fails("no link".to_owned())]);
        assert_eq!(watch.change(at(2), |watch| watch.set_link(true)), [Change::Link(true), Change::Holds]);
    }
}
