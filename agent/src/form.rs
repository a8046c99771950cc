//! Sign-ins of users at apps by the apps' own forms: the cookies that came of each, and when none is to be tried again.
//!
//! All workers share them. One sign-in of a user at an app is under way at a time. What an app has refused is not sent again for a while,
//! so that no account is locked for attempts that nobody makes.

mod jar;
mod page;
mod steps;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use model::{name::AppId, vault::CredentialName};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::credentials::{Sealed, Who};
use jar::{Asked, Jar};

pub(crate) use steps::{ANSWER_BYTES_MAX, Answer, Judged, Next, Step, judge, leads_to};

/// Sign-ins that are kept; beyond, those that were not used for longest go.
const SIGN_INS_MAX: usize = 10_000;
/// How long one is kept without being used.
const IDLE_MAX: Duration = Duration::from_secs(3_600);
/// How long a credential that an app has refused is not sent again, the first time; each time after that, twice as long.
const PAUSE: Duration = Duration::from_secs(30 * 60);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// How long after a sign-in that came to nothing for another reason, or that nobody waited for to its end.
const SHORT_PAUSE: Duration = Duration::from_secs(30);
/// Refusals in a row after which a credential that goes with each request rests: a single one may be a page's own.
const REFUSALS_MAX: u32 = 3;

/// By app and user.
type Kept = HashMap<(AppId, Who), Arc<SignIn>>;

/// All of an agent's. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct SignIns {
    kept: Arc<Mutex<Kept>>,
    pauses: Arc<Mutex<HashMap<CredentialName, Pause>>>,
}

/// One user at one app.
#[derive(Debug)]
pub(crate) struct SignIn {
    /// By which credential.
    sealed: Sealed,
    state: Mutex<State>,
    /// Held by who signs in.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    jar: Jar,
    /// How often it was begun.
    begun: u64,
    /// Whether the app has let the user in, and has not said otherwise since.
    is_in: bool,
    used: Instant,
}

/// Why a credential is not sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    /// The app has refused it.
    Refused,
    /// The last attempt came to nothing.
    Failed,
}

#[derive(Debug)]
struct Pause {
    /// Another one is not held back.
    sealed: Sealed,
    because: Because,
    until: Instant,
    /// Refusals in a row.
    times: u32,
}

