//! Apps: what is published.

use std::{collections::BTreeSet, iter, sync::Arc};

use bytes::Bytes;
use model::{
    app::{HOSTS_MAX, Publication, SEGMENTS_MAX},
    host::{HostPattern, Hostname},
    name::{AppId, GroupId},
    path::PathPrefix,
    settings::Settings,
};
use proto::{
    admin::{
        App, CreateAppRequest, DeleteAppRequest, GetAppRequest, ListAppsRequest, ListAppsResponse,
        TestSingleSignOnRequest, TestSingleSignOnResponse, UpdateAppRequest, apps_server,
    },
    app::{filled_app, publication_under, stored_app},
    time::wire_timestamp,
    violation::Violation,
};
use runtime::node::{RESERVED_DOMAIN, is_reserved};
use tonic::{Request, Response, Status};

use super::{
    AdminContext,
    change::Change,
    images, mask, members,
    operator::Operator,
    page::{self, PageRequest, Shown},
    record,
    refusal::{Refusal, violation},
    settings,
};
use crate::{
    fabric::translating_key,
    store::{Check, Entry, Op, Revision, Store},
    vault::{self, Gone},
};

mod fields;
mod sign_on_test;
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
        let attempt = || async {
            let plan = self.creation("CreateApp", &request.app_id, &wanted).await?;
            self.carry_out(plan, &operator, request.validate_only).await
        };
        let app = record::written(format!("apps/{}", request.app_id), attempt).await?;
        Ok(Response::new(app))
    }

    async fn get_app(&self, request: Request<GetAppRequest>) -> Result<Response<App>, Status> {
        let id = app_id("name", &request.get_ref().name).map_err(Refusal::from)?;
        let entry = record::existing(&*self.context.store, &id.resource_name()).await?;
        let settings = settings::stored(&*self.context.store)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(read(&entry, &settings)?))
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
        let settings = settings::stored(&*self.context.store)
            .await
            .map_err(Refusal::from)?;
        let page = page::read(&*self.context.store, wanted, |entry| {
            read(entry, &settings).map(Shown::Yes)
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
        let mut request = request.into_inner();
        let name = request.app.get_or_insert_default().name.clone();
        let attempt = || async {
            let plan = self.update(&request).await?;
            self.carry_out(plan, &operator, request.validate_only).await
        };
        let app = record::written(name, attempt).await?;
        Ok(Response::new(app))
    }

    async fn test_single_sign_on(
        &self,
        request: Request<TestSingleSignOnRequest>,
    ) -> Result<Response<TestSingleSignOnResponse>, Status> {
        let operator = Operator::of(&request)?;
        let tested = self.test_sign_on(request.get_ref(), &operator).await?;
        Ok(Response::new(tested))
    }

    async fn delete_app(&self, request: Request<DeleteAppRequest>) -> Result<Response<()>, Status> {
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
    /// The app that is there.
    before: Option<(Entry, App)>,
    /// The app as it shall be, without what it leaves to the fabric's settings.
    after: App,
    /// The fabric's settings.
    settings: Settings,
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
        let (publication, settings) = self.check(id, wanted, Vec::new()).await?;
        let name = publication.app.id.resource_name();
        record::free(&*self.context.store, &name).await?;
        let after = stored_app(&publication, wanted);
        Ok(self.plan(method, None, after, (&publication, settings)))
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
        let merged = mask::merged(Some(&before), wanted, &chosen);
        let (publication, settings) = self.check(id.as_str(), &merged, violations).await?;
        let after = stored_app(&publication, &merged);
        let before = Some((entry, before));
        Ok(self.plan("UpdateApp", before, after, (&publication, settings)))
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
        let (publication, settings) = self.check(id.as_str(), wanted, violations).await?;
        let after = stored_app(&publication, wanted);
        Ok(self.plan("UpdateApp", None, after, (&publication, settings)))
    }

    fn plan(
        &self,
        method: &'static str,
        before: Option<(Entry, App)>,
        after: App,
        (publication, settings): (&Publication, Settings),
    ) -> Plan {
        let now = wire_timestamp(self.context.clock.wall());
        let old = before.as_ref().map(|(_, app)| app);
        let after = App {
            create_time: old.map_or(Some(now), |app| app.create_time),
            update_time: Some(now),
            ..after
        };
        let joins = old.is_none_or(|app| app.group != after.group);
        Plan {
            method,
            joins: joins.then(|| publication.app.group.clone()),
            before,
            after,
            settings,
        }
    }

    /// Everything that is wrong with an app, in itself and beside the others, with what was found before.
    async fn check(
        &self,
        id: &str,
        app: &App,
        mut violations: Vec<Violation>,
    ) -> Result<(Publication, Settings), Refusal> {
        let settings = settings::stored(&*self.context.store).await?;
        let read = publication_under(&settings, id, app);
        if let Err(found) = &read {
            violations.extend_from_slice(found);
        }
        violations.extend(self.reserved_hosts(app));
        violations.extend(self.host_violations(&format!("apps/{id}"), app).await?);
        violations.extend(self.group_violation(&app.group).await?);
        match read {
            Ok(publication) if violations.is_empty() => Ok((publication, settings)),
            Ok(_) | Err(_) => Err(Refusal::Invalid(violations)),
        }
    }

    /// The hosts that other apps have under the same path. What cannot be read is not looked for.
    async fn host_violations(&self, name: &str, app: &App) -> Result<Vec<Violation>, Refusal> {
        let mut found = Vec::new();
        for site in sites(app) {
            let Some(path) = site.path() else { continue };
            for (field, host) in site.hosts() {
                let Some(entry) = self.context.store.get(&host_key(&host, &path)).await? else {
                    continue;
                };
                if entry.value != name.as_bytes() {
                    let holder = String::from_utf8_lossy(&entry.value);
                    let what = format!("is taken: {host} with path {path} belongs to {holder}");
                    found.push(violation(field, what));
                }
            }
        }
        Ok(found)
    }

    /// The hosts that are names of nodes, as the certificate for one would go to every edge, and the hosts that edges answer themselves:
    /// where users sign in, and where they find their apps.
    fn reserved_hosts(&self, app: &App) -> impl Iterator<Item = Violation> {
        let domain = self.context.domain.parse::<Hostname>().ok();
        let own = |host: fn(&Hostname) -> Option<Hostname>| {
            domain.as_ref().and_then(host).map(HostPattern::Exact)
        };
        let (sign_in, portal) = (own(Hostname::sign_in), own(Hostname::portal));
        let hosts = sites(app).flat_map(|site| site.hosts().collect::<Vec<_>>());
        hosts.filter_map(move |(field, host)| {
            let what = if is_reserved(&host) {
                format!("is reserved for nodes: choose a host outside of {RESERVED_DOMAIN}")
            } else if sign_in.as_ref() == Some(&host) {
                "is reserved: it is where users sign in, to whatever app".to_owned()
            } else if portal.as_ref() == Some(&host) {
                "is reserved: it is where users find their apps".to_owned()
            } else {
                return None;
            };
            Some(violation(field, what))
        })
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
            return Ok(Some(output(before.clone(), entry.modified, &plan.settings)));
        }
        if validate_only {
            return Ok(Some(filled_app(plan.after, &plan.settings)));
        }
        let change = Change {
            method: plan.method,
            resource: &plan.after.name,
            changed_fields: changed.unwrap_or_default(),
        };
        let (checks, mut ops) = steps(&plan);
        ops.push(change.row(operator, &self.context.clock));
        let store = &*self.context.store;
        if plan.before.is_none() {
            // Those of an app that had the id before.
            forget_credentials(store, &plan.after.name).await?;
        }
        let revision = record::commit(store, checks, ops).await?;
        if revision.is_some() && plan.before.is_some() && plan.joins.is_some() {
            // The agents of the new group cannot open them.
            forget_credentials(store, &plan.after.name).await?;
        }
        Ok(revision.map(|revision| output(plan.after, revision, &plan.settings)))
    }

    async fn delete(
        &self,
        request: &DeleteAppRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let id = app_id("name", &request.name)?;
        let name = id.resource_name();
        let entry = record::as_seen(&*self.context.store, &name, &request.etag).await?;
        let mut ops = vec![
            record::delete(&name),
            record::delete(&images::icon_key(&id)),
        ];
        let index = index_keys(&record::decode(&entry)?);
        ops.extend(index.iter().map(|key| record::delete(key)));
        ops.push(Change::of("DeleteApp", &name).row(operator, &self.context.clock));
        let store = &*self.context.store;
        let deleted = record::commit(store, vec![Check::unchanged(&entry)], ops).await?;
        if deleted.is_some() {
            forget_credentials(store, &name).await?;
        }
        Ok(deleted)
    }
}

