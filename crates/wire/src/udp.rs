//! UDP headers (RFC 768).

use crate::octets;

/// Length of a header.
pub const HEADER: usize = 8;

/// A checked header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
}

impl Header {
    /// Reads the header; `None` when the datagram is truncated or its length field does not fit.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let len = usize::from(octets::u16(datagram, 4)?);
        // RFC 2675 section 4 gives a length of 0 a meaning in jumbograms only, which we do not carry.
        if len < HEADER || len > datagram.len() {
            return None;
        }
        Some(Self { source: octets::u16(datagram, 0)?, destination: octets::u16(datagram, 2)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_does_not_fit_is_refused() {
        let datagram = [0x01, 0xf4, 0x11, 0x94, 0, 9, 0, 0, 7];
        assert_eq!(Header::parse(&datagram), Some(Header { source: 500, destination: 4500 }));
        assert_eq!(Header::parse(&datagram[..8]), None);
        assert_eq!(Header::parse(&[0, 1, 0, 2, 0, 7, 0, 0]), None);
        assert_eq!(Header::parse(&[0; 7]), None);
    }
}
