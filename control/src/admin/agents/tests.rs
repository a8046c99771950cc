//! Agents and edges against a real store and a real presence registry.

use prost_types::FieldMask;
use proto::{
    admin::{
        self, Agent, DeleteAgentRequest, GetAgentRequest, GetEdgeRequest, GetStatusRequest,
        RevokeAgentRequest, RevokeEdgeRequest, UpdateAgentRequest, agents_server::Agents as _,
        edges_server::Edges as _, status_server::Status as _,
    },
    fabric::{AgentLinks, AppFault, AppPart, PresenceReport},
};
use tonic::{Code, Status};

use crate::{
    admin::{
        agents::Agents,
        edges::Edges,
        status,
        tests::{Bench, app, by_admin, fields},
    },
    denied,
    presence::NodeId,
    store::Revision,
};

fn agents(bench: &Bench) -> Agents {
    Agents {
        context: bench.context.clone(),
    }
}

async fn get(bench: &Bench, name: &str) -> Result<Agent, Status> {
    let request = by_admin(GetAgentRequest {
        name: name.to_owned(),
    });
    Ok(agents(bench).get_agent(request).await?.into_inner())
}

async fn update(bench: &Bench, agent: Agent, paths: &[&str]) -> Result<Agent, Status> {
    let paths = paths.iter().map(|&path| path.to_owned()).collect();
    let request = UpdateAgentRequest {
        agent: Some(agent),
        update_mask: Some(FieldMask { paths }),
    };
    Ok(agents(bench)
        .update_agent(by_admin(request))
        .await?
        .into_inner())
}

/// An edge's report of two links of an agent.
fn linked(agent: &str) -> PresenceReport {
    PresenceReport {
        agents: vec![AgentLinks {
            agent: agent.to_owned(),
            links: 2,
            tcp_links: 1,
        }],
        ..PresenceReport::default()
    }
}

fn in_group(group: &str) -> Agent {
    Agent {
        name: "agents/a1".to_owned(),
        group: group.to_owned(),
        ..Agent::default()
    }
}

