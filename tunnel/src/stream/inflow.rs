//! Bytes in: the transport's receiving half, read in large pieces.

use std::{
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream};

use super::RecvError;
use crate::{codes::Code, link::Closed, tcp::Reader};

/// Packets read at a time from a stream under load, 64 KiB of them. Whole bodies packet by packet would cost the HTTP side one
/// small write each.
const PACKETS_MAX: usize = 46;

/// The same for any other stream: heads and small bodies.
const PACKETS_FEW: usize = 6;

/// Receives bytes in order. Dropped before the end, it stops the sender.
#[derive(Debug)]
pub(crate) struct Inflow {
    source: Source,
    closed: bool,
}

#[derive(Debug)]
enum Source {
    Quic(Packets),
    Tcp(Reader),
}

/// A stream of QUIC.
#[derive(Debug)]
struct Packets {
    stream: RecvStream,
    /// As much waited the last time as was read.
    is_loaded: bool,
}

impl Inflow {
    pub(crate) const fn over_quic(stream: RecvStream) -> Self {
        Self {
            source: Source::Quic(Packets {
                stream,
                is_loaded: false,
            }),
            closed: false,
        }
    }

    pub(crate) const fn over_tcp(reader: Reader) -> Self {
        Self {
            source: Source::Tcp(reader),
            closed: false,
        }
    }

    /// As many bytes as wait, up to 64 KiB, or `None` at the end of the stream. Cancel-safe.
    ///
    /// Holds no buffer while it waits, so that idle streams cost nothing. What came in one packet stays in the transport's own
    /// memory.
    pub(crate) fn poll_bytes(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, RecvError>> {
        if self.closed {
            return Poll::Ready(Ok(None));
        }
        let read = match &mut self.source {
            Source::Quic(packets) => ready!(packets.poll_bytes(context)).map_err(failure),
            Source::Tcp(reader) => ready!(reader.poll_bytes(context)),
        };
        self.closed = !matches!(read, Ok(Some(_)));
        Poll::Ready(read)
    }

    pub(crate) fn stop(&mut self, code: Code) {
        self.closed = true;
        match &mut self.source {
            // Fails only when all came or the sender reset: nothing is left to stop.
            Source::Quic(packets) => drop(packets.stream.stop(code.to_wire())),
            Source::Tcp(reader) => reader.stop(code),
        }
    }
}

impl Packets {
    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        if self.is_loaded {
            self.poll_packets::<PACKETS_MAX>(context)
        } else {
            self.poll_packets::<PACKETS_FEW>(context)
        }
    }

    fn poll_packets<const MAX: usize>(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, ReadError>> {
        let mut packets = [const { Bytes::new() }; MAX];
        let count = {
            let read = pin!(self.stream.read_chunks(&mut packets));
            ready!(read.poll(context))?
        };
        let Some(count) = count else {
            return Poll::Ready(Ok(None));
        };
        self.is_loaded = count >= PACKETS_FEW;
        let packets = &mut packets[..count];
        if let [only] = packets {
            return Poll::Ready(Ok(Some(std::mem::take(only))));
        }
        let mut bytes = BytesMut::with_capacity(packets.iter().map(Bytes::len).sum());
        for packet in packets.iter() {
            bytes.extend_from_slice(packet);
        }
        Poll::Ready(Ok(Some(bytes.freeze())))
    }
}

fn failure(error: ReadError) -> RecvError {
    match error {
        ReadError::Reset(code) => RecvError::Reset(Code::from_wire(code)),
        ReadError::ConnectionLost(error) => RecvError::ConnectionLost(Closed::from(error)),
        ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
            RecvError::Stopped
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
