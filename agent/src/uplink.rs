//! One uplink: dialled, kept, dialled again, over the transport that its path carries.

mod dial;
mod health;
mod known;
mod link;
mod path;

use std::{convert::Infallible, future::pending, rc::Rc, time::Duration};

use proto::tunnel::GoAway;
use runtime::{Backoff, Scope};
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};
use tunnel::link::Connection;

use dial::Link;
pub(crate) use known::Known;
pub(crate) use path::CLIMB_PAUSE;
use path::{NoWay, Path};

use crate::{
    request::chain,
    uplinks::{Phase, Standing, UplinkId},
    view::Edge,
    worker::Worker,
};

/// Waits between attempts grow from this.
const BACKOFF_BASE: Duration = Duration::from_millis(200);

/// And stay at this, of which an attempt at a silent edge takes up all but the jitter: an edge that comes back, or a network, is found soon.
/// Attempts that come too thick are refused at the cost of a packet, so that more than this would spare nobody anything.
const BACKOFF_CAP: Duration = Duration::from_secs(4);

/// A link that lived this long was a good one; what ended sooner counts as a failure, or a broken edge would be dialled
/// without pause.
const GOOD_LINK_LIFE: Duration = Duration::from_secs(10);

/// Longest pause that an edge may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// An uplink that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) id: UplinkId,
    pub(crate) edge: Edge,
    /// Which of the edge's workers to reach.
    pub(crate) edge_worker: u32,
    /// Where the edge was found last.
    pub(crate) known: Known,
    /// Changes when it is to go in good order.
    pub(crate) standing: watch::Receiver<Standing>,
    /// Cancelled when it is to go at once.
    pub(crate) life: Scope,
}

impl Plan {
    /// Waits until it has such a standing. Cancel-safe.
    async fn stands(&self, is_meant: impl FnMut(&Standing) -> bool) {
        let mut standing = self.standing.clone();
        if standing.wait_for(is_meant).await.is_err() {
            // Who planned it has ended; so does its life.
            pending::<()>().await;
        }
    }

    /// Waits until no link shall be made for it any more.
    async fn outdated(&self) {
        self.stands(|standing| *standing != Standing::Wanted).await;
    }

    /// Waits until another uplink serves in its place.
    async fn replaced(&self) {
        self.stands(|standing| *standing == Standing::Replaced)
            .await;
    }
}

/// Keeps the uplink until it is wanted no more or the agent drains.
pub(crate) async fn keep(worker: Rc<Worker>, plan: Plan) {
    let mut phase = worker.shared.phase.clone();
    tokio::select! {
        () = plan.life.cancelled() => {}
        () = worker.scope.cancelled() => {}
        _ = phase.wait_for(|phase| *phase != Phase::Serving) => {}
        // Links that are up are tasks of their own and see the same signs.
        () = keep_while_wanted(&worker, &plan) => {}
    }
}

async fn keep_while_wanted(worker: &Rc<Worker>, plan: &Plan) {
    let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_CAP);
    let mut path = Path::default();
    loop {
        let began = worker.clock.now();
        let found = tokio::select! {
            biased;
            // Boxed: what a handshake needs goes with it.
            found = Box::pin(path.find(worker, plan)) => found,
            () = plan.outdated() => return,
        };
        let pause = match found {
            Ok(link) => live(worker, plan, link, &mut backoff, &mut path).await,
            Err(error) => {
                report(plan, &error, backoff.failures());
                // Of a network that came back after the last packet of an attempt the time-out has cost enough.
                let pause = backoff.after_failure_of(worker.clock.now() - began);
                // All agents that an edge sends away hear the same number, to which the jitter comes.
                error.retry_after().min(RETRY_AFTER_MAX) + pause
            }
        };
        tokio::select! {
            () = plan.outdated() => return,
            () = sleep(pause) => {}
        }
    }
}

/// Lets links serve, one after another, until there is none or the edge says go away; stays away as long as that edge asks for, and
/// says how long to wait then before the next. A link that was told to go serves on beside the next one until the edge closes it;
/// if it was the last way of users, the edge is back sooner than it can know.
async fn live(
    worker: &Rc<Worker>,
    plan: &Plan,
    link: Link,
    backoff: &mut Backoff,
    path: &mut Path,
) -> Duration {
    let began = worker.clock.now();
    let mut serving = Serving::start(worker, plan, link, path);
    let away = loop {
        tokio::select! {
            away = &mut serving.going => break away.ok(),
            () = plan.replaced() => {
                // As below.
                let _ = serving.retire.send(());
                return Duration::ZERO;
            }
            better = better(worker, plan, &serving.connection, path) => {
                // The next is up before the last is told to drain.
                let next = Serving::start(worker, plan, better, path);
                let last = std::mem::replace(&mut serving, next);
                // Fails only when the link is gone already.
                let _ = last.retire.send(());
            }
        }
    };
    if worker.clock.now() - began >= GOOD_LINK_LIFE {
        backoff.reset();
    }
    if let Some(GoAway { retry_after_ms, .. }) = away {
        let asked = Duration::from_millis(u64::from(retry_after_ms)).min(RETRY_AFTER_MAX);
        tokio::select! {
            () = sleep(asked) => {}
            () = last_way_closed(worker, plan, serving.ended) => {}
        }
    }
    // All agents of an edge hear the same number; the jitter keeps them from coming back in one wave.
    backoff.after_failure()
}

/// Waits for a link that is better than the one there is, as long as the uplink is wanted.
async fn better(worker: &Worker, plan: &Plan, than: &Connection, path: &mut Path) -> Link {
    tokio::select! {
        biased;
        () = plan.outdated() => {}
        better = path.better(than, worker, plan) => return better,
    }
    pending().await
}

/// A link that serves, in a task of its own.
struct Serving {
    connection: Connection,
    /// The edge sends us away; an error when the link has ended.
    going: oneshot::Receiver<GoAway>,
    /// Says nothing but that the link has ended.
    ended: oneshot::Receiver<Infallible>,
    /// Makes it drain, as there is a better one.
    retire: oneshot::Sender<()>,
}

impl Serving {
    fn start(worker: &Rc<Worker>, plan: &Plan, link: Link, path: &mut Path) -> Self {
        path.took(&link);
        let connection = link.connection.clone();
        let ((told, going), (over, ended)) = (oneshot::channel(), oneshot::channel());
        let (retire, retired) = oneshot::channel();
        let ties = link::Ties {
            told,
            over,
            retired,
        };
        let serving = link::serve(Rc::clone(worker), plan.clone(), link, ties);
        worker.scope.spawn_local("link", serving);
        Self {
            connection,
            going,
            ended,
            retire,
        }
    }
}

/// Waits until the link that was told to go is gone and no other edge is left: users then wait for this one alone.
async fn last_way_closed(worker: &Worker, plan: &Plan, ended: oneshot::Receiver<Infallible>) {
    // It says nothing but that its sender is gone.
    let _ = ended.await;
    worker.shared.links.none_elsewhere(&plan.edge.id).await;
}

/// The first failures are seen at once; a lasting one only now and then.
fn report(plan: &Plan, error: &NoWay, failures: u32) {
    let (edge, worker, error) = (&plan.edge.id, plan.edge_worker, chain(error));
    if failures.is_power_of_two() || failures == 0 {
        tracing::warn!(%edge, worker, failures, error, "no uplink to the edge yet");
    } else {
        tracing::debug!(%edge, worker, failures, error, "no uplink to the edge yet");
    }
}
