//! What operators may do and see.

use std::fs;

use kit::{fabric::DOMAIN, origin::Origin, process::eventually};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Makes an API token and a profile with it; gives the profile's path.
fn profile(fabric: &kit::fabric::Fabric, role: &str) -> String {
    let made = json(&fabric.site().ok(&[
        "api-token",
        "create",
        role,
        "--role",
        role,
        "--output",
        "json",
    ]));
    let token = made["token"].as_str().expect("the token is shown once");
    let admin = fs::read_to_string(fabric.site().folder().join("control/operator.toml"))
        .expect("the first profile");
    let mut admin: toml::Table = admin.parse().expect("TOML");
    admin.insert("token".to_owned(), token.into());
    let path = fabric.site().folder().join(format!("{role}.toml"));
    fs::write(&path, admin.to_string()).expect("the folder can be written");
    path.to_str().expect("UTF-8").to_owned()
}

#[tokio::test]
async fn each_role_may_do_what_it_is_for_and_no_more() {
    let fabric = crate::fabric().await;
    let (viewer, publisher) = (profile(&fabric, "viewer"), profile(&fabric, "publisher"));
    let host = format!("x.{DOMAIN}");
    let publish = [
        "app",
        "publish",
        "x",
        "--host",
        &host,
        "--origin",
        "http://127.0.0.1:1",
        "--access",
        "passthrough",
    ];
    let with = |profile: &str, args: &[&str]| {
        let output = fabric.site().run(&[&["--profile", profile], args].concat());
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (done, complaint) = with(&viewer, &publish);
    assert!(
        !done && complaint.contains("PERMISSION_DENIED"),
        "{complaint}"
    );
    assert!(with(&viewer, &["app", "list"]).0);
    assert!(!with(&viewer, &["audit", "list"]).0);
    assert!(with(&publisher, &publish).0);
    assert!(!with(&publisher, &["group", "create", "mine"]).0);
    assert!(!with(&publisher, &["token", "create", "--group", "default"]).0);
    fabric.site().ok(&["api-token", "delete", "publisher"]);
    let (done, complaint) = with(&publisher, &["app", "list"]);
    assert!(
        !done && complaint.contains("UNAUTHENTICATED"),
        "{complaint}"
    );
    let audit = fabric.site().ok(&["audit", "list", "--output", "json"]);
    for part in [
        "CreateApp",
        "apps/x",
        "DeleteApiToken",
        "apiTokens/publisher",
    ] {
        assert!(audit.contains(part), "{part} is missing in {audit}");
    }
}

#[tokio::test]
async fn an_agent_moves_to_another_group_while_it_runs() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    fabric.site().ok(&["group", "create", "office"]);
    let host = format!("wiki.{DOMAIN}");
    fabric.site().ok(&[
        "app",
        "publish",
        "wiki",
        "--host",
        &host,
        "--origin",
        &origin.url(),
        "--group",
        "office",
        "--access",
        "passthrough",
    ]);
    eventually("nobody serves it", async || {
        fabric.user().status(&host, "/").await == 503
    })
    .await;
    fabric
        .site()
        .ok(&["agent", "move", "a1", "--group", "office"]);
    eventually("the agent serves it", async || {
        fabric.user().status(&host, "/").await == 200
    })
    .await;
    let complaint = fabric.site().refused(&["group", "delete", "office"]);
    assert!(complaint.contains("FAILED_PRECONDITION"), "{complaint}");
}

#[tokio::test]
async fn status_shows_what_is_there() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    fabric.publish("wiki", &origin.url()).await;
    eventually("the edge has reported its links", async || {
        let status = json(&fabric.site().ok(&["status", "--output", "json"]));
        status["apps"] == 1 && status["groups"][0]["agents_linked"] == 1
    })
    .await;
    let table = fabric.site().ok(&["status"]);
    for part in [DOMAIN, "default", "e1"] {
        assert!(table.contains(part), "{part} is missing in:\n{table}");
    }
}

#[tokio::test]
async fn an_etag_that_is_out_of_date_is_refused() {
    let fabric = crate::fabric().await;
    let host = format!("wiki.{DOMAIN}");
    fabric.site().ok(&[
        "app",
        "publish",
        "wiki",
        "--host",
        &host,
        "--origin",
        "http://127.0.0.1:1",
        "--access",
        "passthrough",
    ]);
    let etag = json(
        &fabric
            .site()
            .ok(&["app", "show", "wiki", "--output", "json"]),
    )["etag"]
        .as_str()
        .expect("an etag")
        .to_owned();
    fabric.site().ok(&[
        "app",
        "update",
        "wiki",
        "--display-name",
        "Wiki",
        "--etag",
        &etag,
    ]);
    let complaint = fabric.site().refused(&[
        "app",
        "update",
        "wiki",
        "--display-name",
        "Other",
        "--etag",
        &etag,
    ]);
    assert!(complaint.contains("ETAG_MISMATCH"), "{complaint}");
}
