//! Asking for a child SA, in IKE_AUTH or CREATE_CHILD_SA: RFC 7296 sections 1.2, 1.3.1, 1.3.3, 2.8 and 2.9.

use base::{Duration, Instant, Selector};
use crypto::{Group, KeyPair};
use wire::ike::{ExchangeType, KeyExchange, Notify, NotifyType, Payload, ProtocolId};

use super::child::{Child, Making, Phase};
use super::child_response::children_max;
use super::established::{Active, Established, Task};
use super::link::Link;
use super::rules::{CREATE_CHILD, Contents, selectors as wire_selectors};
use super::window::Patience;
use super::{Cx, Effect, Wanted, nonce_min, offers};
use crate::proposal::{GroupRule, Policy, Suite, accept, describe, propose};
use crate::reason::{Reason, Subject};
use crate::{Tunnel, selectors};

/// Shortest wait before something is asked again that the peer put off (TEMPORARY_FAILURE).
pub(super) const PUT_OFF: Duration = Duration::from_secs(2);
/// As much longer at most: two peers that put each other off at the same time must not meet again and again.
const PUT_OFF_SPREAD_MICROS: u64 = 4_000_000;

/// When something is asked again that the peer put off.
pub(super) fn put_off(cx: &mut Cx<'_>) -> Instant {
    cx.now + PUT_OFF + Duration::from_micros(cx.random.below(PUT_OFF_SPREAD_MICROS))
}

/// Our half of a child SA that is being asked for.
#[derive(Debug)]
pub(super) struct ChildOffer {
    pub(super) spi_in: u32,
    pub(super) local: Vec<Selector>,
    pub(super) remote: Vec<Selector>,
    /// `None` for a rekeying.
    pub(super) wanted: Option<Wanted>,
}

impl ChildOffer {
    pub(super) fn new(cx: &mut Cx<'_>, wanted: Wanted) -> Self {
        let (local, remote) = selectors::offer(wanted.pair, wanted.trigger.as_ref());
        Self { spi_in: cx.registry.esp_spi(cx.random), local, remote, wanted: Some(wanted) }
    }

    /// SA, TSi and TSr.
    pub(super) fn write(&self, tunnel: &Tunnel, groups: GroupRule<'_>, payloads: &mut Vec<Payload>) {
        let policy = Policy::esp(&tunnel.esp, groups, tunnel.esn);
        let offered = propose(&policy, &self.spi_in.to_be_bytes());
        payloads.push(Payload::Sa(offers::write(&offered, ProtocolId::ESP)));
        payloads.push(Payload::TsI(wire_selectors(&self.local)));
        payloads.push(Payload::TsR(wire_selectors(&self.remote)));
    }
}

/// What the responder made of our offer.
#[derive(Debug)]
pub(super) struct ChildAnswer {
    pub(super) spi_out: u32,
    pub(super) suite: Suite,
    pub(super) local: Vec<Selector>,
    pub(super) remote: Vec<Selector>,
}

