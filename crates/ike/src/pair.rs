//! Two endpoints in memory: virtual time, a network with opinions, and a data path that only counts. The ground that
//! tests, benchmarks and the fuzz harness stand on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base::{Duration, Instant, IpRange, Random, Record, Secret};
use crypto::{Encryption, Group, Integrity, Prf};

use crate::{
    Algorithms, ChildId, ChildSa, Config, Endpoint, LocalIdentity, NatTraversal, Output, Path, RemoteEndpoint,
    Settings, Traffic, Tunnel, TunnelId, Usage,
};

/// The side that tests let begin.
pub const A: usize = 0;
/// The other side.
pub const B: usize = 1;
/// The tunnel of either side.
pub const TUNNEL: TunnelId = TunnelId(1);

/// One datagram under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The side that sent it, or whose name a forger used.
    pub from: usize,
    /// Addresses as the sender sees them.
    pub path: Path,
    /// The IKE message.
    pub message: Vec<u8>,
}

/// What the network does with a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Delivers it after the latency.
    Deliver,
    /// Loses it.
    Drop,
    /// Delivers it twice.
    Duplicate,
    /// Delivers it this much later than others.
    Delay(Duration),
    /// Delivers these bytes in its place.
    Replace(Vec<u8>),
}

/// A NAT in front of side A.
#[derive(Clone, Copy, Debug)]
pub struct Nat {
    /// The address that side B sees.
    pub outside: IpAddr,
    /// Added to every port of side A.
    pub shift: u16,
}

/// A pair of child SAs in the counting data path.
#[derive(Debug)]
pub struct Installed {
    /// As it was handed over.
    pub sa: ChildSa,
    /// May be sent on.
    pub sending: bool,
    /// Was told to stop.
    pub stopped: bool,
}

/// One gateway.
#[derive(Debug)]
pub struct Side {
    /// Its IKE.
    pub endpoint: Endpoint,
    /// Its address.
    pub address: IpAddr,
    /// Its child SAs.
    pub children: BTreeMap<ChildId, Installed>,
    /// Everything logged.
    pub records: Vec<Record>,
    /// Tunnels that failed the packets waiting for them.
    pub failed: usize,
    /// Keep-alives sent.
    pub keep_alives: usize,
    /// Pairs handed to the data path so far.
    pub installs: usize,
    counts: Counts,
}

/// What the data path has counted.
#[derive(Debug, Default)]
struct Counts(BTreeMap<ChildId, Usage>);

impl Traffic for Counts {
    fn usage(&self, child: ChildId) -> Usage {
        self.0.get(&child).copied().unwrap_or_default()
    }
}

/// Decides about each datagram; the number counts them from 0.
pub type Script = Box<dyn FnMut(usize, &Datagram) -> Fate>;

/// Two gateways and the network between them.
pub struct Pair {
    /// Virtual time.
    pub now: Instant,
    /// The gateways.
    pub sides: [Side; 2],
    /// One way.
    pub latency: Duration,
    /// A NAT in front of side A.
    pub nat: Option<Nat>,
    /// Every datagram sent so far, lost ones included.
    pub seen: Vec<Datagram>,
    script: Script,
    under_way: VecDeque<(Instant, Datagram)>,
    outputs: Vec<Output>,
    unreachable: BTreeSet<usize>,
}

