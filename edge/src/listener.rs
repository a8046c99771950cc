//! Users' connections: accepted by each worker, bounded in number, in size and in time.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{SocketAddr, TcpListener as StdTcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::header;
use http_body::Body as _;
use hyper::{
    Request, Response,
    body::Incoming,
    rt::Executor,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::Gauge;
use model::{app::App, settings::EdgeLimits};
use runtime::{Scope, scope::boxed, tls};
use rustls::ProtocolVersion;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit},
    time::{sleep, timeout},
};
use tokio_rustls::server::TlsStream;

use crate::{
    agents,
    bounds::widened,
    download::Body,
    farewell::{self, Lent},
    knock::{Keys, Knock},
    neighbours::{Neighbour, Network},
    patience::Patient,
    presence::{Attended, Heard, Presence},
    proxy::Proxies,
    redirect,
    request::{self, Visit},
    seats::Seats,
    serving::Worker,
    sign_in::recall::Recall,
    stall::{Stalls, watched},
    ties::Ties,
    user_body::UserBody,
    user_tls::{Greeted, Prepared},
};

/// Time for a connection that is sent away to end.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);
/// Streams that this side had to reset for the peer's errors; hyper's own default.
const ERROR_RESETS_MAX: usize = 1024;
/// Bytes of one upload under way: 80 Mbit/s at 100 ms.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// The same for all uploads of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Bytes of an answer that wait for a user, per stream.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// A silent HTTP/2 peer is asked whether it lives: below the 30 s after which translators forget.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// After `accept` failed, as it does while no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A user's connection.
#[derive(Debug)]
pub(crate) struct User {
    /// Where it comes from.
    pub address: SocketAddr,
    /// "1.2" or "1.3".
    pub tls_version: &'static str,
    /// Where its requests must go.
    pub ties: Ties,
    /// What its requests have shown of sign-ins.
    pub recall: Recall,
    /// What was said of hosts and certificates when it began.
    pub greeted: Greeted,
    /// What the connection carries now, if it is of HTTP/1 or HTTP/2.
    pub presence: Arc<Presence>,
    /// What it may cost: those in force when it came.
    pub limits: EdgeLimits,
}

impl User {
    /// How long it may take nothing of an app's answer.
    pub(crate) fn stall_timeout(&self, app: &App) -> Duration {
        let own = self.limits.stall_timeout;
        app.limits.stall_timeout.map_or(own, |app| app.min(own))
    }
}

/// What is spoken on a listener.
#[derive(Clone)]
pub(crate) enum Speech {
    /// HTTP over TLS, the tunnel with agents whose network lets no UDP through, and control's API if there is a way to it.
    Secure(Keys),
    /// Plain HTTP, answered with redirects to this port.
    Plain(redirect::Target),
}

/// One listener's part in all that it accepts.
#[derive(Clone)]
pub(crate) struct Door {
    /// What is spoken.
    pub speech: Speech,
    /// Who may speak for others.
    pub proxies: Proxies,
}

