//! What the edge serves by: one revision of the fabric, in the shape that requests need.
//!
//! A view is built whole from a snapshot's resources and then swapped in; what runs on an older one is not disturbed. A
//! resource that cannot be used is told as a fault and left out, and costs nothing else: the deny-list and the stop hold
//! whatever became of an app. Where such an app is published, users are told to come back later and nothing else answers.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use arc_swap::ArcSwapOption;
use model::{
    app::App,
    host::Hostname,
    name::{AgentId, AppId, GroupId, IdError},
    route::{RouteTable, Site},
};
use proto::{
    fabric::{AccessKind, EdgeApp, EdgeSegment, Resource, Timeouts, resource::Kind},
    resource::ResourceError,
};
use tokio::sync::watch;

use crate::{
    certificates::{CertificateError, Certificates},
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
    ticket_keys: TicketKeys,
    faults: Vec<ViewError>,
}

/// What an agent may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It serves this group.
    Serves(GroupId),
    /// It is on the deny-list.
    Revoked,
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

impl View {
    /// Builds the view of `revision`, without what cannot be used; see [`faults`](Self::faults).
    #[must_use]
    pub fn build(revision: u64, resources: &BTreeMap<String, Resource>) -> Self {
        let mut view = Self {
            revision,
            ..Self::default()
        };
        let mut apps = Vec::new();
        for (name, resource) in resources {
            if let Err(fault) = view.take(name, resource, &mut apps) {
                view.faults.push(fault);
            }
        }
        view.certificates.set_default(view.domain.as_ref());
        view.apps = apps.iter().map(|app| app.id.clone()).collect();
        view.routes = RouteTable::new(apps);
        view
    }

    fn take(
        &mut self,
        name: &str,
        resource: &Resource,
        apps: &mut Vec<Arc<App>>,
    ) -> Result<(), ViewError> {
        match &resource.kind {
            Some(Kind::EdgeApp(app)) => match App::try_from(app) {
                Ok(app) => apps.push(Arc::new(app)),
                Err(error) => {
                    if let Ok(app) = App::try_from(&outline(app)) {
                        self.unusable.insert(app.id.clone());
                        apps.push(Arc::new(app));
                    }
                    return Err(error.into());
                }
            },
            Some(Kind::Agent(agent)) => {
                let (id, membership) = membership(agent).map_err(|source| ViewError::Agent {
                    name: name.to_owned(),
                    source,
                })?;
                self.agents.insert(id, membership);
            }
            Some(Kind::Certificate(certificate)) => {
                let added = self.certificates.add(certificate);
                added.map_err(|source| ViewError::Certificate {
                    name: name.to_owned(),
                    source,
                })?;
            }
            Some(Kind::Fabric(fabric)) => {
                self.stopped = fabric.stopped;
                let domain = fabric.domain.parse().map_err(|_| ViewError::Domain)?;
                self.domain = Some(domain);
            }
            Some(Kind::TicketKeys(keys)) => {
                self.ticket_keys = TicketKeys::new(keys).map_err(ViewError::TicketKeys)?;
            }
            // An edge has no use for what agents get; kinds of a later version are passed over.
            Some(Kind::AgentApp(_) | Kind::Edge(_) | Kind::Link(_)) | None => {}
        }
        Ok(())
    }

    /// What was left out, and why.
    #[must_use]
    pub fn faults(&self) -> &[ViewError] {
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

    pub(crate) const fn ticket_keys(&self) -> &TicketKeys {
        &self.ticket_keys
    }

    pub(crate) const fn certificates(&self) -> &Certificates {
        &self.certificates
    }
}

/// Where an app is published, and nothing else of it: an app that cannot be used must not leave its place to a less specific one.
fn outline(app: &EdgeApp) -> EdgeApp {
    let segments = app.segments.iter().map(|segment| EdgeSegment {
        id: segment.id.clone(),
        hosts: segment.hosts.clone(),
        path: segment.path.clone(),
        ..EdgeSegment::default()
    });
    EdgeApp {
        id: app.id.clone(),
        hosts: app.hosts.clone(),
        path: app.path.clone(),
        group: app.group.clone(),
        access: AccessKind::Passthrough.into(),
        // Any will do, as no request is let through.
        timeouts: Some(Timeouts {
            connect_ms: 1_000,
            response_ms: 1_000,
            idle_ms: 1_000,
            total_ms: 0,
        }),
        segments: segments.collect(),
        ..EdgeApp::default()
    }
}

fn membership(agent: &proto::fabric::AgentRecord) -> Result<(AgentId, Membership), IdError> {
    let id = agent.id.parse()?;
    let membership = if agent.revoked {
        Membership::Revoked
    } else {
        Membership::Serves(agent.group.parse()?)
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
    use proto::fabric;

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
        Kind::EdgeApp(EdgeApp {
            id: "wiki".to_owned(),
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
        let office = Membership::Serves("office".parse().unwrap());
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
