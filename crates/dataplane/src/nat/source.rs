//! The new source of a connection: the address a rule asks for, and a port that makes it the only one of its kind.
//!
//! Two connections must differ in what their answers look like: protocol, our address and port, and the remote address and
//! port. So one address serves as many connections to *each* remote port as there are ports. What a host sends from one
//! port to several remote ones may leave from several: this is a mapping per connection ("address and port-dependent", RFC
//! 4787 section 4.1), since a mapping per host and port would limit all remote ones together to one set of ports, and
//! would let strangers in by itself.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use base::Random;
use wire::ip;

use super::pools::Pools;
use super::{NatPool, SourceTranslation};
use crate::Reason;
use crate::inspect::Key;

/// Ports by chance before they are tried one after the other.
const PROBES: usize = 16;
/// Ports that are then tried one after the other, so that a host that has used them all up costs no more than this with
/// each further attempt. While one port in a thousand is free, it nearly always finds one.
const SCAN_MAX: u64 = 4096;
/// Ports of ordinary clients.
const ORDINARY: RangeInclusive<u16> = 1024..=u16::MAX;
/// Ports that mean something to whoever sees them: a host that sends from one gets one (RFC 4787 section 4.2.2).
const LOW: RangeInclusive<u16> = 1..=1023;
/// Echo identifiers have no meaning.
const IDENTIFIERS: RangeInclusive<u16> = 0..=u16::MAX;

/// A connection with its new source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// As the other end sees it.
    pub(crate) key: Key,
    /// The pool to tell of the connection's end, or that it did not open after all: [`Pools::end`] with the old source and
    /// the new one.
    pub(crate) pool: Option<Arc<NatPool>>,
}

/// Chooses the source of a connection that is about to open. `key` is as its opener sends it, with its new destination if
/// it has got one; `interface` the address of the interface it leaves by, or the originator address of a tunnel; `taken`
/// says of the key of an answer that it belongs to a connection that there is, or to a service of the gateway itself. An
/// older connection with the same `key` has been closed, or it would be in its own way.
pub(crate) fn choose(
    translation: &SourceTranslation,
    key: &Key,
    interface: Option<IpAddr>,
    pools: &mut Pools,
    random: &mut Random,
    taken: impl Fn(&Key) -> bool,
) -> Result<Chosen, Reason> {
    let shared = |address: Option<IpAddr>, random: &mut Random| {
        let key = share(key, address.ok_or(Reason::NatNoAddress)?, random, &taken)?;
        Ok(Chosen { key, pool: None })
    };
    let unshared = |key: Key| match taken(&key.reversed()) {
        true => Err(Reason::NatTaken),
        false => Ok(Chosen { key, pool: None }),
    };
    match translation {
        SourceTranslation::None => unshared(*key),
        SourceTranslation::Auto if !auto(key.source, key.destination) => unshared(*key),
        SourceTranslation::Auto | SourceTranslation::Interface => shared(interface, random),
        SourceTranslation::Address(address) => shared(Some(*address), random),
        SourceTranslation::Static(map) => {
            let source = map.map(key.source).ok_or(Reason::NatNoAddress)?;
            unshared(Key { source, ..*key })
        }
        SourceTranslation::Pool(pool) => {
            let mut outcome = Err(Reason::NatNoAddress);
            for address in pools.candidates(pool, key.source) {
                outcome = share(key, address, random, &taken);
                if outcome.is_ok() {
                    break;
                }
            }
            let to = outcome?;
            pools.begin(pool, key.source, to.source);
            Ok(Chosen { key: to, pool: Some(Arc::clone(pool)) })
        }
    }
}

/// True where `Auto` translates: an IPv4 source speaks to a destination that cannot answer it. Private addresses (RFC 1918)
/// and those of a link (RFC 3927) are known among themselves, the shared addresses of a provider (RFC 6598) also to its
/// customers' routers but not to what is behind them, and all others to everybody.
pub(crate) fn auto(source: IpAddr, destination: IpAddr) -> bool {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => reach(source) < reach(destination),
        (IpAddr::V4(_) | IpAddr::V6(_), _) => false,
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Site,
    Provider,
    World,
}

