//! The only place that reads the time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

/// Source of time; clones share it.
#[derive(Clone, Debug)]
pub struct Clock {
    wall: Wall,
}

#[derive(Clone, Debug)]
enum Wall {
    System,
    Moved(Arc<Mutex<MovedWall>>),
}

#[derive(Debug)]
struct MovedWall {
    /// Wall time at `since`.
    start: SystemTime,
    since: Instant,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self { wall: Wall::System }
    }

    /// For tests: wall time begins at `start`, runs with tokio's (possibly paused) time, and moves by [`Clock::move_wall`].
    #[must_use]
    pub fn starting_at(start: SystemTime) -> Self {
        let since = Instant::now();
        Self {
            wall: Wall::Moved(Arc::new(Mutex::new(MovedWall { start, since }))),
        }
    }

    /// Monotonic time; follows tokio's paused clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Time of day, for certificates, tokens and logs.
    #[must_use]
    pub fn wall(&self) -> SystemTime {
        match &self.wall {
            Wall::System => system_now(),
            Wall::Moved(moved) => {
                let moved = moved.lock().unwrap_or_else(PoisonError::into_inner);
                moved.start + moved.since.elapsed()
            }
        }
    }

    /// Seconds since the Unix epoch; 0 for a clock set before it.
    #[must_use]
    pub fn unix_seconds(&self) -> u64 {
        self.wall()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }

    /// Moves the wall time of a test clock forward. The machine's clock does not move.
    pub fn move_wall(&self, by: Duration) {
        if let Wall::Moved(moved) = &self.wall {
            moved.lock().unwrap_or_else(PoisonError::into_inner).start += by;
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads wall time"
)]
fn system_now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn test_wall_time_follows_tokio_and_moves_on_demand() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let clock = Clock::starting_at(start);
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now() - before, Duration::from_secs(5));
        clock.move_wall(Duration::from_secs(60));
        assert_eq!(clock.unix_seconds(), 1_065);
    }

    #[test]
    fn system_wall_time_is_after_2020() {
        assert!(Clock::system().unix_seconds() > 1_577_836_800);
    }
}
