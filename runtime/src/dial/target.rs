//! Where a connection shall lead.

use std::{fmt, net::IpAddr, str::FromStr};

/// A host, by name or address, and a port. Text is "host:port"; IPv6 addresses stand in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Without brackets.
    host: String,
    port: u16,
}

/// Why text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not of the form host:port")]
pub struct TargetError {
    text: String,
}

/// Longest name of DNS as text (RFC 1035, section 2.3.4); nothing longer is dialled.
const HOST_BYTES_MAX: usize = 253;

impl Target {
    /// A host without brackets, and a port.
    ///
    /// # Errors
    /// When the host could not stand in a URL.
    pub fn new(host: &str, port: u16) -> Result<Self, TargetError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_name = !host.is_empty() && host.bytes().all(is_plain);
        let is_host = is_name || host.parse::<IpAddr>().is_ok();
        if !is_host || host.len() > HOST_BYTES_MAX || port == 0 {
            let text = format!("{host}:{port}");
            return Err(TargetError { text });
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// The host, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let wrong = || TargetError {
            text: text.to_owned(),
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        // An address of IPv6 has colons of its own: without brackets nobody knows where it ends.
        let host = match bare {
            Some(bare) if bare.contains(':') => bare,
            None if !host.contains(':') => host,
            Some(_) | None => return Err(wrong()),
        };
        Self::new(host, port).map_err(|_| wrong())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_survive_text() {
        for text in ["control.example.com:7443", "10.0.0.1:1", "[fd00::1]:443"] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
        }
        let target: Target = "[fd00::1]:443".parse().unwrap();
        assert_eq!((target.host(), target.port()), ("fd00::1", 443));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_target() {
        for text in [
            "",
            ":1",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "fd00::1:443",
            "[host]:1",
            "a b:1",
            "a\r\nx:1",
            "user@host:1",
            "host/path:1",
            &format!("{}:1", "a".repeat(254)),
        ] {
            assert!(text.parse::<Target>().is_err(), "{text:?}");
        }
    }
}
