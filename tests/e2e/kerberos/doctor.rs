//! The doctor looks at the agent's account, and goes through the stages of a sign-on as a request does.

use super::*;
use Account::{Good, Stale, WithoutTransition};

const ALICE: &str = "alice@lab.test";

/// The agent's account, app, user and path; the fault, its exit code, and what is found.
const REFUSED: [(Account, &str, &str, &str, &str, i32, &str); 11] = [
    (Good, "gone", ALICE, "/", "no_sign_on", 42, "no such app"),
    (
        Good,
        "app",
        "alice",
        "/",
        "sign_on_user",
        43,
        "no name of a user",
    ),
    (
        Good,
        "app",
        "carol@lab.test",
        "/",
        "sign_on_user",
        43,
        "(proxy, error 13)",
    ),
    (
        Good,
        "app",
        "dave@lab.test",
        "/",
        "sign_on_user",
        43,
        "(self, error 12)",
    ),
    (
        Good,
        "app",
        "unknown@lab.test",
        "/",
        "sign_on_user",
        43,
        "(self, error 6)",
    ),
    (
        Good,
        "other",
        ALICE,
        "/",
        "sign_on_user",
        43,
        "(proxy, error 13)",
    ),
    (
        WithoutTransition,
        "app",
        ALICE,
        "/",
        "sign_on_user",
        43,
        "(proxy, error 13)",
    ),
    (
        Good,
        "ghost",
        ALICE,
        "/",
        "sign_on_setup",
        44,
        "(proxy, error 7)",
    ),
    (
        Good,
        "stale",
        ALICE,
        "/whoami",
        "sign_on_app",
        45,
        "(app, error 44)",
    ),
    (
        Good,
        "app",
        ALICE,
        "/ntlm",
        "sign_on_app",
        45,
        "other sign-ins",
    ),
    (
        Stale,
        "app",
        ALICE,
        "/",
        "kerberos_account",
        41,
        "(agent, error 24)",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_names_the_stage_of_a_sign_on_that_fails() {
    let Some(lab) = Lab::start() else {
        return;
    };
    let domain = Domain::start(lab, &[]).await;
    let app = domain.publish_of("app", App::App, &[]);
    domain.publish_of("other", App::Other, &[]);
    domain.publish_of("stale", App::Stale, &[]);
    domain.publish_of("account", App::App, &["--sso-name-form", "account"]);
    let origin = url(domain.lab.address(App::App));
    domain.publish("ghost", &origin, &domain.lab.ghost_spn(), &OF_LOCAL);
    let plain = format!("plain.{DOMAIN}");
    let open = ["--origin", &origin, "--access", "passthrough"];
    let open = [&["app", "publish", "plain", "--host", &plain][..], &open].concat();
    domain.fabric.site().ok(&open);
    domain.fabric.served(&app).await;
    let krb5_conf = domain.lab.krb5_conf();
    let krb5_conf = krb5_conf.to_str().expect("paths of tests are UTF-8");
    let doctor = |account: Account, app: &str, user: &str, path: &str| {
        let (principal, keytab) = (domain.lab.principal(account), domain.lab.keytab(account));
        let keytab = keytab.to_str().expect("paths of tests are UTF-8");
        let of_agent = [
            "doctor",
            "sso",
            "--json",
            "--data-dir",
            "a1",
            "--krb5-conf",
            krb5_conf,
        ];
        let account = [
            "--kerberos-principal",
            &principal,
            "--kerberos-keytab",
            keytab,
        ];
        let whom = ["--app", app, "--user", user, "--path", path];
        Said::of(
            &domain
                .fabric
                .site()
                .run(&[&of_agent[..], &account, &whom].concat()),
        )
    };
    eventually(
        "the agent has written down all that is published",
        async || {
            doctor(Good, "plain", "x@y", "/")
                .text
                .contains("no single sign-on")
        },
    )
    .await;

    for (app, user, path) in [
        ("app", ALICE, "/whoami"),
        ("app", "bob@corp.example", "/echo"),
        ("account", "bsmith", "/whoami"),
    ] {
        let said = doctor(Good, app, user, path);
        said.is_well();
        let whole = format!("answers 200, it has the service's key, to GET {path}");
        assert!(said.text.contains(&whole), "{}", said.text);
    }
    for (account, app, user, path, fault, code, part) in REFUSED {
        doctor(account, app, user, path).names(fault, code, part);
    }
    domain.lab.stop_kdc();
    doctor(Good, "app", ALICE, "/").names("kdc", 40, "");
}

pub(super) async fn names_what_is_wrong_with_the_account(lab: &Lab) {
    let fabric = crate::fabric().await;
    let krb5_conf = lab.krb5_conf();
    let krb5_conf = krb5_conf.to_str().expect("paths of tests are UTF-8");
    let doctor = |account: Account, keytab: &Path| {
        let keytab = keytab.to_str().expect("paths of tests are UTF-8");
        let principal = lab.principal(account);
        let args = [
            "doctor",
            "agent",
            "--json",
            "--data-dir",
            "a1",
            "--kerberos-principal",
            &principal,
            "--kerberos-keytab",
            keytab,
            "--krb5-conf",
            krb5_conf,
        ];
        Said::of(&fabric.site().run(&args))
    };
    let good = lab.keytab(Good);
    let said = doctor(Good, &good);
    said.is_well();
    assert!(
        said.text.contains("has a ticket of its own"),
        "{}",
        said.text
    );
    let stale = lab.keytab(Stale);
    doctor(Stale, &stale).names("kerberos_account", 41, "24");
    doctor(Good, &stale).names("keytab", 39, "svc-agent");
    doctor(Good, "nowhere.keytab".as_ref()).names("keytab", 39, "nowhere.keytab");
    lab.stop_kdc();
    doctor(Good, &good).names("kdc", 40, "");
    lab.start_kdc();
}
