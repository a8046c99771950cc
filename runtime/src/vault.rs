//! What seals credentials of apps, and opens them: HPKE (RFC 9180) in its base mode, with DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and
//! AES-128-GCM, which browsers can do as well.
//!
//! The private half of a key is made where an operator is and put beside a group's agents; nobody else has it. What is sealed is bound to
//! its name and its key ([`CredentialName::binding`]), so that no record can pass for another.

use std::{fmt, path::Path};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use model::{
    name::{GroupId, VaultKeyId},
    vault::{
        BLOCK_BYTES, CredentialName, GROUP_KEYS_MAX, INFO, PASSWORD_BYTES_MAX, POINT_BYTES,
        SEALED_BYTES_MAX, SEALED_BYTES_MIN, USER_NAME_BYTES_MAX,
    },
};
use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_128 as SUITE,
    hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey, HpkePublicKey},
};
use zeroize::Zeroizing;

use crate::file;

/// Bytes of a key's digest that are its id, in hexadecimal: nobody makes two of one id by accident, and a wrong one opens nothing.
const ID_BYTES: usize = 8;
/// What a line with a key begins with.
const LINE: &str = "adit-vault-key-1";
/// Longest file with keys, several times what [`GROUP_KEYS_MAX`] of them need.
const FILE_BYTES_MAX: usize = 16 * 1024;

/// The half of a key that seals.
#[derive(Clone)]
pub struct PublicKey {
    id: VaultKeyId,
    point: HpkePublicKey,
}

/// A text is no key that can seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an uncompressed point of P-256, {POINT_BYTES} bytes")]
pub struct PublicKeyError;

impl PublicKey {
    /// Reads an uncompressed point.
    ///
    /// # Errors
    /// It is none.
    pub fn of_point(point: &[u8]) -> Result<Self, PublicKeyError> {
        if point.len() != POINT_BYTES {
            return Err(PublicKeyError);
        }
        let key = HpkePublicKey(point.to_vec());
        // Whatever is on the curve seals.
        SUITE
            .seal(INFO, b"", b"", &key)
            .map_err(|_| PublicKeyError)?;
        Ok(Self {
            id: id_of(point).ok_or(PublicKeyError)?,
            point: key,
        })
    }

    /// What it is known by.
    #[must_use]
    pub fn id(&self) -> &VaultKeyId {
        &self.id
    }

    /// As in [`PublicKey::of_point`].
    #[must_use]
    pub fn point(&self) -> &[u8] {
        &self.point.0
    }

    /// Seals a credential that shall have this name.
    ///
    /// # Errors
    /// It is too long, or empty.
    pub fn seal(
        &self,
        name: &CredentialName,
        credential: &Credential,
    ) -> Result<Vec<u8>, SealError> {
        let text = credential.text()?;
        let (enc, sealed) = SUITE
            .seal(INFO, &name.binding(&self.id), &text, &self.point)
            .map_err(|_| SealError::Failed)?;
        Ok([enc.0, sealed].concat())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.id)
    }
}

fn id_of(point: &[u8]) -> Option<VaultKeyId> {
    let digest = digest(&SHA256, point);
    let bytes = digest.as_ref().iter().take(ID_BYTES);
    let id: String = bytes.map(|byte| format!("{byte:02x}")).collect();
    id.parse().ok()
}

/// Why a credential cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The user name's length.
    #[error("the user name must have 1 to {USER_NAME_BYTES_MAX} bytes")]
    User,
    /// The password's length.
    #[error("the password must have 1 to {PASSWORD_BYTES_MAX} bytes")]
    Password,
    /// The key seals nothing.
    #[error("the key seals nothing")]
    Failed,
}

/// What somebody signs in to an app with. Wiped when it is dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    user: Zeroizing<String>,
    password: Zeroizing<String>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Credential {
    /// A user name and its password.
    #[must_use]
    pub fn new(user: String, password: String) -> Self {
        Self {
            user: Zeroizing::new(user),
            password: Zeroizing::new(password),
        }
    }

    /// The user name at the app.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password; every call is a place to review.
    #[must_use]
    pub fn expose_password(&self) -> &str {
        &self.password
    }

    /// Each with its length in two bytes before it, filled up with zeros.
    fn text(&self) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if !(1..=USER_NAME_BYTES_MAX).contains(&self.user.len()) {
            return Err(SealError::User);
        }
        if !(1..=PASSWORD_BYTES_MAX).contains(&self.password.len()) {
            return Err(SealError::Password);
        }
        let bytes = 4 + self.user.len() + self.password.len();
        let blocks = bytes.div_ceil(BLOCK_BYTES);
        // Of its final length at once: what grows leaves copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(blocks * BLOCK_BYTES));
        for part in [&self.user, &self.password] {
            let length = u16::try_from(part.len()).map_err(|_| SealError::Failed)?;
            text.extend_from_slice(&length.to_be_bytes());
            text.extend_from_slice(part.as_bytes());
        }
        text.resize(blocks * BLOCK_BYTES, 0);
        Ok(text)
    }

    /// `None`: it was sealed by something that writes otherwise.
    fn of_text(text: &[u8]) -> Option<Self> {
        let (user, rest) = part(text)?;
        let (password, filling) = part(rest)?;
        let is_good = (1..=USER_NAME_BYTES_MAX).contains(&user.len())
            && (1..=PASSWORD_BYTES_MAX).contains(&password.len())
            && filling.iter().all(|byte| *byte == 0);
        is_good.then(|| Self::new(user.to_owned(), password.to_owned()))
    }
}

