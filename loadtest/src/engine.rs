//! The generator: threads that each have their share of the users.
//!
//! A crew connects first and then puts its load as often as it is told to, on the same connections. It waits until the last
//! request has ended, so what a load cost and what it brought are counted over the same requests.

mod users;

pub(crate) use users::PLAIN;

use std::{
    cell::RefCell,
    io,
    num::NonZeroUsize,
    pin::{Pin, pin},
    rc::Rc,
    time::Duration,
};

use runtime::{
    Clock, Scope,
    worker::{Threads, Workers},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, Sleep},
};

use crate::{
    exchange::Exchange,
    pace::{Departures, Pace},
    scenario::{Load, Pacing},
    tally::{Failure, Tally},
    target::{Target, TargetError},
};

/// After a failure, so that a target that refuses at once is not asked without end.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);
/// From the order to the first request: every thread has heard of it by then.
const LEAD: Duration = Duration::from_millis(2);

/// Why a load cannot be put.
#[derive(Debug, thiserror::Error)]
pub enum CrewError {
    /// The system gives no threads.
    #[error("the system gives no threads")]
    Threads(#[source] io::Error),
    /// The target cannot be spoken to in this way.
    #[error("the target cannot be spoken to")]
    Target(#[source] TargetError),
    /// Plain HTTP was asked to speak what exists over QUIC only.
    #[error("QUIC needs an https URL")]
    Quic,
    /// Not one user got a connection.
    #[error("no connection to {0}")]
    Connect(std::net::SocketAddr),
    /// A thread of the generator failed.
    #[error("a thread of the generator failed")]
    Ended,
}

/// Users with their connections, ready to ask.
#[derive(Debug)]
pub struct Crew {
    orders: Vec<mpsc::Sender<Order>>,
    clock: Clock,
    /// Ends the threads when it is dropped.
    _workers: Workers,
}

/// Puts a load once.
struct Order {
    begin: Instant,
    end: Instant,
    tally: oneshot::Sender<Tally>,
}

/// What one thread needs to make its users.
#[derive(Clone)]
pub(crate) struct Share {
    pub(crate) target: Target,
    pub(crate) load: Load,
    pub(crate) clock: Clock,
    pub(crate) seed: u64,
    /// Its connections.
    pub(crate) connections: usize,
    /// Its number, and how many threads there are.
    pub(crate) thread: (usize, usize),
}

/// Puts `load` on `target` and waits until every request has ended.
pub(crate) async fn run(
    target: &Target,
    load: &Load,
    seed: u64,
    clock: &Clock,
    scope: &Scope,
) -> Result<Tally, CrewError> {
    let crew = Crew::assemble(target, load, seed, clock, scope).await?;
    crew.put(load.duration).await
}

impl Crew {
    /// Starts the threads and connects the users. A few who find no connection try again when they ask.
    pub async fn assemble(
        target: &Target,
        load: &Load,
        seed: u64,
        clock: &Clock,
        scope: &Scope,
    ) -> Result<Self, CrewError> {
        let threads = load.threads.min(load.connections);
        let workers = Workers::start("load", Threads::Own(threads), scope);
        let workers = workers.map_err(CrewError::Threads)?;
        let (mut orders, mut reports) = (Vec::new(), Vec::new());
        for thread in 0..threads.get() {
            let (sender, receiver) = mpsc::channel(1);
            let (connected, report) = oneshot::channel();
            let share = Share {
                target: target.clone(),
                load: load.clone(),
                clock: clock.clone(),
                seed,
                connections: part(load.connections, thread, threads),
                thread: (thread, threads.get()),
            };
            let job = move |_| users::serve(share, receiver, connected);
            let given = workers.spawn_on(thread, "load-users", job);
            given.map_err(|_| CrewError::Ended)?;
            orders.push(sender);
            reports.push(report);
        }
        for report in reports {
            report.await.map_err(|_| CrewError::Ended)??;
        }
        Ok(Self {
            orders,
            clock: clock.clone(),
            _workers: workers,
        })
    }

    /// Puts the load for a while, and waits until every request has ended.
    pub async fn put(&self, duration: Duration) -> Result<Tally, CrewError> {
        let begin = self.clock.now() + LEAD;
        let mut tallies = Vec::new();
        for orders in &self.orders {
            let (tally, counted) = oneshot::channel();
            let order = Order {
                begin,
                end: begin + duration,
                tally,
            };
            orders.send(order).await.map_err(|_| CrewError::Ended)?;
            tallies.push(counted);
        }
        let mut all = Tally::default();
        for tally in tallies {
            all.add(&tally.await.map_err(|_| CrewError::Ended)?);
        }
        Ok(all)
    }
}

/// What one of several threads gets of `all`.
fn part(all: NonZeroUsize, thread: usize, threads: NonZeroUsize) -> usize {
    all.get() / threads + usize::from(thread < all.get() % threads)
}

/// Carries out orders until there are no more.
async fn work<E: Exchange + 'static>(
    share: Share,
    mut users: Vec<E>,
    mut orders: mpsc::Receiver<Order>,
    connected: oneshot::Sender<Result<(), CrewError>>,
) {
    let ready = if share.load.keep_alive {
        connect(&share, &mut users).await
    } else {
        Ok(())
    };
    if connected.send(ready).is_err() {
        return;
    }
    while let Some(order) = orders.recv().await {
        let Some(tally) = carry_out(&share, &mut users, &order).await else {
            return;
        };
        // Nobody waits for a load that was given up.
        let _ = order.tally.send(tally);
    }
}

async fn connect<E: Exchange>(share: &Share, users: &mut [E]) -> Result<(), CrewError> {
    let connecting = users.iter_mut().map(Exchange::connect);
    let connected = futures_util::future::join_all(connecting).await;
    if connected.iter().any(Result::is_ok) {
        return Ok(());
    }
    Err(CrewError::Connect(share.target.addr()))
}

/// One order. `None` when a user panicked.
async fn carry_out<E: Exchange + 'static>(
    share: &Share,
    users: &mut Vec<E>,
    order: &Order,
) -> Option<Tally> {
    let shift = Rc::new(Shift {
        pace: pace(share, order).ok()?,
        tally: RefCell::default(),
        timeout: share.load.timeout,
        clock: share.clock.clone(),
    });
    tokio::time::sleep_until(order.begin).await;
    let mut working = JoinSet::new();
    for user in users.drain(..) {
        working.spawn_local(drive(user, shift.clone()));
    }
    while let Some(user) = working.join_next().await {
        users.push(user.ok()?);
    }
    let mut tally = shift.tally.take();
    tally.lasted(share.clock.now() - order.begin);
    Some(tally)
}

