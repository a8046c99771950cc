//! Access rules: what requests for apps with sign-in must meet.

use std::sync::Arc;

use model::{
    access::policy::{Policy, RULES_MAX},
    name::AccessRuleId,
};
use proto::{
    access, access_rule,
    admin::{
        AccessExplanation, AccessRule, CreateAccessRuleRequest, DeleteAccessRuleRequest,
        GetAccessExplanationRequest, GetAccessRuleRequest, ListAccessRulesRequest,
        ListAccessRulesResponse, UpdateAccessRuleRequest, access_rules_server,
    },
    time::wire_timestamp,
    violation::Violation,
};
use tonic::{Request, Response, Status};

use super::{
    AdminContext, access_references as references,
    change::Change,
    mask::{self, Field, Fields},
    operator::Operator,
    page::{self, PageRequest, Shown},
    record,
    refusal::Refusal,
};
use crate::store::{Check, Entry, Revision};

mod explain;

/// A part of what the rule says, taken over whole.
macro_rules! part {
    ($path:literal, $field:ident) => {
        Field {
            path: $path,
            is_set: |rule| policy(rule).$field != access::Policy::default().$field,
            copy: |to, from| to.policy.get_or_insert_default().$field = policy(from).$field,
        }
    };
}

static FIELDS: Fields<AccessRule> = Fields {
    leaves: &[
        Field {
            path: "display_name",
            is_set: |rule| !rule.display_name.is_empty(),
            copy: |to, from| to.display_name.clone_from(&from.display_name),
        },
        part!("policy.state", state),
        part!("policy.message", message),
        part!("policy.who", who),
        part!("policy.which", which),
        part!("policy.place", place),
        part!("policy.platforms", platforms),
        part!("policy.clients", clients),
        part!("policy.schedule", schedule),
        part!("policy.when", when),
        part!("policy.grant", grant),
        part!("policy.controls", controls),
    ],
    output_only: &["name", "etag", "create_time", "update_time"],
};

fn policy(rule: &AccessRule) -> access::Policy {
    rule.policy.clone().unwrap_or_default()
}

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct AccessRules {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl access_rules_server::AccessRules for AccessRules {
    async fn create_access_rule(
        &self,
        request: Request<CreateAccessRuleRequest>,
    ) -> Result<Response<AccessRule>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.into_inner();
        let wanted = request.access_rule.unwrap_or_default();
        let attempt = || async {
            let plan = self.creation(&request.access_rule_id, &wanted).await?;
            self.carry_out(plan, &operator, request.validate_only).await
        };
        let rule =
            record::written(format!("accessRules/{}", request.access_rule_id), attempt).await?;
        Ok(Response::new(rule))
    }

    async fn get_access_rule(
        &self,
        request: Request<GetAccessRuleRequest>,
    ) -> Result<Response<AccessRule>, Status> {
        let id = access_rule_id("name", &request.get_ref().name)
            .map_err(|found| Refusal::Invalid(vec![found]))?;
        let entry = record::existing(&*self.context.store, &id.resource_name()).await?;
        Ok(Response::new(read(&entry)?))
    }

    async fn list_access_rules(
        &self,
        request: Request<ListAccessRulesRequest>,
    ) -> Result<Response<ListAccessRulesResponse>, Status> {
        let request = request.get_ref();
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: AccessRuleId::COLLECTION,
            filter: "",
        };
        let page = page::read(&*self.context.store, wanted, |entry| {
            read(entry).map(Shown::Yes)
        })
        .await?;
        Ok(Response::new(ListAccessRulesResponse {
            access_rules: page.items,
            next_page_token: page.next_token,
        }))
    }

    async fn update_access_rule(
        &self,
        request: Request<UpdateAccessRuleRequest>,
    ) -> Result<Response<AccessRule>, Status> {
        let operator = Operator::of(&request)?;
        let mut request = request.into_inner();
        let name = request.access_rule.get_or_insert_default().name.clone();
        let attempt = || async {
            let plan = self.update(&request).await?;
            self.carry_out(plan, &operator, request.validate_only).await
        };
        let rule = record::written(name, attempt).await?;
        Ok(Response::new(rule))
    }

    async fn delete_access_rule(
        &self,
        request: Request<DeleteAccessRuleRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.delete(request, &operator);
        record::written(&request.name, attempt).await?;
        Ok(Response::new(()))
    }

    async fn get_access_explanation(
        &self,
        request: Request<GetAccessExplanationRequest>,
    ) -> Result<Response<AccessExplanation>, Status> {
        let explained = explain::explain(&self.context, request.get_ref()).await?;
        Ok(Response::new(explained))
    }
}

