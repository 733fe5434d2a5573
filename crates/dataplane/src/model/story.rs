//! The engine and the model side by side: what happens to one happens to the other, and what comes of it is compared.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use base::{Buffer, Duration, Instant, Selector};
use crypto::{Encryption, Integrity, Sealer};

use super::packet::{Body, Data, Key, Message, Packet, message_of};
use super::reader::{PEER, Reader, Step, TUNNEL, Way};
use super::{Answer, From, Model, Oracle, Sent, To};
use crate::{Control, Dataplane, InterfaceKind, Mode, Outer, Output, Policy, Reason, Sa, SaId, SaParameters};

const SPI: u32 = 0x1001;
const KEY: [u8; 32] = [7; 32];
const INTEGRITY: Integrity = Integrity::HmacSha2_256_128;
const ICV: usize = 16;
const OURS: &str = "203.0.113.1";
/// Packets that later ones refer to.
const REMEMBERED: usize = 5;

/// Makes a story of the bytes, and has the engine and the model live through it. Panics when they disagree, with the shortest
/// story found in which they do.
pub fn run(bytes: &[u8]) {
    let (policy, mut steps) = Reader(bytes).story();
    let Some((mut last, mut told)) = disagreement(&policy, &steps) else { return };
    // Nothing behind it matters; of what is before it as little as possible is kept.
    loop {
        steps.truncate(last + 1);
        let shorter = (0..last).rev().find_map(|at| {
            let mut shorter = steps.clone();
            shorter.remove(at);
            disagreement(&policy, &shorter).map(|(last, told)| (shorter, last, told))
        });
        match shorter {
            Some(shorter) => (steps, last, told) = shorter,
            None => break,
        }
    }
    let agreed = false;
    assert!(agreed, "{told}");
}

/// First inputs for the fuzz target.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut random = base::Random::numbered(1);
    let seed = |len: usize| {
        let mut bytes = vec![0; len];
        random.fill(&mut bytes);
        bytes
    };
    [200, 300, 400, 500].repeat(5).into_iter().map(seed).collect()
}

/// The step of the first disagreement, and what is told of it.
fn disagreement(policy: &Policy, steps: &[Step]) -> Option<(usize, String)> {
    let mut pair = Pair::new(policy);
    for (number, step) in steps.iter().enumerate() {
        let _ = writeln!(pair.told, "{number}. {step:?}");
        if !pair.step(step) {
            return Some((number, format!("{policy:#?}\n{}", pair.told)));
        }
    }
    None
}

/// One connection as both have it.
#[derive(Debug, PartialEq)]
struct Row {
    near: Key,
    far: Key,
    interfaces: (u32, u32),
    state: &'static str,
    timeout: Duration,
}

struct Pair {
    now: Instant,
    engine: Dataplane,
    model: Model,
    sealer: Option<Sealer>,
    sequence: u32,
    /// The last packets that came in, and that went out.
    received: VecDeque<(Way, Packet)>,
    sent: VecDeque<(To, Vec<u8>)>,
    told: String,
}

impl Pair {
    fn new(policy: &Policy) -> Self {
        let now = Instant::from_micros(1_000_000_000);
        let policy = Arc::new(policy.clone());
        let mut engine = Dataplane::new(Arc::clone(&policy));
        for interface in &policy.interfaces {
            let InterfaceKind::Tunnel(path) = &interface.kind else { continue };
            let selectors = |ranges: &[base::IpRange]| ranges.iter().copied().map(Selector::all).collect::<Vec<_>>();
            let parameters = SaParameters {
                id: SaId(1),
                tunnel: TUNNEL,
                mode: Mode::Tunnel,
                spi_in: SPI,
                spi_out: SPI,
                encryption: Encryption::Null,
                integrity: Some(INTEGRITY),
                encryption_key_in: &[],
                integrity_key_in: &KEY,
                encryption_key_out: &[],
                integrity_key_out: &KEY,
                esn: false,
                replay_window: 64,
                local: &selectors(&path.local_networks),
                remote: &selectors(&path.remote_networks),
                outer: outer(),
                outbound_now: true,
                replaces: None,
                soft_bytes: None,
                hard_bytes: None,
            };
            let install = |sa| engine.control(now, Control::Install(sa), &mut Vec::new());
            assert_eq!(Sa::new(&parameters).and_then(install), Ok(()));
        }
        let sealer = Sealer::new(Encryption::Null, Some(INTEGRITY), &[], &KEY).ok();
        Self {
            now,
            engine,
            model: Model::new(policy, now),
            sealer,
            sequence: 0,
            received: VecDeque::new(),
            sent: VecDeque::new(),
            told: String::new(),
        }
    }

