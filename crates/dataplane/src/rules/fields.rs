//! The fields of a packet that rules have conditions for, compiled one by one.

use std::net::IpAddr;

use base::IpRange;
use wire::ip;

use super::sets::{ENTRIES_MAX, Set, Sets};
use super::steps::{Lists, Ranges, Steps, Value, in_order};
use super::{Conditions, Question};
use crate::{InterfaceId, Service};

/// All fields.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    sets: Sets,
    /// The rule of each entry.
    rules: Vec<u32>,
    source_interfaces: Steps<u32, 16>,
    destination_interfaces: Steps<u32, 16>,
    sources: Addresses,
    destinations: Addresses,
    /// By [`Kind`].
    ports: [Ports; KINDS],
}

/// Addresses of both families.
#[derive(Clone, Debug)]
struct Addresses {
    v4: Steps<u32, 16>,
    v6: Steps<u128, 8>,
}

/// Ports, or what a protocol has instead of a destination port.
#[derive(Clone, Debug)]
struct Ports {
    source: Steps<u16, 32>,
    destination: Steps<u16, 32>,
}

/// What kind of packet it is. TCP and UDP have ports, ICMP has types, and of all others the number is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
    Icmp,
    Icmpv6,
    Other,
}

const KINDS: usize = 5;

impl Kind {
    const NAMED: [(Self, u8); KINDS - 1] =
        [(Self::Tcp, ip::TCP), (Self::Udp, ip::UDP), (Self::Icmp, ip::ICMP), (Self::Icmpv6, ip::ICMPV6)];

    fn of(question: &Question) -> (Self, (u16, u16)) {
        match (question.protocol, question.icmp) {
            (ip::TCP, _) => (Self::Tcp, question.ports),
            (ip::UDP, _) => (Self::Udp, question.ports),
            (ip::ICMP, Some(kind)) => (Self::Icmp, (0, kind.into())),
            (ip::ICMPV6, Some(kind)) => (Self::Icmpv6, (0, kind.into())),
            (protocol, _) => (Self::Other, (0, protocol.into())),
        }
    }
}

/// A rule, or what it says of some source ports.
struct Entry<'a> {
    rule: &'a Conditions<'a>,
    /// By [`Kind`]: source ports and destination ports that are right together.
    ports: [(Ranges<u16>, Ranges<u16>); KINDS],
}

impl Fields {
    /// Compiles rules; `None` when they are beyond a bound.
    pub(super) fn new(rules: &[Conditions<'_>]) -> Option<Self> {
        let (mut entries, mut numbers) = (Vec::new(), Vec::new());
        for (number, rule) in rules.iter().enumerate() {
            entries.extend(ports_of(rule.services).into_iter().map(|ports| Entry { rule, ports }));
            if entries.len() > ENTRIES_MAX {
                return None;
            }
            numbers.resize(entries.len(), u32::try_from(number).ok()?);
        }
        let mut sets = Sets::new(entries.len())?;
        let sets_of = &mut sets;
        let fields = Self {
            source_interfaces: steps(&entries, sets_of, |entry| interfaces(entry.rule.source_interfaces))?,
            destination_interfaces: steps(&entries, sets_of, |entry| interfaces(entry.rule.destination_interfaces))?,
            sources: Addresses::new(&entries, sets_of, |entry| entry.rule.source_networks)?,
            destinations: Addresses::new(&entries, sets_of, |entry| entry.rule.destination_networks)?,
            ports: [
                Ports::new(&entries, sets_of, Kind::Tcp)?,
                Ports::new(&entries, sets_of, Kind::Udp)?,
                Ports::new(&entries, sets_of, Kind::Icmp)?,
                Ports::new(&entries, sets_of, Kind::Icmpv6)?,
                Ports::new(&entries, sets_of, Kind::Other)?,
            ],
            rules: numbers,
            sets,
        };
        Some(fields)
    }

    /// The first rule that matches.
    pub(super) fn first_match(&self, question: &Question) -> Option<usize> {
        let (kind, (from, to)) = Kind::of(question);
        let ports = self.ports.get(kind as usize)?;
        let entry = self.sets.first_in_all([
            self.destinations.find(question.destination),
            self.sources.find(question.source),
            ports.destination.find(to),
            ports.source.find(from),
            self.source_interfaces.find(question.source_interface.0),
            self.destination_interfaces.find(question.destination_interface.0),
        ])?;
        self.rules.get(entry).map(|rule| *rule as usize)
    }
}

impl Addresses {
    fn new<'a>(entries: &[Entry<'a>], sets: &mut Sets, of: impl Fn(&Entry<'a>) -> &'a [IpRange]) -> Option<Self> {
        Some(Self {
            v4: steps(entries, sets, |entry| {
                in_order(of(entry).iter().filter_map(|range| match (range.first(), range.last()) {
                    (IpAddr::V4(first), IpAddr::V4(last)) => Some((first.to_bits(), last.to_bits())),
                    _ => None,
                }))
            })?,
            v6: steps(entries, sets, |entry| {
                in_order(of(entry).iter().filter_map(|range| match (range.first(), range.last()) {
                    (IpAddr::V6(first), IpAddr::V6(last)) => Some((first.to_bits(), last.to_bits())),
                    _ => None,
                }))
            })?,
        })
    }

