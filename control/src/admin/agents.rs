//! Agents: enrolled by join tokens; here they are looked at, moved to another group, and sent away.

use model::name::{AgentId, GroupId};
use proto::{
    admin::{
        self, Agent, DeleteAgentRequest, GetAgentRequest, LinkCount, ListAgentsRequest,
        ListAgentsResponse, RevokeAgentRequest, UpdateAgentRequest, agents_server,
    },
    control::AgentRecord,
    time::wire_timestamp,
    violation::Violation,
};
use tonic::{Request, Response, Status};

use super::{
    AdminContext,
    change::Change,
    mask::{self, Field, Fields},
    members,
    operator::Operator,
    page::{self, PageRequest, Shown},
    record,
    refusal::{Refusal, violation},
};
use crate::{
    denied,
    presence::{self, NodeId, Presence},
    store::{Check, Entry, Revision},
};

#[cfg(test)]
mod tests;

static FIELDS: Fields<Agent> = Fields {
    leaves: &[Field {
        path: "group",
        is_set: |agent| !agent.group.is_empty(),
        copy: |to, from| to.group.clone_from(&from.group),
    }],
    output_only: &[
        "name",
        "etag",
        "create_time",
        "update_time",
        "revoked",
        "presence",
        "last_seen_time",
        "version",
        "applied_revision",
        "links",
        "certificate_expire_time",
    ],
};

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Agents {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl agents_server::Agents for Agents {
    async fn get_agent(
        &self,
        request: Request<GetAgentRequest>,
    ) -> Result<Response<Agent>, Status> {
        let found = self.existing(&request.get_ref().name).await?;
        Ok(Response::new(output(
            found.agent,
            found.entry.modified,
            &self.context.presence,
        )))
    }

    async fn list_agents(
        &self,
        request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        let request = request.get_ref();
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: AgentId::COLLECTION,
            filter: "",
        };
        let read = |entry: &Entry| read(entry, &self.context.presence).map(Shown::Yes);
        let page = page::read(&*self.context.store, wanted, read).await?;
        Ok(Response::new(ListAgentsResponse {
            agents: page.items,
            next_page_token: page.next_token,
        }))
    }

    async fn update_agent(
        &self,
        request: Request<UpdateAgentRequest>,
    ) -> Result<Response<Agent>, Status> {
        let operator = Operator::of(&request)?;
        let mut request = request.into_inner();
        let name = request.agent.get_or_insert_default().name.clone();
        let attempt = || self.update(&request, &operator);
        let agent = record::written(name, attempt).await?;
        Ok(Response::new(agent))
    }

    async fn revoke_agent(
        &self,
        request: Request<RevokeAgentRequest>,
    ) -> Result<Response<Agent>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.revoke(request, &operator);
        let agent = record::written(&request.name, attempt).await?;
        Ok(Response::new(agent))
    }

    async fn delete_agent(
        &self,
        request: Request<DeleteAgentRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.delete(request, &operator);
        record::written(&request.name, attempt).await?;
        Ok(Response::new(()))
    }
}

/// An agent as it is stored.
struct Found {
    id: AgentId,
    entry: Entry,
    record: AgentRecord,
    agent: Agent,
}

impl Agents {
    async fn existing(&self, name: &str) -> Result<Found, Refusal> {
        let id = agent_id("name", name)?;
        let entry = record::existing(&*self.context.store, &id.resource_name()).await?;
        let record: AgentRecord = record::decode(&entry)?;
        let agent = record::inner(&entry, record.agent.clone())?;
        Ok(Found {
            id,
            entry,
            record,
            agent,
        })
    }

    async fn update(
        &self,
        request: &UpdateAgentRequest,
        operator: &Operator,
    ) -> Result<Option<Agent>, Refusal> {
        let unsaid = Agent::default();
        let wanted = request.agent.as_ref().unwrap_or(&unsaid);
        let (chosen, mut violations) = FIELDS.select(request.update_mask.as_ref(), wanted);
        violations.extend(agent_id("agent.name", &wanted.name).err());
        if !chosen.is_empty() {
            violations.extend(self.group_violation(&wanted.group).await?);
        }
        if !violations.is_empty() {
            return Err(Refusal::Invalid(violations));
        }
        let found = self.existing(&wanted.name).await?;
        record::check_etag(&wanted.etag, &found.entry)?;
        let after = mask::merged(Some(&found.agent), wanted, &chosen);
        if after == found.agent {
            return Ok(Some(output(
                after,
                found.entry.modified,
                &self.context.presence,
            )));
        }
        let change = Change {
            method: "UpdateAgent",
            resource: &wanted.name,
            changed_fields: FIELDS.changed(&found.agent, &after),
        };
        self.write(found, after, change, operator).await
    }

