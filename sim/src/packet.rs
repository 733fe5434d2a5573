//! IP packets as the kernels of this world see them: a header that is read, checked, built and counted down.
//!
//! Written apart from `wire` on purpose. What a gateway and its surroundings both read in the same wrong way would never
//! show; here a header that `wire` writes wrongly is a packet that a simulated kernel drops.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Protocol numbers of the IANA registry.
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const ESP: u8 = 50;
pub(crate) const ICMPV6: u8 = 58;

/// Hop limit of packets that begin here.
pub(crate) const TTL: u8 = 64;

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;

/// What stands in front of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where from.
    pub source: IpAddr,
    /// Where to.
    pub destination: IpAddr,
    /// IP protocol; behind an IPv6 fragment header, the protocol of what was cut.
    pub protocol: u8,
    /// Hops left.
    pub ttl: u8,
    /// DiffServ byte with ECN.
    pub ds: u8,
    /// Bytes in front of the payload.
    pub header_len: usize,
    /// Bytes of the whole packet.
    pub total_len: usize,
    /// IPv4: no router may cut this. Always true for IPv6 (RFC 8200 section 5).
    pub whole: bool,
    /// Set for a piece of a packet.
    pub piece: Option<Piece>,
    /// IPv4 identification.
    pub id: u16,
}

/// Which piece of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The same in all pieces.
    pub id: u32,
    /// Bytes in front of this piece.
    pub offset: usize,
    /// Pieces follow.
    pub more: bool,
}

/// Big-endian number of two bytes; 0 where there are none.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_be_bytes)
}

/// Big-endian number of four bytes; 0 where there are none.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// Overwrites bytes that are known to be there.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes.get_mut(at..at + value.len()).expect("the caller has looked at the length").copy_from_slice(value);
}

/// A length as a header carries it.
fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("no packet of this world is longer than 65535 bytes")
}

impl Header {
    /// Reads the header of a whole packet. `None`: not IP, cut short, or its checksum is wrong.
    pub fn read(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::read_v4(packet),
            6 => Self::read_v6(packet),
            _ => None,
        }
    }

    fn read_v4(packet: &[u8]) -> Option<Self> {
        let header_len = usize::from(packet.first()? & 15) * 4;
        let total_len = usize::from(u16_at(packet, 2));
        let header = packet.get(..header_len)?;
        if header_len < V4_HEADER || total_len < header_len || total_len > packet.len() || checksum(&[header]) != 0 {
            return None;
        }
        let flags = u16_at(header, 6);
        let offset = usize::from(flags & 0x1fff) * 8;
        let more = flags & 0x2000 != 0;
        Some(Self {
            source: Ipv4Addr::from_bits(u32_at(header, 12)).into(),
            destination: Ipv4Addr::from_bits(u32_at(header, 16)).into(),
            protocol: *header.get(9)?,
            ttl: *header.get(8)?,
            ds: *header.get(1)?,
            header_len,
            total_len,
            whole: flags & 0x4000 != 0,
            piece: (more || offset > 0).then_some(Piece { id: u16_at(header, 4).into(), offset, more }),
            id: u16_at(header, 4),
        })
    }

    fn read_v6(packet: &[u8]) -> Option<Self> {
        let header: &[u8; V6_HEADER] = packet.first_chunk()?;
        let [first, second, ..] = header;
        let total_len = V6_HEADER + usize::from(u16_at(header, 4));
        if total_len > packet.len() {
            return None;
        }
        let address = |at: usize| header.get(at..at + 16).and_then(|b| <[u8; 16]>::try_from(b).ok());
        let mut read = Self {
            source: Ipv6Addr::from(address(8)?).into(),
            destination: Ipv6Addr::from(address(24)?).into(),
            protocol: *header.get(6)?,
            ttl: *header.get(7)?,
            ds: first << 4 | second >> 4,
            header_len: V6_HEADER,
            total_len,
            whole: true,
            piece: None,
            id: 0,
        };
        if read.protocol == FRAGMENT {
            let extension = packet.get(V6_HEADER..V6_HEADER + 8).filter(|_| total_len >= V6_HEADER + 8)?;
            let place = u16_at(extension, 2);
            read.protocol = *extension.first()?;
            read.header_len += 8;
            read.piece =
                Some(Piece { id: u32_at(extension, 4), offset: usize::from(place & !7), more: place & 1 != 0 });
        }
        Some(read)
    }

    /// What the packet carries.
    pub fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet.get(self.header_len..self.total_len).unwrap_or_default()
    }

    /// Source and destination port, where the packet has them and begins here.
    pub fn ports(&self, packet: &[u8]) -> Option<(u16, u16)> {
        let payload = self.payload(packet);
        let begins = self.piece.is_none_or(|piece| piece.offset == 0);
        (begins && matches!(self.protocol, TCP | UDP) && payload.len() >= 8)
            .then(|| (u16_at(payload, 0), u16_at(payload, 2)))
    }
}

