//! Bytes in: the transport's receiving half, read in large pieces.

use std::{
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream};

use super::RecvError;
use crate::{codes::Code, link::Closed, tcp::Reader};

/// Read at a time from a stream under load. Whole bodies packet by packet would cost the HTTP side one small write each.
const PIECE_BYTES: usize = 64 * 1024;

/// As many packets, where the path has room for none larger than those of Ethernet.
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
    /// Read the next time, if as many wait.
    most: usize,
}

impl Inflow {
    pub(crate) const fn over_quic(stream: RecvStream) -> Self {
        Self {
            source: Source::Quic(Packets {
                stream,
                most: PACKETS_FEW,
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

    /// As many bytes as wait, or `None` at the end of the stream. Cancel-safe.
    ///
    /// About 64 KiB, by the size of the packets before: large ones after many small ones can be more once, and never more than the
    /// stream's window.
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
        // Room for few is made sooner.
        if self.most > PACKETS_FEW {
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
            let read = pin!(self.stream.read_chunks(&mut packets[..self.most]));
            ready!(read.poll(context))?
        };
        let Some(count) = count else {
            return Poll::Ready(Ok(None));
        };
        let packets = &mut packets[..count];
        let length = packets.iter().map(Bytes::len).sum();
        self.most = packets_of_a_piece(count, length);
        if let [only] = packets {
            return Poll::Ready(Ok(Some(std::mem::take(only))));
        }
        let mut bytes = BytesMut::with_capacity(length);
        for packet in packets.iter() {
            bytes.extend_from_slice(packet);
        }
        Poll::Ready(Ok(Some(bytes.freeze())))
    }
}

/// How many packets to read next, by those that were read last.
fn packets_of_a_piece(count: usize, length: usize) -> usize {
    if count < PACKETS_FEW {
        return PACKETS_FEW;
    }
    let of_this_size = PIECE_BYTES.saturating_mul(count) / length.max(1);
    of_this_size.clamp(PACKETS_FEW, PACKETS_MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_has_64_kib_whatever_the_size_of_packets() {
        for (count, packet_bytes, want) in [
            (1, 1_400, PACKETS_FEW),
            (PACKETS_FEW - 1, 1_400, PACKETS_FEW),
            (PACKETS_FEW, 1_424, 46),
            (46, 1_424, 46),
            (PACKETS_FEW, 6_400, 10),
            (10, 6_400, 10),
            (PACKETS_FEW, 64 * 1024, PACKETS_FEW),
            (46, 1, 46),
            (46, 0, 46),
        ] {
            assert_eq!(packets_of_a_piece(count, count * packet_bytes), want);
        }
    }
}
