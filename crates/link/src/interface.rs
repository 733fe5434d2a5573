//! A port and an interface on it, as the layer keeps them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use base::{IpRange, Record};
use wire::ethernet::{Mac, Prefix, solicited_node};

use crate::dhcp::Client;
use crate::ranges::Ranges;
use crate::rate::Rate;
use crate::{Config, InterfaceId, LinkInterface, Port, PortId, Publish, PublishMode};

/// A network card.
#[derive(Debug)]
pub(crate) struct PortState {
    pub(crate) id: PortId,
    pub(crate) mac: Mac,
    pub(crate) up: bool,
    /// Index of the interface for frames without tag.
    pub(crate) untagged: Option<usize>,
    /// Indices of the interfaces of VLANs.
    pub(crate) vlans: BTreeMap<u16, usize>,
}

/// Whether an address of the gateway may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is being asked whether somebody has it (RFC 4862 section 5.4).
    Tentative,
    Usable,
    /// Somebody has it.
    Duplicate,
}

/// IPv6 addresses are asked for before they are used; IPv4 addresses are announced at once and defended, so that a gateway
/// is in service as soon as it has started.
const fn standing(address: IpAddr) -> Standing {
    match address {
        IpAddr::V4(_) => Standing::Usable,
        IpAddr::V6(_) => Standing::Tentative,
    }
}

/// An address of the gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub(crate) address: IpAddr,
    pub(crate) network: IpRange,
    pub(crate) standing: Standing,
}

/// In whose place an address is answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    Own,
    Published,
    Proxied,
}

/// How an address is answered for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speaker {
    /// The hardware address that it is said to have.
    pub(crate) mac: Mac,
    /// The hardware address that says so.
    pub(crate) source: Mac,
    pub(crate) voice: Voice,
}

/// An interface.
#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) id: InterfaceId,
    pub(crate) name: String,
    pub(crate) port: usize,
    pub(crate) port_id: PortId,
    pub(crate) mac: Mac,
    pub(crate) vlan: Option<u16>,
    pub(crate) own: Vec<Own>,
    pub(crate) publish: Vec<Publish>,
    /// Proxied ranges of the configuration.
    pub(crate) proxy: Ranges,
    /// Proxied ranges that come and go.
    pub(crate) proxy_dynamic: Ranges,
    pub(crate) dhcp: Option<Client>,
    pub(crate) questions: Rate,
    pub(crate) answers: Rate,
}

impl Interface {
    pub(crate) fn new(port: &Port, index: usize, interface: &LinkInterface, config: &Config) -> Self {
        let mut own: Vec<Own> = Vec::new();
        for (address, prefix) in &interface.addresses {
            if let Ok(network) = IpRange::network(*address, *prefix) {
                own.push(Own { address: *address, network, standing: standing(*address) });
            }
        }
        // An interface that speaks IPv6 has a link-local address (RFC 4291 section 2.1).
        let is_link_local = |own: &Own| matches!(own.address, IpAddr::V6(address) if address.is_unicast_link_local());
        if own.iter().any(|own| own.address.is_ipv6()) && !own.iter().any(is_link_local) {
            let address = IpAddr::V6(port.mac.link_local());
            if let Ok(network) = IpRange::network(address, 64) {
                own.push(Own { address, network, standing: Standing::Tentative });
            }
        }
        let proxied = config.proxy.iter().filter(|proxy| proxy.interface == interface.id);
        Self {
            id: interface.id,
            name: interface.name.clone(),
            port: index,
            port_id: port.id,
            mac: port.mac,
            vlan: interface.vlan,
            own,
            publish: config.publish.iter().filter(|publish| publish.interface == interface.id).cloned().collect(),
            proxy: Ranges::new(proxied.flat_map(|proxy| proxy.ranges.iter().copied())),
            proxy_dynamic: Ranges::default(),
            dhcp: interface.dhcp.then(|| Client::new(port.mac, &interface.name, &interface.hostname)),
            questions: Rate::new(config.limits.questions_per_second),
            answers: Rate::new(config.limits.answers_per_second),
        }
    }