/// Reads SA, TSi and TSr of an answer, or its error.
pub(super) fn read_answer(
    tunnel: &Tunnel,
    offer: &ChildOffer,
    groups: GroupRule<'_>,
    contents: &Contents,
) -> Result<ChildAnswer, Reason> {
    let name = || tunnel.name.clone();
    let policy = Policy::esp(&tunnel.esp, groups, tunnel.esn);
    if let Some(error) = contents.error() {
        return Err(match error.kind {
            NotifyType::NO_PROPOSAL_CHOSEN => {
                Reason::PeerRefusedProposals { tunnel: name(), subject: Subject::Child, offered: policy.to_string() }
            }
            NotifyType::TS_UNACCEPTABLE => Reason::PeerRefusedSelectors {
                tunnel: name(),
                local: offer.local.clone(),
                remote: offer.remote.clone(),
            },
            notify => Reason::PeerNotified { tunnel: name(), exchange: "an IPsec SA", notify },
        });
    }
    let answered = offers::read(&contents.sa, ProtocolId::ESP);
    let not_offered = |what, answer, offered| Reason::AnswerNotOffered { tunnel: name(), what, answer, offered };
    let suite =
        accept(&answered, &policy).map_err(|_| not_offered("algorithms", describe(&answered), policy.to_string()))?;
    let spi_out = contents
        .sa
        .iter()
        .find(|proposal| proposal.protocol == ProtocolId::ESP)
        .and_then(wire::ike::Proposal::spi_u32)
        .filter(|spi| *spi != 0)
        .ok_or_else(|| not_offered("an SPI", "none of four bytes".into(), "four bytes".into()))?;
    // RFC 7296 section 2.9: the responder may narrow, never widen.
    for (answer, offer) in [(&contents.ts_i, &offer.local), (&contents.ts_r, &offer.remote)] {
        if !selectors::is_subset(answer, offer) {
            return Err(not_offered("networks", selectors::list(answer), selectors::list(offer)));
        }
    }
    Ok(ChildAnswer { spi_out, suite, local: contents.ts_i.clone(), remote: contents.ts_r.clone() })
}

/// Why a child SA is asked for by CREATE_CHILD_SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// There was none.
    New,
    /// It takes the place of the one with this SPI of ours.
    Rekey(u32),
}

/// Our CREATE_CHILD_SA request for a child SA is out.
#[derive(Debug)]
pub(super) struct ChildRequest {
    pub(super) purpose: Purpose,
    offer: ChildOffer,
    nonce: Vec<u8>,
    key_pair: Option<KeyPair>,
    /// The peer has begun to rekey the same child SA: its pair, and the lower of its exchange's nonces.
    pub(super) theirs: Option<Rival>,
}

impl ChildRequest {
    /// The SPI that was reserved.
    pub(super) const fn spi_in(&self) -> u32 {
        self.offer.spi_in
    }
}

/// What the peer's half of a collision has made.
#[derive(Debug)]
pub(super) struct Rival {
    pub(super) spi_in: u32,
    pub(super) lowest_nonce: Vec<u8>,
}

impl Established {
    /// Asks for a child SA. `group` overrides our first choice when the peer wants another.
    pub(super) fn ask_child(
        &mut self,
        link: &mut Link,
        cx: &mut Cx<'_>,
        purpose: Purpose,
        wanted: Option<Wanted>,
        group: Option<Group>,
    ) {
        self.changed_group = group.is_some();
        let Some(tunnel) = link.tunnel.clone() else { return };
        // What both agreed on last is the best guess.
        let mut agreed = None;
        let offer = match (purpose, wanted) {
            (Purpose::New, Some(wanted)) => {
                if cx.registry.carries(tunnel.id, &wanted) {
                    return;
                }
                let limit = children_max(&tunnel);
                if self.children.len() >= limit {
                    cx.counters.child_limit += 1;
                    let reason = Reason::Limit { tunnel: Some(tunnel.name.clone()), what: "child SAs", limit };
                    return link.child_failed(cx, &reason, true);
                }
                ChildOffer::new(cx, wanted)
            }
            (Purpose::Rekey(old), _) => {
                let Some(old) = self.children.get(&old).filter(|old| old.is_current()) else { return };
                let (local, remote) = (old.local.clone(), old.remote.clone());
                agreed = old.suite.group.filter(|group| tunnel.pfs_groups.contains(group));
                ChildOffer { spi_in: cx.registry.esp_spi(cx.random), local, remote, wanted: None }
            }
            (Purpose::New, None) => return,
        };
        let mut payloads = Vec::new();
        if let Purpose::Rekey(old) = purpose {
            payloads.push(Payload::Notify(Notify::esp(NotifyType::REKEY_SA, old)));
        }
        let groups = Policy::pfs(&tunnel.pfs_groups);
        let group = group.or(agreed).or_else(|| tunnel.pfs_groups.iter().copied().max());
        let key_pair = group.map(|group| group.generate(cx.random));
        let nonce = cx.nonce();
        offer.write(&tunnel, groups, &mut payloads);
        payloads.insert(payloads.len().saturating_sub(2), Payload::Nonce(nonce.clone()));
        if let Some(pair) = &key_pair {
            let ke = KeyExchange { group: pair.group().iana(), data: pair.public().to_vec() };
            payloads.insert(payloads.len().saturating_sub(2), Payload::Ke(ke));
        }
        let patience = Patience::usual(&cx.config.settings);
        link.request(cx, ExchangeType::CREATE_CHILD_SA, &payloads, patience);
        self.active = Some(Active::Child(Box::new(ChildRequest { purpose, offer, nonce, key_pair, theirs: None })));
    }

