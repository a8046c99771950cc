//! The fabric at a glance.

use std::collections::{BTreeMap, BTreeSet};

use model::name::{AgentId, AppId, EdgeId};
use proto::{
    admin::{
        App, AppProblem, Edge, FailingPart, GetStatusRequest, GetStatusResponse, GroupStatus,
        Presence as Online, status_server,
    },
    control::AgentRecord,
    fabric::{AppFault, AppPart},
    time::wire_timestamp,
};
use tonic::{Request, Response};

use super::{AdminContext, edges, record, refusal::Refusal};
use crate::{presence::Presence, store::Entry, time::timestamp_of_ms};

/// Problems that are told.
const PROBLEMS_MAX: usize = 1_000;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl status_server::Status for Status {
    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, tonic::Status> {
        let context = &self.context;
        let range = context
            .store
            .snapshot(&["apps/", "groups/", "agents/", "edges/"])
            .await;
        let range = range.map_err(Refusal::from)?;
        let mut counts = Counts::default();
        for entry in &range.entries {
            counts.add(entry, context)?;
        }
        let problems = counts.problems(&context.presence);
        Ok(Response::new(GetStatusResponse {
            domain: context.domain.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            store_id: context.store.id().to_owned(),
            revision: range.revision.0,
            start_time: Some(wire_timestamp(context.start_time)),
            apps: counts.apps,
            groups: counts.groups.into_values().collect(),
            edges: counts.edges,
            ca_expire_time: Some(wire_timestamp(context.ca_expire_time)),
            problems,
        }))
    }
}

#[derive(Default)]
struct Counts {
    apps: u32,
    app_names: BTreeSet<String>,
    /// By name.
    groups: BTreeMap<String, GroupStatus>,
    edges: Vec<Edge>,
}

impl Counts {
    fn add(&mut self, entry: &Entry, context: &AdminContext) -> Result<(), Refusal> {
        match entry.key.split('/').next() {
            Some("apps") => {
                let app: App = record::decode(entry)?;
                self.apps += 1;
                self.app_names.insert(entry.key.to_string());
                self.group(&app.group).apps += 1;
            }
            Some("groups") => {
                self.group(&entry.key);
            }
            Some("agents") => self.add_agent(entry, context)?,
            Some("edges") => self.edges.push(edges::read(entry, &context.presence)?),
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Revoked agents are nobody's any more.
    fn add_agent(&mut self, entry: &Entry, context: &AdminContext) -> Result<(), Refusal> {
        let stored: AgentRecord = record::decode(entry)?;
        let agent = record::inner(entry, stored.agent)?;
        if agent.revoked {
            return Ok(());
        }
        let group = self.group(&agent.group);
        group.agents += 1;
        let id = agent
            .name
            .strip_prefix("agents/")
            .and_then(|id| id.parse().ok());
        if id.is_some_and(|id| !context.presence.links(&id).is_empty()) {
            group.agents_linked += 1;
        }
        Ok(())
    }

    /// What edges found of apps that are still published. Without an edge nobody can use any.
    fn problems(&self, presence: &Presence) -> Vec<AppProblem> {
        if !self
            .edges
            .iter()
            .any(|edge| edge.presence() == Online::Online)
        {
            let names = self.app_names.iter().take(PROBLEMS_MAX);
            return names.map(|app| without_edge(app)).collect();
        }
        let found = presence.app_faults().into_iter();
        let problems = found.map(|(edge, fault)| problem(&edge, fault));
        problems
            .filter(|problem| self.app_names.contains(&problem.app))
            .take(PROBLEMS_MAX)
            .collect()
    }

    fn group(&mut self, name: &str) -> &mut GroupStatus {
        self.groups
            .entry(name.to_owned())
            .or_insert_with(|| GroupStatus {
                group: name.to_owned(),
                ..GroupStatus::default()
            })
    }
}

fn without_edge(app: &str) -> AppProblem {
    AppProblem {
        app: app.to_owned(),
        part: FailingPart::Edge.into(),
        detail: "no edge is connected to control".to_owned(),
        ..AppProblem::default()
    }
}

fn problem(edge: &EdgeId, fault: AppFault) -> AppProblem {
    let part = match fault.part() {
        AppPart::Unspecified => FailingPart::Unspecified,
        AppPart::Edge => FailingPart::Edge,
        AppPart::Agent => FailingPart::Agent,
        AppPart::Origin => FailingPart::Origin,
    };
    AppProblem {
        app: format!("{}{}", AppId::COLLECTION, fault.app),
        edge: edge.resource_name(),
        agent: if fault.agent.is_empty() {
            String::new()
        } else {
            format!("{}{}", AgentId::COLLECTION, fault.agent)
        },
        part: part.into(),
        reason: fault.reason,
        detail: fault.detail,
        partly: fault.partly,
        since_time: timestamp_of_ms(fault.since_ms),
    }
}
