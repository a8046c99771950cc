//! Answers that the edge gives itself: a page for people, a problem document (RFC 9457) for programs.
//!
//! Both say the status, one plain sentence, the reason's stable word and the request's id, and nothing inner.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use model::{
    name::AppId,
    reason::{Reason, Side},
};

use crate::{
    id::RequestId,
    page::{self, Page},
};

/// RFC 9457.
const PROBLEM: &str = "application/problem+json";
/// For who is signed in as somebody who may not.
const WAY_OUT: &str = "<p><a href=\"/.adit/portal\">Your apps</a> · <a href=\"/.adit/sign-out\">Sign in as somebody else</a></p>\n";
/// For who is not signed in.
const WAY_IN: &str = "<p><a href=\"/\">Open the app again</a></p>\n";

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
    /// The app, if the user may enter a credential for it.
    pub takes_credentials: Option<&'a AppId>,
}

impl Refusal<'_> {
    /// With nothing to say but what follows from `reason`.
    pub(crate) fn new(reason: Reason, id: RequestId) -> Self {
        Self {
            reason,
            id,
            message: "",
            retry_after: retry_after(reason),
            takes_credentials: None,
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
    let status = status(refusal.reason);
    let mut response = match form {
        Form::Page => page(refusal, status),
        Form::Problem => document(PROBLEM, problem(refusal), status),
        Form::Nothing => document(PROBLEM, String::new(), status),
    };
    if let Some(after) = refusal.retry_after {
        // Whole seconds, and not before.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        let fields = response.headers_mut();
        fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// An answer for programs.
pub(crate) fn document(
    kind: &'static str,
    body: impl Into<Bytes>,
    status: StatusCode,
) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let fields = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
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

fn page(refusal: &Refusal<'_>, status: StatusCode) -> Response<Bytes> {
    let Refusal { reason, id, .. } = refusal;
    let (number, plain) = (reason.status(), reason.plain());
    let hint = page::escape(refusal.hint());
    let again = refusal.retry_after.and_then(in_words);
    let again = again.map_or_else(String::new, |again| {
        format!("<p>Try again in about {again}.</p>\n")
    });
    let to_credential;
    let way = match reason {
        Reason::NotAssigned | Reason::Blocked | Reason::SsoNoIdentity | Reason::SsoUserRefused => {
            WAY_OUT
        }
        Reason::SignInRequired
        | Reason::SignInFailed
        | Reason::StepUpRequired
        | Reason::SessionEnded => WAY_IN,
        Reason::SsoCredentials | Reason::SsoCredentialsRefused => {
            let app = refusal.takes_credentials;
            to_credential = app.map(way_to_credential).unwrap_or_default();
            &*to_credential
        }
        _ => "",
    };
    let main = format!(
        r#"<p class="status">{number}</p>
<h1>{plain}</h1>
<p class="words">{hint}</p>
{way}{again}<dl>
<dt>Reason</dt><dd><code>{reason}</code></dd>
<dt>Request</dt><dd><code>{id}</code></dd>
</dl>
"#
    );
    let page = Page {
        title: &format!("{number} · {plain}"),
        // The id is random and used once, which is all that a nonce needs to be.
        nonce: *id,
        main: &main,
        script: "",
        form_action: "",
    };
    page.respond(status)
}

/// For who has nothing to sign in to an app with. Several apps may be at one host: it says which one.
fn way_to_credential(app: &AppId) -> String {
    format!("<p><a href=\"/.adit/app-sign-in?app={app}\">Your sign-in for this app</a></p>\n")
}

/// What the reader can do about it.
fn hint(reason: Reason) -> &'static str {
    match (reason, reason.side()) {
        (Reason::SignInRequired | Reason::SignInFailed | Reason::SessionEnded, _) => {
            "What you were doing was not done. Open the app again, sign in, and repeat it."
        }
        (Reason::StepUpRequired, _) => "What you were doing was not done. Open the app again.",
        (Reason::TermsRequired, _) => {
            "Nothing was done. Open the app in a browser, accept its terms of use there, and repeat it."
        }
        (Reason::Blocked | Reason::DeviceRequired | Reason::DownloadRefused, _) => {
            "If you need this, ask your administrator, with the request number below."
        }
        (Reason::BadToken | Reason::InsufficientScope, _) => {
            "Look at which token is sent, whether it has expired, and whether it was taken back."
        }
        (Reason::SsoNoIdentity | Reason::SsoUserRefused, _) => {
            "You are signed in, but the app behind this address does not take your account. Ask your administrator, with the request number below."
        }
        (Reason::SsoCredentials, _) => {
            "You are signed in, but the app behind this address has a sign-in of its own, and yours for it is not kept yet. Enter it once; if you cannot, ask your administrator."
        }
        (Reason::SsoCredentialsRefused, _) => {
            "You are signed in, but the app does not take your stored password any more. Enter the right one; so that your account there is not locked, the old one is not tried again for a while."
        }
        (Reason::SsoFailed, _) => {
            "You are signed in, but the app behind this address was not told so. Ask your administrator, with the request number below."
        }
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
pub(crate) fn in_words(span: Duration) -> Option<String> {
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

/// RFC 8259, section 7.
fn escape_json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => safe.extend(['\\', character]),
            '\0'..='\x1f' => safe.push_str(&format!("\\u{:04x}", u32::from(character))),
            plain => safe.push(plain),
        }
    }
    safe
}

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
    fn who_has_no_credential_is_led_to_that_of_the_app_that_refused_them() {
        let wiki: AppId = "wiki".parse().unwrap();
        for (takes, want) in [(Some(&wiki), true), (None, false)] {
            let refusal = Refusal {
                takes_credentials: takes,
                ..Refusal::new(Reason::SsoCredentials, RequestId::random())
            };
            let response = refuse(&refusal, Form::Page);
            let page = std::str::from_utf8(response.body()).unwrap();
            let link = "href=\"/.adit/app-sign-in?app=wiki\"";
            assert_eq!(page.contains(link), want, "{page}");
            assert_eq!(page.contains("app-sign-in"), want, "{page}");
        }
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
