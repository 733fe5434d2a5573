//! One connection: who opened it, through which interfaces it runs, what it has carried, how long it lives.

use std::sync::Arc;

use base::{Duration, Instant, Severity};
use wire::ip;

use super::tcp::{Phase, Tcp};
use crate::inspect::{Key, Seen, Transport};
use crate::nat::NatPool;
use crate::path::judge::Own;
use crate::{InterfaceId, ServiceTimeouts, Settings};

/// Direction of a packet within its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From whoever opened it.
    Forth,
    /// To whoever opened it.
    Back,
}

impl Way {
    /// The other direction.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Forth => Self::Back,
            Self::Back => Self::Forth,
        }
    }
}

/// What stands at one side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) interface: InterfaceId,
    /// The number of the next hop behind a packet port; 0 where that is the destination itself.
    pub(crate) hop: u32,
    pub(crate) place: Place,
}

/// The kind of an interface, without its particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Core = 0,
    Host = 1,
    Port = 2,
    Tunnel = 3,
}

/// The SA that packets of a direction were last sealed with; valid while the SA still has the same `selection`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CachedSa {
    pub(crate) slot: u32,
    pub(crate) selection: u64,
}

/// What a rule has said of connections; one for all of them.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// The rule's name.
    pub(crate) rule: Arc<str>,
    pub(crate) log: Option<Severity>,
    pub(crate) timeouts: ServiceTimeouts,
    /// Whether the gateway began it by itself.
    pub(crate) own: Own,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Flow {
    /// As its opener sends.
    pub(crate) key: Key,
    /// What the other end sees instead, where that differs.
    pub(crate) translated: Option<Box<Translated>>,
    pub(crate) opener: End,
    pub(crate) other: End,
    pub(super) tracking: Tracking,
    pub(crate) verdict: Arc<Verdict>,
    /// The policy and routes it was judged under.
    pub(crate) judged: u32,
    pub(crate) opened: Instant,
    pub(super) expires: Instant,
    pub(super) due: super::due::Link,
}

/// How the other end sees a connection.
#[derive(Debug)]
pub(crate) struct Translated {
    /// As packets of the opener leave.
    pub(crate) key: Key,
    /// The pool its source address is from.
    pub(crate) pool: Option<Arc<NatPool>>,
}

/// One end: its side, and what it has sent. A million connections have two million of them, so the kind of the interface
/// shares a word with the number of the next hop, or, as no tunnel has a next hop, with that of the SA.
#[derive(Debug)]
pub(crate) struct End {
    interface: InterfaceId,
    /// The place in the upper two bits; below them the next hop behind a packet port, or the slot of the SA for packets
    /// towards this end.
    place_and_number: u32,
    /// That of the SA; 0 for none.
    selection: u64,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

const NUMBER: u32 = (1 << 30) - 1;

impl End {
    pub(super) fn new(side: Side) -> Self {
        let Side { interface, hop, place } = side;
        let place_and_number = (place as u32) << 30 | hop.min(NUMBER);
        Self { interface, place_and_number, selection: 0, packets: 0, bytes: 0 }
    }

    /// Where it is.
    pub(crate) fn side(&self) -> Side {
        let place = match self.place_and_number >> 30 {
            0 => Place::Core,
            1 => Place::Host,
            2 => Place::Port,
            _ => Place::Tunnel,
        };
        let hop = if place == Place::Port { self.place_and_number & NUMBER } else { 0 };
        Side { interface: self.interface, hop, place }
    }

    /// It is elsewhere now.
    pub(crate) fn moves(&mut self, side: Side) {
        if self.side() != side {
            *self = Self { packets: self.packets, bytes: self.bytes, ..Self::new(side) };
        }
    }

    /// The SA for packets towards it.
    pub(crate) fn sa(&self) -> Option<CachedSa> {
        let slot = self.place_and_number & NUMBER;
        (self.selection != 0).then_some(CachedSa { slot, selection: self.selection })
    }

    /// Remembers the SA for packets towards it, if it is a tunnel.
    pub(crate) fn remember_sa(&mut self, sa: CachedSa) {
        if self.side().place == Place::Tunnel && sa.slot <= NUMBER {
            self.place_and_number = self.place_and_number & !NUMBER | sa.slot;
            self.selection = sa.selection;
        }
    }
}

#[derive(Debug)]
pub(super) enum Tracking {
    Tcp(Tcp),
    Udp,
    Ping,
    Other,
}

impl Tracking {
    pub(super) fn of(seen: &Seen, key: &Key) -> Self {
        match &seen.transport {
            Transport::Tcp(syn) => Self::Tcp(Tcp::opened(syn)),
            Transport::Udp(_) => Self::Udp,
            Transport::Icmp(_) if key.message.is_none() => Self::Ping,
            Transport::Icmp(_) | Transport::Other => Self::Other,
        }
    }
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

    pub(super) fn sender(&mut self, way: Way) -> &mut End {
        match way {
            Way::Forth => &mut self.opener,
            Way::Back => &mut self.other,
        }
    }

    /// Something of every part of it that a packet needs: reading it brings these near.
    #[inline]
    pub(crate) fn lies_near(&self) -> u64 {
        let ends = self.opener.packets ^ self.opener.selection ^ self.other.packets ^ self.other.bytes;
        let times = self.expires.as_micros() ^ self.opened.as_micros() ^ u64::from(self.due.second());
        ends ^ times ^ u64::from(self.key.protocol) ^ u64::from(self.judged)
    }

    /// As packets of the opener leave.
    pub(crate) fn far_key(&self) -> &Key {
        self.translated.as_ref().map_or(&self.key, |translated| &translated.key)
    }

    /// As packets of this direction arrive, and as they leave.
    pub(crate) fn keys(&self, way: Way) -> (Key, Key) {
        match way {
            Way::Forth => (self.key, *self.far_key()),
            Way::Back => (self.far_key().reversed(), self.key.reversed()),
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

    /// True when both ends have spoken, and neither has ended it.
    pub(super) fn is_answered(&self) -> bool {
        match &self.tracking {
            Tracking::Tcp(tcp) => tcp.phase == Phase::Open,
            Tracking::Udp | Tracking::Ping | Tracking::Other => self.other.packets > 0,
        }
    }

    /// How long nothing has kept it alive.
    pub(super) fn idle(&self, now: Instant, settings: &Settings) -> Duration {
        let lifetime = self.lifetime(settings);
        let left = self.expires.since(now);
        lifetime.saturating_sub(left)
    }

    pub(super) fn lifetime(&self, settings: &Settings) -> Duration {
        let service = &self.verdict.timeouts;
        let (own, usual) = match &self.tracking {
            Tracking::Tcp(tcp) => match tcp.phase {
                Phase::SynReceived | Phase::SynAckSent => (service.initial, settings.tcp_opening),
                Phase::Open => (service.idle, settings.tcp_established),
                Phase::FinReceived | Phase::ResetReceived => (service.closing, settings.tcp_closing),
            },
            Tracking::Udp if self.other.packets == 0 => (service.initial, settings.udp),
            Tracking::Udp => (service.idle, settings.udp),
            Tracking::Ping => (service.idle, settings.ping),
            Tracking::Other if self.key.protocol == ip::IGMP => (service.idle, settings.igmp),
            Tracking::Other => (service.idle, settings.other),
        };
        own.unwrap_or(usual)
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
                window: 0,
                window_scale: None,
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
