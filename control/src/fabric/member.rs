//! The record of a node in the store, whatever its role.

use std::time::SystemTime;

use bytes::Bytes;
use prost::Message as _;
use proto::{
    admin, control,
    time::{system_time, wire_timestamp},
};
use runtime::node::{NodeIdentity, Role};

use super::{FabricContext, ProvenNode, refusal::Refusal, view::Scope};
use crate::{
    presence::NodeId,
    store::{Check, Entry, Revision},
};

/// A node that is enrolled and not revoked.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) id: NodeId,
    pub(super) record: Record,
    pub(super) entry: Entry,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    Agent(control::AgentRecord, admin::Agent),
    Edge(control::EdgeRecord, admin::Edge),
}

/// Finds the member behind a proven name and key.
pub(super) async fn admit(context: &FabricContext, node: &ProvenNode) -> Result<Member, Refusal> {
    let id = proven_id(context, node)?;
    let entry = context.store.get(&id.resource_name()).await?;
    member(id, entry, node)
}

/// The same, with the newest revision of the store at that moment: the record is so at it.
pub(super) async fn admit_at_revision(
    context: &FabricContext,
    node: &ProvenNode,
) -> Result<(Member, Revision), Refusal> {
    let id = proven_id(context, node)?;
    let key = id.resource_name();
    let range = context.store.snapshot(&[&key]).await?;
    let mut entries = range.entries.into_iter();
    let entry = entries.find(|entry| *entry.key == *key);
    Ok((member(id, entry, node)?, range.revision))
}

fn proven_id(context: &FabricContext, node: &ProvenNode) -> Result<NodeId, Refusal> {
    if *node.name.domain() != context.domain {
        return Err(Refusal::OtherDomain);
    }
    node_id(&node.name).ok_or(Refusal::NameMismatch)
}

fn member(id: NodeId, entry: Option<Entry>, node: &ProvenNode) -> Result<Member, Refusal> {
    let key = id.resource_name();
    let entry = entry.ok_or_else(|| Refusal::NodeUnknown(key.clone()))?;
    let record = Record::decode(&id, &entry.value).ok_or_else(|| Refusal::Corrupt(key.clone()))?;
    record.admits(&key, &node.key_sha256)?;
    Ok(Member { id, record, entry })
}

/// The id of an agent or an edge; control has none.
pub(super) fn node_id(name: &NodeIdentity) -> Option<NodeId> {
    match name.role() {
        Role::Agent => name.agent_id().map(NodeId::Agent),
        Role::Edge => name.edge_id().map(NodeId::Edge),
        Role::Control => None,
    }
}

impl Member {
    pub(super) fn scope(&self) -> Scope {
        self.record.scope()
    }

    /// That nobody has written the record since it was read.
    pub(super) fn unchanged(&self) -> Check {
        Check::unchanged(&self.entry)
    }
}

impl Record {
    pub(super) fn decode(id: &NodeId, value: &Bytes) -> Option<Self> {
        match id {
            NodeId::Agent(_) => {
                let mut record = control::AgentRecord::decode(value.clone()).ok()?;
                let agent = record.agent.take()?;
                Some(Self::Agent(record, agent))
            }
            NodeId::Edge(_) => {
                let mut record = control::EdgeRecord::decode(value.clone()).ok()?;
                let edge = record.edge.take()?;
                Some(Self::Edge(record, edge))
            }
        }
    }

    pub(super) fn encode(self) -> Bytes {
        match self {
            Self::Agent(mut record, agent) => {
                record.agent = Some(agent);
                record.encode_to_vec().into()
            }
            Self::Edge(mut record, edge) => {
                record.edge = Some(edge);
                record.encode_to_vec().into()
            }
        }
    }

    pub(super) fn is_revoked(&self) -> bool {
        match self {
            Self::Agent(_, agent) => agent.revoked,
            Self::Edge(_, edge) => edge.revoked,
        }
    }

