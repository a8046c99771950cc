//! Keys of groups, and credentials of apps that are sealed to them. What is sealed comes in, and never out again.

use std::sync::Arc;

use bytes::Bytes;
use model::{
    name::{AppId, GroupId, VaultKeyId},
    vault::{CredentialName, GROUP_KEYS_MAX, Holder},
};
use proto::{
    admin::{
        CreateVaultKeyRequest, Credential, DeleteCredentialRequest, DeleteVaultKeyRequest,
        ListCredentialsRequest, ListCredentialsResponse, ListVaultKeysRequest,
        ListVaultKeysResponse, SetCredentialRequest, VaultKey, vault_server,
    },
    time::wire_timestamp,
    violation::Violation,
};
use runtime::vault::PublicKey;
use tonic::{Request, Response, Status};

use super::{
    AdminContext,
    change::Change,
    operator::Operator,
    page::{self, PageRequest, Shown},
    record,
    refusal::{Refusal, violation},
};
use crate::{
    store::{Check, Entry, Revision, Store},
    vault::{self, Gone, NotKept},
};

#[cfg(test)]
mod tests;

/// Credentials that are read at once when one that is sealed to a key is looked for.
const READ_MAX: usize = 1_000;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Vault {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl vault_server::Vault for Vault {
    async fn create_vault_key(
        &self,
        request: Request<CreateVaultKeyRequest>,
    ) -> Result<Response<VaultKey>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.into_inner();
        let wanted = request.vault_key.unwrap_or_default();
        let made = self.create_key(&wanted, &operator, request.validate_only);
        Ok(Response::new(made.await?))
    }

    async fn list_vault_keys(
        &self,
        request: Request<ListVaultKeysRequest>,
    ) -> Result<Response<ListVaultKeysResponse>, Status> {
        let request = request.get_ref();
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: VaultKeyId::COLLECTION,
            filter: &request.group,
        };
        let page = page::read(&*self.context.store, wanted, |entry| {
            let key = read_key(entry)?;
            let is_wanted = request.group.is_empty() || request.group == key.group;
            Ok(if is_wanted {
                Shown::Yes(key)
            } else {
                Shown::No
            })
        })
        .await?;
        Ok(Response::new(ListVaultKeysResponse {
            vault_keys: page.items,
            next_page_token: page.next_token,
        }))
    }

    async fn delete_vault_key(
        &self,
        request: Request<DeleteVaultKeyRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.delete_key(request, &operator);
        record::written(&request.name, attempt).await?;
        Ok(Response::new(()))
    }

    async fn set_credential(
        &self,
        request: Request<SetCredentialRequest>,
    ) -> Result<Response<Credential>, Status> {
        let operator = Operator::of(&request)?;
        let wanted = request.into_inner().credential.unwrap_or_default();
        let attempt = || self.set(&wanted, &operator);
        let credential = record::written(&wanted.name, attempt).await?;
        Ok(Response::new(credential))
    }

    async fn list_credentials(
        &self,
        request: Request<ListCredentialsRequest>,
    ) -> Result<Response<ListCredentialsResponse>, Status> {
        let request = request.get_ref();
        let prefix = match &*request.app {
            "" => CredentialName::COLLECTION.to_owned(),
            app => {
                let read = AppId::from_resource_name;
                let app = record::id("app", app, AppId::COLLECTION, read);
                CredentialName::prefix(&app.map_err(Refusal::from)?)
            }
        };
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: &prefix,
            filter: "",
        };
        let page = page::read(&*self.context.store, wanted, |entry| {
            let credential = output(record::decode(entry)?, entry.modified);
            Ok(Shown::Yes(credential))
        })
        .await?;
        Ok(Response::new(ListCredentialsResponse {
            credentials: page.items,
            next_page_token: page.next_token,
        }))
    }

    async fn delete_credential(
        &self,
        request: Request<DeleteCredentialRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.delete(request, &operator);
        record::written(&request.name, attempt).await?;
        Ok(Response::new(()))
    }
}

