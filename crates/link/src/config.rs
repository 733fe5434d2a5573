//! What the layer is told: ports, their interfaces and addresses, and for whom else it answers.

use std::net::IpAddr;

use base::IpRange;
use wire::ethernet::Mac;

/// A network card that the gateway owns at layer 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

/// An interface of the gateway: a port without tag, or one VLAN on it. The same number names it everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub u32);

/// Everything the layer decides by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The network cards.
    pub ports: Vec<Port>,
    /// Addresses beside those of the interfaces for which it answers.
    pub publish: Vec<Publish>,
    /// Networks behind the gateway for which it answers in the place of their hosts.
    pub proxy: Vec<Proxy>,
    /// Neighbours that are told and never asked for.
    pub statics: Vec<StaticNeighbor>,
    /// What is bounded.
    pub limits: Limits,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Names it.
    pub id: PortId,
    /// Its hardware address.
    pub mac: Mac,
    /// What runs on it: one without tag at most, and one for each VLAN.
    pub interfaces: Vec<LinkInterface>,
}

/// An interface on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInterface {
    /// Names it.
    pub id: InterfaceId,
    /// Its name, for the log.
    pub name: String,
    /// VLAN 1 to 4094, or none for frames without tag.
    pub vlan: Option<u16>,
    /// The gateway's addresses on it, with the length of their networks' prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
    /// It gets its IPv4 address by DHCP. Once there is a lease, `addresses` must name it.
    pub dhcp: bool,
    /// The name it calls itself in DHCP; empty for none.
    pub hostname: String,
}

/// Addresses for which an interface answers as for its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where.
    pub interface: InterfaceId,
    /// Which.
    pub range: IpRange,
    /// The hardware address they are said to have; none for the port's own.
    pub mac: Option<Mac>,
    /// Whether answers come from that hardware address as well.
    pub mode: PublishMode,
}

/// From which hardware address a published address is spoken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishMode {
    /// From the port's own: frames to the published one are not expected here.
    Publish,
    /// From the published one, and frames to it are taken.
    XPublish,
}

/// Networks behind the gateway for which an interface answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Where.
    pub interface: InterfaceId,
    /// Which.
    pub ranges: Vec<IpRange>,
}

/// A neighbour that is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticNeighbor {
    /// Where.
    pub interface: InterfaceId,
    /// Its address.
    pub address: IpAddr,
    /// Its hardware address.
    pub mac: Mac,
}

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Neighbours of one interface, those told excepted.
    pub neighbours_max: usize,
    /// Packets that wait for one neighbour; taken as 3 to 16.
    pub queue_max: usize,
    /// Packets that wait for neighbours on one interface.
    pub waiting_max: usize,
    /// Questions a second on one interface.
    pub questions_per_second: u32,
    /// Answers a second on one interface.
    pub answers_per_second: u32,
    /// Seconds after which a neighbour that nobody uses is forgotten.
    pub idle_seconds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            neighbours_max: 4096,
            queue_max: 8,
            waiting_max: 1024,
            questions_per_second: 1000,
            answers_per_second: 2000,
            idle_seconds: 900,
        }
    }
}
