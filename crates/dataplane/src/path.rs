//! The packet path from the top: sanity, fragments, flow or access check, route and rules; then on to where it goes.
//!
//! ```text
//! plain, originate, esp -> queue -> sanity -> fragments -> ICMP error? flow? else access, route, rules, new flow
//!                            ^                                |
//!                            |                                v
//!                  answers, decrypted packets      core | host | tunnel (esp/send.rs)
//! ```
//! What a packet gives rise to goes into the queue and begins at the top; nothing recurses.

use std::sync::Arc;

use base::{Buffer, Instant, Severity};
use wire::icmp::{self, Class, Problem};
use wire::{ip, ipv6};

use crate::esp::send::networks_of;
use crate::events::{self, ConnOpen, protocol_name};
use crate::flows::{Opening, Place, Side, Way};
use crate::fragments::{self, Cut, Evicted, Outcome};
use crate::inspect::{Key, Seen, Transport};
use crate::tcp_state::Step;
use crate::{CORE, Dataplane, InterfaceId, InterfaceKind, Output, Reason, RuleAction, mss, rules};

/// The name under which connections are listed that the gateway itself began.
pub const ORIGINATED: &str = "core";

/// A packet on its way.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) packet: Buffer,
    pub(crate) source: Source,
    /// Its header, once it has been checked.
    pub(crate) header: Option<ip::Header>,
    /// How it was cut before it was put together.
    pub(crate) cut: Option<Cut>,
}

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The host port: the interface follows from the source address.
    Port,
    /// Out of a tunnel.
    Tunnel(InterfaceId),
    /// The gateway, as an answer to what a rule has allowed.
    Core,
    /// The gateway, by itself: no rule is asked.
    Originated,
    /// The gateway, as an error or a refusal: no rule is asked, and no connection comes of it.
    Error,
}

impl Source {
    pub(crate) fn is_core(self) -> bool {
        matches!(self, Self::Core | Self::Originated | Self::Error)
    }
}

/// Where a packet may go on to.
#[derive(Clone, Copy, Debug)]
struct Hop {
    from: Side,
    to: Side,
    flow: Option<(u32, Way)>,
}

/// A packet that goes nowhere, and what is done about it.
#[derive(Debug)]
pub(crate) struct Denial {
    pub(crate) reason: Reason,
    /// The rule that says so, and how loud.
    pub(crate) rule: Option<(Arc<str>, Option<Severity>)>,
    /// The tunnel that it could not go through.
    pub(crate) tunnel: Option<InterfaceId>,
    /// What the sender is told.
    tell: Option<Problem>,
}

impl Denial {
    pub(crate) fn of(reason: Reason) -> Self {
        Self { reason, rule: None, tunnel: None, tell: None }
    }

    pub(crate) fn telling(reason: Reason, problem: Problem) -> Self {
        Self { tell: Some(problem), ..Self::of(reason) }
    }

    pub(crate) fn by_tunnel(reason: Reason, tunnel: InterfaceId) -> Self {
        Self { tunnel: Some(tunnel), ..Self::of(reason) }
    }
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Self {
        Self::of(reason)
    }
}

impl Dataplane {
    /// Carries a packet, and what it gives rise to.
    pub(crate) fn run(&mut self, now: Instant, work: Work, out: &mut Vec<Output>) {
        self.carry(now, work, out);
        self.run_queue(now, out);
    }

    pub(crate) fn run_queue(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some(work) = self.queue.pop_front() {
            self.carry(now, work, out);
        }
    }

