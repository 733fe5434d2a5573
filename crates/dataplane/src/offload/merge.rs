//! Merging: neighbouring segments of a TCP connection become one packet again, which its receiver takes in one piece.
//!
//! Only what cutting the result would give back is merged: equal headers but for what counts up, equal payloads but for a
//! shorter last, nothing that interrupts. Checksums are verified, for the merged packet says that its payload is right.
//! Nothing overtakes anything: whatever is not merged ends the run.
//!
//! A payload is copied once, to behind the payload before it. A train of datagrams, as the kernel hands over in one
//! buffer, is opened in place and merged in place ([`TrainMerger`]): the first packet stays where it is, the others'
//! payloads move down by the length of the headers between them, within memory that opening has just brought near. Packets
//! that come in buffers of their own are merged by [`Merger`] into the first one's buffer, or when that has no room, into
//! one of the pool's, for one more copy of the first.

use std::ops::Range;

use base::{Buffer, Offload, Pool, SegmentKind, Segments};
use wire::checksum::Sum;
use wire::{ip, ipv4, ipv6, octets, tcp};

use super::segment::SEGMENTS_MAX;
use super::write_partial_checksum;

/// A merged packet has no more bytes than this, which every length field can say.
const LEN_MAX: usize = u16::MAX as usize;

/// Segments merged so far, wherever their bytes are.
#[derive(Clone, Debug)]
pub struct Run {
    header: ip::Header,
    /// Length of all headers.
    headers: usize,
    /// Payload of each segment.
    size: usize,
    len: usize,
    count: u16,
    next_sequence: u32,
    /// Of the first packet, if it is IPv4.
    id: u16,
    /// All have the same identification.
    same_id: bool,
    pushed: bool,
    /// A shorter segment, or one that is to be delivered at once, was the last.
    ended: bool,
}

impl Run {
    /// A run of one packet, when others may be merged with it.
    #[inline]
    pub fn start(packet: &[u8], header: &ip::Header) -> Option<Self> {
        let v4 = header.is_v4();
        if header.protocol != ip::TCP
            || header.fragment.is_some()
            || header.payload != if v4 { ipv4::HEADER } else { ipv6::HEADER }
            || header.total != packet.len()
        {
            return None;
        }
        let tcp = tcp::Header::parse(packet.get(header.payload..)?)?;
        let headers = header.payload + tcp.len;
        let size = packet.len().checked_sub(headers)?;
        // Data in the middle of a connection; what says PSH ends a run, so it begins none.
        if tcp.flags != tcp::ACK || size == 0 {
            return None;
        }
        Some(Self {
            header: *header,
            headers,
            size,
            len: packet.len(),
            count: 1,
            next_sequence: tcp.sequence.wrapping_add(u32::try_from(size).ok()?),
            id: if v4 { octets::u16(packet, 4)? } else { 0 },
            same_id: false,
            pushed: false,
            ended: false,
        })
    }

    /// Bytes of the merged packet.
    pub fn total(&self) -> usize {
        self.len
    }

    /// Says whether `packet` goes on where this run ends, and which of its bytes are the payload. The caller puts them
    /// behind the run's [`Self::total`] bytes and calls [`Self::add`]. `first` is the run's first packet, or the run itself.
    #[inline]
    pub fn fits(&self, first: &[u8], packet: &[u8], header: &ip::Header) -> Option<Range<usize>> {
        let at = self.header.payload;
        if self.ended
            || usize::from(self.count) >= SEGMENTS_MAX
            || header.payload != at
            || header.protocol != ip::TCP
            || header.fragment.is_some()
            || header.total != packet.len()
        {
            return None;
        }
        let payload = self.headers..packet.len();
        if payload.is_empty() || payload.len() > self.size || self.len + payload.len() > LEN_MAX {
            return None;
        }
        if octets::u32(packet, at + 4)? != self.next_sequence {
            return None;
        }
        let same = |range: Range<usize>| match (first.get(range.clone()), packet.get(range)) {
            (Some(first), Some(packet)) => first == packet,
            _ => false,
        };
        let same_ip = if self.header.is_v4() {
            // All but length, identification and checksum.
            header.is_v4() && same(0..2) && same(6..10) && same(12..20) && self.identified(octets::u16(packet, 4)?)
        } else {
            !header.is_v4() && same(0..4) && same(6..40)
        };
        // All but sequence number, PSH and checksum: ports; acknowledgement and length; window; urgent pointer, options.
        let same_tcp = same(at..at + 4)
            && same(at + 8..at + 13)
            && octets::u8(packet, at + 13)? & !tcp::PSH == tcp::ACK
            && same(at + 14..at + 16)
            && same(at + 18..self.headers);
        if !same_ip || !same_tcp || !verified(packet, header) {
            return None;
        }
        // The first one's checksum has not been looked at before there was something to merge.
        (self.count > 1 || verified(first.get(..self.len)?, &self.header)).then_some(payload)
    }

    /// Identifications count up as cutting will have them do. Where no fragments can come of a packet they have no
    /// meaning (RFC 6864 section 4.1), and may as well all be the same.
    fn identified(&self, id: u16) -> bool {
        let counts = id == self.id.wrapping_add(self.count) && !self.same_id;
        let same = id == self.id && self.header.whole && (self.count == 1 || self.same_id);
        counts || same
    }

    /// Takes in a packet that [`Self::fits`], whose payload now stands behind the run.
    #[inline]
    pub fn add(&mut self, packet: &[u8], payload: Range<usize>) {
        let len = payload.len();
        self.same_id = self.header.is_v4() && octets::u16(packet, 4) == Some(self.id);
        self.pushed = octets::u8(packet, self.header.payload + 13).is_some_and(|flags| flags & tcp::PSH != 0);
        self.ended = self.pushed || len < self.size;
        self.len += len;
        self.count += 1;
        self.next_sequence = self.next_sequence.wrapping_add(u32::try_from(len).unwrap_or(0));
    }

