//! A packet as a value: read into fields, written from its fields again with every checksum computed anew.

use std::net::IpAddr;

use crate::Reason;

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

/// A whole IP packet without options or extension headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) ds: u8,
    pub(super) ttl: u8,
    /// IPv4 only.
    pub(super) id: u16,
    /// Must not be fragmented; always so of IPv6.
    pub(super) whole: bool,
    pub(super) body: Body,
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Tcp(Segment),
    Udp {
        ports: (u16, u16),
        /// It has a checksum.
        sum: bool,
        data: Data,
    },
    /// ICMP in IPv4, ICMPv6 in IPv6.
    Icmp {
        kind: u8,
        code: u8,
        /// Identifier and sequence number of an echo, the size in an error, or whatever else.
        rest: [u8; 4],
        data: Data,
    },
    Other {
        protocol: u8,
        data: Data,
    },
}

/// Bytes that stories do not print at length.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Data(pub(super) Vec<u8>);

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().take(60).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, " ({} bytes)", self.0.len())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) ports: (u16, u16),
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) mss: Option<u16>,
    pub(super) scale: Option<u8>,
    pub(super) data: Data,
}

/// What names a connection in one direction. An echo has its identifier as the port of whoever asks; every other message of
/// ICMP is named by type and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) ports: (u16, u16),
    pub(super) message: Option<(u8, u8)>,
}

impl Key {
    pub(super) fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            ports: (self.ports.1, self.ports.0),
            protocol: self.protocol,
            message: self.message,
        }
    }
}

/// What an ICMP message is to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Request,
    Reply,
    Error,
    Redirect,
    Other,
}

pub(super) fn message_of(kind: u8, v4: bool) -> Message {
    match (v4, kind) {
        (true, 8) | (false, 128) => Message::Request,
        (true, 0) | (false, 129) => Message::Reply,
        (true, 3 | 11 | 12) | (false, 1..=4) => Message::Error,
        (true, 5) | (false, 137) => Message::Redirect,
        _ => Message::Other,
    }
}

impl Packet {
    pub(super) fn v4(&self) -> bool {
        self.source.is_ipv4()
    }

    pub(super) fn protocol(&self) -> u8 {
        match &self.body {
            Body::Tcp(_) => 6,
            Body::Udp { .. } => 17,
            Body::Icmp { .. } if self.v4() => 1,
            Body::Icmp { .. } => 58,
            Body::Other { protocol, .. } => *protocol,
        }
    }

    pub(super) fn message(&self) -> Option<Message> {
        match self.body {
            Body::Icmp { kind, .. } => Some(message_of(kind, self.v4())),
            _ => None,
        }
    }

    pub(super) fn key(&self) -> Key {
        let (ports, message) = match &self.body {
            Body::Tcp(segment) => (segment.ports, None),
            Body::Udp { ports, .. } => (*ports, None),
            Body::Icmp { kind, code, rest: [a, b, ..], .. } => {
                icmp_key(message_of(*kind, self.v4()), (*kind, *code), [*a, *b])
            }
            Body::Other { .. } => ((0, 0), None),
        };
        let (source, destination) = (self.source, self.destination);
        Key { source, destination, protocol: self.protocol(), ports, message }
    }

    /// The same packet with the addresses, ports and identifiers of another connection.
    pub(super) fn renamed(mut self, to: &Key) -> Self {
        let message = self.message();
        (self.source, self.destination) = (to.source, to.destination);
        match &mut self.body {
            Body::Tcp(segment) => segment.ports = to.ports,
            Body::Udp { ports, .. } => *ports = to.ports,
            Body::Icmp { rest, .. } => {
                let id = match message {
                    Some(Message::Request) => Some(to.ports.0),
                    Some(Message::Reply) => Some(to.ports.1),
                    _ => None,
                };
                if let Some(id) = id {
                    let ([a, b], [_, _, c, d]) = (id.to_be_bytes(), *rest);
                    *rest = [a, b, c, d];
                }
            }
            Body::Other { .. } => {}
        }
        self
    }

