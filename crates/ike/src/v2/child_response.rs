//! Granting a child SA, in IKE_AUTH or CREATE_CHILD_SA: RFC 7296 sections 1.2, 1.3.1, 1.3.3, 2.8, 2.9 and 2.25.

use base::{Secret, Selector};
use wire::ike::{KeyExchange, Notify, NotifyType, Payload, ProtocolId};

use super::child::{Child, Making, Phase};
use super::child_request::{Purpose, Rival};
use super::established::{Active, Established, Task};
use super::link::{Asked, Link};
use super::rules::{CREATE_CHILD, Contents, selectors as wire_selectors};
use super::{Cx, nonce_min, offers};
use crate::proposal::{GroupRule, Policy, Suite, choose};
use crate::reason::{Reason, Subject};
use crate::selectors::{Narrowed, Side, narrow};
use crate::{ChildId, SaPer, Tunnel};

/// Child SAs that one IKE SA may have. A peer needs one for each pair of networks, and a second while it rekeys.
pub(super) const CHILDREN_MAX: usize = 256;
/// As many of a tunnel with child SAs per host or port.
pub(super) const CHILDREN_OF_UNITS_MAX: usize = 16_384;

/// Child SAs that one IKE SA of a tunnel may have.
pub(super) fn children_max(tunnel: &Tunnel) -> usize {
    if tunnel.sa_per == SaPer::Net { CHILDREN_MAX } else { CHILDREN_OF_UNITS_MAX }
}

/// What the peer is granted.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) spi_in: u32,
    pub(super) spi_out: u32,
    number: u8,
    pub(super) suite: Suite,
    pub(super) local: Vec<Selector>,
    pub(super) remote: Vec<Selector>,
}

/// Proposals and networks of a request against those of a tunnel.
pub(super) fn grant(
    cx: &mut Cx<'_>,
    tunnel: &Tunnel,
    contents: &Contents,
    groups: GroupRule<'_>,
) -> Result<Grant, Reason> {
    let name = || tunnel.name.clone();
    let (local, remote) = match narrow(&contents.ts_r, &contents.ts_i, &tunnel.local_networks, &tunnel.remote_networks)
    {
        Narrowed::Granted { local, remote } => (local, remote),
        Narrowed::Refused(side) => {
            let (offered, configured) = match side {
                Side::Local => (&contents.ts_r, &tunnel.local_networks),
                Side::Remote => (&contents.ts_i, &tunnel.remote_networks),
            };
            return Err(Reason::Selectors {
                tunnels: vec![name()],
                side,
                offered: offered.clone(),
                configured: configured.clone(),
            });
        }
    };
    let policy = Policy::esp(&tunnel.esp, groups, tunnel.esn);
    let offered = offers::read(&contents.sa, ProtocolId::ESP);
    let (number, suite) = choose(&offered, &policy).map_err(|mismatch| Reason::NoProposal {
        tunnel: name(),
        subject: Subject::Child,
        mismatch,
    })?;
    let spi_out = contents
        .sa
        .iter()
        .find(|proposal| proposal.number == number && proposal.protocol == ProtocolId::ESP)
        .and_then(wire::ike::Proposal::spi_u32)
        .filter(|spi| *spi != 0)
        .ok_or_else(|| Reason::Misbehaved { tunnel: Some(name()), what: "an ESP proposal without SPI".into() })?;
    Ok(Grant { spi_in: cx.registry.esp_spi(cx.random), spi_out, number, suite, local, remote })
}

impl Grant {
    /// SA, TSi and TSr of the answer.
    pub(super) fn write(&self, payloads: &mut Vec<Payload>, groups: GroupRule<'_>) {
        let mut answer = self.suite.as_offer(self.number, self.spi_in.to_be_bytes().to_vec());
        if groups == GroupRule::Ignored {
            answer.groups.clear();
        }
        payloads.push(Payload::Sa(offers::write(&[answer], ProtocolId::ESP)));
        payloads.push(Payload::TsI(wire_selectors(&self.remote)));
        payloads.push(Payload::TsR(wire_selectors(&self.local)));
    }
}

/// The child SA that a request is to replace.
struct Replaced {
    spi_in: u32,
    id: ChildId,
}

impl Established {
    /// Answers a request for a child SA, new or rekeyed. True when it was too broken for the IKE SA to go on.
    pub(super) fn answer_child(
        &mut self,
        link: &mut Link,
        cx: &mut Cx<'_>,
        asked: &Asked,
        contents: &Contents,
    ) -> bool {
        let Err(notify) = self.try_child(link, cx, asked, contents) else { return false };
        let broken = notify.kind == NotifyType::INVALID_SYNTAX;
        link.respond(cx, asked, &[Payload::Notify(notify)]);
        broken
    }

