//! What an agent signs users on to apps with: its own account in a Kerberos domain, if it has one.
//!
//! Whatever may ask a domain controller runs on the process's runtime, never on a worker's thread: a controller that is silent costs
//! those who wait for it, and nobody else.

pub(crate) mod asked;
pub(crate) mod challenge;
mod told;

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use kerberos::{Ask, Bounds, Failure, Kerberos, LoadError, Settings, Token};
use model::name::{AppId, EdgeId, UserId};
use runtime::{Clock, Scope};
use tokio::{runtime::Handle, sync::oneshot, task::spawn_blocking, time::sleep};
use tracing::Instrument as _;

pub(crate) use told::{Attempt, Told};

use crate::{config::KerberosConfig, metrics::KerberosMetrics, request::chain};

/// How often an account that could not be used is looked at again: the keytab may have come meanwhile.
const LOAD_INTERVAL: Duration = Duration::from_secs(30);

/// How often the state of tickets is put into metrics.
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

/// What is said of an agent without an account.
const NOT_CONFIGURED: &str = if cfg!(windows) {
    "the app's users are signed on by Kerberos, which needs an agent on Linux: this one runs on Windows"
} else {
    "the app's users are signed on by Kerberos, and this agent has no account for that: set kerberos.principal and kerberos.keytab"
};

/// The agent's means to sign users on. Clones are the same.
#[derive(Clone)]
pub(crate) struct SignOn {
    state: Arc<ArcSwap<State>>,
    told: Arc<Told>,
    metrics: KerberosMetrics,
    clock: Clock,
    /// Not a worker's.
    runtime: Handle,
    scope: Scope,
}

/// At which app somebody is signed on, and on whose word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) app: &'a AppId,
    /// Which edge has stated it.
    pub(crate) edge: &'a EdgeId,
    /// Who it is to the fabric.
    pub(crate) sub: &'a UserId,
}

enum State {
    /// There is no account, or it cannot be used; in words for operators.
    Without(String),
    With(Kerberos),
}

impl fmt::Debug for SignOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignOn")
            .field("account", &self.kerberos().is_ok())
            .finish_non_exhaustive()
    }
}

impl SignOn {
    /// Looks at the account. One that cannot be used is no reason not to start: other apps need none. Call on the process's runtime.
    pub(crate) async fn start(
        account: Option<KerberosConfig>,
        metrics: KerberosMetrics,
        clock: Clock,
        scope: Scope,
    ) -> Self {
        let own = Self {
            state: Arc::new(ArcSwap::from_pointee(State::Without(
                NOT_CONFIGURED.to_owned(),
            ))),
            told: Arc::default(),
            metrics,
            clock,
            runtime: Handle::current(),
            scope,
        };
        if let Some(account) = account {
            let first = own.load(&account).await;
            let (standing, ended) = (own.clone(), own.scope.clone());
            let kept = async move {
                if !first {
                    standing.load_at_last(&account).await;
                }
                standing.measure().await;
            };
            // The scope lives in what the task holds, so that it must end by itself when it is asked to.
            own.scope.spawn_standing("kerberos", async move {
                tokio::select! {
                    () = kept => {}
                    () = ended.cancelled() => {}
                }
            });
        }
        own
    }

    /// The account, or why there is none.
    pub(crate) fn kerberos(&self) -> Result<Kerberos, String> {
        match &**self.state.load() {
            State::With(kerberos) => Ok(kerberos.clone()),
            State::Without(why) => Err(why.clone()),
        }
    }

    /// What operators are told of sign-ons that fail.
    pub(crate) fn told(&self) -> &Told {
        &self.told
    }

    pub(crate) fn metrics(&self) -> &KerberosMetrics {
        &self.metrics
    }

    /// A token for one request. Who asks may give up: what is under way is finished for the next one.
    pub(crate) async fn token(
        &self,
        kerberos: &Kerberos,
        ask: Ask,
        asker: Asker<'_>,
    ) -> Result<Token, Failure> {
        let began = self.clock.now();
        let (tell, told) = oneshot::channel();
        let kerberos = kerberos.clone();
        // What is said of a new ticket says of which app it is, and which edge has said whom it is for.
        let Asker { app, edge, sub } = asker;
        let span = tracing::info_span!("sign_on", %app, %edge, %sub);
        let asked = async move {
            let token = kerberos.token(ask).await;
            // Nobody waits any more.
            let _ = tell.send(token);
        };
        {
            let _entered = self.runtime.enter();
            self.scope.spawn("kerberos token", asked.instrument(span));
        }
        let token = told.await.unwrap_or_else(|_| Err(broken_off()));
        self.metrics.token_seconds.record(self.clock.now() - began);
        token
    }

    /// True if it can be used from now on.
    async fn load(&self, account: &KerberosConfig) -> bool {
        let loaded = load(account, Bounds::default(), &self.metrics).await;
        let state = match loaded {
            Ok(kerberos) => {
                tracing::info!(principal = %kerberos.principal(), "users can be signed on by kerberos");
                State::With(kerberos)
            }
            Err(error) => {
                let why = chain(&error);
                if !matches!(&**self.state.load(), State::Without(known) if *known == why) {
                    tracing::error!(error = why, "no user can be signed on by kerberos");
                }
                State::Without(why)
            }
        };
        let is_usable = matches!(state, State::With(_));
        self.state.store(Arc::new(state));
        is_usable
    }

    async fn load_at_last(&self, account: &KerberosConfig) {
        loop {
            sleep(LOAD_INTERVAL).await;
            if self.load(account).await {
                return;
            }
        }
    }

    async fn measure(&self) {
        loop {
            if let Ok(kerberos) = self.kerberos() {
                self.metrics.note(&kerberos.stats());
            }
            sleep(MEASURE_INTERVAL).await;
        }
    }
}

/// Loads the library and looks at the keytab, which is a matter of files.
pub(crate) async fn load(
    account: &KerberosConfig,
    bounds: Bounds,
    metrics: &KerberosMetrics,
) -> Result<Kerberos, UseError> {
    let mut settings = Settings::new(account.principal.clone(), &account.keytab);
    settings.bounds = bounds;
    settings.observer = Some(metrics.observer());
    spawn_blocking(move || Kerberos::load(settings))
        .await
        .map_err(|_| UseError::Bug)?
        .map_err(UseError::Load)
}

/// Why the account cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UseError {
    /// It cannot be had on this machine.
    #[error("using the agent's kerberos account")]
    Load(#[source] LoadError),
    /// A defect of ours.
    #[error("looking at the agent's kerberos account panicked")]
    Bug,
}

fn broken_off() -> Failure {
    Failure {
        stage: kerberos::Stage::Agent,
        kind: kerberos::Kind::Other,
        number: None,
        text: "the agent is stopping".to_owned(),
        hint: "ask again",
    }
}
