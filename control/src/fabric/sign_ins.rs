//! Edges tell who came and went.

use model::name::{EdgeId, UserId};
use proto::fabric::ReportSignInsRequest;

use super::{FabricContext, ProvenNode, accounts::AdmittedEdge, refusal::Refusal};

/// Events of one report.
const EVENTS_MAX: usize = 256;
/// Bytes of an event's id.
const ID_BYTES: usize = 16;

/// Keeps what an edge reports. Names of nobody are left out: people type passwords where their name belongs.
pub(super) async fn report(
    context: &FabricContext,
    _: &AdmittedEdge,
    node: &ProvenNode,
    request: ReportSignInsRequest,
) -> Result<(), Refusal> {
    let edge: EdgeId = node
        .name
        .id()
        .parse()
        .map_err(|_| Refusal::Protocol("the edge's id is none"))?;
    let mut events = request.events;
    if events.len() > EVENTS_MAX || events.iter().any(|event| event.id.len() != ID_BYTES) {
        return Err(Refusal::Protocol(
            "a report has at most 256 events with ids of 16 bytes",
        ));
    }
    for event in &mut events {
        let user = event.user.trim().to_ascii_lowercase();
        let is_known = match user.parse::<UserId>() {
            // Whoever an identity provider has named need not have an account.
            Ok(_) if !event.provider.is_empty() => true,
            Ok(id) => context.store.get(&id.resource_name()).await?.is_some(),
            Err(_) => false,
        };
        event.user = if is_known { user } else { String::new() };
    }
    let now = context.clock.wall();
    context.sign_ins.append(&edge, events, now).await?;
    Ok(())
}
