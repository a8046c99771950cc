//! The half of a stream that this side speaks on.

use bytes::Bytes;
use proto::tunnel::{End, ErrorInfo, RequestHead};

use super::{Kind, Outflow};
use crate::{
    codes::Code,
    frame::{Chunks, Direction, EncodeError, Frame, Order, OrderError},
    link::Closed,
};

/// Bytes that may be queued before a flush; a queue at or above it takes nothing more. A head, trailers and a replay buffer fit.
pub const QUEUE_BYTES_MAX: usize = 256 * 1024;

/// A body of more than this is bulk and lets other streams of the connection go first.
const BULK_FROM_BYTES: u64 = 256 * 1024;

/// Why nothing more can be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The peer reads no more; what it says may still be worth reading.
    #[error("peer stopped reading: {0}")]
    Stopped(Code),
    /// The connection is gone.
    #[error("connection lost")]
    ConnectionLost(#[source] Closed),
    /// This half was ended or reset before.
    #[error("stream already closed")]
    Closed,
    /// A frame exceeds a bound; the stream is as before.
    #[error("encoding frame")]
    Encode(#[source] EncodeError),
    /// The frame may not stand here: a bug of the caller's. The stream is as before.
    #[error("frame out of order")]
    Order(#[source] OrderError),
    /// [`QUEUE_BYTES_MAX`] is reached: flush first.
    #[error("send queue is full")]
    QueueFull,
}

/// Sends frames.
///
/// Frames are queued and go out together with the next [`flush`](Self::flush), so that a small request or answer is one
/// write. END and ERROR end the stream once they are flushed. Dropped before that, the half is reset with
/// [`Code::Unspecified`].
#[derive(Debug)]
pub struct SendHalf {
    outflow: Outflow,
    chunks: Chunks,
    order: Order,
    bulk: bool,
}

impl SendHalf {
    pub(crate) fn new(outflow: Outflow, direction: Direction) -> Self {
        Self {
            outflow,
            chunks: Chunks::default(),
            order: Order::new(direction),
            bulk: false,
        }
    }

    pub(crate) fn opening(outflow: Outflow, kind: Kind) -> Self {
        let mut half = Self::new(outflow, Direction::Request);
        half.chunks.push_varint(kind.number());
        half
    }

    /// Appends `frame` to the queue. `body_bytes` of an END is filled in here.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::Encode`], [`SendError::Order`] or [`SendError::QueueFull`]; the frame was not
    /// queued then.
    pub fn queue(&mut self, frame: impl Into<Frame>) -> Result<(), SendError> {
        self.room()?;
        let mut frame = frame.into();
        if let Frame::End(end) = &mut frame {
            end.body_bytes = self.order.body_bytes();
        }
        let mut order = self.order;
        order.follow(&frame).map_err(SendError::Order)?;
        self.chunks.push(&frame).map_err(SendError::Encode)?;
        self.order = order;
        Ok(())
    }

    /// Appends a REQUEST of a head that is kept, as it may have to be sent again.
    ///
    /// # Errors
    /// As [`queue`](Self::queue).
    pub fn queue_request(&mut self, head: &RequestHead) -> Result<(), SendError> {
        self.room()?;
        let mut order = self.order;
        order.follow_request().map_err(SendError::Order)?;
        self.chunks.push_request(head).map_err(SendError::Encode)?;
        self.order = order;
        Ok(())
    }

    /// Writes what is queued, waiting as long as the peer's windows are full.
    ///
    /// Cancel-safe: what was not written stays queued, and the next flush goes on with it.
    ///
    /// # Errors
    /// [`SendError::Stopped`], [`SendError::ConnectionLost`] or [`SendError::Closed`].
    pub async fn flush(&mut self) -> Result<(), SendError> {
        self.outflow.push(self.chunks.take());
        if self.order.is_closed() {
            self.outflow.finish_after_flush();
        }
        self.yield_to_others();
        self.outflow.flush().await
    }

    /// Queues `frame` and flushes. Cancelled after its first poll, the frame stays queued.
    ///
    /// # Errors
    /// As [`queue`](Self::queue) and [`flush`](Self::flush).
    pub async fn send(&mut self, frame: impl Into<Frame>) -> Result<(), SendError> {
        self.queue(frame)?;
        self.flush().await
    }

    /// Sends part of a body; as [`send`](Self::send). An empty part sends nothing.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn data(&mut self, data: Bytes) -> Result<(), SendError> {
        self.send(Frame::Data(data)).await
    }

    /// Ends this half in good order: what is queued, END and the transport's own end go out together.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn end(&mut self, end: End) -> Result<(), SendError> {
        self.send(Frame::End(end)).await
    }

    /// Ends this half with the reason why nothing more comes.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn error(&mut self, error: ErrorInfo) -> Result<(), SendError> {
        self.send(Frame::Error(error)).await
    }

    /// Breaks this half off; what is queued or under way is dropped.
    pub fn reset(&mut self, code: Code) {
        self.chunks.clear();
        self.outflow.reset(code);
    }

    /// Waits until the peer stops reading (with its code), or has received everything to the end (`None`).
    ///
    /// The loss of the connection counts as a stop, with [`Code::Unspecified`]. The future holds no borrow and may be dropped.
    pub fn stopped(&self) -> impl Future<Output = Option<Code>> + Send + use<> {
        self.outflow.stopped()
    }

    /// Bytes of body queued or sent so far.
    #[must_use]
    pub const fn body_bytes(&self) -> u64 {
        self.order.body_bytes()
    }

    /// Whether this half was ended, reset or stopped.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.outflow.is_closed()
    }

    fn room(&self) -> Result<(), SendError> {
        if self.outflow.is_closed() {
            return Err(SendError::Closed);
        }
        if self.chunks.len() + self.outflow.waiting_bytes() >= QUEUE_BYTES_MAX {
            return Err(SendError::QueueFull);
        }
        Ok(())
    }

    fn yield_to_others(&mut self) {
        if !self.bulk && self.order.body_bytes() > BULK_FROM_BYTES {
            self.bulk = true;
            self.outflow.lower_priority();
        }
    }
}