    fn try_child(
        &mut self,
        link: &mut Link,
        cx: &mut Cx<'_>,
        asked: &Asked,
        contents: &Contents,
    ) -> Result<(), Notify> {
        let plain = |kind| Notify::new(kind, Vec::new());
        let Some(tunnel) = link.tunnel.clone() else { return Err(plain(NotifyType::NO_ADDITIONAL_SAS)) };
        contents.check(CREATE_CHILD).map_err(|_| plain(NotifyType::INVALID_SYNTAX))?;
        if contents.nonce.len() < nonce_min(&self.suite) {
            return Err(plain(NotifyType::INVALID_SYNTAX));
        }
        // RFC 7296 section 2.25.2: not while the IKE SA itself is being replaced.
        if matches!(self.active, Some(Active::Ike(_))) || self.successor.is_some() {
            return Err(plain(NotifyType::TEMPORARY_FAILURE));
        }
        let old = self.replaced_by(contents)?;
        // What was replaced goes with the peer's DELETE, or ours after a while: a peer may not replace faster for ever.
        let limit = children_max(&tunnel) * if old.is_some() { 2 } else { 1 };
        if self.children.len() >= limit {
            cx.counters.child_limit += 1;
            let reason = Reason::Limit { tunnel: Some(tunnel.name.clone()), what: "child SAs", limit };
            link.child_failed(cx, &reason, false);
            return Err(plain(NotifyType::NO_ADDITIONAL_SAS));
        }
        let groups = Policy::pfs(&tunnel.pfs_groups);
        let grant = grant(cx, &tunnel, contents, groups).map_err(|reason| {
            link.child_failed(cx, &reason, false);
            plain(reason.notify().unwrap_or(NotifyType::NO_PROPOSAL_CHOSEN))
        })?;
        let exchanged = exchange_keys(cx, &grant, contents).inspect_err(|_| cx.registry.release_esp(grant.spi_in))?;
        let nonce = cx.nonce();
        let mut payloads = Vec::new();
        grant.write(&mut payloads, groups);
        payloads.insert(1, Payload::Nonce(nonce.clone()));
        if let Some((ke, _)) = &exchanged {
            payloads.insert(2, Payload::Ke(ke.clone()));
        }
        let making = Making {
            spi_in: grant.spi_in,
            spi_out: grant.spi_out,
            suite: grant.suite,
            shared: exchanged.as_ref().map(|(_, shared)| shared),
            nonce_i: &contents.nonce,
            nonce_r: &nonce,
            we_began: false,
            local: grant.local,
            remote: grant.remote,
            replaces: old.as_ref().map(|old| old.id),
            // A new pair has nothing to fall back on; a replacing one waits for the peer (see ChildSa::outbound_now).
            outbound_now: old.is_none(),
        };
        let child = Child::make(link, cx, &self.keys, making).ok_or_else(|| plain(NotifyType::NO_PROPOSAL_CHOSEN))?;
        let spi_in = child.spi_in;
        self.children.insert(spi_in, child);
        if let Some(old) = old {
            let lowest_nonce = contents.nonce.as_slice().min(&nonce).to_vec();
            self.superseded(link, cx, &old, Rival { spi_in, lowest_nonce });
        }
        link.respond(cx, asked, &payloads);
        Ok(())
    }

    /// The child SA that REKEY_SA names, by the SPI under which the peer receives.
    fn replaced_by(&self, contents: &Contents) -> Result<Option<Replaced>, Notify> {
        let Some(notify) = contents.notify(NotifyType::REKEY_SA) else { return Ok(None) };
        let spi = notify.spi_u32().filter(|_| notify.protocol == ProtocolId::ESP);
        let Some(spi) = spi else { return Err(Notify::new(NotifyType::INVALID_SYNTAX, Vec::new())) };
        match self.children.values().find(|child| child.spi_out == spi) {
            None => Err(Notify::esp(NotifyType::CHILD_SA_NOT_FOUND, spi)),
            Some(child) if child.phase == Phase::Current => Ok(Some(Replaced { spi_in: child.spi_in, id: child.id })),
            // RFC 7296 section 2.25.1: we are closing it, or have replaced it already.
            Some(_) => Err(Notify::new(NotifyType::TEMPORARY_FAILURE, Vec::new())),
        }
    }

    /// The peer has rekeyed a child SA. If we were about to, that wish is void; if we have asked already, the two collide.
    fn superseded(&mut self, link: &Link, cx: &mut Cx<'_>, old: &Replaced, rival: Rival) {
        if let Some(child) = self.children.get_mut(&old.spi_in) {
            child.replaced(link, cx);
        }
        self.tasks.retain(|task| *task != Task::RekeyChild(old.spi_in));
        if let Some(Active::Child(request)) = &mut self.active
            && request.purpose == Purpose::Rekey(old.spi_in)
        {
            request.theirs = Some(rival);
        }
    }
}

/// The responder's half of perfect forward secrecy: our KE payload and the shared secret.
fn exchange_keys(cx: &mut Cx<'_>, grant: &Grant, contents: &Contents) -> Result<Option<(KeyExchange, Secret)>, Notify> {
    let Some(group) = grant.suite.group else { return Ok(None) };
    let wanted = || Notify::new(NotifyType::INVALID_KE_PAYLOAD, group.iana().to_be_bytes().to_vec());
    let ke = contents.ke.as_ref().filter(|ke| ke.group == group.iana()).ok_or_else(wanted)?;
    let pair = group.generate(cx.random);
    let shared = pair.agree(&ke.data).map_err(|_| Notify::new(NotifyType::INVALID_SYNTAX, Vec::new()))?;
    Ok(Some((KeyExchange { group: group.iana(), data: pair.public().to_vec() }, shared)))
}
