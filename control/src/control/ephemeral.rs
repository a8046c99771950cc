//! Agents that keep nothing on their disks do not come back under their ids: their records go when they are gone.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use model::name::{AgentId, EdgeId};
use prost::Message as _;
use proto::{
    control::{AgentRecord, EdgeRecord},
    time::system_time,
};
use runtime::{Clock, Scope};
use tokio::time::sleep;

use crate::{
    audit, denied,
    presence::{NodeId, Presence},
    store::{self, Check, Entry, Store, StoreError},
};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(60);
/// How long an agent is without a line to control and without a link at any edge before it is gone: longer than a network that is mended, or
/// an edge that is started anew, keeps it away.
const GONE: Duration = Duration::from_secs(600);
/// Agents that are read at once.
const PAGE: usize = 500;

/// Starts looking as a standing task.
pub(super) fn start(store: Arc<dyn Store>, presence: Presence, clock: Clock, scope: &Scope) {
    let own = scope.child("ephemeral agents");
    let since = clock.wall();
    scope.spawn_standing("ephemeral agents", async move {
        loop {
            tokio::select! {
                () = own.cancelled() => return,
                () = sleep(PAUSE) => {}
            }
            if let Err(error) = sweep(&*store, &presence, &clock, since).await {
                tracing::warn!(%error, "agents that are gone cannot be removed");
            }
        }
    });
}

/// Removes who is gone. Who was here before control started, at `since`, is given as long again: control knew nothing of anybody then.
async fn sweep(
    store: &dyn Store,
    presence: &Presence,
    clock: &Clock,
    since: SystemTime,
) -> Result<(), StoreError> {
    // Only edges say who has links, each of its own: agents may serve on while they, and the edge beside them, cannot reach control.
    if !presence.has_edges() || misses_an_edge(store, presence, clock.wall()).await? {
        return Ok(());
    }
    let mut after = None::<Arc<str>>;
    loop {
        let page = store
            .range(AgentId::COLLECTION, after.as_deref(), PAGE)
            .await?;
        for entry in &page.entries {
            if let Some(id) = gone(entry, presence, clock.wall(), since) {
                remove(store, entry, id, presence, clock).await?;
            }
        }
        if !page.more {
            return Ok(());
        }
        after = page.entries.last().map(|entry| Arc::clone(&entry.key));
    }
}

/// Whether an edge is away that agents may have links to: no longer than its certificate runs.
async fn misses_an_edge(
    store: &dyn Store,
    presence: &Presence,
    now: SystemTime,
) -> Result<bool, StoreError> {
    let mut after = None::<Arc<str>>;
    loop {
        let page = store
            .range(EdgeId::COLLECTION, after.as_deref(), PAGE)
            .await?;
        if page.entries.iter().any(|edge| is_away(edge, presence, now)) {
            return Ok(true);
        }
        if !page.more {
            return Ok(false);
        }
        after = page.entries.last().map(|entry| Arc::clone(&entry.key));
    }
}

fn is_away(entry: &Entry, presence: &Presence, now: SystemTime) -> bool {
    let record = EdgeRecord::decode(entry.value.clone());
    let Some(edge) = record.ok().and_then(|record| record.edge) else {
        return false;
    };
    let Some(Ok(id)) = EdgeId::from_resource_name(&edge.name) else {
        return false;
    };
    let online = presence.edge(&id).is_some_and(|seen| seen.online);
    let expiry = edge.certificate_expire_time.as_ref();
    let expiry = expiry.and_then(|time| system_time(time).ok());
    !online && !edge.revoked && expiry.is_some_and(|expiry| now < expiry)
}

/// The agent, if it keeps nothing and is gone.
fn gone(entry: &Entry, presence: &Presence, now: SystemTime, since: SystemTime) -> Option<AgentId> {
    let agent = AgentRecord::decode(entry.value.clone()).ok()?.agent?;
    if !agent.ephemeral {
        return None;
    }
    let id = AgentId::from_resource_name(&agent.name)?.ok()?;
    let seen = presence.agent(&id);
    if seen.as_ref().is_some_and(|seen| seen.online) || !presence.links(&id).is_empty() {
        return None;
    }
    let joined = agent
        .update_time
        .as_ref()
        .and_then(|time| system_time(time).ok());
    let last = [seen.map(|seen| seen.last_seen), joined, Some(since)];
    let last = last.into_iter().flatten().max()?;
    (last + GONE < now).then_some(id)
}

