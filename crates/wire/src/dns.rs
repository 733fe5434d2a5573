//! DNS as far as a stub resolver speaks it (RFC 1035): one question for the addresses of a name, and the answer to it.
//!
//! ```text
//!  0 id   2 flags   4 questions   6 answers   8 authorities   10 additional
//! 12 question: name, type, class     then records: name, type, class, time to live, length, data
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::octets;

/// Length of a header.
const HEADER: usize = 12;
/// Longest name on the wire (RFC 1035 section 2.3.4).
const NAME_MAX: usize = 255;
/// Longest part of a name between two dots.
const LABEL_MAX: usize = 63;
/// Records of an answer that are looked at.
const RECORDS_MAX: usize = 256;
/// Names that stand for one another in a row.
const ALIASES_MAX: usize = 16;

const CLASS_IN: u16 = 1;
const CNAME: u16 = 5;
const SOA: u16 = 6;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 (`A`).
    V4,
    /// IPv6 (`AAAA`, RFC 3596).
    V6,
}

impl Kind {
    const fn number(self) -> u16 {
        match self {
            Self::V4 => 1,
            Self::V6 => 28,
        }
    }
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These addresses, perhaps none: the name, or an address of the kind, does not exist.
    Addresses {
        /// In the order of the answer.
        addresses: Vec<IpAddr>,
        /// Seconds that it is good for; `None`: the answer does not say how long there is nothing.
        ttl: Option<u32>,
    },
    /// It was too long for a datagram: ask over TCP.
    Truncated,
    /// The server could not or would not say: the response code (RFC 1035 section 4.1.1).
    Refused(u8),
}

/// A question; `None` when the text is no name that DNS can be asked for.
pub fn query(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut message = vec![0; HEADER];
    octets::put_u16(&mut message, 0, id);
    // Recursion desired; one question.
    octets::put_u16(&mut message, 2, 0x0100);
    octets::put_u16(&mut message, 4, 1);
    for label in name.strip_suffix('.').unwrap_or(name).split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=LABEL_MAX).contains(&usize::from(*length)))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    if message.len().saturating_sub(HEADER) > NAME_MAX {
        return None;
    }
    message.extend_from_slice(&kind.number().to_be_bytes());
    message.extend_from_slice(&CLASS_IN.to_be_bytes());
    Some(message)
}

/// The answer in `message` to this very question; `None` when it is none, and the right one may still come.
pub fn answer(message: &[u8], id: u16, name: &str, kind: Kind) -> Option<Answer> {
    let flags = octets::u16(message, 2)?;
    let is_answer = octets::u16(message, 0)? == id && flags & 0x8000 != 0 && flags & 0x7800 == 0;
    if !is_answer || octets::u16(message, 4)? != 1 {
        return None;
    }
    let asked = wire_name(name);
    let (question, mut at) = read_name(message, HEADER)?;
    if question != asked || octets::u16(message, at)? != kind.number() || octets::u16(message, at + 2)? != CLASS_IN {
        return None;
    }
    at += 4;
    if flags & 0x0200 != 0 {
        return Some(Answer::Truncated);
    }
    match flags.to_be_bytes() {
        // No error, or no such name.
        [_, low] if matches!(low & 0x0f, 0 | 3) => {}
        [_, low] => return Some(Answer::Refused(low & 0x0f)),
    }
    let (answers, authorities) = (octets::u16(message, 6)?, octets::u16(message, 8)?);
    let mut records = Vec::new();
    let count = usize::from(answers).saturating_add(usize::from(authorities)).min(RECORDS_MAX);
    for index in 0..count {
        // What is cut off was not said.
        let Some((record, next)) = Record::read(message, at) else { break };
        records.push((index < usize::from(answers), record));
        at = next;
    }
    Some(addresses(message, asked, kind, &records))
}

