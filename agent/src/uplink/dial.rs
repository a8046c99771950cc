//! One attempt to reach an edge: from an address to its Welcome.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use model::host::Hostname;
use proto::tunnel::{Hello, Welcome};
use runtime::{
    dial,
    node::{Role, edge_server_name},
    tls::{self, PeerError, TlsError},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tunnel::{
    Transport,
    codes::Code,
    control::{ControlReceiver, ControlSender, HandshakeError, VERSIONS, agent_handshake},
    link::{Closed, Connection},
    quic::{ALPN, ConnectError, Target},
    steering, tcp,
};

use super::Plan;
use crate::{metrics::LinkOutcome, worker::Worker};

/// From the first packet to Welcome, whatever number of addresses the edge has. A healthy one needs three round trips, or four over TCP.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// What software says hello.
const SOFTWARE: &str = concat!("adit/", env!("CARGO_PKG_VERSION"));

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("looking up {address}")]
    Lookup {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("{0} has no address")]
    NoAddress(String),
    #[error("making TLS settings of the agent's identity")]
    Settings(#[source] TlsError),
    #[error("the edge's id and the fabric's domain make no server name")]
    ServerName,
    #[error("connecting to the edge")]
    Connect(#[source] ConnectError),
    #[error("the edge names no address for tcp")]
    NoTcp,
    #[error("connecting to {address} over tcp")]
    Tcp {
        address: String,
        #[source]
        source: dial::DialError,
    },
    #[error("where the edge is")]
    Target(#[source] dial::TargetError),
    #[error("tls handshake with the edge over tcp")]
    Tls(#[source] io::Error),
    #[error("beginning http/2 with the edge")]
    Begin(#[source] Closed),
    #[error("no welcome within {HANDSHAKE_TIMEOUT:?}")]
    TimedOut,
    #[error("reading the edge's certificate")]
    Peer(#[source] PeerError),
    #[error("the certificate is that of {0}")]
    WrongPeer(String),
    #[error("saying hello to the edge")]
    Handshake(#[source] HandshakeError),
}

impl DialError {
    pub(super) fn outcome(&self) -> LinkOutcome {
        match self {
            Self::Lookup { .. } | Self::NoAddress(_) | Self::NoTcp | Self::Target(_) => {
                LinkOutcome::Lookup
            }
            Self::Settings(_)
            | Self::ServerName
            | Self::Tls(_)
            | Self::Peer(_)
            | Self::WrongPeer(_) => LinkOutcome::Tls,
            Self::TimedOut => LinkOutcome::Timeout,
            Self::Connect(ConnectError::Handshake(closed)) | Self::Begin(closed) => {
                by_close(closed)
            }
            Self::Connect(ConnectError::Tls(_) | ConnectError::ServerName(_)) => LinkOutcome::Tls,
            Self::Connect(ConnectError::Address(_) | ConnectError::Stopping) | Self::Tcp { .. } => {
                LinkOutcome::Transport
            }
            Self::Handshake(HandshakeError::Closed(closed)) => by_close(closed),
            Self::Handshake(HandshakeError::SentAway { .. }) => LinkOutcome::Refused,
            Self::Handshake(_) => LinkOutcome::Transport,
        }
    }

    /// How long the edge asks to stay away.
    pub(super) fn retry_after(&self) -> Duration {
        match self {
            Self::Handshake(HandshakeError::SentAway { retry_after, .. }) => *retry_after,
            _ => Duration::ZERO,
        }
    }
}

fn by_close(closed: &Closed) -> LinkOutcome {
    match closed {
        Closed::ByPeer { .. } => LinkOutcome::Refused,
        Closed::Tls(_) => LinkOutcome::Tls,
        Closed::Silent => LinkOutcome::Timeout,
        Closed::Here | Closed::Transport(_) => LinkOutcome::Transport,
    }
}

/// A connection that an edge has welcomed.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) sender: ControlSender,
    pub(super) receiver: ControlReceiver,
    /// Which of the edge's workers it reached.
    pub(super) edge_worker: u32,
    /// Over TCP: the address of this machine that it began with, and is bound to.
    pub(super) bound: Option<IpAddr>,
}

/// Dials over one transport. What became of it is counted.
pub(super) async fn over(
    transport: Transport,
    worker: &Worker,
    plan: &Plan,
) -> Result<Link, DialError> {
    let _connecting = Connecting::new(worker, transport);
    let dialled = match transport {
        Transport::Quic => over_quic(worker, plan).await,
        Transport::Tcp => timeout(HANDSHAKE_TIMEOUT, over_tcp(worker, plan))
            .await
            .unwrap_or(Err(DialError::TimedOut)),
    };
    let outcome = dialled
        .as_ref()
        .map_or_else(DialError::outcome, |_| LinkOutcome::Welcome);
    worker.metrics.uplink_connect(transport, outcome);
    dialled
}

async fn over_quic(worker: &Worker, plan: &Plan) -> Result<Link, DialError> {
    let name = target(&plan.edge.address)?;
    let addresses = addresses(Transport::Quic, &name, worker, plan).await?;
    let no_address = DialError::NoAddress(plan.edge.address.clone());
    let deadline = worker.clock.now() + HANDSHAKE_TIMEOUT;
    // Who is dropped closes its connection.
    let attempt = async |address| {
        timeout_at(deadline, over_quic_to(address, worker, plan))
            .await
            .unwrap_or(Err(DialError::TimedOut))
    };
    dial::first_to_answer(addresses, no_address, attempt).await
}

fn target(address: &str) -> Result<dial::Target, DialError> {
    address.parse().map_err(DialError::Target)
}

async fn addresses(
    transport: Transport,
    name: &dial::Target,
    worker: &Worker,
    plan: &Plan,
) -> Result<Vec<SocketAddr>, DialError> {
    let network = worker.shared.network.as_deref();
    match plan.known.find(transport, name, network).await {
        Ok(found) if found.is_empty() => Err(DialError::NoAddress(name.to_string())),
        Ok(found) => Ok(found),
        Err(source) => Err(DialError::Lookup {
            address: name.to_string(),
            source,
        }),
    }
}

async fn over_quic_to(
    address: SocketAddr,
    worker: &Worker,
    plan: &Plan,
) -> Result<Link, DialError> {
    let keys = Keys::of(worker, plan, ALPN)?;
    let target = Target {
        address,
        server_name: keys.server_name.to_str().into_owned(),
        worker: steering::Worker::new(plan.edge_worker, plan.edge.workers),
    };
    let connection = worker
        .endpoint
        .connect(&target, &keys.tls)
        .await
        .map_err(DialError::Connect)?;
    greet(connection, worker, plan, &keys.domain).await
}

async fn over_tcp(worker: &Worker, plan: &Plan) -> Result<Link, DialError> {
    let address = plan.edge.tcp_address.as_deref().ok_or(DialError::NoTcp)?;
    let keys = Keys::of(worker, plan, tcp::ALPN)?;
    let failed = |source| DialError::Tcp {
        address: address.to_owned(),
        source,
    };
    let target = target(address)?;
    let way_out = &worker.shared.way_out;
    let reached = match way_out.proxy_to(&target) {
        // Which looks the name up itself.
        Some(_) => way_out.connect(&target, HANDSHAKE_TIMEOUT).await,
        None => {
            let addresses = addresses(Transport::Tcp, &target, worker, plan).await?;
            dial::connect_to(addresses).await
        }
    };
    let stream = reached.map_err(failed)?;
    let remote = stream.peer_addr();
    let remote = remote.map_err(|source| failed(dial::DialError::Connect(source)))?;
    let bound = stream.local_addr().ok().map(|local| local.ip());
    let stream = TlsConnector::from(keys.tls)
        .connect(keys.server_name, stream)
        .await
        .map_err(DialError::Tls)?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = tcp::Peer {
        address: remote,
        certificates: certificates.to_vec(),
    };
    let begun = tcp::agent(stream, peer).await;
    let (connection, driver) = begun.map_err(DialError::Begin)?;
    worker.scope.spawn_local("tcp uplink", driver);
    let link = greet(connection, worker, plan, &keys.domain).await?;
    Ok(Link { bound, ..link })
}

/// What a handshake needs.
struct Keys {
    tls: Arc<ClientConfig>,
    server_name: ServerName<'static>,
    domain: Hostname,
}

impl Keys {
    fn of(worker: &Worker, plan: &Plan, protocol: &[u8]) -> Result<Self, DialError> {
        let identity = worker.shared.identity.current();
        let tls = tls::node_client_config(&identity, &[protocol]).map_err(DialError::Settings)?;
        let domain = identity.name().domain().clone();
        let server_name =
            edge_server_name(&domain, &plan.edge.id).map_err(|_| DialError::ServerName)?;
        Ok(Self {
            tls: Arc::new(tls),
            server_name,
            domain,
        })
    }
}

/// Says hello and waits for Welcome.
async fn greet(
    connection: Connection,
    worker: &Worker,
    plan: &Plan,
    domain: &Hostname,
) -> Result<Link, DialError> {
    check_peer(&connection, plan, domain)?;
    let (welcome, sender, receiver) = agent_handshake(&connection, hello(worker))
        .await
        .map_err(DialError::Handshake)?;
    let Welcome {
        worker: edge_worker,
        ..
    } = welcome;
    Ok(Link {
        connection,
        sender,
        receiver,
        edge_worker,
        bound: None,
    })
}

/// TLS has checked the name; the URI says which node it is.
fn check_peer(connection: &Connection, plan: &Plan, domain: &Hostname) -> Result<(), DialError> {
    let peer = tls::peer_identity(connection.peer_certificates()).map_err(|error| {
        connection.close(Code::Protocol, "certificate names no node");
        DialError::Peer(error)
    })?;
    let expected = peer.role() == Role::Edge
        && peer.domain() == domain
        && peer.edge_id().as_ref() == Some(&plan.edge.id);
    if !expected {
        connection.close(Code::Protocol, "not the expected edge");
        return Err(DialError::WrongPeer(peer.to_string()));
    }
    Ok(())
}

fn hello(worker: &Worker) -> Hello {
    Hello {
        versions: VERSIONS.to_vec(),
        instance: worker.shared.instance.to_vec().into(),
        capabilities: 0,
        streams_max: worker.shared.streams_max,
        software: SOFTWARE.to_owned(),
        trial: false,
    }
}

/// One attempt, in the gauge as long as it lives.
struct Connecting<'a> {
    worker: &'a Worker,
    transport: Transport,
}

impl<'a> Connecting<'a> {
    fn new(worker: &'a Worker, transport: Transport) -> Self {
        worker.metrics.uplinks_connecting(transport).increment(1.0);
        Self { worker, transport }
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        let connecting = self.worker.metrics.uplinks_connecting(self.transport);
        connecting.decrement(1.0);
    }
}
