//! Two gateways that own their network cards, a host behind each, and the wires between them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::net::IpAddr;
use std::sync::Arc;

use base::{Buffer, Duration, Instant, Now, Random, UnixTime};
use engine::{Action, Gateway, Input, OpenPort};
use link::{Link, PortId, Role};
use wire::ethernet::Mac;

const HOSTS: [&str; 2] = ["172.16.1.10", "192.168.11.10"];

fn configuration(side: usize) -> String {
    let (lan, other, wan, peer) = [
        ("172.16.1", "192.168.11.0/24", "198.51.100.1", "198.51.100.2"),
        ("192.168.11", "172.16.1.0/24", "198.51.100.2", "198.51.100.1"),
    ][side];
    format!(
        "add Ethernet lan Port=Packet IP={lan}.1 Network={lan}.0/24\n\
         add Ethernet wan Port=Packet IP={wan} Network=198.51.100.0/24\n\
         add PSK key Type=ASCII PSKascii=somesecretasciikey\n\
         add Interface IPsecTunnel office LocalNetwork={lan}.0/24 RemoteNetwork={other} RemoteEndpoint={peer} PSK=key\n\
         add IPPolicy Name=out SourceInterface=lan SourceNetwork={lan}.0/24 DestinationInterface=office \
         DestinationNetwork={other} Service=all_services Action=Allow\n\
         add IPPolicy Name=in SourceInterface=office SourceNetwork={other} DestinationInterface=lan \
         DestinationNetwork={lan}.0/24 Service=all_services Action=Allow\n"
    )
}

/// A host: nothing but the link layer, and what it was sent.
struct Host {
    link: Link,
    received: Vec<Vec<u8>>,
}

impl Host {
    fn new(side: usize) -> Self {
        let address: IpAddr = HOSTS[side].parse().unwrap();
        let interface = link::LinkInterface {
            id: link::InterfaceId(1),
            name: "eth0".to_owned(),
            vlan: None,
            addresses: vec![(address, 24)],
            dhcp: false,
            hostname: String::new(),
        };
        let mac = Mac([2, 0, 0, 0, 1, u8::try_from(side).unwrap()]);
        let config = link::Config {
            ports: vec![link::Port { id: PortId(0), mac, interfaces: vec![interface] }],
            ..link::Config::default()
        };
        let mut host = Self { link: Link::new(Role::Leader, Random::numbered(7)), received: Vec::new() };
        host.link.configure(Instant::ZERO, Arc::new(config), &mut Vec::new());
        host.link.link_state(Instant::ZERO, PortId(0), true, &mut Vec::new());
        host
    }
}

/// A frame on its way: to a gateway's port, or to a host.
enum To {
    Gateway(usize, PortId),
    Host(usize),
}

struct World {
    now: Instant,
    gateways: [Gateway; 2],
    hosts: [Host; 2],
    /// Ports by gateway: lan, wan.
    ports: [[Option<PortId>; 2]; 2],
    frames: Vec<(To, Vec<u8>)>,
    /// Everything that passed between the gateways.
    outside: Vec<Vec<u8>>,
}

impl World {
    fn new() -> Self {
        Self::of(configuration)
    }

    fn of(configuration: fn(usize) -> String) -> Self {
        let card = |name: &str| objects::HostInterface { name: name.to_owned(), mtu: 1500, ..Default::default() };
        let gateway = |side: usize| {
            let snapshot = objects::compile_text(&configuration(side), &[card("lan"), card("wan")]).unwrap().1;
            Gateway::new([u8::try_from(side).unwrap(); 32], clock(Instant::ZERO), Arc::new(snapshot))
        };
        let mut world = Self {
            now: Instant::ZERO,
            gateways: [gateway(0), gateway(1)],
            hosts: [Host::new(0), Host::new(1)],
            ports: [[None; 2]; 2],
            frames: Vec::new(),
            outside: Vec::new(),
        };
        for side in 0..2 {
            world.step(side, Input::Deadline);
        }
        world
    }

