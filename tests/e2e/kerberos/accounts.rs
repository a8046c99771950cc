//! Accounts of agents that cannot sign anybody on, each with its own words for operators.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_without_an_account_says_so_and_serves_other_apps() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let plain = fabric.publish("plain", &origin.url()).await;
    let app = format!("hr.{DOMAIN}");
    let site = fabric.site();
    site.ok(&[
        "app",
        "publish",
        "hr",
        "--host",
        &app,
        "--origin",
        &origin.url(),
        "--access",
        "sign-in",
        "--assign-everyone",
        "--sso",
        "kerberos",
        "--sso-spn",
        "HTTP/hr.lab.test",
        "--sso-identity",
        "user",
    ]);
    eventually("the app is there", async || {
        fabric.user().status(&app, "/").await == 401
    })
    .await;
    let password = site.ok(&["user", "create", "alice@lab.test"]);
    let mut alice = Visitor::new(fabric.user());
    let before = origin.requests();
    let answer = alice.sign_in(&app, "alice@lab.test", password.trim()).await;
    refused(&answer, 502, "sso_failed");
    assert_eq!(origin.requests(), before, "the app was asked");
    assert_eq!(fabric.user().status(&plain, "/").await, 200);
    eventually("the status names the agent", async || {
        let status = site.ok(&["status", "--output", "json"]);
        status.contains("sso_failed") && status.contains("kerberos.principal")
    })
    .await;
    let said = Said::of(&site.run(&["doctor", "agent", "--json", "--data-dir", "a1"]));
    said.names("kerberos_account", 41, "kerberos.principal");
}
