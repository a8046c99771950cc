//! An edge as a whole: its identity, its line to control, its data plane, and the order in which they end.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use model::name::AgentId;
use proto::fabric::{AgentLinks, PresenceReport};
use runtime::{
    Clock, Scope,
    admin_port::{self, Condition, Readiness},
    identity::{CurrentIdentity, Identity},
    join::{self, Enrolled, Enrolment, EnrolmentError},
    node::Role,
    renew::{self, RenewConfig},
    sync::{self, SyncConfig, SyncStatus, Update},
    telemetry::{self, TelemetryError},
    tls::{self, TlsError},
    worker::Threads,
};
use rustls::ServerConfig;
use tokio::{sync::watch, time::sleep};

use crate::{
    config::{self, Advertise, Config},
    countries::{self, Countries, CountryFileError},
    faults::Faults,
    links::{Count, Links},
    metrics, reset_key,
    serving::{ServeError, Serving, ServingConfig},
    sign_in::accounts,
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
    scope: Scope,
}

/// Starts an edge. It serves from the snapshot on its disk even while control is away.
///
/// # Errors
/// Every [`StartError`]; nothing is left running then but in `scope`.
pub async fn start(config: Config, scope: &Scope) -> Result<Handle, StartError> {
    tls::install_provider();
    let scope = scope.child("edge");
    let clock = Clock::system();
    let exporter = telemetry::install_metrics(&scope).map_err(StartError::Telemetry)?;
    telemetry::describe(metrics::METRICS);
    let readiness = Readiness::new();
    let has_snapshot = readiness.condition("snapshot");
    let listening = readiness.condition("listening");
    let staying = readiness.condition("not draining");
    staying.met();
    let admin_addr = admin_port::start(config.admin, readiness, exporter, &scope)
        .await
        .map_err(|source| StartError::Admin {
            address: config.admin,
            source,
        })?;
    let countries = known_countries(config.country_file.clone(), &scope).await?;
    let enrolled = enrol(&config, &clock).await?;
    let identity = CurrentIdentity::new(enrolled.identity);
    let views = Views::default();
    let agents_tls = follow_identity(&identity, &scope)?;
    let serving = Serving::start(
        serving_config(&config, countries, &identity.current())?,
        views.clone(),
        agents_tls,
        accounts::start(identity.clone(), enrolled.control.clone(), &scope),
        clock.clone(),
        &scope,
    )
    .await
    .map_err(StartError::Serve)?;
    listening.met();
    renew::start(
        RenewConfig {
            identity: identity.clone(),
            control: enrolled.control.clone(),
            data_directory: config.data_directory.clone(),
            clock: clock.clone(),
        },
        &scope,
    );
    let tcp_address = tcp_address(&config, &serving);
    let sync = sync::start(
        SyncConfig {
            identity,
            control: enrolled.control,
            data_directory: config.data_directory,
            version: VERSION.to_owned(),
            tcp_address,
            tunnel_address: match config.advertise {
                Advertise::Named(named) => named,
                Advertise::Bound => serving.tunnel_address.to_string(),
            },
            workers: u32::try_from(serving.worker_count()).unwrap_or(u32::MAX),
            presence: Some(report_links(serving.links(), &scope)),
            clock,
        },
        apply(views, has_snapshot),
        &scope,
    );
    tracing::info!(
        https = %serving.https_address,
        http = serving.http_address.map(tracing::field::display),
        tunnel = %serving.tunnel_address,
        admin = %admin_addr,
        workers = serving.worker_count(),
        "edge serves"
    );
    Ok(Handle {
        https_addr: serving.https_address,
        http_addr: serving.http_address,
        tunnel_addr: serving.tunnel_address,
        admin_addr,
        sync,
        serving,
        staying,
        scope,
    })
}

impl Handle {
    /// Number of links that agents have to this edge now.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.serving.link_count()
    }

    /// Ends in good order, at the latest a few seconds after `deadline`. True if everything was over in time.
    pub async fn drain(self, deadline: Duration) -> bool {
        // 1. Not ready: load balancers in front send nobody new.
        self.staying.unmet();
        tracing::info!(?deadline, "draining");
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
        data_directory: &config.data_directory,
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
        countries,
        limits: config.limits.clone(),
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

/// Tells control which agents have links here: whole, when changed, at most every [`PRESENCE_INTERVAL`].
fn report_links(links: Arc<Links>, scope: &Scope) -> watch::Receiver<PresenceReport> {
    let (reports, report) = watch::channel(PresenceReport::default());
    let mut changes = links.subscribe();
    let own = scope.child("presence");
    scope.spawn_standing("presence", async move {
        loop {
            tokio::select! {
                () = own.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            reports.send_replace(presence(&links.counts()));
            tokio::select! {
                () = own.cancelled() => return,
                () = sleep(PRESENCE_INTERVAL) => {}
            }
        }
    });
    report
}

fn presence(counts: &BTreeMap<AgentId, Count>) -> PresenceReport {
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
    }
}
