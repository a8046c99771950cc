//! What the edge serves by: one revision of the fabric, in the shape that requests need.
//!
//! A view is built whole from a snapshot's resources and then swapped in; what runs on an older one is not disturbed. A
//! resource that cannot be used is told as a fault and left out, and costs nothing else: the deny-list and the stop hold
//! whatever became of an app. Where such an app is published, users are told to come back later and nothing else answers.
//! What did not change is not read again: one publication among many thousands costs little.

mod access;
mod outline;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use model::{
    access::{place::Location, ruleset::RuleSet},
    app::App,
    brand::Brand,
    host::Hostname,
    image::ImageId,
    name::{AgentId, AppId, GroupId, IdError, IdentityProviderId, LocationId},
    route::{RouteTable, Site},
    service::Service,
    settings::EdgeLimits,
};
use proto::{
    fabric::{self, EdgeApp, Resource, resource::Kind},
    resource::ResourceError,
    service::ServiceError,
    settings::{read_brand, read_edge_limits},
};
use runtime::sync::{Changed, Update};
use tokio::sync::watch;

use crate::{
    assertion::{AssertionKeyError, AssertionKeys},
    brand::{Look, Picture, PictureError, Pictures},
    certificates::{Certificate, CertificateError, Certificates},
    providers::{ProviderError, Published, Roll},
    sealing::{SealingKeyError, SealingKeys},
    sign_in::{
        revocations::{RevocationError, Revocations, Revoked},
        services::Services,
    },
};

#[cfg(test)]
mod tests;

/// One revision of the fabric.
#[derive(Debug, Default)]
pub struct View {
    revision: u64,
    stopped: bool,
    edge_limits: EdgeLimits,
    title_case: bool,
    second_factors: bool,
    keeps_field_case: bool,
    domain: Option<Hostname>,
    sign_in_host: Option<Hostname>,
    portal_host: Option<Hostname>,
    look: Look,
    pictures: Pictures,
    /// What the portal shows, in order; made when it is first asked for.
    listed: OnceLock<Vec<Arc<App>>>,
    routes: RouteTable,
    apps: HashMap<AppId, Arc<App>>,
    unusable: HashSet<AppId>,
    agents: HashMap<AgentId, Membership>,
    certificates: Certificates,
    ticket_keys: Arc<SealingKeys>,
    session_keys: Arc<SealingKeys>,
    assertion_keys: Arc<AssertionKeys>,
    revocations: Revocations,
    services: Services,
    providers: Roll,
    rules: RuleSet,
    faults: Vec<Arc<ViewError>>,
}

/// What an agent may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It serves a group.
    Serves(Member),
    /// It is on the deny-list.
    Revoked,
}

/// An agent that is enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it serves.
    pub group: GroupId,
    /// SHA-256 of the keys that are its own; none where control does not say.
    keys_sha256: Vec<Bytes>,
}

impl Member {
    /// Whether a certificate for this key is the agent's, and not that of whoever had its id before.
    #[must_use]
    pub fn has_key(&self, key_sha256: &[u8; 32]) -> bool {
        self.keys_sha256.is_empty() || self.keys_sha256.iter().any(|key| key[..] == key_sha256[..])
    }
}

/// Why a resource is left out. The text names it.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// An app cannot be used.
    #[error(transparent)]
    App(#[from] ResourceError),
    /// The fabric's domain is none.
    #[error("the fabric's domain is not valid")]
    Domain,
    /// Some of what users may cost is beyond what this edge can serve.
    #[error("reading {0} of the fabric's limits of edges")]
    EdgeLimits(String),
    /// An agent's id or group is none.
    #[error("reading an id of {name}")]
    Agent {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: IdError,
    },
    /// A certificate cannot be used.
    #[error("using {name}")]
    Certificate {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: CertificateError,
    },
    /// Keys that edges share cannot be used.
    #[error("using {name}")]
    Keys {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: SealingKeyError,
    },
    /// Keys that sign what origins are told cannot be used.
    #[error("using {name}")]
    AssertionKeys {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: AssertionKeyError,
    },
    /// A picture cannot be shown.
    #[error("using {name}")]
    Picture {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: PictureError,
    },
    /// What sessions are over cannot be read.
    #[error("reading {name}")]
    Revocation {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: RevocationError,
    },
    /// A program's token cannot be read: nobody gets in by it.
    #[error("reading {name}")]
    Service {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: ServiceError,
    },
    /// An identity provider cannot be used: nobody signs in by it.
    #[error("reading {name}")]
    Provider {
        /// The resource.
        name: String,
        /// What is wrong.
        #[source]
        source: ProviderError,
    },
    /// An access rule, or a location that rules name, cannot be read: nobody gets in whom it might be about.
    #[error("reading {name}: {what}")]
    Access {
        /// The resource.
        name: String,
        /// What is wrong.
        what: String,
    },
}

