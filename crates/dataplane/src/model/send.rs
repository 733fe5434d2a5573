//! On to where a packet goes, and what its sender is told when it goes nowhere.

use std::net::IpAddr;

use super::decide::{Going, Refusal, Tell};
use super::flows::End;
use super::packet::{ACK, Body, Data, Message, Packet, RST, SYN, Segment};
use super::routing::Routing;
use super::{From, Model, Sent, To};
use crate::{CORE, InterfaceId, InterfaceKind, Reason};

impl Model {
    /// Translated, delivered to the gateway itself or one hop older, its segment size bounded, cut if it must be.
    pub(super) fn forward(&mut self, from: From, packet: Packet, going: Going) {
        let original = packet.clone();
        let mut packet = match going.flow {
            Some(flow) => self.translated(packet, flow),
            None => packet,
        };
        if going.to.interface == CORE {
            return self.deliver(packet, going);
        }
        let mut ttl = original.ttl;
        if going.from.interface != CORE {
            ttl -= 1;
            packet.ttl = ttl;
        }
        let clamped = self.clamp(&mut packet, going);
        let mtu = match self.kind(going.to.interface) {
            InterfaceKind::Tunnel(_) if !self.fits_tunnel(going.to.interface, packet.source, packet.destination) => {
                return self.refuse(from, &original, Reason::OutsideTunnel.into());
            }
            InterfaceKind::Tunnel(_) => self.tunnel_takes(going.to.interface, packet.v4()),
            InterfaceKind::Port => self.mtu(going.to.interface),
            InterfaceKind::Host | InterfaceKind::Core => usize::MAX,
        };
        // Routers behind us may cut what is forwarded, and we what is our own. What may be cut needs an identification, and
        // what might not had none that means anything.
        let may = packet.v4() && packet.whole && packet.len() <= usize::from(self.policy.settings.strip_df_max);
        let any_id = may && (going.from.interface != CORE || packet.len() > mtu);
        packet.whole &= !any_id;
        let pieces = if packet.len() <= mtu { Some(vec![packet.write()]) } else { packet.pieces(mtu) };
        let Some(pieces) = pieces else {
            // Told is who sent it, of what they sent, one hop older.
            let mut original = Packet { ttl, ..original };
            if let (Body::Tcp(segment), Some(mss)) = (&mut original.body, clamped) {
                segment.mss = Some(mss);
            }
            let refusal = Refusal { reason: Reason::TooBig, tell: Some(Tell::TooBig(mtu)) };
            return self.refuse(from, &original, refusal);
        };
        let to = self.to(&packet, going.to);
        self.answer.sent.extend(pieces.into_iter().map(|packet| Sent { to, packet, any_id }));
    }

    fn to(&self, packet: &Packet, end: End) -> To {
        match self.kind(end.interface) {
            InterfaceKind::Port => To::Port(end.interface, end.gateway.unwrap_or(packet.destination)),
            InterfaceKind::Tunnel(path) => {
                // ECN is that of the inner packet, the rest of the byte what the tunnel says.
                To::Tunnel(end.interface, path.outer_ds.map_or(packet.ds, |ds| ds & 0xfc | packet.ds & 3))
            }
            InterfaceKind::Host | InterfaceKind::Core => To::Host(end.interface),
        }
    }

    /// An echo is answered; everything else is for the control side.
    fn deliver(&mut self, mut packet: Packet, going: Going) {
        if packet.message() != Some(Message::Request) {
            let to = To::Local(going.from.interface);
            self.answer.sent.push(Sent { to, packet: packet.write(), any_id: false });
            return;
        }
        (packet.source, packet.destination) = (packet.destination, packet.source);
        packet.ttl = 64;
        let reply = if packet.v4() { 0 } else { 129 };
        if let Body::Icmp { kind, code, .. } = &mut packet.body {
            (*kind, *code) = (reply, 0);
        }
        let from = if going.flow.is_some() { From::Answer } else { From::Error(Some(going.from.interface)) };
        self.queue.push_back((from, packet));
    }

    /// The size of segments that a SYN asks for is no larger than the settings say, and than fits the interfaces on the way.
    fn clamp(&self, packet: &mut Packet, going: Going) -> Option<u16> {
        let (v4, settings) = (packet.v4(), &self.policy.settings);
        let Body::Tcp(segment) = &mut packet.body else { return None };
        let asked = segment.mss.filter(|_| segment.has(SYN))?;
        let ends = [going.from.interface, going.to.interface];
        let tunnel = |interface: InterfaceId| matches!(self.kind(interface), InterfaceKind::Tunnel(_));
        let most = if ends.into_iter().any(tunnel) { settings.mss_vpn_max } else { settings.mss_max };
        let mut most = usize::from(most);
        for end in ends.into_iter().filter(|end| *end != CORE) {
            let mtu = match self.kind(end) {
                InterfaceKind::Tunnel(_) => self.tunnel_takes(end, v4),
                _ if settings.mss_auto => self.mtu(end),
                _ => continue,
            };
            most = most.min(mtu.saturating_sub(if v4 { 40 } else { 60 }));
        }
        let most = u16::try_from(most.max(100)).unwrap_or(u16::MAX);
        if asked <= most {
            return None;
        }
        segment.mss = Some(most);
        Some(most)
    }

