//! Refused attempts to enrol, by address: guessing tokens is hopeless, and must not cost control much either.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use runtime::Clock;
use tokio::time::Instant;

/// Refused attempts of one address within [`WINDOW`] before it has to wait: a fleet behind one address with an old
/// token stays below it.
const REFUSED_MAX: u32 = 60;
/// How long refused attempts count.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered; about 1 MB.
const ADDRESSES_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Attempts {
    refused: Mutex<HashMap<IpAddr, Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    refused: u32,
}

impl Attempts {
    pub(super) fn is_barred(&self, address: IpAddr, clock: &Clock) -> bool {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.get(&network(address)).is_some_and(|window| {
            window.refused >= REFUSED_MAX && clock.now() - window.began < WINDOW
        })
    }

    pub(super) fn note(&self, address: IpAddr, clock: &Clock) {
        let now = clock.now();
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() >= ADDRESSES_MAX {
            refused.retain(|_, window| now - window.began < WINDOW);
            if refused.len() >= ADDRESSES_MAX {
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

/// Whoever has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let prefix = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_refused_too_often_waits_a_minute() {
        let clock = Clock::starting_at(SystemTime::UNIX_EPOCH);
        let attempts = Attempts::default();
        let address: IpAddr = "2001:db8::1".parse().expect("an address");
        for _ in 0..REFUSED_MAX {
            assert!(!attempts.is_barred(address, &clock));
            attempts.note(address, &clock);
        }
        let neighbour: IpAddr = "2001:db8::2".parse().expect("an address");
        assert!(attempts.is_barred(neighbour, &clock));
        let other: IpAddr = "2001:db8:1::1".parse().expect("an address");
        assert!(!attempts.is_barred(other, &clock));
        tokio::time::advance(WINDOW).await;
        assert!(!attempts.is_barred(address, &clock));
    }
}
