//! URLs, as far as translation needs to read them: scheme, authority, where the path is.

use crate::{
    app::{OriginHost, OriginUrl, Scheme},
    host::HOSTNAME_BYTES_MAX,
    path::PREFIX_BYTES_MAX,
};

/// How much of a URL decides where it leads: scheme and slashes, host and port, and the longest path prefix with the byte
/// after it.
pub const URL_FRONT_BYTES_MAX: usize =
    "https://".len() + HOSTNAME_BYTES_MAX + ":65535".len() + PREFIX_BYTES_MAX + 1;

/// Host and port, comparable: in lower case, the port only where it is not the scheme's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Authority {
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

/// Scheme of a URL that can be translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UrlScheme {
    Http(Scheme),
    WebSocket(Scheme),
}

/// A URL, or a reference that starts with a slash.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reference {
    /// `scheme://authority...`, or `//authority...` with no scheme.
    Absolute {
        scheme: Option<UrlScheme>,
        authority: Authority,
        /// Where the path begins.
        path_start: usize,
        /// Where it ends.
        path_end: usize,
    },
    /// `/path...`
    Path {
        /// Where the path ends.
        path_end: usize,
    },
}

impl UrlScheme {
    /// Whether over TLS.
    pub(super) fn security(self) -> Scheme {
        match self {
            Self::Http(scheme) | Self::WebSocket(scheme) => scheme,
        }
    }

    /// The same kind of URL at a site with `scheme`.
    pub(super) fn prefix_at(self, scheme: Scheme) -> &'static str {
        match (self, scheme) {
            (Self::Http(_), Scheme::Http) => "http://",
            (Self::Http(_), Scheme::Https) => "https://",
            (Self::WebSocket(_), Scheme::Http) => "ws://",
            (Self::WebSocket(_), Scheme::Https) => "wss://",
        }
    }
}

const SCHEMES: [(&str, UrlScheme); 4] = [
    ("http://", UrlScheme::Http(Scheme::Http)),
    ("https://", UrlScheme::Http(Scheme::Https)),
    ("ws://", UrlScheme::WebSocket(Scheme::Http)),
    ("wss://", UrlScheme::WebSocket(Scheme::Https)),
];

impl Reference {
    /// Reads the front of `url`. `None`: nothing that could need a translation, or nothing that every browser reads alike.
    pub(super) fn parse(url: &[u8]) -> Option<Self> {
        if let Some((prefix, scheme)) = SCHEMES
            .into_iter()
            .find(|(prefix, _)| starts_with(url, prefix))
        {
            return absolute(url, prefix.len(), Some(scheme));
        }
        match url {
            [b'/', b'/', ..] => absolute(url, 2, None),
            // Browsers take a backslash for a slash.
            [b'/', b'\\', ..] => None,
            [b'/', ..] => Some(Self::Path {
                path_end: path_end(url, 0),
            }),
            _ => None,
        }
    }
}

fn absolute(url: &[u8], start: usize, scheme: Option<UrlScheme>) -> Option<Reference> {
    let length = url[start..]
        .iter()
        .position(|byte| b"/?#".contains(byte))
        .unwrap_or(url.len() - start);
    let path_start = start + length;
    let default = scheme.map(|scheme| scheme.security());
    Some(Reference::Absolute {
        scheme,
        authority: Authority::parse(&url[start..path_start], default)?,
        path_start,
        path_end: path_end(url, path_start),
    })
}

fn path_end(url: &[u8], start: usize) -> usize {
    url[start..]
        .iter()
        .position(|byte| b"?#".contains(byte))
        .map_or(url.len(), |length| start + length)
}

fn starts_with(url: &[u8], prefix: &str) -> bool {
    url.get(..prefix.len())
        .is_some_and(|front| front.eq_ignore_ascii_case(prefix.as_bytes()))
}

impl Authority {
    /// Reads host and port; the port of `scheme`, if that is known, is left out. Users before the host are not read.
    pub(super) fn parse(text: &[u8], scheme: Option<Scheme>) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let after_host = text.rfind(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match text[after_host..].find(':') {
            Some(colon) => {
                let (host, port) = text.split_at(after_host + colon);
                (host, &port[1..])
            }
            None => (text, ""),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let good = match host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            Some(inner) => inner
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte)),
            None => host.bytes().all(plain),
        };
        if host.is_empty() || !good {
            return None;
        }
        let port = match port {
            "" => None,
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let port = digits.parse().ok()?;
                (scheme.map(default_port) != Some(port)).then_some(port)
            }
            _ => return None,
        };
        Some(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// That of an origin.
    pub(super) fn of(url: &OriginUrl) -> Self {
        let host = match &url.host {
            OriginHost::Name(_) | OriginHost::Ip(_) => url.host.to_string(),
            OriginHost::Socket(_) => url.authority(),
        };
        Self {
            host,
            port: (default_port(url.scheme) != url.port).then_some(url.port),
        }
    }

    /// A name without a scheme: as it is, and as URLs leave out the port if it is that of a scheme.
    pub(super) fn readings(text: &str) -> Vec<Self> {
        let schemes = [None, Some(Scheme::Http), Some(Scheme::Https)];
        let mut readings: Vec<_> = schemes
            .into_iter()
            .filter_map(|scheme| Self::parse(text.as_bytes(), scheme))
            .collect();
        readings.dedup();
        readings
    }

    /// As it is written in a URL.
    pub(super) fn text(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }
}

fn default_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}
