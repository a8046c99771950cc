//! Why a call of the admin API is refused, and how that is told: a gRPC status with `google.rpc` details.

use proto::violation::Violation;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::{passwords::PasswordError, store::StoreError};

/// Domain of every `google.rpc.ErrorInfo` of this API.
pub const DOMAIN: &str = "adit";

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The request itself; every violation at once.
    #[error("{}", summary(.0))]
    Invalid(Vec<Violation>),
    /// No resource of this name.
    #[error("there is no {0}")]
    NotFound(String),
    /// A resource of this name is there already.
    #[error("{0} exists already")]
    AlreadyExists(String),
    /// The resource has changed since the caller read it.
    #[error("{0} has changed since it was read: read it again and repeat the change")]
    EtagMismatch(String),
    /// Others kept changing the same resource.
    #[error("{0} is being changed by others: try again")]
    Contended(String),
    /// The state of things does not allow it.
    #[error("{what}")]
    Precondition {
        /// Name of the resource that stands in the way.
        resource: String,
        /// What has to change first.
        what: String,
    },
    /// No token, or none that is known and valid.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// Too many refused tokens from one address.
    #[error("too many calls with bad tokens from this address: wait a minute")]
    TooManyFailures,
    /// Too many passwords are being checked or hashed.
    #[error("too many passwords are being checked: try again")]
    Busy,
    /// The token's role is too low.
    #[error("{0}")]
    PermissionDenied(String),
    /// What is stored cannot be read.
    #[error("the stored {0} cannot be read")]
    Corrupt(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bug or a failed part of control.
    #[error("control failed")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn summary(violations: &[Violation]) -> String {
    match violations {
        [only] => only.to_string(),
        many => format!("the request has {} errors", many.len()),
    }
}

impl Refusal {
    /// One violation.
    pub(crate) fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![violation(field, description)])
    }

    /// Code and stable word; both are part of the API.
    fn class(&self) -> (Code, &'static str) {
        match self {
            Self::Invalid(_) => (Code::InvalidArgument, "INVALID"),
            Self::NotFound(_) => (Code::NotFound, "NOT_FOUND"),
            Self::AlreadyExists(_) => (Code::AlreadyExists, "ALREADY_EXISTS"),
            Self::EtagMismatch(_) => (Code::Aborted, "ETAG_MISMATCH"),
            Self::Contended(_) => (Code::Aborted, "CONTENDED"),
            Self::Precondition { .. } => (Code::FailedPrecondition, "FAILED_PRECONDITION"),
            Self::Unauthenticated(_) => (Code::Unauthenticated, "UNAUTHENTICATED"),
            Self::TooManyFailures => (Code::ResourceExhausted, "TOO_MANY_FAILURES"),
            Self::Busy => (Code::Unavailable, "BUSY"),
            Self::PermissionDenied(_) => (Code::PermissionDenied, "PERMISSION_DENIED"),
            Self::Store(StoreError::ReadOnly(_)) => (Code::Unavailable, "STORE_READ_ONLY"),
            Self::Store(StoreError::Closed) => (Code::Unavailable, "STORE_CLOSED"),
            Self::Store(StoreError::TooLarge { .. }) => (Code::InvalidArgument, "TOO_LARGE"),
            Self::Store(StoreError::Database(_)) => (Code::Internal, "STORE_FAILED"),
            Self::Corrupt(_) => (Code::DataLoss, "STORE_CORRUPT"),
            Self::Internal(_) => (Code::Internal, "INTERNAL"),
        }
    }

    fn details(&self, reason: &str) -> ErrorDetails {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, DOMAIN, [] as [(String, String); 0]);
        match self {
            Self::Invalid(violations) => {
                let fields: Vec<_> = violations.iter().map(field_violation).collect();
                details.set_bad_request(fields);
            }
            Self::NotFound(name)
            | Self::AlreadyExists(name)
            | Self::EtagMismatch(name)
            | Self::Contended(name) => {
                details.set_resource_info(kind(name), name, "", self.to_string());
            }
            Self::Precondition { resource, what } => {
                details.add_precondition_failure_violation(reason, resource, what);
            }
            Self::Unauthenticated(_)
            | Self::TooManyFailures
            | Self::Busy
            | Self::PermissionDenied(_)
            | Self::Corrupt(_)
            | Self::Store(_)
            | Self::Internal(_) => {}
        }
        details
    }

    /// Failures on our side are logged with their causes, which the caller is not told.
    fn log(&self) {
        match self {
            Self::Store(StoreError::ReadOnly(_) | StoreError::Database(_))
            | Self::Corrupt(_)
            | Self::Internal(_) => {
                tracing::error!(error = %chain(self), "admin call failed");
            }
            Self::Store(StoreError::TooLarge { .. } | StoreError::Closed)
            | Self::Invalid(_)
            | Self::NotFound(_)
            | Self::AlreadyExists(_)
            | Self::EtagMismatch(_)
            | Self::Contended(_)
            | Self::Precondition { .. }
            | Self::Unauthenticated(_)
            | Self::TooManyFailures
            | Self::Busy
            | Self::PermissionDenied(_) => {
                tracing::debug!(reason = self.class().1, error = %self, "admin call refused");
            }
        }
    }
}

