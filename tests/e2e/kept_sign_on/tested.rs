//! An operator looks whether a credential that is kept can be used, and has it sent to the app once.

use std::process::Output;

use serde_json::Value;

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
    let (code, _, said) = test(vault, "wiki", &["--name", "asmith"]);
    assert!(code == Some(1) && said.contains("--name"), "{said}");
}
