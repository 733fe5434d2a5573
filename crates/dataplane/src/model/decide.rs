//! What becomes of a packet: the sentences of the path, in its order.

use std::net::IpAddr;

use super::flows::{End, may_open};
use super::packet::{ACK, Body, FIN, Message, Packet, RST, SYN, quoted_key, requote};
use super::routing::{NOWHERE, access, for_all, kind, same, table_of, tables};
use super::tcp::Verdict;
use super::{From, Model};
use crate::{CORE, InterfaceId, InterfaceKind, MAIN, Reason, TableId};

/// Why a packet goes no further, and what its sender is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) tell: Option<Tell>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Tell {
    TimeExceeded,
    TooBig(usize),
}

impl std::convert::From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, tell: None }
    }
}

/// A packet that may go on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Going {
    pub(super) from: End,
    pub(super) to: End,
    /// With this connection, and whether in the direction of its opener.
    pub(super) flow: Option<(usize, bool)>,
}

/// A packet that may come in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entrance {
    /// What rules take for its source interface.
    pub(super) received: InterfaceId,
    /// Where its answers go.
    pub(super) end: End,
    pub(super) forward: TableId,
}

impl Model {
    /// The headers are right, and from a tunnel the addresses are those of its SA.
    pub(super) fn receive(&mut self, from: From, bytes: &[u8]) {
        if let From::Tunnel(_, (peer, _)) = from {
            // Access rules come before everything, IPsec included; without one for it, a peer is let in.
            let received = self.behind_host_port(peer).unwrap_or(CORE);
            if access(&self.policy, received, peer) == Some(false) {
                return self.drop(Reason::AccessRule);
            }
        }
        match (Packet::read(bytes), from) {
            (Ok(packet), From::Tunnel(tunnel, _)) if !self.fits_tunnel(tunnel, packet.destination, packet.source) => {
                self.drop(Reason::InnerAddress);
            }
            (Ok(packet), _) => self.queue.push_back((from, packet)),
            (Err(_), From::Tunnel(..)) => self.drop(Reason::InnerMalformed),
            (Err(Reason::MalformedTransport), _) => {
                // Addresses are looked at before ports.
                let header = wire::ip::Header::parse(bytes);
                let sane = header.map_or(Ok(()), |header| sane(header.source, header.destination));
                self.drop(sane.err().unwrap_or(Reason::MalformedTransport));
            }
            (Err(reason), _) => self.drop(reason),
        }
    }

    pub(super) fn carry(&mut self, from: From, packet: Packet) {
        if let Err(reason) = sane(packet.source, packet.destination) {
            return self.refuse(from, &packet, reason.into());
        }
        match self.decide(from, &packet) {
            Ok(going) => self.forward(from, packet, going),
            Err(refusal) => self.refuse(from, &packet, refusal),
        }
    }

    fn decide(&mut self, from: From, packet: &Packet) -> Result<Going, Refusal> {
        // What the gateway says of a packet goes where that came from, whatever the rules are.
        if let From::Error(back) = from {
            let to = match back {
                Some(interface) => self.towards(interface, table_of(&self.policy, interface), packet.destination),
                None => self.end_of_main(packet.destination).ok_or(Reason::NoRoute)?,
            };
            return Ok(Going { from: core(), to, flow: None });
        }
        if packet.message() == Some(Message::Redirect) {
            return Err(Reason::Redirect.into());
        }
        if packet.message() == Some(Message::Error) {
            return self.related(from, packet).or_else(|refusal| self.stateless_only(from, packet).ok_or(refusal));
        }
        if let Body::Tcp(segment) = &packet.body {
            let [syn, ack, fin, rst] = [SYN, ACK, FIN, RST].map(|flag| segment.has(flag));
            if !(syn || ack || fin || rst) || syn && (fin || rst) || fin && !ack {
                return Err(Reason::TcpFlags.into());
            }
        }
        if let Some((at, forth)) = self.find(&packet.key())
            && let Some(going) = self.with_flow(from, at, forth)
        {
            self.check_ttl(packet, going.from, going.to)?;
            let (now, policy) = (self.now, std::sync::Arc::clone(&self.policy));
            let verdict = self.flows.get_mut(at).map(|flow| flow.packet(now, forth, packet, &policy.settings));
            match verdict {
                Some(Verdict::Passes) => return Ok(going),
                Some(Verdict::Outside) => return Err(Reason::TcpWindow.into()),
                Some(Verdict::BeginsAnother) | None => drop(self.flows.remove(at)),
            }
        }
        self.open(from, packet)
    }

