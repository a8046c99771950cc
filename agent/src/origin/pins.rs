//! Connections that belong to one user's connection each.
//!
//! NTLM, and Negotiate as many servers do it, sign a connection on, not a request: whoever sends the next request on it is taken for
//! the same user. Such a connection leaves the shared ones for good. It serves the user's connection that signed on, in one
//! app's site, one exchange at a time, and nobody else, ever.
//!
//! A user's connection of HTTP/2 or HTTP/3 asks for several things at once, and one long answer must not hold up the others: who
//! waits in vain goes on a shared connection, is asked to sign on there, and does so on another of its own.
//!
//! A sign-in takes several requests, and nothing in the later ones says which challenge they answer. So of one user's connection
//! one sign-in is under way at a time, from its first request to the head of the answer that ends it; others wait before they begin.

use std::{cell::RefCell, collections::HashMap, fmt, pin::pin, rc::Rc, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header};
use metrics::Gauge;
use model::sign_on::{self, Leg};
use runtime::Clock;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::yield_now,
    time::{Instant, timeout_at},
};

use super::Connection;

/// Pinned connections of one worker. At the bound the one that lies idle longest makes room: its user signs on anew.
const PINS_MAX: usize = 1_024;

/// Pinned connections of one connection of a user: as many as browsers make over HTTP/1.1.
const PINS_OF_USER_MAX: usize = 6;

/// Longest wait for an exchange that is under way on the user's own connection: longer than most answers take, and shorter than
/// people wait.
const TURN_WAIT: Duration = Duration::from_secs(2);

/// Longest wait for other sign-ins of the same user's connection: some dozens of them, each of two round trips to the user.
const SIGN_IN_WAIT: Duration = Duration::from_secs(10);

/// How long a challenge may go unanswered while another sign-in waits. Programs answer at once: whoever has to be asked for a
/// password is so before the sign-in begins. So this is some round trips to the user.
const CHALLENGE_PATIENCE: Duration = Duration::from_secs(3);

/// How often one who waits looks for a challenge that goes unanswered.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long one lies idle: as long as IIS keeps it. The user's own connection is mostly gone before.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// Whose a connection is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PinKey {
    /// Random bytes that the edge made for the user's connection.
    pub(crate) user: [u8; 16],
    /// Id of the app.
    pub(crate) app: String,
    /// Id of the segment; empty: the main part.
    pub(crate) segment: String,
}

/// A request of a sign-in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SigningOn {
    pub(crate) leg: Leg,
    /// The user's connection has one request at a time, so what came before has been given up.
    pub(crate) is_alone: bool,
}

/// The pinned connections of one worker. Clones are the same.
#[derive(Clone)]
pub(crate) struct Pins {
    held: Rc<RefCell<HashMap<PinKey, Held>>>,
    clock: Clock,
    gauge: Gauge,
}

/// The connections of one user's connection.
struct Held {
    /// The one used last is used next.
    idle: Vec<Idle>,
    /// Exchanges under way on others, or about to be.
    busy: usize,
    /// Told when one of them has ended.
    ended: Rc<Notify>,
    /// Has one permit, for the sign-in that is under way.
    sign_in: Arc<Semaphore>,
}

struct Idle {
    connection: Connection,
    since: Instant,
    state: SignIn,
    /// Of the sign-in whose challenge is unanswered.
    permit: Option<OwnedSemaphorePermit>,
}

