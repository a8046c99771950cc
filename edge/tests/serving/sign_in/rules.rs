//! Access rules at an edge: what becomes of who does not meet them, and of what is open when they change.

use proto::{
    access::{
        Controls, Grant, GrantKind, People, Place, Places, Policy, Requirement, RuleState, Which,
        Who,
    },
    access_rule,
    fabric::{AccessRule, SameSite, SessionCookie},
};

use serde_json::{Value, json};

use super::*;

/// About everyone and every app.
pub(super) fn policy(kind: GrantKind) -> Policy {
    Policy {
        state: RuleState::On.into(),
        message: "Ask <Olga>.".to_owned(),
        who: Some(Who {
            include: Some(People {
                everyone: true,
                ..People::default()
            }),
            exclude: None,
        }),
        which: Some(Which {
            all_apps: true,
            ..Which::default()
        }),
        grant: Some(Grant {
            kind: kind.into(),
            ..Grant::default()
        }),
        ..Policy::default()
    }
}

fn require(requirement: Requirement, sign_in_within: Option<u64>) -> Policy {
    let within = sign_in_within.map(|seconds| prost_types::Duration {
        seconds: i64::try_from(seconds).unwrap(),
        nanos: 0,
    });
    Policy {
        grant: Some(Grant {
            kind: GrantKind::Require.into(),
            requirements: vec![requirement.into()],
            sign_in_within: within,
            ..Grant::default()
        }),
        ..policy(GrantKind::Require)
    }
}

pub(super) fn rule(fabric: &mut Fabric, policy: Policy, revision: u64) {
    rule_as_told(fabric, access_rule::told("r1", Some(policy)), revision);
}

fn rule_as_told(fabric: &mut Fabric, rule: AccessRule, revision: u64) {
    fabric.set("accessRules/r1", Kind::AccessRule(rule));
    fabric.publish(revision);
}

/// Alice, who has signed in at the app.
pub(super) async fn alice() -> (Fabric, Agent, Browser) {
    let fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/");
    let (_, page) = browser.sign_in(&fabric, &url, "alice").await;
    assert_eq!(page.status, 200, "{page:?}");
    (fabric, agent, browser)
}

#[tokio::test]
async fn a_rule_that_blocks_says_so_and_one_that_only_reports_says_nothing() {
    let (mut fabric, _agent, mut browser) = alice().await;
    let mut blocks = policy(GrantKind::Block);
    blocks.which.as_mut().unwrap().paths = vec!["/admin".to_owned()];
    rule(&mut fabric, blocks.clone(), 3);
    for (line, want) in [("GET /", 200), ("GET /admin/x", 403), ("GET /%41dmin", 403)] {
        let reply = browser.ask(&fabric, HOST, line, NAVIGATION).await;
        assert_eq!(reply.status, want, "{line}: {reply:?}");
        if want == 403 {
            assert!(reply.body.contains("<code>blocked</code>"), "{reply:?}");
            assert!(reply.body.contains("Ask &lt;Olga&gt;."), "{reply:?}");
        }
    }
    blocks.state = RuleState::ReportOnly.into();
    rule(&mut fabric, blocks, 4);
    let reply = browser.ask(&fabric, HOST, "GET /admin", NAVIGATION).await;
    assert_eq!(reply.status, 200);
    // From another place than this one.
    let mut elsewhere = policy(GrantKind::Block);
    elsewhere.place = Some(Place {
        include: None,
        exclude: Some(Places {
            networks: vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()],
            ..Places::default()
        }),
    });
    rule(&mut fabric, elsewhere, 5);
    let reply = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn operators_are_told_which_rule_refused_whom_once_a_minute_for_each_reason() {
    let (mut fabric, _agent, mut browser) = alice().await;
    rule(&mut fabric, policy(GrantKind::Block), 3);
    for _ in 0..3 {
        let reply = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
        assert_eq!(reply.status, 403);
    }
    let nobody = Browser::default()
        .ask(&fabric, HOST, "GET /", NAVIGATION)
        .await;
    assert_eq!(nobody.status, 302, "who has not signed in is asked to");
    rule(&mut fabric, require(Requirement::Mfa, None), 4);
    // A person, who is led away, and what the page asks for meanwhile.
    for fields in [NAVIGATION, ""] {
        let reply = browser.ask(&fabric, HOST, "GET /", fields).await;
        assert!(matches!(reply.status, 302 | 401), "{reply:?}");
    }
    rule(
        &mut fabric,
        require(Requirement::DeviceCertificate, None),
        5,
    );
    browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
    let want = ["blocked", "step_up_required", "device_required"];
    let want = want.map(|reason| ["alice", reason, "", "r1"].map(str::to_owned));
    assert_eq!(told(&fabric, SignInKind::AppDenied), want);
}