async fn remove(
    store: &dyn Store,
    entry: &Entry,
    id: AgentId,
    presence: &Presence,
    clock: &Clock,
) -> Result<(), StoreError> {
    let mut ops = denied::delete_node(entry);
    let event = audit::Event {
        actor: "control".to_owned(),
        method: "DeleteAgent",
        resource: id.resource_name(),
        ..audit::Event::default()
    };
    ops.push(audit::op(event, clock));
    let check = Check::unchanged(entry);
    // It may just have come back.
    if store::commit(store, vec![check], ops).await?.is_some() {
        tracing::info!(agent = %id, "an ephemeral agent is gone: it is deleted");
        presence.forget(&NodeId::Agent(id));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proto::{
        admin::{Agent, Edge},
        fabric::{AgentLinks, PresenceReport},
        time::wire_timestamp,
    };

    use super::*;
    use crate::store::{Op, sqlite};

    #[tokio::test]
    async fn only_an_ephemeral_agent_that_nobody_sees_is_deleted_and_not_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::starting_at(Clock::system().wall());
        let store = sqlite::open(directory.path(), &clock).unwrap();
        let since = clock.wall();
        let agents = [
            ("kept", false),
            ("gone", true),
            ("online", true),
            ("linked", true),
        ];
        let ops = agents.map(|(id, ephemeral)| {
            let name = format!("agents/{id}");
            let record = AgentRecord {
                agent: Some(Agent {
                    name: name.clone(),
                    ephemeral,
                    update_time: Some(wire_timestamp(since)),
                    certificate_expire_time: Some(wire_timestamp(since + 24 * 6 * GONE)),
                    ..Agent::default()
                }),
                ..AgentRecord::default()
            };
            Op::Put(name.into(), record.encode_to_vec().into())
        });
        store.txn(Vec::new(), ops.to_vec()).await.unwrap();
        let presence = Presence::default();
        let id = |id: &str| id.parse::<AgentId>().unwrap();
        let online = NodeId::Agent(id("online"));
        let _online = presence.connect(online, "0.1.0", clock.wall());
        let left = async || {
            sweep(&store, &presence, &clock, since).await.unwrap();
            let page = store.range(AgentId::COLLECTION, None, PAGE).await.unwrap();
            let keys = page.entries.iter();
            keys.map(|entry| entry.key.to_string()).collect::<Vec<_>>()
        };
        clock.move_wall(2 * GONE);
        assert_eq!(left().await.len(), 4, "no edge says who has links");
        let edge = NodeId::Edge("e1".parse().unwrap());
        let edge = presence.connect(edge, "0.1.0", clock.wall());
        let linked = AgentLinks {
            agent: "linked".to_owned(),
            links: 1,
            tcp_links: 0,
        };
        edge.report(&PresenceReport {
            agents: vec![linked],
            ..PresenceReport::default()
        });
        let all_but_gone = ["agents/kept", "agents/linked", "agents/online"];
        assert_eq!(left().await, all_but_gone);
        let denial = store.get(&denied::key("agents/gone")).await.unwrap();
        assert!(denial.is_some(), "its certificate still runs");
        // Its last link went, and it was not seen since.
        edge.report(&PresenceReport::default());
        let started_anew = clock.wall();
        sweep(&store, &presence, &clock, started_anew)
            .await
            .unwrap();
        let linked = store.get("agents/linked").await.unwrap();
        assert!(linked.is_some(), "control has just started");
        assert_eq!(left().await, ["agents/kept", "agents/online"]);
    }

    #[tokio::test]
    async fn nobody_is_deleted_while_an_edge_is_away_that_may_have_its_links() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::starting_at(Clock::system().wall());
        let store = sqlite::open(directory.path(), &clock).unwrap();
        let since = clock.wall();
        let agent = AgentRecord {
            agent: Some(Agent {
                name: "agents/a1".to_owned(),
                ephemeral: true,
                certificate_expire_time: Some(wire_timestamp(since + 24 * 6 * GONE)),
                ..Agent::default()
            }),
            ..AgentRecord::default()
        };
        let mut ops = vec![Op::Put("agents/a1".into(), agent.encode_to_vec().into())];
        for (id, revoked, life) in [
            ("here", false, 24 * 6 * GONE),
            ("away", false, 6 * GONE),
            ("revoked", true, 24 * 6 * GONE),
        ] {
            let name = format!("edges/{id}");
            let edge = EdgeRecord {
                edge: Some(Edge {
                    name: name.clone(),
                    revoked,
                    certificate_expire_time: Some(wire_timestamp(since + life)),
                    ..Edge::default()
                }),
                ..EdgeRecord::default()
            };
            ops.push(Op::Put(name.into(), edge.encode_to_vec().into()));
        }
        store.txn(Vec::new(), ops).await.unwrap();
        let presence = Presence::default();
        let edge = |id: &str| NodeId::Edge(id.parse().unwrap());
        let _here = presence.connect(edge("here"), "0.1.0", clock.wall());
        let is_left = async || {
            sweep(&store, &presence, &clock, since).await.unwrap();
            store.get("agents/a1").await.unwrap().is_some()
        };
        clock.move_wall(2 * GONE);
        assert!(
            is_left().await,
            "it may have links to the edge that is away"
        );
        clock.move_wall(5 * GONE);
        assert!(!is_left().await, "the edge's certificate has run out");
    }
}
