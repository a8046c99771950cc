//! The Fetch standard's CORS protocol, answered by the edge where an app has rules for it.
//!
//! A preflight that a rule allows is answered here; one that no rule allows is refused here. Other requests go on, and
//! their answers say what the rule says, in place of what the origin says. Without a rule nothing is touched.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use model::{
    app::CorsRule,
    cors::{self, SIMPLE_METHODS, Verdict},
    route::Route,
};

use crate::{download::Body, fields};

/// Field names that a preflight may ask for: more than any browser sends, and few enough to compare with every rule.
const ASKED_FIELDS_MAX: usize = 256;

/// Fields of answers that belong to the protocol.
const ANSWER_FIELDS: [HeaderName; 7] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    ALLOW_PRIVATE_NETWORK,
];

const ASK_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// How a request stands to pages of other sites.
#[derive(Debug)]
pub(crate) enum Crossing {
    /// No rule holds: the app itself decides.
    Unruled,
    /// It goes on, and its answer says this.
    Ruled(Grant),
    /// It was a question, and this is the answer.
    Answered(Response<Body>),
}

/// What an answer says about the page that asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Fields to set; none when the page is not allowed.
    fields: HeaderMap,
}

/// Why a preflight is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CrossingError {
    /// No rule allows pages of that site.
    #[error("no rule allows pages of that site")]
    Page,
    /// The rule does not allow the method.
    #[error("the rule does not allow the method")]
    Method,
    /// The rule does not allow one of the fields.
    #[error("the rule does not allow one of the fields")]
    Field,
}

/// Judges a request by the rules of the place that it is for.
pub(crate) fn judge<B>(route: &Route, request: &Request<B>) -> Result<Crossing, CrossingError> {
    let asked = request.headers();
    let page = only(asked, &header::ORIGIN);
    let rule = match cors::judge(route.cors(), request.uri().path(), page.unwrap_or_default()) {
        Verdict::Unruled => return Ok(Crossing::Unruled),
        Verdict::Allowed(rule) => page.map(|page| (rule, page)),
        Verdict::Refused => None,
    };
    if is_preflight(request) {
        let (rule, page) = rule.ok_or(CrossingError::Page)?;
        return preflight(rule, page, asked).map(Crossing::Answered);
    }
    let fields = rule.map_or_else(HeaderMap::new, |(rule, page)| grant(rule, page));
    Ok(Crossing::Ruled(Grant { fields }))
}

impl Grant {
    /// Replaces what the origin says.
    pub(crate) fn apply(&self, fields: &mut HeaderMap) {
        for name in ANSWER_FIELDS {
            fields.remove(name);
        }
        for (name, value) in &self.fields {
            fields.insert(name, value.clone());
        }
        // Also on answers to requests of the same site: a cache must not give them to pages of others.
        fields::add_vary(fields, "Origin");
    }
}

/// Fetch, "CORS-preflight request".
fn is_preflight<B>(request: &Request<B>) -> bool {
    let fields = request.headers();
    *request.method() == Method::OPTIONS
        && fields.contains_key(header::ORIGIN)
        && fields.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight(
    rule: &CorsRule,
    page: &str,
    asked: &HeaderMap,
) -> Result<Response<Body>, CrossingError> {
    let method = only(asked, &header::ACCESS_CONTROL_REQUEST_METHOD);
    let method = method.filter(|method| rule.allows_method(method));
    let method = method.ok_or(CrossingError::Method)?;
    let names = asked_fields(rule, asked)?;
    let mut response = Response::new(Body::Whole(None));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let fields = response.headers_mut();
    allow_page(fields, rule, page);
    set(
        fields,
        header::ACCESS_CONTROL_ALLOW_METHODS,
        &methods(rule, method),
    );
    if !names.is_empty() {
        set(
            fields,
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            &names.join(", "),
        );
    }
    fields.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from(rule.max_age.as_secs()),
    );
    if only(asked, &ASK_PRIVATE_NETWORK) == Some("true") {
        fields.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    fields.insert(
        header::VARY,
        HeaderValue::from_static(
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        ),
    );
    Ok(response)
}

/// The names that the preflight asks for, if all of them are allowed. They are named in the answer one by one: to a
/// request with cookies a star would mean nothing.
fn asked_fields(rule: &CorsRule, asked: &HeaderMap) -> Result<Vec<String>, CrossingError> {
    let mut names = Vec::new();
    for value in asked.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        let value = value.to_str().map_err(|_| CrossingError::Field)?;
        for name in value.split(',').map(str::trim) {
            if name.is_empty() {
                continue;
            }
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| CrossingError::Field)?;
            if names.len() == ASKED_FIELDS_MAX || !rule.allows_field(name.as_str()) {
                return Err(CrossingError::Field);
            }
            names.push(name.as_str().to_owned());
        }
    }
    Ok(names)
}

/// All that are allowed, so that a browser need not ask again for another one.
fn methods(rule: &CorsRule, asked: &str) -> String {
    let mut methods: Vec<&str> = SIMPLE_METHODS.to_vec();
    let listed = rule.methods.iter().map(String::as_str);
    methods.extend(listed.filter(|method| *method != "*"));
    if !methods.contains(&asked) {
        methods.push(asked);
    }
    methods.join(", ")
}

fn grant(rule: &CorsRule, page: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    allow_page(&mut fields, rule, page);
    if !rule.exposed_fields.is_empty() {
        set(
            &mut fields,
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            &rule.exposed_fields.join(", "),
        );
    }
    fields
}

fn allow_page(fields: &mut HeaderMap, rule: &CorsRule, page: &str) {
    let allowed = if rule.allows_every_page() { "*" } else { page };
    set(fields, header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    if rule.allows_credentials() {
        fields.insert(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
    }
}

fn set(fields: &mut HeaderMap, name: HeaderName, text: &str) {
    // Texts are from rules that control checked, or were values before.
    if let Ok(value) = HeaderValue::from_str(text) {
        fields.insert(name, value);
    }
}

/// The value of a field that is there exactly once.
fn only<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = fields.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests;
