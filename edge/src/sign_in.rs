//! Users sign in at the fabric, once for all apps.
//!
//! Whoever comes to an app without a session is led to the sign-in host, with an *errand*: where they came from and what for. There they
//! show who they are, unless their session there goes on, and come back to the app's host with a *pass*, which is good for a minute
//! and for the browser that it was made for. The app's host makes a cookie of it, which no other host opens. All of it is sealed
//! by keys that edges share, so any edge decides by itself and none keeps anything.

pub(crate) mod accounts;
mod form;
pub(crate) mod host;
pub(crate) mod leash;
mod pages;
pub(crate) mod reports;
pub(crate) mod revocations;
pub(crate) mod session;

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use model::{host::Hostname, user::User};
use proto::edge;
use runtime::Clock;
use serde::Serialize;

pub use accounts::{Accounts, AccountsError, Answer, Question};
pub use reports::Reports;
pub use revocations::RevocationError;

use crate::{
    answer::{self, Form},
    authority::Authority,
    cookies,
    failure::RequestError,
    view::View,
};
use session::{Browser, Errand, Pass, Session, milliseconds};

/// Where the sign-in host sends users back to, at an app's host.
pub(crate) const CALLBACK: &str = "/.adit/callback";
/// Tells scripts of an app who uses it.
const IDENTITY: &str = "/.adit/identity";
/// Where apps send users who want to leave.
const SIGN_OUT: &str = "/.adit/sign-out";

/// Longest path and query that a user is brought back to: sealed, and with all else around it, it has to pass as a query.
const TARGET_BYTES_MAX: usize = 4 * 1024;

/// Who came, and where to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub view: &'a View,
    pub authority: &'a Authority,
    pub clock: &'a Clock,
}

impl<'a> Arrival<'a> {
    /// Somebody comes to `authority`.
    pub(crate) const fn at(view: &'a View, authority: &'a Authority, clock: &'a Clock) -> Self {
        Self {
            view,
            authority,
            clock,
        }
    }

    /// The session that a request shows, if it goes on.
    pub(crate) fn session(&self, fields: &HeaderMap) -> Option<Session> {
        let now = self.clock.wall();
        Session::at_app(self.view, &self.authority.host, fields, now)
    }

    /// The answer, if the request is for a page of this module at an app's host.
    pub(crate) fn answer<B>(
        &self,
        request: &Request<B>,
    ) -> Option<Result<Response<Bytes>, RequestError>> {
        let path = request.uri().path();
        let answer = match path {
            CALLBACK => self.complete(request.headers(), request.uri().query()),
            IDENTITY => self.identity(request.headers()),
            SIGN_OUT => self.sign_out(),
            _ => return None,
        };
        Some(match *request.method() {
            Method::GET => answer,
            Method::HEAD => answer.map(|answer| answer.map(|_| Bytes::new())),
            _ => Err(RequestError::NoPage),
        })
    }

    /// Leads a user who navigates to the sign-in host; everybody else gets told where it is.
    pub(crate) fn challenge<B>(
        &self,
        request: &Request<B>,
    ) -> Result<Response<Bytes>, RequestError> {
        if !navigates(request) {
            return Err(self.not_signed_in()?);
        }
        let host = self.sign_in_authority()?;
        let (browser, is_new) = Browser::of_or_new(request.headers());
        let target = request.uri().path_and_query();
        let target = target.map_or("/", |target| target.as_str());
        let errand = Errand(edge::Errand {
            authority: self.authority.text.clone(),
            target: if target.len() <= TARGET_BYTES_MAX {
                target.to_owned()
            } else {
                "/".to_owned()
            },
            browser_sha256: browser.sha256().into(),
            issued_ms: milliseconds(self.clock.wall()),
        });
        let errand = errand.seal(self.view).ok_or(RequestError::NoView)?;
        let mut response = redirect(&format!("https://{host}/sign-in?to={errand}"))?;
        // A form that was posted cannot follow, so nothing but GET comes here.
        *response.status_mut() = StatusCode::FOUND;
        if is_new {
            let cookie = cookies::set(cookies::BROWSER, &browser.secret());
            set_cookie(&mut response, cookie)?;
        }
        Ok(response)
    }

    fn not_signed_in(&self) -> Result<RequestError, RequestError> {
        let host = self.sign_in_authority()?;
        Ok(RequestError::NotSignedIn {
            sign_in: format!("https://{host}/sign-in"),
        })
    }

