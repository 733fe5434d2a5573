//! What the engine is told: a whole configuration, checked, resolved and typed. Plain data without names to look up.

mod link;
mod routing;
mod rules;
mod schedule;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use base::{Duration, IpRange, Secret};
use crypto::{Encryption, Group, Integrity, Prf};

pub use link::{Link, LinkInterface, LinkPort, Mac, Proxy, Publish, StaticNeighbor};
pub use routing::{
    Conditions, MonitoredHost, Ordering, PollMethod, Reachability, Route, RouteKey, RouteMonitor, RouteOrigin,
    RoutingRule, RoutingTable, TableId,
};
pub use rules::{
    Access, AccessAction, Action, AddressMap, DestinationTranslation, IcmpTypes, Interfaces, NatPool, NatPoolKind,
    Networks, Policy, PortMap, Service, ServiceMatch, ServiceTimeouts, SourceTranslation,
};
pub use schedule::Schedule;
pub(crate) use schedule::date;

/// A complete, valid configuration. Two that are equal need no change of anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Every interface: `core` first, then the Ethernet interfaces, then the tunnels.
    pub interfaces: Vec<Interface>,
    /// The tunnels that are enabled, in the administrator's order, which is the order of selection as responder.
    pub tunnels: Vec<Arc<Tunnel>>,
    /// The routing tables, `main` first.
    pub tables: Vec<RoutingTable>,
    /// Which table a connection is routed by, first match decides. What matches none is routed by the table of the
    /// interface it came in by.
    pub routing_rules: Vec<RoutingRule>,
    /// The access rules, first match decides.
    pub access: Vec<Access>,
    /// The IP rule set, first match decides. What matches none is dropped.
    pub policies: Vec<Policy>,
    /// The network cards that the gateway owns at layer 2.
    pub link: Link,
    /// What applies to the gateway as a whole.
    pub settings: Settings,
}

impl Snapshot {
    /// The routes of table `main`.
    pub fn main_routes(&self) -> &[Route] {
        self.tables.first().map_or(&[], |table| &table.routes)
    }

    /// The routing table of this name, in any case.
    pub fn table(&self, name: &str) -> Option<&RoutingTable> {
        self.tables.iter().find(|table| table.name.eq_ignore_ascii_case(name))
    }

    /// The routing table with this number.
    pub fn table_by_id(&self, id: TableId) -> Option<&RoutingTable> {
        self.tables.iter().find(|table| table.id == id)
    }

    /// Every host name that must be resolved, each once, in order.
    pub fn names(&self) -> Vec<&str> {
        let policies = self.policies.iter().flat_map(|policy| [&policy.source_network, &policy.destination_network]);
        let rules = self.routing_rules.iter().flat_map(|rule| [&rule.source_network, &rule.destination_network]);
        let mut names: Vec<&str> =
            policies.chain(rules).flat_map(|networks| &networks.names).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The schedules in use, each once.
    pub fn schedules(&self) -> Vec<&Arc<Schedule>> {
        let policies = self.policies.iter().filter_map(|policy| policy.schedule.as_ref());
        let rules = self.routing_rules.iter().filter_map(|rule| rule.schedule.as_ref());
        let mut schedules: Vec<&Arc<Schedule>> = policies.chain(rules).collect();
        schedules.sort_by(|a, b| a.name.cmp(&b.name));
        schedules.dedup_by(|a, b| a.name == b.name);
        schedules
    }

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
    /// The only table it belongs to, by which what comes in is routed; `None`: it belongs to all, and what comes in is
    /// routed by `main`.
    pub table: Option<TableId>,
    /// Interfaces that are the same as this one to the access check.
    pub equivalents: Vec<InterfaceId>,
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
        /// The gateway owns it at layer 2, addresses and ARP included; otherwise the kernel does.
        owned: bool,
    },
    /// A VLAN on an Ethernet interface that the gateway owns.
    Vlan {
        /// The Ethernet interface.
        base: InterfaceId,
        /// 1 to 4094.
        vlan: u16,
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
    /// What a pair of SAs is asked for.
    pub sa_per: SaPer,
    /// The table that outer packets are routed by.
    pub outgoing_table: TableId,
    /// Routes that are added for what an SA leads to, as long as it is there; `None`: none.
    pub dynamic_routes: Option<DynamicRoutes>,
}

/// What traffic shares a pair of SAs.
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

/// How routes are made of the SAs of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicRoutes {
    /// The table they go to.
    pub table: TableId,
    /// Their metric.
    pub metric: u32,
    /// Interfaces on which the gateway answers for the hosts behind them.
    pub proxy: Vec<InterfaceId>,
}

