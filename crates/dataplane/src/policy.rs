//! What the packet path is told: interfaces, routes, rules. Immutable; a new one replaces the old whole.

use std::net::IpAddr;
use std::sync::Arc;

use base::{Duration, IpRange, Severity};
use ipnet::IpNet;

use crate::nat::{DestinationTranslation, SourceTranslation};

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
    /// Bounds and time-outs.
    pub settings: Settings,
}

/// One interface.
#[derive(Clone, Debug, PartialEq)]
pub struct Interface {
    /// Its number.
    pub id: InterfaceId,
    /// Its name, for logs and listings.
    pub name: Arc<str>,
    /// What stands behind it.
    pub kind: InterfaceKind,
    /// Own addresses, the preferred one of a family first: what is translated to the interface's address gets it. For a
    /// tunnel the originator addresses.
    pub addresses: Vec<IpAddr>,
    /// The largest IP packet that leaves through it in one piece, bytes. For a tunnel see [`TunnelPath::plaintext_mtu`].
    pub mtu: u16,
    /// The table that connections received here are routed by, when it is not [`MAIN`].
    pub table: Option<TableId>,
    /// Interfaces that are the same as this one to the access check (security equivalent).
    pub equivalents: Vec<InterfaceId>,
}

/// What stands behind an interface.
#[derive(Clone, Debug, PartialEq)]
pub enum InterfaceKind {
    /// The gateway itself.
    Core,
    /// A kernel interface behind the host port. The kernel forwards; the engine derives the receiving interface of a
    /// packet from its source address.
    Host,
    /// A NIC, or a VLAN on one, that the gateway owns at layer 2: packets come with their interface, and leave with their
    /// next hop.
    Port,
    /// A tunnel: packets need an SA.
    Tunnel(TunnelPath),
}

/// What the packet path must know of a tunnel beside its SAs.
#[derive(Clone, Debug, PartialEq)]
pub struct TunnelPath {
    /// Plaintext packets longer than this are fragmented, or refused with the ICMP error, before sealing.
    pub plaintext_mtu: u16,
    /// DiffServ byte of outer packets; `None`: copied from the inner packet.
    pub outer_ds: Option<u8>,
    /// Networks on our side: what may leave through it and what decrypted packets may be for.
    pub local_networks: Vec<IpRange>,
    /// Networks on the peer's side: where decrypted packets may come from.
    pub remote_networks: Vec<IpRange>,
    /// Our own address inside the tunnel, per family, for packets the gateway originates.
    pub originator: Vec<IpAddr>,
    /// What a pair of SAs is asked for.
    pub sa_per: SaPer,
    /// The table that outer packets are routed by on packet ports.
    pub outer_table: TableId,
}

/// What traffic shares a pair of SAs (RFC 4301 section 4.4.1.1, "populate from packet").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaPer {
    /// All between a local and a remote network.
    #[default]
    Net,
    /// All between two hosts.
    Host,
    /// All between two hosts with the same protocol and ports.
    Port,
}

/// A routing table.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingTable {
    /// Its number.
    pub id: TableId,
    /// Its name, for logs and listings.
    pub name: Arc<str>,
    /// How it goes together with [`MAIN`]; of no meaning for that itself.
    pub ordering: Ordering,
    /// Its routes.
    pub routes: Vec<Route>,
}

/// How a table goes together with the main one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ordering {
    /// The main table first; where that has nothing but a route to everywhere, this one.
    #[default]
    Default,
    /// This one first; where it has nothing, the main table.
    First,
    /// Only this one.
    Only,
}

/// Which table a connection is routed by.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingRule {
    /// Its name, for logs and listings.
    pub name: Arc<str>,
    /// Source interfaces; `None`: any.
    pub source_interfaces: Option<Vec<InterfaceId>>,
    /// Source addresses.
    pub source_networks: Vec<IpRange>,
    /// Where [`MAIN`] leads to; `None`: any.
    pub destination_interfaces: Option<Vec<InterfaceId>>,
    /// Destination addresses.
    pub destination_networks: Vec<IpRange>,
    /// What of it: one of these must match.
    pub services: Vec<Service>,
    /// The table for packets of whoever opened the connection.
    pub forward: TableId,
    /// The table for the answers, and for the access check of the opening packet.
    pub back: TableId,
}

