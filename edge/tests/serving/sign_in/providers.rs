//! Long because every attack is told whole: users sign in by an identity provider, and what others try on the way there and back.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;
use crate::provider::{Pairs, Provider, pairs};

const CALLBACK: &str = "/sign-in/callback";
const HINT: &str = "__Host-adit-hint";
const SESSION: &str = "__Host-adit-session";

/// The fabric, a provider of it, and what control is told to end.
pub(super) async fn start() -> (Fabric, Provider, mpsc::Receiver<Bytes>) {
    let (mut fabric, ends) = fabric_and_ends().await;
    let provider = Provider::start(&fabric).await;
    let published = Kind::IdentityProvider(provider.published());
    fabric.set("identityProviders/entra", published);
    fabric.publish(3);
    (fabric, provider, ends)
}

impl Browser {
    /// Chooses the provider on the page that it is led to; what the provider is asked.
    pub(super) async fn choose(
        &mut self,
        fabric: &Fabric,
        provider: &Provider,
        page: &Reply,
    ) -> Pairs {
        let reply = self.submit(fabric, "/sign-in/with/entra", page, &[]).await;
        assert_eq!(reply.status, 303, "{reply:?}");
        let there = format!("{}/auth?", provider.issuer());
        let asked = reply.location().strip_prefix(&there);
        pairs(asked.unwrap_or_else(|| panic!("{reply:?}")).as_bytes())
    }

    pub(super) async fn go_to(&mut self, fabric: &Fabric, provider: &Provider, url: &str) -> Pairs {
        let (_, page) = self.open(fabric, url).await;
        assert!(page.body.contains("Sign in with entra"), "{page:?}");
        self.choose(fabric, provider, &page).await
    }

    /// Comes back to the sign-in host with these parameters.
    pub(super) async fn come_back(&mut self, fabric: &Fabric, query: &[(&str, &str)]) -> Reply {
        let mut text = form_urlencoded::Serializer::new(String::new());
        let line = format!("GET {CALLBACK}?{}", text.extend_pairs(query).finish());
        self.ask(fabric, AUTH, &line, NAVIGATION).await
    }

    /// All of it.
    pub(super) async fn sign_in_by(
        &mut self,
        fabric: &Fabric,
        provider: &Provider,
        url: &str,
    ) -> Reply {
        let asked = self.go_to(fabric, provider, url).await;
        self.bring_back(fabric, provider, &asked).await
    }

    /// Comes back from the provider, where the user has signed in.
    pub(super) async fn bring_back(
        &mut self,
        fabric: &Fabric,
        provider: &Provider,
        asked: &Pairs,
    ) -> Reply {
        let (code, issuer) = (provider.code(asked), provider.issuer());
        let query = [
            ("code", &*code),
            ("state", &asked["state"]),
            ("iss", &issuer),
        ];
        self.come_back(fabric, &query).await
    }

    fn has_session(&self) -> bool {
        self.jar
            .get(AUTH)
            .is_some_and(|jar| jar.contains_key(SESSION))
    }
}

pub(super) fn wiki(path: &str) -> String {
    format!("https://{HOST}{path}")
}

#[tokio::test]
async fn a_user_signs_in_by_a_provider_and_comes_back_to_the_exact_address() {
    let (fabric, provider, _ends) = start().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    let url = wiki("/a%2fb//c?x=1");
    let (_, mut page) = browser.open(&fabric, &url).await;
    // The fabric's own accounts are there too; as the page's script does with what stands behind the hash.
    assert!(page.body.contains("name=\"password\""), "{page:?}");
    page.body = page.body.replace(
        "name=\"fragment\" value=\"\"",
        "name=\"fragment\" value=\"#/inbox/42\"",
    );
    let asked = browser.choose(&fabric, &provider, &page).await;
    let want = [
        ("response_type", "code"),
        ("client_id", "adit"),
        ("scope", "openid profile email"),
        ("redirect_uri", "https://auth.example.com/sign-in/callback"),
    ];
    for (name, value) in want {
        assert_eq!(asked[name], value);
    }
    let (code, issuer) = (provider.code(&asked), provider.issuer());
    let query = [
        ("code", &*code),
        ("state", &asked["state"]),
        ("iss", &issuer),
    ];
    let reply = browser.come_back(&fabric, &query).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    assert!(reply.location().ends_with("#/inbox/42"), "{reply:?}");
    let (end, reply) = browser.open(&fabric, reply.location()).await;
    assert_eq!((end, &*reply.body), (url, "from the origin"));
    let who = browser.ask(&fabric, HOST, "GET /.adit/identity", "").await;
    let who: Value = serde_json::from_str(&who.body).unwrap();
    assert_eq!(who["user"], "alice@example.com");
    assert_eq!(who["display_name"], "Alice Adams");
    assert_eq!(who["user_groups"], json!(["staff"]));
    // "adit:s3cret".
    assert_eq!(provider.authorizations(), ["Basic YWRpdDpzM2NyZXQ="]);
    assert!(!browser.jar[AUTH].contains_key("__Host-adit-attempt"));
}

