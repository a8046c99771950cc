//! Renewal: a node that has proven itself gets a fresh certificate for the same name.

use std::sync::Arc;

use proto::fabric::EnrolResponse;

use super::{FabricContext, ProvenNode, enrol, member, refusal::Refusal};
use crate::{
    ca::NodeRequest,
    store::{ATTEMPTS_MAX, Op},
};

/// Signs a request of `node` for itself, with its old key or a new one.
pub(super) async fn renew(
    context: &FabricContext,
    node: &ProvenNode,
    csr: &[u8],
) -> Result<EnrolResponse, Refusal> {
    let request = NodeRequest::parse(csr)?;
    if *request.name() != node.name {
        return Err(Refusal::NameMismatch);
    }
    for _ in 0..ATTEMPTS_MAX {
        let member = member::admit(context, node).await?;
        let signed = context.ca.sign_node(&request, context.clock.wall())?;
        let check = member.unchanged();
        let mut record = member.record;
        record.recertify(request.key_sha256(), &node.key_sha256, signed.expires_at);
        let op = Op::Put(Arc::clone(&member.entry.key), record.encode());
        if context.commit(vec![check], vec![op]).await? {
            tracing::debug!(node = %member.entry.key, "certificate renewed");
            return Ok(enrol::answer(context, &signed));
        }
    }
    Err(Refusal::Contended)
}
