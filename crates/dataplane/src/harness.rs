//! What the fuzz targets of the packet path do with their bytes; the seeded tests do the same. Panics when a property does
//! not hold, and is called by tests alone.

use std::net::IpAddr;
use std::sync::Arc;

use base::{Buffer, Duration, Instant, IpRange, Selector, Severity};
use crypto::{Encryption, Sealer};

use crate::{
    CORE, Control, Dataplane, Interface, InterfaceId, InterfaceKind, Mode, Outer, Output, Policy, Route, Rule,
    RuleAction, Sa, SaId, SaParameters, Service, Settings, TunnelPath,
};

const LAN: InterfaceId = InterfaceId(1);
const TUNNEL: InterfaceId = InterfaceId(2);
const SPI: u32 = 0x1001;
const KEY: [u8; 20] = [7; 20];

/// Several packets: each has a byte that says where it comes in, two with its length, and its bytes.
pub fn traffic(mut bytes: &[u8]) {
    let mut gateway = Gateway::new();
    while let [way, high, low, rest @ ..] = bytes {
        let (packet, behind) =
            rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))).unwrap_or((rest, &[]));
        match way % 3 {
            0 => gateway.plain(packet),
            1 => gateway.esp(packet),
            _ => gateway.sealed(packet),
        }
        bytes = behind;
    }
}

/// A gateway with a tunnel to which anything may be sent, and whose clock runs on.
#[derive(Debug)]
pub struct Gateway {
    dataplane: Dataplane,
    micros: u64,
    sequence: u32,
    sealer: Option<Sealer>,
    out: Vec<Output>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self::new()
    }
}

impl Gateway {
    /// A gateway with 172.16.1.0/24 and 2001:db8:1::/64 behind it, and a tunnel to 192.168.11.0/24 and 2001:db8:2::/64.
    pub fn new() -> Self {
        let mut dataplane = Dataplane::new(Arc::new(policy()));
        let (local, remote) = (selectors(1), selectors(2));
        let parameters = SaParameters {
            id: SaId(1),
            tunnel: TUNNEL,
            mode: Mode::Tunnel,
            spi_in: SPI,
            spi_out: SPI,
            encryption: Encryption::AesGcm16(128),
            integrity: None,
            encryption_key_in: &KEY,
            integrity_key_in: &[],
            encryption_key_out: &KEY,
            integrity_key_out: &[],
            esn: false,
            replay_window: 64,
            local: &local,
            remote: &remote,
            outer: outer(),
            outbound_now: true,
            replaces: None,
            soft_bytes: Some(1 << 20),
            hard_bytes: None,
        };
        let install = |sa| dataplane.control(Instant::ZERO, Control::Install(sa), &mut Vec::new());
        assert_eq!(Sa::new(&parameters).and_then(install), Ok(()));
        let sealer = Sealer::new(Encryption::AesGcm16(128), None, &KEY, &[]).ok();
        Self { dataplane, micros: 0, sequence: 0, sealer, out: Vec::new() }
    }

    /// Bytes at the host port.
    pub fn plain(&mut self, bytes: &[u8]) {
        let now = self.tick();
        self.dataplane.plain(now, Buffer::copy(bytes), &mut self.out);
        self.look();
    }

    /// Bytes where ESP packets come in.
    pub fn esp(&mut self, bytes: &[u8]) {
        let now = self.tick();
        self.dataplane.esp(now, outer(), 0, Buffer::copy(bytes), &mut self.out);
        self.look();
    }

    /// Bytes that the peer has sealed: the text of an authentic packet, trailer included.
    pub fn sealed(&mut self, bytes: &[u8]) {
        let Some(sealer) = &self.sealer else { return };
        self.sequence += 1;
        let header = wire::esp::Header { spi: SPI, sequence: self.sequence }.bytes();
        let iv = u64::from(self.sequence).to_be_bytes();
        let (mut text, mut icv) = (bytes.to_vec(), [0; 16]);
        let sealed = sealer.seal(&iv, &header, &[], &mut text, &mut icv);
        assert_eq!(sealed, Ok(()));
        self.esp(&[&header[..], &iv, &text, &icv].concat());
    }

