//! Sign-ins of users at apps by the apps' own forms: the cookies that came of each, and when none is to be tried again.
//!
//! All workers share them. One sign-in of a user at an app is under way at a time. What an app has refused is not sent again for a while,
//! so that no account is locked for attempts that nobody makes.

mod date;
mod jar;
mod page;
mod steps;
#[cfg(test)]
mod tests;
mod walk;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use model::{
    name::AppId,
    vault::{CredentialName, Holder},
};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::credentials::{self, Sealed, Who};
use jar::Jar;

pub(crate) use jar::Place;
pub(crate) use steps::{Judged, Step, leads_to};
pub(crate) use walk::{Address, BadStep, Walker, put_cookies, walk};

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
/// Users in a row for whom an app has refused a shared credential, after which it rests for all: of one user it may be that user's doing.
const REFUSED_USERS_MAX: usize = 3;
/// How long after a sign-in an app that asks for another one has not taken the first.
const FRESH: Duration = Duration::from_secs(60);
/// Sign-ins in a row that may be given up after the form was sent, before the next one waits.
const ABANDONED_MAX: u32 = 3;

/// How often those go that are idle.
const SWEEP_EVERY: Duration = Duration::from_secs(300);

/// By app and user.
#[derive(Debug, Default)]
struct Kept {
    sign_ins: HashMap<(AppId, Who), Arc<SignIn>>,
    /// When those that are idle went last.
    swept: Option<Instant>,
}

/// Held by who signs in with a credential.
pub(crate) type Turn = Arc<tokio::sync::Mutex<()>>;

/// All of an agent's. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct SignIns {
    kept: Arc<Mutex<Kept>>,
    turns: Arc<Mutex<HashMap<CredentialName, Weak<tokio::sync::Mutex<()>>>>>,
    pauses: Arc<Mutex<HashMap<CredentialName, Pause>>>,
}

/// One user at one app.
#[derive(Debug)]
pub(crate) struct SignIn {
    /// By which credential.
    sealed: Sealed,
    state: Mutex<State>,
    /// That of all users of the credential.
    pub(crate) turn: Turn,
}

#[derive(Debug)]
struct State {
    jar: Jar,
    /// How often it was begun.
    begun: u64,
    /// Whether the app has let the user in, and has not said otherwise since.
    is_in: bool,
    /// Whether it has answered a request since, as it answers users who are in.
    is_shown: bool,
    /// When it let the user in last.
    entered: Option<Instant>,
    used: Instant,
}

/// A credential as one user goes by it.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    /// The credential's.
    pub(crate) name: CredentialName,
    pub(crate) sealed: Sealed,
    /// The user's own, under which sign-ins rest: of a shared one nobody has to wait for what another user's requests came to.
    rests_as: CredentialName,
}

impl Use {
    pub(crate) fn new(
        (name, sealed): (CredentialName, Sealed),
        (app, who): (&AppId, &Who),
    ) -> Self {
        Self {
            name,
            sealed,
            rests_as: credentials::name(app, Some(who)),
        }
    }

    fn is_shared(&self) -> bool {
        self.rests_as != self.name
    }
}

/// Why a credential is not sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    /// The app has refused it.
    Refused,
    /// The last attempt came to nothing.
    Failed,
    /// It is being sent.
    UnderWay,
}

#[derive(Debug)]
struct Pause {
    /// Another one is not held back.
    sealed: Sealed,
    because: Because,
    until: Instant,
    /// Refusals in a row.
    times: u32,
    /// Sign-ins in a row that were given up.
    abandoned: u32,
    /// The app has taken it once.
    was_taken: bool,
    /// Of a shared one: under which names the app has refused it since it took it last.
    refused_as: Vec<CredentialName>,
}

