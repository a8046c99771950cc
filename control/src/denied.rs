//! Nodes that were deleted while their certificates still run: their ids stay taken until then.
//!
//! A new node under an old id would otherwise share its name with whoever still holds the old certificate.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use prost::Message as _;
use proto::{control, time::system_time};
use runtime::Clock;

use crate::store::{Entry, Op, Store, StoreError, TXN_STEPS_MAX, TxnError};

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

/// Frees the ids whose certificates have run out.
///
/// # Errors
/// Those of the store.
pub async fn sweep(store: &dyn Store, clock: &Clock) -> Result<(), StoreError> {
    let now = clock.wall();
    let mut after = None::<Arc<str>>;
    loop {
        let page = store.range(PREFIX, after.as_deref(), TXN_STEPS_MAX).await?;
        let over: Vec<Op> = page
            .entries
            .iter()
            .filter(|entry| until(&entry.key, &entry.value).is_some_and(|until| until < now))
            .map(|entry| Op::Delete(Arc::clone(&entry.key)))
            .collect();
        if !over.is_empty() {
            match store.txn(Vec::new(), over).await {
                // Without checks there is no conflict.
                Ok(_) | Err(TxnError::Conflict(_)) => {}
                Err(TxnError::Store(error)) => return Err(error),
            }
        }
        if !page.more {
            return Ok(());
        }
        after = page.entries.last().map(|entry| Arc::clone(&entry.key));
    }
}
