//! The new destination of a connection, and how addresses and ports map statically.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::ip;

use super::{AddressMap, DestinationTranslation, PortMap};
use crate::Reason;
use crate::inspect::Key;

impl AddressMap {
    /// The new address of `address`, or `None` where there is none of its family, or the addresses end before it.
    pub(crate) fn map(&self, address: IpAddr) -> Option<IpAddr> {
        let new = match self {
            Self::Single(new) => *new,
            Self::Transposed { from, .. } if !from.contains(address) => address,
            Self::Transposed { from, to_first } => nth(*to_first, offset(from.first(), address)?)?,
        };
        (new.is_ipv4() == address.is_ipv4()).then_some(new)
    }
}

impl PortMap {
    /// The new port of `port`, or `None` where the ports end before it.
    pub(crate) fn map(&self, port: u16) -> Option<u16> {
        match *self {
            Self::Single(new) => Some(new),
            Self::Transposed { from_first, .. } if port < from_first => Some(port),
            Self::Transposed { from_first, to_first } => to_first.checked_add(port - from_first),
        }
    }
}

/// How far `address` lies behind `first`.
pub(super) fn offset(first: IpAddr, address: IpAddr) -> Option<u128> {
    match (first, address) {
        (IpAddr::V4(first), IpAddr::V4(address)) => address.to_bits().checked_sub(first.to_bits()).map(u128::from),
        (IpAddr::V6(first), IpAddr::V6(address)) => address.to_bits().checked_sub(first.to_bits()),
        (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
    }
}

/// The address that lies `offset` behind `first`.
pub(super) fn nth(first: IpAddr, offset: u128) -> Option<IpAddr> {
    match first {
        IpAddr::V4(first) => {
            first.to_bits().checked_add(u32::try_from(offset).ok()?).map(|bits| Ipv4Addr::from_bits(bits).into())
        }
        IpAddr::V6(first) => first.to_bits().checked_add(offset).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

/// The key of a connection with its new destination. Only TCP and UDP have a destination port; other protocols keep what
/// stands in its place.
pub(crate) fn translate(translation: &DestinationTranslation, key: &Key) -> Result<Key, Reason> {
    let DestinationTranslation::Static { address, port } = translation else { return Ok(*key) };
    let mut to = *key;
    if let Some(map) = address {
        to.destination = map.map(key.destination).ok_or(Reason::NatNoAddress)?;
    }
    if let (Some(map), ip::TCP | ip::UDP) = (port, key.protocol) {
        to.ports.1 = map.map(key.ports.1).ok_or(Reason::NatNoAddress)?;
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use base::IpRange;
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn network(text: &str, prefix: u8) -> IpRange {
        IpRange::network(address(text), prefix).unwrap()
    }

    fn key(protocol: u8, port: u16) -> Key {
        let (source, destination) = (address("192.0.2.9"), address("198.51.100.7"));
        Key { source, destination, protocol, ports: (5000, port), message: None }
    }

    fn sat(address: Option<AddressMap>, port: Option<PortMap>) -> DestinationTranslation {
        DestinationTranslation::Static { address, port }
    }

    #[test]
    fn without_a_translation_the_key_stays() {
        assert_eq!(translate(&DestinationTranslation::None, &key(6, 80)), Ok(key(6, 80)));
        assert_eq!(translate(&sat(None, None), &key(6, 80)), Ok(key(6, 80)));
    }

    #[test]
    fn a_server_has_one_address_and_one_port_behind_the_gateway() {
        let map = sat(Some(AddressMap::Single(address("10.0.0.5"))), Some(PortMap::Single(8080)));
        let to = translate(&map, &key(6, 80)).unwrap();
        assert_eq!((to.destination, to.ports), (address("10.0.0.5"), (5000, 8080)));
        assert_eq!((to.source, to.protocol), (address("192.0.2.9"), 6));
        let gre = translate(&map, &key(47, 0)).unwrap();
        assert_eq!((gre.destination, gre.ports), (address("10.0.0.5"), (5000, 0)), "it has no port to change");
    }

    #[test]
    fn a_network_is_transposed_address_by_address() {
        let map = AddressMap::Transposed { from: network("198.51.100.0", 28), to_first: address("10.0.0.16") };
        assert_eq!(map.map(address("198.51.100.0")), Some(address("10.0.0.16")));
        assert_eq!(map.map(address("198.51.100.15")), Some(address("10.0.0.31")));
        assert_eq!(map.map(address("198.51.100.16")), Some(address("198.51.100.16")), "it is outside");
        let map = AddressMap::Transposed { from: network("2001:db8:1::", 64), to_first: address("fd00::") };
        assert_eq!(map.map(address("2001:db8:1::abcd:1")), Some(address("fd00::abcd:1")));
    }

    #[test]
    fn what_has_no_new_address_or_port_is_refused() {
        let refused = |address, port| translate(&sat(address, port), &key(17, 65_000)) == Err(Reason::NatNoAddress);
        assert!(refused(Some(AddressMap::Single(address("2001:db8::1"))), None));
        let from = network("198.51.100.0", 24);
        assert!(refused(Some(AddressMap::Transposed { from, to_first: address("255.255.255.250") }), None));
        assert!(refused(Some(AddressMap::Transposed { from, to_first: address("fd00::") }), None));
        assert!(refused(None, Some(PortMap::Transposed { from_first: 60_000, to_first: 61_000 })));
    }

    #[test]
    fn ports_are_transposed_from_the_first_of_the_service() {
        let map = PortMap::Transposed { from_first: 8000, to_first: 9000 };
        assert_eq!((map.map(8000), map.map(8010), map.map(7999)), (Some(9000), Some(9010), Some(7999)));
    }

    proptest! {
        #[test]
        fn a_transposition_keeps_addresses_apart(a: u8, b: u8) {
            let map = AddressMap::Transposed { from: network("10.1.2.0", 24), to_first: address("172.16.9.0") };
            let of = |last| map.map(IpAddr::from([10, 1, 2, last])).unwrap();
            prop_assert_eq!(of(a) == of(b), a == b);
            let back = AddressMap::Transposed { from: network("172.16.9.0", 24), to_first: address("10.1.2.0") };
            prop_assert_eq!(back.map(of(a)), Some(IpAddr::from([10, 1, 2, a])));
        }
    }
}
