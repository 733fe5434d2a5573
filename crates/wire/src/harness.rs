//! What the fuzz target of the packet headers does with its bytes; the seeded test does the same. Panics when a property
//! does not hold, and is called by tests alone.

use crate::ip::{self, Header};
use crate::{checksum, esp, icmp, ipv4, octets, tcp, udp};

/// Any bytes where an IP packet is expected: read, and what can be read, changed as a router changes it and read again.
/// Tried as they are, and with length and checksum put right, since otherwise hardly a mutation would get far.
pub fn packet(bytes: &[u8]) {
    check(bytes);
    let mut repaired = bytes.to_vec();
    let Ok(len) = u16::try_from(bytes.len()) else { return };
    match ip::version(bytes) {
        Some(4) => {
            octets::put_u16(&mut repaired, 2, len);
            octets::put_u16(&mut repaired, 10, 0);
            let header = usize::from(bytes.first().map_or(0, |byte| byte & 0xf)) * 4;
            let sum = checksum::of(repaired.get(..header).unwrap_or_default());
            octets::put_u16(&mut repaired, 10, sum);
        }
        _ => octets::put_u16(&mut repaired, 4, len.saturating_sub(40)),
    }
    check(&repaired);
}

fn check(bytes: &[u8]) {
    let _ = esp::Header::parse(bytes);
    let _ = esp::read_trailer(bytes);
    let header = match Header::parse(bytes) {
        Ok(header) => header,
        Err(malformed) => {
            let _ = malformed.to_string();
            return;
        }
    };
    assert!(header.payload <= header.total && header.total <= bytes.len(), "{header:?}");
    let mut changed = bytes.to_vec();
    ip::set_ttl(&mut changed, 77);
    ip::decrement_ttl(&mut changed);
    ip::set_ds(&mut changed, 0xb9);
    ip::swap_addresses(&mut changed);
    let (source, destination) = (header.destination, header.source);
    let expected = Header { source, destination, ttl: 76, ds: 0xb9, ..header };
    assert_eq!(Header::parse(&changed), Ok(expected));
    if header.is_v4() && header.fragment.is_none() {
        let total = u16::try_from(header.total).unwrap_or(u16::MAX);
        ipv4::set_length_and_fragment(&mut changed, total, 0, 0);
        assert_eq!(Header::parse(&changed), Ok(Header { whole: false, ..expected }));
    }
    transport(&header, header.payload_of(bytes));
}

fn transport(header: &Header, payload: &[u8]) {
    if let Some(segment) = tcp::Header::parse(payload) {
        assert!(segment.len <= payload.len());
        let mut clamped = payload.to_vec();
        if tcp::clamp_mss(&mut clamped, 1000) {
            assert!(!tcp::clamp_mss(&mut clamped, 1000), "it is low enough");
            assert_eq!(tcp::Header::parse(&clamped), Some(segment), "the rest stays");
        }
        let reset = tcp::reset_for(&segment, header.destination, header.source);
        assert!(tcp::Header::parse(&reset).is_some_and(|reset| reset.has(tcp::RST)));
    }
    let _ = udp::Header::parse(payload);
    for v6 in [false, true] {
        if icmp::Header::parse(payload, v6).is_some() {
            let mut reply = payload.to_vec();
            icmp::turn_into_reply(&mut reply, v6);
            let _ = icmp::quotation(&reply);
        }
    }
    let error = icmp::error_packet(icmp::Problem::TooBig(1300), header.destination, header.source, payload);
    let read = error.as_deref().map(Header::parse);
    assert!(matches!(read, Some(Ok(_))), "what is written can be read: {read:?}");
}

#[cfg(test)]
mod tests {
    use base::Mutations;

    use super::*;

    #[test]
    fn seeded_damage_to_packets_breaks_no_property() {
        let mut seeds = Vec::new();
        for (a, b) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")] {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            seeds.push(icmp::echo_request(a, b, 1, 1, &[7; 30]).unwrap());
            let syn = [4, 1, 0, 80, 0, 0, 0, 9, 0, 0, 0, 0, 0x70, 2, 0xff, 0xff, 0, 0, 0, 0, 1, 1, 2, 4, 5, 0xb4, 1, 0];
            seeds.push(icmp::ip_packet(a, b, ip::TCP, &syn).unwrap());
            seeds.push(icmp::ip_packet(a, b, ip::UDP, &[4, 1, 0, 53, 0, 9, 0, 0, 1]).unwrap());
            let about = seeds[0].clone();
            seeds.push(icmp::error_packet(icmp::Problem::TimeExceeded, b, a, &about).unwrap());
        }
        let (a, b) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let chain = [60, 0, 0, 0, 0, 0, 0, 0, 44, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8];
        seeds.push(icmp::ip_packet(a, b, 0, &chain).unwrap());
        Mutations::new(1, seeds).take(100_000).for_each(|bytes| packet(&bytes));
    }
}
