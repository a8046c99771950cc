//! ID tokens for apps whose agents ask for more than the word of an edge: the identity provider's own.
//!
//! The token by which a session began lies beside it in the user's browser, sealed for the host: at the sign-in host always (see `hint`),
//! and at the host of an app that asks for it, where it comes with the pass. So it is there at any edge and after any restart, as sessions
//! are. A session without one is led to the sign-in host, and there to the provider once more.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use model::{access::needs::Needs, app::App, host::Hostname};
use runtime::Secret;

use super::{
    Arrival, cookie,
    credential::Credential,
    hint, navigates,
    session::{Session, SessionId, milliseconds},
    target_of,
};
use crate::{cookies, failure::RequestError, view::View};

/// What is sealed.
const KIND: &str = "id token";

/// The app asks for the user's ID token, and the request shows none of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lacking;

/// A session that began so lately has no better token to hope for: agents refuse it for what the provider says.
const NEW_SESSION: Duration = Duration::from_secs(120);

/// Of a request that shows a token: what is needed to lead its user to another.
#[derive(Debug)]
pub(crate) struct Retreat {
    session: SessionId,
    fields: HeaderMap,
    target: String,
}

/// The cookie for an app's host, with which the token is kept as the session's own is.
fn cookie_at_app(
    (view, host): (&View, &Hostname),
    session: &Session,
    token: &str,
    now: SystemTime,
) -> Option<HeaderValue> {
    let sealed = hint::seal_as(KIND, (view, host), &session.id, token)?;
    let life = cookie::life(session, now);
    cookies::set_as(cookies::ID_TOKEN, &sealed, session.cookie.same_site, life)
}

impl Arrival<'_> {
    /// What the app's agents are shown, if they ask for it. Users with accounts of the fabric's own have none, and programs neither.
    pub(crate) fn id_token(
        &self,
        app: &App,
        credential: Option<&Credential>,
        fields: &HeaderMap,
    ) -> Result<Option<Secret<String>>, Lacking> {
        if !app.asks_for_id_token() {
            return Ok(None);
        }
        match credential {
            Some(Credential::Session(session)) => {
                if session.user.authentication.provider.is_none() {
                    return Ok(None);
                }
                let host = &self.authority.host;
                let sealed = cookies::get(fields, cookies::ID_TOKEN).ok_or(Lacking)?;
                let token = hint::open_as(KIND, (self.view, host), &session.id, sealed);
                token.map(Some).ok_or(Lacking)
            }
            // What such a user has shown was made for something else.
            Some(Credential::Bearer(_) | Credential::ByProvider(_)) => Err(Lacking),
            Some(Credential::Service(_) | Credential::Program(_)) | None => Ok(None),
        }
    }

    /// Leads people to where they get one; others are told that it takes a browser.
    pub(crate) fn ask_for_id_token<B>(
        &self,
        app: &App,
        credential: Option<&Credential>,
        request: &Request<B>,
    ) -> Result<Response<Bytes>, RequestError> {
        let is_of_browser = matches!(credential, Some(Credential::Session(_)));
        if is_of_browser && navigates(request) {
            let needs = Needs::default();
            return self.lead_away(
                request.headers(),
                target_of(request),
                &needs,
                Some(app),
                None,
            );
        }
        Err(RequestError::NoIdToken)
    }

    /// What to remember of a request that shows a token, if its user could be led to where there is another: agents may refuse this one. A
    /// session of now has the newest that there is, so that nobody is led around in a circle.
    pub(crate) fn retreat<B>(
        &self,
        credential: Option<&Credential>,
        request: &Request<B>,
    ) -> Option<Retreat> {
        let Some(Credential::Session(session)) = credential else {
            return None;
        };
        let age_ms = milliseconds(self.clock.wall()).saturating_sub(session.began_ms);
        let is_new = age_ms < i64::try_from(NEW_SESSION.as_millis()).unwrap_or(i64::MAX);
        (!is_new && navigates(request)).then(|| Retreat {
            session: session.id,
            fields: request.headers().clone(),
            target: target_of(request).to_owned(),
        })
    }

    /// Leads a user whose token no agent takes to where they get another: the provider has taken back the key that signed it, perhaps.
    pub(crate) fn lead_back(
        &self,
        app: &App,
        retreat: &Retreat,
    ) -> Result<Response<Bytes>, RequestError> {
        let Retreat {
            session,
            fields,
            target,
        } = retreat;
        self.lead_away(fields, target, &Needs::default(), Some(app), Some(session))
    }

    /// Adds to an answer that gives a browser its session the token that came with the pass, if one did.
    pub(super) fn give_id_token(
        &self,
        response: &mut Response<Bytes>,
        session: &Session,
        token: &Secret<String>,
    ) -> Result<(), RequestError> {
        if token.expose().is_empty() {
            return Ok(());
        }
        let now = self.clock.wall();
        let place = (self.view, &self.authority.host);
        let cookie = cookie_at_app(place, session, token.expose(), now);
        super::set_cookie(response, cookie)
    }
}