/// The rate of all is shared out by users, and threads take turns.
fn pace(share: &Share, order: &Order) -> io::Result<Pace> {
    let (rate, arrivals) = match share.load.pacing {
        Pacing::Closed => {
            return Ok(Pace::Closed {
                end: order.end,
                clock: share.clock.clone(),
            });
        }
        Pacing::Open { rate, arrivals } => (rate, arrivals),
    };
    let (thread, threads) = share.thread;
    let own = rate * share.connections as f64 / share.load.connections.get() as f64;
    let turn = thread as f64 / threads as f64 / own;
    let begin = order.begin + Duration::from_secs_f64(turn);
    let seed = share.seed.wrapping_add(thread as u64);
    let departures = Departures::new(own, arrivals, seed, (begin, order.end), &share.clock)?;
    Ok(Pace::Open(Box::new(departures)))
}

/// What the users of a thread have in common while a load is on.
struct Shift {
    pace: Pace,
    tally: RefCell<Tally>,
    timeout: Duration,
    clock: Clock,
}

/// One user, until there is nothing more to ask.
async fn drive<E: Exchange>(mut user: E, shift: Rc<Shift>) -> E {
    // Set anew only when it has rung: most requests need no timer.
    let mut watchdog = pin!(tokio::time::sleep(shift.timeout));
    while let Ok(Some(due)) = shift.pace.next().await {
        let deadline = due + shift.timeout;
        let outcome = if shift.clock.now() >= deadline {
            Err(Failure::Timeout)
        } else {
            tokio::select! {
                biased;
                outcome = user.exchange() => outcome,
                () = overdue(watchdog.as_mut(), deadline, &shift.clock) => Err(Failure::Timeout),
            }
        };
        match outcome {
            Ok(answer) => {
                let latency = answer.took.unwrap_or_else(|| shift.clock.now() - due);
                shift.tally.borrow_mut().answer(answer, latency);
            }
            Err(failure) => {
                shift.tally.borrow_mut().fail(failure);
                if !matches!(failure, Failure::Status(_)) {
                    user.give_up();
                }
                tokio::time::sleep(FAILURE_PAUSE).await;
            }
        }
    }
    user
}

async fn overdue(mut watchdog: Pin<&mut Sleep>, deadline: Instant, clock: &Clock) {
    loop {
        watchdog.as_mut().await;
        if clock.now() >= deadline {
            return;
        }
        watchdog.as_mut().reset(deadline);
    }
}