#[tokio::test]
async fn whoever_is_handed_somebody_elses_way_back_is_signed_in_as_nobody() {
    let (fabric, provider, _ends) = start().await;
    let mut attacker = Browser::default();
    let asked = attacker.go_to(&fabric, &provider, &wiki("/x")).await;
    let (code, issuer) = (provider.code(&asked), provider.issuer());
    let state = asked["state"].clone();
    let query = [("code", &*code), ("state", &state), ("iss", &issuer)];
    // One who has never been here, and one whose own attempt is under way.
    for mut victim in [Browser::default(), {
        let mut victim = Browser::default();
        victim.go_to(&fabric, &provider, &wiki("/y")).await;
        victim
    }] {
        let reply = victim.come_back(&fabric, &query).await;
        assert_eq!(reply.status, 400, "{reply:?}");
        assert!(!victim.has_session());
    }
    assert!(
        provider.authorizations().is_empty(),
        "the code is not even traded"
    );
    // Nor does any other state lead anywhere.
    let half = &state[..state.len() / 2];
    for bad in ["", "AAAA", half, &format!("{state}A"), &asked["nonce"]] {
        let query = [("code", &*code), ("state", bad), ("iss", &issuer)];
        let reply = attacker.clone().come_back(&fabric, &query).await;
        assert_eq!(reply.status, 400, "{bad}: {reply:?}");
    }
    // An attempt is good for an hour.
    fabric.clock.move_wall(Duration::from_secs(3_601));
    let reply = attacker.come_back(&fabric, &query).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(!attacker.has_session());
}

#[tokio::test]
async fn a_way_back_is_gone_once() {
    let (fabric, provider, _ends) = start().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    let asked = browser.go_to(&fabric, &provider, &wiki("/x")).await;
    let (code, issuer) = (provider.code(&asked), provider.issuer());
    let query = [
        ("code", &*code),
        ("state", &asked["state"]),
        ("iss", &issuer),
    ];
    let mut copy = browser.clone();
    let reply = browser.come_back(&fabric, &query).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    // Again in the same browser, as by its back button: the session that there is goes on, and no code is traded.
    let reply = browser.come_back(&fabric, &query).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    assert_eq!(provider.authorizations().len(), 1);
    // Without the session nothing comes of it.
    browser.jar.get_mut(AUTH).unwrap().remove(SESSION);
    let reply = browser.come_back(&fabric, &query).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    // Nor from a copy of the browser as it was.
    let reply = copy.come_back(&fabric, &query).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(!copy.has_session());
    assert_eq!(provider.authorizations().len(), 1);
}

#[tokio::test]
async fn an_answer_of_another_provider_is_refused() {
    let (fabric, provider, _ends) = start().await;
    for issuer in ["", "https://evil.example", "http://127.0.0.1"] {
        let mut browser = Browser::default();
        let asked = browser.go_to(&fabric, &provider, &wiki("/x")).await;
        let code = provider.code(&asked);
        let query = [
            ("code", &*code),
            ("state", &asked["state"]),
            ("iss", issuer),
        ];
        let reply = browser.come_back(&fabric, &query).await;
        assert_eq!(reply.status, 502, "{issuer}: {reply:?}");
        assert!(!browser.has_session());
    }
    assert!(provider.authorizations().is_empty());
}

