//! Sealing and opening what travels: ESP packets (RFC 4303) and the Encrypted payload of IKE messages (RFC 7296, 3.14).
//!
//! Both are an initialisation vector, a text and an integrity check value. An AEAD takes the check from the cipher (RFC
//! 4106, 5282); every other cipher is followed by an HMAC over what stands in front, the vector, the encrypted text and
//! a tail. Nothing is allocated per packet: keys are expanded once, and the keyed state of an HMAC is copied on the stack.

use std::fmt;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{self, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{Encryption, Integrity};

/// Protects what goes out under one key. Wiped on drop, never printed.
pub struct Sealer {
    encryption: Encryption,
    icv_len: usize,
    keys: Keys<EncryptingKey>,
}

/// Checks and reads what comes in under one key. Wiped on drop, never printed.
pub struct Opener {
    encryption: Encryption,
    icv_len: usize,
    keys: Keys<DecryptingKey>,
}

impl Sealer {
    /// A sealer for these algorithms. The encryption key has the salt behind it where the cipher takes one
    /// ([`Encryption::key_len`] and [`Encryption::salt_len`]); an AEAD has no integrity algorithm and an empty
    /// `integrity_key`, every other cipher needs one.
    ///
    /// # Errors
    /// When the algorithms do not go together or a key is not as long as its algorithm wants.
    pub fn new(
        encryption: Encryption,
        integrity: Option<Integrity>,
        encryption_key: &[u8],
        integrity_key: &[u8],
    ) -> Result<Self, KeyError> {
        let keys = Keys::new(encryption, integrity, encryption_key, integrity_key, EncryptingKey::cbc)?;
        Ok(Self { encryption, icv_len: icv_len(encryption, integrity), keys })
    }

    /// The cipher.
    pub fn encryption(&self) -> Encryption {
        self.encryption
    }

    /// Length of the integrity check value in bytes.
    pub fn icv_len(&self) -> usize {
        self.icv_len
    }

    /// Encrypts `text` in place and writes the integrity check value into `icv`.
    ///
    /// `iv` is the vector as it travels. It must be fresh for every packet under this key: never twice the same for GCM,
    /// not to be foretold for CBC. `aad` stands in front of it and is authenticated; so is `tail`, which stands behind
    /// the text without being sent (the upper half of an extended sequence number, RFC 4303, 2.2.1). An AEAD has no tail:
    /// there those bits are part of `aad` (RFC 4106, 5).
    ///
    /// # Errors
    /// When a length does not fit the algorithms: a fault of the caller. Nothing may be sent then.
    pub fn seal(&self, iv: &[u8], aad: &[u8], tail: &[u8], text: &mut [u8], icv: &mut [u8]) -> Result<(), SealError> {
        check(self.encryption, self.icv_len, iv, tail, text.len(), icv.len())?;
        match &self.keys {
            Keys::Gcm(gcm) => {
                let nonce = gcm.nonce(iv).ok_or(SealError::Cipher)?;
                return gcm
                    .key
                    .seal_in_place_scatter(nonce, Aad::from(aad), text, &[], icv)
                    .map_err(|_| SealError::Cipher);
            }
            Keys::Cbc(keys) => {
                let context = encryption_context(iv).ok_or(SealError::Cipher)?;
                keys.0.less_safe_encrypt(text, context).map_err(|_| SealError::Cipher)?;
            }
            Keys::Null(_) => {}
        }
        if let Some(mac) = self.keys.mac() {
            let tag = authenticate(mac, [aad, iv, text, tail]);
            let tag = tag.as_ref().get(..icv.len()).ok_or(SealError::Cipher)?;
            icv.copy_from_slice(tag);
        }
        Ok(())
    }
}

impl Opener {
    /// An opener for these algorithms; the keys are those of [`Sealer::new`].
    ///
    /// # Errors
    /// As for [`Sealer::new`].
    pub fn new(
        encryption: Encryption,
        integrity: Option<Integrity>,
        encryption_key: &[u8],
        integrity_key: &[u8],
    ) -> Result<Self, KeyError> {
        let keys = Keys::new(encryption, integrity, encryption_key, integrity_key, DecryptingKey::cbc)?;
        Ok(Self { encryption, icv_len: icv_len(encryption, integrity), keys })
    }

    /// The cipher.
    pub fn encryption(&self) -> Encryption {
        self.encryption
    }

    /// Length of the integrity check value in bytes.
    pub fn icv_len(&self) -> usize {
        self.icv_len
    }

    /// Checks `icv` and decrypts `text` in place; the arguments are those of [`Sealer::seal`]. The check is made in
    /// constant time, and before anything is decrypted where the two are separate steps.
    ///
    /// # Errors
    /// When a length does not fit the algorithms or the check fails. `text` is then what came in, or zeros (AEAD); it
    /// never holds unauthenticated plaintext, and is of no further use.
    pub fn open(&self, iv: &[u8], aad: &[u8], tail: &[u8], text: &mut [u8], icv: &[u8]) -> Result<(), OpenError> {
        check(self.encryption, self.icv_len, iv, tail, text.len(), icv.len())?;
        if let Some(mac) = self.keys.mac() {
            let tag = authenticate(mac, [aad, iv, text, tail]);
            let tag = tag.as_ref().get(..icv.len()).ok_or(OpenError::Forged)?;
            if !bool::from(tag.ct_eq(icv)) {
                return Err(OpenError::Forged);
            }
        }
        match &self.keys {
            Keys::Gcm(gcm) => {
                let nonce = gcm.nonce(iv).ok_or(OpenError::Forged)?;
                gcm.key.open_in_place_separate_tag(nonce, Aad::from(aad), icv, text).map_err(|_| OpenError::Forged)?;
            }
            Keys::Cbc(keys) => {
                let context = encryption_context(iv).ok_or(OpenError::Forged)?;
                keys.0.decrypt(text, DecryptionContext::from(context)).map_err(|_| OpenError::Forged)?;
            }
            Keys::Null(_) => {}
        }
        Ok(())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({})", self.encryption)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opener({})", self.encryption)
    }
}

