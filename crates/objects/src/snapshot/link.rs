//! What the gateway does at layer 2 on the network cards it owns.

use std::net::IpAddr;

use base::IpRange;

use super::{Conditions, InterfaceId, InterfaceKind, Snapshot};

/// A hardware address.
pub type Mac = [u8; 6];

/// Ports, and for whom the gateway answers on them beside itself. Proxy entries that follow from routes are in
/// [`Snapshot::proxies`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The network cards that the gateway owns.
    pub ports: Vec<LinkPort>,
    /// Addresses for which it answers as for its own.
    pub publish: Vec<Publish>,
    /// Neighbours that are told and never asked for.
    pub statics: Vec<StaticNeighbor>,
    /// Addresses of NAT pools for which it answers.
    pub pools: Vec<Proxy>,
}

/// A network card that the gateway owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkPort {
    /// The interface of frames without tag.
    pub interface: InterfaceId,
    /// Its name in the kernel.
    pub device: String,
    /// Its hardware address; `None`: the one the card has.
    pub mac: Option<Mac>,
    /// The longest packet it takes, bytes.
    pub mtu: u32,
    /// What runs on it, the interface of frames without tag first.
    pub interfaces: Vec<LinkInterface>,
}

/// An interface on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInterface {
    /// Its number.
    pub id: InterfaceId,
    /// VLAN 1 to 4094; `None`: frames without tag.
    pub vlan: Option<u16>,
    /// It asks for its IPv4 address by DHCP.
    pub dhcp: bool,
}

/// Addresses for which an interface answers as for its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where.
    pub interface: InterfaceId,
    /// Which.
    pub range: IpRange,
    /// The hardware address they are said to have; `None`: the port's own.
    pub mac: Option<Mac>,
    /// The answer's frame comes from that hardware address too (XPublish).
    pub from_it: bool,
}

/// A neighbour that is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticNeighbor {
    /// Where.
    pub interface: InterfaceId,
    /// Its address.
    pub address: IpAddr,
    /// Its hardware address.
    pub mac: Mac,
}

/// Networks behind the gateway for whose hosts an interface answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Where.
    pub interface: InterfaceId,
    /// Which.
    pub ranges: Vec<IpRange>,
}

impl Snapshot {
    /// For whom the ports answer beside the gateway: networks of the routes that hold, and NAT pools. One entry for
    /// each interface, in the order of the interfaces.
    pub fn proxies(&self, conditions: &Conditions) -> Vec<Proxy> {
        let mut proxies: Vec<Proxy> = Vec::new();
        let mut add = |interface: InterfaceId, ranges: &[IpRange]| {
            let at = proxies.iter().position(|proxy| proxy.interface == interface).unwrap_or_else(|| {
                proxies.push(Proxy { interface, ranges: Vec::new() });
                proxies.len() - 1
            });
            let Some(proxy) = proxies.get_mut(at) else { return };
            for range in ranges {
                if !proxy.ranges.contains(range) {
                    proxy.ranges.push(*range);
                }
            }
        };
        for table in &self.tables {
            for route in conditions.routes_of(table) {
                // What is on the interface itself answers for itself.
                for interface in route.proxy.iter().filter(|interface| **interface != route.interface) {
                    add(*interface, &[route.network]);
                }
            }
        }
        for pool in &self.link.pools {
            add(pool.interface, &pool.ranges);
        }
        let rank = |id: InterfaceId| self.interfaces.iter().position(|interface| interface.id == id);
        proxies.sort_by_key(|proxy| rank(proxy.interface));
        proxies
    }

    /// True for an interface that the gateway owns at layer 2.
    pub fn is_owned(&self, id: InterfaceId) -> bool {
        self.interface_by_id(id).is_some_and(|interface| match &interface.kind {
            InterfaceKind::Ethernet { owned, .. } => *owned,
            InterfaceKind::Vlan { .. } => true,
            InterfaceKind::Core | InterfaceKind::Tunnel(_) => false,
        })
    }
}
