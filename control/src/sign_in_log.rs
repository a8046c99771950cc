//! Who came, from where, to what: what edges report, in a file of its own.
//!
//! It is no part of the store. Sign-ins are many more than changes: there they would wake every node, fill the log that nodes catch up
//! by, and push out what operators did. So it is not in a snapshot of the store either, and a fabric whose store is elsewhere has one
//! such log for each control. What is lost with the machine is a log.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use model::name::{AccessRuleId, AppId, EdgeId, UserId};
use prost::Message as _;
use proto::{
    admin::{SignIn, SignInResult},
    fabric::{SignInEvent, SignInKind},
};
use rusqlite::{Connection, ToSql, params, params_from_iter};
use tokio::task::spawn_blocking;

use crate::time::{timestamp_of_ms, unix_ms};

#[cfg(test)]
mod tests;

/// Name of the file within the data directory.
pub const FILE_NAME: &str = "sign-ins.db";
/// What names of sign-ins begin with.
pub(crate) const COLLECTION: &str = "signIns/";
/// Most events that are kept, about 200 MB; the oldest go first. How long they are kept at the most is a setting of the fabric.
pub const EVENTS_MAX: u64 = 500_000;
/// Longest texts that are kept of an event; edges send shorter ones.
const TEXT_BYTES_MAX: usize = 256;
/// Methods that are kept of a sign-in.
const METHODS_MAX: usize = 8;
/// How long another process, such as a backup, may be in the way.
const BUSY_WAIT: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS sign_ins (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id BLOB NOT NULL UNIQUE,
        received_ms INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        user TEXT NOT NULL,
        app TEXT NOT NULL,
        result INTEGER NOT NULL,
        sign_in BLOB NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS sign_ins_of_users ON sign_ins (user, number);
    CREATE INDEX IF NOT EXISTS sign_ins_at_apps ON sign_ins (app, number);
";
/// What came to the table later, for files that were made before.
const COLUMN_RULE: &str = "ALTER TABLE sign_ins ADD COLUMN rule TEXT NOT NULL DEFAULT ''";
const INDICES: &str = "
    CREATE INDEX IF NOT EXISTS sign_ins_of_rules ON sign_ins (rule, number);
    CREATE INDEX IF NOT EXISTS sign_ins_of_results ON sign_ins (result, number);
    CREATE INDEX IF NOT EXISTS sign_ins_at ON sign_ins (at_ms, number);
    CREATE INDEX IF NOT EXISTS sign_ins_received ON sign_ins (received_ms);
";

/// The log. Clones are the same.
#[derive(Debug, Clone)]
pub struct SignInLog {
    file: Arc<Mutex<Connection>>,
    reading: Arc<Mutex<Connection>>,
    events_max: u64,
}

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SignInLogError {
    /// The file cannot be made, read or written.
    #[error("the log of sign-ins cannot be used")]
    File(#[source] rusqlite::Error),
    /// The file cannot be made private.
    #[error("the log of sign-ins cannot be made private")]
    Private(#[source] std::io::Error),
    /// Control is stopping.
    #[error("the log of sign-ins is closed")]
    Closed,
}

/// Which sign-ins are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// `users/{id}`; empty: all.
    pub(crate) user: String,
    /// `apps/{id}`; empty: all.
    pub(crate) app: String,
    /// `accessRules/{id}`; empty: all.
    pub(crate) rule: String,
    /// None: all.
    pub(crate) result: Option<SignInResult>,
    /// Only what happened since, by the edges' clocks.
    pub(crate) since: Option<SystemTime>,
    /// Only larger numbers.
    pub(crate) after: Option<i64>,
    /// Only smaller numbers.
    pub(crate) before: Option<i64>,
    /// How many.
    pub(crate) limit: usize,
}

impl SignInLog {
    /// Opens the log in `directory`, and makes it if there is none. It keeps `events_max` at the most.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn open(directory: &Path, events_max: u64) -> Result<Self, SignInLogError> {
        let path = directory.join(FILE_NAME);
        private(&path).map_err(SignInLogError::Private)?;
        let open = || {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(BUSY_WAIT)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // What was acknowledged survives a crash of control; a power cut may cost the last moments of a log.
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection.execute_batch(SCHEMA)?;
            if !connection.column_exists(None, "sign_ins", "rule")? {
                connection.execute(COLUMN_RULE, [])?;
            }
            connection.execute_batch(INDICES)?;
            // What operators look for is in nobody's way who reports.
            let reading = Connection::open(&path)?;
            reading.busy_timeout(BUSY_WAIT)?;
            reading.pragma_update(None, "query_only", true)?;
            Ok((connection, reading))
        };
        let (file, reading) = open().map_err(SignInLogError::File)?;
        Ok(Self {
            file: Arc::new(Mutex::new(file)),
            reading: Arc::new(Mutex::new(reading)),
            events_max,
        })
    }

    /// Keeps events that an edge reports; those that are known already are passed over.
    ///
    /// # Errors
    /// Nothing was kept.
    pub(crate) async fn append(
        &self,
        edge: &EdgeId,
        events: Vec<SignInEvent>,
        now: SystemTime,
    ) -> Result<(), SignInLogError> {
        let (edge, events_max, now_ms) = (edge.resource_name(), self.events_max, unix_ms(now));
        with(&self.file, move |file| {
            let txn = file.transaction()?;
            for event in events {
                let sign_in = read(&event, &edge);
                let at_ms = sign_in.time.as_ref().map_or(0, |time| time.seconds * 1_000);
                txn.execute(
                    "INSERT OR IGNORE INTO sign_ins (id, received_ms, at_ms, user, app, rule, result, sign_in) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    params![&event.id[..], now_ms, at_ms, sign_in.user, sign_in.app, sign_in.rule, sign_in.result, sign_in.encode_to_vec()],
                )?;
            }
            trim(&txn, events_max)?;
            txn.commit()
        })
        .await
    }

    /// Removes what control heard of longer than `age` ago; says how many events these were.
    ///
    /// # Errors
    /// Nothing was removed.
    pub(crate) async fn sweep(
        &self,
        age: Duration,
        now: SystemTime,
    ) -> Result<usize, SignInLogError> {
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let oldest_ms = unix_ms(now).saturating_sub(age_ms);
        // Each by its own time: one of a moment at which control's clock was ahead keeps no others.
        with(&self.file, move |file| {
            file.execute("DELETE FROM sign_ins WHERE received_ms < ?1", [oldest_ms])
        })
        .await
    }

    /// The newest of those that are asked for, newest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) async fn list(&self, wanted: Wanted) -> Result<Vec<(i64, SignIn)>, SignInLogError> {
        with(&self.reading, move |file| {
            let (sql, values) = wanted.query();
            let mut statement = file.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(values), |row| {
                let (number, bytes): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
                // What cannot be read was written by a later version.
                let sign_in = SignIn::decode(Bytes::from(bytes)).unwrap_or_default();
                let name = format!("{COLLECTION}{number}");
                Ok((number, SignIn { name, ..sign_in }))
            })?;
            rows.collect()
        })
        .await
    }
}

