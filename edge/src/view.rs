//! What the edge serves by: one revision of the fabric, in the shape that requests need.
//!
//! A view is built whole from a snapshot's resources and then swapped in; what runs on an older one is not disturbed. A
//! resource that cannot be used refuses the whole view, so that the edge never serves half of what was published.

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
    fabric::{Resource, resource::Kind},
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
    agents: HashMap<AgentId, Membership>,
    certificates: Certificates,
    ticket_keys: TicketKeys,
}

/// What an agent may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It serves this group.
    Serves(GroupId),
    /// It is on the deny-list.
    Revoked,
}

/// Why a snapshot gives no view. The text goes back to control and names the resource.
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
    /// Builds the view of `revision`.
    ///
    /// # Errors
    /// The first resource that cannot be used.
    pub fn build(revision: u64, resources: &BTreeMap<String, Resource>) -> Result<Self, ViewError> {
        let mut view = Self {
            revision,
            ..Self::default()
        };
        let mut apps = Vec::new();
        for (name, resource) in resources {
            match &resource.kind {
                Some(Kind::EdgeApp(app)) => apps.push(Arc::new(App::try_from(app)?)),
                Some(Kind::Agent(agent)) => {
                    let (id, membership) =
                        membership(agent).map_err(|source| ViewError::Agent {
                            name: name.clone(),
                            source,
                        })?;
                    view.agents.insert(id, membership);
                }
                Some(Kind::Certificate(certificate)) => {
                    view.certificates.add(certificate).map_err(|source| {
                        ViewError::Certificate {
                            name: name.clone(),
                            source,
                        }
                    })?;
                }
                Some(Kind::Fabric(fabric)) => {
                    let domain = fabric.domain.parse().map_err(|_| ViewError::Domain)?;
                    view.domain = Some(domain);
                    view.stopped = fabric.stopped;
                }
                Some(Kind::TicketKeys(keys)) => {
                    view.ticket_keys = TicketKeys::new(keys).map_err(ViewError::TicketKeys)?;
                }
                // An edge has no use for what agents get; kinds of a later version are passed over.
                Some(Kind::AgentApp(_) | Kind::Edge(_) | Kind::Link(_)) | None => {}
            }
        }
        view.certificates.set_default(view.domain.as_ref());
        view.apps = apps.iter().map(|app| app.id.clone()).collect();
        view.routes = RouteTable::new(apps);
        Ok(view)
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
        Kind::EdgeApp(fabric::EdgeApp {
            id: "wiki".to_owned(),
            hosts: vec![host.to_owned()],
            path: "/".to_owned(),
            group: "office".to_owned(),
            access: fabric::AccessKind::Passthrough.into(),
            timeouts: Some(fabric::Timeouts {
                connect_ms: 1_000,
                response_ms: 1_000,
                idle_ms: 1_000,
                ..Default::default()
            }),
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
        )
        .unwrap();
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
    fn a_bad_resource_refuses_the_view_and_is_named() {
        let broken = fabric::Certificate {
            names: vec!["*.example.com".to_owned()],
            chain: vec![b"junk".to_vec().into()],
            key: b"junk".to_vec().into(),
        };
        for (name, kind) in [
            ("apps/wiki", app("not a host")),
            ("agents/A!", agent("A!", false)),
            ("certificates/c1", Kind::Certificate(broken)),
        ] {
            let error = View::build(1, &resources(vec![(name, kind)])).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[tokio::test]
    async fn replacement_is_told() {
        let views = Views::default();
        assert!(views.current().is_none());
        let mut changes = views.subscribe();
        views.replace(View::build(3, &BTreeMap::new()).unwrap());
        changes.changed().await.unwrap();
        assert_eq!(*changes.borrow(), 3);
        assert_eq!(views.current().unwrap().revision(), 3);
    }
}
