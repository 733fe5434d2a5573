//! A stream of numbered UDP datagrams: what is lost, doubled or out of order shows.

use std::cell::{Ref, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use base::{Duration, Instant};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::udp;
use smoltcp::wire::IpEndpoint;

/// A stream that runs, or has run. Clones look at the same stream.
#[derive(Clone, Debug)]
pub struct Stream(Rc<RefCell<Report>>);

#[derive(Debug, Default)]
struct Report {
    sent: u64,
    seen: BTreeSet<u64>,
    duplicates: u64,
    reordered: u64,
    strangers: u64,
    newest: Option<u64>,
    stopped: bool,
}

impl Stream {
    pub(crate) fn new() -> Self {
        Self(Rc::default())
    }

    fn report(&self) -> Ref<'_, Report> {
        self.0.borrow()
    }

    /// Datagrams sent.
    pub fn sent(&self) -> u64 {
        self.report().sent
    }

    /// Different datagrams received.
    pub fn received(&self) -> u64 {
        u64::try_from(self.report().seen.len()).unwrap_or(u64::MAX)
    }

    /// Datagrams received once more.
    pub fn duplicates(&self) -> u64 {
        self.report().duplicates
    }

    /// Datagrams received behind a later one.
    pub fn reordered(&self) -> u64 {
        self.report().reordered
    }

    /// Datagrams received that nobody sent.
    pub fn strangers(&self) -> u64 {
        self.report().strangers
    }

    /// Sends nothing more.
    pub fn stop(&self) {
        self.0.borrow_mut().stopped = true;
    }
}

/// The host that sends.
#[derive(Debug)]
pub(crate) struct StreamSender {
    pub(crate) stream: Stream,
    pub(crate) socket: SocketHandle,
    pub(crate) to: IpEndpoint,
    pub(crate) interval: Duration,
    pub(crate) size: usize,
    pub(crate) next_at: Instant,
}

impl StreamSender {
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        (!self.stream.report().stopped).then_some(self.next_at)
    }

    pub(crate) fn wake(&mut self, now: Instant, sockets: &mut SocketSet<'_>) {
        while self.next_wake().is_some_and(|at| at <= now) {
            self.next_at += self.interval.max(Duration::from_micros(1));
            let number = self.stream.report().sent;
            let data = datagram(number, self.size);
            if sockets.get_mut::<udp::Socket<'_>>(self.socket).send_slice(&data, self.to).is_ok() {
                self.stream.0.borrow_mut().sent += 1;
            }
        }
    }
}

/// The host that receives.
#[derive(Debug)]
pub(crate) struct StreamReceiver {
    pub(crate) stream: Stream,
    pub(crate) socket: SocketHandle,
}

impl StreamReceiver {
    pub(crate) fn poll(&mut self, sockets: &mut SocketSet<'_>) {
        let socket = sockets.get_mut::<udp::Socket<'_>>(self.socket);
        let mut report = self.stream.0.borrow_mut();
        while let Ok((data, _)) = socket.recv() {
            let number = data.first_chunk().map_or(u64::MAX, |number| u64::from_be_bytes(*number));
            if number >= report.sent || data != datagram(number, data.len()) {
                report.strangers += 1;
            } else if !report.seen.insert(number) {
                report.duplicates += 1;
            } else if report.newest.is_some_and(|newest| newest > number) {
                report.reordered += 1;
            } else {
                report.newest = Some(number);
            }
        }
    }
}

/// What the datagram of this number carries.
fn datagram(number: u64, size: usize) -> Vec<u8> {
    let filling = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let mut data = number.to_be_bytes().to_vec();
    data.extend(filling.iter().cycle().take(size.saturating_sub(8)));
    data
}
