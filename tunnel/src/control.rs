//! The control stream: the first of a connection, opened by the edge.
//!
//! Each message is preceded by its length as a varint. The agent says Hello, the edge answers Welcome or closes the
//! connection with a code and a reason, after `GoAway` if it knows when the agent may come back; from Welcome on the link serves. The edge sends Ping where
//! requests are under way, and where the agent is silent, and the agent answers with Pong. How long either may be silent is told in [`silence`](crate::silence);
//! time-outs are the caller's.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message as _;
use proto::tunnel::{ControlMessage, GoAway, Hello, Welcome, control_message};
use tokio::time::timeout;

use crate::{
    codes::Code,
    frame::{Chunks, EncodeError},
    link::{Closed, Connection},
    stream::{Inflow, Kind, Outflow, RecvError, SendError},
    varint,
};

/// Minor versions that this side speaks, newest first.
pub const VERSIONS: &[u32] = &[1];

/// How long an agent may take to read why it is sent away: what was sent before a close is lost with it.
const REFUSAL_READ_MAX: Duration = Duration::from_secs(1);

/// One control message, encoded.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// A message of the control stream.
pub type Message = control_message::Kind;

/// Why the edge does not take an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Tells the agent what to do about it.
    pub code: Code,
    /// For the agent's log; names nothing secret.
    pub reason: String,
    /// How long the agent shall stay away; `None`: it knows better.
    pub retry_after: Option<Duration>,
}

