//! A line to control: gRPC over HTTP/2 over our own TLS, to the first of several addresses that answers.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Status,
    codegen::http::Uri,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;
use tower_service::Service;

use crate::{
    dial::{self, Target, WayOut, Whole},
    node::{CONTROL_SERVER_NAME, control_server_name},
};

/// Time for TCP and TLS to one address; a healthy one needs two round trips.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A line that carries nothing is tried this often.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// A line that does not answer a try for this long is dead.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one address has the field to itself: several round trips, as the first is the one that is preferred.
const STAGGER: Duration = Duration::from_secs(1);

/// Longest wait that control may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// How long control asks to wait before the next try (`google.rpc.RetryInfo`).
#[must_use]
pub fn retry_after(status: &Status) -> Duration {
    let asked = status.get_details_retry_info();
    let wait = asked.and_then(|asked| asked.retry_delay);
    wait.unwrap_or_default().min(RETRY_AFTER_MAX)
}

/// Where control is, and how to get there.
#[derive(Clone, Debug, Default)]
pub struct ControlAddresses {
    /// Each "host:port", the preferred one first.
    pub addresses: Vec<String>,
    /// How connections leave this machine.
    pub way_out: WayOut,
}

/// Reached directly.
impl From<Vec<String>> for ControlAddresses {
    fn from(addresses: Vec<String>) -> Self {
        Self {
            addresses,
            way_out: WayOut::default(),
        }
    }
}

/// Why no control node could be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No address was given.
    #[error("no address of control is known")]
    NoAddress,
    /// None answered; shown with the reason of each.
    #[error("control is unreachable: {}", Attempts(attempts))]
    Unreachable {
        /// Every address with what went wrong there.
        attempts: Vec<Attempt>,
    },
}

/// One address that did not answer.
#[derive(Debug)]
pub struct Attempt {
    /// As configured, "host:port".
    pub address: String,
    /// What went wrong.
    pub error: io::Error,
}

struct Attempts<'a>(&'a [Attempt]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Attempt { address, error }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{address}: {}", Whole(error))?;
        }
        Ok(())
    }
}

/// Opens a line to the first address that answers; each is tried a little after the one before, or as soon as that failed. `tls`
/// must offer [`crate::tls::ALPN_H2`].
///
/// The line reconnects to that address by itself when it breaks and is used again.
///
/// # Errors
/// When none answers, with the reason of each.
pub async fn connect(
    control: &ControlAddresses,
    tls: Arc<ClientConfig>,
) -> Result<Channel, ConnectError> {
    if control.addresses.is_empty() {
        return Err(ConnectError::NoAddress);
    }
    let mut waiting = control.addresses.iter();
    let mut trying = FuturesUnordered::new();
    let mut attempts = Vec::new();
    loop {
        if let Some(address) = waiting.next() {
            trying.push(attempt(address, control.way_out.clone(), Arc::clone(&tls)));
        }
        tokio::select! {
            tried = trying.next() => match tried {
                Some(Ok(channel)) => return Ok(channel),
                Some(Err(attempt)) => attempts.push(attempt),
                None => return Err(ConnectError::Unreachable { attempts }),
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

async fn attempt(
    address: &str,
    way_out: WayOut,
    tls: Arc<ClientConfig>,
) -> Result<Channel, Attempt> {
    let opened = connect_one(address, way_out, tls).await;
    opened.map_err(|error| Attempt {
        address: address.to_owned(),
        error,
    })
}

async fn connect_one(
    address: &str,
    way_out: WayOut,
    tls: Arc<ClientConfig>,
) -> io::Result<Channel> {
    let connector = Connector {
        target: address.parse().map_err(io::Error::other)?,
        way_out,
        tls: TlsConnector::from(tls),
    };
    // The first connection is made here, so that what went wrong with it is not hidden in a gRPC status.
    let first = connector.open().await?;
    let connector = FirstThenAnew {
        first: Some(first),
        connector,
    };
    endpoint()
        .connect_with_connector(connector)
        .await
        .map_err(io::Error::other)
}

fn endpoint() -> Endpoint {
    // The connector dials and encrypts; this names the authority and says that the inside is encrypted.
    let uri = Uri::builder()
        .scheme("https")
        .authority(CONTROL_SERVER_NAME)
        .path_and_query("/")
        .build()
        .expect("the parts are constants");
    Endpoint::from(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

#[derive(Clone)]
struct Connector {
    target: Target,
    way_out: WayOut,
    tls: TlsConnector,
}

impl Connector {
    async fn open(&self) -> io::Result<TlsStream<dial::Stream>> {
        let opened = timeout(CONNECT_TIMEOUT, async {
            let dialled = self.way_out.connect(&self.target, CONNECT_TIMEOUT).await;
            let stream = dialled.map_err(io::Error::other)?;
            self.tls.connect(control_server_name(), stream).await
        });
        opened.await.unwrap_or_else(|_| {
            let text = format!("no answer within {CONNECT_TIMEOUT:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
    }
}

/// Hands out the connection that exists, then makes new ones.
struct FirstThenAnew {
    first: Option<TlsStream<dial::Stream>>,
    connector: Connector,
}

type Opened = TokioIo<TlsStream<dial::Stream>>;

impl Service<Uri> for FirstThenAnew {
    type Response = Opened;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Opened>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let first = self.first.take();
        let connector = self.connector.clone();
        Box::pin(async move {
            match first {
                Some(stream) => Ok(TokioIo::new(stream)),
                None => connector.open().await.map(TokioIo::new),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        double::ca::Ca,
        tls::{ALPN_H2, pinned_client_config},
    };

    #[tokio::test]
    async fn every_address_that_failed_is_named() {
        let tls = Arc::new(pinned_client_config(Ca::new().pin(), &[ALPN_H2]));
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = closed.local_addr().unwrap().to_string();
        drop(closed);
        let error = connect(&vec![address.clone(), "nonsense".to_owned()].into(), tls)
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&address) && text.contains("nonsense"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn no_address_is_an_error_of_its_own() {
        let tls = Arc::new(pinned_client_config(Ca::new().pin(), &[ALPN_H2]));
        assert!(matches!(
            connect(&ControlAddresses::default(), tls).await,
            Err(ConnectError::NoAddress)
        ));
    }
}
