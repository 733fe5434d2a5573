//! A host that is polled: when to ask it, and what its answers say.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use base::{Duration, Instant};
use objects::MonitoredHost;

use crate::job::ProbeMethod;

/// How long an answer may take, in average times that are still good: beyond the first the host is slow, beyond the
/// second it is silent.
const PATIENCE_FACTOR: u32 = 2;
/// And at least, so that a small maximum does not make every answer late.
const PATIENCE_MIN: Duration = Duration::from_secs(1);
/// And at most.
const PATIENCE_MAX: Duration = Duration::from_secs(10);
/// ARP questions in a row that a gateway may leave unanswered.
const GATEWAY_FAILS_MAX: usize = 2;
/// An answer on the link that takes longer is none.
const GATEWAY_LATENCY_MAX: Duration = Duration::from_secs(1);

/// What is asked how often, and what is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) method: ProbeMethod,
    pub(crate) target: IpAddr,
    pub(crate) source: Option<IpAddr>,
    interval: Duration,
    samples: usize,
    fails_max: usize,
    latency_max: Duration,
    pub(crate) required: bool,
}

impl Terms {
    /// Of a MonitoredHost.
    pub(crate) fn of_host(host: &MonitoredHost) -> Self {
        let samples = usize::try_from(host.samples).unwrap_or(usize::MAX).max(1);
        Self {
            method: match host.method {
                objects::PollMethod::Icmp => ProbeMethod::Icmp,
                objects::PollMethod::Tcp(port) => ProbeMethod::Tcp(port),
            },
            target: host.address,
            source: host.source,
            interval: host.interval,
            samples,
            // A host that answers nothing at all is never well.
            fails_max: usize::try_from(host.fails_max).unwrap_or(usize::MAX).min(samples - 1),
            latency_max: host.latency_max,
            required: host.required,
        }
    }

    /// Of the gateway of a route.
    pub(crate) fn of_gateway(target: IpAddr, source: Option<IpAddr>, interval: Duration) -> Self {
        Self {
            method: ProbeMethod::Neighbor,
            target,
            source,
            interval,
            samples: GATEWAY_FAILS_MAX + 1,
            fails_max: GATEWAY_FAILS_MAX,
            latency_max: GATEWAY_LATENCY_MAX,
            required: true,
        }
    }

    fn patience(&self) -> Duration {
        self.latency_max.saturating_mul(PATIENCE_FACTOR).clamp(PATIENCE_MIN, PATIENCE_MAX)
    }
}

/// How it stands with a polled host, for listings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollStatus {
    /// It counts as reachable.
    pub reachable: bool,
    /// How it is asked.
    pub method: ProbeMethod,
    /// The host.
    pub target: IpAddr,
    /// Our address in the polls, where one is set.
    pub source: Option<IpAddr>,
    /// Time between two polls.
    pub interval: Duration,
    /// Of how many polls the answers are counted.
    pub samples: usize,
    /// Polls among those without an answer.
    pub fails: usize,
    /// How many may be.
    pub fails_max: usize,
    /// Average time to an answer.
    pub latency: Option<Duration>,
    /// How long it may be.
    pub latency_max: Duration,
}

/// A poll to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) sequence: u16,
    pub(crate) patience: Duration,
}

/// One polled host.
#[derive(Debug)]
pub(crate) struct Polled {
    pub(crate) terms: Terms,
    /// Tells its echo requests from those of others.
    pub(crate) identifier: u16,
    next: Instant,
    sequence: u16,
    /// When each was sent that waits for its answer.
    waiting: BTreeMap<u16, Instant>,
    /// The last polls, oldest first; `None`: no answer.
    window: VecDeque<Option<Duration>>,
    reachable: bool,
}

impl Polled {
    pub(crate) fn new(now: Instant, terms: Terms, identifier: u16) -> Self {
        Self {
            terms,
            identifier,
            next: now,
            sequence: 0,
            waiting: BTreeMap::new(),
            window: VecDeque::new(),
            reachable: true,
        }
    }

    pub(crate) fn is_reachable(&self) -> bool {
        self.reachable
    }

    /// The next poll if it is due.
    pub(crate) fn ask(&mut self, now: Instant) -> Option<Ask> {
        if self.next > now {
            return None;
        }
        self.next = now + self.terms.interval;
        self.sequence = self.sequence.wrapping_add(1);
        self.waiting.insert(self.sequence, now);
        Some(Ask { sequence: self.sequence, patience: self.terms.patience() })
    }

    /// An answer to the poll with this number, or why there is none. `took`: measured by whoever asked; otherwise it is
    /// the time since.
    pub(crate) fn answer(&mut self, now: Instant, sequence: u16, took: Option<Duration>) -> bool {
        let Some(sent) = self.waiting.remove(&sequence) else { return false };
        self.count(Some(took.unwrap_or_else(|| now.since(sent))));
        true
    }

    /// There will be no answer to the poll with this number.
    pub(crate) fn lose(&mut self, sequence: u16) {
        if self.waiting.remove(&sequence).is_some() {
            self.count(None);
        }
    }

