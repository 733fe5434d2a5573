//! Connections: who opened them, through which interfaces they run, when they end.

use std::net::IpAddr;
use std::sync::Arc;

use base::{Duration, Instant, Severity, Timers};
use wire::ip;

use crate::index::{HashKey, Index};
use crate::inspect::{Key, Seen, Transport};
use crate::tcp_state::{Phase, Step, Tcp};
use crate::{InterfaceId, Settings};

/// Direction of a packet within its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From whoever opened it.
    Forth,
    /// To whoever opened it.
    Back,
}

/// What stands at one side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) interface: InterfaceId,
    pub(crate) place: Place,
}

/// The kind of an interface, without its particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Core,
    Host,
    Tunnel,
}

/// The SA that packets of a direction were last sealed with; valid while the SA still has the same `selection`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CachedSa {
    pub(crate) slot: u32,
    pub(crate) selection: u64,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Flow {
    /// As its opener sends.
    pub(crate) key: Key,
    pub(crate) opener: End,
    pub(crate) other: End,
    tracking: Tracking,
    pub(crate) rule: Arc<str>,
    pub(crate) log: Option<Severity>,
    /// The gateway began it by itself, so no rule was asked.
    pub(crate) originated: bool,
    pub(crate) opened: Instant,
    expires: Instant,
    /// When its timer looks at it; not after `expires` by more than the rounding.
    looked_at: Instant,
}

/// One end: its side, and what it has sent.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) side: Side,
    /// The SA for packets towards this end.
    pub(crate) sa: Option<CachedSa>,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug)]
enum Tracking {
    Tcp(Tcp),
    Udp,
    Ping,
    Other,
}

/// What became of a connection that was looked at.
pub(crate) enum Looked {
    /// Its time was up.
    Expired(Box<Flow>),
    /// It has lived on.
    Lives,
    /// None has to be looked at yet.
    NoneDue,
}

/// What opens a connection.
pub(crate) struct Opening {
    pub(crate) from: Side,
    pub(crate) to: Side,
    pub(crate) rule: Arc<str>,
    pub(crate) log: Option<Severity>,
    pub(crate) originated: bool,
}

impl Flow {
    /// Where packets of this direction come from, and where they go.
    pub(crate) fn ends(&self, way: Way) -> (&End, &End) {
        match way {
            Way::Forth => (&self.opener, &self.other),
            Way::Back => (&self.other, &self.opener),
        }
    }

    /// The end that packets of this direction go to.
    pub(crate) fn towards(&mut self, way: Way) -> &mut End {
        match way {
            Way::Forth => &mut self.other,
            Way::Back => &mut self.opener,
        }
    }

    fn sender(&mut self, way: Way) -> &mut End {
        match way {
            Way::Forth => &mut self.opener,
            Way::Back => &mut self.other,
        }
    }

    /// What listings call its state.
    pub(crate) fn state(&self) -> &'static str {
        match &self.tracking {
            Tracking::Tcp(tcp) => tcp.phase.name(),
            Tracking::Udp => "UDP_OPEN",
            Tracking::Ping => "PING_OPEN",
            Tracking::Other => "RAWIP_OPEN",
        }
    }

    /// What listings call its protocol.
    pub(crate) fn protocol(&self) -> &'static str {
        match &self.tracking {
            Tracking::Tcp(_) => "TCP",
            Tracking::Udp => "UDP",
            Tracking::Ping => "PING",
            Tracking::Other => "RAWIP",
        }
    }

    pub(crate) fn timeout(&self, now: Instant) -> Duration {
        self.expires.since(now)
    }

    fn lifetime(&self, settings: &Settings) -> Duration {
        match &self.tracking {
            Tracking::Tcp(tcp) => match tcp.phase {
                Phase::SynReceived | Phase::SynAckSent => settings.tcp_opening,
                Phase::Open => settings.tcp_established,
                Phase::FinReceived | Phase::ResetReceived => settings.tcp_closing,
            },
            Tracking::Udp => settings.udp,
            Tracking::Ping => settings.ping,
            Tracking::Other => settings.other,
        }
    }
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Flows {
    slots: Vec<Option<Flow>>,
    free: Vec<u32>,
    hash_key: HashKey,
    /// Slots doubled, plus one for the way back.
    index: Index,
    /// When to look at a flow again. Packets do not move it: a flow that has lived on is found out when it is looked at.
    timers: Timers<u32>,
}

