//! `Content-Security-Policy`: the sources in it are hosts and URLs.

use super::{Site, Swap, field::leading};

/// Directives whose values are sources, besides all those with `-src` in their name (CSP 3, section 6).
const SOURCE_DIRECTIVES: [&[u8]; 5] = [
    b"frame-ancestors",
    b"form-action",
    b"base-uri",
    b"navigate-to",
    b"report-uri",
];

/// What a policy becomes for users; `None`: it stays. Keywords, nonces, hashes and patterns stay as they are.
pub fn content_security_policy(site: &Site, value: &[u8]) -> Option<Vec<u8>> {
    let mut changed = Vec::with_capacity(value.len());
    let (mut copied, mut at) = (0, 0);
    let mut directive = Directive::Unnamed;
    while at < value.len() {
        match value[at] {
            // A comma begins another policy.
            b';' | b',' => {
                directive = Directive::Unnamed;
                at += 1;
                continue;
            }
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            _ => {}
        }
        let length = leading(&value[at..], |byte| {
            !byte.is_ascii_whitespace() && byte != b';' && byte != b','
        });
        let word = &value[at..at + length];
        match directive {
            Directive::Unnamed => directive = Directive::named(word),
            Directive::Sources => {
                if let Some(swap) = source(site, word) {
                    changed.extend_from_slice(&value[copied..at]);
                    changed.extend_from_slice(swap.with.as_bytes());
                    copied = at + swap.bytes;
                }
            }
            Directive::Other => {}
        }
        at += length;
    }
    if copied == 0 {
        return None;
    }
    changed.extend_from_slice(&value[copied..]);
    Some(changed)
}

#[derive(Debug, Clone, Copy)]
enum Directive {
    Unnamed,
    Sources,
    Other,
}

impl Directive {
    fn named(name: &[u8]) -> Self {
        let name = name.to_ascii_lowercase();
        let of_sources = name.windows(4).any(|part| part == b"-src")
            || SOURCE_DIRECTIVES.contains(&name.as_slice());
        if of_sources {
            Self::Sources
        } else {
            Self::Other
        }
    }
}

fn source(site: &Site, word: &[u8]) -> Option<Swap> {
    if word.windows(3).any(|part| part == b"://") || word.starts_with(b"/") {
        return site.outward(word);
    }
    // `'self'`, `*` and `data:` are no hosts with a port.
    site.outward_host(word)
}
