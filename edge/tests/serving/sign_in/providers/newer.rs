//! Providers are asked for a newer sign-in, and not believed without.

use super::*;

#[tokio::test]
async fn a_newer_sign_in_is_asked_for_there_and_what_is_none_is_refused() {
    let (mut fabric, provider, _ends) = start().await;
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let began = i64::try_from(fabric.clock.unix_seconds()).unwrap();
    provider.say(json!({"auth_time": began}));
    let mut browser = Browser::default();
    let asked = browser.go_to(&fabric, &provider, &wiki("/x")).await;
    assert!(!asked.contains_key("max_age"), "{asked:?}");
    let reply = browser.sign_in_by(&fabric, &provider, &wiki("/x")).await;
    let (_, page) = browser.open(&fabric, reply.location()).await;
    assert_eq!(page.status, 200);
    rules::ask_for_a_newer_sign_in(&mut fabric, 4);
    fabric.clock.move_wall(Duration::from_secs(400));
    // As from a provider whose session goes on; then from one that does not say.
    for said in [json!({"auth_time": began}), json!({})] {
        provider.say(said);
        let mut browser = browser.clone();
        let (_, page) = browser.open(&fabric, &wiki("/x")).await;
        assert!(page.body.contains("asks you to sign in again"), "{page:?}");
        let asked = browser.choose(&fabric, &provider, &page).await;
        assert_eq!(asked["max_age"], "300");
        let reply = browser.answer(&fabric, &provider, &asked).await;
        assert_eq!(reply.status, 403, "{reply:?}");
        assert!(reply.body.contains("as much as is needed"), "{reply:?}");
    }
    // Nor is it new because it came by another errand.
    let mut silent = Browser::default();
    let reply = silent
        .sign_in_by(&fabric, &provider, &format!("https://{AUTH}/"))
        .await;
    assert_eq!(reply.status, 303, "{reply:?}");
    let told = silent.open(&fabric, &wiki("/x")).await.1;
    assert!(told.body.contains("asks you to sign in again"), "{told:?}");
    provider.say(json!({"auth_time": began + 400}));
    let (_, page) = browser.open(&fabric, &wiki("/x")).await;
    let asked = browser.choose(&fabric, &provider, &page).await;
    let reply = browser.answer(&fabric, &provider, &asked).await;
    let (at, page) = browser.open(&fabric, reply.location()).await;
    assert_eq!((at, page.status), (wiki("/x"), 200));
}
