//! The fast lane: a packet of TCP or UDP that belongs to a connection which needs nothing but to be carried on. It does in
//! one go, and in place, what the path does in steps; whatever is unusual in any way goes by the path instead, of which
//! nothing is done yet then. Which of the two it was nobody can tell from what comes out: `tests/lane.rs` compares them.

use std::hint::black_box;
use std::net::IpAddr;

use base::{Buffer, Instant, Offload};
use wire::{esp, ip, ipv4, ipv6, octets, tcp};

use super::judge::IKE_PORTS;
use super::{Source, Work};
use crate::esp::receive::Passed;
use crate::flows::{Place, Step};
use crate::index::WORDS;
use crate::nat::rewrite::{self, Checksums};
use crate::{Dataplane, Outer, Output};

/// Packets whose waits for memory overlap.
const TOGETHER: usize = 16;

/// What can be seen of a packet at one glance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance {
    /// Its connection, as [`Key::words`](crate::inspect::Key::words) has it.
    words: [u64; WORDS],
    pub(crate) total: usize,
    payload: usize,
    protocol: u8,
    pub(crate) ds: u8,
    ttl: u8,
    /// An IPv4 packet that forbids to be cut.
    df: bool,
}

impl Glance {
    /// A whole packet with plain headers between two ordinary addresses, of TCP in the middle of a connection or of UDP.
    /// Of other packets nothing is said.
    #[inline(always)]
    pub(crate) fn at(packet: &[u8]) -> Option<Self> {
        match packet.first()? {
            0x45 => Self::at_v4(packet),
            0x60..=0x6f => Self::at_v6(packet),
            _ => None,
        }
    }

    #[inline(always)]
    fn at_v4(packet: &[u8]) -> Option<Self> {
        let [v, ds, t0, t1, i0, i1, f0, f1, ttl, protocol, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3] =
            *packet.first_chunk::<{ ipv4::HEADER }>()?;
        let total = usize::from(u16::from_be_bytes([t0, t1]));
        let flags = u16::from_be_bytes([f0, f1]);
        if flags & !ipv4::DF != 0 {
            return None;
        }
        let (source, destination) = (u32::from_be_bytes([s0, s1, s2, s3]), u32::from_be_bytes([d0, d1, d2, d3]));
        let words = [
            u32::from_be_bytes([v, ds, t0, t1]),
            u32::from_be_bytes([i0, i1, f0, f1]),
            u32::from_be_bytes([ttl, protocol, c0, c1]),
            source,
            destination,
        ];
        let sum = words.iter().fold(0u64, |sum, word| sum + u64::from(*word));
        let sum = (sum & 0xffff_ffff) + (sum >> 32);
        let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        // Neither 0.0.0.0/8 nor 127.0.0.0/8, and nothing from 224.0.0.0 on.
        let ordinary = |first: u8| first != 0 && first != 127 && first < 224;
        if sum != 0xffff || !ordinary(s0) || !ordinary(d0) || source == destination {
            return None;
        }
        let ports = transport(packet, ipv4::HEADER, total, protocol)?;
        let rest = u64::from(ports) << 32 | u64::from(protocol) << 24;
        let words = [u64::from(source) << 32 | u64::from(destination), 0, 0, 0, rest, 4];
        Some(Self { words, total, payload: ipv4::HEADER, protocol, ds, ttl, df: flags != 0 })
    }

    #[inline]
    fn at_v6(packet: &[u8]) -> Option<Self> {
        let header = packet.first_chunk::<{ ipv6::HEADER }>()?;
        let [v, t, _, _, l0, l1, protocol, ttl, ..] = *header;
        let total = ipv6::HEADER + usize::from(u16::from_be_bytes([l0, l1]));
        let half = |at| octets::array::<8>(header, at).map(u64::from_be_bytes);
        let (a, b, c, d) = (half(8)?, half(16)?, half(24)?, half(32)?);
        // Global addresses, 2000::/3, and unique local ones, fc00::/7.
        let ordinary = |half: u64| half >> 61 == 1 || half >> 57 == 0x7e;
        if !ordinary(a) || !ordinary(c) || (a, b) == (c, d) {
            return None;
        }
        let ports = transport(packet, ipv6::HEADER, total, protocol)?;
        let words = [a, b, c, d, u64::from(ports) << 32 | u64::from(protocol) << 24, 6];
        Some(Self { words, total, payload: ipv6::HEADER, protocol, ds: v << 4 | t >> 4, ttl, df: false })
    }

    pub(crate) fn is_v4(&self) -> bool {
        self.payload == ipv4::HEADER
    }

