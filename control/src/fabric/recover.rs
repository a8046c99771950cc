//! Recovery: a node that was away until its certificate had run out comes back as itself, by the key that it had.
//!
//! What proves it is the signature of the certificate request, which the key that was certified last must have made. Whoever has that key
//! could have renewed the certificate for ever, so this gives nobody more than a renewal would, except for a copy of a disk that
//! lay still: after [`RECOVERABLE`] nothing comes back by its key. A stranger learns nothing: as long as no key is proven, all answers
//! are the same, and an address that gets many of them, or whose requests cannot be read, is told no more.

use std::{net::SocketAddr, sync::Arc};

use proto::fabric::EnrolResponse;
use runtime::identity::RECOVERABLE;

use super::{
    FabricContext, Service, enrol,
    member::{self, Record},
    refusal::Refusal,
};
use crate::{
    audit,
    ca::NodeRequest,
    presence::NodeId,
    store::{ATTEMPTS_MAX, Check, Entry, Op},
    telemetry,
};

/// A node that has proven its key.
struct Returning {
    id: NodeId,
    record: Record,
    entry: Entry,
}

impl Service {
    pub(super) async fn recover_from(
        &self,
        peer: Option<SocketAddr>,
        csr: &[u8],
    ) -> Result<EnrolResponse, Refusal> {
        let outcome = recover(&self.context, peer, csr).await;
        let outcome = outcome.map_err(|refusal| self.hide_if_barred(peer, refusal));
        let word = outcome
            .as_ref()
            .map_or_else(|refusal| refusal.class().1, |_| "recovered");
        telemetry::enrolments(word).increment(1);
        outcome
    }
}

async fn recover(
    context: &FabricContext,
    peer: Option<SocketAddr>,
    csr: &[u8],
) -> Result<EnrolResponse, Refusal> {
    let request = NodeRequest::parse(csr).map_err(Refusal::UnprovenRequest)?;
    for _ in 0..ATTEMPTS_MAX {
        let Returning { id, record, entry } = prove(context, &request).await?;
        let now = context.clock.wall();
        let was_over = record.expires_at().is_some_and(|expiry| expiry < now);
        let signed = context.ca.sign_node(&request, now)?;
        let check = Check::unchanged(&entry);
        let mut recovered = record;
        recovered.certify(request.key_sha256(), signed.expires_at);
        let mut ops = vec![Op::Put(Arc::clone(&entry.key), recovered.encode())];
        // A node whose clock is ahead may ask at any time, and must not push out what others did.
        if was_over {
            ops.push(audit::op(event(&id, peer), &context.clock));
        }
        if context.commit(vec![check], ops).await? {
            tracing::info!(node = %entry.key, "node recovered by its key");
            return Ok(enrol::answer(context, &signed));
        }
    }
    Err(Refusal::Contended)
}

/// Finds the record of the node that has made the request. What is wrong with it is told only to who has its key.
async fn prove(context: &FabricContext, request: &NodeRequest) -> Result<Returning, Refusal> {
    let name = request.name();
    if *name.domain() != context.domain {
        return Err(Refusal::NotRecoverable);
    }
    let id = member::node_id(name).ok_or(Refusal::NotRecoverable)?;
    let key = id.resource_name();
    let entry = context.store.get(&key).await?;
    let entry = entry.ok_or(Refusal::NotRecoverable)?;
    let record = Record::decode(&id, &entry.value).ok_or_else(|| Refusal::Corrupt(key.clone()))?;
    if !record.has_key(&request.key_sha256()) {
        return Err(Refusal::NotRecoverable);
    }
    if record.is_revoked() {
        return Err(Refusal::NodeRevoked(key));
    }
    let end = record.expires_at().map(|expiry| expiry + RECOVERABLE);
    if end.is_none_or(|end| end < context.clock.wall()) {
        return Err(Refusal::AwayTooLong(key));
    }
    Ok(Returning { id, record, entry })
}

fn event(id: &NodeId, peer: Option<SocketAddr>) -> audit::Event {
    audit::Event {
        actor: id.resource_name(),
        method: "Recover",
        resource: id.resource_name(),
        peer: peer.map(|peer| peer.to_string()).unwrap_or_default(),
        ..audit::Event::default()
    }
}
