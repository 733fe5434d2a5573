//! First messages that were refused lately, so that their repetitions are answered but not explained again.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// Refusals remembered; the oldest gives way.
const REMEMBERED_MAX: usize = 256;

/// Who was refused: the peer's address and the SPI of its attempt.
#[derive(Debug, Default)]
pub(crate) struct Refused(VecDeque<(SocketAddr, u64)>);

impl Refused {
    /// Remembers a refusal; false when it was remembered already.
    pub(crate) fn is_new(&mut self, peer: SocketAddr, spi: u64) -> bool {
        if self.0.contains(&(peer, spi)) {
            return false;
        }
        if self.0.len() == REMEMBERED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((peer, spi));
        true
    }

    /// Forgets all: the next refusal may have another reason.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_new_once_and_memory_is_bounded() {
        let mut refused = Refused::default();
        let peer = |port: u16| SocketAddr::from(([203, 0, 113, 1], port));
        assert!(refused.is_new(peer(500), 1) && !refused.is_new(peer(500), 1));
        assert!(refused.is_new(peer(500), 2) && refused.is_new(peer(4500), 1));
        for spi in 1_000..1_000 + 10 * REMEMBERED_MAX as u64 {
            assert!(refused.is_new(peer(500), spi));
        }
        assert_eq!(refused.0.len(), REMEMBERED_MAX);
        assert!(refused.is_new(peer(500), 1));
        refused.clear();
        assert!(refused.is_new(peer(500), 1));
    }
}
