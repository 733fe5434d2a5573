//! The whole seam between the packet path and whoever controls it: what it is told, and what it hands out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base::{Buffer, Instant, Offload, Record, Selector};
use crypto::{Encryption, Integrity};

use crate::{InterfaceId, Policy, Route, Sa, TableId};

/// A pair of ESP SAs. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SaId(pub u64);

/// Outer addresses of a pair of SAs. Ports are meaningful when ESP travels in UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// Ours.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// ESP in UDP (RFC 3948) or protocol 50.
    pub udp: bool,
}

/// What a pair of SAs protects (RFC 4301 section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Whole packets between networks.
    #[default]
    Tunnel,
    /// What packets between the two peers carry.
    Transport,
}

/// All that is needed to open and seal.
#[derive(Debug)]
pub struct SaParameters<'a> {
    /// Its number.
    pub id: SaId,
    /// Its tunnel.
    pub tunnel: InterfaceId,
    /// What is protected.
    pub mode: Mode,
    /// SPI of packets to us; unique among all that are installed.
    pub spi_in: u32,
    /// SPI of packets to the peer.
    pub spi_out: u32,
    /// The cipher.
    pub encryption: Encryption,
    /// Integrity; `None` with an AEAD cipher.
    pub integrity: Option<Integrity>,
    /// Cipher key for opening, salt behind it.
    pub encryption_key_in: &'a [u8],
    /// Integrity key for opening.
    pub integrity_key_in: &'a [u8],
    /// Cipher key for sealing, salt behind it.
    pub encryption_key_out: &'a [u8],
    /// Integrity key for sealing.
    pub integrity_key_out: &'a [u8],
    /// Extended sequence numbers (RFC 4303 section 2.2.1).
    pub esn: bool,
    /// Anti-replay window in packets.
    pub replay_window: u32,
    /// Inner traffic on our side.
    pub local: &'a [Selector],
    /// Inner traffic on the peer's side.
    pub remote: &'a [Selector],
    /// Outer addresses.
    pub outer: Outer,
    /// True: seal with it at once. False: once the peer has used it, or the pair it replaces may not be sent on.
    pub outbound_now: bool,
    /// The pair it takes over from.
    pub replaces: Option<SaId>,
    /// Inner bytes, in either direction, after which [`Exception::SoftLimit`] is raised once.
    pub soft_bytes: Option<u64>,
    /// Inner bytes after which nothing more passes and [`Exception::HardLimit`] is raised once.
    pub hard_bytes: Option<u64>,
}

/// What the packet path is told.
#[derive(Clone, Debug)]
pub enum Control {
    /// A new policy, in force at once. Connections that it still allows go on; the others end by their next packet, or one
    /// by one in [`Dataplane::expire`](crate::Dataplane::expire). So do packets that wait for a tunnel.
    Replace(Arc<Policy>),
    /// Start using a pair of SAs; packets waiting for the tunnel that fit its selectors go out.
    Install(Arc<Sa>),
    /// Seal nothing more with a pair.
    StopSending(SaId),
    /// Forget a pair.
    Remove(SaId),
    /// The peer of a pair is reached elsewhere.
    Move(SaId, Outer),
    /// The tunnel will not come up: drop what waits for it.
    Abandon(InterfaceId),
    /// The path to a peer takes outer IP packets of so many bytes at most, says who has checked it: the kernel of the host
    /// port. What ICMP errors at packet ports say is for [`Dataplane::outer_error`](crate::Dataplane::outer_error).
    PathMtu(IpAddr, u16),
    /// Routes beside those of the policy, for as long as their interface and table are there: those to clients. Of a table
    /// that there is not they are forgotten.
    AddRoutes(Vec<(TableId, Route)>),
    /// Routes that were added and go again.
    RemoveRoutes(Vec<(TableId, Route)>),
}

/// What the packet path hands out, in order.
#[derive(Debug)]
pub enum Output {
    /// A whole IP packet for a host interface.
    Plain {
        /// The interface that the route points at.
        interface: InterfaceId,
        /// The packet, from its IP header.
        packet: Buffer,
        /// What is left to be done to it.
        offload: Offload,
    },
    /// A whole IP packet for the gateway itself that the packet path does not answer.
    Local {
        /// The interface it came in by.
        from: InterfaceId,
        /// The packet, from its IP header.
        packet: Buffer,
        /// What is left to be done to it.
        offload: Offload,
    },
    /// A sealed packet for the outside, from its ESP header, or several one behind the other.
    Outer {
        /// Where from and where to, and how.
        outer: Outer,
        /// DiffServ byte with ECN (RFC 6040).
        ds: u8,
        /// It may not be cut on its way, where it is the shell that writes the outer header (IPv4).
        df: bool,
        /// The packet or packets.
        packet: Buffer,
        /// Length of each where there are several; the last may be shorter. There are at most
        /// [`TRAIN_MAX`](crate::TRAIN_MAX), together at most [`TRAIN_BYTES_MAX`](crate::TRAIN_BYTES_MAX) bytes.
        segment: Option<u16>,
    },
    /// A whole IP packet for a packet port, outer packets of tunnels among them.
    Link {
        /// The interface that the route points at.
        interface: InterfaceId,
        /// Whose link-layer address it goes to.
        next_hop: IpAddr,
        /// The packet, from its IP header.
        packet: Buffer,
    },
    /// An IKE message that came by a packet port.
    Ike {
        /// Where it came to.
        local: SocketAddr,
        /// Where it came from.
        remote: SocketAddr,
        /// DiffServ byte with ECN.
        ds: u8,
        /// The payload of the datagram; on port 4500 the marker is in front.
        payload: Buffer,
    },
    /// Something that only the control side can answer.
    Exception(Exception),
    /// A log event.
    Log(Record),
}

/// Something that only the control side can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// A packet needs an SA of this tunnel and waits. Raised at most once a second per tunnel and what the SA is to be
    /// for.
    Acquire {
        /// The tunnel.
        tunnel: InterfaceId,
        /// Source address and port (0 where there is none).
        source: (IpAddr, u16),
        /// Destination address and port (0 where there is none).
        destination: (IpAddr, u16),
        /// IP protocol.
        protocol: u8,
    },
    /// `soft_bytes` are through, or the sequence number nears its end.
    SoftLimit(SaId),
    /// `hard_bytes` are through, or the sequence number is used up: nothing more passes.
    HardLimit(SaId),
    /// Nobody knows this SPI. Raised at most once a second per address.
    UnknownSpi {
        /// The SPI.
        spi: u32,
        /// Who sent it.
        remote: SocketAddr,
    },
    /// An authentic packet of the pair came from elsewhere (RFC 7296 section 2.23); sealing still goes to the old place.
    Moved {
        /// The pair.
        sa: SaId,
        /// Where from.
        remote: SocketAddr,
    },
}

/// What has passed through a pair of SAs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaUsage {
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
