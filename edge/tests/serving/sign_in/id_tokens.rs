//! Apps whose agents ask for more than the word of an edge: the ID token goes along with each request of the session that it has begun.

use std::time::SystemTime;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use proto::fabric::EdgeSignOn;
use serde_json::{Value, json};
use tunnel::codes::Code;

use super::{
    programs::{TOKEN, set_service},
    providers::{start, wiki},
    *,
};
use crate::provider::Provider;

const APP: &str = "__Host-adit-app";
const HINT: &str = "__Host-adit-hint";
const ID_TOKEN: &str = "__Host-adit-id-token";

fn asking() -> EdgeSignOn {
    EdgeSignOn {
        require_id_token: true,
        ..EdgeSignOn::default()
    }
}

/// A fabric whose app asks for ID tokens, and a provider of it.
async fn asking_fabric() -> (Fabric, Provider, Agent, mpsc::Receiver<Bytes>) {
    let (mut fabric, provider, ends) = start().await;
    fabric.change_app(|app| app.single_sign_on = Some(asking()));
    fabric.set_assertion_keys(&[0]);
    fabric.publish(4);
    let agent = fabric.agent("a1").await;
    (fabric, provider, agent, ends)
}

fn claims(head: &RequestHead) -> Value {
    let token = std::str::from_utf8(&head.id_token).unwrap();
    let part = token.split('.').nth(1).expect("a token has three parts");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Signs in at the provider and takes the pass at the app's host.
async fn sign_in(fabric: &Fabric, provider: &Provider, browser: &mut Browser) {
    let reply = browser.sign_in_by(fabric, provider, &wiki("/x")).await;
    take_pass(fabric, browser, &reply).await;
}

async fn take_pass(fabric: &Fabric, browser: &mut Browser, reply: &Reply) {
    let (host, target) = parts(reply.location());
    assert_eq!(host, HOST, "{reply:?}");
    let line = format!("GET {target}");
    let reply = browser.ask(fabric, HOST, &line, NAVIGATION).await;
    assert_eq!(reply.location(), wiki("/x"), "{reply:?}");
}

#[tokio::test]
async fn agents_are_shown_the_token_by_which_the_session_began_and_origins_are_not() {
    let (fabric, provider, agent, _ends) = asking_fabric().await;
    let mut browser = Browser::default();
    sign_in(&fabric, &provider, &mut browser).await;
    for _ in 0..2 {
        let head = head(&fabric, &mut browser, &agent, "").await;
        let said = claims(&head);
        assert_eq!(said["iss"], provider.issuer());
        assert_eq!(said["aud"], "adit");
        let fields = tunnel::fields::decode(head.fields.clone()).unwrap();
        assert!(!fields.contains_key("cookie"), "{fields:?}");
        assert!(!head.identity.is_empty(), "it is stated as well");
    }
    // Browsers keep 4,096 bytes of a cookie, its name included.
    assert!(browser.jar[HOST][ID_TOKEN].len() + ID_TOKEN.len() <= 4_096);
}

#[tokio::test]
async fn a_token_of_another_session_or_host_is_none() {
    let (fabric, provider, _agent, _ends) = asking_fabric().await;
    let (mut alice, mut mallory) = (Browser::default(), Browser::default());
    sign_in(&fabric, &provider, &mut alice).await;
    sign_in(&fabric, &provider, &mut mallory).await;
    let hers = alice.jar[HOST][ID_TOKEN].clone();
    let of_auth = mallory.jar[AUTH][HINT].clone();
    for bad in [hers, of_auth, "x".repeat(2_000), String::new()] {
        let jar = mallory.jar.get_mut(HOST).unwrap();
        jar.insert(ID_TOKEN.to_owned(), bad.clone());
        let reply = mallory.ask(&fabric, HOST, "GET /x", "").await;
        assert_eq!(reply.status, 403, "{bad}: {reply:?}");
        assert!(reply.body.contains("sso_id_token"), "{}", reply.body);
        let reply = mallory.ask(&fabric, HOST, "GET /x", NAVIGATION).await;
        assert_eq!(reply.status, 302, "{bad}: {reply:?}");
    }
}

#[tokio::test]
async fn a_session_from_before_gets_its_token_and_is_asked_for_nothing_if_the_sign_in_host_has_it()
{
    let (mut fabric, provider, _ends) = start().await;
    fabric.set_assertion_keys(&[0]);
    fabric.publish(4);
    let agent = fabric.agent("a1").await;
    let mut browser = Browser::default();
    sign_in(&fabric, &provider, &mut browser).await;
    assert!(!browser.jar[HOST].contains_key(ID_TOKEN));
    fabric.change_app(|app| app.single_sign_on = Some(asking()));
    fabric.publish(5);
    let before = browser.jar[HOST][APP].clone();
    let reply = browser.ask(&fabric, HOST, "GET /x", NAVIGATION).await;
    let (host, target) = parts(reply.location());
    assert_eq!((reply.status, host), (302, AUTH), "{reply:?}");
    let line = format!("GET {target}");
    let reply = browser.ask(&fabric, AUTH, &line, NAVIGATION).await;
    take_pass(&fabric, &mut browser, &reply).await;
    assert!(browser.jar[HOST].contains_key(ID_TOKEN));
    assert_ne!(browser.jar[HOST][APP], before);
    let head = head(&fabric, &mut browser, &agent, "").await;
    assert_eq!(claims(&head)["iss"], provider.issuer());
}

#[tokio::test]
async fn a_session_without_one_anywhere_is_led_to_the_provider_once_more() {
    let (fabric, provider, agent, _ends) = asking_fabric().await;
    let mut browser = Browser::default();
    sign_in(&fabric, &provider, &mut browser).await;
    browser.jar.get_mut(HOST).unwrap().remove(ID_TOKEN);
    browser.jar.get_mut(AUTH).unwrap().remove(HINT);
    let (_, page) = browser.open(&fabric, &wiki("/x")).await;
    assert!(page.body.contains("sign in again"), "{page:?}");
    let asked = browser.choose(&fabric, &provider, &page).await;
    let reply = browser.bring_back(&fabric, &provider, &asked).await;
    take_pass(&fabric, &mut browser, &reply).await;
    let head = head(&fabric, &mut browser, &agent, "").await;
    assert_eq!(claims(&head)["iss"], provider.issuer());
}

#[tokio::test]
async fn who_has_a_token_that_agents_take_no_more_is_led_to_another_and_never_in_a_circle() {
    let (fabric, provider, agent, _ends) = asking_fabric().await;
    let mut browser = Browser::default();
    // As if ten minutes had passed.
    let now = fabric.clock.wall().duration_since(SystemTime::UNIX_EPOCH);
    let long_ago = now.unwrap().as_secs() - 600;
    provider.say(json!({ "iat": long_ago }));
    sign_in(&fabric, &provider, &mut browser).await;
    let refused = async |browser: &mut Browser, fields: &str| {
        let refuse = async {
            let asked = agent.request().await;
            asked.fail(Code::Refused, "sso_id_token", false).await;
        };
        let (reply, ()) = tokio::join!(browser.ask(&fabric, HOST, "GET /x", fields), refuse);
        reply
    };
    let told = refused(&mut browser, "").await;
    assert_eq!(told.status, 403, "a script is led nowhere: {told:?}");
    let led = refused(&mut browser, NAVIGATION).await;
    assert_eq!(led.status, 302, "{led:?}");
    let (_, page) = browser.open(&fabric, led.location()).await;
    assert!(page.body.contains("sign in again"), "{page:?}");
    provider.say(json!({}));
    let asked = browser.choose(&fabric, &provider, &page).await;
    let reply = browser.bring_back(&fabric, &provider, &asked).await;
    take_pass(&fabric, &mut browser, &reply).await;
    let shown = head(&fabric, &mut browser, &agent, "").await;
    assert!(claims(&shown)["iat"].as_u64().unwrap() > long_ago);
    // It is the newest there is, so that another would be no better.
    let told = refused(&mut browser, NAVIGATION).await;
    assert_eq!(told.status, 403, "{told:?}");
    assert!(told.body.contains("sso_id_token"), "{}", told.body);
}

#[tokio::test]
async fn who_has_an_account_of_the_fabrics_own_has_no_token_and_is_not_asked_for_one() {
    let (fabric, mut browser, agent) = signed_in(|app| app.single_sign_on = Some(asking())).await;
    let head = head(&fabric, &mut browser, &agent, "").await;
    assert!(head.id_token.is_empty());
}

#[tokio::test]
async fn a_token_that_no_cookie_holds_ends_the_sign_in_to_such_an_app_and_to_no_other() {
    let (mut fabric, provider, _ends) = start().await;
    fabric.change_app(|app| app.single_sign_on = Some(asking()));
    fabric.set_assertion_keys(&[0]);
    fabric.publish(4);
    provider.say(json!({"filling": "x".repeat(3_000)}));
    let mut browser = Browser::default();
    let reply = browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
    assert_ne!(reply.status, 303, "{reply:?}");
    assert!(!browser.jar[AUTH].contains_key("__Host-adit-session"));
    fabric.change_app(|app| app.single_sign_on = None);
    fabric.publish(5);
    let reply = browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
    assert_eq!(reply.status, 303, "{reply:?}");
}

#[tokio::test]
async fn programs_have_no_token_and_nothing_of_theirs_reaches_an_agent() {
    let (mut fabric, _provider, agent, _ends) = asking_fabric().await;
    set_service(&mut fabric, "ci", TOKEN, 0);
    fabric.change_app(|app| {
        let assignment = app.assignment.get_or_insert_default();
        assignment.services = vec!["ci".to_owned()];
    });
    fabric.publish(5);
    let sent = format!("authorization: Bearer {TOKEN}\r\n");
    let reply = Browser::default().ask(&fabric, HOST, "GET /", &sent).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    assert!(reply.body.contains("sso_no_identity"), "{}", reply.body);
    assert!(agent.broken_request().await.is_none());
}
