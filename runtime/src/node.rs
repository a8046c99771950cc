//! What nodes of a fabric are called, in certificates and in TLS.
//!
//! Every certificate that the fabric's CA gives a node carries the URI SAN `spiffe://<domain>/<role>/<id>`: that is its
//! identity, and identity is read from nothing else. Nodes that others dial also carry one DNS SAN, so that the ordinary
//! check of a server's name works: an edge `<id>.edge.<domain>.adit.internal`, control `control.adit.internal`
//! (the CA already says which fabric; a node may have to dial control before it knows the domain).
//! These names are never looked up in DNS; `.internal` is reserved for private use.

use std::{fmt, str::FromStr};

use model::{
    host::{HostPattern, Hostname},
    name::{AgentId, EdgeId, IdError},
};
use rustls_pki_types::{InvalidDnsNameError, ServerName};
use serde::{Deserialize, Serialize};

/// Domain of every name that nodes ask of each other. A certificate for one of them, in hands other than that node's,
/// would make its holder the node.
pub const RESERVED_DOMAIN: &str = "adit.internal";
/// DNS SAN of control, and the name that is asked of it.
pub const CONTROL_SERVER_NAME: &str = "control.adit.internal";

/// What a node does in the fabric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Beside the origins.
    Agent,
    /// Faces users.
    Edge,
    /// Holds the desired state.
    Control,
}

impl Role {
    /// As it stands in certificates, logs and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Edge => "edge",
            Self::Control => "control",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who a node is: its fabric's domain, its role, its id. Shown as its SPIFFE URI.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeIdentity {
    domain: Hostname,
    role: Role,
    id: String,
}

/// Why text is no node's identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not of the form spiffe://<domain>/<agent|edge|control>/<id>")]
pub struct NodeIdentityError {
    text: String,
}

impl NodeIdentity {
    /// Names a node.
    ///
    /// # Errors
    /// When the id is none.
    pub fn new(domain: Hostname, role: Role, id: &str) -> Result<Self, IdError> {
        // Ids of every kind follow one rule; this kind stands for all.
        id.parse::<AgentId>()?;
        Ok(Self {
            domain,
            role,
            id: id.to_owned(),
        })
    }

    /// Domain of the fabric.
    #[must_use]
    pub fn domain(&self) -> &Hostname {
        &self.domain
    }

    /// What it does.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its id within its role.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its id, if it is an agent.
    #[must_use]
    pub fn agent_id(&self) -> Option<AgentId> {
        (self.role == Role::Agent)
            .then(|| self.id.parse().ok())
            .flatten()
    }

    /// Its id, if it is an edge.
    #[must_use]
    pub fn edge_id(&self) -> Option<EdgeId> {
        (self.role == Role::Edge)
            .then(|| self.id.parse().ok())
            .flatten()
    }

    /// The DNS SAN that its certificate carries besides the URI: for the roles that others dial.
    #[must_use]
    pub fn dns_name(&self) -> Option<String> {
        match self.role {
            Role::Agent => None,
            Role::Edge => Some(format!("{}.edge.{}.adit.internal", self.id, self.domain)),
            Role::Control => Some(CONTROL_SERVER_NAME.to_owned()),
        }
    }
}

impl fmt::Display for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}/{}", self.domain, self.role, self.id)
    }
}

impl FromStr for NodeIdentity {
    type Err = NodeIdentityError;

    /// Strict: only the one canonical spelling is taken.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text)
            .filter(|identity| identity.to_string() == text)
            .ok_or_else(|| NodeIdentityError {
                text: text.to_owned(),
            })
    }
}

fn parse(text: &str) -> Option<NodeIdentity> {
    let mut parts = text.strip_prefix("spiffe://")?.splitn(3, '/');
    let domain = parts.next()?.parse().ok()?;
    let role = match parts.next()? {
        "agent" => Role::Agent,
        "edge" => Role::Edge,
        "control" => Role::Control,
        _ => return None,
    };
    NodeIdentity::new(domain, role, parts.next()?).ok()
}

/// Whether a host lies in [`RESERVED_DOMAIN`], so that nobody may publish it or have a certificate for it.
#[must_use]
pub fn is_reserved(host: &HostPattern) -> bool {
    let (HostPattern::Exact(name) | HostPattern::Wildcard(name)) = host;
    let above = name.as_str().strip_suffix(RESERVED_DOMAIN);
    above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

/// The name to ask of an edge in TLS.
///
/// # Errors
/// When domain and id together are longer than DNS allows.
pub fn edge_server_name(
    domain: &Hostname,
    id: &EdgeId,
) -> Result<ServerName<'static>, InvalidDnsNameError> {
    format!("{id}.edge.{domain}.adit.internal").try_into()
}

/// The name to ask of control in TLS.
#[must_use]
pub fn control_server_name() -> ServerName<'static> {
    ServerName::try_from(CONTROL_SERVER_NAME).expect("the constant is a DNS name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_survives_text() {
        for text in [
            "spiffe://example.com/agent/a1",
            "spiffe://localhost/control/c1",
        ] {
            let identity: NodeIdentity = text.parse().unwrap();
            assert_eq!(identity.to_string(), text);
        }
        let edge: NodeIdentity = "spiffe://example.com/edge/e1".parse().unwrap();
        assert_eq!(
            edge.edge_id().map(|id| id.to_string()),
            Some("e1".to_owned())
        );
        assert_eq!(edge.agent_id(), None);
        assert_eq!(
            edge.dns_name().as_deref(),
            Some("e1.edge.example.com.adit.internal")
        );
    }

    #[test]
    fn names_of_nodes_are_reserved() {
        let is_reserved = |host: &str| is_reserved(&host.parse().unwrap());
        let edge: NodeIdentity = "spiffe://example.com/edge/e1".parse().unwrap();
        for host in [
            CONTROL_SERVER_NAME,
            RESERVED_DOMAIN,
            "*.adit.internal",
            &edge.dns_name().unwrap(),
        ] {
            assert!(is_reserved(host), "{host}");
        }
        for host in [
            "internal",
            "wiki.internal",
            "*.wiki.internal",
            "myadit.internal",
            "adit.internal.example.com",
        ] {
            assert!(!is_reserved(host), "{host}");
        }
    }

    #[test]
    fn anything_but_the_canonical_form_is_refused() {
        for text in [
            "",
            "spiffe://example.com",
            "spiffe://example.com/agent",
            "spiffe://example.com/agent/",
            "spiffe://example.com/agent/a/b",
            "spiffe://example.com/user/a",
            "spiffe://EXAMPLE.com/agent/a",
            "spiffe://example.com:1/agent/a",
            "spiffe:///agent/a",
            "https://example.com/agent/a",
            "spiffe://example.com/agent/a?x",
        ] {
            assert!(text.parse::<NodeIdentity>().is_err(), "{text}");
        }
    }

    #[test]
    fn server_names_are_those_in_certificates() {
        let domain = "example.com".parse().unwrap();
        let id = "e1".parse().unwrap();
        let edge = NodeIdentity::new("example.com".parse().unwrap(), Role::Edge, "e1").unwrap();
        assert_eq!(
            edge_server_name(&domain, &id).unwrap().to_str(),
            edge.dns_name().unwrap()
        );
        assert_eq!(control_server_name().to_str(), CONTROL_SERVER_NAME);
    }
}
