//! Who changed what: one event, written in the same transaction as the change itself.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use prost::Message as _;
use proto::{admin::AuditEvent, time::wire_timestamp};
use rand::Rng as _;
use runtime::Clock;

use crate::store::{self, Op, Store, StoreError};

/// Prefix of the keys of audit events.
pub const COLLECTION: &str = "auditEvents/";
/// Events that are kept; the oldest go first. About 30 MB.
pub const EVENTS_MAX: usize = 100_000;

/// A change that somebody made, or was refused.
#[derive(Debug, Clone, Default)]
pub struct Event {
    /// `apiTokens/{id}`, `agents/{id}`, `edges/{id}`, `joinTokens/{id}`, or `control` itself.
    pub actor: String,
    /// `CreateApp`, `Enrol`, ...
    pub method: &'static str,
    /// Name of the resource that changed.
    pub resource: String,
    /// Address the call came from; empty for control itself.
    pub peer: String,
    /// Field paths that changed, for updates.
    pub changed_fields: Vec<String>,
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

/// Removes the oldest events beyond `keep`.
///
/// # Errors
/// Those of the store; what was removed until then stays removed.
pub async fn sweep(store: &dyn Store, keep: usize) -> Result<(), StoreError> {
    let mut seen = 0;
    store::sweep(store, COLLECTION, |_| {
        seen += 1;
        seen > keep
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{TXN_STEPS_MAX, sqlite};

    #[tokio::test]
    async fn the_newest_event_is_first_and_the_oldest_goes_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Clock::starting_at(Clock::system().wall());
        let store = sqlite::open(directory.path(), &clock).expect("a store");
        let total = TXN_STEPS_MAX + 10;
        for index in 0..total {
            let event = Event {
                resource: index.to_string(),
                ..Event::default()
            };
            clock.move_wall(Duration::from_millis(1));
            let written = store.txn(Vec::new(), vec![op(event, &clock)]).await;
            written.expect("the store writes");
        }
        let newest = async |limit| {
            let range = store.range(COLLECTION, None, limit).await;
            let entries = range.expect("the store reads").entries.into_iter();
            let events = entries.map(|entry| AuditEvent::decode(entry.value).expect("an event"));
            events.map(|event| event.resource).collect::<Vec<_>>()
        };
        assert_eq!(newest(1).await, [(total - 1).to_string()]);
        sweep(&store, 2).await.expect("the store sweeps");
        let left = [(total - 1).to_string(), (total - 2).to_string()];
        assert_eq!(newest(total).await, left);
    }
}