    /// Whether the node called `name` may call with this key: the record is of whoever was enrolled last under the name.
    pub(super) fn admits(&self, name: &str, key_sha256: &[u8; 32]) -> Result<(), Refusal> {
        if self.is_revoked() {
            return Err(Refusal::NodeRevoked(name.to_owned()));
        }
        let (current, previous) = self.keys();
        if current.is_empty() || [current, previous].contains(&&key_sha256[..]) {
            Ok(())
        } else {
            Err(Refusal::KeySuperseded(name.to_owned()))
        }
    }

    /// Digests of the key that was certified last, and of the one before; empty where there is none.
    fn keys(&self) -> (&[u8], &[u8]) {
        match self {
            Self::Agent(record, _) => (&record.key_sha256, &record.previous_key_sha256),
            Self::Edge(record, _) => (&record.key_sha256, &record.previous_key_sha256),
        }
    }

    pub(super) fn scope(&self) -> Scope {
        match self {
            Self::Agent(_, agent) => Scope::Agent {
                group: agent.group.clone(),
            },
            Self::Edge(..) => Scope::Edge,
        }
    }

    /// When the certificate ends that the node was given last.
    pub(super) fn expires_at(&self) -> Option<SystemTime> {
        let expiry = match self {
            Self::Agent(_, agent) => agent.certificate_expire_time.as_ref(),
            Self::Edge(_, edge) => edge.certificate_expire_time.as_ref(),
        };
        system_time(expiry?).ok()
    }

    /// When the node was enrolled for the first time.
    pub(super) fn created_at(&self) -> Option<SystemTime> {
        let created = match self {
            Self::Agent(_, agent) => agent.create_time.as_ref(),
            Self::Edge(_, edge) => edge.create_time.as_ref(),
        };
        system_time(created?).ok()
    }

    /// Whether the node was enrolled by this token, and has this key.
    pub(super) fn is_of(&self, join_token: &str, key_sha256: &[u8]) -> bool {
        let token = match self {
            Self::Agent(record, _) => &record.join_token,
            Self::Edge(record, _) => &record.join_token,
        };
        token == join_token && self.keys().0 == key_sha256
    }

    /// Whether this is the key that was certified last.
    pub(super) fn has_key(&self, key_sha256: &[u8]) -> bool {
        let (current, _) = self.keys();
        !current.is_empty() && current == key_sha256
    }

    /// Whether a join token for `group` could have enrolled it.
    pub(super) fn fits(&self, group: Option<&str>) -> bool {
        match self {
            Self::Agent(_, agent) => group == Some(agent.group.as_str()),
            Self::Edge(..) => group.is_none(),
        }
    }

    /// Notes the certificate that the node was given at its enrolment: no other key is the node's.
    pub(super) fn certify(&mut self, key_sha256: Vec<u8>, expires_at: SystemTime) {
        self.note(key_sha256, Vec::new(), expires_at);
    }

    /// Notes the one that it was given at a renewal. With another key it needs the one that it has proven until it has the new certificate, and
    /// while it moves its links: so that one counts until the next renewal.
    pub(super) fn recertify(&mut self, key_sha256: Vec<u8>, proven: &[u8], expires_at: SystemTime) {
        let previous = if proven == key_sha256 {
            Vec::new()
        } else {
            proven.to_vec()
        };
        self.note(key_sha256, previous, expires_at);
    }

    fn note(&mut self, key_sha256: Vec<u8>, previous: Vec<u8>, expires_at: SystemTime) {
        let expiry = Some(wire_timestamp(expires_at));
        match self {
            Self::Agent(record, agent) => {
                record.key_sha256 = key_sha256.into();
                record.previous_key_sha256 = previous.into();
                agent.certificate_expire_time = expiry;
            }
            Self::Edge(record, edge) => {
                record.key_sha256 = key_sha256.into();
                record.previous_key_sha256 = previous.into();
                edge.certificate_expire_time = expiry;
            }
        }
    }
}
