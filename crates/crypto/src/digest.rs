//! Plain hashes, where the protocol wants one without a key.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// SHA-1 of the parts, one behind the other. IKEv2 hashes addresses and ports with it to detect NAT (RFC 7296, 2.23),
/// where nothing depends on collisions; it protects nothing.
pub fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 20];
    for (to, from) in hash.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn sha1_gives_the_published_digests_however_the_input_is_cut() {
        // FIPS 180-1, appendices A and B.
        assert_eq!(sha1(&[b"abc"]).as_slice(), hex::bytes("a9993e364706816aba3e25717850c26c9cd0d89d"));
        assert_eq!(sha1(&[b"", b"a", b"bc"]), sha1(&[b"abc"]));
        assert_eq!(
            sha1(&[b"abcdbcdecdefdefgefghfghighijhijk", b"ijkljklmklmnlmnomnopnopq"]).as_slice(),
            hex::bytes("84983e441c3bd26ebaae4aa1f95129e5e54670f1")
        );
    }
}
