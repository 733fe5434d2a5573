//! What has crossed the links: one line for each packet, and a capture for other tools.

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use base::Instant;

use crate::link::Lost;
use crate::packet::{ESP, Header, ICMP, ICMPV6, Icmp, IkeGlance, TCP, UDP, esp_glance};

/// Packets kept; older ones are forgotten.
const ENTRIES_MAX: usize = 20_000;

/// A packet that one node has sent to another.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When it was sent.
    pub at: Instant,
    /// The sender's name.
    pub from: Rc<str>,
    /// The receiver's name.
    pub to: Rc<str>,
    /// The IP packet as it was sent.
    pub packet: Vec<u8>,
    pub(crate) lost: Option<Lost>,
}

impl Entry {
    /// True when it did not arrive.
    pub fn is_lost(&self) -> bool {
        self.lost.is_some()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>14} {} > {}: {}", self.at.to_string(), self.from, self.to, summary(&self.packet))?;
        match self.lost {
            None => Ok(()),
            Some(Lost::Down) => write!(f, " [link down]"),
            Some(Lost::Filtered) => write!(f, " [dropped by a filter]"),
            Some(Lost::Swallowed) => write!(f, " [too long, swallowed]"),
            Some(Lost::Unlucky) => write!(f, " [lost]"),
        }
    }
}

/// The last packets of a world.
#[derive(Debug, Default)]
pub struct Trace {
    entries: VecDeque<Entry>,
}

impl Trace {
    pub(crate) fn add(&mut self, entry: Entry) {
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// The packets, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// A capture file (classic pcap, raw IP) of what one node has sent and received.
    pub fn pcap(&self, node: &str) -> Vec<u8> {
        const MAGIC: u32 = 0xa1b2_c3d4;
        const LINKTYPE_RAW: u32 = 101;
        let mut file = Vec::new();
        for word in [MAGIC, 0x0002_0004, 0, 0, 65_535, LINKTYPE_RAW] {
            file.extend_from_slice(&u32::to_be_bytes(word));
        }
        for entry in self.entries.iter().filter(|entry| &*entry.from == node || &*entry.to == node) {
            let len = u32::try_from(entry.packet.len()).unwrap_or(u32::MAX);
            let micros = u32::try_from(entry.at.as_micros() % 1_000_000).unwrap_or(0);
            let secs = u32::try_from(entry.at.as_secs()).unwrap_or(u32::MAX);
            for word in [secs, micros, len, len] {
                file.extend_from_slice(&word.to_be_bytes());
            }
            file.extend_from_slice(&entry.packet);
        }
        file
    }
}

/// One line about a packet.
pub(crate) fn summary(packet: &[u8]) -> String {
    let Some(header) = Header::read(packet) else { return format!("no IP packet, {} bytes", packet.len()) };
    let Header { source, destination, .. } = header;
    if let Some(piece) = header.piece {
        let more = if piece.more { "+" } else { "" };
        let len = header.payload(packet).len();
        return format!("{source} > {destination} protocol {} piece {}@{}{more}", header.protocol, len, piece.offset);
    }
    if let Some(message) = IkeGlance::at(packet) {
        let kind = if message.response { "response" } else { "request" };
        return format!("{source} > {destination} {} {kind} {}", message.name(), message.message_id);
    }
    if let Some((spi, sequence)) = esp_glance(packet) {
        let wrapped = if header.protocol == ESP { "" } else { " in UDP" };
        return format!("{source} > {destination} ESP{wrapped} spi={spi:08x} seq={sequence} {} bytes", packet.len());
    }
    let what = match (header.protocol, header.ports(packet)) {
        (TCP, Some((from, to))) => format!("TCP {from} > {to}"),
        (UDP, Some((from, to))) => format!("UDP {from} > {to}"),
        (ICMP | ICMPV6, _) => match Icmp::read(&header, packet) {
            Some(Icmp::EchoRequest(rest, _)) => format!("echo request {}", rest & 0xffff),
            Some(Icmp::EchoReply(rest, _)) => format!("echo reply {}", rest & 0xffff),
            Some(Icmp::TooBig(mtu, _)) => format!("too big, the next hop takes {mtu}"),
            Some(Icmp::Unreachable(_)) => "unreachable".into(),
            None => "ICMP".into(),
        },
        (protocol, _) => format!("protocol {protocol}"),
    };
    format!("{source} > {destination} {what} {} bytes", packet.len())
}
