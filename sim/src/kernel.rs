//! What the kernel of every node does: addresses, routes, forwarding, fragments, and the ICMP that goes with them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::Instant;

use crate::fragments::{Reassembly, cut};
use crate::interface::{Interface, route};
use crate::packet::{Header, ICMP, ICMPV6, Icmp, build, build_icmp, count_hop};

/// Packets that a node wants sent: the interface's index, and the packet.
pub(crate) type Outbox = Vec<(usize, Vec<u8>)>;

/// What a kernel has done with packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sent on its way for somebody else.
    pub forwarded: u64,
    /// For this node itself.
    pub delivered: u64,
    /// Dropped: not IP, or damaged.
    pub damaged: u64,
    /// Dropped: no hops left.
    pub expired: u64,
    /// Dropped: no route.
    pub unroutable: u64,
    /// Dropped, and the sender told so: too big for the next link.
    pub too_big: u64,
    /// Cut into pieces.
    pub cut: u64,
    /// Echo requests answered.
    pub echoed: u64,
}

/// A kernel: what all nodes have in common.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) counters: Counters,
    reassembly: Reassembly,
    /// Path MTUs that routers have told us (RFC 1191, RFC 8201).
    path_mtu: BTreeMap<IpAddr, usize>,
    next_id: u32,
}

impl Kernel {
    pub(crate) fn new(name: &str, interfaces: Vec<Interface>) -> Self {
        Self {
            name: name.into(),
            interfaces,
            counters: Counters::default(),
            reassembly: Reassembly::default(),
            path_mtu: BTreeMap::new(),
            next_id: 1,
        }
    }

    /// The index of an interface; the name is the test's.
    pub(crate) fn interface(&self, name: &str) -> usize {
        self.interfaces
            .iter()
            .position(|interface| interface.name == name)
            .unwrap_or_else(|| panic!("{} has no interface `{name}`", self.name))
    }

    /// True for an address of this node.
    pub(crate) fn owns(&self, address: IpAddr) -> bool {
        self.interfaces.iter().flat_map(|interface| &interface.addresses).any(|(own, _)| *own == address)
    }

    /// The interface towards an address.
    pub(crate) fn route(&self, destination: IpAddr) -> Option<usize> {
        route(&self.interfaces, destination)
    }

