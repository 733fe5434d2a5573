//! NATPool: addresses that many hosts share.

use schema::kind::{Addresses, Bool, References};
use schema::{choice, object};

use crate::address::Networks4;
use crate::ethernet::Links;

object! {
    /// Addresses that many hosts share when they speak to elsewhere. Policies with SourceAddressTranslation=NAT and
    /// NATSourceAddressAction=NATPool name it.
    pub struct NatPool: "NATPool" {
        columns: &["Type", "IPRange"],
        absent: &["IPPool", "MaxStates", "StateKeepTime", "PoolType", "IPPoolIPs"],
    }

    /// How an address is chosen.
    default kind as "Type": PoolType = "Stateful";
    /// The addresses.
    required range as "IPRange" or "Range": Addresses<Networks4>;
    /// Answer ARP for the addresses on every packet port.
    default proxy_all as "ProxyARPAllInterfaces": Bool = "No";
    /// Interfaces on which to answer ARP for the addresses.
    optional proxy as "ProxyARPInterfaces": References<Links>;
}

choice! {
    /// How the address of a connection is chosen from a pool.
    pub enum PoolType {
        /// A host keeps its address while it has connections; a new host has the one that serves the fewest hosts.
        Stateful = "Stateful",
        /// Each connection has the address with the fewest connections.
        Stateless = "Stateless",
        /// A host has always the same address.
        Fixed = "Fixed",
    }
}
