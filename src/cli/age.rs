//! Points and spans of time as people read them.

use std::time::{Duration, SystemTime};

use prost_types::{Duration as WireDuration, Timestamp};
use runtime::config;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How long before or after `now` a time is: `3 min ago`, `in 2 h`; empty if there is none.
pub(crate) fn relative(time: Option<&Timestamp>, now: SystemTime) -> String {
    let Some(time) = time.and_then(|time| proto::time::system_time(time).ok()) else {
        return String::new();
    };
    match now.duration_since(time) {
        Ok(passed) if passed < Duration::from_secs(1) => "just now".to_owned(),
        Ok(passed) => format!("{} ago", rough(passed)),
        Err(ahead) => format!("in {}", rough(ahead.duration())),
    }
}

/// A span in its largest whole unit.
fn rough(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..MINUTE => format!("{seconds} s"),
        seconds @ MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        seconds @ HOUR..DAY => format!("{} h", seconds / HOUR),
        seconds if seconds < 2 * DAY => "1 day".to_owned(),
        seconds => format!("{} days", seconds / DAY),
    }
}

/// RFC 3339, for JSON.
pub(crate) fn rfc3339(time: Option<Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}

/// RFC 3339 for people, who need no fractions of a second; empty if there is none.
pub(crate) fn to_the_second(time: Option<&str>) -> String {
    let time = time.unwrap_or_default();
    match time.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => time.to_owned(),
    }
}

/// A span as it is written in flags and files: the largest unit that gives a whole number.
pub(crate) fn span(wire: &WireDuration) -> String {
    let Ok(span) = proto::time::duration(wire) else {
        return String::new();
    };
    config::written_duration(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn ages_are_told_in_one_unit() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        for (seconds_ago, want) in [
            (0, "just now"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (3_599, "59 min ago"),
            (3_600, "1 h ago"),
            (86_399, "23 h ago"),
            (86_400, "1 day ago"),
            (172_800, "2 days ago"),
            (-1, "in 1 s"),
            (-7_200, "in 2 h"),
        ] {
            let time = Timestamp {
                seconds: i64::try_from(NOW).unwrap() - seconds_ago,
                nanos: 0,
            };
            assert_eq!(relative(Some(&time), now), want);
        }
        assert_eq!(relative(None, now), "");
    }

    #[test]
    fn spans_are_read_back_by_the_parser_of_flags() {
        for (millis, want) in [
            (0, "0s"),
            (100, "100ms"),
            (1_500, "1500ms"),
            (10_000, "10s"),
            (85_000, "85s"),
            (300_000, "5m"),
            (7_200_000, "2h"),
            (86_400_000, "1d"),
        ] {
            let whole = Duration::from_millis(millis);
            let text = span(&proto::time::wire_duration(whole));
            assert_eq!(text, want);
            assert_eq!(config::duration(&text), Ok(whole));
        }
    }

    #[test]
    fn json_has_rfc_3339() {
        let time = Timestamp {
            seconds: 1_800_000_000,
            nanos: 0,
        };
        assert_eq!(rfc3339(Some(time)).as_deref(), Some("2027-01-15T08:00:00Z"));
    }

    #[test]
    fn people_see_no_fractions_of_a_second() {
        for time in ["2027-01-15T08:00:00.650630486Z", "2027-01-15T08:00:00Z"] {
            assert_eq!(to_the_second(Some(time)), "2027-01-15T08:00:00Z");
        }
        assert_eq!(to_the_second(None), "");
    }
}
