//! TCP headers and the MSS option (RFC 9293).

use std::net::IpAddr;

use crate::checksum::{self, Sum};
use crate::{ip, octets};

/// Length of a header without options.
pub const HEADER: usize = 20;
/// No more data.
pub const FIN: u8 = 0x01;
/// Synchronise: the first segment of each side.
pub const SYN: u8 = 0x02;
/// Reset.
pub const RST: u8 = 0x04;
/// Deliver at once.
pub const PSH: u8 = 0x08;
/// The acknowledgement number is meaningful.
pub const ACK: u8 = 0x10;
/// The urgent pointer is meaningful.
pub const URG: u8 = 0x20;
/// The sender has reduced its window for congestion (RFC 3168 section 6.1).
pub const CWR: u8 = 0x80;

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const OPTION_WINDOW_SCALE: u8 = 3;
/// Larger scales count as this one (RFC 7323 section 2.3).
pub const WINDOW_SCALE_MAX: u8 = 14;

/// A checked header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number of the first byte.
    pub sequence: u32,
    /// Next sequence number that the sender expects.
    pub acknowledgement: u32,
    /// Flags; see the constants.
    pub flags: u8,
    /// Length of the header with its options.
    pub len: usize,
    /// Length of the sequence space that the segment takes: data, and one each for SYN and FIN.
    pub space: u32,
    /// The window field as it stands, not yet scaled.
    pub window: u16,
    /// The window scale option of a SYN (RFC 7323 section 2.2), at most [`WINDOW_SCALE_MAX`].
    pub window_scale: Option<u8>,
}

impl Header {
    /// Reads the header; `None` when it is truncated or its length does not fit the segment.
    pub fn parse(segment: &[u8]) -> Option<Self> {
        let len = usize::from(octets::u8(segment, 12)? >> 4) * 4;
        if len < HEADER || len > segment.len() {
            return None;
        }
        let flags = octets::u8(segment, 13)?;
        let data = u32::try_from(segment.len() - len).ok()?;
        Some(Self {
            source: octets::u16(segment, 0)?,
            destination: octets::u16(segment, 2)?,
            sequence: octets::u32(segment, 4)?,
            acknowledgement: octets::u32(segment, 8)?,
            flags,
            len,
            space: data + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0),
            window: octets::u16(segment, 14)?,
            window_scale: if flags & SYN == 0 { None } else { window_scale(segment, len) },
        })
    }

    /// True when all of `flags` are set.
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// True for combinations no TCP sends: nothing at all, SYN together with FIN or RST, FIN without ACK.
    pub const fn impossible_flags(&self) -> bool {
        let flags = self.flags & (SYN | FIN | RST | ACK);
        flags == 0 || flags & SYN != 0 && flags & (FIN | RST) != 0 || flags & (FIN | ACK) == FIN
    }
}

/// Lowers the MSS option of a segment to `mss` where it is larger, and mends the checksum. True when it changed. A SYN
/// without the option is left alone: its sender counts on the default of 536.
pub fn clamp_mss(segment: &mut [u8], mss: u16) -> bool {
    let Some(header) = Header::parse(segment) else { return false };
    let Some(at) = mss_option(segment, header.len) else { return false };
    let (Some(old), Some(sum)) = (octets::u16(segment, at), octets::u16(segment, 16)) else { return false };
    if old <= mss {
        return false;
    }
    octets::put_u16(segment, at, mss);
    let sum = if at % 2 == 0 {
        checksum::update(sum, old, mss)
    } else {
        // The value lies across two words of the sum: its bytes change places.
        checksum::update(sum, old.swap_bytes(), mss.swap_bytes())
    };
    octets::put_u16(segment, 16, sum);
    true
}

/// Where the value of the MSS option stands.
fn mss_option(segment: &[u8], header_len: usize) -> Option<usize> {
    option(segment, header_len, OPTION_MSS, 4)
}

fn window_scale(segment: &[u8], header_len: usize) -> Option<u8> {
    let at = option(segment, header_len, OPTION_WINDOW_SCALE, 3)?;
    Some(octets::u8(segment, at)?.min(WINDOW_SCALE_MAX))
}

