//! A small fabric in a simulated network, and beside it the reference of who may reach what.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fmt,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kit::{
    client::{self, request},
    net::{Host, Net, Path},
};
use model::app::{self, AgentApp, Timeouts};
use proto::fabric::{AccessKind, AgentRecord, EdgeApp, resource::Kind};
use runtime::Scope;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tunnel::quic::ResetKey;

use super::fabric::{
    AgentNode, Ca, DOMAIN, EdgeNode, Resources, edge_at, resources, settings, written,
};

pub(super) const EDGES: usize = 2;
pub(super) const AGENTS: usize = 3;
pub(super) const APPS: usize = 3;

/// Agents of each group, by their number; the groups are as many.
pub(super) const GROUPS: [&[usize]; 2] = [&[0, 1], &[2]];

/// No request hangs for longer, whatever becomes of those who carry it.
const ANSWERED_WITHIN: Duration = Duration::from_secs(40);

/// How long who drains may take.
const DRAIN: Duration = Duration::from_secs(5);

/// What is published, and who may serve it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Published {
    /// Group of each app that is published.
    pub(super) apps: BTreeMap<usize, usize>,
    pub(super) revoked: BTreeSet<usize>,
}

/// An edge or an agent, as the reference sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) runs: bool,
    /// Whether it hears nothing of control.
    pub(super) is_deaf: bool,
    /// What it heard last.
    told: Published,
}

/// The reference: what a fabric is about, and nothing of how.
#[derive(Clone, Debug, Default)]
pub(super) struct Reference {
    pub(super) published: Published,
    pub(super) edges: [Node; EDGES],
    pub(super) agents: [Node; AGENTS],
    /// Edge and agent that do not reach each other.
    pub(super) cuts: BTreeSet<(usize, usize)>,
}

/// What a user gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Served,
    /// There is no such app.
    Unknown,
    /// There is, but nobody to serve it.
    Unavailable,
}

impl Reference {
    /// Who may reach what: an app is there where the edge was told of it, and served by an agent of its group that runs, that both
    /// know, and that the edge reaches.
    fn outcome(&self, edge: usize, app: usize) -> Outcome {
        let told = &self.edges[edge].told;
        let Some(group) = told.apps.get(&app) else {
            return Outcome::Unknown;
        };
        let serves = |agent: &usize| {
            let node = &self.agents[*agent];
            node.runs
                && !self.cuts.contains(&(edge, *agent))
                && !told.revoked.contains(agent)
                && !node.told.revoked.contains(agent)
                && node.told.apps.get(&app) == Some(group)
        };
        match GROUPS[*group].iter().any(serves) {
            true => Outcome::Served,
            false => Outcome::Unavailable,
        }
    }
}

/// What may happen.
#[derive(Clone, Debug)]
pub(super) enum Event {
    EdgeStarts(usize),
    EdgeDies(usize),
    EdgeDrains(usize),
    AgentStarts(usize),
    AgentDies(usize),
    AgentDrains(usize),
    /// The edge and the agent lose each other.
    Cut(usize, usize),
    Mended(usize, usize),
    EdgeDeaf(usize, bool),
    AgentDeaf(usize, bool),
    Publish(usize, usize),
    Withdraw(usize),
    Revoke(usize),
    Readmit(usize),
    /// The agent is seen at another address.
    Rebind(usize),
    /// The path between the two becomes another one.
    Weather(usize, usize, Path),
    Time(Duration),
}

/// The fabric itself, beside its reference.
pub(super) struct World {
    seed: u64,
    pub(super) reference: Reference,
    past: Vec<Event>,
    pub(super) net: Net,
    ca: Ca,
    settings: Resources,
    revision: u64,
    hosts: ([Host; EDGES], [Host; AGENTS]),
    resets: [ResetKey; EDGES],
    edges: [Option<EdgeNode>; EDGES],
    agents: [Option<AgentNode>; AGENTS],
    /// Where each app's origin listens.
    origins: Vec<String>,
    _origins: Scope,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {:?}\n{:?}",
            self.seed, self.past, self.reference
        )
    }
}

impl World {
    pub(super) async fn start(seed: u64) -> Self {
        let (ca, net, scope) = (Ca::new(), Net::new(seed), Scope::root());
        let mut origins = Vec::new();
        for app in 0..APPS {
            origins.push(origin(app, &scope).await);
        }
        let mut world = Self {
            seed,
            reference: Reference::default(),
            past: Vec::new(),
            settings: settings(&ca),
            revision: 0,
            hosts: (
                std::array::from_fn(|_| net.host()),
                std::array::from_fn(|_| net.host()),
            ),
            resets: std::array::from_fn(|_| ResetKey::random()),
            net,
            ca,
            edges: std::array::from_fn(|_| None),
            agents: std::array::from_fn(|_| None),
            origins,
            _origins: scope,
        };
        let beginning = (0..EDGES)
            .map(Event::EdgeStarts)
            .chain((0..AGENTS).map(Event::AgentStarts))
            .chain((0..APPS).map(|app| Event::Publish(app, app % GROUPS.len())));
        for event in beginning {
            world.happen(event).await;
        }
        world
    }

