//! Rules by order: of access rules, routing rules and the IP rule set the first that matches decides.
//!
//! A list of rules is compiled, so that the search costs hardly more with ten thousand rules than with ten:
//!
//! * What a rule asks for is one condition for each field of a packet: interfaces, addresses, and ports or whatever the
//!   protocol has instead. A rule whose services ask for different source ports becomes an entry for each of these.
//! * All values of a field are cut into steps where the set of entries changes whose condition is met (`steps.rs`). A
//!   packet is in one step of each field, which a shallow search tree finds.
//! * The first entry that is in the sets of all fields is the answer. Sets are bitmaps in blocks of 512 entries; a word for
//!   each says which blocks are not empty (`sets.rs`). Blocks that some field has empty are never looked at, and neither
//!   are fields that let everything through.
//!
//! So ten thousand rules are at worst 20 blocks of a cache line for each field, and for rules between hosts one or two, of
//! which a word is looked at. Of a set only words that are not empty are kept, and the blocks that it does not share with the
//! set before it; the same set is kept once. So memory grows with the steps: some 30 bytes for a host that one rule names, a
//! few megabytes for ten thousand rules, 20 when each has thirty ports of its own.
//!
//! Both are bounded whatever the rules are: 32,768 entries, 64 MiB of sets, 16 million blocks looked at or changed while they
//! are made (`sets.rs`). Where a list is beyond that, its first half is compiled, or the half of this, and so on; what is
//! behind is searched one by one.

use std::net::IpAddr;

use base::IpRange;
use wire::icmp::Class;
use wire::ip;

use crate::inspect::{Seen, Transport};
use crate::{AccessAction, AccessRule, InterfaceId, RoutingRule, Rule, Service};

mod fields;
mod sets;
mod steps;

use fields::Fields;

/// What decides whether a rule is for a packet: all of these at once.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// Where it comes in; `None`: anywhere.
    pub source_interfaces: Option<&'a [InterfaceId]>,
    /// Where it comes from.
    pub source_networks: &'a [IpRange],
    /// Where it goes out; `None`: anywhere.
    pub destination_interfaces: Option<&'a [InterfaceId]>,
    /// Where it goes to.
    pub destination_networks: &'a [IpRange],
    /// What it is.
    pub services: &'a [Service],
}

/// What has conditions.
pub trait Conditional {
    /// When it is for a packet.
    fn conditions(&self) -> Conditions<'_>;
}

impl Conditional for Rule {
    fn conditions(&self) -> Conditions<'_> {
        Conditions {
            source_interfaces: self.source_interfaces.as_deref(),
            source_networks: &self.source_networks,
            destination_interfaces: self.destination_interfaces.as_deref(),
            destination_networks: &self.destination_networks,
            services: &self.services,
        }
    }
}

impl Conditional for RoutingRule {
    fn conditions(&self) -> Conditions<'_> {
        Conditions {
            source_interfaces: self.source_interfaces.as_deref(),
            source_networks: &self.source_networks,
            destination_interfaces: self.destination_interfaces.as_deref(),
            destination_networks: &self.destination_networks,
            services: &self.services,
        }
    }
}

impl Conditional for AccessRule {
    /// Only where a packet comes from counts; a rule that expects addresses by an interface also speaks of those that come
    /// by another.
    fn conditions(&self) -> Conditions<'_> {
        let anywhere = self.action == AccessAction::Expect;
        Conditions {
            source_interfaces: if anywhere { None } else { self.interfaces.as_deref() },
            source_networks: &self.networks,
            destination_interfaces: None,
            destination_networks: &[IpRange::ALL_V4, IpRange::ALL_V6],
            services: &[Service::All],
        }
    }
}

impl Conditions<'_> {
    /// True when all of them hold.
    pub fn hold(&self, question: &Question) -> bool {
        among(self.source_interfaces, question.source_interface)
            && among(self.destination_interfaces, question.destination_interface)
            && self.source_networks.iter().any(|range| range.contains(question.source))
            && self.destination_networks.iter().any(|range| range.contains(question.destination))
            && self.services.iter().any(|service| is_for(service, question))
    }
}