    /// With a connection goes what comes from where its packets of that direction come from, while rules and routes allow it.
    /// Nobody behind the host port may pretend to be the gateway.
    fn with_flow(&mut self, from: From, at: usize, forth: bool) -> Option<Going> {
        if from == From::Host && forth && self.flows.get(at)?.originated {
            return None;
        }
        if self.flows.get(at)?.stale {
            let mut flow = self.flows.get(at)?.clone();
            let stays = self.judged_again(&mut flow);
            if !stays {
                self.flows.remove(at);
                return None;
            }
            *self.flows.get_mut(at)? = flow;
        }
        let flow = self.flows.get(at)?;
        let (sender, receiver) = if forth { (flow.opener, flow.other) } else { (flow.other, flow.opener) };
        let here = match from {
            From::Host => matches!(self.kind(sender.interface), InterfaceKind::Host | InterfaceKind::Core),
            From::Port(interface) | From::Tunnel(interface, _) => {
                sender.interface == interface
                    || sender.interface != CORE && same(&self.policy, sender.interface, interface)
            }
            From::Originated | From::Answer | From::Error(_) => sender.interface == CORE,
        };
        here.then_some(Going { from: sender, to: receiver, flow: Some((at, forth)) })
    }

    /// An ICMP error goes with the connection of the packet it quotes, against that one's direction. It comes from beyond the
    /// gateway on the packet's way, or from the gateway, and goes to whoever sent the packet.
    fn related(&self, from: From, packet: &Packet) -> Result<Going, Refusal> {
        let entrance = self.enter(from, packet)?;
        let unrelated = Reason::UnrelatedIcmpError;
        let Body::Icmp { data, .. } = &packet.body else { return Err(unrelated.into()) };
        let quoted = quoted_key(&data.0).ok_or(unrelated)?;
        let (at, forth) = self.find(&quoted.reversed()).ok_or(unrelated)?;
        // Under other rules and routes it may go another way; that it does is for its own packets to say.
        let mut flow = self.flows.get(at).ok_or(unrelated)?.clone();
        if flow.stale && !self.judged_again(&mut flow) {
            return Err(unrelated.into());
        }
        let (sender, receiver) = if forth { (flow.opener, flow.other) } else { (flow.other, flow.opener) };
        let on_the_way = same(&self.policy, entrance.received, sender.interface) || entrance.end.interface == CORE;
        if packet.destination != quoted.source || !on_the_way {
            return Err(unrelated.into());
        }
        self.check_ttl(packet, entrance.end, receiver)?;
        Ok(Going { from: entrance.end, to: receiver, flow: Some((at, forth)) })
    }

    fn open(&mut self, from: From, packet: &Packet) -> Result<Going, Refusal> {
        let entrance = self.enter(from, packet)?;
        if !may_open(packet) {
            return self.stateless_only(from, packet).ok_or_else(|| Reason::NoConnection.into());
        }
        let plan = self.plan(&entrance, packet, from == From::Originated)?;
        self.check_ttl(packet, plan.from, plan.to)?;
        if plan.stateless {
            return Ok(Going { from: plan.from, to: plan.to, flow: None });
        }
        let (from, to) = (plan.from, plan.to);
        let at = self.open_flow(packet, plan)?;
        Ok(Going { from, to, flow: Some((at, true)) })
    }

    /// A packet that can open no connection passes by a rule that remembers nothing, and by no other.
    fn stateless_only(&self, from: From, packet: &Packet) -> Option<Going> {
        let entrance = self.enter(from, packet).ok()?;
        let plan = self.plan(&entrance, packet, false).ok().filter(|plan| plan.stateless)?;
        self.check_ttl(packet, plan.from, plan.to).ok()?;
        Some(Going { from: plan.from, to: plan.to, flow: None })
    }

