//! Users sign in, in a real browser, and come back to where they wanted to go.

use std::path::PathBuf;

use kit::{browser::Browser, process::eventually};

use crate::browser::Demo;

const CHOSEN: &str = "plum jam on toast";

/// The password that the demo prints for a user.
fn password(demo: &Demo, user: &str) -> String {
    let log = demo.process.log();
    let line = log.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(user)).then(|| words.next().map(str::to_owned))?
    });
    line.expect("the demo prints a password")
}

/// Fills in what the page's form asks for, and sends it.
async fn submit(browser: &Browser, typed: &[(&str, &str)]) {
    for (id, text) in typed {
        browser
            .run(&format!("document.getElementById({id:?}).value = {text:?}"))
            .await;
    }
    browser
        .run("document.querySelector('form button').click()")
        .await;
}

async fn address(browser: &Browser) -> String {
    let address = browser.run("return location.href").await;
    address.as_str().unwrap_or_default().to_owned()
}

async fn shows(browser: &Browser, heading: &str) {
    eventually(heading, async || browser.text("h1").await == heading).await;
}

/// Screenshots, for people who want to see the pages, if they say where.
async fn picture(browser: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("ADIT_TEST_PICTURES") {
        let file = PathBuf::from(folder).join(format!("{name}.png"));
        browser.screenshot(&file).await;
    }
}

#[tokio::test]
async fn a_browser_signs_in_keeps_the_deep_link_and_signs_out_everywhere() {
    let demo = Demo::start().await;
    let port = demo.port;
    let team = format!("https://team.localhost:{port}");
    let browser = Browser::open(900, 900).await;
    let deep = format!("{team}/?tab=2#part/7");
    browser.visit(&deep).await;
    shows(&browser, "Sign in").await;
    let at = address(&browser).await;
    assert!(at.starts_with(&format!("https://auth.localhost:{port}/sign-in?to=")));
    picture(&browser, "sign-in").await;

    submit(
        &browser,
        &[("user", "alice"), ("password", "not hers at all")],
    )
    .await;
    eventually("the fault is told", async || {
        browser.text(".fault").await.contains("not right")
    })
    .await;
    picture(&browser, "wrong").await;

    // What an operator has made must be changed.
    let first = password(&demo, "alice");
    submit(&browser, &[("user", "alice"), ("password", &first)]).await;
    shows(&browser, "Choose a new password").await;
    picture(&browser, "change").await;
    submit(
        &browser,
        &[("password", &first), ("new", CHOSEN), ("again", CHOSEN)],
    )
    .await;
    shows(&browser, "Hello from the inside").await;
    assert_eq!(address(&browser).await, deep, "query and fragment are kept");
    eventually("the app knows who it is", async || {
        let seen = browser.text("#seen").await;
        seen.contains("x-remote-user: alice") && seen.contains("x-remote-name: Alice Adams")
    })
    .await;
    let seen = browser.text("#seen").await;
    assert!(!seen.contains("adit-"), "no cookie of the edge's: {seen}");
    eventually("the WebSocket echoes", async || {
        browser
            .run("document.querySelector('#talk button').click()")
            .await;
        browser.text("#echo").await == "hello"
    })
    .await;

    // The session at the sign-in host leads back without a question.
    browser
        .visit(&format!("https://auth.localhost:{port}/"))
        .await;
    shows(&browser, "You are signed in").await;
    picture(&browser, "home").await;

    browser.visit(&format!("{team}/.adit/sign-out")).await;
    shows(&browser, "Sign out?").await;
    submit(&browser, &[]).await;
    shows(&browser, "Signed out").await;
    picture(&browser, "signed-out").await;
    eventually("the app asks again", async || {
        browser.visit(&team).await;
        browser.text("h1").await == "Sign in"
    })
    .await;
    submit(&browser, &[("user", "alice"), ("password", CHOSEN)]).await;
    shows(&browser, "Hello from the inside").await;
}

#[tokio::test]
async fn who_is_not_assigned_is_told_so() {
    let demo = Demo::start().await;
    let team = format!("https://team.localhost:{}/", demo.port);
    let browser = Browser::open(400, 800).await;
    browser.visit(&team).await;
    shows(&browser, "Sign in").await;
    picture(&browser, "sign-in-phone").await;
    let first = password(&demo, "bob");
    submit(&browser, &[("user", "Bob"), ("password", &first)]).await;
    shows(&browser, "Choose a new password").await;
    picture(&browser, "change-phone").await;
    submit(
        &browser,
        &[("password", &first), ("new", CHOSEN), ("again", CHOSEN)],
    )
    .await;
    shows(&browser, "You may not use this app.").await;
    let words = browser.text(".words").await;
    assert!(words.contains("signed in as Bob Brown (bob)"), "{words}");
    picture(&browser, "not-assigned-phone").await;
}
