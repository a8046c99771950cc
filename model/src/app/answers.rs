//! Fields of answers that the edge sets or removes, and pages that it gives in place of an app.

use std::time::Duration;

/// What the edge changes in an app's answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnswerRules {
    /// `Strict-Transport-Security`; none: what the origin says.
    pub hsts: Option<Hsts>,
    /// `Content-Security-Policy`; none: what the origin says.
    pub content_security_policy: Option<String>,
    /// Fields set in place of the origin's: name in lower case, value.
    pub set: Vec<(String, String)>,
    /// Names, in lower case, of fields to remove.
    pub remove: Vec<String>,
    /// Who answers `/robots.txt`.
    pub robots: Robots,
}

impl AnswerRules {
    /// Fields to set, and fields to remove, at most.
    pub const FIELDS_MAX: usize = 32;
    /// Bytes of a field's name, at most: far more than any that is registered.
    pub const NAME_BYTES_MAX: usize = 128;
    /// Bytes of a field's value, at most.
    pub const VALUE_BYTES_MAX: usize = 4096;
    /// Bytes of a text for robots, at most.
    pub const ROBOTS_BYTES_MAX: usize = 8192;
}

/// `Strict-Transport-Security` (RFC 6797).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hsts {
    /// How long browsers insist on TLS.
    pub max_age: Duration,
    /// Also for names below.
    pub include_subdomains: bool,
    /// Consent to the browsers' built-in lists.
    pub preload: bool,
}

impl Hsts {
    /// What the preload lists take for granted at the most.
    pub const MAX_AGE_MAX: Duration = Duration::from_secs(2 * 365 * 86_400);
    /// What the preload lists ask for at the least, together with the names below.
    pub const PRELOAD_MAX_AGE_MIN: Duration = Duration::from_secs(365 * 86_400);
}

/// Who answers `/robots.txt`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Robots {
    /// The edge, keeping search engines out: a private app has nothing to do in their index.
    #[default]
    Disallow,
    /// The origin.
    Origin,
    /// The edge, with this text.
    Text(String),
}

/// A notice in place of an app.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maintenance {
    /// Plain text; empty: a sentence of adit's own.
    pub message: String,
    /// When to try again, if that is known.
    pub retry_after: Option<Duration>,
}

impl Maintenance {
    /// Characters of the message, at most.
    pub const MESSAGE_CHARS_MAX: usize = 1000;
    /// Shortest time to say: fields count whole seconds.
    pub const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
    /// Longest time to say.
    pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(7 * 86_400);
}
