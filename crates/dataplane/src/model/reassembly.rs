//! Fragments put together, the slow way: four packets, pieces of them in any order, wrong ones among them.

use std::net::IpAddr;

use base::{Duration, Instant, Pool};

use super::packet::{Body, Data, Packet};
use crate::Reason;
use crate::fragments::{BYTES_MAX, Fragments, Outcome, PACKETS_MAX, PIECES_MAX, TIME_MAX, cut};

/// A packet of which pieces have come.
struct Partly {
    begun: Instant,
    pieces: Vec<(usize, Vec<u8>)>,
    end: Option<usize>,
    refused: Option<Reason>,
}

#[derive(Debug, PartialEq)]
enum Becomes {
    Whole(Vec<u8>),
    Kept,
    Dropped(Reason),
}

/// Each piece is four bytes: which packet and how it is wrong, its offset, its length, and what is wrong. Panics when what
/// becomes of one is not what the model says.
pub fn reassembly(bytes: &[u8]) {
    let (mut engine, mut now) = (Fragments::default(), Instant::ZERO);
    let mut model: [Option<Partly>; 4] = [const { None }; 4];
    for step in bytes.chunks_exact(4).take(500) {
        let [what, offset, len, wrong] = *step else { return };
        if what & 0x70 == 0x70 {
            now += Duration::from_secs(u64::from(offset));
            while engine.expire(now) {}
        }
        let which = usize::from(what & 3);
        let (start, rest) = (usize::from(offset) * 8, payload(which).len());
        let more = start + usize::from(len) * 8 < rest && what & 0x0c != 0x0c;
        let end = if more { start + usize::from(len) * 8 } else { rest.max(start + 8) };
        let mut data: Vec<u8> = payload(which).into_iter().cycle().skip(start).take(end - start).collect();
        if let (Some(byte), 0x80) = (data.first_mut(), what & 0x80) {
            *byte ^= wrong;
        }
        let piece = piece(which, start, &data, more);
        let Ok(header) = wire::ip::Header::parse(&piece) else { continue };
        if header.fragment.is_none() {
            continue;
        }
        let outcome = engine.add(now, (0, true), &header, &piece, &mut Vec::new());
        let expected = match model.get_mut(which) {
            Some(partly) => add(partly, now, which, start, data, more),
            None => return,
        };
        let becomes = match outcome {
            Outcome::Whole(packet, how) => {
                assert_eq!(again(packet.bytes(), how), packet.bytes(), "it is the same when it is cut as it was");
                Becomes::Whole(packet.bytes().to_vec())
            }
            Outcome::Kept => Becomes::Kept,
            Outcome::Dropped(reason) => Becomes::Dropped(reason),
        };
        assert_eq!(becomes, expected, "packet {which}, {} bytes at {start}", end - start);
        let (packets, held) = engine.held();
        assert!(packets <= PACKETS_MAX && held <= BYTES_MAX);
    }
}

/// First inputs for the fuzz target: whole packets in order, backwards, and with a piece twice.
pub fn reassembly_seeds() -> Vec<Vec<u8>> {
    let piece = |which: u8, at: u8| [which, at * 20, 20, 1];
    let all = |which| (0..10).map(move |at| piece(which, at));
    let mut seeds: Vec<Vec<u8>> = (0..4).map(|which| all(which).flatten().collect()).collect();
    seeds.extend((0..4).map(|which| all(which).rev().flatten().collect()));
    seeds.extend((0..4).map(|which| all(which).chain([piece(which | 0x80, 3), [0x70, 31, 1, 0]]).flatten().collect()));
    seeds
}