#[tokio::test]
async fn a_sign_in_that_is_too_old_is_asked_for_again_and_programs_are_told() {
    let (mut fabric, _agent, mut browser) = alice().await;
    rule(&mut fabric, require(Requirement::FreshSignIn, Some(300)), 3);
    let reply = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
    assert_eq!(reply.status, 200);
    fabric.clock.move_wall(Duration::from_secs(330));
    let told = browser.ask(&fabric, HOST, "GET /x", "").await;
    assert_eq!(told.status, 401);
    let challenge = told.field("www-authenticate").unwrap();
    assert!(challenge.starts_with("Adit error=\"insufficient_user_authentication\""));
    assert!(challenge.ends_with("max_age=\"300\""), "{challenge}");
    let (at, page) = browser
        .open(&fabric, &format!("https://{HOST}/x?y=1"))
        .await;
    assert!(at.starts_with(&format!("https://{AUTH}/sign-in?to=")));
    assert!(page.body.contains("asks you to sign in again"), "{page:?}");
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    let location = reply.location().to_owned();
    let (at, page) = browser.open(&fabric, &location).await;
    assert_eq!(
        (&*at, page.status),
        (&*format!("https://{HOST}/x?y=1"), 200)
    );
}

#[tokio::test]
async fn who_lacks_a_factor_is_asked_to_set_one_up_and_a_device_is_said_plainly() {
    let (mut fabric, _agent, mut browser) = alice().await;
    rule(&mut fabric, require(Requirement::Mfa, None), 3);
    let (at, page) = browser.open(&fabric, &format!("https://{HOST}/")).await;
    assert!(at.starts_with(&format!("https://{AUTH}/sign-in?to=")));
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("<h1>Set up an authenticator app</h1>"),
        "{page:?}"
    );
    let why = format!("<b>{HOST}</b> asks for a second factor");
    assert!(page.body.contains(&why), "{page:?}");
    let told = browser
        .ask(&fabric, HOST, "POST /", "content-length: 0\r\n")
        .await;
    let challenge = told.field("www-authenticate").unwrap();
    assert!(challenge.ends_with("amr_values=\"mfa\""), "{challenge}");
    rule(
        &mut fabric,
        require(Requirement::DeviceCertificate, None),
        4,
    );
    let told = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
    assert_eq!(told.status, 403);
    assert!(told.body.contains("device_required"), "{told:?}");
}

#[tokio::test]
async fn who_sets_a_factor_up_because_an_app_asks_comes_back_to_the_exact_address() {
    let (mut fabric, _agent, mut browser) = alice().await;
    rule(&mut fabric, require(Requirement::Mfa, None), 3);
    let url = format!("https://{HOST}/x?y=1");
    let (_, page) = browser.open(&fabric, &url).await;
    let typed = [("password", "wrong")];
    let again = browser
        .submit(&fabric, "/authenticator", &page, &typed)
        .await;
    assert_eq!(again.status, 401, "{again:?}");
    let typed = [("password", RIGHT)];
    let page = browser
        .submit(&fabric, "/authenticator", &again, &typed)
        .await;
    let [halfway, offer] = ["halfway", "offer"].map(|name| page.hidden(name));
    let typed = [
        ("halfway", &*halfway),
        ("offer", &offer),
        ("code", second_factors::CODE),
    ];
    let path = "/authenticator/confirm";
    let done = browser.submit(&fabric, path, &page, &typed).await;
    let (_, rest) = done.body.split_once("<a href=\"").unwrap();
    let go_on = rest.split('"').next().unwrap().to_owned();
    let (at, page) = browser.open(&fabric, &go_on).await;
    assert_eq!((at, page.status), (url, 200), "{page:?}");
}

