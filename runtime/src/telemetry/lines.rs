//! Lines that come by the thousand, such as one for each request: gathered in memory, and written by a thread of their own.
//!
//! Where they come from nobody waits for the disk or the pipe behind standard error, and a hundred lines cost one write.
//! What the process says of itself goes another way and is written at once. Whole lines of both never mix.

mod line;

use std::{
    io,
    sync::{Condvar, Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

pub use line::Line;

use super::log;

/// Metric: lines that were left out because too many waited.
pub const LINES_DROPPED_TOTAL: &str = "runtime_log_lines_dropped_total";

/// Lines that wait for their writer; a second's worth of 15,000 requests. Above it, lines are left out and counted.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long lines gather before they are written: short for whoever follows a log, and long for an edge with few requests,
/// as each batch wakes a thread.
const GATHER: Duration = Duration::from_millis(100);

/// As many are written without a wait for more.
const BATCH_BYTES: usize = 64 * 1024;

/// How long a process that ends waits for a reader of its lines.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// The lines of this process, once they are wanted.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Lines on their way to standard error.
#[derive(Debug, Default)]
pub struct Lines {
    waiting: Mutex<Waiting>,
    /// Told when the first line of a batch waits, and when more need not be waited for.
    came: Condvar,
    /// Told when all is written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Room for the next batch, from the one before.
    spare: Vec<u8>,
    /// A batch is being written.
    writing: bool,
    /// Somebody waits for the lines to be written.
    wanted: bool,
}

impl Waiting {
    fn may_gather(&self) -> bool {
        !self.wanted && self.lines.len() < BATCH_BYTES
    }
}

/// The lines of this process; `None` where logs are for people.
pub fn lines() -> Option<&'static Lines> {
    LINES.get()
}

/// Starts the writer. Later calls change nothing.
pub(super) fn install() -> io::Result<()> {
    if LINES.get().is_some() {
        return Ok(());
    }
    let lines = LINES.get_or_init(Lines::default);
    thread::Builder::new()
        .name("log lines".to_owned())
        .spawn(|| {
            loop {
                lines.write_batch(&mut log());
            }
        })
        .map(drop)
}

/// Waits until every line is written, a moment at most. For the end of a process.
pub fn flush() {
    if let Some(lines) = lines() {
        lines.flush(FLUSH_PATIENCE);
    }
}

impl Lines {
    /// Adds a line of INFO from `target`, with the fields that `fill` writes. Never waits for a write.
    #[expect(
        clippy::disallowed_methods,
        reason = "logs are stamped by the machine's clock, whatever a test does with its own"
    )]
    pub fn add(&self, target: &'static str, message: &'static str, fill: impl FnOnce(&mut Line)) {
        let mut line = Line::begin(SystemTime::now(), message);
        fill(&mut line);
        self.push(&line.end(target));
    }

    fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.lines.len() + line.len() > WAITING_BYTES_MAX {
            drop(waiting);
            metrics::counter!(LINES_DROPPED_TOTAL).increment(1);
            return;
        }
        let (first, gathered) = (waiting.lines.is_empty(), waiting.may_gather());
        waiting.lines.extend_from_slice(line);
        let is_enough = gathered && !waiting.may_gather();
        drop(waiting);
        if first || is_enough {
            self.came.notify_one();
        }
    }

    /// Waits for lines, lets more of them gather, and writes them.
    fn write_batch(&self, sink: &mut impl io::Write) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = self
            .came
            .wait_while(waiting, |waiting| waiting.lines.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        let (mut waiting, _) = self
            .came
            .wait_timeout_while(waiting, GATHER, |waiting| waiting.may_gather())
            .unwrap_or_else(PoisonError::into_inner);
        let spare = std::mem::take(&mut waiting.spare);
        let mut batch = std::mem::replace(&mut waiting.lines, spare);
        waiting.writing = true;
        waiting.wanted = false;
        drop(waiting);
        // Nobody reads standard error any more: there is nobody to tell.
        let _ = sink.write_all(&batch);
        batch.clear();
        batch.shrink_to(2 * BATCH_BYTES);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.spare = batch;
        waiting.writing = false;
        drop(waiting);
        self.written.notify_all();
    }

    fn flush(&self, patience: Duration) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.wanted = !waiting.lines.is_empty();
        self.came.notify_one();
        let unwritten = |waiting: &mut Waiting| waiting.writing || !waiting.lines.is_empty();
        drop(
            self.written
                .wait_timeout_while(waiting, patience, unwritten),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_line_is_what_logs_in_json_have() {
        let (lines, mut written) = (Lines::default(), Vec::new());
        for status in [200_u16, 404] {
            lines.add("access", "request", |line| {
                line.number("http.status", status);
                if status == 404 {
                    line.text("reason", "no_app");
                }
            });
        }
        lines.write_batch(&mut written);
        let text = String::from_utf8(written).unwrap();
        let read: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0]["http.status"], 200);
        assert_eq!(read[0]["level"], "INFO");
        assert_eq!(read[0]["target"], "access");
        assert_eq!(read[0]["message"], "request");
        assert!(read[0].get("reason").is_none());
        assert_eq!(read[1]["reason"], "no_app");
        assert!(read[0]["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn too_many_lines_are_left_out_and_memory_is_bounded() {
        let lines = Lines::default();
        let line = vec![b'x'; WAITING_BYTES_MAX / 2];
        for _ in 0..3 {
            lines.push(&line);
        }
        let mut written = Vec::new();
        lines.write_batch(&mut written);
        assert_eq!(written.len(), WAITING_BYTES_MAX);
        lines.push(b"again\n");
        written.clear();
        lines.write_batch(&mut written);
        assert_eq!(written, b"again\n");
    }

    #[test]
    fn a_flush_waits_for_the_write() {
        let lines = Arc::new(Lines::default());
        lines.push(b"last\n");
        let writer = Arc::clone(&lines);
        let writing = thread::spawn(move || {
            let mut written = Vec::new();
            writer.write_batch(&mut written);
            written
        });
        lines.flush(Duration::from_secs(30));
        let waiting = lines.waiting.lock().unwrap();
        assert!(waiting.lines.is_empty() && !waiting.writing);
        drop(waiting);
        assert_eq!(writing.join().unwrap(), b"last\n");
    }
}
