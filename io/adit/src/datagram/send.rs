//! Sending in batches. Datagrams of equal size that go the same way leave as one train, which the kernel cuts at the
//! last moment: a train costs hardly more than a datagram.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use base::Buffer;

use super::BATCH;
use super::message::Messages;
use super::path::{Discovery, read_errors};

/// Datagrams of one train: kernels before 6.9 cut no more.
pub const TRAIN_MAX: usize = 64;
/// Bytes of one train, or of one datagram over IPv4.
pub const TRAIN_BYTES_MAX: usize = 65_507;
/// Buffers that one system call takes.
const SLICES: usize = 256;

/// A datagram to be sent, or a train of them.
#[derive(Debug)]
pub struct Outgoing {
    /// The address it leaves from; an unspecified one leaves the choice to the kernel.
    pub local: IpAddr,
    /// Where to; the port is 0 for a raw socket.
    pub remote: SocketAddr,
    /// DiffServ byte with ECN.
    pub ds: u8,
    /// It may not be cut on its way.
    pub whole: bool,
    /// The size of each datagram of a train; the last may be shorter. `None` for a single one.
    pub segment_size: Option<u16>,
    /// What is in it.
    pub payload: Buffer,
}

impl Outgoing {
    /// One datagram that may be cut on its way.
    pub fn single(local: IpAddr, remote: SocketAddr, ds: u8, payload: Buffer) -> Self {
        Self { local, remote, ds, whole: false, segment_size: None, payload }
    }

    fn goes_with(&self, other: &Self) -> bool {
        self.remote == other.remote && self.local == other.local && self.ds == other.ds && self.whole == other.whole
    }

    /// The next datagram of what is left from `offset` on.
    fn size_at(&self, offset: usize) -> usize {
        let left = self.payload.len().saturating_sub(offset);
        self.segment_size.map_or(left, |size| left.min(usize::from(size).max(1)))
    }
}

/// Whether a socket's trains are cut by the kernel. It is tried, and refused for good by what cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trains {
    /// They are cut by the kernel.
    Kernel,
    /// Every datagram is sent by itself.
    Never,
}

/// How a socket sends.
#[derive(Clone, Debug)]
pub struct Way {
    /// Whether it takes trains.
    pub trains: Trains,
    /// Whether what it sends may be cut.
    pub discovery: Discovery,
}

/// What there is to tell of sending.
#[derive(Debug)]
pub enum Told<'a> {
    /// A datagram for this address is lost.
    Failed(SocketAddr, &'a io::Error),
    /// An IP packet for this address may have so many bytes; those are lost that had more.
    PathMtu(IpAddr, u16),
}

/// A place in a queue: which of the outgoing, and how much of it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    index: usize,
    offset: usize,
}

/// One message of a system call.
#[derive(Clone, Copy, Debug)]
struct Message {
    /// What comes after it.
    end: Place,
    datagrams: usize,
}

/// Memory to send with, for all sockets of a thread in turn.
pub struct SendBatch {
    slices: Vec<libc::iovec>,
    planned: Vec<Message>,
    messages: Messages,
}

// SAFETY: what makes it `!Send` are the raw pointers in `slices`, which are written before each use.
unsafe impl Send for SendBatch {}

impl SendBatch {
    /// Memory for one batch.
    pub fn new() -> Self {
        Self { slices: Vec::with_capacity(SLICES), planned: Vec::with_capacity(BATCH), messages: Messages::new(BATCH) }
    }