/// Accepts until the worker is told to stop; what knocked before that is still let in.
pub(crate) async fn serve(listener: TcpListener, door: Door, worker: Arc<Worker>) {
    let mut views = worker.edge.views.subscribe();
    let mut seats = Seats::new(widened(worker.edge.limits().connections));
    // A drain waits for whom this lets in last, although they have no task yet.
    let _present = worker.connections.presence();
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = accept(&listener, &mut seats) => accepted,
            Ok(()) = views.changed() => {
                seats.resize(widened(worker.edge.limits().connections));
                continue;
            }
            () = worker.accepting.cancelled() => break,
        };
        match accepted {
            Ok((stream, address, permit)) => {
                admit(stream, address, permit, door.clone(), Arc::clone(&worker));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept users");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // The kernel itself is asked: what tokio knows of the listener may be older than those who wait there.
    let Ok(listener) = listener.into_std() else {
        return;
    };
    while let Ok((stream, address, permit)) = accept_waiting(&listener, &mut seats) {
        admit(stream, address, permit, door.clone(), Arc::clone(&worker));
    }
}

fn accept_waiting(
    listener: &StdTcpListener,
    seats: &mut Seats,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = seats.try_next().ok_or(io::ErrorKind::WouldBlock)?;
    let (stream, address) = listener.accept()?;
    stream.set_nonblocking(true)?;
    Ok((TcpStream::from_std(stream)?, address, permit))
}

async fn accept(
    listener: &TcpListener,
    seats: &mut Seats,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = seats.next().await.ok_or(io::ErrorKind::WouldBlock)?;
    let (stream, address) = listener.accept().await?;
    Ok((stream, address, permit))
}

fn admit(
    stream: TcpStream,
    address: SocketAddr,
    permit: OwnedSemaphorePermit,
    door: Door,
    worker: Arc<Worker>,
) {
    let scope = worker.connections.clone();
    scope.spawn("user", async move {
        // Small answers must not wait for the acknowledgement of earlier ones. Failing costs latency only.
        let _ = stream.set_nodelay(true);
        converse(stream, address, permit, &door, &worker).await;
    });
}

/// What a connection counts for, wherever it has gone: also as a WebSocket, when HTTP has let go of it.
#[derive(Debug)]
pub(crate) struct Place {
    held: Mutex<Option<(OwnedSemaphorePermit, Neighbour)>>,
    connections: Gauge,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit, neighbour: Neighbour, connections: Gauge) -> Arc<Self> {
        connections.increment(1.0);
        Arc::new(Self {
            held: Mutex::new(Some((permit, neighbour))),
            connections,
        })
    }

    /// Leaves it to the next user: who holds it is none.
    fn give_back(&self) {
        let held = &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.take().is_some() {
            self.connections.decrement(1.0);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.give_back();
    }
}

async fn converse(
    mut stream: TcpStream,
    socket: SocketAddr,
    permit: OwnedSemaphorePermit,
    door: &Door,
    worker: &Arc<Worker>,
) {
    let edge = &worker.edge;
    let limits = edge.limits();
    let patience = limits.handshake_timeout;
    let address = match door.proxies.user(&mut stream, socket, patience).await {
        Ok(address) => address,
        Err(error) => {
            edge.metrics.refused_for_proxy.increment(1);
            tracing::debug!(%error, socket.address = %socket, "connection refused");
            return;
        }
    };
    let Some(neighbour) = edge.neighbours.admit(Network::of(address.ip())) else {
        edge.metrics.refused_for_address.increment(1);
        tracing::debug!(user.address = %address, "address has its share of connections");
        return;
    };
    let place = Place::new(permit, neighbour, edge.metrics.connections.clone());
    let (stream, lender) = farewell::lend(stream, Arc::clone(&place));
    let stream = Patient::new(stream, limits.stall_timeout);
    let user = User {
        address,
        tls_version: "",
        ties: Ties::new(),
        recall: Recall::default(),
        greeted: Greeted::default(),
        presence: Arc::default(),
        limits,
    };
    match &door.speech {
        Speech::Secure(keys) => {
            let prepared = worker.edge.user_tls.over_tcp();
            let users = Arc::clone(&prepared.config);
            match shake_hands(keys.accept(stream, users), &user, worker).await {
                Some(Knock::User(stream)) => {
                    converse_securely(*stream, &prepared, user, worker).await;
                }
                Some(Knock::Agent(stream)) => {
                    place.give_back();
                    agents::admit_over_tcp(*stream, address, worker).await;
                }
                Some(Knock::ForControl(node, passage)) => {
                    let network = Network::of(address.ip());
                    passage.carry(node, network, &worker.leaving).await;
                }
                None => {}
            }
        }
        Speech::Plain(target) => converse_plainly(stream, &user, target, worker).await,
    }
    farewell::see_off(lender).await;
}

/// Waits for the handshake, as long as the limits allow.
async fn shake_hands<'a, S>(
    knocking: impl Future<Output = io::Result<Knock<'a, S>>>,
    user: &User,
    worker: &Worker,
) -> Option<Knock<'a, S>> {
    let address = user.address;
    match timeout(user.limits.handshake_timeout, knocking).await {
        Ok(Ok(knock)) => return Some(knock),
        Ok(Err(error)) => {
            tracing::debug!(%error, user.address = %address, "tls handshake with user failed");
        }
        Err(_) => {
            tracing::debug!(user.address = %address, "tls handshake with user took too long");
        }
    }
    worker.edge.metrics.user_handshake_failures.increment(1);
    None
}

