//! What browsers keep for the edge. Origins never see any of it.

use std::{borrow::Cow, mem, time::Duration};

use http::{HeaderMap, HeaderValue, header};
use memchr::memchr_iter;
use model::app::SameSite;

/// Every cookie of the edge begins so: browsers take `__Host-` only from the host itself, over TLS and for all of it (RFC 6265bis,
/// section 4.1.3.2), so no neighbour can set one.
const OURS: &str = "__Host-adit-";

/// The session, at the host of an app.
pub(crate) const APP: &str = "__Host-adit-app";
/// The session, at the sign-in host.
pub(crate) const SESSION: &str = "__Host-adit-session";
/// A secret that tells browsers apart, at any host.
pub(crate) const BROWSER: &str = "__Host-adit-browser";
/// A secret of the attempts to sign in at identity providers that are under way, at the sign-in host.
pub(crate) const ATTEMPT: &str = "__Host-adit-attempt";

/// What a provider has said of the user, for it to know at the end whom it is about, at the sign-in host.
pub(crate) const HINT: &str = "__Host-adit-hint";
/// The same for the agents of an app that asks for it, at the app's host.
pub(crate) const ID_TOKEN: &str = "__Host-adit-id-token";

/// The value of a cookie; of several of one name the first, as servers do.
pub(crate) fn get<'h>(fields: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = fields.get_all(header::COOKIE).iter();
    let mut crumbs = lines.flat_map(|line| crumbs(line.as_bytes()));
    crumbs.find_map(|crumb| {
        let value = crumb
            .trim_ascii()
            .strip_prefix(name.as_bytes())?
            .strip_prefix(b"=")?;
        std::str::from_utf8(value).ok()
    })
}

/// A line of a request's cookies without the edge's own; those of the app stay as they are, byte for byte. `None`: nothing is left.
pub(crate) fn without_ours(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !crumbs(line).any(is_ours) {
        return Some(Cow::Borrowed(line));
    }
    let rest = crumbs(line).filter(|crumb| !is_ours(crumb));
    let rest = rest.collect::<Vec<_>>().join(&b';');
    // What is left of a line that it was taken out of.
    let rest = rest.trim_ascii();
    (!rest.is_empty()).then(|| Cow::Owned(rest.to_vec()))
}

/// Removes cookies of the edge's names from an origin's answer: it may not say who the user is to another app of its host.
pub(crate) fn strip_answer(fields: &mut HeaderMap) {
    let mut lines = fields.get_all(header::SET_COOKIE).iter();
    if !lines.any(|line| is_ours(line.as_bytes())) {
        return;
    }
    let kept: Vec<_> = fields
        .get_all(header::SET_COOKIE)
        .iter()
        .filter(|line| !is_ours(line.as_bytes()))
        .cloned()
        .collect();
    fields.remove(header::SET_COOKIE);
    for line in kept {
        fields.append(header::SET_COOKIE, line);
    }
}

/// The parts of a line, of which there may be kilobytes: bytes, as those of an app may be anything.
fn crumbs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    let ends = memchr_iter(b';', line).chain([line.len()]);
    ends.map(move |end| &line[mem::replace(&mut start, end + 1)..end])
}

/// Browsers compare the prefix without regard to case. Of a cookie without a name, some send the value back as if it were one.
fn is_ours(crumb: &[u8]) -> bool {
    let start = crumb
        .iter()
        .position(|byte| !byte.is_ascii_whitespace() && *byte != b'=');
    let crumb = start.map_or(&[][..], |start| &crumb[start..]);
    crumb
        .get(..OURS.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(OURS.as_bytes()))
}

/// A cookie that ends with the browser. `value` must be of base64url's characters.
pub(crate) fn set(name: &str, value: &str) -> Option<HeaderValue> {
    // Lax: it comes along where a link leads here, and not with what pages of other sites send by themselves.
    set_as(name, value, SameSite::Lax, None)
}

/// A cookie that comes along as said, and ends with the browser or after `life`.
pub(crate) fn set_as(
    name: &str,
    value: &str,
    same_site: SameSite,
    life: Option<Duration>,
) -> Option<HeaderValue> {
    let same_site = match same_site {
        SameSite::Lax => "Lax",
        SameSite::Strict => "Strict",
        SameSite::None => "None",
    };
    let life = life.map_or_else(String::new, |life| format!("; Max-Age={}", life.as_secs()));
    HeaderValue::try_from(format!(
        "{name}={value}; Path=/; Secure; HttpOnly; SameSite={same_site}{life}"
    ))
    .ok()
}

/// Makes the browser forget a cookie.
pub(crate) fn forget(name: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(format!(
        "{name}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"
    ))
    .ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn fields(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        fields
    }

    fn lines(fields: &HeaderMap, name: &HeaderName) -> Vec<String> {
        let lines = fields.get_all(name).iter();
        lines
            .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
            .collect()
    }

    #[test]
    fn origins_get_their_own_cookies_byte_for_byte_and_none_of_ours() {
        for (before, after) in [
            (vec![], vec![]),
            (vec!["a=1; b=2"], vec!["a=1; b=2"]),
            (vec!["__Host-adit-app=x"], vec![]),
            (vec!["__Host-adit-app=x; a=1"], vec!["a=1"]),
            (
                vec!["a=1; __Host-adit-app=x;  b=\"2 \"; =; c"],
                vec!["a=1;  b=\"2 \"; =; c"],
            ),
            (vec!["a=1;__host-ADIT-later=x"], vec!["a=1"]),
            (
                vec!["__Host-adit-browser=y", "a=1", "b=ü; __Host-adit-app=x"],
                vec!["a=1", "b=ü"],
            ),
            // The app's own, however they look.
            (
                vec!["__Host-app=1; x__Host-adit-app=2"],
                vec!["__Host-app=1; x__Host-adit-app=2"],
            ),
        ] {
            let left = before
                .iter()
                .filter_map(|line| without_ours(line.as_bytes()));
            let left = left.map(|line| String::from_utf8_lossy(&line).into_owned());
            assert_eq!(left.collect::<Vec<_>>(), after, "{before:?}");
        }
    }

    #[test]
    fn origins_cannot_set_ours() {
        let name = header::SET_COOKIE;
        let mut fields = fields(
            &name,
            &[
                "a=1; Path=/",
                "__Host-adit-app=forged; Path=/; Secure",
                " __HOST-adit-session=x",
                "=__Host-adit-app=nameless; Path=/; Secure",
                "b=__Host-adit-app",
            ],
        );
        strip_answer(&mut fields);
        assert_eq!(lines(&fields, &name), ["a=1; Path=/", "b=__Host-adit-app"]);
    }

    fn fields_with(line: &str) -> HeaderMap {
        fields(&header::COOKIE, &[line])
    }

    #[test]
    fn the_first_of_a_name_counts() {
        let fields = fields(
            &header::COOKIE,
            &["x=0; __Host-adit-app=1", "__Host-adit-app=2"],
        );
        assert_eq!(get(&fields, APP), Some("1"));
        let fields = fields_with("app=Müller; __Host-adit-appx=0;__Host-adit-app=1");
        assert_eq!(get(&fields, APP), Some("1"), "whatever the app keeps");
        assert_eq!(get(&fields, BROWSER), None);
    }
}
