//! Every metric of control moves when that happens which it counts.

use proto::fabric::{
    AcceptTermsRequest, CheckCodeRequest, CheckPasswordRequest, CredentialUser, Nack,
    RemoveCredentialRequest, Shown, SyncRequest, TermsUser, credentials_client::CredentialsClient,
    fabric_client::FabricClient, second_factors_client::SecondFactorsClient, sync_request,
    terms_of_use_client::TermsOfUseClient,
};
use runtime::identity::Identity;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::bench::{Bench, Replica};

async fn scrape(bench: &Bench) -> String {
    let mut stream = TcpStream::connect(bench.handle.admin_addr).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// The first sample whose line begins so.
fn sample(text: &str, begin: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(begin))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Names in the table below a heading of the document.
fn documented(heading: &str) -> Vec<&'static str> {
    const PAGE: &str = include_str!("../../../docs/metrics.md");
    let (_, section) = PAGE.split_once(heading).expect("the heading is there");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split(['`', '{']).next())
        .collect()
}

#[tokio::test]
async fn the_document_gives_control_what_it_has_and_nothing_else() {
    let bench = Bench::start().await;
    let text = scrape(&bench).await;
    let described = |name: &str| text.contains(&format!("# TYPE {name} "));
    for heading in ["## Edge\n", "## Agent\n", "## Edges and agents\n"] {
        let names = documented(heading);
        assert!(!names.is_empty(), "{heading}");
        for name in names {
            assert!(!described(name), "{name}");
        }
    }
    assert!(!documented("## All three\n").is_empty());
}

/// A user whom control knows nothing of takes a credential away.
async fn remove_credential(bench: &Bench, edge: &Identity) {
    let user = CredentialUser {
        user: Some(TermsUser {
            user: "nobody".to_owned(),
            provider: String::new(),
        }),
        shown: Some(Shown {
            user: "nobody".to_owned(),
            client: "192.0.2.1".to_owned(),
            ..Shown::default()
        }),
        client: "192.0.2.1".to_owned(),
        request_id: String::new(),
    };
    let remove = RemoveCredentialRequest {
        user: Some(user),
        app: "wiki".to_owned(),
    };
    CredentialsClient::new(bench.channel(edge).await)
        .remove_credential(remove)
        .await
        .unwrap();
}

#[tokio::test]
async fn metrics_move_with_what_they_count() {
    let bench = Bench::start().await;
    let edge = bench.edge("e1").await;
    bench.enrol("nonsense", "edge/e2").await.unwrap_err();
    let mut node = bench.sync(&edge, Replica::default()).await.unwrap();
    node.until(|_| true).await;
    bench.publish("wiki", "default").await;
    node.until(|replica| replica.kind("apps/wiki").is_some())
        .await;
    let nack = Nack {
        revision: node.replica.revision,
        reason: "on purpose".to_owned(),
    };
    let kind = Some(sync_request::Kind::Nack(nack));
    node.outgoing.send(SyncRequest { kind }).await.unwrap();
    // The snapshot that follows shows that control has heard everything before it.
    node.replica.store_id.clear();
    node.until(|replica| !replica.store_id.is_empty()).await;
    let check = CheckPasswordRequest {
        user: "nobody".to_owned(),
        client: "192.0.2.1".to_owned(),
        ..CheckPasswordRequest::default()
    };
    FabricClient::new(bench.channel(&edge).await)
        .check_password(check)
        .await
        .unwrap();
    let code = CheckCodeRequest {
        shown: Some(Shown {
            user: "nobody".to_owned(),
            client: "192.0.2.1".to_owned(),
            ..Shown::default()
        }),
        code: "000000".to_owned(),
    };
    SecondFactorsClient::new(bench.channel(&edge).await)
        .check_code(code)
        .await
        .unwrap();
    let terms = AcceptTermsRequest {
        user: Some(TermsUser {
            user: "nobody".to_owned(),
            provider: String::new(),
        }),
        terms: "none".to_owned(),
        version: vec![1; 32].into(),
        client: "192.0.2.1".to_owned(),
        request_id: String::new(),
    };
    TermsOfUseClient::new(bench.channel(&edge).await)
        .accept_terms(terms)
        .await
        .unwrap();
    remove_credential(&bench, &edge).await;
    let text = scrape(&bench).await;
    for begin in [
        "control_admin_requests_total{",
        "control_sync_nodes{role=\"edge\"}",
        "control_fanout_lag_seconds_count",
        "control_store_commit_seconds_count",
        "control_enrolments_total{outcome=\"enrolled\"}",
        "control_enrolments_total{outcome=\"TOKEN_INVALID\"}",
        "control_nacks_total",
        "control_connections",
        "control_password_checks_total{result=\"wrong\"}",
        "control_second_factor_checks_total{result=\"wrong\"}",
        "control_terms_acceptances_total{result=\"outdated\"}",
        "control_credentials_total{result=\"refused\"}",
    ] {
        let value = sample(&text, begin);
        assert!(
            value.is_some_and(|value| value >= 1.0),
            "{begin}: {value:?} in\n{text}"
        );
    }
}
