//! What IPv4 and IPv6 headers have in common: one parsed form for both, and the changes a router makes to them.

use std::fmt;
use std::net::IpAddr;

use crate::{ipv4, ipv6, octets};

/// ICMP.
pub const ICMP: u8 = 1;
/// IGMP.
pub const IGMP: u8 = 2;
/// IPv4 in IP.
pub const IPV4: u8 = 4;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// IPv6 in IP.
pub const IPV6: u8 = 41;
/// ESP.
pub const ESP: u8 = 50;
/// ICMPv6.
pub const ICMPV6: u8 = 58;
/// Nothing follows; the next header of an ESP dummy packet (RFC 4303 section 2.6).
pub const NONE: u8 = 59;

/// A checked header of either version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// DiffServ byte: code point in the upper six bits, ECN in the lower two.
    pub ds: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// The protocol behind the header and all extension headers.
    pub protocol: u8,
    /// Where that protocol starts.
    pub payload: usize,
    /// Length of the whole packet. What lies behind it is padding.
    pub total: usize,
    /// The packet must not be fragmented on its way: IPv4 with DF, and every IPv6 packet.
    pub whole: bool,
    /// It is a piece of a larger packet.
    pub fragment: Option<Fragment>,
}

/// A piece of a larger packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The same for all pieces.
    pub id: u32,
    /// Where in the payload the piece belongs, in bytes.
    pub offset: usize,
    /// More pieces lie behind it.
    pub more: bool,
    /// Where the fragment header starts, in an IPv6 packet.
    pub header: usize,
    /// Where the number of the protocol stands that the fragment header belongs to, in an IPv6 packet.
    pub chain: usize,
}

/// Why bytes are no IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer bytes than the header has.
    Truncated,
    /// Neither version 4 nor 6.
    Version,
    /// The header's own length is less than the least.
    HeaderLength,
    /// The header says there is more packet than there is, or less than a header.
    TotalLength,
    /// The header's checksum is wrong.
    Checksum,
    /// Source routing or record route options, which nobody honest sends.
    Options,
    /// Extension headers that do not end, or end outside of the packet.
    Extensions,
    /// A fragment whose offset and length make no packet.
    Fragment,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "shorter than an IP header",
            Self::Version => "neither IPv4 nor IPv6",
            Self::HeaderLength => "the header length is below the least",
            Self::TotalLength => "the length in the header does not fit the packet",
            Self::Checksum => "the header checksum is wrong",
            Self::Options => "source route option",
            Self::Extensions => "too many or truncated extension headers",
            Self::Fragment => "fragment outside of any packet",
        })
    }
}

impl Header {
    /// Reads and checks the header of either version.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        match version(bytes) {
            Some(4) => ipv4::parse(bytes),
            Some(6) => ipv6::parse(bytes),
            Some(_) => Err(Malformed::Version),
            None => Err(Malformed::Truncated),
        }
    }

    /// True for IPv4.
    pub const fn is_v4(&self) -> bool {
        self.source.is_ipv4()
    }

    /// The bytes behind all headers.
    pub fn payload_of<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet.get(self.payload..self.total).unwrap_or_default()
    }
}

/// The version number of a packet.
pub fn version(packet: &[u8]) -> Option<u8> {
    packet.first().map(|byte| byte >> 4)
}

/// Takes one off the time to live or hop limit, and mends the checksum. The packet has a checked header.
pub fn decrement_ttl(packet: &mut [u8]) {
    match version(packet) {
        Some(4) => {
            if let Some(word) = octets::u16(packet, 8).filter(|word| word >> 8 > 0) {
                ipv4::change(packet, 8, word - 0x0100);
            }
        }
        Some(6) => {
            if let Some(limit) = packet.get_mut(7) {
                *limit = limit.saturating_sub(1);
            }
        }
        _ => {}
    }
}

/// Writes the time to live or hop limit, and mends the checksum. The packet has a checked header.
pub fn set_ttl(packet: &mut [u8], ttl: u8) {
    match (version(packet), octets::u8(packet, 9)) {
        (Some(4), Some(protocol)) => ipv4::change(packet, 8, u16::from_be_bytes([ttl, protocol])),
        (Some(6), _) => octets::put(packet, 7, [ttl]),
        _ => {}
    }
}

/// Makes source and destination change places. No checksum notices.
pub fn swap_addresses(packet: &mut [u8]) {
    match version(packet) {
        Some(4) => swap::<4>(packet, 12),
        Some(6) => swap::<16>(packet, 8),
        _ => {}
    }
}

fn swap<const N: usize>(packet: &mut [u8], at: usize) {
    if let (Some(first), Some(second)) = (octets::array::<N>(packet, at), octets::array::<N>(packet, at + N)) {
        octets::put(packet, at, second);
        octets::put(packet, at + N, first);
    }
}

/// Writes the DiffServ byte, ECN included, and mends the checksum. The packet has a checked header.
pub fn set_ds(packet: &mut [u8], ds: u8) {
    let Some(word) = octets::u16(packet, 0) else { return };
    match word >> 12 {
        4 => ipv4::change(packet, 0, word & 0xff00 | u16::from(ds)),
        6 => octets::put_u16(packet, 0, word & 0xf00f | u16::from(ds) << 4),
        _ => {}
    }
}

/// ECN of the packet that comes out of a tunnel (RFC 6040 section 4.2), or `None`: the network said "congestion" and
/// the sender does not understand it, so the packet must be dropped for it.
pub const fn ecn_out_of_tunnel(inner_ds: u8, outer_ds: u8) -> Option<u8> {
    match (inner_ds & 3, outer_ds & 3) {
        (0, 3) => None,
        (0 | 3, _) => Some(inner_ds),
        (_, 3) => Some(inner_ds | 3),
        (2, 1) => Some(inner_ds & !3 | 1),
        _ => Some(inner_ds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ecn_table_is_that_of_rfc_6040() {
        const NOT: u8 = 0;
        const ECT1: u8 = 1;
        const ECT0: u8 = 2;
        const CE: u8 = 3;
        // Section 4.2, figure 4: rows are the inner, columns the outer field in the order Not-ECT, ECT(0), ECT(1), CE.
        let table = [
            (NOT, [Some(NOT), Some(NOT), Some(NOT), None]),
            (ECT0, [Some(ECT0), Some(ECT0), Some(ECT1), Some(CE)]),
            (ECT1, [Some(ECT1), Some(ECT1), Some(ECT1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ];
        for (inner, row) in table {
            for (outer, result) in [NOT, ECT0, ECT1, CE].into_iter().zip(row) {
                let ds = 0xb8 | inner;
                assert_eq!(ecn_out_of_tunnel(ds, outer), result.map(|ecn| 0xb8 | ecn), "{inner} {outer}");
            }
        }
    }

    #[test]
    fn a_packet_turned_round_keeps_its_checksum() {
        for (a, b) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")] {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            let mut packet = crate::icmp::echo_request(a, b, 1, 1, b"data").unwrap();
            swap_addresses(&mut packet);
            set_ttl(&mut packet, 9);
            let header = Header::parse(&packet).unwrap();
            assert_eq!((header.source, header.destination, header.ttl), (b, a, 9));
        }
    }

    #[test]
    fn nothing_is_neither_version() {
        assert_eq!(Header::parse(&[]), Err(Malformed::Truncated));
        assert_eq!(Header::parse(&[0x50; 40]), Err(Malformed::Version));
    }
}
