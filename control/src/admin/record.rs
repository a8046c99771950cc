//! Resources as they lie in the store: names that are keys, encoded values, etags made of revisions.

use std::sync::Arc;

use bytes::Bytes;
use model::name::IdError;
use prost::Message;
use proto::violation::Violation;

use super::refusal::{Refusal, violation};
use crate::store::{self, Check, Entry, Op, Revision, Store};

#[cfg(test)]
mod tests;

/// Reads a resource name in `field` by its kind's `from_resource_name`.
pub(crate) fn id<T>(
    field: &str,
    name: &str,
    collection: &str,
    read: impl FnOnce(&str) -> Option<Result<T, IdError>>,
) -> Result<T, Violation> {
    match read(name) {
        Some(Ok(id)) => Ok(id),
        Some(Err(fault)) => Err(violation(field, format!("has an id that {fault}"))),
        None => Err(violation(
            field,
            format!("must be a name that starts with {collection}"),
        )),
    }
}

/// Reads an entry that has to be there.
pub(crate) async fn existing(store: &dyn Store, name: &str) -> Result<Entry, Refusal> {
    let entry = store.get(name).await?;
    entry.ok_or_else(|| Refusal::NotFound(name.to_owned()))
}

/// The same, where the caller means what has this etag; see [`check_etag`].
pub(crate) async fn as_seen(store: &dyn Store, name: &str, etag: &str) -> Result<Entry, Refusal> {
    let entry = existing(store, name).await?;
    check_etag(etag, &entry)?;
    Ok(entry)
}

/// Refuses a name that something has already.
pub(crate) async fn free(store: &dyn Store, name: &str) -> Result<(), Refusal> {
    match store.get(name).await? {
        Some(_) => Err(Refusal::AlreadyExists(name.to_owned())),
        None => Ok(()),
    }
}

/// The message in an entry.
pub(crate) fn decode<M: Message + Default>(entry: &Entry) -> Result<M, Refusal> {
    M::decode(entry.value.clone()).map_err(|_| Refusal::Corrupt(entry.key.to_string()))
}

/// The message inside a record, which is always set.
pub(crate) fn inner<M>(entry: &Entry, message: Option<M>) -> Result<M, Refusal> {
    message.ok_or_else(|| Refusal::Corrupt(entry.key.to_string()))
}

/// Writes a message under a key.
pub(crate) fn put(key: &str, message: &impl Message) -> Op {
    Op::Put(Arc::from(key), Bytes::from(message.encode_to_vec()))
}

/// Removes a key.
pub(crate) fn delete(key: &str) -> Op {
    Op::Delete(Arc::from(key))
}

/// The etag of what was last written at `modified`.
pub(crate) fn etag(modified: Revision) -> String {
    format!("{:x}", modified.0)
}

/// Refuses a change of something that is not what the caller has seen. An empty etag asks for nothing.
pub(crate) fn check_etag(given: &str, entry: &Entry) -> Result<(), Refusal> {
    if given.is_empty() || given == etag(entry.modified) {
        Ok(())
    } else {
        Err(Refusal::EtagMismatch(entry.key.to_string()))
    }
}

/// What an update begins from; `None`: there is nothing yet, and the request makes it then (AIP-134).
pub(crate) async fn before<M: Message + Default>(
    store: &dyn Store,
    name: &str,
    given_etag: &str,
    allow_missing: bool,
) -> Result<Option<(Entry, M)>, Refusal> {
    match store.get(name).await? {
        Some(entry) => {
            check_etag(given_etag, &entry)?;
            let message = decode(&entry)?;
            Ok(Some((entry, message)))
        }
        None if !allow_missing => Err(Refusal::NotFound(name.to_owned())),
        None if !given_etag.is_empty() => Err(Refusal::EtagMismatch(name.to_owned())),
        None => Ok(None),
    }
}

/// Does a transaction; `None`: a check did not hold, so read everything again.
pub(crate) async fn commit(
    store: &dyn Store,
    checks: Vec<Check>,
    ops: Vec<Op>,
) -> Result<Option<Revision>, Refusal> {
    Ok(store::commit(store, checks, ops).await?)
}

/// Writes the resource of a name, in several attempts if others write it too; see [`store::attempts`].
///
/// An attempt that refuses is the last one. Whoever loses every time is told that the resource is [contended](Refusal::Contended).
pub(crate) async fn written<T, F>(
    name: impl Into<String>,
    attempt: impl Fn() -> F,
) -> Result<T, Refusal>
where
    F: Future<Output = Result<Option<T>, Refusal>>,
{
    let done = store::attempts(attempt).await?;
    done.ok_or_else(|| Refusal::Contended(name.into()))
}
