//! Which address of a pool a connection gets, and what is remembered of it while it lives.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use base::IpRange;

use super::destination::{nth, offset};
use super::{NatPool, NatPoolKind};

/// How many addresses of a pool are tried for a connection of a stateless pool before it is refused.
const TRIES_MAX: usize = 4;

/// What is remembered of all pools: as much as they have connections.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    /// A pool that is defined anew starts anew, and the old one ends with its last connection.
    states: BTreeMap<(Arc<NatPool>, bool), State>,
}

/// What is remembered of the addresses of one family.
#[derive(Debug, Default)]
struct State {
    /// How many of the pool's addresses, in their order, have been used since it last stood idle.
    touched: u128,
    /// What these serve: hosts of a stateful pool, connections of a stateless one.
    loads: BTreeMap<IpAddr, u32>,
    by_load: BTreeSet<(u32, IpAddr)>,
    /// The addresses of hosts, and their connections.
    hosts: BTreeMap<IpAddr, (IpAddr, u32)>,
    connections: u64,
}

impl Pools {
    /// The addresses that a connection of `host` may have, the best first.
    pub(super) fn candidates(&self, pool: &Arc<NatPool>, host: IpAddr) -> Vec<IpAddr> {
        let ranges = Ranges { all: &pool.ranges, v4: host.is_ipv4() };
        let fresh = State::default();
        let state = self.states.get(&(Arc::clone(pool), host.is_ipv4())).unwrap_or(&fresh);
        match pool.kind {
            NatPoolKind::Fixed => ranges.fixed(host).into_iter().collect(),
            NatPoolKind::Stateful => match state.hosts.get(&host) {
                Some((address, _)) => vec![*address],
                None => state.least_loaded(ranges).take(1).collect(),
            },
            NatPoolKind::Stateless => state.least_loaded(ranges).take(TRIES_MAX).collect(),
        }
    }

    /// A connection of `host` has got `address`.
    pub(super) fn begin(&mut self, pool: &Arc<NatPool>, host: IpAddr, address: IpAddr) {
        if pool.kind == NatPoolKind::Fixed {
            return;
        }
        let ranges = Ranges { all: &pool.ranges, v4: host.is_ipv4() };
        let state = self.states.entry((Arc::clone(pool), host.is_ipv4())).or_default();
        state.connections += 1;
        // The addresses before it were passed by because their ports are taken, by connections the pool knows nothing of.
        for _ in 0..state.loads.len() + TRIES_MAX {
            if state.loads.contains_key(&address) {
                break;
            }
            let Some(next) = ranges.nth(state.touched) else { break };
            state.touched += 1;
            // Ranges may overlap.
            if let Entry::Vacant(entry) = state.loads.entry(next) {
                entry.insert(0);
                state.by_load.insert((0, next));
            }
        }
        if pool.kind == NatPoolKind::Stateless {
            return state.load(address, |load| load.saturating_add(1));
        }
        let (_, connections) = state.hosts.entry(host).or_insert((address, 0));
        *connections += 1;
        if *connections == 1 {
            state.load(address, |load| load.saturating_add(1));
        }
    }

    /// A connection of `host` that had `address` has ended.
    pub(crate) fn end(&mut self, pool: &Arc<NatPool>, host: IpAddr, address: IpAddr) {
        let key = (Arc::clone(pool), host.is_ipv4());
        let Some(state) = self.states.get_mut(&key) else { return };
        state.connections = state.connections.saturating_sub(1);
        let frees = match (pool.kind, state.hosts.get_mut(&host)) {
            (NatPoolKind::Stateful, Some((_, connections))) => {
                *connections = connections.saturating_sub(1);
                let last = *connections == 0;
                if last {
                    state.hosts.remove(&host);
                }
                last
            }
            (NatPoolKind::Stateful, None) | (NatPoolKind::Fixed, _) => false,
            (NatPoolKind::Stateless, _) => true,
        };
        if frees {
            state.load(address, |load| load.saturating_sub(1));
        }
        if state.connections == 0 {
            self.states.remove(&key);
        }
    }
}

