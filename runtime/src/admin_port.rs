//! The admin port: `/live`, `/ready` and `/metrics` over plain HTTP/1.1, meant for loopback and for probes.

mod readiness;

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CACHE_CONTROL, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

pub use readiness::{Condition, Readiness};

use crate::scope::{Scope, TASKS};

/// Connections at once; probes and a scraper or two need a handful.
const CONNECTIONS_MAX: usize = 64;
/// Time for a request's head; also ends connections that stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Life of a connection, whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes of a request's head; hyper's own least.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Fields of a request's head.
const FIELDS_MAX: usize = 32;
/// After `accept` failed, as it does while no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the admin port is when nobody says: on loopback, any free port.
pub const DEFAULT_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Opens the port and serves it by a standing task. Answers with the address, which matters when port 0 was asked for.
///
/// # Errors
/// When the address cannot be bound.
pub fn start(
    address: SocketAddr,
    readiness: Readiness,
    metrics: PrometheusHandle,
    scope: &Scope,
) -> io::Result<SocketAddr> {
    start_on(
        std::net::TcpListener::bind(address)?,
        readiness,
        metrics,
        scope,
    )
}

/// The same on a port that is open already.
///
/// # Errors
/// The listener is of no use.
pub fn start_on(
    listener: std::net::TcpListener,
    readiness: Readiness,
    metrics: PrometheusHandle,
    scope: &Scope,
) -> io::Result<SocketAddr> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let bound = listener.local_addr()?;
    if !bound.ip().is_loopback() {
        tracing::warn!(address = %bound, "the admin port is open to others than this machine");
    }
    let port = Port { readiness, metrics };
    let own = scope.child("admin port");
    scope.spawn_standing("admin port", serve(listener, port, own));
    Ok(bound)
}

#[derive(Clone)]
struct Port {
    readiness: Readiness,
    metrics: PrometheusHandle,
}

async fn serve(listener: TcpListener, port: Port, scope: Scope) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = scope.cancelled() => return,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let connection = converse(stream, permit, port.clone(), scope.clone());
                scope.spawn("admin connection", connection);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the admin port");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn converse(stream: TcpStream, permit: OwnedSemaphorePermit, port: Port, scope: Scope) {
    let _permit = permit;
    let running = scope.clone();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(FIELDS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| {
                let answer = port.answer(&request, &running);
                async move { Ok::<_, Infallible>(answer) }
            }),
        );
    tokio::select! {
        () = scope.cancelled() => {}
        ended = timeout(CONNECTION_TIMEOUT, connection) => {
            if let Ok(Err(error)) = ended {
                tracing::debug!(%error, "admin connection ended");
            }
        }
    }
}

impl Port {
    fn answer(&self, request: &Request<Incoming>, running: &Scope) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        }
        match request.uri().path() {
            "/live" => text(StatusCode::OK, "live\n"),
            "/ready" => self.ready(),
            "/metrics" => {
                // Counted when it is asked for: nothing is paid for it per task.
                metrics::gauge!(TASKS).set(running.running_in_all() as f64);
                let mut answer = text(StatusCode::OK, self.metrics.render());
                let exposition = "text/plain; version=0.0.4; charset=utf-8";
                set_type(&mut answer, exposition);
                answer
            }
            _ => text(StatusCode::NOT_FOUND, "try /live, /ready or /metrics\n"),
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let failing = self.readiness.failing();
        let status = if failing.is_empty() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let body = serde_json::json!({ "ready": failing.is_empty(), "failing": failing });
        let mut answer = text(status, format!("{body}\n"));
        set_type(&mut answer, "application/json");
        answer
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(
        CACHE_CONTROL,
        hyper::header::HeaderValue::from_static("no-store"),
    );
    set_type(&mut answer, "text/plain; charset=utf-8");
    answer
}

fn set_type(answer: &mut Response<Full<Bytes>>, media_type: &'static str) {
    let value = hyper::header::HeaderValue::from_static(media_type);
    answer.headers_mut().insert(CONTENT_TYPE, value);
}

#[cfg(test)]
mod tests;
