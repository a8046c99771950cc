//! Apps are published so that users are signed on to them, and agents believe no edge more than what it signs.

use std::fs;

use kit::{fabric::DOMAIN, origin::Origin, process::eventually};
use serde_json::json;

use crate::sign_in::{AUTH, Visitor};

#[tokio::test]
async fn an_app_is_published_with_single_sign_on_and_says_what_is_wrong_with_it() {
    let fabric = crate::fabric().await;
    let host = format!("hr.{DOMAIN}");
    let publish = |id: &str, origin: &str, more: &[&str]| {
        let line = ["app", "publish", id, "--host", &host, "--origin", origin];
        [&line[..], more].concat().join("\n")
    };
    let words = |line: &str| -> Vec<String> { line.lines().map(str::to_owned).collect() };
    let site = fabric.site();
    let run = |line: String| {
        let words = words(&line);
        site.ok(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let refused = |line: String| {
        let words = words(&line);
        site.refused(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let closed = ["--access", "sign-in", "--assign-everyone"];
    let sso = |spn: &'static str| ["--sso", "kerberos", "--sso-spn", spn];

    let open = ["--access", "passthrough"];
    let more = [&open[..], &sso("HTTP/hr.corp.example")].concat();
    let complaint = refused(publish("hr", "http://127.0.0.1:1", &more));
    assert!(
        complaint.contains("--sso") && complaint.contains("unless users sign in"),
        "{complaint}"
    );
    let more = [&closed[..], &sso("hr.corp.example")].concat();
    let complaint = refused(publish("hr", "http://127.0.0.1:1", &more));
    assert!(
        complaint.contains("--sso-spn") && complaint.contains("HTTP/app.corp.example"),
        "{complaint}"
    );
    let more = [&closed[..], &sso("HTTP/*.corp.example")].concat();
    let complaint = refused(publish("hr", "http://127.0.0.1:1", &more));
    assert!(
        complaint.contains("does not for http://127.0.0.1:1"),
        "{complaint}"
    );
    let identity = ["--sso-identity", "upn"];
    let more = [&closed[..], &sso("HTTP/hr"), &identity].concat();
    let complaint = refused(publish("hr", "http://127.0.0.1:1", &more));
    assert!(
        complaint.contains("claim:NAME, user or email"),
        "{complaint}"
    );

    let more = [&closed[..], &sso("HTTP/*.corp.example@CORP.EXAMPLE")].concat();
    let complaint = refused(publish("hr", "http://hr.corp.example", &more));
    assert!(
        complaint.contains("--sso-identity-provider") && complaint.contains("whose users"),
        "{complaint}"
    );
    let more = [&more[..], &["--sso-identity-provider", "entra"]].concat();
    run(publish("hr", "http://hr.corp.example", &more));
    let shown = || {
        let shown = site.ok(&["app", "show", "hr", "--output", "json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        shown.get("single_sign_on").cloned()
    };
    let spn = "HTTP/*.corp.example@CORP.EXAMPLE";
    assert_eq!(
        shown(),
        Some(json!({ "kerberos": { "spn": spn, "identity_provider": "entra" } }))
    );

    // Whose ID token it is to be, and where in it the name stands, must be said.
    let by_token = ["--sso-require-id-token"];
    let of_local = ["--sso-identity-provider", "local"];
    for (more, complains) in [
        (&by_token[..], "--sso-identity-provider"),
        (&[by_token[0], of_local[0], of_local[1]], "have none"),
        (
            &[by_token[0], of_local[0], "entra", "--sso-identity", "user"],
            "must be a claim",
        ),
    ] {
        let more = [&closed[..], &sso("HTTP/hr.corp.example"), more].concat();
        let complaint = refused(publish("pay", "http://hr.corp.example", &more));
        assert!(complaint.contains(complains), "{complaint}");
    }

    // Each flag left out has its default again.
    let update = ["app", "update", "hr"].join("\n");
    let full = "--sso\nkerberos\n--sso-spn\nHTTP/hr.corp.example\n--sso-identity\nuser\n--sso-identity-provider\nlocal\n--sso-name-form\nlocal-part\n\
                --sso-framing\nkerberos\n--sso-on-challenge\n--sso-require-mutual";
    run(format!("{update}\n{full}"));
    let said = site.ok(&["app", "show", "hr"]);
    let line = "kerberos: HTTP/hr.corp.example, user of local before @ as account, without SPNEGO, on challenge, mutual";
    assert!(said.contains(line), "{said}");
    run(format!("{update}\n--display-name\nStaff"));
    assert!(site.ok(&["app", "show", "hr"]).contains(line));
    let complaint = refused(format!("{update}\n--access\npassthrough\n{full}"));
    assert!(complaint.contains("--sso"), "{complaint}");
    run(format!("{update}\n--no-sso"));
    assert_eq!(shown(), None);
    run(format!("{update}\n{full}"));
    run(format!("{update}\n--access\npassthrough"));
    assert_eq!(shown(), None);
}

#[tokio::test]
async fn a_file_says_all_of_single_sign_on_and_a_second_time_changes_nothing() {
    let fabric = crate::fabric().await;
    let site = fabric.site();
    let file = site.folder().join("fabric.toml");
    let write = |sso: &str| {
        let text = format!(
            "[app.hr]\nhosts = [\"hr.{DOMAIN}\"]\norigins = [\"http://hr.corp.example\"]\n\
             access = \"sign-in\"\nassign = {{ everyone = true }}\n{sso}\n"
        );
        fs::write(&file, text).expect("the folder can be written");
    };
    let file = file.to_str().expect("UTF-8");
    let apply = || site.ok(&["apply", "-f", file]);

    // As docs/single-sign-on.md writes it.
    let line = "single_sign_on = { kerberos = { spn = \"HTTP/hr.corp.example\", identity = \"claim:account\", identity_provider = \"entra\", name_form = \"account\" } }";
    let document = include_str!("../../docs/single-sign-on.md");
    assert!(document.contains(line));
    write(line);
    let applied = apply();
    assert!(
        applied.contains("kerberos: HTTP/hr.corp.example, claim:account of entra as account"),
        "{applied}"
    );
    let again = apply();
    assert!(!again.contains("kerberos"), "{again}");
    let line = "single_sign_on = { kerberos = { spn = \"HTTP/hr.corp.example\", identity_provider = \"entra\", require_id_token = true } }";
    assert!(document.contains(line));
    write(line);
    let applied = apply();
    assert!(applied.contains("by ID token"), "{applied}");
    let again = apply();
    assert!(!again.contains("kerberos"), "{again}");
    write(
        "single_sign_on.kerberos = { spn = \"HTTP/HR.corp.example\", identity = \"claim:account\", identity_provider = \"entra\", name_form = \"account\" }",
    );
    apply();
    // What is spelled out and is the default changes nothing either.
    write(
        "single_sign_on.kerberos = { spn = \"HTTP/HR.corp.example\", identity = \"claim:account\", identity_provider = \"entra\", name_form = \"account\", framing = \"spnego\", on_challenge = false }",
    );
    let again = apply();
    assert!(!again.contains("kerberos"), "{again}");
    write("single_sign_on.kerberos = { spn = \"hr\", name_form = \"account\" }");
    let complaint = site.refused(&["apply", "-f", file]);
    assert!(
        complaint.contains("single_sign_on") && complaint.contains("SERVICE/host"),
        "{complaint}"
    );
    write("single_sign_on.ntlm = { spn = \"hr\" }");
    let complaint = site.refused(&["apply", "-f", file]);
    assert!(complaint.contains("ntlm"), "{complaint}");
    write("");
    let applied = apply();
    assert!(applied.contains("single_sign_on"), "{applied}");
}

#[tokio::test]
async fn an_agent_believes_what_a_real_edge_states_also_after_another_was_revoked() {
    let (fabric, origin) = (crate::fabric().await, Origin::start().await);
    let host = fabric.publish("wiki", &origin.url()).await;
    let site = fabric.site();
    let other = kit::process::free_address();
    let mut lost = site.start_edge_at("e2", other);
    lost.ready().await;
    let made = site.ok(&["user", "create", "alice"]);
    let closed = ["app", "update", "wiki", "--access", "sign-in"];
    let sso = ["--sso", "kerberos", "--sso-spn", "HTTP/wiki.corp.example"];
    let more = ["--assign-everyone", "--sso-identity", "user"];
    site.ok(&[&closed[..], &sso, &more].concat());
    eventually("the app is closed", async || {
        fabric.user().status(&host, "/").await == 401
    })
    .await;
    // The agents here have no account in any domain, so nobody gets to the app; that they say so shows that they know who asks.
    let believed = |answer: &kit::client::Answer| {
        let text = answer.text();
        !text.contains("sso_statement") && !text.contains("not_ready")
    };
    let mut alice = Visitor::new(fabric.user());
    let answer = alice.sign_in(&host, "alice", made.trim()).await;
    assert!(believed(&answer), "{} {}", answer.status, answer.text());
    // Its keys are replaced for all. Once the edge has the new ones, it does not matter whether the agent hears of them later.
    let keys = async || {
        let published = fabric.user().get(AUTH, "/.well-known/jwks.json").await;
        published.text().to_owned()
    };
    let before = keys().await;
    site.ok(&["edge", "revoke", "e2"]);
    eventually("the edge has the new keys", async || keys().await != before).await;
    for _ in 0..20 {
        let answer = alice.open(&format!("https://{host}/")).await;
        assert!(believed(&answer), "{} {}", answer.status, answer.text());
    }
}