impl State {
    /// Addresses that serve nobody, then the others by what they serve.
    fn least_loaded<'a>(&'a self, ranges: Ranges<'a>) -> impl Iterator<Item = IpAddr> + 'a {
        let idle = self.by_load.iter().take_while(|(load, _)| *load == 0);
        let positions = std::iter::successors(Some(self.touched), |at| at.checked_add(1));
        let untouched =
            positions.map_while(move |at| ranges.nth(at)).filter(|address| !self.loads.contains_key(address));
        let busy = self.by_load.range((1, IpAddr::from([0; 4]))..);
        idle.map(|(_, address)| *address).chain(untouched).chain(busy.map(|(_, address)| *address))
    }

    fn load(&mut self, address: IpAddr, change: impl Fn(u32) -> u32) {
        if let Some(load) = self.loads.get_mut(&address) {
            self.by_load.remove(&(*load, address));
            *load = change(*load);
            self.by_load.insert((*load, address));
        }
    }
}

/// The addresses of one family, in the order of the ranges.
#[derive(Clone, Copy)]
struct Ranges<'a> {
    all: &'a [IpRange],
    v4: bool,
}

impl<'a> Ranges<'a> {
    /// The ranges with the number of their addresses less one.
    fn iter(self) -> impl Iterator<Item = (&'a IpRange, u128)> {
        let of_family = self.all.iter().filter(move |range| range.is_ipv4() == self.v4);
        of_family.map(|range| (range, offset(range.first(), range.last()).unwrap_or(0)))
    }

    fn nth(self, mut index: u128) -> Option<IpAddr> {
        for (range, last) in self.iter() {
            match index.checked_sub(last) {
                None | Some(0) => return nth(range.first(), index),
                Some(beyond) => index = beyond - 1,
            }
        }
        None
    }

    /// Always the same address for the same host, also of another gateway with the same pool.
    fn fixed(self, host: IpAddr) -> Option<IpAddr> {
        let count = self.iter().fold(0u128, |count, (_, last)| count.saturating_add(last).saturating_add(1));
        let bits = match host {
            IpAddr::V4(host) => u128::from(host.to_bits()),
            IpAddr::V6(host) => host.to_bits(),
        };
        self.nth(spread(bits).checked_rem(count)?)
    }
}

