//! A home router: one public address for everybody inside, and only those who were spoken to may answer.
//!
//! Endpoint-independent mapping, address-and-port-dependent filtering (RFC 4787 sections 4.1 and 5), for UDP, TCP and
//! ICMP echo. Only packets from inside keep a mapping alive. IPv6 passes untranslated; protocol 50 does not pass.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use base::{Duration, Instant, Now};

use crate::interface::Interface;
use crate::kernel::{Kernel, Outbox};
use crate::packet::{Header, ICMP, Icmp, TCP, UDP, adjust, build_icmp, put, seal_v4, u16_at};

/// Index of the interface with the private side.
const INSIDE: usize = 0;
/// Index of the interface with the public side.
const OUTSIDE: usize = 1;

/// A port-restricted NAT between its first interface (inside) and its second (outside).
#[derive(Debug)]
pub struct NatBox {
    pub(crate) kernel: Kernel,
    mappings: BTreeMap<(u8, SocketAddr), Mapping>,
    timeout: Duration,
    next_port: u16,
    refused: u64,
}

#[derive(Debug)]
struct Mapping {
    port: u16,
    used: Instant,
    /// Who may answer.
    peers: BTreeMap<SocketAddr, Instant>,
}

impl NatBox {
    pub(crate) fn new(name: &str, inside: Interface, outside: Interface) -> Self {
        Self {
            kernel: Kernel::new(name, vec![inside, outside]),
            mappings: BTreeMap::new(),
            timeout: Duration::from_secs(60),
            next_port: 20_000,
            refused: 0,
        }
    }

    /// How long a mapping lives without a packet from inside; 60 seconds unless set.
    pub fn timeout(&mut self, timeout: Duration) -> &mut Self {
        self.timeout = timeout;
        self
    }

    /// Forgets every mapping, as after a power cut: the next packet from inside gets another port.
    pub fn rebind(&mut self) -> &mut Self {
        self.mappings.clear();
        self.next_port = self.next_port.checked_add(1_000).unwrap_or(20_000);
        self
    }

    /// Gets another public address from its provider, and forgets every mapping.
    pub fn move_to(&mut self, address: Ipv4Addr) -> &mut Self {
        if let Some(outside) = self.kernel.interfaces.get_mut(OUTSIDE) {
            for (own, _) in outside.addresses.iter_mut().filter(|(own, _)| own.is_ipv4()) {
                *own = address.into();
            }
        }
        self.rebind()
    }

    /// Packets from outside that nobody inside had asked for, and packets that cannot be translated.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Mappings that live.
    pub fn mappings(&self) -> usize {
        self.mappings.len()
    }

    pub(crate) fn receive(&mut self, now: Now, interface: usize, mut packet: Vec<u8>, out: &mut Outbox) {
        let now = now.mono;
        let Some(header) = self.kernel.admit(&mut packet) else { return };
        if header.source.is_ipv6() {
            if !self.kernel.owns(header.destination) {
                self.kernel.forward(packet, out);
            } else if let Some((header, packet)) = self.kernel.deliver(now, &header, packet) {
                self.kernel.icmp(&header, &packet, out);
            }
            return;
        }
        // A piece has no ports: translate the whole and cut it again on the way out.
        let Some((header, packet)) = self.kernel.deliver(now, &header, packet) else { return };
        let timeout = self.timeout;
        self.mappings.retain(|_, mapping| now.since(mapping.used) < timeout);
        if interface == INSIDE && !self.kernel.owns(header.destination) {
            self.outward(now, &header, packet, out);
        } else if interface == OUTSIDE {
            self.inward(now, &header, packet, out);
        } else {
            self.kernel.icmp(&header, &packet, out);
        }
    }

    fn outward(&mut self, now: Instant, header: &Header, mut packet: Vec<u8>, out: &mut Outbox) {
        let outside = self.kernel.interfaces.get(OUTSIDE).and_then(|interface| interface.own(true));
        let (Some((source, destination)), Some(outside)) = (endpoints(header, &packet, true), outside) else {
            self.refused += 1;
            return;
        };
        let next_port = &mut self.next_port;
        let mapping = self.mappings.entry((header.protocol, source)).or_insert_with(|| {
            *next_port = next_port.checked_add(1).unwrap_or(20_000);
            Mapping { port: *next_port, used: now, peers: BTreeMap::new() }
        });
        mapping.used = now;
        mapping.peers.insert(destination, now);
        rewrite(&mut packet, header, Side::Source, SocketAddr::new(outside, mapping.port));
        self.kernel.forward(packet, out);
    }

