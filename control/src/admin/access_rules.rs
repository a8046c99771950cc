//! Access rules: what requests for apps with sign-in must meet.

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
    plain::{self, Plain, Plan},
    record,
    refusal::{Refusal, sound},
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

impl Plain for AccessRule {
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
            plan.carry_out(&self.context, &operator, request.validate_only)
                .await
        };
        let rule =
            record::written(format!("accessRules/{}", request.access_rule_id), attempt).await?;
        Ok(Response::new(rule))
    }

    async fn get_access_rule(
        &self,
        request: Request<GetAccessRuleRequest>,
    ) -> Result<Response<AccessRule>, Status> {
        let id = access_rule_id("name", &request.get_ref().name).map_err(Refusal::from)?;
        let entry = record::existing(&*self.context.store, &id.resource_name()).await?;
        Ok(Response::new(plain::read(&entry)?))
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
            plain::read(entry).map(Shown::Yes)
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
            plan.carry_out(&self.context, &operator, request.validate_only)
                .await
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

impl AccessRules {
    async fn creation(&self, id: &str, wanted: &AccessRule) -> Result<Plan<AccessRule>, Refusal> {
        let checked = access_rule::check(id, wanted).map_err(Refusal::Invalid)?;
        let name = checked.0.resource_name();
        record::free(&*self.context.store, &name).await?;
        self.plan("CreateAccessRule", checked, None, wanted).await
    }

    async fn update(&self, request: &UpdateAccessRuleRequest) -> Result<Plan<AccessRule>, Refusal> {
        let unsaid = AccessRule::default();
        let wanted = request.access_rule.as_ref().unwrap_or(&unsaid);
        let (chosen, violations) = FIELDS.select(request.update_mask.as_ref(), wanted);
        let id = sound(access_rule_id("access_rule.name", &wanted.name), violations)?;
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
    ) -> Result<Plan<AccessRule>, Refusal> {
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
            mark: Some(mark),
            also: None,
        })
    }

    async fn delete(
        &self,
        request: &DeleteAccessRuleRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let store = &*self.context.store;
        let id = access_rule_id("name", &request.name)?;
        let name = id.resource_name();
        let entry = record::as_seen(store, &name, &request.etag).await?;
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
