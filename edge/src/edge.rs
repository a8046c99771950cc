//! An edge as a whole: its identity, its line to control, its data plane, and the order in which they end.

use std::{
    collections::BTreeMap,
    future, io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use model::name::AgentId;
use proto::fabric::{AgentLinks, AppFault, PresenceReport};
use runtime::{
    Clock, Scope,
    admin_port::{Condition, Readiness},
    dial::WayOut,
    identity::{CurrentIdentity, Identity},
    join::{self, Enrolled, Enrolment, EnrolmentError},
    node::Role,
    renew::{self, RenewConfig},
    sync::{self, SyncConfig, SyncStatus, Turn, Update},
    telemetry::{self, TelemetryError},
    tls::{self, TlsError},
    worker::Threads,
};
use rustls::ServerConfig;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tunnel::steering::Generation;

use crate::{
    beginning::{AdminPort, Beginning},
    config::{self, Advertise, Config},
    countries::{self, Countries, CountryFileError},
    faults::Faults,
    links::{Count, Links},
    metrics,
    probes::{self, Board},
    reset_key,
    serving::{ServeError, Serving, ServingConfig},
    sign_in::accounts,
    sockets::{self, Sockets},
    takeover::{self, Given, Line, Order, Taken},
    view::{ViewBuilder, Views},
};

/// Version of this program, as control shows it.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// At most one report of links in this time; control asks for no more.
const PRESENCE_INTERVAL: Duration = Duration::from_millis(500);
/// Time for the edge's own tasks to end once traffic has.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Why an edge did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It has no identity and got none.
    #[error("cannot get an identity for this edge")]
    Enrolment(#[source] EnrolmentError),
    /// Its identity is not an edge's.
    #[error("the identity on disk is not an edge's")]
    Role,
    /// Its identity cannot be used for TLS.
    #[error("cannot set up tls for agents")]
    Tls(#[source] TlsError),
    /// Its file of countries cannot be used.
    #[error("cannot use the file of countries {}", file.display())]
    Countries {
        /// Where it is.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CountryFileError,
    },
    /// Another process serves from the same data directory, and this one cannot take over from it.
    #[error("another process of this edge serves, and this one cannot take over from it")]
    TakeOver {
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Metrics cannot be gathered.
    #[error("cannot set up metrics")]
    Telemetry(#[source] TelemetryError),
    /// Traffic cannot be served.
    #[error("cannot serve traffic")]
    Serve(#[source] ServeError),
    /// The admin port cannot be opened.
    #[error("cannot open the admin port on {address}")]
    Admin {
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A running edge.
#[derive(Debug)]
pub struct Handle {
    /// Where users are served.
    pub https_addr: SocketAddr,
    /// Where users are redirected.
    pub http_addr: Option<SocketAddr>,
    /// Where agents dial.
    pub tunnel_addr: SocketAddr,
    /// Where probes and scrapers ask.
    pub admin_addr: SocketAddr,
    /// How distribution stands.
    pub sync: SyncStatus,
    serving: Serving,
    staying: Condition,
    hand_over: HandOver,
    scope: Scope,
}

/// What ends, and in which order, when another process takes over.
#[derive(Debug)]
struct HandOver {
    admin: Scope,
    turn: Turn,
    /// What offers this process's sockets to another.
    offer: Scope,
    orders: tokio::sync::Mutex<mpsc::Receiver<Order>>,
    successor: OnceLock<Line>,
}

/// Starts an edge. It serves from the snapshot on its disk even while control is away.
///
/// # Errors
/// Every [`StartError`]; nothing is left running then but in `scope`.
pub async fn start(config: Config, scope: &Scope) -> Result<Handle, StartError> {
    tls::install_provider();
    let scope = scope.child("edge");
    let clock = Clock::system();
    let ground = Ground::prepare(&config, &scope).await?;
    let admin_addr = ground.admin.local_addr().map_err(no_admin(&config))?;
    let countries = known_countries(config.country_file.clone(), &scope).await?;
    let enrolled = enrol(&config, &clock).await?;
    let identity = CurrentIdentity::new(enrolled.identity);
    let views = Views::default();
    let agents_tls = follow_identity(&identity, &scope)?;
    let serving_config =
        serving_config(&config, countries, &identity.current(), ground.generation)?;
    let (sockets, given) = sockets_of(&serving_config, ground.taken.as_ref(), ground.admin)?;
    let serving = Serving::start_on(
        sockets,
        serving_config,
        views.clone(),
        agents_tls,
        accounts::start(identity.clone(), enrolled.control.clone(), &scope),
        clock.clone(),
        &scope,
    )
    .await
    .map_err(StartError::Serve)?;
    ground.listening.met();
    let board = probes::start(views.clone(), serving.links(), clock.clone(), &scope);
    let turn = Turn::later();
    let sync_config = SyncConfig {
        turn: turn.clone(),
        identity,
        control: enrolled.control,
        data_directory: Some(config.data_directory.clone()),
        version: VERSION.to_owned(),
        tunnel_address: advertised(&config, &serving),
        tcp_address: tcp_address(&config, &serving),
        workers: u32::try_from(serving.worker_count()).unwrap_or(u32::MAX),
        presence: Some(report(serving.links(), board, &scope)),
        questions: None,
        clock,
    };
    renew::start(renewal(&sync_config), &scope);
    let apply = apply(views.clone(), ground.has_snapshot);
    let sync = sync::start(sync_config, apply, &scope);
    let ((orders, asked), offer) = (mpsc::channel(takeover::ORDERS_MAX), scope.child("offer"));
    let beginning = Beginning {
        on_line: sync.connected.clone(),
        views,
        opening: serving.opening(),
        links: serving.links(),
        admin: ground.admin_port,
        turn: turn.clone(),
        given,
        directory: config.data_directory,
        orders,
        offer: offer.clone(),
    };
    beginning.start(ground.taken, &scope);
    let handle = Handle {
        https_addr: serving.https_address,
        http_addr: serving.http_address,
        tunnel_addr: serving.tunnel_address,
        admin_addr,
        sync,
        serving,
        staying: ground.staying,
        hand_over: HandOver {
            admin: ground.admin_scope,
            turn,
            offer,
            orders: tokio::sync::Mutex::new(asked),
            successor: OnceLock::new(),
        },
        scope,
    };
    handle.tell();
    Ok(handle)
}

/// What a process begins with: who serves so far, and the admin port.
struct Ground {
    taken: Option<Taken>,
    generation: Generation,
    has_snapshot: Condition,
    listening: Condition,
    staying: Condition,
    admin: TcpListener,
    /// None: open already.
    admin_port: Option<AdminPort>,
    admin_scope: Scope,
}

impl Ground {
    async fn prepare(config: &Config, scope: &Scope) -> Result<Self, StartError> {
        let exporter = telemetry::install_metrics(scope).map_err(StartError::Telemetry)?;
        telemetry::describe(metrics::METRICS);
        let taken = takeover::ask(&config.data_directory).await?;
        let generation = match &taken {
            None => takeover::kept_generation(&config.data_directory),
            Some(taken) => taken.suits(config)?,
        };
        let readiness = Readiness::new();
        let has_snapshot = readiness.condition("snapshot");
        let listening = readiness.condition("listening");
        let staying = readiness.condition("not draining");
        staying.met();
        let admin = match &taken {
            None => TcpListener::bind(config.admin),
            Some(taken) => taken.given.admin.try_clone(),
        };
        let admin = admin.map_err(no_admin(config))?;
        let admin_scope = scope.child("admin");
        let admin_port = AdminPort::new(&admin, readiness, exporter, &admin_scope)
            .map_err(|source| StartError::TakeOver { source })?;
        // Another process's answers there until that one drains.
        let admin_port = match taken {
            None => {
                admin_port.open();
                None
            }
            Some(_) => Some(admin_port),
        };
        Ok(Self {
            taken,
            generation,
            has_snapshot,
            listening,
            staying,
            admin,
            admin_port,
            admin_scope,
        })
    }
}

fn no_admin(config: &Config) -> impl Fn(io::Error) -> StartError {
    let address = config.admin;
    move |source| StartError::Admin { address, source }
}

/// What to serve by, and the same for a process that takes over later.
fn sockets_of(
    config: &ServingConfig,
    taken: Option<&Taken>,
    admin: TcpListener,
) -> Result<(Vec<Sockets>, Given), StartError> {
    let sockets = match taken {
        None => sockets::bind(config),
        Some(taken) => sockets::inherit(&taken.given, config),
    };
    let sockets = sockets.map_err(StartError::Serve)?;
    let given = sockets::share(&sockets, admin, config.generation)
        .map_err(|source| StartError::TakeOver { source })?;
    Ok((sockets, given))
}

/// Where agents shall dial.
fn advertised(config: &Config, serving: &Serving) -> String {
    match &config.advertise {
        Advertise::Named(named) => named.clone(),
        Advertise::Bound => serving.tunnel_address.to_string(),
    }
}

fn renewal(sync: &SyncConfig) -> RenewConfig {
    RenewConfig {
        identity: sync.identity.clone(),
        control: sync.control.clone(),
        data_directory: sync.data_directory.clone(),
        turn: sync.turn.clone(),
        clock: sync.clock.clone(),
    }
}

impl Handle {
    fn tell(&self) {
        tracing::info!(
            https = %self.https_addr,
            http = self.http_addr.map(tracing::field::display),
            tunnel = %self.tunnel_addr,
            admin = %self.admin_addr,
            workers = self.serving.worker_count(),
            "edge serves"
        );
    }

    /// Number of links that agents have to this edge now.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.serving.link_count()
    }

    /// Waits until another process has taken over, and does what it asks until then. Cancel-safe.
    pub async fn superseded(&self) {
        let mut orders = self.hand_over.orders.lock().await;
        while let Some(order) = orders.recv().await {
            match order {
                Order::Agents => {
                    self.hand_over.turn.end();
                    self.serving.send_agents_over();
                }
                Order::Abandoned => {
                    self.hand_over.turn.begin();
                    self.serving.keep_agents();
                }
                Order::Serve(line) => {
                    self.hand_over.admin.cancel();
                    // Said once.
                    let _ = self.hand_over.successor.set(line);
                    return;
                }
            }
        }
        // Nobody can take over.
        future::pending().await
    }

    /// Waits until users are served: at once, or when everything was taken over. Cancel-safe.
    pub async fn serves(&self) {
        self.serving.opening().cancelled().await;
    }

    /// Whether another process serves in this one's place.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.hand_over.successor.get().is_some()
    }

    /// Whether every worker answers within `limit`.
    pub async fn is_alive(&self, limit: Duration) -> bool {
        self.serving.is_alive(limit).await
    }

    /// Ends in good order, at the latest a few seconds after `deadline`. True if everything was over in time.
    pub async fn drain(self, deadline: Duration) -> bool {
        // 1. Not ready: load balancers in front send nobody new.
        self.staying.unmet();
        // Nobody takes over any more, and what users knock at is kept open by those who listen there alone.
        self.hand_over.offer.close(CLOSE_WAIT).await;
        tracing::info!(?deadline, superseded = self.is_superseded(), "draining");
        // 2. to 6.: agents are told, listeners close, requests finish, the rest is closed with a code.
        let in_time = self.serving.drain(deadline).await;
        // 7. The line to control and the admin port, which showed the drain until now; logs are flushed by the process.
        self.scope.close(CLOSE_WAIT).await;
        tracing::info!(in_time, "drained");
        in_time
    }
}

async fn enrol(config: &Config, clock: &Clock) -> Result<Enrolled, StartError> {
    let enrolment = Enrolment {
        token: config.token.as_ref(),
        role: Role::Edge,
        id: config.id.as_str(),
        data_directory: Some(&config.data_directory),
        // Edges face the network themselves.
        way_out: &WayOut::default(),
        version: VERSION,
    };
    join::enrolled(enrolment, clock)
        .await
        .map_err(StartError::Enrolment)
}

async fn known_countries(file: Option<PathBuf>, scope: &Scope) -> Result<Countries, StartError> {
    let Some(file) = file else {
        return Ok(Countries::default());
    };
    let started = countries::start(file.clone(), scope).await;
    started.map_err(|source| StartError::Countries { file, source })
}

fn serving_config(
    config: &Config,
    countries: Countries,
    identity: &Identity,
    generation: Generation,
) -> Result<ServingConfig, StartError> {
    let name = identity.name();
    Ok(ServingConfig {
        // What the certificate says counts, not what was configured later.
        id: name.edge_id().ok_or(StartError::Role)?,
        domain: name.domain().clone(),
        https: config.https,
        http: config.http,
        tunnel: config.tunnel,
        public_port: config.public_port,
        http3: config.http3,
        public_udp_port: match &config.advertise {
            Advertise::Named(named) => config::port_of(named),
            Advertise::Bound => None,
        },
        resets: reset_key::kept(&config.data_directory),
        workers: Threads::Own(config.workers),
        https_proxy_protocol: config.https_proxy_protocol.clone(),
        http_proxy_protocol: config.http_proxy_protocol.clone(),
        pass_control: config.pass_control.clone(),
        countries,
        limits: config.limits.clone(),
        network: None,
        generation,
    })
}

/// Where agents dial whose network lets no UDP through: the host that they dial anyway, at the port where users come.
fn tcp_address(config: &Config, serving: &Serving) -> String {
    let port = config.public_port;
    let port = port.unwrap_or_else(|| serving.https_address.port());
    match (&config.advertise_tcp, &config.advertise) {
        (Some(named), _) => named.clone(),
        (None, Advertise::Named(named)) => {
            let host = named.rsplit_once(':').map_or(&**named, |(host, _)| host);
            format!("{host}:{port}")
        }
        (None, Advertise::Bound) => SocketAddr::new(serving.tunnel_address.ip(), port).to_string(),
    }
}

/// TLS settings towards agents, made anew when the identity is renewed.
fn follow_identity(
    identity: &CurrentIdentity,
    scope: &Scope,
) -> Result<watch::Receiver<Arc<ServerConfig>>, StartError> {
    let settings = |identity: &Identity| {
        tls::agents_server_config(identity, &[tunnel::quic::ALPN]).map(Arc::new)
    };
    let first = settings(&identity.current()).map_err(StartError::Tls)?;
    let (made, current) = watch::channel(first);
    let mut renewals = identity.subscribe();
    let own = scope.child("agents tls");
    scope.spawn_standing("agents tls", async move {
        loop {
            tokio::select! {
                () = own.cancelled() => return,
                renewed = renewals.changed() => if renewed.is_err() { return },
            }
            let renewed = settings(&renewals.borrow_and_update());
            match renewed {
                Ok(settings) => drop(made.send_replace(settings)),
                Err(error) => tracing::error!(%error, "cannot use the renewed identity"),
            }
        }
    });
    Ok(current)
}

/// Puts every revision in force. What it holds that cannot be used is told, and costs nothing else.
fn apply(
    views: Views,
    has_snapshot: Condition,
) -> impl Fn(&Update<'_>) -> Result<(), String> + Send + Sync {
    let builder = Mutex::new((ViewBuilder::default(), Faults::default()));
    move |update| {
        let mut builder = builder.lock().unwrap_or_else(PoisonError::into_inner);
        let (builder, faults) = &mut *builder;
        let view = builder.build(update);
        let revision = update.revision;
        let news = faults.follow(view.faults());
        for (fault, cause) in news.begun {
            tracing::error!(%fault, cause, revision, "a resource is left out: this edge cannot use it");
        }
        for fault in news.ended {
            tracing::info!(%fault, revision, "a resource is left out no more: it can be used, or is gone");
        }
        views.replace(view);
        has_snapshot.met();
        tracing::debug!(revision, "snapshot in force");
        Ok(())
    }
}

/// Tells control which agents have links here, and which apps fail: whole, when changed, at most every [`PRESENCE_INTERVAL`].
fn report(links: Arc<Links>, board: Arc<Board>, scope: &Scope) -> watch::Receiver<PresenceReport> {
    let (reports, report) = watch::channel(PresenceReport::default());
    let (mut linked, mut failing) = (links.subscribe(), board.subscribe());
    let own = scope.child("presence");
    scope.spawn_standing("presence", async move {
        loop {
            tokio::select! {
                () = own.cancelled() => return,
                changed = linked.changed() => if changed.is_err() { return },
                changed = failing.changed() => if changed.is_err() { return },
            }
            reports.send_replace(presence(&links.counts(), board.faults()));
            tokio::select! {
                () = own.cancelled() => return,
                () = sleep(PRESENCE_INTERVAL) => {}
            }
        }
    });
    report
}

fn presence(counts: &BTreeMap<AgentId, Count>, app_faults: Vec<AppFault>) -> PresenceReport {
    let number = |links: usize| u32::try_from(links).unwrap_or(u32::MAX);
    PresenceReport {
        agents: counts
            .iter()
            .map(|(agent, count)| AgentLinks {
                agent: agent.to_string(),
                links: number(count.all()),
                tcp_links: number(count.tcp),
            })
            .collect(),
        app_faults,
    }
}
