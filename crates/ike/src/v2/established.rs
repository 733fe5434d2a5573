//! An established IKE SA: both sides have proved who they are. Wishes queue here and go out one at a time.

use std::collections::{BTreeMap, VecDeque};

use base::{Duration, Instant};
use wire::ike::{Delete, ExchangeType, Id, Notify, NotifyType, Payload, ProtocolId};

use super::child::{Child, Phase, rekey_time};
use super::child_request::{ChildRequest, Purpose};
use super::closing::Closing;
use super::keys::Keys;
use super::link::{Asked, Link};
use super::rekey::IkeRequest;
use super::rules::Contents;
use super::sa::State;
use super::window::Patience;
use super::{Cx, Effect, SaId, Wanted};
use crate::proposal::Suite;
use crate::reason::Reason;
use crate::{ChildId, Tunnel, events};

/// Wishes that one IKE SA keeps waiting.
const TASKS_MAX: usize = 1024;
/// Hints make us ask a peer whether it lives this often at most.
const HINT_EVERY: Duration = Duration::from_secs(10);

/// Longer than any answer is waited for: by then the request has been given up.
const DOOMED_MAX: Duration = Duration::from_secs(3_600);

/// Something to be asked of the peer when its turn comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// A child SA that somebody wants.
    NewChild(Wanted),
    /// The rekeying of the child SA with this SPI of ours.
    RekeyChild(u32),
    /// The rekeying of the IKE SA.
    RekeyIke,
    /// The end of the child SAs with these SPIs of ours.
    Delete(Vec<u32>, &'static str),
    /// Whether the peer lives.
    Liveness,
}

/// What the outstanding request asks.
#[derive(Debug)]
pub(super) enum Active {
    Child(Box<ChildRequest>),
    Ike(Box<IkeRequest>),
    Delete(Vec<u32>, &'static str),
    Liveness,
}

/// An established IKE SA.
#[derive(Debug)]
pub(crate) struct Established {
    pub(super) keys: Keys,
    pub(super) suite: Suite,
    pub(super) local_id: Id,
    pub(super) remote_id: Id,
    pub(super) since: Instant,
    /// When it is to be rekeyed; `None` once that is under way or done.
    pub(super) rekey_at: Option<Instant>,
    pub(super) expires_at: Instant,
    pub(super) children: BTreeMap<u32, Child>,
    pub(super) tasks: VecDeque<Task>,
    /// Tasks that the peer has put off.
    pub(super) later: Vec<(Instant, Task)>,
    pub(super) active: Option<Active>,
    /// Last authenticated message from the peer.
    pub(super) last_heard: Instant,
    hinted_at: Option<Instant>,
    /// Another IKE SA has taken its place; it waits until then for the peer's DELETE.
    pub(super) successor: Option<Instant>,
    /// The peer made this IKE SA while we were replacing the same one, and here it is not known yet which of the two
    /// stands: the one that both replace, which has the child SAs until then.
    pub(super) pending: Option<SaId>,
    /// The peer has named another PFS group for the child SA being asked for.
    pub(super) changed_group: bool,
    /// How often a new child SA was put off since the peer last made one.
    pub(super) put_off: u32,
    /// Another IKE SA of the tunnel does its work.
    pub(super) spare: bool,
    /// It is to end, and why; but our rekeying is under way, and what that makes must end too.
    pub(super) doomed: Option<&'static str>,
}

impl Established {
    /// The IKE SA is complete. Logged, counted, and the registry told.
    pub(super) fn new(
        link: &Link,
        cx: &mut Cx<'_>,
        tunnel: &Tunnel,
        keys: Keys,
        suite: Suite,
        (local_id, remote_id): (Id, Id),
    ) -> Self {
        cx.counters.ike_established += 1;
        let (initiator_spi, responder_spi) = link.spis_hex();
        cx.log(&events::IkeSaNegotiationCompleted {
            tunnel: tunnel.name.clone(),
            local: link.path.local,
            remote: link.path.remote,
            initiator_spi,
            responder_spi,
            side: if link.initiator { "initiator" } else { "responder" },
            remote_id: remote_id.to_string(),
            auth: "pre-shared key",
            algorithms: suite.to_string(),
            lifetime: tunnel.ike_lifetime.as_secs(),
        });
        Self::fresh(cx, tunnel, keys, suite, local_id, remote_id)
    }