async fn converse_securely<S>(
    stream: TlsStream<S>,
    prepared: &Prepared,
    user: User,
    worker: &Arc<Worker>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (_, session) = stream.get_ref();
    let chain = || Some(session.peer_certificates()?.to_vec());
    let user = Arc::new(User {
        tls_version: tls_version(&stream),
        greeted: prepared.greeted(session.server_name(), chain),
        ..user
    });
    let visit = Visit {
        worker: Arc::clone(worker),
        user: Arc::clone(&user),
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let visit = visit.clone();
        let request = request.map(UserBody::from);
        // Boxed here, hyper moves it by its pointer.
        boxed(|| async move { Ok::<_, Infallible>(answer(visit, request).await) })
    });
    if stream.get_ref().1.alpn_protocol() == Some(tls::ALPN_H2) {
        serve_http2(stream, service, worker, &user).await;
    } else {
        serve_http1(stream, service, worker, &user).await;
    }
}

/// Beside the answer, users hear where HTTP/3 is served, while it is.
async fn answer(visit: Visit, request: Request<UserBody>) -> Response<Body> {
    let worker = Arc::clone(&visit.worker);
    let mut response = request::answer(visit, request).await;
    if let Some(alt_svc) = &worker.edge.alt_svc
        && !worker.accepting.is_cancelled()
    {
        let fields = response.headers_mut();
        fields.insert(header::ALT_SVC, alt_svc.clone());
    }
    response
}

async fn converse_plainly(
    stream: Patient<Lent<Arc<Place>>>,
    user: &User,
    target: &redirect::Target,
    worker: &Arc<Worker>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = redirect::answer(target, worker.edge.views.current().as_deref(), &request);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    serve_http1(stream, service, worker, user).await;
}

async fn serve_http1<I, S>(stream: I, service: S, worker: &Worker, user: &User)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
{
    let (limits, presence, begun) = (&user.limits, &user.presence, Notify::new());
    let head_bytes = widened(limits.head_bytes);
    let view = worker.edge.views.current();
    let title_case = view.as_ref().is_some_and(|view| view.is_title_case());
    let keeps_case = view.is_some_and(|view| view.keeps_field_case());
    let service = service_fn(|request: Request<Incoming>| {
        begun.notify_one();
        let underway = if request.body().is_end_stream() {
            presence.begin_without_body()
        } else {
            presence.begin()
        };
        let answer = service.call(request);
        async move {
            let answer = answer.await?;
            Ok::<_, Infallible>(answer.map(|body| Attended::new(body, underway)))
        }
    });
    let stream = Heard::new(stream, Arc::clone(presence));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // Idle connections and slow heads have times of their own.
            .header_read_timeout(None)
            .title_case_headers(title_case)
            .preserve_header_case(keeps_case)
            .max_headers(widened(limits.head_fields))
            .max_header_size(head_bytes)
            .max_buf_size(2 * head_bytes)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let serving = async {
        tokio::select! {
            // Leaving first: an answer that begins at this moment already says "connection: close".
            biased;
            () = leaving(worker, &begun, presence) => {
                connection.as_mut().graceful_shutdown();
                Some(connection.await)
            }
            ended = connection.as_mut() => Some(ended),
            () = presence.deserted(limits.idle_timeout, limits.head_timeout) => {
                connection.as_mut().graceful_shutdown();
                timeout(GOODBYE_WAIT, connection).await.ok()
            }
        }
    };
    let longest = limits.stall_timeout;
    let served = watched(serving, longest, &worker.edge.stalls).await;
    log_end(served.flatten());
}

/// Waits until a connection shall end after what it does now. hyper ends one at once on which nothing is under way, and a request that
/// comes at that moment is lost: so the next one is waited for, and its answer says that it was the last.
async fn leaving(worker: &Worker, begun: &Notify, presence: &Presence) {
    worker.leaving.cancelled().await;
    presence.last_request(begun).await;
}

