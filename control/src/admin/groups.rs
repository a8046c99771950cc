//! Groups: sets of interchangeable agents.

use std::sync::Arc;

use model::name::GroupId;
use proto::{
    admin::{
        CreateGroupRequest, DeleteGroupRequest, GetGroupRequest, Group, ListGroupsRequest,
        ListGroupsResponse, UpdateGroupRequest, groups_server,
    },
    group,
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
    refusal::Refusal,
};
use crate::{
    store::{Check, Entry, Revision},
    vault,
};

#[cfg(test)]
mod tests;

static FIELDS: Fields<Group> = Fields {
    leaves: &[Field {
        path: "display_name",
        is_set: |group| !group.display_name.is_empty(),
        copy: |to, from| to.display_name.clone_from(&from.display_name),
    }],
    output_only: &["name", "etag", "create_time", "update_time"],
};

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl groups_server::Groups for Groups {
    async fn create_group(
        &self,
        request: Request<CreateGroupRequest>,
    ) -> Result<Response<Group>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.into_inner();
        let wanted = request.group.unwrap_or_default();
        let attempt = || async {
            let plan = self
                .creation("CreateGroup", &request.group_id, &wanted)
                .await?;
            self.carry_out(plan, &operator, request.validate_only).await
        };
        let group = record::written(format!("groups/{}", request.group_id), attempt).await?;
        Ok(Response::new(group))
    }

    async fn get_group(
        &self,
        request: Request<GetGroupRequest>,
    ) -> Result<Response<Group>, Status> {
        let id = group_id("name", &request.get_ref().name)
            .map_err(|found| Refusal::Invalid(vec![found]))?;
        let entry = record::existing(&*self.context.store, &id.resource_name()).await?;
        Ok(Response::new(read(&entry)?))
    }

    async fn list_groups(
        &self,
        request: Request<ListGroupsRequest>,
    ) -> Result<Response<ListGroupsResponse>, Status> {
        let request = request.get_ref();
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: GroupId::COLLECTION,
            filter: "",
        };
        let page = page::read(&*self.context.store, wanted, |entry| {
            read(entry).map(Shown::Yes)
        })
        .await?;
        Ok(Response::new(ListGroupsResponse {
            groups: page.items,
            next_page_token: page.next_token,
        }))
    }

    async fn update_group(
        &self,
        request: Request<UpdateGroupRequest>,
    ) -> Result<Response<Group>, Status> {
        let operator = Operator::of(&request)?;
        let mut request = request.into_inner();
        let name = request.group.get_or_insert_default().name.clone();
        let attempt = || async {
            let plan = self.update(&request).await?;
            self.carry_out(plan, &operator, request.validate_only).await
        };
        let group = record::written(name, attempt).await?;
        Ok(Response::new(group))
    }

    async fn delete_group(
        &self,
        request: Request<DeleteGroupRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.delete(request, &operator);
        record::written(&request.name, attempt).await?;
        Ok(Response::new(()))
    }
}

/// A write that has passed every check that can be made before the transaction.
struct Plan {
    method: &'static str,
    before: Option<(Entry, Group)>,
    after: Group,
}

impl Groups {
    async fn creation(
        &self,
        method: &'static str,
        id: &str,
        wanted: &Group,
    ) -> Result<Plan, Refusal> {
        let name = group::check(id, wanted)
            .map_err(Refusal::Invalid)?
            .resource_name();
        if self.context.store.get(&name).await?.is_some() {
            return Err(Refusal::AlreadyExists(name));
        }
        Ok(self.plan(method, name, None, wanted))
    }

