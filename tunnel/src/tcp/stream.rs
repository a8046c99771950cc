//! One stream of HTTP/2 as two halves, of which each may go before the other.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client::ResponseFuture};
use http::StatusCode;

use super::{connection::Handle, from_wire, to_wire};
use crate::{
    codes::Code,
    link::Closed,
    stream::{RecvError, SendError},
};

/// Who of the two this side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Edge,
    Agent,
}

/// What both halves share: the sending half of HTTP/2, which alone can reset, and how far it is.
#[derive(Debug)]
pub(super) struct Stream {
    send: Mutex<SendStream<Bytes>>,
    /// This side's half has ended, or was reset.
    is_over: AtomicBool,
    side: Side,
    connection: Arc<Handle>,
}

impl Stream {
    pub(super) fn halves(
        send: SendStream<Bytes>,
        source: Source,
        side: Side,
        connection: Arc<Handle>,
    ) -> (Writer, Reader) {
        let stream = Arc::new(Self {
            send: Mutex::new(send),
            is_over: AtomicBool::new(false),
            side,
            connection,
        });
        let reader = Reader {
            stream: Arc::clone(&stream),
            source: Some(source),
        };
        (Writer { stream }, reader)
    }

    fn send(&self) -> MutexGuard<'_, SendStream<Bytes>> {
        self.send.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends this half; false if it had ended.
    fn end(&self) -> bool {
        !self.is_over.swap(true, SeqCst)
    }

    fn close_reason(&self, error: &h2::Error) -> Closed {
        let known = self.connection.close_reason();
        known.unwrap_or_else(|| super::lost(error))
    }
}

/// Bytes out.
#[derive(Debug)]
pub(crate) struct Writer {
    stream: Arc<Stream>,
}

impl Writer {
    /// Writes all of `waiting`, as windows allow. Cancel-safe: what was not written stays.
    pub(crate) async fn write(&mut self, waiting: &mut VecDeque<Bytes>) -> Result<(), SendError> {
        poll_fn(|context| self.poll_write(waiting, context)).await
    }

