//! What users sign in to apps with that know nothing of the fabric: entered here, sealed in the browser, and opened by the app's agents.
//!
//! This edge and control pass on what they cannot read. Whoever controls an edge controls this page, though: docs/threat-model.md.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Response, StatusCode};
use model::{
    app::{Access, App, CredentialOf},
    name::AppId,
    vault::{SEALED_BYTES_MAX, SEALED_BYTES_MIN},
};
use proto::fabric::{
    CredentialUser, KeepCredentialRequest, RemoveCredentialRequest, ShowCredentialRequest,
};

use super::{Call, HURRIED, STALE, keep, redirect, terms::terms_user};
use crate::{
    failure::RequestError,
    sign_in::{
        credential_pages::{self as pages, Shown},
        form::Form,
        session::{Browser, Session},
    },
    vault_keys::VaultKey,
};

/// Where the page is, and where its form leads.
pub(crate) const PAGE: &str = "/app-sign-in";
/// Where the form that takes a credential away leads.
pub(super) const REMOVE: &str = "/app-sign-in/remove";

const AWAY: &str = "This cannot be done right now. Please try again in a moment.";
const NOT_KEPT: &str = "This was not kept: the app has changed meanwhile, or your session has ended. Please try again.";
const NOT_SEALED: &str = "Nothing was kept: this page needs JavaScript, so that what you type is sealed before it leaves your browser.";
const NO_KEY: &str =
    "The app is not ready for this: its agents have no vault key. Please tell your administrator.";
const KEPT: &str = "Kept. The app is opened with it from now on.";
const REMOVED: &str = "Removed.";

/// An app that a user may enter a credential for.
struct Wanted<'a> {
    app: &'a App,
    session: Session,
}

