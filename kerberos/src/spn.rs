//! Names of services that tickets are for.

use std::{fmt, str::FromStr, sync::Arc};

use thiserror::Error;

use crate::realm::{Realm, is_plain};

/// Bytes of a service principal name.
const SPN_BYTES_MAX: usize = 320;

/// Why a text is no service principal name.
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
        if !service.bytes().all(is_plain) || !is_host(host) {
            return Err(SpnError::Character);
        }
        Ok(Self {
            text: format!("{service}/{}", host.to_ascii_lowercase()).into(),
            realm,
        })
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

/// A name, perhaps with a port.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let is_number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let is_port =
        port.is_none_or(|port| is_number(port) && port.parse().is_ok_and(|port: u16| port > 0));
    is_port && !name.is_empty() && name.bytes().all(is_plain)
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
            ("HTTP/app:+80", Err(SpnError::Character)),
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
}
