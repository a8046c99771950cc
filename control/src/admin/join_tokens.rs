//! Join tokens: permissions to enrol. The token itself is shown once, and only its hash is kept.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use model::name::{GroupId, IdError, JoinTokenId};
use proto::{
    admin::{
        CreateJoinTokenRequest, CreateJoinTokenResponse, DeleteJoinTokenRequest,
        GetJoinTokenRequest, JoinToken, ListJoinTokensRequest, ListJoinTokensResponse, NodeRole,
        RevokeJoinTokenRequest, join_tokens_server,
    },
    control::{AgentRecord, EdgeRecord, JoinTokenRecord},
    time,
    violation::Violation,
};
use rand::Rng as _;
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
    presence::NodeId,
    store::{Check, Entry, Revision},
    tokens::{self, JoinTokenOrder},
};

#[cfg(test)]
mod tests;

/// Uses of a token when the request does not say.
const USES_DEFAULT: u32 = 1;
/// Most nodes that one token may enrol.
const USES_MAX: u32 = 10_000;
/// Life of a token when the request does not say: long enough to walk to a machine.
const TTL_DEFAULT: Duration = Duration::from_secs(3600);
/// Longest life of a token.
const TTL_MAX: Duration = Duration::from_secs(365 * 86_400);

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct JoinTokens {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl join_tokens_server::JoinTokens for JoinTokens {
    async fn create_join_token(
        &self,
        request: Request<CreateJoinTokenRequest>,
    ) -> Result<Response<CreateJoinTokenResponse>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.into_inner();
        let attempt = || self.create(&request, &operator);
        let answer =
            record::written(format!("joinTokens/{}", request.join_token_id), attempt).await?;
        Ok(Response::new(answer))
    }

    async fn get_join_token(
        &self,
        request: Request<GetJoinTokenRequest>,
    ) -> Result<Response<JoinToken>, Status> {
        let id = join_token_id(&request.get_ref().name)?;
        let entry = record::existing(&*self.context.store, &id.resource_name()).await?;
        Ok(Response::new(read(&entry)?))
    }

    async fn list_join_tokens(
        &self,
        request: Request<ListJoinTokensRequest>,
    ) -> Result<Response<ListJoinTokensResponse>, Status> {
        let request = request.get_ref();
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: JoinTokenId::COLLECTION,
            filter: "",
        };
        let page = page::read(&*self.context.store, wanted, |entry| {
            read(entry).map(Shown::Yes)
        })
        .await?;
        Ok(Response::new(ListJoinTokensResponse {
            join_tokens: page.items,
            next_page_token: page.next_token,
        }))
    }

    async fn revoke_join_token(
        &self,
        request: Request<RevokeJoinTokenRequest>,
    ) -> Result<Response<JoinToken>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.revoke(request, &operator);
        let token = record::written(&request.name, attempt).await?;
        Ok(Response::new(token))
    }

    async fn delete_join_token(
        &self,
        request: Request<DeleteJoinTokenRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.delete(request, &operator);
        record::written(&request.name, attempt).await?;
        Ok(Response::new(()))
    }
}

impl JoinTokens {
    async fn create(
        &self,
        request: &CreateJoinTokenRequest,
        operator: &Operator,
    ) -> Result<Option<CreateJoinTokenResponse>, Refusal> {
        let now = self.context.clock.wall();
        let order = self.order(request, now).await?;
        let name = order.id.resource_name();
        record::free(&*self.context.store, &name).await?;
        let mut checks = vec![Check::Absent(Arc::from(name.as_str()))];
        checks.extend(
            order
                .group
                .as_ref()
                .map(|group| Check::Present(Arc::from(group.resource_name()))),
        );
        let minted = tokens::mint_join(&self.context.join_issuer, order, now)
            .map_err(|error| Refusal::Internal(Box::new(error)))?;
        let ops = vec![
            record::put(&name, &minted.record),
            Change::of("CreateJoinToken", &name).row(operator, &self.context.clock),
        ];
        let revision = record::commit(&*self.context.store, checks, ops).await?;
        Ok(revision.map(|revision| CreateJoinTokenResponse {
            join_token: minted
                .record
                .join_token
                .map(|token| output(token, revision)),
            token: minted.token.into_exposed(),
        }))
    }

    async fn order(
        &self,
        request: &CreateJoinTokenRequest,
        now: SystemTime,
    ) -> Result<JoinTokenOrder, Refusal> {
        let mut violations = Vec::new();
        let id = id_or_new(&request.join_token_id).map_err(|found| violations.push(found));
        let node = if request.node.is_empty() {
            None
        } else {
            self.node(request, &mut violations).await?
        };
        let group = match &node {
            Some((_, group)) => Ok(group.clone()),
            None if request.node.is_empty() => {
                read_group(request.role, &request.group).map_err(|found| violations.push(found))
            }
            None => Err(()),
        };
        if let Ok(Some(group)) = &group
            && self
                .context
                .store
                .get(&group.resource_name())
                .await?
                .is_none()
        {
            violations.push(violation(
                "group",
                format!("does not exist: there is no {}", group.resource_name()),
            ));
        }
        let uses = if request.uses == 0 {
            USES_DEFAULT
        } else {
            request.uses
        };
        if uses > USES_MAX {
            violations.push(violation("uses", format!("must be at most {USES_MAX}")));
        }
        let ttl = request.ttl.as_ref().map_or(TTL_DEFAULT, |ttl| {
            time::duration(ttl).unwrap_or(Duration::ZERO)
        });
        if ttl.is_zero() || ttl > TTL_MAX {
            let days = TTL_MAX.as_secs() / 86_400;
            violations.push(violation(
                "ttl",
                format!("must be above 0 and at most {days} days"),
            ));
        }
        match (id, group) {
            (Ok(id), Ok(group)) if violations.is_empty() => Ok(JoinTokenOrder {
                id,
                group,
                node: node.map(|(node, _)| node),
                uses,
                expires: now + ttl,
            }),
            (Ok(_) | Err(()), Ok(_) | Err(())) => Err(Refusal::Invalid(violations)),
        }
    }

