//! The store of a single control: one SQLite file, one writer thread, a few read-only connections.
//!
//! Writes queue for the writer, which commits those that wait together (each keeps its own revision and its own
//! conflict) and answers after the commit is on disk. Reads see the last commit. A watch follows the commits as they
//! happen and reads the log when it is behind.

mod reader;
mod schema;
mod watch;
mod writer;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use runtime::Clock;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    Batch, Check, Entry, KEY_BYTES_MAX, Op, Range, Revision, Store, StoreError, TXN_STEPS_MAX,
    TxnError, VALUE_BYTES_MAX, Watch,
};
use reader::Readers;
use writer::{Job, Writer};

pub use schema::SchemaError;

/// Name of the database within the data directory.
pub const FILE_NAME: &str = "control.db";
/// Name of the lock that keeps a second control out of the data directory.
pub const LOCK_NAME: &str = "control.lock";

/// Revisions that stay in the log: an hour of three changes a second, after which a node reads everything again.
pub const LOG_REVISIONS_MAX: u64 = 10_000;
/// Events that stay in the log; a publication makes about four.
pub const LOG_ROWS_MAX: u64 = 100_000;
/// Transactions waiting for the writer; callers wait for room behind them.
const JOBS_MAX: usize = 256;
/// Commits that a watch may fall behind before it reads the log instead.
const BROADCAST_MAX: usize = 1_024;

/// A store in a directory. The last handle dropped finishes what was accepted and closes the file.
#[derive(Debug)]
pub struct SqliteStore {
    id: String,
    /// `None` only while dropping.
    jobs: Option<mpsc::Sender<Job>>,
    readers: Arc<Readers>,
    commits: broadcast::Sender<Batch>,
    writer: Option<thread::JoinHandle<()>>,
    /// Held for as long as the file may be written.
    _lock: File,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the directory.
    #[error("{} is in use by another control", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file cannot be made, read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is there and is not a sound database of ours.
    #[error("{} cannot be used as a store", path.display())]
    Schema {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: SchemaError,
    },
}

/// Opens the store in `directory`, which exists, and makes it if there is none.
///
/// # Errors
/// See [`OpenError`]; nothing that was stored is changed.
pub fn open(directory: &Path, clock: &Clock) -> Result<SqliteStore, OpenError> {
    let lock = lock(directory)?;
    let path = directory.join(FILE_NAME);
    private_file(&path)?;
    let schema = |source| OpenError::Schema {
        path: path.clone(),
        source,
    };
    let (connection, opened) = schema::open(&path).map_err(schema)?;
    let (jobs, waiting) = mpsc::channel(JOBS_MAX);
    let (commits, _) = broadcast::channel(BROADCAST_MAX);
    let writer = Writer::new(connection, &opened, commits.clone(), clock.clone());
    let thread = thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || writer.run(waiting))
        .map_err(|source| OpenError::File {
            path: path.clone(),
            source,
        })?;
    Ok(SqliteStore {
        id: opened.id,
        jobs: Some(jobs),
        readers: Arc::new(Readers::new(path)),
        commits,
        writer: Some(thread),
        _lock: lock,
    })
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK_NAME);
    let file = private_file(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: directory.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(OpenError::File { path, source }),
    }
}

/// SQLite gives its side files the mode of the database, so the mode is set before it opens it.
fn private_file(path: &Path) -> Result<File, OpenError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|file| {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            Ok(file)
        })
        .map_err(|source| OpenError::File {
            path: path.to_owned(),
            source,
        })
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_WAIT)?;
    Ok(connection)
}

/// Only a checkpoint or an operator's own `sqlite3` can be in the way, and neither for long.
const BUSY_WAIT: Duration = Duration::from_secs(5);

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // It ends after the jobs it has; a panic in it was reported by its thread.
            let _ = writer.join();
        }
    }
}

#[tonic::async_trait]
impl Store for SqliteStore {
    fn id(&self) -> &str {
        &self.id
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.readers.read(|reader| reader.revision()).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key: Arc<str> = key.into();
        self.readers.read(move |reader| reader.entry(&key)).await
    }

    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Range, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.readers
            .read(move |reader| reader.range(&prefix, after.as_deref(), limit))
            .await
    }

    async fn snapshot(&self, prefixes: &[&str]) -> Result<Range, StoreError> {
        let prefixes: Vec<String> = prefixes.iter().map(|&prefix| prefix.to_owned()).collect();
        self.readers
            .read(move |reader| reader.snapshot(&prefixes))
            .await
    }

    async fn txn(&self, checks: Vec<Check>, ops: Vec<Op>) -> Result<Revision, TxnError> {
        bounded(&checks, &ops)?;
        let (answer, outcome) = oneshot::channel();
        let job = Job {
            checks,
            ops,
            answer,
        };
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        outcome.await.map_err(|_| StoreError::Closed)?
    }

    fn watch(&self, after: Revision) -> Box<dyn Watch> {
        Box::new(watch::SqliteWatch::new(
            after,
            self.commits.subscribe(),
            Arc::clone(&self.readers),
        ))
    }
}

fn bounded(checks: &[Check], ops: &[Op]) -> Result<(), StoreError> {
    let too_large = |what| Err(StoreError::TooLarge { what });
    if checks.len() + ops.len() > TXN_STEPS_MAX {
        return too_large("steps of a transaction");
    }
    for op in ops {
        let (key, value_bytes) = match op {
            Op::Put(key, value) => (key, value.len()),
            Op::Delete(key) => (key, 0),
        };
        if key.len() > KEY_BYTES_MAX {
            return too_large("key");
        }
        if value_bytes > VALUE_BYTES_MAX {
            return too_large("value");
        }
    }
    Ok(())
}

fn failure(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DiskFull
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied,
        ) => StoreError::ReadOnly(error.into()),
        _ => StoreError::Database(error.into()),
    }
}

#[cfg(test)]
mod tests;
