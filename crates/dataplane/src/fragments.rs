//! Fragments: put together before anything decides about them, taken apart again before they leave.
//!
//! Rules and selectors look at ports, which only the first fragment has; a packet that has been put together has no
//! second truth. Everything is bounded, and fragments that overlap end their packet (RFC 5722 section 3), as do those
//! that are so short that the header of the protocol is not in one piece (RFC 1858, RFC 7112).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use base::{Buffer, Duration, Instant, Pool};
use wire::ip::{self, Header};
use wire::{ipv4, ipv6};

use crate::Reason;

/// Packets that may be unfinished at a time: as many from the host port, and as many out of all tunnels.
pub const PACKETS_MAX: usize = 256;
/// Of these out of one tunnel.
pub const PACKETS_PER_TUNNEL_MAX: usize = 128;
/// Of these from one source.
pub const PACKETS_PER_SOURCE_MAX: usize = 64;
/// Bytes of unfinished packets at a time: as many from the host port, and as many out of all tunnels.
pub const BYTES_MAX: usize = 4 << 20;
/// Of these out of one tunnel.
pub const BYTES_PER_TUNNEL_MAX: usize = 2 << 20;
/// Fragments of one packet: enough for 65,535 bytes in pieces of 576.
pub const PIECES_MAX: usize = 128;
/// How long the other fragments may take.
pub const TIME_MAX: Duration = Duration::from_secs(30);

/// Where an IPv6 header says what follows it.
const NEXT_HEADER: usize = 6;

/// How a packet that was put together had been cut, so that it can leave in pieces no longer than it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Length of the longest fragment.
    longest: usize,
    /// Its identification.
    id: u32,
    /// IPv6: length of the headers that every fragment carries.
    common: usize,
    /// IPv6: where among them the number of the next header stands.
    chain: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    source: IpAddr,
    destination: IpAddr,
    id: u32,
    /// IPv4 keeps identifications apart per protocol; IPv6 does not.
    protocol: u8,
    /// Fragments that came in by different ways are never put together.
    from: u32,
}

#[derive(Debug)]
struct Unfinished {
    /// Payload pieces by offset.
    pieces: BTreeMap<usize, Vec<u8>>,
    /// The headers of the first fragment.
    headers: Option<Vec<u8>>,
    /// Length of the whole payload, once the last fragment is here.
    end: Option<usize>,
    bytes: usize,
    longest: usize,
    common: usize,
    chain: usize,
    /// The ECN marks seen, as bits (RFC 3168 section 5.3).
    marks: u8,
    protocol: u8,
    until: Instant,
    /// Why none of its fragments is taken any more, those that are still to come among them.
    refused: Option<Reason>,
    /// The header of the fragment that came first, to tell of it.
    first_come: Header,
}

/// Packets of which not all fragments are here. What comes in by the host port and what comes out of tunnels have bounds of
/// their own: outsiders cannot take the room of peers.
#[derive(Debug)]
pub(crate) struct Fragments {
    port: Table,
    tunnels: Table,
}

/// The unfinished packets of one side.
#[derive(Debug, Default)]
struct Table {
    unfinished: BTreeMap<Id, Unfinished>,
    by_age: BTreeSet<(Instant, Id)>,
    sources: BTreeMap<Sender, Held>,
    /// All of a tunnel's senders together.
    origins: BTreeMap<u32, Held>,
    bytes: usize,
    /// Of these tunnels each has bounds of its own.
    inside: bool,
}

/// Whose packets count together: a source address, and the way it came by.
type Sender = (u32, IpAddr);

/// What is unfinished of one sender.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    packets: usize,
    bytes: usize,
}

/// What became of a fragment.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was the last one missing: the whole packet.
    Whole(Buffer, Cut),
    /// It waits for others.
    Kept,
    /// It was dropped, and what it belonged to with it.
    Dropped(Reason),
}

/// An unfinished packet that had to go for a newer one.
#[derive(Debug)]
pub(crate) struct Evicted {
    /// What its fragments came in by.
    pub(crate) from: u32,
    /// The header of the fragment that came first.
    pub(crate) header: Header,
}

impl Default for Fragments {
    fn default() -> Self {
        Self { port: Table::default(), tunnels: Table { inside: true, ..Table::default() } }
    }
}