impl Flows {
    pub(crate) fn new(hash_key: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            hash_key: HashKey::new(hash_key),
            index: Index::new(),
            timers: Timers::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn find(&self, key: &Key) -> Option<(u32, Way)> {
        let is = |number| {
            self.key_of(number).is_some_and(|(known, way)| match way {
                Way::Forth => known == key,
                Way::Back => known.is_reverse_of(key),
            })
        };
        let number = self.index.find(self.hash_key.hash(&key.words()), is)?;
        Some((number / 2, way_of(number)))
    }

    /// What stands under a number of the index: the key of the flow, and which of its ways.
    fn key_of(&self, number: u32) -> Option<(&Key, Way)> {
        Some((&self.get(number / 2)?.key, way_of(number)))
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Flow> {
        self.slots.get(usize::try_from(slot).ok()?)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Flow> {
        self.slots.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Flow)> {
        (0..).zip(&self.slots).filter_map(|(slot, flow)| flow.as_ref().map(|flow| (slot, flow)))
    }

    /// A new connection; the caller has made sure that it is none yet, and that there may be one more.
    pub(crate) fn open(&mut self, now: Instant, seen: &Seen, opening: Opening, settings: &Settings) -> u32 {
        let key = seen.key();
        let tracking = match &seen.transport {
            Transport::Tcp(syn) => Tracking::Tcp(Tcp::opened(syn)),
            Transport::Udp(_) => Tracking::Udp,
            Transport::Icmp(_) if key.message.is_none() => Tracking::Ping,
            Transport::Icmp(_) | Transport::Other => Tracking::Other,
        };
        let end = |side| End { side, sa: None, packets: 0, bytes: 0 };
        let mut flow = Flow {
            key,
            opener: end(opening.from),
            other: end(opening.to),
            tracking,
            rule: opening.rule,
            log: opening.log,
            originated: opening.originated,
            opened: now,
            expires: now,
            looked_at: now,
        };
        flow.expires = now + flow.lifetime(settings);
        flow.looked_at = look_at(flow.expires);
        let looked_at = flow.looked_at;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(place) = usize::try_from(slot).ok().and_then(|slot| self.slots.get_mut(slot)) {
            *place = Some(flow);
        }
        self.index.insert(self.hash_key.hash(&key.words()), slot << 1);
        // A connection of an address with itself under the same port has one key; it is refused before.
        let reversed = key.reversed();
        if reversed != key {
            self.index.insert(self.hash_key.hash(&reversed.words()), slot << 1 | 1);
        }
        self.timers.set(slot, looked_at);
        slot
    }

    /// A packet of the connection: counts it and puts off the end. [`Step::Another`] when it is none of its packets.
    pub(crate) fn packet(&mut self, now: Instant, slot: u32, way: Way, seen: &Seen, settings: &Settings) -> Step {
        let Some(flow) = self.get_mut(slot) else { return Step::Another };
        if let (Tracking::Tcp(tcp), Transport::Tcp(segment)) = (&mut flow.tracking, &seen.transport)
            && tcp.advance(way, segment) == Step::Another
        {
            return Step::Another;
        }
        let sender = flow.sender(way);
        sender.packets += 1;
        sender.bytes += u64::try_from(seen.ip.total).unwrap_or(0);
        // Only whoever opened a UDP connection keeps it alive: answers alone do not prove that somebody wants them.
        if way == Way::Forth || !matches!(flow.tracking, Tracking::Udp) {
            flow.expires = now + flow.lifetime(settings);
        }
        // Only a shorter time moves the timer: a connection that closes must not wait for the time of an open one.
        if flow.expires < flow.looked_at {
            let at = look_at(flow.expires);
            if at < flow.looked_at {
                flow.looked_at = at;
                self.timers.set(slot, at);
            }
        }
        Step::Pass
    }

    /// Forgets a connection.
    pub(crate) fn close(&mut self, slot: u32) -> Option<Flow> {
        let flow = self.slots.get_mut(usize::try_from(slot).ok()?)?.take()?;
        self.index.remove(self.hash_key.hash(&flow.key.words()), slot << 1);
        self.index.remove(self.hash_key.hash(&flow.key.reversed().words()), slot << 1 | 1);
        self.timers.cancel(&slot);
        self.free.push(slot);
        Some(flow)
    }

    /// Looks at the next connection whose time may be up, and takes it if it is.
    pub(crate) fn look_at_next(&mut self, now: Instant) -> Looked {
        let Some(slot) = self.timers.pop_due(now) else { return Looked::NoneDue };
        let Some(flow) = self.get_mut(slot) else { return Looked::Lives };
        if flow.expires > now {
            flow.looked_at = look_at(flow.expires);
            let at = flow.looked_at;
            self.timers.set(slot, at);
            return Looked::Lives;
        }
        self.close(slot).map_or(Looked::Lives, |flow| Looked::Expired(Box::new(flow)))
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next().map(|(at, _)| at)
    }
}

const fn way_of(number: u32) -> Way {
    if number.is_multiple_of(2) { Way::Forth } else { Way::Back }
}

/// Flows are looked at on whole seconds, so that many that end together cost one wake-up.
fn look_at(expires: Instant) -> Instant {
    Instant::from_micros(expires.as_micros().saturating_add(999_999) / 1_000_000 * 1_000_000)
}

/// One connection, as listings show it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionStatus {
    /// State: `TCP_OPEN`, `UDP_OPEN`, `PING_OPEN` and so on.
    pub state: &'static str,
    /// `TCP`, `UDP`, `PING` or `RAWIP`.
    pub protocol: &'static str,
    /// IP protocol number.
    pub protocol_number: u8,
    /// Who opened it.
    pub source: Endpoint,
    /// To whom.
    pub destination: Endpoint,
    /// Time until it ends, unless a packet comes.
    pub timeout: Duration,
    /// The rule that allowed it.
    pub rule: Arc<str>,
    /// When it was opened.
    pub opened: Instant,
}

/// One end of a connection, as listings show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Name of the interface.
    pub interface: Arc<str>,
    /// Address.
    pub address: IpAddr,
    /// Port; of an echo its identifier at the side that asks; otherwise 0.
    pub port: u16,
    /// Packets it has sent.
    pub packets: u64,
    /// Bytes it has sent, IP headers included.
    pub bytes: u64,
}

impl Flow {
    pub(crate) fn status(&self, now: Instant, name: impl Fn(InterfaceId) -> Arc<str>) -> ConnectionStatus {
        let endpoint = |end: &End, address, port| Endpoint {
            interface: name(end.side.interface),
            address,
            port,
            packets: end.packets,
            bytes: end.bytes,
        };
        ConnectionStatus {
            state: self.state(),
            protocol: self.protocol(),
            protocol_number: self.key.protocol,
            source: endpoint(&self.opener, self.key.source, self.key.ports.0),
            destination: endpoint(&self.other, self.key.destination, self.key.ports.1),
            timeout: self.timeout(now),
            rule: self.rule.clone(),
            opened: self.opened,
        }
    }

