//! What went wrong, where, and whose it is to mend.

use std::fmt;

use crate::gssapi::Status;

/// Where a sign-on ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Getting the agent's own ticket.
    Agent,
    /// Getting a ticket in the user's name for the agent itself: S4U2Self.
    SelfTicket,
    /// Getting a ticket in the user's name for the application: S4U2Proxy.
    Proxy,
    /// At the application.
    App,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Agent, Self::SelfTicket, Self::Proxy, Self::App];

    /// A stable word, for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::SelfTicket => "self",
            Self::Proxy => "proxy",
            Self::App => "app",
        }
    }
}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The realm knows no such user, or the agent's account is not there (6).
    NoUser,
    /// The realm knows no such service (7).
    NoService,
    /// The KDC's policy says no (12): Samba's word for a disabled user.
    Policy,
    /// The agent may not speak for this user at this application (13).
    NotAllowed,
    /// The account is disabled, locked or expired (18, 1), or its password is (23).
    Revoked,
    /// The agent's own key, or its keytab, is of no use.
    Credential,
    /// A ticket is no longer good (32), or not yet (33).
    Expired,
    /// Clocks are too far apart (37).
    Skew,
    /// The application refused the ticket.
    Refused,
    /// The application does not take Kerberos.
    NotKerberos,
    /// The application did not prove that it is who the ticket is for.
    Unproven,
    /// No KDC is reached.
    Unreachable,
    /// It took longer than it may.
    Timeout,
    /// Too many others are waiting.
    Busy,
    /// No KDC has answered lately, so that none is asked.
    Broken,
    /// Anything else.
    Other,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::NoUser,
        Self::NoService,
        Self::Policy,
        Self::NotAllowed,
        Self::Revoked,
        Self::Credential,
        Self::Expired,
        Self::Skew,
        Self::Refused,
        Self::NotKerberos,
        Self::Unproven,
        Self::Unreachable,
        Self::Timeout,
        Self::Busy,
        Self::Broken,
        Self::Other,
    ];

    /// A stable word, for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoUser => "no_user",
            Self::NoService => "no_service",
            Self::Policy => "policy",
            Self::NotAllowed => "not_allowed",
            Self::Revoked => "revoked",
            Self::Credential => "credential",
            Self::Expired => "expired",
            Self::Skew => "skew",
            Self::Refused => "refused",
            Self::NotKerberos => "not_kerberos",
            Self::Unproven => "unproven",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Broken => "broken",
            Self::Other => "other",
        }
    }
}

/// Whose a failure is, and so what the user may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// This user cannot be signed on to this application: 403.
    User,
    /// Agent, application or directory are not set up as they must be: 502.
    Setup,
    /// Nobody was there to ask: 504.
    Kdc,
}

/// A sign-on that failed. Its text is for operators; users are not to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Where.
    pub stage: Stage,
    /// What.
    pub kind: Kind,
    /// The number of the error in RFC 4120, section 7.5.9, where it has one.
    pub number: Option<i32>,
    /// The library's words, or ours.
    pub text: String,
    /// What to look at.
    pub hint: &'static str,
}

/// Kerberos' own errors have numbers from here on; `ERROR_TABLE_BASE_krb5`.
const TABLE: i32 = -1_765_328_384;
/// The last that goes over the wire; those beyond are the library's own.
const PROTOCOL_MAX: i32 = 127;
/// `KRB5_REALM_UNKNOWN`, `KRB5_KDC_UNREACH`, `KRB5_REALM_CANT_RESOLVE`: nobody to ask.
const UNREACHABLE: [i32; 3] = [154, 156, 220];

impl Failure {
    pub(crate) fn new(stage: Stage, kind: Kind, text: impl Into<String>) -> Self {
        Self {
            stage,
            kind,
            number: None,
            text: text.into(),
            hint: hint(stage, kind, None),
        }
    }

    /// What the library said at a stage.
    pub(crate) fn of(stage: Stage, status: Status) -> Self {
        let offset = status.minor.wrapping_sub(TABLE);
        let number = (1..=PROTOCOL_MAX).contains(&offset).then_some(offset);
        let kind = kind(stage, number, offset);
        let text = if status.text.is_empty() {
            format!("GSSAPI status {:#x}, {}", status.major, status.minor)
        } else {
            status.text
        };
        Self {
            stage,
            kind,
            number,
            text,
            hint: hint(stage, kind, number),
        }
    }

