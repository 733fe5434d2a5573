//! Pings that the gateway sends into its tunnels and by its packet ports itself, one echo request a second each.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use base::{Buffer, Duration, Instant, Random};

use crate::echo;

/// Time between two echo requests of one ping.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long an answer may take; long enough for the tunnel to come up first.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to ping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    /// The host.
    pub destination: IpAddr,
    /// The address to ask from; `None`: the tunnel's originator address, or the packet port's own.
    pub source: Option<IpAddr>,
    /// Echo requests to send, 1 or more.
    pub count: u16,
    /// Bytes of data in each.
    pub length: usize,
}

/// A ping that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PingId(u64);

/// What became of a ping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PingEvent {
    /// It begins.
    Begun {
        /// From where.
        source: IpAddr,
    },
    /// An answer.
    Reply {
        /// Which request it answers, from 0.
        sequence: u16,
        /// Between request and answer.
        time: Duration,
        /// Time to live of the answer.
        ttl: u8,
    },
    /// No answer in time.
    Lost {
        /// Which request, from 0.
        sequence: u16,
    },
    /// It is over.
    Done {
        /// Requests sent.
        sent: u16,
        /// Answers.
        received: u16,
        /// Mean time of the answers.
        average: Option<Duration>,
    },
}

/// Why there is nothing to ping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PingRefused {
    /// No route leads to the host.
    NoRoute,
    /// The address is the gateway's own.
    OwnAddress,
    /// The route leads to this interface, whose packets belong to the host's kernel.
    KernelOwned(String),
    /// The route leads to this packet port, which has no address of that family to ask from.
    NoAddress(String),
    /// The address to ask from is none of the gateway's.
    NotOwn(IpAddr),
    /// This tunnel has no address of the gateway's to ask from.
    NoOriginator(String),
    /// The address to ask from is none that the tunnel carries.
    SourceOutside {
        /// The tunnel.
        tunnel: String,
        /// What it carries on our side.
        carries: String,
    },
}

impl fmt::Display for PingRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute => f.write_str("no route leads there: see 'routes -all'"),
            Self::OwnAddress => f.write_str("the address is the gateway's own"),
            Self::KernelOwned(interface) => write!(
                f,
                "the route leads to interface {interface}, which the host's kernel owns: use the host's own ping"
            ),
            Self::NoAddress(interface) => {
                write!(f, "the route leads to interface {interface}, which has no address to ask from: give it one")
            }
            Self::NotOwn(source) => {
                write!(f, "{source} is no address of this gateway: give one of its own as -srcip, or leave it out")
            }
            Self::SourceOutside { tunnel, carries } => {
                write!(f, "tunnel {tunnel} carries {carries} on this side: give an address of that as -srcip")
            }
            Self::NoOriginator(tunnel) => write!(
                f,
                "tunnel {tunnel} has no address of the gateway's to ask from: give -srcip, or set OriginatorIPType=Manual \
                 and OriginatorIP on the tunnel"
            ),
        }
    }
}

#[derive(Debug)]
struct Run {
    ping: Ping,
    source: IpAddr,
    identifier: u16,
    next: Option<(Instant, u16)>,
    waiting: BTreeMap<u16, Instant>,
    received: u16,
    total: Duration,
}

impl Run {
    fn sent(&self) -> u16 {
        self.next.map_or(self.ping.count, |(_, sequence)| sequence)
    }

    fn deadline(&self) -> Option<Instant> {
        let patience = self.waiting.values().min().map(|sent| *sent + PATIENCE);
        self.next.map(|(at, _)| at).into_iter().chain(patience).min()
    }
}

/// All pings that run.
#[derive(Debug)]
pub(crate) struct Pings {
    random: Random,
    runs: BTreeMap<PingId, Run>,
    last: u64,
    events: Vec<(PingId, PingEvent)>,
}

impl Pings {
    pub(crate) fn new(random: Random) -> Self {
        Self { random, runs: BTreeMap::new(), last: 0, events: Vec::new() }
    }

    pub(crate) fn begin(&mut self, now: Instant, ping: Ping, source: IpAddr) -> PingId {
        self.last += 1;
        let id = PingId(self.last);
        let identifier = u16::try_from(self.random.below(0x1_0000)).unwrap_or(0);
        self.events.push((id, PingEvent::Begun { source }));
        let next = Some((now, 0));
        let run = Run { ping, source, identifier, next, waiting: BTreeMap::new(), received: 0, total: Duration::ZERO };
        self.runs.insert(id, run);
        id
    }

    pub(crate) fn stop(&mut self, id: PingId) {
        if let Some(run) = self.runs.get_mut(&id) {
            run.ping.count = run.sent();
            run.next = None;
            run.waiting.clear();
            self.finish(id);
        }
    }

    pub(crate) fn take_events(&mut self) -> Vec<(PingId, PingEvent)> {
        std::mem::take(&mut self.events)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.runs.values().filter_map(Run::deadline).min()
    }

