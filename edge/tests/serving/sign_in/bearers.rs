//! Programs and native apps that show access tokens of an identity provider (RFC 9068).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proto::access::{GrantKind, People, Policy, RuleState, Who};
use serde_json::{Value, json};

use super::*;
use crate::provider::Provider;

const INVALID: &str = "Bearer realm=\"adit\", error=\"invalid_token\"";

/// A fabric with a provider, whose first app is for staff by its tokens too, and tells its origin who it is.
pub(super) async fn start() -> (Fabric, Provider) {
    let mut fabric = fabric().await;
    let provider = Provider::start(&fabric).await;
    let published = Kind::IdentityProvider(provider.published());
    fabric.set("identityProviders/entra", published);
    fabric.change_app(|app| {
        app.token_audiences = vec!["other".to_owned(), "wiki-api".to_owned()];
        app.token_scopes = vec!["wiki:read".to_owned()];
        let field = |name: &str, value: IdentityValue| IdentityField {
            name: name.to_owned(),
            value: value.into(),
            ..IdentityField::default()
        };
        app.identity_fields = vec![
            field("x-user", IdentityValue::User),
            field("x-groups", IdentityValue::UserGroups),
        ];
    });
    // The other app takes no such tokens.
    fabric.publish(3);
    (fabric, provider)
}

