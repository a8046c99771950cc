//! The fabric as a client of a provider: where users are sent, and what their code is traded for (OpenID Connect Core, section 3.1; RFC 6749;
//! RFC 7636; RFC 9207).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use form_urlencoded::Serializer;
use issuer::{
    Answer, Ask, Authorization, Description, FetchError, Issuer, IssuerError, Trust, printable,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use model::{
    identity_provider::{ClientAuthentication, IdentityProvider, ProviderUrl},
    name::IdentityProviderId,
};
use runtime::{Clock, Scope, Secret};
use rustls::pki_types::{
    CertificateDer,
    pem::{self, PemObject as _},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    groups::{self, GroupsError},
    identity::Proven,
    published::{Published, Roll},
};

/// How long a statement that we are the client is good.
const ASSERTION_LIFE: Duration = Duration::from_secs(60);
/// Errors that are about the user, and not about the client: the token was taken back or the user disabled (RFC 6749, section 5.2), or has to do
/// something at the provider first (OpenID Connect Core, section 3.1.2.6; Entra ID, where conditional access asks for it).
const OF_THE_USER: [&str; 6] = [
    "invalid_grant",
    "access_denied",
    "interaction_required",
    "login_required",
    "consent_required",
    "account_selection_required",
];

/// Why a provider did not say who the user is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// It cannot be asked, or its token does not hold.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// It cannot be connected to as it is published.
    #[error("using the provider's publication")]
    Published(#[source] FetchError),
    /// The private key is none.
    #[error("signing as the client")]
    Key(#[source] jsonwebtoken::errors::Error),
    /// The certificate of that key is none.
    #[error("reading the client's certificate")]
    Certificate(#[source] pem::Error),
    /// It gave no answer to the code.
    #[error("trading the code")]
    Trade(#[source] FetchError),
    /// It gives no tokens.
    #[error("the provider gives no tokens: {0}")]
    Refused(String),
    /// It does not stand by the user any more.
    #[error("the provider does not take the token or code: {0}")]
    Spent(String),
    /// It gave no answer about the user.
    #[error("asking more of the user")]
    UserInfo(#[source] FetchError),
    /// It is not known which groups the user is in.
    #[error(transparent)]
    Groups(#[from] GroupsError),
    /// It answered about another.
    #[error("what it says more is of another user")]
    OtherUser,
}

/// What one attempt is known by on its way to the provider and back.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    /// Where the provider leads back to.
    pub redirect_uri: &'a str,
    /// Sealed.
    pub state: &'a str,
    /// What the token must say.
    pub nonce: &'a str,
    /// What shows that the code is ours.
    pub code_verifier: &'a str,
    /// How long ago the user may have signed in at the provider, for what they come for; the provider's own setting holds too.
    pub max_age: Option<Duration>,
}

impl Attempt<'_> {
    /// How long ago a sign-in at the provider may be, of all that is asked of it.
    pub(crate) fn max_age_at(&self, settings: &IdentityProvider) -> Option<Duration> {
        let ages = [settings.asks.max_age, self.max_age];
        ages.into_iter().flatten().min()
    }
}

/// What a code was traded for.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// Who the user is, not looked at yet.
    pub identity: String,
    /// Good for asking more of the user.
    pub access: Option<Secret<String>>,
    /// Good for asking later whether the provider still stands by the user.
    pub refresh: Option<Secret<String>>,
}

/// What a refresh token was traded for (RFC 6749, section 6; OpenID Connect Core, section 12.2).
#[derive(Debug)]
pub(crate) struct Refreshed {
    /// Who the user is now, not looked at yet; a provider need not say it again.
    pub identity: Option<String>,
    /// Good for asking more of the user.
    pub access: Option<Secret<String>>,
    /// What takes the place of the token that was shown; `None`: that one goes on.
    pub refresh: Option<Secret<String>>,
}

/// One provider, as long as its publication is the same.
#[derive(Debug)]
pub(crate) struct Client {
    published: Arc<Published>,
    issuer: Issuer,
    clock: Clock,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
    error_description: Option<String>,
}

/// RFC 7523, section 3.
#[derive(Serialize)]
struct Assertion<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: String,
    iat: u64,
    exp: u64,
}

impl Client {
    /// What the operator says of the provider.
    pub(crate) fn settings(&self) -> &IdentityProvider {
        &self.published.settings
    }

    /// Looks at its tokens.
    pub(crate) const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Where a user is sent.
    ///
    /// # Errors
    /// The provider cannot be asked where that is.
    pub(crate) async fn authorization(&self, attempt: &Attempt<'_>) -> Result<String, ClientError> {
        let description = self.issuer.description().await?;
        let settings = self.settings();
        let scopes = settings.scopes.iter().map(String::as_str);
        let scopes: Vec<_> = std::iter::once("openid").chain(scopes).collect();
        let challenge = digest(&SHA256, attempt.code_verifier.as_bytes());
        let mut query = Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &settings.client_id)
            .append_pair("redirect_uri", attempt.redirect_uri)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", attempt.state)
            .append_pair("nonce", attempt.nonce)
            .append_pair("code_challenge", &BASE64_URL_SAFE_NO_PAD.encode(challenge))
            .append_pair("code_challenge_method", "S256");
        if !settings.asks.classes.is_empty() {
            query.append_pair("acr_values", &settings.asks.classes.join(" "));
        }
        if let Some(prompt) = settings.asks.prompt.as_str() {
            query.append_pair("prompt", prompt);
        }
        if let Some(age) = attempt.max_age_at(settings) {
            query.append_pair("max_age", &age.as_secs().to_string());
        }
        Ok(with_query(&description.authorization, &query.finish()))
    }

    /// Where a user is sent to sign out there too, with the ID token that says whose session it is; `None`: the provider has no such place.
    pub(crate) async fn end_session(
        &self,
        back: &str,
        hint: Option<&Secret<String>>,
    ) -> Option<String> {
        let description = self.issuer.description().await.ok()?;
        let mut query = Serializer::new(String::new());
        query
            .append_pair("client_id", &self.settings().client_id)
            .append_pair("post_logout_redirect_uri", back);
        if let Some(token) = hint {
            query.append_pair("id_token_hint", token.expose());
        }
        let end = description.end_session.as_ref()?;
        Some(with_query(end, &query.finish()))
    }

    /// Trades a code.
    ///
    /// # Errors
    /// The provider does not answer, or refuses.
    pub(crate) async fn trade(
        &self,
        code: &str,
        attempt: &Attempt<'_>,
    ) -> Result<Tokens, ClientError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", attempt.redirect_uri),
            ("code_verifier", attempt.code_verifier),
        ];
        let said = self.ask_for_tokens(&form).await?;
        let identity = said.id_token;
        Ok(Tokens {
            identity: identity.ok_or_else(|| ClientError::Refused("no ID token".to_owned()))?,
            access: said.access_token.map(Secret::new),
            refresh: said.refresh_token.map(Secret::new),
        })
    }

    /// Asks whether the provider still stands by the user whose refresh token this is.
    ///
    /// # Errors
    /// [`ClientError::Spent`]: it does not. Every other: nobody knows.
    pub(crate) async fn refresh(&self, token: &Secret<String>) -> Result<Refreshed, ClientError> {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token.expose().as_str()),
        ];
        let said = self.ask_for_tokens(&form).await?;
        Ok(Refreshed {
            identity: said.id_token,
            access: said.access_token.map(Secret::new),
            refresh: said.refresh_token.map(Secret::new),
        })
    }

    async fn ask_for_tokens(&self, pairs: &[(&str, &str)]) -> Result<TokenAnswer, ClientError> {
        let description = self.issuer.description().await?;
        let (form, authorization) = self.form(&description, pairs)?;
        let ask = Ask {
            url: &description.token,
            form: Some(form),
            authorization,
        };
        let answer = self.issuer.fetcher().ask(ask).await;
        read_tokens(&answer.map_err(ClientError::Trade)?)
    }

    fn form(
        &self,
        description: &Description,
        pairs: &[(&str, &str)],
    ) -> Result<(Secret<String>, Option<Authorization>), ClientError> {
        let mut form = Serializer::new(String::new());
        form.extend_pairs(pairs);
        let authorization = self.authenticate(description, &mut form)?;
        Ok((Secret::new(form.finish()), authorization))
    }

    /// Shows that we are the client.
    fn authenticate(
        &self,
        description: &Description,
        form: &mut Serializer<'_, String>,
    ) -> Result<Option<Authorization>, ClientError> {
        let id = &self.settings().client_id;
        let secret = self.published.credential.expose();
        match self.settings().client_authentication {
            ClientAuthentication::SecretBasic => {
                let escape = |text: &str| -> String {
                    form_urlencoded::byte_serialize(text.as_bytes()).collect()
                };
                let secret = Secret::new(escape(secret));
                return Ok(Some(Authorization::Basic(escape(id), secret)));
            }
            ClientAuthentication::SecretPost => {
                form.append_pair("client_id", id)
                    .append_pair("client_secret", secret);
            }
            ClientAuthentication::PrivateKeyJwt => {
                let assertion = self.assertion(&description.token)?;
                form.append_pair("client_id", id)
                    .append_pair(
                        "client_assertion_type",
                        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                    )
                    .append_pair("client_assertion", &assertion);
            }
            ClientAuthentication::None => {
                form.append_pair("client_id", id);
            }
        }
        Ok(None)
    }

    fn assertion(&self, audience: &ProviderUrl) -> Result<String, ClientError> {
        let pem = self.published.credential.expose().as_bytes();
        let (algorithm, key) = EncodingKey::from_ec_pem(pem)
            .map(|key| (Algorithm::ES256, key))
            .or_else(|_| EncodingKey::from_rsa_pem(pem).map(|key| (Algorithm::RS256, key)))
            .map_err(ClientError::Key)?;
        let id = self.settings().client_id.as_str();
        let now = self.clock.unix_seconds();
        let claims = Assertion {
            iss: id,
            sub: id,
            aud: audience.as_str(),
            jti: random(),
            iat: now,
            exp: now + ASSERTION_LIFE.as_secs(),
        };
        let key_id = self.settings().key_id.as_str();
        let mut header = Header {
            kid: (!key_id.is_empty()).then(|| key_id.to_owned()),
            ..Header::new(algorithm)
        };
        if let Some(certificate) = self.certificate()? {
            let thumbprint = |with| BASE64_URL_SAFE_NO_PAD.encode(digest(with, &certificate));
            // Entra ID goes by either; the older is what others of the kind know (RFC 7515, section 4.1.7). It proves nothing: the key does.
            header.x5t = Some(thumbprint(&SHA1_FOR_LEGACY_USE_ONLY));
            header.x5t_s256 = Some(thumbprint(&SHA256));
        }
        jsonwebtoken::encode(&header, &claims, &key).map_err(ClientError::Key)
    }

    /// The groups of whom the token is of, as the operator's list has them; `None`: there is no such list.
    ///
    /// # Errors
    /// It is not there, or not whole.
    async fn groups(&self, access: &Secret<String>) -> Result<Option<Vec<String>>, ClientError> {
        let settings = self.settings();
        let Some(url) = &settings.endpoints.groups else {
            return Ok(None);
        };
        let claim = &settings.claims.groups;
        let listed = groups::fetch(self.issuer.fetcher(), url, access, claim).await?;
        Ok(Some(listed))
    }

    /// That of the private key, if the provider knows it by one.
    fn certificate(&self) -> Result<Option<CertificateDer<'static>>, ClientError> {
        match &*self.settings().client_certificate_pem {
            "" => Ok(None),
            pem => CertificateDer::from_pem_slice(pem.as_bytes())
                .map(Some)
                .map_err(ClientError::Certificate),
        }
    }

    /// Asks for what a token does not say of the user.
    ///
    /// # Errors
    /// Somebody does not answer, or of another.
    pub(crate) async fn complete(
        &self,
        proven: &mut Proven,
        access: &Secret<String>,
    ) -> Result<(), ClientError> {
        let settings = self.settings();
        if proven.leaves_groups_out(settings)
            && let Some(names) = self.groups(access).await?
        {
            proven.set_groups(settings, names);
        }
        if proven.lacks(settings) {
            let more = self.user_info(access, &proven.subject).await?;
            proven.add(settings, more);
        }
        Ok(())
    }

    /// What more the provider says of the user whom it calls `subject`; nothing if it has no place for that.
    ///
    /// # Errors
    /// It does not answer, or answers of another (OpenID Connect Core, section 5.3.2).
    async fn user_info(
        &self,
        access: &Secret<String>,
        subject: &str,
    ) -> Result<Map<String, Value>, ClientError> {
        let description = self.issuer.description().await?;
        let Some(url) = &description.user_info else {
            return Ok(Map::new());
        };
        let ask = Ask {
            authorization: Some(Authorization::Bearer(access.clone())),
            ..Ask::get(url)
        };
        let answer = self.issuer.fetcher().ask(ask).await;
        let answer = answer.and_then(Answer::granted);
        let answer = answer.map_err(ClientError::UserInfo)?;
        let said = serde_json::from_slice::<Map<String, Value>>(&answer.body);
        let said = said.map_err(|error| ClientError::UserInfo(FetchError::Json(error)))?;
        if said.get("sub").and_then(Value::as_str) != Some(subject) {
            return Err(ClientError::OtherUser);
        }
        Ok(said)
    }
}

