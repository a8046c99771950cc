//! Nodes whose certificates ran out come back by the key that they had, for a month, and nobody else does.

use std::{sync::Arc, time::Duration};

use proto::{
    admin::{
        CreateJoinTokenRequest, DeleteAgentRequest, ListAuditEventsRequest, NodeRole,
        RevokeAgentRequest, agents_client::AgentsClient, audit_client::AuditClient,
        join_tokens_client::JoinTokensClient,
    },
    fabric::{EnrolRequest, EnrolResponse, RecoverRequest, fabric_client::FabricClient},
};
use runtime::identity::{Identity, NodeKey};
use tonic::{Code, Status};

use crate::bench::{Bench, Replica, certified, reason};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Asks as the node that `identity` was, over a line without a certificate.
async fn recover(bench: &Bench, key: &NodeKey, name: &str) -> Result<EnrolResponse, Status> {
    let csr = key.request(&name.parse().unwrap()).unwrap().into();
    let mut client = FabricClient::new(bench.operator());
    let answer = client.recover(RecoverRequest { csr }).await?;
    Ok(answer.into_inner())
}

async fn recovered(bench: &Bench, identity: &Identity) -> Result<Identity, Status> {
    let key = identity.node_key();
    let answer = recover(bench, &key, &identity.name().to_string()).await?;
    Ok(certified(&key, answer))
}

async fn refused(bench: &Bench, identity: &Identity) -> String {
    reason(&recovered(bench, identity).await.expect_err("it is refused"))
}

async fn recoveries(bench: &Bench, resource: &str) -> usize {
    let events = AuditClient::new(bench.operator())
        .list_audit_events(bench.ask(ListAuditEventsRequest {
            resource: resource.to_owned(),
            ..Default::default()
        }))
        .await
        .unwrap();
    let events = events.into_inner().audit_events;
    let of_recovery = events.iter().filter(|event| event.method == "Recover");
    of_recovery.count()
}

#[tokio::test]
async fn a_node_that_was_away_comes_back_as_itself_and_without_a_token() {
    let bench = Bench::start().await;
    let (agent, edge) = (bench.agent("a1", "default").await, bench.edge("e1").await);
    bench.clock.move_wall(20 * DAY);
    for before in [&agent, &edge] {
        let back = recovered(&bench, before).await.unwrap();
        assert_eq!(back.name(), before.name());
        assert!(back.expires_at() > bench.clock.wall());
    }
    assert_eq!(recoveries(&bench, "agents/a1").await, 1);
    // A node whose clock is ahead gets a certificate too, and fills no log.
    recovered(&bench, &agent).await.unwrap();
    assert_eq!(recoveries(&bench, "agents/a1").await, 1);
}

#[tokio::test]
async fn a_key_is_good_for_a_month_after_its_certificate() {
    let bench = Bench::start().await;
    let agent = bench.agent("a1", "default").await;
    bench.clock.move_wall(31 * DAY - Duration::from_secs(600));
    let back = recovered(&bench, &agent).await.unwrap();
    bench.clock.move_wall(31 * DAY + Duration::from_secs(600));
    assert_eq!(refused(&bench, &back).await, "AWAY_TOO_LONG");
}

#[tokio::test]
async fn who_has_not_the_key_of_the_node_learns_nothing_of_it() {
    let bench = Bench::start().await;
    let agent = bench.agent("a1", "default").await;
    let other = bench.agent("a2", "default").await;
    bench.clock.move_wall(2 * DAY);
    let stranger = NodeKey::generate().unwrap();
    let other_key = other.node_key();
    for (key, name) in [
        (&stranger, "spiffe://example.com/agent/a1"),
        (&*other_key, "spiffe://example.com/agent/a1"),
        (&stranger, "spiffe://example.com/agent/none"),
        (&stranger, "spiffe://example.com/control/c1"),
        (&stranger, "spiffe://example.org/agent/a1"),
    ] {
        let status = recover(&bench, key, name).await.unwrap_err();
        assert_eq!(reason(&status), "NOT_RECOVERABLE", "{name}");
        assert!(!status.message().contains("a1"), "{status}");
    }
    // Nor by the key that it had before it was enrolled anew.
    let token = bench.join_token(Some("default"), 1).await.token;
    let anew = bench.enrol(&token, "agent/a1").await.unwrap();
    assert_eq!(refused(&bench, &agent).await, "NOT_RECOVERABLE");
    recovered(&bench, &anew).await.unwrap();
}

#[tokio::test]
async fn a_request_that_its_key_has_not_signed_proves_nothing() {
    let bench = Bench::start().await;
    let agent = bench.agent("a1", "default").await;
    bench.clock.move_wall(2 * DAY);
    let mut csr = agent.node_key().request(agent.name()).unwrap();
    let last = csr.len() - 1;
    csr[last] ^= 1;
    let mut client = FabricClient::new(bench.operator());
    let request = RecoverRequest { csr: csr.into() };
    let status = client.recover(request).await.unwrap_err();
    assert_eq!(reason(&status), "CSR_SIGNATURE");
}

#[tokio::test]
async fn revoked_and_deleted_nodes_do_not_come_back() {
    let bench = Bench::start().await;
    let revoked = bench.agent("a1", "default").await;
    let deleted = bench.agent("a2", "default").await;
    let mut agents = AgentsClient::new(bench.operator());
    let name = |id: &str| format!("agents/{id}");
    let request = RevokeAgentRequest {
        name: name("a1"),
        etag: String::new(),
    };
    agents.revoke_agent(bench.ask(request)).await.unwrap();
    let request = DeleteAgentRequest {
        name: name("a2"),
        etag: String::new(),
    };
    agents.delete_agent(bench.ask(request)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(refused(&bench, &revoked).await, "NODE_REVOKED");
        assert_eq!(refused(&bench, &deleted).await, "NOT_RECOVERABLE");
        bench.clock.move_wall(2 * DAY);
    }
}

