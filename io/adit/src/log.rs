//! The log: one line per event on standard output, with the time in front.

use std::fmt::Write as _;
use std::io::Write as _;

use base::{Event, Record, UnixTime};

/// Lines are collected and written together, at the end of each turn of the loop.
#[derive(Debug, Default)]
pub struct Log {
    pending: String,
}

/// More than this is written before the turn ends, bytes.
const PENDING_MAX: usize = 64 * 1024;

impl Log {
    /// Adds a line for `record`.
    pub fn record(&mut self, utc: UnixTime, record: &Record) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.pending, "{utc} {record}");
        if self.pending.len() > PENDING_MAX {
            self.flush();
        }
    }

    /// Adds a line for an event of the shell's own.
    pub fn event(&mut self, utc: UnixTime, event: &impl Event) {
        self.record(utc, &event.record());
    }

    /// Writes what has been collected. A log that nobody reads any more must not stop the gateway.
    pub fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(self.pending.as_bytes());
        let _ = out.flush();
        self.pending.clear();
    }
}

/// Counts what happens too often for a line each: says when a line is due, and how many it stands for.
#[derive(Debug, Default)]
pub struct Damper {
    last: Option<base::Instant>,
    count: u64,
}

impl Damper {
    const INTERVAL: base::Duration = base::Duration::from_secs(10);

    /// Counts one occurrence. `Some(n)`: report now, for `n` occurrences.
    pub fn count(&mut self, now: base::Instant) -> Option<u64> {
        self.count = self.count.saturating_add(1);
        if self.last.is_some_and(|last| now.since(last) < Self::INTERVAL) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Instant;

    #[test]
    fn what_happens_often_is_reported_once_in_ten_seconds_with_its_number() {
        let mut damper = Damper::default();
        let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
        assert_eq!(damper.count(at(100)), Some(1));
        assert_eq!(damper.count(at(101)), None);
        assert_eq!(damper.count(at(109)), None);
        assert_eq!(damper.count(at(110)), Some(3));
    }
}
