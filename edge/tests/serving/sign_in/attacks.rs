//! What others try with cookies, passes, errands, forms and fields that are not theirs.

use super::*;

#[tokio::test]
async fn a_cookie_opens_one_host_and_only_as_it_was_given() {
    let mut fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    let seen = serve(&fabric, &agent);
    let mut browser = Browser::default();
    browser
        .sign_in(&fabric, &format!("https://{HOST}/"), "alice")
        .await;
    let cookie = browser.jar[HOST]["__Host-adit-app"].clone();
    let home = browser.jar[AUTH]["__Host-adit-session"].clone();
    let before = seen.load(SeqCst);
    let with = |name: &str, value: &str| format!("cookie: {name}={value}\r\n");
    let mut forged = Vec::new();
    for at in [0, 10, 21, 30, cookie.len() / 2, cookie.len() - 2] {
        let mut bytes = cookie.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        forged.push(String::from_utf8(bytes).unwrap());
    }
    forged.push(cookie[..cookie.len() - 1].to_owned());
    forged.push(format!("{cookie}A"));
    forged.push(home);
    forged.push(cookie.repeat(100));
    for value in &forged {
        let fields = with("__Host-adit-app", value);
        let reply = Browser::default()
            .ask(&fabric, HOST, "GET /", &fields)
            .await;
        assert_eq!(reply.status, 401, "{value}");
    }
    let fields = with("__Host-adit-app", &cookie);
    for (host, status) in [(CRM, 401), (HOST, 200)] {
        let reply = Browser::default()
            .ask(&fabric, host, "GET /", &fields)
            .await;
        assert_eq!(reply.status, status, "{host}");
    }
    assert_eq!(seen.load(SeqCst), before + 1);
    // A newer key seals, and the older opens until it is gone.
    for (revision, keys, status) in [(3, &[2, 1][..], 200), (4, &[3, 2], 401)] {
        fabric.set_session_keys(keys);
        fabric.publish(revision);
        let reply = browser.clone().ask(&fabric, HOST, "GET /", "").await;
        assert_eq!(reply.status, status, "{keys:?}");
    }
}

#[tokio::test]
async fn a_pass_is_good_for_its_browser_and_a_minute() {
    let fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    let url = format!("https://{HOST}/x");
    let (_, page) = browser.open(&fabric, &url).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    let (_, target) = parts(reply.location());
    let line = format!("GET {target}");
    // Whoever is sent the address of somebody else's pass must not become them (RFC 6819, section 4.4.1.8).
    let stranger = Browser::default()
        .ask(&fabric, HOST, &line, NAVIGATION)
        .await;
    assert_eq!(stranger.status, 400, "{stranger:?}");
    assert!(stranger.body.contains("sign_in_failed"));
    assert!(stranger.field("set-cookie").is_none());
    let mut other = Browser::default();
    other.open(&fabric, &url).await;
    let reply = other.ask(&fabric, HOST, &line, NAVIGATION).await;
    assert_eq!((reply.status, reply.location()), (303, &*url));
    assert!(reply.field("set-cookie").is_none(), "another's secret");
    let reply = other.ask(&fabric, HOST, "GET /x", NAVIGATION).await;
    assert_eq!(reply.status, 302, "still nobody");
    // Another host does not take it either.
    let reply = browser.ask(&fabric, CRM, &line, NAVIGATION).await;
    assert_eq!(reply.status, 400);
    // Not the last letter: it could be this one already.
    let at = line.len() - 9;
    let other = if line.as_bytes()[at] == b'A' {
        'B'
    } else {
        'A'
    };
    let touched = format!("{}{other}{}", &line[..at], &line[at + 1..]);
    let reply = browser.ask(&fabric, HOST, &touched, NAVIGATION).await;
    assert_eq!(reply.status, 400);
    let mut late = browser.clone();
    let reply = browser.ask(&fabric, HOST, &line, NAVIGATION).await;
    assert_eq!(reply.status, 303);
    assert_eq!(reply.location(), url);
    fabric.clock.move_wall(Duration::from_secs(61));
    let reply = late.ask(&fabric, HOST, &line, NAVIGATION).await;
    assert_eq!(reply.status, 400, "too late");
}

#[tokio::test]
async fn nobody_is_signed_in_by_a_page_of_another_site() {
    let fabric = fabric().await;
    let mut browser = Browser::default();
    let (_, page) = browser.open(&fabric, &format!("https://{HOST}/x")).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    // A form that was made for another browser.
    let mut victim = Browser::default();
    victim.open(&fabric, &format!("https://{HOST}/x")).await;
    let reply = victim.submit(&fabric, "/sign-in", &page, &typed).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(!victim.jar[AUTH].contains_key("__Host-adit-session"));
    // One that is sent from elsewhere.
    let body = format!(
        "token={}&user=alice&password={}",
        page.hidden("token"),
        escape(RIGHT)
    );
    for origin in ["https://evil.example", "null", "http://auth.example.com"] {
        let fields = format!(
            "origin: {origin}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n",
            body.len()
        );
        let reply = browser
            .send(&fabric, AUTH, "POST /sign-in", &fields, &body)
            .await;
        assert_eq!(reply.status, 400, "{origin}");
    }
    // Frames of other sites show nothing that could be clicked.
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(policy.contains("form-action 'self' https: http:;"));
    // With "no-referrer", browsers would send their forms from "null".
    assert_eq!(page.field("referrer-policy"), Some("same-origin"));
    assert_eq!(page.field("x-frame-options"), Some("DENY"));
}