    fn step(&mut self, side: usize, input: Input) {
        let mut actions = Vec::new();
        self.gateways[side].step(clock(self.now), input, &mut actions);
        self.act(side, actions);
    }

    fn act(&mut self, side: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Ports(wanted) => {
                    for port in wanted {
                        let which = usize::from(port.device == "wan");
                        self.ports[side][which] = Some(port.port);
                        let mac = [2, 0, 0, 0, 2, u8::try_from(side * 2 + which).unwrap()];
                        self.step(side, Input::Port(OpenPort { port: port.port, mac, up: true }));
                    }
                }
                Action::Frame { port, frame } if Some(port) == self.ports[side][0] => {
                    self.frames.push((To::Host(side), frame.bytes().to_vec()));
                }
                Action::Frame { frame, .. } => {
                    self.outside.push(frame.bytes().to_vec());
                    if let Some(port) = self.ports[1 - side][1] {
                        self.frames.push((To::Gateway(1 - side, port), frame.bytes().to_vec()));
                    }
                }
                Action::Plain(_) | Action::Datagram { .. } | Action::Esp { .. } => panic!("past the ports: {action:?}"),
                _ => {}
            }
        }
    }

    fn host_out(&mut self, side: usize, outputs: Vec<link::Output>) {
        for output in outputs {
            match output {
                link::Output::Frame { frame, .. } => {
                    let to = To::Gateway(side, self.ports[side][0].unwrap());
                    self.frames.push((to, frame.bytes().to_vec()));
                }
                link::Output::Packet { packet, .. } => self.hosts[side].received.push(packet.bytes().to_vec()),
                _ => {}
            }
        }
    }

    /// Sends a packet from a host by its gateway.
    fn send(&mut self, side: usize, packet: &[u8]) {
        let gateway: IpAddr = if side == 0 { [172, 16, 1, 1].into() } else { [192, 168, 11, 1].into() };
        let mut out = Vec::new();
        let interface = link::InterfaceId(1);
        self.hosts[side].link.send(self.now, interface, gateway, Buffer::copy(packet), &mut out);
        self.host_out(side, out);
    }

    /// Lets time pass.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            while !self.frames.is_empty() {
                for (to, frame) in std::mem::take(&mut self.frames) {
                    match to {
                        To::Gateway(side, port) => {
                            self.step(side, Input::Frame { port, frame: Buffer::copy(&frame) });
                        }
                        To::Host(side) => {
                            let mut out = Vec::new();
                            self.hosts[side].link.frame(self.now, PortId(0), Buffer::copy(&frame), &mut out);
                            self.host_out(side, out);
                        }
                    }
                }
            }
            self.now += Duration::from_millis(100);
            for side in 0..2 {
                self.step(side, Input::Deadline);
                let mut out = Vec::new();
                self.hosts[side].link.expire(self.now, &mut out);
                self.host_out(side, out);
            }
        }
    }
}

fn clock(mono: Instant) -> Now {
    Now { mono, utc: UnixTime::from_micros(1_800_000_000_000_000) }
}

fn ping(from: &str, to: &str) -> Vec<u8> {
    wire::icmp::echo_request(from.parse().unwrap(), to.parse().unwrap(), 7, 1, b"through two packet ports").unwrap()
}

#[test]
fn a_packet_passes_between_hosts_through_gateways_whose_kernels_know_no_address() {
    let mut world = World::new();
    world.send(0, &ping(HOSTS[0], HOSTS[1]));
    world.run(Duration::from_secs(3));
    let received = &world.hosts[1].received;
    assert_eq!(received.len(), 1);
    assert!(received[0].ends_with(b"through two packet ports"));
    world.send(1, &ping(HOSTS[1], HOSTS[0]));
    world.run(Duration::from_secs(1));
    assert_eq!(world.hosts[0].received.len(), 1);
    let clear = |frame: &Vec<u8>| frame.windows(7).any(|part| part == b"through");
    assert!(!world.outside.iter().any(clear), "nothing of it was to be read outside");
}

