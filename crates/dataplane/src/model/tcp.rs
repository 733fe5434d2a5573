//! What a TCP connection is doing, sentence by sentence. Sequence numbers are compared by their distance.

use super::packet::{ACK, FIN, RST, SYN, Segment};

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A SYN has been seen.
    Opening,
    /// Its answer has been seen.
    Answered,
    Open,
    Finished,
    Reset,
}

/// What becomes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passes,
    /// It begins a connection of the other side.
    BeginsAnother,
    Outside,
}

/// What is known of one side's sending.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Host {
    /// Behind the highest number it has used.
    next: u32,
    /// The last it has acknowledged, and behind what it takes.
    takes: Option<(u32, u32)>,
    widest: u32,
    scale: Option<u8>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tcp {
    pub(super) state: State,
    crossed: bool,
    client: Host,
    server: Option<Host>,
    /// A SYN of the client in a connection that there is.
    another: Option<Host>,
}

/// How far `b` lies ahead of `a`.
fn ahead(a: u32, b: u32) -> i64 {
    i64::from(b.wrapping_sub(a).cast_signed())
}

impl Host {
    fn from_syn(syn: &Segment) -> Self {
        let next = syn.sequence.wrapping_add(syn.space());
        Self { next, takes: None, widest: u32::from(syn.window).max(1), scale: syn.scale.map(|scale| scale.min(14)) }
    }

    /// It has sent this.
    fn sent(&mut self, segment: &Segment) {
        let next = segment.sequence.wrapping_add(segment.space());
        if ahead(self.next, next) >= 0 {
            self.next = next;
        }
        if segment.has(ACK) {
            let shift = if segment.has(SYN) { 0 } else { self.scale.unwrap_or(0) };
            let window = u32::from(segment.window) << shift;
            self.widest = self.widest.max(window);
            let edge = segment.acknowledgement.wrapping_add(window);
            self.takes = Some(match self.takes {
                None => (segment.acknowledgement, edge),
                Some((acknowledged, old)) => (
                    if ahead(acknowledged, segment.acknowledgement) >= 0 {
                        segment.acknowledgement
                    } else {
                        acknowledged
                    },
                    if ahead(old, edge) >= 0 { edge } else { old },
                ),
            });
        }
    }
}

impl Tcp {
    pub(super) fn new(syn: &Segment) -> Self {
        Self::begun(Host::from_syn(syn))
    }

    fn begun(client: Host) -> Self {
        Self { state: State::Opening, crossed: false, client, server: None, another: None }
    }

    pub(super) fn segment(&mut self, from_client: bool, segment: &Segment) -> Verdict {
        match (segment.has(SYN), segment.has(ACK), segment.has(RST)) {
            (true, false, false) => self.syn(from_client, segment),
            (true, ..) => self.syn_ack(from_client, segment),
            (false, _, true) => self.rst(from_client, segment),
            (false, _, false) => self.usual(from_client, segment),
        }
    }

    /// A SYN passes in every state. The client's begins the connection again when it was reset or nobody has answered; else
    /// it is remembered. The server's crosses the client's, or begins a connection of its own when this one is over.
    fn syn(&mut self, from_client: bool, segment: &Segment) -> Verdict {
        let over = matches!(self.state, State::Finished | State::Reset);
        if from_client {
            if self.state == State::Reset || self.server.is_none() {
                *self = Self::new(segment);
            } else {
                self.another = Some(Host::from_syn(segment));
            }
            return Verdict::Passes;
        }
        if over {
            return Verdict::BeginsAnother;
        }
        if self.server.is_none() {
            self.crossed = true;
            self.server = Some(Host::from_syn(segment));
        }
        Verdict::Passes
    }

