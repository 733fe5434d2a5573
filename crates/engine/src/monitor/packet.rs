//! Polls as packets, for hosts that the gateway reaches by itself: behind tunnels and packet ports.

use std::net::IpAddr;

use base::Buffer;
use wire::checksum::Sum;
use wire::{icmp, ip, octets, tcp};

use crate::echo;
use crate::job::ProbeMethod;

/// Bytes of data in an echo request.
const LENGTH: usize = 32;
/// Polls by TCP come from ports from here on.
const PORTS: u16 = 0x8000;

/// A packet that answers a poll.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) from: IpAddr,
    pub(crate) identifier: u16,
    pub(crate) sequence: u16,
    /// False: the port is shut.
    pub(crate) well: bool,
    /// Ends what has been opened.
    pub(crate) farewell: Option<Buffer>,
}

/// The packet that asks; `None`: a neighbour is not asked by an IP packet, or the addresses are of two families.
pub(crate) fn request(
    method: ProbeMethod,
    source: IpAddr,
    target: IpAddr,
    identifier: u16,
    sequence: u16,
) -> Option<Buffer> {
    match method {
        ProbeMethod::Icmp => echo::request(source, target, identifier, sequence, LENGTH),
        ProbeMethod::Tcp(port) => syn(source, target, port, identifier, sequence),
        ProbeMethod::Neighbor => None,
    }
}

/// A SYN whose sequence number says which poll it is: the answer acknowledges it.
fn syn(source: IpAddr, target: IpAddr, port: u16, identifier: u16, sequence: u16) -> Option<Buffer> {
    let mut segment = [0; tcp::HEADER];
    octets::put_u16(&mut segment, 0, PORTS | (identifier ^ sequence));
    octets::put_u16(&mut segment, 2, port);
    octets::put_u16(&mut segment, 4, identifier);
    octets::put_u16(&mut segment, 6, sequence);
    octets::put(&mut segment, 12, [0x50, tcp::SYN]);
    octets::put_u16(&mut segment, 14, 1_024);
    let length = u32::try_from(segment.len()).ok()?;
    let sum = Sum::new().with_pseudo_header(source, target, ip::TCP, length).with(&segment).checksum();
    octets::put_u16(&mut segment, 16, sum);
    icmp::ip_packet(source, target, ip::TCP, &segment).map(|packet| Buffer::copy(&packet))
}

/// The answer in an IP packet for the gateway, if it is one.
pub(crate) fn read(packet: &[u8]) -> Option<Answer> {
    if let Some(reply) = echo::reply(packet) {
        let (from, identifier, sequence) = (reply.source, reply.identifier, reply.sequence);
        return Some(Answer { from, identifier, sequence, well: true, farewell: None });
    }
    let header = ip::Header::parse(packet).ok()?;
    if header.protocol != ip::TCP {
        return None;
    }
    let segment = tcp::Header::parse(header.payload_of(packet))?;
    if !segment.has(tcp::ACK) || segment.destination < PORTS {
        return None;
    }
    let [i0, i1, s0, s1] = segment.acknowledgement.wrapping_sub(1).to_be_bytes();
    let (identifier, sequence) = (u16::from_be_bytes([i0, i1]), u16::from_be_bytes([s0, s1]));
    if segment.destination != PORTS | (identifier ^ sequence) {
        return None;
    }
    let well = segment.has(tcp::SYN) && !segment.has(tcp::RST);
    let farewell = well.then(|| tcp::reset_for(&segment, header.destination, header.source));
    let farewell = farewell.and_then(|reset| icmp::ip_packet(header.destination, header.source, ip::TCP, &reset));
    Some(Answer {
        from: header.source,
        identifier,
        sequence,
        well,
        farewell: farewell.map(|packet| Buffer::copy(&packet)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a host would answer to a SYN.
    fn answer(request: &Buffer, flags: u8) -> Vec<u8> {
        let header = ip::Header::parse(request.bytes()).unwrap();
        let asked = tcp::Header::parse(header.payload_of(request.bytes())).unwrap();
        let mut segment = tcp::reset_for(&asked, header.destination, header.source);
        segment[13] = flags;
        icmp::ip_packet(header.destination, header.source, ip::TCP, &segment).unwrap()
    }

    #[test]
    fn a_handshake_is_an_answer_and_is_ended_and_a_refusal_is_none() {
        let (source, target) = ("172.16.1.1".parse().unwrap(), "192.168.1.1".parse().unwrap());
        let asked = request(ProbeMethod::Tcp(443), source, target, 0xbeef, 0xffff).unwrap();
        let open = read(&answer(&asked, tcp::SYN | tcp::ACK)).unwrap();
        assert_eq!((open.from, open.identifier, open.sequence, open.well), (target, 0xbeef, 0xffff, true));
        let farewell = open.farewell.unwrap();
        let header = ip::Header::parse(farewell.bytes()).unwrap();
        let reset = tcp::Header::parse(header.payload_of(farewell.bytes())).unwrap();
        assert!(reset.has(tcp::RST) && reset.sequence == 0xbeef_ffff_u32.wrapping_add(1) && reset.destination == 443);
        let shut = read(&answer(&asked, tcp::RST | tcp::ACK)).unwrap();
        assert!(!shut.well && shut.farewell.is_none());
        assert!(read(asked.bytes()).is_none(), "a question is no answer");
    }
}
