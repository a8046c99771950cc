//! Refused attempts, by address: guessing tokens is hopeless, and whoever tries is told no more after a while.
//!
//! The bar is for attempts that fail. It never holds up a good token, which may come from the same address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long refused attempts count, and an address waits at the most.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);
/// Networks that are remembered; about 1 MB.
const NETWORKS_MAX: usize = 10_000;

/// Counts refused attempts of each network, and bars it after too many.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// Within [`WINDOW`].
    refused_max: u32,
    refused: Mutex<HashMap<IpAddr, Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    refused: u32,
}

impl Attempts {
    /// Bars a network after so many refused attempts within [`WINDOW`].
    pub(crate) fn new(refused_max: u32) -> Self {
        Self {
            refused_max,
            refused: Mutex::default(),
        }
    }

    /// Whether the address has to wait.
    pub(crate) fn is_barred(&self, address: IpAddr, now: Instant) -> bool {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused
            .get(&network(address))
            .is_some_and(|window| window.refused >= self.refused_max && now - window.began < WINDOW)
    }

    /// Notes a refused attempt.
    pub(crate) fn note(&self, address: IpAddr, now: Instant) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() >= NETWORKS_MAX {
            refused.retain(|_, window| now - window.began < WINDOW);
            if refused.len() >= NETWORKS_MAX {
                // Ten thousand attackers at once: nobody is worth remembering more than the others.
                refused.clear();
            }
        }
        let fresh = || Window {
            began: now,
            refused: 0,
        };
        let window = refused.entry(network(address)).or_insert_with(fresh);
        if now - window.began >= WINDOW {
            *window = fresh();
        }
        window.refused += 1;
    }
}

/// An IPv4 address, however it is written, or the /64 that an IPv6 subscriber has to himself (RFC 6177).
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let prefix = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::Clock;

    use super::*;

    const MAX: u32 = 5;

    fn barred_with(refused: &str, other: &str) -> bool {
        let (attempts, now) = (Attempts::new(MAX), Clock::system().now());
        let (refused, other) = (refused.parse().unwrap(), other.parse().unwrap());
        for _ in 0..MAX {
            assert!(!attempts.is_barred(refused, now));
            attempts.note(refused, now);
        }
        assert!(attempts.is_barred(refused, now));
        assert!(!attempts.is_barred(refused, now + WINDOW));
        attempts.is_barred(other, now)
    }

    #[test]
    fn an_address_that_is_refused_too_often_waits_a_minute_with_its_network() {
        for (refused, other, together) in [
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8::2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            // As a listener for both families shows IPv4.
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
        ] {
            assert_eq!(barred_with(refused, other), together, "{refused} {other}");
        }
    }
}