    /// An IKE SA at the beginning of its life.
    pub(super) fn fresh(
        cx: &mut Cx<'_>,
        tunnel: &Tunnel,
        keys: Keys,
        suite: Suite,
        local_id: Id,
        remote_id: Id,
    ) -> Self {
        Self {
            keys,
            suite,
            local_id,
            remote_id,
            since: cx.now,
            rekey_at: Some(rekey_time(cx, tunnel.ike_lifetime)),
            expires_at: cx.now + tunnel.ike_lifetime,
            children: BTreeMap::new(),
            tasks: VecDeque::new(),
            later: Vec::new(),
            active: None,
            last_heard: cx.now,
            hinted_at: None,
            successor: None,
            pending: None,
            changed_group: false,
            put_off: 0,
            spare: false,
            doomed: None,
        }
    }

    /// Queues child SAs that are not queued yet.
    pub(super) fn want(&mut self, wanted: Vec<Wanted>) {
        for wanted in wanted {
            let queued = self
                .tasks
                .iter()
                .chain(self.later.iter().map(|(_, task)| task))
                .any(|task| matches!(task, Task::NewChild(other) if other.pair == wanted.pair));
            if !queued {
                self.queue(Task::NewChild(wanted));
            }
        }
    }

    /// Queues a task unless it waits already.
    pub(super) fn queue(&mut self, task: Task) {
        if self.tasks.len() < TASKS_MAX && !self.tasks.contains(&task) {
            self.tasks.push_back(task);
        }
    }

    /// Stops using a child SA and queues its DELETE.
    pub(super) fn delete_child(&mut self, link: &Link, cx: &mut Cx<'_>, spi_in: u32, why: &'static str) {
        let Some(child) = self.children.get_mut(&spi_in).filter(|child| child.phase != Phase::Deleting) else {
            return;
        };
        child.phase = Phase::Deleting;
        child.rekey_at = None;
        child.retire(link, cx);
        cx.out.push(crate::Output::StopSending(child.id));
        self.queue(Task::Delete(vec![spi_in], why));
    }

    /// Queues the DELETE of a child SA that the peer made and we did not.
    pub(super) fn delete_unknown(&mut self, spi_in: u32) {
        self.queue(Task::Delete(vec![spi_in], "not as offered"));
    }

    /// A hint, which anybody may have forged, that the peer has lost us: it is asked, if nothing else is.
    pub(super) fn hint(&mut self, link: &mut Link, cx: &mut Cx<'_>) {
        let lately = self.hinted_at.is_some_and(|at| cx.now.since(at) < HINT_EVERY);
        if !lately && self.active.is_none() && self.successor.is_none() {
            self.hinted_at = Some(cx.now);
            self.queue(Task::Liveness);
            self.pump(link, cx);
        }
    }

    /// Sends the next request when none is outstanding.
    pub(super) fn pump(&mut self, link: &mut Link, cx: &mut Cx<'_>) {
        while self.active.is_none() && link.outgoing.sent.is_none() {
            let Some(task) = self.tasks.pop_front() else { return };
            self.begin(link, cx, task);
        }
    }

    fn begin(&mut self, link: &mut Link, cx: &mut Cx<'_>, task: Task) {
        let usual = Patience::usual(&cx.config.settings);
        // What was replaced asks for nothing but the end of its remains.
        if (self.successor.is_some() || self.doomed.is_some()) && !matches!(task, Task::Delete(..)) {
            return;
        }
        match task {
            Task::NewChild(wanted) => self.ask_child(link, cx, Purpose::New, Some(wanted), None),
            Task::RekeyChild(old) => self.ask_child(link, cx, Purpose::Rekey(old), None, None),
            Task::RekeyIke => self.ask_ike(link, cx, None),
            Task::Delete(spis, why) => {
                let payloads = [Payload::Delete(Delete::esp(&spis))];
                link.request(cx, ExchangeType::INFORMATIONAL, &payloads, usual);
                self.active = Some(Active::Delete(spis, why));
            }
            Task::Liveness => {
                link.request(cx, ExchangeType::INFORMATIONAL, &[], Patience::LIVENESS);
                self.active = Some(Active::Liveness);
            }
        }
    }