/// Expanded keys; `Block` is the direction of a CBC cipher. The library keeps those of GCM behind a pointer already; the
/// others, which take some 1,700 bytes, stand behind one of ours, so that not every SA pays for them.
enum Keys<Block> {
    Gcm(Gcm),
    Cbc(Box<(Block, hmac::Key)>),
    Null(Box<hmac::Key>),
}

impl<Block> Keys<Block> {
    /// The key of the HMAC, where there is one.
    fn mac(&self) -> Option<&hmac::Key> {
        match self {
            Self::Gcm(_) => None,
            Self::Cbc(keys) => Some(&keys.1),
            Self::Null(mac) => Some(mac),
        }
    }
}

struct Gcm {
    key: LessSafeKey,
    salt: Zeroizing<[u8; 4]>,
}

impl Gcm {
    /// The nonce: the salt and the vector of the packet (RFC 4106, 4; RFC 5282, 4).
    fn nonce(&self, iv: &[u8]) -> Option<Nonce> {
        let mut nonce = [0; 12];
        let (salt, rest) = nonce.split_first_chunk_mut::<4>()?;
        *salt = *self.salt;
        *rest.first_chunk_mut::<8>()? = *iv.first_chunk::<8>()?;
        Some(Nonce::assume_unique_for_key(nonce))
    }
}

