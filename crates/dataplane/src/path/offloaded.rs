//! Packets to which something is left to be done: a checksum to be completed, segments to be cut.

use base::{Buffer, Instant, Offload, Segments};
use wire::{ip, octets, udp};

use super::{Denial, Source, Work};
use crate::inspect::{Seen, Transport};
use crate::offload::{Segmenter, complete_checksum};
use crate::{Dataplane, InterfaceId, Output, Reason};

impl Dataplane {
    /// A packet read from the host port, as [`Self::plain`] takes it, to which something is left to be done. It is decided
    /// about once, also when it stands for many.
    pub fn plain_offloaded(&mut self, now: Instant, packet: Buffer, offload: Offload, out: &mut Vec<Output>) {
        self.begin(now, out);
        self.run(now, Work { offload, ..Work::new(packet, Source::Port) }, out);
    }

    /// The same for an IP packet received by a packet port, as [`Self::link`] takes it.
    pub fn link_offloaded(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        packet: Buffer,
        offload: Offload,
        out: &mut Vec<Output>,
    ) {
        self.begin(now, out);
        self.run(now, Work { offload, ..Work::new(packet, Source::Link(interface)) }, out);
    }

    /// Cuts a packet that stands for many and sends each segment by itself.
    pub(crate) fn each_segment(
        &mut self,
        now: Instant,
        work: Work,
        (seen, segments): (&Seen, Segments),
        out: &mut Vec<Output>,
        mut send: impl FnMut(&mut Self, Work, &Seen, &mut Vec<Output>),
    ) {
        let Ok(mut segmenter) = Segmenter::new(work.packet.bytes(), &seen.ip, segments) else {
            return self.deny(now, work, Denial::of(Reason::MalformedTransport), out);
        };
        while let Some(len) = segmenter.next_len() {
            let mut packet = self.pool.take_for(len);
            let header = segmenter.write_next(packet.append(len)).and_then(|_| ip::Header::parse(packet.bytes()).ok());
            let segment = Work { header, original: work.original, ..Work::new(packet, work.source) };
            match segment.seen() {
                Some(seen) => send(self, segment, &seen, out),
                None => return self.deny(now, segment, Denial::of(Reason::MalformedTransport), out),
            }
        }
        self.pool.give(work.packet);
    }
}

impl Work {
    /// Makes sure that what is left to be done can be done. Only TCP and UDP go on with it.
    pub(super) fn prepare(&mut self, seen: &Seen) -> bool {
        let bytes = self.packet.bytes_mut();
        let possible = self.offload.checksum.is_none_or(|missing| {
            let covered = bytes.get(usize::from(missing.start)..);
            covered.is_some_and(|covered| octets::u16(covered, usize::from(missing.offset)).is_some())
        });
        let segments = self.offload.segments.as_mut().is_none_or(|segments| {
            let headers = match &seen.transport {
                Transport::Tcp(tcp) => seen.ip.payload + tcp.len,
                _ => seen.ip.payload + udp::HEADER,
            };
            // What the sender says of it is only advice.
            segments.header_len = u16::try_from(headers).unwrap_or(u16::MAX);
            Segmenter::new(bytes, &seen.ip, *segments).is_ok()
        });
        if !matches!(seen.transport, Transport::Tcp(_) | Transport::Udp(_)) {
            self.complete();
        }
        if !possible || !segments {
            self.offload = Offload::NONE;
        }
        possible && segments
    }

    /// Completes the checksum of a single packet. It has been [prepared](Self::prepare).
    #[inline]
    pub(crate) fn complete(&mut self) {
        if let (Some(missing), None) = (self.offload.checksum, self.offload.segments) {
            complete_checksum(self.packet.bytes_mut(), missing);
            self.offload.checksum = None;
        }
    }

    /// How many packets it stands for.
    #[inline]
    pub(crate) fn stands_for(&self) -> u64 {
        let Some(segments) = self.offload.segments else { return 1 };
        let payload = self.packet.len().saturating_sub(usize::from(segments.header_len));
        u64::try_from(payload.div_ceil(usize::from(segments.size.max(1)))).unwrap_or(1).max(1)
    }

    /// Length of the longest segment.
    pub(super) fn longest_segment(&self) -> usize {
        let most = self.offload.segments.map_or(usize::MAX, |s| usize::from(s.size) + usize::from(s.header_len));
        self.packet.len().min(most)
    }
}
