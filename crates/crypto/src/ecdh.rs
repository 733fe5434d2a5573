//! Diffie-Hellman on elliptic curves: groups 19, 20, 21 and 31.

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use base::{Random, Secret};
use zeroize::Zeroizing;

use crate::{BadPublicKey, Group};

/// First byte of a point in its uncompressed form (SEC 1, 2.3.3), which RFC 5903 leaves out on the wire.
const UNCOMPRESSED: u8 = 4;
/// Longest public value with that byte in front: group 21.
const LONGEST: usize = 1 + Group::Ecp521.public_len();

/// One curve.
pub(crate) struct Curve {
    group: Group,
    algorithm: &'static agreement::Algorithm,
}

pub(crate) static ECP_256: Curve = Curve { group: Group::Ecp256, algorithm: &agreement::ECDH_P256 };
pub(crate) static ECP_384: Curve = Curve { group: Group::Ecp384, algorithm: &agreement::ECDH_P384 };
pub(crate) static ECP_521: Curve = Curve { group: Group::Ecp521, algorithm: &agreement::ECDH_P521 };
pub(crate) static CURVE25519: Curve = Curve { group: Group::Curve25519, algorithm: &agreement::X25519 };

impl Curve {
    /// Draws a private key and computes its public value. Bytes that make no key (0, or at least the order of the curve:
    /// odds of about 2^-32 on group 19 and far less elsewhere) are drawn again, so that all keys are equally likely.
    pub(crate) fn draw(&'static self, random: &mut Random) -> (Scalar, Vec<u8>) {
        loop {
            if let Some(pair) = self.pair(&random.secret(self.group.secret_len())) {
                return pair;
            }
        }
    }

    /// The key pair made of these private bytes.
    fn pair(&'static self, private: &Secret) -> Option<(Scalar, Vec<u8>)> {
        let mut private = Zeroizing::new(private.expose().to_vec());
        if self.group == Group::Ecp521 {
            // 521 bits in 66 bytes: the first has one bit to give.
            *private.first_mut()? &= 1;
        }
        let key = PrivateKey::from_private_key(self.algorithm, &private).ok()?;
        let public = key.compute_public_key().ok()?;
        let public = if self.has_prefix() { public.as_ref().strip_prefix(&[UNCOMPRESSED])? } else { public.as_ref() };
        Some((Scalar { curve: self, key }, public.to_vec()))
    }

    /// True for the curves whose library form has a byte in front that the wire has not.
    fn has_prefix(&self) -> bool {
        self.group != Group::Curve25519
    }
}

/// A private key.
pub(crate) struct Scalar {
    curve: &'static Curve,
    key: PrivateKey,
}

