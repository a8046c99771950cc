//! What the edge serves by: one revision of the fabric, in the shape that requests need.
//!
//! A view is made whole and then swapped in; what runs on an older one is not disturbed. A resource that cannot be used refuses
//! the whole view, so that the edge never serves half of what was published. What did not change is not read again: one
//! publication among many thousands costs little.

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
    agents: HashMap<AgentId, Membership>,
    certificates: Certificates,
    ticket_keys: Arc<TicketKeys>,
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

/// Makes views, and keeps what it read from one to the next.
#[derive(Debug, Default)]
pub struct ViewBuilder {
    /// By name of the resource.
    read: BTreeMap<String, Read>,
}

/// A resource as views have it. Those that an edge has no use for are not kept.
#[derive(Debug)]
enum Read {
    App(Arc<App>),
    Agent(AgentId, Membership),
    Certificate(Arc<Certificate>),
    Fabric { domain: Hostname, stopped: bool },
    TicketKeys(Arc<TicketKeys>),
}

impl Read {
    fn of(name: &str, resource: &Resource) -> Result<Option<Self>, ViewError> {
        Ok(Some(match &resource.kind {
            Some(Kind::EdgeApp(app)) => Self::App(Arc::new(App::try_from(app)?)),
            Some(Kind::Agent(agent)) => {
                let (id, membership) = membership(agent).map_err(|source| ViewError::Agent {
                    name: name.to_owned(),
                    source,
                })?;
                Self::Agent(id, membership)
            }
            Some(Kind::Certificate(certificate)) => {
                let read = Certificate::read(certificate);
                let read = read.map_err(|source| ViewError::Certificate {
                    name: name.to_owned(),
                    source,
                })?;
                Self::Certificate(Arc::new(read))
            }
            Some(Kind::Fabric(fabric)) => Self::Fabric {
                domain: fabric.domain.parse().map_err(|_| ViewError::Domain)?,
                stopped: fabric.stopped,
            },
            Some(Kind::TicketKeys(keys)) => {
                let keys = TicketKeys::new(keys).map_err(ViewError::TicketKeys)?;
                Self::TicketKeys(Arc::new(keys))
            }
            // An edge has no use for what agents get; kinds of a later version are passed over.
            Some(Kind::AgentApp(_) | Kind::Edge(_) | Kind::Link(_)) | None => return Ok(None),
        }))
    }
}

impl ViewBuilder {
    /// Makes the view of an update.
    ///
    /// # Errors
    /// The first resource that cannot be used. The next update then follows from the one before.
    pub fn build(&mut self, update: &Update<'_>) -> Result<View, ViewError> {
        match update.changed {
            Changed::Any => {
                let mut read = BTreeMap::new();
                for (name, resource) in update.resources {
                    if let Some(one) = Read::of(name, resource)? {
                        read.insert(name.clone(), one);
                    }
                }
                self.read = read;
            }
            Changed::Only(names) => self.read_again(names, update.resources)?,
        }
        Ok(self.view(update.revision))
    }

    fn read_again(
        &mut self,
        names: &[&str],
        resources: &BTreeMap<String, Resource>,
    ) -> Result<(), ViewError> {
        let read = |name: &&str| match resources.get(*name) {
            Some(resource) => Read::of(name, resource),
            None => Ok(None),
        };
        // All of them before the first takes the place of what is there.
        let fresh: Vec<_> = names.iter().map(read).collect::<Result<_, _>>()?;
        for (name, fresh) in names.iter().zip(fresh) {
            match fresh {
                Some(fresh) => self.read.insert((*name).to_owned(), fresh),
                None => self.read.remove(*name),
            };
        }
        Ok(())
    }

    fn view(&self, revision: u64) -> View {
        let mut view = View {
            revision,
            ..View::default()
        };
        let mut apps = Vec::with_capacity(self.read.len());
        for read in self.read.values() {
            match read {
                Read::App(app) => apps.push(Arc::clone(app)),
                Read::Agent(id, membership) => {
                    view.agents.insert(id.clone(), membership.clone());
                }
                Read::Certificate(certificate) => view.certificates.add(certificate),
                Read::Fabric { domain, stopped } => {
                    view.domain = Some(domain.clone());
                    view.stopped = *stopped;
                }
                Read::TicketKeys(keys) => view.ticket_keys = Arc::clone(keys),
            }
        }
        view.certificates.set_default(view.domain.as_ref());
        view.apps = apps.iter().map(|app| app.id.clone()).collect();
        view.routes = RouteTable::new(apps);
        view
    }
}

impl View {
    /// Makes the view of `revision` from nothing.
    ///
    /// # Errors
    /// The first resource that cannot be used.
    pub fn build(revision: u64, resources: &BTreeMap<String, Resource>) -> Result<Self, ViewError> {
        ViewBuilder::default().build(&Update {
            resources,
            revision,
            changed: Changed::Any,
        })
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
        named_app("wiki", host)
    }

    fn named_app(id: &str, host: &str) -> Kind {
        Kind::EdgeApp(fabric::EdgeApp {
            id: id.to_owned(),
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
        let first = build(&all, Changed::Any).unwrap();

        all.extend(resources(vec![(
            "apps/wiki",
            named_app("wiki", "w.example.com"),
        )]));
        let moved = build(&all, Changed::Only(&["apps/wiki"])).unwrap();
        assert!(published(&moved, "wiki.example.com").is_none());
        assert!(published(&moved, "w.example.com").is_some());
        let crm = |view| published(view, "crm.example.com").unwrap();
        assert!(Arc::ptr_eq(&crm(&first), &crm(&moved)));

        let mut broken = all.clone();
        broken.remove("apps/crm");
        broken.extend(resources(vec![("apps/wiki", app("not a host"))]));
        build(&broken, Changed::Only(&["apps/crm", "apps/wiki"])).unwrap_err();
        let kept = build(&all, Changed::Only(&[])).unwrap();
        assert!(published(&kept, "w.example.com").is_some());
        assert!(Arc::ptr_eq(&crm(&first), &crm(&kept)));

        all.remove("apps/crm");
        let left = build(&all, Changed::Only(&["apps/crm"])).unwrap();
        assert!(published(&left, "crm.example.com").is_none());
        assert!(!left.has_app(&"crm".parse().unwrap()));
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
