//! Control's own key for second factors: a file beside the store, not in it.
//!
//! Keys of authenticator apps cannot be hashed, as both sides compute with them. Sealed by this key they are of no use to whoever has only the
//! store: a copy of the database, a disk of its backups. Whoever has the whole data directory has both, as control itself does.

use std::{fmt, path::Path};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, Salt},
    hmac,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use model::name::UserId;
use rand::Rng as _;
use runtime::{Secret, file};

use crate::secret_file::{self, SecretFileError};

/// Name of the file: base64url, one line.
pub const KEY_FILE: &str = "second-factors.key";
const KEY_BYTES: usize = 32;
/// Bytes of a keyed hash, and of what authenticators know a user by.
const TAG_BYTES: usize = 32;

/// The key, as what is derived from it (RFC 5869).
pub struct SecondFactorKey {
    sealing: RandomizedNonceKey,
    refreshes: RandomizedNonceKey,
    recovery: hmac::Key,
    handles: hmac::Key,
    proofs: hmac::Key,
}

impl fmt::Debug for SecondFactorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecondFactorKey(***)")
    }
}

impl SecondFactorKey {
    /// Reads the key of a fabric, or makes one.
    ///
    /// # Errors
    /// Those of its file.
    pub fn load_or_create(directory: &Path) -> Result<Self, SecretFileError> {
        let path = directory.join(KEY_FILE);
        if !path.exists() {
            let key: [u8; KEY_BYTES] = rand::rng().random();
            let text = Secret::new(BASE64_URL_SAFE_NO_PAD.encode(key));
            secret_file::write(&path, text.expose())?;
        }
        let read = file::read_private(&path).map_err(|source| SecretFileError::File {
            path: path.clone(),
            source,
        })?;
        let key = BASE64_URL_SAFE_NO_PAD.decode(read.trim_ascii());
        let key = key
            .ok()
            .and_then(|key| <[u8; KEY_BYTES]>::try_from(key).ok());
        key.map(|key| Self::of(&key))
            .ok_or(SecretFileError::Malformed { path })
    }

    fn of(key: &[u8; KEY_BYTES]) -> Self {
        let extracted = Salt::new(HKDF_SHA256, b"adit second factors").extract(key);
        let derive = |purpose: &[u8]| {
            let mut derived = [0; KEY_BYTES];
            let info = [purpose];
            let expanded = extracted.expand(&info, HKDF_SHA256);
            expanded
                .and_then(|expanded| expanded.fill(&mut derived))
                .expect("HKDF gives as much as a hash");
            derived
        };
        Self {
            sealing: RandomizedNonceKey::new(&AES_256_GCM_SIV, &derive(b"authenticator"))
                .expect("a key of AES-256 has 32 bytes"),
            refreshes: RandomizedNonceKey::new(&AES_256_GCM_SIV, &derive(b"refresh token"))
                .expect("a key of AES-256 has 32 bytes"),
            recovery: hmac::Key::new(hmac::HMAC_SHA256, &derive(b"recovery code")),
            handles: hmac::Key::new(hmac::HMAC_SHA256, &derive(b"user handle")),
            proofs: hmac::Key::new(hmac::HMAC_SHA256, &derive(b"what was shown")),
        }
    }

    /// The key of a user's authenticator app, sealed for that user.
    pub(crate) fn seal(&self, user: &UserId, plain: &[u8]) -> Vec<u8> {
        seal(&self.sealing, user.as_str().as_bytes(), plain)
    }

    /// What was sealed, if it was for that user and by this key.
    pub(crate) fn open(&self, user: &UserId, sealed: &[u8]) -> Option<Secret<Vec<u8>>> {
        open(&self.sealing, user.as_str().as_bytes(), sealed).map(Secret::new)
    }

    /// What edges have sealed for a session of an identity provider: so that the file which it lies in is of no use by itself, as the store
    /// beside it has the keys of edges.
    pub(crate) fn seal_refresh(&self, session: &[u8], plain: &[u8]) -> Vec<u8> {
        seal(&self.refreshes, session, plain)
    }

    /// What was sealed so for that session.
    pub(crate) fn open_refresh(&self, session: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        open(&self.refreshes, session, sealed)
    }

