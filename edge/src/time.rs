//! Time as balancing wants it: a span since one fixed start; and as tokens have it.

use std::time::{Duration, SystemTime};

use runtime::Clock;
use tokio::time::Instant;

/// The fixed start, with the clock to measure from it.
#[derive(Clone, Debug)]
pub(crate) struct Epoch {
    clock: Clock,
    start: Instant,
}

impl Epoch {
    /// Starts now.
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            start: clock.now(),
            clock,
        }
    }

    /// Since the start.
    pub(crate) fn since(&self) -> Duration {
        self.clock.now().duration_since(self.start)
    }

    /// Between the start and then.
    pub(crate) fn at(&self, then: Instant) -> Duration {
        then.duration_since(self.start)
    }

    /// The clock itself.
    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }
}

/// Seconds since 1970, as tokens count them (RFC 7519, section 2); 0 for a clock set before it.
pub(crate) fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or(Duration::ZERO).as_secs()).unwrap_or(i64::MAX)
}
