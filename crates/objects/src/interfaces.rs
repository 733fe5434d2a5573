//! From Ethernet, VLAN and InterfaceGroup objects to interfaces, their numbers, and what happens at layer 2.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use schema::{Object, Problem};

use crate::arpnd::{ArpNd, Mode};
use crate::ethernet::{Ethernet, InterfaceGroup, Layer3, Port, Vlan};
use crate::host::addresses;
use crate::resolve::Resolver;
use crate::routing::{MAIN, RoutingTable};
use crate::snapshot::{
    HostInterface, Interface, InterfaceId, InterfaceKind, Link, LinkInterface, LinkPort, Publish, StaticNeighbor,
    TableId,
};

/// Numbers for interfaces and tables, derived from their names, and the members of groups.
#[derive(Default)]
pub(crate) struct Ids {
    interfaces: Numbers,
    groups: BTreeMap<String, Vec<InterfaceId>>,
    /// Members of groups that are one interface to the access check.
    equivalent: Vec<Vec<InterfaceId>>,
    tables: Numbers,
    /// Every interface on which ARP is spoken, in order.
    links: Vec<InterfaceId>,
    /// Those of them that the gateway owns.
    owned: BTreeSet<InterfaceId>,
}

#[derive(Default)]
struct Numbers {
    of: BTreeMap<String, u32>,
    taken: BTreeSet<u32>,
}

impl Numbers {
    /// The number of a name, never 0. Two names that come to the same number are told apart by their order.
    fn number(&mut self, name: &str) -> u32 {
        let name = name.to_lowercase();
        // FNV-1a, 32 bits: spreads short names well and needs no state.
        let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let mut number = name.bytes().fold(0x811c_9dc5, hash);
        while number == 0 || !self.taken.insert(number) {
            number = number.wrapping_add(1);
        }
        self.of.insert(name, number);
        number
    }
}

impl Ids {
    /// Gives every table its number.
    pub(crate) fn number_tables(&mut self, cx: &Resolver<'_>) {
        for object in cx.tree.enabled(RoutingTable::TYPE).filter(|object| !object.is_called(MAIN)) {
            self.tables.number(object.name.as_deref().unwrap_or_default());
        }
    }

    /// The number of an interface object, new.
    pub(crate) fn of(&mut self, object: &Object) -> u32 {
        self.interfaces.number(object.name.as_deref().unwrap_or_default())
    }

    /// The interface of this name; `core` is one.
    pub(crate) fn find(&self, name: &str) -> Option<InterfaceId> {
        let name = name.to_lowercase();
        if name == "core" {
            return Some(InterfaceId::CORE);
        }
        self.interfaces.of.get(&name).copied().map(InterfaceId)
    }

    /// The interfaces that a name stands for, those of a group too. None: a tunnel beyond the limit.
    pub(crate) fn members(&self, name: &str) -> Vec<InterfaceId> {
        match self.groups.get(&name.to_lowercase()) {
            Some(members) => members.clone(),
            None => self.find(name).into_iter().collect(),
        }
    }

    /// Tells interfaces which others are the same as they to the access check.
    pub(crate) fn make_equivalent(&self, interfaces: &mut [Interface]) {
        for members in &self.equivalent {
            for interface in interfaces.iter_mut().filter(|interface| members.contains(&interface.id)) {
                for other in members.iter().filter(|other| **other != interface.id) {
                    if !interface.equivalents.contains(other) {
                        interface.equivalents.push(*other);
                    }
                }
            }
        }
    }

    /// The table of this name.
    pub(crate) fn table(&self, name: &str) -> Option<TableId> {
        let name = name.to_lowercase();
        if name == MAIN { Some(TableId::MAIN) } else { self.tables.of.get(&name).copied().map(TableId) }
    }

    /// The one table of something that belongs to one; `None`: it belongs to all.
    pub(crate) fn own_table(&self, name: Option<&str>) -> Option<TableId> {
        name.and_then(|name| self.table(name))
    }
}