/// One access rule: may a source address come in by an interface?
#[derive(Clone, Debug, PartialEq)]
pub struct AccessRule {
    /// Its name, for logs and listings.
    pub name: Arc<str>,
    /// What it does.
    pub action: AccessAction,
    /// Receiving interfaces; `None`: any.
    pub interfaces: Option<Vec<InterfaceId>>,
    /// Source addresses.
    pub networks: Vec<IpRange>,
    /// Write drops to the log at this severity; `None`: silent.
    pub log: Option<Severity>,
}

/// What an access rule does with a packet whose source lies in its networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessAction {
    /// Received on one of the interfaces: drop it.
    Drop,
    /// Received on one of the interfaces: let it go on to the rule set.
    Accept,
    /// Received on one of the interfaces: let it go on; received on any other: drop it.
    Expect,
}

/// One route.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Where to.
    pub network: IpNet,
    /// Through which interface.
    pub interface: InterfaceId,
    /// The next hop; `None`: the destination itself. On the host port the kernel resolves it.
    pub gateway: Option<IpAddr>,
    /// Our address towards this network, where it is not the interface's.
    pub local_ip: Option<IpAddr>,
    /// The lowest wins among routes of the same network.
    pub metric: u32,
}

/// One entry of the IP rule set.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name, for logs and listings.
    pub name: Arc<str>,
    /// Source interfaces; `None`: any.
    pub source_interfaces: Option<Vec<InterfaceId>>,
    /// Source addresses.
    pub source_networks: Vec<IpRange>,
    /// Destination interfaces; `None`: any.
    pub destination_interfaces: Option<Vec<InterfaceId>>,
    /// Destination addresses.
    pub destination_networks: Vec<IpRange>,
    /// What of it: one of these must match.
    pub services: Vec<Service>,
    /// What happens.
    pub action: RuleAction,
    /// What becomes of the source address and port of what is allowed.
    pub source: SourceTranslation,
    /// What becomes of the destination address and port of what is allowed, before it is routed.
    pub destination: DestinationTranslation,
    /// Time-outs that its service sets.
    pub timeouts: ServiceTimeouts,
    /// Write `conn_open`, `conn_close` or the drop to the log at this severity; `None`: silent.
    pub log: Option<Severity>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Let the connection through, answers included.
    Allow,
    /// Drop silently.
    Drop,
    /// Drop and tell the sender: TCP RST, or ICMP administratively prohibited.
    Reject,
    /// Let each packet through by itself, and remember nothing; answers need a rule of their own.
    Stateless,
}

/// Time-outs of a service; `None`: those of [`Settings`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceTimeouts {
    /// Before both sides have been heard.
    pub initial: Option<Duration>,
    /// Established.
    pub idle: Option<Duration>,
    /// After a FIN or RST.
    pub closing: Option<Duration>,
}

/// A kind of traffic.
#[derive(Clone, Debug, PartialEq)]
pub enum Service {
    /// Every IP packet.
    All,
    /// One IP protocol, or a range of them.
    Protocol(std::ops::RangeInclusive<u8>),
    /// TCP (6) or UDP (17) with ports.
    Ports {
        /// 6 or 17.
        protocol: u8,
        /// Source ports; one range must contain it.
        source: Vec<std::ops::RangeInclusive<u16>>,
        /// Destination ports; one range must contain it.
        destination: Vec<std::ops::RangeInclusive<u16>>,
    },
    /// ICMP (1) or ICMPv6 (58) of these types; an empty list: every type.
    Icmp {
        /// 1 or 58.
        protocol: u8,
        /// Message types.
        types: Vec<u8>,
    },
}

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

    /// True when the gateway owns an interface at layer 2. Then all packets go through the packet path beside that layer,
    /// whatever they come by: a connection from a packet port to a host port has its answers come by the other.
    pub fn has_packet_ports(&self) -> bool {
        self.interfaces.iter().any(|interface| interface.kind == InterfaceKind::Port)
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
