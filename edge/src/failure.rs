//! Why a request got no answer from its app, and what follows from that.

use std::time::Duration;

use http::StatusCode;
use model::{
    app::Maintenance,
    name::{AccessRuleId, ServiceTokenId, UserId},
    reason::{Reason, Side},
    route::RouteError,
};
use proto::tunnel::ErrorInfo;
use tunnel::{codes::Code, fields::FieldError, link::Closed, stream::RecvError};

use crate::{
    answer, authority::AuthorityError, cors::CrossingError, quotas::Exceeded,
    sign_in::token::TokenError, user_body::UserBodyError,
};

/// For the program's owner.
const PROGRAM_NOT_ASSIGNED: &str = "The certificate is good, but its program is not assigned to this app. Ask the app's owner to assign it.";
const NOT_SIGNED_ON: &str =
    "This app knows users alone, and a program is none. Ask the app's owner for another way in.";
/// For whoever comes with a token, or whose request cannot be led elsewhere.
const NO_ID_TOKEN: &str = "This app takes nothing but a sign-in at your identity provider, in this browser. Open the app in a browser to sign in.";
const SERVICE_NOT_ASSIGNED: &str = "The token is good, but its program is not assigned to this app. Ask the app's owner to assign it.";

/// Why a request failed before its answer's head.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// It names no host, or two.
    #[error("reading the request's host")]
    Host(#[source] AuthorityError),
    /// Its body comes in codings that others might read otherwise.
    #[error("the request's transfer coding is not chunked alone")]
    Coding,
    /// Its method or target is none that an edge serves.
    #[error("request is not for an app: {0}")]
    Target(&'static str),
    /// It asks for a tunnel of a protocol that is not carried.
    #[error("tunnel of an unknown protocol")]
    Protocol,
    /// The app wants a certificate, which was not asked for on this connection.
    #[error("the app wants a certificate, which this connection was not asked for")]
    Misdirected,
    /// Its target is too long.
    #[error("request target is too long")]
    TargetTooLong,
    /// Its fields do not fit the tunnel.
    #[error("encoding the request's fields")]
    Fields(#[source] FieldError),
    /// Its target and fields, each within its bound, do not fit together.
    #[error("request's head is too large")]
    HeadTooLarge,
    /// There is no snapshot yet.
    #[error("no snapshot to serve by")]
    NoView,
    /// This edge cannot serve the app as it is published.
    #[error("the app cannot be used by this edge")]
    Unusable,
    /// No app is published there.
    #[error("finding the app")]
    Route(#[source] RouteError),
    /// The edge has no such page of its own.
    #[error("no such page of the edge")]
    NoPage,
    /// Pages of another site may not do this.
    #[error("judging a preflight")]
    Crossing(#[source] CrossingError),
    /// The app is for users who have signed in.
    #[error("the caller has not signed in")]
    NotSignedIn {
        /// Where they do.
        sign_in: String,
        /// What people are told besides; may be empty.
        words: &'static str,
    },
    /// The user may not use the app.
    #[error("{user} is not assigned to the app")]
    NotAssigned {
        /// Who.
        user: UserId,
        /// What they are told.
        words: String,
    },
    /// An access rule lets nobody through.
    #[error("blocked by {rule:?}")]
    Blocked {
        /// Which.
        rule: AccessRuleId,
        /// What they are told; may be empty.
        words: String,
    },
    /// An access rule asks for more than the session has shown.
    #[error("{rule:?} asks for more than the session has shown")]
    StepUp {
        /// Which.
        rule: AccessRuleId,
        /// How that is told to programs.
        challenge: String,
        /// What they are told; may be empty.
        words: String,
    },
    /// An access rule asks for a certificate of the user's device.
    #[error("{rule:?} asks for a device certificate")]
    DeviceRequired {
        /// Which.
        rule: AccessRuleId,
        /// What they are told; may be empty.
        words: String,
    },
    /// An access rule asks that terms of use are accepted.
    #[error("{rule:?} asks for terms to be accepted")]
    TermsRequired {
        /// Which.
        rule: AccessRuleId,
        /// What they are told.
        words: String,
    },
    /// An access rule keeps the answer back.
    #[error("an access rule keeps the answer back")]
    DownloadRefused,
    /// The session ended before the answer began.
    /// The program may not use the app.
    #[error("{0:?} is not assigned to the app")]
    ServiceNotAssigned(ServiceTokenId),
    /// The program with that certificate is not among those whom the app is for.
    #[error("{0} is not assigned to the app")]
    ProgramNotAssigned(String),
    /// The app's agents sign users on, and a program is none.
    #[error("a program cannot be signed on to the app")]
    NotSignedOn,
    /// The app's agents ask for the user's ID token, and the request shows none.
    #[error("the app asks for the user's id token, and the request shows none")]
    NoIdToken,
    /// The token that is shown does not hold.
    #[error("reading a token")]
    Token(#[source] TokenError),
    /// The token that is shown holds, and lacks a scope.
    #[error("the token lacks one of the scopes {0:?}")]
    Scope(String),
    /// The provider whose token is shown cannot be asked.
    #[error("the token's identity provider cannot be asked")]
    ProviderUnavailable,
    /// Too many that do not hold came from there.
    #[error("too many tokens that do not hold came from the address")]
    Guesses {
        /// When the next is looked at.
        retry_after: Duration,
    },
    /// The session ended before the answer began.
    #[error("the session ended")]
    SessionEnded,
    /// What brought the user back from the sign-in page does not hold.
    #[error("completing a sign-in: {0}")]
    SignIn(&'static str),
    /// The operator stopped every app.
    #[error("the fabric is stopped")]
    Stopped,
    /// The operator closed the app for a while.
    #[error("the app is in maintenance")]
    Maintenance(Maintenance),
    /// No agent of the group is left to be asked.
    #[error("no agent of the group has a link")]
    NoAgent,
    /// The agent's streams are all taken.
    #[error("agent takes no more streams")]
    NoStream,
    /// The link was gone before anything was written.
    #[error("opening a stream")]
    NotOpened(#[source] Closed),
    /// The stream failed before the answer's head.
    #[error("receiving the answer's head")]
    Lost(#[source] RecvError),
    /// The agent says why there is no answer.
    #[error("agent gave no answer: {reason} ({detail})")]
    Agent {
        /// The word that it used.
        reason: Reason,
        /// Nothing was processed.
        retry_safe: bool,
        /// For the log.
        detail: String,
    },
    /// The agent's answer cannot be understood.
    #[error("agent's answer cannot be used: {0}")]
    Answer(&'static str),
    /// The agent did not answer in time, although it should have said so itself.
    #[error("agent was silent for too long")]
    Silent,
    /// The user sent nothing for too long.
    #[error("user sent nothing for too long")]
    UserSilent,
    /// Its body is longer than the app takes.
    #[error("request's body is too long")]
    BodyTooLong,
    /// The app takes no more now.
    #[error("app takes no more requests now: {0:?}")]
    Exceeded(Exceeded),
    /// The request took longer in all than the app allows.
    #[error("request took too long in all")]
    TotalTimeout,
    /// The user sends its body too slowly.
    #[error("user's body comes too slowly")]
    UserSlow,
    /// The user's body broke off or breaks HTTP.
    #[error("receiving the user's body")]
    UserBody(#[source] UserBodyError),
    /// A defect of ours; the panic itself was logged.
    #[error("a defect: {0}")]
    Bug(&'static str),
}

/// Whether another agent may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Nothing was processed.
    Always,
    /// Something may have been processed: only a request that may be repeated.
    IfIdempotent,
    /// It would fail again, or wait as long again.
    Never,
}

impl RequestError {
    /// The stable word for log, metric and page.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Host(AuthorityError::NoName) | Self::Route(RouteError::NoApp) => Reason::NoApp,
            Self::Host(
                AuthorityError::NotOne | AuthorityError::Disagree | AuthorityError::Invalid,
            )
            | Self::Coding
            | Self::Target(_)
            | Self::Route(RouteError::AmbiguousPath) => Reason::BadRequest,
            Self::Protocol => Reason::ProtocolUnknown,
            Self::TargetTooLong => Reason::UriTooLong,
            Self::Fields(FieldError::Name | FieldError::Value | FieldError::Truncated) => {
                Reason::BadRequest
            }
            Self::Fields(FieldError::TooMany | FieldError::TooLong) | Self::HeadTooLarge => {
                Reason::HeadTooLarge
            }
            Self::Misdirected => Reason::Misdirected,
            Self::NoView | Self::Unusable => Reason::NotReady,
            Self::NoPage => Reason::NoPage,
            Self::Crossing(_) => Reason::CrossSite,
            Self::NotSignedIn { .. } => Reason::SignInRequired,
            Self::Blocked { .. } => Reason::Blocked,
            Self::StepUp { .. } => Reason::StepUpRequired,
            Self::DeviceRequired { .. } => Reason::DeviceRequired,
            Self::TermsRequired { .. } => Reason::TermsRequired,
            Self::DownloadRefused => Reason::DownloadRefused,
            Self::NotAssigned { .. }
            | Self::ServiceNotAssigned(_)
            | Self::ProgramNotAssigned(_) => Reason::NotAssigned,
            Self::NotSignedOn => Reason::SsoNoIdentity,
            Self::NoIdToken => Reason::SsoIdToken,
            Self::Token(TokenError::Several) => Reason::BadRequest,
            Self::Token(_) => Reason::BadToken,
            Self::Scope(_) => Reason::InsufficientScope,
            Self::ProviderUnavailable => Reason::ProviderUnavailable,
            Self::Guesses { .. } => Reason::TooManyGuesses,
            Self::SessionEnded => Reason::SessionEnded,
            Self::SignIn(_) => Reason::SignInFailed,
            Self::Stopped => Reason::Stopped,
            Self::Maintenance(_) => Reason::Maintenance,
            Self::NoAgent => Reason::NoAgent,
            Self::NoStream => Reason::Overloaded,
            Self::NotOpened(_) => Reason::AgentLost,
            Self::Lost(error) => lost_reason(error),
            Self::Agent { reason, .. } => *reason,
            Self::Answer(_) => Reason::TunnelProtocol,
            Self::Silent => Reason::OriginTimeout,
            Self::BodyTooLong => Reason::BodyTooLong,
            Self::Exceeded(Exceeded::Requests) => Reason::AppBusy,
            Self::Exceeded(Exceeded::Rate { .. }) => Reason::RateLimited,
            Self::Exceeded(Exceeded::ClientRate { .. }) => Reason::ClientRateLimited,
            Self::TotalTimeout => Reason::TotalTimeout,
            Self::UserSilent | Self::UserSlow => Reason::UserTimeout,
            Self::UserBody(error) if error.is_broken_off() => Reason::Cancelled,
            Self::UserBody(_) => Reason::BadRequest,
            Self::Bug(_) => Reason::Bug,
        }
    }

    /// Status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        answer::status(self.reason())
    }

    /// More words for the user than follow from the reason.
    pub(crate) fn message(&self) -> Option<&str> {
        match self {
            Self::Maintenance(maintenance) => Some(&maintenance.message),
            Self::NotAssigned { words, .. }
            | Self::Blocked { words, .. }
            | Self::StepUp { words, .. }
            | Self::DeviceRequired { words, .. }
            | Self::TermsRequired { words, .. } => Some(words),
            Self::ServiceNotAssigned(_) => Some(SERVICE_NOT_ASSIGNED),
            Self::NotSignedOn => Some(NOT_SIGNED_ON),
            Self::NoIdToken => Some(NO_ID_TOKEN),
            Self::ProgramNotAssigned(_) => Some(PROGRAM_NOT_ASSIGNED),
            Self::NotSignedIn { words, .. } => {
                Some(words).filter(|words| !words.is_empty()).copied()
            }
            _ => None,
        }
    }

    /// When the user may try again, if that can be said.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Maintenance(maintenance) => maintenance.retry_after,
            Self::Exceeded(
                Exceeded::Rate { retry_after } | Exceeded::ClientRate { retry_after },
            )
            | Self::Guesses { retry_after } => Some(*retry_after),
            _ => answer::retry_after(self.reason()),
        }
    }

    /// What to show in order to get in (RFC 9110, section 11.6.1); for tokens in the words of RFC 6750, section 3.1.
    pub(crate) fn challenge(&self) -> Option<String> {
        match self {
            Self::NotSignedIn { sign_in, .. } => Some(format!("Adit sign_in=\"{sign_in}\"")),
            Self::StepUp { challenge, .. } => Some(challenge.clone()),
            Self::Token(TokenError::Several) => {
                Some("Bearer realm=\"adit\", error=\"invalid_request\"".to_owned())
            }
            Self::Token(_) => Some("Bearer realm=\"adit\", error=\"invalid_token\"".to_owned()),
            Self::Scope(scopes) => Some(format!(
                "Bearer realm=\"adit\", error=\"insufficient_scope\", scope=\"{scopes}\""
            )),
            _ => None,
        }
    }

    /// Who can do something about it.
    pub(crate) fn side(&self) -> Side {
        self.reason().side()
    }

    /// Whether another agent may be asked.
    pub(crate) fn may_retry(&self) -> Retry {
        match self {
            Self::NoStream | Self::NotOpened(_) => Retry::Always,
            // What is wrong with the request is wrong with it everywhere.
            Self::Agent { reason, .. } if reason.side() == Side::User => Retry::Never,
            Self::Agent {
                retry_safe: true, ..
            } => Retry::Always,
            Self::Agent {
                // Whoever was asked has waited, and has told the app's domain or the app itself.
                reason: Reason::OriginTimeout | Reason::SsoFailed | Reason::SsoUnavailable,
                ..
            } => Retry::Never,
            Self::Lost(RecvError::Reset(code)) if code.is_refusal() => Retry::Always,
            Self::Lost(RecvError::Reset(Code::Timeout)) => Retry::Never,
            Self::Agent { .. } | Self::Lost(_) | Self::Answer(_) => Retry::IfIdempotent,
            Self::Host(_)
            | Self::Coding
            | Self::Target(_)
            | Self::Protocol
            | Self::TargetTooLong
            | Self::Fields(_)
            | Self::HeadTooLarge
            | Self::Misdirected
            | Self::NoView
            | Self::Unusable
            | Self::Route(_)
            | Self::NoPage
            | Self::Crossing(_)
            | Self::NotSignedIn { .. }
            | Self::NotAssigned { .. }
            | Self::Blocked { .. }
            | Self::StepUp { .. }
            | Self::DeviceRequired { .. }
            | Self::TermsRequired { .. }
            | Self::DownloadRefused
            | Self::ServiceNotAssigned(_)
            | Self::ProgramNotAssigned(_)
            | Self::NotSignedOn
            | Self::NoIdToken
            | Self::Token(_)
            | Self::Scope(_)
            | Self::ProviderUnavailable
            | Self::Guesses { .. }
            | Self::SessionEnded
            | Self::SignIn(_)
            | Self::Stopped
            | Self::Maintenance(_)
            | Self::NoAgent
            | Self::Silent
            | Self::BodyTooLong
            | Self::Exceeded(_)
            | Self::TotalTimeout
            | Self::UserSilent
            | Self::UserSlow
            | Self::UserBody(_)
            | Self::Bug(_) => Retry::Never,
        }
    }
}

impl From<ErrorInfo> for RequestError {
    fn from(info: ErrorInfo) -> Self {
        let code = Code::from(info.code);
        Self::Agent {
            reason: agent_reason(&info),
            retry_safe: info.retry_safe || code.is_refusal(),
            detail: info.detail,
        }
    }
}

/// The reason that an agent names; a word that this edge does not know is a breach of the protocol.
pub(crate) fn agent_reason(info: &ErrorInfo) -> Reason {
    Reason::from_word(&info.reason).unwrap_or(Reason::TunnelProtocol)
}

/// What a stream that failed says.
pub(crate) fn lost_reason(error: &RecvError) -> Reason {
    match error {
        RecvError::Reset(code) => code_reason(*code),
        RecvError::ConnectionLost(_) | RecvError::Truncated => Reason::AgentLost,
        RecvError::Protocol(_) => Reason::TunnelProtocol,
        RecvError::Stopped => Reason::Bug,
    }
}

fn code_reason(code: Code) -> Reason {
    match code {
        Code::Timeout => Reason::OriginTimeout,
        Code::Refused => Reason::Overloaded,
        Code::OriginConnect => Reason::OriginConnect,
        Code::OriginReset | Code::Truncated => Reason::OriginReset,
        Code::Protocol | Code::BodyNotNeeded => Reason::TunnelProtocol,
        Code::TooLarge => Reason::HeadTooLarge,
        Code::Revoked => Reason::AgentRefused,
        Code::Unspecified | Code::Cancelled | Code::Internal | Code::Draining => Reason::AgentLost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(code: Code, reason: &str, retry_safe: bool) -> RequestError {
        RequestError::from(ErrorInfo {
            code: code.into(),
            reason: reason.to_owned(),
            retry_safe,
            detail: String::new(),
        })
    }

    #[test]
    fn every_failure_answers_reason_and_retry() {
        let gone = || Closed::Silent;
        for (error, reason, retry) in [
            (RequestError::NoAgent, Reason::NoAgent, Retry::Never),
            (RequestError::NoStream, Reason::Overloaded, Retry::Always),
            (
                RequestError::NotOpened(gone()),
                Reason::AgentLost,
                Retry::Always,
            ),
            (
                RequestError::Lost(RecvError::ConnectionLost(gone())),
                Reason::AgentLost,
                Retry::IfIdempotent,
            ),
            (
                RequestError::Lost(RecvError::Reset(Code::Draining)),
                Reason::AgentLost,
                Retry::Always,
            ),
            (
                RequestError::Lost(RecvError::Reset(Code::Refused)),
                Reason::Overloaded,
                Retry::Always,
            ),
            (
                agent(Code::OriginConnect, "origin_connect", true),
                Reason::OriginConnect,
                Retry::Always,
            ),
            (
                agent(Code::Timeout, "origin_timeout", false),
                Reason::OriginTimeout,
                Retry::Never,
            ),
            (
                agent(Code::Internal, "a word of next year", false),
                Reason::TunnelProtocol,
                Retry::IfIdempotent,
            ),
            (RequestError::Silent, Reason::OriginTimeout, Retry::Never),
            (
                agent(Code::Internal, "sso_unavailable", false),
                Reason::SsoUnavailable,
                Retry::Never,
            ),
            (
                agent(Code::Internal, "sso_failed", true),
                Reason::SsoFailed,
                Retry::Always,
            ),
            (
                agent(Code::Internal, "sso_user_refused", true),
                Reason::SsoUserRefused,
                Retry::Never,
            ),
            (
                agent(Code::Protocol, "bad_request", false),
                Reason::BadRequest,
                Retry::Never,
            ),
            (
                agent(Code::TooLarge, "head_too_large", true),
                Reason::HeadTooLarge,
                Retry::Never,
            ),
        ] {
            assert_eq!(
                (error.reason(), error.may_retry()),
                (reason, retry),
                "{error:?}"
            );
            assert_eq!(error.status().as_u16(), reason.status());
            assert_eq!(error.side(), reason.side());
        }
    }
}