fn read_tokens(answer: &Answer) -> Result<TokenAnswer, ClientError> {
    if answer.status.is_server_error() {
        let status = FetchError::Status(answer.status.as_u16());
        return Err(ClientError::Trade(status));
    }
    if !answer.status.is_success() {
        return Err(refusal(answer));
    }
    let said = serde_json::from_slice::<TokenAnswer>(&answer.body);
    // The cause would show what it could not read.
    said.map_err(|_| ClientError::Refused("there are no tokens".to_owned()))
}

fn refusal(answer: &Answer) -> ClientError {
    let Ok(said) = serde_json::from_slice::<ErrorAnswer>(&answer.body) else {
        return ClientError::Refused(format!("status {}", answer.status.as_u16()));
    };
    let what = match &said.error_description {
        Some(more) => format!("{}: {}", printable(&said.error), printable(more)),
        None => printable(&said.error),
    };
    if OF_THE_USER.contains(&&*said.error) {
        ClientError::Spent(what)
    } else {
        ClientError::Refused(what)
    }
}

fn with_query(url: &ProviderUrl, query: &str) -> String {
    let separator = if url.has_query() { '&' } else { '?' };
    format!("{url}{separator}{query}")
}

/// 256 random bits, as text that may stand in any address.
pub(crate) fn random() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// The clients of all providers; what they have fetched is kept while a provider's publication is the same.
#[derive(Debug)]
pub(crate) struct Clients {
    /// As many as there are providers: [`IDENTITY_PROVIDERS_MAX`](model::identity_provider::IDENTITY_PROVIDERS_MAX).
    known: Mutex<HashMap<IdentityProviderId, Arc<Client>>>,
    trust: Trust,
    clock: Clock,
    scope: Scope,
}

