//! One IKE SA: its link, its state, and the way of a message to the state that awaits it.

use std::sync::Arc;

use base::Instant;
use wire::ike::{Envelope, ExchangeType, Header, Message, NotifyType, Protection as Piece, parse_payloads};

use super::auth::AwaitAuth;
use super::child::Child;
use super::closing::Closing;
use super::established::Established;
use super::fragment::{Fragment, TEXT_MAX, TEXT_MAX_UNPROVED};
use super::init::{AwaitInit, no_answer, progress};
use super::init_response::HalfOpen;
use super::link::{Asked, Link};
use super::rules::Contents;
use super::window::{Due, digest};
use super::{Cx, Effect, Wanted, identity};
use crate::{ChildId, IkeStatus, Output, Path, Tunnel, TunnelId, events};

/// One IKE SA.
#[derive(Debug)]
pub(crate) struct IkeSa {
    pub(crate) link: Link,
    pub(crate) state: State,
}

/// What is awaited.
#[derive(Debug)]
pub(crate) enum State {
    AwaitInit(Box<AwaitInit>),
    AwaitAuth(Box<AwaitAuth>),
    HalfOpen(Box<HalfOpen>),
    Established(Box<Established>),
    Closing(Closing),
    /// Nothing: the endpoint forgets it.
    Gone,
}

impl IkeSa {
    /// A message without protection.
    pub(crate) fn receive_clear(&mut self, cx: &mut Cx<'_>, message: Message, raw: &[u8]) {
        let Message { header, payloads } = message;
        let contents = Contents::new(payloads);
        let awaited = header.flags.response && self.link.outgoing.awaits(header.exchange, header.message_id);
        if !header.flags.initiator && awaited && header.exchange == ExchangeType::IKE_SA_INIT {
            self.step(|state, link| match state {
                State::AwaitInit(state) => state.receive(link, cx, &header, &contents, raw),
                other => other,
            });
            return;
        }
        // RFC 7296 section 2.21.4: whatever else is said without protection is a hint at most.
        match contents.error() {
            Some(notify) => {
                cx.counters.unprotected_notifies += 1;
                // A peer that has started anew is found out in seconds.
                if awaited && notify.kind == NotifyType::INVALID_IKE_SPI {
                    self.link.outgoing.hurry(cx.now);
                }
                self.hint(cx);
            }
            None => cx.counters.unexpected += 1,
        }
    }

    /// The first message once more: answered again while it is all that we know.
    pub(crate) fn repeat_first(&mut self, cx: &mut Cx<'_>, path: Path, raw: &[u8]) {
        let half_open = matches!(self.state, State::HalfOpen(_));
        match self.link.incoming.repeated(cx.now, raw).filter(|_| half_open) {
            Some(messages) => {
                cx.counters.repeated_requests += 1;
                let messages = messages.to_vec();
                self.link.send(cx, path, &messages);
            }
            None => cx.counters.outside_window += 1,
        }
    }

    /// A protected message.
    pub(crate) fn receive_protected(&mut self, cx: &mut Cx<'_>, path: Path, envelope: &Envelope<'_>) {
        let header = envelope.header;
        // Our own messages, sent back to us, name us as their sender.
        if header.flags.initiator == self.link.initiator {
            cx.counters.unexpected += 1;
            return;
        }
        if !self.in_window(cx, path, envelope) {
            return;
        }
        if let State::HalfOpen(half) = &mut self.state {
            // Nothing but the first IKE_AUTH request is worth a Diffie-Hellman computation.
            if header.exchange != ExchangeType::IKE_AUTH || header.message_id != 1 || !half.derive(&mut self.link) {
                cx.counters.unexpected += 1;
                return;
            }
        }
        let Some((first, text)) = self.open(cx, envelope) else { return };
        // From here on the message is the peer's own.
        let request_digest = match envelope.protection {
            Piece::Whole => digest(envelope.datagram()),
            Piece::Fragment { .. } if header.flags.response => [0; 20],
            Piece::Fragment { .. } => self.link.first_fragment.take().unwrap_or_default(),
        };
        self.heard(cx, path);
        let asked = Asked { path, digest: request_digest, exchange: header.exchange };
        match parse_payloads(first, text.expose()) {
            Ok(payloads) => self.deliver(cx, &header, &asked, &Contents::new(payloads)),
            Err(malformed) => self.broken(cx, &header, &asked, &malformed.to_string()),
        }
    }

