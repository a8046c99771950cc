//! Nodes that were deleted while their certificates still run: their ids stay taken until then.
//!
//! A new node under an old id would otherwise share its name with whoever still holds the old certificate.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use prost::Message as _;
use proto::{control, time::system_time};
use runtime::Clock;

use crate::store::{self, Check, Entry, Op, Store, StoreError};

/// Prefix before the name of a deleted node: `denied/agents/a1`. The value is its record as it was.
pub const PREFIX: &str = "denied/";

/// Deletes a node's record and keeps its id from being enrolled anew until its certificate has run out.
///
/// `entry` is that of `agents/{id}` or `edges/{id}`. Goes into a transaction that checks it unchanged.
#[must_use]
pub fn delete_node(entry: &Entry) -> Vec<Op> {
    vec![
        Op::Delete(Arc::clone(&entry.key)),
        Op::Put(key(&entry.key), entry.value.clone()),
    ]
}

/// Key of the denial of a node by its resource name.
#[must_use]
pub fn key(name: &str) -> Arc<str> {
    format!("{PREFIX}{name}").into()
}

/// When the id may be used again; `None` where the record does not say, which is never.
#[must_use]
pub fn until(name: &str, value: &Bytes) -> Option<SystemTime> {
    let expiry = if name.contains("agents/") {
        let record = control::AgentRecord::decode(value.clone()).ok()?;
        record.agent?.certificate_expire_time
    } else {
        let record = control::EdgeRecord::decode(value.clone()).ok()?;
        record.edge?.certificate_expire_time
    };
    system_time(&expiry?).ok()
}

/// What must hold for a node to be enrolled under `name`: no denial, or the removal of one that is over and not swept yet.
///
/// # Errors
/// Those of the store.
pub async fn free(
    store: &dyn Store,
    name: &str,
    now: SystemTime,
) -> Result<(Check, Option<Op>), StoreError> {
    let key = key(name);
    let denial = store.get(&key).await?;
    let over = denial.filter(|entry| is_over(entry, now));
    Ok(match over {
        Some(entry) => (
            Check::Unchanged(entry.key, entry.modified),
            Some(Op::Delete(key)),
        ),
        None => (Check::Absent(key), None),
    })
}

fn is_over(entry: &Entry, now: SystemTime) -> bool {
    until(&entry.key, &entry.value).is_some_and(|until| until < now)
}

/// Frees the ids whose certificates have run out.
///
/// # Errors
/// Those of the store.
pub async fn sweep(store: &dyn Store, clock: &Clock) -> Result<(), StoreError> {
    let now = clock.wall();
    store::sweep(store, PREFIX, |entry| is_over(entry, now)).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto::{admin::Agent, time::wire_timestamp};

    use super::*;
    use crate::store::sqlite;

    #[tokio::test]
    async fn an_id_is_free_again_once_its_certificate_has_run_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Clock::starting_at(Clock::system().wall());
        let store = sqlite::open(directory.path(), &clock).expect("a store");
        let expiry = clock.wall() + Duration::from_secs(60);
        let record = control::AgentRecord {
            agent: Some(Agent {
                certificate_expire_time: Some(wire_timestamp(expiry)),
                ..Agent::default()
            }),
            ..control::AgentRecord::default()
        };
        let name: Arc<str> = "agents/a1".into();
        let put = Op::Put(Arc::clone(&name), record.encode_to_vec().into());
        store.txn(Vec::new(), vec![put]).await.expect("writes");
        let entry = store.get(&name).await.expect("reads").expect("is there");
        store
            .txn(Vec::new(), delete_node(&entry))
            .await
            .expect("writes");
        for (wait, is_denied) in [(0, true), (61, false)] {
            clock.move_wall(Duration::from_secs(wait));
            sweep(&store, &clock).await.expect("sweeps");
            let denial = store.get(&key(&name)).await.expect("reads");
            assert_eq!(denial.is_some(), is_denied);
        }
        assert_eq!(store.get(&name).await.expect("reads"), None);
    }
}
