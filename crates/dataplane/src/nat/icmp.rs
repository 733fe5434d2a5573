//! ICMP errors that pass back through a translated connection (RFC 5508 section 4.2): whoever gets one must find in it the
//! packet that it has sent.

use wire::{icmp, octets};

use super::rewrite::{self, Checksums};
use crate::inspect::{Key, Quoted, Seen};

/// Translates an error. `from` is the key under which a packet of the connection would arrive that takes the same way, and
/// `to` the one under which it would leave; the error is about a packet that went the other way. `seen` is then what
/// reading it again would say. False, and nothing changed, when it is no error about that connection.
///
/// An error comes from the other end or from a router in front of it. Where the connection hides that side behind other
/// addresses, the router hides with it, behind the address that packets of the connection come from (RFC 5508 section
/// 4.2.2); where it does not, the router's address stays, for traceroute to show.
pub(crate) fn translate_error(packet: &mut [u8], seen: &mut Seen, from: &Key, to: &Key, checksums: Checksums) -> bool {
    let same_family = [to.source, to.destination].iter().all(|address| address.is_ipv4() == seen.ip.is_v4());
    if !seen.is_icmp_error() || !same_family || seen.ip.destination != from.destination {
        return false;
    }
    let Some(packet) = packet.get_mut(..seen.ip.total) else { return false };
    let Some(quoted) = packet.get_mut(seen.ip.payload..).and_then(|message| message.get_mut(icmp::HEADER..)) else {
        return false;
    };
    if Key::of_quotation(quoted) != Some(from.reversed()) {
        return false;
    }
    let Some(header) = Quoted::parse(quoted) else { return false };
    let inside = rewrite::change(quoted, header.payload, header.protocol, &to.reversed(), Checksums::Whole);
    let source = if from.source == to.source { seen.ip.source } else { to.source };
    let outer = Key { source, destination: to.destination, ..seen.key() };
    rewrite::apply(packet, seen, &outer, checksums);
    // A sum over the pseudo header alone knows nothing of what is quoted.
    if checksums == Checksums::Whole
        && let Some(message) = packet.get_mut(seen.ip.payload..)
        && let Some(sum) = octets::u16(message, 2)
    {
        octets::put_u16(message, 2, inside.mend(sum));
    }
    true
}
