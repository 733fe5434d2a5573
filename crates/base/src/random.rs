use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::Secret;

/// The gateway's only source of chance: ChaCha20 under a seed of 32 bytes, which the daemon takes from the operating
/// system and the simulator from a number.
pub struct Random(ChaCha20Rng);

impl Random {
    /// A generator whose whole output follows from `seed`.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// A generator for tests and simulations, named by a number.
    pub fn numbered(number: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(number))
    }

    /// A generator of its own for a part of the system: what the part draws does not disturb its siblings.
    pub fn fork(&mut self) -> Self {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        Self::from_seed(seed)
    }

    /// Fills `bytes` with values that may be shown to the world: nonces, SPIs, cookies.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// `len` bytes that must not be shown: private keys, pre-shared keys.
    pub fn secret(&mut self, len: usize) -> Secret {
        let mut bytes = vec![0; len];
        self.0.fill_bytes(&mut bytes);
        Secret::new(bytes)
    }

    /// A number from the whole range.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from the whole range.
    pub fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A number below `bound`, or 0 when `bound` is 0. The bias is under 2^-32 for bounds below 2^32.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.next_u64() % bound }
    }

    /// True with probability `numerator` in `denominator`.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_history() {
        let (mut a, mut b) = (Random::numbered(7), Random::numbered(7));
        assert_eq!((0..9).map(|_| a.u64()).collect::<Vec<_>>(), (0..9).map(|_| b.u64()).collect::<Vec<_>>());
        assert_ne!(a.u64(), Random::numbered(8).u64());
    }

    #[test]
    fn a_fork_is_not_disturbed_by_what_its_parent_draws_later() {
        let (mut a, mut b) = (Random::numbered(7), Random::numbered(7));
        let (mut fork_a, mut fork_b) = (a.fork(), b.fork());
        a.u64();
        assert_eq!(fork_a.u64(), fork_b.u64());
        assert_ne!(a.u64(), b.u64());
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut random = Random::numbered(1);
        assert!((0..1_000).all(|_| random.below(3) < 3));
        assert_eq!(random.below(0), 0);
    }
}
