//! A second factor is asked for, set up and shown by forms; what leads there opens nothing.

mod control;

use control::CREDENTIAL;
pub(super) use control::{CODE, answer, half, proof};

use super::*;

/// A page's form with what is hidden in it.
pub(super) async fn submit(
    browser: &mut Browser,
    fabric: &Fabric,
    path: &str,
    (page, names): (&Reply, &[&str]),
    typed: &[(&str, &str)],
) -> Reply {
    let hidden: Vec<_> = names
        .iter()
        .map(|name| (*name, page.hidden(name)))
        .collect();
    let pairs = hidden.iter().map(|(name, value)| (*name, &**value));
    let pairs = pairs.chain(typed.iter().copied());
    let body: Vec<_> = pairs
        .map(|(name, value)| format!("{name}={}", escape(value)))
        .collect();
    let body = body.join("&");
    let fields = format!(
        "{NAVIGATION}origin: https://{AUTH}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n",
        body.len()
    );
    let line = format!("POST {path}");
    browser.send(fabric, AUTH, &line, &fields, &body).await
}

const WAY: [&str; 4] = ["token", "to", "fragment", "halfway"];

/// The page that comes after a right password.
async fn after_password(browser: &mut Browser, fabric: &Fabric, user: &str) -> Reply {
    let url = format!("https://{HOST}/deep?x=1");
    let (_, page) = browser.open(fabric, &url).await;
    let typed = [("user", user), ("password", RIGHT)];
    let reply = browser.submit(fabric, "/sign-in", &page, &typed).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(!browser.jar[AUTH].contains_key("__Host-adit-session"));
    reply
}

/// Signs otto in with everything he has.
async fn otto(browser: &mut Browser, fabric: &Fabric) {
    let page = after_password(browser, fabric, "otto").await;
    let typed = [("code", CODE)];
    let reply = submit(browser, fabric, "/second-factor", (&page, &WAY), &typed).await;
    assert_eq!(reply.status, 303, "{reply:?}");
}

#[tokio::test]
async fn a_code_is_asked_for_after_the_password_and_leads_to_the_deep_link() {
    let fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    let page = after_password(&mut browser, &fabric, "otto").await;
    assert!(page.body.contains("<h1>Second factor</h1>"), "{page:?}");
    // Without the code nobody is signed in.
    let app = browser.ask(&fabric, HOST, "GET /", "").await;
    assert_eq!(app.status, 401);
    let typed = [("code", "000000")];
    let page = submit(
        &mut browser,
        &fabric,
        "/second-factor",
        (&page, &WAY),
        &typed,
    )
    .await;
    assert_eq!(page.status, 401);
    assert!(page.body.contains("This code is not right"), "{page:?}");
    let typed = [("code", CODE)];
    let reply = submit(
        &mut browser,
        &fabric,
        "/second-factor",
        (&page, &WAY),
        &typed,
    )
    .await;
    assert_eq!(reply.status, 303, "{reply:?}");
    let location = reply.location().to_owned();
    let (end, reply) = browser.open(&fabric, &location).await;
    assert_eq!(
        (end, reply.status),
        (format!("https://{HOST}/deep?x=1"), 200)
    );
    let who = browser.ask(&fabric, HOST, "GET /.adit/identity", "").await;
    assert!(who.body.contains("otto by pwd+otp+mfa"), "{who:?}");
    let want = ["otto", "wrong_code", "", ""].map(str::to_owned);
    assert_eq!(told(&fabric, SignInKind::Refused), [want]);
    let events = fabric.reports.oldest().events;
    let mut came = events
        .iter()
        .filter(|event| event.kind() == SignInKind::SignedIn);
    assert_eq!(came.next().unwrap().methods, ["pwd", "otp", "mfa"]);
    assert!(came.next().is_none(), "the password alone is no sign-in");
}

