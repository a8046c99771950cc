//! Resources as views have them, read one by one.

use std::sync::Arc;

use model::{
    access::place::Location,
    app::App,
    brand::Brand,
    host::Hostname,
    image::ImageId,
    name::{AgentId, IdError, IdentityProviderId, LocationId, TermsId},
    service::Service,
    settings::EdgeLimits,
    terms::Terms,
};
use proto::{
    fabric::{self, EdgeApp, Resource, resource::Kind},
    settings::{read_brand, read_edge_limits},
};

use super::{Member, Membership, ViewError, access, outline};
use crate::{
    assertion::AssertionKeys,
    brand::{Picture, PictureError},
    certificates::Certificate,
    client_certificates::ClientCa,
    providers::Published,
    sealing::SealingKeys,
    sign_in::revocations::Revoked,
    vault_keys::VaultKey,
};

/// What came of one resource.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// What can be used of it.
    pub(super) part: Option<Part>,
    /// What is wrong with it.
    pub(super) fault: Option<Arc<ViewError>>,
}

/// A resource as views have it. Those that an edge has no use for are not kept.
#[derive(Debug)]
pub(super) enum Part {
    App(Arc<App>),
    /// Where an app is published that this edge cannot serve.
    UnusableApp(Arc<App>),
    Agent(AgentId, Membership),
    Certificate(Arc<Certificate>),
    Fabric {
        domain: Option<Hostname>,
        stopped: bool,
        edge_limits: EdgeLimits,
        title_case: bool,
        second_factors: bool,
        brand: Brand,
    },
    Picture(ImageId, Arc<Picture>),
    TicketKeys(Arc<SealingKeys>),
    SessionKeys(Arc<SealingKeys>),
    AssertionKeys(Arc<AssertionKeys>),
    VaultKey(VaultKey),
    Revocation(Revoked),
    Service(Arc<Service>),
    Provider(Arc<Published>),
    ClientCa(Arc<ClientCa>),
    Rule(access::ReadRule),
    Location(LocationId, Location),
    UnreadableLocation,
    Terms(TermsId, Terms),
}

impl Read {
    pub(super) fn of(name: &str, resource: &Resource) -> Self {
        let named = || name.to_owned();
        match &resource.kind {
            Some(Kind::EdgeApp(app)) => Self::app(app),
            Some(Kind::Fabric(fabric)) => Self::fabric(fabric),
            Some(Kind::Agent(agent)) => {
                let fault = |source| ViewError::Agent {
                    name: named(),
                    source,
                };
                let read = membership(agent).map_err(fault);
                Self::whole(read.map(|(id, membership)| Part::Agent(id, membership)))
            }
            Some(Kind::Certificate(certificate)) => {
                let read = Certificate::read(certificate);
                let fault = |source| ViewError::Certificate {
                    name: named(),
                    source,
                };
                Self::whole(
                    read.map_err(fault)
                        .map(|read| Part::Certificate(Arc::new(read))),
                )
            }
            Some(Kind::Image(image)) => {
                let fault = |source| ViewError::Picture {
                    name: named(),
                    source,
                };
                Self::whole(picture(image).map_err(fault))
            }
            Some(Kind::TicketKeys(keys)) => Self::keys(name, keys, Part::TicketKeys),
            Some(Kind::SessionKeys(keys)) => Self::keys(name, keys, Part::SessionKeys),
            Some(Kind::AssertionKeys(keys)) => {
                let read = AssertionKeys::new(keys);
                let fault = |source| ViewError::AssertionKeys {
                    name: named(),
                    source,
                };
                Self::whole(
                    read.map_err(fault)
                        .map(|keys| Part::AssertionKeys(Arc::new(keys))),
                )
            }
            Some(
                kind @ (Kind::Revocation(_)
                | Kind::ServiceToken(_)
                | Kind::IdentityProvider(_)
                | Kind::ClientCa(_)
                | Kind::AccessRule(_)
                | Kind::Location(_)
                | Kind::Terms(_)),
            ) => Self::of_users(name, kind),
            Some(Kind::VaultKey(key)) => {
                let fault = |source| ViewError::VaultKey {
                    name: named(),
                    source,
                };
                Self::whole(VaultKey::read(key).map(Part::VaultKey).map_err(fault))
            }
            // An edge has no use for what agents get; kinds of a later version are passed over.
            Some(
                Kind::AgentApp(_)
                | Kind::Edge(_)
                | Kind::Link(_)
                | Kind::StatementKeys(_)
                | Kind::ProviderKeys(_)
                | Kind::Credential(_),
            )
            | None => Self::default(),
        }
    }

