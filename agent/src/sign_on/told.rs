//! What operators are told of sign-ons that fail: each failure, but not each request that meets it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kerberos::{Failure, Kind, Spn, Stage, UserName};
use model::name::AppId;
use tokio::time::Instant;

use super::Asker;

/// How long the same failure of the same user at the same app is not told again.
const SILENCE: Duration = Duration::from_secs(30);

/// Failures that are remembered. More at a time are not told but counted: whoever has many names must not have a line for each.
const REMEMBERED_MAX: usize = 1_024;

/// What was told lately.
#[derive(Debug, Default)]
pub(crate) struct Told {
    lately: Mutex<Lately>,
}

#[derive(Debug, Default)]
struct Lately {
    subjects: HashMap<Subject, Instant>,
    /// Failures that there was no room for since the last that was told.
    untold: u64,
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
    pub(crate) asker: Asker<'a>,
    pub(crate) user: &'a UserName,
    /// Of which service, as far as it came to that.
    pub(crate) spn: Option<&'a Spn>,
}

impl Told {
    /// Tells of a failure, unless it was told a moment ago.
    pub(crate) fn tell(&self, attempt: Attempt<'_>, failure: &Failure, now: Instant) {
        let is_of_agent = failure.stage == Stage::Agent;
        let subject = Subject {
            app: attempt.asker.app.clone(),
            user: (!is_of_agent).then(|| attempt.user.clone()),
            stage: failure.stage,
            kind: failure.kind,
            number: failure.number,
        };
        let Some(untold) = self.is_news(subject, now) else {
            return;
        };
        if untold > 0 {
            tracing::warn!(
                failures = untold,
                "more users could not be signed on than is told one by one"
            );
        }
        tracing::warn!(
            request.id = attempt.request,
            app = %attempt.asker.app,
            edge = %attempt.asker.edge,
            sub = %attempt.asker.sub,
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

    /// If it is to be told: with how many that were not.
    fn is_news(&self, subject: Subject, now: Instant) -> Option<u64> {
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < SILENCE;
        if lately.subjects.get(&subject).is_some_and(is_recent) {
            return None;
        }
        if lately.subjects.len() >= REMEMBERED_MAX {
            lately.subjects.retain(|_, at| is_recent(at));
        }
        if lately.subjects.len() >= REMEMBERED_MAX {
            lately.untold += 1;
            return None;
        }
        lately.subjects.insert(subject, now);
        Some(std::mem::take(&mut lately.untold))
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
        assert_eq!(told.is_news(subject("wiki", 13), now), Some(0));
        assert_eq!(told.is_news(subject("wiki", 13), now), None);
        assert_eq!(told.is_news(subject("wiki", 7), now), Some(0));
        assert_eq!(told.is_news(subject("mail", 13), now), Some(0));
        assert_eq!(told.is_news(subject("wiki", 13), now + SILENCE), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_is_remembered_is_counted_and_not_told() {
        let told = Told::default();
        let now = Instant::now();
        let most = i32::try_from(REMEMBERED_MAX).unwrap();
        for number in 0..2 * most {
            let is_news = told.is_news(subject("wiki", number), now);
            assert_eq!(is_news, (number < most).then_some(0), "{number}");
        }
        let len = || told.lately.lock().unwrap().subjects.len();
        assert_eq!(len(), REMEMBERED_MAX);
        let untold = u64::try_from(most).unwrap();
        let is_news = told.is_news(subject("mail", 1), now + SILENCE);
        assert_eq!(is_news, Some(untold));
        assert_eq!(len(), 1);
    }
}
