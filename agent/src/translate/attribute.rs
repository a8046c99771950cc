//! Attributes of HTML: which ones hold URLs, and where in their values.

use std::sync::Arc;

use model::translate::{Site, Swap, content_security_policy, refresh};

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
                let swap = site.outward(&bytes[start..])?;
                spliced(bytes, &[(start, swap)])
            }
            Self::Urls => spliced(bytes, &found(site, words(bytes), bytes)),
            Self::Candidates => spliced(bytes, &found(site, candidates(bytes), bytes)),
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

type Swaps = Vec<(usize, Swap)>;

fn found(site: &Site, starts: Vec<(usize, usize)>, bytes: &[u8]) -> Swaps {
    starts
        .into_iter()
        .filter_map(|(start, end)| Some((start, site.outward(&bytes[start..end])?)))
        .collect()
}

fn spliced(bytes: &[u8], swaps: &[(usize, Swap)]) -> Option<Vec<u8>> {
    let mut changed = Vec::with_capacity(bytes.len());
    let mut copied = 0;
    for (start, swap) in swaps {
        changed.extend_from_slice(&bytes[copied..*start]);
        changed.extend_from_slice(swap.with.as_bytes());
        copied = start + swap.bytes;
    }
    changed.extend_from_slice(&bytes[copied..]);
    (!swaps.is_empty()).then_some(changed)
}

/// Where words begin and end.
fn words(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut words = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let length = bytes[at..]
            .iter()
            .position(u8::is_ascii_whitespace)
            .unwrap_or(bytes.len() - at);
        if length > 0 {
            words.push((at, at + length));
        }
        at += length + 1;
    }
    words
}

/// Where the URLs of a `srcset` begin and end (WHATWG HTML, section 4.8.4.2.1): each goes up to white space, and a
/// description up to a comma may follow.
fn candidates(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut urls = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b',' || bytes[at].is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let rest = &bytes[at..];
        let length = rest
            .iter()
            .position(u8::is_ascii_whitespace)
            .unwrap_or(rest.len());
        urls.push((at, at + length));
        at += length;
        if bytes[at - 1] != b',' {
            let description = bytes[at..].iter().position(|byte| *byte == b',');
            at = description.map_or(bytes.len(), |comma| at + comma);
        }
    }
    urls
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
