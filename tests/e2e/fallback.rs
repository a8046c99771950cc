//! Agents in networks that let no UDP through: served over TCP, and over QUIC again when it passes.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use kit::{
    client::User,
    fabric::{Fabric, Site},
    network::Network,
    origin::Origin,
    process::{Process, eventually},
    told::figure,
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

/// From the last datagram that passes to users who are served over TCP.
const SERVED_OVER_TCP: Duration = Duration::from_secs(5);
/// From the first datagram that passes again to uplinks over QUIC alone.
const BACK_ON_QUIC: Duration = Duration::from_secs(60);
/// 40 requests a second.
const ASK_EVERY: Duration = Duration::from_millis(25);
/// How often an agent is asked for its uplinks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One request of the load.
struct Asked {
    at: Instant,
    status: u16,
    took: Duration,
}

/// Asks at a constant rate until told to end.
async fn load(user: &User, host: &str, mut end: watch::Receiver<bool>) -> Vec<Asked> {
    let mut due = interval(ASK_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut asking, mut asked) = (FuturesUnordered::new(), Vec::new());
    loop {
        tokio::select! {
            _ = end.wait_for(|ended| *ended) => break,
            _ = due.tick() => asking.push(async {
                let at = Instant::now();
                let status = user.status(host, "/").await;
                Asked { at, status, took: at.elapsed() }
            }),
            Some(one) = asking.next() => asked.push(one),
        }
    }
    asked.extend(asking.collect::<Vec<_>>().await);
    asked
}

/// Uplinks that are up over a transport, as the agent's metrics say.
async fn uplinks(agent: &Process, transport: &str) -> usize {
    let line = format!("agent_uplinks{{state=\"up\",transport=\"{transport}\"}} ");
    let page = agent.admin("/metrics").await;
    let count = page.lines().find_map(|found| found.strip_prefix(&line));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

async fn took(what: &str, limit: Duration, happened: impl AsyncFn() -> bool) -> Duration {
    let began = Instant::now();
    let waiting = async {
        while !happened().await {
            sleep(LOOK_EVERY).await;
        }
    };
    let in_time = timeout(limit, waiting).await;
    assert!(in_time.is_ok(), "{what} within {limit:?}");
    began.elapsed()
}

#[tokio::test]
async fn an_agent_over_tcp_alone_serves_and_is_listed_as_such() {
    let site = Site::new(crate::adit());
    let _control = site.start_control().await;
    let mut edge = site.start_edge();
    edge.ready().await;
    let mut agent = site.start_agent_of("default", "a1", &["--transport", "tcp"]);
    agent.ready().await;
    assert_eq!(uplinks(&agent, "quic").await, 0);
    assert!(uplinks(&agent, "tcp").await > 0);
    eventually("control hears of it", async || {
        site.ok(&["agent", "list"]).contains("  tcp  ")
    })
    .await;
    let shown = site.ok(&["agent", "show", "a1"]);
    assert!(shown.contains("at e1 over tcp"), "{shown}");
    let listed: serde_json::Value =
        serde_json::from_str(&site.ok(&["agent", "show", "a1", "--output", "json"])).expect("JSON");
    assert_eq!(
        listed["links"][0]["tcp_links"], listed["links"][0]["links"],
        "{listed}"
    );
    assert!(edge.admin("/metrics").await.contains("transport=\"tcp\"} "));
}

#[tokio::test]
async fn udp_that_is_dropped_and_passes_again_fails_no_request() {
    let Some(network) = Network::make() else {
        return;
    };
    let site = Site::at(crate::adit(), network.here());
    let control = site.start_control().await;
    let mut edge = site.start_edge();
    edge.ready().await;
    let mut agent = site.start_agent_in(&network, "a1", &["--transport", "auto"]);
    agent.ready().await;
    let fabric = Fabric::of(control, edge, agent, site);
    let origin = Origin::start_at(network.here()).await;
    let host = fabric.publish("wiki", &origin.url()).await;
    let agent = &fabric.agent;
    took("quic", SERVED_OVER_TCP, async || {
        uplinks(agent, "tcp").await == 0
    })
    .await;
    let wanted = uplinks(agent, "quic").await;
    assert!(wanted > 0, "{}", agent.log());

    let (end, ended) = watch::channel(false);
    let user = fabric.user();
    let changes = async {
        sleep(Duration::from_secs(2)).await;
        let dropped_at = Instant::now();
        network.drop_udp();
        let fell = took("tcp", SERVED_OVER_TCP, async || {
            uplinks(agent, "tcp").await >= wanted
        });
        let fell = fell.await;
        // The links over QUIC are given up meanwhile.
        sleep(Duration::from_secs(10)).await;
        let passed_at = Instant::now();
        network.pass_udp();
        let back = took("quic", BACK_ON_QUIC, async || {
            uplinks(agent, "quic").await >= wanted && uplinks(agent, "tcp").await == 0
        });
        let back = back.await;
        sleep(Duration::from_secs(2)).await;
        end.send_replace(true);
        (dropped_at, fell, passed_at, back)
    };
    let (asked, (dropped_at, fell, passed_at, back)) =
        tokio::join!(load(user, &host, ended), changes);
    let failed = asked.iter().filter(|one| one.status != 200).count();
    let after = |at: Instant| asked.iter().filter(move |one| one.at >= at);
    let slowest = |at| after(at).map(|one| one.took).max().unwrap_or_default();
    figure(&format!(
        "udp dropped: over tcp after {fell:?}, slowest request {:?}; udp passes: over quic after {back:?}, slowest {:?}; {failed} of {} requests failed",
        slowest(dropped_at),
        slowest(passed_at),
        asked.len(),
    ));
    assert_eq!(failed, 0, "{}", fabric.agent.log());
    assert!(slowest(dropped_at) <= SERVED_OVER_TCP);
}
