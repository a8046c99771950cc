//! How an edge that was started again tells its peers that it knows their connections no longer (RFC 9000, section 10.3).

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use quinn::{EndpointConfig, crypto::HmacKey};
use rand::RngCore as _;

use super::settings;
use crate::steering::Worker;

/// Bytes of a [`ResetKey`].
pub const RESET_KEY_BYTES: usize = 32;

/// What the key is for; a key of another use would give other tokens.
const PURPOSE: &[u8] = b"adit stateless reset of worker";

/// At most one reset in this time from each worker: all agents of a large fabric hear it within a second or two, and a flood of
/// packets that belong to nothing is answered by less than it brings, as a reset is shorter than what it answers.
const RESET_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// The secret by which an edge ends the connections of its earlier life. Kept over restarts, peers believe it at once; new,
/// they wait for their own time-out. Whoever knows it can break connections, and nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct ResetKey([u8; RESET_KEY_BYTES]);

impl fmt::Debug for ResetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetKey(***)")
    }
}

impl ResetKey {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; RESET_KEY_BYTES];
        rand::rng().fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// One that was kept.
    #[must_use]
    pub const fn new(bytes: [u8; RESET_KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The secret itself, to be kept where only the edge can read it.
    #[must_use]
    pub const fn expose(&self) -> &[u8; RESET_KEY_BYTES] {
        &self.0
    }

    /// Settings of an endpoint that signs its resets with this key.
    pub(super) fn endpoint(&self, worker: Worker) -> EndpointConfig {
        let mut config = EndpointConfig::new(self.of(worker));
        config.min_reset_interval(RESET_INTERVAL_MIN);
        settings::take_large_packets(&mut config);
        config
    }

    /// Each worker has a key of its own: a packet that went astray to another worker would otherwise end a connection that lives
    /// (RFC 9000, section 21.11). So has each generation, as two processes may share the port.
    fn of(&self, worker: Worker) -> Arc<dyn HmacKey> {
        let key = hmac::Key::new(HMAC_SHA256, &self.0);
        let own = hmac::sign(
            &key,
            &[PURPOSE, &[worker.index(), worker.generation() as u8]].concat(),
        );
        Arc::new(hmac::Key::new(HMAC_SHA256, own.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::Generation;

    #[test]
    fn a_kept_key_signs_as_before_and_each_worker_otherwise() {
        let signed = |key: &ResetKey, index| {
            let mut signature = [0; 32];
            key.of(Worker::new(index, 2).unwrap())
                .sign(b"connection", &mut signature);
            signature
        };
        let key = ResetKey::random();
        let kept = ResetKey::new(*key.expose());
        assert_eq!(signed(&key, 0), signed(&kept, 0));
        assert_ne!(signed(&key, 0), signed(&key, 1));
        let other = Worker::new(0, 2).unwrap().of(Generation::Odd);
        let mut by_other = [0; 32];
        key.of(other).sign(b"connection", &mut by_other);
        assert_ne!(signed(&key, 0), by_other);
        assert_ne!(signed(&key, 0), signed(&ResetKey::random(), 0));
        assert_eq!(format!("{key:?}"), "ResetKey(***)");
    }
}
