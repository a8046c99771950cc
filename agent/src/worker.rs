//! One worker of the agent: a thread with its own endpoint, its own uplinks and its own connections to origins.

use std::{io, rc::Rc, sync::Arc, time::Duration};

use runtime::{Clock, Scope, dial::WayOut, identity::CurrentIdentity, vault::Keyring};
use tokio::sync::{mpsc, watch};
use tunnel::quic::{AgentEndpoint, Network};

use crate::{
    allow::AllowList,
    config::Transports,
    form::SignIns,
    metrics::AgentMetrics,
    origin::Pool,
    probe::Findings,
    request::Stalls,
    sign_on::SignOn,
    statement::Seen,
    uplink::{self, Plan},
    uplinks::{Links, Phase},
    view::Views,
};

/// Plans waiting for a worker: as many as all edges give at once.
pub(crate) const PLANS_WAITING_MAX: usize = 256;

/// What all workers share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) views: Views,
    pub(crate) identity: CurrentIdentity,
    pub(crate) clock: Clock,
    pub(crate) metrics: AgentMetrics,
    pub(crate) allow: Arc<AllowList>,
    pub(crate) streams_max: u32,
    pub(crate) transports: Transports,
    /// Longest pause between tries of QUIC while TCP carries an uplink.
    pub(crate) climb_pause: Duration,
    /// Changes with every start, so that an edge tells a restarted agent from a second one.
    pub(crate) instance: [u8; 16],
    pub(crate) links: Links,
    /// What probes found of origins.
    pub(crate) findings: Findings,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Opens credentials of apps.
    pub(crate) keyring: Option<Arc<Keyring>>,
    /// What came of the sign-ins by them.
    pub(crate) sign_ins: SignIns,
    /// What users are signed on to apps with.
    pub(crate) sign_on: SignOn,
    /// Statements of users that were taken.
    pub(crate) seen: Arc<Seen>,
    pub(crate) network: Option<Arc<dyn Network>>,
    /// To edges over TCP.
    pub(crate) way_out: WayOut,
}

/// What one worker owns.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) views: Views,
    pub(crate) pool: Pool,
    pub(crate) stalls: Stalls,
    pub(crate) clock: Clock,
    pub(crate) metrics: AgentMetrics,
    pub(crate) shared: Shared,
    pub(crate) endpoint: AgentEndpoint,
    pub(crate) scope: Scope,
}

impl Worker {
    /// Makes the worker. Call on its thread.
    fn new(shared: Shared, scope: Scope) -> io::Result<Self> {
        let endpoint = match &shared.network {
            None => AgentEndpoint::new()?,
            Some(network) => AgentEndpoint::on(&**network)?,
        };
        if let Some(granted) = endpoint.granted() {
            tracing::info!(
                receive_bytes = granted.receive_bytes,
                send_bytes = granted.send_bytes,
                advice = granted.advice(),
                "socket buffers of a worker"
            );
        }
        let pool = Pool::new(
            Arc::clone(&shared.allow),
            shared.clock.clone(),
            &scope,
            shared.metrics.clone(),
        );
        Ok(Self {
            views: shared.views.clone(),
            pool,
            stalls: Stalls::default(),
            clock: shared.clock.clone(),
            metrics: shared.metrics.clone(),
            shared,
            endpoint,
            scope,
        })
    }
}

/// Runs a worker: keeps every uplink that it is given a plan for. `ready` is told how the start went.
pub(crate) async fn run(
    shared: Shared,
    mut plans: mpsc::Receiver<Plan>,
    ready: tokio::sync::oneshot::Sender<io::Result<()>>,
    scope: Scope,
) {
    let worker = match Worker::new(shared, scope.clone()) {
        Ok(worker) => Rc::new(worker),
        Err(error) => {
            // The starter waits for exactly this.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    loop {
        let plan = tokio::select! {
            () = scope.cancelled() => break,
            plan = plans.recv() => plan,
        };
        let Some(plan) = plan else { break };
        scope.spawn_standing_local("uplink", uplink::keep(Rc::clone(&worker), plan));
    }
    // Links close themselves when the scope ends; their last words need the endpoint a moment longer.
    worker.endpoint.idle().await;
}