    /// Message IDs before anything is decrypted; a repeated request gets its answer again.
    fn in_window(&mut self, cx: &mut Cx<'_>, path: Path, envelope: &Envelope<'_>) -> bool {
        let header = envelope.header;
        if header.flags.response {
            let awaited = self.link.outgoing.awaits(header.exchange, header.message_id);
            if !awaited {
                cx.counters.unasked_answers += 1;
            }
            return awaited;
        }
        let next = self.link.incoming.next_id;
        if header.message_id == next {
            return true;
        }
        let last = next.checked_sub(1) == Some(header.message_id) && self.link.incoming.has_answer();
        match last.then(|| self.link.incoming.repeated(cx.now, envelope.datagram())).flatten() {
            Some(messages) => {
                cx.counters.repeated_requests += 1;
                let messages = messages.to_vec();
                self.link.send(cx, path, &messages);
            }
            None => cx.counters.outside_window += 1,
        }
        false
    }

    /// Checks and decrypts; of a fragmented message, all of it once it is whole.
    fn open(&mut self, cx: &mut Cx<'_>, envelope: &Envelope<'_>) -> Option<(wire::ike::PayloadType, base::Secret)> {
        let protection = self.link.protection.as_ref()?;
        let (response, message) = (envelope.header.flags.response, envelope.header.message_id);
        // A request of theirs and their answer to ours may be under way together.
        let reassembly = if response { &mut self.link.answers } else { &mut self.link.requests };
        let text_max = match self.state {
            State::Established(_) | State::Closing(_) => TEXT_MAX,
            _ => TEXT_MAX_UNPROVED,
        };
        if let Piece::Fragment { number, total } = envelope.protection
            && (!self.link.fragments || !reassembly.wants(message, number, total))
        {
            cx.counters.fragments_dropped += 1;
            return None;
        }
        let Some(text) = protection.open(envelope) else {
            cx.counters.integrity_failed += 1;
            return None;
        };
        match envelope.protection {
            Piece::Whole => Some((envelope.first, text)),
            Piece::Fragment { number, total } => {
                if number == 1 && !response {
                    self.link.first_fragment = Some(digest(envelope.datagram()));
                }
                match reassembly.add(message, (number, total), envelope.first, text, text_max) {
                    Fragment::Kept => {
                        cx.counters.fragments += 1;
                        None
                    }
                    Fragment::Dropped => {
                        cx.counters.fragments_dropped += 1;
                        None
                    }
                    Fragment::Whole(first, text) => {
                        cx.counters.fragments += 1;
                        Some((first, text))
                    }
                }
            }
        }
    }

    /// An authenticated message came by this path.
    fn heard(&mut self, cx: &mut Cx<'_>, path: Path) {
        if let State::Established(established) = &mut self.state {
            established.last_heard = cx.now;
        }
        self.moved(cx, path);
    }

    /// RFC 7296 section 2.23: a peer behind a NAT is followed to wherever its authenticated packets come from, but not
    /// by who is behind one itself: there the address of a packet is what somebody on the way has made of it.
    pub(crate) fn moved(&mut self, cx: &mut Cx<'_>, path: Path) {
        let old = self.link.path;
        let State::Established(established) = &mut self.state else { return };
        if path == old || !self.link.nat.remote || self.link.nat.local || path.local.is_ipv4() != path.remote.is_ipv4()
        {
            return;
        }
        self.link.path = path;
        cx.log(&events::PeerAddressChanged { tunnel: self.link.tunnel_name(), old: old.remote, new: path.remote });
        let children = established.children.values().map(|child| child.id).collect();
        cx.out.push(Output::Move { children, path, udp_encapsulated: self.link.encapsulates() });
    }