    /// May the source come in here? The access rules say, and without one the route back must lead there.
    pub(super) fn enter(&self, from: From, packet: &Packet) -> Result<Entrance, Refusal> {
        let routing = self.routing();
        let received = match from {
            From::Originated | From::Answer | From::Error(_) => {
                let (forward, _) = tables(&routing, CORE, packet);
                return Ok(Entrance { received: CORE, end: core(), forward });
            }
            From::Port(interface) | From::Tunnel(interface, _) => interface,
            From::Host => self.behind_host_port(packet.source).unwrap_or(NOWHERE),
        };
        let (forward, back) = tables(&routing, received, packet);
        let route = routing.by(back, packet.source);
        if route.is_some_and(|route| for_all(&self.policy, route, packet.source)) {
            return Err(Reason::ImpossibleSource.into());
        }
        let answers = route.map(|route| route.interface);
        let agrees = answers.is_some_and(|answers| same(&self.policy, received, answers));
        match access(&self.policy, received, packet.source) {
            Some(false) => return Err(Reason::AccessRule.into()),
            Some(true) if received == NOWHERE => return Err(Reason::DefaultAccessRule.into()),
            None if !agrees => return Err(Reason::DefaultAccessRule.into()),
            Some(true) | None => {}
        }
        // What a rule lets in against the routes is answered where it came from.
        let interface = answers.filter(|_| agrees).unwrap_or(received);
        Ok(Entrance { received, end: self.towards(interface, back, packet.source), forward })
    }

    /// Where the main table's route back leads, if that is behind the host port.
    pub(super) fn behind_host_port(&self, source: IpAddr) -> Option<InterfaceId> {
        let interface = self.routing().main(source)?.interface;
        matches!(self.kind(interface), InterfaceKind::Host | InterfaceKind::Core).then_some(interface)
    }

    /// A packet that is forwarded must have a hop left.
    fn check_ttl(&self, packet: &Packet, from: End, to: End) -> Result<(), Refusal> {
        if from.interface != CORE && to.interface != CORE && packet.ttl <= 1 {
            return Err(Refusal { reason: Reason::TtlExpired, tell: Some(Tell::TimeExceeded) });
        }
        Ok(())
    }

    /// As a packet of this connection looks on the other side of the gateway. A router that sends an error keeps its
    /// address, unless the connection hides it.
    pub(super) fn translated(&self, packet: Packet, (at, forth): (usize, bool)) -> Packet {
        let Some(flow) = self.flows.get(at) else { return packet };
        let (arrives, leaves) = if forth { (flow.near, flow.far) } else { (flow.far.reversed(), flow.near.reversed()) };
        if packet.message() != Some(Message::Error) {
            return packet.renamed(&leaves);
        }
        let mut packet = packet;
        packet.destination = leaves.destination;
        if arrives.source != leaves.source {
            packet.source = leaves.source;
        }
        if let Body::Icmp { data, .. } = &mut packet.body {
            data.0 = requote(&data.0, &leaves.reversed());
        }
        packet
    }

    pub(super) fn kind(&self, interface: InterfaceId) -> InterfaceKind {
        kind(&self.policy, interface)
    }

    /// An interface with the gateway to an address, if a route leads there by it. Only packet ports have use for it.
    pub(super) fn towards(&self, interface: InterfaceId, table: TableId, address: IpAddr) -> End {
        let port = matches!(self.kind(interface), InterfaceKind::Port);
        let route = self.routing().by(table, address).filter(|route| port && route.interface == interface);
        End { interface, gateway: route.and_then(|route| route.gateway) }
    }

    fn end_of_main(&self, address: IpAddr) -> Option<End> {
        let route = self.routing().by(MAIN, address)?;
        Some(End { interface: route.interface, gateway: route.gateway })
    }
}

fn core() -> End {
    End { interface: CORE, gateway: None }
}

/// Addresses that no packet on its way has.
fn sane(source: IpAddr, destination: IpAddr) -> Result<(), Reason> {
    let on_link = |address: IpAddr| matches!(address, IpAddr::V6(address) if address.segments()[0] & 0xffc0 == 0xfe80);
    let broadcast = |address: IpAddr| address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    let nobody = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_loopback() || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_loopback() || v6.is_multicast(),
    };
    let link_only = destination.is_multicast()
        || destination.is_unspecified()
        || broadcast(destination)
        || on_link(destination)
        || on_link(source) && !nobody(source);
    if link_only {
        return Err(Reason::NotUnicast);
    }
    if nobody(source) || destination.is_loopback() || source == destination {
        return Err(Reason::ImpossibleSource);
    }
    Ok(())
}