    /// True when both do the same.
    fn step(&mut self, step: &Step) -> bool {
        match step {
            Step::Packet(way, packet) => self.packet(*way, packet),
            Step::Damaged(way, packet, at, bit) => self.bytes(*way, &damaged(packet, *at, *bit)),
            Step::Reply { which, variant } => match self.sent.get(*which).cloned() {
                Some((to, bytes)) => match Packet::read(&bytes) {
                    Ok(packet) => self.packet(back(to), &reply(packet, *variant)),
                    Err(_) => true,
                },
                None => true,
            },
            Step::Again { which, variant, way } => match self.received.get(*which).cloned() {
                Some((came, packet)) => self.packet(way.unwrap_or(came), &again(packet, *variant)),
                None => true,
            },
            Step::Error { which, router, kind, quoted, way } => match self.sent.get(*which).cloned() {
                Some((to, bytes)) => match error(&bytes, *router, *kind, *quoted) {
                    Some(packet) => self.packet(way.unwrap_or(back(to)), &packet),
                    None => true,
                },
                None => true,
            },
            Step::Wait(seconds) => {
                self.now += Duration::from_secs(*seconds);
                self.model.advance(self.now);
                self.expire()
            }
            Step::Replace(policy) => self.control(&Control::Replace(Arc::clone(policy))),
            Step::AddRoutes(routes) => self.control(&Control::AddRoutes(routes.clone())),
            Step::RemoveRoutes(routes) => self.control(&Control::RemoveRoutes(routes.clone())),
        }
    }

    fn control(&mut self, control: &Control) -> bool {
        let done = self.engine.control(self.now, control.clone(), &mut Vec::new());
        assert_eq!(done, Ok(()));
        self.model.control(control);
        self.expire()
    }

