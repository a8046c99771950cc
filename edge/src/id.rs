//! Ids of requests.

use std::fmt;

use bytes::Bytes;

/// Names one request in the user's error page, the access log and the origin's `X-Request-Id`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RequestId([u8; 16]);

impl RequestId {
    /// A new one; 128 random bits do not repeat.
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    #[cfg(test)]
    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// 32 hex digits.
    pub(crate) fn digits(self) -> Digits {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 32];
        for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(self.0) {
            *pair = [
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ];
        }
        Digits(digits)
    }

    /// As the tunnel carries it.
    pub(crate) fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits().as_str())
    }
}

/// The id as text.
pub(crate) struct Digits([u8; 32]);

impl Digits {
    pub(crate) fn as_str(&self) -> &str {
        // Digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_shows_as_32_hex_digits() {
        assert_eq!(RequestId::from_bytes([1; 16]).to_string(), "01".repeat(16));
        assert_eq!(
            RequestId::from_bytes([0xaf; 16]).to_string(),
            "af".repeat(16)
        );
        assert_ne!(RequestId::random(), RequestId::random());
    }
}
