//! What the engine is told: a whole configuration, checked, resolved and typed. Plain data without names to look up.

use std::net::IpAddr;
use std::sync::Arc;

use base::{Duration, IpRange, Secret, Severity};
use crypto::{Encryption, Group, Integrity, Prf};

/// A complete, valid configuration. Two that are equal need no change of anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Every interface: `core` first, then the Ethernet interfaces, then the tunnels.
    pub interfaces: Vec<Interface>,
    /// The tunnels that are enabled, in the administrator's order, which is the order of selection as responder.
    pub tunnels: Vec<Arc<Tunnel>>,
    /// Routing table `main` with everything in it: core routes, interface routes, the tunnels' own, configured ones.
    pub routes: Vec<Route>,
    /// The IP rule set, first match decides. What matches none is dropped.
    pub policies: Vec<Policy>,
    /// What applies to the gateway as a whole.
    pub settings: Settings,
}

impl Snapshot {
    /// The interface of this name, in any case.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name.eq_ignore_ascii_case(name))
    }

    /// The interface with this number.
    pub fn interface_by_id(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.id == id)
    }

    /// The tunnel of this name, in any case.
    pub fn tunnel(&self, name: &str) -> Option<&Arc<Tunnel>> {
        self.tunnels.iter().find(|tunnel| tunnel.name.eq_ignore_ascii_case(name))
    }

    /// The tunnel with this number.
    pub fn tunnel_by_id(&self, id: TunnelId) -> Option<&Arc<Tunnel>> {
        self.tunnels.iter().find(|tunnel| tunnel.id == id)
    }
}

/// An interface, the same number for the same name in every snapshot (but for the rare collision of two names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub u32);

impl InterfaceId {
    /// The gateway itself.
    pub const CORE: Self = Self(0);
}

/// A tunnel: derived from its name, so it is the same one in every configuration that has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId(pub u32);

impl TunnelId {
    /// The tunnel as an interface: the same number.
    pub const fn interface(self) -> InterfaceId {
        InterfaceId(self.0)
    }
}

/// Something packets come from and go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub id: InterfaceId,
    /// Its name as the administrator writes it.
    pub name: String,
    /// What it is.
    pub kind: InterfaceKind,
    /// Own addresses with the prefix length of the network behind each. For `core`: every address of the gateway, with
    /// full prefix length. For a tunnel: its originator address, if any, with full prefix length.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Largest packet that passes, in bytes.
    pub mtu: u32,
}

/// What an interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceKind {
    /// The gateway itself.
    Core,
    /// An interface of the host.
    Ethernet {
        /// Its name in the kernel.
        device: String,
    },
    /// An IPsec tunnel.
    Tunnel(TunnelId),
}

/// An IPsec tunnel, everything resolved. A tunnel that is equal in two snapshots keeps its SAs.
#[derive(Clone, Debug, PartialEq)]
pub struct Tunnel {
    /// Its number.
    pub id: TunnelId,
    /// Its name.
    pub name: String,
    /// Address that IKE and ESP use on our side; `None`: that of the interface towards the peer.
    pub local_endpoint: Option<IpAddr>,
    /// Who may be at the other end.
    pub remote_endpoint: RemoteEndpoint,
    /// What our side calls itself in IKE.
    pub local_identity: LocalIdentity,
    /// The pre-shared key.
    pub psk: SharedKey,
    /// How IKE messages may be protected, most preferred first.
    pub ike: Algorithms,
    /// Groups for IKE; the greatest number common to both sides wins. Ascending, never empty.
    pub groups: Vec<Group>,
    /// How ESP packets may be protected, most preferred first.
    pub esp: Algorithms,
    /// Groups for perfect forward secrecy, ascending; empty: none.
    pub pfs_groups: Vec<Group>,
    /// Protected networks on our side, never empty, one family.
    pub local_networks: Vec<IpRange>,
    /// Protected networks on the peer's side, never empty, the same family.
    pub remote_networks: Vec<IpRange>,
    /// Life of the IKE SA.
    pub ike_lifetime: Duration,
    /// Life of a pair of IPsec SAs.
    pub ipsec_lifetime: Duration,
    /// Life of a pair of IPsec SAs in kilobytes; 0: no limit.
    pub ipsec_lifetime_kilobytes: u64,
    /// Silence after which the peer is asked whether it lives; `None`: it is never asked.
    pub dpd_interval: Option<Duration>,
    /// When ESP travels in UDP.
    pub nat_traversal: NatTraversal,
    /// Bring the tunnel up without waiting for traffic.
    pub auto_establish: bool,
    /// Offer 64-bit sequence numbers beside 32-bit ones (RFC 4303 section 2.2.1).
    pub esn: bool,
    /// Size of the anti-replay window in packets, 64 to 4096, a multiple of 64.
    pub replay_window: u32,
    /// DiffServ byte of IKE datagrams.
    pub ike_ds: u8,
    /// DiffServ byte of ESP packets; `None`: that of the inner packet.
    pub ipsec_ds: Option<u8>,
    /// Inner packets larger than this are fragmented, or refused with a fragmentation-needed, before encryption.
    pub plaintext_mtu: u32,
    /// The gateway's own address inside the tunnel; `None`: it sends nothing of its own into it.
    pub originator: Option<IpAddr>,
}

/// A pre-shared key and the name of its object. Equal when both are, compared in constant time.
#[derive(Clone, Debug)]
pub struct SharedKey {
    /// Name of the PSK object, for messages.
    pub name: String,
    /// The key: the UTF-8 bytes of an ASCII key, or what the digits of a HEX key say.
    pub secret: Secret,
}

