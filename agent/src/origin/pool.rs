//! Connections to origins, kept by one worker for its own requests. Nothing here is shared between threads.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt,
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use runtime::{Clock, Scope};
use tokio::time::{Instant, sleep};

use super::{
    AcquireError, Connection, DialError, Origin, OriginNumber,
    dial::dial,
    stream::{OriginStream, Slot},
};
use crate::{
    allow::AllowList,
    metrics::{AgentMetrics, DialOutcome},
};

/// How long a connection lies idle when its origin promises nothing.
///
/// Below the shortest common limit, the 5 s of Node, Apache and uvicorn, by a second for the way there: a request that may
/// not be repeated must not meet a connection that is being closed. nginx (75 s) could keep it longer, but says nothing; a
/// fresh connection every 4 s of silence costs less than a lost POST.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Idle connections to one origin and worker: what a burst leaves behind and the next may need.
pub const IDLE_PER_ORIGIN_MAX: usize = 64;

/// Connections to one origin and worker, upgraded ones included: as many as one uplink has streams.
pub const CONNECTIONS_PER_ORIGIN_MAX: usize = 1_024;

/// How long an origin that gave no connection is passed over while the app has another.
pub const SKIP_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// How often idle connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Which connections will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// Idle ones first.
    Allowed,
    /// Only a new one: an idle one has just failed.
    Never,
}

/// The pool of one worker. Clones are the same pool.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Rc<Shared>,
}

struct Shared {
    lines: RefCell<HashMap<OriginNumber, Line>>,
    /// Moves on with every request, so that an app's origins take turns.
    turn: Cell<usize>,
    allow: Arc<AllowList>,
    clock: Clock,
    scope: Scope,
    metrics: AgentMetrics,
}

/// What is known of one origin.
#[derive(Default)]
struct Line {
    /// The one used last is used next, so that the others can grow old.
    idle: Vec<Connection>,
    open: Arc<AtomicUsize>,
    failed_at: Option<Instant>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("origins", &self.shared.lines.borrow().len())
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// An empty pool; connections and its sweeper are tasks of `scope`.
    pub(crate) fn new(
        allow: Arc<AllowList>,
        clock: Clock,
        scope: &Scope,
        metrics: AgentMetrics,
    ) -> Self {
        let shared = Rc::new(Shared {
            lines: RefCell::new(HashMap::new()),
            turn: Cell::new(0),
            allow,
            clock,
            scope: scope.clone(),
            metrics,
        });
        let (swept, own) = (Rc::downgrade(&shared), scope.clone());
        scope.spawn_standing_local("origin pool", async move {
            loop {
                tokio::select! {
                    () = sleep(SWEEP_INTERVAL) => {}
                    () = own.cancelled() => break,
                }
                let Some(shared) = swept.upgrade() else { break };
                shared.sweep();
            }
        });
        Self { shared }
    }

    /// A connection to one of an app's origins: they take turns, and those that just failed come last.
    pub(crate) async fn acquire(
        &self,
        origins: &[Arc<Origin>],
        connect_limit: Duration,
        reuse: Reuse,
    ) -> Result<Connection, AcquireError> {
        let mut failure = AcquireError::NoOrigin;
        for origin in self.shared.in_turn(origins) {
            if reuse == Reuse::Allowed
                && let Some(connection) = self.shared.take_idle(origin.number()).await
            {
                return Ok(connection);
            }
            match self.shared.fresh(origin, connect_limit).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    tracing::debug!(origin = %origin.published().url, %error, "origin gives no connection");
                    failure = error;
                }
            }
        }
        Err(failure)
    }

    /// Keeps a connection whose exchange ended in good order on both sides.
    pub(crate) fn release(&self, connection: Connection) {
        self.shared.put_idle(connection);
    }
}

impl Shared {
    fn in_turn<'a>(&self, origins: &'a [Arc<Origin>]) -> Vec<&'a Arc<Origin>> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let (before, after) = origins.split_at(turn.checked_rem(origins.len()).unwrap_or(0));
        let mut line: Vec<_> = after.iter().chain(before).collect();
        // Stable: the turns of the healthy ones stay as they are.
        line.sort_by_key(|origin| self.failed_lately(origin.number()));
        line
    }

    fn failed_lately(&self, number: OriginNumber) -> bool {
        let lines = self.lines.borrow();
        let failed_at = lines.get(&number).and_then(|line| line.failed_at);
        failed_at
            .is_some_and(|at| self.clock.now().saturating_duration_since(at) < SKIP_AFTER_FAILURE)
    }

    async fn take_idle(&self, number: OriginNumber) -> Option<Connection> {
        loop {
            let mut connection = self.lines.borrow_mut().get_mut(&number)?.idle.pop()?;
            if connection.is_usable(self.clock.now()) && connection.make_ready().await {
                return Some(connection);
            }
        }
    }

    fn put_idle(&self, mut connection: Connection) {
        connection.idle_since = self.clock.now();
        if !connection.is_usable(connection.idle_since) {
            return;
        }
        let mut lines = self.lines.borrow_mut();
        let line = lines.entry(connection.origin().number()).or_default();
        if line.idle.len() < IDLE_PER_ORIGIN_MAX {
            line.idle.push(connection);
        }
    }

    async fn fresh(
        &self,
        origin: &Arc<Origin>,
        limit: Duration,
    ) -> Result<Connection, AcquireError> {
        let slot = self.take_slot(origin.number()).ok_or(AcquireError::Full)?;
        let dialled = dial(origin, &self.allow, limit).await;
        let outcome = dialled.as_ref().err().map(DialError::outcome);
        self.note(origin.number(), outcome);
        let transport = dialled.map_err(|error| AcquireError::dial(origin, error))?;
        let (stream, wire) = OriginStream::new(transport, slot);
        let now = self.clock.now();
        Connection::start(stream, wire, origin, IDLE_TIMEOUT, now, &self.scope)
            .await
            .map_err(|error| {
                AcquireError::dial(origin, DialError::Connect(std::io::Error::other(error)))
            })
    }

    fn take_slot(&self, number: OriginNumber) -> Option<Slot> {
        let mut lines = self.lines.borrow_mut();
        let line = lines.entry(number).or_default();
        Slot::take(
            &line.open,
            CONNECTIONS_PER_ORIGIN_MAX,
            &self.metrics.origin_connections,
        )
    }

    fn note(&self, number: OriginNumber, failure: Option<DialOutcome>) {
        self.metrics
            .origin_connect(failure.unwrap_or(DialOutcome::Ok));
        if let Some(line) = self.lines.borrow_mut().get_mut(&number) {
            line.failed_at = failure.map(|_| self.clock.now());
        }
    }

    fn sweep(&self) {
        let now = self.clock.now();
        let mut dropped = Vec::new();
        self.lines.borrow_mut().retain(|_, line| {
            let old = line
                .idle
                .extract_if(.., |connection| !connection.is_usable(now));
            dropped.extend(old);
            // Whoever is dialling or using a connection holds the count.
            !line.idle.is_empty() || line.failed_at.is_some_and(|at| is_recent(now, at)) || {
                Arc::strong_count(&line.open) > 1
            }
        });
        // Outside the borrow: what a dropped connection wakes may come back here.
        drop(dropped);
    }
}

fn is_recent(now: Instant, at: Instant) -> bool {
    now.saturating_duration_since(at) < SKIP_AFTER_FAILURE
}
