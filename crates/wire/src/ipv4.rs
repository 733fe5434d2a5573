//! IPv4 headers (RFC 791).
//!
//! ```text
//!  0 version, header length   1 DiffServ   2 total length
//!  4 identification           6 flags (DF 0x4000, MF 0x2000), fragment offset / 8
//!  8 time to live   9 protocol   10 header checksum   12 source   16 destination   20 options
//! ```

use std::net::Ipv4Addr;

use crate::ip::{Fragment, Header, Malformed};
use crate::{checksum, octets};

/// Length of a header without options.
pub const HEADER: usize = 20;
/// Must not be fragmented.
pub const DF: u16 = 0x4000;
/// More fragments follow.
pub const MF: u16 = 0x2000;
const RESERVED: u16 = 0x8000;
const OFFSET: u16 = 0x1fff;
/// The longest packet.
pub const TOTAL_MAX: usize = 65_535;

/// Reads and checks a header, its checksum and its options.
pub fn parse(bytes: &[u8]) -> Result<Header, Malformed> {
    let fixed = bytes.first_chunk::<HEADER>().ok_or(Malformed::Truncated)?;
    let [first, ds, t0, t1, i0, i1, f0, f1, ttl, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *fixed;
    if first >> 4 != 4 {
        return Err(Malformed::Version);
    }
    let payload = usize::from(first & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([t0, t1]));
    if payload < HEADER {
        return Err(Malformed::HeaderLength);
    }
    if total < payload || total > bytes.len() {
        return Err(Malformed::TotalLength);
    }
    let header = bytes.get(..payload).ok_or(Malformed::Truncated)?;
    if checksum::of(header) != 0 {
        return Err(Malformed::Checksum);
    }
    if payload > HEADER {
        check_options(header.get(HEADER..).unwrap_or_default())?;
    }
    let flags = u16::from_be_bytes([f0, f1]);
    let offset = usize::from(flags & OFFSET) * 8;
    let more = flags & MF != 0;
    let fragment = (more || offset > 0).then(|| Fragment {
        id: u32::from(u16::from_be_bytes([i0, i1])),
        offset,
        more,
        header: 0,
        chain: 0,
    });
    if fragment.is_some() {
        let len = total - payload;
        // All pieces but the last have a multiple of 8 bytes (RFC 791 section 3.2), and none is empty.
        if len == 0 || more && !len.is_multiple_of(8) || payload + offset + len > TOTAL_MAX {
            return Err(Malformed::Fragment);
        }
    }
    if flags & RESERVED != 0 {
        return Err(Malformed::Fragment);
    }
    Ok(Header {
        source: Ipv4Addr::new(s0, s1, s2, s3).into(),
        destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
        ds,
        ttl,
        protocol,
        payload,
        total,
        whole: flags & DF != 0,
        fragment,
    })
}

/// Walks over the options; refuses loose and strict source routes (RFC 7126 sections 4.3 and 4.4).
fn check_options(mut options: &[u8]) -> Result<(), Malformed> {
    loop {
        match options {
            [] | [0, ..] => return Ok(()),
            [1, rest @ ..] => options = rest,
            [131 | 137, ..] => return Err(Malformed::Options),
            [_, len, ..] if *len >= 2 => options = options.get(usize::from(*len)..).ok_or(Malformed::Options)?,
            [_, ..] => return Err(Malformed::Options),
        }
    }
}

/// Changes the 16-bit word at an even offset of the header and mends the checksum.
pub fn change(packet: &mut [u8], at: usize, new: u16) {
    if let (Some(old), Some(sum)) = (octets::u16(packet, at), octets::u16(packet, 10)) {
        octets::put_u16(packet, at, new);
        octets::put_u16(packet, 10, checksum::update(sum, old, new));
    }
}

/// Takes one off the time to live, which is not 0, and with `id` lets the packet be cut under that identification; mends
/// the checksum once.
#[inline]
pub fn forward(packet: &mut [u8], id: Option<u16>) {
    let Some([_, _, _, _, i0, i1, f0, f1, ttl, protocol, c0, c1, ..]) = packet.first_chunk_mut::<HEADER>() else {
        return;
    };
    let word = |high: &u8, low: &u8| u64::from(u16::from_be_bytes([*high, *low]));
    let one_less = ttl.saturating_sub(1);
    // RFC 1624 equation 3, for all that changes at once.
    let mut sum = u64::from(!u16::from_be_bytes([*c0, *c1])) + u64::from(!u16::from_be_bytes([*ttl, *protocol]));
    sum += word(&one_less, protocol);
    *ttl = one_less;
    if let Some(id) = id {
        sum += u64::from(!u16::from_be_bytes([*i0, *i1])) + u64::from(id);
        sum += u64::from(!u16::from_be_bytes([*f0, *f1]));
        ([*i0, *i1], [*f0, *f1]) = (id.to_be_bytes(), [0, 0]);
    }
    [*c0, *c1] = (!checksum::fold(sum)).to_be_bytes();
}

/// A header to be written, without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// DiffServ byte.
    pub ds: u8,
    /// Time to live.
    pub ttl: u8,
    /// Identification.
    pub id: u16,
    /// [`DF`], or 0.
    pub flags: u16,
}

