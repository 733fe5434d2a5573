//! The Encrypted payload, whole or in fragments: RFC 7296 section 3.14, RFC 5282, RFC 7383 section 2.5.

use base::{Random, Secret};
use crypto::{Encryption, Opener, Sealer};
use wire::ike::{Envelope, Header, Payload, PayloadType, Protection as Piece, write_payloads};

use super::keys::MessageKeys;
use crate::proposal::Suite;

/// The least text a fragment carries, however small the limit.
const FRAGMENT_TEXT_MIN: usize = 128;

/// Both directions of an IKE SA's protection.
#[derive(Debug)]
pub(super) struct Protection {
    sealer: Sealer,
    opener: Opener,
    /// Messages sealed so far. RFC 5282 section 3.1: an AEAD's vector must never come twice.
    sealed: u64,
}

impl Protection {
    /// `None` when keys and suite do not go together, which the key schedule rules out.
    pub(super) fn new(suite: &Suite, keys: &MessageKeys, initiator: bool) -> Option<Self> {
        let of_i = (keys.encryption_i.expose(), keys.integrity_i.expose());
        let of_r = (keys.encryption_r.expose(), keys.integrity_r.expose());
        let (ours, theirs) = if initiator { (of_i, of_r) } else { (of_r, of_i) };
        Some(Self {
            sealer: Sealer::new(suite.encryption, suite.integrity, ours.0, ours.1).ok()?,
            opener: Opener::new(suite.encryption, suite.integrity, theirs.0, theirs.1).ok()?,
            sealed: 0,
        })
    }

    /// The datagrams of a message: one, or fragments when it would be longer than `fragment_size` and the peer knows
    /// them. Empty when a payload cannot be written, which our own never are.
    pub(super) fn seal(
        &mut self,
        header: &Header,
        payloads: &[Payload],
        fragment_size: Option<usize>,
        random: &mut Random,
    ) -> Vec<Vec<u8>> {
        let Ok((first, chain)) = write_payloads(payloads) else { return Vec::new() };
        self.seal_text(header, first, Secret::new(chain).expose(), fragment_size, random)
    }

    /// As [`Self::seal`], of a chain that is written already.
    pub(super) fn seal_text(
        &mut self,
        header: &Header,
        first: PayloadType,
        text: &[u8],
        fragment_size: Option<usize>,
        random: &mut Random,
    ) -> Vec<Vec<u8>> {
        let Some(limit) = fragment_size.filter(|limit| self.length(text.len(), Piece::Whole) > *limit) else {
            return self.seal_piece(header, Piece::Whole, first, text, random).into_iter().collect();
        };
        let room = self.room(limit);
        let Ok(total) = u16::try_from(text.len().div_ceil(room).max(1)) else { return Vec::new() };
        let mut pieces = Vec::new();
        for (number, part) in (1..=total).zip(text.chunks(room)) {
            // RFC 7383 section 2.5: only the first fragment says what the text begins with.
            let first = if number == 1 { first } else { PayloadType::NONE };
            pieces.extend(self.seal_piece(header, Piece::Fragment { number, total }, first, part, random));
        }
        if pieces.len() == usize::from(total) { pieces } else { Vec::new() }
    }

    /// Checks and decrypts one piece. `None`: it was not made with our keys, or is not what they make.
    pub(super) fn open(&self, envelope: &Envelope<'_>) -> Option<Secret> {
        let iv_len = self.opener.encryption().iv_len();
        let (iv, rest) = envelope.body().split_at_checked(iv_len)?;
        let text_len = rest.len().checked_sub(self.opener.icv_len())?;
        let (text, icv) = rest.split_at_checked(text_len)?;
        let mut text = text.to_vec();
        self.opener.open(iv, envelope.aad(), &[], &mut text, icv).ok()?;
        let padding = usize::from(*text.last()?);
        let len = text.len().checked_sub(1)?.checked_sub(padding)?;
        text.truncate(len);
        Some(Secret::new(text))
    }

    fn seal_piece(
        &mut self,
        header: &Header,
        piece: Piece,
        first: PayloadType,
        text: &[u8],
        random: &mut Random,
    ) -> Option<Vec<u8>> {
        let encryption = self.sealer.encryption();
        let padding = padding(encryption, text.len());
        let mut iv = vec![0; encryption.iv_len()];
        if encryption.is_aead() {
            iv.iter_mut().zip(self.sealed.to_be_bytes()).for_each(|(to, from)| *to = from);
            self.sealed = self.sealed.checked_add(1)?;
        } else {
            random.fill(&mut iv);
        }
        let mut body = text.to_vec();
        body.resize(text.len() + padding, 0);
        body.push(u8::try_from(padding).ok()?);
        let mut icv = vec![0; self.sealer.icv_len()];
        let mut out = Envelope::prefix(header, piece, first, iv.len() + body.len() + icv.len()).ok()?;
        self.sealer.seal(&iv, &out, &[], &mut body, &mut icv).ok()?;
        out.extend_from_slice(&iv);
        out.extend_from_slice(&body);
        out.extend_from_slice(&icv);
        Some(out)
    }

