//! Who gets in, and who does not.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use proto::{
    admin::{
        Agent, AuditEvent, CreateJoinTokenResponse, DeleteAgentRequest, GetAgentRequest,
        GetJoinTokenRequest, ListAuditEventsRequest, RevokeAgentRequest, RevokeJoinTokenRequest,
        agents_client::AgentsClient, audit_client::AuditClient,
        join_tokens_client::JoinTokensClient,
    },
    fabric::{RenewRequest, fabric_client::FabricClient},
};
use runtime::{
    identity::{Identity, NodeKey},
    tls::peer_key_sha256,
};
use rustls_pki_types::CertificateDer;
use tonic::Code;

use crate::bench::{Bench, Node, Replica, reason};

async fn refused(bench: &Bench, token: &str, name: &str) -> (Code, String) {
    let status = bench.enrol(token, name).await.expect_err("it is refused");
    (status.code(), reason(&status))
}

/// How many nodes a token has enrolled.
async fn used(bench: &Bench, made: &CreateJoinTokenResponse) -> u32 {
    let name = made.join_token.as_ref().unwrap().name.clone();
    let kept = JoinTokensClient::new(bench.operator())
        .get_join_token(bench.ask(GetJoinTokenRequest { name }))
        .await
        .unwrap();
    kept.into_inner().used
}

fn unauthenticated(word: &str) -> (Code, String) {
    (Code::Unauthenticated, word.to_owned())
}

/// What the audit log has of a resource.
async fn audited(bench: &Bench, resource: &str) -> Vec<AuditEvent> {
    AuditClient::new(bench.operator())
        .list_audit_events(bench.ask(ListAuditEventsRequest {
            resource: resource.to_owned(),
            ..Default::default()
        }))
        .await
        .unwrap()
        .into_inner()
        .audit_events
}

#[tokio::test]
async fn a_node_gets_the_name_that_its_token_allows() {
    let bench = Bench::start().await;
    let agent = bench.agent("a1", "default").await;
    assert_eq!(agent.name().to_string(), "spiffe://example.com/agent/a1");
    let life = agent
        .expires_at()
        .duration_since(bench.clock.wall())
        .unwrap();
    assert!(life <= Duration::from_secs(24 * 3_600), "{life:?}");
    let events = audited(&bench, "agents/a1").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].method, "Enrol");
    assert!(events[0].actor.starts_with("joinTokens/"));
}

#[tokio::test]
async fn a_token_that_was_never_made_here_is_refused() {
    let (bench, other) = (Bench::start().await, Bench::start().await);
    let foreign = other.join_token(Some("default"), 1).await.token;
    assert_eq!(
        refused(&bench, &foreign, "agent/a1").await,
        unauthenticated("TOKEN_INVALID")
    );
    assert_eq!(
        refused(&bench, "nonsense", "agent/a1").await,
        unauthenticated("TOKEN_INVALID")
    );
}

#[tokio::test]
async fn a_stranger_cannot_make_control_hold_much() {
    let bench = Bench::start().await;
    let long = "x".repeat(1024 * 1024);
    let status = bench.enrol(&long, "agent/a1").await.unwrap_err();
    // Cut off while it was read; its token was not looked at.
    assert_ne!(status.code(), Code::Unauthenticated, "{status:?}");
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let bench = Bench::start().await;
    let token = bench.join_token(Some("default"), 1).await.token;
    bench.clock.move_wall(Duration::from_secs(3_601));
    assert_eq!(
        refused(&bench, &token, "agent/a1").await,
        unauthenticated("TOKEN_EXPIRED")
    );
}

#[tokio::test]
async fn a_used_up_token_is_refused() {
    let bench = Bench::start().await;
    let token = bench.join_token(Some("default"), 1).await.token;
    bench.enrol(&token, "agent/a1").await.unwrap();
    assert_eq!(
        refused(&bench, &token, "agent/a2").await,
        unauthenticated("TOKEN_USED_UP")
    );
}

#[tokio::test]
async fn a_node_that_did_not_hear_the_answer_asks_again_and_nobody_else_does() {
    let bench = Bench::start().await;
    let made = bench.join_token(Some("default"), 1).await;
    let key = Arc::new(NodeKey::generate().unwrap());
    for _ in 0..2 {
        let agent = bench.enrol_with(&key, &made.token, "agent/a1").await;
        assert_eq!(agent.unwrap().name().id(), "a1");
    }
    assert_eq!(used(&bench, &made).await, 1);
    assert_eq!(audited(&bench, "agents/a1").await.len(), 1);
    // Another key, another id, and another token are no repetition.
    let used_up = unauthenticated("TOKEN_USED_UP");
    assert_eq!(refused(&bench, &made.token, "agent/a1").await, used_up);
    let other_id = bench.enrol_with(&key, &made.token, "agent/a2").await;
    assert_eq!(reason(&other_id.unwrap_err()), "TOKEN_USED_UP");
    let other = bench.join_token(Some("default"), 1).await;
    let other_token = bench.enrol_with(&key, &other.token, "agent/a1").await;
    assert_eq!(reason(&other_token.unwrap_err()), "ID_TAKEN");
    assert_eq!(used(&bench, &other).await, 0);
}

