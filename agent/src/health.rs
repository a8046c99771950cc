//! Looks after origins that are published with a health check, besides the requests that they get.
//!
//! Each origin has a task of its own for as long as a view names it. What it finds is seen by every worker.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use http::{HeaderValue, StatusCode};
use model::app::HealthCheck;
use runtime::Scope;
use tokio::{sync::Semaphore, time::sleep};

use crate::{
    allow::AllowList,
    look::{self, LookError, Question},
    metrics::AgentMetrics,
    origin::{Check, Origin, OriginNumber},
    request::chain,
    view::Views,
};

/// Looks under way at the same time at origins that passed their last one: they answer soon.
const LOOKS_MAX: usize = 32;

/// The same at those that did not: they mostly wait for their time to be over, and nobody else shall wait for that.
const DOUBTFUL_LOOKS_MAX: usize = 256;

/// The first look at an origin comes within this, so that a broken one is found soon after it was published.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// Part of an interval by which looks are spread, so that agents do not come all at once.
const JITTER: f64 = 0.1;

/// Who asks, in the origin's log.
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("adit-health-check/", env!("CARGO_PKG_VERSION")));

/// Makes the looks follow the views.
#[derive(Debug)]
pub(crate) struct Checks {
    views: Views,
    held: HashMap<OriginNumber, Scope>,
    allow: Arc<AllowList>,
    looks: Arc<Looks>,
    metrics: AgentMetrics,
    scope: Scope,
}

/// How many may look at the same time.
#[derive(Debug)]
struct Looks {
    sound: Semaphore,
    doubtful: Semaphore,
}

impl Looks {
    fn new() -> Self {
        Self {
            sound: Semaphore::new(LOOKS_MAX),
            doubtful: Semaphore::new(DOUBTFUL_LOOKS_MAX),
        }
    }

    /// For an origin with this history; one without any may be anything.
    const fn of(&self, streak: &Streak) -> &Semaphore {
        if streak.passed {
            &self.sound
        } else {
            &self.doubtful
        }
    }
}

/// Why an origin did not pass.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Look(#[from] LookError),
    #[error("status {0}")]
    Status(StatusCode),
}

impl Checks {
    pub(crate) fn new(
        views: Views,
        allow: Arc<AllowList>,
        metrics: AgentMetrics,
        scope: Scope,
    ) -> Self {
        Self {
            views,
            held: HashMap::new(),
            allow,
            looks: Arc::new(Looks::new()),
            metrics,
            scope,
        }
    }

    /// Runs until the scope ends.
    pub(crate) async fn run(mut self) {
        let mut changed = self.views.subscribe();
        loop {
            self.follow();
            tokio::select! {
                () = self.scope.cancelled() => return,
                changed = changed.changed() => if changed.is_err() { return },
            }
        }
    }

    fn follow(&mut self) {
        let view = self.views.load();
        let wanted: HashSet<_> = view
            .origins()
            .filter(|origin| origin.check().is_some())
            .map(|origin| origin.number())
            .collect();
        // A dropped scope ends its task.
        self.held.retain(|number, _| wanted.contains(number));
        for origin in view.origins() {
            let Some(check) = origin.check() else {
                continue;
            };
            if self.held.contains_key(&origin.number()) {
                continue;
            }
            let watch = Watch {
                origin: Arc::clone(origin),
                check: check.clone(),
                allow: Arc::clone(&self.allow),
                looks: Arc::clone(&self.looks),
                metrics: self.metrics.clone(),
                streak: Streak::default(),
            };
            let own = self.scope.child("health check");
            own.spawn("health check", watch.run());
            self.held.insert(origin.number(), own);
        }
    }
}

/// One origin under watch.
struct Watch {
    origin: Arc<Origin>,
    check: Check,
    allow: Arc<AllowList>,
    looks: Arc<Looks>,
    metrics: AgentMetrics,
    streak: Streak,
}

impl Watch {
    async fn run(mut self) {
        let interval = self.check.terms.interval;
        sleep(interval.min(FIRST_LOOK).mul_f64(rand::random())).await;
        loop {
            let outcome = {
                let Ok(_permit) = self.looks.of(&self.streak).acquire().await else {
                    return;
                };
                self.look().await
            };
            self.judge(outcome);
            sleep(interval.mul_f64(1.0 + JITTER * (rand::random::<f64>() - 0.5))).await;
        }
    }

    async fn look(&self) -> Result<(), CheckError> {
        let Check { terms, host } = &self.check;
        let question = Question::get(host, &terms.path, USER_AGENT);
        let status = look::look(&self.origin, &self.allow, &question, terms.timeout).await?;
        if status.is_success() || status.is_redirection() {
            Ok(())
        } else {
            Err(CheckError::Status(status))
        }
    }

    fn judge(&mut self, outcome: Result<(), CheckError>) {
        let (passed, why) = match outcome {
            Ok(()) => (true, String::new()),
            Err(error) => (false, chain(&error)),
        };
        if passed {
            self.metrics.checks_ok.increment(1);
        } else {
            self.metrics.checks_failed.increment(1);
        }
        let url = &self.origin.published().url;
        match self
            .streak
            .note(passed, self.origin.is_healthy(), &self.check.terms)
        {
            Some(true) => {
                self.origin.set_healthy(true);
                self.metrics.origins_unhealthy.decrement(1.0);
                tracing::info!(origin = %url, "origin passes its health check again");
            }
            Some(false) => {
                self.origin.set_healthy(false);
                self.metrics.origins_unhealthy.increment(1.0);
                tracing::warn!(origin = %url, why, "origin fails its health check");
            }
            None => {}
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.origin.is_healthy() {
            self.metrics.origins_unhealthy.decrement(1.0);
        }
    }
}

/// Equal outcomes in a row.
#[derive(Debug, Default)]
struct Streak {
    passed: bool,
    length: u32,
}

impl Streak {
    /// Counts an outcome, and says what the origin is from now on if that changes.
    fn note(&mut self, passed: bool, healthy: bool, terms: &HealthCheck) -> Option<bool> {
        if passed != self.passed {
            *self = Self { passed, length: 0 };
        }
        self.length = self.length.saturating_add(1);
        let needed = if passed {
            terms.healthy_after
        } else {
            terms.unhealthy_after
        };
        (passed != healthy && self.length >= needed).then_some(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_waits_for_none_who_does_not() {
        let looks = Looks::new();
        let silent = Streak::default();
        let waiting: Vec<_> = (0..1_000)
            .map_while(|_| looks.of(&silent).try_acquire().ok())
            .collect();
        assert_eq!(waiting.len(), DOUBTFUL_LOOKS_MAX);
        let sound = Streak {
            passed: true,
            length: 1,
        };
        assert!(looks.of(&sound).try_acquire().is_ok());
    }

    #[test]
    fn an_origin_changes_after_enough_equal_outcomes() {
        let terms = HealthCheck {
            path: "/".to_owned(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            unhealthy_after: 3,
            healthy_after: 2,
        };
        let mut streak = Streak::default();
        let mut healthy = true;
        for (passed, want) in [
            (true, None),
            (false, None),
            (false, None),
            (true, None),
            (false, None),
            (false, None),
            (false, Some(false)),
            (false, None),
            (true, None),
            (false, None),
            (true, None),
            (true, Some(true)),
        ] {
            let change = streak.note(passed, healthy, &terms);
            assert_eq!(change, want);
            healthy = change.unwrap_or(healthy);
        }
    }
}
