//! A gateway that owns its links: a LAN, servers, the Internet and a second way there.

use super::*;
use crate::inspect::{Key, Seen};

pub(crate) const DMZ: InterfaceId = InterfaceId(4);
pub(crate) const WAN2: InterfaceId = InterfaceId(5);
pub(crate) const INSIDE: &str = "10.0.0.10";
pub(crate) const SERVER: &str = "10.0.1.5";
pub(crate) const PUBLIC: &str = "198.51.100.1";
pub(crate) const STRANGER: &str = "203.0.113.9";
pub(crate) const NEXT_HOP: &str = "198.51.100.254";

/// The policy without rules.
pub(crate) fn bare() -> Policy {
    let port = |id, name: &str, addresses: &[&str]| Interface {
        addresses: addresses.iter().map(|text| ip(text)).collect(),
        ..Interface::new(id, name, InterfaceKind::Port)
    };
    let route = |network: &str, interface| Route::new(network.parse().unwrap(), interface, 100);
    let interfaces = vec![
        Interface::new(CORE, "core", InterfaceKind::Core),
        port(LAN, "lan", &["10.0.0.1", "2001:db8::1"]),
        port(DMZ, "dmz", &["10.0.1.1"]),
        port(WAN, "wan", &[PUBLIC, "2001:db8:f::1"]),
        port(WAN2, "wan2", &["192.0.2.1"]),
    ];
    let routes = vec![
        route("10.0.0.1/32", CORE),
        route("198.51.100.1/32", CORE),
        route("2001:db8:f::1/128", CORE),
        route("10.0.0.0/24", LAN),
        route("2001:db8::/64", LAN),
        route("10.0.1.0/24", DMZ),
        route("198.51.100.0/24", WAN),
        route("192.0.2.0/24", WAN2),
        Route { gateway: Some(ip(NEXT_HOP)), ..route("0.0.0.0/0", WAN) },
        Route { gateway: Some(ip("2001:db8:f::fe")), ..route("::/0", WAN) },
    ];
    Policy { settings: settings(), ..Policy::new(interfaces, routes) }
}

pub(crate) struct Firewall {
    pub(crate) gateway: Dataplane,
    pub(crate) now: Instant,
}

impl Firewall {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self::with(Policy { rules, ..bare() })
    }

    pub(crate) fn with(policy: Policy) -> Self {
        Self { gateway: Dataplane::new(Arc::new(policy)), now: at(1) }
    }

    pub(crate) fn receive(&mut self, interface: InterfaceId, packet: &[u8]) -> Vec<Output> {
        let mut out = Vec::new();
        self.gateway.link(self.now, interface, Buffer::copy(packet), &mut out);
        out
    }

    pub(crate) fn replace(&mut self, policy: Policy) -> Vec<Output> {
        self.control(Control::Replace(Arc::new(policy)))
    }

    pub(crate) fn control(&mut self, control: Control) -> Vec<Output> {
        let mut out = Vec::new();
        self.gateway.control(self.now, control, &mut out).unwrap();
        out
    }

    /// One packet goes nowhere, for this reason and with these lines in the log.
    #[track_caller]
    pub(crate) fn drops(&mut self, interface: InterfaceId, packet: &[u8], reason: Reason, log: &[&str]) -> Vec<Output> {
        let watch = Watch::over(&self.gateway);
        let out = self.receive(interface, packet);
        watch.only(&self.gateway, &[(reason, 1)]);
        assert_eq!(logs(&out), log);
        out
    }

    /// One packet passes: where it leaves, to which next hop, and what it is then.
    #[track_caller]
    pub(crate) fn passes(&mut self, interface: InterfaceId, packet: &[u8]) -> (InterfaceId, IpAddr, Vec<u8>) {
        let watch = Watch::over(&self.gateway);
        let out = self.receive(interface, packet);
        watch.only(&self.gateway, &[]);
        let mut sent = links(&out);
        assert_eq!(sent.len(), 1, "{out:?}");
        sent.remove(0)
    }
}

/// Packets that left through packet ports.
pub(crate) fn links(out: &[Output]) -> Vec<(InterfaceId, IpAddr, Vec<u8>)> {
    let link = |output: &Output| match output {
        Output::Link { interface, next_hop, packet } => Some((*interface, *next_hop, packet.bytes().to_vec())),
        _ => None,
    };
    out.iter().filter_map(link).collect()
}

/// What a packet says of itself, and that its checksums are right.
#[track_caller]
pub(crate) fn key(packet: &[u8]) -> Key {
    let header = key_of(packet);
    let payload = header.payload_of(packet);
    let pseudo = if header.protocol == ip::ICMP {
        wire::checksum::Sum::new()
    } else {
        wire::checksum::Sum::new().with_pseudo_header(
            header.source,
            header.destination,
            header.protocol,
            payload.len() as u32,
        )
    };
    let unchecked = header.protocol == ip::UDP && payload[6..8] == [0, 0];
    assert!(unchecked || pseudo.with(payload).checksum() == 0, "wrong checksum");
    Seen::new(packet, header).unwrap().key()
}

/// Source, destination and their ports.
#[track_caller]
pub(crate) fn ends(packet: &[u8]) -> (String, String) {
    let key = key(packet);
    (format!("{}:{}", key.source, key.ports.0), format!("{}:{}", key.destination, key.ports.1))
}

pub(crate) fn tcp_service(port: u16) -> Service {
    Service::Ports { protocol: 6, source: vec![0..=65_535], destination: vec![port..=port] }
}
