//! Private servers: how one is trusted, dialled, and kept connected.

mod answer;
mod connection;
mod dial;
mod http1;
mod http2;
mod informational;
mod owned;
mod pins;
mod pool;
#[cfg_attr(windows, path = "origin/socket/windows.rs")]
mod socket;
mod stream;
mod tls;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use model::{
    app::{self, AgentApp, HealthCheck, HostSent, OriginHost, OriginProtocol, OriginUrl, Scheme},
    reason::Reason,
};

pub(crate) use answer::{AnswerBody, Fault, OriginError};
pub(crate) use connection::{Connection, SendFailure, Speech};
pub(crate) use dial::{DialError, Versions, dial};
pub(crate) use informational::Informational;
pub(crate) use owned::Owner;
pub(crate) use pins::{PinKey, PinTurn, Pins, SignIn, SigningOn, sign_in, signs_on};
pub use pool::{CONNECTIONS_PER_ORIGIN_MAX, IDLE_PER_ORIGIN_MAX, IDLE_TIMEOUT, SKIP_AFTER_FAILURE};
pub(crate) use pool::{Pool, Repeat, Reuse, Wish};
pub(crate) use stream::{OriginStream, Transport};

pub use tls::{OriginTlsError, SystemRoots};

/// An origin as one app uses it: where two apps mean the same, they share it with its connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    origin: app::Origin,
    proxy: Option<OriginUrl>,
    check: Option<Check>,
    keep_field_case: bool,
}

impl Plan {
    /// What `app` says about `origin`.
    pub(crate) fn new(origin: &app::Origin, app: &AgentApp) -> Self {
        let host = match &app.translation.host {
            HostSent::Named(name) => name.clone(),
            // Agents know no public names.
            HostSent::Inner | HostSent::Public => origin.url.authority(),
        };
        Self {
            origin: origin.clone(),
            proxy: app.proxy.clone(),
            check: app.health_check.clone().map(|terms| Check { terms, host }),
            keep_field_case: app.keep_field_case,
        }
    }
}

/// How an origin is looked after.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Check {
    pub(crate) terms: HealthCheck,
    /// Host that it is asked for.
    pub(crate) host: String,
}

/// An origin with all that a connection to it needs, made once for every snapshot that names it.
#[derive(Debug)]
pub struct Origin {
    number: OriginNumber,
    published: app::Origin,
    /// Host and port, as it is told that it is called.
    authority: Bytes,
    tls: Option<tls::OriginTls>,
    proxy: Option<OriginUrl>,
    check: Option<Check>,
    /// Of its answers the case of field names is kept.
    keep_field_case: bool,
    /// It failed its checks.
    unhealthy: AtomicBool,
}

/// Tells origins apart cheaply, where the whole of one would have to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OriginNumber(u64);

impl Origin {
    /// Prepares an origin; `number` must not be that of another one in this process.
    ///
    /// # Errors
    /// Its TLS settings cannot be used.
    pub(crate) fn new(
        number: u64,
        plan: Plan,
        roots: &SystemRoots,
    ) -> Result<Self, OriginTlsError> {
        let published = plan.origin;
        let tls = match published.url.scheme {
            Scheme::Http => None,
            Scheme::Https => Some(tls::OriginTls::new(&published, roots)?),
        };
        Ok(Self {
            number: OriginNumber(number),
            authority: Bytes::from(published.url.authority()),
            published,
            tls,
            proxy: plan.proxy,
            check: plan.check,
            keep_field_case: plan.keep_field_case,
            unhealthy: AtomicBool::new(false),
        })
    }

    /// Whether the case of field names is kept.
    pub(crate) const fn keeps_field_case(&self) -> bool {
        self.keep_field_case
    }

    /// How it is looked after, if it is.
    pub(crate) fn check(&self) -> Option<&Check> {
        self.check.as_ref()
    }

    /// Whether it passed its last checks; until the first one it is taken to be healthy.
    pub(crate) fn is_healthy(&self) -> bool {
        !self.unhealthy.load(Ordering::Relaxed)
    }

    pub(crate) fn set_healthy(&self, healthy: bool) {
        self.unhealthy.store(!healthy, Ordering::Relaxed);
    }

    /// As control published it.
    #[must_use]
    pub fn published(&self) -> &app::Origin {
        &self.published
    }

    /// Host and port, as it is told that it is called.
    pub(crate) fn authority(&self) -> &Bytes {
        &self.authority
    }

    pub(crate) fn number(&self) -> OriginNumber {
        self.number
    }

    /// Whether HTTP/2 may be what is spoken to it.
    fn may_speak_http2(&self) -> bool {
        match self.published.protocol {
            OriginProtocol::Auto => self.tls.is_some(),
            OriginProtocol::Http1 => false,
            OriginProtocol::Http2 => true,
        }
    }

    fn host(&self) -> &OriginHost {
        &self.published.url.host
    }

    fn port(&self) -> u16 {
        self.published.url.port
    }

    /// HTTP proxy that leads to it.
    fn proxy(&self) -> Option<&OriginUrl> {
        self.proxy.as_ref()
    }

    fn tls(&self) -> Option<&tls::OriginTls> {
        self.tls.as_ref()
    }
}

/// Why no origin of an app gave a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcquireError {
    /// The last of its origins could not be dialled.
    #[error("dialling {origin}")]
    Dial {
        /// URL of the origin.
        origin: String,
        /// What failed.
        #[source]
        source: Arc<DialError>,
    },
    /// [`CONNECTIONS_PER_ORIGIN_MAX`] is reached at every origin.
    #[error("all connections to the app's origins are taken")]
    Full,
    /// The app has no origin.
    #[error("the app has no origin")]
    NoOrigin,
}

impl AcquireError {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Dial { source, .. } => source.reason(),
            Self::Full => Reason::Overloaded,
            Self::NoOrigin => Reason::AgentRefused,
        }
    }

    fn dial(origin: &Arc<Origin>, source: Arc<DialError>) -> Self {
        Self::Dial {
            origin: origin.published.url.to_string(),
            source,
        }
    }
}