impl Vault {
    async fn create_key(
        &self,
        wanted: &VaultKey,
        operator: &Operator,
        validate_only: bool,
    ) -> Result<VaultKey, Refusal> {
        let store = &*self.context.store;
        let (group, key) = check_key(wanted)?;
        let (group, name) = (group.resource_name(), key.id().resource_name());
        record::existing(store, &group).await?;
        record::free(store, &name).await?;
        // Operators make one in months: that two do so in the same moment is no reason for a mark.
        if vault::keys_of(store, &group).await?.len() >= GROUP_KEYS_MAX {
            let what =
                format!("{group} has {GROUP_KEYS_MAX} keys, which is the most: delete old ones");
            let resource = group;
            return Err(Refusal::Precondition { resource, what });
        }
        let made = VaultKey {
            name: name.clone(),
            etag: String::new(),
            create_time: Some(wire_timestamp(self.context.clock.wall())),
            group: group.clone(),
            public_key: Bytes::copy_from_slice(key.point()),
        };
        if validate_only {
            return Ok(made);
        }
        let checks = vec![
            Check::Absent(Arc::from(name.as_str())),
            Check::Present(Arc::from(group.as_str())),
        ];
        let ops = vec![
            record::put(&name, &made),
            Change::of("CreateVaultKey", &name).row(operator, &self.context.clock),
        ];
        let revision = record::commit(store, checks, ops).await?;
        let revision = revision.ok_or(Refusal::Contended(name))?;
        Ok(key_output(made, revision))
    }

    async fn delete_key(
        &self,
        request: &DeleteVaultKeyRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let store = &*self.context.store;
        let id = key_id("name", &request.name)?;
        let name = id.resource_name();
        let entry = record::as_seen(store, &name, &request.etag).await?;
        if !request.force
            && let Some(credential) = sealed_to(store, &id).await?
        {
            let what = format!(
                "{credential} is sealed to {name}: without the key it, and all others that are, must be entered again"
            );
            let resource = credential;
            return Err(Refusal::Precondition { resource, what });
        }
        let ops = vec![
            record::delete(&name),
            Change::of("DeleteVaultKey", &name).row(operator, &self.context.clock),
        ];
        let deleted = record::commit(store, vec![Check::unchanged(&entry)], ops).await?;
        if deleted.is_some() {
            vault::forget(store, Gone::Key(&id)).await?;
        }
        Ok(deleted)
    }

    /// `None`: somebody else was faster, so look again.
    async fn set(
        &self,
        wanted: &Credential,
        operator: &Operator,
    ) -> Result<Option<Credential>, Refusal> {
        let store = &*self.context.store;
        let (name, key) = check(wanted)?;
        let keeping = vault::keeping(store, (&name, &key, &wanted.sealed)).await?;
        let mut keeping = keeping.map_err(|why| not_kept(why, &name))?;
        match &keeping.before {
            Some(entry) => record::check_etag(&wanted.etag, entry)?,
            None if wanted.etag.is_empty() => {}
            None => return Err(Refusal::EtagMismatch(wanted.name.clone())),
        }
        if let Holder::User {
            provider: None,
            user,
        } = &name.holder
        {
            // Whoever gets an account of this name later is somebody else.
            let account = record::existing(store, &user.resource_name()).await?;
            keeping.checks.push(Check::Present(account.key));
        }
        let after = Credential {
            name: name.to_string(),
            etag: String::new(),
            update_time: Some(wire_timestamp(self.context.clock.wall())),
            vault_key: key.resource_name(),
            sealed: wanted.sealed.clone(),
            group: keeping.group,
            by_user: false,
        };
        let ops = vec![
            vault::put(&after),
            Change::of("SetCredential", &after.name).row(operator, &self.context.clock),
        ];
        let revision = record::commit(store, keeping.checks, ops).await?;
        Ok(revision.map(|revision| output(after, revision)))
    }

