//! Diffie-Hellman modulo a prime: groups 2, 5 and 14 to 18.

use std::sync::LazyLock;

use base::{Random, Secret};
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use zeroize::Zeroizing;

use crate::{BadPublicKey, Group, primes};

/// One group: its prime, prepared for exponentiation on first use, and how long a private exponent has to be.
///
/// An exponent of twice the group's strength is as good as one of the prime's length, because (p - 1) / 2 is prime: the
/// best attack on a short exponent takes the square root of its range. The lengths are the minima of RFC 7919, appendix
/// A (225, 275, 325, 375 and 400 bits for 2048 to 8192) rounded up to whole 64-bit words; the two groups below 2048 bits
/// take the 256 bits of group 14. They lie inside the ranges of RFC 3526, section 8, or above.
pub(crate) struct Modp {
    group: Group,
    exponent_len: usize,
    prime: LazyLock<BoxedMontyParams>,
}

pub(crate) static MODP_1024: Modp = Modp::new(Group::Modp1024, 32, || prepared(primes::MODP_1024));
pub(crate) static MODP_1536: Modp = Modp::new(Group::Modp1536, 32, || prepared(primes::MODP_1536));
pub(crate) static MODP_2048: Modp = Modp::new(Group::Modp2048, 32, || prepared(primes::MODP_2048));
pub(crate) static MODP_3072: Modp = Modp::new(Group::Modp3072, 40, || prepared(primes::MODP_3072));
pub(crate) static MODP_4096: Modp = Modp::new(Group::Modp4096, 48, || prepared(primes::MODP_4096));
pub(crate) static MODP_6144: Modp = Modp::new(Group::Modp6144, 48, || prepared(primes::MODP_6144));
pub(crate) static MODP_8192: Modp = Modp::new(Group::Modp8192, 56, || prepared(primes::MODP_8192));

/// The prime, public as it is, with what Montgomery multiplication wants to know of it.
fn prepared(prime: impl Into<Odd<BoxedUint>>) -> BoxedMontyParams {
    BoxedMontyParams::new_vartime(prime.into())
}

impl Modp {
    const fn new(group: Group, exponent_len: usize, prime: fn() -> BoxedMontyParams) -> Self {
        Self { group, exponent_len, prime: LazyLock::new(prime) }
    }

    /// Draws a private exponent.
    pub(crate) fn draw(&'static self, random: &mut Random) -> Exponent {
        self.exponent(random.secret(self.exponent_len).expose())
    }

    /// The private exponent with these big-endian bytes, the highest bit set: however the dice fall, it is no small
    /// number that could be tried out.
    fn exponent(&'static self, bytes: &[u8]) -> Exponent {
        let mut bytes = Zeroizing::new(bytes.to_vec());
        if let Some(first) = bytes.first_mut() {
            *first |= 0x80;
        }
        Exponent { modp: self, value: Zeroizing::new(BoxedUint::from_be_slice_vartime(&bytes)) }
    }

    /// A number below the prime, in the width the prime's arithmetic works with.
    fn number(&self, bytes: &[u8]) -> BoxedUint {
        BoxedUint::from_be_slice_truncated(bytes, self.prime.bits_precision())
    }

    /// `base` to the power of `exponent`, padded on the left to the prime's length. Takes the same time for every
    /// exponent of the group.
    fn power(&self, base: BoxedUint, exponent: &BoxedUint) -> Secret {
        let power = Zeroizing::new(BoxedMontyForm::new(base, &self.prime).pow(exponent));
        let value = Zeroizing::new(power.retrieve());
        Secret::new(value.to_be_bytes().into_vec())
    }
}

/// A private exponent.
pub(crate) struct Exponent {
    modp: &'static Modp,
    value: Zeroizing<BoxedUint>,
}

impl Exponent {
    /// The public value: 2 to the power of the exponent.
    pub(crate) fn public(&self) -> Vec<u8> {
        self.modp.power(self.modp.number(&[2]), &self.value).expose().to_vec()
    }

    /// The secret shared with the owner of `peer`. Only a public value above 1 and below p - 1 is taken, which is all
    /// that these groups need (RFC 6989, 2.1).
    pub(crate) fn agree(&self, peer: &[u8]) -> Result<Secret, BadPublicKey> {
        let group = self.modp.group;
        if peer.len() != group.public_len() {
            return Err(BadPublicKey::Length { group, found: peer.len() });
        }
        let peer = self.modp.number(peer);
        let greatest = self.modp.prime.modulus().as_ref().wrapping_sub(self.modp.number(&[2]));
        if peer < self.modp.number(&[2]) || peer > greatest {
            return Err(BadPublicKey::Range { group });
        }
        Ok(self.modp.power(peer, &self.value))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};

    use super::*;
    use crate::hex;

