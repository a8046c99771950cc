//! How many requests may be tried again, so that retries never turn a slow group into a dead one.

use std::time::Duration;

use super::stamped::{Reading, Stamped};

/// Retries earned by each request: one in five.
const PER_REQUEST: f32 = 0.2;
/// Retries earned by each second, so that apps with few requests have some too.
const PER_SECOND: f32 = 3.0;
/// How long a retry that was earned stays good. Long enough for the loss of an agent, too short to save up a storm.
const TIME_CONSTANT: Duration = Duration::from_secs(10);

/// Retries that an app has left.
#[derive(Debug)]
pub struct RetryBudget(Stamped);

impl RetryBudget {
    /// A budget as it stands after a while without requests.
    pub fn new(now: Duration) -> Self {
        Self(Stamped::new(now, PER_SECOND * TIME_CONSTANT.as_secs_f32()))
    }

    /// A new request, no retry, arrived: it earns its part.
    pub fn deposit(&self, now: Duration) {
        self.0
            .update(now, |reading| Some(left(reading) + PER_REQUEST));
    }

    /// Takes one retry, if there is one left.
    #[must_use]
    pub fn withdraw(&self, now: Duration) -> bool {
        self.0.update(now, |reading| {
            let after = left(reading) - 1.0;
            (after >= 0.0).then_some(after)
        })
    }
}

/// What is left of the value, and what the seconds since have earned (which fades in the same way).
fn left(reading: Reading) -> f32 {
    let ceiling = PER_SECOND * TIME_CONSTANT.as_secs_f32();
    let fading = reading.fading(TIME_CONSTANT);
    reading.value * fading + ceiling * (1.0 - fading)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Retries granted in ten seconds of `requests` a second that all fail once, once the start's savings are spent.
    fn granted(requests: u64) -> u64 {
        let budget = RetryBudget::new(Duration::ZERO);
        while budget.withdraw(Duration::ZERO) {}
        let mut granted = 0;
        for number in 0..requests * 10 {
            let now = Duration::from_micros(number * 1_000_000 / requests);
            budget.deposit(now);
            granted += u64::from(budget.withdraw(now));
        }
        granted
    }

    #[test]
    fn retries_are_a_fifth_of_the_requests_and_three_a_second() {
        for (requests, want) in [(10, 50), (100, 230), (1000, 2030)] {
            let granted = granted(requests);
            assert!(
                granted.abs_diff(want) <= 1 + want / 20,
                "{requests}: {granted} instead of {want}"
            );
        }
    }

    #[test]
    fn a_quiet_budget_holds_thirty_retries() {
        let budget = RetryBudget::new(Duration::ZERO);
        let day = Duration::from_secs(86_400);
        let granted = (0..100).filter(|_| budget.withdraw(day)).count();
        assert_eq!(granted, 30);
    }

    #[test]
    fn what_was_earned_fades() {
        let budget = RetryBudget::new(Duration::ZERO);
        for _ in 0..10_000 {
            budget.deposit(Duration::ZERO);
        }
        let later = Duration::from_secs(120);
        let granted = (0..10_000).filter(|_| budget.withdraw(later)).count();
        assert!((29..=31).contains(&granted), "{granted}");
    }
}
