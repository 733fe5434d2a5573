//! What the layer hands out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use base::{Buffer, Duration, Instant, Record};
use wire::ethernet::Mac;

use crate::{InterfaceId, PortId};

/// Which of several workers' layers this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that asks, answers, announces and gets leases.
    Leader,
    /// One that carries packets and is told the neighbours.
    Follower,
}

/// To whom a frame was addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// To this gateway.
    Unicast,
    /// To a group that it belongs to.
    Multicast,
    /// To everybody.
    Broadcast,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send the frame.
    Frame {
        /// By which card.
        port: PortId,
        /// The frame, from its Ethernet header on.
        frame: Buffer,
    },
    /// An IP packet has come in.
    Packet {
        /// Where.
        interface: InterfaceId,
        /// The packet, from its IP header on; what padded the frame is gone.
        packet: Buffer,
        /// To whom the frame was addressed.
        cast: Cast,
    },
    /// The next hop did not answer; its sender should be told (RFC 1812 section 5.2.7.1, RFC 4443 section 3.1).
    Unreachable {
        /// Where it was asked for.
        interface: InterfaceId,
        /// Who did not answer.
        next_hop: IpAddr,
        /// The packet, as it was given.
        packet: Buffer,
    },
    /// From the leader: tell every other worker, with [`Link::learn`](crate::Link::learn).
    Learned(Learned),
    /// From a follower: the leader should ask, by [`Link::ask`](crate::Link::ask).
    Ask {
        /// Where.
        interface: InterfaceId,
        /// For whom.
        address: IpAddr,
    },
    /// From a follower: a frame for the leader's [`Link::frame`](crate::Link::frame).
    Control {
        /// The card it came in by.
        port: PortId,
        /// The frame.
        frame: Buffer,
    },
    /// Somebody for whom [`Link::probe`](crate::Link::probe) asked is there.
    Heard {
        /// Where.
        interface: InterfaceId,
        /// Who.
        address: IpAddr,
        /// Its hardware address.
        mac: Mac,
    },
    /// Another station uses an address of this gateway.
    Conflict {
        /// Where.
        interface: InterfaceId,
        /// Which address.
        address: IpAddr,
        /// The other station.
        mac: Mac,
        /// False when the address is not used here because of it.
        kept: bool,
    },
    /// An interface has an address by DHCP, new or prolonged: configure it.
    Lease(Lease),
    /// An interface has lost its address by DHCP: configure it without.
    LeaseLost {
        /// Where.
        interface: InterfaceId,
        /// Which address.
        address: Ipv4Addr,
    },
    /// Write it into the log.
    Log(Record),
}

/// What one worker learnt of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// Where.
    pub interface: InterfaceId,
    /// Who.
    pub address: IpAddr,
    /// Its hardware address; none when it is not there any more.
    pub mac: Option<Mac>,
}

/// What a DHCP server gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// To which interface.
    pub interface: InterfaceId,
    /// Its address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// The default gateway.
    pub router: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// For how long, from now on; none for ever.
    pub duration: Option<Duration>,
}

/// How much is known of a neighbour (RFC 4861 section 7.3.2; ARP's neighbours are kept alike).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It was asked for and has not answered.
    Incomplete,
    /// It answered not long ago.
    Reachable,
    /// It has not been heard of for a while, or was learnt without asking; it is used, and asked then.
    Stale,
    /// It was used while stale and is about to be asked.
    Delay,
    /// It is being asked whether it is still there.
    Probe,
    /// It was told by the configuration.
    Static,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Incomplete => "INCOMPLETE",
            Self::Reachable => "REACHABLE",
            Self::Stale => "STALE",
            Self::Delay => "DELAY",
            Self::Probe => "PROBE",
            Self::Static => "STATIC",
        })
    }
}

/// A neighbour as it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourStatus {
    /// Where.
    pub interface: InterfaceId,
    /// Its address.
    pub address: IpAddr,
    /// Its hardware address, once known.
    pub mac: Option<Mac>,
    /// How much is known.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// When that ends.
    pub until: Option<Instant>,
    /// Packets that wait for it.
    pub waiting: usize,
}
