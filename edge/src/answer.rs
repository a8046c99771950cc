//! Answers that the edge gives itself: a page for people, a problem document (RFC 9457) for programs.
//!
//! Both say the status, one plain sentence, the reason's stable word and the request's id, and nothing inner.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use model::reason::{Reason, Side};

use crate::id::RequestId;

/// Seconds after which a 503 may be tried again: links come back within a few seconds.
const RETRY_AFTER_SECONDS: &str = "5";

/// What the caller can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A browser that navigates.
    Page,
    /// Anything else.
    Problem,
    /// The head only.
    Nothing,
}

impl Form {
    /// Chooses by what the request says of its sender.
    pub(crate) fn of(method: &Method, fields: &HeaderMap) -> Self {
        let takes_html = fields
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.contains("text/html"));
        match (*method == Method::HEAD, takes_html) {
            (true, _) => Self::Nothing,
            (false, true) => Self::Page,
            (false, false) => Self::Problem,
        }
    }
}

/// The answer for `reason`.
pub(crate) fn refuse(reason: Reason, id: RequestId, form: Form) -> Response<Bytes> {
    let (content_type, body) = match form {
        Form::Page => ("text/html; charset=utf-8", page(reason, id)),
        Form::Problem => ("application/problem+json", problem(reason, id)),
        Form::Nothing => ("application/problem+json", String::new()),
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status(reason);
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if form == Form::Page {
        // The id is random and used once, which is all that a nonce needs to be.
        let policy = format!(
            "default-src 'none'; style-src 'nonce-{id}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            fields.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
    }
    if reason.status() == StatusCode::SERVICE_UNAVAILABLE.as_u16() {
        fields.insert(
            header::RETRY_AFTER,
            HeaderValue::from_static(RETRY_AFTER_SECONDS),
        );
    }
    response
}

/// Status of the answer for `reason`.
pub(crate) fn status(reason: Reason) -> StatusCode {
    StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// None of the words in the table needs an escape; a test holds them to it.
fn problem(reason: Reason, id: RequestId) -> String {
    format!(
        "{{\"type\":\"about:blank\",\"title\":\"{}\",\"status\":{},\"reason\":\"{reason}\",\"request_id\":\"{id}\"}}\n",
        reason.plain(),
        reason.status(),
    )
}

fn page(reason: Reason, id: RequestId) -> String {
    let (status, plain, hint) = (reason.status(), reason.plain(), hint(reason.side()));
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{status} · {plain}</title>
<style nonce="{id}">{STYLE}</style>
</head>
<body>
<main>
<p class="status">{status}</p>
<h1>{plain}</h1>
<p>{hint}</p>
<dl>
<dt>Reason</dt><dd><code>{reason}</code></dd>
<dt>Request</dt><dd><code>{id}</code></dd>
</dl>
</main>
</body>
</html>
"#
    )
}

/// What the reader can do about it.
const fn hint(side: Side) -> &'static str {
    match side {
        Side::User => {
            "Check the address and try again. If you followed a link, it may be out of date."
        }
        Side::Edge | Side::Agent => {
            "Try again in a moment. If it stays like this, tell your administrator the request number below."
        }
        Side::Origin => {
            "The app behind this address has a problem. If it stays like this, tell its owner the request number below."
        }
    }
}

/// System colours follow light and dark mode by themselves.
const STYLE: &str = "\
:root{color-scheme:light dark}\
body{margin:0;min-height:100vh;display:grid;place-items:center;background:Canvas;color:CanvasText;\
font:1rem/1.5 system-ui,sans-serif}\
main{max-width:34rem;padding:2rem 1.25rem;box-sizing:border-box}\
.status{margin:0;font-size:.9rem;letter-spacing:.1em;opacity:.7}\
h1{margin:.25rem 0 1rem;font-size:1.5rem;line-height:1.25}\
dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1rem;margin:1.5rem 0 0;padding-top:1rem;\
border-top:1px solid GrayText;font-size:.9rem}\
dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere}code{font-family:ui-monospace,monospace}";

#[cfg(test)]
mod tests {
    use super::*;

    fn form(method: &Method, accept: &'static str) -> Form {
        let mut fields = HeaderMap::new();
        fields.insert(header::ACCEPT, HeaderValue::from_static(accept));
        Form::of(method, &fields)
    }

    #[test]
    fn browsers_get_a_page_and_programs_a_problem() {
        let navigation = "text/html,application/xhtml+xml,*/*;q=0.8";
        assert_eq!(form(&Method::GET, navigation), Form::Page);
        assert_eq!(form(&Method::POST, navigation), Form::Page);
        assert_eq!(form(&Method::GET, "*/*"), Form::Problem);
        assert_eq!(form(&Method::HEAD, navigation), Form::Nothing);
    }

    #[test]
    fn every_answer_says_reason_and_request_and_is_not_cached() {
        let id = RequestId::from_bytes([0xab; 16]);
        for reason in Reason::ALL {
            for form in [Form::Page, Form::Problem] {
                let response = refuse(reason, id, form);
                assert_eq!(response.status().as_u16(), reason.status());
                assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
                let body = std::str::from_utf8(response.body()).unwrap();
                assert!(body.contains(reason.as_str()), "{body}");
                assert!(body.contains(&"ab".repeat(16)), "{body}");
            }
        }
    }

    #[test]
    fn words_of_the_table_need_no_escape() {
        for reason in Reason::ALL {
            let text = format!("{reason}{}{}", reason.plain(), hint(reason.side()));
            assert!(!text.contains(['"', '\\', '<', '>', '&']), "{text}");
        }
    }

    #[test]
    fn head_gets_no_body_and_503_says_when_to_come_back() {
        let id = RequestId::random();
        let response = refuse(Reason::NoAgent, id, Form::Nothing);
        assert!(response.body().is_empty());
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
        let response = refuse(Reason::NoApp, id, Form::Page);
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn the_page_allows_its_own_style_only() {
        let id = RequestId::random();
        let response = refuse(Reason::NoApp, id, Form::Page);
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'; "));
        assert!(policy.contains(&format!("'nonce-{id}'")));
    }
}
