//! Which agents have links to this edge, by group: read by every request, changed when a link comes or goes.

use std::{
    collections::{BTreeMap, HashMap},
    iter,
    num::NonZeroU32,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use model::{
    balance::{self, AgentLoad, Draw},
    name::{AgentId, GroupId},
};
use proto::tunnel::GoAway;
use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, sleep, timeout_at},
};
use tunnel::Transport;

use crate::{link::Link, metrics::Metrics, time::Epoch, view::View};

/// Links of one agent for each worker of the edge: one that serves, one that was sent away and drains, and the same of a start of
/// the agent that is not known to be dead yet. Those that drain count until they are gone, or an agent could have any number of them.
const LINKS_PER_WORKER_MAX: usize = 4;

/// A request whose link is suspect looks so often whether there is a better one. Links that come are told of; those that show that
/// they live are not.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Links that are looked at before a worker does something else in between.
const LOOKS_IN_A_ROW: usize = 64;

/// Every agent counts alike.
const WEIGHT: NonZeroU32 = NonZeroU32::MIN;

/// Live links; changed under a small lock, read without one.
#[derive(Debug)]
pub(crate) struct Links {
    table: ArcSwap<Table>,
    per_agent_max: usize,
    loads: Mutex<HashMap<AgentId, Arc<AgentLoad>>>,
    metrics: Arc<Metrics>,
    epoch: Epoch,
    changed: watch::Sender<u64>,
    leaving: watch::Sender<Option<Leaving>>,
    /// Until when agents may still be on their way from the process that served before.
    following: OnceLock<Instant>,
}

type Table = HashMap<GroupId, Arc<Vec<LinkedAgent>>>;

/// An agent of a group, with its links. One that was started again is another beside its earlier self, until the links of that
/// are gone: what the one cannot do, the other may.
///
/// Cheap to clone: a group may have thousands, and each link that comes or goes makes a new table.
#[derive(Clone, Debug)]
struct LinkedAgent {
    id: AgentId,
    load: Arc<AgentLoad>,
    links: Arc<[Arc<Link>]>,
}

impl LinkedAgent {
    /// Whether the link is one of this agent, and of this start of it.
    fn holds(&self, link: &Link) -> bool {
        self.links.iter().any(|held| held.is_of_same_process(link))
    }

    fn best_link(&self, worker: usize, tried: &[Arc<Link>]) -> Option<&Arc<Link>> {
        self.links
            .iter()
            .filter(|link| !link.is_draining() && !is_among(link, tried))
            .max_by_key(|link| link.fitness(worker))
    }

    /// Whether a request that asked these links in vain may ask this agent: for the first time, or once more when those that are
    /// its own went dark and it has another that lives, as over another transport.
    fn may_be_asked(&self, tried: &[Arc<Link>]) -> bool {
        let mut own = tried.iter().filter(|link| self.holds(link)).peekable();
        own.peek().is_none() || own.all(|link| link.is_dark()) && self.has_live_link(tried)
    }

    fn has_live_link(&self, tried: &[Arc<Link>]) -> bool {
        self.links
            .iter()
            .any(|link| link.is_live() && !is_among(link, tried))
    }

    fn is_suspect(&self) -> bool {
        self.links
            .iter()
            .all(|link| link.is_draining() || link.is_suspect())
    }
}

impl Links {
    pub(crate) fn new(workers: usize, metrics: Arc<Metrics>, epoch: Epoch) -> Self {
        Self {
            table: ArcSwap::default(),
            per_agent_max: workers * LINKS_PER_WORKER_MAX,
            loads: Mutex::default(),
            metrics,
            epoch,
            changed: watch::Sender::new(0),
            leaving: watch::Sender::new(None),
            following: OnceLock::new(),
        }
    }

