//! From IPPolicy, StatelessPolicy, Access, RoutingRule, NATPool and ScheduleProfile objects to rules.

use std::net::IpAddr;
use std::sync::Arc;

use base::IpRange;
use schema::kind::AddressTerm;
use schema::{Object, Problem};

use crate::access::{Access as DeclaredAccess, AccessAction as WantedAccess};
use crate::interfaces::{Ids, proxy};
use crate::ip_policy::{
    Action as Wanted, AddressAction, DestinationTranslation as WantedDestination, IpPolicy, NatAction, PortAction,
    SourceTranslation as WantedSource, StatelessPolicy,
};
use crate::nat_pool::{NatPool as DeclaredPool, PoolType};
use crate::resolve::Resolver;
use crate::routing::RoutingRule as DeclaredRule;
use crate::schedules::ScheduleProfile;
use crate::snapshot::{
    Access, AccessAction, Action, AddressMap, DestinationTranslation, Interfaces, NatPool, NatPoolKind, Networks,
    Policy, PortMap, Proxy, RoutingRule, Schedule, Service, ServiceMatch, SourceTranslation,
};

/// The IP rule set.
pub(crate) fn policies(cx: &mut Resolver<'_>, ids: &Ids) -> Option<Vec<Policy>> {
    let tree = cx.tree;
    // A disabled policy keeps its number. Counted here: to ask each for its own is slow with many.
    let numbered = (1..).zip(tree.objects().filter(|object| object.info.is_numbered_with(IpPolicy::TYPE)));
    let compiled: Vec<Option<Policy>> = numbered
        .filter(|(_, object)| !object.disabled)
        .map(|(index, object)| {
            if object.info.name == StatelessPolicy::TYPE.name {
                stateless(cx, object, index, ids)
            } else {
                policy(cx, object, index, ids)
            }
        })
        .collect();
    compiled.into_iter().collect()
}

/// What policies and routing rules are about.
struct Filter {
    source_interface: Interfaces,
    source_network: Networks,
    destination_interface: Interfaces,
    destination_network: Networks,
    service: Service,
    schedule: Option<Arc<Schedule>>,
}

macro_rules! filter {
    ($cx:expr, $object:expr, $read:expr, $ids:expr) => {{
        let (cx, object, read, ids) = ($cx, $object, $read, $ids);
        let source = cx.networks(object, "SourceNetwork", &read.source_network);
        let destination = cx.networks(object, "DestinationNetwork", &read.destination_network);
        let (source_network, destination_network) = (source?, destination?);
        families(cx, object, &source_network, &destination_network);
        Filter {
            source_interface: interface_set(cx, object, "SourceInterface", &read.source_interface, ids),
            source_network,
            destination_interface: interface_set(cx, object, "DestinationInterface", &read.destination_interface, ids),
            destination_network,
            service: cx.service(object, &read.service)?,
            schedule: schedule(cx, object, read.schedule.as_deref())?,
        }
    }};
}

fn families(cx: &mut Resolver<'_>, object: &Object, source: &Networks, destination: &Networks) {
    let family = |networks: &Networks| networks.ranges.first().map(IpRange::is_ipv4);
    let (Some(from), Some(to)) = (family(source), family(destination)) else { return };
    if from != to && source.names.is_empty() && destination.names.is_empty() {
        let problem = Problem::warning("source and destination network are of different families, so no packet fits");
        cx.report(object, "DestinationNetwork", problem.remedy("make a policy for each family"));
    }
}

/// Outer `None`: the schedule has an error.
fn schedule(cx: &Resolver<'_>, object: &Object, name: Option<&str>) -> Option<Option<Arc<Schedule>>> {
    let Some(name) = name else { return Some(None) };
    let named = cx.names.resolve(&[ScheduleProfile::TYPE.name], object.parent, name)?;
    let read = ScheduleProfile::read(named)?;
    Some(Some(Arc::new(read.schedule(named.name.as_deref().unwrap_or_default()))))
}

