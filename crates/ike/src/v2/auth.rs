//! IKE_AUTH with a pre-shared key: RFC 7296 sections 1.2 and 2.15. The first child SA is made on the way.

use std::sync::Arc;

use base::Secret;
use wire::ike::{Auth, AuthMethod, ExchangeType, Id, Notify, NotifyType, Payload, PayloadType};

use super::child::{Child, Making};
use super::child_request::{ChildOffer, read_answer};
use super::child_response::{self, Grant};
use super::closing::Closing;
use super::established::Established;
use super::init_response::HalfOpen;
use super::keys::{self, Freshness, Keys};
use super::link::{Asked, Link};
use super::protect::Protection;
use super::rules::{Contents, IKE_AUTH_REQUEST, IKE_AUTH_RESPONSE};
use super::sa::State;
use super::window::Patience;
use super::{Cx, Effect, Wanted, identity};
use crate::proposal::{GroupRule, Suite};
use crate::reason::Reason;
use crate::{Output, Tunnel};

/// Keys that IKE_SA_INIT has just made.
pub(super) struct Fresh {
    pub(super) keys: Keys,
    pub(super) suite: Suite,
    pub(super) protection: Protection,
}

/// What the two AUTH payloads are computed over: both first messages as they were sent, and the nonces.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) request: Vec<u8>,
    pub(super) response: Vec<u8>,
    pub(super) nonce_i: Vec<u8>,
    pub(super) nonce_r: Vec<u8>,
}

impl Signed {
    fn initiator(&self, keys: &Keys, psk: &Secret, id: &Id) -> Secret {
        keys::psk_auth(keys.prf, psk, &keys.pi, &self.request, &self.nonce_r, &id.body())
    }

    fn responder(&self, keys: &Keys, psk: &Secret, id: &Id) -> Secret {
        keys::psk_auth(keys.prf, psk, &keys.pr, &self.response, &self.nonce_i, &id.body())
    }
}

/// Our IKE_AUTH request is out; the responder has yet to prove who it is.
#[derive(Debug)]
pub(crate) struct AwaitAuth {
    keys: Keys,
    suite: Suite,
    signed: Signed,
    local_id: Id,
    child: Option<ChildOffer>,
    /// Child SAs for later.
    pub(super) wanted: Vec<Wanted>,
}

/// Sends the IKE_AUTH request. The first child SA wanted goes with it.
pub(super) fn ask(
    link: &mut Link,
    cx: &mut Cx<'_>,
    tunnel: &Arc<Tunnel>,
    keys: Keys,
    suite: Suite,
    signed: Signed,
    mut wanted: Vec<Wanted>,
) -> State {
    let local_id = identity::local(tunnel, link.path.local.ip());
    let auth = signed.initiator(&keys, &tunnel.psk, &local_id);
    let first = if wanted.is_empty() { None } else { Some(wanted.remove(0)) };
    let mut payloads = vec![
        Payload::IdI(local_id.clone()),
        Payload::Auth(Auth { method: AuthMethod::SHARED_KEY, data: auth.expose().to_vec() }),
    ];
    // RFC 7296 section 2.4: no other IKE SA may stand between the two identities. The peer's is not proved yet, but it
    // is at this address; another tunnel to it, up or on its way, must not be taken for forgotten.
    if cx.config.settings.initial_contact && !cx.registry.knows(link.peer()) {
        payloads.push(Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT, Vec::new())));
    }
    let child = first.map(|wanted| ChildOffer::new(cx, wanted));
    if let Some(child) = &child {
        child.write(tunnel, GroupRule::Ignored, &mut payloads);
    }
    let patience = Patience::usual(&cx.config.settings);
    link.request(cx, ExchangeType::IKE_AUTH, &payloads, patience);
    State::AwaitAuth(Box::new(AwaitAuth { keys, suite, signed, local_id, child, wanted }))
}

