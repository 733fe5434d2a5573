//! What a gateway is told and what it wants done: the same for the daemon, the simulator and the fuzzers.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base::{Buffer, Record};
use ipnet::IpNet;
use link::PortId;
use objects::Snapshot;

use crate::job::{Job, JobResult, Ticket};
use crate::{OpenPort, WantedPort};

/// What happens to a gateway.
#[derive(Debug)]
pub enum Input {
    /// A whole IP packet from the host port: the kernel routed it to our TUN device.
    Plain(Buffer),
    /// A datagram on UDP port 500 or 4500.
    Datagram {
        /// The address and port it was sent to.
        local: SocketAddr,
        /// The address and port it came from.
        remote: SocketAddr,
        /// DiffServ byte of the outer header; ECN in the low two bits.
        ds: u8,
        /// The UDP payload.
        payload: Buffer,
    },
    /// A packet of IP protocol 50, from its ESP header.
    Esp {
        /// The address it was sent to.
        local: IpAddr,
        /// The address it came from.
        remote: IpAddr,
        /// DiffServ byte of the outer header; ECN in the low two bits.
        ds: u8,
        /// The packet.
        payload: Buffer,
    },
    /// A frame from a packet port; with shards, one that a follower cannot judge.
    Frame {
        /// The port.
        port: PortId,
        /// The frame, from its Ethernet header.
        frame: Buffer,
    },
    /// A packet port is open, or its carrier has come or gone.
    Port(OpenPort),
    /// A follower wants to know a neighbour.
    Ask {
        /// On which interface.
        interface: link::InterfaceId,
        /// Whom.
        address: IpAddr,
    },
    /// The kernel of the host port says how long IP packets to a peer may be.
    PathMtu {
        /// The peer.
        remote: IpAddr,
        /// Bytes, the IP header included.
        mtu: u16,
    },
    /// What a shard of the packet path has handed out for the gateway: everything but packets that leave.
    Shard(dataplane::Output),
    /// A job that was started is done.
    Finished {
        /// Which.
        ticket: Ticket,
        /// What came of it.
        result: JobResult,
    },
    /// The interfaces of the kernel with these names have no link; all others have.
    Links {
        /// Names in the kernel.
        down: BTreeSet<String>,
    },
    /// A configuration that has been checked.
    Activate(Arc<Snapshot>),
    /// The time that [`Gateway::next_deadline`](crate::Gateway::next_deadline) named has come.
    Deadline,
    /// The gateway is to go down: SAs are deleted at the peers.
    ShutDown,
}

/// What a gateway wants done, in order.
#[derive(Debug)]
pub enum Action {
    /// Write this IP packet to the TUN device.
    Plain(Buffer),
    /// Send a UDP datagram from one of our sockets.
    Datagram {
        /// Our address and port (500 or 4500). An unspecified address (`0.0.0.0`, `::`): the kernel chooses.
        local: SocketAddr,
        /// Where to.
        remote: SocketAddr,
        /// DiffServ byte with ECN.
        ds: u8,
        /// The UDP payload.
        payload: Buffer,
    },
    /// Send a packet of IP protocol 50.
    Esp {
        /// Our address.
        local: IpAddr,
        /// Where to.
        remote: IpAddr,
        /// DiffServ byte with ECN.
        ds: u8,
        /// The packet from its ESP header.
        payload: Buffer,
    },
    /// Own exactly these network cards at layer 2, and tell of each with [`Input::Port`].
    Ports(Vec<WantedPort>),
    /// Send a frame by a packet port.
    Frame {
        /// The port.
        port: PortId,
        /// The frame, from its Ethernet header.
        frame: Buffer,
    },
    /// What a card must let through beside frames to its own address.
    Filter {
        /// The port.
        port: PortId,
        /// Addresses and groups.
        filter: link::Filter,
    },
    /// A DHCP server has lent an address to a packet port, or it is lost: the configuration is to be compiled with it.
    Lease {
        /// The card's name in the kernel.
        device: String,
        /// The VLAN; `None`: without tag.
        vlan: Option<u16>,
        /// `None`: there is no address any more.
        lease: Option<objects::Lease>,
    },
    /// Do this, and say [`Input::Finished`] in the end.
    Start(Job),
    /// The kernel must route exactly these networks to the TUN device, and no others of ours.
    Routes(Vec<HostRoute>),
    /// A log event.
    Log(Record),
    /// Shutting down is complete: nothing more will come.
    Down,
}

/// A route that the kernel must have, pointing at the TUN device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostRoute {
    /// Where to.
    pub network: IpNet,
    /// The source address that the kernel prefers for its own packets: the tunnel's originator address, when it is an
    /// address of this host.
    pub source: Option<IpAddr>,
    /// The kernel's metric; [`HostRoute::NOWHERE`]: the network leads nowhere, as long as no other route leads there.
    pub metric: u32,
}

impl HostRoute {
    /// The metric of a network that belongs to a tunnel and has no route into one: what is for it must not follow the
    /// host's default route in clear text.
    pub const NOWHERE: u32 = u32::MAX;
}
