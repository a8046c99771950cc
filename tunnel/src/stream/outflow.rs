//! Bytes out: the transport's sending half with a queue, and a guard against its habit of ending well when dropped.

use std::collections::VecDeque;

use bytes::Bytes;
use quinn::{SendStream, StoppedError, WriteError};

use super::SendError;
use crate::{codes::Code, link::Closed};

/// Below quinn's default of 0: other streams of the connection go first.
const BULK_PRIORITY: i32 = -1;

/// Sends chunks in order. Dropped before it finished, it resets: a reader never takes half a stream for a whole one.
#[derive(Debug)]
pub(crate) struct Outflow {
    stream: SendStream,
    waiting: VecDeque<Bytes>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Finish once all that waits is written.
    Finishing,
    Closed,
}

impl Outflow {
    pub(crate) const fn new(stream: SendStream) -> Self {
        Self {
            stream,
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
            match self
                .stream
                .write_chunks(self.waiting.make_contiguous())
                .await
            {
                Ok(written) => drop(self.waiting.drain(..written.chunks)),
                Err(error) => return Err(self.fail(error)),
            }
        }
        if self.state == State::Finishing {
            self.state = State::Closed;
            // Fails only on a stream that is closed already.
            let _ = self.stream.finish();
        }
        Ok(())
    }

    pub(crate) fn reset(&mut self, code: Code) {
        self.state = State::Closed;
        self.waiting.clear();
        // Fails only when all was delivered before.
        let _ = self.stream.reset(code.to_wire());
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    pub(crate) fn lower_priority(&self) {
        // Fails only on a closed stream, which sends nothing more.
        let _ = self.stream.set_priority(BULK_PRIORITY);
    }

    pub(crate) fn stopped(&self) -> impl Future<Output = Option<Code>> + Send + use<> {
        let stopped = self.stream.stopped();
        async move {
            match stopped.await {
                Ok(code) => code.map(Code::from_wire),
                Err(StoppedError::ConnectionLost(_) | StoppedError::ZeroRttRejected) => {
                    Some(Code::Unspecified)
                }
            }
        }
    }

    fn fail(&mut self, error: WriteError) -> SendError {
        match error {
            WriteError::Stopped(code) => {
                let code = Code::from_wire(code);
                // RFC 9000, section 3.5: a stopped sender answers with a reset of the same code.
                self.reset(code);
                SendError::Stopped(code)
            }
            WriteError::ConnectionLost(error) => {
                self.state = State::Closed;
                SendError::ConnectionLost(Closed::from(error))
            }
            WriteError::ClosedStream | WriteError::ZeroRttRejected => {
                self.state = State::Closed;
                SendError::Closed
            }
        }
    }
}

impl Drop for Outflow {
    fn drop(&mut self) {
        if self.state != State::Closed {
            self.reset(Code::Unspecified);
        }
    }
}
