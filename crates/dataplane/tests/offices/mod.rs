//! Two offices with a tunnel between them, built from outside, for the benchmark and the count of allocations.

#![allow(dead_code, reason = "each of those that share this module takes a part of it")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use base::{Buffer, Instant, IpRange, Selector};
use crypto::{Encryption, Integrity};
use dataplane::{
    CORE, Control, Dataplane, Interface, InterfaceId, InterfaceKind, Mode, Outer, Output, Policy, Route, Rule,
    RuleAction, Sa, SaId, SaParameters, TunnelPath,
};

const LAN: InterfaceId = InterfaceId(1);
const TUNNEL: InterfaceId = InterfaceId(2);

/// A cipher and what goes with it.
pub type Algorithms = (Encryption, Option<Integrity>);

/// The end that seals: one UDP connection into the tunnel.
pub struct Sender {
    dataplane: Dataplane,
    packet: Vec<u8>,
    out: Vec<Output>,
}

/// The end that opens.
pub struct Receiver {
    dataplane: Dataplane,
    out: Vec<Output>,
}

/// When everything happens.
pub const NOW: Instant = Instant::from_micros(1_000_000);

/// Both ends of a tunnel, with a connection established whose packets have `len` bytes, IP header included.
pub fn offices(algorithms: Algorithms, len: usize) -> (Sender, Receiver) {
    let (a, b) = (Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 2, 0, 1));
    let mut datagram = vec![0x11; len - 20];
    datagram[4..6].copy_from_slice(&u16::try_from(len - 20).unwrap().to_be_bytes());
    let packet = wire::icmp::ip_packet(a.into(), b.into(), 17, &datagram).unwrap();
    let mut sender = Sender {
        dataplane: office("10.1.0.0/16", "10.2.0.0/16", algorithms, (1, 2)),
        packet,
        out: Vec::with_capacity(16),
    };
    let mut receiver =
        Receiver { dataplane: office("10.2.0.0/16", "10.1.0.0/16", algorithms, (2, 1)), out: Vec::with_capacity(16) };
    let first = sender.seal(Buffer::with_capacity(2048));
    receiver.open(first);
    (sender, receiver)
}

impl Sender {
    /// Copies the packet into `buffer`, as a host sends it, and seals it by the whole path.
    pub fn seal(&mut self, mut buffer: Buffer) -> Buffer {
        buffer.clear();
        buffer.extend(&self.packet);
        self.dataplane.plain(NOW, buffer, &mut self.out);
        match self.out.pop() {
            Some(Output::Outer { packet, .. }) => packet,
            other => panic!("not sealed: {other:?}"),
        }
    }
}

impl Receiver {
    /// Opens a packet by the whole path.
    pub fn open(&mut self, packet: Buffer) -> Buffer {
        self.dataplane.esp(NOW, outer(), 0, packet, &mut self.out);
        match self.out.pop() {
            Some(Output::Plain { packet, .. }) => packet,
            other => panic!("not opened: {other:?}"),
        }
    }
}

/// Two offices with many pairs of SAs between them, each for a host on either side, and many connections.
pub struct Crowd {
    /// The end that seals.
    pub sender: Dataplane,
    /// The end that opens.
    pub receiver: Dataplane,
    pairs: usize,
    len: usize,
}

impl Crowd {
    /// `flows` connections spread over `pairs` pairs of SAs, whose packets have `len` bytes.
    pub fn new(algorithms: Algorithms, pairs: usize, flows: usize, len: usize) -> Self {
        let mut sender = empty_office("10.1.0.0/16", "10.2.0.0/16");
        let mut receiver = empty_office("10.2.0.0/16", "10.1.0.0/16");
        for pair in 0..pairs {
            let host = |net| IpRange::host(host(net, pair).into());
            install(&mut sender, pair, (host(1), host(2)), algorithms, (1, 2));
            install(&mut receiver, pair, (host(2), host(1)), algorithms, (2, 1));
        }
        let mut crowd = Self { sender, receiver, pairs, len };
        let mut out = Vec::new();
        for flow in 0..flows {
            crowd.sender.plain(NOW, Buffer::copy(&crowd.packet(flow)), &mut out);
            match out.pop() {
                Some(Output::Outer { outer, ds, packet, .. }) => crowd.receiver.esp(NOW, outer, ds, packet, &mut out),
                other => panic!("not sealed: {other:?}"),
            }
            assert!(matches!(out.pop(), Some(Output::Plain { .. })));
        }
        crowd
    }

