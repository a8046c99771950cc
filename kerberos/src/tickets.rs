//! Tickets of users: kept, being fetched by somebody, or to be fetched.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout_at},
};
use tracing::Span;

use crate::{
    agent::Agent,
    breaker::Breaker,
    cache::{Cache, Fetch, Fetching, Found, Key, Outcome},
    failure::{Failure, Kind, Stage},
    gssapi::{Credential, Library, Name, NameKind, Status},
    life::Life,
    places::Places,
    settings::{Bounds, Exchange, Observer},
    token::Ticket,
};

/// How often a request takes up a fetch that others gave up before it fails.
const TAKEN_UP_MAX: usize = 4;

pub(crate) struct Tickets {
    library: &'static Library,
    pub(crate) agent: Agent,
    pub(crate) bounds: Bounds,
    observer: Option<Observer>,
    pub(crate) cache: Cache<Ticket>,
    pub(crate) breaker: Arc<Breaker>,
    places: Places,
    pub(crate) fetches: AtomicU64,
    pub(crate) agent_tickets: AtomicU64,
}

impl Tickets {
    pub(crate) fn new(
        library: &'static Library,
        agent: Agent,
        bounds: Bounds,
        observer: Option<Observer>,
    ) -> Self {
        Self {
            library,
            agent,
            bounds,
            observer,
            cache: Cache::new(bounds),
            breaker: Breaker::new(bounds.timeouts_max, bounds.broken_for),
            places: Places::new(bounds.exchanges_max),
            fetches: AtomicU64::new(0),
            agent_tickets: AtomicU64::new(0),
        }
    }

    pub(crate) fn exchanges_running(&self) -> usize {
        self.places.held()
    }

    /// The ticket that is kept, or is being fetched, or that this fetches.
    pub(crate) async fn ticket(self: &Arc<Self>, key: &Key, deadline: Instant) -> Outcome<Ticket> {
        for _ in 0..TAKEN_UP_MAX {
            match self.cache.find(key, deadline) {
                Found::Ticket(ticket) => return Ok(ticket),
                Found::Refused(failure) => return Err(failure),
                Found::Full => break,
                Found::Fetch(fetch) => return self.fetch(fetch, deadline).await,
                Found::Fetching(fetching) => {
                    if let Some(outcome) = joined(fetching, deadline).await {
                        return outcome;
                    }
                }
            }
        }
        let text = "too many users are waiting for their tickets";
        Err(Failure::new(Stage::SelfTicket, Kind::Busy, text))
    }