impl<Block> Keys<Block> {
    fn new(
        encryption: Encryption,
        integrity: Option<Integrity>,
        encryption_key: &[u8],
        integrity_key: &[u8],
        cbc: fn(UnboundCipherKey) -> Result<Block, aws_lc_rs::error::Unspecified>,
    ) -> Result<Self, KeyError> {
        if !Encryption::ALL.contains(&encryption) {
            return Err(KeyError::Unusable { encryption });
        }
        let expected = encryption.key_len() + encryption.salt_len();
        if encryption_key.len() != expected {
            return Err(KeyError::EncryptionLength { encryption, found: encryption_key.len(), expected });
        }
        let (key, salt) = encryption_key.split_at_checked(encryption.key_len()).unwrap_or_default();
        let unusable = KeyError::Unusable { encryption };
        match (encryption, integrity) {
            (Encryption::AesGcm16(bits), None) if integrity_key.is_empty() => {
                let algorithm = match bits {
                    128 => &aead::AES_128_GCM,
                    192 => &aead::AES_192_GCM,
                    _ => &aead::AES_256_GCM,
                };
                let key = LessSafeKey::new(UnboundKey::new(algorithm, key).map_err(|_| unusable)?);
                let salt = Zeroizing::new(*salt.first_chunk().ok_or(unusable)?);
                Ok(Self::Gcm(Gcm { key, salt }))
            }
            (Encryption::AesGcm16(_), _) => Err(KeyError::IntegrityTwice { encryption }),
            (_, None) => Err(KeyError::IntegrityMissing { encryption }),
            (Encryption::Null, Some(integrity)) => Ok(Self::Null(Box::new(mac_key(integrity, integrity_key)?))),
            (Encryption::AesCbc(bits), Some(integrity)) => {
                let algorithm = match bits {
                    128 => &cipher::AES_128,
                    192 => &cipher::AES_192,
                    _ => &cipher::AES_256,
                };
                let key = UnboundCipherKey::new(algorithm, key).and_then(cbc).map_err(|_| unusable)?;
                Ok(Self::Cbc(Box::new((key, mac_key(integrity, integrity_key)?))))
            }
            (Encryption::TripleDes, Some(integrity)) => {
                #[expect(deprecated, reason = "3DES is kept to talk to old peers")]
                let algorithm = &cipher::DES_EDE3_FOR_LEGACY_USE_ONLY;
                let key = UnboundCipherKey::new(algorithm, key).and_then(cbc).map_err(|_| unusable)?;
                Ok(Self::Cbc(Box::new((key, mac_key(integrity, integrity_key)?))))
            }
        }
    }
}

fn mac_key(integrity: Integrity, key: &[u8]) -> Result<hmac::Key, KeyError> {
    if key.len() != integrity.key_len() {
        return Err(KeyError::IntegrityLength { integrity, found: key.len(), expected: integrity.key_len() });
    }
    let algorithm = match integrity {
        Integrity::HmacSha1_96 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Integrity::HmacSha2_256_128 => hmac::HMAC_SHA256,
        Integrity::HmacSha2_512_256 => hmac::HMAC_SHA512,
    };
    Ok(hmac::Key::new(algorithm, key))
}

fn authenticate(key: &hmac::Key, parts: [&[u8]; 4]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    context.sign()
}

fn icv_len(encryption: Encryption, integrity: Option<Integrity>) -> usize {
    integrity.map_or(encryption.icv_len(), Integrity::icv_len)
}

/// The vector in the library's form, which goes by its length.
fn encryption_context(iv: &[u8]) -> Option<EncryptionContext> {
    match iv.len() {
        16 => Some(EncryptionContext::Iv128(iv.first_chunk::<16>()?.into())),
        8 => Some(EncryptionContext::Iv64(iv.first_chunk::<8>()?.into())),
        _ => None,
    }
}

fn check(
    encryption: Encryption,
    icv_len: usize,
    iv: &[u8],
    tail: &[u8],
    text: usize,
    icv: usize,
) -> Result<(), Malformed> {
    if iv.len() != encryption.iv_len() {
        Err(Malformed::Iv { found: iv.len(), expected: encryption.iv_len() })
    } else if icv != icv_len {
        Err(Malformed::Icv { found: icv, expected: icv_len })
    } else if !text.is_multiple_of(encryption.block_len()) {
        Err(Malformed::Text { found: text, block: encryption.block_len() })
    } else if encryption.is_aead() && !tail.is_empty() {
        Err(Malformed::Tail { found: tail.len() })
    } else {
        Ok(())
    }
}

