//! Names of services that tickets are for.

use std::{fmt, str::FromStr, sync::Arc};

use thiserror::Error;

use crate::realm::{Realm, is_plain};

/// Bytes of a service principal name.
const SPN_BYTES_MAX: usize = 320;
/// What stands for the host in a pattern.
const ANY: &str = "*.";

/// Why a text is no service principal name, or a host has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SpnError {
    /// It is not a service and a host.
    #[error("a service principal name is written HTTP/HOST or HTTP/HOST@REALM")]
    Form,
    /// It has other characters.
    #[error(
        "a service principal name may have letters, digits, dots, hyphens and underscores, and a port after the host"
    )]
    Character,
    /// It is longer than any is.
    #[error("a service principal name has at most {SPN_BYTES_MAX} bytes")]
    TooLong,
    /// The pattern is not of the kind that there is.
    #[error("a pattern has its * as the first label of the host alone: HTTP/*.corp.example")]
    Pattern,
    /// The host that is asked is not one of the pattern's.
    #[error("the host has no service principal name: it does not match the pattern")]
    Host,
}

/// A service, `HTTP/app.corp.example`, perhaps with its realm. The host is in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spn {
    /// `HTTP/app.corp.example`.
    text: Arc<str>,
    realm: Option<Realm>,
}

impl Spn {
    /// Reads `HTTP/app.corp.example` or `HTTP/app.corp.example@CORP.EXAMPLE`.
    pub fn parse(text: &str) -> Result<Self, SpnError> {
        let parts = Parts::of(text)?;
        parts.spn(parts.host)
    }

    /// Before all others, to begin a search with.
    pub(crate) fn least() -> Self {
        Self {
            text: "".into(),
            realm: None,
        }
    }

    /// What the library shall read. A service of no realm that is said is looked for in the agent's, whose KDC knows of others.
    pub(crate) fn for_library(&self, realm: &Realm) -> String {
        format!("{}@{}", self.text, self.realm.as_ref().unwrap_or(realm))
    }
}

impl FromStr for Spn {
    type Err = SpnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Spn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.realm {
            Some(realm) => write!(f, "@{realm}"),
            None => Ok(()),
        }
    }
}

/// One service, or one of each host of a domain: `HTTP/*.corp.example`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SpnPattern {
    /// The same whatever host is asked.
    One(Spn),
    /// That of the host that is asked, which is one label before a domain.
    OfHost {
        /// `HTTP`.
        service: Arc<str>,
        /// `.corp.example`, in lower case.
        domain: Arc<str>,
        /// The realm, if it is said.
        realm: Option<Realm>,
    },
}

impl SpnPattern {
    /// The service of `host`, the name of the origin that a request asks, without a port.
    pub fn for_host(&self, host: &str) -> Result<Spn, SpnError> {
        let (service, domain, realm) = match self {
            Self::One(spn) => return Ok(spn.clone()),
            Self::OfHost {
                service,
                domain,
                realm,
            } => (service, domain, realm),
        };
        if host.len() > SPN_BYTES_MAX {
            return Err(SpnError::TooLong);
        }
        let host = host.to_ascii_lowercase();
        let label = host.strip_suffix(&**domain).ok_or(SpnError::Host)?;
        let is_label = |byte: u8| is_plain(byte) && byte != b'.';
        if label.is_empty() || !label.bytes().all(is_label) {
            return Err(SpnError::Host);
        }
        let parts = Parts {
            service,
            host: &host,
            realm: realm.clone(),
        };
        parts.spn(&host)
    }
}

impl FromStr for SpnPattern {
    type Err = SpnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = Parts::of(text)?;
        if !parts.host.contains('*') {
            return parts.spn(parts.host).map(Self::One);
        }
        let domain = parts.host.strip_prefix(ANY).ok_or(SpnError::Pattern)?;
        if domain.is_empty() || domain.contains(['*', ':']) {
            return Err(SpnError::Pattern);
        }
        parts.spn(domain)?;
        Ok(Self::OfHost {
            service: parts.service.into(),
            domain: format!(".{}", domain.to_ascii_lowercase()).into(),
            realm: parts.realm,
        })
    }
}

impl fmt::Display for SpnPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(spn) => spn.fmt(f),
            Self::OfHost {
                service,
                domain,
                realm,
            } => {
                write!(f, "{service}/*{domain}")?;
                match realm {
                    Some(realm) => write!(f, "@{realm}"),
                    None => Ok(()),
                }
            }
        }
    }
}

