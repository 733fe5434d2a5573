//! Half-open IKE SAs: how many there are, in all and of one source, and which gives way.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::v2::SaId;

/// What one source is counted by: an IPv4 address or an IPv6 /64 (RFC 8019 section 4.4).
type Source = u128;

/// The first message of an IKE SA: where it came from and its digest.
pub(crate) type FirstMessage = (SocketAddr, [u8; 20]);

/// The accounts.
#[derive(Debug, Default)]
pub(crate) struct HalfOpenTable {
    of: BTreeMap<SaId, Source>,
    per_source: BTreeMap<Source, usize>,
    /// Responder IKE SAs by their first message, so that its repetition finds them. Kept as long as the IKE SA is.
    by_first: BTreeMap<FirstMessage, SaId>,
    firsts: BTreeMap<SaId, FirstMessage>,
}

impl HalfOpenTable {
    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }

    /// Half-open IKE SAs of the source of this address.
    pub(crate) fn of_source(&self, address: IpAddr) -> usize {
        self.per_source.get(&source(address)).copied().unwrap_or(0)
    }

    /// The one that gives way.
    pub(crate) fn oldest(&self) -> Option<SaId> {
        self.of.keys().next().copied()
    }

    /// The one of the source of this address that gives way.
    pub(crate) fn oldest_of(&self, address: IpAddr) -> Option<SaId> {
        let source = source(address);
        self.of.iter().find(|(_, own)| **own == source).map(|(id, _)| *id)
    }

    /// The IKE SA that this first message has made.
    pub(crate) fn find(&self, first: &FirstMessage) -> Option<SaId> {
        self.by_first.get(first).copied()
    }

    /// A new half-open IKE SA.
    pub(crate) fn open(&mut self, sa: SaId, first: FirstMessage) {
        let source = source(first.0.ip());
        self.of.insert(sa, source);
        *self.per_source.entry(source).or_default() += 1;
        self.by_first.insert(first, sa);
        self.firsts.insert(sa, first);
    }

    /// It is half-open no more.
    pub(crate) fn close(&mut self, sa: SaId) {
        let Some(source) = self.of.remove(&sa) else { return };
        if let Some(count) = self.per_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&source);
            }
        }
    }

    /// It is gone.
    pub(crate) fn forget(&mut self, sa: SaId) {
        self.close(sa);
        if let Some(first) = self.firsts.remove(&sa) {
            self.by_first.remove(&first);
        }
    }
}

fn source(address: IpAddr) -> Source {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => Ipv6Addr::from(address.to_bits() & (u128::MAX << 64)).to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_64_is_one_source_and_an_ipv4_address_is_one() {
        let mut table = HalfOpenTable::default();
        for (n, from) in (0_u8..).zip(["[2001:db8::1]:500", "[2001:db8::2]:500", "192.0.2.1:500", "192.0.2.2:500"]) {
            table.open(SaId(n.into()), (from.parse().unwrap(), [n; 20]));
        }
        assert_eq!(table.of_source("2001:db8::9".parse().unwrap()), 2);
        assert_eq!(table.of_source("192.0.2.1".parse().unwrap()), 1);
        assert_eq!((table.len(), table.oldest()), (4, Some(SaId(0))));
        assert_eq!(table.oldest_of("192.0.2.2".parse().unwrap()), Some(SaId(3)));
        table.close(SaId(0));
        table.close(SaId(0));
        assert_eq!((table.of_source("2001:db8::9".parse().unwrap()), table.len()), (1, 3));
        table.forget(SaId(1));
        assert_eq!(table.find(&("[2001:db8::2]:500".parse().unwrap(), [1; 20])), None);
        assert!(table.find(&("[2001:db8::1]:500".parse().unwrap(), [0; 20])).is_some());
    }
}
