//! One provider: what it says of itself, its keys, and whether a token is its own.

use std::{sync::Arc, time::Duration};

use model::identity_provider::IdentityProvider;
use runtime::{Clock, Scope};

use crate::{
    description::{self, Description, DescriptionError},
    fetch::{Answer, FetchError, Fetcher, Trust},
    kept::{self, Kept, Missing},
    keys::{Keys, KeysError},
    token::{self, Claims, Expected, TokenError, Unproven},
};

#[cfg(test)]
pub(crate) mod tests;

/// A provider, as long as its publication is the same.
#[derive(Debug)]
pub struct Issuer {
    published: Arc<IdentityProvider>,
    fetcher: Arc<Fetcher>,
    description: Kept<Description>,
    keys: Kept<Keys>,
    clock: Clock,
}

/// Why a provider could not be asked, or a token of it is not taken.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// It did not answer a moment ago, and is not asked again yet.
    #[error("the provider did not answer a moment ago")]
    Pause,
    /// What it says of itself is not known.
    #[error("asking the provider where it answers")]
    Description(#[source] DescriptionError),
    /// Its keys are not known.
    #[error("fetching the provider's keys")]
    Keys(#[source] KeysFetchError),
    /// The token does not hold.
    #[error("checking the provider's token")]
    Token(#[source] TokenError),
}

/// Why a provider's keys are not known.
#[derive(Debug, thiserror::Error)]
pub enum KeysFetchError {
    /// They were not got.
    #[error("fetching them")]
    Fetch(#[source] FetchError),
    /// They cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

impl From<KeysError> for KeysFetchError {
    fn from(error: KeysError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl Issuer {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// The provider's own certificates cannot be used.
    pub fn new(
        published: Arc<IdentityProvider>,
        trust: &Trust,
        (clock, scope): (&Clock, &Scope),
    ) -> Result<Self, FetchError> {
        let fetcher = Fetcher::new(&published.ca_pem, published.private_network, trust)?;
        Ok(Self {
            published,
            fetcher: Arc::new(fetcher),
            description: Kept::new(clock.clone(), scope),
            keys: Kept::new(clock.clone(), scope),
            clock: clock.clone(),
        })
    }

    /// The way to it.
    pub fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It does not answer, and never has within a day; or it says what cannot be.
    pub async fn description(&self) -> Result<Arc<Description>, IssuerError> {
        let (published, fetcher) = (Arc::clone(&self.published), Arc::clone(&self.fetcher));
        let fetch = || async move { description::fetch(&published, &fetcher).await };
        let got = self.description.get(fetch).await;
        got.map_err(|missing| match missing {
            Missing::Pause => IssuerError::Pause,
            Missing::Failed(error) => IssuerError::Description(error),
        })
    }

    /// What a token says, if it is this provider's, is what is expected, and holds now.
    ///
    /// Keys are those of the provider, never the token's own (`jwk`, `jku`, `x5c`). A key that is not known yet makes the provider be
    /// asked for its keys, though not again within half a minute.
    ///
    /// # Errors
    /// Every [`IssuerError`].
    pub async fn verify(
        &self,
        token: &str,
        expected: &Expected<'_>,
    ) -> Result<Claims, IssuerError> {
        let algorithms = &self.published.algorithms;
        let unproven = Unproven::read(token, algorithms, expected).map_err(IssuerError::Token)?;
        let claims = self.prove(&unproven).await?;
        let issuer = self.published.issuer.as_str();
        token::check(&claims, issuer, expected, self.clock.wall()).map_err(IssuerError::Token)?;
        Ok(claims)
    }

    /// Its keys as it publishes them now; asked for again, though not within half a minute.
    ///
    /// # Errors
    /// It does not answer, whatever it said before.
    pub async fn current_keys(&self) -> Result<Arc<Keys>, IssuerError> {
        let description = self.description().await?;
        let fetch = || {
            let (fetcher, description) = (Arc::clone(&self.fetcher), Arc::clone(&description));
            async move { fetch_keys(&fetcher, &description).await }
        };
        self.keys.newest(fetch).await.map_err(missing_keys)
    }

    async fn prove(&self, unproven: &Unproven<'_>) -> Result<Claims, IssuerError> {
        let description = self.description().await?;
        let fetch = || {
            let (fetcher, description) = (Arc::clone(&self.fetcher), Arc::clone(&description));
            async move { fetch_keys(&fetcher, &description).await }
        };
        let (name, algorithm) = (unproven.key_name(), unproven.algorithm());
        let mut keys = self.keys.get(fetch).await.map_err(missing_keys)?;
        if keys.find(name, algorithm).next().is_none() {
            keys = self.keys.renewed(fetch).await.map_err(missing_keys)?;
        }
        let proven = unproven.prove(keys.find(name, algorithm));
        proven.map_err(IssuerError::Token)
    }
}

async fn fetch_keys(
    fetcher: &Fetcher,
    description: &Description,
) -> Result<(Keys, Duration), KeysFetchError> {
    let answer = fetcher.document(&description.keys).await;
    let answer = answer.and_then(Answer::granted);
    let answer = answer.map_err(KeysFetchError::Fetch)?;
    let keys = Keys::read(&answer.body)?;
    Ok((keys, kept::fresh_for(&answer.fields)))
}

fn missing_keys(missing: Missing<KeysFetchError>) -> IssuerError {
    match missing {
        Missing::Pause => IssuerError::Pause,
        Missing::Failed(error) => IssuerError::Keys(error),
    }
}
