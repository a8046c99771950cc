//! What an app takes of a request's head. The edge itself has bounds too, which hold before the app is known; so an app can only ask
//! for less.

use http::{HeaderMap, Request, header};
use model::app::Limits;

use crate::{cookies, doubt, failure::RequestError};

/// What HTTP/1.1 writes between and behind a name and its value: a colon, a space, the line's end.
const FIELD_FRAME_BYTES: usize = 4;

/// Refuses a request whose head is more than the app takes.
pub(crate) fn check<B>(request: &Request<B>, limits: &Limits) -> Result<(), RequestError> {
    if let Some(max) = limits.target_bytes {
        check_target(request, max)?;
    }
    if let Some(max) = limits.head_fields {
        doubt::check_count(request.headers(), max)?;
    }
    if let Some(max) = limits.head_bytes
        && bytes(request.headers()) > widened(max)
    {
        return Err(RequestError::HeadTooLarge);
    }
    Ok(())
}

/// Refuses a path and query of more than `max` bytes.
pub(crate) fn check_target<B>(request: &Request<B>, max: u32) -> Result<(), RequestError> {
    let target = request.uri().path_and_query();
    if target.map_or(0, |target| target.as_str().len()) > widened(max) {
        return Err(RequestError::TargetTooLong);
    }
    Ok(())
}

/// Of all but the edge's own cookies, which no origin sees.
fn bytes(fields: &HeaderMap) -> usize {
    let each = fields
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + FIELD_FRAME_BYTES);
    let all: usize = each.sum();
    // HTTP/2 and HTTP/3 split cookies into fields of their own, which HTTP/1.1 writes as one, with "; " between.
    let crumbs = fields.get_all(header::COOKIE).iter().count();
    let crumb_bytes = header::COOKIE.as_str().len() + FIELD_FRAME_BYTES - "; ".len();
    let ours = fields.get_all(header::COOKIE).iter().map(|line| {
        let left = cookies::without_ours(line.as_bytes());
        line.len() - left.map_or(0, |left| left.len())
    });
    all - crumbs.saturating_sub(1) * crumb_bytes - ours.sum::<usize>()
}

/// A bound as what it is compared with.
pub(crate) fn widened(bound: u32) -> usize {
    usize::try_from(bound).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use model::reason::Reason;

    use super::*;

    #[test]
    fn an_app_takes_so_much_of_a_head_and_no_more() {
        let limits = Limits {
            head_fields: Some(2),
            head_bytes: Some(20),
            target_bytes: Some(8),
            ..Limits::default()
        };
        let (fields, bytes, target) = (
            Some(Reason::HeadTooLarge),
            Some(Reason::HeadTooLarge),
            Some(Reason::UriTooLong),
        );
        for (uri, names, value, want) in [
            ("/1234567", &["a", "b"][..], "12345", None),
            ("/12345678", &["a"], "1", target),
            ("/1?34567", &["a"], "1", None),
            ("/1?345678", &["a"], "1", target),
            ("/", &["a", "b", "c"], "1", fields),
            ("/", &["a", "b"], "123456", bytes),
            // Crumbs of one field.
            ("/", &["cookie", "cookie"], "", None),
            ("/", &["cookie", "cookie"], "1234", None),
            ("/", &["cookie", "cookie"], "12345", bytes),
            // Those of the edge itself are not passed on.
            (
                "/",
                &["cookie"],
                "__Host-adit-app=123456789; 1234567890",
                None,
            ),
            (
                "/",
                &["cookie"],
                "__Host-adit-app=123456789; 12345678901",
                bytes,
            ),
        ] {
            let mut request = Request::builder().uri(uri);
            for name in names {
                request = request.header(*name, value);
            }
            let request = request.body(()).unwrap();
            let refused = check(&request, &limits).err().map(|error| error.reason());
            assert_eq!(refused, want, "{uri} {names:?}");
            assert!(check(&request, &Limits::default()).is_ok());
        }
    }
}
