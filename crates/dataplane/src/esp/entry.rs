//! A pair of SAs as one shard uses it: where it leads now, and whether it is its turn.

use std::net::IpAddr;
use std::sync::Arc;

use base::{Buffer, Instant, Random};
use wire::{esp, ipv4, ipv6, octets};

use super::path_mtu::OUTER_MTU;
use super::receive::ONCE_PER;
use super::sa::{Limit, Sa};
use super::seal::NotSealed;
use super::unit::Unit;
use crate::{Exception, Mode, Outer, TunnelPath};

/// The least plaintext MTU that a tunnel has, whatever is configured: what IPv4 demands of every link (RFC 791).
const PLAINTEXT_MTU_MIN: usize = 68;
/// The longest vector of any cipher.
pub(super) const IV_MAX: usize = 16;

/// Whether packets are sealed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Yes.
    Now,
    /// Once the peer has used it, or no other is left.
    Later,
    /// Not any more.
    Never,
}

/// A pair of SAs in a shard.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) sa: Arc<Sa>,
    /// Of the SA, here to be found without going there.
    pub(crate) spi_in: u32,
    pub(crate) outer: Outer,
    pub(crate) sending: Sending,
    /// The one unit that it is for, if it is for one.
    pub(crate) unit: Option<Unit>,
    /// The later it came, the greater.
    pub(super) order: u64,
    /// Changes whenever another SA may have become the better choice for somebody who has chosen this one.
    pub(crate) selection: u64,
    pub(crate) moved_raised: Option<Instant>,
    /// Of its tunnel: DiffServ byte of outer packets.
    pub(crate) outer_ds: Option<u8>,
    plaintext_mtu: usize,
    /// What the path takes.
    pub(crate) path_mtu: usize,
    /// Chance for the vectors of CBC ciphers: a generator under a key derived from the SA's own.
    vectors: Option<Box<Random>>,
}

impl Entry {
    pub(crate) fn new(sa: Arc<Sa>) -> Self {
        let seed = sa.vectors.as_ref().and_then(|seed| seed.expose().first_chunk::<32>());
        Self {
            spi_in: sa.spi_in,
            outer: sa.outer,
            sending: if sa.outbound_now { Sending::Now } else { Sending::Later },
            unit: Unit::of_selectors(&sa.local, &sa.remote),
            order: 0,
            selection: 0,
            moved_raised: None,
            outer_ds: None,
            plaintext_mtu: usize::from(u16::MAX),
            path_mtu: OUTER_MTU,
            vectors: seed.map(|seed| Box::new(Random::from_seed(*seed))),
            sa,
        }
    }

    /// Takes over what the tunnel says.
    pub(crate) fn obey(&mut self, path: &TunnelPath) {
        self.outer_ds = path.outer_ds;
        self.plaintext_mtu = usize::from(path.plaintext_mtu);
    }

    /// True when it protects such packets from us to the peer.
    pub(super) fn fits(&self, protocol: u8, source: (IpAddr, Option<u16>), destination: (IpAddr, Option<u16>)) -> bool {
        // In transport mode the outer header takes the place of the packet's own, and must say the same.
        let same_ends = self.outer.local.ip() == source.0 && self.outer.remote.ip() == destination.0;
        (self.sa.mode == Mode::Tunnel || same_ends)
            && self.sa.local.iter().any(|selector| selector.matches(source.0, protocol, source.1))
            && self.sa.remote.iter().any(|selector| selector.matches(destination.0, protocol, destination.1))
    }

    /// The longest inner packet that it takes in one piece.
    #[inline]
    pub(crate) fn room(&self, v4: bool) -> usize {
        let around = self.around() + esp::HEADER + self.sa.sealer.encryption().iv_len() + self.sa.sealer.icv_len();
        // A power of two, for every cipher.
        let unit = self.sa.sealer.encryption().block_len().max(esp::ALIGNMENT);
        let text = self.path_mtu.saturating_sub(around) & !(unit - 1);
        let inside = text.saturating_sub(esp::TRAILER) + self.undressed(v4);
        // No IPv6 link may have less than 1280 (RFC 8200 section 5): a smaller tunnel has its outer packets fragmented.
        let least = if v4 { PLAINTEXT_MTU_MIN } else { ipv6::MTU_MIN };
        self.plaintext_mtu.min(inside).max(least)
    }

