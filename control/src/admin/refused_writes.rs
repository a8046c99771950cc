//! Writes that were refused for their role: each operator and method is audited once an hour.
//!
//! Whoever may write nothing could fill the audit log otherwise, and the disk, by trying again and again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long a repetition adds nothing to the audit log.
const REPETITION: Duration = Duration::from_secs(3_600);
/// Pairs of operator and method that are remembered; far more than a fabric has.
const PAIRS_MAX: usize = 10_000;

/// Remembers what was audited.
#[derive(Debug, Default)]
pub(crate) struct RefusedWrites {
    audited: Mutex<HashMap<(String, &'static str), Instant>>,
}

impl RefusedWrites {
    /// Whether this is no repetition; from now on the same is one.
    pub(crate) fn is_new(&self, actor: &str, method: &'static str, now: Instant) -> bool {
        let mut audited = self.audited.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (actor.to_owned(), method);
        let is_repetition = |since: &Instant| now - *since < REPETITION;
        if audited.get(&key).is_some_and(is_repetition) {
            return false;
        }
        if audited.len() >= PAIRS_MAX {
            audited.retain(|_, since| is_repetition(since));
            if audited.len() >= PAIRS_MAX {
                audited.clear();
            }
        }
        audited.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use runtime::Clock;

    use super::*;

    #[test]
    fn only_the_same_of_the_same_operator_within_the_hour_is_a_repetition() {
        let (writes, now) = (RefusedWrites::default(), Clock::system().now());
        for (actor, method, after, is_new) in [
            ("apiTokens/a", "CreateApp", Duration::ZERO, true),
            ("apiTokens/a", "CreateApp", REPETITION / 2, false),
            ("apiTokens/a", "DeleteApp", REPETITION / 2, true),
            ("apiTokens/b", "CreateApp", REPETITION / 2, true),
            ("apiTokens/a", "CreateApp", REPETITION, true),
        ] {
            let found = writes.is_new(actor, method, now + after);
            assert_eq!(found, is_new, "{actor} {method} after {after:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (writes, now) = (RefusedWrites::default(), Clock::system().now());
        for actor in 0..=PAIRS_MAX {
            assert!(writes.is_new(&actor.to_string(), "CreateApp", now));
        }
        let remembered = writes.audited.lock().expect("nobody panicked").len();
        assert!(remembered <= PAIRS_MAX, "{remembered}");
    }
}
