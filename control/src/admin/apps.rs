//! Apps: what is published.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use model::{
    app::Publication,
    host::HostPattern,
    name::{AppId, GroupId},
    path::PathPrefix,
};
use proto::{
    admin::{
        App, CreateAppRequest, DeleteAppRequest, GetAppRequest, ListAppsRequest, ListAppsResponse,
        UpdateAppRequest, apps_server,
    },
    app::{admin_app, publication},
    time::wire_timestamp,
    violation::Violation,
};
use runtime::node::{RESERVED_DOMAIN, is_reserved};
use tonic::{Request, Response, Status};

use super::{
    AdminContext,
    change::Change,
    members,
    operator::Operator,
    page::{self, PageRequest, Shown},
    record,
    refusal::{Refusal, violation},
};
use crate::store::{Check, Entry, Op, Revision};

mod fields;
#[cfg(test)]
mod tests;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Apps {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl apps_server::Apps for Apps {
    async fn create_app(
        &self,
        request: Request<CreateAppRequest>,
    ) -> Result<Response<App>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.into_inner();
        let wanted = request.app.unwrap_or_default();
        for _ in 0..record::ATTEMPTS_MAX {
            let plan = self.creation("CreateApp", &request.app_id, &wanted).await?;
            if let Some(app) = self
                .carry_out(plan, &operator, request.validate_only)
                .await?
            {
                return Ok(Response::new(app));
            }
        }
        Err(Refusal::Contended(format!("apps/{}", request.app_id)).into())
    }

    async fn get_app(&self, request: Request<GetAppRequest>) -> Result<Response<App>, Status> {
        let id = app_id("name", &request.get_ref().name)
            .map_err(|found| Refusal::Invalid(vec![found]))?;
        let entry = record::existing(&*self.context.store, &id.resource_name()).await?;
        Ok(Response::new(read(&entry)?))
    }

    async fn list_apps(
        &self,
        request: Request<ListAppsRequest>,
    ) -> Result<Response<ListAppsResponse>, Status> {
        let request = request.get_ref();
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: AppId::COLLECTION,
            filter: "",
        };
        let page = page::read(&*self.context.store, wanted, |entry| {
            read(entry).map(Shown::Yes)
        })
        .await?;
        Ok(Response::new(ListAppsResponse {
            apps: page.items,
            next_page_token: page.next_token,
        }))
    }

    async fn update_app(
        &self,
        request: Request<UpdateAppRequest>,
    ) -> Result<Response<App>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.into_inner();
        for _ in 0..record::ATTEMPTS_MAX {
            let plan = self.update(&request).await?;
            if let Some(app) = self
                .carry_out(plan, &operator, request.validate_only)
                .await?
            {
                return Ok(Response::new(app));
            }
        }
        Err(Refusal::Contended(request.app.unwrap_or_default().name).into())
    }

    async fn delete_app(&self, request: Request<DeleteAppRequest>) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        for _ in 0..record::ATTEMPTS_MAX {
            if self.delete(request, &operator).await?.is_some() {
                return Ok(Response::new(()));
            }
        }
        Err(Refusal::Contended(request.name.clone()).into())
    }
}

/// A write that has passed every check that can be made before the transaction.
struct Plan {
    method: &'static str,
    /// The app that is there.
    before: Option<(Entry, App)>,
    /// The app as it shall be.
    after: App,
    /// Where its group is another than before.
    joins: Option<GroupId>,
}

impl Apps {
    async fn creation(
        &self,
        method: &'static str,
        id: &str,
        wanted: &App,
    ) -> Result<Plan, Refusal> {
        let publication = self.check(id, wanted, Vec::new()).await?;
        let name = publication.app.id.resource_name();
        if self.context.store.get(&name).await?.is_some() {
            return Err(Refusal::AlreadyExists(name));
        }
        Ok(self.plan(method, None, &publication))
    }