#[tokio::test]
async fn what_leads_to_a_second_factor_is_one_browsers_and_for_five_minutes() {
    let fabric = fabric().await;
    let mut browser = Browser::default();
    let page = after_password(&mut browser, &fabric, "otto").await;
    let halfway = page.hidden("halfway");
    // In another browser, with a form token of its own.
    let mut other = Browser::default();
    let own = after_password(&mut other, &fabric, "otto").await;
    let typed = [("halfway", &*halfway), ("code", CODE)];
    let names = ["token", "to", "fragment"];
    let reply = submit(
        &mut other,
        &fabric,
        "/second-factor",
        (&own, &names),
        &typed,
    )
    .await;
    assert_eq!(reply.status, 400, "{reply:?}");
    // It is no session, whatever cookie it is put into.
    for (host, cookie) in [(AUTH, "__Host-adit-session"), (HOST, "__Host-adit-app")] {
        let mut thief = Browser::default();
        thief
            .jar
            .entry(host.to_owned())
            .or_default()
            .insert(cookie.to_owned(), halfway.clone());
        let reply = thief.ask(&fabric, host, "GET /", NAVIGATION).await;
        assert!(matches!(reply.status, 302 | 303), "{reply:?}");
        assert!(reply.location().contains("/sign-in"), "{reply:?}");
    }
    // Nor is it good for changes of the account.
    let typed = [("offer", "x"), ("code", CODE)];
    let reply = submit(
        &mut browser,
        &fabric,
        "/authenticator/confirm",
        (&page, &WAY),
        &typed,
    )
    .await;
    assert_eq!(reply.status, 400);
    // A form from elsewhere is none.
    let forged = [("token", "forged"), ("halfway", &*halfway), ("code", CODE)];
    let reply = submit(
        &mut browser,
        &fabric,
        "/second-factor",
        (&page, &[]),
        &forged,
    )
    .await;
    assert_eq!(reply.status, 400);
    fabric.clock.move_wall(Duration::from_secs(301));
    let typed = [("code", CODE)];
    let reply = submit(
        &mut browser,
        &fabric,
        "/second-factor",
        (&page, &WAY),
        &typed,
    )
    .await;
    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("open for too long"), "{reply:?}");
}

#[tokio::test]
async fn who_has_to_sets_an_app_up_and_sees_the_recovery_codes_once() {
    let fabric = fabric().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    let page = after_password(&mut browser, &fabric, "nora").await;
    assert!(
        page.body
            .contains("Your organisation asks for a second factor"),
        "{page:?}"
    );
    assert!(page.body.contains("<svg role=\"img\""), "{page:?}");
    let names = ["token", "to", "fragment", "halfway", "offer"];
    let path = "/authenticator/confirm";
    let offered = page.hidden("offer");
    let typed = [("code", "000000")];
    let again = submit(&mut browser, &fabric, path, (&page, &names), &typed).await;
    assert_eq!(again.status, 401);
    let key = |page: &Reply| page.body.split("Key: <code>").nth(1).unwrap()[..39].to_owned();
    assert_eq!(key(&again), key(&page), "the app has the key already");
    assert_ne!(offered, "");
    let typed = [("code", CODE)];
    let done = submit(&mut browser, &fabric, path, (&again, &names), &typed).await;
    assert!(done.body.contains("abcd-efgh-jkmn-pqrs"), "{done:?}");
    assert!(browser.jar[AUTH].contains_key("__Host-adit-session"));
    let (_, rest) = done.body.split_once("<a href=\"").unwrap();
    let go_on = rest.split('"').next().unwrap().to_owned();
    let (end, reply) = browser.open(&fabric, &go_on).await;
    assert_eq!(
        (end, reply.status),
        (format!("https://{HOST}/deep?x=1"), 200)
    );
    let line = |reason: &str| ["nora", reason, "", ""].map(str::to_owned);
    let refused = told(&fabric, SignInKind::Refused);
    assert_eq!(refused, [line("wrong_code")]);
    assert_eq!(told(&fabric, SignInKind::SignedIn), [line("")]);
}

