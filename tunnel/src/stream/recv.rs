//! The half of a stream that this side listens to.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
};

use bytes::Bytes;

use super::Inflow;
use crate::{
    codes::Code,
    frame::{Decoder, Direction, Frame, FrameError},
    link::Closed,
};

/// Why nothing more can be received.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// The stream ended without END or ERROR: what came is not the whole.
    #[error("stream ended before its END")]
    Truncated,
    /// The peer broke the stream off.
    #[error("peer reset the stream: {0}")]
    Reset(Code),
    /// The connection is gone.
    #[error("connection lost")]
    ConnectionLost(#[source] Closed),
    /// The peer broke the rules; it was told to stop.
    #[error("peer broke the protocol")]
    Protocol(#[source] FrameError),
    /// This side stopped the stream before.
    #[error("stream already stopped")]
    Stopped,
}

/// Receives frames.
///
/// Nothing is read ahead of what is asked for: a reader that waits holds the sender back through the transport's windows.
/// Dropped before the end, the peer is stopped with [`Code::Cancelled`].
#[derive(Debug)]
pub struct RecvHalf {
    inflow: Inflow,
    decoder: Decoder,
    input: Bytes,
    ended: Option<Result<(), RecvError>>,
}

impl RecvHalf {
    pub(crate) fn new(inflow: Inflow, direction: Direction, input: Bytes) -> Self {
        Self {
            inflow,
            decoder: Decoder::new(direction),
            input,
            ended: None,
        }
    }

    /// The next frame; DATA in the pieces in which it comes. `None` after END or ERROR and the end of the stream.
    ///
    /// Cancel-safe: a dropped future loses nothing.
    ///
    /// # Errors
    /// Every [`RecvError`]; each call after an error gives the same one.
    pub async fn next(&mut self) -> Result<Option<Frame>, RecvError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`next`](Self::next).
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame>, RecvError>> {
        if let Some(ended) = &self.ended {
            return Poll::Ready(ended.clone().map(|()| None));
        }
        let outcome = ready!(self.poll_frame(context));
        match &outcome {
            Ok(Some(_)) => {}
            Ok(None) => self.ended = Some(Ok(())),
            Err(error) => {
                self.input.clear();
                self.ended = Some(Err(error.clone()));
            }
        }
        Poll::Ready(outcome)
    }

    /// Wants no more; the peer is told why. Later calls of [`next`](Self::next) give [`RecvError::Stopped`].
    pub fn stop(&mut self, code: Code) {
        self.inflow.stop(code);
        self.input.clear();
        self.ended.get_or_insert(Err(RecvError::Stopped));
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Frame>, RecvError>> {
        loop {
            match self.decoder.decode(&mut self.input) {
                Ok(Some(frame)) => return Poll::Ready(Ok(Some(frame))),
                Ok(None) => {}
                Err(error) => {
                    self.inflow.stop(Code::Protocol);
                    return Poll::Ready(Err(RecvError::Protocol(error)));
                }
            }
            match ready!(self.inflow.poll_bytes(context)) {
                Ok(Some(bytes)) => self.input = bytes,
                // What came is whole, whatever became of the connection that brought it.
                Ok(None) | Err(RecvError::ConnectionLost(_)) if self.decoder.is_complete() => {
                    return Poll::Ready(Ok(None));
                }
                Ok(None) => return Poll::Ready(Err(RecvError::Truncated)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}