/// Where the value of the first option of this kind and length stands.
fn option(segment: &[u8], header_len: usize, wanted: u8, wanted_len: usize) -> Option<usize> {
    let mut at = HEADER;
    while at < header_len {
        match octets::u8(segment, at)? {
            OPTION_END => return None,
            OPTION_NOP => at += 1,
            kind => {
                let len = usize::from(octets::u8(segment, at + 1)?);
                if len < 2 || at + len > header_len {
                    return None;
                }
                if kind == wanted && len == wanted_len {
                    return Some(at + 2);
                }
                at += len;
            }
        }
    }
    None
}

/// The segment that refuses another one (RFC 9293 section 3.10.7.1), from its destination to its source.
pub fn reset_for(refused: &Header, source: IpAddr, destination: IpAddr) -> [u8; HEADER] {
    let mut segment = [0; HEADER];
    octets::put_u16(&mut segment, 0, refused.destination);
    octets::put_u16(&mut segment, 2, refused.source);
    let flags = if refused.has(ACK) {
        octets::put(&mut segment, 4, refused.acknowledgement.to_be_bytes());
        RST
    } else {
        octets::put(&mut segment, 8, refused.sequence.wrapping_add(refused.space).to_be_bytes());
        RST | ACK
    };
    octets::put(&mut segment, 12, [0x50, flags]);
    let sum = Sum::new().with_pseudo_header(source, destination, ip::TCP, 20).with(&segment).checksum();
    octets::put_u16(&mut segment, 16, sum);
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn(options: &[u8]) -> Vec<u8> {
        let mut segment = vec![0x04, 0x01, 0, 80, 0, 0, 0, 9, 0, 0, 0, 0, 0, SYN, 0xff, 0xff, 0, 0, 0, 0];
        segment.extend(options);
        segment[12] = u8::try_from(segment.len() / 4 * 16).unwrap();
        let sum = sum_of(&segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    fn sum_of(segment: &[u8]) -> u16 {
        let len = u32::try_from(segment.len()).unwrap();
        let (a, b) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        Sum::new().with_pseudo_header(a, b, 6, len).with(segment).checksum()
    }

    #[test]
    fn a_large_mss_is_lowered_wherever_it_stands() {
        for options in [&[2, 4, 0x05, 0xb4][..], &[1, 1, 2, 4, 0x05, 0xb4, 1, 1], &[1, 2, 4, 0x05, 0xb4, 1, 1, 0]] {
            let mut segment = syn(options);
            assert!(clamp_mss(&mut segment, 1360));
            assert_eq!(sum_of(&segment), 0, "the checksum is mended");
            assert!(!clamp_mss(&mut segment, 1360), "it is low enough now");
            assert!(clamp_mss(&mut segment, 1300));
            assert_eq!(sum_of(&segment), 0);
        }
    }

    #[test]
    fn broken_options_are_left_alone() {
        for options in [&[][..], &[2, 0, 5, 0xb4], &[2, 5, 5, 0xb4], &[0, 2, 4, 5], &[3, 3, 7, 2]] {
            let mut segment = syn(options);
            let before = segment.clone();
            assert!(!clamp_mss(&mut segment, 100));
            assert_eq!(segment, before);
        }
    }

    #[test]
    fn the_reset_answers_what_was_refused() {
        let refused = Header::parse(&syn(&[])).unwrap();
        let segment = reset_for(&refused, "10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap());
        let reset = Header::parse(&segment).unwrap();
        assert_eq!((reset.source, reset.destination, reset.flags), (80, 1025, RST | ACK));
        assert_eq!(reset.acknowledgement, 10);
        assert_eq!(sum_of(&segment), 0);
    }

    #[test]
    fn impossible_flags_are_known() {
        let with = |flags| Header { flags, ..Header::parse(&syn(&[])).unwrap() }.impossible_flags();
        assert!(with(0) && with(SYN | FIN) && with(SYN | RST) && with(FIN));
        assert!(!with(SYN) && !with(SYN | ACK) && !with(ACK) && !with(FIN | ACK) && !with(RST) && !with(RST | ACK));
    }
}
