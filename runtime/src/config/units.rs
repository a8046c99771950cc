//! Durations and byte sizes as people write them.

use std::time::Duration;

pub use proto::time::written as written_duration;

/// Why text is not a duration or a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// It does not begin with digits.
    #[error("{text:?} does not begin with a whole number")]
    NoNumber {
        /// What was written.
        text: String,
    },
    /// The unit is missing or unknown.
    #[error("{text:?} needs one of the units {known}")]
    UnknownUnit {
        /// What was written.
        text: String,
        /// Units that are understood.
        known: &'static str,
    },
    /// Larger than can be held.
    #[error("{text:?} is too large")]
    TooLarge {
        /// What was written.
        text: String,
    },
}

/// Reads `100ms`, `10s`, `5m`, `2h` or `7d`.
///
/// # Errors
/// See [`UnitError`].
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let millis = measured(
        text,
        "ms, s, m, h, d",
        &[
            ("ms", 1),
            ("s", 1_000),
            ("m", 60_000),
            ("h", 3_600_000),
            ("d", 86_400_000),
        ],
    )?;
    Ok(Duration::from_millis(millis))
}

/// Reads `512B`, `64KiB`, `8MiB` or `1GiB`.
///
/// # Errors
/// See [`UnitError`].
pub fn byte_size(text: &str) -> Result<u64, UnitError> {
    measured(
        text,
        "B, KiB, MiB, GiB",
        &[
            ("B", 1),
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
        ],
    )
}

/// Writes a size as [`byte_size`] reads it, in the largest unit that gives a whole number.
#[must_use]
pub fn written_byte_size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let whole = |factor| bytes > 0 && bytes.is_multiple_of(factor);
    match units.into_iter().find(|(_, factor)| whole(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

fn measured(text: &str, known: &'static str, units: &[(&str, u64)]) -> Result<u64, UnitError> {
    let trimmed = text.trim();
    let digits_end = trimmed
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(trimmed.len());
    let (digits, unit) = trimmed.split_at(digits_end);
    if digits.is_empty() {
        return Err(UnitError::NoNumber {
            text: text.to_owned(),
        });
    }
    let factor = units
        .iter()
        .find_map(|(name, factor)| (*name == unit.trim_start()).then_some(*factor))
        .ok_or_else(|| UnitError::UnknownUnit {
            text: text.to_owned(),
            known,
        })?;
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| UnitError::TooLarge {
            text: text.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("100ms", 100),
            ("10s", 10_000),
            ("5m", 300_000),
            ("2 h", 7_200_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn written_durations_are_read_back() {
        for (millis, want) in [
            (0, "0s"),
            (100, "100ms"),
            (1_500, "1500ms"),
            (85_000, "85s"),
            (300_000, "5m"),
            (7_200_000, "2h"),
            (172_800_000, "2d"),
        ] {
            let span = Duration::from_millis(millis);
            assert_eq!(written_duration(span), want);
            assert_eq!(duration(want), Ok(span));
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("1GiB", 1 << 30)] {
            assert_eq!(byte_size(text), Ok(bytes), "{text}");
            assert_eq!(written_byte_size(bytes), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "s", "-1s", "1.5s", "10", "10 parsecs", "10KB"] {
            assert!(duration(text).is_err(), "{text}");
            assert!(byte_size(text).is_err(), "{text}");
        }
        let huge = duration("99999999999999999999d");
        assert!(matches!(huge, Err(UnitError::TooLarge { .. })));
    }
}
