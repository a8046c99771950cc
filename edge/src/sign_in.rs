//! Users sign in at the fabric, once for all apps.
//!
//! Whoever comes to an app without a session is led to the sign-in host, with an *errand*: where they came from and what for. There they
//! show who they are, unless their session there goes on, and come back to the app's host with a *pass*, which is good for a minute
//! and for the browser that it was made for. The app's host makes a cookie of it, which no other host opens. All of it is sealed
//! by keys that edges share, so any edge decides by itself and none keeps anything.

pub(crate) mod accounts;
mod app_pages;
pub(crate) mod bearer;
mod came_by;
pub(crate) mod circumstances;
mod cookie;
pub(crate) mod credential;
mod credential_pages;
pub(crate) mod device;
mod device_pages;
mod form;
pub(crate) mod halfway;
mod hint;
pub(crate) mod host;
pub(crate) mod id_token;
pub(crate) mod kept;
pub(crate) mod leash;
mod pages;
mod passkey_pages;
mod provider_pages;
pub(crate) mod recall;
pub(crate) mod refresh;
pub(crate) mod reports;
pub(crate) mod revocations;
mod second_factor_pages;
pub(crate) mod services;
pub(crate) mod session;
mod step_up;
pub(crate) mod strangers;
pub(crate) mod terminal;
mod terms_pages;
pub(crate) mod token;

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use model::{
    access::needs::Needs,
    app::{App, SameSite},
    host::Hostname,
    service::Service,
    user::User,
};
use proto::edge;
use runtime::Clock;
use serde::Serialize;

pub use accounts::{
    Accounts, AccountsError, Answer, CredentialQuestion, Question, SecondFactorQuestion,
    TermsQuestion,
};
pub use reports::Reports;
pub use revocations::RevocationError;

use crate::{
    answer::{self, Form},
    authority::Authority,
    client_certificates::ClientCertificate,
    cookies,
    countries::Countries,
    failure::RequestError,
    user_body::UserBody,
    view::View,
};
use credential::{Credential, Guesses};
use recall::Recall;
use session::{Browser, Errand, Pass, Session, SessionId, milliseconds};

/// Where the sign-in host sends users back to, at an app's host.
pub(crate) const CALLBACK: &str = "/.adit/callback";
/// Tells scripts of an app who uses it.
const IDENTITY: &str = "/.adit/identity";
/// Tells scripts of an app how long the session goes on, and windows that they open bring a newer one.
const RENEW: &str = "/.adit/renew";
/// The query with which such a window comes back.
const RENEWED: &str = "done";
/// Where apps send users who want to leave.
const SIGN_OUT: &str = "/.adit/sign-out";

/// Longest path and query that a user is brought back to: sealed, and with all else around it, it has to pass as a query.
const TARGET_BYTES_MAX: usize = 4 * 1024;

/// How seldom it is written down again when a user was last seen at an app, in milliseconds.
const SEEN_STEP_MS: i64 = 60_000;

/// Who came, and where to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub view: &'a View,
    pub authority: &'a Authority,
    pub clock: &'a Clock,
    /// Where from.
    pub address: IpAddr,
    pub guesses: &'a Guesses,
    pub countries: &'a Countries,
    /// Of the user's connection.
    pub recall: &'a Recall,
    /// The certificate that the user's connection has shown.
    pub certificate: Option<&'a Arc<ClientCertificate>>,
}

