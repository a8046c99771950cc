//! What is published is served within a second, what is withdrawn is gone within a second, and nothing else is touched.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::Method;
use http_body_util::BodyExt as _;
use kit::{
    client::{body, request},
    fabric::{DOMAIN, Fabric},
    origin::Origin,
    process::{Process, eventually},
};

/// From the operator's command to the users' side of it.
const WITHIN: Duration = Duration::from_secs(1);

/// How long until a GET has this status.
async fn until(fabric: &Fabric, host: &str, status: u16) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a test measures real time")]
    let begin = Instant::now();
    eventually(&format!("{host} answers {status}"), async || {
        fabric.user().status(host, "/").await == status
    })
    .await;
    begin.elapsed()
}

#[tokio::test]
async fn publishing_updating_and_deleting_show_within_a_second() {
    let (fabric, first, second) = (
        crate::fabric().await,
        Origin::start().await,
        Origin::start().await,
    );
    let host = format!("wiki.{DOMAIN}");
    assert_eq!(fabric.user().status(&host, "/").await, 404);
    fabric.site().ok(&[
        "app",
        "publish",
        "wiki",
        "--host",
        &host,
        "--origin",
        &first.url(),
        "--access",
        "passthrough",
    ]);
    assert!(until(&fabric, &host, 200).await < WITHIN);
    fabric
        .site()
        .ok(&["app", "update", "wiki", "--origin", &second.url()]);
    eventually("the new origin serves", async || {
        fabric.user().status(&host, "/").await;
        second.requests() > 0
    })
    .await;
    fabric.site().ok(&["app", "delete", "wiki"]);
    assert!(until(&fabric, &host, 404).await < WITHIN);
}

