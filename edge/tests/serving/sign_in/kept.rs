//! Forms that are posted while nobody is signed in, cookies as apps ask for them, and frames.

use proto::fabric::{SameSite, SessionCookie};

use super::*;

const FORM: &str = "application/x-www-form-urlencoded";

/// What a browser says of a form that a page of `site` posts.
fn posted(site: &str, kind: &str, body: &str) -> String {
    format!(
        "accept: text/html\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: document\r\nsec-fetch-site: {site}\r\n\
         content-type: {kind}\r\ncontent-length: {}\r\n",
        body.len()
    )
}

/// Signs in from the page that has kept a form, and comes back to where it is sent again from; gives what the browser has stored.
async fn sign_in_with(
    fabric: &Fabric,
    browser: &mut Browser,
    page: &Reply,
) -> (String, String, String) {
    assert_eq!(page.status, 200, "{page:?}");
    let [mark, path, kept, next] =
        ["mark", "path", "kept", "next"].map(|name| page.hidden(name).replace("&amp;", "&"));
    let (_, asked) = browser.open(fabric, &next).await;
    let typed = [("user", "alice"), ("password", RIGHT)];
    let reply = browser.submit(fabric, "/sign-in", &asked, &typed).await;
    let (end, page) = browser.open(fabric, reply.location()).await;
    assert_eq!(end, format!("https://{HOST}/.adit/repeat?form={mark}"));
    assert!(page.body.contains("<h1>Sending the form</h1>"), "{page:?}");
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    (mark, path, kept)
}

/// Posts a kept form, as the page's script does.
async fn repeat(fabric: &Fabric, browser: &mut Browser, target: &str, kept: &str) -> Reply {
    let body = format!("kept={kept}");
    let fields = posted("same-origin", FORM, &body);
    let fields = format!("{fields}origin: https://{HOST}\r\n");
    let line = format!("POST {target}");
    browser.send(fabric, HOST, &line, &fields, &body).await
}

#[tokio::test]
async fn a_form_is_kept_over_the_sign_in_and_sent_as_it_was() {
    let mut fabric = fabric().await;
    fabric.change_app(|app| app.cross_site_posts = true);
    fabric.publish(3);
    let agent = fabric.agent("a1").await;
    let mut browser = Browser::default();
    let body = "SAMLResponse=PHNhbWw%2B&RelayState=%2Fdeep";
    let sent = posted("cross-site", FORM, body)
        + "origin: https://idp.example\r\nreferer: https://idp.example/\r\ncookie: relay=1; __Host-adit-app=old\r\n";
    let page = browser
        .send(&fabric, HOST, "POST /acs?x=1", &sent, body)
        .await;
    let (mark, path, kept) = sign_in_with(&fabric, &mut browser, &page).await;
    assert_eq!(path, "/acs?x=1");
    // Cookies that the browser would not have sent with a form of another site do not come along now, either.
    let jar = browser.jar.get_mut(HOST).unwrap();
    jar.insert("lax".to_owned(), "2".to_owned());
    let target = format!("{path}&adit-form={mark}");
    let (reply, asked) = tokio::join!(repeat(&fabric, &mut browser, &target, &kept), async {
        let mut asked = agent.request().await;
        let seen = (asked.head.clone(), asked.body().await);
        asked.answer(200, "consumed").await;
        seen
    });
    assert_eq!((reply.status, &*reply.body), (200, "consumed"));
    let (head, seen) = asked;
    assert_eq!(seen, body.as_bytes());
    assert_eq!(
        (&*head.method, &*head.path_and_query),
        (&b"POST"[..], &b"/acs?x=1"[..])
    );
    assert_eq!(head.body_length, Some(body.len() as u64));
    let fields = tunnel::fields::decode(head.fields).unwrap();
    for (name, want) in [
        ("origin", "https://idp.example"),
        ("referer", "https://idp.example/"),
        ("sec-fetch-site", "cross-site"),
        ("content-type", FORM),
        ("cookie", "relay=1"),
    ] {
        let all: Vec<_> = fields.get_all(name).iter().collect();
        assert_eq!(all, [want], "{name}");
    }
}

