//! Path prefixes: which part of a host's path space belongs to an app.

mod longest;
mod reading;

use std::{fmt, str::FromStr, sync::Arc};

pub(crate) use longest::Prefixes;
pub use reading::{is_ambiguous, read_leniently, reads_one_way};

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
    /// An empty segment, `.` or `..`, or one that some servers read as another, as Windows does with `admin.` and `admin:`.
    #[error(
        "must not have segments that are empty, . or .., that end in . or :, or that have :$ in them"
    )]
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
        holds(&self.0, path)
    }
}

/// Whether the prefix, as [`PathPrefix`] writes it, has the path inside.
pub(crate) fn holds(prefix: &str, path: &str) -> bool {
    if prefix == "/" {
        return true;
    }
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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
        // pchar of RFC 3986, section 3.3, less escapes and path parameters: a prefix has one reading only, but for letter case.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/".contains(&byte);
        if !inner.bytes().all(plain) {
            return Err(PrefixError::Character);
        }
        if inner
            .split('/')
            .any(|segment| segment.is_empty() || reading::is_dot_segment(segment))
        {
            return Err(PrefixError::Segment);
        }
        let prefix = format!("/{inner}");
        if read_leniently(&prefix) != prefix.to_ascii_lowercase() {
            return Err(PrefixError::Segment);
        }
        Ok(Self(prefix.into()))
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
            ("/:", PrefixError::Segment),
            ("/a./b", PrefixError::Segment),
            ("/a::$DATA", PrefixError::Segment),
            ("/a/..;x", PrefixError::Character),
            ("/a%2fb", PrefixError::Character),
            ("/a?b", PrefixError::Character),
            ("/a;b", PrefixError::Character),
            ("/ü", PrefixError::Character),
        ] {
            assert_eq!(text.parse::<PathPrefix>(), Err(why), "{text:?}");
        }
    }
}
