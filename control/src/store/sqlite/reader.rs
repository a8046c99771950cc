//! Read-only connections, a few of them, each used by one blocking task at a time.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{Batch, Entry, Range, Revision, StoreError, connect, failure, schema::meta};
use crate::store::Event;

/// Reads that run at once; more gain nothing on a page cache shared by one process.
const CONNECTIONS_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            turns: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            idle: Mutex::new(Vec::with_capacity(CONNECTIONS_MAX)),
        }
    }

    /// Runs `read` on a connection of the pool; everything in it sees one revision.
    pub(super) async fn read<T, F>(self: &Arc<Self>, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Reader<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let readers = Arc::clone(self);
        let turns = Arc::clone(&self.turns);
        let turn = turns
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Closed)?;
        let here = move || {
            // Held by the read itself, which goes on when nobody waits for it any more.
            let _turn = turn;
            readers.read_here(read)
        };
        spawn_blocking(here)
            .await
            .map_err(|_| StoreError::Closed)?
            .map_err(failure)
    }

    fn read_here<T>(
        &self,
        read: impl FnOnce(&Reader<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let mut connection = match taken {
            Some(connection) => connection,
            None => connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?,
        };
        let txn = connection.transaction()?;
        let found = read(&Reader { connection: &txn })?;
        txn.finish()?;
        idle().push(connection);
        Ok(found)
    }
}

/// A connection inside a read transaction.
pub(super) struct Reader<'a> {
    connection: &'a Connection,
}

impl Reader<'_> {
    pub(super) fn revision(&self) -> rusqlite::Result<Revision> {
        meta(self.connection, "revision").map(Revision)
    }

    /// Newest revision that is no longer in the log.
    pub(super) fn log_floor(&self) -> rusqlite::Result<Revision> {
        meta(self.connection, "log_floor").map(Revision)
    }

    pub(super) fn entry(&self, key: &str) -> rusqlite::Result<Option<Entry>> {
        self.connection
            .prepare_cached("SELECT key, value, modified FROM kv WHERE key = ?1")?
            .query_row([key], entry)
            .optional()
    }

    pub(super) fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> rusqlite::Result<Range> {
        // One more than asked for tells whether there are more.
        let mut entries = self.entries(prefix, after, limit.saturating_add(1))?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok(Range {
            revision: self.revision()?,
            entries,
            more,
        })
    }

    pub(super) fn snapshot(&self, prefixes: &[String]) -> rusqlite::Result<Range> {
        let mut entries = Vec::new();
        for prefix in prefixes {
            entries.extend(self.entries(prefix, None, usize::MAX)?);
        }
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        entries.dedup_by(|a, b| a.key == b.key);
        Ok(Range {
            revision: self.revision()?,
            entries,
            more: false,
        })
    }

    fn entries(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> rusqlite::Result<Vec<Entry>> {
        // Keys compare by their bytes, and no UTF-8 text holds the byte 0xff: this bounds every key with the prefix.
        let mut end = prefix.as_bytes().to_vec();
        end.push(0xff);
        self.connection
            .prepare_cached(
                "SELECT key, value, modified FROM kv
                 WHERE key >= ?1 AND key < CAST(?2 AS TEXT) AND key > ?3 ORDER BY key LIMIT ?4",
            )?
            .query_map(
                params![
                    prefix,
                    end,
                    after.unwrap_or_default(),
                    i64::try_from(limit).unwrap_or(i64::MAX)
                ],
                entry,
            )?
            .collect()
    }

    /// Every batch of the revisions in `(after, to]`; a revision without events is an empty batch.
    pub(super) fn log(&self, after: Revision, to: Revision) -> rusqlite::Result<Vec<Batch>> {
        let mut events: Vec<(u64, Event)> = self
            .connection
            .prepare_cached(
                "SELECT revision, key, before, after FROM log
                 WHERE revision > ?1 AND revision <= ?2 ORDER BY revision, key",
            )?
            .query_map([after.0, to.0], |row| Ok((row.get(0)?, event(row)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let mut batches = Vec::new();
        for revision in after.0 + 1..=to.0 {
            let own = events.partition_point(|(of, _)| *of <= revision);
            batches.push(Batch {
                revision: Revision(revision),
                events: events.drain(..own).map(|(_, event)| event).collect(),
            });
        }
        Ok(batches)
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        key: row.get::<_, Arc<str>>(0)?,
        value: Bytes::from(row.get::<_, Vec<u8>>(1)?),
        modified: Revision(row.get(2)?),
    })
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let value =
        |index| Ok::<_, rusqlite::Error>(row.get::<_, Option<Vec<u8>>>(index)?.map(Bytes::from));
    Ok(Event {
        key: row.get::<_, Arc<str>>(1)?,
        before: value(2)?,
        after: value(3)?,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::RwLock;

    use futures_util::FutureExt as _;
    use runtime::Clock;

    use super::*;
    use crate::store::sqlite::{self, FILE_NAME};

    #[tokio::test]
    async fn reads_that_nobody_waits_for_still_take_their_turn() {
        let directory = tempfile::tempdir().expect("a directory");
        let _store = sqlite::open(directory.path(), &Clock::system()).expect("a store");
        let readers = Arc::new(Readers::new(directory.path().join(FILE_NAME)));
        let gate = Arc::new(RwLock::new(()));
        let closed = gate.write().expect("nobody panicked");
        for _ in 0..CONNECTIONS_MAX {
            let gate = Arc::clone(&gate);
            let read = readers.read(move |_| {
                drop(gate.read());
                Ok(())
            });
            // Begun, and dropped at once, as when a client resets its call.
            assert!(read.now_or_never().is_none());
        }
        assert_eq!(readers.turns.available_permits(), 0);
        drop(closed);
        let revision = readers.read(|reader| reader.revision()).await;
        assert_eq!(revision.expect("reads"), Revision(0));
    }
}