    /// What is kept of a recovery code of a user.
    pub(crate) fn recovery_tag(&self, user: &UserId, code: &str) -> [u8; TAG_BYTES] {
        tag(&self.recovery, &[user.as_str(), code])
    }

    /// What authenticators know a user by: says nothing of them (Web Authentication, section 14.6.1).
    pub(crate) fn user_handle(&self, user: &UserId) -> [u8; TAG_BYTES] {
        tag(&self.handles, &[user.as_str()])
    }

    /// Control's word for what a user has shown, and when; words of different kinds are none of each other's.
    pub(crate) fn proof(
        &self,
        kind: &str,
        user: &UserId,
        as_of_ms: i64,
        methods: &[String],
    ) -> [u8; TAG_BYTES] {
        let as_of_ms = as_of_ms.to_string();
        let first = [kind, user.as_str(), &as_of_ms];
        let parts: Vec<_> = first
            .into_iter()
            .chain(methods.iter().map(String::as_str))
            .collect();
        tag(&self.proofs, &parts)
    }
}

fn seal(key: &RandomizedNonceKey, whose: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut sealed = plain.to_vec();
    let nonce = key
        .seal_in_place_append_tag(Aad::from(whose), &mut sealed)
        .expect("there are some KiB to seal at the most");
    [nonce.as_ref().as_slice(), &sealed].concat()
}

fn open(key: &RandomizedNonceKey, whose: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut plain = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = key
        .open_in_place(nonce, Aad::from(whose), &mut plain)
        .ok()?;
    let length = opened.len();
    plain.truncate(length);
    Some(plain)
}

fn tag(key: &hmac::Key, parts: &[&str]) -> [u8; TAG_BYTES] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(context.sign().as_ref());
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> UserId {
        id.parse().unwrap()
    }

    #[test]
    fn what_is_sealed_for_one_user_opens_for_no_other_and_by_no_other_key() {
        let key = SecondFactorKey::of(&[1; KEY_BYTES]);
        let sealed = key.seal(&user("alice"), b"twenty bytes of key.");
        let opened = key.open(&user("alice"), &sealed).unwrap();
        assert_eq!(opened.expose().as_slice(), b"twenty bytes of key.");
        assert!(key.open(&user("bob"), &sealed).is_none());
        let other = SecondFactorKey::of(&[2; KEY_BYTES]);
        assert!(other.open(&user("alice"), &sealed).is_none());
        assert!(key.open(&user("alice"), &sealed[1..]).is_none());
        assert!(key.open(&user("alice"), b"").is_none());
        assert_ne!(key.seal(&user("alice"), b"twenty bytes of key."), sealed);
    }

    #[test]
    fn hashes_are_of_one_user_and_one_key() {
        let key = SecondFactorKey::of(&[1; KEY_BYTES]);
        let tag = key.recovery_tag(&user("alice"), "code");
        assert_eq!(tag, key.recovery_tag(&user("alice"), "code"));
        assert_ne!(tag, key.recovery_tag(&user("bob"), "code"));
        assert_ne!(tag, key.recovery_tag(&user("alicec"), "ode"));
        let other = SecondFactorKey::of(&[2; KEY_BYTES]);
        assert_ne!(tag, other.recovery_tag(&user("alice"), "code"));
        assert_ne!(
            key.user_handle(&user("alice")),
            key.user_handle(&user("bob"))
        );
    }

    #[test]
    fn the_key_is_made_once_and_lies_in_a_file_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let made = SecondFactorKey::load_or_create(directory.path()).unwrap();
        let read = SecondFactorKey::load_or_create(directory.path()).unwrap();
        let alice = user("alice");
        assert_eq!(made.user_handle(&alice), read.user_handle(&alice));
        assert_eq!(format!("{made:?}"), "SecondFactorKey(***)");
        let path = directory.path().join(KEY_FILE);
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // What is not a key is refused: another one would lock everybody out for good.
        file::replace(&path, b"nonsense", file::PRIVATE).unwrap();
        let refused = SecondFactorKey::load_or_create(directory.path());
        assert!(matches!(refused, Err(SecretFileError::Malformed { .. })));
    }
}
