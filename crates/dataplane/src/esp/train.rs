//! Many packets at once. One that stands for many is decided about once, and cut and sealed in one pass into one buffer. A
//! train of ESP packets is opened where it lies, and what belongs together in it goes on as one packet.

use std::ops::Range;

use base::{Buffer, Instant, Offload, Segments};
use wire::{esp, ip};

use super::receive::Inner;
use crate::inspect::Seen;
use crate::offload::{Segmenter, TrainMerger};
use crate::path::{Denial, Source, Work};
use crate::{Dataplane, InterfaceId, Mode, Outer, Output, Reason};

/// ESP packets that leave in one buffer at most: what the kernel takes in one call (UDP_MAX_SEGMENTS).
pub const TRAIN_MAX: usize = 64;
/// Bytes that leave in one buffer at most: the longest UDP datagram over IPv4.
pub const TRAIN_BYTES_MAX: usize = 65_507;

impl Dataplane {
    /// ESP packets of `segment_size` bytes one behind the other, the last of them perhaps shorter, as the kernel hands over
    /// what came from one peer. Each counts for itself; neighbouring segments of a TCP connection go on as one packet.
    pub fn esp_train(
        &mut self,
        now: Instant,
        outer: Outer,
        ds: u8,
        train: Buffer,
        segment_size: usize,
        out: &mut Vec<Output>,
    ) {
        self.begin(now, out);
        let count = train.len().div_ceil(segment_size.max(1)).max(1);
        // Asked for each, so that each is counted.
        let admitted = (0..count).filter(|_| self.admit_outer(now, &outer, ds, segment_size, out)).count();
        if admitted == count {
            self.unseal_train(now, outer, ds, train, segment_size, out);
            self.run_queue(now, out);
        } else {
            self.pool.give(train);
        }
    }

    /// Opens a train; what is in it goes into the queue.
    pub(crate) fn unseal_train(
        &mut self,
        now: Instant,
        outer: Outer,
        ds: u8,
        mut train: Buffer,
        segment_size: usize,
        out: &mut Vec<Output>,
    ) {
        if segment_size == 0 || train.len() <= segment_size {
            return self.unseal(now, outer, ds, train, out);
        }
        let mut merger = TrainMerger::new();
        let mut held_from = None;
        for start in (0..train.len()).step_by(segment_size) {
            let end = (start + segment_size).min(train.len());
            let Some(slot) = self.in_place(train.bytes().get(start..end)) else {
                // It goes the way of a single packet, behind those before it.
                self.flush(&mut merger, held_from.take(), &mut train);
                let mut packet = self.pool.take_for(end - start);
                packet.extend(train.bytes().get(start..end).unwrap_or_default());
                self.unseal(now, outer, ds, packet, out);
                continue;
            };
            let Some(piece) = train.bytes_mut().get_mut(start..end) else { continue };
            let header = esp::Header::parse(piece);
            let mut place = 0..piece.len();
            match self.open_place(now, slot, (&outer, ds), piece, &mut place, out) {
                Ok(Inner { tunnel, header }) => {
                    if held_from.is_some_and(|from| from != tunnel) {
                        self.flush(&mut merger, held_from, &mut train);
                    }
                    let place = start + place.start..start + place.end;
                    let finished = merger.push(train.bytes_mut(), place, &header);
                    if let Some((place, offload)) = finished {
                        self.take_out(&train, place, tunnel, offload);
                    }
                    held_from = Some(tunnel);
                }
                Err(reason) => {
                    self.counters.count(reason);
                    let piece = train.bytes().get(start..end).and_then(|piece| piece.get(place)).unwrap_or_default();
                    self.log_refusal(now, reason, &outer, header, piece, out);
                }
            }
        }
        // The last one may keep the buffer.
        let last = merger.flush(train.bytes_mut()).zip(held_from);
        let Some(((place, offload), tunnel)) = last else { return self.pool.give(train) };
        train.truncate(place.end);
        train.strip(place.start);
        self.queue.push_back(Work { offload, ..Work::new(train, Source::Tunnel(tunnel)) });
    }

    /// The pair of a packet that can be opened where it lies.
    fn in_place(&self, packet: Option<&[u8]>) -> Option<u32> {
        let slot = self.sas.by_spi(esp::Header::parse(packet?)?.spi)?;
        (self.sas.get(slot)?.sa.mode == Mode::Tunnel).then_some(slot)
    }

    fn flush(&mut self, merger: &mut TrainMerger, from: Option<InterfaceId>, train: &mut Buffer) {
        if let (Some((place, offload)), Some(tunnel)) = (merger.flush(train.bytes_mut()), from) {
            self.take_out(train, place, tunnel, offload);
        }
    }

