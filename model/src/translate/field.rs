//! Fields that name URLs: which ones do, and where in their values. Values that cannot be read stay as they are.

use super::{Site, Swap, cookie, policy, returns::returns};

/// What the value of an answer's field becomes for users; `None`: it stays. `name` is in lower case.
pub fn answer_field(site: &Site, name: &str, value: &[u8]) -> Option<Vec<u8>> {
    match name {
        "location" => location(site, value),
        "content-location" | "destination" | "sourcemap" | "x-sourcemap" => {
            swapped(value, 0, &site.outward(value)?)
        }
        "uri" => bracketed(value, |url| site.outward(url))
            .or_else(|| swapped(value, 0, &site.outward(value)?)),
        "service-worker-allowed" => swapped(value, 0, &site.outward_path(value)?),
        "link" => bracketed(value, |url| site.outward(url)),
        "refresh" => refresh(site, value),
        "access-control-allow-origin" => site.outward_origin(value).map(String::into_bytes),
        "set-cookie" => cookie::set_cookie(site, value),
        "content-security-policy" | "content-security-policy-report-only" => {
            policy::content_security_policy(site, value)
        }
        _ => None,
    }
}

/// It leads where the app says, or somewhere else with word of where the user is to come back to.
fn location(site: &Site, value: &[u8]) -> Option<Vec<u8>> {
    let led = site.outward(value);
    let led = led.and_then(|swap| swapped(value, 0, &swap));
    returns(site, led.as_deref().unwrap_or(value)).or(led)
}

/// What the value of a request's field becomes for the origin; `None`: it stays. `name` is in lower case.
pub fn request_field(site: &Site, name: &str, value: &[u8]) -> Option<Vec<u8>> {
    match name {
        "origin" => site.inward_origin(value).map(String::into_bytes),
        "referer" | "destination" => swapped(value, 0, &site.inward(value)?),
        // WebDAV (RFC 4918, section 10.4): a tagged list names the resource that it is about.
        "if" => bracketed(value, |url| site.inward(url)),
        _ => None,
    }
}

/// A refresh (WHATWG HTML, section 4.2.5.3), as in the field and in `<meta>`: seconds, then perhaps where to.
pub fn refresh(site: &Site, value: &[u8]) -> Option<Vec<u8>> {
    let start = refresh_target(value)?;
    let rest = &value[start..];
    let (start, end) = match rest.first() {
        Some(quote @ (b'"' | b'\'')) => {
            let inner = &rest[1..];
            let length = inner.iter().position(|byte| byte == quote);
            (start + 1, start + 1 + length.unwrap_or(inner.len()))
        }
        _ => (start, value.len()),
    };
    swapped(value, start, &site.outward(&value[start..end])?)
}

/// Where the target of a refresh begins.
fn refresh_target(value: &[u8]) -> Option<usize> {
    let spaces = |from: usize| from + leading(&value[from..], |byte| byte.is_ascii_whitespace());
    let number = spaces(0);
    let after = number
        + leading(&value[number..], |byte| {
            byte.is_ascii_digit() || byte == b'.'
        });
    let separator = spaces(after);
    let target = match value.get(separator)? {
        b';' | b',' => spaces(separator + 1),
        _ if separator > after => separator,
        _ => return None,
    };
    let word = value.get(target..target + 3);
    if word.is_none_or(|word| !word.eq_ignore_ascii_case(b"url")) {
        return Some(target);
    }
    let equals = spaces(target + 3);
    match value.get(equals) {
        Some(b'=') => Some(spaces(equals + 1)),
        _ => Some(target),
    }
}

pub(super) fn leading(bytes: &[u8], holds: impl Fn(u8) -> bool) -> usize {
    bytes
        .iter()
        .position(|byte| !holds(*byte))
        .unwrap_or(bytes.len())
}

/// The value with what stands at `start` replaced.
pub(super) fn swapped(value: &[u8], start: usize, swap: &Swap) -> Option<Vec<u8>> {
    let mut changed = value.get(..start)?.to_vec();
    changed.extend_from_slice(swap.with.as_bytes());
    changed.extend_from_slice(value.get(start + swap.bytes..)?);
    Some(changed)
}

/// The value with what stands in angle brackets replaced, where `find` knows by what. Brackets in quoted strings are text.
fn bracketed(value: &[u8], find: impl Fn(&[u8]) -> Option<Swap>) -> Option<Vec<u8>> {
    let mut changed = Vec::new();
    let (mut copied, mut at, mut quoted) = (0, 0, false);
    while let Some(byte) = value.get(at) {
        match byte {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'<' if !quoted => {
                let start = at + 1;
                let length = value[start..].iter().position(|byte| *byte == b'>')?;
                if let Some(swap) = find(&value[start..start + length]) {
                    changed.extend_from_slice(&value[copied..start]);
                    changed.extend_from_slice(swap.with.as_bytes());
                    copied = start + swap.bytes;
                }
                at = start + length;
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return None;
    }
    changed.extend_from_slice(&value[copied..]);
    Some(changed)
}
