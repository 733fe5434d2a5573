//! Waiting for many file descriptors at once.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// Names a file descriptor in what [`Epoll::wait`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// A set of file descriptors, level-triggered.
pub struct Epoll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

/// Most events that one wait reports; the others come with the next.
const EVENTS_MAX: usize = 64;

impl Epoll {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Adds a descriptor that is waited on until it can be read.
    pub fn add(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token.0), EventFlags::IN)?)
    }

    /// Says whether to wait for room to write as well.
    pub fn want_write(&self, fd: impl AsFd, token: Token, wanted: bool) -> io::Result<()> {
        let flags = if wanted { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(token.0), flags)?)
    }

    /// Takes a descriptor out.
    pub fn remove(&self, fd: impl AsFd) {
        // It is closed next: the kernel would take it out then at the latest.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits until something can be done or `timeout` is over, and puts the tokens into `ready`.
    pub fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Token>) -> io::Result<()> {
        ready.clear();
        self.events.clear();
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.iter().map(|event| Token(event.data.u64())));
        Ok(())
    }
}