/// How far the sign-in of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignIn {
    /// The origin asks for one.
    Asked,
    /// The origin has sent a challenge. Anything but the answer to it would end the sign-in.
    Challenged,
    /// It is over.
    Done,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            idle: Vec::new(),
            busy: 0,
            ended: Rc::default(),
            sign_in: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Held {
    const fn count(&self) -> usize {
        self.idle.len() + self.busy
    }

    /// Nobody has one, or waits to sign in.
    fn is_unused(&self) -> bool {
        self.count() == 0 && Arc::strong_count(&self.sign_in) == 1
    }

    fn is_signing_in(&self) -> bool {
        self.sign_in.available_permits() == 0
    }

    /// One that lies idle with its sign-in so far.
    fn take(&mut self, state: SignIn) -> Option<Idle> {
        let chosen = self.idle.iter().rposition(|idle| idle.state == state)?;
        self.busy += 1;
        Some(self.idle.remove(chosen))
    }

    /// One to begin a sign-in on: whoever signs in anew does so on what is there, so that no earlier name outlives it.
    fn take_to_begin(&mut self) -> Option<Idle> {
        let idle = self.take(SignIn::Asked);
        idle.or_else(|| self.take(SignIn::Done))
    }

    /// Takes out what has been challenged for so long.
    fn give_up_challenges(&mut self, now: Instant, patience: Duration) -> Vec<Idle> {
        let stale = |idle: &mut Idle| {
            idle.state == SignIn::Challenged
                && now.saturating_duration_since(idle.since) >= patience
        };
        self.idle.extract_if(.., stale).collect()
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pins")
            .field("held", &self.held.borrow().len())
            .finish_non_exhaustive()
    }
}

impl Pins {
    pub(super) fn new(clock: Clock, gauge: Gauge) -> Self {
        Self {
            held: Rc::default(),
            clock,
            gauge,
        }
    }

