use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An inclusive range of addresses of one family. A single host and a network are ranges too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpRange {
    first: IpAddr,
    last: IpAddr,
}

/// Why two addresses make no range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeError {
    /// One is IPv4, the other IPv6.
    MixedFamilies,
    /// The first lies above the last.
    Backwards,
    /// The prefix is longer than the address: over 32 bits for IPv4, over 128 for IPv6.
    PrefixTooLong,
}

impl IpRange {
    /// All of IPv4.
    pub const ALL_V4: Self = Self { first: IpAddr::V4(Ipv4Addr::UNSPECIFIED), last: IpAddr::V4(Ipv4Addr::BROADCAST) };
    /// All of IPv6.
    pub const ALL_V6: Self =
        Self { first: IpAddr::V6(Ipv6Addr::UNSPECIFIED), last: IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)) };

    /// The range from `first` to `last`, both included.
    pub fn new(first: IpAddr, last: IpAddr) -> Result<Self, RangeError> {
        if first.is_ipv4() != last.is_ipv4() {
            Err(RangeError::MixedFamilies)
        } else if first > last {
            Err(RangeError::Backwards)
        } else {
            Ok(Self { first, last })
        }
    }

    /// The range of one address.
    pub const fn host(address: IpAddr) -> Self {
        Self { first: address, last: address }
    }

    /// The network of `prefix` bits around `address`; host bits may be set and are ignored.
    pub fn network(address: IpAddr, prefix: u8) -> Result<Self, RangeError> {
        match address {
            IpAddr::V4(a) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                let first = a.to_bits() & mask;
                Ok(Self { first: Ipv4Addr::from_bits(first).into(), last: Ipv4Addr::from_bits(first | !mask).into() })
            }
            IpAddr::V6(a) if prefix <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                let first = a.to_bits() & mask;
                Ok(Self { first: Ipv6Addr::from_bits(first).into(), last: Ipv6Addr::from_bits(first | !mask).into() })
            }
            IpAddr::V4(_) | IpAddr::V6(_) => Err(RangeError::PrefixTooLong),
        }
    }

    /// The lowest address.
    pub const fn first(&self) -> IpAddr {
        self.first
    }

    /// The highest address.
    pub const fn last(&self) -> IpAddr {
        self.last
    }

    /// True for a range of IPv4 addresses.
    pub const fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }

    /// True when `address` lies in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        // Addresses of different families never compare as in between: every IPv4 address sorts below every IPv6 one.
        self.first <= address && address <= self.last
    }

    /// True when every address of `other` lies in this range.
    pub fn covers(&self, other: &Self) -> bool {
        self.contains(other.first) && self.contains(other.last)
    }

    /// The addresses that both have.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
            .ok()
            .filter(|_| self.is_ipv4() == other.is_ipv4())
    }

    /// The prefix length, when the range is exactly a network.
    pub fn prefix(&self) -> Option<u8> {
        let (bits, first, last) = match (self.first, self.last) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (32, u128::from(a.to_bits()), u128::from(b.to_bits())),
            (IpAddr::V6(a), IpAddr::V6(b)) => (128, a.to_bits(), b.to_bits()),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        let host_mask = first ^ last;
        let host_bits = u128::BITS - host_mask.leading_zeros();
        let is_mask = host_mask.count_ones() == host_bits && first & host_mask == 0;
        is_mask.then(|| u8::try_from(bits - host_bits).unwrap_or(0))
    }
}

impl fmt::Display for IpRange {
    /// `10.0.0.1`, `10.0.0.0/8` or `10.0.0.1-10.0.0.9`, whichever is shortest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix() {
            Some(_) if self.first == self.last => write!(f, "{}", self.first),
            Some(prefix) => write!(f, "{}/{prefix}", self.first),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl From<IpAddr> for IpRange {
    fn from(address: IpAddr) -> Self {
        Self::host(address)
    }
}

/// One side's traffic: addresses, and what of a protocol and its ports. RFC 7296 section 3.13.1 and RFC 4301 4.4.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// The addresses.
    pub addresses: IpRange,
    /// IP protocol number; 0 means every protocol.
    pub protocol: u8,
    /// Lowest port (or, for ICMP, type and code in one number).
    pub port_first: u16,
    /// Highest port.
    pub port_last: u16,
}

impl Selector {
    /// Everything to or from `addresses`.
    pub const fn all(addresses: IpRange) -> Self {
        Self { addresses, protocol: 0, port_first: 0, port_last: u16::MAX }
    }

