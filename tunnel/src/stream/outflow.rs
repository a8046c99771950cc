//! Bytes out: the transport's sending half with a queue, and a guard against its habit of ending well when dropped.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::future::Either;
use quinn::{SendStream, StoppedError, WriteError};

use super::SendError;
use crate::{codes::Code, tcp::Writer};

/// Below quinn's default of 0: other streams of the connection go first.
const BULK_PRIORITY: i32 = -1;

/// Sends chunks in order. Dropped before it finished, it resets: a reader never takes half a stream for a whole one.
#[derive(Debug)]
pub(crate) struct Outflow {
    sink: Sink,
    waiting: VecDeque<Bytes>,
    state: State,
}

#[derive(Debug)]
enum Sink {
    Quic(SendStream),
    Tcp(Writer),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Finish once all that waits is written.
    Finishing,
    Closed,
}

impl Outflow {
    pub(crate) const fn over_quic(stream: SendStream) -> Self {
        Self::new(Sink::Quic(stream))
    }

    pub(crate) const fn over_tcp(writer: Writer) -> Self {
        Self::new(Sink::Tcp(writer))
    }

    const fn new(sink: Sink) -> Self {
        Self {
            sink,
            waiting: VecDeque::new(),
            state: State::Open,
        }
    }

    pub(crate) fn push(&mut self, chunks: impl Iterator<Item = Bytes>) {
        self.waiting.extend(chunks);
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting.iter().map(Bytes::len).sum()
    }

    pub(crate) fn finish_after_flush(&mut self) {
        if self.state == State::Open {
            self.state = State::Finishing;
        }
    }

    /// Writes all that waits. Cancel-safe: what was not written waits on.
    pub(crate) async fn flush(&mut self) -> Result<(), SendError> {
        if self.state == State::Closed {
            return Err(SendError::Closed);
        }
        while !self.waiting.is_empty() {
            let written = match &mut self.sink {
                Sink::Quic(stream) => write_chunks(stream, &mut self.waiting).await,
                Sink::Tcp(writer) => writer.write(&mut self.waiting).await,
            };
            written.map_err(|error| self.fail(error))?;
        }
        if self.state == State::Finishing {
            self.state = State::Closed;
            match &mut self.sink {
                // Fails only on a stream that is closed already.
                Sink::Quic(stream) => drop(stream.finish()),
                Sink::Tcp(writer) => writer.finish(),
            }
        }
        Ok(())
    }

    pub(crate) fn reset(&mut self, code: Code) {
        self.state = State::Closed;
        self.waiting.clear();
        match &mut self.sink {
            // Fails only when all was delivered before.
            Sink::Quic(stream) => drop(stream.reset(code.to_wire())),
            Sink::Tcp(writer) => writer.reset(code),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    pub(crate) fn lower_priority(&self) {
        // HTTP/2 takes turns among its streams, a frame each.
        if let Sink::Quic(stream) = &self.sink {
            // Fails only on a closed stream, which sends nothing more.
            let _ = stream.set_priority(BULK_PRIORITY);
        }
    }

    pub(crate) fn stopped(&self) -> impl Future<Output = Option<Code>> + Send + use<> {
        match &self.sink {
            Sink::Quic(stream) => {
                let stopped = stream.stopped();
                Either::Left(async move {
                    match stopped.await {
                        Ok(code) => code.map(Code::from_wire),
                        Err(StoppedError::ConnectionLost(_) | StoppedError::ZeroRttRejected) => {
                            Some(Code::Unspecified)
                        }
                    }
                })
            }
            Sink::Tcp(writer) => Either::Right(writer.stopped()),
        }
    }

    fn fail(&mut self, error: SendError) -> SendError {
        match error {
            // RFC 9000, section 3.5: a stopped sender answers with a reset of the same code.
            SendError::Stopped(code) => self.reset(code),
            _ => self.state = State::Closed,
        }
        error
    }
}

async fn write_chunks(
    stream: &mut SendStream,
    waiting: &mut VecDeque<Bytes>,
) -> Result<(), SendError> {
    match stream.write_chunks(waiting.make_contiguous()).await {
        Ok(written) => {
            waiting.drain(..written.chunks);
            Ok(())
        }
        Err(WriteError::Stopped(code)) => Err(SendError::Stopped(Code::from_wire(code))),
        Err(WriteError::ConnectionLost(error)) => Err(SendError::ConnectionLost(error.into())),
        Err(WriteError::ClosedStream | WriteError::ZeroRttRejected) => Err(SendError::Closed),
    }
}

impl Drop for Outflow {
    fn drop(&mut self) {
        if self.state != State::Closed {
            self.reset(Code::Unspecified);
        }
    }
}
