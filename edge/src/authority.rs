//! Which host a request is for: the target's authority and `Host` must name one host, and the same.

use std::{str::FromStr as _, sync::OnceLock};

use http::{HeaderMap, Uri, header, uri};
use model::host::Hostname;
use tunnel::fields::Block;

/// The host of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    /// Its public name, as the origin sees it: the host as the user wrote it, and the port where users come, unless that is
    /// the one of https.
    pub text: String,
    /// For routing.
    pub host: Hostname,
    /// What origins are told of the user's connection, once it was written: the same for all requests of it.
    pub told: OnceLock<Block>,
}

/// Port of https.
const HTTPS_PORT: u16 = 443;

/// Where users come. What they write themselves may be any number, and would end up in an app's links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublicPort {
    /// The operator says so.
    Told(u16),
    /// The one that is listened on, or that of https, from which routers lead there.
    Listened(u16),
}

impl PublicPort {
    /// Its number.
    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::Told(port) | Self::Listened(port) => port,
        }
    }

    /// Where the user came who wrote this port, or none.
    fn of(self, written: Option<u16>) -> u16 {
        match (self, written) {
            (Self::Listened(_), None | Some(HTTPS_PORT)) => HTTPS_PORT,
            (Self::Told(port) | Self::Listened(port), _) => port,
        }
    }
}

/// Why a request names no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthorityError {
    /// Neither an authority nor a `Host`, or more than one `Host`.
    #[error("the request must name exactly one host")]
    NotOne,
    /// The target and `Host` name different hosts.
    #[error("the request names two different hosts")]
    Disagree,
    /// It is no authority, or carries a user.
    #[error("the host is not valid")]
    Invalid,
    /// An IP address or a name that no app can have.
    #[error("no app can have this host")]
    NoName,
}

/// Reads the host of a request (RFC 9112, section 3.2; RFC 9113, section 8.3.1).
pub(crate) fn read(
    target: &Uri,
    fields: &HeaderMap,
    port: PublicPort,
) -> Result<Authority, AuthorityError> {
    parse(written(target, fields)?, port)
}

/// The authority of a request, as it is written.
pub(crate) fn written<'r>(
    target: &'r Uri,
    fields: &'r HeaderMap,
) -> Result<&'r str, AuthorityError> {
    let written = written_host(fields)?;
    match (target.authority().map(uri::Authority::as_str), written) {
        (Some(target), Some(host)) if !target.eq_ignore_ascii_case(host) => {
            Err(AuthorityError::Disagree)
        }
        (Some(text), _) | (None, Some(text)) => Ok(text),
        (None, None) => Err(AuthorityError::NotOne),
    }
}

fn written_host(fields: &HeaderMap) -> Result<Option<&str>, AuthorityError> {
    let mut hosts = fields.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        return Ok(None);
    };
    if hosts.next().is_some() {
        return Err(AuthorityError::NotOne);
    }
    host.to_str().map(Some).map_err(|_| AuthorityError::Invalid)
}

/// Reads an authority.
pub(crate) fn parse(text: &str, port: PublicPort) -> Result<Authority, AuthorityError> {
    let parsed = uri::Authority::from_str(text).map_err(|_| AuthorityError::Invalid)?;
    // A user before the host would end up in the origin's links.
    if text.contains('@') || text.contains('"') {
        return Err(AuthorityError::Invalid);
    }
    let after_host = text.strip_prefix(parsed.host()).unwrap_or(text);
    let written = written_port(after_host).ok_or(AuthorityError::Invalid)?;
    let host = Hostname::from_str(parsed.host()).map_err(|_| AuthorityError::NoName)?;
    let text = match port.of(written) {
        HTTPS_PORT => parsed.host().to_owned(),
        port => format!("{}:{port}", parsed.host()),
    };
    Ok(Authority {
        text,
        host,
        told: OnceLock::new(),
    })
}

/// Reads nothing, or a colon and a port, which RFC 3986 lets be empty; `None`: it is something else.
fn written_port(text: &str) -> Option<Option<u16>> {
    let Some(digits) = text.strip_prefix(':') else {
        return text.is_empty().then_some(None);
    };
    if digits.is_empty() {
        return Some(None);
    }
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten().map(Some)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(target: &'static str, hosts: &[&'static str]) -> Result<String, AuthorityError> {
        let mut fields = HeaderMap::new();
        for host in hosts {
            fields.append(header::HOST, HeaderValue::from_static(host));
        }
        let port = PublicPort::Listened(8443);
        read(&Uri::from_static(target), &fields, port).map(|authority| authority.host.to_string())
    }

    #[test]
    fn the_port_is_never_the_users_own_word() {
        let (listened, told) = (PublicPort::Listened(8443), PublicPort::Told(9443));
        for (host, port, want) in [
            ("Wiki.example.com", listened, "Wiki.example.com"),
            ("wiki.example.com:", listened, "wiki.example.com"),
            ("wiki.example.com:443", listened, "wiki.example.com"),
            ("wiki.example.com:8443", listened, "wiki.example.com:8443"),
            ("wiki.example.com:1", listened, "wiki.example.com:8443"),
            ("wiki.example.com", told, "wiki.example.com:9443"),
            ("wiki.example.com:1", told, "wiki.example.com:9443"),
            (
                "wiki.example.com:1",
                PublicPort::Told(443),
                "wiki.example.com",
            ),
        ] {
            let text = parse(host, port).map(|authority| authority.text);
            assert_eq!(text.as_deref(), Ok(want), "{host} {port:?}");
        }
    }

    #[test]
    fn one_host_is_found_wherever_it_stands() {
        for (target, hosts) in [
            ("/", &["wiki.example.com"][..]),
            ("/", &["WIKI.example.com:8443"]),
            ("https://wiki.example.com/", &[]),
            ("https://wiki.example.com:8443/", &["Wiki.example.com:8443"]),
        ] {
            assert_eq!(
                check(target, hosts),
                Ok("wiki.example.com".to_owned()),
                "{target} {hosts:?}"
            );
        }
    }

    #[test]
    fn doubtful_hosts_are_refused() {
        for (target, hosts, why) in [
            ("/", &[][..], AuthorityError::NotOne),
            ("/", &["a.example", "a.example"], AuthorityError::NotOne),
            (
                "https://a.example/",
                &["b.example"],
                AuthorityError::Disagree,
            ),
            ("/", &["root@a.example"], AuthorityError::Invalid),
            ("/", &["a.example:port"], AuthorityError::Invalid),
            ("/", &[""], AuthorityError::Invalid),
            ("/", &["a b"], AuthorityError::Invalid),
            ("/", &["10.0.0.1"], AuthorityError::NoName),
            ("/", &["[::1]:8443"], AuthorityError::NoName),
        ] {
            assert_eq!(check(target, hosts), Err(why), "{target} {hosts:?}");
        }
    }
}
