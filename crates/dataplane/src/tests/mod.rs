//! Tests of the packet path as a whole, and the laboratory for them: a head office and a branch with a tunnel between.

#![allow(clippy::cast_possible_truncation, reason = "tests make small numbers out of small numbers")]

mod access;
mod drops;
mod esp;
mod firewall;
mod flows;
mod fragments;
mod harness;
mod hostile;
mod lane;
mod model;
mod nat;
mod offload;
mod path_mtu;
mod ports;
mod reasons;
mod routing;
mod selectors;
mod shards;
mod states;
mod transport;
mod tunnel;
mod vectors;

use std::net::IpAddr;
use std::sync::Arc;

use base::{Buffer, Duration, Instant, IpRange, Selector, Severity};
use crypto::{Encryption, Integrity};
use wire::{icmp, ip, tcp};

use crate::*;

pub(crate) const LAN: InterfaceId = InterfaceId(1);
pub(crate) const WAN: InterfaceId = InterfaceId(2);
pub(crate) const TUNNEL: InterfaceId = InterfaceId(3);

pub(crate) fn at(secs: u64) -> Instant {
    Instant::from_micros(secs * 1_000_000)
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn range(text: &str) -> IpRange {
    match text.split_once('/') {
        Some((address, prefix)) => IpRange::network(ip(address), prefix.parse().unwrap()).unwrap(),
        None => IpRange::host(ip(text)),
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        connections_max: 1000,
        strip_df_max: 0,
        waiting_per_tunnel_max: 4,
        waiting_time: Duration::from_secs(5),
        ..Settings::default()
    }
}

/// One office: networks behind it and behind the other one.
pub(crate) struct Office {
    pub(crate) own: [&'static str; 2],
    pub(crate) networks: [&'static str; 2],
    pub(crate) others: [&'static str; 2],
    pub(crate) wan: &'static str,
}

pub(crate) const HEAD: Office = Office {
    own: ["172.16.1.1", "2001:db8:1::1"],
    networks: ["172.16.1.0/24", "2001:db8:1::/64"],
    others: ["192.168.11.0/24", "2001:db8:2::/64"],
    wan: "198.51.100.1",
};

pub(crate) const BRANCH: Office = Office {
    own: ["192.168.11.1", "2001:db8:2::1"],
    networks: ["192.168.11.0/24", "2001:db8:2::/64"],
    others: ["172.16.1.0/24", "2001:db8:1::/64"],
    wan: "203.0.113.1",
};

pub(crate) fn rule(name: &str, from: &[InterfaceId], to: &[InterfaceId], action: RuleAction) -> Rule {
    Rule {
        source_interfaces: Some(from.to_vec()),
        destination_interfaces: Some(to.to_vec()),
        log: Some(Severity::Info),
        ..Rule::new(name, action)
    }
}

pub(crate) fn policy(office: &Office) -> Policy {
    let interface = |id, name: &str, kind| Interface::new(id, name, kind);
    let route = |network: &str, interface, metric| Route::new(network.parse().unwrap(), interface, metric);
    let host = |address: &str| format!("{address}/{}", if ip(address).is_ipv4() { 32 } else { 128 });
    let ranges = |networks: [&str; 2]| networks.iter().map(|text| range(text)).collect();
    let path = TunnelPath {
        originator: office.own.iter().map(|text| ip(text)).collect(),
        ..TunnelPath::between(ranges(office.networks), ranges(office.others))
    };
    let mut routes: Vec<Route> = Vec::new();
    routes.extend(office.own.iter().chain([&office.wan]).map(|address| route(&host(address), CORE, 0)));
    routes.extend(office.networks.iter().map(|network| route(network, LAN, 100)));
    routes.extend(office.others.iter().map(|network| route(network, TUNNEL, 90)));
    routes.push(route("10.99.0.0/16", TUNNEL, 90)); // routed into the tunnel, but none of its networks
    routes.push(route("203.0.113.0/24", WAN, 100));
    routes.push(route("198.51.100.0/24", WAN, 100));
    let interfaces = vec![
        interface(CORE, "core", InterfaceKind::Core),
        interface(LAN, "lan", InterfaceKind::Host),
        interface(WAN, "wan", InterfaceKind::Host),
        interface(TUNNEL, "office", InterfaceKind::Tunnel(path)),
    ];
    let rules = vec![
        Rule {
            services: vec![Service::Ports { protocol: 17, source: vec![0..=65_535], destination: vec![99..=99] }],
            ..rule("silence", &[LAN], &[TUNNEL], RuleAction::Drop)
        },
        Rule {
            services: vec![
                Service::Ports { protocol: 17, source: vec![0..=65_535], destination: vec![98..=98] },
                Service::Ports { protocol: 6, source: vec![0..=65_535], destination: vec![98..=98] },
            ],
            ..rule("refusal", &[LAN], &[TUNNEL], RuleAction::Reject)
        },
        rule("out", &[LAN], &[TUNNEL], RuleAction::Allow),
        rule("in", &[TUNNEL], &[LAN], RuleAction::Allow),
        rule("self", &[TUNNEL, LAN], &[CORE], RuleAction::Allow),
        rule("kernel", &[CORE], &[TUNNEL], RuleAction::Allow),
    ];
    Policy { rules, settings: settings(), ..Policy::new(interfaces, routes) }
}

/// How the pair of SAs between the offices is made.
#[derive(Clone, Copy)]
pub(crate) struct Keying {
    pub(crate) encryption: Encryption,
    pub(crate) integrity: Option<Integrity>,
    pub(crate) esn: bool,
    pub(crate) udp: bool,
    pub(crate) outer_v6: bool,
    pub(crate) window: u32,
    pub(crate) generation: u32,
    pub(crate) outbound_now: bool,
    pub(crate) soft_bytes: Option<u64>,
    pub(crate) hard_bytes: Option<u64>,
}

pub(crate) const GCM: Keying = Keying {
    encryption: Encryption::AesGcm16(256),
    integrity: None,
    esn: false,
    udp: true,
    outer_v6: false,
    window: 64,
    generation: 1,
    outbound_now: true,
    soft_bytes: None,
    hard_bytes: None,
};

pub(crate) const CBC: Keying =
    Keying { encryption: Encryption::AesCbc(128), integrity: Some(Integrity::HmacSha2_256_128), ..GCM };

impl Keying {
    pub(crate) fn outer(&self, head: bool) -> Outer {
        let (a, b) = if self.outer_v6 { ("2001:db8:f::1", "2001:db8:f::2") } else { (HEAD.wan, BRANCH.wan) };
        let port = if self.udp { 4500 } else { 0 };
        let (a, b) = ((ip(a), port).into(), (ip(b), port).into());
        if head { Outer { local: a, remote: b, udp: self.udp } } else { Outer { local: b, remote: a, udp: self.udp } }
    }

    pub(crate) fn id(&self) -> SaId {
        SaId(u64::from(self.generation))
    }

    pub(crate) fn install(&self, head: bool, dataplane: &mut Dataplane, now: Instant) -> Vec<Output> {
        let mut out = Vec::new();
        dataplane.control(now, Control::Install(self.sa(head)), &mut out).unwrap();
        out
    }

    /// The pair of one side.
    pub(crate) fn sa(&self, head: bool) -> Arc<Sa> {
        let encryption_len = self.encryption.key_len() + self.encryption.salt_len();
        let integrity_len = self.integrity.map_or(0, Integrity::key_len);
        let key = |len: usize, which: u8| -> Vec<u8> {
            (0..len)
                .map(|i| (i as u8).wrapping_mul(7).wrapping_add(which).wrapping_add(self.generation as u8))
                .collect()
        };
        let (to_head, to_branch) = (0x1000 + self.generation, 0x2000 + self.generation);
        let (inward, outward) = if head { (1, 2) } else { (2, 1) };
        let selectors = |office: &Office| -> Vec<Selector> {
            office.networks.iter().map(|network| Selector::all(range(network))).collect()
        };
        let (local, remote) = if head { (&HEAD, &BRANCH) } else { (&BRANCH, &HEAD) };
        let parameters = SaParameters {
            id: self.id(),
            tunnel: TUNNEL,
            mode: Mode::Tunnel,
            spi_in: if head { to_head } else { to_branch },
            spi_out: if head { to_branch } else { to_head },
            encryption: self.encryption,
            integrity: self.integrity,
            encryption_key_in: &key(encryption_len, inward),
            integrity_key_in: &key(integrity_len, inward + 10),
            encryption_key_out: &key(encryption_len, outward),
            integrity_key_out: &key(integrity_len, outward + 10),
            esn: self.esn,
            replay_window: self.window,
            local: &selectors(local),
            remote: &selectors(remote),
            outer: self.outer(head),
            outbound_now: self.outbound_now,
            replaces: (self.generation > 1).then(|| SaId(u64::from(self.generation) - 1)),
            soft_bytes: self.soft_bytes,
            hard_bytes: self.hard_bytes,
        };
        Sa::new(&parameters).unwrap()
    }
}

/// Two offices.
pub(crate) struct Lab {
    pub(crate) head: Dataplane,
    pub(crate) branch: Dataplane,
    pub(crate) now: Instant,
}

impl Lab {
    /// Without any SA.
    pub(crate) fn new() -> Self {
        let dataplane = |office| Dataplane::new(Arc::new(policy(office)));
        Self { head: dataplane(&HEAD), branch: dataplane(&BRANCH), now: at(1) }
    }

    /// With the tunnel up.
    pub(crate) fn up(keying: Keying) -> Self {
        let mut lab = Self::new();
        lab.install(keying);
        lab
    }

    pub(crate) fn install(&mut self, keying: Keying) {
        keying.install(true, &mut self.head, self.now);
        keying.install(false, &mut self.branch, self.now);
    }

    /// What becomes of a packet that the head office reads from its host port.
    pub(crate) fn head_plain(&mut self, packet: &[u8]) -> Vec<Output> {
        let mut out = Vec::new();
        self.head.plain(self.now, Buffer::copy(packet), &mut out);
        out
    }

    pub(crate) fn branch_plain(&mut self, packet: &[u8]) -> Vec<Output> {
        let mut out = Vec::new();
        self.branch.plain(self.now, Buffer::copy(packet), &mut out);
        out
    }

    /// Carries sealed packets to the branch.
    pub(crate) fn at_branch(&mut self, sent: &[Output]) -> Vec<Output> {
        carry(&mut self.branch, self.now, sent)
    }

    pub(crate) fn at_head(&mut self, sent: &[Output]) -> Vec<Output> {
        carry(&mut self.head, self.now, sent)
    }
}

/// Hands the sealed packets of one gateway to the other.
pub(crate) fn carry(to: &mut Dataplane, now: Instant, sent: &[Output]) -> Vec<Output> {
    let mut out = Vec::new();
    for output in sent {
        if let Output::Outer { outer, ds, packet, .. } = output {
            let arrived = Outer { local: outer.remote, remote: outer.local, udp: outer.udp };
            to.esp(now, arrived, *ds, packet.clone(), &mut out);
        }
    }
    out
}

/// Packets that left through host interfaces.
pub(crate) fn plain(out: &[Output]) -> Vec<Vec<u8>> {
    out.iter()
        .filter_map(|output| match output {
            Output::Plain { packet, .. } => Some(packet.bytes().to_vec()),
            _ => None,
        })
        .collect()
}

pub(crate) fn local(out: &[Output]) -> Vec<Vec<u8>> {
    out.iter()
        .filter_map(|output| match output {
            Output::Local { packet, .. } => Some(packet.bytes().to_vec()),
            _ => None,
        })
        .collect()
}

pub(crate) fn sealed(out: &[Output]) -> usize {
    out.iter().filter(|output| matches!(output, Output::Outer { .. })).count()
}

pub(crate) fn exceptions(out: &[Output]) -> Vec<Exception> {
    out.iter()
        .filter_map(|output| match output {
            Output::Exception(exception) => Some(*exception),
            _ => None,
        })
        .collect()
}

/// Names and rules (where they have one) of log events.
pub(crate) fn logs(out: &[Output]) -> Vec<String> {
    out.iter()
        .filter_map(|output| match output {
            Output::Log(record) => Some(match record.field("rule") {
                Some(rule) => format!("{} {rule}", record.meta.name),
                None => record.meta.name.to_owned(),
            }),
            _ => None,
        })
        .collect()
}

/// Lines of log events, from their revision on.
pub(crate) fn lines(out: &[Output]) -> Vec<String> {
    let line = |output: &Output| match output {
        Output::Log(record) => record.to_string().find("rev=").map(|at| record.to_string().split_off(at)),
        _ => None,
    };
    out.iter().filter_map(line).collect()
}

/// Remembers counters, to find that exactly the named ones have changed.
pub(crate) struct Watch(Counters);

impl Watch {
    pub(crate) fn over(dataplane: &Dataplane) -> Self {
        Self(dataplane.counters().clone())
    }

    #[track_caller]
    pub(crate) fn only(&self, dataplane: &Dataplane, expected: &[(Reason, u64)]) {
        let now = dataplane.counters();
        let changed: Vec<(Reason, u64)> = Reason::ALL
            .iter()
            .map(|reason| (*reason, now.drops(*reason) - self.0.drops(*reason)))
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(changed, expected);
        reasons::reached(&changed);
    }
}

pub(crate) const HEAD_HOST: &str = "172.16.1.10";
pub(crate) const BRANCH_HOST: &str = "192.168.11.10";
pub(crate) const HEAD_HOST_V6: &str = "2001:db8:1::10";
pub(crate) const BRANCH_HOST_V6: &str = "2001:db8:2::10";

pub(crate) fn ping(from: &str, to: &str, len: usize) -> Vec<u8> {
    icmp::echo_request(ip(from), ip(to), 7, 1, &pattern(len)).unwrap()
}

/// The reply to a ping, as the host that got it sends it.
pub(crate) fn pong(request: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    let header = ip::Header::parse(&reply).unwrap();
    ip::swap_addresses(&mut reply);
    ip::set_ttl(&mut reply, 64);
    icmp::turn_into_reply(&mut reply[header.payload..], !header.is_v4());
    reply
}

pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

/// A datagram that may be fragmented.
pub(crate) fn udp(from: (&str, u16), to: (&str, u16), data: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(from.1.to_be_bytes());
    datagram.extend(to.1.to_be_bytes());
    datagram.extend(u16::try_from(data.len() + 8).unwrap().to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    let packet = icmp::ip_packet(ip(from.0), ip(to.0), ip::UDP, &datagram).unwrap();
    changed(packet, |packet| {
        if packet[0] >> 4 == 4 {
            packet[6] = 0
        }
    })
}

pub(crate) fn tcp(from: (&str, u16), to: (&str, u16), flags: u8, sequence: u32, acknowledgement: u32) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(from.1.to_be_bytes());
    segment.extend(to.1.to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledgement.to_be_bytes());
    segment.extend(if flags & tcp::SYN != 0 { [0x60, flags] } else { [0x50, flags] });
    segment.extend([0xff, 0xff, 0, 0, 0, 0]);
    if flags & tcp::SYN != 0 {
        segment.extend([2, 4, 0x05, 0xb4]); // MSS 1460
    }
    let len = u32::try_from(segment.len()).unwrap();
    let sum = wire::checksum::Sum::new().with_pseudo_header(ip(from.0), ip(to.0), 6, len).with(&segment).checksum();
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    icmp::ip_packet(ip(from.0), ip(to.0), ip::TCP, &segment).unwrap()
}

/// An IPv4 packet with its header changed and its checksum mended.
pub(crate) fn changed(mut packet: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut packet);
    if packet[0] >> 4 == 4 {
        let len = usize::from(packet[0] & 0xf) * 4;
        packet[10..12].fill(0);
        let sum = wire::checksum::of(&packet[..len]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// The packet as it is behind `hops` routers.
pub(crate) fn after_hops(mut packet: Vec<u8>, hops: usize) -> Vec<u8> {
    for _ in 0..hops {
        ip::decrement_ttl(&mut packet);
    }
    packet
}

pub(crate) fn key_of(packet: &[u8]) -> ip::Header {
    ip::Header::parse(packet).unwrap()
}
