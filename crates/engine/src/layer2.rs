//! Packet ports: network cards that the gateway owns at layer 2. What crate `link` must know of a configuration, and how
//! packets pass between it and the packet path.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use base::{Buffer, Event, Instant, IpRange, Now, Random, Text};
use dataplane::{Dataplane, InterfaceId};
use link::{Config, Link, PortId, Role};
use objects::{Conditions, Snapshot};

use crate::Action;
use crate::events::{LeaseInTheWay, LinkDown, LinkUp};

/// A network card that the gateway wants to own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedPort {
    /// What it is called from now on.
    pub port: PortId,
    /// Its name in the kernel.
    pub device: String,
    /// The longest packet it takes, bytes.
    pub mtu: u32,
}

/// What the shell tells of a network card that it has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenPort {
    /// Which one.
    pub port: PortId,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// It has a carrier.
    pub up: bool,
}

/// What the link layers of all shards are told, each in the same order.
#[derive(Clone, Debug)]
pub enum LinkControl {
    /// Another configuration.
    Configure(Arc<Config>),
    /// A port has a carrier, or has it no more.
    State(PortId, bool),
    /// What the leader has learnt, for the followers.
    Learned(link::Learned),
    /// Answer for these addresses on this interface.
    ProxyAdd(link::InterfaceId, IpRange),
    /// And no more.
    ProxyRemove(link::InterfaceId, IpRange),
}

impl LinkControl {
    /// Tells a link layer.
    pub fn apply(self, now: Instant, link: &mut Link, out: &mut Vec<link::Output>) {
        match self {
            Self::Configure(config) => link.configure(now, config, out),
            Self::State(port, up) => link.link_state(now, port, up, out),
            Self::Learned(learned) => link.learn(now, learned, out),
            Self::ProxyAdd(interface, range) => link.proxy_add(interface, range),
            Self::ProxyRemove(interface, range) => link.proxy_remove(interface, range),
        }
    }
}

/// Carries what a link layer hands out to the packet path of the same shard: packets, and those whose next hop does not
/// answer. Everything else goes to `rest`.
pub fn carry(
    now: Instant,
    outputs: &mut Vec<link::Output>,
    data: &mut Dataplane,
    out: &mut Vec<dataplane::Output>,
    mut rest: impl FnMut(link::Output),
) {
    for output in outputs.drain(..) {
        match output {
            // RFC 1122 section 3.3.6: what came to all on the link is for nobody else.
            link::Output::Packet { interface, packet, cast: link::Cast::Unicast } => {
                data.link(now, InterfaceId(interface.0), packet, out);
            }
            link::Output::Packet { packet, .. } => data.recycle(packet),
            link::Output::Unreachable { packet, .. } => data.unreachable(now, packet, out),
            other => rest(other),
        }
    }
}

/// The leader among the link layers, and the cards.
#[derive(Debug)]
pub(crate) struct Layer2 {
    pub(crate) link: Link,
    cards: BTreeMap<PortId, Card>,
    config: Arc<Config>,
}

#[derive(Debug)]
struct Card {
    device: String,
    open: Option<OpenPort>,
}

impl Layer2 {
    pub(crate) fn new(seed: Random) -> Self {
        Self { link: Link::new(Role::Leader, seed), cards: BTreeMap::new(), config: Arc::default() }
    }

    /// The cards that a configuration wants; each keeps its number as long as it is wanted.
    pub(crate) fn want(&mut self, snapshot: &Snapshot) -> Vec<WantedPort> {
        let wanted = |device: &str| snapshot.link.ports.iter().any(|port| port.device == device);
        self.cards.retain(|_, card| wanted(&card.device));
        for port in &snapshot.link.ports {
            if self.port_of(&port.device).is_none() {
                let free = (0..=u16::MAX).map(PortId).find(|id| !self.cards.contains_key(id));
                let Some(id) = free else { continue };
                self.cards.insert(id, Card { device: port.device.clone(), open: None });
            }
        }
        let ports = snapshot.link.ports.iter().filter_map(|port| {
            Some(WantedPort { port: self.port_of(&port.device)?, device: port.device.clone(), mtu: port.mtu })
        });
        ports.collect()
    }

    fn port_of(&self, device: &str) -> Option<PortId> {
        self.cards.iter().find(|(_, card)| card.device == device).map(|(id, _)| *id)
    }