/// After so many before.
fn pause(times: u32) -> Duration {
    PAUSE.saturating_mul(1 << times.min(10)).min(PAUSE_MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SignIns {
    /// The one of a user, with what was kept of it by the same credential.
    pub(crate) fn of(&self, app: &AppId, who: &Who, sealed: &Sealed, now: Instant) -> Arc<SignIn> {
        let key = (app.clone(), who.clone());
        let mut kept = lock(&self.kept);
        if let Some(known) = kept.get(&key).filter(|known| known.sealed == *sealed) {
            let mut state = lock(&known.state);
            if now - state.used >= IDLE_MAX {
                state.end();
            }
            state.used = now;
            return Arc::clone(known);
        }
        if kept.len() >= SIGN_INS_MAX {
            make_room(&mut kept, now);
        }
        let fresh = Arc::new(SignIn {
            sealed: sealed.clone(),
            state: Mutex::new(State {
                jar: Jar::default(),
                begun: 0,
                is_in: false,
                used: now,
            }),
            turn: tokio::sync::Mutex::default(),
        });
        kept.insert(key, Arc::clone(&fresh));
        fresh
    }

    /// Whether a credential may be sent to its app now; if so, no other is until it is known what came of it, or for a little while.
    pub(crate) fn begin(
        &self,
        name: &CredentialName,
        sealed: &Sealed,
        now: Instant,
    ) -> Result<(), Because> {
        let mut pauses = lock(&self.pauses);
        let known = pauses.get(name).filter(|pause| pause.sealed == *sealed);
        if let Some(pause) = known.filter(|pause| now < pause.until) {
            return Err(pause.because);
        }
        let times = known.map_or(0, |pause| pause.times);
        if pauses.len() >= SIGN_INS_MAX {
            pauses.retain(|_, pause| now < pause.until);
        }
        let pause = Pause {
            sealed: sealed.clone(),
            because: Because::Failed,
            until: now + SHORT_PAUSE,
            times,
        };
        pauses.insert(name.clone(), pause);
        Ok(())
    }

    /// Whether a credential that goes with each request rests.
    pub(crate) fn rests(&self, name: &CredentialName, sealed: &Sealed, now: Instant) -> bool {
        let pauses = lock(&self.pauses);
        let known = pauses.get(name).filter(|pause| pause.sealed == *sealed);
        known.is_some_and(|pause| now < pause.until)
    }

    /// The app has refused one that goes with each request.
    pub(crate) fn refused(&self, name: &CredentialName, sealed: &Sealed, now: Instant) {
        let mut pauses = lock(&self.pauses);
        if pauses.len() >= SIGN_INS_MAX {
            pauses.retain(|_, pause| now < pause.until);
        }
        let known = pauses.get(name).filter(|pause| pause.sealed == *sealed);
        let times = known.map_or(0, |pause| pause.times).saturating_add(1);
        let until = match times.checked_sub(REFUSALS_MAX) {
            Some(longer) => now + pause(longer),
            None => now,
        };
        let pause = Pause {
            sealed: sealed.clone(),
            because: Because::Refused,
            until,
            times,
        };
        pauses.insert(name.clone(), pause);
    }

    /// It has taken one.
    pub(crate) fn taken(&self, name: &CredentialName) {
        lock(&self.pauses).remove(name);
    }

    /// What came of what was begun; failures leave the little while.
    pub(crate) fn ended(&self, name: &CredentialName, outcome: Result<(), Because>, now: Instant) {
        let mut pauses = lock(&self.pauses);
        match outcome {
            Ok(()) => {
                pauses.remove(name);
            }
            Err(Because::Failed) => {}
            Err(Because::Refused) => {
                if let Some(known) = pauses.get_mut(name) {
                    known.until = now + pause(known.times);
                    known.times = known.times.saturating_add(1);
                    known.because = Because::Refused;
                }
            }
        }
    }
}

/// Those that are idle go, and if there are none the one that is for longest.
fn make_room(kept: &mut Kept, now: Instant) {
    let used = |sign_in: &SignIn| lock(&sign_in.state).used;
    kept.retain(|_, sign_in| now - used(sign_in) < IDLE_MAX);
    if kept.len() < SIGN_INS_MAX {
        return;
    }
    let oldest = kept.iter().min_by_key(|(_, sign_in)| used(sign_in));
    if let Some(key) = oldest.map(|(key, _)| key.clone()) {
        kept.remove(&key);
    }
}

/// A request to the app, as cookies go with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// As the origin is asked, without a query.
    pub(crate) path: &'a str,
    /// Whether the user's side is encrypted.
    pub(crate) secure: bool,
    pub(crate) now: SystemTime,
}

impl<'a> Place<'a> {
    fn asked(self) -> Asked<'a> {
        Asked {
            path: self.path,
            secure: self.secure,
            now: self.now,
        }
    }
}

impl State {
    fn end(&mut self) {
        self.jar = Jar::default();
        self.is_in = false;
    }
}

impl SignIn {
    /// How often it was begun; 0: it is to be begun.
    pub(crate) fn begun(&self) -> u64 {
        let state = lock(&self.state);
        if state.is_in { state.begun } else { 0 }
    }

    /// The app has ended what was begun the `begun`th time.
    pub(crate) fn expire(&self, begun: u64) {
        let mut state = lock(&self.state);
        if state.begun == begun {
            state.end();
        }
    }

    /// Begins anew, with no cookie from before.
    pub(crate) fn forget(&self) {
        lock(&self.state).end();
    }

    /// The app has let the user in.
    pub(crate) fn has_begun(&self) {
        let mut state = lock(&self.state);
        state.begun += 1;
        state.is_in = true;
    }

    /// What a request says in `Cookie`.
    pub(crate) fn cookies(&self, place: Place<'_>, own: Option<&str>) -> Option<Zeroizing<String>> {
        lock(&self.state).jar.field(place.asked(), own)
    }