/// A set of interfaces, groups unfolded. A tunnel beyond the limit is disabled: what names it stands without it.
fn interface_set(cx: &mut Resolver<'_>, object: &Object, property: &str, names: &[String], ids: &Ids) -> Interfaces {
    if names.iter().any(|name| name.eq_ignore_ascii_case("any")) {
        if names.len() > 1 {
            cx.report(
                object,
                property,
                Problem::warning("any already means every interface").remedy("leave the others out"),
            );
        }
        return Interfaces::Any;
    }
    let mut known = Vec::new();
    for id in names.iter().flat_map(|name| ids.members(name)) {
        if !known.contains(&id) {
            known.push(id);
        }
    }
    Interfaces::Only(known)
}

fn name(object: &Object, index: u32) -> String {
    object.name.clone().unwrap_or_else(|| index.to_string())
}

fn policy(cx: &mut Resolver<'_>, object: &Object, index: u32, ids: &Ids) -> Option<Policy> {
    let read = IpPolicy::read(object)?;
    let filter = filter!(&mut *cx, object, &read, ids);
    let (source, destination) = match read.action {
        Wanted::Allow => (
            source(cx, object, &read, &filter.source_network)?,
            destination(cx, object, &read, &filter.destination_network, &filter.service)?,
        ),
        Wanted::Deny => (SourceTranslation::None, DestinationTranslation::None),
    };
    Some(Policy {
        index,
        name: name(object, index),
        source_interface: filter.source_interface,
        source_network: filter.source_network,
        destination_interface: filter.destination_interface,
        destination_network: filter.destination_network,
        service: filter.service,
        action: action(read.action, read.reject, Action::Allow),
        source,
        destination,
        schedule: filter.schedule,
        log: read.log.then(|| read.severity.severity(read.action)),
    })
}

fn stateless(cx: &mut Resolver<'_>, object: &Object, index: u32, ids: &Ids) -> Option<Policy> {
    let read = StatelessPolicy::read(object)?;
    let filter = filter!(&mut *cx, object, &read, ids);
    Some(Policy {
        index,
        name: name(object, index),
        source_interface: filter.source_interface,
        source_network: filter.source_network,
        destination_interface: filter.destination_interface,
        destination_network: filter.destination_network,
        service: filter.service,
        action: action(read.action, read.reject, Action::Stateless),
        source: SourceTranslation::None,
        destination: DestinationTranslation::None,
        schedule: filter.schedule,
        log: read.log.then(|| read.severity.severity(read.action)),
    })
}

const fn action(wanted: Wanted, reject: bool, allow: Action) -> Action {
    match (wanted, reject) {
        (Wanted::Allow, _) => allow,
        (Wanted::Deny, false) => Action::Drop,
        (Wanted::Deny, true) => Action::Reject,
    }
}

fn source(cx: &mut Resolver<'_>, object: &Object, read: &IpPolicy, from: &Networks) -> Option<SourceTranslation> {
    match (read.source_translation, read.nat) {
        (WantedSource::Auto, _) => Some(SourceTranslation::Auto),
        (WantedSource::None, _) => Some(SourceTranslation::None),
        (WantedSource::Nat, NatAction::Interface) => Some(SourceTranslation::Interface),
        (WantedSource::Nat, NatAction::Sender) => {
            let address = new_address(cx, object, "NATSenderAddress", read.nat_sender.as_deref()?, from)?;
            Some(SourceTranslation::Address(address))
        }
        (WantedSource::Nat, NatAction::Pool) => {
            let named = cx.names.resolve(&[DeclaredPool::TYPE.name], object.parent, read.nat_pool.as_deref()?)?;
            let pool = pool(cx, named)?;
            if from.ranges.iter().any(|range| !range.is_ipv4()) {
                let problem = Problem::error(format!("the pool {} holds IPv4 addresses, the sources IPv6", pool.name));
                cx.report(object, "NATPool", problem.remedy("translate IPv4 only"));
                return None;
            }
            Some(SourceTranslation::Pool(Arc::new(pool)))
        }
        (WantedSource::Sat, _) => {
            let to = new_address(cx, object, "SourceNewIP", read.source_new.as_deref()?, from)?;
            let names = ("SourceNetwork", "SourceNewIP");
            Some(SourceTranslation::Static(address_map(cx, object, read.source_action, names, from, to)?))
        }
    }
}

