//! Sessions that are over, though what browsers keep of them still opens: of a user, one of them, or all.
//!
//! Edges are told of all of them and so decide alone. Written in the transaction of the change that ends the sessions, and kept until
//! the last of those would have ended by itself.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use model::{
    name::{IdentityProviderId, UserId},
    user::{SESSION_ID_BYTES, SESSION_LIFE},
};
use prost::Message as _;
use proto::{
    control::RevocationRecord,
    fabric::{ProviderSession, Revocation, revocation::Whose},
};
use runtime::Clock;

use crate::{
    hex::{self, hex},
    store::{self, Check, Entry, Op, Store, StoreError},
    time::unix_ms,
};

/// Prefix of all of them; behind it is the name of a user, or of a session, or [`EVERYONE`]'s.
pub(crate) const COLLECTION: &str = "revocations/";
const EVERYONE: &str = "revocations/everyone";
const SESSIONS: &str = "revocations/sessions/";
const PROVIDER_SESSIONS: &str = "revocations/providerSessions/";
/// Bytes of a digest by which a provider's session is known.
const DIGEST_BYTES: usize = 32;
/// How far the clocks of edges may differ from control's. Certificates would no longer hold if they were farther apart.
const SKEW_MAX: Duration = Duration::from_secs(3_600);

/// Ends every session that a user has by now; goes into a transaction.
///
/// One that began in this very millisecond ends too. An end that lies later already stays.
///
/// # Errors
/// Those of the store.
pub(crate) async fn end_user(
    store: &dyn Store,
    user: &UserId,
    now: SystemTime,
) -> Result<(Check, Op), StoreError> {
    end_user_before(store, user, unix_ms(now).saturating_add(1)).await
}

/// As [`end_user`], those that began before `before_ms`.
///
/// # Errors
/// Those of the store.
pub(crate) async fn end_user_before(
    store: &dyn Store,
    user: &UserId,
    before_ms: i64,
) -> Result<(Check, Op), StoreError> {
    let key = format!("{COLLECTION}{}", user.resource_name()).into();
    end_before(store, key, before_ms).await
}

/// Ends every session that anybody has by now; goes into a transaction, as with [`end_user`].
///
/// # Errors
/// Those of the store.
pub(crate) async fn end_everyone(
    store: &dyn Store,
    now: SystemTime,
) -> Result<(Check, Op), StoreError> {
    end_before(store, EVERYONE.into(), unix_ms(now).saturating_add(1)).await
}

async fn end_before(
    store: &dyn Store,
    key: Arc<str>,
    before_ms: i64,
) -> Result<(Check, Op), StoreError> {
    let entry = store.get(&key).await?;
    let known = entry.as_ref().and_then(|entry| before(&entry.value));
    let check = Check::as_read(&key, entry.as_ref());
    let before_ms = known.map_or(before_ms, |known| known.max(before_ms));
    Ok((check, Op::Put(key, record(before_ms))))
}

/// Before when sessions of a user must have begun to be over, if any are.
///
/// # Errors
/// Those of the store.
pub(crate) async fn user_ended(
    store: &dyn Store,
    user: &UserId,
) -> Result<Option<i64>, StoreError> {
    let key = format!("{COLLECTION}{}", user.resource_name());
    let own = store.get(&key).await?;
    let everyones = store.get(EVERYONE).await?;
    let ends = own.iter().chain(&everyones);
    Ok(ends.filter_map(|entry| before(&entry.value)).max())
}

/// A session that an identity provider has begun, by all that may have ended it.
#[derive(Debug)]
pub(crate) struct OfProvider<'a> {
    /// Its id.
    pub(crate) session: &'a [u8; SESSION_ID_BYTES],
    /// Whose it is.
    pub(crate) user: &'a UserId,
    /// Id of the provider.
    pub(crate) provider: &'a str,
    /// Digests of the provider's names for the session and the user; empty: it has said none.
    pub(crate) names: [&'a [u8]; 2],
    /// Unix milliseconds.
    pub(crate) began_ms: i64,
}

/// Whether a session has ended before its time.
///
/// # Errors
/// Those of the store.
pub(crate) async fn hold(store: &dyn Store, whose: &OfProvider<'_>) -> Result<bool, StoreError> {
    let named = whose.names.iter().filter(|name| !name.is_empty());
    let named = named.map(|name| format!("{PROVIDER_SESSIONS}{}/{}", whose.provider, hex(name)));
    let own = format!("{SESSIONS}{}", hex(whose.session));
    for key in named.chain([own]) {
        let entry = store.get(&key).await?;
        let before = entry.and_then(|entry| before(&entry.value));
        if before.is_some_and(|before| whose.began_ms < before) {
            return Ok(true);
        }
    }
    let before = user_ended(store, whose.user).await?;
    Ok(before.is_some_and(|before| whose.began_ms < before))
}

