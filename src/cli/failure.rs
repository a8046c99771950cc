//! Why a command failed, and how that is told: one line with its causes, then every violation, then a hint.

use std::{
    error::Error,
    fmt::{self, Write as _},
    io,
    path::PathBuf,
};

use model::name::VaultKeyId;
use runtime::{doctor::Fault, vault::SealError};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{access::AccessError, app::flag_names, apply::FileError, profile::ProfileError};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The result could not be written.
    #[error("cannot write the result")]
    Output(#[source] io::Error),
    /// A file named on the command line could not be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file named on the command line could not be written.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A credential could not be sealed.
    #[error("cannot seal the credential")]
    Seal(#[source] SealError),
    /// There is nothing to seal a credential to.
    #[error(
        "the group {0} has no vault key: `adit vault-key create --group {0} --out FILE` makes one"
    )]
    NoVaultKey(String),
    /// A credential would be sealed to another key than was said.
    #[error("credentials of this app are sealed to the vault key {newest} now, not to {wanted}")]
    OtherVaultKey {
        /// As the operator said.
        wanted: VaultKeyId,
        /// As control says.
        newest: VaultKeyId,
    },
    /// No usable profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The file to apply is not valid.
    #[error(transparent)]
    File(#[from] FileError),
    /// Control refused or could not be reached.
    #[error(transparent)]
    Call(#[from] Box<CallFailure>),
    /// A user's command failed.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Some of what a file asks for is refused; nothing was changed.
    #[error("{} of the changes are refused; nothing was changed", .0.len())]
    Refused(Vec<Rejected>),
    /// A process could not be configured.
    #[error("cannot start {process}")]
    Configuration {
        /// `control`, `edge` or `agent`.
        process: &'static str,
        /// Every problem, one a line.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The doctor found something that is to be mended.
    #[error("the {process} is not well; faults: {count}, and the first to mend is {}", first.as_str())]
    Unwell {
        /// `edge` or `agent`.
        process: &'static str,
        /// How many faults there are.
        count: usize,
        /// Where to begin.
        first: Fault,
    },
    /// No agent has tried a sign-on.
    #[error("nobody has tried to sign {user} on to {app}")]
    NothingTried {
        /// Id.
        user: String,
        /// `apps/wiki`.
        app: String,
    },
    /// A user is not signed on to an app by every agent that was asked.
    #[error("{user} is not signed on to {app} by {failed} of {total} agents")]
    NotSignedOn {
        /// Id.
        user: String,
        /// `apps/wiki`.
        app: String,
        /// Agents that cannot do it.
        failed: usize,
        /// All that were to.
        total: usize,
    },
    /// It cannot be had on this system.
    #[cfg(windows)]
    #[error("{0}")]
    Elsewhere(&'static str),
    /// A process could not start or ended badly.
    #[error("{process} failed")]
    Process {
        /// `control`, `edge` or `agent`.
        process: &'static str,
        /// What failed.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// A call that control refused, or that did not reach it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing}")]
pub(crate) struct CallFailure {
    /// What was being done, such as `publish apps/wiki`.
    pub(crate) doing: String,
    /// Which profile was used and which addresses were tried.
    pub(crate) through: Through,
    /// What came back.
    #[source]
    pub(crate) answer: Answer,
}

/// A change that control would refuse.
#[derive(Debug)]
pub(crate) struct Rejected {
    /// Name of the resource.
    pub(crate) resource: String,
    /// What came back.
    pub(crate) answer: Answer,
}

/// How control was called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Through {
    /// Profile file.
    pub(crate) profile: PathBuf,
    /// Addresses in the profile.
    pub(crate) addresses: Vec<String>,
}

/// An error answer of the admin API, or the lack of any answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: Code,
    message: String,
    /// Stable word of `google.rpc.ErrorInfo`.
    reason: Option<String>,
    /// Field and description of `google.rpc.BadRequest`.
    pub(crate) violations: Vec<(String, String)>,
    /// What lies under an answer that this side made up, such as a refused connection.
    causes: Vec<String>,
}

impl From<Status> for Answer {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let violations = details.bad_request().map_or_else(Vec::new, |bad| {
            let pairs = bad.field_violations.iter();
            pairs
                .map(|violation| (violation.field.clone(), violation.description.clone()))
                .collect()
        });
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            reason: details.error_info().map(|info| info.reason.clone()),
            violations,
            causes: causes(&status),
        }
    }
}

impl Answer {
    /// No answer within the time that the operator gave.
    pub(crate) fn too_late(timeout: std::time::Duration) -> Self {
        Self {
            code: Code::DeadlineExceeded,
            message: format!("no answer within {} s", timeout.as_secs_f64()),
            reason: None,
            violations: Vec::new(),
            causes: Vec::new(),
        }
    }

    /// Whether control has surely not done what it was asked for, and has said so.
    pub(crate) fn is_refusal(&self) -> bool {
        let has_said = matches!(
            self.code,
            Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Unimplemented
        );
        has_said && self.causes.is_empty()
    }

    /// The same with the flags that say what its fields say.
    fn naming(mut self, flag_of: fn(&str) -> Option<&'static str>) -> Self {
        for (field, _) in &mut self.violations {
            let Some(flag) = flag_of(field) else {
                continue;
            };
            let named = format!("{field} ({flag})");
            // A single fault is all of the message.
            if let Some(rest) = self.message.strip_prefix(&format!("{field} ")) {
                self.message = format!("{named} {rest}");
            }
            *field = named;
        }
        self
    }

    /// An error that this side knows more about than a status can say.
    pub(crate) fn local(code: Code, error: &dyn Error) -> Self {
        Self {
            code,
            message: error.to_string(),
            reason: None,
            violations: Vec::new(),
            causes: causes(error),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => write!(f, " ({})", word(self.code)),
        }
    }
}

impl Error for Answer {}

/// Texts of the chain under an error, without repetitions of what is already said.
fn causes(error: &dyn Error) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        let said = causes.last().is_some_and(|last| last.contains(&text));
        if !said && !error.to_string().contains(&text) {
            causes.push(text);
        }
        next = cause.source();
    }
    causes
}

