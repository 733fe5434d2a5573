//! Schedules: which are active, and when that changes. The wall clock may jump, so it is compared with the monotonic one.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::{Duration, Event, Instant, Now, Record};
use objects::{Schedule, Snapshot};

use crate::events::ScheduleChanged;

/// Before this, 1 January 2020, no clock is right: a host without one that runs begins at 1970.
const CLOCK_IS_SET: u64 = 1_577_836_800;
/// Jumps of the wall clock smaller than this are its keeper at work.
const JUMP_MIN: Duration = Duration::from_millis(1_500);
/// While there are schedules, the clock is looked at so often, in case it jumps.
const LOOK: Duration = Duration::from_secs(60);

/// All schedules in use.
#[derive(Debug, Default)]
pub(crate) struct Schedules {
    all: Vec<Arc<Schedule>>,
    offset: i64,
    active: BTreeSet<String>,
    /// Both clocks when they were looked at last.
    seen: Now,
    next: Option<Instant>,
}

impl Schedules {
    /// From now on these.
    pub(crate) fn configure(&mut self, now: Now, snapshot: &Snapshot) {
        self.all = snapshot.schedules().into_iter().map(Arc::clone).collect();
        self.offset = i64::from(snapshot.settings.utc_offset);
        self.active = self.active_at(now);
        self.plan(now);
    }

    /// Looks at the clock when it is time or the clock has jumped. True when another schedule is active than before.
    pub(crate) fn look(&mut self, now: Now, out: &mut Vec<Record>) -> bool {
        if self.all.is_empty() || self.next.is_some_and(|next| now.mono < next) && !self.has_jumped(now) {
            return false;
        }
        let active = self.active_at(now);
        let changed = active != self.active;
        for schedule in &self.all {
            let is_active = active.contains(&schedule.name);
            if is_active != self.active.contains(&schedule.name) {
                let state = if is_active { "active" } else { "inactive" };
                out.push(ScheduleChanged { schedule: schedule.name.clone(), state }.record());
            }
        }
        self.active = active;
        self.plan(now);
        changed
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    fn plan(&mut self, now: Now) {
        self.seen = now;
        let local = seconds(now).map(|utc| utc.saturating_add(self.offset));
        let change = local.and_then(|local| {
            let next = self.all.iter().filter_map(|schedule| schedule.next_change(local)).min()?;
            let away = u64::try_from(next.saturating_sub(local)).ok()?;
            // The second has begun already.
            let begun = now.utc.as_micros() % 1_000_000;
            Some(Duration::from_secs(away).saturating_sub(Duration::from_micros(begun)))
        });
        let wait = change.map_or(LOOK, |change| change.clamp(Duration::from_micros(1), LOOK));
        self.next = (!self.all.is_empty()).then(|| now.mono + wait);
    }

    fn has_jumped(&self, now: Now) -> bool {
        let expected = self.seen.utc.as_micros().saturating_add(now.mono.as_micros()) - self.seen.mono.as_micros();
        Duration::from_micros(now.utc.as_micros().abs_diff(expected)) >= JUMP_MIN
    }

    fn active_at(&self, now: Now) -> BTreeSet<String> {
        let Some(utc) = seconds(now) else { return BTreeSet::new() };
        let local = utc.saturating_add(self.offset);
        self.all.iter().filter(|schedule| schedule.active(local)).map(|schedule| schedule.name.clone()).collect()
    }
}

/// Seconds since 1970 in UTC; `None` when the host does not know the time.
pub(crate) fn seconds(now: Now) -> Option<i64> {
    let seconds = now.utc.as_secs();
    (seconds >= CLOCK_IS_SET).then_some(seconds).and_then(|seconds| i64::try_from(seconds).ok())
}

#[cfg(test)]
mod tests {
    use base::UnixTime;

    use super::*;

    /// Monday, 3 June 2024, 07:59:30 UTC.
    const MONDAY: u64 = 1_717_401_570;

    fn now(mono: u64, utc: u64) -> Now {
        Now { mono: Instant::from_micros(mono * 1_000_000), utc: UnixTime::from_micros(utc * 1_000_000) }
    }

    fn office() -> Schedules {
        let hours = [(8..17).fold(0, |bits, hour| bits | 1 << hour); 7];
        let office = Schedule { name: "office".to_owned(), hours, start: None, end: None };
        let mut schedules = Schedules { all: vec![Arc::new(office)], ..Schedules::default() };
        schedules.plan(now(0, MONDAY));
        schedules
    }

    #[test]
    fn a_schedule_begins_at_its_second() {
        let mut schedules = office();
        assert_eq!(schedules.next_deadline(), Some(Instant::from_micros(30_000_000)));
        let log = &mut Vec::new();
        assert!(!schedules.look(now(29, MONDAY + 29), log));
        assert!(schedules.look(now(30, MONDAY + 30), log));
        assert!(!schedules.look(now(30, MONDAY + 30), log));
        assert_eq!((log.len(), log[0].field("state")), (1, Some("active")));
    }

    #[test]
    fn a_clock_that_jumps_is_noticed_at_the_next_step() {
        let mut schedules = office();
        let log = &mut Vec::new();
        assert!(!schedules.look(now(5, MONDAY + 6), log), "a clock that is put right by a second does not jump");
        assert!(schedules.look(now(6, MONDAY + 3600), log));
        assert!(schedules.look(now(7, MONDAY - 3600), log));
    }

    #[test]
    fn without_the_time_nothing_is_active() {
        let mut schedules = office();
        let log = &mut Vec::new();
        assert!(schedules.look(now(30, MONDAY + 30), log));
        assert!(schedules.look(now(31, 100), log));
        assert!(schedules.active.is_empty());
    }
}
