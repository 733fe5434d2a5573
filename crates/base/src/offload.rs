/// What is left to be done to a packet before it can be on a wire: a kernel or a network card would have done it, or
/// will. Positions count from the packet's first byte, which is that of the IP header, or of the frame on a packet port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The transport checksum is not complete: its field holds the sum of the pseudo-header alone.
    pub checksum: Option<Checksum>,
    /// The packet stands for several: its payload is to be cut, each piece with a header of its own.
    pub segments: Option<Segments>,
}

/// Which checksum is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Where the sum begins: at the transport header.
    pub start: u16,
    /// Where its field is, from `start` on.
    pub offset: u16,
}

/// How a packet is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// Which headers the pieces get.
    pub kind: SegmentKind,
    /// Payload of each piece, bytes; the last may be shorter.
    pub size: u16,
    /// Length of all headers up to the payload.
    pub header_len: u16,
}

/// The headers of a packet that is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// TCP over IPv4; the pieces' identifications count up.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP over either: every piece is a datagram.
    Udp,
}

impl Offload {
    /// Nothing is left to be done.
    pub const NONE: Self = Self { checksum: None, segments: None };

    /// True when the packet is as it will be on the wire.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// The same for a packet in front of whose transport header `len` bytes were put. `None` when a position is beyond
    /// what the numbers hold.
    #[must_use]
    pub fn shifted(self, len: u16) -> Option<Self> {
        let checksum = match self.checksum {
            Some(Checksum { start, offset }) => Some(Checksum { start: start.checked_add(len)?, offset }),
            None => None,
        };
        let segments = match self.segments {
            Some(segments) => Some(Segments { header_len: segments.header_len.checked_add(len)?, ..segments }),
            None => None,
        };
        Some(Self { checksum, segments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_front_move_the_positions_and_not_the_sizes() {
        let offload = Offload {
            checksum: Some(Checksum { start: 34, offset: 16 }),
            segments: Some(Segments { kind: SegmentKind::TcpV4, size: 1_448, header_len: 66 }),
        };
        let shifted = offload.shifted(4).unwrap();
        assert_eq!(shifted.checksum, Some(Checksum { start: 38, offset: 16 }));
        assert_eq!(shifted.segments, Some(Segments { kind: SegmentKind::TcpV4, size: 1_448, header_len: 70 }));
        assert_eq!(offload.shifted(u16::MAX), None);
        assert_eq!(Offload::NONE.shifted(u16::MAX), Some(Offload::NONE));
    }
}
