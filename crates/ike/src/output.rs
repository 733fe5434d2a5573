//! What the endpoint wants done, and what it is told about the data path.

use std::net::{IpAddr, SocketAddr};

use base::{Duration, Instant, Record, Secret, Selector};
use crypto::{Encryption, Integrity};

use crate::TunnelId;

/// A pair of child SAs, from the moment it is made until both directions are gone. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(pub u64);

/// Where two gateways speak to each other, seen from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// Our address and UDP port (500 or 4500).
    pub local: SocketAddr,
    /// The peer's address and UDP port.
    pub remote: SocketAddr,
}

/// A ready pair of SAs for the data path.
#[derive(Clone, Debug)]
pub struct ChildSa {
    /// Its number.
    pub id: ChildId,
    /// Its tunnel.
    pub tunnel: TunnelId,
    /// The SPI the peer writes on packets to us.
    pub spi_in: u32,
    /// The SPI we write on packets to the peer.
    pub spi_out: u32,
    /// The cipher.
    pub encryption: Encryption,
    /// Integrity; `None` with an AEAD cipher.
    pub integrity: Option<Integrity>,
    /// Extended (64-bit) sequence numbers.
    pub esn: bool,
    /// Key for opening: cipher key with salt behind it.
    pub encryption_key_in: Secret,
    /// Key for checking; empty with an AEAD cipher.
    pub integrity_key_in: Secret,
    /// Key for sealing: cipher key with salt behind it.
    pub encryption_key_out: Secret,
    /// Key for the ICV; empty with an AEAD cipher.
    pub integrity_key_out: Secret,
    /// Traffic on our side.
    pub local: Vec<Selector>,
    /// Traffic on the peer's side.
    pub remote: Vec<Selector>,
    /// Outer addresses and ports.
    pub path: Path,
    /// ESP travels in UDP (RFC 3948) on the ports of `path`; otherwise as protocol 50.
    pub udp_encapsulated: bool,
    /// True: send on it at once. False (responder): send on it once the peer has, or once the pair it replaces may no
    /// longer be sent on, so that no packet overtakes the answer that carries the keys' other half.
    pub outbound_now: bool,
    /// The pair that it replaces, when it is a rekeying.
    pub replaces: Option<ChildId>,
    /// Bytes after which the data path asks for a rekeying; `None`: no limit.
    pub soft_bytes: Option<u64>,
    /// Bytes after which nothing more may pass; `None`: no limit.
    pub hard_bytes: Option<u64>,
}

/// What the endpoint wants done.
#[derive(Debug)]
pub enum Output {
    /// An IKE message. From or to port 4500 the shell puts the four zero bytes in front (RFC 3948 section 2.2).
    Send {
        /// Where from and where to.
        path: Path,
        /// DiffServ byte.
        ds: u8,
        /// The message, without non-ESP marker.
        message: Vec<u8>,
    },
    /// A NAT keep-alive: one byte 0xff without marker (RFC 3948 section 4).
    KeepAlive {
        /// Where from and where to.
        path: Path,
    },
    /// Start using a pair.
    Install(Box<ChildSa>),
    /// Send nothing more on a pair but go on opening what comes.
    StopSending(ChildId),
    /// Forget a pair.
    Remove(ChildId),
    /// The peer is reached elsewhere now: for all of these pairs.
    Move {
        /// The pairs.
        children: Vec<ChildId>,
        /// The new path.
        path: Path,
        /// Whether ESP is to travel in UDP from now on.
        udp_encapsulated: bool,
    },
    /// Nobody will bring this tunnel up for the packets that wait for it: drop them.
    Failed {
        /// The tunnel.
        tunnel: TunnelId,
    },
    /// A log event.
    Log(Record),
}

/// What has passed through a pair. The endpoint decides by it whether to rekey, probe, or let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Packets opened.
    pub packets_in: u64,
    /// Bytes of inner packets opened.
    pub bytes_in: u64,
    /// Packets sealed.
    pub packets_out: u64,
    /// Bytes of inner packets sealed.
    pub bytes_out: u64,
    /// When the last packet was opened.
    pub last_in: Option<Instant>,
    /// When the last packet was sealed.
    pub last_out: Option<Instant>,
}

/// The data path as the endpoint sees it.
pub trait Traffic {
    /// What has passed through a pair; all zero for one that is unknown.
    fn usage(&self, child: ChildId) -> Usage;
}

/// The packet that a tunnel is wanted for. RFC 7296 section 2.9: goes first into the selectors of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Source address and port.
    pub source: (IpAddr, u16),
    /// Destination address and port.
    pub destination: (IpAddr, u16),
    /// IP protocol.
    pub protocol: u8,
}

/// An IKE SA as the `ike` command shows it.
#[derive(Clone, Debug)]
pub struct IkeStatus {
    /// The tunnel; `None` while a responder does not know yet.
    pub tunnel: Option<TunnelId>,
    /// Name of the tunnel or "-".
    pub tunnel_name: String,
    /// "Connecting", "Authenticating", "Established", "Rekeying", "Deleting": one word for a person.
    pub state: &'static str,
    /// We began it.
    pub initiator: bool,
    /// Both SPIs, initiator's first.
    pub spis: (u64, u64),
    /// Where the two speak.
    pub path: Path,
    /// A NAT in front of us, a NAT in front of the peer.
    pub nat: (bool, bool),
    /// What we call ourselves, once said.
    pub local_id: Option<String>,
    /// What the peer calls itself, once proved.
    pub remote_id: Option<String>,
    /// `AES-CBC-256/HMAC-SHA2-256-128/PRF.../ECP-256` and the like, once chosen.
    pub algorithms: Option<String>,
    /// Left of its life.
    pub expires_in: Option<Duration>,
    /// When it was established.
    pub established: Option<Instant>,
    /// While it is being set up by us: for how long, how often the outstanding request went out, and what an
    /// unprotected answer claims.
    pub note: Option<String>,
    /// Children.
    pub children: Vec<ChildStatus>,
}

/// A pair of child SAs as the `ipsec` command shows it.
#[derive(Clone, Debug)]
pub struct ChildStatus {
    /// Its number.
    pub id: ChildId,
    /// SPI of packets to us.
    pub spi_in: u32,
    /// SPI of packets from us.
    pub spi_out: u32,
    /// Our traffic.
    pub local: Vec<Selector>,
    /// The peer's traffic.
    pub remote: Vec<Selector>,
    /// The cipher.
    pub encryption: Encryption,
    /// Its integrity.
    pub integrity: Option<Integrity>,
    /// Extended sequence numbers.
    pub esn: bool,
    /// ESP travels in UDP.
    pub udp_encapsulated: bool,
    /// Left of its life.
    pub expires_in: Duration,
    /// PFS group of its last keying, as printed.
    pub pfs: Option<&'static str>,
    /// False once it is being deleted or has been replaced.
    pub current: bool,
}

/// The last time a tunnel did not come up, or went down against our will, and why.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// When.
    pub at: Instant,
    /// With whom.
    pub remote: IpAddr,
    /// What went wrong and what helps.
    pub explanation: Explanation,
}

/// One refusal explained for people. Log, command line and every later view print this same value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// One word for filters and tests: `no_proposal_chosen`, `wrong_psk`, `selectors_unacceptable`, `no_answer`, ...
    pub kind: &'static str,
    /// One sentence: what happened.
    pub summary: String,
    /// What the peer offered or did.
    pub found: String,
    /// What is configured here.
    pub expected: String,
    /// How close the two are: the nearest miss.
    pub nearest: Option<String>,
    /// What to change, and on which side.
    pub remedy: String,
}
