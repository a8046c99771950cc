//! The way to a second factor: asked for after a password, or by an app; set up, and taken away.

use bytes::Bytes;
use http::{Response, StatusCode};
use proto::fabric::{
    CheckCodeRequest, CheckPasswordRequest, CheckPasswordResponse, EnrolAuthenticatorRequest,
    HalfProven, RemoveAuthenticatorRequest, RemovePasskeyRequest, ShownBefore, SignInEvent,
    SignInKind,
};

use super::{AWAY, Call, HURRIED, STALE, Said, keep, outcome, redirect};
use crate::{
    failure::RequestError,
    sign_in::{
        accounts::{AccountsError, SecondFactorQuestion},
        form::Form,
        halfway::{Aim, Granted, Halfway, Offer, Wanted, needs_second_factor, shown_before},
        passkey_pages,
        second_factor_pages::{self as pages, Act, Offered},
        session::{Browser, Session},
        set_cookie,
    },
};

/// For who would change what they have to show first.
pub(super) const WANTED: &str = "Please sign out, and sign in with your second factor first. If it is lost, ask your administrator.";
pub(super) const LOCKED: &str =
    "Too many codes were wrong. Use a recovery code or a passkey, or ask your administrator.";
const WRONG_CODE: &str =
    "This code is not right, or was used before. The app shows another every 30 seconds.";
const WRONG_PASSWORD: &str = "The password is not right.";
const NOT_TAKEN: &str = "This cannot be taken: it is known already, there are too many, or your organisation asks for it.";

/// Where these pages are.
pub(super) fn has_page(path: &str) -> bool {
    path == "/second-factor" || Act::at(path).is_some()
}

/// Where their forms lead.
pub(super) fn takes(path: &str) -> bool {
    let others = [
        "/second-factor",
        "/authenticator/confirm",
        "/passkeys/use",
        "/passkeys/register",
        "/sign-out-everywhere",
    ];
    others.contains(&path) || Act::at(path).is_some()
}

