//! Identity providers: who else says who users are. A credential goes in and never out again, but to edges.

use std::sync::Arc;

use model::{identity_provider::IdentityProvider as Provider, name::IdentityProviderId};
use proto::{
    admin::{
        CreateIdentityProviderRequest, DeleteIdentityProviderRequest, GetIdentityProviderRequest,
        IdentityProvider, ListIdentityProvidersRequest, ListIdentityProvidersResponse,
        UpdateIdentityProviderRequest, identity_providers_server,
    },
    control::IdentityProviderRecord,
    identity_provider::{client_authentication, credential_fault, read as read_provider},
    time::wire_timestamp,
    violation::Violation,
};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use tonic::{Request, Response, Status};

use super::{
    AdminContext,
    change::Change,
    domains, mask,
    operator::Operator,
    page::{self, PageRequest, Shown},
    record,
    refusal::{Refusal, violation},
};
use crate::{
    store::{Check, Entry, Revision},
    vault::{self, Gone},
};

mod fields;
#[cfg(test)]
mod tests;

use fields::FIELDS;

/// What an audit event calls the credential.
const CREDENTIAL: &str = "credential";
/// The certificate of the credential, where that is a private key.
const CERTIFICATE: &str = "identity_provider.client_certificate_pem";
/// What says to whom edges show the credential, and how: with any of these changed it could be read out, so it has to be given again.
const CREDENTIAL_GOES_BY: [&str; 5] = [
    "issuer",
    "client_authentication",
    "endpoints.token",
    "ca_pem",
    "private_network",
];

/// What says who users are, and of whom it is taken: sessions that began before one of these changed are over.
const USERS_GO_BY: [&str; 16] = [
    "issuer",
    "client_id",
    "algorithms",
    "claims.user",
    "claims.display_name",
    "claims.email",
    "claims.groups",
    "claims.kept",
    "claims.kept_groups",
    "user_domains",
    "plain_groups",
    "endpoints.token",
    "endpoints.keys",
    "endpoints.user_info",
    "ca_pem",
    "endpoints.groups",
];

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct IdentityProviders {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl identity_providers_server::IdentityProviders for IdentityProviders {
    async fn create_identity_provider(
        &self,
        request: Request<CreateIdentityProviderRequest>,
    ) -> Result<Response<IdentityProvider>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.into_inner();
        let wanted = request.identity_provider.unwrap_or_default();
        let id = request.identity_provider_id;
        let attempt = || async {
            let new = New {
                method: "CreateIdentityProvider",
                id: &id,
                wanted: &wanted,
                credential: &request.credential,
            };
            let plan = self.creation(&new, Vec::new()).await?;
            self.carry_out(plan, &operator, request.validate_only).await
        };
        let name = format!("{}{id}", IdentityProviderId::COLLECTION);
        Ok(Response::new(record::written(name, attempt).await?))
    }

    async fn get_identity_provider(
        &self,
        request: Request<GetIdentityProviderRequest>,
    ) -> Result<Response<IdentityProvider>, Status> {
        let id = id_in("name", &request.get_ref().name).map_err(Refusal::from)?;
        let entry = record::existing(&*self.context.store, &id.resource_name()).await?;
        Ok(Response::new(read(&entry)?))
    }

    async fn list_identity_providers(
        &self,
        request: Request<ListIdentityProvidersRequest>,
    ) -> Result<Response<ListIdentityProvidersResponse>, Status> {
        let request = request.get_ref();
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: IdentityProviderId::COLLECTION,
            filter: "",
        };
        let page = page::read(&*self.context.store, wanted, |entry| {
            read(entry).map(Shown::Yes)
        })
        .await?;
        Ok(Response::new(ListIdentityProvidersResponse {
            identity_providers: page.items,
            next_page_token: page.next_token,
        }))
    }

    async fn update_identity_provider(
        &self,
        request: Request<UpdateIdentityProviderRequest>,
    ) -> Result<Response<IdentityProvider>, Status> {
        let operator = Operator::of(&request)?;
        let mut request = request.into_inner();
        let name = request
            .identity_provider
            .get_or_insert_default()
            .name
            .clone();
        let attempt = || async {
            let plan = self.update(&request).await?;
            self.carry_out(plan, &operator, request.validate_only).await
        };
        let provider = record::written(name, attempt).await?;
        Ok(Response::new(provider))
    }

    async fn delete_identity_provider(
        &self,
        request: Request<DeleteIdentityProviderRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.delete(request, &operator);
        record::written(&request.name, attempt).await?;
        Ok(Response::new(()))
    }
}

