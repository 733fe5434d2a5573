use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base::{Duration, Instant, IpRange, Random, Selector, Timers};
use wire::ike::{Datagram, Envelope, ExchangeType, Flags, Header, Message, Notify, NotifyType, Payload};

use crate::cookie::CookieJar;
use crate::half_open::HalfOpenTable;
use crate::limiter::RateLimit;
use crate::refused::Refused;
use crate::v2::{
    Began, Cx, Effect, Forgery, IkeSa, Registry, SaId, State, Stranger, Wanted, answer_stranger, digest, start,
};
use crate::{
    ChildId, Config, Counters, IkeStatus, Output, Path, RemoteEndpoint, SaPer, Settings, Traffic, Trigger, Trouble,
    Tunnel, TunnelId, Usage, events, selectors,
};

/// Troubles with peers that matched no tunnel, kept for people.
const STRANGERS_MAX: usize = 32;
/// Refusals of strangers, and their log lines: ten a second, a hundred at once.
const REFUSALS: RateLimit = RateLimit::new(Duration::from_millis(100), 100);
/// Bytes of a first message, which a half-open IKE SA keeps: enough for the largest group and every proposal.
const FIRST_MESSAGE_MAX: usize = 3_000;
/// Answers to messages for IKE SAs and versions nobody here knows.
const COURTESY: RateLimit = RateLimit::new(Duration::from_millis(50), 50);
/// Log lines about limits: one a second.
const LIMIT_LOG: RateLimit = RateLimit::new(Duration::from_secs(1), 1);
/// Packets do not make a tunnel try again before this has passed since it failed.
const HOLD_OFF: Duration = Duration::from_secs(3);

/// Askings that are remembered. Those that do not fit are not held off.
const ASKED_MAX: usize = 16_384;

/// A peer that speaks under SAs unknown here makes us set up its tunnels this often at most, and not before this has
/// passed since the last IKE SA ended: what it had under way when we closed comes late.
const FORGOTTEN_EVERY: Duration = Duration::from_secs(10);

/// When both sides began at once, the spare child SAs are deleted after this.
const SETTLE: Duration = Duration::from_secs(3);

/// Which IKE SAs the operator means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those of a tunnel.
    Tunnel(TunnelId),
    /// Those with a peer's address.
    Remote(IpAddr),
    /// Every one.
    All,
}

/// All IKE SAs of a gateway.
#[derive(Debug)]
pub struct Endpoint {
    random: Random,
    config: Config,
    sas: BTreeMap<SaId, Box<IkeSa>>,
    registry: Registry,
    half_open: HalfOpenTable,
    cookies: CookieJar,
    refusals: RateLimit,
    /// First messages refused lately: each is explained once.
    refused: Refused,
    courtesy: RateLimit,
    limit_log: RateLimit,
    timers: Timers<Wake>,
    whys: BTreeMap<SaId, &'static str>,
    troubles: BTreeMap<TunnelId, (Trouble, Began)>,
    /// When an attempt of ours failed last.
    failed_at: BTreeMap<TunnelId, Instant>,
    /// When packets asked last for a pair of networks, hosts or ports: [`ASKED_MAX`] at most.
    asked_at: BTreeMap<(TunnelId, (Selector, Selector)), Instant>,
    /// Until when a tunnel is not set up merely because its peer speaks under SAs that are unknown here.
    quiet_until: BTreeMap<TunnelId, Instant>,
    strangers: VecDeque<Trouble>,
    shutting_down: bool,
    counters: Counters,
}

/// What time is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    /// An IKE SA has something to do.
    Sa(SaId),
    /// An AutoEstablish tunnel is to be tried again.
    Tunnel(TunnelId),
    /// The tunnel may have come up twice, begun by both sides.
    Duplicates(TunnelId),
    /// A child SA that is not sent on any more is to be forgotten.
    Linger(ChildId),
}

/// A data path that has seen nothing, for steps that do not ask it.
struct NoTraffic;

impl Traffic for NoTraffic {
    fn usage(&self, _child: ChildId) -> Usage {
        Usage::default()
    }
}