    /// A card is open, or has changed. False when nobody wants it.
    pub(crate) fn opened(&mut self, open: OpenPort) -> bool {
        let card = self.cards.get_mut(&open.port);
        card.is_some_and(|card| {
            card.open = Some(open);
            true
        })
    }

    /// Whether an open card has a link.
    fn is_up(&self, port: PortId) -> Option<bool> {
        self.cards.get(&port)?.open.map(|open| open.up)
    }

    /// The interface on a card.
    fn name_of(&self, port: PortId, snapshot: &Snapshot) -> Text {
        let on = |wanted: &&objects::LinkPort| self.port_of(&wanted.device) == Some(port);
        let interface = snapshot.link.ports.iter().find(on).and_then(|on| snapshot.interface_by_id(on.interface));
        interface.map_or_else(|| Text::from(""), |interface| Text::from(interface.name.as_str()))
    }

    /// The configuration of the link layers, when it is another one than before.
    pub(crate) fn configuration(&mut self, snapshot: &Snapshot, conditions: &Conditions) -> Option<Arc<Config>> {
        let config = self.translate(snapshot, conditions);
        if config == *self.config {
            return None;
        }
        self.config = Arc::new(config);
        Some(Arc::clone(&self.config))
    }

    fn translate(&self, snapshot: &Snapshot, conditions: &Conditions) -> Config {
        let id = |id: objects::InterfaceId| link::InterfaceId(id.0);
        let port = |port: &objects::LinkPort| {
            let number = self.port_of(&port.device)?;
            let card = self.cards.get(&number)?.open?;
            let interfaces = port.interfaces.iter().map(|layer| {
                let interface = snapshot.interface_by_id(layer.id);
                link::LinkInterface {
                    id: id(layer.id),
                    name: interface.map(|interface| interface.name.clone()).unwrap_or_default(),
                    vlan: layer.vlan,
                    addresses: interface.map(|interface| interface.addresses.clone()).unwrap_or_default(),
                    dhcp: layer.dhcp,
                    hostname: String::new(),
                }
            });
            let mac = wire::ethernet::Mac(port.mac.unwrap_or(card.mac));
            Some(link::Port { id: number, mac, interfaces: interfaces.collect() })
        };
        let publish = |publish: &objects::Publish| link::Publish {
            interface: id(publish.interface),
            range: publish.range,
            mac: publish.mac.map(wire::ethernet::Mac),
            mode: if publish.from_it { link::PublishMode::XPublish } else { link::PublishMode::Publish },
        };
        let proxy = |proxy: objects::Proxy| link::Proxy { interface: id(proxy.interface), ranges: proxy.ranges };
        let told = |told: &objects::StaticNeighbor| link::StaticNeighbor {
            interface: id(told.interface),
            address: told.address,
            mac: wire::ethernet::Mac(told.mac),
        };
        Config {
            ports: snapshot.link.ports.iter().filter_map(port).collect(),
            publish: snapshot.link.publish.iter().map(publish).collect(),
            proxy: snapshot.proxies(conditions).into_iter().map(proxy).collect(),
            statics: snapshot.link.statics.iter().map(told).collect(),
            limits: link::Limits::default(),
        }
    }

    /// The interface in the kernel that a lease is for, and its VLAN.
    pub(crate) fn place_of(snapshot: &Snapshot, interface: link::InterfaceId) -> Option<(String, Option<u16>)> {
        let ports = snapshot.link.ports.iter();
        ports
            .flat_map(|port| port.interfaces.iter().map(move |layer| (port, layer)))
            .find(|(_, layer)| layer.id.0 == interface.0)
            .map(|(port, layer)| (port.device.clone(), layer.vlan))
    }

    /// Sends a packet by a port.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        next_hop: IpAddr,
        packet: Buffer,
        out: &mut Vec<link::Output>,
    ) {
        self.link.send(now, link::InterfaceId(interface.0), next_hop, packet, out);
    }
}

/// The interface whose addresses a lease would take away. Whoever answers first on a network is its DHCP server: it must not
/// make a part of a tunnel's network, or of one on another interface, lie on this one, where packets for it leave in clear.
/// Networks that hold all others are no reason to refuse.
fn in_the_way<'a>(snapshot: &'a Snapshot, lease: &link::Lease) -> Option<&'a str> {
    let address = IpAddr::V4(lease.address);
    let network = IpRange::network(address, lease.prefix).ok()?;
    let is_other = |id: objects::InterfaceId| id.0 != lease.interface.0 && id != objects::InterfaceId::CORE;
    let owner = snapshot.interfaces.iter().find(|interface| {
        let has_it = interface.addresses.iter().any(|(own, _)| *own == address);
        is_other(interface.id) && has_it
    });
    let routes = snapshot.tables.iter().flat_map(|table| &table.routes);
    let route = routes.filter(|route| is_other(route.interface)).find(|route| {
        let all = route.network.prefix().is_none_or(|prefix| prefix == 0);
        !all && route.network.contains(network.first()) && route.network.contains(network.last())
    });
    let routed = || snapshot.interface_by_id(route?.interface);
    owner.or_else(routed).map(|interface| interface.name.as_str())
}

