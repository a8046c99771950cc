//! What is there before anything is served: store, CA, keys, an open port, and at the first start the fabric itself.

use std::{net::SocketAddr, sync::Arc};

use model::host::Hostname;
use runtime::Clock;
use tokio::net::TcpListener;

use super::{
    FirstStart, StartError,
    fabric_record::{self, Fabric},
    first::Founding,
};
use crate::{
    ca::Ca,
    config::Config,
    data_dir,
    refreshes::{Refreshes, SESSIONS_MAX},
    second_factors::key::SecondFactorKey,
    sign_in_log::{EVENTS_MAX, SignInLog},
    store::{Store, sqlite},
    tokens::JoinIssuer,
};

pub(super) struct Foundation {
    pub(super) store: Arc<dyn Store>,
    pub(super) sign_ins: SignInLog,
    pub(super) refreshes: Refreshes,
    pub(super) domain: Hostname,
    pub(super) ca: Arc<Ca>,
    pub(super) join_issuer: Arc<JoinIssuer>,
    pub(super) second_factor_key: Arc<SecondFactorKey>,
    pub(super) listener: TcpListener,
    pub(super) local_addr: SocketAddr,
    /// Where nodes dial; never empty.
    pub(super) advertise: Vec<String>,
    pub(super) first_start: Option<FirstStart>,
}

/// Opens what is there and makes what is missing. The port comes first of what the first start writes about.
pub(super) async fn lay(config: &Config, clock: &Clock) -> Result<Foundation, StartError> {
    let directory = config.data_dir.clone();
    data_dir::prepare(&directory).map_err(|source| StartError::DataDirectory {
        path: directory.clone(),
        source,
    })?;
    let store = sqlite::open(&directory, clock).map_err(StartError::Open)?;
    let sign_ins = SignInLog::open(&directory, EVENTS_MAX)?;
    let fabric = fabric_record::find(&store, config).await?;
    let (ca, domain) = match &fabric {
        Fabric::New(domain) => (Ca::found(&directory, domain, clock.wall())?, domain.clone()),
        Fabric::Known(domain) => (Ca::load(&directory)?, domain.clone()),
    };
    let listener = listen(config.listen).await?;
    let local_addr = bound(&listener, config.listen)?;
    let advertise = advertised(config, local_addr);
    let join_issuer =
        JoinIssuer::load_or_create(&directory, domain.clone(), advertise.clone(), ca.pin())?;
    let second_factor_key = Arc::new(SecondFactorKey::load_or_create(&directory)?);
    let key = Arc::clone(&second_factor_key);
    let refreshes = Refreshes::open(&directory, key, SESSIONS_MAX, clock.wall())?;
    let founding = Founding {
        store: &store,
        clock,
        ca: &ca,
        domain: &domain,
        directory: &directory,
        control: &advertise[0],
    };
    let first_start = match fabric {
        Fabric::New(_) => Some(founding.found().await?),
        Fabric::Known(_) => None,
    };
    Ok(Foundation {
        store: Arc::new(store),
        sign_ins,
        refreshes,
        domain,
        ca: Arc::new(ca),
        join_issuer: Arc::new(join_issuer),
        second_factor_key,
        listener,
        local_addr,
        advertise,
        first_start,
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