#[tokio::test]
async fn a_request_right_after_its_app_is_published_does_not_fail() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    for round in 0..20 {
        let (id, host) = (format!("app{round}"), format!("app{round}.{DOMAIN}"));
        fabric.site().ok(&[
            "app",
            "publish",
            &id,
            "--host",
            &host,
            "--origin",
            &origin.url(),
            "--access",
            "passthrough",
        ]);
        // The edge may be a moment late; once it knows the app, the agent must not be.
        eventually("the edge knows the app", async || {
            match fabric.user().get(&host, "/").await {
                answer if answer.status == 404 => false,
                answer => {
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    true
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn the_longest_path_and_the_most_specific_host_win() {
    let fabric = crate::fabric().await;
    let mut origins = Vec::new();
    for (id, host, path) in [
        ("all", format!("*.{DOMAIN}"), "/"),
        ("wiki", format!("wiki.{DOMAIN}"), "/"),
        ("wiki-admin", format!("wiki.{DOMAIN}"), "/status"),
    ] {
        let origin = Origin::start().await;
        let url = origin.url();
        fabric.site().ok(&[
            "app",
            "publish",
            id,
            "--host",
            &host,
            "--path",
            path,
            "--origin",
            &url,
            "--access",
            "passthrough",
        ]);
        origins.push(origin);
    }
    let wiki = format!("wiki.{DOMAIN}");
    fabric.served(&wiki).await;
    eventually("all three are known", async || {
        fabric.user().status(&wiki, "/status/200").await == 200 && origins[2].requests() > 0
    })
    .await;
    let counts = || origins.iter().map(Origin::requests).collect::<Vec<_>>();
    for (host, path, served_by) in [
        (format!("other.{DOMAIN}"), "/", 0),
        (wiki.clone(), "/", 1),
        (wiki.clone(), "/statusx", 1),
        (wiki.clone(), "/status/201", 2),
    ] {
        let before = counts();
        fabric.user().status(&host, path).await;
        let mut expected = before;
        expected[served_by] += 1;
        assert_eq!(counts(), expected, "{host}{path}");
    }
    // No way around the prefix by a path that the origin would read differently.
    for odd in ["/status/../bytes/1", "/x/%2e%2e/status/200", "//status/200"] {
        assert_eq!(fabric.user().status(&wiki, odd).await, 400, "{odd}");
    }
}

#[tokio::test]
async fn other_apps_can_change_while_one_streams() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("clock", &origin.url()).await;
    fabric.publish("first", &origin.url()).await;
    fabric.publish("second", &origin.url()).await;
    let response = fabric
        .user()
        .open(request(Method::GET, &host, "/events", body("")))
        .await
        .expect("a head");
    let mut events = response.into_body();
    for count in 0..10 {
        let frame = events
            .frame()
            .await
            .expect("not the end")
            .expect("undisturbed");
        assert_eq!(
            frame.into_data().expect("data"),
            format!("data: {count}\n\n")
        );
        let id = ["first", "second"][count % 2];
        fabric.site().ok(&[
            "app",
            "update",
            id,
            "--response-timeout",
            &format!("{}s", 10 + count),
        ]);
        if count == 8 {
            fabric.site().ok(&["app", "delete", "first"]);
        }
        origin.tick();
    }
}

#[tokio::test]
async fn every_fault_of_a_publication_is_named_at_once() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let complaint = fabric.site().refused(&[
        "app",
        "publish",
        "bad",
        "--host",
        &host,
        "--host",
        "10.0.0.1",
        "--origin",
        "ftp://x/y",
        "--group",
        "nobody",
        "--access",
        "passthrough",
    ]);
    for part in [
        "app.hosts[0]",
        "apps/wiki",
        "app.hosts[1]",
        "IP address",
        "app.origins[0].url",
        "http://",
        "app.group",
        "nobody",
    ] {
        assert!(
            complaint.contains(part),
            "{part} is missing in:\n{complaint}"
        );
    }
    let list = fabric.site().ok(&["app", "list", "--output", "json"]);
    assert!(!list.contains("bad"), "{list}");
}

#[tokio::test]
async fn an_agent_serves_the_apps_of_its_own_group_only() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    fabric.site().ok(&["group", "create", "other"]);
    let mut other = fabric.site().start_agent_of("other", "b1", &[]);
    other.ready().await;
    let host = fabric
        .publish_with("theirs", &origin.url(), &["--group", "other"])
        .await;
    assert_eq!(fabric.user().status(&host, "/").await, 200);
    let disk = |node: &str| {
        std::fs::read(fabric.site().folder().join(node).join("snapshot.bin")).unwrap_or_default()
    };
    for node in ["b1", "edge"] {
        eventually("the node's disk has the app", async || {
            contains(&disk(node), b"theirs")
        })
        .await;
    }
    assert!(
        !disk("a1").is_empty() && !contains(&disk("a1"), b"theirs"),
        "an agent of another group was told of the app"
    );
    let address = origin.addr().to_string();
    assert!(
        !contains(&disk("edge"), address.as_bytes()),
        "an edge was told where an origin is"
    );
    // Its own agent gone, nobody else steps in.
    other.kill();
    eventually("no agent is left", async || {
        fabric.user().status(&host, "/").await == 503
    })
    .await;
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn a_file_says_it_all_and_can_be_applied_again() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let file = fabric.site().folder().join("fabric.toml");
    let text = format!(
        "[group.office]\ndisplay_name = \"Office\"\n\n[app.wiki]\nhosts = [\"wiki.{DOMAIN}\"]\norigins = [{{ url = \"{}\" }}]\ngroup = \"default\"\naccess = \"passthrough\"\n",
        origin.url()
    );
    std::fs::write(&file, text).expect("the folder can be written");
    let host = format!("wiki.{DOMAIN}");
    let dry = fabric
        .site()
        .ok(&["apply", "-f", "fabric.toml", "--dry-run"]);
    assert!(
        dry.contains("+ app wiki") || dry.contains("+ app.wiki") || dry.contains("wiki"),
        "{dry}"
    );
    assert_eq!(
        fabric.user().status(&host, "/").await,
        404,
        "a dry run changes nothing"
    );
    fabric.site().ok(&["apply", "-f", "fabric.toml"]);
    until(&fabric, &host, 200).await;
    let revision = |status: String| {
        serde_json::from_str::<serde_json::Value>(&status).expect("JSON")["revision"].clone()
    };
    let before = revision(fabric.site().ok(&["status", "--output", "json"]));
    fabric.site().ok(&["apply", "-f", "fabric.toml"]);
    assert_eq!(
        revision(fabric.site().ok(&["status", "--output", "json"])),
        before,
        "nothing was left to do"
    );
    std::fs::write(&file, "[app.wiki]\nhost = \"x\"\n").expect("the folder can be written");
    let complaint = fabric.site().refused(&["apply", "-f", "fabric.toml"]);
    assert!(complaint.contains("host"), "{complaint}");
}

#[tokio::test]
async fn an_agent_asks_no_origin_that_its_own_list_does_not_hold() {
    let (fabric, listed, unlisted) = (
        crate::fabric().await,
        Origin::start().await,
        Origin::start().await,
    );
    fabric.site().ok(&["group", "create", "careful"]);
    let addr: SocketAddr = listed.addr();
    let mut careful: Process =
        fabric
            .site()
            .start_agent_of("careful", "c1", &["--allow", &addr.to_string()]);
    careful.ready().await;
    let host = fabric
        .publish_with("listed", &listed.url(), &["--group", "careful"])
        .await;
    assert_eq!(fabric.user().status(&host, "/").await, 200);
    let host = fabric
        .publish_with("unlisted", &unlisted.url(), &["--group", "careful"])
        .await;
    let answer = fabric.user().get(&host, "/").await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["reason"].as_str()),
        (502, Some("agent_refused"))
    );
    assert_eq!(unlisted.connections(), 0);
}
