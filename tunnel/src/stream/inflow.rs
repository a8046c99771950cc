//! Bytes in: the transport's receiving half, read in large pieces.

use std::{
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream};

use super::RecvError;
use crate::{codes::Code, link::Closed};

/// The buffer of a stream under load. Whole bodies packet by packet would cost the HTTP side one small write each.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// The buffer of a stream that fills less than this at a time: a head that lives long then pins little.
const BUFFER_BYTES_MIN: usize = 8 * 1024;

/// A packet with less than this is taken to be the last that waits: the smallest MTU leaves about 1,150 bytes.
const PACKET_BYTES_FULL: usize = 1024;

/// Receives bytes in order. Dropped before the end, it stops the sender.
#[derive(Debug)]
pub(crate) struct Inflow {
    stream: RecvStream,
    buffer_bytes: usize,
    closed: bool,
}

impl Inflow {
    pub(crate) const fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            buffer_bytes: BUFFER_BYTES_MIN,
            closed: false,
        }
    }

    /// As many bytes as wait, up to 64 KiB, or `None` at the end of the stream. Cancel-safe.
    ///
    /// Holds no buffer while it waits, so that idle streams cost nothing: the first packet comes in the transport's own
    /// memory, and only when it is full is a buffer made and filled with what else is there.
    pub(crate) fn poll_bytes(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, RecvError>> {
        if self.closed {
            return Poll::Ready(Ok(None));
        }
        let read = {
            let read = pin!(self.stream.read_chunk(BUFFER_BYTES_MIN, true));
            ready!(read.poll(context))
        };
        let Some(chunk) = read.map_err(|error| self.fail(error))? else {
            self.closed = true;
            return Poll::Ready(Ok(None));
        };
        if chunk.bytes.len() < PACKET_BYTES_FULL {
            return Poll::Ready(Ok(Some(chunk.bytes)));
        }
        Poll::Ready(self.read_on(&chunk.bytes, context).map(Some))
    }

    pub(crate) fn stop(&mut self, code: Code) {
        self.closed = true;
        // Fails only when all came or the sender reset: nothing is left to stop.
        let _ = self.stream.stop(code.to_wire());
    }

    fn read_on(&mut self, first: &[u8], context: &mut Context<'_>) -> Result<Bytes, RecvError> {
        let mut buffer = BytesMut::zeroed(self.buffer_bytes);
        let (front, rest) = buffer.split_at_mut(first.len());
        front.copy_from_slice(first);
        let more = match self.stream.poll_read(context, rest) {
            Poll::Ready(Ok(more)) => more,
            Poll::Ready(Err(error)) => return Err(self.fail(error)),
            Poll::Pending => 0,
        };
        let filled = first.len() + more;
        self.buffer_bytes = if filled < BUFFER_BYTES_MIN {
            BUFFER_BYTES_MIN
        } else {
            BUFFER_BYTES_MAX
        };
        buffer.truncate(filled);
        Ok(buffer.freeze())
    }

    fn fail(&mut self, error: ReadError) -> RecvError {
        self.closed = true;
        match error {
            ReadError::Reset(code) => RecvError::Reset(Code::from_wire(code)),
            ReadError::ConnectionLost(error) => RecvError::ConnectionLost(Closed::from(error)),
            ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => RecvError::Stopped,
        }
    }
}

impl Drop for Inflow {
    fn drop(&mut self) {
        if !self.closed {
            self.stop(Code::Cancelled);
        }
    }
}