/// Why no link came about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The connection is gone: on the agent's side the edge's refusal is in here.
    #[error("connection lost in the handshake")]
    Closed(#[source] Closed),
    /// The control stream failed under it.
    #[error("receiving on the control stream")]
    Receive(#[source] ControlError),
    /// The control stream failed under it, or the message exceeds its bound.
    #[error("sending on the control stream")]
    Send(#[source] SendError),
    /// The peer said something other than what the handshake asks for; the connection was closed.
    #[error("peer broke the handshake: {0}")]
    Protocol(&'static str),
    /// The edge says when to come back; the connection was closed.
    #[error("sent away for {retry_after:?}: {reason}")]
    SentAway {
        /// In the edge's words.
        reason: String,
        /// How long.
        retry_after: Duration,
    },
    /// This edge refused the agent; the connection was closed.
    #[error("agent refused: {code} ({reason})", code = .0.code, reason = .0.reason)]
    Refused(Refusal),
}

/// Why nothing more comes on the control stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The stream failed.
    #[error("control stream failed")]
    Stream(#[source] RecvError),
    /// A message claims more than [`MESSAGE_BYTES_MAX`].
    #[error("control message of {0} bytes exceeds its bound")]
    TooLong(u64),
    /// A message cannot be decoded.
    #[error("decoding control message")]
    Payload(#[source] prost::DecodeError),
}

/// The edge's side: opens the control stream, hears Hello, lets `admit` judge it and answers.
///
/// The version of the Welcome is filled in here: the newest that both speak.
///
/// # Errors
/// [`HandshakeError`]; the connection is closed then.
pub async fn edge_handshake<F>(
    connection: &Connection,
    admit: F,
) -> Result<(Hello, ControlSender, ControlReceiver), HandshakeError>
where
    F: FnOnce(&Hello) -> Result<Welcome, Refusal>,
{
    let (outflow, inflow) = connection
        .open_raw()
        .await
        .map_err(HandshakeError::Closed)?;
    let mut sender = ControlSender::opening(outflow);
    // At once: the agent learns of the stream by its first byte, and speaks first on it.
    if let Err(error) = sender.flush().await {
        return Err(unsent(connection, error).await);
    }
    let mut receiver = ControlReceiver::new(inflow, Bytes::new());
    let Message::Hello(hello) = first_message(connection, &mut receiver).await? else {
        return Err(break_off(connection, "expected Hello"));
    };
    match judge(&hello, admit) {
        Ok(welcome) => {
            if let Err(error) = sender.send(Message::Welcome(welcome)).await {
                return Err(unsent(connection, error).await);
            }
        }
        Err(refusal) => {
            if let Some(retry_after) = refusal.retry_after {
                send_away(connection, &mut sender, (&refusal.reason, retry_after)).await;
            }
            connection.close(refusal.code, &refusal.reason);
            return Err(HandshakeError::Refused(refusal));
        }
    }
    Ok((hello, sender, receiver))
}

/// The agent's side: takes the control stream, says `hello` and waits for Welcome.
///
/// # Errors
/// [`HandshakeError`]; the connection is closed then.
pub async fn agent_handshake(
    connection: &Connection,
    hello: Hello,
) -> Result<(Welcome, ControlSender, ControlReceiver), HandshakeError> {
    let accepted = connection.accept().await.map_err(HandshakeError::Closed)?;
    let (kind, outflow, inflow, input) = match accepted.kind_raw().await {
        Ok(opened) => opened,
        Err(error) => return Err(lost(connection, ControlError::Stream(error)).await),
    };
    if kind != Kind::Control {
        return Err(break_off(connection, "first stream is not control"));
    }
    let mut sender = ControlSender::new(outflow);
    let mut receiver = ControlReceiver::new(inflow, input);
    let versions = hello.versions.clone();
    let said = sender.send(Message::Hello(hello)).await;
    if let Err(error) = said {
        return Err(unsent(connection, error).await);
    }
    let welcome = match first_message(connection, &mut receiver).await? {
        Message::Welcome(welcome) => welcome,
        Message::GoAway(away) => {
            connection.close(Code::Cancelled, "sent away");
            return Err(HandshakeError::SentAway {
                retry_after: Duration::from_millis(away.retry_after_ms.into()),
                reason: away.reason,
            });
        }
        _ => return Err(break_off(connection, "expected Welcome")),
    };
    if !versions.contains(&welcome.version) {
        return Err(break_off(connection, "version that was not offered"));
    }
    Ok((welcome, sender, receiver))
}

/// The newest version that both sides speak.
#[must_use]
pub fn negotiate(offered: &[u32]) -> Option<u32> {
    VERSIONS
        .iter()
        .copied()
        .find(|version| offered.contains(version))
}

fn judge<F>(hello: &Hello, admit: F) -> Result<Welcome, Refusal>
where
    F: FnOnce(&Hello) -> Result<Welcome, Refusal>,
{
    let version = negotiate(&hello.versions).ok_or_else(|| Refusal {
        code: Code::Protocol,
        reason: format!(
            "no common version: edge speaks {VERSIONS:?}, agent {:?}",
            hello.versions.iter().take(8).collect::<Vec<_>>()
        ),
        retry_after: None,
    })?;
    Ok(Welcome {
        version,
        ..admit(hello)?
    })
}

/// Says when to come back, and lets the agent read it.
async fn send_away(
    connection: &Connection,
    sender: &mut ControlSender,
    (reason, retry_after): (&str, Duration),
) {
    let words = GoAway {
        reason: reason.to_owned(),
        deadline_ms: 0,
        retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX),
    };
    let read = async {
        if sender.send(Message::GoAway(words)).await.is_ok() {
            connection.closed().await;
        }
    };
    // Who does not read it in time is told by the close.
    let _ = timeout(REFUSAL_READ_MAX, read).await;
}

async fn first_message(
    connection: &Connection,
    receiver: &mut ControlReceiver,
) -> Result<Message, HandshakeError> {
    match receiver.next().await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(break_off(connection, "control stream ended")),
        Err(error) => Err(lost(connection, error).await),
    }
}

fn break_off(connection: &Connection, what: &'static str) -> HandshakeError {
    connection.close(Code::Protocol, what);
    HandshakeError::Protocol(what)
}

async fn lost(connection: &Connection, error: ControlError) -> HandshakeError {
    if let ControlError::Stream(RecvError::ConnectionLost(closed)) = error {
        return HandshakeError::Closed(closed);
    }
    if let ControlError::Stream(RecvError::Reset(_)) = error
        && let Some(closed) = connection.last_words().await
    {
        return HandshakeError::Closed(closed);
    }
    connection.close(Code::Protocol, "control stream failed");
    HandshakeError::Receive(error)
}

async fn unsent(connection: &Connection, error: SendError) -> HandshakeError {
    if let SendError::ConnectionLost(closed) = error {
        return HandshakeError::Closed(closed);
    }
    if let SendError::Stopped(_) = error
        && let Some(closed) = connection.last_words().await
    {
        return HandshakeError::Closed(closed);
    }
    connection.close(Code::Protocol, "control stream failed");
    HandshakeError::Send(error)
}

/// Sends control messages. Dropped without [`finish`](Self::finish), the stream is reset.
#[derive(Debug)]
pub struct ControlSender {
    outflow: Outflow,
    chunks: Chunks,
}

impl ControlSender {
    fn new(outflow: Outflow) -> Self {
        Self {
            outflow,
            chunks: Chunks::default(),
        }
    }

    fn opening(outflow: Outflow) -> Self {
        let mut sender = Self::new(outflow);
        sender.chunks.push_varint(Kind::Control.number());
        sender
    }

    /// Sends one message. Cancelled after its first poll, the message goes out with the next one.
    ///
    /// # Errors
    /// [`SendError::Encode`] when the message exceeds [`MESSAGE_BYTES_MAX`]; otherwise the stream is gone.
    pub async fn send(&mut self, message: Message) -> Result<(), SendError> {
        let message = ControlMessage {
            kind: Some(message),
        };
        let length = message.encoded_len();
        let length = u32::try_from(length)
            .ok()
            .filter(|_| length <= MESSAGE_BYTES_MAX)
            .ok_or(SendError::Encode(EncodeError::TooLong {
                frame: "control message",
                bytes: length,
            }))?;
        self.chunks.push_varint(length);
        self.chunks.put_slice(&message.encode_to_vec());
        self.flush().await
    }

    /// Ends the stream in good order.
    ///
    /// # Errors
    /// The stream is gone.
    pub async fn finish(&mut self) -> Result<(), SendError> {
        self.outflow.finish_after_flush();
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), SendError> {
        self.outflow.push(self.chunks.take());
        self.outflow.flush().await
    }
}

/// Receives control messages. Dropped before the end, the peer is stopped.
#[derive(Debug)]
pub struct ControlReceiver {
    inflow: Inflow,
    buffer: BytesMut,
}

impl ControlReceiver {
    fn new(inflow: Inflow, input: Bytes) -> Self {
        Self {
            inflow,
            buffer: BytesMut::from(input),
        }
    }

    /// The next message that this side knows; `None` when the peer finished. Cancel-safe.
    ///
    /// # Errors
    /// [`ControlError`]; the stream is of no use afterwards.
    pub async fn next(&mut self) -> Result<Option<Message>, ControlError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Message>, ControlError>> {
        loop {
            match take_message(&mut self.buffer) {
                Ok(Some(message)) => return Poll::Ready(Ok(Some(message))),
                Ok(None) => {}
                Err(error) => {
                    self.inflow.stop(Code::Protocol);
                    return Poll::Ready(Err(error));
                }
            }
            match ready!(self.inflow.poll_bytes(context)).map_err(ControlError::Stream)? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None if self.buffer.is_empty() => return Poll::Ready(Ok(None)),
                None => {
                    return Poll::Ready(Err(ControlError::Stream(RecvError::Truncated)));
                }
            }
        }
    }
}

/// Takes one message from the front of `buffer`; `None` when more bytes are needed. Messages of a later version are passed over.
///
/// # Errors
/// [`ControlError::TooLong`] or [`ControlError::Payload`].
pub fn take_message(buffer: &mut BytesMut) -> Result<Option<Message>, ControlError> {
    while let Some((length, size)) = varint::decode(buffer) {
        if length > MESSAGE_BYTES_MAX as u64 {
            return Err(ControlError::TooLong(length));
        }
        let whole = size + usize::try_from(length).map_err(|_| ControlError::TooLong(length))?;
        if buffer.len() < whole {
            return Ok(None);
        }
        let mut message = buffer.split_to(whole).freeze();
        message.advance(size);
        let message = ControlMessage::decode(message).map_err(ControlError::Payload)?;
        if message.kind.is_some() {
            return Ok(message.kind);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::tunnel::Ping;

    use super::*;

    fn ping(nonce: u64) -> Message {
        Message::Ping(Ping { nonce })
    }

    fn encoded(message: Message) -> Vec<u8> {
        let message = ControlMessage {
            kind: Some(message),
        }
        .encode_to_vec();
        let mut bytes = Vec::new();
        varint::encode(u32::try_from(message.len()).unwrap(), &mut bytes);
        bytes.extend(message);
        bytes
    }

    #[test]
    fn messages_split_anywhere_come_whole() {
        let bytes = [encoded(ping(1)), encoded(ping(2))].concat();
        for cut in 0..=bytes.len() {
            let mut buffer = BytesMut::new();
            let mut messages = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                buffer.extend_from_slice(part);
                while let Some(message) = take_message(&mut buffer).unwrap() {
                    messages.push(message);
                }
            }
            assert_eq!(messages, [ping(1), ping(2)]);
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn messages_of_another_version_are_passed_over() {
        // Field 15 of the oneof, unknown today, and field 5, by which agents once told their load.
        let (later, earlier) = (b"\x03\x7a\x01x", b"\x04\x2a\x02\x08\x03");
        let bytes = [later.to_vec(), earlier.to_vec(), encoded(ping(1))].concat();
        let mut buffer = BytesMut::from(bytes.as_slice());
        assert_eq!(take_message(&mut buffer), Ok(Some(ping(1))));
    }

    #[test]
    fn long_messages_are_refused_by_their_length() {
        let mut buffer = BytesMut::from(&b"\x80\x01\x00\x01"[..]);
        assert_eq!(
            take_message(&mut buffer),
            Err(ControlError::TooLong(65_537))
        );
    }

    #[test]
    fn the_newest_common_version_wins() {
        assert_eq!(negotiate(&[9, 1]), Some(1));
        assert_eq!(negotiate(&[9]), None);
        assert_eq!(negotiate(&[]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>) {
            let mut buffer = BytesMut::from(bytes.as_slice());
            while let Ok(Some(_)) = take_message(&mut buffer) {}
        }
    }
}