/// Users' credentials are for the app that they knew.
async fn forget_credentials(store: &dyn Store, app: &str) -> Result<(), Refusal> {
    if let Ok(id) = app_id("name", app) {
        vault::forget(store, Gone::App(&id)).await?;
    }
    Ok(())
}

/// The transaction of a write. A host that the app gains must be nobody's at that very moment.
fn steps(plan: &Plan) -> (Vec<Check>, Vec<Op>) {
    let name = plan.after.name.as_str();
    let (mut checks, old_index) = match &plan.before {
        Some((entry, app)) => (vec![Check::unchanged(entry)], index_keys(app)),
        None => (vec![Check::Absent(Arc::from(name))], BTreeSet::new()),
    };
    let mut ops = vec![record::put(name, &plan.after)];
    let index = index_keys(&plan.after);
    for gained in index.difference(&old_index) {
        checks.push(Check::Absent(Arc::from(gained.as_str())));
        ops.push(Op::Put(
            Arc::from(gained.as_str()),
            Bytes::copy_from_slice(name.as_bytes()),
        ));
    }
    ops.extend(
        old_index
            .difference(&index)
            .map(|lost| record::delete(lost)),
    );
    if let Some(group) = &plan.joins {
        let (exists, mark) = members::join(group);
        checks.push(exists);
        ops.push(mark);
    }
    (checks, ops)
}

