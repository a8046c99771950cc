//! Apps with TLS, whose tokens are bound to the certificate that they show, and services that are named by the origin.

use std::{collections::BTreeSet, fs};

use super::*;

/// Requests after which both origins of an app have had one.
const ASKED_MAX: usize = 50;
/// Runs a command with another `/etc/hosts`, in a mount namespace of its own.
const WITH_HOSTS: &str = r#"mount --bind "$0" /etc/hosts && exec "$@""#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_bound_to_the_certificate_and_to_the_service_of_the_origin() {
    let Some(lab) = Lab::start() else {
        return;
    };
    let by = knowing_names_of(&lab);
    let domain = Domain::start_by(lab, &by).await;
    let first = domain.publish_of("first", App::App, &[]);
    domain.fabric.served(&first).await;
    let mut alice = domain.user("alice@lab.test", &first).await;
    the_app_takes_a_token_that_is_bound_to_its_certificate(&domain, &mut alice).await;
    nobody_in_between_can_pass_a_token_on(&domain, &mut alice).await;
    each_origin_of_a_wildcard_is_a_service_of_its_own(&domain, &mut alice).await;
}

/// What runs an agent that finds the lab's applications by their names.
fn knowing_names_of(lab: &Lab) -> Vec<String> {
    let hosts = lab.folder().join("hosts");
    let address = lab.address(App::App).ip();
    let lines = format!("127.0.0.1 localhost\n{address} app.lab.test second.lab.test\n");
    fs::write(&hosts, lines).expect("the folder is ours");
    let hosts = hosts.display().to_string();
    let words = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        WITH_HOSTS,
    ];
    words
        .map(str::to_owned)
        .into_iter()
        .chain([hosts])
        .collect()
}

/// Publishes the app's doors with TLS, as they are at `address`.
async fn publish_tls(domain: &Domain, id: &str, address: SocketAddr, more: &[&str]) -> String {
    let origin = format!("https://app.lab.test:{}", address.port());
    let more = [&["--sso-identity", "user"], more].concat();
    let host = domain.publish(id, &origin, domain.lab.spn(App::App), &more);
    domain.fabric.served(&host).await;
    host
}

/// However it is wrapped, and whenever it is sent.
async fn the_app_takes_a_token_that_is_bound_to_its_certificate(
    domain: &Domain,
    alice: &mut Visitor,
) {
    let certificate = domain.lab.tls_certificate();
    let trusted = ["--origin-ca", text(&certificate), "--sso-require-mutual"];
    for (id, more) in [
        ("bound", &[][..]),
        ("bare", &["--sso-framing", "kerberos"]),
        ("asks", &["--sso-on-challenge"]),
    ] {
        let more = [&trusted, more].concat();
        let host = publish_tls(domain, id, domain.lab.tls(), &more).await;
        let answer = alice.get(&host, "/bound").await;
        assert_eq!(answer.status, 200, "{id}: {}", answer.text());
        let user = format!("user={}", known("alice@lab.test"));
        assert!(answer.text().contains(&user), "{id}: {}", answer.text());
        assert_eq!(alice.get(&host, "/whoami").await.status, 200);
    }
}

/// The agent takes the certificate of somebody in between for the app's, and so binds the token to that.
async fn nobody_in_between_can_pass_a_token_on(domain: &Domain, alice: &mut Visitor) {
    let taken_in = ["--origin-insecure"];
    let host = publish_tls(domain, "between", domain.lab.between(), &taken_in).await;
    refused(&alice.get(&host, "/bound").await, 502, "sso_failed");
    domain
        .agent_says(&["cannot be signed on", "between", "\"stage\":\"app\""])
        .await;
    let mut certain = alice.get(&host, "/whoami").await;
    // It is not that nothing gets through: this page does not ask what a token is bound to.
    assert_eq!(certain.status, 200, "{}", certain.text());
    let straight = publish_tls(domain, "straight", domain.lab.tls(), &taken_in).await;
    certain = alice.get(&straight, "/bound").await;
    assert_eq!(certain.status, 200, "{}", certain.text());
}

async fn each_origin_of_a_wildcard_is_a_service_of_its_own(domain: &Domain, alice: &mut Visitor) {
    let [first, second] = [("app", App::App), ("second", App::Second)]
        .map(|(name, app)| format!("http://{name}.lab.test:{}", domain.lab.address(app).port()));
    let more = ["--sso-identity", "user", "--origin", &second];
    let host = domain.publish("wide", &first, "HTTP/*.lab.test", &more);
    domain.fabric.served(&host).await;
    let mut met = BTreeSet::new();
    for _ in 0..ASKED_MAX {
        let answer = alice.get(&host, "/whoami").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(seen(&answer), known("alice@lab.test"));
        met.insert(
            answer.fields["x-lab-app"]
                .to_str()
                .expect("visible ASCII")
                .to_owned(),
        );
        if met.len() == 2 {
            break;
        }
    }
    assert_eq!(met.into_iter().collect::<Vec<_>>(), ["app", "second"]);
    // That for the first is known since before.
    domain
        .agent_says(&[
            "a new ticket",
            "alice@lab.test",
            "HTTP/second.lab.test",
            "wide",
        ])
        .await;
}