    pub(super) fn len(&self) -> usize {
        self.write().len()
    }

    /// The packet's bytes.
    pub(super) fn write(&self) -> Vec<u8> {
        let body = self.write_body();
        let mut bytes = self.header(body.len(), 0, false);
        bytes.extend(body);
        bytes
    }

    /// The packet in pieces of at most `mtu` bytes; `None` where that cannot be.
    pub(super) fn pieces(&self, mtu: usize) -> Option<Vec<Vec<u8>>> {
        if self.whole || !self.v4() {
            return None;
        }
        let (body, room) = (self.write_body(), mtu.checked_sub(20)? / 8 * 8);
        let count = body.len().div_ceil(room.max(1));
        let mut pieces = Vec::new();
        let mut at = 0;
        for _ in 0..count {
            let rest = body.get(at..)?;
            let part = if rest.len() <= mtu - 20 { rest } else { rest.get(..room)? };
            if part.is_empty() {
                break;
            }
            let mut piece = self.header(part.len(), at, at + part.len() < body.len());
            piece.extend(part);
            pieces.push(piece);
            at += part.len();
        }
        Some(pieces)
    }

    /// The IP header of so many bytes at this offset.
    pub(super) fn header(&self, len: usize, offset: usize, more: bool) -> Vec<u8> {
        let short = |number: usize| u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
        let mut header = Vec::new();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                header.extend([0x45, self.ds]);
                header.extend(short(20 + len));
                header.extend(self.id.to_be_bytes());
                let flags = if self.whole { 0x4000 } else { 0 } | if more { 0x2000 } else { 0 };
                header.extend(short(flags + offset / 8));
                header.extend([self.ttl, self.protocol(), 0, 0]);
                header.extend(source.octets());
                header.extend(destination.octets());
                let sum = checksum(&header);
                put(&mut header, 10, sum);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                header.extend([0x60 | self.ds >> 4, self.ds << 4, 0, 0]);
                header.extend(short(len));
                header.extend([self.protocol(), self.ttl]);
                header.extend(source.octets());
                header.extend(destination.octets());
            }
            (IpAddr::V4(_) | IpAddr::V6(_), _) => {}
        }
        header
    }

    fn write_body(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let sum_at = match &self.body {
            Body::Tcp(segment) => {
                segment.write(&mut bytes);
                Some(16)
            }
            Body::Udp { ports, sum, data } => {
                bytes.extend(ports.0.to_be_bytes());
                bytes.extend(ports.1.to_be_bytes());
                bytes.extend(u16::try_from(8 + data.0.len()).unwrap_or(0).to_be_bytes());
                bytes.extend([0, 0]);
                bytes.extend(&data.0);
                sum.then_some(6)
            }
            Body::Icmp { kind, code, rest, data } => {
                bytes.extend([*kind, *code, 0, 0]);
                bytes.extend(rest);
                bytes.extend(&data.0);
                Some(2)
            }
            Body::Other { data, .. } => {
                bytes.extend(&data.0);
                None
            }
        };
        if let Some(at) = sum_at {
            let mut summed = if self.v4() && self.protocol() == 1 { Vec::new() } else { self.pseudo(bytes.len()) };
            summed.extend(&bytes);
            let sum = match (self.protocol(), checksum(&summed)) {
                (17, 0) => 0xffff,
                (_, sum) => sum,
            };
            put(&mut bytes, at, sum);
        }
        bytes
    }

    fn pseudo(&self, len: usize) -> Vec<u8> {
        let mut pseudo = Vec::new();
        for address in [self.source, self.destination] {
            match address {
                IpAddr::V4(address) => pseudo.extend(address.octets()),
                IpAddr::V6(address) => pseudo.extend(address.octets()),
            }
        }
        pseudo.extend(u32::try_from(len).unwrap_or(0).to_be_bytes());
        pseudo.extend([0, 0, 0, self.protocol()]);
        pseudo
    }

    /// Reads the bytes, or says why they are no packet.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Reason> {
        let header = wire::ip::Header::parse(bytes).map_err(|_| Reason::MalformedIp)?;
        let id = if header.is_v4() { word(bytes, 4).unwrap_or(0) } else { 0 };
        let payload = header.payload_of(bytes);
        let body = read_body(header.protocol, header.is_v4(), payload).ok_or(Reason::MalformedTransport)?;
        Ok(Self {
            source: header.source,
            destination: header.destination,
            ds: header.ds,
            ttl: header.ttl,
            id,
            whole: header.whole,
            body,
        })
    }
}

