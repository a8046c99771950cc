//! Signing in to an app by its own form, or by the Basic scheme, with credentials that are kept for the user.

/// Longest path, with its query.
pub const FORM_PATH_BYTES_MAX: usize = 1_024;
/// Longest name or value of a field.
pub const FORM_TEXT_BYTES_MAX: usize = 256;
/// Fields that are sent besides user name and password, and those that the page itself hides in its form.
pub const FORM_FIELDS_MAX: usize = 16;
/// Statuses of one test.
pub const FORM_STATUSES_MAX: usize = 8;
/// Cookies that users' browsers may have as well.
pub const USER_COOKIES_MAX: usize = 16;

/// Whose credential an app is used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CredentialOf {
    /// Each user's own.
    #[default]
    User,
    /// One for all.
    App,
}

/// How agents sign users in by an app's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormSso {
    /// Whose credential is sent.
    pub credential: CredentialOf,
    /// Path of the page with the form, with its query, as the origin knows it.
    pub page: String,
    /// Path that the form leads to; `None`: as the page says, or else the page's own.
    pub action: Option<String>,
    /// Name of the field for the user name.
    pub user_field: String,
    /// Name of the field for the password.
    pub password_field: String,
    /// Fields that are sent besides, in place of hidden ones of the same name.
    pub fields: Vec<(String, String)>,
    /// When somebody is in.
    pub success: Success,
    /// When somebody is out again.
    pub expired: Expired,
    /// Names of cookies that users' browsers get as well: scripts of the app read them.
    pub user_cookies: Vec<String>,
}

/// What the answer to the form must be. Where nothing is said: one that leads anywhere but back to the page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Success {
    /// One of these; empty: any.
    pub statuses: Vec<u16>,
    /// It leads to a path that begins so.
    pub redirect: Option<String>,
    /// It sets a cookie of this name.
    pub cookie: Option<String>,
    /// Its page has this text.
    pub text: Option<String>,
    /// Its page has not this text, by which the app says that it does not take the credential. Where nothing else is said, a page without
    /// it is as good as being led away.
    pub failure_text: Option<String>,
}

impl Success {
    /// Whether nothing is said of what lets the user in.
    pub fn is_unsaid(&self) -> bool {
        let says_of_head =
            !self.statuses.is_empty() || self.redirect.is_some() || self.cookie.is_some();
        !says_of_head && self.text.is_none()
    }

    /// Whether the answer's page is to be read.
    pub fn reads_page(&self) -> bool {
        self.text.is_some() || self.failure_text.is_some()
    }
}

/// By what an app says that the user has to sign in. Being led to the page with the form always does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// An answer has one of these.
    pub statuses: Vec<u16>,
    /// It leads to a path that begins so.
    pub redirect: Option<String>,
}

/// How agents sign users in by the Basic scheme (RFC 7617).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BasicSso {
    /// Whose credential is sent.
    pub credential: CredentialOf,
    /// How it is written.
    pub charset: Charset,
}

/// How letters beyond ASCII are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Charset {
    /// As RFC 7617, section 2.1 recommends.
    #[default]
    Utf8,
    /// As older servers read it.
    Latin1,
}