impl Pair {
    /// Two gateways with these configurations; chance follows from `seed`.
    pub fn new(seed: u64, configs: [Config; 2]) -> Self {
        let mut random = Random::numbered(seed);
        let mut side = |last| Side {
            endpoint: Endpoint::new(random.fork()),
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)),
            children: BTreeMap::new(),
            records: Vec::new(),
            failed: 0,
            keep_alives: 0,
            installs: 0,
            counts: Counts::default(),
        };
        let mut pair = Self {
            now: Instant::from_micros(1_000_000),
            sides: [side(1), side(2)],
            latency: Duration::from_millis(10),
            nat: None,
            seen: Vec::new(),
            script: Box::new(|_, _| Fate::Deliver),
            under_way: VecDeque::new(),
            outputs: Vec::new(),
            unreachable: BTreeSet::new(),
        };
        let [a, b] = configs;
        pair.configure(A, a);
        pair.configure(B, b);
        pair
    }

    /// Gives a side its configuration.
    pub fn configure(&mut self, side: usize, config: Config) {
        self.act(side, |endpoint, now, out| endpoint.configure(now, config, out));
    }

    /// From now on the network does this.
    pub fn script(&mut self, script: impl FnMut(usize, &Datagram) -> Fate + 'static) {
        self.script = Box::new(script);
    }

    /// From now on nothing reaches a side, or everything does again.
    pub fn cut(&mut self, side: usize, unreachable: bool) {
        if unreachable {
            self.unreachable.insert(side);
        } else {
            self.unreachable.remove(&side);
        }
    }

    /// Side A wants all of its tunnel.
    pub fn connect(&mut self, side: usize) {
        self.act(side, |endpoint, now, out| endpoint.acquire(now, TUNNEL, None, out));
    }

    /// A side loses its memory and starts anew with a configuration.
    pub fn restart(&mut self, side: usize, seed: u64, config: Config) {
        if let Some(own) = self.sides.get_mut(side) {
            own.endpoint = Endpoint::new(Random::numbered(seed));
            own.children.clear();
            own.counts = Counts::default();
        }
        self.configure(side, config);
    }

    /// One call to the endpoint of a side, and what follows from it.
    pub fn act(&mut self, side: usize, act: impl FnOnce(&mut Endpoint, Instant, &mut Vec<Output>)) {
        let mut out = std::mem::take(&mut self.outputs);
        if let Some(own) = self.sides.get_mut(side) {
            act(&mut own.endpoint, self.now, &mut out);
        }
        self.take(side, &mut out);
        self.outputs = out;
    }

    /// Lets time pass, with everything that happens in it.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.next_event().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.step();
        }
        self.now = end;
    }

    /// Delivers what is due and wakes who wants to be woken.
    fn step(&mut self) {
        while let Some(index) = self.under_way.iter().position(|(at, _)| *at <= self.now) {
            if let Some((_, datagram)) = self.under_way.remove(index) {
                self.deliver(&datagram);
            }
        }
        for side in [A, B] {
            let mut out = std::mem::take(&mut self.outputs);
            if let Some(own) = self.sides.get_mut(side)
                && own.endpoint.next_deadline().is_some_and(|(at, _)| at <= self.now)
            {
                own.endpoint.expire(self.now, &own.counts, &mut out);
            }
            self.take(side, &mut out);
            self.outputs = out;
        }
    }

    fn next_event(&self) -> Option<Instant> {
        let arrival = self.under_way.iter().map(|(at, _)| *at).min();
        let wakes = self.sides.iter().filter_map(|side| side.endpoint.next_deadline()).map(|(at, _)| at);
        wakes.chain(arrival).min()
    }

    /// Hands a datagram to the side that did not send it, through the NAT if there is one.
    pub fn deliver(&mut self, datagram: &Datagram) {
        let side = 1 - datagram.from.min(1);
        if self.unreachable.contains(&side) || self.unreachable.contains(&datagram.from) {
            return;
        }
        let Path { local: source, remote: target } = datagram.path;
        let path = match (self.nat, side) {
            (None, _) => Path { local: target, remote: source },
            (Some(nat), B) => {
                let port = source.port().wrapping_add(nat.shift);
                Path { local: target, remote: SocketAddr::new(nat.outside, port) }
            }
            (Some(nat), _) => {
                // Only what goes to the mapping of the day comes through.
                let port = target.port().wrapping_sub(nat.shift);
                if target.ip() != nat.outside || !matches!(port, 500 | 4500) {
                    return;
                }
                let inside = self.sides.first().map_or(target.ip(), |side| side.address);
                Path { local: SocketAddr::new(inside, port), remote: source }
            }
        };
        let mut out = std::mem::take(&mut self.outputs);
        if let Some(own) = self.sides.get_mut(side) {
            own.endpoint.receive(self.now, path, &datagram.message, &own.counts, &mut out);
        }
        self.take(side, &mut out);
        self.outputs = out;
    }

    fn take(&mut self, side: usize, out: &mut Vec<Output>) {
        for output in out.drain(..) {
            let Some(own) = self.sides.get_mut(side) else { continue };
            match output {
                Output::Send { path, message, .. } => self.send(Datagram { from: side, path, message }),
                Output::KeepAlive { .. } => own.keep_alives += 1,
                Output::Install(sa) => {
                    own.installs += 1;
                    let sending = sa.outbound_now;
                    own.children.insert(sa.id, Installed { sa: *sa, sending, stopped: false });
                }
                Output::StopSending(child) => {
                    if let Some(child) = own.children.get_mut(&child) {
                        child.sending = false;
                        child.stopped = true;
                    }
                    own.release(child);
                }
                Output::Remove(child) => {
                    own.children.remove(&child);
                    own.release(child);
                }
                Output::Move { children, path, udp_encapsulated } => {
                    for child in children {
                        if let Some(child) = own.children.get_mut(&child) {
                            child.sa.path = path;
                            child.sa.udp_encapsulated = udp_encapsulated;
                        }
                    }
                }
                Output::Failed { .. } => own.failed += 1,
                Output::Log(record) => own.records.push(record),
            }
        }
    }

    /// Puts a datagram on the network.
    pub fn send(&mut self, datagram: Datagram) {
        let fate = (self.script)(self.seen.len(), &datagram);
        self.seen.push(datagram.clone());
        let at = self.now + self.latency;
        match fate {
            Fate::Deliver => self.under_way.push_back((at, datagram)),
            Fate::Drop => {}
            Fate::Duplicate => {
                self.under_way.push_back((at, datagram.clone()));
                self.under_way.push_back((at, datagram));
            }
            Fate::Delay(delay) => self.under_way.push_back((at + delay, datagram)),
            Fate::Replace(message) => self.under_way.push_back((at, Datagram { message, ..datagram })),
        }
    }

    /// One packet through the tunnel. True when it arrives: there is a pair to send on, and the other side opens it.
    pub fn packet(&mut self, from: usize) -> bool {
        let now = self.now;
        let [a, b] = &mut self.sides;
        let (from, to) = if from == A { (a, b) } else { (b, a) };
        let sender = from.children.iter().rev().find(|(_, child)| child.sending);
        let Some((id, sa)) = sender.map(|(id, child)| (*id, &child.sa)) else { return false };
        let fits = |other: &ChildSa| {
            other.spi_in == sa.spi_out
                && other.encryption == sa.encryption
                && other.encryption_key_in == sa.encryption_key_out
                && other.integrity_key_in == sa.integrity_key_out
        };
        let Some((other, arrived)) = to.children.iter_mut().find(|(_, child)| fits(&child.sa)) else { return false };
        // The first packet of a pair says that the peer has both halves of its keys.
        arrived.sending |= !arrived.stopped;
        let usage = from.counts.0.entry(id).or_default();
        (usage.packets_out, usage.last_out) = (usage.packets_out + 1, Some(now));
        let usage = to.counts.0.entry(*other).or_default();
        (usage.packets_in, usage.last_in) = (usage.packets_in + 1, Some(now));
        true
    }

    /// One packet each way.
    pub fn ping(&mut self) -> bool {
        self.packet(A) && self.packet(B)
    }
}