/// Name of a code as gRPC spells it.
fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

impl Failure {
    /// Whether whoever read the output has gone, as `head` does: nothing to complain about.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Unwell { first, .. } => first.exit_code(),
            Self::Output(_)
            | Self::Unreadable { .. }
            | Self::Unwritable { .. }
            | Self::Seal(_)
            | Self::NoVaultKey(_)
            | Self::OtherVaultKey { .. }
            | Self::Profile(_)
            | Self::File(_)
            | Self::Call(_)
            | Self::Access(_)
            | Self::Refused(_)
            | Self::Configuration { .. }
            | Self::NothingTried { .. }
            | Self::NotSignedOn { .. }
            | Self::Process { .. } => 1,
            #[cfg(windows)]
            Self::Elsewhere(_) => 1,
        }
    }

    /// As a command says it whose flags are what was refused.
    pub(crate) fn naming_flags(self) -> Self {
        self.naming(flag_names::of)
    }

    /// The same for flags of another command.
    pub(crate) fn naming(self, flag_of: fn(&str) -> Option<&'static str>) -> Self {
        match self {
            Self::Call(mut call) => {
                call.answer = call.answer.naming(flag_of);
                Self::Call(call)
            }
            other => other,
        }
    }

    /// The whole text for the operator.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("adit: {self}");
        let mut cause = self.source();
        while let Some(inner) = cause {
            // Errors of TOML end with a line's end, and some errors repeat their cause.
            let said = inner.to_string();
            let said = said.trim_end();
            if !text.ends_with(said) {
                append(&mut text, format_args!(": {said}"));
            }
            cause = inner.source();
        }
        match self {
            Self::Call(call) => {
                append_violations(&mut text, &call.answer.violations, "  ");
                append_hint(&mut text, call.answer.code, &call.through);
            }
            Self::Refused(rejected) => {
                for Rejected { resource, answer } in rejected {
                    append(&mut text, format_args!("\n  {resource}: {answer}"));
                    append_violations(&mut text, &answer.violations, "    ");
                }
            }
            Self::Output(_)
            | Self::Unreadable { .. }
            | Self::Unwritable { .. }
            | Self::Seal(_)
            | Self::NoVaultKey(_)
            | Self::OtherVaultKey { .. }
            | Self::Profile(_)
            | Self::File(_)
            | Self::Access(_)
            | Self::Configuration { .. }
            | Self::Unwell { .. }
            | Self::NothingTried { .. }
            | Self::NotSignedOn { .. }
            | Self::Process { .. } => {}
            #[cfg(windows)]
            Self::Elsewhere(_) => {}
        }
        text
    }
}

/// One a line. A single one may be all that the message says, and then is not said again.
fn append_violations(text: &mut String, violations: &[(String, String)], indent: &str) {
    if let [(field, description)] = violations
        && text.contains(&format!("{field} {description}"))
    {
        return;
    }
    for (field, description) in violations {
        append(text, format_args!("\n{indent}{field}: {description}"));
    }
}