    fn deliver(&mut self, cx: &mut Cx<'_>, header: &Header, asked: &Asked, contents: &Contents) {
        let response = header.flags.response;
        self.step(|state, link| match (state, response) {
            (State::AwaitAuth(state), true) => state.receive(link, cx, contents),
            (State::HalfOpen(state), false) => state.answer(link, cx, asked, contents),
            (State::Established(state), true) => state.answered(link, cx, contents),
            (State::Established(state), false) => state.asked(link, cx, asked, contents),
            (State::Closing(state), true) => state.answered(link, cx),
            (State::Closing(state), false) => state.asked(link, cx, asked),
            // An established responder may ask before its IKE_AUTH answer has arrived here: it will ask again.
            (state @ (State::AwaitAuth(_) | State::AwaitInit(_)), false)
            | (state @ (State::HalfOpen(_) | State::AwaitInit(_)), true)
            | (state @ State::Gone, _) => {
                cx.counters.unexpected += 1;
                state
            }
        });
    }

    /// RFC 7296 section 2.21.3: an authenticated message that cannot be read ends the IKE SA.
    fn broken(&mut self, cx: &mut Cx<'_>, header: &Header, asked: &Asked, what: &str) {
        cx.counters.malformed += 1;
        let name = self.link.tunnel.as_ref().map(|tunnel| tunnel.name.clone());
        let reason = crate::reason::Reason::Misbehaved { tunnel: name, what: what.to_owned() };
        let response = header.flags.response;
        self.step(|state, link| {
            if matches!(state, State::AwaitAuth(_) | State::AwaitInit(_)) && !response {
                return state;
            }
            link.failed(cx, &reason);
            if !response {
                let notify = wire::ike::Notify::new(NotifyType::INVALID_SYNTAX, Vec::new());
                link.respond(cx, asked, &[wire::ike::Payload::Notify(notify)]);
            }
            match state {
                State::Established(mut established) => {
                    established.cut_children(link, cx, "broken message");
                    established.missing(link, cx, false);
                }
                State::AwaitAuth(await_auth) => await_auth.abandon(cx),
                _ => {}
            }
            Closing::linger(cx)
        });
    }

    /// Time has passed.
    pub(crate) fn expire(&mut self, cx: &mut Cx<'_>) {
        self.step(|state, link| match state {
            State::Established(state) => state.expire(link, cx),
            State::AwaitInit(state) => match link.outgoing.due(cx.now) {
                Due::Wait => State::AwaitInit(state),
                Due::Repeat => {
                    link.repeat(cx);
                    State::AwaitInit(state)
                }
                Due::GiveUp => {
                    let reason = state.reason(link, cx);
                    link.failed(cx, &reason);
                    State::Gone
                }
            },
            State::AwaitAuth(state) => match link.outgoing.due(cx.now) {
                Due::Wait => State::AwaitAuth(state),
                Due::Repeat => {
                    link.repeat(cx);
                    State::AwaitAuth(state)
                }
                Due::GiveUp => {
                    let reason = no_answer(link, cx, "IKE_AUTH");
                    link.failed(cx, &reason);
                    state.abandon(cx);
                    State::Gone
                }
            },
            State::HalfOpen(state) if state.since + cx.config.settings.half_open_lifetime <= cx.now => {
                cx.counters.half_open_expired += 1;
                State::Gone
            }
            State::Closing(state) => match link.outgoing.due(cx.now) {
                _ if state.until <= cx.now => State::Gone,
                Due::GiveUp => State::Gone,
                Due::Repeat => {
                    link.repeat(cx);
                    State::Closing(state)
                }
                Due::Wait => State::Closing(state),
            },
            state @ (State::HalfOpen(_) | State::Gone) => state,
        });
    }