fn read_body(protocol: u8, v4: bool, payload: &[u8]) -> Option<Body> {
    match protocol {
        6 => {
            let header = wire::tcp::Header::parse(payload)?;
            let options = payload.get(20..header.len)?;
            Some(Body::Tcp(Segment {
                ports: (header.source, header.destination),
                sequence: header.sequence,
                acknowledgement: header.acknowledgement,
                flags: header.flags,
                window: word(payload, 14)?,
                // As `write` puts them: the size first, then padding and the scale.
                mss: (options.first() == Some(&2)).then(|| word(options, 2)).flatten(),
                scale: options.iter().skip(if options.first() == Some(&2) { 7 } else { 3 }).copied().next(),
                data: Data(payload.get(header.len..)?.to_vec()),
            }))
        }
        17 => {
            let header = wire::udp::Header::parse(payload)?;
            let (ports, sum) = ((header.source, header.destination), word(payload, 6)? != 0);
            Some(Body::Udp { ports, sum, data: Data(payload.get(8..)?.to_vec()) })
        }
        1 | 58 if (protocol == 1) == v4 => {
            let [kind, code, _, _, a, b, c, d] = *payload.first_chunk::<8>()?;
            Some(Body::Icmp { kind, code, rest: [a, b, c, d], data: Data(payload.get(8..)?.to_vec()) })
        }
        protocol => Some(Body::Other { protocol, data: Data(payload.to_vec()) }),
    }
}