fn part(text: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = text.split_first_chunk::<2>()?;
    let (part, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    Some((std::str::from_utf8(part).ok()?, rest))
}

/// A whole key, as it is made.
pub struct KeyPair {
    group: GroupId,
    public: PublicKey,
    private: HpkePrivateKey,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?}", self.public, self.group)
    }
}

impl KeyPair {
    /// Makes a key for a group.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate(group: GroupId) -> Result<Self, SealError> {
        let (point, private) = SUITE.generate_key_pair().map_err(|_| SealError::Failed)?;
        let public = PublicKey::of_point(&point.0).map_err(|_| SealError::Failed)?;
        Ok(Self {
            group,
            public,
            private,
        })
    }

    /// The half that may be known.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// As it is put beside the agents.
    #[must_use]
    pub fn written(&self) -> Zeroizing<String> {
        let (group, id) = (&self.group, &self.public.id);
        let point = URL_SAFE_NO_PAD.encode(self.public.point());
        let private = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.private.secret_bytes()));
        Zeroizing::new(format!(
            "# Vault key {id} of the group {group}: for its agents' vault_key_file, and for nobody else.\n{LINE} {group} {point} {}\n",
            *private
        ))
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (LINE, Some(group), Some(point), Some(private), None) = (
            words.next()?,
            words.next(),
            words.next(),
            words.next(),
            words.next(),
        ) else {
            return None;
        };
        let private = HpkePrivateKey::from(URL_SAFE_NO_PAD.decode(private).ok()?);
        let public = PublicKey::of_point(&URL_SAFE_NO_PAD.decode(point).ok()?).ok()?;
        // That the halves belong together shows only in use.
        let (enc, sealed) = SUITE.seal(INFO, b"", b"", &public.point).ok()?;
        SUITE.open(&enc, INFO, b"", &sealed, &private).ok()?;
        Some(Self {
            group: group.parse().ok()?,
            public,
            private,
        })
    }
}

/// Why a file with keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system says so.
    #[error("reading it")]
    Read(#[source] std::io::Error),
    /// A line is no key; empty ones, and those that begin with #, are passed over.
    #[error("line {0} is no key as `adit vault-key create` writes it")]
    Line(usize),
    /// There is nothing in it.
    #[error("there is no key in it")]
    Empty,
    /// It is longer than any file with keys.
    #[error("it holds more than {GROUP_KEYS_MAX} keys")]
    TooMany,
    /// An agent is of one group.
    #[error("it holds keys of several groups")]
    Groups,
}

/// The keys of a group, as its agents hold them.
#[derive(Debug)]
pub struct Keyring {
    pairs: Vec<KeyPair>,
}

/// Why a credential cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is sealed to a key that is not here.
    #[error("it is sealed to a key that this agent does not have")]
    Key,
    /// It was sealed for something else, or was changed since.
    #[error("it is not what was sealed for this app and user")]
    Sealed,
}

impl Keyring {
    /// Reads a file with a key on each line.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let text = Zeroizing::new(file::read_private(path).map_err(KeyFileError::Read)?);
        if text.len() > FILE_BYTES_MAX {
            return Err(KeyFileError::TooMany);
        }
        let text = std::str::from_utf8(&text).map_err(|_| KeyFileError::Line(1))?;
        Self::parse(text)
    }

    fn parse(text: &str) -> Result<Self, KeyFileError> {
        let mut pairs = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            pairs.push(KeyPair::read(line).ok_or(KeyFileError::Line(number + 1))?);
        }
        let Some(first) = pairs.first() else {
            return Err(KeyFileError::Empty);
        };
        if pairs.iter().any(|pair| pair.group != first.group) {
            return Err(KeyFileError::Groups);
        }
        if pairs.len() > GROUP_KEYS_MAX {
            return Err(KeyFileError::TooMany);
        }
        Ok(Self { pairs })
    }

    /// The ids of its keys, in the file's order.
    pub fn ids(&self) -> impl Iterator<Item = &VaultKeyId> {
        self.pairs.iter().map(|pair| &pair.public.id)
    }

    /// Opens what [`PublicKey::seal`] has sealed to one of these keys under this name.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        &self,
        name: &CredentialName,
        key: &VaultKeyId,
        sealed: &[u8],
    ) -> Result<Credential, OpenError> {
        let mut pairs = self.pairs.iter();
        let pair = pairs.find(|pair| pair.public.id == *key);
        let pair = pair.ok_or(OpenError::Key)?;
        if !(SEALED_BYTES_MIN..=SEALED_BYTES_MAX).contains(&sealed.len()) {
            return Err(OpenError::Sealed);
        }
        let (enc, sealed) = sealed.split_at(POINT_BYTES);
        let enc = EncapsulatedSecret(enc.to_vec());
        let text = SUITE
            .open(&enc, INFO, &name.binding(key), sealed, &pair.private)
            .map_err(|_| OpenError::Sealed)?;
        Credential::of_text(&Zeroizing::new(text)).ok_or(OpenError::Sealed)
    }
}

#[cfg(test)]
mod tests;
