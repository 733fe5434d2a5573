//! What a TCP connection is doing: its phase, for its time-outs, and its windows, so that nobody who does not see its
//! segments can put one into it.
//!
//! ```text
//!   SYN_RECV --SYN+ACK back--> SYNACK_S --ACK--> TCP_OPEN --FIN--> FIN_RECV
//!       \_________________RST, where it is expected___________\__> RST_RECV
//! ```
//! A SYN of the opener in FIN_RECV or RST_RECV begins again, in FIN_RECV once it is answered; one of the other side is a
//! connection of its own.
//!
//! A segment is in the window when what it carries may still be new or is repeated from less than a window ago, and when it
//! acknowledges what the other side has sent (RFC 9293 section 3.10.7.4, as seen from between the two). Repetitions,
//! keep-alives and probes of a closed window are. What is outside changes nothing and goes nowhere. A SYN is let through in
//! every phase and changes nothing by itself: a host that has forgotten its connection begins anew with it, and the other
//! one answers as RFC 5961 section 4.2 says.

use wire::tcp::{ACK, FIN, Header, RST, SYN};

use super::Way;

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
    /// It lies outside of what its receiver takes now.
    Outside,
}

/// A connection: its phase, and per direction where the sender is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tcp {
    pub(crate) phase: Phase,
    /// Both sides have begun with a SYN (RFC 9293 section 3.5, figure 7).
    simultaneous: bool,
    opener: End,
    other: Option<End>,
    /// The opener has begun anew; whether it is a new connection the other side says.
    again: Option<Syn>,
}

/// What a SYN says of its sender.
#[derive(Clone, Copy, Debug)]
struct Syn {
    /// The sequence number behind it.
    next: u32,
    window: u16,
    scale: Option<u8>,
}

/// Where a sender is.
#[derive(Clone, Copy, Debug)]
struct End {
    /// The sequence number behind the highest one sent.
    next: u32,
    /// The highest acknowledgement sent; means nothing before the first.
    acknowledged: u32,
    /// Behind the last byte that it has said it takes; means nothing before the first acknowledgement.
    edge: u32,
    /// The largest window it has offered.
    window_max: u32,
    /// By how many bits its window field is to be shifted; of a SYN alone what it offers.
    scale: Option<u8>,
    has_acknowledged: bool,
}

/// What a SYN may carry (RFC 7413): as much as a segment, for its answer need not acknowledge all of it.
const SYN_DATA_MAX: u32 = 1460;
/// Acknowledgements may be this old, whatever the window: they are repeated and overtaken.
const OLD_ACKNOWLEDGEMENT_MAX: u32 = 66_000;

impl Tcp {
    /// A connection opened by this SYN.
    pub(crate) fn opened(syn: &Header) -> Self {
        Self::begun(Syn::of(syn))
    }

    fn begun(syn: Syn) -> Self {
        Self { phase: Phase::SynReceived, simultaneous: false, opener: End::begun(syn), other: None, again: None }
    }

    /// Takes a segment into account.
    pub(crate) fn advance(&mut self, way: Way, segment: &Header) -> Step {
        match segment.flags & (SYN | ACK | RST) {
            SYN => self.synchronise(way, segment),
            flags if flags & SYN != 0 => self.answer(way, segment),
            flags if flags & RST != 0 => self.reset(way, segment),
            _ => self.carry_on(way, segment),
        }
    }

    /// A SYN alone.
    fn synchronise(&mut self, way: Way, segment: &Header) -> Step {
        let over = matches!(self.phase, Phase::FinReceived | Phase::ResetReceived);
        match way {
            Way::Back if over => return Step::Another,
            Way::Back if self.other.is_none() => {
                self.simultaneous = true;
                self.other = Some(End::begun(Syn::of(segment)));
            }
            Way::Back => {}
            Way::Forth if self.phase == Phase::ResetReceived || self.other.is_none() => *self = Self::opened(segment),
            // The other side may still have much to send, and anybody can write a SYN.
            Way::Forth => self.again = Some(Syn::of(segment)),
        }
        Step::Pass
    }