impl AwaitAuth {
    /// The authenticated answer to our IKE_AUTH request.
    pub(super) fn receive(self: Box<Self>, link: &mut Link, cx: &mut Cx<'_>, contents: &Contents) -> State {
        link.outgoing.answered();
        let Some(tunnel) = link.tunnel.clone() else { return State::Gone };
        let remote_id = match self.verify(&tunnel, contents) {
            Ok(id) => id,
            Err(reason) => {
                link.failed(cx, &reason);
                self.abandon(cx);
                return match reason {
                    // RFC 7296 section 2.21.2: the responder believes the IKE SA to stand and must be told.
                    Reason::WrongPsk { .. } | Reason::OtherAuthMethod { .. } | Reason::Misbehaved { .. } => {
                        Closing::refuse(link, cx, NotifyType::AUTHENTICATION_FAILED)
                    }
                    _ => State::Gone,
                };
            }
        };
        if contents.notify(NotifyType::INITIAL_CONTACT).is_some() {
            initial_contact(link, cx, &tunnel, &remote_id);
        }
        let (suite, signed) = (self.suite, self.signed);
        let mut established = Established::new(link, cx, &tunnel, self.keys, suite, (self.local_id, remote_id));
        if let Some(child) = self.child {
            established.first_child(link, cx, &tunnel, child, contents, (&signed.nonce_i, &signed.nonce_r));
        }
        established.want(self.wanted);
        established.pump(link, cx);
        State::Established(Box::new(established))
    }

    fn verify(&self, tunnel: &Tunnel, contents: &Contents) -> Result<Id, Reason> {
        let name = || tunnel.name.clone();
        let misbehaved = |what| Reason::Misbehaved { tunnel: Some(name()), what };
        if !contents.has(PayloadType::AUTH)
            && let Some(error) = contents.error()
        {
            return Err(match error.kind {
                NotifyType::AUTHENTICATION_FAILED => Reason::PeerRefusedAuth {
                    tunnel: name(),
                    psk: tunnel.psk_name.clone(),
                    identity: self.local_id.to_string(),
                },
                notify => Reason::PeerNotified { tunnel: name(), exchange: "IKE_AUTH", notify },
            });
        }
        contents.check_critical().map_err(misbehaved)?;
        contents.check(IKE_AUTH_RESPONSE).map_err(misbehaved)?;
        let (Some(id), Some(auth)) = (&contents.id_r, &contents.auth) else {
            return Err(misbehaved("an answer without IDr and AUTH".into()));
        };
        if auth.method != AuthMethod::SHARED_KEY {
            return Err(Reason::OtherAuthMethod { method: auth.method.to_string(), tunnels: vec![name()] });
        }
        if self.signed.responder(&self.keys, &tunnel.psk, id).same(&auth.data) {
            Ok(id.clone())
        } else {
            Err(Reason::WrongPsk { tunnels: vec![(name(), tunnel.psk_name.clone())], identity: id.to_string() })
        }
    }

    /// Gives back what was reserved.
    pub(super) fn abandon(&self, cx: &mut Cx<'_>) {
        if let Some(child) = &self.child {
            cx.registry.release_esp(child.spi_in);
        }
    }
}

impl HalfOpen {
    /// Computes the keys when the first protected message asks for them. False when the peer's public value is bad.
    pub(super) fn derive(&mut self, link: &mut Link) -> bool {
        if self.keys.is_some() {
            return true;
        }
        let Ok(shared) = self.key_pair.agree(&self.peer_public) else { return false };
        let fresh = Freshness {
            nonce_i: &self.signed.nonce_i,
            nonce_r: &self.signed.nonce_r,
            spi_i: link.spi_i,
            spi_r: link.spi_r,
        };
        let Some(prf) = self.suite.prf else { return false };
        let seed = keys::seed(prf, &shared, &fresh);
        let Some((keys, messages)) = keys::expand(&self.suite, &seed, &fresh) else { return false };
        link.protection = Protection::new(&self.suite, &messages, false);
        self.keys = Some(keys);
        link.protection.is_some()
    }

