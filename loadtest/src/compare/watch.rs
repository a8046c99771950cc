//! Looks at a target while a load is on it.

use std::time::Duration;

use runtime::Clock;
use tokio::time::{Instant, MissedTickBehavior};

use super::{
    account::{Account, AccountError},
    outcome::Moment,
};
use crate::progress::Progress;

/// How often a target's memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Looks at `account` every second until `work` is done.
pub(super) async fn watch<T>(
    account: &Account,
    clock: &Clock,
    progress: &Progress,
    work: impl Future<Output = T>,
) -> (T, Result<Vec<Moment>, AccountError>) {
    let mut look = Look {
        account,
        clock,
        begin: clock.now(),
        first: None,
        timeline: Ok(Vec::new()),
    };
    let mut ticks = tokio::time::interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                look.once();
                return (done, look.timeline);
            }
            _ = ticks.tick() => {
                look.once();
                progress.tick();
            }
        }
    }
}

struct Look<'a> {
    account: &'a Account,
    clock: &'a Clock,
    begin: Instant,
    first: Option<Duration>,
    timeline: Result<Vec<Moment>, AccountError>,
}

impl Look<'_> {
    fn once(&mut self) {
        let Ok(moments) = &mut self.timeline else {
            return;
        };
        match self.account.read() {
            Ok(usage) => {
                let first = *self.first.get_or_insert(usage.cpu);
                moments.push(Moment {
                    second: (self.clock.now() - self.begin).as_secs_f64(),
                    resident_bytes: usage.resident_bytes,
                    cpu_seconds: usage.cpu.saturating_sub(first).as_secs_f64(),
                });
            }
            Err(error) => self.timeline = Err(error),
        }
    }
}