#[tokio::test]
async fn the_account_page_shows_what_there_is_and_asks_for_the_password_before_changes() {
    let fabric = fabric().await;
    let mut browser = Browser::default();
    otto(&mut browser, &fabric).await;
    let home = format!("https://{AUTH}/");
    let (_, page) = browser.open(&fabric, &home).await;
    for words in [
        "7 recovery codes left",
        "Otto&#39;s &lt;key&gt;",
        "/passkeys/remove?id=one",
        "Add a passkey",
        "Sign out everywhere else",
    ] {
        assert!(page.body.contains(words), "{words}: {page:?}");
    }
    for (path, id) in [("/authenticator/remove", ""), ("/passkeys/remove", "one")] {
        let url = format!("https://{AUTH}{path}?id={id}");
        let (_, page) = browser.open(&fabric, &url).await;
        let names = ["token", "id"];
        let typed = [("password", "wrong")];
        let reply = submit(&mut browser, &fabric, path, (&page, &names), &typed).await;
        assert_eq!(reply.status, 401, "{reply:?}");
        assert!(
            reply.body.contains("The password is not right"),
            "{reply:?}"
        );
        let typed = [("password", RIGHT)];
        let reply = submit(&mut browser, &fabric, path, (&page, &names), &typed).await;
        assert_eq!((reply.status, reply.location()), (303, "/"), "{reply:?}");
        let (_, page) = browser.open(&fabric, &home).await;
        assert!(page.body.contains("+removed"), "a session anew: {page:?}");
    }
    // Another app is set up in place of this one, with what was shown before.
    let (_, page) = browser
        .open(&fabric, &format!("https://{AUTH}/authenticator"))
        .await;
    let typed = [("password", RIGHT)];
    let page = submit(
        &mut browser,
        &fabric,
        "/authenticator",
        (&page, &["token"]),
        &typed,
    )
    .await;
    assert!(page.body.contains("<svg"), "{page:?}");
    // Without a session there is nothing of it.
    for path in [
        "/authenticator",
        "/passkeys/add",
        "/second-factor",
        "/passkeys/remove",
    ] {
        let line = format!("GET {path}");
        let reply = Browser::default()
            .ask(&fabric, AUTH, &line, NAVIGATION)
            .await;
        assert_eq!(reply.location(), "/sign-in?to=", "{path}");
    }
}

#[tokio::test]
async fn what_shows_a_password_for_a_change_is_good_in_its_session_alone() {
    let fabric = fabric().await;
    let mut browser = Browser::default();
    otto(&mut browser, &fabric).await;
    let session = browser.jar[AUTH]["__Host-adit-session"].clone();
    let mut pages = Vec::new();
    for path in ["/authenticator", "/passkeys/add"] {
        let url = format!("https://{AUTH}{path}");
        let (_, page) = browser.open(&fabric, &url).await;
        let typed = [("password", RIGHT)];
        pages.push(submit(&mut browser, &fabric, path, (&page, &["token"]), &typed).await);
    }
    let used = used();
    let mut made = borrowed(&used);
    made.extend([
        ("public_key", "AAAA"),
        ("algorithm", "-7"),
        ("display_name", "Laptop"),
    ]);
    let code = [("code", CODE)];
    let names = ["token", "to", "fragment", "halfway", "offer"];
    let ways = [
        ("/authenticator/confirm", &pages[0], &names[..], &code[..]),
        (
            "/passkeys/register",
            &pages[1],
            &["token", "challenge", "halfway"],
            &made,
        ),
    ];
    // Signed out, and signed in again by somebody, who may be another.
    for user in [None, Some("alice"), Some("otto")] {
        browser
            .jar
            .get_mut(AUTH)
            .unwrap()
            .remove("__Host-adit-session");
        match user {
            Some("alice") => {
                let url = format!("https://{AUTH}/");
                browser.sign_in(&fabric, &url, "alice").await;
            }
            Some(_) => otto(&mut browser, &fabric).await,
            None => {}
        }
        let before = browser.jar[AUTH].get("__Host-adit-session").cloned();
        for (path, page, names, typed) in ways {
            let reply = submit(&mut browser, &fabric, path, (page, names), typed).await;
            assert_eq!(reply.status, 400, "{user:?} {path} {reply:?}");
            assert_eq!(
                browser.jar[AUTH].get("__Host-adit-session"),
                before.as_ref()
            );
        }
    }
    let jar = browser.jar.get_mut(AUTH).unwrap();
    jar.insert("__Host-adit-session".to_owned(), session);
    let (path, page, names, typed) = ways[0];
    let reply = submit(&mut browser, &fabric, path, (page, names), typed).await;
    assert!(reply.body.contains("abcd-efgh-jkmn-pqrs"), "{reply:?}");
}