impl Repr {
    /// Writes the header for a payload of `len` bytes, which must leave the whole under 65,536.
    pub fn write(&self, header: &mut [u8; HEADER], len: usize) {
        let total = u16::try_from(HEADER + len).unwrap_or(u16::MAX);
        header.fill(0);
        octets::put(header, 0, [0x45, self.ds]);
        octets::put_u16(header, 2, total);
        octets::put_u16(header, 4, self.id);
        octets::put_u16(header, 6, self.flags);
        octets::put(header, 8, [self.ttl, self.protocol]);
        octets::put(header, 12, self.source.octets());
        octets::put(header, 16, self.destination.octets());
        let sum = checksum::of(header);
        octets::put_u16(header, 10, sum);
    }
}

/// Makes the header that is at the front of `packet` say that the packet has `total` bytes, with these flags and
/// fragment offset in bytes, and computes its checksum anew.
pub fn set_length_and_fragment(packet: &mut [u8], total: u16, flags: u16, offset: usize) {
    let header_len = packet.first().map_or(HEADER, |byte| usize::from(byte & 0xf) * 4);
    let eighths = u16::try_from(offset / 8).unwrap_or(OFFSET) & OFFSET;
    octets::put_u16(packet, 2, total);
    octets::put_u16(packet, 6, flags | eighths);
    octets::put_u16(packet, 10, 0);
    let sum = checksum::of(packet.get(..header_len).unwrap_or_default());
    octets::put_u16(packet, 10, sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip;

    fn packet(payload: &[u8]) -> Vec<u8> {
        let repr = Repr {
            source: "10.1.0.1".parse().unwrap(),
            destination: "10.2.0.1".parse().unwrap(),
            protocol: 17,
            ds: 0xb8,
            ttl: 64,
            id: 7,
            flags: DF,
        };
        let mut header = [0; HEADER];
        repr.write(&mut header, payload.len());
        [&header[..], payload].concat()
    }

    fn mend(packet: &mut [u8]) {
        let len = usize::from(packet[0] & 0xf) * 4;
        packet[10..12].fill(0);
        let sum = checksum::of(&packet[..len]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    #[test]
    fn what_is_written_is_read() {
        let header = parse(&packet(b"payload")).unwrap();
        assert_eq!((header.source.to_string(), header.destination.to_string()), ("10.1.0.1".into(), "10.2.0.1".into()));
        assert_eq!((header.ds, header.ttl, header.protocol, header.payload, header.total), (0xb8, 64, 17, 20, 27));
        assert!(header.whole && header.fragment.is_none());
    }

    #[test]
    fn padding_behind_the_packet_is_not_part_of_it() {
        let mut padded = packet(b"payload");
        padded.extend([0; 30]);
        assert_eq!(parse(&padded).unwrap().payload_of(&padded), b"payload");
    }

    #[test]
    fn every_wrong_header_is_refused_for_its_reason() {
        let good = packet(b"payload");
        let broken = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            mend(&mut bytes);
            parse(&bytes)
        };
        assert_eq!(parse(&good[..19]), Err(Malformed::Truncated));
        assert_eq!(parse(&good[..26]), Err(Malformed::TotalLength));
        assert_eq!(broken(&|p| p[0] = 0x44), Err(Malformed::HeaderLength));
        assert_eq!(broken(&|p| p[3] = 19), Err(Malformed::TotalLength));
        assert_eq!(broken(&|p| p[6] = 0xc0), Err(Malformed::Fragment));
        assert_eq!(broken(&|p| p[6] = 0x20), Err(Malformed::Fragment));
        assert_eq!(broken(&|p| p[6..8].copy_from_slice(&0x1fff_u16.to_be_bytes())), Err(Malformed::Fragment));
        let mut sum = good.clone();
        sum[8] = 63;
        assert_eq!(parse(&sum), Err(Malformed::Checksum));
    }

    #[test]
    fn source_routes_are_refused_and_harmless_options_are_not() {
        let with = |options: [u8; 4]| {
            let mut bytes = packet(b"x");
            bytes[0] = 0x46;
            bytes[3] += 4;
            bytes.splice(20..20, options);
            mend(&mut bytes);
            parse(&bytes).map(|header| header.payload)
        };
        assert_eq!(with([148, 4, 0, 0]), Ok(24)); // router alert
        assert_eq!(with([1, 1, 1, 0]), Ok(24));
        assert_eq!(with([131, 4, 4, 0]), Err(Malformed::Options));
        assert_eq!(with([137, 4, 4, 0]), Err(Malformed::Options));
        assert_eq!(with([68, 0, 0, 0]), Err(Malformed::Options));
        assert_eq!(with([68, 9, 0, 0]), Err(Malformed::Options));
    }

    #[test]
    fn a_changed_header_keeps_a_correct_checksum() {
        let mut bytes = packet(b"payload");
        ip::decrement_ttl(&mut bytes);
        ip::set_ds(&mut bytes, 0x03);
        let header = parse(&bytes).unwrap();
        assert_eq!((header.ttl, header.ds), (63, 3));
    }
}