async fn serve_http2<I, S>(stream: I, service: S, worker: &Worker, user: &User)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    let (limits, presence) = (&user.limits, &user.presence);
    let executor = OnWorker {
        scope: worker.connections.clone(),
        stalls: Arc::clone(&worker.edge.stalls),
        longest: limits.stall_timeout,
        presence: Arc::clone(presence),
    };
    let mut connection =
        std::pin::pin!(http2(limits, executor).serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        biased;
        () = request::sent_away(worker, user) => {
            connection.as_mut().graceful_shutdown();
            Some(connection.await)
        }
        ended = connection.as_mut() => Some(ended),
        // What was answered and not read is given up with it.
        () = presence.deserted(limits.idle_timeout, limits.idle_timeout) => {
            connection.as_mut().graceful_shutdown();
            timeout(GOODBYE_WAIT, connection).await.ok()
        }
    };
    log_end(ended);
}

fn http2<E>(limits: &EdgeLimits, executor: E) -> http2::Builder<E> {
    let mut http2 = http2::Builder::new(executor);
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .enable_connect_protocol()
        .max_header_list_size(limits.head_bytes)
        .max_pending_accept_reset_streams(widened(limits.resets))
        .max_local_error_reset_streams(ERROR_RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        // Who pauses a download reads no PING either, and a pause is waited out.
        .keep_alive_timeout(limits.stall_timeout);
    http2
}

/// Runs the streams of an HTTP/2 connection where the connection itself runs.
#[derive(Clone)]
struct OnWorker {
    scope: Scope,
    stalls: Arc<Stalls>,
    longest: Duration,
    presence: Arc<Presence>,
}

impl<F> Executor<F> for OnWorker
where
    F: Future + Send + 'static,
{
    fn execute(&self, future: F) {
        let (stalls, underway) = (Arc::clone(&self.stalls), self.presence.begin());
        let longest = self.longest;
        self.scope.spawn("http2 stream", async move {
            // Dropped, the stream is reset.
            watched(future, longest, &stalls).await;
            drop(underway);
        });
    }
}

fn tls_version<I>(stream: &TlsStream<I>) -> &'static str {
    match stream.get_ref().1.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "1.2",
        _ => "1.3",
    }
}

fn log_end(ended: Option<hyper::Result<()>>) {
    // Users break off as they like; what it did to a request is in the request's own line.
    if let Some(Err(error)) = ended {
        tracing::trace!(%error, "user's connection ended");
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Empty, StreamBody};
    use hyper::{body::Frame, client::conn::http2::handshake};
    use hyper_util::rt::TokioExecutor;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::*;

    /// A pause that is to be waited out.
    const PAUSE: Duration = Duration::from_secs(55);

    /// Hears nothing of what came while it pauses, as a process that is stopped.
    struct Paused {
        inner: tokio::io::DuplexStream,
        until: std::pin::Pin<Box<tokio::time::Sleep>>,
    }

    impl AsyncRead for Paused {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::ready!(self.until.as_mut().poll(context));
            std::pin::Pin::new(&mut self.inner).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for Paused {
        fn poll_write(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
            bytes: &[u8],
        ) -> std::task::Poll<io::Result<usize>> {
            std::pin::Pin::new(&mut self.inner).poll_write(context, bytes)
        }

        fn poll_flush(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::pin::Pin::new(&mut self.inner).poll_flush(context)
        }

        fn poll_shutdown(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::pin::Pin::new(&mut self.inner).poll_shutdown(context)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_of_http2_who_pauses_is_waited_for() {
        let (near, far) = tokio::io::duplex(1024 * 1024);
        let service = service_fn(|_: Request<Incoming>| async {
            let pieces = (0..4).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from("piece"))));
            let body = StreamBody::new(futures_util::stream::iter(pieces));
            Ok::<_, Infallible>(Response::new(body))
        });
        let limits = EdgeLimits::default();
        let serving =
            http2(&limits, TokioExecutor::new()).serve_connection(TokioIo::new(near), service);
        let far = Paused {
            inner: far,
            until: Box::pin(sleep(PAUSE)),
        };
        let reading = async {
            let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(far))
                .await
                .unwrap();
            let ask = async {
                let request = Request::get("https://wiki.example.com/");
                let request = request.body(Empty::<Bytes>::new()).unwrap();
                let answer = sender.send_request(request).await.unwrap();
                let body = answer.into_body().collect().await.unwrap();
                drop(sender);
                body.to_bytes()
            };
            tokio::join!(ask, connection).0
        };
        let (ended, body) = tokio::join!(serving, reading);
        ended.unwrap();
        assert_eq!(body, "piecepiecepiecepiece");
    }
}
