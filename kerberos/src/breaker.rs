//! Keeps from asking KDCs that do not answer: each question would hold a thread for a minute.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::places::Purpose;

/// Whether KDCs are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// They are.
    Closed,
    /// They are not, as they have not answered.
    Open,
    /// One request finds out whether they answer again.
    Probing,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    state: Mutex<State>,
    timeouts_max: u32,
    open_for: Duration,
}

#[derive(Debug)]
enum State {
    Closed { timeouts: u32 },
    Open { until: Instant },
    Probing,
}

impl Breaker {
    pub(crate) fn new(timeouts_max: u32, open_for: Duration) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::Closed { timeouts: 0 }),
            timeouts_max,
            open_for,
        })
    }

    /// Lets a question pass, or not.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Pass> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Closed { .. } => {}
            State::Open { until } if until <= Instant::now() => *state = State::Probing,
            State::Open { .. } | State::Probing => return None,
        }
        Some(Pass {
            breaker: Arc::clone(self),
            is_probe: matches!(*state, State::Probing),
            settled: false,
        })
    }

    pub(crate) fn state(&self) -> BreakerState {
        match *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::Probing => BreakerState::Probing,
        }
    }

    fn open(&self) -> State {
        State::Open {
            until: Instant::now() + self.open_for,
        }
    }
}

/// One question's right to be asked. What comes of it is to be said; a question that is given up says nothing of the KDC.
#[derive(Debug)]
pub(crate) struct Pass {
    breaker: Arc<Breaker>,
    is_probe: bool,
    settled: bool,
}

impl Pass {
    pub(crate) fn purpose(&self) -> Purpose {
        if self.is_probe {
            Purpose::Probe
        } else {
            Purpose::Answer
        }
    }

    /// There was an answer, whichever, in time.
    pub(crate) fn answered(mut self) {
        self.settled = true;
        let mut state = self.breaker.lock();
        match *state {
            State::Closed { .. } => *state = State::Closed { timeouts: 0 },
            State::Probing if self.is_probe => {
                tracing::info!("KDCs answer again");
                *state = State::Closed { timeouts: 0 };
            }
            // From before it opened: others have timed out since.
            State::Open { .. } | State::Probing => {}
        }
    }

    /// There was none in time.
    pub(crate) fn timed_out(mut self) {
        self.settled = true;
        let mut state = self.breaker.lock();
        match &mut *state {
            State::Closed { timeouts } => {
                *timeouts += 1;
                if *timeouts >= self.breaker.timeouts_max {
                    tracing::warn!(
                        timeouts = *timeouts,
                        "no KDC answers: none is asked for a while"
                    );
                    *state = self.breaker.open();
                }
            }
            State::Probing if self.is_probe => *state = self.breaker.open(),
            State::Open { .. } | State::Probing => {}
        }
    }
}

impl Breaker {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.settled || !self.is_probe {
            return;
        }
        let mut state = self.breaker.lock();
        if matches!(*state, State::Probing) {
            // The next one may find out instead.
            *state = State::Open {
                until: Instant::now(),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(10);

    fn breaker() -> Arc<Breaker> {
        Breaker::new(3, OPEN_FOR)
    }

    fn time_out(breaker: &Arc<Breaker>, times: usize) {
        for _ in 0..times {
            breaker.enter().expect("it is closed").timed_out();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn three_timeouts_in_a_row_open_it_for_ten_seconds() {
        let breaker = breaker();
        time_out(&breaker, 2);
        breaker.enter().expect("two are not three").answered();
        time_out(&breaker, 2);
        assert_eq!(breaker.state(), BreakerState::Closed);
        time_out(&breaker, 1);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.enter().is_none());
        tokio::time::advance(OPEN_FOR - Duration::from_millis(1)).await;
        assert!(breaker.enter().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_finds_out() {
        let breaker = breaker();
        time_out(&breaker, 3);
        tokio::time::advance(OPEN_FOR).await;
        let probe = breaker.enter().expect("time is over");
        assert_eq!(probe.purpose(), Purpose::Probe);
        assert_eq!(breaker.state(), BreakerState::Probing);
        assert!(breaker.enter().is_none(), "one at a time");
        probe.timed_out();
        assert!(breaker.enter().is_none(), "open again");
        tokio::time::advance(OPEN_FOR).await;
        breaker.enter().expect("time is over").answered();
        assert_eq!(breaker.state(), BreakerState::Closed);
        time_out(&breaker, 2);
        assert_eq!(breaker.state(), BreakerState::Closed, "counted anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_leaves_its_place_to_the_next() {
        let breaker = breaker();
        time_out(&breaker, 3);
        tokio::time::advance(OPEN_FOR).await;
        drop(breaker.enter().expect("time is over"));
        breaker.enter().expect("the next one").answered();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_before_it_opened_changes_nothing() {
        let breaker = breaker();
        let [early, late] = [(); 2].map(|()| breaker.enter().expect("it is closed"));
        time_out(&breaker, 3);
        early.answered();
        assert_eq!(breaker.state(), BreakerState::Open);
        tokio::time::advance(OPEN_FOR).await;
        let _probe = breaker.enter().expect("time is over");
        late.timed_out();
        assert_eq!(breaker.state(), BreakerState::Probing);
    }
}
