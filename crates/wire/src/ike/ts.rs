//! Traffic Selector payloads: RFC 7296 section 3.13.
//!
//! ```text
//! payload:  | count | 0 0 0 |  selectors
//! selector: | type  | IP protocol | length (2) | first port (2) | last port (2) |  first address  last address
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base::{IpRange, Selector};

use super::malformed::{TooLong, count, fit_u8, fit_u16};
use super::{Expected, Malformed, TsType};
use crate::{Reader, Short};

/// Bytes of a selector before the part that its type defines.
const HEAD_LEN: usize = 4;

/// One range of traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrafficSelector {
    /// Types 7 and 8.
    Range {
        /// IP protocol number; 0 means every protocol.
        protocol: u8,
        /// Lowest port (or, for ICMP, type and code in one number). 65535 with a last port of 0 means packets whose
        /// ports are hidden.
        port_first: u16,
        /// Highest port.
        port_last: u16,
        /// Lowest address.
        first: IpAddr,
        /// Highest address; of the same family.
        last: IpAddr,
    },
    /// A type unknown here: passed over when selectors are compared.
    Unknown {
        /// Its type.
        kind: TsType,
        /// The byte that is an IP protocol in the known types.
        protocol: u8,
        /// Everything behind the length.
        body: Vec<u8>,
    },
}

impl From<Selector> for TrafficSelector {
    fn from(selector: Selector) -> Self {
        let Selector { addresses, protocol, port_first, port_last } = selector;
        Self::Range { protocol, port_first, port_last, first: addresses.first(), last: addresses.last() }
    }
}

impl TrafficSelector {
    /// The traffic it describes; `None` for an unknown type and for a range that ends before it begins.
    pub fn selector(&self) -> Option<Selector> {
        match *self {
            Self::Range { protocol, port_first, port_last, first, last } => {
                let addresses = IpRange::new(first, last).ok()?;
                Some(Selector { addresses, protocol, port_first, port_last })
            }
            Self::Unknown { .. } => None,
        }
    }

    fn read(part: &'static str, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let short = |short| Malformed::short(part, short);
        let kind = TsType(reader.u8().map_err(short)?);
        let protocol = reader.u8().map_err(short)?;
        let length = usize::from(reader.u16().map_err(short)?);
        let wrong = |expected| Malformed { part, what: "selector length", found: count(length), expected };
        let body_len = length.checked_sub(HEAD_LEN).ok_or(wrong(Expected::AtLeast(count(HEAD_LEN))))?;
        let mut body = reader.part(body_len).map_err(short)?;
        let selector = match kind {
            TsType::IPV4_ADDR_RANGE => Self::read_range(protocol, &mut body, read_ipv4),
            TsType::IPV6_ADDR_RANGE => Self::read_range(protocol, &mut body, read_ipv6),
            kind => Ok(Self::Unknown { kind, protocol, body: body.rest().to_vec() }),
        }
        .map_err(short)?;
        if body.is_empty() { Ok(selector) } else { Err(wrong(Expected::Exactly(count(length - body.len())))) }
    }

    fn read_range(
        protocol: u8,
        body: &mut Reader<'_>,
        address: fn(&mut Reader<'_>) -> Result<IpAddr, Short>,
    ) -> Result<Self, Short> {
        let (port_first, port_last) = (body.u16()?, body.u16()?);
        Ok(Self::Range { protocol, port_first, port_last, first: address(body)?, last: address(body)? })
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let mut body = Vec::new();
        let (kind, protocol) = match self {
            Self::Range { protocol, port_first, port_last, first, last } => {
                body.extend_from_slice(&port_first.to_be_bytes());
                body.extend_from_slice(&port_last.to_be_bytes());
                write_address(*first, &mut body);
                write_address(*last, &mut body);
                let kind = if first.is_ipv4() { TsType::IPV4_ADDR_RANGE } else { TsType::IPV6_ADDR_RANGE };
                (kind, *protocol)
            }
            Self::Unknown { kind, protocol, body: unknown } => {
                body.extend_from_slice(unknown);
                (*kind, *protocol)
            }
        };
        out.extend_from_slice(&[kind.0, protocol]);
        out.extend_from_slice(&fit_u16("traffic selector", body.len().saturating_add(HEAD_LEN))?);
        out.extend_from_slice(&body);
        Ok(())
    }
}

impl fmt::Display for TrafficSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.selector(), self) {
            (Some(selector), _) => selector.fmt(f),
            (None, Self::Range { first, last, .. }) => write!(f, "{first}-{last} (backwards)"),
            (None, Self::Unknown { kind, body, .. }) => write!(f, "{kind}, {} bytes", body.len()),
        }
    }
}

