//! Time as balancing wants it: a span since one fixed start.

use std::time::Duration;

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