/// Builds a packet around `payload`.
pub(crate) fn build(source: IpAddr, destination: IpAddr, protocol: u8, ds: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut packet = vec![0; V4_HEADER];
            put(&mut packet, 0, &[0x45, ds]);
            put(&mut packet, 2, &length(V4_HEADER + payload.len()).to_be_bytes());
            put(&mut packet, 4, &id.to_be_bytes());
            put(&mut packet, 8, &[TTL, protocol]);
            put(&mut packet, 12, &source.octets());
            put(&mut packet, 16, &destination.octets());
            seal_v4(&mut packet);
            packet.extend_from_slice(payload);
            packet
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut packet = vec![0; V6_HEADER];
            put(&mut packet, 0, &[0x60 | ds >> 4, ds << 4]);
            put(&mut packet, 4, &length(payload.len()).to_be_bytes());
            put(&mut packet, 6, &[protocol, TTL]);
            put(&mut packet, 8, &source.octets());
            put(&mut packet, 24, &destination.octets());
            packet.extend_from_slice(payload);
            packet
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            panic!("a packet from {source} to {destination} mixes families")
        }
    }
}

/// A UDP datagram with its checksum.
pub(crate) fn build_udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(8 + payload.len());
    datagram.extend_from_slice(&source.port().to_be_bytes());
    datagram.extend_from_slice(&destination.port().to_be_bytes());
    datagram.extend_from_slice(&length(8 + payload.len()).to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(payload);
    // RFC 768: a checksum that comes out as zero travels as all ones.
    let sum = match transport_checksum(source.ip(), destination.ip(), UDP, &datagram) {
        0 => 0xffff,
        sum => sum,
    };
    put(&mut datagram, 6, &sum.to_be_bytes());
    datagram
}

/// The payload of a UDP datagram whose length and checksum are right.
pub(crate) fn open_udp<'a>(header: &Header, packet: &'a [u8]) -> Option<(u16, u16, &'a [u8])> {
    let datagram = header.payload(packet);
    let datagram = datagram.get(..usize::from(u16_at(datagram, 4)))?;
    let payload = datagram.get(8..)?;
    let unchecked = u16_at(datagram, 6) == 0 && header.source.is_ipv4();
    let right = unchecked || transport_checksum(header.source, header.destination, UDP, datagram) == 0;
    right.then(|| (u16_at(datagram, 0), u16_at(datagram, 2), payload))
}

/// Writes the checksum of an IPv4 header that has been changed.
pub(crate) fn seal_v4(packet: &mut [u8]) {
    put(packet, 10, &[0, 0]);
    let header_len = usize::from(packet.first().copied().unwrap_or(0) & 15) * 4;
    let sum = checksum(&[packet.get(..header_len).unwrap_or_default()]);
    put(packet, 10, &sum.to_be_bytes());
}

/// Counts one hop. False: there was none left.
pub(crate) fn count_hop(packet: &mut [u8], header: &Header) -> bool {
    let Some(ttl) = header.ttl.checked_sub(1).filter(|ttl| *ttl > 0) else { return false };
    if header.source.is_ipv4() {
        put(packet, 8, &[ttl]);
        seal_v4(packet);
    } else {
        put(packet, 7, &[ttl]);
    }
    true
}

/// The Internet checksum (RFC 1071) over parts of even length, the last perhaps odd. Over data that contains its own
/// checksum the result is 0 when that is right.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        let (words, rest) = part.as_chunks::<2>();
        sum += words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>();
        sum += rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    }
    fold(sum)
}