    /// Something of every part of it that a packet needs: reading it brings these near.
    #[inline]
    pub(crate) fn lies_near(&self) -> u64 {
        let path = u64::from(self.outer.udp) ^ u64::from(self.outer.local.port()) ^ u64::from(self.outer.remote.port());
        path ^ self.selection ^ self.order ^ u64::from(self.path_mtu > self.plaintext_mtu)
    }

    /// True when it takes such a packet in one piece, with its IP header.
    #[inline]
    pub(crate) fn takes_whole(&self, len: usize, v4: bool) -> bool {
        self.sa.mode == Mode::Tunnel && len <= self.room(v4)
    }

    /// What stands in front of the ESP packet.
    #[inline]
    fn around(&self) -> usize {
        let ip = if self.outer.remote.is_ipv4() { ipv4::HEADER } else { ipv6::HEADER };
        ip + if self.outer.udp { wire::udp::HEADER } else { 0 }
    }

    /// What is taken off a packet before it is sealed.
    #[inline]
    fn undressed(&self, v4: bool) -> usize {
        match self.sa.mode {
            Mode::Tunnel => 0,
            Mode::Transport if v4 => ipv4::HEADER,
            Mode::Transport => ipv6::HEADER,
        }
    }

    /// Whether a sealed packet may forbid that it is cut: whoever fits the path does, so that the path tells when it takes
    /// less (RFC 4301 section 8.1). What the floors of [`Self::room`] have made longer must get through in pieces.
    pub(super) fn whole(&self, sealed: usize) -> bool {
        self.around() + sealed <= self.path_mtu
    }

    /// An authentic packet has come. Only one that is newer than all before may say where the peer is (RFC 7296 section
    /// 2.23).
    pub(super) fn arrived(&mut self, now: Instant, outer: &Outer, newest: bool) -> Option<Exception> {
        self.sa.count_in(now);
        let moved = newest
            && outer.udp
            && self.outer.udp
            && outer.remote != self.outer.remote
            && self.moved_raised.is_none_or(|at| now.since(at) >= ONCE_PER);
        if !moved {
            return None;
        }
        self.moved_raised = Some(now);
        Some(Exception::Moved { sa: self.sa.id, remote: outer.remote })
    }

    /// Makes an ESP packet of the inner packet. Its sequence number and vector are used up even when it fails.
    pub(super) fn seal(&mut self, now: Instant, packet: &mut Buffer) -> Result<(), NotSealed> {
        let len = packet.len();
        let sequence = self.sa.take_numbers(1).ok_or(NotSealed::SequenceEnd)?;
        let (iv, iv_len) = self.vector(sequence);
        self.sa.seal_with(sequence, iv.get(..iv_len).ok_or(NotSealed::Refused)?, packet)?;
        self.sa.count_out(now, 1, u64::try_from(len).unwrap_or(0));
        Ok(())
    }

    /// The vector for a packet, and its length.
    #[inline]
    pub(super) fn vector(&mut self, sequence: u64) -> ([u8; IV_MAX], usize) {
        let mut iv = [0; IV_MAX];
        let len = self.sa.sealer.encryption().iv_len();
        match &mut self.vectors {
            Some(random) => random.fill(iv.get_mut(..len).unwrap_or_default()),
            // RFC 4106 section 3.1: the vector of GCM must be unique, and the sequence number is.
            None => octets::put(&mut iv, 0, sequence.to_be_bytes()),
        }
        (iv, len)
    }

    /// RFC 6040 section 4.1, normal mode: the outer packet says of ECN what the inner one says.
    #[inline]
    pub(super) fn outer_ds(&self, inner: u8) -> u8 {
        self.outer_ds.map_or(inner, |outer| outer & !3 | inner & 3)
    }

    /// The limit that the last packet reached, told once.
    pub(crate) fn limit_reached(&mut self) -> Option<Limit> {
        if self.sa.used_up() {
            self.sending = Sending::Never;
        }
        let limit = self.sa.limit_reached()?;
        if limit == Limit::Hard {
            self.sending = Sending::Never;
        }
        Some(limit)
    }
}
