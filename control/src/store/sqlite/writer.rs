//! The one thread that writes: transactions that wait together are committed together.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use runtime::Clock;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    Batch, Check, LOG_REVISIONS_MAX, LOG_ROWS_MAX, Op, Revision, StoreError, TxnError, failure,
    schema::Opened,
};
use crate::{store::Event, telemetry};

/// Transactions of one commit: bounds how long the first of them waits for the others.
const GROUP_MAX: usize = 64;

/// One transaction and whom to tell.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) checks: Vec<Check>,
    pub(super) ops: Vec<Op>,
    pub(super) answer: oneshot::Sender<Result<Revision, TxnError>>,
}

pub(super) struct Writer {
    connection: Connection,
    revision: u64,
    log_rows: u64,
    commits: broadcast::Sender<Batch>,
    clock: Clock,
    commit_seconds: metrics::Histogram,
}

/// What became of a transaction inside a group that is not committed yet.
enum Outcome {
    Done(Batch),
    Conflict(Check),
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        opened: &Opened,
        commits: broadcast::Sender<Batch>,
        clock: Clock,
    ) -> Self {
        Self {
            connection,
            revision: opened.revision,
            log_rows: opened.log_rows,
            commits,
            clock,
            commit_seconds: telemetry::store_commit_seconds(),
        }
    }

    /// Ends when every sender is gone and the queue is empty.
    pub(super) fn run(mut self, mut waiting: mpsc::Receiver<Job>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP_MAX
                && let Ok(job) = waiting.try_recv()
            {
                group.push(job);
            }
            self.commit(group);
        }
    }

    fn commit(&mut self, group: Vec<Job>) {
        let started = self.clock.now();
        match self.write(&group) {
            Ok(outcomes) => {
                let took = self.clock.now() - started;
                self.commit_seconds.record(took.as_secs_f64());
                for (job, outcome) in group.into_iter().zip(outcomes) {
                    self.answer(job, outcome);
                }
            }
            Err(error) => {
                tracing::error!(error = %error, transactions = group.len(), "nothing could be stored");
                refuse(group, error);
            }
        }
    }

    fn answer(&mut self, job: Job, outcome: Outcome) {
        let result = match outcome {
            Outcome::Done(batch) => {
                let revision = batch.revision;
                self.revision = revision.0;
                // Nobody watches at times.
                let _ = self.commits.send(batch);
                Ok(revision)
            }
            Outcome::Conflict(check) => Err(TxnError::Conflict(check)),
        };
        // Who asked may have gone; what was stored stays.
        let _ = job.answer.send(result);
    }

    fn write(&mut self, group: &[Job]) -> rusqlite::Result<Vec<Outcome>> {
        let txn = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut revision = self.revision;
        let mut log_rows = self.log_rows;
        let mut outcomes = Vec::with_capacity(group.len());
        for job in group {
            let outcome = apply(&txn, job, Revision(revision + 1))?;
            if let Outcome::Done(batch) = &outcome {
                revision += 1;
                log_rows += batch.events.len() as u64;
            }
            outcomes.push(outcome);
        }
        if revision != self.revision {
            set_meta(&txn, "revision", revision)?;
            log_rows -= compact(&txn, revision, log_rows)?;
        }
        txn.commit()?;
        self.log_rows = log_rows;
        Ok(outcomes)
    }
}

/// `rusqlite::Error` cannot be cloned, so each one gets the text and the kind.
fn refuse(group: Vec<Job>, error: rusqlite::Error) {
    let text = error.to_string();
    let read_only = matches!(failure(error), StoreError::ReadOnly(_));
    for job in group {
        let source = text.clone().into();
        let refused = if read_only {
            StoreError::ReadOnly(source)
        } else {
            StoreError::Database(source)
        };
        let _ = job.answer.send(Err(refused.into()));
    }
}

fn apply(txn: &Transaction<'_>, job: &Job, revision: Revision) -> rusqlite::Result<Outcome> {
    for check in &job.checks {
        if !holds(txn, check)? {
            return Ok(Outcome::Conflict(check.clone()));
        }
    }
    // The last operation on a key wins; in order of key, as watchers are promised.
    let mut last: BTreeMap<&Arc<str>, Option<&Bytes>> = BTreeMap::new();
    for op in &job.ops {
        match op {
            Op::Put(key, value) => last.insert(key, Some(value)),
            Op::Delete(key) => last.insert(key, None),
        };
    }
    let mut events = Vec::with_capacity(last.len());
    for (key, after) in last {
        let before = value(txn, key)?;
        if before.is_none() && after.is_none() {
            continue;
        }
        let event = Event {
            key: Arc::clone(key),
            before,
            after: after.cloned(),
        };
        write_event(txn, revision, &event)?;
        events.push(event);
    }
    Ok(Outcome::Done(Batch {
        revision,
        events: events.into(),
    }))
}

fn holds(txn: &Transaction<'_>, check: &Check) -> rusqlite::Result<bool> {
    let (Check::Absent(key) | Check::Present(key) | Check::Unchanged(key, _)) = check;
    let modified: Option<u64> = txn
        .prepare_cached("SELECT modified FROM kv WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(match check {
        Check::Absent(_) => modified.is_none(),
        Check::Present(_) => modified.is_some(),
        Check::Unchanged(_, revision) => modified == Some(revision.0),
    })
}

fn value(txn: &Transaction<'_>, key: &str) -> rusqlite::Result<Option<Bytes>> {
    txn.prepare_cached("SELECT value FROM kv WHERE key = ?1")?
        .query_row([key], |row| row.get::<_, Vec<u8>>(0))
        .optional()
        .map(|found| found.map(Bytes::from))
}

fn write_event(txn: &Transaction<'_>, revision: Revision, event: &Event) -> rusqlite::Result<()> {
    match &event.after {
        Some(value) => txn
            .prepare_cached("INSERT OR REPLACE INTO kv (key, value, modified) VALUES (?1, ?2, ?3)")?
            .execute(params![event.key, value.as_ref(), revision.0])?,
        None => txn
            .prepare_cached("DELETE FROM kv WHERE key = ?1")?
            .execute([&event.key])?,
    };
    txn.prepare_cached("INSERT INTO log (revision, key, before, after) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            revision.0,
            event.key,
            event.before.as_deref(),
            event.after.as_deref()
        ])?;
    Ok(())
}

/// Drops what the log need not hold any more; says how many rows went.
fn compact(txn: &Transaction<'_>, revision: u64, log_rows: u64) -> rusqlite::Result<u64> {
    let mut floor = revision.saturating_sub(LOG_REVISIONS_MAX);
    if log_rows > LOG_ROWS_MAX {
        // A tenth more than needed, so that this walk through the index is rare.
        let crowded: u64 = txn.query_row(
            "SELECT revision FROM log ORDER BY revision DESC LIMIT 1 OFFSET ?1",
            [LOG_ROWS_MAX - LOG_ROWS_MAX / 10],
            |row| row.get(0),
        )?;
        floor = floor.max(crowded);
    }
    if floor == 0 {
        return Ok(0);
    }
    set_meta(txn, "log_floor", floor)?;
    let gone = txn
        .prepare_cached("DELETE FROM log WHERE revision <= ?1")?
        .execute([floor])?;
    Ok(gone as u64)
}

fn set_meta(txn: &Transaction<'_>, name: &str, value: u64) -> rusqlite::Result<()> {
    txn.prepare_cached("UPDATE meta SET value = ?2 WHERE name = ?1")?
        .execute(params![name, value])?;
    Ok(())
}