    /// A packet of a connection.
    pub fn packet(&self, flow: usize) -> Vec<u8> {
        let (pair, port) = (flow % self.pairs, u16::try_from(flow / self.pairs + 1).unwrap());
        let mut datagram = vec![0x11; self.len - 20];
        datagram[..2].copy_from_slice(&port.to_be_bytes());
        datagram[4..6].copy_from_slice(&u16::try_from(self.len - 20).unwrap().to_be_bytes());
        wire::icmp::ip_packet(host(1, pair).into(), host(2, pair).into(), 17, &datagram).unwrap()
    }
}

fn host(net: u8, pair: usize) -> Ipv4Addr {
    let [_, _, high, low] = u32::try_from(pair + 1).unwrap().to_be_bytes();
    Ipv4Addr::new(10, net, high, low)
}

fn outer() -> Outer {
    let address = (IpAddr::from([192, 0, 2, 1]), 4500).into();
    Outer { local: address, remote: address, udp: true }
}

fn range(text: &str) -> IpRange {
    let (address, prefix) = text.split_once('/').unwrap();
    IpRange::network(address.parse().unwrap(), prefix.parse().unwrap()).unwrap()
}

fn office(own: &str, other: &str, algorithms: Algorithms, ways: (u8, u8)) -> Dataplane {
    let mut dataplane = empty_office(own, other);
    install(&mut dataplane, 0, (range(own), range(other)), algorithms, ways);
    dataplane
}

/// Without an SA.
fn empty_office(own: &str, other: &str) -> Dataplane {
    let interface = |id, name: &str, kind| Interface::new(id, name, kind);
    let route = |network: &str, interface| Route::new(network.parse().unwrap(), interface, 100);
    let path = TunnelPath::between(vec![range(own)], vec![range(other)]);
    let interfaces = vec![
        interface(CORE, "core", InterfaceKind::Core),
        interface(LAN, "lan", InterfaceKind::Host),
        interface(TUNNEL, "tunnel", InterfaceKind::Tunnel(path)),
    ];
    let mut policy = Policy::new(interfaces, vec![route(own, LAN), route(other, TUNNEL)]);
    policy.rules.push(Rule::new("all", RuleAction::Allow));
    policy.settings.connections_max = 2_000_000;
    Dataplane::new(Arc::new(policy))
}

fn install(
    dataplane: &mut Dataplane,
    pair: usize,
    (own, other): (IpRange, IpRange),
    (encryption, integrity): Algorithms,
    (inward, outward): (u8, u8),
) {
    let pair = u32::try_from(pair).unwrap();
    let key = |len: usize, which: u8| vec![which; len];
    let encryption_len = encryption.key_len() + encryption.salt_len();
    let integrity_len = integrity.map_or(0, Integrity::key_len);
    let parameters = SaParameters {
        id: SaId(u64::from(pair) + 1),
        tunnel: TUNNEL,
        mode: Mode::Tunnel,
        spi_in: 0x1000 + 4 * pair + u32::from(inward),
        spi_out: 0x1000 + 4 * pair + u32::from(outward),
        encryption,
        integrity,
        encryption_key_in: &key(encryption_len, inward),
        integrity_key_in: &key(integrity_len, inward),
        encryption_key_out: &key(encryption_len, outward),
        integrity_key_out: &key(integrity_len, outward),
        esn: true,
        replay_window: 1024,
        local: &[Selector::all(own)],
        remote: &[Selector::all(other)],
        outer: outer(),
        outbound_now: true,
        replaces: None,
        soft_bytes: None,
        hard_bytes: None,
    };
    dataplane.control(NOW, Control::Install(Sa::new(&parameters).unwrap()), &mut Vec::new()).unwrap();
}
