//! Why a request could not be answered whole, and how the edge is told.

use std::error::Error;

use model::reason::Reason;
use proto::tunnel::ErrorInfo;
use tunnel::{
    codes::Code,
    stream::{RecvError, SendError},
};

use crate::{
    id_token::IdTokenError,
    origin::{AcquireError, Fault, OriginError},
    statement::StatementError,
    translate::Untranslatable,
};

/// Detail that travels, in bytes (a bound of the tunnel's `ErrorInfo`).
const DETAIL_BYTES_MAX: usize = 512;

/// A request that failed here or at the origin.
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {detail}")]
pub(crate) struct Failure {
    reason: Reason,
    /// Nothing was processed, so that another agent may be asked.
    retry_safe: bool,
    detail: String,
}

impl Failure {
    /// Something may have been processed already.
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            retry_safe: false,
            detail: detail.into(),
        }
    }

    /// Nothing has been processed.
    pub(crate) fn refusal(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            retry_safe: true,
            ..Self::new(reason, detail)
        }
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn cancelled(code: Code) -> Self {
        Self::new(Reason::Cancelled, format!("the edge gave up: {code}"))
    }

    /// A defect of ours.
    pub(crate) fn bug(detail: impl Into<String>) -> Self {
        Self::new(Reason::Bug, detail)
    }

    /// What the exchange with the origin failed of. `sized`: it had said how long its body is.
    pub(crate) fn from_origin(error: &OriginError, sized: bool) -> Self {
        let reason = match error.fault(sized) {
            Fault::Protocol => Reason::OriginProtocol,
            Fault::Broken => Reason::OriginReset,
        };
        Self::new(reason, chain(error))
    }

    /// The same, known to have left no trace at the origin.
    pub(crate) fn unprocessed(self) -> Self {
        Self {
            retry_safe: true,
            ..self
        }
    }

    pub(crate) fn reason(&self) -> Reason {
        self.reason
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The code for a reset, where no words can be sent.
    pub(crate) fn code(&self) -> Code {
        match self.reason {
            Reason::AgentRefused | Reason::Overloaded => Code::Refused,
            Reason::Draining => Code::Draining,
            Reason::OriginConnect | Reason::OriginProxy | Reason::OriginTls => Code::OriginConnect,
            Reason::OriginReset | Reason::OriginProtocol => Code::OriginReset,
            Reason::OriginTimeout | Reason::UserTimeout => Code::Timeout,
            Reason::TunnelProtocol | Reason::BadRequest => Code::Protocol,
            Reason::Cancelled | Reason::AgentLost => Code::Cancelled,
            Reason::HeadTooLarge | Reason::UriTooLong => Code::TooLarge,
            // Words are sent nearly always; no code says more than that it went wrong here.
            Reason::SsoNoIdentity
            | Reason::SsoUserRefused
            | Reason::SsoFailed
            | Reason::SsoUnavailable
            | Reason::SsoStatement
            | Reason::SsoIdToken
            | Reason::SsoCredentials
            | Reason::SsoCredentialsRefused => Code::Internal,
            // Reasons of an edge's own never arise here.
            Reason::ProtocolUnknown
            | Reason::Misdirected
            | Reason::NoApp
            | Reason::NoPage
            | Reason::CrossSite
            | Reason::SignInRequired
            | Reason::SignInFailed
            | Reason::NotAssigned
            | Reason::Blocked
            | Reason::StepUpRequired
            | Reason::TermsRequired
            | Reason::DeviceRequired
            | Reason::DownloadRefused
            | Reason::BadToken
            | Reason::InsufficientScope
            | Reason::ProviderUnavailable
            | Reason::TooManyGuesses
            | Reason::SessionEnded
            | Reason::Maintenance
            | Reason::Stopped
            | Reason::NotReady
            | Reason::NoAgent
            | Reason::UserStalled
            | Reason::BodyTooLong
            | Reason::AppBusy
            | Reason::RateLimited
            | Reason::ClientRateLimited
            | Reason::TotalTimeout
            | Reason::Bug => Code::Internal,
        }
    }

    /// As the edge is told.
    pub(crate) fn to_wire(&self) -> ErrorInfo {
        let end = (0..=DETAIL_BYTES_MAX.min(self.detail.len()))
            .rev()
            .find(|end| self.detail.is_char_boundary(*end))
            .unwrap_or_default();
        ErrorInfo {
            code: self.code().into(),
            reason: self.reason.as_str().to_owned(),
            retry_safe: self.retry_safe,
            detail: self.detail[..end].to_owned(),
        }
    }
}

impl From<StatementError> for Failure {
    /// No origin heard of the request. Another agent would find the same, unless this one is behind the others.
    fn from(error: StatementError) -> Self {
        Self::refusal(Reason::SsoStatement, chain(&error))
    }
}

impl From<IdTokenError> for Failure {
    /// As above; what control has not told this agent is no fault of the user's.
    fn from(error: IdTokenError) -> Self {
        let reason = match error {
            IdTokenError::NoKeys(_) | IdTokenError::Unclear => Reason::SsoFailed,
            IdTokenError::Missing
            | IdTokenError::TooLong
            | IdTokenError::Unreadable
            | IdTokenError::Token(_)
            | IdTokenError::Nameless(_)
            | IdTokenError::OtherUser => Reason::SsoIdToken,
        };
        Self::refusal(reason, chain(&error))
    }
}

impl From<AcquireError> for Failure {
    /// No origin heard of the request.
    fn from(error: AcquireError) -> Self {
        Self::refusal(error.reason(), chain(&error))
    }
}

impl From<Untranslatable> for Failure {
    /// No origin heard of the request, and none will.
    fn from(error: Untranslatable) -> Self {
        Self::new(Reason::BadRequest, chain(&error))
    }
}

impl From<RecvError> for Failure {
    /// What the edge sent is not the whole request.
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Reset(code) => Self::cancelled(code),
            RecvError::ConnectionLost(_) | RecvError::Stopped => {
                Self::new(Reason::Cancelled, chain(&error))
            }
            RecvError::Truncated | RecvError::Protocol(_) => {
                Self::new(Reason::TunnelProtocol, chain(&error))
            }
        }
    }
}

impl From<SendError> for Failure {
    /// The answer cannot be delivered.
    fn from(error: SendError) -> Self {
        match error {
            SendError::Stopped(code) => Self::cancelled(code),
            SendError::ConnectionLost(_) | SendError::Closed => {
                Self::new(Reason::Cancelled, chain(&error))
            }
            // Only an origin makes a head or trailers that large.
            SendError::Encode(_) => Self::new(Reason::OriginProtocol, chain(&error)),
            SendError::Order(_) | SendError::QueueFull => Self::bug(chain(&error)),
        }
    }
}

/// An error with its causes, for logs.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
