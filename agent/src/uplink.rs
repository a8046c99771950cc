//! One uplink: dialled, kept, dialled again.

mod link;

use std::{convert::Infallible, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use model::name::EdgeId;
use proto::tunnel::{GoAway, Hello, Welcome};
use runtime::{
    Backoff, Scope,
    node::{Role, edge_server_name},
    tls::{self, PeerError, TlsError},
};
use tokio::{
    net::lookup_host,
    sync::oneshot,
    time::{sleep, timeout},
};
use tunnel::{
    codes::Code,
    control::{ControlReceiver, ControlSender, HandshakeError, VERSIONS, agent_handshake},
    link::{Closed, Connection},
    quic::{ALPN, ConnectError, Target},
    steering,
};

use crate::{metrics::LinkOutcome, request::chain, uplinks::Phase, view::Edge, worker::Worker};

/// From the first packet to Welcome. A healthy edge needs three round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits between attempts grow from this.
const BACKOFF_BASE: Duration = Duration::from_millis(200);

/// And stay at this: an edge that comes back, or a network, is found within it. Attempts that come too thick are refused at the cost of
/// a packet, and each is of another time, so that more than this would spare nobody anything.
const BACKOFF_CAP: Duration = Duration::from_secs(4);

/// A link that lived this long was a good one; what ended sooner counts as a failure, or a broken edge would be dialled
/// without pause.
const GOOD_LINK_LIFE: Duration = Duration::from_secs(10);

/// Longest pause that an edge may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Addresses of one edge that are tried.
const ADDRESSES_MAX: usize = 8;

/// What software says hello.
const SOFTWARE: &str = concat!("adit/", env!("CARGO_PKG_VERSION"));

/// An uplink that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) edge: Edge,
    /// Which of the edge's workers to reach.
    pub(crate) edge_worker: u32,
    /// Cancelled when it is wanted no more.
    pub(crate) life: Scope,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("looking up {address}")]
    Lookup {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("{0} has no address")]
    NoAddress(String),
    #[error("making TLS settings of the agent's identity")]
    Tls(#[source] TlsError),
    #[error("the edge's id and the fabric's domain make no server name")]
    ServerName,
    #[error("connecting to the edge")]
    Connect(#[source] ConnectError),
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
    fn outcome(&self) -> LinkOutcome {
        match self {
            Self::Lookup { .. } | Self::NoAddress(_) => LinkOutcome::Lookup,
            Self::Tls(_) | Self::ServerName | Self::Peer(_) | Self::WrongPeer(_) => {
                LinkOutcome::Tls
            }
            Self::TimedOut => LinkOutcome::Timeout,
            Self::Connect(ConnectError::Handshake(closed)) => by_close(closed),
            Self::Connect(ConnectError::Tls(_) | ConnectError::ServerName(_)) => LinkOutcome::Tls,
            Self::Connect(ConnectError::Address(_) | ConnectError::Stopping) => {
                LinkOutcome::Transport
            }
            Self::Handshake(HandshakeError::Closed(closed)) => by_close(closed),
            Self::Handshake(_) => LinkOutcome::Transport,
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
struct Link {
    connection: Connection,
    sender: ControlSender,
    receiver: ControlReceiver,
    edge: EdgeId,
    edge_worker: u32,
}

/// Keeps the uplink until it is wanted no more or the agent drains.
pub(crate) async fn keep(worker: Rc<Worker>, plan: Plan) {
    let mut phase = worker.shared.phase.clone();
    tokio::select! {
        () = plan.life.cancelled() => {}
        () = worker.scope.cancelled() => {}
        _ = phase.wait_for(|phase| *phase != Phase::Serving) => {}
        // Links that are up are tasks of their own and see the same signs.
        () = keep_for_ever(&worker, &plan) => {}
    }
}

async fn keep_for_ever(worker: &Rc<Worker>, plan: &Plan) {
    let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_CAP);
    loop {
        let pause = match attempt(worker, plan).await {
            Ok(link) => live(worker, plan, link, &mut backoff).await,
            Err(error) => {
                worker.metrics.uplink_connect(error.outcome());
                report(plan, &error, backoff.failures());
                backoff.after_failure()
            }
        };
        sleep(pause).await;
    }
}

/// Lets a link serve until it ends or its edge says go away, stays away as long as that edge asks for, and says how long to wait
/// then before the next. A link that was told to go serves on beside the next one until the edge closes it; if it was the last
/// way of users, the edge is back sooner than it can know.
async fn live(worker: &Rc<Worker>, plan: &Plan, link: Link, backoff: &mut Backoff) -> Duration {
    worker.metrics.uplink_connect(LinkOutcome::Welcome);
    let began = worker.clock.now();
    let ((told, going), (over, ended)) = (oneshot::channel(), oneshot::channel());
    let serving = link::serve(Rc::clone(worker), plan.clone(), link, told, over);
    worker.scope.spawn_local("link", serving);
    let away = going.await.ok();
    if worker.clock.now() - began >= GOOD_LINK_LIFE {
        backoff.reset();
    }
    if let Some(GoAway { retry_after_ms, .. }) = away {
        let asked = Duration::from_millis(u64::from(retry_after_ms)).min(RETRY_AFTER_MAX);
        tokio::select! {
            () = sleep(asked) => {}
            () = last_way_closed(worker, plan, ended) => {}
        }
    }
    // All agents of an edge hear the same number; the jitter keeps them from coming back in one wave.
    backoff.after_failure()
}

/// Waits until the link that was told to go is gone and no other edge is left: users then wait for this one alone.
async fn last_way_closed(worker: &Worker, plan: &Plan, ended: oneshot::Receiver<Infallible>) {
    // It says nothing but that its sender is gone.
    let _ = ended.await;
    worker.shared.links.none_elsewhere(&plan.edge.id).await;
}

async fn attempt(worker: &Worker, plan: &Plan) -> Result<Link, DialError> {
    let _connecting = Connecting::new(worker);
    let mut failure = DialError::NoAddress(plan.edge.address.clone());
    for address in look_up(worker, &plan.edge.address).await? {
        match timeout(HANDSHAKE_TIMEOUT, dial(worker, plan, address)).await {
            Ok(Ok(link)) => return Ok(link),
            Ok(Err(error)) => failure = error,
            Err(_) => failure = DialError::TimedOut,
        }
    }
    Err(failure)
}

async fn look_up(worker: &Worker, address: &str) -> Result<Vec<SocketAddr>, DialError> {
    let found = match &worker.shared.network {
        None => lookup_host(address).await.map(Iterator::collect),
        Some(network) => network.look_up(address),
    };
    let mut found: Vec<_> = found.map_err(|source| DialError::Lookup {
        address: address.to_owned(),
        source,
    })?;
    found.truncate(ADDRESSES_MAX);
    Ok(found)
}

async fn dial(worker: &Worker, plan: &Plan, address: SocketAddr) -> Result<Link, DialError> {
    let identity = worker.shared.identity.current();
    let settings = tls::node_client_config(&identity, &[ALPN]).map_err(DialError::Tls)?;
    let name = edge_server_name(identity.name().domain(), &plan.edge.id)
        .map_err(|_| DialError::ServerName)?;
    let target = Target {
        address,
        server_name: name.to_str().into_owned(),
        worker: steering::Worker::new(plan.edge_worker, plan.edge.workers),
    };
    let connection = worker
        .endpoint
        .connect(&target, &Arc::new(settings))
        .await
        .map_err(DialError::Connect)?;
    check_peer(&connection, plan, identity.name().domain())?;
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
        edge: plan.edge.id.clone(),
        edge_worker,
    })
}

/// TLS has checked the name; the URI says which node it is.
fn check_peer(
    connection: &Connection,
    plan: &Plan,
    domain: &model::host::Hostname,
) -> Result<(), DialError> {
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

/// The first failures are seen at once; a lasting one only now and then.
fn report(plan: &Plan, error: &DialError, failures: u32) {
    let (edge, worker, error) = (&plan.edge.id, plan.edge_worker, chain(error));
    if failures.is_power_of_two() || failures == 0 {
        tracing::warn!(%edge, worker, failures, error, "no uplink to the edge yet");
    } else {
        tracing::debug!(%edge, worker, failures, error, "no uplink to the edge yet");
    }
}

/// One attempt, in the gauge as long as it lives.
struct Connecting<'a> {
    worker: &'a Worker,
}

impl<'a> Connecting<'a> {
    fn new(worker: &'a Worker) -> Self {
        worker.metrics.uplinks_connecting.increment(1.0);
        Self { worker }
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.worker.metrics.uplinks_connecting.decrement(1.0);
    }
}
