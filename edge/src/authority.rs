//! Which host a request is for: the target's authority and `Host` must name one host, and the same.

use std::str::FromStr as _;

use http::{HeaderMap, Uri, header, uri};
use model::host::Hostname;

/// The host of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    /// As the user wrote it, port included: what the origin sees as its public name.
    pub text: String,
    /// For routing.
    pub host: Hostname,
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
pub(crate) fn read(target: &Uri, fields: &HeaderMap) -> Result<Authority, AuthorityError> {
    let written = written_host(fields)?;
    let text = match (target.authority().map(uri::Authority::as_str), written) {
        (Some(target), Some(host)) if !target.eq_ignore_ascii_case(host) => {
            return Err(AuthorityError::Disagree);
        }
        (Some(text), _) | (None, Some(text)) => text,
        (None, None) => return Err(AuthorityError::NotOne),
    };
    parse(text)
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

fn parse(text: &str) -> Result<Authority, AuthorityError> {
    let parsed = uri::Authority::from_str(text).map_err(|_| AuthorityError::Invalid)?;
    // A user before the host would end up in the origin's links.
    if text.contains('@') || text.contains('"') {
        return Err(AuthorityError::Invalid);
    }
    let after_host = text.strip_prefix(parsed.host()).unwrap_or(text);
    if !is_port(after_host) {
        return Err(AuthorityError::Invalid);
    }
    let host = Hostname::from_str(parsed.host()).map_err(|_| AuthorityError::NoName)?;
    Ok(Authority {
        text: text.to_owned(),
        host,
    })
}

/// Nothing, or a colon and a port, which RFC 3986 lets be empty.
fn is_port(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(':') else {
        return text.is_empty();
    };
    digits.is_empty()
        || (digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok())
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
        read(&Uri::from_static(target), &fields).map(|authority| authority.host.to_string())
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
