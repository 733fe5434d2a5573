//! One pair of ESP SAs: keys, sequence numbers, limits, and what has passed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};

use base::{Instant, Secret, Selector};
use crypto::{Encryption, Integrity, KeyError, Opener, Prf, Sealer};
use wire::esp;

use super::replay::Window;
use crate::{InterfaceId, Mode, Outer, SaId, SaParameters, SaUsage};

/// When this many sequence numbers are left, the SA asks to be rekeyed: 26 seconds at ten million packets a second.
const SEQUENCE_RESERVE: u64 = 1 << 28;

/// No shard.
const NOBODY: u16 = u16::MAX;

/// A pair of SAs: what all shards share of it. Keys and selectors never change; numbers and counters are atomic, so that
/// nobody waits for anybody.
#[derive(Debug)]
pub struct Sa {
    pub(crate) id: SaId,
    pub(crate) tunnel: InterfaceId,
    pub(crate) spi_in: u32,
    pub(crate) spi_out: u32,
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    pub(super) esn: bool,
    pub(crate) mode: Mode,
    pub(super) vectors: Option<Secret>,
    pub(crate) local: Vec<Selector>,
    pub(crate) remote: Vec<Selector>,
    pub(crate) replaces: Option<SaId>,
    /// Where it leads when it is installed.
    pub(crate) outer: Outer,
    /// Sealed with at once when it is installed.
    pub(crate) outbound_now: bool,
    soft_bytes: Option<u64>,
    hard_bytes: Option<u64>,
    /// The last sequence number used.
    sent: AtomicU64,
    pub(super) window: Window,
    soft_raised: AtomicBool,
    hard_raised: AtomicBool,
    passed: Passed,
    /// The shard that seals with it, [`NOBODY`] before the first packet: one alone, so that packets leave in the order of
    /// their numbers.
    home: AtomicU16,
    /// The peer has used it.
    heard: AtomicBool,
}

/// What has passed. Each direction is counted by one shard at a time, so a load and a store are enough.
#[derive(Debug, Default)]
struct Passed {
    packets_in: AtomicU64,
    bytes_in: AtomicU64,
    packets_out: AtomicU64,
    bytes_out: AtomicU64,
    /// Microseconds, 0 for never.
    last_in: AtomicU64,
    last_out: AtomicU64,
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
    /// A pair of SAs, ready to be installed.
    ///
    /// # Errors
    /// When keys do not fit their algorithms, or an SPI is reserved.
    pub fn new(parameters: &SaParameters<'_>) -> Result<Arc<Self>, SaError> {
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
        Ok(Arc::new(Self {
            id: parameters.id,
            tunnel: parameters.tunnel,
            spi_in: parameters.spi_in,
            spi_out: parameters.spi_out,
            sealer,
            opener,
            esn: parameters.esn,
            mode: parameters.mode,
            vectors: vectors(encryption, integrity, parameters.integrity_key_out),
            local: parameters.local.to_vec(),
            remote: parameters.remote.to_vec(),
            replaces: parameters.replaces,
            outer: parameters.outer,
            outbound_now: parameters.outbound_now,
            soft_bytes: parameters.soft_bytes,
            hard_bytes: parameters.hard_bytes,
            sent: AtomicU64::new(0),
            window: Window::new(parameters.replay_window),
            soft_raised: AtomicBool::new(false),
            hard_raised: AtomicBool::new(false),
            passed: Passed::default(),
            home: AtomicU16::new(NOBODY),
            heard: AtomicBool::new(false),
        }))
    }

    /// Its number.
    pub fn id(&self) -> SaId {
        self.id
    }

    /// The SPI of packets to us.
    pub fn spi_in(&self) -> u32 {
        self.spi_in
    }

    /// What has passed so far.
    pub fn usage(&self) -> SaUsage {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let time = |at: &AtomicU64| Some(read(at)).filter(|at| *at > 0).map(Instant::from_micros);
        SaUsage {
            packets_in: read(&self.passed.packets_in),
            bytes_in: read(&self.passed.bytes_in),
            packets_out: read(&self.passed.packets_out),
            bytes_out: read(&self.passed.bytes_out),
            last_in: time(&self.passed.last_in),
            last_out: time(&self.passed.last_out),
        }
    }

    /// The shard that seals with it: `me`, when nobody does yet.
    pub(crate) fn home(&self, me: u16) -> u16 {
        match self.home.load(Relaxed) {
            NOBODY => self.home.compare_exchange(NOBODY, me, Relaxed, Relaxed).map_or_else(|other| other, |_| me),
            home => home,
        }
    }

    /// Something of the parts that a packet needs: reading it brings these near.
    #[inline]
    pub(crate) fn lies_near(&self) -> u64 {
        let keys = u64::from(self.sealer.icv_len() != self.opener.icv_len());
        let selectors = u64::from(self.local.first().is_some_and(|selector| selector.protocol > 0))
            ^ u64::from(self.remote.first().is_some_and(|selector| selector.protocol > 0));
        let passed = self.passed.packets_in.load(Relaxed) ^ self.passed.last_out.load(Relaxed);
        let numbers = self.sent.load(Relaxed) ^ self.window.lies_near() ^ u64::from(self.spi_out);
        keys ^ selectors ^ passed ^ numbers ^ u64::from(self.hard_raised.load(Relaxed))
    }