fn reach(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [100, second, ..] if second & 0xc0 == 64 => Reach::Provider,
        _ if address.is_private() || address.is_link_local() => Reach::Site,
        _ => Reach::World,
    }
}

/// The connection from `address` instead, and from a port there that is free.
fn share(key: &Key, address: IpAddr, random: &mut Random, taken: impl Fn(&Key) -> bool) -> Result<Key, Reason> {
    if address.is_ipv4() != key.source.is_ipv4() {
        return Err(Reason::NatNoAddress);
    }
    let from = |port| Key { source: address, ports: (port, key.ports.1), ..*key };
    let free = |port: &u16| !taken(&from(*port).reversed());
    let port = key.ports.0;
    let echo = matches!(key.protocol, ip::ICMP | ip::ICMPV6) && key.message.is_none();
    if !echo && !matches!(key.protocol, ip::TCP | ip::UDP) {
        // Nothing tells the answers of two hosts apart, so there may be one to a remote address.
        return if free(&port) { Ok(from(port)) } else { Err(Reason::NatTaken) };
    }
    let classes: &[RangeInclusive<u16>] = match port {
        _ if echo => &[IDENTIFIERS],
        1..1024 => &[LOW, ORDINARY],
        _ => &[ORDINARY],
    };
    // UDP from port 0 (RFC 768) expects no answer, and passes better from a port.
    if (port != 0 || echo) && free(&port) {
        return Ok(from(port));
    }
    let port = classes.iter().find_map(|class| find(class, random, free)).ok_or(Reason::NatPortsExhausted)?;
    Ok(from(port))
}

