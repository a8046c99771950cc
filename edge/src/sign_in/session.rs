//! What a browser keeps of a sign-in.

/// Bytes of a session's id.
pub(crate) const SESSION_ID_BYTES: usize = 16;

/// One sign-in of one browser.
pub(crate) type SessionId = [u8; SESSION_ID_BYTES];
