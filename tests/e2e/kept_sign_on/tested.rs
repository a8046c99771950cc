//! An operator looks whether a credential that is kept can be used, and has it sent to the app once.

use std::{process::Output, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::*;

/// Exit code, and all that was said.
fn test(vault: &Vault, app: &str, more: &[&str]) -> (Option<i32>, Value, String) {
    let args = ["app", "sso", "test", app, "--user", "alice", "--json"];
    let Output {
        status,
        stdout,
        stderr,
    } = vault.site.run(&[&args, more].concat());
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert!(!text.contains(SECRET), "a password is told: {text}");
    let report = serde_json::from_str(&text).unwrap_or_default();
    let complaint = String::from_utf8_lossy(&stderr).into_owned();
    (status.code(), report, text + &complaint)
}

/// The last finding of an agent.
fn last(report: &Value, agent: &str) -> Value {
    let agents = report["agents"].as_array().cloned().unwrap_or_default();
    let of_it = agents.iter().find(|one| one["agent"] == agent);
    let findings = of_it.and_then(|one| one["findings"].as_array());
    let last = findings.and_then(|findings| findings.last());
    last.cloned().unwrap_or_default()
}

// Commands hold up a thread, and the origin of the second app needs one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_is_told_whether_a_credential_can_be_used() {
    let vault = Vault::start().await;
    let app = FormApp::start(vault.site.folder(), "asmith", SECRET);
    let basic = Origin::start().await;
    vault.publish("admin", &app.url(), &FORM).await;
    vault
        .publish("wiki", &basic.url(), &["--sso", "basic"])
        .await;
    vault.create_user("alice");
    eventually("no credential is kept", async || {
        let (code, report, _) = test(&vault, "admin", &[]);
        code == Some(1) && last(&report, "agents/a1")["fault"] == "no_credential"
    })
    .await;

    vault.set_credential(&["--app", "admin", "--user", "alice", "--login", "asmith"]);
    eventually("one is kept, and was not sent", async || {
        let (code, report, _) = test(&vault, "admin", &[]);
        code == Some(0) && last(&report, "agents/a1")["verdict"] == "skipped"
    })
    .await;
    assert_eq!(app.attempts().await, 0);
    let (code, report, said) = test(&vault, "admin", &["--sign-in"]);
    assert_eq!(
        (code, &report["verdict"]),
        (Some(0), &"ok".into()),
        "{said}"
    );
    assert_eq!(app.attempts().await, 1);

    // A wrong one is sent once, however often it is asked for.
    vault.set_credential(&["--app", "admin", "--user", "alice", "--login", "nobody"]);
    eventually("the app refuses another one", async || {
        let (_, report, _) = test(&vault, "admin", &["--sign-in"]);
        last(&report, "agents/a1")["fault"] == "credential_refused"
    })
    .await;
    let sent = app.attempts().await;
    let (code, report, said) = test(&vault, "admin", &["--sign-in"]);
    assert_eq!(code, Some(1), "{said}");
    let found = last(&report, "agents/a1");
    assert!(
        found["found"]
            .as_str()
            .unwrap_or_default()
            .contains("for a while"),
        "{said}"
    );
    assert_eq!(app.attempts().await, sent);

    by_basic(&vault, &basic).await;
    // An agent of the group without its key.
    let mut other = vault.site.start_agent("a2");
    other.ready().await;
    eventually("the second agent cannot open it", async || {
        let (code, report, _) = test(&vault, "wiki", &[]);
        code == Some(1)
            && last(&report, "agents/a2")["fault"] == "credential"
            && last(&report, "agents/a1")["verdict"] == "skipped"
    })
    .await;
}

