//! Jobs: what the gateway wants done that is not a packet and takes its time. A job has a ticket, and comes back as an
//! input with it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::{Duration, Instant, Timers};

/// Jobs that are under way at the same time.
const JOBS_MAX: usize = 4_096;
/// Beyond its time a job has so long to come back; then it counts as failed.
const SLACK: Duration = Duration::from_secs(5);

/// Names a job. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A piece of work for the shell, to be answered with [`Input::Finished`](crate::Input::Finished).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// To be given back.
    pub ticket: Ticket,
    /// What is to be done.
    pub kind: JobKind,
    /// How long it may take.
    pub time: Duration,
}

/// What a job is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// Find out the addresses of a host name.
    Resolve {
        /// The name, lower case.
        name: String,
    },
    /// Find out whether a host answers over an interface of the kernel.
    Probe(Probe),
}

/// A question to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// How it is asked.
    pub method: ProbeMethod,
    /// The host.
    pub target: IpAddr,
    /// From which of our addresses; `None`: the kernel chooses.
    pub source: Option<IpAddr>,
    /// The interface's name in the kernel.
    pub device: String,
}

/// How a host is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeMethod {
    /// With an ICMP echo request.
    Icmp,
    /// With a TCP handshake with this port.
    Tcp(u16),
    /// With an ARP request or a neighbour solicitation: it is on the link.
    Neighbor,
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobResult {
    /// Addresses of a name, for each family by itself.
    Resolved {
        /// IPv4.
        v4: Result<Resolved, String>,
        /// IPv6.
        v6: Result<Resolved, String>,
    },
    /// The time to the answer, or why there was none.
    Probed(Result<Duration, String>),
}

/// What a name server said of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The addresses; none: there are none.
    pub addresses: Vec<IpAddr>,
    /// How long that is good for; `None`: it did not say.
    pub ttl: Option<Duration>,
}

/// Jobs that are under way, each with what it is for.
#[derive(Debug)]
pub(crate) struct Jobs<K> {
    last: u64,
    under_way: BTreeMap<Ticket, K>,
    due: Timers<Ticket>,
}

impl<K> Default for Jobs<K> {
    fn default() -> Self {
        Self { last: 0, under_way: BTreeMap::new(), due: Timers::default() }
    }
}

impl<K> Jobs<K> {
    /// A new job; `None` when too many are under way.
    pub(crate) fn begin(&mut self, now: Instant, purpose: K, kind: JobKind, time: Duration) -> Option<Job> {
        if self.under_way.len() >= JOBS_MAX {
            return None;
        }
        self.last += 1;
        let ticket = Ticket(self.last);
        self.under_way.insert(ticket, purpose);
        self.due.set(ticket, now + time + SLACK);
        Some(Job { ticket, kind, time })
    }

    /// A job has come back: what it was for. `None`: it was given up, or never was.
    pub(crate) fn finish(&mut self, ticket: Ticket) -> Option<K> {
        self.due.cancel(&ticket);
        self.under_way.remove(&ticket)
    }

    /// The next job that has not come back in time.
    pub(crate) fn give_up(&mut self, now: Instant) -> Option<K> {
        let ticket = self.due.pop_due(now)?;
        self.under_way.remove(&ticket)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.due.next().map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve() -> JobKind {
        JobKind::Resolve { name: "a.example".to_owned() }
    }

    #[test]
    fn a_job_comes_back_once_or_is_given_up() {
        let mut jobs = Jobs::default();
        let second = Duration::from_secs(1);
        let one = jobs.begin(Instant::ZERO, "one", resolve(), second).unwrap();
        let two = jobs.begin(Instant::ZERO, "two", resolve(), second).unwrap();
        assert_eq!((jobs.finish(one.ticket), jobs.finish(one.ticket)), (Some("one"), None));
        let late = Instant::ZERO + second + SLACK;
        assert_eq!(jobs.next_deadline(), Some(late));
        assert_eq!((jobs.give_up(late), jobs.finish(two.ticket)), (Some("two"), None));
    }

    #[test]
    fn jobs_are_bounded() {
        let mut jobs = Jobs::default();
        let begun = (0..JOBS_MAX + 3).filter_map(|_| jobs.begin(Instant::ZERO, (), resolve(), SLACK)).count();
        assert_eq!(begun, JOBS_MAX);
    }
}
