base::events! {
    /// A configuration is in use from now on. Tunnels that it does not change keep their SAs.
    ConfigurationActivated = 03_204_001 rev 1, Notice, SYSTEM, "accept_configuration", action "using_new_config" {
        tunnels: usize,
        policies: usize,
        routes: usize,
    }

    /// The gateway goes down at the operator's wish and deletes its SAs at the peers.
    ShutdownBegun = 03_202_000 rev 1, Notice, SYSTEM, "shutdown", action "shutdown" {
        ike_sas: usize,
    }

    /// A negotiated pair of SAs could not be put to use; nothing will pass through it. This is a fault of Adit: report
    /// it with the log around it. The pair is replaced at its next rekeying, or at once by `ike -delete`.
    SaNotInstalled = 01_803_980 rev 1, Error, IPSEC, "ipsec_sa_not_installed", action "none" {
        tunnel: base::Text,
        spi_in: String,
        reason: String,
    }

    /// A DHCP server has offered an address or a network that belongs to a tunnel or another interface. It is not taken: packets
    /// for that one would leave by this interface, in clear. See who answers DHCP there; should it be right, give one of the
    /// two networks another number.
    LeaseInTheWay = 03_206_030 rev 1, Error, DHCPCLIENT, "lease_in_the_way", action "lease_not_used" {
        iface: base::Text,
        address: std::net::Ipv4Addr,
        prefix: u8,
        dhcp_server: std::net::Ipv4Addr,
        other: base::Text,
    }

    /// A host name in a policy has these addresses now. Connections that no policy allows any more end.
    NameResolved = 03_206_001 rev 1, Info, SYSTEM, "dns_name_resolved", action "policies_updated" {
        name: base::Text,
        addresses: String,
    }

    /// Nothing is known of a host name in a policy: what names it matches nothing. See that the host has name servers that
    /// answer (`/etc/resolv.conf`), and that the name is written right; `dns -list` shows when it is asked for again.
    NameNotResolved = 03_206_002 rev 1, Warning, SYSTEM, "dns_name_not_resolved", action "matches_nothing" {
        name: base::Text,
        reason: base::Text,
    }

    /// The configuration has more host names than are asked for; those beyond the limit match nothing.
    NamesLeftOut = 03_206_003 rev 1, Error, SYSTEM, "dns_names_left_out", action "matches_nothing" {
        names: usize,
        limit: usize,
    }

    /// The time of a schedule has begun or is over: what has it is in force from now on, or no more.
    ScheduleChanged = 03_206_010 rev 1, Info, SYSTEM, "schedule_changed", action "policies_updated" {
        schedule: base::Text,
        state: &'static str,
    }

    /// A monitored host answers again over the interface of its route.
    HasPing = 04_100_001 rev 1, Info, RFO, "has_ping", action "none" {
        iface: base::Text,
        network: base::IpRange,
        host: std::net::IpAddr,
    }

    /// A monitored host does not answer any more, or too slowly. See whether it runs, and whether what lies between lets
    /// the polls through; `hostmon` shows the figures.
    NoPing = 04_100_002 rev 1, Warning, RFO, "no_ping", action "none" {
        iface: base::Text,
        network: base::IpRange,
        host: std::net::IpAddr,
        reason: String,
    }

    /// The gateway of a monitored route does not answer ARP or neighbour solicitations any more.
    NoArp = 04_100_006 rev 1, Warning, RFO, "no_arp", action "none" {
        iface: base::Text,
        network: base::IpRange,
        gateway: std::net::IpAddr,
    }

    /// The gateway of a monitored route answers again.
    HasArp = 04_100_007 rev 1, Info, RFO, "has_arp", action "none" {
        iface: base::Text,
        network: base::IpRange,
        gateway: std::net::IpAddr,
    }

    /// The interface of a monitored route has no link any more; a tunnel has none while it has no SAs.
    NoLink = 04_100_010 rev 1, Warning, RFO, "no_link", action "none" { iface: base::Text, network: base::IpRange }

    /// The interface of a monitored route has its link again.
    HasLink = 04_100_011 rev 1, Info, RFO, "has_link", action "none" { iface: base::Text, network: base::IpRange }

    /// A monitored route fails and is not used. The route to the same network with the next best metric takes its place,
    /// if there is one.
    RouteDisabled = 04_100_020 rev 1, Warning, RFO, "route_disabled", action "route_disabled" {
        iface: base::Text,
        network: base::IpRange,
        metric: u32,
        reason: String,
    }

    /// A monitored route that failed is well again and is used.
    RouteEnabled = 04_100_021 rev 1, Notice, RFO, "route_enabled", action "route_enabled" {
        iface: base::Text,
        network: base::IpRange,
        metric: u32,
    }

    /// SAs lead to a network to which another tunnel leads already: they get no route as long as that one has it. Two
    /// clients claim the same network, or a client has come back by another tunnel; `ipsec` shows who they are.
    ClientRouteTaken = 01_803_981 rev 1, Warning, IPSEC, "dynamic_route_conflict", action "no_route" {
        tunnel: base::Text,
        network: base::IpRange,
        holder: base::Text,
    }

    /// SAs lead to more networks than there is room for routes. They get none.
    ClientRoutesRefused = 01_803_982 rev 1, Error, IPSEC, "dynamic_routes_refused", action "no_route" {
        tunnel: base::Text,
        networks: usize,
    }

    /// A network card that the gateway owns has no link: the cable is out, or whatever it leads to is off.
    LinkDown = 03_204_010 rev 1, Warning, SYSTEM, "link_down", action "none" { iface: base::Text }

    /// A network card that the gateway owns has its link again.
    LinkUp = 03_204_011 rev 1, Notice, SYSTEM, "link_up", action "none" { iface: base::Text }
}
