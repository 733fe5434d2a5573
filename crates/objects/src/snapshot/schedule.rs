//! When something is in force: hours of the week, between two dates. Own calendar: no clock, no time zones but a fixed
//! offset.

/// Seconds of an hour, a day and a week.
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

/// A schedule. All times are local seconds: seconds since 1970 in UTC plus the offset of the gateway's time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// The hours of each day on which it is active, as bits from 0 to 23; Monday first.
    pub hours: [u32; 7],
    /// It is not active before.
    pub start: Option<i64>,
    /// It is not active from then on.
    pub end: Option<i64>,
}

impl Schedule {
    /// True when it is active.
    pub fn active(&self, local: i64) -> bool {
        let begun = self.start.is_none_or(|start| start <= local);
        begun && self.end.is_none_or(|end| local < end) && self.within_hours(local)
    }

    /// When it next becomes active or stops being so; `None`: never again.
    pub fn next_change(&self, local: i64) -> Option<i64> {
        let now = self.active(local);
        // Hours repeat with the week, so nothing new happens later than a week after the last date that counts.
        let dates = [self.start, self.end].into_iter().flatten().filter(|date| *date > local);
        let hours_from = |from: i64| {
            let first = from.div_euclid(HOUR).saturating_add(1).saturating_mul(HOUR);
            (0..=WEEK / HOUR).map(move |step| first.saturating_add(step.saturating_mul(HOUR)))
        };
        let begin = self.start.filter(|start| *start > local).unwrap_or(local);
        dates
            .chain(hours_from(local))
            .chain(hours_from(begin))
            .filter(|at| *at > local && self.active(*at) != now)
            .min()
    }

    fn within_hours(&self, local: i64) -> bool {
        // 1 January 1970 was a Thursday, the fourth day of a week that begins on Monday.
        let day = local.div_euclid(DAY).saturating_add(3).rem_euclid(7);
        let hour = local.rem_euclid(DAY).div_euclid(HOUR);
        let bits = usize::try_from(day).ok().and_then(|day| self.hours.get(day)).copied().unwrap_or(0);
        u32::try_from(hour).is_ok_and(|hour| bits.checked_shr(hour).is_some_and(|bits| bits & 1 == 1))
    }
}

/// Seconds since 1970 of `YYYY-MM-DD`, perhaps with ` HH:MM:SS` behind it. `None`: there is no such date, or it lies
/// outside the years 1970 to 9999.
pub(crate) fn date(text: &str) -> Option<i64> {
    let (day, time) = text.trim().split_once([' ', 'T']).unwrap_or((text.trim(), "00:00:00"));
    let numbers = |text: &str, separator: char, widths: &[usize]| -> Option<Vec<i64>> {
        let pieces: Vec<&str> = text.split(separator).collect();
        let fits = pieces.len() == widths.len()
            && pieces
                .iter()
                .zip(widths)
                .all(|(piece, width)| piece.len() == *width && piece.bytes().all(|byte| byte.is_ascii_digit()));
        if !fits {
            return None;
        }
        pieces.iter().map(|piece| piece.parse().ok()).collect()
    };
    let day = numbers(day, '-', &[4, 2, 2])?;
    let time = numbers(time, ':', &[2, 2, 2])?;
    let ([year, month, day], [hour, minute, second]) = (day.as_slice(), time.as_slice()) else { return None };
    let days_of_month = match *month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if *year < 1970 || !(1..=days_of_month).contains(day) || *hour > 23 || *minute > 59 || *second > 59 {
        return None;
    }
    // Days before a date, counted in years that begin in March so that the leap day comes last.
    let (year, month) = if *month > 2 { (*year, *month - 3) } else { (*year - 1, *month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // 1 January 1970, counted the same way.
    Some((days - 719_468) * DAY + hour * HOUR + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn office() -> Schedule {
        let hours = (8..17).fold(0, |bits, hour| bits | 1 << hour);
        Schedule { name: "office".to_owned(), hours: [hours, hours, hours, hours, hours, 0, 0], start: None, end: None }
    }

    fn at(text: &str) -> i64 {
        date(text).unwrap()
    }

    #[test]
    fn dates_are_what_the_calendar_says() {
        assert_eq!(date("1970-01-01"), Some(0));
        assert_eq!(date("2000-02-29 12:00:00"), Some(951_825_600));
        assert_eq!(date("2024-12-31 23:59:59"), Some(1_735_689_599));
        for wrong in ["2023-02-29", "2024-13-01", "2024-1-1", "1969-12-31", "2024-01-01 24:00:00", "soon", ""] {
            assert_eq!(date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_schedule_is_active_in_its_hours_on_its_days() {
        let office = office();
        assert!(office.active(at("2024-06-03 08:00:00")), "a Monday");
        assert!(office.active(at("2024-06-07 16:59:59")), "a Friday");
        assert!(!office.active(at("2024-06-07 17:00:00")));
        assert!(!office.active(at("2024-06-08 10:00:00")), "a Saturday");
    }

    #[test]
    fn a_schedule_ends_with_its_date_and_begins_with_it() {
        let fair = Schedule { start: Some(at("2024-06-04")), end: Some(at("2024-06-05 10:00:00")), ..office() };
        assert!(!fair.active(at("2024-06-03 10:00:00")));
        assert!(fair.active(at("2024-06-04 10:00:00")));
        assert!(!fair.active(at("2024-06-05 10:00:00")));
        assert_eq!(fair.next_change(at("2023-01-01")), Some(at("2024-06-04 08:00:00")));
        assert_eq!(fair.next_change(at("2024-06-05 09:00:00")), Some(at("2024-06-05 10:00:00")));
        assert_eq!(fair.next_change(at("2024-06-05 10:00:00")), None);
    }

    #[test]
    fn the_next_change_is_the_first_second_that_differs() {
        let office = office();
        let change = |from: &str, to: &str| assert_eq!(office.next_change(at(from)), Some(at(to)), "{from}");
        change("2024-06-07 16:30:00", "2024-06-07 17:00:00");
        change("2024-06-07 17:00:00", "2024-06-10 08:00:00");
        let always = Schedule { hours: [0xff_ffff; 7], ..office.clone() };
        assert_eq!(always.next_change(at("2024-06-07")), None);
    }
}