/// A provider that is to be made.
struct New<'a> {
    method: &'static str,
    id: &'a str,
    wanted: &'a IdentityProvider,
    credential: &'a str,
}

/// A write that has passed every check that can be made before the transaction.
struct Plan {
    method: &'static str,
    before: Option<(Entry, IdentityProviderRecord)>,
    after: IdentityProviderRecord,
    read: Provider,
}

impl IdentityProviders {
    async fn creation(
        &self,
        new: &New<'_>,
        mut violations: Vec<Violation>,
    ) -> Result<Plan, Refusal> {
        let read = checked(new.id, new.wanted, new.credential, &mut violations)?;
        let name = read.id.resource_name();
        record::free(&*self.context.store, &name).await?;
        let wanted = (new.wanted.clone(), new.credential.to_owned());
        Ok(self.plan(new.method, read, None, wanted))
    }

    async fn update(&self, request: &UpdateIdentityProviderRequest) -> Result<Plan, Refusal> {
        let unsaid = IdentityProvider::default();
        let wanted = request.identity_provider.as_ref().unwrap_or(&unsaid);
        let (chosen, mut violations) = FIELDS.select(request.update_mask.as_ref(), wanted);
        let id = match id_in("identity_provider.name", &wanted.name) {
            Ok(id) => id,
            Err(found) => {
                violations.insert(0, found);
                return Err(Refusal::Invalid(violations));
            }
        };
        let name = id.resource_name();
        let Some(entry) = self.context.store.get(&name).await? else {
            return match (request.allow_missing, wanted.etag.is_empty()) {
                (false, _) => Err(Refusal::NotFound(name)),
                (true, false) => Err(Refusal::EtagMismatch(name)),
                // The mask chooses nothing here: a new one is all of the message (AIP-134).
                (true, true) => {
                    let new = New {
                        method: "UpdateIdentityProvider",
                        id: id.as_str(),
                        wanted,
                        credential: &request.credential,
                    };
                    self.creation(&new, violations).await
                }
            };
        };
        record::check_etag(&wanted.etag, &entry)?;
        let before: IdentityProviderRecord = record::decode(&entry)?;
        let old = record::inner(&entry, before.identity_provider.clone())?;
        let merged = mask::merged(Some(&old), wanted, &chosen);
        let credential = match &*request.credential {
            "" => before.credential.clone(),
            given => given.to_owned(),
        };
        if request.credential.is_empty() && !credential.is_empty() {
            let old = before.identity_provider.clone().unwrap_or_default();
            violations.extend(elsewhere(&FIELDS.changed(&old, &merged)));
        }
        let read = checked(id.as_str(), &merged, &credential, &mut violations)?;
        let before = Some((entry, before));
        Ok(self.plan("UpdateIdentityProvider", read, before, (merged, credential)))
    }

    fn plan(
        &self,
        method: &'static str,
        read: Provider,
        before: Option<(Entry, IdentityProviderRecord)>,
        (wanted, credential): (IdentityProvider, String),
    ) -> Plan {
        let now = Some(wire_timestamp(self.context.clock.wall()));
        let record = before.as_ref().map(|(_, record)| record);
        let old = record.and_then(|record| record.identity_provider.as_ref());
        let is_same = record.is_some_and(|record| record.credential == credential);
        let credential_time = match old {
            Some(old) if is_same => old.credential_time,
            Some(_) | None if credential.is_empty() => None,
            Some(_) | None => now,
        };
        let is_among = |field: &String| USERS_GO_BY.contains(&field.as_str());
        let sessions_since = match old {
            Some(old) if !FIELDS.changed(old, &wanted).iter().any(is_among) => {
                old.sessions_since.or(old.create_time)
            }
            Some(_) | None => now,
        };
        let after = IdentityProviderRecord {
            identity_provider: Some(IdentityProvider {
                name: read.id.resource_name(),
                etag: String::new(),
                create_time: old.map_or(now, |old| old.create_time),
                update_time: now,
                credential_time,
                sessions_since,
                ..wanted
            }),
            credential,
        };
        Plan {
            method,
            before,
            after,
            read,
        }
    }

