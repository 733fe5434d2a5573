//! Bytes made into a policy and into what happens to a gateway: a small world, so that things meet.

use std::net::IpAddr;
use std::sync::Arc;

use base::{Duration, IpRange};
use ipnet::IpNet;

use super::packet::{ACK, Body, Data, FIN, Packet, RST, SYN, Segment};
use crate::{
    AccessAction, AccessRule, AddressMap, CORE, DestinationTranslation, Interface, InterfaceId, InterfaceKind, MAIN,
    NatPool, NatPoolKind, Ordering, Policy, PortMap, Route, RoutingRule, RoutingTable, Rule, RuleAction, Service,
    ServiceTimeouts, Settings, SourceTranslation, TableId, TunnelPath, WhenFull,
};

pub(super) const LAN: InterfaceId = InterfaceId(1);
pub(super) const WAN: InterfaceId = InterfaceId(2);
pub(super) const DMZ: InterfaceId = InterfaceId(3);
pub(super) const TUNNEL: InterfaceId = InterfaceId(4);
const OTHER: TableId = TableId(7);
/// Outside of every network that a policy may have, but for those that have everything.
pub(super) const PEER: &str = "233.252.0.9";
const STEPS_MAX: usize = 60;

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A packet comes in.
    Packet(Way, Packet),
    /// Bytes come in that may be no packet: those of a packet, cut here or with a bit turned over.
    Damaged(Way, Packet, usize, Option<u8>),
    /// The receiver of a packet that was sent answers it, by the interface it left by.
    Reply {
        which: usize,
        variant: u8,
    },
    /// A packet that came in comes again, or the next one of its kind.
    Again {
        which: usize,
        variant: u8,
        way: Option<Way>,
    },
    /// Somebody sends an error about a packet that was sent.
    Error {
        which: usize,
        router: Option<IpAddr>,
        kind: u8,
        quoted: usize,
        way: Option<Way>,
    },
    /// Time passes.
    Wait(u64),
    Replace(Arc<Policy>),
    AddRoutes(Vec<(TableId, Route)>),
    RemoveRoutes(Vec<(TableId, Route)>),
}

/// How a packet comes in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    Host,
    Port(InterfaceId),
    Tunnel,
    Originated,
}

