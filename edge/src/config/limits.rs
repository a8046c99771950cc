//! Bounds on what users may cost an edge.

use std::{ops::RangeInclusive, time::Duration};

use runtime::config::{self, Problems};
use serde::{Deserialize, Serialize};

/// Time for a user to take some 100 KiB of an answer, which is little even on a bad line. nginx waits as long.
const DEFAULT_STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Answers that may wait longer than a few seconds. Each holds up to 1 MiB, so together 256 MiB.
const DEFAULT_STALLED_MAX: u32 = 256;

/// Any span that is set here: a second is little for a slow line, an hour is as good as never.
const SPAN_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
/// Any number of things that is set here.
const COUNT_RANGE: RangeInclusive<u32> = 1..=1_000_000;

/// Bounds, as written.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawLimits {
    /// How long an answer may wait for its user; `60s`.
    pub stall_timeout: Option<String>,
    /// Answers that may wait for more than a few seconds; 256.
    pub stalled_max: Option<u32>,
}

/// Bounds, as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long an answer may wait for its user.
    pub stall_timeout: Duration,
    /// Answers that may wait for more than a few seconds.
    pub stalled_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stall_timeout: DEFAULT_STALL_TIMEOUT,
            stalled_max: DEFAULT_STALLED_MAX,
        }
    }
}

impl Limits {
    /// Reads what was written; what is wrong goes to `found`.
    pub(super) fn new(raw: &RawLimits, found: &mut Problems) -> Option<Self> {
        let default = Self::default();
        let mut reader = Reader { found };
        let stall_timeout = reader.span(
            "stall_timeout",
            raw.stall_timeout.as_deref(),
            default.stall_timeout,
        );
        let stalled_max = reader.count("stalled_max", raw.stalled_max, default.stalled_max);
        Some(Self {
            stall_timeout: stall_timeout?,
            stalled_max: stalled_max?,
        })
    }

    /// As it could have been written.
    pub(super) fn written(&self) -> RawLimits {
        RawLimits {
            stall_timeout: Some(config::written_duration(self.stall_timeout)),
            stalled_max: Some(self.stalled_max),
        }
    }
}

struct Reader<'a> {
    found: &'a mut Problems,
}

impl Reader<'_> {
    fn span(&mut self, key: &str, written: Option<&str>, default: Duration) -> Option<Duration> {
        let Some(text) = written else {
            return Some(default);
        };
        let key = full(key);
        let span = self.found.take(&key, config::duration(text))?;
        if SPAN_RANGE.contains(&span) {
            return Some(span);
        }
        self.found.add(key, "must be 1s to 1h");
        None
    }

    fn count(&mut self, key: &str, written: Option<u32>, default: u32) -> Option<u32> {
        let count = written.unwrap_or(default);
        if COUNT_RANGE.contains(&count) {
            return Some(count);
        }
        let (least, most) = (COUNT_RANGE.start(), COUNT_RANGE.end());
        self.found
            .add(full(key), format_args!("must be {least} to {most}"));
        None
    }
}

fn full(key: &str) -> String {
    format!("limits.{key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_out_of_range_is_told_with_its_key() {
        let raw = RawLimits {
            stall_timeout: Some("0s".to_owned()),
            stalled_max: Some(0),
        };
        let mut problems = Problems::new();
        assert_eq!(Limits::new(&raw, &mut problems), None);
        let keys: Vec<_> = problems.found().iter().map(|found| &found.key).collect();
        assert_eq!(keys, ["limits.stall_timeout", "limits.stalled_max"]);
    }

    #[test]
    fn bounds_are_written_as_they_are_read() {
        let mut problems = Problems::new();
        let written = Limits::default().written();
        assert_eq!(
            Limits::new(&written, &mut problems),
            Some(Limits::default())
        );
    }
}
