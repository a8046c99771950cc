//! A fresh connection: look the name up, ask the allow-list, connect to the first address that answers, TLS.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use model::{
    app::{OriginHost, OriginProtocol, OriginUrl, SocketPath},
    reason::Reason,
};
use runtime::dial::{ADDRESSES_MAX, ProxyError, TargetError, ask_http_proxy, first_to_accept};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    Origin, OriginError, Speech,
    socket::{self, UnixStream},
    stream::Transport,
    tls::ALPN_HTTP2,
};
use crate::{allow::AllowList, metrics::DialOutcome};

/// Why an origin could not be connected to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// No address is known for its name.
    #[error("looking up the origin's name")]
    Lookup(#[source] io::Error),
    /// The name has no address.
    #[error("the origin's name has no address")]
    NoAddress,
    /// The agent's own allow-list holds none of its addresses.
    #[error("the agent's allow-list has no place for this origin")]
    NotAllowed,
    /// The app's proxy cannot be reached, or is no HTTP proxy.
    #[error("asking the app's proxy for the origin")]
    Proxy(#[source] ProxyError),
    /// The origin cannot be named to its proxy.
    #[error("naming the origin to the app's proxy")]
    Unnamed(#[source] TargetError),
    /// No address accepted a connection.
    #[error("connecting to the origin")]
    Connect(#[source] io::Error),
    /// It is no TLS server, or not the expected one.
    #[error("TLS handshake with the origin")]
    Tls(#[source] io::Error),
    /// HTTP/2 is what the app asks for, and the origin did not agree to it.
    #[error("the origin speaks no http/2")]
    NotHttp2,
    /// HTTP does not begin on the new connection.
    #[error("beginning http with the origin")]
    Http(#[source] OriginError),
    /// It all took longer than the app allows.
    #[error("the origin gave no connection within {0:?}")]
    TimedOut(Duration),
}

impl DialError {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::NotAllowed => Reason::AgentRefused,
            Self::Tls(_) => Reason::OriginTls,
            Self::NotHttp2 => Reason::OriginProtocol,
            Self::Proxy(_) | Self::Unnamed(_) => Reason::OriginProxy,
            Self::Http(_)
            | Self::Lookup(_)
            | Self::NoAddress
            | Self::Connect(_)
            | Self::TimedOut(_) => Reason::OriginConnect,
        }
    }

    /// The word for metrics.
    pub(super) fn outcome(&self) -> DialOutcome {
        match self {
            Self::Lookup(_) | Self::NoAddress => DialOutcome::Lookup,
            Self::NotAllowed => DialOutcome::NotAllowed,
            Self::Connect(_) => DialOutcome::Connect,
            Self::Tls(_) => DialOutcome::Tls,
            Self::NotHttp2 | Self::Http(_) => DialOutcome::Http,
            Self::Proxy(_) | Self::Unnamed(_) => DialOutcome::Proxy,
            Self::TimedOut(_) => DialOutcome::Timeout,
        }
    }
}

/// Which HTTP shall be spoken on a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    /// What the app's setting says.
    AsPublished,
    /// HTTP/1.1, for what HTTP/2 cannot do: upgrades, and sign-ins that belong to a connection.
    Http1,
}

/// Connects within `limit`, and says what is spoken from then on.
pub(crate) async fn dial(
    origin: &Origin,
    allow: &AllowList,
    versions: Versions,
    limit: Duration,
) -> Result<(Transport, Speech), DialError> {
    let connected = async {
        let host = origin.host();
        if let OriginHost::Socket(path) = host {
            let stream = connect_socket(path, allow).await?;
            return Ok((Transport::Unix(stream), plain_speech(origin, versions)));
        }
        let tcp = match origin.proxy() {
            Some(proxy) => through(proxy, origin, allow).await?,
            None => connect(host, origin.port(), allow).await?,
        };
        secure(origin, tcp, versions).await
    };
    timeout(limit, connected)
        .await
        .unwrap_or(Err(DialError::TimedOut(limit)))
}

async fn secure(
    origin: &Origin,
    tcp: TcpStream,
    versions: Versions,
) -> Result<(Transport, Speech), DialError> {
    let Some(tls) = origin.tls() else {
        return Ok((Transport::Plain(tcp), plain_speech(origin, versions)));
    };
    let settings = match versions {
        Versions::AsPublished => &tls.settings,
        Versions::Http1 => &tls.http1,
    };
    let stream = TlsConnector::from(Arc::clone(settings))
        .connect(tls.name.clone(), tcp)
        .await
        .map_err(DialError::Tls)?;
    let agreed = stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2);
    let speech = match (protocol(origin, versions), agreed) {
        (OriginProtocol::Auto | OriginProtocol::Http2, true) => Speech::Http2,
        (OriginProtocol::Http2, false) => return Err(DialError::NotHttp2),
        (OriginProtocol::Auto, false) | (OriginProtocol::Http1, _) => Speech::Http1,
    };
    Ok((Transport::Tls(Box::new(stream)), speech))
}

fn protocol(origin: &Origin, versions: Versions) -> OriginProtocol {
    match versions {
        Versions::AsPublished => origin.published().protocol,
        Versions::Http1 => OriginProtocol::Http1,
    }
}

/// Without TLS nothing is agreed on.
fn plain_speech(origin: &Origin, versions: Versions) -> Speech {
    match protocol(origin, versions) {
        OriginProtocol::Http2 => Speech::Http2,
        OriginProtocol::Auto | OriginProtocol::Http1 => Speech::Http1,
    }
}

async fn connect_socket(path: &SocketPath, allow: &AllowList) -> Result<UnixStream, DialError> {
    if !allow.permits_socket(path) {
        return Err(DialError::NotAllowed);
    }
    socket::connect(path).await.map_err(DialError::Connect)
}

/// The list must hold both: the proxy's address, and the origin's name, for which the proxy answers.
async fn through(
    proxy: &OriginUrl,
    origin: &Origin,
    allow: &AllowList,
) -> Result<TcpStream, DialError> {
    if !allow.permits_by_name(origin.host(), origin.port()) {
        return Err(DialError::NotAllowed);
    }
    let tcp = match connect(&proxy.host, proxy.port, allow).await {
        Err(DialError::Lookup(error) | DialError::Connect(error)) => {
            return Err(DialError::Proxy(ProxyError::Connect(error)));
        }
        connected => connected?,
    };
    let target = format!("{}:{}", origin.host(), origin.port());
    let target = target.parse().map_err(DialError::Unnamed)?;
    ask_http_proxy(tcp, &target, None)
        .await
        .map_err(DialError::Proxy)
}

async fn connect(host: &OriginHost, port: u16, allow: &AllowList) -> Result<TcpStream, DialError> {
    let addresses = look_up(host, port).await?;
    if addresses.is_empty() {
        return Err(DialError::NoAddress);
    }
    // After the lookup, so that a name cannot be pointed at what the list does not hold.
    let permitted: Vec<SocketAddr> = addresses
        .into_iter()
        .filter(|address| allow.permits(host, *address))
        .take(ADDRESSES_MAX)
        .collect();
    if permitted.is_empty() {
        return Err(DialError::NotAllowed);
    }
    let tcp = first_to_accept(permitted)
        .await
        .map_err(DialError::Connect)?;
    tcp.set_nodelay(true).map_err(DialError::Connect)?;
    Ok(tcp)
}

async fn look_up(host: &OriginHost, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    match host {
        OriginHost::Ip(ip) => Ok(vec![SocketAddr::new(*ip, port)]),
        OriginHost::Name(name) => {
            let found = lookup_host((name.as_str(), port))
                .await
                .map_err(DialError::Lookup)?;
            Ok(found.collect())
        }
        // A proxy behind a socket is nothing that can be published.
        OriginHost::Socket(_) => Err(DialError::NoAddress),
    }
}
