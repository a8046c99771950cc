//! The edge's side: one endpoint for each worker. Users of HTTP/3 may knock at the same port; they get settings of their own.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use quinn::{
    Connecting, ConnectionId, ConnectionIdGenerator, Incoming, ServerConfig, TokioRuntime,
    crypto::rustls::QuicServerConfig,
};

use super::{ALPN, ISSUED_ID_BYTES, ResetKey, TlsError, is_agent, issued_id, settings};
use crate::{
    codes::Code,
    link::{Closed, Connection},
    steering::{Worker, WorkerSocket},
};

/// Handshakes under way on one worker from addresses that proved nothing. At 1.5 ms each, more is a flood or a restart of
/// all agents; either can afford the round trip of a retry.
pub const HANDSHAKES_UNVALIDATED_MAX: usize = 64;

/// Handshakes under way on one worker in all; those above are refused and come back later.
pub const HANDSHAKES_MAX: usize = 1024;

/// What all workers together keep for attempts that wait for their accept loops, from whoever sends it. What is beyond is dropped, and sent again
/// by those who mean it.
const WAITING_BYTES_MAX: u32 = 10 * 1024 * 1024;

/// Packets kept for one attempt after its first: a first flight with post-quantum keys and certificate is some 10 KB.
const INCOMING_BYTES_MAX: u32 = 64 * 1024;

/// Handshakes of users under way on one worker. Counted apart from those of agents, so that neither keeps the others out.
pub const USER_HANDSHAKES_MAX: usize = 512;

