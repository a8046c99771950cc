//! Why a node is refused, and how that is told: a gRPC status with a `google.rpc.ErrorInfo`, and a `google.rpc.RetryInfo`
//! where it passes with time.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    admin::ERROR_DOMAIN,
    attempts,
    ca::RequestError,
    passwords::PasswordError,
    refreshes::RefreshesError,
    sign_in_log::SignInLogError,
    store::{StoreError, TxnError},
    tokens::TokenError,
};

/// Why a node is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the call needs a certificate of the fabric")]
    NoCertificate,
    #[error("the certificate has run out since the connection began")]
    CertificateExpired,
    #[error("the certificate is of another fabric")]
    OtherDomain,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("too many bad join tokens or unknown keys from this address: wait a minute")]
    TooManyAttempts,
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The same of a caller who has shown nothing else.
    #[error(transparent)]
    UnprovenRequest(RequestError),
    #[error("the certificate request is for {asked}, and the join token for {allowed}")]
    RoleMismatch {
        asked: &'static str,
        allowed: &'static str,
    },
    #[error("the certificate request is not for the caller's own name")]
    NameMismatch,
    #[error("the join token is for {0} alone")]
    OtherNode(String),
    #[error("{0} exists already")]
    AlreadyExists(String),
    #[error(
        "{0} was deleted, and its certificate runs for at most a day more: wait, or choose another id"
    )]
    Denied(String),
    #[error("{0} no longer exists: create a join token for another group")]
    GroupUnknown(String),
    #[error("others kept changing the same records: try again")]
    Contended,
    #[error("{0} is not enrolled")]
    NodeUnknown(String),
    #[error("{0} has been revoked")]
    NodeRevoked(String),
    #[error("{0} has been enrolled anew, with another key")]
    KeySuperseded(String),
    #[error("no node of this name and key is known: join it by a token")]
    NotRecoverable,
    #[error("the certificate of {0} ran out more than 30 days ago: join it again by a token")]
    AwayTooLong(String),
    #[error("only edges may ask for users' accounts and sessions")]
    EdgesOnly,
    #[error("too many passwords are being checked: try again")]
    Busy,
    #[error("checking a password")]
    Password(#[source] PasswordError),
    #[error("{0}")]
    Protocol(&'static str),
    #[error(
        "the node has connected anew; if it has not, another process has a copy of its data directory"
    )]
    Replaced,
    #[error("the node has not read what it was sent for a minute")]
    Unread,
    #[error("control is stopping")]
    Stopping,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    SignIns(#[from] SignInLogError),
    #[error(transparent)]
    Refreshes(#[from] RefreshesError),
    #[error("the stored {0} cannot be read")]
    Corrupt(String),
    #[error("control failed")]
    Crypto(#[from] rcgen::Error),
}

impl From<TxnError> for Refusal {
    /// Of conflicts only those get here that were tried again too often.
    fn from(error: TxnError) -> Self {
        match error {
            TxnError::Conflict(_) => Self::Contended,
            TxnError::Store(error) => Self::Store(error),
        }
    }
}

impl Refusal {
    /// Whether the token itself, or the key, is bad, as a guessed one would be, or there is none.
    pub(super) fn is_guess(&self) -> bool {
        match self {
            Self::Token(error) => !matches!(error, TokenError::Store(_)),
            Self::NotRecoverable | Self::UnprovenRequest(_) => true,
            _ => false,
        }
    }

    /// How long the node shall wait before it tries again; `None`: it knows better.
    const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyAttempts => Some(attempts::WINDOW),
            _ => None,
        }
    }

    /// Code and stable word; both are part of the contract with nodes.
    pub(super) fn class(&self) -> (Code, &'static str) {
        match self {
            Self::NoCertificate => (Code::Unauthenticated, "NO_CERTIFICATE"),
            Self::CertificateExpired => (Code::Unauthenticated, "CERTIFICATE_EXPIRED"),
            Self::OtherDomain => (Code::PermissionDenied, "OTHER_FABRIC"),
            Self::Token(TokenError::Invalid) => (Code::Unauthenticated, "TOKEN_INVALID"),
            Self::Token(TokenError::Expired) => (Code::Unauthenticated, "TOKEN_EXPIRED"),
            Self::Token(TokenError::Unknown) => (Code::Unauthenticated, "TOKEN_UNKNOWN"),
            Self::Token(TokenError::Revoked) => (Code::Unauthenticated, "TOKEN_REVOKED"),
            Self::Token(TokenError::UsedUp) => (Code::Unauthenticated, "TOKEN_USED_UP"),
            Self::TooManyAttempts => (Code::ResourceExhausted, "TOO_MANY_ATTEMPTS"),
            Self::Request(error) | Self::UnprovenRequest(error) => request_class(*error),
            Self::RoleMismatch { .. } => (Code::PermissionDenied, "CSR_ROLE_MISMATCH"),
            Self::NameMismatch => (Code::PermissionDenied, "CSR_NAME_MISMATCH"),
            Self::OtherNode(_) => (Code::PermissionDenied, "TOKEN_OF_ANOTHER_NODE"),
            Self::AlreadyExists(_) => (Code::AlreadyExists, "ID_TAKEN"),
            Self::Denied(_) => (Code::AlreadyExists, "ID_DENIED"),
            Self::GroupUnknown(_) => (Code::FailedPrecondition, "GROUP_UNKNOWN"),
            Self::Contended => (Code::Aborted, "CONTENDED"),
            Self::NodeUnknown(_) => (Code::PermissionDenied, "NODE_UNKNOWN"),
            Self::KeySuperseded(_) => (Code::PermissionDenied, "KEY_SUPERSEDED"),
            Self::NodeRevoked(_) => (Code::PermissionDenied, "NODE_REVOKED"),
            Self::NotRecoverable => (Code::PermissionDenied, "NOT_RECOVERABLE"),
            Self::AwayTooLong(_) => (Code::PermissionDenied, "AWAY_TOO_LONG"),
            Self::EdgesOnly => (Code::PermissionDenied, "EDGES_ONLY"),
            Self::Busy => (Code::ResourceExhausted, "BUSY"),
            Self::Password(_) => (Code::Internal, "INTERNAL"),
            Self::Protocol(_) => (Code::InvalidArgument, "PROTOCOL"),
            Self::Replaced => (Code::Aborted, "REPLACED"),
            Self::Unread => (Code::DeadlineExceeded, "UNREAD"),
            Self::Stopping => (Code::Unavailable, "STOPPING"),
            Self::Store(error) | Self::Token(TokenError::Store(error)) => store_class(error),
            Self::SignIns(_) => (Code::Unavailable, "SIGN_INS"),
            Self::Refreshes(_) => (Code::Unavailable, "REFRESHES"),
            Self::Corrupt(_) => (Code::DataLoss, "STORE_CORRUPT"),
            Self::Crypto(_) => (Code::Internal, "INTERNAL"),
        }
    }
}

