//! Who gets in, as whom, and what is said of those who do not.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_signed_on_as_themselves_and_as_nobody_else() {
    let crowd = crowd::CROWD.to_string();
    let Some(lab) = Lab::start_with(&[("LAB_CROWD", &crowd)]) else {
        return;
    };
    // Whoever starts an agent may have tickets of their own: they are nobody's here.
    let someone = lab.sign_in("bsmith");
    let variables = [
        format!("KRB5CCNAME={someone}"),
        "KRB5_CLIENT_KTNAME=/nowhere.keytab".to_owned(),
    ];
    let domain = Domain::start(lab, &variables).await;
    let environment = std::fs::read(format!("/proc/{}/environ", domain.fabric.agent.id()));
    let environment = environment.expect("our own child");
    let environment = String::from_utf8_lossy(&environment);
    assert!(!environment.contains("KRB5CCNAME"), "{environment}");
    assert!(environment.contains("KRB5_CONFIG="), "{environment}");

    let app = domain.publish_of("app", App::App, &[]);
    let other = domain.publish_of("other", App::Other, &[]);
    let stale = domain.publish_of("stale", App::Stale, &[]);
    let origin = url(domain.lab.address(App::App));
    let of_user = ["--sso-identity", "user"];
    let ghost = domain.publish("ghost", &origin, &domain.lab.ghost_spn(), &of_user);
    let by_claim = domain.publish("claim", &origin, domain.lab.spn(App::App), &OF_LOCAL);
    let by_account = domain.publish_of("account", App::App, &["--sso-name-form", "account"]);
    domain.fabric.served(&app).await;

    let mut alice = domain.user("alice@lab.test", &app).await;
    let answer = alice.get(&app, "/whoami").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("alice"), "{}", answer.text());
    assert!(!answer.fields.contains_key("www-authenticate"));
    domain
        .agent_says(&["a new ticket", "alice@lab.test", "HTTP/app.lab.test", "app"])
        .await;
    let mut bob = domain.user("bob@corp.example", &app).await;
    assert!(bob.get(&app, "/whoami").await.text().contains("bob"));
    let mut smith = domain.user("bsmith", &by_account).await;
    let answer = smith.get(&by_account, "/whoami").await;
    assert!(
        answer.text().contains("user=bsmith@LAB.TEST"),
        "{}",
        answer.text()
    );

    // Whose account the domain does not let be used, and why, in the agent's words.
    for (id, number) in [
        ("carol@lab.test", "13"),
        ("dave@lab.test", "12"),
        ("unknown@lab.test", "6"),
    ] {
        let mut visitor = domain.user(id, &app).await;
        refused(&visitor.get(&app, "/whoami").await, 403, "sso_user_refused");
        domain
            .agent_says(&["cannot be signed on", id, number])
            .await;
    }
    refused(&smith.get(&app, "/whoami").await, 403, "sso_no_identity");
    let nameless = alice.get(&by_claim, "/whoami").await;
    refused(&nameless, 403, "sso_no_identity");
    refused(&alice.get(&other, "/whoami").await, 403, "sso_user_refused");
    refused(&alice.get(&ghost, "/whoami").await, 502, "sso_failed");
    domain
        .agent_says(&["HTTP/ghost.lab.test", "proxy", "7"])
        .await;
    refused(&alice.get(&stale, "/whoami").await, 502, "sso_failed");
    domain
        .agent_says(&["HTTP/stale.lab.test", "app", "44"])
        .await;

    let lazy = apps_of_other_ways(&domain, &mut alice).await;
    requests::bodies_and_upgrades(&domain, &mut alice, &app).await;
    crowd::nobody_is_ever_taken_for_another(&domain, &[app, lazy]).await;

    let metrics = domain.fabric.agent.admin("/metrics").await;
    for line in [
        "agent_kerberos_exchanges_total{stage=\"proxy\",outcome=\"ok\"}",
        "agent_kerberos_exchanges_total{stage=\"self\",outcome=\"no_user\"} 1",
        "agent_kerberos_exchanges_total{stage=\"app\",outcome=\"ok\"}",
        "agent_kerberos_exchanges_total{stage=\"app\",outcome=\"refused\"}",
        "agent_kerberos_breaker_open 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

/// Apps with sessions of their own, and such as do not take Kerberos. Gives the host of one that is sent a token when it asks for one.
async fn apps_of_other_ways(domain: &Domain, alice: &mut Visitor) -> String {
    let lazy = domain.publish_of("lazy", App::App, &["--sso-on-challenge"]);
    let proven = domain.publish_of("proven", App::App, &["--sso-require-mutual"]);
    domain.fabric.served(&lazy).await;
    domain.fabric.served(&proven).await;
    let answer = alice.get(&lazy, "/session").await;
    assert_eq!(seen(&answer), known("alice@lab.test"), "{answer:?}");
    assert!(alice.cookies(&lazy).contains("iwa="));
    assert_eq!(alice.get(&lazy, "/session").await.status, 200);
    // Asked for in the midst of it, it could not be sent twice.
    let answer = alice.post(&lazy, "/echo", vec![b'x'; 300_000], &[]).await;
    assert!(
        answer.text().contains("body-bytes=300000"),
        "{}",
        answer.text()
    );
    let answer = alice.post(&lazy, "/echo", vec![b'x'; 30_000], &[]).await;
    assert!(
        answer.text().contains("body-bytes=30000\n"),
        "{}",
        answer.text()
    );
    assert_eq!(alice.get(&proven, "/whoami").await.status, 200);
    refused(&alice.get(&proven, "/public").await, 502, "sso_failed");
    own_answers::of_apps(domain, alice, [&lazy, &proven]).await;
    lazy
}
