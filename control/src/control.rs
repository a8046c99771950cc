//! The life of a control process: start, first start, drain.

mod fabric_record;
mod first;
mod sweep;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use model::host::Hostname;
use runtime::{
    Clock, Scope,
    admin_port::{self, Condition, Readiness},
    node::{NodeIdentity, Role},
    telemetry::{self as runtime_telemetry, TelemetryError},
};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    admin::{self, AdminContext},
    ca::{Ca, CaError},
    certificates::{Certificates, CertificatesError},
    config::Config,
    data_dir,
    fabric::{self, FabricContext},
    presence::Presence,
    secret_file::SecretFileError,
    server::{self, CertificateError, ServerConfig},
    store::{
        Store, StoreError,
        sqlite::{self, OpenError},
    },
    telemetry,
    tokens::JoinIssuer,
};

pub use first::{DEFAULT_GROUP, FirstStart, PROFILE_FILE};

/// Control's id in its own certificate; there is one control in a fabric.
const ID: &str = "control";

/// Why control did not start. Nothing that was stored is lost.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be made or entered.
    #[error("cannot use the data directory {}", path.display())]
    DataDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error("cannot open the store")]
    Open(#[source] OpenError),
    /// The store cannot be read or written.
    #[error("cannot use the store in {}", path.display())]
    Store {
        /// The data directory.
        path: PathBuf,
        /// What the store said.
        #[source]
        source: StoreError,
    },
    /// A first start without a domain.
    #[error("{} is empty: the first start needs the fabric's domain (--domain example.com)", path.display())]
    DomainRequired {
        /// The data directory.
        path: PathBuf,
    },
    /// The data directory is of another fabric.
    #[error("{} belongs to the fabric {kept}, not to {given}: use its domain or another data directory", path.display())]
    OtherDomain {
        /// The data directory.
        path: PathBuf,
        /// Domain in the store.
        kept: Hostname,
        /// Domain in the configuration.
        given: Hostname,
    },
    /// The stored record of the fabric makes no sense.
    #[error("the fabric's record in {} cannot be read", path.display())]
    Corrupt {
        /// The data directory.
        path: PathBuf,
    },
    /// The CA cannot be used.
    #[error("cannot use the fabric's CA")]
    Ca(#[from] CaError),
    /// The key that signs join tokens, or the operator's profile, cannot be used.
    #[error("cannot use a secret file")]
    Secret(#[from] SecretFileError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Control's own certificate.
    #[error("cannot make control's certificate")]
    Certificate(#[from] CertificateError),
    /// Users' certificates.
    #[error("cannot make certificates for users")]
    Certificates(#[from] CertificatesError),
    /// Reflection of the API.
    #[error("cannot describe the API")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Metrics.
    #[error("cannot collect metrics")]
    Telemetry(#[from] TelemetryError),
}

/// A control that runs.
#[derive(Debug)]
pub struct Handle {
    /// Where it listens.
    pub local_addr: SocketAddr,
    /// Where metrics and probes are.
    pub admin_addr: SocketAddr,
    /// The operator's profile: address, CA, and the token of the first start.
    pub profile_path: PathBuf,
    /// What the first start made; `None` at every later one.
    pub first_start: Option<FirstStart>,
    scope: Scope,
    ready: Condition,
    health: HealthReporter,
}

impl Handle {
    /// Not ready any more, no new connections; calls that run finish, nodes are told to come back. True if all ended in time.
    pub async fn drain(self, deadline: Duration) -> bool {
        self.ready.unmet();
        for service in SERVICES {
            self.health.set_service_status(service, ServingStatus::NotServing).await;
        }
        self.scope.close(deadline).await
    }
}

/// Services that health speaks of; the empty name stands for all of control.
const SERVICES: [&str; 3] = ["", "adit.admin.v1.Apps", "adit.fabric.v1.Fabric"];

/// Starts control by tasks of `scope`; everything that is missing in the data directory is made.
///
/// # Errors
/// See [`StartError`].
pub async fn start(config: Config, scope: &Scope) -> Result<Handle, StartError> {
    start_with_clock(config, Clock::system(), scope).await
}

/// As [`start`], by another clock.
///
/// # Errors
/// See [`StartError`].
pub async fn start_with_clock(
    config: Config,
    clock: Clock,
    scope: &Scope,
) -> Result<Handle, StartError> {
    let scope = scope.child("control");
    runtime::tls::install_provider();
    let metrics = runtime_telemetry::install_metrics(&scope)?;
    runtime_telemetry::describe(&telemetry::METRICS);

    let directory = config.data_dir.clone();
    data_dir::prepare(&directory).map_err(|source| StartError::DataDirectory {
        path: directory.clone(),
        source,
    })?;
    let store: Arc<dyn Store> =
        Arc::new(sqlite::open(&directory, &clock).map_err(StartError::Open)?);
    let domain = fabric_record::domain(&*store, &config).await?;
    let ca = Arc::new(Ca::load_or_create(&directory, &domain, clock.wall())?);

    let listener = listen(config.listen).await?;
    let local_addr = bound(&listener, config.listen)?;
    let advertise = advertised(&config, local_addr);
    let join_issuer = JoinIssuer::load_or_create(
        &directory,
        domain.clone(),
        advertise.clone(),
        ca.pin(),
    )?;
    let first = first::Founding {
        store: &*store,
        clock: &clock,
        ca: &ca,
        domain: &domain,
        directory: &directory,
        control: &advertise[0],
    };
    let first_start = first.found().await?;

    let opened = Certificates::open(Arc::clone(&store), clock.clone(), Arc::clone(&ca), domain.clone());
    let certificates = opened.await?;
    let cancelled = scope.clone();
    scope.spawn_standing("certificates", async move {
        tokio::select! {
            () = cancelled.cancelled() => {}
            () = certificates.run() => {}
        }
    });
    sweep::start(Arc::clone(&store), clock.clone(), &scope);

    let (health, health_service) = tonic_health::server::health_reporter();
    for service in SERVICES {
        health.set_service_status(service, ServingStatus::Serving).await;
    }
    let presence = Presence::default();
    let join_issuer = Arc::new(join_issuer);
    let routes = admin::routes(&AdminContext {
        store: Arc::clone(&store),
        clock: clock.clone(),
        presence: presence.clone(),
        join_issuer: Arc::clone(&join_issuer),
        domain: domain.as_str().into(),
        start_time: clock.wall(),
        ca_expire_time: ca.expires_at(),
    })
    .add_service(fabric::service(FabricContext {
        store,
        clock: clock.clone(),
        presence,
        join_issuer,
        ca: Arc::clone(&ca),
        domain: domain.clone(),
        scope: scope.clone(),
    }))
    .add_service(health_service);
    server::start(
        ServerConfig {
            listener,
            ca,
            name: NodeIdentity::new(domain, Role::Control, ID).expect("the constant is an id"),
            hosts: certificate_hosts(&advertise, local_addr),
            routes: with_reflection(routes)?,
            clock,
        },
        &scope,
    )?;

    let readiness = Readiness::new();
    let ready = readiness.condition("serving");
    let address = config.admin_port;
    let admin_addr = admin_port::start(address, readiness, metrics, &scope)
        .await
        .map_err(|source| StartError::Listen { address, source })?;
    ready.met();
    tracing::info!(address = %local_addr, "control serves");
    Ok(Handle {
        local_addr,
        admin_addr,
        profile_path: directory.join(PROFILE_FILE),
        first_start,
        scope,
        ready,
        health,
    })
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| StartError::Listen { address, source })
}

fn bound(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, StartError> {
    let bound = listener.local_addr();
    bound.map_err(|source| StartError::Listen { address, source })
}

/// Where nodes dial: as told, or where control listens; never empty.
fn advertised(config: &Config, local_addr: SocketAddr) -> Vec<String> {
    if !config.advertise.is_empty() {
        return config.advertise.clone();
    }
    if local_addr.ip().is_unspecified() {
        vec![format!("localhost:{}", local_addr.port())]
    } else {
        vec![local_addr.to_string()]
    }
}

fn certificate_hosts(advertise: &[String], local_addr: SocketAddr) -> Vec<String> {
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    hosts.push(local_addr.ip().to_string());
    for address in advertise {
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        hosts.push(host.trim_start_matches('[').trim_end_matches(']').to_owned());
    }
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

fn with_reflection(routes: Routes) -> Result<Routes, tonic_reflection::server::Error> {
    let describe = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
    };
    Ok(routes
        .add_service(describe().build_v1()?)
        .add_service(describe().build_v1alpha()?))
}