/// A length that does not fit the algorithms. All in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The initialisation vector.
    Iv {
        /// Its length.
        found: usize,
        /// What the cipher takes.
        expected: usize,
    },
    /// The text is not made of whole blocks.
    Text {
        /// Its length.
        found: usize,
        /// What it must be a multiple of.
        block: usize,
    },
    /// The integrity check value.
    Icv {
        /// Its length.
        found: usize,
        /// What the algorithm makes.
        expected: usize,
    },
    /// An AEAD was given bytes to authenticate behind the text.
    Tail {
        /// How many.
        found: usize,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iv { found, expected } => {
                write!(f, "the initialisation vector is {found} bytes long, expected {expected}")
            }
            Self::Text { found, block } => {
                write!(f, "the encrypted text is {found} bytes long, expected a multiple of {block}")
            }
            Self::Icv { found, expected } => {
                write!(f, "the integrity check value is {found} bytes long, expected {expected}")
            }
            Self::Tail { found } => {
                write!(f, "{found} bytes behind the text are to be authenticated, which an AEAD does in front of it")
            }
        }
    }
}

impl std::error::Error for Malformed {}

/// Why a packet was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// A length does not fit.
    Malformed(Malformed),
    /// The library refused, which it does for texts beyond 64 GiB.
    Cipher,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Cipher => f.write_str("the cipher refused to encrypt"),
        }
    }
}

impl std::error::Error for SealError {}

impl From<Malformed> for SealError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Why a packet was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// A length does not fit, so the packet cannot come from the peer's end of this SA.
    Malformed(Malformed),
    /// The integrity check failed: altered on the way, or sealed under another key.
    Forged,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Forged => {
                f.write_str("the integrity check failed: altered on the way, or protected with another key")
            }
        }
    }
}

impl std::error::Error for OpenError {}

impl From<Malformed> for OpenError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Why keys were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The encryption key with its salt is not as long as the cipher wants.
    EncryptionLength {
        /// The cipher.
        encryption: Encryption,
        /// Length given, in bytes.
        found: usize,
        /// Length wanted, in bytes.
        expected: usize,
    },
    /// The integrity key is not as long as the algorithm wants.
    IntegrityLength {
        /// The algorithm.
        integrity: Integrity,
        /// Length given, in bytes.
        found: usize,
        /// Length wanted, in bytes.
        expected: usize,
    },
    /// A cipher that does not authenticate came alone, which would let anybody alter the text (RFC 8221, 4).
    IntegrityMissing {
        /// The cipher.
        encryption: Encryption,
    },
    /// An AEAD came with an integrity algorithm or key beside it (RFC 7296, 3.3).
    IntegrityTwice {
        /// The cipher.
        encryption: Encryption,
    },
    /// No cipher has a key of this size, or the key is one of the few that 3DES must not be used with.
    Unusable {
        /// The cipher.
        encryption: Encryption,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EncryptionLength { encryption, found, expected } => {
                write!(f, "the key for {encryption} is {found} bytes long, expected {expected}")
            }
            Self::IntegrityLength { integrity, found, expected } => {
                write!(f, "the key for {integrity} is {found} bytes long, expected {expected}")
            }
            Self::IntegrityMissing { encryption } => {
                write!(f, "{encryption} does not authenticate: it needs an integrity algorithm beside it")
            }
            Self::IntegrityTwice { encryption } => {
                write!(f, "{encryption} authenticates by itself: it takes no integrity algorithm beside it")
            }
            Self::Unusable { encryption } => write!(f, "this key cannot be used with {encryption}"),
        }
    }
}

impl std::error::Error for KeyError {}