    pub(super) async fn happen(&mut self, event: Event) {
        self.past.push(event.clone());
        match event {
            Event::EdgeStarts(edge) => {
                let (id, host) = (edge_id(edge), &self.hosts.0[edge]);
                let node = EdgeNode::start(&self.ca, &id, host, &self.resets[edge]).await;
                self.edges[edge] = Some(node);
                self.reference.edges[edge].runs = true;
                self.tell_edge(edge);
            }
            Event::EdgeDies(edge) => {
                self.hosts.0[edge].crash();
                self.reference.edges[edge].runs = false;
                if let Some(node) = self.edges[edge].take() {
                    node.end().await;
                }
            }
            Event::EdgeDrains(edge) => {
                self.reference.edges[edge].runs = false;
                if let Some(node) = self.edges[edge].take() {
                    node.drain(DRAIN).await;
                }
                self.hosts.0[edge].crash();
            }
            Event::AgentStarts(agent) => {
                let node = AgentNode::start(&self.ca, &agent_id(agent), &self.hosts.1[agent]).await;
                self.agents[agent] = Some(node);
                self.reference.agents[agent].runs = true;
                self.tell_agent(agent);
            }
            Event::AgentDies(agent) => {
                self.hosts.1[agent].crash();
                self.reference.agents[agent].runs = false;
                if let Some(node) = self.agents[agent].take() {
                    node.end().await;
                }
            }
            Event::AgentDrains(agent) => {
                self.reference.agents[agent].runs = false;
                if let Some(node) = self.agents[agent].take() {
                    node.drain(DRAIN).await;
                }
                self.hosts.1[agent].crash();
            }
            Event::Cut(edge, agent) => {
                self.reference.cuts.insert((edge, agent));
                self.net.cut(&self.hosts.0[edge], &self.hosts.1[agent]);
            }
            Event::Mended(edge, agent) => {
                self.reference.cuts.remove(&(edge, agent));
                self.net.mend(&self.hosts.0[edge], &self.hosts.1[agent]);
            }
            Event::EdgeDeaf(edge, is_deaf) => {
                self.reference.edges[edge].is_deaf = is_deaf;
                self.tell_edge(edge);
            }
            Event::AgentDeaf(agent, is_deaf) => {
                self.reference.agents[agent].is_deaf = is_deaf;
                self.tell_agent(agent);
            }
            Event::Publish(app, group) => self.publish(|published| {
                published.apps.insert(app, group);
            }),
            Event::Withdraw(app) => self.publish(|published| {
                published.apps.remove(&app);
            }),
            Event::Revoke(agent) => self.publish(|published| {
                published.revoked.insert(agent);
            }),
            Event::Readmit(agent) => self.publish(|published| {
                published.revoked.remove(&agent);
            }),
            Event::Rebind(agent) => self.hosts.1[agent].rebind(),
            Event::Weather(edge, agent, path) => {
                let (edge, agent) = (&self.hosts.0[edge], &self.hosts.1[agent]);
                self.net.between(edge, agent, path);
            }
            Event::Time(passes) => sleep(passes).await,
        }
    }

    fn publish(&mut self, change: impl FnOnce(&mut Published)) {
        change(&mut self.reference.published);
        (0..EDGES).for_each(|edge| self.tell_edge(edge));
        (0..AGENTS).for_each(|agent| self.tell_agent(agent));
    }

    /// Tells an edge what is published, if it runs and hears of it. One that was started anew has kept what it knew.
    fn tell_edge(&mut self, edge: usize) {
        let node = &mut self.reference.edges[edge];
        let Some(running) = &self.edges[edge] else {
            return;
        };
        if !node.is_deaf {
            node.told = self.reference.published.clone();
        }
        self.revision += 1;
        let mut known = self.settings.clone();
        known.extend(of_edges(&node.told));
        running.tell(self.revision, &known);
    }

    fn tell_agent(&mut self, agent: usize) {
        let node = &mut self.reference.agents[agent];
        let Some(running) = &mut self.agents[agent] else {
            return;
        };
        if !node.is_deaf {
            node.told = self.reference.published.clone();
        }
        let edges = (0..EDGES).map(|edge| edge_at(&edge_id(edge), &self.hosts.0[edge]));
        let is_its_own = |(_, group): &(&usize, &usize)| GROUPS[**group].contains(&agent);
        let is_revoked = node.told.revoked.contains(&agent);
        let apps = node.told.apps.iter().filter(is_its_own);
        let apps = apps.filter(|_| !is_revoked).map(|(app, _)| {
            let origin = app::Origin::new(self.origins[*app].parse().unwrap());
            AgentApp::new(app_id(*app).parse().unwrap(), vec![origin])
        });
        running.tell(apps, edges.collect());
    }

