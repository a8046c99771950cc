//! How long to wait before trying again.

use std::time::Duration;

use rand::Rng as _;

/// First ceiling of [`Backoff::standard`]: a blip is over within a few of these.
pub const STANDARD_BASE: Duration = Duration::from_millis(100);
/// Last ceiling of [`Backoff::standard`]: bounds both the load on a returning peer and the time to notice it.
pub const STANDARD_CAP: Duration = Duration::from_secs(15);

/// Peers that wait for the same silence are told apart by up to so much after each attempt that ran into its time-out.
const SPREAD: Duration = Duration::from_secs(1);

/// Capped exponential backoff with full jitter: each wait is random between zero and a ceiling that doubles.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// Ceilings go from `base` to `cap`.
    #[must_use]
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap: cap.max(base),
            failures: 0,
        }
    }

    /// 100 ms growing to 15 s.
    #[must_use]
    pub fn standard() -> Self {
        Self::new(STANDARD_BASE, STANDARD_CAP)
    }

    /// Counts a failure and says how long to wait after it.
    pub fn after_failure(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        rand::rng().random_range(Duration::ZERO..=ceiling)
    }

    /// The same after an attempt that took so long, which counts as waiting. Up to a second of jitter stays: attempts of many that run into
    /// the same time-out would go on in step.
    pub fn after_failure_of(&mut self, took: Duration) -> Duration {
        let jitter = rand::rng().random_range(Duration::ZERO..=took.min(SPREAD));
        self.after_failure().saturating_sub(took).max(jitter)
    }

    /// Tells of a success; waits start small again if it lasted at least as long as the longest wait.
    ///
    /// A peer that accepts and then drops at once counts as failing still.
    pub fn after_success(&mut self, lasted: Duration) {
        if lasted >= self.cap {
            self.reset();
        }
    }

    /// Waits start small again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Number of failures since the last reset.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn ceiling(&self) -> Duration {
        let factor = 2_u32.saturating_pow(self.failures);
        self.base.saturating_mul(factor).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceiling_doubles_up_to_the_cap() {
        let mut backoff = Backoff::standard();
        let mut ceilings = Vec::new();
        for _ in 0..10 {
            ceilings.push(backoff.ceiling().as_millis());
            assert!(backoff.ceiling() >= backoff.clone().after_failure());
            backoff.after_failure();
        }
        assert_eq!(
            ceilings,
            [
                100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 15_000, 15_000
            ]
        );
    }

    #[test]
    fn an_attempt_that_took_long_has_waited_already() {
        let mut backoff = Backoff::standard();
        for _ in 0..10 {
            backoff.after_failure();
        }
        let mut longest_after = |took| (0..50).map(|_| backoff.after_failure_of(took)).max();
        let refused = longest_after(Duration::ZERO);
        assert!(refused > Some(SPREAD), "{refused:?}");
        let timed_out = longest_after(STANDARD_CAP);
        assert!(timed_out <= Some(SPREAD), "{timed_out:?}");
        assert_eq!(backoff.failures(), 110);
    }

    #[test]
    fn attempts_that_ran_into_the_same_time_out_are_spread() {
        let mut backoff = Backoff::standard();
        let pauses = (0..50).map(|_| backoff.after_failure_of(STANDARD_CAP));
        let mut pauses: Vec<_> = pauses.collect();
        pauses.sort_unstable();
        let spread = pauses[49] - pauses[0];
        assert!(spread > SPREAD / 2, "{pauses:?}");
    }

    #[test]
    fn only_a_success_that_lasted_resets() {
        let mut backoff = Backoff::standard();
        backoff.after_failure();
        backoff.after_success(Duration::from_secs(1));
        assert_eq!(backoff.failures(), 1);
        backoff.after_success(STANDARD_CAP);
        assert_eq!(backoff.failures(), 0);
    }

    #[test]
    fn endless_failures_do_not_overflow() {
        let mut backoff = Backoff::standard();
        backoff.failures = u32::MAX;
        assert!(backoff.after_failure() <= STANDARD_CAP);
    }
}