    fn expire(&mut self) -> bool {
        while self.engine.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.engine.expire(self.now, &mut Vec::new());
        }
        self.same_connections()
    }

    fn packet(&mut self, way: Way, packet: &Packet) -> bool {
        let _ = writeln!(self.told, "   by {way:?}: {packet:?}");
        self.received.push_front((way, packet.clone()));
        self.received.truncate(REMEMBERED);
        self.bytes(way, &packet.write())
    }

    fn bytes(&mut self, way: Way, bytes: &[u8]) -> bool {
        let mut out = Vec::new();
        let before = self.engine.counters().clone();
        let (packet, now) = (Buffer::copy(bytes), self.now);
        let from = match way {
            Way::Host => {
                self.engine.plain(now, packet, &mut out);
                From::Host
            }
            Way::Port(interface) => {
                self.engine.link(now, interface, packet, &mut out);
                From::Port(interface)
            }
            Way::Originated => {
                self.engine.originate(now, packet, &mut out);
                From::Originated
            }
            Way::Tunnel => {
                let sealed = self.sealed(bytes);
                self.engine.esp(now, outer(), 0, Buffer::copy(&sealed), &mut out);
                From::Tunnel(TUNNEL, (outer().remote.ip(), outer().local.ip()))
            }
        };
        let after = self.engine.counters();
        let counted = |reason: &Reason| {
            let count = usize::try_from(after.drops(*reason) - before.drops(*reason)).unwrap_or(0);
            std::iter::repeat_n(*reason, count)
        };
        let drops = Reason::ALL.iter().flat_map(counted).collect();
        let engine = Answer { sent: out.iter().filter_map(sent).collect(), drops };
        let flows = self.engine.flows.iter().map(|(_, flow)| (key(&flow.key), key(flow.far_key()))).collect();
        let mut model = self.model.packet(from, bytes, Oracle { flows });
        model.drops.sort_unstable();
        let agree = self.model.wrong.is_none()
            && model.drops == engine.drops
            && model.sent.len() == engine.sent.len()
            && model.sent.iter().zip(&engine.sent).all(|(model, engine)| alike(model, engine));
        self.tell("engine", &engine);
        if !agree {
            self.tell("model ", &model);
            if let Some(wrong) = &self.model.wrong {
                let _ = writeln!(self.told, "   {wrong}");
            }
            return false;
        }
        for Sent { to, packet, .. } in engine.sent {
            if wire::ip::Header::parse(&packet).is_ok_and(|header| header.fragment.is_none()) {
                self.sent.push_front((to, packet));
            }
        }
        self.sent.truncate(REMEMBERED);
        self.same_connections()
    }

    fn tell(&mut self, who: &str, answer: &Answer) {
        for Sent { to, packet, .. } in &answer.sent {
            let _ = match Packet::read(packet) {
                Ok(read) => writeln!(self.told, "   {who}: {to:?} {read:?}\n      {}", hex(packet)),
                Err(reason) => writeln!(self.told, "   {who}: {to:?} {reason:?} {}", hex(packet)),
            };
        }
        let _ = writeln!(self.told, "   {who}: drops {:?}", answer.drops);
    }

    fn same_connections(&mut self) -> bool {
        let row = |(_, flow): (u32, &crate::flows::Flow)| Row {
            near: key(&flow.key),
            far: key(flow.far_key()),
            interfaces: (flow.opener.side().interface.0, flow.other.side().interface.0),
            state: flow.state(),
            timeout: flow.timeout(self.now),
        };
        let mut engine: Vec<Row> = self.engine.flows.iter().map(row).collect();
        let mut model: Vec<Row> = (self.model.flows.iter())
            .map(|flow| Row {
                near: flow.near,
                far: flow.far,
                interfaces: (flow.opener.interface.0, flow.other.interface.0),
                state: flow.state(),
                timeout: flow.until.since(self.now),
            })
            .collect();
        let by =
            |row: &Row| (row.near.source, row.near.destination, row.near.protocol, row.near.ports, row.near.message);
        engine.sort_by_key(by);
        model.sort_by_key(by);
        if engine != model {
            let _ = writeln!(self.told, "   connections of the engine: {engine:#?}\n   of the model: {model:#?}");
        }
        engine == model
    }

    /// As the peer seals it.
    fn sealed(&mut self, inner: &[u8]) -> Vec<u8> {
        self.sequence += 1;
        let header = wire::esp::Header { spi: SPI, sequence: self.sequence }.bytes();
        let mut text = inner.to_vec();
        let padding =
            (0..4_u8).find(|padding| (inner.len() + usize::from(*padding) + 2).is_multiple_of(4)).unwrap_or(0);
        text.extend(1..=padding);
        text.extend([padding, if inner.first().is_some_and(|first| first >> 4 == 6) { 41 } else { 4 }]);
        let mut icv = [0; ICV];
        if let Some(sealer) = &self.sealer {
            assert_eq!(sealer.seal(&[], &header, &[], &mut text, &mut icv), Ok(()));
        }
        [&header[..], &text, &icv].concat()
    }
}

/// What was sealed; it is not encrypted.
fn unsealed(packet: &[u8]) -> Vec<u8> {
    let text = packet.len().checked_sub(ICV).and_then(|end| packet.get(wire::esp::HEADER..end)).unwrap_or_default();
    let trailer = text.len().checked_sub(2).and_then(|at| text.get(at)).map_or(0, |padding| usize::from(*padding) + 2);
    text.get(..text.len().saturating_sub(trailer)).unwrap_or_default().to_vec()
}

fn sent(output: &Output) -> Option<Sent> {
    let (to, packet) = match output {
        Output::Plain { interface, packet, .. } => (To::Host(*interface), packet.bytes().to_vec()),
        Output::Local { from, packet, .. } => (To::Local(*from), packet.bytes().to_vec()),
        Output::Outer { ds, packet, .. } => (To::Tunnel(TUNNEL, *ds), unsealed(packet.bytes())),
        Output::Link { interface, next_hop, packet } => match wire::ip::Header::parse(packet.bytes()) {
            Ok(header) if header.protocol == wire::ip::ESP && header.destination == outer().remote.ip() => {
                (To::Tunnel(TUNNEL, header.ds), unsealed(header.payload_of(packet.bytes())))
            }
            _ => (To::Port(*interface, *next_hop), packet.bytes().to_vec()),
        },
        Output::Log(_) => return None,
        Output::Ike { payload, .. } => (To::Local(crate::CORE), payload.bytes().to_vec()),
        Output::Exception(exception) => (To::Local(crate::CORE), format!("{exception:?}").into_bytes()),
    };
    Some(Sent { to, packet, any_id: false })
}