impl Call<'_> {
    /// One of these pages, for who is signed in.
    pub(super) async fn second_factor_page(
        &self,
        path: &str,
    ) -> Result<Response<Bytes>, RequestError> {
        let query = self.head.uri.query();
        let to = super::super::parameter(query, "to");
        let Some(session) = self.own_session() else {
            return redirect(&format!("/sign-in?to={}", self.sealed_errand(&to)));
        };
        match Act::at(path) {
            Some(act) => {
                let id = super::super::parameter(query, "id");
                self.password_page(StatusCode::OK, &session, (act, &id), (&to, ""), "")
            }
            None => self.step_up(&session, &to).await,
        }
    }

    /// What one of their forms asks for.
    pub(super) async fn second_factor_form(
        &self,
        path: &str,
        form: &Form,
    ) -> Result<Response<Bytes>, RequestError> {
        let (to, fragment) = (form.get("to"), form.get("fragment"));
        if !self.is_ours(form) {
            return self.sign_in_page(StatusCode::BAD_REQUEST, to, "", fragment, STALE);
        }
        match path {
            "/second-factor" => self.check_code(form).await,
            "/authenticator/confirm" => self.confirm_authenticator(form).await,
            "/passkeys/use" => self.use_passkey(form).await,
            "/passkeys/register" => self.register_passkey(form).await,
            "/sign-out-everywhere" => self.sign_out_everywhere().await,
            _ => match Act::at(path) {
                Some(act) => self.act(act, form).await,
                None => Err(RequestError::NoPage),
            },
        }
    }

    /// The session, if it is of an account of the fabric's own: others have the same names, and their second factors elsewhere.
    pub(super) fn own_session(&self) -> Option<Session> {
        let session = self.session();
        session.filter(|session| session.user.authentication.provider.is_none())
    }

    /// Asks a user who is signed in for a second factor, and for nothing else.
    pub(in crate::sign_in) async fn step_up(
        &self,
        session: &Session,
        to: &str,
    ) -> Result<Response<Bytes>, RequestError> {
        if !needs_second_factor(session, Wanted::SecondFactor) {
            return self.go_on(session, self.errand(to).as_ref(), "");
        }
        let shown = self.shown(session);
        let Ok(account) = self.account(shown).await else {
            return Ok(pages::refused(
                StatusCode::SERVICE_UNAVAILABLE,
                self.id,
                AWAY,
            ));
        };
        let halfway = Halfway::of_session(session, &account);
        if halfway.has_authenticator() || !halfway.passkeys().is_empty() {
            return self.factor_page(StatusCode::OK, &halfway, (to, ""), "");
        }
        if !account.second_factors {
            let words = "This needs a second factor, and your organisation has none.";
            return Ok(pages::refused(StatusCode::FORBIDDEN, self.id, words));
        }
        self.password_page(StatusCode::OK, session, (Act::Enrol, ""), (to, ""), "")
    }

    /// The password was right, and is not enough.
    pub(super) fn go_half(
        &self,
        half: &HalfProven,
        form: &Form,
    ) -> Result<Response<Bytes>, RequestError> {
        let halfway = Halfway::after_password(half);
        let way = (form.get("to"), form.get("fragment"));
        if half.must_enrol {
            return self.offer_page(StatusCode::OK, (&halfway, None), way, "");
        }
        self.factor_page(StatusCode::OK, &halfway, way, "")
    }

    /// Asks for what the user has.
    pub(super) fn factor_page(
        &self,
        status: StatusCode,
        halfway: &Halfway,
        (to, fragment): (&str, &str),
        fault: &str,
    ) -> Result<Response<Bytes>, RequestError> {
        let (browser, is_new) = Browser::of_or_new(self.fields());
        let sealed = halfway.seal((self.view, self.host()), Aim::SignIn, &browser, self.now);
        let sealed = sealed.ok_or(RequestError::NoView)?;
        let page = self.with_challenge(&browser, (halfway.passkeys(), &sealed), |asked| {
            let about = (status, self.id);
            let asked_too = (!halfway.passkeys().is_empty()).then_some(asked);
            self.hidden_page(&browser, to, fragment, |hidden| {
                if halfway.has_authenticator() {
                    pages::code(about, hidden, (&sealed, asked_too), fault)
                } else {
                    passkey_pages::ask(about, hidden, asked, fault)
                }
            })
        })?;
        keep(page?, is_new.then_some(&browser))
    }

    async fn check_code(&self, form: &Form) -> Result<Response<Bytes>, RequestError> {
        let (to, fragment) = (form.get("to"), form.get("fragment"));
        let Some(halfway) = self.halfway(form, Aim::SignIn) else {
            return self.sign_in_page(StatusCode::BAD_REQUEST, to, "", fragment, STALE);
        };
        if !self.may_ask() {
            let status = StatusCode::TOO_MANY_REQUESTS;
            return self.factor_page(status, &halfway, (to, fragment), HURRIED);
        }
        let request = CheckCodeRequest {
            shown: Some(halfway.shown(&self.client, &self.id.to_string())),
            code: form.get("code").to_owned(),
        };
        let asked = |answer| SecondFactorQuestion::CheckCode(request, answer);
        let said = self.edge.accounts.of_second_factors(asked).await;
        match said_of(said, WRONG_CODE) {
            Ok(granted) => {
                let session = halfway.complete(granted);
                self.start(session, to, fragment).await
            }
            Err((status, fault)) => {
                self.tell_factor_refused(halfway.user(), status, "wrong_code");
                self.factor_page(status, &halfway, (to, fragment), &fault)
            }
        }
    }

    /// For the log of sign-ins: a second factor, or a passkey, was not good. Nobody is named if nobody has shown who they are.
    pub(super) fn tell_factor_refused(&self, user: &str, status: StatusCode, wrong: &str) {
        let reason = match status {
            StatusCode::UNAUTHORIZED => wrong,
            StatusCode::TOO_MANY_REQUESTS => "too_many",
            // The fabric's own fault, or an old page.
            _ => return,
        };
        if !self.is_refusal_news(reason, user) {
            return;
        }
        self.tell(SignInEvent {
            kind: SignInKind::Refused.into(),
            user: user.to_owned(),
            reason: reason.to_owned(),
            ..SignInEvent::default()
        });
    }

    /// Shows a key for an app: another one, or the one from before.
    fn offer_page(
        &self,
        status: StatusCode,
        (halfway, offer): (&Halfway, Option<Offer>),
        (to, fragment): (&str, &str),
        fault: &str,
    ) -> Result<Response<Bytes>, RequestError> {
        let (browser, is_new) = Browser::of_or_new(self.fields());
        let offer = offer.unwrap_or_else(|| Offer::new(halfway.user()));
        let sealed = halfway.seal((self.view, self.host()), Aim::Change, &browser, self.now);
        let (halfway_text, offer_text) = sealed
            .zip(offer.seal(self.view, self.host(), &browser, self.now))
            .ok_or(RequestError::NoView)?;
        let offered = Offered {
            halfway: &halfway_text,
            offer: &offer_text,
            key: offer.key(),
            issuer: self.fabric_name(),
            user: halfway.user(),
            must: halfway.session().is_empty(),
        };
        let page = self.hidden_page(&browser, to, fragment, |hidden| {
            pages::enrol((status, self.id), hidden, &offered, fault)
        });
        keep(page?, is_new.then_some(&browser))
    }

    async fn confirm_authenticator(&self, form: &Form) -> Result<Response<Bytes>, RequestError> {
        let way @ (to, fragment) = (form.get("to"), form.get("fragment"));
        let Some((halfway, offer)) = self.halfway(form, Aim::Change).and_then(|halfway| {
            let offer = self.offer(form, halfway.user())?;
            Some((halfway, offer))
        }) else {
            return self.sign_in_page(StatusCode::BAD_REQUEST, to, "", fragment, STALE);
        };
        let request = EnrolAuthenticatorRequest {
            shown: Some(halfway.shown(&self.client, &self.id.to_string())),
            key: offer.key().clone(),
            code: form.get("code").to_owned(),
        };
        let asked = |answer| SecondFactorQuestion::EnrolAuthenticator(request, answer);
        let (said, codes) = match self.edge.accounts.of_second_factors(asked).await {
            Ok(said) => (Ok(said.outcome.unwrap_or_default()), said.recovery_codes),
            Err(error) => (Err(error), None),
        };
        match said_of(said, WRONG_CODE) {
            Ok(account) => {
                let codes = codes.unwrap_or_default().codes;
                let go_on = format!(
                    "/sign-in?to={}{}",
                    self.sealed_errand(to),
                    super::fitting_fragment(fragment)
                );
                let page = pages::recovery_codes(self.id, &codes, &go_on);
                if halfway.session().is_empty() {
                    self.begin_beside(page, account, to).await
                } else {
                    self.replace_session(page, account)
                }
            }
            Err((status, fault)) => {
                self.tell_factor_refused(halfway.user(), status, "wrong_code");
                self.offer_page(status, (&halfway, Some(offer)), way, &fault)
            }
        }
    }

    fn password_page(
        &self,
        status: StatusCode,
        session: &Session,
        change: (Act, &str),
        (to, fragment): (&str, &str),
        fault: &str,
    ) -> Result<Response<Bytes>, RequestError> {
        let user = session.user.id.as_str();
        self.page(to, fragment, |hidden| {
            pages::ask_password((status, self.id), hidden, change, (user, fault))
        })
    }

    /// What a user wants to change, with the password that they typed for it.
    async fn act(&self, act: Act, form: &Form) -> Result<Response<Bytes>, RequestError> {
        let Some(session) = self.own_session() else {
            return redirect("/sign-in");
        };
        let id = form.get("id");
        // Whom an app has led here goes on to it.
        let way = (form.get("to"), form.get("fragment"));
        let halfway = match self.fresh(&session, form.get("password")).await {
            Ok(halfway) => halfway.within(&session),
            Err((status, fault)) => {
                return self.password_page(status, &session, (act, id), way, &fault);
            }
        };
        let shown = Some(halfway.shown(&self.client, &self.id.to_string()));
        let accounts = &self.edge.accounts;
        let said = match act {
            Act::Enrol => return self.offer_page(StatusCode::OK, (&halfway, None), way, ""),
            Act::AddPasskey => return self.add_passkey_page(&session, halfway).await,
            Act::RemoveAuthenticator => {
                let request = RemoveAuthenticatorRequest { shown };
                let asked = |answer| SecondFactorQuestion::RemoveAuthenticator(request, answer);
                accounts.of_second_factors(asked).await
            }
            Act::RemovePasskey => {
                let request = RemovePasskeyRequest {
                    shown,
                    id: id.to_owned(),
                };
                let asked = |answer| SecondFactorQuestion::RemovePasskey(request, answer);
                accounts.of_second_factors(asked).await
            }
        };
        match said_of(said, NOT_TAKEN) {
            Ok(account) => self.replace_session(redirect("/")?, account),
            Err((status, fault)) => Ok(pages::refused(status, self.id, &fault)),
        }
    }

    /// What is shown by a password that was typed just now, in a session that goes on.
    async fn fresh(
        &self,
        session: &Session,
        password: &str,
    ) -> Result<Halfway, (StatusCode, String)> {
        let user = session.user.id.as_str();
        let asked = CheckPasswordRequest {
            before: Some(shown_before(session)),
            ..self.question(user, password)
        };
        let said = self.edge.accounts.check(asked).await;
        let said = said.map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, AWAY.to_owned()))?;
        match outcome(said) {
            Said::Account(granted) => Ok(Halfway::of_account(&granted)),
            Said::Half(half) => Ok(Halfway::after_password(&half)),
            Said::MustChange => Err((StatusCode::FORBIDDEN, super::MUST_CHANGE.to_owned())),
            Said::Refused(StatusCode::UNAUTHORIZED, _) => {
                self.tell_factor_refused(user, StatusCode::UNAUTHORIZED, "wrong");
                Err((StatusCode::UNAUTHORIZED, WRONG_PASSWORD.to_owned()))
            }
            Said::Refused(status, fault) => {
                self.tell_factor_refused(user, status, "wrong");
                Err((status, fault))
            }
        }
    }

    /// Puts another session in place of the browser's: control has ended that one and all others of the user.
    pub(super) fn replace_session(
        &self,
        mut page: Response<Bytes>,
        granted: Granted,
    ) -> Result<Response<Bytes>, RequestError> {
        self.give(&mut page, &granted.begin())?;
        Ok(page)
    }

    /// Signs in a user who had to set something up first, and whose page is shown once: it is, whatever becomes of the session.
    async fn begin_beside(
        &self,
        mut page: Response<Bytes>,
        granted: Granted,
        to: &str,
    ) -> Result<Response<Bytes>, RequestError> {
        let session = granted.begin();
        self.end_former(&session).await;
        if self.may_begin(&session) {
            self.give(&mut page, &session)?;
            self.tell_begun(&session, to);
        }
        Ok(page)
    }

    pub(super) fn give(
        &self,
        page: &mut Response<Bytes>,
        session: &Session,
    ) -> Result<(), RequestError> {
        let sealed = session.seal_at_home(self.view, self.host());
        let sealed = sealed.ok_or(RequestError::NoView)?;
        set_cookie(page, crate::cookies::set(crate::cookies::SESSION, &sealed))
    }

    /// What was shown for the session of this user here, if there is one.
    pub(super) fn shown_before(&self, user: &str) -> Option<ShownBefore> {
        let session = self.own_session();
        let own =
            session.filter(|session| session.user.id.as_str().eq_ignore_ascii_case(user.trim()));
        own.as_ref().map(shown_before)
    }

    /// What was shown so far. It outlives no session that it was made in: who has signed out changes nothing, and gets none by it.
    pub(super) fn halfway(&self, form: &Form, aim: Aim) -> Option<Halfway> {
        let here = (self.host(), self.fields());
        let halfway = Halfway::open(self.view, here, form.get("halfway"), self.now, aim)?;
        let is_here = || {
            let session = self.own_session();
            session.is_some_and(|session| halfway.session() == session.id)
        };
        (halfway.session().is_empty() || is_here()).then_some(halfway)
    }

    fn offer(&self, form: &Form, user: &str) -> Option<Offer> {
        let here = (self.host(), self.fields());
        Offer::open(self.view, here, form.get("offer"), self.now, user)
    }

    /// The errand as it was given, if it is one: it goes into an address.
    fn sealed_errand<'t>(&self, to: &'t str) -> &'t str {
        self.errand(to).map_or("", |_| to)
    }

    /// What people know the fabric by.
    pub(super) fn fabric_name(&self) -> &str {
        let host = self.host().as_str();
        host.split_once('.').map_or(host, |(_, domain)| domain)
    }
}

/// The account, or what the user is told; `wrong` in place of what is said of passwords.
pub(super) fn said_of(
    said: Result<CheckPasswordResponse, AccountsError>,
    wrong: &str,
) -> Result<Granted, (StatusCode, String)> {
    let away = || (StatusCode::SERVICE_UNAVAILABLE, AWAY.to_owned());
    match outcome(said.map_err(|_| away())?) {
        Said::Account(account) => Ok(account),
        Said::Refused(StatusCode::UNAUTHORIZED, _) => {
            Err((StatusCode::UNAUTHORIZED, wrong.to_owned()))
        }
        Said::Refused(StatusCode::OK, _) => Err((StatusCode::CONFLICT, NOT_TAKEN.to_owned())),
        Said::Refused(status, fault) => Err((status, fault)),
        Said::Half(_) | Said::MustChange => Err(away()),
    }
}
