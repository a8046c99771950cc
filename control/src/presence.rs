//! What nodes say of themselves while they are connected: kept in memory, and empty after a restart of control.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use model::name::{AgentId, EdgeId};
use proto::fabric::{AppFault, PresenceReport};
use tokio::sync::oneshot;

use crate::{store::Revision, telemetry};

/// Agents that one edge may report links for; more are cut off.
pub const LINKED_AGENTS_MAX: usize = 10_000;
/// Faults of apps that one edge may report; more are cut off.
pub const APP_FAULTS_MAX: usize = 1_000;
/// Characters of a fault's texts that are kept.
const FAULT_CHARS_MAX: usize = 512;
/// Nodes that are remembered after they went; the longest gone are forgotten first.
pub const NODES_MAX: usize = 20_000;
/// Characters of a version that are kept.
const VERSION_CHARS_MAX: usize = 64;

/// The registry. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    agents: BTreeMap<AgentId, Node>,
    edges: BTreeMap<EdgeId, Node>,
    /// Links as each edge that is online reported them last.
    links: BTreeMap<EdgeId, BTreeMap<AgentId, LinkCount>>,
    /// What fails, in the same reports.
    app_faults: BTreeMap<EdgeId, Vec<AppFault>>,
    /// How often nodes have connected.
    connected: u64,
}

/// Links of one agent at one edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkCount {
    /// Over any transport.
    pub links: u32,
    /// Of those, over TCP.
    pub over_tcp: u32,
}

#[derive(Debug)]
struct Node {
    /// Syncs that are open: two for a moment when a node reconnects.
    sessions: u32,
    /// Of the newest session; dropped, it tells that session that it is the newest no longer.
    newest: oneshot::Sender<Infallible>,
    seen: Seen,
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whether it is connected now.
    pub online: bool,
    /// When it last said something.
    pub last_seen: SystemTime,
    /// Its release.
    pub version: String,
    /// Revision that it runs on.
    pub applied_revision: Revision,
}

/// A node that can be present.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeId {
    /// An agent.
    Agent(AgentId),
    /// An edge.
    Edge(EdgeId),
}

impl NodeId {
    /// `agents/{id}` or `edges/{id}`.
    #[must_use]
    pub fn resource_name(&self) -> String {
        match self {
            Self::Agent(id) => id.resource_name(),
            Self::Edge(id) => id.resource_name(),
        }
    }

    /// Without what it is.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Agent(id) => id.as_str(),
            Self::Edge(id) => id.as_str(),
        }
    }

    /// The agent, if it is one.
    #[must_use]
    pub fn agent(&self) -> Option<&AgentId> {
        match self {
            Self::Agent(id) => Some(id),
            Self::Edge(_) => None,
        }
    }

    /// The node of a resource name.
    #[must_use]
    pub fn from_resource_name(name: &str) -> Option<Self> {
        if let Some(id) = AgentId::from_resource_name(name) {
            return id.ok().map(Self::Agent);
        }
        EdgeId::from_resource_name(name)?.ok().map(Self::Edge)
    }

    /// As in certificates, metrics and logs.
    #[must_use]
    pub fn role(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::Edge(_) => "edge",
        }
    }
}

impl Presence {
    /// What is known of an agent.
    #[must_use]
    pub fn agent(&self, id: &AgentId) -> Option<Seen> {
        self.lock().agents.get(id).map(|node| node.seen.clone())
    }

    /// What is known of an edge.
    #[must_use]
    pub fn edge(&self, id: &EdgeId) -> Option<Seen> {
        self.lock().edges.get(id).map(|node| node.seen.clone())
    }

    /// Whether any edge is online, and tells which agents have links.
    #[must_use]
    pub fn has_edges(&self) -> bool {
        self.lock().edges.values().any(|edge| edge.seen.online)
    }

    /// Links of an agent at each edge that is online, in order of edge.
    #[must_use]
    pub fn links(&self, agent: &AgentId) -> Vec<(EdgeId, LinkCount)> {
        let inner = self.lock();
        let count = |(edge, agents): (&EdgeId, &BTreeMap<AgentId, LinkCount>)| {
            agents.get(agent).map(|&links| (edge.clone(), links))
        };
        inner.links.iter().filter_map(count).collect()
    }