    /// The gateway.
    pub fn dataplane(&self) -> &Dataplane {
        &self.dataplane
    }

    fn tick(&mut self) -> Instant {
        self.micros += 1_000;
        let now = Instant::from_micros(self.micros);
        self.out.clear();
        if self.dataplane.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.dataplane.expire(now, &mut self.out);
            assert!(self.dataplane.next_deadline().is_none_or(|deadline| deadline > now), "what was due is done");
        }
        now
    }

    fn look(&mut self) {
        for output in self.out.drain(..) {
            match output {
                // What the gateway sends can be read by the next one.
                Output::Plain { packet, .. } | Output::Local { packet, .. } | Output::Link { packet, .. } => {
                    assert!(wire::ip::Header::parse(packet.bytes()).is_ok(), "{:?}", packet.bytes());
                }
                Output::Outer { packet, .. } => assert!(packet.len() <= 1500, "{} bytes", packet.len()),
                // A crash while telling of a packet is a crash.
                Output::Log(record) => drop(record.to_string()),
                Output::Exception(_) | Output::Ike { .. } => {}
            }
        }
    }
}

fn outer() -> Outer {
    let address = |last| (IpAddr::from([198, 51, 100, last]), 4500).into();
    Outer { local: address(1), remote: address(2), udp: true }
}

/// The networks of the head office (1) or the branch (2).
fn networks(which: u16) -> [(IpAddr, u8); 2] {
    let v4 = if which == 1 { [172, 16, 1, 0] } else { [192, 168, 11, 0] };
    [(v4.into(), 24), (IpAddr::from([0x2001, 0xdb8, which, 0, 0, 0, 0, 0]), 64)]
}

fn ranges(which: u16) -> Vec<IpRange> {
    networks(which).iter().filter_map(|(address, prefix)| IpRange::network(*address, *prefix).ok()).collect()
}

fn selectors(which: u16) -> Vec<Selector> {
    ranges(which).into_iter().map(Selector::all).collect()
}

fn policy() -> Policy {
    let interface = |id, name: &str, kind| Interface::new(id, name, kind);
    let own: [IpAddr; 2] = [[172, 16, 1, 1].into(), [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1].into()];
    let routes_to = |networks: &[(IpAddr, u8)], interface| -> Vec<Route> {
        let network = |(address, prefix): &(IpAddr, u8)| ipnet::IpNet::new(*address, *prefix).ok();
        let route = |network| Route::new(network, interface, 100);
        networks.iter().filter_map(network).map(route).collect()
    };
    let rule = |name: &str, action, services| Rule { services, log: Some(Severity::Info), ..Rule::new(name, action) };
    let port = |protocol| Service::Ports { protocol, source: vec![0..=u16::MAX], destination: vec![98..=98] };
    let path = TunnelPath { originator: own.to_vec(), ..TunnelPath::between(ranges(1), ranges(2)) };
    let own_hosts = own.map(|address| (address, if address.is_ipv4() { 32 } else { 128 }));
    let interfaces = vec![
        interface(CORE, "core", InterfaceKind::Core),
        interface(LAN, "lan", InterfaceKind::Host),
        interface(TUNNEL, "tunnel", InterfaceKind::Tunnel(path)),
    ];
    let routes = [routes_to(&own_hosts, CORE), routes_to(&networks(1), LAN), routes_to(&networks(2), TUNNEL)].concat();
    let mut policy = Policy::new(interfaces, routes);
    policy.rules = vec![
        rule("refusal", RuleAction::Reject, vec![port(6), port(17)]),
        rule("all", RuleAction::Allow, vec![Service::All]),
    ];
    policy.settings = Settings {
        connections_max: 100,
        tcp_established: Duration::from_secs(3600),
        waiting_per_tunnel_max: 4,
        waiting_time: Duration::from_secs(5),
        ..Settings::default()
    };
    policy
}

