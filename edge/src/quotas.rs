//! What each app takes: requests under way, and requests per second of all users and of each. Held for the whole edge, over
//! all its workers; a request counts once, however many agents are asked.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use model::{
    app::{App, Rate},
    name::AppId,
};

use crate::{neighbours::Network, time::Epoch};

/// Pairs of app and network whose rate is remembered; at some 100 bytes each, 13 MB. Who is forgotten has a full bucket again.
const CLIENTS_MAX: usize = 128 * 1024;
/// Parts that are locked apart from one another, so that workers seldom meet.
const SHARDS: usize = 16;
/// Entries of one generation of one part.
const GENERATION_MAX: usize = CLIENTS_MAX / SHARDS / 2;

/// Why an app takes no more now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// As many requests are under way as may be.
    Requests,
    /// All users together are too fast.
    Rate {
        /// When the next request is taken.
        retry_after: Duration,
    },
    /// This user is too fast.
    ClientRate {
        /// When its next request is taken.
        retry_after: Duration,
    },
}

/// Quotas of all apps; as many as there are apps in the view.
#[derive(Debug)]
pub(crate) struct Quotas {
    epoch: Epoch,
    apps: RwLock<HashMap<AppId, Arc<Quota>>>,
    clients: Clients<Client>,
}

/// What one app has used up.
#[derive(Debug, Default)]
struct Quota {
    requests: AtomicU32,
    rate: AtomicU64,
}

/// One request under way.
#[derive(Debug)]
pub(crate) struct Admission(Arc<Quota>);

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Relaxed);
    }
}

impl Quotas {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            apps: RwLock::default(),
            clients: Clients::default(),
        }
    }

    /// Counts one request of a user in `network`; it is under way for as long as what is given back. None: nothing is limited.
    ///
    /// What one user is refused costs the others nothing.
    pub(crate) fn admit(&self, app: &App, network: Network) -> Result<Option<Admission>, Exceeded> {
        let limits = &app.limits;
        if limits.requests.is_none() && limits.rate.is_none() && limits.client_rate.is_none() {
            return Ok(None);
        }
        let now = self.epoch.since();
        let quota = self.quota(&app.id);
        let admission = quota.begin(limits.requests)?;
        if let Some(rate) = limits.client_rate {
            self.clients
                .take((app.id.clone(), network), rate, now)
                .map_err(|retry_after| Exceeded::ClientRate { retry_after })?;
        }
        if let Some(rate) = limits.rate {
            take_shared(&quota.rate, rate, now)
                .map_err(|retry_after| Exceeded::Rate { retry_after })?;
        }
        Ok(Some(admission))
    }

    /// Forgets apps that are gone.
    pub(crate) fn retain_apps(&self, exists: impl Fn(&AppId) -> bool) {
        self.apps
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|app, _| exists(app));
    }

    fn quota(&self, app: &AppId) -> Arc<Quota> {
        let apps = self.apps.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(quota) = apps.get(app) {
            return Arc::clone(quota);
        }
        drop(apps);
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(apps.entry(app.clone()).or_default())
    }
}

impl Quota {
    fn begin(self: &Arc<Self>, max: Option<u32>) -> Result<Admission, Exceeded> {
        let max = max.unwrap_or(u32::MAX);
        self.requests
            .fetch_update(Relaxed, Relaxed, |requests| {
                (requests < max).then(|| requests.saturating_add(1))
            })
            .map_err(|_| Exceeded::Requests)?;
        Ok(Admission(Arc::clone(self)))
    }
}

/// Takes a token of a bucket that workers share.
fn take_shared(bucket: &AtomicU64, rate: Rate, now: Duration) -> Result<(), Duration> {
    loop {
        let full_at = bucket.load(Relaxed);
        let (next, taken) = take(full_at, rate, now);
        if next == full_at
            || bucket
                .compare_exchange_weak(full_at, next, Relaxed, Relaxed)
                .is_ok()
        {
            return taken;
        }
    }
}

/// Takes a token of the bucket that would be full at `full_at`, in nanoseconds. Gives back when it will be full then, which is
/// all that a bucket has to keep (the generic cell rate algorithm); and if it holds no token, how long the next one takes.
fn take(full_at: u64, rate: Rate, now: Duration) -> (u64, Result<(), Duration>) {
    let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let token = 1_000_000_000 / u64::from(rate.per_second.max(1));
    let depth = token.saturating_mul(u64::from(rate.burst.max(1)));
    let empty = now.saturating_add(depth);
    // A bucket of another rate, which an operator changed since, is empty at the most.
    let full_at = full_at.clamp(now, empty);
    let next = full_at.saturating_add(token);
    match next.checked_sub(empty) {
        None | Some(0) => (next, Ok(())),
        Some(early) => (full_at, Err(Duration::from_nanos(early))),
    }
}

type Client = (AppId, Network);

/// Buckets of clients, such as users by app, in parts; at most [`CLIENTS_MAX`].
#[derive(Debug)]
pub(crate) struct Clients<K> {
    hasher: RandomState,
    shards: [Mutex<Shard<K>>; SHARDS],
}

impl<K> Default for Clients<K> {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

/// Two generations: the young one fills, the old one is what was not seen since the one before was full.
#[derive(Debug)]
struct Shard<K> {
    young: HashMap<K, u64>,
    old: HashMap<K, u64>,
}

impl<K> Default for Shard<K> {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }
}

