//! The algorithms by name: what each is called, its number in the IKEv2 registry, and the sizes it works with.
//!
//! Sizes are bytes. Every `iana` number is the one of the "Internet Key Exchange Version 2 (IKEv2) Parameters" registry;
//! `from_iana` knows exactly what this crate can compute, so what it refuses must not be accepted in a proposal.

use std::fmt;

/// Encryption, of IKE messages or of ESP packets (transform type 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encryption {
    /// No encryption (RFC 2410), ESP only, always with integrity.
    Null,
    /// Triple DES in CBC mode (RFC 2451).
    TripleDes,
    /// AES in CBC mode with a key of this many bits: 128, 192 or 256 (RFC 3602).
    AesCbc(u16),
    /// AES in Galois/counter mode with a 16-byte ICV and a key of this many bits: 128, 192 or 256 (RFC 4106, 5282).
    AesGcm16(u16),
}

impl Encryption {
    /// Every algorithm with every key size, weakest first.
    pub const ALL: &'static [Self] = &[
        Self::Null,
        Self::TripleDes,
        Self::AesCbc(128),
        Self::AesCbc(192),
        Self::AesCbc(256),
        Self::AesGcm16(128),
        Self::AesGcm16(192),
        Self::AesGcm16(256),
    ];

    /// The transform's number, and its Key Length attribute in bits where the algorithm has one (RFC 7296, 3.3.5).
    pub const fn iana(self) -> (u16, Option<u16>) {
        match self {
            Self::Null => (11, None),
            Self::TripleDes => (3, None),
            Self::AesCbc(bits) => (12, Some(bits)),
            Self::AesGcm16(bits) => (20, Some(bits)),
        }
    }

    /// The algorithm behind a transform. An AES transform without a key length, or a fixed-length cipher with one, is
    /// nothing we know (RFC 7296, 3.3.5).
    pub fn from_iana(id: u16, key_bits: Option<u16>) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.iana() == (id, key_bits))
    }

    /// True when the cipher authenticates as well, so that no integrity algorithm goes with it.
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::AesGcm16(_))
    }

    /// Length of the cipher's key, without the salt that GCM takes behind it.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Null => 0,
            Self::TripleDes => 24,
            Self::AesCbc(bits) | Self::AesGcm16(bits) => bits as usize / 8,
        }
    }

    /// Length of the salt behind the key in the keying material: 4 for GCM (RFC 4106, 8.1), otherwise 0.
    pub const fn salt_len(self) -> usize {
        if self.is_aead() { 4 } else { 0 }
    }

    /// Length of the initialisation vector that travels in every packet.
    pub const fn iv_len(self) -> usize {
        match self {
            Self::Null => 0,
            Self::TripleDes | Self::AesGcm16(_) => 8,
            Self::AesCbc(_) => 16,
        }
    }

    /// The text's length must be a multiple of this: the block of a CBC cipher, otherwise 1. ESP adds its own alignment
    /// to 4 bytes (RFC 4303, 2.4).
    pub const fn block_len(self) -> usize {
        match self {
            Self::Null | Self::AesGcm16(_) => 1,
            Self::TripleDes => 8,
            Self::AesCbc(_) => 16,
        }
    }

    /// Length of the integrity check value that the cipher itself makes: 16 for an AEAD, otherwise 0.
    pub const fn icv_len(self) -> usize {
        if self.is_aead() { 16 } else { 0 }
    }

    /// What logs and the console call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::TripleDes => "3DES-CBC",
            Self::AesCbc(128) => "AES-CBC-128",
            Self::AesCbc(192) => "AES-CBC-192",
            Self::AesCbc(256) => "AES-CBC-256",
            Self::AesCbc(_) => "AES-CBC",
            Self::AesGcm16(128) => "AES-GCM-16-128",
            Self::AesGcm16(192) => "AES-GCM-16-192",
            Self::AesGcm16(256) => "AES-GCM-16-256",
            Self::AesGcm16(_) => "AES-GCM-16",
        }
    }

    /// True for what is kept only to talk to old peers (3DES: 64-bit blocks, RFC 8247) or hides nothing (NULL).
    pub const fn is_weak(self) -> bool {
        matches!(self, Self::Null | Self::TripleDes)
    }
}

/// Integrity protection beside a cipher that has none of its own (transform type 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Integrity {
    /// HMAC-SHA1 cut to 96 bits (RFC 2404).
    HmacSha1_96,
    /// HMAC-SHA2-256 cut to 128 bits (RFC 4868).
    HmacSha2_256_128,
    /// HMAC-SHA2-512 cut to 256 bits (RFC 4868).
    HmacSha2_512_256,
}

