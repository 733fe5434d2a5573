//! The pseudo-random functions of IKE, and the key stream made of one (RFC 7296, 2.13).

use std::fmt;

use aws_lc_rs::hmac;
use base::Secret;

use crate::Prf;

/// How many outputs one key stream may have: they are counted in a byte (RFC 7296, 2.13).
const MOST_BLOCKS: usize = 255;

impl Prf {
    /// prf(key, parts): the parts are taken one behind the other. The key may have any length (RFC 7296, 2.14).
    pub fn compute(self, key: &[u8], parts: &[&[u8]]) -> Secret {
        Secret::copy(Keyed::new(self, key).over(parts).as_ref())
    }
}

/// The first `len` bytes of prf+(key, seed), the seed's parts taken one behind the other (RFC 7296, 2.13).
///
/// # Errors
/// When `len` is more than 255 outputs of the function.
pub fn prf_plus(prf: Prf, key: &[u8], seed: &[&[u8]], len: usize) -> Result<Secret, TooLong> {
    let block = prf.output_len();
    let blocks = len.div_ceil(block);
    let too_long = TooLong { asked: len, most: MOST_BLOCKS * block };
    if blocks > MOST_BLOCKS {
        return Err(too_long);
    }
    let keyed = Keyed::new(prf, key);
    // Whole blocks fit, so that the vector never moves and leaves no copy behind.
    let mut stream = Vec::with_capacity(blocks * block);
    for count in 1..=u8::try_from(blocks).map_err(|_| too_long)? {
        let last = stream.rchunks(block).next().unwrap_or_default();
        let mut context = keyed.start();
        context.update(last);
        seed.iter().for_each(|part| context.update(part));
        context.update(&[count]);
        stream.extend_from_slice(context.sign().as_ref());
    }
    stream.truncate(len);
    Ok(Secret::new(stream))
}

/// A function with its key.
struct Keyed(hmac::Key);

impl Keyed {
    fn new(prf: Prf, key: &[u8]) -> Self {
        let algorithm = match prf {
            Prf::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Prf::HmacSha2_256 => hmac::HMAC_SHA256,
            Prf::HmacSha2_512 => hmac::HMAC_SHA512,
        };
        Self(hmac::Key::new(algorithm, key))
    }

    fn start(&self) -> hmac::Context {
        hmac::Context::with_key(&self.0)
    }

    fn over(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = self.start();
        parts.iter().for_each(|part| context.update(part));
        context.sign()
    }
}

/// More key material was asked of a key stream than it can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Bytes asked for.
    pub asked: usize,
    /// Bytes there are.
    pub most: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of key material were asked for; this function gives at most {}", self.asked, self.most)
    }
}

