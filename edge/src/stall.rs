//! Users who stop taking their answers.
//!
//! What of an answer waits for its user waits in the link's memory, at most one stream window. A pause is waited out. But only
//! so many answers may pause for long at a time, and none for longer than a named time: then what serves the user is dropped,
//! which resets its stream, or closes its connection of HTTP/1.
//!
//! The servers of hyper do not ask a body for more while the user takes nothing, so the body itself cannot break off. What
//! polls it can: [`watched`] runs a connection of HTTP/1, or one stream of a later version, and hears from the body, which runs
//! inside it, when a part was given and when more was asked for.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

/// A pause up to this is none: lost packets are sent again within it, and nobody counts it.
const PAUSE: Duration = Duration::from_secs(5);

tokio::task_local! {
    // hyper makes the future of a stream of HTTP/2 and gives no way to hand it anything.
    static WATCH: Watch;
}

/// How many answers may wait long for their users.
#[derive(Debug)]
pub(crate) struct Stalls {
    waiting: AtomicU32,
    waiting_max: AtomicU32,
}

impl Stalls {
    /// `waiting_max` may pause for longer than [`PAUSE`] at a time.
    pub(crate) fn new(waiting_max: u32) -> Arc<Self> {
        Arc::new(Self {
            waiting: AtomicU32::new(0),
            waiting_max: AtomicU32::new(waiting_max),
        })
    }

    /// So many may from now on; those that do may go on.
    pub(crate) fn bound(&self, waiting_max: u32) {
        self.waiting_max.store(waiting_max, Relaxed);
    }

    fn wait_long(self: &Arc<Self>) -> Option<Seat> {
        let max = self.waiting_max.load(Relaxed);
        self.waiting
            .fetch_update(Relaxed, Relaxed, |waiting| {
                (waiting < max).then(|| waiting + 1)
            })
            .ok()?;
        Some(Seat(Arc::clone(self)))
    }
}

/// One of the answers that may wait long.
#[derive(Debug)]
struct Seat(Arc<Stalls>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

/// What a body tells of its user. All calls come from one task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch(Arc<Mark>);

#[derive(Debug, Default)]
struct Mark {
    /// Counts what was given and taken; odd while the user has something to take.
    steps: AtomicU64,
    cut: AtomicBool,
    /// Milliseconds that an answer may wait.
    longest_ms: AtomicU64,
}

impl Watch {
    /// That of the surrounding [`watched`]; outside of it, one that nobody heeds.
    pub(crate) fn current() -> Self {
        WATCH.try_with(Self::clone).unwrap_or_default()
    }

    /// Answers may wait so long for their user from now on. Of a connection of HTTP/1, each request says it anew.
    pub(crate) fn wait_for(&self, longest: Duration) {
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self.0.longest_ms.store(longest, Relaxed);
    }

    fn longest(&self) -> Duration {
        Duration::from_millis(self.0.longest_ms.load(Relaxed))
    }

    /// The user was given a part of its answer.
    pub(crate) fn given(&self) {
        let steps = self.0.steps.load(Relaxed);
        self.0.steps.store((steps + 1) | 1, Relaxed);
    }

    /// The user took it, or nothing more is for it to take.
    pub(crate) fn taken(&self) {
        let steps = self.0.steps.load(Relaxed);
        self.0.steps.store((steps + 1) & !1, Relaxed);
    }

    /// Whether the user was cut off.
    pub(crate) fn is_cut(&self) -> bool {
        self.0.cut.load(Relaxed)
    }

    fn steps(&self) -> u64 {
        self.0.steps.load(Relaxed)
    }
}

const fn is_waiting(steps: u64) -> bool {
    steps % 2 == 1
}

/// Runs what serves a user until it ends, or until its user has stalled: then it is dropped, and there is no output. A user has
/// stalled when it took nothing for `longest`, unless [`Watch::wait_for`] says otherwise.
pub(crate) async fn watched<F: Future>(
    future: F,
    longest: Duration,
    stalls: &Arc<Stalls>,
) -> Option<F::Output> {
    let watch = Watch::default();
    watch.wait_for(longest);
    let mut future = pin!(WATCH.scope(watch.clone(), future));
    let mut patience = Patience::new(stalls);
    let output = poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        patience.poll_end(&watch, context).map(|Stalled| None)
    })
    .await;
    // Before the future is dropped: the body in it reads this.
    watch.0.cut.store(output.is_none(), Relaxed);
    output
}

/// A user took nothing for too long.
struct Stalled;

/// Time given to one user.
struct Patience<'a> {
    stalls: &'a Arc<Stalls>,
    /// Where the user was when the timer was set.
    since: u64,
    timer: Option<Pin<Box<Sleep>>>,
    seat: Option<Seat>,
}

