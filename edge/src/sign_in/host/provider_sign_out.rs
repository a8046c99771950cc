//! Signing out where an identity provider has a part in it: users who sign out here are led there, and providers tell of those who have
//! signed out there (OpenID Connect RP-Initiated Logout, Front-Channel Logout and Back-Channel Logout).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use proto::fabric::{EndSessionRequest, ProviderSession, SignInEvent, SignInKind};

use super::{Call, with_provider::chain};
use crate::{
    failure::RequestError,
    providers::{ClientError, Expected, IssuerError, TokenError, printable, unproven_issuer},
    sign_in::{
        form::Form,
        hint, pages, redirect, reports,
        session::{Digest, Session, digest_at_provider},
    },
};

/// Where providers lead users back to who have signed out there; registered there.
pub(super) const DONE: &str = "/sign-out/done";
/// What providers show in a frame of their own page.
pub(super) const FRONT_CHANNEL: &str = "/sign-out/front-channel";
/// Where providers tell of users who have signed out there.
pub(super) const BACK_CHANNEL: &str = "/sign-out/back-channel";
/// What a token says that tells of it (Back-Channel Logout, section 2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Longest name of a session, or of a user, at a provider.
const NAME_BYTES_MAX: usize = 255;

/// Why a provider's word that somebody has signed out is not taken.
#[derive(Debug, thiserror::Error)]
enum Untaken {
    /// It is no token.
    #[error("there is no token that could be one")]
    Malformed,
    /// No provider is published under that name.
    #[error("no identity provider is the issuer {0:?}")]
    Issuer(String),
    /// The provider's publication cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It does not hold.
    #[error(transparent)]
    Token(#[from] IssuerError),
    /// It is a token for something else.
    #[error("it is no logout token: {0}")]
    Kind(&'static str),
    /// Control could not be told.
    #[error("control does not answer")]
    Away,
}

impl Untaken {
    /// Whether the word may hold for all that is known now: it is worth being said again.
    fn may_hold(&self) -> bool {
        match self {
            Self::Away | Self::Client(_) => true,
            Self::Token(error) => match error {
                IssuerError::Pause | IssuerError::Description(_) | IssuerError::Keys(_) => true,
                // The provider may have changed its keys just now, and is not asked for them all the time.
                IssuerError::Token(error) => matches!(error, TokenError::Key(_)),
            },
            Self::Malformed | Self::Issuer(_) | Self::Kind(_) => false,
        }
    }

    /// This, or what another client at the same provider makes of the same word: one that may hold for any of them may hold.
    fn or(self, other: Self) -> Self {
        if self.may_hold() { self } else { other }
    }
}

/// Whom a provider tells of.
struct Told {
    provider: String,
    names: Vec<Digest>,
    before_ms: i64,
}

impl Call<'_> {
    /// Where a user goes on to who has signed out here; `None`: nowhere.
    pub(super) async fn sign_out_there(&self, session: &Session) -> Option<String> {
        let provider = session.user.authentication.provider.as_ref()?;
        let published = self.view.providers().get(provider)?;
        if !published.settings.sign_out {
            return None;
        }
        let client = self.edge.clients.of(published).ok()?;
        let back = format!("https://{}{DONE}", self.authority.text);
        let hint = hint::of_session(self.view, self.host(), self.fields(), session);
        client.end_session(&back, hint.as_ref()).await
    }

    /// After that.
    pub(super) fn signed_out_there(&self) -> Result<Response<Bytes>, RequestError> {
        match self.session() {
            Some(_) => redirect("/sign-out"),
            None => Ok(pages::signed_out(self.id)),
        }
    }

    /// A provider's page asks on behalf of the user's browser. Anybody could ask, so only the browser's own session ends.
    pub(super) async fn front_channel(&self) -> Result<Response<Bytes>, RequestError> {
        let query = self.head.uri.query();
        let issuer = crate::sign_in::parameter(query, "iss");
        let name = crate::sign_in::parameter(query, "sid");
        let session = self.session().filter(|session| {
            let provider = session.user.authentication.provider.as_ref();
            let mut of_issuer = self.view.providers().of_issuer(&issuer);
            let name = digest_at_provider("sid", &name);
            let at = session.at_provider.as_ref();
            of_issuer.any(|one| Some(&one.settings.id) == provider)
                && at.is_some_and(|at| at.session == Some(name))
        });
        let Some(session) = session else {
            return Ok(silent(StatusCode::OK));
        };
        if !self.end(&session, 0).await {
            return Ok(silent(StatusCode::SERVICE_UNAVAILABLE));
        }
        tracing::info!(request.id = %self.id, user = %session.user.id, "signed out by the provider's page");
        self.tell(SignInEvent {
            reason: reports::PROVIDER.to_owned(),
            ..reports::of_user(SignInKind::SignedOut, &session.user)
        });
        let mut response = silent(StatusCode::OK);
        if let Some(cookie) = crate::cookies::forget(crate::cookies::SESSION) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok(response)
    }

    /// A provider tells of somebody who has signed out there. One that is told twice ends nothing more: it is over what began before it was
    /// said first.
    pub(super) async fn back_channel(&self, form: &Form) -> Result<Response<Bytes>, RequestError> {
        match self.end_told(form.get("logout_token")).await {
            Ok(provider) => {
                tracing::info!(request.id = %self.id, provider, "signed out by the provider's word");
                // It names the user in its own way, which is kept as a digest only.
                self.tell(SignInEvent {
                    kind: SignInKind::SignedOut.into(),
                    reason: reports::PROVIDER.to_owned(),
                    provider,
                    ..SignInEvent::default()
                });
                Ok(silent(StatusCode::OK))
            }
            Err(error) => {
                // Of a token that anybody may have made.
                let cause = printable(&chain(&error));
                tracing::warn!(request.id = %self.id, client = self.client, cause, "a provider's word that somebody has signed out is not taken");
                // A provider may try again after a server's fault, and not after its own.
                Ok(silent(if error.may_hold() {
                    StatusCode::SERVICE_UNAVAILABLE
                } else {
                    StatusCode::BAD_REQUEST
                }))
            }
        }
    }

    async fn end_told(&self, token: &str) -> Result<String, Untaken> {
        let told = self.told(token).await?;
        for name in told.names {
            let ended = EndSessionRequest {
                provider_session: Some(ProviderSession {
                    provider: told.provider.clone(),
                    name_sha256: Bytes::copy_from_slice(&name),
                }),
                before_ms: told.before_ms,
                ..EndSessionRequest::default()
            };
            let end = self.edge.accounts.end(ended).await;
            end.map_err(|_| Untaken::Away)?;
        }
        Ok(told.provider)
    }

    /// Back-Channel Logout, section 2.6.
    async fn told(&self, token: &str) -> Result<Told, Untaken> {
        let issuer = unproven_issuer(token).ok_or(Untaken::Malformed)?;
        let providers = self.view.providers();
        let mut refused = Untaken::Issuer(issuer.chars().take(NAME_BYTES_MAX).collect());
        // Several clients at one provider are several providers here.
        for published in providers.of_issuer(&issuer) {
            let client = match self.edge.clients.of(published) {
                Ok(client) => client,
                Err(error) => {
                    refused = refused.or(error.into());
                    continue;
                }
            };
            let expected = Expected {
                audiences: &[&published.settings.client_id],
                types: &["logout+jwt", "JWT"],
                may_be_untyped: true,
            };
            let claims = match client.issuer().verify(token, &expected).await {
                Ok(claims) => claims,
                Err(error) => {
                    refused = refused.or(error.into());
                    continue;
                }
            };
            let tells = claims.all.get("events").and_then(|all| all.get(EVENT));
            if !tells.is_some_and(serde_json::Value::is_object) {
                return Err(Untaken::Kind("it tells of something else"));
            }
            // So that no ID token passes for one.
            if claims.all.contains_key("nonce") {
                return Err(Untaken::Kind("it has a nonce"));
            }
            let made = claims.time("iat");
            let made = made.ok_or(Untaken::Kind("it does not say when it was made"))?;
            let named = |name: &str| claims.text(name).filter(|one| one.len() <= NAME_BYTES_MAX);
            let names = match (named("sid"), named("sub")) {
                (Some(session), _) => vec![digest_at_provider("sid", session)],
                (None, Some(user)) => vec![digest_at_provider("sub", user)],
                (None, None) => return Err(Untaken::Kind("it says nobody")),
            };
            return Ok(Told {
                provider: published.settings.id.to_string(),
                names,
                // Whole seconds: what began within the same one is over too.
                before_ms: made.saturating_add(1).saturating_mul(1_000),
            });
        }
        Err(refused)
    }
}

fn silent(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    let never = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, never);
    response
}
