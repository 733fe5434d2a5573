//! The header with which the kernel says, and is told, what is left to be done to a packet: `struct virtio_net_hdr`, in
//! the byte order of the machine.

use base::{Buffer, Checksum, Offload, SegmentKind, Segments};
use dataplane::offload::{Segmenter, complete_checksum};

/// Its length, bytes.
pub const HEADER_LEN: usize = 10;
/// Its length with the number of buffers behind it, which is always zero for us, bytes.
pub const LONG_HEADER_LEN: usize = 12;

/// The header as it is read and written.
pub type Header = [u8; LONG_HEADER_LEN];

/// flags
const NEEDS_CSUM: u8 = 1;
/// gso_type
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// The first segment of the sender had CWR set (RFC 3168): cutting looks at the header itself.
const GSO_ECN: u8 = 0x80;

/// Understands the header of `packet`. `None` for one that asks for something that we do not know, or whose positions
/// are not in the packet.
pub fn read(header: &Header, packet: &[u8]) -> Option<Offload> {
    let [flags, gso, _, _, size_0, size_1, start_0, start_1, offset_0, offset_1, ..] = *header;
    let start = u16::from_ne_bytes([start_0, start_1]);
    let offset = u16::from_ne_bytes([offset_0, offset_1]);
    let checksum = if flags & NEEDS_CSUM == 0 {
        None
    } else {
        packet.get(usize::from(start).checked_add(usize::from(offset))?..)?.get(..2)?;
        Some(Checksum { start, offset })
    };
    let kind = match gso & !GSO_ECN {
        GSO_NONE => return Some(Offload { checksum, segments: None }),
        GSO_TCPV4 => SegmentKind::TcpV4,
        GSO_TCPV6 => SegmentKind::TcpV6,
        GSO_UDP_L4 => SegmentKind::Udp,
        _ => return None,
    };
    let size = u16::from_ne_bytes([size_0, size_1]);
    if size == 0 {
        return None;
    }
    // The kernel's own figure of the headers' length is a hint: of a forwarded packet it may be that of the first piece
    // with its payload. The checksum of a packet to be cut is always left, and so says where the transport header is.
    let transport = usize::from(checksum?.start);
    let transport_len = match kind {
        SegmentKind::TcpV4 | SegmentKind::TcpV6 => usize::from(packet.get(transport + 12)? >> 4) * 4,
        SegmentKind::Udp => 8,
    };
    let header_len = u16::try_from(transport + transport_len).ok()?;
    packet.get(usize::from(header_len)..)?;
    Some(Offload { checksum, segments: Some(Segments { kind, size, header_len }) })
}

/// Makes the header for a packet.
pub fn write(offload: &Offload) -> Header {
    let mut header = Header::default();
    let [flags, gso, len_0, len_1, size_0, size_1, start_0, start_1, offset_0, offset_1, ..] = &mut header;
    if let Some(checksum) = offload.checksum {
        *flags = NEEDS_CSUM;
        [*start_0, *start_1] = checksum.start.to_ne_bytes();
        [*offset_0, *offset_1] = checksum.offset.to_ne_bytes();
    }
    if let Some(segments) = offload.segments {
        *gso = match segments.kind {
            SegmentKind::TcpV4 => GSO_TCPV4,
            SegmentKind::TcpV6 => GSO_TCPV6,
            SegmentKind::Udp => GSO_UDP_L4,
        };
        [*len_0, *len_1] = segments.header_len.to_ne_bytes();
        [*size_0, *size_1] = segments.size.to_ne_bytes();
    }
    header
}

/// Does what is left to do to a packet behind `front` bytes of another header: cuts it where it stands for several, each
/// with these bytes in front, and completes checksums. Each comes in a buffer of its own. What cannot be done is lost.
pub fn complete(
    front: usize,
    bytes: &[u8],
    offload: Offload,
    buffer: &mut impl FnMut() -> Buffer,
    mut take: impl FnMut(Buffer),
) {
    let Some(segments) = offload.segments else {
        let mut copy = buffer();
        copy.extend(bytes);
        if let Some(missing) = offload.checksum
            && complete_checksum(copy.bytes_mut(), missing).is_none()
        {
            return;
        }
        return take(copy);
    };
    let Some((front, packet)) = bytes.split_at_checked(front) else { return };
    let Ok(header) = wire::ip::Header::parse(packet) else { return };
    let Ok(mut segmenter) = Segmenter::new(packet, &header, segments) else { return };
    while let Some(len) = segmenter.next_len() {
        let mut one = buffer();
        one.extend(front);
        if segmenter.write_next(one.append(len)).is_none() {
            return;
        }
        take(one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn super_segment() -> (Offload, Vec<u8>) {
        let mut packet = vec![0; 4_000];
        packet[20 + 12] = 8 << 4;
        let offload = Offload {
            checksum: Some(Checksum { start: 20, offset: 16 }),
            segments: Some(Segments { kind: SegmentKind::TcpV4, size: 1_448, header_len: 52 }),
        };
        (offload, packet)
    }

    #[test]
    fn what_is_written_is_read() {
        let (offload, packet) = super_segment();
        assert_eq!(read(&write(&offload), &packet), Some(offload));
        assert_eq!(read(&write(&Offload::NONE), &[]), Some(Offload::NONE));
        let checksum = Offload { checksum: offload.checksum, segments: None };
        assert_eq!(read(&write(&checksum), &packet), Some(checksum));
        let datagrams = Offload {
            checksum: Some(Checksum { start: 40, offset: 6 }),
            segments: Some(Segments { kind: SegmentKind::Udp, size: 1_200, header_len: 48 }),
        };
        assert_eq!(read(&write(&datagrams), &packet), Some(datagrams));
    }

    #[test]
    fn the_length_of_the_headers_is_not_what_the_kernel_hints() {
        let (offload, packet) = super_segment();
        let mut header = write(&offload);
        header[2..4].copy_from_slice(&1_500_u16.to_ne_bytes());
        assert_eq!(read(&header, &packet), Some(offload));
    }

    #[test]
    fn positions_beyond_the_packet_and_unknown_kinds_are_refused() {
        let (offload, packet) = super_segment();
        assert_eq!(read(&write(&offload), &packet[..37]), None);
        assert_eq!(read(&write(&offload), &packet[..51]), None);
        let mut header = write(&offload);
        header[1] = 3;
        assert_eq!(read(&header, &packet), None);
        let without_size =
            Offload { segments: Some(Segments { kind: SegmentKind::TcpV4, size: 0, header_len: 52 }), ..offload };
        assert_eq!(read(&write(&without_size), &packet), None);
        assert_eq!(read(&write(&Offload { checksum: None, ..offload }), &packet), None);
    }
}
