//! Weekdays and times of day.

use super::facts::words;

/// Minutes of a day.
pub const DAY_MINUTES: u16 = 24 * 60;
/// Farthest offset from UTC, in minutes: no clock of a country is farther ahead or behind.
pub const OFFSET_MINUTES_MAX: i16 = 14 * 60;
const MINUTE_MS: i64 = 60_000;

words!(
    /// A day of the week.
    Weekday, {
        /// Monday.
        Monday = "mon",
        /// Tuesday.
        Tuesday = "tue",
        /// Wednesday.
        Wednesday = "wed",
        /// Thursday.
        Thursday = "thu",
        /// Friday.
        Friday = "fri",
        /// Saturday.
        Saturday = "sat",
        /// Sunday.
        Sunday = "sun",
    }
);

/// When a rule matches, by a clock at a fixed offset from UTC: clocks that are set twice a year are the operator's to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// At least one.
    pub days: Vec<Weekday>,
    /// First minute of the day, less than [`DAY_MINUTES`].
    pub from: u16,
    /// Minute at which it is over, up to [`DAY_MINUTES`]. At or before `from`: on the day after.
    pub until: u16,
    /// East of UTC, in minutes, at most [`OFFSET_MINUTES_MAX`] either way.
    pub offset: i16,
}

/// A point of time as clocks show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Days from Monday, 0 to 6.
    day: usize,
    /// Minutes since midnight.
    minute: u16,
}

impl Moment {
    pub(super) fn at(unix_ms: i64, offset_minutes: i16) -> Self {
        let minutes = unix_ms.div_euclid(MINUTE_MS) + i64::from(offset_minutes);
        let days = minutes.div_euclid(i64::from(DAY_MINUTES));
        let minute = minutes.rem_euclid(i64::from(DAY_MINUTES));
        Self {
            // 1 January 1970 was a Thursday.
            day: usize::try_from((days + 3).rem_euclid(7)).unwrap_or(0),
            minute: u16::try_from(minute).unwrap_or(0),
        }
    }

    /// 0 is Sunday, as CEL counts.
    pub(super) fn cel_weekday(self) -> i64 {
        i64::try_from((self.day + 1) % 7).unwrap_or(0)
    }

    pub(super) fn hour(self) -> i64 {
        i64::from(self.minute / 60)
    }

    pub(super) fn minute_of_hour(self) -> i64 {
        i64::from(self.minute % 60)
    }
}

impl Schedule {
    /// Whether it holds at a time.
    pub(super) fn holds(&self, unix_ms: i64) -> bool {
        let Moment { day, minute } = Moment::at(unix_ms, self.offset);
        let is_on = |day: usize| self.days.contains(&Weekday::ALL[day % 7]);
        if self.from < self.until {
            return is_on(day) && (self.from..self.until).contains(&minute);
        }
        // Past midnight it is still what began the day before.
        (is_on(day) && minute >= self.from) || (is_on(day + 6) && minute < self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thursday, 26 November 2026, 00:00 UTC.
    const THURSDAY: i64 = 1_795_651_200_000;
    const HOUR: i64 = 3_600_000;

    fn schedule(days: &[Weekday], from: u16, until: u16, offset: i16) -> Schedule {
        Schedule {
            days: days.to_vec(),
            from,
            until,
            offset,
        }
    }

    #[test]
    fn office_hours_are_by_the_offset() {
        let office = schedule(&Weekday::ALL[..5], 8 * 60, 18 * 60, 60);
        for (after, want) in [
            (6 * HOUR, false),
            (7 * HOUR, true),
            (17 * HOUR - 1, true),
            (17 * HOUR, false),
            (2 * 24 * HOUR + 10 * HOUR, false),
            (4 * 24 * HOUR + 10 * HOUR, true),
        ] {
            assert_eq!(office.holds(THURSDAY + after), want, "{after}");
        }
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = schedule(&[Weekday::Thursday], 22 * 60, 6 * 60, 0);
        for (after, want) in [
            (0, false),
            (22 * HOUR, true),
            (29 * HOUR, true),
            (30 * HOUR, false),
            (46 * HOUR, false),
        ] {
            assert_eq!(night.holds(THURSDAY + after), want, "{after}");
        }
    }

    #[test]
    fn a_whole_day_is_from_midnight_to_midnight() {
        let sunday = schedule(&[Weekday::Sunday], 0, DAY_MINUTES, -120);
        let sunday_began = THURSDAY + 3 * 24 * HOUR + 2 * HOUR;
        assert!(!sunday.holds(sunday_began - 1));
        assert!(sunday.holds(sunday_began) && sunday.holds(sunday_began + 24 * HOUR - 1));
        assert!(!sunday.holds(sunday_began + 24 * HOUR));
    }

    #[test]
    fn weekdays_are_counted_as_in_cel_too() {
        let moment = Moment::at(THURSDAY + 13 * HOUR + 5 * MINUTE_MS, 0);
        let read = (moment.cel_weekday(), moment.hour(), moment.minute_of_hour());
        assert_eq!(read, (4, 13, 5));
    }
}
