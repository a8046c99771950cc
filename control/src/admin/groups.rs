//! Groups: sets of interchangeable agents.

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
    plain::{self, Plain, Plan},
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

impl Plain for Group {
    const FIELDS: &'static Fields<Self> = &FIELDS;

    fn name(&self) -> &str {
        &self.name
    }

    fn set_etag(&mut self, etag: String) {
        self.etag = etag;
    }
}

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
            plan.carry_out(&self.context, &operator, request.validate_only)
                .await
        };
        let group = record::written(format!("groups/{}", request.group_id), attempt).await?;
        Ok(Response::new(group))
    }

    async fn get_group(
        &self,
        request: Request<GetGroupRequest>,
    ) -> Result<Response<Group>, Status> {
        let id = group_id("name", &request.get_ref().name).map_err(Refusal::from)?;
        let entry = record::existing(&*self.context.store, &id.resource_name()).await?;
        Ok(Response::new(plain::read(&entry)?))
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
            plain::read(entry).map(Shown::Yes)
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
            plan.carry_out(&self.context, &operator, request.validate_only)
                .await
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

impl Groups {
    async fn creation(
        &self,
        method: &'static str,
        id: &str,
        wanted: &Group,
    ) -> Result<Plan<Group>, Refusal> {
        let name = group::check(id, wanted)
            .map_err(Refusal::Invalid)?
            .resource_name();
        record::free(&*self.context.store, &name).await?;
        Ok(self.plan(method, name, None, wanted))
    }

    async fn update(&self, request: &UpdateGroupRequest) -> Result<Plan<Group>, Refusal> {
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
    ) -> Plan<Group> {
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
            mark: None,
            also: None,
        }
    }

    async fn delete(
        &self,
        request: &DeleteGroupRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let store = &*self.context.store;
        let id = group_id("name", &request.name)?;
        let name = id.resource_name();
        let entry = record::as_seen(store, &name, &request.etag).await?;
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