struct Parts<'a> {
    service: &'a str,
    host: &'a str,
    realm: Option<Realm>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, SpnError> {
        if text.len() > SPN_BYTES_MAX {
            return Err(SpnError::TooLong);
        }
        let (name, realm) = match text.split_once('@') {
            Some((name, realm)) => (name, Some(realm.parse().map_err(|_| SpnError::Form)?)),
            None => (text, None),
        };
        let (service, host) = name.split_once('/').ok_or(SpnError::Form)?;
        if service.is_empty() || host.is_empty() {
            return Err(SpnError::Form);
        }
        Ok(Self {
            service,
            host,
            realm,
        })
    }

    fn spn(&self, host: &str) -> Result<Spn, SpnError> {
        let (name, port) = match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        };
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        let is_host = !name.is_empty() && name.bytes().all(is_plain);
        if !is_host || !is_port || !self.service.bytes().all(is_plain) {
            return Err(SpnError::Character);
        }
        Ok(Spn {
            text: format!("{}/{}", self.service, host.to_ascii_lowercase()).into(),
            realm: self.realm.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_read_strictly() {
        let long = format!("HTTP/{}", "a".repeat(SPN_BYTES_MAX));
        for (text, expected) in [
            ("HTTP/app.lab.test", Ok("HTTP/app.lab.test@AGENT")),
            ("HTTP/App.Lab.test", Ok("HTTP/app.lab.test@AGENT")),
            (
                "HTTP/app.lab.test@LAB.TEST",
                Ok("HTTP/app.lab.test@LAB.TEST"),
            ),
            ("HTTP/app:8080", Ok("HTTP/app:8080@AGENT")),
            ("http/app", Ok("http/app@AGENT")),
            ("app.lab.test", Err(SpnError::Form)),
            ("HTTP@app.lab.test", Err(SpnError::Form)),
            ("/app.lab.test", Err(SpnError::Form)),
            ("HTTP/", Err(SpnError::Form)),
            ("HTTP/app@", Err(SpnError::Form)),
            ("HTTP/app@A@B", Err(SpnError::Form)),
            ("HTTP/app/LAB", Err(SpnError::Character)),
            ("HTTP/app test", Err(SpnError::Character)),
            ("HTTP/app\\test", Err(SpnError::Character)),
            ("HTTP/app:http", Err(SpnError::Character)),
            ("HTTP/app:0", Err(SpnError::Character)),
            ("HTTP/:80", Err(SpnError::Character)),
            ("HTTP/*.lab.test", Err(SpnError::Character)),
            (&long, Err(SpnError::TooLong)),
        ] {
            let agent = "AGENT".parse().expect("a realm");
            let found = Spn::parse(text).map(|spn| spn.for_library(&agent));
            assert_eq!(
                found.as_deref().map_err(|error| *error),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn patterns_take_the_host_that_is_asked() {
        for (pattern, host, expected) in [
            ("HTTP/app.lab.test", "any.thing", Ok("HTTP/app.lab.test")),
            ("HTTP/*.lab.test", "app.lab.test", Ok("HTTP/app.lab.test")),
            ("HTTP/*.Lab.test", "APP.lab.Test", Ok("HTTP/app.lab.test")),
            (
                "HTTP/*.lab.test@R",
                "app.lab.test",
                Ok("HTTP/app.lab.test@R"),
            ),
            ("HTTP/*.lab.test", "lab.test", Err(SpnError::Host)),
            ("HTTP/*.lab.test", ".lab.test", Err(SpnError::Host)),
            ("HTTP/*.lab.test", "a.b.lab.test", Err(SpnError::Host)),
            ("HTTP/*.lab.test", "app.lab.test.evil", Err(SpnError::Host)),
            ("HTTP/*.lab.test", "appxlab.test", Err(SpnError::Host)),
            ("HTTP/*.lab.test", "a/b.lab.test", Err(SpnError::Host)),
            ("HTTP/*.lab.test", "*.lab.test", Err(SpnError::Host)),
            ("HTTP/*.lab.test", "", Err(SpnError::Host)),
        ] {
            let parsed: SpnPattern = pattern.parse().expect("a pattern");
            let found = parsed.for_host(host).map(|spn| spn.to_string());
            assert_eq!(
                found.as_deref().map_err(|error| *error),
                expected,
                "{pattern} {host:?}"
            );
        }
    }

    #[test]
    fn patterns_have_their_star_in_one_place() {
        for text in [
            "HTTP/*",
            "HTTP/*.",
            "HTTP/a*.lab.test",
            "HTTP/*.*.test",
            "HTTP/app.*",
            "HTTP/*.lab.test:80",
        ] {
            let found: Result<SpnPattern, _> = text.parse();
            assert_eq!(found, Err(SpnError::Pattern), "{text}");
        }
        for text in ["*/app.lab.test", "HTTP/*.lab test"] {
            assert!(text.parse::<SpnPattern>().is_err(), "{text}");
        }
        let shown: SpnPattern = "HTTP/*.lab.test@R".parse().expect("a pattern");
        assert_eq!(shown.to_string(), "HTTP/*.lab.test@R");
    }
}