    /// A SYN with an acknowledgement.
    fn answer(&mut self, way: Way, segment: &Header) -> Step {
        if way == Way::Back {
            if let Some(again) = self.again
                && segment.acknowledgement == again.next
            {
                *self = Self::begun(again);
            }
            // Until the opener has confirmed one, the other side may come up with another: SYN cookies change.
            if matches!(self.phase, Phase::SynReceived | Phase::SynAckSent) && !self.simultaneous {
                if self.opener.next.wrapping_sub(segment.acknowledgement) > SYN_DATA_MAX {
                    return Step::Outside;
                }
                self.other = Some(End::begun(Syn::of(segment)));
            }
        }
        if !self.in_window(way, segment) {
            return Step::Outside;
        }
        if self.phase == Phase::SynReceived {
            self.phase = Phase::SynAckSent;
        }
        if let (Some(other), Phase::SynAckSent) = (&mut self.other, self.phase)
            && (self.opener.scale.is_none() || other.scale.is_none())
        {
            // RFC 7323 section 2.2: both offer it, or neither uses it.
            (self.opener.scale, other.scale) = (None, None);
        }
        self.note(way, segment);
        Step::Pass
    }

    /// RFC 5961 section 3.2: only a reset at exactly the place the receiver waits for is certain to be honoured. Any other
    /// one within the window goes through for the receiver to judge, and the connection stays.
    fn reset(&mut self, way: Way, segment: &Header) -> Step {
        let (own, other) = self.ends(way);
        // Before the answer to a SYN the receiver has acknowledged nothing: a reset must acknowledge the SYN.
        let refuses = |next: u32| segment.has(ACK) && segment.acknowledgement == next;
        let refuses_syn = own.is_none() && other.is_some_and(|end| refuses(end.next))
            || way == Way::Back && self.again.is_some_and(|again| refuses(again.next));
        let waited_for = other.filter(|end| end.has_acknowledged);
        let exactly = refuses_syn
            || waited_for.is_some_and(|end| end.acknowledged == segment.sequence)
            || own.is_some_and(|end| end.next == segment.sequence);
        let within = waited_for.is_some_and(|end| between(end.acknowledged, segment.sequence, end.edge))
            // Whoever opens a connection may be told of one that it has forgotten, and resets that.
            || way == Way::Forth && other.is_none();
        match (exactly, within) {
            (true, _) => {
                self.phase = Phase::ResetReceived;
                Step::Pass
            }
            (false, true) => Step::Pass,
            (false, false) => Step::Outside,
        }
    }

    /// All other segments.
    fn carry_on(&mut self, way: Way, segment: &Header) -> Step {
        if self.other.is_none() {
            // A bare acknowledgement may be of a connection that the opener has forgotten (RFC 9293 section 3.5.1).
            return if way == Way::Back && segment.space == 0 { Step::Pass } else { Step::Outside };
        }
        if !self.in_window(way, segment) {
            return Step::Outside;
        }
        self.phase = match self.phase {
            Phase::SynAckSent if way == Way::Forth || self.simultaneous => {
                if segment.has(FIN) {
                    Phase::FinReceived
                } else {
                    Phase::Open
                }
            }
            Phase::Open if segment.has(FIN) => Phase::FinReceived,
            same => same,
        };
        if self.phase == Phase::Open && way == Way::Forth && segment.space > 0 {
            // It goes on with the old one.
            self.again = None;
        }
        self.note(way, segment);
        Step::Pass
    }

    fn in_window(&self, way: Way, segment: &Header) -> bool {
        let (Some(own), Some(other)) = self.ends(way) else { return false };
        let end = segment.sequence.wrapping_add(segment.space);
        let new_enough = not_behind(own.next.wrapping_sub(other.window_max), end);
        let near_enough = !other.has_acknowledged || not_behind(segment.sequence, other.edge);
        let acknowledges = !segment.has(ACK) || {
            let oldest = other.next.wrapping_sub(own.window_max.max(OLD_ACKNOWLEDGEMENT_MAX));
            between(oldest, segment.acknowledgement, other.next)
        };
        new_enough && near_enough && acknowledges
    }