    /// Makes a session at this host of the pass that the sign-in host gave.
    fn complete(
        &self,
        fields: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Response<Bytes>, RequestError> {
        let sealed = parameter(query, "pass");
        let host = &self.authority.host;
        let pass = Pass::open(self.view, host, fields, &sealed, self.clock.wall());
        let pass = pass.ok_or(RequestError::SignIn("the pass does not hold"))?;
        let Pass { session, target } = pass;
        // Whole, so that a target such as "//other.example" leads nowhere else.
        let mut response = redirect(&format!("https://{}{target}", self.authority.text))?;
        // Of tabs that came at once each got a secret, and the last one stayed: the others begin anew with that, and go through. A pass
        // of somebody else's gives nothing.
        if let Some(session) = session {
            let sealed = session.seal_at_app(self.view, host);
            let sealed = sealed.ok_or(RequestError::NoView)?;
            set_cookie(&mut response, cookies::set(cookies::APP, &sealed))?;
            let user = session.user;
            response
                .extensions_mut()
                .insert(reports::Opened { user, target });
        }
        Ok(response)
    }

    fn identity(&self, fields: &HeaderMap) -> Result<Response<Bytes>, RequestError> {
        let Some(session) = self.session(fields) else {
            return Err(self.not_signed_in()?);
        };
        let User {
            id,
            display_name,
            email,
            groups,
            claims: _,
            authentication: _,
        } = &*session.user;
        let shown = Shown {
            user: id.as_str(),
            display_name,
            email,
            user_groups: groups.iter().map(|group| group.as_str()).collect(),
            session_ends_ms: session.ends_ms(),
        };
        let body = serde_json::to_vec(&shown).map_err(|_| RequestError::Bug("json"))?;
        let kind = "application/json";
        Ok(answer::document(kind, body, StatusCode::OK))
    }

    /// The sign-in host asks before it does anything.
    fn sign_out(&self) -> Result<Response<Bytes>, RequestError> {
        redirect(&format!("https://{}/sign-out", self.sign_in_authority()?))
    }

    /// The sign-in host as in a URL, on the port by which the user came.
    fn sign_in_authority(&self) -> Result<String, RequestError> {
        let host: &Hostname = self.view.sign_in_host().ok_or(RequestError::NoView)?;
        let port = self.authority.text.split_once(':').map(|(_, port)| port);
        Ok(match port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        })
    }
}

/// That a user who has signed in may not use the app, with what helps them.
pub(crate) fn not_assigned(user: &User) -> RequestError {
    let name = user.name();
    RequestError::NotAssigned {
        user: user.id.clone(),
        words: format!(
            "You are signed in as {name} ({}). If you need this app, ask its owner to assign you to it.",
            user.id
        ),
    }
}

/// What scripts are told of the user.
#[derive(Serialize)]
struct Shown<'a> {
    user: &'a str,
    display_name: &'a str,
    email: &'a str,
    user_groups: Vec<&'a str>,
    /// Milliseconds since 1970.
    session_ends_ms: i64,
}

/// Whether a person goes to a page, who can be led elsewhere: not a script, not a program, not an upgrade, and nothing with a body.
fn navigates<B>(request: &Request<B>) -> bool {
    let fields = request.headers();
    let says = |name: &str, word: &str| {
        let value = fields.get(name);
        value.is_none_or(|value| value.as_bytes().eq_ignore_ascii_case(word.as_bytes()))
    };
    *request.method() == Method::GET
        && Form::of(request.method(), fields) == Form::Page
        // Fetch Metadata; browsers that say nothing of it are old, and navigate when they ask for pages.
        && says("sec-fetch-mode", "navigate")
        && !fields.contains_key("x-requested-with")
        && !fields.contains_key(header::UPGRADE)
}

/// The first parameter of that name. Values of ours have no escapes.
fn parameter<'q>(query: Option<&'q str>, name: &str) -> Cow<'q, str> {
    let query = query.unwrap_or_default().as_bytes();
    let mut pairs = form_urlencoded::parse(query);
    pairs
        .find_map(|(known, value)| (known == name).then_some(value))
        .unwrap_or_default()
}

pub(crate) fn redirect(location: &str) -> Result<Response<Bytes>, RequestError> {
    let location = HeaderValue::try_from(location);
    let location = location.map_err(|_| RequestError::SignIn("the address to go on to"))?;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let fields = response.headers_mut();
    fields.insert(header::LOCATION, location);
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // What is on its way in an address is nobody else's business.
    let silent = HeaderValue::from_static("no-referrer");
    fields.insert(header::REFERRER_POLICY, silent);
    Ok(response)
}

fn set_cookie(
    response: &mut Response<Bytes>,
    cookie: Option<HeaderValue>,
) -> Result<(), RequestError> {
    let cookie = cookie.ok_or(RequestError::Bug("a sealed text that is no cookie"))?;
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(())
}