    fn carry(&mut self, now: Instant, mut work: Work, out: &mut Vec<Output>) {
        let parsed = match work.header {
            Some(header) => Ok(header),
            None => ip::Header::parse(work.packet.bytes()),
        };
        let Ok(header) = parsed else {
            return self.deny(now, work, Denial::of(Reason::MalformedIp), out);
        };
        work.packet.truncate(header.total);
        work.header = Some(header);
        if let Err(reason) = sane(&header) {
            return self.deny(now, work, Denial::of(reason), out);
        }
        if header.fragment.is_some() {
            // Nobody honest cuts a packet twice before it is whole again, and each cut costs a copy of all of it.
            if work.cut.is_some() {
                return self.deny(now, work, Denial::of(Reason::MalformedIp), out);
            }
            return self.put_together(now, work, &header, out);
        }
        let Some(seen) = Seen::new(work.packet.bytes(), header) else {
            return self.deny(now, work, Denial::of(Reason::MalformedTransport), out);
        };
        match self.decide(now, &work, &seen, out) {
            Ok(hop) => self.forward(now, work, &seen, hop, out),
            Err(denial) => self.deny(now, work, denial, out),
        }
    }

    fn put_together(&mut self, now: Instant, work: Work, header: &ip::Header, out: &mut Vec<Output>) {
        let from = match work.source {
            Source::Tunnel(tunnel) => tunnel.0,
            Source::Port | Source::Core | Source::Originated | Source::Error => CORE.0,
        };
        let mut evicted = Vec::new();
        let outcome = self.fragments.add(now, from, header, work.packet.bytes(), &mut evicted);
        for Evicted { from, header } in evicted {
            let source = if from == CORE.0 { Source::Port } else { Source::Tunnel(InterfaceId(from)) };
            let work = Work { packet: self.pool.take(), source, header: Some(header), cut: None };
            self.deny(now, work, Denial::of(Reason::FragmentLimit), out);
        }
        match outcome {
            Outcome::Whole(packet, cut) => {
                self.pool.give(work.packet);
                self.queue.push_back(Work { packet, source: work.source, header: None, cut: Some(cut) });
            }
            Outcome::Kept => self.pool.give(work.packet),
            Outcome::Dropped(reason) => self.deny(now, work, Denial::of(reason), out),
        }
    }

    /// Finds out where a packet goes, or why nowhere.
    fn decide(&mut self, now: Instant, work: &Work, seen: &Seen, out: &mut Vec<Output>) -> Result<Hop, Denial> {
        if work.source == Source::Error {
            let to = self.towards(seen).ok_or(Reason::NoRoute)?;
            return Ok(Hop { from: self.side(CORE), to, flow: None });
        }
        if seen.class() == Some(Class::Redirect) {
            return Err(Reason::Redirect.into());
        }
        if seen.is_icmp_error() {
            return self.related(work, seen);
        }
        if let Transport::Tcp(segment) = &seen.transport
            && segment.impossible_flags()
        {
            return Err(Reason::TcpFlags.into());
        }
        if let Some((slot, way)) = self.flows.find(&seen.key())
            && let Some(flow) = self.flows.get(slot)
        {
            let (sender, receiver) = flow.ends(way);
            let (from, to) = (sender.side, receiver.side);
            // Nor does such a packet share a connection that no rule has allowed.
            let unasked = flow.originated && way == Way::Forth && work.source == Source::Port;
            if comes_from(work.source, from) && !unasked {
                check_ttl(seen, from, to)?;
                match self.flows.packet(now, slot, way, seen, &self.policy.settings) {
                    Step::Pass => return Ok(Hop { from, to, flow: Some((slot, way)) }),
                    Step::Another => self.close_flow(now, slot, out),
                }
            }
        }
        self.open_flow(now, work, seen, out)
    }

    /// Finds out where a packet goes that was let in under an earlier policy and has waited since. Its connection, if it is
    /// still there, has been judged, and has counted it already.
    pub(crate) fn decide_again(
        &mut self,
        now: Instant,
        work: &Work,
        seen: &Seen,
        out: &mut Vec<Output>,
    ) -> Result<(Side, Option<(u32, Way)>), Denial> {
        let hop = if seen.is_icmp_error() {
            self.related(work, seen)?
        } else if let Some((slot, way)) = self.flows.find(&seen.key())
            && let Some(flow) = self.flows.get(slot)
            && comes_from(work.source, flow.ends(way).0.side)
        {
            let (from, to) = flow.ends(way);
            Hop { from: from.side, to: to.side, flow: Some((slot, way)) }
        } else {
            self.open_flow(now, work, seen, out)?
        };
        Ok((hop.to, hop.flow))
    }