#[tokio::test]
async fn signing_out_everywhere_else_keeps_this_browser_and_its_life() {
    let fabric = fabric().await;
    let mut browser = Browser::default();
    otto(&mut browser, &fabric).await;
    let before = browser.jar[AUTH]["__Host-adit-session"].clone();
    fabric.clock.move_wall(Duration::from_secs(11 * 3_600));
    let (_, page) = browser.open(&fabric, &format!("https://{AUTH}/")).await;
    let path = "/sign-out-everywhere";
    let reply = submit(&mut browser, &fabric, path, (&page, &["token"]), &[]).await;
    assert_eq!((reply.status, reply.location()), (303, "/"));
    assert_ne!(browser.jar[AUTH]["__Host-adit-session"], before);
    let (_, page) = browser.open(&fabric, &format!("https://{AUTH}/")).await;
    assert!(page.body.contains("You are signed in"), "{page:?}");
    // Whoever does so again and again stays no longer than others.
    fabric.clock.move_wall(Duration::from_secs(3_660));
    let (_, page) = browser.open(&fabric, &format!("https://{AUTH}/")).await;
    assert!(page.body.contains("<h1>Sign in</h1>"), "{page:?}");
}

#[tokio::test]
async fn an_app_may_ask_who_is_signed_in_for_a_second_factor_alone() {
    let fabric = fabric().await;
    let mut browser = Browser::default();
    // Alice has a password only, and nothing to show besides: she sets it up.
    browser
        .sign_in(&fabric, &format!("https://{AUTH}/"), "alice")
        .await;
    let (_, page) = browser
        .open(&fabric, &format!("https://{AUTH}/second-factor"))
        .await;
    assert!(
        page.body.contains("Set up an authenticator app"),
        "{page:?}"
    );
    // Otto, who has shown it, goes on.
    browser.jar.clear();
    otto(&mut browser, &fabric).await;
    let reply = browser
        .ask(&fabric, AUTH, "GET /second-factor", NAVIGATION)
        .await;
    assert_eq!((reply.status, reply.location()), (303, "/"));
}

#[tokio::test]
async fn a_note_for_one_factor_more_is_good_in_its_session_alone() {
    let fabric = fabric().await;
    let mut browser = Browser::default();
    // Olga has an app, and has signed in by her password when none was asked for.
    browser
        .sign_in(&fabric, &format!("https://{AUTH}/"), "olga")
        .await;
    let (_, page) = browser
        .open(&fabric, &format!("https://{AUTH}/second-factor"))
        .await;
    assert!(page.body.contains("<h1>Second factor</h1>"), "{page:?}");
    let jar = browser.jar.get_mut(AUTH).unwrap();
    let session = jar.remove("__Host-adit-session").unwrap();
    let (path, typed) = ("/second-factor", [("code", CODE)]);
    let reply = submit(&mut browser, &fabric, path, (&page, &WAY), &typed).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    let jar = browser.jar.get_mut(AUTH).unwrap();
    assert!(!jar.contains_key("__Host-adit-session"));
    jar.insert("__Host-adit-session".to_owned(), session);
    let reply = submit(&mut browser, &fabric, path, (&page, &WAY), &typed).await;
    assert_eq!(reply.status, 303, "{reply:?}");
}

#[tokio::test]
async fn one_network_takes_so_much_of_the_line_to_control_and_no_more() {
    let fabric = fabric().await;
    let mut browser = Browser::default();
    let (_, page) = browser
        .open(&fabric, &format!("https://{AUTH}/sign-in"))
        .await;
    let typed = [("user", "alice"), ("password", "wrong")];
    let mut looked_at = 0;
    // At five a second it takes a slow machine to be refused late.
    for _ in 0..600 {
        let reply = browser.submit(&fabric, "/sign-in", &page, &typed).await;
        if reply.status == 429 {
            assert!(reply.body.contains("from your network"), "{reply:?}");
            break;
        }
        assert_eq!(reply.status, 401, "{reply:?}");
        looked_at += 1;
    }
    assert!((40..600).contains(&looked_at), "{looked_at}");
}

