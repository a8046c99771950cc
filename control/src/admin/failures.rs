//! Bounds how often one address may come with bad tokens, so that a broken script costs itself only.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Bad tokens of one address within [`WINDOW`], after which it has to wait. Tokens cannot be guessed at any rate: this
/// keeps the store free of useless reads and the log readable.
pub(crate) const FAILURES_MAX: u32 = 30;
/// How long an address waits at the most.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered; beyond it all are forgotten, which costs less than refusing the innocent.
const ADDRESSES_MAX: usize = 4096;

/// The failures of each address.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    by_address: Mutex<HashMap<IpAddr, Count>>,
}

#[derive(Debug)]
struct Count {
    since: Instant,
    failures: u32,
}

impl Failures {
    /// Whether the address has to wait.
    pub(crate) fn is_barred(&self, peer: SocketAddr, now: Instant) -> bool {
        let counts = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&site(peer.ip()));
        count.is_some_and(|count| count.failures >= FAILURES_MAX && now - count.since < WINDOW)
    }

    /// Notes a bad token.
    pub(crate) fn note(&self, peer: SocketAddr, now: Instant) {
        let mut counts = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= ADDRESSES_MAX {
            counts.retain(|_, count| now - count.since < WINDOW);
        }
        if counts.len() >= ADDRESSES_MAX {
            counts.clear();
        }
        let count = counts.entry(site(peer.ip())).or_insert(Count {
            since: now,
            failures: 0,
        });
        if now - count.since >= WINDOW {
            *count = Count {
                since: now,
                failures: 0,
            };
        }
        count.failures += 1;
    }
}

/// One site: an IPv4 address, or the /64 that an IPv6 subscriber has to himself (RFC 6177).
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        IpAddr::V4(v4) => IpAddr::V4(v4),
    }
}

#[cfg(test)]
mod tests {
    use runtime::Clock;

    use super::*;

    fn peer(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_waits_after_many_failures() {
        let (failures, now) = (Failures::default(), Clock::system().now());
        let (bad, good) = (peer("192.0.2.1:1"), peer("192.0.2.2:1"));
        for _ in 0..FAILURES_MAX {
            assert!(!failures.is_barred(bad, now));
            failures.note(bad, now);
        }
        assert!(failures.is_barred(peer("192.0.2.1:2"), now));
        assert!(!failures.is_barred(good, now));
        assert!(!failures.is_barred(bad, now + WINDOW));
    }

    #[test]
    fn an_ipv6_subscriber_is_one_site() {
        let site = |text: &str| site(text.parse().unwrap());
        assert_eq!(site("2001:db8:0:1::1"), site("2001:db8:0:1:ffff::2"));
        assert_ne!(site("2001:db8:0:1::1"), site("2001:db8:0:2::1"));
        assert_eq!(site("::ffff:192.0.2.1"), site("192.0.2.1"));
    }
}