    /// The node that a token shall enrol anew, and its group.
    async fn node(
        &self,
        request: &CreateJoinTokenRequest,
        violations: &mut Vec<Violation>,
    ) -> Result<Option<(NodeId, Option<GroupId>)>, Refusal> {
        let role = NodeRole::try_from(request.role);
        for (field, is_given) in [
            ("role", role != Ok(NodeRole::Unspecified)),
            ("group", !request.group.is_empty()),
            ("uses", request.uses > 1),
        ] {
            if is_given {
                let message = "must not be given for one node, which has its own and joins once";
                violations.push(violation(field, message));
            }
        }
        let Some(node) = NodeId::from_resource_name(&request.node) else {
            let message = "must be agents/ or edges/ and an id";
            violations.push(violation("node", message));
            return Ok(None);
        };
        let Some(entry) = self.context.store.get(&node.resource_name()).await? else {
            let message = format!("does not exist: there is no {}", node.resource_name());
            violations.push(violation("node", message));
            return Ok(None);
        };
        let (group, is_revoked) = match &node {
            NodeId::Agent(_) => {
                let stored: AgentRecord = record::decode(&entry)?;
                let agent = record::inner(&entry, stored.agent)?;
                let group = GroupId::from_resource_name(&agent.group).and_then(Result::ok);
                (group, agent.revoked)
            }
            NodeId::Edge(_) => {
                let stored: EdgeRecord = record::decode(&entry)?;
                (None, record::inner(&entry, stored.edge)?.revoked)
            }
        };
        if is_revoked {
            let message = "is revoked and does not come back: delete it, and join a new one";
            violations.push(violation("node", message));
        }
        Ok(Some((node, group)))
    }

    async fn revoke(
        &self,
        request: &RevokeJoinTokenRequest,
        operator: &Operator,
    ) -> Result<Option<JoinToken>, Refusal> {
        let name = join_token_id(&request.name)?.resource_name();
        let entry = record::as_seen(&*self.context.store, &name, &request.etag).await?;
        let mut stored: JoinTokenRecord = record::decode(&entry)?;
        let mut token = record::inner(&entry, stored.join_token.take())?;
        if token.revoked {
            return Ok(Some(output(token, entry.modified)));
        }
        token.revoked = true;
        stored.join_token = Some(token.clone());
        let ops = vec![
            record::put(&name, &stored),
            Change::of("RevokeJoinToken", &name).row(operator, &self.context.clock),
        ];
        let revision =
            record::commit(&*self.context.store, vec![Check::unchanged(&entry)], ops).await?;
        Ok(revision.map(|revision| output(token, revision)))
    }

    async fn delete(
        &self,
        request: &DeleteJoinTokenRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let name = join_token_id(&request.name)?.resource_name();
        let entry = record::as_seen(&*self.context.store, &name, &request.etag).await?;
        let ops = vec![
            record::delete(&name),
            Change::of("DeleteJoinToken", &name).row(operator, &self.context.clock),
        ];
        record::commit(&*self.context.store, vec![Check::unchanged(&entry)], ops).await
    }
}

/// The wished id, or a new one of 64 random bits.
fn id_or_new(id: &str) -> Result<JoinTokenId, Violation> {
    let random = || format!("{:016x}", rand::rng().random::<u64>());
    let id = if id.is_empty() {
        random()
    } else {
        id.to_owned()
    };
    id.parse()
        .map_err(|fault: IdError| violation("join_token_id", fault.to_string()))
}

/// The group that the role asks for: agents have one, edges have none.
fn read_group(role: i32, group: &str) -> Result<Option<GroupId>, Violation> {
    match NodeRole::try_from(role) {
        Ok(NodeRole::Agent) => record::id(
            "group",
            group,
            GroupId::COLLECTION,
            GroupId::from_resource_name,
        )
        .map(Some),
        Ok(NodeRole::Edge) if group.is_empty() => Ok(None),
        Ok(NodeRole::Edge) => Err(violation("group", "must be empty for edges")),
        Ok(NodeRole::Unspecified) | Err(_) => Err(violation("role", "must be agent or edge")),
    }
}

fn join_token_id(name: &str) -> Result<JoinTokenId, Refusal> {
    record::id(
        "name",
        name,
        JoinTokenId::COLLECTION,
        JoinTokenId::from_resource_name,
    )
    .map_err(Refusal::from)
}

fn read(entry: &Entry) -> Result<JoinToken, Refusal> {
    let stored: JoinTokenRecord = record::decode(entry)?;
    Ok(output(
        record::inner(entry, stored.join_token)?,
        entry.modified,
    ))
}

fn output(token: JoinToken, modified: Revision) -> JoinToken {
    JoinToken {
        etag: record::etag(modified),
        ..token
    }
}