impl Scalar {
    /// The secret shared with the owner of `peer`: the x coordinate alone (RFC 5903, 9). The library refuses points that
    /// are not on the curve (RFC 6989, 2.3) and, for X25519, a result of zeros (RFC 8031, 3.2).
    pub(crate) fn agree(&self, peer: &[u8]) -> Result<Secret, BadPublicKey> {
        let group = self.curve.group;
        let mut sec1 = [UNCOMPRESSED; LONGEST];
        let point = sec1.get_mut(1..=group.public_len()).filter(|point| point.len() == peer.len());
        let Some(point) = point else {
            return Err(BadPublicKey::Length { group, found: peer.len() });
        };
        point.copy_from_slice(peer);
        let start = if self.curve.has_prefix() { 0 } else { 1 };
        let public = sec1.get(start..=group.public_len()).unwrap_or_default();
        agreement::agree(
            &self.key,
            UnparsedPublicKey::new(self.curve.algorithm, public),
            BadPublicKey::Point { group },
            |secret| Ok(Secret::copy(secret)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// Group; private key and public value of the initiator, then of the responder; shared secret.
    /// Groups 19 to 21: RFC 5903, section 8. Group 31: RFC 7748, section 6.1.
    const KNOWN: [(&Curve, [&str; 5]); 4] = [
        (
            &ECP_256,
            [
                "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433",
                "dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c37725811805271a0461cdb8252d61f1c456fa3e59a \
                 b1f45b33accf5f58389e0577b8990bb3",
                "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53",
                "d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf6356fbf3ca366cc23e8157854c13c58d6a \
                 ac23f046ada30f8353e74f33039872ab",
                "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de",
            ],
        ),
        (
            &ECP_384,
            [
                "099f3c7034d4a2c699884d73a375a67f7624ef7c6b3c0f160647b67414dce655e35b538041e649ee3faef896783ab194",
                "667842d7d180ac2cde6f74f37551f55755c7645c20ef73e31634fe72b4c55ee6de3ac808acb4bdb4c88732aee95f41aa \
                 9482ed1fc0eeb9cafc4984625ccfc23f65032149e0e144ada024181535a0f38eeb9fcff3c2c947dae69b4c634573a81c",
                "41cb0779b4bdb85d47846725fbec3c9430fab46cc8dc5060855cc9bda0aa2942e0308312916b8ed2960e4bd55a7448fc",
                "e558dbef53eecde3d3fccfc1aea08a89a987475d12fd950d83cfa41732bc509d0d1ac43a0336def96fda41d0774a3571 \
                 dcfbec7aacf3196472169e838430367f66eebe3c6e70c416dd5f0c68759dd1fff83fa40142209dff5eaad96db9e6386c",
                "11187331c279962d93d604243fd592cb9d0a926f422e47187521287e7156c5c4d603135569b9e9d09cf5d4a270f59746",
            ],
        ),
        (
            &ECP_521,
            [
                "0037ade9319a89f4dabdb3ef411aaccca5123c61acab57b5393dce47608172a095 \
                 aa85a30fe1c2952c6771d937ba9777f5957b2639bab072462f68c27a57382d4a52",
                "0015417e84dbf28c0ad3c278713349dc7df153c897a1891bd98bab4357c9ecbee1 \
                 e3bf42e00b8e380aeae57c2d107564941885942af5a7f4601723c4195d176ced3e \
                 017cae20b6641d2eeb695786d8c946146239d099e18e1d5a514c739d7cb4a10ad8 \
                 a788015ac405d7799dc75e7b7d5b6cf2261a6a7f1507438bf01beb6ca3926f9582",
                "0145ba99a847af43793fdd0e872e7cdfa16be30fdc780f97bccc3f078380201e9c \
                 677d600b343757a3bdbf2a3163e4c2f869cca7458aa4a4effc311f5cb151685eb9",
                "00d0b3975ac4b799f5bea16d5e13e9af971d5e9b984c9f39728b5e5739735a219b \
                 97c356436adc6e95bb0352f6be64a6c2912d4ef2d0433ced2b6171640012d9460f \
                 015c68226383956e3bd066e797b623c27ce0eac2f551a10c2c724d9852077b8722 \
                 0b6536c5c408a1d2aebb8e86d678ae49cb57091f4732296579ab44fcd17f0fc56a",
                "01144c7d79ae6956bc8edb8e7c787c4521cb086fa64407f97894e5e6b2d79b04d1 \
                 427e73ca4baa240a34786859810c06b3c715a3a8cc3151f2bee417996d19f3ddea",
            ],
        ),
        (
            &CURVE25519,
            [
                "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
                "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
                "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
                "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
                "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
            ],
        ),
    ];

    fn pair(curve: &'static Curve, private: &str) -> (Scalar, Vec<u8>) {
        curve.pair(&Secret::new(hex::bytes(private))).unwrap()
    }

    #[test]
    fn the_published_exchanges_come_out() {
        for (curve, [i, public_i, r, public_r, shared]) in KNOWN {
            let group = curve.group;
            let (i, our_public_i) = pair(curve, i);
            let (r, our_public_r) = pair(curve, r);
            assert_eq!(our_public_i, hex::bytes(public_i), "{group}");
            assert_eq!(our_public_r, hex::bytes(public_r), "{group}");
            assert!(i.agree(&our_public_r).unwrap().same(&hex::bytes(shared)), "{group}");
            assert!(r.agree(&our_public_i).unwrap().same(&hex::bytes(shared)), "{group}");
        }
    }

    #[test]
    fn a_point_beside_the_curve_is_refused() {
        for (curve, [i, _, _, public_r, _]) in &KNOWN[..3] {
            let group = curve.group;
            let (i, _) = pair(curve, i);
            for at in [0, group.public_len() / 2 - 1, group.public_len() - 1] {
                let mut beside = hex::bytes(public_r);
                beside[at] ^= 1;
                assert_eq!(i.agree(&beside).unwrap_err(), BadPublicKey::Point { group });
            }
            let nowhere = vec![0; group.public_len()];
            assert_eq!(i.agree(&nowhere).unwrap_err(), BadPublicKey::Point { group });
            let too_large = vec![0xff; group.public_len()];
            assert_eq!(i.agree(&too_large).unwrap_err(), BadPublicKey::Point { group });
        }
    }

    #[test]
    fn a_curve25519_value_of_small_order_is_refused() {
        let group = Group::Curve25519;
        let (ours, _) = CURVE25519.draw(&mut Random::numbered(1));
        // The order 1, 2, 4 and 8 points: 0, 1, p - 1, p, p + 1 and the two of order 8.
        for small in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        ] {
            assert_eq!(ours.agree(&hex::bytes(small)).unwrap_err(), BadPublicKey::Point { group });
        }
    }

    #[test]
    fn a_public_value_of_the_wrong_length_is_refused() {
        for (curve, [i, public_i, ..]) in KNOWN {
            let group = curve.group;
            let (ours, _) = pair(curve, i);
            let public = hex::bytes(public_i);
            for bad in [&public[1..], &[&[4], &*public].concat(), &[], &[4; 200]] {
                assert_eq!(ours.agree(bad).unwrap_err(), BadPublicKey::Length { group, found: bad.len() });
            }
        }
    }

    #[test]
    fn bytes_that_are_no_scalar_make_no_key() {
        for curve in [&ECP_256, &ECP_384, &ECP_521] {
            assert!(curve.pair(&Secret::new(vec![0; curve.group.secret_len()])).is_none());
            assert!(curve.pair(&Secret::new(vec![0xff; curve.group.secret_len()])).is_none());
        }
    }
}
