//! Keys of identity providers whose ID tokens agents ask for: fetched here, and told to agents.
//!
//! An edge knows a provider's keys as well, and agents may not have them from there: whoever says by which keys a token is checked says who
//! the user is, and it is edges in wrong hands that these tokens are for. Agents do not fetch them either, as many sit where no provider
//! can be reached. Control is believed already in who the provider is and where it answers, so that nobody is believed further.
//!
//! Only what an app asks for is fetched. What a provider said last stays in force while it does not answer.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use issuer::{FetchError, Issuer, IssuerError, Trust};
use model::{
    identity_provider::{IDENTITY_PROVIDERS_MAX, IdentityProvider, SigningAlgorithm},
    name::{AppId, IdentityProviderId},
};
use prost::Message as _;
use proto::{
    admin::{self, single_sign_on::Kind},
    control::IdentityProviderRecord,
    fabric::ProviderKeys,
    identity_provider,
};
use runtime::{Clock, Scope, doctor::causes};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    store::{Batch, Check, Entry, Op, Revision, Store, StoreError, TxnError, WatchError},
    telemetry,
};

/// Prefix of the keys of the store under which they are, each as agents are told.
pub(crate) const PROVIDER_KEYS: &str = "providerKeys/";
/// Between two questions to a provider, a little longer than an [`Issuer`] rests: a key that it begins to sign by without having published it
/// before is not known for so long.
const LOOK: Duration = Duration::from_secs(32);
/// Wait after a failure of the store.
const RETRY: Duration = Duration::from_secs(5);

/// Why a provider's keys are not known.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    /// It cannot be connected to as it is published.
    #[error("using the provider's publication")]
    Published(#[source] FetchError),
    /// It does not answer, or not as it should.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// They cannot be written.
    #[error("writing its keys")]
    Write(#[from] serde_json::Error),
}

/// Why they are not up to date.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The watch fell behind, or another control was faster.
    #[error("reading all again")]
    Behind,
}

impl From<TxnError> for KeepError {
    fn from(error: TxnError) -> Self {
        match error {
            TxnError::Conflict(_) => Self::Behind,
            TxnError::Store(error) => Self::Store(error),
        }
    }
}

/// Keeps them.
struct Keeper {
    store: Arc<dyn Store>,
    clock: Clock,
    scope: Scope,
    trust: Trust,
    issuers: HashMap<IdentityProviderId, (Arc<IdentityProvider>, Arc<Issuer>)>,
    /// Of each app that asks for ID tokens, by its key: whose.
    wanted: HashMap<Arc<str>, IdentityProviderId>,
    revision: Revision,
}

/// Fetches and keeps them for as long as control runs.
pub(crate) fn start(store: &Arc<dyn Store>, clock: &Clock, scope: &Scope) {
    let own = scope.child("provider keys");
    let keeper = Keeper {
        store: Arc::clone(store),
        clock: clock.clone(),
        scope: own.clone(),
        trust: Trust::default(),
        issuers: HashMap::new(),
        wanted: HashMap::new(),
        revision: Revision(0),
    };
    scope.spawn_standing("provider keys", async move {
        tokio::select! {
            () = own.cancelled() => {}
            () = keeper.run() => {}
        }
    });
}

