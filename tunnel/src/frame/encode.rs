//! Frames to bytes.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;
use proto::tunnel::RequestHead;

use super::{DATA_BYTES_MAX, Frame, Type};
use crate::{
    fields::{self, FieldError},
    varint,
};

/// DATA up to this size is copied behind its header: cheaper than one more chunk through the transport's queue.
const INLINE_BYTES_MAX: usize = 1024;

/// Type and length at their longest, as this side writes them: types below 0x40, lengths below 2^30.
const HEADER_BYTES_MAX: usize = 1 + 4;

/// What a usual END takes, timings included.
const END_BYTES: usize = 32;

/// Why a frame cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The payload exceeds the bound of its type.
    #[error("{frame} of {bytes} bytes exceeds its bound")]
    TooLong {
        /// Name of the frame.
        frame: &'static str,
        /// Size of its payload.
        bytes: usize,
    },
    /// The trailers exceed a bound, or a name in them is none.
    #[error("encoding trailers")]
    Trailers(#[source] FieldError),
}

/// Encoded frames, as chunks to be written in order.
#[derive(Debug, Default)]
pub struct Chunks {
    chunks: Vec<Bytes>,
    tail: BytesMut,
    bytes: usize,
}

impl Chunks {
    /// Appends `frame`. DATA above 64 KiB becomes several frames, empty DATA none.
    ///
    /// # Errors
    /// The payload exceeds its bound; nothing was appended then.
    pub fn push(&mut self, frame: &Frame) -> Result<(), EncodeError> {
        match frame {
            Frame::Data(data) => {
                self.push_data(data.clone());
                Ok(())
            }
            Frame::Request(head) => self.push_request(head),
            Frame::Response(head) => self.push_message(Type::Response, head),
            Frame::End(end) => self.push_message(Type::End, end),
            Frame::Error(error) => self.push_message(Type::Error, error),
            Frame::Trailers(trailers) => {
                let block = fields::encode(trailers).map_err(EncodeError::Trailers)?;
                self.push_header(frame.kind(), block.len())?;
                self.put_slice(&block);
                Ok(())
            }
            Frame::Continue => self.push_header(frame.kind(), 0),
        }
    }

    /// Appends a REQUEST of a head that is kept.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_request(&mut self, head: &RequestHead) -> Result<(), EncodeError> {
        self.push_message(Type::Request, head)
    }

    /// Appends a bare number: the preamble of a stream, the length of a control message.
    pub(crate) fn push_varint(&mut self, number: u32) {
        varint::encode(number, &mut self.tail);
        self.bytes += varint::size(number);
    }

    /// Appends bytes as they are.
    pub(crate) fn put_slice(&mut self, bytes: &[u8]) {
        self.tail.put_slice(bytes);
        self.bytes += bytes.len();
    }

    /// Bytes waiting.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes all that waits, in order.
    pub fn take(&mut self) -> impl Iterator<Item = Bytes> + '_ {
        self.bytes = 0;
        self.seal_tail();
        self.chunks.drain(..)
    }

    fn push_data(&mut self, mut data: Bytes) {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(DATA_BYTES_MAX as usize));
            self.push_piece(piece);
        }
    }

    fn push_piece(&mut self, piece: Bytes) {
        self.push_varint(Type::Data.number());
        self.push_varint(u32::try_from(piece.len()).unwrap_or(DATA_BYTES_MAX));
        if piece.len() <= INLINE_BYTES_MAX {
            self.put_slice(&piece);
            return;
        }
        self.seal_tail();
        self.bytes += piece.len();
        self.chunks.push(piece);
    }

    fn push_message(&mut self, kind: Type, message: &impl Message) -> Result<(), EncodeError> {
        let length = message.encoded_len();
        // Once for all of it, as a message is written in many small parts, and for what rides in the same write.
        let behind = match kind {
            Type::Response => HEADER_BYTES_MAX + INLINE_BYTES_MAX + END_BYTES,
            Type::Request => END_BYTES,
            Type::Data | Type::Trailers | Type::End | Type::Error | Type::Continue => 0,
        };
        let bytes = HEADER_BYTES_MAX.saturating_add(length);
        self.tail.reserve(bytes.saturating_add(behind));
        self.push_header(kind, length)?;
        self.bytes += length;
        message.encode_raw(&mut self.tail);
        Ok(())
    }

    fn push_header(&mut self, kind: Type, bytes: usize) -> Result<(), EncodeError> {
        let length = u32::try_from(bytes)
            .ok()
            .filter(|length| *length <= kind.bytes_max())
            .ok_or_else(|| EncodeError::TooLong {
                frame: kind.name(),
                bytes,
            })?;
        self.push_varint(kind.number());
        self.push_varint(length);
        Ok(())
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push(self.tail.split().freeze());
        }
    }
}
