//! Credentials of apps that know nothing of the fabric's sign-in: sealed to a key of the agents' group, so that nobody else can read them.

use std::{fmt, str::FromStr};

use crate::{
    identity_provider::LOCAL,
    name::{AppId, IdError, IdentityProviderId, UserId, VaultKeyId},
};

/// Longest user name of an app, in bytes.
pub const USER_NAME_BYTES_MAX: usize = 256;
/// Longest password of an app, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 512;
/// What is sealed has a multiple of this, so that its length does not tell that of the password.
pub const BLOCK_BYTES: usize = 256;
/// An uncompressed point of P-256 (SEC 1, section 2.3.3): a public key, and what comes before each sealed text (RFC 9180, section 7.1.1).
pub const POINT_BYTES: usize = 65;
/// Of AES-128-GCM.
pub const TAG_BYTES: usize = 16;
/// Longest sealed credential: two lengths of two bytes, name and password, in whole blocks.
pub const SEALED_BYTES_MAX: usize = POINT_BYTES
    + (4 + USER_NAME_BYTES_MAX + PASSWORD_BYTES_MAX).div_ceil(BLOCK_BYTES) * BLOCK_BYTES
    + TAG_BYTES;
/// Shortest one.
pub const SEALED_BYTES_MIN: usize = POINT_BYTES + BLOCK_BYTES + TAG_BYTES;
/// Keys of one group: the one that seals, and those that it takes the place of.
pub const GROUP_KEYS_MAX: usize = 8;
/// Credentials of one app. Each agent of its group holds all of them in memory, sealed, at about half a KiB.
pub const APP_CREDENTIALS_MAX: usize = 10_000;

/// What is sealed is good for this only (`info` of RFC 9180).
pub const INFO: &[u8] = b"adit vault 1";

/// Whose sign-in at an app it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    /// One for all users of the app.
    Shared,
    /// A user's own.
    User {
        /// Who says who the user is; `None`: the fabric itself.
        provider: Option<IdentityProviderId>,
        /// Who it is.
        user: UserId,
    },
}

/// Names a credential: `credentials/wiki/shared`, `credentials/wiki/local/alice`, `credentials/wiki/entra/alice@example.com`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialName {
    /// The app.
    pub app: AppId,
    /// Whose it is.
    pub holder: Holder,
}

/// What stands for a holder that is nobody in particular.
const SHARED: &str = "shared";

impl CredentialName {
    /// What all names begin with.
    pub const COLLECTION: &'static str = "credentials/";

    /// What the names of an app's credentials begin with.
    pub fn prefix(app: &AppId) -> String {
        format!("{}{app}/", Self::COLLECTION)
    }

    /// What a sealed credential is bound to besides its key's group (`aad` of RFC 9180): no id has a line break.
    pub fn binding(&self, key: &VaultKeyId) -> Vec<u8> {
        format!("{self}\n{key}").into_bytes()
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/", Self::COLLECTION, self.app)?;
        match &self.holder {
            Holder::Shared => f.write_str(SHARED),
            Holder::User { provider, user } => {
                let provider = provider.as_ref().map_or(LOCAL, IdentityProviderId::as_str);
                write!(f, "{provider}/{user}")
            }
        }
    }
}

impl fmt::Debug for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Why a text names no credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialNameError {
    /// It is written otherwise.
    #[error(
        "must be credentials/APP/shared, or credentials/APP/PROVIDER/USER with local for accounts of the fabric's own"
    )]
    Form,
    /// A part of it is no id.
    #[error("has an id that {0}")]
    Id(#[from] IdError),
}

impl FromStr for CredentialName {
    type Err = CredentialNameError;

    fn from_str(text: &str) -> Result<Self, CredentialNameError> {
        let rest = text.strip_prefix(Self::COLLECTION);
        let (app, holder) = rest
            .and_then(|rest| rest.split_once('/'))
            .ok_or(CredentialNameError::Form)?;
        let holder = match holder.split_once('/') {
            None if holder == SHARED => Holder::Shared,
            None => return Err(CredentialNameError::Form),
            Some((provider, user)) => Holder::User {
                provider: (provider != LOCAL).then(|| provider.parse()).transpose()?,
                user: user.parse()?,
            },
        };
        Ok(Self {
            app: app.parse()?,
            holder,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_as_it_is_read() {
        for good in [
            "credentials/wiki/shared",
            "credentials/wiki/local/alice",
            "credentials/wiki/shared/alice",
            "credentials/wiki/entra/alice@example.com",
        ] {
            let name: CredentialName = good.parse().unwrap();
            assert_eq!(name.to_string(), good);
        }
        for bad in [
            "",
            "credentials/",
            "credentials/wiki",
            "credentials/wiki/",
            "credentials/wiki/alice",
            "credentials//shared",
            "credentials/wiki/local/",
            "credentials/wiki/local/a/b",
            "credentials/wiki/local/a\nb",
            "apps/wiki/shared",
        ] {
            assert!(bad.parse::<CredentialName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_sealed_is_bound_to_its_app_its_holder_and_its_key() {
        let key = |id: &str| id.parse::<VaultKeyId>().unwrap();
        let bound = |name: &str, id| name.parse::<CredentialName>().unwrap().binding(&key(id));
        let one = bound("credentials/wiki/local/alice", "k1");
        assert_eq!(one, b"credentials/wiki/local/alice\nk1");
        for (name, id) in [
            ("credentials/mail/local/alice", "k1"),
            ("credentials/wiki/local/bob", "k1"),
            ("credentials/wiki/entra/alice", "k1"),
            ("credentials/wiki/local/alice", "k2"),
        ] {
            assert_ne!(bound(name, id), one, "{name} {id}");
        }
    }
}