    /// Takes in what an answer sets.
    pub(crate) fn take_in<'c>(&self, place: Place<'_>, cookies: impl Iterator<Item = &'c str>) {
        let mut state = lock(&self.state);
        for cookie in cookies {
            state.jar.take_in(cookie, place.asked());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Credentials;

    fn sealed(name: &str, text: &'static [u8]) -> Sealed {
        let mut credentials = Credentials::default();
        credentials.add(&proto::fabric::Credential {
            name: name.to_owned(),
            vault_key: "k1".to_owned(),
            sealed: text.into(),
        });
        let found = credentials.find(&name.parse().unwrap());
        found.expect("it was added").clone()
    }

    const ALICE: &str = "credentials/wiki/local/alice";

    fn who(user: &str) -> Who {
        Who {
            provider: None,
            user: user.parse().unwrap(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_credential_rests_longer_each_time_and_another_does_not() {
        let sign_ins = SignIns::default();
        let name: CredentialName = ALICE.parse().unwrap();
        let (old, new) = (sealed(ALICE, b"old"), sealed(ALICE, b"new"));
        let mut now = Instant::now();
        let mut pause = PAUSE;
        for _ in 0..9 {
            assert_eq!(sign_ins.begin(&name, &old, now), Ok(()));
            sign_ins.ended(&name, Err(Because::Refused), now);
            now += pause - Duration::from_secs(1);
            assert_eq!(sign_ins.begin(&name, &old, now), Err(Because::Refused));
            now += Duration::from_secs(1);
            pause = (pause * 2).min(PAUSE_MAX);
        }
        assert_eq!(sign_ins.begin(&name, &old, now), Ok(()));
        sign_ins.ended(&name, Err(Because::Refused), now);
        assert_eq!(sign_ins.begin(&name, &new, now), Ok(()));
        sign_ins.ended(&name, Ok(()), now);
        assert_eq!(sign_ins.begin(&name, &new, now), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_with_each_request_rests_after_three_refusals_in_a_row() {
        let sign_ins = SignIns::default();
        let name: CredentialName = ALICE.parse().unwrap();
        let (old, new) = (sealed(ALICE, b"old"), sealed(ALICE, b"new"));
        let now = Instant::now();
        let refuse = |times: u32| {
            for _ in 0..times {
                sign_ins.refused(&name, &old, now);
            }
        };
        refuse(2);
        sign_ins.taken(&name);
        refuse(2);
        assert!(!sign_ins.rests(&name, &old, now));
        refuse(1);
        assert!(sign_ins.rests(&name, &old, now));
        assert!(!sign_ins.rests(&name, &new, now));
        assert!(!sign_ins.rests(&name, &old, now + PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_nobody_waits_for_counts_for_a_little_while() {
        let sign_ins = SignIns::default();
        let name: CredentialName = ALICE.parse().unwrap();
        let now = Instant::now();
        let one = sealed(ALICE, b"one");
        assert_eq!(sign_ins.begin(&name, &one, now), Ok(()));
        assert_eq!(sign_ins.begin(&name, &one, now), Err(Because::Failed));
        assert_eq!(sign_ins.begin(&name, &one, now + SHORT_PAUSE), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_of_one_user_and_one_credential_and_ends_unused() {
        let sign_ins = SignIns::default();
        let app: AppId = "wiki".parse().unwrap();
        let now = Instant::now();
        let (old, new) = (sealed(ALICE, b"old"), sealed(ALICE, b"new"));
        let place = Place {
            path: "/",
            secure: true,
            now: SystemTime::UNIX_EPOCH,
        };
        let first = sign_ins.of(&app, &who("alice"), &old, now);
        first.take_in(place, ["a=1; Path=/"].into_iter());
        first.has_begun();
        let cookies = |sign_in: &SignIn| {
            let field = sign_in.cookies(place, None);
            field.map(|field| field.to_string())
        };
        let again = sign_ins.of(&app, &who("alice"), &old, now);
        assert_eq!(
            (again.begun(), cookies(&again).as_deref()),
            (1, Some("a=1"))
        );
        assert_eq!(sign_ins.of(&app, &who("bob"), &old, now).begun(), 0);
        let later = sign_ins.of(&app, &who("alice"), &old, now + IDLE_MAX);
        assert_eq!((later.begun(), cookies(&later)), (0, None));
        later.has_begun();
        assert_eq!(sign_ins.of(&app, &who("alice"), &new, now).begun(), 0);
        for number in 0..SIGN_INS_MAX + 10 {
            sign_ins.of(&app, &who(&format!("u{number}")), &old, now);
        }
        assert_eq!(lock(&sign_ins.kept).len(), SIGN_INS_MAX);
    }
}
