//! The host where users sign in, once for all apps of the fabric.

mod account;
pub(crate) mod credentials;
mod passkeys;
mod second_factor;
mod terms;
mod told;

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use hyper::Request;
use model::{host::Hostname, identity_provider::LOCAL, name::IdentityProviderId};
use proto::fabric::{
    ChangePasswordRequest, CheckPasswordRequest, EndSessionRequest, SignInEvent, SignInKind,
};

use super::{
    accounts::AccountsError,
    device,
    form::Form,
    halfway::Granted,
    pages::{self, Hidden},
    provider_pages::{self, ANYWHERE, Pace},
    redirect, reports,
    session::{Browser, Errand, FormToken, Pass, Session},
    set_cookie,
    step_up::{self, Wanted},
};
use crate::{
    answer, authority::Authority, cookies, download::Body, failure::RequestError, id::RequestId,
    metrics::sign_ins, own, request::Visit, serving::Shared, user_body::UserBody, view::View,
};

mod provider_sign_out;
mod said;
pub(super) mod with_provider;

use said::{Said, UNFIT, outcome};

/// Passwords are typed here, and never without TLS: a year. Browsers heed it once they trust the certificate.
const HSTS: &str = "max-age=31536000";
/// Where origins find the keys of what they are told of users (RFC 7517).
const KEYS: &str = "/.well-known/jwks.json";
/// A key is published a day before it signs.
const KEYS_CACHE: &str = "public, max-age=3600";
/// Longest part behind `#` that is kept.
const FRAGMENT_BYTES_MAX: usize = 2_048;

const MUST_CHANGE: &str =
    "Your administrator has set this password. Please choose one that only you know. ";
const UNEQUAL: &str = "The new passwords are not the same.";
const OTHER_WAY: &str = "You are signed in, but this app asks you to sign in in another way.";
const AWAY: &str = "Signing in is not possible right now. Please try again in a moment.";
const TOO_MANY_GROUPS: &str =
    "You are in more groups than can be kept. Please tell your administrator.";
const HURRIED: &str = "Too many attempts from your network. Please try again in a moment.";
const STALE: &str = "This page was open for too long, or cookies are refused. Please try again.";

/// One request to this host.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) edge: &'a Shared,
    pub(super) view: &'a View,
    pub(super) authority: &'a Authority,
    pub(super) id: RequestId,
    pub(super) now: SystemTime,
    pub(super) address: IpAddr,
    /// The same in words.
    pub(super) client: String,
    pub(super) head: Parts,
}

/// Answers a request to the sign-in host.
pub(crate) async fn answer(
    visit: &Visit,
    view: &Arc<View>,
    authority: &Authority,
    id: RequestId,
    request: Request<UserBody>,
) -> Result<Response<Body>, RequestError> {
    let edge = &*visit.worker.edge;
    let (head, body) = request.into_parts();
    let call = Call {
        edge,
        view,
        authority,
        id,
        now: edge.epoch.clock().wall(),
        address: visit.user.address.ip(),
        client: visit.user.address.ip().to_canonical().to_string(),
        head,
    };
    let answer = match (&call.head.method, call.head.uri.path()) {
        (&Method::GET | &Method::HEAD, "/") => call.home().await,
        (&Method::GET | &Method::HEAD, "/robots.txt") => Ok(own::keep_out()),
        (&Method::GET | &Method::HEAD, KEYS) => call.keys(),
        (&Method::GET | &Method::HEAD, "/sign-in") => call.ask_to_sign_in().await,
        (&Method::GET | &Method::HEAD, "/change-password") => call.ask_to_change(),
        (&Method::GET | &Method::HEAD, "/sign-out") => call.ask_to_sign_out(),
        (&Method::GET | &Method::HEAD, path) if second_factor::has_page(path) => {
            call.second_factor_page(path).await
        }
        (&Method::POST, path) if second_factor::takes(path) => {
            let form = Form::read(&call.head.headers, body).await?;
            Box::pin(call.second_factor_form(path, &form)).await
        }
        (&Method::GET | &Method::HEAD, credentials::PAGE) => Box::pin(call.app_sign_in()).await,
        (&Method::POST, path @ (credentials::PAGE | credentials::REMOVE)) => {
            let form = Form::read(&call.head.headers, body).await?;
            Box::pin(call.app_sign_in_form(path, &form)).await
        }
        (&Method::GET, with_provider::CALLBACK) => call.come_back().await,
        (&Method::GET, provider_sign_out::DONE) => call.signed_out_there(),
        (&Method::GET, provider_sign_out::FRONT_CHANNEL) => call.front_channel().await,
        (&Method::POST, path) if is_form(path) => {
            let form = Form::read(&call.head.headers, body).await?;
            match path {
                "/sign-in" => call.sign_in(&form).await,
                "/change-password" => call.change(&form).await,
                "/sign-out" => call.sign_out(&form).await,
                terms::ANSWER => Box::pin(call.answer_terms(&form)).await,
                provider_sign_out::BACK_CHANNEL => call.back_channel(&form).await,
                _ => {
                    let id = path.strip_prefix(with_provider::BEGIN).unwrap_or_default();
                    call.sign_in_with(id, &form).await
                }
            }
        }
        (_, path) if device::is_ours(path) => Box::pin(device::answer(&call, body)).await,
        _ => Err(RequestError::NoPage),
    };
    let mut response = answer?.map(Body::whole);
    if call.head.method == Method::HEAD {
        *response.body_mut() = Body::Whole(None);
    }
    let fields = response.headers_mut();
    let hsts = HeaderValue::from_static(HSTS);
    fields.insert(header::STRICT_TRANSPORT_SECURITY, hsts);
    Ok(response)
}

