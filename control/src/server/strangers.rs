//! Connections that have shown no certificate, by network: strangers must not take the room of nodes.
//!
//! A connection is a stranger's until its handshake has shown a certificate of the fabric. Operators and programs that look at
//! control's health have none, and stay among them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::attempts::network;

/// Of one network at once: some hundred operators and programs behind one address, or as many nodes of a fleet in their handshakes.
const NETWORK_MAX: usize = 500;
/// Of all networks at once, a quarter of all connections: a fleet's handshakes after a restart, and its operators.
const ALL_MAX: usize = 5_000;

/// Counts them. Clones are the same count.
#[derive(Debug, Clone, Default)]
pub(super) struct Strangers {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    networks: HashMap<IpAddr, usize>,
}

/// Holds a stranger's place until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    strangers: Strangers,
    network: IpAddr,
}

impl Strangers {
    /// A place for a connection from `address`, if its network has one left and there is one at all.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Place> {
        let network = network(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= ALL_MAX {
            return None;
        }
        let of_network = counts.networks.entry(network).or_default();
        if *of_network >= NETWORK_MAX {
            return None;
        }
        *of_network += 1;
        counts.all += 1;
        Some(Place {
            strangers: self.clone(),
            network,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let counts = &self.strangers.counts;
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(of_network) = counts.networks.get_mut(&self.network) {
            *of_network -= 1;
            if *of_network == 0 {
                counts.networks.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: usize) -> IpAddr {
        let number = u32::try_from(number).expect("few");
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    #[test]
    fn a_network_has_its_share_and_gets_it_back() {
        let strangers = Strangers::default();
        let mut places: Vec<_> = (0..NETWORK_MAX)
            .map(|_| strangers.admit(address(1)).expect("within the share"))
            .collect();
        assert!(strangers.admit(address(1)).is_none());
        assert!(strangers.admit(address(2)).is_some(), "another network");
        places.pop();
        assert!(strangers.admit(address(1)).is_some());
        drop(places);
        let counts = strangers.counts.lock().expect("nobody panicked");
        assert_eq!((counts.all, counts.networks.len()), (0, 0));
    }

    #[test]
    fn all_networks_together_leave_room_for_nodes() {
        let strangers = Strangers::default();
        let places: Vec<_> = (0..ALL_MAX)
            .map(|number| strangers.admit(address(number)).expect("there is room"))
            .collect();
        assert!(strangers.admit(address(ALL_MAX)).is_none());
        drop(places);
        assert!(strangers.admit(address(ALL_MAX)).is_some());
    }
}
