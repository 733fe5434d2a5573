//! What becomes of a connection: where it goes, under which rule, translated to what.

use std::net::IpAddr;
use std::sync::Arc;

use base::Instant;

use super::decide::{Entrance, Refusal};
use super::flows::{End, Flow};
use super::packet::{Body, Key, Packet};
use super::routing::{for_all, rule, same};
use super::tcp::Tcp;
use super::{From, Model, nat};
use crate::{
    CORE, DestinationTranslation, InterfaceId, InterfaceKind, NatPool, NatPoolKind, Reason, RuleAction,
    ServiceTimeouts, SourceTranslation, WhenFull,
};

/// What the policy says of a connection.
pub(super) struct Plan {
    pub(super) from: End,
    pub(super) to: End,
    pub(super) stateless: bool,
    timeouts: ServiceTimeouts,
    originated: bool,
    source: SourceTranslation,
    /// To its new destination.
    key: Key,
    /// The gateway's address where it leaves.
    address: Option<IpAddr>,
}

impl Model {
    pub(super) fn plan(&self, entrance: &Entrance, packet: &Packet, originated: bool) -> Result<Plan, Refusal> {
        let routing = self.routing();
        let mut route = routing.by(entrance.forward, packet.destination).ok_or(Reason::NoRoute)?;
        let from = entrance.end;
        let to_core = from.interface == CORE;
        if to_core && route.interface == CORE {
            return Err(Reason::ImpossibleSource.into());
        }
        let mut plan = Plan {
            from,
            to: End { interface: route.interface, gateway: route.gateway },
            stateless: false,
            timeouts: ServiceTimeouts::default(),
            originated,
            source: SourceTranslation::None,
            key: packet.key(),
            address: None,
        };
        if originated {
            return Ok(plan);
        }
        // One packet would have as many answers as there are hosts.
        if for_all(&self.policy, route, packet.destination) {
            return Err(Reason::NotUnicast.into());
        }
        let rule = rule(&self.policy, packet, entrance.received, route.interface).ok_or(Reason::DefaultRule)?;
        match rule.action {
            RuleAction::Allow => {}
            RuleAction::Drop => return Err(Reason::RuleDrop.into()),
            RuleAction::Reject => return Err(Reason::RuleReject.into()),
            RuleAction::Stateless => {
                plan.stateless = true;
                return Ok(plan);
            }
        }
        plan.timeouts = rule.timeouts;
        // The rule speaks of the destination that the sender knows; the packet goes to the new one.
        plan.key = nat::destination(&rule.destination, &plan.key)?;
        if plan.key.destination != packet.destination {
            route = routing.by(entrance.forward, plan.key.destination).ok_or(Reason::NoRoute)?;
            plan.to = End { interface: route.interface, gateway: route.gateway };
            if for_all(&self.policy, route, plan.key.destination) {
                return Err(Reason::NotUnicast.into());
            }
        }
        if to_core && plan.to.interface == CORE {
            return Err(Reason::ImpossibleSource.into());
        }
        // Who is sent back to the network they are in must be hidden, or they would be answered past the gateway.
        let moved = matches!(rule.destination, DestinationTranslation::Static { address: Some(_), .. });
        plan.source = match &rule.source {
            SourceTranslation::Auto if moved && plan.from.interface == plan.to.interface => {
                SourceTranslation::Interface
            }
            source => source.clone(),
        };
        plan.address = self.address_at(route.interface, route.local_ip, packet.v4());
        Ok(plan)
    }

    /// The route's own address, or the interface's, or of a tunnel its originator address.
    fn address_at(&self, interface: InterfaceId, local: Option<IpAddr>, v4: bool) -> Option<IpAddr> {
        let found = self.policy.interfaces.iter().find(|candidate| candidate.id == interface)?;
        let mut candidates: Vec<IpAddr> = local.into_iter().collect();
        if let InterfaceKind::Tunnel(path) = &found.kind {
            candidates.extend(&path.originator);
        }
        candidates.extend(&found.addresses);
        candidates.into_iter().find(|address| address.is_ipv4() == v4)
    }

