//! Tickets of users for applications, what the KDC refused, and what is being fetched: each once, however many ask.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{failure::Failure, name::UserName, settings::Bounds, spn::Spn};

/// Entries that were not used for too long, looked at with each question.
const SWEPT_MAX: usize = 16;

/// Whose ticket, and for what.
///
/// Users have a credential for each application: while the library gets one ticket it keeps all others of that credential locked, and
/// an application whose ticket is there must not wait for a KDC that is silent about another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) user: UserName,
    pub(crate) target: Spn,
}

/// What is kept of a key. `T` is a ticket.
pub(crate) type Outcome<T> = Result<Arc<T>, Failure>;

/// What a cache says of a key.
pub(crate) enum Found<T> {
    /// There is a ticket.
    Ticket(Arc<T>),
    /// The KDC refused a moment ago, or nobody answered.
    Refused(Failure),
    /// Somebody fetches it.
    Fetching(Fetching<T>),
    /// Whoever asked is to fetch it.
    Fetch(Fetch<T>),
    /// Too many are being fetched.
    Full,
}

/// A fetch of somebody else's.
pub(crate) struct Fetching<T> {
    /// Until when it is worth waiting.
    pub(crate) deadline: Instant,
    pub(crate) done: watch::Receiver<Option<Outcome<T>>>,
}

impl<T> Clone for Fetching<T> {
    fn clone(&self) -> Self {
        Self {
            deadline: self.deadline,
            done: self.done.clone(),
        }
    }
}

/// Something that ends.
pub(crate) trait Mortal {
    /// Whether it can still be used.
    fn is_good(&self) -> bool;
    /// When it was fetched.
    fn born(&self) -> Instant;
}

pub(crate) struct Cache<T> {
    shelves: Arc<Mutex<Shelves<T>>>,
}

struct Shelves<T> {
    tickets: Shelf<Arc<T>>,
    refusals: Shelf<Refusal>,
    fetches: BTreeMap<Key, Fetching<T>>,
    bounds: Bounds,
}

struct Refusal {
    failure: Failure,
    until: Instant,
}

/// How many of each there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) tickets: usize,
    pub(crate) refusals: usize,
    pub(crate) fetches: usize,
}

