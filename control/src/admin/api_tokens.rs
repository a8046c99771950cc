//! API tokens: made, looked at, and taken away. The token itself is shown once, and only its hash is kept.

use std::time::{Duration, SystemTime};

use model::{
    app::DISPLAY_NAME_CHARS_MAX,
    name::{ApiTokenId, IdError},
};
use proto::{
    admin::{
        ApiToken, CreateApiTokenRequest, CreateApiTokenResponse, DeleteApiTokenRequest,
        GetApiTokenRequest, ListApiTokensRequest, ListApiTokensResponse, OperatorRole,
        api_tokens_server,
    },
    control::ApiTokenRecord,
    time,
    violation::Violation,
};
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
    store::{Check, Entry, Revision, TxnError},
    tokens::{self, ApiTokenOrder},
};

#[cfg(test)]
mod tests;

/// Longest life of a token that expires; who wants more wants one that does not.
const TTL_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct ApiTokens {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl api_tokens_server::ApiTokens for ApiTokens {
    async fn create_api_token(
        &self,
        request: Request<CreateApiTokenRequest>,
    ) -> Result<Response<CreateApiTokenResponse>, Status> {
        let operator = Operator::of(&request)?;
        let answer = self.create(&request.into_inner(), &operator).await?;
        Ok(Response::new(answer))
    }

    async fn get_api_token(
        &self,
        request: Request<GetApiTokenRequest>,
    ) -> Result<Response<ApiToken>, Status> {
        let id = api_token_id(&request.get_ref().name)?;
        let entry = record::existing(&*self.context.store, &id.resource_name()).await?;
        Ok(Response::new(read(&entry)?))
    }

    async fn list_api_tokens(
        &self,
        request: Request<ListApiTokensRequest>,
    ) -> Result<Response<ListApiTokensResponse>, Status> {
        let request = request.get_ref();
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: ApiTokenId::COLLECTION,
            filter: "",
        };
        let page = page::read(&*self.context.store, wanted, |entry| {
            read(entry).map(Shown::Yes)
        })
        .await?;
        Ok(Response::new(ListApiTokensResponse {
            api_tokens: page.items,
            next_page_token: page.next_token,
        }))
    }

    async fn delete_api_token(
        &self,
        request: Request<DeleteApiTokenRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.delete(request, &operator);
        record::written(&request.name, attempt).await?;
        Ok(Response::new(()))
    }
}

impl ApiTokens {
    async fn create(
        &self,
        request: &CreateApiTokenRequest,
        operator: &Operator,
    ) -> Result<CreateApiTokenResponse, Refusal> {
        let now = self.context.clock.wall();
        let minted = tokens::mint_api(order(request, now)?, now);
        let (checks, mut ops) = tokens::api_token_ops(&minted.record);
        let made = minted.record.api_token.unwrap_or_default();
        ops.push(Change::of("CreateApiToken", &made.name).row(operator, &self.context.clock));
        match self.context.store.txn(checks, ops).await {
            Ok(revision) => Ok(CreateApiTokenResponse {
                api_token: Some(output(made, revision)),
                token: minted.token.into_exposed(),
            }),
            Err(TxnError::Conflict(_)) => Err(Refusal::AlreadyExists(made.name)),
            Err(TxnError::Store(error)) => Err(error.into()),
        }
    }

    async fn delete(
        &self,
        request: &DeleteApiTokenRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let name = api_token_id(&request.name)?.resource_name();
        let entry = record::as_seen(&*self.context.store, &name, &request.etag).await?;
        let stored: ApiTokenRecord = record::decode(&entry)?;
        let mut checks = vec![Check::unchanged(&entry)];
        if is_lasting_admin(&stored) {
            checks.push(self.another_lasting_admin(&name).await?);
        }
        let mut ops = tokens::delete_api(&stored);
        ops.push(Change::of("DeleteApiToken", &name).row(operator, &self.context.clock));
        record::commit(&*self.context.store, checks, ops).await
    }

    /// That another admin token without an end stays, so that two deletions at once cannot remove the last two.
    async fn another_lasting_admin(&self, name: &str) -> Result<Check, Refusal> {
        let entries = self
            .context
            .store
            .snapshot(&[ApiTokenId::COLLECTION])
            .await?
            .entries;
        for entry in entries.iter().filter(|entry| &*entry.key != name) {
            if is_lasting_admin(&record::decode(entry)?) {
                return Ok(Check::unchanged(entry));
            }
        }
        let what =
            format!("{name} is the last admin token that does not expire: make another one first");
        Err(Refusal::Precondition {
            resource: name.to_owned(),
            what,
        })
    }
}

fn is_lasting_admin(record: &ApiTokenRecord) -> bool {
    record
        .api_token
        .as_ref()
        .is_some_and(|token| token.role() == OperatorRole::Admin && token.expire_time.is_none())
}

fn order(request: &CreateApiTokenRequest, now: SystemTime) -> Result<ApiTokenOrder, Refusal> {
    let mut violations = display_name_violations(&request.display_name);
    let id = request
        .api_token_id
        .parse()
        .map_err(|fault: IdError| violations.push(violation("api_token_id", fault.to_string())));
    let role = match OperatorRole::try_from(request.role) {
        Ok(OperatorRole::Unspecified) | Err(_) => {
            violations.push(violation("role", "must be viewer, publisher or admin"));
            OperatorRole::Unspecified
        }
        Ok(role) => role,
    };
    let ttl = request
        .ttl
        .as_ref()
        .map(|ttl| time::duration(ttl).unwrap_or(Duration::ZERO));
    if ttl.is_some_and(|ttl| ttl.is_zero() || ttl > TTL_MAX) {
        let days = TTL_MAX.as_secs() / 86_400;
        violations.push(violation(
            "ttl",
            format!("must be above 0 and at most {days} days, or unset for ever"),
        ));
    }
    match id {
        Ok(id) if violations.is_empty() => Ok(ApiTokenOrder {
            id,
            display_name: request.display_name.clone(),
            role,
            expires: ttl.map(|ttl| now + ttl),
        }),
        Ok(_) | Err(()) => Err(Refusal::Invalid(violations)),
    }
}

fn display_name_violations(name: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    if name.chars().count() > DISPLAY_NAME_CHARS_MAX {
        let what = format!("must not be longer than {DISPLAY_NAME_CHARS_MAX} characters");
        found.push(violation("display_name", what));
    }
    if name.contains(char::is_control) {
        found.push(violation(
            "display_name",
            "must not have control characters",
        ));
    }
    found
}

fn api_token_id(name: &str) -> Result<ApiTokenId, Refusal> {
    record::id(
        "name",
        name,
        ApiTokenId::COLLECTION,
        ApiTokenId::from_resource_name,
    )
    .map_err(Refusal::from)
}

fn read(entry: &Entry) -> Result<ApiToken, Refusal> {
    let stored: ApiTokenRecord = record::decode(entry)?;
    Ok(output(
        record::inner(entry, stored.api_token)?,
        entry.modified,
    ))
}

fn output(token: ApiToken, modified: Revision) -> ApiToken {
    ApiToken {
        etag: record::etag(modified),
        ..token
    }
}
