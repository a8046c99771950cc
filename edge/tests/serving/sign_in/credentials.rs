//! Users enter what they sign in to an app with: sealed already, each for themselves, and only where it is used.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use edge::CredentialQuestion;
use proto::{
    admin::SignOnIdentity,
    fabric::{
        CredentialUser, EdgeApp, EdgeCredential, EdgeSignOn, KeepCredentialResponse,
        RemoveCredentialResponse, ShowCredentialResponse, TermsUser, VaultKey,
    },
};

use super::*;

/// An app of which control keeps nothing.
const CHANGED: &str = "changed";

/// What is kept, as control has it.
#[derive(Debug, Default)]
pub(super) struct Control {
    kept: HashMap<(TermsUser, String), i64>,
}

fn key(user: Option<CredentialUser>, app: String) -> (TermsUser, String) {
    let user = user.unwrap();
    assert_eq!(user.client, "127.0.0.1");
    assert_eq!(user.request_id.len(), 32);
    let named = user.user.unwrap();
    assert_eq!(user.shown.unwrap().user, named.user);
    (named, app)
}

impl Control {
    pub(super) fn answer(&mut self, question: CredentialQuestion, clock: &Clock) {
        match question {
            CredentialQuestion::Show(request, answer) => {
                let key = key(request.user, request.app);
                let kept_ms = self.kept.get(&key).copied().unwrap_or_default();
                let _ = answer.send(Ok(ShowCredentialResponse { kept_ms }));
            }
            CredentialQuestion::Keep(request, answer) => {
                assert_eq!(request.vault_key, "k2");
                let kept_ms = if request.app == CHANGED {
                    0
                } else {
                    milliseconds(clock)
                };
                let key = key(request.user, request.app);
                if kept_ms > 0 {
                    self.kept.insert(key, kept_ms);
                }
                let _ = answer.send(Ok(KeepCredentialResponse { kept_ms }));
            }
            CredentialQuestion::Remove(request, answer) => {
                self.kept.remove(&key(request.user, request.app));
                let _ = answer.send(Ok(RemoveCredentialResponse { removed: true }));
            }
        }
    }
}

fn add(fabric: &mut Fabric, id: &str, credential: EdgeCredential) {
    let Some(Kind::EdgeApp(wiki)) = fabric.resources["apps/wiki"].kind.clone() else {
        panic!("apps/wiki is there from the start");
    };
    let app = EdgeApp {
        id: id.to_owned(),
        hosts: vec![format!("{id}.example.com")],
        single_sign_on: Some(EdgeSignOn {
            identity: SignOnIdentity::User.into(),
            credential: credential.into(),
            ..EdgeSignOn::default()
        }),
        ..wiki
    };
    fabric.set(&format!("apps/{id}"), Kind::EdgeApp(app));
}

fn vault_key(fabric: &mut Fabric, id: &str, create_ns: i64) {
    let key = VaultKey {
        id: id.to_owned(),
        group: "office".to_owned(),
        public_key: vec![4; 65].into(),
        create_ns,
    };
    fabric.set(&format!("vaultKeys/{id}"), Kind::VaultKey(key));
}

async fn send(browser: &mut Browser, fabric: &Fabric, path: &str, pairs: &[(&str, &str)]) -> Reply {
    let pairs = pairs.iter();
    let pairs = pairs.map(|(name, value)| format!("{name}={}", escape(value)));
    let body = pairs.collect::<Vec<_>>().join("&");
    let fields = format!(
        "{NAVIGATION}origin: https://{AUTH}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n",
        body.len()
    );
    let line = format!("POST {path}");
    browser.send(fabric, AUTH, &line, &fields, &body).await
}

async fn fabric_with_vault() -> (Fabric, Browser) {
    let mut fabric = fabric().await;
    for (id, credential) in [
        ("forms", EdgeCredential::User),
        (CHANGED, EdgeCredential::User),
        ("shared", EdgeCredential::Shared),
        ("plain", EdgeCredential::Unspecified),
    ] {
        add(&mut fabric, id, credential);
    }
    vault_key(&mut fabric, "k2", 2);
    vault_key(&mut fabric, "k1", 1);
    fabric.publish(3);
    let agent = fabric.agent("a1").await;
    serve(&fabric, &agent);
    let mut browser = Browser::default();
    let home = format!("https://{HOST}/");
    browser.sign_in(&fabric, &home, "alice").await;
    (fabric, browser)
}