/// An ICMP error, or any other packet, that passes a translation. The first byte says which side is translated.
pub fn nat_icmp(bytes: &[u8]) {
    use crate::inspect::{Key, Seen};
    use crate::nat::{icmp, rewrite, rewrite::Checksums};
    let [sides, packet @ ..] = bytes else { return };
    let read = |packet: &[u8]| Seen::new(packet, wire::ip::Header::parse(packet).ok()?);
    let Some(before) = read(packet).filter(|seen| seen.ip.fragment.is_none()) else { return };
    let quotation = |packet| Key::of_quotation(wire::icmp::quotation(before.ip.payload_of(packet)));
    let quoted = quotation(packet).filter(|_| before.is_icmp_error());
    let from = quoted.map_or(before.key(), |quoted| quoted.reversed());
    let to = translated(&from, *sides);
    let (mut changed, mut seen) = (packet.to_vec(), before);
    if quoted.is_none() {
        rewrite::apply(&mut changed, &mut seen, &to, Checksums::Whole);
        assert_eq!(seen.key(), to);
    } else if icmp::translate_error(&mut changed, &mut seen, &from, &to, Checksums::Whole) {
        assert_eq!(quotation(&changed), Some(to.reversed()), "the quotation is that of the other side");
        assert_eq!(seen.ip.destination, to.destination);
    } else {
        assert_eq!(changed, packet, "what is not translated does not change");
    }
    assert_eq!(changed.len(), packet.len());
    // Read again it says the same, and it has a right checksum if it had one.
    let again = read(&changed);
    assert_eq!(again.map(|again| format!("{again:?}")), Some(format!("{seen:?}")));
    if right_checksum(packet, &before) {
        assert!(right_checksum(&changed, &seen), "{packet:02x?} became {changed:02x?}");
    }
    // One that claims to be the beginning of more: the sum over the pseudo header alone, and no panic.
    let (mut partial, mut seen) = (packet.to_vec(), before);
    if quoted.is_none() {
        rewrite::apply(&mut partial, &mut seen, &to, Checksums::Partial);
    } else {
        icmp::translate_error(&mut partial, &mut seen, &from, &to, Checksums::Partial);
    }
    assert_eq!(partial.len(), packet.len());
}

/// The key with other addresses, and other ports where it has them, of the sides that the lowest two bits name.
fn translated(key: &crate::inspect::Key, sides: u8) -> crate::inspect::Key {
    let other = |address: IpAddr| -> IpAddr {
        match address {
            IpAddr::V4(address) => std::net::Ipv4Addr::from_bits(address.to_bits() ^ 0x1234_5678).into(),
            IpAddr::V6(address) => std::net::Ipv6Addr::from_bits(address.to_bits() ^ 0x1234_5678 << 64).into(),
        }
    };
    // Of an echo one of the two numbers is none.
    let ports = matches!(key.protocol, wire::ip::TCP | wire::ip::UDP);
    let other_port = |port: u16| if ports || port != 0 { port ^ 0x8123 } else { port };
    let mut to = *key;
    if sides & 1 != 0 {
        (to.source, to.ports.0) = (other(key.source), other_port(key.ports.0));
    }
    if sides & 2 != 0 {
        (to.destination, to.ports.1) = (other(key.destination), other_port(key.ports.1));
    }
    to
}

/// True when the checksum of the transport header is there and right.
fn right_checksum(packet: &[u8], seen: &crate::inspect::Seen) -> bool {
    use wire::{checksum::Sum, ip, octets};
    let payload = seen.ip.payload_of(packet);
    let sum = match seen.ip.protocol {
        ip::ICMP if seen.ip.is_v4() => Sum::new(),
        ip::UDP if octets::u16(payload, 6) == Some(0) => return false,
        ip::ICMPV6 if seen.ip.is_v4() => return false,
        ip::TCP | ip::UDP | ip::ICMPV6 => {
            let len = u32::try_from(payload.len()).unwrap_or(0);
            Sum::new().with_pseudo_header(seen.ip.source, seen.ip.destination, seen.ip.protocol, len)
        }
        _ => return false,
    };
    sum.with(payload).checksum() == 0
}