fn destination(
    cx: &mut Resolver<'_>,
    object: &Object,
    read: &IpPolicy,
    from: &Networks,
    service: &Service,
) -> Option<DestinationTranslation> {
    if read.destination_translation == WantedDestination::None {
        return Some(DestinationTranslation::None);
    }
    let address = match &read.destination_new {
        None => None,
        Some(terms) => {
            let to = new_address(cx, object, "DestNewIP", terms, from)?;
            let names = ("DestinationNetwork", "DestNewIP");
            Some(address_map(cx, object, read.destination_action, names, from, to)?)
        }
    };
    let port = match read.port_action {
        PortAction::None => None,
        PortAction::Single | PortAction::Transposed => Some(port_map(cx, object, read, service)?),
    };
    if address.is_none() && port.is_none() {
        let problem = Problem::error("the destination is to be translated, and nothing says to what");
        let remedy = "set DestNewIP, or DestPortAction and DestNewPort, or DestAddressTranslation=None";
        cx.report(object, "DestAddressTranslation", problem.remedy(remedy));
        return None;
    }
    Some(DestinationTranslation::Static { address, port })
}

/// A new address, of the family of the old ones.
fn new_address(
    cx: &mut Resolver<'_>,
    object: &Object,
    property: &str,
    terms: &[AddressTerm],
    from: &Networks,
) -> Option<IpAddr> {
    let address = cx.host(object, property, terms)?;
    if let Some(old) = from.ranges.iter().find(|range| range.is_ipv4() != address.is_ipv4()) {
        let message = format!("{address} and {old}, which is to become it, are not of one family");
        cx.report(object, property, Problem::error(message).remedy("write an address of the other family"));
        return None;
    }
    Some(address)
}

fn address_map(
    cx: &mut Resolver<'_>,
    object: &Object,
    action: AddressAction,
    (old, new): (&str, &str),
    from: &Networks,
    to: IpAddr,
) -> Option<AddressMap> {
    if action == AddressAction::Single {
        return Some(AddressMap::Single(to));
    }
    let ([from], true) = (from.ranges.as_slice(), from.names.is_empty()) else {
        let message = "the n-th address becomes the n-th new one, which takes one network or range of old ones";
        cx.report(object, old, Problem::error(message).remedy("make a policy for each network"));
        return None;
    };
    let room = match (from.first(), from.last(), to) {
        (IpAddr::V4(first), IpAddr::V4(last), IpAddr::V4(to)) => {
            to.to_bits().checked_add(last.to_bits().saturating_sub(first.to_bits())).is_some()
        }
        (IpAddr::V6(first), IpAddr::V6(last), IpAddr::V6(to)) => {
            to.to_bits().checked_add(last.to_bits().saturating_sub(first.to_bits())).is_some()
        }
        _ => false,
    };
    if !room {
        let problem = Problem::error(format!("from {to} on there are fewer addresses than in {from}"));
        cx.report(object, new, problem.remedy("write a lower address, or a smaller network"));
        return None;
    }
    Some(AddressMap::Transposed { from: *from, to_first: to })
}