    async fn update(&self, request: &UpdateAppRequest) -> Result<Plan, Refusal> {
        let unsaid = App::default();
        let wanted = request.app.as_ref().unwrap_or(&unsaid);
        let (chosen, mut violations) = fields::FIELDS.select(request.update_mask.as_ref(), wanted);
        let id = match app_id("app.name", &wanted.name) {
            Ok(id) => id,
            Err(found) => {
                violations.insert(0, found);
                return Err(Refusal::Invalid(violations));
            }
        };
        let Some(entry) = self.context.store.get(&id.resource_name()).await? else {
            return self
                .update_of_missing(&id, wanted, request.allow_missing, violations)
                .await;
        };
        record::check_etag(&wanted.etag, &entry)?;
        let before: App = record::decode(&entry)?;
        let mut merged = before.clone();
        for field in chosen {
            (field.copy)(&mut merged, wanted);
        }
        let publication = self.check(id.as_str(), &merged, violations).await?;
        Ok(self.plan("UpdateApp", Some((entry, before)), &publication))
    }

    /// The mask chooses nothing here: a new app is all of the message (AIP-134).
    async fn update_of_missing(
        &self,
        id: &AppId,
        wanted: &App,
        allow_missing: bool,
        violations: Vec<Violation>,
    ) -> Result<Plan, Refusal> {
        let name = id.resource_name();
        if !allow_missing && !violations.is_empty() {
            return Err(Refusal::Invalid(violations));
        }
        if !allow_missing {
            return Err(Refusal::NotFound(name));
        }
        if !wanted.etag.is_empty() {
            return Err(Refusal::EtagMismatch(name));
        }
        let publication = self.check(id.as_str(), wanted, violations).await?;
        Ok(self.plan("UpdateApp", None, &publication))
    }

    fn plan(
        &self,
        method: &'static str,
        before: Option<(Entry, App)>,
        publication: &Publication,
    ) -> Plan {
        let now = wire_timestamp(self.context.clock.wall());
        let old = before.as_ref().map(|(_, app)| app);
        let after = App {
            create_time: old.map_or(Some(now), |app| app.create_time),
            update_time: Some(now),
            ..admin_app(publication)
        };
        let joins = old.is_none_or(|app| app.group != after.group);
        Plan {
            method,
            joins: joins.then(|| publication.app.group.clone()),
            before,
            after,
        }
    }

    /// Everything that is wrong with an app, in itself and beside the others, with what was found before.
    async fn check(
        &self,
        id: &str,
        app: &App,
        mut violations: Vec<Violation>,
    ) -> Result<Publication, Refusal> {
        let read = publication(id, app);
        if let Err(found) = &read {
            violations.extend_from_slice(found);
        }
        violations.extend(reserved_hosts(app));
        violations.extend(self.host_violations(&format!("apps/{id}"), app).await?);
        violations.extend(self.group_violation(&app.group).await?);
        match read {
            Ok(publication) if violations.is_empty() => Ok(publication),
            Ok(_) | Err(_) => Err(Refusal::Invalid(violations)),
        }
    }

    /// The hosts that other apps have under the same path. What cannot be read is not looked for.
    async fn host_violations(&self, name: &str, app: &App) -> Result<Vec<Violation>, Refusal> {
        let mut found = Vec::new();
        let Some(path) = path(app) else {
            return Ok(found);
        };
        for (index, host) in app.hosts.iter().enumerate().take(model::app::HOSTS_MAX) {
            let Ok(host) = host.parse::<HostPattern>() else {
                continue;
            };
            let Some(entry) = self.context.store.get(&host_key(&host, &path)).await? else {
                continue;
            };
            if entry.value != name.as_bytes() {
                let holder = String::from_utf8_lossy(&entry.value);
                let what = format!("is taken: {host} with path {path} belongs to {holder}");
                found.push(violation(format!("app.hosts[{index}]"), what));
            }
        }
        Ok(found)
    }

    async fn group_violation(&self, group: &str) -> Result<Option<Violation>, Refusal> {
        let Some(Ok(id)) = GroupId::from_resource_name(group) else {
            return Ok(None);
        };
        let entry = self.context.store.get(&id.resource_name()).await?;
        Ok(entry
            .is_none()
            .then(|| violation("app.group", format!("does not exist: there is no {group}"))))
    }

