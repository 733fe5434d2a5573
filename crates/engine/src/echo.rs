//! Echo requests made and answers read, as far as a ping needs them.

use std::net::IpAddr;

use base::Buffer;
use wire::{icmp, ip, octets};

/// The letters of an echo request's data.
const DATA: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) source: IpAddr,
    pub(crate) identifier: u16,
    pub(crate) sequence: u16,
    pub(crate) ttl: u8,
}

/// An echo request as a whole IP packet; `None` when the addresses are of two families or it is too long for one.
pub(crate) fn request(
    source: IpAddr,
    destination: IpAddr,
    identifier: u16,
    sequence: u16,
    length: usize,
) -> Option<Buffer> {
    let data: Vec<u8> = DATA.iter().copied().cycle().take(length).collect();
    icmp::echo_request(source, destination, identifier, sequence, &data).map(|packet| Buffer::copy(&packet))
}

/// The answer in an IP packet, if it is one.
pub(crate) fn reply(packet: &[u8]) -> Option<Reply> {
    let header = ip::Header::parse(packet).ok()?;
    let v6 = !header.is_v4();
    if header.protocol != if v6 { ip::ICMPV6 } else { ip::ICMP } {
        return None;
    }
    let message = header.payload_of(packet);
    let icmp::Class::Reply(identifier) = icmp::Header::parse(message, v6)?.class else { return None };
    Some(Reply { source: header.source, identifier, sequence: octets::u16(message, 6)?, ttl: header.ttl })
}