impl<K: Hash + Eq> Clients<K> {
    /// Takes a token of the client's bucket; if it holds none, how long the next one takes.
    pub(crate) fn take(&self, client: K, rate: Rate, now: Duration) -> Result<(), Duration> {
        let hash = usize::try_from(self.hasher.hash_one(&client) % SHARDS as u64);
        let shard = &self.shards[hash.unwrap_or_default()];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = shard.full_at(&client);
        let (next, taken) = take(full_at, rate, now);
        // Also of who is refused: forgotten, its bucket would be full again.
        shard.keep(client, next);
        taken
    }
}

impl<K: Hash + Eq> Shard<K> {
    fn full_at(&self, client: &K) -> u64 {
        let known = self.young.get(client).or_else(|| self.old.get(client));
        known.copied().unwrap_or_default()
    }

    fn keep(&mut self, client: K, full_at: u64) {
        if self.young.len() >= GENERATION_MAX && !self.young.contains_key(&client) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(client, full_at);
    }
}

#[cfg(test)]
mod tests {
    use model::app::{Access, Limits};
    use runtime::Clock;
    use tokio::time::advance;

    use super::*;

    fn app(limits: Limits) -> App {
        let (id, group) = ("wiki".parse().unwrap(), "office".parse().unwrap());
        App {
            limits,
            ..App::new(id, group, Access::Passthrough)
        }
    }

    fn network(last: u8) -> Network {
        Network::of([192, 0, 2, last].into())
    }

    fn rate(per_second: u32, burst: u32) -> Option<Rate> {
        Some(Rate { per_second, burst })
    }

    fn quotas() -> Quotas {
        Quotas::new(Epoch::new(Clock::system()))
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_takes_so_many_requests_at_once() {
        let (quotas, app) = (
            quotas(),
            app(Limits {
                requests: Some(2),
                ..Limits::default()
            }),
        );
        let first = quotas.admit(&app, network(1)).unwrap();
        let _second = quotas.admit(&app, network(1)).unwrap();
        assert_eq!(
            quotas.admit(&app, network(1)).err(),
            Some(Exceeded::Requests)
        );
        drop(first);
        assert!(quotas.admit(&app, network(1)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate() {
        let (quotas, app) = (
            quotas(),
            app(Limits {
                rate: rate(10, 5),
                ..Limits::default()
            }),
        );
        for _ in 0..5 {
            assert!(quotas.admit(&app, network(1)).is_ok());
        }
        let retry_after = Duration::from_millis(100);
        let refused = quotas.admit(&app, network(2)).err();
        assert_eq!(refused, Some(Exceeded::Rate { retry_after }));
        advance(retry_after).await;
        assert!(quotas.admit(&app, network(2)).is_ok());
        assert!(quotas.admit(&app, network(2)).is_err());
        advance(Duration::from_secs(60)).await;
        let taken = (0..100).filter(|_| quotas.admit(&app, network(1)).is_ok());
        assert_eq!(taken.count(), 5, "the bucket is no deeper for a long rest");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_that_is_changed_holds_from_then_on() {
        let of_all = |rate| Limits {
            rate,
            ..Limits::default()
        };
        let of_each = |client_rate| Limits {
            client_rate,
            ..Limits::default()
        };
        let (slow, fast) = (rate(1, 1_000), rate(10, 1));
        for [slow, fast] in [[of_all(slow), of_all(fast)], [of_each(slow), of_each(fast)]] {
            let (quotas, slow, fast) = (quotas(), app(slow), app(fast));
            while quotas.admit(&slow, network(1)).is_ok() {}
            assert!(quotas.admit(&fast, network(1)).is_err());
            advance(Duration::from_millis(100)).await;
            assert!(quotas.admit(&fast, network(1)).is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_user_does_not_use_up_what_others_may() {
        let (quotas, app) = (
            quotas(),
            app(Limits {
                rate: rate(1, 3),
                client_rate: rate(1, 2),
                ..Limits::default()
            }),
        );
        for last in [1, 1, 2] {
            assert!(quotas.admit(&app, network(last)).is_ok());
        }
        let refused = quotas.admit(&app, network(1)).err();
        assert!(matches!(refused, Some(Exceeded::ClientRate { .. })));
        let refused = quotas.admit(&app, network(2)).err();
        assert!(matches!(refused, Some(Exceeded::Rate { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn users_beyond_the_bound_are_forgotten_and_the_rest_is_not() {
        let (quotas, app) = (
            quotas(),
            app(Limits {
                client_rate: rate(1, 1),
                ..Limits::default()
            }),
        );
        for number in 0..u32::try_from(2 * CLIENTS_MAX).unwrap() {
            let network = Network::of(number.to_be_bytes().into());
            assert!(quotas.admit(&app, network).is_ok());
        }
        let kept: usize = quotas
            .clients
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap())
            .map(|shard| shard.young.len() + shard.old.len())
            .sum();
        assert!((CLIENTS_MAX / 2..=CLIENTS_MAX).contains(&kept), "{kept}");
        let last = u32::try_from(2 * CLIENTS_MAX - 1).unwrap();
        let last = Network::of(last.to_be_bytes().into());
        assert!(quotas.admit(&app, last).is_err());
    }
}
