//! Who gets in, as whom, and what is said of those who do not.

use super::*;

/// Groups of somebody whose token is longer than a line that Apache reads.
const GROUPS: &str = "900";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_signed_on_as_themselves_and_as_nobody_else() {
    let Some(lab) = Lab::start_with(&[("LAB_GROUPS", GROUPS)]) else {
        return;
    };
    // Whoever starts an agent may have tickets of their own: they are nobody's here.
    let someone = lab.sign_in("bsmith");
    let variables = [
        format!("KRB5CCNAME={someone}"),
        "KRB5_CLIENT_KTNAME=/nowhere.keytab".to_owned(),
    ];
    let domain = Domain::start(lab, &variables).await;
    let app = domain.publish_of("app", App::App, &[]);
    domain.fabric.served(&app).await;
    let mut alice = domain.user("alice@lab.test", &app).await;

    alice_is_herself_whatever_tickets_the_agent_was_started_with(&domain, &mut alice, &app).await;
    users_are_known_by_principal_name_or_by_account(&domain, &app).await;
    carol_dave_and_unknown_are_refused_and_operators_know_why(&domain, &app).await;
    services_that_are_none_or_not_the_agents_are_named(&domain, &mut alice).await;
    a_token_too_long_for_the_app_is_told_as_that(&domain, &app).await;
    let [lazy, proven] = apps_of_other_ways(&domain).await;
    a_session_of_the_apps_own_takes_one_token(&domain, &mut alice, &lazy).await;
    an_app_that_must_prove_itself_is_refused_without(&mut alice, &proven).await;
    own_answers::of_apps(&domain, &mut alice, [&lazy, &proven]).await;
    each_stage_is_counted(&domain).await;
}

async fn alice_is_herself_whatever_tickets_the_agent_was_started_with(
    domain: &Domain,
    alice: &mut Visitor,
    app: &str,
) {
    let environment = std::fs::read(format!("/proc/{}/environ", domain.fabric.agent.id()));
    let environment = environment.expect("our own child");
    let environment = String::from_utf8_lossy(&environment);
    assert!(!environment.contains("KRB5CCNAME"), "{environment}");
    assert!(environment.contains("KRB5_CONFIG="), "{environment}");
    let answer = alice.get(app, "/whoami").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(seen(&answer), known("alice@lab.test"));
    assert!(answer.text().contains("alice"), "{}", answer.text());
    assert!(!answer.fields.contains_key("www-authenticate"));
    domain
        .agent_says(&[
            "a new ticket",
            "alice@lab.test",
            "HTTP/app.lab.test",
            "self_ms",
            "proxy_ms",
            "ends_in_s",
        ])
        .await;
}

async fn users_are_known_by_principal_name_or_by_account(domain: &Domain, app: &str) {
    let by_account = domain.publish_of("account", App::App, &["--sso-name-form", "account"]);
    let local_part = [&["--sso-name-form", "local-part"][..], &OF_LOCAL].concat();
    let by_local_part = domain.publish_of("local", App::App, &local_part);
    domain.fabric.served(&by_account).await;
    domain.fabric.served(&by_local_part).await;
    let mut bob = domain.user("bob@corp.example", app).await;
    let answer = bob.get(app, "/whoami").await;
    assert_eq!(seen(&answer), known("bob@corp.example"), "{answer:?}");
    let mut smith = domain.user("bsmith", &by_account).await;
    let answer = smith.get(&by_account, "/whoami").await;
    assert_eq!(seen(&answer), "bsmith@LAB.TEST", "{answer:?}");
    // What is no principal name is not made one.
    refused(&smith.get(app, "/whoami").await, 403, "sso_no_identity");
    let mut alice = domain.user("alice@anywhere.example", &by_local_part).await;
    let answer = alice.get(&by_local_part, "/whoami").await;
    assert_eq!(seen(&answer), "alice@LAB.TEST", "{answer:?}");
}