    /// What asks the rules again: the packet that would open this connection, as far as rules look at it.
    pub(crate) fn opening_packet(&self) -> Seen {
        let (source, destination) = self.key.ports;
        let transport = match self.key.protocol {
            ip::TCP => Transport::Tcp(wire::tcp::Header {
                source,
                destination,
                sequence: 0,
                acknowledgement: 0,
                flags: wire::tcp::SYN,
                len: wire::tcp::HEADER,
                space: 1,
            }),
            ip::UDP => Transport::Udp(wire::udp::Header { source, destination }),
            ip::ICMP | ip::ICMPV6 if matches!(self.tracking, Tracking::Ping) => {
                let kind = if self.key.protocol == ip::ICMP { 8 } else { 128 };
                let class = wire::icmp::Class::Request(source);
                Transport::Icmp(wire::icmp::Header { kind, code: 0, class })
            }
            ip::ICMP | ip::ICMPV6 if let Some((kind, code)) = self.key.message => {
                Transport::Icmp(wire::icmp::Header { kind, code, class: wire::icmp::Class::Other })
            }
            _ => Transport::Other,
        };
        let ip = ip::Header {
            source: self.key.source,
            destination: self.key.destination,
            ds: 0,
            ttl: 64,
            protocol: self.key.protocol,
            payload: 0,
            total: 0,
            whole: false,
            fragment: None,
        };
        Seen { ip, transport }
    }
}
