//! What operators are told of sign-ons that fail: each failure, but not each request that meets it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kerberos::{Failure, Kind, Spn, Stage, UserName};
use model::name::AppId;
use tokio::time::Instant;

/// How long the same failure of the same user at the same app is not told again.
const SILENCE: Duration = Duration::from_secs(30);

/// Failures that are remembered; more than that at a time say the same.
const REMEMBERED_MAX: usize = 1_024;

/// What was told lately.
#[derive(Debug, Default)]
pub(crate) struct Told {
    lately: Mutex<HashMap<Subject, Instant>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Subject {
    app: AppId,
    /// Nobody's in particular: it is of the agent.
    user: Option<UserName>,
    stage: Stage,
    kind: Kind,
    number: Option<i32>,
}

/// Who was to be signed on where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    /// Id of the first request that met it.
    pub(crate) request: &'a str,
    pub(crate) app: &'a AppId,
    pub(crate) user: &'a UserName,
    /// Of which service, as far as it came to that.
    pub(crate) spn: Option<&'a Spn>,
}

impl Told {
    /// Tells of a failure, unless it was told a moment ago.
    pub(crate) fn tell(&self, attempt: Attempt<'_>, failure: &Failure, now: Instant) {
        let is_of_agent = failure.stage == Stage::Agent;
        let subject = Subject {
            app: attempt.app.clone(),
            user: (!is_of_agent).then(|| attempt.user.clone()),
            stage: failure.stage,
            kind: failure.kind,
            number: failure.number,
        };
        if !self.is_news(subject, now) {
            return;
        }
        tracing::warn!(
            request.id = attempt.request,
            app = %attempt.app,
            user = %attempt.user,
            spn = attempt.spn.map(tracing::field::display),
            stage = failure.stage.as_str(),
            kind = failure.kind.as_str(),
            number = failure.number,
            error = failure.text,
            hint = failure.hint,
            "a user cannot be signed on"
        );
    }

    fn is_news(&self, subject: Subject, now: Instant) -> bool {
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < SILENCE;
        if lately.get(&subject).is_some_and(is_recent) {
            return false;
        }
        if lately.len() >= REMEMBERED_MAX {
            lately.retain(|_, at| is_recent(at));
        }
        if lately.len() < REMEMBERED_MAX {
            lately.insert(subject, now);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(app: &str, number: i32) -> Subject {
        Subject {
            app: app.parse().unwrap(),
            user: None,
            stage: Stage::Proxy,
            kind: Kind::NotAllowed,
            number: Some(number),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_is_told_once_in_a_while() {
        let told = Told::default();
        let now = Instant::now();
        assert!(told.is_news(subject("wiki", 13), now));
        assert!(!told.is_news(subject("wiki", 13), now));
        assert!(told.is_news(subject("wiki", 7), now));
        assert!(told.is_news(subject("mail", 13), now));
        assert!(told.is_news(subject("wiki", 13), now + SILENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_has_a_bound() {
        let told = Told::default();
        let now = Instant::now();
        for number in 0..2 * i32::try_from(REMEMBERED_MAX).unwrap() {
            assert!(told.is_news(subject("wiki", number), now));
        }
        let len = || told.lately.lock().unwrap().len();
        assert_eq!(len(), REMEMBERED_MAX);
        assert!(told.is_news(subject("mail", 1), now + SILENCE));
        assert_eq!(len(), 1);
    }
}
