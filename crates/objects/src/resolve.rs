//! From names to what they stand for: addresses and services, groups unfolded.

use std::net::IpAddr;

use base::IpRange;
use schema::kind::{AddressTerm, HardwareTerm};
use schema::{Names, Object, ObjectId, Problem, Tree};

use crate::address::{
    ANY, EthernetAddress, FQDN, FqdnAddress, FqdnGroup, Ip4Address, Ip4Group, Ip6Address, Ip6Group, host_name,
};
use crate::services::{SERVICES, ServiceGroup, ServiceIcmp, ServiceIcmpv6, ServiceIpProto, ServiceTcpUdp};
use crate::snapshot::{Networks, Service, ServiceMatch};

/// Ranges or services that one property may come to.
const RESOLVED_MAX: usize = 4096;

/// Looks names up. What it cannot find was reported when references were checked.
pub(crate) struct Resolver<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) names: Names<'a>,
    pub(crate) problems: Vec<Problem>,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(tree: &'a Tree) -> Self {
        Self { tree, names: Names::new(tree), problems: Vec::new() }
    }

    /// Notes a problem with a property of an object.
    pub(crate) fn report(&mut self, object: &Object, property: &str, problem: Problem) {
        let title = self.tree.title(object);
        self.problems.push(problem.of(title).property(property).at(object.place(property)));
    }

    /// The addresses of a property, each once, all of one family.
    pub(crate) fn addresses(&mut self, object: &Object, property: &str, terms: &[AddressTerm]) -> Option<Vec<IpRange>> {
        self.networks(object, property, terms).map(|networks| networks.ranges)
    }

    /// The addresses of a property, each once, all written out of one family, and the host names.
    pub(crate) fn networks(&mut self, object: &Object, property: &str, terms: &[AddressTerm]) -> Option<Networks> {
        // An interface's network may be written as its address with the prefix length.
        if !matches!(object.info.name, "Ethernet" | "VLAN") {
            self.warn_of_host_bits(object, property);
        }
        let types = object.info.property(property).map_or(ANY, |info| info.kind.reference_types());
        let mut ranges = Vec::new();
        let mut host_names = Vec::new();
        for term in terms {
            match term {
                AddressTerm::Literal(range) => push(&mut ranges, *range),
                AddressTerm::Name(name) => {
                    let named = self.names.resolve(types, object.parent, name)?;
                    if FQDN.contains(&named.info.name) {
                        self.host_names(named, &mut Vec::new(), &mut host_names)?;
                    } else {
                        self.named(named, &mut Vec::new(), &mut ranges)?;
                    }
                }
            }
        }
        if ranges.len() > RESOLVED_MAX {
            let message = format!("the value comes to {} ranges; at most {RESOLVED_MAX} are allowed", ranges.len());
            self.report(object, property, Problem::error(message).remedy("use larger networks"));
            return None;
        }
        let (v4, v6): (Vec<IpRange>, Vec<IpRange>) = ranges.iter().partition(|range| range.is_ipv4());
        if let (Some(v4), Some(v6)) = (v4.first(), v6.first()) {
            let problem = Problem::error(format!("{v4} and {v6} mix IPv4 and IPv6 in one value; expected one family"));
            self.report(object, property, problem.remedy("make two objects, one for each family"));
            return None;
        }
        if ranges.is_empty() && host_names.is_empty() {
            let problem = Problem::error("the value comes to no address at all");
            self.report(object, property, problem.remedy("exclude less from its groups"));
            return None;
        }
        Some(Networks { ranges, names: host_names })
    }

    /// The host names behind an FQDNAddress or FQDNGroup.
    fn host_names(&mut self, object: &Object, inside: &mut Vec<ObjectId>, names: &mut Vec<String>) -> Option<()> {
        if inside.contains(&object.id) {
            self.contains_itself(object);
            return None;
        }
        if object.info.name == FqdnAddress::TYPE.name {
            let name = host_name(&FqdnAddress::read(object)?.address)?;
            if names.len() <= RESOLVED_MAX && !names.contains(&name) {
                names.push(name);
            }
            return Some(());
        }
        inside.push(object.id);
        for member in FqdnGroup::read(object)?.members {
            let member = self.names.resolve(FQDN, object.parent, &member)?;
            self.host_names(member, inside, names)?;
        }
        inside.pop();
        Some(())
    }

    pub(crate) fn contains_itself(&mut self, object: &Object) {
        let problem = Problem::error("the group contains itself").remedy("take the group out of itself");
        self.report(object, "Members", problem);
    }

    /// The hardware address of a property.
    pub(crate) fn hardware(&mut self, object: &Object, term: &HardwareTerm) -> Option<[u8; 6]> {
        match term {
            HardwareTerm::Literal(address) => Some(*address),
            HardwareTerm::Name(name) => {
                let named = self.names.resolve(&[EthernetAddress::TYPE.name], object.parent, name)?;
                match EthernetAddress::read(named)?.address {
                    HardwareTerm::Literal(address) => Some(address),
                    HardwareTerm::Name(_) => None,
                }
            }
        }
    }

    /// Warns of networks written with an address inside them: the whole network applies, not that address.
    fn warn_of_host_bits(&mut self, object: &Object, property: &str) {
        for term in object.get(property).unwrap_or_default().split(',') {
            let Some((address, prefix)) = term.split_once('/') else { continue };
            let (Ok(address), Ok(prefix)) = (address.parse::<IpAddr>(), prefix.parse::<u8>()) else { continue };
            let Ok(network) = IpRange::network(address, prefix) else { continue };
            if network.first() != address {
                let problem = Problem::warning(format!("{term} stands for all of {network}"));
                let remedy = format!("write {network}, or {address} for the one address");
                self.report(object, property, problem.remedy(remedy));
            }
        }
    }

    /// The address of a property that takes one.
    pub(crate) fn host(&mut self, object: &Object, property: &str, terms: &[AddressTerm]) -> Option<IpAddr> {
        let ranges = self.addresses(object, property, terms)?;
        match ranges.as_slice() {
            [range] if range.first() == range.last() => Some(range.first()),
            ranges => {
                let found = ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                self.report(
                    object,
                    property,
                    Problem::error(format!("the value comes to {found}; expected one address")),
                );
                None
            }
        }
    }

    /// The network of a property that takes one.
    pub(crate) fn network(&mut self, object: &Object, property: &str, terms: &[AddressTerm]) -> Option<IpRange> {
        let ranges = self.addresses(object, property, terms)?;
        match ranges.as_slice() {
            [range] if range.prefix().is_some() => Some(*range),
            ranges => {
                let found = ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                self.report(
                    object,
                    property,
                    Problem::error(format!("the value comes to {found}; expected one network")),
                );
                None
            }
        }
    }

    fn named(&mut self, object: &Object, inside: &mut Vec<ObjectId>, ranges: &mut Vec<IpRange>) -> Option<()> {
        if inside.contains(&object.id) {
            self.contains_itself(object);
            return None;
        }
        let terms = match object.info.name {
            "IP4Address" => Ip4Address::read(object)?.address,
            "IP6Address" => Ip6Address::read(object)?.address,
            _ => {
                let (members, excluded) = match object.info.name {
                    "IP4Group" => Ip4Group::read(object).map(|group| (group.members, group.excluded))?,
                    _ => Ip6Group::read(object).map(|group| (group.members, group.excluded))?,
                };
                let (mut within, mut without) = (Vec::new(), Vec::new());
                inside.push(object.id);
                for (names, into) in [(members, &mut within), (excluded.unwrap_or_default(), &mut without)] {
                    for member in &names {
                        let member = self.names.resolve(ANY, object.parent, member)?;
                        if into.len() > RESOLVED_MAX {
                            break;
                        }
                        self.named(member, inside, into)?;
                    }
                }
                inside.pop();
                for range in within {
                    for left in subtract(range, &without) {
                        push(ranges, left);
                    }
                }
                return Some(());
            }
        };
        for term in terms {
            if let AddressTerm::Literal(range) = term {
                push(ranges, range);
            }
        }
        Some(())
    }

    /// A service, groups unfolded.
    pub(crate) fn service(&mut self, object: &Object, name: &str) -> Option<Service> {
        let service = self.names.resolve(SERVICES, object.parent, name)?;
        let mut matches = Vec::new();
        self.matches(service, &mut Vec::new(), &mut matches)?;
        let timeouts = crate::services::timeouts(service);
        Some(Service { name: service.name.clone().unwrap_or_default(), matches, timeouts })
    }

    fn matches(&mut self, object: &Object, inside: &mut Vec<ObjectId>, matches: &mut Vec<ServiceMatch>) -> Option<()> {
        if inside.contains(&object.id) {
            self.contains_itself(object);
            return None;
        }
        let found = match object.info.name {
            "ServiceTCPUDP" => ServiceTcpUdp::read(object)?.matches(),
            "ServiceICMP" => ServiceIcmp::read(object)?.matches(),
            "ServiceICMPv6" => ServiceIcmpv6::read(object)?.matches(),
            "ServiceIPProto" => ServiceIpProto::read(object)?.matches(),
            _ => {
                inside.push(object.id);
                for member in ServiceGroup::read(object)?.members {
                    let member = self.names.resolve(SERVICES, object.parent, &member)?;
                    if matches.len() > RESOLVED_MAX {
                        break;
                    }
                    self.matches(member, inside, matches)?;
                }
                inside.pop();
                return Some(());
            }
        };
        matches.extend(found);
        Some(())
    }
}

