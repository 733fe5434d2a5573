//! Connections, in a list.

use std::sync::Arc;

use base::{Duration, Instant};

use super::packet::{Body, Data, Key, Message, Packet, Segment};
use super::tcp::{State, Tcp, Verdict};
use crate::{InterfaceId, NatPool, ServiceTimeouts, Settings};

/// An interface, and the gateway behind it that a route names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct End {
    pub(super) interface: InterfaceId,
    pub(super) gateway: Option<std::net::IpAddr>,
}

#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// As its opener sends.
    pub(super) near: Key,
    /// As its opener's packets leave.
    pub(super) far: Key,
    pub(super) opener: End,
    pub(super) other: End,
    pub(super) timeouts: ServiceTimeouts,
    /// The gateway itself began it: no rule was asked.
    pub(super) originated: bool,
    pub(super) pool: Option<Arc<NatPool>>,
    pub(super) tcp: Option<Tcp>,
    /// The other side has sent something.
    pub(super) answered: bool,
    pub(super) until: Instant,
    /// Policy or routes have changed since it was judged.
    pub(super) stale: bool,
}

impl Flow {
    pub(super) fn lifetime(&self, settings: &Settings) -> Duration {
        let (own, usual) = match (&self.tcp, self.near.protocol) {
            (Some(tcp), _) => match tcp.state {
                State::Opening | State::Answered => (self.timeouts.initial, settings.tcp_opening),
                State::Open => (self.timeouts.idle, settings.tcp_established),
                State::Finished | State::Reset => (self.timeouts.closing, settings.tcp_closing),
            },
            (None, 17) if !self.answered => (self.timeouts.initial, settings.udp),
            (None, 17) => (self.timeouts.idle, settings.udp),
            (None, 1 | 58) if self.is_echo() => (self.timeouts.idle, settings.ping),
            (None, 2) => (self.timeouts.idle, settings.igmp),
            (None, _) => (self.timeouts.idle, settings.other),
        };
        own.unwrap_or(usual)
    }

    /// Of ICMP in the other family there are no echoes.
    pub(super) fn is_echo(&self) -> bool {
        self.near.message.is_none() && self.near.protocol == if self.near.source.is_ipv4() { 1 } else { 58 }
    }

    /// A packet of the connection: it lives on, unless it is none of its packets.
    pub(super) fn packet(&mut self, now: Instant, forth: bool, packet: &Packet, settings: &Settings) -> Verdict {
        if let (Some(tcp), Body::Tcp(segment)) = (&mut self.tcp, &packet.body) {
            let verdict = tcp.segment(forth, segment);
            if verdict != Verdict::Passes {
                return verdict;
            }
        }
        self.answered |= !forth;
        // Answers do not keep a UDP connection alive, unless the settings say so.
        if forth || self.near.protocol != 17 || settings.udp_both_ways {
            self.until = now + self.lifetime(settings);
        }
        Verdict::Passes
    }

    /// Both sides have spoken, and neither has ended it.
    pub(super) fn both_speak(&self) -> bool {
        self.tcp.as_ref().map_or(self.answered, |tcp| tcp.state == State::Open)
    }

    /// How long nothing has kept it alive.
    pub(super) fn idle(&self, now: Instant, settings: &Settings) -> Duration {
        self.lifetime(settings).saturating_sub(self.until.since(now))
    }

    pub(super) fn state(&self) -> &'static str {
        match &self.tcp {
            Some(tcp) => match tcp.state {
                State::Opening => "SYN_RECV",
                State::Answered => "SYNACK_S",
                State::Open => "TCP_OPEN",
                State::Finished => "FIN_RECV",
                State::Reset => "RST_RECV",
            },
            None if self.near.protocol == 17 => "UDP_OPEN",
            None if self.is_echo() => "PING_OPEN",
            None => "RAWIP_OPEN",
        }
    }

    /// The packet that would open it, as far as rules look at it.
    pub(super) fn opening_packet(&self) -> Packet {
        let ports = self.near.ports;
        let v4 = self.near.source.is_ipv4();
        let body = match (self.near.protocol, self.near.message) {
            (6, _) => Body::Tcp(Segment {
                ports,
                sequence: 0,
                acknowledgement: 0,
                flags: super::packet::SYN,
                window: 0,
                mss: None,
                scale: None,
                data: Data::default(),
            }),
            (17, _) => Body::Udp { ports, sum: true, data: Data::default() },
            (1 | 58, Some((kind, code))) => Body::Icmp { kind, code, rest: [0; 4], data: Data::default() },
            (1 | 58, None) if self.is_echo() => {
                Body::Icmp { kind: if v4 { 8 } else { 128 }, code: 0, rest: [0; 4], data: Data::default() }
            }
            (protocol, _) => Body::Other { protocol, data: Data::default() },
        };
        let (source, destination) = (self.near.source, self.near.destination);
        Packet { source, destination, ds: 0, ttl: 64, id: 0, whole: false, body }
    }
}

/// True for a packet that may be the first of a connection.
pub(super) fn may_open(packet: &Packet) -> bool {
    use super::packet::{ACK, RST, SYN};
    match &packet.body {
        Body::Tcp(segment) => segment.has(SYN) && !segment.has(ACK) && !segment.has(RST),
        Body::Icmp { .. } => !matches!(packet.message(), Some(Message::Reply | Message::Error)),
        Body::Udp { .. } | Body::Other { .. } => true,
    }
}
