//! Data-plane workers: each is one OS thread with a tokio `current_thread` runtime.
//!
//! Traffic that stays on one thread costs about a third of what it costs on the multi-thread runtime, so sockets and
//! streams live here. Jobs are made on the worker's thread and may hold values that are not `Send`.

use std::{
    fmt,
    future::Future,
    io,
    num::NonZeroUsize,
    pin::Pin,
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, available_parallelism},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::scope::{Presence, Scope};

/// Jobs waiting for a worker; each is a start of something standing, or one hand-over, never one request.
const JOB_QUEUE_MAX: usize = 1_024;

/// Threads that carry traffic. Clones are the same workers. They end, after their tasks, when their
/// scope is cancelled or the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Workers {
    workers: Vec<Worker>,
    /// Held so that the workers end with their last handle.
    _scope: Scope,
}

/// Where workers run, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Each on a thread of its own.
    Own(NonZeroUsize),
    /// All on the `LocalRuntime` that starts them, by its clock: under tokio's paused clock a test lives through hours in seconds.
    Current(NonZeroUsize),
}

impl Threads {
    /// Number of workers.
    #[must_use]
    pub const fn count(self) -> NonZeroUsize {
        match self {
            Self::Own(count) | Self::Current(count) => count,
        }
    }
}

#[derive(Clone)]
struct Worker {
    jobs: mpsc::Sender<Job>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Worker")
    }
}

type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

struct Job {
    name: &'static str,
    life: Life,
    make: Box<dyn FnOnce(Scope) -> LocalFuture + Send>,
}

#[derive(Clone, Copy)]
enum Life {
    Bounded,
    Standing,
}

/// Why a job was not given to a worker.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No such worker.
    #[error("there is no worker {index}")]
    NoSuchWorker {
        /// Index that was asked for.
        index: usize,
    },
    /// Its queue is full: it is stuck or flooded.
    #[error("worker {index} has too many jobs waiting")]
    Full {
        /// Index of the worker.
        index: usize,
    },
    /// It has ended.
    #[error("worker {index} has ended")]
    Ended {
        /// Index of the worker.
        index: usize,
    },
}

impl Workers {
    /// As many workers as the machine has cores for us.
    #[must_use]
    pub fn default_count() -> NonZeroUsize {
        available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }

    /// Starts workers; those with threads of their own are named `<name>-0`, `<name>-1` and so on.
    ///
    /// # Errors
    /// When the system gives no thread or no event queue; those already started end again.
    pub fn start(name: &str, threads: Threads, scope: &Scope) -> io::Result<Self> {
        let own = scope.child("workers");
        let workers = (0..threads.count().get())
            .map(|index| match threads {
                Threads::Own(_) => Worker::start(format!("{name}-{index}"), &own),
                Threads::Current(_) => Ok(Worker::here(&own)),
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            workers,
            _scope: own,
        })
    }

    /// Number of workers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// Runs a bounded job on a worker: `make` is called on its thread with the worker's scope, which outlives the job.
    ///
    /// # Errors
    /// See [`SpawnError`]; the job is dropped.
    pub fn spawn_on<M, F>(
        &self,
        index: usize,
        name: &'static str,
        make: M,
    ) -> Result<(), SpawnError>
    where
        M: FnOnce(Scope) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        self.give(index, name, Life::Bounded, make)
    }

    /// As [`Workers::spawn_on`], for what the process cannot do without, such as a listener: a panic in it ends the process.
    ///
    /// # Errors
    /// See [`SpawnError`]; the job is dropped.
    pub fn spawn_standing_on<M, F>(
        &self,
        index: usize,
        name: &'static str,
        make: M,
    ) -> Result<(), SpawnError>
    where
        M: FnOnce(Scope) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        self.give(index, name, Life::Standing, make)
    }

    /// Whether each worker takes a job and does it within `limit`. One that does not is stuck: it carries nothing either.
    pub async fn are_alive(&self, limit: Duration) -> bool {
        let asked = (0..self.count()).map(|index| {
            let (tell, answer) = oneshot::channel();
            let ask = move |_| async move {
                // Who asked may have given up.
                let _ = tell.send(());
            };
            let given = self.spawn_on(index, "sign of life", ask);
            async move { given.is_ok() && answer.await.is_ok() }
        });
        let all = timeout(limit, join_all(asked)).await;
        all.is_ok_and(|answers| answers.into_iter().all(|is_alive| is_alive))
    }

    fn give<M, F>(
        &self,
        index: usize,
        name: &'static str,
        life: Life,
        make: M,
    ) -> Result<(), SpawnError>
    where
        M: FnOnce(Scope) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let worker = self
            .workers
            .get(index)
            .ok_or(SpawnError::NoSuchWorker { index })?;
        let make = Box::new(move |scope: Scope| Box::pin(make(scope)) as LocalFuture);
        worker
            .jobs
            .try_send(Job { name, life, make })
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => SpawnError::Full { index },
                mpsc::error::TrySendError::Closed(_) => SpawnError::Ended { index },
            })
    }
}

impl Worker {
    fn start(name: String, above: &Scope) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel(JOB_QUEUE_MAX);
        let (scope, presence) = (above.child("worker"), above.presence());
        let (ready, started) = sync_channel(1);
        thread::Builder::new()
            .name(name)
            .spawn(move || run(scope, presence, waiting, &ready))?;
        started
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the worker's thread ended at once")))?;
        Ok(Self { jobs })
    }
}

