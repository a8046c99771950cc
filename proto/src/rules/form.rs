//! What the values of sign-ins by an app's form must be.

use model::app::{FORM_PATH_BYTES_MAX, FORM_TEXT_BYTES_MAX};

use super::{Fault, is_token};

/// A path of an origin, with its query.
pub(crate) fn form_path(text: &str) -> Result<String, Fault> {
    let is_path = text.starts_with('/') && !text.starts_with("//") && !text.contains('#');
    let is_good = is_path && text.len() <= FORM_PATH_BYTES_MAX;
    let is_good = is_good && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_good {
        return Ok(text.to_owned());
    }
    Err(format!("must be a path that begins with /, of at most {FORM_PATH_BYTES_MAX} bytes").into())
}

/// A name or a value of a form's field.
pub(crate) fn form_text(text: &str, least: usize) -> Result<String, Fault> {
    let fits = (least..=FORM_TEXT_BYTES_MAX).contains(&text.len());
    if fits && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    let what =
        format!("must have {least} to {FORM_TEXT_BYTES_MAX} bytes without control characters");
    Err(what.into())
}

/// A cookie's name (RFC 6265, section 4.1.1).
pub(crate) fn cookie_name(text: &str) -> Result<String, Fault> {
    if !text.is_empty() && text.len() <= FORM_TEXT_BYTES_MAX && is_token(text) {
        return Ok(text.to_owned());
    }
    Err("must be the name of a cookie".into())
}

/// A status of a final answer.
pub(crate) fn status(number: u32) -> Result<u16, Fault> {
    let status = u16::try_from(number).ok();
    let status = status.filter(|status| (200..=599).contains(status));
    status.ok_or_else(|| "must be 200 to 599".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_names_and_statuses_are_what_they_say() {
        for (path, is_good) in [
            ("/", true),
            ("/login?next=%2F&a=b", true),
            ("", false),
            ("login", false),
            ("//other.test/login", false),
            ("https://other.test/login", false),
            ("/a b", false),
            ("/a#b", false),
            (&format!("/{}", "a".repeat(FORM_PATH_BYTES_MAX)), false),
        ] {
            assert_eq!(form_path(path).is_ok(), is_good, "{path}");
        }
        assert!(form_text("", 0).is_ok() && form_text("", 1).is_err());
        assert!(form_text("a\nb", 0).is_err());
        assert!(cookie_name("sid").is_ok() && cookie_name("a=b").is_err());
        assert_eq!(status(302).ok(), Some(302));
        assert!(status(100).is_err() && status(600).is_err() && status(65_836).is_err());
    }
}
