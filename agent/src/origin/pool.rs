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
use tokio::{
    sync::Notify,
    task::yield_now,
    time::{Instant, sleep, timeout_at},
};

use super::{
    AcquireError, Connection, DialError, Origin, OriginNumber, Owner, Pins, Speech, Versions,
    connection::Line,
    dial::dial,
    http1::Http1,
    http2::{Http2, Turn},
    owned::Owned,
    stream::{OriginStream, Slot, Transport},
};
use crate::{
    allow::AllowList,
    metrics::{AgentMetrics, DialOutcome},
};

/// How long a connection of HTTP/1.1 lies idle when its origin promises nothing.
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

/// How long an origin is remembered to have closed a connection on which a request was under way. Requests that may not be
/// done twice go to it on fresh connections meanwhile.
const SURPRISE_MEMORY: Duration = Duration::from_secs(60);

/// How often it is said that apps without healthy origins are asked for.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

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

/// What becomes of a request that meets a connection which its origin closes at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It is asked again.
    Harmless,
    /// It fails: the origin may have done it, and must not do it twice.
    Forbidden,
}

/// What a request needs of its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    /// Whose it shall be; `None`: nobody's in particular.
    pub(crate) owner: Option<&'a Owner>,
    pub(crate) reuse: Reuse,
    pub(crate) repeat: Repeat,
    pub(crate) versions: Versions,
    /// How long a connection to one origin may take, the wait for another's included.
    pub(crate) connect_limit: Duration,
}

impl Wish<'_> {
    /// What belongs to somebody is not shared, and HTTP/2 is there for sharing.
    fn versions(&self) -> Versions {
        match self.owner {
            Some(_) => Versions::Http1,
            None => self.versions,
        }
    }
}

/// How little is to be expected of an origin; those with the least doubt come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    None,
    /// It gave no connection a moment ago, or died with a request.
    FailedLately,
    /// It fails its checks.
    Unhealthy,
}

/// The pool of one worker. Clones are the same pool.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Rc<Shared>,
    /// Connections that are not shared.
    pub(crate) pins: Pins,
}

struct Shared {
    origins: RefCell<HashMap<OriginNumber, Known>>,
    owned: RefCell<Owned>,
    /// When it was last told that an app has no healthy origin.
    warned_at: Cell<Option<Instant>>,
    allow: Arc<AllowList>,
    clock: Clock,
    scope: Scope,
    metrics: AgentMetrics,
}

/// What is known of one origin.
#[derive(Default)]
struct Known {
    /// Of HTTP/1.1. The one used last is used next, so that the others can grow old.
    idle: Vec<Connection>,
    /// Of HTTP/2. The first with room is used next, so that the others can grow old.
    shared: Vec<Rc<Http2>>,
    /// What was agreed on last, where it is agreed on in the handshake.
    speech: Option<Speech>,
    /// Told when the dial under way that others wait for has ended.
    dialling: Option<Rc<Notify>>,
    open: Arc<AtomicUsize>,
    /// When and why it gave no connection at the last dial.
    failed: Option<(Instant, Arc<DialError>)>,
    /// Its claim to be chosen next, in weights.
    credit: i64,
    /// When it closed a kept connection instead of answering on it.
    surprised_at: Option<Instant>,
    /// When it was lost with a request, before a word of an answer.
    lost_at: Option<Instant>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("origins", &self.shared.origins.borrow().len())
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
            origins: RefCell::new(HashMap::new()),
            owned: RefCell::default(),
            warned_at: Cell::new(None),
            allow,
            clock,
            scope: scope.clone(),
            metrics,
        });
        let gauge = shared.metrics.pinned_connections.clone();
        let pins = Pins::new(shared.clock.clone(), gauge);
        let swept_pins = pins.clone();
        let (swept, own) = (Rc::downgrade(&shared), scope.clone());
        scope.spawn_standing_local("origin pool", async move {
            loop {
                tokio::select! {
                    () = sleep(SWEEP_INTERVAL) => {}
                    () = own.cancelled() => break,
                }
                let Some(shared) = swept.upgrade() else { break };
                shared.sweep();
                swept_pins.sweep(shared.clock.now());
            }
        });
        Self { shared, pins }
    }

    /// A connection to one of an app's origins: they take turns by their weights, and those that fail come last.
    pub(crate) async fn acquire(
        &self,
        origins: &[Arc<Origin>],
        wish: Wish<'_>,
    ) -> Result<Connection, AcquireError> {
        let mut failure = AcquireError::NoOrigin;
        for origin in self.shared.in_turn(origins) {
            match self.shared.connection(origin, wish).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    tracing::debug!(origin = %origin.published().url, %error, "origin gives no connection");
                    failure = error;
                }
            }
        }
        Err(failure)
    }

    /// The origin closed a kept connection just when a request came on it.
    pub(crate) fn note_surprise(&self, origin: &Origin) {
        let now = self.shared.clock.now();
        let mut origins = self.shared.origins.borrow_mut();
        if let Some(known) = origins.get_mut(&origin.number()) {
            known.surprised_at = Some(now);
        }
    }

    /// The origin was lost with a request: others come first for a while.
    pub(crate) fn note_loss(&self, origin: &Origin) {
        let now = self.shared.clock.now();
        let mut origins = self.shared.origins.borrow_mut();
        if let Some(known) = origins.get_mut(&origin.number()) {
            known.lost_at = Some(now);
        }
    }

    /// Keeps a connection whose exchange ended in good order on both sides.
    pub(crate) fn release(&self, connection: Connection) {
        self.shared.put_idle(connection);
    }
}

