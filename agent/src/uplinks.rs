//! Which uplinks there should be: one from this agent to each worker of each edge, up to a cap, spread over our own workers.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
    sync::Arc,
};

use model::name::EdgeId;
use runtime::{Scope, admin_port::Condition};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tunnel::Transport;

use crate::{
    metrics::AgentMetrics,
    uplink::{Known, Plan},
    view::{Edge, View, Views},
};

/// What the agent is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// Takes its leave; what runs may go on until then.
    Draining {
        deadline: Instant,
    },
}

/// Uplinks that serve now. Clones count the same.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    /// By edge.
    up: Arc<watch::Sender<HashMap<EdgeId, Count>>>,
    ready: Condition,
    metrics: AgentMetrics,
}

/// Uplinks to one edge.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    links: usize,
    /// Those that had a round trip lately.
    proven: usize,
}

/// One uplink that serves, as long as this lives.
#[derive(Debug)]
pub(crate) struct Up {
    links: Links,
    edge: EdgeId,
    is_proven: Cell<bool>,
    transport: Transport,
}

impl Links {
    pub(crate) fn new(ready: Condition, metrics: AgentMetrics) -> Self {
        Self {
            up: Arc::default(),
            ready,
            metrics,
        }
    }

    /// An uplink serves. Its welcome was the answer to its hello, which is a round trip.
    pub(crate) fn up(&self, edge: &EdgeId, transport: Transport) -> Up {
        self.step(|up| {
            let count = up.entry(edge.clone()).or_default();
            count.links += 1;
            count.proven += 1;
        });
        self.metrics.uplinks_up(transport).increment(1.0);
        Up {
            links: self.clone(),
            edge: edge.clone(),
            is_proven: Cell::new(true),
            transport,
        }
    }

    /// Waits until none is left. Cancel-safe.
    pub(crate) async fn all_down(&self) {
        // Fails only when the sender is gone, and we hold it.
        let _ = self.up.subscribe().wait_for(HashMap::is_empty).await;
    }

    /// Waits until no uplink to another edge serves. Cancel-safe.
    pub(crate) async fn none_elsewhere(&self, than: &EdgeId) {
        let nobody_else = |up: &HashMap<EdgeId, Count>| up.keys().all(|edge| edge == than);
        // As above.
        let _ = self.up.subscribe().wait_for(nobody_else).await;
    }

    fn step(&self, step: impl FnOnce(&mut HashMap<EdgeId, Count>)) {
        self.up.send_modify(|up| {
            step(up);
            up.retain(|_, count| count.links > 0);
            // Within the lock, so that the last to change it is the last to say so.
            if up.values().any(|count| count.proven > 0) {
                self.ready.met();
            } else {
                self.ready.unmet();
            }
        });
    }
}

impl Up {
    /// The uplink had a round trip a moment ago.
    pub(crate) fn prove(&self) {
        if !self.is_proven.replace(true) {
            self.change(|count| count.proven += 1);
        }
    }

    /// It had none for too long: whether it carries anything is not known.
    pub(crate) fn doubt(&self) {
        if self.is_proven.replace(false) {
            self.change(|count| count.proven = count.proven.saturating_sub(1));
        }
    }

    fn change(&self, change: impl FnOnce(&mut Count)) {
        self.links.step(|up| {
            if let Some(count) = up.get_mut(&self.edge) {
                change(count);
            }
        });
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.links.metrics.uplinks_up(self.transport).decrement(1.0);
        self.doubt();
        self.change(|count| count.links = count.links.saturating_sub(1));
    }
}

/// Makes the uplinks follow the views.
#[derive(Debug)]
pub(crate) struct Uplinks {
    views: Views,
    /// Where each of our workers takes its plans.
    workers: Vec<mpsc::Sender<Plan>>,
    per_edge_max: NonZeroUsize,
    /// Worker with which this agent begins where an edge has more than it reaches: another agent begins with another.
    first: u32,
    held: HashMap<Place, Scope>,
    next_worker: usize,
    scope: Scope,
}

