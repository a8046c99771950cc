//! What an edge knows about one agent: how busy, how quick and how reliable it is.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{health::Health, stamped::Stamped};

/// How fast latencies and penalties are forgotten.
const TIME_CONSTANT: Duration = Duration::from_secs(10);
/// Below this, latencies count as equal, so that what is in flight decides between quick agents.
const LATENCY_MIN: Duration = Duration::from_millis(1);
/// What a failure adds to the latency: more than any page that people wait for, so that failing fast never pays.
const PENALTY: Duration = Duration::from_secs(5);
/// The longest penalty that a `Retry-After` field can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// How long an agent that is new or back gets less than its share, while its caches and connections warm up.
const SLOW_START: Duration = Duration::from_secs(30);
/// The part of its share that it starts with.
const SLOW_START_MIN: f32 = 0.1;

/// How a request at an agent went. What ends without either, such as a cancelled request, says nothing about the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The response's head arrived, so long after the request.
    Head(Duration),
    /// It went wrong behind the edge.
    Failure(Failure),
}

/// What went wrong behind the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The agent refused the stream, broke the protocol, or was lost.
    Tunnel,
    /// The agent did not get an answer from any origin. This speaks of the app alone, see [`AppHealth`](super::AppHealth).
    Origin,
    /// An origin answered 429, 502 or 503. This costs the agent requests but never ejects it: the answer may be meant for
    /// one user only.
    Busy {
        /// From the answer's `Retry-After` field.
        retry_after: Option<Duration>,
    },
}

/// Load and health of one agent, shared by its links and by all workers.
#[derive(Debug)]
pub struct AgentLoad {
    in_flight: AtomicU32,
    /// Seconds; zero before the first response.
    latency: Stamped,
    /// Seconds.
    penalty: Stamped,
    health: Health,
    /// When its first link came up, in milliseconds.
    up_since: AtomicU64,
    weight: AtomicU32,
    draining: AtomicBool,
}

impl AgentLoad {
    /// An agent whose first link came up just now.
    pub fn new(now: Duration, weight: NonZeroU32) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            latency: Stamped::new(now, 0.0),
            penalty: Stamped::new(now, 0.0),
            health: Health::default(),
            up_since: AtomicU64::new(millis(now)),
            weight: AtomicU32::new(weight.get()),
            draining: AtomicBool::new(false),
        }
    }

    /// The agent is back after it had no link: it starts slowly and drains no more. Its ejection, if any, goes on.
    pub fn link_up(&self, now: Duration) {
        self.up_since.store(millis(now), Relaxed);
        self.draining.store(false, Relaxed);
    }

    /// It gets no more requests, and finishes those that it has.
    pub fn start_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether it gets no more requests.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether it failed too much lately, and is left alone for a time.
    pub fn is_ejected(&self, now: Duration) -> bool {
        self.health.is_ejected(now)
    }

    /// Its share of requests relative to others.
    pub fn set_weight(&self, weight: NonZeroU32) {
        self.weight.store(weight.get(), Relaxed);
    }

    /// Requests that it has now.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Counts a request until the guard is dropped.
    pub fn start(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight { load: self.clone() }
    }

    /// Notes how a request went.
    pub fn record(&self, now: Duration, outcome: Outcome) {
        match outcome {
            Outcome::Head(latency) => {
                self.observe(now, latency);
                self.health.succeed(now);
            }
            Outcome::Failure(Failure::Tunnel) => {
                self.penalise(now, PENALTY);
                self.health.fail(now);
            }
            Outcome::Failure(Failure::Origin) => {}
            Outcome::Failure(Failure::Busy { retry_after }) => {
                let asked = retry_after.unwrap_or(PENALTY);
                self.penalise(now, asked.clamp(PENALTY, RETRY_AFTER_MAX));
            }
        }
    }

    /// Peaks count at once, and are forgotten slowly.
    fn observe(&self, now: Duration, latency: Duration) {
        let sample = latency.max(LATENCY_MIN).as_secs_f32();
        self.latency.update(now, |held| {
            let fading = held.fading(TIME_CONSTANT);
            let average = held.value * fading + sample * (1.0 - fading);
            Some(sample.max(average))
        });
    }

    fn penalise(&self, now: Duration, penalty: Duration) {
        let penalty = penalty.as_secs_f32();
        self.penalty
            .update(now, |held| Some(held.decayed(TIME_CONSTANT).max(penalty)));
    }

    /// Seconds to a response's head, if one was ever seen. Fades while nothing is seen, so that a slow agent is tried
    /// again.
    fn latency(&self, now: Duration) -> Option<f32> {
        let held = self.latency.read(now);
        let known = held.value > 0.0;
        known.then(|| held.decayed(TIME_CONSTANT).max(LATENCY_MIN.as_secs_f32()))
    }

    fn score(&self, now: Duration, latency: f32) -> f32 {
        let penalty = self.penalty.read(now).decayed(TIME_CONSTANT);
        // A precision of 24 bits is plenty for a count of requests.
        let queue = self.in_flight() as f32 + 1.0;
        let share = self.weight.load(Relaxed) as f32 * self.warmth(now);
        (latency + penalty) * queue / share
    }

    /// From [`SLOW_START_MIN`] to 1 while it is new or back.
    fn warmth(&self, now: Duration) -> f32 {
        let up_since = Duration::from_millis(self.up_since.load(Relaxed));
        let since = now.saturating_sub(up_since.max(self.health.ejected_until()));
        (since.as_secs_f32() / SLOW_START.as_secs_f32()).clamp(SLOW_START_MIN, 1.0)
    }
}

/// Scores of two agents to compare; the lower one is better. One that has not answered yet is taken to be as quick as the
/// other.
pub(super) fn scores(one: &AgentLoad, other: &AgentLoad, now: Duration) -> (f32, f32) {
    let (a, b) = (one.latency(now), other.latency(now));
    let unknown = LATENCY_MIN.as_secs_f32();
    (
        one.score(now, a.or(b).unwrap_or(unknown)),
        other.score(now, b.or(a).unwrap_or(unknown)),
    )
}

/// One request at an agent, from its start until this is dropped.
#[derive(Debug)]
#[must_use = "the request counts only while this is held"]
pub struct InFlight {
    load: Arc<AgentLoad>,
}

impl InFlight {
    /// Notes how the request went.
    pub fn record(&self, now: Duration, outcome: Outcome) {
        self.load.record(now, outcome);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.load.in_flight.fetch_sub(1, Relaxed);
    }
}

fn millis(now: Duration) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