async fn with<T: Send + 'static>(
    file: &Arc<Mutex<Connection>>,
    work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, SignInLogError> {
    let file = Arc::clone(file);
    let done = spawn_blocking(move || {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut file)
    });
    let done = done.await.map_err(|_| SignInLogError::Closed)?;
    done.map_err(SignInLogError::File)
}

impl Wanted {
    fn query(&self) -> (String, Vec<Box<dyn ToSql>>) {
        let mut conditions = vec!["1"];
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        let mut also = |condition, value: Box<dyn ToSql>| {
            conditions.push(condition);
            values.push(value);
        };
        if !self.user.is_empty() {
            also("user = ?", Box::new(self.user.clone()));
        }
        if !self.app.is_empty() {
            also("app = ?", Box::new(self.app.clone()));
        }
        if !self.rule.is_empty() {
            also("rule = ?", Box::new(self.rule.clone()));
        }
        if let Some(result) = self.result {
            also("result = ?", Box::new(i32::from(result)));
        }
        if let Some(since) = self.since {
            // From the first of them on, newest first: those are nearly all.
            let first = "number >= (SELECT MIN(number) FROM sign_ins INDEXED BY sign_ins_at WHERE at_ms >= ?)";
            also(first, Box::new(unix_ms(since)));
            also("+at_ms >= ?", Box::new(unix_ms(since)));
        }
        if let Some(after) = self.after {
            also("number > ?", Box::new(after));
        }
        if let Some(before) = self.before {
            also("number < ?", Box::new(before));
        }
        let limit = i64::try_from(self.limit).unwrap_or(i64::MAX);
        values.push(Box::new(limit));
        let conditions = conditions.join(" AND ");
        (
            format!(
                "SELECT number, sign_in FROM sign_ins WHERE {conditions} ORDER BY number DESC LIMIT ?"
            ),
            values,
        )
    }
}

/// Removes the oldest beyond the bound: numbers ascend, so they are a range.
fn trim(file: &Connection, events_max: u64) -> rusqlite::Result<()> {
    let events_max = i64::try_from(events_max).unwrap_or(i64::MAX);
    let sql = "DELETE FROM sign_ins WHERE number <= (SELECT MAX(number) FROM sign_ins) - ?1";
    file.execute(sql, [events_max])?;
    Ok(())
}

/// An event as operators see it. What an edge says is not trusted to be short, nor to be text.
fn read(event: &SignInEvent, edge: &str) -> SignIn {
    let result = match event.kind() {
        SignInKind::Unspecified => SignInResult::Unspecified,
        SignInKind::SignedIn => SignInResult::SignedIn,
        SignInKind::Refused => SignInResult::Refused,
        SignInKind::SignedOut => SignInResult::SignedOut,
        SignInKind::AppOpened => SignInResult::AppOpened,
        SignInKind::AppDenied => SignInResult::AppDenied,
    };
    let user = event.user.parse::<UserId>().map(|id| id.resource_name());
    let app = event.app.parse::<AppId>().map(|id| id.resource_name());
    let rule = event.rule.parse::<AccessRuleId>();
    let rule = rule.map(|id| id.resource_name());
    let methods = event.methods.iter().take(METHODS_MAX);
    let methods = methods.map(|method| short(method));
    SignIn {
        name: String::new(),
        time: timestamp_of_ms(event.at_ms),
        result: result.into(),
        user: user.unwrap_or_default(),
        app: app.unwrap_or_default(),
        edge: edge.to_owned(),
        client: short(&event.client),
        user_agent: short(&event.user_agent),
        request_id: short(&event.request_id),
        reason: short(&event.reason),
        methods: methods.collect(),
        provider: short(&event.provider),
        rule: rule.unwrap_or_default(),
    }
}

/// Visible ASCII only, and not much of it.
fn short(text: &str) -> String {
    let plain = |char: &char| matches!(char, ' '..='~');
    text.chars().filter(plain).take(TEXT_BYTES_MAX).collect()
}

/// Made before SQLite makes it, which gives its side files the same mode.
pub(crate) fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}
