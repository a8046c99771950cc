use std::{
    error::Error,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use model::identity_provider::{
    Asks, ClaimNames, ClientAuthentication, Endpoints, IdentityProvider, SigningAlgorithm,
};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;

pub(crate) fn provider(issuer: &str) -> IdentityProvider {
    IdentityProvider {
        id: "entra".parse().unwrap(),
        display_name: String::new(),
        issuer: issuer.parse().unwrap(),
        client_id: "adit".to_owned(),
        client_authentication: ClientAuthentication::SecretBasic,
        key_id: String::new(),
        client_certificate_pem: String::new(),
        scopes: Vec::new(),
        algorithms: vec![SigningAlgorithm::Es256],
        claims: ClaimNames::default(),
        user_domains: Vec::new(),
        plain_groups: false,
        asks: Asks::default(),
        endpoints: Endpoints::default(),
        ca_pem: String::new(),
        private_network: false,
        sign_out: false,
        refresh_every: None,
        disabled: false,
    }
}

/// How the fake provider answers when it is asked for its keys.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Good,
    Redirecting,
    Failing,
    Endless,
    Silent,
}

#[derive(Debug)]
struct State {
    mood: Mood,
    keys: Value,
}

/// A provider on loopback.
struct Fake {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    asked_for_keys: Arc<AtomicUsize>,
    scope: Scope,
}

impl Fake {
    async fn start(keys: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            mood: Mood::Good,
            keys,
        }));
        let asked_for_keys = Arc::new(AtomicUsize::new(0));
        let (own, count) = (Arc::clone(&state), Arc::clone(&asked_for_keys));
        let serving = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (own, count) = (Arc::clone(&own), Arc::clone(&count));
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (own, count) = (Arc::clone(&own), Arc::clone(&count));
                    async move {
                        if request.uri().path() == "/keys" {
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        let (mood, keys) = {
                            let state = own.lock().unwrap();
                            (state.mood, state.keys.clone())
                        };
                        answer(address, mood, &keys, request.uri().path()).await
                    }
                });
                #[expect(clippy::disallowed_methods, reason = "a test's own server")]
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        };
        #[expect(clippy::disallowed_methods, reason = "a test's own server")]
        tokio::spawn(serving);
        Self {
            address,
            state,
            asked_for_keys,
            scope: Scope::root(),
        }
    }

    fn be(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }
}

async fn answer(
    address: SocketAddr,
    mood: Mood,
    keys: &Value,
    path: &str,
) -> Result<Response<Full<Bytes>>, http::Error> {
    let text = |value: &Value| Full::from(value.to_string());
    match (path, mood) {
        ("/.well-known/openid-configuration", _) => {
            let own = format!("http://{address}");
            Response::builder().body(text(&json!({
                "issuer": own,
                "authorization_endpoint": format!("{own}/auth"),
                "token_endpoint": format!("{own}/token"),
                "jwks_uri": format!("{own}/keys"),
            })))
        }
        ("/elsewhere", _) | ("/keys", Mood::Good) => Response::builder().body(text(keys)),
        ("/keys", Mood::Redirecting) => Response::builder()
            .status(302)
            .header(header::LOCATION, format!("http://{address}/elsewhere"))
            .body(Full::default()),
        ("/keys", Mood::Endless) => Response::builder().body(Full::from(vec![b' '; 1 << 20])),
        ("/keys", Mood::Silent) => std::future::pending().await,
        _ => Response::builder().status(500).body(Full::default()),
    }
}

/// A key and its public half.
fn key(algorithm: Algorithm, name: &str) -> (EncodingKey, Value) {
    if algorithm == Algorithm::EdDSA {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = EncodingKey::from_ed_der(der.as_ref());
        let public = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
        let x = BASE64_URL_SAFE_NO_PAD.encode(public.public_key());
        return (
            key,
            json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": name}),
        );
    }
    let kind = match algorithm {
        Algorithm::ES256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        Algorithm::ES384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        _ => &rcgen::PKCS_RSA_SHA256,
    };
    let pem = KeyPair::generate_for(kind).unwrap().serialize_pem();
    let key = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
        _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
    };
    let key = key.unwrap();
    let jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
    let mut jwk = serde_json::to_value(jwk).unwrap();
    jwk["kid"] = name.into();
    (key, jwk)
}