/// What a step may use, out of the fields of an endpoint.
macro_rules! context {
    ($endpoint:ident, $now:expr, $traffic:expr, $effects:expr, $out:expr) => {
        Cx {
            now: $now,
            config: &$endpoint.config,
            traffic: $traffic,
            random: &mut $endpoint.random,
            registry: &mut $endpoint.registry,
            counters: &mut $endpoint.counters,
            refusals: &mut $endpoint.refusals,
            effects: $effects,
            out: $out,
        }
    };
}

impl Endpoint {
    /// An endpoint that knows no tunnel yet. `random` decides every SPI, nonce, key and jitter.
    pub fn new(mut random: Random) -> Self {
        let cookies = CookieJar::new(&mut random);
        Self {
            random,
            config: Config { tunnels: Vec::new(), settings: Settings::default() },
            sas: BTreeMap::new(),
            registry: Registry::default(),
            half_open: HalfOpenTable::default(),
            cookies,
            refusals: REFUSALS,
            refused: Refused::default(),
            courtesy: COURTESY,
            limit_log: LIMIT_LOG,
            timers: Timers::default(),
            whys: BTreeMap::new(),
            troubles: BTreeMap::new(),
            failed_at: BTreeMap::new(),
            asked_at: BTreeMap::new(),
            quiet_until: BTreeMap::new(),
            strangers: VecDeque::new(),
            shutting_down: false,
            counters: Counters::default(),
        }
    }

    /// A new configuration. Tunnels equal to before keep their SAs; those of changed and removed ones are deleted at
    /// the peer. AutoEstablish tunnels start.
    pub fn configure(&mut self, now: Instant, config: Config, out: &mut Vec<Output>) {
        self.config = config;
        self.refused.clear();
        let kept = |tunnels: &[Arc<Tunnel>], own: &Arc<Tunnel>| tunnels.iter().find(|new| *new == own).cloned();
        let ids: Vec<SaId> = self.sas.keys().copied().collect();
        for id in ids {
            let Some(sa) = self.sas.get_mut(&id) else { continue };
            match (&sa.link.tunnel, &sa.state) {
                (Some(own), _) => match kept(&self.config.tunnels, own) {
                    Some(same) => sa.link.tunnel = Some(same),
                    None => self.with(now, id, &NoTraffic, out, |sa, cx| sa.close(cx, "reconfigured")),
                },
                // A half-open one chose among tunnels of the old configuration: the peer will ask again.
                (None, State::HalfOpen(_)) => {
                    self.with(now, id, &NoTraffic, out, |sa, cx| sa.close(cx, "reconfigured"))
                }
                (None, _) => {}
            }
        }
        let tunnels = self.config.tunnels.clone();
        let exists = |id: TunnelId| tunnels.iter().any(|tunnel| tunnel.id == id);
        self.troubles.retain(|id, _| exists(*id));
        self.failed_at.retain(|id, _| exists(*id));
        self.quiet_until.retain(|id, _| exists(*id));
        self.asked_at.clear();
        for tunnel in &tunnels {
            if tunnel.auto_establish && !self.shutting_down {
                self.establish(now, tunnel, out);
            }
        }
    }

    /// An IKE message without its non-ESP marker.
    pub fn receive(&mut self, now: Instant, path: Path, message: &[u8], traffic: &dyn Traffic, out: &mut Vec<Output>) {
        self.counters.received += 1;
        match Datagram::parse(message) {
            Err(_) => self.counters.malformed += 1,
            Ok(Datagram::Version1(_)) => self.counters.other_version += 1,
            Ok(Datagram::Newer(header)) => {
                self.counters.other_version += 1;
                // RFC 7296 section 2.5: says which version we speak.
                self.courteous(now, path, &header, NotifyType::INVALID_MAJOR_VERSION, out);
            }
            Ok(Datagram::Clear(clear)) if is_first(&clear.header) => {
                self.receive_first(now, path, clear, message, traffic, out);
            }
            Ok(Datagram::Clear(clear)) => match self.find(&clear.header) {
                Some(id) => self.with(now, id, traffic, out, |sa, cx| sa.receive_clear(cx, clear, message)),
                None => self.counters.unknown_ike_spi += 1,
            },
            Ok(Datagram::Protected(envelope)) => self.receive_protected(now, path, &envelope, traffic, out),
        }
    }

