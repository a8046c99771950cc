//! Simulated agents: the serving part of real ones, many on one thread, with no origin behind them.

use std::{net::SocketAddr, num::NonZeroUsize, path::Path, sync::Arc, time::Duration};

use agent::{
    agent::Serving,
    allow::AllowList,
    config::{ServingConfig, Transports},
    origin::SystemRoots,
    view::{Edge, ViewBuilder, Views},
};
use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use model::app::AgentApp;
use proto::admin::NodeRole;
use runtime::{
    Clock, Scope, Workers,
    admin_port::Readiness,
    dial::WayOut,
    identity::{CurrentIdentity, Identity},
    join::{self, Enrolment, TokenSource},
    node::Role,
    worker::Threads,
};
use tokio::sync::oneshot;
use tunnel::{Transport, quic::Network};

use super::{admin::Admin, fabric::EDGE};

/// Threads that all agents share; the edge needs the others.
const THREADS: NonZeroUsize = NonZeroUsize::new(2).expect("two is not zero");
/// Nodes that enrol at once. Control takes one at a time.
const ENROLLING_MAX: usize = 16;
/// Nodes between two words about how far it is.
const SAY_EVERY: usize = 1_000;
/// What nodes say that they are.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Gives each of `count` new nodes an identity by the way that every node takes: a join token, a key of its own, a certificate. Their ids
/// begin with the folder's name, so that each part of a run has its own.
pub(super) async fn enrol(
    admin: &Admin,
    role: Role,
    count: usize,
    folder: &Path,
    clock: &Clock,
    say: &dyn Fn(&str),
) -> anyhow::Result<Vec<Identity>> {
    let wanted = match role {
        Role::Agent => NodeRole::Agent,
        Role::Edge => NodeRole::Edge,
        Role::Control => NodeRole::Unspecified,
    };
    let token = TokenSource::Literal(admin.join_token(wanted, count).await?);
    let token = &token;
    let kind = folder.file_name().unwrap_or_default().display();
    let kind = &kind;
    stream::iter(0..count)
        .map(|number| async move {
            let id = format!("{kind}-{number}");
            let data_directory = folder.join(&id);
            let enrolment = Enrolment {
                token: Some(token),
                role,
                id: &id,
                data_directory: Some(&data_directory),
                way_out: &WayOut::default(),
                version: VERSION,
            };
            let enrolled = Box::pin(join::enrolled(enrolment, clock)).await;
            let enrolled = enrolled.with_context(|| format!("enrolling {id}"))?;
            if (number + 1).is_multiple_of(SAY_EVERY) {
                say(&format!("{} of {count} {role}s have enrolled", number + 1));
            }
            anyhow::Ok(enrolled.identity)
        })
        .buffer_unordered(ENROLLING_MAX)
        .try_collect()
        .await
}

/// What simulated agents know, and are made of.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// The edge that they keep an uplink to.
    pub(super) edge: Edge,
    /// What they serve.
    pub(super) apps: Vec<AgentApp>,
    /// Where their sockets are, if not in the system's network.
    pub(super) network: Option<Arc<dyn Network>>,
}

/// Agents that keep their uplinks until this is dropped or closed.
#[derive(Debug)]
pub(super) struct Agents {
    scope: Scope,
    _workers: Workers,
}

impl Agents {
    /// Starts one agent for each identity. Each keeps one uplink to the edge.
    pub(super) async fn start(
        identities: Vec<CurrentIdentity>,
        plan: &Plan,
        clock: &Clock,
        scope: &Scope,
    ) -> anyhow::Result<Self> {
        let scope = scope.child("agents");
        let workers = Workers::start("agents", Threads::Own(THREADS), &scope)?;
        let mut shares: Vec<Vec<CurrentIdentity>> =
            (0..THREADS.get()).map(|_| Vec::new()).collect();
        for (number, identity) in identities.into_iter().enumerate() {
            shares[number % THREADS.get()].push(identity);
        }
        let mut starts = Vec::new();
        for (index, share) in shares.into_iter().enumerate() {
            let (plan, clock) = (plan.clone(), clock.clone());
            let (told, started) = oneshot::channel();
            workers.spawn_standing_on(index, "agents", move |scope| async move {
                let living = serve_all(share, &plan, &clock, &scope).await;
                let (living, outcome) = match living {
                    Ok(living) => (living, Ok(())),
                    Err(error) => (Vec::new(), Err(error)),
                };
                // Whoever started them waits for exactly this.
                let _ = told.send(outcome);
                scope.cancelled().await;
                drop(living);
            })?;
            starts.push(started);
        }
        for started in starts {
            started.await.context("a thread of agents ended")??;
        }
        Ok(Self {
            scope,
            _workers: workers,
        })
    }

    /// Ends all of them; their last words reach the edge.
    pub(super) async fn close(self) {
        self.scope.close(CLOSE_WAIT).await;
    }
}

/// Thousands of connections are closed one after the other.
const CLOSE_WAIT: Duration = Duration::from_secs(20);

async fn serve_all(
    identities: Vec<CurrentIdentity>,
    plan: &Plan,
    clock: &Clock,
    scope: &Scope,
) -> anyhow::Result<Vec<Serving>> {
    let mut living = Vec::with_capacity(identities.len());
    let mut builder = ViewBuilder::new(SystemRoots::default());
    for identity in identities {
        let view = builder.of_apps(plan.apps.clone(), vec![plan.edge.clone()])?;
        let config = ServingConfig {
            allow: AllowList::all(),
            workers: Threads::Current(NonZeroUsize::MIN),
            uplinks_per_edge_max: NonZeroUsize::MIN,
            network: plan.network.clone(),
            transports: Transports::Only(Transport::Quic),
            ..ServingConfig::default()
        };
        let readiness = Readiness::new();
        let serving = agent::agent::serve(
            config,
            identity,
            Views::new(view),
            &readiness,
            clock.clone(),
            scope,
        );
        living.push(Box::pin(serving).await?);
    }
    Ok(living)
}

/// The real edge, as the agents know it.
pub(super) fn edge(address: SocketAddr, workers: NonZeroUsize) -> anyhow::Result<Edge> {
    Ok(Edge {
        id: EDGE.parse()?,
        address: address.to_string(),
        tcp_address: None,
        workers: u32::try_from(workers.get())?,
    })
}