    fn poll_write(
        &mut self,
        waiting: &mut VecDeque<Bytes>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        if let Some(closed) = self.stream.connection.close_reason() {
            return Poll::Ready(Err(SendError::ConnectionLost(closed)));
        }
        let mut send = self.stream.send();
        while let Some(front) = waiting.front_mut() {
            send.reserve_capacity(front.len());
            let mut room = send.capacity();
            if room == 0 {
                room = match ready!(send.poll_capacity(context)) {
                    Some(Ok(room)) => room,
                    Some(Err(_)) | None => return Poll::Ready(Err(self.refused(send, context))),
                };
            }
            let piece = front.split_to(room.min(front.len()));
            if front.is_empty() {
                waiting.pop_front();
            }
            if send.send_data(piece, false).is_err() {
                return Poll::Ready(Err(self.refused(send, context)));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Why nothing more is taken.
    fn refused(
        &self,
        mut send: MutexGuard<'_, SendStream<Bytes>>,
        context: &mut Context<'_>,
    ) -> SendError {
        match send.poll_reset(context) {
            Poll::Ready(Ok(reason)) => SendError::Stopped(from_wire(reason)),
            Poll::Ready(Err(error)) => SendError::ConnectionLost(self.stream.close_reason(&error)),
            Poll::Pending => SendError::Closed,
        }
    }

    /// Ends this half in good order, behind what was written.
    pub(crate) fn finish(&mut self) {
        if self.stream.end() {
            // Fails only when the stream is over already.
            let _ = self.stream.send().send_data(Bytes::new(), true);
        }
    }

    /// Breaks this half off.
    pub(crate) fn reset(&mut self, code: Code) {
        if !self.stream.end() {
            return;
        }
        let mut send = self.stream.send();
        if code == Code::Truncated {
            // As above. What comes back may still be worth reading, and a reset would end it too.
            let _ = send.send_data(Bytes::new(), true);
        } else {
            send.send_reset(to_wire(code));
        }
    }

    /// Ends when the other side resets the stream, or with `None` when this half has ended: there is nothing to tell whether it
    /// arrived.
    pub(crate) fn stopped(&self) -> impl Future<Output = Option<Code>> + Send + use<> {
        let stream = Arc::clone(&self.stream);
        poll_fn(move |context| {
            let reset = stream.send().poll_reset(context);
            match reset {
                Poll::Ready(Ok(reason)) => Poll::Ready(Some(from_wire(reason))),
                Poll::Ready(Err(_)) => Poll::Ready(Some(Code::Unspecified)),
                Poll::Pending if stream.is_over.load(SeqCst) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
    }
}

/// Where bytes come from: at the edge, once HTTP/2's own answer is here.
#[derive(Debug)]
pub(super) enum Source {
    Head(ResponseFuture),
    Body(RecvStream),
}

impl Source {
    /// The next bytes, which the other side may replace at once; `None` at the end.
    pub(super) fn poll_data(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, h2::Error>> {
        loop {
            match self {
                Self::Head(response) => {
                    let response = ready!(Pin::new(response).poll(context))?;
                    if response.status() != StatusCode::OK {
                        return Poll::Ready(Err(Reason::PROTOCOL_ERROR.into()));
                    }
                    *self = Self::Body(response.into_body());
                }
                Self::Body(body) => {
                    let Some(bytes) = ready!(body.poll_data(context)).transpose()? else {
                        return Poll::Ready(Ok(None));
                    };
                    body.flow_control().release_capacity(bytes.len())?;
                    if !bytes.is_empty() {
                        return Poll::Ready(Ok(Some(bytes)));
                    }
                }
            }
        }
    }
}

/// Bytes in.
#[derive(Debug)]
pub(crate) struct Reader {
    stream: Arc<Stream>,
    /// None once it was stopped.
    source: Option<Source>,
}

impl Reader {
    /// The next bytes, as they came; `None` at the end.
    pub(crate) fn poll_bytes(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, RecvError>> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(Err(RecvError::Stopped));
        };
        let read = ready!(source.poll_data(context));
        Poll::Ready(read.or_else(|error| self.judge(&error)))
    }

    fn judge(&self, error: &h2::Error) -> Result<Option<Bytes>, RecvError> {
        if error.is_io() || error.is_go_away() {
            return Err(RecvError::ConnectionLost(self.stream.close_reason(error)));
        }
        match error.reason() {
            // The other side wants no more, and has nothing more to say: frames tell whether it was all.
            Some(Reason::NO_ERROR) => Ok(None),
            Some(reason) if error.is_remote() => Err(RecvError::Reset(from_wire(reason))),
            Some(_) if error.is_reset() && !error.is_library() => Err(RecvError::Stopped),
            Some(_) | None => Err(RecvError::Reset(Code::Protocol)),
        }
    }

    /// Wants no more.
    pub(crate) fn stop(&mut self, code: Code) {
        let Some(source) = self.source.take() else {
            return;
        };
        match self.stream.side {
            // Nobody asks who does not want to hear the answer.
            Side::Edge => {
                self.stream.is_over.store(true, SeqCst);
                self.stream.send().send_reset(to_wire(code));
            }
            // Once both halves are dropped, HTTP/2 says NO_ERROR behind what was written.
            Side::Agent if self.stream.is_over.load(SeqCst) => {}
            Side::Agent => {
                let stream = Arc::clone(&self.stream);
                self.stream.connection.discard(Discard { stream, source });
            }
        }
    }
}

/// What comes on a stream whose reader is gone: thrown away, so that it takes no room from others.
#[derive(Debug)]
pub(super) struct Discard {
    stream: Arc<Stream>,
    source: Source,
}

impl Discard {
    /// Whether there is nothing more to throw away.
    pub(super) fn is_done(&mut self, context: &mut Context<'_>) -> bool {
        while !self.stream.is_over.load(SeqCst) {
            match self.source.poll_data(context) {
                Poll::Ready(Ok(Some(_))) => {}
                Poll::Ready(Ok(None) | Err(_)) => return true,
                Poll::Pending => return false,
            }
        }
        true
    }
}