/// Ends one session; goes into a transaction. `None` if it is over already.
///
/// # Errors
/// Those of the store.
pub(crate) async fn end_session(
    store: &dyn Store,
    session: &[u8; SESSION_ID_BYTES],
    now: SystemTime,
) -> Result<Option<(Check, Op)>, StoreError> {
    let key = format!("{SESSIONS}{}", hex(session));
    if store.get(&key).await?.is_some() {
        return Ok(None);
    }
    let key: Arc<str> = key.into();
    let put = Op::Put(Arc::clone(&key), record(unix_ms(now).saturating_add(1)));
    Ok(Some((Check::Absent(key), put)))
}

/// Ends what began before `before_ms` by a provider's word, whose name for the session or the user has the digest `name`; goes into a
/// transaction. `None` if it is over already.
///
/// # Errors
/// Those of the store.
pub(crate) async fn end_provider_session(
    store: &dyn Store,
    provider: &IdentityProviderId,
    name: &[u8; DIGEST_BYTES],
    before_ms: i64,
) -> Result<Option<(Check, Op)>, StoreError> {
    let key: Arc<str> = format!("{PROVIDER_SESSIONS}{provider}/{}", hex(name)).into();
    let entry = store.get(&key).await?;
    let known = entry.as_ref().and_then(|entry| before(&entry.value));
    if known.is_some_and(|known| known >= before_ms) {
        return Ok(None);
    }
    let check = Check::as_read(&key, entry.as_ref());
    Ok(Some((check, Op::Put(key, record(before_ms)))))
}

/// What edges are told of an entry; `None` if it makes no sense.
pub(crate) fn resource(key: &str, value: &Bytes) -> Option<Revocation> {
    let whose = if let Some(session) = key.strip_prefix(SESSIONS) {
        Whose::Session(bytes_of::<SESSION_ID_BYTES>(session)?)
    } else if let Some(session) = key.strip_prefix(PROVIDER_SESSIONS) {
        let (provider, name) = session.split_once('/')?;
        Whose::ProviderSession(ProviderSession {
            provider: provider.to_owned(),
            name_sha256: bytes_of::<DIGEST_BYTES>(name)?,
        })
    } else if key == EVERYONE {
        Whose::Everyone(true)
    } else {
        let name = key.strip_prefix(COLLECTION)?;
        Whose::User(name.strip_prefix(UserId::COLLECTION)?.to_owned())
    };
    Some(Revocation {
        whose: Some(whose),
        before_ms: before(value)?,
    })
}

/// Removes those of which every session has ended by itself.
///
/// # Errors
/// Those of the store; what was removed until then stays removed.
pub(crate) async fn sweep(store: &dyn Store, clock: &Clock) -> Result<(), StoreError> {
    let now = unix_ms(clock.wall());
    store::sweep(store, COLLECTION, |entry| is_past(entry, now)).await
}

/// What cannot be read stays, as it may be somebody's.
fn is_past(entry: &Entry, now: i64) -> bool {
    let kept = SESSION_LIFE + SKEW_MAX;
    let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    before(&entry.value).is_some_and(|before| before.saturating_add(kept) < now)
}

fn record(before_ms: i64) -> Bytes {
    RevocationRecord { before_ms }.encode_to_vec().into()
}

fn before(value: &Bytes) -> Option<i64> {
    let record = RevocationRecord::decode(value.clone()).ok()?;
    Some(record.before_ms)
}