fn push(ranges: &mut Vec<IpRange>, range: IpRange) {
    if ranges.len() <= RESOLVED_MAX && !ranges.contains(&range) {
        ranges.push(range);
    }
}

/// What is left of a range without others, in order.
fn subtract(range: IpRange, without: &[IpRange]) -> Vec<IpRange> {
    let mut left = vec![range];
    for hole in without {
        left = left
            .into_iter()
            .flat_map(|range| {
                let Some(cut) = range.intersection(hole) else { return vec![range] };
                let before = neighbour(cut.first(), false).filter(|_| cut.first() != range.first());
                let after = neighbour(cut.last(), true).filter(|_| cut.last() != range.last());
                let before = before.and_then(|last| IpRange::new(range.first(), last).ok());
                let after = after.and_then(|first| IpRange::new(first, range.last()).ok());
                before.into_iter().chain(after).collect()
            })
            .take(RESOLVED_MAX.saturating_add(1))
            .collect();
    }
    left
}

/// The address behind or before another.
fn neighbour(address: IpAddr, behind: bool) -> Option<IpAddr> {
    let step = |bits: u128| if behind { bits.checked_add(1) } else { bits.checked_sub(1) };
    match address {
        IpAddr::V4(address) => {
            let bits = step(u128::from(address.to_bits())).and_then(|bits| u32::try_from(bits).ok())?;
            Some(IpAddr::V4(bits.into()))
        }
        IpAddr::V6(address) => step(address.to_bits()).map(|bits| IpAddr::V6(bits.into())),
    }
}

