//! IPv6 headers and the chain of extension headers behind them (RFC 8200).
//!
//! ```text
//!  0 version, traffic class, flow label   4 payload length   6 next header   7 hop limit   8 source   24 destination
//! ```

use std::net::Ipv6Addr;

use crate::ip::{Fragment, Header, Malformed};
use crate::octets;

/// Length of the fixed header.
pub const HEADER: usize = 40;
/// Length of a fragment header.
pub const FRAGMENT_HEADER: usize = 8;
/// Number of the fragment header in the chain.
pub const FRAGMENT: u8 = 44;
/// The least MTU of every link (RFC 8200 section 5).
pub const MTU_MIN: usize = 1280;
/// A chain may have this many extension headers; RFC 8504 section 5.3 lets a node set such a limit.
pub const EXTENSIONS_MAX: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION_OPTIONS: u8 = 60;
const AUTHENTICATION: u8 = 51;

/// Reads and checks the header and the chain behind it.
pub fn parse(bytes: &[u8]) -> Result<Header, Malformed> {
    let fixed = bytes.first_chunk::<HEADER>().ok_or(Malformed::Truncated)?;
    let [v, t, _, _, l0, l1, next, hop_limit, ..] = *fixed;
    if v >> 4 != 6 {
        return Err(Malformed::Version);
    }
    let total = HEADER + usize::from(u16::from_be_bytes([l0, l1]));
    let packet = bytes.get(..total).ok_or(Malformed::TotalLength)?;
    let address = |at| octets::array::<16>(fixed, at).map(Ipv6Addr::from).ok_or(Malformed::Truncated);
    let chain = walk(packet, next, HEADER)?;
    if let Some(fragment) = &chain.fragment {
        let len = total - chain.payload;
        // RFC 8200 section 4.5: pieces but the last have a multiple of 8 bytes, and the whole must fit its length field.
        if len == 0 || fragment.more && !len.is_multiple_of(8) || fragment.offset + len > usize::from(u16::MAX) {
            return Err(Malformed::Fragment);
        }
    }
    Ok(Header {
        source: address(8)?.into(),
        destination: address(24)?.into(),
        ds: (v << 4) | (t >> 4),
        ttl: hop_limit,
        protocol: chain.protocol,
        payload: chain.payload,
        total,
        whole: true,
        fragment: chain.fragment,
    })
}

struct Chain {
    protocol: u8,
    payload: usize,
    fragment: Option<Fragment>,
}

/// The protocol behind a chain of extension headers that begins at `at`, and where it starts, as far as the bytes reach.
/// `None` when they do not reach so far, or belong to a later fragment.
pub fn transport_at(packet: &[u8], first: u8, at: usize) -> Option<(u8, usize)> {
    let chain = walk(packet, first, at).ok()?;
    let Some(fragment) = chain.fragment else { return Some((chain.protocol, chain.payload)) };
    let behind = walk(packet, chain.protocol, chain.payload).ok()?;
    (fragment.offset == 0 && behind.fragment.is_none()).then_some((behind.protocol, behind.payload))
}

/// Follows the chain up to a header that is no extension, or to a fragment header.
fn walk(packet: &[u8], first: u8, at: usize) -> Result<Chain, Malformed> {
    let (mut protocol, mut payload, mut number_at) = (first, at, 6);
    for count in 0..=EXTENSIONS_MAX {
        let len = match protocol {
            // Hop-by-hop options may only come first (RFC 8200 section 4.1).
            HOP_BY_HOP if count > 0 => return Err(Malformed::Extensions),
            HOP_BY_HOP | DESTINATION_OPTIONS => 8 + count_at(packet, payload)? * 8,
            ROUTING => {
                // RFC 5095: a routing header of type 0 steers packets in circles.
                if octets::u8(packet, payload + 2) == Some(0) {
                    return Err(Malformed::Options);
                }
                8 + count_at(packet, payload)? * 8
            }
            // RFC 4302 section 2.2: this one counts words of 4 bytes behind the first two.
            AUTHENTICATION => 8 + count_at(packet, payload)? * 4,
            FRAGMENT => return fragment(packet, payload, number_at),
            _ => return Ok(Chain { protocol, payload, fragment: None }),
        };
        number_at = payload;
        protocol = octets::u8(packet, payload).ok_or(Malformed::Extensions)?;
        payload += len;
        if payload > packet.len() {
            return Err(Malformed::Extensions);
        }
    }
    Err(Malformed::Extensions)
}

/// The length field of an extension header: units behind its first 8 bytes.
fn count_at(packet: &[u8], at: usize) -> Result<usize, Malformed> {
    octets::u8(packet, at + 1).map(usize::from).ok_or(Malformed::Extensions)
}

