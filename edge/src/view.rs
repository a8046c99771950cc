//! What the edge serves by: one revision of the fabric, in the shape that requests need.
//!
//! A view is built whole from a snapshot's resources and then swapped in; what runs on an older one is not disturbed. A
//! resource that cannot be used is told as a fault and left out, and costs nothing else: the deny-list and the stop hold
//! whatever became of an app. Where such an app is published, users are told to come back later and nothing else answers.
//! What did not change is not read again: one publication among many thousands costs little.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use model::{
    app::{Access, App, Segment},
    host::{HostPattern, Hostname},
    name::{AgentId, AppId, GroupId, IdError},
    path::PathPrefix,
    route::{RouteTable, Site},
};
use proto::{
    fabric::{EdgeApp, Resource, resource::Kind},
    resource::ResourceError,
};
use runtime::sync::{Changed, Update};
use tokio::sync::watch;

use crate::{
    certificates::{Certificate, CertificateError, Certificates},
    tickets::{TicketKeyError, TicketKeys},
};

/// One revision of the fabric.
#[derive(Debug, Default)]
pub struct View {
    revision: u64,
    stopped: bool,
    domain: Option<Hostname>,
    routes: RouteTable,
    apps: HashSet<AppId>,
    unusable: HashSet<AppId>,
    agents: HashMap<AgentId, Membership>,
    certificates: Certificates,
    ticket_keys: Arc<TicketKeys>,
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
    /// The keys of session tickets cannot be used.
    #[error("using the keys of session tickets")]
    TicketKeys(#[source] TicketKeyError),
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
    },
    TicketKeys(Arc<TicketKeys>),
}

