//! How many connections of each kind there may be: strangers must not take the room of nodes, nor a single node all of it.
//!
//! A connection shakes hands first. Then it is a stranger's, if it has shown no certificate of the fabric, as operators and
//! programs that look at control's health have none; or that of the node which the certificate names. A certificate alone says
//! little: it is also that of a node which has been revoked.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use runtime::node::NodeIdentity;

use crate::attempts::network;

/// Of one network at once: as many nodes of a fleet in their handshakes, or operators and programs behind one address.
const NETWORK_MAX: usize = 500;
/// Handshakes at once, a quarter of all connections: a fleet that comes back after a restart.
const HANDSHAKES_MAX: usize = 5_000;
/// Connections without a certificate at once, an eighth of all.
const STRANGERS_MAX: usize = 2_500;
/// This share of all places is for networks that have few: a handful of networks cannot take the last one.
const RESERVED_SHARE: usize = 5;
/// What few means.
const FEW: usize = 10;
/// Connections of one node at once. It has its Sync, for a moment a renewal, and those that broke unheard: each is found within
/// half a minute, while the node tries again ever more slowly.
const NODE_MAX: usize = 16;

/// The places of all kinds.
#[derive(Debug)]
pub(super) struct Places {
    handshakes: Budget<IpAddr>,
    strangers: Budget<IpAddr>,
    nodes: Budget<NodeIdentity>,
}

/// The place of a connection that has shaken hands, held until it is dropped.
#[derive(Debug)]
pub(super) enum Place {
    /// One without a certificate.
    Stranger(#[expect(dead_code, reason = "held")] Held<IpAddr>),
    /// One with that of a node.
    Node(#[expect(dead_code, reason = "held")] Held<NodeIdentity>),
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            handshakes: Budget::new(NETWORK_MAX, HANDSHAKES_MAX),
            strangers: Budget::new(NETWORK_MAX, STRANGERS_MAX),
            // Certificates are not made at will, so there are no more names than nodes.
            nodes: Budget::new(NODE_MAX, usize::MAX),
        }
    }

    /// A place to shake hands in.
    pub(super) fn shake_hands(&self, address: IpAddr) -> Option<Held<IpAddr>> {
        self.handshakes.admit(network(address))
    }

    /// A place after that, for who has proven to be a node, or has not.
    pub(super) fn stay(&self, address: IpAddr, node: Option<&NodeIdentity>) -> Option<Place> {
        match node {
            Some(node) => self.nodes.admit(node.clone()).map(Place::Node),
            None => self.strangers.admit(network(address)).map(Place::Stranger),
        }
    }
}

/// A number of places, shared by those who have one.
#[derive(Debug)]
struct Budget<K> {
    /// Of one of them.
    share_max: usize,
    all_max: usize,
    counts: Arc<Mutex<Counts<K>>>,
}

#[derive(Debug)]
struct Counts<K> {
    all: usize,
    shares: HashMap<K, usize>,
}

/// Holds a place until it is dropped.
#[derive(Debug)]
pub(super) struct Held<K: Eq + std::hash::Hash> {
    counts: Arc<Mutex<Counts<K>>>,
    whose: K,
}

impl<K: Clone + Eq + std::hash::Hash> Budget<K> {
    fn new(share_max: usize, all_max: usize) -> Self {
        let counts = Counts {
            all: 0,
            shares: HashMap::new(),
        };
        Self {
            share_max,
            all_max,
            counts: Arc::new(Mutex::new(counts)),
        }
    }

    fn admit(&self, whose: K) -> Option<Held<K>> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let share = counts.shares.get(&whose).copied().unwrap_or(0);
        let reserved = counts.all >= self.all_max - self.all_max / RESERVED_SHARE;
        let share_max = if reserved { FEW } else { self.share_max };
        if counts.all >= self.all_max || share >= share_max {
            return None;
        }
        counts.all += 1;
        counts.shares.insert(whose.clone(), share + 1);
        Some(Held {
            counts: Arc::clone(&self.counts),
            whose,
        })
    }
}

impl<K: Eq + std::hash::Hash> Drop for Held<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(share) = counts.shares.get_mut(&self.whose) {
            *share -= 1;
            if *share == 0 {
                counts.shares.remove(&self.whose);
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
        let places = Places::new();
        let mut held: Vec<_> = (0..NETWORK_MAX)
            .map(|_| places.stay(address(1), None).expect("within the share"))
            .collect();
        assert!(places.stay(address(1), None).is_none());
        assert!(places.stay(address(2), None).is_some(), "another network");
        held.pop();
        assert!(places.stay(address(1), None).is_some());
        drop(held);
        let counts = places.strangers.counts.lock().expect("nobody panicked");
        assert_eq!((counts.all, counts.shares.len()), (0, 0));
    }

    #[test]
    fn strangers_that_stay_leave_all_handshakes_to_nodes() {
        let places = Places::new();
        let mut strangers = Vec::new();
        for number in 0.. {
            match places.stay(address(number), None) {
                Some(place) => strangers.push(place),
                None => break,
            }
        }
        assert_eq!(strangers.len(), STRANGERS_MAX);
        let shaking: Vec<_> = (0..HANDSHAKES_MAX)
            .map_while(|number| places.shake_hands(address(number)))
            .collect();
        assert_eq!(shaking.len(), HANDSHAKES_MAX);
        let node = "spiffe://example.com/agent/a1".parse().expect("a name");
        assert!(places.stay(address(1), Some(&node)).is_some());
        drop(strangers);
        assert!(places.stay(address(1), None).is_some());
    }

    #[test]
    fn networks_that_take_all_they_can_leave_some_to_others() {
        let places = Places::new();
        let greedy: Vec<_> = (0..HANDSHAKES_MAX)
            .filter_map(|number| places.shake_hands(address(number % 20)))
            .collect();
        assert_eq!(
            greedy.len(),
            HANDSHAKES_MAX - HANDSHAKES_MAX / RESERVED_SHARE
        );
        assert!(places.shake_hands(address(20)).is_some());
    }

    #[test]
    fn a_certificate_gives_its_node_a_few_places_and_no_more() {
        let places = Places::new();
        let (one, other) = (
            "spiffe://example.com/agent/a1",
            "spiffe://example.com/agent/a2",
        );
        let [one, other] = [one, other].map(|name| name.parse().expect("a name"));
        let held: Vec<_> = (0..=NODE_MAX)
            .filter_map(|number| places.stay(address(number), Some(&one)))
            .collect();
        assert_eq!(held.len(), NODE_MAX);
        assert!(places.stay(address(1), Some(&other)).is_some());
        drop(held);
        assert!(places.stay(address(1), Some(&one)).is_some());
    }
}