impl std::error::Error for TooLong {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// Key, data, HMAC-SHA1: RFC 2202, section 3.
    const RFC_2202: [(&str, &str, &str); 7] = [
        ("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265", "b617318655057264e28bc0b6fb378c8ef146be00"),
        (
            "4a656665",
            "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
        ),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd \
             dddd",
            "125d7342b9ac11cd91a39af48aa17b4f63f175d3",
        ),
        (
            "0102030405060708090a0b0c0d0e0f10111213141516171819",
            "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd \
             cdcd",
            "4c9007f4026250c6bc8414f9bf50c86c2d7235da",
        ),
        (
            "0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c",
            "546573742057697468205472756e636174696f6e",
            "4c1a03424b55e07fe7f27be1d58bb9324a9a5a04",
        ),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \
             aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b6579202d2048617368204b6579 \
             204669727374",
            "aa4ae5e15272d00e95705637ce8a3b55ed402112",
        ),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \
             aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b657920616e64204c6172676572 \
             205468616e204f6e6520426c6f636b2d53697a652044617461",
            "e8e99d0f45237d786d6bbaa7965c7808bbff1a91",
        ),
    ];

    /// Key, data, HMAC-SHA-256: RFC 4231, section 4.
    const RFC_4231_SHA256: [(&str, &str, &str); 7] = [
        (
            "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
            "4869205468657265",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            "4a656665",
            "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd \
             dddd",
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        ),
        (
            "0102030405060708090a0b0c0d0e0f10111213141516171819",
            "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd \
             cdcd",
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        ),
        (
            "0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c",
            "546573742057697468205472756e636174696f6e",
            "a3b6167473100ee06e0c796c2955552b",
        ),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \
             aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \
             aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b6579202d2048617368204b6579 \
             204669727374",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \
             aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \
             aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "5468697320697320612074657374207573696e672061206c6172676572207468616e20626c6f636b2d73697a65206b65 \
             7920616e642061206c6172676572207468616e20626c6f636b2d73697a6520646174612e20546865206b6579206e6565 \
             647320746f20626520686173686564206265666f7265206265696e6720757365642062792074686520484d414320616c \
             676f726974686d2e",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ];

    /// Key, data, HMAC-SHA-512: RFC 4231, section 4.
    const RFC_4231_SHA512: [(&str, &str, &str); 7] = [
        (
            "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
            "4869205468657265",
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4 \
             be9d914eeb61f1702e696c203a126854",
        ),
        (
            "4a656665",
            "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd \
             caeab1a34d4a6b4b636e070a38bce737",
        ),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd \
             dddd",
            "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39bf3e848279a722c806b485a47e67c807 \
             b946a337bee8942674278859e13292fb",
        ),
        (
            "0102030405060708090a0b0c0d0e0f10111213141516171819",
            "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd \
             cdcd",
            "b0ba465637458c6990e5a8c5f61d4af7e576d97ff94b872de76f8050361ee3dba91ca5c11aa25eb4d679275cc5788063 \
             a5f19741120c4f2de2adebeb10a298dd",
        ),
        (
            "0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c",
            "546573742057697468205472756e636174696f6e",
            "415fad6271580a531d4179bc891d87a6",
        ),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \
             aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \
             aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b6579202d2048617368204b6579 \
             204669727374",
            "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e52 \
             95e64f73f63f0aec8b915a985d786598",
        ),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \
             aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \
             aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "5468697320697320612074657374207573696e672061206c6172676572207468616e20626c6f636b2d73697a65206b65 \
             7920616e642061206c6172676572207468616e20626c6f636b2d73697a6520646174612e20546865206b6579206e6565 \
             647320746f20626520686173686564206265666f7265206265696e6720757365642062792074686520484d414320616c \
             676f726974686d2e",
            "e37b6a775dc87dbaa4dfa9f96e5e3ffddebd71f8867289865df5a32d20cdc944b6022cac3c4982b10d5eeb55c3e4de15 \
             134676fb6de0446065c97440fa8c6a58",
        ),
    ];

    #[test]
    fn the_published_hmacs_come_out_however_the_input_is_cut() {
        for (prf, vectors) in [
            (Prf::HmacSha1, RFC_2202.as_slice()),
            (Prf::HmacSha2_256, RFC_4231_SHA256.as_slice()),
            (Prf::HmacSha2_512, RFC_4231_SHA512.as_slice()),
        ] {
            for (number, (key, data, expected)) in vectors.iter().enumerate() {
                let (key, data) = (hex::bytes(key), hex::bytes(data));
                let (head, tail) = data.split_at(number);
                let output = prf.compute(&key, &[head, b"", tail]);
                // RFC 4231, 4.6 publishes the first 16 bytes alone.
                assert_eq!(output.len(), prf.output_len());
                let expected = hex::bytes(expected);
                assert_eq!(&output.expose()[..expected.len()], expected, "{prf} {number}");
            }
        }
    }

    #[test]
    fn the_key_stream_chains_its_blocks() {
        for &prf in Prf::ALL {
            let first = prf.compute(b"key", &[b"seed", &[1]]);
            let second = prf.compute(b"key", &[first.expose(), b"seed", &[2]]);
            let third = prf.compute(b"key", &[second.expose(), b"seed", &[3]]);
            let stream = prf_plus(prf, b"key", &[b"se", b"ed"], 2 * prf.output_len() + 5).unwrap();
            assert!(stream.same(&[first.expose(), second.expose(), &third.expose()[..5]].concat()));
        }
    }

    #[test]
    fn a_key_stream_ends_after_255_blocks() {
        for &prf in Prf::ALL {
            let most = 255 * prf.output_len();
            assert_eq!(prf_plus(prf, b"key", &[b"seed"], most).unwrap().len(), most);
            let refused = prf_plus(prf, b"key", &[b"seed"], most + 1).unwrap_err();
            assert_eq!(refused, TooLong { asked: most + 1, most });
            assert!(prf_plus(prf, b"key", &[b"seed"], usize::MAX).is_err());
            assert!(prf_plus(prf, b"key", &[b"seed"], 0).unwrap().is_empty());
        }
    }

    #[test]
    fn an_empty_key_is_a_key() {
        // Computed with Python 3's hmac module.
        let expected = "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad";
        assert!(Prf::HmacSha2_256.compute(b"", &[]).same(&hex::bytes(expected)));
    }
}