    /// A packet wants through this tunnel and there is no SA for it; or the operator says connect, without a trigger,
    /// which means every pair of networks.
    pub fn acquire(&mut self, now: Instant, tunnel: TunnelId, trigger: Option<Trigger>, out: &mut Vec<Output>) {
        let found = self.config.tunnels.iter().find(|one| one.id == tunnel).cloned();
        let Some(found) = found.filter(|_| !self.shutting_down) else {
            out.push(Output::Failed { tunnel });
            return;
        };
        let wanted = match trigger {
            Some(trigger) => {
                let whole = (found.sa_per == SaPer::Net).then_some(trigger);
                let pair = selectors::wanted_by(&found, &trigger);
                pair.map(|pair| Wanted { pair, trigger: whole }).into_iter().collect()
            }
            None => all_pairs(&found),
        };
        if wanted.is_empty() {
            out.push(Output::Failed { tunnel });
            return;
        }
        if trigger.is_some() && self.must_wait(now, tunnel, &wanted) {
            out.push(Output::Failed { tunnel });
            return;
        }
        self.want(now, &found, wanted, out);
    }

    /// Whether packets are to wait because what they want was tried and has just failed: without an IKE SA the whole
    /// tunnel, with one only the pairs of networks that were asked for lately.
    fn must_wait(&mut self, now: Instant, tunnel: TunnelId, wanted: &[Wanted]) -> bool {
        let lately = |at: Option<&Instant>| at.is_some_and(|at| *at + HOLD_OFF > now);
        let failed_lately = lately(self.failed_at.get(&tunnel));
        let home = self.home_of(tunnel).and_then(|id| self.sas.get(&id));
        let wait = match home.map(|sa| &sa.state) {
            Some(State::AwaitInit(_) | State::AwaitAuth(_)) => false,
            Some(_) => failed_lately && wanted.iter().all(|one| lately(self.asked_at.get(&(tunnel, one.pair)))),
            None => failed_lately,
        };
        if self.asked_at.len() >= ASKED_MAX {
            self.asked_at.retain(|_, at| *at + HOLD_OFF > now);
        }
        if !wait && self.asked_at.len() < ASKED_MAX {
            self.asked_at.extend(wanted.iter().map(|one| ((tunnel, one.pair), now)));
        }
        wait
    }

    /// The data path has reached `soft_bytes` of this pair, or its sequence numbers near their end.
    pub fn soft_limit(&mut self, now: Instant, child: ChildId, out: &mut Vec<Output>) {
        if let Some(id) = self.owner(child) {
            self.with(now, id, &NoTraffic, out, |sa, cx| sa.soft_limit(cx, child));
        }
    }

    /// The data path has reached `hard_bytes` of this pair.
    pub fn hard_limit(&mut self, now: Instant, child: ChildId, out: &mut Vec<Output>) {
        if let Some(id) = self.owner(child) {
            self.with(now, id, &NoTraffic, out, |sa, cx| sa.hard_limit(cx, child));
        }
    }

    /// Authenticated ESP of this pair came from a new outer address: RFC 7296 section 2.23.
    pub fn peer_moved(&mut self, now: Instant, child: ChildId, remote: SocketAddr, out: &mut Vec<Output>) {
        if let Some(id) = self.owner(child) {
            self.with(now, id, &NoTraffic, out, |sa, cx| sa.moved(cx, Path { local: sa.link.path.local, remote }));
        }
    }

    /// ESP arrived from `remote` with an SPI nobody knows: a hint, and a rate limited one, to ask an IKE SA with that
    /// address whether it lives; without one, to set up the tunnels of that address.
    pub fn unknown_spi(&mut self, now: Instant, remote: IpAddr, out: &mut Vec<Output>) {
        for id in self.chosen(Which::Remote(remote)) {
            self.with(now, id, &NoTraffic, out, |sa, cx| sa.hint(cx));
        }
        self.forgotten(now, remote, out);
    }

