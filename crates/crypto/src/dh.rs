//! Diffie-Hellman as IKE uses it (RFC 7296, 1.3 and 2.14): a key pair of a group, and the secret shared with a peer.

use std::fmt;

use base::{Random, Secret};

use crate::Group;
use crate::ecdh::{self, Curve, Scalar};
use crate::modp::{self, Exponent, Modp};

/// A private key of a group with its public value. Serves as many agreements as wanted; the private part is wiped when
/// the pair is dropped.
pub struct KeyPair {
    group: Group,
    public: Vec<u8>,
    private: Private,
}

enum Private {
    Modp(Exponent),
    Curve(Scalar),
}

/// The arithmetic behind a group.
enum Method {
    Modp(&'static Modp),
    Curve(&'static Curve),
}

impl Method {
    fn of(group: Group) -> Self {
        match group {
            Group::Modp1024 => Self::Modp(&modp::MODP_1024),
            Group::Modp1536 => Self::Modp(&modp::MODP_1536),
            Group::Modp2048 => Self::Modp(&modp::MODP_2048),
            Group::Modp3072 => Self::Modp(&modp::MODP_3072),
            Group::Modp4096 => Self::Modp(&modp::MODP_4096),
            Group::Modp6144 => Self::Modp(&modp::MODP_6144),
            Group::Modp8192 => Self::Modp(&modp::MODP_8192),
            Group::Ecp256 => Self::Curve(&ecdh::ECP_256),
            Group::Ecp384 => Self::Curve(&ecdh::ECP_384),
            Group::Ecp521 => Self::Curve(&ecdh::ECP_521),
            Group::Curve25519 => Self::Curve(&ecdh::CURVE25519),
        }
    }
}

impl Group {
    /// A fresh key pair. The same random bytes give the same pair.
    pub fn generate(self, random: &mut Random) -> KeyPair {
        match Method::of(self) {
            Method::Modp(modp) => {
                let exponent = modp.draw(random);
                KeyPair { group: self, public: exponent.public(), private: Private::Modp(exponent) }
            }
            Method::Curve(curve) => {
                let (scalar, public) = curve.draw(random);
                KeyPair { group: self, public, private: Private::Curve(scalar) }
            }
        }
    }
}

impl KeyPair {
    /// The group it belongs to.
    pub fn group(&self) -> Group {
        self.group
    }

    /// The public value as a KE payload carries it, `Group::public_len` bytes: padded on the left to the length of the
    /// prime (RFC 7296, 3.4), or x and y without a byte in front (RFC 5903, 7), or u (RFC 8031, 3.1).
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The secret shared with the owner of the public value `peer`, `Group::secret_len` bytes.
    ///
    /// # Errors
    /// When `peer` is no acceptable public value of the group (RFC 6989).
    pub fn agree(&self, peer: &[u8]) -> Result<Secret, BadPublicKey> {
        match &self.private {
            Private::Modp(exponent) => exponent.agree(peer),
            Private::Curve(scalar) => scalar.agree(peer),
        }
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.group)
    }
}

/// Why a peer's public value is refused. Nothing is computed with such a value (RFC 6989, 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPublicKey {
    /// Not as long as the group's public values are.
    Length {
        /// The group agreed on.
        group: Group,
        /// Length received, in bytes.
        found: usize,
    },
    /// 0, 1, p - 1, or not below the prime p: the shared secret would be known to everybody.
    Range {
        /// The group agreed on.
        group: Group,
    },
    /// Not a point of the curve, or one of such a small order that the shared secret would be known to everybody.
    Point {
        /// The group agreed on.
        group: Group,
    },
}

impl fmt::Display for BadPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { group, found } => write!(
                f,
                "the peer's Diffie-Hellman value for group {} ({group}) is {found} bytes long, expected {}",
                group.iana(),
                group.public_len()
            ),
            Self::Range { group } => write!(
                f,
                "the peer's Diffie-Hellman value for group {} ({group}) is outside of 2 to p - 2; the peer is faulty or \
                 hostile",
                group.iana()
            ),
            Self::Point { group } => write!(
                f,
                "the peer's Diffie-Hellman value for group {} ({group}) is not a usable point of the curve; the peer is \
                 faulty or hostile",
                group.iana()
            ),
        }
    }
}

impl std::error::Error for BadPublicKey {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_sides_of_every_group_find_the_same_secret() {
        for &group in Group::ALL {
            let mut random = Random::numbered(u64::from(group.iana()));
            for _ in 0..3 {
                let (a, b) = (group.generate(&mut random), group.generate(&mut random));
                assert_eq!((a.public().len(), b.public().len()), (group.public_len(), group.public_len()), "{group}");
                assert_ne!(a.public(), b.public(), "{group}");
                let secret = a.agree(b.public()).unwrap();
                assert_eq!(secret.len(), group.secret_len(), "{group}");
                assert!(b.agree(a.public()).unwrap().same(secret.expose()), "{group}");
            }
        }
    }

    #[test]
    fn the_same_random_bytes_give_the_same_key_pair() {
        for &group in Group::ALL {
            let (a, b) = (group.generate(&mut Random::numbered(5)), group.generate(&mut Random::numbered(5)));
            assert_eq!(a.public(), b.public(), "{group}");
            assert_eq!(a.group(), group);
        }
    }

    #[test]
    fn a_key_pair_prints_its_group_alone() {
        assert_eq!(format!("{:?}", Group::Ecp256.generate(&mut Random::numbered(5))), "KeyPair(ECP random 256)");
    }

    #[test]
    fn a_refusal_says_what_was_expected() {
        let refused = Group::Modp2048.generate(&mut Random::numbered(5)).agree(&[1; 255]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the peer's Diffie-Hellman value for group 14 (MODP 2048) is 255 bytes long, expected 256"
        );
    }

    proptest! {
        #[test]
        fn no_public_value_of_a_stranger_does_harm(
            at in 0..Group::ALL.len(),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let group = Group::ALL[at];
            let ours = group.generate(&mut Random::numbered(5));
            match ours.agree(&bytes) {
                Ok(secret) => prop_assert_eq!((bytes.len(), secret.len()), (group.public_len(), group.secret_len())),
                Err(BadPublicKey::Length { found, .. }) => prop_assert_ne!(found, group.public_len()),
                Err(_) => prop_assert_eq!(bytes.len(), group.public_len()),
            }
        }
    }
}
