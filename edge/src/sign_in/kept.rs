//! Forms that are posted while nobody is signed in. The browser keeps them over the sign-in, and sends them again after it.
//!
//! Edges keep nothing. So the form goes back to the browser, sealed, with all that tells an app where it came from: the cookies that came
//! along, `Origin`, and what the browser said of the site it was on. A page of the app's host stores it in the tab, and after the
//! sign-in another posts it, still sealed, to the address that it was for. The edge opens it and puts everything as it was the
//! first time, so that to the app it is the request that it would have had without a sign-in: a form from another site does not
//! become one of the app's own, with cookies that browsers would have held back.

use std::{borrow::Cow, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use model::{access::needs::Needs, app::App};
use proto::edge;
use tokio::time::timeout;

use super::{
    Arrival, TARGET_BYTES_MAX,
    app_pages::{self, Keeping},
    session::{Browser, is_within, milliseconds, open_of, seal},
    set_cookie,
};
use crate::{
    cookies,
    failure::RequestError,
    user_body::{UserBody, UserBodyError},
};

/// Where a form is sent again from, at an app's host.
pub(super) const REPEAT: &str = "/.adit/repeat";
/// Parameter of a query that says that a kept form is posted; behind all others.
const MARK: &str = "adit-form=";
/// Bytes of what tells forms apart.
const MARK_BYTES: usize = 9;
/// Longest form that is kept.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the fields that are kept with it: servers take cookies of 8 KiB.
const FIELDS_BYTES_MAX: usize = 12 * 1024;
/// All of it and its address, sealed and written in base64.
const SEALED_BYTES_MAX: usize = 112 * 1024;
/// Time for it to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may be sent again: a sign-in takes minutes.
const LIFE: Duration = Duration::from_secs(3_600);
/// What it is sealed as.
const KIND: &str = "kept form";

/// What pages can have browsers post (HTML, "form submission").
const TYPES: [&str; 3] = [
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "text/plain",
];
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const FETCH_USER: HeaderName = HeaderName::from_static("sec-fetch-user");
/// What is of the first request, when it is sent again.
const KEPT: [HeaderName; 8] = [
    header::CONTENT_TYPE,
    header::COOKIE,
    header::ORIGIN,
    header::REFERER,
    FETCH_SITE,
    FETCH_MODE,
    FETCH_DEST,
    FETCH_USER,
];

const NOT_SENT: &str =
    "The form was not sent. Open the app in another tab to sign in, then send the form again.";
const TOO_LONG: &str = "The form was not sent: it is too long to be kept. Open the app in another tab to sign in, then send the form again.";
const FROM_ELSEWHERE: &str = "The form was not sent, because it came from another site. Open the app to sign in, then begin anew there.";

/// Keeps the form that a request posts, if it is one that can be kept; everybody else is told where to sign in.
pub(super) async fn keep(
    arrival: &Arrival<'_>,
    app: &App,
    request: Request<UserBody>,
) -> Result<Response<Bytes>, RequestError> {
    let (head, body) = request.into_parts();
    if !is_form(&head.method, &head.headers) {
        return Err(arrival.not_signed_in("")?);
    }
    if !may_be_kept(app, &head.headers) {
        return Err(arrival.not_signed_in(FROM_ELSEWHERE)?);
    }
    let target = head.uri.path_and_query().map_or("/", |path| path.as_str());
    if mark(head.uri.query()).is_some() {
        return Err(arrival.not_signed_in(NOT_SENT)?);
    }
    let fields = kept_fields(&head.headers);
    let bytes = fields.iter().map(|field| field.value.len());
    let is_long = target.len() > TARGET_BYTES_MAX || bytes.sum::<usize>() > FIELDS_BYTES_MAX;
    let body = match read(body, BODY_BYTES_MAX).await {
        Ok(body) if !is_long => body,
        Ok(_) | Err(RequestError::BodyTooLong) => return Err(arrival.not_signed_in(TOO_LONG)?),
        Err(error) => return Err(error),
    };
    let (browser, is_new) = Browser::of_or_new(&head.headers);
    let mark = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; MARK_BYTES]>());
    let form = edge::KeptForm {
        mark: mark.clone(),
        target: target.to_owned(),
        fields,
        body,
        browser_sha256: browser.sha256().into(),
        issued_ms: milliseconds(arrival.clock.wall()),
    };
    let sealed = seal(arrival.view, KIND, arrival.authority.host.as_str(), &form);
    let next = arrival.sign_in_url(
        &browser,
        &format!("{REPEAT}?form={mark}"),
        &Needs::default(),
        (Some(app), None),
    )?;
    let mut response = app_pages::keep(&Keeping {
        mark: &mark,
        path: target,
        kept: &sealed.ok_or(RequestError::NoView)?,
        next: &next,
    });
    if is_new {
        let cookie = cookies::set(cookies::BROWSER, &browser.secret());
        set_cookie(&mut response, cookie)?;
    }
    Ok(response)
}

/// Whether a request says that it brings a kept form.
pub(crate) fn is_brought<B>(request: &Request<B>) -> bool {
    *request.method() == Method::POST && mark(request.uri().query()).is_some()
}