    pub(crate) fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Address and port of sender and receiver.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "halves and quarters of words are what is wanted")]
    pub(crate) fn ends(&self) -> [(IpAddr, u16); 2] {
        let [a, b, c, d, rest, _] = self.words;
        let ports = ((rest >> 48) as u16, (rest >> 32) as u16);
        let (source, destination): (IpAddr, IpAddr) = if self.is_v4() {
            (((a >> 32) as u32).to_be_bytes().into(), (a as u32).to_be_bytes().into())
        } else {
            let whole = |high: u64, low: u64| (u128::from(high) << 64 | u128::from(low)).to_be_bytes().into();
            (whole(a, b), whole(c, d))
        };
        [(source, ports.0), (destination, ports.1)]
    }
}

/// The ports of a packet of TCP or UDP, as they stand there, if its header is in order.
#[inline(always)]
fn transport(packet: &[u8], at: usize, total: usize, protocol: u8) -> Option<u32> {
    let transport = packet.get(at..total)?;
    match protocol {
        ip::UDP => {
            let header = transport.first_chunk::<8>()?;
            let len = usize::from(octets::u16(header, 4)?);
            (len >= wire::udp::HEADER && len <= transport.len()).then_some(())?;
        }
        ip::TCP => {
            let header = transport.first_chunk::<{ tcp::HEADER }>()?;
            let [.., offset, flags, _, _, _, _, _, _] = *header;
            let len = usize::from(offset >> 4) * 4;
            let carries_on = flags & (tcp::SYN | tcp::FIN | tcp::RST | tcp::ACK) == tcp::ACK;
            (carries_on && len >= tcp::HEADER && len <= transport.len()).then_some(())?;
        }
        _ => return None,
    }
    octets::u32(transport, 0)
}

impl Dataplane {
    /// Packets read from the host port, as [`Self::plain`] takes them, in order. Where there are many connections they wait
    /// for memory together.
    pub fn plain_batch(&mut self, now: Instant, packets: &mut Vec<Buffer>, out: &mut Vec<Output>) {
        self.begin(now, out);
        for together in packets.chunks_mut(TOGETHER) {
            let mut glances = [None; TOGETHER];
            for (place, packet) in glances.iter_mut().zip(&*together) {
                *place = Glance::at(packet.bytes()).map(|glance| (glance, self.flows.hash(&glance.words)));
            }
            self.touch(glances.iter().flatten().map(|(_, hash)| *hash));
            for (packet, glance) in together.iter_mut().zip(&glances) {
                let done = glance
                    .as_ref()
                    .is_some_and(|(glance, hash)| self.carry_on(now, Source::Port, (glance, *hash), packet, out));
                if !done {
                    self.run(now, Work::new(std::mem::take(packet), Source::Port), out);
                }
            }
        }
        packets.clear();
    }

    /// ESP packets, as [`Self::esp`] takes them, in order. Their pairs of SAs and the connections of what is in them wait for
    /// memory together.
    pub fn esp_batch(&mut self, now: Instant, packets: &mut Vec<(Outer, u8, Buffer)>, out: &mut Vec<Output>) {
        self.begin(now, out);
        for together in packets.chunks_mut(TOGETHER) {
            let mut slots = [None; TOGETHER];
            for (slot, (.., packet)) in slots.iter_mut().zip(&*together) {
                *slot = esp::Header::parse(packet.bytes()).and_then(|header| self.sas.by_spi(header.spi));
            }
            for entry in slots.iter().flatten().filter_map(|slot| self.sas.get(*slot)) {
                black_box(entry.lies_near());
            }
            for entry in slots.iter().flatten().filter_map(|slot| self.sas.get(*slot)) {
                black_box(entry.sa.lies_near());
            }
            let mut opened = [const { None }; TOGETHER];
            for (place, (outer, ds, packet)) in opened.iter_mut().zip(together.iter_mut()) {
                if !self.admit_outer(now, outer, *ds, packet.len(), out) {
                    self.pool.give(std::mem::take(packet));
                    continue;
                }
                *place = self.open_any(now, outer, *ds, packet, out).map(|passed| match passed {
                    Passed::Seen(tunnel, glance) => {
                        let hash = self.flows.hash(&glance.words);
                        (tunnel, None, Some((glance, hash)))
                    }
                    Passed::Into(tunnel, header) => (tunnel, Some(header), None),
                });
            }
            self.touch(opened.iter().flatten().filter_map(|(.., seen)| seen.as_ref().map(|(_, hash)| *hash)));
            for ((.., packet), opened) in together.iter_mut().zip(&opened) {
                let Some((tunnel, header, seen)) = opened else { continue };
                let source = Source::Tunnel(*tunnel);
                let done = seen
                    .as_ref()
                    .is_some_and(|(glance, hash)| self.carry_on(now, source, (glance, *hash), packet, out));
                if !done {
                    let packet = std::mem::take(packet);
                    self.run(now, Work { header: *header, ..Work::new(packet, source) }, out);
                }
            }
        }
        packets.clear();
    }