    /// The address from which this node speaks to another.
    pub(crate) fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        self.interfaces.get(self.route(destination)?)?.own(destination.is_ipv4())
    }

    /// The largest packet that is known to reach an address.
    pub(crate) fn path_mtu(&self, destination: IpAddr) -> Option<usize> {
        let link = self.interfaces.get(self.route(destination)?)?.mtu;
        Some(self.path_mtu.get(&destination).map_or(link, |path| link.min(*path)))
    }

    /// Reads the header of a packet that came in; damaged ones are counted and end here.
    pub(crate) fn admit(&mut self, packet: &mut Vec<u8>) -> Option<Header> {
        let header = Header::read(packet);
        match header {
            Some(header) => packet.truncate(header.total_len),
            None => self.counters.damaged += 1,
        }
        header
    }

    /// Takes a packet for this node; returns it once it is whole.
    pub(crate) fn deliver(&mut self, now: Instant, header: &Header, packet: Vec<u8>) -> Option<(Header, Vec<u8>)> {
        let whole = self.reassembly.take(now, header, packet)?;
        let header = self.admit(&mut whole.clone())?;
        self.counters.delivered += 1;
        Some((header, whole))
    }

    /// Sends a packet of this node's own, cut to size.
    pub(crate) fn send(&mut self, packet: Vec<u8>, out: &mut Outbox) {
        let Some(header) = Header::read(&packet) else {
            self.counters.damaged += 1;
            return;
        };
        let (Some(interface), Some(mtu)) = (self.route(header.destination), self.path_mtu(header.destination)) else {
            self.counters.unroutable += 1;
            return;
        };
        if packet.len() <= mtu {
            out.push((interface, packet));
        } else {
            self.counters.cut += 1;
            let id = self.id();
            out.extend(cut(&packet, &header, mtu, id).into_iter().map(|piece| (interface, piece)));
        }
    }

    /// Builds and sends a packet of this node's own.
    pub(crate) fn originate(
        &mut self,
        (source, destination): (IpAddr, IpAddr),
        protocol: u8,
        ds: u8,
        payload: &[u8],
        out: &mut Outbox,
    ) {
        let [.., high, low] = self.id().to_be_bytes();
        self.send(build(source, destination, protocol, ds, u16::from_be_bytes([high, low]), payload), out);
    }

    /// Counts the hop and sends a packet on. False: it ended here.
    pub(crate) fn forward(&mut self, mut packet: Vec<u8>, out: &mut Outbox) -> bool {
        let Some(header) = Header::read(&packet) else { return false };
        if !count_hop(&mut packet, &header) {
            self.counters.expired += 1;
            return false;
        }
        self.route_on(packet, out)
    }

    /// Sends a packet on whose hop has been counted. False: it ended here.
    pub(crate) fn route_on(&mut self, packet: Vec<u8>, out: &mut Outbox) -> bool {
        let Some(header) = Header::read(&packet) else { return false };
        let Some(interface) = self.route(header.destination) else {
            self.counters.unroutable += 1;
            return false;
        };
        let mtu = self.interfaces.get(interface).map_or(0, |interface| interface.mtu);
        if packet.len() <= mtu {
            self.counters.forwarded += 1;
            out.push((interface, packet));
        } else if header.whole {
            self.counters.too_big += 1;
            self.complain(&header, &packet, mtu, out);
            return false;
        } else {
            self.counters.forwarded += 1;
            self.counters.cut += 1;
            out.extend(cut(&packet, &header, mtu, 0).into_iter().map(|piece| (interface, piece)));
        }
        true
    }

    /// Answers an echo request, and learns from a router what a path takes. True: nothing more is to be done with it.
    pub(crate) fn icmp(&mut self, header: &Header, packet: &[u8], out: &mut Outbox) -> bool {
        match Icmp::read(header, packet) {
            Some(Icmp::EchoRequest(rest, data)) => {
                let kind = if header.source.is_ipv4() { 0 } else { 129 };
                let reply = build_icmp(header.destination, header.source, kind, 0, rest, data);
                self.counters.echoed += 1;
                self.originate((header.destination, header.source), header.protocol, header.ds, &reply, out);
                true
            }
            Some(Icmp::TooBig(mtu, quoted)) => {
                if let Some(destination) = quoted_destination(quoted) {
                    self.path_mtu.insert(destination, mtu.max(if destination.is_ipv4() { 576 } else { 1280 }));
                }
                true
            }
            Some(Icmp::EchoReply(..) | Icmp::Unreachable(_)) | None => false,
        }
    }

    /// Tells a sender that its packet is too big for the next link (RFC 1191 section 4, RFC 4443 section 3.2).
    fn complain(&mut self, header: &Header, packet: &[u8], mtu: usize, out: &mut Outbox) {
        let Some(from) = self.source_for(header.source) else { return };
        let room = if header.source.is_ipv4() { 576 - 28 } else { 1280 - 48 };
        let quoted = packet.get(..packet.len().min(room)).unwrap_or_default();
        let rest = u32::try_from(mtu).unwrap_or(u32::MAX);
        let (protocol, kind, code) = if header.source.is_ipv4() { (ICMP, 3, 4) } else { (ICMPV6, 2, 0) };
        let message = build_icmp(from, header.source, kind, code, rest, quoted);
        self.originate((from, header.source), protocol, 0, &message, out);
    }

    fn id(&mut self) -> u32 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }
}

/// Where a packet went of which only the beginning is left.
fn quoted_destination(quoted: &[u8]) -> Option<IpAddr> {
    match quoted.first()? >> 4 {
        4 => quoted.get(16..20).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(IpAddr::from),
        6 => quoted.get(24..40).and_then(|b| <[u8; 16]>::try_from(b).ok()).map(IpAddr::from),
        _ => None,
    }
}