/// What the gateway does with its ports; part of `Gateway`'s step.
impl crate::Gateway {
    /// The cards that are wanted now, and what the link layers must know of them.
    pub(crate) fn configure_ports(&mut self, now: Instant, out: &mut Vec<Action>) {
        let wanted = self.layer2.want(&self.snapshot);
        if self.wanted_ports != wanted {
            self.wanted_ports.clone_from(&wanted);
            self.data.frames_in_line = !wanted.is_empty();
            out.push(Action::Ports(wanted));
        }
        if let Some(config) = self.layer2.configuration(&self.snapshot, &Conditions::default()) {
            self.link_control(now, LinkControl::Configure(config));
            for port in self.wanted_ports.iter().map(|wanted| wanted.port) {
                out.push(Action::Filter { port, filter: self.layer2.link.filter(port) });
            }
        }
    }

    /// A card was opened, or its carrier has come or gone.
    pub(crate) fn port_opened(&mut self, now: Instant, open: OpenPort, out: &mut Vec<Action>) {
        let before = self.layer2.is_up(open.port);
        if self.layer2.opened(open) {
            // A card that was opened without a link is as much without one as a card that loses it.
            if before != Some(open.up) && !(before.is_none() && open.up) {
                let iface = self.layer2.name_of(open.port, &self.snapshot);
                let record = if open.up { LinkUp { iface }.record() } else { LinkDown { iface }.record() };
                out.push(Action::Log(record));
            }
            self.configure_ports(now, out);
            self.link_control(now, LinkControl::State(open.port, open.up));
        }
    }

    /// Tells the leader and every follower.
    pub(crate) fn link_control(&mut self, now: Instant, control: LinkControl) {
        self.data.link_control(control.clone());
        control.apply(now, &mut self.layer2.link, &mut self.link_out);
    }

    /// Carries what the link layer has handed out to the packet path, and outside.
    pub(crate) fn settle_link(&mut self, now: Instant, out: &mut Vec<Action>) {
        let mut outputs = std::mem::take(&mut self.link_out);
        let mut rest = Vec::new();
        carry(now, &mut outputs, &mut self.data.line, &mut self.data_out, |output| rest.push(output));
        if self.link_out.is_empty() {
            self.link_out = outputs;
        }
        for output in rest {
            self.link_output(output, out);
        }
    }

    fn link_output(&mut self, output: link::Output, out: &mut Vec<Action>) {
        match output {
            link::Output::Frame { port, frame } => out.push(Action::Frame { port, frame }),
            link::Output::Learned(learned) => self.data.link_control(LinkControl::Learned(learned)),
            link::Output::Lease(lease) => {
                if let Some(other) = in_the_way(&self.snapshot, &lease) {
                    let name = self.snapshot.interface_by_id(objects::InterfaceId(lease.interface.0));
                    let event = LeaseInTheWay {
                        iface: name.map(|interface| interface.name.clone()).unwrap_or_default(),
                        address: lease.address,
                        prefix: lease.prefix,
                        dhcp_server: lease.server,
                        other: other.to_owned(),
                    };
                    return out.push(Action::Log(event.record()));
                }
                if let Some((device, vlan)) = Layer2::place_of(&self.snapshot, lease.interface) {
                    let lease = objects::Lease {
                        vlan,
                        address: lease.address,
                        prefix: lease.prefix,
                        gateway: lease.router,
                        dns: lease.dns,
                    };
                    out.push(Action::Lease { device, vlan, lease: Some(lease) });
                }
            }
            link::Output::LeaseLost { interface, .. } => {
                if let Some((device, vlan)) = Layer2::place_of(&self.snapshot, interface) {
                    out.push(Action::Lease { device, vlan, lease: None });
                }
            }
            link::Output::Log(record) => out.push(Action::Log(record)),
            // The layer has logged a conflict; probes are asked for by nobody here; a leader asks nobody; packets have
            // been carried.
            link::Output::Conflict { .. }
            | link::Output::Heard { .. }
            | link::Output::Ask { .. }
            | link::Output::Control { .. }
            | link::Output::Packet { .. }
            | link::Output::Unreachable { .. } => {}
        }
    }