    /// Writes what was planned, or only says what would be; `None`: something has changed since, so plan again.
    async fn carry_out(
        &self,
        plan: Plan,
        operator: &Operator,
        validate_only: bool,
    ) -> Result<Option<App>, Refusal> {
        let old = plan.before.as_ref().map(|(_, app)| app);
        let changed = old.map(|before| fields::FIELDS.changed(before, &plan.after));
        if let (Some((entry, before)), Some(true)) =
            (&plan.before, changed.as_ref().map(Vec::is_empty))
        {
            return Ok(Some(output(before.clone(), entry.modified)));
        }
        if validate_only {
            return Ok(Some(plan.after));
        }
        let change = Change {
            method: plan.method,
            resource: &plan.after.name,
            changed_fields: changed.unwrap_or_default(),
        };
        let (checks, mut ops) = steps(&plan);
        ops.push(change.row(operator, &self.context.clock));
        let revision = record::commit(&*self.context.store, checks, ops).await?;
        Ok(revision.map(|revision| output(plan.after, revision)))
    }

    async fn delete(
        &self,
        request: &DeleteAppRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let id = app_id("name", &request.name).map_err(|found| Refusal::Invalid(vec![found]))?;
        let name = id.resource_name();
        let entry = record::existing(&*self.context.store, &name).await?;
        record::check_etag(&request.etag, &entry)?;
        let mut ops = vec![record::delete(&name)];
        let hosts = host_keys(&record::decode(&entry)?);
        ops.extend(hosts.iter().map(|key| record::delete(key)));
        ops.push(Change::of("DeleteApp", &name).row(operator, &self.context.clock));
        record::commit(&*self.context.store, vec![record::unchanged(&entry)], ops).await
    }
}

/// The transaction of a write. A host that the app gains must be nobody's at that very moment.
fn steps(plan: &Plan) -> (Vec<Check>, Vec<Op>) {
    let name = plan.after.name.as_str();
    let (mut checks, old_hosts) = match &plan.before {
        Some((entry, app)) => (vec![record::unchanged(entry)], host_keys(app)),
        None => (vec![Check::Absent(Arc::from(name))], BTreeSet::new()),
    };
    let mut ops = vec![record::put(name, &plan.after)];
    let hosts = host_keys(&plan.after);
    for gained in hosts.difference(&old_hosts) {
        checks.push(Check::Absent(Arc::from(gained.as_str())));
        ops.push(Op::Put(
            Arc::from(gained.as_str()),
            Bytes::copy_from_slice(name.as_bytes()),
        ));
    }
    ops.extend(
        old_hosts
            .difference(&hosts)
            .map(|lost| record::delete(lost)),
    );
    if let Some(group) = &plan.joins {
        let (exists, mark) = members::join(group);
        checks.push(exists);
        ops.push(mark);
    }
    (checks, ops)
}

/// The hosts that are names of nodes: the certificate for one would go to every edge.
fn reserved_hosts(app: &App) -> impl Iterator<Item = Violation> {
    let hosts = app.hosts.iter().take(model::app::HOSTS_MAX).enumerate();
    hosts.filter_map(|(index, host)| {
        let host: HostPattern = host.parse().ok()?;
        let what = format!("is reserved for nodes: choose a host outside of {RESERVED_DOMAIN}");
        is_reserved(&host).then(|| violation(format!("app.hosts[{index}]"), what))
    })
}

fn app_id(field: &str, name: &str) -> Result<AppId, Violation> {
    record::id(field, name, AppId::COLLECTION, AppId::from_resource_name)
}

fn path(app: &App) -> Option<PathPrefix> {
    if app.path.is_empty() {
        return Some(PathPrefix::root());
    }
    app.path.parse().ok()
}

fn host_key(host: &HostPattern, path: &PathPrefix) -> String {
    format!("hosts/{host}{path}")
}

/// Index keys of a stored app, whose hosts and path are in the one form they have.
fn host_keys(app: &App) -> BTreeSet<String> {
    app.hosts
        .iter()
        .map(|host| format!("hosts/{host}{}", app.path))
        .collect()
}

fn read(entry: &Entry) -> Result<App, Refusal> {
    Ok(output(record::decode(entry)?, entry.modified))
}

fn output(app: App, modified: Revision) -> App {
    App {
        etag: record::etag(modified),
        ..app
    }
}
