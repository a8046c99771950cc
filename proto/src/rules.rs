//! What the values of settings must be, in words that follow the name of the field.
//!
//! Control refuses what breaks a rule with these words; a node refuses the whole app.

mod form;

use std::borrow::Cow;

use model::{
    app::{
        ASSERTION_FIELD, AnswerRules, App, HealthCheck, IDENTITY_DETAIL_BYTES_MAX, OriginHost,
        OriginUrl, Scheme, TOKEN_WORD_BYTES_MAX,
    },
    path,
};

pub(crate) use form::{cookie_name, form_path, form_text, status};

/// What a value must be instead.
pub(crate) type Fault = Cow<'static, str>;

/// Fields of answers that are adit's own to write, because they say where a message ends, what its bytes are, or belong to
/// one connection or this host only (RFC 9110, sections 7.6.1 and 8; RFC 9112, section 6).
const UNTOUCHABLE_FIELDS: [&str; 15] = [
    "alt-svc",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What the fields of a WebSocket's handshake, and adit's own, begin with.
const UNTOUCHABLE_PREFIXES: [&str; 2] = ["sec-websocket-", "adit-"];

/// Stands for every origin, method or field in a CORS rule.
pub(crate) const ANY: &str = "*";
/// Longest origin of a browser: scheme, DNS name and port.
const CORS_ORIGIN_BYTES_MAX: usize = 300;

/// A field's name in lower case.
pub(crate) fn field_name(text: &str) -> Result<String, Fault> {
    if text.is_empty() || text.len() > AnswerRules::NAME_BYTES_MAX || !is_token(text) {
        return Err("must be the name of an HTTP field".into());
    }
    Ok(text.to_ascii_lowercase())
}

/// The name, in lower case, of a field of answers that may be removed.
pub(crate) fn removable_field(text: &str) -> Result<String, Fault> {
    let name = field_name(text)?;
    let own = UNTOUCHABLE_FIELDS.contains(&name.as_str())
        || UNTOUCHABLE_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix));
    if own {
        return Err(format!("must not be {name}, which adit writes itself").into());
    }
    Ok(name)
}

/// The name, in lower case, of a field of answers that may be set.
pub(crate) fn settable_field(text: &str) -> Result<String, Fault> {
    let name = removable_field(text)?;
    if name == "set-cookie" {
        return Err("must not be set-cookie: the app's own cookies would be lost".into());
    }
    Ok(name)
}

/// Fields of requests that say where a message goes, what it is, or who sends it in the user's own words, and those that adit writes
/// itself.
const NOT_OF_IDENTITY: [&str; 13] = [
    "accept",
    "authorization",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "origin",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];

/// The name, in lower case, of a field that tells origins of the user.
pub(crate) fn identity_field(text: &str) -> Result<String, Fault> {
    let name = removable_field(text)?;
    if name.contains('_') {
        return Err("must not have _ in it, which servers take for -".into());
    }
    if NOT_OF_IDENTITY.contains(&name.as_str()) {
        return Err(format!("must not be {name}, which has another meaning").into());
    }
    Ok(name)
}

/// A text that a field tells of every user, or that stands before each of its values.
pub(crate) fn identity_text(text: &str, bytes_max: usize) -> Result<(), Fault> {
    if text.len() > bytes_max {
        return Err(format!("must not be longer than {bytes_max} bytes").into());
    }
    if !text
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && byte != b'|')
    {
        return Err("must consist of visible ASCII characters and spaces, without |".into());
    }
    Ok(())
}

/// The name of a claim that a field tells.
pub(crate) fn claim_name(text: &str) -> Result<(), Fault> {
    if text.is_empty() || text.contains(' ') {
        return Err("must be the name of a claim".into());
    }
    identity_text(text, IDENTITY_DETAIL_BYTES_MAX)
}

/// Whom a token of an identity provider is for: as good as any text, but people must be able to see what it is.
pub(crate) fn token_audience(text: &str) -> Result<(), Fault> {
    token_word(text, |byte| matches!(byte, b'!'..=b'~'))
}

/// What a token of an identity provider gives leave for (RFC 6749, section 3.3).
pub(crate) fn token_scope(text: &str) -> Result<(), Fault> {
    token_word(
        text,
        |byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~'),
    )
}

fn token_word(text: &str, is_allowed: impl Fn(u8) -> bool) -> Result<(), Fault> {
    if text.is_empty() || text.len() > TOKEN_WORD_BYTES_MAX {
        return Err(format!("must have 1 to {TOKEN_WORD_BYTES_MAX} bytes").into());
    }
    if !text.bytes().all(is_allowed) {
        return Err("must consist of visible ASCII characters; a scope, without \" and \\".into());
    }
    Ok(())
}