/// A sign-in under way. Dropped before its end it holds nobody back, unless that happens time after time.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    sign_ins: &'a SignIns,
    by: &'a Use,
    began: Instant,
    /// The form has gone to the app.
    is_sent: bool,
    has_ended: bool,
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
    pub(crate) fn of(
        &self,
        (app, who): (&AppId, &Who),
        (name, sealed): (&CredentialName, &Sealed),
        now: Instant,
    ) -> Arc<SignIn> {
        let key = (app.clone(), who.clone());
        let mut kept = lock(&self.kept);
        let kept = &mut *kept;
        if kept.swept.is_none_or(|swept| now - swept >= SWEEP_EVERY) {
            kept.swept = Some(now);
            kept.sign_ins.retain(|_, sign_in| !sign_in.is_idle(now));
        }
        let kept = &mut kept.sign_ins;
        if let Some(known) = kept.get(&key).filter(|known| known.sealed == *sealed) {
            let mut state = lock(&known.state);
            if now - state.used >= IDLE_MAX {
                state.end();
            }
            state.used = now;
            return Arc::clone(known);
        }
        if kept.len() >= SIGN_INS_MAX {
            make_room(kept);
        }
        let fresh = Arc::new(SignIn {
            sealed: sealed.clone(),
            state: Mutex::new(State {
                jar: Jar::default(),
                begun: 0,
                is_in: false,
                is_shown: false,
                entered: None,
                used: now,
            }),
            turn: self.turn(name),
        });
        kept.insert(key, Arc::clone(&fresh));
        fresh
    }

    /// Held by who signs in with this credential.
    pub(crate) fn turn(&self, name: &CredentialName) -> Turn {
        let mut turns = lock(&self.turns);
        if let Some(turn) = turns.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= SIGN_INS_MAX {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Turn::default();
        turns.insert(name.clone(), Arc::downgrade(&turn));
        turn
    }

    /// Whether a credential may be sent to its app now; if so, no other is until it is known what came of it, or for a little while.
    pub(crate) fn begin<'a>(&'a self, by: &'a Use, now: Instant) -> Result<Attempt<'a>, Because> {
        if by.is_shared()
            && let Some(because) = self.rests(&by.name, &by.sealed, now)
        {
            return Err(because);
        }
        let mut pauses = lock(&self.pauses);
        let pause = of(&mut pauses, &by.rests_as, &by.sealed, now);
        if now < pause.until {
            return Err(pause.because);
        }
        pause.because = Because::UnderWay;
        pause.until = now + SHORT_PAUSE;
        Ok(Attempt {
            sign_ins: self,
            by,
            began: now,
            is_sent: false,
            has_ended: false,
        })
    }

    /// Why a user's sign-in would have to wait; `None`: it would not.
    pub(crate) fn holds_back(&self, by: &Use, now: Instant) -> Option<Because> {
        let of_all = self.rests(&by.name, &by.sealed, now);
        of_all.or_else(|| self.rests(&by.rests_as, &by.sealed, now))
    }

    /// Why a credential rests; `None`: it does not. What is asked about is the one that counts from then on.
    pub(crate) fn rests(
        &self,
        name: &CredentialName,
        sealed: &Sealed,
        now: Instant,
    ) -> Option<Because> {
        let mut pauses = lock(&self.pauses);
        let pause = of(&mut pauses, name, sealed, now);
        (now < pause.until).then_some(pause.because)
    }

    /// The app has refused one that goes with each request. What it has taken before does not rest: there are pages that refuse
    /// everybody. Nor does what is not the user's own.
    pub(crate) fn refused(&self, name: &CredentialName, sealed: &Sealed, now: Instant) {
        if name.holder == Holder::Shared {
            return;
        }
        self.change(name, sealed, now, |pause| {
            if pause.was_taken {
                return;
            }
            pause.times = pause.times.saturating_add(1);
            pause.because = Because::Refused;
            if let Some(longer) = pause.times.checked_sub(REFUSALS_MAX) {
                pause.until = now + self::pause(longer);
            }
        });
    }

    /// It has taken one that goes with each request.
    pub(crate) fn taken(&self, name: &CredentialName, sealed: &Sealed, now: Instant) {
        self.change(name, sealed, now, |pause| {
            pause.times = 0;
            pause.until = now;
            pause.was_taken = true;
            pause.refused_as.clear();
        });
    }

    /// The app has refused a shared one for a user. For all it rests when that goes on, so that the app does not lock it: one user alone
    /// closes the app for nobody else.
    fn refused_for(&self, by: &Use, now: Instant) {
        self.change(&by.name, &by.sealed, now, |pause| {
            if pause.refused_as.contains(&by.rests_as) {
                return;
            }
            pause.refused_as.push(by.rests_as.clone());
            if pause.refused_as.len() >= REFUSED_USERS_MAX {
                pause.refused_as.clear();
                pause.because = Because::Refused;
                pause.until = now + PAUSE;
            }
        });
    }

    /// The app asks for a sign-in right after one that it seemed to take: there is none in a row.
    pub(crate) fn doubted(&self, by: &Use, now: Instant) {
        self.change(&by.rests_as, &by.sealed, now, |pause| {
            pause.because = Because::Refused;
            pause.until = pause.until.max(now + PAUSE);
        });
    }

    /// Nothing, if there is another credential meanwhile: an answer may be a long time coming.
    fn change(
        &self,
        name: &CredentialName,
        sealed: &Sealed,
        now: Instant,
        change: impl FnOnce(&mut Pause),
    ) {
        let mut pauses = lock(&self.pauses);
        let known = pauses.get(name);
        if known.is_none_or(|known| known.sealed == *sealed) {
            change(of(&mut pauses, name, sealed, now));
        }
    }
}