impl PartialEq for SharedKey {
    fn eq(&self, other: &Self) -> bool {
        self.secret.same(other.secret.expose()) && self.name == other.name
    }
}

/// Who may be at the other end of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteEndpoint {
    /// Anybody: the tunnel only responds.
    Any,
    /// One address: the tunnel initiates and responds.
    Address(IpAddr),
    /// Anybody within these ranges: the tunnel only responds.
    Within(Vec<IpRange>),
}

/// What our side calls itself (RFC 7296 section 3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalIdentity {
    /// The address our IKE messages leave from.
    Auto,
    /// An address.
    Address(IpAddr),
    /// A domain name.
    Dns(String),
    /// A mail address.
    Email(String),
}

/// When ESP travels in UDP (RFC 7296 section 2.23).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatTraversal {
    /// Never.
    Off,
    /// Always.
    On,
    /// When a NAT is found.
    OnIfNeeded,
}

/// A list of algorithms, most preferred first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms {
    /// Name of the list, for messages.
    pub name: String,
    /// Ciphers, AEAD and others, never empty.
    pub encryption: Vec<Encryption>,
    /// Integrity for the ciphers that are not AEAD.
    pub integrity: Vec<Integrity>,
    /// Pseudo-random functions (IKE lists, never empty there; always empty for ESP).
    pub prf: Vec<Prf>,
}

/// A route of table `main`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where packets go.
    pub interface: InterfaceId,
    /// Which packets: always exactly a network, so `network.prefix()` is never `None`.
    pub network: IpRange,
    /// The next hop; `None`: the destination itself is on the link (or in the tunnel).
    pub gateway: Option<IpAddr>,
    /// Own address towards this network, where it is not the interface's.
    pub local_ip: Option<IpAddr>,
    /// Of two routes to the same network the one with the lower metric is used.
    pub metric: u32,
    /// Why it is there.
    pub origin: RouteOrigin,
}

/// Why a route is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteOrigin {
    /// An address of the gateway itself, or multicast: leads to `core`.
    Core,
    /// A network on an interface of the host, or its default gateway.
    Interface,
    /// A tunnel's automatic route (`AutoInterfaceNetworkRoute`).
    Tunnel,
    /// A Route object.
    Configured,
}

/// One entry of the IP rule set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Position in the rule set, from 1.
    pub index: u32,
    /// Its name, or its position as text when it has none.
    pub name: String,
    /// Where the packet came from.
    pub source_interface: Interfaces,
    /// Source addresses, never empty.
    pub source_network: Vec<IpRange>,
    /// Where the route leads.
    pub destination_interface: Interfaces,
    /// Destination addresses, never empty.
    pub destination_network: Vec<IpRange>,
    /// What the packet is.
    pub service: Service,
    /// What becomes of it.
    pub action: Action,
    /// Severity of the log message of a connection or a drop; `None`: it is not logged.
    pub log: Option<Severity>,
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
}

/// A service, groups unfolded: a packet fits when it fits one of the matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Name of the service object, for messages.
    pub name: String,
    /// The alternatives, never empty.
    pub matches: Vec<ServiceMatch>,
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

/// What applies to the gateway as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// IKE and ESP.
    pub ipsec: IpsecSettings,
    /// Largest TCP MSS of connections through a tunnel (`TCPMSSVPNMax`), bytes.
    pub tcp_mss_vpn_max: u16,
    /// How long an idle connection is remembered.
    pub timeouts: Timeouts,
    /// Connections that are remembered at the same time.
    pub max_connections: u32,
    /// A new configuration that is not confirmed within this time is taken back (`NetconBiDirTimeout`).
    pub validation_timeout: Duration,
}

/// Bounds and switches of IKE and ESP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpsecSettings {
    /// Tunnels beyond this number are refused.
    pub max_tunnels: u32,
    /// Send INITIAL_CONTACT (RFC 7296 section 2.4).
    pub initial_contact: bool,
    /// Demand a cookie from every initiator (RFC 7296 section 2.6).
    pub force_cookies: bool,
    /// Half-open IKE SAs at which every initiator must return a cookie.
    pub half_open_cookie_threshold: u32,
    /// Half-open IKE SAs in all.
    pub half_open_max: u32,
    /// Half-open IKE SAs of one IPv4 address or IPv6 /64.
    pub half_open_per_source_max: u32,
    /// How long a half-open IKE SA may live.
    pub half_open_lifetime: Duration,
    /// First wait for an answer before a request is sent again; doubles each time.
    pub retransmit_first: Duration,
    /// Longest wait between two sendings.
    pub retransmit_max: Duration,
    /// Sendings of one request, the first included, after which the peer is given up.
    pub retransmit_tries: u32,
    /// IKE messages larger than this leave in fragments (RFC 7383), bytes of UDP payload.
    pub fragment_size: u32,
    /// Wait before an AutoEstablish tunnel that failed is tried again.
    pub auto_establish_retry: Duration,
}

/// How long an idle connection is remembered, by what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP before the handshake is complete.
    pub tcp_syn: Duration,
    /// TCP, established.
    pub tcp_open: Duration,
    /// TCP, closing.
    pub tcp_fin: Duration,
    /// UDP.
    pub udp: Duration,
    /// ICMP echo.
    pub ping: Duration,
    /// Any other protocol.
    pub other: Duration,
}

/// An interface as the host's kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInterface {
    /// Name in the kernel.
    pub name: String,
    /// Addresses with prefix length, in the kernel's order: the first of a family is the interface's own.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Next hops of default routes over this interface, one for each family at most.
    pub gateways: Vec<IpAddr>,
}
