//! What a TCP connection is doing, as far as its time-outs need to know.
//!
//! ```text
//!   SYN_RECV --SYN+ACK back--> SYNACK_S --ACK--> TCP_OPEN --FIN--> FIN_RECV
//!       \_________________RST, where it is expected___________\__> RST_RECV
//! ```
//! A SYN of the opener in FIN_RECV or RST_RECV begins again; one of the other side is a connection of its own.

use wire::tcp::{ACK, FIN, Header, RST, SYN};

use crate::flows::Way;

/// How far the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    SynReceived,
    SynAckSent,
    Open,
    FinReceived,
    ResetReceived,
}

/// What a segment means for the flow it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is part of it.
    Pass,
    /// It begins a connection from the other side, now that this one is over.
    Another,
}

/// A connection: its phase, and per direction where the sender is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tcp {
    pub(crate) phase: Phase,
    ends: [Option<End>; 2],
}

/// Where a sender is.
#[derive(Clone, Copy, Debug)]
struct End {
    /// The sequence number behind the highest one sent.
    next: u32,
    /// The highest acknowledgement sent.
    acknowledged: Option<u32>,
}

/// A FIN may lie this far beyond what its receiver has acknowledged: the largest window a host offers in practice.
const WINDOW_MAX: u32 = 1 << 24;

impl Tcp {
    /// A connection opened by this SYN.
    pub(crate) fn opened(syn: &Header) -> Self {
        let end = End { next: syn.sequence.wrapping_add(syn.space), acknowledged: None };
        Self { phase: Phase::SynReceived, ends: [Some(end), None] }
    }

    /// Takes a segment into account.
    pub(crate) fn advance(&mut self, way: Way, segment: &Header) -> Step {
        let over = matches!(self.phase, Phase::FinReceived | Phase::ResetReceived);
        if segment.flags & (SYN | ACK) == SYN && over {
            if way == Way::Back {
                return Step::Another;
            }
            *self = Self::opened(segment);
            return Step::Pass;
        }
        let expected = self.expected(way, segment);
        self.phase = match self.phase {
            // RFC 5961 section 3.2: only a reset at exactly the place the receiver waits for is certain to be honoured.
            // Any other one goes through for the receiver to judge, and the connection stays.
            _ if segment.has(RST) && expected.exactly => Phase::ResetReceived,
            Phase::SynReceived if way == Way::Back && segment.has(SYN | ACK) => Phase::SynAckSent,
            Phase::SynAckSent if way == Way::Forth && segment.has(ACK) && !segment.has(RST) => {
                self.open_or_fin(segment)
            }
            Phase::Open if segment.has(FIN) && expected.within_window => Phase::FinReceived,
            same => same,
        };
        self.note(way, segment);
        Step::Pass
    }

    fn open_or_fin(&self, segment: &Header) -> Phase {
        if segment.has(FIN) { Phase::FinReceived } else { Phase::Open }
    }

    fn expected(&self, way: Way, segment: &Header) -> Expected {
        let (own, other) = match way {
            Way::Forth => (self.ends.first(), self.ends.last()),
            Way::Back => (self.ends.last(), self.ends.first()),
        };
        let own = own.copied().flatten();
        let other = other.copied().flatten();
        let waited_for = other.and_then(|end| end.acknowledged);
        // Before the answer to a SYN the receiver has acknowledged nothing: a reset must acknowledge the SYN.
        let refuses_syn =
            own.is_none() && other.is_some_and(|end| segment.has(ACK) && segment.acknowledgement == end.next);
        Expected {
            exactly: refuses_syn
                || waited_for == Some(segment.sequence)
                || own.is_some_and(|end| end.next == segment.sequence),
            within_window: waited_for.is_none_or(|at| segment.sequence.wrapping_sub(at) <= WINDOW_MAX)
                || own.is_some_and(|end| segment.sequence.wrapping_sub(end.next) <= WINDOW_MAX),
        }
    }

