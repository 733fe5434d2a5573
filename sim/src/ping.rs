//! Ping: echo requests in a rhythm, each answer counted once and compared.

use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

use base::{Duration, Instant};

use crate::kernel::{Kernel, Outbox};
use crate::packet::{Header, ICMP, ICMPV6, Icmp, build_icmp};

/// A ping that runs, or has run. Clones look at the same ping.
#[derive(Clone)]
pub struct Ping(Rc<RefCell<Report>>);

#[derive(Default)]
struct Report {
    sent: u64,
    answers: u64,
    duplicates: u64,
    strangers: u64,
    unreachable: u64,
    waiting: BTreeMap<u64, Instant>,
    fastest: Option<Duration>,
    slowest: Option<Duration>,
    last_answer: Option<Instant>,
    stopped: bool,
}

impl Ping {
    fn report(&self) -> Ref<'_, Report> {
        self.0.borrow()
    }

    /// Requests sent.
    pub fn sent(&self) -> u64 {
        self.report().sent
    }

    /// Requests answered, each counted once, with the data that was sent.
    pub fn answers(&self) -> u64 {
        self.report().answers
    }

    /// Requests that have no answer, or none yet.
    pub fn unanswered(&self) -> u64 {
        self.report().sent - self.report().answers
    }

    /// Answers to what had been answered before.
    pub fn duplicates(&self) -> u64 {
        self.report().duplicates
    }

    /// Answers that are not what was asked.
    pub fn strangers(&self) -> u64 {
        self.report().strangers
    }

    /// Times a router or host said that it cannot be reached.
    pub fn unreachable(&self) -> u64 {
        self.report().unreachable
    }

    /// Shortest and longest time from request to answer.
    pub fn round_trip(&self) -> Option<(Duration, Duration)> {
        self.report().fastest.zip(self.report().slowest)
    }

    /// When the last answer came.
    pub fn last_answer(&self) -> Option<Instant> {
        self.report().last_answer
    }

    /// The requests that have no answer: when they were sent.
    pub fn waiting(&self) -> Vec<Instant> {
        self.report().waiting.values().copied().collect()
    }

    /// Sends nothing more; answers are still counted.
    pub fn stop(&self) {
        self.0.borrow_mut().stopped = true;
    }
}

impl fmt::Debug for Ping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { sent, answers, duplicates, strangers, .. } = *self.report();
        write!(f, "{sent} sent, {answers} answered, {duplicates} answered again, {strangers} strange answers")?;
        if let (Some(first), Some(last)) =
            (self.report().waiting.values().next(), self.report().waiting.values().last())
        {
            write!(f, ", without an answer from {first} to {last}")?;
        }
        Ok(())
    }
}

/// The part of a host that pings.
#[derive(Debug)]
pub(crate) struct Pinger {
    ping: Ping,
    destination: IpAddr,
    ident: u16,
    interval: Duration,
    size: usize,
    left: u64,
    next_at: Instant,
}

impl Pinger {
    pub(crate) fn new(
        now: Instant,
        destination: IpAddr,
        ident: u16,
        count: u64,
        interval: Duration,
        size: usize,
    ) -> Self {
        let ping = Ping(Rc::default());
        Self { ping, destination, ident, interval, size: size.max(8), left: count, next_at: now }
    }

    pub(crate) fn ping(&self) -> Ping {
        self.ping.clone()
    }

    pub(crate) fn next_wake(&self) -> Option<Instant> {
        (self.left > 0 && !self.ping.report().stopped).then_some(self.next_at)
    }

    /// Sends what is due.
    pub(crate) fn wake(&mut self, now: Instant, kernel: &mut Kernel, out: &mut Outbox) {
        while self.next_wake().is_some_and(|at| at <= now) {
            self.next_at += self.interval.max(Duration::from_micros(1));
            self.left -= 1;
            let Some(source) = kernel.source_for(self.destination) else { continue };
            let number = self.ping.report().sent;
            {
                let mut report = self.ping.0.borrow_mut();
                report.sent += 1;
                report.waiting.insert(number, now);
            }
            let (protocol, kind) = if source.is_ipv4() { (ICMP, 8) } else { (ICMPV6, 128) };
            let rest = u32::from(self.ident) << 16 | u32::try_from(number & 0xffff).unwrap_or(0);
            let request = build_icmp(source, self.destination, kind, 0, rest, &self.data(number));
            kernel.originate((source, self.destination), protocol, 0, &request, out);
        }
    }

    /// Takes an answer or an error; false when it belongs to somebody else.
    pub(crate) fn take(&mut self, now: Instant, header: &Header, packet: &[u8]) -> bool {
        match Icmp::read(header, packet) {
            Some(Icmp::EchoReply(rest, data)) if rest >> 16 == u32::from(self.ident) => {
                self.answer(now, header.source, data);
                true
            }
            Some(Icmp::Unreachable(quoted)) => {
                let at = if header.source.is_ipv4() { 16..20 } else { 24..40 };
                let destination = match self.destination {
                    IpAddr::V4(address) => address.octets().to_vec(),
                    IpAddr::V6(address) => address.octets().to_vec(),
                };
                let ours = quoted.get(at).is_some_and(|quoted| quoted == destination);
                self.ping.0.borrow_mut().unreachable += u64::from(ours);
                ours
            }
            _ => false,
        }
    }

    fn answer(&mut self, now: Instant, from: IpAddr, data: &[u8]) {
        let number = data.first_chunk().map_or(u64::MAX, |number| u64::from_be_bytes(*number));
        let expected = from == self.destination && data == self.data(number);
        let mut report = self.ping.0.borrow_mut();
        if !expected || number >= report.sent {
            report.strangers += 1;
        } else if let Some(sent_at) = report.waiting.remove(&number) {
            let took = now.since(sent_at);
            report.answers += 1;
            report.fastest = Some(report.fastest.map_or(took, |fastest| fastest.min(took)));
            report.slowest = Some(report.slowest.map_or(took, |slowest| slowest.max(took)));
            report.last_answer = Some(now);
        } else {
            report.duplicates += 1;
        }
    }

    /// What the request of this number carries.
    fn data(&self, number: u64) -> Vec<u8> {
        let filling = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let mut data = number.to_be_bytes().to_vec();
        data.extend(filling.iter().cycle().take(self.size - 8));
        data
    }
}
