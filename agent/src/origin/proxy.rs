//! The way through an HTTP proxy: CONNECT (RFC 9110, section 9.3.6), for plain origins as for those with TLS.

use std::{io, pin::pin};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use model::app::OriginHost;
use tokio::net::TcpStream;

/// Why a proxy gave no way to an origin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    /// It accepts no connection.
    #[error("connecting to the proxy")]
    Connect(#[source] io::Error),
    /// The origin cannot be named to it.
    #[error("naming the origin to the proxy")]
    Request(#[source] http::Error),
    /// It speaks no HTTP, or broke off.
    #[error("speaking with the proxy")]
    Http(#[source] hyper::Error),
    /// It wants to know who asks.
    #[error("the proxy asks for credentials, and the agent has none")]
    Credentials,
    /// It says no.
    #[error("the proxy refused with status {0}")]
    Refused(StatusCode),
    /// It sent bytes in the origin's name before the origin was asked anything.
    #[error("the proxy spoke in the origin's place")]
    Early,
}

/// Asks the proxy at the other end of `tcp` for a way to the origin.
pub(super) async fn ask(
    tcp: TcpStream,
    host: &OriginHost,
    port: u16,
) -> Result<TcpStream, ProxyError> {
    let target = format!("{host}:{port}");
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(&target)
        .header(header::HOST, &target)
        .body(Empty::<Bytes>::new())
        .map_err(ProxyError::Request)?;
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(tcp))
        .await
        .map_err(ProxyError::Http)?;
    let mut driver = pin!(driver.with_upgrades());
    let mut answer = pin!(sender.send_request(request));
    let (answer, driven) = tokio::select! {
        answer = &mut answer => (answer, None),
        driven = &mut driver => (answer.await, Some(driven)),
    };
    let answer = answer.map_err(ProxyError::Http)?;
    match answer.status() {
        status if status.is_success() => {}
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => return Err(ProxyError::Credentials),
        status => return Err(ProxyError::Refused(status)),
    }
    match driven {
        Some(driven) => driven,
        None => driver.await,
    }
    .map_err(ProxyError::Http)?;
    let parts = hyper::upgrade::on(answer)
        .await
        .map_err(ProxyError::Http)?
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| ProxyError::Early)?;
    if !parts.read_buf.is_empty() {
        return Err(ProxyError::Early);
    }
    Ok(parts.io.into_inner())
}