#[tokio::test]
async fn a_rule_that_this_edge_cannot_read_closes_the_app() {
    let (mut fabric, _agent, mut browser) = alice().await;
    let mut later = require(Requirement::Mfa, None);
    later.state = RuleState::ReportOnly.into();
    later.grant.as_mut().unwrap().requirements = vec![4_711];
    rule(&mut fabric, later, 3);
    let told = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
    assert_eq!(told.status, 503);
    assert!(told.body.contains("not_ready"), "{told:?}");
}

/// A condition that control knows and this edge does not is dropped when the rule is read: its bytes are missing.
#[tokio::test]
async fn a_rule_with_a_field_that_this_edge_does_not_know_closes_what_it_is_about() {
    let (mut fabric, _agent, mut browser) = alice().await;
    for (revision, app, status) in [(3, "apps/crm", 200), (4, "apps/wiki", 503)] {
        // Alice has signed in just now.
        let mut policy = require(Requirement::FreshSignIn, Some(300));
        policy.which = Some(Which {
            apps: vec![app.to_owned()],
            ..Which::default()
        });
        let mut later = access_rule::told("r1", Some(policy));
        later.policy_bytes += 2;
        rule_as_told(&mut fabric, later, revision);
        let told = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
        assert_eq!(told.status, status, "{app}");
        assert_eq!(told.body.contains("not_ready"), status == 503, "{told:?}");
    }
}

/// Nobody does nothing for longer than ten minutes.
pub(super) fn limit_idling(fabric: &mut Fabric, revision: u64) {
    let mut idle = policy(GrantKind::Allow);
    idle.controls = Some(Controls {
        idle_limit: Some(prost_types::Duration {
            seconds: 600,
            nanos: 0,
        }),
        ..Controls::default()
    });
    rule(fabric, idle, revision);
}

#[tokio::test]
async fn who_does_nothing_for_too_long_signs_in_again() {
    let (mut fabric, _agent, mut browser) = alice().await;
    limit_idling(&mut fabric, 3);
    // Twice most of the limit, with something done in between; and not every request writes that down.
    let mut cookies = Vec::new();
    for seconds in [500, 30, 500] {
        fabric.clock.move_wall(Duration::from_secs(seconds));
        let reply = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        cookies.push(reply.field("set-cookie").is_some());
    }
    assert_eq!(cookies, [true, false, true]);
    fabric.clock.move_wall(Duration::from_secs(630));
    let reply = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
    assert_eq!(reply.status, 302);
}

#[tokio::test]
async fn coming_by_the_sign_in_host_is_nothing_that_a_user_does() {
    let (mut fabric, _agent, browser) = alice().await;
    limit_idling(&mut fabric, 3);
    let app = format!("https://{HOST}/");
    let renew = format!("https://{HOST}/.adit/renew");
    for (seconds, status) in [(300, 200), (630, 302)] {
        fabric.clock.move_wall(Duration::from_secs(seconds));
        // Without the app's cookie, and with it.
        let mut without = browser.clone();
        without.jar.remove(HOST);
        let (at, _) = without.open(&fabric, &app).await;
        assert_eq!(at == app, status == 200, "{at}");
        let mut with = browser.clone();
        let (at, _) = with.open(&fabric, &renew).await;
        assert!(at.starts_with(&renew), "the session itself goes on: {at}");
        let reply = with.ask(&fabric, HOST, "GET /", NAVIGATION).await;
        assert_eq!(reply.status, status, "{reply:?}");
    }
    // Who signs in again begins anew.
    let mut browser = browser;
    let (_, page) = browser.open(&fabric, &app).await;
    assert!(page.body.contains("asks you to sign in again"), "{page:?}");
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    let (at, page) = browser.open(&fabric, reply.location()).await;
    assert_eq!((at, page.status), (app, 200));
}