impl Clients {
    /// None yet.
    pub(crate) fn new(clock: Clock, scope: &Scope) -> Self {
        Self {
            known: Mutex::default(),
            trust: Trust::default(),
            clock,
            scope: scope.child("providers"),
        }
    }

    /// The client of a provider.
    ///
    /// # Errors
    /// The provider's certificates cannot be used.
    pub(crate) fn of(&self, published: &Arc<Published>) -> Result<Arc<Client>, ClientError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let id = &published.settings.id;
        if let Some(client) = known.get(id).filter(|one| one.published == *published) {
            return Ok(Arc::clone(client));
        }
        let settings = Arc::clone(&published.settings);
        let issuer = Issuer::new(settings, &self.trust, (&self.clock, &self.scope));
        let client = Arc::new(Client {
            published: Arc::clone(published),
            issuer: issuer.map_err(ClientError::Published)?,
            clock: self.clock.clone(),
        });
        known.insert(id.clone(), Arc::clone(&client));
        Ok(client)
    }

    /// Forgets providers that are no more.
    pub(crate) fn retain(&self, roll: &Roll) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|id, _| roll.get(id).is_some());
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::digest;
    use proto::admin;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::providers::published::tests::published;

    /// What the client signs with this key, under these settings.
    fn head(key: &KeyPair, change: impl FnOnce(&mut admin::IdentityProvider)) -> Header {
        let mut provider = (*published("entra", |provider| {
            provider.client_authentication = admin::ClientAuthentication::PrivateKeyJwt.into();
            change(provider);
        }))
        .clone();
        provider.credential = Secret::new(key.serialize_pem());
        let client = Clients::new(Clock::system(), &Scope::root())
            .of(&Arc::new(provider))
            .unwrap();
        let audience = "https://entra.example/token".parse().unwrap();
        let assertion = client.assertion(&audience).unwrap();
        jsonwebtoken::decode_header(assertion).unwrap()
    }

    #[test]
    fn a_key_is_named_as_its_provider_knows_it() {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        let plain = head(&key, |provider| provider.key_id = "k1".to_owned());
        assert_eq!((plain.kid.as_deref(), plain.x5t), (Some("k1"), None));
        let certified = head(&key, |provider| {
            provider.client_certificate_pem = certificate.pem();
        });
        let thumbprint = |with| BASE64_URL_SAFE_NO_PAD.encode(digest(with, certificate.der()));
        assert_eq!(certified.x5t, Some(thumbprint(&SHA1_FOR_LEGACY_USE_ONLY)));
        assert_eq!(certified.x5t_s256, Some(thumbprint(&SHA256)));
        assert_eq!(certified.kid, None);
    }
}
