//! What nodes are told, and what they are not.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use proto::{
    admin::{
        Agent, App, DeleteAppRequest, GetAgentRequest, Limits, Presence, Segment, Settings,
        Translation, UpdateAgentRequest, UpdateAppRequest, UpdateSettingsRequest,
        agents_client::AgentsClient, apps_client::AppsClient,
        settings_service_client::SettingsServiceClient,
    },
    fabric::{Nack, SyncRequest, resource::Kind, sync_request},
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use crate::bench::{Bench, Replica, app, reason};

async fn delete(bench: &Bench, id: &str) {
    let request = DeleteAppRequest {
        name: format!("apps/{id}"),
        etag: String::new(),
    };
    AppsClient::new(bench.operator())
        .delete_app(bench.ask(request))
        .await
        .unwrap();
}

async fn update(bench: &Bench, id: &str, group: &str) {
    let mut app = app(id, group);
    app.name = format!("apps/{id}");
    let request = UpdateAppRequest {
        app: Some(app),
        update_mask: None,
        allow_missing: true,
        validate_only: false,
    };
    AppsClient::new(bench.operator())
        .update_app(bench.ask(request))
        .await
        .unwrap();
}

async fn move_agent(bench: &Bench, id: &str, group: &str) {
    let request = UpdateAgentRequest {
        agent: Some(Agent {
            name: format!("agents/{id}"),
            group: format!("groups/{group}"),
            ..Agent::default()
        }),
        update_mask: None,
    };
    AgentsClient::new(bench.operator())
        .update_agent(bench.ask(request))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_edge_is_told_of_apps_without_their_origins() {
    let bench = Bench::start().await;
    bench.publish("wiki", "default").await;
    let edge = bench.edge("e1").await;
    let mut node = bench.sync(&edge, Replica::default()).await.unwrap();
    node.until(|replica| replica.kind("apps/wiki").is_some())
        .await;
    assert!(
        matches!(node.replica.kind("fabric"), Some(Kind::Fabric(fabric)) if fabric.domain == "example.com")
    );
    assert!(
        matches!(node.replica.kind("apps/wiki"), Some(Kind::EdgeApp(app)) if app.group == "default")
    );
    let Some(Kind::Certificate(certificate)) = node.replica.kind("certificates/default") else {
        panic!("an edge has a certificate to show");
    };
    assert_eq!(
        certificate.names,
        [
            "example.com",
            "*.example.com",
            "auth.example.com",
            "apps.example.com"
        ]
    );
}

#[tokio::test]
async fn a_node_has_one_sync_and_a_new_one_ends_the_old() {
    let bench = Bench::start().await;
    let edge = bench.edge("e1").await;
    let mut old = bench.sync(&edge, Replica::default()).await.unwrap();
    old.until(|_| true).await;
    let mut new = bench.sync(&edge, Replica::default()).await.unwrap();
    assert_eq!(reason(&old.end().await), "REPLACED");
    bench.publish("wiki", "default").await;
    new.until(|replica| replica.kind("apps/wiki").is_some())
        .await;
}

#[tokio::test]
async fn hosts_outside_the_domain_get_a_certificate() {
    let bench = Bench::start().await;
    let edge = bench.edge("e1").await;
    let mut node = bench.sync(&edge, Replica::default()).await.unwrap();
    let mut outside = app("shop", "default");
    outside.hosts = vec!["shop.example.net".to_owned(), "shop.example.com".to_owned()];
    outside.name = "apps/shop".to_owned();
    let request = UpdateAppRequest {
        app: Some(outside),
        update_mask: None,
        allow_missing: true,
        validate_only: false,
    };
    AppsClient::new(bench.operator())
        .update_app(bench.ask(request))
        .await
        .unwrap();
    node.until(|replica| {
        matches!(
            replica.kind("certificates/hosts-0"),
            Some(Kind::Certificate(certificate)) if certificate.names == ["shop.example.net"]
        )
    })
    .await;
}

#[tokio::test]
async fn an_agent_never_gets_an_app_of_another_group() {
    let bench = Bench::start().await;
    bench.group("b").await;
    bench.publish("before", "default").await;
    let agent = bench.agent("b1", "b").await;
    let mut node = bench.sync(&agent, Replica::default()).await.unwrap();
    node.until(|_| true).await;
    assert_eq!(node.replica.apps(), [""; 0]);
    bench.publish("live", "default").await;
    bench.publish("own", "b").await;
    node.until(|replica| !replica.apps().is_empty()).await;
    assert_eq!(node.replica.apps(), ["own"]);
    assert!(
        node.replica
            .resources
            .keys()
            .all(|name| !name.starts_with("agents/"))
    );
    let known = node.replica.clone();
    drop(node);
    bench.publish("missed", "default").await;
    bench.publish("own-too", "b").await;
    update(&bench, "own", "default").await;
    let mut node = bench.sync(&agent, known).await.unwrap();
    node.until(|replica| replica.apps() == ["own-too"]).await;
}

#[tokio::test]
async fn an_agent_in_another_group_gets_that_groups_apps_only() {
    let bench = Bench::start().await;
    bench.group("b").await;
    bench.publish("old", "default").await;
    bench.publish("new", "b").await;
    let agent = bench.agent("a1", "default").await;
    let mut node = bench.sync(&agent, Replica::default()).await.unwrap();
    node.until(|replica| replica.apps() == ["old"]).await;
    let away = node.replica.clone();
    move_agent(&bench, "a1", "b").await;
    node.until(|replica| replica.apps() == ["new"]).await;
    drop(node);
    let mut back = bench.sync(&agent, away).await.unwrap();
    back.until(|replica| replica.apps() == ["new"]).await;
}

#[tokio::test]
async fn an_agent_is_told_where_edges_are_once_they_have_said() {
    let bench = Bench::start().await;
    let (agent, edge) = (bench.agent("a1", "default").await, bench.edge("e1").await);
    let mut node = bench.sync(&agent, Replica::default()).await.unwrap();
    node.until(|_| true).await;
    assert_eq!(node.replica.kind("edges/e1"), None);
    let _edge = bench.sync(&edge, Replica::default()).await.unwrap();
    node.until(|replica| {
        matches!(
            replica.kind("edges/e1"),
            Some(Kind::Edge(edge)) if edge.tunnel_address == "edge.example.com:8443"
                && edge.tcp_address == "edge.example.com:443"
                && edge.workers == 2
        )
    })
    .await;
    let request = GetAgentRequest {
        name: "agents/a1".to_owned(),
    };
    let shown = AgentsClient::new(bench.operator())
        .get_agent(bench.ask(request))
        .await
        .unwrap();
    assert_eq!(shown.into_inner().presence(), Presence::Online);
}

#[tokio::test]
async fn a_node_that_refused_its_state_gets_all_of_it_again() {
    let bench = Bench::start().await;
    let edge = bench.edge("e1").await;
    let mut node = bench.sync(&edge, Replica::default()).await.unwrap();
    node.until(|replica| replica.kind("certificates/default").is_some())
        .await;
    let nack = Nack {
        revision: node.replica.revision,
        reason: "on purpose".to_owned(),
    };
    let kind = Some(sync_request::Kind::Nack(nack));
    node.outgoing.send(SyncRequest { kind }).await.unwrap();
    node.replica.store_id.clear();
    node.until(|replica| !replica.store_id.is_empty()).await;
}

#[tokio::test]
async fn a_node_without_a_hello_is_refused() {
    let bench = Bench::start().await;
    let edge = bench.edge("e1").await;
    let mut node = bench.sync(&edge, Replica::default()).await.unwrap();
    node.until(|_| true).await;
    let hello = sync_request::Kind::Hello(Default::default());
    node.outgoing
        .send(SyncRequest { kind: Some(hello) })
        .await
        .unwrap();
    assert_eq!(reason(&node.end().await), "PROTOCOL");
}

#[tokio::test]
async fn nodes_converge_over_random_changes() {
    const CHANGES: usize = 200;
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let bench = Bench::start().await;
    bench.group("b").await;
    let (agent, edge) = (bench.agent("a1", "default").await, bench.edge("e1").await);
    let mut nodes = [
        bench.sync(&agent, Replica::default()).await.unwrap(),
        bench.sync(&edge, Replica::default()).await.unwrap(),
    ];
    let mut alive = std::collections::BTreeSet::new();
    for _ in 0..CHANGES {
        let id = format!("app{}", random.random_range(0..12));
        if alive.contains(&id) && random.random_bool(0.3) {
            delete(&bench, &id).await;
            alive.remove(&id);
        } else {
            update(&bench, &id, ["default", "b"][random.random_range(0..2)]).await;
            alive.insert(id);
        }
    }
    bench.publish("last", "default").await;
    for (node, identity) in nodes.iter_mut().zip([&agent, &edge]) {
        node.until(|replica| replica.kind("apps/last").is_some())
            .await;
        let mut fresh = bench.sync(identity, Replica::default()).await.unwrap();
        fresh.until(|_| true).await;
        assert_eq!(node.replica.resources, fresh.replica.resources);
    }
}

async fn put(bench: &Bench, id: &str, change: impl FnOnce(&mut App)) {
    let mut app = app(id, "default");
    app.name = format!("apps/{id}");
    change(&mut app);
    let request = UpdateAppRequest {
        app: Some(app),
        allow_missing: true,
        ..UpdateAppRequest::default()
    };
    AppsClient::new(bench.operator())
        .update_app(bench.ask(request))
        .await
        .unwrap();
}

async fn settle(bench: &Bench, settings: Settings) {
    let request = UpdateSettingsRequest {
        settings: Some(settings),
        ..UpdateSettingsRequest::default()
    };
    SettingsServiceClient::new(bench.operator())
        .update_settings(bench.ask(request))
        .await
        .unwrap();
}

fn translating(app: &mut App) {
    app.translation = Some(Translation {
        bodies: true,
        ..Translation::default()
    });
}

fn is_stopped(replica: &Replica) -> bool {
    matches!(replica.kind("fabric"), Some(Kind::Fabric(fabric)) if fabric.stopped)
}

fn edge_limits(replica: &Replica) -> Option<proto::fabric::EdgeLimits> {
    match replica.kind("fabric") {
        Some(Kind::Fabric(fabric)) => fabric.edge_limits,
        _ => None,
    }
}

/// Most requests under way, and the total time-out, of an app at an edge.
fn merged(replica: &Replica, app: &str) -> Option<(u32, u64)> {
    match replica.kind(&format!("apps/{app}")) {
        Some(Kind::EdgeApp(app)) => Some((app.limits?.requests, app.timeouts?.total_ms)),
        _ => None,
    }
}

#[tokio::test]
async fn a_change_of_the_settings_reaches_nodes_with_all_that_follows_from_it() {
    let bench = Bench::start().await;
    bench.publish("wiki", "default").await;
    put(&bench, "own", |app| {
        app.limits = Some(Limits {
            requests: Some(7),
            ..Limits::default()
        });
    })
    .await;
    let (edge, agent) = (bench.edge("e1").await, bench.agent("a1", "default").await);
    let mut at_edge = bench.sync(&edge, Replica::default()).await.unwrap();
    let mut at_agent = bench.sync(&agent, Replica::default()).await.unwrap();
    at_edge
        .until(|replica| merged(replica, "own") == Some((7, 0)))
        .await;
    at_agent.until(|replica| replica.apps().len() == 2).await;
    let away = at_edge.replica.clone();

    let total = prost_types::Duration {
        seconds: 60,
        nanos: 0,
    };
    let settings = Settings {
        stopped: true,
        limits: Some(Limits {
            requests: Some(50),
            ..Limits::default()
        }),
        timeouts: Some(proto::admin::Timeouts {
            total: Some(total),
            ..Default::default()
        }),
        edge_limits: Some(proto::admin::EdgeLimits {
            streams: Some(100),
            ..Default::default()
        }),
        ..Settings::default()
    };
    settle(&bench, settings).await;
    let settled = |replica: &Replica| {
        is_stopped(replica)
            && merged(replica, "wiki") == Some((50, 60_000))
            && merged(replica, "own") == Some((7, 60_000))
            && edge_limits(replica).and_then(|limits| limits.streams) == Some(100)
    };
    at_edge.until(settled).await;
    at_agent.until(is_stopped).await;
    // Whom they do not concern they are not told.
    assert_eq!(edge_limits(&at_agent.replica), None);
    let Some(Kind::AgentApp(app)) = at_agent.replica.kind("apps/wiki") else {
        panic!("the agent has the app");
    };
    assert_eq!(app.timeouts.unwrap().total_ms, 60_000);

    drop(at_edge);
    let mut back = bench.sync(&edge, away).await.unwrap();
    back.until(settled).await;
    bench.publish("late", "default").await;
    back.until(|replica| merged(replica, "late") == Some((50, 60_000)))
        .await;
}

#[tokio::test]
async fn links_are_told_to_agents_of_groups_that_translate_bodies_only() {
    let bench = Bench::start().await;
    bench.group("b").await;
    bench.publish("wiki", "default").await;
    let (own, other) = (
        bench.agent("a1", "default").await,
        bench.agent("b1", "b").await,
    );
    let edge = bench.edge("e1").await;
    let mut own = bench.sync(&own, Replica::default()).await.unwrap();
    own.until(|replica| replica.apps() == ["wiki"]).await;
    assert!(own.replica.kind("links/wiki").is_none());

    bench.publish("files", "b").await;
    put(&bench, "docs", translating).await;
    let linked = |replica: &Replica| {
        ["docs", "files", "wiki"].iter().all(|app| {
            matches!(
                replica.kind(&format!("links/{app}")),
                Some(Kind::Link(link)) if link.pairs[0].inner == format!("http://{app}.internal:8080")
                    && link.pairs[0].outer == format!("{app}.example.com")
            )
        })
    };
    own.until(linked).await;
    assert_eq!(own.replica.apps(), ["docs", "wiki"]);

    // What comes and goes later is told as it comes.
    bench.publish("late", "b").await;
    own.until(|replica| replica.kind("links/late").is_some())
        .await;
    delete(&bench, "late").await;
    own.until(|replica| replica.kind("links/late").is_none())
        .await;

    let mut other = bench.sync(&other, Replica::default()).await.unwrap();
    other.until(|replica| replica.apps() == ["files"]).await;
    let mut edge = bench.sync(&edge, Replica::default()).await.unwrap();
    edge.until(|replica| replica.apps().len() == 3).await;
    for node in [&other, &edge] {
        let names = node.replica.resources.keys();
        assert!(names.into_iter().all(|name| !name.starts_with("links/")));
    }

    delete(&bench, "docs").await;
    own.until(|replica| {
        !replica
            .resources
            .keys()
            .any(|name| name.starts_with("links/"))
    })
    .await;
    assert_eq!(own.replica.apps(), ["wiki"]);
}

#[tokio::test]
async fn keys_that_seal_and_sign_reach_edges_only_and_agents_get_the_public_halves() {
    let bench = Bench::start().await;
    let (edge, agent) = (bench.edge("e1").await, bench.agent("a1", "default").await);
    let mut at_edge = bench.sync(&edge, Replica::default()).await.unwrap();
    at_edge
        .until(|replica| {
            let names = ["ticketKeys", "sessionKeys", "assertionKeys"];
            names.iter().all(|name| replica.kind(name).is_some())
        })
        .await;
    let (Some(Kind::TicketKeys(tickets)), Some(Kind::SessionKeys(sessions))) = (
        at_edge.replica.kind("ticketKeys"),
        at_edge.replica.kind("sessionKeys"),
    ) else {
        panic!("those are keys");
    };
    for keys in [tickets, sessions] {
        let keys = keys.keys.iter();
        let sizes: Vec<_> = keys.map(|key| (key.name.len(), key.key.len())).collect();
        assert_eq!(sizes, [(16, 32)]);
    }
    assert_ne!(tickets, sessions);
    let Some(Kind::AssertionKeys(assertions)) = at_edge.replica.kind("assertionKeys") else {
        panic!("those are keys");
    };
    assert_eq!(assertions.keys.len(), 1);
    assert!(!assertions.keys[0].pkcs8.is_empty());
    let mut at_agent = bench.sync(&agent, Replica::default()).await.unwrap();
    at_agent
        .until(|replica| replica.kind("statementKeys").is_some())
        .await;
    assert!(at_agent.replica.kind("ticketKeys").is_none());
    assert!(at_agent.replica.kind("sessionKeys").is_none());
    assert!(at_agent.replica.kind("assertionKeys").is_none());
    let Some(Kind::StatementKeys(public)) = at_agent.replica.kind("statementKeys") else {
        panic!("those are keys");
    };
    assert_eq!(public.group, "default");
    let own = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &assertions.keys[0].pkcs8)
        .unwrap();
    let halves: Vec<_> = public.keys.iter().map(|key| &*key.public_key).collect();
    assert_eq!(halves, [own.public_key().as_ref()]);
}