impl Shared {
    /// The origins in the order in which they are tried: one by its weight, then the others, at last those that failed.
    fn in_turn<'a>(&self, origins: &'a [Arc<Origin>]) -> Vec<&'a Arc<Origin>> {
        let mut line: Vec<_> = origins.iter().collect();
        if line.len() < 2 {
            return line;
        }
        // Stable: otherwise they stay as they were published.
        line.sort_by_key(|origin| self.doubt(origin));
        let first_doubt = line.first().map(|origin| self.doubt(origin));
        if first_doubt == Some(Doubt::Unhealthy) {
            self.panic();
        }
        let equals = line
            .iter()
            .take_while(|origin| Some(self.doubt(origin)) == first_doubt)
            .count();
        let chosen = self.choose(&line[..equals]);
        line[..=chosen].rotate_right(1);
        line
    }

    fn doubt(&self, origin: &Origin) -> Doubt {
        if !origin.is_healthy() {
            Doubt::Unhealthy
        } else if self.failed_lately(origin.number()) {
            Doubt::FailedLately
        } else {
            Doubt::None
        }
    }

    /// Smooth weighted turns: each gains its weight, the richest is taken and pays for all. Gives its index.
    fn choose(&self, line: &[&Arc<Origin>]) -> usize {
        let mut origins = self.origins.borrow_mut();
        let (mut total, mut chosen, mut most) = (0, 0, i64::MIN);
        for (index, origin) in line.iter().enumerate() {
            let weight = i64::from(origin.published().weight);
            let known = origins.entry(origin.number()).or_default();
            known.credit += weight;
            total += weight;
            if known.credit > most {
                (chosen, most) = (index, known.credit);
            }
        }
        let chosen_number = line.get(chosen).map(|origin| origin.number());
        if let Some(known) = chosen_number.and_then(|number| origins.get_mut(&number)) {
            known.credit -= total;
        }
        chosen
    }

    /// No origin of the app passes its checks. The checks may be what is wrong, so all are used as if there were none.
    fn panic(&self) {
        self.metrics.origin_panics.increment(1);
        let now = self.clock.now();
        let warned = self.warned_at.get();
        if warned.is_none_or(|at| now.saturating_duration_since(at) >= WARN_INTERVAL) {
            self.warned_at.set(Some(now));
            tracing::warn!("no origin of an app passes its health check; all of them are used");
        }
    }

    fn failed_lately(&self, number: OriginNumber) -> bool {
        let origins = self.origins.borrow();
        origins.get(&number).is_some_and(|known| {
            let failed_at = known.failed.as_ref().map(|(at, _)| *at);
            let mut times = failed_at.into_iter().chain(known.lost_at);
            times.any(|at| is_recent(self.clock.now(), at))
        })
    }

    async fn connection(
        &self,
        origin: &Arc<Origin>,
        wish: Wish<'_>,
    ) -> Result<Connection, AcquireError> {
        let mut end = None;
        if self.may_share(origin, wish) {
            let end = *end.insert(self.clock.now() + wish.connect_limit);
            if let Some(turn) = self.share(origin, wish, end).await? {
                return Ok(turn);
            }
        }
        if wish.reuse == Reuse::Allowed
            && let Some(connection) = self.take_idle(origin.number(), wish).await
        {
            return Ok(connection);
        }
        let end = end.unwrap_or_else(|| self.clock.now() + wish.connect_limit);
        self.fresh(origin, wish, end).await
    }

    /// A turn on a connection that may be shared. Who may share one waits for the one that is being made, instead of making
    /// another; and if that fails, so has it. `None`: the origin shares none.
    async fn share(
        &self,
        origin: &Arc<Origin>,
        wish: Wish<'_>,
        end: Instant,
    ) -> Result<Option<Connection>, AcquireError> {
        let (number, began) = (origin.number(), self.clock.now());
        while self.may_share(origin, wish) {
            if let Some(turn) = self.take_turn(origin) {
                return Ok(Some(turn));
            }
            let Some(other) = self.dialling(number) else {
                let _dialling = Dialling::new(self, number);
                return self.fresh(origin, wish, end).await.map(Some);
            };
            let in_time = timeout_at(end, other.notified()).await;
            if in_time.is_err() {
                let late = DialError::TimedOut(wish.connect_limit);
                return Err(AcquireError::dial(origin, Arc::new(late)));
            }
            if let Some(failure) = self.failure_since(number, began) {
                return Err(AcquireError::dial(origin, failure));
            }
        }
        Ok(None)
    }

    /// Whether the request may become one of several on a connection, as far as is known.
    fn may_share(&self, origin: &Origin, wish: Wish<'_>) -> bool {
        let agreed = || {
            let origins = self.origins.borrow();
            origins.get(&origin.number()).and_then(|known| known.speech)
        };
        wish.versions() == Versions::AsPublished
            && origin.may_speak_http2()
            && agreed() != Some(Speech::Http1)
    }

    fn take_turn(&self, origin: &Arc<Origin>) -> Option<Connection> {
        let origins = self.origins.borrow();
        let known = origins.get(&origin.number())?;
        let shared = known.shared.iter().find(|shared| shared.has_room())?;
        Some(self.turn(Rc::clone(shared), origin))
    }

    fn turn(&self, shared: Rc<Http2>, origin: &Arc<Origin>) -> Connection {
        let line = Line::Http2(Turn::new(shared));
        Connection::new(line, origin, IDLE_TIMEOUT, self.clock.now())
    }

    fn dialling(&self, number: OriginNumber) -> Option<Rc<Notify>> {
        self.origins.borrow().get(&number)?.dialling.clone()
    }

    fn failure_since(&self, number: OriginNumber, began: Instant) -> Option<Arc<DialError>> {
        let origins = self.origins.borrow();
        let (at, why) = origins.get(&number)?.failed.as_ref()?;
        (*at >= began).then(|| Arc::clone(why))
    }

    async fn take_idle(&self, number: OriginNumber, wish: Wish<'_>) -> Option<Connection> {
        if wish.repeat == Repeat::Forbidden {
            if self.surprised_lately(number) {
                return None;
            }
            // The end of a connection that has already arrived is seen before the request is risked on it: one turn for the
            // system's events, one for the connections' tasks.
            yield_now().await;
            yield_now().await;
        }
        loop {
            let mut connection = self.pop_idle(number, wish.owner)?;
            if connection.is_usable(self.clock.now()) && connection.make_ready().await {
                return Some(connection);
            }
        }
    }

    fn pop_idle(&self, number: OriginNumber, owner: Option<&Owner>) -> Option<Connection> {
        match owner {
            Some(owner) => self.owned.borrow_mut().take(number, owner),
            None => self.origins.borrow_mut().get_mut(&number)?.idle.pop(),
        }
    }

    fn surprised_lately(&self, number: OriginNumber) -> bool {
        let origins = self.origins.borrow();
        let at = origins.get(&number).and_then(|known| known.surprised_at);
        at.is_some_and(|at| self.clock.now().saturating_duration_since(at) < SURPRISE_MEMORY)
    }

    fn put_idle(&self, mut connection: Connection) {
        connection.idle_since = self.clock.now();
        if !connection.is_usable(connection.idle_since) {
            return;
        }
        if let Some(owner) = connection.owner.clone() {
            let evicted = self.owned.borrow_mut().put(&owner, connection);
            // Outside the borrow: what a dropped connection wakes may come back here.
            return drop(evicted);
        }
        let mut origins = self.origins.borrow_mut();
        let known = origins.entry(connection.origin().number()).or_default();
        if known.idle.len() < IDLE_PER_ORIGIN_MAX {
            known.idle.push(connection);
        }
    }

    async fn fresh(
        &self,
        origin: &Arc<Origin>,
        wish: Wish<'_>,
        end: Instant,
    ) -> Result<Connection, AcquireError> {
        let slot = self.take_slot(origin.number()).ok_or(AcquireError::Full)?;
        let limit = wish.connect_limit;
        // Who has waited for another's dial has less; that this was not enough says nothing of the origin.
        let left = end.saturating_duration_since(self.clock.now());
        let is_whole = left >= limit - limit / 10;
        let begun = async {
            let (transport, speech) = dial(origin, &self.allow, wish.versions(), limit).await?;
            let certificate = wish.owner.and_then(|_| transport.certificate());
            let mut connection = self.begin(origin, transport, speech, slot).await?;
            connection.owner = wish.owner.cloned();
            connection.certificate = certificate;
            Ok(connection)
        };
        let begun = timeout_at(end, begun).await;
        let is_cut = begun.is_err() && !is_whole;
        let begun = begun
            .unwrap_or(Err(DialError::TimedOut(limit)))
            .map_err(Arc::new);
        if is_cut {
            self.metrics.origin_connect(DialOutcome::Timeout);
        } else {
            self.note(origin.number(), begun.as_ref().err());
        }
        let connection = begun.map_err(|error| AcquireError::dial(origin, error))?;
        if wish.versions() == Versions::AsPublished
            && let Some(known) = self.origins.borrow_mut().get_mut(&origin.number())
        {
            known.speech = Some(connection.speech());
        }
        Ok(connection)
    }

    /// Starts HTTP on a new connection.
    async fn begin(
        &self,
        origin: &Arc<Origin>,
        transport: Transport,
        speech: Speech,
        slot: Slot,
    ) -> Result<Connection, DialError> {
        let (stream, wire) = OriginStream::new(transport, slot);
        match speech {
            Speech::Http1 => {
                let http1 = Http1::start(stream, wire, origin, &self.scope)
                    .await
                    .map_err(|error| DialError::Http(error.into()))?;
                let line = Line::Http1(http1);
                Ok(Connection::new(
                    line,
                    origin,
                    IDLE_TIMEOUT,
                    self.clock.now(),
                ))
            }
            Speech::Http2 => {
                let shared = Http2::start(stream, self.clock.clone(), &self.scope)
                    .await
                    .map_err(|error| DialError::Http(error.into()))?;
                let mut origins = self.origins.borrow_mut();
                let known = origins.entry(origin.number()).or_default();
                known.shared.push(Rc::clone(&shared));
                Ok(self.turn(shared, origin))
            }
        }
    }

    fn take_slot(&self, number: OriginNumber) -> Option<Slot> {
        let mut origins = self.origins.borrow_mut();
        let known = origins.entry(number).or_default();
        Slot::take(
            &known.open,
            CONNECTIONS_PER_ORIGIN_MAX,
            &self.metrics.origin_connections,
        )
    }

    fn note(&self, number: OriginNumber, failure: Option<&Arc<DialError>>) {
        let outcome = failure.map_or(DialOutcome::Ok, |failure| failure.outcome());
        self.metrics.origin_connect(outcome);
        if let Some(known) = self.origins.borrow_mut().get_mut(&number) {
            known.failed = failure.map(|why| (self.clock.now(), Arc::clone(why)));
        }
    }

    fn sweep(&self) {
        let now = self.clock.now();
        let (mut dropped, mut unshared) = (Vec::new(), Vec::new());
        self.origins.borrow_mut().retain(|_, known| {
            let old = known
                .idle
                .extract_if(.., |connection| !connection.is_usable(now));
            dropped.extend(old);
            let old = known
                .shared
                .extract_if(.., |shared| !shared.is_worth_keeping(now));
            unshared.extend(old);
            // Whoever is dialling or using a connection holds the count.
            !known.idle.is_empty()
                || known
                    .failed
                    .as_ref()
                    .is_some_and(|(at, _)| is_recent(now, *at))
                || known
                    .surprised_at
                    .is_some_and(|at| now.saturating_duration_since(at) < SURPRISE_MEMORY)
                || known.lost_at.is_some_and(|at| is_recent(now, at))
                || Arc::strong_count(&known.open) > 1
        });
        dropped.extend(self.owned.borrow_mut().take_useless(now));
        // Outside the borrow: what a dropped connection wakes may come back here.
        drop((dropped, unshared));
    }
}

/// A dial that others wait for, as long as this lives.
struct Dialling<'a> {
    shared: &'a Shared,
    number: OriginNumber,
}

impl<'a> Dialling<'a> {
    fn new(shared: &'a Shared, number: OriginNumber) -> Self {
        let mut origins = shared.origins.borrow_mut();
        origins.entry(number).or_default().dialling = Some(Rc::default());
        drop(origins);
        Self { shared, number }
    }
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        let mut origins = self.shared.origins.borrow_mut();
        if let Some(ended) = origins
            .get_mut(&self.number)
            .and_then(|known| known.dialling.take())
        {
            ended.notify_waiters();
        }
    }
}

fn is_recent(now: Instant, at: Instant) -> bool {
    now.saturating_duration_since(at) < SKIP_AFTER_FAILURE
}