impl Side {
    /// The pair that another has replaced may not be sent on any more: the other may.
    fn release(&mut self, stopped: ChildId) {
        for child in self.children.values_mut() {
            if child.sa.replaces == Some(stopped) && !child.stopped {
                child.sending = true;
            }
        }
    }

    /// The pairs that may be sent on.
    pub fn sending(&self) -> usize {
        self.children.values().filter(|child| child.sending).count()
    }

    /// Events of this name that were logged.
    pub fn events(&self, name: &str) -> Vec<&Record> {
        self.records.iter().filter(|record| record.meta.name == name).collect()
    }
}

/// The algorithms of a list that both sides have.
pub fn algorithms(ike: bool) -> Algorithms {
    Algorithms {
        name: "High".into(),
        encryption: vec![Encryption::AesCbc(256), Encryption::AesGcm16(256)],
        integrity: vec![Integrity::HmacSha2_256_128],
        prf: if ike { vec![Prf::HmacSha2_256] } else { Vec::new() },
    }
}

/// The tunnel of a side: 10.1.0.0/24 behind A, 10.2.0.0/24 behind B.
pub fn tunnel(side: usize) -> Tunnel {
    let network = |side: usize| {
        let third = if side == A { 1 } else { 2 };
        let first = IpAddr::V4(Ipv4Addr::new(10, third, 0, 0));
        IpRange::network(first, 24).unwrap_or(IpRange::ALL_V4)
    };
    let address = |side: usize| IpAddr::V4(Ipv4Addr::new(192, 0, 2, if side == A { 1 } else { 2 }));
    let other = 1 - side.min(1);
    Tunnel {
        id: TUNNEL,
        name: if side == A { "to-b".into() } else { "to-a".into() },
        local_endpoint: None,
        local_address_hint: Some(address(side)),
        remote_endpoint: RemoteEndpoint::Address(address(other)),
        local_identity: LocalIdentity::Auto,
        psk: Secret::copy(b"correct horse battery staple"),
        psk_name: "shared".into(),
        ike: algorithms(true),
        groups: vec![Group::Curve25519, Group::Ecp256],
        esp: algorithms(false),
        pfs_groups: Vec::new(),
        local_networks: vec![network(side)],
        remote_networks: vec![network(other)],
        ike_lifetime: Duration::from_secs(28_800),
        ipsec_lifetime: Duration::from_secs(3_600),
        ipsec_lifetime_kilobytes: 0,
        dpd_interval: Some(Duration::from_secs(30)),
        nat_traversal: NatTraversal::IfNeeded,
        auto_establish: false,
        sa_per: crate::SaPer::Net,
        esn: true,
        ike_ds: 0,
    }
}

/// A configuration of one tunnel.
pub fn config(tunnel: Tunnel) -> Config {
    Config { tunnels: vec![Arc::new(tunnel)], settings: Settings::default() }
}

/// Two gateways that fit each other, and what is to be changed before they start.
pub fn pair(seed: u64, change: impl FnOnce(&mut Tunnel, &mut Tunnel)) -> Pair {
    let (mut a, mut b) = (tunnel(A), tunnel(B));
    change(&mut a, &mut b);
    Pair::new(seed, [config(a), config(b)])
}