    fn inward(&mut self, now: Instant, header: &Header, mut packet: Vec<u8>, out: &mut Outbox) {
        if let Some(Icmp::TooBig(_, quoted) | Icmp::Unreachable(quoted)) = Icmp::read(header, &packet) {
            match self.inward_error(header, &packet, quoted) {
                Some(translated) => {
                    self.kernel.forward(translated, out);
                }
                None => self.refused += 1,
            }
            return;
        }
        let timeout = self.timeout;
        let inside = endpoints(header, &packet, false).and_then(|(remote, own)| {
            let mut found = self.mappings.iter().filter(|((protocol, _), mapping)| {
                let allowed = mapping.peers.get(&remote).is_some_and(|used| now.since(*used) < timeout);
                *protocol == header.protocol && mapping.port == own.port() && allowed
            });
            found.next().map(|((_, inside), _)| *inside)
        });
        match inside {
            Some(inside) if self.kernel.owns(header.destination) => {
                rewrite(&mut packet, header, Side::Destination, inside);
                self.kernel.forward(packet, out);
            }
            _ if self.kernel.owns(header.destination) && self.kernel.icmp(header, &packet, out) => {}
            _ => self.refused += 1,
        }
    }

    /// An ICMP error about a packet that went through here, as the sender inside must see it.
    fn inward_error(&self, header: &Header, packet: &[u8], quoted: &[u8]) -> Option<Vec<u8>> {
        let protocol = *quoted.get(9)?;
        let quoted_len = usize::from(quoted.first()? & 15) * 4;
        let port = quoted.get(quoted_len..quoted_len + 2).map(|ports| u16_at(ports, 0))?;
        let found = self.mappings.iter().find(|((of, _), mapping)| *of == protocol && mapping.port == port);
        let ((_, inside), _) = found?;
        let IpAddr::V4(inside_ip) = inside.ip() else { return None };
        let mut quoted = quoted.to_vec();
        put(&mut quoted, 12, &inside_ip.octets());
        put(&mut quoted, quoted_len, &inside.port().to_be_bytes());
        seal_v4(&mut quoted);
        let message = header.payload(packet);
        let rest = u32::from(u16_at(message, 4)) << 16 | u32::from(u16_at(message, 6));
        let [kind, code, ..] = *message else { return None };
        let error = build_icmp(header.source, inside.ip(), kind, code, rest, &quoted);
        Some(crate::packet::build(header.source, inside.ip(), ICMP, header.ds, header.id, &error))
    }
}

/// Source and destination with their ports; for an echo the identifier stands for the port of the one who asks.
fn endpoints(header: &Header, packet: &[u8], asking: bool) -> Option<(SocketAddr, SocketAddr)> {
    let (from, to) = match header.protocol {
        TCP | UDP => header.ports(packet)?,
        ICMP => {
            let ident = u16_at(header.payload(packet), 4);
            match (Icmp::read(header, packet)?, asking) {
                (Icmp::EchoRequest(..), true) => (ident, 0),
                (Icmp::EchoReply(..), false) => (0, ident),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some((SocketAddr::new(header.source, from), SocketAddr::new(header.destination, to)))
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

/// Puts another address and port into an IPv4 packet. Checksums are adjusted, not computed: damage stays visible.
fn rewrite(packet: &mut [u8], header: &Header, side: Side, new: SocketAddr) {
    let IpAddr::V4(new_ip) = new.ip() else { return };
    let (address_at, port_at) = match side {
        Side::Source => (12, header.header_len),
        Side::Destination => (16, header.header_len + 2),
    };
    let (port_at, sum_at) = match header.protocol {
        UDP => (port_at, header.header_len + 6),
        TCP => (port_at, header.header_len + 16),
        _ => (header.header_len + 4, header.header_len + 2),
    };
    if packet.len() < sum_at + 2 {
        return;
    }
    let old_ip = packet.get(address_at..address_at + 4).unwrap_or_default().to_vec();
    let old_port = u16_at(packet, port_at).to_be_bytes();
    let new_port = new.port().to_be_bytes();
    let mut sum = u16_at(packet, sum_at);
    let unchecked = header.protocol == UDP && sum == 0;
    sum = adjust(sum, &old_port, &new_port);
    if header.protocol != ICMP {
        sum = adjust(sum, &old_ip, &new_ip.octets());
    }
    put(packet, address_at, &new_ip.octets());
    put(packet, port_at, &new_port);
    if !unchecked {
        put(packet, sum_at, &sum.to_be_bytes());
    }
    seal_v4(packet);
}
