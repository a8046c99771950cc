//! Simulated edges: the node's side of `Fabric.Sync` and the view that a real edge makes of it, without traffic.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use edge::{ViewBuilder, Views};
use proto::fabric::resource::Kind;
use runtime::{
    Clock, Scope,
    identity::{CurrentIdentity, Identity},
    sync::{self, SyncConfig, SyncStatus, Turn},
};
use tokio::{sync::mpsc, time::Instant};

/// Reports that wait to be read: one of each edge, and then some.
const REPORTS_MAX: usize = 4_096;

/// What was published last and is looked for at every edge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Name of the resource.
    pub(super) name: String,
    /// Tells this publication from those before.
    pub(super) display_name: String,
}

/// An edge has put what was wanted in force.
#[derive(Debug, Clone)]
pub(super) struct InForce {
    pub(super) edge: usize,
    pub(super) what: Wanted,
    pub(super) at: Instant,
}

/// Simulated edges; they end with their scope.
#[derive(Debug)]
pub(super) struct Edges {
    wanted: Arc<Mutex<Wanted>>,
    reports: mpsc::Receiver<InForce>,
    statuses: Vec<SyncStatus>,
    scope: Scope,
}

impl Edges {
    /// Starts an edge for each identity. `control` is where control is; each keeps its snapshot under `folder`.
    pub(super) fn start(
        identities: Vec<Identity>,
        control: &[String],
        folder: &Path,
        clock: &Clock,
        scope: &Scope,
    ) -> Self {
        let scope = scope.child("edges");
        let wanted: Arc<Mutex<Wanted>> = Arc::default();
        let (reporting, reports) = mpsc::channel(REPORTS_MAX);
        let edges = identities.into_iter().enumerate();
        let statuses = edges
            .map(|(number, identity)| {
                let config = SyncConfig {
                    data_directory: Some(folder.join(identity.name().id())),
                    identity: CurrentIdentity::new(identity),
                    control: control.to_vec().into(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    // Nobody dials it.
                    tunnel_address: format!("127.0.0.1:{}", number + 1),
                    tcp_address: String::new(),
                    workers: 1,
                    presence: None,
                    questions: None,
                    turn: Turn::now(),
                    clock: clock.clone(),
                };
                let watching = Watching {
                    number,
                    wanted: Arc::clone(&wanted),
                    reporting: reporting.clone(),
                    clock: clock.clone(),
                };
                start_one(config, watching, &scope)
            })
            .collect();
        Self {
            wanted,
            reports,
            statuses,
            scope,
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.statuses.len()
    }

    /// The lowest revision that any of them runs on.
    pub(super) fn revision(&self) -> u64 {
        let revisions = self.statuses.iter();
        revisions
            .map(|status| *status.applied_revision.borrow())
            .min()
            .unwrap_or(0)
    }

    /// Looks for this from now on.
    pub(super) fn want(&self, wanted: Wanted) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
    }

    /// The next edge that has what it was looking for. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<InForce> {
        self.reports.recv().await
    }

    /// Ends all of them.
    pub(super) async fn close(self) {
        self.scope.close(std::time::Duration::from_secs(10)).await;
    }
}

struct Watching {
    number: usize,
    wanted: Arc<Mutex<Wanted>>,
    reporting: mpsc::Sender<InForce>,
    clock: Clock,
}

fn start_one(config: SyncConfig, watching: Watching, scope: &Scope) -> SyncStatus {
    let (views, builder) = (Views::default(), Mutex::new(ViewBuilder::default()));
    sync::start(
        config,
        move |update| {
            let mut builder = builder.lock().unwrap_or_else(PoisonError::into_inner);
            views.replace(builder.build(update));
            let at = watching.clock.now();
            let wanted = watching
                .wanted
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let found = update.resources.get(&wanted.name).is_some_and(|resource| {
                matches!(&resource.kind, Some(Kind::EdgeApp(app)) if app.display_name == wanted.display_name)
            });
            if found {
                // Nobody reads more than what is waited for.
                let _ = watching.reporting.try_send(InForce {
                    edge: watching.number,
                    what: wanted,
                    at,
                });
            }
            Ok(())
        },
        scope,
    )
}
