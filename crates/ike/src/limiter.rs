use base::{Duration, Instant};

/// A bound on how often something may be done for strangers: a bucket of tokens that fills with time.
#[derive(Debug)]
pub(crate) struct RateLimit {
    every: Duration,
    burst: u32,
    left: u32,
    at: Instant,
}

impl RateLimit {
    /// One in `every`, up to `burst` at once.
    pub(crate) const fn new(every: Duration, burst: u32) -> Self {
        Self { every, burst, left: burst, at: Instant::ZERO }
    }

    /// Takes a token; false when there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let every = self.every.as_micros().max(1);
        let filled = u32::try_from(now.since(self.at).as_micros() / every).unwrap_or(u32::MAX);
        if filled > 0 {
            self.left = self.left.saturating_add(filled).min(self.burst);
            self.at = if self.left == self.burst { now } else { self.at + self.every * filled };
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
    fn a_burst_passes_and_then_one_at_a_time() {
        let mut limit = RateLimit::new(Duration::from_millis(100), 3);
        let at = |millis: u64| Instant::from_micros(millis * 1_000);
        assert_eq!((0..5).filter(|_| limit.take(at(1_000))).count(), 3);
        assert!(!limit.take(at(1_050)));
        assert!(limit.take(at(1_100)) && !limit.take(at(1_101)));
        assert_eq!((0..9).filter(|_| limit.take(at(9_000))).count(), 3);
    }
}