    /// Writes what was planned, or only says what would be; `None`: something has changed since, so plan again.
    async fn carry_out(
        &self,
        plan: Plan,
        operator: &Operator,
        validate_only: bool,
    ) -> Result<Option<IdentityProvider>, Refusal> {
        let store = &*self.context.store;
        let provider = plan.after.identity_provider.clone().unwrap_or_default();
        let mut changed_fields = Vec::new();
        if let Some((entry, before)) = &plan.before {
            let old = before.identity_provider.clone().unwrap_or_default();
            changed_fields = FIELDS.changed(&old, &provider);
            if before.credential != plan.after.credential {
                changed_fields.push(CREDENTIAL.to_owned());
            }
            if changed_fields.is_empty() {
                return Ok(Some(output(old, entry.modified)));
            }
        }
        let untaken = domains::untaken_provider(store, &plan.read).await?;
        if validate_only {
            return Ok(Some(provider));
        }
        let name = provider.name.as_str();
        let check = match &plan.before {
            Some((entry, _)) => Check::unchanged(entry),
            None => {
                // Those of a provider that had the id before: its users are others.
                vault::forget(store, Gone::Provider(&plan.read.id)).await?;
                Check::Absent(Arc::from(name))
            }
        };
        let change = Change {
            method: plan.method,
            resource: name,
            changed_fields,
        };
        let ops = vec![
            record::put(name, &plan.after),
            untaken.op,
            change.row(operator, &self.context.clock),
        ];
        let revision = record::commit(store, vec![check, untaken.check], ops).await?;
        Ok(revision.map(|revision| output(provider, revision)))
    }

    async fn delete(
        &self,
        request: &DeleteIdentityProviderRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let id = id_in("name", &request.name)?;
        let name = id.resource_name();
        let entry = record::as_seen(&*self.context.store, &name, &request.etag).await?;
        let ops = vec![
            record::delete(&name),
            Change::of("DeleteIdentityProvider", &name).row(operator, &self.context.clock),
        ];
        let store = &*self.context.store;
        let deleted = record::commit(store, vec![Check::unchanged(&entry)], ops).await?;
        if deleted.is_some() {
            vault::forget(store, Gone::Provider(&id)).await?;
        }
        Ok(deleted)
    }
}

/// What is wrong if a credential that is kept would be shown to others than those it was given for.
fn elsewhere(changed: &[String]) -> Option<Violation> {
    let changed = changed.iter().map(String::as_str);
    let changed: Vec<_> = changed
        .filter(|field| CREDENTIAL_GOES_BY.contains(field))
        .collect();
    let what = || format!("must be given again, as {} changes", changed.join(", "));
    (!changed.is_empty()).then(|| violation(CREDENTIAL, what()))
}

/// The provider as it is meant, if nothing is wrong with it or its credential.
fn checked(
    id: &str,
    wanted: &IdentityProvider,
    credential: &str,
    violations: &mut Vec<Violation>,
) -> Result<Provider, Refusal> {
    let read = read_provider(id, wanted).map_err(|found| violations.extend(found));
    let fault = credential_fault(client_authentication(wanted), credential);
    let is_good = fault.is_none();
    violations.extend(fault.map(|what| violation(CREDENTIAL, what)));
    if is_good && let Some(what) = certificate_fault(&wanted.client_certificate_pem, credential) {
        violations.push(violation(CERTIFICATE, what.to_owned()));
    }
    match read {
        Ok(read) if violations.is_empty() => Ok(read),
        Ok(_) | Err(()) => Err(Refusal::Invalid(std::mem::take(violations))),
    }
}

/// What is wrong with the client's certificate, beside the private key that it is to be of.
fn certificate_fault(pem: &str, key: &str) -> Option<&'static str> {
    if pem.is_empty() {
        return None;
    }
    let Ok(certificate) = CertificateDer::from_pem_slice(pem.as_bytes()) else {
        return Some("must be a certificate in PEM");
    };
    let Ok(key) = PrivateKeyDer::from_pem_slice(key.as_bytes()) else {
        return Some("must be of the private key, which cannot be read");
    };
    let pair = CertifiedKey::from_der(vec![certificate], key, &runtime::tls::provider());
    match pair {
        Ok(_) => None,
        Err(rustls::Error::InconsistentKeys(_)) => Some("is of another key than the credential"),
        Err(_) => Some("must be a certificate of a P-256 or RSA key"),
    }
}

fn id_in(field: &str, name: &str) -> Result<IdentityProviderId, Violation> {
    record::id(
        field,
        name,
        IdentityProviderId::COLLECTION,
        IdentityProviderId::from_resource_name,
    )
}

fn read(entry: &Entry) -> Result<IdentityProvider, Refusal> {
    let stored: IdentityProviderRecord = record::decode(entry)?;
    let provider = record::inner(entry, stored.identity_provider)?;
    Ok(output(provider, entry.modified))
}

fn output(provider: IdentityProvider, modified: Revision) -> IdentityProvider {
    IdentityProvider {
        etag: record::etag(modified),
        ..provider
    }
}