impl DynamicRoutes {
    /// The route for what one SA leads to; nothing when that is no network.
    pub fn route(&self, tunnel: TunnelId, remote: IpRange) -> Option<(TableId, Route)> {
        remote.prefix()?;
        let route = Route {
            interface: tunnel.interface(),
            network: remote,
            gateway: None,
            local_ip: None,
            metric: self.metric,
            origin: RouteOrigin::Tunnel,
            proxy: self.proxy.clone(),
            monitor: None,
        };
        Some((self.table, route))
    }
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

/// What applies to the gateway as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// IKE and ESP.
    pub ipsec: IpsecSettings,
    /// Largest TCP MSS of connections that use no tunnel (`TCPMSSMax`), bytes.
    pub tcp_mss_max: u16,
    /// Largest TCP MSS of connections through a tunnel (`TCPMSSVPNMax`), bytes.
    pub tcp_mss_vpn_max: u16,
    /// Lower the MSS to what the interfaces on the way take, too (`TCPMSSAutoClamping`).
    pub tcp_mss_auto: bool,
    /// DF is taken off IPv4 packets up to this length, bytes; 0: never (`StripDF`).
    pub strip_df_max: u16,
    /// How long an idle connection is remembered.
    pub timeouts: Timeouts,
    /// Connections that are remembered at the same time.
    pub max_connections: u32,
    /// What happens to a new connection beyond that (`ConnReplace`).
    pub when_full: WhenFull,
    /// The gateway's time zone, seconds east of UTC.
    pub utc_offset: i32,
    /// A new configuration that is not confirmed within this time is taken back (`NetconBiDirTimeout`).
    pub validation_timeout: Duration,
}

/// What happens to a new connection when the table is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It is dropped.
    Drop,
    /// The one that has been idle longest goes, in silence.
    Replace,
    /// The one that has been idle longest goes, and the log says so.
    ReplaceLog,
}

/// Bounds and switches of IKE and ESP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpsecSettings {
    /// IKE and ESP for the gateway itself go past the rule set.
    pub before_rules: bool,
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
    /// Answers keep UDP alive too, not only packets of whoever opened it.
    pub udp_both_ways: bool,
    /// ICMP echo.
    pub ping: Duration,
    /// IGMP.
    pub igmp: Duration,
    /// Any other protocol.
    pub other: Duration,
}

/// An interface as the host's kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostInterface {
    /// Name in the kernel.
    pub name: String,
    /// Addresses with prefix length, in the kernel's order: the first of a family is the interface's own.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Next hops of default routes over this interface, one for each family at most.
    pub gateways: Vec<IpAddr>,
    /// What DHCP servers lent to the gateway on it, where the gateway owns it at layer 2.
    pub leases: Vec<Lease>,
}

/// What a DHCP server lent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The VLAN it was asked for on; `None`: without tag.
    pub vlan: Option<u16>,
    /// The address.
    pub address: Ipv4Addr,
    /// Prefix length of its network.
    pub prefix: u8,
    /// The router, if it named one.
    pub gateway: Option<Ipv4Addr>,
    /// DNS servers, best first.
    pub dns: Vec<Ipv4Addr>,
}
