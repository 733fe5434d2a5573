//! ScheduleProfile: hours of the week, between two dates.

use schema::kind::{Ranges, Text};
use schema::{Object, Problem, object};

use crate::snapshot::{Schedule, date};

object! {
    /// When a policy or a routing rule is in force: at the named hours of each day, from a date, until a date. The
    /// times are local; see UTCOffset of the DateTime settings. A connection that is open when the time is over stays.
    pub struct ScheduleProfile: "ScheduleProfile" or "Schedule" {
        columns: &["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "StartDate", "EndDate"],
    }

    /// Hours on Mondays: `8-17` is from 8:00 to 17:00, and a single number is one hour.
    optional mon as "Mon": Ranges<24>;
    /// Hours on Tuesdays.
    optional tue as "Tue": Ranges<24>;
    /// Hours on Wednesdays.
    optional wed as "Wed": Ranges<24>;
    /// Hours on Thursdays.
    optional thu as "Thu": Ranges<24>;
    /// Hours on Fridays.
    optional fri as "Fri": Ranges<24>;
    /// Hours on Saturdays.
    optional sat as "Sat": Ranges<24>;
    /// Hours on Sundays.
    optional sun as "Sun": Ranges<24>;
    /// Not before this date: `2026-01-31` or `2026-01-31 08:00:00`.
    optional start as "StartDate": Text;
    /// Not from this date on.
    optional end as "EndDate": Text;
}

impl ScheduleProfile {
    /// What it means. Hours that were not given at all, on no day, are every hour of every day.
    pub fn schedule(&self, name: &str) -> Schedule {
        let days = [&self.mon, &self.tue, &self.wed, &self.thu, &self.fri, &self.sat, &self.sun];
        let every = days.iter().all(|day| day.is_none());
        let bits = |ranges: &Vec<(u32, u32)>| {
            let hours = ranges.iter().flat_map(|&(from, to)| from..to.max(from.saturating_add(1)).min(24));
            hours.fold(0, |bits, hour| bits | 1u32.checked_shl(hour).unwrap_or(0))
        };
        let hours = days.map(|day| if every { 0xff_ffff } else { day.as_ref().map_or(0, bits) });
        let at = |text: &Option<String>| text.as_deref().and_then(date);
        Schedule { name: name.to_owned(), hours, start: at(&self.start), end: at(&self.end) }
    }
}

/// What is wrong with a schedule beyond the kinds of its values.
pub(crate) fn check(object: &Object) -> Option<Problem> {
    let read = (object.info.name == ScheduleProfile::TYPE.name).then(|| ScheduleProfile::read(object))??;
    for (property, text) in [("StartDate", &read.start), ("EndDate", &read.end)] {
        if let Some(text) = text.as_ref().filter(|text| date(text).is_none()) {
            let problem = Problem::error(format!("found \"{text}\"; expected a date such as 2026-01-31 08:00:00"));
            return Some(problem.property(property).at(object.place(property)));
        }
    }
    let (start, end) = (read.start.as_deref().and_then(date)?, read.end.as_deref().and_then(date)?);
    (end <= start).then(|| {
        Problem::error("the schedule ends before it begins")
            .property("EndDate")
            .remedy("write a date after StartDate")
            .at(object.place("EndDate"))
    })
}
