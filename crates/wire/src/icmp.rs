//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo, and the errors a router sends.

use std::net::IpAddr;

use crate::checksum::{self, Sum};
use crate::{ip, ipv4, ipv6, octets};

/// Length of the header in front of an echo's data or an error's quotation.
pub const HEADER: usize = 8;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Message type.
    pub kind: u8,
    /// Code within the type.
    pub code: u8,
    /// The class of the message.
    pub class: Class,
}

/// What a firewall does with a message depends on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Echo request with its identifier.
    Request(u16),
    /// Echo reply with its identifier.
    Reply(u16),
    /// An error about the packet quoted behind the header.
    Error,
    /// Advice to use another router, for hosts on the link it was sent on (RFC 792, RFC 4861 section 4.5).
    Redirect,
    /// Anything else.
    Other,
}

impl Header {
    /// Reads the header of an ICMP (`v6` false) or ICMPv6 message; `None` when it is truncated.
    pub fn parse(message: &[u8], v6: bool) -> Option<Self> {
        let (kind, code) = (octets::u8(message, 0)?, octets::u8(message, 1)?);
        let id = octets::u16(message, 4)?;
        octets::u16(message, 6)?;
        let class = match (v6, kind) {
            (false, 8) | (true, 128) => Class::Request(id),
            (false, 0) | (true, 129) => Class::Reply(id),
            (false, 3 | 11 | 12) | (true, 1..=4) => Class::Error,
            (false, 5) | (true, 137) => Class::Redirect,
            _ => Class::Other,
        };
        Some(Self { kind, code, class })
    }

    /// Type and code in one number, as selectors have it (RFC 7296 section 3.13.1).
    pub fn selector_port(&self) -> u16 {
        u16::from_be_bytes([self.kind, self.code])
    }
}

/// The packet that an error quotes, or as much as there is of it.
pub fn quotation(message: &[u8]) -> &[u8] {
    message.get(HEADER..).unwrap_or_default()
}

/// Makes an echo request the reply to it; identifier and data stay.
pub fn turn_into_reply(message: &mut [u8], v6: bool) {
    let Some(old) = octets::u16(message, 0) else { return };
    let kind = if v6 { 129 } else { 0 };
    let new = u16::from_be_bytes([kind, 0]);
    octets::put_u16(message, 0, new);
    // Source and destination change places, which the sum over the pseudo header of ICMPv6 does not notice.
    if let Some(sum) = octets::u16(message, 2) {
        octets::put_u16(message, 2, checksum::update(sum, old, new));
    }
}

/// An error that a router sends about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The next hop takes no packets longer than this.
    TooBig(u16),
    /// The time to live ran out.
    TimeExceeded,
    /// An administrator forbids it.
    Prohibited,
    /// Nobody answers for the address on its link.
    HostUnreachable,
}

impl Problem {
    /// Type, code and the four bytes behind the checksum.
    const fn fields(self, v6: bool) -> (u8, u8, u32) {
        match (self, v6) {
            // RFC 1191 section 4.
            (Self::TooBig(mtu), false) => (3, 4, mtu as u32),
            (Self::TooBig(mtu), true) => (2, 0, mtu as u32),
            (Self::TimeExceeded, false) => (11, 0, 0),
            (Self::TimeExceeded, true) => (3, 0, 0),
            // RFC 1812 section 5.2.7.1: code 13; RFC 4443 section 3.1: code 1.
            (Self::Prohibited, false) => (3, 13, 0),
            (Self::Prohibited, true) => (1, 1, 0),
            // RFC 1812 section 5.2.7.1: code 1; RFC 4443 section 3.1: code 3.
            (Self::HostUnreachable, false) => (3, 1, 0),
            (Self::HostUnreachable, true) => (1, 3, 0),
        }
    }
}

/// Bytes of IPv4 error packets at most (RFC 1812 section 4.3.2.3).
const ERROR_V4_MAX: usize = 576;

/// The whole IP packet that tells `destination` about `problem` with the packet `offender`, or `None` when the addresses
/// are of two families. Quotes as much as the standards allow.
pub fn error_packet(problem: Problem, source: IpAddr, destination: IpAddr, offender: &[u8]) -> Option<Vec<u8>> {
    let v6 = source.is_ipv6();
    let (ip_len, packet_max) = if v6 { (ipv6::HEADER, ipv6::MTU_MIN) } else { (ipv4::HEADER, ERROR_V4_MAX) };
    let quoted = offender.get(..offender.len().min(packet_max - ip_len - HEADER))?;
    let (kind, code, rest) = problem.fields(v6);
    let mut message = Vec::with_capacity(HEADER + quoted.len());
    message.extend([kind, code, 0, 0]);
    message.extend(rest.to_be_bytes());
    message.extend(quoted);
    let protocol = if v6 { ip::ICMPV6 } else { ip::ICMP };
    let sum = if v6 {
        Sum::new().with_pseudo_header(source, destination, protocol, u32::try_from(message.len()).ok()?)
    } else {
        Sum::new()
    };
    let sum = sum.with(&message).checksum();
    octets::put_u16(&mut message, 2, sum);
    ip_packet(source, destination, protocol, &message)
}

