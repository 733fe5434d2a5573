//! How long outer packets may be on the way to a peer (RFC 1191, RFC 8201; RFC 4301 section 8.2).
//!
//! Two know of it: the kernel of a host port, which has checked what it was told, and ICMP errors at packet ports, which
//! anybody can write. Those count only when they quote an ESP packet that we have sent lately, by its addresses, its SPI
//! and its sequence number. Only a smaller value than the one in use is taken, none below a floor, and after some time the
//! path is tried at full length again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use base::{Buffer, Duration, Instant};
use wire::{esp, icmp, ip, ipv4, ipv6, octets};

use crate::inspect::{Quoted, Seen};
use crate::{Dataplane, Outer, Output, Reason};

/// Outer packets are made to fit this, the MTU of Ethernet, until the path is known to take less.
pub const OUTER_MTU: usize = 1500;
/// Less is not believed of an IPv4 path: what every host must be able to put together (RFC 791). What is longer than the
/// path then leaves in fragments.
pub const PATH_MTU_MIN_V4: usize = 576;
/// Less is not believed of an IPv6 path: the least MTU of every link (RFC 8200 section 5).
pub const PATH_MTU_MIN_V6: usize = ipv6::MTU_MIN;
/// How long it is believed that a path takes less (RFC 8201 section 4).
pub const PATH_MTU_LIFETIME: Duration = Duration::from_secs(600);
/// ICMP errors about ESP packets that are looked at in a second.
pub const PATH_ERRORS_PER_SECOND: u32 = 100;
/// A quoted packet must be among so many that were sent last.
pub const QUOTED_MAX: u64 = 1 << 16;
/// Peers at most whose paths are remembered.
pub const PATHS_MAX: usize = 65_536;

/// The paths that take less than [`OUTER_MTU`], by the peer's address.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    known: BTreeMap<IpAddr, (usize, Instant)>,
    by_age: BTreeSet<(Instant, IpAddr)>,
    second: u64,
    looked_at: u32,
}

impl Paths {
    /// What the path to a peer takes.
    pub(crate) fn mtu(&self, remote: IpAddr) -> usize {
        self.known.get(&remote).map_or(OUTER_MTU, |(mtu, _)| *mtu)
    }

    /// Takes in that a path takes no more than `mtu`; returns what it is taken for from now on, if it is news.
    fn learn(&mut self, now: Instant, remote: IpAddr, mtu: usize) -> Option<usize> {
        let floor = if remote.is_ipv4() { PATH_MTU_MIN_V4 } else { PATH_MTU_MIN_V6 };
        let mtu = mtu.max(floor);
        let before = self.mtu(remote);
        let full = self.known.len() >= PATHS_MAX && !self.known.contains_key(&remote);
        if mtu > before || mtu >= OUTER_MTU || full {
            return None;
        }
        let until = now + PATH_MTU_LIFETIME;
        if let Some((_, until)) = self.known.insert(remote, (mtu, until)) {
            self.by_age.remove(&(until, remote));
        }
        self.by_age.insert((until, remote));
        (mtu < before).then_some(mtu)
    }

    /// Forgets a path whose time is up.
    fn expire(&mut self, now: Instant) -> Option<IpAddr> {
        let &(until, remote) = self.by_age.first().filter(|(until, _)| *until <= now)?;
        self.by_age.remove(&(until, remote));
        self.known.remove(&remote);
        Some(remote)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.by_age.first().map(|(until, _)| *until)
    }

    fn may_look(&mut self, now: Instant) -> bool {
        if now.as_secs() != self.second {
            (self.second, self.looked_at) = (now.as_secs(), 0);
        }
        self.looked_at = self.looked_at.saturating_add(1);
        self.looked_at <= PATH_ERRORS_PER_SECOND
    }
}

impl Dataplane {
    /// An ICMP error from the outside of a packet port that is addressed to us and quotes an ESP packet, from its IP
    /// header. What it says of the path is believed when the packet it quotes is one that we have sent.
    pub fn outer_error(&mut self, now: Instant, packet: Buffer, out: &mut Vec<Output>) {
        self.begin(now, out);
        match self.believed(now, packet.bytes()) {
            Ok((remote, mtu)) => self.path_takes(now, remote, mtu),
            Err(reason) => self.counters.count(reason),
        }
        self.pool.give(packet);
    }

    /// The peer and the length that an error tells of.
    fn believed(&mut self, now: Instant, packet: &[u8]) -> Result<(IpAddr, usize), Reason> {
        let forged = Reason::UnrelatedIcmpError;
        let header = ip::Header::parse(packet).map_err(|_| Reason::MalformedIp)?;
        let seen =
            Seen::new(packet, header).filter(|seen| seen.ip.fragment.is_none()).ok_or(Reason::MalformedTransport)?;
        if !self.paths.may_look(now) {
            return Err(Reason::PathErrorLimit);
        }
        let message = header.payload_of(packet);
        let mtu = told(message, &seen).ok_or(forged)?;
        let quoted = Sent::parse(icmp::quotation(message)).ok_or(forged)?;
        // It went to us, about a packet of ours, which was longer than what it tells of.
        if header.destination != quoted.outer.local.ip() || quoted.total <= mtu {
            return Err(forged);
        }
        let ours = self.sas.towards(quoted.outer.remote.ip(), quoted.header.spi).any(|entry| {
            let outer = entry.outer;
            let ports = !outer.udp
                || (outer.local.port(), outer.remote.port()) == (quoted.outer.local.port(), quoted.outer.remote.port());
            outer.udp == quoted.outer.udp
                && outer.local.ip() == quoted.outer.local.ip()
                && ports
                && entry.sa.has_sent_lately(quoted.header.sequence, QUOTED_MAX)
        });
        if ours { Ok((quoted.outer.remote.ip(), mtu)) } else { Err(forged) }
    }