/// A free port of a class: by chance, so that strangers cannot guess it (RFC 6056), and if that does not help the next free
/// one behind a place of chance.
fn find(class: &RangeInclusive<u16>, random: &mut Random, free: impl Fn(&u16) -> bool) -> Option<u16> {
    let count = u64::from(class.end() - class.start()) + 1;
    let nth = |index: u64| class.start().saturating_add(u16::try_from(index % count).unwrap_or(0));
    let probed = (0..PROBES).map(|_| nth(random.below(count))).find(&free);
    let first = random.below(count);
    probed.or_else(|| (first..first + count.min(SCAN_MAX)).map(nth).find(&free))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use base::IpRange;
    use proptest::prelude::*;

    use super::*;
    use crate::nat::{AddressMap, NatPoolKind};

    const NAT: &str = "198.51.100.1";

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn key(protocol: u8, source: &str, port: u16) -> Key {
        let destination = address(if source.contains(':') { "2001:db8::9" } else { "203.0.113.9" });
        let remote_port = if matches!(protocol, ip::TCP | ip::UDP) { 443 } else { 0 };
        Key { source: address(source), destination, protocol, ports: (port, remote_port), message: None }
    }

    /// Chooses for one connection after the other, which all stay open.
    struct Gateway {
        pools: Pools,
        random: Random,
        answers: BTreeSet<(IpAddr, u16, IpAddr, u16, u8)>,
    }

    impl Gateway {
        fn new() -> Self {
            Self { pools: Pools::default(), random: Random::numbered(1), answers: BTreeSet::new() }
        }

        fn open(&mut self, translation: &SourceTranslation, key: &Key) -> Result<Key, Reason> {
            let all = |key: &Key| (key.source, key.ports.0, key.destination, key.ports.1, key.protocol);
            let taken = |answer: &Key| self.answers.contains(&all(answer));
            let interface = Some(address(NAT));
            let chosen = choose(translation, key, interface, &mut self.pools, &mut self.random, taken)?;
            assert!(self.answers.insert(all(&chosen.key.reversed())), "{chosen:?} is taken");
            Ok(chosen.key)
        }
    }

    #[test]
    fn a_port_is_kept_where_it_is_free() {
        let mut gateway = Gateway::new();
        for (protocol, port) in [(ip::TCP, 40_000), (ip::UDP, 500), (ip::ICMP, 0), (ip::ICMP, 77)] {
            let to = gateway.open(&SourceTranslation::Interface, &key(protocol, "10.0.0.1", port)).unwrap();
            assert_eq!(to, Key { source: address(NAT), ..key(protocol, "10.0.0.1", port) });
        }
        let other = gateway.open(&SourceTranslation::Interface, &key(ip::TCP, "10.0.0.2", 40_000)).unwrap();
        assert!(other.ports.0 >= 1024 && other.ports.0 != 40_000);
        let low = gateway.open(&SourceTranslation::Interface, &key(ip::UDP, "10.0.0.2", 500)).unwrap();
        assert!((1..1024).contains(&low.ports.0) && low.ports.0 != 500);
        let elsewhere = Key { ports: (40_000, 80), ..key(ip::TCP, "10.0.0.3", 0) };
        assert_eq!(
            gateway.open(&SourceTranslation::Interface, &elsewhere).unwrap().ports.0,
            40_000,
            "it is another remote port"
        );
        let from_zero = gateway.open(&SourceTranslation::Interface, &key(ip::UDP, "10.0.0.1", 0)).unwrap();
        assert!(from_zero.ports.0 >= 1024);
    }

    #[test]
    fn every_port_is_given_out_and_none_twice() {
        for (protocol, first, count) in [(ip::TCP, 5000, 64_512), (ip::UDP, 500, 65_535), (ip::ICMP, 5000, 65_536)] {
            let (pools, random) = (&mut Pools::default(), &mut Random::numbered(1));
            let mut used = vec![false; 65_536];
            let (mut given, mut refused_at_a_time) = (0, 0);
            let key = key(protocol, "10.0.0.1", first);
            let elsewhere = Key { destination: address("203.0.113.10"), ..key };
            while refused_at_a_time < 100 {
                let taken = |answer: &Key| answer.source == key.destination && used[usize::from(answer.ports.1)];
                match choose(&SourceTranslation::Interface, &key, Some(address(NAT)), pools, random, taken) {
                    Ok(chosen) => {
                        let port = usize::from(chosen.key.ports.0);
                        assert!(!used[port], "{port} is taken");
                        used[port] = true;
                        (given, refused_at_a_time) = (given + 1, 0);
                    }
                    Err(reason) => {
                        assert_eq!(reason, Reason::NatPortsExhausted);
                        refused_at_a_time += 1;
                        let other =
                            choose(&SourceTranslation::Interface, &elsewhere, Some(address(NAT)), pools, random, taken);
                        assert_eq!(other.unwrap().key.ports.0, first, "towards others all are free");
                    }
                }
            }
            assert_eq!(given, count, "protocol {protocol}");
        }
    }

    #[test]
    fn without_ports_there_is_one_host_for_each_remote_one() {
        let mut gateway = Gateway::new();
        for protocol in [ip::ESP, 47] {
            let mut open = |source| gateway.open(&SourceTranslation::Interface, &key(protocol, source, 0));
            assert_eq!(open("10.0.0.1").unwrap().source, address(NAT));
            assert_eq!(open("10.0.0.2"), Err(Reason::NatTaken));
        }
    }

    #[test]
    fn a_static_translation_keeps_ports() {
        let mut gateway = Gateway::new();
        let from = IpRange::network(address("10.0.0.0"), 24).unwrap();
        let transposed = SourceTranslation::Static(AddressMap::Transposed { from, to_first: address("192.0.2.0") });
        let to = gateway.open(&transposed, &key(ip::TCP, "10.0.0.77", 600)).unwrap();
        assert_eq!((to.source, to.ports), (address("192.0.2.77"), (600, 443)));
        let single = SourceTranslation::Static(AddressMap::Single(address("192.0.2.200")));
        assert_eq!(gateway.open(&single, &key(ip::TCP, "10.0.0.1", 600)).unwrap().source, address("192.0.2.200"));
        assert_eq!(gateway.open(&single, &key(ip::TCP, "10.0.0.2", 600)), Err(Reason::NatTaken));
    }

    #[test]
    fn an_address_of_the_other_family_is_none() {
        let mut gateway = Gateway::new();
        let v6 = key(ip::TCP, "fd00::1", 600);
        assert_eq!(gateway.open(&SourceTranslation::Interface, &v6), Err(Reason::NatNoAddress));
        assert_eq!(gateway.open(&SourceTranslation::None, &v6), Ok(v6));
        assert_eq!(gateway.open(&SourceTranslation::None, &v6), Err(Reason::NatTaken), "there is one like it");
        let empty = Arc::new(NatPool { name: "none".into(), ranges: vec![], kind: NatPoolKind::Fixed });
        assert_eq!(gateway.open(&SourceTranslation::Pool(empty), &v6), Err(Reason::NatNoAddress));
    }

    #[test]
    fn a_stateless_pool_goes_on_to_its_next_address_and_a_stateful_one_does_not() {
        let pool = |kind| {
            let ranges = vec![IpRange::new(address("198.51.100.1"), address("198.51.100.2")).unwrap()];
            SourceTranslation::Pool(Arc::new(NatPool { name: "pool".into(), ranges, kind }))
        };
        // Protocol 47 has no ports: an address serves one connection to a remote host.
        let open_three = |kind| {
            let mut gateway = Gateway::new();
            let towards = |last| Key { destination: [203, 0, 113, last].into(), ..key(47, "10.0.0.1", 0) };
            [towards(1), towards(1), towards(1)].map(|key| gateway.open(&pool(kind), &key).map(|to| to.source))
        };
        let (first, second) = (Ok(address("198.51.100.1")), Ok(address("198.51.100.2")));
        assert_eq!(open_three(NatPoolKind::Stateless), [first, second, Err(Reason::NatTaken)]);
        assert_eq!(open_three(NatPoolKind::Stateful), [first, Err(Reason::NatTaken), Err(Reason::NatTaken)]);
    }

    #[test]
    fn auto_translates_from_private_to_public_addresses_only() {
        let (site, link, provider, world) = ("192.168.1.1", "169.254.6.1", "100.64.0.1", "203.0.113.9");
        for (source, destination, translated) in [
            (site, "10.0.0.1", false),
            (site, link, false),
            (site, provider, true),
            (site, world, true),
            (link, world, true),
            (provider, world, true),
            (provider, "100.127.255.255", false),
            (provider, site, false),
            (world, "8.8.8.8", false),
            (world, site, false),
            ("100.128.0.1", world, false),
            ("fd00::1", "2001:db8::1", false),
        ] {
            assert_eq!(auto(address(source), address(destination)), translated, "{source} to {destination}");
            let open = Gateway::new().open(
                &SourceTranslation::Auto,
                &Key { destination: address(destination), ..key(ip::TCP, source, 5000) },
            );
            assert_eq!(open.unwrap().source, address(if translated { NAT } else { source }));
        }
    }

    proptest! {
        #[test]
        fn what_is_chosen_is_free(seed: u64, port: u16, protocol: u8, taken in proptest::collection::btree_set(any::<u16>(), 0..50)) {
            let taken = |answer: &Key| taken.contains(&answer.ports.1);
            let key = key(protocol, "10.0.0.1", port);
            let (pools, random) = (&mut Pools::default(), &mut Random::numbered(seed));
            if let Ok(chosen) = choose(&SourceTranslation::Interface, &key, Some(address(NAT)), pools, random, taken) {
                prop_assert!(!taken(&chosen.key.reversed()));
                prop_assert_eq!(chosen.key.source, address(NAT));
                prop_assert_eq!((chosen.key.destination, chosen.key.ports.1), (key.destination, key.ports.1));
            } else {
                prop_assert!(!matches!(protocol, ip::TCP | ip::UDP | ip::ICMP | ip::ICMPV6));
            }
        }
    }
}
