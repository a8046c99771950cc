//! An operator tries out single sign-on from anywhere, by the agents beside the app.

use serde_json::Value;
use std::process::Output;

use super::*;

const ALICE: &str = "alice@lab.test";

/// App, user, path; the fault, and what is found.
const REFUSED: [(&str, &str, &str, &str, &str); 7] = [
    (
        "app",
        "carol@lab.test",
        "/",
        "sign_on_user",
        "(proxy, error 13)",
    ),
    (
        "app",
        "dave@lab.test",
        "/",
        "sign_on_user",
        "(self, error 12)",
    ),
    (
        "app",
        "unknown@lab.test",
        "/",
        "sign_on_user",
        "(self, error 6)",
    ),
    ("other", ALICE, "/", "sign_on_user", "(proxy, error 13)"),
    ("ghost", ALICE, "/", "sign_on_setup", "(proxy, error 7)"),
    ("stale", ALICE, "/whoami", "sign_on_app", "(app, error 44)"),
    ("app", ALICE, "/ntlm", "sign_on_app", "other sign-ins"),
];

/// What `adit app sso test` said.
struct Tested {
    code: Option<i32>,
    report: Value,
    complaint: String,
}

impl Tested {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        // What tokens of SPNEGO and of Kerberos begin with, in base64.
        for token in ["Negotiate ", "YII", "oYI"] {
            assert!(!text.contains(token), "a token is told: {text}");
        }
        Self {
            code: output.status.code(),
            report: serde_json::from_str(&text).unwrap_or_default(),
            complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Findings of the only agent.
    fn findings(&self) -> &[Value] {
        let findings = self.report["agents"][0]["findings"].as_array();
        findings.map(Vec::as_slice).unwrap_or_default()
    }

    #[track_caller]
    fn is_well(&self, part: &str) {
        assert_eq!(self.code, Some(0), "{} {}", self.report, self.complaint);
        assert_eq!(self.report["verdict"], "ok", "{}", self.report);
        let last = self.findings().last().expect("something was found");
        let found = last["found"].as_str().unwrap_or_default();
        assert!(found.contains(part), "{found}");
    }

    /// The fault stands last, as nothing is tried behind it.
    #[track_caller]
    fn names(&self, fault: &str, part: &str) {
        assert_eq!(self.code, Some(1), "{} {}", self.report, self.complaint);
        let last = self.findings().last().expect("something was found");
        assert_eq!(last["fault"], fault, "{last}");
        assert!(last["fix"].is_string(), "{last}");
        let found = last["found"].as_str().unwrap_or_default();
        assert!(found.contains(part), "{found}");
    }
}

fn test(domain: &Domain, app: &str, user: &str, more: &[&str]) -> Tested {
    let args = ["app", "sso", "test", app, "--user", user, "--json"];
    Tested::of(&domain.fabric.site().run(&[&args, more].concat()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_is_told_the_stage_at_which_a_sign_on_fails() {
    let Some(lab) = Lab::start() else {
        return;
    };
    let domain = Domain::start(lab, &[]).await;
    let site = domain.fabric.site();
    let app = domain.publish_of("app", App::App, &[]);
    domain.publish_of("other", App::Other, &[]);
    domain.publish_of("stale", App::Stale, &[]);
    let origin = url(domain.lab.address(App::App));
    let ghost = ["--sso-identity", "user"];
    domain.publish("ghost", &origin, &domain.lab.ghost_spn(), &ghost);
    domain.publish("claim", &origin, domain.lab.spn(App::App), &OF_LOCAL);
    let open = ["app", "publish", "open", "--host", "open.fabric.test"];
    site.ok(&[&open[..], &["--origin", &origin, "--access", "passthrough"]].concat());
    domain.fabric.served(&app).await;
    for user in [
        ALICE,
        "carol@lab.test",
        "dave@lab.test",
        "unknown@lab.test",
        "bob@corp.example",
    ] {
        site.ok(&["user", "create", user]);
    }

    let well = "answers 200, it has the service's key, to GET /whoami";
    eventually("the agent knows of the app", async || {
        test(&domain, "app", ALICE, &[]).code == Some(0)
    })
    .await;
    let said = test(&domain, "app", ALICE, &["--path", "/whoami"]);
    said.is_well(well);
    let checks: Vec<_> = said.findings().iter().map(|it| &it["check"]).collect();
    assert_eq!(
        checks,
        ["kerberos", "sign-on", "sign-on"],
        "each stage is told"
    );
    for (app, user, path, fault, part) in REFUSED {
        test(&domain, app, user, &["--path", path]).names(fault, part);
    }
    // What only the identity provider can say of the user.
    let said = test(&domain, "claim", ALICE, &[]);
    assert_eq!(said.code, Some(1), "{}", said.report);
    for part in ["--name", "the claim upn"] {
        assert!(said.complaint.contains(part), "{}", said.complaint);
    }
    let named = ["--name", ALICE, "--path", "/whoami", "--agent", "a1"];
    test(&domain, "claim", ALICE, &named).is_well(well);
    refuses(&domain);
    told_in_the_audit_log(site);

    domain.lab.stop_kdc();
    eventually("the domain controller is missed", async || {
        let said = test(&domain, "app", ALICE, &[]);
        let last = said.findings().last();
        said.code == Some(1) && last.is_some_and(|last| last["fault"] == "kdc")
    })
    .await;
    // Of whom nothing was asked yet: what a domain says is good for two seconds.
    let silent = domain.lab.silence_kdc();
    test(&domain, "app", "bob@corp.example", &[]).names("kdc", "");
    drop(silent);
    an_agent_that_does_not_answer(&domain).await;
}

/// What there is nothing to ask agents about.
fn refuses(domain: &Domain) {
    for (app, user, more, part) in [
        ("gone", ALICE, &[][..], "there is no apps/gone"),
        ("app", "nobody", &[], "there is no users/nobody"),
        ("open", ALICE, &[], "apps/open has no single sign-on"),
        ("app", ALICE, &["--agent", "a9"], "there is no agents/a9"),
        ("app", ALICE, &["--sign-in"], "--sign-in"),
        (
            "claim",
            ALICE,
            &["--name", ALICE, "--provider", "entra"],
            "--provider",
        ),
    ] {
        let said = test(domain, app, user, more);
        assert_eq!(said.code, Some(1), "{app} {more:?}");
        assert!(said.complaint.contains(part), "{}", said.complaint);
    }
    let wrong = test(domain, "app", "Not An Id", &[]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.complaint);
}

fn told_in_the_audit_log(site: &Site) {
    let args = ["audit", "list", "--method", "TestSingleSignOn"];
    let events = site.ok(&[&args[..], &["--resource", "apps/claim", "--output", "json"]].concat());
    let events: Value = serde_json::from_str(&events).expect("JSON");
    // The one that was refused for want of a name had nobody asked.
    assert_eq!(events.as_array().map(Vec::len), Some(1), "{events}");
    let subject = "users/alice@lab.test as alice@lab.test, GET /whoami";
    assert_eq!(events[0]["subject"], subject, "{events}");
}

async fn an_agent_that_does_not_answer(domain: &Domain) {
    let agent = domain.fabric.agent.id().to_string();
    let signal = |signal: &str| {
        let sent = std::process::Command::new("kill")
            .args([signal, &agent])
            .status();
        assert!(sent.expect("kill runs").success());
    };
    signal("-STOP");
    let said = test(domain, "app", ALICE, &[]);
    signal("-CONT");
    assert_eq!(said.code, Some(1));
    let found = &said.findings()[0]["found"];
    assert_eq!(found, "has not answered within 10 s", "{}", said.report);
    domain.fabric.agent.terminate();
    eventually("the agent is away", async || {
        let said = test(domain, "app", ALICE, &[]);
        said.code == Some(1)
            && said
                .complaint
                .contains("no agent of groups/default is connected to control")
    })
    .await;
}