    /// The authenticated answer to the outstanding request.
    pub(super) fn answered(mut self: Box<Self>, link: &mut Link, cx: &mut Cx<'_>, contents: &Contents) -> State {
        link.outgoing.answered();
        if contents.notify(NotifyType::INVALID_SYNTAX).is_some() {
            let tunnel = link.tunnel_name();
            let exchange = if self.makes_something() { "CREATE_CHILD_SA" } else { "INFORMATIONAL" };
            let reason = Reason::PeerNotified { tunnel, exchange, notify: NotifyType::INVALID_SYNTAX };
            return self.break_off(link, cx, &reason);
        }
        match self.active.take() {
            Some(Active::Child(request)) => self.child_answered(link, cx, request, contents),
            Some(Active::Ike(request)) => {
                let replaced = self.ike_answered(link, cx, request, contents);
                if let Some(why) = self.doomed {
                    return self.close(link, cx, why);
                }
                if replaced {
                    return self.close(link, cx, "rekeyed");
                }
            }
            Some(Active::Delete(spis, why)) => {
                for spi in spis {
                    if let Some(child) = self.children.remove(&spi) {
                        child.end(link, cx, why);
                    }
                }
            }
            Some(Active::Liveness) | None => {}
        }
        if self.spare && self.children.is_empty() && self.tasks.is_empty() && self.active.is_none() {
            return self.close(link, cx, "duplicate");
        }
        self.pump(link, cx);
        State::Established(self)
    }

    /// An authenticated request of the peer.
    pub(super) fn asked(
        mut self: Box<Self>,
        link: &mut Link,
        cx: &mut Cx<'_>,
        asked: &Asked,
        contents: &Contents,
    ) -> State {
        if let Some(old) = self.pending
            && (asked.exchange == ExchangeType::CREATE_CHILD_SA || contents.deletes.iter().any(is_esp))
        {
            // The peer has settled on this IKE SA, and RFC 7296 section 2.8.2 gives it the child SAs. They come with the
            // next step, and the peer's request again after that: nothing is said that they would make wrong.
            self.pending = None;
            cx.effects.push(Effect::Yield(old));
            return State::Established(self);
        }
        if let Some(kind) = contents.critical {
            // RFC 7296 section 2.5: refused by name, and nothing of it done.
            let notify = Notify::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![kind.0]);
            link.respond(cx, asked, &[Payload::Notify(notify)]);
            return State::Established(self);
        }
        let broken = match asked.exchange {
            ExchangeType::INFORMATIONAL => return self.inform(link, cx, asked, contents),
            ExchangeType::CREATE_CHILD_SA if contents.sa.iter().any(|p| p.protocol == ProtocolId::IKE) => {
                self.answer_ike(link, cx, asked, contents)
            }
            ExchangeType::CREATE_CHILD_SA => self.answer_child(link, cx, asked, contents),
            _ => {
                cx.counters.unexpected += 1;
                link.respond(cx, asked, &[Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, Vec::new()))]);
                true
            }
        };
        if broken {
            let what = format!("a request of exchange {} that breaks the rules", asked.exchange.0);
            let tunnel = link.tunnel.as_ref().map(|tunnel| tunnel.name.clone());
            return self.break_off(link, cx, &Reason::Misbehaved { tunnel, what });
        }
        self.pump(link, cx);
        State::Established(self)
    }

    /// RFC 7296 section 2.21.3: where INVALID_SYNTAX was said, both sides end the IKE SA without a further word.
    fn break_off(mut self: Box<Self>, link: &mut Link, cx: &mut Cx<'_>, reason: &Reason) -> State {
        self.end_rival(cx, "broken message");
        link.failed(cx, reason);
        self.cut_children(link, cx, "broken message");
        self.log_end(link, cx, "broken message");
        Closing::linger(cx)
    }

    /// The outstanding request is a CREATE_CHILD_SA.
    const fn makes_something(&self) -> bool {
        matches!(self.active, Some(Active::Child(_) | Active::Ike(_)))
    }

    /// Every child SA goes at once, and this IKE SA with a DELETE to the peer.
    pub(super) fn close(mut self: Box<Self>, link: &mut Link, cx: &mut Cx<'_>, why: &'static str) -> State {
        self.end_rival(cx, why);
        if let Some(request @ Active::Ike(_)) = self.active.take_if(|active| matches!(active, Active::Ike(_))) {
            self.cut_children(link, cx, why);
            self.active = Some(request);
            self.doomed = Some(why);
            (self.rekey_at, self.expires_at) = (None, cx.now + DOOMED_MAX);
            if let Some(sent) = &mut link.outgoing.sent {
                (sent.patience, sent.tries) = (Patience::FAREWELL, 1);
            }
            return State::Established(self);
        }
        self.cut_children(link, cx, why);
        self.log_end(link, cx, why);
        Closing::farewell(link, cx, vec![Payload::Delete(Delete::ike())])
    }

    /// The end of all child SAs, without a word to the peer.
    pub(super) fn cut_children(&mut self, link: &Link, cx: &mut Cx<'_>, why: &'static str) {
        for child in std::mem::take(&mut self.children).into_values() {
            child.cut(link, cx, why);
        }
        match self.active.take() {
            Some(Active::Child(request)) => {
                cx.registry.release_esp(request.spi_in());
                if let (Purpose::New, Some(tunnel)) = (request.purpose, link.tunnel_id()) {
                    cx.out.push(crate::Output::Failed { tunnel });
                }
            }
            Some(Active::Ike(request)) => cx.registry.release_ike(request.spi()),
            Some(Active::Delete(..) | Active::Liveness) | None => {}
        }
        let put_off = std::mem::take(&mut self.later).into_iter().map(|(_, task)| task);
        let waiting = self.tasks.drain(..).chain(put_off).any(|task| matches!(task, Task::NewChild(_)));
        if let Some(tunnel) = link.tunnel_id().filter(|_| waiting) {
            cx.out.push(crate::Output::Failed { tunnel });
        }
    }

    pub(super) fn log_end(&self, link: &Link, cx: &mut Cx<'_>, why: &'static str) {
        let (initiator_spi, responder_spi) = link.spis_hex();
        cx.log(&events::IkeSaDeleted {
            tunnel: link.tunnel_name(),
            remote: link.path.remote,
            initiator_spi,
            responder_spi,
            why,
        });
    }

    /// The tunnel has lost something; AutoEstablish brings it back.
    pub(super) fn missing(&self, link: &Link, cx: &mut Cx<'_>, at_once: bool) {
        if let Some(tunnel) = link.tunnel_id().filter(|_| self.successor.is_none() && self.doomed.is_none()) {
            cx.effects.push(Effect::Missing { tunnel, at_once });
        }
    }

    /// Its replacement is being made.
    pub(super) const fn rekeying(&self) -> bool {
        matches!(self.active, Some(Active::Ike(_)))
    }

    pub(super) fn child_by_id(&mut self, id: ChildId) -> Option<&mut Child> {
        self.children.values_mut().find(|child| child.id == id)
    }
}

