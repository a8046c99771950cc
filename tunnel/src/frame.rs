//! Frames: `varint type, varint length, payload`. No I/O here.
//!
//! [`Decoder`] takes bytes as they come, split anywhere, and gives frames; [`Chunks`] takes frames and gives bytes. Both
//! leave the payload of DATA where it is. [`Order`] says which frame may follow which.

mod decode;
mod encode;
mod order;

use bytes::Bytes;
use http::HeaderMap;
use proto::tunnel::{End, ErrorInfo, RequestHead, ResponseHead};

pub use decode::{Decoder, FrameError, decode_all};
pub use encode::{Chunks, EncodeError};
pub use order::{Direction, INFORMATIONAL_MAX, Order, OrderError};

/// Payload of one DATA frame; longer bodies are split. One read of the transport gives about as much.
pub const DATA_BYTES_MAX: u32 = 64 * 1024;

/// Payload of one REQUEST, RESPONSE or TRAILERS.
pub const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// Payload of one END or ERROR: a few numbers and at most 512 bytes of detail, with room to grow.
pub const CLOSING_BYTES_MAX: u32 = 4 * 1024;

/// Payload of a frame that this side does not know and skips.
pub const UNKNOWN_BYTES_MAX: u32 = 64 * 1024;

/// From here on, types that a peer does not know are skipped; below, they break the protocol.
pub const SKIPPABLE_FROM: u64 = 0x40;

/// One frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// Part of the body, or of the raw byte stream after an upgrade.
    Data(Bytes),
    /// Opens the direction edge to agent.
    Request(Box<RequestHead>),
    /// Any number of 1xx, then one final.
    Response(ResponseHead),
    /// After the last DATA, at most once.
    Trailers(HeaderMap),
    /// All was said, in good order.
    End(End),
    /// Nothing more comes, and this is why.
    Error(ErrorInfo),
    /// The agent asks for the body.
    Continue,
}

impl Frame {
    /// The type's name, for logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.kind().name()
    }

    const fn kind(&self) -> Type {
        match self {
            Self::Data(_) => Type::Data,
            Self::Request(_) => Type::Request,
            Self::Response(_) => Type::Response,
            Self::Trailers(_) => Type::Trailers,
            Self::End(_) => Type::End,
            Self::Error(_) => Type::Error,
            Self::Continue => Type::Continue,
        }
    }
}

impl From<RequestHead> for Frame {
    fn from(head: RequestHead) -> Self {
        Self::Request(Box::new(head))
    }
}

impl From<ResponseHead> for Frame {
    fn from(head: ResponseHead) -> Self {
        Self::Response(head)
    }
}

/// The known types by their number. 0x07 (CREDIT) is reserved and not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Data = 0x00,
    Request = 0x01,
    Response = 0x02,
    Trailers = 0x03,
    End = 0x04,
    Error = 0x05,
    Continue = 0x06,
}

impl Type {
    const fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0x00 => Self::Data,
            0x01 => Self::Request,
            0x02 => Self::Response,
            0x03 => Self::Trailers,
            0x04 => Self::End,
            0x05 => Self::Error,
            0x06 => Self::Continue,
            _ => return None,
        })
    }

    const fn number(self) -> u32 {
        self as u32
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Data => "DATA",
            Self::Request => "REQUEST",
            Self::Response => "RESPONSE",
            Self::Trailers => "TRAILERS",
            Self::End => "END",
            Self::Error => "ERROR",
            Self::Continue => "CONTINUE",
        }
    }

    const fn bytes_max(self) -> u32 {
        match self {
            Self::Data => DATA_BYTES_MAX,
            Self::Request | Self::Response | Self::Trailers => HEAD_BYTES_MAX,
            Self::End | Self::Error => CLOSING_BYTES_MAX,
            Self::Continue => 0,
        }
    }
}

#[cfg(test)]
mod tests;
