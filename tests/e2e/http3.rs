//! Users find HTTP/3 by themselves, and it serves them as the older versions do.

use std::time::Duration;

use http::{HeaderValue, header};
use kit::{
    origin::{Origin, pattern, sha256},
    process::eventually,
};
use tokio::time::timeout;

/// How long what should be there at once may take.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn answers_over_tcp_show_the_way_and_it_leads_there() {
    const BYTES: usize = 5 * 1024 * 1024 + 7;
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let shown = fabric.user().get(&host, "/").await;
    let port = fabric.site().https().port();
    let want = HeaderValue::try_from(format!("h3=\":{port}\"; ma=3600")).expect("a value");
    assert_eq!(shown.fields.get(header::ALT_SVC), Some(&want));

    let mut user = fabric.user().http3(&host).await.expect("a connection");
    let answer = user.get("/").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "hello"));
    assert_eq!(answer.fields.get(header::ALT_SVC), None);
    for path in [format!("/bytes/{BYTES}"), format!("/stream/{BYTES}")] {
        let answer = user.get(&path).await;
        assert_eq!(sha256(&answer.body), sha256(&pattern(0, BYTES)), "{path}");
    }
    let trailed = user.get("/trailers").await;
    assert_eq!(trailed.trailers.expect("trailers")["x-sum"], "42");
}

#[tokio::test]
async fn an_edge_that_leaves_finishes_what_is_under_way() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let mut user = fabric.user().http3(&host).await.expect("a connection");
    let mut events = user.open("/events").await.expect("an answer");
    events
        .piece()
        .await
        .expect("whole so far")
        .expect("an event");

    fabric.edge.terminate();
    eventually("the edge leaves", async || {
        fabric.edge.admin_status("/ready").await != Some(200)
    })
    .await;
    origin.tick();
    events
        .piece()
        .await
        .expect("whole still")
        .expect("an event");
    drop(events);
    timeout(SOON, user.closed())
        .await
        .expect("nothing is left to do");
    assert!(fabric.edge.ended().await.success());
}