    async fn update(&self, request: &UpdateGroupRequest) -> Result<Plan, Refusal> {
        let unsaid = Group::default();
        let wanted = request.group.as_ref().unwrap_or(&unsaid);
        let (chosen, mut violations) = FIELDS.select(request.update_mask.as_ref(), wanted);
        let id = group_id("group.name", &wanted.name)
            .map_err(|found| violations.insert(0, found))
            .ok();
        if let Err(found) = group::check(id.as_ref().map_or("unnamed", GroupId::as_str), wanted) {
            violations.extend(found);
        }
        let Some(id) = id.filter(|_| violations.is_empty()) else {
            return Err(Refusal::Invalid(violations));
        };
        let name = id.resource_name();
        let (etag, may_make) = (&wanted.etag, request.allow_missing);
        let before = record::before(&*self.context.store, &name, etag, may_make).await?;
        let old = before.as_ref().map(|(_, old)| old);
        let merged = mask::merged(old, wanted, &chosen);
        Ok(self.plan("UpdateGroup", name, before, &merged))
    }

    fn plan(
        &self,
        method: &'static str,
        name: String,
        before: Option<(Entry, Group)>,
        wanted: &Group,
    ) -> Plan {
        let now = wire_timestamp(self.context.clock.wall());
        let old = before.as_ref().map(|(_, group)| group);
        let after = Group {
            name,
            etag: String::new(),
            create_time: old.map_or(Some(now), |group| group.create_time),
            update_time: Some(now),
            display_name: wanted.display_name.clone(),
        };
        Plan {
            method,
            before,
            after,
        }
    }

    /// Writes what was planned, or only says what would be; `None`: something has changed since, so plan again.
    async fn carry_out(
        &self,
        plan: Plan,
        operator: &Operator,
        validate_only: bool,
    ) -> Result<Option<Group>, Refusal> {
        let old = plan.before.as_ref().map(|(_, group)| group);
        let changed = old.map(|before| FIELDS.changed(before, &plan.after));
        if let (Some((entry, before)), Some(true)) =
            (&plan.before, changed.as_ref().map(Vec::is_empty))
        {
            return Ok(Some(output(before.clone(), entry.modified)));
        }
        if validate_only {
            return Ok(Some(plan.after));
        }
        let name = plan.after.name.as_str();
        let check = match &plan.before {
            Some((entry, _)) => Check::unchanged(entry),
            None => Check::Absent(Arc::from(name)),
        };
        let change = Change {
            method: plan.method,
            resource: name,
            changed_fields: changed.unwrap_or_default(),
        };
        let ops = vec![
            record::put(name, &plan.after),
            change.row(operator, &self.context.clock),
        ];
        let revision = record::commit(&*self.context.store, vec![check], ops).await?;
        Ok(revision.map(|revision| output(plan.after, revision)))
    }

    async fn delete(
        &self,
        request: &DeleteGroupRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let store = &*self.context.store;
        let id = group_id("name", &request.name).map_err(|found| Refusal::Invalid(vec![found]))?;
        let name = id.resource_name();
        let entry = record::existing(store, &name).await?;
        record::check_etag(&request.etag, &entry)?;
        let unjoined = members::joined(store, &id).await?;
        if let Some(member) = members::find(store, &id).await? {
            let what = format!("{name} cannot be deleted: {member} belongs to it");
            return Err(Refusal::Precondition {
                resource: member,
                what,
            });
        }
        let keys = vault::keys_of(store, &name).await?;
        let checks = vec![Check::unchanged(&entry), unjoined.check];
        let mut ops = vec![
            record::delete(&name),
            unjoined.delete,
            Change::of("DeleteGroup", &name).row(operator, &self.context.clock),
        ];
        ops.extend(keys.iter().map(|(key, _)| record::delete(&key.key)));
        record::commit(store, checks, ops).await
    }
}

fn group_id(field: &str, name: &str) -> Result<GroupId, Violation> {
    record::id(
        field,
        name,
        GroupId::COLLECTION,
        GroupId::from_resource_name,
    )
}

fn read(entry: &Entry) -> Result<Group, Refusal> {
    Ok(output(record::decode(entry)?, entry.modified))
}

fn output(group: Group, modified: Revision) -> Group {
    Group {
        etag: record::etag(modified),
        ..group
    }
}
