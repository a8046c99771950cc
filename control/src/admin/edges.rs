//! Edges: enrolled by join tokens; here they are looked at and sent away.

use model::name::EdgeId;
use proto::{
    admin::{
        self, DeleteEdgeRequest, Edge, GetEdgeRequest, ListEdgesRequest, ListEdgesResponse,
        RevokeEdgeRequest, edges_server,
    },
    control::EdgeRecord,
    time::wire_timestamp,
    violation::Violation,
};
use tonic::{Request, Response, Status};

use super::{
    AdminContext,
    change::Change,
    operator::Operator,
    page::{self, PageRequest, Shown},
    record,
    refusal::Refusal,
};
use crate::{
    denied,
    presence::{NodeId, Presence},
    sealing_keys,
    store::{Check, Entry, Revision},
};

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Edges {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl edges_server::Edges for Edges {
    async fn get_edge(&self, request: Request<GetEdgeRequest>) -> Result<Response<Edge>, Status> {
        let found = self.existing(&request.get_ref().name).await?;
        Ok(Response::new(output(
            found.edge,
            found.entry.modified,
            &self.context.presence,
        )))
    }

    async fn list_edges(
        &self,
        request: Request<ListEdgesRequest>,
    ) -> Result<Response<ListEdgesResponse>, Status> {
        let request = request.get_ref();
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: EdgeId::COLLECTION,
            filter: "",
        };
        let read = |entry: &Entry| read(entry, &self.context.presence).map(Shown::Yes);
        let page = page::read(&*self.context.store, wanted, read).await?;
        Ok(Response::new(ListEdgesResponse {
            edges: page.items,
            next_page_token: page.next_token,
        }))
    }

    async fn revoke_edge(
        &self,
        request: Request<RevokeEdgeRequest>,
    ) -> Result<Response<Edge>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.revoke(request, &operator);
        let edge = record::written(&request.name, attempt).await?;
        Ok(Response::new(edge))
    }

    async fn delete_edge(
        &self,
        request: Request<DeleteEdgeRequest>,
    ) -> Result<Response<()>, Status> {
        let operator = Operator::of(&request)?;
        let request = request.get_ref();
        let attempt = || self.delete(request, &operator);
        record::written(&request.name, attempt).await?;
        Ok(Response::new(()))
    }
}

/// An edge as it is stored.
struct Found {
    id: EdgeId,
    entry: Entry,
    record: EdgeRecord,
    edge: Edge,
}

impl Edges {
    async fn existing(&self, name: &str) -> Result<Found, Refusal> {
        let id = edge_id("name", name)?;
        let entry = record::existing(&*self.context.store, &id.resource_name()).await?;
        let record: EdgeRecord = record::decode(&entry)?;
        let edge = record::inner(&entry, record.edge.clone())?;
        Ok(Found {
            id,
            entry,
            record,
            edge,
        })
    }

    async fn revoke(
        &self,
        request: &RevokeEdgeRequest,
        operator: &Operator,
    ) -> Result<Option<Edge>, Refusal> {
        let found = self.existing(&request.name).await?;
        record::check_etag(&request.etag, &found.entry)?;
        if found.edge.revoked {
            return Ok(Some(output(
                found.edge,
                found.entry.modified,
                &self.context.presence,
            )));
        }
        let after = Edge {
            revoked: true,
            update_time: Some(wire_timestamp(self.context.clock.wall())),
            ..found.edge
        };
        let stored = EdgeRecord {
            edge: Some(after.clone()),
            ..found.record
        };
        let (store, now) = (&*self.context.store, self.context.clock.wall());
        // It has those by which edges state who users are.
        let (unchanged, replaced) = sealing_keys::replace_signing(store, now).await?;
        let ops = vec![
            record::put(&found.entry.key, &stored),
            replaced,
            Change::of("RevokeEdge", &request.name).row(operator, &self.context.clock),
        ];
        let checks = vec![Check::unchanged(&found.entry), unchanged];
        let revision = record::commit(&*self.context.store, checks, ops).await?;
        Ok(revision.map(|revision| output(after, revision, &self.context.presence)))
    }

    /// The id stays denied for as long as the edge's certificate would run.
    async fn delete(
        &self,
        request: &DeleteEdgeRequest,
        operator: &Operator,
    ) -> Result<Option<Revision>, Refusal> {
        let found = self.existing(&request.name).await?;
        record::check_etag(&request.etag, &found.entry)?;
        let mut ops = denied::delete_node(&found.entry);
        ops.push(Change::of("DeleteEdge", &request.name).row(operator, &self.context.clock));
        let mut checks = vec![Check::unchanged(&found.entry)];
        // One that was revoked has none that hold any more.
        if !found.edge.revoked {
            let (store, now) = (&*self.context.store, self.context.clock.wall());
            let (unchanged, replaced) = sealing_keys::replace_signing(store, now).await?;
            checks.push(unchanged);
            ops.push(replaced);
        }
        let revision = record::commit(&*self.context.store, checks, ops).await?;
        if revision.is_some() {
            self.context.presence.forget(&NodeId::Edge(found.id));
        }
        Ok(revision)
    }
}

fn edge_id(field: &str, name: &str) -> Result<EdgeId, Violation> {
    record::id(field, name, EdgeId::COLLECTION, EdgeId::from_resource_name)
}

/// The edge in an entry, with its presence.
pub(crate) fn read(entry: &Entry, presence: &Presence) -> Result<Edge, Refusal> {
    let stored: EdgeRecord = record::decode(entry)?;
    Ok(output(
        record::inner(entry, stored.edge)?,
        entry.modified,
        presence,
    ))
}

/// What is stored, with what the edge says of itself while it is connected.
fn output(mut edge: Edge, modified: Revision, presence: &Presence) -> Edge {
    edge.etag = record::etag(modified);
    let Ok(id) = edge_id("name", &edge.name) else {
        return edge;
    };
    let seen = presence.edge(&id);
    edge.set_presence(match &seen {
        _ if edge.revoked => admin::Presence::Revoked,
        Some(seen) if seen.online => admin::Presence::Online,
        Some(_) | None => admin::Presence::Offline,
    });
    if let Some(seen) = seen {
        edge.last_seen_time = Some(wire_timestamp(seen.last_seen));
        edge.version = seen.version;
        edge.applied_revision = seen.applied_revision.0;
    }
    edge
}
