//! Sessions of identity providers that are to be refreshed, with what the provider is shown for it: a file of its own.
//!
//! It is no part of the store, so none of it is in a snapshot or in a node's share. What edges have sealed is sealed once more, by a key
//! that lies in no database. One edge at a time is given a session: a provider takes a refresh token once, and ends all that came of it
//! when it is shown twice.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use model::user::SESSION_LIFE;
use prost::Message as _;
use proto::fabric::RefreshableSession;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use tokio::task::spawn_blocking;

use crate::{second_factors::key::SecondFactorKey, sign_in_log::private, telemetry, time::unix_ms};

/// Name of the file within the data directory.
pub const FILE_NAME: &str = "refreshes.db";
/// Sessions that are kept, about 300 MB at the most; those beyond go on unasked until their life is over, as without a refresh token.
pub const SESSIONS_MAX: usize = 100_000;
/// For how long a session is one edge's: several times what an edge takes to ask about all that it was given, as it begins nothing after a
/// minute.
pub(crate) const LEASE: Duration = Duration::from_secs(300);
/// How long another process, such as a backup, may be in the way.
const BUSY_WAIT: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS refreshes (
        session BLOB PRIMARY KEY,
        known BLOB NOT NULL,
        sealed BLOB NOT NULL,
        began_ms INTEGER NOT NULL,
        answered_ms INTEGER NOT NULL,
        due_ms INTEGER NOT NULL,
        leased_until_ms INTEGER NOT NULL DEFAULT 0,
        turn INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX IF NOT EXISTS refreshes_due ON refreshes (due_ms, leased_until_ms, answered_ms);
";

/// The file. Clones are the same.
#[derive(Debug, Clone)]
pub struct Refreshes {
    file: Arc<Mutex<Connection>>,
    key: Arc<SecondFactorKey>,
    sessions_max: usize,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RefreshesError {
    /// It cannot be made, read or written.
    #[error("the file of sessions to refresh cannot be used")]
    File(#[source] rusqlite::Error),
    /// It cannot be made private.
    #[error("the file of sessions to refresh cannot be made private")]
    Private(#[source] std::io::Error),
    /// Control is stopping.
    #[error("the file of sessions to refresh is closed")]
    Closed,
}

/// A session that an edge was given, and how it stands with its provider.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Given {
    /// Without what is sealed.
    pub(crate) session: RefreshableSession,
    /// When the provider last stood by the user. Unix milliseconds.
    pub(crate) answered_ms: i64,
    /// How often it has not answered since.
    pub(crate) failures: u32,
    /// An edge was given it since, and said nothing of it.
    pub(crate) is_unreported: bool,
}

impl Refreshes {
    /// Opens the file in `directory`, and makes it if there is none. It keeps `sessions_max` at the most.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn open(
        directory: &Path,
        key: Arc<SecondFactorKey>,
        sessions_max: usize,
        now: SystemTime,
    ) -> Result<Self, RefreshesError> {
        let path = directory.join(FILE_NAME);
        private(&path).map_err(RefreshesError::Private)?;
        let open = || {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(BUSY_WAIT)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // A token that a provider gave for another is lost with the session that it is of.
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.execute_batch(SCHEMA)?;
            // Edges that could not say what became of a session while control was away say it now.
            connection.execute(
                "UPDATE refreshes SET leased_until_ms = ?1 WHERE leased_until_ms > 0",
                [after(now, LEASE)],
            )?;
            Ok(connection)
        };
        let connection = open().map_err(RefreshesError::File)?;
        count(&connection).map_err(RefreshesError::File)?;
        Ok(Self {
            file: Arc::new(Mutex::new(connection)),
            key,
            sessions_max,
        })
    }

    /// Keeps sessions that have begun, each with the time until it is due; those that are known already are passed over. Says how many
    /// there is no room for.
    ///
    /// # Errors
    /// Nothing was kept.
    pub(crate) async fn keep(
        &self,
        sessions: Vec<(RefreshableSession, Duration)>,
        now: SystemTime,
    ) -> Result<usize, RefreshesError> {
        let (key, most) = (Arc::clone(&self.key), self.sessions_max);
        self.with(move |txn| {
            let room = most.saturating_sub(count(txn)?);
            let left_out = sessions.len().saturating_sub(room);
            for (session, wait) in sessions.into_iter().take(room) {
                let sealed = key.seal_refresh(&session.session, &session.sealed);
                let known = RefreshableSession { sealed: bytes::Bytes::new(), ..session };
                txn.execute(
                    "INSERT OR IGNORE INTO refreshes (session, known, sealed, began_ms, answered_ms, due_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    params![&known.session[..], known.encode_to_vec(), sealed, known.began_ms, unix_ms(now), after(now, wait)],
                )?;
            }
            Ok(left_out)
        })
        .await
    }

    /// Gives the caller sessions that are due and nobody's now, at most `most`: first those that a provider stood by longest ago. Each says
    /// how it stood before.
    ///
    /// # Errors
    /// Nobody was given anything.
    pub(crate) async fn take(
        &self,
        most: usize,
        now: SystemTime,
    ) -> Result<Vec<Given>, RefreshesError> {
        let key = Arc::clone(&self.key);
        self.with(move |txn| {
            let mut given = Vec::new();
            for Row {
                session,
                sealed,
                turn,
                stands,
            } in due(txn, most, now)?
            {
                let Some(sealed) = key.open_refresh(&session, &sealed) else {
                    // By another key of control's: nobody opens it again.
                    remove(txn, &session)?;
                    continue;
                };
                let turn = turn.saturating_add(1);
                txn.execute(
                    "UPDATE refreshes SET leased_until_ms = ?2, turn = ?3 WHERE session = ?1",
                    params![session, after(now, LEASE), turn],
                )?;
                given.push(Given {
                    session: RefreshableSession {
                        sealed: sealed.into(),
                        turn: u64::try_from(turn).unwrap_or(0),
                        ..stands.session
                    },
                    ..stands
                });
            }
            Ok(given)
        })
        .await
    }

    /// A session, if it was given for the `turn`th time last.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) async fn given(
        &self,
        session: &[u8],
        turn: u64,
    ) -> Result<Option<Given>, RefreshesError> {
        let (session, turn) = (session.to_vec(), wire_turn(turn));
        self.with(move |txn| {
            let sql = "SELECT known, answered_ms, failures, leased_until_ms > 0 FROM refreshes WHERE session = ?1 AND turn = ?2 AND leased_until_ms > 0";
            let row = txn.query_row(sql, params![session, turn], stands);
            row.optional()
        })
        .await
    }

    /// The provider stands by the user, and is shown this the next time.
    ///
    /// # Errors
    /// It is not kept.
    pub(crate) async fn renewed(
        &self,
        session: &[u8],
        turn: u64,
        (sealed, wait): (&[u8], Duration),
        now: SystemTime,
    ) -> Result<(), RefreshesError> {
        let sealed = (!sealed.is_empty()).then(|| self.key.seal_refresh(session, sealed));
        let (session, turn) = (session.to_vec(), wire_turn(turn));
        self.with(move |txn| {
            txn.execute(
                "UPDATE refreshes SET sealed = COALESCE(?3, sealed), answered_ms = ?4, due_ms = ?5, leased_until_ms = 0, failures = 0 WHERE session = ?1 AND turn = ?2",
                params![session, turn, sealed, unix_ms(now), after(now, wait)],
            )?;
            Ok(())
        })
        .await
    }

    /// Nobody knows; it is asked again after `wait`, with what is `sealed` if that is something.
    ///
    /// # Errors
    /// It is not kept.
    pub(crate) async fn unanswered(
        &self,
        session: &[u8],
        turn: u64,
        (sealed, wait): (&[u8], Duration),
        now: SystemTime,
    ) -> Result<(), RefreshesError> {
        let sealed = (!sealed.is_empty()).then(|| self.key.seal_refresh(session, sealed));
        let (session, turn) = (session.to_vec(), wire_turn(turn));
        self.with(move |txn| {
            txn.execute(
                "UPDATE refreshes SET due_ms = ?3, leased_until_ms = 0, failures = failures + 1, sealed = COALESCE(?4, sealed) WHERE session = ?1 AND turn = ?2",
                params![session, turn, after(now, wait), sealed],
            )?;
            Ok(())
        })
        .await
    }

    /// A session is over.
    ///
    /// # Errors
    /// It is still kept.
    pub(crate) async fn forget(&self, session: &[u8]) -> Result<(), RefreshesError> {
        let session = session.to_vec();
        self.with(move |txn| {
            remove(txn, &session)?;
            count(txn)?;
            Ok(())
        })
        .await
    }

    /// Removes those whose life is over.
    ///
    /// # Errors
    /// Nothing was removed.
    pub(crate) async fn sweep(&self, now: SystemTime) -> Result<(), RefreshesError> {
        let life = i64::try_from(SESSION_LIFE.as_millis()).unwrap_or(i64::MAX);
        let oldest_ms = unix_ms(now).saturating_sub(life);
        self.with(move |txn| {
            txn.execute("DELETE FROM refreshes WHERE began_ms < ?1", [oldest_ms])?;
            count(txn)?;
            Ok(())
        })
        .await
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, RefreshesError> {
        let file = Arc::clone(&self.file);
        let done = spawn_blocking(move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let txn = file.transaction()?;
            let done = work(&txn)?;
            txn.commit()?;
            Ok(done)
        });
        let done = done.await.map_err(|_| RefreshesError::Closed)?;
        done.map_err(RefreshesError::File)
    }
}

/// One that is due.
struct Row {
    session: Vec<u8>,
    sealed: Vec<u8>,
    turn: i64,
    stands: Given,
}

fn due(file: &Connection, most: usize, now: SystemTime) -> rusqlite::Result<Vec<Row>> {
    // The inner part reads the index alone, as many may be due after an outage.
    let sql = "SELECT known, answered_ms, failures, leased_until_ms > 0, session, sealed, turn FROM refreshes WHERE rowid IN (
        SELECT rowid FROM refreshes WHERE due_ms <= ?1 AND leased_until_ms <= ?1 ORDER BY answered_ms LIMIT ?2
    ) ORDER BY answered_ms";
    let mut statement = file.prepare_cached(sql)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![unix_ms(now), most], |row| {
        Ok(Row {
            session: row.get(4)?,
            sealed: row.get(5)?,
            turn: row.get(6)?,
            stands: stands(row)?,
        })
    })?;
    rows.collect()
}

/// Of a row that begins with what is known, the last good answer, the failures since, and whether it was given to an edge.
fn stands(row: &rusqlite::Row<'_>) -> rusqlite::Result<Given> {
    let known: Vec<u8> = row.get(0)?;
    Ok(Given {
        session: RefreshableSession::decode(&*known).unwrap_or_default(),
        answered_ms: row.get(1)?,
        failures: row.get(2)?,
        is_unreported: row.get(3)?,
    })
}

fn remove(file: &Connection, session: &[u8]) -> rusqlite::Result<()> {
    let sql = "DELETE FROM refreshes WHERE session = ?1";
    file.execute(sql, [session]).map(drop)
}

/// How many there are; the metric shows it.
fn count(file: &Connection) -> rusqlite::Result<usize> {
    let sql = "SELECT COUNT(due_ms) FROM refreshes";
    let count: u32 = file.query_row(sql, [], |row| row.get(0))?;
    telemetry::refreshable_sessions().set(f64::from(count));
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn after(now: SystemTime, wait: Duration) -> i64 {
    let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    unix_ms(now).saturating_add(wait)
}

fn wire_turn(turn: u64) -> i64 {
    i64::try_from(turn).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
