//! What the endpoint is told about the tunnels it may bring up. The engine writes it; nothing here names an object type.

use std::net::IpAddr;
use std::sync::Arc;

use base::{Duration, IpRange, Secret};
use crypto::{Encryption, Group, Integrity, Prf};

/// A tunnel, the same one for as long as the administrator keeps it: SAs survive a new configuration by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId(pub u32);

/// All that the endpoint knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The tunnels in the administrator's order, which is the order of selection as responder.
    pub tunnels: Vec<Arc<Tunnel>>,
    /// What applies to all of them.
    pub settings: Settings,
}

/// Bounds and switches for the whole endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Send INITIAL_CONTACT with the first IKE SA to a peer (RFC 7296 section 2.4).
    pub initial_contact: bool,
    /// Demand a cookie from every initiator, not only under load (RFC 7296 section 2.6).
    pub force_cookies: bool,
    /// Half-open IKE SAs at which every initiator must return a cookie.
    pub half_open_cookie_threshold: usize,
    /// Half-open IKE SAs in all; beyond it the oldest gives way to one that returned its cookie.
    pub half_open_max: usize,
    /// Half-open IKE SAs of one IPv4 address or IPv6 /64. From half of it on a cookie is demanded; beyond it the oldest
    /// of the source gives way.
    pub half_open_per_source_max: usize,
    /// How long a half-open IKE SA may live.
    pub half_open_lifetime: Duration,
    /// First wait for an answer before a request is sent again; doubles each time.
    pub retransmit_first: Duration,
    /// Longest wait between two sendings.
    pub retransmit_max: Duration,
    /// Sendings of one request, the first included, after which the peer is given up.
    pub retransmit_tries: u32,
    /// IKE messages larger than this leave as RFC 7383 fragments, in bytes of UDP payload, the non-ESP marker included.
    /// The default fits into 1,280 bytes of IPv6, and of IPv4 (RFC 7383 section 2.5.1).
    pub fragment_size: usize,
    /// Wait before an AutoEstablish tunnel that failed is tried again.
    pub auto_establish_retry: Duration,
}

/// Who may be at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteEndpoint {
    /// Anybody: responder only.
    Any,
    /// One address: initiator and responder.
    Address(IpAddr),
    /// Addresses within these ranges: responder only.
    Within(Vec<IpRange>),
}

/// A name one side goes by (RFC 7296 section 3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// ID_IPV4_ADDR or ID_IPV6_ADDR.
    Address(IpAddr),
    /// ID_FQDN.
    Fqdn(String),
    /// ID_RFC822_ADDR.
    Email(String),
    /// ID_KEY_ID or any type we do not know: type number and bytes, kept as they came.
    Other(u8, Vec<u8>),
}

/// What our side calls itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalIdentity {
    /// The address our IKE messages leave from.
    Auto,
    /// This one.
    Fixed(Identity),
}

/// When UDP encapsulation is used (RFC 7296 section 2.23).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatTraversal {
    /// Never; NAT is not looked for.
    Off,
    /// Always, NAT or not: our NAT_DETECTION_SOURCE_IP is made not to match.
    On,
    /// When a NAT is found.
    IfNeeded,
}

/// What shares a pair of child SAs (RFC 4301 section 4.4.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaPer {
    /// All between a local and a remote network.
    #[default]
    Net,
    /// All between two hosts. There is one for each pair of hosts that a packet has asked for; those that nobody uses end
    /// when they would be rekeyed.
    Host,
    /// All between two hosts with the same protocol and ports.
    Port,
}

/// An algorithm list. Order is preference; a list may hold AEAD ciphers beside others (two proposals, RFC 7296 3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms {
    /// Name of the list, for messages.
    pub name: String,
    /// Ciphers, AEAD and not.
    pub encryption: Vec<Encryption>,
    /// Integrity for the ciphers that are not AEAD.
    pub integrity: Vec<Integrity>,
    /// PRFs (IKE lists; empty for ESP).
    pub prf: Vec<Prf>,
}

/// One configured tunnel.
#[derive(Clone, Debug, PartialEq)]
pub struct Tunnel {
    /// The same for as long as the tunnel exists.
    pub id: TunnelId,
    /// Its name, for messages.
    pub name: String,
    /// Our side's address; `None`: whatever address the peer speaks to, or the shell's choice as initiator.
    pub local_endpoint: Option<IpAddr>,
    /// The address we send from as initiator when `local_endpoint` is `None`: that of the interface towards the peer.
    pub local_address_hint: Option<IpAddr>,
    /// Who may be at the other end.
    pub remote_endpoint: RemoteEndpoint,
    /// What we call ourselves.
    pub local_identity: LocalIdentity,
    /// The shared key.
    pub psk: Secret,
    /// Name of the key's object, for messages.
    pub psk_name: String,
    /// How IKE messages may be protected.
    pub ike: Algorithms,
    /// Groups for IKE, any order: the greatest number common to both sides wins.
    pub groups: Vec<Group>,
    /// How ESP packets may be protected.
    pub esp: Algorithms,
    /// Groups for perfect forward secrecy; empty: none.
    pub pfs_groups: Vec<Group>,
    /// Networks on our side. As initiator each pair of a local and a remote network gets its own child SA.
    pub local_networks: Vec<IpRange>,
    /// Networks on the peer's side.
    pub remote_networks: Vec<IpRange>,
    /// Life of the IKE SA.
    pub ike_lifetime: Duration,
    /// Life of a child SA.
    pub ipsec_lifetime: Duration,
    /// Life of a child SA in kilobytes; 0: no limit.
    pub ipsec_lifetime_kilobytes: u64,
    /// Silence from the peer after which it is asked whether it lives; `None`: it is never asked.
    pub dpd_interval: Option<Duration>,
    /// When UDP encapsulation is used.
    pub nat_traversal: NatTraversal,
    /// Bring it up without waiting for traffic.
    pub auto_establish: bool,
    /// What shares a pair of child SAs when we ask for one.
    pub sa_per: SaPer,
    /// Offer extended sequence numbers (beside plain ones).
    pub esn: bool,
    /// DiffServ field of IKE datagrams, 0-255 as the whole byte.
    pub ike_ds: u8,
}