impl Integrity {
    /// Every algorithm, weakest first.
    pub const ALL: &'static [Self] = &[Self::HmacSha1_96, Self::HmacSha2_256_128, Self::HmacSha2_512_256];

    /// The transform's number.
    pub const fn iana(self) -> u16 {
        match self {
            Self::HmacSha1_96 => 2,
            Self::HmacSha2_256_128 => 12,
            Self::HmacSha2_512_256 => 14,
        }
    }

    /// The algorithm with this number, if it is one of ours.
    pub fn from_iana(id: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.iana() == id)
    }

    /// Length of the key, which is the length of the whole hash (RFC 2404, 3; RFC 4868, 2.1.1).
    pub const fn key_len(self) -> usize {
        match self {
            Self::HmacSha1_96 => 20,
            Self::HmacSha2_256_128 => 32,
            Self::HmacSha2_512_256 => 64,
        }
    }

    /// Length of the check value in the packet.
    pub const fn icv_len(self) -> usize {
        match self {
            Self::HmacSha1_96 => 12,
            Self::HmacSha2_256_128 => 16,
            Self::HmacSha2_512_256 => 32,
        }
    }

    /// What logs and the console call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha1_96 => "HMAC-SHA1-96",
            Self::HmacSha2_256_128 => "HMAC-SHA256-128",
            Self::HmacSha2_512_256 => "HMAC-SHA512-256",
        }
    }

    /// True for what is kept only to talk to old peers.
    pub const fn is_weak(self) -> bool {
        matches!(self, Self::HmacSha1_96)
    }
}

/// Pseudo-random function of an IKE SA (transform type 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prf {
    /// HMAC-SHA1 (RFC 2104).
    HmacSha1,
    /// HMAC-SHA2-256 (RFC 4868).
    HmacSha2_256,
    /// HMAC-SHA2-512 (RFC 4868).
    HmacSha2_512,
}

impl Prf {
    /// Every function, weakest first.
    pub const ALL: &'static [Self] = &[Self::HmacSha1, Self::HmacSha2_256, Self::HmacSha2_512];

    /// The transform's number.
    pub const fn iana(self) -> u16 {
        match self {
            Self::HmacSha1 => 2,
            Self::HmacSha2_256 => 5,
            Self::HmacSha2_512 => 7,
        }
    }

    /// The function with this number, if it is one of ours.
    pub fn from_iana(id: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.iana() == id)
    }

    /// Length of one output.
    pub const fn output_len(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha2_256 => 32,
            Self::HmacSha2_512 => 64,
        }
    }

    /// Preferred length of the key (RFC 7296, 2.13): that of one output. An HMAC takes any other as well.
    pub const fn key_len(self) -> usize {
        self.output_len()
    }

    /// What logs and the console call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha1 => "PRF-HMAC-SHA1",
            Self::HmacSha2_256 => "PRF-HMAC-SHA256",
            Self::HmacSha2_512 => "PRF-HMAC-SHA512",
        }
    }

    /// The function over the same hash: the configuration names one hash for both.
    pub const fn for_integrity(integrity: Integrity) -> Self {
        match integrity {
            Integrity::HmacSha1_96 => Self::HmacSha1,
            Integrity::HmacSha2_256_128 => Self::HmacSha2_256,
            Integrity::HmacSha2_512_256 => Self::HmacSha2_512,
        }
    }
}

/// Diffie-Hellman group (transform type 4). The order is that of the group numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Group 2, 1024 bits (RFC 2409).
    Modp1024,
    /// Group 5, 1536 bits (RFC 3526).
    Modp1536,
    /// Group 14 (RFC 3526).
    Modp2048,
    /// Group 15.
    Modp3072,
    /// Group 16.
    Modp4096,
    /// Group 17.
    Modp6144,
    /// Group 18.
    Modp8192,
    /// Group 19, NIST P-256 (RFC 5903).
    Ecp256,
    /// Group 20, NIST P-384.
    Ecp384,
    /// Group 21, NIST P-521.
    Ecp521,
    /// Group 31, X25519 (RFC 8031).
    Curve25519,
}

