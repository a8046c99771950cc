//! Who changed what, newest first.

use std::time::SystemTime;

use proto::{
    admin::{AuditEvent, ListAuditEventsRequest, ListAuditEventsResponse, audit_server},
    time::system_time,
};
use tonic::{Request, Response, Status};

use super::{
    AdminContext,
    page::{self, PageRequest, Shown},
    record,
    refusal::Refusal,
};
use crate::{audit, store::Entry};

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
        let since = request
            .since
            .as_ref()
            .map(system_time)
            .transpose()
            .map_err(|fault| Refusal::field("since", fault.to_string()))?;
        let filter = format!("{}\n{:?}", request.resource, request.since);
        let wanted = PageRequest {
            size: request.page_size,
            token: &request.page_token,
            prefix: audit::COLLECTION,
            filter: &filter,
        };
        let choose = |entry: &Entry| choose(entry, &request.resource, since);
        let page = page::read(&*self.context.store, wanted, choose).await?;
        Ok(Response::new(ListAuditEventsResponse {
            audit_events: page.items,
            next_page_token: page.next_token,
        }))
    }
}

/// Events lie in the store newest first, so the first one that is too old ends the list.
fn choose(
    entry: &Entry,
    resource: &str,
    since: Option<SystemTime>,
) -> Result<Shown<AuditEvent>, Refusal> {
    let event: AuditEvent = record::decode(entry)?;
    let time = event.time.as_ref().and_then(|time| system_time(time).ok());
    if let (Some(since), Some(time)) = (since, time)
        && time < since
    {
        return Ok(Shown::End);
    }
    let wanted = resource.is_empty() || event.resource == resource;
    Ok(if wanted { Shown::Yes(event) } else { Shown::No })
}