    /// The sender of a direction and the receiver, as far as they have been heard of.
    fn ends(&self, way: Way) -> (Option<&End>, Option<&End>) {
        match way {
            Way::Forth => (Some(&self.opener), self.other.as_ref()),
            Way::Back => (self.other.as_ref(), Some(&self.opener)),
        }
    }

    /// Remembers where the sender is.
    fn note(&mut self, way: Way, segment: &Header) {
        let sender = match way {
            Way::Forth => &mut self.opener,
            Way::Back => match &mut self.other {
                Some(other) => other,
                None => return,
            },
        };
        sender.note(segment);
    }
}

impl Syn {
    fn of(segment: &Header) -> Self {
        let next = segment.sequence.wrapping_add(segment.space);
        Self { next, window: segment.window, scale: segment.window_scale }
    }
}

impl End {
    fn begun(syn: Syn) -> Self {
        let window_max = u32::from(syn.window).max(1);
        Self { next: syn.next, acknowledged: 0, edge: 0, window_max, scale: syn.scale, has_acknowledged: false }
    }

    fn note(&mut self, segment: &Header) {
        let next = segment.sequence.wrapping_add(segment.space);
        if not_behind(self.next, next) {
            self.next = next;
        }
        if !segment.has(ACK) {
            return;
        }
        // RFC 7323 section 2.2: the window of a SYN is not scaled.
        let scale = if segment.has(SYN) { 0 } else { self.scale.unwrap_or(0) };
        let window = u32::from(segment.window) << scale;
        let edge = segment.acknowledgement.wrapping_add(window);
        self.window_max = self.window_max.max(window);
        if !self.has_acknowledged || not_behind(self.acknowledged, segment.acknowledgement) {
            self.acknowledged = segment.acknowledgement;
        }
        if !self.has_acknowledged || not_behind(self.edge, edge) {
            self.edge = edge;
        }
        self.has_acknowledged = true;
    }
}

/// True when `b` is `a` or lies ahead of it (RFC 9293 section 3.4: numbers wrap).
fn not_behind(a: u32, b: u32) -> bool {
    b.wrapping_sub(a) < 1 << 31
}

