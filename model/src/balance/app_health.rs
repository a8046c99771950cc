//! How the origins of one app do behind one agent.

use std::time::Duration;

use super::{Failure, Outcome, health::Health};

/// Answers and failures of one app's origins behind one agent. Its ejection is of the app alone: the agent goes on with others.
#[derive(Debug, Default)]
pub struct AppHealth(Health);

impl AppHealth {
    /// Notes how a request went. What says nothing about origins is passed over.
    pub fn record(&self, now: Duration, outcome: Outcome) {
        match outcome {
            Outcome::Head(_) => self.0.succeed(now),
            Outcome::Failure(Failure::Origin) => self.0.fail(now),
            Outcome::Failure(Failure::Tunnel | Failure::Busy { .. }) => {}
        }
    }

    /// Whether its origins failed too much behind this agent lately; others are asked for a time.
    pub fn is_ejected(&self, now: Duration) -> bool {
        self.0.is_ejected(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_of_origins_eject() {
        let now = Duration::from_secs(3600);
        for (failure, want) in [
            (Failure::Origin, true),
            (Failure::Tunnel, false),
            (Failure::Busy { retry_after: None }, false),
        ] {
            let health = AppHealth::default();
            for _ in 0..5 {
                health.record(now, Outcome::Failure(failure));
            }
            assert_eq!(health.is_ejected(now), want, "{failure:?}");
        }
    }
}