#[tokio::test]
async fn bad_tokens_bar_their_address_from_trying_others_and_not_from_joining() {
    // As many as may fail, and one more.
    const TRIES: usize = 61;
    let bench = Bench::start().await;
    let mut reasons = Vec::new();
    for _ in 0..TRIES {
        reasons.push(refused(&bench, "nonsense", "agent/a1").await.1);
    }
    assert_eq!(reasons.pop().as_deref(), Some("TOO_MANY_ATTEMPTS"));
    assert!(reasons.iter().all(|word| word == "TOKEN_INVALID"));
    bench.agent("a1", "default").await;
}

#[tokio::test]
async fn a_revoked_token_is_refused() {
    let bench = Bench::start().await;
    let made = bench.join_token(Some("default"), 1).await;
    let name = made.join_token.unwrap().name;
    JoinTokensClient::new(bench.operator())
        .revoke_join_token(bench.ask(RevokeJoinTokenRequest {
            name,
            etag: String::new(),
        }))
        .await
        .unwrap();
    assert_eq!(
        refused(&bench, &made.token, "agent/a1").await,
        unauthenticated("TOKEN_REVOKED")
    );
}

#[tokio::test]
async fn a_request_for_another_role_is_refused() {
    let bench = Bench::start().await;
    let for_agents = bench.join_token(Some("default"), 5).await.token;
    let for_edges = bench.join_token(None, 5).await.token;
    for (token, name) in [
        (&for_agents, "edge/e1"),
        (&for_agents, "control/c1"),
        (&for_edges, "agent/a1"),
    ] {
        let want = (Code::PermissionDenied, "CSR_ROLE_MISMATCH".to_owned());
        assert_eq!(refused(&bench, token, name).await, want, "{name}");
    }
}

#[tokio::test]
async fn an_id_is_given_to_one_certificate_at_a_time() {
    let bench = Bench::start().await;
    let token = bench.join_token(Some("default"), 5).await.token;
    bench.enrol(&token, "agent/a1").await.unwrap();
    let want = (Code::AlreadyExists, "ID_TAKEN".to_owned());
    assert_eq!(refused(&bench, &token, "agent/a1").await, want);
    let request = DeleteAgentRequest {
        name: "agents/a1".to_owned(),
        etag: String::new(),
    };
    AgentsClient::new(bench.operator())
        .delete_agent(bench.ask(request))
        .await
        .unwrap();
    let want = (Code::AlreadyExists, "ID_DENIED".to_owned());
    assert_eq!(refused(&bench, &token, "agent/a1").await, want);
    // At once when the certificate has run out, not when somebody sweeps.
    bench.clock.move_wall(Duration::from_secs(25 * 3_600));
    let later = bench.join_token(Some("default"), 1).await.token;
    bench.enrol(&later, "agent/a1").await.unwrap();
}