/// Reads the body of a TSi or TSr payload. The count is a byte, and that is the limit.
pub(super) fn parse_selectors(part: &'static str, body: &[u8]) -> Result<Vec<TrafficSelector>, Malformed> {
    let mut reader = Reader::new(body);
    let selector_count = reader.u8().map_err(|short| Malformed::short(part, short))?;
    reader.take(3).map_err(|short| Malformed::short(part, short))?;
    if selector_count == 0 {
        return Err(Malformed { part, what: "selector count", found: 0, expected: Expected::AtLeast(1) });
    }
    let mut selectors = Vec::new();
    for _ in 0..selector_count {
        selectors.push(TrafficSelector::read(part, &mut reader)?);
    }
    if reader.is_empty() { Ok(selectors) } else { Err(Malformed::trailing(part, reader.len())) }
}

/// Appends the body of a TSi or TSr payload.
pub(super) fn write_selectors(selectors: &[TrafficSelector], out: &mut Vec<u8>) -> Result<(), TooLong> {
    out.extend_from_slice(&[fit_u8("selector count", selectors.len())?, 0, 0, 0]);
    selectors.iter().try_for_each(|selector| selector.write(out))
}

fn read_ipv4(reader: &mut Reader<'_>) -> Result<IpAddr, Short> {
    reader.array().map(|octets: [u8; 4]| Ipv4Addr::from(octets).into())
}

fn read_ipv6(reader: &mut Reader<'_>) -> Result<IpAddr, Short> {
    reader.array().map(|octets: [u8; 16]| Ipv6Addr::from(octets).into())
}

fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector() -> Selector {
        let lan = IpRange::network("10.1.0.0".parse().unwrap(), 16).unwrap();
        Selector { protocol: 6, port_first: 80, port_last: 443, ..Selector::all(lan) }
    }

    #[test]
    fn a_selector_survives_the_wire() {
        let mut body = Vec::new();
        write_selectors(&[selector().into()], &mut body).unwrap();
        assert_eq!(body, [1, 0, 0, 0, 7, 6, 0, 16, 0, 80, 1, 187, 10, 1, 0, 0, 10, 1, 255, 255]);
        let read = parse_selectors("TSi payload", &body).unwrap();
        assert_eq!(read.iter().map(TrafficSelector::selector).collect::<Vec<_>>(), [Some(selector())]);
    }

    #[test]
    fn an_unknown_type_is_kept_and_passed_over() {
        let body = [1, 0, 0, 0, 99, 0, 0, 6, 1, 2];
        let read = parse_selectors("TSi payload", &body).unwrap();
        assert_eq!(read, [TrafficSelector::Unknown { kind: TsType(99), protocol: 0, body: vec![1, 2] }]);
        assert_eq!(read[0].selector(), None);
        let mut back = Vec::new();
        write_selectors(&read, &mut back).unwrap();
        assert_eq!(back, body);
    }

    #[test]
    fn an_ipv6_range_with_the_length_of_ipv4_is_refused() {
        assert!(
            parse_selectors("TSr payload", &[1, 0, 0, 0, 8, 0, 0, 16, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2]).is_err()
        );
        assert!(parse_selectors("TSr payload", &[0, 0, 0, 0]).is_err());
        assert!(parse_selectors("TSr payload", &[1, 0, 0, 0, 7, 0, 0, 3]).is_err());
    }

    #[test]
    fn a_backwards_range_matches_nothing() {
        let body = [1, 0, 0, 0, 7, 0, 0, 16, 0, 0, 255, 255, 10, 0, 0, 9, 10, 0, 0, 1];
        let read = parse_selectors("TSr payload", &body).unwrap();
        assert_eq!((read[0].selector(), read[0].to_string()), (None, "10.0.0.9-10.0.0.1 (backwards)".into()));
    }
}
