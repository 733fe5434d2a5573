//! UDP headers (RFC 768).

use std::net::IpAddr;

use crate::checksum::Sum;
use crate::{ip, octets};

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

    /// The datagram with this header and payload between two addresses, checksum included; `None` when it is too long.
    pub fn datagram(&self, from: IpAddr, to: IpAddr, payload: &[u8]) -> Option<Vec<u8>> {
        let len = u16::try_from(HEADER + payload.len()).ok()?;
        let mut datagram = vec![0; HEADER];
        octets::put_u16(&mut datagram, 0, self.source);
        octets::put_u16(&mut datagram, 2, self.destination);
        octets::put_u16(&mut datagram, 4, len);
        datagram.extend(payload);
        let sum = Sum::new().with_pseudo_header(from, to, ip::UDP, u32::from(len)).with(&datagram).checksum();
        octets::put_u16(&mut datagram, 6, if sum == 0 { 0xffff } else { sum });
        Some(datagram)
    }
}

/// The payload of a datagram between two addresses; `None` when the header is malformed or the checksum is wrong. A
/// checksum of 0 over IPv4 says that there is none.
pub fn checked_payload(datagram: &[u8], from: IpAddr, to: IpAddr) -> Option<&[u8]> {
    Header::parse(datagram)?;
    let len = octets::u16(datagram, 4)?;
    let datagram = datagram.get(..usize::from(len))?;
    let without = octets::u16(datagram, 6)? == 0 && from.is_ipv4();
    let sum = Sum::new().with_pseudo_header(from, to, ip::UDP, u32::from(len)).with(datagram);
    (without || sum.checksum() == 0).then(|| datagram.get(HEADER..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_datagram_has_no_payload() {
        let (from, to) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut datagram = Header { source: 67, destination: 68 }.datagram(from, to, b"offer").unwrap();
        assert_eq!(checked_payload(&datagram, from, to), Some(&b"offer"[..]));
        datagram[9] ^= 1;
        assert_eq!(checked_payload(&datagram, from, to), None);
        datagram[6..8].fill(0);
        assert_eq!(checked_payload(&datagram, from, to).map(<[u8]>::len), Some(5));
    }

    #[test]
    fn a_length_that_does_not_fit_is_refused() {
        let datagram = [0x01, 0xf4, 0x11, 0x94, 0, 9, 0, 0, 7];
        assert_eq!(Header::parse(&datagram), Some(Header { source: 500, destination: 4500 }));
        assert_eq!(Header::parse(&datagram[..8]), None);
        assert_eq!(Header::parse(&[0, 1, 0, 2, 0, 7, 0, 0]), None);
        assert_eq!(Header::parse(&[0; 7]), None);
    }
}