/// A provider, its key "a", and how an edge sees it.
struct Bench {
    fake: Fake,
    key: EncodingKey,
    issuer: Issuer,
}

impl Bench {
    async fn new() -> Self {
        let (key, jwk) = key(Algorithm::ES256, "a");
        let fake = Fake::start(json!({ "keys": [jwk] })).await;
        let issuer = fake.issuer(|_| {});
        Self { fake, key, issuer }
    }

    fn claims(&self) -> Value {
        let now = unix_now();
        json!({
            "iss": format!("http://{}", self.fake.address),
            "aud": "adit",
            "sub": "1",
            "exp": now + 60,
            "iat": now,
        })
    }

    fn token(&self, change: impl FnOnce(&mut Header, &mut Value)) -> String {
        let (mut header, mut claims) = (head(Algorithm::ES256, "a"), self.claims());
        change(&mut header, &mut claims);
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }

    /// What is wrong with a token; empty: nothing.
    async fn fault(&self, token: &str) -> String {
        fault(&self.issuer, token).await
    }
}

impl Fake {
    fn issuer(&self, change: impl FnOnce(&mut IdentityProvider)) -> Issuer {
        let mut published = provider(&format!("http://{}", self.address));
        published.private_network = true;
        change(&mut published);
        let own = (&Clock::system(), &self.scope);
        Issuer::new(Arc::new(published), &Trust::default(), own).unwrap()
    }
}

fn head(algorithm: Algorithm, name: &str) -> Header {
    Header {
        kid: Some(name.to_owned()),
        ..Header::new(algorithm)
    }
}

const EXPECTED: Expected<'_> = Expected {
    audiences: &["adit"],
    types: &["JWT"],
    may_be_untyped: true,
};