#[tokio::test]
async fn an_errand_that_was_not_made_here_leads_nowhere() {
    let fabric = fabric().await;
    let mut browser = Browser::default();
    for to in ["https://evil.example/", "AAAA", &"A".repeat(7_000)] {
        let url = format!("https://{AUTH}/sign-in?to={to}");
        let (_, page) = browser.open(&fabric, &url).await;
        assert_eq!(page.hidden("to"), "");
        assert!(!page.body.contains("evil"), "{page:?}");
        let typed = [("user", "alice"), ("password", RIGHT)];
        let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
        assert_eq!((reply.status, reply.location()), (303, "/"));
        browser.jar.clear();
    }
    let mut browser = Browser::default();
    let (_, home) = browser
        .sign_in(&fabric, &format!("https://{AUTH}/"), "alice")
        .await;
    assert!(home.body.contains("You are signed in"), "{home:?}");
    assert!(home.body.contains("Alice &lt;b&gt;"), "{home:?}");
}

#[tokio::test]
async fn forms_are_bounded_and_other_requests_are_none() {
    let fabric = fabric().await;
    let kind = "content-type: application/x-www-form-urlencoded\r\n";
    let long = "a".repeat(40_000);
    for (line, fields, body, status) in [
        (
            "POST /sign-in",
            format!("{kind}content-length: {}\r\n", long.len()),
            &*long,
            413,
        ),
        (
            "POST /sign-in",
            "content-type: application/json\r\ncontent-length: 2\r\n".to_owned(),
            "{}",
            400,
        ),
        (
            "POST /sign-in",
            format!("{kind}content-length: 0\r\n"),
            "",
            400,
        ),
        ("GET /nothing", String::new(), "", 404),
        ("DELETE /sign-in", String::new(), "", 404),
        ("GET /robots.txt", String::new(), "", 200),
    ] {
        let reply = Browser::default()
            .send(&fabric, AUTH, line, &fields, body)
            .await;
        assert_eq!(reply.status, status, "{line} {reply:?}");
    }
}

#[tokio::test]
async fn origins_hear_who_the_user_is_and_not_what_the_user_says() {
    let mut fabric = fabric().await;
    fabric.change_app(|app| {
        let field = |name: &str, value: IdentityValue| IdentityField {
            name: name.to_owned(),
            value: value.into(),
            ..IdentityField::default()
        };
        app.identity_fields = vec![
            field("x-remote-user", IdentityValue::User),
            field("x-remote-groups", IdentityValue::UserGroups),
        ];
    });
    fabric.publish(3);
    let agent = fabric.agent("a1").await;
    let mut browser = Browser::default();
    let (_, page) = browser.open(&fabric, &format!("https://{HOST}/")).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    let (_, target) = parts(reply.location());
    browser
        .ask(&fabric, HOST, &format!("GET {target}"), NAVIGATION)
        .await;
    let forged = "x-remote-user: root\r\nX_Remote_User: root\r\nx-remote-groups: admins\r\n";
    let (reply, fields) = tokio::join!(browser.ask(&fabric, HOST, "GET /who", forged), async {
        let asked = agent.request().await;
        let fields = tunnel::fields::decode(asked.head.fields.clone()).unwrap();
        asked.answer(200, "hello").await;
        fields
    });
    assert_eq!(reply.body, "hello");
    assert_eq!(fields["x-remote-user"], "alice");
    assert_eq!(fields["x-remote-groups"], "staff");
    assert!(!fields.contains_key("x_remote_user"));
    assert!(!fields.contains_key("cookie"));
}

/// What the origin is told of alice in fields that begin with `x-`, at a path, whatever she says in these.
async fn told_at(fabric: &Fabric, agent: &Agent, browser: &mut Browser, path: &str) -> String {
    let forged = "x-remote-user: root\r\nX_Remote_User: root\r\nx.remote.user: root\r\nx-site: root\r\nX_Site: root\r\nx_more: root\r\n\
                  x-more: root\r\nx-kept: kept\r\n";
    let line = format!("GET {path}");
    let (reply, told) = tokio::join!(browser.ask(fabric, HOST, &line, forged), async {
        let asked = agent.request().await;
        let fields = tunnel::fields::decode(asked.head.fields.clone()).unwrap();
        asked.answer(200, "hello").await;
        fields
    });
    assert_eq!(reply.body, "hello", "{path}");
    let told = told.iter().filter(|(name, _)| {
        let name = name.as_str();
        name.starts_with('x') && !name.starts_with("x-forwarded") && name != "x-request-id"
    });
    let mut told: Vec<_> = told
        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
        .collect();
    told.sort();
    told.join(" ")
}

