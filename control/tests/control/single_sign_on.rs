//! What nodes are told so that users are signed on, and by which keys.

use proto::{
    admin::{
        Access, CreateAppRequest, KerberosSignOn, RevokeEdgeRequest, SingleSignOn,
        apps_client::AppsClient, edges_client::EdgesClient, single_sign_on,
    },
    fabric::resource::Kind,
};

use crate::bench::{Bench, Replica, app};

#[tokio::test]
async fn agents_are_told_all_of_it_and_edges_what_they_state() {
    let bench = Bench::start().await;
    let mut published = app("wiki", "default");
    published.access = Access::SignIn.into();
    published.single_sign_on = Some(SingleSignOn {
        kind: Some(single_sign_on::Kind::Kerberos(KerberosSignOn {
            spn: "HTTP/wiki.lab.test".to_owned(),
            claim: "account".to_owned(),
            identity_provider: "identityProviders/entra".to_owned(),
            require_mutual: true,
            ..Default::default()
        })),
    });
    let request = CreateAppRequest {
        app_id: "wiki".to_owned(),
        app: Some(published),
        validate_only: false,
    };
    AppsClient::new(bench.operator())
        .create_app(bench.ask(request))
        .await
        .unwrap();
    let (edge, agent) = (bench.edge("e1").await, bench.agent("a1", "default").await);
    let mut at_edge = bench.sync(&edge, Replica::default()).await.unwrap();
    at_edge
        .until(|replica| {
            let Some(Kind::EdgeApp(app)) = replica.kind("apps/wiki") else {
                return false;
            };
            let app = model::app::App::try_from(app).expect("it can be used");
            let identity = app.sso.map(|sso| sso.identity);
            identity == Some(model::app::SsoIdentity::Claim("account".to_owned()))
        })
        .await;
    let mut at_agent = bench.sync(&agent, Replica::default()).await.unwrap();
    at_agent
        .until(|replica| {
            let Some(Kind::AgentApp(app)) = replica.kind("apps/wiki") else {
                return false;
            };
            let app = model::app::AgentApp::try_from(app).expect("it can be used");
            let Some(model::app::Sso::Kerberos(kerberos)) = app.sso else {
                return false;
            };
            kerberos.require_mutual && kerberos.spn.fixed().as_deref() == Some("HTTP/wiki.lab.test")
        })
        .await;
}

#[tokio::test]
async fn keys_of_an_edge_that_is_revoked_sign_nothing_any_more_and_sessions_go_on() {
    let bench = Bench::start().await;
    bench.edge("lost").await;
    let (edge, agent) = (bench.edge("e1").await, bench.agent("a1", "default").await);
    let mut at_edge = bench.sync(&edge, Replica::default()).await.unwrap();
    at_edge
        .until(|replica| {
            let names = ["assertionKeys", "sessionKeys"];
            names.iter().all(|name| replica.kind(name).is_some())
        })
        .await;
    let mut at_agent = bench.sync(&agent, Replica::default()).await.unwrap();
    at_agent
        .until(|replica| replica.kind("statementKeys").is_some())
        .await;
    let signing = at_edge.replica.kind("assertionKeys").cloned();
    let sealing = at_edge.replica.kind("sessionKeys").cloned();
    let public = at_agent.replica.kind("statementKeys").cloned();

    let request = RevokeEdgeRequest {
        name: "edges/lost".to_owned(),
        etag: String::new(),
    };
    EdgesClient::new(bench.operator())
        .revoke_edge(bench.ask(request))
        .await
        .unwrap();
    at_edge
        .until(|replica| replica.kind("assertionKeys") != signing.as_ref())
        .await;
    at_agent
        .until(|replica| replica.kind("statementKeys") != public.as_ref())
        .await;
    let Some(Kind::StatementKeys(public)) = at_agent.replica.kind("statementKeys") else {
        panic!("there are keys");
    };
    assert_eq!(public.keys.len(), 1);
    assert_eq!(at_edge.replica.kind("sessionKeys"), sealing.as_ref());
}
