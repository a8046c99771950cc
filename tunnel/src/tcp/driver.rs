//! What carries a connection: reads and writes its socket, and brings it to its end.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{client, server};
use http::{Method, Request, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Mutex as AsyncMutex, mpsc},
    time::{Sleep, sleep},
};

use super::{
    connection::{Opened, Shared, TcpConnection, Way, request},
    farewell::Farewell,
    pulse::Pulse,
    settings,
    socket::{Followed, Pace},
    stream::Source,
    to_wire,
};
use crate::{codes::Code, link::Closed, quic::STREAMS_MAX};

/// How long what was written may take to leave, and the other side to end the connection, once this side has closed it.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Streams that wait for the agent to take them: all that there may be.
const OPENED_MAX: usize = STREAMS_MAX as usize;

/// Carries one connection for as long as it is polled; ends with it.
#[must_use = "a connection that nobody drives stands still"]
pub struct Driver<T> {
    engine: Engine<T>,
    farewell: Farewell,
    pulse: Option<Pulse>,
    pace: Pace,
    shared: Arc<Shared>,
    ending: Option<Ending>,
}

impl<T> fmt::Debug for Driver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

enum Engine<T> {
    Edge(client::Connection<Followed<T>, Bytes>),
    Agent(server::Connection<Followed<T>, Bytes>, mpsc::Sender<Opened>),
}

/// This side's close, under way.
struct Ending {
    deadline: Pin<Box<Sleep>>,
    /// None once they are said.
    words: Option<(Code, String)>,
}

pub(super) async fn edge<T>(stream: T) -> Result<(TcpConnection, Driver<T>), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (socket, pace) = Followed::new(stream);
    let (requests, connection) = settings::edge().handshake::<_, Bytes>(socket).await?;
    let (response, send) = request(&requests).await?;
    let shared = Shared::new(pace.clone());
    let driver = Driver {
        engine: Engine::Edge(connection),
        farewell: Farewell::new(send, Source::Head(response)),
        pulse: None,
        pace,
        shared: Arc::clone(&shared),
        ending: None,
    };
    Ok((TcpConnection::new(shared, Way::Opened(requests)), driver))
}

pub(super) async fn agent<T>(stream: T) -> Result<(TcpConnection, Driver<T>), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (socket, pace) = Followed::new(stream);
    let mut connection = settings::agent().handshake::<_, Bytes>(socket).await?;
    let first = connection.accept().await;
    let (send, body) = first.map_or(Err(h2::Reason::NO_ERROR.into()), |first| answer(first?))?;
    let (opened, streams) = mpsc::channel(OPENED_MAX);
    let shared = Shared::new(pace.clone());
    let driver = Driver {
        pulse: connection.ping_pong().map(Pulse::new),
        engine: Engine::Agent(connection, opened),
        farewell: Farewell::new(send, Source::Body(body)),
        pace,
        shared: Arc::clone(&shared),
        ending: None,
    };
    let way = Way::Accepted(AsyncMutex::new(streams));
    Ok((TcpConnection::new(shared, way), driver))
}

/// Takes a stream of HTTP/2 for one of the tunnel.
fn answer(
    (request, mut respond): (Request<h2::RecvStream>, server::SendResponse<Bytes>),
) -> Result<Opened, h2::Error> {
    if request.method() != Method::POST {
        respond.send_reset(to_wire(Code::Protocol));
        return Err(h2::Reason::PROTOCOL_ERROR.into());
    }
    let send = respond.send_response(Response::new(()), false)?;
    Ok((send, request.into_body()))
}

impl<T> Engine<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    /// Ends with the connection.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        match self {
            Self::Edge(connection) => Pin::new(connection).poll(context),
            Self::Agent(connection, opened) => loop {
                match ready!(connection.poll_accept(context)) {
                    Some(Ok(stream)) => hand_over(stream, opened),
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => return Poll::Ready(Ok(())),
                }
            },
        }
    }
}

fn hand_over(
    stream: (Request<h2::RecvStream>, server::SendResponse<Bytes>),
    opened: &mpsc::Sender<Opened>,
) {
    // What is no stream of the tunnel was reset.
    let Ok(stream) = answer(stream) else { return };
    if let Err(refused) = opened.try_send(stream) {
        let (mut send, _) = refused.into_inner();
        send.send_reset(to_wire(Code::Refused));
    }
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        self.shared
            .end(Closed::Transport("connection was given up".to_owned()));
        self.shared.forget();
    }
}

impl<T> Future for Driver<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.shared.attend(context.waker());
        // What the steps below ask of the connection wakes this task again.
        if let Poll::Ready(ended) = this.engine.poll(context) {
            this.shared.end(ended.map_or_else(
                |error| super::lost(&error),
                |()| Closed::Transport("connection ended without a farewell".to_owned()),
            ));
            return Poll::Ready(());
        }
        if let Poll::Ready(closed) = this.farewell.poll_heard(context) {
            this.shared.end(closed);
            return Poll::Ready(());
        }
        this.shared.discard_what_came(context);
        if let Some(pulse) = &mut this.pulse
            && pulse.poll(context).is_ready()
        {
            this.shared.end(Closed::Silent);
            return Poll::Ready(());
        }
        this.poll_ending(context)
    }
}

impl<T> Driver<T> {
    /// Closes the connection; as [`Connection::close`](crate::Connection::close). It is to be polled on.
    pub fn close(&self, code: Code, reason: &str) {
        self.shared.close(code, reason);
    }

    /// What was written leaves first, then the farewell; then the other side ends the connection.
    fn poll_ending(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(words) = self.shared.take_farewell() {
            self.ending = Some(Ending {
                deadline: Box::pin(sleep(CLOSE_WAIT)),
                words: Some(words),
            });
        }
        let Some(ending) = &mut self.ending else {
            return Poll::Pending;
        };
        if !self.pace.is_held_up()
            && let Some((code, reason)) = ending.words.take()
        {
            self.farewell.say(code, &reason);
        }
        ending.deadline.as_mut().poll(context)
    }
}
