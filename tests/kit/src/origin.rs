//! An origin that behaves: each path shows one feature of HTTP.
//!
//! | path | does |
//! |---|---|
//! | `/` | 200 `hello` |
//! | `/echo` | JSON of what arrived: method, target, fields, length and SHA-256 of the body |
//! | `/bytes/{n}` | n bytes of [`pattern`], with a length |
//! | `/stream/{n}` | the same without a length |
//! | `/sleep/{ms}` | 200 after a while |
//! | `/status/{code}` | that status; a body where one is allowed |
//! | `/events` | a server-sent event at once, and then one for each [`Origin::tick`] |
//! | `/trailers` | a body and the trailer `x-sum: 42` |
//! | `/early` | 200 at once, without reading the request's body |
//! | `/websocket` | echoes messages |
//! | `/hang` | head, one byte, then nothing until the user leaves |

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Frame, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use runtime::Scope;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::watch,
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Fields of a request that it reads: more than a fabric passes on.
const FIELDS_MAX: usize = 512;
/// Size of the pieces that `/bytes` and `/stream` send.
const PIECE_BYTES: usize = 64 * 1024;

/// Spreads positions over all bits (the golden ratio's, odd), so that no stretch of the pattern looks like another.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// `length` bytes that differ by position, so that a shifted, swapped or repeated piece changes the hash.
pub fn pattern(offset: u64, length: usize) -> Bytes {
    (offset..)
        .take(length)
        .map(|at| at.wrapping_mul(SPREAD).to_be_bytes()[0])
        .collect::<Vec<_>>()
        .into()
}

/// SHA-256 of what comes piece by piece.
#[derive(Clone)]
pub struct Sum(aws_lc_rs::digest::Context);

impl Default for Sum {
    fn default() -> Self {
        Self(aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256))
    }
}

impl std::fmt::Debug for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sum")
    }
}

impl Sum {
    /// Of the first `length` bytes of [`pattern`].
    pub fn of_pattern(length: u64) -> Self {
        let mut sum = Self::default();
        for offset in (0..length).step_by(PIECE_BYTES) {
            let left = usize::try_from(length - offset).unwrap_or(usize::MAX);
            sum.add(&pattern(offset, left.min(PIECE_BYTES)));
        }
        sum
    }

    /// Takes what follows.
    pub fn add(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// In hex.
    pub fn hex(self) -> String {
        hex(self.0.finish().as_ref())
    }
}

/// SHA-256 in hex.
pub fn sha256(data: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A running origin. It stops when dropped.
#[derive(Debug)]
pub struct Origin {
    addr: SocketAddr,
    scheme: &'static str,
    seen: Arc<Seen>,
    ticks: watch::Sender<u64>,
    scope: Scope,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.scope.cancel();
    }
}

#[derive(Debug, Default)]
struct Seen {
    requests: AtomicUsize,
    connections: AtomicUsize,
    hanging: AtomicUsize,
}

impl Origin {
    /// Starts one on a free port of loopback.
    pub async fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into()).await
    }

    /// Starts one on a free port of an address of this host.
    pub async fn start_at(address: IpAddr) -> Self {
        Self::start_on((address, 0).into(), None).await
    }

    /// Starts one that speaks TLS with this certificate.
    pub async fn start_tls(config: rustls::ServerConfig) -> Self {
        Self::start_tls_at((Ipv4Addr::LOCALHOST, 0).into(), config).await
    }

    /// The same at an address that is free.
    pub async fn start_tls_at(address: SocketAddr, config: rustls::ServerConfig) -> Self {
        Self::start_on(address, Some(Arc::new(config).into())).await
    }

    async fn start_on(addr: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(addr)
            .await
            .expect("loopback has free ports");
        let addr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let scope = Scope::root();
        let seen = Arc::new(Seen::default());
        let (ticks, _) = watch::channel(0);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let origin = Self {
            addr,
            scheme,
            seen,
            ticks,
            scope,
        };
        origin.accept(listener, tls);
        origin
    }

    fn accept(&self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        let (scope, seen, ticks) = (self.scope.clone(), self.seen.clone(), self.ticks.clone());
        let inner = scope.clone();
        scope.spawn("origin-accept", async move {
            loop {
                let socket = tokio::select! {
                    () = inner.cancelled() => return,
                    accepted = listener.accept() => accepted.expect("accept works in tests").0,
                };
                seen.connections.fetch_add(1, Ordering::SeqCst);
                let (scope, seen, ticks, tls) =
                    (inner.clone(), seen.clone(), ticks.clone(), tls.clone());
                inner.spawn("origin-connection", async move {
                    match tls {
                        None => serve(socket, scope, seen, ticks).await,
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                serve(socket, scope, seen, ticks).await;
                            }
                        }
                    }
                });
            }
        });
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URL, as an app's origin.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.addr)
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Requests for `/hang` whose user is still there.
    pub fn hanging(&self) -> usize {
        self.seen.hanging.load(Ordering::SeqCst)
    }

    /// Sends one more event to everybody at `/events`.
    pub fn tick(&self) {
        self.ticks.send_modify(|count| *count += 1);
    }
}