    /// The authenticated answer to our request for a child SA.
    pub(super) fn child_answered(
        &mut self,
        link: &mut Link,
        cx: &mut Cx<'_>,
        request: Box<ChildRequest>,
        contents: &Contents,
    ) {
        let Some(tunnel) = link.tunnel.clone() else { return };
        match finish(&tunnel, &self.suite, &request, contents) {
            Ok((answer, shared)) => self.child_made(link, cx, *request, answer, shared.as_ref(), &contents.nonce),
            Err(reason) => self.child_refused(link, cx, &tunnel, *request, contents, &reason),
        }
    }

    fn child_made(
        &mut self,
        link: &mut Link,
        cx: &mut Cx<'_>,
        request: ChildRequest,
        answer: ChildAnswer,
        shared: Option<&base::Secret>,
        nonce_r: &[u8],
    ) {
        let old = match request.purpose {
            Purpose::New => None,
            Purpose::Rekey(old) => self.children.get(&old).map(|old| (old.spi_in, old.id)),
        };
        // RFC 7296 section 2.8.1: of two rekeyings of one child SA, the one with the lowest of the four nonces is void;
        // who made it deletes it.
        let own_lowest = request.nonce.as_slice().min(nonce_r);
        let void = request.theirs.as_ref().is_some_and(|theirs| own_lowest < theirs.lowest_nonce.as_slice());
        let making = Making {
            spi_in: request.offer.spi_in,
            spi_out: answer.spi_out,
            suite: answer.suite,
            shared,
            nonce_i: &request.nonce,
            nonce_r,
            we_began: true,
            local: answer.local,
            remote: answer.remote,
            replaces: old.map(|(_, id)| id),
            outbound_now: !void,
        };
        let Some(mut child) = Child::make(link, cx, &self.keys, making) else { return };
        self.put_off = 0;
        let spi_in = child.spi_in;
        if void {
            child.replaced(link, cx);
            self.children.insert(spi_in, child);
            self.delete_child(link, cx, spi_in, "lost a rekeying collision");
            return;
        }
        self.children.insert(spi_in, child);
        if let Some(theirs) = &request.theirs
            && let Some(theirs) = self.children.get_mut(&theirs.spi_in)
        {
            theirs.replaced(link, cx);
        }
        if let Some((old, _)) = old {
            self.delete_child(link, cx, old, "rekeyed");
        }
    }

