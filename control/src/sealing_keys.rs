//! Keys that edges share: those by which they seal what browsers bring back, at whatever edge, which are of TLS session tickets and of
//! users' sessions; and those by which they sign what they tell origins of users.
//!
//! They lie in the store beside the keys of users' certificates, reach edges only, and are never logged. The newest seals, all
//! open: a key is of use to a thief for as long as it is kept, and no longer. A key that signs is published a day before it is used, so
//! that whoever verifies has it by then.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use bytes::Bytes;
use prost::Message as _;
use proto::{
    control::{SealingKeyRecord, SealingKeysRecord},
    fabric,
};
use rand::Rng as _;
use runtime::{Clock, Scope};
use tokio::time::sleep;

use crate::{
    fabric::{ASSERTION_KEYS_KEY, SESSION_KEYS_KEY, TICKET_KEYS_KEY},
    store::{self, Check, Entry, Op, Store, StoreError},
    time::unix_seconds,
};

/// What is sealed, or signed, by keys of their own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealed {
    /// Key of the store.
    key: &'static str,
    /// For the log.
    what: &'static str,
    /// Between two keys.
    rotation: Duration,
    /// Keys that open, or are published, at the most.
    kept: usize,
    /// Makes a key, if it can.
    make: fn() -> Option<Bytes>,
}

/// TLS sessions: half a day each, so that a key is gone after a day and a half, and a ticket lives 24 h at the least. Browsers keep
/// tickets about so long.
pub(crate) const TICKETS: Sealed = Sealed {
    key: TICKET_KEYS_KEY,
    what: "session tickets",
    rotation: Duration::from_secs(12 * 3_600),
    kept: 3,
    make: secret,
};
/// Users' sessions: what is sealed at the end of a key's turn is opened for two days more, four times [`SESSION_LIFE`].
///
/// [`SESSION_LIFE`]: model::user::SESSION_LIFE
pub(crate) const SESSIONS: Sealed = Sealed {
    key: SESSION_KEYS_KEY,
    what: "users' sessions",
    rotation: Duration::from_secs(24 * 3_600),
    kept: 3,
    make: secret,
};
/// What edges tell origins: a week each. A key signs from [`PUBLISHED_AHEAD`] after it was made until the next one does, and is published
/// for six days more, though nothing that it signed lives longer than a minute.
pub(crate) const ASSERTIONS: Sealed = Sealed {
    key: ASSERTION_KEYS_KEY,
    what: "assertions",
    rotation: Duration::from_secs(7 * 24 * 3_600),
    kept: 2,
    make: key_pair,
};

/// How long a key that signs is published before it does: longer than anybody keeps a copy of the published ones.
const PUBLISHED_AHEAD: Duration = Duration::from_secs(24 * 3_600);

/// Longest sleep between looks at the clock, which may be set.
const LOOK: Duration = Duration::from_secs(600);
/// Wait after a failure of the store.
const RETRY: Duration = Duration::from_secs(5);
/// What tells keys apart in what they seal (RFC 5077, section 4).
const NAME_BYTES: usize = 16;
/// Enough for AES-256, or to derive others from.
const KEY_BYTES: usize = 32;

/// New keys in place of all that there are: whatever was sealed opens no more, and what was signed holds no more once origins have
/// fetched the keys anew. Goes into a transaction.
///
/// # Errors
/// Those of the store.
pub(crate) async fn replace(
    store: &dyn Store,
    now: SystemTime,
) -> Result<(Vec<Check>, Vec<Op>), StoreError> {
    let (mut checks, mut ops) = (Vec::new(), Vec::new());
    for sealed in [TICKETS, SESSIONS, ASSERTIONS] {
        let (check, op) = sealed.replace(store, now).await?;
        checks.push(check);
        ops.push(op);
    }
    Ok((checks, ops))
}