    /// The next echo request that is due; also gives up on answers that are overdue.
    pub(crate) fn next_packet(&mut self, now: Instant) -> Option<Buffer> {
        let overdue: Vec<PingId> =
            self.runs.iter().filter(|(_, run)| run.deadline().is_some_and(|at| at <= now)).map(|(id, _)| *id).collect();
        for id in overdue {
            self.give_up(now, id);
            if let Some(packet) = self.request(now, id) {
                return Some(packet);
            }
            self.finish(id);
        }
        None
    }

    fn give_up(&mut self, now: Instant, id: PingId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let events = &mut self.events;
        run.waiting.retain(|sequence, sent| {
            let patient = now < *sent + PATIENCE;
            if !patient {
                events.push((id, PingEvent::Lost { sequence: *sequence }));
            }
            patient
        });
    }

    fn request(&mut self, now: Instant, id: PingId) -> Option<Buffer> {
        let run = self.runs.get_mut(&id)?;
        let (_, sequence) = run.next.filter(|(at, _)| *at <= now)?;
        let following = sequence + 1;
        run.next = (following < run.ping.count).then_some((now + INTERVAL, following));
        run.waiting.insert(sequence, now);
        echo::request(run.source, run.ping.destination, run.identifier, sequence, run.ping.length)
    }

    fn finish(&mut self, id: PingId) {
        let Some(run) = self.runs.get(&id).filter(|run| run.next.is_none() && run.waiting.is_empty()) else { return };
        let average = (run.received > 0).then(|| run.total / u32::from(run.received));
        self.events.push((id, PingEvent::Done { sent: run.sent(), received: run.received, average }));
        self.runs.remove(&id);
    }

    /// Takes a packet for the gateway. True when it was an answer that a ping waits for.
    pub(crate) fn receive(&mut self, now: Instant, packet: &[u8]) -> bool {
        let Some(reply) = echo::reply(packet) else { return false };
        let found = self
            .runs
            .iter_mut()
            .find(|(_, run)| run.identifier == reply.identifier && run.ping.destination == reply.source);
        let Some((&id, run)) = found else { return false };
        if let Some(sent) = run.waiting.remove(&reply.sequence) {
            let time = now.since(sent);
            run.received += 1;
            run.total += time;
            self.events.push((id, PingEvent::Reply { sequence: reply.sequence, time, ttl: reply.ttl }));
            self.finish(id);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    fn ping(count: u16) -> Ping {
        Ping { destination: "192.168.11.10".parse().unwrap(), source: None, count, length: 32 }
    }

    /// What the pinged host would send back.
    fn answer(request: &Buffer) -> Vec<u8> {
        let mut packet = request.bytes().to_vec();
        let (source, destination) = (packet[12..16].to_vec(), packet[16..20].to_vec());
        packet[12..16].copy_from_slice(&destination);
        packet[16..20].copy_from_slice(&source);
        packet[20] = 0;
        packet[22..24].fill(0);
        let sum = wire::checksum::of(&packet[20..]);
        packet[22..24].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    #[test]
    fn a_ping_asks_once_a_second_and_tells_of_answers_and_losses() {
        let mut pings = Pings::new(Random::numbered(1));
        let id = pings.begin(at(0), ping(2), "172.16.1.1".parse().unwrap());
        let first = pings.next_packet(at(0)).unwrap();
        assert!(pings.next_packet(at(0)).is_none());
        assert!(pings.receive(at(20), &answer(&first)));
        assert!(pings.next_packet(at(999)).is_none());
        assert!(pings.next_packet(at(1_000)).is_some());
        assert_eq!(pings.next_deadline(), Some(at(11_000)));
        assert!(pings.next_packet(at(11_000)).is_none());
        let source = "172.16.1.1".parse().unwrap();
        let time = Duration::from_millis(20);
        assert_eq!(
            pings.take_events(),
            [
                (id, PingEvent::Begun { source }),
                (id, PingEvent::Reply { sequence: 0, time, ttl: 64 }),
                (id, PingEvent::Lost { sequence: 1 }),
                (id, PingEvent::Done { sent: 2, received: 1, average: Some(time) }),
            ]
        );
        assert_eq!(pings.next_deadline(), None);
    }

    #[test]
    fn a_stranger_s_answer_is_left_to_the_host() {
        let mut pings = Pings::new(Random::numbered(1));
        pings.begin(at(0), ping(1), "172.16.1.1".parse().unwrap());
        let mut packet = answer(&pings.next_packet(at(0)).unwrap());
        packet[24] ^= 1;
        packet[22] ^= 1;
        assert!(!pings.receive(at(20), &packet));
    }

    #[test]
    fn a_ping_that_is_stopped_tells_the_result_so_far() {
        let mut pings = Pings::new(Random::numbered(1));
        let id = pings.begin(at(0), ping(100), "172.16.1.1".parse().unwrap());
        pings.next_packet(at(0)).unwrap();
        pings.stop(id);
        assert_eq!(pings.take_events().last(), Some(&(id, PingEvent::Done { sent: 1, received: 0, average: None })));
    }
}
