//! What a provider is shown of whom it is about, when a user signs out.

use serde_json::json;

use super::{
    providers::{start, wiki},
    *,
};
use crate::provider::{Pairs, pairs};

const HINT: &str = "__Host-adit-hint";

/// Signs out; what the provider is asked.
async fn sign_out(fabric: &Fabric, browser: &mut Browser) -> Pairs {
    let url = format!("https://{AUTH}/sign-out");
    let (_, page) = browser.open(fabric, &url).await;
    let body = format!("token={}", page.hidden("token"));
    let fields = format!(
        "origin: https://{AUTH}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n",
        body.len()
    );
    let line = "POST /sign-out";
    let reply = browser.send(fabric, AUTH, line, &fields, &body).await;
    let (_, asked) = reply.location().split_once('?').unwrap();
    pairs(asked.as_bytes())
}

#[tokio::test]
async fn a_token_that_no_cookie_holds_is_not_kept_and_the_user_signs_out_all_the_same() {
    let (fabric, provider, _ends) = start().await;
    for (bytes, is_kept) in [(1_500, true), (3_000, false)] {
        provider.say(json!({"filling": "x".repeat(bytes)}));
        let mut browser = Browser::default();
        let reply = browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
        assert_eq!(reply.status, 303, "{reply:?}");
        let kept = browser.jar[AUTH].get(HINT).cloned();
        assert_eq!(kept.is_some(), is_kept, "{bytes}");
        // What browsers keep of a cookie, name included.
        assert!(kept.unwrap_or_default().len() + HINT.len() <= 4_096);
        let asked = sign_out(&fabric, &mut browser).await;
        assert_eq!(asked.contains_key("id_token_hint"), is_kept, "{bytes}");
    }
}

#[tokio::test]
async fn a_token_of_another_session_is_shown_to_nobody() {
    let (fabric, provider, _ends) = start().await;
    let (mut alice, mut mallory) = (Browser::default(), Browser::default());
    alice.sign_in_by(&fabric, &provider, &wiki("/x")).await;
    mallory.sign_in_by(&fabric, &provider, &wiki("/x")).await;
    let hers = alice.jar[AUTH][HINT].clone();
    let jar = mallory.jar.get_mut(AUTH).unwrap();
    jar.insert(HINT.to_owned(), hers);
    let asked = sign_out(&fabric, &mut mallory).await;
    assert!(!asked.contains_key("id_token_hint"), "{asked:?}");
}