    async fn delete(
        &self,
        request: &DeleteCredentialRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let store = &*self.context.store;
        let name = credential_name("name", &request.name)?;
        let name = name.to_string();
        let entry = record::as_seen(store, &name, &request.etag).await?;
        let ops = vec![
            record::delete(&name),
            Change::of("DeleteCredential", &name).row(operator, &self.context.clock),
        ];
        record::commit(store, vec![Check::unchanged(&entry)], ops).await
    }
}

/// The name of a credential that is sealed to a key, if there is any.
async fn sealed_to(store: &dyn Store, key: &VaultKeyId) -> Result<Option<String>, Refusal> {
    let mut after = None::<Arc<str>>;
    loop {
        let prefix = CredentialName::COLLECTION;
        let page = store.range(prefix, after.as_deref(), READ_MAX).await?;
        let mut entries = page.entries.iter();
        if let Some(found) = entries.find(|entry| vault::is_sealed_to(entry, key)) {
            return Ok(Some(found.key.to_string()));
        }
        if !page.more {
            return Ok(None);
        }
        after = page.entries.last().map(|entry| Arc::clone(&entry.key));
    }
}

fn check_key(wanted: &VaultKey) -> Result<(GroupId, PublicKey), Refusal> {
    let read = GroupId::from_resource_name;
    let group = record::id("vault_key.group", &wanted.group, GroupId::COLLECTION, read);
    let key = PublicKey::of_point(&wanted.public_key)
        .map_err(|fault| violation("vault_key.public_key", fault.to_string()));
    both(group, key)
}

fn check(wanted: &Credential) -> Result<(CredentialName, VaultKeyId), Refusal> {
    let name = credential_name("credential.name", &wanted.name);
    let key = key_id("credential.vault_key", &wanted.vault_key);
    both(name, key)
}

fn both<A, B>(one: Result<A, Violation>, other: Result<B, Violation>) -> Result<(A, B), Refusal> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (one, other) => {
            let found = one.err().into_iter().chain(other.err());
            Err(Refusal::Invalid(found.collect()))
        }
    }
}

fn not_kept(why: NotKept, name: &CredentialName) -> Refusal {
    let what = why.to_string();
    match why {
        NotKept::App => Refusal::NotFound(name.app.resource_name()),
        NotKept::Provider => match &name.holder {
            Holder::User {
                provider: Some(provider),
                ..
            } => Refusal::NotFound(provider.resource_name()),
            Holder::User { provider: None, .. } | Holder::Shared => {
                Refusal::field("credential.name", what)
            }
        },
        NotKept::Key => Refusal::field("credential.vault_key", what),
        NotKept::Length => Refusal::field("credential.sealed", what),
        NotKept::Full => Refusal::Precondition {
            resource: name.app.resource_name(),
            what,
        },
    }
}

fn credential_name(field: &str, name: &str) -> Result<CredentialName, Violation> {
    let read = name.parse::<CredentialName>();
    read.map_err(|fault| violation(field, fault.to_string()))
}

fn key_id(field: &str, name: &str) -> Result<VaultKeyId, Violation> {
    let read = VaultKeyId::from_resource_name;
    record::id(field, name, VaultKeyId::COLLECTION, read)
}

fn read_key(entry: &Entry) -> Result<VaultKey, Refusal> {
    Ok(key_output(record::decode(entry)?, entry.modified))
}

fn key_output(key: VaultKey, modified: Revision) -> VaultKey {
    VaultKey {
        etag: record::etag(modified),
        ..key
    }
}

/// Nobody who reads needs what is sealed.
fn output(credential: Credential, modified: Revision) -> Credential {
    Credential {
        etag: record::etag(modified),
        sealed: Bytes::new(),
        ..credential
    }
}
