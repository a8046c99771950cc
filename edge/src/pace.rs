//! Users who send a body so slowly that they only mean to hold on to something.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::Limits;

/// Time that a body may take to come, counted only while the user is waited for.
#[derive(Debug)]
pub(crate) struct Pace {
    /// What is left of it: a grace, and what the bytes so far have earned.
    left: Duration,
    second_per_bytes: u32,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// The least that is asked of a body; `None` if nothing is.
    pub(crate) fn of(limits: &Limits) -> Option<Self> {
        (limits.body_pace > 0).then_some(Self {
            left: limits.body_grace,
            second_per_bytes: limits.body_pace,
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
        let earned = Duration::from_secs(1) * bytes / self.second_per_bytes;
        self.left = self.left.saturating_add(earned);
    }

    /// Nothing is there now: whether the user has used up its time. Otherwise wakes the task when that would be so.
    pub(crate) fn poll_over(&mut self, now: Instant, context: &mut Context<'_>) -> Poll<()> {
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
        let clock = Clock::system();
        let began = clock.now();
        let mut pace = Pace::of(&Limits {
            body_pace: 100,
            body_grace: Duration::from_secs(30),
            ..Limits::default()
        })
        .unwrap();
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
}