    /// Group; SHA-256 of 2^a and of 2^(ab): a is the byte A5 and b the byte C3, as often as the group's exponent is
    /// long. Computed with the arbitrary-precision integers of Python 3.
    const KNOWN: [(&Modp, &str, &str); 7] = [
        (
            &MODP_1024,
            "0c7be14247c067e50a96ef9cd0674d4e1ad7c98979569b9dc33cbe5c908e15f3",
            "ea6442ecfd8a28e6966a72ad7d60b85f5679e66f446ef509de8a1b0d4cf209f7",
        ),
        (
            &MODP_1536,
            "596c5f42cf91bf9c57696d91a03341095605f8ffad9ca158aef45cb7ac3400e8",
            "487e6ebab9e8c1c132efe1b13e4017ee0bba35fce95e01ce093bdd84c3415459",
        ),
        (
            &MODP_2048,
            "f764393624d4f7f9a297f5d1672c9fdc02198d4acdbf446066dac10a01cb75b6",
            "73a15d76c1169f0c8129d0de7967911b0ac03664e2d0322a59d3a69d5ae83ce5",
        ),
        (
            &MODP_3072,
            "8b1a923c9c6def2b6039fa88cc8f07872a7c96687e66693cde6d3269ac8425a9",
            "8ba88b9fe7d7998970459b943092b1928ead38031f81509abbb7512d76280aaa",
        ),
        (
            &MODP_4096,
            "cd031bda369b074e4d16171023093091c73d0df1a3a6ce77d5cbe0b265f00b9d",
            "6ce2b71db9c576abdba66f12bdd61294ec26ac41a6957d10c0277b4d9b74b305",
        ),
        (
            &MODP_6144,
            "b668236c7354f9efda2dc5cc28186a71adc51149fb9739b3ba7283fd089af57c",
            "0e5c1e2f511267b0d6bdea9ac62a03b51860c0cdf5aaedad1a503c21f653e349",
        ),
        (
            &MODP_8192,
            "57884cd46b2430a6b2de180dc49c8eb2efd72dd8a7454c289776162ad30245ba",
            "1e7bbb4bba18b47d7531d7da88728c9af7dd12dd28c56cfbc76119606cc4115c",
        ),
    ];

    #[test]
    fn powers_are_those_that_another_implementation_finds() {
        for (modp, public, shared) in KNOWN {
            let group = modp.group;
            let a = modp.exponent(&vec![0xa5; modp.exponent_len]);
            let b = modp.exponent(&vec![0xc3; modp.exponent_len]);
            assert_eq!(digest(&SHA256, &a.public()).as_ref(), hex::bytes(public), "{group}");
            let secret = b.agree(&a.public()).unwrap();
            assert_eq!(digest(&SHA256, secret.expose()).as_ref(), hex::bytes(shared), "{group}");
            assert!(a.agree(&b.public()).unwrap().same(secret.expose()), "{group}");
        }
    }

    #[test]
    fn every_prime_is_safe_and_2_generates_the_large_subgroup() {
        for (modp, ..) in KNOWN {
            let group = modp.group;
            let prime = modp.prime.modulus().as_ref();
            assert_eq!(prime.bit_width(), u32::try_from(group.public_len() * 8).unwrap());
            let half = prime.shr(1);
            let one = modp.number(&[1]);
            // Euler: 2 is a square modulo p. Fermat, base 3, for q = (p - 1) / 2: no number with a mistyped digit passes.
            assert_eq!(modp.power(modp.number(&[2]), &half).expose(), &*one.to_be_bytes(), "{group}");
            let sophie_germain = Odd::new(half.clone()).unwrap();
            let params = BoxedMontyParams::new_vartime(sophie_germain);
            let fermat = BoxedMontyForm::new(modp.number(&[3]), &params).pow(&half.wrapping_sub(&one));
            assert_eq!(fermat.retrieve(), one, "{group}");
        }
    }

    #[test]
    fn values_outside_of_2_to_p_minus_2_are_refused() {
        for (modp, ..) in KNOWN {
            let group = modp.group;
            let ours = modp.draw(&mut Random::numbered(1));
            let prime = modp.prime.modulus().as_ref();
            let less = |n: u8| prime.wrapping_sub(modp.number(&[n])).to_be_bytes();
            for bad in [
                modp.number(&[0]).to_be_bytes(),
                modp.number(&[1]).to_be_bytes(),
                less(1),
                less(0),
                prime.wrapping_add(modp.number(&[2])).to_be_bytes(),
                vec![0xff; group.public_len()].into(),
            ] {
                assert_eq!(ours.agree(&bad).unwrap_err(), BadPublicKey::Range { group });
            }
            assert!(ours.agree(&modp.number(&[2]).to_be_bytes()).is_ok());
            assert!(ours.agree(&less(2)).is_ok());
            let short = vec![2; group.public_len() - 1];
            assert_eq!(ours.agree(&short).unwrap_err(), BadPublicKey::Length { group, found: short.len() });
        }
    }
}
