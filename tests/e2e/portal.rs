//! Users find their apps at one place, in a real browser, and sign in once for all of them.

use std::process::Command;

use kit::{browser::Browser, process::eventually};

use crate::{
    browser::Demo,
    sign_in::{password, picture, shows, submit},
};

const CHOSEN: &str = "plum jam on toast";

/// Runs a command of the operator against the demo.
pub(crate) fn adit(demo: &Demo, args: &[&str]) -> String {
    let log = demo.process.log();
    let profile = log
        .split_once("ADIT_PROFILE=")
        .expect("the demo prints it")
        .1;
    let profile = profile.split_whitespace().next().expect("a path");
    let output = Command::new(crate::adit())
        .args(args)
        .env("ADIT_PROFILE", profile)
        .current_dir(demo.folder.path())
        .output()
        .expect("adit runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}{failed}");
    said
}

async fn names(browser: &Browser) -> String {
    let seen =
        "return [...document.querySelectorAll('li:not([hidden]) b')].map(b=>b.textContent).join()";
    let seen = browser.run(seen).await;
    seen.as_str().unwrap_or_default().to_owned()
}

async fn sign_in(browser: &Browser, demo: &Demo, user: &str) {
    let first = password(demo, user);
    submit(browser, &[("user", user), ("password", &first)]).await;
    shows(browser, "Choose a new password").await;
    let typed = [("password", &*first), ("new", CHOSEN), ("again", CHOSEN)];
    submit(browser, &typed).await;
    shows(browser, "Your apps").await;
}

#[tokio::test]
async fn a_user_finds_her_apps_opens_one_and_signs_out_everywhere() {
    let demo = Demo::start().await;
    let portal = format!("https://apps.localhost:{}/", demo.port);
    let browser = Browser::open(1280, 900).await;
    browser.visit(&portal).await;
    shows(&browser, "Sign in").await;
    sign_in(&browser, &demo, "alice").await;
    assert_eq!(names(&browser).await, "Hello,Team");
    picture(&browser, "portal").await;

    // What is typed filters what is there, without asking the edge.
    let filter = "const q = document.querySelector('#q'); q.value = 'STAFF'; q.dispatchEvent(new Event('input'))";
    browser.run(filter).await;
    assert_eq!(names(&browser).await, "Team");
    assert_eq!(browser.text("#found").await, "1 app found");
    browser.visit(&format!("{portal}?q=everybody")).await;
    assert_eq!(names(&browser).await, "Hello");

    browser.visit(&portal).await;
    browser
        .run("document.querySelectorAll('.tiles a')[1].click()")
        .await;
    shows(&browser, "Hello from the inside").await;

    // A picture and a name are there a moment after the operator has given them.
    let (pixel, png) = (demo.folder.path().join("logo.png"), ICON);
    std::fs::write(&pixel, png).expect("the folder can be written");
    adit(&demo, &["image", "set", "logo", "logo.png"]);
    adit(&demo, &["image", "set", "apps/team", "logo.png"]);
    adit(
        &demo,
        &[
            "settings",
            "update",
            "--brand-name",
            "Acme",
            "--brand-accent",
            "#0f766e",
            "--brand-link",
            "Privacy=https://example.com/privacy",
        ],
    );
    let drawn =
        "return [...document.images].filter(i => i.complete && i.naturalWidth === 8).length";
    eventually("both pictures are drawn", async || {
        browser.visit(&portal).await;
        browser.run(drawn).await == 2
    })
    .await;
    let title = browser.run("return document.title").await;
    assert_eq!(title, "Your apps · Acme");
    picture(&browser, "portal-branded").await;

    browser
        .run("document.querySelector('nav a[href$=\"/sign-out\"]').click()")
        .await;
    shows(&browser, "Sign out?").await;
    submit(&browser, &[]).await;
    shows(&browser, "Signed out").await;
    eventually("the portal asks again", async || {
        browser.visit(&portal).await;
        browser.text("h1").await == "Sign in"
    })
    .await;
    picture(&browser, "sign-in-branded").await;
    operators_see_what_alice_did(&demo).await;
}

/// It is there a moment later, newest first.
async fn operators_see_what_alice_did(demo: &Demo) {
    eventually("control has heard of it", async || {
        let did = deeds(demo);
        let has = |wanted: &str| did.iter().any(|(result, ..)| result == wanted);
        ["app-opened", "signed-in", "signed-out"]
            .into_iter()
            .all(has)
    })
    .await;
    let did = deeds(demo);
    assert_eq!(did[0].0, "signed-out");
    assert!(
        did.iter()
            .any(|(result, app, _)| result == "app-opened" && app == "apps/team")
    );
    assert!(did.iter().all(|(.., edge)| edge.starts_with("edges/")));
    let none = adit(
        demo,
        &[
            "signins", "--user", "alice", "--result", "refused", "--since", "1h", "--output",
            "json",
        ],
    );
    assert_eq!(none.trim(), "[]");
}

/// What alice did, newest first: result, app and edge.
fn deeds(demo: &Demo) -> Vec<(String, String, String)> {
    let said = adit(demo, &["signins", "--user", "alice", "--output", "json"]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let list = said.as_array().expect("a list").iter();
    let deed = |one| (word(one, "result"), word(one, "app"), word(one, "edge"));
    list.map(deed).collect()
}

fn word(value: &serde_json::Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn who_may_use_less_sees_less_and_a_phone_shows_it_whole() {
    let demo = Demo::start().await;
    let portal = format!("https://apps.localhost:{}/", demo.port);
    let browser = Browser::open(390, 844).await;
    browser.visit(&portal).await;
    shows(&browser, "Sign in").await;
    sign_in(&browser, &demo, "bob").await;
    assert_eq!(names(&browser).await, "Hello");
    picture(&browser, "portal-phone").await;
    adit(
        &demo,
        &[
            "app",
            "update",
            "hello",
            "--display-name",
            "Отдел кадров 📚 Rechnungswesenabteilungsverwaltungsoberfläche <b>x</b>",
            "--tile-category",
            "Finance and a heading that takes more than a line",
        ],
    );
    for number in 0..40 {
        let (id, host) = (format!("app{number}"), format!("app{number}.localhost"));
        let args = [
            "app",
            "publish",
            &id,
            "--host",
            &host,
            "--origin",
            "http://127.0.0.1:9",
            "--access",
            "sign-in",
            "--assign-everyone",
        ];
        adit(&demo, &args);
    }
    eventually("all apps are there", async || {
        browser.visit(&portal).await;
        names(&browser).await.split(',').count() == 41
    })
    .await;
    let overflow =
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(browser.run(overflow).await, 0, "nothing is cut off");
    picture(&browser, "portal-phone-many").await;
    browser
        .visit(&format!("https://team.localhost:{}/", demo.port))
        .await;
    shows(&browser, "You may not use this app.").await;
    picture(&browser, "denied-phone").await;
    browser
        .run("document.querySelector('a[href=\"/.adit/portal\"]').click()")
        .await;
    shows(&browser, "Your apps").await;
}

/// PNG of 8 by 8 pixels.
const ICON: &[u8] = b"\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x08\x00\x00\x00\x08\x08\x02\x00\x00\x00\x4b\x6d\x29\xdc\x00\x00\x00\x11\x49\x44\x41\x54\x78\xda\x63\xe0\x2f\xcb\xc3\x8a\x18\x86\x96\x04\x00\xa5\x61\x3c\xc1\x8a\x4b\x10\x69\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82";
