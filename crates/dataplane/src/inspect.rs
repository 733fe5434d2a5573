//! What the rules, the flows and the selectors want to know of a packet, read once.

use std::net::{IpAddr, Ipv6Addr};

use wire::icmp::Class;
use wire::{icmp, ip, tcp, udp};

use crate::index::WORDS;

/// A packet that has been looked into: not a fragment, all headers checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) ip: ip::Header,
    pub(crate) transport: Transport,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Tcp(tcp::Header),
    Udp(udp::Header),
    Icmp(icmp::Header),
    Other,
}

impl Seen {
    /// Reads the transport header; `None` when it is truncated.
    pub(crate) fn new(packet: &[u8], ip: ip::Header) -> Option<Self> {
        let payload = ip.payload_of(packet);
        let transport = match ip.protocol {
            ip::TCP => Transport::Tcp(tcp::Header::parse(payload)?),
            ip::UDP => Transport::Udp(udp::Header::parse(payload)?),
            ip::ICMP if ip.is_v4() => Transport::Icmp(icmp::Header::parse(payload, false)?),
            ip::ICMPV6 if !ip.is_v4() => Transport::Icmp(icmp::Header::parse(payload, true)?),
            _ => Transport::Other,
        };
        Some(Self { ip, transport })
    }

    /// The connection it belongs to, seen from its sender. An echo has its identifier as the port of whoever asks; every
    /// other message of ICMP is a connection per type and code, so that none passes by what was allowed for another.
    pub(crate) fn key(&self) -> Key {
        let (ports, message) = match &self.transport {
            Transport::Tcp(tcp) => ((tcp.source, tcp.destination), None),
            Transport::Udp(udp) => ((udp.source, udp.destination), None),
            Transport::Icmp(icmp) => icmp_key(icmp),
            Transport::Other => ((0, 0), None),
        };
        Key { source: self.ip.source, destination: self.ip.destination, protocol: self.ip.protocol, ports, message }
    }

    /// Ports as selectors have them, of source and destination: for ICMP type and code (RFC 7296 section 3.13.1).
    pub(crate) fn selector_ports(&self) -> (Option<u16>, Option<u16>) {
        match &self.transport {
            Transport::Tcp(tcp) => (Some(tcp.source), Some(tcp.destination)),
            Transport::Udp(udp) => (Some(udp.source), Some(udp.destination)),
            Transport::Icmp(icmp) => (Some(icmp.selector_port()), Some(icmp.selector_port())),
            Transport::Other => (None, None),
        }
    }

    /// Ports of source and destination, where the protocol has some.
    pub(crate) fn ports(&self) -> Option<(u16, u16)> {
        match &self.transport {
            Transport::Tcp(tcp) => Some((tcp.source, tcp.destination)),
            Transport::Udp(udp) => Some((udp.source, udp.destination)),
            Transport::Icmp(_) | Transport::Other => None,
        }
    }

    pub(crate) fn class(&self) -> Option<Class> {
        match &self.transport {
            Transport::Icmp(icmp) => Some(icmp.class),
            _ => None,
        }
    }

    pub(crate) fn is_icmp_error(&self) -> bool {
        self.class() == Some(Class::Error)
    }
}

/// What names a connection, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) ports: (u16, u16),
    /// Type and code of a message of ICMP that is no echo.
    pub(crate) message: Option<(u8, u8)>,
}

fn icmp_key(icmp: &icmp::Header) -> ((u16, u16), Option<(u8, u8)>) {
    match icmp.class {
        Class::Request(id) => ((id, 0), None),
        Class::Reply(id) => ((0, id), None),
        Class::Error | Class::Redirect | Class::Other => ((0, 0), Some((icmp.kind, icmp.code))),
    }
}

impl Key {
    /// The same connection in the other direction.
    pub(crate) fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
            ports: (self.ports.1, self.ports.0),
            message: self.message,
        }
    }

    /// True when the other one is the same connection in the other direction.
    #[inline]
    pub(crate) fn is_reverse_of(&self, other: &Self) -> bool {
        self.ports == (other.ports.1, other.ports.0)
            && self.source == other.destination
            && self.destination == other.source
            && self.protocol == other.protocol
            && self.message == other.message
    }

    /// The connection of the packet that an ICMP error quotes. The quotation may end behind the first 8 bytes of the
    /// transport header (RFC 792), and its checksum and length may have been changed on the way.
    pub(crate) fn of_quotation(quoted: &[u8]) -> Option<Self> {
        let Quoted { source, destination, protocol, payload } = Quoted::parse(quoted)?;
        let transport = quoted.get(payload..)?;
        let (ports, message) = match protocol {
            ip::TCP | ip::UDP => ((wire::octets::u16(transport, 0)?, wire::octets::u16(transport, 2)?), None),
            ip::ICMP | ip::ICMPV6 if (protocol == ip::ICMP) == source.is_ipv4() => {
                let icmp = icmp::Header::parse(transport, protocol == ip::ICMPV6)?;
                // RFC 1122 section 3.2.2: no error is sent about an error, and a redirect counts as one.
                if matches!(icmp.class, Class::Error | Class::Redirect) {
                    return None;
                }
                icmp_key(&icmp)
            }
            _ => ((0, 0), None),
        };
        Some(Self { source, destination, protocol, ports, message })
    }
}