/// The name, in lower case, of the field that brings origins a signed statement of the user.
pub(crate) fn assertion_field(text: &str) -> Result<String, Fault> {
    if text.eq_ignore_ascii_case(ASSERTION_FIELD) {
        return Ok(ASSERTION_FIELD.to_owned());
    }
    identity_field(text)
}

/// What may stand as a field's value: nothing that could begin another field, and nothing that is read in two ways.
pub(crate) fn field_value(text: &str) -> Result<(), Fault> {
    if text.len() > AnswerRules::VALUE_BYTES_MAX {
        let most = AnswerRules::VALUE_BYTES_MAX;
        return Err(format!("must not be longer than {most} bytes").into());
    }
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err("must consist of visible ASCII characters and spaces".into());
    }
    if text.trim().len() != text.len() {
        return Err("must not start or end with a space".into());
    }
    Ok(())
}

/// RFC 9110, section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(plain)
}

/// An origin as browsers write it (RFC 6454, section 6.2): compared byte by byte, so another spelling would never match.
fn cors_origin(text: &str) -> Result<(), Fault> {
    const FORM: &str = "must be scheme://host or scheme://host:port, or * alone";
    if text.len() > CORS_ORIGIN_BYTES_MAX {
        return Err(FORM.into());
    }
    let Some((scheme, authority)) = text.split_once("://") else {
        return Err(FORM.into());
    };
    if matches!(scheme, "http" | "https") {
        let url: OriginUrl = text.parse().map_err(|_| FORM)?;
        let written = url.to_string();
        return if written == text {
            Ok(())
        } else {
            Err(format!("must be written as browsers do: {written}").into())
        };
    }
    // Of an app or a browser's extension, whose hosts need not be DNS names.
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_scheme = scheme.starts_with(|char: char| char.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|byte| plain(byte) || b"+-.".contains(&byte));
    let is_authority = !authority.is_empty()
        && authority
            .bytes()
            .all(|byte| plain(byte) || b"-._:".contains(&byte));
    if is_scheme && is_authority {
        Ok(())
    } else {
        Err(FORM.into())
    }
}

/// An origin, or any.
pub(crate) fn cors_origin_or_any(text: &str) -> Result<(), Fault> {
    if text == ANY {
        return Ok(());
    }
    cors_origin(text)
}

/// An authority as it stands in a `Host` field, in lower case.
pub(crate) fn authority(text: &str) -> Result<String, Fault> {
    const FORM: &str = "must be host or host:port";
    if text.contains('/') || format!("http://{text}").parse::<OriginUrl>().is_err() {
        return Err(FORM.into());
    }
    Ok(text.to_ascii_lowercase())
}

/// An HTTP proxy.
pub(crate) fn proxy(text: &str) -> Result<OriginUrl, Fault> {
    const FORM: &str = "must be http://host:port";
    let url: OriginUrl = text.parse().map_err(|_| FORM)?;
    match (url.scheme, &url.host) {
        (Scheme::Http, OriginHost::Name(_) | OriginHost::Ip(_)) => Ok(url),
        (Scheme::Http, OriginHost::Socket(_)) | (Scheme::Https, _) => Err(FORM.into()),
    }
}

/// Where a portal leads: a path of this host, and a query if any.
pub(crate) fn home_path(text: &str) -> Result<(), Fault> {
    target(text, App::HOME_PATH_BYTES_MAX)?;
    // Two slashes in front would lead to another host.
    if path::is_ambiguous(path_of(text)) {
        return Err("must not have empty, . or .. segments, or escaped slashes".into());
    }
    Ok(())
}

/// What a health check asks for.
pub(crate) fn check_path(text: &str) -> Result<(), Fault> {
    target(text, HealthCheck::PATH_BYTES_MAX)
}

/// A path and a query if any, as in a request line (RFC 9112, section 3.2.1).
fn target(text: &str, bytes_max: usize) -> Result<(), Fault> {
    if text.len() > bytes_max {
        return Err(format!("must not be longer than {bytes_max} bytes").into());
    }
    let plain = |byte: u8| matches!(byte, b'!'..=b'~') && !b"#\"<>\\^`{|}".contains(&byte);
    if !text.starts_with('/') || !text.bytes().all(plain) {
        return Err("must be a path that starts with /, and a query if any".into());
    }
    Ok(())
}

/// The path of a path and query.
pub(crate) fn path_of(text: &str) -> &str {
    text.split_once('?').map_or(text, |(path, _)| path)
}

/// Text of several lines for people or robots.
pub(crate) fn lines(text: &str) -> Result<(), Fault> {
    let odd = |char: char| char.is_control() && !matches!(char, '\n' | '\r' | '\t');
    if text.contains(odd) {
        return Err("must not have control characters besides line ends and tabs".into());
    }
    Ok(())
}