    /// A packet of no connection: may it open one?
    fn open_flow(&mut self, now: Instant, work: &Work, seen: &Seen, out: &mut Vec<Output>) -> Result<Hop, Denial> {
        let from = self.arrival(work.source, seen)?;
        if !rules::may_open(seen) {
            return Err(Reason::NoConnection.into());
        }
        let to = self.towards(seen).ok_or(Reason::NoRoute)?;
        if from.place == Place::Core && to.place == Place::Core {
            return Err(Reason::ImpossibleSource.into());
        }
        // A packet from the host port with a source of ours proves nothing: Linux forwards such IPv6 packets for anybody.
        let originated = work.source == Source::Originated;
        let (rule, log) = if originated { (ORIGINATED.into(), None) } else { self.allowed(seen, from, to)? };
        check_ttl(seen, from, to)?;
        if to.place == Place::Tunnel && self.tunnel(to.interface).is_none_or(|path| networks_of(path, seen).is_none()) {
            return Err(Reason::OutsideTunnel.into());
        }
        if let Some((slot, _)) = self.flows.find(&seen.key()) {
            // The same connection by another way than before: routes have changed, and the rules have allowed the new way.
            self.close_flow(now, slot, out);
        }
        if self.flows.len() >= self.policy.settings.connections_max {
            return Err(Reason::ConnectionTableFull.into());
        }
        let opening = Opening { from, to, rule, log, originated };
        let slot = self.flows.open(now, seen, opening, &self.policy.settings);
        self.log_opened(now, slot, out);
        self.flows.packet(now, slot, Way::Forth, seen, &self.policy.settings);
        Ok(Hop { from, to, flow: Some((slot, Way::Forth)) })
    }

    /// The rule that allows a connection, or what the rule set says instead.
    fn allowed(&self, seen: &Seen, from: Side, to: Side) -> Result<(Arc<str>, Option<Severity>), Denial> {
        let Some(rule) = self.first_match(seen, from.interface, to.interface) else {
            return Err(Reason::DefaultRule.into());
        };
        let named = (rule.name.clone(), rule.log);
        let reason = match rule.action {
            RuleAction::Allow | RuleAction::Stateless => return Ok(named),
            RuleAction::Drop => Reason::RuleDrop,
            RuleAction::Reject => Reason::RuleReject,
        };
        Err(Denial { rule: Some(named), ..Denial::of(reason) })
    }

    /// The Access check: which interface a packet came in by, if the route back to its source leads there.
    fn arrival(&self, source: Source, seen: &Seen) -> Result<Side, Reason> {
        if source.is_core() {
            return Ok(self.side(CORE));
        }
        let back = self.routes.lookup(seen.ip.source).map(|route| self.side(route.interface));
        let right = match source {
            // In transport mode the peers themselves speak, whose addresses the outer header had.
            Source::Tunnel(tunnel) if self.sas.is_transport(tunnel, seen.ip.destination, seen.ip.source) => {
                Some(self.side(tunnel))
            }
            Source::Tunnel(tunnel) => back.filter(|back| back.interface == tunnel),
            _ => back.filter(|back| back.place != Place::Tunnel),
        };
        right.ok_or(Reason::DefaultAccessRule)
    }

    /// What the route to the destination leads to.
    fn towards(&self, seen: &Seen) -> Option<Side> {
        self.routes.lookup(seen.ip.destination).map(|route| self.side(route.interface))
    }