impl Fragments {
    /// Takes in a fragment that came by `from`: 0 for the host port, or the number of a packet port (both from the outside)
    /// or of a tunnel. Where there is no room, the oldest packet of the sender with most has to go, and is added to `evicted`.
    pub(crate) fn add(
        &mut self,
        now: Instant,
        (from, outside): (u32, bool),
        header: &Header,
        packet: &[u8],
        evicted: &mut Vec<Evicted>,
    ) -> Outcome {
        let table = if outside { &mut self.port } else { &mut self.tunnels };
        table.add(now, from, header, packet, evicted)
    }

    /// Forgets a packet whose time is up; true when there was one.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        self.port.expire(now) || self.tunnels.expire(now)
    }

    /// How many packets are unfinished, and how many bytes of them are kept.
    pub(crate) fn held(&self) -> (usize, usize) {
        let tables = [&self.port, &self.tunnels];
        (tables.iter().map(|table| table.unfinished.len()).sum(), tables.iter().map(|table| table.bytes).sum())
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        [&self.port, &self.tunnels].into_iter().filter_map(Table::next_deadline).min()
    }
}

impl Table {
    fn add(&mut self, now: Instant, from: u32, header: &Header, packet: &[u8], evicted: &mut Vec<Evicted>) -> Outcome {
        let Some(fragment) = header.fragment else { return Outcome::Kept };
        let id = Id {
            source: header.source,
            destination: header.destination,
            id: fragment.id,
            protocol: if header.is_v4() { header.protocol } else { 0 },
            from,
        };
        let payload = header.payload_of(packet);
        if fragment.offset == 0 && !fragment.more {
            // RFC 6946 section 4: a packet in one piece has nothing to do with others of the same identification.
            let mut entry = Unfinished::new(header, now);
            entry.insert(fragment, header, packet, payload);
            return entry.whole(&id);
        }
        if !self.unfinished.contains_key(&id) {
            self.begin(now, id, header, evicted);
        }
        let refused = self.unfinished.get(&id).and_then(|entry| entry.refused);
        if let Some(reason) = refused.or_else(|| tiny(&fragment, header, packet).then_some(Reason::TinyFragment)) {
            return self.refuse(&id, reason);
        }
        let of_tunnel = |table: &Self| table.origins.get(&from).map_or(0, |held| held.bytes);
        let most_of_tunnel = if self.inside { BYTES_PER_TUNNEL_MAX } else { BYTES_MAX };
        loop {
            let oldest = if of_tunnel(self) + payload.len() > most_of_tunnel {
                self.oldest_of_most(Some(from), |held| held.bytes)
            } else if self.bytes + payload.len() > BYTES_MAX {
                self.oldest_of_most(None, |held| held.bytes)
            } else {
                break;
            };
            match oldest {
                Some(oldest) if oldest != id => evicted.extend(self.evict(&oldest)),
                // None has more than this one's sender, and none of that sender's is older.
                Some(_) | None => {
                    self.remove(&id);
                    return Outcome::Dropped(Reason::FragmentLimit);
                }
            }
        }
        let Some(entry) = self.unfinished.get_mut(&id) else { return Outcome::Kept };
        if entry.pieces.len() >= PIECES_MAX {
            return self.refuse(&id, Reason::FragmentLimit);
        }
        match entry.insert(fragment, header, packet, payload) {
            Inserted::Yes => {
                self.bytes += payload.len();
                self.sources.entry(id.sender()).or_default().bytes += payload.len();
                self.origins.entry(from).or_default().bytes += payload.len();
            }
            Inserted::Again => return Outcome::Kept,
            Inserted::Contradiction => return self.refuse(&id, Reason::FragmentOverlap),
        }
        if !entry.complete() {
            return Outcome::Kept;
        }
        self.remove(&id).map_or(Outcome::Kept, |entry| entry.whole(&id))
    }

    /// Takes no fragment of a packet any more (RFC 5722 section 3: nor those that have not come yet).
    fn refuse(&mut self, id: &Id, reason: Reason) -> Outcome {
        if let Some(entry) = self.unfinished.get_mut(id) {
            let gone = std::mem::take(&mut entry.bytes);
            entry.pieces.clear();
            (entry.headers, entry.refused) = (None, Some(reason));
            self.bytes -= gone;
            let held = [self.sources.get_mut(&id.sender()), self.origins.get_mut(&id.from)];
            held.into_iter().flatten().for_each(|held| held.bytes -= gone);
        }
        Outcome::Dropped(reason)
    }

