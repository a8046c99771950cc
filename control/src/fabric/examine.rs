//! What a node that looks for its fault hears: whether it is let in, what control's clock says, where its edges are.

use std::net::SocketAddr;

use model::name::{EdgeId, GroupId};
use proto::fabric::{EdgeRecord, ExamineResponse, resource::Kind};

use super::{
    FabricContext, ProvenNode, Service, enrol, member,
    refusal::Refusal,
    view::{Scope, View},
};
use crate::{store::Entry, time::unix_ms, tokens::TokenError};

/// Edges that are told; an agent keeps links with no more.
const EDGES_MAX: usize = 256;

/// Answers a node that has proven who it is, as long as it may call.
pub(super) async fn of_member(
    context: &FabricContext,
    node: &ProvenNode,
) -> Result<ExamineResponse, Refusal> {
    let member = member::admit(context, node).await?;
    answer(context, member.scope()).await
}

impl Service {
    /// Answers who has a join token that would let one node in. The token is not used by it.
    pub(super) async fn examine_token(
        &self,
        peer: Option<SocketAddr>,
        token: &str,
    ) -> Result<ExamineResponse, Refusal> {
        if token.is_empty() {
            return Err(Refusal::NoCertificate);
        }
        let usable = enrol::token(&self.context, token).await;
        let usable = usable.and_then(|usable| match usable.count {
            Some(_) => Ok(usable),
            None => Err(TokenError::UsedUp.into()),
        });
        let usable = usable.map_err(|refusal| self.hide_if_barred(peer, refusal))?;
        let scope = match usable.group.as_ref().map(GroupId::resource_name) {
            Some(group) => Scope::Agent { group },
            None => Scope::Edge,
        };
        answer(&self.context, scope).await
    }
}

async fn answer(context: &FabricContext, scope: Scope) -> Result<ExamineResponse, Refusal> {
    let edges = edges(context, scope).await?;
    Ok(ExamineResponse {
        edges,
        time_ms: unix_ms(context.clock.wall()),
    })
}

/// The edges that a node of this scope is told of, without those that are revoked.
async fn edges(context: &FabricContext, scope: Scope) -> Result<Vec<EdgeRecord>, Refusal> {
    let view = View::now(scope, &*context.store).await?;
    let range = context
        .store
        .range(EdgeId::COLLECTION, None, EDGES_MAX)
        .await?;
    let told = range
        .entries
        .iter()
        .flat_map(|Entry { key, value, .. }| view.resources(key, value));
    let edges = told.filter_map(|resource| match resource.kind {
        Some(Kind::Edge(edge)) if !edge.revoked => Some(edge),
        Some(_) | None => None,
    });
    Ok(edges.collect())
}
