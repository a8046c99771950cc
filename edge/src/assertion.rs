//! What origins are told of the user so that they can be sure of it: a statement that the edge signs, a JWT (RFC 7519, RFC 7515).
//!
//! Fields that name the user are true as long as only agents reach the origin. A signature holds wherever the request comes from.
//! The keys come with the snapshot and are the same at all edges; anybody may have their public halves, as a set of JWKs (RFC 7517).

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use issuer::unix_seconds;
use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash},
};
use model::{
    access::{Caller, Permit},
    name::AppId,
    user::User,
};
use proto::fabric;
use serde::Serialize;

use crate::{failure::RequestError, sign_in::Arrival};

/// Keys that are published at a time: the one that signs, those before it, and the next.
const KEYS_MAX: usize = 8;
/// As every JWT may say (RFC 7519, section 5.1).
const KIND: &str = "JWT";
/// How long an assertion is good for, in seconds: as long as a request is on its way, and some for clocks that differ.
const LIFE_S: i64 = 60;
/// For how long one is used again, in seconds. What an origin gets is good for half a minute at the least.
const REUSE_S: i64 = 30;

/// Why the keys of a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AssertionKeyError {
    /// More than are ever published.
    #[error("there are more than {KEYS_MAX} keys")]
    TooMany,
    /// One is none of the curve P-256.
    #[error("reading a key of the curve P-256")]
    Key(#[source] jsonwebtoken::errors::Error),
    /// The published set cannot be written.
    #[error("writing the public keys")]
    Write(#[source] serde_json::Error),
}

/// The keys of one view; none: control has sent none.
#[derive(Debug, Default)]
pub(crate) struct AssertionKeys {
    /// The newest first.
    keys: Vec<Key>,
    /// Their public halves, in JSON.
    published: Bytes,
}

struct Key {
    head: Header,
    signing: EncodingKey,
    /// Unix seconds.
    signs_from: i64,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl AssertionKeys {
    /// Reads the keys of a snapshot.
    pub(crate) fn new(wire: &fabric::AssertionKeys) -> Result<Self, AssertionKeyError> {
        if wire.keys.len() > KEYS_MAX {
            return Err(AssertionKeyError::TooMany);
        }
        let mut keys = Vec::with_capacity(wire.keys.len());
        let mut set = JwkSet { keys: Vec::new() };
        for key in &wire.keys {
            let (key, public) = Key::read(key).map_err(AssertionKeyError::Key)?;
            keys.push(key);
            set.keys.push(public);
        }
        let published = serde_json::to_vec(&set).map_err(AssertionKeyError::Write)?;
        Ok(Self {
            keys,
            published: published.into(),
        })
    }

    /// What anybody may know of them; empty if control has sent none.
    pub(crate) fn published(&self) -> Bytes {
        self.published.clone()
    }

    /// A JWT of that type, by the key that signs at a time, in Unix seconds.
    ///
    /// # Errors
    /// There is no key.
    pub(crate) fn sign(
        &self,
        kind: &str,
        claims: &impl Serialize,
        now: i64,
    ) -> Result<String, RequestError> {
        let key = self.signing(now).ok_or(RequestError::NoView)?;
        let head = Header {
            typ: Some(kind.to_owned()),
            ..key.head.clone()
        };
        let signed = encode(&head, claims, &key.signing);
        signed.map_err(|_| RequestError::Bug("a statement of the user cannot be signed"))
    }

    /// The one that signs at a time, in Unix seconds.
    fn signing(&self, now: i64) -> Option<&Key> {
        let mut due = self.keys.iter().filter(|key| key.signs_from <= now);
        due.next().or_else(|| self.keys.last())
    }
}

impl Key {
    fn read(wire: &fabric::AssertionKey) -> Result<(Self, Jwk), jsonwebtoken::errors::Error> {
        let signing = EncodingKey::from_ec_der(&wire.pkcs8);
        let mut public = Jwk::from_encoding_key(&signing, Algorithm::ES256)?;
        let name = public.thumbprint(ThumbprintHash::SHA256)?;
        public.common.key_id = Some(name.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        let key = Self {
            head: Header {
                kid: Some(name),
                ..Header::new(Algorithm::ES256)
            },
            signing,
            signs_from: wire.signs_from,
        };
        Ok((key, public))
    }
}

/// What an assertion says. Empty ones are left out.
#[derive(Debug, Serialize)]
struct Claims<'a> {
    /// The sign-in host, whatever port users come to.
    iss: String,
    /// Id of the app that it is for, and for no other.
    aud: &'a str,
    /// Id of the user.
    sub: &'a str,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    email: &'a str,
    groups: Vec<&'a str>,
    amr: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    acr: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    /// Id of the identity provider; none: the fabric's own accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    idp: Option<&'a str>,
}

/// An assertion that was made a moment ago.
#[derive(Debug)]
pub(crate) struct Made {
    app: AppId,
    /// Of which keys; others may have come since.
    keys: Arc<AssertionKeys>,
    /// Unix seconds.
    at: i64,
    value: HeaderValue,
}

impl Made {
    /// Whether it will do for this app now.
    fn holds(&self, app: &AppId, keys: &Arc<AssertionKeys>, now: i64) -> bool {
        self.app == *app
            && Arc::ptr_eq(&self.keys, keys)
            && (self.at..self.at + REUSE_S).contains(&now)
    }
}

/// Sets the field that the permit's app asks for. The user's own copies are gone whoever asks.
///
/// # Errors
/// Without a key there is no request: origins that ask for an assertion must not be asked without.
pub(crate) fn apply(
    permit: &Permit<'_>,
    arrival: &Arrival<'_>,
    sent: &mut HeaderMap,
) -> Result<(), RequestError> {
    let (Some(field), Caller::User(user)) = (&permit.app().assertion_field, permit.caller()) else {
        return Ok(());
    };
    let name = HeaderName::try_from(field);
    let name = name.map_err(|_| RequestError::Bug("a field's name that is none"))?;
    let keys = arrival.view.assertion_keys();
    let app = &permit.app().id;
    let now = unix_seconds(arrival.clock.wall());
    let value = arrival.recall.assertion(user, |made| {
        if let Some(made) = made.as_ref().filter(|made| made.holds(app, keys, now)) {
            return Ok(made.value.clone());
        }
        let value = sign(keys, arrival, app, user, now)?;
        *made = Some(Made {
            app: app.clone(),
            keys: Arc::clone(keys),
            at: now,
            value: value.clone(),
        });
        Ok(value)
    })?;
    sent.insert(name, value);
    Ok(())
}

fn sign(
    keys: &AssertionKeys,
    arrival: &Arrival<'_>,
    app: &AppId,
    user: &User,
    now: i64,
) -> Result<HeaderValue, RequestError> {
    let issuer = arrival.view.sign_in_host().ok_or(RequestError::NoView)?;
    let authentication = &user.authentication;
    let claims = Claims {
        iss: format!("https://{issuer}"),
        aud: app.as_str(),
        sub: user.id.as_str(),
        iat: now,
        exp: now + LIFE_S,
        name: &user.display_name,
        email: &user.email,
        groups: user.groups.iter().map(|group| group.as_str()).collect(),
        amr: &authentication.methods,
        acr: &authentication.class,
        auth_time: (authentication.at_ms > 0).then(|| authentication.at_ms.div_euclid(1_000)),
        idp: authentication.provider.as_ref().map(|id| id.as_str()),
    };
    let mut value = HeaderValue::try_from(keys.sign(KIND, &claims, now)?)
        .map_err(|_| RequestError::Bug("an assertion that is no field's value"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
    };

    use super::*;

    fn key(signs_from: i64) -> fabric::AssertionKey {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        fabric::AssertionKey {
            pkcs8: Bytes::copy_from_slice(made.unwrap().as_ref()),
            signs_from,
        }
    }

    fn names(keys: &AssertionKeys) -> Vec<String> {
        let set: JwkSet = serde_json::from_slice(&keys.published()).unwrap();
        let names = set.keys.into_iter().map(|key| key.common.key_id.unwrap());
        names.collect()
    }

    #[test]
    fn the_newest_key_signs_whose_time_has_come_and_all_are_published() {
        let wire = fabric::AssertionKeys {
            keys: vec![key(2_000), key(1_000)],
        };
        let keys = AssertionKeys::new(&wire).unwrap();
        let names = names(&keys);
        for (now, want) in [(0, 1), (1_000, 1), (1_999, 1), (2_000, 0), (9_000, 0)] {
            let signing = keys.signing(now).unwrap().head.kid.clone();
            assert_eq!(signing.as_ref(), Some(&names[want]), "at {now}");
        }
        assert!(AssertionKeys::default().signing(0).is_none());
    }

    #[test]
    fn nothing_private_is_published_or_printed() {
        let wire = fabric::AssertionKeys { keys: vec![key(0)] };
        let keys = AssertionKeys::new(&wire).unwrap();
        let published = keys.published();
        let published: serde_json::Value = serde_json::from_slice(&published).unwrap();
        let mut members: Vec<_> = published["keys"][0].as_object().unwrap().keys().collect();
        members.sort();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        assert_eq!(format!("{:?}", keys.keys), "[Key]");
    }

    #[test]
    fn keys_that_cannot_sign_are_refused() {
        let short = fabric::AssertionKey {
            pkcs8: Bytes::from_static(b"no key"),
            signs_from: 0,
        };
        let refused = AssertionKeys::new(&fabric::AssertionKeys { keys: vec![short] });
        assert!(matches!(refused, Err(AssertionKeyError::Key(_))));
        let many = vec![key(0); KEYS_MAX + 1];
        let refused = AssertionKeys::new(&fabric::AssertionKeys { keys: many });
        assert!(matches!(refused, Err(AssertionKeyError::TooMany)));
    }
}