/// An IP packet with the usual time to live around `payload`, or `None` when the addresses are of two families or the
/// payload is too long. It must not be fragmented, and so needs no identification (RFC 6864 section 4.1).
pub fn ip_packet(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Option<Vec<u8>> {
    packet(source, destination, protocol, (0, ipv4::DF), payload)
}

/// An IP packet, with this identification and these flags if it is IPv4.
fn packet(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    (id, flags): (u16, u16),
    payload: &[u8],
) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(ipv6::HEADER + payload.len());
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) if payload.len() <= ipv4::TOTAL_MAX - ipv4::HEADER => {
            let mut header = [0; ipv4::HEADER];
            let repr = ipv4::Repr { source, destination, protocol, ds: 0, ttl: 64, id, flags };
            repr.write(&mut header, payload.len());
            packet.extend(header);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) if payload.len() <= usize::from(u16::MAX) => {
            let mut header = [0; ipv6::HEADER];
            ipv6::Repr { source, destination, protocol, ds: 0, ttl: 64 }.write(&mut header, payload.len());
            packet.extend(header);
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => return None,
    }
    packet.extend(payload);
    Some(packet)
}

/// An echo request as a whole IP packet, or `None` when the addresses are of two families or `data` is too long. It may be
/// fragmented: its identification differs from those of all other requests that have the same `id` (RFC 6864 section 4.3).
pub fn echo_request(source: IpAddr, destination: IpAddr, id: u16, sequence: u16, data: &[u8]) -> Option<Vec<u8>> {
    let v6 = source.is_ipv6();
    let (kind, protocol) = if v6 { (128, ip::ICMPV6) } else { (8, ip::ICMP) };
    let mut message = Vec::with_capacity(HEADER + data.len());
    message.extend([kind, 0, 0, 0]);
    message.extend(id.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(data);
    let mut sum = Sum::new();
    if v6 {
        sum = sum.with_pseudo_header(source, destination, protocol, u32::try_from(message.len()).ok()?);
    }
    let sum = sum.with(&message).checksum();
    octets::put_u16(&mut message, 2, sum);
    // The numbers of two pings that run side by side lie far apart.
    let identification = id.wrapping_mul(0x9e37).wrapping_add(sequence);
    packet(source, destination, protocol, (identification, 0), &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(v6: bool) -> (IpAddr, IpAddr) {
        if v6 {
            ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap())
        } else {
            ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap())
        }
    }

    fn sum_is_right(packet: &[u8]) -> bool {
        let header = ip::Header::parse(packet).unwrap();
        let message = header.payload_of(packet);
        let sum = match header.is_v4() {
            true => Sum::new(),
            false => {
                let len = u32::try_from(message.len()).unwrap();
                Sum::new().with_pseudo_header(header.source, header.destination, ip::ICMPV6, len)
            }
        };
        sum.with(message).checksum() == 0
    }

    #[test]
    fn an_echo_becomes_its_reply_with_a_correct_checksum() {
        for v6 in [false, true] {
            let (a, b) = addresses(v6);
            let mut packet = echo_request(a, b, 0x1234, 7, b"hello").unwrap();
            assert!(sum_is_right(&packet));
            let at = ip::Header::parse(&packet).unwrap().payload;
            assert_eq!(Header::parse(&packet[at..], v6).unwrap().class, Class::Request(0x1234));
            turn_into_reply(&mut packet[at..], v6);
            assert_eq!(Header::parse(&packet[at..], v6).unwrap().class, Class::Reply(0x1234));
            assert!(sum_is_right(&packet));
        }
    }

    #[test]
    fn an_error_quotes_the_offender_within_its_bounds() {
        for (v6, packet_max) in [(false, 576), (true, 1280)] {
            let (a, b) = addresses(v6);
            let offender = echo_request(a, b, 1, 1, &[7; 3000]).unwrap();
            let error = error_packet(Problem::TooBig(1420), b, a, &offender).unwrap();
            assert_eq!(error.len(), packet_max);
            assert!(sum_is_right(&error));
            let header = ip::Header::parse(&error).unwrap();
            let message = header.payload_of(&error);
            assert_eq!(Header::parse(message, v6).unwrap().class, Class::Error);
            assert_eq!(octets::u32(message, 4), Some(1420));
            assert!(offender.starts_with(quotation(message)));
        }
    }

    #[test]
    fn a_packet_has_an_identification_of_its_own_or_must_not_be_fragmented() {
        let (a, b) = addresses(false);
        let mut seen = std::collections::BTreeSet::new();
        for (id, sequence) in (1..=4).flat_map(|id| (0..1000).map(move |sequence| (id, sequence))) {
            let request = echo_request(a, b, id, sequence, b"data").unwrap();
            assert_eq!(octets::u16(&request, 6), Some(0));
            assert!(seen.insert(octets::u16(&request, 4).unwrap()), "{id} {sequence}");
        }
        let request = echo_request(a, b, 1, 1, b"data").unwrap();
        let error = error_packet(Problem::TimeExceeded, b, a, &request).unwrap();
        for packet in [error, ip_packet(a, b, ip::TCP, &[0; 20]).unwrap()] {
            assert!(ip::Header::parse(&packet).unwrap().whole);
        }
    }

    #[test]
    fn families_never_mix() {
        assert_eq!(error_packet(Problem::TimeExceeded, addresses(false).0, addresses(true).0, &[]), None);
        assert_eq!(echo_request(addresses(true).0, addresses(false).0, 1, 1, &[]), None);
        assert_eq!(ip_packet(addresses(false).0, addresses(false).1, 1, &vec![0; 65_516]), None);
    }
}
