//! What a node may know of the store: every key and value it is told passes through here.

use bytes::Bytes;
use model::{
    app::Publication,
    name::{AgentId, AppId, EdgeId, GroupId},
};
use prost::Message as _;
use proto::{
    admin, control,
    fabric::{self, Resource, resource::Kind},
};

use crate::presence::NodeId;

/// Key of the fabric's own record.
pub(crate) const FABRIC_KEY: &str = "fabric";
/// Prefix of the keys of certificates for users.
pub(crate) const CERTIFICATES: &str = "certificates/";

/// A node's share of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum View {
    /// The apps of one group, and every edge.
    Agent {
        /// `groups/{id}`.
        group: String,
    },
    /// Every app without its origins, every agent, the certificates.
    Edge,
}

impl View {
    /// Prefixes of all keys that may have something to tell to a node of this role.
    pub(super) fn prefixes(id: &NodeId) -> &'static [&'static str] {
        match id {
            NodeId::Agent(_) => &[FABRIC_KEY, AppId::COLLECTION, EdgeId::COLLECTION],
            NodeId::Edge(_) => &[
                FABRIC_KEY,
                AppId::COLLECTION,
                AgentId::COLLECTION,
                CERTIFICATES,
            ],
        }
    }

    /// What the node is told of an entry; `None`: nothing.
    pub(super) fn resource(&self, key: &str, value: &Bytes) -> Option<Resource> {
        let value = value.clone();
        let kind = if key == FABRIC_KEY {
            fabric_settings(value)
        } else if key.starts_with(AppId::COLLECTION) {
            self.app(key, value)
        } else {
            match self {
                Self::Agent { .. } if key.starts_with(EdgeId::COLLECTION) => edge(value),
                Self::Edge if key.starts_with(AgentId::COLLECTION) => agent(value),
                Self::Edge if key.starts_with(CERTIFICATES) => certificate(value),
                Self::Agent { .. } | Self::Edge => None,
            }
        };
        Some(Resource {
            name: key.to_owned(),
            kind: Some(kind?),
        })
    }

    fn app(&self, key: &str, value: Bytes) -> Option<Kind> {
        let app = admin::App::decode(value).ok();
        let publication = app.and_then(|app| {
            if matches!(self, Self::Agent { group } if *group != app.group) {
                return Some(None);
            }
            let id = key.strip_prefix(AppId::COLLECTION)?;
            proto::app::publication(id, &app).ok().map(Some)
        });
        let Some(publication) = publication else {
            tracing::error!(
                app = key,
                "a stored app cannot be read and is not told to nodes"
            );
            return None;
        };
        publication.map(|publication| self.half(&publication))
    }

    fn half(&self, publication: &Publication) -> Kind {
        match self {
            Self::Agent { .. } => Kind::AgentApp((&publication.agent_app()).into()),
            Self::Edge => Kind::EdgeApp((&publication.app).into()),
        }
    }
}

fn fabric_settings(value: Bytes) -> Option<Kind> {
    let record = control::FabricRecord::decode(value).ok()?;
    Some(Kind::Fabric(fabric::FabricSettings {
        domain: record.domain,
        roots: record.roots,
        ..fabric::FabricSettings::default()
    }))
}

fn agent(value: Bytes) -> Option<Kind> {
    let agent = control::AgentRecord::decode(value).ok()?.agent?;
    Some(Kind::Agent(fabric::AgentRecord {
        id: bare(&agent.name, AgentId::COLLECTION)?,
        group: bare(&agent.group, GroupId::COLLECTION)?,
        revoked: agent.revoked,
    }))
}

/// Nothing until the edge has said where it is: an agent could not dial it.
fn edge(value: Bytes) -> Option<Kind> {
    let record = control::EdgeRecord::decode(value).ok()?;
    let edge = record.edge?;
    if edge.tunnel_address.is_empty() {
        return None;
    }
    Some(Kind::Edge(fabric::EdgeRecord {
        id: bare(&edge.name, EdgeId::COLLECTION)?,
        tunnel_address: edge.tunnel_address,
        workers: record.workers,
        revoked: edge.revoked,
    }))
}

fn certificate(value: Bytes) -> Option<Kind> {
    let record = control::CertificateRecord::decode(value).ok()?;
    Some(Kind::Certificate(fabric::Certificate {
        names: record.names,
        chain: record.chain,
        key: record.key,
    }))
}

fn bare(name: &str, collection: &str) -> Option<String> {
    name.strip_prefix(collection).map(str::to_owned)
}