    /// An ICMP error passes with the connection it is about, against the direction of the packet it quotes.
    fn related(&self, work: &Work, seen: &Seen) -> Result<Hop, Denial> {
        let from = self.arrival(work.source, seen)?;
        let quoted = icmp::quotation(seen.ip.payload_of(work.packet.bytes()));
        let key = Key::of_quotation(quoted).ok_or(Reason::UnrelatedIcmpError)?;
        let (slot, way) = self.flows.find(&key).ok_or(Reason::UnrelatedIcmpError)?;
        let flow = self.flows.get(slot).ok_or(Reason::UnrelatedIcmpError)?;
        let (sender, receiver) = flow.ends(way);
        // It goes to whoever sent the packet, and comes from beyond the gateway on the packet's way, or from ourselves.
        let on_the_way = from.interface == receiver.side.interface || from.place == Place::Core;
        if seen.ip.destination != key.source || !on_the_way {
            return Err(Reason::UnrelatedIcmpError.into());
        }
        check_ttl(seen, from, sender.side)?;
        let back = match way {
            Way::Forth => Way::Back,
            Way::Back => Way::Forth,
        };
        Ok(Hop { from, to: sender.side, flow: Some((slot, back)) })
    }

    fn forward(&mut self, now: Instant, mut work: Work, seen: &Seen, hop: Hop, out: &mut Vec<Output>) {
        if hop.to.place == Place::Core {
            return self.deliver(work, seen, hop.from.interface, out);
        }
        if hop.from.place != Place::Core {
            ip::decrement_ttl(work.packet.bytes_mut());
        }
        self.clamp_mss(&mut work, seen, hop);
        match hop.to.place {
            Place::Tunnel => self.send(now, work, seen, hop.to.interface, hop.flow, out),
            Place::Host | Place::Core => self.emit(now, work, seen, hop.to.interface, out),
        }
    }

    /// For the gateway itself: an echo request is answered, everything else is the kernel's.
    fn deliver(&mut self, mut work: Work, seen: &Seen, from: InterfaceId, out: &mut Vec<Output>) {
        if !matches!(seen.class(), Some(Class::Request(_))) {
            out.push(Output::Local { from, packet: work.packet });
            return;
        }
        let bytes = work.packet.bytes_mut();
        ip::swap_addresses(bytes);
        ip::set_ttl(bytes, 64);
        if let Some(message) = bytes.get_mut(seen.ip.payload..) {
            icmp::turn_into_reply(message, !seen.ip.is_v4());
        }
        self.queue.push_back(Work { packet: work.packet, source: Source::Core, header: None, cut: work.cut });
    }

    /// Out of the host port; what came in pieces leaves in pieces.
    fn emit(&mut self, now: Instant, work: Work, seen: &Seen, interface: InterfaceId, out: &mut Vec<Output>) {
        let Some(cut) = work.cut.filter(|cut| work.packet.len() > cut.longest()) else {
            out.push(Output::Plain { interface, packet: work.packet });
            return;
        };
        match fragments::cut(work.packet.bytes(), &seen.ip, Some(cut), cut.longest(), &mut self.pool) {
            Some(pieces) => {
                self.pool.give(work.packet);
                out.extend(pieces.into_iter().map(|packet| Output::Plain { interface, packet }));
            }
            None => self.deny(now, work, Denial::of(Reason::TooBig), out),
        }
    }

    fn clamp_mss(&self, work: &mut Work, seen: &Seen, hop: Hop) {
        if !matches!(&seen.transport, Transport::Tcp(segment) if segment.has(wire::tcp::SYN)) {
            return;
        }
        let tunnels = [hop.from, hop.to].into_iter().filter(|side| side.place == Place::Tunnel);
        if let Some(mtu) = tunnels.filter_map(|side| self.tunnel_mtu(side.interface, seen.ip.is_v4())).min() {
            mss::clamp(work.packet.bytes_mut(), seen, mtu, self.policy.settings.mss_vpn_max);
        }
    }

    /// What a tunnel takes in one piece: its newest SA knows, and until there is one the configuration.
    fn tunnel_mtu(&self, tunnel: InterfaceId, v4: bool) -> Option<usize> {
        let configured = || self.tunnel(tunnel).map(|path| usize::from(path.plaintext_mtu));
        self.sas.newest(tunnel).map(|sa| sa.room(v4)).or_else(configured)
    }

