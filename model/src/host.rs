//! Public hostnames: exact ones, and wildcards that stand for one leading label.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

/// Longest DNS name in text form (RFC 1035, section 2.3.4).
pub const HOSTNAME_BYTES_MAX: usize = 253;
/// Longest DNS label (RFC 1035, section 2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;

/// First label of the host where users sign in.
const SIGN_IN_LABEL: &str = "auth";
/// First label of the host where users find their apps.
const PORTAL_LABEL: &str = "apps";

/// Why a text is no hostname.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing at all.
    #[error("must not be empty")]
    Empty,
    /// More than [`HOSTNAME_BYTES_MAX`] bytes, or a label over [`LABEL_BYTES_MAX`].
    #[error("is longer than DNS allows")]
    TooLong,
    /// An IP address: apps are found by name.
    #[error("must be a DNS name, not an IP address")]
    IpAddress,
    /// An empty label, or one with a character DNS hostnames do not have.
    #[error("must be a DNS name of labels of a-z, 0-9 and -")]
    Label,
    /// A star anywhere but as the whole first label of at least three.
    #[error("may have one * only, as its whole first label, above a domain of two labels or more")]
    Wildcard,
    /// A name with a port, scheme or path.
    #[error("must be a bare DNS name, without scheme, port or path")]
    NotBare,
}

/// A DNS name in lower case, without a trailing dot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hostname(Arc<str>);

impl Hostname {
    /// Where the users of the fabric with this domain sign in: `auth.<domain>`. `None` if that is longer than a name may be.
    pub fn sign_in(domain: &Self) -> Option<Self> {
        format!("{SIGN_IN_LABEL}.{domain}").parse().ok()
    }

    /// Where the users of the fabric with this domain find their apps: `apps.<domain>`. `None` if that is longer than a name may be.
    pub fn portal(domain: &Self) -> Option<Self> {
        format!("{PORTAL_LABEL}.{domain}").parse().ok()
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Hostname {
    type Err = HostError;

    /// Upper case is folded; one trailing dot is dropped.
    fn from_str(text: &str) -> Result<Self, HostError> {
        if text.contains(['/', ':', '?', '#', '@']) {
            return Err(if text.parse::<IpAddr>().is_ok() {
                HostError::IpAddress
            } else {
                HostError::NotBare
            });
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.is_empty() {
            return Err(HostError::Empty);
        }
        if name.len() > HOSTNAME_BYTES_MAX
            || name.split('.').any(|label| label.len() > LABEL_BYTES_MAX)
        {
            return Err(HostError::TooLong);
        }
        // A name whose last label is numeric is an address to some parsers (WHATWG URL, "ends in a number").
        if name.parse::<IpAddr>().is_ok() || last_label_is_numeric(&name) {
            return Err(HostError::IpAddress);
        }
        if !name.split('.').all(is_label) {
            return Err(HostError::Label);
        }
        Ok(Self(name.into()))
    }
}

fn last_label_is_numeric(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    match last.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = label.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    // The underscore is no hostname character (RFC 952), but private networks have such names.
    plain(first)
        && plain(last)
        && bytes
            .iter()
            .all(|&byte| plain(byte) || byte == b'-' || byte == b'_')
}

impl std::borrow::Borrow<str> for Hostname {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an app is published under: one name, or every name with one more label than a domain.
///
/// A wildcard covers exactly one label, as it does in certificates (RFC 6125, section 6.4.3).
///
/// ```
/// use model::host::HostPattern;
///
/// let pattern: HostPattern = "*.apps.example.com".parse()?;
/// assert!(pattern.matches(&"wiki.apps.example.com".parse()?));
/// assert!(!pattern.matches(&"a.wiki.apps.example.com".parse()?));
/// # Ok::<(), model::host::HostError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// This name only.
    Exact(Hostname),
    /// `*.` and this domain.
    Wildcard(Hostname),
}

impl HostPattern {
    /// Whether a request for `host` is for this pattern.
    pub fn matches(&self, host: &Hostname) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Wildcard(domain) => host
                .as_str()
                .split_once('.')
                .is_some_and(|(_, rest)| rest == domain.as_str()),
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let Some(domain) = text.strip_prefix("*.") else {
            return if text.contains('*') {
                Err(HostError::Wildcard)
            } else {
                text.parse().map(Self::Exact)
            };
        };
        if domain.contains('*') || !domain.trim_end_matches('.').contains('.') {
            // "*.localhost" is the one single-label domain that is certainly nobody else's (RFC 6761, section 6.3).
            if !domain.eq_ignore_ascii_case("localhost") {
                return Err(HostError::Wildcard);
            }
        }
        let domain: Hostname = domain.parse()?;
        if domain.as_str().len() + "*.".len() > HOSTNAME_BYTES_MAX {
            return Err(HostError::TooLong);
        }
        Ok(Self::Wildcard(domain))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Wildcard(domain) => write!(f, "*.{domain}"),
        }
    }
}

impl fmt::Debug for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_patterns_are_read_in_lower_case() {
        for (text, want) in [
            ("wiki.example.com", "wiki.example.com"),
            ("Wiki.Example.COM.", "wiki.example.com"),
            ("hello.localhost", "hello.localhost"),
            ("*.apps.example.com", "*.apps.example.com"),
            ("*.localhost", "*.localhost"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(
                text.parse::<HostPattern>().map(|host| host.to_string()),
                Ok(want.to_owned())
            );
        }
    }

    #[test]
    fn bad_patterns_say_why() {
        let long_label = format!("{}.example", "a".repeat(64));
        for (text, why) in [
            ("", HostError::Empty),
            (".", HostError::Empty),
            ("10.0.0.1", HostError::IpAddress),
            ("::1", HostError::IpAddress),
            ("1.2.3", HostError::IpAddress),
            ("0xa9fea9fe", HostError::IpAddress),
            ("169.254.0xa9fe", HostError::IpAddress),
            ("https://wiki.example.com/", HostError::NotBare),
            ("wiki.example.com:8443", HostError::NotBare),
            ("a..b", HostError::Label),
            ("-a.b", HostError::Label),
            ("a b", HostError::Label),
            ("bücher.example", HostError::Label),
            ("*", HostError::Wildcard),
            ("*.com", HostError::Wildcard),
            ("a.*.example.com", HostError::Wildcard),
            ("*.*.example.com", HostError::Wildcard),
            (long_label.as_str(), HostError::TooLong),
        ] {
            assert_eq!(text.parse::<HostPattern>(), Err(why), "{text:?}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let pattern: HostPattern = "*.b.example".parse().expect("good");
        for (host, want) in [
            ("a.b.example", true),
            ("b.example", false),
            ("x.a.b.example", false),
        ] {
            assert_eq!(
                pattern.matches(&host.parse().expect("good")),
                want,
                "{host}"
            );
        }
    }
}