    /// Makes room for one more packet: a sender that has all it may have gives up its own oldest.
    fn begin(&mut self, now: Instant, id: Id, header: &Header, evicted: &mut Vec<Evicted>) {
        let of_sender = self.sources.get(&id.sender()).map_or(0, |held| held.packets);
        let of_tunnel = self.origins.get(&id.from).map_or(0, |held| held.packets);
        let oldest = if of_sender >= PACKETS_PER_SOURCE_MAX {
            self.by_age.iter().map(|(_, other)| *other).find(|other| other.sender() == id.sender())
        } else if self.inside && of_tunnel >= PACKETS_PER_TUNNEL_MAX {
            self.oldest_of_most(Some(id.from), |held| held.packets)
        } else if self.unfinished.len() >= PACKETS_MAX {
            self.oldest_of_most(None, |held| held.packets)
        } else {
            None
        };
        evicted.extend(oldest.and_then(|oldest| self.evict(&oldest)));
        let entry = Unfinished::new(header, now + TIME_MAX);
        self.by_age.insert((entry.until, id));
        self.sources.entry(id.sender()).or_default().packets += 1;
        self.origins.entry(id.from).or_default().packets += 1;
        self.unfinished.insert(id, entry);
    }

    /// The oldest packet of those senders that hold most, of one tunnel or of the one that holds most. Looks at every
    /// unfinished packet at most.
    fn oldest_of_most(&self, of: Option<u32>, measure: impl Fn(&Held) -> usize) -> Option<Id> {
        let largest = || self.origins.iter().max_by_key(|(_, held)| measure(held)).map(|(from, _)| *from);
        let from = of.or_else(largest)?;
        let of_tunnel = || self.sources.iter().filter(|((other, _), _)| *other == from);
        let most = of_tunnel().map(|(_, held)| measure(held)).max()?;
        let holds_most =
            |id: &Id| id.from == from && self.sources.get(&id.sender()).is_some_and(|held| measure(held) == most);
        self.by_age.iter().map(|(_, id)| *id).find(holds_most)
    }

    fn evict(&mut self, id: &Id) -> Option<Evicted> {
        self.remove(id).map(|gone| Evicted { from: id.from, header: gone.first_come })
    }

    fn remove(&mut self, id: &Id) -> Option<Unfinished> {
        let entry = self.unfinished.remove(id)?;
        self.by_age.remove(&(entry.until, *id));
        self.bytes -= entry.bytes;
        give_up(&mut self.sources, id.sender(), entry.bytes);
        give_up(&mut self.origins, id.from, entry.bytes);
        Some(entry)
    }

    /// Those whose fragments were refused have been counted.
    fn expire(&mut self, now: Instant) -> bool {
        while let Some(&(_, id)) = self.by_age.first().filter(|(until, _)| *until <= now) {
            if self.remove(&id).is_some_and(|gone| gone.refused.is_none()) {
                return true;
            }
        }
        false
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.by_age.first().map(|(until, _)| *until)
    }
}

/// One packet less is held.
fn give_up<K: Ord>(holders: &mut BTreeMap<K, Held>, holder: K, bytes: usize) {
    if let Some(held) = holders.get_mut(&holder) {
        held.packets -= 1;
        held.bytes -= bytes;
        if held.packets == 0 {
            holders.remove(&holder);
        }
    }
}

/// True for a fragment that would hide the header of its protocol from whoever looks at fragments one by one: a first one
/// that does not hold all of it (RFC 1858 section 3.2, RFC 7112 section 5), or another one that begins within it.
fn tiny(fragment: &ip::Fragment, header: &Header, packet: &[u8]) -> bool {
    let least = |protocol| match protocol {
        ip::TCP => wire::tcp::HEADER,
        ip::UDP | ip::ICMP | ip::ICMPV6 => 8,
        _ => 0,
    };
    if fragment.offset > 0 {
        return fragment.offset < least(header.protocol);
    }
    let transport = match header.is_v4() {
        true => Some((header.protocol, header.payload)),
        false => ipv6::transport_at(packet, header.protocol, header.payload),
    };
    transport.is_none_or(|(protocol, at)| at + least(protocol) > header.total)
}

