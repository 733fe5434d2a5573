//! Sets of addresses for which the gateway answers in the place of others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::IpRange;

/// Ranges that may overlap and come more than once. To add or take a single address, and to ask, costs the logarithm of
/// their number; to add or take a network costs their number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges {
    hosts: BTreeMap<IpAddr, u32>,
    networks: BTreeMap<IpRange, u32>,
    /// The networks, joined where they overlap, in order.
    joined: Vec<IpRange>,
}

impl Ranges {
    pub(crate) fn new(ranges: impl Iterator<Item = IpRange>) -> Self {
        let mut set = Self::default();
        for range in ranges {
            if range.first() == range.last() {
                *set.hosts.entry(range.first()).or_default() += 1;
            } else {
                *set.networks.entry(range).or_default() += 1;
            }
        }
        set.join();
        set
    }

    pub(crate) fn add(&mut self, range: IpRange) {
        if range.first() == range.last() {
            *self.hosts.entry(range.first()).or_default() += 1;
        } else {
            *self.networks.entry(range).or_default() += 1;
            self.join();
        }
    }

    /// Takes away what was added once.
    pub(crate) fn remove(&mut self, range: IpRange) {
        if range.first() == range.last() {
            if take_one(&mut self.hosts, &range.first()) {
                self.hosts.remove(&range.first());
            }
        } else if take_one(&mut self.networks, &range) {
            self.networks.remove(&range);
            self.join();
        }
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let index = self.joined.partition_point(|range| range.last() < address);
        self.hosts.contains_key(&address) || self.joined.get(index).is_some_and(|range| range.contains(address))
    }

    pub(crate) fn has_v6(&self) -> bool {
        // IPv6 sorts behind IPv4.
        self.hosts.last_key_value().is_some_and(|(host, _)| host.is_ipv6())
            || self.joined.last().is_some_and(|range| !range.is_ipv4())
    }

    fn join(&mut self) {
        self.joined.clear();
        for range in self.networks.keys() {
            match self.joined.last_mut() {
                Some(last) if last.contains(range.first()) => {
                    let end = last.last().max(range.last());
                    *last = IpRange::new(last.first(), end).unwrap_or(*last);
                }
                _ => self.joined.push(*range),
            }
        }
    }
}

/// One less; true when none is left.
fn take_one<K: Ord>(counts: &mut BTreeMap<K, u32>, key: &K) -> bool {
    counts.get_mut(key).is_some_and(|count| {
        *count = count.saturating_sub(1);
        *count == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> IpRange {
        let (address, prefix) = text.split_once('/').unwrap();
        IpRange::network(address.parse().unwrap(), prefix.parse().unwrap()).unwrap()
    }

    #[test]
    fn what_overlaps_stays_until_the_last_of_it_goes() {
        let mut set = Ranges::new([range("10.0.0.0/8"), range("10.1.0.0/16"), range("192.168.1.9/32")].into_iter());
        let has = |set: &Ranges, text: &str| set.contains(text.parse().unwrap());
        assert!(has(&set, "10.1.2.3") && has(&set, "10.200.0.1") && has(&set, "192.168.1.9"));
        assert!(!has(&set, "11.0.0.0") && !has(&set, "192.168.1.8") && !has(&set, "::1") && !set.has_v6());
        set.add(range("10.1.2.3/32"));
        set.add(range("10.1.2.3/32"));
        set.remove(range("10.0.0.0/8"));
        set.remove(range("10.1.0.0/16"));
        set.remove(range("10.1.2.3/32"));
        assert!(has(&set, "10.1.2.3") && !has(&set, "10.1.2.4"));
        set.remove(range("10.1.2.3/32"));
        set.remove(range("10.1.2.3/32"));
        assert!(!has(&set, "10.1.2.3"));
        set.add(range("2001:db8::/64"));
        assert!(set.has_v6() && has(&set, "2001:db8::7"));
    }
}
