//! Time as records and messages count it: from 1970 on, in signed numbers.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use proto::time::wire_timestamp;

/// Seconds since 1970; 0 for a clock set before it.
pub(crate) fn unix_seconds(time: SystemTime) -> i64 {
    i64::try_from(since_1970(time).as_secs()).unwrap_or(i64::MAX)
}

/// Milliseconds since 1970; 0 for a clock set before it.
pub(crate) fn unix_ms(time: SystemTime) -> i64 {
    i64::try_from(since_1970(time).as_millis()).unwrap_or(i64::MAX)
}

/// The time so many milliseconds after 1970; nothing was before. `None`: no clock gets there.
pub(crate) fn timestamp_of_ms(ms: i64) -> Option<Timestamp> {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or_default());
    let time = SystemTime::UNIX_EPOCH.checked_add(since);
    time.map(wire_timestamp)
}

fn since_1970(time: SystemTime) -> Duration {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
        assert_eq!(unix_seconds(time), 1_800_000_000);
        assert_eq!(unix_ms(time), 1_800_000_000_123);
        assert_eq!(timestamp_of_ms(unix_ms(time)), Some(wire_timestamp(time)));
    }

    #[test]
    fn nothing_is_before_1970() {
        let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!((unix_seconds(early), unix_ms(early)), (0, 0));
        let epoch = wire_timestamp(SystemTime::UNIX_EPOCH);
        assert_eq!(timestamp_of_ms(-1), Some(epoch));
    }
}