impl Keeper {
    async fn run(mut self) {
        loop {
            let Err(error) = self.follow().await;
            match error {
                KeepError::Store(StoreError::Closed) => return,
                KeepError::Behind => tracing::debug!(%error, "keys of identity providers"),
                KeepError::Store(_) => {
                    tracing::error!(%error, "keys of identity providers are not up to date");
                }
            }
            sleep(RETRY).await;
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, KeepError> {
        self.reload().await?;
        let store = Arc::clone(&self.store);
        let mut watch = store.watch(self.revision);
        loop {
            let next = Instant::now() + LOOK;
            self.update().await?;
            loop {
                let batch = tokio::select! {
                    () = sleep_until(next), if !self.wanted.is_empty() => break,
                    batch = watch.next() => batch,
                };
                let batch = batch.map_err(|error| match error {
                    WatchError::Compacted(_) => KeepError::Behind,
                    WatchError::Store(error) => error.into(),
                })?;
                if self.absorb(&batch) {
                    break;
                }
            }
        }
    }

    async fn reload(&mut self) -> Result<(), KeepError> {
        let apps = self.store.snapshot(&[AppId::COLLECTION]).await?;
        self.revision = apps.revision;
        let asked = apps.entries.into_iter();
        self.wanted = asked
            .filter_map(|entry| Some((entry.key, asked_of(&entry.value)?)))
            .collect();
        Ok(())
    }

    /// Whether there is something to be done now.
    fn absorb(&mut self, batch: &Batch) -> bool {
        self.revision = batch.revision;
        let mut has_news = false;
        for event in &*batch.events {
            if event.key.starts_with(IdentityProviderId::COLLECTION) {
                has_news |= !self.wanted.is_empty();
            } else if event.key.starts_with(AppId::COLLECTION) {
                let asked = event.after.as_ref().and_then(asked_of);
                let before = match asked.clone() {
                    Some(provider) => self.wanted.insert(Arc::clone(&event.key), provider),
                    None => self.wanted.remove(&event.key),
                };
                has_news |= before != asked;
            }
        }
        has_news
    }

    async fn update(&mut self) -> Result<(), KeepError> {
        let wanted: BTreeSet<_> = self.wanted.values().cloned().collect();
        self.issuers.retain(|id, _| wanted.contains(id));
        let kept = self
            .store
            .range(PROVIDER_KEYS, None, 2 * IDENTITY_PROVIDERS_MAX);
        let mut kept: HashMap<_, _> = kept
            .await?
            .entries
            .into_iter()
            .map(|entry| (Arc::clone(&entry.key), entry))
            .collect();
        let mut asked = Vec::new();
        for id in wanted.iter().take(IDENTITY_PROVIDERS_MAX) {
            let published = self.published(id).await?;
            let issuer = published.as_ref().map(|published| self.issuer(published));
            asked.push((id, published, issuer));
        }
        // All at once: one that is silent holds nobody else up by more than its time-out.
        let asked = asked.into_iter().map(async |(id, published, issuer)| {
            let said = match issuer {
                Some(issuer) => Some(current_keys(issuer).await),
                None => None,
            };
            (id, published.zip(said))
        });
        for (id, said) in join_all(asked).await {
            let key: Arc<str> = format!("{PROVIDER_KEYS}{id}").into();
            self.renew(id, (&key, kept.remove(&key)), said).await?;
        }
        for (key, entry) in kept {
            self.write(&key, Some(&entry), None).await?;
        }
        Ok(())
    }

    /// What agents shall be told of one provider: what it says now, or else what it said before under the same publication.
    async fn renew(
        &self,
        id: &IdentityProviderId,
        (key, entry): (&Arc<str>, Option<Entry>),
        said: Option<(Arc<IdentityProvider>, Result<Bytes, KeysError>)>,
    ) -> Result<(), KeepError> {
        let held = entry.as_ref();
        let held = held.and_then(|entry| ProviderKeys::decode(entry.value.clone()).ok());
        let told = match said {
            Some((published, Ok(keys))) => {
                telemetry::provider_key_fetches("fetched").increment(1);
                Some(told(&published, keys))
            }
            Some((published, Err(error))) => {
                telemetry::provider_key_fetches("failed").increment(1);
                let cause = causes(&error);
                tracing::warn!(provider = %id, cause, "the keys of an identity provider cannot be fetched, by which agents check its ID tokens");
                held.clone()
                    .filter(|held| *held == told(&published, held.keys.clone()))
            }
            None => None,
        };
        if told == held {
            return Ok(());
        }
        self.write(key, entry.as_ref(), told.as_ref()).await
    }

    async fn write(
        &self,
        key: &Arc<str>,
        before: Option<&Entry>,
        told: Option<&ProviderKeys>,
    ) -> Result<(), KeepError> {
        let check = match before {
            Some(entry) => Check::Unchanged(Arc::clone(key), entry.modified),
            None => Check::Absent(Arc::clone(key)),
        };
        let op = match told {
            Some(told) => Op::Put(Arc::clone(key), told.encode_to_vec().into()),
            None => Op::Delete(Arc::clone(key)),
        };
        self.store.txn(vec![check], vec![op]).await?;
        tracing::info!(keys = %key, is_known = told.is_some(), "keys of an identity provider have changed");
        Ok(())
    }

    /// As it is published, if users sign in by it.
    async fn published(
        &self,
        id: &IdentityProviderId,
    ) -> Result<Option<Arc<IdentityProvider>>, StoreError> {
        let entry = self.store.get(&id.resource_name()).await?;
        let record = entry.and_then(|entry| IdentityProviderRecord::decode(entry.value).ok());
        let wire = record.and_then(|record| record.identity_provider);
        let read = wire.and_then(|wire| identity_provider::read(id.as_str(), &wire).ok());
        Ok(read.filter(|read| !read.disabled).map(Arc::new))
    }

    /// Whoever is asked, as it is published now.
    fn issuer(&mut self, published: &Arc<IdentityProvider>) -> Result<Arc<Issuer>, KeysError> {
        if let Some((known, issuer)) = self.issuers.get(&published.id)
            && known == published
        {
            return Ok(Arc::clone(issuer));
        }
        let owner = (&self.clock, &self.scope);
        let issuer = Issuer::new(Arc::clone(published), &self.trust, owner);
        let issuer = Arc::new(issuer.map_err(KeysError::Published)?);
        let known = (Arc::clone(published), Arc::clone(&issuer));
        self.issuers.insert(published.id.clone(), known);
        Ok(issuer)
    }
}

async fn current_keys(issuer: Result<Arc<Issuer>, KeysError>) -> Result<Bytes, KeysError> {
    let keys = issuer?.current_keys().await?;
    Ok(keys.write()?.into())
}

/// Whose ID tokens an app asks for.
fn asked_of(app: &Bytes) -> Option<IdentityProviderId> {
    let app = admin::App::decode(app.clone()).ok()?;
    let Kind::Kerberos(kerberos) = app.single_sign_on?.kind? else {
        return None;
    };
    let named = IdentityProviderId::from_resource_name(&kerberos.identity_provider);
    named?.ok().filter(|_| kerberos.require_id_token)
}

fn told(published: &IdentityProvider, keys: Bytes) -> ProviderKeys {
    let algorithms = published.algorithms.iter().copied();
    ProviderKeys {
        id: published.id.to_string(),
        issuer: published.issuer.as_str().to_owned(),
        client_id: published.client_id.clone(),
        algorithms: algorithms
            .map(SigningAlgorithm::as_str)
            .map(str::to_owned)
            .collect(),
        keys,
    }
}

#[cfg(test)]
mod tests;
