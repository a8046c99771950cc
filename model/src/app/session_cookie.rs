//! How browsers keep the session of an app's host.

/// Settings of the cookie that an app's host has for a session. It is `Secure`, `HttpOnly` and for that host alone, whatever they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionCookie {
    /// With which requests it comes.
    pub same_site: SameSite,
    /// It stays when the browser is closed, until the session ends by itself.
    pub persistent: bool,
}

/// With which requests that pages of other sites make a cookie comes (RFC 6265bis, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SameSite {
    /// Where a link leads to the app.
    #[default]
    Lax,
    /// With none.
    Strict,
    /// With all: for apps that pages of other sites show in frames.
    None,
}
