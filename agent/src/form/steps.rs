//! The steps of a sign-in by a form, without the network between them: look at the page, send the form, judge the answer.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};
use http::{HeaderMap, StatusCode, Uri, header};
use model::app::{FormSso, Success};
use runtime::vault::Credential;
use zeroize::Zeroizing;

use super::page::Form;
use crate::look::Answer;

/// How much of a page is read: of the one with the form, and of what comes of that where a text says what it is.
pub(crate) const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Said of what was not found in a page that is longer than what is read.
const OF_ITS_BEGINNING: &str = " in its first 256 KiB, and it is longer";

/// How much operators are told of where a form leads.
const ACTION_CHARS_MAX: usize = 100;

/// What is sent next.
#[derive(Debug)]
pub(crate) struct Step {
    /// With its query.
    pub(crate) path: String,
    /// The filled form; `None`: a page is asked for.
    pub(crate) form: Option<Zeroizing<String>>,
    /// What the answer's head says is enough.
    pub(crate) is_look: bool,
}

impl Step {
    /// How much of the answer's body is read.
    pub(crate) const fn reads(&self) -> usize {
        if self.is_look { 0 } else { ANSWER_BYTES_MAX }
    }

    /// Without the query.
    pub(crate) fn bare_path(&self) -> &str {
        path_of(&self.path)
    }
}

/// What follows from the page.
#[derive(Debug)]
pub(crate) enum Next {
    /// The form.
    Send(Step),
    /// Why there is none, for operators.
    Stuck(String),
}

/// What follows from the answer to the form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// The user is in.
    In,
    /// The app does not take the credential.
    Refused,
    /// Something else is wrong, for operators.
    Failed(String),
}

impl Step {
    /// To look at the page.
    pub(crate) fn page(sso: &FormSso) -> Self {
        Self {
            path: sso.page.clone(),
            form: None,
            is_look: false,
        }
    }

    /// To send the form that `page` has.
    pub(crate) fn form(sso: &FormSso, page: &Answer, credential: &Credential) -> Next {
        if !page.status.is_success() {
            return Next::Stuck(format!("the page with the form answers {}", page.status));
        }
        let Some(form) = Form::find(&page.body, sso) else {
            let part = if page.is_cut { OF_ITS_BEGINNING } else { "" };
            return Next::Stuck(format!(
                "the page {} has no whole form with a field {}{part}",
                sso.page, sso.password_field
            ));
        };
        let action = match &sso.action {
            Some(action) => Some(action.clone()),
            None => action_of(&sso.page, &form),
        };
        let Some(path) = action else {
            let action: String = form.action.chars().take(ACTION_CHARS_MAX).collect();
            return Next::Stuck(format!("the form leads to {action:?}, which is no path"));
        };
        let filled = form.filled(sso, (credential.user(), credential.expose_password()));
        Next::Send(Self {
            path,
            form: Some(filled),
            is_look: !sso.success.reads_page(),
        })
    }

    /// To look at the page to which the form at `path` has led, if nobody has said by what to tell that the user is in, and it is one of the
    /// app's own: of another host, nothing would follow from a page here.
    pub(crate) fn landing(
        sso: &FormSso,
        path: &str,
        answer: &Answer,
        is_own: impl FnOnce(&str) -> bool,
    ) -> Option<Self> {
        let location = location(answer).filter(|_| sso.success.is_unsaid())?;
        let uri: Option<Uri> = location.parse().ok().filter(|_| is_web_address(location));
        let authority = uri.as_ref().and_then(Uri::authority);
        if location.starts_with("//") || authority.is_some_and(|it| !is_own(it.as_str())) {
            return None;
        }
        let path = resolved(path, location)?;
        Some(Self {
            path,
            form: None,
            is_look: true,
        })
    }
}

/// Whether the user is in.
pub(crate) fn judge(sso: &FormSso, path: &str, answer: &Answer) -> Judged {
    let (success, status) = (&sso.success, answer.status);
    if success.reads_page() && is_encoded(&answer.fields) {
        let why = "the app answers the form with an encoded page, which it was not asked for";
        return Judged::Failed(why.to_owned());
    }
    let has = |text: &Option<String>| {
        let text = text.as_ref();
        text.map(|text| answer.text().contains(text.as_str()))
    };
    let is_told = has(&success.failure_text);
    let is_unsure = match (has(&success.text), is_told) {
        (_, Some(true)) | (Some(true), _) | (None, None) => false,
        (Some(false), _) | (None, Some(false)) => answer.is_cut,
    };
    if is_unsure {
        let why = format!(
            "the page with which the app answers the form has no text that says what it is{OF_ITS_BEGINNING}"
        );
        return Judged::Failed(why);
    }
    let leads = location(answer).and_then(|location| resolved(path, location));
    let leads = leads.filter(|_| status.is_redirection());
    let is_in = if success.is_unsaid() {
        let leads_away = leads
            .as_ref()
            .is_some_and(|to| path_of(to) != path_of(&sso.page));
        leads_away || (is_told == Some(false) && status.is_success())
    } else {
        fits(success, answer, leads.as_deref()) && has(&success.text) != Some(false)
    };
    if is_in && is_told != Some(true) {
        return Judged::In;
    }
    let shows_form_again =
        status.is_success() || status == StatusCode::UNAUTHORIZED || leads.is_some();
    if shows_form_again || (is_told == Some(true) && !status.is_server_error()) {
        return Judged::Refused;
    }
    Judged::Failed(format!("the app answers the form with {status}"))
}

