//! A proxy, as its URL says.

use std::{fmt, str::FromStr};

use http::Uri;
use percent_encoding::percent_decode_str;

use super::Target;
use crate::secret::Secret;

/// Bytes of a user name, and of a password, that RFC 1929 can say; no proxy of the other kinds needs more.
const CREDENTIAL_BYTES_MAX: usize = 255;

/// What is spoken with a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// CONNECT over TCP: `http://`.
    Http,
    /// CONNECT over TLS: `https://`.
    Https,
    /// SOCKS5, which is given names: `socks5://`, `socks5h://`.
    Socks5,
}

impl ProxyProtocol {
    fn of_scheme(scheme: &str) -> Option<Self> {
        match scheme.to_ascii_lowercase().as_str() {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            "socks5" | "socks5h" => Some(Self::Socks5),
            _ => None,
        }
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
        }
    }

    /// Where such proxies listen if their URL does not say.
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            // RFC 1928, section 3.
            Self::Socks5 => 1080,
        }
    }
}

/// A proxy without its password. Text is its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    protocol: ProxyProtocol,
    user: Option<String>,
    target: Target,
}

/// Why text is no URL of a proxy. The text is not shown: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyUrlError {
    /// Not a URL at all.
    #[error("is no URL of a proxy, such as http://user@proxy.example.com:3128")]
    Malformed,
    /// A kind of proxy that is not spoken with.
    #[error("must begin with http://, https:// or socks5://")]
    Scheme,
    /// A URL of something on a proxy.
    #[error("must end behind the port: a proxy has no path")]
    Path,
    /// A user name or password that cannot be shown to a proxy.
    #[error(
        "has a user name or password that is empty, longer than {CREDENTIAL_BYTES_MAX} bytes, or not in percent-encoded UTF-8 without line breaks"
    )]
    Credentials,
}

/// Who asks a proxy for a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub(super) user: String,
    pub(super) password: Secret<String>,
}

impl Credentials {
    /// For `user`, whose password may be empty.
    ///
    /// # Errors
    /// When one of the two cannot be shown to a proxy.
    pub(super) fn new(user: &str, password: Secret<String>) -> Result<Self, ProxyUrlError> {
        let is_fit =
            |text: &str| text.len() <= CREDENTIAL_BYTES_MAX && !text.contains(char::is_control);
        // A colon would end the name (RFC 7617, section 2).
        let is_user = !user.is_empty() && is_fit(user) && !user.contains(':');
        if !is_user || !is_fit(password.expose()) {
            return Err(ProxyUrlError::Credentials);
        }
        Ok(Self {
            user: user.to_owned(),
            password,
        })
    }
}

impl Proxy {
    /// Reads a URL that may hold a password, as the usual variables do. Without a scheme it is one of HTTP.
    ///
    /// # Errors
    /// See [`ProxyUrlError`].
    pub fn with_password(text: &str) -> Result<(Self, Option<Secret<String>>), ProxyUrlError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let protocol = ProxyProtocol::of_scheme(scheme).ok_or(ProxyUrlError::Scheme)?;
        // The kinds that http knows not are read like those that it does.
        let uri: Uri = format!("http://{rest}")
            .parse()
            .map_err(|_| ProxyUrlError::Malformed)?;
        if uri
            .path_and_query()
            .is_some_and(|path| path.as_str() != "/")
        {
            return Err(ProxyUrlError::Path);
        }
        let authority = uri.authority().ok_or(ProxyUrlError::Malformed)?;
        let host = authority.host();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = authority
            .port_u16()
            .unwrap_or_else(|| protocol.default_port());
        let target = Target::new(host, port).map_err(|_| ProxyUrlError::Malformed)?;
        let shown = authority.as_str().rsplit_once('@').map(|(shown, _)| shown);
        let (user, password) = match shown {
            None => (None, None),
            Some(shown) => credentials(shown)?,
        };
        let proxy = Self {
            protocol,
            user,
            target,
        };
        Ok((proxy, password))
    }

    /// What is spoken with it.
    #[must_use]
    pub fn protocol(&self) -> ProxyProtocol {
        self.protocol
    }

    /// Who asks, if it wants to know.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Where it is.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }
}

type Shown = (Option<String>, Option<Secret<String>>);

fn credentials(shown: &str) -> Result<Shown, ProxyUrlError> {
    let (user, password) = match shown.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (shown, None),
    };
    let user = decoded(user)?;
    let password = password.map(decoded).transpose()?.map(Secret::new);
    let checked = password
        .clone()
        .unwrap_or_else(|| Secret::new(String::new()));
    Credentials::new(&user, checked)?;
    Ok((Some(user), password))
}

fn decoded(text: &str) -> Result<String, ProxyUrlError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(|text| text.into_owned())
        .map_err(|_| ProxyUrlError::Credentials)
}

/// As configuration has it, with a user but no password.
impl FromStr for Proxy {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        Self::with_password(text).map(|(proxy, _)| proxy)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.protocol.scheme())?;
        if let Some(user) = &self.user {
            let user =
                percent_encoding::utf8_percent_encode(user, percent_encoding::NON_ALPHANUMERIC);
            write!(f, "{user}@")?;
        }
        self.target.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_what_its_url_says() {
        for (text, written, password) in [
            ("http://proxy:3128", "http://proxy:3128", None),
            ("proxy:3128", "http://proxy:3128", None),
            ("http://proxy/", "http://proxy:80", None),
            ("HTTPS://proxy", "https://proxy:443", None),
            ("socks5h://[fd00::1]", "socks5://[fd00::1]:1080", None),
            ("http://ann@proxy:1", "http://ann@proxy:1", None),
            ("http://ann:pw@proxy:1", "http://ann@proxy:1", Some("pw")),
            (
                "http://ann:p%40%3a@proxy:1",
                "http://ann@proxy:1",
                Some("p@:"),
            ),
            ("http://a%40b:@proxy:1", "http://a%40b@proxy:1", Some("")),
        ] {
            let (proxy, found) = Proxy::with_password(text).unwrap();
            assert_eq!(proxy.to_string(), written, "{text}");
            assert_eq!(
                found.map(Secret::into_exposed).as_deref(),
                password,
                "{text}"
            );
            assert_eq!(written.parse::<Proxy>().unwrap(), proxy);
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_being_shown() {
        for (text, want) in [
            ("", ProxyUrlError::Malformed),
            ("http://", ProxyUrlError::Malformed),
            ("ftp://hunter2@proxy:1", ProxyUrlError::Scheme),
            ("socks4://proxy:1", ProxyUrlError::Scheme),
            ("http://proxy:1/path", ProxyUrlError::Path),
            ("http://proxy:0", ProxyUrlError::Malformed),
            ("http://:hunter2@proxy:1", ProxyUrlError::Credentials),
            ("http://ann:%0ahunter2@proxy:1", ProxyUrlError::Credentials),
            ("http://ann:%ff@proxy:1", ProxyUrlError::Credentials),
        ] {
            let error = Proxy::with_password(text).unwrap_err();
            assert_eq!(error, want, "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