    /// `remote` speaks under SAs that nobody here knows: presumably we have lost our memory. A new IKE SA with
    /// INITIAL_CONTACT clears the peer's (RFC 7296 section 2.4), long before it would find out by itself. Anybody may
    /// have said so, so this begins rarely, and only what the configuration lets us begin.
    fn forgotten(&mut self, now: Instant, remote: IpAddr, out: &mut Vec<Output>) {
        if self.shutting_down || self.sas.values().any(|sa| sa.link.path.remote.ip() == remote) {
            return;
        }
        let tunnels: Vec<Arc<Tunnel>> = self
            .config
            .tunnels
            .iter()
            .filter(|tunnel| tunnel.remote_endpoint == RemoteEndpoint::Address(remote))
            .filter(|tunnel| tunnel.local_endpoint.or(tunnel.local_address_hint).is_some())
            .filter(|tunnel| self.quiet_until.get(&tunnel.id).is_none_or(|until| *until <= now))
            .cloned()
            .collect();
        for tunnel in tunnels {
            self.quiet_until.insert(tunnel.id, now + FORGOTTEN_EVERY);
            self.want(now, &tunnel, all_pairs(&tunnel), out);
        }
    }

    /// Time has passed: retransmissions, rekeying, liveness, keep-alives, half-open expiry.
    pub fn expire(&mut self, now: Instant, traffic: &dyn Traffic, out: &mut Vec<Output>) {
        while let Some(wake) = self.timers.pop_due(now) {
            match wake {
                Wake::Sa(id) => self.with(now, id, traffic, out, |sa, cx| sa.expire(cx)),
                Wake::Linger(child) => {
                    self.registry.forget(child);
                    out.push(Output::Remove(child));
                }
                Wake::Duplicates(tunnel) => {
                    for id in self.chosen(Which::Tunnel(tunnel)) {
                        self.with(now, id, traffic, out, |sa, cx| sa.drop_spares(cx));
                    }
                }
                Wake::Tunnel(tunnel) => {
                    let found = self.config.tunnels.iter().find(|one| one.id == tunnel).cloned();
                    if let Some(tunnel) = found.filter(|one| one.auto_establish && !self.shutting_down) {
                        self.establish(now, &tunnel, out);
                    }
                }
            }
        }
    }

    /// When [`expire`](Self::expire) wants to be called next, and why.
    pub fn next_deadline(&self) -> Option<(Instant, &'static str)> {
        let (at, wake) = self.timers.next()?;
        let why = match wake {
            Wake::Sa(id) => self.whys.get(id).copied().unwrap_or("IKE SA"),
            Wake::Tunnel(_) => "AutoEstablish",
            Wake::Duplicates(_) => "look for duplicates",
            Wake::Linger(_) => "forget a child SA",
        };
        Some((at, why))
    }

    /// Deletes IKE SAs at the operator's wish, at the peer too. Returns how many.
    pub fn delete(&mut self, now: Instant, which: Which, out: &mut Vec<Output>) -> usize {
        let ids = self.chosen(which);
        for id in &ids {
            let tunnel = self.sas.get(id).and_then(|sa| sa.tunnel()).map(|tunnel| tunnel.id);
            self.with(now, *id, &NoTraffic, out, |sa, cx| sa.close(cx, "deleted by the operator"));
            if let Some(tunnel) = tunnel {
                self.missing(now, tunnel, false);
            }
        }
        ids.len()
    }

    /// Going down: every SA is deleted at its peer; there is nothing left to wait for once
    /// [`is_quiet`](Self::is_quiet).
    pub fn shut_down(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.shutting_down = true;
        let ids: Vec<SaId> = self.sas.keys().copied().collect();
        for id in ids {
            self.with(now, id, &NoTraffic, out, |sa, cx| sa.close(cx, "shut down"));
        }
    }

    /// No IKE SA is left that waits for anything of its peer.
    pub fn is_quiet(&self) -> bool {
        self.sas.values().all(|sa| matches!(&sa.state, State::Closing(closing) if closing.lingers))
    }