fn bytes_of<const N: usize>(text: &str) -> Option<Bytes> {
    hex::read::<N>(text).map(|bytes| Bytes::copy_from_slice(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite;

    struct Bench {
        store: sqlite::SqliteStore,
        clock: Clock,
        _directory: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let clock = Clock::starting_at(Clock::system().wall());
            Self {
                store: sqlite::open(directory.path(), &clock).expect("a store"),
                clock,
                _directory: directory,
            }
        }

        async fn end_user(&self, id: &str, now: SystemTime) {
            let user = id.parse().expect("a good id");
            let (check, op) = end_user(&self.store, &user, now).await.expect("reads");
            let written = self.store.txn(vec![check], vec![op]).await;
            written.expect("writes");
        }

        async fn told(&self) -> Vec<Revocation> {
            let all = self.store.snapshot(&[COLLECTION]).await.expect("reads");
            let told = |entry: &Entry| resource(&entry.key, &entry.value).expect("makes sense");
            all.entries.iter().map(told).collect()
        }
    }

    #[tokio::test]
    async fn sessions_of_a_user_that_began_until_now_are_over_and_an_end_is_never_taken_back() {
        let bench = Bench::new();
        let now = bench.clock.wall();
        let want = [Revocation {
            whose: Some(Whose::User("alice@example.com".to_owned())),
            before_ms: unix_ms(now) + 1,
        }];
        bench.end_user("alice@example.com", now).await;
        assert_eq!(bench.told().await, want);
        // A clock that was set back, or a slower change.
        let earlier = now - Duration::from_secs(5);
        bench.end_user("alice@example.com", earlier).await;
        assert_eq!(bench.told().await, want);
    }

    #[tokio::test]
    async fn a_user_is_signed_out_with_everyone() {
        let bench = Bench::new();
        let (alice, now) = ("alice".parse().expect("a good id"), bench.clock.wall());
        assert_eq!(user_ended(&bench.store, &alice).await.unwrap(), None);
        bench.end_user("alice", now).await;
        let own = user_ended(&bench.store, &alice).await.unwrap();
        assert_eq!(own, Some(unix_ms(now) + 1));
        let later = now + Duration::from_secs(5);
        let (check, op) = end_everyone(&bench.store, later).await.unwrap();
        bench.store.txn(vec![check], vec![op]).await.unwrap();
        let all = user_ended(&bench.store, &alice).await.unwrap();
        assert_eq!(all, Some(unix_ms(later) + 1));
    }

    #[tokio::test]
    async fn a_session_ends_once() {
        let bench = Bench::new();
        let (session, now) = ([0x0a; SESSION_ID_BYTES], bench.clock.wall());
        let end = async || end_session(&bench.store, &session, now).await.unwrap();
        let (check, op) = end().await.expect("it goes on");
        bench.store.txn(vec![check], vec![op]).await.unwrap();
        assert_eq!(end().await, None);
        let want = Whose::Session(Bytes::copy_from_slice(&session));
        assert_eq!(bench.told().await[0].whose, Some(want));
    }

    #[tokio::test]
    async fn a_providers_word_ends_what_began_before_it_once() {
        let bench = Bench::new();
        let (provider, name) = ("entra".parse().unwrap(), [7; DIGEST_BYTES]);
        let end = async |before| {
            let end = end_provider_session(&bench.store, &provider, &name, before);
            end.await.unwrap()
        };
        for (before, is_new) in [(1_000, true), (1_000, false), (999, false), (2_000, true)] {
            let made = end(before).await;
            assert_eq!(made.is_some(), is_new, "{before}");
            if let Some((check, op)) = made {
                bench.store.txn(vec![check], vec![op]).await.unwrap();
            }
        }
        let want = Revocation {
            whose: Some(Whose::ProviderSession(ProviderSession {
                provider: "entra".to_owned(),
                name_sha256: Bytes::copy_from_slice(&name),
            })),
            before_ms: 2_000,
        };
        assert_eq!(bench.told().await, [want]);
    }

    #[tokio::test]
    async fn ends_are_kept_for_as_long_as_sessions_could_live() {
        let bench = Bench::new();
        bench.end_user("alice", bench.clock.wall()).await;
        bench.clock.move_wall(Duration::from_secs(3_600));
        bench.end_user("bob", bench.clock.wall()).await;
        let minute = Duration::from_secs(60);
        for (wait, left) in [(SESSION_LIFE - minute, 2), (minute * 2, 1)] {
            bench.clock.move_wall(wait);
            sweep(&bench.store, &bench.clock).await.expect("sweeps");
            assert_eq!(bench.told().await.len(), left, "{wait:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_to_nobody() {
        let value = record(1);
        for key in [
            "revocations/",
            "revocations/users",
            "revocations/agents/a1",
            "revocations/sessions/",
            "revocations/sessions/0a",
            "revocations/providerSessions/entra",
            "revocations/providerSessions/entra/0a",
            "revocations/sessions/0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0g",
        ] {
            assert_eq!(resource(key, &value), None, "{key}");
        }
    }
}
