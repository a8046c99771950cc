//! Who changed what: one event, written in the same transaction as the change itself.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use prost::Message as _;
use proto::{admin::AuditEvent, time::wire_timestamp};
use rand::Rng as _;
use runtime::Clock;

use crate::store::{self, Op, Revision, Store, StoreError, WatchError};

/// Prefix of the keys of audit events.
pub const COLLECTION: &str = "auditEvents/";
/// What is kept; the oldest go first. About 33 MB.
pub const KEPT: Kept = Kept {
    changes: 100_000,
    refusals: 10_000,
};

/// How many events are kept, each kind by itself: whoever may change nothing cannot push out what others changed.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// Changes.
    pub changes: usize,
    /// Refused ones.
    pub refusals: usize,
}

/// A change that somebody made, or was refused.
#[derive(Debug, Clone, Default)]
pub struct Event {
    /// `apiTokens/{id}`, `agents/{id}`, `edges/{id}`, `joinTokens/{id}`, `users/{id}`, or `control` itself.
    pub actor: String,
    /// `CreateApp`, `Enrol`, ...
    pub method: &'static str,
    /// Name of the resource that changed.
    pub resource: String,
    /// Address the call came from; empty for control itself.
    pub peer: String,
    /// Field paths that changed, for updates.
    pub changed_fields: Vec<String>,
    /// Whom else it was about; empty: nobody.
    pub subject: String,
    /// Whether nothing changed because the caller's role did not suffice.
    pub refused: bool,
}

/// The operation that writes `event`; goes into the transaction of the change.
#[must_use]
pub fn op(event: Event, clock: &Clock) -> Op {
    let now = clock.wall();
    let key: Arc<str> = new_key(now).into();
    let record = AuditEvent {
        name: key.to_string(),
        time: Some(wire_timestamp(now)),
        actor: event.actor,
        method: event.method.to_owned(),
        resource: event.resource,
        peer: event.peer,
        changed_fields: event.changed_fields,
        refused: event.refused,
        subject: event.subject,
    };
    Op::Put(key, record.encode_to_vec().into())
}

/// Keys ascend from the newest event to the oldest, so that a list reads from its start.
fn new_key(now: SystemTime) -> String {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    format!(
        "{COLLECTION}{:016x}-{:08x}",
        u64::MAX - micros,
        rand::rng().random::<u32>()
    )
}

/// Removes the oldest events beyond `kept`.
///
/// # Errors
/// Those of the store; what was removed until then stays removed.
pub async fn sweep(store: &dyn Store, kept: Kept) -> Result<(), StoreError> {
    let Kept {
        mut changes,
        mut refusals,
    } = kept;
    store::sweep(store, COLLECTION, |entry| {
        let left = if is_refusal(&entry.value) {
            &mut refusals
        } else {
            &mut changes
        };
        let is_over = *left == 0;
        *left = left.saturating_sub(1);
        is_over
    })
    .await
}

/// What cannot be read counts among the changes.
fn is_refusal(value: &Bytes) -> bool {
    AuditEvent::decode(value.clone()).is_ok_and(|event| event.refused)
}

/// Waits until `events` have been written after a revision. A store that cannot be watched from there has seen many.
///
/// # Errors
/// Those of the store.
pub async fn gathered(store: &dyn Store, after: Revision, events: usize) -> Result<(), StoreError> {
    let (mut watch, mut seen) = (store.watch(after), 0);
    while seen < events {
        let batch = match watch.next().await {
            Ok(batch) => batch,
            Err(WatchError::Compacted(_)) => return Ok(()),
            Err(WatchError::Store(error)) => return Err(error),
        };
        let written =
            |event: &&store::Event| event.after.is_some() && event.key.starts_with(COLLECTION);
        seen += batch.events.iter().filter(written).count();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{TXN_STEPS_MAX, sqlite};

    struct Bench {
        store: sqlite::SqliteStore,
        clock: Clock,
        _directory: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let clock = Clock::starting_at(Clock::system().wall());
            Self {
                store: sqlite::open(directory.path(), &clock).expect("a store"),
                clock,
                _directory: directory,
            }
        }

        async fn write(&self, resource: &str, refused: bool) {
            let event = Event {
                resource: resource.to_owned(),
                refused,
                ..Event::default()
            };
            self.clock.move_wall(Duration::from_millis(1));
            let ops = vec![op(event, &self.clock)];
            let written = self.store.txn(Vec::new(), ops).await;
            written.expect("the store writes");
        }

        /// Resources of the newest events.
        async fn newest(&self, limit: usize) -> Vec<String> {
            let range = self.store.range(COLLECTION, None, limit).await;
            let entries = range.expect("the store reads").entries.into_iter();
            let events = entries.map(|entry| AuditEvent::decode(entry.value).expect("an event"));
            events.map(|event| event.resource).collect()
        }
    }

    #[tokio::test]
    async fn the_newest_event_is_first_and_the_oldest_goes_first() {
        let bench = Bench::new();
        let total = TXN_STEPS_MAX + 10;
        for index in 0..total {
            bench.write(&index.to_string(), false).await;
        }
        assert_eq!(bench.newest(1).await, [(total - 1).to_string()]);
        let kept = Kept {
            changes: 2,
            refusals: 0,
        };
        sweep(&bench.store, kept).await.expect("the store sweeps");
        let left = [(total - 1).to_string(), (total - 2).to_string()];
        assert_eq!(bench.newest(total).await, left);
    }

    #[tokio::test]
    async fn refusals_push_out_no_change() {
        let bench = Bench::new();
        bench.write("change", false).await;
        for index in 0..20 {
            bench.write(&index.to_string(), true).await;
        }
        let kept = Kept {
            changes: 2,
            refusals: 2,
        };
        sweep(&bench.store, kept).await.expect("the store sweeps");
        assert_eq!(bench.newest(20).await, ["19", "18", "change"]);
    }

    #[tokio::test]
    async fn a_sweep_is_due_after_so_many_events_and_not_before() {
        let bench = Bench::new();
        let begin = bench.store.revision().await.expect("the store reads");
        bench.write("one", false).await;
        let wait = Duration::from_millis(50);
        let early = tokio::time::timeout(wait, gathered(&bench.store, begin, 2)).await;
        assert!(early.is_err(), "one event is not two");
        bench.write("two", true).await;
        gathered(&bench.store, begin, 2)
            .await
            .expect("both are there");
    }
}
