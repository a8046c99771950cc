//! Realms, and the agent's own principal in one.

use std::{fmt, str::FromStr, sync::Arc};

use thiserror::Error;

/// Bytes of a principal of the agent, realm included.
const PRINCIPAL_BYTES_MAX: usize = 256;

/// Why a text is no principal, or no realm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PrincipalError {
    /// It has no realm, or more than one.
    #[error("a principal is written NAME@REALM, such as svc-adit@CORP.EXAMPLE")]
    Realm,
    /// It has other characters.
    #[error(
        "a principal may have letters, digits, dots, hyphens, underscores and $, and / between its parts"
    )]
    Character,
    /// It is longer than any is.
    #[error("a principal has at most {PRINCIPAL_BYTES_MAX} bytes")]
    TooLong,
}

/// A realm, `CORP.EXAMPLE`. Case counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Realm(Arc<str>);

impl Realm {
    /// The realm as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Realm {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(PrincipalError::Realm);
        }
        if text.len() > PRINCIPAL_BYTES_MAX {
            return Err(PrincipalError::TooLong);
        }
        if !text.bytes().all(is_plain) {
            return Err(PrincipalError::Character);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The agent's own account, `svc-adit@CORP.EXAMPLE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    name: Arc<str>,
    realm: Realm,
}

impl Principal {
    /// What stands before the `@`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its realm.
    pub fn realm(&self) -> &Realm {
        &self.realm
    }
}

impl FromStr for Principal {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > PRINCIPAL_BYTES_MAX {
            return Err(PrincipalError::TooLong);
        }
        let (name, realm) = text.split_once('@').ok_or(PrincipalError::Realm)?;
        let realm: Realm = realm.parse().map_err(|error| match error {
            // A second @ is a second realm.
            PrincipalError::Character if realm.contains('@') => PrincipalError::Realm,
            error => error,
        })?;
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| is_plain(byte) || byte == b'$')
        };
        if !name.split('/').all(is_part) {
            return Err(PrincipalError::Character);
        }
        Ok(Self {
            name: name.into(),
            realm,
        })
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.realm)
    }
}

pub(crate) fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_have_one_realm() {
        let long = format!("{}@R", "a".repeat(PRINCIPAL_BYTES_MAX));
        for (text, expected) in [
            ("svc-adit@CORP.EXAMPLE", Ok(("svc-adit", "CORP.EXAMPLE"))),
            (
                "agent/host.lab.test@LAB",
                Ok(("agent/host.lab.test", "LAB")),
            ),
            ("web1$@LAB", Ok(("web1$", "LAB"))),
            ("svc-adit", Err(PrincipalError::Realm)),
            ("svc-adit@", Err(PrincipalError::Realm)),
            ("svc-adit@A@B", Err(PrincipalError::Realm)),
            ("@LAB", Err(PrincipalError::Character)),
            ("a//b@LAB", Err(PrincipalError::Character)),
            ("a b@LAB", Err(PrincipalError::Character)),
            ("a@LAB\n", Err(PrincipalError::Character)),
            ("a\\b@LAB", Err(PrincipalError::Character)),
            (&long, Err(PrincipalError::TooLong)),
        ] {
            let found: Result<Principal, _> = text.parse();
            let found = found.as_ref().map(|it| (it.name(), it.realm().as_str()));
            assert_eq!(found.map_err(|error| *error), expected, "{text:?}");
        }
    }
}
