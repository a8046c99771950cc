//! Sealing what others keep for the edge: TLS session tickets, and what users' browsers keep between requests.
//!
//! Sealed is the key's name, a random nonce, and the text sealed with AES-256-GCM-SIV (RFC 8452), for which two equal nonces among many
//! edges do no harm. The key's name and the purpose are authenticated too, so nothing that was sealed for one purpose, or
//! one place, opens for another. The keys come with the snapshot: the first seals, all open, and control rotates them; what an
//! old key sealed ends with it.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use proto::fabric;

/// Keys in force at a time: one that seals, and those whose work is still about.
const KEYS_MAX: usize = 16;
/// Bytes of a key's name.
const NAME_BYTES: usize = 16;

/// Why the keys of a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SealingKeyError {
    /// More than are ever in force.
    #[error("there are more than {KEYS_MAX} keys")]
    TooMany,
    /// A key or its name has the wrong length.
    #[error("a key's name has {NAME_BYTES} bytes, and a key 32")]
    Length,
}

/// What something is sealed for; it opens for nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose<'a> {
    /// What it is.
    pub kind: &'static str,
    /// The host where it may be used; empty: everywhere.
    pub place: &'a str,
}

impl Purpose<'_> {
    fn authenticated(&self, name: [u8; NAME_BYTES]) -> Aad<Vec<u8>> {
        let (kind, place) = (self.kind.as_bytes(), self.place.as_bytes());
        Aad::from([&name, kind, &[0], place].concat())
    }
}

/// The keys of one view; none: control has sent none.
#[derive(Debug, Default)]
pub(crate) struct SealingKeys(Vec<Key>);

struct Key {
    name: [u8; NAME_BYTES],
    sealing: RandomizedNonceKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl SealingKeys {
    /// Reads the keys of a snapshot.
    pub(crate) fn new(keys: &fabric::SealingKeys) -> Result<Self, SealingKeyError> {
        if keys.keys.len() > KEYS_MAX {
            return Err(SealingKeyError::TooMany);
        }
        let keys = keys.keys.iter().map(|key| {
            let name = key.name.as_ref().try_into();
            let sealing = RandomizedNonceKey::new(&AES_256_GCM_SIV, &key.key);
            Ok(Key {
                name: name.map_err(|_| SealingKeyError::Length)?,
                sealing: sealing.map_err(|_| SealingKeyError::Length)?,
            })
        });
        keys.collect::<Result<_, _>>().map(Self)
    }

    /// `plain`, sealed; `None` without keys.
    pub(crate) fn seal(&self, purpose: Purpose<'_>, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.0.first()?;
        let mut sealed = plain.to_vec();
        let nonce = key
            .sealing
            .seal_in_place_append_tag(purpose.authenticated(key.name), &mut sealed)
            .ok()?;
        Some([&key.name, nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// What was sealed, if one of the keys did it and for this purpose.
    pub(crate) fn open(&self, purpose: Purpose<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = sealed.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = self.0.iter().find(|key| key.name == *name)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key
            .sealing
            .open_in_place(nonce, purpose.authenticated(*name), &mut plain)
            .ok()?
            .len();
        plain.truncate(opened);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use proto::fabric::SealingKey;

    use super::*;

    const PLAIN: &[u8] = b"a session";
    const HERE: Purpose<'_> = Purpose {
        kind: "app",
        place: "wiki.example",
    };

    fn keys(numbers: &[u8]) -> SealingKeys {
        let keys = numbers.iter().map(|number| SealingKey {
            name: vec![*number; NAME_BYTES].into(),
            key: vec![*number; 32].into(),
        });
        SealingKeys::new(&fabric::SealingKeys {
            keys: keys.collect(),
        })
        .unwrap()
    }

    #[test]
    fn whoever_has_the_key_opens_it() {
        let sealed = keys(&[1]).seal(HERE, PLAIN).unwrap();
        assert_eq!(keys(&[1]).open(HERE, &sealed).as_deref(), Some(PLAIN));
        assert_eq!(keys(&[2]).open(HERE, &sealed), None);
        assert_eq!(SealingKeys::default().open(HERE, &sealed), None);
        assert_ne!(
            keys(&[1]).seal(HERE, PLAIN).unwrap(),
            sealed,
            "nonces differ"
        );
    }

    #[test]
    fn it_opens_for_its_purpose_and_place_only() {
        let keys = keys(&[1]);
        let sealed = keys.seal(HERE, PLAIN).unwrap();
        for (kind, place) in [
            ("pass", "wiki.example"),
            ("app", "crm.example"),
            ("app", ""),
            ("appwiki", ".example"),
        ] {
            assert_eq!(keys.open(Purpose { kind, place }, &sealed), None);
        }
    }

    #[test]
    fn rotated_keys_still_open_until_they_are_gone() {
        let sealed = keys(&[1]).seal(HERE, PLAIN).unwrap();
        let rotated = keys(&[2, 1]);
        assert_eq!(rotated.open(HERE, &sealed).as_deref(), Some(PLAIN));
        let newer = rotated.seal(HERE, PLAIN).unwrap();
        assert_eq!(keys(&[2]).open(HERE, &newer).as_deref(), Some(PLAIN));
        assert_eq!(keys(&[3, 2]).open(HERE, &sealed), None);
    }

    #[test]
    fn what_was_touched_is_refused() {
        let sealed = keys(&[1]).seal(HERE, PLAIN).unwrap();
        for at in 0..sealed.len() {
            let mut touched = sealed.clone();
            touched[at] ^= 1;
            assert_eq!(keys(&[1]).open(HERE, &touched), None, "byte {at}");
            assert_eq!(keys(&[1]).open(HERE, &sealed[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn keys_of_a_wrong_length_are_refused() {
        for (name, key) in [(15, 32), (16, 31), (16, 0)] {
            let wrong = fabric::SealingKeys {
                keys: vec![SealingKey {
                    name: vec![0; name].into(),
                    key: vec![0; key].into(),
                }],
            };
            let refused = SealingKeys::new(&wrong);
            assert!(matches!(refused, Err(SealingKeyError::Length)));
        }
        let many = fabric::SealingKeys {
            keys: vec![SealingKey::default(); KEYS_MAX + 1],
        };
        let refused = SealingKeys::new(&many);
        assert!(matches!(refused, Err(SealingKeyError::TooMany)));
    }
}