    /// The path to a peer takes outer packets of `mtu` bytes at most.
    pub(crate) fn path_takes(&mut self, now: Instant, remote: IpAddr, mtu: usize) {
        if self.sas.slots_towards(remote).is_empty() {
            return;
        }
        if let Some(mtu) = self.paths.learn(now, remote, mtu) {
            self.set_path(remote, mtu);
        }
    }

    /// Tries a path at full length again whose time is up; false when there is none.
    pub(crate) fn expire_path(&mut self, now: Instant) -> bool {
        let Some(remote) = self.paths.expire(now) else { return false };
        self.set_path(remote, OUTER_MTU);
        true
    }

    fn set_path(&mut self, remote: IpAddr, mtu: usize) {
        for slot in self.sas.slots_towards(remote) {
            if let Some(entry) = self.sas.get_mut(slot) {
                entry.path_mtu = mtu;
            }
        }
    }
}

/// The length that the next hop takes, if the message is about length.
fn told(message: &[u8], seen: &Seen) -> Option<usize> {
    match (seen.ip.is_v4(), octets::u8(message, 0)?, octets::u8(message, 1)?) {
        // RFC 1191 section 4. A router that is older than that says nothing of the length.
        (true, 3, 4) => octets::u16(message, 6).map(usize::from).filter(|mtu| *mtu > 0),
        (false, 2, _) => octets::u32(message, 4).and_then(|mtu| usize::try_from(mtu).ok()),
        _ => None,
    }
}

/// An ESP packet of ours, as an error quotes it.
struct Sent {
    outer: Outer,
    header: esp::Header,
    total: usize,
}

impl Sent {
    fn parse(quoted: &[u8]) -> Option<Self> {
        let Quoted { source, destination, protocol, payload } = Quoted::parse(quoted)?;
        let total = match source {
            IpAddr::V4(_) => usize::from(octets::u16(quoted, 2)?),
            IpAddr::V6(_) => usize::from(octets::u16(quoted, 4)?) + ipv6::HEADER,
        };
        let transport = quoted.get(payload..)?;
        let (ports, udp, behind) = match protocol {
            ip::ESP => ((0, 0), false, transport),
            ip::UDP => {
                let ports = (octets::u16(transport, 0)?, octets::u16(transport, 2)?);
                (ports, true, transport.get(wire::udp::HEADER..)?)
            }
            _ => return None,
        };
        let outer = Outer { local: (source, ports.0).into(), remote: (destination, ports.1).into(), udp };
        Some(Self { outer, header: esp::Header::parse(behind)?, total })
    }
}

const _: () = assert!(PATH_MTU_MIN_V4 > ipv4::HEADER);

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_only_ever_takes_less_until_it_is_tried_again() {
        let mut paths = Paths::default();
        let (v4, v6) = (peer("192.0.2.1"), peer("2001:db8::1"));
        let at = Instant::from_micros;
        assert_eq!(paths.learn(at(1), v4, 1400), Some(1400));
        assert_eq!(paths.learn(at(2), v4, 1450), None, "more is not believed");
        assert_eq!(paths.learn(at(3), v4, 68), Some(PATH_MTU_MIN_V4));
        assert_eq!(paths.learn(at(4), v6, 1), Some(PATH_MTU_MIN_V6));
        assert_eq!(paths.learn(at(5), peer("192.0.2.2"), 9000), None);
        assert_eq!((paths.mtu(v4), paths.mtu(v6), paths.mtu(peer("192.0.2.2"))), (576, 1280, OUTER_MTU));
        assert_eq!(paths.next_deadline(), Some(at(3) + PATH_MTU_LIFETIME));
        assert_eq!(paths.learn(at(9), v4, 500), None, "it is known, and known anew");
        assert_eq!(paths.expire(at(4) + PATH_MTU_LIFETIME), Some(v6));
        assert_eq!(paths.expire(at(8) + PATH_MTU_LIFETIME), None);
        assert_eq!(paths.expire(at(9) + PATH_MTU_LIFETIME), Some(v4));
        assert_eq!((paths.mtu(v4), paths.next_deadline(), paths.known.len()), (OUTER_MTU, None, 0));
    }

    #[test]
    fn paths_are_bounded() {
        let mut paths = Paths::default();
        for number in 0..=u32::try_from(PATHS_MAX).unwrap() {
            paths.learn(Instant::ZERO, std::net::Ipv4Addr::from_bits(number).into(), 1000);
        }
        assert_eq!((paths.known.len(), paths.by_age.len()), (PATHS_MAX, PATHS_MAX));
    }
}
