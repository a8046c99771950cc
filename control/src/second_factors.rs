//! Second factors of users: what is kept of them, and the key by which it is kept.

pub mod key;
pub(crate) mod passkey;
pub(crate) mod records;
pub(crate) mod recovery;
pub(crate) mod totp;