/// The networks that a range is made of, in order.
pub(crate) fn networks(range: IpRange) -> Vec<IpRange> {
    if range.prefix().is_some() {
        return vec![range];
    }
    let (mut at, last, bits) = match (range.first(), range.last()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (u128::from(first.to_bits()), u128::from(last.to_bits()), 32u32),
        (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits(), last.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return Vec::new(),
    };
    let mut networks = Vec::new();
    loop {
        // The largest network that begins here and does not reach beyond the end.
        let mut size = at.trailing_zeros().min(bits - 1);
        while at.checked_add((1u128 << size) - 1).is_none_or(|end| end > last) {
            size -= 1;
        }
        let address = match u32::try_from(at) {
            Ok(at) if bits == 32 => IpAddr::V4(at.into()),
            _ => IpAddr::V6(at.into()),
        };
        networks.extend(u8::try_from(bits - size).ok().and_then(|prefix| IpRange::network(address, prefix).ok()));
        match at.checked_add(1u128 << size) {
            Some(next) if next <= last => at = next,
            _ => return networks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_excluded_is_cut_out_of_a_range() {
        let range = |text: &str| {
            let (first, last) = text.split_once('-').unwrap();
            IpRange::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
        };
        let cut = |from: &str, holes: &[&str]| {
            let holes: Vec<IpRange> = holes.iter().map(|hole| range(hole)).collect();
            subtract(range(from), &holes).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(cut("10.0.0.1-10.0.0.9", &["10.0.0.3-10.0.0.5"]), "10.0.0.1-10.0.0.2 10.0.0.6-10.0.0.9");
        assert_eq!(cut("0.0.0.0-255.255.255.255", &["0.0.0.0-127.255.255.255"]), "128.0.0.0/1");
        assert_eq!(cut("10.0.0.1-10.0.0.9", &["10.0.0.9-10.0.0.20", "10.0.0.1-10.0.0.1"]), "10.0.0.2-10.0.0.8");
        assert_eq!(cut("10.0.0.1-10.0.0.9", &["10.0.0.0-10.0.0.20"]), "");
    }

    #[test]
    fn a_range_is_cut_into_networks() {
        let cut = |first: &str, last: &str| {
            let range = IpRange::new(first.parse().unwrap(), last.parse().unwrap()).unwrap();
            networks(range).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(cut("10.0.0.1", "10.0.0.6"), "10.0.0.1 10.0.0.2/31 10.0.0.4/31 10.0.0.6");
        assert_eq!(cut("0.0.0.0", "255.255.255.255"), "0.0.0.0/0");
        assert_eq!(cut("255.255.255.254", "255.255.255.255"), "255.255.255.254/31");
        assert_eq!(cut("0.0.0.0", "255.255.255.254").split(' ').count(), 32);
        assert_eq!(cut("::1", "::2"), "::1 ::2");
        assert_eq!(cut("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").split(' ').count(), 128);
    }
}