#[test]
fn a_host_that_is_not_there_is_reported_to_whoever_sent_to_it() {
    let mut world = World::new();
    world.send(0, &ping(HOSTS[0], "192.168.11.99"));
    world.run(Duration::from_secs(8));
    let told = &world.hosts[0].received;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0][20..22], [3, 1], "host unreachable");
}

#[test]
fn the_gateway_pings_hosts_beside_its_own_ports_from_the_ports_address() {
    let mut world = World::new();
    let ping = |source: Option<&str>| engine::Ping {
        destination: HOSTS[0].parse().unwrap(),
        source: source.map(|source| source.parse().unwrap()),
        count: 1,
        length: 4,
    };
    let now = clock(world.now);
    let refused = world.gateways[0].ping(now, ping(Some("172.16.1.77")), &mut Vec::new()).unwrap_err();
    assert!(refused.to_string().contains("172.16.1.77 is no address of this gateway"), "{refused}");
    let mut actions = Vec::new();
    world.gateways[0].ping(now, ping(None), &mut actions).unwrap();
    world.act(0, actions);
    world.run(Duration::from_secs(1));
    let received = &world.hosts[0].received;
    assert!(received.iter().any(|packet| packet[12..16] == [172, 16, 1, 1] && packet[20] == 8), "{received:?}");
}

/// The outside is VLAN 7 on the card, and the card has no other interface.
fn configuration_with_vlan(side: usize) -> String {
    let text = configuration(side);
    text.lines()
        .map(|line| match line.strip_prefix("add Ethernet wan Port=Packet ") {
            Some(addresses) => {
                format!("add Ethernet wan Port=Packet\nadd Interface VLAN provider Ethernet=wan VLANID=7 {addresses}\n")
            }
            None => format!("{line}\n"),
        })
        .collect()
}

#[test]
fn a_tunnel_over_a_vlan_carries_packets_in_frames_of_that_vlan_alone() {
    let mut world = World::of(configuration_with_vlan);
    world.send(0, &ping(HOSTS[0], HOSTS[1]));
    world.run(Duration::from_secs(3));
    assert_eq!(world.hosts[1].received.len(), 1);
    world.send(1, &ping(HOSTS[1], HOSTS[0]));
    world.run(Duration::from_secs(1));
    assert_eq!(world.hosts[0].received.len(), 1);
    assert!(world.outside.len() > 6, "ARP, IKE and ESP");
    for frame in &world.outside {
        assert_eq!(frame[12..16], [0x81, 0, 0, 7]);
    }
}

#[test]
fn a_frame_of_another_vlan_is_nobodys() {
    let mut world = World::of(configuration_with_vlan);
    world.send(0, &ping(HOSTS[0], HOSTS[1]));
    world.run(Duration::from_secs(3));
    let port = world.ports[1][1].unwrap();
    let good = world.outside.iter().rfind(|frame| frame[6..12] != [2, 0, 0, 0, 2, 3]).unwrap().clone();
    let unknown = |world: &World| world.gateways[1].link_counters().drops(link::Reason::UnknownVlan);
    let before = unknown(&world);
    let mut other = good;
    other[15] = 8;
    world.step(1, Input::Frame { port, frame: Buffer::copy(&other) });
    assert_eq!(unknown(&world), before + 1);
}

#[test]
fn a_card_without_a_link_is_told_once_and_so_is_its_return() {
    let mut world = World::new();
    let port = world.ports[0][1].unwrap();
    let mut told = Vec::new();
    for up in [true, false, false, true] {
        let mut actions = Vec::new();
        let open = OpenPort { port, mac: [2, 0, 0, 0, 2, 1], up };
        world.gateways[0].step(clock(world.now), Input::Port(open), &mut actions);
        told.extend(actions.iter().filter_map(|action| match action {
            Action::Log(record) => Some(record.to_string()),
            _ => None,
        }));
    }
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("link_down") && told[0].contains("iface=wan"), "{told:?}");
    assert!(told[1].contains("link_up"), "{told:?}");
}