    fn find(&self, address: IpAddr) -> Set {
        match address {
            IpAddr::V4(address) => self.v4.find(address.to_bits()),
            IpAddr::V6(address) => self.v6.find(address.to_bits()),
        }
    }
}

impl Ports {
    fn new(entries: &[Entry<'_>], sets: &mut Sets, kind: Kind) -> Option<Self> {
        let of = |entry: &Entry<'_>| entry.ports.get(kind as usize).cloned().unwrap_or_default();
        Some(Self {
            source: steps(entries, sets, |entry| of(entry).0)?,
            destination: steps(entries, sets, |entry| of(entry).1)?,
        })
    }
}

fn steps<'a, K: Value, const B: usize>(
    entries: &[Entry<'a>],
    sets: &mut Sets,
    of: impl Fn(&Entry<'a>) -> Ranges<K>,
) -> Option<Steps<K, B>> {
    let mut lists = Lists::new();
    for (number, entry) in entries.iter().enumerate() {
        lists.entry(of(entry)).or_insert_with(Vec::new).push(number);
    }
    Steps::new(&lists, sets)
}

fn interfaces(interfaces: Option<&[InterfaceId]>) -> Ranges<u32> {
    match interfaces {
        None => all(),
        Some(interfaces) => in_order(interfaces.iter().map(|interface| (interface.0, interface.0))),
    }
}

fn all<K: Value>() -> Ranges<K> {
    vec![(K::FIRST, K::LAST)]
}

/// What a rule's services ask for: as many times for each kind of packet as there are different source ports.
fn ports_of(services: &[Service]) -> Vec<[(Ranges<u16>, Ranges<u16>); KINDS]> {
    let mut asked: [Vec<(Ranges<u16>, Ranges<u16>)>; KINDS] = Default::default();
    let mut ask = |kind: Kind, from: Ranges<u16>, to: &mut dyn Iterator<Item = (u16, u16)>| {
        let Some(asked) = asked.get_mut(kind as usize) else { return };
        match asked.iter_mut().find(|(other, _)| *other == from) {
            Some((_, before)) => before.extend(to),
            None => asked.push((from, to.collect())),
        }
    };
    let ends = |range: &std::ops::RangeInclusive<u16>| (*range.start(), *range.end());
    for service in services {
        match service {
            Service::All => {
                for kind in [Kind::Tcp, Kind::Udp, Kind::Icmp, Kind::Icmpv6, Kind::Other] {
                    ask(kind, all(), &mut all().into_iter());
                }
            }
            Service::Protocol(numbers) => {
                for (kind, number) in Kind::NAMED {
                    if numbers.contains(&number) {
                        ask(kind, all(), &mut all().into_iter());
                    }
                }
                let range = (u16::from(*numbers.start()), u16::from(*numbers.end()));
                ask(Kind::Other, all(), &mut std::iter::once(range));
            }
            Service::Ports { protocol, source, destination } => {
                let kind = if *protocol == ip::TCP { Kind::Tcp } else { Kind::Udp };
                if matches!(*protocol, ip::TCP | ip::UDP) {
                    ask(kind, in_order(source.iter().map(ends)), &mut destination.iter().map(ends));
                }
            }
            Service::Icmp { protocol, types } => {
                let kind = if *protocol == ip::ICMP { Kind::Icmp } else { Kind::Icmpv6 };
                if !matches!(*protocol, ip::ICMP | ip::ICMPV6) {
                } else if types.is_empty() {
                    ask(kind, all(), &mut all().into_iter());
                } else {
                    ask(kind, all(), &mut types.iter().map(|kind| (u16::from(*kind), u16::from(*kind))));
                }
            }
        }
    }
    let count = asked.iter().map(Vec::len).max().unwrap_or(0);
    let mut asked = asked.map(Vec::into_iter);
    // Where nothing is asked of a kind no destination is right; so that most rules agree, every source is.
    let mut next = || asked.each_mut().map(|asked| asked.next().unwrap_or_else(|| (all(), Vec::new())));
    (0..count).map(|_| next()).map(|kinds| kinds.map(|(from, to)| (from, in_order(to)))).collect()
}