    /// The neighbours that the gateway knows on its packet ports.
    pub fn neighbours(&self) -> impl Iterator<Item = link::NeighbourStatus> + '_ {
        self.layer2.link.neighbours()
    }

    /// Forgets what was learnt of the neighbours that `pick` picks; returns how many.
    pub fn flush_neighbours(
        &mut self,
        now: Now,
        pick: impl Fn(link::InterfaceId, IpAddr) -> bool,
        out: &mut Vec<Action>,
    ) -> usize {
        let count = self.layer2.link.flush(pick, &mut self.link_out);
        self.settle(now.mono, out);
        count
    }

    /// The addresses that the gateway answers for on packet ports beside its own, each with how.
    pub fn published(&self) -> &[link::Publish] {
        &self.layer2.config.publish
    }

    /// Tells the neighbours of a packet port the hardware address of one of the gateway's addresses there, or of one that
    /// is published, now. False when there is none such.
    pub fn announce_address(&mut self, now: Now, address: IpAddr, out: &mut Vec<Action>) -> bool {
        let config = &self.layer2.config;
        let own =
            config.ports.iter().flat_map(|port| &port.interfaces).find_map(|interface| {
                interface.addresses.iter().any(|(own, _)| *own == address).then_some(interface.id)
            });
        let published =
            || config.publish.iter().find(|publish| publish.range.contains(address)).map(|publish| publish.interface);
        let Some(interface) = own.or_else(published) else { return false };
        self.layer2.link.notify(now.mono, interface, address, &mut self.link_out);
        self.settle(now.mono, out);
        true
    }

    /// What the link layer has dropped.
    pub fn link_counters(&self) -> &link::Counters {
        self.layer2.link.counters()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURATION: &str = "add Ethernet lan Port=Packet IP=172.16.1.1 Network=172.16.1.0/24\n\
        add Ethernet wan Port=Packet DHCPEnabled=Yes\n\
        add PSK key Type=ASCII PSKascii=somesecretasciikey\n\
        add Interface IPsecTunnel office LocalNetwork=172.16.1.0/24 RemoteNetwork=192.168.8.0/21 \
        RemoteEndpoint=203.0.113.2 PSK=key\n";

    fn snapshot(leases: Vec<objects::Lease>) -> Snapshot {
        let card = |name: &str| objects::HostInterface { name: name.to_owned(), mtu: 1500, ..Default::default() };
        let hosts = [card("lan"), objects::HostInterface { leases, ..card("wan") }];
        objects::compile_text(CONFIGURATION, &hosts).unwrap().1
    }

    #[test]
    fn a_dhcp_server_takes_no_address_away_from_a_tunnel_or_another_interface() {
        let empty = snapshot(Vec::new());
        let wan = empty.interfaces.iter().find(|interface| interface.name == "wan").unwrap().id;
        let lease = |address: [u8; 4], prefix| link::Lease {
            interface: link::InterfaceId(wan.0),
            address: address.into(),
            prefix,
            router: None,
            dns: Vec::new(),
            server: address.into(),
            duration: None,
        };
        for (address, prefix, other) in [
            ([192, 168, 11, 5], 24, Some("office")),
            ([192, 168, 8, 5], 21, Some("office")),
            ([172, 16, 1, 77], 25, Some("lan")),
            ([172, 16, 1, 1], 8, Some("lan")),
            // Wider than the tunnel's: what is the tunnel's stays the tunnel's.
            ([192, 168, 1, 5], 16, None),
            ([198, 51, 100, 77], 24, None),
        ] {
            assert_eq!(in_the_way(&empty, &lease(address, prefix)), other, "{address:?}/{prefix}");
        }
        // Were it taken, the tunnel's network would lie on the wire.
        let lease = objects::Lease {
            vlan: None,
            address: [192, 168, 11, 5].into(),
            prefix: 24,
            gateway: None,
            dns: Vec::new(),
        };
        let taken = snapshot(vec![lease]);
        let part = IpRange::network([192, 168, 11, 0].into(), 24).unwrap();
        assert!(taken.main_routes().iter().any(|route| route.interface == wan && route.network == part));
    }
}
