//! What is put under load: a URL, and how to get a connection to it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Uri, uri::Scheme};
use http_body_util::Empty;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use runtime::Scope;
use rustls::{
    ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::ServerName,
    pki_types::pem::PemObject,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// How long a connection may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A URL, the address it is really at, and the roots that its certificate is checked against.
#[derive(Clone)]
pub struct Target {
    uri: Uri,
    addr: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("uri", &self.uri)
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No scheme or host, or a scheme other than http and https.
    #[error("not an http or https URL with a host: {0}")]
    Url(Uri),
    /// The host of an https URL cannot be in a certificate.
    #[error("the host is no server name")]
    ServerName(#[source] rustls::pki_types::InvalidDnsNameError),
    /// https without certificates to trust.
    #[error("no usable certificate in the CA file")]
    Ca(#[source] Option<rustls::pki_types::pem::Error>),
    /// TLS cannot be set up at all.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

impl Target {
    /// A target at `addr`, whatever its host resolves to. `ca_pem` holds the roots for https.
    pub fn new(uri: Uri, addr: SocketAddr, ca_pem: &[u8]) -> Result<Self, TargetError> {
        let host = uri.host().map(str::to_owned);
        let tls = match (uri.scheme(), host) {
            (Some(scheme), Some(_)) if *scheme == Scheme::HTTP => None,
            (Some(scheme), Some(host)) if *scheme == Scheme::HTTPS => {
                let name = ServerName::try_from(host).map_err(TargetError::ServerName)?;
                Some((connector(ca_pem)?, name))
            }
            _ => return Err(TargetError::Url(uri)),
        };
        Ok(Self { uri, addr, tls })
    }

    /// The URL.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Opens a connection whose driver lives in `scope`.
    pub(crate) async fn connect(
        &self,
        scope: &Scope,
    ) -> std::io::Result<SendRequest<Empty<Bytes>>> {
        let timed_out = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
        tokio::time::timeout(CONNECT_TIMEOUT, self.handshake(scope))
            .await
            .map_err(timed_out)?
    }

    async fn handshake(&self, scope: &Scope) -> std::io::Result<SendRequest<Empty<Bytes>>> {
        let socket = TcpStream::connect(self.addr).await?;
        socket.set_nodelay(true)?;
        match &self.tls {
            None => speak(socket, scope).await,
            Some((connector, name)) => {
                speak(connector.connect(name.clone(), socket).await?, scope).await
            }
        }
    }
}

fn connector(ca_pem: &[u8]) -> Result<TlsConnector, TargetError> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(ca_pem) {
        let root = root.map_err(|error| TargetError::Ca(Some(error)))?;
        roots.add(root).map_err(TargetError::Tls)?;
    }
    if roots.is_empty() {
        return Err(TargetError::Ca(None));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TargetError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

async fn speak<S>(socket: S, scope: &Scope) -> std::io::Result<SendRequest<Empty<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(socket))
        .await
        .map_err(std::io::Error::other)?;
    scope.spawn("loadtest-connection", async move {
        // A broken connection shows at the request that it carried.
        let _ = connection.await;
    });
    Ok(sender)
}
