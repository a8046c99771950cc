//! Why a request failed: the one table behind error pages, logs, metrics and `docs/reasons.md`.

use std::fmt;

/// Who can do something about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The request itself.
    User,
    /// The edge.
    Edge,
    /// The agent, or the way to it.
    Agent,
    /// The private server.
    Origin,
}

impl Side {
    /// As in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Edge => "edge",
            Self::Agent => "agent",
            Self::Origin => "origin",
        }
    }
}

/// Machine-readable cause of a refusal or failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The request breaks HTTP, or could be read in two ways.
    BadRequest,
    /// The request's head is too large.
    HeadTooLarge,
    /// Its target is too long.
    UriTooLong,
    /// It asks for a tunnel of a protocol that is not carried.
    ProtocolUnknown,
    /// The app wants a certificate, which this connection was not asked for.
    Misdirected,
    /// No app is published at this host and path.
    NoApp,
    /// The edge has no such page in its own namespace.
    NoPage,
    /// The app's rules do not allow this to pages of another site.
    CrossSite,
    /// The app is for users who have signed in.
    SignInRequired,
    /// What brought the user back from sign-in is too old, or was made for another browser or place.
    SignInFailed,
    /// The user is not assigned to the app.
    NotAssigned,
    /// An access rule lets nobody through.
    Blocked,
    /// An access rule asks for more than the user's session has shown.
    StepUpRequired,
    /// An access rule asks for a certificate of the user's device.
    DeviceRequired,
    /// An access rule asks that terms of use are accepted, and for nothing else.
    TermsRequired,
    /// An access rule keeps the answer back.
    DownloadRefused,
    /// The token that a program has shown does not hold.
    BadToken,
    /// The token does not have the scopes that the app asks for.
    InsufficientScope,
    /// The identity provider whose token it is could not be asked.
    ProviderUnavailable,
    /// Too many tokens that do not hold came from the address.
    TooManyGuesses,
    /// The user's session ended while the answer was under way.
    SessionEnded,
    /// The operator closed the app for a while.
    Maintenance,
    /// The operator stopped every app.
    Stopped,
    /// The edge has no snapshot yet.
    NotReady,
    /// The app's group has no agent with a link to this edge.
    NoAgent,
    /// The agents' streams are all taken.
    Overloaded,
    /// The agent that had the request went away before it answered.
    AgentLost,
    /// The agent does not serve the app (its snapshot or allow-list says no).
    AgentRefused,
    /// Edge and agent disagree on the tunnel protocol.
    TunnelProtocol,
    /// No origin accepted a connection.
    OriginConnect,
    /// The proxy towards the origins gave no way to them.
    OriginProxy,
    /// The origin's certificate was not accepted.
    OriginTls,
    /// The origin closed or reset before a complete response.
    OriginReset,
    /// The origin's answer is not HTTP, or longer or shorter than it said.
    OriginProtocol,
    /// The origin took longer than the app allows.
    OriginTimeout,
    /// The user has no name by which the app knows them.
    SsoNoIdentity,
    /// The user's domain does not let this account be used with the app.
    SsoUserRefused,
    /// The agent cannot sign users on to the app, or the app does not take its word.
    SsoFailed,
    /// Nobody says at this moment who users are to the app.
    SsoUnavailable,
    /// What the edge states about the user does not hold at the agent.
    SsoStatement,
    /// The app's agents want the user's ID token, and none that holds came with the request.
    SsoIdToken,
    /// No credential is kept by which the user could be signed on to the app.
    SsoCredentials,
    /// The app does not take the one that is kept.
    SsoCredentialsRefused,
    /// The user went away.
    Cancelled,
    /// The user sent nothing for too long.
    UserTimeout,
    /// The user took nothing of its answer for too long.
    UserStalled,
    /// The request's body is longer than the app takes.
    BodyTooLong,
    /// The app has as many requests under way at this edge as it may.
    AppBusy,
    /// The app gets more requests than it may.
    RateLimited,
    /// The user sends more requests than it may.
    ClientRateLimited,
    /// The request took longer in all than the app allows.
    TotalTimeout,
    /// This process is stopping.
    Draining,
    /// A defect of ours.
    Bug,
}

/// One row of the table.
struct Row {
    word: &'static str,
    status: u16,
    side: Side,
    plain: &'static str,
}

const fn row(word: &'static str, status: u16, side: Side, plain: &'static str) -> Row {
    Row {
        word,
        status,
        side,
        plain,
    }
}