/// Every Ethernet interface and VLAN; one that has an error is there without being compiled.
pub(crate) fn compile<'a>(
    cx: &mut Resolver<'a>,
    hosts: &[HostInterface],
    ids: &mut Ids,
) -> Vec<(&'a Object, Option<Interface>)> {
    let tree = cx.tree;
    let objects: Vec<&Object> = tree.enabled(Ethernet::TYPE).chain(tree.enabled(Vlan::TYPE)).collect();
    let numbered: Vec<(&Object, InterfaceId)> =
        objects.into_iter().map(|object| (object, InterfaceId(ids.of(object)))).collect();
    let mut tags: BTreeMap<(InterfaceId, u16), &str> = BTreeMap::new();
    let mut compiled = Vec::new();
    for (object, id) in numbered {
        ids.links.push(id);
        let interface = if object.info.name == Vlan::TYPE.name {
            vlan(cx, object, id, ids, &mut tags)
        } else {
            ethernet(cx, object, hosts, id, ids)
        };
        if interface.as_ref().is_some_and(is_owned) {
            ids.owned.insert(id);
        }
        compiled.push((object, interface));
    }
    compiled
}

fn is_owned(interface: &Interface) -> bool {
    match interface.kind {
        InterfaceKind::Ethernet { owned, .. } => owned,
        InterfaceKind::Vlan { .. } => true,
        InterfaceKind::Core | InterfaceKind::Tunnel(_) => false,
    }
}

fn ethernet(
    cx: &mut Resolver<'_>,
    object: &Object,
    hosts: &[HostInterface],
    id: InterfaceId,
    ids: &Ids,
) -> Option<Interface> {
    let read = Ethernet::read(object)?;
    let layer3 = Layer3::read(object)?;
    let name = object.name.clone()?;
    let device = read.device.clone().unwrap_or_else(|| name.clone());
    let host = hosts.iter().find(|host| host.name == device);
    if host.is_none() && !hosts.is_empty() {
        let known: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        let problem =
            Problem::warning(format!("this host has no interface called {device}; it has {}", known.join(", ")));
        cx.report(
            object,
            "EthernetDevice",
            problem.remedy("set EthernetDevice to the name of an interface of the host"),
        );
    }
    let owned = read.port == Port::Packet;
    if !owned && read.dhcp {
        let problem = Problem::warning("on a host port the kernel keeps the addresses, so this has no effect");
        cx.report(object, "DHCPEnabled", problem.remedy("leave it out, or set Port=Packet"));
    }
    let known: Vec<(IpAddr, u8)> = host.into_iter().flat_map(addresses).collect();
    if let Some((address, _)) = known.first().filter(|_| owned) {
        let message = format!("the kernel has the address {address} on {device} and will answer there, too");
        cx.report(object, "Port", Problem::warning(message).remedy("take the addresses away from the kernel"));
    }
    let mut own = own_addresses(cx, object, &layer3)?;
    for (address, _) in &own {
        if !owned && host.is_some() && !known.iter().any(|(known, _)| known == address) {
            let problem =
                Problem::warning(format!("the host's interface {device} does not have the address {address}"));
            let property = if address.is_ipv4() { "IP" } else { "IPv6IP" };
            cx.report(
                object,
                property,
                problem.remedy("give it the address in the host's own configuration, or correct this one"),
            );
        }
    }
    for (address, prefix) in known.into_iter().filter(|_| !owned) {
        if !own.iter().any(|(known, _)| *known == address) {
            own.push((address, prefix));
        }
    }
    Some(Interface {
        id,
        name,
        kind: InterfaceKind::Ethernet { device, owned },
        addresses: own,
        mtu: u32::try_from(layer3.mtu).ok()?,
        table: ids.own_table(layer3.table.as_deref()),
        equivalents: Vec::new(),
    })
}

fn vlan<'a>(
    cx: &mut Resolver<'_>,
    object: &'a Object,
    id: InterfaceId,
    ids: &Ids,
    tags: &mut BTreeMap<(InterfaceId, u16), &'a str>,
) -> Option<Interface> {
    let read = Vlan::read(object)?;
    let layer3 = Layer3::read(object)?;
    let base = ids.find(&read.base)?;
    let named = cx.names.resolve(&[Ethernet::TYPE.name], object.parent, &read.base)?;
    if Ethernet::read(named).is_some_and(|ethernet| ethernet.port == Port::Host) {
        let problem = Problem::error(format!("{} is a host port, whose VLANs are the kernel's", read.base));
        let remedy = format!("set Port=Packet of {}, or declare the kernel's VLAN as an Ethernet object", read.base);
        cx.report(object, "Ethernet", problem.remedy(remedy));
    }
    let vlan = u16::try_from(read.vlan).ok()?;
    let name = object.name.as_deref()?;
    if let Some(other) = tags.insert((base, vlan), name) {
        let problem = Problem::error(format!("{other} is VLAN {vlan} on {} already", read.base));
        cx.report(object, "VLANID", problem.remedy("give each VLAN of an interface a number of its own"));
    }
    Some(Interface {
        id,
        name: name.to_owned(),
        kind: InterfaceKind::Vlan { base, vlan },
        addresses: own_addresses(cx, object, &layer3)?,
        mtu: u32::try_from(layer3.mtu).ok()?,
        table: ids.own_table(layer3.table.as_deref()),
        equivalents: Vec::new(),
    })
}

