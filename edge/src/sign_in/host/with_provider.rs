//! Signing in by the word of an identity provider: there, and back.
//!
//! On the way there everything that the way back needs is sealed into the `state`, so any edge can go on with it. It is good for an hour, for one
//! provider, and for the browser that began: that has a secret, which it forgets when an attempt ends. So whoever gets hold of somebody's
//! way back gains nothing, and nobody can be signed in as somebody else by one that is handed to them (RFC 9700, section 4.7).

use std::{error::Error, sync::Arc, time::Duration};

use super::{AWAY, Call, HURRIED, STALE};
use crate::{
    cookies,
    failure::RequestError,
    metrics::sign_ins,
    providers::{
        self, Attempt, Choices, Client, ClientError, Expected, GroupsError, IdentityError,
        IssuerError, Proven, Tokens, printable,
    },
    sign_in::{
        came_by,
        form::Form,
        hint::{self, TOKEN_BYTES_MAX},
        provider_pages::{self, Failed},
        redirect, refresh,
        session::{
            AtProvider, Browser, Errand, ProviderErrand, Session, digest_at_provider, milliseconds,
        },
        set_cookie,
    },
};
use bytes::Bytes;
use http::{Response, StatusCode, header};
use model::{app::App, identity_provider::IdentityProvider};
use proto::{
    edge,
    fabric::{SignInEvent, SignInKind},
};
use runtime::Secret;

/// Where providers lead back to; registered there.
pub(super) const CALLBACK: &str = "/sign-in/callback";
/// Where a sign-in at a provider begins; its id follows.
pub(super) const BEGIN: &str = "/sign-in/with/";
/// Longest path and query that a user is brought back to: providers take no addresses as long as we do.
const TARGET_BYTES_MAX: usize = 2 * 1024;
/// Longest code.
const CODE_BYTES_MAX: usize = 4 * 1024;

/// Outcome where nobody has said anything about the user.
const UNAVAILABLE: &str = "unavailable";
const GONE: &str = "This way to sign in is not there any more. Please choose another.";

/// Why a sign-in at a provider came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The provider says so.
    #[error("the provider answers {0}")]
    Denied(String),
    /// The answer is another's (RFC 9207).
    #[error("the answer is of another provider")]
    MixUp,
    /// There is no code in it.
    #[error("the answer has no code that could be one")]
    NoCode,
    /// The app that the user comes from asks for the provider's token, and no cookie holds that.
    #[error(
        "the app asks for the user's id token, which has {0} bytes and may have {TOKEN_BYTES_MAX}: have the provider put fewer claims in it"
    )]
    LongToken(usize),
    /// The provider is published no more.
    #[error("the provider is not published any more")]
    Gone,
    /// The provider does not answer, or not as it should.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What it says of the user is not taken.
    #[error("looking at the provider's token")]
    Identity(#[from] IdentityError),
}

impl Failure {
    /// The word of the metric.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Denied(_) => "denied",
            Self::Gone => UNAVAILABLE,
            Self::Client(error) if is_away(error) => UNAVAILABLE,
            Self::MixUp
            | Self::NoCode
            | Self::LongToken(_)
            | Self::Client(_)
            | Self::Identity(_) => "refused",
        }
    }

    /// What the user is told.
    fn told(&self) -> Failed {
        match self {
            Self::Denied(_) => Failed::Denied,
            Self::Gone => Failed::Away,
            Self::Client(error) if is_away(error) => Failed::Away,
            Self::Identity(IdentityError::Overage) | Self::Client(ClientError::Groups(_)) => {
                Failed::Groups
            }
            Self::Identity(IdentityError::Name(_) | IdentityError::Nameless(_)) => Failed::User,
            Self::Identity(IdentityError::Class(_) | IdentityError::Old) => Failed::TooWeak,
            Self::MixUp
            | Self::NoCode
            | Self::LongToken(_)
            | Self::Client(_)
            | Self::Identity(_) => Failed::Other,
        }
    }
}

