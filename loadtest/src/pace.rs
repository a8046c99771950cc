//! When requests start.

use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd as _, AsRawFd, RawFd},
    time::Duration,
};

use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use runtime::Clock;
use tokio::{io::unix::AsyncFd, sync::Mutex, time::Instant};

use crate::scenario::Arrivals;

/// The pace of all users of one thread.
#[derive(Debug)]
pub(crate) enum Pace {
    /// A request follows the answer before it, until the end.
    Closed { end: Instant, clock: Clock },
    /// Requests start when they are due.
    Open(Box<Departures>),
}

impl Pace {
    /// Waits for the moment of the next request: the moment when it was due, however late it is. `None` when there are no more.
    pub(crate) async fn next(&self) -> io::Result<Option<Instant>> {
        match self {
            Self::Closed { end, clock } => {
                let now = clock.now();
                Ok((now < *end).then_some(now))
            }
            Self::Open(departures) => departures.next().await,
        }
    }
}

/// A queue of moments that idle users stand in; the longest idle takes the next one.
#[derive(Debug)]
pub(crate) struct Departures {
    /// Held by the user who waits for the next moment.
    turn: Mutex<()>,
    upcoming: RefCell<Upcoming>,
    alarm: Alarm,
    end: Instant,
    clock: Clock,
}

#[derive(Debug)]
struct Upcoming {
    next: Instant,
    /// Between two, in seconds. Kept as a fraction, or rates that do not divide a second would drift.
    mean_seconds: f64,
    /// For arrivals by chance.
    chance: Option<SmallRng>,
}

impl Departures {
    /// `rate` moments a second from `begin` until `end`.
    pub(crate) fn new(
        rate: f64,
        arrivals: Arrivals,
        seed: u64,
        (begin, end): (Instant, Instant),
        clock: &Clock,
    ) -> io::Result<Self> {
        let chance = match arrivals {
            Arrivals::Constant => None,
            Arrivals::Poisson => Some(SmallRng::seed_from_u64(seed)),
        };
        let mut upcoming = Upcoming {
            next: begin,
            mean_seconds: 1.0 / rate,
            chance,
        };
        if upcoming.chance.is_some() {
            // The first is as much by chance as the others.
            upcoming.take();
        }
        Ok(Self {
            turn: Mutex::new(()),
            upcoming: RefCell::new(upcoming),
            alarm: Alarm::new()?,
            end,
            clock: clock.clone(),
        })
    }

    async fn next(&self) -> io::Result<Option<Instant>> {
        let _turn = self.turn.lock().await;
        let due = self.upcoming.borrow_mut().take();
        if due >= self.end {
            return Ok(None);
        }
        if let Some(early) = due.checked_duration_since(self.clock.now()) {
            self.alarm.sleep(early).await?;
        }
        Ok(Some(due))
    }
}

impl Upcoming {
    fn take(&mut self) -> Instant {
        let due = self.next;
        let seconds = match &mut self.chance {
            None => self.mean_seconds,
            // Gaps of a Poisson process are exponential; the logarithm of 0 is kept out.
            Some(chance) => -self.mean_seconds * (1.0 - chance.random::<f64>()).ln(),
        };
        self.next += Duration::from_secs_f64(seconds);
        due
    }
}

/// A timer of the kernel. Those of tokio round up to a millisecond, which is longer than many a request takes.
#[derive(Debug)]
struct Alarm(AsyncFd<Timer>);

#[derive(Debug)]
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Alarm {
    #[expect(
        deprecated,
        reason = "the new way is unsafe; what is registered here owns its descriptor"
    )]
    fn new() -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        AsyncFd::new(Timer(timer)).map(Self)
    }

    async fn sleep(&self, time: Duration) -> io::Result<()> {
        if time.is_zero() {
            return Ok(());
        }
        let once = Expiration::OneShot(TimeSpec::from_duration(time));
        self.0.get_ref().0.set(once, TimerSetTimeFlags::empty())?;
        loop {
            let mut rung = self.0.readable().await?;
            // An alarm of someone who gave up may still have been told of; then this one has not rung yet.
            if let Ok(result) = rung.try_io(|timer| Ok(timer.get_ref().0.wait()?)) {
                return result;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(arrivals: Arrivals, seed: u64) -> Vec<Duration> {
        let begin = Clock::system().now();
        let mut upcoming = Upcoming {
            next: begin,
            mean_seconds: 0.003,
            chance: matches!(arrivals, Arrivals::Poisson).then(|| SmallRng::seed_from_u64(seed)),
        };
        (0..10_000).map(|_| upcoming.take() - begin).collect()
    }

    #[test]
    fn arrivals_keep_their_rate_and_their_seed() {
        let constant = moments(Arrivals::Constant, 1);
        assert_eq!(constant[1], Duration::from_millis(3));
        assert!(constant[9_999].abs_diff(Duration::from_millis(29_997)) < Duration::from_millis(1));
        let chance = moments(Arrivals::Poisson, 1);
        let rate = 10_000.0 / chance[9_999].as_secs_f64();
        assert!((300.0..370.0).contains(&rate), "{rate}");
        assert_eq!(chance, moments(Arrivals::Poisson, 1));
        assert_ne!(chance, moments(Arrivals::Poisson, 2));
    }

    #[tokio::test]
    async fn departures_come_when_they_are_due_and_late_ones_keep_their_moment() {
        let clock = Clock::system();
        let begin = clock.now();
        let end = begin + Duration::from_millis(50);
        let departures =
            Departures::new(100.0, Arrivals::Constant, 0, (begin, end), &clock).unwrap();
        assert_eq!(departures.next().await.unwrap(), Some(begin));
        let second = departures.next().await.unwrap().unwrap();
        assert_eq!(second, begin + Duration::from_millis(10));
        assert!(clock.now() >= second);
        // Everybody was busy for a while.
        while clock.now() < begin + Duration::from_millis(35) {
            tokio::task::yield_now().await;
        }
        let third = departures.next().await.unwrap();
        assert_eq!(third, Some(begin + Duration::from_millis(20)));
        let mut left = 0;
        while departures.next().await.unwrap().is_some() {
            left += 1;
        }
        assert_eq!(left, 2);
    }
}
