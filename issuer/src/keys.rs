//! A provider's public keys (RFC 7517).

use std::str::FromStr as _;

use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse},
};
use model::identity_provider::SigningAlgorithm;
use serde::Deserialize;

/// Keys of one provider.
const KEYS_MAX: usize = 64;
/// Keys that a signature is held against, where a token does not say which it is.
const CANDIDATES_MAX: usize = 4;

/// Those of one provider that can be used.
#[derive(Debug)]
pub struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    /// As it is published, without what is of no use here.
    jwk: Jwk,
    /// What it may sign by: as its kind allows, and as it says of itself.
    algorithms: Vec<SigningAlgorithm>,
    key: DecodingKey,
}

/// Why a set of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It is none.
    #[error("reading the set of keys")]
    Json(#[source] serde_json::Error),
    /// There are more than anybody has.
    #[error("there are more than {KEYS_MAX} keys")]
    TooMany,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

impl Keys {
    /// Reads a set. A key of another kind or use is passed over: providers have keys for much.
    ///
    /// # Errors
    /// It is none, or has too many keys.
    pub fn read(json: &[u8]) -> Result<Self, KeysError> {
        let set: Set = serde_json::from_slice(json).map_err(KeysError::Json)?;
        if set.keys.len() > KEYS_MAX {
            return Err(KeysError::TooMany);
        }
        let keys = set.keys.into_iter().filter_map(|key| {
            let key = serde_json::from_value(key).ok()?;
            read(&key)
        });
        Ok(Self(keys.collect()))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The set as it is read again, without certificates and the like: equal sets are written alike.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self) -> Result<Vec<u8>, serde_json::Error> {
        let keys = self.0.iter().map(|key| key.jwk.clone()).collect();
        serde_json::to_vec(&JwkSet { keys })
    }

    /// Those that may have signed a token that names its key so, and is signed by `algorithm`.
    pub fn find(
        &self,
        name: Option<&str>,
        algorithm: SigningAlgorithm,
    ) -> impl Iterator<Item = &DecodingKey> {
        self.0
            .iter()
            .filter(move |key| {
                name.is_none_or(|name| key.jwk.common.key_id.as_deref() == Some(name))
            })
            .filter(move |key| key.algorithms.contains(&algorithm))
            .map(|key| &key.key)
            .take(CANDIDATES_MAX)
    }
}

fn read(jwk: &Jwk) -> Option<Key> {
    use SigningAlgorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    match &jwk.common.public_key_use {
        None | Some(PublicKeyUse::Signature) => {}
        Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_)) => return None,
    }
    let mut algorithms = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => vec![Rs256, Rs384, Rs512, Ps256, Ps384, Ps512],
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => vec![Es256],
            EllipticCurve::P384 => vec![Es384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) => match pair.curve {
            EllipticCurve::Ed25519 => vec![EdDsa],
            _ => return None,
        },
        // A secret that is published, or what nobody knows.
        _ => return None,
    };
    if let Some(said) = jwk.common.key_algorithm {
        let said = SigningAlgorithm::from_str(&said.to_string()).ok()?;
        algorithms.retain(|algorithm| *algorithm == said);
    }
    Some(Key {
        key: DecodingKey::from_jwk(jwk).ok()?,
        jwk: Jwk {
            common: CommonParameters {
                public_key_use: jwk.common.public_key_use.clone(),
                key_algorithm: jwk.common.key_algorithm,
                key_id: jwk.common.key_id.clone(),
                ..CommonParameters::default()
            },
            algorithm: jwk.algorithm.clone(),
        },
        algorithms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515, appendix A.3.
    const P256: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;

    fn found(set: &str, name: Option<&str>, algorithm: SigningAlgorithm) -> usize {
        let keys = Keys::read(set.as_bytes()).expect("a set");
        keys.find(name, algorithm).count()
    }

    #[test]
    fn keys_are_found_by_name_kind_and_use() {
        use SigningAlgorithm::{Es256, Es384, Rs256};
        for (more, name, algorithm, want) in [
            (r#","kid":"a""#, Some("a"), Es256, 1),
            (r#","kid":"a""#, Some("b"), Es256, 0),
            (r#","kid":"a""#, None, Es256, 1),
            ("", Some("a"), Es256, 0),
            ("", None, Es384, 0),
            ("", None, Rs256, 0),
            (r#","use":"sig","alg":"ES256""#, None, Es256, 1),
            (r#","use":"enc""#, None, Es256, 0),
            (r#","alg":"ES384""#, None, Es256, 0),
            (r#","alg":"ECDH-ES""#, None, Es256, 0),
        ] {
            let set = format!(r#"{{"keys":[{{{P256}{more}}}]}}"#);
            assert_eq!(found(&set, name, algorithm), want, "{more} {name:?}");
        }
    }

    #[test]
    fn a_set_is_written_without_what_is_of_no_use_and_read_again() {
        let set = format!(
            r#"{{"keys":[{{{P256},"kid":"a","alg":"ES256","x5c":["MIIB"],"extra":7}},{{"kty":"x"}}]}}"#
        );
        let read = Keys::read(set.as_bytes()).expect("a set");
        let written = read.write().expect("it can be written");
        let text = String::from_utf8_lossy(&written);
        assert!(text.contains("ES256") && !text.contains("MIIB"), "{text}");
        let again = Keys::read(&written).expect("a set");
        assert_eq!((read.count(), again.count()), (1, 1));
        assert_eq!(again.write().expect("it can be written"), written);
        assert_eq!(again.find(Some("a"), SigningAlgorithm::Es256).count(), 1);
    }

    #[test]
    fn odd_keys_spoil_no_good_ones() {
        let set = format!(
            r#"{{"keys":[{{"kty":"oct","k":"c2VjcmV0","kid":"a"}},{{"kty":"x"}},7,{{"kty":"EC","crv":"P-521","x":"","y":""}},{{{P256}}}]}}"#
        );
        assert_eq!(found(&set, None, SigningAlgorithm::Es256), 1);
    }

    #[test]
    fn sets_are_bounded() {
        let set = |count: usize| {
            let keys: Vec<_> = (0..count).map(|_| format!("{{{P256}}}")).collect();
            format!(r#"{{"keys":[{}]}}"#, keys.join(","))
        };
        let es256 = SigningAlgorithm::Es256;
        assert_eq!(found(&set(KEYS_MAX), None, es256), CANDIDATES_MAX);
        assert!(matches!(
            Keys::read(set(KEYS_MAX + 1).as_bytes()),
            Err(KeysError::TooMany)
        ));
        for bad in ["", "{}", "[]", r#"{"keys":7}"#, "<html>"] {
            let read = Keys::read(bad.as_bytes());
            assert!(matches!(read, Err(KeysError::Json(_))), "{bad}");
        }
    }
}
