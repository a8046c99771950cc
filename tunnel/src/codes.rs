//! Reset, stop and close codes: the only table of them.

use quinn::VarInt;

/// Why a stream was reset or stopped, or a connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Code {
    /// A handle was dropped without a word (a bug), or the peer sent a code that this side does not know.
    Unspecified = 0,
    /// Nobody waits for the outcome any more.
    Cancelled = 1,
    /// A deadline passed.
    Timeout = 2,
    /// Nothing was processed: always safe to try elsewhere.
    Refused = 3,
    /// The origin could not be reached.
    OriginConnect = 4,
    /// The origin broke off.
    OriginReset = 5,
    /// The peer broke the rules of this protocol.
    Protocol = 6,
    /// A head, body or field exceeds a bound.
    TooLarge = 7,
    /// A bug on the sender's side.
    Internal = 8,
    /// The reader has its answer and wants no more of the body; used to stop, never to reset.
    BodyNotNeeded = 9,
    /// The caller or the node lost its right.
    Revoked = 10,
    /// The node is leaving; otherwise the same as `Refused`.
    Draining = 11,
    /// The source of a body ended before its end.
    Truncated = 12,
}

impl Code {
    /// Every code, in order of its number.
    pub const ALL: [Self; 13] = [
        Self::Unspecified,
        Self::Cancelled,
        Self::Timeout,
        Self::Refused,
        Self::OriginConnect,
        Self::OriginReset,
        Self::Protocol,
        Self::TooLarge,
        Self::Internal,
        Self::BodyNotNeeded,
        Self::Revoked,
        Self::Draining,
        Self::Truncated,
    ];

    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::OriginConnect => "origin_connect",
            Self::OriginReset => "origin_reset",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::Internal => "internal",
            Self::BodyNotNeeded => "body_not_needed",
            Self::Revoked => "revoked",
            Self::Draining => "draining",
            Self::Truncated => "truncated",
        }
    }

    /// Whether the sender of this code processed nothing, so that any request may be tried elsewhere.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::Refused | Self::Draining)
    }

    pub(crate) fn to_wire(self) -> VarInt {
        VarInt::from_u32(self.into())
    }

    pub(crate) fn from_wire(code: VarInt) -> Self {
        u32::try_from(code.into_inner()).map_or(Self::Unspecified, Self::from)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Code> for u32 {
    fn from(code: Code) -> Self {
        code as Self
    }
}

impl From<u32> for Code {
    fn from(number: u32) -> Self {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        Self::ALL.get(index).copied().unwrap_or(Self::Unspecified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_its_number() {
        for (number, code) in (0..).zip(Code::ALL) {
            assert_eq!(u32::from(code), number);
            assert_eq!(Code::from(number), code);
            assert_eq!(Code::from_wire(code.to_wire()), code);
        }
    }

    #[test]
    fn unknown_codes_are_unspecified() {
        assert_eq!(Code::from(13), Code::Unspecified);
        assert_eq!(Code::from(u32::MAX), Code::Unspecified);
        assert_eq!(Code::from_wire(VarInt::MAX), Code::Unspecified);
    }
}