/// The same for what is signed alone, for when an edge that has the keys is an edge no longer: nobody who has them can tell agents, or origins,
/// who somebody is. Nothing is lost by it, as edges sign anew with each request. Goes into a transaction.
///
/// # Errors
/// Those of the store.
pub(crate) async fn replace_signing(
    store: &dyn Store,
    now: SystemTime,
) -> Result<(Check, Op), StoreError> {
    ASSERTIONS.replace(store, now).await
}

/// Makes and rotates the keys of all, for as long as control runs.
pub(crate) fn start(store: &Arc<dyn Store>, clock: &Clock, scope: &Scope) {
    for sealed in [TICKETS, SESSIONS, ASSERTIONS] {
        let keys = SealingKeys::new(sealed, Arc::clone(store), clock.clone());
        let own = scope.child("sealing_keys");
        scope.spawn_standing("sealing_keys", async move {
            tokio::select! {
                () = own.cancelled() => {}
                () = keys.run() => {}
            }
        });
    }
}

struct SealingKeys {
    sealed: Sealed,
    store: Arc<dyn Store>,
    clock: Clock,
}

impl SealingKeys {
    fn new(sealed: Sealed, store: Arc<dyn Store>, clock: Clock) -> Self {
        Self {
            sealed,
            store,
            clock,
        }
    }