fn request_class(error: RequestError) -> (Code, &'static str) {
    let word = match error {
        RequestError::Malformed => "CSR_MALFORMED",
        RequestError::Signature => "CSR_SIGNATURE",
        RequestError::Key => "CSR_KEY",
        RequestError::Name => "CSR_NAME",
    };
    (Code::InvalidArgument, word)
}

fn store_class(error: &StoreError) -> (Code, &'static str) {
    match error {
        StoreError::ReadOnly(_) => (Code::Unavailable, "STORE_READ_ONLY"),
        StoreError::Closed => (Code::Unavailable, "STORE_CLOSED"),
        StoreError::TooLarge { .. } => (Code::InvalidArgument, "TOO_LARGE"),
        StoreError::Database(_) => (Code::Internal, "STORE_FAILED"),
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let (code, reason) = refusal.class();
        match code {
            Code::Internal | Code::DataLoss => {
                tracing::error!(reason, error = ?refusal, "a node's call failed");
            }
            _ => tracing::debug!(reason, error = %refusal, "a node was refused"),
        }
        let mut details =
            ErrorDetails::with_error_info(reason, ERROR_DOMAIN, [] as [(String, String); 0]);
        if let Some(wait) = refusal.retry_after() {
            details.set_retry_info(Some(wait));
        }
        Self::with_error_details(code, refusal.to_string(), details)
    }
}
