//! The process: from its configuration to traffic, and back to nothing.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use runtime::{
    Clock, Scope, Workers,
    admin_port::{self, Condition, Readiness},
    dial::{WayOut, WayOutError},
    identity::CurrentIdentity,
    join::{self, Enrolment, EnrolmentError},
    node::Role,
    renew::{self, RenewConfig},
    sync::{self, Asked, SyncConfig, Turn, Update},
    telemetry::{self, TelemetryError},
    tls,
    worker::SpawnError,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    config::{self, Config, KerberosConfig, ServingConfig},
    doctor::Account,
    form::SignIns,
    health::Checks,
    metrics::AgentMetrics,
    origin::SystemRoots,
    probe::Findings,
    rejoin::{self, Rejoining},
    request::chain,
    sign_on::SignOn,
    sign_on_test::{self, Tester},
    statement::Seen,
    uplinks::{Links, Phase, Uplinks},
    view::{View, ViewBuilder, Views},
    worker::{self, PLANS_WAITING_MAX, Shared},
};

/// How long tasks may take to end once nothing is left to serve.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Metrics cannot be gathered.
    #[error("starting telemetry")]
    Telemetry(#[source] TelemetryError),
    /// The admin port cannot be opened.
    #[error("cannot open the admin port at {address}")]
    Admin {
        /// Where it should be.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not known how connections shall leave this machine.
    #[error("cannot use the proxy")]
    WayOut(#[source] WayOutError),
    /// The agent has no identity and gets none.
    #[error("cannot get an identity for this agent")]
    Enrolment(#[source] EnrolmentError),
    /// No threads or sockets for traffic.
    #[error("cannot start the agent's workers")]
    Workers(#[source] io::Error),
    /// A worker ended before it began.
    #[error("cannot give work to a worker")]
    Spawn(#[source] SpawnError),
}

/// A running agent. Dropped, it ends at once.
#[derive(Debug)]
pub struct Handle {
    admin_addr: SocketAddr,
    readiness: Readiness,
    serving: Serving,
}

impl Handle {
    /// Where the admin port listens.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// Whether it can do its work: conditions `snapshot` and `uplink`.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Whether every worker answers within `limit`.
    pub async fn is_alive(&self, limit: Duration) -> bool {
        self.serving.workers.are_alive(limit).await
    }

    /// Ends the agent without losing a request, as far as `deadline` allows; true if nothing was broken off.
    pub async fn drain(self, deadline: Duration) -> bool {
        self.serving.drain(deadline).await
    }
}

/// Starts an agent: joins if it must, follows what control publishes, serves.
///
/// Returns once it has an identity; whether it is ready shows in its [`Readiness`].
///
/// # Errors
/// See [`StartError`].
pub async fn start(config: Config, scope: &Scope) -> Result<Handle, StartError> {
    tls::install_provider();
    let clock = Clock::system();
    let rendered = telemetry::install_metrics(scope).map_err(StartError::Telemetry)?;
    let own = scope.child("agent");
    let readiness = Readiness::new();
    let has_snapshot = readiness.condition("snapshot");
    let address = config.admin;
    let admin_addr = admin_port::start(address, readiness.clone(), rendered, &own)
        .map_err(|source| StartError::Admin { address, source })?;
    // Boxed: it is large, happens once, and would make every future around it as large.
    let id = match (&config.data_directory, &config.id) {
        (None, name) => config::passing_id(name.as_ref()),
        (Some(_), Some(id)) => id.to_string(),
        (Some(directory), None) => config::kept_id(directory),
    };
    let way_out = config.way_out.way_out().map_err(StartError::WayOut)?;
    let serving_way_out = way_out.clone();
    let enrolled = Box::pin(join::enrolled(enrolment(&config, &id, &way_out), &clock))
        .await
        .map_err(StartError::Enrolment)?;
    let identity = CurrentIdentity::new(enrolled.identity);
    renew::start(
        RenewConfig {
            identity: identity.clone(),
            control: enrolled.control.clone(),
            data_directory: config.data_directory.clone(),
            turn: Turn::now(),
            clock: clock.clone(),
        },
        &own,
    );
    let views = Views::new(View::default());
    let (asking, questions) = mpsc::channel(sign_on_test::QUESTIONS_MAX);
    let sync = SyncConfig {
        identity: identity.clone(),
        control: enrolled.control,
        data_directory: config.data_directory.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        tunnel_address: String::new(),
        tcp_address: String::new(),
        workers: 0,
        presence: None,
        questions: Some(asking),
        turn: Turn::now(),
        clock: clock.clone(),
    };
    let status = sync::start(sync, apply(views.clone(), has_snapshot), &own);
    if config.data_directory.is_none() {
        let rejoining = Rejoining {
            token: config.token,
            name: config.id,
            way_out,
            identity: identity.clone(),
            clock: clock.clone(),
        };
        rejoin::start(rejoining, status.unknown, &own);
    }
    let serving = ServingConfig {
        way_out: serving_way_out,
        ..config.serving
    };
    let (account, testing) = (serving.kerberos.clone(), own.child("sign-on tests"));
    let serving = serve_in(serving, identity, views, &readiness, clock, own).await?;
    start_tests(serving.tester(account), questions, &testing);
    Ok(Handle {
        admin_addr,
        readiness,
        serving,
    })
}

/// Answers what control asks.
fn start_tests(tester: Tester, questions: mpsc::Receiver<Asked>, scope: &Scope) {
    let ended = scope.clone();
    scope.spawn_standing("sign-on tests", async move {
        tokio::select! {
            () = tester.run(questions) => {}
            () = ended.cancelled() => {}
        }
    });
}

fn enrolment<'a>(config: &'a Config, id: &'a str, way_out: &'a WayOut) -> Enrolment<'a> {
    Enrolment {
        token: config.token.as_ref(),
        role: Role::Agent,
        id,
        data_directory: config.data_directory.as_deref(),
        way_out,
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// Puts every revision in force that can be used whole; of another, control is told why not.
fn apply(
    views: Views,
    has_snapshot: Condition,
) -> impl Fn(&Update<'_>) -> Result<(), String> + Send + Sync {
    let builder = Mutex::new(ViewBuilder::new(SystemRoots::default()));
    move |update| {
        let mut builder = builder.lock().unwrap_or_else(PoisonError::into_inner);
        let view = builder
            .build(update.resources.values())
            .map_err(|error| chain(&error))?;
        tracing::debug!(
            revision = update.revision,
            edges = view.edges().len(),
            "snapshot in force"
        );
        views.store(view);
        has_snapshot.met();
        Ok(())
    }
}

/// Starts the part of an agent that carries traffic, for views that come from anywhere: this is an agent without control.
///
/// # Errors
/// [`StartError::Workers`] and [`StartError::Spawn`].
pub async fn serve(
    config: ServingConfig,
    identity: CurrentIdentity,
    views: Views,
    readiness: &Readiness,
    clock: Clock,
    scope: &Scope,
) -> Result<Serving, StartError> {
    let own = scope.child("agent");
    serve_in(config, identity, views, readiness, clock, own).await
}

async fn serve_in(
    config: ServingConfig,
    identity: CurrentIdentity,
    views: Views,
    readiness: &Readiness,
    clock: Clock,
    scope: Scope,
) -> Result<Serving, StartError> {
    let metrics = AgentMetrics::new();
    let links = Links::new(readiness.condition("uplink"), metrics.clone());
    let (phase, phases) = watch::channel(Phase::Serving);
    let sign_on = SignOn::start(
        config.kerberos,
        metrics.kerberos.clone(),
        clock.clone(),
        scope.child("sign on"),
    );
    let sign_on = sign_on.await;
    let shared = Shared {
        views: views.clone(),
        identity,
        clock: clock.clone(),
        metrics,
        allow: Arc::new(config.allow),
        streams_max: config.streams_max,
        transports: config.transports,
        climb_pause: config.climb_pause,
        instance: rand::random(),
        links: links.clone(),
        findings: Findings::default(),
        seen: Arc::new(Seen::new((clock.wall(), clock.now()))),
        phase: phases,
        keyring: config.keyring,
        sign_ins: SignIns::default(),
        sign_on,
        network: config.network,
        way_out: config.way_out,
    };
    let workers = Workers::start("agent", config.workers, &scope).map_err(StartError::Workers)?;
    let mut plans = Vec::with_capacity(workers.count());
    for index in 0..workers.count() {
        plans.push(start_worker(&workers, index, shared.clone()).await?);
    }
    let checks = Checks::new(
        views.clone(),
        Arc::clone(&shared.allow),
        shared.metrics.clone(),
        scope.child("health checks"),
    );
    scope.spawn_standing("health checks", checks.run());
    let uplinks = Uplinks::new(
        views,
        links.clone(),
        plans,
        config.uplinks_per_edge_max,
        scope.child("uplinks"),
    );
    scope.spawn_standing("uplinks", uplinks.run());
    let staying = readiness.condition("not draining");
    staying.met();
    Ok(Serving {
        shared: Box::new(shared),
        staying,
        phase,
        links,
        clock,
        scope,
        workers,
    })
}

async fn start_worker(
    workers: &Workers,
    index: usize,
    shared: Shared,
) -> Result<mpsc::Sender<crate::uplink::Plan>, StartError> {
    let (plan, plans) = mpsc::channel(PLANS_WAITING_MAX);
    let (ready, started) = oneshot::channel();
    workers
        .spawn_on(index, "agent worker", move |scope| {
            worker::run(shared, plans, ready, scope)
        })
        .map_err(StartError::Spawn)?;
    started
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the worker ended at once")))
        .map_err(StartError::Workers)?;
    Ok(plan)
}

/// The part of an agent that carries traffic. Dropped, it ends at once.
#[derive(Debug)]
pub struct Serving {
    /// Boxed: it is large, and asked for once.
    shared: Box<Shared>,
    staying: Condition,
    phase: watch::Sender<Phase>,
    links: Links,
    clock: Clock,
    scope: Scope,
    workers: Workers,
}

impl Serving {
    /// What goes through the stages of a sign-on as requests do.
    fn tester(&self, account: Option<KerberosConfig>) -> Tester {
        let Shared {
            views,
            allow,
            keyring,
            sign_ins,
            metrics,
            clock,
            ..
        } = &*self.shared;
        Tester {
            views: views.clone(),
            account: Account::new(account, metrics.kerberos.clone()),
            allow: Arc::clone(allow),
            keyring: keyring.clone(),
            sign_ins: sign_ins.clone(),
            clock: clock.clone(),
        }
    }

    /// Ends without losing a request, as far as `deadline` allows; true if nothing was broken off.
    ///
    /// The steps of each link stand in `uplink/link.rs`: tell the edge, serve what was on its way, refuse what comes later,
    /// finish what runs, close with a code. No new link is dialled from here on.
    pub async fn drain(self, deadline: Duration) -> bool {
        self.staying.unmet();
        tracing::info!(?deadline, "draining");
        let until = self.clock.now() + deadline;
        self.phase.send_replace(Phase::Draining { deadline: until });
        // A little more than the links take themselves, so that each can say its last word.
        let drained = timeout(deadline + CLOSE_TIMEOUT, self.links.all_down())
            .await
            .is_ok()
            && self.clock.now() < until;
        let ended = self.scope.close(CLOSE_TIMEOUT).await;
        tracing::info!(drained, ended, "drained");
        drained
    }
}
