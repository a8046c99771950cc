//! Answers that the edge gives itself: a page for people, a problem document (RFC 9457) for programs.
//!
//! Both say the status, one plain sentence, the reason's stable word and the request's id, and nothing inner.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use model::reason::{Reason, Side};

use crate::id::RequestId;

/// When a 503 may be tried again: links come back within a few seconds.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What there is to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal<'a> {
    /// Why there is no other answer.
    pub reason: Reason,
    /// Id of the request.
    pub id: RequestId,
    /// The operator's own words, plain text; empty: a sentence of adit's own.
    pub message: &'a str,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl Refusal<'_> {
    /// With nothing to say but what follows from `reason`.
    pub(crate) fn new(reason: Reason, id: RequestId) -> Self {
        Self {
            reason,
            id,
            message: "",
            retry_after: retry_after(reason),
        }
    }

    /// What the reader can do about it.
    fn hint(&self) -> &str {
        if self.message.is_empty() {
            hint(self.reason)
        } else {
            self.message
        }
    }
}

/// When a request that failed for `reason` may be tried again, if that follows from the reason.
pub(crate) fn retry_after(reason: Reason) -> Option<Duration> {
    let passes_soon = reason.status() == StatusCode::SERVICE_UNAVAILABLE.as_u16()
        && !matches!(reason, Reason::Maintenance | Reason::Stopped);
    passes_soon.then_some(RETRY_AFTER)
}

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