    pub(super) fn fits_tunnel(&self, tunnel: InterfaceId, local: IpAddr, remote: IpAddr) -> bool {
        let InterfaceKind::Tunnel(path) = self.kind(tunnel) else { return true };
        path.local_networks.iter().any(|network| network.contains(local))
            && path.remote_networks.iter().any(|network| network.contains(remote))
    }

    pub(super) fn open_flow(&mut self, packet: &Packet, plan: Plan) -> Result<usize, Refusal> {
        let near = packet.key();
        // The same connection by another way than before: the old one ends.
        if let Some((at, _)) = self.find(&near) {
            self.flows.remove(at);
        }
        let settings = self.policy.settings.clone();
        let full = self.flows.len() >= settings.connections_max;
        if full && settings.when_full == WhenFull::Drop {
            return Err(Reason::ConnectionTableFull.into());
        }
        let (far, pool) = self.translate_source(&near, &plan)?;
        if !self.fits_tunnel(plan.to.interface, far.source, far.destination) {
            return Err(Reason::OutsideTunnel.into());
        }
        if full && !self.make_room() {
            return Err(Reason::ConnectionTableFull.into());
        }
        let tcp = match &packet.body {
            Body::Tcp(segment) => Some(Tcp::new(segment)),
            _ => None,
        };
        let mut flow = Flow {
            near,
            far,
            opener: plan.from,
            other: plan.to,
            timeouts: plan.timeouts,
            originated: plan.originated,
            pool,
            tcp,
            answered: false,
            until: Instant::ZERO,
            stale: false,
        };
        flow.until = self.now + flow.lifetime(&settings);
        self.flows.push(flow);
        Ok(self.flows.len() - 1)
    }

    /// A connection that nobody has answered goes, or else any; of these the one that has been idle longest, and among equals
    /// it is the engine's choice.
    fn make_room(&mut self) -> bool {
        let settings = &self.policy.settings;
        let worth = |flow: &Flow| (!flow.both_speak(), flow.idle(self.now, settings));
        let Some(most) = self.flows.iter().map(worth).max() else { return false };
        let gone = self
            .flows
            .iter()
            .position(|flow| worth(flow) == most && !self.oracle.flows.iter().any(|(near, _)| *near == flow.near));
        match gone {
            Some(at) => drop(self.flows.remove(at)),
            None => self.wrong = Some(format!("none of the connections has gone that are {most:?}")),
        }
        true
    }

    /// The connection as its other end sees it.
    fn translate_source(&mut self, near: &Key, plan: &Plan) -> Result<(Key, Option<Arc<NatPool>>), Reason> {
        let key = plan.key;
        let unshared = |key: Key, taken: bool| if taken { Err(Reason::NatTaken) } else { Ok((key, None)) };
        match &plan.source {
            SourceTranslation::None => unshared(key, self.taken(near, &key)),
            SourceTranslation::Auto if !nat::auto(key.source, key.destination) => unshared(key, self.taken(near, &key)),
            SourceTranslation::Auto | SourceTranslation::Interface => {
                let address = plan.address.ok_or(Reason::NatNoAddress)?;
                Ok((self.share(near, plan, address)?, None))
            }
            SourceTranslation::Address(address) => Ok((self.share(near, plan, *address)?, None)),
            SourceTranslation::Static(map) => {
                let key = Key { source: nat::map(map, key.source)?, ..key };
                unshared(key, self.taken(near, &key))
            }
            SourceTranslation::Pool(pool) => {
                let far = self.pooled(near, plan, pool)?;
                Ok((far, Some(Arc::clone(pool))))
            }
        }
    }

    /// Its answers would be those of another connection, or of IKE.
    fn taken(&self, near: &Key, far: &Key) -> bool {
        let ike = far.protocol == 17
            && matches!(far.ports.0, 500 | 4500)
            && far.source != near.source
            && self.routing().own().contains(&far.source);
        ike || self.find(&far.reversed()).is_some()
    }

