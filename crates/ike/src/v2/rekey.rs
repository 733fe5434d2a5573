//! Rekeying the IKE SA itself: RFC 7296 sections 1.3.2, 2.8, 2.18 and 2.25.2.

use std::sync::Arc;

use crypto::{Group, KeyPair};
use wire::ike::{ExchangeType, KeyExchange, Notify, NotifyType, Payload, ProtocolId};

use super::child::{Child, Phase, REPLACED_WAIT};
use super::child_request::{PUT_OFF, put_off};
use super::established::{Active, Established, Task};
use super::keys::{self, Freshness};
use super::link::{Asked, Link};
use super::protect::Protection;
use super::rules::{Contents, REKEY_IKE};
use super::sa::{IkeSa, State};
use super::window::Patience;
use super::{Cx, Effect, SaId, Wanted, nonce_min, offers};
use crate::proposal::{Policy, Suite, accept, choose, propose};
use crate::reason::{Reason, Subject};
use crate::{Tunnel, events};

/// Our request to replace the IKE SA is out.
#[derive(Debug)]
pub(super) struct IkeRequest {
    id: SaId,
    spi: u64,
    nonce: Vec<u8>,
    key_pair: KeyPair,
    /// The peer has begun to replace it too: its new IKE SA, and the lower of its exchange's nonces.
    theirs: Option<(SaId, Vec<u8>)>,
}

impl IkeRequest {
    /// The SPI that was reserved.
    pub(super) const fn spi(&self) -> u64 {
        self.spi
    }
}

impl Established {
    /// Asks for the replacement. `group` overrides our first choice when the peer wants another.
    pub(super) fn ask_ike(&mut self, link: &mut Link, cx: &mut Cx<'_>, group: Option<Group>) {
        let Some(tunnel) = link.tunnel.clone() else { return };
        self.changed_group = group.is_some();
        // What both agreed on last is the best guess.
        let agreed = self.suite.group.filter(|group| tunnel.groups.contains(group));
        let Some(group) = group.or(agreed).or_else(|| tunnel.groups.iter().copied().max()) else { return };
        let id = cx.registry.sa_id();
        let spi = cx.registry.ike_spi(id, cx.random);
        let nonce = cx.nonce();
        let key_pair = group.generate(cx.random);
        let offered = propose(&Policy::ike(&tunnel.ike, &tunnel.groups), &spi.to_be_bytes());
        let payloads = [
            Payload::Sa(offers::write(&offered, ProtocolId::IKE)),
            Payload::Nonce(nonce.clone()),
            Payload::Ke(KeyExchange { group: group.iana(), data: key_pair.public().to_vec() }),
        ];
        let patience = Patience::usual(&cx.config.settings);
        link.request(cx, ExchangeType::CREATE_CHILD_SA, &payloads, patience);
        self.active = Some(Active::Ike(Box::new(IkeRequest { id, spi, nonce, key_pair, theirs: None })));
    }

    /// The authenticated answer to it. True when this IKE SA is to be deleted by us now.
    pub(super) fn ike_answered(
        &mut self,
        link: &mut Link,
        cx: &mut Cx<'_>,
        request: Box<IkeRequest>,
        contents: &Contents,
    ) -> bool {
        let Some(tunnel) = link.tunnel.clone() else { return false };
        let (suite, new_link, keys) = match self.finish(link, cx, &tunnel, &request, contents) {
            Ok(made) => made,
            Err(reason) => {
                cx.registry.release_ike(request.spi);
                self.ike_refused(link, cx, &tunnel, *request, contents, &reason);
                return false;
            }
        };
        // RFC 7296 section 2.8.1: the replacement with the lowest of the four nonces is void; who made it deletes it.
        let own_lowest = request.nonce.as_slice().min(contents.nonce.as_slice());
        let rival = request.theirs.as_ref().filter(|(rival, _)| cx.registry.is_established(*rival));
        // Where the peer's has taken over already, that was the peer's word on it.
        let void = rival.is_some_and(|(_, theirs)| own_lowest < theirs.as_slice() || self.successor.is_some());
        let ids = (self.local_id.clone(), self.remote_id.clone());
        let mut new = Box::new(Self::fresh(cx, &tunnel, keys, suite, ids.0, ids.1));
        let mut new_link = new_link;
        if void {
            new.successor = Some(cx.now + REPLACED_WAIT);
            let state = new.close(&mut new_link, cx, "lost a rekeying collision");
            cx.effects.push(Effect::Adopt(Box::new(IkeSa { link: new_link, state })));
            if let Some((rival, _)) = rival {
                self.hand_over(cx, *rival);
            }
            return false;
        }
        log_rekeyed(cx, &new_link, &suite);
        if let Some(why) = self.doomed {
            let state = new.close(&mut new_link, cx, why);
            cx.effects.push(Effect::Adopt(Box::new(IkeSa { link: new_link, state })));
            return true;
        }
        new.children = std::mem::take(&mut self.children);
        new.tasks = std::mem::take(&mut self.tasks);
        new.later = std::mem::take(&mut self.later);
        cx.effects.push(Effect::Adopt(Box::new(IkeSa { link: new_link, state: State::Established(new) })));
        if let Some((rival, _)) = rival {
            cx.effects.push(Effect::Supersede(*rival));
        }
        // It asks for nothing before the DELETE of this one has left: that tells a peer who still awaits the answer to
        // a rekeying of its own that ours stands.
        cx.effects.push(Effect::Hand { to: request.id, children: Vec::new(), wanted: Vec::new() });
        self.successor = Some(cx.now + REPLACED_WAIT);
        true
    }

