//! The life of a control process: start, first start, drain.

mod ephemeral;
mod fabric_record;
mod first;
mod foundation;
mod sweep;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use model::host::Hostname;
use runtime::{
    Clock, Scope,
    admin_port::{self, Condition, Readiness},
    node::{NodeIdentity, Role},
    telemetry::{self as runtime_telemetry, TelemetryError},
};
use tokio::time::timeout;
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    admin::{self, AdminContext},
    ca::CaError,
    certificates::{Certificates, CertificatesError},
    config::Config,
    fabric::{self, FabricContext, UsedChallenges},
    lockout::Lockout,
    passwords::Passwords,
    presence::Presence,
    provider_keys,
    questions::Questions,
    refreshes::RefreshesError,
    sealing_keys,
    secret_file::SecretFileError,
    server::{self, CertificateError, ServerConfig},
    sign_in_log::SignInLogError,
    store::{Store, StoreError, sqlite::OpenError},
    telemetry,
    time::unix_ms,
};
use foundation::Foundation;

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
    /// The log of sign-ins cannot be opened.
    #[error("cannot open the log of sign-ins")]
    SignIns(#[from] SignInLogError),
    /// The sessions that are to be refreshed cannot be opened.
    #[error("cannot open the file of sessions to refresh")]
    Refreshes(#[from] RefreshesError),
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
    store: Arc<dyn Store>,
}

impl Handle {
    /// Whether the store answers within `limit`.
    pub async fn is_alive(&self, limit: Duration) -> bool {
        let read = timeout(limit, self.store.revision()).await;
        read.is_ok_and(|revision| revision.is_ok())
    }

    /// Not ready any more, no new connections; calls that run finish, nodes are told to come back. True if all ended in time.
    pub async fn drain(self, deadline: Duration) -> bool {
        self.ready.unmet();
        for service in SERVICES {
            self.health
                .set_service_status(service, ServingStatus::NotServing)
                .await;
        }
        self.scope.close(deadline).await
    }
}

/// Services that health speaks of; the empty name stands for all of control.
const SERVICES: [&str; 25] = [
    "",
    "adit.admin.v1.AccessRules",
    "adit.admin.v1.Agents",
    "adit.admin.v1.ApiTokens",
    "adit.admin.v1.Apps",
    "adit.admin.v1.Audit",
    "adit.admin.v1.ClientCas",
    "adit.admin.v1.Edges",
    "adit.admin.v1.Groups",
    "adit.admin.v1.IdentityProviders",
    "adit.admin.v1.Images",
    "adit.admin.v1.JoinTokens",
    "adit.admin.v1.Locations",
    "adit.admin.v1.SecondFactors",
    "adit.admin.v1.ServiceTokens",
    "adit.admin.v1.SettingsService",
    "adit.admin.v1.SignIns",
    "adit.admin.v1.Status",
    "adit.admin.v1.TermsOfUse",
    "adit.admin.v1.Users",
    "adit.admin.v1.Vault",
    "adit.fabric.v1.Credentials",
    "adit.fabric.v1.Fabric",
    "adit.fabric.v1.SecondFactors",
    "adit.fabric.v1.TermsOfUse",
];

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
    telemetry::show_at_zero();

    let laid = foundation::lay(&config, &clock).await?;
    follow_store(&laid, &clock, &scope).await?;
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in SERVICES {
        health
            .set_service_status(service, ServingStatus::Serving)
            .await;
    }
    let routes = own_routes(&laid, &clock, &scope).add_service(health_service);
    let server = ServerConfig {
        listener: laid.listener,
        ca: laid.ca,
        name: NodeIdentity::new(laid.domain, Role::Control, ID).expect("the constant is an id"),
        hosts: certificate_hosts(&laid.advertise, laid.local_addr),
        routes: with_reflection(routes)?,
        clock,
    };
    server::start(server, &scope)?;

    let readiness = Readiness::new();
    let ready = readiness.condition("serving");
    let address = config.admin_port;
    let admin_addr = admin_port::start(address, readiness, metrics, &scope)
        .map_err(|source| StartError::Listen { address, source })?;
    ready.met();
    tracing::info!(address = %laid.local_addr, "control serves");
    Ok(Handle {
        local_addr: laid.local_addr,
        admin_addr,
        profile_path: config.data_dir.join(PROFILE_FILE),
        first_start: laid.first_start,
        scope,
        ready,
        health,
        store: laid.store,
    })
}

/// What control does of itself, without being called.
async fn follow_store(
    laid: &Foundation,
    clock: &Clock,
    scope: &Scope,
) -> Result<(), CertificatesError> {
    let (store, ca) = (Arc::clone(&laid.store), Arc::clone(&laid.ca));
    let certificates = Certificates::open(store, clock.clone(), ca, laid.domain.clone()).await?;
    let own = scope.child("certificates");
    scope.spawn_standing("certificates", async move {
        tokio::select! {
            () = own.cancelled() => {}
            () = certificates.run() => {}
        }
    });
    sealing_keys::start(&laid.store, clock, scope);
    provider_keys::start(&laid.store, clock, scope);
    let files = (laid.sign_ins.clone(), laid.refreshes.clone());
    sweep::start(Arc::clone(&laid.store), files, clock.clone(), scope);
    Ok(())
}

fn own_routes(laid: &Foundation, clock: &Clock, scope: &Scope) -> Routes {
    let (presence, questions) = (Presence::default(), Questions::default());
    ephemeral::start(
        Arc::clone(&laid.store),
        presence.clone(),
        clock.clone(),
        scope,
    );
    let (passwords, lockout) = (Passwords::default(), Arc::<Lockout>::default());
    let fabric = FabricContext {
        store: Arc::clone(&laid.store),
        clock: clock.clone(),
        presence: presence.clone(),
        questions: questions.clone(),
        join_issuer: Arc::clone(&laid.join_issuer),
        ca: Arc::clone(&laid.ca),
        passwords: passwords.clone(),
        lockout: Arc::clone(&lockout),
        second_factor_key: Arc::clone(&laid.second_factor_key),
        challenges: Arc::new(UsedChallenges::new(unix_ms(clock.wall()))),
        devices: Arc::default(),
        sign_ins: laid.sign_ins.clone(),
        refreshes: laid.refreshes.clone(),
        domain: laid.domain.clone(),
        scope: scope.child("syncs"),
    };
    admin::routes(&AdminContext {
        store: Arc::clone(&laid.store),
        clock: clock.clone(),
        presence,
        questions,
        join_issuer: Arc::clone(&laid.join_issuer),
        passwords,
        lockout,
        sign_ins: laid.sign_ins.clone(),
        domain: laid.domain.as_str().into(),
        start_time: clock.wall(),
        ca_expire_time: laid.ca.expires_at(),
    })
    .add_service(fabric::credentials_service(fabric.clone()))
    .add_service(fabric::second_factors_service(fabric.clone()))
    .add_service(fabric::terms_service(fabric.clone()))
    .add_service(fabric::service(fabric))
}

fn certificate_hosts(advertise: &[String], local_addr: SocketAddr) -> Vec<String> {
    let mut hosts = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    hosts.push(local_addr.ip().to_string());
    for address in advertise {
        let host = address
            .rsplit_once(':')
            .map_or(address.as_str(), |(host, _)| host);
        hosts.push(
            host.trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
        );
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