    /// An authenticated IKE_AUTH request.
    pub(super) fn answer(
        mut self: Box<Self>,
        link: &mut Link,
        cx: &mut Cx<'_>,
        asked: &Asked,
        contents: &Contents,
    ) -> State {
        let Some(keys) = self.keys.take() else { return State::Gone };
        link.path = asked.path;
        if let Some(kind) = contents.critical {
            let notify = Notify::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![kind.0]);
            let what = format!("a critical payload of unknown type {}", kind.0);
            return self.refuse(link, cx, asked, &Reason::Misbehaved { tunnel: None, what }, notify);
        }
        let verified = match self.verify(&keys, contents) {
            Ok(verified) => verified,
            Err(reason) => {
                let notify = reason.notify().unwrap_or(NotifyType::AUTHENTICATION_FAILED);
                return self.refuse(link, cx, asked, &reason, Notify::new(notify, Vec::new()));
            }
        };
        let Some(remote_id) = contents.id_i.clone() else { return State::Gone };
        let (tunnel, child) = stage_three(cx, &verified, contents);
        link.tunnel = Some(tunnel.clone());
        if contents.notify(NotifyType::INITIAL_CONTACT).is_some() {
            initial_contact(link, cx, &tunnel, &remote_id);
        }
        let local_id = identity::local(&tunnel, link.path.local.ip());
        let auth = self.signed.responder(&keys, &tunnel.psk, &local_id);
        let mut payloads = vec![
            Payload::IdR(local_id.clone()),
            Payload::Auth(Auth { method: AuthMethod::SHARED_KEY, data: auth.expose().to_vec() }),
        ];
        let mut established = Established::new(link, cx, &tunnel, keys, self.suite, (local_id, remote_id));
        let mut made: Option<Child> = None;
        match child {
            Ok(grant) => {
                let making = Making {
                    spi_in: grant.spi_in,
                    spi_out: grant.spi_out,
                    suite: grant.suite,
                    shared: None,
                    nonce_i: &self.signed.nonce_i,
                    nonce_r: &self.signed.nonce_r,
                    we_began: false,
                    local: grant.local.clone(),
                    remote: grant.remote.clone(),
                    replaces: None,
                    outbound_now: true,
                };
                grant.write(&mut payloads, GroupRule::Ignored);
                made = Child::make(link, cx, &established.keys, making);
            }
            Err(reason) => {
                let kind = reason.notify().unwrap_or(NotifyType::NO_PROPOSAL_CHOSEN);
                payloads.push(Payload::Notify(Notify::new(kind, Vec::new())));
                link.child_failed(cx, &reason, false);
            }
        }
        link.respond(cx, asked, &payloads);
        established.children.extend(made.map(|child| (child.spi_in, child)));
        State::Established(Box::new(established))
    }

    /// Stage 2: the tunnels whose key explains the peer's AUTH, in the administrator's order.
    fn verify(&self, keys: &Keys, contents: &Contents) -> Result<Verified, Reason> {
        contents.check(IKE_AUTH_REQUEST).map_err(|what| Reason::Misbehaved { tunnel: None, what })?;
        let names = || self.candidates.iter().map(|tunnel| tunnel.name.clone()).collect();
        let Some(id) = &contents.id_i else {
            return Err(Reason::Misbehaved { tunnel: None, what: "a message without IDi payload".into() });
        };
        let auth = match &contents.auth {
            Some(auth) if auth.method == AuthMethod::SHARED_KEY => auth,
            Some(auth) => {
                return Err(Reason::OtherAuthMethod { method: auth.method.to_string(), tunnels: names() });
            }
            // RFC 7296 section 2.16: leaving AUTH out asks for EAP.
            None => return Err(Reason::OtherAuthMethod { method: "EAP".into(), tunnels: names() }),
        };
        let fits = |tunnel: &&Arc<Tunnel>| self.signed.initiator(keys, &tunnel.psk, id).same(&auth.data);
        let verified: Vec<Arc<Tunnel>> = self.candidates.iter().filter(fits).cloned().collect();
        // The initiator may say whom it wants: that decides among tunnels with the same key, and only then.
        let asked_for = |tunnel: &&Arc<Tunnel>| match (&contents.id_r, &tunnel.local_identity) {
            (Some(wanted), crate::LocalIdentity::Fixed(_)) => {
                identity::same(wanted, &identity::local(tunnel, std::net::Ipv4Addr::UNSPECIFIED.into()))
            }
            _ => false,
        };
        let preferred: Vec<Arc<Tunnel>> = verified.iter().filter(asked_for).cloned().collect();
        let mut tunnels = if preferred.is_empty() { verified } else { preferred }.into_iter();
        match tunnels.next() {
            Some(first) => Ok(Verified { first, others: tunnels.collect() }),
            None => {
                let tunnels = self.candidates.iter().map(|t| (t.name.clone(), t.psk_name.clone())).collect();
                Err(Reason::WrongPsk { tunnels, identity: id.to_string() })
            }
        }
    }

    fn refuse(&mut self, link: &mut Link, cx: &mut Cx<'_>, asked: &Asked, reason: &Reason, notify: Notify) -> State {
        // With several candidates nobody knows whose trouble it is; the first in order is whom the peer most likely meant.
        link.tunnel = self.candidates.first().cloned();
        link.failed_stranger(cx, reason);
        link.respond(cx, asked, &[Payload::Notify(notify)]);
        Closing::linger(cx)
    }
}