    fn syn_ack(&mut self, from_client: bool, segment: &Segment) -> Verdict {
        if !from_client {
            // It answers the SYN that was remembered: that is the connection now.
            if let Some(another) = self.another
                && another.next == segment.acknowledgement
            {
                *self = Self::begun(another);
            }
            if matches!(self.state, State::Opening | State::Answered) && !self.crossed {
                // It acknowledges the SYN, and of the data in it as much as it likes.
                if !(0..=1460).contains(&i64::from(self.client.next.wrapping_sub(segment.acknowledgement))) {
                    return Verdict::Outside;
                }
                self.server = Some(Host::from_syn(segment));
            }
        }
        if !self.in_window(from_client, segment) {
            return Verdict::Outside;
        }
        if self.state == State::Opening {
            self.state = State::Answered;
        }
        // Windows are scaled when both say so.
        if self.state == State::Answered
            && let Some(server) = &mut self.server
            && (server.scale.is_none() || self.client.scale.is_none())
        {
            server.scale = None;
            self.client.scale = None;
        }
        self.sent(from_client, segment);
        Verdict::Passes
    }

    /// A reset ends the connection when it is exactly what the receiver waits for, or refuses a SYN; within the window it
    /// passes for the receiver to judge.
    fn rst(&mut self, from_client: bool, segment: &Segment) -> Verdict {
        let (sender, receiver) = self.hosts(from_client);
        let acknowledges = |host: Host| segment.has(ACK) && segment.acknowledgement == host.next;
        let refuses = sender.is_none() && receiver.is_some_and(acknowledges)
            || !from_client && self.another.is_some_and(acknowledges);
        let takes = receiver.and_then(|receiver| receiver.takes);
        let exact = takes.is_some_and(|(acknowledged, _)| acknowledged == segment.sequence)
            || sender.is_some_and(|sender| sender.next == segment.sequence);
        if refuses || exact {
            self.state = State::Reset;
            return Verdict::Passes;
        }
        let within = takes.is_some_and(|(acknowledged, edge)| {
            ahead(acknowledged, segment.sequence) >= 0 && ahead(segment.sequence, edge) >= 0
        });
        // The client may be told of a connection it has forgotten before its SYN is answered.
        if within || from_client && receiver.is_none() { Verdict::Passes } else { Verdict::Outside }
    }

    fn usual(&mut self, from_client: bool, segment: &Segment) -> Verdict {
        if self.server.is_none() {
            // The server may still have an older connection and say so.
            return if !from_client && segment.space() == 0 { Verdict::Passes } else { Verdict::Outside };
        }
        if !self.in_window(from_client, segment) {
            return Verdict::Outside;
        }
        let fin = segment.has(FIN);
        match self.state {
            State::Answered if from_client || self.crossed => {
                self.state = if fin { State::Finished } else { State::Open };
            }
            State::Open if fin => self.state = State::Finished,
            _ => {}
        }
        if self.state == State::Open && from_client && segment.space() > 0 {
            self.another = None;
        }
        self.sent(from_client, segment);
        Verdict::Passes
    }

    /// What it carries may be new or is repeated from less than a window ago, lies within what the receiver takes, and it
    /// acknowledges what the receiver has sent, not too long ago.
    fn in_window(&self, from_client: bool, segment: &Segment) -> bool {
        let (Some(sender), Some(receiver)) = self.hosts(from_client) else { return false };
        let end = segment.sequence.wrapping_add(segment.space());
        let new_enough = ahead(sender.next.wrapping_sub(receiver.widest), end) >= 0;
        let near_enough = receiver.takes.is_none_or(|(_, edge)| ahead(segment.sequence, edge) >= 0);
        let oldest = receiver.next.wrapping_sub(sender.widest.max(66_000));
        let acknowledges = !segment.has(ACK)
            || ahead(oldest, segment.acknowledgement) >= 0 && ahead(segment.acknowledgement, receiver.next) >= 0;
        new_enough && near_enough && acknowledges
    }

    /// Who sends a segment and who gets it.
    fn hosts(&self, from_client: bool) -> (Option<Host>, Option<Host>) {
        if from_client { (Some(self.client), self.server) } else { (self.server, Some(self.client)) }
    }

    fn sent(&mut self, from_client: bool, segment: &Segment) {
        match &mut self.server {
            _ if from_client => self.client.sent(segment),
            Some(server) => server.sent(segment),
            None => {}
        }
    }
}
