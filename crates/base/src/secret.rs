use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes that nobody may read by accident: wiped on drop, compared in constant time, never printed.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over; the vector is wiped when the secret is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A copy of `bytes`; wiping the original is the caller's part.
    pub fn copy(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }

    /// The bytes, for the algorithm that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes, which is no secret.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for a secret of no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Constant-time comparison of the contents; the lengths may show.
    pub fn same(&self, other: &[u8]) -> bool {
        self.0.as_slice().ct_eq(other).into()
    }
}

/// In constant time, as [`Secret::same`].
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.same(&other.0)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_its_length_and_nothing_else() {
        assert_eq!(format!("{:?}", Secret::copy(b"swordfish")), "Secret(9 bytes)");
    }

    #[test]
    fn only_equal_bytes_are_the_same() {
        let secret = Secret::copy(b"swordfish");
        assert!(secret.same(b"swordfish"));
        assert!(!secret.same(b"swordfisH"));
        assert!(!secret.same(b"swordfis"));
        assert!(!secret.same(b""));
    }
}
