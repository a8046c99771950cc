//! One connection: a handshake within bounds, then calls that know who is at the other end.

use std::{
    net::SocketAddr,
    pin::pin,
    time::{Duration, SystemTime},
};

use http_body_util::Limited;
use hyper::{Request, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::{Scope, tls::peer_identity};
use rustls_pki_types::CertificateDer;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::{codegen::Service as _, service::Routes};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::{admin::PeerAddress, fabric::ProvenNode, telemetry};

/// Time for the whole handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls at once on one connection; a node has two, an operator's tool perhaps ten.
const STREAMS_MAX: u32 = 128;
/// Bytes of a call's metadata; a token and some tracing.
const HEAD_BYTES_MAX: u32 = 16 * 1024;
/// Bytes that a caller without a certificate may send in one call to anything but the admin API, whose door asks for a
/// token before it reads: the largest is an enrolment, with a token of 16 KiB and a request of 8 KiB at the most.
const STRANGER_BYTES_MAX: usize = 64 * 1024;
/// A silent peer is asked for a sign of life this often, and has this long to give one.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// What every connection is served with.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) acceptor: TlsAcceptor,
    pub(super) routes: Routes,
    pub(super) scope: Scope,
}

impl Door {
    pub(super) async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        match timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let open = telemetry::connections();
                open.increment(1.0);
                self.converse(stream, peer).await;
                open.decrement(1.0);
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "handshake failed"),
            Err(_) => tracing::debug!(%peer, "handshake took too long"),
        }
    }

    async fn converse(&self, stream: TlsStream<TcpStream>, peer: SocketAddr) {
        let node = proven(stream.get_ref().1.peer_certificates().unwrap_or_default());
        let routes = self.routes.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let extensions = request.extensions_mut();
            extensions.insert(PeerAddress(peer));
            if let Some(node) = &node {
                extensions.insert(node.clone());
            }
            let bytes_max = body_bytes_max(node.as_ref(), request.uri().path());
            routes
                .clone()
                .call(request.map(|body| Limited::new(body, bytes_max)))
        });
        let mut server = http2::Builder::new(Tasks(self.scope.clone()));
        server
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX)
            .keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1);
        let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.scope.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection broke");
        }
    }
}

fn body_bytes_max(node: Option<&ProvenNode>, path: &str) -> usize {
    if node.is_some() || path.starts_with("/adit.admin.") {
        usize::MAX
    } else {
        STRANGER_BYTES_MAX
    }
}

/// Who the client is. TLS has verified the chain; a name that is no node's makes it nobody.
fn proven(chain: &[CertificateDer<'_>]) -> Option<ProvenNode> {
    let name = peer_identity(chain).ok()?;
    let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
    let end = u64::try_from(leaf.validity().not_after.timestamp()).ok()?;
    Some(ProvenNode {
        name,
        expires_at: SystemTime::UNIX_EPOCH + Duration::from_secs(end),
    })
}

/// Tasks of a connection belong to the server's scope.
#[derive(Clone)]
struct Tasks(Scope);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("call", future);
    }
}
