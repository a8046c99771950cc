//! An OpenID Connect provider that says of users what it is told to, by keys that may be changed.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use runtime::{Clock, Scope};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

/// The fabric's name here.
pub const CLIENT: &str = "adit";
/// How long its tokens are good.
const TOKEN_LIFE: Duration = Duration::from_secs(300);

/// One on loopback, until it is dropped.
#[derive(Debug)]
pub struct Provider {
    desk: Desk,
    scope: Scope,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.scope.cancel();
    }
}

#[derive(Debug)]
struct State {
    key: EcdsaKeyPair,
    /// Says which key it is.
    number: usize,
    /// What the token for a code says of the user, and what is said beside it.
    codes: HashMap<String, (Value, Value)>,
    /// What is said beside, by access token.
    beside: HashMap<String, Value>,
}

impl State {
    fn key() -> EcdsaKeyPair {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        pair.expect("a key can be made")
    }
}

impl Provider {
    /// Starts one.
    ///
    /// # Panics
    /// Loopback cannot be listened on.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback has a free port");
        let desk = Desk {
            address: listener.local_addr().expect("it is bound"),
            state: Arc::new(Mutex::new(State {
                key: State::key(),
                number: 1,
                codes: HashMap::new(),
                beside: HashMap::new(),
            })),
            clock: Clock::system(),
        };
        let scope = Scope::root();
        let (own, inner) = (desk.clone(), scope.clone());
        scope.spawn("provider-accept", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = own.clone();
                inner.spawn("provider-connection", async move {
                    let answer = service_fn(move |request| own.clone().answer(request));
                    let served =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                    let _ = served.await;
                });
            }
        });
        Self { desk, scope }
    }

    /// Its name for itself.
    #[must_use]
    pub fn issuer(&self) -> String {
        issuer(self.desk.address)
    }

    /// The way back of somebody whom it was led to by this address: with a code for a token that says `claims`, beside which it says `more`.
    ///
    /// # Panics
    /// The address is none of this provider's.
    #[must_use]
    pub fn way_back(&self, there: &str, claims: Value, more: Value) -> String {
        let (_, query) = there.split_once('?').expect("it is asked for something");
        let asked = pairs(query);
        let mut said = claims;
        said["nonce"] = asked["nonce"].clone().into();
        let mut state = self.desk.state();
        let code = format!("code-{}", state.codes.len());
        state.codes.insert(code.clone(), (said, more));
        format!(
            "{}?code={code}&state={}",
            asked["redirect_uri"], asked["state"]
        )
    }

    /// It signs by another key from now on, and publishes no other.
    pub fn change_key(&self) {
        let mut state = self.desk.state();
        state.key = State::key();
        state.number += 1;
    }
}

/// What answers.
#[derive(Debug, Clone)]
struct Desk {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    clock: Clock,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, http::Error> {
        let path = request.uri().path().to_owned();
        let bearer = request.headers().get("authorization").cloned();
        let form = request.into_body().collect().await;
        let form = form.map(|body| body.to_bytes()).unwrap_or_default();
        let answer = match path.as_str() {
            "/.well-known/openid-configuration" => Some(self.description()),
            "/keys" => Some(self.keys()),
            "/token" => self.trade(&String::from_utf8_lossy(&form)),
            "/me" => {
                let token = bearer.as_ref().and_then(|value| value.to_str().ok());
                let token = token.and_then(|value| value.strip_prefix("Bearer "));
                let state = self.state();
                token.and_then(|token| state.beside.get(token).cloned())
            }
            _ => None,
        };
        let (status, body) = answer.map_or((400, Value::Null), |answer| (200, answer));
        let response = Response::builder().status(status);
        let response = response.header("content-type", "application/json");
        response.body(Full::new(body.to_string().into()))
    }

    fn description(&self) -> Value {
        let issuer = issuer(self.address);
        json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/auth"),
            "token_endpoint": format!("{issuer}/token"),
            "userinfo_endpoint": format!("{issuer}/me"),
            "jwks_uri": format!("{issuer}/keys"),
        })
    }

    fn keys(&self) -> Value {
        let state = self.state();
        let point = state.key.public_key().as_ref();
        let (x, y) = point[1..].split_at(point.len() / 2);
        let text = |number: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(number);
        json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
            "kid": state.number.to_string(), "x": text(x), "y": text(y),
        }] })
    }

    fn trade(&self, form: &str) -> Option<Value> {
        let asked = pairs(form);
        let mut state = self.state();
        let (said, more) = state.codes.remove(asked.get("code")?)?;
        let since = self.clock.wall().duration_since(std::time::UNIX_EPOCH);
        let now = since.unwrap_or_default();
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), issuer(self.address).into());
        claims.insert("aud".to_owned(), CLIENT.into());
        claims.insert("iat".to_owned(), now.as_secs().into());
        let ends = (now + TOKEN_LIFE).as_secs();
        claims.insert("exp".to_owned(), ends.into());
        claims.extend(said.as_object().cloned()?);
        let token = sign(&state, &Value::Object(claims))?;
        let access = format!("access-{}", state.beside.len());
        let mut more = more;
        more["sub"] = said["sub"].clone();
        state.beside.insert(access.clone(), more);
        Some(json!({
            "id_token": token, "access_token": access, "token_type": "Bearer", "expires_in": 300,
        }))
    }
}

fn sign(state: &State, claims: &Value) -> Option<String> {
    let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let head = json!({"alg": "ES256", "typ": "JWT", "kid": state.number.to_string()});
    let signed = format!("{}.{}", part(&head), part(claims));
    let signature = state.key.sign(&SystemRandom::new(), signed.as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signature.ok()?.as_ref());
    Some(format!("{signed}.{signature}"))
}

fn issuer(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// Parameters of an address or a form.
fn pairs(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), plain(value)))
        .collect()
}

/// Without the escapes of forms.
fn plain(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| digit.unwrap_or(b'0'));
                let digits = String::from_utf8_lossy(&digits).into_owned();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            plain => plain,
        };
        bytes.push(byte);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
