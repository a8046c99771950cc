//! Who speaks for the users of a domain: one identity provider, or the fabric itself by its accounts, never two.
//!
//! A transaction can check single keys, not what a collection holds. So whoever makes a provider, or an account whose id has a domain, also
//! writes one mark, reads what is there after having read the mark, and writes under the check that the mark is as it was: of two who
//! want one domain at once, one fails and looks again.

use std::sync::Arc;

use bytes::Bytes;
use model::{
    identity_provider::{IDENTITY_PROVIDERS_MAX, IdentityProvider, domain_of},
    name::{IdentityProviderId, UserId},
};
use proto::{control::IdentityProviderRecord, identity_provider};

use super::{record, refusal::Refusal};
use crate::store::{Check, Entry, Op, Store};

/// Key of the mark.
const MARK: &str = "userDomains";
/// Accounts that are read at a time.
const ACCOUNTS_PAGE: usize = 1_000;

/// That nobody has taken a domain since it was looked, and the write that tells others.
pub(super) struct Untaken {
    pub(super) check: Check,
    pub(super) op: Op,
}

impl Untaken {
    /// To be called before what is there is read.
    async fn now(store: &dyn Store) -> Result<Self, Refusal> {
        Ok(Self {
            check: Check::as_read(MARK, store.get(MARK).await?.as_ref()),
            op: Op::Put(Arc::from(MARK), Bytes::new()),
        })
    }
}

/// The provider that speaks for a user.
pub(super) async fn owner(
    store: &dyn Store,
    user: &UserId,
) -> Result<Option<IdentityProviderId>, Refusal> {
    let providers = providers(store).await?;
    let owner = providers.into_iter().find(|provider| provider.owns(user));
    Ok(owner.map(|provider| provider.id))
}

/// What a transaction that makes the account `user` must hold; nothing if its id has no domain.
///
/// # Errors
/// A provider speaks for the domain.
pub(super) async fn untaken_account(
    store: &dyn Store,
    user: &UserId,
) -> Result<Option<Untaken>, Refusal> {
    let Some(domain) = domain_of(user) else {
        return Ok(None);
    };
    let untaken = Untaken::now(store).await?;
    match owner(store, user).await? {
        None => Ok(Some(untaken)),
        Some(provider) => Err(Refusal::Precondition {
            what: format!(
                "{} says who the users of {domain} are: choose an id without @{domain}",
                provider.resource_name()
            ),
            resource: provider.resource_name(),
        }),
    }
}

/// What a transaction that writes `provider` must hold.
///
/// # Errors
/// Another provider, or an account, has one of its domains; or there are as many providers as there may be.
pub(super) async fn untaken_provider(
    store: &dyn Store,
    provider: &IdentityProvider,
) -> Result<Untaken, Refusal> {
    let untaken = Untaken::now(store).await?;
    let others = providers(store).await?;
    let others: Vec<_> = others
        .iter()
        .filter(|other| other.id != provider.id)
        .collect();
    if others.len() >= IDENTITY_PROVIDERS_MAX {
        return Err(Refusal::Precondition {
            resource: provider.id.resource_name(),
            what: format!("there are {IDENTITY_PROVIDERS_MAX} identity providers already"),
        });
    }
    for other in others {
        let mut own = provider.user_domains.iter();
        if let Some(domain) = own.find(|domain| other.user_domains.contains(domain)) {
            return Err(Refusal::Precondition {
                resource: other.id.resource_name(),
                what: format!("{domain} is a user domain of {}", other.id.resource_name()),
            });
        }
    }
    if let Some(account) = owned_account(store, provider).await? {
        return Err(Refusal::Precondition {
            what: format!(
                "{} has an account of the fabric's own with that domain",
                account.resource_name()
            ),
            resource: account.resource_name(),
        });
    }
    Ok(untaken)
}

/// An account for whose domain the provider would speak.
async fn owned_account(
    store: &dyn Store,
    provider: &IdentityProvider,
) -> Result<Option<UserId>, Refusal> {
    let mut after: Option<Arc<str>> = None;
    loop {
        let page = store
            .range(UserId::COLLECTION, after.as_deref(), ACCOUNTS_PAGE)
            .await?;
        for entry in &page.entries {
            let id = UserId::from_resource_name(&entry.key).and_then(Result::ok);
            if let Some(id) = id.filter(|id| provider.owns(id)) {
                return Ok(Some(id));
            }
        }
        match page.entries.last() {
            Some(last) if page.more => after = Some(Arc::clone(&last.key)),
            Some(_) | None => return Ok(None),
        }
    }
}

async fn providers(store: &dyn Store) -> Result<Vec<IdentityProvider>, Refusal> {
    let all = store.snapshot(&[IdentityProviderId::COLLECTION]).await?;
    all.entries.iter().map(read).collect()
}

fn read(entry: &Entry) -> Result<IdentityProvider, Refusal> {
    let stored: IdentityProviderRecord = record::decode(entry)?;
    let provider = record::inner(entry, stored.identity_provider)?;
    let id = entry.key.strip_prefix(IdentityProviderId::COLLECTION);
    let read = identity_provider::read(id.unwrap_or_default(), &provider);
    read.map_err(|_| Refusal::Corrupt(entry.key.to_string()))
}