impl From<Violation> for Refusal {
    fn from(only: Violation) -> Self {
        Self::Invalid(vec![only])
    }
}

/// What was read of a request, if that and the rest of it is sound.
pub(crate) fn sound<T>(read: Result<T, Violation>, mut rest: Vec<Violation>) -> Result<T, Refusal> {
    match read {
        Ok(read) if rest.is_empty() => Ok(read),
        Ok(_) => Err(Refusal::Invalid(rest)),
        Err(found) => {
            rest.insert(0, found);
            Err(Refusal::Invalid(rest))
        }
    }
}

impl From<PasswordError> for Refusal {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::Busy,
            PasswordError::Hash(_) | PasswordError::Ended(_) => Self::Internal(Box::new(error)),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.log();
        let (code, reason) = refusal.class();
        Self::with_error_details(code, refusal.to_string(), refusal.details(reason))
    }
}

/// A violation of `field`.
pub(crate) fn violation(field: impl Into<String>, description: impl Into<String>) -> Violation {
    Violation {
        field: field.into(),
        description: description.into(),
    }
}

fn field_violation(violation: &Violation) -> FieldViolation {
    FieldViolation::new(violation.field.as_str(), violation.description.as_str())
}

/// The collection of a resource name, which serves as its type.
fn kind(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_is_in_the_details() {
        let status: Status = Refusal::Invalid(vec![
            violation("app.path", "must start with /"),
            violation("app.group", "must not be empty"),
        ])
        .into();
        let details = status.get_error_details();
        let fields: Vec<_> = details
            .bad_request()
            .map(|bad| {
                bad.field_violations
                    .iter()
                    .map(|v| v.field.clone())
                    .collect()
            })
            .unwrap_or_default();
        assert_eq!(fields, ["app.path", "app.group"]);
        assert_eq!(
            details.error_info().map(|info| info.reason.as_str()),
            Some("INVALID")
        );
        assert_eq!(
            details.error_info().map(|info| info.domain.as_str()),
            Some(DOMAIN)
        );
    }

    #[test]
    fn missing_resource_is_named() {
        let status: Status = Refusal::NotFound("apps/wiki".to_owned()).into();
        let details = status.get_error_details();
        let named = details
            .resource_info()
            .map(|info| info.resource_name.clone());
        assert_eq!(
            (status.code(), named.as_deref()),
            (Code::NotFound, Some("apps/wiki"))
        );
    }

    #[test]
    fn causes_are_not_told_to_the_caller() {
        let inner = std::io::Error::other("/var/lib/adit/store.db");
        let status: Status = Refusal::Store(StoreError::ReadOnly(Box::new(inner))).into();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(!status.message().contains("/var"), "{}", status.message());
    }
}
