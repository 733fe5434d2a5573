//! Receiving in batches.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use base::Buffer;

use super::message::Messages;
use super::{BATCH, DATAGRAM_MAX};

/// Datagrams that have come: one, or a train of them from one sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// The address it was sent to.
    pub local: IpAddr,
    /// Where it came from; the port is 0 for a raw socket.
    pub remote: SocketAddr,
    /// DiffServ byte with ECN.
    pub ds: u8,
    /// The size of each datagram of a train; the last may be shorter. `None` for a single one.
    pub segment_size: Option<u16>,
    /// What is in it.
    pub bytes: &'a [u8],
}

impl<'a> Received<'a> {
    /// The datagrams one by one.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let single = self.bytes.is_empty().then_some(self.bytes);
        let size = self.segment_size.map_or(self.bytes.len(), usize::from).max(1);
        single.into_iter().chain(self.bytes.chunks(size))
    }
}

/// Memory to receive into, for all sockets of a thread in turn.
pub struct ReceiveBatch {
    buffers: Vec<Buffer>,
    slices: Vec<libc::iovec>,
    messages: Messages,
}

// SAFETY: what makes it `!Send` are the raw pointers in `slices`, which are written before each use.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    /// Memory for one batch, each of its messages as large as they come.
    pub fn new() -> Self {
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self {
            buffers: (0..BATCH).map(|_| Buffer::with_capacity(DATAGRAM_MAX)).collect(),
            slices: vec![empty; BATCH],
            messages: Messages::new(BATCH),
        }
    }

    /// Receives what has come, at most a batch, without waiting. Returns how many; [`ReceiveBatch::received`] has them.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        for (index, (buffer, slice)) in self.buffers.iter_mut().zip(&mut self.slices).enumerate() {
            buffer.clear();
            *slice = libc::iovec { iov_base: buffer.append(DATAGRAM_MAX).as_mut_ptr().cast(), iov_len: DATAGRAM_MAX };
            self.messages.point(index, slice, 1);
        }
        let headers = self.messages.headers_mut();
        let count = libc::c_uint::try_from(headers.len()).unwrap_or_default();
        // SAFETY: each of the headers points at a name, a slice and a control area of its own in `self`, with their true
        // sizes; each slice points at DATAGRAM_MAX bytes of a buffer; nothing of it moves during the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let Ok(received) = usize::try_from(received) else {
            return match io::Error::last_os_error() {
                error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
                error => Err(error),
            };
        };
        for (index, buffer) in self.buffers.iter_mut().enumerate() {
            buffer.truncate(if index < received { self.messages.length(index).unwrap_or(0) } else { 0 });
        }
        Ok(received)
    }

    /// What is at `index` of the last [`ReceiveBatch::receive`]. `None` when its addresses are missing.
    pub fn received(&self, index: usize) -> Option<Received<'_>> {
        let bytes = self.buffers.get(index)?.bytes();
        let remote = self.messages.remote(index)?;
        let said = self.messages.said(index);
        // A size that leaves nothing to be cut says nothing.
        let segment_size = said.segment_size.filter(|size| *size > 0 && usize::from(*size) < bytes.len());
        Some(Received { local: said.local?, remote, ds: said.ds, segment_size, bytes })
    }

    /// Takes the buffer at `index` of the last [`ReceiveBatch::receive`] without copying it. `instead` is what the next
    /// one is received into; one that is too small grows.
    pub fn take(&mut self, index: usize, instead: Buffer) -> Option<Buffer> {
        Some(std::mem::replace(self.buffers.get_mut(index)?, instead))
    }
}

impl Default for ReceiveBatch {
    fn default() -> Self {
        Self::new()
    }
}
