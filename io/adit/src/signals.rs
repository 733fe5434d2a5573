//! Signals as something to read, instead of something that interrupts.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd};

/// SIGTERM, SIGINT and SIGHUP, blocked and queued in a descriptor.
#[derive(Debug)]
pub struct Signals(File);

/// Which one it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: a service manager, or `kill`.
    Terminate,
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGHUP: the terminal is gone, or somebody wants a reload.
    Hangup,
}

impl Signal {
    /// As the log names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::Hangup => "SIGHUP",
        }
    }
}

impl Signals {
    /// Takes the signals over for this thread and those it starts later.
    pub fn take_over() -> io::Result<Self> {
        Self::blocking(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
    }

    /// Takes SIGINT over alone: a command line in which Ctrl-C ends the command, not the program.
    pub fn interrupts() -> io::Result<Self> {
        Self::blocking(&[libc::SIGINT])
    }

    fn blocking(signals: &[libc::c_int]) -> io::Result<Self> {
        // SAFETY: sigset_t is plain data for which all zeroes is a value, and sigemptyset sets it up; the three calls
        // get pointers to it that live long enough; signalfd returns a new descriptor, which nobody else owns.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in signals {
                libc::sigaddset(&raw mut set, *signal);
            }
            let error = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            if error != 0 {
                return Err(io::Error::from_raw_os_error(error));
            }
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(File::from_raw_fd(fd)))
        }
    }

    /// The next signal that has come, if any.
    pub fn next(&mut self) -> Option<Signal> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        self.0.read_exact(&mut info).ok()?;
        // The number is the first field of the kernel's structure.
        let number = info.first_chunk::<4>().map(|bytes| i32::from_ne_bytes(*bytes))?;
        Some(match number {
            libc::SIGINT => Signal::Interrupt,
            libc::SIGHUP => Signal::Hangup,
            _ => Signal::Terminate,
        })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