#[tokio::test]
async fn only_the_group_of_an_agent_can_be_changed() {
    let bench = Bench::with_office().await;
    bench.create_group("lab").await;
    bench.enrolled("a1", "groups/office").await;
    let moved = update(&bench, in_group("groups/lab"), &["group"])
        .await
        .unwrap();
    assert_eq!(moved.group, "groups/lab");
    assert_eq!(bench.audit().await[0].changed_fields, ["group"]);
    let refused = update(&bench, in_group("groups/nobody"), &["group", "revoked"])
        .await
        .unwrap_err();
    assert_eq!(fields(&refused), ["update_mask", "agent.group"]);
    let missing = Agent {
        name: "agents/a2".to_owned(),
        ..in_group("groups/lab")
    };
    assert_eq!(
        update(&bench, missing, &["group"])
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn presence_and_links_are_merged_in() {
    let bench = Bench::with_office().await;
    bench.enrolled("a1", "groups/office").await;
    assert_eq!(
        get(&bench, "agents/a1").await.unwrap().presence(),
        admin::Presence::Offline
    );
    let (presence, now) = (&bench.context.presence, bench.context.clock.wall());
    let agent = presence.connect(NodeId::Agent("a1".parse().unwrap()), "1.2.3", now);
    agent.applied(Revision(7));
    let edge = presence.connect(NodeId::Edge("e1".parse().unwrap()), "1.2.3", now);
    edge.report(&linked("a1"));
    let seen = get(&bench, "agents/a1").await.unwrap();
    assert_eq!(seen.presence(), admin::Presence::Online);
    assert_eq!((seen.version.as_str(), seen.applied_revision), ("1.2.3", 7));
    assert_eq!(
        (
            seen.links[0].edge.as_str(),
            seen.links[0].links,
            seen.links[0].tcp_links
        ),
        ("edges/e1", 2, 1)
    );
    drop(agent);
    assert_eq!(
        get(&bench, "agents/a1").await.unwrap().presence(),
        admin::Presence::Offline
    );
}

#[tokio::test]
async fn a_revoked_agent_is_told_as_such_and_keeps_no_group() {
    let bench = Bench::with_office().await;
    bench.enrolled("a1", "groups/office").await;
    let request = RevokeAgentRequest {
        name: "agents/a1".to_owned(),
        etag: String::new(),
    };
    let revoked = agents(&bench)
        .revoke_agent(by_admin(request.clone()))
        .await
        .unwrap()
        .into_inner();
    assert!(revoked.revoked);
    assert_eq!(revoked.presence(), admin::Presence::Revoked);
    let again = agents(&bench)
        .revoke_agent(by_admin(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.etag, revoked.etag);
    bench.delete_group("office").await.unwrap();
}

#[tokio::test]
async fn the_id_of_a_deleted_agent_stays_denied() {
    let bench = Bench::with_office().await;
    bench.enrolled("a1", "groups/office").await;
    let request = DeleteAgentRequest {
        name: "agents/a1".to_owned(),
        etag: String::new(),
    };
    agents(&bench)
        .delete_agent(by_admin(request))
        .await
        .unwrap();
    assert_eq!(
        get(&bench, "agents/a1").await.unwrap_err().code(),
        Code::NotFound
    );
    let denial = bench
        .context
        .store
        .get(&denied::key("agents/a1"))
        .await
        .unwrap();
    assert!(denial.is_some());
}

#[tokio::test]
async fn edges_are_revoked() {
    let bench = Bench::new();
    bench.enrolled_edge("e1").await;
    let edges = Edges {
        context: bench.context.clone(),
    };
    let request = RevokeEdgeRequest {
        name: "edges/e1".to_owned(),
        etag: "0".to_owned(),
    };
    assert_eq!(
        edges
            .revoke_edge(by_admin(request))
            .await
            .unwrap_err()
            .code(),
        Code::Aborted
    );
    let request = RevokeEdgeRequest {
        name: "edges/e1".to_owned(),
        etag: String::new(),
    };
    edges.revoke_edge(by_admin(request)).await.unwrap();
    let request = by_admin(GetEdgeRequest {
        name: "edges/e1".to_owned(),
    });
    let edge = edges.get_edge(request).await.unwrap().into_inner();
    assert_eq!(
        (edge.revoked, edge.presence()),
        (true, admin::Presence::Revoked)
    );
}

#[tokio::test]
async fn status_counts_what_there_is() {
    let bench = Bench::with_office().await;
    bench.create_group("lab").await;
    bench
        .create_app("wiki", app("wiki.example.test"))
        .await
        .unwrap();
    bench.enrolled("a1", "groups/office").await;
    bench.enrolled("a2", "groups/office").await;
    bench.enrolled_edge("e1").await;
    let (presence, now) = (&bench.context.presence, bench.context.clock.wall());
    let edge = presence.connect(NodeId::Edge("e1".parse().unwrap()), "1.2.3", now);
    edge.report(&linked("a1"));
    let service = status::Status {
        context: bench.context.clone(),
    };
    let status = service
        .get_status(by_admin(GetStatusRequest {}))
        .await
        .unwrap()
        .into_inner();
    let groups: Vec<_> = status
        .groups
        .iter()
        .map(|group| {
            (
                group.group.as_str(),
                group.apps,
                group.agents,
                group.agents_linked,
            )
        })
        .collect();
    assert_eq!(
        groups,
        [("groups/lab", 0, 0, 0), ("groups/office", 1, 2, 1)]
    );
    assert_eq!(
        (status.apps, status.edges.len(), status.domain.as_str()),
        (1, 1, "example.test")
    );
    assert_eq!(status.edges[0].presence(), admin::Presence::Online);
    assert_eq!(
        status.revision,
        bench.context.store.revision().await.unwrap().0
    );
    assert_eq!(status.store_id, bench.context.store.id());
}

#[tokio::test]
async fn status_names_what_fails_of_what_is_published() {
    let bench = Bench::with_office().await;
    bench
        .create_app("wiki", app("wiki.example.test"))
        .await
        .unwrap();
    bench.enrolled_edge("e1").await;
    let (presence, now) = (&bench.context.presence, bench.context.clock.wall());
    let edge = presence.connect(NodeId::Edge("e1".parse().unwrap()), "1.2.3", now);
    let fault = |app: &str| AppFault {
        app: app.to_owned(),
        agent: "a1".to_owned(),
        part: AppPart::Origin.into(),
        reason: "origin_connect".to_owned(),
        partly: true,
        since_ms: 1_000,
        ..AppFault::default()
    };
    edge.report(&PresenceReport {
        app_faults: vec![fault("gone"), fault("wiki")],
        ..linked("a1")
    });
    let service = status::Status {
        context: bench.context.clone(),
    };
    let problems = async || {
        let asked = service.get_status(by_admin(GetStatusRequest {})).await;
        asked.unwrap().into_inner().problems
    };
    let [told] = &problems().await[..] else {
        panic!("one problem is of an app that is published");
    };
    assert_eq!(
        (told.app.as_str(), told.edge.as_str(), told.agent.as_str()),
        ("apps/wiki", "edges/e1", "agents/a1")
    );
    assert_eq!(told.part(), admin::FailingPart::Origin);
    assert!(told.partly && told.since_time.is_some(), "{told:?}");
    drop(edge);
    let told = problems().await;
    assert_eq!(told[0].part(), admin::FailingPart::Edge, "{told:?}");
}
