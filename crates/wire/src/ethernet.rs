//! Ethernet II frames with at most one 802.1Q tag.
//!
//! ```text
//!  0 destination   6 source   12 EtherType        14 payload
//!  0 destination   6 source   12 0x8100   14 priority, VLAN   16 EtherType   18 payload
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::octets;

/// Length of a header without a tag.
pub const HEADER: usize = 14;
/// Length of an 802.1Q tag.
pub const TAG: usize = 4;
/// The longest header.
pub const HEADER_MAX: usize = HEADER + TAG;
/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// Tag of a customer's VLAN (802.1Q).
pub const VLAN: u16 = 0x8100;
/// Tag of a provider's VLAN (802.1ad), or of the outer of two.
pub const VLAN_OUTER: u16 = 0x88a8;
/// What is below is the length of an 802.3 frame and no EtherType.
pub const TYPE_MIN: u16 = 0x0600;
/// The highest VLAN: 4095 is reserved.
pub const VLAN_MAX: u16 = 4094;

/// A hardware address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everybody.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// Nobody: what stands for an address that is not known.
    pub const ZERO: Self = Self([0; 6]);

    /// True for a group, broadcast included.
    pub const fn is_group(self) -> bool {
        let Self([first, ..]) = self;
        first & 1 != 0
    }

    /// True for the address that one network card may have.
    pub fn is_unicast(self) -> bool {
        !self.is_group() && self != Self::ZERO
    }

    /// The group to which packets for a multicast address are sent (RFC 1112 section 6.4, RFC 2464 section 7).
    pub const fn of_group(group: IpAddr) -> Self {
        match group {
            IpAddr::V4(group) => {
                let [_, b, c, d] = group.octets();
                Self([0x01, 0x00, 0x5e, b & 0x7f, c, d])
            }
            IpAddr::V6(group) => {
                let [.., a, b, c, d] = group.octets();
                Self([0x33, 0x33, a, b, c, d])
            }
        }
    }

    /// The link-local address made of this one: modified EUI-64 (RFC 4291 appendix A, RFC 2464 section 5).
    pub const fn link_local(self) -> Ipv6Addr {
        let Self([a, b, c, d, e, f]) = self;
        Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
    }
}

impl fmt::Display for Mac {
    /// `00-0c-29-aa-bb-cc`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([a, b, c, d, e, g]) = self;
        write!(f, "{a:02x}-{b:02x}-{c:02x}-{d:02x}-{e:02x}-{g:02x}")
    }
}

/// Where a frame is from and to, and what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Receiver.
    pub destination: Mac,
    /// Sender.
    pub source: Mac,
    /// VLAN of the tag. A tag of VLAN 0 carries a priority only and reads as none.
    pub vlan: Option<u16>,
    /// What the payload is.
    pub kind: u16,
    /// Where the payload begins.
    pub payload: usize,
}

/// Why a frame is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than its header.
    Truncated,
    /// A length where the EtherType is expected: 802.3.
    Length,
    /// More than one tag, or a provider's.
    Tags,
    /// VLAN 4095.
    Vlan,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the frame is shorter than its header",
            Self::Length => "the frame is 802.3, expected is Ethernet II",
            Self::Tags => "the frame has two VLAN tags, or a provider's",
            Self::Vlan => "VLAN 4095 is reserved",
        })
    }
}

impl Header {
    /// Reads the header of a frame.
    pub fn parse(frame: &[u8]) -> Result<Self, Malformed> {
        let fields = || Some((Mac(octets::array(frame, 0)?), Mac(octets::array(frame, 6)?), octets::u16(frame, 12)?));
        let (destination, source, first) = fields().ok_or(Malformed::Truncated)?;
        let (vlan, kind, payload) = match first {
            VLAN => {
                let tag = octets::u16(frame, 14).ok_or(Malformed::Truncated)?;
                (tag & 0x0fff, octets::u16(frame, 16).ok_or(Malformed::Truncated)?, HEADER_MAX)
            }
            kind => (0, kind, HEADER),
        };
        match (kind, vlan) {
            (VLAN | VLAN_OUTER, _) => Err(Malformed::Tags),
            (..TYPE_MIN, _) => Err(Malformed::Length),
            (_, 0x0fff) => Err(Malformed::Vlan),
            _ => Ok(Self { destination, source, vlan: (vlan != 0).then_some(vlan), kind, payload }),
        }
    }
}

