//! Cutting: from one packet that stands for many to these, each written once where it is to be sealed.

use std::fmt;

use base::Segments;
use wire::checksum::Sum;
use wire::{ip, ipv6, octets, tcp, udp};

/// Segments that one packet may stand for: 64 KiB in pieces of 32 bytes, less than any sender chooses.
pub const SEGMENTS_MAX: usize = 2048;

/// What only the last segment says.
const LAST_ONLY: u8 = tcp::FIN | tcp::PSH;
/// What no segment says that is one of many.
const NEVER: u8 = tcp::SYN | tcp::RST | tcp::URG;

/// Why a packet is not cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncuttable {
    /// The headers are not those of the kind it says it is, or end outside of it.
    Headers,
    /// A fragment, or extension headers.
    Extensions,
    /// The pieces would have no payload, or be more than [`SEGMENTS_MAX`].
    Size,
    /// SYN, RST or URG, which have no meaning for many segments.
    Flags,
}

impl fmt::Display for Uncuttable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Headers => "the headers do not fit the packet",
            Self::Extensions => "a fragment, or extension headers, in a packet that is to be cut",
            Self::Size => "the size of the pieces makes none or too many of them",
            Self::Flags => "SYN, RST or URG in a packet that is to be cut",
        })
    }
}

impl std::error::Error for Uncuttable {}

/// The segments of a packet, in order.
///
/// Checksums are computed from the headers alone: whatever stands in the packet's own fields does not matter, so that
/// addresses and ports may have been translated without mending them.
#[derive(Clone, Debug)]
pub struct Segmenter<'a> {
    /// All headers, as the packet has them.
    headers: &'a [u8],
    /// Payload that is left.
    rest: &'a [u8],
    size: usize,
    /// Where the transport header starts.
    transport: usize,
    v4: bool,
    /// Pieces written.
    done: u16,
    /// Of TCP: first sequence number and flags.
    tcp: Option<(u32, u8)>,
    id: u16,
    /// The header checksum of IPv4 without what changes.
    ip_sum: Sum,
    /// Pseudo-header and transport header without what changes.
    transport_sum: Sum,
}

impl<'a> Segmenter<'a> {
    /// Looks at a packet that is to be cut; `header` is its own, checked. Lengths come from the headers, not from
    /// [`Segments::header_len`], which only advises.
    ///
    /// # Errors
    /// When the packet is none that can be cut.
    pub fn new(packet: &'a [u8], header: &ip::Header, segments: Segments) -> Result<Self, Uncuttable> {
        use base::SegmentKind::{TcpV4, TcpV6, Udp};
        let v4 = header.is_v4();
        match (segments.kind, header.protocol, v4) {
            (TcpV4, ip::TCP, true) | (TcpV6, ip::TCP, false) | (Udp, ip::UDP, _) => {}
            _ => return Err(Uncuttable::Headers),
        }
        if header.fragment.is_some() || !v4 && header.payload != ipv6::HEADER {
            return Err(Uncuttable::Extensions);
        }
        let whole = packet.get(..header.total).ok_or(Uncuttable::Headers)?;
        let transport = whole.get(header.payload..).ok_or(Uncuttable::Headers)?;
        let pseudo = Sum::new().with_pseudo_header(header.source, header.destination, header.protocol, 0);
        let (len, tcp, transport_sum) = if header.protocol == ip::TCP {
            let tcp = tcp::Header::parse(transport).ok_or(Uncuttable::Headers)?;
            if tcp.flags & NEVER != 0 {
                return Err(Uncuttable::Flags);
            }
            let (ports, acknowledgement) = (transport.get(..4), transport.get(8..12));
            let (window, behind) = (transport.get(14..16), transport.get(18..tcp.len));
            let sum = [ports, acknowledgement, window, behind].into_iter().flatten().fold(pseudo, Sum::with);
            // The reserved bits share a word with the flags.
            let sum = sum.with_u16(u16::from(octets::u8(transport, 12).unwrap_or(0)) << 8);
            (tcp.len, Some((tcp.sequence, tcp.flags)), sum)
        } else {
            // Its length field need not be looked at: each piece gets its own.
            (udp::HEADER, None, pseudo.with(transport.get(..4).ok_or(Uncuttable::Headers)?))
        };
        let (headers, rest) = whole.split_at_checked(header.payload + len).ok_or(Uncuttable::Headers)?;
        let size = usize::from(segments.size);
        if size == 0 || rest.len().div_ceil(size) > SEGMENTS_MAX {
            return Err(Uncuttable::Size);
        }
        let ip_sum = if v4 {
            let kept = [headers.get(..2), headers.get(6..10), headers.get(12..header.payload)];
            kept.into_iter().flatten().fold(Sum::new(), Sum::with)
        } else {
            Sum::new()
        };
        let id = if v4 { octets::u16(headers, 4).unwrap_or(0) } else { 0 };
        Ok(Self { headers, rest, size, transport: header.payload, v4, done: 0, tcp, id, ip_sum, transport_sum })
    }

