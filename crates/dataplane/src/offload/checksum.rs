//! Checksums that were left to be completed.

use base::Checksum;
use wire::checksum::Sum;
use wire::{ip, octets};

/// Where the checksum stands in the header of a transport protocol.
pub(super) const fn field_of(protocol: u8) -> Option<usize> {
    match protocol {
        ip::TCP => Some(16),
        ip::UDP => Some(6),
        ip::ICMPV6 => Some(2),
        _ => None,
    }
}

/// Completes a checksum whose field holds the sum of the pseudo-header. `None`, and nothing is changed, when the positions
/// are not in the packet.
pub fn complete_checksum(packet: &mut [u8], missing: Checksum) -> Option<()> {
    let covered = packet.get_mut(usize::from(missing.start)..)?;
    let at = usize::from(missing.offset);
    octets::u16(covered, at)?;
    let sum = match Sum::new().with(covered).checksum() {
        // RFC 768: in UDP zero means that there is no checksum. Elsewhere both are the same number.
        0 => u16::MAX,
        sum => sum,
    };
    octets::put_u16(covered, at, sum);
    Some(())
}

/// Writes the sum of the pseudo-header into the checksum field of TCP, UDP or ICMPv6, for somebody who completes it: also
/// after addresses have changed. `None`, and nothing is changed, for other protocols and for headers that end too early.
pub fn write_partial_checksum(packet: &mut [u8], header: &ip::Header) -> Option<Checksum> {
    let offset = field_of(header.protocol)?;
    let transport = packet.get_mut(header.payload..header.total)?;
    octets::u16(transport, offset)?;
    let len = u32::try_from(transport.len()).ok()?;
    let sum = Sum::new().with_pseudo_header(header.source, header.destination, header.protocol, len).partial();
    octets::put_u16(transport, offset, sum);
    Some(Checksum { start: u16::try_from(header.payload).ok()?, offset: u16::try_from(offset).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(v4: bool, payload: &[u8]) -> Vec<u8> {
        let (a, b) = if v4 { ("10.0.0.1", "10.0.0.2") } else { ("2001:db8::1", "2001:db8::2") };
        let len = u8::try_from(8 + payload.len()).unwrap();
        let datagram = [&[0, 53, 4, 0, 0, len, 0, 0], payload].concat();
        wire::icmp::ip_packet(a.parse().unwrap(), b.parse().unwrap(), ip::UDP, &datagram).unwrap()
    }

    #[test]
    fn what_was_left_is_completed() {
        for v4 in [true, false] {
            for payload in [&b"odd"[..], b"even", b""] {
                let mut packet = udp(v4, payload);
                let header = ip::Header::parse(&packet).unwrap();
                let missing = write_partial_checksum(&mut packet, &header).unwrap();
                assert_eq!(usize::from(missing.start), header.payload);
                complete_checksum(&mut packet, missing).unwrap();
                let datagram = header.payload_of(&packet);
                let len = u32::try_from(datagram.len()).unwrap();
                let sum = Sum::new().with_pseudo_header(header.source, header.destination, ip::UDP, len);
                assert_eq!(sum.with(datagram).checksum(), 0);
            }
        }
    }

    #[test]
    fn a_sum_of_zero_is_written_as_its_other_form() {
        let mut packet = [0xff, 0xff, 0, 0];
        complete_checksum(&mut packet, Checksum { start: 0, offset: 2 }).unwrap();
        assert_eq!(packet, [0xff; 4]);
    }

    #[test]
    fn positions_outside_of_the_packet_change_nothing() {
        let mut packet = udp(true, b"abc");
        let before = packet.clone();
        for (start, offset) in [(20, 10), (30, 2), (32, 0), (u16::MAX, u16::MAX), (0, 30)] {
            assert_eq!(complete_checksum(&mut packet, Checksum { start, offset }), None, "{start} {offset}");
        }
        let header = ip::Header::parse(&packet).unwrap();
        for header in [
            ip::Header { protocol: 99, ..header },
            ip::Header { total: 25, ..header },
            ip::Header { total: 99, ..header },
            ip::Header { payload: 32, ..header },
        ] {
            assert_eq!(write_partial_checksum(&mut packet, &header), None);
        }
        assert_eq!(packet, before);
    }
}
