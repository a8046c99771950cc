//! The agent's own ticket: from its keytab, in memory, renewed in time.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    failure::{Failure, Kind, Stage},
    gssapi::{Credential, Library, Name, NameKind, Status},
    keytab::Keytab,
    life::Life,
    realm::Principal,
};

/// How long after a renewal that failed the next one is tried, while the ticket is still good.
const RENEW_AGAIN: Duration = Duration::from_secs(10);
/// How long after a ticket was opened the next one is, if the KDC does not take it: however many users come, so often is asked.
const OPEN_AGAIN: Duration = Duration::from_secs(10);

/// The agent's account, with its ticket if it has one.
///
/// A credential that is held is never renewed by the library, so that a new one is opened when half of the ticket's life is over. The two
/// take turns in two caches: opening empties its cache, and others may be reading the ticket in use.
pub(crate) struct Agent {
    library: &'static Library,
    principal: Principal,
    name: Name,
    keytab: PathBuf,
    caches: [String; 2],
    ticket: Mutex<Option<Ticket>>,
    /// Held while the KDC is asked, which may take a minute. The number of tickets that were opened.
    renewing: Mutex<usize>,
}

#[derive(Clone)]
struct Ticket {
    credential: Arc<Credential>,
    /// Which of the caches it lies in.
    cache: usize,
    opened: Instant,
    /// Until it is to be renewed.
    fresh: Life,
    /// Until its end.
    whole: Life,
}

/// What asking for the agent's ticket came to.
pub(crate) struct Opened {
    pub(crate) credential: Arc<Credential>,
    /// Whether the KDC was asked.
    pub(crate) is_new: bool,
}

impl Agent {
    pub(crate) fn new(
        library: &'static Library,
        principal: Principal,
        keytab: PathBuf,
    ) -> Result<Self, Status> {
        // Of the process, as the library's caches in memory are.
        static AGENTS: AtomicU64 = AtomicU64::new(0);
        let number = AGENTS.fetch_add(1, Ordering::Relaxed);
        let name = library.name(&principal.to_string(), NameKind::Principal)?;
        Ok(Self {
            library,
            principal,
            name,
            keytab,
            caches: ["a", "b"].map(|turn| format!("adit-{number}-{turn}")),
            ticket: Mutex::new(None),
            renewing: Mutex::new(0),
        })
    }

    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// How long the ticket lives yet.
    pub(crate) fn left(&self) -> Option<Duration> {
        let ticket = self.held()?;
        Some(ticket.whole.left()).filter(|left| !left.is_zero())
    }

    /// Its credential, with a ticket. Asks the KDC if need be, and then blocks.
    pub(crate) fn credential(&self, deadline: Instant) -> Result<Opened, Failure> {
        if let Some(credential) = self.usable(|ticket| !ticket.fresh.is_over()) {
            return Ok(credential);
        }
        let mut turn = match self.renewing.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                if let Some(credential) = self.usable(|ticket| !ticket.whole.is_over()) {
                    return Ok(credential);
                }
                let waited = self.renewing.lock();
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        };
        if let Some(credential) = self.usable(|ticket| !ticket.fresh.is_over()) {
            return Ok(credential);
        }
        // Those who waited for somebody that a silent KDC kept do not each wait as long again.
        if Instant::now() >= deadline {
            let text = "waited too long for the agent's own ticket";
            return Err(Failure::new(Stage::Agent, Kind::Timeout, text));
        }
        *turn += 1;
        match self.open(*turn) {
            Ok(ticket) => {
                let credential = Arc::clone(&ticket.credential);
                self.hold(Some(ticket));
                Ok(Opened {
                    credential,
                    is_new: true,
                })
            }
            Err(status) => self.or_the_old_one(status),
        }
    }

    /// Another handle on the same ticket, which only reads it; none once there is a newer ticket.
    pub(crate) fn another(&self, credential: &Arc<Credential>) -> Option<Credential> {
        let held = self.held()?;
        if !Arc::ptr_eq(&held.credential, credential) {
            return None;
        }
        let opened = self
            .library
            .acquire(&self.name, None, &self.caches[held.cache]);
        opened
            .inspect_err(|status| tracing::debug!(error = status.text, "no handle of its own"))
            .ok()
    }

    /// Gives a ticket up that the KDC does not take any more, unless it is new: another would be the same. False: there is no other.
    pub(crate) fn forget(&self, credential: &Arc<Credential>) -> bool {
        let mut held = self.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ticket) = &*held else {
            return true;
        };
        let is_other = !Arc::ptr_eq(&ticket.credential, credential);
        if !is_other && ticket.opened.elapsed() < OPEN_AGAIN {
            return false;
        }
        if !is_other {
            *held = None;
        }
        true
    }

    fn open(&self, turn: usize) -> Result<Ticket, Status> {
        let cache = turn % self.caches.len();
        let name = &self.caches[cache];
        let credential = self.library.acquire(&self.name, Some(&self.keytab), name)?;
        let life = credential.life()?;
        tracing::info!(
            principal = %self.principal,
            ends_in_s = life.as_secs(),
            "the agent has a ticket of its own"
        );
        Ok(Ticket {
            credential: Arc::new(credential),
            cache,
            opened: Instant::now(),
            fresh: Life::of(life / 2),
            whole: Life::of(life),
        })
    }

    fn or_the_old_one(&self, status: Status) -> Result<Opened, Failure> {
        let failure = self.failure(status);
        let old = self.held().filter(|ticket| !ticket.whole.is_over());
        let Some(old) = old else {
            return Err(failure);
        };
        tracing::warn!(
            principal = %self.principal,
            error = %failure,
            hint = failure.hint,
            left_s = old.whole.left().as_secs(),
            "the agent's own ticket is not renewed yet"
        );
        let credential = Arc::clone(&old.credential);
        self.hold(Some(Ticket {
            fresh: Life::of(RENEW_AGAIN),
            ..old
        }));
        Ok(Opened {
            credential,
            is_new: false,
        })
    }

    /// The library has one text for all that can be wrong with a keytab; ours has more.
    fn failure(&self, status: Status) -> Failure {
        let failure = Failure::of(Stage::Agent, status);
        if failure.kind != Kind::Credential || failure.number.is_some() {
            return failure;
        }
        match Keytab::check(&self.keytab, &self.principal) {
            Ok(_) => failure,
            Err(error) => Failure {
                text: error.to_string(),
                ..failure
            },
        }
    }

    fn usable(&self, is_usable: impl Fn(&Ticket) -> bool) -> Option<Opened> {
        let ticket = self.held().filter(is_usable)?;
        Some(Opened {
            credential: ticket.credential,
            is_new: false,
        })
    }

    fn held(&self) -> Option<Ticket> {
        let held = self.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    fn hold(&self, ticket: Option<Ticket>) {
        *self.ticket.lock().unwrap_or_else(PoisonError::into_inner) = ticket;
    }
}