#[tokio::test]
async fn a_node_whose_certificate_ran_out_comes_back_with_a_new_token_for_its_group() {
    let bench = Bench::start().await;
    bench.group("office").await;
    let before = bench.agent("a1", "default").await;
    bench.edge("e1").await;
    bench.clock.move_wall(Duration::from_secs(25 * 3_600));
    let for_edges = bench.join_token(None, 5).await.token;
    bench.enrol(&for_edges, "edge/e1").await.unwrap();
    // Who may enrol agents of one group takes none over from another.
    let of_others = bench.join_token(Some("office"), 5).await.token;
    let taken = (Code::AlreadyExists, "ID_TAKEN".to_owned());
    assert_eq!(refused(&bench, &of_others, "agent/a1").await, taken);
    let token = bench.join_token(Some("default"), 5).await.token;
    let back = bench.enrol(&token, "agent/a1").await.unwrap();
    assert!(back.expires_at() > before.expires_at());
    let request = GetAgentRequest {
        name: "agents/a1".to_owned(),
    };
    let agent = AgentsClient::new(bench.operator())
        .get_agent(bench.ask(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(agent.group, "groups/default");
    let life = |agent: &Agent| {
        let seconds = |time: &Option<prost_types::Timestamp>| time.as_ref().unwrap().seconds;
        seconds(&agent.certificate_expire_time) - seconds(&agent.create_time)
    };
    assert!(
        life(&agent) > 25 * 3_600,
        "it is still the old one: {agent:?}"
    );
    assert_eq!(refused(&bench, &token, "agent/a1").await, taken);
}

#[tokio::test]
async fn a_revoked_node_does_not_come_back_by_any_token() {
    let bench = Bench::start().await;
    bench.agent("a1", "default").await;
    let request = RevokeAgentRequest {
        name: "agents/a1".to_owned(),
        etag: String::new(),
    };
    AgentsClient::new(bench.operator())
        .revoke_agent(bench.ask(request))
        .await
        .unwrap();
    for hours in [0, 25] {
        bench.clock.move_wall(Duration::from_secs(hours * 3_600));
        let token = bench.join_token(Some("default"), 1).await.token;
        let want = (Code::PermissionDenied, "NODE_REVOKED".to_owned());
        assert_eq!(refused(&bench, &token, "agent/a1").await, want, "{hours}");
    }
}

#[tokio::test]
async fn of_many_with_a_token_for_one_exactly_one_gets_in() {
    let bench = Bench::start().await;
    let made = bench.join_token(Some("default"), 1).await;
    let names: Vec<String> = (0..20).map(|index| format!("agent/a{index}")).collect();
    let attempts = names.iter().map(|name| bench.enrol(&made.token, name));
    let (won, lost): (Vec<_>, Vec<_>) = join_all(attempts)
        .await
        .into_iter()
        .partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for status in lost {
        assert_eq!(reason(&status.unwrap_err()), "TOKEN_USED_UP");
    }
    assert_eq!(used(&bench, &made).await, 1);
}

#[tokio::test]
async fn a_node_renews_itself_and_nobody_else() {
    let bench = Bench::start().await;
    let agent = bench.agent("a1", "default").await;
    let mut client = FabricClient::new(bench.channel(&agent).await);
    let own = agent.node_key().request(agent.name()).unwrap();
    let answer = client
        .renew(RenewRequest { csr: own.into() })
        .await
        .unwrap();
    assert_eq!(answer.into_inner().certificate_chain.len(), 1);
    let other = "spiffe://example.com/agent/a2".parse().unwrap();
    let csr = agent.node_key().request(&other).unwrap().into();
    let refused = client.renew(RenewRequest { csr }).await.unwrap_err();
    assert_eq!(reason(&refused), "CSR_NAME_MISMATCH");
    let without = FabricClient::new(bench.operator())
        .renew(RenewRequest::default())
        .await
        .unwrap_err();
    assert_eq!(reason(&without), "NO_CERTIFICATE");
}

/// Waits until an edge is told these keys of `agents/a1`, and no others.
async fn told_keys(edge: &mut Node, of: &[&Identity]) {
    let digest = |identity: &&Identity| peer_key_sha256(identity.chain()).unwrap().to_vec();
    let wanted: Vec<_> = of.iter().map(digest).collect();
    edge.until(|replica| {
        matches!(
            replica.kind("agents/a1"),
            Some(proto::fabric::resource::Kind::Agent(agent)) if agent.key_sha256 == wanted
        )
    })
    .await;
}

#[tokio::test]
async fn edges_are_told_the_key_of_an_agent_and_after_its_change_by_renewal_the_one_before() {
    let bench = Bench::start().await;
    let agent = bench.agent("a1", "default").await;
    let edge = bench.edge("e1").await;
    let mut told = bench.sync(&edge, Replica::default()).await.unwrap();
    told_keys(&mut told, &[&agent]).await;
    let renewed = renewed(&bench, &agent, Arc::new(NodeKey::generate().unwrap())).await;
    told_keys(&mut told, &[&renewed, &agent]).await;
    // Either is good until the next renewal, then the one that was not renewed is good no more.
    for identity in [&renewed, &agent] {
        let mut node = bench.sync(identity, Replica::default()).await.unwrap();
        node.until(|_| true).await;
    }
    let again = self::renewed(&bench, &renewed, renewed.node_key()).await;
    told_keys(&mut told, &[&again]).await;
    let refused = bench.sync(&agent, Replica::default()).await.err().unwrap();
    assert_eq!(reason(&refused), "KEY_SUPERSEDED");
    let mut client = FabricClient::new(bench.channel(&agent).await);
    let csr = agent.node_key().request(agent.name()).unwrap().into();
    let refused = client.renew(RenewRequest { csr }).await.unwrap_err();
    assert_eq!(reason(&refused), "KEY_SUPERSEDED");
}

#[tokio::test]
async fn a_sync_ends_when_its_key_is_no_longer_the_nodes() {
    let bench = Bench::start().await;
    let agent = bench.agent("a1", "default").await;
    let mut node = bench.sync(&agent, Replica::default()).await.unwrap();
    node.until(|_| true).await;
    let key = Arc::new(NodeKey::generate().unwrap());
    let first = renewed(&bench, &agent, Arc::clone(&key)).await;
    renewed(&bench, &first, key).await;
    assert_eq!(reason(&node.end().await), "KEY_SUPERSEDED");
}

/// The identity that a renewal with this key gives.
async fn renewed(bench: &Bench, identity: &Identity, key: Arc<NodeKey>) -> Identity {
    let csr = key.request(identity.name()).unwrap().into();
    let answer = FabricClient::new(bench.channel(identity).await)
        .renew(RenewRequest { csr })
        .await
        .unwrap()
        .into_inner();
    let chain = answer.certificate_chain.into_iter();
    let chain = chain
        .map(|der| CertificateDer::from(der.to_vec()))
        .collect();
    Identity::new(key, chain, identity.roots().to_vec()).unwrap()
}

#[tokio::test]
async fn a_node_that_is_enrolled_anew_has_its_new_key_alone() {
    let bench = Bench::start().await;
    let before = bench.agent("a1", "default").await;
    let edge = bench.edge("e1").await;
    let mut told = bench.sync(&edge, Replica::default()).await.unwrap();
    told_keys(&mut told, &[&before]).await;
    let mut node = bench.sync(&before, Replica::default()).await.unwrap();
    node.until(|_| true).await;
    bench.clock.move_wall(Duration::from_secs(25 * 3_600));
    let anew = bench.agent("a1", "default").await;
    told_keys(&mut told, &[&anew]).await;
    assert_eq!(reason(&node.end().await), "KEY_SUPERSEDED");
}

#[tokio::test]
async fn an_expired_node_does_not_renew_itself_over_a_connection_from_before() {
    let bench = Bench::start().await;
    let agent = bench.agent("a1", "default").await;
    let mut client = FabricClient::new(bench.channel(&agent).await);
    let csr = agent.node_key().request(agent.name()).unwrap();
    let request = RenewRequest { csr: csr.into() };
    client.renew(request.clone()).await.unwrap();
    bench.clock.move_wall(Duration::from_secs(25 * 3_600));
    let refused = client.renew(request).await.unwrap_err();
    assert_eq!(reason(&refused), "CERTIFICATE_EXPIRED");
}

#[tokio::test]
async fn a_revoked_agent_is_cut_off_and_stays_out() {
    let bench = Bench::start().await;
    let agent = bench.agent("a1", "default").await;
    let mut node = bench.sync(&agent, Replica::default()).await.unwrap();
    node.until(|_| true).await;
    let edge = bench.edge("e1").await;
    let mut told = bench.sync(&edge, Replica::default()).await.unwrap();
    told.until(|replica| replica.kind("agents/a1").is_some())
        .await;
    let request = RevokeAgentRequest {
        name: "agents/a1".to_owned(),
        etag: String::new(),
    };
    AgentsClient::new(bench.operator())
        .revoke_agent(bench.ask(request))
        .await
        .unwrap();
    assert_eq!(reason(&node.end().await), "NODE_REVOKED");
    let again = bench.sync(&agent, Replica::default()).await.err().unwrap();
    assert_eq!(reason(&again), "NODE_REVOKED");
    told.until(|replica| {
        matches!(
            replica.kind("agents/a1"),
            Some(proto::fabric::resource::Kind::Agent(agent)) if agent.revoked
        )
    })
    .await;
}

#[tokio::test]
async fn a_hello_that_is_held_back_over_a_revocation_is_too_late() {
    let bench = Bench::start().await;
    let agent = bench.agent("a1", "default").await;
    let edge = bench.edge("e1").await;
    let mut witness = bench.sync(&edge, Replica::default()).await.unwrap();
    witness
        .until(|replica| replica.kind("agents/a1").is_some())
        .await;
    let mut held_back = Vec::new();
    for _ in 0..2 {
        held_back.push(bench.silent_sync(&agent).await.unwrap());
    }
    let request = RevokeAgentRequest {
        name: "agents/a1".to_owned(),
        etag: String::new(),
    };
    AgentsClient::new(bench.operator())
        .revoke_agent(bench.ask(request))
        .await
        .unwrap();
    let is_revoked = |replica: &Replica| {
        matches!(
            replica.kind("agents/a1"),
            Some(proto::fabric::resource::Kind::Agent(agent)) if agent.revoked
        )
    };
    witness.until(is_revoked).await;
    // It says to have everything up to the revocation, or more than there is.
    for (mut node, ahead) in held_back.into_iter().zip([0, 1_000]) {
        let known = Replica {
            revision: witness.replica.revision + ahead,
            ..witness.replica.clone()
        };
        node.outgoing.send(known.hello()).await.unwrap();
        assert_eq!(reason(&node.end().await), "NODE_REVOKED");
    }
}
