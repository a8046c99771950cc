//! Status tells the truth: what fails is named with its part within ten seconds, and so is its end.

use std::{net::TcpListener, time::Duration};

use kit::{fabric::Site, origin::Origin, process::eventually, told::figure};
use runtime::Clock;
use serde_json::Value;

/// Within this, whatever happened must show.
const FLIP_MAX: Duration = Duration::from_secs(10);
/// And that an agent's only link went dark.
const DARK_MAX: Duration = Duration::from_secs(5);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

fn problems(site: &Site) -> Vec<Value> {
    let status = site.ok(&["status", "--output", "json"]);
    let status: Value = serde_json::from_str(&status).expect("JSON");
    status["problems"].as_array().cloned().unwrap_or_default()
}

/// Waits until the status is so, and fails if that takes too long.
async fn shows(site: &Site, what: &str, is_so: impl Fn(&[Value]) -> bool) {
    let clock = Clock::system();
    let began = clock.now();
    loop {
        let told = problems(site);
        let took = clock.now() - began;
        if is_so(&told) {
            return figure(&format!("status shows {what} after {took:?}"));
        }
        assert!(took < FLIP_MAX, "{what}: {told:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is(problem: &Value, part: &str, reason: &str) -> bool {
    problem["app"] == "apps/wiki" && problem["part"] == part && problem["reason"] == reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_part_that_fails_is_named_within_ten_seconds() {
    let (mut fabric, origin) = (crate::fabric().await, Origin::start().await);
    let address = origin.addr();
    fabric.publish("wiki", &origin.url()).await;
    shows(fabric.site(), "that all is well", <[Value]>::is_empty).await;

    // The origin.
    drop(origin);
    shows(fabric.site(), "the lost origin", |told| {
        told.iter()
            .any(|problem| is(problem, "origin", "origin_connect"))
    })
    .await;
    let told = &problems(fabric.site())[0];
    assert_eq!(
        (&told["edge"], &told["agent"]),
        (&"edges/e1".into(), &"agents/a1".into())
    );
    assert!(
        told["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains(&address.to_string()))
    );
    assert!(
        fabric.site().ok(&["status"]).contains("refused"),
        "people are told too"
    );
    eventually("the edge counts the app", async || {
        let metrics = fabric.edge.admin("/metrics").await;
        metrics.contains("edge_apps_failing{part=\"origin\"} 1")
            && metrics.contains("edge_probes_total{outcome=\"origin\"}")
    })
    .await;
    let back = TcpListener::bind(address).expect("the origin's address is free again");
    shows(fabric.site(), "the origin again", <[Value]>::is_empty).await;

    // The agent: first it is silent, then it is gone.
    fabric.agent.suspend();
    shows(fabric.site(), "the silent agent", |told| {
        told.iter()
            .any(|problem| problem["part"] == "agent" && problem["app"] == "apps/wiki")
    })
    .await;
    fabric.agent.wake();
    shows(fabric.site(), "the agent again", <[Value]>::is_empty).await;
    fabric.agent.kill();
    shows(fabric.site(), "that the agent is gone", |told| {
        told.iter()
            .any(|problem| problem["part"] == "agent" && problem["app"] == "apps/wiki")
    })
    .await;
    // Another of the group serves, and nothing fails.
    let mut second = fabric.site().start_agent("a2");
    second.ready().await;
    shows(fabric.site(), "the other agent", <[Value]>::is_empty).await;

    // The edge.
    fabric.edge.kill();
    shows(fabric.site(), "that no edge is left", |told| {
        told.iter()
            .any(|problem| problem["part"] == "edge" && problem["app"] == "apps/wiki")
    })
    .await;
    drop(back);
}

#[tokio::test]
async fn an_agent_whose_link_went_dark_is_not_ready() {
    let fabric = crate::fabric().await;
    assert_eq!(fabric.agent.admin_status("/ready").await, Some(200));
    fabric.edge.suspend();
    let clock = Clock::system();
    let began = clock.now();
    while fabric.agent.admin_status("/ready").await == Some(200) {
        assert!(
            clock.now() - began < DARK_MAX,
            "it still says that it is ready"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
    figure(&format!("not ready after {:?}", clock.now() - began));
    assert!(fabric.agent.admin("/ready").await.contains("uplink"));
    fabric.edge.wake();
    eventually("it is ready again", async || {
        fabric.agent.admin_status("/ready").await == Some(200)
    })
    .await;
}
