//! Users sign in at the fabric.

pub(crate) mod revocations;
mod session;

pub use revocations::RevocationError;