    /// When time has something to do next, and what.
    pub(crate) fn deadline(&self, cx_half_open: base::Duration) -> Option<(Instant, &'static str)> {
        let repeat = self.link.outgoing.deadline().map(|at| (at, "repeat a request"));
        match &self.state {
            State::AwaitInit(_) | State::AwaitAuth(_) => repeat,
            State::HalfOpen(state) => Some((state.since + cx_half_open, "half-open IKE SA ends")),
            State::Established(state) => Some(state.deadline(&self.link)),
            State::Closing(state) => {
                Some(repeat.filter(|(at, _)| *at < state.until).unwrap_or((state.until, "closed IKE SA is forgotten")))
            }
            State::Gone => None,
        }
    }

    /// A wish of ours for child SAs.
    pub(crate) fn want(&mut self, cx: &mut Cx<'_>, wanted: Vec<Wanted>) {
        match &mut self.state {
            State::Established(state) => {
                state.want(wanted);
                state.pump(&mut self.link, cx);
            }
            State::AwaitInit(state) => add(&mut state.wanted, wanted),
            State::AwaitAuth(state) => add(&mut state.wanted, wanted),
            State::HalfOpen(_) | State::Closing(_) | State::Gone => {}
        }
    }

    /// The end, by a wish of ours.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_>, why: &'static str) {
        self.step(|state, link| match state {
            State::Established(state) => state.close(link, cx, why),
            State::AwaitAuth(state) => {
                state.abandon(cx);
                fail_waiting(link, cx);
                State::Gone
            }
            State::AwaitInit(_) => {
                fail_waiting(link, cx);
                State::Gone
            }
            State::Closing(state) if !state.lingers => State::Closing(state),
            State::HalfOpen(_) | State::Closing(_) | State::Gone => State::Gone,
        });
    }

    /// The end without a word to the peer, which knows it already.
    pub(crate) fn drop_silently(&mut self, cx: &mut Cx<'_>, why: &'static str) {
        self.step(|state, link| match state {
            State::Established(mut state) => {
                state.cut_children(link, cx, why);
                state.log_end(link, cx, why);
                State::Gone
            }
            State::AwaitAuth(state) => {
                state.abandon(cx);
                State::Gone
            }
            _ => State::Gone,
        });
    }

    /// Something that anybody may have said: the peer is asked whether it lives.
    pub(crate) fn hint(&mut self, cx: &mut Cx<'_>) {
        if let State::Established(state) = &mut self.state {
            state.hint(&mut self.link, cx);
        }
    }

    /// Of child SAs that two IKE SAs have made for the same traffic one is enough.
    pub(crate) fn drop_spares(&mut self, cx: &mut Cx<'_>) {
        if let State::Established(state) = &mut self.state {
            state.drop_spares(&mut self.link, cx);
        }
    }

    /// See [`Effect::Hand`].
    pub(crate) fn take_over(&mut self, cx: &mut Cx<'_>, children: Vec<Child>, wanted: Vec<Wanted>) {
        match &mut self.state {
            State::Established(state) => state.take_over(&mut self.link, cx, children, wanted),
            // The new IKE SA is gone already; what was handed over has no home.
            _ => children.into_iter().for_each(|child| child.cut(&self.link, cx, "IKE SA gone")),
        }
    }

    /// See [`Effect::Supersede`].
    pub(crate) fn supersede(&mut self, cx: &mut Cx<'_>) {
        if let State::Established(state) = &mut self.state {
            state.supersede(cx);
        }
    }

    /// See [`Effect::Yield`].
    pub(crate) fn yield_to_rival(&mut self, cx: &mut Cx<'_>) {
        if let State::Established(state) = &mut self.state {
            state.yield_to_rival(cx);
        }
    }

    /// See [`crate::Endpoint::soft_limit`].
    pub(crate) fn soft_limit(&mut self, cx: &mut Cx<'_>, child: ChildId) {
        if let State::Established(state) = &mut self.state {
            state.soft_limit(&mut self.link, cx, child);
        }
    }

    /// See [`crate::Endpoint::hard_limit`].
    pub(crate) fn hard_limit(&mut self, cx: &mut Cx<'_>, child: ChildId) {
        if let State::Established(state) = &mut self.state {
            state.hard_limit(&mut self.link, cx, child);
        }
    }

    /// True when the pair is one of this IKE SA's.
    pub(crate) fn has_child(&self, child: ChildId) -> bool {
        match &self.state {
            State::Established(state) => state.children.values().any(|one| one.id == child),
            _ => false,
        }
    }

    /// True when wishes of a tunnel can be given to it.
    pub(crate) fn takes_wishes(&self) -> bool {
        match &self.state {
            State::AwaitInit(_) | State::AwaitAuth(_) => true,
            State::Established(state) => state.successor.is_none() && state.doomed.is_none() && state.pending.is_none(),
            State::HalfOpen(_) | State::Closing(_) | State::Gone => false,
        }
    }

    /// True for an established one with this peer: the target of INITIAL_CONTACT.
    pub(crate) fn is_with(&self, tunnel: TunnelId, remote_id: &wire::ike::Id, before: Instant) -> bool {
        match &self.state {
            State::Established(state) => {
                self.link.tunnel_id() == Some(tunnel)
                    && identity::same(&state.remote_id, remote_id)
                    && state.since <= before
            }
            _ => false,
        }
    }

    /// The tunnel it belongs to.
    pub(crate) fn tunnel(&self) -> Option<&Arc<Tunnel>> {
        self.link.tunnel.as_ref()
    }

    /// For people.
    pub(crate) fn status(&self, now: Instant) -> IkeStatus {
        let mut status = IkeStatus {
            tunnel: self.link.tunnel_id(),
            tunnel_name: self.link.tunnel_name(),
            state: match &self.state {
                State::AwaitInit(_) => "Connecting",
                State::AwaitAuth(_) | State::HalfOpen(_) => "Authenticating",
                State::Established(state) if state.successor.or(state.doomed.map(|_| now)).is_some() => "Deleting",
                State::Established(state) if state.rekeying() => "Rekeying",
                State::Established(_) => "Established",
                State::Closing(_) | State::Gone => "Deleting",
            },
            initiator: self.link.initiator,
            spis: (self.link.spi_i, self.link.spi_r),
            path: self.link.path,
            nat: (self.link.nat.local, self.link.nat.remote),
            local_id: None,
            remote_id: None,
            algorithms: None,
            expires_in: None,
            established: None,
            note: match &self.state {
                State::AwaitInit(state) => Some(state.progress(&self.link, now)),
                State::AwaitAuth(_) => Some(progress(&self.link, now, "authenticating")),
                _ => None,
            },
            children: Vec::new(),
        };
        if let State::Established(state) = &self.state {
            status.local_id = Some(state.local_id.to_string());
            status.remote_id = Some(state.remote_id.to_string());
            status.algorithms = Some(state.suite.to_string());
            status.expires_in = Some(state.expires_at.since(now));
            status.established = Some(state.since);
            status.children = state.children.values().map(|child| child.status(now)).collect();
        }
        status
    }

    fn step(&mut self, step: impl FnOnce(State, &mut Link) -> State) {
        let state = std::mem::replace(&mut self.state, State::Gone);
        self.state = step(state, &mut self.link);
    }
}

fn add(have: &mut Vec<Wanted>, wanted: Vec<Wanted>) {
    for one in wanted {
        if !have.iter().any(|other| other.pair == one.pair) {
            have.push(one);
        }
    }
}

fn fail_waiting(link: &Link, cx: &mut Cx<'_>) {
    if let Some(tunnel) = link.tunnel.as_ref() {
        cx.out.push(Output::Failed { tunnel: tunnel.id });
        cx.effects.push(Effect::Missing { tunnel: tunnel.id, at_once: false });
    }
}