    fn child_refused(
        &mut self,
        link: &mut Link,
        cx: &mut Cx<'_>,
        tunnel: &Tunnel,
        request: ChildRequest,
        contents: &Contents,
        reason: &Reason,
    ) {
        cx.registry.release_esp(request.offer.spi_in);
        if matches!(reason, Reason::AnswerNotOffered { .. } | Reason::Misbehaved { .. }) {
            // The responder has a child SA that we will not have.
            self.delete_unknown(request.offer.spi_in);
        }
        let error = contents.error().map(|error| error.kind);
        if error == Some(NotifyType::INVALID_KE_PAYLOAD) {
            let asked = contents.notify(NotifyType::INVALID_KE_PAYLOAD).and_then(Notify::data_u16);
            let sent = request.key_pair.as_ref().map(KeyPair::group);
            let group = asked.and_then(Group::from_iana);
            if let Some(group) = group.filter(|group| tunnel.pfs_groups.contains(group) && Some(*group) != sent)
                && !self.changed_group
            {
                self.ask_child(link, cx, request.purpose, request.offer.wanted, Some(group));
                return;
            }
        }
        match (request.purpose, error) {
            // The peer has rekeyed or deleted it in the meantime: what replaced it, if anything, is here already.
            (Purpose::Rekey(_), _) if request.theirs.is_some() => {}
            // RFC 7296 section 2.25: the peer cannot now. Later, while the old one lives.
            (Purpose::Rekey(old), Some(NotifyType::TEMPORARY_FAILURE)) => {
                if let Some(old) = self.children.get_mut(&old).filter(|old| old.phase == Phase::Current) {
                    old.rekey_at = Some(put_off(cx));
                }
            }
            // RFC 7296 section 2.25: the peer has no such child SA, so ours leads nowhere.
            (Purpose::Rekey(old), Some(NotifyType::CHILD_SA_NOT_FOUND)) => {
                if let Some(old) = self.children.remove(&old) {
                    old.cut(link, cx, "unknown to the peer");
                    cx.effects.push(Effect::Missing { tunnel: tunnel.id, at_once: true });
                }
            }
            (Purpose::Rekey(old), _) => {
                link.child_failed(cx, reason, false);
                // It lives on to its end, and is asked for once more before it.
                if let Some(old) = self.children.get_mut(&old).filter(|old| old.phase == Phase::Current) {
                    let half = old.expires_at.since(cx.now) / 2;
                    old.rekey_at = (half > PUT_OFF).then(|| cx.now + half);
                }
            }
            (Purpose::New, Some(NotifyType::TEMPORARY_FAILURE)) => match request.offer.wanted {
                Some(wanted) if self.put_off < 8 => {
                    self.put_off += 1;
                    self.later.push((put_off(cx), Task::NewChild(wanted)));
                }
                _ => link.child_failed(cx, reason, true),
            },
            // RFC 7296 section 2.9: the packet alone, without its network.
            (Purpose::New, Some(NotifyType::SINGLE_PAIR_REQUIRED)) => {
                let single =
                    request.offer.wanted.filter(|wanted| wanted.trigger.is_some() && request.offer.local.len() > 1);
                match single {
                    Some(mut wanted) => {
                        if let Some(trigger) = &wanted.trigger {
                            wanted.pair =
                                (Selector::all(trigger.source.0.into()), Selector::all(trigger.destination.0.into()));
                        }
                        wanted.trigger = None;
                        self.tasks.push_front(Task::NewChild(wanted));
                    }
                    None => link.child_failed(cx, reason, true),
                }
            }
            (Purpose::New, _) => link.child_failed(cx, reason, true),
        }
    }
}

/// Reads the answer and makes the shared secret of PFS.
fn finish(
    tunnel: &Tunnel,
    ike: &Suite,
    request: &ChildRequest,
    contents: &Contents,
) -> Result<(ChildAnswer, Option<base::Secret>), Reason> {
    let misbehaved = |what| Reason::Misbehaved { tunnel: Some(tunnel.name.clone()), what };
    let answer = read_answer(tunnel, &request.offer, Policy::pfs(&tunnel.pfs_groups), contents)?;
    contents.check(CREATE_CHILD).map_err(misbehaved)?;
    contents.check_critical().map_err(misbehaved)?;
    if contents.nonce.len() < nonce_min(ike) {
        return Err(misbehaved("a nonce too short for the PRF".into()));
    }
    let shared = match (&request.key_pair, &contents.ke) {
        (None, _) => None,
        (Some(pair), Some(ke)) if ke.group == pair.group().iana() && answer.suite.group == Some(pair.group()) => {
            Some(pair.agree(&ke.data).map_err(|bad| misbehaved(bad.to_string()))?)
        }
        (Some(_), _) => return Err(misbehaved("an answer without the key exchange that was asked for".into())),
    };
    Ok((answer, shared))
}
