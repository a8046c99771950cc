//! Where another site is to send the user back to: URLs of the app's own in the query of a URL that leads there.
//!
//! An app that has its users sign in somewhere else names itself in what it sends them there with, by the only name it knows. What that other
//! site goes to has to be the public name, or the user does not come back. What it only hands back stays as it is, as that is for the
//! app to read: `RelayState`, `state`, `wctx`; and so does what it knows the app by: `wtrealm`, `client_id`.

use std::ops::Range;

use super::{
    Site, Swap,
    reference::{Reference, UrlScheme},
};

/// Parameters that say where the user comes back to. None of them is among those that a signature in the query covers (SAML 2.0 Bindings,
/// section 3.4.4.1).
const RETURNS: [&[u8]; 5] = [
    // OpenID Connect, OAuth 2.0.
    b"redirect_uri",
    // OpenID Connect RP-Initiated Logout.
    b"post_logout_redirect_uri",
    // WS-Federation, section 13.2.1.
    b"wreply",
    // SAML: Identity Provider Discovery Service, section 2.4.1.
    b"return",
    // Shibboleth's own requests for a sign-in.
    b"shire",
];

/// What a URL that leads to another site becomes; `None`: it stays.
pub(super) fn returns(site: &Site, url: &[u8]) -> Option<Vec<u8>> {
    if !site.leads_elsewhere(url) {
        return None;
    }
    let query = query(url)?;
    let mut changed = Vec::with_capacity(url.len());
    let (mut copied, mut at) = (0, query.start);
    for pair in url[query].split(|byte| *byte == b'&') {
        let start = at;
        at += pair.len() + 1;
        let Some(equals) = pair.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let (name, value) = (&pair[..equals], &pair[equals + 1..]);
        if RETURNS.contains(&name)
            && let Some((bytes, with)) = led_out(site, value)
        {
            let value_start = start + equals + 1;
            changed.extend_from_slice(&url[copied..value_start]);
            changed.extend_from_slice(with.as_bytes());
            copied = value_start + bytes;
        }
    }
    if copied == 0 {
        return None;
    }
    changed.extend_from_slice(&url[copied..]);
    Some(changed)
}

fn query(url: &[u8]) -> Option<Range<usize>> {
    let end = url.iter().position(|byte| *byte == b'#');
    let end = end.unwrap_or(url.len());
    let mark = url[..end].iter().position(|byte| *byte == b'?')?;
    Some(mark + 1..end)
}

/// How many bytes of a parameter's value go, and what comes.
fn led_out(site: &Site, value: &[u8]) -> Option<(usize, String)> {
    let (text, ends) = decoded(value);
    let is_url = matches!(
        Reference::parse(&text)?,
        Reference::Absolute {
            scheme: Some(UrlScheme::Http(_)),
            ..
        }
    );
    let Swap { bytes, with } = site.outward(&text).filter(|_| is_url)?;
    let bytes = ends.get(bytes.checked_sub(1)?).copied()?;
    let is_escaped = value[..bytes].contains(&b'%');
    Some((bytes, encoded(&with, is_escaped)))
}

/// A value as it is meant, and where the writing of each of its bytes ends.
fn decoded(value: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let mut text = Vec::with_capacity(value.len());
    let mut ends = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        let escaped = (*byte == b'%').then(|| escape(value.get(at + 1..at + 3)?));
        match escaped.flatten() {
            Some(meant) => {
                text.push(meant);
                at += 3;
            }
            None => {
                text.push(*byte);
                at += 1;
            }
        }
        ends.push(at);
    }
    (text, ends)
}

fn escape(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some((digit(digits[0])? << 4) | digit(digits[1])?)
}

/// As a value in a query (RFC 3986, section 3.4); `:` and `/` as the app writes them.
fn encoded(text: &str, is_escaped: bool) -> String {
    text.bytes().fold(String::new(), |mut written, byte| {
        let is_plain = byte.is_ascii_alphanumeric()
            || b"-._~".contains(&byte)
            || (!is_escaped && b":/".contains(&byte));
        if is_plain {
            written.push(char::from(byte));
        } else {
            written.push_str(&format!("%{byte:02X}"));
        }
        written
    })
}