impl Arrival<'_> {
    /// The session that a request shows, if it goes on.
    pub(crate) fn session(&self, fields: &HeaderMap) -> Option<Arc<Session>> {
        let now = self.clock.wall();
        Session::at_app(self, fields, now)
    }

    /// The certificate of the user's connection, if it was asked for at this host and is of a CA that the app names.
    pub(crate) fn certificate_for(&self, app: &App) -> Option<&ClientCertificate> {
        let shown = self.certificate?;
        let named = self.view.client_cas(app);
        let counts =
            shown.is_for(&self.authority.host) && shown.ca(named, self.clock.wall()).is_some();
        counts.then_some(&**shown)
    }

    /// The session's cookie as of now, if it is of a while ago and a rule goes by when the user was last seen.
    pub(crate) fn renewed(
        &self,
        session: &Session,
        idle_limit: Option<Duration>,
    ) -> Option<HeaderValue> {
        idle_limit?;
        let now = self.clock.wall();
        let since = milliseconds(now).saturating_sub(session.seen_ms);
        if since < SEEN_STEP_MS {
            return None;
        }
        let session = Session {
            seen_ms: milliseconds(now),
            ..session.clone()
        };
        let sealed = session.seal_at_app(self.view, &self.authority.host)?;
        cookie::of(&session, &sealed, now)
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
            RENEW => self.renew(request),
            kept::REPEAT => Ok(app_pages::repeat()),
            _ => return None,
        };
        Some(match *request.method() {
            Method::GET => answer,
            Method::HEAD => answer.map(|answer| answer.map(|_| Bytes::new())),
            _ => Err(RequestError::NoPage),
        })
    }

    /// Leads a user who navigates to the sign-in host; everybody else gets told where it is.
    pub(crate) async fn challenge(
        &self,
        app: &App,
        request: Request<UserBody>,
    ) -> Result<Response<Bytes>, RequestError> {
        if navigates(&request) {
            let needs = Needs::default();
            self.lead_away(
                request.headers(),
                target_of(&request),
                &needs,
                Some(app),
                None,
            )
        } else {
            kept::keep(self, app, request).await
        }
    }

    /// The same where nothing can be posted.
    pub(crate) fn ask<B>(&self, request: &Request<B>) -> Result<Response<Bytes>, RequestError> {
        if navigates(request) {
            self.lead_away(
                request.headers(),
                target_of(request),
                &Needs::default(),
                None,
                None,
            )
        } else {
            Err(self.not_signed_in("")?)
        }
    }

    /// Leads a browser to the sign-in host, to show what is needed, and from there to a path and query of this host, where it came by `app`. Of a session whose
    /// ID token was `refused`, another is wanted.
    fn lead_away(
        &self,
        fields: &HeaderMap,
        target: &str,
        needs: &Needs,
        app: Option<&App>,
        refused: Option<&SessionId>,
    ) -> Result<Response<Bytes>, RequestError> {
        if is_framed(fields) {
            let url = format!("https://{}{target}", self.authority.text);
            return Ok(app_pages::embedded(&url));
        }
        let (browser, is_new) = Browser::of_or_new(fields);
        let to = self.sign_in_url(&browser, target, needs, (app, refused))?;
        let mut response = redirect(&to)?;
        // A form that was posted cannot follow, so nothing but GET comes here.
        *response.status_mut() = StatusCode::FOUND;
        if is_new {
            let cookie = cookies::set(cookies::BROWSER, &browser.secret());
            set_cookie(&mut response, cookie)?;
        }
        Ok(response)
    }

    /// Where a browser shows what is needed, to come back to a path and query of this host.
    fn sign_in_url(
        &self,
        browser: &Browser,
        target: &str,
        needs: &Needs,
        (app, refused): (Option<&App>, Option<&SessionId>),
    ) -> Result<String, RequestError> {
        let host = self.sign_in_authority()?;
        let errand = Errand(edge::Errand {
            authority: self.authority.text.clone(),
            target: if target.len() <= TARGET_BYTES_MAX {
                target.to_owned()
            } else {
                "/".to_owned()
            },
            browser_sha256: browser.sha256().into(),
            issued_ms: milliseconds(self.clock.wall()),
            sign_in_within_ms: step_up::span_ms(needs.sign_in_within),
            mfa: needs.mfa,
            classes: needs.classes.clone(),
            terms: needs.terms.iter().map(ToString::to_string).collect(),
            app: app.map(|app| app.id.to_string()).unwrap_or_default(),
            refused_session: refused
                .map(|id| Bytes::copy_from_slice(id))
                .unwrap_or_default(),
        });
        let errand = errand.seal(self.view).ok_or(RequestError::NoView)?;
        Ok(format!("https://{host}/sign-in?to={errand}"))
    }

    fn not_signed_in(&self, words: &'static str) -> Result<RequestError, RequestError> {
        let host = self.sign_in_authority()?;
        Ok(RequestError::NotSignedIn {
            sign_in: format!("https://{host}/sign-in"),
            words,
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
        let Pass {
            session,
            target,
            app,
            id_token,
        } = pass;
        // Whole, so that a target such as "//other.example" leads nowhere else.
        let url = format!("https://{}{target}", self.authority.text);
        let cookie = came_by::cookie_settings(self.view, host);
        let mut response = match cookie.same_site {
            SameSite::Strict => app_pages::enter(&url),
            SameSite::Lax | SameSite::None => redirect(&url)?,
        };
        // Of tabs that came at once each got a secret, and the last one stayed: the others begin anew with that, and go through. A pass
        // of somebody else's gives nothing.
        if let Some(session) = session {
            let seen_ms = self.seen_ms(fields, &session);
            let session = Session {
                seen_ms,
                cookie,
                ..session
            };
            let sealed = session.seal_at_app(self.view, host);
            let sealed = sealed.ok_or(RequestError::NoView)?;
            let cookie = cookie::of(&session, &sealed, self.clock.wall());
            set_cookie(&mut response, cookie)?;
            self.give_id_token(&mut response, &session, &id_token)?;
            let user = session.user;
            let opened = reports::Opened { user, target, app };
            response.extensions_mut().insert(opened);
        }
        Ok(response)
    }

    /// When a user was last seen here, who comes with a session from the sign-in host. Coming by itself is nothing that they do: it may
    /// be a page that fetches, or asks for another session, while they are away.
    fn seen_ms(&self, fields: &HeaderMap, session: &Session) -> i64 {
        let former = self.session(fields);
        let same = former.filter(|former| former.id == session.id);
        same.map_or(session.life_began_ms, |same| same.seen_ms)
    }

    fn identity(&self, fields: &HeaderMap) -> Result<Response<Bytes>, RequestError> {
        let session = match self.credential(fields)? {
            // Without an app it is not known whose certificates count.
            None | Some(Credential::Program(_)) => return Err(self.not_signed_in("")?),
            Some(Credential::Service(service)) => return shown_service(&service),
            Some(Credential::Session(session) | Credential::Bearer(session)) => session,
            Some(Credential::ByProvider(token)) => Arc::clone(&token.session),
        };
        let User {
            id,
            display_name,
            email,
            groups,
            claims: _,
            accepted: _,
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

    /// Scripts are told when the session ends. A window goes to the sign-in host, whose session may be newer, and is closed when it comes back:
    /// so the page that opened it keeps all that it has.
    fn renew<B>(&self, request: &Request<B>) -> Result<Response<Bytes>, RequestError> {
        let session = self.session(request.headers());
        if navigates(request) {
            let is_back = request.uri().query() == Some(RENEWED);
            if is_back && session.is_some() {
                return Ok(app_pages::renewed());
            }
            let back = format!("{RENEW}?{RENEWED}");
            // Of a window nobody knows which app has opened it.
            return self.lead_away(request.headers(), &back, &Needs::default(), None, None);
        }
        let Some(session) = session else {
            return Err(self.not_signed_in("")?);
        };
        let body = format!("{{\"session_ends_ms\":{}}}", session.ends_ms());
        Ok(answer::document("application/json", body, StatusCode::OK))
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

/// Path and query.
fn target_of<B>(request: &Request<B>) -> &str {
    let target = request.uri().path_and_query();
    target.map_or("/", |target| target.as_str())
}

/// That a user who has signed in may not use the app, with what helps them.
fn not_assigned(user: &User) -> RequestError {
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

/// What a program is told of itself.
fn shown_service(service: &Service) -> Result<Response<Bytes>, RequestError> {
    let shown = serde_json::json!({
        "service": service.id.as_str(),
        "display_name": service.display_name,
    });
    let body = serde_json::to_vec(&shown).map_err(|_| RequestError::Bug("json"))?;
    Ok(answer::document("application/json", body, StatusCode::OK))
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

/// Whether a page of another page asks, in which nobody can sign in (Fetch Metadata, "destination").
fn is_framed(fields: &HeaderMap) -> bool {
    const FRAMES: [&[u8]; 5] = [b"iframe", b"frame", b"embed", b"object", b"fencedframe"];
    let destination = fields.get("sec-fetch-dest");
    destination.is_some_and(|destination| FRAMES.contains(&destination.as_bytes()))
}

/// The first parameter of that name. Values of ours have no escapes.
pub(crate) fn parameter<'q>(query: Option<&'q str>, name: &str) -> Cow<'q, str> {
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