fn among(interfaces: Option<&[InterfaceId]>, interface: InterfaceId) -> bool {
    interfaces.is_none_or(|interfaces| interfaces.contains(&interface))
}

fn is_for(service: &Service, question: &Question) -> bool {
    match service {
        Service::All => true,
        Service::Protocol(numbers) => numbers.contains(&question.protocol),
        Service::Ports { protocol, source, destination } => {
            *protocol == question.protocol
                && matches!(*protocol, ip::TCP | ip::UDP)
                && source.iter().any(|range| range.contains(&question.ports.0))
                && destination.iter().any(|range| range.contains(&question.ports.1))
        }
        Service::Icmp { protocol, types } => {
            *protocol == question.protocol
                && matches!(*protocol, ip::ICMP | ip::ICMPV6)
                && question.icmp.is_some_and(|kind| types.is_empty() || types.contains(&kind))
        }
    }
}

/// What rules are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where the packet comes in.
    pub source_interface: InterfaceId,
    /// Where it goes out; of no meaning to access rules.
    pub destination_interface: InterfaceId,
    /// Its source.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// Its protocol.
    pub protocol: u8,
    /// Source and destination port of TCP and UDP.
    pub ports: (u16, u16),
    /// Message type of ICMP in IPv4 and of ICMPv6 in IPv6.
    pub icmp: Option<u8>,
}

impl Question {
    /// What rules are asked about a packet on its way between two interfaces.
    pub(crate) fn of(seen: &Seen, source: InterfaceId, destination: InterfaceId) -> Self {
        let (ports, icmp) = match &seen.transport {
            Transport::Tcp(tcp) => ((tcp.source, tcp.destination), None),
            Transport::Udp(udp) => ((udp.source, udp.destination), None),
            Transport::Icmp(icmp) => ((0, 0), Some(icmp.kind)),
            Transport::Other => ((0, 0), None),
        };
        Self {
            source_interface: source,
            destination_interface: destination,
            source: seen.ip.source,
            destination: seen.ip.destination,
            protocol: seen.ip.protocol,
            ports,
            icmp,
        }
    }
}

/// Finds the first rule that matches, in a time that hardly grows with their number.
#[derive(Clone, Debug)]
pub struct Classifier {
    fields: Fields,
    /// So many rules from the first on are in `fields`.
    compiled: usize,
}

impl Classifier {
    /// Compiles rules.
    pub fn new<R: Conditional>(rules: &[R]) -> Self {
        let conditions: Vec<Conditions<'_>> = rules.iter().map(Conditional::conditions).collect();
        let mut compiled = conditions.len();
        loop {
            if let Some(fields) = conditions.get(..compiled).and_then(Fields::new) {
                return Self { fields, compiled };
            }
            compiled /= 2;
        }
    }

    /// The place of the first of `rules`, the ones this has been made of, that matches.
    pub fn first_match<R: Conditional>(&self, rules: &[R], question: &Question) -> Option<usize> {
        if let Some(found) = self.fields.first_match(question) {
            return Some(found);
        }
        let behind = rules.get(self.compiled..)?;
        behind.iter().position(|rule| rule.conditions().hold(question)).map(|place| place + self.compiled)
    }
}

/// True for a packet that may be the first of a connection: not the middle of a TCP connection, not an answer.
pub(crate) fn may_open(seen: &Seen) -> bool {
    match &seen.transport {
        Transport::Tcp(tcp) => tcp.flags & (wire::tcp::SYN | wire::tcp::ACK | wire::tcp::RST) == wire::tcp::SYN,
        Transport::Icmp(icmp) => !matches!(icmp.class, Class::Reply(_) | Class::Error),
        Transport::Udp(_) | Transport::Other => true,
    }
}

#[cfg(test)]
mod tests;