/// The checksum of what TCP, UDP and ICMPv6 protect: payload and addresses.
pub(crate) fn transport_checksum(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> u16 {
    let tail = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let protocol = [0, protocol];
    match (source, destination) {
        (IpAddr::V4(a), IpAddr::V4(b)) => checksum(&[&a.octets(), &b.octets(), &protocol, &tail, payload]),
        (IpAddr::V6(a), IpAddr::V6(b)) => checksum(&[&a.octets(), &b.octets(), &tail, &protocol, payload]),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
    }
}

/// A checksum after `old` has become `new` (RFC 1624): damage done before stays visible.
pub(crate) fn adjust(sum: u16, old: &[u8], new: &[u8]) -> u16 {
    let words = |bytes: &[u8]| u64::from(!checksum(&[bytes]));
    fold(u64::from(!sum) + (0xffff - words(old)) + words(new))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// An ICMP or ICMPv6 message with its checksum.
pub(crate) fn build_icmp(source: IpAddr, destination: IpAddr, kind: u8, code: u8, rest: u32, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend_from_slice(&rest.to_be_bytes());
    message.extend_from_slice(body);
    let sum = if source.is_ipv4() {
        checksum(&[&message])
    } else {
        transport_checksum(source, destination, ICMPV6, &message)
    };
    put(&mut message, 2, &sum.to_be_bytes());
    message
}

/// ICMP as far as this world speaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Icmp<'a> {
    /// Identifier and sequence number in one, and data.
    EchoRequest(u32, &'a [u8]),
    /// The same, coming back.
    EchoReply(u32, &'a [u8]),
    /// The next hop takes this many bytes; and the beginning of what was too big.
    TooBig(usize, &'a [u8]),
    /// It cannot be delivered; and its beginning.
    Unreachable(&'a [u8]),
}

impl<'a> Icmp<'a> {
    /// Reads a message whose checksum is right.
    pub(crate) fn read(header: &Header, packet: &'a [u8]) -> Option<Self> {
        let message = header.payload(packet);
        let sum = match header.protocol {
            ICMP => checksum(&[message]),
            ICMPV6 => transport_checksum(header.source, header.destination, ICMPV6, message),
            _ => return None,
        };
        let body = message.get(8..).filter(|_| sum == 0)?;
        let rest = u32_at(message, 4);
        Some(match (header.protocol, *message.first()?, *message.get(1)?) {
            (ICMP, 8, 0) | (ICMPV6, 128, 0) => Self::EchoRequest(rest, body),
            (ICMP, 0, 0) | (ICMPV6, 129, 0) => Self::EchoReply(rest, body),
            (ICMP, 3, 4) => Self::TooBig(usize::from(u16_at(message, 6)), body),
            (ICMPV6, 2, 0) => Self::TooBig(usize::try_from(rest).unwrap_or(usize::MAX), body),
            (ICMP, 3, _) | (ICMPV6, 1, _) => Self::Unreachable(body),
            _ => return None,
        })
    }
}

/// What can be seen of an IKE message from outside (RFC 7296 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IkeGlance {
    /// The initiator's SPI.
    pub spi_i: u64,
    /// The responder's SPI; 0 in the first message.
    pub spi_r: u64,
    /// 34 IKE_SA_INIT, 35 IKE_AUTH, 36 CREATE_CHILD_SA, 37 INFORMATIONAL.
    pub exchange: u8,
    /// Message ID.
    pub message_id: u32,
    /// A response.
    pub response: bool,
}

impl IkeGlance {
    /// Looks at a packet on its way. `None` when it is not a whole IKE message on port 500 or 4500.
    pub fn at(packet: &[u8]) -> Option<Self> {
        let header = Header::read(packet).filter(|header| header.protocol == UDP && header.piece.is_none())?;
        let (from, to) = header.ports(packet)?;
        let payload = header.payload(packet).get(8..)?;
        let message = match (from, to) {
            (500, _) | (_, 500) => payload,
            // RFC 3948 section 2.2: four zero bytes where an SPI would be.
            (4500, _) | (_, 4500) => payload.strip_prefix(&[0; 4])?,
            _ => return None,
        };
        let spi = |at| u64::from(u32_at(message, at)) << 32 | u64::from(u32_at(message, at + 4));
        (message.len() >= 28).then(|| Self {
            spi_i: spi(0),
            spi_r: spi(8),
            exchange: message.get(18).copied().unwrap_or(0),
            message_id: u32_at(message, 20),
            response: message.get(19).is_some_and(|flags| flags & 0x20 != 0),
        })
    }

    /// The exchange's name.
    pub fn name(&self) -> String {
        match self.exchange {
            34 => "IKE_SA_INIT".into(),
            35 => "IKE_AUTH".into(),
            36 => "CREATE_CHILD_SA".into(),
            37 => "INFORMATIONAL".into(),
            other => format!("exchange {other}"),
        }
    }
}

/// SPI and sequence number of an ESP packet, alone or in UDP.
pub(crate) fn esp_glance(packet: &[u8]) -> Option<(u32, u32)> {
    let header = Header::read(packet)?;
    if header.piece.is_some_and(|piece| piece.offset > 0) {
        return None;
    }
    let payload = header.payload(packet);
    let esp = match header.protocol {
        ESP => payload,
        UDP => {
            let (from, to) = header.ports(packet)?;
            payload.get(8..).filter(|esp| (from == 4500 || to == 4500) && u32_at(esp, 0) != 0)?
        }
        _ => return None,
    };
    (esp.len() >= 8).then(|| (u32_at(esp, 0), u32_at(esp, 4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_datagram_reads_back_in_both_families() {
        for (a, b) in [("198.51.100.1:500", "203.0.113.1:4500"), ("[2001:db8::1]:500", "[2001:db8::2]:4500")] {
            let (a, b): (SocketAddr, SocketAddr) = (a.parse().unwrap(), b.parse().unwrap());
            let packet = build(a.ip(), b.ip(), UDP, 0xb8, 7, &build_udp(a, b, b"odd"));
            let header = Header::read(&packet).unwrap();
            assert_eq!((header.source, header.destination, header.ds), (a.ip(), b.ip(), 0xb8));
            assert_eq!(open_udp(&header, &packet), Some((500, 4500, b"odd".as_slice())));
            for byte in header.header_len..packet.len() {
                let mut damaged = packet.clone();
                damaged[byte] ^= 0x10;
                assert_eq!(open_udp(&header, &damaged), None, "byte {byte}");
            }
        }
    }

    #[test]
    fn a_damaged_ipv4_header_is_no_packet() {
        let packet = build(ip("10.0.0.1"), ip("10.0.0.2"), ICMP, 0, 1, b"");
        for byte in 0..20 {
            let mut damaged = packet.clone();
            damaged[byte] ^= 1;
            assert_eq!(Header::read(&damaged), None, "byte {byte}");
        }
        assert_eq!(Header::read(&packet[..19]), None);
    }

    #[test]
    fn the_last_hop_is_not_taken() {
        for (a, b) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")] {
            let mut packet = build(ip(a), ip(b), UDP, 0, 1, b"");
            let mut hops = 0;
            let mut header = Header::read(&packet).unwrap();
            while count_hop(&mut packet, &header) {
                header = Header::read(&packet).unwrap();
                hops += 1;
            }
            assert_eq!(hops, 63);
        }
    }

    #[test]
    fn a_rewritten_address_keeps_the_checksum_right_and_damage_visible() {
        let (a, b) = ("10.99.0.10:500".parse().unwrap(), "203.0.113.1:500".parse().unwrap());
        let mut datagram = build_udp(a, b, b"payload");
        let sum = adjust(u16_at(&datagram, 6), &[10, 99, 0, 10], &[192, 0, 2, 2]);
        put(&mut datagram, 6, &sum.to_be_bytes());
        assert_eq!(transport_checksum(ip("192.0.2.2"), b.ip(), UDP, &datagram), 0);
        datagram[9] ^= 1;
        assert_ne!(transport_checksum(ip("192.0.2.2"), b.ip(), UDP, &datagram), 0);
    }

    #[test]
    fn echo_and_errors_read_back() {
        for (a, b, protocol, kinds) in [
            ("10.0.0.1", "10.0.0.2", ICMP, [(8, 0), (3, 4)]),
            ("2001:db8::1", "2001:db8::2", ICMPV6, [(128, 0), (2, 0)]),
        ] {
            let packets = kinds.map(|(kind, code)| {
                build(ip(a), ip(b), protocol, 0, 1, &build_icmp(ip(a), ip(b), kind, code, 1300, b"data"))
            });
            let read = packets.each_ref().map(|packet| Icmp::read(&Header::read(packet).unwrap(), packet).unwrap());
            assert_eq!(read, [Icmp::EchoRequest(1300, b"data"), Icmp::TooBig(1300, b"data")]);
        }
    }

    #[test]
    fn an_ike_message_is_recognised_on_both_ports() {
        let mut message = vec![0; 28];
        message[7] = 1;
        message[18] = 35;
        message[19] = 0x28;
        message[23] = 1;
        let expected = IkeGlance { spi_i: 1, spi_r: 0, exchange: 35, message_id: 1, response: true };
        for port in [500, 4500] {
            let at = SocketAddr::new(ip("10.0.0.1"), port);
            let payload = if port == 4500 { [&[0; 4], message.as_slice()].concat() } else { message.clone() };
            let packet = build(at.ip(), at.ip(), UDP, 0, 1, &build_udp(at, at, &payload));
            assert_eq!(IkeGlance::at(&packet), Some(expected));
            assert_eq!(esp_glance(&packet), None);
        }
    }
}
