//! Which uplinks there should be: one from this agent to each worker of each edge, up to a cap, spread over our own workers.

use std::{
    cell::Cell,
    cmp::Reverse,
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

/// Which uplink; no two of a process are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UplinkId(u64);

/// Whether an uplink is wanted still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Wanted,
    /// The edge is reached in another way now: the link that is there serves until another one does, and has no successor.
    Outdated,
    /// Another one serves: what runs may end.
    Replaced,
}

/// Uplinks that serve now. Clones count the same.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    up: Arc<watch::Sender<HashMap<UplinkId, Count>>>,
    ready: Condition,
    metrics: AgentMetrics,
}

/// Links of one uplink: more than one while one takes the place of another.
#[derive(Debug)]
struct Count {
    edge: EdgeId,
    links: usize,
    /// Those on which something came lately.
    proven: usize,
    /// Those that take streams: neither retired nor sent away.
    open: usize,
}

/// How an uplink serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Service {
    /// It takes no streams.
    None,
    /// Nothing came on it lately.
    Doubtful,
    Proven,
}

/// One uplink that serves, as long as this lives.
#[derive(Debug)]
pub(crate) struct Up {
    links: Links,
    uplink: UplinkId,
    is_proven: Cell<bool>,
    is_open: Cell<bool>,
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

    /// A link serves. Its welcome was the answer to its hello, which is a round trip.
    pub(crate) fn up(&self, plan: &Plan, transport: Transport) -> Up {
        self.step(|up| {
            let count = up.entry(plan.id).or_insert_with(|| Count {
                edge: plan.edge.id.clone(),
                links: 0,
                proven: 0,
                open: 0,
            });
            count.links += 1;
            count.proven += 1;
            count.open += 1;
        });
        self.metrics.uplinks_up(transport).increment(1.0);
        Up {
            links: self.clone(),
            uplink: plan.id,
            is_proven: Cell::new(true),
            is_open: Cell::new(true),
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
        let nobody_else =
            |up: &HashMap<UplinkId, Count>| up.values().all(|count| count.edge == *than);
        // As above.
        let _ = self.up.subscribe().wait_for(nobody_else).await;
    }

    fn service(&self, uplink: UplinkId) -> Service {
        match self.up.borrow().get(&uplink) {
            None | Some(Count { open: 0, .. }) => Service::None,
            Some(Count { proven: 0, .. }) => Service::Doubtful,
            Some(_) => Service::Proven,
        }
    }

    fn step(&self, step: impl FnOnce(&mut HashMap<UplinkId, Count>)) {
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
    /// What the uplink sends is answered.
    pub(crate) fn prove(&self) {
        if !self.is_proven.replace(true) {
            self.change(|count| count.proven += 1);
        }
    }

    /// It was not for too long: whether the uplink carries anything is not known.
    pub(crate) fn doubt(&self) {
        if self.is_proven.replace(false) {
            self.change(|count| count.proven = count.proven.saturating_sub(1));
        }
    }

    /// The edge opens no more streams on it.
    pub(crate) fn shut(&self) {
        if self.is_open.replace(false) {
            self.change(|count| count.open = count.open.saturating_sub(1));
        }
    }

    fn change(&self, change: impl FnOnce(&mut Count)) {
        self.links.step(|up| {
            if let Some(count) = up.get_mut(&self.uplink) {
                change(count);
            }
        });
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.links.metrics.uplinks_up(self.transport).decrement(1.0);
        self.doubt();
        self.shut();
        self.change(|count| count.links = count.links.saturating_sub(1));
    }
}

/// Makes the uplinks follow the views.
#[derive(Debug)]
pub(crate) struct Uplinks {
    views: Views,
    links: Links,
    /// Where each of our workers takes its plans.
    workers: Vec<mpsc::Sender<Plan>>,
    per_edge_max: NonZeroUsize,
    /// Worker with which this agent begins where an edge has more than it reaches: another agent begins with another.
    first: u32,
    held: HashMap<Place, Held>,
    /// Those whose links serve on though their edge is reached in another way now, as with more workers.
    outdated: Vec<(EdgeId, Held)>,
    next_id: u64,
    scope: Scope,
}

/// One end of an uplink: a worker of an edge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    edge: Edge,
    worker: u32,
}

/// An uplink, as who planned it knows it.
#[derive(Debug)]
struct Held {
    id: UplinkId,
    /// Closed when nothing of it is left.
    standing: watch::Sender<Standing>,
    life: Scope,
}

impl Uplinks {
    pub(crate) fn new(
        views: Views,
        links: Links,
        workers: Vec<mpsc::Sender<Plan>>,
        per_edge_max: NonZeroUsize,
        scope: Scope,
    ) -> Self {
        Self {
            views,
            links,
            workers,
            per_edge_max,
            first: rand::random(),
            held: HashMap::new(),
            outdated: Vec::new(),
            next_id: 0,
            scope,
        }
    }

