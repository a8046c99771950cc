//! One HTTP/2 connection to an origin, shared by many exchanges, each on a stream of its own.
//!
//! Spoken with the `h2` crate that hyper itself stands on: hyper's client takes a body that the origin cut off with CANCEL for a
//! whole one, and passes no 1xx heads on.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::{
    Ping, PingPong, Reason, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, Request, Response, header};
use http_body::Body as _;
use runtime::{Clock, Scope};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    AnswerBody, Informational, OriginError, SendFailure, answer::StreamBody, stream::OriginStream,
};
use crate::request::UploadBody;

/// Exchanges at once on one connection: what servers commonly allow, and few enough that losing one connection costs little.
pub(super) const STREAMS_MAX: u32 = 100;

/// Bytes of one answer that may wait for its user: 40 Mbit/s at 100 ms.
const STREAM_WINDOW_BYTES: u32 = 512 * 1024;

/// Enough for every stream's window, so that users who stop reading never hold up the others.
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * STREAMS_MAX;

/// Bytes of one body that wait to be written: two frames of the tunnel.
const SEND_BUFFER_BYTES: usize = 2 * tunnel::frame::DATA_BYTES_MAX as usize;

/// One frame of the tunnel goes as one frame to the origin, where it allows.
const FRAME_BYTES_MAX: u32 = tunnel::frame::DATA_BYTES_MAX;

/// Longest head of an answer: it must fit the tunnel's field block. HTTP/2 counts 32 bytes more for each field.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// How long a connection without streams is kept. Its end is announced by GOAWAY, which makes every request safe to repeat, so
/// it may be longer than that of HTTP/1; firewalls between forget silent connections later than this.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a connection in use is asked whether it lives: a dead one is found before most users give up.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// How long the origin may take to say so.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The connection. Its driver is a task; it ends when the last handle is gone and no stream is left.
pub(super) struct Http2 {
    sender: SendRequest<Bytes>,
    streams: Cell<usize>,
    served: Cell<bool>,
    /// A stream was refused here: others go elsewhere.
    retired: Cell<bool>,
    idle_since: Cell<Instant>,
    clock: Clock,
    scope: Scope,
}

impl Http2 {
    /// Starts HTTP/2 on `stream`; its driver is a task of `scope`.
    pub(super) async fn start(
        stream: OriginStream,
        clock: Clock,
        scope: &Scope,
    ) -> Result<Rc<Self>, h2::Error> {
        let (sender, mut connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_max_send_streams(STREAMS_MAX as usize)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buffer_size(SEND_BUFFER_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_header_list_size(HEAD_BYTES_MAX)
            .handshake(stream.raw())
            .await?;
        let pings = connection.ping_pong();
        let own = scope.clone();
        scope.spawn_local("origin connection", async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "origin connection ended");
                },
                () = dead(pings) => tracing::debug!("origin connection gives no sign of life"),
                () = own.cancelled() => {}
            }
        });
        Ok(Rc::new(Self {
            sender,
            streams: Cell::new(0),
            served: Cell::new(false),
            retired: Cell::new(false),
            idle_since: Cell::new(clock.now()),
            clock,
            scope: scope.clone(),
        }))
    }

    /// Whether another exchange may begin: the origin did not say goodbye, and allows one more.
    pub(super) fn has_room(&self) -> bool {
        self.is_open()
            && self.streams.get()
                < self
                    .sender
                    .current_max_send_streams()
                    .min(STREAMS_MAX as usize)
    }

    /// Whether it is worth keeping.
    pub(super) fn is_worth_keeping(&self, now: Instant) -> bool {
        let used = self.streams.get() > 0
            || now.saturating_duration_since(self.idle_since.get()) < IDLE_TIMEOUT;
        used && self.is_open()
    }

    fn is_open(&self) -> bool {
        !self.retired.get() && matches!(self.sender.clone().ready().now_or_never(), Some(Ok(_)))
    }
}

/// Ends when the origin does not answer a ping in time.
async fn dead(pings: Option<PingPong>) {
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    loop {
        sleep(PING_INTERVAL).await;
        match timeout(PING_TIMEOUT, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Err(_) => return,
            // The connection's own end tells more.
            Ok(Err(_)) => return std::future::pending().await,
        }
    }
}