    /// Every IKE SA, for people.
    pub fn ike_sas(&self, now: Instant) -> Vec<IkeStatus> {
        let lingers = |sa: &IkeSa| matches!(&sa.state, State::Closing(closing) if closing.lingers);
        self.sas.values().filter(|sa| !lingers(sa)).map(|sa| sa.status(now)).collect()
    }

    /// The last trouble of each tunnel since it was last up.
    pub fn troubles(&self) -> Vec<(TunnelId, Trouble)> {
        self.troubles.iter().map(|(id, (trouble, _))| (*id, trouble.clone())).collect()
    }

    /// Troubles with peers that matched no tunnel, the newest last.
    pub fn stranger_troubles(&self) -> Vec<Trouble> {
        self.strangers.iter().cloned().collect()
    }

    /// Everything that is counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Sends a message of any content under the keys of the newest IKE SA that has some; for the fuzz harness.
    pub(crate) fn forge(&mut self, forgery: &Forgery<'_>, out: &mut Vec<Output>) {
        for sa in self.sas.values_mut().rev() {
            if let Some(messages) = sa.link.forge(&mut self.random, forgery) {
                let path = sa.link.path;
                out.extend(messages.into_iter().map(|message| Output::Send { path, ds: 0, message }));
                return;
            }
        }
    }

    /// A first message: answered by what it has made already, or by a new half-open IKE SA, or refused.
    fn receive_first(
        &mut self,
        now: Instant,
        path: Path,
        message: Message,
        raw: &[u8],
        traffic: &dyn Traffic,
        out: &mut Vec<Output>,
    ) {
        if self.shutting_down {
            self.counters.unexpected += 1;
            return;
        }
        // Our own first message, sent back to us.
        if self.registry.by_spi(message.header.initiator_spi).is_some() {
            self.counters.unexpected += 1;
            return;
        }
        if raw.len() > FIRST_MESSAGE_MAX {
            self.counters.first_message_too_large += 1;
            return;
        }
        let first = (path.remote, digest(raw));
        if let Some(id) = self.half_open.find(&first) {
            self.with(now, id, traffic, out, |sa, cx| sa.repeat_first(cx, path, raw));
            return;
        }
        let settings = &self.config.settings;
        let of_source = self.half_open.of_source(path.remote.ip());
        let source_full = of_source >= settings.half_open_per_source_max;
        let (count, limit) = (self.half_open.len(), settings.half_open_max);
        let full = count >= limit;
        // Anybody can put a peer's address on a first message. Who returns no cookie gets half of what a source may
        // have, so that the peer itself always finds room (RFC 8019 section 4.4). With a right cookie the oldest gives
        // way: several gateways may share an address, and one that fails again and again must not shut out the others.
        let crowded = of_source >= settings.half_open_per_source_max / 2;
        let demand_cookie = settings.force_cookies || count >= settings.half_open_cookie_threshold || full || crowded;
        let mut effects = Vec::new();
        let opened = {
            let mut cx = context!(self, now, traffic, &mut effects, out);
            if full {
                cx.counters.half_open_limit += 1;
                if self.limit_log.take(now) {
                    cx.log(&events::MaxPhase1NegotiationsReached { remote: path.remote.ip(), half_open: count, limit });
                }
            }
            let mut stranger = Stranger { cookies: &mut self.cookies, refused: &mut self.refused, demand_cookie };
            answer_stranger(&mut cx, &mut stranger, path, message, raw)
        };
        if let Some(sa) = opened {
            let oldest = if source_full {
                self.counters.half_open_source_limit += 1;
                self.half_open.oldest_of(path.remote.ip())
            } else {
                full.then(|| self.half_open.oldest()).flatten()
            };
            if let Some(oldest) = oldest {
                self.with(now, oldest, traffic, out, |sa, cx| sa.close(cx, "gave way"));
            }
            self.half_open.open(sa.link.id, first);
            self.put(now, sa);
        }
        self.settle(now, traffic, effects, out);
    }

