//! IKE_SA_INIT as initiator: RFC 7296 section 1.2, with cookies (2.6) and another group (1.2, 1.3).

use std::net::SocketAddr;
use std::sync::Arc;

use base::Instant;
use crypto::{Group, KeyPair};
use wire::ike::{ExchangeType, Flags, Header, KeyExchange, Message, Notify, NotifyType, Payload, ProtocolId};

use super::keys::{self, Freshness};
use super::link::{Link, cannot_initiate};
use super::nat::{self, PORT};
use super::protect::Protection;
use super::rules::{Contents, IKE_SA_INIT};
use super::sa::{IkeSa, State};
use super::window::Patience;
use super::{Cx, Wanted, auth, nonce_min, offers};
use crate::proposal::{Policy, accept, describe, propose};
use crate::reason::{Reason, Subject};
use crate::{Path, RemoteEndpoint, Tunnel};

/// How often one attempt may begin anew with a cookie or another group.
const RESTARTS_MAX: u8 = 6;
/// Sendings left to the real answer once an unprotected error has come.
const TRIES_AFTER_HINT: u32 = 3;

/// Our IKE_SA_INIT request is out. Nothing that comes is protected yet, so nothing but a whole and fitting answer ends
/// this state.
#[derive(Debug)]
pub(crate) struct AwaitInit {
    nonce: Vec<u8>,
    key_pair: KeyPair,
    cookie: Option<Vec<u8>>,
    restarts: u8,
    /// What an unprotected error would explain, should no better answer come (RFC 7296 section 2.21.1).
    hint: Option<Reason>,
    message: Vec<u8>,
    pub(super) wanted: Vec<Wanted>,
}

/// Begins an IKE SA for a tunnel. `None`: it cannot be begun from here, which is explained.
pub(crate) fn start(cx: &mut Cx<'_>, tunnel: &Arc<Tunnel>, wanted: Vec<Wanted>) -> Option<Box<IkeSa>> {
    let (local, remote) = match endpoints(tunnel) {
        Ok(endpoints) => endpoints,
        Err(reason) => {
            cannot_initiate(cx, tunnel, &reason);
            return None;
        }
    };
    let group = tunnel.groups.iter().copied().max()?;
    let id = cx.registry.sa_id();
    let spi_i = cx.registry.ike_spi(id, cx.random);
    let mut link = Link::new(id, true, (spi_i, 0), Path { local, remote }, cx.now);
    link.tunnel = Some(tunnel.clone());
    let nonce = cx.nonce();
    let mut state = AwaitInit {
        nonce,
        key_pair: group.generate(cx.random),
        cookie: None,
        restarts: 0,
        hint: None,
        message: Vec::new(),
        wanted,
    };
    state.send(&mut link, cx, tunnel);
    Some(Box::new(IkeSa { link, state: State::AwaitInit(Box::new(state)) }))
}

fn endpoints(tunnel: &Tunnel) -> Result<(SocketAddr, SocketAddr), Reason> {
    let cannot = |why: String, remedy: String| Reason::CannotInitiate { tunnel: tunnel.name.clone(), why, remedy };
    let RemoteEndpoint::Address(remote) = tunnel.remote_endpoint else {
        return Err(cannot(
            "its RemoteEndpoint is not one address".into(),
            "set RemoteEndpoint to the address of the peer, or let the peer begin".into(),
        ));
    };
    let local = tunnel.local_endpoint.or(tunnel.local_address_hint).ok_or_else(|| {
        cannot(
            format!("this host has no route to {remote}"),
            format!("give the interface towards {remote} its address and route, or set LocalEndpoint"),
        )
    })?;
    if local.is_ipv4() != remote.is_ipv4() {
        return Err(cannot(
            format!("our address {local} and the peer's {remote} are not of one family"),
            "set LocalEndpoint to an address of the family of RemoteEndpoint".into(),
        ));
    }
    Ok((SocketAddr::new(local, PORT), SocketAddr::new(remote, PORT)))
}