#[tokio::test]
async fn a_cookie_that_is_renewed_is_kept_as_the_app_asked_that_it_is_from() {
    let mut fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    fabric.change_app(|app| {
        app.session_cookie = Some(SessionCookie {
            same_site: SameSite::None.into(),
            persistent: true,
        });
    });
    limit_idling(&mut fabric, 3);
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/");
    browser.sign_in(&fabric, &url, "alice").await;
    // As another app of the host would have it.
    fabric.change_app(|app| app.session_cookie = None);
    fabric.publish(4);
    fabric.clock.move_wall(Duration::from_secs(300));
    let reply = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
    let cookie = reply.field("set-cookie").unwrap();
    assert!(cookie.contains("SameSite=None; Max-Age=4"), "{cookie}");
}

#[tokio::test]
async fn what_may_not_be_taken_away_is_kept_back() {
    let mut fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    let connection = agent.connection.clone();
    fabric.scope.spawn("origin", async move {
        loop {
            let mut asked = crate::fabric::next_request(&connection).await;
            let mut fields = http::HeaderMap::new();
            let kind = if asked.head.path_and_query.ends_with(b".pdf") {
                "Application/PDF; x=1"
            } else {
                "text/html"
            };
            fields.insert("content-type", http::HeaderValue::from_static(kind));
            let head = ResponseHead {
                status: 200,
                fields: tunnel::fields::encode(&fields).unwrap(),
                body_length: Some(0),
                ..ResponseHead::default()
            };
            asked.send.queue(head).unwrap();
            let _ = asked.send.end(proto::tunnel::End::default()).await;
        }
    });
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/");
    browser.sign_in(&fabric, &url, "alice").await;
    let mut kept = policy(GrantKind::Allow);
    kept.controls = Some(Controls {
        no_download_types: vec!["application/pdf".to_owned()],
        ..Controls::default()
    });
    rule(&mut fabric, kept, 3);
    for (line, want) in [("GET /page", 200), ("GET /a.pdf", 403)] {
        let reply = browser.ask(&fabric, HOST, line, NAVIGATION).await;
        assert_eq!(reply.status, want, "{line}: {reply:?}");
    }
}

/// A WebSocket of alice's.
async fn socket(fabric: &Fabric, agent: &Agent, browser: &mut Browser) -> RawUser {
    let url = format!("https://{HOST}/");
    let (_, page) = browser.open(fabric, &url).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(fabric, "/sign-in", &page, &typed).await;
    let (_, target) = parts(reply.location());
    let line = format!("GET {target}");
    browser.ask(fabric, HOST, &line, NAVIGATION).await;
    let cookie = &browser.jar[HOST]["__Host-adit-app"];
    let mut socket = RawUser::connect(fabric).await;
    socket
        .write(format!(
            "GET /socket HTTP/1.1\r\nhost: {HOST}\r\nconnection: Upgrade\r\nupgrade: websocket\r\ncookie: __Host-adit-app={cookie}\r\n\r\n"
        ))
        .await;
    let mut upgraded = agent.request().await;
    let head = ResponseHead {
        status: 101,
        upgraded: true,
        ..ResponseHead::default()
    };
    upgraded.send.send(head).await.unwrap();
    // For as long as the test.
    fabric.scope.spawn("open", async move {
        let _upgraded = upgraded;
        std::future::pending::<()>().await;
    });
    socket.read_until("\r\n\r\n").await;
    socket
}

/// Status 1008 of WebSocket, within two seconds.
async fn is_cut(socket: &mut RawUser) {
    let close = async {
        let mut close = [0; 4];
        for byte in &mut close {
            *byte = socket.read_byte().await;
        }
        close
    };
    let close = tokio::time::timeout(Duration::from_secs(2), close).await;
    assert_eq!(close.expect("in time"), [0x88, 0x02, 0x03, 0xf0]);
}

