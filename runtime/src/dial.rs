//! How connections leave this machine: directly, or through the proxy that its network asks for.
//!
//! A proxy speaks HTTP (CONNECT, RFC 9110, section 9.3.6), plainly or over TLS, or SOCKS5 (RFC 1928). It is given names and looks them up
//! itself, so that a machine without DNS of its own gets out too. What is carried is encrypted end to end by whoever dials here: a proxy
//! sees where it leads, and how much it is.

mod happy;
mod http_proxy;
mod names;
mod proxy;
mod settings;
mod socks;
mod stream;
mod target;
mod unproxied;

use std::{error::Error, fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

pub use happy::{ADDRESSES_MAX, first_to_accept, first_to_answer};
pub use http_proxy::ask as ask_http_proxy;
pub use names::look_up;
pub use proxy::{Credentials, Proxy, ProxyProtocol, ProxyUrlError};
pub use settings::{PasswordSource, RawWayOut, WayOutError, WayOutSettings};
pub use stream::Stream;
pub use target::{Target, TargetError};
pub use unproxied::{Unproxied, UnproxiedError};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No address is known for the name.
    #[error("looking up {host}")]
    Lookup {
        /// The name.
        host: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The name has no address.
    #[error("{host} has no address")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// No address accepts a connection.
    #[error("connecting")]
    Connect(#[source] io::Error),
    /// The proxy gives no way.
    #[error("through proxy {proxy}")]
    Proxy {
        /// Which one, without its password.
        proxy: String,
        /// What went wrong there.
        #[source]
        source: ProxyError,
    },
    /// It all took too long.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// Why a proxy gives no way to where it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// It accepts no connection.
    #[error("connecting to the proxy")]
    Connect(#[source] io::Error),
    /// Its name is none that TLS knows.
    #[error("the proxy's name cannot be expected in TLS")]
    Name(#[source] rustls_pki_types::InvalidDnsNameError),
    /// It is no TLS server, or none that is trusted.
    #[error("tls handshake with the proxy")]
    Tls(#[source] io::Error),
    /// The target cannot be named to it.
    #[error("naming the target to the proxy")]
    Request(#[source] http::Error),
    /// It does not speak as it should, or broke off.
    #[error("speaking http with the proxy")]
    Http(#[source] hyper::Error),
    /// The same, of SOCKS.
    #[error("speaking socks with the proxy")]
    Socks(#[source] io::Error),
    /// Something else answers there.
    #[error("what answers at the proxy's address speaks no socks5")]
    NotSocks,
    /// The name is longer than SOCKS can say.
    #[error("the target's name is too long for socks")]
    NameTooLong,
    /// It wants to know who asks.
    #[error("the proxy asks for a user name and password")]
    CredentialsWanted,
    /// It wants to know in a way that is not spoken here.
    #[error("the proxy asks for a sign-in by {offered}; only basic is spoken")]
    SchemeUnknown {
        /// The ways that it offers.
        offered: String,
    },
    /// It knows nobody of this name and password.
    #[error("the proxy does not accept the user name and password")]
    CredentialsRefused,
    /// It says no.
    #[error("the proxy refused with status {0}")]
    Refused(http::StatusCode),
    /// The same, of SOCKS.
    #[error("the proxy refused: {0}")]
    SocksRefused(&'static str),
    /// It sent bytes in the target's name before the target was asked anything.
    #[error("the proxy spoke in the target's place")]
    Early,
}

/// How connections leave this machine. The default is directly; clones are cheap.
#[derive(Clone, Debug, Default)]
pub struct WayOut {
    through: Option<Arc<Through>>,
}

/// A proxy, and what does without it.
#[derive(Debug)]
struct Through {
    proxy: Proxy,
    credentials: Option<Credentials>,
    unproxied: Unproxied,
    /// For a proxy that is spoken to over TLS.
    tls: Option<Arc<ClientConfig>>,
}

impl WayOut {
    /// The proxy that leads to `target`, without its password; none: it is dialled directly.
    #[must_use]
    pub fn proxy_to(&self, target: &Target) -> Option<&Proxy> {
        self.through_to(target).map(|through| &through.proxy)
    }

    /// Connects within `limit`, of which names, all their addresses and the proxy are part. What comes of it is plain: encrypting is the
    /// caller's.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn connect(&self, target: &Target, limit: Duration) -> Result<Stream, DialError> {
        let connected = async {
            match self.through_to(target) {
                None => directly(target).await.map(Stream::Plain),
                Some(through) => through.connect(target).await,
            }
        };
        timeout(limit, connected)
            .await
            .unwrap_or(Err(DialError::TimedOut(limit)))
    }

    fn through_to(&self, target: &Target) -> Option<&Through> {
        let through = self.through.as_deref()?;
        (!through.unproxied.holds(target.host())).then_some(through)
    }
}

impl Through {
    async fn connect(&self, target: &Target) -> Result<Stream, DialError> {
        let connected = async {
            let stream = self.open().await?;
            let credentials = self.credentials.as_ref();
            match self.proxy.protocol() {
                ProxyProtocol::Http | ProxyProtocol::Https => {
                    http_proxy::ask(stream, target, credentials).await
                }
                ProxyProtocol::Socks5 => socks::ask(stream, target, credentials).await,
            }
        };
        connected.await.map_err(|source| DialError::Proxy {
            proxy: self.proxy.to_string(),
            source,
        })
    }

    async fn open(&self) -> Result<Stream, ProxyError> {
        let target = self.proxy.target();
        let tcp = directly(target).await.map_err(|error| match error {
            DialError::Lookup { source, .. } | DialError::Connect(source) => {
                ProxyError::Connect(source)
            }
            other => ProxyError::Connect(io::Error::other(other)),
        })?;
        let Some(tls) = &self.tls else {
            return Ok(Stream::Plain(tcp));
        };
        let name = ServerName::try_from(target.host().to_owned()).map_err(ProxyError::Name)?;
        let secure = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await;
        Ok(Stream::Secure(Box::new(secure.map_err(ProxyError::Tls)?)))
    }
}

/// Connects to one of these addresses, as [`WayOut::connect`] does where no proxy is on the way.
///
/// # Errors
/// When none accepts: [`DialError::Connect`], of the last.
pub async fn connect_to(addresses: Vec<SocketAddr>) -> Result<Stream, DialError> {
    let tcp = reach(addresses).await.map_err(DialError::Connect)?;
    Ok(Stream::Plain(tcp))
}

async fn directly(target: &Target) -> Result<TcpStream, DialError> {
    let host = || target.host().to_owned();
    let mut addresses = look_up(target).await.map_err(|source| DialError::Lookup {
        host: host(),
        source,
    })?;
    addresses.truncate(ADDRESSES_MAX);
    if addresses.is_empty() {
        return Err(DialError::NoAddress { host: host() });
    }
    reach(addresses).await.map_err(DialError::Connect)
}

async fn reach(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let tcp = first_to_accept(addresses).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// An error with all its causes in one line, for where several are listed.
pub(crate) struct Whole<'a>(pub(crate) &'a dyn Error);

impl fmt::Display for Whole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
