//! Where an app asks for it, an agent goes by the identity provider's own word, whatever an edge states.

use std::time::SystemTime;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use bytes::Bytes;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use model::app::{AgentApp, KerberosSso, Sso};
use proto::{
    fabric::{ProviderKeys, resource::Kind},
    tunnel::RequestHead,
};
use serde_json::{Value, json};

use crate::{
    edge::Bench,
    statements::{Key, head, signing_on, view_with},
};

const REFUSED: &str = "sso_id_token";
/// This agent has no account in a domain, so that whoever is believed gets no further.
const BELIEVED: &str = "sso_failed";

/// A provider's key.
struct Provider(EncodingKey);

impl Provider {
    fn new() -> Self {
        let made =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Self(EncodingKey::from_ec_der(made.unwrap().as_ref()))
    }

    /// As control tells of it.
    fn told(&self) -> Kind {
        let jwk = Jwk::from_encoding_key(&self.0, Algorithm::ES256).unwrap();
        Kind::ProviderKeys(ProviderKeys {
            id: "entra".to_owned(),
            issuer: "https://login.example.com".to_owned(),
            client_id: "adit".to_owned(),
            algorithms: vec!["ES256".to_owned()],
            keys: json!({ "keys": [jwk] }).to_string().into(),
        })
    }

    fn token(&self, change: impl FnOnce(&mut Value)) -> Bytes {
        #[expect(
            clippy::disallowed_methods,
            reason = "the agent's clock is the system's"
        )]
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap().as_secs();
        let mut claims = json!({
            "iss": "https://login.example.com",
            "aud": "adit",
            "sub": "7",
            "iat": now,
            "nonce": "n-0S6_WzA2Mj",
            "exp": now + 300,
            "upn": "alice@lab.test",
        });
        change(&mut claims);
        encode(&Header::new(Algorithm::ES256), &claims, &self.0)
            .unwrap()
            .into()
    }
}

fn asking(app: AgentApp) -> AgentApp {
    let Some(Sso::Kerberos(sso)) = app.sso else {
        panic!("its users are signed on");
    };
    AgentApp {
        sso: Some(Sso::Kerberos(KerberosSso {
            provider: Some("entra".parse().unwrap()),
            require_id_token: true,
            ..sso
        })),
        ..app
    }
}

#[tokio::test]
async fn an_edge_that_states_whom_it_likes_signs_nobody_on_without_the_providers_token() {
    let (origin, app) = signing_on().await;
    let app = asking(app);
    let (bench, key) = (Bench::with(vec![]).await, Key::new());
    let (provider, forger) = (Provider::new(), Provider::new());
    bench
        .views
        .store(view_with(&bench, &app, &[&key], vec![provider.told()]));
    let mut id = 0;
    let mut asked = |name: Option<&'static str>, id_token: Bytes| {
        id += 1;
        let stated = key.state(id, 0, |claims| {
            claims["idp"] = "entra".into();
            claims["name"] = name.into();
        });
        RequestHead {
            id_token,
            ..head(id, 0, stated)
        }
    };
    let good = provider.token(|_| ());
    for (what, head, want) in [
        (
            "the user",
            asked(Some("alice@lab.test"), good.clone()),
            BELIEVED,
        ),
        (
            "named by the token alone",
            asked(None, good.clone()),
            BELIEVED,
        ),
        ("another user", asked(Some("root@lab.test"), good), REFUSED),
        ("none", asked(Some("alice@lab.test"), Bytes::new()), REFUSED),
        (
            "forged",
            asked(
                Some("root@lab.test"),
                forger.token(|claims| claims["upn"] = "root@lab.test".into()),
            ),
            REFUSED,
        ),
        (
            "for another client",
            asked(
                None,
                provider.token(|claims| claims["aud"] = "other".into()),
            ),
            REFUSED,
        ),
        (
            "of another day",
            asked(
                None,
                provider.token(|claims| claims["iat"] = 1_000_000.into()),
            ),
            REFUSED,
        ),
        ("too long", asked(None, vec![b'x'; 50_000].into()), REFUSED),
    ] {
        let answer = bench.ask(head, b"").await;
        let error = answer.error();
        assert_eq!(error.reason, want, "{what}: {error:?}");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn without_keys_from_control_nobody_is_signed_on_and_it_is_not_the_users_fault() {
    let (_origin, app) = signing_on().await;
    let app = asking(app);
    let (bench, key, provider) = (Bench::with(vec![]).await, Key::new(), Provider::new());
    bench.views.store(view_with(&bench, &app, &[&key], vec![]));
    let stated = key.state(1, 0, |claims| claims["idp"] = "entra".into());
    let request = RequestHead {
        id_token: provider.token(|_| ()),
        ..head(1, 0, stated)
    };
    let answer = bench.ask(request, b"").await;
    let error = answer.error();
    assert_eq!(error.reason, "sso_failed", "{error:?}");
    assert!(
        error.detail.contains("no keys of the provider entra"),
        "{error:?}"
    );
    // Users of other providers are no users of this app, whatever they bring.
    let stated = key.state(2, 0, |claims| claims["idp"] = "okta".into());
    let answer = bench.ask(head(2, 0, stated), b"").await;
    assert_eq!(answer.error().reason, "sso_no_identity");
}