    /// What a user of an app gets at an edge that runs.
    pub(super) async fn ask(&self, edge: usize, app: usize) -> Outcome {
        let user = &self.edges[edge].as_ref().expect("it runs").user;
        let asked = request(Method::GET, &host_of(app), "/", client::body(""));
        let answer = timeout(ANSWERED_WITHIN, user.send(asked)).await;
        let answer =
            answer.unwrap_or_else(|_| panic!("no answer of app {app} at edge {edge}; {self:?}"));
        let answer = answer
            .unwrap_or_else(|error| panic!("{error:?} of app {app} at edge {edge}; {self:?}"));
        match answer.status.as_u16() {
            200 => {
                assert_eq!(answer.text(), app_id(app), "another app's answer; {self:?}");
                Outcome::Served
            }
            404 => Outcome::Unknown,
            500..=599 => Outcome::Unavailable,
            status => panic!("status {status} of app {app} at edge {edge}; {self:?}"),
        }
    }

    /// Links that an edge which runs has with agents, as it knows.
    pub(super) fn links(&self, edge: usize) -> usize {
        self.edges[edge].as_ref().expect("it runs").links()
    }

    /// Whether an agent that runs says that it is ready.
    pub(super) fn is_ready(&self, agent: usize) -> bool {
        let agent = self.agents[agent].as_ref().expect("it runs");
        agent.readiness.is_ready()
    }

    fn running_edges(&self) -> impl Iterator<Item = usize> + use<> {
        let runs = self.edges.each_ref().map(Option::is_some);
        (0..EDGES).filter(move |edge| runs[*edge])
    }

    /// While things happen a request may fail, but nobody reaches what an edge was told that there is not, and vice versa.
    pub(super) async fn check_amid(&self) {
        for edge in self.running_edges() {
            for app in 0..APPS {
                let is_known = self.reference.edges[edge].told.apps.contains_key(&app);
                let outcome = self.ask(edge, app).await;
                assert_eq!(
                    outcome != Outcome::Unknown,
                    is_known,
                    "app {app} at edge {edge}, {outcome:?}; {self:?}"
                );
            }
        }
    }

    pub(super) async fn check_settled(&self) {
        for edge in self.running_edges() {
            for app in 0..APPS {
                let outcome = self.ask(edge, app).await;
                let expected = self.reference.outcome(edge, app);
                assert_eq!(outcome, expected, "app {app} at edge {edge}; {self:?}");
            }
        }
    }

    pub(super) async fn end(self) {
        for agent in self.agents.into_iter().flatten() {
            agent.end().await;
        }
        for edge in self.edges.into_iter().flatten() {
            edge.end().await;
        }
    }
}

fn of_edges(told: &Published) -> Resources {
    let app = |(app, group): (&usize, &usize)| {
        let app = EdgeApp {
            id: app_id(*app),
            hosts: vec![host_of(*app)],
            path: "/".to_owned(),
            group: format!("g{group}"),
            access: AccessKind::Passthrough.into(),
            timeouts: Some(written(&Timeouts::default())),
            ..EdgeApp::default()
        };
        (format!("apps/{}", app.id), Kind::EdgeApp(app))
    };
    let agents = GROUPS.iter().enumerate().flat_map(|(group, agents)| {
        let agent = move |agent: &usize| AgentRecord {
            id: agent_id(*agent),
            group: format!("g{group}"),
            revoked: told.revoked.contains(agent),
            ..AgentRecord::default()
        };
        agents.iter().map(agent)
    });
    let agents = agents.map(|agent| (format!("agents/{}", agent.id), Kind::Agent(agent)));
    resources(told.apps.iter().map(app).chain(agents))
}

/// An origin that says whose it is.
async fn origin(app: usize, scope: &Scope) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let own = scope.clone();
    scope.spawn_local("origin", async move {
        while let Ok((socket, _)) = listener.accept().await {
            let answer = move |_| async move {
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(app_id(app))))
            };
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service_fn(answer));
            own.spawn_local("connection", async move {
                // Agents that die break it off.
                let _ = connection.await;
            });
        }
    });
    format!("http://{address}")
}

fn edge_id(edge: usize) -> String {
    format!("e{edge}")
}

fn agent_id(agent: usize) -> String {
    format!("a{agent}")
}

fn app_id(app: usize) -> String {
    format!("app{app}")
}

fn host_of(app: usize) -> String {
    format!("{}.{DOMAIN}", app_id(app))
}