    /// Of what is known of users and programs.
    fn of_users(name: &str, kind: &Kind) -> Self {
        let named = || name.to_owned();
        match kind {
            Kind::Revocation(revocation) => {
                let read = Revoked::try_from(revocation);
                let fault = |source| ViewError::Revocation {
                    name: named(),
                    source,
                };
                Self::whole(read.map_err(fault).map(Part::Revocation))
            }
            Kind::ServiceToken(token) => {
                let read = Service::try_from(token);
                let fault = |source| ViewError::Service {
                    name: named(),
                    source,
                };
                Self::whole(
                    read.map_err(fault)
                        .map(|service| Part::Service(Arc::new(service))),
                )
            }
            Kind::IdentityProvider(provider) => {
                let id = name.strip_prefix(IdentityProviderId::COLLECTION);
                let read = Published::read(id.unwrap_or_default(), provider);
                let fault = |source| ViewError::Provider {
                    name: named(),
                    source,
                };
                Self::whole(
                    read.map_err(fault)
                        .map(|read| Part::Provider(Arc::new(read))),
                )
            }
            Kind::ClientCa(ca) => {
                let fault = |source| ViewError::ClientCa {
                    name: named(),
                    source,
                };
                let read = ClientCa::read(ca).map_err(fault);
                Self::whole(read.map(|ca| Part::ClientCa(Arc::new(ca))))
            }
            Kind::AccessRule(rule) => {
                let (rule, fault) = access::read_rule(rule);
                Self {
                    part: Some(Part::Rule(rule)),
                    fault: fault.map(|what| {
                        Arc::new(ViewError::Access {
                            name: named(),
                            what,
                        })
                    }),
                }
            }
            Kind::Location(location) => {
                let fault = |what| ViewError::Access {
                    name: named(),
                    what,
                };
                match access::read_location(location) {
                    Ok((id, location)) => Self::whole(Ok(Part::Location(id, location))),
                    Err(what) => Self {
                        part: Some(Part::UnreadableLocation),
                        fault: Some(Arc::new(fault(what))),
                    },
                }
            }
            Kind::Terms(terms) => {
                let fault = |source| ViewError::Terms {
                    name: named(),
                    source,
                };
                let read = proto::terms::read(terms).map_err(fault);
                Self::whole(read.map(|(id, terms)| Part::Terms(id, terms)))
            }
            _ => Self::default(),
        }
    }

    fn fabric(fabric: &fabric::FabricSettings) -> Self {
        let domain = fabric.domain.parse().ok();
        let (edge_limits, unusable) = read_edge_limits(fabric.edge_limits.as_ref());
        let fault = if domain.is_none() {
            Some(ViewError::Domain)
        } else if unusable.is_empty() {
            None
        } else {
            Some(ViewError::EdgeLimits(unusable.join(", ")))
        };
        Self {
            fault: fault.map(Arc::new),
            part: Some(Part::Fabric {
                domain,
                stopped: fabric.stopped,
                edge_limits,
                title_case: fabric.title_case,
                second_factors: fabric.second_factors,
                brand: read_brand(fabric.brand.as_ref()),
            }),
        }
    }

    fn app(app: &EdgeApp) -> Self {
        match App::try_from(app) {
            Ok(app) => Self::whole(Ok(Part::App(Arc::new(app)))),
            Err(error) => Self {
                part: outline::read(app).map(|app| Part::UnusableApp(Arc::new(app))),
                fault: Some(Arc::new(error.into())),
            },
        }
    }

    fn keys(name: &str, keys: &fabric::SealingKeys, part: fn(Arc<SealingKeys>) -> Part) -> Self {
        let read = SealingKeys::new(keys).map_err(|source| {
            let name = name.to_owned();
            ViewError::Keys { name, source }
        });
        Self::whole(read.map(|keys| part(Arc::new(keys))))
    }

    /// Of what is used whole or not at all.
    fn whole(part: Result<Part, ViewError>) -> Self {
        match part {
            Ok(part) => Self {
                part: Some(part),
                fault: None,
            },
            Err(fault) => Self {
                part: None,
                fault: Some(Arc::new(fault)),
            },
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.part.is_none() && self.fault.is_none()
    }
}

fn picture(image: &fabric::Image) -> Result<Part, PictureError> {
    let id = image.id.parse().map_err(|_| PictureError::Id)?;
    Ok(Part::Picture(id, Arc::new(Picture::read(&image.content)?)))
}

fn membership(agent: &fabric::AgentRecord) -> Result<(AgentId, Membership), IdError> {
    let id = agent.id.parse()?;
    let membership = if agent.revoked {
        Membership::Revoked
    } else {
        Membership::Serves(Member {
            group: agent.group.parse()?,
            keys_sha256: agent.key_sha256.clone(),
        })
    };
    Ok((id, membership))
}
