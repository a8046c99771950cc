//! Path prefixes: which part of a host's path space belongs to an app.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

/// Longest prefix, in bytes.
pub const PREFIX_BYTES_MAX: usize = 1024;

/// Why a text is no path prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// It does not start with a slash.
    #[error("must start with /")]
    Relative,
    /// More than [`PREFIX_BYTES_MAX`] bytes.
    #[error("must not be longer than {PREFIX_BYTES_MAX} characters")]
    TooLong,
    /// A character that would need escaping, or one that starts path parameters, a query or a fragment.
    #[error("must consist of letters, digits and -._~!$&'()*+,=:@/ (no %, ;, ? or #)")]
    Character,
    /// An empty segment, `.` or `..`.
    #[error("must not have empty, . or .. segments")]
    Segment,
}

/// A prefix by whole segments.
///
/// ```
/// use model::path::PathPrefix;
///
/// let admin: PathPrefix = "/admin".parse()?;
/// assert!(admin.holds("/admin") && admin.holds("/admin/users"));
/// assert!(!admin.holds("/administrator"));
/// # Ok::<(), model::path::PrefixError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPrefix(Arc<str>);

impl PathPrefix {
    /// The whole host.
    pub fn root() -> Self {
        Self("/".into())
    }

    /// The prefix, without a trailing slash unless it is the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a request for `path` is inside.
    pub fn holds(&self, path: &str) -> bool {
        if &*self.0 == "/" {
            return true;
        }
        path.strip_prefix(&*self.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for PathPrefix {
    type Err = PrefixError;

    /// One trailing slash is dropped.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let Some(inner) = text.strip_prefix('/') else {
            return Err(PrefixError::Relative);
        };
        if text.len() > PREFIX_BYTES_MAX {
            return Err(PrefixError::TooLong);
        }
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.is_empty() {
            return if text == "/" {
                Ok(Self::root())
            } else {
                Err(PrefixError::Segment)
            };
        }
        // pchar of RFC 3986, section 3.3, less escapes and path parameters: a prefix has one reading only.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/".contains(&byte);
        if !inner.bytes().all(plain) {
            return Err(PrefixError::Character);
        }
        if inner
            .split('/')
            .any(|segment| segment.is_empty() || is_dot_segment(segment))
        {
            return Err(PrefixError::Segment);
        }
        Ok(Self(format!("/{inner}").into()))
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether servers may read `path` as another one: dot segments (also escaped), empty segments, backslashes, escaped
/// slashes, or escaped NULs.
///
/// Such a path could leave the prefix it was routed by once the origin has normalised it, so on a host where prefixes
/// matter it must be refused.
pub fn is_ambiguous(path: &str) -> bool {
    let mut segments = path.split('/').peekable();
    segments.next(); // what stands before the leading slash
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if (segment.is_empty() && !last) || is_dot_segment(segment) {
            return true;
        }
    }
    path.contains('\\') || has_escape(path, b"/\\\0")
}

/// `path` as a lenient server may read it: every escape decoded, path parameters left out.
pub fn read_leniently(path: &str) -> Cow<'_, str> {
    if !path.contains(['%', ';']) {
        return Cow::Borrowed(path);
    }
    let decoded = decode(path);
    let segments: Vec<_> = decoded
        .split('/')
        .map(|segment| segment.split(';').next().unwrap_or(segment))
        .collect();
    Cow::Owned(segments.join("/"))
}

fn decode(path: &str) -> String {
    let mut rest = path.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        let (byte, next) = match escaped_byte(rest) {
            Some(byte) => (byte, &rest[ESCAPE_BYTES..]),
            None => (*first, after),
        };
        decoded.push(byte);
        rest = next;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// `.` or `..`, with any of the dots escaped, and with or without path parameters (`..;x`).
fn is_dot_segment(segment: &str) -> bool {
    let mut rest = segment.split(';').next().unwrap_or(segment);
    let mut dots = 0;
    while let Some(after) = strip_dot(rest) {
        rest = after;
        dots += 1;
    }
    rest.is_empty() && (dots == 1 || dots == 2)
}

fn strip_dot(text: &str) -> Option<&str> {
    [".", "%2e", "%2E"]
        .into_iter()
        .find_map(|dot| text.strip_prefix(dot))
}

fn has_escape(path: &str, escaped: &[u8]) -> bool {
    path.as_bytes()
        .windows(ESCAPE_BYTES)
        .any(|three| escaped_byte(three).is_some_and(|byte| escaped.contains(&byte)))
}

/// `%` and two hex digits.
const ESCAPE_BYTES: usize = 3;

/// The byte that an escape at the front of `bytes` stands for.
fn escaped_byte(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_match_whole_segments() {
        for (prefix, path, want) in [
            ("/", "/", true),
            ("/", "/x", true),
            ("/admin", "/admin", true),
            ("/admin/", "/admin/x", true),
            ("/admin", "/administrator", false),
            ("/admin", "/", false),
            ("/a/b", "/a/b/c", true),
            ("/a/b", "/a", false),
        ] {
            let parsed: PathPrefix = prefix.parse().expect("good");
            assert_eq!(parsed.holds(path), want, "{prefix} {path}");
        }
    }

    #[test]
    fn bad_prefixes_say_why() {
        for (text, why) in [
            ("", PrefixError::Relative),
            ("admin", PrefixError::Relative),
            ("//", PrefixError::Segment),
            ("/a//b", PrefixError::Segment),
            ("/a/../b", PrefixError::Segment),
            ("/a/..;x", PrefixError::Character),
            ("/a%2fb", PrefixError::Character),
            ("/a?b", PrefixError::Character),
            ("/a;b", PrefixError::Character),
            ("/ü", PrefixError::Character),
        ] {
            assert_eq!(text.parse::<PathPrefix>(), Err(why), "{text:?}");
        }
    }

    #[test]
    fn paths_that_servers_read_differently_are_found() {
        for plain in [
            "/",
            "/a/b/",
            "/a.b/..c/...",
            "/a%20b",
            "/%2ehidden",
            "/a;v=1/b",
            "/a%",
        ] {
            assert!(!is_ambiguous(plain), "{plain}");
        }
        for odd in [
            "/a/../b",
            "/a/%2e%2E/b",
            "/a/.%2e/",
            "/a//b",
            "//a",
            "/a\\b",
            "/a%2fb",
            "/a%5Cb",
            "/a/..;x/b",
            "/.",
            "/a%00",
        ] {
            assert!(is_ambiguous(odd), "{odd}");
        }
    }
}