/// The sentences.
fn add(place: &mut Option<Partly>, now: Instant, which: usize, start: usize, data: Vec<u8>, more: bool) -> Becomes {
    // One piece that is all of a packet has nothing to do with the others.
    if start == 0 && !more {
        return Becomes::Whole(whole(which, &data));
    }
    // What does not become whole in time is forgotten.
    if place.as_ref().is_some_and(|partly| partly.begun + TIME_MAX <= now) {
        *place = None;
    }
    let partly = place.get_or_insert_with(|| Partly { begun: now, pieces: Vec::new(), end: None, refused: None });
    let end = start + data.len();
    let least = if protocol(which) == 6 { 20 } else { 8 };
    let overlaps = |(at, piece): &(usize, Vec<u8>)| *at < end && start < at + piece.len();
    let last = partly.pieces.iter().map(|(at, piece)| at + piece.len()).max().unwrap_or(0);
    let wrong_end = match partly.end {
        Some(known) if more => end > known,
        Some(known) => end != known,
        None => !more && end < last,
    };
    // A packet that was refused stays so; headers are in one piece; there are not too many; none contradicts another.
    let refused = if let Some(reason) = partly.refused {
        Some(reason)
    } else if start == 0 && end < least || start > 0 && start < least {
        Some(Reason::TinyFragment)
    } else if partly.pieces.len() >= PIECES_MAX {
        Some(Reason::FragmentLimit)
    } else if partly.pieces.contains(&(start, data.clone())) {
        return Becomes::Kept;
    } else if wrong_end || partly.pieces.iter().any(overlaps) {
        Some(Reason::FragmentOverlap)
    } else {
        None
    };
    if let Some(reason) = refused {
        partly.refused = Some(reason);
        return Becomes::Dropped(reason);
    }
    partly.pieces.push((start, data));
    if !more {
        partly.end = Some(end);
    }
    let there: usize = partly.pieces.iter().map(|(_, piece)| piece.len()).sum();
    if partly.end != Some(there) {
        return Becomes::Kept;
    }
    partly.pieces.sort();
    let data: Vec<u8> = partly.pieces.iter().flat_map(|(_, piece)| piece).copied().collect();
    *place = None;
    Becomes::Whole(whole(which, &data))
}

/// UDP and TCP, in IPv4 and IPv6.
fn protocol(which: usize) -> u8 {
    if which.is_multiple_of(2) { 17 } else { 6 }
}

fn payload(which: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().skip(which * 31).take(1597 + which).collect()
}

fn packet(which: usize, protocol: u8, data: Vec<u8>) -> Packet {
    let (source, destination): (IpAddr, IpAddr) = if which < 2 {
        ([10, 0, 0, 1].into(), [10, 0, 0, 2].into())
    } else {
        ([0xfd00, 0, 0, 0, 0, 0, 0, 1].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 2].into())
    };
    let body = Body::Other { protocol, data: Data(data) };
    Packet { source, destination, ds: 0, ttl: 64, id: 7, whole: false, body }
}

fn whole(which: usize, data: &[u8]) -> Vec<u8> {
    packet(which, protocol(which), data.to_vec()).write()
}

fn piece(which: usize, start: usize, data: &[u8], more: bool) -> Vec<u8> {
    if which < 2 {
        let packet = packet(which, protocol(which), data.to_vec());
        return [packet.header(data.len(), start, more), data.to_vec()].concat();
    }
    let [high, low] = u16::try_from(start | usize::from(more)).unwrap_or(0).to_be_bytes();
    let id = u8::try_from(which).unwrap_or(0);
    packet(which, 44, [&[protocol(which), 0, high, low, 0, 0, 0, id], data].concat()).write()
}

/// A packet cut as it was, and put together from its last piece on.
fn again(packet: &[u8], how: crate::fragments::Cut) -> Vec<u8> {
    let Ok(header) = wire::ip::Header::parse(packet) else { return Vec::new() };
    let pieces = cut(packet, &header, Some(how), usize::MAX, &mut Pool::new(2048, 0)).unwrap_or_default();
    assert!(pieces.iter().all(|piece| piece.len() <= how.longest()));
    let mut fragments = Fragments::default();
    for piece in pieces.iter().rev() {
        let Ok(header) = wire::ip::Header::parse(piece.bytes()) else { return Vec::new() };
        if header.fragment.is_none() {
            return piece.bytes().to_vec();
        }
        if let Outcome::Whole(whole, _) =
            fragments.add(Instant::ZERO, (0, true), &header, piece.bytes(), &mut Vec::new())
        {
            return whole.bytes().to_vec();
        }
    }
    Vec::new()
}
