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

/// Whether `find` gives the same for `path` however a server reads it, so that what it gives holds at the origin too.
///
/// Paths with dot segments, empty segments, backslashes or NULs, escaped or not, have no sure reading. Other escapes, and
/// path parameters, are fine as long as it makes no difference whether they count: `/@scope%2fname` is common.
pub fn reads_one_way<T: PartialEq>(path: &str, find: impl Fn(&str) -> T) -> bool {
    if is_plain(path) {
        return true;
    }
    if is_ambiguous(path) {
        return false;
    }
    let found = find(path);
    let once = read_leniently(path);
    // A second server behind the first may decode what the first has decoded.
    let twice = read_leniently(&once);
    find(&once) == found && find(&twice) == found
}

/// Whether there is nothing in `path` that servers read in different ways.
fn is_plain(path: &str) -> bool {
    !path.contains(['%', ';', '\\']) && !path.contains("//") && !path.contains("/.")
}

/// Whether servers may read `path` as another one: dot segments, empty segments, backslashes or NULs, escaped or not,
/// also between escaped slashes.
fn is_ambiguous(path: &str) -> bool {
    let slashed = decode_where(path, |byte| byte == b'/');
    let mut segments = slashed.split('/').peekable();
    segments.next(); // what stands before the leading slash
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if (segment.is_empty() && !last) || is_dot_segment(segment) {
            return true;
        }
    }
    path.contains('\\') || has_escape(path, b"\\\0")
}

/// `path` as the most lenient server may read it: every escape decoded, path parameters left out, backslashes taken for
/// slashes, empty and dot segments resolved.
pub fn read_leniently(path: &str) -> Cow<'_, str> {
    if is_plain(path) {
        return Cow::Borrowed(path);
    }
    let decoded = decode_where(path, |_| true).replace('\\', "/");
    let mut segments = Vec::new();
    for segment in decoded.split('/') {
        match segment.split(';').next().unwrap_or(segment) {
            "" | "." => {}
            ".." => drop(segments.pop()),
            plain => segments.push(plain),
        }
    }
    Cow::Owned(format!("/{}", segments.join("/")))
}

fn decode_where(path: &str, wanted: fn(u8) -> bool) -> String {
    let mut rest = path.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        let (byte, next) = match escaped_byte(rest).filter(|&byte| wanted(byte)) {
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
    fn the_most_lenient_reading_resolves_everything() {
        for (path, want) in [
            ("/", "/"),
            ("/a/b/", "/a/b/"),
            ("/a%2fb;c/%64", "/a/b/d"),
            ("/a/../b", "/b"),
            ("/../../b", "/b"),
            ("/a/%2e%2e;x/b", "/b"),
            ("//a\\b", "/a/b"),
            ("/./a//b/.", "/a/b"),
            ("/%252e%252e/a", "/%2e%2e/a"),
            ("/a%ff", "/a\u{fffd}"),
        ] {
            assert_eq!(read_leniently(path), want, "{path}");
        }
    }

    #[test]
    fn what_every_reading_finds_is_sure() {
        let admin: PathPrefix = "/admin".parse().expect("good");
        for (path, want) in [
            ("/admin/x", true),
            ("/x/y%20z;v=1", true),
            ("/x%2fadmin", true),
            ("/admin/x%2fy", true),
            ("/%61dmin", false),
            ("/admin;x/y", false),
            ("/admin%2fx", false),
            ("/x/../admin", false),
            ("/x/..%2fadmin", false),
            ("/x/..%252fadmin", false),
            ("/%2561dmin", false),
            ("/%252e%252e/x", true),
            ("/admin/%252e%252e/x", false),
            ("//admin", false),
            ("/x\\..\\admin", false),
        ] {
            let sure = reads_one_way(path, |path| admin.holds(path));
            assert_eq!(sure, want, "{path}");
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
            "/@scope%2fname",
            "/a%2F",
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
            "/a%2f/b",
            "/%2fa",
            "/a/..%2fb",
            "/a/%2e%2E%2fb",
            "/a%2f..;x%2fb",
            "/a%5Cb",
            "/a/..;x/b",
            "/.",
            "/a%00",
        ] {
            assert!(is_ambiguous(odd), "{odd}");
        }
    }
}