    /// What fails, as each edge that is online found it, in order of edge.
    #[must_use]
    pub fn app_faults(&self) -> Vec<(EdgeId, AppFault)> {
        let inner = self.lock();
        let faults = inner.app_faults.iter();
        faults
            .flat_map(|(edge, faults)| faults.iter().map(|fault| (edge.clone(), fault.clone())))
            .collect()
    }

    /// Marks a node as connected until the session is dropped. A session that it had before is told to go.
    #[must_use]
    pub fn connect(&self, node: NodeId, version: &str, now: SystemTime) -> Session {
        let version: String = version.chars().take(VERSION_CHARS_MAX).collect();
        let mut inner = self.lock();
        inner.connected += 1;
        let number = inner.connected;
        let known = inner.entry(&node, now);
        let (newest, replaced) = oneshot::channel();
        known.newest = newest;
        known.sessions += 1;
        known.seen.online = true;
        known.seen.version = version;
        known.seen.last_seen = now;
        drop(inner);
        telemetry::sync_nodes(node.role()).increment(1.0);
        Session {
            presence: self.clone(),
            node,
            number,
            replaced,
        }
    }

    /// Forgets a node that was deleted, and its links.
    pub fn forget(&self, node: &NodeId) {
        let mut inner = self.lock();
        match node {
            NodeId::Agent(id) => {
                inner
                    .agents
                    .retain(|agent, known| agent != id || known.sessions > 0);
                for agents in inner.links.values_mut() {
                    agents.remove(id);
                }
            }
            NodeId::Edge(id) => {
                inner
                    .edges
                    .retain(|edge, known| edge != id || known.sessions > 0);
                inner.links.remove(id);
                inner.app_faults.remove(id);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn node(&mut self, node: &NodeId) -> Option<&mut Node> {
        match node {
            NodeId::Agent(id) => self.agents.get_mut(id),
            NodeId::Edge(id) => self.edges.get_mut(id),
        }
    }

    fn entry(&mut self, node: &NodeId, now: SystemTime) -> &mut Node {
        let fresh = || Node {
            sessions: 0,
            newest: oneshot::channel().0,
            seen: Seen {
                online: false,
                last_seen: now,
                version: String::new(),
                applied_revision: Revision(0),
            },
        };
        match node {
            NodeId::Agent(id) => {
                make_room(&mut self.agents, id);
                self.agents.entry(id.clone()).or_insert_with(fresh)
            }
            NodeId::Edge(id) => {
                make_room(&mut self.edges, id);
                self.edges.entry(id.clone()).or_insert_with(fresh)
            }
        }
    }
}

fn make_room<Id: Ord + Clone>(nodes: &mut BTreeMap<Id, Node>, id: &Id) {
    if nodes.len() < NODES_MAX || nodes.contains_key(id) {
        return;
    }
    let longest_gone = nodes
        .iter()
        .filter(|(_, node)| node.sessions == 0)
        .min_by_key(|(_, node)| node.seen.last_seen)
        .map(|(id, _)| id.clone());
    if let Some(id) = longest_gone {
        nodes.remove(&id);
    }
}

/// One connection of a node; dropping it says that the connection is gone.
#[derive(Debug)]
pub struct Session {
    presence: Presence,
    node: NodeId,
    number: u64,
    replaced: oneshot::Receiver<Infallible>,
}

impl Session {
    /// Who it is.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Higher than that of any before.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Waits until the node has connected anew. Cancel-safe; not to be asked again after that.
    pub async fn replaced(&mut self) {
        // Nothing is ever sent: the channel only closes.
        let _ = (&mut self.replaced).await;
    }

    /// Notes that the node said something.
    pub fn seen(&self, now: SystemTime) {
        if let Some(node) = self.presence.lock().node(&self.node) {
            node.seen.last_seen = now;
        }
    }

    /// Notes that the node runs on `revision`.
    pub fn applied(&self, revision: Revision) {
        if let Some(node) = self.presence.lock().node(&self.node) {
            node.seen.applied_revision = revision;
        }
    }

    /// Takes an edge's report of the links it holds and of what fails, whole. Ids that are none are left out; an agent's report is
    /// ignored.
    pub fn report(&self, report: &PresenceReport) {
        let NodeId::Edge(edge) = &self.node else {
            return;
        };
        let agents = &report.agents;
        let links = agents
            .iter()
            .take(LINKED_AGENTS_MAX)
            .filter(|row| row.links > 0)
            .filter_map(|row| {
                let count = LinkCount {
                    links: row.links,
                    over_tcp: row.tcp_links.min(row.links),
                };
                Some((row.agent.parse().ok()?, count))
            })
            .collect();
        let faults = report.app_faults.iter().take(APP_FAULTS_MAX);
        let faults = faults.map(cut_short).collect();
        let mut inner = self.presence.lock();
        inner.links.insert(edge.clone(), links);
        inner.app_faults.insert(edge.clone(), faults);
    }
}

fn cut_short(fault: &AppFault) -> AppFault {
    let cut = |text: &String| text.chars().take(FAULT_CHARS_MAX).collect();
    AppFault {
        app: cut(&fault.app),
        agent: cut(&fault.agent),
        reason: cut(&fault.reason),
        detail: cut(&fault.detail),
        ..*fault
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut inner = self.presence.lock();
        let gone = inner.node(&self.node).is_none_or(|node| {
            node.sessions = node.sessions.saturating_sub(1);
            node.seen.online = node.sessions > 0;
            !node.seen.online
        });
        if gone && let NodeId::Edge(edge) = &self.node {
            inner.links.remove(edge);
            inner.app_faults.remove(edge);
        }
        drop(inner);
        telemetry::sync_nodes(self.node.role()).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto::fabric::AgentLinks;

    use super::*;

    fn edge(presence: &Presence, now: SystemTime) -> Session {
        let id = "e1".parse().expect("a good id");
        presence.connect(NodeId::Edge(id), "0.1.0", now)
    }

    fn reported<const N: usize>(links: [(&str, u32); N]) -> PresenceReport {
        let agents = links.map(|(agent, links)| AgentLinks {
            agent: agent.to_owned(),
            links,
            tcp_links: 1,
        });
        let fault = AppFault {
            app: "wiki".to_owned(),
            detail: "x".repeat(1_000),
            ..AppFault::default()
        };
        PresenceReport {
            agents: agents.into(),
            app_faults: vec![fault],
        }
    }

    #[test]
    fn a_node_is_online_until_its_last_session_ends() {
        let (presence, now) = (Presence::default(), SystemTime::UNIX_EPOCH);
        let id: EdgeId = "e1".parse().expect("a good id");
        assert_eq!(presence.edge(&id), None);
        let old = edge(&presence, now);
        let new = edge(&presence, now);
        drop(old);
        assert!(presence.edge(&id).is_some_and(|seen| seen.online));
        new.applied(Revision(7));
        drop(new);
        let seen = presence.edge(&id).expect("it was here");
        assert!(!seen.online);
        assert_eq!(seen.applied_revision, Revision(7));
    }

    #[tokio::test]
    async fn a_session_ends_when_its_node_connects_anew_and_not_before() {
        let (presence, now) = (Presence::default(), SystemTime::UNIX_EPOCH);
        let mut old = edge(&presence, now);
        let other = "e2".parse().expect("a good id");
        let _other = presence.connect(NodeId::Edge(other), "0.1.0", now);
        let early = tokio::time::timeout(Duration::from_millis(10), old.replaced()).await;
        assert!(early.is_err(), "another node is no replacement");
        let mut new = edge(&presence, now);
        old.replaced().await;
        drop(old);
        let early = tokio::time::timeout(Duration::from_millis(10), new.replaced()).await;
        assert!(early.is_err(), "the newest stays");
    }

    #[test]
    fn links_are_those_of_edges_that_are_online() {
        let presence = Presence::default();
        let agent: AgentId = "a1".parse().expect("a good id");
        let session = edge(&presence, SystemTime::UNIX_EPOCH);
        session.report(&reported([("a1", 2), ("Not An Id", 1)]));
        let two = LinkCount {
            links: 2,
            over_tcp: 1,
        };
        assert_eq!(
            presence.links(&agent),
            [("e1".parse().expect("a good id"), two)]
        );
        session.report(&reported([("a1", 0)]));
        assert_eq!(presence.links(&agent), []);
        session.report(&reported([("a1", 4)]));
        let faults = presence.app_faults();
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].1.detail.len(), FAULT_CHARS_MAX);
        drop(session);
        assert_eq!(presence.links(&agent), []);
        assert_eq!(presence.app_faults(), []);
    }
}
