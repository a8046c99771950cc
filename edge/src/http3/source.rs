//! The receiving half of a stream, in large pieces.

use std::{
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use quinn::{ReadError, RecvStream};

use super::code::Code;

/// Read at once of a stream under load. Packet by packet would cost the way to the agent one small write each.
const READ_BYTES: usize = 64 * 1024;

/// A packet with less than this is taken to be the last that waits: the smallest MTU leaves about 1,150 bytes.
const PACKET_BYTES_FULL: usize = 1024;

/// What came and was not taken yet, and what is still to come. Dropped before its end, the user is told that no more is needed.
#[derive(Debug)]
pub(super) struct Source {
    stream: RecvStream,
    waiting: BytesMut,
    ended: bool,
    /// How the stream broke off. Kept, because quinn tells of a reset once, and of an end from then on.
    broken: Option<SourceError>,
}

/// Why nothing more comes.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// The user broke the stream off.
    #[error("stream was reset")]
    Reset,
    /// The connection is gone.
    #[error("connection is lost")]
    Lost(#[source] quinn::ConnectionError),
}

impl Source {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            waiting: BytesMut::new(),
            ended: false,
            broken: None,
        }
    }

    /// Bytes that wait to be taken.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.waiting
    }

    /// Whether nothing follows what waits.
    pub(super) const fn is_ended(&self) -> bool {
        self.ended
    }

    /// Takes the first `bytes` of what waits.
    pub(super) fn take(&mut self, bytes: usize) -> Bytes {
        self.waiting.split_to(bytes).freeze()
    }

    /// Drops the first `bytes` of what waits.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.waiting.advance(bytes);
    }

    /// Waits for more, or for the end of the stream. Cancel-safe; a stream that broke off says so each time.
    pub(super) fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SourceError>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = &self.broken {
            return Poll::Ready(Err(error.clone()));
        }
        let read = {
            let read = pin!(self.stream.read_chunk(READ_BYTES, true));
            ready!(read.poll(context))
        };
        let Some(chunk) = read.map_err(|error| self.fail(error))? else {
            self.ended = true;
            return Poll::Ready(Ok(()));
        };
        self.waiting.extend_from_slice(&chunk.bytes);
        if chunk.bytes.len() < PACKET_BYTES_FULL {
            return Poll::Ready(Ok(()));
        }
        let filled = self.waiting.len();
        self.waiting.resize(filled + READ_BYTES, 0);
        let read = self.stream.poll_read(context, &mut self.waiting[filled..]);
        let more = match read {
            Poll::Ready(Ok(more)) => more,
            Poll::Ready(Err(error)) => {
                // Told at the next call, behind what came.
                self.fail(error);
                0
            }
            Poll::Pending => 0,
        };
        self.waiting.truncate(filled + more);
        Poll::Ready(Ok(()))
    }

    /// As [`Self::poll_more`].
    pub(super) async fn more(&mut self) -> Result<(), SourceError> {
        std::future::poll_fn(|context| self.poll_more(context)).await
    }

    /// Asks the user to send no more.
    pub(super) fn stop(&mut self, code: Code) {
        self.ended = true;
        // Fails only when all came or the user reset: nothing is left to stop.
        let _ = self.stream.stop(code.to_wire());
    }

    fn fail(&mut self, error: ReadError) -> SourceError {
        let error = match error {
            ReadError::ConnectionLost(error) => SourceError::Lost(error),
            ReadError::Reset(_)
            | ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => SourceError::Reset,
        };
        self.broken.insert(error).clone()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if !self.ended {
            self.stop(Code::None);
        }
    }
}
