//! Addresses of identity providers.

use std::{fmt, str::FromStr, sync::Arc};

use crate::app::{OriginHost, OriginUrl, OriginUrlError, Scheme};

/// The name of the machine itself (RFC 6761, section 6.3).
const LOCALHOST: &str = "localhost";

/// An `https` URL of a provider; plain `http` only towards the machine itself, where nobody is between.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ProviderUrl {
    origin: OriginUrl,
    text: Arc<str>,
    /// Where path and query begin in `text`.
    target_at: usize,
}

/// Why a text is no URL of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProviderUrlError {
    /// More than [`ProviderUrl::BYTES_MAX`] bytes.
    #[error("must not be longer than {} bytes", ProviderUrl::BYTES_MAX)]
    TooLong,
    /// Another scheme, or a plain one over the network.
    #[error("must start with https:// (http:// for localhost and loopback addresses alone)")]
    Scheme,
    /// Its host or port is none.
    #[error("{0}")]
    Origin(OriginUrlError),
    /// Something that is not part of a path or query.
    #[error("must have visible ASCII characters only, and no fragment")]
    Character,
}

impl ProviderUrl {
    /// Longest URL.
    pub const BYTES_MAX: usize = 1_024;

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &OriginUrl {
        &self.origin
    }

    /// Path and query, as in a request.
    pub fn target(&self) -> String {
        let target = &self.text[self.target_at..];
        if target.starts_with('/') {
            target.to_owned()
        } else {
            format!("/{target}")
        }
    }

    /// Whether there is a query.
    pub fn has_query(&self) -> bool {
        self.text.contains('?')
    }

    /// Where the issuer of this name describes itself (OpenID Connect Discovery, section 4.1).
    ///
    /// # Errors
    /// It would be too long.
    pub fn description(&self) -> Result<Self, ProviderUrlError> {
        let issuer = self.text.trim_end_matches('/');
        format!("{issuer}/.well-known/openid-configuration").parse()
    }
}

impl FromStr for ProviderUrl {
    type Err = ProviderUrlError;

    fn from_str(text: &str) -> Result<Self, ProviderUrlError> {
        if text.len() > Self::BYTES_MAX {
            return Err(ProviderUrlError::TooLong);
        }
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&byte);
        if !text.bytes().all(plain) {
            return Err(ProviderUrlError::Character);
        }
        let authority_at = match text.find("://") {
            Some(at) => at + "://".len(),
            None => return Err(ProviderUrlError::Scheme),
        };
        let length = text[authority_at..].find(['/', '?']);
        let target_at = length.map_or(text.len(), |length| authority_at + length);
        let origin: OriginUrl = text[..target_at].parse().map_err(|error| match error {
            OriginUrlError::Scheme | OriginUrlError::Socket => ProviderUrlError::Scheme,
            error @ (OriginUrlError::Extra | OriginUrlError::Host | OriginUrlError::Port) => {
                ProviderUrlError::Origin(error)
            }
        })?;
        if origin.scheme == Scheme::Http && !is_own(&origin.host) {
            return Err(ProviderUrlError::Scheme);
        }
        Ok(Self {
            origin,
            text: text.into(),
            target_at,
        })
    }
}

/// Whether it is the machine itself.
fn is_own(host: &OriginHost) -> bool {
    match host {
        OriginHost::Name(name) => name.as_str() == LOCALHOST,
        OriginHost::Ip(ip) => ip.is_loopback(),
        OriginHost::Socket(_) => false,
    }
}

impl fmt::Display for ProviderUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ProviderUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_reached_over_tls_alone_but_at_the_machine_itself() {
        for good in [
            "https://login.example.com",
            "https://login.example.com:8443/realms/a/",
            "https://login.example.com/token?tenant=1",
            "https://192.0.2.1/",
            "http://localhost:8080/realms/a",
            "http://127.0.0.1:8080",
            "http://[::1]:8080/",
        ] {
            let read = good.parse::<ProviderUrl>().map(|url| url.to_string());
            assert_eq!(read, Ok(good.to_owned()));
        }
        let long = format!("https://a.example/{}", "a".repeat(ProviderUrl::BYTES_MAX));
        for bad in [
            "",
            "login.example.com",
            "http://login.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1/",
            "file:///etc/passwd",
            "unix:/run/provider",
            "https://",
            "https://user@login.example.com/",
            "https://login.example.com#a",
            "https://login.example.com/ä",
            "https://login.example.com/a b",
            "https://login.example.com\\@evil.example/",
            "https://login.example.com:0/",
            &long,
        ] {
            assert!(bad.parse::<ProviderUrl>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn it_has_a_target_and_a_place_for_its_description() {
        for (url, target, description) in [
            (
                "https://a.example",
                "/",
                "https://a.example/.well-known/openid-configuration",
            ),
            (
                "https://a.example/realms/x/",
                "/realms/x/",
                "https://a.example/realms/x/.well-known/openid-configuration",
            ),
        ] {
            let url: ProviderUrl = url.parse().unwrap();
            assert_eq!(url.target(), target);
            assert_eq!(url.description().unwrap().as_str(), description);
        }
        let url: ProviderUrl = "https://a.example?x=1".parse().unwrap();
        assert_eq!((url.target().as_str(), url.has_query()), ("/?x=1", true));
    }
}