#[tokio::test]
async fn what_a_provider_says_of_a_user_is_taken_within_bounds() {
    let (fabric, provider, _ends) = start().await;
    let fine = json!({});
    for (said, status, words) in [
        (fine, 303, ""),
        (json!({"nonce": "another"}), 502, "not accepted here"),
        (json!({"aud": "another"}), 502, "not accepted here"),
        (
            json!({"iss": "https://evil.example"}),
            502,
            "not accepted here",
        ),
        (json!({"azp": "another"}), 502, "not accepted here"),
        (json!({"exp": 1}), 502, "not accepted here"),
        (json!({"at_hash": "AAAA"}), 502, "not accepted here"),
        (
            json!({"preferred_username": "root@evil.example"}),
            403,
            "a name that is not accepted",
        ),
        (
            json!({"preferred_username": "alice@local"}),
            403,
            "a name that is not accepted",
        ),
        (
            json!({"_claim_names": {"groups": "src1"}}),
            403,
            "does not say all groups",
        ),
        (
            json!({"x": "x".repeat(64 * 1024)}),
            502,
            "not accepted here",
        ),
    ] {
        provider.say(said.clone());
        let mut browser = Browser::default();
        let reply = browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
        assert_eq!(reply.status, status, "{said}: {reply:?}");
        assert!(reply.body.contains(words), "{said}: {reply:?}");
        assert_eq!(browser.has_session(), status == 303, "{said}");
    }
}

#[tokio::test]
async fn a_provider_that_says_no_or_nothing_is_told_as_that() {
    let (fabric, provider, _ends) = start().await;
    let issuer = provider.issuer();
    let mut browser = Browser::default();
    let asked = browser.go_to(&fabric, &provider, &wiki("/x")).await;
    let query = [
        ("error", "access_denied"),
        ("error_description", "<b>no</b>"),
        ("state", &asked["state"]),
        ("iss", &issuer),
    ];
    let reply = browser.come_back(&fabric, &query).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    assert!(
        reply.body.contains("<b>entra</b> did not sign you in"),
        "{reply:?}"
    );
    assert!(!reply.body.contains("<b>no</b>"), "{reply:?}");
    // Its page leads back to where the user came from.
    assert!(reply.body.contains("href=\"/sign-in?to="), "{reply:?}");
    provider.break_down(&["/token"]);
    let reply = Browser::default()
        .sign_in_by(&fabric, &provider, &wiki("/x"))
        .await;
    assert_eq!(reply.status, 503, "{reply:?}");
    // Operators hear of the one that was refused; that a provider is away is nobody's sign-in.
    let want = ["", "denied", "entra", ""].map(str::to_owned);
    assert_eq!(told(&fabric, SignInKind::Refused), [want]);
}

#[tokio::test]
async fn a_way_back_is_used_once_whatever_cookies_somebody_keeps() {
    let (fabric, provider, _ends) = start().await;
    let mut browser = Browser::default();
    let asked = browser.go_to(&fabric, &provider, &wiki("/x")).await;
    let before = browser.jar.clone();
    let issuer = provider.issuer();
    let query = [
        ("code", "junk"),
        ("state", &asked["state"]),
        ("iss", &issuer),
    ];
    let reply = browser.come_back(&fabric, &query).await;
    assert_eq!(reply.status, 502, "{reply:?}");
    let traded = provider.authorizations().len();
    for _ in 0..3 {
        browser.jar = before.clone();
        let reply = browser.come_back(&fabric, &query).await;
        assert_eq!(reply.status, 400, "{reply:?}");
    }
    assert_eq!(provider.authorizations().len(), traded);
    let want = ["", "refused", "entra", ""].map(str::to_owned);
    assert_eq!(told(&fabric, SignInKind::Refused), [want]);
}

#[tokio::test]
async fn operators_are_told_who_came_and_went_by_a_provider() {
    let (fabric, provider, _ends) = start().await;
    provider.say(json!({"amr": ["pwd", "mfa"]}));
    let mut browser = Browser::default();
    browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
    let events = fabric.reports.oldest().events;
    let signed_in = events
        .iter()
        .find(|event| event.kind() == SignInKind::SignedIn);
    let signed_in = signed_in.expect("she came");
    assert_eq!(
        (&*signed_in.user, &*signed_in.provider, &*signed_in.app),
        ("alice@example.com", "entra", "wiki")
    );
    assert_eq!(signed_in.methods, ["pwd", "mfa"]);
    let mut query = form_urlencoded::Serializer::new(String::new());
    let query = query
        .append_pair("iss", &provider.issuer())
        .append_pair("sid", "s1");
    let line = format!("GET /sign-out/front-channel?{}", query.finish());
    browser.ask(&fabric, AUTH, &line, "").await;
    let word = provider.sign("logout+jwt", &logout_claims(&provider, |_| {}));
    assert_eq!(tell(&fabric, &word).await, 200);
    let by_page = ["alice@example.com", "provider", "entra", ""].map(str::to_owned);
    let by_word = ["", "provider", "entra", ""].map(str::to_owned);
    assert_eq!(told(&fabric, SignInKind::SignedOut), [by_page, by_word]);
}

