//! What time does to an established IKE SA: repetition, rekeying, disuse, liveness, keep-alives.

use base::{Duration, Instant};

use super::child::Phase;
use super::established::{Active, Established, Task};
use super::link::Link;
use super::nat::KEEP_ALIVE;
use super::sa::State;
use super::window::Due;
use super::{Began, Cx, Effect};
use crate::reason::Reason;
use crate::{Output, Trouble, events};

/// Silence on ESP within this time counts as life while a liveness check is unanswered.
const FRESH: Duration = Duration::from_secs(3);

/// How many times the configured tries a request is given whose peer is heard otherwise.
const PERSISTENCE: u32 = 3;

impl Established {
    /// When time has something to do next, and what.
    pub(super) fn deadline(&self, link: &Link) -> (Instant, &'static str) {
        let mut next = (self.expires_at, "IKE SA ends");
        let mut earlier = |at: Option<Instant>, why| {
            if let Some(at) = at.filter(|at| *at < next.0) {
                next = (at, why);
            }
        };
        earlier(link.outgoing.deadline(), "repeat a request");
        earlier(self.rekey_at, "rekey the IKE SA");
        earlier(self.successor, "delete a replaced IKE SA");
        earlier(self.later.iter().map(|(at, _)| *at).min(), "ask again");
        for child in self.children.values() {
            earlier(Some(child.expires_at), "child SA ends");
            earlier(child.rekey_at, "rekey a child SA");
            if let Phase::Replaced { until } = child.phase {
                earlier(Some(until), "delete a replaced child SA");
            }
        }
        if self.successor.is_none() {
            earlier(self.liveness_at(link), "liveness");
            if link.nat.local {
                earlier(Some(link.last_sent + KEEP_ALIVE), "keep-alive");
            }
        }
        next
    }

    /// When the peer's silence is to be questioned, as far as IKE messages tell.
    fn liveness_at(&self, link: &Link) -> Option<Instant> {
        let interval = link.tunnel.as_ref()?.dpd_interval?;
        self.active.is_none().then_some(self.last_heard + interval)
    }

