//! Both clocks, read together.

use std::time::SystemTime;

use base::{Instant, Now, UnixTime};
use rustix::time::{ClockId, clock_gettime};

/// What the monotonic clock says. It goes on while the machine is suspended: lifetimes of keys do not stop there.
pub fn mono() -> Instant {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_nsec / 1_000).unwrap_or(0);
    Instant::from_micros(seconds.saturating_mul(1_000_000).saturating_add(micros))
}

/// What the clocks say.
pub fn now() -> Now {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now { mono: mono(), utc: UnixTime::from_micros(u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)) }
}