    /// Runs until its scope ends.
    pub(crate) async fn run(mut self) {
        let scope = self.scope.clone();
        let mut views = self.views.subscribe();
        let mut links = self.links.up.subscribe();
        views.mark_changed();
        loop {
            tokio::select! {
                () = scope.cancelled() => return,
                told = views.changed() => if told.is_err() { return },
                // Fails only when the sender is gone, and we hold it.
                _ = links.changed() => {
                    self.replace_outdated();
                    continue;
                }
            }
            let view = self.views.load();
            tokio::select! {
                () = scope.cancelled() => return,
                () = self.follow(&view) => {}
            }
        }
    }

    async fn follow(&mut self, view: &View) {
        let wanted = wanted(view, self.per_edge_max, self.first);
        self.let_go(view, &wanted);
        for place in wanted {
            if !self.held.contains_key(&place) {
                self.add(place).await;
            }
        }
        self.replace_outdated();
    }

    /// Ends what is not wanted: at once where the edge is gone, and else when another uplink to it serves.
    fn let_go(&mut self, view: &View, wanted: &HashSet<Place>) {
        let is_known = |id: &EdgeId| view.edges().iter().any(|edge| edge.id == *id);
        self.outdated.retain(|(edge, held)| {
            let stays = is_known(edge);
            if !stays {
                held.life.cancel();
            }
            stays
        });
        for (place, held) in self.held.extract_if(|place, _| !wanted.contains(place)) {
            tracing::info!(edge = %place.edge.id, worker = place.worker, "uplink is no longer wanted");
            if is_known(&place.edge.id) {
                held.standing.send_replace(Standing::Outdated);
                self.outdated.push((place.edge.id, held));
            } else {
                held.life.cancel();
            }
        }
    }

    /// Of the uplinks to an edge that are outdated as many stay as there are wanted ones that do not serve yet: users lose no way, and no more
    /// serve than are wanted. An edge counts the others until they are gone, which under WebSockets takes an hour: where it has no room for
    /// the next, it says so before it welcomes it, and what stays serves on.
    fn replace_outdated(&mut self) {
        self.outdated.retain(|(_, held)| !held.standing.is_closed());
        let mut missing: HashMap<&EdgeId, usize> = HashMap::new();
        for (place, held) in &self.held {
            if self.links.service(held.id) != Service::Proven {
                *missing.entry(&place.edge.id).or_default() += 1;
            }
        }
        for (edge, held) in self.outdated_that_serve() {
            match missing.get_mut(edge) {
                Some(left @ 1..) => *left -= 1,
                Some(0) | None => held.replace(),
            }
        }
    }

    /// Those that have not been replaced, best first.
    fn outdated_that_serve(&self) -> Vec<&(EdgeId, Held)> {
        let service = |held: &Held| self.links.service(held.id);
        let mut serving = Vec::from_iter(&self.outdated);
        serving.retain(|(_, held)| !held.is_replaced() && service(held) != Service::None);
        serving.sort_by_key(|(_, held)| Reverse(service(held)));
        serving
    }

    async fn add(&mut self, place: Place) {
        let life = self.scope.child("uplink");
        let (standing, told) = watch::channel(Standing::Wanted);
        let id = UplinkId(self.next_id);
        let worker = usize::try_from(self.next_id).unwrap_or_default() % self.workers.len();
        self.next_id = self.next_id.wrapping_add(1);
        let plan = Plan {
            id,
            edge: place.edge.clone(),
            edge_worker: place.worker,
            known: Known::default(),
            standing: told,
            life: life.clone(),
        };
        // Fails only when the worker has ended, and with it the agent.
        if self.workers[worker].send(plan).await.is_ok() {
            let held = Held { id, standing, life };
            self.held.insert(place, held);
        }
    }
}

impl Held {
    fn is_replaced(&self) -> bool {
        *self.standing.borrow() == Standing::Replaced
    }