#[tokio::test]
async fn an_open_websocket_is_cut_by_a_change_of_rules_and_by_time() {
    let mut fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    let mut browser = Browser::default();
    let mut first = socket(&fabric, &agent, &mut browser).await;
    rule(&mut fabric, policy(GrantKind::Block), 3);
    is_cut(&mut first).await;
    rule(&mut fabric, require(Requirement::FreshSignIn, Some(300)), 4);
    let mut second = socket(&fabric, &agent, &mut Browser::default()).await;
    fabric.clock.move_wall(Duration::from_secs(330));
    is_cut(&mut second).await;
}

#[tokio::test]
async fn a_sign_in_that_must_be_fresh_is_asked_of_the_provider_and_looked_at() {
    let (mut fabric, provider, _ends) = providers::start().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    fabric.change_app(|app| app.identity_providers = vec!["entra".to_owned()]);
    rule(&mut fabric, require(Requirement::FreshSignIn, Some(300)), 4);
    let mut browser = Browser::default();
    // By a sign-in there of some time ago, or nobody knows when.
    let now = || milliseconds(&fabric.clock).div_euclid(1_000);
    for auth_time in [Value::Null, json!(now() - 3_600)] {
        provider.say(json!({ "auth_time": auth_time }));
        let url = providers::wiki("/x");
        let asked = browser.go_to(&fabric, &provider, &url).await;
        assert!(!asked.contains_key("max_age"), "{asked:?}");
        let reply = browser.bring_back(&fabric, &provider, &asked).await;
        assert_eq!(reply.status, 303, "{reply:?}");
        let (at, page) = browser.open(&fabric, reply.location()).await;
        assert!(
            at.starts_with(&format!("https://{AUTH}/sign-in?to=")),
            "{at}"
        );
        assert!(page.body.contains("asks you to sign in again"), "{page:?}");
        let asked = browser.choose(&fabric, &provider, &page).await;
        assert_eq!(asked["max_age"], "300");
        // A provider that takes no heed of it.
        let reply = browser.bring_back(&fabric, &provider, &asked).await;
        assert_eq!(reply.status, 403, "{reply:?}");
        assert!(
            reply.body.contains("did not ask you for as much"),
            "{reply:?}"
        );
        browser.jar.clear();
    }
    let asked = browser
        .go_to(&fabric, &provider, &providers::wiki("/x"))
        .await;
    browser.bring_back(&fabric, &provider, &asked).await;
    let (_, page) = browser.open(&fabric, &providers::wiki("/x")).await;
    let asked = browser.choose(&fabric, &provider, &page).await;
    provider.say(json!({ "auth_time": now() }));
    let reply = browser.bring_back(&fabric, &provider, &asked).await;
    let (at, page) = browser.open(&fabric, reply.location()).await;
    assert_eq!((at, page.status), (providers::wiki("/x"), 200));
}

#[tokio::test]
async fn a_country_counts_as_far_as_the_edge_knows_it() {
    let (mut fabric, _agent, mut browser) = alice().await;
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("countries.mmdb");
    let here = [(("127.0.0.0", 8), "DE"), (("::1", 128), "DE")];
    let file = crate::country_file::file(&["country", "iso_code"], &here);
    std::fs::write(&path, file).unwrap();
    let countries = |codes: &[&str], unknown_country| Places {
        countries: codes.iter().map(ToString::to_string).collect(),
        unknown_country,
        ..Places::default()
    };
    let rows = [
        // A block of a country blocks nobody as long as countries are unknown; one of all others blocks everybody.
        (Some(countries(&["DE"], false)), None, [200, 403]),
        (Some(countries(&["FR"], false)), None, [200, 200]),
        (None, Some(countries(&["DE"], false)), [403, 200]),
        (None, Some(countries(&["FR"], false)), [403, 403]),
        (Some(countries(&[], true)), None, [403, 200]),
    ];
    let mut revision = 2;
    for phase in 0..2 {
        for (include, exclude, want) in rows.clone() {
            let mut blocks = policy(GrantKind::Block);
            blocks.place = Some(Place { include, exclude });
            revision += 1;
            rule(&mut fabric, blocks, revision);
            let reply = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
            assert_eq!(reply.status, want[phase], "{phase} {revision}: {reply:?}");
        }
        fabric.countries.replace(&path).unwrap();
    }
}