    /// Makes one packet of the run's bytes. A run of one is left as it is.
    pub fn finish(self, bytes: &mut [u8]) -> Offload {
        if self.count == 1 {
            return Offload::NONE;
        }
        let segments = (u16::try_from(self.size), u16::try_from(self.headers));
        let (Ok(size), Ok(header_len), Ok(total)) = (segments.0, segments.1, u16::try_from(self.len)) else {
            return Offload::NONE;
        };
        let kind = if self.header.is_v4() {
            ipv4::change(bytes, 2, total);
            SegmentKind::TcpV4
        } else {
            ipv6::set_payload_length(bytes, self.len - ipv6::HEADER);
            SegmentKind::TcpV6
        };
        if self.pushed {
            octets::put(bytes, self.header.payload + 13, [tcp::ACK | tcp::PSH]);
        }
        let header = ip::Header { total: self.len, ..self.header };
        let checksum = write_partial_checksum(bytes, &header);
        Offload { checksum, segments: Some(Segments { kind, size, header_len }) }
    }
}

fn verified(packet: &[u8], header: &ip::Header) -> bool {
    let segment = header.payload_of(packet);
    let len = u32::try_from(segment.len()).unwrap_or(0);
    Sum::new().with_pseudo_header(header.source, header.destination, ip::TCP, len).with(segment).checksum() == 0
}

/// A packet that leaves, merged or as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The packet.
    pub packet: Buffer,
    /// What is left to be done to it.
    pub offload: Offload,
}

/// Merges packets that come in buffers of their own.
#[derive(Debug, Default)]
pub struct Merger(Option<(Buffer, Run)>);

impl Merger {
    /// One that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a packet with its checked header. What can be said to be finished goes to `out`, in the order in which it
    /// came. The buffers of `pool` should be large enough for 64 KiB.
    pub fn push(&mut self, packet: Buffer, header: &ip::Header, pool: &mut Pool, out: &mut Vec<Merged>) {
        if let Some((first, run)) = &mut self.0
            && let Some(payload) = run.fits(first.bytes(), packet.bytes(), header)
            && has_room(first, payload.len(), pool)
            && let Some(bytes) = packet.bytes().get(payload.clone())
        {
            first.extend(bytes);
            run.add(packet.bytes(), payload);
            pool.give(packet);
            return;
        }
        self.flush(out);
        match Run::start(packet.bytes(), header) {
            Some(run) => self.0 = Some((packet, run)),
            None => out.push(Merged { packet, offload: Offload::NONE }),
        }
    }

    /// Finishes what is held: at the end of a batch, and before anything else that leaves.
    pub fn flush(&mut self, out: &mut Vec<Merged>) {
        if let Some((mut packet, run)) = self.0.take() {
            let offload = run.finish(packet.bytes_mut());
            out.push(Merged { packet, offload });
        }
    }
}

/// Sees to room for `len` bytes behind the packet; a small buffer is exchanged for one of the pool's.
fn has_room(packet: &mut Buffer, len: usize, pool: &mut Pool) -> bool {
    if packet.tailroom() >= len {
        return true;
    }
    let mut larger = pool.take();
    if larger.tailroom() < packet.len() + len {
        pool.give(larger);
        return false;
    }
    larger.extend(packet.bytes());
    pool.give(std::mem::replace(packet, larger));
    true
}

/// Merges packets that lie one behind the other in one buffer, in that buffer.
#[derive(Debug, Default)]
pub struct TrainMerger {
    /// Where the packet held starts and ends, and what it can take.
    held: Option<(Range<usize>, Option<Run>)>,
}

impl TrainMerger {
    /// One that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the packet at `place` in `train`, behind all before it. Returns the place of the one that is finished by it, if
    /// there is one: its bytes may be sent from there.
    #[inline]
    pub fn push(
        &mut self,
        train: &mut [u8],
        place: Range<usize>,
        header: &ip::Header,
    ) -> Option<(Range<usize>, Offload)> {
        if let Some((held, Some(run))) = &mut self.held
            && let Some(payload) = merge_in_place(train, held, run, &place, header)
        {
            held.end += payload;
            return None;
        }
        let finished = self.flush(train);
        let run = train.get(place.clone()).and_then(|packet| Run::start(packet, header));
        self.held = Some((place, run));
        finished
    }

    /// Finishes the packet held: at the end of the train, and before anything else that leaves.
    pub fn flush(&mut self, train: &mut [u8]) -> Option<(Range<usize>, Offload)> {
        let (place, run) = self.held.take()?;
        let offload = match (run, train.get_mut(place.clone())) {
            (Some(run), Some(bytes)) => run.finish(bytes),
            _ => Offload::NONE,
        };
        Some((place, offload))
    }
}

/// Moves the payload of the packet at `place` to the end of the one held, if it goes on there; returns its length.
#[inline]
fn merge_in_place(
    train: &mut [u8],
    held: &Range<usize>,
    run: &mut Run,
    place: &Range<usize>,
    header: &ip::Header,
) -> Option<usize> {
    let (before, behind) = train.split_at_mut_checked(place.start)?;
    let (first, packet) = (before.get(held.clone())?, behind.get(..place.len())?);
    let payload = run.fits(first, packet, header)?;
    run.add(packet, payload.clone());
    let len = payload.len();
    // Both ends lie in the train, as the packet does; the place it goes to lies in front of it.
    train.copy_within(place.start + payload.start..place.start + payload.end, held.end);
    Some(len)
}