    fn receive_protected(
        &mut self,
        now: Instant,
        path: Path,
        envelope: &Envelope<'_>,
        traffic: &dyn Traffic,
        out: &mut Vec<Output>,
    ) {
        match self.find(&envelope.header) {
            Some(id) => self.with(now, id, traffic, out, |sa, cx| sa.receive_protected(cx, path, envelope)),
            None => {
                self.counters.unknown_ike_spi += 1;
                // RFC 7296 section 2.21.4: the peer may have missed our end, and takes this as a hint.
                self.courteous(now, path, &envelope.header, NotifyType::INVALID_IKE_SPI, out);
                if !envelope.header.flags.response {
                    self.forgotten(now, path.remote.ip(), out);
                }
            }
        }
    }

    /// One unprotected notification in answer to a request that nothing here can answer, shorter than any question.
    fn courteous(&mut self, now: Instant, path: Path, asked: &Header, kind: NotifyType, out: &mut Vec<Output>) {
        if asked.flags.response || asked.initiator_spi == 0 {
            return;
        }
        if !self.courtesy.take(now) {
            self.counters.rate_limited += 1;
            return;
        }
        let flags = Flags { initiator: !asked.flags.initiator, response: true, version: false };
        let (spi_i, spi_r) = (asked.initiator_spi, asked.responder_spi);
        let header = Header::new(spi_i, spi_r, asked.exchange, flags, asked.message_id);
        let data = if kind == NotifyType::INVALID_MAJOR_VERSION { vec![2] } else { Vec::new() };
        let payloads = vec![Payload::Notify(Notify::new(kind, data))];
        if let Ok(message) = (Message { header, payloads }).write()
            && message.len() <= usize::try_from(asked.length).unwrap_or(0)
        {
            self.counters.sent += 1;
            out.push(Output::Send { path, ds: 0, message });
        }
    }

    /// The IKE SA that a message names. Both SPIs must be right; only before the first answer is the second unknown.
    fn find(&self, header: &Header) -> Option<SaId> {
        let local = if header.flags.initiator { header.responder_spi } else { header.initiator_spi };
        let id = self.registry.by_spi(local)?;
        let link = &self.sas.get(&id)?.link;
        let right = link.spi_i == header.initiator_spi
            && (link.spi_r == header.responder_spi || (link.initiator && link.spi_r == 0));
        right.then_some(id)
    }

    /// The IKE SA of a child SA.
    fn owner(&self, child: ChildId) -> Option<SaId> {
        self.sas.iter().find(|(_, sa)| sa.has_child(child)).map(|(id, _)| *id)
    }

    /// The IKE SA that takes wishes for a tunnel: an established one before one that is being set up.
    fn home_of(&self, tunnel: TunnelId) -> Option<SaId> {
        let of_tunnel = |sa: &IkeSa| sa.takes_wishes() && sa.tunnel().is_some_and(|own| own.id == tunnel);
        let mut homes = self.sas.iter().filter(|(_, sa)| of_tunnel(sa)).map(|(id, sa)| (*id, sa));
        let first = homes.next()?;
        let established = |sa: &IkeSa| matches!(sa.state, State::Established(_));
        if established(first.1) {
            return Some(first.0);
        }
        Some(homes.find(|(_, sa)| established(sa)).map_or(first.0, |(id, _)| id))
    }

    /// The IKE SAs that an operator means, those that are ending left out.
    fn chosen(&self, which: Which) -> Vec<SaId> {
        let meant = |sa: &IkeSa| match which {
            Which::Tunnel(tunnel) => sa.tunnel().is_some_and(|own| own.id == tunnel),
            Which::Remote(remote) => sa.link.path.remote.ip() == remote,
            Which::All => true,
        };
        let ending = |sa: &IkeSa| matches!(sa.state, State::Closing(_) | State::Gone);
        self.sas.iter().filter(|(_, sa)| meant(sa) && !ending(sa)).map(|(id, _)| *id).collect()
    }

