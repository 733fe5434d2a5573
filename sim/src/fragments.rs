//! Cutting packets that a link is too small for, and putting the pieces together again (RFC 791, RFC 8200 section 4.5).

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::{Duration, Instant};

use crate::packet::{FRAGMENT, Header, put, seal_v4};

/// How long a kernel waits for the rest of a packet.
const PATIENCE: Duration = Duration::from_secs(30);
/// Packets that a kernel puts together at the same time.
const PARTIAL_MAX: usize = 256;

/// Cuts a packet into pieces of at most `mtu` bytes. For IPv6 `id` names the pieces; only the source may cut there.
pub(crate) fn cut(packet: &[u8], header: &Header, mtu: usize, id: u32) -> Vec<Vec<u8>> {
    if header.source.is_ipv4() { cut_v4(packet, header, mtu) } else { cut_v6(packet, header, mtu, id) }
}

fn cut_v4(packet: &[u8], header: &Header, mtu: usize) -> Vec<Vec<u8>> {
    let room = (mtu.saturating_sub(header.header_len) & !7).max(8);
    let payload = header.payload(packet);
    let (offset, more) = header.piece.map_or((0, false), |piece| (piece.offset, piece.more));
    let last = payload.len().div_ceil(room).saturating_sub(1);
    let pieces = payload.chunks(room).enumerate().map(|(index, chunk)| {
        let mut piece = packet.get(..header.header_len).unwrap_or_default().to_vec();
        let place = u16::try_from((offset + index * room) / 8).expect("an IPv4 packet ends below 65536");
        let flags = if more || index < last { 0x2000 } else { 0 };
        let total = u16::try_from(header.header_len + chunk.len()).expect("a piece is smaller than the packet");
        put(&mut piece, 2, &total.to_be_bytes());
        put(&mut piece, 6, &(flags | place).to_be_bytes());
        seal_v4(&mut piece);
        piece.extend_from_slice(chunk);
        piece
    });
    pieces.collect()
}

fn cut_v6(packet: &[u8], header: &Header, mtu: usize, id: u32) -> Vec<Vec<u8>> {
    let room = (mtu.saturating_sub(header.header_len + 8) & !7).max(8);
    let payload = header.payload(packet);
    let last = payload.len().div_ceil(room).saturating_sub(1);
    let pieces = payload.chunks(room).enumerate().map(|(index, chunk)| {
        let mut piece = packet.get(..header.header_len).unwrap_or_default().to_vec();
        let place = u16::try_from(index * room).expect("an IPv6 payload ends below 65536") | u16::from(index < last);
        put(&mut piece, 4, &u16::try_from(chunk.len() + 8).expect("a piece is smaller than the packet").to_be_bytes());
        put(&mut piece, 6, &[FRAGMENT]);
        piece.extend_from_slice(&[header.protocol, 0]);
        piece.extend_from_slice(&place.to_be_bytes());
        piece.extend_from_slice(&id.to_be_bytes());
        piece.extend_from_slice(chunk);
        piece
    });
    pieces.collect()
}

/// The packets of which a kernel has some pieces.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    partial: BTreeMap<(IpAddr, IpAddr, u8, u32), Partial>,
}

#[derive(Debug)]
struct Partial {
    since: Instant,
    /// The header of the first piece.
    head: Vec<u8>,
    pieces: BTreeMap<usize, Vec<u8>>,
    /// Known once the last piece is there.
    end: Option<usize>,
}

impl Reassembly {
    /// Takes a packet or a piece of one; returns a packet when it is whole.
    pub(crate) fn take(&mut self, now: Instant, header: &Header, packet: Vec<u8>) -> Option<Vec<u8>> {
        let Some(piece) = header.piece else { return Some(packet) };
        self.partial.retain(|_, partial| now.since(partial.since) < PATIENCE);
        let key = (header.source, header.destination, header.protocol, piece.id);
        if self.partial.len() >= PARTIAL_MAX && !self.partial.contains_key(&key) {
            return None;
        }
        let partial = self.partial.entry(key).or_insert_with(|| Partial {
            since: now,
            head: Vec::new(),
            pieces: BTreeMap::new(),
            end: None,
        });
        let payload = header.payload(&packet);
        if piece.offset == 0 {
            partial.head = packet.get(..header.header_len).unwrap_or_default().to_vec();
        }
        if !piece.more {
            partial.end = Some(piece.offset + payload.len());
        }
        partial.pieces.insert(piece.offset, payload.to_vec());
        let whole = partial.join(header)?;
        self.partial.remove(&key);
        Some(whole)
    }
}