    /// Length of the datagram for `text` bytes.
    fn length(&self, text: usize, piece: Piece) -> usize {
        let encryption = self.sealer.encryption();
        let padded = text + padding(encryption, text) + 1;
        Envelope::prefix_len(piece) + encryption.iv_len() + padded + self.sealer.icv_len()
    }

    /// Bytes of text that fit into one fragment.
    fn room(&self, limit: usize) -> usize {
        let encryption = self.sealer.encryption();
        let around =
            Envelope::prefix_len(Piece::Fragment { number: 1, total: 1 }) + encryption.iv_len() + self.sealer.icv_len();
        let blocks = limit.saturating_sub(around) / encryption.block_len() * encryption.block_len();
        blocks.saturating_sub(1).max(FRAGMENT_TEXT_MIN)
    }
}

/// Bytes before the length of the padding that make whole blocks.
fn padding(encryption: Encryption, text: usize) -> usize {
    let block = encryption.block_len();
    (block - (text + 1) % block) % block
}

#[cfg(test)]
mod tests {
    use crypto::{Group, Integrity, Prf};
    use wire::ike::{Datagram, ExchangeType, Flags, parse_payloads};

    use super::*;

    fn pair(encryption: Encryption, integrity: Option<Integrity>) -> (Protection, Protection) {
        let prf = Some(Prf::HmacSha2_256);
        let suite = Suite { encryption, integrity, prf, group: Some(Group::Ecp256), esn: false };
        let fresh = super::super::keys::Freshness { nonce_i: &[1; 32], nonce_r: &[2; 32], spi_i: 1, spi_r: 2 };
        let (_, keys) = super::super::keys::expand(&suite, &Secret::copy(&[5; 32]), &fresh).unwrap();
        (Protection::new(&suite, &keys, true).unwrap(), Protection::new(&suite, &keys, false).unwrap())
    }

    const SUITES: [(Encryption, Option<Integrity>); 4] = [
        (Encryption::AesGcm16(256), None),
        (Encryption::AesCbc(128), Some(Integrity::HmacSha1_96)),
        (Encryption::AesCbc(256), Some(Integrity::HmacSha2_512_256)),
        (Encryption::TripleDes, Some(Integrity::HmacSha2_256_128)),
    ];

    #[test]
    fn what_one_side_seals_the_other_opens_whole_and_in_fragments() {
        for (encryption, integrity) in SUITES {
            for len in [0, 1, 15, 16, 17, 700, 4_000] {
                let (mut ours, theirs) = pair(encryption, integrity);
                let header = Header::new(1, 2, ExchangeType::INFORMATIONAL, Flags::default(), 3);
                let payloads = vec![Payload::Vendor(vec![7; len])];
                let pieces = ours.seal(&header, &payloads, Some(512), &mut Random::numbered(1));
                let mut text = Vec::new();
                let mut first = PayloadType::NONE;
                for piece in &pieces {
                    assert!(piece.len() <= 512, "{}", piece.len());
                    let Datagram::Protected(envelope) = Datagram::parse(piece).unwrap() else { panic!() };
                    if text.is_empty() {
                        first = envelope.first;
                    }
                    text.extend_from_slice(theirs.open(&envelope).unwrap().expose());
                }
                assert_eq!(parse_payloads(first, &text).unwrap(), payloads);
            }
        }
    }

    #[test]
    fn not_one_bit_may_change() {
        for (encryption, integrity) in SUITES {
            let (mut ours, theirs) = pair(encryption, integrity);
            let header = Header::new(1, 2, ExchangeType::INFORMATIONAL, Flags::default(), 3);
            let whole = ours.seal(&header, &[], None, &mut Random::numbered(1)).remove(0);
            for at in 0..whole.len() {
                let mut bad = whole.clone();
                bad[at] ^= 0x40;
                if let Ok(Datagram::Protected(envelope)) = Datagram::parse(&bad) {
                    assert!(theirs.open(&envelope).is_none(), "byte {at}");
                }
            }
        }
    }
}
