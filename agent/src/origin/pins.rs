//! Connections that belong to one user's connection each.
//!
//! NTLM, and Negotiate as many servers do it, sign a connection on, not a request: whoever sends the next request on it is taken for
//! the same user. Such a connection leaves the shared ones for good. It serves the user's connection that signed on, in one
//! app's site, one exchange at a time, and nobody else, ever.
//!
//! A user's connection of HTTP/2 or HTTP/3 asks for several things at once, and one long answer must not hold up the others: who
//! waits in vain goes on a shared connection, is asked to sign on there, and does so on another of its own.

use std::{cell::RefCell, collections::HashMap, fmt, rc::Rc, time::Duration};

use http::{HeaderMap, header};
use metrics::Gauge;
use model::sign_on;
use runtime::Clock;
use tokio::{
    sync::Notify,
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

/// What a request needs of its user's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// One that is signed on.
    SignedOn,
    /// One on which a sign-in is under way, or any.
    SigningOn,
}

/// The pinned connections of one worker. Clones are the same.
#[derive(Clone)]
pub(crate) struct Pins {
    held: Rc<RefCell<HashMap<PinKey, Held>>>,
    clock: Clock,
    gauge: Gauge,
}

/// The connections of one user's connection.
#[derive(Default)]
struct Held {
    /// The one used last is used next.
    idle: Vec<Idle>,
    /// Exchanges under way on others.
    busy: usize,
    /// Told when one of them has ended.
    ended: Rc<Notify>,
}

struct Idle {
    connection: Connection,
    since: Instant,
    /// The origin waits for the last leg of a sign-in on it.
    is_challenged: bool,
}

impl Held {
    const fn count(&self) -> usize {
        self.idle.len() + self.busy
    }

    /// One that lies idle and will do.
    fn choose(&mut self, need: Need) -> Option<Connection> {
        let fits = |idle: &Idle| match need {
            Need::SignedOn => !idle.is_challenged,
            Need::SigningOn => idle.is_challenged,
        };
        let fitting = self.idle.iter().rposition(fits);
        let chosen = match need {
            // Any other request would end the sign-in that is under way.
            Need::SignedOn => fitting?,
            Need::SigningOn => fitting.or_else(|| self.idle.len().checked_sub(1))?,
        };
        self.busy += 1;
        Some(self.idle.remove(chosen).connection)
    }

    /// Whether it is worth waiting for one.
    const fn is_worth_a_wait(&self, need: Need) -> bool {
        self.busy > 0
            && match need {
                Need::SignedOn => true,
                Need::SigningOn => self.count() >= PINS_OF_USER_MAX,
            }
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

    /// One of the user's own connections, if there is one: after an exchange that is under way, if one ends soon enough.
    pub(crate) async fn take(
        &self,
        key: &PinKey,
        need: Need,
        patience: Duration,
    ) -> Option<(Connection, PinTurn)> {
        let until = self.clock.now() + patience.min(TURN_WAIT);
        let (mut connection, turn) = loop {
            let ended = {
                let mut held = self.held.borrow_mut();
                let own = held.get_mut(key)?;
                if let Some(connection) = own.choose(need) {
                    drop(held);
                    break (connection, self.turn(key));
                }
                if !own.is_worth_a_wait(need) {
                    return None;
                }
                Rc::clone(&own.ended)
            };
            timeout_at(until, ended.notified()).await.ok()?;
        };
        // The end of a connection that has already arrived is seen before a request is risked on it.
        yield_now().await;
        yield_now().await;
        (connection.is_open() && connection.make_ready().await).then_some((connection, turn))
    }

    /// Makes the connection of the exchange under way the user's own. `None` if there is no room.
    pub(crate) fn pin(&self, key: &PinKey, need: Need) -> Option<PinTurn> {
        let mut held = self.held.borrow_mut();
        let count = held.get(key).map_or(0, Held::count);
        // Who has one signs on there, or brings a sign-in along.
        let most = match need {
            Need::SignedOn => 1,
            Need::SigningOn => PINS_OF_USER_MAX,
        };
        if count >= most {
            return None;
        }
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
            own.count() > 0
        });
        self.gauge
            .decrement(u32::try_from(ended.len()).unwrap_or(u32::MAX));
        // Outside the borrow: what a dropped connection wakes may come back here.
        drop(held);
        drop(ended);
    }

    fn turn(&self, key: &PinKey) -> PinTurn {
        PinTurn {
            pins: self.clone(),
            key: key.clone(),
            is_over: false,
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
        if own.count() == 0 {
            held.remove(key);
        }
    }
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
    if own.count() == 0 {
        held.remove(&key);
    }
    Some(evicted)
}

/// The right to one of the user's own connections. Dropped without [`PinTurn::put_back`], the connection is nobody's any more.
pub(crate) struct PinTurn {
    pins: Pins,
    key: PinKey,
    /// It was put back.
    is_over: bool,
}

impl fmt::Debug for PinTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinTurn").finish_non_exhaustive()
    }
}

/// How far the sign-in of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignIn {
    /// The origin asks for more of it.
    Asked,
    /// It is over.
    Done,
}

impl PinTurn {
    /// Keeps the connection for the user's next request; its exchange ended in good order on both sides.
    pub(crate) fn put_back(mut self, connection: Connection, sign_in: SignIn) {
        let idle = connection.is_open().then(|| Idle {
            connection,
            since: self.pins.clock.now(),
            is_challenged: sign_in == SignIn::Asked,
        });
        self.finish(idle);
    }

    fn finish(&mut self, idle: Option<Idle>) {
        self.is_over = true;
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

/// Whether a request signs a connection on.
pub(crate) fn signs_on(request: &HeaderMap) -> bool {
    let mut values = request.get_all(header::AUTHORIZATION).iter();
    values.any(|value| sign_on::is_of_connection(value.as_bytes()))
}

/// Whether an answer asks for the sign-in of a connection.
pub(crate) fn asks_to_sign_on(answer: &HeaderMap) -> bool {
    let mut values = answer.get_all(header::WWW_AUTHENTICATE).iter();
    values.any(|value| sign_on::is_of_connection(value.as_bytes()))
}