/// The addresses that are written down or lent.
fn own_addresses(cx: &mut Resolver<'_>, object: &Object, layer3: &Layer3) -> Option<Vec<(IpAddr, u8)>> {
    let is_given =
        |property: &str| object.given().any(|(given, value)| given.name == property && !value.text().is_empty());
    if layer3.port == Port::Packet && layer3.dhcp && is_given("IP") {
        let problem = Problem::error("the address is written down, and is to be asked for by DHCP");
        cx.report(object, "IP", problem.remedy("leave out IP, Network and DefaultGateway, or set DHCPEnabled=No"));
    }
    let mut own = Vec::new();
    for family in &layer3.families {
        let (ip, net, gw) = (family.ip.0, family.network.0, family.gateway.0);
        if layer3.is_off(family) {
            if is_given(ip) {
                let problem = Problem::warning("the address is not used while EnableIPv6 is No");
                cx.report(object, ip, problem.remedy("set EnableIPv6=Yes, or leave the address out"));
            }
            continue;
        }
        let network = match &family.network.1 {
            Some(terms) => Some(cx.network(object, net, terms)?),
            None => None,
        };
        if let Some(terms) = &family.gateway.1 {
            let gateway = cx.host(object, gw, terms)?;
            // What the kernel has works, odd as it may look: a link-local gateway, or one beside the network.
            if is_given(gw) && network.is_none_or(|network| !network.contains(gateway)) {
                let problem = Problem::warning(format!("the gateway {gateway} does not lie within {net}"));
                cx.report(object, gw, problem.remedy(format!("check {gw} and {net}")));
            }
        }
        let Some(terms) = &family.ip.1 else { continue };
        let address = cx.host(object, ip, terms)?;
        if let Some(outside) = network.filter(|network| !network.contains(address)) {
            let problem = Problem::error(format!("{address} does not lie within the interface's network {outside}"));
            cx.report(object, ip, problem.remedy(format!("correct {ip} or {net}")));
        }
        let full = if address.is_ipv4() { 32 } else { 128 };
        own.push((address, network.and_then(|network| network.prefix()).unwrap_or(full)));
    }
    if own.is_empty() && layer3.port == Port::Packet && !layer3.dhcp {
        let problem = Problem::warning("the interface has no address: nobody can reach the gateway there");
        cx.report(object, "IP", problem.remedy("set IP and Network, or DHCPEnabled=Yes"));
    }
    Some(own)
}

/// Unfolds the groups of interfaces.
pub(crate) fn groups(cx: &mut Resolver<'_>, ids: &mut Ids) {
    let tree = cx.tree;
    for object in tree.enabled(InterfaceGroup::TYPE) {
        let mut members = Vec::new();
        unfold(cx, object, ids, &mut Vec::new(), &mut members);
        if InterfaceGroup::read(object).is_some_and(|group| group.equivalent) {
            ids.equivalent.push(members.clone());
        }
        ids.groups.insert(object.name.as_deref().unwrap_or_default().to_lowercase(), members);
    }
}

fn unfold<'a>(
    cx: &mut Resolver<'a>,
    object: &'a Object,
    ids: &Ids,
    inside: &mut Vec<&'a str>,
    members: &mut Vec<InterfaceId>,
) {
    let name = object.name.as_deref().unwrap_or_default();
    if inside.iter().any(|outer| outer.eq_ignore_ascii_case(name)) {
        cx.contains_itself(object);
        return;
    }
    inside.push(name);
    for member in InterfaceGroup::read(object).map(|group| group.members).unwrap_or_default() {
        if member.eq_ignore_ascii_case("any") {
            let problem = Problem::error("any is every interface, and no group is needed for it; found it in a group");
            cx.report(object, "Members", problem.remedy("write any where the group is named"));
            continue;
        }
        match cx.names.resolve(&[InterfaceGroup::TYPE.name], object.parent, &member) {
            Some(group) => unfold(cx, group, ids, inside, members),
            None => {
                if let Some(id) = ids.find(&member).filter(|id| !members.contains(id)) {
                    members.push(id);
                }
            }
        }
    }
    inside.pop();
}

