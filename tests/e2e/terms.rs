//! Terms of use as their document has them, and in a real browser.

use std::{fs, path::Path};

use kit::{browser::Browser, process::eventually};
use serde_json::Value;

use crate::{
    access_rules::{commands, publish},
    browser::Demo,
    portal::adit,
    sign_in::{CHOSEN, address, password, picture, shows, submit},
};

const TEXT: &str = "# What this is for\n\nThe apps here are for work. Whatever you see in them stays <inside>,\nalso after you have left.\n\n# What you do not do\n\n- Give your password, or your phone, to anybody.\n- Copy what is about people to places\n  that are not ours.\n- Look for holes without asking first.\n\nWe write down who uses which app, and when. Ask security@example.com if something is unclear.\n";

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("the folder is there");
}

#[tokio::test]
async fn the_commands_of_the_document_work_as_written() {
    let fabric = crate::fabric().await;
    let site = fabric.site();
    publish(site);
    write(site.folder(), "aup.md", TEXT);
    let commands = commands("docs/terms-of-use.md");
    assert_eq!(commands.len(), 4, "{commands:?}");
    for (number, words) in commands.iter().enumerate() {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let output = site.run(&words);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{words:?}: {said}");
        if number == 2 {
            assert!(said.starts_with("step-up: accessRules/aup"), "{said}");
            assert!(said.contains("acceptance of the terms aup"), "{said}");
        }
    }
    let shown = site.ok(&["terms", "show", "aup", "--output", "json"]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["text"], TEXT);
    assert_eq!(shown["again_after"], "365d");
    let version = shown["version"].as_str().unwrap_or_default().to_owned();
    assert_eq!(version.len(), 64);
    // Another title is no other text, and another text is.
    let versions = [
        (&["--title", "How we work"][..], true),
        (&["--never-again"], true),
        (&["--file", "other.txt"], false),
    ];
    write(site.folder(), "other.txt", "Be kind.\n");
    for (flags, is_same) in versions {
        site.ok(&[&["terms", "update", "aup"][..], flags].concat());
        let shown = site.ok(&["terms", "show", "aup", "--output", "json"]);
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(shown["version"] == version.as_str(), is_same, "{shown}");
    }
    // `printf 'Be kind.\n' | sha256sum`
    let listed = site.ok(&["terms", "list"]);
    assert!(listed.contains("f32bf5e09516"), "{listed}");
    let said = site.refused(&["terms", "delete", "aup"]);
    assert!(said.contains("accessRules/aup"), "{said}");
    let unknown = ["access-rule", "update", "aup", "--require-terms", "nowhere"];
    let said = site.refused(&unknown);
    assert!(said.contains("terms/nowhere"), "{said}");
    write(site.folder(), "long.txt", &"x".repeat(64 * 1024 + 1));
    let said = site.refused(&["terms", "update", "aup", "--file", "long.txt"]);
    assert!(said.contains("65536 bytes"), "{said}");
    let audit = site.ok(&["audit", "list", "--output", "json"]);
    for part in ["CreateTerms", "UpdateTerms", "again_after"] {
        assert!(audit.contains(part), "{part} is missing in {audit}");
    }
}

/// The second button of the page's form.
async fn decline(browser: &Browser) {
    browser
        .run("document.querySelector('button.other').click()")
        .await;
}

fn accepted(demo: &Demo) -> Vec<Value> {
    let said = adit(demo, &["terms", "acceptances", "aup", "--output", "json"]);
    serde_json::from_str(&said).expect("JSON")
}

#[tokio::test]
async fn a_user_reads_accepts_and_is_asked_again_only_for_another_text() {
    let demo = Demo::start().await;
    write(demo.folder.path(), "aup.md", TEXT);
    let title = "Acceptable use";
    let create = [
        "terms", "create", "aup", "--title", title, "--file", "aup.md",
    ];
    adit(&demo, &create);
    let rule = [
        "access-rule",
        "create",
        "aup",
        "--everyone",
        "--app",
        "team",
    ];
    adit(&demo, &[&rule[..], &["--require-terms", "aup"]].concat());
    let browser = Browser::open(900, 1_000).await;
    let deep = format!("https://team.localhost:{}/?tab=2#part/7", demo.port);
    browser.visit(&deep).await;
    shows(&browser, "Sign in").await;
    let first = password(&demo, "alice");
    submit(&browser, &[("user", "alice"), ("password", &first)]).await;
    shows(&browser, "Choose a new password").await;
    let typed = [("password", &*first), ("new", CHOSEN), ("again", CHOSEN)];
    submit(&browser, &typed).await;
    shows(&browser, title).await;
    assert!(browser.text(".terms").await.contains("stays <inside>"));
    picture(&browser, "terms").await;
    decline(&browser).await;
    shows(&browser, "Not accepted").await;
    picture(&browser, "terms-declined").await;
    assert!(accepted(&demo).is_empty());
    browser
        .run("document.querySelector('main a').click()")
        .await;
    shows(&browser, title).await;
    submit(&browser, &[]).await;
    shows(&browser, "Hello from the inside").await;
    let known = accepted(&demo);
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!(known[0]["user"], "users/alice");
    assert!(
        known[0]["client"]
            .as_str()
            .is_some_and(|from| from.contains('1'))
    );

    // Later sign-ins are not asked, and keep the way.
    let dark = ["--blink-settings=preferredColorScheme=0"];
    let phone = Browser::open_with(400, 800, &dark).await;
    phone.visit(&deep).await;
    shows(&phone, "Sign in").await;
    submit(&phone, &[("user", "alice"), ("password", CHOSEN)]).await;
    shows(&phone, "Hello from the inside").await;
    assert_eq!(address(&phone).await, deep);
    let what_if = ["access-rule", "what-if", "--user", "alice", "--app", "team"];
    let said = adit(&demo, &[&what_if[..], &["--ip", "203.0.113.9"]].concat());
    assert!(said.starts_with("through: "), "{said}");

    // Another text.
    write(
        demo.folder.path(),
        "aup.md",
        &format!("{TEXT}\nAnd be kind.\n"),
    );
    adit(&demo, &["terms", "update", "aup", "--file", "aup.md"]);
    eventually("the other text is asked for", async || {
        // With a fragment, the same address again would ask nobody.
        phone.visit("about:blank").await;
        phone.visit(&deep).await;
        phone.text("h1").await == title
    })
    .await;
    assert!(phone.text(".terms").await.contains("And be kind."));
    picture(&phone, "terms-phone-dark").await;
    phone
        .run("window.scrollTo(0, document.body.scrollHeight)")
        .await;
    picture(&phone, "terms-phone-dark-end").await;
    submit(&phone, &[]).await;
    shows(&phone, "Hello from the inside").await;
    assert_eq!(address(&phone).await, deep, "query and fragment are kept");
    assert_eq!(accepted(&demo).len(), 2);
}