    /// Whether nobody's connection is kept here, so that nobody need look for one.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.borrow().is_empty()
    }

    /// One of the user's own connections that is signed on, if there is one: after an exchange or a sign-in that is under way, if
    /// it ends soon enough.
    pub(crate) async fn take(
        &self,
        key: &PinKey,
        is_alone: bool,
        patience: Duration,
    ) -> Option<(Connection, PinTurn)> {
        self.give_up_challenges(key, is_alone);
        let until = self.clock.now() + patience.min(TURN_WAIT);
        let (idle, turn) = self.taken(key, SignIn::Done, until).await?;
        usable(idle).await.map(|connection| (connection, turn))
    }

    /// A turn for a request of a sign-in, and the connection for it; without one it takes a fresh one. `None`: there is no room, or
    /// other sign-ins take too long, and the connection on which it is done is to be nobody's.
    pub(crate) async fn sign_on(
        &self,
        key: &PinKey,
        what: SigningOn,
        patience: Duration,
    ) -> Option<(Option<Connection>, PinTurn)> {
        let now = self.clock.now();
        if what.leg == Leg::Later {
            let until = now + patience.min(TURN_WAIT);
            if let Some((idle, mut turn)) = self.taken(key, SignIn::Challenged, until).await {
                turn.permit = idle.permit;
                let connection = usable_connection(idle.connection).await;
                return Some((connection, turn));
            }
        }
        let until = now + patience.min(SIGN_IN_WAIT);
        let permit = self.permit(key, what.is_alone, until).await?;
        let (idle, mut turn) = self.begun(key, until).await?;
        turn.permit = Some(permit);
        let connection = match idle {
            Some(idle) => usable(idle).await,
            None => None,
        };
        Some((connection, turn))
    }

    /// One that lies idle with its sign-in so far; after a wait if one may soon.
    async fn taken(&self, key: &PinKey, state: SignIn, until: Instant) -> Option<(Idle, PinTurn)> {
        loop {
            let ended = {
                let mut held = self.held.borrow_mut();
                let own = held.get_mut(key)?;
                if let Some(idle) = own.take(state) {
                    drop(held);
                    return Some((idle, self.turn(key)));
                }
                let is_worth_a_wait =
                    own.is_signing_in() || (own.busy > 0 && state == SignIn::Done);
                if !is_worth_a_wait {
                    return None;
                }
                Rc::clone(&own.ended)
            };
            timeout_at(until, ended.notified()).await.ok()?;
        }
    }

    /// The right to sign in, in the order in which it was asked for.
    async fn permit(
        &self,
        key: &PinKey,
        is_alone: bool,
        until: Instant,
    ) -> Option<OwnedSemaphorePermit> {
        let sign_in = {
            let mut held = self.held.borrow_mut();
            Arc::clone(&held.entry(key.clone()).or_default().sign_in)
        };
        let mut acquired = pin!(sign_in.acquire_owned());
        loop {
            self.give_up_challenges(key, is_alone);
            let now = self.clock.now();
            let look = until.min(now + LOOK_INTERVAL);
            match timeout_at(look, &mut acquired).await {
                Ok(permit) => return permit.ok(),
                Err(_) if now >= until => return None,
                Err(_) => {}
            }
        }
    }

    /// Closes those whose challenge nobody will answer, so that others can sign in.
    fn give_up_challenges(&self, key: &PinKey, is_alone: bool) {
        let now = self.clock.now();
        let patience = if is_alone {
            Duration::ZERO
        } else {
            CHALLENGE_PATIENCE
        };
        let mut held = self.held.borrow_mut();
        let Some(own) = held.get_mut(key) else { return };
        let stale = own.give_up_challenges(now, patience);
        self.gauge.decrement(count(&stale));
        // Outside the borrow: what a dropped connection wakes may come back here.
        drop(held);
        drop(stale);
    }

    /// A turn to begin a sign-in: on one that lies idle, or on a fresh one if there is room.
    async fn begun(&self, key: &PinKey, until: Instant) -> Option<(Option<Idle>, PinTurn)> {
        loop {
            let ended = {
                let mut held = self.held.borrow_mut();
                let own = held.entry(key.clone()).or_default();
                if let Some(idle) = own.take_to_begin() {
                    drop(held);
                    return Some((Some(idle), self.turn(key)));
                }
                if own.count() < PINS_OF_USER_MAX {
                    drop(held);
                    return Some((None, self.reserve(key)?));
                }
                Rc::clone(&own.ended)
            };
            timeout_at(until, ended.notified()).await.ok()?;
        }
    }

    /// Makes the connection of the exchange under way, whose origin asks for a sign-in, the user's own. `None` if there is no room,
    /// or there is one: whoever has one signs on there, or brings a sign-in along.
    pub(crate) fn pin(&self, key: &PinKey) -> Option<PinTurn> {
        let is_first = self.held.borrow().get(key).is_none_or(Held::is_unused);
        is_first.then(|| self.reserve(key)).flatten()
    }

    /// Room for one more. `None` if there is none.
    fn reserve(&self, key: &PinKey) -> Option<PinTurn> {
        let mut held = self.held.borrow_mut();
        let evicted = if held.values().map(Held::count).sum::<usize>() < PINS_MAX {
            None
        } else {
            Some(evict_oldest(&mut held)?)
        };
        held.entry(key.clone()).or_default().busy += 1;
        self.gauge
            .increment(if evicted.is_some() { 0.0 } else { 1.0 });
        drop(held);
        drop(evicted);
        Some(self.turn(key))
    }

    /// Closes what lies idle for too long or was closed by its origin.
    pub(super) fn sweep(&self, now: Instant) {
        let mut held = self.held.borrow_mut();
        let mut ended = Vec::new();
        held.retain(|_, own| {
            let old = own.idle.extract_if(.., |idle| {
                !idle.connection.is_open()
                    || now.saturating_duration_since(idle.since) >= IDLE_TIMEOUT
            });
            ended.extend(old);
            !own.is_unused()
        });
        self.gauge.decrement(count(&ended));
        // Outside the borrow: what a dropped connection wakes may come back here.
        drop(held);
        drop(ended);
    }

    fn turn(&self, key: &PinKey) -> PinTurn {
        PinTurn {
            pins: self.clone(),
            key: key.clone(),
            permit: None,
            is_over: false,
        }
    }

    /// A sign-in of this user is over.
    fn tell(&self, key: &PinKey) {
        if let Some(own) = self.held.borrow().get(key) {
            own.ended.notify_waiters();
        }
    }

    /// An exchange on one of the user's own connections is over; with what is still of use.
    fn end(&self, key: &PinKey, idle: Option<Idle>) {
        let mut held = self.held.borrow_mut();
        let Some(own) = held.get_mut(key) else {
            return;
        };
        own.busy = own.busy.saturating_sub(1);
        match idle {
            Some(idle) => own.idle.push(idle),
            None => self.gauge.decrement(1.0),
        }
        own.ended.notify_waiters();
        if own.is_unused() {
            held.remove(key);
        }
    }
}

