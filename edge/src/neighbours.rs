//! What users hold, by where they come from: no address may take it all.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// Where one user is taken to be: an IPv4 address, or the /64 of IPv6 that a site gets at the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network(IpAddr);

impl Network {
    /// That of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// Counts what each network holds of one thing, such as connections, over all workers. As large as there are such things.
#[derive(Debug)]
pub(crate) struct Neighbours {
    each_max: AtomicU32,
    counts: Mutex<HashMap<Network, u32>>,
}

impl Neighbours {
    /// At most `each_max` of one network.
    pub(crate) fn new(each_max: u32) -> Arc<Self> {
        Arc::new(Self {
            each_max: AtomicU32::new(each_max),
            counts: Mutex::default(),
        })
    }

    /// At most so many from now on; those that are in stay.
    pub(crate) fn bound(&self, each_max: u32) {
        self.each_max.store(each_max, Relaxed);
    }

    /// Lets one more in, for as long as what is given back; none if the network has its share.
    pub(crate) fn admit(self: &Arc<Self>, network: Network) -> Option<Neighbour> {
        let mut counts = self.lock();
        let count = counts.entry(network).or_default();
        if *count >= self.each_max.load(Relaxed) {
            return None;
        }
        *count += 1;
        Some(Neighbour {
            network,
            neighbours: Arc::clone(self),
        })
    }

    /// Whether one more would be let in now.
    pub(crate) fn has_room(&self, network: Network) -> bool {
        let counts = self.lock();
        counts
            .get(&network)
            .is_none_or(|count| *count < self.each_max.load(Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Network, u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Neighbour {
    network: Network,
    neighbours: Arc<Neighbours>,
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.neighbours.lock().entry(self.network) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    #[test]
    fn a_network_has_its_share_and_no_more() {
        let neighbours = Neighbours::new(2);
        let first = neighbours.admit(network("192.0.2.1"));
        let second = neighbours.admit(network("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(neighbours.admit(network("192.0.2.1")).is_none());
        assert!(neighbours.admit(network("192.0.2.2")).is_some());
        drop(first);
        assert!(neighbours.admit(network("192.0.2.1")).is_some());
        drop(second);
        assert!(neighbours.lock().is_empty(), "nothing is kept of the gone");
    }

    #[test]
    fn addresses_of_one_site_are_one_network() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:0:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    }
}
