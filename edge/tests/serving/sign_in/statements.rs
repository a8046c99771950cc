//! What agents are told of users: a statement for each request to an app that signs users on.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use proto::{admin::SignOnIdentity, fabric::EdgeSignOn};
use serde_json::Value;
use tunnel::codes::Code;

use super::{
    programs::{TOKEN, set_service},
    *,
};

/// Signs on by the user's id.
fn by_user() -> EdgeSignOn {
    EdgeSignOn {
        identity: SignOnIdentity::User.into(),
        ..EdgeSignOn::default()
    }
}

/// A fabric whose app signs users on, and a browser that alice is signed in with.
async fn signing_on(wanted: EdgeSignOn) -> (Fabric, Browser, Agent) {
    signed_in(|app| app.single_sign_on = Some(wanted)).await
}

async fn keys(fabric: &Fabric) -> JwkSet {
    let line = "GET /.well-known/jwks.json";
    let reply = Browser::default().ask(fabric, AUTH, line, "").await;
    serde_json::from_str(&reply.body).unwrap()
}

fn said(head: &RequestHead, keys: &JwkSet) -> Value {
    let shown = decode_header(&head.identity).unwrap();
    assert_eq!(shown.typ.as_deref(), Some("adit-statement+jwt"));
    assert_eq!(shown.alg, Algorithm::ES256);
    let key = keys.find(&shown.kid.unwrap()).unwrap();
    let mut rules = Validation::new(Algorithm::ES256);
    rules.validate_exp = false;
    rules.set_audience(&["wiki"]);
    rules.set_issuer(&["https://auth.example.com"]);
    let key = DecodingKey::from_jwk(key).unwrap();
    decode::<Value>(&head.identity, &key, &rules)
        .unwrap()
        .claims
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn agents_are_told_who_the_user_is_for_each_request_and_users_say_nothing_of_it() {
    let (fabric, mut browser, agent) = signing_on(by_user()).await;
    let keys = keys(&fabric).await;
    let forged = "adit-identity: forged\r\nidentity: mallory\r\nadit-statement: forged\r\n";
    let mut ids = Vec::new();
    for sent in ["", forged] {
        let head = head(&fabric, &mut browser, &agent, sent).await;
        let said = said(&head, &keys);
        let id = hex(&head.request_id);
        let now = milliseconds(&fabric.clock) / 1_000;
        for (claim, want) in [
            ("jti", id.as_str()),
            ("grp", "office"),
            ("sub", "alice"),
            ("name", "alice"),
            ("edge", "e1"),
        ] {
            assert_eq!(said[claim], want, "{claim}: {said}");
        }
        assert_eq!(said["att"], 0);
        assert!(said.get("idp").is_none(), "{said}");
        let number = |name: &str| said[name].as_i64().unwrap();
        assert_eq!(number("exp") - number("iat"), 60);
        assert!((now - 5..=now).contains(&number("iat")), "{said} at {now}");
        // It stands beside the fields, and no field has it.
        let fields = tunnel::fields::decode(head.fields.clone()).unwrap();
        assert!(fields.keys().all(|name| !name.as_str().starts_with("adit")));
        ids.push(id);
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_second_attempt_has_a_statement_of_its_own() {
    let (fabric, mut browser, one) = signing_on(by_user()).await;
    let keys = keys(&fabric).await;
    let two = fabric.agent("a2").await;
    let ask = browser.ask(&fabric, HOST, "GET /", "");
    let (reply, heads) = tokio::join!(ask, async {
        let (asked, other) = tokio::select! {
            asked = one.request() => (asked, &two),
            asked = two.request() => (asked, &one),
        };
        let first = asked.head.clone();
        fabric.clock.move_wall(Duration::from_secs(100));
        asked.fail(Code::Refused, "agent_refused", true).await;
        let again = other.request().await;
        let second = again.head.clone();
        again.answer(200, "second").await;
        [first, second]
    });
    assert_eq!(reply.status, 200, "{reply:?}");
    let [first, second] = heads.map(|head| said(&head, &keys));
    assert_eq!((&first["att"], &second["att"]), (&0.into(), &1.into()));
    assert_eq!(first["jti"], second["jti"]);
    let since = second["iat"].as_i64().unwrap() - first["iat"].as_i64().unwrap();
    assert!((100..110).contains(&since), "{since} s");
}

#[tokio::test]
async fn a_user_without_the_value_is_stated_without_a_name() {
    let (fabric, mut browser, agent) = signing_on(EdgeSignOn::default()).await;
    let head = head(&fabric, &mut browser, &agent, "").await;
    let said = said(&head, &keys(&fabric).await);
    assert_eq!(said["sub"], "alice");
    assert!(said.get("name").is_none(), "{said}");
}

#[tokio::test]
async fn nothing_is_stated_to_an_app_that_does_not_sign_users_on_and_nothing_goes_without_keys() {
    let (mut fabric, mut browser, agent) = signing_on(by_user()).await;
    fabric.change_app(|app| app.single_sign_on = None);
    fabric.publish(4);
    let head = head(&fabric, &mut browser, &agent, "").await;
    assert!(head.identity.is_empty());
    fabric.change_app(|app| app.single_sign_on = Some(by_user()));
    fabric.set_assertion_keys(&[]);
    fabric.publish(5);
    let reply = browser.ask(&fabric, HOST, "GET /", NAVIGATION).await;
    assert_eq!(reply.status, 503, "{reply:?}");
}

#[tokio::test]
async fn a_program_is_no_user_and_is_told_so() {
    let (mut fabric, _, agent) = signing_on(by_user()).await;
    set_service(&mut fabric, "ci", TOKEN, 0);
    fabric.change_app(|app| {
        let assignment = app.assignment.get_or_insert_default();
        assignment.services = vec!["ci".to_owned()];
    });
    fabric.publish(4);
    let sent = format!("authorization: Bearer {TOKEN}\r\n");
    let reply = Browser::default().ask(&fabric, HOST, "GET /", &sent).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    assert!(reply.body.contains("sso_no_identity"), "{}", reply.body);
    assert!(reply.body.contains("program"), "{}", reply.body);
    // The next request that the agent gets is another's: nothing of the program's came so far.
    let untouched = agent.broken_request().await;
    assert!(untouched.is_none());
}