impl Id {
    fn sender(&self) -> Sender {
        (self.from, self.source)
    }
}

enum Inserted {
    Yes,
    Again,
    Contradiction,
}

impl Unfinished {
    /// Nothing yet of the packet that a fragment with this header belongs to.
    fn new(header: &Header, until: Instant) -> Self {
        Self {
            pieces: BTreeMap::new(),
            headers: None,
            end: None,
            bytes: 0,
            longest: 0,
            common: 0,
            chain: 0,
            marks: 0,
            protocol: header.protocol,
            until,
            refused: None,
            first_come: *header,
        }
    }

    fn insert(&mut self, fragment: ip::Fragment, header: &Header, packet: &[u8], payload: &[u8]) -> Inserted {
        let (start, end) = (fragment.offset, fragment.offset + payload.len());
        if self.pieces.get(&start).is_some_and(|piece| piece == payload) {
            return Inserted::Again;
        }
        let before = self.pieces.range(..end).next_back();
        let overlaps = before.is_some_and(|(at, piece)| at + piece.len() > start);
        let last = self.pieces.last_key_value().map_or(0, |(at, piece)| at + piece.len());
        let wrong_end = match (self.end, fragment.more) {
            (Some(known), true) => end > known,
            (Some(known), false) => end != known,
            (None, true) => false,
            (None, false) => end < last,
        };
        if overlaps || wrong_end {
            return Inserted::Contradiction;
        }
        if !fragment.more {
            self.end = Some(end);
        }
        if start == 0 {
            let headers_len = if header.is_v4() { header.payload } else { fragment.header };
            self.headers = packet.get(..headers_len).map(<[u8]>::to_vec);
            self.common = fragment.header;
            self.chain = fragment.chain;
            self.protocol = header.protocol;
        }
        self.longest = self.longest.max(header.total);
        self.marks |= 1 << (header.ds & 3);
        self.bytes += payload.len();
        self.pieces.insert(start, payload.to_vec());
        Inserted::Yes
    }

    /// No two pieces overlap, so they are all there when their lengths add up to the end.
    fn complete(&self) -> bool {
        self.headers.is_some() && self.end == Some(self.bytes)
    }

    /// The packet out of all its pieces.
    fn whole(self, id: &Id) -> Outcome {
        let cut = Cut { longest: self.longest, id: id.id, common: self.common, chain: self.chain };
        match self.assemble(id.source.is_ipv4()) {
            Some(whole) => Outcome::Whole(whole, cut),
            None => Outcome::Dropped(Reason::FragmentOverlap),
        }
    }

    fn assemble(self, v4: bool) -> Option<Buffer> {
        let ecn = self.ecn()?;
        let headers = self.headers?;
        let total = headers.len() + self.bytes;
        let mut packet = Buffer::with_capacity(total);
        packet.extend(&headers);
        for piece in self.pieces.values() {
            packet.extend(piece);
        }
        let bytes = packet.bytes_mut();
        if v4 {
            ipv4::set_length_and_fragment(bytes, u16::try_from(total).ok()?, 0, 0);
        } else {
            if total > usize::from(u16::MAX) + ipv6::HEADER {
                return None;
            }
            wire::octets::put(bytes, self.chain, [self.protocol]);
            ipv6::set_payload_length(bytes, total - ipv6::HEADER);
        }
        let ds = Header::parse(bytes).ok()?.ds;
        ip::set_ds(bytes, ds & !3 | ecn);
        Some(packet)
    }

    /// RFC 3168 section 5.3: one fragment with CE marks the whole; CE beside "not capable" is a contradiction.
    fn ecn(&self) -> Option<u8> {
        match self.marks {
            marks if marks & 0b1000 != 0 => (marks & 1 == 0).then_some(3),
            marks if marks & 1 != 0 => Some(0),
            marks if marks & 0b100 != 0 => Some(2),
            _ => Some(1),
        }
    }
}