/// Its connection, if the origin has not closed it.
async fn usable(idle: Idle) -> Option<Connection> {
    usable_connection(idle.connection).await
}

async fn usable_connection(mut connection: Connection) -> Option<Connection> {
    // The end of a connection that has already arrived is seen before a request is risked on it.
    yield_now().await;
    yield_now().await;
    (connection.is_open() && connection.make_ready().await).then_some(connection)
}

fn count(idle: &[Idle]) -> u32 {
    u32::try_from(idle.len()).unwrap_or(u32::MAX)
}

/// Takes out the one that lies idle longest, of all users.
fn evict_oldest(held: &mut HashMap<PinKey, Held>) -> Option<Idle> {
    let oldest = |own: &Held| {
        let all = own.idle.iter().enumerate();
        all.min_by_key(|(_, idle)| idle.since)
            .map(|(index, idle)| (idle.since, index))
    };
    let (_, index, key) = held
        .iter()
        .filter_map(|(key, own)| oldest(own).map(|(since, index)| (since, index, key)))
        .min_by_key(|(since, ..)| *since)?;
    let key = key.clone();
    let own = held.get_mut(&key)?;
    let evicted = own.idle.remove(index);
    if own.is_unused() {
        held.remove(&key);
    }
    Some(evicted)
}

/// The right to one of the user's own connections. Dropped without [`PinTurn::put_back`], the connection is nobody's any more.
pub(crate) struct PinTurn {
    pins: Pins,
    key: PinKey,
    /// Of the sign-in that is under way on it.
    permit: Option<OwnedSemaphorePermit>,
    /// It was put back.
    is_over: bool,
}

impl fmt::Debug for PinTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinTurn").finish_non_exhaustive()
    }
}

impl PinTurn {
    /// The origin's answer has begun: if a sign-in was under way, it goes on by a challenge or is over.
    pub(crate) fn note(&mut self, state: SignIn) {
        if state != SignIn::Challenged && self.permit.take().is_some() {
            self.pins.tell(&self.key);
        }
    }

    /// Keeps the connection for the user's next request; its exchange ended in good order on both sides.
    pub(crate) fn put_back(mut self, connection: Connection, state: SignIn) {
        let idle = connection.is_open().then(|| Idle {
            connection,
            since: self.pins.clock.now(),
            state,
            permit: self.permit.take(),
        });
        self.finish(idle);
    }

    fn finish(&mut self, idle: Option<Idle>) {
        self.is_over = true;
        // Of a connection that is not kept.
        self.permit = None;
        self.pins.end(&self.key, idle);
    }
}

impl Drop for PinTurn {
    fn drop(&mut self) {
        if !self.is_over {
            self.finish(None);
        }
    }
}

/// How a request signs a connection on, if it does.
pub(crate) fn signs_on(request: &HeaderMap) -> Option<Leg> {
    let mut values = request.get_all(header::AUTHORIZATION).iter();
    values.find_map(|value| Leg::of(value.as_bytes()))
}

/// What an answer says of the sign-in of its connection. The last leg of Negotiate is an answer that brings a token of the origin
/// in the field of challenges (RFC 4559, section 5).
pub(crate) fn sign_in(status: StatusCode, answer: &HeaderMap) -> SignIn {
    let values = || answer.get_all(header::WWW_AUTHENTICATE).iter();
    if status != StatusCode::UNAUTHORIZED {
        SignIn::Done
    } else if values().any(|value| sign_on::is_challenge(value.as_bytes())) {
        SignIn::Challenged
    } else if values().any(|value| sign_on::is_of_connection(value.as_bytes())) {
        SignIn::Asked
    } else {
        SignIn::Done
    }
}