/// Spreads neighbouring numbers evenly: multiplication by an odd number close to 2^128 over the golden ratio, folded.
fn spread(bits: u128) -> u128 {
    let product = bits.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    product >> 64 ^ product >> 96
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn host(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    fn public(number: u8) -> IpAddr {
        [198, 51, 100, number].into()
    }

    /// 198.51.100.1, .2 and .9, and a network of IPv6.
    fn pool(kind: NatPoolKind) -> Arc<NatPool> {
        let ranges = vec![
            IpRange::new(public(1), public(2)).unwrap(),
            IpRange::network(address("2001:db8::"), 64).unwrap(),
            IpRange::host(public(9)),
        ];
        Arc::new(NatPool { name: "pool".into(), ranges, kind })
    }

    fn open(pools: &mut Pools, pool: &Arc<NatPool>, host: IpAddr) -> IpAddr {
        let address = pools.candidates(pool, host)[0];
        pools.begin(pool, host, address);
        address
    }

    #[test]
    fn a_host_keeps_its_address_while_it_has_connections() {
        let (mut pools, pool) = (Pools::default(), pool(NatPoolKind::Stateful));
        let given: Vec<IpAddr> = [1, 2, 1, 3, 4, 2].map(|number| open(&mut pools, &pool, host(number))).to_vec();
        assert_eq!(given, [1, 2, 1, 9, 1, 2].map(public));
        pools.end(&pool, host(1), public(1));
        assert_eq!(pools.candidates(&pool, host(1)), [public(1)], "it has another connection");
        pools.end(&pool, host(1), public(1));
        pools.end(&pool, host(4), public(1));
        assert_eq!(pools.candidates(&pool, host(5)), [public(1)], "it serves nobody now");
        assert_eq!(open(&mut pools, &pool, host(5)), public(1));
        assert_eq!(open(&mut pools, &pool, host(1)), public(1), "all serve one; the first of them");
    }

    #[test]
    fn connections_spread_over_a_stateless_pool() {
        let (mut pools, pool) = (Pools::default(), pool(NatPoolKind::Stateless));
        let given: Vec<IpAddr> = (0..6).map(|_| open(&mut pools, &pool, host(1))).collect();
        assert_eq!(given, [1, 2, 9, 1, 2, 9].map(public));
        pools.end(&pool, host(1), public(9));
        assert_eq!(pools.candidates(&pool, host(2)), [9, 1, 2].map(public));
    }

    #[test]
    fn a_fixed_pool_gives_a_host_always_the_same() {
        let (mut pools, pool) = (Pools::default(), pool(NatPoolKind::Fixed));
        let first: Vec<IpAddr> = (0..=255).map(|number| open(&mut pools, &pool, host(number))).collect();
        let again: Vec<IpAddr> = (0..=255).map(|number| open(&mut pools, &pool, host(number))).collect();
        assert_eq!(first, again);
        for number in [1, 2, 9] {
            let share = first.iter().filter(|address| **address == public(number)).count();
            assert!((60..=110).contains(&share), "{share} of 256 hosts have the address .{number}");
        }
        assert!(pools.states.is_empty());
    }

    #[test]
    fn families_have_addresses_of_their_own_and_none_are_made_up() {
        let mut pools = Pools::default();
        let dual = pool(NatPoolKind::Stateful);
        assert_eq!(open(&mut pools, &dual, address("fd00::7")), address("2001:db8::"));
        assert_eq!(open(&mut pools, &dual, address("fd00::8")), address("2001:db8::1"));
        assert_eq!(open(&mut pools, &dual, host(1)), public(1));
        for kind in [NatPoolKind::Stateful, NatPoolKind::Stateless, NatPoolKind::Fixed] {
            let v6 = Arc::new(NatPool { name: "v6".into(), ranges: vec![IpRange::ALL_V6], kind });
            assert!(pools.candidates(&v6, host(1)).is_empty());
            assert!(!pools.candidates(&v6, address("fd00::7")).is_empty());
        }
    }

    #[test]
    fn nothing_is_remembered_of_a_pool_without_connections() {
        for kind in [NatPoolKind::Stateful, NatPoolKind::Stateless] {
            let (mut pools, pool) = (Pools::default(), pool(kind));
            let given: Vec<(IpAddr, IpAddr)> =
                (0..200).map(|number| (host(number % 50), open(&mut pools, &pool, host(number % 50)))).collect();
            for (host, address) in given {
                pools.end(&pool, host, address);
            }
            assert!(pools.states.is_empty());
            pools.end(&pool, host(1), public(1));
        }
    }

    #[test]
    fn an_address_that_a_pool_names_twice_serves_no_more_than_the_others() {
        let ranges =
            vec![IpRange::host(public(1)), IpRange::new(public(1), public(3)).unwrap(), IpRange::host(public(2))];
        let pool = Arc::new(NatPool { name: "pool".into(), ranges, kind: NatPoolKind::Stateless });
        let mut pools = Pools::default();
        let given: Vec<IpAddr> = (0..6).map(|_| open(&mut pools, &pool, host(1))).collect();
        assert_eq!(given, [1, 2, 3, 1, 2, 3].map(public));
    }

    #[test]
    fn an_address_may_be_passed_by() {
        let (mut pools, pool) = (Pools::default(), pool(NatPoolKind::Stateless));
        pools.begin(&pool, host(1), public(9));
        assert_eq!(pools.candidates(&pool, host(1)), [1, 2, 9].map(public));
    }
}