/// Whether forms are sent there.
fn is_form(path: &str) -> bool {
    matches!(
        path,
        "/sign-in"
            | "/change-password"
            | "/sign-out"
            | terms::ANSWER
            | provider_sign_out::BACK_CHANNEL
    ) || path.starts_with(with_provider::BEGIN)
}

impl Call<'_> {
    pub(super) fn host(&self) -> &Hostname {
        &self.authority.host
    }

    pub(super) fn fields(&self) -> &HeaderMap {
        &self.head.headers
    }

    fn keys(&self) -> Result<Response<Bytes>, RequestError> {
        let keys = self.view.assertion_keys().published();
        if keys.is_empty() {
            return Err(RequestError::NoView);
        }
        let mut response = answer::document("application/json", keys.to_vec(), StatusCode::OK);
        let cache = HeaderValue::from_static(KEYS_CACHE);
        response.headers_mut().insert(header::CACHE_CONTROL, cache);
        Ok(response)
    }

    pub(super) fn session(&self) -> Option<Session> {
        Session::at_home(self.view, self.host(), self.fields(), self.now)
    }

    /// Who is signed in already goes on at once.
    async fn ask_to_sign_in(&self) -> Result<Response<Bytes>, RequestError> {
        let to = super::parameter(self.head.uri.query(), "to");
        let errand = self.errand(&to);
        match self.session() {
            Some(session) => match self.wanted(&session, errand.as_ref()) {
                Wanted::Nothing => self.go_on(&session, errand.as_ref(), ""),
                Wanted::FreshSignIn => {
                    let user = session.user.id.as_str();
                    self.sign_in_page(StatusCode::OK, &to, user, "", step_up::AGAIN)
                }
                Wanted::SecondFactor => Box::pin(self.step_up(&session, &to)).await,
                Wanted::More => Ok(pages::more(self.id, step_up::MORE)),
                Wanted::Terms(terms) => {
                    Box::pin(self.ask_for_terms(&session, (&terms, (&to, "")), "")).await
                }
            },
            None => self.sign_in_page(StatusCode::OK, &to, "", "", ""),
        }
    }

    fn wanted(&self, session: &Session, errand: Option<&Errand>) -> Wanted {
        match step_up::wanted(session, errand, self.view.rules().terms(), self.now) {
            Wanted::Nothing if self.lacks_id_token(session, errand) => Wanted::FreshSignIn,
            wanted => wanted,
        }
    }

    async fn sign_in(&self, form: &Form) -> Result<Response<Bytes>, RequestError> {
        let (to, user) = (form.get("to"), form.get("user"));
        let fragment = form.get("fragment");
        let refuse = |status, fault: &str| self.sign_in_page(status, to, user, fragment, fault);
        if !self.is_ours(form) {
            return refuse(StatusCode::BAD_REQUEST, STALE);
        }
        if !self.may_ask() {
            return refuse(StatusCode::TOO_MANY_REQUESTS, HURRIED);
        }
        let asked = self.question(user, form.get("password"));
        match self.edge.accounts.check(asked).await {
            Ok(said) => match outcome(said) {
                Said::Account(granted) => self.begin(granted, to, fragment).await,
                Said::MustChange => self.change_page(StatusCode::OK, form, (MUST_CHANGE, "")),
                Said::Half(half) => self.go_half(&half, form),
                Said::Refused(status, fault) => {
                    self.tell_refused(user, status);
                    refuse(status, &fault)
                }
            },
            Err(AccountsError::Away | AccountsError::Busy) => {
                refuse(StatusCode::SERVICE_UNAVAILABLE, AWAY)
            }
        }
    }

    fn ask_to_change(&self) -> Result<Response<Bytes>, RequestError> {
        let session = self.session();
        let user = session.as_ref().map_or("", |one| one.user.id.as_str());
        let form = Form::of([("user", user)]);
        self.change_page(StatusCode::OK, &form, ("", ""))
    }

    async fn change(&self, form: &Form) -> Result<Response<Bytes>, RequestError> {
        let refuse = |status, fault: &str| self.change_page(status, form, ("", fault));
        if !self.is_ours(form) {
            return refuse(StatusCode::BAD_REQUEST, STALE);
        }
        if form.get("new") != form.get("again") {
            return refuse(StatusCode::OK, UNEQUAL);
        }
        if !self.may_ask() {
            return refuse(StatusCode::TOO_MANY_REQUESTS, HURRIED);
        }
        let user = form.get("user");
        let asked = ChangePasswordRequest {
            now: Some(CheckPasswordRequest {
                before: self.shown_before(user),
                ..self.question(user, form.get("password"))
            }),
            new_password: form.get("new").to_owned(),
        };
        match self.edge.accounts.change(asked).await {
            Ok(said) => match outcome(said) {
                Said::Account(granted) => {
                    let (to, fragment) = (form.get("to"), form.get("fragment"));
                    self.begin(granted, to, fragment).await
                }
                Said::MustChange => refuse(StatusCode::OK, UNFIT),
                Said::Half(half) => self.go_half(&half, form),
                Said::Refused(status, fault) => {
                    self.tell_refused(form.get("user"), status);
                    refuse(status, &fault)
                }
            },
            Err(AccountsError::Away | AccountsError::Busy) => {
                refuse(StatusCode::SERVICE_UNAVAILABLE, AWAY)
            }
        }
    }

    fn ask_to_sign_out(&self) -> Result<Response<Bytes>, RequestError> {
        let Some(session) = self.session() else {
            return Ok(pages::nobody(self.id));
        };
        let (browser, is_new) = Browser::of_or_new(self.fields());
        let leads_on = match session.user.authentication.provider {
            Some(_) => ANYWHERE,
            None => "'self'",
        };
        let token = self.token(&browser)?;
        let page = pages::sign_out(self.id, &token, session.user.name(), leads_on);
        keep(page, is_new.then_some(&browser))
    }

    async fn sign_out(&self, form: &Form) -> Result<Response<Bytes>, RequestError> {
        if !self.is_ours(form) {
            return self.ask_to_sign_out();
        }
        let Some(session) = self.session() else {
            return Ok(pages::nobody(self.id));
        };
        // Whoever forgot the session before control has heard of it could never end it.
        if !self.end(&session, 0).await {
            return Ok(pages::not_signed_out(self.id));
        }
        tracing::info!(request.id = %self.id, user = %session.user.id, client = self.client, "signed out");
        self.tell(reports::of_user(SignInKind::SignedOut, &session.user));
        let mut page = match self.sign_out_there(&session).await {
            Some(there) => redirect(&there)?,
            None => pages::signed_out(self.id),
        };
        for gone in [cookies::SESSION, cookies::HINT] {
            if let Some(cookie) = cookies::forget(gone) {
                page.headers_mut().append(header::SET_COOKIE, cookie);
            }
        }
        Ok(page)
    }

    /// Ends a session at all apps; false if control could not be told. Another that began at `next_ms` takes its place; 0: none does.
    async fn end(&self, session: &Session, next_ms: i64) -> bool {
        let ended = EndSessionRequest {
            session: Bytes::copy_from_slice(&session.id),
            user: session.user.id.to_string(),
            before_ms: next_ms,
            ..EndSessionRequest::default()
        };
        self.edge.accounts.end(ended).await.is_ok()
    }

    /// A session begins in this browser, and the one that it had is over: signing out ends one only.
    async fn begin(
        &self,
        granted: Granted,
        to: &str,
        fragment: &str,
    ) -> Result<Response<Bytes>, RequestError> {
        self.start(granted.begin(), to, fragment).await
    }

    /// The same, of a session that is known to begin.
    async fn start(
        &self,
        session: Session,
        to: &str,
        fragment: &str,
    ) -> Result<Response<Bytes>, RequestError> {
        self.end_former(&session).await;
        self.enter(&session, to, fragment)
    }

    /// Ends the session that the browser had, which `next` takes the place of.
    async fn end_former(&self, next: &Session) {
        let Some(former) = self.session() else {
            return;
        };
        let is_same = former.user.id == next.user.id;
        let next_ms = if is_same { next.began_ms } else { 0 };
        if !self.end(&former, next_ms).await {
            tracing::warn!(request.id = %self.id, user = %former.user.id, "the browser's former session goes on at apps that it has used");
        }
    }

    /// Gives the browser its session, and goes on.
    fn enter(
        &self,
        session: &Session,
        to: &str,
        fragment: &str,
    ) -> Result<Response<Bytes>, RequestError> {
        if !self.may_begin(session) {
            return self.sign_in_page(StatusCode::SERVICE_UNAVAILABLE, to, "", fragment, AWAY);
        }
        if !session.fits() {
            let provider = provider_of(session);
            sign_ins(provider, "refused").increment(1);
            tracing::warn!(request.id = %self.id, user = %session.user.id, provider, "the user is in more groups than a session holds, and so cannot sign in");
            return self.sign_in_page(StatusCode::FORBIDDEN, to, "", fragment, TOO_MANY_GROUPS);
        }
        let mut response = self.go_on(session, self.errand(to).as_ref(), fragment)?;
        self.give(&mut response, session)?;
        self.tell_begun(session, to);
        Ok(response)
    }

    /// Whether a session that begins now goes on; that it does not is told here.
    fn may_begin(&self, session: &Session) -> bool {
        let goes_on = session.goes_on(self.view, self.now);
        if !goes_on {
            let provider = provider_of(session);
            sign_ins(provider, "unavailable").increment(1);
            tracing::warn!(request.id = %self.id, user = %session.user.id, provider, "the user was signed out while they signed in, or the clocks of this edge and of control, or of the provider, are more than a minute apart");
        }
        goes_on
    }

    /// Says that a session has begun.
    fn tell_begun(&self, session: &Session, to: &str) {
        let provider = provider_of(session);
        sign_ins(provider, "signed_in").increment(1);
        tracing::info!(request.id = %self.id, user = %session.user.id, provider, client = self.client, "signed in");
        self.tell(SignInEvent {
            app: reports::app_of(self.view, self.errand(to).as_ref()),
            ..reports::of_user(SignInKind::SignedIn, &session.user)
        });
    }

    /// Back to the app, with a pass; without an errand there is nowhere to go.
    fn go_on(
        &self,
        session: &Session,
        errand: Option<&Errand>,
        fragment: &str,
    ) -> Result<Response<Bytes>, RequestError> {
        let Some(errand) = errand else {
            return redirect("/");
        };
        let authority = &errand.0.authority;
        let host = authority.split(':').next().unwrap_or_default();
        let host: Hostname = host.parse().map_err(|_| RequestError::SignIn("host"))?;
        // To let a terminal in.
        if host == *self.host() {
            return redirect(device::PAGE);
        }
        if !self.suits(session, errand) {
            let to = errand.seal(self.view).ok_or(RequestError::NoView)?;
            return self.sign_in_page(StatusCode::OK, &to, "", fragment, OTHER_WAY);
        }
        // Errands live long, and a name that is published no more may belong to somebody else by now.
        if self.view.site(&host).is_none() && self.view.portal_host() != Some(&host) {
            return redirect("/");
        }
        let shown = (session, self.id_token_for(session, errand));
        let pass = Pass::seal(self.view, &host, shown, errand, self.now);
        let pass = pass.ok_or(RequestError::NoView)?;
        let fragment = fitting_fragment(fragment);
        redirect(&format!(
            "https://{authority}{}?pass={pass}{fragment}",
            super::CALLBACK
        ))
    }

    fn errand(&self, to: &str) -> Option<Errand> {
        Errand::open(self.view, to, self.now)
    }

    fn question(&self, user: &str, password: &str) -> CheckPasswordRequest {
        CheckPasswordRequest {
            user: user.to_owned(),
            password: password.to_owned(),
            client: self.client.clone(),
            request_id: self.id.to_string(),
            before: None,
        }
    }

    /// Whether a form was made here, for this browser, and is sent from here.
    pub(super) fn is_ours(&self, form: &Form) -> bool {
        let origin = self.fields().get(header::ORIGIN);
        let is_from_here = origin.is_none_or(|origin| {
            origin
                .as_bytes()
                .strip_prefix(b"https://")
                .is_some_and(|from| from.eq_ignore_ascii_case(self.authority.text.as_bytes()))
        });
        let token = form.get("token");
        is_from_here && FormToken::holds(self.view, self.host(), self.fields(), token, self.now)
    }

    fn sign_in_page(
        &self,
        status: StatusCode,
        to: &str,
        user: &str,
        fragment: &str,
        fault: &str,
    ) -> Result<Response<Bytes>, RequestError> {
        let choices = self.choices(self.errand(to).as_ref());
        let pace = match choices.only() {
            // Whom something went wrong for has to see it.
            Some(_) if fault.is_empty() => Pace::GoesOn,
            Some(_) | None => Pace::Waits,
        };
        if !choices.local {
            return self.page(to, fragment, |hidden| {
                provider_pages::choose(status, self.id, hidden, &choices, (fault, pace))
            });
        }
        self.passkey_page(to, fragment, |hidden, asked| {
            let buttons = provider_pages::buttons(hidden, &choices);
            pages::sign_in(status, self.id, (hidden, asked), user, (fault, &buttons))
        })
    }

    fn change_page(
        &self,
        status: StatusCode,
        form: &Form,
        words: (&str, &str),
    ) -> Result<Response<Bytes>, RequestError> {
        self.page(form.get("to"), form.get("fragment"), |hidden| {
            pages::change_password(status, self.id, hidden, form.get("user"), words)
        })
    }

    /// A page with a form. An errand that cannot be read is none.
    fn page(
        &self,
        to: &str,
        fragment: &str,
        page: impl FnOnce(&Hidden<'_>) -> Response<Bytes>,
    ) -> Result<Response<Bytes>, RequestError> {
        let (browser, is_new) = Browser::of_or_new(self.fields());
        let page = self.hidden_page(&browser, to, fragment, page)?;
        keep(page, is_new.then_some(&browser))
    }

    /// The same, for a browser that has its secret from elsewhere.
    fn hidden_page(
        &self,
        browser: &Browser,
        to: &str,
        fragment: &str,
        page: impl FnOnce(&Hidden<'_>) -> Response<Bytes>,
    ) -> Result<Response<Bytes>, RequestError> {
        let errand = self.errand(to);
        let authority = errand.as_ref().map(|errand| &*errand.0.authority);
        Ok(page(&Hidden {
            token: &self.token(browser)?,
            to: errand.as_ref().map_or("", |_| to),
            fragment,
            authority: authority.unwrap_or_default(),
        }))
    }

    pub(super) fn token(&self, browser: &Browser) -> Result<String, RequestError> {
        let token = FormToken::seal(self.view, self.host(), browser, self.now);
        token.ok_or(RequestError::NoView)
    }
}

/// Who has said who the user is, as metrics have it.
fn provider_of(session: &Session) -> &str {
    let provider = session.user.authentication.provider.as_ref();
    provider.map_or(LOCAL, IdentityProviderId::as_str)
}

/// What stood behind `#`, if it can be part of an address.
fn fitting_fragment(fragment: &str) -> &str {
    let fits = fragment.starts_with('#')
        && fragment.len() <= FRAGMENT_BYTES_MAX
        && fragment.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { fragment } else { "" }
}

/// Gives the browser its secret along with a page.
pub(super) fn keep(
    mut page: Response<Bytes>,
    browser: Option<&Browser>,
) -> Result<Response<Bytes>, RequestError> {
    if let Some(browser) = browser {
        let cookie = cookies::set(cookies::BROWSER, &browser.secret());
        set_cookie(&mut page, cookie)?;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_part_of_an_address_is_kept_of_a_fragment() {
        let long = format!("#{}", "a".repeat(FRAGMENT_BYTES_MAX));
        for (fragment, want) in [
            ("#/inbox/42?x=%20", "#/inbox/42?x=%20"),
            ("", ""),
            ("inbox", ""),
            ("#a b", ""),
            ("#a\r\nSet-Cookie: x", ""),
            ("#ü", ""),
            (long.as_str(), ""),
        ] {
            assert_eq!(fitting_fragment(fragment), want, "{fragment:?}");
        }
    }
}