    async fn revoke(
        &self,
        request: &RevokeAgentRequest,
        operator: &Operator,
    ) -> Result<Option<Agent>, Refusal> {
        let found = self.existing(&request.name).await?;
        record::check_etag(&request.etag, &found.entry)?;
        if found.agent.revoked {
            return Ok(Some(output(
                found.agent,
                found.entry.modified,
                &self.context.presence,
            )));
        }
        let after = Agent {
            revoked: true,
            ..found.agent.clone()
        };
        let change = Change::of("RevokeAgent", &request.name);
        self.write(found, after, change, operator).await
    }

    async fn write(
        &self,
        found: Found,
        mut after: Agent,
        change: Change<'_>,
        operator: &Operator,
    ) -> Result<Option<Agent>, Refusal> {
        after.update_time = Some(wire_timestamp(self.context.clock.wall()));
        let (mut checks, mut ops) = (vec![Check::unchanged(&found.entry)], Vec::new());
        if after.group != found.agent.group
            && let Ok(group) = group_id(&after.group)
        {
            let (exists, mark) = members::join(&group);
            checks.push(exists);
            ops.push(mark);
        }
        let stored = AgentRecord {
            agent: Some(after.clone()),
            ..found.record
        };
        ops.push(record::put(&found.entry.key, &stored));
        ops.push(change.row(operator, &self.context.clock));
        let revision = record::commit(&*self.context.store, checks, ops).await?;
        Ok(revision.map(|revision| output(after, revision, &self.context.presence)))
    }

    /// The id stays denied for as long as the agent's certificate would run.
    async fn delete(
        &self,
        request: &DeleteAgentRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let found = self.existing(&request.name).await?;
        record::check_etag(&request.etag, &found.entry)?;
        let mut ops = denied::delete_node(&found.entry);
        ops.push(Change::of("DeleteAgent", &request.name).row(operator, &self.context.clock));
        let checks = vec![Check::unchanged(&found.entry)];
        let revision = record::commit(&*self.context.store, checks, ops).await?;
        if revision.is_some() {
            self.context.presence.forget(&NodeId::Agent(found.id));
        }
        Ok(revision)
    }

    async fn group_violation(&self, group: &str) -> Result<Option<Violation>, Refusal> {
        match group_id(group) {
            Err(found) => Ok(Some(found)),
            Ok(id) => {
                let entry = self.context.store.get(&id.resource_name()).await?;
                let missing = || {
                    violation(
                        "agent.group",
                        format!("does not exist: there is no {group}"),
                    )
                };
                Ok(entry.is_none().then(missing))
            }
        }
    }
}

fn agent_id(field: &str, name: &str) -> Result<AgentId, Violation> {
    record::id(
        field,
        name,
        AgentId::COLLECTION,
        AgentId::from_resource_name,
    )
}

fn group_id(name: &str) -> Result<GroupId, Violation> {
    record::id(
        "agent.group",
        name,
        GroupId::COLLECTION,
        GroupId::from_resource_name,
    )
}

fn read(entry: &Entry, presence: &Presence) -> Result<Agent, Refusal> {
    let stored: AgentRecord = record::decode(entry)?;
    Ok(output(
        record::inner(entry, stored.agent)?,
        entry.modified,
        presence,
    ))
}

/// What is stored, with what the agent says of itself while it is connected.
fn output(mut agent: Agent, modified: Revision, presence: &Presence) -> Agent {
    agent.etag = record::etag(modified);
    let Ok(id) = agent_id("name", &agent.name) else {
        return agent;
    };
    let seen = presence.agent(&id);
    agent.set_presence(match &seen {
        _ if agent.revoked => admin::Presence::Revoked,
        Some(seen) if seen.online => admin::Presence::Online,
        Some(_) | None => admin::Presence::Offline,
    });
    if let Some(seen) = seen {
        agent.last_seen_time = Some(wire_timestamp(seen.last_seen));
        agent.version = seen.version;
        agent.applied_revision = seen.applied_revision.0;
    }
    agent.links = presence.links(&id).into_iter().map(link_count).collect();
    agent
}

fn link_count((edge, count): (model::name::EdgeId, presence::LinkCount)) -> LinkCount {
    LinkCount {
        edge: edge.resource_name(),
        links: count.links,
        tcp_links: count.over_tcp,
    }
}
