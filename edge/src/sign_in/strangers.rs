//! What people of one network may ask for at the sign-in host who have shown nothing yet: the line to control is everybody's, and so are an
//! identity provider's places.

use std::{
    collections::{HashSet, VecDeque},
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use model::app::Rate;

use crate::{neighbours::Network, quotas::Clients, time::Epoch};

/// Passwords, codes and passkeys. An office may come at nine; what all may ask together is fewer than wait for control at most.
const ASKED: Rate = Rate {
    per_second: 5,
    burst: 40,
};
/// Ways back from identity providers, of which each has a code to be traded there.
const CAME_BACK: Rate = Rate {
    per_second: 5,
    burst: 40,
};
/// Ways back that are known to have been used: those of an hour in which three people a second sign in; then the oldest are forgotten. About 1 MB.
const USED_MAX: usize = 10_000;

/// Counts it, by network.
#[derive(Debug)]
pub(crate) struct Strangers {
    epoch: Epoch,
    asked: Clients<Network>,
    came_back: Clients<Network>,
    used: Mutex<Used>,
}

/// By their nonces.
#[derive(Debug, Default)]
struct Used {
    all: HashSet<String>,
    oldest_first: VecDeque<String>,
}

impl Strangers {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            asked: Clients::default(),
            came_back: Clients::default(),
            used: Mutex::default(),
        }
    }

    /// Whether control may be asked now for one more.
    pub(super) fn may_ask(&self, address: IpAddr) -> bool {
        let now = self.epoch.since();
        self.asked.take(Network::of(address), ASKED, now).is_ok()
    }

    /// Whether a provider may be asked now for one more.
    pub(super) fn may_come_back(&self, address: IpAddr) -> bool {
        let now = self.epoch.since();
        let network = Network::of(address);
        self.came_back.take(network, CAME_BACK, now).is_ok()
    }

    /// Uses a way back up; false: it was, at this edge.
    pub(super) fn use_up(&self, nonce: &str) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if !used.all.insert(nonce.to_owned()) {
            return false;
        }
        used.oldest_first.push_back(nonce.to_owned());
        if used.oldest_first.len() > USED_MAX
            && let Some(oldest) = used.oldest_first.pop_front()
        {
            used.all.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_network_asks_so_often_and_takes_no_others_turn() {
        let strangers = Strangers::new(Epoch::new(runtime::Clock::system()));
        let (one, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        for (admit, rate) in [
            (Strangers::may_ask as fn(&Strangers, IpAddr) -> bool, ASKED),
            (Strangers::may_come_back, CAME_BACK),
        ] {
            for _ in 0..rate.burst {
                assert!(admit(&strangers, one));
            }
            assert!(!admit(&strangers, one));
            assert!(admit(&strangers, other));
            tokio::time::advance(Duration::from_secs(1)).await;
            for _ in 0..rate.per_second {
                assert!(admit(&strangers, one));
            }
            assert!(!admit(&strangers, one));
        }
    }

    #[test]
    fn a_way_back_is_used_once_and_the_oldest_are_forgotten() {
        let strangers = Strangers::new(Epoch::new(runtime::Clock::system()));
        for number in 0..=USED_MAX {
            assert!(strangers.use_up(&number.to_string()));
        }
        assert!(!strangers.use_up(&USED_MAX.to_string()));
        assert!(!strangers.use_up("1"));
        assert!(strangers.use_up("0"), "forgotten");
        let used = strangers.used.lock().unwrap();
        assert_eq!(
            (used.all.len(), used.oldest_first.len()),
            (USED_MAX, USED_MAX)
        );
    }
}
