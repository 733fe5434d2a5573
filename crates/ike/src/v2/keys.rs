//! The key schedule: RFC 7296 sections 2.14 to 2.18.

use base::Secret;
use crypto::{Encryption, Integrity, Prf, prf_plus};

use crate::proposal::Suite;

/// What both sides put into the keys of an IKE SA, beside the shared secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct Freshness<'a> {
    pub(super) nonce_i: &'a [u8],
    pub(super) nonce_r: &'a [u8],
    pub(super) spi_i: u64,
    pub(super) spi_r: u64,
}

/// The keys of an IKE SA. Those that protect messages are handed to `protect.rs` and not kept here.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// The PRF agreed on.
    pub(super) prf: Prf,
    /// SK_d: from it come child SAs and the next IKE SA.
    pub(super) d: Secret,
    /// SK_pi: the initiator's proof of identity.
    pub(super) pi: Secret,
    /// SK_pr: the responder's.
    pub(super) pr: Secret,
}

/// The keys that protect messages: cipher key with salt behind it, integrity key.
#[derive(Clone, Debug)]
pub(super) struct MessageKeys {
    pub(super) encryption_i: Secret,
    pub(super) integrity_i: Secret,
    pub(super) encryption_r: Secret,
    pub(super) integrity_r: Secret,
}

/// The seed of a first IKE SA.
pub(super) fn seed(prf: Prf, shared: &Secret, fresh: &Freshness<'_>) -> Secret {
    // RFC 7296 section 2.14: the key is both nonces. The exception for PRFs with keys of a fixed length concerns none
    // of ours.
    let key = Secret::new([fresh.nonce_i, fresh.nonce_r].concat());
    prf.compute(key.expose(), &[shared.expose()])
}

/// The seed of an IKE SA that replaces another, made with the PRF and SK_d of the old one (RFC 7296 section 2.18).
pub(super) fn rekey_seed(old: &Keys, shared: &Secret, fresh: &Freshness<'_>) -> Secret {
    old.prf.compute(old.d.expose(), &[shared.expose(), fresh.nonce_i, fresh.nonce_r])
}

/// Cuts the keys out of prf+(SKEYSEED, Ni | Nr | SPIi | SPIr). `None` when the stream is too short, which no suite of
/// ours can make it.
pub(super) fn expand(suite: &Suite, seed: &Secret, fresh: &Freshness<'_>) -> Option<(Keys, MessageKeys)> {
    let prf = suite.prf?;
    let (cipher_len, integrity_len) = (cipher_len(suite.encryption), suite.integrity.map_or(0, Integrity::key_len));
    let len = 3 * prf.key_len() + 2 * cipher_len + 2 * integrity_len;
    let parts = [fresh.nonce_i, fresh.nonce_r, &fresh.spi_i.to_be_bytes(), &fresh.spi_r.to_be_bytes()];
    let stream = prf_plus(prf, seed.expose(), &parts, len).ok()?;
    let mut rest = stream.expose();
    let d = cut(&mut rest, prf.key_len())?;
    let (integrity_i, integrity_r) = (cut(&mut rest, integrity_len)?, cut(&mut rest, integrity_len)?);
    let (encryption_i, encryption_r) = (cut(&mut rest, cipher_len)?, cut(&mut rest, cipher_len)?);
    let (pi, pr) = (cut(&mut rest, prf.key_len())?, cut(&mut rest, prf.key_len())?);
    Some((Keys { prf, d, pi, pr }, MessageKeys { encryption_i, integrity_i, encryption_r, integrity_r }))
}

/// Keys of a child SA: from initiator to responder, then back (RFC 7296 section 2.17). `None` as above.
pub(super) fn child(
    keys: &Keys,
    suite: &Suite,
    shared: Option<&Secret>,
    nonce_i: &[u8],
    nonce_r: &[u8],
) -> Option<MessageKeys> {
    let (cipher_len, integrity_len) = (cipher_len(suite.encryption), suite.integrity.map_or(0, Integrity::key_len));
    let shared = shared.map(Secret::expose).unwrap_or_default();
    let stream =
        prf_plus(keys.prf, keys.d.expose(), &[shared, nonce_i, nonce_r], 2 * (cipher_len + integrity_len)).ok()?;
    let mut rest = stream.expose();
    let (encryption_i, integrity_i) = (cut(&mut rest, cipher_len)?, cut(&mut rest, integrity_len)?);
    let (encryption_r, integrity_r) = (cut(&mut rest, cipher_len)?, cut(&mut rest, integrity_len)?);
    Some(MessageKeys { encryption_i, integrity_i, encryption_r, integrity_r })
}

/// The AUTH payload of a pre-shared key (RFC 7296 section 2.15): over the sender's first message, the other's nonce and
/// the sender's identity.
pub(super) fn psk_auth(
    prf: Prf,
    psk: &Secret,
    identity_key: &Secret,
    first_message: &[u8],
    other_nonce: &[u8],
    identity: &[u8],
) -> Secret {
    let key = prf.compute(psk.expose(), &[b"Key Pad for IKEv2"]);
    let identity = prf.compute(identity_key.expose(), &[identity]);
    prf.compute(key.expose(), &[first_message, other_nonce, identity.expose()])
}

fn cipher_len(encryption: Encryption) -> usize {
    encryption.key_len() + encryption.salt_len()
}

fn cut(rest: &mut &[u8], len: usize) -> Option<Secret> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(Secret::copy(head))
}

#[cfg(test)]
mod tests {
    use crypto::Group;

    use super::*;

    #[test]
    fn an_aead_suite_takes_salts_and_no_integrity_keys() {
        let suite = Suite {
            encryption: Encryption::AesGcm16(256),
            integrity: None,
            prf: Some(Prf::HmacSha2_256),
            group: Some(Group::Ecp256),
            esn: false,
        };
        let fresh = Freshness { nonce_i: &[1; 32], nonce_r: &[2; 32], spi_i: 3, spi_r: 4 };
        let seed = seed(Prf::HmacSha2_256, &Secret::copy(&[7; 32]), &fresh);
        let (keys, messages) = expand(&suite, &seed, &fresh).unwrap();
        assert_eq!((keys.d.len(), keys.pi.len(), keys.pr.len()), (32, 32, 32));
        assert_eq!((messages.encryption_i.len(), messages.integrity_i.len()), (36, 0));
        assert!(!messages.encryption_i.same(messages.encryption_r.expose()));
        let mut swapped = fresh;
        swapped.spi_r = 5;
        assert!(!expand(&suite, &seed, &swapped).unwrap().0.d.same(keys.d.expose()));
    }

    #[test]
    fn forward_secrecy_changes_the_keys_of_a_child() {
        let keys = Keys { prf: Prf::HmacSha1, d: Secret::copy(&[1; 20]), pi: Secret::default(), pr: Secret::default() };
        let suite = Suite {
            encryption: Encryption::AesCbc(128),
            integrity: Some(Integrity::HmacSha1_96),
            prf: None,
            group: None,
            esn: false,
        };
        let without = child(&keys, &suite, None, &[1; 16], &[2; 16]).unwrap();
        let with = child(&keys, &suite, Some(&Secret::copy(&[9; 32])), &[1; 16], &[2; 16]).unwrap();
        assert_eq!((without.encryption_i.len(), without.integrity_r.len()), (16, 20));
        assert!(!without.encryption_i.same(with.encryption_i.expose()));
    }
}