#[tokio::test]
async fn a_kept_form_is_of_its_browser_its_address_and_an_hour() {
    let fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    let seen = serve(&fabric, &agent);
    let mut browser = Browser::default();
    let fields = posted("same-origin", "text/plain", "x=y");
    let page = browser.send(&fabric, HOST, "POST /a", &fields, "x=y").await;
    let (mark, _, kept) = sign_in_with(&fabric, &mut browser, &page).await;
    let right = format!("/a?adit-form={mark}");
    // Another browser of the same user's.
    let mut other = Browser::default();
    other
        .sign_in(&fabric, &format!("https://{HOST}/"), "alice")
        .await;
    let before = seen.load(SeqCst);
    let reply = repeat(&fabric, &mut other, &right, &kept).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    let mut touched = kept.clone().into_bytes();
    touched[40] = if touched[40] == b'A' { b'B' } else { b'A' };
    let touched = String::from_utf8(touched).unwrap();
    for (target, kept) in [
        (&*format!("/b?adit-form={mark}"), &*kept),
        (&format!("/a?x=1&adit-form={mark}"), &kept),
        ("/a?adit-form=AAAA", &kept),
        (&right, &touched),
        (&right, ""),
    ] {
        let reply = repeat(&fabric, &mut browser, target, kept).await;
        assert_eq!(reply.status, 400, "{target}");
        assert!(reply.body.contains("sign_in_failed"), "{reply:?}");
    }
    // Nobody's session: it is not kept inside itself.
    let mut nobody = browser.clone();
    nobody.jar.get_mut(HOST).unwrap().remove("__Host-adit-app");
    let reply = repeat(&fabric, &mut nobody, &right, &kept).await;
    assert_eq!(reply.status, 401, "{reply:?}");
    let reply = repeat(&fabric, &mut browser, &right, &"A".repeat(120 * 1024)).await;
    assert_eq!(reply.status, 413, "{reply:?}");
    assert_eq!(seen.load(SeqCst), before);
    let reply = repeat(&fabric, &mut browser, &right, &kept).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    fabric.clock.move_wall(Duration::from_secs(3_601));
    let reply = repeat(&fabric, &mut browser, &right, &kept).await;
    assert_eq!(reply.status, 400, "too late");
}

#[tokio::test]
async fn what_is_not_kept_is_told_so_and_reaches_no_origin() {
    let fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    let seen = serve(&fabric, &agent);
    let long = "a".repeat(64 * 1024 + 1);
    let fits = "a".repeat(64 * 1024);
    let many = format!("cookie: c={}\r\n", "c".repeat(13 * 1024));
    let post = |site: &str, body: &str, more: &str| posted(site, FORM, body) + more;
    for (fields, body, status, words) in [
        (
            post("same-origin", &fits, ""),
            &*fits,
            200,
            "Sign in to send the form",
        ),
        (
            post("same-site", "a=b", ""),
            "a=b",
            200,
            "Sign in to send the form",
        ),
        (
            post("same-origin", &long, ""),
            &long,
            401,
            "too long to be kept",
        ),
        (
            post("same-origin", "a=b", &many),
            "a=b",
            401,
            "too long to be kept",
        ),
        (
            post("cross-site", "a=b", ""),
            "a=b",
            401,
            "came from another site",
        ),
        (
            post("sideways", "a=b", ""),
            "a=b",
            401,
            "came from another site",
        ),
        (
            format!("accept: text/html\r\ncontent-type: {FORM}\r\ncontent-length: 3\r\n"),
            "a=b",
            401,
            "sign_in_required",
        ),
    ] {
        let reply = Browser::default()
            .send(&fabric, HOST, "POST /save", &fields, body)
            .await;
        assert_eq!(reply.status, status, "{words} {}", reply.head);
        assert!(reply.body.contains(words), "{words} {}", reply.head);
        let challenge = reply.field("www-authenticate");
        assert_eq!(challenge.is_some(), status == 401);
    }
    assert_eq!(seen.load(SeqCst), 0);
}

#[tokio::test]
async fn the_cookie_is_as_the_app_asks() {
    let mut fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    for (revision, same_site, persistent, want) in [
        (3, SameSite::Unspecified, false, "SameSite=Lax"),
        (4, SameSite::Strict, false, "SameSite=Strict"),
        (5, SameSite::None, false, "SameSite=None"),
        (6, SameSite::Lax, true, "SameSite=Lax; Max-Age=43"),
    ] {
        fabric.change_app(|app| {
            app.session_cookie = Some(SessionCookie {
                same_site: same_site.into(),
                persistent,
            });
        });
        fabric.publish(revision);
        let mut browser = Browser::default();
        let (_, page) = browser.open(&fabric, &format!("https://{HOST}/x?y")).await;
        let typed = [("user", "alice"), ("password", RIGHT)];
        let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
        let (_, target) = parts(reply.location());
        let line = format!("GET {target}");
        let reply = browser.ask(&fabric, HOST, &line, NAVIGATION).await;
        let cookie = reply.field("set-cookie").unwrap();
        let (_, settings) = cookie.split_once("; Path=/; Secure; HttpOnly; ").unwrap();
        assert!(settings.starts_with(want), "{settings}");
        assert_eq!(settings.contains("Max-Age"), persistent, "{settings}");
        // A strict cookie comes only with what begins here.
        let status = if same_site == SameSite::Strict {
            200
        } else {
            303
        };
        assert_eq!(reply.status, status, "{reply:?}");
        let link = format!("<a href=\"https://{HOST}/x?y\">");
        assert_eq!(reply.body.contains(&link), status == 200, "{reply:?}");
        let reply = browser.ask(&fabric, HOST, "GET /x?y", NAVIGATION).await;
        assert_eq!(reply.status, 200);
    }
}

