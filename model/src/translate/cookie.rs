//! `Set-Cookie`: only the bytes of `Domain` and `Path` change, and only where they would keep the cookie from working.

use std::ops::Range;

use super::{Site, site::domain_holds};

/// What a cookie becomes for users; `None`: it stays.
///
/// A domain that holds an inner name, but not the public one, would make browsers refuse the cookie: without it, the cookie is
/// for the public host alone. Any other domain stays, so that what browsers refuse inside they refuse outside.
pub(super) fn set_cookie(site: &Site, value: &[u8]) -> Option<Vec<u8>> {
    let mut changed = Vec::with_capacity(value.len());
    let mut copied = 0;
    for attribute in Attributes::of(value) {
        if attribute.is(value, b"domain") && leads_nowhere(site, &value[attribute.text.clone()]) {
            changed.extend_from_slice(&value[copied..attribute.whole.start]);
            copied = attribute.whole.end;
        } else if attribute.is(value, b"path")
            && let Some((bytes, with)) = path(site, value, &attribute)
        {
            changed.extend_from_slice(&value[copied..attribute.text.start]);
            changed.extend_from_slice(with.as_bytes());
            copied = attribute.text.start + bytes;
        }
    }
    if copied == 0 {
        return None;
    }
    changed.extend_from_slice(&value[copied..]);
    Some(changed)
}

fn leads_nowhere(site: &Site, domain: &[u8]) -> bool {
    let Ok(domain) = std::str::from_utf8(domain) else {
        return false;
    };
    let domain = domain
        .strip_prefix('.')
        .unwrap_or(domain)
        .to_ascii_lowercase();
    !domain.is_empty()
        && !domain_holds(&domain, site.public().host())
        && site.is_inner_domain(&domain)
}

/// How many bytes of the path go, and what comes.
fn path(site: &Site, value: &[u8], attribute: &Attribute) -> Option<(usize, String)> {
    // A cookie with this prefix is good with the path "/" only (RFC 6265bis, section 4.1.3.2).
    let is_host_cookie = value
        .get(..HOST_PREFIX.len())
        .is_some_and(|front| front.eq_ignore_ascii_case(HOST_PREFIX));
    let path = &value[attribute.text.clone()];
    if is_host_cookie || site.same_path() || !path.starts_with(b"/") {
        return None;
    }
    if let Some(swap) = site.outward_path(path) {
        return Some((swap.bytes, swap.with));
    }
    // For more than the app: outside there is nothing more of it than what is published.
    let published = site.published_below(path)?;
    Some((path.len(), published.to_owned()))
}

const HOST_PREFIX: &[u8] = b"__Host-";

/// Where an attribute of a cookie stands.
struct Attribute {
    /// With the semicolon before it.
    whole: Range<usize>,
    name: Range<usize>,
    /// Its value, without the spaces around it.
    text: Range<usize>,
}

impl Attribute {
    fn is(&self, value: &[u8], name: &[u8]) -> bool {
        value[self.name.clone()].eq_ignore_ascii_case(name)
    }
}

/// Walks the attributes behind the name and value.
struct Attributes<'a> {
    value: &'a [u8],
    /// Where the next semicolon is.
    at: Option<usize>,
}

impl<'a> Attributes<'a> {
    fn of(value: &'a [u8]) -> Self {
        Self {
            value,
            at: value.iter().position(|byte| *byte == b';'),
        }
    }

    fn trimmed(&self, range: Range<usize>) -> Range<usize> {
        let bytes = &self.value[range.clone()];
        let front = bytes.len() - bytes.trim_ascii_start().len();
        range.start + front..range.start + front + bytes.trim_ascii().len()
    }
}

impl Iterator for Attributes<'_> {
    type Item = Attribute;

    fn next(&mut self) -> Option<Attribute> {
        let start = self.at?;
        let rest = &self.value[start + 1..];
        let length = rest.iter().position(|byte| *byte == b';');
        self.at = length.map(|length| start + 1 + length);
        let whole = start..self.at.unwrap_or(self.value.len());
        let inner = &self.value[whole.start + 1..whole.end];
        let equals = inner.iter().position(|byte| *byte == b'=');
        let name_end = whole.start + 1 + equals.unwrap_or(inner.len());
        let text_start = equals.map_or(whole.end, |_| name_end + 1);
        Some(Attribute {
            name: self.trimmed(whole.start + 1..name_end),
            text: self.trimmed(text_start..whole.end),
            whole,
        })
    }
}
