use std::time::Duration;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use model::app::SsoIdentity;
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://login.example.com/tenant";

/// A key of a provider's.
struct Pair(EncodingKey);

impl Pair {
    fn new() -> Self {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self(EncodingKey::from_ec_der(made.as_ref()))
    }

    fn public(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.0, Algorithm::ES256).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = "a".into();
        jwk
    }

    fn sign_as(&self, head: &Header, claims: &Value) -> Vec<u8> {
        encode(head, claims, &self.0).unwrap().into_bytes()
    }

    fn sign(&self, claims: &Value) -> Vec<u8> {
        self.sign_as(&head(), claims)
    }
}

fn head() -> Header {
    Header {
        kid: Some("a".to_owned()),
        ..Header::new(Algorithm::ES256)
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": "adit",
        "sub": "0001",
        "iat": NOW - 600,
        "exp": NOW - 300,
        "nonce": "n-0S6_WzA2Mj",
        "upn": "alice@lab.test",
    })
}

fn keys(pair: &Pair) -> ProviderKeys {
    let mut known = ProviderKeys::default();
    known.add(&fabric::ProviderKeys {
        id: "entra".to_owned(),
        issuer: ISSUER.to_owned(),
        client_id: "adit".to_owned(),
        algorithms: vec!["ES256".to_owned(), "RS256".to_owned()],
        keys: json!({ "keys": [pair.public()] }).to_string().into(),
    });
    known
}

fn sso() -> KerberosSso {
    KerberosSso {
        provider: Some("entra".parse().unwrap()),
        require_id_token: true,
        ..KerberosSso::new("HTTP/app.lab.test".parse().unwrap())
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs())
}

/// What becomes of a token that is well signed and says something else than a good one.
fn said(change: impl FnOnce(&mut Value)) -> Result<String, IdTokenError> {
    let pair = Pair::new();
    let mut claims = claims();
    change(&mut claims);
    keys(&pair).name(&sso(), &pair.sign(&claims), None, now())
}

fn set(name: &'static str, value: Value) -> impl FnOnce(&mut Value) {
    move |claims| claims[name] = value
}

#[test]
fn a_providers_token_names_the_user_for_as_long_as_a_session_goes_on() {
    let most = i64::try_from(SESSION_LIFE.as_secs()).unwrap();
    let alice = || "alice@lab.test".to_owned();
    assert_eq!(said(|_| ()).unwrap(), alice());
    // It ended five minutes ago, as tokens do that were taken when they were new.
    assert_eq!(said(set("iat", (NOW - most).into())).unwrap(), alice());
    // By the clocks of the edge that took it and of this agent, each of which may be half a minute from the provider's.
    assert_eq!(said(set("iat", (NOW + 60).into())).unwrap(), alice());
    let list = json!(["alice@lab.test"]);
    assert_eq!(said(set("upn", list)).unwrap(), alice());
    assert_eq!(said(set("upn", json!(4711))).unwrap(), "4711");
    let several = |claims: &mut Value| {
        claims["aud"] = json!(["adit", "other"]);
        claims["azp"] = "adit".into();
    };
    assert_eq!(said(several).unwrap(), alice());
}

#[test]
fn a_token_of_another_time_or_for_somebody_else_names_nobody() {
    let most = i64::try_from(SESSION_LIFE.as_secs()).unwrap();
    use TokenError::{Audience, Early, Issuer, Old, Party, Undated};
    let token = |change: Box<dyn FnOnce(&mut Value)>| match said(change) {
        Err(IdTokenError::Token(error)) => error,
        other => panic!("{other:?}"),
    };
    let old = token(Box::new(set("iat", (NOW - most - 30).into())));
    assert!(matches!(old, Old(_)), "{old}");
    let early = token(Box::new(set("iat", (NOW + 61).into())));
    assert!(matches!(early, Early(_)), "{early}");
    let early = token(Box::new(set("nbf", (NOW + 61).into())));
    assert!(matches!(early, Early(_)), "{early}");
    let undated = token(Box::new(set("iat", Value::Null)));
    assert!(matches!(undated, Undated), "{undated}");
    let other = token(Box::new(set("iss", "https://evil.example".into())));
    assert!(matches!(other, Issuer), "{other}");
    let other = token(Box::new(set("aud", "another client".into())));
    assert!(matches!(other, Audience), "{other}");
    let other = token(Box::new(set("azp", "another client".into())));
    assert!(matches!(other, Party), "{other}");
    let shared = token(Box::new(set("aud", json!(["adit", "other"]))));
    assert!(matches!(shared, Party), "{shared}");
}

#[test]
fn what_else_a_provider_signs_for_the_client_names_nobody() {
    let events = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    for (name, value) in [
        ("nonce", Value::Null),
        ("nonce", "".into()),
        ("events", events),
    ] {
        let error = said(set(name, value)).unwrap_err();
        let is_other = matches!(error, IdTokenError::Token(TokenError::OtherKind));
        assert!(is_other, "{name}: {error}");
    }
}

