//! Connections that became another protocol: bytes both ways until both sides have said their end.

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use model::reason::Reason;
use proto::tunnel::End;
use runtime::Scope;
use tokio::{
    io::{
        AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split,
    },
    sync::oneshot,
    time::{Instant, sleep_until, timeout},
};
use tunnel::{
    codes::Code,
    frame::Frame,
    stream::{RecvHalf, SendHalf},
};

use crate::{
    access_log::{Record, Traffic},
    exchange::Sending,
    failure::{agent_reason, lost_reason},
    http3::Tunnel,
    link::StreamGuard,
    patience::Patient,
    presence::Underway,
    sign_in::leash,
    stall::{Stalls, Watch, watched},
    websocket::Boundary,
};

/// Bytes read at once from a user who says much: a TLS record.
const READ_BYTES_MAX: usize = 16 * 1024;

/// Room held for a user who says little: thousands of WebSockets lie idle at a time.
const READ_BYTES_MIN: usize = 4 * 1024;

/// Longest wait for the user to take a farewell.
const FAREWELL_WAIT: Duration = Duration::from_secs(1);

type UserReader = ReadHalf<Box<dyn UserStream>>;
type UserWriter = WriteHalf<Box<dyn UserStream>>;

/// Bytes from a user and to it, once HTTP has let go of them.
trait UserStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> UserStream for T {}

/// The user's end of an upgrade, once the answer's head is out.
#[derive(Debug)]
pub(crate) enum Pending {
    /// Of HTTP/1 and HTTP/2.
    Hyper(OnUpgrade),
    /// Of HTTP/3.
    Http3(oneshot::Receiver<Tunnel>),
}

impl Pending {
    /// None if the user left before. Whoever takes nothing of its end for `stall_timeout` and a little more is cut off.
    async fn stream(self, stall_timeout: Duration) -> Option<Box<dyn UserStream>> {
        Some(match self {
            // The connection below is patient itself, but over HTTP/2 one stream may stall alone.
            Self::Hyper(upgrade) => {
                let stream = TokioIo::new(upgrade.await.ok()?);
                Box::new(Patient::new(stream, stall_timeout))
            }
            // Its end is patient itself, and longer with who is slow.
            Self::Http3(tunnel) => Box::new(tunnel.await.ok()?),
        })
    }
}

/// One upgraded connection.
#[derive(Debug)]
pub(crate) struct Session {
    /// The user's connection, or its stream.
    pub connection: Pending,
    /// How long the user may take nothing.
    pub stall_timeout: Duration,
    /// All who take nothing at the moment.
    pub stalls: Arc<Stalls>,
    /// Towards the agent.
    pub send: Sending,
    /// From the agent.
    pub recv: RecvHalf,
    /// Counts the stream.
    pub guard: StreamGuard,
    /// Counts the session among what the user's connection carries.
    pub underway: Underway,
    /// Closed when the session ends.
    pub record: Record,
    /// Longest silence in both directions.
    pub idle: Duration,
    /// When all of it must be over.
    pub end: Option<Instant>,
    /// Follows what the user is sent, if that is WebSocket frames.
    pub boundary: Option<Boundary>,
    /// Owner of the session; asked to end at the edge's deadline.
    pub scope: Scope,
}

/// Puts back what makes a 101 an answer to the user's wish; they were removed as hop-by-hop.
pub(crate) fn announce(fields: &mut HeaderMap, token: &HeaderValue) {
    fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    fields.insert(header::UPGRADE, token.clone());
}

/// Carries the session on in a task of its own.
pub(crate) fn start(session: Session) {
    let scope = session.scope.clone();
    scope.spawn("upgraded", carry(session));
}