    /// Length of the next segment with its headers; `None` when all are written.
    #[inline]
    pub fn next_len(&self) -> Option<usize> {
        // A packet without payload is one segment.
        (self.done == 0 || !self.rest.is_empty()).then(|| self.headers.len() + self.rest.len().min(self.size))
    }

    /// How many segments are left.
    pub fn left(&self) -> usize {
        self.rest.len().div_ceil(self.size).max(usize::from(self.done == 0))
    }

    /// Writes the next segment to the start of `out` and returns its length. `None` when all are written, and when `out`
    /// is shorter than [`Self::next_len`]: then it stays the next one.
    #[inline]
    pub fn write_next(&mut self, out: &mut [u8]) -> Option<usize> {
        let out = out.get_mut(..self.next_len()?)?;
        let (payload, rest) = self.rest.split_at_checked(self.size).unwrap_or((self.rest, &[]));
        let (headers, body) = out.split_at_mut_checked(self.headers.len())?;
        headers.copy_from_slice(self.headers);
        body.copy_from_slice(payload);
        let payload_sum = Sum::new().with(body);
        let total = u16::try_from(out.len()).ok()?;
        let transport_len = total.checked_sub(u16::try_from(self.transport).ok()?)?;
        if self.v4 {
            // RFC 6864 section 4: a number of its own for every packet.
            let id = self.id.wrapping_add(self.done);
            octets::put_u16(out, 2, total);
            octets::put_u16(out, 4, id);
            octets::put_u16(out, 10, self.ip_sum.with_u16(total).with_u16(id).checksum());
        } else {
            ipv6::set_payload_length(out, usize::from(transport_len));
        }
        let sum = self.transport_sum.with_u16(transport_len);
        let header = out.get_mut(self.transport..)?;
        if let Some((first, all)) = self.tcp {
            let offset = usize::from(self.done).wrapping_mul(self.size);
            let sequence = first.wrapping_add(u32::try_from(offset).ok()?);
            // RFC 3168 section 6.1.2: the window is reduced once.
            let not_first = if self.done == 0 { 0 } else { tcp::CWR };
            let not_yet = if rest.is_empty() { 0 } else { LAST_ONLY };
            let flags = all & !not_first & !not_yet;
            octets::put(header, 4, sequence.to_be_bytes());
            octets::put(header, 13, [flags]);
            let sum = sum.with(&sequence.to_be_bytes()).with_u16(u16::from(flags));
            octets::put_u16(header, 16, sum.plus(payload_sum).checksum());
        } else {
            octets::put_u16(header, 4, transport_len);
            let sum = match sum.with_u16(transport_len).plus(payload_sum).checksum() {
                0 => u16::MAX,
                sum => sum,
            };
            octets::put_u16(header, 6, sum);
        }
        self.rest = rest;
        self.done = self.done.wrapping_add(1);
        Some(usize::from(total))
    }
}
