//! Spans and points of time, between protobuf's well-known types and the standard library's.

use std::time::{Duration, SystemTime};

/// Longest `google.protobuf.Duration`, from its definition: about 10,000 years.
const DURATION_SECONDS_MAX: i64 = 315_576_000_000;
/// Year 1, the earliest `google.protobuf.Timestamp` by its definition.
const TIMESTAMP_SECONDS_MIN: i64 = -62_135_596_800;
/// The end of year 9999, the latest `google.protobuf.Timestamp` by its definition.
const TIMESTAMP_SECONDS_MAX: i64 = 253_402_300_799;
const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// Why a time on the wire is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Before zero, where only a length makes sense.
    #[error("must not be negative")]
    Negative,
    /// Outside what protobuf defines, or what this machine can count.
    #[error("is out of range")]
    OutOfRange,
}

/// Reads a span of time.
pub fn duration(wire: &prost_types::Duration) -> Result<Duration, TimeError> {
    if wire.seconds > DURATION_SECONDS_MAX {
        return Err(TimeError::OutOfRange);
    }
    if wire.nanos < 0 {
        return Err(TimeError::Negative);
    }
    let seconds = u64::try_from(wire.seconds).map_err(|_| TimeError::Negative)?;
    Ok(Duration::new(seconds, nanos(wire.nanos)?))
}

/// Writes a span of time as files and flags have it, in the largest unit that gives a whole number. What is below a
/// millisecond is lost.
pub fn written(span: Duration) -> String {
    let millis = span.as_millis();
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    let whole = |factor| millis > 0 && millis.is_multiple_of(factor);
    match units.into_iter().find(|(_, factor)| whole(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", millis / factor),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

/// Writes a span of time; what is longer than protobuf allows becomes the longest.
pub fn wire_duration(duration: Duration) -> prost_types::Duration {
    match i64::try_from(duration.as_secs()) {
        Ok(seconds) if seconds <= DURATION_SECONDS_MAX => prost_types::Duration {
            seconds,
            nanos: duration.subsec_nanos().cast_signed(),
        },
        Ok(_) | Err(_) => prost_types::Duration {
            seconds: DURATION_SECONDS_MAX,
            nanos: 0,
        },
    }
}

/// Reads a point of time.
pub fn system_time(wire: &prost_types::Timestamp) -> Result<SystemTime, TimeError> {
    if !(TIMESTAMP_SECONDS_MIN..=TIMESTAMP_SECONDS_MAX).contains(&wire.seconds) {
        return Err(TimeError::OutOfRange);
    }
    let nanos = Duration::from_nanos(nanos(wire.nanos)?.into());
    let seconds = Duration::from_secs(wire.seconds.unsigned_abs());
    let whole = if wire.seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    whole
        .and_then(|whole| whole.checked_add(nanos))
        .ok_or(TimeError::OutOfRange)
}

/// Writes a point of time.
pub fn wire_timestamp(time: SystemTime) -> prost_types::Timestamp {
    time.into()
}

fn nanos(wire: i32) -> Result<u32, TimeError> {
    u32::try_from(wire)
        .ok()
        .filter(|&nanos| nanos < NANOS_PER_SECOND)
        .ok_or(TimeError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wire(seconds: i64, nanos: i32) -> prost_types::Duration {
        prost_types::Duration { seconds, nanos }
    }

    #[test]
    fn durations_out_of_range_are_refused() {
        for (seconds, nanos, why) in [
            (-1, 0, TimeError::Negative),
            (i64::MIN, 0, TimeError::Negative),
            (0, -1, TimeError::Negative),
            (0, 1_000_000_000, TimeError::OutOfRange),
            (DURATION_SECONDS_MAX + 1, 0, TimeError::OutOfRange),
            (i64::MAX, 0, TimeError::OutOfRange),
        ] {
            assert_eq!(
                duration(&wire(seconds, nanos)),
                Err(why),
                "{seconds} {nanos}"
            );
        }
    }

    #[test]
    fn durations_too_long_for_the_wire_become_the_longest() {
        assert_eq!(wire_duration(Duration::MAX), wire(DURATION_SECONDS_MAX, 0));
    }

    #[test]
    fn timestamps_out_of_range_are_refused() {
        for (seconds, nanos) in [
            (TIMESTAMP_SECONDS_MAX + 1, 0),
            (TIMESTAMP_SECONDS_MIN - 1, 0),
            (i64::MIN, 0),
            (0, -1),
            (0, 1_000_000_000),
        ] {
            let wire = prost_types::Timestamp { seconds, nanos };
            assert_eq!(system_time(&wire), Err(TimeError::OutOfRange), "{wire:?}");
        }
    }

    proptest! {
        #[test]
        fn durations_survive_the_wire(seconds in 0_u64..=315_576_000_000, nanos in 0_u32..1_000_000_000) {
            let span = Duration::new(seconds, nanos);
            prop_assert_eq!(duration(&wire_duration(span)), Ok(span));
        }

        #[test]
        fn timestamps_survive_the_wire(
            seconds in TIMESTAMP_SECONDS_MIN..=TIMESTAMP_SECONDS_MAX,
            nanos in 0_i32..1_000_000_000,
        ) {
            let wire = prost_types::Timestamp { seconds, nanos };
            prop_assert_eq!(system_time(&wire).map(wire_timestamp), Ok(wire));
        }
    }
}
