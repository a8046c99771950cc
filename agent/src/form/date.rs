//! When a cookie ends, as servers have written that for thirty years (RFC 6265, section 5.1.1).

use std::time::{Duration, SystemTime};

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
/// Days before each month of a year that begins in March, so that a leap day is the last.
const DAYS_BEFORE: [u64; 12] = [306, 337, 0, 31, 61, 92, 122, 153, 184, 214, 245, 275];
/// From the first of March of the year 0 to 1970.
const DAYS_BEFORE_1970: u64 = 719_468;

/// What was found of a date so far.
#[derive(Default)]
struct Found {
    time: Option<(u64, u64, u64)>,
    day: Option<u64>,
    month: Option<usize>,
    year: Option<u64>,
}

/// The time that a text means; what lies before 1970 is over as well then. `None`: it is no date.
pub(crate) fn read(text: &str) -> Option<SystemTime> {
    let mut found = Found::default();
    for token in text.split(is_delimiter).filter(|token| !token.is_empty()) {
        found.take_in(token);
    }
    let ((hour, minute, second), day) = (found.time?, found.day?);
    let (month, year) = (found.month?, full(found.year?));
    let is_good = (1..=31).contains(&day) && year >= 1601 && hour <= 23 && minute <= 59;
    if !is_good || second > 59 {
        return None;
    }
    let days = days(year, month, day).saturating_sub(DAYS_BEFORE_1970);
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn is_delimiter(char: char) -> bool {
    !(char.is_ascii_alphanumeric() || char == ':' || !char.is_ascii())
}

impl Found {
    /// Each token is the first of these that it can be.
    fn take_in(&mut self, token: &str) {
        if self.time.is_none()
            && let Some(time) = time(token)
        {
            self.time = Some(time);
        } else if self.day.is_none()
            && let Some(day) = digits(token, 1..=2)
        {
            self.day = Some(day);
        } else if self.month.is_none()
            && let Some(month) = month(token)
        {
            self.month = Some(month);
        } else if self.year.is_none()
            && let Some(year) = digits(token, 2..=4)
        {
            self.year = Some(year);
        }
    }
}

/// The number at the start of a token, of so many digits.
fn digits(token: &str, count: std::ops::RangeInclusive<usize>) -> Option<u64> {
    let end = token.find(|char: char| !char.is_ascii_digit());
    let digits = &token[..end.unwrap_or(token.len())];
    let is_good = count.contains(&digits.len());
    is_good.then(|| digits.parse().ok()).flatten()
}

fn time(token: &str) -> Option<(u64, u64, u64)> {
    let mut parts = token.splitn(3, ':');
    let mut whole = || {
        let part = parts.next()?;
        digits(part, part.len()..=part.len().min(2))
    };
    let (hour, minute) = (whole()?, whole()?);
    Some((hour, minute, digits(parts.next()?, 1..=2)?))
}

fn month(token: &str) -> Option<usize> {
    let start = token.get(..3)?;
    MONTHS
        .iter()
        .position(|name| start.eq_ignore_ascii_case(name))
}

fn full(year: u64) -> u64 {
    match year {
        0..=69 => year + 2000,
        70..=99 => year + 1900,
        _ => year,
    }
}

/// Days since the first of March of the year 0; months count from 0, for January.
fn days(year: u64, month: usize, day: u64) -> u64 {
    let year = if month < 2 { year - 1 } else { year };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + DAYS_BEFORE[month] + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_all_the_ways_in_which_they_are_written() {
        for text in [
            "Wed, 21 Oct 2015 07:28:00 GMT",
            "Wed, 21-Oct-2015 07:28:00 GMT",
            "Wed, 21-Oct-15 07:28:00 GMT",
            "Wednesday, 21-Oct-15 07:28:00 GMT",
            "Wed Oct 21 07:28:00 2015",
            "21 October 2015 7:28:00",
            "2015 21 oct 07:28:00Z",
        ] {
            let want = httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT");
            assert_eq!(read(text), want.ok(), "{text}");
        }
    }

    #[test]
    fn each_day_is_where_it_belongs() {
        for day in (0..40_000_u64).map(|day| day * 3) {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400 + 3_661);
            let text = httpdate::fmt_http_date(time);
            assert_eq!(read(&text), Some(time), "{text}");
        }
    }

    #[test]
    fn what_was_before_1970_is_over_and_what_is_no_date_is_none() {
        let over = Some(SystemTime::UNIX_EPOCH);
        for text in [
            "Thu, 01-Jan-1970 00:00:00 GMT",
            "Thu, 01-Jan-70 00:00:00 GMT",
            "Mon, 01 Jan 1601 00:00:00 GMT",
        ] {
            assert_eq!(read(text), over, "{text}");
        }
        for text in [
            "",
            "0",
            "-1",
            "Sat, 01 Jan 1600 00:00:00 GMT",
            "Thu, 32 Jan 2020 00:00:00 GMT",
            "Thu, 00 Jan 2020 00:00:00 GMT",
            "Thu, 01 Jan 2020 24:00:00 GMT",
            "Thu, 01 Jan 2020 00:60:00 GMT",
            "Thu, 01 Jan 2020 00:00:60 GMT",
            "Thu, 01 Foo 2020 00:00:00 GMT",
            "Thu, 01 Jan 20201 00:00:00 GMT",
            "Thu, 01 Jan 2020",
            "\u{e9}\u{e9} 01 Jan",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
