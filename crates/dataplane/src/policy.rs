//! What the packet path is told: interfaces, routes, rules. Immutable; a new one replaces the old whole.

use std::net::IpAddr;
use std::sync::Arc;

use base::{Duration, IpRange, Severity};
use ipnet::IpNet;

use crate::nat::translation::{DestinationTranslation, SourceTranslation};

/// An interface, the same one for as long as the administrator keeps it: flows survive a new configuration by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub u32);

/// The gateway itself: what it sends, and what is for one of its addresses.
pub const CORE: InterfaceId = InterfaceId(0);

/// A routing table, the same one for as long as the administrator keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u32);

/// The routing table `main`.
pub const MAIN: TableId = TableId(0);

/// Everything that decides about packets.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// All interfaces, `core` among them.
    pub interfaces: Vec<Interface>,
    /// The routing tables, [`MAIN`] first. Core routes (to [`CORE`]) are the gateway's own addresses.
    pub tables: Vec<RoutingTable>,
    /// Which table a connection is routed by, in the administrator's order; the first match decides. Without a match it
    /// is the table of the receiving interface, and without one of its own [`MAIN`].
    pub routing_rules: Vec<RoutingRule>,
    /// The access rules in the administrator's order; the first match decides, and without a match the route back to the
    /// source must lead to the receiving interface.
    pub access: Vec<AccessRule>,
    /// The IP rule set in the administrator's order; the first match decides, no match drops.
    pub rules: Vec<Rule>,
    /// Bounds, time-outs and switches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Connections at most, of all shards together.
    pub connections_max: usize,
    /// What happens to a new connection beyond that.
    pub when_full: WhenFull,
    /// TCP before the handshake is complete.
    pub tcp_opening: Duration,
    /// TCP established.
    pub tcp_established: Duration,
    /// TCP after a FIN or RST.
    pub tcp_closing: Duration,
    /// UDP.
    pub udp: Duration,
    /// Answers keep a UDP connection alive too, not only packets of whoever opened it.
    pub udp_both_ways: bool,
    /// ICMP echo.
    pub ping: Duration,
    /// IGMP.
    pub igmp: Duration,
    /// Everything else.
    pub other: Duration,
    /// Largest TCP MSS of connections that use no tunnel.
    pub mss_max: u16,
    /// Largest TCP MSS through a tunnel; the tunnel's own MTU may demand less.
    pub mss_vpn_max: u16,
    /// Lower the MSS to what the interfaces on the way take, too.
    pub mss_auto: bool,
    /// DF is taken off IPv4 packets up to this length, bytes; 0: never.
    pub strip_df_max: u16,
    /// IKE and ESP for the gateway itself go past the rule set.
    pub ipsec_before_rules: bool,
    /// Packets that wait for one tunnel to come up.
    pub waiting_per_tunnel_max: usize,
    /// How long a packet waits for its tunnel.
    pub waiting_time: Duration,
}

/// What happens to a new connection when the table is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It is dropped.
    Drop,
    /// The connection that has been idle longest goes, silently.
    Replace,
    /// The connection that has been idle longest goes, and the log says so.
    #[default]
    ReplaceLog,
}

impl Policy {
    /// A policy with one routing table, without rules: nothing but access checks, routes, and the default rule.
    pub fn new(interfaces: Vec<Interface>, routes: Vec<Route>) -> Self {
        let main = RoutingTable { id: MAIN, name: "main".into(), ordering: Ordering::Default, routes };
        Self {
            interfaces,
            tables: vec![main],
            routing_rules: Vec::new(),
            access: Vec::new(),
            rules: Vec::new(),
            settings: Settings::default(),
        }
    }

    /// The routes of [`MAIN`].
    pub fn main_routes(&self) -> &[Route] {
        self.tables.first().map_or(&[], |table| &table.routes)
    }
}

impl Interface {
    /// An interface in [`MAIN`] without addresses.
    pub fn new(id: InterfaceId, name: &str, kind: InterfaceKind) -> Self {
        Self { id, name: name.into(), kind, addresses: Vec::new(), mtu: 1500, table: None, equivalents: Vec::new() }
    }
}

impl TunnelPath {
    /// A tunnel with the product's defaults.
    pub fn between(local_networks: Vec<IpRange>, remote_networks: Vec<IpRange>) -> Self {
        Self {
            plaintext_mtu: 1420,
            outer_ds: None,
            local_networks,
            remote_networks,
            originator: Vec::new(),
            sa_per: SaPer::Net,
            outer_table: MAIN,
        }
    }
}

impl Route {
    /// A route to the destination itself.
    pub fn new(network: IpNet, interface: InterfaceId, metric: u32) -> Self {
        Self { network, interface, gateway: None, local_ip: None, metric }
    }
}

impl Rule {
    /// A rule for everything, which logs nothing.
    pub fn new(name: &str, action: RuleAction) -> Self {
        Self {
            name: name.into(),
            source_interfaces: None,
            source_networks: vec![IpRange::ALL_V4, IpRange::ALL_V6],
            destination_interfaces: None,
            destination_networks: vec![IpRange::ALL_V4, IpRange::ALL_V6],
            services: vec![Service::All],
            action,
            source: SourceTranslation::None,
            destination: DestinationTranslation::None,
            timeouts: ServiceTimeouts::default(),
            log: None,
        }
    }
}

impl Default for Settings {
    /// The product's defaults.
    fn default() -> Self {
        Self {
            connections_max: 262_144,
            when_full: WhenFull::ReplaceLog,
            tcp_opening: Duration::from_secs(60),
            tcp_established: Duration::from_secs(262_144),
            tcp_closing: Duration::from_secs(80),
            udp: Duration::from_secs(130),
            udp_both_ways: false,
            ping: Duration::from_secs(8),
            igmp: Duration::from_secs(12),
            other: Duration::from_secs(130),
            mss_max: 1460,
            mss_vpn_max: 1400,
            mss_auto: true,
            strip_df_max: 65_535,
            ipsec_before_rules: true,
            waiting_per_tunnel_max: 64,
            waiting_time: Duration::from_secs(15),
        }
    }
}
