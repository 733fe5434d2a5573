//! TCP's maximum segment size through tunnels: lowered so that full segments need no fragments.

use wire::ip::Header;
use wire::tcp;

use crate::inspect::{Seen, Transport};

/// IPv4 and TCP headers without options (RFC 6691 section 2).
const HEADERS_V4: usize = 40;
/// IPv6 and TCP headers without options.
const HEADERS_V6: usize = 60;
/// Never less than this: what a host may rely on (RFC 9293 section 3.7.1 takes 536 as default; the product's floor is 100).
const MSS_MIN: usize = 100;

/// Lowers the MSS of a SYN that passes a tunnel which takes packets of `mtu` bytes.
pub(crate) fn clamp(packet: &mut [u8], seen: &Seen, mtu: usize, mss_max: u16) {
    let Transport::Tcp(segment) = &seen.transport else { return };
    if !segment.has(tcp::SYN) {
        return;
    }
    let mss = largest(&seen.ip, mtu).min(usize::from(mss_max)).max(MSS_MIN);
    if let Some(segment) = packet.get_mut(seen.ip.payload..seen.ip.total) {
        tcp::clamp_mss(segment, u16::try_from(mss).unwrap_or(u16::MAX));
    }
}

/// The largest segment that fits into packets of `mtu` bytes.
fn largest(ip: &Header, mtu: usize) -> usize {
    mtu.saturating_sub(if ip.is_v4() { HEADERS_V4 } else { HEADERS_V6 })
}
