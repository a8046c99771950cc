//! Terms of use, asked for on the way to an app whose access rules want them accepted.
//!
//! Control alone knows who has accepted what, and is asked once in a session; from then on the session says it, and edges decide
//! by that. Without control nobody new gets further.

use bytes::Bytes;
use http::{Response, StatusCode};
use model::{
    identity_provider::LOCAL,
    name::{IdentityProviderId, TermsId},
    terms::{Acceptance, TermsVersion},
};
use proto::fabric::{AcceptTermsRequest, ShowTermsRequest, ShowTermsResponse, TermsUser};

use super::{Call, STALE, TOO_MANY_GROUPS, fitting_fragment, redirect};
use crate::{
    failure::RequestError,
    metrics::terms,
    sign_in::{
        form::Form,
        session::{Session, milliseconds},
        step_up::Wanted,
        terms_pages::{self as pages, Shown},
    },
};

/// Where the form leads.
pub(super) const ANSWER: &str = "/terms";

const AWAY: &str = "What you have accepted cannot be looked up or written down right now. Please try again in a moment.";
const GONE: &str =
    "The terms that this app asks for are not there. Please tell your administrator.";
const CHANGING: &str = "The terms are being changed this very moment. Please try again.";
const CHANGED: &str = "The text has changed meanwhile. Please read it again.";

/// What is asked for, and where the user goes on to: the errand, and what stood behind `#`.
type Asked<'a> = (&'a TermsId, (&'a str, &'a str));

impl Call<'_> {
    /// Shows the terms; whom control knows to have accepted them goes on at once.
    pub(super) async fn ask_for_terms(
        &self,
        session: &Session,
        asked @ (id, way): Asked<'_>,
        fault: &str,
    ) -> Result<Response<Bytes>, RequestError> {
        let request = ShowTermsRequest {
            user: Some(terms_user(session)),
            terms: id.to_string(),
        };
        let Ok(shown) = self.edge.accounts.show_terms(request).await else {
            return Ok(self.no_terms(way, AWAY));
        };
        let Some(version) = TermsVersion::of_bytes(&shown.version) else {
            return Ok(self.no_terms(way, GONE));
        };
        if shown.accepted_ms == 0 {
            terms("shown").increment(1);
            return self.terms_page(session, asked, (&shown, version), fault);
        }
        terms("known").increment(1);
        let acceptance = Acceptance {
            terms: id.clone(),
            version,
            at_ms: shown.accepted_ms,
        };
        self.carry(session, acceptance, way)
    }

    /// What the user says to them.
    pub(super) async fn answer_terms(&self, form: &Form) -> Result<Response<Bytes>, RequestError> {
        let way @ (to, fragment) = (form.get("to"), form.get("fragment"));
        if !self.is_ours(form) {
            return self.sign_in_page(StatusCode::BAD_REQUEST, to, "", fragment, STALE);
        }
        let Some(session) = self.session() else {
            return self.back_to_sign_in(way);
        };
        let (id, version) = (form.get("terms").parse(), form.get("version").parse());
        let (Ok(id), Ok(version)): (Result<TermsId, _>, Result<TermsVersion, _>) = (id, version)
        else {
            return Err(RequestError::SignIn("the form of terms"));
        };
        if form.get("answer") != "accept" {
            terms("declined").increment(1);
            tracing::info!(request.id = %self.id, user = %session.user.id, terms = %id, client = self.client, "terms declined");
            return Ok(pages::declined(self.id, self.again(to)));
        }
        let request = AcceptTermsRequest {
            user: Some(terms_user(&session)),
            terms: id.to_string(),
            version: version.0.to_vec().into(),
            client: self.client.clone(),
            request_id: self.id.to_string(),
        };
        let Ok(written) = self.edge.accounts.accept_terms(request).await else {
            return Ok(self.no_terms(way, AWAY));
        };
        if written.accepted_ms == 0 {
            return self.ask_for_terms(&session, (&id, way), CHANGED).await;
        }
        terms("accepted").increment(1);
        let provider = session.user.authentication.provider.as_ref();
        let provider = provider.map_or(LOCAL, IdentityProviderId::as_str);
        tracing::info!(request.id = %self.id, user = %session.user.id, provider, terms = %id, client = self.client, "terms accepted");
        let acceptance = Acceptance {
            terms: id,
            version,
            at_ms: written.accepted_ms,
        };
        self.carry(&session, acceptance, way)
    }

    /// Gives the browser a session that says so, and goes on, or asks for what else is wanted.
    fn carry(
        &self,
        session: &Session,
        acceptance: Acceptance,
        way @ (to, fragment): (&str, &str),
    ) -> Result<Response<Bytes>, RequestError> {
        let in_force = self.view.rules().terms();
        let known = in_force.get(&acceptance.terms);
        // Of a text that this edge has not heard of yet, or not of its end, the app would ask again, round and round.
        if !known.is_some_and(|known| known.holds(&acceptance, milliseconds(self.now))) {
            return Ok(self.no_terms(way, CHANGING));
        }
        let session = session.accepting(acceptance, in_force);
        if !session.fits() {
            return self.sign_in_page(StatusCode::FORBIDDEN, to, "", fragment, TOO_MANY_GROUPS);
        }
        let errand = self.errand(to);
        let mut response = match self.wanted(&session, errand.as_ref()) {
            Wanted::Nothing => self.go_on(&session, errand.as_ref(), fragment)?,
            Wanted::FreshSignIn | Wanted::SecondFactor | Wanted::More | Wanted::Terms(_) => {
                self.back_to_sign_in(way)?
            }
        };
        self.give(&mut response, &session)?;
        Ok(response)
    }

    fn terms_page(
        &self,
        session: &Session,
        (id, (to, fragment)): Asked<'_>,
        (shown, version): (&ShowTermsResponse, TermsVersion),
        fault: &str,
    ) -> Result<Response<Bytes>, RequestError> {
        self.page(to, fragment, |hidden| {
            let shown = Shown {
                id: id.as_str(),
                version: &version.to_string(),
                title: &shown.title,
                text: &shown.text,
                name: session.user.name(),
            };
            pages::ask(self.id, hidden, &shown, fault)
        })
    }

    fn no_terms(&self, (to, _): (&str, &str), words: &str) -> Response<Bytes> {
        terms("unavailable").increment(1);
        pages::unavailable(self.id, self.again(to), words)
    }

    /// The errand as it was given, if it is one: it goes into an address.
    fn again<'t>(&self, to: &'t str) -> &'t str {
        self.errand(to).map_or("", |_| to)
    }

    fn back_to_sign_in(
        &self,
        (to, fragment): (&str, &str),
    ) -> Result<Response<Bytes>, RequestError> {
        let fragment = fitting_fragment(fragment);
        redirect(&format!("/sign-in?to={}{fragment}", self.again(to)))
    }
}

pub(super) fn terms_user(session: &Session) -> TermsUser {
    let provider = session.user.authentication.provider.as_ref();
    TermsUser {
        user: session.user.id.to_string(),
        provider: provider.map(ToString::to_string).unwrap_or_default(),
    }
}