    /// Picks a link of `group` for a request on `worker`, passing over the agents of those in `tried`, and if it can over those in
    /// `failing`, behind which the app's origins fail.
    pub(crate) fn pick(
        &self,
        group: &GroupId,
        worker: usize,
        tried: &[Arc<Link>],
        failing: &[AgentId],
    ) -> Option<Arc<Link>> {
        let table = self.table.load();
        let agents = table.get(group)?;
        // A link may begin to drain at any moment, a little before the agent's load says so.
        let is_out = |agent: &LinkedAgent| {
            !agent.may_be_asked(tried) || agent.best_link(worker, tried).is_none()
        };
        let pick = |passed_over: &dyn Fn(&LinkedAgent) -> bool| {
            let draw = Draw {
                now: self.epoch.since(),
                random: rand::random(),
            };
            balance::pick(agents, |agent| &*agent.load, passed_over, draw)
        };
        let fails = |agent: &LinkedAgent| failing.contains(&agent.id);
        // If most fail, the fault is elsewhere.
        let count = agents.iter().filter(|agent| fails(agent)).count();
        let is_shunned = |agent: &LinkedAgent| count * 2 <= agents.len() && fails(agent);
        let draw = || {
            pick(&|agent| is_out(agent) || agent.is_suspect() || is_shunned(agent))
                .or_else(|| pick(&|agent| is_out(agent) || agent.is_suspect()))
                .or_else(|| pick(&is_out))
        };
        // Who was drawn may begin to drain before it is looked at; then it is out of the next draw, so this ends.
        iter::from_fn(draw).find_map(|agent| agent.best_link(worker, tried).cloned())
    }

    /// One link of each agent of a group that takes streams.
    pub(crate) fn of_group(&self, group: &GroupId) -> Vec<Arc<Link>> {
        let table = self.table.load();
        let agents = table
            .get(group)
            .into_iter()
            .flat_map(|agents| agents.iter());
        let mut links: Vec<Arc<Link>> = Vec::new();
        for link in agents.filter_map(|agent| agent.best_link(0, &[])) {
            // Another start of the same agent is an entry of its own.
            if links.iter().all(|known| known.agent() != link.agent()) {
                links.push(Arc::clone(link));
            }
        }
        links
    }

    /// Waits until the link is suspect while another, not of `tried`, gives signs of life. Cancel-safe.
    pub(crate) async fn outlived(&self, link: &Arc<Link>, tried: &[Arc<Link>]) {
        link.suspected().await;
        let mut changes = self.subscribe();
        let tried: Vec<_> = tried.iter().chain([link]).cloned().collect();
        while !(link.is_suspect() && self.has_livelier(link.group(), &tried)) {
            tokio::select! {
                // Fails only when the sender is gone, and we hold it.
                _ = changes.changed() => {}
                () = sleep(LOOK_AGAIN) => {}
            }
        }
    }

    fn has_livelier(&self, group: &GroupId, tried: &[Arc<Link>]) -> bool {
        let table = self.table.load();
        let mut agents = table
            .get(group)
            .into_iter()
            .flat_map(|agents| agents.iter());
        agents.any(|agent| agent.may_be_asked(tried) && agent.has_live_link(tried))
    }

    /// Suspects every link of the agent whose link this is; each is cleared by its own sign of life.
    pub(crate) fn suspect(&self, silent: &Link) {
        self.each_of_agent(silent, |link| {
            if link.is_of_same_process(silent) {
                link.set_suspect(true);
            }
        });
    }

    /// Links of an earlier start of the agent have to show that they live. Those that drain have done so.
    fn supersede_by(&self, newer: &Link) {
        self.each_of_agent(newer, |link| {
            if !link.is_of_same_process(newer) && !link.is_draining() {
                link.supersede();
            }
        });
    }

    /// An agent comes over TCP when its links over QUIC are dark: they are passed over until they have shown that they are not.
    fn doubt_beside(&self, newer: &Link) {
        if newer.transport() == Transport::Quic {
            return;
        }
        self.each_of_agent(newer, |link| {
            if link.is_of_same_process(newer) && link.transport() == Transport::Quic {
                link.set_suspect(true);
            }
        });
    }