/// A text of one line that people read on a page: nothing that could break it, and no space that nobody sees.
pub(crate) fn line(text: &str, chars_max: usize) -> Result<(), Fault> {
    if text.chars().count() > chars_max {
        return Err(format!("must not be longer than {chars_max} characters").into());
    }
    if text.contains(char::is_control) {
        return Err("must not have control characters".into());
    }
    if text.trim().len() != text.len() {
        return Err("must not start or end with a space".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_fields_are_tokens_in_lower_case() {
        assert_eq!(field_name("X-Frame-Options"), Ok("x-frame-options".into()));
        let long = "x".repeat(AnswerRules::NAME_BYTES_MAX + 1);
        for bad in ["", "a b", "a:", "ä", "a\r\nb", long.as_str()] {
            assert!(field_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn fields_that_frame_messages_are_not_to_be_touched() {
        for own in [
            "Content-Length",
            "transfer-encoding",
            "Connection",
            "Adit-Anything",
            "Sec-WebSocket-Accept",
        ] {
            assert!(removable_field(own).is_err(), "{own}");
            assert!(settable_field(own).is_err(), "{own}");
        }
        assert!(settable_field("Set-Cookie").is_err());
        assert!(removable_field("Set-Cookie").is_ok());
    }

    #[test]
    fn texts_of_identity_cannot_begin_another_field() {
        for good in ["", "CORP\\", "a b"] {
            assert_eq!(identity_text(good, 8), Ok(()), "{good:?}");
        }
        for bad in ["a|b", "a\r\nb", "ü", "123456789"] {
            assert!(identity_text(bad, 8).is_err(), "{bad:?}");
        }
        assert_eq!(claim_name("http://schemas.example/claims/unit"), Ok(()));
        for bad in ["", "a b", "a|b"] {
            assert!(claim_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_assertion_goes_in_its_own_field_or_one_that_may_tell_of_the_user() {
        for (good, want) in [("Adit-Assertion", "adit-assertion"), ("X-Jwt", "x-jwt")] {
            assert_eq!(assertion_field(good).as_deref(), Ok(want));
        }
        for bad in ["", "adit-other", "x_jwt", "Authorization", "cookie", "a b"] {
            assert!(assertion_field(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn values_of_fields_cannot_begin_another_field() {
        for good in ["", "DENY", "a; b=\"c\""] {
            assert_eq!(field_value(good), Ok(()), "{good:?}");
        }
        let long = "x".repeat(AnswerRules::VALUE_BYTES_MAX + 1);
        for bad in ["a\r\nB: c", "a\n", "\0", " a", "a ", "ä", long.as_str()] {
            assert!(field_value(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn origins_of_pages_are_written_as_browsers_do() {
        for good in [
            "https://shop.example.com",
            "http://localhost:3000",
            "https://[2001:db8::1]:8443",
            "capacitor://localhost",
            "chrome-extension://abcdefgh",
        ] {
            assert_eq!(cors_origin(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "*",
            "null",
            "shop.example.com",
            "https://Shop.example.com",
            "https://shop.example.com/",
            "https://shop.example.com:443",
            "https://shop.example.com/path",
            "https://u@shop.example.com",
            "app://",
            "app://a/b",
            "App://a",
            "unix:/run/a",
            "https://*.example.com",
        ] {
            assert!(cors_origin(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn authorities_are_hosts_and_ports_only() {
        for (text, want) in [
            ("Wiki.corp.local", Some("wiki.corp.local")),
            ("wiki.corp.local:8080", Some("wiki.corp.local:8080")),
            ("10.0.0.5", Some("10.0.0.5")),
            ("[::1]:80", Some("[::1]:80")),
            ("", None),
            ("wiki/", None),
            ("u@wiki", None),
            ("wiki:0", None),
            ("a b", None),
        ] {
            let read = authority(text).ok();
            assert_eq!(read.as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn a_home_path_stays_on_its_host() {
        for good in ["/", "/home?tab=1", "/a/b/?next=//x", "/a%20b"] {
            assert_eq!(home_path(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "home",
            "//evil.example",
            "/\\evil.example",
            "/a/../b",
            "/a#b",
            "/a b",
            "/a\r\nb",
            "https://evil.example/",
        ] {
            assert!(home_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_proxy_is_plain_http_over_tcp() {
        assert!(proxy("http://proxy.internal:3128").is_ok());
        for bad in ["", "proxy:3128", "https://proxy", "unix:/run/proxy"] {
            assert!(proxy(bad).is_err(), "{bad:?}");
        }
    }
}