    /// Gives a packet of a train a buffer of its own.
    fn take_out(&mut self, train: &Buffer, place: Range<usize>, tunnel: InterfaceId, offload: Offload) {
        let mut packet = self.pool.take_for(place.len());
        packet.extend(train.bytes().get(place).unwrap_or_default());
        self.queue.push_back(Work { offload, ..Work::new(packet, Source::Tunnel(tunnel)) });
    }

    /// Seals a packet that stands for many with an SA of a tunnel.
    pub(super) fn send_segments(
        &mut self,
        now: Instant,
        (tunnel, slot): (InterfaceId, u32),
        work: Work,
        (seen, segments): (&Seen, Segments),
        out: &mut Vec<Output>,
    ) {
        let Ok(segmenter) = Segmenter::new(work.packet.bytes(), &seen.ip, segments) else {
            return self.deny(now, work, Denial::of(Reason::MalformedTransport), out);
        };
        let Some(entry) = self.sas.get(slot) else {
            return self.deny(now, work, Denial::by_tunnel(Reason::TunnelUnavailable, tunnel), out);
        };
        let room = entry.room(seen.ip.is_v4());
        let longest = segmenter.next_len().unwrap_or(0);
        let may_cut = !seen.ip.whole || seen.ip.is_v4() && longest <= usize::from(self.policy.settings.strip_df_max);
        let fits = longest <= room;
        if fits && entry.sa.mode == Mode::Tunnel && !self.has_ports {
            self.seal_segments(now, slot, segmenter, seen, out);
            self.pool.give(work.packet);
        } else if fits || may_cut {
            self.each_segment(now, work, (seen, segments), out, |dataplane, work, seen, out| {
                dataplane.send_by(now, (tunnel, slot), work, seen, out);
            });
        } else {
            self.too_long(now, work, room, out);
        }
    }

    /// Writes each segment to where it is to be sealed.
    fn seal_segments(
        &mut self,
        now: Instant,
        slot: u32,
        mut segmenter: Segmenter<'_>,
        seen: &Seen,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.sas.get_mut(slot) else { return };
        let total = segmenter.left();
        let (longest, text_at) = (segmenter.next_len().unwrap_or(0), entry.sa.text_at());
        let size = entry.sa.sealed_len(longest);
        let most = (TRAIN_BYTES_MAX / size.max(1)).clamp(1, TRAIN_MAX);
        let next_header = if seen.ip.is_v4() { ip::IPV4 } else { ip::IPV6 };
        let (ds, df) = (entry.outer_ds(seen.ip.ds), entry.whole(size));
        let Some(mut sequence) = entry.sa.take_numbers(u64::try_from(total).unwrap_or(u64::MAX)) else {
            let limit = entry.limit_reached();
            self.counters.count_many(Reason::NotSealed, u64::try_from(total).unwrap_or(0));
            if let Some(limit) = limit {
                self.tell_limit(now, slot, limit, out);
            }
            return;
        };
        let (mut packets, mut bytes, mut refused) = (0, 0, 0);
        while segmenter.left() > 0 && refused == 0 {
            let count = segmenter.left().min(most);
            let mut train = self.pool.take_for(size * count);
            let mut sealed = 0;
            while sealed < count {
                let Some(len) = segmenter.next_len() else { break };
                let before = train.len();
                let place = train.append(entry.sa.sealed_len(len));
                let written = place.get_mut(text_at..).and_then(|text| segmenter.write_next(text));
                let (iv, iv_len) = entry.vector(sequence);
                sequence += 1;
                let iv = iv.get(..iv_len).unwrap_or_default();
                if written != Some(len) || entry.sa.seal_place(sequence - 1, iv, next_header, len, place).is_err() {
                    train.truncate(before);
                    refused = total - packets;
                    break;
                }
                (packets, bytes, sealed) = (packets + 1, bytes + len, sealed + 1);
            }
            let segment = if sealed > 1 { u16::try_from(size).ok() } else { None };
            if sealed == 0 {
                self.pool.give(train);
                break;
            }
            out.push(Output::Outer { outer: entry.outer, ds, df, packet: train, segment });
        }
        let number = |count: usize| u64::try_from(count).unwrap_or(0);
        entry.sa.count_out(now, number(packets), number(bytes));
        let limit = entry.limit_reached();
        self.counters.count_many(Reason::NotSealed, number(refused));
        if let Some(limit) = limit {
            self.tell_limit(now, slot, limit, out);
        }
    }
}