fn fragment(packet: &[u8], at: usize, chain: usize) -> Result<Chain, Malformed> {
    let [protocol, _, o0, o1, i0, i1, i2, i3] = octets::array::<8>(packet, at).ok_or(Malformed::Extensions)?;
    let word = u16::from_be_bytes([o0, o1]);
    let (offset, more) = (usize::from(word & 0xfff8), word & 1 != 0);
    let payload = at + FRAGMENT_HEADER;
    // RFC 8200 section 4.5: the first piece carries the whole chain; extension headers in it are left to reassembly.
    let fragment = Fragment { id: u32::from_be_bytes([i0, i1, i2, i3]), offset, more, header: at, chain };
    Ok(Chain { protocol, payload, fragment: Some(fragment) })
}

/// A header to be written, without extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Traffic class.
    pub ds: u8,
    /// Hop limit.
    pub ttl: u8,
}

impl Repr {
    /// Writes the header for a payload of `len` bytes, which must be under 65,536.
    pub fn write(&self, header: &mut [u8; HEADER], len: usize) {
        header.fill(0);
        octets::put_u16(header, 0, 0x6000 | u16::from(self.ds) << 4);
        octets::put_u16(header, 4, u16::try_from(len).unwrap_or(u16::MAX));
        octets::put(header, 6, [self.protocol, self.ttl]);
        octets::put(header, 8, self.source.octets());
        octets::put(header, 24, self.destination.octets());
    }
}

/// True for addresses that never leave their link: fe80::/10, and multicast of interface and link scope.
pub fn stays_on_link(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 0xfe && second & 0xc0 == 0x80 || first == 0xff && second & 0x0f <= 2
}

/// Makes the fixed header in front of `packet` say that `len` bytes follow it.
pub fn set_payload_length(packet: &mut [u8], len: usize) {
    octets::put_u16(packet, 4, u16::try_from(len).unwrap_or(u16::MAX));
}

/// Writes a fragment header (RFC 8200 section 4.5).
pub fn write_fragment_header(header: &mut [u8], protocol: u8, id: u32, offset: usize, more: bool) {
    let word = u16::try_from(offset).unwrap_or(0) & 0xfff8 | u16::from(more);
    octets::put(header, 0, [protocol, 0]);
    octets::put_u16(header, 2, word);
    octets::put(header, 4, id.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let repr = Repr {
            source: "2001:db8:1::1".parse().unwrap(),
            destination: "2001:db8:2::1".parse().unwrap(),
            protocol,
            ds: 0xb9,
            ttl: 64,
        };
        let mut header = [0; HEADER];
        repr.write(&mut header, payload.len());
        [&header[..], payload].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = packet(17, b"payload");
        let header = parse(&bytes).unwrap();
        assert_eq!(header.source.to_string(), "2001:db8:1::1");
        assert_eq!((header.ds, header.ttl, header.protocol, header.payload, header.total), (0xb9, 64, 17, 40, 47));
        assert_eq!(parse(&bytes[..46]), Err(Malformed::TotalLength));
        assert_eq!(parse(&bytes[..39]), Err(Malformed::Truncated));
    }

    #[test]
    fn the_chain_is_followed_to_the_transport() {
        let mut payload = vec![60, 0, 0, 0, 0, 0, 0, 0]; // hop-by-hop, 8 bytes
        payload.extend([17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // destination options, 16 bytes
        payload.extend(b"datagram");
        let bytes = packet(0, &payload);
        let header = parse(&bytes).unwrap();
        assert_eq!((header.protocol, header.payload_of(&bytes)), (17, &b"datagram"[..]));
    }

    #[test]
    fn a_chain_that_is_too_long_or_leaves_the_packet_is_refused() {
        let long: Vec<u8> = [60, 0, 0, 0, 0, 0, 0, 0].repeat(EXTENSIONS_MAX + 1);
        assert_eq!(parse(&packet(60, &long)), Err(Malformed::Extensions));
        assert_eq!(parse(&packet(60, &[17, 4, 0, 0, 0, 0, 0, 0])), Err(Malformed::Extensions));
        assert_eq!(parse(&packet(60, &[])), Err(Malformed::Extensions));
        assert_eq!(parse(&packet(60, &[0, 0, 0, 0, 0, 0, 0, 0])), Err(Malformed::Extensions));
        assert_eq!(parse(&packet(43, &[17, 0, 0, 1, 0, 0, 0, 0])), Err(Malformed::Options));
    }

    #[test]
    fn a_fragment_says_where_it_belongs() {
        let mut payload = vec![0; 8];
        write_fragment_header(&mut payload, 17, 0xdead_beef, 1232, true);
        payload.extend([7; 16]);
        let header = parse(&packet(44, &payload)).unwrap();
        let fragment = header.fragment.unwrap();
        assert_eq!((header.protocol, header.payload), (17, 48));
        assert_eq!((fragment.id, fragment.offset, fragment.more, fragment.header), (0xdead_beef, 1232, true, 40));
        payload.pop();
        assert_eq!(parse(&packet(44, &payload)), Err(Malformed::Fragment));
    }
}