impl<T: Mortal> Cache<T> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            shelves: Arc::new(Mutex::new(Shelves {
                tickets: Shelf::new(bounds.tickets_max),
                refusals: Shelf::new(bounds.refusals_max),
                fetches: BTreeMap::new(),
                bounds,
            })),
        }
    }

    /// Looks a key up; who gets [`Found::Fetch`] is the only one.
    pub(crate) fn find(&self, key: &Key, deadline: Instant) -> Found<T> {
        let mut shelves = self.lock();
        let age_max = shelves.bounds.age_max;
        shelves.tickets.sweep(age_max);
        if let Some(ticket) = shelves.tickets.take_or_keep(key, |ticket| ticket.is_good()) {
            return Found::Ticket(Arc::clone(ticket));
        }
        let now = Instant::now();
        let refusal = shelves.refusals.take_or_keep(key, |it| it.until > now);
        if let Some(refusal) = refusal {
            return Found::Refused(refusal.failure.clone());
        }
        if let Some(fetching) = shelves.fetches.get(key) {
            return Found::Fetching(fetching.clone());
        }
        if shelves.fetches.len() >= shelves.bounds.fetches_max {
            return Found::Full;
        }
        let (sender, done) = watch::channel(None);
        shelves
            .fetches
            .insert(key.clone(), Fetching { deadline, done });
        Found::Fetch(Fetch {
            shelves: Arc::clone(&self.shelves),
            key: key.clone(),
            sender,
        })
    }

    /// Keeps for a short while that nobody answered: who comes again at once waits no second time.
    pub(crate) fn note_timeout(&self, key: &Key, failure: &Failure) {
        let mut shelves = self.lock();
        let until = Instant::now() + shelves.bounds.timed_out_for;
        let failure = failure.clone();
        let refusal = Refusal { failure, until };
        shelves.refusals.insert(key.clone(), refusal);
    }

    /// Drops a ticket that is not younger than may be.
    pub(crate) fn forget(&self, key: &Key) {
        let mut shelves = self.lock();
        let age_min = shelves.bounds.forget_age_min;
        shelves
            .tickets
            .take_or_keep(key, |ticket| ticket.born().elapsed() < age_min);
    }

    /// Drops one ticket, unless another one has taken its place.
    pub(crate) fn remove(&self, key: &Key, ticket: &Arc<T>) {
        let mut shelves = self.lock();
        shelves
            .tickets
            .take_or_keep(key, |kept| !Arc::ptr_eq(kept, ticket));
    }

    pub(crate) fn sizes(&self) -> Sizes {
        let shelves = self.lock();
        Sizes {
            tickets: shelves.tickets.len(),
            refusals: shelves.refusals.len(),
            fetches: shelves.fetches.len(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelves<T>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right, and the duty, to fetch a ticket. Dropped without an outcome, it passes to the next who asks.
pub(crate) struct Fetch<T> {
    shelves: Arc<Mutex<Shelves<T>>>,
    key: Key,
    sender: watch::Sender<Option<Outcome<T>>>,
}

impl<T> Fetch<T> {
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Keeps the outcome, if it is one to keep, and tells all who wait.
    pub(crate) fn land(self, outcome: &Outcome<T>) {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(ticket) => shelves.tickets.insert(self.key.clone(), Arc::clone(ticket)),
            Err(failure) if failure.lasts() => {
                let until = Instant::now() + shelves.bounds.refused_for;
                let failure = failure.clone();
                let refusal = Refusal { failure, until };
                shelves.refusals.insert(self.key.clone(), refusal);
            }
            Err(_) => {}
        }
        drop(shelves);
        self.sender.send_replace(Some(outcome.clone()));
    }
}

impl<T> Drop for Fetch<T> {
    fn drop(&mut self) {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        shelves.fetches.remove(&self.key);
    }
}

/// A bounded map; what was not used for longest goes first.
struct Shelf<V> {
    values: BTreeMap<Key, Place<V>>,
    /// Keys by their last use.
    uses: BTreeMap<u64, Key>,
    next_use: u64,
    most: usize,
}

struct Place<V> {
    value: V,
    order: u64,
    used: Instant,
}

impl<V> Shelf<V> {
    fn new(most: usize) -> Self {
        Self {
            values: BTreeMap::new(),
            uses: BTreeMap::new(),
            next_use: 0,
            most,
        }
    }

    fn len(&self) -> usize {
        self.values.len()
    }

    fn insert(&mut self, key: Key, value: V) {
        self.remove(&key);
        while self.values.len() >= self.most.max(1) {
            let Some((_, oldest)) = self.uses.pop_first() else {
                break;
            };
            self.values.remove(&oldest);
        }
        let place = Place {
            value,
            order: self.next_use,
            used: Instant::now(),
        };
        self.uses.insert(self.next_use, key.clone());
        self.values.insert(key, place);
        self.next_use += 1;
    }

    /// The value, which is used by that, or none: one that is not good is dropped.
    fn take_or_keep(&mut self, key: &Key, is_good: impl Fn(&V) -> bool) -> Option<&V> {
        if !is_good(&self.values.get(key)?.value) {
            self.remove(key);
            return None;
        }
        let place = self.values.get_mut(key)?;
        self.uses.remove(&place.order);
        self.uses.insert(self.next_use, key.clone());
        place.order = self.next_use;
        place.used = Instant::now();
        self.next_use += 1;
        Some(&place.value)
    }

    fn remove(&mut self, key: &Key) {
        if let Some(place) = self.values.remove(key) {
            self.uses.remove(&place.order);
        }
    }

    /// Drops a few of those that nobody has used for so long, and that are over for that.
    fn sweep(&mut self, idle: Duration) {
        for _ in 0..SWEPT_MAX {
            let Some((_, oldest)) = self.uses.first_key_value() else {
                return;
            };
            let oldest = oldest.clone();
            let place = self.values.get(&oldest);
            if place.is_some_and(|place| place.used.elapsed() < idle) {
                return;
            }
            self.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests;
