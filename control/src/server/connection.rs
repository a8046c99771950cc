//! One connection: a handshake within bounds, then calls that know who is at the other end.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http_body_util::Limited;
use hyper::{Request, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::{
    Scope,
    tls::{peer_identity, peer_key_sha256},
};
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tonic::{codegen::Service as _, service::Routes};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{
    calls::Calls,
    places::{Held, Places},
};
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

/// How long a connection may be without a call: tools of operators call at once and go, and a node's Sync lasts.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long one may be without a call that its caller was admitted for, by a token or as a node that is enrolled: who asks for
/// health alone, or whose certificate is of no use any more, connects again if need be.
const ESTRANGEMENT_MAX: Duration = Duration::from_secs(60);
/// Time to hear of such an end.
const FAREWELL_WAIT: Duration = Duration::from_secs(10);

/// What every connection is served with.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) acceptor: TlsAcceptor,
    pub(super) routes: Routes,
    pub(super) places: Arc<Places>,
    pub(super) scope: Scope,
}

impl Door {
    /// The same for one connection, whose tasks end with it.
    pub(super) fn child(&self) -> Self {
        Self {
            scope: self.scope.child("connection"),
            ..self.clone()
        }
    }

    /// Serves a connection to its end. The place to shake hands in is given back once they are shaken.
    pub(super) async fn serve(self, stream: TcpStream, peer: SocketAddr, shaking: Held<IpAddr>) {
        match timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let node = proven(stream.get_ref().1.peer_certificates().unwrap_or_default());
                let name = node.as_ref().map(|node| &node.name);
                let Some(_place) = self.places.stay(peer.ip(), name) else {
                    telemetry::refused_connections().increment(1);
                    return;
                };
                drop(shaking);
                let open = telemetry::connections();
                open.increment(1.0);
                let conversation = Conversation {
                    routes: self.routes,
                    scope: self.scope,
                    peer,
                    node,
                };
                conversation.hold(stream).await;
                open.decrement(1.0);
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "handshake failed"),
            Err(_) => tracing::debug!(%peer, "handshake took too long"),
        }
    }
}

/// What is said on a connection after its handshake.
struct Conversation {
    routes: Routes,
    scope: Scope,
    peer: SocketAddr,
    node: Option<ProvenNode>,
}

impl Conversation {
    async fn hold<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self {
            routes,
            scope,
            peer,
            node,
        } = self;
        let calls = Calls::none();
        let counted = calls.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let extensions = request.extensions_mut();
            extensions.insert(PeerAddress(peer));
            if let Some(node) = &node {
                extensions.insert(node.clone());
            }
            let call = counted.begin();
            extensions.insert(call.admission());
            let bytes_max = body_bytes_max(node.as_ref(), request.uri().path());
            let answer = routes
                .clone()
                .call(request.map(|body| Limited::new(body, bytes_max)));
            async move { answer.await.map(|response| call.answered(response)) }
        });
        let mut server = http2::Builder::new(Tasks(scope.child("calls")));
        server
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX)
            .keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1);
        let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
        let idle = tokio::select! {
            ended = &mut connection => {
                tell(peer, ended);
                return;
            }
            () = scope.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tell(peer, connection.await);
                return;
            }
            () = calls.silence(SILENCE_MAX) => "no call",
            () = calls.estrangement(ESTRANGEMENT_MAX) => "no call of a known caller",
        };
        tracing::debug!(%peer, idle, "the connection is closed");
        connection.as_mut().graceful_shutdown();
        let ended = timeout(FAREWELL_WAIT, connection).await;
        tell(peer, ended.unwrap_or(Ok(())));
    }
}

fn tell(peer: SocketAddr, ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection broke");
    }
}

/// Sync admits before it reads; whatever else a node calls is short, and its certificate may be that of one that was revoked.
fn body_bytes_max(node: Option<&ProvenNode>, path: &str) -> usize {
    let syncs = node.is_some() && path == "/adit.fabric.v1.Fabric/Sync";
    if syncs || path.starts_with("/adit.admin.") {
        usize::MAX
    } else {
        STRANGER_BYTES_MAX
    }
}

/// Who the client is. TLS has verified the chain; a name that is no node's makes it nobody.
fn proven(chain: &[CertificateDer<'_>]) -> Option<ProvenNode> {
    let name = peer_identity(chain).ok()?;
    let key_sha256 = peer_key_sha256(chain).ok()?;
    let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
    let end = u64::try_from(leaf.validity().not_after.timestamp()).ok()?;
    Some(ProvenNode {
        name,
        key_sha256,
        expires_at: SystemTime::UNIX_EPOCH + Duration::from_secs(end),
    })
}

/// Tasks of a connection belong to its scope.
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

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};
    use hyper::client::conn::http2 as client;
    use hyper::{StatusCode, body::Bytes};
    use tokio::time::{Instant, sleep};

    use super::*;

    const NODE: &str = "spiffe://example.com/agent/a1";

    /// How long a client with this certificate, that calls so often, is served; at most ten minutes.
    async fn served(node: Option<&str>, pauses: &[Duration]) -> Duration {
        let scope = Scope::root();
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let node = node.map(|name| ProvenNode {
            name: name.parse().unwrap(),
            key_sha256: [0; 32],
            expires_at: SystemTime::UNIX_EPOCH,
        });
        let conversation = Conversation {
            routes: Routes::default(),
            scope: scope.child("connections"),
            peer: "192.0.2.1:9".parse().unwrap(),
            node,
        };
        scope.spawn("conversation", conversation.hold(theirs));
        let tasks = Tasks(scope.child("client"));
        let (mut calls, connection) = client::handshake(tasks, TokioIo::new(ours)).await.unwrap();
        let begun = Instant::now();
        let calling = async {
            for pause in pauses {
                sleep(*pause).await;
                let request = Request::get("https://control/none").body(Empty::<Bytes>::new());
                let Ok(answer) = calls.send_request(request.unwrap()).await else {
                    break;
                };
                assert_eq!(answer.status(), StatusCode::OK, "gRPC says it in trailers");
                answer.into_body().collect().await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = connection => {}
            () = calling => {}
            () = sleep(LONG) => {}
        }
        begun.elapsed()
    }

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn nobody_stays_by_calls_that_anybody_may_make_nor_by_a_certificate_alone() {
        let (rare, often) = (Duration::from_secs(29), Duration::from_secs(10));
        for node in [None, Some(NODE)] {
            for (pauses, lasts) in [
                (&[][..], SILENCE_MAX),
                (&[often], often + SILENCE_MAX),
                (&[rare; 3], ESTRANGEMENT_MAX),
                (&[often; 60], ESTRANGEMENT_MAX),
            ] {
                let served = served(node, pauses).await;
                let about = lasts..=lasts + FAREWELL_WAIT;
                assert!(about.contains(&served), "{node:?} {pauses:?}: {served:?}");
            }
        }
    }
}