/// One end of an uplink: a worker of an edge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    edge: Edge,
    worker: u32,
}

impl Uplinks {
    pub(crate) fn new(
        views: Views,
        workers: Vec<mpsc::Sender<Plan>>,
        per_edge_max: NonZeroUsize,
        scope: Scope,
    ) -> Self {
        Self {
            views,
            workers,
            per_edge_max,
            first: rand::random(),
            held: HashMap::new(),
            next_worker: 0,
            scope,
        }
    }

    /// Runs until its scope ends.
    pub(crate) async fn run(mut self) {
        let scope = self.scope.clone();
        let mut changed = self.views.subscribe();
        loop {
            let view = self.views.load();
            tokio::select! {
                () = scope.cancelled() => return,
                () = self.follow(&view) => {}
            }
            tokio::select! {
                () = scope.cancelled() => return,
                told = changed.changed() => if told.is_err() { return },
            }
        }
    }

    async fn follow(&mut self, view: &View) {
        let wanted = wanted(view, self.per_edge_max, self.first);
        self.held.retain(|place, life| {
            let stays = wanted.contains(place);
            if !stays {
                tracing::info!(edge = %place.edge.id, worker = place.worker, "uplink is no longer wanted");
                life.cancel();
            }
            stays
        });
        for place in wanted {
            if !self.held.contains_key(&place) {
                self.add(place).await;
            }
        }
    }

    async fn add(&mut self, place: Place) {
        let life = self.scope.child("uplink");
        let plan = Plan {
            edge: place.edge.clone(),
            edge_worker: place.worker,
            known: Known::default(),
            life: life.clone(),
        };
        let worker = self.next_worker % self.workers.len();
        self.next_worker = self.next_worker.wrapping_add(1);
        // Fails only when the worker has ended, and with it the agent.
        if self.workers[worker].send(plan).await.is_ok() {
            self.held.insert(place, life);
        }
    }
}

fn wanted(view: &View, per_edge_max: NonZeroUsize, first: u32) -> HashSet<Place> {
    let cap = u32::try_from(per_edge_max.get()).unwrap_or(u32::MAX);
    view.edges()
        .iter()
        .flat_map(|edge| {
            // Modulo 0 is for none at all.
            let begin = first.checked_rem(edge.workers).unwrap_or(0);
            (0..edge.workers.min(cap)).map(move |step| Place {
                edge: edge.clone(),
                worker: begin.wrapping_add(step) % edge.workers,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{origin::SystemRoots, view::ViewBuilder};

    #[test]
    fn every_worker_of_an_edge_gets_one_uplink_up_to_the_cap() {
        let edges = [("e1", 2), ("e2", 100)].map(|(id, workers)| Edge {
            id: id.parse().unwrap(),
            address: "127.0.0.1:1".to_owned(),
            tcp_address: None,
            workers,
        });
        let view = ViewBuilder::new(SystemRoots::default())
            .of_apps([], edges.to_vec())
            .unwrap();
        let wanted = |first| wanted(&view, NonZeroUsize::new(8).unwrap(), first);
        for (edge, count) in edges.iter().zip([2, 8]) {
            let of_edge = |place: &&Place| place.edge == *edge;
            let uplinks = wanted(7).iter().filter(of_edge).count();
            assert_eq!(uplinks, count, "{}", edge.id);
        }
        let reached: HashSet<_> = [0, 50, 98].into_iter().flat_map(wanted).collect();
        let workers = reached.iter().filter(|place| place.edge == edges[1]);
        let mut workers: Vec<_> = workers.map(|place| place.worker).collect();
        workers.sort_unstable();
        let expected = (0..8).chain(50..58).chain(98..100);
        assert_eq!(workers, expected.collect::<Vec<_>>());
    }
}
