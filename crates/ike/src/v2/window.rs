//! Message IDs, repetition and memory of answers: RFC 7296 sections 2.1 to 2.3. The window is one message each way.

use base::{Duration, Instant};
use crypto::digest::sha1;
use wire::ike::ExchangeType;

use crate::Settings;
use crate::limiter::RateLimit;

/// How patiently a request is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    pub(super) first: Duration,
    pub(super) longest: Duration,
    pub(super) tries: u32,
}

impl Patience {
    /// As configured.
    pub(super) const fn usual(settings: &Settings) -> Self {
        Self { first: settings.retransmit_first, longest: settings.retransmit_max, tries: settings.retransmit_tries }
    }

    /// For a liveness check: five tries, 15 seconds in all.
    pub(super) const LIVENESS: Self = Self { first: Duration::from_secs(3), longest: Duration::from_secs(3), tries: 5 };

    /// For a farewell: nobody waits long for its answer.
    pub(super) const FAREWELL: Self = Self { first: Duration::from_secs(1), longest: Duration::from_secs(2), tries: 4 };
}

/// What is left to a request after a hint that it is in vain.
const HURRIED: Patience = Patience { first: Duration::from_secs(1), longest: Duration::from_secs(1), tries: 3 };

/// The request that awaits its answer.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) id: u32,
    pub(super) exchange: ExchangeType,
    /// The request, in fragments when it is large.
    pub(super) messages: Vec<Vec<u8>>,
    pub(super) tries: u32,
    pub(super) first_sent: Instant,
    pub(super) next_at: Instant,
    pub(super) wait: Duration,
    pub(super) patience: Patience,
}

/// What time does to a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Not yet.
    Wait,
    /// It is to be sent again.
    Repeat,
    /// It was sent often enough.
    GiveUp,
}

/// Our requests.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) next_id: u32,
    pub(super) sent: Option<Sent>,
}

impl Outgoing {
    /// Notes a request that has just been sent.
    pub(super) fn set(
        &mut self,
        now: Instant,
        (exchange, id): (ExchangeType, u32),
        messages: Vec<Vec<u8>>,
        patience: Patience,
    ) {
        let wait = patience.first;
        let next_at = now + wait;
        self.sent = Some(Sent { id, exchange, messages, tries: 1, first_sent: now, next_at, wait, patience });
    }

    /// True when an answer with this ID is awaited to this exchange.
    pub(super) fn awaits(&self, exchange: ExchangeType, id: u32) -> bool {
        self.sent.as_ref().is_some_and(|sent| sent.id == id && sent.exchange == exchange)
    }

    /// The answer has come.
    pub(super) fn answered(&mut self) {
        if let Some(sent) = self.sent.take() {
            self.next_id = sent.id.saturating_add(1);
        }
    }

    pub(super) fn due(&mut self, now: Instant) -> Due {
        let Some(sent) = &mut self.sent else { return Due::Wait };
        if now < sent.next_at {
            return Due::Wait;
        }
        if sent.tries >= sent.patience.tries {
            return Due::GiveUp;
        }
        sent.tries += 1;
        sent.wait = (sent.wait * 2).min(sent.patience.longest);
        sent.next_at = now + sent.wait;
        Due::Repeat
    }

    /// Somebody, who may be anybody, says that the request will have no answer: some more tries, a second apart, must do
    /// (RFC 7296 section 2.21.4 lets an unprotected notification change no more than that).
    pub(super) fn hurry(&mut self, now: Instant) {
        let Some(sent) = self.sent.as_mut().filter(|sent| sent.patience.longest > HURRIED.longest) else { return };
        let tries = sent.tries.saturating_add(HURRIED.tries).min(sent.patience.tries);
        (sent.patience, sent.wait) = (Patience { tries, ..HURRIED }, HURRIED.first);
        sent.next_at = sent.next_at.min(now + HURRIED.first);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sent.as_ref().map(|sent| sent.next_at)
    }
}

/// The peer's requests.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// ID of the next request.
    pub(super) next_id: u32,
    last: Option<Answered>,
}

#[derive(Debug)]
struct Answered {
    digest: [u8; 20],
    messages: Vec<Vec<u8>>,
    repeats: RateLimit,
}

/// Answers given again to one request: as often as a patient peer asks. A copy in somebody else's hands cannot use them
/// up for good, nor turn them into a flood (RFC 7296 section 2.1).
const REPEATS: RateLimit = RateLimit::new(Duration::from_secs(1), 8);

impl Incoming {
    /// Notes the answer to the request that was next.
    pub(super) fn answered(&mut self, request: [u8; 20], messages: Vec<Vec<u8>>) {
        self.next_id = self.next_id.saturating_add(1);
        self.last = Some(Answered { digest: request, messages, repeats: REPEATS });
    }

    /// The stored answer, when this datagram repeats the request it was given to byte for byte (of a fragmented
    /// request: its first fragment, RFC 7383 section 2.6.1).
    pub(super) fn repeated(&mut self, now: Instant, datagram: &[u8]) -> Option<&[Vec<u8>]> {
        let last = self.last.as_mut().filter(|last| last.digest == digest(datagram))?;
        last.repeats.take(now).then_some(&last.messages)
    }

    /// True when there is an answer to give again.
    pub(super) const fn has_answer(&self) -> bool {
        self.last.is_some()
    }
}

/// What a request is remembered by.
pub(crate) fn digest(datagram: &[u8]) -> [u8; 20] {
    sha1(&[datagram])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let patience = Patience { first: Duration::from_secs(2), longest: Duration::from_secs(5), tries: 4 };
        let mut outgoing = Outgoing::default();
        outgoing.set(Instant::ZERO, (ExchangeType::IKE_SA_INIT, 0), vec![vec![1]], patience);
        let mut times = Vec::new();
        loop {
            let at = outgoing.deadline().unwrap();
            match outgoing.due(at) {
                Due::Repeat => times.push(at.as_secs()),
                Due::GiveUp => break times.push(at.as_secs()),
                Due::Wait => panic!(),
            }
        }
        assert_eq!(times, vec![2, 6, 11, 16]);
    }

    #[test]
    fn only_a_byte_equal_request_is_answered_again_and_not_in_a_flood() {
        let mut incoming = Incoming::default();
        let at = |secs: u64| Instant::from_micros(secs * 1_000_000);
        incoming.answered(digest(b"request"), vec![b"answer".to_vec()]);
        assert!(incoming.repeated(at(1), b"Request").is_none());
        for _ in 0..8 {
            assert_eq!(incoming.repeated(at(1), b"request"), Some(&[b"answer".to_vec()][..]));
        }
        assert!(incoming.repeated(at(1), b"request").is_none());
        assert!((2..100).all(|secs| incoming.repeated(at(secs), b"request").is_some()));
    }

    #[test]
    fn a_request_that_is_hurried_goes_out_soon_and_is_given_up_soon() {
        let patience = Patience { first: Duration::from_secs(2), longest: Duration::from_secs(15), tries: 7 };
        let at = |secs: u64| Instant::from_micros(secs * 1_000_000);
        let mut outgoing = Outgoing::default();
        outgoing.hurry(at(1));
        outgoing.set(at(1), (ExchangeType::INFORMATIONAL, 3), vec![vec![1]], patience);
        (1..5).for_each(|_| outgoing.hurry(at(1)));
        assert_eq!([2, 3, 4].map(|secs| outgoing.due(at(secs))), [Due::Repeat, Due::Repeat, Due::Repeat]);
        // Said again it does not take longer.
        outgoing.hurry(at(4));
        assert_eq!(outgoing.due(at(5)), Due::GiveUp);
    }
}
