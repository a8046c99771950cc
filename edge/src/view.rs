//! What the edge serves by: one revision of the fabric, in the shape that requests need.
//!
//! A view is built whole from a snapshot's resources and then swapped in; what runs on an older one is not disturbed. A
//! resource that cannot be used is told as a fault and left out, and costs nothing else: the deny-list and the stop hold
//! whatever became of an app. Where such an app is published, users are told to come back later and nothing else answers.
//! What did not change is not read again: one publication among many thousands costs little.

mod access;
mod apps;
mod fault;
mod outline;
mod read;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use model::{
    access::ruleset::RuleSet,
    app::{Access, App},
    host::Hostname,
    name::{AgentId, AppId, ClientCaId, GroupId},
    route::{RouteTable, Site},
    settings::EdgeLimits,
};
use proto::fabric::Resource;
use runtime::sync::{Changed, Update};
use rustls::DistinguishedName;
use tokio::sync::watch;

use crate::{
    assertion::AssertionKeys,
    brand::{Look, Pictures},
    certificates::Certificates,
    client_certificates::ClientCa,
    providers::Roll,
    sealing::SealingKeys,
    sign_in::{revocations::Revocations, services::Services},
    vault_keys::VaultKeys,
};
use apps::{Apps, Published};
use read::{Part, Read};

pub use fault::ViewError;

#[cfg(test)]
mod tests;

/// Names of CAs that a client is told, at most: the list has a bound of 64 KiB on the wire (RFC 8446, section 4.2.4), and a name may have some
/// hundred bytes.
const SUBJECTS_MAX: usize = 64;

