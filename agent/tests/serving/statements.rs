//! What an edge states of a user holds for its request, or the request ends before an origin hears of it.

use std::time::{Duration, SystemTime};

use agent::{
    origin::SystemRoots,
    view::{View, ViewBuilder},
};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use bytes::Bytes;
use http::HeaderMap;
use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, ThumbprintHash},
};
use model::app::{AgentApp, KerberosSso, Sso};
use proto::{
    fabric::{
        self, EdgeRecord, FabricSettings, Resource, StatementKey, StatementKeys, resource::Kind,
    },
    tunnel::{RequestFlags, RequestHead},
};
use tokio::{io::AsyncWriteExt as _, time::sleep};

use crate::{
    edge::{Answer, Bench, app, get, soon},
    origin::{ScriptedOrigin, read_head},
};

const REFUSED: &str = "sso_statement";

/// A key that control has made.
pub(crate) struct Key(Vec<u8>);

impl Key {
    pub(crate) fn new() -> Self {
        let made =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Self(made.unwrap().as_ref().to_vec())
    }

    pub(crate) fn public(&self) -> Bytes {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.0).unwrap();
        Bytes::copy_from_slice(pair.public_key().as_ref())
    }

    /// What an edge states for a request with this id, and this number of attempts before.
    pub(crate) fn state(
        &self,
        id: u8,
        attempt: u32,
        change: impl FnOnce(&mut serde_json::Value),
    ) -> Bytes {
        let signing = EncodingKey::from_ec_der(&self.0);
        let public = Jwk::from_encoding_key(&signing, Algorithm::ES256).unwrap();
        let head = Header {
            typ: Some("adit-statement+jwt".to_owned()),
            kid: Some(public.thumbprint(ThumbprintHash::SHA256).unwrap()),
            ..Header::new(Algorithm::ES256)
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the agent's clock is the system's"
        )]
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap().as_secs();
        let mut claims = serde_json::json!({
            "iss": "https://auth.fabric.test",
            "aud": "app",
            "jti": format!("{id:02x}").repeat(16),
            "att": attempt,
            "grp": "office",
            "iat": now,
            "exp": now + 60,
            "sub": "alice",
            "edge": "e1",
            "name": "alice@lab.test",
        });
        change(&mut claims);
        encode(&head, &claims, &signing).unwrap().into()
    }
}

/// A request with this id.
pub(crate) fn head(id: u8, attempt: u32, statement: Bytes) -> RequestHead {
    RequestHead {
        request_id: vec![id; 16].into(),
        identity: statement,
        flags: Some(RequestFlags {
            idempotent: true,
            attempt,
            ..RequestFlags::default()
        }),
        ..get("/")
    }
}

fn view(bench: &Bench, app: &AgentApp, keys: &[&Key]) -> View {
    view_with(bench, app, keys, Vec::new())
}

/// With more that control tells.
pub(crate) fn view_with(bench: &Bench, app: &AgentApp, keys: &[&Key], more: Vec<Kind>) -> View {
    let (address, over_tcp) = bench.edge.addresses();
    let keys = keys.iter().map(|key| StatementKey {
        public_key: key.public(),
    });
    let resources = [
        Kind::Fabric(FabricSettings {
            domain: "fabric.test".to_owned(),
            ..FabricSettings::default()
        }),
        Kind::StatementKeys(StatementKeys {
            keys: keys.collect(),
            group: "office".to_owned(),
        }),
        Kind::AgentApp(fabric::AgentApp::from(app)),
        Kind::Edge(EdgeRecord {
            id: "e1".to_owned(),
            tunnel_address: address.to_string(),
            tcp_address: over_tcp
                .map(|address| address.to_string())
                .unwrap_or_default(),
            workers: 1,
            revoked: false,
        }),
    ];
    let resources: Vec<_> = resources
        .into_iter()
        .chain(more)
        .map(|kind| Resource {
            name: "any".to_owned(),
            kind: Some(kind),
        })
        .collect();
    ViewBuilder::new(SystemRoots::default())
        .build(&resources)
        .unwrap()
}

