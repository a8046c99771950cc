//! Attributes of HTML: which ones hold URLs, and where in their values.

use std::{ops::Range, sync::Arc};

use model::translate::{Site, content_security_policy, refresh};

use super::{Scope, literal::Literals, style::Style};

/// What an attribute's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Url,
    /// URLs with white space between them.
    Urls,
    /// URLs with a width or density each.
    Candidates,
    Style,
    Script,
    /// What it is depends on another attribute.
    Meta,
    Refresh,
    Policy,
}

impl Meaning {
    /// What attribute `name` of `tag` is, if it is translated.
    ///
    /// The value of an `input` is not: it would be sent back to the origin, and a form that shows an address would change it.
    pub(super) fn of(tag: &str, name: &str, scope: Scope) -> Option<Self> {
        Some(match name {
            "href" | "src" | "action" | "formaction" | "cite" | "poster" | "longdesc"
            | "background" | "data-src" | "data-href" | "data-background" | "xlink:href" => {
                Self::Url
            }
            "data" if tag == "object" => Self::Url,
            "codebase" if matches!(tag, "object" | "applet") => Self::Url,
            "manifest" if tag == "html" => Self::Url,
            "icon" if tag == "menuitem" => Self::Url,
            "ping" => Self::Urls,
            "profile" if tag == "head" => Self::Urls,
            "archive" if tag == "object" => Self::Urls,
            "srcset" | "imagesrcset" | "data-srcset" => Self::Candidates,
            "style" => Self::Style,
            "content" if tag == "meta" => Self::Meta,
            _ if scope.scripts && name.starts_with("on") => Self::Script,
            _ => return None,
        })
    }

    /// What the value becomes; `None`: it stays.
    pub(super) fn translated(self, site: &Arc<Site>, value: &str) -> Option<String> {
        let bytes = value.as_bytes();
        let changed = match self {
            Self::Url | Self::Meta => {
                let start = bytes.len() - bytes.trim_ascii_start().len();
                spliced(site, bytes, std::iter::once(start..bytes.len()))
            }
            Self::Urls => spliced(site, bytes, words(bytes)),
            Self::Candidates => spliced(site, bytes, candidates(bytes)),
            Self::Style => {
                let mut style = Style::new(Arc::clone(site));
                streamed(value, |bytes, out| {
                    style.write(bytes, out);
                    style.end(out);
                })
            }
            Self::Script => {
                let mut literals = Literals::script(Arc::clone(site));
                streamed(value, |bytes, out| {
                    literals.write(bytes, out);
                    literals.end(out);
                })
            }
            Self::Refresh => refresh(site, bytes),
            Self::Policy => content_security_policy(site, bytes),
        };
        String::from_utf8(changed?).ok()
    }
}

/// What the content of a `meta` with this `http-equiv` is.
pub(super) fn meta(http_equiv: Option<&str>) -> Meaning {
    match http_equiv.map(str::to_ascii_lowercase).as_deref() {
        Some("refresh") => Meaning::Refresh,
        Some("content-security-policy") => Meaning::Policy,
        _ => Meaning::Url,
    }
}

/// The value with its URLs translated, one at a time: a tag may hold millions.
fn spliced(site: &Site, bytes: &[u8], urls: impl Iterator<Item = Range<usize>>) -> Option<Vec<u8>> {
    let mut changed: Option<Vec<u8>> = None;
    let mut copied = 0;
    for url in urls {
        let Some(swap) = site.outward(&bytes[url.clone()]) else {
            continue;
        };
        let changed = changed.get_or_insert_with(|| Vec::with_capacity(bytes.len()));
        changed.extend_from_slice(&bytes[copied..url.start]);
        changed.extend_from_slice(swap.with.as_bytes());
        copied = url.start + swap.bytes;
    }
    let mut changed = changed?;
    changed.extend_from_slice(&bytes[copied..]);
    Some(changed)
}

/// Where words are.
fn words(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += leading(&bytes[at..], |byte| byte.is_ascii_whitespace());
        let start = at;
        at += leading(&bytes[at..], |byte| !byte.is_ascii_whitespace());
        (at > start).then_some(start..at)
    })
}

/// Where the URLs of a `srcset` are (WHATWG HTML, section 4.8.4.2.1): each goes up to white space, and a description up to a
/// comma may follow.
fn candidates(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += leading(&bytes[at..], |byte| {
            byte == b',' || byte.is_ascii_whitespace()
        });
        let start = at;
        at += leading(&bytes[at..], |byte| !byte.is_ascii_whitespace());
        let url = start..at;
        if bytes[start..at].last().is_some_and(|last| *last != b',') {
            at += leading(&bytes[at..], |byte| byte != b',');
        }
        (!url.is_empty()).then_some(url)
    })
}

/// How many bytes at the front are so.
fn leading(bytes: &[u8], holds: impl Fn(u8) -> bool) -> usize {
    let end = bytes.iter().position(|byte| !holds(*byte));
    end.unwrap_or(bytes.len())
}

/// Runs a value through a scanner of pieces. Quotes that are written as references count as quotes.
fn streamed(value: &str, run: impl FnOnce(&[u8], &mut Vec<u8>)) -> Option<Vec<u8>> {
    let mut read = value.to_owned();
    if value.contains('&') {
        for (reference, quote) in QUOTES {
            read = read.replace(reference, quote);
        }
    }
    let mut out = Vec::with_capacity(read.len());
    run(read.as_bytes(), &mut out);
    (out != read.as_bytes()).then_some(out)
}

/// As browsers, templates and editors write them.
const QUOTES: [(&str, &str); 6] = [
    ("&quot;", "\""),
    ("&#34;", "\""),
    ("&#x22;", "\""),
    ("&#39;", "'"),
    ("&#x27;", "'"),
    ("&apos;", "'"),
];
