//! Nonce payload: RFC 7296 section 3.9.

use super::malformed::count;
use super::{Expected, Malformed};

/// Fewest bytes of a nonce.
pub const NONCE_MIN: usize = 16;
/// Most bytes of a nonce.
pub const NONCE_MAX: usize = 256;

pub(super) fn parse(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let wrong = |expected| Malformed { part: "Nonce payload", what: "length", found: count(body.len()), expected };
    if body.len() < NONCE_MIN {
        Err(wrong(Expected::AtLeast(count(NONCE_MIN))))
    } else if body.len() > NONCE_MAX {
        Err(wrong(Expected::AtMost(count(NONCE_MAX))))
    } else {
        Ok(body.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_has_16_to_256_bytes() {
        assert!(parse(&[0; 15]).is_err() && parse(&[0; 257]).is_err());
        assert!(parse(&[0; 16]).is_ok() && parse(&[0; 256]).is_ok());
    }
}
