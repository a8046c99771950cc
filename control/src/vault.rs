//! Credentials of apps, sealed to keys of groups of agents. Control sees public halves of keys and what is sealed, and can open nothing.

use std::sync::Arc;

use model::{
    identity_provider::LOCAL,
    name::{AppId, IdentityProviderId, UserId, VaultKeyId},
    vault::{APP_CREDENTIALS_MAX, CredentialName, Holder, SEALED_BYTES_MAX, SEALED_BYTES_MIN},
};
use prost::Message as _;
use proto::{
    admin::{self, single_sign_on::Kind},
    fabric,
};

use crate::store::{self, Check, Entry, Op, Store, StoreError};

/// Why a credential is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotKept {
    /// There is no such app.
    #[error("names an app that does not exist")]
    App,
    /// There is no such identity provider.
    #[error("names an identity provider that does not exist")]
    Provider,
    /// The key is not the one that the app's group seals with.
    #[error("must be the newest key of the app's group")]
    Key,
    /// It has another length than anything sealed.
    #[error("must have {SEALED_BYTES_MIN} to {SEALED_BYTES_MAX} bytes")]
    Length,
    /// [`APP_CREDENTIALS_MAX`] is reached.
    #[error("the app has {APP_CREDENTIALS_MAX} credentials, which is the most")]
    Full,
}

/// What a transaction needs so that a credential is kept in place of what was there.
pub(crate) struct Keeping {
    pub(crate) checks: Vec<Check>,
    pub(crate) before: Option<Entry>,
    /// `groups/{id}` of the app.
    pub(crate) group: String,
    /// Whether users of the app have credentials of their own.
    pub(crate) is_users_own: bool,
}

/// Looks whether a credential sealed to `key` may be kept.
///
/// # Errors
/// Those of the store.
pub(crate) async fn keeping(
    store: &dyn Store,
    (name, key, sealed): (&CredentialName, &VaultKeyId, &[u8]),
) -> Result<Result<Keeping, NotKept>, StoreError> {
    if !(SEALED_BYTES_MIN..=SEALED_BYTES_MAX).contains(&sealed.len()) {
        return Ok(Err(NotKept::Length));
    }
    let Some((app_entry, app)) = app(store, &name.app).await? else {
        return Ok(Err(NotKept::App));
    };
    let (group, is_users_own) = (app.group.clone(), is_users_own(&app));
    // Whoever comes by a provider of this name later is somebody else.
    let provider = match &name.holder {
        Holder::User { provider, .. } => provider.as_ref().map(IdentityProviderId::resource_name),
        Holder::Shared => None,
    };
    if let Some(provider) = &provider
        && store.get(provider).await?.is_none()
    {
        return Ok(Err(NotKept::Provider));
    }
    let keys = keys_of(store, &group).await?;
    let newest = keys.first().filter(|(_, newest)| is_named(newest, key));
    let Some((key_entry, _)) = newest else {
        return Ok(Err(NotKept::Key));
    };
    let text = name.to_string();
    let before = store.get(&text).await?;
    if before.is_none() {
        let prefix = CredentialName::prefix(&name.app);
        let held = store.range(&prefix, None, APP_CREDENTIALS_MAX).await?;
        if held.entries.len() == APP_CREDENTIALS_MAX {
            return Ok(Err(NotKept::Full));
        }
    }
    let mut checks = vec![
        Check::unchanged(&app_entry),
        Check::unchanged(key_entry),
        Check::as_read(&text, before.as_ref()),
    ];
    checks.extend(provider.map(|provider| Check::Present(Arc::from(provider))));
    Ok(Ok(Keeping {
        checks,
        before,
        group,
        is_users_own,
    }))
}

async fn app(store: &dyn Store, id: &AppId) -> Result<Option<(Entry, admin::App)>, StoreError> {
    let entry = store.get(&id.resource_name()).await?;
    Ok(entry.and_then(|entry| {
        let app = admin::App::decode(entry.value.clone()).ok()?;
        Some((entry, app))
    }))
}

fn is_users_own(app: &admin::App) -> bool {
    let sso = app
        .single_sign_on
        .as_ref()
        .and_then(|sso| sso.kind.as_ref());
    match sso {
        Some(Kind::Form(form)) => !form.shared_credential,
        Some(Kind::Basic(basic)) => !basic.shared_credential,
        Some(Kind::Kerberos(_)) | None => false,
    }
}