    /// Many hosts have one address. A port stays where it is free; else it is any free one of its class.
    fn share(&mut self, near: &Key, plan: &Plan, address: IpAddr) -> Result<Key, Reason> {
        let key = &plan.key;
        if address.is_ipv4() != key.source.is_ipv4() {
            return Err(Reason::NatNoAddress);
        }
        let from = |port| Key { source: address, ports: (port, key.ports.1), ..*key };
        let port = key.ports.0;
        let echo = is_echo(key);
        if !echo && !matches!(key.protocol, 6 | 17) {
            return if self.taken(near, &from(port)) { Err(Reason::NatTaken) } else { Ok(from(port)) };
        }
        if (port != 0 || echo) && !self.taken(near, &from(port)) {
            return Ok(from(port));
        }
        let Some(chosen) = self.oracle.far(near).map(|far| far.ports.0) else {
            if !self.fits_tunnel(plan.to.interface, address, key.destination) {
                return Err(Reason::OutsideTunnel);
            }
            self.wrong = Some(format!("no port of {address} was found for {near:?}"));
            return Err(Reason::NatPortsExhausted);
        };
        let right_class = echo || (1..1024).contains(&chosen) == (1..1024).contains(&port) && chosen != 0;
        if !right_class || self.taken(near, &from(chosen)) {
            self.wrong = Some(format!("port {chosen} of {address} was chosen for {near:?}"));
        }
        Ok(from(chosen))
    }

    /// An address of the pool: which one is the engine's choice, as far as the pool's kind leaves one.
    fn pooled(&mut self, near: &Key, plan: &Plan, pool: &Arc<NatPool>) -> Result<Key, Reason> {
        let key = &plan.key;
        let host = near.source;
        let all: Vec<IpAddr> = addresses(pool).filter(|address| address.is_ipv4() == host.is_ipv4()).collect();
        let allowed: Vec<IpAddr> = match pool.kind {
            NatPoolKind::Fixed => {
                let known = self.fixed.iter().find(|(of, known, _)| of == pool && *known == host);
                known.map_or_else(|| all.clone(), |(.., address)| vec![*address])
            }
            NatPoolKind::Stateful => {
                let has = self.served(pool).find(|(served, _)| *served == host).map(|(_, address)| address);
                has.map_or_else(|| self.least(&all, |address| self.hosts_at(pool, address)), |address| vec![address])
            }
            NatPoolKind::Stateless => {
                self.least(&all, |address| self.served(pool).filter(|(_, served)| *served == address).count())
            }
        };
        if all.is_empty() {
            return Err(Reason::NatNoAddress);
        }
        let portless = !(matches!(key.protocol, 6 | 17) || is_echo(key));
        let at = |address| Key { source: address, ..*key };
        let Some(chosen) = self.oracle.far(near).map(|far| far.source) else {
            if !allowed.iter().any(|address| self.fits_tunnel(plan.to.interface, *address, key.destination)) {
                return Err(Reason::OutsideTunnel);
            }
            // Without ports the address may serve somebody else already; a stateless pool then tries the others too.
            let tried = if pool.kind == NatPoolKind::Stateless { &all } else { &allowed };
            let mut taken = tried.iter().map(|address| self.taken(near, &at(*address)));
            let refused =
                if pool.kind == NatPoolKind::Stateless { taken.all(|taken| taken) } else { taken.any(|taken| taken) };
            if !(portless && refused) {
                self.wrong = Some(format!("no address of the pool was found for {near:?}"));
            }
            return Err(Reason::NatTaken);
        };
        let others_taken =
            || allowed.iter().all(|address| portless && self.taken(near, &at(*address))) && all.contains(&chosen);
        let legal = allowed.contains(&chosen) || pool.kind == NatPoolKind::Stateless && others_taken();
        if !legal {
            self.wrong = Some(format!("{chosen} of {pool:?} was chosen for {near:?}, and not one of {allowed:?}"));
        }
        if pool.kind == NatPoolKind::Fixed && !self.fixed.iter().any(|(of, known, _)| of == pool && *known == host) {
            self.fixed.push((Arc::clone(pool), host, chosen));
        }
        self.share(near, plan, chosen)
    }

