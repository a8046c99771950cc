//! What a node may know of the store: every key and value it is told passes through here.

use bytes::Bytes;
use model::{
    app::Publication,
    image::ImageId,
    name::{
        AccessRuleId, AgentId, AppId, ClientCaId, EdgeId, GroupId, IdentityProviderId, LocationId,
        ServiceTokenId, TermsId, VaultKeyId,
    },
    settings::{SecondFactor, Settings},
    vault::CredentialName,
};
use prost::Message as _;
use proto::{
    admin,
    app::publication_under,
    control,
    fabric::{self, Resource, resource::Kind},
    settings::{write_brand, write_edge_limits},
};

use super::{
    access,
    links::{self, TRANSLATING, translating_prefix},
};
use crate::{
    admin::{read_settings, stored_settings},
    client_cas,
    presence::NodeId,
    provider_keys::PROVIDER_KEYS,
    revocations, sealing_keys,
    store::{Entry, Store, StoreError},
    tokens, vault,
};

/// Key of the fabric's own record.
pub(crate) const FABRIC_KEY: &str = "fabric";
/// Key of the fabric's settings.
pub(crate) const SETTINGS_KEY: &str = proto::settings::NAME;
/// Key of the keys of TLS session tickets.
pub(crate) const TICKET_KEYS_KEY: &str = "ticketKeys";
/// Key of the keys of users' sessions.
pub(crate) const SESSION_KEYS_KEY: &str = "sessionKeys";
/// Key of the keys by which edges tell origins of users.
pub(crate) const ASSERTION_KEYS_KEY: &str = "assertionKeys";
/// What agents are told of those keys.
const STATEMENT_KEYS: &str = "statementKeys";
/// Prefix of the keys of certificates for users.
pub(crate) const CERTIFICATES: &str = "certificates/";

const AGENT_PREFIXES: &[&str] = &[
    FABRIC_KEY,
    SETTINGS_KEY,
    AppId::COLLECTION,
    EdgeId::COLLECTION,
    TRANSLATING,
    ASSERTION_KEYS_KEY,
    PROVIDER_KEYS,
    CredentialName::COLLECTION,
];
const EDGE_PREFIXES: &[&str] = &[
    FABRIC_KEY,
    SETTINGS_KEY,
    AppId::COLLECTION,
    AgentId::COLLECTION,
    CERTIFICATES,
    TICKET_KEYS_KEY,
    SESSION_KEYS_KEY,
    ASSERTION_KEYS_KEY,
    revocations::COLLECTION,
    IdentityProviderId::COLLECTION,
    AccessRuleId::COLLECTION,
    LocationId::COLLECTION,
    TermsId::COLLECTION,
    ServiceTokenId::COLLECTION,
    ClientCaId::COLLECTION,
    ImageId::COLLECTION,
    VaultKeyId::COLLECTION,
];

/// Which share of the store is a node's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// The apps of one group, every edge, and by which keys edges sign.
    Agent {
        /// `groups/{id}`.
        group: String,
    },
    /// Every app without its origins, every agent, the certificates, the keys that seal, the sessions that are over, the
    /// rules of access, and who says who users are.
    Edge,
}

impl Scope {
    /// Prefixes of all keys that may have something to tell to a node of this role.
    pub(super) fn prefixes(id: &NodeId) -> &'static [&'static str] {
        match id {
            NodeId::Agent(_) => AGENT_PREFIXES,
            NodeId::Edge(_) => EDGE_PREFIXES,
        }
    }

    /// Whether an entry is among them: what a snapshot leaves out, no change brings either.
    fn covers(&self, key: &str) -> bool {
        let prefixes = match self {
            Self::Agent { .. } => AGENT_PREFIXES,
            Self::Edge => EDGE_PREFIXES,
        };
        prefixes.iter().any(|prefix| key.starts_with(prefix))
    }

    /// Prefix of the keys that say whether the agent gets links.
    fn translating(&self) -> Option<String> {
        match self {
            Self::Agent { group } => Some(translating_prefix(group)),
            Self::Edge => None,
        }
    }
}

/// A node's share of the store, and what else its resources follow from.
#[derive(Debug, Clone)]
pub(super) struct View {
    scope: Scope,
    /// Filled in where apps say nothing.
    settings: Settings,
    /// An agent whose group has an app with translated bodies, so it is told where links lead.
    linked: bool,
}

impl View {
    /// The view that follows from the entries that a snapshot has for the node.
    pub(super) fn of(scope: Scope, entries: &[Entry]) -> Self {
        let settings = entries.iter().find(|entry| *entry.key == *SETTINGS_KEY);
        let linked = scope
            .translating()
            .is_some_and(|prefix| entries.iter().any(|entry| entry.key.starts_with(&prefix)));
        Self {
            scope,
            settings: settings
                .map(|entry| read_settings(&entry.value))
                .unwrap_or_default(),
            linked,
        }
    }