impl Attempt<'_> {
    /// The form goes to the app now.
    pub(crate) const fn is_sent(&mut self) {
        self.is_sent = true;
    }

    /// Whether it has.
    pub(crate) const fn was_sent(&self) -> bool {
        self.is_sent
    }

    /// What came of it; failures leave the little while.
    pub(crate) fn ended(mut self, outcome: Result<(), Because>, now: Instant) {
        self.has_ended = true;
        self.change(|known| {
            known.abandoned = 0;
            match outcome {
                Ok(()) => {
                    known.times = 0;
                    known.goes_on(now);
                }
                Err(Because::Failed | Because::UnderWay) => {
                    if known.because == Because::UnderWay {
                        known.because = Because::Failed;
                    }
                }
                Err(Because::Refused) => {
                    known.until = known.until.max(now + pause(known.times));
                    known.times = known.times.saturating_add(1);
                    known.because = Because::Refused;
                }
            }
        });
        if !self.by.is_shared() {
            return;
        }
        match outcome {
            Ok(()) => self.sign_ins.taken(&self.by.name, &self.by.sealed, now),
            Err(Because::Refused) => self.sign_ins.refused_for(self.by, now),
            Err(Because::Failed | Because::UnderWay) => {}
        }
    }

    /// Nothing, if there is another credential meanwhile.
    fn change(&self, change: impl FnOnce(&mut Pause)) {
        let mut pauses = lock(&self.sign_ins.pauses);
        let known = pauses.get_mut(&self.by.rests_as);
        if let Some(known) = known.filter(|known| known.sealed == self.by.sealed) {
            change(known);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        self.change(|known| {
            known.abandoned += u32::from(self.is_sent);
            if known.abandoned < ABANDONED_MAX {
                known.goes_on(self.began);
            } else {
                known.abandoned = 0;
                if known.because == Because::UnderWay {
                    known.because = Because::Failed;
                }
            }
        });
    }
}

impl Pause {
    /// What is under way holds nobody back any more. What has come of something else meanwhile does.
    fn goes_on(&mut self, from: Instant) {
        if self.because == Because::UnderWay {
            self.until = from;
        }
    }
}

/// That of a credential, which is none yet if there is none. That of another credential of the name ends.
fn of<'p>(
    pauses: &'p mut HashMap<CredentialName, Pause>,
    name: &CredentialName,
    sealed: &Sealed,
    now: Instant,
) -> &'p mut Pause {
    if pauses.len() >= SIGN_INS_MAX && !pauses.contains_key(name) {
        let first = pauses.iter().min_by_key(|(_, pause)| pause.until);
        if let Some(first) = first.map(|(name, _)| name.clone()) {
            pauses.remove(&first);
        }
    }
    let none = || Pause {
        sealed: sealed.clone(),
        because: Because::Failed,
        until: now,
        times: 0,
        abandoned: 0,
        was_taken: false,
        refused_as: Vec::new(),
    };
    let pause = pauses.entry(name.clone()).or_insert_with(none);
    if pause.sealed != *sealed {
        *pause = none();
    }
    pause
}

/// The one that is idle for longest goes.
fn make_room(kept: &mut HashMap<(AppId, Who), Arc<SignIn>>) {
    let used = |sign_in: &SignIn| lock(&sign_in.state).used;
    let oldest = kept.iter().min_by_key(|(_, sign_in)| used(sign_in));
    if let Some(key) = oldest.map(|(key, _)| key.clone()) {
        kept.remove(&key);
    }
}

impl State {
    fn end(&mut self) {
        self.jar = Jar::default();
        self.is_in = false;
    }
}

impl SignIn {
    fn is_idle(&self, now: Instant) -> bool {
        now - lock(&self.state).used >= IDLE_MAX
    }

    /// Which one the user is in by, counted from 1; 0: it is to be begun.
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

    /// Begins anew, with no cookie from before, and says which one it is, counted from 1.
    pub(crate) fn begin(&self) -> u64 {
        let mut state = lock(&self.state);
        state.end();
        state.begun += 1;
        state.begun
    }

    /// The app has let the user in.
    pub(crate) fn has_begun(&self, now: Instant) {
        let mut state = lock(&self.state);
        state.is_in = true;
        state.is_shown = false;
        state.entered = Some(now);
    }

    /// The app has answered a request as it answers users who are in.
    pub(crate) fn is_shown(&self, begun: u64) {
        let mut state = lock(&self.state);
        if state.begun == begun {
            state.is_shown = true;
        }
    }

    /// Whether an app that asks for a sign-in now has not taken the one that it seemed to take.
    pub(crate) fn is_doubtful(&self, begun: u64, now: Instant) -> bool {
        let state = lock(&self.state);
        let is_fresh = state.entered.is_some_and(|then| now - then < FRESH);
        state.begun == begun && state.is_in && !state.is_shown && is_fresh
    }

    /// What a request says in `Cookie`.
    pub(crate) fn cookies(&self, place: Place<'_>, own: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        lock(&self.state).jar.field(place, own)
    }

    /// Takes in what an answer sets, if it is one to the sign-in that counts.
    pub(crate) fn take_in<'c>(
        &self,
        place: Place<'_>,
        begun: u64,
        cookies: impl Iterator<Item = &'c [u8]>,
    ) {
        let mut state = lock(&self.state);
        if state.begun != begun {
            return;
        }
        for cookie in cookies {
            state.jar.take_in(cookie, place);
        }
    }
}