impl Reason {
    /// Every reason, for documents and metrics.
    pub const ALL: [Self; 53] = [
        Self::BadRequest,
        Self::HeadTooLarge,
        Self::UriTooLong,
        Self::ProtocolUnknown,
        Self::Misdirected,
        Self::NoApp,
        Self::NoPage,
        Self::CrossSite,
        Self::SignInRequired,
        Self::SignInFailed,
        Self::NotAssigned,
        Self::Blocked,
        Self::StepUpRequired,
        Self::DeviceRequired,
        Self::TermsRequired,
        Self::DownloadRefused,
        Self::BadToken,
        Self::InsufficientScope,
        Self::ProviderUnavailable,
        Self::TooManyGuesses,
        Self::SessionEnded,
        Self::Maintenance,
        Self::Stopped,
        Self::NotReady,
        Self::NoAgent,
        Self::Overloaded,
        Self::AgentLost,
        Self::AgentRefused,
        Self::TunnelProtocol,
        Self::OriginConnect,
        Self::OriginProxy,
        Self::OriginTls,
        Self::OriginReset,
        Self::OriginProtocol,
        Self::OriginTimeout,
        Self::SsoNoIdentity,
        Self::SsoUserRefused,
        Self::SsoFailed,
        Self::SsoUnavailable,
        Self::SsoStatement,
        Self::SsoIdToken,
        Self::SsoCredentials,
        Self::SsoCredentialsRefused,
        Self::Cancelled,
        Self::UserTimeout,
        Self::UserStalled,
        Self::BodyTooLong,
        Self::AppBusy,
        Self::RateLimited,
        Self::ClientRateLimited,
        Self::TotalTimeout,
        Self::Draining,
        Self::Bug,
    ];