impl Segment {
    fn write(&self, bytes: &mut Vec<u8>) {
        let mut options = Vec::new();
        if let Some(mss) = self.mss {
            options.extend([2, 4]);
            options.extend(mss.to_be_bytes());
        }
        if let Some(scale) = self.scale {
            options.extend([1, 3, 3, scale]);
        }
        bytes.extend(self.ports.0.to_be_bytes());
        bytes.extend(self.ports.1.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgement.to_be_bytes());
        let words = u8::try_from(5 + options.len() / 4).unwrap_or(5);
        bytes.extend([words << 4, self.flags]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(options);
        bytes.extend(&self.data.0);
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// How many sequence numbers it takes.
    pub(super) fn space(&self) -> u32 {
        let flags = u32::from(self.has(SYN)) + u32::from(self.has(FIN));
        u32::try_from(self.data.0.len()).unwrap_or(0) + flags
    }
}

fn icmp_key(message: Message, named: (u8, u8), id: [u8; 2]) -> ((u16, u16), Option<(u8, u8)>) {
    match message {
        Message::Request => ((u16::from_be_bytes(id), 0), None),
        Message::Reply => ((0, u16::from_be_bytes(id)), None),
        Message::Error | Message::Redirect | Message::Other => ((0, 0), Some(named)),
    }
}

/// The connection of the packet that an ICMP error quotes, if enough of it is there.
pub(super) fn quoted_key(quoted: &[u8]) -> Option<Key> {
    let (v4, source, destination, protocol, transport) = match quoted.first()? >> 4 {
        4 => {
            let source: [u8; 4] = quoted.get(12..16)?.try_into().ok()?;
            let destination: [u8; 4] = quoted.get(16..20)?.try_into().ok()?;
            if word(quoted, 6)? & 0x1fff != 0 || *quoted.first()? != 0x45 {
                return None;
            }
            (true, IpAddr::from(source), IpAddr::from(destination), *quoted.get(9)?, quoted.get(20..)?)
        }
        6 => {
            let source: [u8; 16] = quoted.get(8..24)?.try_into().ok()?;
            let destination: [u8; 16] = quoted.get(24..40)?.try_into().ok()?;
            (false, source.into(), destination.into(), *quoted.get(6)?, quoted.get(40..)?)
        }
        _ => return None,
    };
    let (ports, message) = match protocol {
        6 | 17 => ((word(transport, 0)?, word(transport, 2)?), None),
        1 | 58 if (protocol == 1) == v4 => {
            let [kind, code, _, _, a, b, _, _] = *transport.first_chunk::<8>()?;
            let message = message_of(kind, v4);
            // No error is about an error, and a redirect counts as one.
            if matches!(message, Message::Error | Message::Redirect) {
                return None;
            }
            icmp_key(message, (kind, code), [a, b])
        }
        _ => ((0, 0), None),
    };
    Some(Key { source, destination, protocol, ports, message })
}

/// The quotation of a packet of another connection: whoever gets the error finds in it the packet that it has sent.
pub(super) fn requote(quoted: &[u8], to: &Key) -> Vec<u8> {
    let mut new = quoted.to_vec();
    let at = if to.source.is_ipv4() { 20 } else { 40 };
    match (to.source, to.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            copy(&mut new, 12, &source.octets());
            copy(&mut new, 16, &destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            copy(&mut new, 8, &source.octets());
            copy(&mut new, 24, &destination.octets());
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => {}
    }
    let addresses = if at == 20 { 12..20 } else { 8..40 };
    if at == 20 {
        mend(&mut new, 10, quoted, std::slice::from_ref(&addresses));
    }
    let echo = (to.protocol == 1 || to.protocol == 58) && to.message.is_none();
    let changed = match to.protocol {
        6 | 17 => {
            put(&mut new, at, to.ports.0);
            put(&mut new, at + 2, to.ports.1);
            vec![addresses, at..at + 4]
        }
        1 | 58 if echo => {
            let asks = matches!(quoted.get(at), Some(8 | 128));
            put(&mut new, at + 4, if asks { to.ports.0 } else { to.ports.1 });
            // The sum of ICMP for IPv4 does not cover addresses.
            let covered = if to.protocol == 1 { 0..0 } else { addresses };
            vec![covered, at + 4..at + 6]
        }
        58 => vec![addresses],
        _ => return new,
    };
    match to.protocol {
        6 => mend(&mut new, at + 16, quoted, &changed),
        // Zero says that there is none.
        17 if word(quoted, at + 6) != Some(0) => {
            mend(&mut new, at + 6, quoted, &changed);
            if word(&new, at + 6) == Some(0) {
                put(&mut new, at + 6, 0xffff);
            }
        }
        1 | 58 => mend(&mut new, at + 2, quoted, &changed),
        _ => {}
    }
    new
}

/// The whole packet may not be there, so the sum cannot be computed: it is the old one, less the old words that differ, plus
/// the new ones (RFC 1624).
fn mend(new: &mut [u8], at: usize, old: &[u8], changed: &[std::ops::Range<usize>]) {
    let Some(sum) = word(old, at) else { return };
    let mut total = u64::from(!sum);
    let mut differs = false;
    for place in changed.iter().flat_map(|range| range.clone().step_by(2)) {
        let (before, after) = (word(old, place).unwrap_or(0), word(new, place).unwrap_or(0));
        if before != after {
            differs = true;
            total += u64::from(!before) + u64::from(after);
        }
    }
    if differs {
        put(new, at, !fold(total));
    }
}

/// The Internet checksum (RFC 1071).
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let mut total = 0_u64;
    for pair in bytes.chunks(2) {
        total += u64::from(u16::from_be_bytes([pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0)]));
    }
    !fold(total)
}

fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap_or(0)
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

pub(super) fn put(bytes: &mut [u8], at: usize, word: u16) {
    copy(bytes, at, &word.to_be_bytes());
}

/// Writes what fits.
fn copy(bytes: &mut [u8], at: usize, from: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + from.len()) {
        place.copy_from_slice(from);
    }
}