    fn each_of_agent(&self, link: &Link, visit: impl FnMut(&Arc<Link>)) {
        self.each_of(link.group(), link.agent(), visit);
    }

    fn each_of(&self, group: &GroupId, agent: &AgentId, visit: impl FnMut(&Arc<Link>)) {
        let table = self.table.load();
        let agents = table.get(group).into_iter();
        agents
            .flat_map(|agents| agents.iter())
            .filter(|held| held.id == *agent)
            .flat_map(|held| held.links.iter())
            .for_each(visit);
    }

    /// Looks at each link of this worker. Its own thread does: while that is held up, nothing that came was read, and nobody is silent.
    pub(crate) async fn look(&self, worker: usize) {
        let table = self.table.load_full();
        let agents = table.values().flat_map(|agents| agents.iter());
        let links = agents.flat_map(|agent| agent.links.iter());
        let own = links.filter(|link| link.worker() == worker);
        for (number, link) in own.enumerate() {
            link.look();
            if (number + 1).is_multiple_of(LOOKS_IN_A_ROW) {
                yield_now().await;
            }
        }
    }

    /// Whether the agent may have one more.
    pub(crate) fn has_room(&self, group: &GroupId, agent: &AgentId) -> bool {
        let mut held = 0;
        self.each_of(group, agent, |_| held += 1);
        held < self.per_agent_max
    }

    /// Load and health of an agent, kept while it is away so that an ejection outlives a reconnection.
    pub(crate) fn load(&self, agent: &AgentId) -> Arc<AgentLoad> {
        let mut loads = lock(&self.loads);
        let load = loads
            .entry(agent.clone())
            .or_insert_with(|| Arc::new(AgentLoad::new(self.epoch.since(), WEIGHT)));
        Arc::clone(load)
    }

    /// The link serves from now on, unless its agent has as many as it may have.
    #[must_use]
    pub(crate) fn add(&self, link: &Arc<Link>) -> bool {
        let _writing = lock(&self.loads);
        if !self.has_room(link.group(), link.agent()) {
            return false;
        }
        self.change(link.group(), |agents| {
            let held = agents.iter_mut().find(|agent| agent.holds(link));
            if held
                .as_ref()
                .is_none_or(|agent| agent.best_link(0, &[]).is_none())
            {
                link.load().link_up(self.epoch.since());
            }
            match held {
                Some(agent) => {
                    let links = agent.links.iter().chain([link]);
                    agent.links = links.cloned().collect();
                }
                None => agents.push(LinkedAgent {
                    id: link.agent().clone(),
                    load: Arc::clone(link.load()),
                    links: [Arc::clone(link)].into(),
                }),
            }
        });
        self.supersede_by(link);
        self.doubt_beside(link);
        true
    }

    /// The link is gone.
    pub(crate) fn remove(&self, link: &Arc<Link>) {
        let _writing = lock(&self.loads);
        self.change(link.group(), |agents| {
            // Another start of the same agent is an entry of its own.
            let holds =
                |agent: &LinkedAgent| agent.links.iter().any(|held| Arc::ptr_eq(held, link));
            let Some(held) = agents.iter().position(holds) else {
                return;
            };
            let left = agents[held].links.iter();
            let left = left.filter(|held| !Arc::ptr_eq(held, link)).cloned();
            agents[held].links = left.collect();
            if agents[held].links.is_empty() {
                agents.remove(held);
            }
        });
        self.settle_draining(link);
    }

    /// The agent asked for no more streams on this link.
    pub(crate) fn drain(&self, link: &Arc<Link>) {
        // A link that is added meanwhile would be taken for a draining one.
        let _writing = lock(&self.loads);
        link.start_draining();
        self.settle_draining(link);
    }