#[tokio::test]
async fn users_sign_in_while_control_is_away() {
    let mut fabric = Fabric::start().await;
    drop(fabric.questions.take());
    let provider = Provider::start(&fabric).await;
    let published = Kind::IdentityProvider(provider.published());
    fabric.set("identityProviders/entra", published);
    fabric.change_app(|app| {
        app.access = AccessKind::SignIn.into();
        app.assignment = Some(Assignment {
            everyone: true,
            ..Assignment::default()
        });
    });
    fabric.set_session_keys(&[1]);
    fabric.publish(2);
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    for _ in 0..2 {
        let reply = browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
        let (_, reply) = browser.open(&fabric, reply.location()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        browser.jar.remove(HOST);
        browser.jar.get_mut(AUTH).unwrap().remove(SESSION);
    }
}

#[tokio::test]
async fn users_sign_in_by_what_a_provider_said_of_itself_before() {
    let (fabric, provider, _ends) = start().await;
    let signed_in = async || {
        let mut browser = Browser::default();
        browser
            .sign_in_by(&fabric, &provider, &wiki("/x"))
            .await
            .status
    };
    assert_eq!(signed_in().await, 303);
    provider.break_down(&["/.well-known/openid-configuration", "/keys"]);
    assert_eq!(signed_in().await, 303);
}

#[tokio::test]
async fn what_is_not_in_the_token_is_asked_for() {
    let (fabric, provider, _ends) = start().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    provider.say(json!({"groups": null, "preferred_username": null, "name": null}));
    for (subject, status) in [("8", 502), ("7", 303)] {
        // What is said of another user is not theirs.
        let more = json!({"sub": subject, "preferred_username": "bob", "groups": ["staff"]});
        provider.say_beside(more);
        let mut browser = Browser::default();
        let reply = browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
        assert_eq!(reply.status, status, "{reply:?}");
        if status == 303 {
            let here = reply.location().to_owned();
            let (_, reply) = browser.open(&fabric, &here).await;
            assert_eq!(
                reply.status, 200,
                "of the staff, by what is said beside: {reply:?}"
            );
            let who = browser.ask(&fabric, HOST, "GET /.adit/identity", "").await;
            assert!(who.body.contains("\"user\":\"bob@entra\""), "{who:?}");
        }
    }
    provider.break_down(&["/me"]);
    let reply = Browser::default()
        .sign_in_by(&fabric, &provider, &wiki("/x"))
        .await;
    assert_eq!(reply.status, 503, "{reply:?}");
}

#[tokio::test]
async fn an_app_takes_the_word_of_the_provider_that_it_names() {
    let (mut fabric, provider, _ends) = start().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    let (_, reply) = browser.sign_in(&fabric, &wiki("/"), "alice").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    fabric.change_app(|app| app.identity_providers = vec!["entra".to_owned()]);
    fabric.publish(4);
    // Who has signed in otherwise is told so, and not led in circles.
    let (_, page) = browser.open(&fabric, &wiki("/x")).await;
    assert!(page.body.contains("sign in in another way"), "{page:?}");
    assert!(!page.body.contains("name=\"password\""), "{page:?}");
    assert!(!page.body.contains("requestSubmit"), "{page:?}");
    let asked = browser.choose(&fabric, &provider, &page).await;
    let (code, issuer) = (provider.code(&asked), provider.issuer());
    let query = [
        ("code", &*code),
        ("state", &asked["state"]),
        ("iss", &issuer),
    ];
    let reply = browser.come_back(&fabric, &query).await;
    let (end, reply) = browser.open(&fabric, reply.location()).await;
    assert_eq!((end, reply.status), (wiki("/x"), 200));
    // Who has not signed in goes on at once.
    let (_, page) = Browser::default().open(&fabric, &wiki("/x")).await;
    assert!(page.body.contains("requestSubmit"), "{page:?}");
    // And the word of a provider is none for an app of the fabric's own accounts.
    fabric.change_app(|app| app.identity_providers = vec!["local".to_owned()]);
    fabric.publish(5);
    let (_, page) = browser.open(&fabric, &wiki("/x")).await;
    assert!(page.body.contains("name=\"password\""), "{page:?}");
    assert!(!page.body.contains("Sign in with entra"), "{page:?}");
}

#[tokio::test]
async fn sessions_end_with_their_provider() {
    for change in ["disabled", "deleted", "made anew"] {
        let (mut fabric, provider, _ends) = start().await;
        let agent = fabric.agent("a1").await;
        serve(&fabric, &agent);
        let mut browser = Browser::default();
        let reply = browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
        let (_, reply) = browser.open(&fabric, reply.location()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let mut wire = provider.published();
        let said = wire.published.as_mut().unwrap();
        match change {
            "disabled" => said.disabled = true,
            "deleted" => drop(fabric.resources.remove("identityProviders/entra")),
            _ => {
                let later = fabric.clock.wall() + Duration::from_secs(3_600);
                said.create_time = Some(proto::time::wire_timestamp(later));
            }
        }
        if change != "deleted" {
            fabric.set("identityProviders/entra", Kind::IdentityProvider(wire));
        }
        fabric.publish(4);
        let reply = browser.ask(&fabric, HOST, "GET /x", NAVIGATION).await;
        assert_eq!(reply.status, 302, "{change}");
    }
}

#[tokio::test]
async fn who_signs_out_here_signs_out_there() {
    let (fabric, provider, mut ends) = start().await;
    let mut browser = Browser::default();
    browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
    let (_, page) = browser
        .open(&fabric, &format!("https://{AUTH}/sign-out"))
        .await;
    let policy = page.field("content-security-policy").unwrap();
    assert!(
        policy.contains("form-action 'self' https: http:;"),
        "{policy}"
    );
    let body = format!("token={}", page.hidden("token"));
    let fields = format!(
        "origin: https://{AUTH}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n",
        body.len()
    );
    let line = "POST /sign-out";
    let reply = browser.send(&fabric, AUTH, line, &fields, &body).await;
    let there = format!("{}/end?", provider.issuer());
    let asked = reply.location().strip_prefix(&there);
    let asked = pairs(asked.unwrap_or_else(|| panic!("{reply:?}")).as_bytes());
    let back = "https://auth.example.com/sign-out/done";
    assert_eq!(
        (&*asked["client_id"], &*asked["post_logout_redirect_uri"]),
        ("adit", back)
    );
    // It is shown whom it is about, in its own words.
    let hint = asked["id_token_hint"].split('.').nth(1).unwrap();
    let hint: Value =
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(hint).unwrap()).unwrap();
    assert_eq!((&hint["sub"], &hint["sid"]), (&json!("7"), &json!("s1")));
    assert!(!browser.jar[AUTH].contains_key(HINT));
    assert!(ends.recv().await.is_some());
    assert!(!browser.has_session());
    let (_, page) = browser.open(&fabric, back).await;
    assert!(page.body.contains("signed out of all apps"), "{page:?}");
}

fn logout_claims(provider: &Provider, change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = provider.claims();
    claims["jti"] = "j".into();
    claims["sid"] = "s1".into();
    claims["events"] = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    change(&mut claims);
    claims
}

async fn tell(fabric: &Fabric, token: &str) -> u16 {
    let body = format!("logout_token={token}");
    let fields = format!(
        "content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n",
        body.len()
    );
    let line = "POST /sign-out/back-channel";
    let reply = Browser::default()
        .send(fabric, AUTH, line, &fields, &body)
        .await;
    reply.status
}

#[tokio::test]
async fn a_provider_ends_the_sessions_that_it_has_begun() {
    let (mut fabric, provider, mut ends) = start().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    let reply = browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
    browser.open(&fabric, reply.location()).await;
    type Change = fn(&mut Value);
    let rows: [(&str, &str, Change); 7] = [
        ("an ID token", "JWT", |claims| {
            claims["nonce"] = "n".into();
        }),
        ("no event", "JWT", |claims| claims["events"] = json!({})),
        ("another event", "JWT", |claims| {
            claims["events"] = json!({"x": {}})
        }),
        ("another client", "logout+jwt", |claims| {
            claims["aud"] = "x".into()
        }),
        ("over", "logout+jwt", |claims| claims["exp"] = 1.into()),
        ("another kind", "at+jwt", |_| {}),
        ("nobody", "logout+jwt", |claims| {
            claims["sid"] = Value::Null;
            claims["sub"] = Value::Null;
        }),
    ];
    for (name, kind, change) in rows {
        let token = provider.sign(kind, &logout_claims(&provider, change));
        assert_eq!(tell(&fabric, &token).await, 400, "{name}");
    }
    assert_eq!(tell(&fabric, "").await, 400);
    assert!(ends.try_recv().is_err(), "nothing has ended");
    for by_user in [false, true] {
        let claims = logout_claims(&provider, |claims| {
            if by_user {
                claims["sid"] = Value::Null;
            }
        });
        assert_eq!(
            tell(&fabric, &provider.sign("logout+jwt", &claims)).await,
            200
        );
        let name = ends.recv().await.unwrap();
        assert_eq!(name.len(), 32);
        // As control tells all edges then.
        let before_ms = (claims["iat"].as_i64().unwrap() + 1) * 1_000;
        let revocation = Revocation {
            whose: Some(Whose::ProviderSession(proto::fabric::ProviderSession {
                provider: "entra".to_owned(),
                name_sha256: name,
            })),
            before_ms,
        };
        fabric.set(
            "revocations/providerSessions/entra/x",
            Kind::Revocation(revocation),
        );
        fabric.publish(4);
        let reply = browser.ask(&fabric, HOST, "GET /x", NAVIGATION).await;
        assert_eq!(reply.status, 302, "by user: {by_user}");
        fabric
            .resources
            .remove("revocations/providerSessions/entra/x");
        fabric.publish(5);
        let reply = browser.ask(&fabric, HOST, "GET /x", NAVIGATION).await;
        assert_eq!(reply.status, 200, "only that was in its way");
    }
}

#[tokio::test]
async fn a_providers_page_ends_the_session_of_its_browser_alone() {
    let (fabric, provider, mut ends) = start().await;
    let mut browser = Browser::default();
    browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
    let mut ask = async |browser: &mut Browser, issuer: &str, sid: &str| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let query = query.append_pair("iss", issuer).append_pair("sid", sid);
        let line = format!("GET /sign-out/front-channel?{}", query.finish());
        let reply = browser.ask(&fabric, AUTH, &line, "").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        ends.try_recv().is_ok()
    };
    let issuer = provider.issuer();
    // Anybody may ask, and nothing comes of it.
    assert!(!ask(&mut Browser::default(), &issuer, "s1").await);
    assert!(!ask(&mut browser, &issuer, "s2").await);
    assert!(!ask(&mut browser, "https://evil.example", "s1").await);
    assert!(browser.has_session());
    assert!(ask(&mut browser, &issuer, "s1").await);
    assert!(!browser.has_session());
}

