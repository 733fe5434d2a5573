//! What a rule says of translation. Plain data: `source.rs` and `destination.rs` make addresses and ports of it.

use std::net::IpAddr;
use std::sync::Arc;

use base::IpRange;

/// What becomes of the source of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceTranslation {
    /// It stays.
    #[default]
    None,
    /// [`SourceTranslation::Interface`] where a private IPv4 address speaks to a public one; everything else stays.
    Auto,
    /// Many hosts share the address of the interface the connection leaves by; of a tunnel that is the originator
    /// address.
    Interface,
    /// Many hosts share this address.
    Address(IpAddr),
    /// Many hosts share the addresses of a pool.
    Pool(Arc<NatPool>),
    /// Every host has an address of its own, and ports stay.
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
    /// The n-th becomes the n-th. One outside of `from` stays.
    Transposed {
        /// The old addresses.
        from: IpRange,
        /// The first of the new ones; there are as many.
        to_first: IpAddr,
    },
}

/// From ports to ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortMap {
    /// All become this one.
    Single(u16),
    /// The n-th becomes the n-th. One below the first stays.
    Transposed {
        /// The first of the old ports: the service's first.
        from_first: u16,
        /// The first of the new ones.
        to_first: u16,
    },
}

/// Addresses that many hosts share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NatPool {
    /// Its name. Hosts keep their addresses over a new configuration while nothing of the pool changes.
    pub name: Arc<str>,
    /// The addresses.
    pub ranges: Vec<IpRange>,
    /// How one of them is chosen.
    pub kind: NatPoolKind,
}

/// How a pool chooses the address of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NatPoolKind {
    /// A host keeps its address while it has connections; a new host has the one that serves the fewest hosts.
    Stateful,
    /// Each connection has the address with the fewest connections.
    Stateless,
    /// A host has always the same address, by a hash of its own.
    Fixed,
}