const PAGE: &str = "https://auth.example.com/app-sign-in?app=forms";

#[tokio::test]
async fn what_a_browser_has_sealed_is_kept_shown_and_removed() {
    let (fabric, mut browser) = fabric_with_vault().await;
    let (_, page) = browser.open(&fabric, PAGE).await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.body.contains("Nothing is kept yet."), "{page:?}");
    assert!(
        page.body
            .contains("data-aad=\"credentials/forms/local/alice\nk2\"")
    );
    let token = page.hidden("token");
    let sealed = BASE64_URL_SAFE_NO_PAD.encode([7; 337]);
    let form = [
        ("token", &*token),
        ("app", "forms"),
        ("key", "k2"),
        ("sealed", &*sealed),
    ];
    let page = send(&mut browser, &fabric, "/app-sign-in", &form).await;
    assert!(
        page.status == 200 && page.body.contains("Kept."),
        "{page:?}"
    );
    assert!(page.body.contains("entered just now"), "{page:?}");
    let form = [("token", &*token), ("app", "forms")];
    let page = send(&mut browser, &fabric, "/app-sign-in/remove", &form).await;
    assert!(page.body.contains("Removed."), "{page:?}");
    assert!(page.body.contains("Nothing is kept yet."), "{page:?}");
}

#[tokio::test]
async fn what_is_not_sealed_or_not_asked_for_here_is_not_kept() {
    let (fabric, mut browser) = fabric_with_vault().await;
    let (_, page) = browser.open(&fabric, PAGE).await;
    let token = page.hidden("token");
    let sealed = BASE64_URL_SAFE_NO_PAD.encode([7; 337]);
    for (token, app, sealed, status, words) in [
        ("", "forms", &*sealed, 400, "open for too long"),
        (&*token, "forms", "", 400, "needs JavaScript"),
        (&*token, "forms", "hunter2", 400, "needs JavaScript"),
        (&*token, CHANGED, &*sealed, 409, "was not kept"),
        (&*token, "shared", &*sealed, 404, ""),
        (&*token, "plain", &*sealed, 404, ""),
        (&*token, "crm", &*sealed, 404, ""),
        (&*token, "nowhere", &*sealed, 404, ""),
        (&*token, "../x", &*sealed, 404, ""),
    ] {
        let form = [
            ("token", token),
            ("app", app),
            ("key", "k2"),
            ("sealed", sealed),
        ];
        let reply = send(&mut browser, &fabric, "/app-sign-in", &form).await;
        assert_eq!(reply.status, status, "{app}: {reply:?}");
        assert!(reply.body.contains(words), "{app}: {reply:?}");
    }
    let mut stranger = Browser::default();
    let (_, page) = stranger.open(&fabric, PAGE).await;
    assert!(page.body.contains("<h1>Sign in</h1>"), "{page:?}");
}

#[tokio::test]
async fn the_portal_and_every_host_of_the_app_lead_there() {
    let (fabric, mut browser) = fabric_with_vault().await;
    let (_, portal) = browser.open(&fabric, "https://apps.example.com/").await;
    for (app, leads) in [("forms", true), ("shared", false), ("plain", false)] {
        let link = format!("href=\"https://auth.example.com/app-sign-in?app={app}\"");
        assert_eq!(portal.body.contains(&link), leads, "{app}: {portal:?}");
    }
    // At the host of another app, too: several may be at one.
    for (line, want) in [
        ("GET /.adit/app-sign-in?app=forms", PAGE),
        ("GET /.adit/app-sign-in", "https://apps.example.com/"),
        (
            "GET /.adit/app-sign-in?app=%22",
            "https://apps.example.com/",
        ),
    ] {
        for host in ["forms.example.com", "shared.example.com"] {
            let reply = browser.ask(&fabric, host, line, NAVIGATION).await;
            assert_eq!(reply.location(), want);
        }
    }
}