/// Whether the head of an answer is as it must be.
fn fits(success: &Success, answer: &Answer, leads: Option<&str>) -> bool {
    let statuses = &success.statuses;
    let has_status = statuses.is_empty() || statuses.contains(&answer.status.as_u16());
    let redirect = success.redirect.as_deref();
    let has_redirect = redirect.is_none_or(|wanted| leads.is_some_and(|to| to.starts_with(wanted)));
    let cookie = success.cookie.as_deref();
    has_status && has_redirect && cookie.is_none_or(|wanted| sets(answer, wanted))
}

fn is_encoded(fields: &HeaderMap) -> bool {
    let mut codings = fields.get_all(header::CONTENT_ENCODING).iter();
    codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

impl Answer {
    /// The page, in the charset that its head says; without one, UTF-8. Letters that it does not have become others.
    fn text(&self) -> Cow<'_, str> {
        let kind = self.fields.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let said = kind.split(';').skip(1).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            let is_charset = name.trim().eq_ignore_ascii_case("charset");
            is_charset.then(|| value.trim().trim_matches('"'))
        });
        let charset = said.and_then(|label| Encoding::for_label(label.as_bytes()));
        charset.unwrap_or(UTF_8).decode(&self.body).0
    }
}

fn sets(answer: &Answer, cookie: &str) -> bool {
    let mut set = answer.fields.get_all(header::SET_COOKIE).iter();
    set.any(|value| {
        let name = value.as_bytes().split(|byte| *byte == b'=').next();
        name.is_some_and(|name| name.trim_ascii() == cookie.as_bytes())
    })
}

fn location(answer: &Answer) -> Option<&str> {
    answer.fields.get(header::LOCATION)?.to_str().ok()
}

/// Whether an answer to a request for `path` leads to the page with the form, or to where the app says that users are out.
pub(crate) fn leads_to(sso: &FormSso, path: &str, status: StatusCode, fields: &HeaderMap) -> bool {
    if sso.expired.statuses.contains(&status.as_u16()) {
        return true;
    }
    if !status.is_redirection() {
        return false;
    }
    let location = fields
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok());
    let Some(to) = location.and_then(|location| resolved(path, location)) else {
        return false;
    };
    let is_page = path_of(&to) == path_of(&sso.page) && path_of(path) != path_of(&sso.page);
    let is_said = sso.expired.redirect.as_ref();
    is_page || is_said.is_some_and(|wanted| to.starts_with(wanted.as_str()))
}

fn path_of(path_and_query: &str) -> &str {
    path_and_query.split('?').next().unwrap_or_default()
}

/// Path and query of a reference, as it stands at `base`. Of another host only the path counts: the form is sent to the app's own origins,
/// whatever a page says.
fn resolved(base: &str, reference: &str) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or_default().trim();
    let whole = if reference.is_empty() {
        base.to_owned()
    } else if reference.starts_with("//") || is_web_address(reference) {
        let absolute = match reference.strip_prefix("//") {
            Some(rest) => format!("http://{rest}"),
            None => reference.to_owned(),
        };
        let uri: Uri = absolute.parse().ok()?;
        uri.path_and_query()
            .map_or_else(|| "/".to_owned(), ToString::to_string)
    } else if has_scheme(reference) {
        // A script, a mail: nothing that a form is sent to.
        return None;
    } else if reference.starts_with('/') {
        reference.to_owned()
    } else if reference.starts_with('?') {
        format!("{}{reference}", path_of(base))
    } else {
        let folder = path_of(base).rfind('/').map_or("/", |end| &base[..=end]);
        format!("{folder}{reference}")
    };
    let uri: Uri = whole.parse().ok()?;
    whole
        .starts_with('/')
        .then(|| without_dots(uri.path(), uri.query()))
}

/// Where a form leads that is on the page at `page` (WHATWG HTML, section 4.10.22.3): to that page itself, if it does not say.
fn action_of(page: &str, form: &Form) -> Option<String> {
    let base = resolved(page, &form.base)?;
    let base = if form.action.is_empty() { page } else { &base };
    resolved(base, &form.action)
}

fn is_web_address(reference: &str) -> bool {
    let scheme = reference.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|it| it.eq_ignore_ascii_case("http") || it.eq_ignore_ascii_case("https"))
}

/// RFC 3986, section 4.2: what has a colon before any of the others is no path.
fn has_scheme(reference: &str) -> bool {
    let end = reference.find([':', '/', '?']);
    end.is_some_and(|end| reference[end..].starts_with(':'))
}

/// RFC 3986, section 5.2.4.
fn without_dots(path: &str, query: Option<&str>) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let is_folder = path.ends_with("/.") || path.ends_with("/..");
    let end = if is_folder { "/" } else { "" };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("/{}{end}{query}", parts.join("/"))
}

#[cfg(test)]
mod tests;