    /// Hosts and their addresses, for each connection of a pool.
    fn served(&self, pool: &Arc<NatPool>) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        let of_pool = self.flows.iter().filter(move |flow| flow.pool.as_ref() == Some(pool));
        of_pool.map(|flow| (flow.near.source, flow.far.source))
    }

    fn hosts_at(&self, pool: &Arc<NatPool>, address: IpAddr) -> usize {
        let hosts: std::collections::BTreeSet<IpAddr> =
            self.served(pool).filter(|(_, served)| *served == address).map(|(host, _)| host).collect();
        hosts.len()
    }

    fn least(&self, all: &[IpAddr], load: impl Fn(IpAddr) -> usize) -> Vec<IpAddr> {
        let least = all.iter().map(|address| load(*address)).min();
        all.iter().copied().filter(|address| Some(load(*address)) == least).collect()
    }

    /// Asks rules and routes about a standing connection. It stays if they allow it on the same way, or over interfaces that
    /// are the same to the access check, and translate it as it is.
    pub(super) fn judged_again(&self, flow: &mut Flow) -> bool {
        let packet = flow.opening_packet();
        let from = match self.kind(flow.opener.interface) {
            _ if flow.opener.interface == CORE => From::Answer,
            InterfaceKind::Core => From::Answer,
            InterfaceKind::Host => From::Host,
            InterfaceKind::Port => From::Port(flow.opener.interface),
            InterfaceKind::Tunnel(_) => From::Tunnel(flow.opener.interface, (flow.near.source, flow.near.source)),
        };
        let Ok(entrance) = self.enter(from, &packet) else { return false };
        let Ok(plan) = self.plan(&entrance, &packet, flow.originated) else { return false };
        let same_end = |old: End, new: End| {
            let kinds = [old, new].map(|end| std::mem::discriminant(&self.kind(end.interface)));
            kinds[0] == kinds[1] && same(&self.policy, old.interface, new.interface)
        };
        let far = flow.far;
        let stays = !plan.stateless
            && same_end(flow.opener, plan.from)
            && same_end(flow.other, plan.to)
            && (plan.key.destination, plan.key.ports.1) == (far.destination, far.ports.1)
            && self.keeps_source(&plan, flow)
            && self.fits_tunnel(plan.to.interface, far.source, far.destination);
        if stays {
            (flow.opener, flow.other, flow.timeouts, flow.stale) = (plan.from, plan.to, plan.timeouts, false);
        }
        stays
    }

    fn keeps_source(&self, plan: &Plan, flow: &Flow) -> bool {
        let (near, far) = (flow.near, flow.far);
        let untouched = (near.source, near.ports.0) == (far.source, far.ports.0) && flow.pool.is_none();
        match &plan.source {
            SourceTranslation::None => untouched,
            SourceTranslation::Auto if !nat::auto(plan.key.source, plan.key.destination) => untouched,
            SourceTranslation::Auto | SourceTranslation::Interface => {
                flow.pool.is_none() && plan.address == Some(far.source)
            }
            SourceTranslation::Address(address) => flow.pool.is_none() && *address == far.source,
            SourceTranslation::Static(map) => flow.pool.is_none() && nat::map(map, near.source) == Ok(far.source),
            SourceTranslation::Pool(pool) => flow.pool.as_ref() == Some(pool),
        }
    }
}

fn is_echo(key: &Key) -> bool {
    matches!(key.protocol, 1 | 58) && key.message.is_none()
}

fn addresses(pool: &NatPool) -> impl Iterator<Item = IpAddr> {
    pool.ranges.iter().flat_map(|range| {
        let next = |address: &IpAddr| match address {
            IpAddr::V4(v4) => v4.to_bits().checked_add(1).map(|bits| IpAddr::from(std::net::Ipv4Addr::from_bits(bits))),
            IpAddr::V6(v6) => v6.to_bits().checked_add(1).map(|bits| IpAddr::from(std::net::Ipv6Addr::from_bits(bits))),
        };
        let last = range.last();
        std::iter::successors(Some(range.first()), next).take_while(move |address| *address <= last)
    })
}
