//! Requests that hyper understands, but that a server or proxy on either side might understand in another way.

use http::{HeaderMap, Request, Uri, header};

use crate::{bounds::widened, failure::RequestError};

/// Refuses a request that leaves a doubt, or has more fields than `fields_max`.
pub(crate) fn check<B>(request: &Request<B>, fields_max: u32) -> Result<(), RequestError> {
    check_count(request.headers(), fields_max)?;
    check_coding(request.headers())?;
    check_scheme(request.uri())
}

/// hyper bounds the number of fields over HTTP/1 alone. Cookies count as one, which the later versions send in crumbs.
pub(crate) fn check_count(fields: &HeaderMap, max: u32) -> Result<(), RequestError> {
    let crumbs = fields.get_all(header::COOKIE).iter().count();
    if fields.len() - crumbs.saturating_sub(1) > widened(max) {
        return Err(RequestError::HeadTooLarge);
    }
    Ok(())
}

/// `Transfer-Encoding` is chunked, once, or absent. hyper goes by the last coding and leaves those before it in the body, which
/// the origin would not be told of (RFC 9112, section 6.1).
fn check_coding(fields: &HeaderMap) -> Result<(), RequestError> {
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(one), None) if one.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(RequestError::Coding),
    }
}

/// The origin is told that the request came by https. Some clients behind a tunnel of their own say http, and mean this.
fn check_scheme(target: &Uri) -> Result<(), RequestError> {
    match target.scheme_str() {
        None | Some("https" | "http") => Ok(()),
        Some(_) => Err(RequestError::Target("scheme")),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn one_chunked_is_the_only_coding() {
        for (codings, good) in [
            (&[][..], true),
            (&["chunked"], true),
            (&["Chunked"], true),
            (&["chunked", "chunked"], false),
            (&["identity", "chunked"], false),
            (&["gzip, chunked"], false),
            (&[",chunked"], false),
            (&[""], false),
        ] {
            let mut request = Request::new(());
            for coding in codings {
                let value = HeaderValue::from_static(coding);
                request
                    .headers_mut()
                    .append(header::TRANSFER_ENCODING, value);
            }
            assert_eq!(check(&request, 16).is_ok(), good, "{codings:?}");
        }
    }

    #[test]
    fn only_schemes_of_the_web_are_served() {
        for (target, good) in [
            ("/a", true),
            ("https://a.example/", true),
            ("http://a.example/", true),
            ("file://a.example/", false),
        ] {
            let request = Request::builder().uri(target).body(()).unwrap();
            assert_eq!(check(&request, 16).is_ok(), good, "{target}");
        }
    }
}
