//! The end of an IKE SA: our farewell is under way, or the last answer is kept for a peer that did not get it.

use base::{Duration, Instant};
use wire::ike::{ExchangeType, Notify, NotifyType, Payload};

use super::Cx;
use super::link::{Asked, Link};
use super::sa::State;
use super::window::Patience;

/// How long the last answer is kept.
const LINGER: Duration = Duration::from_secs(20);

/// Nothing but the end is left.
#[derive(Debug)]
pub(crate) struct Closing {
    /// Waits for the answer to what was asked before: the window is 1.
    farewell: Option<Vec<Payload>>,
    pub(super) until: Instant,
    /// Nothing of ours is awaited any more.
    pub(crate) lingers: bool,
}

impl Closing {
    /// Says farewell, now or when the outstanding request is answered.
    pub(super) fn farewell(link: &mut Link, cx: &mut Cx<'_>, payloads: Vec<Payload>) -> State {
        let farewell = match &mut link.outgoing.sent {
            None => {
                link.request(cx, ExchangeType::INFORMATIONAL, &payloads, Patience::FAREWELL);
                None
            }
            Some(sent) => {
                sent.patience = Patience::FAREWELL;
                sent.tries = 1;
                Some(payloads)
            }
        };
        State::Closing(Self { farewell, until: cx.now + LINGER, lingers: false })
    }

    /// Tells the peer that its proof was not accepted.
    pub(super) fn refuse(link: &mut Link, cx: &mut Cx<'_>, notify: NotifyType) -> State {
        Self::farewell(link, cx, vec![Payload::Notify(Notify::new(notify, Vec::new()))])
    }

    /// Keeps only the last answer.
    pub(super) fn linger(cx: &Cx<'_>) -> State {
        State::Closing(Self { farewell: None, until: cx.now + LINGER, lingers: true })
    }

    /// An answer: to our farewell, or to what was asked before it.
    pub(super) fn answered(mut self, link: &mut Link, cx: &mut Cx<'_>) -> State {
        link.outgoing.answered();
        match self.farewell.take() {
            Some(payloads) => Self::farewell(link, cx, payloads),
            None => State::Gone,
        }
    }

    /// RFC 7296 section 2.25.2: a request that would make anything is put off, every other is answered as usual.
    pub(super) fn asked(self, link: &mut Link, cx: &mut Cx<'_>, asked: &Asked) -> State {
        let payloads: &[Payload] = if asked.exchange == ExchangeType::CREATE_CHILD_SA {
            &[Payload::Notify(Notify::new(NotifyType::TEMPORARY_FAILURE, Vec::new()))]
        } else {
            &[]
        };
        link.respond(cx, asked, payloads);
        State::Closing(self)
    }
}
