//! An app: one publication, and the two halves of it that leave control.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc, time::Duration};

use crate::{
    host::{HostPattern, Hostname},
    name::{AppId, GroupId},
    path::PathPrefix,
};

/// Hosts of one app, at most.
pub const HOSTS_MAX: usize = 16;
/// Origins of one app, at most.
pub const ORIGINS_MAX: usize = 8;
/// Characters of a display name, at most.
pub const DISPLAY_NAME_CHARS_MAX: usize = 120;
/// Bytes of an origin's own CA certificates, at most.
pub const CA_PEM_BYTES_MAX: usize = 64 * 1024;

/// What an operator published: the whole of an app, as control keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The half that edges get.
    pub app: App,
    /// The half that the group's agents get, with the app's own id and time-outs.
    pub origins: Vec<Origin>,
    /// What people see.
    pub display_name: String,
}

impl Publication {
    /// The half that the group's agents get.
    pub fn agent_app(&self) -> AgentApp {
        AgentApp {
            id: self.app.id.clone(),
            origins: self.origins.clone(),
            timeouts: self.app.timeouts,
        }
    }
}

/// An app as the agents of its group see it: where it lives, not under which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentApp {
    /// Its id.
    pub id: AppId,
    /// Private servers, 1 to [`ORIGINS_MAX`], tried in turn.
    pub origins: Vec<Origin>,
    /// How long each stage may take.
    pub timeouts: Timeouts,
}

/// An app as an edge sees it: where users find it and who serves it, not where it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// Public names, 1 to [`HOSTS_MAX`].
    pub hosts: Vec<HostPattern>,
    /// Published part of those hosts.
    pub path: PathPrefix,
    /// Agents that reach its origins.
    pub group: GroupId,
    /// How callers are admitted.
    pub access: Access,
    /// How long each stage may take.
    pub timeouts: Timeouts,
}

/// How callers are admitted before anything reaches the private network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The fabric asks for nothing; the origin authenticates its users itself.
    Passthrough,
}

/// How long each stage of a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Agent to origin, TCP and TLS together.
    pub connect: Duration,
    /// From the whole request sent to the response's head.
    pub response: Duration,
    /// Silence in both directions of a body or an upgraded connection.
    pub idle: Duration,
}

impl Timeouts {
    /// Shortest and longest connect time-out.
    pub const CONNECT_RANGE: (Duration, Duration) =
        (Duration::from_millis(100), Duration::from_secs(300));
    /// Shortest and longest response time-out.
    pub const RESPONSE_RANGE: (Duration, Duration) =
        (Duration::from_millis(100), Duration::from_secs(86_400));
    /// Shortest and longest idle time-out.
    pub const IDLE_RANGE: (Duration, Duration) =
        (Duration::from_secs(1), Duration::from_secs(86_400));
}

impl Default for Timeouts {
    /// 10 s to connect: three SYNs of Linux (1 + 2 + 4 s) and some. 85 s to answer: what cloud application proxies
    /// give, so apps moved here keep working. 5 min of silence: longer than the heartbeats of common WebSocket stacks.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            response: Duration::from_secs(85),
            idle: Duration::from_secs(300),
        }
    }
}

/// A private server behind an app.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Where it is.
    pub url: OriginUrl,
    /// How it is checked, when https.
    pub tls: OriginTls,
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
}

impl fmt::Display for OriginHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// Scheme, host and port of an origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OriginUrl {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// Name or address.
    pub host: OriginHost,
    /// TCP port, never 0.
    pub port: u16,
}

impl OriginUrl {
    /// Host and port as in a `Host` field: the port is left out where it is the scheme's own.
    pub fn authority(&self) -> String {
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
    /// Neither `http://` nor `https://`.
    #[error("must start with http:// or https://")]
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
}

impl FromStr for OriginUrl {
    type Err = OriginUrlError;

    fn from_str(text: &str) -> Result<Self, OriginUrlError> {
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
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
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
        ] {
            assert_eq!(text.parse::<OriginUrl>(), Err(why), "{text:?}");
        }
    }
}