    /// Whose it is.
    pub fn blame(&self) -> Blame {
        match (self.stage, self.kind) {
            (_, Kind::Unreachable | Kind::Timeout | Kind::Busy | Kind::Broken) => Blame::Kdc,
            (
                Stage::SelfTicket | Stage::Proxy,
                Kind::NoUser | Kind::Policy | Kind::NotAllowed | Kind::Revoked,
            ) => Blame::User,
            (
                _,
                Kind::NoUser
                | Kind::NoService
                | Kind::Policy
                | Kind::NotAllowed
                | Kind::Revoked
                | Kind::Credential
                | Kind::Expired
                | Kind::Skew
                | Kind::Refused
                | Kind::NotKerberos
                | Kind::Unproven
                | Kind::Other,
            ) => Blame::Setup,
        }
    }

    /// Whether the KDC said of this user and this service what it will say again in a moment.
    pub(crate) fn lasts(&self) -> bool {
        let is_of_user = matches!(self.stage, Stage::SelfTicket | Stage::Proxy);
        is_of_user && matches!(self.number, Some(1 | 6 | 7 | 12 | 13 | 18 | 23))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.text, self.stage.as_str())?;
        match self.number {
            Some(number) => write!(f, ", error {number})"),
            None => f.write_str(")"),
        }
    }
}

impl std::error::Error for Failure {}

fn kind(stage: Stage, number: Option<i32>, offset: i32) -> Kind {
    match (stage, number) {
        // No KDC is asked here, whatever an application writes.
        (Stage::App, Some(37)) => Kind::Skew,
        (Stage::App, _) => Kind::Refused,
        _ if UNREACHABLE.contains(&offset) => Kind::Unreachable,
        // "A service is not available": the KDC cannot ask its own directory.
        (_, Some(29)) => Kind::Unreachable,
        (_, Some(32 | 33)) => Kind::Expired,
        // The agent's own ticket was withdrawn, or is of keys that the realm has no more.
        (Stage::SelfTicket, Some(20 | 31 | 41 | 44 | 45)) => Kind::Expired,
        (_, Some(37)) => Kind::Skew,
        (Stage::Agent, _) => Kind::Credential,
        (_, Some(6)) => Kind::NoUser,
        (_, Some(7)) => Kind::NoService,
        (_, Some(12)) => Kind::Policy,
        (_, Some(13)) => Kind::NotAllowed,
        (_, Some(1 | 18 | 23)) => Kind::Revoked,
        (Stage::SelfTicket | Stage::Proxy, _) => Kind::Other,
    }
}

