//! How often something may be done.

use base::{Duration, Instant};

/// Lets through so many a second, and as many at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    per_second: u32,
    left: u32,
    second: Instant,
}

impl Rate {
    pub(crate) const fn new(per_second: u32) -> Self {
        Self { per_second, left: per_second, second: Instant::ZERO }
    }

    /// True when it may be done now.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        if now.since(self.second) >= Duration::from_secs(1) {
            (self.second, self.left) = (now, self.per_second);
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_and_no_more() {
        let mut rate = Rate::new(3);
        let at = |millis: u64| Instant::from_micros(millis * 1000);
        assert_eq!((0..5).filter(|_| rate.allows(at(100))).count(), 3);
        assert!(!rate.allows(at(900)));
        assert_eq!((0..5).filter(|_| rate.allows(at(1_100))).count(), 3);
    }
}