    async fn fetch(self: &Arc<Self>, fetch: Fetch<Ticket>, deadline: Instant) -> Outcome<Ticket> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let progress = Arc::new(Progress::default());
        let (asker, reached, span) = (Arc::clone(self), Arc::clone(&progress), Span::current());
        let key = fetch.key().clone();
        let asked = self.exchange(deadline, progress, move || {
            let outcome = span.in_scope(|| asker.ask(fetch.key(), &reached, deadline));
            fetch.land(&outcome);
            outcome
        });
        let outcome = asked.await;
        if let Err(failure) = &outcome
            && failure.kind == Kind::Timeout
        {
            self.cache.note_timeout(&key, failure);
        }
        outcome
    }

    /// The agent's own ticket, if it has none; how long it lives yet.
    pub(crate) async fn agent_ticket(self: &Arc<Self>) -> Result<Duration, Failure> {
        let deadline = Instant::now() + self.bounds.deadline;
        let asker = Arc::clone(self);
        self.exchange(deadline, Arc::default(), move || {
            asker.agent_credential(deadline)?;
            Ok(asker.agent.left().unwrap_or_default())
        })
        .await
    }

    /// Does `work`, which asks KDCs and blocks, on a thread for that, as long as the deadline allows. The work goes on behind it, as
    /// nothing can stop the library; what it holds, its place among the others included, it gives back when it ends.
    async fn exchange<T: Send + 'static>(
        &self,
        deadline: Instant,
        progress: Arc<Progress>,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let Some(pass) = self.breaker.enter() else {
            let text = "no KDC has answered lately, none is asked for now";
            return Err(Failure::new(Stage::Agent, Kind::Broken, text));
        };
        let Some(place) = self.places.take(pass.purpose(), deadline).await else {
            let text = "as many exchanges with KDCs as may be are under way";
            return Err(Failure::new(Stage::SelfTicket, Kind::Busy, text));
        };
        let work = spawn_blocking(move || {
            let _place = place;
            work()
        });
        match timeout_at(deadline, work).await {
            Ok(Ok(outcome)) => {
                match &outcome {
                    // Of those who waited for another one's exchange.
                    Err(failure) if failure.kind == Kind::Timeout => pass.timed_out(),
                    Ok(_) | Err(_) => pass.answered(),
                }
                outcome
            }
            Ok(Err(panicked)) => {
                tracing::error!(error = %panicked, "an exchange with a KDC panicked");
                let text = "an exchange with a KDC ended in a fault of ours";
                Err(Failure::new(progress.stage(), Kind::Other, text))
            }
            Err(_) => {
                pass.timed_out();
                let text = format!("no KDC answered within {:?}", self.bounds.deadline);
                Err(Failure::new(progress.stage(), Kind::Timeout, text))
            }
        }
    }

    /// Asks the KDC for all that a ticket takes.
    fn ask(&self, key: &Key, progress: &Progress, deadline: Instant) -> Outcome<Ticket> {
        let began = Instant::now();
        let ticket = self.self_and_proxy(key, progress, deadline);
        if let Err(failure) = &ticket {
            tracing::debug!(
                user = %key.user,
                spn = %key.target,
                took_ms = began.elapsed().as_millis(),
                stage = failure.stage.as_str(),
                number = failure.number,
                error = failure.text,
                "no ticket"
            );
        }
        ticket.map(Arc::new)
    }

    fn self_and_proxy(
        &self,
        key: &Key,
        progress: &Progress,
        deadline: Instant,
    ) -> Result<Ticket, Failure> {
        let realm = self.agent.principal().realm();
        let of_name = |status: Status| Failure::of(Stage::SelfTicket, status);
        let (user, kind) = key.user.for_library(realm);
        let user = self.library.name(&user, kind).map_err(of_name)?;
        let target = key.target.for_library(realm);
        let target = self.library.name(&target, NameKind::Principal);
        let target = target.map_err(of_name)?;

        let credential = self.agent_credential(deadline)?;
        progress.reached(Stage::SelfTicket);
        let began = Instant::now();
        let mut for_user = self.impersonate(&credential, &user);
        // The agent's own, which this host takes to be good yet.
        if for_user.as_ref().is_err_and(|it| it.kind == Kind::Expired)
            && self.agent.forget(&credential)
        {
            let credential = self.agent_credential(deadline)?;
            for_user = self.impersonate(&credential, &user);
        }
        let for_user = for_user?;
        let (self_took, began) = (began.elapsed(), Instant::now());
        progress.reached(Stage::Proxy);
        // The token is thrown away: others are made in no time, each with bindings of its own.
        let begun = self.observed(Stage::Proxy, || for_user.begin(&target, None))?;
        let life = for_user.life().map_or(begun.life, |it| it.min(begun.life));
        let used_for = self.used_for(life);
        tracing::info!(
            user = %key.user,
            spn = %key.target,
            self_ms = self_took.as_millis(),
            proxy_ms = began.elapsed().as_millis(),
            ends_in_s = life.as_secs(),
            used_for_s = used_for.as_secs(),
            "a new ticket"
        );
        Ok(Ticket {
            credential: for_user,
            target,
            life: Life::of(used_for),
            born: Instant::now(),
        })
    }

    /// By a handle of its own: the library keeps one locked while it asks a KDC with it, and others would wait for that.
    fn impersonate(&self, agent: &Arc<Credential>, user: &Name) -> Result<Credential, Failure> {
        let own = self.agent.another(agent);
        self.observed(Stage::SelfTicket, || match &own {
            Some(own) => own.impersonate(user),
            None => agent.impersonate(user),
        })
    }

    fn agent_credential(&self, deadline: Instant) -> Result<Arc<Credential>, Failure> {
        let began = Instant::now();
        let opened = self.agent.credential(deadline);
        match &opened {
            Ok(opened) if opened.is_new => {
                self.agent_tickets.fetch_add(1, Ordering::Relaxed);
                self.observe(Stage::Agent, Ok(()), began);
            }
            Ok(_) => {}
            Err(failure) => self.observe(Stage::Agent, Err(failure.kind), began),
        }
        opened.map(|opened| opened.credential)
    }

    fn observed<T>(
        &self,
        stage: Stage,
        exchange: impl FnOnce() -> Result<T, Status>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        let result = exchange().map_err(|status| Failure::of(stage, status));
        let kind = result.as_ref().map(|_| ()).map_err(|failure| failure.kind);
        self.observe(stage, kind, began);
        result
    }

    fn observe(&self, stage: Stage, result: Result<(), Kind>, began: Instant) {
        if let Some(observer) = &self.observer {
            observer(Exchange {
                stage,
                result,
                took: began.elapsed(),
            });
        }
    }

    fn used_for(&self, life: Duration) -> Duration {
        let margin = self.bounds.end_margin.min(life / 2);
        (life - margin).min(self.bounds.age_max)
    }
}

/// What came of somebody else's fetch; `None` if it was given up.
async fn joined(mut fetching: Fetching<Ticket>, deadline: Instant) -> Option<Outcome<Ticket>> {
    let deadline = deadline.min(fetching.deadline);
    let done = timeout_at(deadline, fetching.done.wait_for(Option::is_some)).await;
    match done {
        Ok(Ok(outcome)) => outcome.clone(),
        Ok(Err(_given_up)) => None,
        Err(_) => {
            let text = "no KDC has answered yet about this user";
            Some(Err(Failure::new(Stage::SelfTicket, Kind::Timeout, text)))
        }
    }
}

/// How far an exchange has come, for those who stop waiting for it.
#[derive(Default)]
struct Progress(AtomicU8);

impl Progress {
    fn reached(&self, stage: Stage) {
        let at = Stage::ALL.iter().position(|it| *it == stage);
        let at = at.and_then(|at| u8::try_from(at).ok()).unwrap_or_default();
        self.0.store(at, Ordering::Relaxed);
    }

    fn stage(&self) -> Stage {
        let at = usize::from(self.0.load(Ordering::Relaxed));
        Stage::ALL.get(at).copied().unwrap_or(Stage::Agent)
    }
}
