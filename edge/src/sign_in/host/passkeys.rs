//! Passkeys: shown in place of a password or besides it, and made.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Response, StatusCode};
use proto::fabric::{Ceremony, CheckPasskeyRequest, RegisterPasskeyRequest};

use super::{AWAY, Call, HURRIED, STALE, keep, redirect, second_factor::said_of};
use crate::{
    failure::RequestError,
    sign_in::{
        accounts::SecondFactorQuestion,
        form::Form,
        halfway::{Aim, Challenge, Halfway},
        pages::Hidden,
        passkey_pages::{self, Asked, Owner},
        second_factor_pages as pages,
        session::{Browser, Session},
    },
};

const WRONG_PASSKEY: &str = "This passkey is not known here, or is not good any more.";
const NOT_MADE: &str = "This passkey cannot be used here: the browser was too slow, or said something else than it was asked for.";

impl Call<'_> {
    /// A page that may be left by a passkey alone, where the fabric takes them.
    pub(super) fn passkey_page(
        &self,
        to: &str,
        fragment: &str,
        page: impl FnOnce(&Hidden<'_>, Option<&Asked<'_>>) -> Response<Bytes>,
    ) -> Result<Response<Bytes>, RequestError> {
        let (browser, is_new) = Browser::of_or_new(self.fields());
        let page = if self.view.takes_second_factors() {
            self.with_challenge(&browser, (&[], ""), |asked| {
                self.hidden_page(&browser, to, fragment, |hidden| page(hidden, Some(asked)))
            })??
        } else {
            self.hidden_page(&browser, to, fragment, |hidden| page(hidden, None))?
        };
        keep(page, is_new.then_some(&browser))
    }

    /// With something that a passkey is to sign, for this browser.
    pub(super) fn with_challenge<T>(
        &self,
        browser: &Browser,
        (ids, halfway): (&[Bytes], &str),
        page: impl FnOnce(&Asked<'_>) -> T,
    ) -> Result<T, RequestError> {
        let challenge = Challenge::new(browser, self.now);
        let sealed = challenge.seal(self.view, self.host());
        let sealed = sealed.ok_or(RequestError::NoView)?;
        Ok(page(&Asked {
            challenge: &sealed,
            bytes: challenge.bytes(),
            ids,
            halfway,
        }))
    }

    /// Somebody shows a passkey: alone, or after a password.
    pub(super) async fn use_passkey(&self, form: &Form) -> Result<Response<Bytes>, RequestError> {
        let (to, fragment) = (form.get("to"), form.get("fragment"));
        let halfway = self.halfway(form, Aim::SignIn);
        let is_stale = halfway.is_none() && !form.get("halfway").is_empty();
        let Some(ceremony) = self.ceremony(form).filter(|_| !is_stale) else {
            return self.sign_in_page(StatusCode::BAD_REQUEST, to, "", fragment, STALE);
        };
        if !self.may_ask() {
            let status = StatusCode::TOO_MANY_REQUESTS;
            return match &halfway {
                Some(halfway) => self.factor_page(status, halfway, (to, fragment), HURRIED),
                None => self.sign_in_page(status, to, "", fragment, HURRIED),
            };
        }
        let request_id = self.id.to_string();
        let request = CheckPasskeyRequest {
            shown: halfway
                .as_ref()
                .map(|half| half.shown(&self.client, &request_id)),
            ceremony: Some(ceremony),
            signature: decoded(form, "signature").unwrap_or_default(),
            client: self.client.clone(),
            request_id,
        };
        let asked = |answer| SecondFactorQuestion::CheckPasskey(request, answer);
        let said = self.edge.accounts.of_second_factors(asked).await;
        let said = said_of(said, WRONG_PASSKEY);
        if let Err((status, _)) = &said {
            let user = halfway.as_ref().map_or("", Halfway::user);
            self.tell_factor_refused(user, *status, "wrong_passkey");
        }
        match (said, halfway) {
            (Ok(account), _) => self.begin(account, to, fragment).await,
            (Err((status, fault)), Some(halfway)) => {
                self.factor_page(status, &halfway, (to, fragment), &fault)
            }
            (Err((status, fault)), None) => self.sign_in_page(status, to, "", fragment, &fault),
        }
    }

    /// Makes a passkey for a user whose password was typed just now.
    pub(super) async fn add_passkey_page(
        &self,
        session: &Session,
        halfway: Halfway,
    ) -> Result<Response<Bytes>, RequestError> {
        let shown = halfway.shown(&self.client, &self.id.to_string());
        let Ok(account) = self.account(shown).await else {
            return Ok(pages::refused(
                StatusCode::SERVICE_UNAVAILABLE,
                self.id,
                AWAY,
            ));
        };
        let (browser, is_new) = Browser::of_or_new(self.fields());
        let sealed = halfway.seal((self.view, self.host()), Aim::Change, &browser, self.now);
        let sealed = sealed.ok_or(RequestError::NoView)?;
        let token = self.token(&browser)?;
        let owner = Owner {
            issuer: self.fabric_name(),
            user: session.user.id.as_str(),
            display_name: session.user.name(),
            handle: &account.user_handle,
        };
        let passkeys = account.passkeys.iter();
        let ids: Vec<_> = passkeys.map(|one| one.credential_id.clone()).collect();
        let page = self.with_challenge(&browser, (&ids, &sealed), |asked| {
            passkey_pages::add(self.id, &token, &owner, asked)
        })?;
        keep(page, is_new.then_some(&browser))
    }

    pub(super) async fn register_passkey(
        &self,
        form: &Form,
    ) -> Result<Response<Bytes>, RequestError> {
        // Whoever has to set something up to sign in sets up an app.
        let halfway = self.halfway(form, Aim::Change);
        let halfway = halfway.filter(|halfway| !halfway.session().is_empty());
        let (Some(halfway), Some(ceremony)) = (halfway, self.ceremony(form)) else {
            return Ok(pages::refused(StatusCode::BAD_REQUEST, self.id, STALE));
        };
        let request = RegisterPasskeyRequest {
            shown: Some(halfway.shown(&self.client, &self.id.to_string())),
            ceremony: Some(ceremony),
            public_key: decoded(form, "public_key").unwrap_or_default(),
            algorithm: form.get("algorithm").parse().unwrap_or_default(),
            display_name: form.get("display_name").to_owned(),
        };
        let asked = |answer| SecondFactorQuestion::RegisterPasskey(request, answer);
        let said = self.edge.accounts.of_second_factors(asked).await;
        match said_of(said, NOT_MADE) {
            Ok(account) => self.replace_session(redirect("/")?, account),
            Err((status, fault)) => Ok(pages::refused(status, self.id, &fault)),
        }
    }

    /// What the browser says that was signed; `None` if it was not asked for here and now.
    fn ceremony(&self, form: &Form) -> Option<Ceremony> {
        let sealed = form.get("challenge");
        let challenge = Challenge::open(self.view, self.host(), self.fields(), sealed, self.now)?;
        let authority = &self.authority.text;
        // Browsers leave the port of https away.
        let authority = authority.strip_suffix(":443").unwrap_or(authority);
        Some(Ceremony {
            client_data_json: decoded(form, "client_data")?,
            authenticator_data: decoded(form, "authenticator_data")?,
            challenge: challenge.bytes().clone(),
            challenge_issued_ms: challenge.issued_ms(),
            origin: format!("https://{authority}").to_ascii_lowercase(),
            credential_id: decoded(form, "credential")?,
        })
    }
}

/// What a script has written into a field.
fn decoded(form: &Form, name: &str) -> Option<Bytes> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(form.get(name)).ok()?;
    Some(bytes.into())
}
