//! The fabric at a glance.

use std::collections::BTreeMap;

use proto::{
    admin::{App, Edge, GetStatusRequest, GetStatusResponse, GroupStatus, status_server},
    control::AgentRecord,
    time::wire_timestamp,
};
use tonic::{Request, Response};

use super::{AdminContext, edges, record, refusal::Refusal};
use crate::store::Entry;

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
        }))
    }
}

#[derive(Default)]
struct Counts {
    apps: u32,
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

    fn group(&mut self, name: &str) -> &mut GroupStatus {
        self.groups
            .entry(name.to_owned())
            .or_insert_with(|| GroupStatus {
                group: name.to_owned(),
                ..GroupStatus::default()
            })
    }
}