    fn finish(
        &self,
        link: &Link,
        cx: &Cx<'_>,
        tunnel: &Arc<Tunnel>,
        request: &IkeRequest,
        contents: &Contents,
    ) -> Result<(Suite, Link, keys::Keys), Reason> {
        let name = || tunnel.name.clone();
        let misbehaved = |what: String| Reason::Misbehaved { tunnel: Some(name()), what };
        let policy = Policy::ike(&tunnel.ike, &tunnel.groups);
        if let Some(error) = contents.error() {
            return Err(if error.kind == NotifyType::NO_PROPOSAL_CHOSEN {
                let offered = policy.to_string();
                Reason::PeerRefusedProposals { tunnel: name(), subject: Subject::Ike, offered }
            } else {
                Reason::PeerNotified { tunnel: name(), exchange: "the rekeying", notify: error.kind }
            });
        }
        contents.check(REKEY_IKE).map_err(misbehaved)?;
        contents.check_critical().map_err(misbehaved)?;
        let answered = offers::read(&contents.sa, ProtocolId::IKE);
        let suite = accept(&answered, &policy).map_err(|_| misbehaved("algorithms that were not offered".into()))?;
        if contents.nonce.len() < nonce_min(&suite) {
            return Err(misbehaved("a nonce too short for the PRF".into()));
        }
        let spi = contents.sa.first().and_then(wire::ike::Proposal::spi_u64).filter(|spi| *spi != 0);
        let spi = spi.ok_or_else(|| misbehaved("an IKE SA without SPI".into()))?;
        let group = request.key_pair.group();
        let ke = contents.ke.as_ref().filter(|ke| ke.group == group.iana() && suite.group == Some(group));
        let ke = ke.ok_or_else(|| misbehaved("a key exchange of another group".into()))?;
        let shared = request.key_pair.agree(&ke.data).map_err(|bad| misbehaved(bad.to_string()))?;
        let fresh = Freshness { nonce_i: &request.nonce, nonce_r: &contents.nonce, spi_i: request.spi, spi_r: spi };
        let seed = keys::rekey_seed(&self.keys, &shared, &fresh);
        let made = keys::expand(&suite, &seed, &fresh);
        let (keys, messages) = made.ok_or_else(|| misbehaved("keys that cannot be made".into()))?;
        let mut new = link.successor(request.id, true, (request.spi, spi), cx.now);
        new.protection = Protection::new(&suite, &messages, true);
        Ok((suite, new, keys))
    }