    /// Takes `count` sequence numbers, of which no other caller gets one, and returns the first; `None` when so many are
    /// not left (RFC 4303 section 3.3.3: numbers never repeat under one key).
    pub(super) fn take_numbers(&self, count: u64) -> Option<u64> {
        let take = |sent: u64| sent.checked_add(count).filter(|sent| *sent <= self.sequence_max());
        self.sent.fetch_update(Relaxed, Relaxed, take).ok().map(|before| before + 1)
    }

    /// Packets with `bytes` inside were sealed.
    pub(super) fn count_out(&self, now: Instant, packets: u64, bytes: u64) {
        add(&self.passed.packets_out, packets);
        add(&self.passed.bytes_out, bytes);
        self.passed.last_out.store(now.as_micros().max(1), Relaxed);
    }

    /// An authentic packet has come.
    pub(super) fn count_in(&self, now: Instant) {
        if !self.heard.load(Relaxed) {
            self.heard.store(true, Relaxed);
        }
        add(&self.passed.packets_in, 1);
        self.passed.last_in.store(now.as_micros().max(1), Relaxed);
    }

    /// Of it `bytes` are an inner packet that may go on.
    pub(super) fn count_bytes_in(&self, bytes: u64) {
        add(&self.passed.bytes_in, bytes);
    }

    /// True when a packet whose number ends in `sequence` is among the last `most` that were sealed.
    pub(super) fn has_sent_lately(&self, sequence: u32, most: u64) -> bool {
        let sent = self.sent.load(Relaxed);
        let [.., a, b, c, d] = sent.to_be_bytes();
        let ago = u64::from(u32::from_be_bytes([a, b, c, d]).wrapping_sub(sequence));
        ago < most && ago < sent
    }

    /// Sequence numbers end here.
    pub(super) fn sequence_max(&self) -> u64 {
        if self.esn { u64::MAX } else { u64::from(u32::MAX) }
    }

    /// True once the peer has used it, whichever shard has heard of that.
    pub(crate) fn heard(&self) -> bool {
        self.heard.load(Relaxed)
    }

    /// True when nothing more may pass in either direction.
    pub(crate) fn used_up(&self) -> bool {
        self.hard_raised.load(Relaxed)
    }

    /// The limit that has been reached by now, told once.
    pub(crate) fn limit_reached(&self) -> Option<Limit> {
        let bytes = self.passed.bytes_in.load(Relaxed).max(self.passed.bytes_out.load(Relaxed));
        let beyond = |limit: Option<u64>| limit.is_some_and(|limit| bytes >= limit);
        let left = self.sequence_max() - self.sent.load(Relaxed);
        if beyond(self.hard_bytes) || left == 0 {
            return (!self.hard_raised.swap(true, Relaxed)).then_some(Limit::Hard);
        }
        if (beyond(self.soft_bytes) || left < SEQUENCE_RESERVE) && !self.soft_raised.load(Relaxed) {
            return (!self.soft_raised.swap(true, Relaxed) && !self.used_up()).then_some(Limit::Soft);
        }
        None
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(more), Relaxed);
}

/// CBC vectors must not be foretold (RFC 3602 section 2). The seed is a function of the integrity key, which only the two
/// peers know, under a label that is no ESP packet.
fn vectors(encryption: Encryption, integrity: Option<Integrity>, key: &[u8]) -> Option<Secret> {
    if encryption.is_aead() || encryption.iv_len() == 0 {
        return None;
    }
    let _ = integrity?;
    Some(Prf::HmacSha2_256.compute(key, &[b"vectors of outbound packets"]))
}

/// What tests do with an SA from inside: sequence numbers far along, texts that nobody would seal.
#[cfg(test)]
impl Sa {
    pub(crate) fn pretend_sent(&self, sent: u64) {
        self.sent.store(sent, Relaxed);
    }

    pub(crate) fn pretend_received(&self, received: u64) {
        assert!(self.window.mark(received));
    }

    /// Opens a packet; returns its next header.
    pub(crate) fn open_whole(&self, packet: &mut base::Buffer) -> Result<u8, crate::Reason> {
        self.open(packet).map(|opened| opened.next_header)
    }

    /// Seals a packet under a given number and vector.
    pub(crate) fn seal_again(&self, sequence: u64, iv: &[u8], packet: &mut base::Buffer) {
        self.seal_with(sequence, iv, packet).unwrap();
    }

    /// Seals any text, which has its trailer, under the next number.
    pub(crate) fn seal_text(&self, text: &[u8]) -> Vec<u8> {
        let sent = self.take_numbers(1).unwrap();
        let header = esp::Header { spi: self.spi_out, sequence: u32::try_from(sent).unwrap() }.bytes();
        let iv = sent.to_be_bytes();
        let (mut text, mut icv) = (text.to_vec(), vec![0; self.sealer.icv_len()]);
        self.sealer.seal(&iv, &header, &[], &mut text, &mut icv).unwrap();
        [&header[..], &iv, &text, &icv].concat()
    }
}