    /// Everything that an AutoEstablish tunnel lacks.
    fn establish(&mut self, now: Instant, tunnel: &Arc<Tunnel>, out: &mut Vec<Output>) {
        let RemoteEndpoint::Address(remote) = tunnel.remote_endpoint else { return };
        let wanted = all_pairs(tunnel);
        if wanted.iter().all(|wanted| self.registry.carries(tunnel.id, wanted)) {
            return;
        }
        if self.home_of(tunnel.id).is_none() {
            out.push(Output::Log(base::Event::record(&events::AutoEstablish { tunnel: tunnel.name.clone(), remote })));
        }
        self.want(now, tunnel, wanted, out);
    }

    /// Hands wishes to the tunnel's IKE SA, or begins one.
    fn want(&mut self, now: Instant, tunnel: &Arc<Tunnel>, mut wanted: Vec<Wanted>, out: &mut Vec<Output>) {
        wanted.retain(|one| !self.registry.carries(tunnel.id, one));
        if wanted.is_empty() {
            return;
        }
        if let Some(id) = self.home_of(tunnel.id) {
            self.with(now, id, &NoTraffic, out, |sa, cx| sa.want(cx, wanted));
            return;
        }
        let mut effects = Vec::new();
        let begun = start(&mut context!(self, now, &NoTraffic, &mut effects, out), tunnel, wanted);
        match begun {
            Some(sa) => self.put(now, sa),
            None => out.push(Output::Failed { tunnel: tunnel.id }),
        }
        self.settle(now, &NoTraffic, effects, out);
    }

