//! Access rules and the IP rule set.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use base::{Duration, IpRange, Severity};

use super::{InterfaceId, Schedule};

/// One entry of the IP rule set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Position in the rule set, from 1.
    pub index: u32,
    /// Its name, or its position as text when it has none.
    pub name: String,
    /// Where the packet came from.
    pub source_interface: Interfaces,
    /// Source addresses.
    pub source_network: Networks,
    /// Where the route leads.
    pub destination_interface: Interfaces,
    /// Destination addresses.
    pub destination_network: Networks,
    /// What the packet is.
    pub service: Service,
    /// What becomes of it.
    pub action: Action,
    /// What becomes of the source address of what is allowed.
    pub source: SourceTranslation,
    /// What becomes of the destination of what is allowed.
    pub destination: DestinationTranslation,
    /// When it is in force; `None`: always.
    pub schedule: Option<Arc<Schedule>>,
    /// Severity of the log message of a connection or a drop; `None`: it is not logged.
    pub log: Option<Severity>,
}

/// Addresses that a rule is about: written out, and by host name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Written out. Empty only if there are names.
    pub ranges: Vec<IpRange>,
    /// Host names, lower case, whose addresses are found out while the configuration runs.
    pub names: Vec<String>,
}

impl Networks {
    /// All addresses, with those of the names as far as they are known. Empty: nothing fits.
    pub fn resolved(&self, names: &BTreeMap<String, Vec<IpAddr>>) -> Vec<IpRange> {
        let known = self.names.iter().filter_map(|name| names.get(name)).flatten();
        let mut ranges = self.ranges.clone();
        for range in known.map(|address| IpRange::host(*address)) {
            if !ranges.contains(&range) {
                ranges.push(range);
            }
        }
        ranges
    }
}

/// A set of interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interfaces {
    /// Every one, `core` too.
    Any,
    /// These.
    Only(Vec<InterfaceId>),
}

impl Interfaces {
    /// True when `interface` belongs to the set.
    pub fn contains(&self, interface: InterfaceId) -> bool {
        match self {
            Self::Any => true,
            Self::Only(interfaces) => interfaces.contains(&interface),
        }
    }
}

/// What a policy does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Forward, and remember the connection.
    Allow,
    /// Drop in silence.
    Drop,
    /// Drop and say so: TCP RST or ICMP unreachable.
    Reject,
    /// Forward this packet, and remember nothing.
    Stateless,
}

/// What becomes of the source of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceTranslation {
    /// It stays.
    #[default]
    None,
    /// A private IPv4 address that speaks to a public one gets that of the outgoing interface; others stay.
    Auto,
    /// That of the outgoing interface; into a tunnel its originator address.
    Interface,
    /// This one.
    Address(IpAddr),
    /// One of a pool.
    Pool(Arc<NatPool>),
    /// Every host gets an address of its own.
    Static(AddressMap),
}

/// What becomes of the destination of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DestinationTranslation {
    /// It stays.
    #[default]
    None,
    /// It becomes another one.
    Static {
        /// The new address; `None`: it stays.
        address: Option<AddressMap>,
        /// The new port; `None`: it stays.
        port: Option<PortMap>,
    },
}

/// From addresses to addresses of the same family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressMap {
    /// All become this one.
    Single(IpAddr),
    /// The n-th becomes the n-th.
    Transposed {
        /// The old addresses.
        from: IpRange,
        /// The first of the new ones.
        to_first: IpAddr,
    },
}

/// From ports to ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortMap {
    /// All become this one.
    Single(u16),
    /// The n-th becomes the n-th.
    Transposed {
        /// The first of the old ones.
        from_first: u16,
        /// The first of the new ones.
        to_first: u16,
    },
}

/// Addresses that many hosts share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatPool {
    /// Its name.
    pub name: String,
    /// The addresses, IPv4.
    pub ranges: Vec<IpRange>,
    /// How one of them is chosen.
    pub kind: NatPoolKind,
}

/// How a pool chooses the address of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatPoolKind {
    /// A host keeps its address while it has connections.
    Stateful,
    /// Each connection has the address with the fewest connections.
    Stateless,
    /// A host has always the same address.
    Fixed,
}

/// May a source address come in by an interface? The first that fits decides; what fits none must be routed back to
/// the interface it came in by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Position, from 1.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it does.
    pub action: AccessAction,
    /// Receiving interfaces.
    pub interface: Interfaces,
    /// Source addresses, never empty.
    pub network: Vec<IpRange>,
    /// Severity of the log message of a drop; `None`: it is not logged.
    pub log: Option<Severity>,
}

/// What an access rule does with a packet from its networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessAction {
    /// Received on one of its interfaces: drop it.
    Drop,
    /// Received on one of its interfaces: let it go on.
    Accept,
    /// Received on one of its interfaces: let it go on; on any other: drop it.
    Expect,
}

/// A service, groups unfolded: a packet fits when it fits one of the matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Name of the service object, for messages.
    pub name: String,
    /// The alternatives, never empty.
    pub matches: Vec<ServiceMatch>,
    /// Its own time-outs.
    pub timeouts: ServiceTimeouts,
}

/// Time-outs of a service; `None`: those of the settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceTimeouts {
    /// Before both sides have been heard.
    pub initial: Option<Duration>,
    /// Once both have.
    pub idle: Option<Duration>,
    /// While it is being closed.
    pub closing: Option<Duration>,
}

/// One kind of traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceMatch {
    /// TCP between these ports.
    Tcp {
        /// Source ports as inclusive pairs.
        source: Vec<(u16, u16)>,
        /// Destination ports as inclusive pairs.
        destination: Vec<(u16, u16)>,
    },
    /// UDP between these ports.
    Udp {
        /// Source ports as inclusive pairs.
        source: Vec<(u16, u16)>,
        /// Destination ports as inclusive pairs.
        destination: Vec<(u16, u16)>,
    },
    /// ICMP for IPv4.
    Icmp(IcmpTypes),
    /// ICMP for IPv6.
    Icmpv6(IcmpTypes),
    /// Any IP protocol whose number lies within the inclusive pair, whatever its ports. `(0, 255)` is all traffic.
    Protocol(u8, u8),
}

/// Which ICMP messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IcmpTypes {
    /// All.
    All,
    /// These types, any code.
    Only(Vec<u8>),
}