/// Makes views, and keeps what it read from one to the next.
#[derive(Debug, Default)]
pub struct ViewBuilder {
    /// By name of the resource.
    read: BTreeMap<String, Read>,
}

/// What came of one resource.
#[derive(Debug, Default)]
struct Read {
    /// What can be used of it.
    part: Option<Part>,
    /// What is wrong with it.
    fault: Option<Arc<ViewError>>,
}

/// A resource as views have it. Those that an edge has no use for are not kept.
#[derive(Debug)]
enum Part {
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
    Revocation(Revoked),
    Service(Arc<Service>),
    Provider(Arc<Published>),
    Rule(access::ReadRule),
    Location(LocationId, Location),
}

impl Read {
    fn of(name: &str, resource: &Resource) -> Self {
        match &resource.kind {
            Some(Kind::EdgeApp(app)) => Self::app(app),
            Some(Kind::Fabric(fabric)) => {
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
            Some(Kind::Agent(agent)) => Self::whole(membership(agent).map_or_else(
                |source| {
                    Err(ViewError::Agent {
                        name: name.to_owned(),
                        source,
                    })
                },
                |(id, membership)| Ok(Part::Agent(id, membership)),
            )),
            Some(Kind::Certificate(certificate)) => {
                let read = Certificate::read(certificate).map_err(|source| {
                    let name = name.to_owned();
                    ViewError::Certificate { name, source }
                });
                Self::whole(read.map(|read| Part::Certificate(Arc::new(read))))
            }
            Some(Kind::Image(image)) => Self::whole(picture(image).map_err(|source| {
                let name = name.to_owned();
                ViewError::Picture { name, source }
            })),
            Some(Kind::TicketKeys(keys)) => Self::keys(name, keys, Part::TicketKeys),
            Some(Kind::SessionKeys(keys)) => Self::keys(name, keys, Part::SessionKeys),
            Some(Kind::AssertionKeys(keys)) => {
                let read = AssertionKeys::new(keys).map_err(|source| {
                    let name = name.to_owned();
                    ViewError::AssertionKeys { name, source }
                });
                Self::whole(read.map(|keys| Part::AssertionKeys(Arc::new(keys))))
            }
            Some(Kind::Revocation(revocation)) => {
                let read = Revoked::try_from(revocation).map_err(|source| {
                    let name = name.to_owned();
                    ViewError::Revocation { name, source }
                });
                Self::whole(read.map(Part::Revocation))
            }
            Some(Kind::ServiceToken(token)) => {
                let read = Service::try_from(token).map_err(|source| {
                    let name = name.to_owned();
                    ViewError::Service { name, source }
                });
                Self::whole(read.map(|service| Part::Service(Arc::new(service))))
            }
            Some(Kind::IdentityProvider(provider)) => {
                let id = name.strip_prefix(IdentityProviderId::COLLECTION);
                let read = Published::read(id.unwrap_or_default(), provider);
                let read = read.map_err(|source| {
                    let name = name.to_owned();
                    ViewError::Provider { name, source }
                });
                Self::whole(read.map(|read| Part::Provider(Arc::new(read))))
            }
            Some(Kind::AccessRule(rule)) => {
                let (rule, fault) = access::read_rule(rule);
                let name = name.to_owned();
                Self {
                    part: Some(Part::Rule(rule)),
                    fault: fault.map(|what| Arc::new(ViewError::Access { name, what })),
                }
            }
            Some(Kind::Location(location)) => {
                let read = access::read_location(location).map_err(|what| {
                    let name = name.to_owned();
                    ViewError::Access { name, what }
                });
                Self::whole(read.map(|(id, location)| Part::Location(id, location)))
            }
            // An edge has no use for what agents get; kinds of a later version are passed over.
            Some(Kind::AgentApp(_) | Kind::Edge(_) | Kind::Link(_)) | None => Self::default(),
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

    fn is_nothing(&self) -> bool {
        self.part.is_none() && self.fault.is_none()
    }
}

impl ViewBuilder {
    /// Makes the view of an update, without what cannot be used; see [`View::faults`].
    pub fn build(&mut self, update: &Update<'_>) -> View {
        match update.changed {
            Changed::Any => {
                self.read.clear();
                for (name, resource) in update.resources {
                    self.read(name, Some(resource));
                }
            }
            Changed::Only(names) => {
                for name in names {
                    self.read(name, update.resources.get(*name));
                }
            }
        }
        self.view(update.revision)
    }

    fn read(&mut self, name: &str, resource: Option<&Resource>) {
        let read = resource.map(|resource| Read::of(name, resource));
        match read {
            Some(read) if !read.is_nothing() => self.read.insert(name.to_owned(), read),
            Some(_) | None => self.read.remove(name),
        };
    }

    fn view(&self, revision: u64) -> View {
        let mut view = View {
            revision,
            ..View::default()
        };
        let mut brand = None;
        let mut apps = Vec::with_capacity(self.read.len());
        // Last in the table: where one cannot be read, it takes no place that is another's.
        let mut unusable = Vec::new();
        let mut gathered = access::Gathered::default();
        for read in self.read.values() {
            view.faults.extend(read.fault.clone());
            match &read.part {
                None => {}
                Some(Part::App(app)) => apps.push(Arc::clone(app)),
                Some(Part::UnusableApp(app)) => {
                    view.unusable.insert(app.id.clone());
                    unusable.push(Arc::clone(app));
                }
                Some(Part::Agent(id, membership)) => {
                    view.agents.insert(id.clone(), membership.clone());
                }
                Some(Part::Certificate(certificate)) => view.certificates.add(certificate),
                Some(Part::Fabric {
                    domain,
                    stopped,
                    edge_limits,
                    title_case,
                    second_factors,
                    brand: of_fabric,
                }) => {
                    brand = Some(of_fabric);
                    view.domain.clone_from(domain);
                    view.sign_in_host = domain.as_ref().and_then(Hostname::sign_in);
                    view.portal_host = domain.as_ref().and_then(Hostname::portal);
                    view.edge_limits = *edge_limits;
                    view.title_case = *title_case;
                    view.second_factors = *second_factors;
                    view.stopped = *stopped;
                }
                Some(Part::Picture(id, picture)) => {
                    view.pictures.add(id.clone(), Arc::clone(picture));
                }
                Some(Part::TicketKeys(keys)) => view.ticket_keys = Arc::clone(keys),
                Some(Part::SessionKeys(keys)) => view.session_keys = Arc::clone(keys),
                Some(Part::AssertionKeys(keys)) => view.assertion_keys = Arc::clone(keys),
                Some(Part::Revocation(revoked)) => view.revocations.add(revoked),
                Some(Part::Service(service)) => view.services.add(service),
                Some(Part::Provider(provider)) => view.providers.add(provider),
                Some(Part::Rule(rule)) => gathered.rule(rule),
                Some(Part::Location(id, location)) => gathered.location(id, location),
            }
        }
        view.rules = gathered.set();
        apps.extend(unusable);
        if let Some(brand) = brand {
            view.look = Look::new(brand, &view.pictures);
        }
        view.certificates.set_default(view.domain.as_ref());
        let by_id = |app: &Arc<App>| (app.id.clone(), Arc::clone(app));
        view.apps = apps.iter().map(by_id).collect();
        view.keeps_field_case = apps.iter().any(|app| app.keep_field_case);
        view.routes = RouteTable::new(apps);
        view
    }
}

impl View {
    /// Makes the view of `revision` from nothing, without what cannot be used; see [`faults`](Self::faults).
    #[must_use]
    pub fn build(revision: u64, resources: &BTreeMap<String, Resource>) -> Self {
        ViewBuilder::default().build(&Update {
            resources,
            revision,
            changed: Changed::Any,
        })
    }

    /// What was left out, and why.
    #[must_use]
    pub fn faults(&self) -> &[Arc<ViewError>] {
        &self.faults
    }

    /// Whether the app is published in a way that this edge cannot serve.
    pub(crate) fn is_unusable(&self, app: &AppId) -> bool {
        self.unusable.contains(app)
    }

    /// Revision of the store that it shows.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether the operator stopped every app.
    pub(crate) const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// What users may cost an edge that has no word of its own.
    pub(crate) const fn edge_limits(&self) -> &EdgeLimits {
        &self.edge_limits
    }

    /// Whether users of HTTP/1.1 get names of fields as `Content-Type`.
    pub(crate) const fn is_title_case(&self) -> bool {
        self.title_case
    }

    /// Whether users may have second factors and passkeys.
    pub(crate) const fn takes_second_factors(&self) -> bool {
        self.second_factors
    }

    /// Whether any app keeps the case of field names.
    pub(crate) const fn keeps_field_case(&self) -> bool {
        self.keeps_field_case
    }

    /// What is published under `host`, if anything is.
    #[must_use]
    pub fn site(&self, host: &Hostname) -> Option<&Site> {
        self.routes.site(host)
    }

    /// Whether there is such an app.
    pub(crate) fn has_app(&self, app: &AppId) -> bool {
        self.apps.contains_key(app)
    }

    /// An app that this edge can serve.
    pub(crate) fn app(&self, app: &AppId) -> Option<&App> {
        self.apps.get(app).map(|app| &**app)
    }

    /// What an agent may do; `None` if it was never enrolled.
    #[must_use]
    pub fn membership(&self, agent: &AgentId) -> Option<&Membership> {
        self.agents.get(agent)
    }

    pub(crate) fn ticket_keys(&self) -> &SealingKeys {
        &self.ticket_keys
    }

    /// Keys of what users' browsers keep.
    pub(crate) const fn session_keys(&self) -> &Arc<SealingKeys> {
        &self.session_keys
    }

    /// Keys of what origins are told of users.
    pub(crate) const fn assertion_keys(&self) -> &Arc<AssertionKeys> {
        &self.assertion_keys
    }

    /// Which sessions are over.
    pub(crate) const fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Programs that may use apps.
    pub(crate) const fn services(&self) -> &Services {
        &self.services
    }

    /// Who else than the fabric says who users are.
    pub(crate) const fn providers(&self) -> &Roll {
        &self.providers
    }

    /// What requests for apps with sign-in must meet.
    pub(crate) const fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// Where users sign in, `auth.<domain>`; `None` until there is a snapshot that says the domain.
    pub(crate) const fn sign_in_host(&self) -> Option<&Hostname> {
        self.sign_in_host.as_ref()
    }

    /// Where users find their apps, `apps.<domain>`; `None` until there is a snapshot that says the domain.
    pub(crate) const fn portal_host(&self) -> Option<&Hostname> {
        self.portal_host.as_ref()
    }

    /// Whose fabric it is, as pages show it.
    pub(crate) const fn look(&self) -> &Look {
        &self.look
    }

    /// Logos and icons.
    pub(crate) const fn pictures(&self) -> &Pictures {
        &self.pictures
    }

    /// What the portal shows to those who may use it: by category, those without one last, and by name.
    pub(crate) fn listed(&self) -> &[Arc<App>] {
        self.listed.get_or_init(|| {
            let apps = self.apps.values();
            let mut listed: Vec<_> = apps
                .filter(|app| app.is_listed() && app.entrance().is_some())
                .filter(|app| !self.is_unusable(&app.id))
                .cloned()
                .collect();
            listed.sort_by_cached_key(|app| {
                let category = &app.tile.category;
                let key = (
                    category.is_empty(),
                    category.to_lowercase(),
                    category.clone(),
                );
                (key, app.name().to_lowercase(), app.id.clone())
            });
            listed
        })
    }

    pub(crate) const fn certificates(&self) -> &Certificates {
        &self.certificates
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

/// The view in force, if there is one yet; clones share it.
#[derive(Clone, Debug)]
pub struct Views {
    current: Arc<ArcSwapOption<View>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Default for Views {
    fn default() -> Self {
        Self {
            current: Arc::default(),
            changed: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl Views {
    /// The view in force.
    #[must_use]
    pub fn current(&self) -> Option<Arc<View>> {
        self.current.load_full()
    }

    /// Puts another view in force.
    pub fn replace(&self, view: View) {
        let revision = view.revision;
        self.current.store(Some(Arc::new(view)));
        self.changed.send_replace(revision);
    }

    /// Tells of every replacement.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
