//! Values of flags that are neither words nor ids.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use runtime::Clock;

/// A span such as `10s` or `2h`, longer than nothing.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match runtime::config::duration(text) {
        Ok(Duration::ZERO) => Err("must be longer than 0".to_owned()),
        Ok(span) => Ok(span),
        Err(error) => Err(error.to_string()),
    }
}

/// A span within limits.
pub(crate) fn duration_in(
    text: &str,
    (least, most): (Duration, Duration),
) -> Result<Duration, String> {
    let span = runtime::config::duration(text).map_err(|error| error.to_string())?;
    if (least..=most).contains(&span) {
        return Ok(span);
    }
    Err(format!(
        "must be from {} to {}",
        written(least),
        written(most)
    ))
}

fn written(span: Duration) -> String {
    super::age::span(&proto::time::wire_duration(span))
}

/// A size that the API counts in 32 bits.
pub(crate) fn small_size(text: &str) -> Result<u32, String> {
    let size = runtime::config::byte_size(text).map_err(|error| error.to_string())?;
    u32::try_from(size).map_err(|_| "must be less than 4GiB".to_owned())
}

/// A point of time: RFC 3339, or a span that reaches back from now.
pub(crate) fn since(text: &str) -> Result<SystemTime, String> {
    if let Ok(back) = runtime::config::duration(text) {
        let now = Clock::system().wall();
        return now
            .checked_sub(back)
            .ok_or_else(|| "reaches back too far".to_owned());
    }
    let time: Timestamp = text.parse().map_err(|_| {
        "must be a time such as 2026-01-31T08:00:00Z, or a span such as 2h".to_owned()
    })?;
    proto::time::system_time(&time).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_named() {
        let limits = (Duration::from_millis(100), Duration::from_secs(300));
        assert_eq!(duration_in("5m", limits), Ok(Duration::from_secs(300)));
        assert_eq!(
            duration_in("6m", limits),
            Err("must be from 100ms to 5m".to_owned())
        );
    }

    #[test]
    fn points_of_time_are_absolute_or_back_from_now() {
        let absolute = since("1970-01-01T00:00:10Z").unwrap();
        assert_eq!(absolute, SystemTime::UNIX_EPOCH + Duration::from_secs(10));
        assert!(since("1h").unwrap() < Clock::system().wall());
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn no_time_at_all_is_refused() {
        assert!(duration("0s").is_err());
    }
}