#[test]
fn a_token_without_one_name_names_nobody() {
    let long = "x".repeat(SSO_NAME_BYTES_MAX + 1);
    for bad in [
        Value::Null,
        "".into(),
        json!([]),
        json!(["a", "b"]),
        json!({}),
        long.into(),
    ] {
        let named = said(set("upn", bad.clone()));
        assert!(matches!(named, Err(IdTokenError::Nameless(_))), "{bad}");
    }
}

#[test]
fn nobody_but_whom_the_edge_states_is_named() {
    let pair = Pair::new();
    let (known, token) = (keys(&pair), pair.sign(&claims()));
    let name = |stated| known.name(&sso(), &token, stated, now());
    assert_eq!(name(Some("alice@lab.test")).unwrap(), "alice@lab.test");
    for other in ["mallory@lab.test", "Alice@lab.test", ""] {
        let named = name(Some(other));
        assert!(matches!(named, Err(IdTokenError::OtherUser)), "{other}");
    }
}

#[test]
fn what_no_key_of_the_provider_has_signed_is_refused() {
    let (pair, other) = (Pair::new(), Pair::new());
    let known = keys(&pair);
    let good = claims();
    let refused = |token: &[u8]| match known.name(&sso(), token, None, now()) {
        Err(IdTokenError::Token(error)) => error,
        other => panic!("{other:?}"),
    };
    let forged = refused(&other.sign(&good));
    assert!(matches!(forged, TokenError::Signature(_)), "{forged}");
    let unknown = Header {
        kid: Some("b".to_owned()),
        ..head()
    };
    let error = known.name(&sso(), &pair.sign_as(&unknown, &good), None, now());
    let error = error.unwrap_err();
    assert!(error.may_be_news(), "{error}");
    // The key that it brings itself.
    let own = Header {
        jwk: Some(Jwk::from_encoding_key(&other.0, Algorithm::ES256).unwrap()),
        ..head()
    };
    let forged = refused(&other.sign_as(&own, &good));
    assert!(matches!(forged, TokenError::Signature(_)), "{forged}");
    let kind = Header {
        typ: Some("at+jwt".to_owned()),
        ..head()
    };
    let other_kind = refused(&pair.sign_as(&kind, &good));
    assert!(matches!(other_kind, TokenError::Type(_)), "{other_kind}");
    // The public key as a secret that both have (RFC 8725, section 2.1), and no signature at all.
    let secret = serde_json::to_vec(&pair.public()).unwrap();
    let hashed = Header {
        kid: Some("a".to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    let hashed = encode(&hashed, &good, &EncodingKey::from_secret(&secret)).unwrap();
    let confused = refused(hashed.as_bytes());
    assert!(matches!(confused, TokenError::Algorithm(_)), "{confused}");
    let part = |json: String| BASE64_URL_SAFE_NO_PAD.encode(json);
    let head = part(json!({"alg": "none", "kid": "a"}).to_string());
    let unsigned = format!("{head}.{}.", part(good.to_string()));
    let unsigned = refused(unsigned.as_bytes());
    assert!(matches!(unsigned, TokenError::Malformed(_)), "{unsigned}");
}

#[test]
fn what_is_no_token_costs_nothing() {
    let pair = Pair::new();
    let known = keys(&pair);
    let name = |token: &[u8]| known.name(&sso(), token, None, now()).unwrap_err();
    assert!(matches!(name(b""), IdTokenError::Missing));
    let huge = vec![b'x'; ID_TOKEN_BYTES_MAX + 1];
    assert!(matches!(name(&huge), IdTokenError::TooLong));
    assert!(matches!(name(b"\xff\xfe"), IdTokenError::Unreadable));
    for bad in [&b"x"[..], b"a.b.c", b"..", b"e30.e30.e30"] {
        let error = name(bad);
        assert!(matches!(error, IdTokenError::Token(_)), "{error}");
    }
}

#[test]
fn without_keys_or_a_publication_that_says_whose_nobody_is_signed_on() {
    let pair = Pair::new();
    let token = pair.sign(&claims());
    let name =
        |known: &ProviderKeys, sso: &KerberosSso| known.name(sso, &token, None, now()).unwrap_err();
    let none = name(&ProviderKeys::default(), &sso());
    assert!(matches!(none, IdTokenError::NoKeys(_)) && none.may_be_news());
    let known = keys(&pair);
    let anybodys = KerberosSso {
        provider: None,
        ..sso()
    };
    assert!(matches!(name(&known, &anybodys), IdTokenError::Unclear));
    let by_user = KerberosSso {
        identity: SsoIdentity::User,
        ..sso()
    };
    assert!(matches!(name(&known, &by_user), IdTokenError::Unclear));
    // What cannot be read is as if there were none.
    let mut broken = ProviderKeys::default();
    broken.add(&fabric::ProviderKeys {
        id: "entra".to_owned(),
        keys: "<html>".into(),
        ..fabric::ProviderKeys::default()
    });
    assert_eq!(broken.count(&"entra".parse().unwrap()), 0);
    assert!(matches!(name(&broken, &sso()), IdTokenError::NoKeys(_)));
}
