use std::fmt;

/// Bytes kept free in front of a packet: an outer IPv6 header, UDP, ESP and an IV fit with room to spare.
pub const HEADROOM: usize = 128;
/// Bytes kept free behind a packet: ESP padding, trailer and the longest ICV.
pub const TAILROOM: usize = 64 + 256;

/// A packet with room before and behind it, so that headers are put on and taken off without moving it.
#[derive(Clone, Default)]
pub struct Buffer {
    store: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// An empty packet for up to `capacity` bytes, with [`HEADROOM`] and [`TAILROOM`] around them.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { store: vec![0; HEADROOM + capacity + TAILROOM], start: HEADROOM, end: HEADROOM }
    }

    /// A copy of `bytes` with the usual room around it.
    pub fn copy(bytes: &[u8]) -> Self {
        let mut buffer = Self::with_capacity(bytes.len());
        buffer.extend(bytes);
        buffer
    }

    /// The packet.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.store.get(self.start..self.end).unwrap_or_default()
    }

    /// The packet, to be changed in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.store.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Length of the packet in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// True for a packet of no bytes.
    pub fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// Bytes free in front of the packet.
    pub fn headroom(&self) -> usize {
        self.start
    }

    /// Bytes free behind the packet.
    pub fn tailroom(&self) -> usize {
        self.store.len() - self.end
    }

    /// Puts `len` bytes in front of the packet and returns them to be written; their old content shows through. Grows
    /// the store when the head-room is used up.
    #[inline]
    pub fn prepend(&mut self, len: usize) -> &mut [u8] {
        if len > self.start {
            self.grow_front(len - self.start + HEADROOM);
        }
        self.start -= len;
        self.store.get_mut(self.start..self.start + len).unwrap_or_default()
    }

    /// Puts `len` bytes behind the packet and returns them to be written; their old content shows through. Grows the
    /// store when the tail-room is used up.
    #[inline]
    pub fn append(&mut self, len: usize) -> &mut [u8] {
        let end = self.end + len;
        if end > self.store.len() {
            self.grow_back(end + TAILROOM);
        }
        let from = std::mem::replace(&mut self.end, end);
        self.store.get_mut(from..end).unwrap_or_default()
    }

    #[cold]
    fn grow_front(&mut self, more: usize) {
        self.store.splice(0..0, std::iter::repeat_n(0, more));
        self.start += more;
        self.end += more;
    }

    #[cold]
    fn grow_back(&mut self, len: usize) {
        self.store.resize(len, 0);
    }

    /// Puts a copy of `bytes` behind the packet.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.append(bytes.len()).copy_from_slice(bytes);
    }

    /// Takes `len` bytes off the front; the packet becomes empty when it has fewer.
    #[inline]
    pub fn strip(&mut self, len: usize) {
        self.start = (self.start + len).min(self.end);
    }

    /// Shortens the packet to `len` bytes; does nothing when it is no longer than that.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }

    /// Makes the packet empty with the usual head-room in front; the store is kept.
    pub fn clear(&mut self) {
        self.start = HEADROOM.min(self.store.len());
        self.end = self.start;
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Buffer {}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

/// Buffers kept for use again: in steady state a packet costs no allocation.
#[derive(Debug)]
pub struct Pool {
    usual: Shelf,
    /// For what stands for many packets.
    large: Shelf,
}

#[derive(Debug)]
struct Shelf {
    free: Vec<Buffer>,
    capacity: usize,
    kept_max: usize,
}

impl Shelf {
    fn new(capacity: usize, kept_max: usize) -> Self {
        Self { free: Vec::with_capacity(kept_max), capacity, kept_max }
    }

    fn take(&mut self) -> Buffer {
        self.free.pop().unwrap_or_else(|| Buffer::with_capacity(self.capacity))
    }

    fn fits(&self, buffer: &Buffer) -> bool {
        buffer.store.len() >= HEADROOM + self.capacity + TAILROOM
    }

    fn give(&mut self, mut buffer: Buffer) {
        if self.free.len() < self.kept_max {
            buffer.clear();
            self.free.push(buffer);
        }
    }
}

impl Pool {
    /// A pool of buffers for packets up to `capacity` bytes that keeps at most `kept_max` of them.
    pub fn new(capacity: usize, kept_max: usize) -> Self {
        Self { usual: Shelf::new(capacity, kept_max), large: Shelf::new(capacity, 0) }
    }

    /// The same with larger buffers beside them, up to `capacity` bytes, of which it keeps at most `kept_max`.
    #[must_use]
    pub fn with_large(self, capacity: usize, kept_max: usize) -> Self {
        let capacity = capacity.max(self.usual.capacity);
        Self { large: Shelf::new(capacity, kept_max), ..self }
    }

    /// An empty buffer.
    pub fn take(&mut self) -> Buffer {
        self.usual.take()
    }

    /// An empty buffer for `len` bytes.
    pub fn take_for(&mut self, len: usize) -> Buffer {
        if len <= self.usual.capacity { self.usual.take() } else { self.large.take() }
    }

    /// Gives a buffer back; one that is too small, or too many, is dropped.
    pub fn give(&mut self, buffer: Buffer) {
        if self.large.kept_max > 0 && self.large.fits(&buffer) {
            self.large.give(buffer);
        } else if self.usual.fits(&buffer) {
            self.usual.give(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_go_on_and_come_off_without_moving_the_packet() {
        let mut buffer = Buffer::copy(b"packet");
        let place = buffer.bytes().as_ptr();
        buffer.prepend(4).copy_from_slice(b"head");
        buffer.extend(b"tail");
        assert_eq!(buffer.bytes(), b"headpackettail");
        buffer.strip(4);
        buffer.truncate(6);
        assert_eq!(buffer.bytes(), b"packet");
        assert_eq!(buffer.bytes().as_ptr(), place);
    }

    #[test]
    fn room_that_is_used_up_grows() {
        let mut buffer = Buffer::copy(b"x");
        buffer.prepend(HEADROOM + 1).fill(b'a');
        buffer.append(TAILROOM + 1).fill(b'z');
        assert_eq!(buffer.len(), HEADROOM + TAILROOM + 3);
        assert_eq!(buffer.bytes()[HEADROOM + 1], b'x');
        assert!(buffer.bytes()[..=HEADROOM].iter().all(|b| *b == b'a'));
        assert!(buffer.bytes()[HEADROOM + 2..].iter().all(|b| *b == b'z'));
    }

    #[test]
    fn stripping_more_than_there_is_leaves_an_empty_packet() {
        let mut buffer = Buffer::copy(b"abc");
        buffer.strip(9);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_pool_hands_the_same_memory_out_again() {
        let mut pool = Pool::new(1500, 4);
        let mut buffer = pool.take();
        buffer.extend(b"abc");
        let place = buffer.bytes().as_ptr();
        pool.give(buffer);
        let mut again = pool.take();
        assert!(again.is_empty());
        again.extend(b"d");
        assert_eq!(again.bytes().as_ptr(), place);
    }

    #[test]
    fn large_buffers_come_back_as_large_ones() {
        let mut pool = Pool::new(100, 4).with_large(1_000, 1);
        let (small, large, another) = (pool.take_for(100), pool.take_for(101), pool.take_for(1_000));
        assert!(small.tailroom() < 1_000 && large.tailroom() >= 1_000);
        for buffer in [small, large, another] {
            pool.give(buffer);
        }
        assert_eq!((pool.usual.free.len(), pool.large.free.len()), (1, 1), "one large one is enough");
        assert!(pool.take().tailroom() < 1_000);
        assert!(pool.take_for(500).tailroom() >= 1_000);
    }
}
