//! Users who send a body so slowly that they only mean to hold on to something.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::neighbours::{Neighbour, Neighbours, Network};

/// How fast a body must come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tempo {
    /// Bytes that earn a second; 0: nothing is asked.
    pub second_per_bytes: u32,
    /// Time that it may lag behind.
    pub grace: Duration,
}

/// What becomes of a body that lags behind.
#[derive(Debug)]
pub(crate) enum Laggard {
    /// It is given up.
    GivenUp,
    /// It is waited for, as it may be at rest on purpose, while its network has few enough of them.
    Counted {
        /// Those of all networks.
        all: Arc<Neighbours>,
        /// Where it comes from.
        network: Network,
    },
}

/// Time that a body may take to come, counted only while the user is waited for.
#[derive(Debug)]
pub(crate) struct Pace {
    /// What is left of it: a grace, and what the bytes so far have earned.
    left: Duration,
    tempo: Tempo,
    laggard: Laggard,
    /// It lags behind, and is counted.
    counted: Option<Neighbour>,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// The least that is asked of a body; `None` if nothing is.
    pub(crate) fn of(tempo: Tempo, laggard: Laggard) -> Option<Self> {
        (tempo.second_per_bytes > 0).then_some(Self {
            left: tempo.grace,
            tempo,
            laggard,
            counted: None,
            waiting_since: None,
            timer: None,
        })
    }

    /// Part of the body came, after a wait or without one.
    pub(crate) fn came(&mut self, bytes: usize, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.left = self.left.saturating_sub(now - since);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let earned = Duration::from_secs(1) * bytes / self.tempo.second_per_bytes;
        self.left = self.left.saturating_add(earned);
        if self.left >= self.tempo.grace {
            self.counted = None;
        }
    }

    /// Nothing is there now: whether the user has used up its time. Otherwise wakes the task when that would be so.
    pub(crate) fn poll_over(&mut self, now: Instant, context: &mut Context<'_>) -> Poll<()> {
        if self.counted.is_some() {
            self.waiting_since.get_or_insert(now);
            return Poll::Pending;
        }
        ready!(self.poll_lag(now, context));
        match &self.laggard {
            Laggard::GivenUp => Poll::Ready(()),
            Laggard::Counted { all, network } => {
                self.counted = all.admit(*network);
                match &self.counted {
                    Some(_) => Poll::Pending,
                    None => Poll::Ready(()),
                }
            }
        }
    }

    fn poll_lag(&mut self, now: Instant, context: &mut Context<'_>) -> Poll<()> {
        let end = *self.waiting_since.get_or_insert(now) + self.left;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        while timer.as_mut().poll(context).is_ready() {
            // Bytes that came later may have earned more time.
            if end <= timer.deadline() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use runtime::Clock;
    use tokio::time::sleep;

    use super::*;

    /// How long a body lasts of which `bytes` come each second; `None` if it gets through all of `seconds`.
    async fn lasts(bytes: usize, seconds: u64) -> Option<Duration> {
        lasts_as(Laggard::GivenUp, bytes, seconds).await
    }

    async fn lasts_as(laggard: Laggard, bytes: usize, seconds: u64) -> Option<Duration> {
        let clock = Clock::system();
        let began = clock.now();
        let tempo = Tempo {
            second_per_bytes: 100,
            grace: Duration::from_secs(30),
        };
        let mut pace = Pace::of(tempo, laggard).unwrap();
        for _ in 0..seconds {
            tokio::select! {
                biased;
                () = poll_fn(|context| pace.poll_over(clock.now(), context)) => {
                    return Some(clock.now() - began);
                }
                () = sleep(Duration::from_secs(1)) => {}
            }
            pace.came(bytes, clock.now());
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn who_keeps_the_pace_is_waited_for() {
        assert_eq!(lasts(100, 600).await, None);
        assert_eq!(lasts(10_000, 600).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_nothing_has_the_grace_alone() {
        let lasted = lasts(0, 600).await.unwrap().as_secs();
        assert!((30..=31).contains(&lasted), "{lasted}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_half_as_fast_has_twice_the_grace() {
        let lasted = lasts(50, 600).await.unwrap().as_secs();
        assert!((58..=62).contains(&lasted), "{lasted}");
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_of_a_network_may_rest_and_those_of_others_beside() {
        let all = Neighbours::new(1);
        let resting = |address: &str, seconds| {
            let network = Network::of(address.parse().unwrap());
            let all = Arc::clone(&all);
            lasts_as(Laggard::Counted { all, network }, 0, seconds)
        };
        let (first, second, other) = tokio::join!(
            resting("192.0.2.1", 600),
            resting("192.0.2.1", 600),
            resting("192.0.2.2", 600),
        );
        assert_eq!((first, other), (None, None));
        assert_eq!(second.unwrap().as_secs(), 30);
        assert_eq!(
            resting("192.0.2.1", 600).await,
            None,
            "its place is free again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_catches_up_is_no_longer_counted() {
        let (clock, all) = (Clock::system(), Neighbours::new(1));
        let network = Network::of("192.0.2.1".parse().unwrap());
        let tempo = Tempo {
            second_per_bytes: 100,
            grace: Duration::from_secs(30),
        };
        let laggard = Laggard::Counted {
            all: Arc::clone(&all),
            network,
        };
        let mut pace = Pace::of(tempo, laggard).unwrap();
        let waiting = poll_fn(|context| pace.poll_over(clock.now(), context));
        let over = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        assert!(over.is_err(), "it is waited for");
        assert!(!all.has_room(network));
        pace.came(1, clock.now());
        assert!(!all.has_room(network));
        pace.came(3_000, clock.now());
        assert!(all.has_room(network));
    }
}
