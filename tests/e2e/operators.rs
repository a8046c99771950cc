//! What operators may do and see.

use std::fs;

use kit::{
    fabric::DOMAIN,
    origin::Origin,
    process::{Process, eventually, free_address},
};
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
async fn users_are_made_changed_and_taken_away() {
    let fabric = crate::fabric().await;
    let ok = |args: &[&str]| fabric.site().ok(args);
    let shown = || json(&ok(&["user", "show", "alice", "--output", "json"]));
    assert_eq!(ok(&["user", "list"]), "");
    let email = ["--email", "alice@example.com", "--display-name", "Alice"];
    let groups = ["--user-group", "staff", "--user-group", "ops"];
    let create = [&["user", "create", "alice"], &email[..], &groups].concat();
    let trial = ok(&[&create[..], &["--dry-run"]].concat());
    assert_eq!(trial, "users/alice would be created\n");
    let password = ok(&create);
    assert_eq!(password.trim_end().len(), 23, "it alone: {password}");
    let user = shown();
    assert_eq!(user["user_groups"], serde_json::json!(["ops", "staff"]));
    assert_eq!(user["must_change_password"], true);
    assert!(user.get("password").is_none(), "{user}");
    let list = ok(&["user", "list"]);
    for part in ["alice", "ops, staff", "alice@example.com", "new password"] {
        assert!(list.contains(part), "{part} is missing in\n{list}");
    }

    ok(&["user", "update", "alice", "--disable"]);
    assert_eq!(shown()["disabled"], true);
    assert!(ok(&["user", "show", "alice"]).contains("disabled"));
    ok(&["user", "update", "alice", "--enable"]);
    ok(&["user", "update", "alice", "--no-user-groups"]);
    assert_eq!(shown()["user_groups"], serde_json::json!([]));
    assert_eq!(shown()["disabled"], false);

    let other = ok(&["user", "reset-password", "alice"]);
    assert_ne!(other, password);
    let reset = json(&ok(&[
        "user",
        "reset-password",
        "alice",
        "--output",
        "json",
    ]));
    assert_eq!(reset["password"].as_str().map(str::len), Some(23));
    assert_eq!(
        ok(&["user", "sign-out", "alice"]),
        "users/alice signed out\n"
    );
    ok(&["user", "delete", "alice"]);
    let complaint = fabric.site().refused(&["user", "show", "alice"]);
    assert!(complaint.contains("NOT_FOUND"), "{complaint}");
    let audit = ok(&["audit", "list", "--output", "json"]);
    for part in ["CreateUser", "ResetUserPassword", "SignOutUser"] {
        assert!(audit.contains(part), "{part} is missing in {audit}");
    }
    assert!(!audit.contains(password.trim_end()));
}

#[tokio::test]
async fn a_password_of_the_operators_comes_from_a_file_or_standard_input() {
    let fabric = crate::fabric().await;
    let path = fabric.site().folder().join("password");
    fs::write(&path, "correct horse\n").expect("the folder can be written");
    let path = path.to_str().expect("UTF-8");
    let create = ["user", "create", "alice", "--password-file"];
    let done = fabric.site().ok(&[&create[..], &[path]].concat());
    assert_eq!(done, "users/alice created\n", "it is not told back");
    fs::write(path, "short\n").expect("the folder can be written");
    let reset = ["user", "reset-password", "alice", "--password-file"];
    let complaint = fabric.site().refused(&[&reset[..], &[path]].concat());
    assert!(
        complaint.contains("12-256 characters") && !complaint.contains("short"),
        "{complaint}"
    );
    // Nothing comes by standard input.
    let complaint = fabric.site().refused(&[&reset[..], &["-"]].concat());
    assert!(complaint.contains("it is empty"), "{complaint}");
    let on_the_line = ["user", "create", "bob", "--password", "correct horse"];
    fabric.site().refused(&on_the_line);
}