/// A header ready to be put in front of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    bytes: [u8; HEADER_MAX],
    len: usize,
}

impl Prefix {
    /// The header of frames from `source` to `destination`.
    pub fn new(destination: Mac, source: Mac, vlan: Option<u16>, kind: u16) -> Self {
        let mut bytes = [0; HEADER_MAX];
        octets::put(&mut bytes, 0, destination.0);
        octets::put(&mut bytes, 6, source.0);
        let len = match vlan {
            Some(vlan) => {
                octets::put_u16(&mut bytes, 12, VLAN);
                octets::put_u16(&mut bytes, 14, vlan & 0x0fff);
                octets::put_u16(&mut bytes, 16, kind);
                HEADER_MAX
            }
            None => {
                octets::put_u16(&mut bytes, 12, kind);
                HEADER
            }
        };
        Self { bytes, len }
    }

    /// The header.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The group on which a host with this address is asked for (RFC 4291 section 2.7.1).
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., b, c, d] = address.octets();
    Ipv6Addr::from_octets([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, b, c, d])
}

/// All IPv6 hosts of a link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All IPv4 hosts of a link.
pub const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

    #[test]
    fn what_is_written_is_read() {
        for vlan in [None, Some(1), Some(VLAN_MAX)] {
            let mut frame = Prefix::new(A, B, vlan, IPV4).bytes().to_vec();
            let payload = frame.len();
            frame.extend(b"packet");
            assert_eq!(Header::parse(&frame), Ok(Header { destination: A, source: B, vlan, kind: IPV4, payload }));
        }
    }

    #[test]
    fn a_priority_tag_is_no_vlan() {
        let mut frame = Prefix::new(A, B, Some(7), IPV6).bytes().to_vec();
        frame[14..16].copy_from_slice(&[0xe0, 0]);
        let header = Header::parse(&frame).unwrap();
        assert_eq!((header.vlan, header.payload), (None, HEADER_MAX));
    }

    #[test]
    fn every_wrong_header_is_refused_for_its_reason() {
        let tagged = Prefix::new(A, B, Some(7), VLAN).bytes().to_vec();
        assert_eq!(Header::parse(&tagged), Err(Malformed::Tags));
        assert_eq!(Header::parse(Prefix::new(A, B, None, VLAN_OUTER).bytes()), Err(Malformed::Tags));
        assert_eq!(Header::parse(Prefix::new(A, B, None, 0x05ff).bytes()), Err(Malformed::Length));
        assert_eq!(Header::parse(Prefix::new(A, B, Some(4095), IPV4).bytes()), Err(Malformed::Vlan));
        for len in 0..HEADER_MAX {
            let frame = &Prefix::new(A, B, Some(7), IPV4).bytes()[..len].to_vec();
            assert_eq!(Header::parse(frame), Err(Malformed::Truncated));
        }
    }

    /// RFC 2464 section 5 and RFC 4291 section 2.7.1: their examples.
    #[test]
    fn addresses_are_made_of_addresses() {
        let mac = Mac([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert_eq!(mac.link_local().to_string(), "fe80::3656:78ff:fe9a:bcde");
        assert_eq!(mac.to_string(), "34-56-78-9a-bc-de");
        let group = solicited_node("4037::1:800:200e:8c6c".parse().unwrap());
        assert_eq!(group.to_string(), "ff02::1:ff0e:8c6c");
        assert_eq!(Mac::of_group(group.into()), Mac([0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]));
        assert_eq!(Mac::of_group("239.255.1.2".parse().unwrap()), Mac([0x01, 0x00, 0x5e, 0x7f, 1, 2]));
        assert!(Mac::BROADCAST.is_group() && !Mac::ZERO.is_unicast() && A.is_unicast());
    }
}
