//! Connections that belong to one user's connection each.
//!
//! NTLM, and Negotiate as many servers do it, sign a connection on, not a request: whoever sends the next request on it is taken for
//! the same user. Such a connection leaves the shared ones for good. It serves the user's connection that signed on, in one
//! app's site, one exchange at a time, and nobody else, ever.

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

/// The pinned connections of one worker. Clones are the same.
#[derive(Clone)]
pub(crate) struct Pins {
    held: Rc<RefCell<HashMap<PinKey, Pin>>>,
    clock: Clock,
    gauge: Gauge,
}

enum Pin {
    Idle {
        connection: Box<Connection>,
        since: Instant,
    },
    /// An exchange is under way on it.
    Busy(Rc<Notify>),
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

    /// The user's own connection, if there is one: after the exchange that is under way on it, if that ends before `until`.
    pub(crate) async fn take(&self, key: &PinKey, until: Instant) -> Option<(Connection, PinTurn)> {
        loop {
            let busy = match self.held.borrow_mut().get_mut(key)? {
                Pin::Busy(ended) => Some(Rc::clone(ended)),
                Pin::Idle { .. } => None,
            };
            if let Some(ended) = busy {
                timeout_at(until, ended.notified()).await.ok()?;
                continue;
            }
            let (mut connection, turn) = self.occupy(key)?;
            // The end of a connection that has already arrived is seen before a request is risked on it.
            yield_now().await;
            yield_now().await;
            return (connection.is_open() && connection.make_ready().await)
                .then_some((connection, turn));
        }
    }

    /// Makes the connection of the exchange under way the user's own. `None` if there is no room, or it has one already.
    pub(crate) fn pin(&self, key: &PinKey) -> Option<PinTurn> {
        let mut held = self.held.borrow_mut();
        if held.contains_key(key) {
            return None;
        }
        let evicted = if held.len() < PINS_MAX {
            None
        } else {
            let oldest = oldest_idle(&held)?;
            held.remove(&oldest)
        };
        held.insert(key.clone(), Pin::Busy(Rc::default()));
        self.gauge
            .increment(if evicted.is_some() { 0.0 } else { 1.0 });
        drop(held);
        drop(evicted);
        Some(PinTurn {
            pins: self.clone(),
            key: key.clone(),
        })
    }

    /// Closes what lies idle for too long or was closed by its origin.
    pub(super) fn sweep(&self, now: Instant) {
        let mut held = self.held.borrow_mut();
        let ended: Vec<_> = held
            .extract_if(|_, pin| match pin {
                Pin::Idle { connection, since } => {
                    !connection.is_open() || now.saturating_duration_since(*since) >= IDLE_TIMEOUT
                }
                Pin::Busy(_) => false,
            })
            .collect();
        self.gauge
            .decrement(u32::try_from(ended.len()).unwrap_or(u32::MAX));
        // Outside the borrow: what a dropped connection wakes may come back here.
        drop(held);
        drop(ended);
    }

    fn occupy(&self, key: &PinKey) -> Option<(Connection, PinTurn)> {
        let mut held = self.held.borrow_mut();
        let pin = held.get_mut(key)?;
        let Pin::Idle { connection, .. } = std::mem::replace(pin, Pin::Busy(Rc::default())) else {
            return None;
        };
        let turn = PinTurn {
            pins: self.clone(),
            key: key.clone(),
        };
        Some((*connection, turn))
    }
}

fn oldest_idle(held: &HashMap<PinKey, Pin>) -> Option<PinKey> {
    held.iter()
        .filter_map(|(key, pin)| match pin {
            Pin::Idle { since, .. } => Some((*since, key)),
            Pin::Busy(_) => None,
        })
        .min_by_key(|(since, _)| *since)
        .map(|(_, key)| key.clone())
}

/// The right to the user's own connection. Dropped without [`PinTurn::put_back`], the user has none any more.
pub(crate) struct PinTurn {
    pins: Pins,
    key: PinKey,
}

impl fmt::Debug for PinTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinTurn").finish_non_exhaustive()
    }
}

impl PinTurn {
    /// Keeps the connection for the user's next request; its exchange ended in good order on both sides.
    pub(crate) fn put_back(self, connection: Connection) {
        if !connection.is_open() {
            return;
        }
        let since = self.pins.clock.now();
        let idle = Pin::Idle {
            connection: Box::new(connection),
            since,
        };
        let before = self.pins.held.borrow_mut().insert(self.key.clone(), idle);
        if let Some(Pin::Busy(ended)) = before {
            ended.notify_waiters();
        }
    }
}

impl Drop for PinTurn {
    fn drop(&mut self) {
        let mut held = self.pins.held.borrow_mut();
        if let Some(Pin::Busy(_)) = held.get(&self.key)
            && let Some(Pin::Busy(ended)) = held.remove(&self.key)
        {
            self.pins.gauge.decrement(1.0);
            ended.notify_waiters();
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
