//! IKE_SA_INIT as responder. Until a cookie has come back nothing is known of who asks: no answer is larger than its
//! question, so that nobody is flooded in another's name, and nothing is kept that was not asked for with a right cookie once cookies are due.

use std::net::IpAddr;
use std::sync::Arc;

use crypto::{Group, KeyPair};
use wire::ike::{ExchangeType, Flags, Header, KeyExchange, Message, Notify, NotifyType, Payload, ProtocolId};

use super::auth::Signed;
use super::link::Link;
use super::nat;
use super::rules::{Contents, IKE_SA_INIT};
use super::sa::{IkeSa, State};
use super::{Began, Cx, digest, failed_ike, nonce_min, offers};
use crate::cookie::CookieJar;
use crate::proposal::{Mismatch, Offer, Policy, Suite, choose};
use crate::reason::{Reason, Subject};
use crate::refused::Refused;
use crate::{Path, RemoteEndpoint, Tunnel};

/// Our IKE_SA_INIT answer is out. Keys are not computed before the first protected message asks for them.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    pub(super) signed: Signed,
    pub(super) suite: Suite,
    pub(super) key_pair: KeyPair,
    pub(super) peer_public: Vec<u8>,
    /// The tunnels that this peer may be for, in the administrator's order.
    pub(super) candidates: Vec<Arc<Tunnel>>,
    pub(super) keys: Option<super::keys::Keys>,
    pub(crate) since: base::Instant,
}

/// What guards the door.
#[derive(Debug)]
pub(crate) struct Stranger<'a> {
    pub(crate) cookies: &'a mut CookieJar,
    /// Whose refusal was explained already.
    pub(crate) refused: &'a mut Refused,
    /// Nobody comes in without a cookie now.
    pub(crate) demand_cookie: bool,
}

/// Answers a first message: with a half-open IKE SA, or statelessly.
pub(crate) fn answer_stranger(
    cx: &mut Cx<'_>,
    stranger: &mut Stranger<'_>,
    path: Path,
    message: Message,
    raw: &[u8],
) -> Option<Box<IkeSa>> {
    let Message { header, payloads } = message;
    let contents = Contents::new(payloads);
    // What breaks the table is nothing we would discuss with a stranger.
    if contents.check(IKE_SA_INIT).is_err() || header.initiator_spi == 0 {
        cx.counters.malformed += 1;
        return None;
    }
    if !may_enter(cx, stranger, path, &header, &contents) {
        return None;
    }
    if let Some(kind) = contents.critical {
        refuse(cx, path, &header, Notify::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![kind.0]));
        return None;
    }
    let ke = contents.ke.as_ref()?;
    let offered = offers::read(&contents.sa, ProtocolId::IKE);
    let chosen = match select(&cx.config.tunnels, &path, &offered) {
        Ok(chosen) => chosen,
        Err((tunnel, reason)) => {
            if let Some(kind) = reason.notify()
                && refuse(cx, path, &header, Notify::new(kind, Vec::new()))
                && stranger.refused.is_new(path.remote, header.initiator_spi)
            {
                let spis = (header.initiator_spi, 0);
                failed_ike(cx, tunnel.as_deref(), spis, &path, &reason, Began::Stranger);
            }
            return None;
        }
    };
    let group = chosen.suite.group?;
    if ke.group != group.iana() {
        // RFC 7296 section 1.2: the initiator guessed another group than the greatest that both know.
        let wanted = group.iana().to_be_bytes().to_vec();
        reply(cx, path, &header, 0, vec![Payload::Notify(Notify::new(NotifyType::INVALID_KE_PAYLOAD, wanted))]);
        return None;
    }
    if ke.data.len() != group.public_len() || contents.nonce.len() < nonce_min(&chosen.suite) {
        cx.counters.malformed += 1;
        return None;
    }
    open(cx, path, &header, &contents, chosen, group, ke, raw)
}

/// True when no cookie is due, or the right one came.
fn may_enter(cx: &mut Cx<'_>, stranger: &mut Stranger<'_>, path: Path, header: &Header, contents: &Contents) -> bool {
    let spi = header.initiator_spi;
    let given = contents.notify(NotifyType::COOKIE);
    if let Some(cookie) = given {
        if stranger.cookies.verify(cx.now, cx.random, path.remote, spi, &contents.nonce, &cookie.data) {
            cx.counters.cookies_accepted += 1;
            return true;
        }
        cx.counters.cookies_refused += 1;
    }
    if !stranger.demand_cookie {
        return true;
    }
    cx.counters.cookies_demanded += 1;
    let cookie = stranger.cookies.make(cx.now, cx.random, path.remote, spi, &contents.nonce);
    reply(cx, path, header, 0, vec![Payload::Notify(Notify::new(NotifyType::COOKIE, cookie))]);
    false
}

/// Refuses, unless that was done too often lately.
fn refuse(cx: &mut Cx<'_>, path: Path, header: &Header, notify: Notify) -> bool {
    let allowed = cx.refusals.take(cx.now);
    if allowed {
        reply(cx, path, header, 0, vec![Payload::Notify(notify)]);
    } else {
        cx.counters.rate_limited += 1;
    }
    allowed
}

/// Sends an unprotected answer to an IKE_SA_INIT request and returns its bytes. `None`: it would be larger than its
/// question.
fn reply(cx: &mut Cx<'_>, path: Path, request: &Header, spi_r: u64, payloads: Vec<Payload>) -> Option<Vec<u8>> {
    let flags = Flags { initiator: false, response: true, version: false };
    let header = Header::new(request.initiator_spi, spi_r, ExchangeType::IKE_SA_INIT, flags, 0);
    let message = Message { header, payloads }.write().ok()?;
    if message.len() > usize::try_from(request.length).unwrap_or(0) {
        cx.counters.malformed += 1;
        return None;
    }
    cx.counters.sent += 1;
    let ds = 0;
    cx.out.push(crate::Output::Send { path, ds, message: message.clone() });
    Some(message)
}

