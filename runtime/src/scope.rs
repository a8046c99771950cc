//! Who starts a task owns it: tasks live in a [`Scope`], and a scope lives in the scope above it.
//!
//! Ending goes in two steps. `cancel` asks: tasks see [`Scope::cancelled`] and finish what they must.
//! `close` asks, waits for every task below until a deadline, then drops the futures of those that are left.
//! When the last handle of a scope is dropped nobody can wait any more, so its tasks are dropped at once;
//! keep the scope as long as its tasks shall run. A task that needs a scope takes a child of its own scope, not a clone:
//! a clone would keep the scope alive that should end with its owner.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    process,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use crate::telemetry;

/// Metric: tasks that panicked and cost only themselves.
pub const TASK_PANICS_TOTAL: &str = "runtime_task_panics_total";

/// Metric: tasks that run in the process.
pub const TASKS: &str = "runtime_tasks";

/// Owner of tasks. Clones are the same scope; the last one dropped cancels and drops its tasks.
#[derive(Clone, Debug)]
pub struct Scope {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: &'static str,
    /// Asks tasks to end.
    cancel: CancellationToken,
    /// Drops the futures of tasks.
    abort: CancellationToken,
    /// Own tracker first, then those of every scope above: a task counts in each, so a parent waits for all below it.
    line: Vec<TaskTracker>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.abort.cancel();
    }
}

/// Counts as one running task in a scope and in all scopes above it, until dropped.
#[derive(Debug)]
pub struct Presence {
    _tokens: Vec<TaskTrackerToken>,
}

impl Scope {
    /// The scope of a whole process, or of one test.
    #[must_use]
    pub fn root() -> Self {
        Self {
            inner: Arc::new(Inner {
                name: "root",
                cancel: CancellationToken::new(),
                abort: CancellationToken::new(),
                line: vec![TaskTracker::new()],
            }),
        }
    }

    /// A scope below this one: it is cancelled with this one and may be closed alone.
    #[must_use]
    pub fn child(&self, name: &'static str) -> Self {
        let mut line = Vec::with_capacity(self.inner.line.len() + 1);
        line.push(TaskTracker::new());
        line.extend(self.inner.line.iter().cloned());
        Self {
            inner: Arc::new(Inner {
                name,
                cancel: self.inner.cancel.child_token(),
                abort: self.inner.abort.child_token(),
                line,
            }),
        }
    }

    /// What the scope was called when it was made.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.inner.name
    }

    /// Runs a task of bounded life, such as one stream, on the current tokio runtime.
    ///
    /// A panic in it is logged and counted, and costs nothing else.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        start(self.owned(future, move |panic| survive(name, panic)));
    }

    /// As [`Scope::spawn`], for a future that may not leave its thread. Only inside a worker.
    pub fn spawn_local<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + 'static,
    {
        tokio::task::spawn_local(self.owned(future, move |panic| survive(name, panic)));
    }

    /// Runs a task that the process cannot do without: a panic in it is logged and ends the process.
    pub fn spawn_standing<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        start(self.owned(future, move |panic| end_process(name, panic)));
    }

    /// As [`Scope::spawn_standing`], for a future that may not leave its thread. Only inside a worker.
    pub fn spawn_standing_local<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + 'static,
    {
        tokio::task::spawn_local(self.owned(future, move |panic| end_process(name, panic)));
    }

    /// Asks every task of this scope and below to end.
    pub fn cancel(&self) {
        self.inner.cancel.cancel();
    }

    /// Whether the scope was asked to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancel.is_cancelled()
    }

    /// Waits until the scope is asked to end. Cancel-safe.
    pub async fn cancelled(&self) {
        self.inner.cancel.cancelled().await;
    }

    /// Waits, without asking, until no task runs here or below. Cancel-safe.
    pub async fn ended(&self) {
        let tracker = self.tracker();
        tracker.close();
        tracker.wait().await;
    }

    /// Number of tasks running here and below.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tracker().len()
    }

    /// Number of tasks running below the root that this scope is below: those of the whole process.
    #[must_use]
    pub fn running_in_all(&self) -> usize {
        // Every constructor puts the root's tracker last.
        self.inner.line.last().map_or(0, TaskTracker::len)
    }

    /// Asks all tasks here and below to end, waits until the deadline, then drops what is left.
    ///
    /// True if everything ended by itself in time.
    pub async fn close(&self, deadline: Duration) -> bool {
        self.cancel();
        let in_time = tokio::time::timeout(deadline, self.ended()).await.is_ok();
        if !in_time {
            tracing::warn!(
                scope = self.inner.name,
                tasks = self.running(),
                "tasks did not end in time and are dropped"
            );
            self.inner.abort.cancel();
            // A future that blocks its thread cannot be dropped, so this wait has an end too.
            let _ = tokio::time::timeout(ABORT_WAIT, self.ended()).await;
        }
        in_time
    }

    /// Marks something other than a task, such as a thread, as running here: `close` waits for it.
    #[must_use]
    pub fn presence(&self) -> Presence {
        Presence {
            _tokens: self.inner.line.iter().map(TaskTracker::token).collect(),
        }
    }

    fn tracker(&self) -> &TaskTracker {
        // Every constructor puts the scope's own tracker first.
        &self.inner.line[0]
    }

    fn owned<F, P>(&self, future: F, on_panic: P) -> impl Future<Output = ()> + use<F, P>
    where
        F: Future<Output = ()>,
        P: FnOnce(&str),
    {
        let presence = self.presence();
        let abort = self.inner.abort.clone();
        // Each layer of futures around it would hold it once more: several times its size for as long as the task lives.
        let caught = Box::pin(AssertUnwindSafe(future).catch_unwind());
        async move {
            let _presence = presence;
            if let Some(Err(payload)) = until_cancelled(&abort, caught).await {
                on_panic(panic_text(payload.as_ref()));
            }
        }
    }
}

/// The future that `make` makes, made where it stays: `Box::pin` copies it from the stack, and what serves a request has some thousands of
/// bytes.
pub fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}

/// How long `close` waits for dropped futures to be gone; only a blocked thread can take longer.
const ABORT_WAIT: Duration = Duration::from_secs(1);

/// Runs the whole of a task until `token` is cancelled; `None` then.
///
/// The waker of a task stays the same for its life. So the token need hear of it once only, and is merely looked at in later polls.
async fn until_cancelled<F: Future + Unpin>(
    token: &CancellationToken,
    mut task: F,
) -> Option<F::Output> {
    let mut cancelled = pin!(token.cancelled());
    let mut is_heard = false;
    poll_fn(|context| {
        let is_cancelled = if is_heard {
            token.is_cancelled()
        } else {
            is_heard = true;
            cancelled.as_mut().poll(context).is_ready()
        };
        if is_cancelled {
            return Poll::Ready(None);
        }
        task.poll_unpin(context).map(Some)
    })
    .await
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that starts tasks; the scope owns them"
)]
fn start(future: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(future);
}

fn survive(name: &'static str, panic: &str) {
    metrics::counter!(TASK_PANICS_TOTAL).increment(1);
    tracing::error!(task = name, panic, "a task panicked");
}

fn end_process(name: &'static str, panic: &str) {
    tracing::error!(
        task = name,
        panic,
        "a standing task panicked; the process ends"
    );
    telemetry::flush();
    process::abort();
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("not text")
}

#[cfg(test)]
mod tests;
