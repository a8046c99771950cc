//! How an edge that was restarted tells agents that their connections are gone (RFC 9000, section 10.3).
//!
//! Each connection ID that an edge issues comes with a token, which only the edge can make. A packet for a connection that it
//! does not know is answered with the token: the agent then dials again at once instead of after its idle time-out. An edge
//! that comes back can do so only if its key is the same as before.

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use quinn::crypto::HmacKey;

/// What is signed with a node's secret, so that the key is of no use elsewhere.
const PURPOSE: &[u8] = b"adit stateless reset";

/// Resets that one worker sends are at least so far apart: thousands of agents hear of a restart within seconds, and a flood of
/// packets that belong to nobody is answered by less than it sent.
pub(super) const INTERVAL: Duration = Duration::from_millis(1);

/// Makes the tokens of one edge.
#[derive(Clone)]
pub struct ResetKey(Arc<dyn HmacKey>);

impl ResetKey {
    /// The key that follows from a secret, which is not told by it.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        let key = hmac::sign(&hmac::Key::new(HMAC_SHA256, secret), PURPOSE);
        Self(Arc::new(hmac::Key::new(HMAC_SHA256, key.as_ref())))
    }

    /// A key that nobody has again.
    #[must_use]
    pub fn random() -> Self {
        Self::of(&rand::random::<[u8; 32]>())
    }

    pub(super) fn inner(&self) -> Arc<dyn HmacKey> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for ResetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetKey(***)")
    }
}
