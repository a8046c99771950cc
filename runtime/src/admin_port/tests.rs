use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn started(readiness: &Readiness) -> (Scope, SocketAddr) {
    let scope = Scope::root();
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || metrics::counter!("test_total").increment(3));
    let address = start(
        DEFAULT_ADDRESS,
        readiness.clone(),
        recorder.handle(),
        &scope,
    )
    .unwrap();
    (scope, address)
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let readiness = Readiness::new();
    let (sync, listeners) = (
        readiness.condition("sync"),
        readiness.condition("listeners"),
    );
    let (_scope, address) = started(&readiness);
    listeners.met();
    let answer = ask(address, "GET /ready").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains(r#"{"failing":["sync"],"ready":false}"#),
        "{answer}"
    );
    sync.met();
    let answer = ask(address, "GET /ready").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    sync.unmet();
    assert!(!readiness.is_ready());
}

#[tokio::test]
async fn live_metrics_and_nothing_else_are_served() {
    let (_scope, address) = started(&Readiness::new());
    assert!(ask(address, "GET /live").await.starts_with("HTTP/1.1 200 "));
    let metrics = ask(address, "GET /metrics").await;
    assert!(metrics.contains("test_total 3"), "{metrics}");
    assert!(
        ask(address, "GET /other")
            .await
            .starts_with("HTTP/1.1 404 ")
    );
    assert!(
        ask(address, "POST /live")
            .await
            .starts_with("HTTP/1.1 405 ")
    );
}

#[tokio::test]
async fn huge_head_is_refused() {
    let (_scope, address) = started(&Readiness::new());
    let answer = ask(address, &format!("GET /{}", "x".repeat(HEAD_BYTES_MAX))).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test]
async fn close_ends_idle_connections_in_time() {
    let (scope, address) = started(&Readiness::new());
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0];
    idle.read_exact(&mut byte).await.unwrap();
    assert!(scope.close(Duration::from_secs(5)).await);
}