impl AwaitInit {
    fn send(&mut self, link: &mut Link, cx: &mut Cx<'_>, tunnel: &Tunnel) {
        let flags = Flags { initiator: true, response: false, version: false };
        let header = Header::new(link.spi_i, 0, ExchangeType::IKE_SA_INIT, flags, 0);
        let policy = Policy::ike(&tunnel.ike, &tunnel.groups);
        let mut payloads = Vec::new();
        if let Some(cookie) = &self.cookie {
            payloads.push(Payload::Notify(Notify::new(NotifyType::COOKIE, cookie.clone())));
        }
        payloads.push(Payload::Sa(offers::write(&propose(&policy, &[]), ProtocolId::IKE)));
        payloads.push(Payload::Ke(KeyExchange {
            group: self.key_pair.group().iana(),
            data: self.key_pair.public().to_vec(),
        }));
        payloads.push(Payload::Nonce(self.nonce.clone()));
        nat::write(tunnel.nat_traversal, link.spi_i, 0, &link.path, cx.random, &mut payloads);
        payloads.push(Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, Vec::new())));
        let message = Message { header, payloads }.write().unwrap_or_default();
        let messages = vec![message.clone()];
        link.send(cx, link.path, &messages);
        let patience = Patience::usual(&cx.config.settings);
        link.outgoing.set(cx.now, (ExchangeType::IKE_SA_INIT, 0), messages, patience);
        self.message = message;
    }

    /// An unprotected answer to our first request.
    pub(super) fn receive(
        mut self: Box<Self>,
        link: &mut Link,
        cx: &mut Cx<'_>,
        header: &Header,
        contents: &Contents,
        raw: &[u8],
    ) -> State {
        let Some(tunnel) = link.tunnel.clone() else { return State::AwaitInit(self) };
        if let Some(cookie) = contents.notify(NotifyType::COOKIE) {
            // RFC 7296 section 2.6: 1 to 64 bytes.
            if !(1..=64).contains(&cookie.data.len()) {
                self.note(link, misbehaved(&tunnel, format!("a cookie of {} bytes", cookie.data.len())));
            } else if self.may_restart() {
                self.cookie = Some(cookie.data.clone());
                self.send(link, cx, &tunnel);
            } else {
                self.note(link, misbehaved(&tunnel, "a request for a cookie again and again".into()));
            }
            return State::AwaitInit(self);
        }
        if let Some(notify) = contents.notify(NotifyType::INVALID_KE_PAYLOAD) {
            let wanted = notify.data_u16();
            // RFC 7296 section 1.2: only a group that we offered, and not the one we have just sent.
            match wanted.and_then(Group::from_iana).filter(|group| tunnel.groups.contains(group)) {
                None => {
                    let (tunnel, allowed) = (tunnel.name.clone(), tunnel.groups.clone());
                    self.note(link, Reason::PeerWantsGroup { tunnel, wanted: wanted.unwrap_or(0), allowed });
                }
                Some(group) if group != self.key_pair.group() && self.may_restart() => {
                    self.key_pair = group.generate(cx.random);
                    self.send(link, cx, &tunnel);
                }
                Some(group) => {
                    self.note(link, misbehaved(&tunnel, format!("a refusal of the group {group}, which it asks for")))
                }
            }
            return State::AwaitInit(self);
        }
        if let Some(notify) = contents.error() {
            cx.counters.unprotected_notifies += 1;
            let reason = self.explain(&tunnel, notify.kind);
            self.note(link, reason);
            return State::AwaitInit(self);
        }
        match self.keys(link, header, contents, &tunnel) {
            Ok(keys) => self.proceed(link, cx, &tunnel, header, contents, raw, keys),
            Err(reason) => {
                // Anybody can send this: it is kept only for the explanation.
                cx.counters.unexpected += 1;
                self.hint.get_or_insert(reason);
                State::AwaitInit(self)
            }
        }
    }

    /// An unprotected answer refuses: that explains a failure, and shortens the wait for a better answer.
    fn note(&mut self, link: &mut Link, reason: Reason) {
        if self.hint.is_some() {
            return;
        }
        self.hint = Some(reason);
        if let Some(sent) = &mut link.outgoing.sent {
            sent.patience.tries = sent.patience.tries.min(sent.tries.saturating_add(TRIES_AFTER_HINT));
        }
    }

    fn may_restart(&mut self) -> bool {
        self.restarts = self.restarts.saturating_add(1);
        self.restarts <= RESTARTS_MAX
    }

    fn explain(&self, tunnel: &Tunnel, notify: NotifyType) -> Reason {
        if notify == NotifyType::NO_PROPOSAL_CHOSEN {
            let offered = Policy::ike(&tunnel.ike, &tunnel.groups).to_string();
            Reason::PeerRefusedProposals { tunnel: tunnel.name.clone(), subject: Subject::Ike, offered }
        } else {
            Reason::PeerNotified { tunnel: tunnel.name.clone(), exchange: "IKE_SA_INIT", notify }
        }
    }

    /// Everything that the answer must hold before this state may end.
    fn keys(&self, link: &Link, header: &Header, contents: &Contents, tunnel: &Tunnel) -> Result<auth::Fresh, Reason> {
        let misbehaved = |what: String| misbehaved(tunnel, what);
        // RFC 7296 section 2.5.
        if let Some(kind) = contents.critical {
            return Err(misbehaved(format!("a critical payload of unknown type {}", kind.0)));
        }
        contents.check(IKE_SA_INIT).map_err(misbehaved)?;
        if header.responder_spi == 0 {
            return Err(misbehaved("an answer without SPI".into()));
        }
        let policy = Policy::ike(&tunnel.ike, &tunnel.groups);
        let answer = offers::read(&contents.sa, ProtocolId::IKE);
        let suite = accept(&answer, &policy).map_err(|_| Reason::AnswerNotOffered {
            tunnel: tunnel.name.clone(),
            what: "algorithms",
            answer: describe(&answer),
            offered: policy.to_string(),
        })?;
        if contents.nonce.len() < nonce_min(&suite) {
            return Err(misbehaved(format!("a nonce of {} bytes, too short for the PRF", contents.nonce.len())));
        }
        let ke = contents.ke.as_ref().ok_or_else(|| misbehaved("an answer without KE payload".into()))?;
        let group = self.key_pair.group();
        if suite.group != Some(group) || ke.group != group.iana() {
            return Err(misbehaved(format!("a key exchange of group {} in answer to {}", ke.group, group.iana())));
        }
        let shared = self.key_pair.agree(&ke.data).map_err(|bad| misbehaved(bad.to_string()))?;
        let fresh = Freshness {
            nonce_i: &self.nonce,
            nonce_r: &contents.nonce,
            spi_i: link.spi_i,
            spi_r: header.responder_spi,
        };
        let prf = suite.prf.ok_or_else(|| misbehaved("an answer without PRF".into()))?;
        let seed = keys::seed(prf, &shared, &fresh);
        let (keys, messages) =
            keys::expand(&suite, &seed, &fresh).ok_or_else(|| misbehaved("keys that cannot be made".into()))?;
        let protection =
            Protection::new(&suite, &messages, true).ok_or_else(|| misbehaved("keys that cannot be used".into()))?;
        Ok(auth::Fresh { keys, suite, protection })
    }

    #[expect(clippy::too_many_arguments, reason = "everything the next state is made of")]
    fn proceed(
        self: Box<Self>,
        link: &mut Link,
        cx: &mut Cx<'_>,
        tunnel: &Arc<Tunnel>,
        header: &Header,
        contents: &Contents,
        raw: &[u8],
        fresh: auth::Fresh,
    ) -> State {
        link.outgoing.answered();
        link.spi_r = header.responder_spi;
        link.protection = Some(fresh.protection);
        link.fragments = contents.notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED).is_some();
        let seen = nat::read(tunnel.nat_traversal, link.spi_i, link.spi_r, &link.path, &contents.notifies);
        link.nat = seen.unwrap_or_default();
        link.traverses = seen.is_some();
        if link.encapsulates() {
            link.path = nat::float(&link.path);
        }
        let signed = auth::Signed {
            request: self.message,
            response: raw.to_vec(),
            nonce_i: self.nonce,
            nonce_r: contents.nonce.clone(),
        };
        auth::ask(link, cx, tunnel, fresh.keys, fresh.suite, signed, self.wanted)
    }

    /// How far it has come, for people.
    pub(super) fn progress(&self, link: &Link, now: Instant) -> String {
        let mut text = progress(link, now, "connecting");
        if let Some(hint) = &self.hint {
            let peer = link.peer();
            let found = hint.explain(peer).found;
            text.push_str(&format!("; {peer} answers {found} (unprotected, so asked again)"));
        }
        text
    }

    /// Nothing more is awaited: why the attempt has failed.
    pub(super) fn reason(&self, link: &Link, cx: &Cx<'_>) -> Reason {
        self.hint.clone().unwrap_or_else(|| no_answer(link, cx, "IKE_SA_INIT"))
    }
}

fn misbehaved(tunnel: &Tunnel, what: String) -> Reason {
    Reason::Misbehaved { tunnel: Some(tunnel.name.clone()), what }
}

/// For how long an IKE SA has been on its way, and how often its outstanding request went out.
pub(super) fn progress(link: &Link, now: Instant, doing: &str) -> String {
    let age = now.since(link.born).as_secs();
    match link.outgoing.sent.as_ref().map_or(0, |sent| sent.tries) {
        1 => format!("{doing} for {age}s, sent once"),
        tries => format!("{doing} for {age}s, sent {tries} times"),
    }
}

/// The outstanding request was sent often enough.
pub(super) fn no_answer(link: &Link, cx: &Cx<'_>, exchange: &'static str) -> Reason {
    let (tries, after) = match &link.outgoing.sent {
        Some(sent) => (sent.tries, cx.now.since(sent.first_sent)),
        None => (0, base::Duration::ZERO),
    };
    Reason::NoAnswer { tunnel: link.tunnel_name(), exchange, tries, after }
}
