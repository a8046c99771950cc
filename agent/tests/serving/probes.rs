//! Probes: what an edge hears of an app's origins without asking them for anything.

use model::app::HealthCheck;
use proto::tunnel::RequestHead;
use tunnel::stream::Kind;

use crate::{
    edge::{Answer, Bench, answer, app, soon},
    origin::{ScriptedOrigin, nobody},
};

async fn probe(bench: &Bench, app: &str) -> Answer {
    let opened = bench.link.connection.open(Kind::Probe);
    let (mut send, mut recv) = soon(opened).await.unwrap();
    let head = RequestHead {
        app: app.to_owned(),
        ..RequestHead::default()
    };
    send.queue(head).unwrap();
    soon(send.end(Default::default())).await.unwrap();
    soon(answer(&mut recv)).await
}

#[tokio::test]
async fn a_probe_says_whether_an_origin_takes_connections() {
    let origin = ScriptedOrigin::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let refusing = nobody().await;
    let apps = vec![
        app("works", &[&origin.url()]),
        app("partly", &[&refusing, &origin.url()]),
        app("fails", &[&refusing]),
    ];
    let bench = Bench::with(apps).await;
    for id in ["works", "partly"] {
        assert_eq!(probe(&bench, id).await.status(), 204, "{id}");
    }
    for (id, reason) in [("fails", "origin_connect"), ("nothing", "agent_refused")] {
        let told = probe(&bench, id).await;
        assert_eq!(told.error().reason, reason, "{told:?}");
    }
    let told = probe(&bench, "fails").await;
    assert!(told.error().detail.contains(&refusing), "{told:?}");
}

#[tokio::test]
async fn an_origin_with_a_health_check_is_as_that_says() {
    let origin = ScriptedOrigin::answering("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n").await;
    let mut checked = app("checked", &[&origin.url()]);
    checked.health_check = Some(HealthCheck {
        path: "/".to_owned(),
        interval: HealthCheck::DEFAULT_INTERVAL.min(std::time::Duration::from_millis(100)),
        timeout: HealthCheck::DEFAULT_TIMEOUT,
        unhealthy_after: 1,
        healthy_after: 1,
    });
    let bench = Bench::with(vec![checked]).await;
    soon(async {
        while !matches!(
            probe(&bench, "checked").await.end,
            crate::edge::Ending::Error(_)
        ) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let told = probe(&bench, "checked").await;
    assert!(told.error().detail.contains("health check"), "{told:?}");
}
