//! An app that asks for the identity provider's own word: nobody is signed on to it by an edge's alone.

use kit::provider::{CLIENT, Provider};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::*;
use crate::sign_in::AUTH;

/// Control asks for keys twice a minute.
const TOLD_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);
const COOKIE: &str = "__Host-adit-id-token";

impl Domain {
    /// Publishes a provider, and an app that asks for its ID tokens.
    fn publish_for(&self, provider: &Provider, require: &[&str]) -> String {
        let issuer = provider.issuer();
        let args = [
            "identity-provider",
            "create",
            "entra",
            "--issuer",
            &issuer,
            "--client-id",
            CLIENT,
            "--client-authentication",
            "none",
            "--algorithm",
            "ES256",
            "--keep-claim",
            "upn",
            "--private-network",
        ];
        self.fabric.site().ok(&args);
        let of_entra = [&["--sso-identity-provider", "entra"], require].concat();
        let origin = url(self.lab.address(App::App));
        self.publish("hr", &origin, self.lab.spn(App::App), &of_entra)
    }
}

impl Visitor {
    /// Signs in at the provider, which says `claims` in its token and `more` beside it.
    async fn sign_in_by(&mut self, provider: &Provider, host: &str, claims: Value, more: Value) {
        let page = self.open(&format!("https://{host}/whoami")).await;
        let hidden = |name: &str| {
            let mark = format!("name=\"{name}\" value=\"");
            let (_, rest) = page.text().split_once(&mark).expect("a form");
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        let form = format!("token={}&to={}", hidden("token"), hidden("to"));
        let mut request = self.request(Method::POST, AUTH, "/sign-in/with/entra", form);
        let kind = "application/x-www-form-urlencoded";
        let kind = kind.parse().expect("visible ASCII");
        request.headers_mut().insert("content-type", kind);
        let answer = self.send(request, AUTH).await;
        let there = answer.fields.get("location");
        let there = there.unwrap_or_else(|| panic!("{} {}", answer.status, answer.text()));
        let there = there.to_str().expect("visible ASCII");
        let back = provider.way_back(there, claims, more);
        self.open(&back).await;
    }
}

/// Waits until the user gets that.
async fn answers(visitor: &mut Visitor, host: &str, status: u16) {
    let looking = async {
        while visitor.get(host, "/whoami").await.status != status {
            sleep(LOOK_EVERY).await;
        }
    };
    let seen = timeout(TOLD_WITHIN, looking).await;
    seen.unwrap_or_else(|_| panic!("there is no {status} in {TOLD_WITHIN:?}"));
}

fn claims(user: &str, upn: &Value) -> Value {
    json!({"sub": user, "preferred_username": user, "upn": upn})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_signed_on_but_by_the_word_of_their_identity_provider() {
    let Some(lab) = Lab::start() else {
        return;
    };
    let domain = Domain::start(lab, &[]).await;
    let provider = Provider::start().await;
    let hr = domain.publish_for(&provider, &["--sso-require-id-token"]);
    domain.fabric.served(&hr).await;
    let said = domain.fabric.site().ok(&["app", "show", "hr"]);
    assert!(said.contains("by ID token"), "{said}");

    let mut alice = Visitor::new(domain.fabric.user());
    let upn = json!("alice@lab.test");
    let nothing = json!({});
    alice
        .sign_in_by(&provider, &hr, claims("alice", &upn), nothing.clone())
        .await;
    let answer = alice.get(&hr, "/whoami").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("alice"), "{}", answer.text());
    assert!(alice.cookies(&hr).contains(COOKIE));

    // The edge states a name that the provider's token does not have: it was said beside the token, which the edge believes.
    let mut root = Visitor::new(domain.fabric.user());
    let more = json!({"upn": "alice@lab.test"});
    root.sign_in_by(&provider, &hr, claims("root", &Value::Null), more.clone())
        .await;
    refused(&root.get(&hr, "/whoami").await, 403, "sso_id_token");
    domain
        .agent_says(&["sso_id_token", "no one name of the user"])
        .await;

    // Who has lost it is led to where it is, and whoever cannot be led is told.
    alice.forget(&hr, COOKIE);
    refused(
        &alice.post(&hr, "/echo", b"x".to_vec(), &[]).await,
        403,
        "sso_id_token",
    );
    let answer = alice.open(&format!("https://{hr}/whoami")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());

    // What was signed by a key that the provider has taken back is none any more, and the new one is known in a while.
    provider.change_key();
    answers(&mut alice, &hr, 403).await;
    let mut bob = Visitor::new(domain.fabric.user());
    bob.sign_in_by(
        &provider,
        &hr,
        claims("bob", &json!("bob@corp.example")),
        nothing,
    )
    .await;
    let answer = bob.get(&hr, "/whoami").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("bob"), "{}", answer.text());

    let metrics = domain.fabric.control.admin("/metrics").await;
    let line = "control_provider_key_fetches_total{outcome=\"fetched\"}";
    assert!(metrics.contains(line), "{line} is not in\n{metrics}");

    // Of the same edge, without that: its word is enough.
    let site = domain.fabric.site();
    let spn = domain.lab.spn(App::App);
    site.ok(&[
        "app",
        "update",
        "hr",
        "--sso",
        "kerberos",
        "--sso-spn",
        spn,
        "--sso-identity-provider",
        "entra",
    ]);
    answers(&mut root, &hr, 200).await;
}
