use std::{net::SocketAddr, sync::Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use proto::{admin::KerberosSignOn, control::IdentityProviderRecord};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, time::timeout};

use super::*;
use crate::store::sqlite;

/// RFC 7515, appendix A.3.
const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

/// A provider on loopback.
#[derive(Default)]
struct Provider {
    /// Name of its key; none: it breaks.
    key: Mutex<Option<&'static str>>,
    /// How often it was asked for keys meanwhile.
    refused: watch::Sender<u32>,
}

impl Provider {
    fn has(&self, key: Option<&'static str>) {
        *self.key.lock().unwrap() = key;
    }
}

async fn provider(provider: Arc<Provider>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let provider = Arc::clone(&provider);
            let answer = service_fn(move |request: Request<Incoming>| {
                let provider = Arc::clone(&provider);
                async move {
                    let (status, body) = answer(address, request.uri().path(), &provider);
                    let body = Full::new(Bytes::from(body.to_string()));
                    Response::builder().status(status).body(body)
                }
            });
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            let _ = served.await;
        }
    };
    #[expect(clippy::disallowed_methods, reason = "a test's own server")]
    tokio::spawn(serving);
    address
}

fn answer(address: SocketAddr, path: &str, provider: &Provider) -> (u16, Value) {
    let key = *provider.key.lock().unwrap();
    match (path, key) {
        ("/.well-known/openid-configuration", _) => {
            let issuer = format!("http://{address}");
            let answer = json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/auth"),
                "token_endpoint": format!("{issuer}/token"),
                "jwks_uri": format!("{issuer}/keys"),
            });
            (200, answer)
        }
        ("/keys", Some(name)) => {
            let key =
                json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": name, "x5c": ["MIIB"]});
            (
                200,
                json!({ "keys": [key, {"kty": "oct", "k": "c2VjcmV0"}] }),
            )
        }
        _ => {
            provider.refused.send_modify(|refused| *refused += 1);
            (500, Value::Null)
        }
    }
}

struct Bench {
    store: Arc<dyn Store>,
    clock: Clock,
    scope: Scope,
    _directory: TempDir,
}

impl Bench {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let store: Arc<dyn Store> = Arc::new(sqlite::open(directory.path(), &clock).unwrap());
        let scope = Scope::root();
        start(&store, &clock, &scope);
        Self {
            store,
            clock,
            scope,
            _directory: directory,
        }
    }

    /// As control is started again.
    async fn restart(&mut self) {
        assert!(self.scope.close(Duration::from_secs(5)).await);
        self.scope = Scope::root();
        start(&self.store, &self.clock, &self.scope);
    }

    async fn put(&self, key: &str, value: Vec<u8>) {
        let op = Op::Put(key.into(), value.into());
        self.store.txn(Vec::new(), vec![op]).await.unwrap();
    }

    async fn publish_provider(&self, address: SocketAddr, client: &str) {
        let record = IdentityProviderRecord {
            identity_provider: Some(admin::IdentityProvider {
                issuer: format!("http://{address}"),
                client_id: client.to_owned(),
                private_network: true,
                ..admin::IdentityProvider::default()
            }),
            credential: "s3cret".to_owned(),
        };
        self.put("identityProviders/entra", record.encode_to_vec())
            .await;
    }

    async fn publish_app(&self, require_id_token: bool) {
        let app = admin::App {
            single_sign_on: Some(admin::SingleSignOn {
                kind: Some(Kind::Kerberos(KerberosSignOn {
                    identity_provider: "identityProviders/entra".to_owned(),
                    require_id_token,
                    ..KerberosSignOn::default()
                })),
            }),
            ..admin::App::default()
        };
        self.put("apps/hr", app.encode_to_vec()).await;
    }

    async fn told(&self) -> Option<ProviderKeys> {
        let entry = self.store.get("providerKeys/entra").await.unwrap()?;
        Some(ProviderKeys::decode(entry.value).unwrap())
    }

    /// Waits until what agents are told is as it should be.
    async fn until(&self, is: impl Fn(Option<&ProviderKeys>) -> bool) -> Option<ProviderKeys> {
        let looking = async {
            loop {
                let revision = self.store.revision().await.unwrap();
                let told = self.told().await;
                if is(told.as_ref()) {
                    return told;
                }
                self.store.watch(revision).next().await.unwrap();
            }
        };
        let found = timeout(Duration::from_secs(30), looking).await;
        found.expect("agents are told within half a minute")
    }
}

#[tokio::test]
async fn keys_are_fetched_for_apps_that_ask_for_id_tokens_and_for_no_others() {
    let bench = Bench::start();
    let said = Arc::new(Provider::default());
    said.has(Some("first"));
    let address = provider(Arc::clone(&said)).await;
    bench.publish_provider(address, "adit").await;
    bench.publish_app(false).await;
    assert_eq!(bench.told().await, None);
    bench.publish_app(true).await;
    let told = bench.until(|told| told.is_some()).await.unwrap();
    assert_eq!(told.id, "entra");
    assert_eq!(told.issuer, format!("http://{address}"));
    assert_eq!(told.client_id, "adit");
    assert!(told.algorithms.contains(&"RS256".to_owned()), "{told:?}");
    let keys: Value = serde_json::from_slice(&told.keys).unwrap();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys}");
    assert_eq!(keys["keys"][0]["kid"], "first");
    assert!(keys["keys"][0].get("x5c").is_none(), "{keys}");
    // Under another publication they are no keys of it until the provider has said so, though it breaks.
    said.has(None);
    bench.publish_provider(address, "another").await;
    bench.until(|told| told.is_none()).await;
    said.has(Some("second"));
    bench.publish_app(false).await;
    bench.publish_app(true).await;
    let is_second =
        |told: Option<&ProviderKeys>| told.is_some_and(|told| told.client_id == "another");
    bench.until(is_second).await;
    bench.publish_app(false).await;
    bench.until(|told| told.is_none()).await;
    assert!(bench.scope.close(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn what_a_provider_said_last_stays_in_force_while_it_is_away() {
    let mut bench = Bench::start();
    let said = Arc::new(Provider::default());
    said.has(Some("first"));
    let address = provider(Arc::clone(&said)).await;
    bench.publish_provider(address, "adit").await;
    bench.publish_app(true).await;
    let before = bench.until(|told| told.is_some()).await;
    said.has(None);
    // It has nothing in memory from then on, and asks at once.
    bench.restart().await;
    let mut refused = said.refused.subscribe();
    let asked = timeout(
        Duration::from_secs(30),
        refused.wait_for(|refused| *refused > 0),
    )
    .await;
    asked.expect("it is asked").unwrap();
    // Whatever came of it would be written by then.
    sleep(Duration::from_millis(500)).await;
    assert_eq!(bench.told().await, before);
    said.has(Some("second"));
    bench.restart().await;
    bench.until(|told| told != before.as_ref()).await;
    assert!(bench.scope.close(Duration::from_secs(5)).await);
}
