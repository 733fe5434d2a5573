//! A TCP transfer: one host connects and sends, the other compares every byte with what was to come.

use std::cell::{Ref, RefCell};
use std::rc::Rc;

use base::{Duration, Instant};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp;

/// A transfer that runs, or has run. Clones look at the same transfer.
#[derive(Clone, Debug)]
pub struct Transfer(Rc<RefCell<Report>>);

#[derive(Debug)]
struct Report {
    bytes: u64,
    started: Instant,
    received: u64,
    checksum: u32,
    damaged: bool,
    finished: Option<Instant>,
    broken: bool,
}

impl Transfer {
    pub(crate) fn new(started: Instant, bytes: u64) -> Self {
        Self(Rc::new(RefCell::new(Report {
            bytes,
            started,
            received: 0,
            checksum: 0,
            damaged: false,
            finished: None,
            broken: false,
        })))
    }

    fn report(&self) -> Ref<'_, Report> {
        self.0.borrow()
    }

    /// Bytes that have arrived in order.
    pub fn received(&self) -> u64 {
        self.report().received
    }

    /// Everything has arrived, as it was sent, and the sender has closed.
    pub fn is_complete(&self) -> bool {
        let report = self.report();
        report.finished.is_some() && report.received == report.bytes && !report.damaged
    }

    /// The connection was refused, reset, or delivered something else.
    pub fn is_broken(&self) -> bool {
        self.report().broken || self.report().damaged
    }

    /// How long it took.
    pub fn took(&self) -> Option<Duration> {
        self.report().finished.map(|finished| finished.since(self.report().started))
    }

    /// A checksum (Adler-32 of RFC 1950) of what has arrived.
    pub fn checksum(&self) -> u32 {
        self.report().checksum
    }

    /// What the checksum of the whole transfer must be.
    pub fn expected_checksum(&self) -> u32 {
        (0..self.report().bytes).fold(1, |sum, at| adler(sum, byte(at)))
    }
}

/// The end that connects and sends.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) transfer: Transfer,
    pub(crate) socket: SocketHandle,
    pub(crate) sent: u64,
}

impl Sender {
    /// Fills the socket. True: there is something for the stack to do.
    pub(crate) fn poll(&mut self, sockets: &mut SocketSet<'_>) -> bool {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.socket);
        let bytes = self.transfer.report().bytes;
        if socket.state() == tcp::State::Closed && self.transfer.report().finished.is_none() {
            self.transfer.0.borrow_mut().broken = true;
        }
        let mut moved = false;
        while self.sent < bytes && socket.can_send() {
            let from = self.sent;
            let written = socket.send(|room| {
                let fits = room.len().min(usize::try_from(bytes - from).unwrap_or(usize::MAX));
                for (byte_out, at) in room.iter_mut().take(fits).zip(from..) {
                    *byte_out = byte(at);
                }
                (fits, fits)
            });
            let Ok(written) = written else { break };
            self.sent += u64::try_from(written).unwrap_or(0);
            moved |= written > 0;
        }
        if self.sent == bytes && matches!(socket.state(), tcp::State::Established | tcp::State::CloseWait) {
            socket.close();
            moved = true;
        }
        moved
    }
}

/// The end that listens and compares.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) transfer: Transfer,
    pub(crate) socket: SocketHandle,
}

impl Receiver {
    /// Empties the socket. True: there is something for the stack to do.
    pub(crate) fn poll(&mut self, now: Instant, sockets: &mut SocketSet<'_>) -> bool {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.socket);
        let mut report = self.transfer.0.borrow_mut();
        let mut moved = false;
        while socket.can_recv() {
            let taken = socket.recv(|data| {
                for read in data.iter() {
                    report.damaged |= *read != byte(report.received);
                    report.checksum = adler(if report.received == 0 { 1 } else { report.checksum }, *read);
                    report.received += 1;
                }
                (data.len(), ())
            });
            if taken.is_err() {
                break;
            }
            moved = true;
        }
        if socket.state() == tcp::State::CloseWait {
            report.finished = Some(now);
            socket.close();
            moved = true;
        }
        moved
    }
}

/// The byte at a place of every transfer: nothing repeats within a segment's length or a window's.
fn byte(at: u64) -> u8 {
    let mixed = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (at >> 7).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed.to_be_bytes()[0]
}

fn adler(sum: u32, next: u8) -> u32 {
    let low = ((sum & 0xffff) + u32::from(next)) % 65_521;
    let high = ((sum >> 16) + low) % 65_521;
    high << 16 | low
}
