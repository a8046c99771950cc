//! Users who are signed in by an app's form, at an app that does what a test says.

use std::sync::{Arc, Mutex};

use agent::{allow::AllowList, config::ServingConfig};
use http::HeaderMap;
use model::app::{AgentApp, AgentSegment, CredentialOf, Expired, FormSso, Origin, Sso, Success};
use proto::{
    fabric::{self, resource::Kind},
    tunnel::RequestHead,
};
use runtime::vault::{Credential, KeyPair, Keyring};
use tokio::io::AsyncWriteExt as _;
use tunnel::fields;

use crate::{
    edge::{Answer, Bench, app},
    origin::{ScriptedOrigin, read_body, read_head},
    statements::{Key, head, view_with},
};

/// An app with a form at `/login`, and all that it was asked, in lower case.
struct FormApp {
    origin: ScriptedOrigin,
    heads: Arc<Mutex<Vec<String>>>,
}

/// How such an app answers.
#[derive(Clone, Copy)]
struct Manner {
    /// Where its form leads.
    home: &'static str,
    /// What it sets with that; nothing, if the password is wrong.
    session: Option<&'static str>,
}

const USUAL: Manner = Manner {
    home: "/",
    session: Some("sid=main; Path=/"),
};

impl FormApp {
    async fn start(manner: Manner) -> Self {
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&heads);
        let origin = ScriptedOrigin::start(move |mut stream, _| {
            let heads = Arc::clone(&kept);
            async move {
                while let Some(head) = read_head(&mut stream).await {
                    let length = head
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: "));
                    let length = length.map_or(0, |length| length.parse().unwrap());
                    read_body(&mut stream, length).await;
                    let answer = manner.answer(&head);
                    heads.lock().unwrap().push(head);
                    // Whoever asked may have left.
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        })
        .await;
        Self { origin, heads }
    }

    fn origin(&self) -> Origin {
        Origin::new(self.origin.url().parse().unwrap())
    }

    /// Requests that begin so.
    fn asked(&self, front: &str) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        let asked = heads.iter().filter(|head| head.starts_with(front));
        asked.cloned().collect()
    }
}

impl Manner {
    fn answer(self, head: &str) -> String {
        let page = |fields: &str, body: &str| {
            let length = body.len();
            format!("HTTP/1.1 200 OK\r\n{fields}content-length: {length}\r\n\r\n{body}")
        };
        let other = |status: &str, fields: &str| {
            format!("HTTP/1.1 {status}\r\n{fields}content-length: 0\r\n\r\n")
        };
        if head.starts_with("get /login") {
            let form = "<form method=post><input name=u><input name=p type=password></form>";
            return page("set-cookie: csrf=1; Path=/\r\n", form);
        }
        if head.starts_with("post /login") {
            if head.contains("user-agent: odd") || !head.contains("csrf=1") {
                return other("403 Forbidden", "");
            }
            if head.contains("user-agent: refused") {
                return page("", "who?");
            }
            let session = self.session.map(|it| format!("set-cookie: {it}\r\n"));
            let fields = format!("location: {}\r\n{}", self.home, session.unwrap_or_default());
            return other("302 Found", &fields);
        }
        if head.starts_with("get /early") {
            let early = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\
                         set-cookie: sid=early; Path=/\r\nwww-authenticate: Negotiate\r\n\r\n";
            return early.to_owned() + &page("", "early");
        }
        let is_in = head.contains("sid=main") || head.starts_with("get /public");
        match is_in {
            true => page("", "hello"),
            false => other("302 Found", "location: /login\r\n"),
        }
    }
}

fn form(credential: CredentialOf) -> Option<Sso> {
    Some(Sso::Form(FormSso {
        credential,
        page: "/login".to_owned(),
        action: None,
        user_field: "u".to_owned(),
        password_field: "p".to_owned(),
        fields: Vec::new(),
        success: Success::default(),
        expired: Expired::default(),
        user_cookies: Vec::new(),
    }))
}

/// An agent with a credential for an app, and an edge that states users to it.
struct Vault {
    bench: Bench,
    key: Key,
    asked: Mutex<u8>,
}

/// A request of a user.
#[derive(Clone, Copy)]
struct Asking {
    user: &'static str,
    segment: &'static str,
    host: &'static str,
    path: &'static str,
    agent: &'static str,
}

const ALICE: Asking = Asking {
    user: "alice",
    segment: "",
    host: "app.example.com",
    path: "/",
    agent: "plain",
};