/// The right to one exchange on the connection; counts as a stream as long as it lives.
pub(super) struct Turn {
    connection: Rc<Http2>,
    reused: bool,
}

impl Turn {
    pub(super) fn new(connection: Rc<Http2>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        let reused = connection.served.replace(true);
        Self { connection, reused }
    }

    pub(super) fn retire(&self) {
        self.connection.retired.set(true);
    }

    /// Sends a request. Dropping the future, or the answer's body before its end, resets the stream.
    pub(super) fn send(
        &mut self,
        request: Request<UploadBody>,
        heard: Arc<Informational>,
    ) -> impl Future<Output = Result<Response<AnswerBody>, SendFailure>> + use<> {
        let sender = self.connection.sender.clone();
        let (scope, reused) = (self.connection.scope.clone(), self.reused);
        async move {
            exchange(sender, request, &heard, &scope)
                .await
                .map_err(|(error, written)| {
                    let lost = error.is_io();
                    let error = OriginError::Http2(error);
                    SendFailure {
                        unprocessed: !written || error.is_refusal() || error.wants_http1(),
                        unheard: lost,
                        reused,
                        error,
                    }
                })
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        connection.idle_since.set(connection.clock.now());
    }
}

/// On failure says whether something of the request may have been written.
async fn exchange(
    sender: SendRequest<Bytes>,
    request: Request<UploadBody>,
    heard: &Informational,
    scope: &Scope,
) -> Result<Response<AnswerBody>, (h2::Error, bool)> {
    let mut sender = sender.ready().await.map_err(|error| (error, false))?;
    let (head, body) = request.into_parts();
    let ended = body.is_end_stream();
    let (answer, stream) = sender
        .send_request(Request::from_parts(head, ()), ended)
        .map_err(|error| (error, false))?;
    let upload = (!ended).then(|| {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        scope.spawn_local("origin upload", async move {
            tokio::select! {
                biased;
                () = pump(body, stream) => {}
                // Dropped with the stream in it, which resets the exchange unless its answer was whole.
                () = stopped.cancelled() => {}
            }
        });
        stop.drop_guard()
    });
    let response = AnswerHead { answer, heard }
        .await
        .map_err(|error| (error, true))?;
    let length = content_length(response.headers());
    Ok(response.map(|stream| AnswerBody::Http2(StreamBody::new(stream, length, upload))))
}

/// The final head, after any number of others.
struct AnswerHead<'a> {
    answer: ResponseFuture,
    heard: &'a Informational,
}

impl Future for AnswerHead<'_> {
    type Output = Result<Response<h2::RecvStream>, h2::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        while let Poll::Ready(Some(Ok(head))) = self.answer.poll_informational(context) {
            self.heard.add(head.status(), head.headers());
        }
        Pin::new(&mut self.answer).poll(context)
    }
}

fn content_length(fields: &HeaderMap) -> Option<u64> {
    fields
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Sends the body as fast as the origin takes it, until its end or until the origin wants no more.
async fn pump(mut body: UploadBody, mut stream: SendStream<Bytes>) {
    loop {
        let frame = tokio::select! {
            biased;
            _ = poll_fn(|context| stream.poll_reset(context)) => return,
            frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)) => frame,
        };
        let sent = match frame.map(|frame| frame.map(http_body::Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                let ends = body.is_end_stream();
                match send_all(&mut stream, data, ends).await {
                    Ok(()) if !ends => continue,
                    sent => sent,
                }
            }
            Some(Ok(Err(frame))) => match frame.into_trailers() {
                Ok(trailers) => stream.send_trailers(trailers),
                Err(_) => continue,
            },
            Some(Err(_)) => {
                stream.send_reset(Reason::CANCEL);
                return;
            }
            None => stream.send_data(Bytes::new(), true),
        };
        if let Err(error) = sent {
            // The answer's side of the stream hears of it too, and tells it.
            tracing::debug!(%error, "upload to the origin ended");
        }
        return;
    }
}

async fn send_all(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    ends: bool,
) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        // Nothing is granted any more once the origin has reset the stream.
        let Some(granted) = poll_fn(|context| stream.poll_capacity(context)).await else {
            return Err(Reason::STREAM_CLOSED.into());
        };
        let piece = data.split_to(granted?.min(data.len()));
        if !piece.is_empty() {
            stream.send_data(piece, ends && data.is_empty())?;
        }
    }
    Ok(())
}