/// A write that has passed every check that can be made before the transaction.
struct Plan {
    method: &'static str,
    before: Option<(Entry, AccessRule)>,
    after: AccessRule,
    /// That there are not too many, and that what it names stays.
    mark: references::Mark,
}

impl AccessRules {
    async fn creation(&self, id: &str, wanted: &AccessRule) -> Result<Plan, Refusal> {
        let checked = access_rule::check(id, wanted).map_err(Refusal::Invalid)?;
        let name = checked.0.resource_name();
        if self.context.store.get(&name).await?.is_some() {
            return Err(Refusal::AlreadyExists(name));
        }
        self.plan("CreateAccessRule", checked, None, wanted).await
    }

    async fn update(&self, request: &UpdateAccessRuleRequest) -> Result<Plan, Refusal> {
        let unsaid = AccessRule::default();
        let wanted = request.access_rule.as_ref().unwrap_or(&unsaid);
        let (chosen, mut violations) = FIELDS.select(request.update_mask.as_ref(), wanted);
        let id = access_rule_id("access_rule.name", &wanted.name)
            .map_err(|found| violations.insert(0, found))
            .ok();
        let Some(id) = id.filter(|_| violations.is_empty()) else {
            return Err(Refusal::Invalid(violations));
        };
        let name = id.resource_name();
        let (etag, may_make) = (&wanted.etag, request.allow_missing);
        let before = record::before(&*self.context.store, &name, etag, may_make).await?;
        let old = before.as_ref().map(|(_, old)| old);
        let merged = mask::merged(old, wanted, &chosen);
        let checked = access_rule::check(id.as_str(), &merged).map_err(Refusal::Invalid)?;
        let planned = self.plan("UpdateAccessRule", checked, before, &merged);
        planned.await
    }

    /// `checked` has the id of the rule, and what it says, of which all has been looked at but whether what it names is there.
    async fn plan(
        &self,
        method: &'static str,
        (id, says): (AccessRuleId, Policy),
        before: Option<(Entry, AccessRule)>,
        wanted: &AccessRule,
    ) -> Result<Plan, Refusal> {
        let store = &*self.context.store;
        let mark = match before {
            Some(_) => references::mark(store).await?,
            None => references::fewer_than(store, AccessRuleId::COLLECTION, RULES_MAX).await?,
        };
        let old = before.as_ref().map(|(_, rule)| rule);
        let missing = references::missing(store, wanted, old).await?;
        if !missing.is_empty() {
            return Err(Refusal::Invalid(missing));
        }
        let now = wire_timestamp(self.context.clock.wall());
        let after = AccessRule {
            name: id.resource_name(),
            etag: String::new(),
            create_time: old.map_or(Some(now), |rule| rule.create_time),
            update_time: Some(now),
            display_name: wanted.display_name.clone(),
            policy: Some(access_rule::write_policy(&says)),
        };
        Ok(Plan {
            method,
            before,
            after,
            mark,
        })
    }

    /// Writes what was planned, or only says what would be; `None`: something has changed since, so plan again.
    async fn carry_out(
        &self,
        plan: Plan,
        operator: &Operator,
        validate_only: bool,
    ) -> Result<Option<AccessRule>, Refusal> {
        let old = plan.before.as_ref().map(|(_, rule)| rule);
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
            plan.mark.write,
            change.row(operator, &self.context.clock),
        ];
        let checks = vec![check, plan.mark.check];
        let revision = record::commit(&*self.context.store, checks, ops).await?;
        Ok(revision.map(|revision| output(plan.after, revision)))
    }

    async fn delete(
        &self,
        request: &DeleteAccessRuleRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let store = &*self.context.store;
        let id =
            access_rule_id("name", &request.name).map_err(|found| Refusal::Invalid(vec![found]))?;
        let name = id.resource_name();
        let entry = record::existing(store, &name).await?;
        record::check_etag(&request.etag, &entry)?;
        let checks = vec![Check::unchanged(&entry)];
        let ops = vec![
            record::delete(&name),
            Change::of("DeleteAccessRule", &name).row(operator, &self.context.clock),
        ];
        record::commit(store, checks, ops).await
    }
}

fn access_rule_id(field: &str, name: &str) -> Result<AccessRuleId, Violation> {
    let read = AccessRuleId::from_resource_name;
    record::id(field, name, AccessRuleId::COLLECTION, read)
}

fn read(entry: &Entry) -> Result<AccessRule, Refusal> {
    Ok(output(record::decode(entry)?, entry.modified))
}

fn output(rule: AccessRule, modified: Revision) -> AccessRule {
    AccessRule {
        etag: record::etag(modified),
        ..rule
    }
}
