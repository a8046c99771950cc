//! What anybody may ask of control's port, and how: health and the description of its services, over TLS only.

use proto::admin::{ListAppsRequest, apps_client::AppsClient};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Duration, timeout},
};
use tokio_stream::{StreamExt as _, once};
use tonic::{Code, Request};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use crate::bench::Bench;

/// Every service that is for others than the fabric's own nodes or tools.
const ADMIN: [&str; 20] = [
    "adit.admin.v1.AccessRules",
    "adit.admin.v1.Agents",
    "adit.admin.v1.ApiTokens",
    "adit.admin.v1.Apps",
    "adit.admin.v1.Audit",
    "adit.admin.v1.ClientCas",
    "adit.admin.v1.Edges",
    "adit.admin.v1.Groups",
    "adit.admin.v1.IdentityProviders",
    "adit.admin.v1.Images",
    "adit.admin.v1.JoinTokens",
    "adit.admin.v1.Locations",
    "adit.admin.v1.SecondFactors",
    "adit.admin.v1.ServiceTokens",
    "adit.admin.v1.SettingsService",
    "adit.admin.v1.SignIns",
    "adit.admin.v1.Status",
    "adit.admin.v1.TermsOfUse",
    "adit.admin.v1.Users",
    "adit.admin.v1.Vault",
];

fn named(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

#[tokio::test]
async fn health_is_told_to_everybody() {
    let bench = Bench::start().await;
    let mut health = HealthClient::new(bench.operator());
    let services = ["", "adit.fabric.v1.Fabric", "adit.fabric.v1.SecondFactors"]
        .into_iter()
        .chain(ADMIN);
    for service in services {
        for request in [Request::new(named(service)), bench.ask(named(service))] {
            let answer = health.check(request).await.unwrap().into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
        }
    }
    let unknown = health.check(named("adit.admin.v1.Nothing")).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    let mut watch = health.watch(named("")).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().expect("the state now");
    assert_eq!(first.status(), ServingStatus::Serving);
}

#[tokio::test]
async fn services_are_described_to_everybody_and_used_by_operators_only() {
    let bench = Bench::start().await;
    let ask = |what: v1::server_reflection_request::MessageRequest| v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(what),
    };
    let list = || {
        ask(v1::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        ))
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(bench.operator());
    for request in [Request::new(once(list())), bench.ask(once(list()))] {
        let answers = client.server_reflection_info(request).await.unwrap();
        let answer = answers.into_inner().next().await.unwrap().unwrap();
        let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(listed)) =
            answer.message_response
        else {
            panic!("not a list: {answer:?}");
        };
        let names: Vec<_> = listed.service.iter().map(|one| one.name.as_str()).collect();
        let ours = names.iter().filter(|name| name.starts_with("adit.admin."));
        let mut ours: Vec<_> = ours.copied().collect();
        ours.sort_unstable();
        assert_eq!(ours, ADMIN);
    }
    let symbol = "adit.admin.v1.Apps.CreateApp".to_owned();
    let symbol = ask(v1::server_reflection_request::MessageRequest::FileContainingSymbol(symbol));
    let answers = client.server_reflection_info(once(symbol)).await.unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap();
    assert!(
        matches!(
            answer.message_response,
            Some(v1::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
        ),
        "{answer:?}"
    );
    // Older tools ask by the older name.
    let older = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    v1alpha::server_reflection_client::ServerReflectionClient::new(bench.operator())
        .server_reflection_info(once(older))
        .await
        .unwrap();
    // To know what a service is called opens none.
    let mut apps = AppsClient::new(bench.operator());
    let refused = apps.list_apps(ListAppsRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn what_is_not_tls_gets_no_answer() {
    /// Content type of a TLS record that refuses (RFC 8446, section 5.1).
    const ALERT: u8 = 21;
    let bench = Bench::start().await;
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    let upgrade: &[u8] =
        b"GET / HTTP/1.1\r\nHost: control\r\nConnection: Upgrade, HTTP2-Settings\r\n\
        Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    for hello in [preface, upgrade] {
        let mut socket = TcpStream::connect(bench.handle.local_addr).await.unwrap();
        socket.write_all(hello).await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await;
        // A reset is as good as an end.
        let _ = read.expect("control closes at once");
        assert!(
            answer.first().is_none_or(|first| *first == ALERT),
            "it was answered: {answer:?}"
        );
    }
    // TLS to the same port is served.
    let answer = HealthClient::new(bench.operator()).check(named("")).await;
    assert_eq!(
        answer.unwrap().into_inner().status(),
        ServingStatus::Serving
    );
}