#[tokio::test]
async fn who_guesses_is_told_no_more_and_keeps_nobody_out() {
    const TRIES: usize = 61;
    let bench = Bench::start().await;
    let agent = bench.agent("a1", "default").await;
    let stranger = Arc::new(NodeKey::generate().unwrap());
    let mut told = Vec::new();
    for _ in 0..TRIES {
        let status = recover(&bench, &stranger, "spiffe://example.com/agent/a1").await;
        told.push(reason(&status.unwrap_err()));
    }
    assert_eq!(told.pop().as_deref(), Some("TOO_MANY_ATTEMPTS"));
    recovered(&bench, &agent).await.unwrap();
}

#[tokio::test]
async fn who_sends_requests_that_prove_nothing_is_told_no_more_and_keeps_nobody_out() {
    const TRIES: usize = 61;
    let bench = Bench::start().await;
    let agent = bench.agent("a1", "default").await;
    let mut client = FabricClient::new(bench.operator());
    let mut told = Vec::new();
    for _ in 0..TRIES {
        let csr = b"none".to_vec().into();
        let status = client.recover(RecoverRequest { csr }).await;
        told.push(reason(&status.unwrap_err()));
    }
    assert_eq!(told.pop().as_deref(), Some("TOO_MANY_ATTEMPTS"));
    assert!(told.iter().all(|word| word == "CSR_MALFORMED"), "{told:?}");
    recovered(&bench, &agent).await.unwrap();
    // A node with a good token hears what is wrong with its request.
    let token = bench.join_token(Some("default"), 1).await.token;
    let request = EnrolRequest {
        token,
        csr: b"none".to_vec().into(),
        ..EnrolRequest::default()
    };
    let status = client.enrol(request).await.unwrap_err();
    assert_eq!(reason(&status), "CSR_MALFORMED");
}

async fn token_for(bench: &Bench, request: CreateJoinTokenRequest) -> Result<String, Status> {
    let made = JoinTokensClient::new(bench.operator())
        .create_join_token(bench.ask(request))
        .await?;
    Ok(made.into_inner().token)
}

fn replacing(node: &str) -> CreateJoinTokenRequest {
    CreateJoinTokenRequest {
        node: node.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_node_that_lost_its_key_comes_back_by_a_token_for_it_alone() {
    let bench = Bench::start().await;
    bench.group("office").await;
    let lost = bench.agent("a1", "office").await;
    bench.agent("a2", "office").await;
    let token = token_for(&bench, replacing("agents/a1")).await.unwrap();
    for other in ["agent/a2", "agent/a3", "edge/a1"] {
        let status = bench.enrol(&token, other).await.unwrap_err();
        let word = reason(&status);
        assert!(
            word == "TOKEN_OF_ANOTHER_NODE" || word == "CSR_ROLE_MISMATCH",
            "{other}: {word}"
        );
    }
    let key = Arc::new(NodeKey::generate().unwrap());
    let back = bench.enrol_with(&key, &token, "agent/a1").await.unwrap();
    // The answer may be lost on the way.
    bench.enrol_with(&key, &token, "agent/a1").await.unwrap();
    let mut node = bench.sync(&back, Replica::default()).await.unwrap();
    node.until(|_| true).await;
    let refused = bench.sync(&lost, Replica::default()).await.map(drop);
    assert_eq!(reason(&refused.unwrap_err()), "KEY_SUPERSEDED");
    let again = bench.enrol(&token, "agent/a1").await.unwrap_err();
    assert_eq!(reason(&again), "TOKEN_USED_UP");
    let edge = bench.edge("e1").await;
    let token = token_for(&bench, replacing("edges/e1")).await.unwrap();
    let anew = bench.enrol(&token, "edge/e1").await.unwrap();
    assert_ne!(anew.chain(), edge.chain());
}

#[tokio::test]
async fn a_token_for_one_node_is_made_for_one_that_there_is_and_may_come_back() {
    let bench = Bench::start().await;
    bench.agent("a1", "default").await;
    bench.agent("a2", "default").await;
    let request = RevokeAgentRequest {
        name: "agents/a2".to_owned(),
        etag: String::new(),
    };
    AgentsClient::new(bench.operator())
        .revoke_agent(bench.ask(request))
        .await
        .unwrap();
    let of_a1 = || replacing("agents/a1");
    for (request, want) in [
        (replacing("agents/none"), "there is no agents/none"),
        (replacing("groups/default"), "agents/ or edges/"),
        (replacing("a1"), "agents/ or edges/"),
        (replacing("agents/a2"), "is revoked"),
        (
            CreateJoinTokenRequest {
                role: NodeRole::Agent.into(),
                ..of_a1()
            },
            "has its own",
        ),
        (
            CreateJoinTokenRequest {
                group: "groups/default".to_owned(),
                ..of_a1()
            },
            "has its own",
        ),
        (CreateJoinTokenRequest { uses: 2, ..of_a1() }, "joins once"),
    ] {
        let status = token_for(&bench, request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{want}");
        let told = format!("{status:?}");
        assert!(told.contains(want), "{want}: {told}");
    }
}
