//! Which sessions are over, though what browsers keep of them has not ended yet.
//!
//! They come with the snapshot, so that every edge decides without asking anybody.

use std::collections::{HashMap, HashSet};

use model::{
    name::{IdError, IdentityProviderId, UserId},
    user::SESSION_ID_BYTES,
};
use proto::fabric::{self, revocation::Whose};

use super::session::{Digest, SessionId};

/// Why a revocation cannot be read. Whom it is about is not known then.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// It is about nobody.
    #[error("it says nobody's session")]
    Nobody,
    /// The id of the user is none.
    #[error("reading the user's id")]
    User(#[source] IdError),
    /// The id of the session is none.
    #[error("a session's id has {SESSION_ID_BYTES} bytes")]
    Session,
}

/// One of them.
#[derive(Debug)]
pub(crate) enum Revoked {
    /// The sessions of a user that began before.
    User(UserId, i64),
    /// A session, whenever it began.
    Session(SessionId),
    /// What began before by a provider's word, whose name for the session or the user has this digest.
    AtProvider(IdentityProviderId, Digest, i64),
}

impl TryFrom<&fabric::Revocation> for Revoked {
    type Error = RevocationError;

    fn try_from(wire: &fabric::Revocation) -> Result<Self, RevocationError> {
        match wire.whose.as_ref().ok_or(RevocationError::Nobody)? {
            Whose::User(id) => {
                let id = id.parse().map_err(RevocationError::User)?;
                Ok(Self::User(id, wire.before_ms))
            }
            Whose::Session(id) => {
                let id = id.as_ref().try_into();
                id.map(Self::Session).map_err(|_| RevocationError::Session)
            }
            Whose::ProviderSession(session) => {
                let provider = session.provider.parse().map_err(RevocationError::User)?;
                let name = session.name_sha256.as_ref().try_into();
                let name = name.map_err(|_| RevocationError::Session)?;
                Ok(Self::AtProvider(provider, name, wire.before_ms))
            }
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    /// When sessions of a user must have begun to go on, in milliseconds since 1970.
    users: HashMap<UserId, i64>,
    sessions: HashSet<SessionId>,
    /// The same as of users, of what providers know by a digest.
    at_providers: HashMap<(IdentityProviderId, Digest), i64>,
}

impl Revocations {
    pub(crate) fn add(&mut self, revoked: &Revoked) {
        match revoked {
            Revoked::User(user, before) => {
                let known = self.users.entry(user.clone()).or_insert(*before);
                *known = (*known).max(*before);
            }
            Revoked::Session(session) => {
                self.sessions.insert(*session);
            }
            Revoked::AtProvider(provider, name, before) => {
                let key = (provider.clone(), *name);
                let known = self.at_providers.entry(key).or_insert(*before);
                *known = (*known).max(*before);
            }
        }
    }

    /// Whether what began then by a provider's word, and has a name there with this digest, is over.
    pub(crate) fn hold_at(&self, provider: &IdentityProviderId, name: &Digest, began: i64) -> bool {
        // Of most fabrics there is none, and the key would be made for each request.
        !self.at_providers.is_empty()
            && self
                .at_providers
                .get(&(provider.clone(), *name))
                .is_some_and(|before| began < *before)
    }

    /// Whether the session of `user` that began then is over.
    pub(crate) fn hold(&self, session: &SessionId, user: &UserId, began_ms: i64) -> bool {
        let before = self.users.get(user);
        before.is_some_and(|before| began_ms < *before) || self.sessions.contains(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_before_is_over_and_so_is_what_is_named() {
        let (alice, bob): (UserId, UserId) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let mut revocations = Revocations::default();
        for (whose, before_ms) in [
            (Whose::User("alice".to_owned()), 100),
            (Whose::User("alice".to_owned()), 50),
            (Whose::Session(vec![7; SESSION_ID_BYTES].into()), 0),
        ] {
            let wire = fabric::Revocation {
                whose: Some(whose),
                before_ms,
            };
            revocations.add(&Revoked::try_from(&wire).unwrap());
        }
        let (one, seven) = ([1; SESSION_ID_BYTES], [7; SESSION_ID_BYTES]);
        assert!(revocations.hold(&one, &alice, 99));
        assert!(!revocations.hold(&one, &alice, 100));
        assert!(!revocations.hold(&one, &bob, 1));
        assert!(revocations.hold(&seven, &bob, 1_000));
    }

    #[test]
    fn what_a_provider_ends_is_what_it_began() {
        let (entra, other) = ("entra".parse().unwrap(), "other".parse().unwrap());
        let mut revocations = Revocations::default();
        assert!(!revocations.hold_at(&entra, &[7; 32], 0));
        let wire = fabric::Revocation {
            whose: Some(Whose::ProviderSession(fabric::ProviderSession {
                provider: "entra".to_owned(),
                name_sha256: vec![7; 32].into(),
            })),
            before_ms: 100,
        };
        revocations.add(&Revoked::try_from(&wire).unwrap());
        for (provider, name, began, want) in [
            (&entra, [7; 32], 99, true),
            (&entra, [7; 32], 100, false),
            (&entra, [8; 32], 99, false),
            (&other, [7; 32], 99, false),
        ] {
            let holds = revocations.hold_at(provider, &name, began);
            assert_eq!(holds, want, "{provider} {name:?} {began}");
        }
    }

    #[test]
    fn what_is_about_nobody_is_refused() {
        for whose in [
            None,
            Some(Whose::User("Alice!".to_owned())),
            Some(Whose::Session(vec![7; 15].into())),
        ] {
            let wire = fabric::Revocation {
                whose,
                before_ms: 1,
            };
            assert!(Revoked::try_from(&wire).is_err(), "{wire:?}");
        }
    }
}