/// The IP header of a packet that an ICMP error quotes.
pub(crate) struct Quoted {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    /// Where the transport header starts, if the quotation reaches so far.
    pub(crate) payload: usize,
}

impl Quoted {
    /// Reads it, behind all extension headers; `None` when it is truncated, or that of a later fragment.
    pub(crate) fn parse(quoted: &[u8]) -> Option<Self> {
        match ip::version(quoted)? {
            4 => {
                let fragment = wire::octets::u16(quoted, 6)? & 0x1fff;
                let payload = usize::from(quoted.first()? & 0xf) * 4;
                // A header that claims to be shorter than any would have its ports among its addresses.
                if fragment != 0 || payload < wire::ipv4::HEADER {
                    return None;
                }
                let source = wire::octets::array::<4>(quoted, 12)?.into();
                let destination = wire::octets::array::<4>(quoted, 16)?.into();
                Some(Self { source, destination, protocol: wire::octets::u8(quoted, 9)?, payload })
            }
            6 => {
                let source = wire::octets::array::<16>(quoted, 8)?.into();
                let destination = wire::octets::array::<16>(quoted, 24)?.into();
                let first = wire::octets::u8(quoted, 6)?;
                let (protocol, payload) = wire::ipv6::transport_at(quoted, first, wire::ipv6::HEADER)?;
                Some(Self { source, destination, protocol, payload })
            }
            _ => None,
        }
    }
}

/// Ports, protocol and message in one word.
#[inline]
const fn rest(ports: (u16, u16), protocol: u8, message: Option<(u8, u8)>) -> u64 {
    let (known, kind, code) = match message {
        Some((kind, code)) => (1, kind, code),
        None => (0, 0, 0),
    };
    (ports.0 as u64) << 48 | (ports.1 as u64) << 32 | u32::from_be_bytes([protocol, known, kind, code]) as u64
}

/// An IPv6 address in two words.
#[inline]
const fn halves(address: Ipv6Addr) -> (u64, u64) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p]))
}

impl Key {
    /// True when these are its [words](Self::words).
    #[inline]
    pub(crate) fn has_words(&self, words: &[u64; WORDS]) -> bool {
        are((self.source, self.destination), rest(self.ports, self.protocol, self.message), words)
    }

    /// True when these are the words of the same connection in the other direction.
    #[inline]
    pub(crate) fn has_words_reversed(&self, words: &[u64; WORDS]) -> bool {
        let ports = (self.ports.1, self.ports.0);
        are((self.destination, self.source), rest(ports, self.protocol, self.message), words)
    }

    /// All of it in words, to be hashed: no two keys give the same ones.
    #[inline]
    pub(crate) fn words(&self) -> [u64; WORDS] {
        let rest = rest(self.ports, self.protocol, self.message);
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                [u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits()), 0, 0, 0, rest, 4]
            }
            (source, destination) => {
                let both = |address| match address {
                    IpAddr::V4(address) => (0, u64::from(address.to_bits())),
                    IpAddr::V6(address) => halves(address),
                };
                let ((a, b), (c, d)) = (both(source), both(destination));
                [a, b, c, d, rest, 6]
            }
        }
    }
}

/// Compared word by word, without writing a key's words down first: reading them in one piece just then is slow.
#[inline]
fn are(addresses: (IpAddr, IpAddr), rest: u64, [a, b, c, d, e, f]: &[u64; WORDS]) -> bool {
    let same = match addresses {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits()) == *a && *f == 4
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            halves(source) == (*a, *b) && halves(destination) == (*c, *d) && *f == 6
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => false,
    };
    same && rest == *e
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(packet: &[u8]) -> Seen {
        Seen::new(packet, ip::Header::parse(packet).unwrap()).unwrap()
    }

    #[test]
    fn an_echo_and_its_reply_are_one_connection() {
        for (a, b) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")] {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            let request = icmp::echo_request(a, b, 77, 1, b"x").unwrap();
            let mut reply = request.clone();
            let at = seen(&request).ip.payload;
            ip::swap_addresses(&mut reply);
            icmp::turn_into_reply(&mut reply[at..], b.is_ipv6());
            assert_eq!(seen(&request).key().reversed(), seen(&reply).key());
            assert_ne!(seen(&request).key(), seen(&reply).key());
        }
    }

    #[test]
    fn an_error_names_the_connection_of_the_packet_it_quotes() {
        let (a, b) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let request = icmp::echo_request(a, b, 77, 1, &[0; 400]).unwrap();
        let error = icmp::error_packet(icmp::Problem::TooBig(100), b, a, &request).unwrap();
        let quoted = icmp::quotation(seen(&error).ip.payload_of(&error));
        assert_eq!(Key::of_quotation(quoted), Some(seen(&request).key()));
        assert_eq!(Key::of_quotation(&quoted[..27]), None, "the eight bytes behind the header are not all there");
        let about_error = icmp::error_packet(icmp::Problem::TooBig(100), b, a, &error).unwrap();
        assert_eq!(Key::of_quotation(icmp::quotation(seen(&about_error).ip.payload_of(&about_error))), None);
    }
}