/// The request as it was the first time.
pub(crate) async fn restore(
    arrival: &Arrival<'_>,
    request: Request<UserBody>,
) -> Result<Request<UserBody>, RequestError> {
    const FAULT: RequestError = RequestError::SignIn("the kept form does not hold");
    let (mut head, body) = request.into_parts();
    let body = read(body, SEALED_BYTES_MAX).await?;
    let mut pairs = form_urlencoded::parse(&body);
    let sealed = pairs.find_map(|(name, value)| (name == "kept").then_some(value));
    let host = arrival.authority.host.as_str();
    let sealed = sealed.unwrap_or_default();
    let form = open_of::<edge::KeptForm>(arrival.view, KIND, host, &sealed, SEALED_BYTES_MAX);
    let form = form.ok_or(FAULT)?;
    let browser = Browser::of(&head.headers).ok_or(FAULT)?;
    let holds = browser.is(&form.browser_sha256)
        && is_within(form.issued_ms, LIFE, arrival.clock.wall())
        && mark(head.uri.query()) == Some(&*form.mark)
        && unmarked(head.uri.path_and_query().map_or("/", |path| path.as_str())) == form.target;
    if !holds {
        return Err(FAULT);
    }
    head.uri = with_target(&head.uri, &form.target).ok_or(FAULT)?;
    for name in &KEPT {
        head.headers.remove(name);
    }
    for field in form.fields {
        let name = HeaderName::try_from(&*field.name);
        let value = HeaderValue::from_bytes(&field.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(FAULT);
        };
        head.headers.append(name, value);
    }
    let length = HeaderValue::from(form.body.len());
    head.headers.insert(header::CONTENT_LENGTH, length);
    Ok(Request::from_parts(head, UserBody::Kept(Some(form.body))))
}

/// Whether a person has sent a form, and waits for the page that it leads to.
fn is_form(method: &Method, fields: &HeaderMap) -> bool {
    let is = |name: &HeaderName, word: &str| fields.get(name).is_some_and(|value| value == word);
    let kind = fields.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    *method == Method::POST
        // Of browsers that do not say so, nobody knows where a form is from.
        && is(&FETCH_MODE, "navigate")
        && is(&FETCH_DEST, "document")
        && TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known))
}

/// Whether a form from where it comes may be sent again. Those of the same site come with the session where there is one; those of
/// others do not, unless the app asks for them.
fn may_be_kept(app: &App, fields: &HeaderMap) -> bool {
    match fields.get(FETCH_SITE).map(HeaderValue::as_bytes) {
        Some(b"same-origin" | b"same-site" | b"none") => true,
        Some(b"cross-site") => app.cross_site_posts,
        Some(_) | None => false,
    }
}

fn kept_fields(fields: &HeaderMap) -> Vec<edge::KeptField> {
    let mut kept = Vec::new();
    for name in &KEPT {
        for value in fields.get_all(name) {
            let value = match *name {
                header::COOKIE => cookies::without_ours(value.as_bytes()),
                _ => Some(Cow::Borrowed(value.as_bytes())),
            };
            kept.extend(value.map(|value| edge::KeptField {
                name: name.to_string(),
                value: Bytes::copy_from_slice(&value),
            }));
        }
    }
    kept
}

/// What tells the form from others, if a query ends in one.
fn mark(query: Option<&str>) -> Option<&str> {
    let last = query?.rsplit('&').next()?;
    last.strip_prefix(MARK)
}

/// Path and query without that, and without the one separator that the page has put before it.
fn unmarked(target: &str) -> &str {
    let Some(end) = target.rfind(MARK) else {
        return target;
    };
    let before = &target[..end];
    before.strip_suffix(['?', '&']).unwrap_or(before)
}

/// `uri` with another path and query.
fn with_target(uri: &http::Uri, target: &str) -> Option<http::Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().ok()?);
    http::Uri::from_parts(parts).ok()
}

async fn read(body: UserBody, bytes_max: usize) -> Result<Bytes, RequestError> {
    let read = timeout(BODY_TIMEOUT, Limited::new(body, bytes_max).collect());
    let body = read.await.map_err(|_| RequestError::UserSlow)?;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return RequestError::BodyTooLong;
        }
        match error.downcast::<UserBodyError>() {
            Ok(error) => RequestError::UserBody(*error),
            Err(_) => RequestError::Bug("a body that fails otherwise"),
        }
    })?;
    Ok(body.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_the_end_of_a_query_and_comes_off_again() {
        for (query, want) in [
            (None, None),
            (Some(""), None),
            (Some("x=1"), None),
            (Some("adit-form=ab"), Some("ab")),
            (Some("x=1&adit-form=ab"), Some("ab")),
            (Some("adit-form=ab&x=1"), None),
            (Some("xadit-form=ab"), None),
        ] {
            assert_eq!(mark(query), want, "{query:?}");
        }
        for (target, want) in [
            ("/a?adit-form=ab", "/a"),
            ("/a?x=1&adit-form=ab", "/a?x=1"),
            ("/a?adit-form=1&adit-form=ab", "/a?adit-form=1"),
            ("/a?&adit-form=ab", "/a?"),
            ("/a?x=1&&adit-form=ab", "/a?x=1&"),
            ("/a??&adit-form=ab", "/a??"),
            ("/a?x=1&", "/a?x=1&"),
        ] {
            assert_eq!(unmarked(target), want);
        }
    }

    #[test]
    fn only_what_browsers_post_from_pages_is_a_form() {
        let good = [
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
            ("content-type", "multipart/form-data; boundary=x"),
        ];
        let of = |pairs: &[(&'static str, &'static str)]| {
            let mut fields = HeaderMap::new();
            for (name, value) in good.iter().chain(pairs) {
                fields.insert(*name, HeaderValue::from_static(value));
            }
            fields
        };
        assert!(is_form(&Method::POST, &of(&[])));
        assert!(!is_form(&Method::PUT, &of(&[])));
        for bad in [
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-dest", "iframe"),
            ("content-type", "application/json"),
            ("content-type", ""),
        ] {
            assert!(!is_form(&Method::POST, &of(&[bad])), "{bad:?}");
        }
        assert!(!is_form(&Method::POST, &HeaderMap::new()));
    }
}