impl Call<'_> {
    /// The page, for the app that the query names.
    pub(super) async fn app_sign_in(&self) -> Result<Response<Bytes>, RequestError> {
        let id = super::super::parameter(self.head.uri.query(), "app");
        match self.wanted_app(&id)? {
            Some(wanted) => {
                self.app_sign_in_page(StatusCode::OK, &wanted, ("", ""))
                    .await
            }
            None => redirect("/sign-in"),
        }
    }

    /// What one of its forms asks for.
    pub(super) async fn app_sign_in_form(
        &self,
        path: &str,
        form: &Form,
    ) -> Result<Response<Bytes>, RequestError> {
        let Some(wanted) = self.wanted_app(form.get("app"))? else {
            return redirect("/sign-in");
        };
        let refuse = |status, fault| self.app_sign_in_page(status, &wanted, ("", fault));
        if !self.is_ours(form) {
            return refuse(StatusCode::BAD_REQUEST, STALE).await;
        }
        if !self.may_ask() {
            return refuse(StatusCode::TOO_MANY_REQUESTS, HURRIED).await;
        }
        let done = match path {
            REMOVE => self.remove_credential(&wanted).await,
            _ => self.keep_credential(&wanted, form).await,
        };
        match done {
            Ok(said) => {
                self.app_sign_in_page(StatusCode::OK, &wanted, (said, ""))
                    .await
            }
            Err((status, fault)) => refuse(status, fault).await,
        }
    }

    /// Nobody learns of apps that they may not use. `None`: nobody has signed in.
    fn wanted_app(&self, id: &str) -> Result<Option<Wanted<'_>>, RequestError> {
        let Some(session) = self.session() else {
            return Ok(None);
        };
        let id: AppId = id.parse().map_err(|_| RequestError::NoPage)?;
        let app = self.view.app(&id).filter(|app| takes_credentials(app));
        let app = app.filter(|app| match &app.access {
            Access::SignIn(assignment) => assignment.holds(&session.user),
            Access::Passthrough => false,
        });
        let app = app.ok_or(RequestError::NoPage)?;
        Ok(Some(Wanted { app, session }))
    }

    async fn keep_credential(
        &self,
        wanted: &Wanted<'_>,
        form: &Form,
    ) -> Result<&'static str, (StatusCode, &'static str)> {
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(form.get("sealed"));
        let sealed = sealed
            .ok()
            .filter(|sealed| (SEALED_BYTES_MIN..=SEALED_BYTES_MAX).contains(&sealed.len()));
        let sealed = sealed.ok_or((StatusCode::BAD_REQUEST, NOT_SEALED))?;
        let request = KeepCredentialRequest {
            user: Some(self.credential_user(&wanted.session)),
            app: wanted.app.id.to_string(),
            vault_key: form.get("key").to_owned(),
            sealed: sealed.into(),
        };
        match self.edge.accounts.keep_credential(request).await {
            Ok(kept) if kept.kept_ms > 0 => {
                tracing::info!(request.id = %self.id, user = %wanted.session.user.id, app = %wanted.app.id, client = self.client, "credential of an app kept");
                Ok(KEPT)
            }
            Ok(_) => Err((StatusCode::CONFLICT, NOT_KEPT)),
            Err(_) => Err((StatusCode::SERVICE_UNAVAILABLE, AWAY)),
        }
    }

    async fn remove_credential(
        &self,
        wanted: &Wanted<'_>,
    ) -> Result<&'static str, (StatusCode, &'static str)> {
        let request = RemoveCredentialRequest {
            user: Some(self.credential_user(&wanted.session)),
            app: wanted.app.id.to_string(),
        };
        match self.edge.accounts.remove_credential(request).await {
            Ok(done) if done.removed => {
                tracing::info!(request.id = %self.id, user = %wanted.session.user.id, app = %wanted.app.id, client = self.client, "credential of an app removed");
                Ok(REMOVED)
            }
            Ok(_) => Err((StatusCode::CONFLICT, NOT_KEPT)),
            Err(_) => Err((StatusCode::SERVICE_UNAVAILABLE, AWAY)),
        }
    }

    async fn app_sign_in_page(
        &self,
        status: StatusCode,
        wanted: &Wanted<'_>,
        (said, fault): (&str, &str),
    ) -> Result<Response<Bytes>, RequestError> {
        let app = wanted.app;
        let request = ShowCredentialRequest {
            user: Some(self.credential_user(&wanted.session)),
            app: app.id.to_string(),
        };
        let shown = self.edge.accounts.show_credential(request).await;
        let kept = match &shown {
            Ok(shown) if shown.kept_ms > 0 => Some(self.since("entered", shown.kept_ms)),
            Ok(_) | Err(_) => None,
        };
        let key = self.view.vault_keys().newest(&app.group);
        let fault = match (fault, &key, &shown) {
            ("", None, _) => NO_KEY,
            ("", _, Err(_)) => AWAY,
            _ => fault,
        };
        let (browser, is_new) = Browser::of_or_new(self.fields());
        let user = terms_user(&wanted.session);
        let page = pages::app_sign_in(
            (status, self.id),
            &Shown {
                token: &self.token(&browser)?,
                app: app.id.as_str(),
                name: app.name(),
                user: &user.user,
                provider: &user.provider,
                key: key.map(VaultKey::written).as_ref(),
                kept: kept.as_deref(),
                portal: self.view.portal_host().map(ToString::to_string).as_deref(),
            },
            (said, fault),
        );
        keep(page, is_new.then_some(&browser))
    }

    fn credential_user(&self, session: &Session) -> CredentialUser {
        let is_own = session.user.authentication.provider.is_none();
        CredentialUser {
            user: Some(terms_user(session)),
            shown: is_own.then(|| self.shown(session)),
            client: self.client.clone(),
            request_id: self.id.to_string(),
        }
    }
}

/// Whether users enter credentials of their own for an app.
pub(crate) fn takes_credentials(app: &App) -> bool {
    let credential = app.sso.as_ref().and_then(|sso| sso.credential);
    credential == Some(CredentialOf::User)
}