impl Worker {
    fn here(above: &Scope) -> Self {
        let (jobs, mut waiting) = mpsc::channel(JOB_QUEUE_MAX);
        let scope = above.child("worker");
        above.spawn_local("worker", async move { work(&scope, &mut waiting).await });
        Self { jobs }
    }
}

/// The thread of one worker. Its runtime is made here because it may not move between threads.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the thread owns its scope; what is dropped last is said below"
)]
fn run(
    scope: Scope,
    presence: Presence,
    mut waiting: mpsc::Receiver<Job>,
    ready: &SyncSender<io::Result<()>>,
) {
    let built = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default());
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => return answer(ready, Err(error)),
    };
    answer(ready, Ok(()));
    runtime.block_on(work(&scope, &mut waiting));
    drop(runtime);
    // Last: whoever closes the scope above may rely on the runtime being gone.
    drop(presence);
}

/// Takes jobs until the scope is cancelled or nobody can give any, then waits for those under way.
async fn work(scope: &Scope, waiting: &mut mpsc::Receiver<Job>) {
    tokio::select! {
        () = scope.cancelled() => {}
        () = take_jobs(scope, waiting) => scope.cancel(),
    }
    waiting.close();
    scope.ended().await;
}

/// Ends when every handle of the workers is gone.
async fn take_jobs(scope: &Scope, waiting: &mut mpsc::Receiver<Job>) {
    while let Some(Job { name, life, make }) = waiting.recv().await {
        let own = scope.clone();
        let job = async move { make(own).await };
        match life {
            Life::Bounded => scope.spawn_local(name, job),
            Life::Standing => scope.spawn_standing_local(name, job),
        }
    }
}

fn answer(ready: &SyncSender<io::Result<()>>, outcome: io::Result<()>) {
    // The starter waits for exactly this, so it is there.
    let _ = ready.send(outcome);
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;

    const TWO: NonZeroUsize = NonZeroUsize::new(2).expect("two is not zero");

    #[tokio::test]
    async fn a_worker_that_is_stuck_shows_no_sign_of_life() {
        let scope = Scope::root();
        let workers = Workers::start("test", Threads::Own(TWO), &scope).unwrap();
        assert!(workers.are_alive(Duration::from_secs(10)).await);
        let (release, stuck) = sync_channel::<()>(1);
        let job = move |_| async move { assert!(stuck.recv().is_err()) };
        workers.spawn_on(1, "stuck", job).unwrap();
        assert!(!workers.are_alive(Duration::from_millis(100)).await);
        drop(release);
        assert!(workers.are_alive(Duration::from_secs(10)).await);
    }

    #[tokio::test]
    async fn jobs_run_on_the_named_thread_and_need_not_be_send() {
        let root = Scope::root();
        let workers = Workers::start("edge", Threads::Own(TWO), &root).unwrap();
        let (done, name) = oneshot::channel();
        workers
            .spawn_on(1, "job", |scope| async move {
                let shared = Rc::new(RefCell::new(0));
                let (inner, ended) = (Rc::clone(&shared), Rc::new(tokio::sync::Notify::new()));
                let signal = Rc::clone(&ended);
                scope.spawn_local("inner", async move {
                    *inner.borrow_mut() += 1;
                    signal.notify_one();
                });
                ended.notified().await;
                let thread = thread::current().name().map(str::to_owned);
                let _ = done.send((thread, *shared.borrow()));
            })
            .unwrap();
        assert_eq!(name.await.unwrap(), (Some("edge-1".to_owned()), 1));
        assert!(root.close(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn close_waits_for_the_tasks_of_workers() {
        let root = Scope::root();
        let workers = Workers::start("edge", Threads::Own(TWO), &root).unwrap();
        let (done, ended) = oneshot::channel();
        let (started, running) = oneshot::channel();
        workers
            .spawn_on(0, "job", |scope| async move {
                let _ = started.send(());
                scope.cancelled().await;
                let _ = done.send(());
            })
            .unwrap();
        running.await.unwrap();
        assert!(root.close(Duration::from_secs(5)).await);
        assert!(ended.await.is_ok());
        assert_eq!(root.running(), 0);
        assert!(matches!(
            workers.spawn_on(0, "late", |_| async {}),
            Err(SpawnError::Ended { index: 0 })
        ));
    }

    #[tokio::test]
    async fn panic_in_a_job_leaves_the_worker_working() {
        let root = Scope::root();
        let workers = Workers::start("edge", Threads::Own(TWO), &root).unwrap();
        workers
            .spawn_on(0, "broken", |_| async { panic!("on purpose") })
            .unwrap();
        let (done, answer) = oneshot::channel();
        workers
            .spawn_on(0, "whole", |_| async move {
                let _ = done.send(7);
            })
            .unwrap();
        assert_eq!(answer.await, Ok(7));
    }

    #[tokio::test]
    async fn standing_jobs_run_until_the_workers_are_dropped() {
        let root = Scope::root();
        let workers = Workers::start("edge", Threads::Own(TWO), &root).unwrap();
        let (done, ended) = oneshot::channel();
        workers
            .spawn_standing_on(0, "listener", |scope| async move {
                scope.cancelled().await;
                let _ = done.send(());
            })
            .unwrap();
        let mut ended = ended;
        assert!(ended.try_recv().is_err());
        drop(workers);
        root.ended().await;
    }

    #[test]
    fn unknown_worker_is_refused() {
        let root = Scope::root();
        let workers = Workers::start("edge", Threads::Own(NonZeroUsize::MIN), &root).unwrap();
        let refused = workers.spawn_on(1, "job", |_| async {});
        assert!(matches!(
            refused,
            Err(SpawnError::NoSuchWorker { index: 1 })
        ));
    }
}
