//! Second factors and passkeys, in a real browser.

use kit::{browser::Browser, process::eventually};

use crate::{
    browser::Demo,
    portal::adit,
    sign_in::{CHOSEN, address, password, picture, shows, submit},
};

/// Computes a code as an authenticator app does (RFC 6238), by the browser's own cryptography.
const APP: &str = r#"
const bits = [...KEY].map(c => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')).join('');
const bytes = new Uint8Array(bits.match(/.{8}/g).map(b => parseInt(b, 2)));
const step = new DataView(new ArrayBuffer(8));
step.setUint32(4, Math.floor(Date.now() / 30000) + AHEAD);
return (async () => {
  const key = await crypto.subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-1' }, false, ['sign']);
  const tag = new Uint8Array(await crypto.subtle.sign('HMAC', key, step.buffer));
  const at = tag[19] & 15;
  const number = ((tag[at] & 127) << 24 | tag[at + 1] << 16 | tag[at + 2] << 8 | tag[at + 3]) % 1000000;
  return String(number).padStart(6, '0');
})();
"#;

/// The code that an app with this key shows, or will show.
async fn code(browser: &Browser, key: &str, ahead: u32) -> String {
    let script = APP
        .replace("KEY", &format!("{key:?}"))
        .replace("AHEAD", &ahead.to_string());
    let code = browser.run(&script).await;
    code.as_str().expect("six digits").to_owned()
}

/// A browser in which alice has signed in and chosen a password, at her account's page.
async fn alice(demo: &Demo, browser: &Browser) {
    let home = format!("https://auth.localhost:{}/", demo.port);
    browser.visit(&home).await;
    shows(browser, "Sign in").await;
    let first = password(demo, "alice");
    submit(browser, &[("user", "alice"), ("password", &first)]).await;
    shows(browser, "Choose a new password").await;
    let typed = [("password", &*first), ("new", CHOSEN), ("again", CHOSEN)];
    submit(browser, &typed).await;
    shows(browser, "You are signed in").await;
}

async fn sign_out(demo: &Demo, browser: &Browser) {
    let out = format!("https://auth.localhost:{}/sign-out", demo.port);
    browser.visit(&out).await;
    shows(browser, "Sign out?").await;
    submit(browser, &[]).await;
    shows(browser, "Signed out").await;
}

async fn fault(browser: &Browser, words: &str) {
    eventually(words, async || browser.text(".fault").await.contains(words)).await;
}

/// Presses the button, once on each page: a second press would begin anew what the first has begun.
async fn press_passkey(browser: &Browser) {
    let once = "const b = document.querySelector('#passkey button');
        if (b && !window.pressed) { window.pressed = true; b.click(); }";
    browser.run(once).await;
}

#[tokio::test]
async fn an_authenticator_app_is_set_up_and_each_of_its_codes_lets_in_once() {
    let demo = Demo::start().await;
    let browser = Browser::open(900, 1_000).await;
    alice(&demo, &browser).await;
    picture(&browser, "account").await;
    let auth = format!("https://auth.localhost:{}", demo.port);
    browser.visit(&format!("{auth}/authenticator")).await;
    shows(&browser, "Set up an authenticator app").await;
    picture(&browser, "authenticator-password").await;
    submit(&browser, &[("password", CHOSEN)]).await;
    eventually("the key is shown", async || {
        !browser.text("main code").await.is_empty()
    })
    .await;
    picture(&browser, "authenticator").await;
    let key = browser.text("main code").await.replace(' ', "");
    assert_eq!(key.len(), 32);
    submit(&browser, &[("code", "000000")]).await;
    fault(&browser, "not right").await;
    let used = code(&browser, &key, 0).await;
    submit(&browser, &[("code", &used)]).await;
    shows(&browser, "Keep these recovery codes").await;
    picture(&browser, "recovery-codes").await;
    let codes = browser.text("pre").await;
    let recovery: Vec<_> = codes.split_whitespace().collect();
    assert_eq!(recovery.len(), 10);
    browser
        .run("document.querySelector('main a').click()")
        .await;
    shows(&browser, "You are signed in").await;
    let page = browser.text("main").await;
    assert!(page.contains("10 recovery codes left"), "{page}");
    picture(&browser, "account-with-app").await;

    // The deep link goes through the second page, fragment included, and what was used is used.
    sign_out(&demo, &browser).await;
    let deep = format!("https://team.localhost:{}/?tab=2#part/7", demo.port);
    browser.visit(&deep).await;
    shows(&browser, "Sign in").await;
    submit(&browser, &[("user", "alice"), ("password", CHOSEN)]).await;
    shows(&browser, "Second factor").await;
    picture(&browser, "second-factor").await;
    submit(&browser, &[("code", &used)]).await;
    fault(&browser, "used before").await;
    let next = code(&browser, &key, 1).await;
    submit(&browser, &[("code", &next)]).await;
    shows(&browser, "Hello from the inside").await;
    assert_eq!(address(&browser).await, deep);

    // Without the phone.
    sign_out(&demo, &browser).await;
    browser.visit(&format!("{auth}/")).await;
    shows(&browser, "Sign in").await;
    submit(&browser, &[("user", "alice"), ("password", CHOSEN)]).await;
    shows(&browser, "Second factor").await;
    submit(&browser, &[("code", recovery[4])]).await;
    shows(&browser, "You are signed in").await;
    let page = browser.text("main").await;
    assert!(page.contains("9 recovery codes left"), "{page}");
}

#[tokio::test]
async fn a_passkey_is_made_lets_in_alone_and_is_removed() {
    let demo = Demo::start().await;
    // On a small screen at night.
    let dark = ["--blink-settings=preferredColorScheme=0"];
    let browser = Browser::open_with(400, 800, &dark).await;
    let device = browser.add_passkey_device().await;
    alice(&demo, &browser).await;
    let auth = format!("https://auth.localhost:{}", demo.port);
    browser.visit(&format!("{auth}/passkeys/add")).await;
    shows(&browser, "Add a passkey").await;
    submit(&browser, &[("password", CHOSEN)]).await;
    eventually("the passkey is asked for", async || {
        browser.text("#passkey button").await == "Make a passkey"
    })
    .await;
    picture(&browser, "passkey-phone").await;
    submit(&browser, &[("display_name", "Alice's phone")]).await;
    shows(&browser, "You are signed in").await;
    let page = browser.text("main").await;
    assert!(page.contains("Alice's phone, not used yet"), "{page}");
    picture(&browser, "account-phone").await;

    // Besides the password, while the device knows nobody at first.
    sign_out(&demo, &browser).await;
    let deep = format!("https://team.localhost:{}/?tab=2#part/7", demo.port);
    browser.verify_passkey_user(&device, false).await;
    browser.visit(&deep).await;
    shows(&browser, "Sign in").await;
    picture(&browser, "sign-in-passkey-phone").await;
    submit(&browser, &[("user", "alice"), ("password", CHOSEN)]).await;
    shows(&browser, "Second factor").await;
    picture(&browser, "second-factor-passkey-phone").await;
    browser.verify_passkey_user(&device, true).await;
    submit(&browser, &[]).await;
    shows(&browser, "Hello from the inside").await;
    assert_eq!(address(&browser).await, deep);

    // Alone: by the button, unless the browser has filled it in by itself.
    sign_out(&demo, &browser).await;
    browser.visit(&deep).await;
    eventually("a passkey lets in", async || {
        press_passkey(&browser).await;
        browser.text("h1").await == "Hello from the inside"
    })
    .await;
    assert_eq!(address(&browser).await, deep);

    // Once it is removed it lets nobody in.
    browser.visit(&format!("{auth}/")).await;
    let remove = "document.querySelector('a[href^=\"/passkeys/remove\"]').click()";
    browser.run(remove).await;
    shows(&browser, "Remove this passkey?").await;
    submit(&browser, &[("password", CHOSEN)]).await;
    shows(&browser, "You are signed in").await;
    let page = browser.text("main").await;
    assert!(!page.contains("Alice's phone"), "{page}");
    sign_out(&demo, &browser).await;
    browser.visit(&format!("{auth}/sign-in")).await;
    shows(&browser, "Sign in").await;
    eventually("it is refused", async || {
        press_passkey(&browser).await;
        browser.text(".fault").await.contains("not known here")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_say_who_is_asked_see_what_there_is_and_take_it_away() {
    let fabric = crate::fabric().await;
    let site = fabric.site();
    site.ok(&["user", "create", "alice"]);
    let shown = site.ok(&["settings", "show"]);
    assert!(shown.contains("optional"), "{shown}");
    site.ok(&["settings", "update", "--second-factor", "required"]);
    let shown = site.ok(&["settings", "show", "--output", "json"]);
    assert!(shown.contains("\"second_factor\": \"required\""), "{shown}");
    let optional = ["settings", "update", "--second-factor", "optional"];
    site.ok(&[&optional[..], &["--second-factor-group", "admins"]].concat());
    for (groups, needed) in [("staff", "false"), ("admins", "true")] {
        site.ok(&["user", "update", "alice", "--user-group", groups]);
        let shown = site.ok(&["user", "show", "alice", "--output", "json"]);
        let wanted = format!("\"second_factor_needed\": {needed}");
        assert!(shown.contains(&wanted), "{shown}");
    }
    let shown = site.ok(&["user", "show", "alice"]);
    assert!(
        shown.contains("to be set up at the next sign-in"),
        "{shown}"
    );
    let off = ["settings", "update", "--second-factor", "off"];
    let said = site.refused(&off);
    assert!(said.contains("settings.second_factor_groups"), "{said}");
    site.ok(&["settings", "update", "--no-second-factor-groups"]);
    let shown = site.ok(&["user", "show", "alice", "--output", "json"]);
    assert!(shown.contains("\"second_factor_needed\": false"), "{shown}");
    assert!(shown.contains("\"authenticator_time\": null"), "{shown}");
    assert!(shown.contains("\"passkeys\": 0"), "{shown}");
    let listed = site.ok(&["user", "list-passkeys", "alice", "--output", "json"]);
    assert_eq!(listed.trim(), "[]");
    let reset = site.ok(&["user", "reset-second-factor", "alice"]);
    assert!(
        reset.contains("users/alice has no second factor any more"),
        "{reset}"
    );
    let audit = site.ok(&["audit", "list", "--output", "json"]);
    assert!(audit.contains("ResetSecondFactors"), "{audit}");
}

#[tokio::test]
async fn an_app_that_asks_for_a_second_factor_leads_to_setting_one_up_and_back() {
    let demo = Demo::start().await;
    let dark = ["--blink-settings=preferredColorScheme=0"];
    let browser = Browser::open_with(400, 800, &dark).await;
    alice(&demo, &browser).await;
    let rule = [
        "access-rule",
        "create",
        "mfa",
        "--everyone",
        "--app",
        "team",
    ];
    adit(&demo, &[&rule[..], &["--require", "mfa"]].concat());
    let deep = format!("https://team.localhost:{}/?tab=2#part/7", demo.port);
    eventually("the app asks for it", async || {
        browser.visit(&deep).await;
        browser.text("h1").await == "Set up an authenticator app"
    })
    .await;
    let words = browser.text("main").await;
    assert!(words.contains("asks for a second factor"), "{words}");
    picture(&browser, "authenticator-asked-phone").await;
    submit(&browser, &[("password", CHOSEN)]).await;
    eventually("the key is shown", async || {
        !browser.text("main code").await.is_empty()
    })
    .await;
    let key = browser.text("main code").await.replace(' ', "");
    let first = code(&browser, &key, 0).await;
    submit(&browser, &[("code", &first)]).await;
    shows(&browser, "Keep these recovery codes").await;
    browser
        .run("document.querySelector('main a').click()")
        .await;
    shows(&browser, "Hello from the inside").await;
    assert_eq!(address(&browser).await, deep, "query and fragment are kept");
}
