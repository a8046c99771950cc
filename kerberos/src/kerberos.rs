//! The handle: tokens for users, from tickets that are kept or fetched.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use thiserror::Error;
use tokio::time::Instant;

use crate::{
    agent::Agent,
    breaker::BreakerState,
    cache::Key,
    failure::Failure,
    gssapi::{LIBRARY, Library},
    keytab::{Keytab, KeytabError},
    name::UserName,
    realm::{Principal, Realm},
    settings::{Bounds, Settings},
    spn::Spn,
    tickets::Tickets,
    token::{Ask, Token},
};

/// Why single sign-on by Kerberos cannot be had with these settings on this host. No KDC is asked.
#[derive(Debug, Error)]
pub enum LoadError {
    /// MIT's library is not there.
    #[error(
        "{LIBRARY}, MIT Kerberos, cannot be loaded: install libgssapi-krb5-2 (Debian, Ubuntu) or krb5-libs (Fedora, RHEL), and run a build of adit for glibc: {0}"
    )]
    Library(libloading::Error),
    /// There is no such library for Windows.
    #[error(
        "single sign-on by Kerberos needs an agent on Linux, where MIT Kerberos is: this one runs on Windows"
    )]
    System,
    /// The keytab is of no use.
    #[error(transparent)]
    Keytab(#[from] KeytabError),
    /// The library does not take the principal, for want of memory at most.
    #[error("the principal cannot be used: {0}")]
    Principal(String),
}

/// Single sign-on as one account of the agent's. Copies are the same handle.
#[derive(Clone)]
pub struct Kerberos {
    tickets: Arc<Tickets>,
    keytab: Arc<Keytab>,
    tokens: Arc<AtomicU64>,
}

/// What there is at one moment, and what was done until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Tickets kept, each of one user for one application.
    pub tickets: usize,
    /// Refusals kept.
    pub refusals: usize,
    /// Tickets being fetched.
    pub fetches_running: usize,
    /// Exchanges with KDCs under way, those included that nobody waits for any more.
    pub exchanges_running: usize,
    /// Tokens made.
    pub tokens: u64,
    /// Fetches of a user's ticket that were begun; one is up to three exchanges.
    pub fetches: u64,
    /// Tickets of the agent's own that were fetched.
    pub agent_tickets: u64,
    /// How long the agent's own ticket lives yet.
    pub agent_ticket_left: Option<Duration>,
    /// Whether KDCs are asked.
    pub breaker: BreakerState,
}

impl Kerberos {
    /// Loads the library and looks at the keytab. It asks no KDC, sets no environment and starts no thread.
    ///
    /// The agent's own tickets lie in caches of the library that stay, of a few KB: keep the handle for as long as the settings are the same.
    pub fn load(settings: Settings) -> Result<Self, LoadError> {
        let Settings {
            principal,
            keytab: path,
            bounds,
            observer,
        } = settings;
        if cfg!(windows) {
            return Err(LoadError::System);
        }
        let library = Library::open().map_err(LoadError::Library)?;
        let keytab = Keytab::check(&path, &principal)?;
        let agent = Agent::new(library, principal, path)
            .map_err(|status| LoadError::Principal(status.text))?;
        Ok(Self {
            tickets: Arc::new(Tickets::new(library, agent, bounds, observer)),
            keytab: Arc::new(keytab),
            tokens: Arc::default(),
        })
    }

    /// The agent's realm, for names of accounts in it.
    pub fn realm(&self) -> &Realm {
        self.tickets.agent.principal().realm()
    }

    /// The agent's account.
    pub fn principal(&self) -> &Principal {
        self.tickets.agent.principal()
    }

    /// The bounds in force.
    pub fn bounds(&self) -> Bounds {
        self.tickets.bounds
    }

    /// What the keytab had of the agent's when it was loaded.
    pub fn keytab(&self) -> &Keytab {
        &self.keytab
    }

    /// A token for one request. Takes no longer than the deadline of the bounds, whatever KDCs do, and may be given up at any time.
    pub async fn token(&self, ask: Ask) -> Result<Token, Failure> {
        let tickets = &self.tickets;
        let deadline = Instant::now() + tickets.bounds.deadline;
        let key = Key {
            user: ask.user.clone(),
            target: ask.target.clone(),
        };
        let ticket = tickets.ticket(&key, deadline).await?;
        let made = match Token::of(&ticket, &ask) {
            // What was kept is of no use any more: the clock was set, or memory is short.
            Err(failure) => {
                tracing::debug!(user = %key.user, spn = %key.target, error = %failure, "a kept ticket is given up");
                tickets.cache.remove(&key, &ticket);
                let ticket = tickets.ticket(&key, deadline).await?;
                Token::of(&ticket, &ask)?
            }
            Ok(token) => token,
        };
        self.tokens.fetch_add(1, Ordering::Relaxed);
        Ok(made)
    }

    /// Gets the agent's own ticket if it has none, for doctors and tests of a set-up; how long it lives yet.
    pub async fn agent_ticket(&self) -> Result<Duration, Failure> {
        self.tickets.agent_ticket().await
    }

    /// Drops the ticket of a user for a service that has refused it. One that was fetched a moment ago stays: another would be the same.
    pub fn forget(&self, user: &UserName, target: &Spn) {
        self.tickets.cache.forget(&Key {
            user: user.clone(),
            target: target.clone(),
        });
    }

    /// How things are.
    pub fn stats(&self) -> Stats {
        let tickets = &self.tickets;
        let sizes = tickets.cache.sizes();
        Stats {
            tickets: sizes.tickets,
            refusals: sizes.refusals,
            fetches_running: sizes.fetches,
            exchanges_running: tickets.exchanges_running(),
            tokens: self.tokens.load(Ordering::Relaxed),
            fetches: tickets.fetches.load(Ordering::Relaxed),
            agent_tickets: tickets.agent_tickets.load(Ordering::Relaxed),
            agent_ticket_left: tickets.agent.left(),
            breaker: tickets.breaker.state(),
        }
    }
}

impl fmt::Debug for Kerberos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kerberos")
            .field("principal", self.principal())
            .finish_non_exhaustive()
    }
}