    /// Polls whose answers are overdue have none.
    pub(crate) fn expire(&mut self, now: Instant) {
        let patience = self.terms.patience();
        let overdue: Vec<u16> =
            self.waiting.iter().filter(|(_, sent)| **sent + patience <= now).map(|(sequence, _)| *sequence).collect();
        for sequence in overdue {
            self.lose(sequence);
        }
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        let patience = self.terms.patience();
        self.waiting.values().map(|sent| *sent + patience).min().map_or(self.next, |late| late.min(self.next))
    }

    pub(crate) fn status(&self) -> PollStatus {
        PollStatus {
            reachable: self.reachable,
            method: self.terms.method,
            target: self.terms.target,
            source: self.terms.source,
            interval: self.terms.interval,
            samples: self.terms.samples,
            fails: self.fails(),
            fails_max: self.terms.fails_max,
            latency: self.latency(),
            latency_max: self.terms.latency_max,
        }
    }

    /// Why it is not reachable, in words.
    pub(crate) fn trouble(&self) -> String {
        match self.latency() {
            Some(latency) if self.fails() <= self.terms.fails_max => {
                format!(
                    "it takes {} ms to answer, more than {} ms",
                    latency.as_millis(),
                    self.terms.latency_max.as_millis()
                )
            }
            _ => format!("{} of the last {} polls without an answer", self.fails(), self.window.len()),
        }
    }

    fn count(&mut self, outcome: Option<Duration>) {
        self.window.push_back(outcome);
        while self.window.len() > self.terms.samples {
            self.window.pop_front();
        }
        let slow = self.latency().is_some_and(|latency| latency > self.terms.latency_max);
        self.reachable = self.fails() <= self.terms.fails_max && !slow;
    }

    fn fails(&self) -> usize {
        self.window.iter().filter(|outcome| outcome.is_none()).count()
    }

    /// Over the answered polls only.
    fn latency(&self) -> Option<Duration> {
        let answered = self.window.iter().flatten();
        let count = u32::try_from(answered.clone().count()).ok().filter(|count| *count > 0)?;
        Some(answered.sum::<Duration>() / count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    fn host(samples: u32, fails_max: u32, latency_max: u64) -> Polled {
        let host = MonitoredHost {
            method: objects::PollMethod::Icmp,
            address: "192.168.1.1".parse().unwrap(),
            source: None,
            interval: Duration::from_secs(1),
            samples,
            fails_max,
            latency_max: Duration::from_millis(latency_max),
            required: false,
        };
        Polled::new(at(0), Terms::of_host(&host), 1)
    }

    /// Lets the host answer, or not, one poll after the other; tells each time whether it is reachable.
    fn story(polled: &mut Polled, answers: &[Option<u64>]) -> Vec<bool> {
        let mut verdicts = Vec::new();
        for answer in answers {
            let now = polled.next;
            let ask = polled.ask(now).unwrap();
            match answer {
                Some(millis) => assert!(polled.answer(now, ask.sequence, Some(Duration::from_millis(*millis)))),
                None => polled.lose(ask.sequence),
            }
            verdicts.push(polled.is_reachable());
        }
        verdicts
    }

    #[test]
    fn so_many_polls_may_fail_among_the_samples_and_no_more() {
        let mut polled = host(5, 2, 800);
        let up = Some(10);
        assert_eq!(story(&mut polled, &[up, None, None, up, None]), [true, true, true, true, false]);
        // Only when the oldest failures are no sample any more it is well again.
        assert_eq!(story(&mut polled, &[up, up, up]), [false, true, true]);
    }

    #[test]
    fn a_host_that_never_answers_is_not_reachable_whatever_may_fail() {
        assert_eq!(story(&mut host(2, 9, 800), &[None, None]), [true, false]);
    }

    #[test]
    fn a_slow_host_is_not_reachable_and_lost_polls_do_not_make_it_slow() {
        let mut polled = host(4, 3, 100);
        assert_eq!(story(&mut polled, &[Some(90), Some(130), None]), [true, false, false]);
        assert!(polled.trouble().contains("110 ms"), "{}", polled.trouble());
        assert_eq!(story(&mut polled, &[Some(50), Some(50)]), [true, true]);
    }

    #[test]
    fn an_answer_that_is_late_or_comes_twice_is_none() {
        let mut polled = host(1, 0, 800);
        let ask = polled.ask(at(0)).unwrap();
        assert_eq!(ask.patience, Duration::from_millis(1_600));
        assert!(polled.ask(at(999)).is_none());
        assert_eq!(polled.next_deadline(), at(1_000));
        assert_eq!(polled.ask(at(1_000)).map(|ask| ask.sequence), Some(2));
        polled.expire(at(1_600));
        assert!(!polled.is_reachable());
        assert!(!polled.answer(at(1_601), ask.sequence, None));
        assert!(polled.answer(at(1_700), 2, None) && !polled.answer(at(1_700), 2, None));
        assert!(polled.is_reachable());
        assert_eq!(polled.status().latency, Some(Duration::from_millis(700)));
    }
}
