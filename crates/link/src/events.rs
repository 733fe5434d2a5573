//! What the layer writes into the log.

base::events! {
    /// Another station uses an address of this gateway, which says so again to the whole network, once in ten seconds. Find
    /// the station by its hardware address and give it another address.
    AddressConflict = 00_300_001 rev 1, Warning, ARP, "address_conflict", action "defend" {
        iface: String, ip: std::net::IpAddr, hwsender: String,
    }

    /// Before it uses an address the gateway asks whether somebody has it, and somebody does: the address is not used on
    /// this interface. Give one of the two another address; it is tried again when the link comes up or the configuration
    /// changes.
    DuplicateAddress = 00_300_002 rev 1, Error, ARP, "duplicate_address", action "address_not_used" {
        iface: String, ip: std::net::IpAddr, hwsender: String,
    }

    /// A neighbour has another hardware address than before. Normal when a machine or its network card was replaced or a
    /// cluster changed its active node; otherwise somebody may be pretending to be the neighbour.
    HardwareAddressChanged = 00_300_003 rev 1, Notice, ARP, "hwaddr_changed", action "accept" {
        iface: String, ip: std::net::IpAddr, knownhw: String, newhw: String,
    }

    /// A neighbour whose hardware address is configured claims another one, which is not believed. Correct the configured
    /// one if the machine was replaced; otherwise somebody is pretending to be the neighbour.
    StaticNeighborMismatch = 00_300_004 rev 1, Warning, ARP, "static_neighbor_mismatch", action "drop" {
        iface: String, ip: std::net::IpAddr, knownhw: String, newhw: String,
    }

    /// A neighbour did not answer. Packets for it are refused; it is asked again with the next one.
    NeighborUnreachable = 00_300_005 rev 1, Notice, ARP, "neighbor_unreachable", action "none" {
        iface: String, ip: std::net::IpAddr,
    }

    /// There are as many neighbours on an interface as may be; the one unheard of for longest was forgotten. Somebody may be
    /// scanning the network, or it is larger than the limit.
    NeighborTableFull = 00_300_006 rev 1, Warning, ARP, "neighbor_table_full", action "replace" {
        iface: String, limit: usize,
    }

    /// A DHCP server has given an address to an interface, or has prolonged it.
    DhcpLease = 00_700_001 rev 1, Notice, DHCPCLIENT, "lease_acquired", action "none" {
        iface: String, ip: std::net::Ipv4Addr, prefix: u8, gateway: String, dhcp_server: std::net::Ipv4Addr, lease_time: String,
    }

    /// An interface has lost the address that it had by DHCP: the lease ended, or the server wants it back. It has no
    /// address until a server gives one. If that takes long, see whether the server can be reached.
    DhcpLeaseLost = 00_700_002 rev 1, Warning, DHCPCLIENT, "lease_lost", action "address_removed" {
        iface: String, ip: std::net::Ipv4Addr, reason: String,
    }

    /// No DHCP server has answered; the interface goes on asking. See whether a server is on that network, and whether it
    /// has addresses left.
    DhcpNoServer = 00_700_003 rev 1, Warning, DHCPCLIENT, "no_server", action "retry" {
        iface: String, tries: u32,
    }

    /// A DHCP server gave an address that another station uses; it was declined and another one asked for. Somebody has
    /// an address of the server's range by hand.
    DhcpDeclined = 00_700_004 rev 1, Warning, DHCPCLIENT, "address_in_use", action "decline" {
        iface: String, ip: std::net::Ipv4Addr, hwsender: String, dhcp_server: std::net::Ipv4Addr,
    }

    /// A DHCP server has refused an address that the interface had or asked for. It asks for another one.
    DhcpRefused = 00_700_005 rev 1, Notice, DHCPCLIENT, "request_refused", action "restart" {
        iface: String, ip: std::net::Ipv4Addr, dhcp_server: String,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_belong_to_their_categories() {
        let ids: BTreeSet<_> = EVENTS.iter().map(|meta| meta.id).collect();
        assert_eq!(ids.len(), EVENTS.len());
        for meta in EVENTS {
            let category = if meta.category == "ARP" { 3 } else { 7 };
            assert_eq!(meta.id / 100_000, category, "{}", meta.name);
            assert!(meta.help.trim_end().ends_with('.'));
        }
    }
}
