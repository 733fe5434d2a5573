//! All SAs: by number, by SPI, and by tunnel with the newest last.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::entry::{Entry, Sending};
use super::sa::SaError;
use crate::index::{HashKey, Index};
use crate::{InterfaceId, SaId};

/// Where an SA is, and in which state of the tunnel it was chosen.
#[derive(Debug)]
pub(crate) struct SaTable {
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_id: BTreeMap<SaId, u32>,
    hash_key: HashKey,
    by_spi: Index,
    by_tunnel: BTreeMap<InterfaceId, Vec<u32>>,
    selections: u64,
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
            selections: 0,
        }
    }

    pub(crate) fn insert(&mut self, entry: Entry) -> Result<u32, SaError> {
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
        self.by_id.insert(sa.id, slot);
        self.by_spi.insert(self.hash(sa.spi_in), slot);
        self.by_tunnel.entry(tunnel).or_default().push(slot);
        if let Some(place) = usize::try_from(slot).ok().and_then(|slot| self.slots.get_mut(slot)) {
            *place = Some(entry);
        }
        self.choose_again(tunnel);
        Ok(slot)
    }

    pub(crate) fn remove(&mut self, id: SaId) -> Option<Entry> {
        let slot = self.by_id.remove(&id)?;
        let entry = self.slots.get_mut(usize::try_from(slot).ok()?)?.take()?;
        let sa = &entry.sa;
        self.by_spi.remove(self.hash(sa.spi_in), slot);
        self.free.push(slot);
        if let Some(slots) = self.by_tunnel.get_mut(&sa.tunnel) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.by_tunnel.remove(&sa.tunnel);
            }
        }
        self.choose_again(sa.tunnel);
        Some(entry)
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

    pub(crate) fn by_id_mut(&mut self, id: SaId) -> Option<&mut Entry> {
        let slot = *self.by_id.get(&id)?;
        self.get_mut(slot)
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

    /// The newest SA of a tunnel that seals now, if any.
    pub(crate) fn newest(&self, tunnel: InterfaceId) -> Option<&Entry> {
        let slots = self.by_tunnel.get(&tunnel)?;
        slots.iter().rev().filter_map(|slot| self.get(*slot)).find(|sa| sa.sending == Sending::Now)
    }

    /// Makes everybody who has chosen an SA of this tunnel choose again.
    pub(crate) fn choose_again(&mut self, tunnel: InterfaceId) {
        let Some(slots) = self.by_tunnel.get(&tunnel) else { return };
        for slot in slots {
            self.selections += 1;
            if let Some(sa) = usize::try_from(*slot).ok().and_then(|slot| self.slots.get_mut(slot)?.as_mut()) {
                sa.selection = self.selections;
            }
        }
    }

    /// Seals with this SA from now on.
    pub(crate) fn start_sending(&mut self, slot: u32) {
        if let Some(sa) = self.get_mut(slot)
            && sa.sending == Sending::Later
        {
            sa.sending = Sending::Now;
            let tunnel = sa.sa.tunnel;
            self.choose_again(tunnel);
        }
    }

    /// Seals with this pair no more; the one that takes over from it does.
    pub(crate) fn stop_sending(&mut self, id: SaId) {
        let Some(sa) = self.by_id_mut(id) else { return };
        sa.sending = Sending::Never;
        let tunnel = sa.sa.tunnel;
        self.successors_of(tunnel, id);
        self.choose_again(tunnel);
    }

    /// What was to replace `id` seals now.
    pub(crate) fn successors_of(&mut self, tunnel: InterfaceId, id: SaId) {
        for slot in self.by_tunnel.get(&tunnel).cloned().unwrap_or_default() {
            if self.get(slot).is_some_and(|sa| sa.sa.replaces == Some(id)) {
                self.start_sending(slot);
            }
        }
    }

    /// The SA for a packet that leaves through the tunnel: the newest that fits and seals now, else the newest that fits
    /// and has been waiting for its turn, which then has come: nothing else is left to send on.
    pub(crate) fn select(
        &mut self,
        tunnel: InterfaceId,
        protocol: u8,
        source: (IpAddr, Option<u16>),
        destination: (IpAddr, Option<u16>),
    ) -> Option<u32> {
        let mut later = None;
        for slot in self.by_tunnel.get(&tunnel)?.iter().rev() {
            let Some(sa) = self.get(*slot) else { continue };
            let fits = sa.sa.local.iter().any(|selector| selector.matches(source.0, protocol, source.1))
                && sa.sa.remote.iter().any(|selector| selector.matches(destination.0, protocol, destination.1));
            match sa.sending {
                Sending::Now if fits => return Some(*slot),
                Sending::Later if fits => later = later.or(Some(*slot)),
                Sending::Now | Sending::Later | Sending::Never => {}
            }
        }
        let slot = later?;
        self.start_sending(slot);
        Some(slot)
    }
}
