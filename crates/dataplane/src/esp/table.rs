//! All SAs: by number, by SPI, by what they are for, and by their peers.
//!
//! A packet gets the narrowest SA that fits: one for its hosts, protocol and ports before one for its hosts, and that
//! before those for networks, of which there are few. So the cost does not grow with a tunnel's SAs per host or port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::entry::{Entry, Sending};
use super::sa::SaError;
use super::unit::Unit;
use crate::index::{HashKey, Index};
use crate::{InterfaceId, Mode, Outer, SaId};

/// SAs in the order in which they came.
type InOrder = BTreeMap<u64, u32>;

/// The SAs of a shard.
#[derive(Debug)]
pub(crate) struct SaTable {
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_id: BTreeMap<SaId, u32>,
    hash_key: HashKey,
    by_spi: Index,
    by_tunnel: BTreeMap<InterfaceId, InOrder>,
    /// Those that are for one unit.
    by_unit: Index,
    /// The others.
    wide: BTreeMap<InterfaceId, InOrder>,
    /// What takes over from whom.
    successors: BTreeSet<(SaId, u32)>,
    /// Where they lead, and the SPI that the peer knows them by.
    by_peer: BTreeSet<(IpAddr, u32, u32)>,
    /// Those between two gateways themselves: our address and the peer's.
    transports: BTreeSet<(InterfaceId, IpAddr, IpAddr, u32)>,
    selections: u64,
    arrivals: u64,
}

