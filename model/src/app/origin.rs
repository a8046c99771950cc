//! A private server: where it is, and how it is spoken to.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc, time::Duration};

use crate::host::Hostname;

/// A private server behind an app.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Where it is.
    pub url: OriginUrl,
    /// How it is checked, when https.
    pub tls: OriginTls,
    /// Share of the requests among the healthy origins.
    pub weight: u32,
    /// What is spoken to it.
    pub protocol: OriginProtocol,
    /// Over HTTP/1.1 names of fields are written `Content-Type`, not `content-type`.
    pub title_case: bool,
}

impl Origin {
    /// Heaviest origin; the lightest has 1.
    pub const WEIGHT_MAX: u32 = 1000;

    /// An origin with every setting but its place at the default.
    pub fn new(url: OriginUrl) -> Self {
        Self {
            url,
            tls: OriginTls::default(),
            weight: 1,
            protocol: OriginProtocol::Auto,
            title_case: false,
        }
    }
}

/// What is spoken to an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OriginProtocol {
    /// With TLS HTTP/2 if it is agreed on in the handshake, else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only; without TLS by prior knowledge (h2c; RFC 9113, section 3.3).
    Http2,
}

/// How agents look after origins besides the requests they get.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// Path, and query if any, that is asked with GET; 2xx and 3xx are healthy.
    pub path: String,
    /// Between two checks of one origin by one agent.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Failures in a row after which an origin gets no requests.
    pub unhealthy_after: u32,
    /// Successes in a row after which it gets them again.
    pub healthy_after: u32,
}

impl HealthCheck {
    /// Shortest and longest interval.
    pub const INTERVAL_RANGE: (Duration, Duration) =
        (Duration::from_secs(1), Duration::from_secs(3600));
    /// Shortest and longest time-out.
    pub const TIMEOUT_RANGE: (Duration, Duration) =
        (Duration::from_millis(100), Duration::from_secs(60));
    /// Most results in a row that may be asked for.
    pub const IN_A_ROW_MAX: u32 = 100;
    /// Longest path.
    pub const PATH_BYTES_MAX: usize = 1024;
    /// Of those that say nothing else.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
    /// Of those that say nothing else.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
    /// Of those that say nothing else: one lost answer is no reason to leave.
    pub const DEFAULT_UNHEALTHY_AFTER: u32 = 3;
    /// Of those that say nothing else.
    pub const DEFAULT_HEALTHY_AFTER: u32 = 2;
}

/// How an agent checks an https origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct OriginTls {
    /// PEM certificates trusted instead of the system's roots.
    pub ca_pem: Option<Arc<str>>,
    /// Name expected in the certificate instead of the URL's host.
    pub server_name: Option<Hostname>,
    /// Accept any certificate.
    pub insecure: bool,
}

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As written in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Host of an origin: unlike a public name it may be an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OriginHost {
    /// To be looked up by the agent.
    Name(Hostname),
    /// Used as it is.
    Ip(IpAddr),
    /// A Unix socket at the agent.
    Socket(SocketPath),
}

/// Where a Unix socket is: an absolute path that has one reading only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketPath(Arc<str>);

impl SocketPath {
    /// Longest path: `sun_path` of Linux has 108 bytes, the last of which is NUL.
    pub const BYTES_MAX: usize = 107;

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SocketPath {
    type Err = OriginUrlError;

    fn from_str(path: &str) -> Result<Self, OriginUrlError> {
        let Some(inner) = path.strip_prefix('/') else {
            return Err(OriginUrlError::Socket);
        };
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        if path.len() > Self::BYTES_MAX
            || path.contains(char::is_control)
            || !inner.split('/').all(plain)
        {
            return Err(OriginUrlError::Socket);
        }
        Ok(Self(path.into()))
    }
}

impl fmt::Display for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for OriginHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Socket(path) => write!(f, "{SOCKET_SCHEME}{path}"),
        }
    }
}

/// What stands before the path of a Unix socket.
const SOCKET_SCHEME: &str = "unix:";
/// Host that origins behind a Unix socket get: a path is no name.
const SOCKET_AUTHORITY: &str = "localhost";

/// Where an origin is: scheme, host and port, or a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OriginUrl {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// Name, address or socket; with a socket the scheme is http.
    pub host: OriginHost,
    /// TCP port, never 0; without a meaning for a socket.
    pub port: u16,
}

