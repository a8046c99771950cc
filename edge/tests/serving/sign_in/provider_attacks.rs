//! What others try with sessions of identity providers, the way there and back, and what providers say.

use serde_json::json;

use super::{
    providers::{start, wiki},
    *,
};
use crate::provider::Provider;

const APP: &str = "__Host-adit-app";
const SESSION: &str = "__Host-adit-session";

/// Signs in by the provider and comes to the app.
async fn signed_in(fabric: &Fabric, provider: &Provider, mut browser: Browser) -> Browser {
    let reply = browser.sign_in_by(fabric, provider, &wiki("/x")).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    browser.open(fabric, reply.location()).await;
    browser
}

async fn status_with(fabric: &Fabric, host: &str, value: &str) -> u16 {
    let fields = format!("cookie: {APP}={value}\r\n");
    let mut nobody = Browser::default();
    nobody.ask(fabric, host, "GET /", &fields).await.status
}

/// With one character changed.
fn flipped(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn the_cookie_of_a_providers_session_opens_its_host_alone_and_as_it_was_given() {
    let (mut fabric, provider, _ends) = start().await;
    let agent = fabric.agent("a1").await;
    let seen = serve(&fabric, &agent);
    let browser = signed_in(&fabric, &provider, Browser::default()).await;
    let cookie = browser.jar[HOST][APP].clone();
    let before = seen.load(SeqCst);
    let mut forged: Vec<_> = [0, 10, 30, cookie.len() / 2, cookie.len() - 2]
        .iter()
        .map(|at| flipped(&cookie, *at))
        .collect();
    forged.push(cookie[..cookie.len() - 1].to_owned());
    forged.push(browser.jar[AUTH][SESSION].clone());
    forged.push(browser.jar[AUTH]["__Host-adit-hint"].clone());
    for value in &forged {
        assert_eq!(status_with(&fabric, HOST, value).await, 401, "{value}");
    }
    assert_eq!(status_with(&fabric, CRM, &cookie).await, 401);
    assert_eq!(seen.load(SeqCst), before, "nothing has reached an origin");
    for (revision, keys, status) in [(5, &[2, 1][..], 200), (6, &[3, 2], 401)] {
        fabric.set_session_keys(keys);
        fabric.publish(revision);
        assert_eq!(
            status_with(&fabric, HOST, &cookie).await,
            status,
            "{keys:?}"
        );
    }
}

#[tokio::test]
async fn a_planted_session_is_not_the_one_that_a_provider_begins() {
    let (fabric, provider, _ends) = start().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    provider.say(json!({"sub": "8", "preferred_username": "mallet@example.com"}));
    let mallet = signed_in(&fabric, &provider, Browser::default()).await;
    // Another's browser, with what it keeps of theirs but the session, as if that could be set.
    let mut planted = mallet.clone();
    planted.jar.get_mut(AUTH).unwrap().remove(SESSION);
    planted.jar.get_mut(HOST).unwrap().remove(APP);
    provider.say(json!({}));
    let mut victim = signed_in(&fabric, &provider, planted).await;
    for (host, name) in [(HOST, APP), (AUTH, SESSION)] {
        assert_ne!(victim.jar[host][name], mallet.jar[host][name]);
    }
    for (mut browser, user) in [(mallet, "mallet"), (victim.clone(), "alice")] {
        let who = browser.ask(&fabric, HOST, "GET /.adit/identity", "").await;
        let want = format!("{{\"user\":\"{user}@example.com\"");
        assert!(who.body.starts_with(&want), "{who:?}");
    }
    // Who signs in again in a browser that has a session gets another one, and none of the old.
    let before = victim.jar[AUTH][SESSION].clone();
    victim.jar.get_mut(AUTH).unwrap().remove(SESSION);
    let again = signed_in(&fabric, &provider, {
        let mut browser = victim.clone();
        browser.jar.get_mut(HOST).unwrap().remove(APP);
        browser
    })
    .await;
    assert_ne!(again.jar[AUTH][SESSION], before);
}

#[tokio::test]
async fn no_page_of_another_site_sends_anybody_to_a_provider_or_frames_the_way_there() {
    let (mut fabric, provider, _ends) = start().await;
    fabric.change_app(|app| app.identity_providers = vec!["entra".to_owned()]);
    fabric.publish(5);
    let mut browser = Browser::default();
    let (_, page) = browser.open(&fabric, &wiki("/x")).await;
    assert_eq!(page.field("x-frame-options"), Some("DENY"));
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    // A form that was made for another browser.
    let mut victim = Browser::default();
    victim.open(&fabric, &wiki("/y")).await;
    let begin = "/sign-in/with/entra";
    let reply = victim.submit(&fabric, begin, &page, &[]).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    // One that is sent from elsewhere.
    let body = format!("token={}", page.hidden("token"));
    for origin in ["https://evil.example", "null", "http://auth.example.com"] {
        let fields = format!(
            "origin: {origin}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n",
            body.len()
        );
        let line = format!("POST {begin}");
        let reply = browser.send(&fabric, AUTH, &line, &fields, &body).await;
        assert_eq!(reply.status, 400, "{origin}: {reply:?}");
        assert!(!browser.jar[AUTH].contains_key("__Host-adit-attempt"));
    }
    // What a provider's answer leads to is in no frame either.
    let reply = browser
        .ask(&fabric, AUTH, "GET /sign-in/callback?state=x", NAVIGATION)
        .await;
    assert_eq!(reply.field("x-frame-options"), Some("DENY"), "{reply:?}");
    assert!(provider.authorizations().is_empty());
}

#[tokio::test]
async fn a_state_that_was_not_made_here_leads_nowhere() {
    let (fabric, provider, _ends) = start().await;
    let mut browser = Browser::default();
    let asked = browser.go_to(&fabric, &provider, &wiki("/x")).await;
    let (state, issuer) = (&asked["state"], provider.issuer());
    let (_, page) = Browser::default().open(&fabric, &wiki("/x")).await;
    let mut forged = vec![
        String::new(),
        "https://evil.example/".to_owned(),
        state[..state.len() - 1].to_owned(),
        format!("{state}{state}"),
        "A".repeat(7_000),
        // Sealed here, for something else.
        page.hidden("to"),
        page.hidden("token"),
    ];
    forged.extend([0, 22, state.len() / 2, state.len() - 2].map(|at| flipped(state, at)));
    for state in forged {
        let code = provider.code(&asked);
        let query = [("code", &*code), ("state", &*state), ("iss", &*issuer)];
        let reply = browser.clone().come_back(&fabric, &query).await;
        assert_eq!(reply.status, 400, "{state}: {reply:?}");
        assert_eq!(reply.location(), "");
        assert!(!reply.body.contains("evil"), "{reply:?}");
    }
    assert!(provider.authorizations().is_empty(), "no code was traded");
    // The one that was made here leads to where the user came from, whatever else the answer says.
    let code = provider.code(&asked);
    let query = [
        ("code", &*code),
        ("state", state),
        ("iss", &*issuer),
        ("to", "https://evil.example/"),
        ("redirect_uri", "https://evil.example/"),
    ];
    let reply = browser.come_back(&fabric, &query).await;
    let there = format!("https://{HOST}/.adit/callback?");
    assert!(reply.location().starts_with(&there), "{reply:?}");
}

#[tokio::test]
async fn what_a_provider_says_breaks_no_line_and_users_cannot_say_it() {
    let (mut fabric, provider, _ends) = start().await;
    let mut published = provider.published();
    published.published.as_mut().unwrap().claims = Some(proto::admin::ClaimNames {
        kept: vec!["department".to_owned()],
        ..Default::default()
    });
    fabric.set("identityProviders/entra", Kind::IdentityProvider(published));
    fabric.change_app(|app| {
        let field = |name: &str, value: IdentityValue, claim: &str| IdentityField {
            name: name.to_owned(),
            value: value.into(),
            detail: claim.to_owned(),
            ..IdentityField::default()
        };
        app.identity_fields = vec![
            field("x-user", IdentityValue::User, ""),
            field("x-name", IdentityValue::DisplayName, ""),
            field("x-email", IdentityValue::Email, ""),
            field("x-groups", IdentityValue::UserGroups, ""),
            field("x-department", IdentityValue::Claim, "department"),
        ];
    });
    fabric.publish(5);
    let agent = fabric.agent("a1").await;
    provider.say(json!({
        "name": "Alice\r\nx-admin: 1\u{e9}",
        "email": "alice@example.com\r\nx-admin: 1",
        "groups": ["staff", "a\r\nx-admin: 1"],
        "department": ["R&D\r\nx-admin: 1", "b\u{0}"],
    }));
    let mut browser = Browser::default();
    let reply = browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
    let (_, target) = parts(reply.location());
    let line = format!("GET {target}");
    browser.ask(&fabric, HOST, &line, NAVIGATION).await;
    let forged = "x-user: root\r\nX_Department: board\r\nadit-assertion: x\r\nx-forwarded-for: 10.0.0.1\r\nx-forwarded-host: evil.example\r\n";
    let (reply, fields) = tokio::join!(browser.ask(&fabric, HOST, "GET /who", forged), async {
        let asked = agent.request().await;
        let fields = tunnel::fields::decode(asked.head.fields.clone()).unwrap();
        asked.answer(200, "hello").await;
        fields
    });
    assert_eq!(reply.body, "hello");
    assert_eq!(fields["x-user"], "alice@example.com");
    assert_eq!(fields["x-name"], "Alicex-admin: 1%C3%A9");
    assert!(!fields.contains_key("x-email"), "{fields:?}");
    assert_eq!(fields["x-groups"], "staff");
    assert_eq!(fields["x-department"], "R&D%0D%0Ax-admin: 1,b%00");
    for name in ["x-admin", "x_department", "adit-assertion"] {
        assert!(!fields.contains_key(name), "{name}: {fields:?}");
    }
    assert_eq!(fields["x-forwarded-host"], HOST);
    assert!(
        !fields["x-forwarded-for"]
            .to_str()
            .unwrap()
            .contains("10.0.0.1")
    );
}

#[tokio::test]
async fn claims_of_64_kib_cost_one_sign_in_and_are_cut_nowhere() {
    let (mut fabric, provider, _ends) = start().await;
    let mut published = provider.published();
    published.published.as_mut().unwrap().claims = Some(proto::admin::ClaimNames {
        kept: vec!["department".to_owned()],
        ..Default::default()
    });
    fabric.set("identityProviders/entra", Kind::IdentityProvider(published));
    fabric.publish(5);
    let long = "x".repeat(64 * 1024);
    for (token, beside, status) in [
        (json!({"department": long.clone()}), json!({}), 502),
        (
            json!({"name": null}),
            json!({"sub": "7", "department": long.clone()}),
            403,
        ),
        (
            json!({"name": null}),
            json!({"sub": "7", "department": "x".repeat(512 * 1024)}),
            503,
        ),
        // A group that no rule could name.
        (
            json!({"groups": null}),
            json!({"sub": "7", "groups": [long]}),
            303,
        ),
        (json!({}), json!({"sub": "7"}), 303),
    ] {
        provider.say(token);
        provider.say_beside(beside);
        let mut browser = Browser::default();
        let reply = browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
        assert_eq!(reply.status, status, "{reply:?}");
    }
}