fn is_esp(delete: &Delete) -> bool {
    delete.protocol == ProtocolId::ESP
}

#[cfg(test)]
mod tests {
    use crate::pair::{A, B, Fate, Pair, pair};
    use crate::v2::Forgery;

    const CREATE_CHILD_SA: u8 = 36;
    const NOTIFY: u8 = 41;
    /// A notification INVALID_SYNTAX.
    const INVALID_SYNTAX: &[u8] = &[0, 0, 0, 8, 0, 0, 0, 7];

    fn up() -> Pair {
        let mut world = pair(1, |_, _| {});
        world.connect(A);
        world.run(base::Duration::from_secs(1));
        assert!(world.ping());
        world
    }

    fn forge(world: &mut Pair, from: usize, response: bool) {
        let (exchange, id) = (CREATE_CHILD_SA, response.then_some(2));
        let forgery = Forgery { exchange, response, id, first: NOTIFY, chain: INVALID_SYNTAX };
        world.act(from, |endpoint, _, out| endpoint.forge(&forgery, out));
        world.run(base::Duration::from_secs(1));
    }

    fn is_over(world: &Pair, side: usize) {
        assert!(world.sides[side].children.is_empty());
        assert!(world.sides[side].endpoint.ike_sas(world.now).is_empty());
        assert_eq!(world.sides[side].events("ike_sa_failed").len(), 1);
    }

    #[test]
    fn a_request_without_its_payloads_ends_the_ike_sa_where_it_comes() {
        let mut world = up();
        forge(&mut world, A, false);
        is_over(&world, B);
    }

    #[test]
    fn invalid_syntax_in_an_answer_ends_the_ike_sa_too() {
        let mut world = up();
        world.script(|_, datagram| if datagram.from == A { Fate::Drop } else { Fate::Deliver });
        let id = *world.sides[A].children.keys().next().unwrap();
        world.act(A, |endpoint, now, out| endpoint.soft_limit(now, id, out));
        forge(&mut world, B, true);
        is_over(&world, A);
    }
}
