//! What control published, ready for use: the group's apps with their origins, and the edges to keep uplinks with.
//!
//! A view is made whole from a snapshot and then only read. What did not change keeps its origins, and with them the
//! connections that are open to them.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use model::{
    app::{self, AgentApp, Sso, Timeouts, Translation},
    name::{AppId, EdgeId, SegmentId},
    path::PathPrefix,
    translate::{Link, Links, Names},
};
use proto::fabric::{EdgeRecord, Resource, resource};
use tokio::{sync::watch, time::timeout};

use crate::{
    credentials::Credentials,
    id_token::ProviderKeys,
    origin::{Origin, OriginTlsError, Plan, SystemRoots},
    request::chain,
    statement::StatementKeys,
};

/// Edges of one fabric, at most; more are nobody's intention.
pub const EDGES_MAX: usize = 256;

/// An app and the way to its origins.
#[derive(Debug)]
pub struct App {
    id: AppId,
    main: Site,
    segments: Vec<(SegmentId, Site)>,
    timeouts: Timeouts,
    translation: Translation,
    sso: Option<Sso>,
}

/// One site of an app: its main part, or a segment.
#[derive(Debug)]
pub struct Site {
    origins: Vec<Arc<Origin>>,
    names: Arc<Names>,
}

impl Site {
    /// Its private servers.
    #[must_use]
    pub fn origins(&self) -> &[Arc<Origin>] {
        &self.origins
    }

    /// Its inner names.
    #[must_use]
    pub fn names(&self) -> &Arc<Names> {
        &self.names
    }
}

impl App {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &AppId {
        &self.id
    }

    /// The segment with this id; the main part if it is empty.
    #[must_use]
    pub fn site(&self, segment: &str) -> Option<&Site> {
        if segment.is_empty() {
            return Some(&self.main);
        }
        let mut segments = self.segments.iter();
        segments
            .find(|(id, _)| id.as_str() == segment)
            .map(|(_, site)| site)
    }

    /// Its main part, which has no origins if the app has segments only.
    pub(crate) fn main(&self) -> &Site {
        &self.main
    }

    /// Its main part, and its segments.
    pub(crate) fn sites(&self) -> impl Iterator<Item = &Site> {
        self.parts().map(|(_, site)| site)
    }

    /// The same with the segments' ids; that of the main part is empty.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&str, &Site)> {
        let segments = self.segments.iter();
        let segments = segments.map(|(id, site)| (id.as_str(), site));
        std::iter::once(("", &self.main)).chain(segments)
    }

    /// How long each stage may take.
    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// What is translated.
    #[must_use]
    pub fn translation(&self) -> &Translation {
        &self.translation
    }

    /// How users are signed on to it.
    #[must_use]
    pub fn sso(&self) -> Option<&Sso> {
        self.sso.as_ref()
    }
}

/// An edge to keep uplinks with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Edge {
    /// Its id; its certificate must carry it.
    pub id: EdgeId,
    /// Where its tunnel listens, as `host:port`.
    pub address: String,
    /// Where it serves the tunnel over TCP, as `host:port`; none: nowhere.
    pub tcp_address: Option<String>,
    /// Workers it has; an uplink reaches one.
    pub workers: u32,
}

/// One revision of everything an agent needs.
#[derive(Debug, Default)]
pub struct View {
    apps: HashMap<AppId, App>,
    edges: Vec<Edge>,
    credentials: Credentials,
    statement_keys: StatementKeys,
    provider_keys: ProviderKeys,
}

impl View {
    /// The app with this id.
    #[must_use]
    pub fn app(&self, id: &str) -> Option<&App> {
        self.apps.get(id)
    }

    /// Every origin of every app; those that several apps share come several times.
    pub(crate) fn origins(&self) -> impl Iterator<Item = &Arc<Origin>> {
        self.apps
            .values()
            .flat_map(App::sites)
            .flat_map(Site::origins)
    }

    /// What users sign in to apps with.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// By what is checked what edges state of users.
    #[must_use]
    pub fn statement_keys(&self) -> &StatementKeys {
        &self.statement_keys
    }

    /// By what ID tokens of users are checked.
    #[must_use]
    pub fn provider_keys(&self) -> &ProviderKeys {
        &self.provider_keys
    }

    /// Edges that are not revoked.
    #[must_use]
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }
}