/// Bytes, one choice after the other. When they have run out every choice is the first.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                *first
            }
            [] => 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    fn of<T: Clone>(&mut self, all: &[T], first: T) -> T {
        all.get(self.below(all.len())).cloned().unwrap_or(first)
    }

    pub(super) fn story(&mut self) -> (Policy, Vec<Step>) {
        let ports: Vec<bool> = match self.below(4) {
            0 => vec![false; 3],
            1 => vec![self.one_in(2), self.one_in(2), self.one_in(2)],
            _ => vec![true; 3],
        };
        let policy = self.policy(&ports);
        let mut current = policy.clone();
        let mut added: Vec<(TableId, Route)> = Vec::new();
        let mut steps = Vec::new();
        while !self.0.is_empty() && steps.len() < STEPS_MAX {
            let step = self.step(&ports, &current, &mut added);
            if let Step::Replace(policy) = &step {
                current = (**policy).clone();
            }
            steps.push(step);
        }
        (policy, steps)
    }

    fn step(&mut self, ports: &[bool], current: &Policy, added: &mut Vec<(TableId, Route)>) -> Step {
        let which = |reader: &mut Self| reader.below(5);
        match self.below(32) {
            0..=8 => {
                let way = self.way(ports);
                Step::Packet(way, self.packet(way))
            }
            9..=17 => Step::Reply { which: which(self), variant: self.byte() },
            18..=22 => {
                let way = self.one_in(6).then(|| self.way(ports));
                Step::Again { which: which(self), variant: self.byte(), way }
            }
            23..=25 => {
                let router = self.one_in(2).then(|| self.address(true));
                let way = self.one_in(6).then(|| self.way(ports));
                let (kind, quoted) = (self.byte(), self.of(&[600, 28, 48, 27, 60, 23], 600));
                Step::Error { which: which(self), router, kind, quoted, way }
            }
            26 | 27 => Step::Wait(self.of(&[1, 5, 9, 20, 31, 61, 81, 131, 300], 1)),
            28 => {
                let mut next = if self.one_in(3) { self.policy(ports) } else { self.changed(current) };
                // Its SA has been made for these.
                next.interfaces.truncate(4);
                next.interfaces.extend(current.interfaces.iter().skip(4).cloned());
                Step::Replace(Arc::new(next))
            }
            29 if !added.is_empty() => Step::RemoveRoutes(vec![added.remove(0)]),
            29 => {
                let route = (self.of(&[MAIN, MAIN, OTHER, TableId(99)], MAIN), self.route());
                added.push(route.clone());
                Step::AddRoutes(vec![route])
            }
            30 => Step::Packet(Way::Originated, self.packet(Way::Originated)),
            _ => {
                let way = self.way(ports);
                let bit = self.one_in(2).then(|| self.byte());
                Step::Damaged(way, self.packet(way), self.below(64), bit)
            }
        }
    }

    fn way(&mut self, ports: &[bool]) -> Way {
        match self.below(8) {
            6 | 7 => Way::Tunnel,
            n => match (ports.get(n % 3), [LAN, WAN, DMZ].get(n % 3)) {
                (Some(true), Some(interface)) => Way::Port(*interface),
                _ => Way::Host,
            },
        }
    }

    fn address(&mut self, v4: bool) -> IpAddr {
        const V4: [[u8; 4]; 16] = [
            [10, 0, 1, 10],
            [10, 0, 2, 10],
            [203, 0, 113, 9],
            [10, 0, 1, 1],
            [203, 0, 113, 1],
            [10, 0, 3, 10],
            [10, 0, 1, 200],
            [10, 0, 2, 200],
            [8, 8, 8, 8],
            [10, 0, 3, 1],
            [203, 0, 113, 130],
            [100, 64, 0, 9],
            [10, 0, 2, 11],
            [10, 0, 1, 11],
            [10, 0, 1, 255],
            [203, 0, 113, 255],
        ];
        if v4 {
            return self.of(&V4, [10, 0, 1, 10]).into();
        }
        let (net, host) = (self.below(4), self.of(&[0x10, 1, 0x11, 0xff10], 0x10));
        [0xfd00, 0, 0, u16::try_from(net).unwrap_or(0), 0, 0, 0, host].into()
    }

    /// An address behind an interface, mostly.
    fn source(&mut self, way: Way, v4: bool) -> IpAddr {
        let any = self.address(v4);
        if self.one_in(4) {
            return any;
        }
        let (net, host) = match way {
            Way::Port(LAN) => (1, self.of(&[10, 11, 200, 255], 10)),
            Way::Port(DMZ) => (3, self.of(&[10, 12], 10)),
            Way::Tunnel => (2, self.of(&[10, 11, 200], 10)),
            Way::Originated => (self.of(&[1, 3], 1), 1),
            _ if v4 => return self.of(&[[203, 0, 113, 9], [203, 0, 113, 130], [8, 8, 8, 8]], [8; 4]).into(),
            _ => return any,
        };
        if v4 { [10, 0, net, host].into() } else { [0xfd00, 0, 0, net.into(), 0, 0, 0, host.into()].into() }
    }

    fn packet(&mut self, way: Way) -> Packet {
        let v4 = !self.one_in(5);
        let source = if way == Way::Host && self.one_in(2) { self.address(v4) } else { self.source(way, v4) };
        let destination = if v4 && self.one_in(24) {
            self.of(&[[224, 0, 0, 5], [255; 4], [127, 0, 0, 1], [0; 4]], [255; 4]).into()
        } else {
            self.address(v4)
        };
        let ports = (self.of(&[5000, 5001, 53, 0, 700], 5000), self.of(&[80, 53, 443, 8080, 5000], 80));
        let body = match self.below(8) {
            0..=2 => Body::Tcp(self.segment(ports)),
            3 | 4 => Body::Udp { ports, sum: !v4 || !self.one_in(4), data: self.data() },
            5 | 6 => {
                let echo = if v4 { 8 } else { 128 };
                let kind =
                    self.of(&[echo, echo, echo, if v4 { 0 } else { 129 }, 13, if v4 { 5 } else { 137 }, 11], echo);
                let code = if self.one_in(8) { 1 } else { 0 };
                Body::Icmp { kind, code, rest: [0, self.of(&[7, 8, 0], 7), 0, 1], data: self.data() }
            }
            _ => Body::Other { protocol: self.of(&[47, 2, 89], 47), data: self.data() },
        };
        let ttl = if self.one_in(12) { self.of(&[0, 1, 2], 1) } else { 64 };
        let ds = self.of(&[0, 0xb8, 1, 2], 0);
        let id = if v4 { self.of(&[77, 0], 77) } else { 0 };
        Packet { source, destination, ds, ttl, id, whole: !v4 || self.one_in(3), body }
    }

    fn segment(&mut self, ports: (u16, u16)) -> Segment {
        let flags = if self.one_in(5) {
            self.of(&[ACK, SYN | ACK, RST, RST | ACK, FIN | ACK, SYN | FIN, FIN, 0, SYN | RST, 0xff], ACK)
        } else {
            SYN
        };
        let sequence = self.of(&[100, 100, 9_000, u32::MAX, 0x8000_0000], 100);
        let syn = flags & SYN != 0;
        Segment {
            ports,
            sequence,
            acknowledgement: if flags & ACK != 0 { self.of(&[1, 101], 1) } else { 0 },
            flags,
            window: self.of(&[10_000, 500, 0], 10_000),
            mss: syn.then(|| self.of(&[1460, 9000, 50], 1460)),
            scale: (syn && self.one_in(2)).then(|| self.of(&[3, 20], 3)),
            data: Data(if self.one_in(4) { vec![1; 40] } else { Vec::new() }),
        }
    }

    fn data(&mut self) -> Data {
        let len = self.of(&[5, 0, 32, 11, 1300, 1380, 1470], 5);
        Data((0..=255).cycle().take(len).collect())
    }

    /// The answer to a packet that the gateway sent, or another packet of the one who sent one before.
    pub(super) fn next_segment(last: &Segment, variant: u8, answers: bool) -> Segment {
        let ports = if answers { (last.ports.1, last.ports.0) } else { last.ports };
        let behind = last.sequence.wrapping_add(last.space());
        let (mut sequence, acknowledgement) = match (answers, last.flags & ACK != 0) {
            (true, true) => (last.acknowledgement, behind),
            (true, false) => (50_000, behind),
            (false, _) => (behind, last.acknowledgement),
        };
        let opening = last.flags & SYN != 0 && last.flags & ACK == 0;
        let mut flags = match (answers, opening) {
            (true, true) => SYN | ACK,
            (false, true) => SYN,
            (_, false) => ACK,
        };
        if opening && !answers {
            sequence = last.sequence;
        }
        let mut data = Data::default();
        match variant % 16 {
            0..=5 => {}
            6 | 7 => data = Data(vec![2; 100]),
            8 => flags = FIN | ACK,
            9 => flags = RST,
            10 => flags = RST | ACK,
            11 => flags = SYN,
            12 => sequence = sequence.wrapping_add(9_950),
            13 => sequence = sequence.wrapping_sub(70_000),
            14 => sequence = sequence.wrapping_add(300),
            _ => flags = SYN | ACK,
        }
        let syn = flags & SYN != 0;
        Segment {
            ports,
            sequence,
            acknowledgement: if flags & ACK != 0 { acknowledgement } else { 0 },
            flags,
            window: if variant & 16 == 0 { 10_000 } else { 200 },
            mss: syn.then_some(1460),
            scale: (syn && variant & 32 == 0).then_some(2),
            data,
        }
    }

    fn policy(&mut self, ports: &[bool]) -> Policy {
        let own: [IpAddr; 6] = [
            [10, 0, 1, 1].into(),
            [203, 0, 113, 1].into(),
            [10, 0, 3, 1].into(),
            [0xfd00, 0, 0, 1, 0, 0, 0, 1].into(),
            [0xfd00, 0, 0, 0, 0, 0, 0, 1].into(),
            [0xfd00, 0, 0, 3, 0, 0, 0, 1].into(),
        ];
        let mut interfaces = vec![Interface::new(CORE, "core", InterfaceKind::Core)];
        for (at, (id, name)) in [(LAN, "lan"), (WAN, "wan"), (DMZ, "dmz")].into_iter().enumerate() {
            let kind = if ports.get(at) == Some(&true) { InterfaceKind::Port } else { InterfaceKind::Host };
            let addresses = own.iter().skip(at).step_by(3).copied().collect();
            let table = if self.one_in(4) { self.of(&[Some(OTHER), Some(TableId(99))], None) } else { None };
            // What is sealed leaves by the WAN, and in one piece.
            let mtu = if id == WAN { 1500 } else { self.of(&[1500, 1280, 1350], 1500) };
            let equivalents = Vec::new();
            interfaces.push(Interface { id, name: name.into(), kind, addresses, mtu, table, equivalents });
        }
        if self.one_in(3) {
            // Equivalence goes both ways.
            let (a, b) = self.of(&[(1, 2), (1, 3), (2, 3)], (1, 2));
            let ids = [LAN, WAN, DMZ];
            for (at, other) in [(a, b), (b, a)] {
                if let (Some(interface), Some(id)) = (interfaces.get_mut(at), ids.get(other - 1)) {
                    interface.equivalents.push(*id);
                }
            }
        }
        interfaces.push(self.tunnel());
        let mut routes: Vec<Route> = own.iter().map(|address| Route::new((*address).into(), CORE, 0)).collect();
        let net = |text: &str, interface| text.parse().ok().map(|network| Route::new(network, interface, 100));
        let usual = [
            ("10.0.1.0/24", LAN),
            ("203.0.113.0/24", WAN),
            ("10.0.3.0/24", DMZ),
            ("10.0.2.0/24", TUNNEL),
            ("fd00:0:0:1::/64", LAN),
            ("fd00::/64", WAN),
            ("fd00:0:0:3::/64", DMZ),
            ("fd00:0:0:2::/64", TUNNEL),
        ];
        routes.extend(usual.into_iter().filter_map(|(text, interface)| net(text, interface)));
        // The peer is always reached.
        routes.extend(net(&format!("{PEER}/32"), WAN));
        if !self.one_in(4) {
            routes
                .extend(net("0.0.0.0/0", WAN).map(|route| Route { gateway: Some([203, 0, 113, 254].into()), ..route }));
        }
        for _ in 0..self.below(3) {
            routes.push(self.route());
        }
        let mut policy = Policy::new(interfaces, routes);
        if self.one_in(2) {
            let ordering = self.of(&[Ordering::Default, Ordering::First, Ordering::Only], Ordering::Default);
            let routes = (0..=self.below(4)).map(|_| self.route()).collect();
            policy.tables.push(RoutingTable { id: OTHER, name: "other".into(), ordering, routes });
        }
        for _ in 0..self.below(3) {
            if self.one_in(2) {
                let rule = self.routing_rule();
                policy.routing_rules.push(rule);
            }
        }
        for _ in 0..self.below(3) {
            if self.one_in(2) {
                let rule = self.access_rule();
                policy.access.push(rule);
            }
        }
        policy.rules = (0..self.below(7)).map(|_| self.rule()).collect();
        if !self.one_in(4) {
            let source = self.of(&[SourceTranslation::Auto, SourceTranslation::None], SourceTranslation::Auto);
            policy.rules.push(Rule { source, ..Rule::new("rest", RuleAction::Allow) });
        }
        policy.settings = self.settings();
        policy
    }

    /// The same policy but for something.
    fn changed(&mut self, policy: &Policy) -> Policy {
        let mut next = policy.clone();
        let at = self.below(next.rules.len());
        match self.below(7) {
            0 if !next.rules.is_empty() => drop(next.rules.remove(at)),
            0 | 1 => next.rules.insert(0, self.rule()),
            2 => next.access.insert(0, self.access_rule()),
            3 => next.access.clear(),
            4 => next.routing_rules = (0..self.below(2)).map(|_| self.routing_rule()).collect(),
            5 => next.settings = self.settings(),
            _ => {
                if let Some(main) = next.tables.first_mut() {
                    main.routes.push(self.route());
                }
            }
        }
        next
    }

    fn tunnel(&mut self) -> Interface {
        let ranges = |nets: [&str; 2]| {
            nets.into_iter()
                .filter_map(|text| text.parse::<IpNet>().ok())
                .filter_map(|net| IpRange::network(net.addr(), net.prefix_len()).ok())
                .collect()
        };
        let local = self.of(&["10.0.1.0/24", "0.0.0.0/0", "10.0.0.0/16"], "10.0.1.0/24");
        let mut path = TunnelPath::between(ranges([local, "::/0"]), ranges(["10.0.2.0/24", "fd00:0:0:2::/64"]));
        path.plaintext_mtu = self.of(&[1400, 1300, 600], 1400);
        path.outer_ds = self.one_in(3).then_some(0x28);
        if !self.one_in(3) {
            path.originator = vec![[10, 0, 1, 1].into(), [0xfd00, 0, 0, 1, 0, 0, 0, 1].into()];
        }
        Interface::new(TUNNEL, "tunnel", InterfaceKind::Tunnel(path))
    }

    fn network(&mut self) -> &'static str {
        const NETWORKS: [&str; 14] = [
            "10.0.1.0/24",
            "0.0.0.0/0",
            "203.0.113.0/24",
            "10.0.2.0/24",
            "10.0.1.128/25",
            "203.0.113.128/25",
            "10.0.0.0/8",
            "10.0.2.10/32",
            "fd00:0:0:1::/64",
            "::/0",
            "10.0.3.10/32",
            "203.0.113.1/32",
            "fd00::/16",
            "8.8.8.0/24",
        ];
        self.of(&NETWORKS, "0.0.0.0/0")
    }

    fn route(&mut self) -> Route {
        let network: IpNet = match self.network().parse() {
            Ok(network) => network,
            Err(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        };
        let interface = self.of(&[LAN, WAN, DMZ, TUNNEL, CORE], LAN);
        let v4 = network.addr().is_ipv4();
        let gateway =
            (interface != CORE && interface != TUNNEL && v4 && self.one_in(3)).then(|| [10, 0, 1, 254].into());
        let local_ip = (v4 && self.one_in(4)).then(|| [203, 0, 113, 7].into());
        Route { gateway, local_ip, ..Route::new(network, interface, self.of(&[90, 100, 110], 90)) }
    }

    fn interfaces(&mut self) -> Option<Vec<InterfaceId>> {
        let all = [LAN, WAN, DMZ, TUNNEL, CORE];
        match self.below(4) {
            0 | 1 => None,
            2 => Some(vec![self.of(&all, LAN)]),
            _ => Some(vec![self.of(&all, LAN), self.of(&all, WAN)]),
        }
    }

    fn networks(&mut self) -> Vec<IpRange> {
        if self.one_in(2) {
            return vec![IpRange::ALL_V4, IpRange::ALL_V6];
        }
        let count = self.below(2);
        let range = |text: &str| {
            let net: IpNet = text.parse().ok()?;
            IpRange::network(net.addr(), net.prefix_len()).ok()
        };
        (0..=count).filter_map(|_| range(self.network())).collect()
    }

    fn services(&mut self) -> Vec<Service> {
        let ports = |protocol, destination| Service::Ports { protocol, source: vec![0..=65_535], destination };
        let v6 = self.one_in(4);
        match self.below(8) {
            0..=2 => vec![Service::All],
            3 => vec![ports(6, vec![80..=80, 8000..=9000])],
            4 => vec![ports(17, vec![53..=53]), ports(6, vec![53..=443])],
            5 => vec![Service::Icmp { protocol: if v6 { 58 } else { 1 }, types: vec![if v6 { 128 } else { 8 }] }],
            6 => vec![Service::Protocol(6..=47)],
            _ => vec![
                Service::Icmp { protocol: if v6 { 58 } else { 1 }, types: Vec::new() },
                Service::Ports { protocol: 17, source: vec![5000..=5000], destination: vec![0..=100] },
            ],
        }
    }

    fn access_rule(&mut self) -> AccessRule {
        let action = self.of(&[AccessAction::Accept, AccessAction::Expect, AccessAction::Drop], AccessAction::Accept);
        AccessRule {
            name: "access".into(),
            action,
            interfaces: self.interfaces(),
            networks: self.networks(),
            log: None,
        }
    }

    fn routing_rule(&mut self) -> RoutingRule {
        let tables = [OTHER, MAIN, TableId(99)];
        RoutingRule {
            name: "routing".into(),
            source_interfaces: self.interfaces(),
            source_networks: self.networks(),
            destination_interfaces: self.interfaces(),
            destination_networks: self.networks(),
            services: self.services(),
            forward: self.of(&tables, OTHER),
            back: self.of(&tables, OTHER),
        }
    }

    fn rule(&mut self) -> Rule {
        use RuleAction::{Allow, Drop, Reject, Stateless};
        let action = self.of(&[Allow, Allow, Allow, Allow, Drop, Reject, Stateless], Allow);
        let mut timeouts = ServiceTimeouts::default();
        if self.one_in(4) {
            timeouts.initial = self.one_in(2).then(|| Duration::from_secs(7));
            timeouts.idle = self.one_in(2).then(|| Duration::from_secs(200));
            timeouts.closing = self.one_in(2).then(|| Duration::from_secs(3));
        }
        Rule {
            source_interfaces: self.interfaces(),
            source_networks: self.networks(),
            destination_interfaces: self.interfaces(),
            destination_networks: self.networks(),
            services: self.services(),
            source: self.source_translation(),
            destination: self.destination_translation(),
            timeouts,
            ..Rule::new("rule", action)
        }
    }

    fn source_translation(&mut self) -> SourceTranslation {
        match self.below(8) {
            0 | 1 => SourceTranslation::Auto,
            2 => SourceTranslation::None,
            3 | 4 => SourceTranslation::Interface,
            5 => SourceTranslation::Address([203, 0, 113, 5].into()),
            6 => {
                let kind =
                    self.of(&[NatPoolKind::Stateful, NatPoolKind::Stateless, NatPoolKind::Fixed], NatPoolKind::Fixed);
                let range = IpRange::new([203, 0, 113, 20].into(), [203, 0, 113, 22].into());
                let ranges = range.into_iter().collect();
                SourceTranslation::Pool(Arc::new(NatPool { name: "pool".into(), ranges, kind }))
            }
            _ => SourceTranslation::Static(self.map([10, 0, 1, 0], [203, 0, 113, 64])),
        }
    }

    fn destination_translation(&mut self) -> DestinationTranslation {
        if !self.one_in(3) {
            return DestinationTranslation::None;
        }
        let address = (!self.one_in(4)).then(|| self.map([203, 0, 113, 0], [10, 0, 1, 0]));
        let port = self.one_in(2).then(|| match self.one_in(2) {
            true => PortMap::Single(8080),
            false => PortMap::Transposed { from_first: 80, to_first: self.of(&[8000, 65_300], 8000) },
        });
        DestinationTranslation::Static { address, port }
    }

    fn map(&mut self, from: [u8; 4], to: [u8; 4]) -> AddressMap {
        match IpRange::network(from.into(), self.of(&[24, 25, 32], 24)) {
            Ok(from) if self.one_in(2) => AddressMap::Transposed { from, to_first: to.into() },
            _ => {
                AddressMap::Single(self.of(&[[10, 0, 1, 10], [10, 0, 3, 10], [10, 0, 2, 10], [10, 0, 1, 1]], to).into())
            }
        }
    }

    fn settings(&mut self) -> Settings {
        let (connections_max, when_full) = match self.below(6) {
            0 => (3, WhenFull::Drop),
            1 => (3, WhenFull::Replace),
            2 => (6, WhenFull::ReplaceLog),
            _ => (10_000, WhenFull::Drop),
        };
        Settings {
            connections_max,
            when_full,
            udp_both_ways: self.one_in(3),
            mss_auto: !self.one_in(3),
            strip_df_max: self.of(&[65_535, 0, 600], 65_535),
            ..Settings::default()
        }
    }
}
