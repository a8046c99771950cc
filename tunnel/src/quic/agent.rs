//! The agent's side: an endpoint that dials edges.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use quinn::{
    AsyncUdpSocket, ClientConfig, EndpointConfig, TokioRuntime, TransportConfig,
    crypto::rustls::QuicClientConfig,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{ALPN, Network, TlsError, first_id, settings, socket::EndpointSocket};
use crate::{
    codes::Code,
    link::{Closed, Connection},
    steering::{SocketBuffers, Worker, enlarge_buffers},
};

/// Which edge to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// The name that its certificate must carry.
    pub server_name: String,
    /// Which of its workers to reach, once their number is known from a Welcome.
    pub worker: Option<Worker>,
}

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The TLS settings do not suit.
    #[error("setting up tls for the tunnel")]
    Tls(#[source] TlsError),
    /// The server name is no name.
    #[error("{0:?} is not a server name")]
    ServerName(String),
    /// This host cannot reach the address: port 0, or IPv6 where there is none.
    #[error("{0} cannot be dialled from here")]
    Address(SocketAddr),
    /// The endpoint was closed.
    #[error("tunnel endpoint is closed")]
    Stopping,
    /// The edge does not answer, or the handshake failed.
    #[error("connecting to the edge")]
    Handshake(#[source] Closed),
}

/// Dials edges from one UDP socket. Make it inside the worker's runtime.
#[derive(Debug)]
pub struct AgentEndpoint {
    inner: quinn::Endpoint,
    transport: Arc<TransportConfig>,
    granted: Option<SocketBuffers>,
}

impl AgentEndpoint {
    /// Takes a free port, for IPv6 and IPv4 where the host has both, else for IPv4.
    ///
    /// # Errors
    /// What the kernel says.
    ///
    /// # Panics
    /// There is no tokio runtime here.
    pub fn new() -> io::Result<Self> {
        let socket = dual_stack().or_else(|_| ipv4())?;
        let granted = enlarge_buffers(&socket)?;
        Self::start(EndpointSocket::new(socket.into())?, Some(granted))
    }

    /// Dials from a socket of another network than the system's, as tests have them.
    ///
    /// # Errors
    /// What the network says.
    ///
    /// # Panics
    /// There is no tokio runtime here.
    pub fn on(network: &dyn Network) -> io::Result<Self> {
        let anywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self::start(network.bind(anywhere)?, None)
    }

    fn start(socket: Arc<dyn AsyncUdpSocket>, granted: Option<SocketBuffers>) -> io::Result<Self> {
        let mut config = EndpointConfig::default();
        settings::take_large_packets(&mut config);
        let inner = quinn::Endpoint::new_with_abstract_socket(
            config,
            None,
            socket,
            Arc::new(TokioRuntime),
        )?;
        Ok(Self {
            inner,
            transport: Arc::new(settings::agent()),
            granted,
        })
    }

    /// Dials one edge. Ends with the handshake; whether the edge takes the agent shows in
    /// [`agent_handshake`](crate::control::agent_handshake). A silent edge is given up after 20 s.
    ///
    /// # Errors
    /// Every [`ConnectError`].
    pub async fn connect(
        &self,
        target: &Target,
        tls: &Arc<rustls::ClientConfig>,
    ) -> Result<Connection, ConnectError> {
        let mut config = ClientConfig::new(client_crypto(tls)?);
        let worker = target.worker;
        config
            .transport_config(Arc::clone(&self.transport))
            .initial_dst_cid_provider(Arc::new(move || first_id(worker)));
        let connecting = self
            .inner
            .connect_with(config, target.address, &target.server_name)
            .map_err(|error| refused(target, &error))?;
        let connection = connecting
            .await
            .map_err(|error| ConnectError::Handshake(error.into()))?;
        Ok(Connection::over_quic(connection))
    }

    /// What the kernel granted for the socket's buffers, if it is the kernel's.
    #[must_use]
    pub const fn granted(&self) -> Option<SocketBuffers> {
        self.granted
    }

    /// Closes every connection and dials no more.
    pub fn close(&self, code: Code, reason: &str) {
        self.inner.close(code.to_wire(), reason.as_bytes());
    }

    /// Waits until every connection is gone and every peer had the chance to hear of it.
    pub async fn idle(&self) {
        self.inner.wait_idle().await;
    }
}

fn dual_stack() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(false)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())?;
    Ok(socket)
}

fn ipv4() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    Ok(socket)
}

fn client_crypto(tls: &Arc<rustls::ClientConfig>) -> Result<Arc<QuicClientConfig>, ConnectError> {
    if !tls.alpn_protocols.iter().any(|protocol| protocol == ALPN) {
        return Err(ConnectError::Tls(TlsError::Alpn));
    }
    QuicClientConfig::try_from(Arc::clone(tls))
        .map(Arc::new)
        .map_err(|_| ConnectError::Tls(TlsError::CipherSuite))
}

fn refused(target: &Target, error: &quinn::ConnectError) -> ConnectError {
    match error {
        quinn::ConnectError::InvalidServerName(name) => ConnectError::ServerName(name.clone()),
        quinn::ConnectError::InvalidRemoteAddress(_)
        | quinn::ConnectError::NoDefaultClientConfig
        | quinn::ConnectError::UnsupportedVersion => ConnectError::Address(target.address),
        quinn::ConnectError::EndpointStopping | quinn::ConnectError::CidsExhausted => {
            ConnectError::Stopping
        }
    }
}