/// True when `at` is neither behind `first` nor ahead of `last`.
fn between(first: u32, at: u32, last: u32) -> bool {
    not_behind(first, at) && not_behind(at, last)
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
        let (window, window_scale) = (10_000, None);
        Header { source: 1, destination: 2, sequence, acknowledgement, flags, len: 20, space, window, window_scale }
    }

    fn open() -> Tcp {
        let mut tcp = Tcp::opened(&segment(SYN, 100, 0, 0));
        assert_eq!(tcp.advance(Way::Back, &segment(SYN | ACK, 900, 101, 0)), Step::Pass);
        assert_eq!(tcp.phase, Phase::SynAckSent);
        assert_eq!(tcp.advance(Way::Forth, &segment(ACK, 101, 901, 0)), Step::Pass);
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
        assert_eq!(tcp.advance(Way::Forth, &segment(FIN | ACK, 601, 902, 0)), Step::Pass);
        assert_eq!(tcp.advance(Way::Back, &segment(ACK, 902, 602, 0)), Step::Pass);
    }

    #[test]
    fn a_refused_connection_is_reset() {
        let mut tcp = Tcp::opened(&segment(SYN, 100, 0, 0));
        assert_eq!(tcp.advance(Way::Back, &segment(RST | ACK, 0, 77, 0)), Step::Outside, "it refuses another SYN");
        assert_eq!(tcp.phase, Phase::SynReceived);
        assert_eq!(tcp.advance(Way::Back, &segment(RST | ACK, 0, 101, 0)), Step::Pass);
        assert_eq!(tcp.phase, Phase::ResetReceived);
    }

    #[test]
    fn a_blind_segment_is_outside_and_changes_nothing() {
        let mut tcp = open();
        let before = format!("{tcp:?}");
        for blind in [
            segment(RST, 5_000_000, 0, 0),
            segment(FIN | ACK, 3_000_000_000, 101, 0),
            segment(ACK, 901 + 10_001, 101, 10),
            segment(ACK, 901_u32.wrapping_sub(10_001 + 10), 101, 10),
            segment(ACK, 901, 102, 10),
            segment(ACK, 901, 101_u32.wrapping_sub(66_001), 10),
            segment(SYN | ACK, 3_000_000, 101, 0),
        ] {
            assert_eq!(
                (tcp.advance(Way::Back, &blind), format!("{tcp:?}")),
                (Step::Outside, before.clone()),
                "{blind:?}"
            );
        }
        assert_eq!(tcp.advance(Way::Back, &segment(RST, 905, 0, 0)), Step::Pass, "its receiver will ask");
        assert_eq!(tcp.phase, Phase::Open);
        tcp.advance(Way::Back, &segment(RST, 901, 0, 0));
        assert_eq!(tcp.phase, Phase::ResetReceived);
    }

    #[test]
    fn repetitions_keep_alives_and_probes_of_a_closed_window_pass() {
        let mut tcp = open();
        for number in 0..5 {
            assert_eq!(tcp.advance(Way::Forth, &segment(ACK, 101 + number * 1000, 901, 1000)), Step::Pass);
        }
        assert_eq!(tcp.advance(Way::Forth, &segment(ACK, 101, 901, 1000)), Step::Pass, "again");
        let closed = Header { window: 0, ..segment(ACK, 901, 5101, 0) };
        assert_eq!(tcp.advance(Way::Back, &closed), Step::Pass);
        assert_eq!(tcp.advance(Way::Forth, &segment(ACK, 5100, 901, 0)), Step::Pass, "keep-alive");
        assert_eq!(tcp.advance(Way::Forth, &segment(ACK, 5101, 901, 1)), Step::Pass, "probe");
        assert_eq!(tcp.advance(Way::Forth, &segment(ACK, 10_102 + 1000, 901, 1)), Step::Outside);
    }

    #[test]
    fn windows_are_scaled_when_both_sides_offer_it() {
        for (offer, far) in [(Some(7), Step::Pass), (None, Step::Outside)] {
            let mut tcp = Tcp::opened(&Header { window_scale: Some(7), ..segment(SYN, 100, 0, 0) });
            tcp.advance(Way::Back, &Header { window_scale: offer, ..segment(SYN | ACK, 900, 101, 0) });
            tcp.advance(Way::Forth, &segment(ACK, 101, 901, 0));
            assert_eq!(tcp.advance(Way::Forth, &segment(ACK, 10_102, 901, 1)), Step::Outside, "a SYN's is not");
            tcp.advance(Way::Back, &segment(ACK, 901, 101, 0));
            assert_eq!(tcp.advance(Way::Forth, &segment(ACK, 101 + 1_000_000, 901, 1)), far);
        }
    }

    #[test]
    fn two_hosts_may_open_a_connection_at_the_same_time() {
        let mut tcp = Tcp::opened(&segment(SYN, 100, 0, 0));
        assert_eq!(tcp.advance(Way::Back, &segment(SYN, 900, 0, 0)), Step::Pass);
        assert_eq!(tcp.advance(Way::Forth, &segment(SYN | ACK, 100, 901, 0)), Step::Pass);
        assert_eq!(tcp.advance(Way::Back, &segment(SYN | ACK, 900, 101, 0)), Step::Pass);
        assert_eq!(tcp.phase, Phase::SynAckSent);
        assert_eq!(tcp.advance(Way::Back, &segment(ACK, 901, 101, 50)), Step::Pass);
        assert_eq!(tcp.phase, Phase::Open);
    }

    #[test]
    fn a_host_that_has_forgotten_its_connection_gets_a_new_one() {
        let mut tcp = open();
        assert_eq!(tcp.advance(Way::Forth, &segment(SYN, 77_000, 0, 0)), Step::Pass);
        assert_eq!(tcp.phase, Phase::Open, "a SYN alone changes nothing");
        // The other side has the old one still, says so, and is told that it is over.
        let mut challenged = tcp;
        assert_eq!(challenged.advance(Way::Back, &segment(ACK, 901, 101, 0)), Step::Pass);
        assert_eq!(challenged.advance(Way::Forth, &segment(RST, 101, 0, 0)), Step::Pass);
        assert_eq!(challenged.phase, Phase::ResetReceived);
        assert_eq!(challenged.advance(Way::Forth, &segment(SYN, 77_000, 0, 0)), Step::Pass);
        assert_eq!(challenged.phase, Phase::SynReceived);
        // Or it has forgotten it too.
        assert_eq!(tcp.advance(Way::Back, &segment(SYN | ACK, 5, 77_001, 0)), Step::Pass);
        assert_eq!(tcp.phase, Phase::SynAckSent);
        assert_eq!(tcp.advance(Way::Forth, &segment(ACK, 77_001, 6, 9)), Step::Pass);
        assert_eq!(tcp.phase, Phase::Open);
    }

    #[test]
    fn a_half_open_connection_of_the_other_side_can_be_reset() {
        let mut tcp = Tcp::opened(&segment(SYN, 100, 0, 0));
        assert_eq!(tcp.advance(Way::Back, &segment(ACK, 5555, 7777, 0)), Step::Pass);
        assert_eq!(tcp.advance(Way::Forth, &segment(RST, 7777, 0, 0)), Step::Pass);
        assert_eq!(tcp.phase, Phase::SynReceived);
        assert_eq!(tcp.advance(Way::Back, &segment(ACK, 5555, 7777, 9)), Step::Outside, "data before the handshake");
    }

    #[test]
    fn a_closed_connection_begins_again_by_its_opener_only() {
        let mut tcp = open();
        tcp.advance(Way::Forth, &segment(FIN | ACK, 101, 901, 0));
        assert_eq!(tcp.advance(Way::Back, &segment(SYN, 7, 0, 0)), Step::Another);
        assert_eq!(tcp.advance(Way::Forth, &segment(SYN, 9_000, 0, 0)), Step::Pass);
        assert_eq!(tcp.advance(Way::Back, &segment(SYN | ACK, 70_000, 9_001, 0)), Step::Pass);
        assert_eq!(tcp.phase, Phase::SynAckSent);
        assert_eq!(tcp.advance(Way::Forth, &segment(ACK, 9_001, 70_001, 10)), Step::Pass);
        assert_eq!(tcp.phase, Phase::Open);
    }

    #[test]
    fn a_blind_syn_does_not_end_a_connection_that_is_closed_on_one_side() {
        let mut tcp = open();
        tcp.advance(Way::Forth, &segment(FIN | ACK, 101, 901, 0));
        assert_eq!(tcp.advance(Way::Forth, &segment(SYN, 9_000, 0, 0)), Step::Pass, "its receiver will ask");
        assert_eq!(tcp.advance(Way::Back, &segment(ACK, 901, 102, 500)), Step::Pass);
        assert_eq!(tcp.advance(Way::Forth, &segment(ACK, 102, 1401, 0)), Step::Pass);
        assert_eq!(tcp.advance(Way::Back, &segment(FIN | ACK, 1401, 102, 0)), Step::Pass);
        assert_eq!(tcp.phase, Phase::FinReceived);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut tcp = Tcp::opened(&segment(SYN, u32::MAX, 0, 0));
        tcp.advance(Way::Back, &segment(SYN | ACK, u32::MAX - 1, 0, 0));
        tcp.advance(Way::Forth, &segment(ACK, 0, u32::MAX, 0));
        assert_eq!(tcp.advance(Way::Back, &segment(ACK, u32::MAX, 0, 10)), Step::Pass);
        tcp.advance(Way::Back, &segment(RST, 9, 0, 0));
        assert_eq!(tcp.phase, Phase::ResetReceived);
    }
}
