//! The tables, their version, and what is checked before they are trusted.

use std::path::Path;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::Rng as _;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior};

use super::connect;

/// Version that this program writes.
const VERSION: usize = MIGRATIONS.len();

/// Each entry leads from the version of its index to the next one; a new file walks through all of them.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE meta (
        name TEXT PRIMARY KEY,
        value ANY NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE kv (
        key TEXT PRIMARY KEY,
        value BLOB NOT NULL,
        modified INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE log (
        revision INTEGER NOT NULL,
        key TEXT NOT NULL,
        before BLOB,
        after BLOB,
        PRIMARY KEY (revision, key)
    ) STRICT;
    INSERT INTO meta (name, value) VALUES ('revision', 0), ('log_floor', 0);
"];

/// Why a file is no store.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Made by a later release.
    #[error("it has schema version {found}, and this release knows {VERSION} at most")]
    Newer {
        /// Version in the file.
        found: usize,
    },
    /// Pages that contradict each other: restore a backup.
    #[error("it is damaged: {what}")]
    Damaged {
        /// First finding of SQLite's check.
        what: String,
    },
    /// No database, or one that cannot be read or written.
    #[error("the database refused")]
    Database(#[from] rusqlite::Error),
}

/// What was found in the file.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) id: String,
    pub(super) revision: u64,
    pub(super) log_rows: u64,
}

/// Opens the writer's connection: checks the file, brings it to our version, and gives a new one its identity.
pub(super) fn open(path: &Path) -> Result<(Connection, Opened), SchemaError> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    check(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL syncs the log at every commit, so what was acknowledged survives a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    migrate(&mut connection)?;
    let opened = Opened {
        id: meta(&connection, "store_id")?,
        revision: meta(&connection, "revision")?,
        log_rows: connection.query_row("SELECT COUNT(*) FROM log", [], |row| row.get(0))?,
    };
    Ok((connection, opened))
}

fn check(connection: &Connection) -> Result<(), SchemaError> {
    let finding: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if finding == "ok" {
        Ok(())
    } else {
        Err(SchemaError::Damaged { what: finding })
    }
}

fn migrate(connection: &mut Connection) -> Result<(), SchemaError> {
    let txn = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: usize = txn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > VERSION {
        return Err(SchemaError::Newer { found });
    }
    for step in &MIGRATIONS[found..] {
        txn.execute_batch(step)?;
    }
    txn.pragma_update(None, "user_version", VERSION)?;
    let id: Option<String> = txn
        .query_row(
            "SELECT value FROM meta WHERE name = 'store_id'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    if id.is_none() {
        txn.execute(
            "INSERT INTO meta (name, value) VALUES ('store_id', ?1)",
            [new_id()],
        )?;
    }
    txn.commit()?;
    Ok(())
}

fn new_id() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::rng().random::<[u8; 16]>())
}

/// Reads one value of the table `meta`.
pub(super) fn meta<T: rusqlite::types::FromSql>(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<T> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
}
