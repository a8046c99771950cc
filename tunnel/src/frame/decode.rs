//! Bytes to frames.

use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message;
use proto::tunnel::{End, ErrorInfo, RequestHead, ResponseHead};

use super::{Direction, Frame, Order, OrderError, SKIPPABLE_FROM, Type, UNKNOWN_BYTES_MAX};
use crate::{
    fields::{self, FieldError},
    varint,
};

/// Type and length at their longest.
const HEADER_BYTES_MAX: usize = 2 * varint::SIZE_MAX;

/// What is wrong with the bytes of a stream. The stream is of no use afterwards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A type below [`SKIPPABLE_FROM`] that this side does not know.
    #[error("unknown frame type {0:#x}")]
    UnknownType(u64),
    /// A payload exceeds the bound of its type.
    #[error("{frame} of {bytes} bytes exceeds its bound")]
    TooLong {
        /// Name of the frame.
        frame: &'static str,
        /// The length it claims.
        bytes: u64,
    },
    /// DATA without a byte.
    #[error("empty DATA")]
    EmptyData,
    /// A payload is no message of its type.
    #[error("decoding the payload of {frame}")]
    Payload {
        /// Name of the frame.
        frame: &'static str,
        /// What the payload lacks.
        #[source]
        source: prost::DecodeError,
    },
    /// Trailers are no field block.
    #[error("decoding trailers")]
    Trailers(#[source] FieldError),
    /// A frame stands where it must not.
    #[error("frame out of order")]
    Order(#[source] OrderError),
    /// The stream's first number is no kind of stream.
    #[error("unknown kind of stream {0}")]
    UnknownKind(u64),
}

/// Decodes one direction of a stream, after its preamble.
#[derive(Debug)]
pub struct Decoder {
    order: Order,
    state: State,
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    /// Payload that came in several inputs; grows with what came, not with what was claimed.
    payload: BytesMut,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Data { remaining: usize },
    Payload { kind: Type, length: usize },
    Skip { remaining: usize },
}

impl Decoder {
    /// Decodes what the given side says.
    #[must_use]
    pub fn new(direction: Direction) -> Self {
        Self {
            order: Order::new(direction),
            state: State::Header,
            header: [0; HEADER_BYTES_MAX],
            header_bytes: 0,
            payload: BytesMut::new(),
        }
    }

    /// Takes bytes from the front of `input` until a frame is complete; `None` once `input` is empty and more is needed.
    ///
    /// DATA is handed on in the pieces in which it comes.
    ///
    /// # Errors
    /// The peer broke the protocol; stop here.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Frame>, FrameError> {
        loop {
            match self.state {
                State::Header => match self.take_header(input) {
                    Some((number, length)) => self.state = begin(number, length)?,
                    None => return Ok(None),
                },
                State::Skip { remaining } => {
                    let skipped = remaining.min(input.len());
                    input.advance(skipped);
                    if skipped < remaining {
                        let remaining = remaining - skipped;
                        self.state = State::Skip { remaining };
                        return Ok(None);
                    }
                    self.state = State::Header;
                }
                State::Data { .. } if input.is_empty() => return Ok(None),
                State::Data { remaining } => {
                    let piece = input.split_to(remaining.min(input.len()));
                    self.state = match remaining - piece.len() {
                        0 => State::Header,
                        remaining => State::Data { remaining },
                    };
                    return self.ordered(Frame::Data(piece));
                }
                State::Payload { kind, length } => {
                    let Some(payload) = self.take_payload(input, length) else {
                        return Ok(None);
                    };
                    self.state = State::Header;
                    return self.ordered(parse(kind, payload)?);
                }
            }
        }
    }

    /// Whether the stream may end here: END or ERROR came and nothing after it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.order.is_closed() && self.header_bytes == 0 && matches!(self.state, State::Header)
    }

    fn take_header(&mut self, input: &mut Bytes) -> Option<(u64, u64)> {
        while input.has_remaining() {
            self.header[self.header_bytes] = input.get_u8();
            self.header_bytes += 1;
            if let Some(header) = split_header(&self.header[..self.header_bytes]) {
                self.header_bytes = 0;
                return Some(header);
            }
        }
        None
    }

    fn take_payload(&mut self, input: &mut Bytes, length: usize) -> Option<Bytes> {
        if self.payload.is_empty() && input.len() >= length {
            return Some(input.split_to(length));
        }
        let missing = length - self.payload.len();
        let part = input.split_to(missing.min(input.len()));
        self.payload.extend_from_slice(&part);
        (self.payload.len() == length).then(|| std::mem::take(&mut self.payload).freeze())
    }

    fn ordered(&mut self, frame: Frame) -> Result<Option<Frame>, FrameError> {
        self.order.follow(&frame).map_err(FrameError::Order)?;
        Ok(Some(frame))
    }
}

/// Decodes `bytes` at once, as one direction of a stream after its preamble. A rest that is no whole frame is left out.
///
/// # Errors
/// As [`Decoder::decode`].
pub fn decode_all(direction: Direction, bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = Decoder::new(direction);
    let mut input = Bytes::copy_from_slice(bytes);
    std::iter::from_fn(|| decoder.decode(&mut input).transpose()).collect()
}

fn split_header(bytes: &[u8]) -> Option<(u64, u64)> {
    let (number, size) = varint::decode(bytes)?;
    let (length, _) = varint::decode(&bytes[size..])?;
    Some((number, length))
}

fn begin(number: u64, length: u64) -> Result<State, FrameError> {
    let Some(kind) = Type::from_number(number) else {
        if number < SKIPPABLE_FROM {
            return Err(FrameError::UnknownType(number));
        }
        let remaining = bounded("unknown frame", length, UNKNOWN_BYTES_MAX)?;
        return Ok(State::Skip { remaining });
    };
    let length = bounded(kind.name(), length, kind.bytes_max())?;
    match kind {
        Type::Data if length == 0 => Err(FrameError::EmptyData),
        Type::Data => Ok(State::Data { remaining: length }),
        Type::Request
        | Type::Response
        | Type::Trailers
        | Type::End
        | Type::Error
        | Type::Continue => Ok(State::Payload { kind, length }),
    }
}

fn bounded(frame: &'static str, bytes: u64, bytes_max: u32) -> Result<usize, FrameError> {
    usize::try_from(bytes)
        .ok()
        .filter(|_| bytes <= u64::from(bytes_max))
        .ok_or(FrameError::TooLong { frame, bytes })
}

fn parse(kind: Type, payload: Bytes) -> Result<Frame, FrameError> {
    Ok(match kind {
        Type::Data => Frame::Data(payload),
        Type::Request => Frame::Request(message::<Box<RequestHead>>(kind, payload)?),
        Type::Response => Frame::Response(message::<ResponseHead>(kind, payload)?),
        Type::Trailers => Frame::Trailers(fields::decode(payload).map_err(FrameError::Trailers)?),
        Type::End => Frame::End(message::<End>(kind, payload)?),
        Type::Error => Frame::Error(message::<ErrorInfo>(kind, payload)?),
        Type::Continue => Frame::Continue,
    })
}

fn message<M: Message + Default>(kind: Type, payload: Bytes) -> Result<M, FrameError> {
    M::decode(payload).map_err(|source| FrameError::Payload {
        frame: kind.name(),
        source,
    })
}
