//! Accounts of agents that cannot sign anybody on, each with its own words for operators.

use super::*;

/// What the KDC does not say is which of these it is.
const ONE_OF_FOUR: &str = "the service principal name is not on its list of services";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_account_that_cannot_sign_anybody_on_has_words_of_its_own() {
    let Some(lab) = Lab::start() else {
        return;
    };
    let domain = Domain::start(lab, &[]).await;
    let (site, lab) = (domain.fabric.site(), &domain.lab);
    let nowhere = site.folder().join("nowhere.keytab");
    // Of whom, by which file; what users are told, and operators.
    let accounts = [
        (
            Account::WithoutTransition,
            None,
            (403, "sso_user_refused"),
            ["\"number\":13,", ONE_OF_FOUR],
        ),
        (
            Account::WithoutDelegation,
            None,
            (403, "sso_user_refused"),
            ["\"number\":13,", ONE_OF_FOUR],
        ),
        (
            Account::Stale,
            None,
            (502, "sso_failed"),
            [
                "\"number\":24,",
                "password was changed after the keytab was exported",
            ],
        ),
        (
            Account::Good,
            Some(&*nowhere),
            (502, "sso_failed"),
            ["nowhere.keytab", "No such file"],
        ),
    ];
    let first = domain.publish_of("first", App::App, &[]);
    domain.fabric.served(&first).await;
    let mut alice = domain.user("alice@lab.test", &first).await;
    for (number, (account, keytab, (status, reason), words)) in accounts.into_iter().enumerate() {
        let (group, own) = (format!("g{number}"), lab.keytab(account));
        site.ok(&["group", "create", &group]);
        let keytab = (account, keytab.unwrap_or(&own));
        let by = ["env".to_owned()];
        let mut agent = start_agent(site, lab, keytab, (&group, &group), &by);
        agent.ready().await;
        let host = domain.publish_of(&group, App::App, &["--group", &group]);
        domain.fabric.served(&host).await;
        refused(&alice.get(&host, "/whoami").await, status, reason);
        eventually(&format!("the agent says {words:?}"), async || {
            let log = agent.log();
            log.lines()
                .any(|line| words.iter().all(|word| line.contains(word)))
        })
        .await;
    }
}

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