    #[expect(clippy::too_many_lines, reason = "a table")]
    fn row(self) -> Row {
        match self {
            Self::BadRequest => row(
                "bad_request",
                400,
                Side::User,
                "The request could not be understood.",
            ),
            Self::HeadTooLarge => row(
                "head_too_large",
                431,
                Side::User,
                "The request's header fields are too large.",
            ),
            Self::UriTooLong => row("uri_too_long", 414, Side::User, "The address is too long."),
            Self::ProtocolUnknown => row(
                "protocol_unknown",
                501,
                Side::User,
                "This protocol is not spoken here.",
            ),
            Self::Misdirected => row(
                "misdirected",
                421,
                Side::User,
                "This app is reached by a connection of its own. Please try again.",
            ),
            Self::NoApp => row(
                "no_app",
                404,
                Side::User,
                "Nothing is published at this address.",
            ),
            Self::NoPage => row("no_page", 404, Side::User, "There is no such page."),
            Self::CrossSite => row(
                "cross_site",
                403,
                Side::User,
                "Pages of that site may not use this app.",
            ),
            Self::SignInRequired => row(
                "sign_in_required",
                401,
                Side::User,
                "This app is for users who have signed in.",
            ),
            Self::SignInFailed => row(
                "sign_in_failed",
                400,
                Side::User,
                "The sign-in could not be completed. Please start again.",
            ),
            Self::NotAssigned => row("not_assigned", 403, Side::User, "You may not use this app."),
            Self::Blocked => row(
                "blocked",
                403,
                Side::User,
                "An access rule does not allow this.",
            ),
            Self::StepUpRequired => row(
                "step_up_required",
                401,
                Side::User,
                "This app asks you to sign in again, or with more.",
            ),
            Self::DeviceRequired => row(
                "device_required",
                403,
                Side::User,
                "This app can be used from known devices only.",
            ),
            Self::TermsRequired => row(
                "terms_required",
                403,
                Side::User,
                "This app asks you to accept its terms of use first.",
            ),
            Self::DownloadRefused => row(
                "download_refused",
                403,
                Side::User,
                "This may be looked at only where it is, and not be downloaded.",
            ),
            Self::BadToken => row(
                "bad_token",
                401,
                Side::User,
                "The token is not valid here, or not any more.",
            ),
            Self::InsufficientScope => row(
                "insufficient_scope",
                403,
                Side::User,
                "The token does not have every scope that this app asks for.",
            ),
            Self::ProviderUnavailable => row(
                "provider_unavailable",
                503,
                Side::Edge,
                "The identity provider of the token cannot be asked now.",
            ),
            Self::TooManyGuesses => row(
                "too_many_guesses",
                429,
                Side::User,
                "Too many tokens or codes that are not valid came from your address. Please try again in a moment.",
            ),
            Self::SessionEnded => row(
                "session_ended",
                401,
                Side::User,
                "Your session has ended. Please sign in again.",
            ),
            Self::Maintenance => row(
                "maintenance",
                503,
                Side::Edge,
                "This app is closed for maintenance.",
            ),
            Self::Stopped => row("stopped", 503, Side::Edge, "All apps are stopped for now."),
            Self::NotReady => row(
                "not_ready",
                503,
                Side::Edge,
                "This edge is starting. Please try again in a moment.",
            ),
            Self::NoAgent => row(
                "no_agent",
                503,
                Side::Agent,
                "The way to this app is not connected right now.",
            ),
            Self::Overloaded => row(
                "overloaded",
                503,
                Side::Agent,
                "This app is very busy right now.",
            ),
            Self::AgentLost => row(
                "agent_lost",
                502,
                Side::Agent,
                "The way to this app broke while it was answering.",
            ),
            Self::AgentRefused => row(
                "agent_refused",
                502,
                Side::Agent,
                "The app's agents do not serve it.",
            ),
            Self::TunnelProtocol => row(
                "tunnel_protocol",
                502,
                Side::Agent,
                "The way to this app does not work right now.",
            ),
            Self::OriginConnect => row(
                "origin_connect",
                502,
                Side::Origin,
                "The app cannot be reached right now.",
            ),
            Self::OriginProxy => row(
                "origin_proxy",
                502,
                Side::Origin,
                "The way to the app behind this address is refused.",
            ),
            Self::OriginTls => row(
                "origin_tls",
                502,
                Side::Origin,
                "The app's certificate is not accepted.",
            ),
            Self::OriginReset => row(
                "origin_reset",
                502,
                Side::Origin,
                "The app closed the connection before it answered.",
            ),
            Self::OriginProtocol => row(
                "origin_protocol",
                502,
                Side::Origin,
                "The app's answer was not valid.",
            ),
            Self::OriginTimeout => row(
                "origin_timeout",
                504,
                Side::Origin,
                "The app took too long to answer.",
            ),
            Self::SsoNoIdentity => row(
                "sso_no_identity",
                403,
                Side::User,
                "Your account has no name that this app knows.",
            ),
            Self::SsoUserRefused => row(
                "sso_user_refused",
                403,
                Side::User,
                "Your account cannot be used with this app.",
            ),
            Self::SsoFailed => row(
                "sso_failed",
                502,
                Side::Agent,
                "Signing you on to this app does not work right now.",
            ),
            Self::SsoUnavailable => row(
                "sso_unavailable",
                504,
                Side::Agent,
                "Signing you on to this app takes too long right now.",
            ),
            Self::SsoStatement => row(
                "sso_statement",
                502,
                Side::Edge,
                "This app could not be told who you are.",
            ),
            Self::SsoIdToken => row(
                "sso_id_token",
                403,
                Side::User,
                "Your sign-in does not show this app who you are. Sign out, and sign in again.",
            ),
            Self::SsoCredentials => row(
                "sso_credentials",
                403,
                Side::User,
                "Your sign-in for this app is not known yet.",
            ),
            Self::SsoCredentialsRefused => row(
                "sso_credentials_refused",
                403,
                Side::User,
                "Your stored sign-in for this app does not work any more.",
            ),
            // 499 as nginx logs it; nobody is there to be sent it.
            Self::Cancelled => row("cancelled", 499, Side::User, "The request was cancelled."),
            Self::UserTimeout => row(
                "user_timeout",
                408,
                Side::User,
                "The request took too long to arrive.",
            ),
            // The head of its answer is out by then, with a status of its own.
            Self::UserStalled => row(
                "user_stalled",
                499,
                Side::User,
                "The answer was not taken in time.",
            ),
            Self::BodyTooLong => row(
                "body_too_long",
                413,
                Side::User,
                "The request's body is too long for this app.",
            ),
            Self::AppBusy => row(
                "app_busy",
                503,
                Side::Edge,
                "This app is serving as many requests as it may.",
            ),
            Self::RateLimited => row(
                "rate_limited",
                429,
                Side::Edge,
                "This app gets more requests than it may. Please try again in a moment.",
            ),
            Self::ClientRateLimited => row(
                "client_rate_limited",
                429,
                Side::User,
                "You send requests faster than this app allows. Please try again in a moment.",
            ),
            Self::TotalTimeout => row(
                "total_timeout",
                504,
                Side::Origin,
                "The request took longer than this app allows.",
            ),
            Self::Draining => row(
                "draining",
                503,
                Side::Edge,
                "This edge is stopping. Please try again in a moment.",
            ),
            Self::Bug => row("bug", 500, Side::Edge, "Something went wrong on our side."),
        }
    }

    /// The stable word in logs, metrics, pages and documents.
    pub fn as_str(self) -> &'static str {
        self.row().word
    }

    /// HTTP status of the answer.
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// Who can do something about it.
    pub fn side(self) -> Side {
        self.row().side
    }

    /// One plain sentence for the user, with nothing inner in it.
    pub fn plain(self) -> &'static str {
        self.row().plain
    }

    /// Reads the stable word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_unique_and_read_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_word(reason.as_str()), Some(reason));
            assert!((400..600).contains(&reason.status()));
        }
    }
}
