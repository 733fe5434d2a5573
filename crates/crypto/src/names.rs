//! The algorithms by name: what each is called, its number in the IKEv2 registry, and the sizes it works with.

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

/// Diffie-Hellman group (transform type 4).
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