    /// An agent drains once all its links do.
    fn settle_draining(&self, link: &Arc<Link>) {
        let (mut links, mut draining) = (0, 0);
        self.each_of_agent(link, |link| {
            links += 1;
            draining += usize::from(link.is_draining());
        });
        if links > 0 && links == draining {
            link.load().start_draining();
        }
    }

    /// Forgets agents that the fabric has forgotten.
    pub(crate) fn retain_known(&self, view: &View) {
        lock(&self.loads).retain(|agent, _| view.membership(agent).is_some());
    }

    /// Links of each agent.
    pub(crate) fn counts(&self) -> BTreeMap<AgentId, Count> {
        let mut counts: BTreeMap<AgentId, Count> = BTreeMap::new();
        for agent in self.table.load().values().flat_map(|agents| agents.iter()) {
            counts
                .entry(agent.id.clone())
                .or_default()
                .add(&agent.links);
        }
        counts
    }

    /// Tells of every link that comes or goes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Tells every agent, now and from now on, to prefer other edges.
    pub(crate) fn leave(&self, words: GoAway, who: Who) {
        self.leaving.send_replace(Some(Leaving { words, who }));
    }

    /// Agents are on their way here until then, from the process that served before.
    pub(crate) fn follow_until(&self, end: Instant) {
        // A process takes over once.
        let _ = self.following.set(end);
    }

    /// Waits for a link of the group for as long as agents may be on their way here. Cancel-safe.
    pub(crate) async fn arrival(&self, group: &GroupId) {
        let is_there = || self.table.load().contains_key(group);
        let Some(end) = self.following.get() else {
            return;
        };
        if is_there() {
            return;
        }
        let mut changes = self.subscribe();
        let came = async { while !is_there() && changes.changed().await.is_ok() {} };
        // Who does not come in time is away.
        let _ = timeout_at(*end, came).await;
    }

    /// Whether those over QUIC were sent to another process.
    pub(crate) fn has_sent_over(&self) -> bool {
        let leaving = self.leaving.borrow();
        leaving
            .as_ref()
            .is_some_and(|leaving| leaving.who == Who::OverQuic)
    }

    /// Takes it back for agents that come from now on.
    pub(crate) fn stay(&self) {
        self.leaving.send_replace(None);
    }

    /// What to tell agents when the edge leaves.
    pub(crate) fn leaving(&self) -> watch::Receiver<Option<Leaving>> {
        self.leaving.subscribe()
    }

    /// Callers hold the lock, so that changes follow one another.
    fn change(&self, group: &GroupId, edit: impl FnOnce(&mut Vec<LinkedAgent>)) {
        let mut table = Table::clone(&self.table.load());
        let mut agents = table
            .get(group)
            .map(|held| held.to_vec())
            .unwrap_or_default();
        edit(&mut agents);
        let mut count = Count::default();
        agents.iter().for_each(|agent| count.add(&agent.links));
        if agents.is_empty() {
            table.remove(group);
        } else {
            table.insert(group.clone(), Arc::new(agents));
        }
        self.table.store(Arc::new(table));
        self.metrics.set_links(group, count);
        self.changed.send_modify(|changes| *changes += 1);
    }
}

/// What agents are told when the edge leaves.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    pub words: GoAway,
    pub who: Who,
}

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    All,
    /// Over QUIC, which leads to another process of this edge by now; over TCP that one does not accept yet. Its users wait for the others.
    OverQuic,
}

/// How many links there are, by transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub quic: usize,
    pub tcp: usize,
}

impl Count {
    /// Over any transport.
    pub(crate) const fn all(self) -> usize {
        self.quic + self.tcp
    }

    fn add(&mut self, links: &[Arc<Link>]) {
        for link in links {
            match link.transport() {
                Transport::Quic => self.quic += 1,
                Transport::Tcp => self.tcp += 1,
            }
        }
    }
}

fn is_among(link: &Arc<Link>, others: &[Arc<Link>]) -> bool {
    others.iter().any(|other| Arc::ptr_eq(other, link))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