impl Vault {
    async fn of(app: &AgentApp, name: &str) -> Self {
        let pair = KeyPair::generate("office".parse().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vault-key");
        runtime::file::replace(&file, pair.written().as_bytes(), 0o600).unwrap();
        let config = ServingConfig {
            allow: AllowList::all(),
            keyring: Some(Arc::new(Keyring::read(&file).unwrap())),
            ..ServingConfig::default()
        };
        let bench = Box::pin(Bench::configured(vec![], config)).await;
        let credential = Credential::new("asmith".to_owned(), "secret".to_owned());
        let public = pair.public();
        let sealed = public.seal(&name.parse().unwrap(), &credential).unwrap();
        let credential = fabric::Credential {
            name: name.to_owned(),
            vault_key: public.id().to_string(),
            sealed: sealed.into(),
        };
        let key = Key::new();
        bench.views.store(view_with(
            &bench,
            app,
            &[&key],
            vec![Kind::Credential(credential)],
        ));
        Self {
            bench,
            key,
            asked: Mutex::default(),
        }
    }

    async fn ask(&self, asking: Asking) -> Answer {
        let id = {
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            *asked
        };
        let statement = self
            .key
            .state(id, 0, |claims| claims["sub"] = asking.user.into());
        let said: HeaderMap = [("user-agent", asking.agent), ("cookie", "theme=gr\u{fc}n")]
            .into_iter()
            .map(|(name, value)| {
                let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
                (http::HeaderName::from_static(name), value)
            })
            .collect();
        let head = RequestHead {
            segment: asking.segment.to_owned(),
            main_shares_host: asking.host == ALICE.host,
            authority: asking.host.into(),
            path_and_query: asking.path.into(),
            fields: fields::encode(&said).unwrap(),
            ..head(id, 0, statement)
        };
        self.bench.ask(head, b"").await
    }
}

const OWN: &str = "credentials/app/local/alice";
const SHARED: &str = "credentials/app/shared";

#[tokio::test]
async fn the_session_of_the_main_part_reaches_no_part_at_another_host() {
    let (main, files) = (FormApp::start(USUAL).await, FormApp::start(USUAL).await);
    let mut app = AgentApp {
        sso: form(CredentialOf::User),
        ..app("app", &[&main.origin.url()])
    };
    let segment = |id: &str| AgentSegment {
        id: id.parse().unwrap(),
        path: app.path.clone(),
        inner_path: None,
        origins: vec![files.origin()],
    };
    app.segments = vec![segment("files"), segment("beside")];
    let vault = Vault::of(&app, OWN).await;
    let elsewhere = Asking {
        segment: "files",
        host: "files.example.com",
        path: "/public",
        ..ALICE
    };
    assert_eq!(vault.ask(elsewhere).await.status(), 200);
    assert_eq!(main.asked("post /login").len(), 1);
    assert_eq!(vault.ask(elsewhere).await.status(), 200);
    let heads = files.asked("get /public");
    assert!(heads.iter().all(|head| !head.contains("sid=")), "{heads:?}");
    // What the user has is there whatever letters it is written in.
    assert!(heads[0].contains("theme=gr\u{fc}n"), "{heads:?}");
    // The main part has it, and what is at its host as well.
    assert_eq!(vault.ask(ALICE).await.text(), "hello");
    let beside = Asking {
        segment: "beside",
        path: "/public/beside",
        ..ALICE
    };
    vault.ask(beside).await;
    let heads = files.asked("get /public/beside");
    assert!(heads[0].contains("sid=main"), "{heads:?}");
    assert_eq!(main.asked("post /login").len(), 1);
}

#[tokio::test]
async fn heads_before_the_answer_bring_the_user_no_session_and_no_challenge() {
    let main = FormApp::start(USUAL).await;
    let app = AgentApp {
        sso: form(CredentialOf::User),
        ..app("app", &[&main.origin.url()])
    };
    let vault = Vault::of(&app, OWN).await;
    let answer = vault
        .ask(Asking {
            path: "/early",
            ..ALICE
        })
        .await;
    assert_eq!(answer.text(), "early");
    let early = &answer.informational[0];
    let fields = fields::decode(early.fields.clone()).unwrap();
    assert!(fields.contains_key("link"), "{fields:?}");
    assert!(!fields.contains_key("set-cookie"), "{fields:?}");
    assert!(!fields.contains_key("www-authenticate"), "{fields:?}");
}

#[tokio::test]
async fn no_user_of_a_shared_credential_closes_the_app_for_another() {
    let main = FormApp::start(USUAL).await;
    let app = AgentApp {
        sso: form(CredentialOf::App),
        ..app("app", &[&main.origin.url()])
    };
    let vault = Vault::of(&app, SHARED).await;
    for (user, agent) in [("mallory", "odd"), ("eve", "refused")] {
        let bad = Asking {
            user,
            agent,
            ..ALICE
        };
        for _ in 0..3 {
            vault.ask(bad).await.error();
        }
    }
    // Once each: they rest.
    assert_eq!(main.asked("post /login").len(), 2);
    assert_eq!(vault.ask(ALICE).await.text(), "hello");
}

#[tokio::test]
async fn a_page_outside_of_what_is_published_has_its_cookies() {
    let manner = Manner {
        home: "/app/home",
        ..USUAL
    };
    let main = FormApp::start(manner).await;
    let mut app = AgentApp {
        sso: form(CredentialOf::User),
        ..app("app", &[&main.origin.url()])
    };
    app.path = "/crm".parse().unwrap();
    app.translation.inner_path = Some("/app".parse().unwrap());
    let vault = Vault::of(&app, OWN).await;
    let answer = vault
        .ask(Asking {
            path: "/crm/x",
            ..ALICE
        })
        .await;
    assert_eq!(answer.text(), "hello", "{:?}", main.heads.lock().unwrap());
}

#[tokio::test]
async fn an_app_that_leads_back_to_its_form_has_refused_the_password() {
    let manner = Manner {
        session: None,
        ..USUAL
    };
    let main = FormApp::start(manner).await;
    let app = AgentApp {
        sso: form(CredentialOf::User),
        ..app("app", &[&main.origin.url()])
    };
    let vault = Vault::of(&app, OWN).await;
    for path in ["/public", "/", "/public", "/"] {
        let answer = vault.ask(Asking { path, ..ALICE }).await;
        assert_eq!(answer.error().reason, "sso_credentials_refused");
    }
    assert_eq!(main.asked("post /login").len(), 1);
}