/// Goes from alias to alias to the addresses.
fn addresses(message: &[u8], mut owner: Vec<u8>, kind: Kind, records: &[(bool, Record)]) -> Answer {
    let mut ttl: Option<u32> = None;
    let mut shorten = |seconds: u32| ttl = Some(ttl.map_or(seconds, |ttl| ttl.min(seconds)));
    for _ in 0..ALIASES_MAX {
        let of_owner = |kind: u16| {
            let owner = &owner;
            records.iter().filter(move |(answer, record)| *answer && record.kind == kind && record.name == *owner)
        };
        let mut found = Vec::new();
        for (_, record) in of_owner(kind.number()) {
            if let Some(address) = record.address(message, kind)
                && !found.contains(&address)
            {
                shorten(record.ttl);
                found.push(address);
            }
        }
        if !found.is_empty() {
            return Answer::Addresses { addresses: found, ttl };
        }
        let alias = of_owner(CNAME).next().and_then(|(_, record)| {
            shorten(record.ttl);
            read_name(message, record.data).map(|(name, _)| name)
        });
        let Some(alias) = alias else { break };
        owner = alias;
    }
    // How long nothing is there: the zone's own word (RFC 2308 section 5), with the least of the aliases on the way.
    if let Some((_, soa)) = records.iter().find(|(answer, record)| !answer && record.kind == SOA) {
        let minimum = soa.length.checked_sub(4).and_then(|behind| octets::u32(message, soa.data.checked_add(behind)?));
        shorten(minimum.map_or(soa.ttl, |minimum| minimum.min(soa.ttl)));
    } else {
        ttl = None;
    }
    Answer::Addresses { addresses: Vec::new(), ttl }
}

struct Record {
    name: Vec<u8>,
    kind: u16,
    ttl: u32,
    data: usize,
    length: usize,
}

impl Record {
    /// Reads a record, and says where the next begins.
    fn read(message: &[u8], at: usize) -> Option<(Self, usize)> {
        let (name, at) = read_name(message, at)?;
        let kind = octets::u16(message, at)?;
        let class = octets::u16(message, at + 2)?;
        let ttl = octets::u32(message, at + 4)?;
        let length = usize::from(octets::u16(message, at + 8)?);
        let data = at + 10;
        let next = data + length;
        message.get(data..next)?;
        // Of another class: as if it were not there.
        let kind = if class == CLASS_IN { kind } else { 0 };
        // With its highest bit set a time is none (RFC 2181 section 8).
        let ttl = if ttl > u32::MAX >> 1 { 0 } else { ttl };
        Some((Self { name, kind, ttl, data, length }, next))
    }

    fn address(&self, message: &[u8], kind: Kind) -> Option<IpAddr> {
        match (kind, self.length) {
            (Kind::V4, 4) => Some(IpAddr::V4(Ipv4Addr::from_octets(octets::array(message, self.data)?))),
            (Kind::V6, 16) => Some(IpAddr::V6(Ipv6Addr::from_octets(octets::array(message, self.data)?))),
            _ => None,
        }
    }
}

/// A name's labels in lower case, each behind its length, as names are compared.
fn wire_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.strip_suffix('.').unwrap_or(name).split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        bytes.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    bytes
}