    /// Sends the datagrams of `queue` without waiting. What the kernel refuses is lost, as on any wire, and told. They
    /// stay in the queue for their buffers to be used again.
    pub fn send(&mut self, socket: impl AsFd, way: &mut Way, queue: &[Outgoing], mut tell: impl FnMut(Told<'_>)) {
        let mut place = Place::default();
        // Where a call has failed for what the kernel was told about earlier datagrams, maybe: that it does only once.
        let mut tried = None;
        // What is before it leaves datagram by datagram, because the kernel refused it as a train.
        let mut single_until = Place::default();
        while let Some(outgoing) = queue.get(place.index) {
            let end = Place { index: queue.len(), offset: 0 };
            self.plan(queue, place, if way.trains == Trains::Never { end } else { single_until });
            // Refused, it stays as it was: what is too long is cut, or lost.
            let _ = way.discovery.set(&socket, outgoing.whole);
            let Some(headers) = self.messages.headers_mut().get_mut(..self.planned.len()) else { return };
            let count = libc::c_uint::try_from(headers.len()).unwrap_or_default();
            // SAFETY: `plan` made these headers point at names and control areas of `messages`, at `slices` and through
            // them at payloads in `queue`, with their true sizes; all of it outlives the call, and the kernel only reads
            // what the slices point at.
            let result =
                unsafe { libc::sendmmsg(socket.as_fd().as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
            if let Some(last) = usize::try_from(result).ok().and_then(|sent| sent.checked_sub(1)) {
                let Some(message) = self.planned.get(last) else { return };
                place = message.end;
                continue;
            }
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            // The call stops at the first message that fails: go on behind it.
            let Some(message) = self.planned.first() else { return };
            if error.kind() == io::ErrorKind::WouldBlock {
                (0..message.datagrams).for_each(|_| tell(Told::Failed(outgoing.remote, &error)));
                place = message.end;
                continue;
            }
            let news = read_errors(&socket, |remote, mtu| tell(Told::PathMtu(remote, mtu)));
            if message.datagrams > 1 {
                match error.raw_os_error() {
                    // A socket or a way out that cannot cut, whatever the sizes.
                    Some(libc::EIO | libc::EOPNOTSUPP | libc::ENOPROTOOPT) => way.trains = Trains::Never,
                    // Datagrams too large for the way out, which fragments them one by one or says what it takes.
                    _ => single_until = message.end,
                }
            } else if news > 0 && tried != Some(place) {
                tried = Some(place);
            } else {
                if news == 0 || error.raw_os_error() != Some(libc::EMSGSIZE) {
                    tell(Told::Failed(outgoing.remote, &error));
                }
                place = message.end;
            }
        }
    }

    /// Writes the headers for as many messages as fit, from `place` on; what is before `single_until` by itself. What may
    /// be cut and what may not do not leave together.
    fn plan(&mut self, queue: &[Outgoing], mut place: Place, single_until: Place) {
        self.slices.clear();
        self.planned.clear();
        let whole = queue.get(place.index).is_some_and(|first| first.whole);
        while self.planned.len() < BATCH
            && self.slices.len() < SLICES
            && let Some(outgoing) = queue.get(place.index)
            && outgoing.whole == whole
        {
            let first_slice = self.slices.len();
            let size = outgoing.size_at(place.offset);
            let message = self.couple(queue, place, size, if place < single_until { 1 } else { TRAIN_MAX });
            let index = self.planned.len();
            // The vector has room for SLICES from the beginning, so it does not move.
            let Some(slices) = self.slices.get_mut(first_slice..) else { return };
            self.messages.point(index, slices.as_mut_ptr(), slices.len());
            let segment_size = if message.datagrams > 1 { u16::try_from(size).ok() } else { None };
            self.messages.address(index, outgoing.local, outgoing.remote, outgoing.ds, segment_size);
            self.planned.push(message);
            place = message.end;
        }
    }

    /// Takes datagrams of `size` bytes that go the same way from `place` on, and a shorter one behind them.
    fn couple(&mut self, queue: &[Outgoing], place: Place, size: usize, datagrams_max: usize) -> Message {
        let mut message = Message { end: place, datagrams: 0 };
        let (mut bytes, mut closed) = (0, false);
        while !closed
            && message.datagrams < datagrams_max
            && self.slices.len() < SLICES
            && let (Some(first), Some(outgoing)) = (queue.get(place.index), queue.get(message.end.index))
        {
            let offset = message.end.offset;
            let next = outgoing.size_at(offset);
            if message.datagrams > 0
                && (next > size || next == 0 || bytes + next > TRAIN_BYTES_MAX || !outgoing.goes_with(first))
            {
                break;
            }
            let left = outgoing.payload.bytes().get(offset..).unwrap_or_default();
            let taken = if next == size && size > 0 && outgoing.segment_size.is_some() {
                // As much of a train as there is room for; the last may be shorter.
                let room = (datagrams_max - message.datagrams).min((TRAIN_BYTES_MAX - bytes) / size).max(1);
                left.get(..room * size).unwrap_or(left)
            } else {
                left.get(..next).unwrap_or(left)
            };
            // sendmmsg only reads through this pointer; its type is shared with recvmmsg.
            self.slices.push(libc::iovec { iov_base: taken.as_ptr().cast_mut().cast(), iov_len: taken.len() });
            bytes += taken.len();
            message.datagrams += taken.len().div_ceil(size.max(1)).max(1);
            closed = size == 0 || taken.len() % size != 0;
            message.end = if taken.len() < left.len() {
                Place { offset: offset + taken.len(), ..message.end }
            } else {
                Place { index: message.end.index + 1, offset: 0 }
            };
        }
        message
    }
}

impl Default for SendBatch {
    fn default() -> Self {
        Self::new()
    }
}
