//! One pair of ESP SAs: keys, sequence numbers, limits, and what has passed.

use std::fmt;

use base::{Instant, Random, Selector};
use crypto::{Encryption, Integrity, KeyError, Opener, Prf, Sealer};
use wire::{esp, ipv4, ipv6};

use super::replay::Window;
use crate::{InterfaceId, Outer, SaId, SaParameters, SaUsage, TunnelPath};

/// Outer packets are made to fit this, the MTU of Ethernet.
pub const OUTER_MTU: usize = 1500;
/// The least plaintext MTU that a tunnel has, whatever is configured: what IPv4 demands of every link (RFC 791).
const PLAINTEXT_MTU_MIN: usize = 68;
/// When this many sequence numbers are left, the SA asks to be rekeyed: 26 seconds at ten million packets a second.
const SEQUENCE_RESERVE: u64 = 1 << 28;

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

/// A pair of SAs.
#[derive(Debug)]
pub(crate) struct Sa {
    pub(crate) id: SaId,
    pub(crate) tunnel: InterfaceId,
    pub(crate) spi_in: u32,
    pub(crate) spi_out: u32,
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    pub(super) esn: bool,
    /// Chance for the vectors of CBC ciphers: a generator under a key derived from the SA's own.
    pub(super) vectors: Option<Random>,
    /// The last sequence number used.
    pub(super) sent: u64,
    pub(super) window: Window,
    pub(crate) local: Vec<Selector>,
    pub(crate) remote: Vec<Selector>,
    pub(crate) outer: Outer,
    pub(crate) sending: Sending,
    pub(crate) replaces: Option<SaId>,
    /// Changes whenever another SA may have become the better choice for somebody who has chosen this one.
    pub(crate) selection: u64,
    soft_bytes: Option<u64>,
    hard_bytes: Option<u64>,
    soft_raised: bool,
    hard_raised: bool,
    pub(crate) usage: SaUsage,
    pub(crate) moved_raised: Option<Instant>,
    /// Of its tunnel: DiffServ byte of outer packets.
    pub(crate) outer_ds: Option<u8>,
    plaintext_mtu: usize,
}

/// A limit that was reached just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Soft,
    Hard,
}

/// Why a pair of SAs was not installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaError {
    /// A key does not fit its algorithm, or the algorithms do not go together.
    Key(KeyError),
    /// Another SA already receives under this SPI.
    DuplicateSpi(u32),
    /// This SPI is reserved (RFC 4303 section 2.1).
    ReservedSpi(u32),
    /// A pair with this number is already installed.
    DuplicateId(SaId),
}

impl fmt::Display for SaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => error.fmt(f),
            Self::DuplicateSpi(spi) => {
                write!(f, "SPI {spi:#010x} is already in use by another SA, expected one that is free")
            }
            Self::ReservedSpi(spi) => write!(f, "SPI {spi:#010x} is reserved, expected one above 0x000000ff"),
            Self::DuplicateId(id) => write!(f, "SA {} is already installed", id.0),
        }
    }
}

impl std::error::Error for SaError {}

impl Sa {
    pub(crate) fn new(parameters: &SaParameters<'_>) -> Result<Self, SaError> {
        let SaParameters { encryption, integrity, .. } = *parameters;
        let sealer = Sealer::new(encryption, integrity, parameters.encryption_key_out, parameters.integrity_key_out)
            .map_err(SaError::Key)?;
        let opener = Opener::new(encryption, integrity, parameters.encryption_key_in, parameters.integrity_key_in)
            .map_err(SaError::Key)?;
        for spi in [parameters.spi_in, parameters.spi_out] {
            if spi <= esp::SPI_RESERVED_MAX {
                return Err(SaError::ReservedSpi(spi));
            }
        }
        Ok(Self {
            id: parameters.id,
            tunnel: parameters.tunnel,
            spi_in: parameters.spi_in,
            spi_out: parameters.spi_out,
            sealer,
            opener,
            esn: parameters.esn,
            vectors: vectors(encryption, integrity, parameters.integrity_key_out),
            sent: 0,
            window: Window::new(parameters.replay_window),
            local: parameters.local.to_vec(),
            remote: parameters.remote.to_vec(),
            outer: parameters.outer,
            sending: if parameters.outbound_now { Sending::Now } else { Sending::Later },
            replaces: parameters.replaces,
            selection: 0,
            soft_bytes: parameters.soft_bytes,
            hard_bytes: parameters.hard_bytes,
            soft_raised: false,
            hard_raised: false,
            usage: SaUsage::default(),
            moved_raised: None,
            outer_ds: None,
            plaintext_mtu: usize::from(u16::MAX),
        })
    }