fn append_hint(text: &mut String, code: Code, through: &Through) {
    let Through { profile, addresses } = through;
    let profile = profile.display();
    let addresses = addresses.join(", ");
    match code {
        Code::Unauthenticated => append(
            text,
            format_args!(
                "\nhint: the token came from {profile}; give another profile with --profile"
            ),
        ),
        Code::PermissionDenied => append(
            text,
            format_args!("\nhint: the token in {profile} has too low a role for this"),
        ),
        Code::Unavailable | Code::DeadlineExceeded => append(
            text,
            format_args!("\nhint: tried {addresses} (from {profile}); is `adit control` running?"),
        ),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => {}
    }
}

fn append(text: &mut String, more: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(more);
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, FieldViolation};

    use super::*;

    fn call(status: Status) -> Failure {
        Failure::from(Box::new(CallFailure {
            doing: "publish apps/wiki".to_owned(),
            through: Through {
                profile: "/home/op/profile.toml".into(),
                addresses: vec!["control:7443".to_owned()],
            },
            answer: status.into(),
        }))
    }

    #[test]
    fn every_violation_stands_on_its_own_line() {
        let mut details = ErrorDetails::new();
        details.set_error_info("INVALID", "adit", [] as [(String, String); 0]);
        details.set_bad_request(vec![
            FieldViolation::new("app.hosts[0]", "must be a DNS name, not an IP address"),
            FieldViolation::new("app.group", "there is no groups/nowhere"),
        ]);
        let status =
            Status::with_error_details(Code::InvalidArgument, "the request has 2 errors", details);
        assert_eq!(
            call(status).text(),
            "adit: cannot publish apps/wiki: the request has 2 errors (INVALID)\n  \
             app.hosts[0]: must be a DNS name, not an IP address\n  \
             app.group: there is no groups/nowhere"
        );
    }

    #[test]
    fn only_what_control_has_said_is_a_refusal() {
        for (code, is_refusal) in [
            (Code::NotFound, true),
            (Code::PermissionDenied, true),
            (Code::Unavailable, false),
            (Code::DeadlineExceeded, false),
            (Code::Cancelled, false),
            (Code::Unknown, false),
            (Code::Internal, false),
            (Code::Aborted, false),
        ] {
            let answer = Answer::from(Status::new(code, "words"));
            assert_eq!(answer.is_refusal(), is_refusal, "{code:?}");
        }
    }

    #[test]
    fn a_single_violation_is_told_once() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("group", "must be empty for edges");
        let message = "group must be empty for edges";
        let status = Status::with_error_details(Code::InvalidArgument, message, details);
        assert_eq!(
            call(status).text(),
            "adit: cannot publish apps/wiki: group must be empty for edges (INVALID_ARGUMENT)"
        );
    }

    #[test]
    fn a_refused_command_hears_of_its_flags() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("app.translation.json", "needs bodies");
        let message = "app.translation.json needs bodies";
        let status = Status::with_error_details(Code::InvalidArgument, message, details);
        assert_eq!(
            call(status).naming_flags().text(),
            "adit: cannot publish apps/wiki: app.translation.json (--translate-json) needs bodies (INVALID_ARGUMENT)"
        );
    }

    #[test]
    fn hints_name_the_profile_or_the_addresses() {
        let text = call(Status::unauthenticated("unknown token")).text();
        assert!(text.contains("came from /home/op/profile.toml"), "{text}");
        let text = call(Status::unavailable("no connection")).text();
        assert!(text.contains("tried control:7443"), "{text}");
        let text = call(Status::not_found("there is no apps/wiki")).text();
        assert!(!text.contains("hint"), "{text}");
    }

    #[test]
    fn causes_are_told_once() {
        let inner = io::Error::new(io::ErrorKind::ConnectionRefused, "refused");
        let status = Status::from_error(Box::new(io::Error::other(inner)));
        let text = call(status).text();
        assert_eq!(text.matches("refused").count(), 1, "{text}");
        let failure = Failure::Configuration {
            process: "edge",
            source: Box::new(Repeating(io::Error::other("no such level"))),
        };
        assert_eq!(
            failure.text(),
            "adit: cannot start edge: filter: no such level"
        );
    }

    /// Says its cause itself, and has it too.
    #[derive(Debug, thiserror::Error)]
    #[error("filter: {0}")]
    struct Repeating(#[source] io::Error);
}
