//! Stories with layers joined by a wire.

mod dhcp;
mod neighbours;
mod proxy;
mod vlans;
mod workers;

use std::net::IpAddr;
use std::sync::Arc;

use base::{Buffer, Duration, Instant, IpRange, Random, Record};
use wire::icmp;

use crate::{
    Config, InterfaceId, Link, LinkInterface, Mac, NeighbourStatus, Output, Port, PortId, Reason, Role, State,
};

pub(crate) const PORT: PortId = PortId(0);
pub(crate) const IF: InterfaceId = InterfaceId(1);
pub(crate) const MAC_A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
pub(crate) const MAC_B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn net(text: &str) -> IpRange {
    let (address, prefix) = text.split_once('/').unwrap();
    IpRange::network(ip(address), prefix.parse().unwrap()).unwrap()
}

pub(crate) fn interface(id: InterfaceId, vlan: Option<u16>, addresses: &[&str]) -> LinkInterface {
    let address = |text: &&str| {
        let (address, prefix) = text.split_once('/').unwrap();
        (ip(address), prefix.parse().unwrap())
    };
    let name = format!("if{}", id.0);
    let addresses = addresses.iter().map(address).collect();
    LinkInterface { id, name, vlan, addresses, dhcp: false, hostname: String::new() }
}

/// A gateway with one port and one interface without tag.
pub(crate) fn config(mac: Mac, addresses: &[&str]) -> Config {
    let interfaces = vec![interface(IF, None, addresses)];
    Config { ports: vec![Port { id: PORT, mac, interfaces }], ..Config::default() }
}

pub(crate) fn echo(from: &str, to: &str) -> Buffer {
    Buffer::copy(&icmp::echo_request(ip(from), ip(to), 1, 1, b"data").unwrap())
}

/// A station: a layer and what it handed up.
pub(crate) struct Station {
    pub(crate) link: Link,
    pub(crate) out: Vec<Output>,
}

/// Stations on one wire, which loses some of the frames.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) stations: Vec<Station>,
    /// Lost frames in a hundred.
    pub(crate) loss: u64,
    /// Frames that were on the wire.
    pub(crate) frames: Vec<Vec<u8>>,
    random: Random,
}

impl World {
    /// Stations with these configurations, their links up, their addresses checked and announced.
    pub(crate) fn new(seed: u64, configs: Vec<Config>) -> Self {
        let mut world = Self {
            now: Instant::from_micros(1),
            stations: Vec::new(),
            loss: 0,
            frames: Vec::new(),
            random: Random::numbered(seed),
        };
        for config in configs {
            world.join(config);
        }
        world.run(Duration::from_secs(5));
        world
    }

    /// A gateway at 10.0.0.1 and 2001:db8::1, and another at .2.
    pub(crate) fn pair(seed: u64) -> Self {
        Self::new(
            seed,
            vec![config(MAC_A, &["10.0.0.1/24", "2001:db8::1/64"]), config(MAC_B, &["10.0.0.2/24", "2001:db8::2/64"])],
        )
    }

    /// One more station.
    pub(crate) fn join(&mut self, config: Config) -> usize {
        let mut link = Link::new(Role::Leader, self.random.fork());
        let mut out = Vec::new();
        let ports: Vec<PortId> = config.ports.iter().map(|port| port.id).collect();
        link.configure(self.now, Arc::new(config), &mut out);
        for port in ports {
            link.link_state(self.now, port, true, &mut out);
        }
        self.stations.push(Station { link, out });
        self.settle();
        self.stations.len() - 1
    }

    pub(crate) fn send(&mut self, from: usize, next_hop: &str, packet: Buffer) {
        self.with(from, |link, now, out| link.send(now, IF, ip(next_hop), packet, out));
    }

    pub(crate) fn with(&mut self, station: usize, action: impl FnOnce(&mut Link, Instant, &mut Vec<Output>)) {
        let Station { link, out } = &mut self.stations[station];
        action(link, self.now, out);
        self.settle();
    }

    /// A frame comes to a station from nowhere.
    pub(crate) fn inject(&mut self, to: usize, frame: &[u8]) {
        self.with(to, |link, now, out| link.frame(now, PORT, Buffer::copy(frame), out));
    }

    /// Carries frames until there are none.
    fn settle(&mut self) {
        loop {
            let mut carried = Vec::new();
            for (from, station) in self.stations.iter_mut().enumerate() {
                station.out = std::mem::take(&mut station.out)
                    .into_iter()
                    .filter_map(|output| match output {
                        Output::Frame { frame, .. } => {
                            carried.push((from, frame));
                            None
                        }
                        other => Some(other),
                    })
                    .collect();
            }
            if carried.is_empty() {
                return;
            }
            for (from, frame) in carried {
                self.frames.push(frame.bytes().to_vec());
                for (to, station) in self.stations.iter_mut().enumerate() {
                    if to != from && !self.random.chance(self.loss, 100) {
                        station.link.frame(self.now, PORT, frame.clone(), &mut station.out);
                    }
                }
            }
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.stations.iter().filter_map(|station| station.link.next_deadline()).min() {
            if at > end {
                break;
            }
            self.now = at.max(self.now);
            for station in &mut self.stations {
                station.link.expire(self.now, &mut station.out);
            }
            self.settle();
        }
        self.now = end;
    }

    pub(crate) fn run_secs(&mut self, secs: u64) {
        self.run(Duration::from_secs(secs));
    }

    /// The packets that a station has handed up since it was asked last.
    pub(crate) fn packets(&mut self, station: usize) -> usize {
        let before = self.stations[station].out.len();
        self.stations[station].out.retain(|output| !matches!(output, Output::Packet { .. }));
        before - self.stations[station].out.len()
    }

    pub(crate) fn logs(&self, station: usize) -> Vec<&Record> {
        let outputs = self.stations[station].out.iter();
        outputs.filter_map(|output| if let Output::Log(record) = output { Some(record) } else { None }).collect()
    }

    pub(crate) fn neighbour(&self, station: usize, address: &str) -> Option<NeighbourStatus> {
        self.stations[station].link.neighbours().find(|neighbour| neighbour.address == ip(address))
    }

    pub(crate) fn state(&self, station: usize, address: &str) -> Option<State> {
        self.neighbour(station, address).map(|neighbour| neighbour.state)
    }

    pub(crate) fn drops(&self, station: usize, reason: Reason) -> u64 {
        self.stations[station].link.counters().drops(reason)
    }
}