    /// Time has passed.
    pub(super) fn expire(mut self: Box<Self>, link: &mut Link, cx: &mut Cx<'_>) -> State {
        match link.outgoing.due(cx.now) {
            Due::Wait => {}
            Due::Repeat => link.repeat(cx),
            Due::GiveUp if self.still_heard(link, cx) => {
                if let Some(sent) = &mut link.outgoing.sent {
                    sent.tries = 1;
                    sent.next_at = cx.now + sent.wait;
                }
            }
            Due::GiveUp if self.worth_more_tries(link, cx) => {
                if let Some(sent) = &mut link.outgoing.sent {
                    sent.patience.tries += cx.config.settings.retransmit_tries.max(1);
                    (sent.tries, sent.next_at) = (sent.tries + 1, cx.now + sent.wait);
                }
                link.repeat(cx);
            }
            Due::GiveUp => return self.die(link, cx),
        }
        if self.successor.is_some_and(|until| until <= cx.now) {
            return self.close(link, cx, "replaced");
        }
        if self.expires_at <= cx.now {
            self.missing(link, cx, true);
            return self.close(link, cx, "expired");
        }
        if self.rekey_at.is_some_and(|at| at <= cx.now) {
            self.rekey_at = None;
            if self.children.is_empty() && !self.tasks.iter().any(|task| matches!(task, Task::NewChild(_))) {
                self.missing(link, cx, false);
                return self.close(link, cx, "unused");
            }
            self.queue(Task::RekeyIke);
        }
        self.expire_children(link, cx);
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= cx.now);
        self.later = later;
        due.into_iter().for_each(|(_, task)| self.queue(task));
        if self.successor.is_none() {
            self.check_liveness(link, cx);
            self.keep_alive(link, cx);
        }
        self.pump(link, cx);
        State::Established(self)
    }

    fn expire_children(&mut self, link: &mut Link, cx: &mut Cx<'_>) {
        let spis: Vec<u32> = self.children.keys().copied().collect();
        for spi in spis {
            let Some(child) = self.children.get_mut(&spi) else { continue };
            if child.expires_at <= cx.now {
                let was = child.phase;
                if let Some(child) = self.children.remove(&spi) {
                    child.cut(link, cx, "expired");
                }
                if was != Phase::Deleting {
                    self.queue(Task::Delete(vec![spi], "expired"));
                }
                if was == Phase::Current {
                    self.missing(link, cx, true);
                }
            } else if matches!(child.phase, Phase::Replaced { until } if until <= cx.now) {
                self.delete_child(link, cx, spi, "rekeyed");
            } else if child.rekey_at.is_some_and(|at| at <= cx.now) {
                child.rekey_at = None;
                let (id, usage) = (child.id, cx.traffic.usage(child.id));
                let used = usage.packets_in > 0 || usage.packets_out > 0;
                let kept = link
                    .tunnel
                    .as_ref()
                    .is_some_and(|tunnel| tunnel.auto_establish && !cx.registry.is_spare(tunnel.id, id));
                if used || kept {
                    self.queue(Task::RekeyChild(spi));
                } else {
                    self.delete_child(link, cx, spi, "unused");
                }
            }
        }
    }

    /// Both sides began at the same time: of two child SAs for the same traffic one is enough. Who began the IKE SA of
    /// the spare one deletes it, and the IKE SA once it is empty.
    pub(super) fn drop_spares(&mut self, link: &mut Link, cx: &mut Cx<'_>) {
        let Some(tunnel) = link.tunnel_id().filter(|_| link.initiator && self.successor.is_none()) else { return };
        let spares: Vec<u32> = self
            .children
            .values()
            .filter(|child| child.is_current() && cx.registry.is_spare(tunnel, child.id))
            .map(|child| child.spi_in)
            .collect();
        for spi in spares {
            self.spare = true;
            self.delete_child(link, cx, spi, "duplicate");
        }
        self.pump(link, cx);
    }

    /// The data path wants a child SA replaced before its time.
    pub(super) fn soft_limit(&mut self, link: &mut Link, cx: &mut Cx<'_>, child: crate::ChildId) {
        let Some(child) = self.child_by_id(child).filter(|child| child.is_current()) else { return };
        // `None`: its rekeying is under way already.
        if child.rekey_at.take().is_some() {
            let spi = child.spi_in;
            self.queue(Task::RekeyChild(spi));
            self.pump(link, cx);
        }
    }

    /// Nothing more may pass through a child SA.
    pub(super) fn hard_limit(&mut self, link: &mut Link, cx: &mut Cx<'_>, child: crate::ChildId) {
        let Some(spi) = self.child_by_id(child).map(|child| child.spi_in) else { return };
        let Some(child) = self.children.remove(&spi) else { return };
        let was = child.phase;
        child.cut(link, cx, "byte limit");
        if was != Phase::Deleting {
            self.queue(Task::Delete(vec![spi], "byte limit"));
        }
        if was == Phase::Current {
            self.missing(link, cx, true);
        }
        self.pump(link, cx);
    }

    /// Last authenticated packet of any kind from the peer.
    fn heard(&self, cx: &Cx<'_>) -> Instant {
        let esp = self.children.values().filter_map(|child| cx.traffic.usage(child.id).last_in).max();
        esp.map_or(self.last_heard, |esp| esp.max(self.last_heard))
    }

    /// A liveness check is unanswered, but the peer's ESP arrives: it lives, and IKE messages were lost.
    fn still_heard(&self, link: &Link, cx: &Cx<'_>) -> bool {
        let asked = link.outgoing.sent.as_ref().map(|sent| sent.first_sent);
        let heard = self.heard(cx);
        matches!(self.active, Some(Active::Liveness))
            && asked.is_some_and(|asked| heard > asked)
            && cx.now.since(heard) <= FRESH
    }

    /// Another request is unanswered, but the peer was heard since it was last sent: RFC 7296 section 2.4 calls no peer
    /// dead that still speaks. It is repeated on, though not without end: while it stands, no other can be made.
    fn worth_more_tries(&self, link: &Link, cx: &Cx<'_>) -> bool {
        let Some(sent) = &link.outgoing.sent else { return false };
        let most = cx.config.settings.retransmit_tries.saturating_mul(PERSISTENCE);
        let ours = matches!(self.active, Some(Active::Child(_) | Active::Ike(_) | Active::Delete(..)));
        let stands = self.successor.is_none() && self.doomed.is_none();
        ours && stands && sent.tries < most && cx.now.since(self.heard(cx)) <= sent.wait.max(FRESH)
    }

    fn check_liveness(&mut self, link: &Link, cx: &mut Cx<'_>) {
        let Some(interval) = link.tunnel.as_ref().and_then(|tunnel| tunnel.dpd_interval) else { return };
        if self.active.is_some() || self.last_heard + interval > cx.now {
            return;
        }
        // ESP says as much as IKE: look again an interval after the last packet.
        self.last_heard = self.heard(cx);
        if self.last_heard + interval <= cx.now {
            self.queue(Task::Liveness);
        }
    }

    fn keep_alive(&self, link: &mut Link, cx: &mut Cx<'_>) {
        if !link.nat.local || link.last_sent + KEEP_ALIVE > cx.now {
            return;
        }
        // What left as ESP went through the same NAT.
        let esp = self.children.values().filter(|child| child.udp_encapsulated);
        let sent = esp.filter_map(|child| cx.traffic.usage(child.id).last_out).max();
        match sent.filter(|sent| *sent + KEEP_ALIVE > cx.now) {
            Some(sent) => link.last_sent = sent,
            None => {
                cx.out.push(Output::KeepAlive { path: link.path });
                link.last_sent = cx.now;
            }
        }
    }

    /// The peer did not answer: all that was shared with it is void (RFC 7296 section 2.4).
    fn die(mut self: Box<Self>, link: &mut Link, cx: &mut Cx<'_>) -> State {
        self.yield_to_rival(cx);
        if self.successor.is_none() && self.doomed.is_none() {
            let silent = cx.now.since(self.heard(cx));
            let reason = Reason::PeerDead { tunnel: link.tunnel_name(), silent };
            let text = reason.explain(link.path.remote.ip());
            cx.counters.peers_dead += 1;
            cx.log(&events::DpdPeerDead {
                tunnel: link.tunnel_name(),
                local: link.path.local,
                remote: link.path.remote,
                reason: text.summary.clone(),
                found: text.found.clone(),
                children: self.children.len(),
            });
            let trouble = Trouble { at: cx.now, remote: link.path.remote.ip(), explanation: text };
            cx.effects.push(Effect::Trouble { tunnel: link.tunnel_id(), trouble, began: Began::Peer });
            self.missing(link, cx, true);
        }
        self.cut_children(link, cx, "peer dead");
        State::Gone
    }
}