#[tokio::test]
async fn a_kept_form_brings_the_cookie_that_every_app_of_the_host_can_bear() {
    let mut fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let Some(Kind::EdgeApp(mut root)) = fabric.resources["apps/wiki"].kind.clone() else {
        panic!("apps/wiki is there from the start");
    };
    root.id = "root".to_owned();
    root.session_cookie = Some(SessionCookie {
        same_site: SameSite::None.into(),
        persistent: true,
    });
    fabric.set("apps/root", Kind::EdgeApp(root));
    fabric.change_app(|app| app.path = "/wiki".to_owned());
    fabric.publish(3);
    let mut browser = Browser::default();
    for path in ["/wiki/save", "/save"] {
        let sent = posted("same-origin", FORM, "a=b");
        let line = format!("POST {path}");
        let page = browser.send(&fabric, HOST, &line, &sent, "a=b").await;
        let (_, page) = browser.open(&fabric, &page.hidden("next")).await;
        let typed = [("user", "alice"), ("password", RIGHT)];
        let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
        let (_, target) = parts(reply.location());
        let line = format!("GET {target}");
        let reply = browser.ask(&fabric, HOST, &line, NAVIGATION).await;
        let cookie = reply.field("set-cookie").unwrap();
        assert!(cookie.contains("SameSite=Lax"), "{path}: {cookie}");
        assert!(!cookie.contains("Max-Age"), "{path}: {cookie}");
        browser.jar.clear();
    }
}

#[tokio::test]
async fn nobody_is_led_to_sign_in_within_a_frame() {
    let fabric = fabric().await;
    for frame in ["iframe", "frame", "embed", "object", "fencedframe"] {
        let fields = format!("{NAVIGATION}sec-fetch-dest: {frame}\r\n");
        let reply = Browser::default()
            .ask(&fabric, HOST, "GET /x?%22y=1&z", &fields)
            .await;
        assert_eq!(reply.status, 401, "{frame} {reply:?}");
        let link = format!("<a href=\"https://{HOST}/x?%22y=1&amp;z\"");
        assert!(reply.body.contains(&link), "{reply:?}");
        assert!(reply.body.contains("target=\"_top\""), "{reply:?}");
        let policy = reply.field("content-security-policy").unwrap();
        assert!(policy.contains("frame-ancestors *"), "{policy}");
        assert_eq!(reply.field("x-frame-options"), None);
        assert!(reply.field("set-cookie").is_none());
    }
    // The pages where something can be clicked are never framed.
    let (_, page) = Browser::default()
        .open(&fabric, &format!("https://{AUTH}/sign-in"))
        .await;
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
}

#[tokio::test]
async fn an_app_can_ask_how_long_a_session_goes_on_and_have_a_newer_one() {
    const RENEW: &str = "GET /.adit/renew";
    let fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    let reply = browser.ask(&fabric, HOST, RENEW, "").await;
    assert_eq!(reply.status, 401, "{reply:?}");
    let challenge = format!("Adit sign_in=\"https://{AUTH}/sign-in\"");
    assert_eq!(reply.field("www-authenticate"), Some(&*challenge));
    // A window: it shows the sign-in page, and after that nothing of the app.
    let url = format!("https://{HOST}/.adit/renew");
    let (end, page) = browser.sign_in(&fabric, &url, "alice").await;
    assert_eq!(end, format!("{url}?done"));
    assert!(page.body.contains("close this window"), "{page:?}");
    let reply = browser.ask(&fabric, HOST, RENEW, "").await;
    let (_, end) = reply.body.split_once("{\"session_ends_ms\":").unwrap();
    let end: i64 = end.trim_end_matches('}').parse().unwrap();
    let left = end - milliseconds(&fabric.clock);
    let life = 12 * 3_600 * 1_000;
    assert!((life - 60_000..=life + 60_000).contains(&left), "{left}");
    // Another session at the sign-in host takes the place of this one without a question.
    browser.jar.get_mut(HOST).unwrap().remove("__Host-adit-app");
    let (end, page) = browser.open(&fabric, &url).await;
    assert_eq!((end, page.status), (format!("{url}?done"), 200));
    let reply = browser.ask(&fabric, HOST, RENEW, "").await;
    assert_eq!(reply.status, 200);
    // Nobody is led to a page that frames must not show, and nothing else has this address.
    let framed = format!("{NAVIGATION}sec-fetch-dest: iframe\r\n");
    let reply = browser.ask(&fabric, HOST, RENEW, &framed).await;
    assert_eq!(reply.status, 401);
    let reply = browser.ask(&fabric, HOST, "POST /.adit/renew", "").await;
    assert_eq!(reply.status, 404);
}
