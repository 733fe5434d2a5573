//! NAT detection and what follows from it: RFC 7296 section 2.23.

use std::net::{IpAddr, SocketAddr};

use base::{Duration, Random};
use crypto::digest::sha1;
use wire::ike::{Notify, NotifyType, Payload};

use crate::{NatTraversal, Path};

/// The port of IKE without NAT.
pub(crate) const PORT: u16 = 500;
/// The port of IKE and ESP in UDP.
pub(crate) const PORT_NAT: u16 = 4500;
/// Silence of ours after which a NAT in front of us is reminded (RFC 3948 section 4).
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Where NATs were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nat {
    /// In front of us.
    pub(crate) local: bool,
    /// In front of the peer.
    pub(crate) remote: bool,
}

impl Nat {
    /// One side at least is behind a NAT.
    pub(crate) const fn seen(self) -> bool {
        self.local || self.remote
    }
}

/// The two notifications of our IKE_SA_INIT message, or none when NAT is not looked for. With `NatTraversal::On` the
/// source is made not to match, so that the peer believes in a NAT and encapsulates.
pub(super) fn write(
    mode: NatTraversal,
    spi_i: u64,
    spi_r: u64,
    path: &Path,
    random: &mut Random,
    payloads: &mut Vec<Payload>,
) {
    let source = match mode {
        NatTraversal::Off => return,
        NatTraversal::IfNeeded => hash(spi_i, spi_r, path.local),
        NatTraversal::On => {
            let mut noise = [0; 20];
            random.fill(&mut noise);
            noise
        }
    };
    let destination = hash(spi_i, spi_r, path.remote);
    payloads.push(Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, source.to_vec())));
    payloads.push(Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_DESTINATION_IP, destination.to_vec())));
}

/// What the peer's notifications say. `None` when it sent none: it does not traverse NATs.
pub(super) fn read(mode: NatTraversal, spi_i: u64, spi_r: u64, path: &Path, notifies: &[Notify]) -> Option<Nat> {
    if mode == NatTraversal::Off {
        return None;
    }
    let of = |kind| notifies.iter().filter(move |notify| notify.kind == kind);
    // A peer with several addresses may name them all: one match is enough.
    let sources = || of(NotifyType::NAT_DETECTION_SOURCE_IP);
    let mut destinations = of(NotifyType::NAT_DETECTION_DESTINATION_IP);
    let (theirs, ours) = (hash(spi_i, spi_r, path.remote), hash(spi_i, spi_r, path.local));
    sources().next()?;
    let destination = destinations.next()?;
    Some(Nat { local: destination.data != ours, remote: !sources().any(|notify| notify.data == theirs) })
}

/// The path on the port for NAT, for an initiator that has seen one.
pub(super) fn float(path: &Path) -> Path {
    Path { local: SocketAddr::new(path.local.ip(), PORT_NAT), remote: SocketAddr::new(path.remote.ip(), PORT_NAT) }
}

/// Bytes of an IKE message in a UDP payload of this size: on the port for NAT a marker goes in front (RFC 3948 section
/// 2.2).
pub(super) fn room(payload: usize, path: &Path) -> usize {
    let marked = path.local.port() == PORT_NAT || path.remote.port() == PORT_NAT;
    if marked { payload.saturating_sub(4) } else { payload }
}

fn hash(spi_i: u64, spi_r: u64, at: SocketAddr) -> [u8; 20] {
    let (spi_i, spi_r, port) = (spi_i.to_be_bytes(), spi_r.to_be_bytes(), at.port().to_be_bytes());
    match at.ip() {
        IpAddr::V4(ip) => sha1(&[&spi_i, &spi_r, &ip.octets(), &port]),
        IpAddr::V6(ip) => sha1(&[&spi_i, &spi_r, &ip.octets(), &port]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(local: &str, remote: &str) -> Path {
        Path { local: local.parse().unwrap(), remote: remote.parse().unwrap() }
    }

    fn seen(mode: NatTraversal, sent: &Path, received: &Path) -> Option<Nat> {
        let mut payloads = Vec::new();
        write(mode, 1, 2, sent, &mut Random::numbered(1), &mut payloads);
        let notifies: Vec<Notify> = payloads
            .into_iter()
            .map(|payload| match payload {
                Payload::Notify(notify) => notify,
                other => panic!("{other:?}"),
            })
            .collect();
        read(NatTraversal::IfNeeded, 1, 2, received, &notifies)
    }

    #[test]
    fn a_nat_is_seen_on_the_side_where_it_stands() {
        let sent = path("10.0.0.2:500", "198.51.100.1:500");
        let through = path("198.51.100.1:500", "203.0.113.1:40000");
        assert_eq!(seen(NatTraversal::IfNeeded, &sent, &through), Some(Nat { local: false, remote: true }));
        let straight = path("198.51.100.1:500", "10.0.0.2:500");
        assert_eq!(seen(NatTraversal::IfNeeded, &sent, &straight), Some(Nat::default()));
        let forwarded = path("192.168.0.9:500", "10.0.0.2:500");
        assert_eq!(seen(NatTraversal::IfNeeded, &sent, &forwarded), Some(Nat { local: true, remote: false }));
    }

    #[test]
    fn on_is_seen_as_a_nat_and_off_says_nothing() {
        let sent = path("10.0.0.2:500", "198.51.100.1:500");
        let straight = path("198.51.100.1:500", "10.0.0.2:500");
        assert_eq!(seen(NatTraversal::On, &sent, &straight), Some(Nat { local: false, remote: true }));
        assert_eq!(seen(NatTraversal::Off, &sent, &straight), None);
    }
}
