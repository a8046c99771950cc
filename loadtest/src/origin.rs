//! An origin that does what a server of files does not: `adit-loadtest origin`. Plain HTTP/1.1 and HTTP/2 with prior knowledge.
//!
//! - `GET /bytes/N` (and `/1k`): a body of N bytes
//! - `PUT` anything: takes the body, 204
//! - `GET /events/N`: N server-sent events a second, each with the time when it was sent
//! - `GET /echo` with an upgrade: a WebSocket that sends messages back
//! - `POST` with the content type of gRPC: a unary method that sends its message back

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{
    BodyExt as _, Channel, Empty, Full, Limited, channel::Sender, combinators::BoxBody,
};
use hyper::{body::Incoming, service::service_fn, upgrade::OnUpgrade};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use runtime::{Clock, Scope};
use tokio::{
    net::{TcpListener, TcpStream},
    time::MissedTickBehavior,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use crate::exchange::{http1::PIECE, transfer::wall};

/// Events that wait for a reader who is slow.
const EVENTS_WAITING_MAX: usize = 16;
/// Events a second of one stream.
const EVENTS_PER_SECOND_MAX: u32 = 10_000;
/// A message of gRPC with its frame.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024 + 5;

type Body = BoxBody<Bytes, Infallible>;

/// Listens; connections are served by tasks of `scope`. Gives the address that was bound.
pub async fn serve(listen: SocketAddr, clock: &Clock, scope: &Scope) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let addr = listener.local_addr()?;
    let place = Place {
        clock: clock.clone(),
        scope: scope.child("origin"),
    };
    scope.spawn("origin-accept", async move {
        loop {
            // A connection that was gone before it was taken is no reason to end.
            if let Ok((socket, _)) = listener.accept().await {
                let connection = connection(socket, place.clone());
                place.scope.spawn("origin-connection", connection);
            }
        }
    });
    Ok(addr)
}

/// What requests are answered with.
#[derive(Clone)]
struct Place {
    clock: Clock,
    scope: Scope,
}

async fn connection(socket: TcpStream, place: Place) {
    // Only makes small writes wait.
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| {
        let place = place.clone();
        async move { place.answer(request).await }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    // One who breaks off has nobody to tell.
    let _ = server
        .serve_connection_with_upgrades(TokioIo::new(socket), service)
        .await;
}

impl Place {
    async fn answer(&self, mut request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
        let grpc = request.headers().get(header::CONTENT_TYPE);
        if grpc.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
            return call(request).await;
        }
        if request.method() == Method::PUT {
            while let Some(frame) = request.body_mut().frame().await {
                frame.map_err(io::Error::other)?;
            }
            return Ok(status(StatusCode::NO_CONTENT));
        }
        let path = request.uri().path().to_owned();
        let number = |prefix: &str| path.strip_prefix(prefix)?.parse::<u64>().ok();
        if path == "/1k" {
            return Ok(self.bytes(1024));
        }
        if let Some(length) = number("/bytes/") {
            return Ok(self.bytes(length));
        }
        if let Some(rate) = number("/events/").and_then(|rate| u32::try_from(rate).ok()) {
            return Ok(self.events(rate.clamp(1, EVENTS_PER_SECOND_MAX)));
        }
        if path == "/echo" {
            return Ok(self.echo(&mut request));
        }
        Ok(status(StatusCode::NOT_FOUND))
    }

    fn bytes(&self, length: u64) -> Response<Body> {
        if let Ok(short @ ..=SHORT_BYTES) = usize::try_from(length) {
            return Response::new(Full::new(Bytes::from_static(&PIECE[..short])).boxed());
        }
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
        self.scope.spawn("origin-bytes", async move {
            let mut left = length;
            while left > 0 {
                let piece = usize::try_from(left).map_or(PIECE.len(), |left| left.min(PIECE.len()));
                left -= piece as u64;
                if sender
                    .send_data(Bytes::from_static(&PIECE[..piece]))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        let mut response = Response::new(body.boxed());
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.into());
        response
    }

    fn events(&self, rate: u32) -> Response<Body> {
        let (sender, body) = Channel::new(EVENTS_WAITING_MAX);
        let clock = self.clock.clone();
        self.scope
            .spawn("origin-events", send_events(sender, rate, clock));
        let mut response = Response::new(body.boxed());
        let fields = response.headers_mut();
        fields.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        );
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // nginx keeps 4 KiB of an answer before it passes them on, unless the origin asks it not to, as origins of events do.
        fields.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }

    fn echo(&self, request: &mut Request<Incoming>) -> Response<Body> {
        let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
            return status(StatusCode::UPGRADE_REQUIRED);
        };
        let accept = derive_accept_key(key.as_bytes());
        let upgrade = hyper::upgrade::on(request);
        self.scope.spawn("origin-echo", echo(upgrade));
        let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
        let fields = response.headers_mut();
        fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let accept = HeaderValue::from_str(&accept).expect("base64 is a value");
        fields.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        response
    }
}

/// Bodies up to this length are answered at once.
const SHORT_BYTES: usize = PIECE.len();

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().boxed());
    *response.status_mut() = status;
    response
}

async fn send_events(mut sender: Sender<Bytes, Infallible>, rate: u32, clock: Clock) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let event = format!("data: sent {}\n\n", wall(&clock).as_nanos());
        if sender.send_data(event.into()).await.is_err() {
            return;
        }
    }
}

async fn echo(upgrade: OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    let io = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        let sent = match message {
            message @ (Message::Binary(_) | Message::Text(_)) => socket.send(message).await,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
            Message::Close(_) => return,
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn call(request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
    let message = Limited::new(request.into_body(), MESSAGE_BYTES_MAX);
    let message = message
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(message).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.boxed());
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