struct Chosen {
    number: u8,
    suite: Suite,
    candidates: Vec<Arc<Tunnel>>,
}

/// Stage 1 of the choice of a tunnel: addresses, then proposals, in the administrator's order. All that fit what was
/// chosen stay candidates for the later stages.
fn select(tunnels: &[Arc<Tunnel>], path: &Path, offered: &[Offer]) -> Result<Chosen, (Option<Arc<Tunnel>>, Reason)> {
    let (local, remote) = (path.local.ip(), path.remote.ip());
    let mut passed_over = Vec::new();
    let mut near: Vec<(&Arc<Tunnel>, Box<Mismatch>)> = Vec::new();
    let mut chosen: Option<Chosen> = None;
    for tunnel in tunnels {
        if let Some(why) = not_for(tunnel, local, remote) {
            passed_over.push((tunnel.name.clone(), why));
            continue;
        }
        let policy = Policy::ike(&tunnel.ike, &tunnel.groups);
        match &mut chosen {
            None => match choose(offered, &policy) {
                Ok((number, suite)) => chosen = Some(Chosen { number, suite, candidates: vec![tunnel.clone()] }),
                Err(mismatch) => near.push((tunnel, mismatch)),
            },
            Some(chosen) if choose(&[chosen.suite.as_offer(1, Vec::new())], &policy).is_ok() => {
                chosen.candidates.push(tunnel.clone());
            }
            Some(_) => {}
        }
    }
    if let Some(chosen) = chosen {
        return Ok(chosen);
    }
    let misses = |mismatch: &Mismatch| mismatch.nearest.as_ref().map_or(usize::MAX, |(_, kinds)| kinds.len());
    match near.into_iter().min_by_key(|(_, mismatch)| misses(mismatch)) {
        Some((tunnel, mismatch)) => {
            let reason = Reason::NoProposal { tunnel: tunnel.name.clone(), subject: Subject::Ike, mismatch };
            Err((Some(tunnel.clone()), reason))
        }
        None => Err((None, Reason::NoTunnel { local, passed_over })),
    }
}

/// Why a tunnel is not for these two addresses.
fn not_for(tunnel: &Tunnel, local: IpAddr, remote: IpAddr) -> Option<String> {
    if let Some(ours) = tunnel.local_endpoint.filter(|ours| *ours != local) {
        return Some(format!("LocalEndpoint is {ours}"));
    }
    match &tunnel.remote_endpoint {
        RemoteEndpoint::Any => None,
        RemoteEndpoint::Address(address) => (*address != remote).then(|| format!("RemoteEndpoint is {address}")),
        RemoteEndpoint::Within(ranges) => (!ranges.iter().any(|range| range.contains(remote)))
            .then(|| format!("RemoteEndpoint is {}", crate::selectors::list(ranges))),
    }
}

#[expect(clippy::too_many_arguments, reason = "everything a half-open IKE SA is made of")]
fn open(
    cx: &mut Cx<'_>,
    path: Path,
    header: &Header,
    contents: &Contents,
    chosen: Chosen,
    group: Group,
    ke: &KeyExchange,
    raw: &[u8],
) -> Option<Box<IkeSa>> {
    let id = cx.registry.sa_id();
    let spi_r = cx.registry.ike_spi(id, cx.random);
    let spi_i = header.initiator_spi;
    let mut link = Link::new(id, false, (spi_i, spi_r), path, cx.now);
    let mode = chosen.candidates.first().map_or(crate::NatTraversal::Off, |tunnel| tunnel.nat_traversal);
    link.fragments = contents.notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED).is_some();
    let peer_knows_nat = nat::read(mode, spi_i, 0, &path, &contents.notifies);
    link.nat = peer_knows_nat.unwrap_or_default();
    link.traverses = peer_knows_nat.is_some();
    // No longer than theirs, so that the answer is no larger than the question.
    let mut nonce = cx.nonce();
    nonce.truncate(contents.nonce.len().max(nonce_min(&chosen.suite)));
    let key_pair = group.generate(cx.random);
    let answer = chosen.suite.as_offer(chosen.number, Vec::new());
    let mut payloads = vec![
        Payload::Sa(offers::write(&[answer], ProtocolId::IKE)),
        Payload::Ke(KeyExchange { group: group.iana(), data: key_pair.public().to_vec() }),
        Payload::Nonce(nonce.clone()),
    ];
    if peer_knows_nat.is_some() {
        nat::write(mode, spi_i, spi_r, &path, cx.random, &mut payloads);
    }
    if link.fragments {
        payloads.push(Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, Vec::new())));
    }
    let Some(response) = reply(cx, path, header, spi_r, payloads) else {
        cx.registry.release_ike(spi_r);
        return None;
    };
    link.incoming.answered(digest(raw), vec![response.clone()]);
    let signed = Signed { request: raw.to_vec(), response, nonce_i: contents.nonce.clone(), nonce_r: nonce };
    let state = HalfOpen {
        signed,
        suite: chosen.suite,
        key_pair,
        peer_public: ke.data.clone(),
        candidates: chosen.candidates,
        keys: None,
        since: cx.now,
    };
    Some(Box::new(IkeSa { link, state: State::HalfOpen(Box::new(state)) }))
}
