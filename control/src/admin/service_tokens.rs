//! Service tokens: made, looked at, changed, and taken away. The token itself is shown once, and only its hash is kept.

use std::sync::Arc;

use model::name::ServiceTokenId;
use proto::{
    admin::{
        CreateServiceTokenRequest, CreateServiceTokenResponse, DeleteServiceTokenRequest,
        GetServiceTokenRequest, ListServiceTokensRequest, ListServiceTokensResponse, ServiceToken,
        UpdateServiceTokenRequest, service_tokens_server,
    },
    control::ServiceTokenRecord,
    service,
    time::wire_timestamp,
};
use tonic::{Request, Response, Status};

use super::{
    AdminContext,
    change::Change,
    mask::{self, Field, Fields},
    operator::Operator,
    page::{self, PageRequest, Shown},
    record,
    refusal::Refusal,
};
use crate::{
    store::{Check, Entry, Revision, TxnError},
    tokens::{self, ServiceTokenOrder},
};

#[cfg(test)]
mod tests;

static FIELDS: Fields<ServiceToken> = Fields {
    leaves: &[
        Field {
            path: "display_name",
            is_set: |token| !token.display_name.is_empty(),
            copy: |to, from| to.display_name.clone_from(&from.display_name),
        },
        Field {
            path: "disabled",
            is_set: |token| token.disabled,
            copy: |to, from| to.disabled = from.disabled,
        },
    ],
    output_only: &["name", "etag", "create_time", "update_time", "expire_time"],
};

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct ServiceTokens {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl service_tokens_server::ServiceTokens for ServiceTokens {
    async fn create_service_token(
        &self,
        request: Request<CreateServiceTokenRequest>,
    ) -> Result<Response<CreateServiceTokenResponse>, Status> {
        let operator = Operator::of(&request)?;
        let answer = self.create(&request.into_inner(), &operator).await?;
        Ok(Response::new(answer))
    }

    async fn get_service_token(
        &self,
        request: Request<GetServiceTokenRequest>,
    ) -> Result<Response<ServiceToken>, Status> {
        let name = name("name", &request.get_ref().name)?;
        let entry = record::existing(&*self.context.store, &name).await?;
        Ok(Response::new(read(&entry)?))
    }

    async fn list_service_tokens(
        &self,
        request: Request<ListServiceTokensRequest>,
    ) -> Result<Response<ListServiceTokensResponse>, Status> {
        let request = request.get_ref();
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: ServiceTokenId::COLLECTION,
            filter: "",
        };
        let page = page::read(&*self.context.store, wanted, |entry| {
            read(entry).map(Shown::Yes)
        })
        .await?;
        Ok(Response::new(ListServiceTokensResponse {
            service_tokens: page.items,
            next_page_token: page.next_token,
        }))
    }

    async fn update_service_token(
        &self,
        request: Request<UpdateServiceTokenRequest>,
    ) -> Result<Response<ServiceToken>, Status> {
        let operator = Operator::of(&request)?;
        let mut request = request.into_inner();
        let name = request.service_token.get_or_insert_default().name.clone();
        let attempt = || self.update(&request, &operator);
        let token = record::written(name, attempt).await?;
        Ok(Response::new(token))
    }

    async fn delete_service_token(
        &self,
        request: Request<DeleteServiceTokenRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.delete(request, &operator);
        record::written(&request.name, attempt).await?;
        Ok(Response::new(()))
    }
}

impl ServiceTokens {
    async fn create(
        &self,
        request: &CreateServiceTokenRequest,
        operator: &Operator,
    ) -> Result<CreateServiceTokenResponse, Refusal> {
        let (id, ttl) = service::check_order(request).map_err(Refusal::Invalid)?;
        let now = self.context.clock.wall();
        let key = tokens::service_key(&id);
        let order = ServiceTokenOrder {
            id,
            display_name: request.display_name.clone(),
            expires: ttl.map(|ttl| now + ttl),
        };
        let minted = tokens::mint_service(order, now);
        let ops = vec![
            record::put(&key, &minted.record),
            Change::of("CreateServiceToken", &key).row(operator, &self.context.clock),
        ];
        let checks = vec![Check::Absent(Arc::clone(&key))];
        let made = minted.record.service_token.unwrap_or_default();
        match self.context.store.txn(checks, ops).await {
            Ok(revision) => Ok(CreateServiceTokenResponse {
                service_token: Some(output(made, revision)),
                token: minted.token.into_exposed(),
            }),
            Err(TxnError::Conflict(_)) => Err(Refusal::AlreadyExists(made.name)),
            Err(TxnError::Store(error)) => Err(error.into()),
        }
    }

    /// `None`: somebody else has changed it meanwhile.
    async fn update(
        &self,
        request: &UpdateServiceTokenRequest,
        operator: &Operator,
    ) -> Result<Option<ServiceToken>, Refusal> {
        let unsaid = ServiceToken::default();
        let wanted = request.service_token.as_ref().unwrap_or(&unsaid);
        let (chosen, mut violations) = FIELDS.select(request.update_mask.as_ref(), wanted);
        violations.extend(service::check_change(wanted));
        if !violations.is_empty() {
            return Err(Refusal::Invalid(violations));
        }
        let name = name("service_token.name", &wanted.name)?;
        let entry = record::as_seen(&*self.context.store, &name, &wanted.etag).await?;
        let mut stored: ServiceTokenRecord = record::decode(&entry)?;
        let before = record::inner(&entry, stored.service_token.take())?;
        let mut after = mask::merged(Some(&before), wanted, &chosen);
        let changed_fields = FIELDS.changed(&before, &after);
        if changed_fields.is_empty() {
            return Ok(Some(output(before, entry.modified)));
        }
        after.update_time = Some(wire_timestamp(self.context.clock.wall()));
        stored.service_token = Some(after.clone());
        let change = Change {
            method: "UpdateServiceToken",
            resource: &name,
            changed_fields,
        };
        let ops = vec![
            record::put(&name, &stored),
            change.row(operator, &self.context.clock),
        ];
        let checks = vec![Check::unchanged(&entry)];
        let written = record::commit(&*self.context.store, checks, ops).await?;
        Ok(written.map(|revision| output(after, revision)))
    }

    async fn delete(
        &self,
        request: &DeleteServiceTokenRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let name = name("name", &request.name)?;
        let entry = record::as_seen(&*self.context.store, &name, &request.etag).await?;
        let ops = vec![
            record::delete(&name),
            Change::of("DeleteServiceToken", &name).row(operator, &self.context.clock),
        ];
        let checks = vec![Check::unchanged(&entry)];
        record::commit(&*self.context.store, checks, ops).await
    }
}

fn name(field: &str, name: &str) -> Result<String, Refusal> {
    let id = record::id(
        field,
        name,
        ServiceTokenId::COLLECTION,
        ServiceTokenId::from_resource_name,
    );
    id.map(|id| id.resource_name()).map_err(Refusal::from)
}

fn read(entry: &Entry) -> Result<ServiceToken, Refusal> {
    let stored: ServiceTokenRecord = record::decode(entry)?;
    Ok(output(
        record::inner(entry, stored.service_token)?,
        entry.modified,
    ))
}

fn output(token: ServiceToken, modified: Revision) -> ServiceToken {
    ServiceToken {
        etag: record::etag(modified),
        ..token
    }
}