async fn carry(session: Session) {
    let Session {
        connection,
        stall_timeout,
        stalls,
        mut send,
        mut recv,
        guard: _guard,
        underway: _underway,
        mut record,
        idle,
        end,
        mut boundary,
        scope,
    } = session;
    // The user left before the 101 was out.
    let Some(stream) = connection.stream(stall_timeout).await else {
        return;
    };
    let (mut reader, mut writer) = split(stream);
    let traffic = record.traffic.clone();
    let cut = leash::ended(record.cut());
    let both = async {
        tokio::try_join!(
            up(&mut reader, &mut send.0, &traffic),
            down(&mut recv, &mut writer, &traffic, &mut boundary),
        )
        .map(|_| ())
    };
    let ended = tokio::select! {
        ended = watched(both, stall_timeout, &stalls) => ended.unwrap_or(Err(Reason::UserStalled)),
        () = silence(&traffic, idle) => Err(Reason::OriginTimeout),
        () = until(end) => Err(Reason::TotalTimeout),
        () = scope.cancelled() => Err(Reason::Draining),
        () = cut => Err(Reason::SessionEnded),
    };
    if let Err(reason) = ended {
        record.fail(reason);
    }
    match ended {
        Err(Reason::Draining) => {
            say_farewell(&mut writer, boundary.as_ref(), &GOING_AWAY).await;
            send.0.reset(Code::Draining);
        }
        Err(Reason::SessionEnded) => {
            send.0.reset(Code::Cancelled);
            say_farewell(&mut writer, boundary.as_ref(), &POLICY_VIOLATION).await;
        }
        Err(_) | Ok(()) => {}
    }
    record.complete();
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

async fn up(reader: &mut UserReader, send: &mut SendHalf, traffic: &Traffic) -> Result<(), Reason> {
    let mut room = READ_BYTES_MIN;
    loop {
        let mut buffer = BytesMut::with_capacity(room);
        let read = reader
            .read_buf(&mut buffer)
            .await
            .map_err(|_| Reason::Cancelled)?;
        room = room_after(read, room);
        traffic.up(read);
        let sent = if read == 0 {
            send.end(End::default()).await
        } else {
            send.data(buffer.freeze()).await
        };
        // The agent wants no more, or is gone; the other direction says which.
        if read == 0 || sent.is_err() {
            return Ok(());
        }
    }
}

/// Room for the next read: much only behind a read that filled what it had.
const fn room_after(read: usize, room: usize) -> usize {
    if read < room {
        READ_BYTES_MIN
    } else {
        READ_BYTES_MAX
    }
}

async fn down(
    recv: &mut RecvHalf,
    writer: &mut UserWriter,
    traffic: &Traffic,
    boundary: &mut Option<Boundary>,
) -> Result<(), Reason> {
    loop {
        match recv.next().await.map_err(|error| lost_reason(&error))? {
            Some(Frame::Data(data)) => {
                let bytes = data.len();
                let written = write(writer, data, boundary).await;
                written.map_err(|_| Reason::Cancelled)?;
                traffic.down(bytes);
            }
            Some(Frame::End(_) | Frame::Trailers(_)) => {}
            Some(Frame::Error(info)) => return Err(agent_reason(&info)),
            Some(Frame::Request(_) | Frame::Response(_) | Frame::Continue) => {
                return Err(Reason::TunnelProtocol);
            }
            None => return writer.shutdown().await.map_err(|_| Reason::Cancelled),
        }
    }
}

/// Cancelled, the boundary is where the user's copy ends.
async fn write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    mut data: Bytes,
    boundary: &mut Option<Boundary>,
) -> io::Result<()> {
    let watch = Watch::current();
    while !data.is_empty() {
        watch.given();
        let written = writer.write(&data).await?;
        watch.taken();
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let gone = data.split_to(written);
        if let Some(boundary) = boundary {
            boundary.pass(&gone);
        }
    }
    watch.given();
    writer.flush().await?;
    watch.taken();
    Ok(())
}

async fn silence(traffic: &Traffic, idle: Duration) {
    while !traffic.is_silent(idle) {
        sleep_until(traffic.silent_at(idle)).await;
    }
}

/// A WebSocket that is between frames is told why it ends; anything else is just closed.
async fn say_farewell(writer: &mut UserWriter, boundary: Option<&Boundary>, frame: &[u8]) {
    if !boundary.is_some_and(Boundary::is_between_frames) {
        return;
    }
    let farewell = async {
        writer.write_all(frame).await?;
        writer.shutdown().await
    };
    // The user may be gone already.
    let _ = timeout(FAREWELL_WAIT, farewell).await;
}

/// A close frame with status 1001 (RFC 6455, sections 5.5.1 and 7.4.1).
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];
/// The same with status 1008.
const POLICY_VIOLATION: [u8; 4] = [0x88, 0x02, 0x03, 0xf0];

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_user_who_says_little_holds_little() {
        for (read, room, next) in [
            (10, READ_BYTES_MIN, READ_BYTES_MIN),
            (READ_BYTES_MIN, READ_BYTES_MIN, READ_BYTES_MAX),
            (READ_BYTES_MAX, READ_BYTES_MAX, READ_BYTES_MAX),
            (10, READ_BYTES_MAX, READ_BYTES_MIN),
        ] {
            assert_eq!(room_after(read, room), next, "{read} of {room}");
        }
    }

    #[tokio::test]
    async fn a_farewell_finds_no_room_in_a_frame_that_was_cut_by_a_slow_user() {
        let (mut near, _far) = tokio::io::duplex(4);
        let mut boundary = Some(Boundary::default());
        let frame = Bytes::from_static(&[0x82, 6, 1, 2, 3, 4, 5, 6]);
        let written = write(&mut near, frame, &mut boundary).now_or_never();
        assert!(written.is_none(), "the user takes only half of it");
        assert!(!boundary.unwrap().is_between_frames());
    }
}