    fn mtu(&self, interface: InterfaceId) -> usize {
        let found = self.policy.interfaces.iter().find(|candidate| candidate.id == interface);
        found.map_or(usize::MAX, |found| usize::from(found.mtu))
    }

    fn tunnel_takes(&self, tunnel: InterfaceId, v4: bool) -> usize {
        match self.kind(tunnel) {
            InterfaceKind::Tunnel(path) => usize::from(path.plaintext_mtu).max(if v4 { 68 } else { 1280 }),
            _ => usize::MAX,
        }
    }

    /// Counts a packet that goes nowhere, and tells its sender what there is to tell. Nothing is said about what the gateway
    /// said itself, about errors, and about resets.
    pub(super) fn refuse(&mut self, from: From, packet: &Packet, refusal: Refusal) {
        self.drop(refusal.reason);
        let error = packet.message() == Some(Message::Error);
        let (code_v4, code_v6, rest) = match (refusal.tell, refusal.reason) {
            _ if matches!(from, From::Error(_)) => return,
            (None, Reason::RuleReject) => {
                if let Body::Tcp(segment) = &packet.body {
                    return self.reset(from, packet, segment);
                }
                ((3, 13), (1, 1), 0)
            }
            (None, _) => return,
            (Some(Tell::TimeExceeded), _) => ((11, 0), (3, 0), 0),
            (Some(Tell::TooBig(mtu)), _) => ((3, 4), (2, 0), u32::try_from(mtu).unwrap_or(0)),
        };
        let Some(source) = self.address_towards(from, packet).filter(|_| !error) else { return };
        let (v4, mut data) = (packet.v4(), packet.write());
        data.truncate(if v4 { 576 - 28 } else { 1280 - 48 });
        let (kind, code) = if v4 { code_v4 } else { code_v6 };
        let body = Body::Icmp { kind, code, rest: rest.to_be_bytes(), data: Data(data) };
        self.say(from, source, packet.source, body);
    }

    fn reset(&mut self, from: From, packet: &Packet, refused: &Segment) {
        if refused.has(RST) {
            return;
        }
        let behind = refused.sequence.wrapping_add(refused.space());
        let (sequence, acknowledgement, flags) =
            if refused.has(ACK) { (refused.acknowledgement, 0, RST) } else { (0, behind, RST | ACK) };
        let ports = (refused.ports.1, refused.ports.0);
        let (window, mss, scale, data) = (0, None, None, Data::default());
        let body = Body::Tcp(Segment { ports, sequence, acknowledgement, flags, window, mss, scale, data });
        self.say(from, packet.destination, packet.source, body);
    }

    fn say(&mut self, about: From, source: IpAddr, destination: IpAddr, body: Body) {
        let back = match about {
            From::Port(interface) | From::Tunnel(interface, _) => Some(interface),
            From::Host | From::Originated | From::Answer | From::Error(_) => None,
        };
        let packet = Packet { source, destination, ds: 0, ttl: 64, id: 0, whole: true, body };
        self.queue.push_back((From::Error(back), packet));
    }

    /// An address of the gateway, as near to the sender as there is. To itself the error comes from where its packet went.
    fn address_towards(&self, from: From, packet: &Packet) -> Option<IpAddr> {
        let routing: Routing<'_> = self.routing();
        let sender = packet.source;
        let v4 = packet.v4();
        let route = routing.main(sender);
        let ours = matches!(from, From::Originated | From::Answer | From::Error(_));
        if ours || route.is_some_and(|route| route.interface == CORE) {
            return Some(packet.destination);
        }
        let own: Vec<IpAddr> = routing.own().into_iter().filter(|address| address.is_ipv4() == v4).collect();
        let interface = |id| self.policy.interfaces.iter().find(move |interface| interface.id == id);
        let first = |addresses: &[IpAddr]| addresses.iter().copied().find(|address| address.is_ipv4() == v4);
        match from {
            From::Tunnel(tunnel, _) => match &interface(tunnel)?.kind {
                InterfaceKind::Tunnel(path) => first(&path.originator).or_else(|| {
                    own.into_iter().find(|address| path.local_networks.iter().any(|range| range.contains(*address)))
                }),
                _ => None,
            },
            From::Port(port) => first(&interface(port)?.addresses).or_else(|| own.first().copied()),
            _ => {
                let beside = |address: &&IpAddr| route.is_some_and(|route| route.network.contains(*address));
                own.iter().find(beside).or_else(|| own.first()).copied()
            }
        }
    }
}