    fn replace(&self) {
        self.standing.send_if_modified(|standing| {
            std::mem::replace(standing, Standing::Replaced) != Standing::Replaced
        });
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
    use std::time::Duration;

    use runtime::admin_port::Readiness;
    use tokio::time::timeout;

    use super::*;
    use crate::{origin::SystemRoots, view::ViewBuilder, worker::PLANS_WAITING_MAX};

    /// Uplinks of an agent with one worker, which makes no link by itself.
    struct Bench {
        views: Views,
        links: Links,
        plans: mpsc::Receiver<Plan>,
        _scope: Scope,
    }

    impl Bench {
        fn start(workers: u32) -> Self {
            let views = Views::new(view_of(workers));
            let ready = Readiness::new().condition("uplink");
            let links = Links::new(ready, AgentMetrics::new());
            let (plan, plans) = mpsc::channel(PLANS_WAITING_MAX);
            let scope = Scope::root();
            let max = NonZeroUsize::new(8).unwrap();
            let uplinks = Uplinks::new(
                views.clone(),
                links.clone(),
                vec![plan],
                max,
                scope.child("uplinks"),
            );
            scope.spawn("uplinks", uplinks.run());
            Self {
                views,
                links,
                plans,
                _scope: scope,
            }
        }

        async fn plans(&mut self, count: usize) -> Vec<Plan> {
            let mut plans = Vec::new();
            while plans.len() < count {
                plans.push(self.plans.recv().await.unwrap());
            }
            plans
        }
    }

    fn view_of(workers: u32) -> View {
        view_at("127.0.0.1:1", workers)
    }

    fn view_at(address: &str, workers: u32) -> View {
        let edge = Edge {
            id: "e1".parse().unwrap(),
            address: address.to_owned(),
            tcp_address: None,
            workers,
        };
        ViewBuilder::new(SystemRoots::default())
            .of_apps([], vec![edge])
            .unwrap()
    }

    async fn until(plan: &Plan, standing: Standing) {
        let mut told = plan.standing.clone();
        let told = told.wait_for(|is| *is == standing);
        timeout(Duration::from_secs(10), told)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn links_stay_until_one_to_the_edge_as_it_is_now_serves() {
        let mut bench = Bench::start(1);
        let before = bench.plans(1).await.remove(0);
        let _up = bench.links.up(&before, Transport::Quic);
        bench.views.store(view_of(2));
        let after = bench.plans(2).await;
        until(&before, Standing::Outdated).await;
        // And back, before any of those was up.
        bench.views.store(view_of(1));
        let again = bench.plans(1).await.remove(0);
        for plan in &after {
            until(plan, Standing::Outdated).await;
        }
        assert_eq!(*before.standing.borrow(), Standing::Outdated);
        let _up = bench.links.up(&again, Transport::Quic);
        until(&before, Standing::Replaced).await;
        assert!(!before.life.is_cancelled());
        assert_eq!(*again.standing.borrow(), Standing::Wanted);
    }

    #[tokio::test]
    async fn an_edge_of_fewer_workers_is_left_room_for_links() {
        let mut bench = Bench::start(4);
        let before = bench.plans(4).await;
        let links = bench.links.clone();
        let _up: Vec<_> = before
            .iter()
            .map(|plan| links.up(plan, Transport::Quic))
            .collect();
        bench.views.store(view_of(1));
        let _after = bench.plans(1).await;
        standing(&before, Standing::Outdated, 1).await;
        standing(&before, Standing::Replaced, 3).await;
    }

    #[tokio::test]
    async fn links_go_one_by_one_as_those_to_the_edge_as_it_is_now_come() {
        let mut bench = Bench::start(8);
        let before = bench.plans(8).await;
        let links = bench.links.clone();
        let up = |plan| links.up(plan, Transport::Quic);
        let mut ups: Vec<_> = before.iter().map(up).collect();
        bench.views.store(view_of(7));
        let after = bench.plans(7).await;
        for (count, plan) in after.iter().enumerate() {
            let stay = after.len() - count;
            standing(&before, Standing::Outdated, stay).await;
            ups.push(up(plan));
        }
        standing(&before, Standing::Replaced, before.len()).await;
        drop(ups);
    }

    /// Waits until so many stand so, and looks that none follows.
    async fn standing(plans: &[Plan], standing: Standing, count: usize) {
        let now = || {
            let standings = plans.iter().map(|plan| *plan.standing.borrow());
            standings.filter(|is| *is == standing).count()
        };
        let reached = async {
            while now() != count {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), reached).await.unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(now(), count);
    }

    #[tokio::test]
    async fn what_drains_already_takes_nobodys_room() {
        let mut bench = Bench::start(1);
        let first = bench.plans(1).await.remove(0);
        let drains = bench.links.up(&first, Transport::Quic);
        bench.views.store(view_at("127.0.0.1:2", 1));
        let second = bench.plans(1).await.remove(0);
        let serves = bench.links.up(&second, Transport::Quic);
        until(&first, Standing::Replaced).await;
        drains.shut();
        bench.views.store(view_at("127.0.0.1:3", 1));
        let third = bench.plans(1).await.remove(0);
        until(&second, Standing::Outdated).await;
        // Another round shows what the last one left.
        bench.views.store(view_at("127.0.0.1:4", 1));
        bench.plans(1).await;
        until(&third, Standing::Outdated).await;
        assert_eq!(*second.standing.borrow(), Standing::Outdated);
        drop((drains, serves));
    }

    #[tokio::test]
    async fn of_links_that_are_outdated_the_best_stay() {
        for _ in 0..10 {
            let mut bench = Bench::start(4);
            let before = bench.plans(4).await;
            let up = |plan| bench.links.up(plan, Transport::Quic);
            let [sent_away, in_doubt, well, retired] =
                std::array::from_fn(|plan| up(&before[plan]));
            sent_away.shut();
            in_doubt.doubt();
            retired.shut();
            bench.views.store(view_of(1));
            bench.plans(1).await;
            until(&before[1], Standing::Replaced).await;
            assert_eq!(*before[2].standing.borrow(), Standing::Outdated);
            drop(well);
        }
    }

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
