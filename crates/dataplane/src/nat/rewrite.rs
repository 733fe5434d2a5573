//! Gives a packet the addresses and ports of the other key of its connection, and mends its checksums.
//!
//! Checksums change by what changes under them (RFC 1624 equation 3): a packet that came with a wrong one leaves with a
//! wrong one.

use std::net::IpAddr;

use base::Offload;
use wire::checksum::Sum;
use wire::icmp::{self, Class};
use wire::{ip, octets};

use crate::inspect::{Key, Seen, Transport};

const DCCP: u8 = 33;
const UDP_LITE: u8 = 136;

/// What stands in the checksum field of the transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksums {
    /// The checksum.
    Whole,
    /// The sum over the pseudo header alone, not inverted; who sends the packet on will add the rest. The field then
    /// follows the addresses, and ports and identifiers are none of its business. ICMP has no pseudo header in IPv4, and
    /// its field stays.
    Partial,
}

impl Checksums {
    /// What stands there in a packet of which this is left to be done. The missing checksum may also be one further inside.
    pub(crate) fn of(offload: &Offload, seen: &Seen) -> Self {
        match offload.checksum {
            Some(missing) if usize::from(missing.start) == seen.ip.payload => Self::Partial,
            Some(_) | None => Self::Whole,
        }
    }
}

/// Gives a packet the addresses and ports of `to`, a key of the same protocol in the same direction. `seen` is then what
/// reading it again would say. A key of the other family changes nothing.
pub(crate) fn apply(packet: &mut [u8], seen: &mut Seen, to: &Key, checksums: Checksums) {
    if to.source.is_ipv4() != seen.ip.is_v4() || to.destination.is_ipv4() != seen.ip.is_v4() {
        return;
    }
    let Some(packet) = packet.get_mut(..seen.ip.total) else { return };
    change(packet, seen.ip.payload, seen.ip.protocol, to, checksums);
    (seen.ip.source, seen.ip.destination) = (to.source, to.destination);
    match &mut seen.transport {
        Transport::Tcp(tcp) => (tcp.source, tcp.destination) = to.ports,
        Transport::Udp(udp) => (udp.source, udp.destination) = to.ports,
        Transport::Icmp(icmp) => match &mut icmp.class {
            Class::Request(id) => *id = to.ports.0,
            Class::Reply(id) => *id = to.ports.1,
            Class::Error | Class::Redirect | Class::Other => {}
        },
        Transport::Other => {}
    }
}

/// The same for a packet, or for as much of one as an ICMP error quotes: what is not there is not changed. Returns the
/// difference of all bytes that changed.
pub(crate) fn change(packet: &mut [u8], payload: usize, protocol: u8, to: &Key, checksums: Checksums) -> Difference {
    let pseudo = change_addresses(packet, to);
    let mut all = pseudo;
    if let (true, Some(sum)) = (to.source.is_ipv4(), octets::u16(packet, 10)) {
        all.put_u16(packet, 10, pseudo.mend(sum));
    }
    let Some(transport) = packet.get_mut(payload..) else { return all };
    let icmp_here = if to.source.is_ipv4() { ip::ICMP } else { ip::ICMPV6 };
    // Where the checksum stands, and where the two numbers that are ports.
    let (sum_at, ports): (usize, [Option<(usize, u16)>; 2]) = match protocol {
        ip::TCP => (16, [Some((0, to.ports.0)), Some((2, to.ports.1))]),
        ip::UDP => (6, [Some((0, to.ports.0)), Some((2, to.ports.1))]),
        icmp if icmp == icmp_here => {
            let class = icmp::Header::parse(transport, protocol == ip::ICMPV6).map(|icmp| icmp.class);
            let id = match class {
                Some(Class::Request(_)) => Some((4, to.ports.0)),
                Some(Class::Reply(_)) => Some((4, to.ports.1)),
                Some(Class::Error | Class::Redirect | Class::Other) | None => None,
            };
            (2, [id, None])
        }
        // They have ports, but connections of theirs are not told apart by them. Their checksums see the addresses (RFC 3828
        // section 3.1, RFC 4340 section 9.1).
        UDP_LITE | DCCP => (6, [None, None]),
        _ => return all,
    };
    let mut numbers = Difference::default();
    for (at, new) in ports.into_iter().flatten() {
        numbers.put_u16(transport, at, new);
    }
    all.add(numbers);
    let under_sum = match (protocol, checksums) {
        (ip::ICMP, Checksums::Whole) => numbers,
        (ip::ICMP, Checksums::Partial) => return all,
        (_, Checksums::Whole) => {
            let mut both = pseudo;
            both.add(numbers);
            both
        }
        (_, Checksums::Partial) => pseudo,
    };
    let Some(old) = octets::u16(transport, sum_at) else { return all };
    let new = match (checksums, protocol) {
        (Checksums::Partial, _) => !under_sum.mend(!old),
        // RFC 768: zero says that there is none, and the checksum that is zero is sent as its twin. IPv6 allows no UDP
        // without one but in tunnels (RFC 6935), which are as good as before when it stays away.
        (Checksums::Whole, ip::UDP) if old == 0 => 0,
        (Checksums::Whole, ip::UDP) => match under_sum.mend(old) {
            0 => 0xffff,
            sum => sum,
        },
        (Checksums::Whole, _) => under_sum.mend(old),
    };
    all.put_u16(transport, sum_at, new);
    all
}

/// Writes the addresses of `to` into an IP header. It has the same family.
pub(super) fn change_addresses(packet: &mut [u8], to: &Key) -> Difference {
    let mut difference = Difference::default();
    match (to.source, to.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            difference.put(packet, 12, source.octets());
            difference.put(packet, 16, destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            difference.put(packet, 8, source.octets());
            difference.put(packet, 24, destination.octets());
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => {}
    }
    difference
}

/// What writes have changed of the sum over the bytes they went to. All begin at even places of what is summed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Difference {
    /// Old bytes inverted, and new ones.
    sum: Sum,
    changed: bool,
}

impl Difference {
    /// Writes `new` at `at` and notes the difference; does nothing when it does not fit.
    fn put<const N: usize>(&mut self, bytes: &mut [u8], at: usize, new: [u8; N]) {
        let Some(old) = octets::array::<N>(bytes, at).filter(|old| *old != new) else { return };
        octets::put(bytes, at, new);
        self.sum = self.sum.with(&old.map(|byte| !byte)).with(&new);
        self.changed = true;
    }

    pub(super) fn put_u16(&mut self, bytes: &mut [u8], at: usize, new: u16) {
        self.put(bytes, at, new.to_be_bytes());
    }

    pub(super) fn add(&mut self, other: Self) {
        // The checksum of a sum is the sum inverted.
        if other.changed {
            self.sum = self.sum.with_u16(!other.sum.checksum());
            self.changed = true;
        }
    }

    /// The checksum that was `checksum` before the writes. Without any it stays as it is, even in its other form of zero.
    pub(super) fn mend(self, checksum: u16) -> u16 {
        if self.changed { self.sum.with_u16(!checksum).checksum() } else { checksum }
    }
}