/// The interfaces of `ProxyARPInterfaces` and `ProxyARPAllInterfaces`.
pub(crate) fn proxy(
    cx: &mut Resolver<'_>,
    object: &Object,
    all: bool,
    names: Option<&[String]>,
    ids: &Ids,
) -> Vec<InterfaceId> {
    if all {
        return ids.links.clone();
    }
    let mut found = Vec::new();
    for name in names.unwrap_or_default() {
        for id in ids.members(name) {
            if !ids.links.contains(&id) || found.contains(&id) {
                continue;
            }
            if !ids.owned.contains(&id) {
                let problem = Problem::warning(format!("on {name} the kernel answers ARP, so this has no effect"));
                let remedy = format!("set Port=Packet of {name}, or have the kernel answer for the addresses");
                cx.report(object, "ProxyARPInterfaces", problem.remedy(remedy));
            }
            found.push(id);
        }
    }
    found
}

/// What happens at layer 2 on the network cards that the gateway owns.
pub(crate) fn link(cx: &mut Resolver<'_>, compiled: &[(&Object, Option<Interface>)], ids: &Ids) -> Option<Link> {
    let mut link = Link::default();
    for (object, interface) in compiled {
        let Some(interface) = interface else { continue };
        let Some(layer3) = Layer3::read(object) else { continue };
        let on = |vlan| LinkInterface { id: interface.id, vlan, dhcp: layer3.dhcp };
        match &interface.kind {
            InterfaceKind::Ethernet { device, owned: true } => {
                let mac = match Ethernet::read(object)?.mac {
                    Some(term) => Some(cx.hardware(object, &term)?),
                    None => None,
                };
                if mac.is_some_and(|[first, ..]| first & 1 == 1) {
                    let problem = Problem::error("the address is one of a group of stations; expected that of one");
                    cx.report(object, "MACAddress", problem.remedy("the first byte of a station's address is even"));
                    return None;
                }
                link.ports.push(LinkPort {
                    interface: interface.id,
                    device: device.clone(),
                    mac,
                    mtu: interface.mtu,
                    interfaces: vec![on(None)],
                });
            }
            InterfaceKind::Vlan { base, vlan } => {
                if let Some(port) = link.ports.iter_mut().find(|port| port.interface == *base) {
                    if interface.mtu > port.mtu {
                        let message = format!("found {} bytes; the card takes {}", interface.mtu, port.mtu);
                        cx.report(object, "MTU", Problem::warning(message).remedy("use no more than the card takes"));
                    }
                    port.interfaces.push(on(Some(*vlan)));
                }
            }
            InterfaceKind::Ethernet { .. } | InterfaceKind::Core | InterfaceKind::Tunnel(_) => {}
        }
    }
    let tree = cx.tree;
    for object in tree.enabled(ArpNd::TYPE) {
        arpnd(cx, object, ids, &mut link)?;
    }
    Some(link)
}

fn arpnd(cx: &mut Resolver<'_>, object: &Object, ids: &Ids, link: &mut Link) -> Option<()> {
    let read = ArpNd::read(object)?;
    let interface = ids.find(&read.interface)?;
    let ranges = cx.addresses(object, "IP", &read.ip)?;
    let mac = Some(cx.hardware(object, &read.mac)?).filter(|mac| *mac != [0; 6]);
    if !ids.owned.contains(&interface) {
        let problem = Problem::warning(format!("on {} the kernel answers ARP, so this has no effect", read.interface));
        let remedy = format!("set Port=Packet of {}, or tell the kernel", read.interface);
        cx.report(object, "Interface", problem.remedy(remedy));
        return Some(());
    }
    if mac.is_some_and(|[first, ..]| first & 1 == 1) {
        let problem = Problem::error("the address is one of a group of stations; expected that of one station");
        cx.report(object, "MACAddress", problem.remedy("the first byte of a station's address is even"));
        return None;
    }
    if read.mode != Mode::Static {
        let from_it = read.mode == Mode::XPublish;
        link.publish.extend(ranges.into_iter().map(|range| Publish { interface, range, mac, from_it }));
        return Some(());
    }
    let Some(mac) = mac else {
        let problem = Problem::error("a static entry says which hardware address the neighbour has; found none");
        cx.report(object, "MACAddress", problem.remedy("write the neighbour's hardware address"));
        return None;
    };
    for range in ranges {
        if range.first() != range.last() {
            let problem = Problem::error(format!("found {range}; a static entry is for one address"));
            cx.report(object, "IP", problem.remedy("make an entry for each neighbour"));
            return None;
        }
        link.statics.push(StaticNeighbor { interface, address: range.first(), mac });
    }
    Some(())
}