impl Group {
    /// Every group, by number.
    pub const ALL: &'static [Self] = &[
        Self::Modp1024,
        Self::Modp1536,
        Self::Modp2048,
        Self::Modp3072,
        Self::Modp4096,
        Self::Modp6144,
        Self::Modp8192,
        Self::Ecp256,
        Self::Ecp384,
        Self::Ecp521,
        Self::Curve25519,
    ];

    /// The group's number.
    pub const fn iana(self) -> u16 {
        match self {
            Self::Modp1024 => 2,
            Self::Modp1536 => 5,
            Self::Modp2048 => 14,
            Self::Modp3072 => 15,
            Self::Modp4096 => 16,
            Self::Modp6144 => 17,
            Self::Modp8192 => 18,
            Self::Ecp256 => 19,
            Self::Ecp384 => 20,
            Self::Ecp521 => 21,
            Self::Curve25519 => 31,
        }
    }

    /// The group with this number, if it is one of ours.
    pub fn from_iana(id: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.iana() == id)
    }

    /// Length of a public value in a KE payload: the prime's (RFC 7296, 3.4), or both coordinates (RFC 5903, 7).
    pub const fn public_len(self) -> usize {
        match self {
            Self::Ecp256 => 64,
            Self::Ecp384 => 96,
            Self::Ecp521 => 132,
            _ => self.secret_len(),
        }
    }

    /// Length of the shared secret g^ir: the prime's (RFC 7296, 2.14), or one coordinate (RFC 5903, 9).
    pub const fn secret_len(self) -> usize {
        match self {
            Self::Modp1024 => 128,
            Self::Modp1536 => 192,
            Self::Modp2048 => 256,
            Self::Modp3072 => 384,
            Self::Modp4096 => 512,
            Self::Modp6144 => 768,
            Self::Modp8192 => 1024,
            Self::Ecp256 | Self::Curve25519 => 32,
            Self::Ecp384 => 48,
            Self::Ecp521 => 66,
        }
    }

    /// What logs and the console call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Modp1024 => "MODP 1024",
            Self::Modp1536 => "MODP 1536",
            Self::Modp2048 => "MODP 2048",
            Self::Modp3072 => "MODP 3072",
            Self::Modp4096 => "MODP 4096",
            Self::Modp6144 => "MODP 6144",
            Self::Modp8192 => "MODP 8192",
            Self::Ecp256 => "ECP random 256",
            Self::Ecp384 => "ECP random 384",
            Self::Ecp521 => "ECP random 521",
            Self::Curve25519 => "Curve25519",
        }
    }

    /// True for the groups below 2048 bits, which are kept only to talk to old peers (RFC 8247, 2.4).
    pub const fn is_weak(self) -> bool {
        matches!(self, Self::Modp1024 | Self::Modp1536)
    }
}

/// `Display` is the name.
macro_rules! display_name {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    )*};
}
display_name!(Encryption, Integrity, Prf, Group);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_is_found_again_by_its_number() {
        for &one in Encryption::ALL {
            let (id, bits) = one.iana();
            assert_eq!(Encryption::from_iana(id, bits), Some(one));
        }
        assert!(Integrity::ALL.iter().all(|&one| Integrity::from_iana(one.iana()) == Some(one)));
        assert!(Prf::ALL.iter().all(|&one| Prf::from_iana(one.iana()) == Some(one)));
        assert!(Group::ALL.iter().all(|&one| Group::from_iana(one.iana()) == Some(one)));
    }

    #[test]
    fn numbers_we_cannot_compute_are_refused() {
        assert_eq!(Encryption::from_iana(12, None), None);
        assert_eq!(Encryption::from_iana(12, Some(64)), None);
        assert_eq!(Encryption::from_iana(3, Some(192)), None);
        assert_eq!(Encryption::from_iana(2, None), None);
        assert_eq!(Integrity::from_iana(1), None);
        assert_eq!(Prf::from_iana(4), None);
        for id in [0, 1, 3, 22, 23, 24, 25, 26, 32] {
            assert_eq!(Group::from_iana(id), None);
        }
    }

    #[test]
    fn the_lists_are_sorted_and_their_names_differ() {
        assert!(Encryption::ALL.is_sorted() && Integrity::ALL.is_sorted() && Prf::ALL.is_sorted());
        assert!(Group::ALL.is_sorted_by_key(|group| group.iana()) && Group::ALL.is_sorted());
        let mut names: Vec<String> = Encryption::ALL.iter().map(ToString::to_string).collect();
        names.extend(Integrity::ALL.iter().map(ToString::to_string));
        names.extend(Prf::ALL.iter().map(ToString::to_string));
        names.extend(Group::ALL.iter().map(ToString::to_string));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