impl OriginUrl {
    /// Host and port as in a `Host` field: the port is left out where it is the scheme's own. `localhost` for a socket.
    pub fn authority(&self) -> String {
        if let OriginHost::Socket(_) = self.host {
            return SOCKET_AUTHORITY.to_owned();
        }
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Why a text is no origin URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginUrlError {
    /// None of `http://`, `https://` and `unix:`.
    #[error("must start with http://, https:// or unix:")]
    Scheme,
    /// Something after the port, or a user before the host.
    #[error("must be scheme, host and port only, without user, path, query or fragment")]
    Extra,
    /// No hostname and no IP address.
    #[error("must name a host: a DNS name or an IP address (IPv6 in brackets)")]
    Host,
    /// Not 1 to 65535.
    #[error("must have a port from 1 to 65535, or none")]
    Port,
    /// No path of a Unix socket.
    #[error(
        "must be unix: and an absolute path of at most {} bytes, without empty, . or .. segments",
        SocketPath::BYTES_MAX
    )]
    Socket,
}

impl FromStr for OriginUrl {
    type Err = OriginUrlError;

    fn from_str(text: &str) -> Result<Self, OriginUrlError> {
        if let Some(path) = text.strip_prefix(SOCKET_SCHEME) {
            return Ok(Self {
                scheme: Scheme::Http,
                host: OriginHost::Socket(path.parse()?),
                port: Scheme::Http.default_port(),
            });
        }
        let (scheme, rest) = if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else if let Some(rest) = text.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else {
            return Err(OriginUrlError::Scheme);
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@', '\\']) {
            return Err(OriginUrlError::Extra);
        }
        let (host, port) = split_port(authority)?;
        let port = match port {
            None => scheme.default_port(),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|&port| port != 0)
                .ok_or(OriginUrlError::Port)?,
            Some(_) => return Err(OriginUrlError::Port),
        };
        Ok(Self {
            scheme,
            host: parse_host(host)?,
            port,
        })
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), OriginUrlError> {
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or(OriginUrlError::Host)?;
        let (host, rest) = authority.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(OriginUrlError::Host),
        };
    }
    Ok(match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    })
}

fn parse_host(host: &str) -> Result<OriginHost, OriginUrlError> {
    if let Some(inner) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return inner
            .parse()
            .map(|ip| OriginHost::Ip(IpAddr::V6(ip)))
            .map_err(|_| OriginUrlError::Host);
    }
    if let Ok(ip) = host.parse() {
        return Ok(OriginHost::Ip(IpAddr::V4(ip)));
    }
    host.parse()
        .map(OriginHost::Name)
        .map_err(|_| OriginUrlError::Host)
}

impl fmt::Display for OriginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            OriginHost::Socket(_) => self.host.fmt(f),
            OriginHost::Name(_) | OriginHost::Ip(_) => {
                write!(f, "{}://{}", self.scheme.as_str(), self.authority())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_urls_are_read_and_written_back() {
        for (text, want) in [
            ("http://10.0.0.5:8080", "http://10.0.0.5:8080"),
            ("http://wiki:80/", "http://wiki"),
            ("https://Wiki.Internal", "https://wiki.internal"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("http://[::1]", "http://[::1]"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
        ] {
            assert_eq!(
                text.parse::<OriginUrl>().map(|url| url.to_string()),
                Ok(want.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn bad_origin_urls_say_why() {
        for (text, why) in [
            ("", OriginUrlError::Scheme),
            ("ftp://a", OriginUrlError::Scheme),
            ("wiki:8080", OriginUrlError::Scheme),
            ("http://", OriginUrlError::Host),
            ("http://a b", OriginUrlError::Host),
            ("http://::1", OriginUrlError::Port),
            ("http://[::1", OriginUrlError::Host),
            ("http://[::1]x", OriginUrlError::Host),
            ("http://a:0", OriginUrlError::Port),
            ("http://a:65536", OriginUrlError::Port),
            ("http://a:+80", OriginUrlError::Port),
            ("http://a/path", OriginUrlError::Extra),
            ("http://u:p@a", OriginUrlError::Extra),
            ("http://a?q", OriginUrlError::Extra),
            ("unix:", OriginUrlError::Socket),
            ("unix:/", OriginUrlError::Socket),
            ("unix:run/app.sock", OriginUrlError::Socket),
            ("unix:/run/../etc/app.sock", OriginUrlError::Socket),
            ("unix://run/app.sock", OriginUrlError::Socket),
            ("unix:/run/a\0pp.sock", OriginUrlError::Socket),
        ] {
            assert_eq!(text.parse::<OriginUrl>(), Err(why), "{text:?}");
        }
    }

    #[test]
    fn a_socket_is_known_as_localhost_and_bounded() {
        let url: OriginUrl = "unix:/run/app.sock".parse().expect("good");
        assert_eq!(url.authority(), "localhost");
        let longest = format!("/{}", "a".repeat(SocketPath::BYTES_MAX - 1));
        assert!(longest.parse::<SocketPath>().is_ok());
        assert_eq!(
            format!("{longest}a").parse::<SocketPath>(),
            Err(OriginUrlError::Socket)
        );
    }
}