/// Cuts a packet into pieces of at most `mtu` bytes, or of what it was cut into before when that is less. `None` when it
/// cannot be cut: an IPv6 packet that did not come in pieces.
pub(crate) fn cut(
    packet: &[u8],
    header: &Header,
    cut: Option<Cut>,
    mtu: usize,
    pool: &mut Pool,
) -> Option<Vec<Buffer>> {
    let mtu = cut.map_or(mtu, |cut| cut.longest.min(mtu));
    if header.is_v4() { cut_v4(packet, header, mtu, pool) } else { cut_v6(packet, cut?, mtu, pool) }
}

fn cut_v4(packet: &[u8], header: &Header, mtu: usize, pool: &mut Pool) -> Option<Vec<Buffer>> {
    let (first_headers, payload) = packet.get(..header.total)?.split_at_checked(header.payload)?;
    let later_headers = headers_of_later_fragments(first_headers);
    let mut pieces = Vec::new();
    let mut offset = 0;
    while offset < payload.len() {
        let headers = if offset == 0 { first_headers } else { &later_headers };
        let room = mtu.checked_sub(headers.len())?;
        let rest = payload.get(offset..)?;
        let len = if rest.len() <= room { rest.len() } else { room / 8 * 8 };
        if len == 0 {
            return None;
        }
        let more = len < rest.len();
        let mut piece = pool.take();
        piece.extend(headers);
        piece.extend(rest.get(..len)?);
        let total = u16::try_from(headers.len() + len).ok()?;
        ipv4::set_length_and_fragment(piece.bytes_mut(), total, if more { ipv4::MF } else { 0 }, offset);
        pieces.push(piece);
        offset += len;
    }
    Some(pieces)
}

/// The header with those options only that every fragment carries (RFC 791 section 3.1, the "copied" flag).
fn headers_of_later_fragments(headers: &[u8]) -> Vec<u8> {
    let (fixed, mut options) = headers.split_at_checked(ipv4::HEADER).unwrap_or((headers, &[]));
    let mut later = fixed.to_vec();
    while let [kind, rest @ ..] = options {
        let len = match (*kind, rest.first()) {
            (0, _) => break,
            (1, _) => 1,
            (_, Some(len)) if *len >= 2 => usize::from(*len),
            _ => break,
        };
        let Some((option, behind)) = options.split_at_checked(len) else { break };
        if kind & 0x80 != 0 {
            later.extend(option);
        }
        options = behind;
    }
    later.resize(later.len().next_multiple_of(4), 0);
    let words = u8::try_from(later.len() / 4).unwrap_or(5);
    wire::octets::put(&mut later, 0, [0x40 | words]);
    later
}

/// Cuts an IPv6 packet of our own, without extension headers, into pieces of at most `mtu` bytes.
pub(crate) fn cut_own(packet: &[u8], id: u32, mtu: usize, pool: &mut Pool) -> Option<Vec<Buffer>> {
    let cut = Cut { longest: mtu, id, common: ipv6::HEADER, chain: NEXT_HEADER };
    cut_v6(packet, cut, mtu, pool)
}

fn cut_v6(packet: &[u8], cut: Cut, mtu: usize, pool: &mut Pool) -> Option<Vec<Buffer>> {
    let (common, payload) = packet.split_at_checked(cut.common)?;
    let protocol = wire::octets::u8(common, cut.chain)?;
    let room = mtu.checked_sub(common.len() + ipv6::FRAGMENT_HEADER)?;
    let mut pieces = Vec::new();
    let mut offset = 0;
    while offset < payload.len() {
        let rest = payload.get(offset..)?;
        let len = if rest.len() <= room { rest.len() } else { room / 8 * 8 };
        if len == 0 {
            return None;
        }
        let mut piece = pool.take();
        piece.extend(common);
        let more = len < rest.len();
        ipv6::write_fragment_header(piece.append(ipv6::FRAGMENT_HEADER), protocol, cut.id, offset, more);
        piece.extend(rest.get(..len)?);
        let total = piece.len();
        let bytes = piece.bytes_mut();
        wire::octets::put(bytes, cut.chain, [ipv6::FRAGMENT]);
        ipv6::set_payload_length(bytes, total - ipv6::HEADER);
        pieces.push(piece);
        offset += len;
    }
    Some(pieces)
}

impl Cut {
    /// Length of the longest fragment that came in.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }
}