async fn fault(issuer: &Issuer, token: &str) -> String {
    let Err(error) = issuer.verify(token, &EXPECTED).await else {
        return String::new();
    };
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn unix_now() -> i64 {
    let since = Clock::system()
        .wall()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn part(json: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(json.to_string())
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn claims_that_do_not_hold_are_refused() {
    let bench = Bench::new().await;
    type Change = fn(&mut Header, &mut Value);
    let now = unix_now();
    let rows: [(&str, Change, &str); 24] = [
        ("good", |_, _| {}, ""),
        (
            "several audiences",
            |_, c| c["aud"] = json!(["x", "adit"]),
            "",
        ),
        ("untyped", |h, _| h.typ = None, ""),
        (
            "whole type",
            |h, _| h.typ = Some("application/jwt".into()),
            "",
        ),
        (
            "within the leeway",
            |_, c| c["exp"] = (unix_now() - 20).into(),
            "",
        ),
        ("a fraction", |_, c| c["exp"] = json!(4e9 + 0.5), ""),
        (
            "foreign issuer",
            |_, c| c["iss"] = "https://evil.example".into(),
            "issuer is another",
        ),
        (
            "no issuer",
            |_, c| drop(c.as_object_mut().unwrap().remove("iss")),
            "issuer is another",
        ),
        (
            "issuer of another kind",
            |_, c| c["iss"] = json!([c["iss"]]),
            "issuer is another",
        ),
        (
            "foreign audience",
            |_, c| c["aud"] = "other".into(),
            "for somebody else",
        ),
        (
            "no audience",
            |_, c| drop(c.as_object_mut().unwrap().remove("aud")),
            "for somebody else",
        ),
        (
            "longer audience",
            |_, c| c["aud"] = "adit2".into(),
            "for somebody else",
        ),
        (
            "audience of another kind",
            |_, c| c["aud"] = json!({"adit": true}),
            "for somebody else",
        ),
        (
            "expired",
            |_, c| c["exp"] = (unix_now() - 31).into(),
            "it ended 31 s ago",
        ),
        (
            "endless",
            |_, c| drop(c.as_object_mut().unwrap().remove("exp")),
            "when it ends",
        ),
        (
            "end of another kind",
            |_, c| c["exp"] = "soon".into(),
            "when it ends",
        ),
        (
            "early",
            |_, c| c["nbf"] = (unix_now() + 60).into(),
            "good only in",
        ),
        (
            "beginning of another kind",
            |_, c| c["nbf"] = "now".into(),
            "good only in",
        ),
        (
            "made tomorrow",
            |_, c| c["iat"] = (unix_now() + 86_400).into(),
            "good only in",
        ),
        (
            "a logout token",
            |h, _| h.typ = Some("logout+jwt".into()),
            "of the kind",
        ),
        (
            "an access token",
            |h, _| h.typ = Some("at+jwt".into()),
            "of the kind",
        ),
        (
            "critical",
            |h, _| h.crit = Some(vec!["b64".into()]),
            "critical parameters",
        ),
        (
            "another key's name",
            |h, _| h.kid = Some("b".into()),
            "no key Some(\"b\")",
        ),
        (
            "oversized",
            |_, c| c["x"] = "x".repeat(64 * 1024).into(),
            "longer than",
        ),
    ];
    for (name, change, want) in rows {
        let fault = bench.fault(&bench.token(change)).await;
        let is_right = if want.is_empty() {
            fault.is_empty()
        } else {
            fault.contains(want)
        };
        assert!(is_right, "{name}: {fault:?} at {now}");
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn signatures_that_anybody_could_make_are_refused() {
    let bench = Bench::new().await;
    let good = bench.token(|_, _| {});
    let [_, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("a token has three parts");
    };
    let public = bench.fake.state.lock().unwrap().keys["keys"][0].clone();
    let hmac = |secret: &[u8]| {
        let key = EncodingKey::from_secret(secret);
        jsonwebtoken::encode(&head(Algorithm::HS256, "a"), &bench.claims(), &key).unwrap()
    };
    let (foreign, foreign_public) = key(Algorithm::ES256, "a");
    let with = |header: Value| format!("{}.{payload}.{signature}", part(&header));
    let mut own_key = head(Algorithm::ES256, "evil");
    own_key.jwk = serde_json::from_value(foreign_public).ok();
    let mut flipped = good.clone().into_bytes();
    let at = flipped.len() - 10;
    flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
    for (name, token, want) in [
        ("good", good.clone(), ""),
        (
            "none",
            format!("{}.{payload}.", part(&json!({"alg": "none"}))),
            "reading it",
        ),
        (
            "none with a signature",
            with(json!({"alg": "none", "kid": "a"})),
            "reading it",
        ),
        ("None", with(json!({"alg": "None"})), "reading it"),
        ("no algorithm", with(json!({"kid": "a"})), "reading it"),
        (
            "hmac of the public key",
            hmac(public.to_string().as_bytes()),
            "signed by HS256",
        ),
        ("hmac of nothing", hmac(b""), "signed by HS256"),
        (
            "another algorithm",
            with(json!({"alg": "RS256", "kid": "a"})),
            "signed by RS256",
        ),
        (
            "another header",
            with(json!({"alg": "ES256", "kid": "a", "x": 1})),
            "signature does not hold",
        ),
        (
            "a foreign key",
            jsonwebtoken::encode(&head(Algorithm::ES256, "a"), &bench.claims(), &foreign).unwrap(),
            "signature does not hold",
        ),
        (
            "a key in the token",
            jsonwebtoken::encode(&own_key, &bench.claims(), &foreign).unwrap(),
            "no key Some(\"evil\")",
        ),
        (
            "a flipped bit",
            String::from_utf8(flipped).unwrap(),
            "signature does not hold",
        ),
        (
            "cut",
            good[..good.len() - 4].to_owned(),
            "signature does not hold",
        ),
        (
            "no signature",
            format!("{}.", &good[..good.rfind('.').unwrap()]),
            "signature does not hold",
        ),
        ("empty", String::new(), "reading it"),
        ("dots", "...".to_owned(), "reading it"),
        ("four parts", format!("{good}.x"), "reading it"),
    ] {
        let fault = bench.fault(&token).await;
        let is_right = if want.is_empty() {
            fault.is_empty()
        } else {
            fault.contains(want)
        };
        assert!(is_right, "{name}: {fault:?}");
    }
}

#[tokio::test]
async fn a_key_signs_as_its_kind_does_and_as_the_operator_allows() {
    use SigningAlgorithm::{EdDsa, Es256, Es384, Ps256, Rs256};
    let rows = [
        (Algorithm::ES256, Es256),
        (Algorithm::ES384, Es384),
        (Algorithm::EdDSA, EdDsa),
        (Algorithm::RS256, Rs256),
        (Algorithm::PS256, Ps256),
    ];
    for (algorithm, own) in rows {
        let (key, jwk) = key(algorithm, "a");
        let fake = Fake::start(json!({ "keys": [jwk] })).await;
        let now = unix_now();
        let claims =
            json!({"iss": format!("http://{}", fake.address), "aud": "adit", "exp": now + 60});
        let token = jsonwebtoken::encode(&head(algorithm, "a"), &claims, &key).unwrap();
        for allowed in [Es256, Es384, EdDsa, Rs256, Ps256] {
            let issuer = fake.issuer(|published| published.algorithms = vec![allowed]);
            let fault = fault(&issuer, &token).await;
            assert_eq!(fault.is_empty(), own == allowed, "{own} {allowed}: {fault}");
        }
    }
}

#[tokio::test]
async fn keys_are_fetched_once_whatever_tokens_say() {
    let bench = Bench::new().await;
    for _ in 0..5 {
        assert_eq!(bench.fault(&bench.token(|_, _| {})).await, "");
        let strange = bench.token(|header, _| header.kid = Some("strange".to_owned()));
        assert_ne!(bench.fault(&strange).await, "");
    }
    assert_eq!(bench.fake.asked_for_keys.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn keys_that_come_from_elsewhere_or_never_are_not_taken() {
    for (mood, want) in [
        (Mood::Redirecting, "status 302"),
        (Mood::Failing, "status 500"),
        (Mood::Endless, "longer than 262144 bytes"),
        (Mood::Silent, "did not answer within 5 s"),
    ] {
        let bench = Bench::new().await;
        bench.fake.be(mood);
        let token = bench.token(|_, _| {});
        let fault = bench.fault(&token).await;
        assert!(fault.contains(want), "{mood:?}: {fault}");
        // Nor is it asked by everybody who comes meanwhile.
        let fault = bench.fault(&token).await;
        assert!(fault.contains("a moment ago"), "{mood:?}: {fault}");
    }
}

#[tokio::test]
async fn a_provider_that_is_away_goes_on_to_be_believed() {
    let bench = Bench::new().await;
    assert_eq!(bench.fault(&bench.token(|_, _| {})).await, "");
    bench.fake.be(Mood::Failing);
    assert_eq!(bench.fault(&bench.token(|_, _| {})).await, "");
}

#[tokio::test]
async fn no_provider_leads_to_what_only_the_edge_reaches() {
    let bench = Bench::new().await;
    let token = bench.token(|_, _| {});
    let outside = bench
        .fake
        .issuer(|published| published.private_network = false);
    let fault = fault(&outside, &token).await;
    assert!(fault.contains("is not public"), "{fault}");
    assert_eq!(bench.fake.asked_for_keys.load(Ordering::Relaxed), 0);
}