impl<'a> Patience<'a> {
    const fn new(stalls: &'a Arc<Stalls>) -> Self {
        Self {
            stalls,
            since: 0,
            timer: None,
            seat: None,
        }
    }

    /// Ends when the user stood at the same step for too long. The timer is not set anew with each step, only looked at again
    /// when it fires: a stall is found up to one [`PAUSE`] late.
    fn poll_end(&mut self, watch: &Watch, context: &mut Context<'_>) -> Poll<Stalled> {
        let (steps, longest) = (watch.steps(), watch.longest());
        let pause = PAUSE.min(longest);
        if self.seat.is_some() && steps != self.since {
            self.seat = None;
            self.timer = None;
        }
        if self.timer.is_none() {
            if !is_waiting(steps) {
                return Poll::Pending;
            }
            self.since = steps;
        }
        loop {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(pause)));
            ready!(timer.as_mut().poll(context));
            if steps == self.since {
                let rest = longest - pause;
                if self.seat.is_some() || rest.is_zero() {
                    return Poll::Ready(Stalled);
                }
                let Some(seat) = self.stalls.wait_long() else {
                    return Poll::Ready(Stalled);
                };
                self.seat = Some(seat);
                self.timer = Some(Box::pin(sleep(rest)));
            } else {
                self.since = steps;
                self.timer = None;
                if !is_waiting(steps) {
                    return Poll::Pending;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::Clock;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(60);

    /// Gives something to the user each time that it has waited as long as said.
    async fn giving(waits: &[Duration]) {
        let watch = Watch::current();
        for wait in waits {
            watch.given();
            sleep(*wait).await;
            watch.taken();
        }
    }

    /// How long a user lasts whose each step takes `wait`; none: to its end.
    async fn cut_after(stalls: &Arc<Stalls>, waits: &[Duration]) -> Option<Duration> {
        let clock = Clock::system();
        let began = clock.now();
        let output = watched(giving(waits), LONGEST, stalls).await;
        output.is_none().then(|| clock.now() - began)
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut_off_after_the_longest_wait() {
        let stalls = Stalls::new(1);
        let cut = cut_after(&stalls, &[LONGEST * 10]).await.unwrap();
        assert!(cut >= LONGEST && cut < LONGEST + PAUSE, "{cut:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_slowly_is_waited_for() {
        let stalls = Stalls::new(1);
        assert_eq!(cut_after(&stalls, &[LONGEST / 2; 10]).await, None);
        assert_eq!(cut_after(&stalls, &[LONGEST - PAUSE; 10]).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_may_have_less_patience() {
        let stalls = Stalls::new(1);
        let clock = Clock::system();
        for longest in [Duration::from_secs(1), Duration::from_secs(20)] {
            let began = clock.now();
            let serving = async {
                Watch::current().wait_for(longest);
                giving(&[LONGEST * 10]).await;
            };
            assert_eq!(watched(serving, LONGEST, &stalls).await, None);
            let took = clock.now() - began;
            assert!(took >= longest && took < longest + PAUSE, "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_origin_is_not_blamed() {
        let stalls = Stalls::new(1);
        let waiting = async {
            let watch = Watch::current();
            watch.given();
            watch.taken();
            sleep(LONGEST * 10).await;
        };
        assert_eq!(watched(waiting, LONGEST, &stalls).await, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_may_wait_long_at_a_time() {
        let stalls = Stalls::new(2);
        let stall = [LONGEST * 10];
        let (first, second, third) = tokio::join!(
            cut_after(&stalls, &stall),
            cut_after(&stalls, &stall),
            cut_after(&stalls, &stall),
        );
        let mut cuts = [first.unwrap(), second.unwrap(), third.unwrap()];
        cuts.sort();
        assert!(cuts[0] < 2 * PAUSE, "{cuts:?}");
        assert!(cuts[1] >= LONGEST, "{cuts:?}");
        // Both seats are free again.
        assert!(cut_after(&stalls, &stall).await.unwrap() >= LONGEST);
        assert_eq!(stalls.waiting.load(Relaxed), 0);
        stalls.bound(0);
        assert!(cut_after(&stalls, &stall).await.unwrap() < 2 * PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_knows_why_it_is_dropped() {
        struct Body(Watch, Arc<AtomicBool>);
        impl Drop for Body {
            fn drop(&mut self) {
                self.1.store(self.0.is_cut(), Relaxed);
            }
        }
        let (stalls, told) = (Stalls::new(1), Arc::new(AtomicBool::new(false)));
        let inner = Arc::clone(&told);
        let serving = async move {
            let body = Body(Watch::current(), inner);
            body.0.given();
            std::future::pending::<()>().await;
            drop(body);
        };
        assert_eq!(watched(serving, LONGEST, &stalls).await, None);
        assert!(told.load(Relaxed));
    }
}
