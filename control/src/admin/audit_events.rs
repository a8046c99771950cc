//! Who changed what, newest first.

use std::time::SystemTime;

use proto::{
    admin::{AuditEvent, ListAuditEventsRequest, ListAuditEventsResponse, audit_server},
    time::{system_time, wire_timestamp},
};
use tonic::{Request, Response, Status};

use super::{
    AdminContext,
    page::{self, PageRequest, Shown},
    record,
    refusal::Refusal,
};
use crate::{audit, store::Entry};

#[cfg(test)]
mod tests;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct AuditEvents {
    pub(crate) context: AdminContext,
}

#[tonic::async_trait]
impl audit_server::Audit for AuditEvents {
    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        let request = request.get_ref();
        let read_time = wire_timestamp(self.context.clock.wall());
        let wanted = Wanted::read(request)?;
        let filter = format!("{wanted:?}");
        let asked = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: audit::COLLECTION,
            filter: &filter,
        };
        let choose = |entry: &Entry| wanted.choose(entry);
        let page = page::read(&*self.context.store, asked, choose).await?;
        Ok(Response::new(ListAuditEventsResponse {
            audit_events: page.items,
            next_page_token: page.next_token,
            read_time: Some(read_time),
        }))
    }
}

/// Which events are asked for; what is empty asks for all.
#[derive(Debug)]
struct Wanted<'a> {
    actor: &'a str,
    method: &'a str,
    resource: &'a str,
    /// Only attempts that were refused.
    refused: bool,
    since: Option<SystemTime>,
}

impl<'a> Wanted<'a> {
    fn read(request: &'a ListAuditEventsRequest) -> Result<Self, Refusal> {
        let since = request.since.as_ref().map(system_time).transpose();
        let since = since.map_err(|fault| Refusal::field("since", fault.to_string()))?;
        Ok(Self {
            actor: &request.actor,
            method: &request.method,
            resource: &request.resource,
            refused: request.refused,
            since,
        })
    }

    /// Events lie in the store newest first, so the first one that is too old ends the list.
    fn choose(&self, entry: &Entry) -> Result<Shown<AuditEvent>, Refusal> {
        let event: AuditEvent = record::decode(entry)?;
        let time = event.time.as_ref().and_then(|time| system_time(time).ok());
        if let (Some(since), Some(time)) = (self.since, time)
            && time < since
        {
            return Ok(Shown::End);
        }
        let is = |wanted: &str, said: &str| wanted.is_empty() || wanted == said;
        let wanted = is(self.actor, &event.actor)
            && is(self.method, &event.method)
            && is(self.resource, &event.resource)
            && (event.refused || !self.refused);
        Ok(if wanted { Shown::Yes(event) } else { Shown::No })
    }
}
