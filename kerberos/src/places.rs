//! Places for exchanges with KDCs, each of which holds a thread.

use std::sync::Arc;

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// So many places for all, and one that is kept for whoever finds out whether KDCs answer again: exchanges that hang hold the others for
/// a minute.
pub(crate) struct Places {
    most: usize,
    common: Arc<Semaphore>,
    probe: Arc<Semaphore>,
}

/// What a question is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An answer.
    Answer,
    /// To learn whether there is one.
    Probe,
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            common: Arc::new(Semaphore::new(most)),
            probe: Arc::new(Semaphore::new(1)),
        }
    }

    /// A place, if there is one until the deadline.
    pub(crate) async fn take(
        &self,
        purpose: Purpose,
        deadline: Instant,
    ) -> Option<OwnedSemaphorePermit> {
        if purpose == Purpose::Probe
            && let Ok(place) = Arc::clone(&self.probe).try_acquire_owned()
        {
            return Some(place);
        }
        let place = Arc::clone(&self.common).acquire_owned();
        timeout_at(deadline, place).await.ok()?.ok()
    }

    /// How many are held.
    pub(crate) fn held(&self) -> usize {
        let free = self.common.available_permits() + self.probe.available_permits();
        (self.most + 1).saturating_sub(free)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn exchanges_that_hang_leave_a_place_to_who_finds_out() {
        let places = Places::new(2);
        let soon = || Instant::now() + Duration::from_secs(1);
        let take = |purpose| places.take(purpose, soon());
        let hanging = [take(Purpose::Answer).await, take(Purpose::Answer).await];
        assert!(hanging.iter().all(Option::is_some));
        assert!(take(Purpose::Answer).await.is_none());
        let probe = take(Purpose::Probe).await;
        assert!(probe.is_some());
        assert_eq!(places.held(), 3);
        assert!(take(Purpose::Probe).await.is_none(), "that hangs too");
        drop(hanging);
        assert!(take(Purpose::Probe).await.is_some());
        drop(probe);
        assert_eq!(places.held(), 0);
    }
}