/// One revision of the fabric.
#[derive(Debug, Default)]
pub struct View {
    revision: u64,
    stopped: bool,
    edge_limits: EdgeLimits,
    title_case: bool,
    second_factors: bool,
    domain: Option<Hostname>,
    sign_in_host: Option<Hostname>,
    portal_host: Option<Hostname>,
    look: Look,
    pictures: Pictures,
    /// What the portal shows, in order; made when it is first asked for.
    listed: OnceLock<Vec<Arc<App>>>,
    routes: RouteTable,
    apps: Apps,
    unusable: HashSet<AppId>,
    agents: HashMap<AgentId, Membership>,
    certificates: Certificates,
    ticket_keys: Arc<SealingKeys>,
    session_keys: Arc<SealingKeys>,
    assertion_keys: Arc<AssertionKeys>,
    vault_keys: VaultKeys,
    revocations: Revocations,
    services: Services,
    providers: Roll,
    rules: RuleSet,
    client_cas: HashMap<ClientCaId, Arc<ClientCa>>,
    wants_certificates: bool,
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

/// Makes views, and keeps what it read from one to the next.
#[derive(Debug, Default)]
pub struct ViewBuilder {
    /// By name of the resource.
    read: BTreeMap<String, Read>,
    published: Published,
}

impl ViewBuilder {
    /// Makes the view of an update, without what cannot be used; see [`View::faults`].
    pub fn build(&mut self, update: &Update<'_>) -> View {
        match update.changed {
            Changed::Any => {
                *self = Self::default();
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
        let read = read.filter(|read| !read.is_nothing());
        let before = self.read.remove(name);
        let [was, is] = [&before, &read].map(|read| read.as_ref()?.part.as_ref());
        self.published.change(name, was, is);
        if let Some(read) = read {
            self.read.insert(name.to_owned(), read);
        }
    }

    fn view(&mut self, revision: u64) -> View {
        let mut view = View {
            revision,
            ..View::default()
        };
        let mut brand = None;
        let mut gathered = access::Gathered::default();
        for read in self.read.values() {
            view.faults.extend(read.fault.clone());
            match &read.part {
                None | Some(Part::App(_)) => {}
                Some(Part::UnusableApp(app)) => {
                    view.unusable.insert(app.id.clone());
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
                Some(Part::VaultKey(key)) => view.vault_keys.add(key),
                Some(Part::Revocation(revoked)) => view.revocations.add(revoked),
                Some(Part::Service(service)) => view.services.add(service),
                Some(Part::Provider(provider)) => view.providers.add(provider),
                Some(Part::ClientCa(ca)) => {
                    view.client_cas.insert(ca.id().clone(), Arc::clone(ca));
                }
                Some(Part::Rule(rule)) => gathered.rule(rule),
                Some(Part::Location(id, location)) => gathered.location(id, location),
                Some(Part::UnreadableLocation) => gathered.unreadable_location(),
                Some(Part::Terms(id, terms)) => gathered.terms(id, terms),
            }
        }
        view.rules = gathered.set();
        if let Some(brand) = brand {
            view.look = Look::new(brand, &view.pictures);
        }
        view.certificates.set_default(view.domain.as_ref());
        (view.apps, view.routes) = self.published.view();
        let has_cas = !view.client_cas.is_empty();
        view.wants_certificates = has_cas && view.apps.all().any(|app| view.wants_certificate(app));
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
        self.apps.keep_field_case()
    }

    /// What is published under `host`, if anything is. The fabric's own hosts are no app's, though one may be published for all names
    /// of the domain: what is asked of such an app would else count for the portal too.
    #[must_use]
    pub fn site(&self, host: &Hostname) -> Option<&Site> {
        let is_own = [self.sign_in_host(), self.portal_host()].contains(&Some(host));
        if is_own { None } else { self.routes.site(host) }
    }

    /// The CAs that an app names, as far as there are any.
    pub(crate) fn client_cas(&self, app: &App) -> impl Iterator<Item = &Arc<ClientCa>> {
        let named = match &app.access {
            Access::Passthrough => &[],
            Access::SignIn(_) => &app.client_cas[..],
        };
        named.iter().filter_map(|id| self.client_cas.get(id))
    }

    /// Whether clients are asked for a certificate at an app's hosts.
    pub(crate) fn wants_certificate(&self, app: &App) -> bool {
        self.client_cas(app).next().is_some()
    }

    /// Whether they are at any host.
    pub(crate) const fn wants_certificates(&self) -> bool {
        self.wants_certificates
    }

    /// By which CAs clients choose a certificate at a host; `None`: none is asked for there.
    pub(crate) fn wanted_at(&self, host: &Hostname) -> Option<Vec<DistinguishedName>> {
        let apps = self.site(host)?.routes().iter().map(|route| &**route.app());
        let mut wanted: BTreeMap<&ClientCaId, &Arc<ClientCa>> = BTreeMap::new();
        for ca in apps.flat_map(|app| self.client_cas(app)) {
            wanted.insert(ca.id(), ca);
        }
        let subjects = wanted.values().flat_map(|ca| ca.subjects().iter().cloned());
        (!wanted.is_empty()).then(|| subjects.take(SUBJECTS_MAX).collect())
    }

    /// Whether there is such an app.
    pub(crate) fn has_app(&self, app: &AppId) -> bool {
        self.apps.get(app).is_some()
    }

    /// Every app, in no order.
    pub(crate) fn all_apps(&self) -> Vec<Arc<App>> {
        self.apps.all().map(Arc::clone).collect()
    }

    /// An app that this edge can serve.
    pub(crate) fn app(&self, app: &AppId) -> Option<&App> {
        self.apps.get(app).map(|app| &**app)
    }

    /// Whether the agents of some app are shown ID tokens. Asked at sign-ins, which are few.
    pub(crate) fn asks_for_id_tokens(&self) -> bool {
        self.apps.all().any(|app| app.asks_for_id_token())
    }

    /// What users' browsers seal to.
    pub(crate) const fn vault_keys(&self) -> &VaultKeys {
        &self.vault_keys
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
            let apps = self.apps.all();
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

    /// The revision of the view in force.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        let current = self.current.load();
        current.as_ref().map(|view| view.revision)
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