    /// True when frames of both look alike, so that what is known of neighbours stays true.
    pub(crate) fn is_where(&self, other: &Self) -> bool {
        (self.id, self.port_id, self.mac, self.vlan) == (other.id, other.port_id, other.mac, other.vlan)
    }

    pub(crate) fn own(&self, address: IpAddr) -> Option<&Own> {
        self.own.iter().find(|own| own.address == address)
    }

    pub(crate) fn own_mut(&mut self, address: IpAddr) -> Option<&mut Own> {
        self.own.iter_mut().find(|own| own.address == address)
    }

    /// True for addresses of the networks that the interface is in.
    pub(crate) fn is_on_link(&self, address: IpAddr) -> bool {
        self.own.iter().any(|own| own.network.contains(address))
    }

    /// True when packets to an address are for many.
    pub(crate) fn is_group(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast() || self.is_directed_broadcast(address),
            IpAddr::V6(v6) => v6.is_multicast(),
        }
    }

    /// The last address of an IPv4 network of more than two (RFC 3021).
    pub(crate) fn is_directed_broadcast(&self, address: IpAddr) -> bool {
        let of = |own: &Own| {
            address == own.network.last() && own.address.is_ipv4() && own.network.prefix().is_some_and(|len| len < 31)
        };
        self.own.iter().any(of)
    }

    /// The address from which `target` is asked for: the one in its network, or the first that may be used.
    pub(crate) fn source_for(&self, target: IpAddr) -> Option<IpAddr> {
        let usable = || {
            self.own.iter().filter(|own| own.standing == Standing::Usable && own.address.is_ipv4() == target.is_ipv4())
        };
        usable().find(|own| own.network.contains(target)).or_else(|| usable().next()).map(|own| own.address)
    }

    /// How the interface answers for an address, when it does.
    pub(crate) fn speaker(&self, address: IpAddr) -> Option<Speaker> {
        if let Some(own) = self.own(address) {
            let usable = own.standing == Standing::Usable;
            return usable.then_some(Speaker { mac: self.mac, source: self.mac, voice: Voice::Own });
        }
        if let Some(publish) = self.publish.iter().find(|publish| publish.range.contains(address)) {
            let mac = publish.mac.unwrap_or(self.mac);
            let source = if publish.mode == PublishMode::XPublish { mac } else { self.mac };
            return Some(Speaker { mac, source, voice: Voice::Published });
        }
        let proxied = self.proxy.contains(address) || self.proxy_dynamic.contains(address);
        proxied.then_some(Speaker { mac: self.mac, source: self.mac, voice: Voice::Proxied })
    }

    /// Published hardware addresses to which frames are taken.
    pub(crate) fn published_macs(&self) -> impl Iterator<Item = Mac> + '_ {
        self.publish.iter().filter(|publish| publish.mode == PublishMode::XPublish).filter_map(|publish| publish.mac)
    }

    /// True when it answers for others' IPv6 addresses, and must hear any question.
    pub(crate) fn speaks_for_v6(&self) -> bool {
        self.proxy.has_v6()
            || self.proxy_dynamic.has_v6()
            || self.publish.iter().any(|publish| !publish.range.is_ipv4())
    }

    pub(crate) fn has_v6(&self) -> bool {
        self.own.iter().any(|own| own.address.is_ipv6())
    }

    pub(crate) fn own_v6(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.own.iter().filter_map(|own| match own.address {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        })
    }

    /// The groups on which its own addresses are asked for.
    pub(crate) fn own_groups(&self) -> impl Iterator<Item = Mac> + '_ {
        self.own_v6().map(|address| Mac::of_group(solicited_node(address).into()))
    }

    pub(crate) fn prefix(&self, destination: Mac, source: Mac, kind: u16) -> Prefix {
        Prefix::new(destination, source, self.vlan, kind)
    }
}

/// Lets so many log lines through a second.
#[derive(Debug)]
pub(crate) struct LogLimit(Rate);

/// Log lines a second at most.
const LOGS_PER_SECOND: u32 = 20;

impl Default for LogLimit {
    fn default() -> Self {
        Self(Rate::new(LOGS_PER_SECOND))
    }
}

impl LogLimit {
    pub(crate) fn pass(&mut self, now: base::Instant, record: Record) -> Option<Record> {
        self.0.allows(now).then_some(record)
    }
}