    /// One step of one IKE SA, with all that follows from it.
    fn with(
        &mut self,
        now: Instant,
        id: SaId,
        traffic: &dyn Traffic,
        out: &mut Vec<Output>,
        step: impl FnOnce(&mut IkeSa, &mut Cx<'_>),
    ) {
        let Some(mut sa) = self.sas.remove(&id) else { return };
        let mut effects = Vec::new();
        step(&mut sa, &mut context!(self, now, traffic, &mut effects, out));
        self.put(now, sa);
        self.settle(now, traffic, effects, out);
    }

    /// Takes an IKE SA back after a step: its timer, its place among the half-open ones, or its end.
    fn put(&mut self, now: Instant, sa: Box<IkeSa>) {
        let id = sa.link.id;
        // One that failed still counts while its last answer is kept: it has proved nothing.
        if matches!(sa.state, State::Established(_)) {
            self.half_open.close(id);
        }
        self.registry.note(&sa);
        match sa.deadline(self.config.settings.half_open_lifetime) {
            Some((at, why)) => {
                self.timers.set(Wake::Sa(id), at);
                self.whys.insert(id, why);
                self.sas.insert(id, sa);
            }
            None => {
                self.timers.cancel(&Wake::Sa(id));
                self.whys.remove(&id);
                self.half_open.forget(id);
                self.registry.release_ike(sa.link.local_spi());
                if let Some(tunnel) = sa.tunnel() {
                    self.quiet_until.insert(tunnel.id, now + FORGOTTEN_EVERY);
                }
            }
        }
    }

    fn settle(&mut self, now: Instant, traffic: &dyn Traffic, effects: Vec<Effect>, out: &mut Vec<Output>) {
        for effect in effects {
            match effect {
                Effect::Adopt(sa) => self.put(now, sa),
                Effect::Hand { to, children, .. } if !self.sas.contains_key(&to) => {
                    out.extend(self.registry.orphans(children).into_iter().map(Output::Remove));
                }
                Effect::Hand { to, children, wanted } => {
                    self.with(now, to, traffic, out, |sa, cx| sa.take_over(cx, children, wanted));
                }
                Effect::Supersede(id) => self.with(now, id, traffic, out, |sa, cx| sa.supersede(cx)),
                Effect::Yield(id) => self.with(now, id, traffic, out, |sa, cx| sa.yield_to_rival(cx)),
                Effect::End { id, why } => self.with(now, id, traffic, out, |sa, cx| sa.close(cx, why)),
                Effect::InitialContact { tunnel, remote_id, except, before, remote } => {
                    let void: Vec<SaId> = self
                        .sas
                        .iter()
                        .filter(|(id, sa)| **id != except && sa.is_with(tunnel, &remote_id, before))
                        .map(|(id, _)| *id)
                        .collect();
                    if void.is_empty() {
                        continue;
                    }
                    for id in &void {
                        self.with(now, *id, traffic, out, |sa, cx| sa.drop_silently(cx, "initial contact"));
                    }
                    let name = self.config.tunnels.iter().find(|one| one.id == tunnel).map(|one| one.name.clone());
                    out.push(Output::Log(base::Event::record(&events::InitialContact {
                        tunnel: name.unwrap_or_default(),
                        remote,
                        remote_id: remote_id.to_string(),
                        removed: void.len(),
                    })));
                }
                Effect::Linger { child, until } => self.timers.set(Wake::Linger(child), until),
                Effect::Trouble { tunnel, trouble, began } => self.note(now, tunnel, trouble, began),
                Effect::Up(tunnel) => {
                    self.troubles.remove(&tunnel);
                    self.failed_at.remove(&tunnel);
                    let several = self.chosen(Which::Tunnel(tunnel)).len() > 1;
                    if several {
                        self.timers.set(Wake::Duplicates(tunnel), now + SETTLE);
                    }
                }
                Effect::Missing { tunnel, at_once } => self.missing(now, tunnel, at_once),
            }
        }
    }

    /// Remembers what went wrong. What a stranger did never takes the place of what is known for sure.
    fn note(&mut self, now: Instant, tunnel: Option<TunnelId>, trouble: Trouble, began: Began) {
        if let Some(tunnel) = tunnel.filter(|_| began == Began::Ours) {
            self.failed_at.insert(tunnel, now);
        }
        let known = |tunnel: &TunnelId| self.troubles.get(tunnel).is_some_and(|(_, began)| *began != Began::Stranger);
        match tunnel.filter(|tunnel| began != Began::Stranger || !known(tunnel)) {
            Some(tunnel) => {
                self.troubles.insert(tunnel, (trouble, began));
            }
            None => {
                self.strangers.retain(|other| other.remote != trouble.remote);
                self.strangers.push_back(trouble);
                if self.strangers.len() > STRANGERS_MAX {
                    self.strangers.pop_front();
                }
            }
        }
    }

    /// Sets the time at which an AutoEstablish tunnel is looked after.
    fn missing(&mut self, now: Instant, tunnel: TunnelId, at_once: bool) {
        let auto = self.config.tunnels.iter().any(|one| one.id == tunnel && one.auto_establish);
        if !auto || self.shutting_down {
            return;
        }
        let at = if at_once { now } else { now + self.config.settings.auto_establish_retry };
        let wake = Wake::Tunnel(tunnel);
        if self.timers.at(&wake).is_none_or(|before| at < before) {
            self.timers.set(wake, at);
        }
    }
}

impl Default for Settings {
    /// What the product ships with.
    fn default() -> Self {
        Self {
            initial_contact: true,
            force_cookies: false,
            half_open_cookie_threshold: 64,
            half_open_max: 1_024,
            half_open_per_source_max: 32,
            half_open_lifetime: Duration::from_secs(30),
            retransmit_first: Duration::from_secs(2),
            retransmit_max: Duration::from_secs(15),
            retransmit_tries: 7,
            fragment_size: 1_232,
            auto_establish_retry: Duration::from_secs(10),
        }
    }
}

/// The first message of an IKE SA that does not exist yet (RFC 7296 section 3.1).
fn is_first(header: &Header) -> bool {
    header.exchange == ExchangeType::IKE_SA_INIT
        && !header.flags.response
        && header.flags.initiator
        && header.responder_spi == 0
        && header.message_id == 0
}

fn all_pairs(tunnel: &Tunnel) -> Vec<Wanted> {
    let host = |range: &IpRange| range.first() == range.last();
    selectors::pairs(&tunnel.local_networks, &tunnel.remote_networks)
        .into_iter()
        // Which hosts and ports there will be, only packets can tell.
        .filter(|(local, remote)| match tunnel.sa_per {
            SaPer::Net => true,
            SaPer::Host => host(local) && host(remote),
            SaPer::Port => false,
        })
        .map(|(local, remote)| Wanted { pair: (Selector::all(local), Selector::all(remote)), trigger: None })
        .collect()
}