async fn serve<S>(socket: S, scope: Scope, seen: Arc<Seen>, ticks: watch::Sender<u64>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tasks = scope.clone();
    let service = service_fn(move |request| {
        let (scope, seen, ticks) = (tasks.clone(), seen.clone(), ticks.subscribe());
        async move {
            seen.requests.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(answer(request, &scope, seen, ticks).await)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    tokio::select! {
        () = scope.cancelled() => {}
        // Users that leave are part of the tests.
        _ = connection => {}
    }
}

async fn answer(
    request: Request<Incoming>,
    scope: &Scope,
    seen: Arc<Seen>,
    ticks: watch::Receiver<u64>,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let (verb, argument) = path[1..]
        .split_once('/')
        .unwrap_or_else(|| (&path[1..], ""));
    let number = argument.parse::<u64>();
    match (verb, number) {
        ("", _) => full(StatusCode::OK, "hello"),
        ("echo", _) => echo(request).await,
        ("bytes", Ok(length)) => {
            let mut response = streamed(pieces(length));
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length.into());
            response
        }
        ("stream", Ok(length)) => streamed(pieces(length)),
        ("sleep", Ok(ms)) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            full(StatusCode::OK, "slept")
        }
        ("status", Ok(code)) => with_status(code),
        ("events", _) => events(ticks),
        ("trailers", _) => trailers(),
        ("early", _) => full(StatusCode::OK, "early"),
        ("websocket", _) => websocket(request, scope),
        ("hang", _) => hang(seen),
        _ => full(StatusCode::NOT_FOUND, "no such path at the origin"),
    }
}

fn full(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    response
}

fn streamed(frames: impl stream::Stream<Item = Frame<Bytes>> + Send + 'static) -> Response<Body> {
    Response::new(BodyExt::boxed_unsync(StreamBody::new(frames.map(Ok))))
}

fn pieces(length: u64) -> impl stream::Stream<Item = Frame<Bytes>> + Send {
    stream::unfold(0_u64, move |offset| async move {
        let left = usize::try_from(length - offset)
            .unwrap_or(usize::MAX)
            .min(PIECE_BYTES);
        (left > 0).then(|| (Frame::data(pattern(offset, left)), offset + left as u64))
    })
}

async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (head, mut body) = request.into_parts();
    let mut sum = Sum::default();
    let (mut bytes, mut trailers) = (0_u64, None);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return full(StatusCode::BAD_REQUEST, "broken body");
        };
        match frame.into_data() {
            Ok(data) => {
                bytes += data.len() as u64;
                sum.add(&data);
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let seen = serde_json::json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "version": format!("{:?}", head.version),
        "fields": fields(&head.headers),
        "trailers": trailers.as_ref().map(fields),
        "body_bytes": bytes,
        "body_sha256": sum.hex(),
    });
    full(StatusCode::OK, seen.to_string())
}

fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect()
}

fn with_status(code: u64) -> Response<Body> {
    let status = u16::try_from(code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok());
    match status {
        Some(status @ (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)) => {
            let mut response = Response::new(Empty::new().boxed_unsync());
            *response.status_mut() = status;
            response
                .headers_mut()
                .insert(header::ETAG, HeaderValue::from_static("\"v1\""));
            response
        }
        Some(status) => full(status, status.as_str().to_owned()),
        None => full(StatusCode::BAD_REQUEST, "no such status"),
    }
}

fn events(mut ticks: watch::Receiver<u64>) -> Response<Body> {
    ticks.mark_changed();
    let events = stream::unfold(ticks, |mut ticks| async move {
        ticks.changed().await.ok()?;
        let count = *ticks.borrow_and_update();
        Some((
            Frame::data(Bytes::from(format!("data: {count}\n\n"))),
            ticks,
        ))
    });
    let mut response = streamed(events);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    response
}

fn trailers() -> Response<Body> {
    let sum = HeaderMap::from_iter([(
        http::HeaderName::from_static("x-sum"),
        HeaderValue::from_static("42"),
    )]);
    let frames = [
        Frame::data(Bytes::from_static(b"body")),
        Frame::trailers(sum),
    ];
    let mut response = streamed(stream::iter(frames));
    response
        .headers_mut()
        .insert(header::TRAILER, HeaderValue::from_static("x-sum"));
    response
}

/// Counts a user of `/hang` for as long as the response's body lives.
struct Hanging(Arc<Seen>);

impl Hanging {
    fn begin(seen: Arc<Seen>) -> Self {
        seen.hanging.fetch_add(1, Ordering::SeqCst);
        Self(seen)
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.hanging.fetch_sub(1, Ordering::SeqCst);
    }
}

fn hang(seen: Arc<Seen>) -> Response<Body> {
    let hanging = Hanging::begin(seen);
    streamed(stream::unfold(
        (hanging, false),
        |(hanging, begun)| async move {
            if begun {
                std::future::pending::<()>().await;
            }
            Some((Frame::data(Bytes::from_static(b".")), (hanging, true)))
        },
    ))
}

fn websocket(mut request: Request<Incoming>, scope: &Scope) -> Response<Body> {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned() else {
        return full(StatusCode::UPGRADE_REQUIRED, "a WebSocket is expected here");
    };
    let upgrade = hyper::upgrade::on(&mut request);
    scope.spawn("origin-websocket", async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            let talk = message.is_text() || message.is_binary();
            if talk && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut response = full(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(
        header::SET_COOKIE,
        HeaderValue::from_static("on-101=kept; Path=/"),
    );
    let accept = derive_accept_key(key.as_bytes());
    headers.insert(
        header::SEC_WEBSOCKET_ACCEPT,
        accept.parse().expect("base64 is a field value"),
    );
    response
}
