//! What a rule's translation makes of addresses and ports.

use std::net::IpAddr;

use super::packet::Key;
use crate::{AddressMap, DestinationTranslation, PortMap, Reason};

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address so many places behind another one, if there is one.
fn behind(first: IpAddr, places: u128) -> Option<IpAddr> {
    let sum = number(first).checked_add(places)?;
    match first {
        IpAddr::V4(_) => u32::try_from(sum).ok().map(|bits| std::net::Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(_) => Some(std::net::Ipv6Addr::from_bits(sum).into()),
    }
}

pub(super) fn map(map: &AddressMap, address: IpAddr) -> Result<IpAddr, Reason> {
    let new = match map {
        AddressMap::Single(new) => Some(*new),
        AddressMap::Transposed { from, to_first } if from.contains(address) => {
            behind(*to_first, number(address) - number(from.first()))
        }
        AddressMap::Transposed { .. } => Some(address),
    };
    new.filter(|new| new.is_ipv4() == address.is_ipv4()).ok_or(Reason::NatNoAddress)
}

/// The connection to its new destination.
pub(super) fn destination(translation: &DestinationTranslation, key: &Key) -> Result<Key, Reason> {
    let mut new = *key;
    if let DestinationTranslation::Static { address, port } = translation {
        if let Some(address) = address {
            new.destination = map(address, key.destination)?;
        }
        if let (Some(port), 6 | 17) = (port, key.protocol) {
            let old = key.ports.1;
            new.ports.1 = match port {
                PortMap::Single(new) => *new,
                PortMap::Transposed { from_first, .. } if old < *from_first => old,
                PortMap::Transposed { from_first, to_first } => {
                    to_first.checked_add(old - from_first).ok_or(Reason::NatNoAddress)?
                }
            };
        }
    }
    Ok(new)
}

/// `Auto` translates an IPv4 source that speaks to somebody who cannot answer it: private and link-local addresses are known
/// among themselves, those of a provider also to its customers, all others to everybody.
pub(super) fn auto(source: IpAddr, destination: IpAddr) -> bool {
    let reach = |address: IpAddr| match address {
        IpAddr::V4(v4) if v4.is_private() || v4.is_link_local() => 0,
        IpAddr::V4(v4) if (0x6440_0000..=0x647f_ffff).contains(&v4.to_bits()) => 1,
        IpAddr::V4(_) | IpAddr::V6(_) => 2,
    };
    source.is_ipv4() && destination.is_ipv4() && reach(source) < reach(destination)
}