    async fn run(self) {
        loop {
            match self.rotate().await {
                Ok(next) => sleep(next.clamp(RETRY, LOOK)).await,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::error!(%error, of = self.sealed.what, "keys cannot be renewed");
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Makes a key if there is none, or none that is young enough; says how long it will do.
    async fn rotate(&self) -> Result<Duration, StoreError> {
        let Sealed { key, kept, .. } = self.sealed;
        let entry = self.store.get(key).await?;
        let mut record = entry.as_ref().map(decode).unwrap_or_default();
        let now = self.clock.wall();
        let newest = record.keys.first().map(|key| key.made_at);
        if let Some(rest) = newest.and_then(|made_at| self.sealed.rest_of_turn(made_at, now)) {
            return Ok(rest);
        }
        let Some(fresh) = self.sealed.fresh(now) else {
            tracing::error!(of = self.sealed.what, "no key can be made");
            return Ok(RETRY);
        };
        record
            .keys
            .retain(|key| !self.sealed.is_past(key.made_at, now));
        record.keys.insert(0, fresh);
        record.keys.truncate(kept);
        let (check, op) = self.sealed.write(entry.as_ref(), &record);
        let written = store::commit(&*self.store, vec![check], vec![op]).await?;
        if written.is_none() {
            // Another control was faster.
            return Ok(Duration::ZERO);
        }
        tracing::info!(keys = record.keys.len(), of = self.sealed.what, "a new key");
        Ok(self.sealed.rotation)
    }
}

/// The keys that sign, as edges get them.
pub(crate) fn assertion_keys(value: Bytes) -> Option<fabric::AssertionKeys> {
    let record = SealingKeysRecord::decode(value).ok()?;
    let ahead = i64::try_from(PUBLISHED_AHEAD.as_secs()).unwrap_or(i64::MAX);
    let keys = record.keys.into_iter().map(|key| fabric::AssertionKey {
        pkcs8: key.key,
        signs_from: key.made_at.saturating_add(ahead),
    });
    Some(fabric::AssertionKeys {
        keys: keys.collect(),
    })
}

/// The public halves of the keys that sign, as points of the curve; one that cannot be read signs nothing either.
pub(crate) fn public_keys(value: Bytes) -> Option<Vec<Bytes>> {
    let record = SealingKeysRecord::decode(value).ok()?;
    let public = |key: &SealingKeyRecord| {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.key).ok()?;
        Some(Bytes::copy_from_slice(pair.public_key().as_ref()))
    };
    Some(record.keys.iter().filter_map(public).collect())
}

/// Keys that cannot be read are made anew: users only shake hands in full, or sign in, once more.
fn decode(entry: &Entry) -> SealingKeysRecord {
    SealingKeysRecord::decode(entry.value.clone()).unwrap_or_default()
}

impl Sealed {
    async fn replace(&self, store: &dyn Store, now: SystemTime) -> Result<(Check, Op), StoreError> {
        let entry = store.get(self.key).await?;
        // Without a new one the old ones must not stay; the standing task makes one later.
        let record = SealingKeysRecord {
            keys: self.fresh(now).into_iter().collect(),
        };
        Ok(self.write(entry.as_ref(), &record))
    }

    fn fresh(&self, now: SystemTime) -> Option<SealingKeyRecord> {
        Some(SealingKeyRecord {
            name: Bytes::copy_from_slice(&rand::rng().random::<[u8; NAME_BYTES]>()),
            key: (self.make)()?,
            made_at: unix_seconds(now),
        })
    }

    /// In place of what was read.
    fn write(&self, entry: Option<&Entry>, record: &SealingKeysRecord) -> (Check, Op) {
        let op = Op::Put(Arc::from(self.key), record.encode_to_vec().into());
        (Check::as_read(self.key, entry), op)
    }

    /// How long a key still seals; `None`: no longer, or its time is not yet.
    fn rest_of_turn(&self, made_at: i64, now: SystemTime) -> Option<Duration> {
        let age = u64::try_from(unix_seconds(now).checked_sub(made_at)?).ok()?;
        self.rotation
            .checked_sub(Duration::from_secs(age))
            .filter(|rest| !rest.is_zero())
    }

    /// Whether a key would be gone already, had control run all the time.
    fn is_past(&self, made_at: i64, now: SystemTime) -> bool {
        let age = unix_seconds(now).saturating_sub(made_at);
        u64::try_from(age).is_ok_and(|age| age >= self.rotation.as_secs() * self.kept as u64)
    }
}

fn secret() -> Option<Bytes> {
    let secret = rand::rng().random::<[u8; KEY_BYTES]>();
    Some(Bytes::copy_from_slice(&secret))
}

/// Of the curve P-256, as PKCS#8.
fn key_pair() -> Option<Bytes> {
    let random = SystemRandom::new();
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
    made.ok().map(|key| Bytes::copy_from_slice(key.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite;

    async fn kept(store: &dyn Store, sealed: Sealed) -> Vec<SealingKeyRecord> {
        let entry = store.get(sealed.key).await.expect("reads");
        decode(&entry.expect("there are keys")).keys
    }

    #[tokio::test]
    async fn keys_take_turns_and_those_before_stay_for_a_while() {
        for sealed in [TICKETS, SESSIONS, ASSERTIONS] {
            check_turns(sealed).await;
        }
        // What was sealed in the last moment of a turn is opened to the end of its life.
        let opened = SESSIONS.rotation * (u32::try_from(SESSIONS.kept).expect("few") - 1);
        assert!(opened > model::user::SESSION_LIFE);
        assert_eq!((TICKETS.make)().map(|key| key.len()), Some(KEY_BYTES));
        assert_eq!((SESSIONS.make)().map(|key| key.len()), Some(KEY_BYTES));
    }

    #[tokio::test]
    async fn a_key_that_signs_is_published_a_day_before_and_stays_until_nothing_of_it_lives() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Clock::starting_at(Clock::system().wall());
        let store: Arc<dyn Store> =
            Arc::new(sqlite::open(directory.path(), &clock).expect("opens"));
        let keys = SealingKeys::new(ASSERTIONS, Arc::clone(&store), clock.clone());
        keys.rotate().await.expect("writes");
        clock.move_wall(ASSERTIONS.rotation);
        keys.rotate().await.expect("writes");
        let value = store.get(ASSERTIONS.key).await.expect("reads");
        let sent = assertion_keys(value.expect("there are keys").value).expect("reads");
        let [newest, before] = &sent.keys[..] else {
            panic!("two are published: {sent:?}");
        };
        let day = 24 * 3_600;
        let wait = newest.signs_from - unix_seconds(clock.wall());
        assert!((day - 5..=day).contains(&wait), "{wait} s");
        // The clock of the test goes on between the two.
        let apart = newest.signs_from - before.signs_from;
        assert!((7 * day..=7 * day + 5).contains(&apart), "{apart} s");
        // The former is gone with the next, six days after it was used last.
        assert!(ASSERTIONS.rotation > PUBLISHED_AHEAD + Duration::from_secs(60));
        for key in &sent.keys {
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.pkcs8).expect("a key");
        }
    }

    async fn check_turns(sealed: Sealed) {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Clock::starting_at(Clock::system().wall());
        let store: Arc<dyn Store> =
            Arc::new(sqlite::open(directory.path(), &clock).expect("opens"));
        let keys = SealingKeys::new(sealed, Arc::clone(&store), clock.clone());
        let mut history = Vec::new();
        for _ in 0..5 {
            keys.rotate().await.expect("writes");
            let newest = kept(&*store, sealed).await.remove(0);
            assert_eq!(newest.name.len(), NAME_BYTES);
            assert!(!history.contains(&newest));
            history.insert(0, newest);
            history.truncate(sealed.kept);
            assert_eq!(kept(&*store, sealed).await, history);

            // Nothing happens until its turn is over.
            clock.move_wall(sealed.rotation - Duration::from_secs(60));
            let rest = keys.rotate().await.expect("reads");
            assert!(rest <= Duration::from_secs(60), "{rest:?}");
            assert_eq!(kept(&*store, sealed).await, history);
            clock.move_wall(Duration::from_secs(61));
        }
    }

    #[tokio::test]
    async fn what_is_replaced_opens_nothing_any_more_and_what_is_new_has_a_whole_turn() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Clock::starting_at(Clock::system().wall());
        let store: Arc<dyn Store> =
            Arc::new(sqlite::open(directory.path(), &clock).expect("opens"));
        for turn in 0..2 {
            let now = clock.wall();
            let (checks, ops) = replace(&*store, now).await.expect("reads");
            store.txn(checks, ops).await.expect("writes");
            for sealed in [TICKETS, SESSIONS, ASSERTIONS] {
                let replaced = kept(&*store, sealed).await;
                assert_eq!(replaced.len(), 1, "{turn}");
                let keys = SealingKeys::new(sealed, Arc::clone(&store), clock.clone());
                assert!(keys.rotate().await.expect("reads") <= sealed.rotation);
                assert_eq!(kept(&*store, sealed).await, replaced);
                clock.move_wall(sealed.rotation + Duration::from_secs(1));
                keys.rotate().await.expect("writes");
                assert_eq!(kept(&*store, sealed).await[1..], replaced);
            }
        }
    }

    #[tokio::test]
    async fn keys_from_before_a_long_rest_are_gone_and_a_clock_set_back_costs_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Clock::starting_at(Clock::system().wall());
        let store: Arc<dyn Store> =
            Arc::new(sqlite::open(directory.path(), &clock).expect("opens"));
        let keys = SealingKeys::new(TICKETS, Arc::clone(&store), clock.clone());
        keys.rotate().await.expect("writes");
        clock.move_wall(TICKETS.rotation * 3);
        keys.rotate().await.expect("writes");
        let ahead = kept(&*store, TICKETS).await;
        assert_eq!(ahead.len(), 1);

        // As control starts while the clock is wrong, and again when it is right.
        let early = Clock::starting_at(clock.wall() - TICKETS.rotation * 2);
        let keys = SealingKeys::new(TICKETS, Arc::clone(&store), early);
        keys.rotate().await.expect("writes");
        let both = kept(&*store, TICKETS).await;
        assert_eq!((both.len(), &both[1]), (2, &ahead[0]));
    }
}