/// Whether it may be better in a while.
fn is_away(error: &ClientError) -> bool {
    match error {
        ClientError::Issuer(IssuerError::Token(_))
        | ClientError::Published(_)
        | ClientError::Key(_)
        | ClientError::Certificate(_)
        | ClientError::Refused(_)
        | ClientError::Spent(_)
        | ClientError::Groups(GroupsError::Unreadable(_))
        | ClientError::OtherUser => false,
        ClientError::Issuer(
            IssuerError::Pause | IssuerError::Description(_) | IssuerError::Keys(_),
        )
        | ClientError::Trade(_)
        | ClientError::Groups(GroupsError::Fetch(_) | GroupsError::Slow)
        | ClientError::UserInfo(_) => true,
    }
}

/// A session that begins.
struct Begun {
    session: Session,
    /// What its provider is asked by later.
    note: Option<edge::RefreshNote>,
}

impl Call<'_> {
    /// The app that a user comes from, if it is published.
    fn app_of(&self, errand: &Errand) -> Option<&App> {
        let app = came_by::app_of(self.view, &errand.0)?;
        self.view.app(&app.id)
    }

    /// Among whom a user chooses.
    pub(super) fn choices(&self, errand: Option<&Errand>) -> Choices {
        let app = errand.and_then(|errand| self.app_of(errand));
        let named = app.map_or(&[][..], |app| &app.identity_providers);
        Choices::of(self.view.providers(), named)
    }

    /// Whether the app that a user comes from takes the word of who has said who the user is.
    pub(super) fn suits(&self, session: &Session, errand: &Errand) -> bool {
        let provider = session.user.authentication.provider.as_ref();
        self.app_of(errand)
            .is_none_or(|app| app.takes_word_of(provider))
    }

    /// Sends a user to a provider.
    pub(super) async fn sign_in_with(
        &self,
        id: &str,
        form: &Form,
    ) -> Result<Response<Bytes>, RequestError> {
        let (to, fragment) = (form.get("to"), form.get("fragment"));
        let refuse = |status, fault| self.sign_in_page(status, to, "", fragment, fault);
        if !self.is_ours(form) {
            return refuse(StatusCode::BAD_REQUEST, STALE);
        }
        let (attempt, is_new) = Browser::attempt_or_new(self.fields());
        let errand = self.errand(to);
        let errand = ProviderErrand(edge::ProviderErrand {
            provider: id.to_owned(),
            errand: errand.map(|errand| shortened(errand.0)),
            fragment: super::fitting_fragment(fragment).to_owned(),
            attempt_sha256: attempt.sha256().into(),
            issued_ms: milliseconds(self.now),
            nonce: providers::random(),
            code_verifier: providers::random(),
        });
        let Ok(client) = self.client(id) else {
            return refuse(StatusCode::NOT_FOUND, GONE);
        };
        let state = errand.seal(self.view, self.host());
        let state = state.ok_or(RequestError::NoView)?;
        let redirect_uri = self.redirect_uri();
        let attempt_there = of_errand(&errand, &redirect_uri, &state);
        let there = match client.authorization(&attempt_there).await {
            Ok(there) => there,
            Err(error) => {
                self.log_failure(id, &Failure::Client(error));
                return refuse(StatusCode::SERVICE_UNAVAILABLE, AWAY);
            }
        };
        let mut response = redirect(&there)?;
        if is_new {
            let cookie = cookies::set(cookies::ATTEMPT, &attempt.secret());
            set_cookie(&mut response, cookie)?;
        }
        Ok(response)
    }

    /// Takes a user back from a provider.
    pub(super) async fn come_back(&self) -> Result<Response<Bytes>, RequestError> {
        let state = self.said("state");
        let errand = ProviderErrand::open(self.view, self.host(), &state, self.now);
        let Some(ProviderErrand(wire)) = errand else {
            return self.sign_in_page(StatusCode::BAD_REQUEST, "", "", "", STALE);
        };
        let errand = wire.errand.clone().map(Errand);
        let to = errand.as_ref().and_then(|errand| errand.seal(self.view));
        let to = to.unwrap_or_default();
        let begun = Browser::attempt(self.fields());
        if !begun.is_some_and(|begun| begun.is(&wire.attempt_sha256)) {
            // Of several tabs the first to come back has ended the attempts of all, and signed the user in.
            return match self.session() {
                Some(session) => self.go_on(&session, errand.as_ref(), &wire.fragment),
                None => self.sign_in_page(StatusCode::BAD_REQUEST, &to, "", &wire.fragment, STALE),
            };
        }
        let strangers = &self.edge.strangers;
        if !strangers.may_come_back(self.address) {
            let status = StatusCode::TOO_MANY_REQUESTS;
            return self.sign_in_page(status, &to, "", &wire.fragment, HURRIED);
        }
        if !strangers.use_up(&wire.nonce) {
            return self.sign_in_page(StatusCode::BAD_REQUEST, &to, "", &wire.fragment, STALE);
        }
        let mut response = match self.identify(&wire).await {
            Ok(begun) => self.begin_by(begun, &to, &wire.fragment).await?,
            Err(failure) => {
                self.log_failure(&wire.provider, &failure);
                let name = self.client(&wire.provider);
                let name = name.map(|client| client.settings().name().to_owned());
                let name = name.unwrap_or_else(|_| wire.provider.clone());
                provider_pages::failed(self.id, &name, &to, failure.told())
            }
        };
        if let Some(cookie) = cookies::forget(cookies::ATTEMPT) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok(response)
    }

    /// Gives the browser a session, and beside it what its provider is shown at the end.
    async fn begin_by(
        &self,
        begun: Begun,
        to: &str,
        fragment: &str,
    ) -> Result<Response<Bytes>, RequestError> {
        let Begun { session, note } = begun;
        if let Some(note) = note.filter(|_| session.goes_on(self.view, self.now)) {
            self.edge
                .accounts
                .refreshes()
                .begin(self.view, &session, &note);
        }
        let hint = session
            .id_token
            .as_ref()
            .and_then(|token| hint::seal_hint(self.view, self.host(), &session.id, token.expose()));
        let mut response = self.start(session, to, fragment).await?;
        if let Some(hint) = hint {
            set_cookie(&mut response, cookies::set(cookies::HINT, &hint))?;
        }
        Ok(response)
    }

    /// The session that begins by a provider's answer.
    async fn identify(&self, errand: &edge::ProviderErrand) -> Result<Begun, Failure> {
        let client = self.client(&errand.provider)?;
        let settings = client.settings();
        let issuer = self.said("iss");
        let must_say = client.issuer().description().await;
        let must_say = must_say.map_err(ClientError::Issuer)?.names_itself;
        if issuer != settings.issuer.as_str() && (must_say || !issuer.is_empty()) {
            return Err(Failure::MixUp);
        }
        let error = self.said("error");
        if !error.is_empty() {
            let more = self.said("error_description");
            let said = format!("{}: {}", printable(&error), printable(&more));
            return Err(Failure::Denied(said));
        }
        let code = self.said("code");
        if code.is_empty() || code.len() > CODE_BYTES_MAX {
            return Err(Failure::NoCode);
        }
        let wrapped = ProviderErrand(errand.clone());
        let redirect_uri = self.redirect_uri();
        let attempt = of_errand(&wrapped, &redirect_uri, "");
        let (proven, tokens) = self.prove(&client, &code, &attempt).await?;
        let user = proven.user(settings)?;
        let begun = providers::Begun {
            subject: &proven.subject,
            nonce: &errand.nonce,
        };
        let note = refresh::note(settings, tokens.refresh, begun, &user);
        // Of the two clocks the one that is behind: what either ends later is over.
        let issued_ms = proven.issued_at.saturating_mul(1_000);
        let began_ms = milliseconds(self.now).min(issued_ms);
        let at_provider = AtProvider {
            session: proven
                .session
                .as_deref()
                .map(|name| digest_at_provider("sid", name)),
            user: digest_at_provider("sub", &proven.subject),
        };
        let session = Session {
            id_token: self.id_token_to_keep(settings, tokens.identity, errand)?,
            ..Session::begin_by(user, began_ms, at_provider)
        };
        if !session.fits() {
            return Err(IdentityError::Overage.into());
        }
        Ok(Begun { session, note })
    }

    /// The provider's token, if the provider is to be shown it at the end, or agents with each request.
    fn id_token_to_keep(
        &self,
        settings: &IdentityProvider,
        token: String,
        errand: &edge::ProviderErrand,
    ) -> Result<Option<Secret<String>>, Failure> {
        let errand = errand.errand.clone().map(Errand);
        if self.asks_for_id_token(errand.as_ref()) && token.len() > TOKEN_BYTES_MAX {
            return Err(Failure::LongToken(token.len()));
        }
        let is_kept = settings.sign_out || self.view.asks_for_id_tokens();
        Ok(is_kept.then(|| Secret::new(token)))
    }

    fn asks_for_id_token(&self, errand: Option<&Errand>) -> bool {
        let app = errand.and_then(|errand| self.app_of(errand));
        app.is_some_and(App::asks_for_id_token)
    }

    /// The ID token by which a session began, if an app of the host that the user comes from asks for it, as the session is for all of them,
    /// and the browser has it.
    pub(super) fn id_token_for(
        &self,
        session: &Session,
        errand: &Errand,
    ) -> Option<Secret<String>> {
        if !came_by::asks_for_id_token(self.view, &errand.0) {
            return None;
        }
        let kept = || hint::of_session(self.view, self.host(), self.fields(), session);
        let token = session.id_token.clone().or_else(kept);
        token.filter(|token| token.expose().len() <= TOKEN_BYTES_MAX)
    }

    /// Whether the app asks for one that a provider could give, and there is none, or none that its agents take.
    pub(super) fn lacks_id_token(&self, session: &Session, errand: Option<&Errand>) -> bool {
        let is_by_provider = session.user.authentication.provider.is_some();
        is_by_provider
            && self.asks_for_id_token(errand)
            && errand.is_some_and(|errand| {
                errand.0.refused_session == session.id[..]
                    || self.id_token_for(session, errand).is_none()
            })
    }

    async fn prove(
        &self,
        client: &Client,
        code: &str,
        attempt: &Attempt<'_>,
    ) -> Result<(Proven, Tokens), Failure> {
        let settings = client.settings();
        let tokens = client.trade(code, attempt).await?;
        let expected = Expected {
            audiences: &[&settings.client_id],
            types: &["JWT"],
            may_be_untyped: true,
        };
        let claims = client.issuer().verify(&tokens.identity, &expected).await;
        let claims = claims.map_err(ClientError::Issuer)?;
        let access = tokens.access.as_ref();
        let token = access.map(|token| token.expose().as_str());
        let mut proven = providers::prove(settings, claims, attempt, token, self.now)?;
        if let Some(access) = access {
            client.complete(&mut proven, access).await?;
        }
        Ok((proven, tokens))
    }

    fn client(&self, id: &str) -> Result<Arc<Client>, Failure> {
        let id = id.parse().map_err(|_| Failure::Gone)?;
        let published = self.view.providers().get(&id).ok_or(Failure::Gone)?;
        Ok(self.edge.clients.of(published)?)
    }

    /// A parameter of the address.
    fn said(&self, name: &str) -> String {
        crate::sign_in::parameter(self.head.uri.query(), name).into_owned()
    }

    fn redirect_uri(&self) -> String {
        format!("https://{}{CALLBACK}", self.authority.text)
    }

    /// For whoever runs the edge, the metric, and the log of sign-ins: who it was, nobody has proven.
    fn log_failure(&self, provider: &str, failure: &Failure) {
        let outcome = failure.outcome();
        // Only those that are published, whatever an address says.
        if self.client(provider).is_ok() {
            sign_ins(provider, outcome).increment(1);
            // That it is away is none of the user's faults.
            if outcome != UNAVAILABLE && self.is_refusal_news(&format!("{outcome} {provider}"), "")
            {
                self.tell(SignInEvent {
                    kind: SignInKind::Refused.into(),
                    reason: outcome.to_owned(),
                    provider: provider.to_owned(),
                    ..SignInEvent::default()
                });
            }
        }
        let cause = chain(failure);
        tracing::warn!(request.id = %self.id, provider, client = self.client, outcome, cause, "sign-in at an identity provider came to nothing");
    }
}

fn of_errand<'a>(errand: &'a ProviderErrand, redirect_uri: &'a str, state: &'a str) -> Attempt<'a> {
    Attempt {
        redirect_uri,
        state,
        nonce: &errand.0.nonce,
        code_verifier: &errand.0.code_verifier,
        max_age: errand.0.errand.as_ref().and_then(|errand| {
            let within_ms = errand.sign_in_within_ms;
            (within_ms > 0).then(|| Duration::from_millis(within_ms))
        }),
    }
}

fn shortened(errand: edge::Errand) -> edge::Errand {
    if errand.target.len() <= TARGET_BYTES_MAX {
        return errand;
    }
    edge::Errand {
        target: "/".to_owned(),
        ..errand
    }
}

/// What went wrong, with its causes.
pub(in crate::sign_in) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