#[tokio::test]
async fn a_providers_word_that_cannot_be_looked_at_now_may_be_said_again() {
    for broken in ["/.well-known/openid-configuration", "/keys"] {
        let (fabric, provider, _ends) = start().await;
        provider.break_down(&[broken]);
        let token = provider.sign("logout+jwt", &logout_claims(&provider, |_| {}));
        // The second time it is not even asked.
        for _ in 0..2 {
            assert_eq!(tell(&fabric, &token).await, 503, "{broken}");
        }
    }
    let (mut fabric, provider, mut ends) = start().await;
    let token = provider.sign("logout+jwt", &logout_claims(&provider, |_| {}));
    let (_, rest) = token.split_once('.').unwrap();
    let header = json!({"alg": "ES256", "typ": "logout+jwt", "kid": "of tomorrow"});
    let header = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
    assert_eq!(tell(&fabric, &format!("{header}.{rest}")).await, 503);
    assert!(ends.try_recv().is_err(), "nothing has ended");
    // Of several clients at one provider, those that cannot be used are not in the way.
    for (id, client, ca_pem) in [("aaa", "other", ""), ("zzz", "other", "none")] {
        let mut other = provider.published();
        let said = other.published.as_mut().unwrap();
        said.client_id = client.to_owned();
        said.ca_pem = ca_pem.to_owned();
        fabric.set(
            &format!("identityProviders/{id}"),
            Kind::IdentityProvider(other),
        );
    }
    fabric.publish(4);
    assert_eq!(tell(&fabric, &token).await, 200);
    assert!(ends.recv().await.is_some());
}