/// True when the engine has sent what the model says, with an identification of its choice where it has one.
fn alike(model: &Sent, engine: &Sent) -> bool {
    let mut expected = model.packet.clone();
    if model.any_id {
        let id = super::packet::word(&engine.packet, 4).unwrap_or(0);
        if id == 0 {
            return false;
        }
        super::packet::put(&mut expected, 4, id);
        super::packet::put(&mut expected, 10, 0);
        let sum = super::packet::checksum(expected.get(..20).unwrap_or_default());
        super::packet::put(&mut expected, 10, sum);
    }
    model.to == engine.to && expected == engine.packet
}

/// The first bytes.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(80) {
        let _ = write!(text, "{byte:02x}");
    }
    let _ = write!(text, " ({} bytes)", bytes.len());
    text
}

fn key(key: &crate::inspect::Key) -> Key {
    let crate::inspect::Key { source, destination, protocol, ports, message } = *key;
    Key { source, destination, protocol, ports, message }
}

fn outer() -> Outer {
    let address = |text: &str| text.parse().unwrap_or(IpAddr::from([0; 4]));
    Outer { local: (address(OURS), 0).into(), remote: (address(PEER), 0).into(), udp: false }
}

/// The way that answers take to a packet that was sent there.
fn back(to: To) -> Way {
    match to {
        To::Host(_) => Way::Host,
        To::Port(interface, _) => Way::Port(interface),
        To::Tunnel(..) => Way::Tunnel,
        To::Local(_) => Way::Originated,
    }
}

fn damaged(packet: &Packet, at: usize, bit: Option<u8>) -> Vec<u8> {
    let mut bytes = packet.write();
    match bit {
        Some(bit) if packet.v4() => {
            if let Some(byte) = bytes.get_mut(at % 20) {
                *byte ^= 1 << (bit % 8);
            }
        }
        Some(bit) => {
            let short = vec![bit; at % 8];
            return Packet { body: Body::Other { protocol: 6, data: Data(short) }, ..packet.clone() }.write();
        }
        None if at % 4 == 3 => {
            let short = vec![0; at % 8];
            return Packet { body: Body::Other { protocol: 17, data: Data(short) }, ..packet.clone() }.write();
        }
        None => bytes.truncate(at),
    }
    bytes
}

fn reply(packet: Packet, variant: u8) -> Packet {
    let v4 = packet.v4();
    let body = match packet.body {
        Body::Tcp(segment) => Body::Tcp(Reader::next_segment(&segment, variant, true)),
        Body::Udp { ports, sum, data } => Body::Udp { ports: (ports.1, ports.0), sum, data },
        Body::Icmp { kind, rest, data, .. } if message_of(kind, v4) == Message::Request && variant % 8 != 7 => {
            Body::Icmp { kind: if v4 { 0 } else { 129 }, code: 0, rest, data }
        }
        body => body,
    };
    let ttl = if variant == 255 { 1 } else { 60 };
    Packet { source: packet.destination, destination: packet.source, ttl, body, ..packet }
}

fn again(packet: Packet, variant: u8) -> Packet {
    let body = match packet.body {
        Body::Tcp(segment) => Body::Tcp(Reader::next_segment(&segment, variant, false)),
        body => body,
    };
    let ttl = if variant == 255 { 1 } else { packet.ttl };
    Packet { body, ttl, ..packet }
}

/// The error about a packet: from where it went, or from a router.
fn error(offender: &[u8], router: Option<IpAddr>, kind: u8, quoted: usize) -> Option<Packet> {
    let about = Packet::read(offender).ok()?;
    let v4 = about.v4();
    let (kind, code) = match (v4, kind % 4) {
        (true, 0) => (3, 4),
        (true, 1) => (11, 0),
        (true, 2) => (3, 3),
        (true, _) => (12, 0),
        (false, which) => (which + 1, 0),
    };
    let source = router.filter(|router| router.is_ipv4() == v4).unwrap_or(about.destination);
    let data = Data(offender.get(..offender.len().min(quoted))?.to_vec());
    let body = Body::Icmp { kind, code, rest: [0, 0, 5, 0], data };
    Some(Packet { source, destination: about.source, ds: 0, ttl: 60, id: 5, whole: true, body })
}