/// The main part of an app, or a segment, as it is written.
struct Site<'a> {
    field: String,
    hosts: &'a [String],
    path: &'a str,
}

/// The sites of an app, as many as one may have.
fn sites(app: &App) -> impl Iterator<Item = Site<'_>> {
    let main = Site {
        field: "app".to_owned(),
        hosts: &app.hosts,
        path: &app.path,
    };
    let segments = app.segments.iter().take(SEGMENTS_MAX).enumerate();
    iter::once(main).chain(segments.map(|(index, segment)| Site {
        field: format!("app.segments[{index}]"),
        hosts: &segment.hosts,
        path: &segment.path,
    }))
}

impl Site<'_> {
    fn path(&self) -> Option<PathPrefix> {
        if self.path.is_empty() {
            return Some(PathPrefix::root());
        }
        self.path.parse().ok()
    }

    /// Those that can be read, with their fields.
    fn hosts(&self) -> impl Iterator<Item = (String, HostPattern)> {
        let hosts = self.hosts.iter().take(HOSTS_MAX).enumerate();
        hosts.filter_map(|(index, host)| {
            Some((format!("{}.hosts[{index}]", self.field), host.parse().ok()?))
        })
    }
}

fn app_id(field: &str, name: &str) -> Result<AppId, Violation> {
    record::id(field, name, AppId::COLLECTION, AppId::from_resource_name)
}

fn host_key(host: &HostPattern, path: &PathPrefix) -> String {
    format!("hosts/{host}{path}")
}

/// Index keys of a stored app, whose hosts and paths are in the one form they have. Each can be one app's only.
fn index_keys(app: &App) -> BTreeSet<String> {
    let keys = |site: Site<'_>| {
        let key = |host: &String| format!("hosts/{host}{}", site.path);
        site.hosts.iter().map(key).collect::<Vec<_>>()
    };
    let mut index: BTreeSet<_> = sites(app).flat_map(keys).collect();
    if app.translation.as_ref().is_some_and(|wanted| wanted.bodies) {
        index.insert(translating_key(&app.group, &app.name));
    }
    index
}

fn read(entry: &Entry, settings: &Settings) -> Result<App, Refusal> {
    Ok(output(record::decode(entry)?, entry.modified, settings))
}

fn output(app: App, modified: Revision, settings: &Settings) -> App {
    App {
        etag: record::etag(modified),
        ..filled_app(app, settings)
    }
}
