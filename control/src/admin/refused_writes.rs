//! Writes that were refused for their role: of each operator, method and network one is audited an hour.
//!
//! Whoever may write nothing could fill the audit log otherwise, and the disk, by trying again and again.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::attempts::network;

/// How long a repetition adds nothing to the audit log.
const REPETITION: Duration = Duration::from_secs(3_600);
/// Pairs of operator and method that are remembered; far more than a fabric has.
const PAIRS_MAX: usize = 10_000;
/// Networks of one such pair that are audited within [`REPETITION`]: enough to see that a token went around, and addresses are cheap.
const NETWORKS_MAX: usize = 16;

/// Remembers what was audited.
#[derive(Debug, Clone, Default)]
pub(crate) struct RefusedWrites {
    audited: Arc<Mutex<HashMap<Pair, Networks>>>,
}

type Pair = (String, &'static str);
/// With the time of the last audit; `None` where the listener does not say who calls.
type Networks = HashMap<Option<IpAddr>, Instant>;

/// One refused write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    /// Whose.
    pub(crate) actor: &'a str,
    /// What was called.
    pub(crate) method: &'static str,
    /// From where.
    pub(crate) peer: Option<IpAddr>,
}

/// An audit that is under way. Dropped before it is [`written`](Self::written), it is as if it had never begun.
#[derive(Debug)]
pub(crate) struct Audit {
    writes: RefusedWrites,
    pair: Pair,
    network: Option<IpAddr>,
    is_written: bool,
}

impl RefusedWrites {
    /// To be audited, if this is no repetition; meanwhile the same is one.
    pub(crate) fn begin(&self, attempt: Attempt<'_>, now: Instant) -> Option<Audit> {
        let pair = (attempt.actor.to_owned(), attempt.method);
        let network = attempt.peer.map(network);
        let mut audited = self.audited.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |since: &Instant| now - *since < REPETITION;
        if audited.len() >= PAIRS_MAX && !audited.contains_key(&pair) {
            audited.retain(|_, networks| networks.values().any(is_recent));
            if audited.len() >= PAIRS_MAX {
                audited.clear();
            }
        }
        let networks = audited.entry(pair.clone()).or_default();
        networks.retain(|_, since| is_recent(since));
        if networks.contains_key(&network) || networks.len() >= NETWORKS_MAX {
            return None;
        }
        networks.insert(network, now);
        Some(Audit {
            writes: self.clone(),
            pair,
            network,
            is_written: false,
        })
    }
}

impl Audit {
    /// The row is on disk.
    pub(crate) fn written(mut self) {
        self.is_written = true;
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        if self.is_written {
            return;
        }
        let audited = &self.writes.audited;
        let mut audited = audited.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(networks) = audited.get_mut(&self.pair) {
            networks.remove(&self.network);
            if networks.is_empty() {
                audited.remove(&self.pair);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::Clock;

    use super::*;

    fn attempt<'a>(actor: &'a str, method: &'static str, peer: &str) -> Attempt<'a> {
        Attempt {
            actor,
            method,
            peer: Some(peer.parse().expect("an address")),
        }
    }

    #[test]
    fn only_the_same_of_the_same_operator_and_network_within_the_hour_is_a_repetition() {
        let (writes, now) = (RefusedWrites::default(), Clock::system().now());
        let (here, there) = ("192.0.2.1", "192.0.2.2");
        for (actor, method, peer, after, is_new) in [
            ("apiTokens/a", "CreateApp", here, Duration::ZERO, true),
            ("apiTokens/a", "CreateApp", here, REPETITION / 2, false),
            ("apiTokens/a", "CreateApp", there, REPETITION / 2, true),
            ("apiTokens/a", "DeleteApp", here, REPETITION / 2, true),
            ("apiTokens/b", "CreateApp", here, REPETITION / 2, true),
            ("apiTokens/a", "CreateApp", here, REPETITION, true),
            ("apiTokens/a", "CreateApp", there, REPETITION, false),
        ] {
            let audit = writes.begin(attempt(actor, method, peer), now + after);
            assert_eq!(
                audit.is_some(),
                is_new,
                "{actor} {method} {peer} after {after:?}"
            );
            audit.into_iter().for_each(Audit::written);
        }
    }

    #[test]
    fn what_could_not_be_written_is_audited_the_next_time() {
        let (writes, now) = (RefusedWrites::default(), Clock::system().now());
        let again = || writes.begin(attempt("apiTokens/a", "CreateApp", "192.0.2.1"), now);
        let failing = again().expect("it is new");
        assert!(again().is_none(), "it is being written");
        drop(failing);
        again().expect("nothing was written").written();
        assert!(again().is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (writes, now) = (RefusedWrites::default(), Clock::system().now());
        for number in 0..=PAIRS_MAX {
            let actor = number.to_string();
            let audit = writes.begin(attempt(&actor, "CreateApp", "192.0.2.1"), now);
            audit.expect("it is new").written();
        }
        let audited = (0..=NETWORKS_MAX).filter(|number| {
            let peer = format!("2001:db8:0:{number:x}::1");
            let audit = writes.begin(attempt("apiTokens/a", "CreateApp", &peer), now);
            audit.map(Audit::written).is_some()
        });
        assert_eq!(audited.count(), NETWORKS_MAX);
        let remembered = writes.audited.lock().expect("nobody panicked").len();
        assert!(remembered <= PAIRS_MAX, "{remembered}");
    }
}
