//! What becomes of a frame: whose it is, and what it carries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base::{Buffer, Instant};
use wire::ethernet::{self, Header, Mac, Malformed};
use wire::{dhcp, ip, ipv4, ipv6, ndp, octets};

use crate::interface::Interface;
use crate::{Cast, Link, Output, PortId, Reason};

impl Link {
    /// Takes a frame that has come in by a port.
    pub fn frame(&mut self, now: Instant, port: PortId, mut frame: Buffer, out: &mut Vec<Output>) {
        let (header, index, cast) = match self.address(port, frame.bytes()) {
            Ok(addressed) => addressed,
            Err(reason) => return self.counters.count(reason),
        };
        let payload = frame.bytes().get(header.payload..).unwrap_or_default();
        if self.is_control(index, header.kind, payload) {
            if !self.is_leader() {
                return out.push(Output::Control { port, frame });
            }
            let done = match header.kind {
                ethernet::ARP => self.arp(now, index, header.source, payload, out),
                ethernet::IPV6 => self.ndp(now, index, header.source, payload, out),
                _ => self.dhcp(now, index, header.source, payload, out),
            };
            if let Err(reason) = done {
                self.counters.count(reason);
            }
            return;
        }
        frame.strip(header.payload);
        match self.packet(index, header.kind, cast, &mut frame) {
            Ok(interface) => out.push(Output::Packet { interface, packet: frame, cast }),
            Err(reason) => self.counters.count(reason),
        }
    }

    /// Reads the header and finds the interface.
    fn address(&self, port: PortId, frame: &[u8]) -> Result<(Header, usize, Cast), Reason> {
        let port = self.ports.iter().find(|known| known.id == port).ok_or(Reason::UnknownPort)?;
        let header = Header::parse(frame).map_err(|malformed| match malformed {
            Malformed::Truncated | Malformed::Length | Malformed::Vlan => Reason::MalformedFrame,
            Malformed::Tags => Reason::DoubleTagged,
        })?;
        if !header.source.is_unicast() {
            return Err(Reason::SourceMac);
        }
        if header.source == port.mac {
            return Err(Reason::OwnFrame);
        }
        let index = match header.vlan {
            None => port.untagged,
            Some(vlan) => port.vlans.get(&vlan).copied(),
        };
        let index = index.ok_or(Reason::UnknownVlan)?;
        let interface = self.interfaces.get(index).ok_or(Reason::UnknownVlan)?;
        let cast = cast(interface, header.destination).ok_or(Reason::NotForUs)?;
        Ok((header, index, cast))
    }

    /// True for what layer 2 itself is concerned with.
    fn is_control(&self, index: usize, kind: u16, payload: &[u8]) -> bool {
        match kind {
            ethernet::ARP => true,
            ethernet::IPV6 => ndp::carries_ndp(payload),
            ethernet::IPV4 => {
                self.interfaces.get(index).is_some_and(|interface| interface.dhcp.is_some())
                    && is_for_dhcp_client(payload)
            }
            _ => false,
        }
    }

    /// Checks that a packet is what the frame says, and takes off what padded the frame.
    fn packet(&self, index: usize, kind: u16, cast: Cast, packet: &mut Buffer) -> Result<crate::InterfaceId, Reason> {
        let interface = self.interfaces.get(index).ok_or(Reason::UnknownVlan)?;
        let bytes = packet.bytes();
        let (version, len, destination) = match kind {
            ethernet::IPV4 => {
                let destination = octets::array(bytes, 16).map(Ipv4Addr::from_octets).map(IpAddr::from);
                (4, octets::u16(bytes, 2).map(usize::from), destination)
            }
            ethernet::IPV6 => {
                let destination = octets::array(bytes, 24).map(Ipv6Addr::from_octets).map(IpAddr::from);
                (6, octets::u16(bytes, 4).map(|len| ipv6::HEADER + usize::from(len)), destination)
            }
            _ => return Err(Reason::UnknownEtherType),
        };
        let (Some(len), Some(destination)) = (len, destination) else { return Err(Reason::NotIp) };
        if ip::version(bytes) != Some(version) {
            return Err(Reason::NotIp);
        }
        // RFC 1122 section 3.3.6, RFC 1812 section 5.3.4: or one frame would become as many as there are routers.
        if cast != Cast::Unicast && !interface.is_group(destination) {
            return Err(Reason::UnicastInGroupFrame);
        }
        // A length of less than a header is for the packet path to refuse.
        if len >= ipv4::HEADER {
            packet.truncate(len);
        }
        Ok(interface.id)
    }
}

/// To whom a frame is addressed, when it is for us.
fn cast(interface: &Interface, destination: Mac) -> Option<Cast> {
    if destination == interface.mac {
        return Some(Cast::Unicast);
    }
    if destination == Mac::BROADCAST {
        return Some(Cast::Broadcast);
    }
    if !destination.is_group() {
        return interface.published_macs().any(|mac| mac == destination).then_some(Cast::Unicast);
    }
    let Mac([a, b, c, ..]) = destination;
    let ours = destination == Mac::of_group(ethernet::ALL_SYSTEMS.into())
        || interface.has_v6() && destination == Mac::of_group(ethernet::ALL_NODES.into())
        || interface.own_groups().any(|group| group == destination)
        || interface.speaks_for_v6() && [a, b, c] == [0x33, 0x33, 0xff];
    ours.then_some(Cast::Multicast)
}

/// True for an IPv4 packet that is a whole UDP datagram to the port of DHCP clients.
fn is_for_dhcp_client(packet: &[u8]) -> bool {
    let fragment = octets::u16(packet, 6).is_none_or(|flags| flags & 0x3fff != 0);
    let header = usize::from(octets::u8(packet, 0).unwrap_or(0) & 0x0f) * 4;
    octets::u8(packet, 9) == Some(ip::UDP)
        && !fragment
        && octets::u16(packet, header) == Some(dhcp::SERVER_PORT)
        && octets::u16(packet, header + 2) == Some(dhcp::CLIENT_PORT)
}