fn port_map(cx: &mut Resolver<'_>, object: &Object, read: &IpPolicy, service: &Service) -> Option<PortMap> {
    let to = u16::try_from(read.port_new?).ok()?;
    let mut ports = Vec::new();
    for kind in &service.matches {
        match kind {
            ServiceMatch::Tcp { destination, .. } | ServiceMatch::Udp { destination, .. } => ports.extend(destination),
            ServiceMatch::Icmp(_) | ServiceMatch::Icmpv6(_) | ServiceMatch::Protocol(..) => {
                let message =
                    format!("the service {} has traffic without ports, so no port can be changed", service.name);
                let remedy = "use a service of TCP or UDP, or set DestPortAction=None";
                cx.report(object, "DestPortAction", Problem::error(message).remedy(remedy));
                return None;
            }
        }
    }
    if read.port_action == PortAction::Single {
        return Some(PortMap::Single(to));
    }
    ports.sort_unstable();
    ports.dedup();
    let [(first, last)] = ports.as_slice() else {
        let message = format!(
            "the n-th port becomes the n-th new one, which takes one range of ports; the service {} has {}",
            service.name,
            ports.len()
        );
        cx.report(object, "DestPortAction", Problem::error(message).remedy("make a policy for each range of ports"));
        return None;
    };
    if to.checked_add(last.saturating_sub(*first)).is_none() {
        let problem = Problem::error(format!("from {to} on there are fewer ports than from {first} to {last}"));
        cx.report(object, "DestNewPort", problem.remedy("write a lower port"));
        return None;
    }
    Some(PortMap::Transposed { from_first: *first, to_first: to })
}

fn pool(cx: &mut Resolver<'_>, object: &Object) -> Option<NatPool> {
    let read = DeclaredPool::read(object)?;
    let ranges = cx.addresses(object, "IPRange", &read.range)?;
    Some(NatPool {
        name: object.name.clone()?,
        ranges,
        kind: match read.kind {
            PoolType::Stateful => NatPoolKind::Stateful,
            PoolType::Stateless => NatPoolKind::Stateless,
            PoolType::Fixed => NatPoolKind::Fixed,
        },
    })
}

/// For which NAT pools the interfaces answer ARP.
pub(crate) fn pools(cx: &mut Resolver<'_>, ids: &Ids) -> Option<Vec<Proxy>> {
    let tree = cx.tree;
    let mut proxies = Vec::new();
    for object in tree.enabled(DeclaredPool::TYPE) {
        let read = DeclaredPool::read(object)?;
        let ranges = pool(cx, object)?.ranges;
        for interface in proxy(cx, object, read.proxy_all, read.proxy.as_deref(), ids) {
            proxies.push(Proxy { interface, ranges: ranges.clone() });
        }
    }
    Some(proxies)
}

/// The access rules.
pub(crate) fn access(cx: &mut Resolver<'_>, ids: &Ids) -> Option<Vec<Access>> {
    let tree = cx.tree;
    let compiled: Vec<Option<Access>> = tree
        .enabled(DeclaredAccess::TYPE)
        .map(|object| {
            let read = DeclaredAccess::read(object)?;
            let index = u32::try_from(tree.index(object)).ok()?;
            Some(Access {
                index,
                name: name(object, index),
                action: match read.action {
                    WantedAccess::Drop => AccessAction::Drop,
                    WantedAccess::Accept => AccessAction::Accept,
                    WantedAccess::Expect => AccessAction::Expect,
                },
                interface: interface_set(cx, object, "Interface", &read.interface, ids),
                network: cx.addresses(object, "Network", &read.network)?,
                log: read.log.then(|| read.severity.severity(Wanted::Deny)),
            })
        })
        .collect();
    compiled.into_iter().collect()
}

/// The routing rules.
pub(crate) fn routing_rules(cx: &mut Resolver<'_>, ids: &Ids) -> Option<Vec<RoutingRule>> {
    let tree = cx.tree;
    let compiled: Vec<Option<RoutingRule>> = tree
        .enabled(DeclaredRule::TYPE)
        .map(|object| {
            let read = DeclaredRule::read(object)?;
            let index = u32::try_from(tree.index(object)).ok()?;
            let filter = filter!(&mut *cx, object, &read, ids);
            Some(RoutingRule {
                index,
                name: name(object, index),
                source_interface: filter.source_interface,
                source_network: filter.source_network,
                destination_interface: filter.destination_interface,
                destination_network: filter.destination_network,
                service: filter.service,
                forward: ids.table(&read.forward)?,
                back: ids.table(&read.back)?,
                schedule: filter.schedule,
            })
        })
        .collect();
    compiled.into_iter().collect()
}
