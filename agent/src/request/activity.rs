//! When something last moved in a request: its bodies share one idle time-out.

use std::{cell::Cell, rc::Rc, time::Duration};

use runtime::Clock;
use tokio::time::{Instant, sleep_until};

/// Clones are the same moment.
#[derive(Clone, Debug)]
pub(super) struct Activity {
    last: Rc<Cell<Instant>>,
}

impl Activity {
    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            last: Rc::new(Cell::new(clock.now())),
        }
    }

    /// Something moved.
    pub(super) fn touch(&self, clock: &Clock) {
        self.last.set(clock.now());
    }

    /// The same, at a time that is known.
    pub(super) fn moved(&self, at: Instant) {
        self.last.set(at);
    }

    pub(super) fn last(&self) -> Instant {
        self.last.get()
    }

    /// Waits until nothing has moved for `idle`. Cancel-safe.
    pub(super) async fn silence(&self, idle: Duration) {
        loop {
            let end = self.last() + idle;
            sleep_until(end).await;
            if self.last() + idle <= end {
                return;
            }
        }
    }
}
