//! Error codes of HTTP/3 (RFC 9114, section 8.1) and QPACK (RFC 9204, section 6).

use quinn::VarInt;

/// Why a stream or a connection is broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// No error: nothing more is needed.
    None,
    /// Something of ours failed.
    Internal,
    /// A stream of a kind that the user may not open, or not again.
    StreamCreation,
    /// A stream that the connection needs was closed.
    ClosedCriticalStream,
    /// A frame where it must not be.
    FrameUnexpected,
    /// A frame that is cut, or breaks its own rules.
    Frame,
    /// The user makes more work than a user does.
    ExcessiveLoad,
    /// Settings that contradict themselves.
    Settings,
    /// The first frame of the control stream was no SETTINGS.
    MissingSettings,
    /// Nothing of the request was processed.
    RequestRejected,
    /// The answer is not finished.
    RequestCancelled,
    /// The request ended before its head did.
    RequestIncomplete,
    /// The request breaks HTTP.
    Message,
    /// A field section cannot be decoded.
    Decompression,
    /// The dynamic table was used, which has no room.
    EncoderStream,
}

impl Code {
    pub(super) const fn to_wire(self) -> VarInt {
        VarInt::from_u32(match self {
            Self::None => 0x100,
            Self::Internal => 0x102,
            Self::StreamCreation => 0x103,
            Self::ClosedCriticalStream => 0x104,
            Self::FrameUnexpected => 0x105,
            Self::Frame => 0x106,
            Self::ExcessiveLoad => 0x107,
            Self::Settings => 0x109,
            Self::MissingSettings => 0x10a,
            Self::RequestRejected => 0x10b,
            Self::RequestCancelled => 0x10c,
            Self::RequestIncomplete => 0x10d,
            Self::Message => 0x10e,
            Self::Decompression => 0x200,
            Self::EncoderStream => 0x201,
        })
    }
}
