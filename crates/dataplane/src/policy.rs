//! What the packet path is told: interfaces, routes, rules. Immutable; a new one replaces the old whole.

use std::net::IpAddr;
use std::sync::Arc;

use base::{Duration, IpRange, Severity};
use ipnet::IpNet;

/// An interface, the same one for as long as the administrator keeps it: flows survive a new configuration by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub u32);

/// The gateway itself: what it sends, and what is for one of its addresses.
pub const CORE: InterfaceId = InterfaceId(0);

/// Everything that decides about packets.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// All interfaces, `core` among them.
    pub interfaces: Vec<Interface>,
    /// The main routing table. Core routes (to [`CORE`]) are the gateway's own addresses.
    pub routes: Vec<Route>,
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
}

/// What stands behind an interface.
#[derive(Clone, Debug, PartialEq)]
pub enum InterfaceKind {
    /// The gateway itself.
    Core,
    /// A kernel interface behind the host port. The kernel forwards; the engine derives the receiving interface of a
    /// packet from its source address.
    Host,
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
}

/// One route.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Where to.
    pub network: IpNet,
    /// Through which interface.
    pub interface: InterfaceId,
    /// The next hop, for listings; the kernel resolves it on the host port.
    pub gateway: Option<IpAddr>,
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

/// Bounds and time-outs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Connections at most; a new one beyond it is dropped and counted.
    pub connections_max: usize,
    /// TCP before the handshake is complete.
    pub tcp_opening: Duration,
    /// TCP established.
    pub tcp_established: Duration,
    /// TCP after a FIN or RST.
    pub tcp_closing: Duration,
    /// UDP.
    pub udp: Duration,
    /// ICMP echo.
    pub ping: Duration,
    /// Everything else.
    pub other: Duration,
    /// Largest TCP MSS through a tunnel; the tunnel's own MTU may demand less.
    pub mss_vpn_max: u16,
    /// Packets that wait for one tunnel to come up.
    pub waiting_per_tunnel_max: usize,
    /// How long a packet waits for its tunnel.
    pub waiting_time: Duration,
}