#[tokio::test]
async fn segments_reach_nodes_and_their_hosts_have_certificates() {
    let bench = Bench::start().await;
    put(&bench, "suite", |app| {
        let origins = std::mem::take(&mut app.origins);
        let hosts = std::mem::take(&mut app.hosts);
        app.segments = [("a", hosts), ("b", vec!["b.example.net".to_owned()])]
            .map(|(id, hosts)| Segment {
                id: id.to_owned(),
                hosts,
                origins: origins.clone(),
                ..Segment::default()
            })
            .into();
    })
    .await;
    let (edge, agent) = (bench.edge("e1").await, bench.agent("a1", "default").await);
    let mut at_edge = bench.sync(&edge, Replica::default()).await.unwrap();
    at_edge
        .until(|replica| {
            matches!(
                replica.kind("certificates/hosts-0"),
                Some(Kind::Certificate(certificate)) if certificate.names == ["b.example.net"]
            ) && matches!(
                replica.kind("apps/suite"),
                Some(Kind::EdgeApp(app)) if app.hosts.is_empty() && app.segments.len() == 2
            )
        })
        .await;
    let mut at_agent = bench.sync(&agent, Replica::default()).await.unwrap();
    at_agent
        .until(|replica| {
            matches!(
                replica.kind("apps/suite"),
                Some(Kind::AgentApp(app)) if app.origins.is_empty() && app.segments.len() == 2
            )
        })
        .await;
}