/// The answer for `refusal`.
pub(crate) fn refuse(refusal: &Refusal<'_>, form: Form) -> Response<Bytes> {
    let (content_type, body) = match form {
        Form::Page => ("text/html; charset=utf-8", page(refusal)),
        Form::Problem => ("application/problem+json", problem(refusal)),
        Form::Nothing => ("application/problem+json", String::new()),
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status(refusal.reason);
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
            "default-src 'none'; style-src 'nonce-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            refusal.id
        );
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            fields.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
    }
    if let Some(after) = refusal.retry_after {
        // Whole seconds, and not before.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Status of the answer for `reason`.
pub(crate) fn status(reason: Reason) -> StatusCode {
    StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// None of the words in the table needs an escape; a test holds them to it.
fn problem(refusal: &Refusal<'_>) -> String {
    let Refusal { reason, id, .. } = refusal;
    let detail = match refusal.message {
        "" => String::new(),
        message => format!("\"detail\":\"{}\",", escape_json(message)),
    };
    format!(
        "{{\"type\":\"about:blank\",\"title\":\"{}\",\"status\":{},{detail}\"reason\":\"{reason}\",\"request_id\":\"{id}\"}}\n",
        reason.plain(),
        reason.status(),
    )
}

fn page(refusal: &Refusal<'_>) -> String {
    let Refusal { reason, id, .. } = refusal;
    let (status, plain) = (reason.status(), reason.plain());
    let hint = escape_html(refusal.hint());
    let again = refusal.retry_after.and_then(in_words);
    let again = again.map_or_else(String::new, |again| {
        format!("<p>Try again in about {again}.</p>\n")
    });
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
<p class="words">{hint}</p>
{again}<dl>
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
fn hint(reason: Reason) -> &'static str {
    match (reason, reason.side()) {
        (Reason::Maintenance | Reason::Stopped, _) => "Please come back later.",
        (_, Side::User) => {
            "Check the address and try again. If you followed a link, it may be out of date."
        }
        (_, Side::Edge | Side::Agent) => {
            "Try again in a moment. If it stays like this, tell your administrator the request number below."
        }
        (_, Side::Origin) => {
            "The app behind this address has a problem. If it stays like this, tell its owner the request number below."
        }
    }
}

/// A span as people say it; nothing if it is not worth saying.
fn in_words(span: Duration) -> Option<String> {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let (count, unit) = match span.as_secs() {
        0..MINUTE => return None,
        seconds @ MINUTE..HOUR => (seconds.div_ceil(MINUTE), "minute"),
        seconds @ HOUR..DAY => (seconds.div_ceil(HOUR), "hour"),
        seconds => (seconds.div_ceil(DAY), "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    Some(format!("{count} {unit}{plural}"))
}

fn escape_html(text: &str) -> String {
    escape(text, |character| match character {
        '&' => Some("&amp;".to_owned()),
        '<' => Some("&lt;".to_owned()),
        '>' => Some("&gt;".to_owned()),
        '"' => Some("&quot;".to_owned()),
        '\'' => Some("&#39;".to_owned()),
        _ => None,
    })
}

/// RFC 8259, section 7.
fn escape_json(text: &str) -> String {
    escape(text, |character| match character {
        '"' | '\\' => Some(format!("\\{character}")),
        '\0'..='\x1f' => Some(format!("\\u{:04x}", u32::from(character))),
        _ => None,
    })
}

fn escape(text: &str, escaped: fn(char) -> Option<String>) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match escaped(character) {
            Some(escaped) => safe.push_str(&escaped),
            None => safe.push(character),
        }
    }
    safe
}

/// System colours follow light and dark mode by themselves.
const STYLE: &str = "\
:root{color-scheme:light dark}\
body{margin:0;min-height:100vh;display:grid;place-items:center;background:Canvas;color:CanvasText;\
font:1rem/1.5 system-ui,sans-serif}\
main{max-width:34rem;padding:2rem 1.25rem;box-sizing:border-box}\
.status{margin:0;font-size:.9rem;letter-spacing:.1em;opacity:.7}\
h1{margin:.25rem 0 1rem;font-size:1.5rem;line-height:1.25}\
.words{white-space:pre-line;overflow-wrap:anywhere}\
dl{display:grid;grid-template-columns:auto 1fr;align-items:baseline;gap:.25rem 1rem;margin:1.5rem 0 0;padding-top:1rem;\
border-top:1px solid GrayText;font-size:.9rem}\
dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere}code{font:.78rem ui-monospace,monospace}";

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
                let response = refuse(&Refusal::new(reason, id), form);
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
            let text = format!("{reason}{}{}", reason.plain(), hint(reason));
            assert!(!text.contains(['"', '\\', '<', '>', '&']), "{text}");
        }
    }

    #[test]
    fn head_gets_no_body_and_503_says_when_to_come_back() {
        let id = RequestId::random();
        let response = refuse(&Refusal::new(Reason::NoAgent, id), Form::Nothing);
        assert!(response.body().is_empty());
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
        let response = refuse(&Refusal::new(Reason::NoApp, id), Form::Page);
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn the_operators_words_are_text_and_nothing_else() {
        let id = RequestId::from_bytes([0xab; 16]);
        let refusal = Refusal {
            message: "Back <b>soon</b> & \"well\"\\\nThe team's",
            retry_after: Some(Duration::from_secs(1_800)),
            ..Refusal::new(Reason::Maintenance, id)
        };
        let said = |form| {
            let response = refuse(&refusal, form);
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()[header::RETRY_AFTER], "1800");
            String::from_utf8(response.into_body().to_vec()).unwrap()
        };
        let page = said(Form::Page);
        let words = "Back &lt;b&gt;soon&lt;/b&gt; &amp; &quot;well&quot;\\\nThe team&#39;s";
        assert!(page.contains(words), "{page}");
        assert!(page.contains("about 30 minutes"), "{page}");
        let problem = said(Form::Problem);
        let detail =
            r#""detail":"Back <b>soon</b> & \"well\"\\\u000aThe team's","reason":"maintenance""#;
        assert!(problem.contains(detail), "{problem}");
    }

    #[test]
    fn maintenance_without_words_has_adits_own_and_no_time() {
        for reason in [Reason::Maintenance, Reason::Stopped] {
            let response = refuse(&Refusal::new(reason, RequestId::random()), Form::Page);
            assert!(!response.headers().contains_key(header::RETRY_AFTER));
            let page = std::str::from_utf8(response.body()).unwrap();
            assert!(page.contains("Please come back later."), "{page}");
            assert!(!page.contains("Try again"), "{page}");
        }
    }

    #[test]
    fn spans_are_said_as_people_do() {
        for (seconds, want) in [
            (5, None),
            (60, Some("1 minute")),
            (61, Some("2 minutes")),
            (3_600, Some("1 hour")),
            (5_400, Some("2 hours")),
            (86_400, Some("1 day")),
            (604_800, Some("7 days")),
        ] {
            let said = in_words(Duration::from_secs(seconds));
            assert_eq!(said.as_deref(), want, "{seconds}");
        }
    }

    #[test]
    fn the_page_allows_its_own_style_only() {
        let id = RequestId::random();
        let response = refuse(&Refusal::new(Reason::NoApp, id), Form::Page);
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'; "));
        assert!(policy.contains(&format!("'nonce-{id}'")));
    }
}
