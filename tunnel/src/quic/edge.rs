//! The edge's side: one endpoint for each worker.

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
    Connecting, ConnectionId, ConnectionIdGenerator, EndpointConfig, Incoming, ServerConfig,
    TokioRuntime, crypto::rustls::QuicServerConfig,
};

use super::{ALPN, ISSUED_ID_BYTES, TlsError, is_agent, issued_id, settings};
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

/// Attempts that wait for the accept loop.
const INCOMING_MAX: usize = 1024;

/// Packets kept for an attempt that waits: a first flight with post-quantum keys and certificate is some 10 KB.
const INCOMING_BYTES_MAX: u64 = 64 * 1024;

/// The same for all attempts together.
const INCOMING_BYTES_TOTAL_MAX: u64 = 16 * 1024 * 1024;

/// Why an endpoint could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The TLS settings do not suit.
    #[error("setting up tls for the tunnel")]
    Tls(#[source] TlsError),
    /// The socket cannot be used, or there is no tokio runtime here.
    #[error("starting the tunnel endpoint")]
    Start(#[source] io::Error),
}

/// Accepts agents on one worker's socket. Make it inside the worker's runtime.
#[derive(Debug)]
pub struct EdgeEndpoint {
    inner: quinn::Endpoint,
    // Kept whole: a new one would forget the key of the retry tokens that are under way.
    config: ServerConfig,
    worker: Worker,
    underway: Arc<Underway>,
}

impl EdgeEndpoint {
    /// Starts to listen. `tls` asks for client certificates and names [`ALPN`].
    ///
    /// # Errors
    /// Every [`EndpointError`].
    pub fn new(
        socket: WorkerSocket,
        tls: Arc<rustls::ServerConfig>,
    ) -> Result<Self, EndpointError> {
        let worker = socket.worker;
        let mut endpoint = EndpointConfig::default();
        endpoint.cid_generator(move || Box::new(WorkerIds { worker }));
        let mut config = ServerConfig::with_crypto(server_crypto(tls)?);
        config
            .transport_config(Arc::new(settings::edge()))
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BYTES_MAX)
            .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
        let inner = quinn::Endpoint::new(
            endpoint,
            Some(config.clone()),
            socket.socket,
            Arc::new(TokioRuntime),
        )
        .map_err(EndpointError::Start)?;
        Ok(Self {
            inner,
            config,
            worker,
            underway: Arc::default(),
        })
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

    /// The next agent that knocks; `None` once the endpoint is closed. Its handshake is the caller's to drive, beside others.
    ///
    /// Under a flood, addresses are made to prove themselves first. Cancel-safe.
    pub async fn accept(&self) -> Option<Handshake> {
        loop {
            let incoming = self.inner.accept().await?;
            if let Some(handshake) = self.admit(incoming) {
                return Some(handshake);
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
        let validated = incoming.remote_address_validated();
        let underway = &self.underway;
        if !is_agent(&incoming.orig_dst_cid())
            || underway.all.load(Ordering::Relaxed) >= HANDSHAKES_MAX
        {
            incoming.refuse();
            return None;
        }
        if !validated && underway.unvalidated.load(Ordering::Relaxed) >= HANDSHAKES_UNVALIDATED_MAX
        {
            // Fails only for validated addresses.
            let _ = incoming.retry();
            return None;
        }
        let remote = incoming.remote_address();
        // Fails when the first packet is broken; quinn answered it.
        let connecting = incoming.accept().ok()?;
        Some(Handshake {
            connecting,
            remote: SocketAddr::new(remote.ip().to_canonical(), remote.port()),
            count: Count::new(Arc::clone(underway), validated),
        })
    }
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
        Ok(Connection::new(self.connecting.await?))
    }
}

/// Handshakes under way on one worker.
#[derive(Debug, Default)]
struct Underway {
    all: AtomicUsize,
    unvalidated: AtomicUsize,
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
    QuicServerConfig::try_from(tls)
        .map(Arc::new)
        .map_err(|_| EndpointError::Tls(TlsError::CipherSuite))
}