/// Why a view cannot be made. The one before stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// A resource that this version cannot read.
    #[error("reading {name}")]
    App {
        /// Name of the resource.
        name: String,
        /// What is wrong with it.
        #[source]
        source: proto::resource::ResourceError,
    },
    /// An origin whose TLS settings cannot be used.
    #[error("preparing {name}")]
    OriginTls {
        /// Name of the resource.
        name: String,
        /// What is wrong with it.
        #[source]
        source: OriginTlsError,
    },
    /// An edge with a bad id or no address.
    #[error("{name} has no valid id and address")]
    Edge {
        /// Name of the resource.
        name: String,
    },
    /// More than [`EDGES_MAX`] edges.
    #[error("more than {EDGES_MAX} edges")]
    EdgesMax,
}

/// Makes views, and keeps what is expensive to make from one to the next.
#[derive(Debug)]
pub struct ViewBuilder {
    origins: HashMap<Plan, Arc<Origin>>,
    next_number: u64,
    roots: SystemRoots,
}

impl ViewBuilder {
    /// Nothing was made yet.
    #[must_use]
    pub fn new(roots: SystemRoots) -> Self {
        Self {
            origins: HashMap::new(),
            next_number: 0,
            roots,
        }
    }

    /// Makes the view of a whole snapshot. Resources that are not for agents are passed over.
    ///
    /// # Errors
    /// The first resource that cannot be used.
    pub fn build<'a>(
        &mut self,
        resources: impl IntoIterator<Item = &'a Resource>,
    ) -> Result<View, ViewError> {
        let resources: Vec<_> = resources.into_iter().collect();
        let links = Arc::new(links(&resources));
        let mut view = View {
            statement_keys: statement_keys(&resources),
            ..View::default()
        };
        for resource in resources {
            self.add(&mut view, resource, &links)?;
        }
        view.credentials.tell();
        self.forget_unused(&view);
        Ok(view)
    }

    /// Makes a view without control, as tests and load generators need it.
    ///
    /// # Errors
    /// As [`ViewBuilder::build`].
    pub fn of_apps(
        &mut self,
        apps: impl IntoIterator<Item = AgentApp>,
        edges: Vec<Edge>,
    ) -> Result<View, ViewError> {
        let links = Arc::default();
        let apps = apps
            .into_iter()
            .map(|app| {
                Ok((
                    app.id.clone(),
                    self.app(&app.id.resource_name(), app, &links)?,
                ))
            })
            .collect::<Result<_, ViewError>>()?;
        Ok(View {
            apps,
            edges,
            ..View::default()
        })
    }

    fn add(
        &mut self,
        view: &mut View,
        resource: &Resource,
        links: &Arc<Links>,
    ) -> Result<(), ViewError> {
        match &resource.kind {
            Some(resource::Kind::AgentApp(wire)) => {
                let app = AgentApp::try_from(wire).map_err(|source| ViewError::App {
                    name: resource.name.clone(),
                    source,
                })?;
                let app = self.app(&resource.name, app, links)?;
                view.apps.insert(app.id.clone(), app);
            }
            Some(resource::Kind::Edge(record)) if !record.revoked => {
                if view.edges.len() == EDGES_MAX {
                    return Err(ViewError::EdgesMax);
                }
                view.edges.push(edge(&resource.name, record)?);
            }
            Some(resource::Kind::Credential(sealed)) => view.credentials.add(sealed),
            Some(resource::Kind::ProviderKeys(keys)) => view.provider_keys.add(keys),
            Some(
                resource::Kind::Edge(_)
                | resource::Kind::Fabric(_)
                | resource::Kind::EdgeApp(_)
                | resource::Kind::Agent(_)
                | resource::Kind::Certificate(_)
                | resource::Kind::TicketKeys(_)
                | resource::Kind::SessionKeys(_)
                | resource::Kind::AssertionKeys(_)
                | resource::Kind::StatementKeys(_)
                | resource::Kind::Revocation(_)
                | resource::Kind::ServiceToken(_)
                | resource::Kind::ClientCa(_)
                | resource::Kind::IdentityProvider(_)
                | resource::Kind::AccessRule(_)
                | resource::Kind::Location(_)
                | resource::Kind::Terms(_)
                | resource::Kind::VaultKey(_)
                | resource::Kind::Image(_)
                | resource::Kind::Link(_),
            )
            | None => {}
        }
        Ok(())
    }

    fn app(&mut self, name: &str, app: AgentApp, links: &Arc<Links>) -> Result<App, ViewError> {
        let mut site = |path: &PathPrefix, inner: Option<&PathPrefix>, origins: &[app::Origin]| {
            let translation = Translation {
                inner_path: inner.cloned(),
                ..app.translation.clone()
            };
            let names = Names::new(path, origins, &translation, Arc::clone(links));
            origins
                .iter()
                .map(|origin| self.origin(Plan::new(origin, &app)))
                .collect::<Result<_, _>>()
                .map(|origins| Site {
                    origins,
                    names: Arc::new(names),
                })
                .map_err(|source| ViewError::OriginTls {
                    name: name.to_owned(),
                    source,
                })
        };
        let inner_path = app.translation.inner_path.as_ref();
        let main = site(&app.path, inner_path, &app.origins)?;
        let segments = app
            .segments
            .iter()
            .map(|segment| {
                let inner_path = segment.inner_path.as_ref();
                let site = site(&segment.path, inner_path, &segment.origins)?;
                Ok((segment.id.clone(), site))
            })
            .collect::<Result<_, ViewError>>()?;
        Ok(App {
            id: app.id,
            main,
            segments,
            timeouts: app.timeouts,
            translation: app.translation,
            sso: app.sso,
        })
    }

    fn origin(&mut self, plan: Plan) -> Result<Arc<Origin>, OriginTlsError> {
        if let Some(known) = self.origins.get(&plan) {
            return Ok(Arc::clone(known));
        }
        let origin = Arc::new(Origin::new(self.next_number, plan.clone(), &self.roots)?);
        self.next_number += 1;
        self.origins.insert(plan, Arc::clone(&origin));
        Ok(origin)
    }

    fn forget_unused(&mut self, view: &View) {
        let used: HashSet<_> = view.origins().map(|origin| origin.number()).collect();
        self.origins
            .retain(|_, origin| used.contains(&origin.number()));
    }
}

