//! Credentials of apps, sealed as they came from control. They are opened when they are used, and not before.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::HeaderValue;
use model::{
    app::{BasicSso, Charset},
    name::{AppId, IdentityProviderId, UserId, VaultKeyId},
    vault::{CredentialName, Holder},
};
use proto::fabric;
use runtime::vault::{Credential, Keyring, OpenError};
use zeroize::Zeroizing;

/// Credentials that an agent holds, at most: of a hundred apps with all that an app may have. Others are as if they were not there.
const CREDENTIALS_MAX: usize = 1_000_000;

/// One of them, sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    key: VaultKeyId,
    text: Bytes,
}

/// All that the agent was given.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    sealed: HashMap<CredentialName, Sealed>,
    left_out: LeftOut,
}

/// What is as if it were not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct LeftOut {
    /// How many cannot be read, and the first of them.
    unreadable: usize,
    first_unreadable: String,
    /// How many are beyond the bound.
    beyond: usize,
}

/// Who signs in to an app.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Who {
    pub(crate) provider: Option<IdentityProviderId>,
    pub(crate) user: UserId,
}

impl Credentials {
    /// Takes one in. One that cannot be read is left out: it keeps nobody else from their apps.
    pub(crate) fn add(&mut self, wire: &fabric::Credential) {
        self.add_within(CREDENTIALS_MAX, wire);
    }

    fn add_within(&mut self, bound: usize, wire: &fabric::Credential) {
        let read = (wire.name.parse(), wire.vault_key.parse());
        let (Ok(name), Ok(key)) = read else {
            if self.left_out.unreadable == 0 {
                self.left_out.first_unreadable.clone_from(&wire.name);
            }
            self.left_out.unreadable += 1;
            return;
        };
        if self.sealed.len() >= bound {
            self.left_out.beyond += 1;
            return;
        }
        let text = wire.sealed.clone();
        self.sealed.insert(name, Sealed { key, text });
    }

    /// Tells operators of what was left out, once for all of it.
    pub(crate) fn tell(&self) {
        let LeftOut {
            unreadable,
            first_unreadable,
            beyond,
        } = &self.left_out;
        if *unreadable > 0 {
            tracing::warn!(
                credentials = unreadable,
                first = first_unreadable,
                "credentials cannot be read and are left out"
            );
        }
        if *beyond > 0 {
            tracing::warn!(
                credentials = beyond,
                bound = CREDENTIALS_MAX,
                "too many credentials: those beyond the bound are left out, and their users are not signed on"
            );
        }
    }

    /// The one that is kept under this name.
    pub(crate) fn find(&self, name: &CredentialName) -> Option<&Sealed> {
        self.sealed.get(name)
    }
}

/// Names a user's own credential of an app, or the one for all.
pub(crate) fn name(app: &AppId, who: Option<&Who>) -> CredentialName {
    let holder = match who {
        Some(Who { provider, user }) => Holder::User {
            provider: provider.clone(),
            user: user.clone(),
        },
        None => Holder::Shared,
    };
    CredentialName {
        app: app.clone(),
        holder,
    }
}

impl Sealed {
    /// Opens it with the agent's keys.
    ///
    /// # Errors
    /// It cannot be opened here.
    pub(crate) fn open(
        &self,
        name: &CredentialName,
        keys: Option<&Arc<Keyring>>,
    ) -> Result<Credential, OpenError> {
        let keys = keys.ok_or(OpenError::Key)?;
        keys.open(name, &self.key, &self.text)
    }
}

/// Why a credential cannot be sent by Basic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsendable {
    /// What is before the first colon is the user name.
    #[error("a user name with a colon cannot be sent by Basic")]
    Colon,
    /// The app reads other letters.
    #[error("the credential has letters that Latin-1 lacks")]
    Latin1,
    /// A defect of ours.
    #[error("the credential makes no value of a field")]
    Value,
}

/// What says a credential in `Authorization` (RFC 7617, section 2).
///
/// # Errors
/// See [`Unsendable`].
pub(crate) fn basic(sso: BasicSso, credential: &Credential) -> Result<HeaderValue, Unsendable> {
    if credential.user().contains(':') {
        return Err(Unsendable::Colon);
    }
    let pair = Zeroizing::new(format!(
        "{}:{}",
        credential.user(),
        credential.expose_password()
    ));
    let bytes = match sso.charset {
        Charset::Utf8 => Zeroizing::new(pair.as_bytes().to_vec()),
        Charset::Latin1 => {
            let letters = pair.chars().map(|letter| u8::try_from(letter).ok());
            let letters: Option<Vec<u8>> = letters.collect();
            Zeroizing::new(letters.ok_or(Unsendable::Latin1)?)
        }
    };
    let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*bytes)));
    let mut value = HeaderValue::from_str(&value).map_err(|_| Unsendable::Value)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use model::app::CredentialOf;

    use super::*;

    fn wire(name: &str, vault_key: &str) -> fabric::Credential {
        fabric::Credential {
            name: name.to_owned(),
            vault_key: vault_key.to_owned(),
            sealed: Bytes::new(),
        }
    }

    #[test]
    fn what_is_beyond_the_bound_is_counted() {
        let mut credentials = Credentials::default();
        for number in 0..5 {
            let name = format!("credentials/wiki/local/u{number}");
            credentials.add_within(2, &wire(&name, "k1"));
        }
        assert_eq!(
            (credentials.sealed.len(), credentials.left_out.beyond),
            (2, 3)
        );
    }

    #[test]
    fn a_credential_is_written_in_the_letters_that_the_app_reads() {
        let written = |user: &str, password: &str, charset| {
            let credential = Credential::new(user.to_owned(), password.to_owned());
            let sso = BasicSso {
                credential: CredentialOf::User,
                charset,
            };
            let value = basic(sso, &credential);
            value.map(|value| value.to_str().unwrap_or_default().to_owned())
        };
        // RFC 7617, section 2 and 2.1.
        for (user, password, charset, want) in [
            (
                "Aladdin",
                "open sesame",
                Charset::Utf8,
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
            ("test", "123\u{a3}", Charset::Utf8, "Basic dGVzdDoxMjPCow=="),
            ("test", "123\u{a3}", Charset::Latin1, "Basic dGVzdDoxMjOj"),
        ] {
            assert_eq!(written(user, password, charset).unwrap(), want);
        }
        assert_eq!(written("a:b", "c", Charset::Utf8), Err(Unsendable::Colon));
        assert_eq!(
            written("a", "\u{20ac}", Charset::Latin1),
            Err(Unsendable::Latin1)
        );
    }

    #[test]
    fn a_credential_that_cannot_be_read_is_left_out() {
        let mut credentials = Credentials::default();
        for (name, vault_key) in [
            ("credentials/wiki/local/alice", "k1"),
            ("credentials/wiki/local", "k1"),
            ("credentials/wiki/local/bob", "K 1"),
        ] {
            credentials.add(&wire(name, vault_key));
        }
        assert_eq!(credentials.sealed.len(), 1);
        let left_out = LeftOut {
            unreadable: 2,
            first_unreadable: "credentials/wiki/local".to_owned(),
            beyond: 0,
        };
        assert_eq!(credentials.left_out, left_out);
        let who = Who {
            provider: None,
            user: "alice".parse().unwrap(),
        };
        let alice = name(&"wiki".parse().unwrap(), Some(&who));
        let sealed = credentials.find(&alice).expect("it is there");
        assert_eq!(sealed.open(&alice, None), Err(OpenError::Key));
    }
}