    fn ike_refused(
        &mut self,
        link: &mut Link,
        cx: &mut Cx<'_>,
        tunnel: &Tunnel,
        request: IkeRequest,
        contents: &Contents,
        reason: &Reason,
    ) {
        if let Some((rival, _)) = request.theirs
            && cx.registry.is_established(rival)
        {
            // The peer's replacement is complete, and ours need not be.
            self.hand_over(cx, rival);
            return;
        }
        if let Some(notify) = contents.notify(NotifyType::INVALID_KE_PAYLOAD) {
            let group = notify.data_u16().and_then(Group::from_iana);
            let sent = request.key_pair.group();
            if let Some(group) = group.filter(|group| tunnel.groups.contains(group) && *group != sent)
                && !self.changed_group
                && self.doomed.is_none()
            {
                self.ask_ike(link, cx, Some(group));
                return;
            }
        }
        let left = self.expires_at.since(cx.now);
        if contents.notify(NotifyType::TEMPORARY_FAILURE).is_none() {
            link.child_failed(cx, reason, false);
        }
        self.rekey_at = (left > PUT_OFF * 2).then(|| cx.now + PUT_OFF.max(left / 8));
        if contents.notify(NotifyType::TEMPORARY_FAILURE).is_some() && left > PUT_OFF {
            self.rekey_at = Some(put_off(cx));
        }
    }

    /// Answers the peer's request to replace the IKE SA. True when it was too broken for the IKE SA to go on.
    pub(super) fn answer_ike(&mut self, link: &mut Link, cx: &mut Cx<'_>, asked: &Asked, contents: &Contents) -> bool {
        let Err(notify) = self.try_ike(link, cx, asked, contents) else { return false };
        let broken = notify.kind == NotifyType::INVALID_SYNTAX;
        link.respond(cx, asked, &[Payload::Notify(notify)]);
        broken
    }

    fn try_ike(&mut self, link: &mut Link, cx: &mut Cx<'_>, asked: &Asked, contents: &Contents) -> Result<(), Notify> {
        let plain = |kind| Notify::new(kind, Vec::new());
        contents.check(REKEY_IKE).map_err(|_| plain(NotifyType::INVALID_SYNTAX))?;
        // RFC 7296 section 2.25.2: not while a child SA is being made, rekeyed or closed by us.
        let busy = matches!(self.active, Some(Active::Child(_) | Active::Delete(..)));
        let collided = matches!(&self.active, Some(Active::Ike(request)) if request.theirs.is_some());
        if busy || collided || self.successor.is_some() || self.doomed.is_some() {
            return Err(plain(NotifyType::TEMPORARY_FAILURE));
        }
        let tunnel = link.tunnel.clone().ok_or_else(|| plain(NotifyType::NO_PROPOSAL_CHOSEN))?;
        let offered = offers::read(&contents.sa, ProtocolId::IKE);
        let policy = Policy::ike(&tunnel.ike, &tunnel.groups);
        let (number, suite) = choose(&offered, &policy).map_err(|mismatch| {
            let reason = Reason::NoProposal { tunnel: tunnel.name.clone(), subject: Subject::Ike, mismatch };
            link.child_failed(cx, &reason, false);
            plain(NotifyType::NO_PROPOSAL_CHOSEN)
        })?;
        if contents.nonce.len() < nonce_min(&suite) {
            return Err(plain(NotifyType::INVALID_SYNTAX));
        }
        let group = suite.group.ok_or_else(|| plain(NotifyType::NO_PROPOSAL_CHOSEN))?;
        let ke = contents.ke.as_ref().filter(|ke| ke.group == group.iana());
        let ke = ke.ok_or_else(|| Notify::new(NotifyType::INVALID_KE_PAYLOAD, group.iana().to_be_bytes().to_vec()))?;
        let of_number = contents.sa.iter().find(|p| p.number == number && p.protocol == ProtocolId::IKE);
        let spi_i = of_number.and_then(wire::ike::Proposal::spi_u64).filter(|spi| *spi != 0);
        let spi_i = spi_i.ok_or_else(|| plain(NotifyType::INVALID_SYNTAX))?;
        let pair = group.generate(cx.random);
        let shared = pair.agree(&ke.data).map_err(|_| plain(NotifyType::INVALID_SYNTAX))?;
        let nonce = cx.nonce();
        let id = cx.registry.sa_id();
        let spi_r = cx.registry.ike_spi(id, cx.random);
        let fresh = Freshness { nonce_i: &contents.nonce, nonce_r: &nonce, spi_i, spi_r };
        let seed = keys::rekey_seed(&self.keys, &shared, &fresh);
        let (keys, messages) =
            keys::expand(&suite, &seed, &fresh).ok_or_else(|| plain(NotifyType::NO_PROPOSAL_CHOSEN))?;
        let mut new_link = link.successor(id, false, (spi_i, spi_r), cx.now);
        new_link.protection = Protection::new(&suite, &messages, false);
        let ids = (self.local_id.clone(), self.remote_id.clone());
        let mut new = Box::new(Self::fresh(cx, &tunnel, keys, suite, ids.0, ids.1));
        new.pending = matches!(self.active, Some(Active::Ike(_))).then_some(link.id);
        let answer = suite.as_offer(number, spi_r.to_be_bytes().to_vec());
        let payloads = [
            Payload::Sa(offers::write(&[answer], ProtocolId::IKE)),
            Payload::Nonce(nonce.clone()),
            Payload::Ke(KeyExchange { group: group.iana(), data: pair.public().to_vec() }),
        ];
        link.respond(cx, asked, &payloads);
        log_rekeyed(cx, &new_link, &suite);
        cx.effects.push(Effect::Adopt(Box::new(IkeSa { link: new_link, state: State::Established(new) })));
        let lowest = contents.nonce.as_slice().min(&nonce).to_vec();
        match &mut self.active {
            // Both have asked: who wins is known when our answer comes.
            Some(Active::Ike(request)) => request.theirs = Some((id, lowest)),
            _ => self.hand_over(cx, id),
        }
        Ok(())
    }

