//! What is there without being declared because the host has it: interfaces, and the addresses named after them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::IpRange;
use schema::kind::{AddressTerm, Addresses, is_identifier};
use schema::{Object, Tree, TypeInfo};

use crate::address::{AddressFolder, INTERFACE_ADDRESSES, Ip4Address, Ip6Address, Network4, Network6};
use crate::ethernet::{Ethernet, Layer3, Port, Vlan};
use crate::snapshot::HostInterface;

/// Makes every interface of the host present in the configuration, and takes back those that are gone. An Ethernet
/// object whose `EthernetDevice` names an interface stands for it.
pub fn present(tree: &mut Tree, hosts: &[HostInterface]) {
    let mut names = Vec::new();
    let is_loopback = |host: &HostInterface| host.addresses.iter().any(|(address, _)| address.is_loopback());
    for host in hosts.iter().filter(|host| is_identifier(&host.name) && !is_loopback(host)) {
        let claims = |object: &&Object| object.get("EthernetDevice").is_some_and(|device| device == host.name);
        let name = tree.enabled(Ethernet::TYPE).find(claims).and_then(|object| object.name.clone());
        let name = name.unwrap_or_else(|| host.name.clone());
        // A name that the configuration gave to something else, a tunnel for instance, stays with that.
        let taken = tree.clash(Ethernet::TYPE, None, &name).is_some_and(|other| other.info.name != Ethernet::TYPE.name);
        if taken || crate::INTERFACE_WORDS.iter().any(|word| word.eq_ignore_ascii_case(&name)) {
            continue;
        }
        let is_called = |object: &&Object| object.is_called(&name);
        let declared = tree.enabled(Ethernet::TYPE).find(is_called).and_then(Layer3::read);
        let values = match declared.filter(|declared| declared.port == Port::Packet) {
            // The kernel's addresses are not those of a card that the gateway owns.
            Some(declared) => lent(host, None, declared.dhcp),
            None => values(host),
        };
        let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let id = tree.predefine(Ethernet::TYPE, Some(&name), None, &values);
        tree.mark_dynamic(id);
        names.push(name);
    }
    let vlans: Vec<_> = tree
        .enabled(Vlan::TYPE)
        .filter_map(|object| {
            let read = Vlan::read(object)?;
            let base = tree.enabled(Ethernet::TYPE).find(|base| base.is_called(&read.base))?;
            let device = base.get("EthernetDevice").or(base.name.as_deref())?;
            let host = hosts.iter().find(|host| host.name == device)?;
            let mut values = lent(host, u16::try_from(read.vlan).ok(), read.dhcp);
            values.retain(|(name, _)| *name != "MTU");
            Some((object.id, values))
        })
        .collect();
    for (id, values) in vlans {
        let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        tree.supply(id, &values);
    }
    let is_here = |object: &Object| names.iter().any(|name| object.is_called(name));
    tree.forget(|object| object.info.name == Ethernet::TYPE.name && !is_here(object));
}

/// The addresses of an interface that count: those of one link only are nobody else's business.
pub(crate) fn addresses(host: &HostInterface) -> impl Iterator<Item = (IpAddr, u8)> {
    host.addresses.iter().copied().filter(|(address, _)| match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    })
}

fn values(host: &HostInterface) -> Vec<(&'static str, String)> {
    let mut values = Vec::new();
    for (is_ipv4, ip, network, gateway) in
        [(true, "IP", "Network", "DefaultGateway"), (false, "IPv6IP", "IPv6Network", "IPv6DefaultGateway")]
    {
        if let Some((address, prefix)) = addresses(host).find(|(address, _)| address.is_ipv4() == is_ipv4) {
            values.push((ip, address.to_string()));
            if let Ok(range) = IpRange::network(address, prefix) {
                values.push((network, range.to_string()));
            }
        }
        if let Some(address) = host.gateways.iter().find(|address| address.is_ipv4() == is_ipv4) {
            values.push((gateway, address.to_string()));
        }
    }
    if (576..=65535).contains(&host.mtu) {
        values.push(("MTU", host.mtu.to_string()));
    }
    values
}

/// What the host has and a DHCP server lent, for a card that the gateway owns.
fn lent(host: &HostInterface, vlan: Option<u16>, dhcp: bool) -> Vec<(&'static str, String)> {
    let mut values = Vec::new();
    if (576..=65535).contains(&host.mtu) {
        values.push(("MTU", host.mtu.to_string()));
    }
    let Some(lease) = host.leases.iter().find(|lease| dhcp && lease.vlan == vlan) else { return values };
    values.push(("IP", lease.address.to_string()));
    if let Ok(range) = IpRange::network(IpAddr::V4(lease.address), lease.prefix) {
        values.push(("Network", range.to_string()));
    }
    values.extend(lease.gateway.map(|gateway| ("DefaultGateway", gateway.to_string())));
    values.extend(["DHCPDNS1", "DHCPDNS2"].into_iter().zip(&lease.dns).map(|(name, dns)| (name, dns.to_string())));
    values
}

/// Property of an interface, and the ending of the address object that follows from it.
const DERIVED: &[(&str, &str)] = &[
    ("IP", "_ip"),
    ("Network", "_net"),
    ("DefaultGateway", "_gw"),
    ("DHCPDNS1", "_dns1"),
    ("DHCPDNS2", "_dns2"),
    ("IPv6IP", "_ip6"),
    ("IPv6Network", "_net6"),
    ("IPv6DefaultGateway", "_gw6"),
];

/// Renews the address objects that follow from the interfaces: `lan_ip`, `lan_net` and so on.
pub(crate) fn derive(tree: &mut Tree) {
    let mut wanted: BTreeMap<String, (&'static TypeInfo, String)> = BTreeMap::new();
    for object in tree.enabled(Ethernet::TYPE).chain(tree.enabled(Vlan::TYPE)) {
        let name = object.name.as_deref().unwrap_or_default();
        for (property, ending) in DERIVED {
            if let Some(address) = object.get(property).and_then(|text| literal(tree, text)) {
                let info = if address.contains(':') { Ip6Address::TYPE } else { Ip4Address::TYPE };
                wanted.insert(format!("{name}{ending}"), (info, address));
            }
        }
    }
    let folder = tree.predefine(AddressFolder::TYPE, Some(INTERFACE_ADDRESSES), None, &[]);
    for (name, (info, address)) in &wanted {
        let id = tree.predefine(info, Some(name), Some(folder), &[("Address", address)]);
        tree.mark_dynamic(id);
    }
    let is_wanted = |object: &Object| {
        object.name.as_ref().and_then(|name| wanted.get(name)).is_some_and(|(info, _)| info.name == object.info.name)
    };
    tree.forget(|object| object.parent == Some(folder) && !is_wanted(object));
}

/// What an interface's property says: written out, or by the name of an object that does not itself follow from one.
fn literal(tree: &Tree, text: &str) -> Option<String> {
    let terms = <Addresses<Network4> as schema::kind::ValueType>::typed(text)
        .or_else(|| <Addresses<Network6> as schema::kind::ValueType>::typed(text))?;
    match terms.as_slice() {
        [AddressTerm::Literal(range)] => Some(range.to_string()),
        [AddressTerm::Name(name)] => {
            let types = ["IP4Address", "IP6Address"];
            let object = tree.resolve(&types, None, name).filter(|object| !object.dynamic && !object.disabled)?;
            object.get("Address").map(ToOwned::to_owned)
        }
        _ => None,
    }
}
