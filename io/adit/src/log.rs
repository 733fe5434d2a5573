//! The log: one line per event on standard output, with the time in front. Nobody waits for whoever reads it: lines go
//! through a bounded queue to a thread of their own, and those that find no room are counted.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use base::{Duration, Event, Record, UnixTime};

use crate::events::LogLinesDropped;
use crate::privileges;

/// Lines are collected and queued together, at the end of each turn of the loop.
#[derive(Debug, Default)]
pub struct Log {
    pending: String,
    /// The time of the latest line.
    utc: UnixTime,
    queue: Arc<Queue>,
}

/// More than this is queued before the turn ends, bytes.
const PENDING_MAX: usize = 64 * 1024;
/// More than this does not wait to be written, bytes.
const QUEUE_MAX: usize = 1 << 20;
/// How long the end of the process waits for what is still to be written.
const FINISH_TIME: Duration = Duration::from_secs(1);

/// What lies between the gateway and the thread that writes.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    text: String,
    /// Lines for which there was no room behind `text`, and the time of the last of them.
    dropped: u64,
    dropped_at: UnixTime,
    /// The thread has taken something that it has not written yet.
    writing: bool,
    /// The log is no more.
    closed: bool,
}

impl Queue {
    /// The lock is held for moments only, never while something is written.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Queues lines, in order: once one has found no room, none does until the thread has told of it.
    fn push(&mut self, lines: &str, utc: UnixTime) {
        for line in lines.split_inclusive('\n') {
            if self.dropped == 0 && self.text.len().saturating_add(line.len()) <= QUEUE_MAX {
                self.text.push_str(line);
            } else {
                self.dropped = self.dropped.saturating_add(1);
                self.dropped_at = utc;
            }
        }
    }

    /// What is to be written next: the lines that wait, and behind them how many are missing.
    fn take(&mut self) -> Option<String> {
        let mut text = std::mem::take(&mut self.text);
        let lines = std::mem::take(&mut self.dropped);
        if lines > 0 {
            let _ = writeln!(text, "{} {}", self.dropped_at, LogLinesDropped { lines }.record());
        }
        (!text.is_empty()).then_some(text)
    }
}

impl Log {
    /// Adds a line for `record`.
    pub fn record(&mut self, utc: UnixTime, record: &Record) {
        self.utc = utc;
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

    /// Adds a line that is no event: it stands as it is.
    pub fn say(&mut self, line: &str) {
        let _ = writeln!(self.pending, "{line}");
    }

    /// Queues what has been collected.
    pub fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        self.queue.lock().push(&self.pending, self.utc);
        self.queue.changed.notify_all();
        self.pending.clear();
    }

    /// Starts the thread that writes to `out`; it ends with this value. What was logged before is written then.
    pub fn start(&self, mut out: impl Write + Send + 'static) -> io::Result<()> {
        let queue = Arc::clone(&self.queue);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            privileges::leave_the_network();
            let mut state = queue.lock();
            loop {
                if let Some(text) = state.take() {
                    state.writing = true;
                    drop(state);
                    // A log that nobody reads any more is no error of ours.
                    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
                    state = queue.lock();
                    state.writing = false;
                    queue.changed.notify_all();
                } else if state.closed {
                    return;
                } else {
                    state = queue.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        })?;
        Ok(())
    }

    /// Waits until everything is written, but not for a reader that has stopped reading.
    pub fn finish(&mut self) {
        self.flush();
        self.wait_written(FINISH_TIME);
    }

    /// True when everything is written, after `limit` at the latest.
    fn wait_written(&self, limit: Duration) -> bool {
        let unwritten = |state: &mut State| state.writing || state.dropped > 0 || !state.text.is_empty();
        let waited = self.queue.changed.wait_timeout_while(self.queue.lock(), limit, unwritten);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
    }
}

/// Counts what happens too often for a line each: says when a line is due, and how many it stands for.
#[derive(Debug, Default)]
pub struct Damper {
    last: Option<base::Instant>,
    count: u64,
}

impl Damper {
    const INTERVAL: Duration = Duration::from_secs(10);

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
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A reader that takes each text only when it is told to.
    struct Reader {
        entered: Sender<()>,
        let_go: Receiver<()>,
        read: Arc<Mutex<String>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.entered.send(());
            let _ = self.let_go.recv();
            self.read.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_stopped_holds_nobody_up_and_hears_later_what_it_has_missed() {
        let ((entered, has_entered), (go, let_go)) = (channel(), channel());
        let read = Arc::default();
        let mut log = Log::default();
        log.say("0");
        log.flush();
        log.start(Reader { entered, let_go, read: Arc::clone(&read) }).unwrap();
        has_entered.recv().unwrap();
        let line = "x".repeat(1023);
        for number in 1..=1030 {
            log.say(&format!("{number:04}{}", &line[4..]));
            log.flush();
        }
        assert!(!log.wait_written(Duration::ZERO));
        drop(go);
        assert!(log.wait_written(Duration::from_secs(60)));
        log.say("after");
        log.flush();
        assert!(log.wait_written(Duration::from_secs(60)));
        let read = read.lock().unwrap();
        let lines: Vec<&str> = read.lines().collect();
        assert_eq!(lines.len(), 1 + 1024 + 1 + 1);
        assert_eq!(lines[0], "0");
        assert!((1..=1024).all(|number| lines[number].starts_with(&format!("{number:04}"))));
        assert!(lines[1025].contains("event=log_lines_dropped action=drop lines=6"), "{}", lines[1025]);
        assert_eq!(lines[1026], "after");
    }

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