    /// The view that follows from the store as it is now.
    pub(super) async fn now(scope: Scope, store: &dyn Store) -> Result<Self, StoreError> {
        let linked = match scope.translating() {
            Some(prefix) => !store.range(&prefix, None, 1).await?.entries.is_empty(),
            None => false,
        };
        Ok(Self {
            scope,
            settings: stored_settings(store).await?,
            linked,
        })
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Prefix of keys whose every change decides anew which links the node is told.
    pub(super) fn translating(&self) -> Option<String> {
        self.scope.translating()
    }

    /// Whether what a node is told of an entry follows from the fabric's settings too.
    pub(super) fn is_settled(key: &str) -> bool {
        key == FABRIC_KEY || key.starts_with(AppId::COLLECTION)
    }

    /// What the node is told of an entry.
    pub(super) fn resources(&self, key: &str, value: &Bytes) -> Vec<Resource> {
        if !self.scope.covers(key) {
            return Vec::new();
        }
        if key.starts_with(AppId::COLLECTION) {
            return self.app(key, value.clone());
        }
        let value = value.clone();
        if let Scope::Agent { group } = &self.scope
            && key == ASSERTION_KEYS_KEY
        {
            return statement_keys(value, group).into_iter().collect();
        }
        let kind = match &self.scope {
            Scope::Agent { .. } | Scope::Edge if key == FABRIC_KEY => self.fabric(value),
            Scope::Agent { .. } if key.starts_with(EdgeId::COLLECTION) => edge(value),
            Scope::Agent { group } if key.starts_with(CredentialName::COLLECTION) => {
                vault::credential_told(group, value).map(Kind::Credential)
            }
            Scope::Agent { .. } if key.starts_with(PROVIDER_KEYS) => {
                let keys = fabric::ProviderKeys::decode(value).ok();
                keys.map(Kind::ProviderKeys)
            }
            Scope::Edge if key.starts_with(VaultKeyId::COLLECTION) => {
                vault::key_told(value).map(Kind::VaultKey)
            }
            Scope::Edge if key.starts_with(AgentId::COLLECTION) => agent(value),
            Scope::Edge if key.starts_with(CERTIFICATES) => certificate(value),
            Scope::Edge if key == TICKET_KEYS_KEY => sealing_keys(value).map(Kind::TicketKeys),
            Scope::Edge if key == SESSION_KEYS_KEY => sealing_keys(value).map(Kind::SessionKeys),
            Scope::Edge if key == ASSERTION_KEYS_KEY => {
                sealing_keys::assertion_keys(value).map(Kind::AssertionKeys)
            }
            Scope::Edge if key.starts_with(revocations::COLLECTION) => {
                revocations::resource(key, &value).map(Kind::Revocation)
            }
            Scope::Edge if key.starts_with(ServiceTokenId::COLLECTION) => service_token(value),
            Scope::Edge if key.starts_with(ClientCaId::COLLECTION) => {
                client_cas::told(&value).map(Kind::ClientCa)
            }
            Scope::Edge if key.starts_with(IdentityProviderId::COLLECTION) => {
                identity_provider(value)
            }
            Scope::Edge if key.starts_with(AccessRuleId::COLLECTION) => {
                access::rule(key, value).map(Kind::AccessRule)
            }
            Scope::Edge if key.starts_with(LocationId::COLLECTION) => {
                access::location(key, value).map(Kind::Location)
            }
            Scope::Edge if key.starts_with(TermsId::COLLECTION) => {
                access::terms(key, value).map(Kind::Terms)
            }
            Scope::Edge if key.starts_with(ImageId::COLLECTION) => image(key, value),
            Scope::Agent { .. } | Scope::Edge => None,
        };
        kind.map(|kind| named(key, kind)).into_iter().collect()
    }

    fn app(&self, key: &str, value: Bytes) -> Vec<Resource> {
        let app = admin::App::decode(value).ok();
        let publication = app.and_then(|app| {
            let unseen = match &self.scope {
                Scope::Agent { group } => !self.linked && *group != app.group,
                Scope::Edge => false,
            };
            if unseen {
                return Some(None);
            }
            let id = key.strip_prefix(AppId::COLLECTION)?;
            publication_under(&self.settings, id, &app).ok().map(Some)
        });
        let Some(publication) = publication else {
            tracing::error!(
                app = key,
                "a stored app cannot be read and is not told to nodes"
            );
            return Vec::new();
        };
        publication.map_or_else(Vec::new, |publication| self.share(key, &publication))
    }

    fn share(&self, key: &str, publication: &Publication) -> Vec<Resource> {
        let mut resources = Vec::new();
        match &self.scope {
            Scope::Agent { group } => {
                if *group == publication.app.group.resource_name() {
                    let app = fabric::AgentApp::from(&publication.agent_app());
                    resources.push(named(key, Kind::AgentApp(app)));
                }
                if self.linked {
                    resources.extend(links::resource(publication));
                }
            }
            Scope::Edge => {
                let app = fabric::EdgeApp::from(&publication.app);
                resources.push(named(key, Kind::EdgeApp(app)));
            }
        }
        resources
    }

    fn fabric(&self, value: Bytes) -> Option<Kind> {
        let record = control::FabricRecord::decode(value).ok()?;
        Some(Kind::Fabric(fabric::FabricSettings {
            domain: record.domain,
            roots: record.roots,
            stopped: self.settings.stopped,
            edge_limits: match self.scope {
                Scope::Edge => Some(write_edge_limits(&self.settings.edge_limits)),
                Scope::Agent { .. } => None,
            },
            title_case: self.scope == Scope::Edge && self.settings.title_case,
            second_factors: self.scope == Scope::Edge
                && self.settings.second_factor != SecondFactor::Off,
            brand: match self.scope {
                Scope::Edge => write_brand(&self.settings.brand),
                Scope::Agent { .. } => None,
            },
        }))
    }
}

fn named(name: &str, kind: Kind) -> Resource {
    Resource {
        name: name.to_owned(),
        kind: Some(kind),
    }
}

fn agent(value: Bytes) -> Option<Kind> {
    let record = control::AgentRecord::decode(value).ok()?;
    let keys = [record.key_sha256, record.previous_key_sha256];
    let agent = record.agent?;
    Some(Kind::Agent(fabric::AgentRecord {
        id: bare(&agent.name, AgentId::COLLECTION)?,
        group: bare(&agent.group, GroupId::COLLECTION)?,
        revoked: agent.revoked,
        key_sha256: keys.into_iter().filter(|key| !key.is_empty()).collect(),
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
        tcp_address: edge.tcp_address,
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

/// The public halves alone: agents check what edges sign.
fn statement_keys(value: Bytes, group: &str) -> Option<Resource> {
    let keys = sealing_keys::public_keys(value)?.into_iter();
    let keys = keys.map(|public_key| fabric::StatementKey { public_key });
    let kind = Kind::StatementKeys(fabric::StatementKeys {
        keys: keys.collect(),
        group: bare(group, GroupId::COLLECTION)?,
    });
    Some(named(STATEMENT_KEYS, kind))
}

/// With its credential, as it is edges that show it to the provider.
fn identity_provider(value: Bytes) -> Option<Kind> {
    let record = control::IdentityProviderRecord::decode(value).ok()?;
    Some(Kind::IdentityProvider(fabric::IdentityProvider {
        published: Some(record.identity_provider?),
        credential: record.credential,
    }))
}

fn image(key: &str, value: Bytes) -> Option<Kind> {
    let image = admin::Image::decode(value).ok()?;
    Some(Kind::Image(fabric::Image {
        id: bare(key, ImageId::COLLECTION)?,
        content: image.content,
    }))
}

fn sealing_keys(value: Bytes) -> Option<fabric::SealingKeys> {
    let record = control::SealingKeysRecord::decode(value).ok()?;
    let keys = record.keys.into_iter().map(|key| fabric::SealingKey {
        name: key.name,
        key: key.key,
    });
    Some(fabric::SealingKeys {
        keys: keys.collect(),
    })
}

/// Nothing of one that is disabled.
fn service_token(value: Bytes) -> Option<Kind> {
    let record = control::ServiceTokenRecord::decode(value).ok()?;
    tokens::service_told(&record).map(Kind::ServiceToken)
}

fn bare(name: &str, collection: &str) -> Option<String> {
    name.strip_prefix(collection).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_alone_are_told_of_identity_providers_and_what_the_fabric_shows_them() {
        let record = control::IdentityProviderRecord {
            identity_provider: Some(admin::IdentityProvider::default()),
            credential: "s3cret".to_owned(),
        };
        let value: Bytes = record.encode_to_vec().into();
        let key = "identityProviders/entra";
        let told = |scope| View::of(scope, &[]).resources(key, &value);
        let group = "groups/office".to_owned();
        assert_eq!(told(Scope::Agent { group }), []);
        let [edge] = &told(Scope::Edge)[..] else {
            panic!("one resource");
        };
        assert_eq!(edge.name, key);
        let Some(Kind::IdentityProvider(provider)) = &edge.kind else {
            panic!("{edge:?}");
        };
        assert_eq!(provider.credential, "s3cret");
        assert!(!format!("{edge:?}").contains("s3cret"));
    }

    #[test]
    fn agents_alone_are_told_by_which_keys_id_tokens_are_checked() {
        let keys = fabric::ProviderKeys {
            id: "entra".to_owned(),
            keys: "{\"keys\":[]}".into(),
            ..fabric::ProviderKeys::default()
        };
        let value: Bytes = keys.encode_to_vec().into();
        let key = "providerKeys/entra";
        let told = |scope| View::of(scope, &[]).resources(key, &value);
        let group = "groups/office".to_owned();
        assert_eq!(told(Scope::Edge), []);
        let want = named(key, Kind::ProviderKeys(keys));
        assert_eq!(told(Scope::Agent { group }), [want]);
    }
}