fn base64url(bytes: &[u8]) -> String {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// What a script writes of a passkey that was used.
fn used() -> Vec<(&'static str, String)> {
    vec![
        ("credential", base64url(CREDENTIAL)),
        ("client_data", base64url(b"{}")),
        ("authenticator_data", base64url(b"data")),
        ("signature", base64url(b"signature")),
    ]
}

fn borrowed<'a>(pairs: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    pairs
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect()
}

#[tokio::test]
async fn a_passkey_is_asked_for_where_the_fabric_takes_them_and_its_challenge_is_the_browsers() {
    let mut fabric = fabric().await;
    let url = format!("https://{AUTH}/sign-in");
    let (_, plain) = Browser::default().open(&fabric, &url).await;
    assert!(!plain.body.contains("passkey"), "{plain:?}");
    let Some(Kind::Fabric(mut settings)) = fabric.resources["fabric"].kind.clone() else {
        panic!("the fabric's settings are there from the start");
    };
    settings.second_factors = true;
    fabric.set("fabric", Kind::Fabric(settings));
    fabric.publish(3);
    let mut browser = Browser::default();
    let (_, page) = browser.open(&fabric, &url).await;
    let offered = "autocomplete=\"username webauthn\"";
    assert!(page.body.contains(offered), "{page:?}");
    let (path, used) = ("/passkeys/use", used());
    let names = ["token", "to", "fragment", "challenge", "halfway"];
    let mut other = Browser::default();
    let (_, own) = other.open(&fabric, &url).await;
    let mut stolen = used.clone();
    stolen.push(("challenge", page.hidden("challenge")));
    let stolen = borrowed(&stolen);
    let reply = submit(&mut other, &fabric, path, (&own, &["token"]), &stolen).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    let mut unknown = borrowed(&used);
    unknown[0].1 = "AAAA";
    // As often as one likes, which is told once.
    for _ in 0..3 {
        let reply = submit(&mut browser, &fabric, path, (&page, &names), &unknown).await;
        assert_eq!(reply.status, 401);
        assert!(reply.body.contains("not known here"), "{reply:?}");
    }
    let used = borrowed(&used);
    let reply = submit(&mut browser, &fabric, path, (&page, &names), &used).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    // Nobody has said who it is.
    let want = ["", "wrong_passkey", "", ""].map(str::to_owned);
    assert_eq!(told(&fabric, SignInKind::Refused), [want]);
}

#[tokio::test]
async fn a_passkey_is_made_after_the_password_was_typed_for_it() {
    let fabric = fabric().await;
    let mut browser = Browser::default();
    otto(&mut browser, &fabric).await;
    let (path, url) = ("/passkeys/add", format!("https://{AUTH}/passkeys/add"));
    let (_, page) = browser.open(&fabric, &url).await;
    let typed = [("password", RIGHT)];
    let page = submit(&mut browser, &fabric, path, (&page, &["token"]), &typed).await;
    assert!(page.body.contains("Make a passkey"), "{page:?}");
    let known = format!("data-ids=\"{}\"", base64url(CREDENTIAL));
    assert!(page.body.contains(&known), "{page:?}");
    let used = used();
    let mut made = borrowed(&used);
    made.extend([
        ("public_key", "AAAA"),
        ("algorithm", "-7"),
        ("display_name", "Laptop"),
    ]);
    let (path, names) = ("/passkeys/register", ["token", "challenge", "halfway"]);
    // Without what shows the password, or with what a password alone leads to elsewhere.
    let reply = submit(&mut browser, &fabric, path, (&page, &names[..2]), &made).await;
    assert_eq!(reply.status, 400);
    let reply = submit(&mut browser, &fabric, path, (&page, &names), &made).await;
    assert_eq!((reply.status, reply.location()), (303, "/"), "{reply:?}");
}
