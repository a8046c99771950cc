//! An identity provider that does as it is told.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use proto::admin;
use rcgen::KeyPair;
use runtime::Clock;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::fabric::Fabric;

/// Parameters of an address or a form.
pub(crate) type Pairs = HashMap<String, String>;

/// A code that was given, with what it was asked for by.
#[derive(Debug)]
struct Code {
    asked: Pairs,
}

#[derive(Debug, Default)]
struct State {
    codes: HashMap<String, Code>,
    given: usize,
    /// Put over the claims of the next tokens.
    claims: Value,
    /// What it is asked for and answers with 500.
    broken: HashSet<&'static str>,
    /// What it says of users beside.
    user_info: Value,
    /// Put over those of what refresh tokens are traded for; `error`: instead.
    later: Value,
    /// The last one that a code was traded for.
    refresh_token: String,
    /// Refresh tokens that were shown.
    spent: HashSet<String>,
    /// Pages of a list of groups.
    group_pages: Vec<Value>,
    /// `Authorization` of those who have traded codes.
    authorizations: Vec<String>,
}

/// It, on loopback.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    key: EncodingKey,
    keys: Value,
    clock: Clock,
}

impl Provider {
    pub(crate) async fn start(fabric: &Fabric) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pem = KeyPair::generate().unwrap().serialize_pem();
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
        let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = "a".into();
        let provider = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
            key,
            keys: json!({ "keys": [jwk] }),
            clock: fabric.clock.clone(),
        };
        let (own, scope) = (provider.clone(), fabric.scope.clone());
        fabric.scope.spawn("provider", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = own.clone();
                scope.spawn("provider's connection", async move {
                    let answer = service_fn(|request| own.answer(request));
                    let served =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                    let _ = served.await;
                });
            }
        });
        provider
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// As control tells of it.
    pub(crate) fn published(&self) -> proto::fabric::IdentityProvider {
        proto::fabric::IdentityProvider {
            published: Some(admin::IdentityProvider {
                issuer: self.issuer(),
                client_id: "adit".to_owned(),
                algorithms: vec!["ES256".to_owned()],
                user_domains: vec!["example.com".to_owned()],
                plain_groups: true,
                private_network: true,
                sign_out: true,
                ..Default::default()
            }),
            credential: "s3cret".to_owned(),
        }
    }

    /// Puts claims over those of the next tokens.
    pub(crate) fn say(&self, claims: Value) {
        self.state.lock().unwrap().claims = claims;
    }

    /// What it says of users beside its tokens.
    pub(crate) fn say_beside(&self, claims: Value) {
        self.state.lock().unwrap().user_info = claims;
    }

    /// How it lists groups, a page for each; where the next is, is added.
    pub(crate) fn list_groups(&self, pages: Vec<Value>) {
        self.state.lock().unwrap().group_pages = pages;
    }

    /// Puts claims over those of what refresh tokens are traded for. `error` stands for an error, `id_token` false for an answer without.
    pub(crate) fn say_later(&self, claims: Value) {
        self.state.lock().unwrap().later = claims;
    }

    pub(crate) fn refresh_token(&self) -> String {
        self.state.lock().unwrap().refresh_token.clone()
    }

    pub(crate) fn break_down(&self, paths: &[&'static str]) {
        self.state.lock().unwrap().broken = paths.iter().copied().collect();
    }

    pub(crate) fn authorizations(&self) -> Vec<String> {
        self.state.lock().unwrap().authorizations.clone()
    }

    /// What the user brings back who was sent here with `asked` and has signed in.
    pub(crate) fn code(&self, asked: &Pairs) -> String {
        let mut state = self.state.lock().unwrap();
        state.given += 1;
        let code = format!("code-{}", state.given);
        let asked = asked.clone();
        state.codes.insert(code.clone(), Code { asked });
        code
    }

    pub(crate) fn sign(&self, kind: &str, claims: &Value) -> String {
        let header = Header {
            kid: Some("a".to_owned()),
            typ: Some(kind.to_owned()),
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    /// The public half of its key.
    pub(crate) fn public_key(&self) -> Value {
        self.keys["keys"][0].clone()
    }

    /// An access token (RFC 9068) for the audience "wiki-api", made anew each time.
    pub(crate) fn access_token(&self, over: Value) -> String {
        self.sign("at+jwt", &self.access_claims(over))
    }

    pub(crate) fn access_claims(&self, over: Value) -> Value {
        let mut claims = self.claims();
        for (name, value) in [
            ("aud", json!("wiki-api")),
            ("client_id", json!("native-app")),
            ("jti", json!("1")),
            ("scope", json!("wiki:read wiki:write")),
            ("preferred_username", json!("alice@example.com")),
            ("name", json!("Alice Adams")),
            ("groups", json!(["staff"])),
            ("amr", json!(["pwd", "otp"])),
        ] {
            claims[name] = value;
        }
        if let Value::Object(over) = over {
            for (name, value) in over {
                match value {
                    Value::Null => drop(claims.as_object_mut().unwrap().remove(&name)),
                    value => claims[name] = value,
                }
            }
        }
        claims
    }

    pub(crate) fn claims(&self) -> Value {
        let now = self.clock.unix_seconds();
        json!({
            "iss": self.issuer(),
            "aud": "adit",
            "sub": "7",
            "iat": now,
            "exp": now + 60,
        })
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, http::Error> {
        let path = request.uri().path().to_owned();
        if self.state.lock().unwrap().broken.contains(&*path) {
            return Response::builder().status(500).body(Full::default());
        }
        let own = self.issuer();
        let (status, body) = match &*path {
            "/.well-known/openid-configuration" => (
                200,
                json!({
                    "issuer": own,
                    "authorization_endpoint": format!("{own}/auth"),
                    "token_endpoint": format!("{own}/token"),
                    "jwks_uri": format!("{own}/keys"),
                    "userinfo_endpoint": format!("{own}/me"),
                    "end_session_endpoint": format!("{own}/end"),
                    "authorization_response_iss_parameter_supported": true,
                }),
            ),
            "/keys" => (200, self.keys.clone()),
            "/groups" => {
                let by = request.headers().get(header::AUTHORIZATION);
                let is_theirs = by.is_some_and(|by| by == "Bearer opaque");
                let at = request.uri().query().unwrap_or("0").parse::<usize>();
                let at = at.unwrap();
                let pages = self.state.lock().unwrap().group_pages.clone();
                let mut page = pages.get(at).cloned().unwrap_or(Value::Null);
                if at + 1 < pages.len() && page.get("@odata.nextLink").is_none() {
                    page["@odata.nextLink"] = format!("{own}/groups?{}", at + 1).into();
                }
                (if is_theirs { 200 } else { 401 }, page)
            }
            "/me" => (200, self.state.lock().unwrap().user_info.clone()),
            "/token" => {
                let by = request.headers().get(header::AUTHORIZATION).cloned();
                let by = by.map(|by| by.to_str().unwrap().to_owned());
                let form = request.into_body().collect().await.unwrap().to_bytes();
                self.trade(by.unwrap_or_default(), &pairs(&form))
            }
            _ => (404, Value::Null),
        };
        Response::builder()
            .status(status)
            .body(Full::from(body.to_string()))
    }

    /// RFC 6749, section 4.1.3; RFC 7636, section 4.6.
    fn trade(&self, by: String, form: &Pairs) -> (u16, Value) {
        let mut state = self.state.lock().unwrap();
        state.authorizations.push(by);
        if form["grant_type"] == "refresh_token" {
            return self.refresh(&mut state, &form["refresh_token"]);
        }
        let refuse = |what: &str| {
            (
                400,
                json!({"error": "invalid_grant", "error_description": what}),
            )
        };
        let Some(Code { asked }) = state.codes.remove(&form["code"]) else {
            return refuse("the code was used");
        };
        let proof = digest(&SHA256, form["code_verifier"].as_bytes());
        if asked["code_challenge"] != BASE64_URL_SAFE_NO_PAD.encode(proof)
            || asked["code_challenge_method"] != "S256"
        {
            return refuse("the proof does not hold");
        }
        if asked["redirect_uri"] != form["redirect_uri"] {
            return refuse("another redirect_uri");
        }
        let mut claims = self.claims();
        claims["nonce"] = asked["nonce"].clone().into();
        claims["preferred_username"] = "Alice@example.com".into();
        claims["name"] = "Alice Adams".into();
        claims["email"] = "alice@example.com".into();
        claims["groups"] = json!(["staff"]);
        claims["sid"] = "s1".into();
        if let Some(over) = state.claims.as_object() {
            for (name, value) in over {
                claims[name] = value.clone();
            }
        }
        let token = self.sign("JWT", &claims);
        state.given += 1;
        state.refresh_token = format!("refresh-{}", state.given);
        let refresh = &state.refresh_token;
        (
            200,
            json!({"id_token": token, "access_token": "opaque", "refresh_token": refresh, "token_type": "Bearer"}),
        )
    }

    /// RFC 6749, section 6, with tokens that are good once.
    fn refresh(&self, state: &mut State, token: &str) -> (u16, Value) {
        if let Some(error) = state.later.get("error") {
            return (400, json!({"error": error}));
        }
        if state.spent.contains(token) {
            return (400, json!({"error": "invalid_grant"}));
        }
        state.spent.insert(token.to_owned());
        state.given += 1;
        let next = format!("refresh-{}", state.given);
        let mut claims = self.claims();
        claims["preferred_username"] = "Alice@example.com".into();
        claims["name"] = "Alice Adams".into();
        claims["email"] = "alice@example.com".into();
        claims["groups"] = json!(["staff"]);
        for (name, value) in state.later.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        let mut answer = json!({"access_token": "opaque", "refresh_token": next});
        if let Some(next) = state.later.get("refresh_token") {
            answer["refresh_token"] = next.clone();
        }
        if state.later.get("id_token").is_none() {
            answer["id_token"] = self.sign("JWT", &claims).into();
        }
        (200, answer)
    }
}

/// Reads what is written as a form is.
pub(crate) fn pairs(text: &[u8]) -> Pairs {
    form_urlencoded::parse(text).into_owned().collect()
}