#[tokio::test]
async fn origins_of_a_segment_hear_what_it_says_and_users_speak_in_no_field_of_any_part() {
    let mut fabric = fabric().await;
    fabric.change_app(|app| {
        let field = |name: &str, value: IdentityValue, detail: &str| IdentityField {
            name: name.to_owned(),
            value: value.into(),
            detail: detail.to_owned(),
            ..IdentityField::default()
        };
        app.identity_fields = vec![
            field("x-remote-user", IdentityValue::User, ""),
            field("x-site", IdentityValue::Text, "main"),
        ];
        app.segments = [("/admin", "admin"), ("/plain", "plain")]
            .map(|(path, id)| EdgeSegment {
                id: id.to_owned(),
                hosts: vec![HOST.to_owned()],
                path: path.to_owned(),
                ..EdgeSegment::default()
            })
            .into();
        app.segments[0].identity_fields = vec![
            field("x-site", IdentityValue::Text, "admin"),
            field("x-more", IdentityValue::UserGroups, ""),
        ];
    });
    fabric.publish(3);
    let agent = fabric.agent("a1").await;
    let mut browser = Browser::default();
    let (_, page) = browser.open(&fabric, &format!("https://{HOST}/")).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
    let (_, target) = parts(reply.location());
    browser
        .ask(&fabric, HOST, &format!("GET {target}"), NAVIGATION)
        .await;
    for (path, want) in [
        ("/", "x-kept=kept x-remote-user=alice x-site=main"),
        ("/plain/x", "x-kept=kept x-remote-user=alice x-site=main"),
        (
            "/admin/x",
            "x-kept=kept x-more=staff x-remote-user=alice x-site=admin",
        ),
        (
            "/administrators",
            "x-kept=kept x-remote-user=alice x-site=main",
        ),
    ] {
        let told = told_at(&fabric, &agent, &mut browser, path).await;
        assert_eq!(told, want, "{path}");
    }
}

#[tokio::test]
async fn a_session_that_somebody_else_has_planted_is_not_the_one_that_is_signed_in() {
    let fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let url = format!("https://{HOST}/x");
    let mut mallory = Browser::default();
    mallory.sign_in(&fabric, &url, "mallet").await;
    // With all cookies of another's browser, at both hosts, as if they could be set.
    let mut victim = mallory.clone();
    let planted = victim.jar.clone();
    victim
        .jar
        .get_mut(AUTH)
        .unwrap()
        .remove("__Host-adit-session");
    victim.jar.get_mut(HOST).unwrap().remove("__Host-adit-app");
    victim.sign_in(&fabric, &url, "alice").await;
    for (host, name) in [(HOST, "__Host-adit-app"), (AUTH, "__Host-adit-session")] {
        assert_ne!(victim.jar[host][name], planted[host][name]);
    }
    let who = |reply: Reply| reply.body.split(',').next().unwrap().to_owned();
    let identity = "GET /.adit/identity";
    let reply = victim.ask(&fabric, HOST, identity, "").await;
    assert_eq!(who(reply), "{\"user\":\"alice\"");
    // What the other one has kept is theirs still, and has become nobody else's.
    let reply = mallory.ask(&fabric, HOST, identity, "").await;
    assert_eq!(who(reply), "{\"user\":\"mallet\"");
}

#[tokio::test]
async fn one_connection_for_many_hosts_and_users_mixes_none_of_them() {
    let mut fabric = fabric().await;
    fabric.change_app(|app| app.assertion_field = "adit-assertion".to_owned());
    fabric.set_assertion_keys(&[0]);
    fabric.publish(3);
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut cookies = Vec::new();
    for user in ["alice", "carol"] {
        let mut browser = Browser::default();
        let url = format!("https://{HOST}/x");
        browser.sign_in(&fabric, &url, user).await;
        cookies.push((user, browser.jar[HOST]["__Host-adit-app"].clone()));
    }
    // As a proxy would that has several users' requests on one connection.
    let mut http2 = connect_http2(&fabric).await;
    for (user, cookie) in cookies.iter().chain(&cookies) {
        for (host, status) in [(HOST, 200), (CRM, 401)] {
            let request = Request::get(format!("https://{host}/.adit/identity"))
                .header("cookie", format!("__Host-adit-app={cookie}"))
                .body(empty());
            let reply = http2.send_request(request.unwrap()).await.unwrap();
            assert_eq!(reply.status(), status, "{user} at {host}");
            let body = reply.into_body().collect().await.unwrap().to_bytes();
            let said = format!("{{\"user\":\"{user}\",");
            assert_eq!(body.starts_with(said.as_bytes()), status == 200);
        }
        let nobody = Request::get(format!("https://{HOST}/.adit/identity")).body(empty());
        let reply = http2.send_request(nobody.unwrap()).await.unwrap();
        assert_eq!(reply.status(), 401, "after {user}");
    }
}