/// A credential that the agents of its app can open.
///
/// # Errors
/// Those of the store.
pub(crate) async fn find(
    store: &dyn Store,
    name: &CredentialName,
) -> Result<Option<(Entry, admin::Credential)>, StoreError> {
    let Some(entry) = store.get(&name.to_string()).await? else {
        return Ok(None);
    };
    let Some((_, app)) = app(store, &name.app).await? else {
        return Ok(None);
    };
    let stored = admin::Credential::decode(entry.value.clone()).ok();
    Ok(stored
        .filter(|stored| stored.group == app.group)
        .map(|stored| (entry, stored)))
}

/// The keys of a group, newest first.
///
/// # Errors
/// Those of the store.
pub(crate) async fn keys_of(
    store: &dyn Store,
    group: &str,
) -> Result<Vec<(Entry, admin::VaultKey)>, StoreError> {
    let all = store.snapshot(&[VaultKeyId::COLLECTION]).await?.entries;
    let mut keys: Vec<_> = all
        .into_iter()
        .filter_map(|entry| {
            let key = admin::VaultKey::decode(entry.value.clone()).ok()?;
            (key.group == group).then_some((entry, key))
        })
        .collect();
    keys.sort_by_key(|(_, key)| std::cmp::Reverse(age(key)));
    Ok(keys)
}

/// Later is greater; of two of one moment one comes first everywhere.
fn age(key: &admin::VaultKey) -> (i64, String) {
    (created_ns(key), key.name.clone())
}

fn created_ns(key: &admin::VaultKey) -> i64 {
    let time = key.create_time.unwrap_or_default();
    let whole = time.seconds.saturating_mul(1_000_000_000);
    whole.saturating_add(time.nanos.into())
}

fn is_named(key: &admin::VaultKey, id: &VaultKeyId) -> bool {
    key.name.strip_prefix(VaultKeyId::COLLECTION) == Some(id.as_str())
}

/// What edges are told of a key.
pub(crate) fn key_told(value: bytes::Bytes) -> Option<fabric::VaultKey> {
    let key = admin::VaultKey::decode(value).ok()?;
    Some(fabric::VaultKey {
        id: key.name.strip_prefix(VaultKeyId::COLLECTION)?.to_owned(),
        group: key.group.strip_prefix("groups/")?.to_owned(),
        create_ns: created_ns(&key),
        public_key: key.public_key,
    })
}

/// What the agents of `group` are told of a credential; nothing of another group's.
pub(crate) fn credential_told(group: &str, value: bytes::Bytes) -> Option<fabric::Credential> {
    let stored = admin::Credential::decode(value).ok()?;
    if stored.group != group {
        return None;
    }
    Some(fabric::Credential {
        name: stored.name,
        vault_key: stored
            .vault_key
            .strip_prefix(VaultKeyId::COLLECTION)?
            .to_owned(),
        sealed: stored.sealed,
    })
}

/// What credentials go with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gone<'a> {
    /// An app was deleted, or moved to another group.
    App(&'a AppId),
    /// An account of the fabric's own was deleted.
    User(&'a UserId),
    /// An identity provider was deleted: its users are nobody now.
    Provider(&'a IdentityProviderId),
    /// A key was deleted.
    Key(&'a VaultKeyId),
}

/// Removes the credentials of what is gone, so that nothing that takes its name has them. That is done when it goes, and again before its
/// name is taken: a control that ends in between has left them behind.
///
/// # Errors
/// Those of the store; what was removed until then stays removed.
pub(crate) async fn forget(store: &dyn Store, gone: Gone<'_>) -> Result<(), StoreError> {
    let whole = || CredentialName::COLLECTION.to_owned();
    let prefix = match gone {
        Gone::App(app) => CredentialName::prefix(app),
        Gone::User(_) | Gone::Provider(_) | Gone::Key(_) => whole(),
    };
    store::sweep(store, &prefix, |entry| is_of(entry, gone)).await
}

fn is_of(entry: &Entry, gone: Gone<'_>) -> bool {
    let mut parts = entry.key.split('/').skip(2);
    match gone {
        Gone::App(_) => true,
        Gone::User(user) => parts.next() == Some(LOCAL) && parts.next() == Some(user.as_str()),
        Gone::Provider(provider) => {
            parts.next() == Some(provider.as_str()) && parts.next().is_some()
        }
        Gone::Key(key) => is_sealed_to(entry, key),
    }
}

/// Whether a stored credential is sealed to a key.
pub(crate) fn is_sealed_to(entry: &Entry, key: &VaultKeyId) -> bool {
    let stored = admin::Credential::decode(entry.value.clone()).ok();
    stored.is_some_and(|stored| {
        stored.vault_key.strip_prefix(VaultKeyId::COLLECTION) == Some(key.as_str())
    })
}

/// Writes a credential.
pub(crate) fn put(credential: &admin::Credential) -> Op {
    let key = Arc::from(credential.name.as_str());
    Op::Put(key, credential.encode_to_vec().into())
}