    /// True when a packet with this address, protocol and port belongs. A packet whose port is hidden (`None`: a
    /// fragment, or a protocol without ports) belongs only where every port is allowed.
    pub fn matches(&self, address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
        let any_port = self.port_first == 0 && self.port_last == u16::MAX;
        self.addresses.contains(address)
            && (self.protocol == 0 || self.protocol == protocol)
            && (any_port || port.is_some_and(|port| (self.port_first..=self.port_last).contains(&port)))
    }

    /// True when all traffic of `other` is traffic of this one.
    pub fn covers(&self, other: &Self) -> bool {
        self.addresses.covers(&other.addresses)
            && (self.protocol == 0 || self.protocol == other.protocol)
            && self.port_first <= other.port_first
            && other.port_last <= self.port_last
    }

    /// The traffic that both have.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let addresses = self.addresses.intersection(&other.addresses)?;
        let protocol = match (self.protocol, other.protocol) {
            (0, any) | (any, 0) => any,
            (a, b) if a == b => a,
            _ => return None,
        };
        let (port_first, port_last) = (self.port_first.max(other.port_first), self.port_last.min(other.port_last));
        (port_first <= port_last).then_some(Self { addresses, protocol, port_first, port_last })
    }
}

impl fmt::Display for Selector {
    /// `192.168.1.0/24`, with `:tcp/80` and the like behind it when it is not all traffic.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.addresses)?;
        match self.protocol {
            0 => {}
            1 => f.write_str(":icmp")?,
            6 => f.write_str(":tcp")?,
            17 => f.write_str(":udp")?,
            58 => f.write_str(":icmpv6")?,
            other => write!(f, ":proto-{other}")?,
        }
        match (self.port_first, self.port_last) {
            (0, u16::MAX) => Ok(()),
            (first, last) if first == last => write!(f, "/{first}"),
            (first, last) => write!(f, "/{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpRange {
        let (address, prefix) = text.split_once('/').unwrap();
        IpRange::network(address.parse().unwrap(), prefix.parse().unwrap()).unwrap()
    }

    fn range(first: &str, last: &str) -> IpRange {
        IpRange::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_range_prints_as_the_shortest_of_its_forms() {
        assert_eq!(net("172.16.1.77/24").to_string(), "172.16.1.0/24");
        assert_eq!(net("0.0.0.0/0").to_string(), "0.0.0.0/0");
        assert_eq!(net("::/0"), IpRange::ALL_V6);
        assert_eq!(net("2001:db8::1/128").to_string(), "2001:db8::1");
        assert_eq!(range("10.0.0.0", "10.0.0.2").to_string(), "10.0.0.0-10.0.0.2");
        assert_eq!(range("10.0.0.1", "10.0.0.2").to_string(), "10.0.0.1-10.0.0.2");
        assert_eq!(range("10.0.0.2", "10.0.0.3").to_string(), "10.0.0.2/31");
    }

    #[test]
    fn families_never_mix() {
        assert_eq!(IpRange::new("10.0.0.1".parse().unwrap(), "::1".parse().unwrap()), Err(RangeError::MixedFamilies));
        assert!(!IpRange::ALL_V6.contains("10.0.0.1".parse().unwrap()));
        assert!(!IpRange::ALL_V4.contains("::ffff:10.0.0.1".parse().unwrap()));
        assert_eq!(IpRange::ALL_V4.intersection(&IpRange::ALL_V6), None);
        assert_eq!(IpRange::network("10.0.0.0".parse().unwrap(), 33), Err(RangeError::PrefixTooLong));
    }

    #[test]
    fn selectors_meet_in_what_both_have() {
        let lan = Selector::all(net("10.1.0.0/16"));
        let web = Selector { protocol: 6, port_first: 80, port_last: 80, ..Selector::all(net("10.1.2.0/24")) };
        assert_eq!(lan.intersection(&web), Some(web));
        assert!(lan.covers(&web) && !web.covers(&lan));
        assert_eq!(web.intersection(&Selector { protocol: 17, ..lan }), None);
        assert_eq!(web.to_string(), "10.1.2.0/24:tcp/80");
    }

    #[test]
    fn a_fragment_without_ports_belongs_only_where_every_port_is_allowed() {
        let lan = Selector::all(net("10.1.0.0/16"));
        let web = Selector { protocol: 6, port_first: 80, port_last: 80, ..lan };
        let host = "10.1.2.3".parse().unwrap();
        assert!(lan.matches(host, 6, None));
        assert!(web.matches(host, 6, Some(80)) && !web.matches(host, 6, None) && !web.matches(host, 17, Some(80)));
    }
}
