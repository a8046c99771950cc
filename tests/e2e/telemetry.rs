//! What a fabric tells of itself.

use std::{collections::BTreeSet, fs, path::Path};

use kit::{origin::Origin, process::eventually};
use serde_json::Value;

/// Names in docs/metrics.md.
fn documented() -> BTreeSet<String> {
    let document =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md"))
            .expect("the document is there");
    let names = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(['{', '`']).next());
    names.map(str::to_owned).collect()
}

#[tokio::test]
async fn every_documented_metric_is_served() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    fabric.user().get(&host, "/").await;
    // Only a defect makes the first one move; a unit test of its own makes one. The second has a series for each rule, and there is
    // none; nor is there a list of countries, a way to control, or an identity provider.
    let unseen = [
        "edge_control_connections",
        "edge_control_connections_total",
        "edge_refreshes_total",
        "runtime_task_panics_total",
        "edge_access_rules_total",
        "edge_country_file_built_seconds",
        "edge_country_file_failures_total",
    ];
    let unseen = BTreeSet::from(unseen.map(str::to_owned));
    eventually("every metric is there", async || {
        let mut served = String::new();
        for process in [&fabric.control, &fabric.edge, &fabric.agent] {
            served.push_str(&process.admin("/metrics").await);
        }
        let missing: Vec<_> = documented()
            .difference(&unseen)
            .filter(|name| !served.contains(&format!("# TYPE {name} ")))
            .cloned()
            .collect();
        missing.is_empty() || {
            eprintln!("missing: {missing:?}");
            false
        }
    })
    .await;
}

#[tokio::test]
async fn each_request_has_one_access_line_with_the_id_that_the_app_saw() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let seen = fabric
        .user()
        .get(&host, "/echo?secret=in-the-query")
        .await
        .json();
    let fields = seen["fields"].as_array().expect("a list");
    let id = fields
        .iter()
        .find(|field| field[0] == "x-request-id")
        .and_then(|field| field[1].as_str());
    let id = id.expect("the app is told the id").to_owned();
    eventually("the line is written", async || {
        fabric.edge.log().contains(&id)
    })
    .await;
    let log = fabric.edge.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(&id)).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line: Value = serde_json::from_str(lines[0]).expect("away from a terminal, logs are JSON");
    for (field, value) in [
        ("app", "wiki"),
        ("group", "default"),
        ("agent", "a1"),
        ("edge", "e1"),
        ("http.path", "/echo"),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    assert_eq!(line["http.status"], 200);
    assert!(!log.contains("in-the-query"), "queries are not logged");
}

#[tokio::test]
async fn an_agent_without_an_edge_lives_but_is_not_ready() {
    let mut fabric = crate::fabric().await;
    assert_eq!(fabric.agent.admin_status("/ready").await, Some(200));
    fabric.edge.terminate();
    fabric.edge.ended().await;
    eventually("the agent is not ready", async || {
        fabric.agent.admin_status("/ready").await == Some(503)
    })
    .await;
    assert!(fabric.agent.admin("/ready").await.contains("uplink"));
    assert_eq!(fabric.agent.admin_status("/live").await, Some(200));
}

#[tokio::test]
async fn access_lines_count_the_bytes_of_pages_that_the_edge_makes() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    fabric.publish("wiki", &origin.url()).await;
    let answer = fabric.user().get("nowhere.fabric.test", "/").await;
    let id = answer.json()["request_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    eventually("the line is written", async || {
        fabric.edge.log().contains(&id)
    })
    .await;
    let log = fabric.edge.log();
    let line = log.lines().find(|line| line.contains(&id));
    let line: Value = serde_json::from_str(line.expect("a line")).expect("JSON");
    assert_eq!(line["bytes.down"], answer.body.len());
}