#[tokio::test]
async fn apps_say_who_may_use_them() {
    let fabric = crate::fabric().await;
    let host = format!("wiki.{DOMAIN}");
    let ok = |args: &[&str]| fabric.site().ok(args);
    let shown = || json(&ok(&["app", "show", "wiki", "--output", "json"]));
    let site = ["--host", &host, "--origin", "http://127.0.0.1:1"];
    let access = ["--access", "sign-in", "--assign-user", "alice"];
    ok(&[&["app", "publish", "wiki"], &site[..], &access].concat());
    assert_eq!(shown()["access"], "sign-in");
    assert_eq!(shown()["assign"], serde_json::json!({ "users": ["alice"] }));
    let update = |args: &[&str]| ok(&[&["app", "update", "wiki"], args].concat());
    update(&["--assign-user-group", "staff"]);
    assert!(ok(&["app", "list"]).contains("sign-in: 1 user, 1 group"));
    assert!(ok(&["app", "show", "wiki"]).contains("alice, group staff"));
    update(&["--assign-nobody"]);
    assert!(ok(&["app", "show", "wiki"]).contains("nobody"));
    update(&["--assign-everyone"]);
    let refused = |args: &[&str]| fabric.site().refused(args);
    let auth = format!("auth.{DOMAIN}");
    let complaint = refused(&["app", "update", "wiki", "--host", &auth]);
    assert!(
        complaint.contains("--host") && complaint.contains("users sign in"),
        "{complaint}"
    );
    update(&["--access", "passthrough"]);
    assert!(shown().get("assign").is_none());
    let complaint = refused(&["app", "update", "wiki", "--assign-everyone"]);
    assert!(complaint.contains("--assign-user"), "{complaint}");

    let file = fabric.site().folder().join("fabric.toml");
    let text = format!(
        "[app.wiki]\nhosts = [\"{host}\"]\norigins = [\"http://127.0.0.1:1\"]\n\
         access = \"sign-in\"\nassign = {{ users = [\"bob\"], user_groups = [\"staff\"] }}\n"
    );
    fs::write(&file, text).expect("the folder can be written");
    let file = file.to_str().expect("UTF-8");
    let applied = ok(&["apply", "-f", file]);
    assert!(applied.contains("bob, group staff"), "{applied}");
    let wanted = serde_json::json!({ "users": ["bob"], "user_groups": ["staff"] });
    assert_eq!(shown()["assign"], wanted);
    let again = ok(&["apply", "-f", file]);
    assert!(!again.contains("bob"), "{again}");
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

/// An operator who watches the audit trail; what they see is in the log of the process.
fn watch(fabric: &kit::fabric::Fabric, name: &str, more: &[&str]) -> Process {
    let list = ["--profile", "control/operator.toml", "audit", "list"];
    let follow = ["--follow", "--output", "json"];
    let args = [&list[..], &follow, more].concat();
    // It has no admin port.
    Process::start(
        crate::adit(),
        fabric.site().folder(),
        name,
        free_address(),
        &args,
    )
}

/// Resources of the events that were seen, one object a line.
fn seen(watching: &Process) -> Vec<String> {
    let log = watching.log();
    let resource = |line: &str| {
        json(line)["resource"]
            .as_str()
            .expect("it is text")
            .to_owned()
    };
    // The last line may be on its way.
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    whole.lines().map(resource).collect()
}

#[tokio::test]
async fn the_audit_trail_is_filtered_and_followed() {
    let fabric = crate::fabric().await;
    let (site, viewer) = (fabric.site(), profile(&fabric, "viewer"));
    let create = |id: &str| site.ok(&["group", "create", id]);
    create("before");
    let groups = watch(&fabric, "groups", &["--method", "CreateGroup"]);
    let refused = watch(&fabric, "refused", &["--refused"]);
    let has = |resource: &str| {
        let resource = resource.to_owned();
        let groups = &groups;
        async move { seen(groups).contains(&resource) }
    };
    eventually("what is there is shown", || has("groups/before")).await;
    create("one");
    eventually("what comes is shown", || has("groups/one")).await;
    let attempt = ["--profile", &viewer, "group", "create", "mine"];
    site.refused(&attempt);
    eventually("who is refused is shown", async || {
        refused.log().contains("apiTokens/viewer")
    })
    .await;
    create("two");
    eventually("and so on", || has("groups/two")).await;
    assert_eq!(
        seen(&groups),
        ["groups/before", "groups/one", "", "groups/two"],
        "each once and in order, the refused one too"
    );
    assert_eq!(seen(&refused).len(), 1);

    let listed = |more: &[&str]| {
        let list = ["audit", "list", "--output", "json"];
        let said = json(&site.ok(&[&list, more].concat()));
        let events = said.as_array().expect("a list").iter();
        let resource = |event: &Value| event["resource"].as_str().unwrap_or_default().to_owned();
        events.map(resource).collect::<Vec<_>>()
    };
    let two = ["--resource", "groups/two", "--since", "1h"];
    assert_eq!(listed(&two), ["groups/two"]);
    assert_eq!(listed(&["--actor", "apiTokens/viewer"]).len(), 1);
    let never = ["--actor", "apiTokens/viewer", "--method", "DeleteGroup"];
    assert!(listed(&never).is_empty());
}

#[tokio::test]
async fn operators_say_for_how_long_it_is_kept_who_came() {
    let fabric = crate::fabric().await;
    let site = fabric.site();
    let days =
        || json(&site.ok(&["settings", "show", "--output", "json"]))["sign_in_log_days"].clone();
    assert_eq!(days(), 90);
    let update = ["settings", "update", "--sign-in-log-days"];
    site.ok(&[&update[..], &["30"]].concat());
    assert_eq!(days(), 30);
    assert!(site.ok(&["settings", "show"]).contains("30 days"));
    let refused = site.refused(&[&update[..], &["3651"]].concat());
    assert!(refused.contains("3651 is not in 0..=3650"), "{refused}");
    let file = site.folder().join("fabric.toml");
    let apply = |days: u32| {
        let text = format!("[settings]\nsign_in_log_days = {days}\n");
        fs::write(&file, text).expect("the folder can be written");
        ["apply", "-f", "fabric.toml"]
    };
    site.ok(&apply(7));
    assert_eq!(days(), 7);
    let again = site.ok(&apply(7));
    assert!(again.contains("Nothing to do"), "{again}");
    let refused = site.refused(&apply(9_999));
    assert!(refused.contains("must be from 1 to 3650"), "{refused}");
    assert!(site.ok(&["signins", "--rule", "mfa-off-site"]).is_empty());
}
