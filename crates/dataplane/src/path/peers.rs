//! What was found out about peers at packet ports, so that their packets ask neither routes nor access rules again. A place
//! holds the last one that fell on it: peers that share one cost a question, nothing else. What is remembered holds for one
//! generation.

use std::net::IpAddr;

use crate::flows::Side;
use crate::{InterfaceId, TableId};

/// Places, per direction.
const PLACES: usize = 1024;

/// The peers whose packets passed last.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    came: Vec<Option<Came>>,
    left: Vec<Option<Left>>,
}

/// A peer may come in here.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Came {
    generation: u32,
    interface: InterfaceId,
    remote: IpAddr,
    local: IpAddr,
}

/// The way to a peer.
#[derive(Clone, Copy, Debug)]
struct Left {
    generation: u32,
    table: TableId,
    remote: IpAddr,
    side: Side,
}

impl Peers {
    /// True when a packet between these addresses was let in by this interface before.
    pub(super) fn has_come(&self, generation: u32, interface: InterfaceId, remote: IpAddr, local: IpAddr) -> bool {
        let came = self.came.get(place(remote)).copied().flatten();
        came == Some(Came { generation, interface, remote, local })
    }

    pub(super) fn comes(&mut self, generation: u32, interface: InterfaceId, remote: IpAddr, local: IpAddr) {
        self.came.resize(PLACES, None);
        if let Some(entry) = self.came.get_mut(place(remote)) {
            *entry = Some(Came { generation, interface, remote, local });
        }
    }

    /// Where packets to a peer have left.
    pub(super) fn way(&self, generation: u32, table: TableId, remote: IpAddr) -> Option<Side> {
        let left = self.left.get(place(remote)).copied().flatten();
        left.filter(|left| (left.generation, left.table, left.remote) == (generation, table, remote))
            .map(|left| left.side)
    }

    pub(super) fn leaves(&mut self, generation: u32, table: TableId, remote: IpAddr, side: Side) {
        self.left.resize(PLACES, None);
        if let Some(entry) = self.left.get_mut(place(remote)) {
            *entry = Some(Left { generation, table, remote, side });
        }
    }
}

fn place(remote: IpAddr) -> usize {
    let bits = match remote {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h] = address.segments().map(u32::from);
            (a ^ c ^ e ^ g) << 16 | b ^ d ^ f ^ h
        }
    };
    // Neighbours fall on different places, and so do networks.
    let mixed = bits ^ bits >> 10 ^ bits >> 20;
    usize::try_from(mixed).unwrap_or(0) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::Place;

    #[test]
    fn what_is_remembered_is_of_one_peer_one_way_and_one_generation() {
        let (a, b, own): (IpAddr, IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap(), "192.0.2.9".parse().unwrap());
        let side = Side { interface: InterfaceId(1), hop: 3, place: Place::Port };
        let mut peers = Peers::default();
        peers.comes(1, InterfaceId(1), a, own);
        peers.leaves(1, TableId(0), b, side);
        assert!(peers.has_come(1, InterfaceId(1), a, own));
        assert!(!peers.has_come(2, InterfaceId(1), a, own) && !peers.has_come(1, InterfaceId(2), a, own));
        assert!(!peers.has_come(1, InterfaceId(1), b, own) && !peers.has_come(1, InterfaceId(1), a, a));
        assert_eq!(peers.way(1, TableId(0), b), Some(side));
        assert_eq!(
            (peers.way(2, TableId(0), b), peers.way(1, TableId(1), b), peers.way(1, TableId(0), a)),
            (None, None, None)
        );
    }

    #[test]
    fn a_thousand_neighbours_have_places_of_their_own() {
        let places: std::collections::BTreeSet<usize> =
            (0..1024_u32).map(|last| place(std::net::Ipv4Addr::from_bits(0xc633_6400 + last).into())).collect();
        assert!(places.len() > 900, "{}", places.len());
    }
}