    /// The peer ends this IKE SA while both were replacing it, or uses its own replacement: that stands (RFC 7296
    /// section 2.8.2).
    pub(super) fn yield_to_rival(&mut self, cx: &mut Cx<'_>) {
        if let Some(Active::Ike(request)) = &self.active
            && let Some((rival, _)) = &request.theirs
            && cx.registry.is_established(*rival)
        {
            let rival = *rival;
            self.hand_over(cx, rival);
        }
    }

    /// This IKE SA is to end before it is known what replaces it: neither replacement may stay.
    pub(super) fn end_rival(&mut self, cx: &mut Cx<'_>, why: &'static str) {
        if let Some(Active::Ike(request)) = &mut self.active
            && self.successor.is_none()
            && let Some((id, _)) = request.theirs.take()
        {
            cx.effects.push(Effect::End { id, why });
        }
    }

    /// Everything that lives goes over to the IKE SA that takes this one's place.
    fn hand_over(&mut self, cx: &mut Cx<'_>, to: SaId) {
        self.successor = Some(cx.now + REPLACED_WAIT);
        self.rekey_at = None;
        let children = std::mem::take(&mut self.children).into_values().collect();
        let later = std::mem::take(&mut self.later).into_iter().map(|(_, task)| task);
        let wanted = std::mem::take(&mut self.tasks)
            .into_iter()
            .chain(later)
            .filter_map(|task| match task {
                Task::NewChild(wanted) => Some(wanted),
                _ => None,
            })
            .collect();
        cx.effects.push(Effect::Hand { to, children, wanted });
    }

    /// Takes over what an IKE SA hands on that this one replaces.
    pub(super) fn take_over(&mut self, link: &mut Link, cx: &mut Cx<'_>, children: Vec<Child>, wanted: Vec<Wanted>) {
        self.pending = None;
        for child in children {
            if child.phase == Phase::Deleting {
                self.queue(Task::Delete(vec![child.spi_in], "rekeyed"));
            } else if child.is_current() && child.rekey_at.is_none() {
                // Its rekeying was queued on the old IKE SA.
                self.queue(Task::RekeyChild(child.spi_in));
            }
            self.children.insert(child.spi_in, child);
        }
        self.want(wanted);
        self.pump(link, cx);
    }

    /// Lost a collision: the peer, who made it, is to delete it.
    pub(super) fn supersede(&mut self, cx: &mut Cx<'_>) {
        self.successor = Some(cx.now + REPLACED_WAIT);
        self.rekey_at = None;
        self.pending = None;
    }
}

fn log_rekeyed(cx: &mut Cx<'_>, link: &Link, suite: &Suite) {
    cx.counters.ike_rekeyed += 1;
    let (initiator_spi, responder_spi) = link.spis_hex();
    cx.log(&events::IkeSaRekeyed {
        tunnel: link.tunnel_name(),
        remote: link.path.remote,
        initiator_spi,
        responder_spi,
        side: if link.initiator { "initiator" } else { "responder" },
        algorithms: suite.to_string(),
    });
}