impl Partial {
    /// The packet, when no piece is missing.
    fn join(&self, header: &Header) -> Option<Vec<u8>> {
        let end = self.end?;
        let mut payload = Vec::with_capacity(end);
        for (offset, piece) in &self.pieces {
            let known = payload.len().checked_sub(*offset)?;
            payload.extend_from_slice(piece.get(known..).unwrap_or_default());
        }
        if payload.len() != end || self.head.is_empty() {
            return None;
        }
        let mut packet = self.head.clone();
        if header.source.is_ipv4() {
            let total = u16::try_from(packet.len() + end).ok()?;
            put(&mut packet, 2, &total.to_be_bytes());
            put(&mut packet, 6, &[0, 0]);
            seal_v4(&mut packet);
        } else {
            packet.truncate(packet.len() - 8);
            put(&mut packet, 4, &u16::try_from(end).ok()?.to_be_bytes());
            put(&mut packet, 6, &[header.protocol]);
        }
        packet.extend_from_slice(&payload);
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use base::Random;

    use super::*;
    use crate::packet::{UDP, build, count_hop};

    fn packet(v6: bool, len: usize) -> Vec<u8> {
        let [a, b] = if v6 { ["2001:db8::1", "2001:db8::2"] } else { ["10.0.0.1", "10.0.0.2"] };
        let payload: Vec<u8> = (0..=250).cycle().take(len).collect();
        build(a.parse().unwrap(), b.parse().unwrap(), UDP, 0, 77, &payload)
    }

    #[test]
    fn pieces_make_the_packet_again_in_any_order() {
        for v6 in [false, true] {
            for len in [1500, 1501, 4000, 9000] {
                let whole = packet(v6, len);
                let mut pieces = cut(&whole, &Header::read(&whole).unwrap(), 1300, 5);
                assert!(pieces.iter().all(|piece| piece.len() <= 1300));
                let mut random = Random::numbered(len as u64);
                for last in (1..pieces.len()).rev() {
                    pieces.swap(last, usize::try_from(random.below(last as u64 + 1)).unwrap());
                }
                let mut reassembly = Reassembly::default();
                let mut done = Vec::new();
                for piece in pieces {
                    let header = Header::read(&piece).unwrap();
                    done.extend(reassembly.take(Instant::ZERO, &header, piece));
                }
                assert_eq!(done, [whole]);
            }
        }
    }

    #[test]
    fn pieces_can_be_cut_once_more() {
        let whole = packet(false, 3000);
        let mut reassembly = Reassembly::default();
        let mut done = Vec::new();
        for piece in cut(&whole, &Header::read(&whole).unwrap(), 1500, 0) {
            for mut smaller in cut(&piece, &Header::read(&piece).unwrap(), 600, 0) {
                assert!(smaller.len() <= 600);
                let header = Header::read(&smaller).unwrap();
                assert!(count_hop(&mut smaller, &header));
                done.extend(reassembly.take(Instant::ZERO, &header, smaller));
            }
        }
        assert_eq!(done.len(), 1);
        assert_eq!(done[0][20..], whole[20..]);
    }

    #[test]
    fn a_packet_with_a_missing_piece_is_forgotten() {
        let whole = packet(false, 3000);
        let mut pieces = cut(&whole, &Header::read(&whole).unwrap(), 1500, 0);
        let late = pieces.pop().unwrap();
        let mut reassembly = Reassembly::default();
        for piece in pieces {
            assert_eq!(reassembly.take(Instant::ZERO, &Header::read(&piece).unwrap(), piece), None);
        }
        let after = Instant::ZERO + PATIENCE;
        assert_eq!(reassembly.take(after, &Header::read(&late).unwrap(), late), None);
    }
}