    pub(crate) fn side(&self, interface: InterfaceId) -> Side {
        let place = match self.interface(interface).map(|interface| &interface.kind) {
            _ if interface == CORE => Place::Core,
            Some(InterfaceKind::Core) => Place::Core,
            Some(InterfaceKind::Tunnel(_)) => Place::Tunnel,
            Some(InterfaceKind::Host | InterfaceKind::Port) | None => Place::Host,
        };
        Side { interface, place }
    }

    /// Counts a packet that goes nowhere, logs it, and tells its sender if the reason says so.
    pub(crate) fn deny(&mut self, now: Instant, work: Work, denial: Denial, out: &mut Vec<Output>) {
        self.counters.count(denial.reason);
        self.log_denial(now, &work, &denial, out);
        if let Some(problem) = denial.tell {
            self.tell_sender(now, problem, &work);
        }
        if denial.reason == Reason::RuleReject {
            self.refuse(now, &work);
        }
        self.pool.give(work.packet);
    }

    fn log_opened(&mut self, now: Instant, slot: u32, out: &mut Vec<Output>) {
        let Some(severity) = self.flows.get(slot).and_then(|flow| flow.log) else { return };
        if !self.may_log_connection(now, out) {
            return;
        }
        let Some(flow) = self.flows.get(slot) else { return };
        let event = ConnOpen {
            rule: flow.rule.to_string(),
            conn: "open".to_owned(),
            connipproto: protocol_name(flow.key.protocol),
            connrecvif: self.name(flow.opener.side.interface).to_string(),
            connsrcip: flow.key.source.to_string(),
            connsrcport: flow.key.ports.0,
            conndestif: self.name(flow.other.side.interface).to_string(),
            conndestip: flow.key.destination.to_string(),
            conndestport: flow.key.ports.1,
        };
        out.push(Output::Log(events::record_at(&event, severity)));
    }
}

/// Addresses that no packet on its way may have.
fn sane(header: &ip::Header) -> Result<(), Reason> {
    use std::net::IpAddr::{V4, V6};
    let impossible = match header.source {
        V4(source) => {
            source.is_loopback()
                || source.octets().first() == Some(&0)
                || source.is_multicast()
                || source.is_broadcast()
        }
        V6(source) => source.is_loopback() || source.is_unspecified() || source.is_multicast(),
    };
    let elsewhere = match header.destination {
        // Not 169.254.0.0/16: inside tunnels to clouds it numbers the two ends, and routes decide about it.
        V4(to) => to.is_multicast() || to.is_broadcast() || to.is_unspecified(),
        V6(to) => to.is_multicast() || to.is_unspecified() || ipv6::stays_on_link(to),
    };
    let on_link = match header.source {
        V4(_) => false,
        V6(source) => ipv6::stays_on_link(source),
    };
    // Neighbour discovery and its like arrive in great numbers from the kernel itself, with sources of every kind: what
    // stays on the link is noise, not an attack.
    if elsewhere || on_link && !impossible {
        return Err(Reason::NotUnicast);
    }
    let to_loopback = match header.destination {
        V4(to) => to.is_loopback(),
        V6(to) => to.is_loopback(),
    };
    if impossible || to_loopback || header.source == header.destination {
        return Err(Reason::ImpossibleSource);
    }
    Ok(())
}

/// True when a packet from `source` can come from this side of its connection.
fn comes_from(source: Source, side: Side) -> bool {
    match source {
        Source::Port => side.place != Place::Tunnel,
        Source::Tunnel(tunnel) => side.interface == tunnel,
        Source::Core | Source::Originated | Source::Error => side.place == Place::Core,
    }
}

/// A router takes one off the time to live and forwards nothing with none left (RFC 1812 section 5.3.1).
fn check_ttl(seen: &Seen, from: Side, to: Side) -> Result<(), Denial> {
    if from.place == Place::Core || to.place == Place::Core || seen.ip.ttl > 1 {
        return Ok(());
    }
    Err(Denial::telling(Reason::TtlExpired, Problem::TimeExceeded))
}
