//! The sample app: a page, a clock of server-sent events, a WebSocket echo and an upload counter.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Frame, body::Incoming, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use runtime::{Clock, Scope};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

const PAGE: &str = include_str!("hello.html");
/// How often the clock ticks.
const TICK: Duration = Duration::from_secs(1);

type Body = BoxBody<Bytes, Infallible>;

/// Serves the sample app on a free port of loopback until the scope ends; gives its address.
pub(super) async fn start(scope: &Scope, clock: Clock) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let addr = listener.local_addr()?;
    let scope = scope.child("sample");
    let inner = scope.clone();
    scope.spawn_standing("sample-accept", async move {
        loop {
            tokio::select! {
                () = inner.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => serve(socket, &inner, &clock),
                    // Out of file descriptors, most likely: a pause lets some close.
                    Err(_) => tokio::time::sleep(TICK).await,
                },
            }
        }
    });
    Ok(addr)
}

fn serve(socket: TcpStream, scope: &Scope, clock: &Clock) {
    let (tasks, clock) = (scope.clone(), clock.clone());
    let service = service_fn(move |request| {
        let (tasks, clock) = (tasks.clone(), clock.clone());
        async move { Ok::<_, Infallible>(answer(request, &tasks, clock).await) }
    });
    let stop = scope.clone();
    scope.spawn("sample-connection", async move {
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(socket), service)
            .with_upgrades();
        tokio::select! {
            () = stop.cancelled() => {}
            // The user went away: nothing to do about it here.
            _ = connection => {}
        }
    });
}

async fn answer(mut request: Request<Incoming>, scope: &Scope, clock: Clock) -> Response<Body> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => text("text/html; charset=utf-8", PAGE),
        (&Method::GET, "/request") => text("text/plain; charset=utf-8", seen(&request)),
        (&Method::GET, "/clock") => ticks(clock),
        (&Method::GET, "/echo") => echo(&mut request, scope),
        (&Method::POST | &Method::PUT, "/upload") => count(request.into_body()).await,
        _ => status(StatusCode::NOT_FOUND, "nothing here\n"),
    }
}

fn text(kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn status(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = text("text/plain; charset=utf-8", body);
    *response.status_mut() = status;
    response
}

fn seen(request: &Request<Incoming>) -> String {
    let mut head = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        head.push_str(&format!(
            "{name}: {}\n",
            String::from_utf8_lossy(value.as_bytes())
        ));
    }
    head
}

fn ticks(clock: Clock) -> Response<Body> {
    let events = stream::unfold(0_u64, move |count| {
        let clock = clock.clone();
        async move {
            if count > 0 {
                tokio::time::sleep(TICK).await;
            }
            let seconds = clock.unix_seconds() % 86_400;
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let event = format!("data: {hours:02}:{minutes:02}:{seconds:02} UTC\n\n");
            Some((
                Ok::<_, Infallible>(Frame::data(Bytes::from(event))),
                count + 1,
            ))
        }
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(events)));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn count(mut body: Incoming) -> Response<Body> {
    let mut bytes = 0_u64;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            Err(_) => return status(StatusCode::BAD_REQUEST, "the upload broke off\n"),
        }
    }
    text(
        "text/plain; charset=utf-8",
        format!("{bytes} bytes arrived\n"),
    )
}

fn echo(request: &mut Request<Incoming>, scope: &Scope) -> Response<Body> {
    let Some(key) = websocket_key(request.headers()) else {
        return status(
            StatusCode::UPGRADE_REQUIRED,
            "a WebSocket is expected here\n",
        );
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(request);
    let stop = scope.clone();
    scope.spawn("sample-echo", async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = speak(upgrade) => {}
        }
    });
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

fn websocket_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let upgrade = headers.get(header::UPGRADE)?;
    upgrade
        .as_bytes()
        .eq_ignore_ascii_case(b"websocket")
        .then_some(())?;
    headers.get(header::SEC_WEBSOCKET_KEY).cloned()
}

async fn speak(upgrade: OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    let mut socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        let talk = message.is_text() || message.is_binary();
        if talk && socket.send(message).await.is_err() {
            return;
        }
    }
}
