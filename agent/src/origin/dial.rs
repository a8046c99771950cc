//! A fresh connection: look the name up, ask the allow-list, connect to the first address that answers, TLS.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use model::{app::OriginHost, reason::Reason};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{Origin, stream::Transport};
use crate::{allow::AllowList, metrics::DialOutcome};

/// Addresses of one name that are tried: more would not be reached within a connect time-out.
const ADDRESSES_MAX: usize = 16;

/// How long one address has the field to itself (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

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
    /// It is a Unix socket, which this version does not dial.
    #[error("the origin is a Unix socket, which this agent does not dial")]
    Socket,
    /// No address accepted a connection.
    #[error("connecting to the origin")]
    Connect(#[source] io::Error),
    /// It is no TLS server, or not the expected one.
    #[error("TLS handshake with the origin")]
    Tls(#[source] io::Error),
    /// It all took longer than the app allows.
    #[error("the origin gave no connection within {0:?}")]
    TimedOut(Duration),
}

impl DialError {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::NotAllowed | Self::Socket => Reason::AgentRefused,
            Self::Tls(_) => Reason::OriginTls,
            Self::Lookup(_) | Self::NoAddress | Self::Connect(_) | Self::TimedOut(_) => {
                Reason::OriginConnect
            }
        }
    }

    /// The word for metrics.
    pub(super) fn outcome(&self) -> DialOutcome {
        match self {
            Self::Lookup(_) | Self::NoAddress => DialOutcome::Lookup,
            Self::NotAllowed | Self::Socket => DialOutcome::NotAllowed,
            Self::Connect(_) => DialOutcome::Connect,
            Self::Tls(_) => DialOutcome::Tls,
            Self::TimedOut(_) => DialOutcome::Timeout,
        }
    }
}

/// Connects within `limit`.
pub(super) async fn dial(
    origin: &Origin,
    allow: &AllowList,
    limit: Duration,
) -> Result<Transport, DialError> {
    timeout(limit, connect(origin, allow))
        .await
        .unwrap_or(Err(DialError::TimedOut(limit)))
}

async fn connect(origin: &Origin, allow: &AllowList) -> Result<Transport, DialError> {
    let addresses = look_up(origin).await?;
    if addresses.is_empty() {
        return Err(DialError::NoAddress);
    }
    // After the lookup, so that a name cannot be pointed at what the list does not hold.
    let permitted: Vec<SocketAddr> = addresses
        .into_iter()
        .filter(|address| allow.permits(origin.host(), *address))
        .take(ADDRESSES_MAX)
        .collect();
    if permitted.is_empty() {
        return Err(DialError::NotAllowed);
    }
    let tcp = first_to_accept(permitted)
        .await
        .map_err(DialError::Connect)?;
    tcp.set_nodelay(true).map_err(DialError::Connect)?;
    let Some(tls) = origin.tls() else {
        return Ok(Transport::Plain(tcp));
    };
    let stream = TlsConnector::from(tls.settings.clone())
        .connect(tls.name.clone(), tcp)
        .await
        .map_err(DialError::Tls)?;
    Ok(Transport::Tls(Box::new(stream)))
}

async fn look_up(origin: &Origin) -> Result<Vec<SocketAddr>, DialError> {
    match origin.host() {
        OriginHost::Ip(ip) => Ok(vec![SocketAddr::new(*ip, origin.port())]),
        OriginHost::Name(name) => {
            let found = lookup_host((name.as_str(), origin.port()))
                .await
                .map_err(DialError::Lookup)?;
            Ok(found.collect())
        }
        OriginHost::Socket(_) => Err(DialError::Socket),
    }
}

/// Tries all addresses, each a little after the one before or as soon as that failed; the first connection counts.
async fn first_to_accept(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(TcpStream::connect(address));
        }
        tokio::select! {
            attempt = attempts.next() => match attempt {
                Some(Ok(tcp)) => return Ok(tcp),
                Some(Err(error)) => last = error,
                None => return Err(last),
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}