/// Where links to other apps lead. A pair that cannot be read leaves its links as they are.
fn links(resources: &[&Resource]) -> Links {
    let published = resources
        .iter()
        .filter_map(|resource| match &resource.kind {
            Some(resource::Kind::Link(link)) => Some((&resource.name, link)),
            _ => None,
        });
    let pairs = published.flat_map(|(name, link)| link.pairs.iter().map(move |pair| (name, pair)));
    Links::new(pairs.filter_map(|(name, pair)| {
        Link::parse(&pair.inner, &pair.outer)
            .inspect_err(|error| tracing::warn!(resource = %name, error = chain(error), "a link is left out"))
            .ok()
    }))
}

/// Without them nothing that an edge states is taken.
fn statement_keys(resources: &[&Resource]) -> StatementKeys {
    let mut kinds = resources
        .iter()
        .filter_map(|resource| resource.kind.as_ref());
    let domain = kinds.clone().find_map(|kind| match kind {
        resource::Kind::Fabric(fabric) => fabric.domain.parse().ok(),
        _ => None,
    });
    let keys = kinds.find_map(|kind| match kind {
        resource::Kind::StatementKeys(keys) => Some(keys),
        _ => None,
    });
    domain
        .zip(keys)
        .map(|(domain, keys)| StatementKeys::new(&domain, keys))
        .unwrap_or_default()
}

fn edge(name: &str, record: &EdgeRecord) -> Result<Edge, ViewError> {
    let bad = || ViewError::Edge {
        name: name.to_owned(),
    };
    if !record.tunnel_address.contains(':') {
        return Err(bad());
    }
    Ok(Edge {
        id: record.id.parse().map_err(|_| bad())?,
        address: record.tunnel_address.clone(),
        tcp_address: Some(record.tcp_address.clone()).filter(|address| address.contains(':')),
        workers: record.workers.max(1),
    })
}

/// The view in force. Clones share it.
#[derive(Clone)]
pub struct Views {
    current: Arc<ArcSwap<View>>,
    changed: Arc<watch::Sender<()>>,
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Views").field(&self.load()).finish()
    }
}

impl Views {
    /// Starts with this one.
    #[must_use]
    pub fn new(view: View) -> Self {
        Self {
            current: Arc::new(ArcSwap::from_pointee(view)),
            changed: Arc::new(watch::Sender::new(())),
        }
    }

    /// The one in force now; a request keeps the one it began with.
    #[must_use]
    pub fn load(&self) -> Arc<View> {
        self.current.load_full()
    }

    /// The one in force once it has what is looked for, or after `patience`: an edge may know of an app, or of a key, a moment before its
    /// agents do.
    pub async fn with(&self, has: impl Fn(&View) -> bool, patience: Duration) -> Arc<View> {
        let view = self.load();
        if has(&view) {
            return view;
        }
        let mut changed = self.subscribe();
        let known = async {
            // The sender lives as long as `self`.
            while !has(&self.load()) && changed.changed().await.is_ok() {}
        };
        // Out of patience, the view is what it is.
        let _ = timeout(patience, known).await;
        self.load()
    }

    /// Puts another in force.
    pub fn store(&self, view: View) {
        self.current.store(Arc::new(view));
        self.changed.send_replace(());
    }

    /// Tells of every change from now on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