/// Reads a name, compressed or not (RFC 1035 section 4.1.4), in lower case, and says what is behind it. Pointers lead back
/// only, so that every name ends.
fn read_name(message: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut name = Vec::new();
    let (mut end, mut lowest) = (None, at);
    loop {
        let length = octets::u8(message, at)?;
        match length {
            0 => return Some((name, end.unwrap_or(at + 1))),
            1..=63 => {
                let label = message.get(at + 1..at + 1 + usize::from(length))?;
                name.push(length);
                name.extend(label.iter().map(u8::to_ascii_lowercase));
                if name.len() >= NAME_MAX {
                    return None;
                }
                at += 1 + usize::from(length);
            }
            0xc0.. => {
                let target = usize::from(octets::u16(message, at)? & 0x3fff);
                if target >= lowest {
                    return None;
                }
                end = end.or(Some(at + 2));
                (at, lowest) = (target, target);
            }
            64..0xc0 => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to `query` with these records behind it, each name a pointer or written out.
    fn reply(query: &[u8], code: u16, answers: &[&[u8]], authorities: &[&[u8]]) -> Vec<u8> {
        let mut message = query.to_vec();
        octets::put_u16(&mut message, 2, 0x8180 | code);
        octets::put_u16(&mut message, 6, u16::try_from(answers.len()).unwrap());
        octets::put_u16(&mut message, 8, u16::try_from(authorities.len()).unwrap());
        message.extend(answers.iter().chain(authorities).flat_map(|record| record.iter().copied()));
        message
    }

    fn record(name: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).unwrap();
        let fields = [kind.to_be_bytes(), CLASS_IN.to_be_bytes()].concat();
        [name, &fields, &ttl.to_be_bytes(), &length.to_be_bytes(), data].concat()
    }

    const ASKED: &[u8] = &[0xc0, 12];

    fn read(message: &[u8]) -> Option<Answer> {
        answer(message, 7, "www.example.com", Kind::V4)
    }

    #[test]
    fn addresses_come_with_the_least_time_of_their_way() {
        let query = query(7, "WWW.example.com.", Kind::V4).unwrap();
        let alias = b"\x04edge\x03net\x00";
        let message = reply(
            &query,
            0,
            &[
                &record(ASKED, CNAME, 60, alias),
                &record(alias, 1, 300, &[192, 0, 2, 1]),
                &record(alias, 1, 300, &[192, 0, 2, 2]),
                &record(b"\x05other\x00", 1, 1, &[192, 0, 2, 66]),
            ],
            &[],
        );
        let addresses = vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        assert_eq!(read(&message), Some(Answer::Addresses { addresses, ttl: Some(60) }));
        assert_eq!(answer(&message, 8, "www.example.com", Kind::V4), None, "another question's answer");
        assert_eq!(answer(&message, 7, "www.example.org", Kind::V4), None, "another name");
        assert_eq!(answer(&message, 7, "www.example.com", Kind::V6), None, "another kind");
        assert_eq!(read(&query), None, "a question is no answer");
    }

    #[test]
    fn a_name_that_does_not_exist_has_no_addresses_for_as_long_as_its_zone_says() {
        let query = query(7, "www.example.com", Kind::V4).unwrap();
        let soa = [&[0, 0][..], &[0; 16], &900_u32.to_be_bytes()].concat();
        let message = reply(&query, 3, &[], &[&record(ASKED, SOA, 3_600, &soa)]);
        assert_eq!(read(&message), Some(Answer::Addresses { addresses: vec![], ttl: Some(900) }));
        assert_eq!(read(&reply(&query, 3, &[], &[])), Some(Answer::Addresses { addresses: vec![], ttl: None }));
        assert_eq!(read(&reply(&query, 2, &[], &[])), Some(Answer::Refused(2)));
        assert_eq!(read(&reply(&query, 0x200, &[], &[])), Some(Answer::Truncated));
    }

    #[test]
    fn names_that_lead_in_circles_end() {
        let query = query(7, "www.example.com", Kind::V4).unwrap();
        let own = u8::try_from(query.len()).unwrap();
        for pointer in [own, own + 2, 200] {
            let message = reply(&query, 0, &[&record(&[0xc0, pointer], 1, 60, &[192, 0, 2, 1])], &[]);
            assert_eq!(read(&message), Some(Answer::Addresses { addresses: vec![], ttl: None }));
        }
        // An alias of itself.
        let message = reply(&query, 0, &[&record(ASKED, CNAME, 60, ASKED)], &[]);
        assert_eq!(read(&message), Some(Answer::Addresses { addresses: vec![], ttl: None }));
    }

    #[test]
    fn what_is_no_name_is_not_asked_for() {
        let long = "a".repeat(64);
        let many = vec!["abcdefg"; 33].join(".");
        for name in ["", "a..b", ".", long.as_str(), many.as_str()] {
            assert_eq!(query(1, name, Kind::V6), None, "{name}");
        }
    }

    #[test]
    fn no_message_makes_it_panic() {
        let query = query(7, "www.example.com", Kind::V4).unwrap();
        let whole = reply(&query, 0, &[&record(ASKED, CNAME, 60, ASKED), &record(ASKED, 1, 60, &[192, 0, 2, 1])], &[]);
        for mutation in base::Mutations::new(1, vec![whole]).take(20_000) {
            let _ = read(&mutation);
        }
    }
}