/// The tunnels whose key the peer has, one at least.
struct Verified {
    first: Arc<Tunnel>,
    others: Vec<Arc<Tunnel>>,
}

/// Stage 3: the first tunnel whose networks and proposals fit; or the first of all, without a child SA, and why.
fn stage_three(cx: &mut Cx<'_>, verified: &Verified, contents: &Contents) -> (Arc<Tunnel>, Result<Grant, Reason>) {
    let first = child_response::grant(cx, &verified.first, contents, GroupRule::Ignored);
    if first.is_err() {
        for tunnel in &verified.others {
            if let Ok(grant) = child_response::grant(cx, tunnel, contents, GroupRule::Ignored) {
                return (tunnel.clone(), Ok(grant));
            }
        }
    }
    (verified.first.clone(), first)
}

fn initial_contact(link: &Link, cx: &mut Cx<'_>, tunnel: &Tunnel, remote_id: &Id) {
    cx.effects.push(Effect::InitialContact {
        tunnel: tunnel.id,
        remote_id: remote_id.clone(),
        except: link.id,
        before: link.born,
        remote: link.path.remote,
    });
}

impl Established {
    /// The child SA that IKE_AUTH made, or why it made none. The IKE SA stands either way (RFC 7296 section 2.21.2).
    fn first_child(
        &mut self,
        link: &mut Link,
        cx: &mut Cx<'_>,
        tunnel: &Tunnel,
        offer: ChildOffer,
        contents: &Contents,
        (nonce_i, nonce_r): (&[u8], &[u8]),
    ) {
        let answer = match read_answer(tunnel, &offer, GroupRule::Ignored, contents) {
            Ok(answer) => answer,
            Err(reason) => {
                cx.registry.release_esp(offer.spi_in);
                link.child_failed(cx, &reason, true);
                if reason.kind() == "answer_not_offered" {
                    self.delete_unknown(offer.spi_in);
                }
                return;
            }
        };
        let making = Making {
            spi_in: offer.spi_in,
            spi_out: answer.spi_out,
            suite: answer.suite,
            shared: None,
            nonce_i,
            nonce_r,
            we_began: true,
            local: answer.local,
            remote: answer.remote,
            replaces: None,
            outbound_now: true,
        };
        match Child::make(link, cx, &self.keys, making) {
            Some(child) => {
                self.children.insert(child.spi_in, child);
            }
            None => cx.out.push(Output::Failed { tunnel: tunnel.id }),
        }
    }
}