impl SaTable {
    pub(crate) fn new(hash_key: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_id: BTreeMap::new(),
            hash_key: HashKey::new(hash_key),
            by_spi: Index::new(),
            by_tunnel: BTreeMap::new(),
            by_unit: Index::new(),
            wide: BTreeMap::new(),
            successors: BTreeSet::new(),
            by_peer: BTreeSet::new(),
            transports: BTreeSet::new(),
            selections: 0,
            arrivals: 0,
        }
    }

    pub(crate) fn insert(&mut self, mut entry: Entry) -> Result<u32, SaError> {
        let sa = &entry.sa;
        if self.by_id.contains_key(&sa.id) {
            return Err(SaError::DuplicateId(sa.id));
        }
        if self.by_spi(sa.spi_in).is_some() {
            return Err(SaError::DuplicateSpi(sa.spi_in));
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let tunnel = sa.tunnel;
        self.arrivals += 1;
        self.by_id.insert(sa.id, slot);
        self.by_spi.insert(self.hash(sa.spi_in), slot);
        self.by_tunnel.entry(tunnel).or_default().insert(self.arrivals, slot);
        self.successors.extend(sa.replaces.map(|old| (old, slot)));
        match &entry.unit {
            Some(unit) => self.by_unit.insert(unit.hash(&self.hash_key, tunnel), slot),
            None => _ = self.wide.entry(tunnel).or_default().insert(self.arrivals, slot),
        }
        entry.order = self.arrivals;
        self.enter_peer(slot, &entry);
        if let Some(place) = usize::try_from(slot).ok().and_then(|slot| self.slots.get_mut(slot)) {
            *place = Some(entry);
        }
        self.choose_again(slot);
        Ok(slot)
    }

    pub(crate) fn remove(&mut self, id: SaId) -> Option<Entry> {
        let slot = self.by_id.remove(&id)?;
        let entry = self.slots.get_mut(usize::try_from(slot).ok()?)?.take()?;
        let sa = &entry.sa;
        self.by_spi.remove(self.hash(sa.spi_in), slot);
        self.free.push(slot);
        leave(&mut self.by_tunnel, sa.tunnel, entry.order);
        match &entry.unit {
            Some(unit) => self.by_unit.remove(unit.hash(&self.hash_key, sa.tunnel), slot),
            None => leave(&mut self.wide, sa.tunnel, entry.order),
        }
        if let Some(old) = sa.replaces {
            self.successors.remove(&(old, slot));
        }
        self.leave_peer(slot, &entry.outer, &entry);
        Some(entry)
    }

    /// The peer of a pair is reached elsewhere.
    pub(crate) fn move_to(&mut self, id: SaId, outer: Outer, path_mtu: usize) {
        let Some(slot) = self.by_id.get(&id).copied() else { return };
        let Some(mut entry) = usize::try_from(slot).ok().and_then(|at| self.slots.get_mut(at)?.take()) else { return };
        self.leave_peer(slot, &entry.outer, &entry);
        (entry.outer, entry.path_mtu) = (outer, path_mtu);
        entry.moved_raised = None;
        self.enter_peer(slot, &entry);
        if let Some(place) = usize::try_from(slot).ok().and_then(|slot| self.slots.get_mut(slot)) {
            *place = Some(entry);
        }
    }

    fn enter_peer(&mut self, slot: u32, entry: &Entry) {
        let (local, remote) = (entry.outer.local.ip(), entry.outer.remote.ip());
        self.by_peer.insert((remote, entry.sa.spi_out, slot));
        if entry.sa.mode == Mode::Transport {
            self.transports.insert((entry.sa.tunnel, local, remote, slot));
        }
    }

    fn leave_peer(&mut self, slot: u32, outer: &Outer, entry: &Entry) {
        let (local, remote) = (outer.local.ip(), outer.remote.ip());
        self.by_peer.remove(&(remote, entry.sa.spi_out, slot));
        self.transports.remove(&(entry.sa.tunnel, local, remote, slot));
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Entry> {
        self.slots.get(usize::try_from(slot).ok()?)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.slots.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }

    pub(crate) fn by_id(&self, id: SaId) -> Option<&Entry> {
        self.get(*self.by_id.get(&id)?)
    }

    pub(crate) fn slot_of(&self, id: SaId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    pub(crate) fn by_spi(&self, spi: u32) -> Option<u32> {
        self.by_spi.find(self.hash(spi), |slot| self.get(slot).is_some_and(|entry| entry.spi_in == spi))
    }

    fn hash(&self, spi: u32) -> u64 {
        self.hash_key.hash(&[u64::from(spi), 0, 0, 0, 0, 0])
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.slots.iter_mut().flatten()
    }

    /// The SAs that a peer at this address knows by this SPI.
    pub(crate) fn towards(&self, remote: IpAddr, spi: u32) -> impl Iterator<Item = &Entry> {
        self.by_peer.range((remote, spi, 0)..=(remote, spi, u32::MAX)).filter_map(|(.., slot)| self.get(*slot))
    }

    /// The SAs that lead to an address.
    pub(crate) fn slots_towards(&self, remote: IpAddr) -> Vec<u32> {
        self.by_peer.range((remote, 0, 0)..=(remote, u32::MAX, u32::MAX)).map(|(.., slot)| *slot).collect()
    }

    /// True when a tunnel has an SA for what passes between these two addresses of the gateways themselves: what comes
    /// out of it has those, wherever the route back leads.
    pub(crate) fn is_transport(&self, tunnel: InterfaceId, local: IpAddr, remote: IpAddr) -> bool {
        self.transports.range((tunnel, local, remote, 0)..=(tunnel, local, remote, u32::MAX)).next().is_some()
    }

    /// The newest SA of a tunnel that seals now, if any.
    pub(crate) fn newest(&self, tunnel: InterfaceId) -> Option<&Entry> {
        let slots = self.by_tunnel.get(&tunnel)?;
        slots.values().rev().filter_map(|slot| self.get(*slot)).find(|sa| sa.sending == Sending::Now)
    }

    /// Makes those choose again who have chosen this SA, or a wider one of its tunnel.
    pub(crate) fn choose_again(&mut self, slot: u32) {
        let Some(entry) = self.get(slot) else { return };
        let tunnel = entry.sa.tunnel;
        let mut again = vec![slot];
        for unit in entry.unit.iter().flat_map(|unit| unit.widening()) {
            self.of_unit(tunnel, &unit, |slot, _| again.push(slot));
        }
        again.extend(self.wide.get(&tunnel).into_iter().flat_map(InOrder::values).copied());
        for slot in again {
            self.selections += 1;
            let selection = self.selections;
            if let Some(sa) = self.get_mut(slot) {
                sa.selection = selection;
            }
        }
    }

    /// Shows every SA that is for exactly this unit.
    fn of_unit(&self, tunnel: InterfaceId, unit: &Unit, mut show: impl FnMut(u32, &Entry)) {
        self.by_unit.find(unit.hash(&self.hash_key, tunnel), |slot| {
            if let Some(entry) = self.get(slot).filter(|sa| sa.sa.tunnel == tunnel && sa.unit.as_ref() == Some(unit)) {
                show(slot, entry);
            }
            false
        });
    }

    /// Seals with this SA from now on.
    pub(crate) fn start_sending(&mut self, slot: u32) {
        if let Some(sa) = self.get_mut(slot)
            && sa.sending == Sending::Later
        {
            sa.sending = Sending::Now;
            self.choose_again(slot);
        }
    }

    /// Seals with this pair no more; the one that takes over from it does.
    pub(crate) fn stop_sending(&mut self, id: SaId) {
        let Some(slot) = self.by_id.get(&id).copied() else { return };
        if let Some(sa) = self.get_mut(slot) {
            sa.sending = Sending::Never;
        }
        self.pass_on(slot, id);
    }

    /// An SA seals no more: whoever has chosen it chooses again, and what was to replace it seals now.
    pub(crate) fn pass_on(&mut self, slot: u32, id: SaId) {
        let next: Vec<u32> = self.successors.range((id, 0)..=(id, u32::MAX)).map(|(_, slot)| *slot).collect();
        for slot in next {
            self.start_sending(slot);
        }
        self.choose_again(slot);
    }

    /// The SA for a packet that leaves through the tunnel: the narrowest that fits and seals now, of several the newest;
    /// else one that has been waiting for its turn, which then has come: nothing else is left to send on.
    pub(crate) fn select(
        &mut self,
        tunnel: InterfaceId,
        protocol: u8,
        source: (IpAddr, Option<u16>),
        destination: (IpAddr, Option<u16>),
    ) -> Option<u32> {
        let ports = source.1.zip(destination.1);
        let exact = Unit { local: source.0, remote: destination.0, protocol, ports };
        let mut best = Best::default();
        if !self.by_unit.is_empty() {
            for unit in exact.widening().into_iter().skip(usize::from(ports.is_none())) {
                let mut level = Best::default();
                self.of_unit(tunnel, &unit, |slot, entry| {
                    if entry.fits(protocol, source, destination) {
                        level.meet(slot, entry);
                    }
                });
                best.add(level);
            }
        }
        if best.now.is_none() {
            let mut level = Best::default();
            for slot in self.wide.get(&tunnel).into_iter().flat_map(|wide| wide.values().rev()) {
                let Some(entry) = self.get(*slot) else { continue };
                if entry.fits(protocol, source, destination) {
                    level.meet(*slot, entry);
                }
                if level.now.is_some() {
                    break;
                }
            }
            best.add(level);
        }
        if let Some((_, slot)) = best.now {
            return Some(slot);
        }
        let (_, slot) = best.later?;
        self.start_sending(slot);
        Some(slot)
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

/// The newest that seals now, and the newest that waits for its turn.
#[derive(Debug, Default)]
struct Best {
    now: Option<(u64, u32)>,
    later: Option<(u64, u32)>,
}

impl Best {
    fn meet(&mut self, slot: u32, entry: &Entry) {
        let place = match entry.sending {
            Sending::Now => &mut self.now,
            // Another shard has heard the peer use it.
            Sending::Later if entry.sa.heard() => &mut self.now,
            Sending::Later => &mut self.later,
            Sending::Never => return,
        };
        *place = (*place).max(Some((entry.order, slot)));
    }

    /// What a wider look has found counts only where nothing was before.
    fn add(&mut self, wider: Self) {
        self.now = self.now.or(wider.now);
        self.later = self.later.or(wider.later);
    }
}

fn leave(places: &mut BTreeMap<InterfaceId, InOrder>, tunnel: InterfaceId, order: u64) {
    if let Some(slots) = places.get_mut(&tunnel) {
        slots.remove(&order);
        if slots.is_empty() {
            places.remove(&tunnel);
        }
    }
}