fn hint(stage: Stage, kind: Kind, number: Option<i32>) -> &'static str {
    match (stage, kind) {
        (Stage::Agent, Kind::Credential) => match number {
            Some(6) => "the realm has no account of the agent's principal",
            Some(18) => "the agent's account is disabled, locked or expired",
            Some(24) => {
                "the agent's password was changed after the keytab was exported: export it anew"
            }
            Some(14) => {
                "the keytab has no key of a kind that the KDC takes: export it with AES keys"
            }
            _ => "look at the agent's principal and keytab",
        },
        (Stage::SelfTicket, Kind::NoUser) => {
            "no account has this name: look at what the app takes as the user's name, and in which form"
        }
        (Stage::SelfTicket, Kind::NoService) => {
            "the agent's account needs a service principal name of its own, whichever"
        }
        (_, Kind::NoUser) => "the realm has no account of this name",
        (_, Kind::NoService) => {
            "no account has the app's service principal name: set it with setspn, or correct the app's"
        }
        (_, Kind::Policy | Kind::Revoked) => {
            "the user's account, or its password, is disabled, locked, expired, or not to be used now"
        }
        (_, Kind::NotAllowed) => {
            "one of four: krb5.conf of this host lacks forwardable = true under [libdefaults]; the agent's account may not use protocol transition (\"any authentication protocol\"); the service principal name is not on its list of services; the user is marked as sensitive or in Protected Users"
        }
        (_, Kind::Skew) => "the clocks are more than five minutes apart",
        (_, Kind::Expired) if !matches!(number, Some(32 | 33)) => {
            "the KDC does not take the agent's own ticket any more: its password was changed, or the realm's keys"
        }
        (_, Kind::Expired) => "look at the clocks of this host and of the KDC",
        (_, Kind::Refused) => match number {
            Some(44) => {
                "the application's keytab is older than its account's password: export it anew"
            }
            Some(41) => {
                "another account has the application's service principal name: look with setspn -X"
            }
            Some(31) => {
                "the application cannot read the ticket: its service principal name is on another account than the one that it runs as"
            }
            Some(32 | 33) => {
                "the ticket is no longer good there, or not yet: look at the clock of the application's machine"
            }
            Some(34) => "the application has seen this ticket's use before",
            _ => "look into the application's own log",
        },
        (_, Kind::NotKerberos) => {
            "the application offers other sign-ins only: turn on Negotiate (Integrated Windows Authentication) there"
        }
        (_, Kind::Unproven) => {
            "the application has not proved itself: does it hold the key of its service principal name?"
        }
        (_, Kind::Unreachable) if number == Some(29) => {
            "a KDC has answered and cannot ask its own directory: look into its log"
        }
        (_, Kind::Unreachable) => {
            "no KDC of the realm is reached: look at krb5.conf, DNS, and TCP and UDP port 88"
        }
        (_, Kind::Timeout) => {
            "a KDC that the host is told of accepts and does not answer: look at the kdc lines of krb5.conf, and their order"
        }
        (_, Kind::Broken) => "no KDC has answered lately: one request in a while tries again",
        (_, Kind::Busy) => "more users come anew than the KDC serves",
        (Stage::SelfTicket | Stage::Proxy, Kind::Other) if number == Some(14) => {
            "an account has no key of a kind that both sides take: give it AES keys (msDS-SupportedEncryptionTypes 24), and a new password"
        }
        (_, Kind::Credential | Kind::Other) => "look up the number, and into the KDC's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(offset: i32) -> Status {
        Status {
            major: 0xd_0000,
            minor: TABLE + offset,
            text: "words".to_owned(),
        }
    }

    #[test]
    fn errors_have_kind_blame_and_number() {
        use Stage::{Agent, App, Proxy, SelfTicket};
        for (stage, offset, kind, blame, number) in [
            (Agent, 6, Kind::Credential, Blame::Setup, Some(6)),
            (Agent, 18, Kind::Credential, Blame::Setup, Some(18)),
            (Agent, 24, Kind::Credential, Blame::Setup, Some(24)),
            (Agent, 37, Kind::Skew, Blame::Setup, Some(37)),
            (Agent, 195, Kind::Credential, Blame::Setup, None),
            (Agent, 156, Kind::Unreachable, Blame::Kdc, None),
            (Agent, 29, Kind::Unreachable, Blame::Kdc, Some(29)),
            (SelfTicket, 6, Kind::NoUser, Blame::User, Some(6)),
            (SelfTicket, 7, Kind::NoService, Blame::Setup, Some(7)),
            (SelfTicket, 12, Kind::Policy, Blame::User, Some(12)),
            (SelfTicket, 18, Kind::Revoked, Blame::User, Some(18)),
            (SelfTicket, 1, Kind::Revoked, Blame::User, Some(1)),
            (Proxy, 23, Kind::Revoked, Blame::User, Some(23)),
            (SelfTicket, 32, Kind::Expired, Blame::Setup, Some(32)),
            (SelfTicket, 20, Kind::Expired, Blame::Setup, Some(20)),
            (SelfTicket, 31, Kind::Expired, Blame::Setup, Some(31)),
            (SelfTicket, 41, Kind::Expired, Blame::Setup, Some(41)),
            (SelfTicket, 44, Kind::Expired, Blame::Setup, Some(44)),
            (SelfTicket, 45, Kind::Expired, Blame::Setup, Some(45)),
            (Proxy, 31, Kind::Other, Blame::Setup, Some(31)),
            (SelfTicket, 156, Kind::Unreachable, Blame::Kdc, None),
            (SelfTicket, 60, Kind::Other, Blame::Setup, Some(60)),
            (Proxy, 7, Kind::NoService, Blame::Setup, Some(7)),
            (Proxy, 13, Kind::NotAllowed, Blame::User, Some(13)),
            (Proxy, 156, Kind::Unreachable, Blame::Kdc, None),
            (App, 44, Kind::Refused, Blame::Setup, Some(44)),
            (App, 6, Kind::Refused, Blame::Setup, Some(6)),
            (App, 37, Kind::Skew, Blame::Setup, Some(37)),
            (App, 156, Kind::Refused, Blame::Setup, None),
            (App, 29, Kind::Refused, Blame::Setup, Some(29)),
        ] {
            let failure = Failure::of(stage, status(offset));
            let found = (failure.kind, failure.blame(), failure.number);
            assert_eq!(found, (kind, blame, number), "{stage:?} {offset}");
            assert!(!failure.hint.is_empty());
        }
    }

    #[test]
    fn only_answers_about_a_user_or_service_last() {
        for offset in 0..=220 {
            let of = |stage| Failure::of(stage, status(offset)).lasts();
            let expected = [1, 6, 7, 12, 13, 18, 23].contains(&offset);
            assert_eq!(of(Stage::SelfTicket), expected, "{offset}");
            assert_eq!(of(Stage::Proxy), expected, "{offset}");
            assert!(!of(Stage::Agent) && !of(Stage::App), "{offset}");
        }
        assert!(!Failure::new(Stage::Proxy, Kind::Timeout, "late").lasts());
    }

    #[test]
    fn every_failure_says_what_to_look_at() {
        for stage in Stage::ALL {
            for kind in Kind::ALL {
                assert!(!Failure::new(stage, kind, "x").hint.is_empty());
            }
        }
        let failure = Failure::of(Stage::App, status(44));
        assert_eq!(failure.to_string(), "words (app, error 44)");
        assert!(failure.hint.contains("keytab"));
        let silent = Status {
            major: 0x4_0000,
            minor: 0,
            text: String::new(),
        };
        let failure = Failure::of(Stage::App, silent);
        assert_eq!(failure.to_string(), "GSSAPI status 0x40000, 0 (app)");
        assert_eq!(failure.kind, Kind::Refused);
    }

    #[test]
    fn numbers_say_what_the_documents_say() {
        use Stage::{Agent, App, Proxy, SelfTicket};
        for (stage, number, part) in [
            (Agent, 6, "no account of the agent's principal"),
            (Agent, 14, "AES keys"),
            (Agent, 18, "disabled"),
            (Agent, 24, "password was changed"),
            (Agent, 29, "cannot ask its own directory"),
            (SelfTicket, 6, "no account has this name"),
            (SelfTicket, 7, "a service principal name of its own"),
            (Proxy, 7, "setspn"),
            (SelfTicket, 12, "not to be used now"),
            (Proxy, 13, "forwardable"),
            (Proxy, 13, "protocol transition"),
            (Proxy, 13, "not on its list"),
            (Proxy, 13, "Protected Users"),
            (Proxy, 14, "AES keys"),
            (SelfTicket, 18, "locked"),
            (Proxy, 29, "cannot ask its own directory"),
            (SelfTicket, 31, "does not take the agent's own ticket"),
            (App, 31, "on another account"),
            (App, 32, "clock"),
            (Proxy, 32, "clocks"),
            (App, 37, "five minutes"),
            (App, 41, "setspn -X"),
            (App, 44, "export it anew"),
        ] {
            let hint = Failure::of(stage, status(number)).hint;
            assert!(hint.contains(part), "{stage:?} {number}: {hint}");
        }
        let silent = Failure::of(Proxy, status(156)).hint;
        assert!(silent.contains("port 88"), "{silent}");
    }

    #[test]
    fn words_are_all_different() {
        for (at, kind) in Kind::ALL.iter().enumerate() {
            let after = &Kind::ALL[at + 1..];
            assert!(after.iter().all(|other| other.as_str() != kind.as_str()));
        }
    }
}