fn straight(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

async fn ask(fabric: &Fabric, fields: &str) -> Reply {
    let mut browser = Browser::default();
    let reply = browser.ask(fabric, HOST, "GET /", fields).await;
    assert!(reply.field("set-cookie").is_none(), "{reply:?}");
    reply
}

fn encode(part: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(part.to_string())
}

pub(super) fn revocation(user: &str, before_ms: i64) -> Kind {
    Kind::Revocation(Revocation {
        whose: Some(Whose::User(user.to_owned())),
        before_ms,
    })
}

#[tokio::test]
async fn a_token_of_a_provider_opens_the_app_and_the_origin_sees_who_but_not_the_token() {
    let (fabric, provider) = start().await;
    let agent = fabric.agent("a1").await;
    let token = provider.access_token(json!({}));
    let several = provider.access_token(json!({"aud": ["x", "wiki-api"], "scope": "wiki:read"}));
    for (fields, authorization) in [
        (straight(&token), None),
        // Once more, now that it is known.
        (straight(&token), None),
        (format!("authorization: bearer  {several} \r\n"), None),
        (format!("adit-authorization: Bearer {token}\r\n"), None),
        (
            format!("adit-authorization: Bearer {token}\r\nauthorization: Bearer own\r\n"),
            Some("Bearer own"),
        ),
        (
            format!(
                "cookie: __Host-adit-app=x\r\nx-user: root\r\n{}",
                straight(&token)
            ),
            None,
        ),
    ] {
        let asked = async {
            let asked = agent.request().await;
            assert_eq!(asked.field("adit-authorization"), None, "{fields}");
            assert_eq!(asked.field("authorization").as_deref(), authorization);
            let user = asked.field("x-user");
            assert_eq!(user.as_deref(), Some("alice@example.com"));
            assert_eq!(asked.field("x-groups").as_deref(), Some("staff"));
            asked.answer(200, "from the origin").await;
        };
        let (reply, ()) = tokio::join!(ask(&fabric, &fields), asked);
        assert_eq!(reply.status, 200, "{fields} {reply:?}");
    }
}

/// Tokens that somebody made who is not the provider, or that are for something else.
fn hostile(provider: &Provider, now: i64) -> Vec<(&'static str, String)> {
    let say = |over: Value| provider.access_token(over);
    let claims = provider.access_claims(json!({}));
    let good = provider.access_token(json!({}));
    let (head, rest) = good.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let none = json!({"alg": "none", "typ": "at+jwt"});
    let hmac = |secret: &[u8]| {
        let header = Header {
            kid: Some("a".to_owned()),
            typ: Some("at+jwt".to_owned()),
            ..Header::new(Algorithm::HS256)
        };
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap()
    };
    let point = |name: &str| {
        let text = provider.public_key()[name].as_str().unwrap().to_owned();
        BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
    };
    let public = [&[4], &*point("x"), &*point("y")].concat();
    let stranger = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let stranger = EncodingKey::from_ec_pem(stranger.as_bytes()).unwrap();
    let forged = |kid: Option<&str>| {
        let header = Header {
            kid: kid.map(str::to_owned),
            typ: Some("at+jwt".to_owned()),
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, &claims, &stranger).unwrap()
    };
    let other = encode(&provider.access_claims(json!({"groups": ["admins"]})));
    vec![
        ("alg none", format!("{}.{body}.", encode(&none))),
        (
            "alg none, signed",
            format!("{}.{body}.{signature}", encode(&none)),
        ),
        ("HS256 by the public key", hmac(&public)),
        (
            "HS256 by its text",
            hmac(provider.public_key().to_string().as_bytes()),
        ),
        ("another key", forged(Some("a"))),
        ("another key, of a name nobody has", forged(Some("b"))),
        ("another key without a name", forged(None)),
        ("a changed body", format!("{head}.{other}.{signature}")),
        ("no signature", format!("{head}.{body}.")),
        ("two parts", format!("{head}.{body}")),
        ("no token", "eyJ".to_owned()),
        ("another audience", say(json!({"aud": "crm-api"}))),
        ("no audience", say(json!({"aud": null}))),
        ("the client's audience", say(json!({"aud": "adit"}))),
        (
            "another issuer",
            say(json!({"iss": "https://evil.example"})),
        ),
        ("no issuer", say(json!({"iss": null}))),
        ("an ID token", provider.sign("JWT", &claims)),
        ("a logout token", provider.sign("logout+jwt", &claims)),
        ("expired", say(json!({"exp": now - 60}))),
        ("endless", say(json!({"exp": null}))),
        ("not good yet", say(json!({"nbf": now + 120}))),
        ("made later", say(json!({"iat": now + 120}))),
        ("made at no time", say(json!({"iat": null}))),
        (
            "older than any session",
            say(json!({"iat": now - 13 * 3_600})),
        ),
        ("of nobody", say(json!({"sub": null}))),
        ("without a name", say(json!({"preferred_username": null}))),
        (
            "of a domain that is another's",
            say(json!({"preferred_username": "root@evil.example"})),
        ),
        (
            "groups left out",
            say(json!({"_claim_names": {"groups": "x"}})),
        ),
        ("oversized", say(json!({"padding": "x".repeat(17_000)}))),
    ]
}

#[tokio::test]
async fn tokens_that_do_not_hold_reach_no_origin_by_either_field() {
    let (fabric, provider) = start().await;
    let agent = fabric.agent("a1").await;
    let seen = serve(&fabric, &agent);
    // Its keys are known, so that nothing is refused for want of them.
    let good = straight(&provider.access_token(json!({})));
    assert_eq!(ask(&fabric, &good).await.status, 200);
    let now = milliseconds(&fabric.clock) / 1_000;
    for (what, token) in hostile(&provider, now) {
        for name in ["authorization", "adit-authorization"] {
            let fields = format!("{name}: Bearer {token}\r\n");
            let reply = ask(&fabric, &fields).await;
            assert_eq!(reply.status, 401, "{what} {reply:?}");
            assert!(reply.body.contains("bad_token"), "{what} {reply:?}");
            assert_eq!(reply.field("www-authenticate"), Some(INVALID), "{what}");
        }
    }
    let twice = format!("{good}{good}");
    let reply = ask(&fabric, &twice).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert_eq!(seen.load(SeqCst), 1);
    // Sooner or later it is noticed that somebody tries, which keeps nobody out who has a good one.
    let mut statuses = Vec::new();
    for _ in 0..61 {
        statuses.push(ask(&fabric, &straight("eyJ")).await.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(ask(&fabric, &good).await.status, 200);
}

#[tokio::test]
async fn a_token_without_every_scope_is_told_which_it_needs() {
    let (mut fabric, provider) = start().await;
    let agent = fabric.agent("a1").await;
    let seen = serve(&fabric, &agent);
    fabric.change_app(|app| app.token_scopes.push("wiki:write".to_owned()));
    fabric.publish(4);
    for scope in [
        json!("wiki:read"),
        json!(null),
        json!("wiki:readwiki:write"),
    ] {
        let token = provider.access_token(json!({ "scope": scope }));
        // Also once it is known.
        for _ in 0..2 {
            let reply = ask(&fabric, &straight(&token)).await;
            assert_eq!(reply.status, 403, "{reply:?}");
            assert!(reply.body.contains("insufficient_scope"), "{reply:?}");
            let want = "Bearer realm=\"adit\", error=\"insufficient_scope\", scope=\"wiki:read wiki:write\"";
            assert_eq!(reply.field("www-authenticate"), Some(want));
        }
    }
    assert_eq!(seen.load(SeqCst), 0);
    // What the app asks for is that of now, whatever was known.
    let token = straight(&provider.access_token(json!({"scope": "wiki:read"})));
    fabric.change_app(|app| app.token_scopes.truncate(1));
    fabric.publish(5);
    assert_eq!(ask(&fabric, &token).await.status, 200);
    fabric.change_app(|app| app.token_scopes = vec!["wiki:admin".to_owned()]);
    fabric.publish(6);
    assert_eq!(ask(&fabric, &token).await.status, 403);
    fabric.change_app(|app| {
        app.token_scopes.clear();
        app.token_audiences = vec!["another".to_owned()];
    });
    fabric.publish(7);
    assert_eq!(ask(&fabric, &token).await.status, 401);
}

#[tokio::test]
async fn apps_that_name_no_audience_leave_such_tokens_to_their_origins() {
    let (mut fabric, provider) = start().await;
    fabric.change_app(|app| {
        app.token_audiences.clear();
        app.token_scopes.clear();
    });
    fabric.publish(4);
    let token = provider.access_token(json!({}));
    let reply = ask(&fabric, &straight(&token)).await;
    assert!(reply.body.contains("sign_in_required"), "{reply:?}");
    let reply = ask(&fabric, &format!("adit-authorization: Bearer {token}\r\n")).await;
    assert!(reply.body.contains("bad_token"), "{reply:?}");
    // Who has signed in otherwise brings it to the origin.
    let agent = fabric.agent("a1").await;
    let mut browser = Browser::default();
    let asked = async {
        agent.request().await.answer(200, "signed in").await;
        let asked = agent.request().await;
        let authorization = asked.field("authorization");
        assert_eq!(authorization, Some(format!("Bearer {token}")));
        asked.answer(200, "from the origin").await;
    };
    let asking = async {
        let url = format!("https://{HOST}/");
        browser.sign_in(&fabric, &url, "alice").await;
        browser.ask(&fabric, HOST, "GET /", &straight(&token)).await
    };
    let (reply, ()) = tokio::join!(asking, asked);
    assert_eq!(reply.status, 200, "{reply:?}");
    // And an open app's are its own.
    fabric.change_app(|app| {
        app.access = AccessKind::Passthrough.into();
        app.assignment = None;
        app.identity_fields.clear();
    });
    fabric.publish(5);
    let fields = straight(&token);
    let asked = async {
        let asked = agent.request().await;
        let authorization = asked.field("authorization");
        assert_eq!(authorization, Some(format!("Bearer {token}")));
        asked.answer(200, "from the origin").await;
    };
    let (reply, ()) = tokio::join!(ask(&fabric, &fields), asked);
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn what_ends_a_users_sessions_ends_tokens_that_were_made_before() {
    for change in [
        "user",
        "disabled",
        "deleted",
        "other provider",
        "not assigned",
    ] {
        let (mut fabric, provider) = start().await;
        let agent = fabric.agent("a1").await;
        serve(&fabric, &agent);
        let token = straight(&provider.access_token(json!({})));
        assert_eq!(ask(&fabric, &token).await.status, 200);
        let want = match change {
            "user" => {
                let now = milliseconds(&fabric.clock);
                let revocation = revocation("alice@example.com", now + 1);
                fabric.set("revocations/users/alice", revocation);
                "bad_token"
            }
            "disabled" => {
                let mut wire = provider.published();
                wire.published.as_mut().unwrap().disabled = true;
                fabric.set("identityProviders/entra", Kind::IdentityProvider(wire));
                "bad_token"
            }
            "deleted" => {
                fabric.resources.remove("identityProviders/entra");
                "bad_token"
            }
            "other provider" => {
                fabric.change_app(|app| app.identity_providers = vec!["okta".to_owned()]);
                "bad_token"
            }
            _ => {
                fabric.change_app(|app| app.assignment = Some(Assignment::default()));
                "not_assigned"
            }
        };
        fabric.publish(4);
        for fields in [
            &token,
            &token.replace("authorization", "adit-authorization"),
        ] {
            let reply = ask(&fabric, fields).await;
            assert!(reply.body.contains(want), "{change} {reply:?}");
        }
    }
}

#[tokio::test]
async fn what_is_under_way_by_a_token_ends_with_it() {
    let (mut fabric, provider) = start().await;
    let agent = fabric.agent("a1").await;
    let token = straight(&provider.access_token(json!({})));
    let fields = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n{token}\r\n");
    let mut user = RawUser::connect(&fabric).await;
    user.write(fields).await;
    let _asked = agent.request().await;
    let now = milliseconds(&fabric.clock);
    let revocation = revocation("alice@example.com", now + 1);
    fabric.set("revocations/users/alice", revocation);
    fabric.publish(4);
    let answer = user.read_to_end().await;
    assert!(answer.contains("session_ended"), "{answer}");
}

/// A change after which a token is good for nothing at the app, or still is.
fn change(fabric: &mut Fabric, change: &str) {
    let rule = |fabric: &mut Fabric, state: RuleState| {
        let block = Policy {
            who: Some(Who {
                include: Some(People {
                    user_groups: vec!["contractors".to_owned()],
                    ..People::default()
                }),
                exclude: None,
            }),
            state: state.into(),
            ..rules::policy(GrantKind::Block)
        };
        rules::rule(fabric, block, 5);
    };
    match change {
        "a rule" => return rule(fabric, RuleState::On),
        "a rule that only reports" => return rule(fabric, RuleState::ReportOnly),
        "another audience" => fabric.change_app(|app| {
            app.token_audiences = vec!["other".to_owned()];
        }),
        "no tokens" => fabric.change_app(|app| {
            app.token_audiences.clear();
            app.token_scopes.clear();
        }),
        "a scope" => fabric.change_app(|app| app.token_scopes.push("wiki:admin".to_owned())),
        "an audience more" => {
            fabric.change_app(|app| app.token_audiences.push("third".to_owned()));
        }
        _ => unreachable!("{change}"),
    }
    fabric.publish(5);
}

#[tokio::test]
async fn what_is_under_way_by_a_token_ends_when_the_app_takes_it_no_more() {
    for (what, is_cut) in [
        ("a rule", true),
        ("another audience", true),
        ("no tokens", true),
        ("a scope", true),
        ("an audience more", false),
        ("a rule that only reports", false),
    ] {
        let (mut fabric, provider) = start().await;
        fabric.change_app(|app| {
            app.assignment = Some(Assignment {
                everyone: true,
                ..Assignment::default()
            });
        });
        fabric.publish(4);
        let agent = fabric.agent("a1").await;
        let token = straight(&provider.access_token(json!({"groups": null})));
        let fields = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n{token}\r\n");
        let mut user = RawUser::connect(&fabric).await;
        user.write(fields).await;
        let asked = agent.request().await;
        change(&mut fabric, what);
        if !is_cut {
            // A request that the change concerns as well is answered after it came in force.
            let again = async { agent.request().await.answer(200, "again").await };
            let (reply, ()) = tokio::join!(ask(&fabric, &token), again);
            assert_eq!(reply.status, 200, "{what} {reply:?}");
            asked.answer(200, "from the origin").await;
        }
        let answer = user.read_to_end().await;
        assert_eq!(answer.contains("session_ended"), is_cut, "{what} {answer}");
        assert_eq!(answer.contains("from the origin"), !is_cut, "{what}");
    }
}

#[tokio::test]
async fn a_provider_that_is_away_is_said_to_be() {
    let (fabric, provider) = start().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    provider.break_down(&["/keys"]);
    let token = straight(&provider.access_token(json!({})));
    for _ in 0..70 {
        // Nobody guesses here.
        let reply = ask(&fabric, &token).await;
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(reply.body.contains("provider_unavailable"), "{reply:?}");
    }
}

#[tokio::test]
async fn a_token_that_is_known_needs_no_provider_and_no_cookie_is_made_of_it() {
    let (fabric, provider) = start().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let token = straight(&provider.access_token(json!({})));
    assert_eq!(ask(&fabric, &token).await.status, 200);
    provider.break_down(&["/keys", "/.well-known/openid-configuration"]);
    for _ in 0..3 {
        assert_eq!(ask(&fabric, &token).await.status, 200);
    }
}

#[tokio::test]
async fn a_token_that_does_not_say_what_rules_ask_for_passes_by_none() {
    let (mut fabric, provider) = start().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    fabric.change_app(|app| {
        app.assignment = Some(Assignment {
            everyone: true,
            ..Assignment::default()
        });
    });
    fabric.publish(4);
    let say = |over: Value| straight(&provider.access_token(over));
    let silent = say(json!({"groups": null}));
    let none = say(json!({"groups": []}));
    let contractor = say(json!({"groups": ["contractors"]}));
    for token in [&silent, &none, &contractor] {
        assert_eq!(ask(&fabric, token).await.status, 200);
    }
    let block = Policy {
        who: Some(Who {
            include: Some(People {
                user_groups: vec!["contractors".to_owned()],
                ..People::default()
            }),
            exclude: None,
        }),
        ..rules::policy(GrantKind::Block)
    };
    rules::rule(&mut fabric, block, 5);
    // Also of what was known before the rule.
    let reply = ask(&fabric, &silent).await;
    assert_eq!(reply.status, 401, "{reply:?}");
    assert!(reply.body.contains("bad_token"), "{reply:?}");
    assert_eq!(ask(&fabric, &none).await.status, 200);
    let reply = ask(&fabric, &contractor).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    // The log of sign-ins has it, once.
    assert_eq!(ask(&fabric, &contractor).await.status, 403);
    let want = ["alice@example.com", "blocked", "entra", "r1"].map(str::to_owned);
    assert_eq!(told(&fabric, SignInKind::AppDenied), [want]);
}