    /// Takes over what the tunnel says.
    pub(crate) fn obey(&mut self, path: &TunnelPath) {
        self.outer_ds = path.outer_ds;
        self.plaintext_mtu = usize::from(path.plaintext_mtu);
    }

    /// The longest inner packet that it takes in one piece.
    pub(crate) fn room(&self, v4: bool) -> usize {
        let ip = if self.outer.remote.is_ipv4() { ipv4::HEADER } else { ipv6::HEADER };
        let udp = if self.outer.udp { wire::udp::HEADER } else { 0 };
        let around = ip + udp + esp::HEADER + self.sealer.encryption().iv_len() + self.sealer.icv_len();
        let unit = self.sealer.encryption().block_len().max(esp::ALIGNMENT);
        let inside = (OUTER_MTU - around) / unit * unit - esp::TRAILER;
        // No IPv6 link may have less than 1280 (RFC 8200 section 5): a smaller tunnel has its outer packets fragmented.
        let least = if v4 { PLAINTEXT_MTU_MIN } else { ipv6::MTU_MIN };
        self.plaintext_mtu.min(inside).max(least)
    }

    /// Sequence numbers end here.
    pub(super) fn sequence_max(&self) -> u64 {
        if self.esn { u64::MAX } else { u64::from(u32::MAX) }
    }

    /// True when nothing more may pass in either direction.
    pub(crate) fn used_up(&self) -> bool {
        self.hard_raised
    }

    /// The limit that the last packet reached, told once.
    pub(crate) fn limit_reached(&mut self) -> Option<Limit> {
        let bytes = self.usage.bytes_in.max(self.usage.bytes_out);
        let beyond = |limit: Option<u64>| limit.is_some_and(|limit| bytes >= limit);
        if !self.hard_raised && (beyond(self.hard_bytes) || self.sent == self.sequence_max()) {
            self.hard_raised = true;
            self.sending = Sending::Never;
            return Some(Limit::Hard);
        }
        let near_end = self.sequence_max() - self.sent < SEQUENCE_RESERVE;
        if !self.soft_raised && !self.hard_raised && (beyond(self.soft_bytes) || near_end) {
            self.soft_raised = true;
            return Some(Limit::Soft);
        }
        None
    }
}

/// CBC vectors must not be foretold (RFC 3602 section 2). The seed is a function of the integrity key, which only the two
/// peers know, under a label that is no ESP packet.
fn vectors(encryption: Encryption, integrity: Option<Integrity>, key: &[u8]) -> Option<Random> {
    if encryption.is_aead() || encryption.iv_len() == 0 {
        return None;
    }
    let _ = integrity?;
    let seed = Prf::HmacSha2_256.compute(key, &[b"vectors of outbound packets"]);
    Some(Random::from_seed(*seed.expose().first_chunk::<32>()?))
}

/// What tests do with an SA from inside: sequence numbers far along, given vectors, texts that nobody would seal.
#[cfg(test)]
impl Sa {
    pub(crate) fn pretend_sent(&mut self, sent: u64) {
        self.sent = sent;
    }

    pub(crate) fn pretend_received(&mut self, received: u64) {
        self.window.mark(received);
    }

    /// Opens a packet; returns its next header.
    pub(crate) fn open_whole(&mut self, packet: &mut base::Buffer) -> Result<u8, crate::Reason> {
        self.open(packet).map(|opened| opened.next_header)
    }

    /// Seals a packet under a given number and vector.
    pub(crate) fn seal_again(&self, sequence: u64, iv: &[u8], packet: &mut base::Buffer) {
        self.seal_with(sequence, iv, packet).unwrap();
    }

    /// Seals any text, which has its trailer, under the next number.
    pub(crate) fn seal_text(&mut self, text: &[u8]) -> Vec<u8> {
        self.sent += 1;
        let header = esp::Header { spi: self.spi_out, sequence: u32::try_from(self.sent).unwrap() }.bytes();
        let iv = self.sent.to_be_bytes();
        let (mut text, mut icv) = (text.to_vec(), vec![0; self.sealer.icv_len()]);
        self.sealer.seal(&iv, &header, &[], &mut text, &mut icv).unwrap();
        [&header[..], &iv, &text, &icv].concat()
    }
}