    /// Reads what packets with these hashes will need, each step for all of them.
    fn touch(&self, hashes: impl Iterator<Item = u64>) {
        let mut slots = [None; TOGETHER];
        for (slot, hash) in slots.iter_mut().zip(hashes) {
            *slot = self.flows.likely(hash);
        }
        let mut sas = [None; TOGETHER];
        for (sa, slot) in sas.iter_mut().zip(slots) {
            let flow = slot.and_then(|slot| self.flows.get(slot));
            *sa = flow.and_then(|flow| {
                let (opener, other) = flow.ends(crate::flows::Way::Forth);
                black_box(flow.lies_near());
                opener.sa().or(other.sa())
            });
        }
        for entry in sas.iter().flatten().filter_map(|sa| self.sas.get(sa.slot)) {
            black_box(entry.lies_near());
        }
        for entry in sas.iter().flatten().filter_map(|sa| self.sas.get(sa.slot)) {
            black_box(entry.sa.lies_near());
        }
    }

    /// Carries a packet on if it is an ordinary one of a known connection. False, and nothing is done, if not.
    #[inline]
    pub(crate) fn express(&mut self, now: Instant, source: Source, packet: &mut Buffer, out: &mut Vec<Output>) -> bool {
        #[cfg(test)]
        if self.without_lane {
            return false;
        }
        let Some(glance) = Glance::at(packet.bytes()) else { return false };
        let hash = self.flows.hash(&glance.words);
        self.carry_on(now, source, (&glance, hash), packet, out)
    }

    /// The same of a packet that has been looked at.
    pub(crate) fn express_seen(
        &mut self,
        now: Instant,
        source: Source,
        glance: &Glance,
        packet: &mut Buffer,
        out: &mut Vec<Output>,
    ) -> bool {
        let hash = self.flows.hash(&glance.words);
        self.carry_on(now, source, (glance, hash), packet, out)
    }

    fn carry_on(
        &mut self,
        now: Instant,
        source: Source,
        (glance, hash): (&Glance, u64),
        packet: &mut Buffer,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some((slot, way)) = self.flows.find_by_words(hash, &glance.words) else { return false };
        let Some(flow) = self.flows.get(slot) else { return false };
        let (sender, receiver) = flow.ends(way);
        let (from, to) = (sender.side(), receiver.side());
        let comes_from = match source {
            Source::Port => from.place == Place::Host,
            Source::Tunnel(interface) => from.place == Place::Tunnel && from.interface == interface,
            Source::Link(interface) => {
                let [_, (_, port)] = glance.ends();
                // To an address of ours it might be for IPsec, which comes before connections.
                from.place == Place::Port && from.interface == interface && !IKE_PORTS.contains(&port)
            }
            Source::Core | Source::Originated(_) | Source::Error(_) => false,
        };
        if packet.len() != glance.total {
            packet.truncate(glance.total);
        }
        if !comes_from || flow.judged != self.generation || glance.ttl <= 1 {
            return false;
        }
        let leaves = flow.translated.is_some().then(|| flow.keys(way).1);
        let sa = match to.place {
            Place::Core => return false,
            Place::Host => None,
            Place::Port if glance.total <= self.mtu(to.interface) => None,
            Place::Port => return false,
            Place::Tunnel => {
                let Some(sa) = receiver.sa() else { return false };
                let Some(entry) = self.sas.get(sa.slot) else { return false };
                let takes = entry.selection == sa.selection && entry.takes_whole(glance.total, glance.is_v4());
                if !takes || self.sealed_elsewhere(sa.slot).is_some() {
                    return false;
                }
                Some(sa.slot)
            }
        };
        let segment = if glance.protocol == ip::TCP {
            let segment = packet.bytes().get(glance.payload..glance.total).and_then(tcp::Header::parse);
            if segment.is_none() {
                return false;
            }
            segment
        } else {
            None
        };
        let settings = &self.policy.settings;
        let let_cut = glance.df && glance.total <= usize::from(settings.strip_df_max);
        if self.flows.segment(now, (slot, way), segment.as_ref(), glance.total, settings) != Step::Pass {
            return false;
        }
        let bytes = packet.bytes_mut();
        if let Some(leaves) = &leaves {
            rewrite::change(bytes, glance.payload, glance.protocol, leaves, Checksums::Whole);
        }
        if glance.is_v4() {
            let id = let_cut.then(|| self.next_id());
            ipv4::forward(bytes, id);
        } else {
            ip::decrement_ttl(bytes);
        }
        match (sa, to.place) {
            (Some(slot), _) => self.seal(now, slot, packet, glance.ds, out),
            (None, Place::Port) => {
                let destination = leaves.map_or_else(|| glance.ends()[1].0, |leaves| leaves.destination);
                let next_hop = self.hops.next(to, destination);
                out.push(Output::Link { interface: to.interface, next_hop, packet: std::mem::take(packet) });
            }
            (None, _) => {
                let packet = std::mem::take(packet);
                out.push(Output::Plain { interface: to.interface, packet, offload: Offload::NONE });
            }
        }
        true
    }
}