impl Read {
    fn of(name: &str, resource: &Resource) -> Self {
        match &resource.kind {
            Some(Kind::EdgeApp(app)) => Self::app(app),
            Some(Kind::Fabric(fabric)) => {
                let domain = fabric.domain.parse().ok();
                Self {
                    fault: domain.is_none().then(|| Arc::new(ViewError::Domain)),
                    part: Some(Part::Fabric {
                        domain,
                        stopped: fabric.stopped,
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
            Some(Kind::TicketKeys(keys)) => {
                let keys = TicketKeys::new(keys).map_err(ViewError::TicketKeys);
                Self::whole(keys.map(|keys| Part::TicketKeys(Arc::new(keys))))
            }
            // An edge has no use for what agents get; kinds of a later version are passed over.
            Some(Kind::AgentApp(_) | Kind::Edge(_) | Kind::Link(_)) | None => Self::default(),
        }
    }

    fn app(app: &EdgeApp) -> Self {
        match App::try_from(app) {
            Ok(app) => Self::whole(Ok(Part::App(Arc::new(app)))),
            Err(error) => Self {
                part: outline(app).map(|app| Part::UnusableApp(Arc::new(app))),
                fault: Some(Arc::new(error.into())),
            },
        }
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
        let mut apps = Vec::with_capacity(self.read.len());
        // Last in the table: where one cannot be read, it takes no place that is another's.
        let mut unusable = Vec::new();
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
                Some(Part::Fabric { domain, stopped }) => {
                    view.domain.clone_from(domain);
                    view.stopped = *stopped;
                }
                Some(Part::TicketKeys(keys)) => view.ticket_keys = Arc::clone(keys),
            }
        }
        apps.extend(unusable);
        view.certificates.set_default(view.domain.as_ref());
        view.apps = apps.iter().map(|app| app.id.clone()).collect();
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

    /// What is published under `host`, if anything is.
    #[must_use]
    pub fn site(&self, host: &Hostname) -> Option<&Site> {
        self.routes.site(host)
    }

    /// Whether there is such an app.
    pub(crate) fn has_app(&self, app: &AppId) -> bool {
        self.apps.contains(app)
    }

    /// What an agent may do; `None` if it was never enrolled.
    #[must_use]
    pub fn membership(&self, agent: &AgentId) -> Option<&Membership> {
        self.agents.get(agent)
    }

    pub(crate) fn ticket_keys(&self) -> &TicketKeys {
        &self.ticket_keys
    }

    pub(crate) const fn certificates(&self) -> &Certificates {
        &self.certificates
    }
}

/// Where an app is published, as far as that can be read, and nothing else of it: an app that cannot be used must not leave its
/// place to a less specific one. `None` if that is nowhere.
fn outline(app: &EdgeApp) -> Option<App> {
    let id = app.id.parse().ok()?;
    // Any will do, as no request is let through.
    let group = app.group.parse().or_else(|_| app.id.parse()).ok()?;
    let mut outline = App::new(id, group, Access::Passthrough);
    if let Some((hosts, path)) = place(&app.hosts, &app.path) {
        outline.hosts = hosts;
        outline.path = path;
    }
    outline.segments = app
        .segments
        .iter()
        .filter_map(|segment| {
            let (hosts, path) = place(&segment.hosts, &segment.path)?;
            Some(Segment {
                // As a place it needs none of its own.
                id: segment.id.parse().or_else(|_| app.id.parse()).ok()?,
                hosts,
                path,
                cors: Vec::new(),
            })
        })
        .collect();
    let is_somewhere = !outline.hosts.is_empty() || !outline.segments.is_empty();
    is_somewhere.then_some(outline)
}

/// The hosts that can be read, and the path below them; all of them where that cannot be read.
fn place(hosts: &[String], path: &str) -> Option<(Vec<HostPattern>, PathPrefix)> {
    let path = path.parse().unwrap_or_else(|_| PathPrefix::root());
    let hosts: Vec<_> = hosts.iter().filter_map(|host| host.parse().ok()).collect();
    (!hosts.is_empty()).then_some((hosts, path))
}

fn membership(agent: &proto::fabric::AgentRecord) -> Result<(AgentId, Membership), IdError> {
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

#[cfg(test)]
mod tests {
    use proto::fabric::{self, AccessKind, EdgeSegment, Timeouts};

    use super::*;

    fn resources(kinds: Vec<(&str, Kind)>) -> BTreeMap<String, Resource> {
        kinds
            .into_iter()
            .map(|(name, kind)| {
                let resource = Resource {
                    name: name.to_owned(),
                    kind: Some(kind),
                };
                (name.to_owned(), resource)
            })
            .collect()
    }

    fn app(host: &str) -> Kind {
        named_app("wiki", host)
    }

    fn named_app(id: &str, host: &str) -> Kind {
        Kind::EdgeApp(EdgeApp {
            id: id.to_owned(),
            hosts: vec![host.to_owned()],
            path: "/".to_owned(),
            group: "office".to_owned(),
            access: AccessKind::Passthrough.into(),
            timeouts: Some(Timeouts {
                connect_ms: 1_000,
                response_ms: 1_000,
                idle_ms: 1_000,
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    fn stopped() -> Kind {
        Kind::Fabric(fabric::FabricSettings {
            domain: "example.com".to_owned(),
            stopped: true,
            ..Default::default()
        })
    }

    fn agent(id: &str, revoked: bool) -> Kind {
        Kind::Agent(fabric::AgentRecord {
            id: id.to_owned(),
            group: "office".to_owned(),
            revoked,
            ..Default::default()
        })
    }

    #[test]
    fn a_view_shows_apps_and_agents() {
        let view = View::build(
            7,
            &resources(vec![
                ("apps/wiki", app("wiki.example.com")),
                ("agents/a1", agent("a1", false)),
                ("agents/a2", agent("a2", true)),
            ]),
        );
        let host = "wiki.example.com".parse().unwrap();
        let route = view.site(&host).unwrap().find("/").unwrap();
        assert_eq!(route.app().id.as_str(), "wiki");
        let office = Membership::Serves(Member {
            group: "office".parse().unwrap(),
            keys_sha256: Vec::new(),
        });
        for (id, want) in [
            ("a1", Some(&office)),
            ("a2", Some(&Membership::Revoked)),
            ("a3", None),
        ] {
            assert_eq!(view.membership(&id.parse().unwrap()), want, "{id}");
        }
    }

    #[test]
    fn a_bad_resource_is_named_and_costs_nothing_else() {
        let broken = fabric::Certificate {
            names: vec!["*.example.com".to_owned()],
            chain: vec![b"junk".to_vec().into()],
            key: b"junk".to_vec().into(),
        };
        for (name, kind) in [
            ("apps/broken", app("not a host")),
            ("agents/A!", agent("A!", false)),
            ("certificates/c1", Kind::Certificate(broken)),
        ] {
            let view = View::build(
                1,
                &resources(vec![
                    (name, kind),
                    ("apps/wiki", app("wiki.example.com")),
                    ("agents/a2", agent("a2", true)),
                    ("fabric", stopped()),
                ]),
            );
            let [fault] = view.faults() else {
                panic!("{name}: {:?}", view.faults());
            };
            assert!(
                fault.to_string().contains(name) || name == "apps/broken",
                "{fault}"
            );
            let revoked = view.membership(&"a2".parse().unwrap());
            assert_eq!(revoked, Some(&Membership::Revoked), "{name}");
            assert!(view.is_stopped(), "{name}");
            assert!(view.site(&"wiki.example.com".parse().unwrap()).is_some());
        }
    }

    #[test]
    fn an_app_that_cannot_be_used_keeps_its_place() {
        let Kind::EdgeApp(mut secret) = app("wiki.example.com") else {
            unreachable!("it makes an app");
        };
        secret.id = "secret".to_owned();
        secret.path = "/secret".to_owned();
        secret.access = i32::MAX;
        let view = View::build(
            1,
            &resources(vec![
                ("apps/wiki", app("wiki.example.com")),
                ("apps/secret", Kind::EdgeApp(secret)),
            ]),
        );
        assert_eq!(view.faults().len(), 1);
        let site = view.site(&"wiki.example.com".parse().unwrap()).unwrap();
        for (path, id, is_unusable) in [("/secret/a", "secret", true), ("/a", "wiki", false)] {
            let app = site.find(path).unwrap().app();
            assert_eq!(
                (app.id.as_str(), view.is_unusable(&app.id)),
                (id, is_unusable)
            );
        }
    }

    #[test]
    fn what_can_be_read_of_where_such_an_app_is_published_stays_closed() {
        let Kind::EdgeApp(mut secret) = app("secret.example.com") else {
            unreachable!("it makes an app");
        };
        let segment = |host: &str, path: &str| EdgeSegment {
            id: "s".to_owned(),
            hosts: vec!["not a host".to_owned(), host.to_owned()],
            path: path.to_owned(),
            ..EdgeSegment::default()
        };
        secret.id = "secret".to_owned();
        secret.group = "not a group".to_owned();
        secret.hosts = vec!["not a host".to_owned(), "secret.example.com".to_owned()];
        secret.segments = vec![
            segment("more.example.com", "/"),
            segment("less.example.com", "no path"),
            segment("zoo.example.com", "no path"),
        ];
        let view = View::build(
            1,
            &resources(vec![
                ("apps/all", named_app("all", "*.example.com")),
                ("apps/secret", Kind::EdgeApp(secret)),
                ("apps/zoo", named_app("zoo", "zoo.example.com")),
            ]),
        );
        assert_eq!(view.faults().len(), 1);
        for (host, id) in [
            ("secret.example.com", "secret"),
            ("more.example.com", "secret"),
            ("less.example.com", "secret"),
            ("zoo.example.com", "zoo"),
            ("other.example.com", "all"),
        ] {
            let site = view.site(&host.parse().unwrap()).unwrap();
            let app = site.find("/").unwrap().app();
            assert_eq!(app.id.as_str(), id, "{host}");
            assert_eq!(view.is_unusable(&app.id), id == "secret", "{host}");
        }
    }

    #[test]
    fn a_change_is_read_and_the_rest_is_kept() {
        let mut builder = ViewBuilder::default();
        let mut all = resources(vec![
            ("apps/crm", named_app("crm", "crm.example.com")),
            ("apps/wiki", named_app("wiki", "wiki.example.com")),
        ]);
        let mut build = |resources: &BTreeMap<String, Resource>, changed| {
            builder.build(&Update {
                resources,
                revision: 1,
                changed,
            })
        };
        let published = |view: &View, host: &str| {
            let host = host.parse().unwrap();
            let route = view.site(&host).map(|site| site.find("/").unwrap());
            route.map(|route| Arc::clone(route.app()))
        };
        let first = build(&all, Changed::Any);

        all.extend(resources(vec![(
            "apps/wiki",
            named_app("wiki", "w.example.com"),
        )]));
        let moved = build(&all, Changed::Only(&["apps/wiki"]));
        assert!(published(&moved, "wiki.example.com").is_none());
        assert!(published(&moved, "w.example.com").is_some());
        let crm = |view| published(view, "crm.example.com").unwrap();
        assert!(Arc::ptr_eq(&crm(&first), &crm(&moved)));

        let mut broken = all.clone();
        broken.extend(resources(vec![("apps/wiki", app("not a host"))]));
        let without = build(&broken, Changed::Only(&["apps/wiki"]));
        assert_eq!(without.faults().len(), 1);
        assert!(published(&without, "w.example.com").is_none());
        assert!(Arc::ptr_eq(&crm(&first), &crm(&without)));
        let still = build(&broken, Changed::Only(&[]));
        assert_eq!(still.faults().len(), 1);
        let mended = build(&all, Changed::Only(&["apps/wiki"]));
        assert!(mended.faults().is_empty());
        assert!(published(&mended, "w.example.com").is_some());

        all.remove("apps/crm");
        let left = build(&all, Changed::Only(&["apps/crm"]));
        assert!(published(&left, "crm.example.com").is_none());
        assert!(!left.has_app(&"crm".parse().unwrap()));
    }

    #[tokio::test]
    async fn replacement_is_told() {
        let views = Views::default();
        assert!(views.current().is_none());
        let mut changes = views.subscribe();
        views.replace(View::build(3, &BTreeMap::new()));
        changes.changed().await.unwrap();
        assert_eq!(*changes.borrow(), 3);
        assert_eq!(views.current().unwrap().revision(), 3);
    }
}
