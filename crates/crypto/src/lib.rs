//! The algorithms behind small types, their names and numbers, and the key schedule that IKE makes of them.
//!
//! Begin with [`Encryption`], [`Integrity`], [`Prf`] and [`Group`]: what can be negotiated, with registry numbers and
//! sizes. [`Prf::compute`] and [`prf_plus`] make keys, [`Group::generate`] starts a Diffie-Hellman exchange, and a
//! [`Sealer`] and an [`Opener`] protect packets: ESP packets and IKE messages alike.
//!
//! What goes into a key, which bytes of a packet are covered, padding, sequence numbers and fresh initialisation vectors
//! are the business of `ike` and `dataplane`. Primitives come from aws-lc-rs and crypto-bigint; chance from
//! [`base::Random`], so that the same seed gives the same keys.

#![forbid(unsafe_code)]

mod names;
pub use names::{Encryption, Group, Integrity, Prf};

mod prf;
pub use prf::{TooLong, prf_plus};

mod dh;
mod ecdh;
mod modp;
mod primes;
pub use dh::{BadPublicKey, KeyPair};

mod packet;
pub use packet::{KeyError, Malformed, OpenError, Opener, SealError, Sealer};

pub mod digest;

#[cfg(test)]
mod hex;