    /// Remembers where the sender is.
    fn note(&mut self, way: Way, segment: &Header) {
        let place = match way {
            Way::Forth => self.ends.first_mut(),
            Way::Back => self.ends.last_mut(),
        };
        let Some(place) = place else { return };
        let next = segment.sequence.wrapping_add(segment.space);
        let acknowledged = segment.has(ACK).then_some(segment.acknowledgement);
        let end = place.get_or_insert(End { next, acknowledged });
        if segment.has(RST) {
            return;
        }
        if ahead(next, end.next) {
            end.next = next;
        }
        if let Some(new) = acknowledged
            && end.acknowledged.is_none_or(|old| ahead(new, old))
        {
            end.acknowledged = Some(new);
        }
    }
}

struct Expected {
    exactly: bool,
    within_window: bool,
}

/// True when `a` lies ahead of `b` by no more than a window (RFC 9293 section 3.4: numbers wrap).
fn ahead(a: u32, b: u32) -> bool {
    let distance = a.wrapping_sub(b);
    distance > 0 && distance <= WINDOW_MAX
}

impl Phase {
    /// What listings call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::SynReceived => "SYN_RECV",
            Self::SynAckSent => "SYNACK_S",
            Self::Open => "TCP_OPEN",
            Self::FinReceived => "FIN_RECV",
            Self::ResetReceived => "RST_RECV",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(flags: u8, sequence: u32, acknowledgement: u32, data: u32) -> Header {
        let space = data + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        Header { source: 1, destination: 2, sequence, acknowledgement, flags, len: 20, space }
    }

    fn open() -> Tcp {
        let mut tcp = Tcp::opened(&segment(SYN, 100, 0, 0));
        tcp.advance(Way::Back, &segment(SYN | ACK, 900, 101, 0));
        assert_eq!(tcp.phase, Phase::SynAckSent);
        tcp.advance(Way::Forth, &segment(ACK, 101, 901, 0));
        assert_eq!(tcp.phase, Phase::Open);
        tcp
    }

    #[test]
    fn a_connection_opens_and_closes() {
        let mut tcp = open();
        tcp.advance(Way::Forth, &segment(ACK, 101, 901, 500));
        tcp.advance(Way::Back, &segment(ACK, 901, 601, 0));
        assert_eq!(tcp.phase, Phase::Open);
        tcp.advance(Way::Back, &segment(FIN | ACK, 901, 601, 0));
        assert_eq!(tcp.phase, Phase::FinReceived);
    }

    #[test]
    fn a_refused_connection_is_reset() {
        let mut tcp = Tcp::opened(&segment(SYN, 100, 0, 0));
        tcp.advance(Way::Back, &segment(RST | ACK, 0, 77, 0));
        assert_eq!(tcp.phase, Phase::SynReceived, "it refuses another SYN");
        tcp.advance(Way::Back, &segment(RST | ACK, 0, 101, 0));
        assert_eq!(tcp.phase, Phase::ResetReceived);
    }

    #[test]
    fn a_blind_reset_or_fin_changes_nothing() {
        let mut tcp = open();
        tcp.advance(Way::Back, &segment(RST, 5_000_000, 0, 0));
        tcp.advance(Way::Back, &segment(FIN | ACK, 3_000_000_000, 101, 0));
        assert_eq!(tcp.phase, Phase::Open);
        tcp.advance(Way::Back, &segment(RST, 901, 0, 0));
        assert_eq!(tcp.phase, Phase::ResetReceived);
    }

    #[test]
    fn a_closed_connection_begins_again_by_its_opener_only() {
        let mut tcp = open();
        tcp.advance(Way::Forth, &segment(FIN | ACK, 101, 901, 0));
        assert_eq!(tcp.advance(Way::Back, &segment(SYN, 7, 0, 0)), Step::Another);
        assert_eq!(tcp.advance(Way::Forth, &segment(SYN, 9_000, 0, 0)), Step::Pass);
        assert_eq!(tcp.phase, Phase::SynReceived);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut tcp = Tcp::opened(&segment(SYN, u32::MAX, 0, 0));
        tcp.advance(Way::Back, &segment(SYN | ACK, u32::MAX - 1, 0, 0));
        tcp.advance(Way::Forth, &segment(ACK, 0, u32::MAX, 0));
        tcp.advance(Way::Back, &segment(ACK, u32::MAX, 0, 10));
        tcp.advance(Way::Back, &segment(RST, 9, 0, 0));
        assert_eq!(tcp.phase, Phase::ResetReceived);
    }
}