/// Whose account the domain does not let be used, and why, in the agent's words.
async fn carol_dave_and_unknown_are_refused_and_operators_know_why(domain: &Domain, app: &str) {
    for (id, stage, number) in [
        ("carol@lab.test", "proxy", 13),
        ("dave@lab.test", "self", 12),
        ("unknown@lab.test", "self", 6),
    ] {
        let mut visitor = domain.user(id, app).await;
        refused(&visitor.get(app, "/whoami").await, 403, "sso_user_refused");
        let [stage, number] = failed(stage, number);
        domain
            .agent_says(&["cannot be signed on", id, &stage, &number])
            .await;
    }
    let origin = url(domain.lab.address(App::App));
    let by_claim = domain.publish("claim", &origin, domain.lab.spn(App::App), &OF_LOCAL);
    domain.fabric.served(&by_claim).await;
    let mut nameless = domain.user("nameless@lab.test", &by_claim).await;
    let answer = nameless.get(&by_claim, "/whoami").await;
    refused(&answer, 403, "sso_no_identity");
}

async fn services_that_are_none_or_not_the_agents_are_named(domain: &Domain, alice: &mut Visitor) {
    let other = domain.publish_of("other", App::Other, &[]);
    let stale = domain.publish_of("stale", App::Stale, &[]);
    let origin = url(domain.lab.address(App::App));
    let of_user = ["--sso-identity", "user"];
    let ghost = domain.publish("ghost", &origin, &domain.lab.ghost_spn(), &of_user);
    for (host, status, reason, spn, (stage, number)) in [
        (other, 403, "sso_user_refused", "other", ("proxy", 13)),
        (ghost, 502, "sso_failed", "ghost", ("proxy", 7)),
        (stale, 502, "sso_failed", "stale", ("app", 44)),
    ] {
        domain.fabric.served(&host).await;
        refused(&alice.get(&host, "/whoami").await, status, reason);
        let (spn, [stage, number]) = (format!("HTTP/{spn}.lab.test"), failed(stage, number));
        domain
            .agent_says(&["cannot be signed on", &spn, &stage, &number])
            .await;
    }
}

/// The answer is the app's own, which says as little as it likes; operators are told what it may be.
async fn a_token_too_long_for_the_app_is_told_as_that(domain: &Domain, app: &str) {
    let mut grace = domain.user("grace@lab.test", app).await;
    let answer = grace.get(app, "/whoami").await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("exceeds server limit"), "{answer:?}");
    domain
        .agent_says(&[
            "answers a long token",
            "\"status\":400",
            "LimitRequestFieldSize",
        ])
        .await;
}

/// Hosts of an app that is sent a token when it asks for one, and of one that must prove itself.
async fn apps_of_other_ways(domain: &Domain) -> [String; 2] {
    let lazy = domain.publish_of("lazy", App::App, &ON_CHALLENGE);
    let proven = domain.publish_of("proven", App::App, &["--sso-require-mutual"]);
    domain.fabric.served(&lazy).await;
    domain.fabric.served(&proven).await;
    [lazy, proven]
}

async fn a_session_of_the_apps_own_takes_one_token(
    domain: &Domain,
    alice: &mut Visitor,
    lazy: &str,
) {
    // Of each request of a page: who it was, and what was answered.
    let logged = || {
        let log = domain.lab.access_log();
        let lines = log.lines().filter(|line| line.contains("GET /session"));
        let statuses = lines.map(|line| line.split(' ').nth(2).unwrap_or_default().to_owned());
        statuses.collect::<Vec<_>>()
    };
    let answer = alice.get(lazy, "/session").await;
    assert_eq!(seen(&answer), known("alice@lab.test"), "{answer:?}");
    assert!(alice.cookies(lazy).contains("iwa="));
    let answer = alice.get(lazy, "/session").await;
    assert_eq!(seen(&answer), known("alice@lab.test"), "{answer:?}");
    // The second time it has not asked for one.
    assert_eq!(logged(), ["401", "200", "200"]);
}

async fn an_app_that_must_prove_itself_is_refused_without(alice: &mut Visitor, proven: &str) {
    assert_eq!(alice.get(proven, "/whoami").await.status, 200);
    refused(&alice.get(proven, "/public").await, 502, "sso_failed");
}

async fn each_stage_is_counted(domain: &Domain) {
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
