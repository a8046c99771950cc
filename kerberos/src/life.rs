//! How long a ticket is good.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Until when something is good, by two clocks: that which tests can move, and the one on the wall, which goes on while a machine sleeps
/// and by which tickets end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    until: Instant,
    on_the_wall: SystemTime,
}

impl Life {
    pub(crate) fn of(left: Duration) -> Self {
        Self {
            until: Instant::now() + left,
            on_the_wall: wall_clock() + left,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    pub(crate) fn left(&self) -> Duration {
        let on_the_wall = self.on_the_wall.duration_since(wall_clock());
        let left = self.until.saturating_duration_since(Instant::now());
        left.min(on_the_wall.unwrap_or_default())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tickets end by the clock of the host; tests move the other one"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_life_ends_by_the_clock_that_is_first() {
        let life = Life::of(Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!life.is_over());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(life.is_over());
        let slept = Life {
            until: Instant::now() + Duration::from_secs(60),
            on_the_wall: SystemTime::UNIX_EPOCH,
        };
        assert!(slept.is_over());
    }
}
