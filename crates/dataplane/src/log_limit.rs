//! Log lines about packets, bounded per second: nobody can fill a disk by sending packets.

use base::{Event, Instant, Record};

use crate::events::PacketLogFlood;
use crate::{Dataplane, Output, Reason};

/// Lines about drops for one reason in a second.
pub const LINES_PER_REASON: u32 = 20;
/// Lines about connections opened and closed in a second.
pub const LINES_ABOUT_CONNECTIONS: u32 = 500;

/// How many lines have been written in this second.
#[derive(Debug)]
pub(crate) struct LogLimit {
    second: u64,
    lines: [u32; Reason::ALL.len()],
    connections: u32,
    suppressed: u64,
}

impl LogLimit {
    pub(crate) fn new(second: u64) -> Self {
        Self { second, lines: [0; Reason::ALL.len()], connections: 0, suppressed: 0 }
    }

    /// Begins a new second; returns how many lines were left out in the one before.
    fn turn(&mut self, now: Instant) -> Option<u64> {
        if now.as_secs() == self.second {
            return None;
        }
        let suppressed = self.suppressed;
        *self = Self::new(now.as_secs());
        (suppressed > 0).then_some(suppressed)
    }

    /// When lines that were left out must be told of.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let next = self.second.saturating_add(1).saturating_mul(1_000_000);
        (self.suppressed > 0).then_some(Instant::from_micros(next))
    }
}

impl Dataplane {
    /// True when one more line may be written about drops for this reason; counts it.
    pub(crate) fn may_log(&mut self, now: Instant, reason: Reason, out: &mut Vec<Output>) -> bool {
        self.turn_log(now, out);
        let lines = self.log_limit.lines.get_mut(reason as usize);
        let allowed = lines.is_some_and(|lines| {
            *lines = lines.saturating_add(1);
            *lines <= LINES_PER_REASON
        });
        self.note_suppressed(allowed);
        allowed
    }

    /// Writes a line about a drop for this reason, if there may be one more.
    pub(crate) fn log(&mut self, now: Instant, reason: Reason, record: Record, out: &mut Vec<Output>) {
        if self.may_log(now, reason, out) {
            out.push(Output::Log(record));
        }
    }

    /// True when one more line may be written about connections; counts it.
    pub(crate) fn may_log_connection(&mut self, now: Instant, out: &mut Vec<Output>) -> bool {
        self.turn_log(now, out);
        self.log_limit.connections = self.log_limit.connections.saturating_add(1);
        let allowed = self.log_limit.connections <= LINES_ABOUT_CONNECTIONS;
        self.note_suppressed(allowed);
        allowed
    }

    /// Tells of lines left out, once their second is over.
    pub(crate) fn turn_log(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Some(suppressed) = self.log_limit.turn(now) {
            out.push(Output::Log(PacketLogFlood { suppressed }.record()));
        }
    }

    fn note_suppressed(&mut self, allowed: bool) {
        if !allowed {
            self.log_limit.suppressed += 1;
            self.counters.suppress_log();
        }
    }
}
