//! Where desired state lives: keys and values under one revision counter, with compare-and-set and a watch.
//!
//! Every successful [`Store::txn`] makes exactly one new revision. A watcher sees each of them once, in order, or is
//! told that it is too late ([`WatchError::Compacted`]) and has to read everything again. Keys are resource names
//! (`apps/wiki`) and what belongs to them (`hosts/wiki.example.com/`).

pub mod sqlite;

use std::{fmt, sync::Arc};

use bytes::Bytes;

/// Counts transactions; 0 is the empty store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A key, its value, and when it was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// At most [`KEY_BYTES_MAX`].
    pub key: Arc<str>,
    /// At most [`VALUE_BYTES_MAX`].
    pub value: Bytes,
    /// Revision of the last write; what etags are made of.
    pub modified: Revision,
}

/// Longest key.
pub const KEY_BYTES_MAX: usize = 2048;
/// Largest value: what a gRPC message of the admin API may hold.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Most checks and operations of one transaction: an app may trade the 16 hosts of each of its 33 sites for others, which is a
/// check and two operations each (etcd's own default is 128, and a setting there).
pub const TXN_STEPS_MAX: usize = 2048;

/// What must hold for a transaction to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// The key does not exist.
    Absent(Arc<str>),
    /// The key exists.
    Present(Arc<str>),
    /// The key was last written at this revision.
    Unchanged(Arc<str>, Revision),
}

impl Check {
    /// That nobody has written an entry since it was read.
    #[must_use]
    pub fn unchanged(entry: &Entry) -> Self {
        Self::Unchanged(Arc::clone(&entry.key), entry.modified)
    }

    /// That a key is as it was read: as its entry, or not there.
    #[must_use]
    pub fn as_read(key: &str, entry: Option<&Entry>) -> Self {
        entry.map_or_else(|| Self::Absent(Arc::from(key)), Self::unchanged)
    }
}

/// What a transaction does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a key.
    Put(Arc<str>, Bytes),
    /// Removes a key; nothing happens if there is none.
    Delete(Arc<str>),
}

/// Some keys, all read at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// When they were read.
    pub revision: Revision,
    /// In order of key.
    pub entries: Vec<Entry>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

/// One key's change within a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which key.
    pub key: Arc<str>,
    /// Its value before; `None`: it was created.
    pub before: Option<Bytes>,
    /// Its value now; `None`: it was deleted.
    pub after: Option<Bytes>,
}

/// All changes of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The revision they made.
    pub revision: Revision,
    /// In order of key.
    pub events: Arc<[Event]>,
}

/// Why the store could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A key, value or transaction over its bound.
    #[error("too large for the store: {what}")]
    TooLarge {
        /// Which bound.
        what: &'static str,
    },
    /// The disk is full or may not be written. Nothing was changed.
    #[error("the store cannot be written: control's disk is full, or may not be written")]
    ReadOnly(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Anything else that the database says. Nothing was changed.
    #[error("the store failed")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store is stopping.
    #[error("the store is closed")]
    Closed,
}

/// Why a transaction did not happen.
#[derive(Debug, thiserror::Error)]
pub enum TxnError {
    /// This check did not hold.
    #[error("{0:?} did not hold")]
    Conflict(Check),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a watch ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The log does not reach back that far, or the watcher fell behind it: read everything and watch from there.
    #[error("revision {0} is no longer in the log")]
    Compacted(Revision),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The changes after a revision, one batch after the other.
#[tonic::async_trait]
pub trait Watch: Send + fmt::Debug {
    /// Waits for the next batch. Cancel-safe: a batch is not lost when the future is dropped.
    async fn next(&mut self) -> Result<Batch, WatchError>;
}

/// A store of desired state.
#[tonic::async_trait]
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// Identity of this history: another one means that revisions cannot be compared.
    fn id(&self) -> &str;

    /// The newest revision.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// Reads one key.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Reads up to `limit` keys that start with `prefix` and come after `after`.
    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Range, StoreError>;

    /// Reads every key that starts with one of `prefixes`, all at one revision.
    async fn snapshot(&self, prefixes: &[&str]) -> Result<Range, StoreError>;

    /// Does all of `ops` as one revision if all of `checks` hold, or nothing. Durable when it returns.
    async fn txn(&self, checks: Vec<Check>, ops: Vec<Op>) -> Result<Revision, TxnError>;

    /// Watches every key for changes after a revision.
    fn watch(&self, after: Revision) -> Box<dyn Watch>;
}

/// Times that a write is attempted, as somebody else may have written the same meanwhile.
pub const ATTEMPTS_MAX: usize = 8;

/// Attempts a write until it is done, [`ATTEMPTS_MAX`] times at most; `None`: others were faster each time.
///
/// An attempt reads and checks everything anew, and then writes by [`commit`]: `None` if something has changed since it was read.
///
/// # Errors
/// That of the first attempt that fails: none follows.
pub async fn attempts<T, E, F>(mut attempt: impl FnMut() -> F) -> Result<Option<T>, E>
where
    F: Future<Output = Result<Option<T>, E>>,
{
    for _ in 0..ATTEMPTS_MAX {
        if let Some(done) = attempt().await? {
            return Ok(Some(done));
        }
    }
    Ok(None)
}

/// Does a transaction; `None`: a check did not hold, so read everything again.
///
/// # Errors
/// Those of the store.
pub async fn commit(
    store: &dyn Store,
    checks: Vec<Check>,
    ops: Vec<Op>,
) -> Result<Option<Revision>, StoreError> {
    match store.txn(checks, ops).await {
        Ok(revision) => Ok(Some(revision)),
        Err(TxnError::Conflict(_)) => Ok(None),
        Err(TxnError::Store(error)) => Err(error),
    }
}

/// Removes the keys that start with `prefix` and that `is_over` picks; it is asked in order of key.
///
/// What was written since it was asked stays, with what was to go in the same transaction: the next sweep sees to it.
///
/// # Errors
/// Those of the store; what was removed until then stays removed.
pub async fn sweep(
    store: &dyn Store,
    prefix: &str,
    mut is_over: impl FnMut(&Entry) -> bool,
) -> Result<(), StoreError> {
    let mut after = None::<Arc<str>>;
    loop {
        // Each is a check and an operation.
        let limit = TXN_STEPS_MAX / 2;
        let page = store.range(prefix, after.as_deref(), limit).await?;
        let over = page.entries.iter().filter(|entry| is_over(entry));
        let (checks, ops): (Vec<_>, Vec<_>) = over
            .map(|entry| {
                let key = || Arc::clone(&entry.key);
                let unchanged = Check::Unchanged(key(), entry.modified);
                (unchanged, Op::Delete(key()))
            })
            .unzip();
        if !ops.is_empty() {
            match store.txn(checks, ops).await {
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