/// Why an endpoint could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The TLS settings do not suit.
    #[error("setting up tls for the tunnel")]
    Tls(#[source] TlsError),
    /// The socket cannot be used.
    #[error("starting the tunnel endpoint")]
    Start(#[source] io::Error),
}

/// What one worker keeps for attempts that wait: half of its share for first packets, and half for those that follow.
#[derive(Debug)]
struct Waiting {
    attempts_max: usize,
    /// After the first packets.
    bytes_max: u32,
}

impl Waiting {
    fn of(worker: Worker) -> Self {
        let half = WAITING_BYTES_MAX / u32::from(worker.count()) / 2;
        let attempts = half / u32::from(settings::LINK_MTU_BYTES_MAX);
        Self {
            attempts_max: usize::try_from(attempts).unwrap_or(usize::MAX),
            bytes_max: half,
        }
    }
}

/// Accepts agents, and users where they are welcome, on one worker's socket. Make it inside the worker's runtime.
#[derive(Debug)]
pub struct EdgeEndpoint {
    inner: quinn::Endpoint,
    // Kept whole: a new one would forget the key of the retry tokens that are under way.
    config: ServerConfig,
    worker: Worker,
    underway: Arc<Underway>,
    users: Option<Arc<ServerConfig>>,
    users_underway: Arc<Underway>,
}

/// Someone who wants a connection.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, moved once")]
pub enum Knock {
    /// It says that it is an agent, and will have to show a certificate.
    Agent(Handshake),
    /// Anyone else.
    User(UserKnock),
}

impl Knock {
    /// The handshake, if it is an agent's; a user is refused.
    #[must_use]
    pub fn agent(self) -> Option<Handshake> {
        match self {
            Self::Agent(handshake) => Some(handshake),
            Self::User(_) => None,
        }
    }
}

impl EdgeEndpoint {
    /// Starts to listen. `tls` asks for client certificates and names [`ALPN`]; `resets` is the key of the edge's earlier life.
    ///
    /// # Errors
    /// Every [`EndpointError`].
    pub fn new(
        socket: WorkerSocket,
        tls: Arc<rustls::ServerConfig>,
        resets: &ResetKey,
    ) -> Result<Self, EndpointError> {
        let worker = socket.worker;
        let mut endpoint = resets.endpoint(worker);
        endpoint.cid_generator(move || Box::new(WorkerIds { worker }));
        let waiting = Waiting::of(worker);
        let mut config = ServerConfig::with_crypto(server_crypto(tls)?);
        config
            .transport_config(Arc::new(settings::edge()))
            .max_incoming(waiting.attempts_max)
            .incoming_buffer_size(INCOMING_BYTES_MAX.into())
            .incoming_buffer_size_total(waiting.bytes_max.into());
        let inner = socket
            .underlay
            .open()
            .and_then(|socket| {
                quinn::Endpoint::new_with_abstract_socket(
                    endpoint,
                    Some(config.clone()),
                    socket,
                    Arc::new(TokioRuntime),
                )
            })
            .map_err(EndpointError::Start)?;
        Ok(Self {
            inner,
            config,
            worker,
            underway: Arc::default(),
            users: None,
            users_underway: Arc::default(),
        })
    }

    /// Lets users in from now on. `tls` names their protocols.
    ///
    /// # Errors
    /// [`EndpointError::Tls`].
    pub fn welcome_users(&mut self, tls: Arc<rustls::ServerConfig>) -> Result<(), EndpointError> {
        let mut config = self.config.clone();
        config.crypto = quic_crypto(tls)?;
        config.transport_config(Arc::new(settings::users(settings::USER_STREAMS_MAX)));
        self.users = Some(Arc::new(config));
        Ok(())
    }

    /// Lets no more users in; those who are in stay.
    pub fn turn_users_away(&mut self) {
        self.users = None;
    }

    /// Changes the TLS settings for handshakes to come; connections stay as they are.
    ///
    /// # Errors
    /// [`EndpointError::Tls`]; the old settings stay.
    pub fn replace_tls(&mut self, tls: Arc<rustls::ServerConfig>) -> Result<(), EndpointError> {
        self.config.crypto = server_crypto(tls)?;
        self.inner.set_server_config(Some(self.config.clone()));
        Ok(())
    }

    /// The next who knocks; `None` once the endpoint is closed. Its handshake is the caller's to drive, beside others.
    ///
    /// Under a flood, addresses are made to prove themselves first. Cancel-safe.
    pub async fn accept(&self) -> Option<Knock> {
        loop {
            let incoming = self.inner.accept().await?;
            let admitted = if is_agent(&incoming.orig_dst_cid()) {
                self.admit(incoming).map(Knock::Agent)
            } else {
                self.admit_user(incoming).map(Knock::User)
            };
            if admitted.is_some() {
                return admitted;
            }
        }
    }

    /// The worker whose endpoint this is.
    #[must_use]
    pub const fn worker(&self) -> Worker {
        self.worker
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// Takes no more connections and closes those there are.
    pub fn close(&self, code: Code, reason: &str) {
        self.inner.close(code.to_wire(), reason.as_bytes());
    }

    /// Waits until every connection is gone and every peer had the chance to hear of it.
    pub async fn idle(&self) {
        self.inner.wait_idle().await;
    }

    fn admit(&self, incoming: Incoming) -> Option<Handshake> {
        let incoming = self.underway.room(incoming, HANDSHAKES_MAX)?;
        let validated = incoming.remote_address_validated();
        let remote = canonical(incoming.remote_address());
        // Fails when the first packet is broken; quinn answered it.
        let connecting = incoming.accept().ok()?;
        Some(Handshake {
            connecting,
            remote,
            count: Count::new(Arc::clone(&self.underway), validated),
        })
    }

    fn admit_user(&self, incoming: Incoming) -> Option<UserKnock> {
        // Dropped, it is refused.
        let config = Arc::clone(self.users.as_ref()?);
        let incoming = self.users_underway.room(incoming, USER_HANDSHAKES_MAX)?;
        let validated = incoming.remote_address_validated();
        Some(UserKnock {
            remote: canonical(incoming.remote_address()),
            incoming,
            config,
            count: Count::new(Arc::clone(&self.users_underway), validated),
        })
    }
}

/// IPv4 as such, although the socket may take both families.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// An agent's handshake under way. Dropped, it is given up.
#[derive(Debug)]
pub struct Handshake {
    connecting: Connecting,
    remote: SocketAddr,
    count: Count,
}

impl Handshake {
    /// Who knocks; proven by nothing yet.
    #[must_use]
    pub const fn remote_address(&self) -> SocketAddr {
        self.remote
    }

    /// Whether the address proved itself before: it answered a retry.
    #[must_use]
    pub const fn is_address_proven(&self) -> bool {
        self.count.validated
    }

    /// Waits for the end of the handshake: the agent then holds the key of the certificates that it showed.
    ///
    /// # Errors
    /// It failed or the peer fell silent.
    pub async fn finish(self) -> Result<Connection, Closed> {
        Ok(Connection::over_quic(self.connecting.await?))
    }
}

/// A user who knocks. Dropped, it is refused.
#[derive(Debug)]
pub struct UserKnock {
    incoming: Incoming,
    remote: SocketAddr,
    config: Arc<ServerConfig>,
    count: Count,
}

impl UserKnock {
    /// Who knocks; proven by nothing yet.
    #[must_use]
    pub const fn remote_address(&self) -> SocketAddr {
        self.remote
    }

    /// Begins the handshake with these settings; `None` if the first packet is broken, or the settings do not suit. The user may have
    /// `streams` requests under way, and at most [`USER_STREAMS_MAX`](super::USER_STREAMS_MAX).
    #[must_use]
    pub fn answer(self, streams: u32, tls: Arc<rustls::ServerConfig>) -> Option<UserHandshake> {
        let mut config = ServerConfig::clone(&self.config);
        config.crypto = quic_crypto(tls).ok()?;
        if streams < settings::USER_STREAMS_MAX {
            config.transport_config(Arc::new(settings::users(streams)));
        }
        let config = Arc::new(config);
        let connecting = self.incoming.accept_with(config).ok()?;
        Some(UserHandshake {
            connecting,
            _count: self.count,
        })
    }
}

/// A user's handshake under way. Dropped, it is given up.
#[derive(Debug)]
pub struct UserHandshake {
    connecting: Connecting,
    _count: Count,
}

impl UserHandshake {
    /// Waits for the end of the handshake. The connection speaks none of the tunnel's protocols: what it does speak is the
    /// caller's business.
    ///
    /// # Errors
    /// It failed or the user fell silent.
    pub async fn finish(self) -> Result<quinn::Connection, Closed> {
        Ok(self.connecting.await?)
    }
}

/// Handshakes under way on one worker.
#[derive(Debug, Default)]
struct Underway {
    all: AtomicUsize,
    unvalidated: AtomicUsize,
}

impl Underway {
    /// Gives back who may begin a handshake now; others are refused, or made to prove their address.
    fn room(&self, incoming: Incoming, max: usize) -> Option<Incoming> {
        if self.all.load(Ordering::Relaxed) >= max {
            incoming.refuse();
            return None;
        }
        let unvalidated = self.unvalidated.load(Ordering::Relaxed);
        if !incoming.remote_address_validated() && unvalidated >= HANDSHAKES_UNVALIDATED_MAX {
            // Fails only for validated addresses.
            let _ = incoming.retry();
            return None;
        }
        Some(incoming)
    }
}

/// Counts one handshake for as long as it lives.
#[derive(Debug)]
struct Count {
    underway: Arc<Underway>,
    validated: bool,
}

impl Count {
    fn new(underway: Arc<Underway>, validated: bool) -> Self {
        underway.all.fetch_add(1, Ordering::Relaxed);
        if !validated {
            underway.unvalidated.fetch_add(1, Ordering::Relaxed);
        }
        Self {
            underway,
            validated,
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.underway.all.fetch_sub(1, Ordering::Relaxed);
        if !self.validated {
            self.underway.unvalidated.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Issues connection IDs that lead back to the worker.
#[derive(Debug)]
struct WorkerIds {
    worker: Worker,
}

impl ConnectionIdGenerator for WorkerIds {
    fn generate_cid(&mut self) -> ConnectionId {
        issued_id(self.worker)
    }

    fn cid_len(&self) -> usize {
        ISSUED_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn server_crypto(tls: Arc<rustls::ServerConfig>) -> Result<Arc<QuicServerConfig>, EndpointError> {
    if !tls.alpn_protocols.iter().any(|protocol| protocol == ALPN) {
        return Err(EndpointError::Tls(TlsError::Alpn));
    }
    quic_crypto(tls)
}

fn quic_crypto(tls: Arc<rustls::ServerConfig>) -> Result<Arc<QuicServerConfig>, EndpointError> {
    QuicServerConfig::try_from(tls)
        .map(Arc::new)
        .map_err(|_| EndpointError::Tls(TlsError::CipherSuite))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::WORKERS_MAX;

    #[test]
    fn what_waits_unread_is_bounded_for_all_workers_together() {
        for count in 1..=u32::from(WORKERS_MAX) {
            let waiting = Waiting::of(Worker::new(0, count).unwrap());
            let attempts = u32::try_from(waiting.attempts_max).unwrap();
            let firsts = attempts * u32::from(settings::LINK_MTU_BYTES_MAX);
            let all = count * (firsts + waiting.bytes_max);
            assert!(all <= 10 * 1024 * 1024, "{count} workers: {all}");
            // An endpoint reads for 50 microseconds in a row, then those that came are taken.
            assert!(attempts >= 12, "{count} workers: {attempts}");
        }
    }
}
