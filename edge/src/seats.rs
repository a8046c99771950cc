//! Places for connections, whose number may change while some are taken.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many connections at a time.
#[derive(Debug)]
pub(crate) struct Seats {
    free: Arc<Semaphore>,
    /// Taken ones and free ones.
    count: usize,
    /// As many as there shall be.
    wanted: usize,
}

impl Seats {
    pub(crate) fn new(wanted: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(wanted)),
            count: wanted,
            wanted,
        }
    }

    /// From now on there are so many. Who has a place keeps it.
    pub(crate) fn resize(&mut self, wanted: usize) {
        self.wanted = wanted;
        if wanted > self.count {
            self.free.add_permits(wanted - self.count);
            self.count = wanted;
        } else {
            self.count -= self.free.forget_permits(self.count - wanted);
        }
    }

    /// The next place that is free. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<OwnedSemaphorePermit> {
        loop {
            let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
            if let Some(permit) = self.keep(permit) {
                return Some(permit);
            }
        }
    }

    /// A place, if one is free now.
    pub(crate) fn try_next(&mut self) -> Option<OwnedSemaphorePermit> {
        loop {
            let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
            if let Some(permit) = self.keep(permit) {
                return Some(permit);
            }
        }
    }

    /// Does away with a place that is one too many.
    fn keep(&mut self, permit: OwnedSemaphorePermit) -> Option<OwnedSemaphorePermit> {
        if self.count <= self.wanted {
            return Some(permit);
        }
        permit.forget();
        self.count -= 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_and_go_and_taken_ones_stay() {
        let mut seats = Seats::new(2);
        let first = seats.try_next().unwrap();
        let second = seats.try_next().unwrap();
        assert!(seats.try_next().is_none());
        seats.resize(3);
        let third = seats.try_next().unwrap();
        seats.resize(1);
        drop((first, second));
        assert!(seats.try_next().is_none(), "the third has the only one");
        drop(third);
        let last = seats.try_next();
        assert!(last.is_some() && seats.try_next().is_none());
    }
}
