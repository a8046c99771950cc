//! What identity providers say of users themselves, and whether that holds: ID tokens (OpenID Connect Core, section 2), for apps that ask
//! for more than the word of an edge.
//!
//! Whoever has an edge can state any user. Of an app that asks for ID tokens a user is signed on only by a token that the provider has
//! signed, and under the name that stands in it. The provider's keys come from control, which fetches them, and never by an edge: whoever
//! says by which keys a token is checked says who the user is. Agents ask no provider, and may sit where none can be reached.
//!
//! A token is checked as one that was taken when it was new: its edge looked at its end (`exp`), which comes after minutes at some
//! providers, when the session began. Here it holds for as long as a session may go on.

use std::{collections::HashMap, time::SystemTime};

use issuer::{Expected, Keys, TokenError, Unproven};
use model::{
    app::{KerberosSso, SSO_NAME_BYTES_MAX},
    identity_provider::SigningAlgorithm,
    name::IdentityProviderId,
    user::SESSION_LIFE,
};
use proto::fabric;

/// Longest ID token that is looked at; edges keep none of more than 2,900 bytes.
const ID_TOKEN_BYTES_MAX: usize = 4_096;
/// Providers whose keys an agent knows: as many as a fabric has.
const PROVIDERS_MAX: usize = model::identity_provider::IDENTITY_PROVIDERS_MAX;

/// Why a user is not signed on by an ID token.
#[derive(Debug, thiserror::Error)]
pub enum IdTokenError {
    /// There is none.
    #[error("the edge shows no id token of the user")]
    Missing,
    /// It is longer than edges keep.
    #[error("the id token is longer than {ID_TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// It is no text.
    #[error("the id token is no text")]
    Unreadable,
    /// Control has told of no keys of the provider: it could not fetch them, or does not know of the provider.
    #[error("control has told of no keys of the provider {0}: it must be able to reach it")]
    NoKeys(IdentityProviderId),
    /// The app is published so that nothing can be read in a token.
    #[error("the app does not say whose id token it asks for, or by which claim")]
    Unclear,
    /// It does not hold.
    #[error("checking the user's id token")]
    Token(#[source] TokenError),
    /// It does not say the user's name at the app, or says several.
    #[error("the id token has no one name of the user under {0:?}")]
    Nameless(String),
    /// It is of somebody else than the edge states.
    #[error("the id token is of another user than the edge states")]
    OtherUser,
}

/// The keys of providers, as control told of them.
#[derive(Debug, Default)]
pub struct ProviderKeys(HashMap<IdentityProviderId, Provider>);

#[derive(Debug)]
struct Provider {
    issuer: String,
    client_id: String,
    algorithms: Vec<SigningAlgorithm>,
    keys: Keys,
}

impl ProviderKeys {
    /// Adds those of one provider. What cannot be read is left out, so that nobody is signed on by it.
    pub(crate) fn add(&mut self, wire: &fabric::ProviderKeys) {
        let Ok(id) = wire.id.parse() else {
            return;
        };
        if self.0.len() >= PROVIDERS_MAX {
            tracing::error!(provider = %id, "more than {PROVIDERS_MAX} providers: the keys of one are left out");
            return;
        }
        let algorithms = wire.algorithms.iter();
        match Keys::read(&wire.keys) {
            Ok(keys) => drop(self.0.insert(
                id,
                Provider {
                    issuer: wire.issuer.clone(),
                    client_id: wire.client_id.clone(),
                    algorithms: algorithms.filter_map(|name| name.parse().ok()).collect(),
                    keys,
                },
            )),
            Err(error) => {
                tracing::error!(provider = %id, %error, "the keys of a provider are left out");
            }
        }
    }

    /// How many keys of a provider there are.
    pub(crate) fn count(&self, provider: &IdentityProviderId) -> usize {
        self.0
            .get(provider)
            .map_or(0, |provider| provider.keys.count())
    }

    /// The user's name at the app, as the provider's token has it.
    ///
    /// # Errors
    /// Every [`IdTokenError`]; `stated` is the name that the edge says, if it says one.
    pub(crate) fn name(
        &self,
        sso: &KerberosSso,
        token: &[u8],
        stated: Option<&str>,
        now: SystemTime,
    ) -> Result<String, IdTokenError> {
        let Some((Some(id), Some(claim))) = sso.id_token() else {
            return Err(IdTokenError::Unclear);
        };
        if token.is_empty() {
            return Err(IdTokenError::Missing);
        }
        if token.len() > ID_TOKEN_BYTES_MAX {
            return Err(IdTokenError::TooLong);
        }
        let token = std::str::from_utf8(token).map_err(|_| IdTokenError::Unreadable)?;
        let provider = self.0.get(id);
        let provider = provider.ok_or_else(|| IdTokenError::NoKeys(id.clone()))?;
        let claims = provider.prove(token, now).map_err(IdTokenError::Token)?;
        let name = claims.one(claim);
        let name = name.filter(|name| (1..=SSO_NAME_BYTES_MAX).contains(&name.len()));
        let name = name.ok_or_else(|| IdTokenError::Nameless(claim.to_owned()))?;
        if stated.is_some_and(|stated| stated != name) {
            return Err(IdTokenError::OtherUser);
        }
        Ok(name)
    }
}

impl Provider {
    /// Keys and ways to sign that the token brings itself are not looked at.
    fn prove(&self, token: &str, now: SystemTime) -> Result<issuer::Claims, TokenError> {
        let expected = Expected {
            audiences: &[&self.client_id],
            types: &["JWT"],
            may_be_untyped: true,
        };
        let unproven = Unproven::read(token, &self.algorithms, &expected)?;
        let keys = self.keys.find(unproven.key_name(), unproven.algorithm());
        let claims = unproven.prove(keys)?;
        let held_for = (self.client_id.as_str(), SESSION_LIFE);
        issuer::check_made(&claims, &self.issuer, held_for, now)?;
        Ok(claims)
    }
}

impl IdTokenError {
    /// Whether news of control's may mend it: the provider has new keys, or the app is new.
    pub(crate) fn may_be_news(&self) -> bool {
        matches!(self, Self::NoKeys(_) | Self::Token(TokenError::Key(_)))
    }
}

#[cfg(test)]
mod tests;