async fn by_basic(vault: &Vault, origin: &Origin) {
    vault.set_credential(&["--app", "wiki", "--user", "alice", "--login", "asmith"]);
    eventually("one is kept", async || {
        test(vault, "wiki", &[]).0 == Some(0)
    })
    .await;
    let before = origin.requests();
    let (code, report, said) = test(vault, "wiki", &["--sign-in", "--path", "/echo"]);
    assert_eq!(code, Some(0), "{said}");
    let found = last(&report, "agents/a1");
    assert_eq!(found["found"], "answers 200 to GET /echo with it", "{said}");
    assert_eq!(origin.requests(), before + 1);
    let (code, report, said) = test(vault, "wiki", &["--sign-in", "--path", "/status/401"]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(last(&report, "agents/a1")["fault"], "credential_refused");
    // What says nothing of the credential is not told as a good sign.
    for status in ["/status/403", "/status/302", "/status/503"] {
        let (code, report, said) = test(vault, "wiki", &["--sign-in", "--path", status]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(last(&report, "agents/a1")["verdict"], "warning", "{said}");
        assert_eq!(report["verdict"], "warning", "{said}");
    }
    for (more, flag) in [
        (&["--name", "asmith"], "--name"),
        (&["--path", "/echo"], "--path"),
    ] {
        let (code, _, said) = test(vault, "wiki", more);
        assert!(code == Some(1) && said.contains(flag), "{said}");
    }
    // Nor is the app asked for what its users cannot ask for.
    let inner = ["--inner-path", "/status", "--path", "/status"];
    vault
        .site
        .ok(&[&["app", "update", "wiki"][..], &inner].concat());
    let before = origin.requests();
    eventually("a part of the origin is published", async || {
        let (code, report, _) = test(vault, "wiki", &["--sign-in", "--path", "/echo"]);
        code == Some(1) && last(&report, "agents/a1")["fault"] == "no_sign_on"
    })
    .await;
    let asked = origin.requests();
    for path in ["/status/../echo", "/statusquo", "/status/%2e%2e/echo"] {
        let (code, report, said) = test(vault, "wiki", &["--sign-in", "--path", path]);
        assert_eq!(code, Some(1), "{said}");
        assert_eq!(last(&report, "agents/a1")["fault"], "no_sign_on", "{said}");
    }
    assert_eq!(origin.requests(), asked);
    assert!(asked >= before);
    let (_, report, said) = test(vault, "wiki", &["--sign-in"]);
    let found = last(&report, "agents/a1")["found"].clone();
    let found = found.as_str().unwrap_or_default();
    assert!(found.contains("to GET /status with it"), "{said}");
    let form = ["--sign-in", "--path", "/echo"];
    let (code, _, said) = test(vault, "admin", &form);
    assert!(code == Some(1) && said.contains("--path"), "{said}");
}

/// Signs alice in at an app by the test, and then by a request of hers; what the app was asked each time.
async fn asked(
    vault: &Vault,
    (id, app): (&str, &PlainApp),
    alice: &mut Visitor,
    more: &[&str],
) -> [Vec<String>; 2] {
    let host = vault
        .publish(id, &app.url(), &[&PLAIN[..], more].concat())
        .await;
    alice.open(&format!("https://{host}/")).await;
    vault.set_credential(&["--app", id, "--user", "alice", "--login", "asmith"]);
    eventually("the agent has it", async || {
        test(vault, id, &[]).0 == Some(0)
    })
    .await;
    app.heard();
    let (code, report, said) = test(vault, id, &["--sign-in"]);
    assert_eq!(
        (code, &report["verdict"]),
        (Some(0), &"ok".into()),
        "{said}"
    );
    let tested = app.heard();
    assert_eq!(app.attempts(), 1);
    let said = ask(vault, alice, &host, "/", Method::GET).await;
    assert_eq!(said, "200 session 2");
    let mut lived = app.heard();
    let last = lived.pop().unwrap_or_default();
    assert!(last.starts_with("GET / "), "{last}");
    [tested, lived]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_asks_the_app_what_a_request_of_the_users_would() {
    let vault = Vault::start().await;
    let first = vault.create_user("alice");
    let front = vault.publish("front", "http://127.0.0.1:9", &[]).await;
    let mut alice = Visitor::new(&vault.user);
    alice.sign_in(&front, "alice", &first).await;
    for (id, more, host) in [
        ("inner", &[][..], None),
        (
            "public",
            &["--host-sent", "public"],
            Some("public.fabric.test"),
        ),
        ("named", &["--host-sent", "wiki.corp"], Some("wiki.corp")),
        ("hidden", &["--hide-forwarded"], None),
    ] {
        let app = PlainApp::start("asmith", SECRET).await;
        let [tested, lived] = asked(&vault, (id, &app), &mut alice, more).await;
        // Page, form, and where that leads.
        assert_eq!(tested.len(), 3, "{tested:#?}");
        assert_eq!(without_port(&tested), without_port(&lived));
        let at = app.url().replace("http://", "");
        let host = format!("host: {},", host.unwrap_or(&at));
        assert!(tested.iter().all(|one| one.contains(&host)), "{tested:#?}");
        let is_told = tested[0].contains("x-forwarded-proto: https");
        assert_eq!(is_told, id != "hidden", "{tested:#?}");
    }
}

/// Users come by the edge's own port here, which control knows nothing of.
fn without_port(heard: &[String]) -> Vec<String> {
    let name = ".fabric.test:";
    let plain = heard.iter().map(|line| {
        let mut rest = &**line;
        let mut plain = String::new();
        while let Some(at) = rest.find(name) {
            plain.push_str(&rest[..at + name.len() - 1]);
            let behind = &rest[at + name.len()..];
            rest = behind.trim_start_matches(|char: char| char.is_ascii_digit());
        }
        plain + rest
    });
    plain.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_of_a_credential_for_all_holds_back_whom_it_was_for_and_nobody_else() {
    let (vault, app) = (
        Vault::start().await,
        PlainApp::start("asmith", "right").await,
    );
    let flags = [&PLAIN[..], &["--sso-shared"]].concat();
    let host = vault.publish("plain", &app.url(), &flags).await;
    let mut visitors = Vec::new();
    for user in ["alice", "bob"] {
        let first = vault.create_user(user);
        let mut visitor = Visitor::new(&vault.user);
        visitor.sign_in(&host, user, &first).await;
        visitors.push(visitor);
    }
    vault.set_credential(&["--app", "plain", "--shared", "--login", "asmith"]);
    eventually("the agent has the credential", async || {
        test(&vault, "plain", &[]).0 == Some(0)
    })
    .await;
    let (code, report, said) = test(&vault, "plain", &["--sign-in"]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(last(&report, "agents/a1")["fault"], "credential_refused");
    assert_eq!(app.attempts(), 1);
    let get = async |visitor| ask(&vault, visitor, &host, "/", Method::GET).await;
    let refused = get(&visitors[0]).await;
    assert!(refused.contains("sso_credentials_refused"), "{refused}");
    assert_eq!(app.attempts(), 1, "it rests for alice");
    get(&visitors[1]).await;
    assert_eq!(app.attempts(), 2, "and not for bob");
    // Nor is a page that cannot be read anybody's fault.
    let other = PlainApp::start("asmith", SECRET).await;
    let flags = ["--sso-page", "/forbidden", "--sso-shared"];
    let flags = [&PLAIN[..2], &PLAIN[4..], &flags].concat();
    let host = vault.publish("other", &other.url(), &flags).await;
    visitors[0].open(&format!("https://{host}/")).await;
    vault.set_credential(&["--app", "other", "--shared", "--login", "asmith"]);
    eventually("the page leads elsewhere", async || {
        let (_, report, _) = test(&vault, "other", &["--sign-in"]);
        let last = last(&report, "agents/a1");
        let found = last["found"].as_str().unwrap_or_default();
        found.starts_with("the page with the form answers 302")
    })
    .await;
    let failed = Instant::now();
    let update = ["app", "update", "other"];
    let mended = [&update[..], &PLAIN, &["--sso-shared"]].concat();
    vault.site.ok(&mended);
    eventually("alice is in at once", async || {
        ask(&vault, &visitors[0], &host, "/", Method::GET).await == "200 session 1"
    })
    .await;
    assert_eq!(other.attempts(), 1);
    // A pause would have been of half a minute.
    assert!(failed.elapsed() < Duration::from_secs(25));
}