/// An origin that greets, and an app in front of it to which agents sign users on.
pub(crate) async fn signing_on() -> (ScriptedOrigin, AgentApp) {
    let origin = ScriptedOrigin::start(|mut stream, _| async move {
        while read_head(&mut stream).await.is_some() {
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let spn = "HTTP/app.lab.test".parse().unwrap();
    let app = AgentApp {
        sso: Some(Sso::Kerberos(KerberosSso::new(spn))),
        ..app("app", &[&origin.url()])
    };
    (origin, app)
}

/// Whether the agent has taken the statement, whatever became of the request then.
#[track_caller]
fn is_believed(answer: &Answer) -> bool {
    match &answer.end {
        crate::edge::Ending::Error(error) => error.reason != REFUSED,
        _ => answer.status() == 200,
    }
}

#[tokio::test]
async fn a_statement_holds_for_its_request_once_and_nothing_else_does() {
    let (origin, app) = signing_on().await;
    let (bench, key, other) = (Bench::with(vec![]).await, Key::new(), Key::new());
    bench.views.store(view(&bench, &app, &[&key]));
    let plain = |_: &mut serde_json::Value| ();

    let good = key.state(1, 0, plain);
    assert!(is_believed(&bench.ask(head(1, 0, good.clone()), b"").await));
    let before = origin.connections();
    let set = |name: &'static str, value: &'static str| {
        move |claims: &mut serde_json::Value| claims[name] = value.into()
    };
    for (what, head) in [
        ("again", head(1, 0, good.clone())),
        ("of another request", head(2, 0, good.clone())),
        ("of another attempt", head(1, 1, good)),
        ("none", head(3, 0, Bytes::new())),
        (
            "for another app",
            head(3, 0, key.state(3, 0, set("aud", "crm"))),
        ),
        (
            "for another group",
            head(3, 0, key.state(3, 0, set("grp", "plant"))),
        ),
        (
            "of another fabric",
            head(3, 0, key.state(3, 0, set("iss", "https://evil.test"))),
        ),
        (
            "long ago",
            head(3, 0, key.state(3, 0, |claims| claims["exp"] = 1.into())),
        ),
        ("too long", head(3, 0, vec![b'x'; 60_000].into())),
    ] {
        let answer = bench.ask(head, b"").await;
        let error = answer.error();
        assert_eq!(error.reason, REFUSED, "{what}: {error:?}");
        assert!(error.retry_safe, "{what}: {error:?}");
    }
    // Signed by a key that control does not publish; the agent waits a moment for news of it.
    let answer = bench.ask(head(3, 0, other.state(3, 0, plain)), b"").await;
    assert_eq!(answer.error().reason, REFUSED);
    // What a user writes is no statement.
    let fields: HeaderMap = ["adit-statement", "adit-identity", "identity"]
        .into_iter()
        .map(|name| {
            let good = key.state(3, 0, plain);
            (
                name.parse().unwrap(),
                http::HeaderValue::from_maybe_shared(good).unwrap(),
            )
        })
        .collect();
    let written = RequestHead {
        fields: tunnel::fields::encode(&fields).unwrap(),
        ..head(3, 0, Bytes::new())
    };
    assert_eq!(bench.ask(written, b"").await.error().reason, REFUSED);
    assert_eq!(origin.connections(), before, "no origin heard of it");
    // None of that has used the request up.
    let fresh = key.state(3, 0, plain);
    assert!(is_believed(&bench.ask(head(3, 0, fresh), b"").await));
}

#[tokio::test]
async fn a_statement_for_an_app_without_single_sign_on_is_not_looked_at() {
    let (_origin, mut app) = signing_on().await;
    app.sso = None;
    let (bench, key) = (Bench::with(vec![]).await, Key::new());
    bench.views.store(view(&bench, &app, &[&key]));
    for statement in [Bytes::new(), Bytes::from_static(b"nonsense")] {
        for _ in 0..2 {
            let answer = bench.ask(head(1, 0, statement.clone()), b"").await;
            assert_eq!((answer.status(), answer.text()), (200, "hello".to_owned()));
        }
    }
}

#[tokio::test]
async fn a_key_may_come_a_moment_after_what_it_signs_and_one_that_is_gone_signs_nothing() {
    let (_origin, app) = signing_on().await;
    let (bench, old, new) = (Bench::with(vec![]).await, Key::new(), Key::new());
    bench.views.store(view(&bench, &app, &[&old]));
    let asking = bench.ask(head(1, 0, new.state(1, 0, |_| ())), b"");
    let publishing = async {
        sleep(Duration::from_millis(200)).await;
        bench.views.store(view(&bench, &app, &[&new]));
    };
    let (answer, ()) = tokio::join!(asking, publishing);
    assert!(is_believed(&answer), "{answer:?}");
    let retired = bench.ask(head(2, 0, old.state(2, 0, |_| ())), b"");
    assert_eq!(soon(retired).await.error().reason, REFUSED);
}

#[tokio::test]
async fn who_cannot_be_signed_on_reaches_no_origin_and_other_apps_go_on() {
    let (origin, app) = signing_on().await;
    let (bench, key) = (Bench::with(vec![]).await, Key::new());
    bench.views.store(view(&bench, &app, &[&key]));
    let nameless = key.state(1, 0, |claims| claims["name"] = serde_json::Value::Null);
    let answer = bench.ask(head(1, 0, nameless), b"").await;
    assert_eq!(answer.error().reason, "sso_no_identity");
    assert!(!answer.error().retry_safe);
    // This agent has no account; another one of the group may have.
    let named = key.state(2, 0, |_| ());
    let answer = bench.ask(head(2, 0, named), b"").await;
    let error = answer.error();
    assert_eq!((&*error.reason, error.retry_safe), ("sso_failed", true));
    assert!(error.detail.contains("kerberos.principal"), "{error:?}");
    assert_eq!(origin.connections(), 0);
    let plain = AgentApp { sso: None, ..app };
    bench.views.store(view(&bench, &plain, &[&key]));
    assert_eq!(bench.ask(head(3, 0, Bytes::new()), b"").await.status(), 200);
}

#[tokio::test]
async fn users_of_another_provider_are_not_signed_on_under_its_names() {
    let (origin, mut app) = signing_on().await;
    let Some(Sso::Kerberos(kerberos)) = &mut app.sso else {
        panic!("it is of Kerberos");
    };
    kerberos.provider = "entra".parse().ok();
    let (bench, key) = (Bench::with(vec![]).await, Key::new());
    bench.views.store(view(&bench, &app, &[&key]));
    let of = |id: u8, provider: Option<&'static str>| {
        key.state(id, 0, move |claims| {
            let claims = claims.as_object_mut().unwrap();
            claims.remove("idp");
            claims.extend(provider.map(|id| ("idp".to_owned(), id.into())));
        })
    };
    for (id, provider, reason) in [
        (1, None, "sso_no_identity"),
        (2, Some("other"), "sso_no_identity"),
        (3, Some("local"), "sso_no_identity"),
        // This agent has no account.
        (4, Some("entra"), "sso_failed"),
    ] {
        let answer = bench.ask(head(id, 0, of(id, provider)), b"").await;
        assert_eq!(answer.error().reason, reason, "{provider:?}");
    }
    assert_eq!(origin.connections(), 0);
}
