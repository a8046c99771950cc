//! Providers as operators see them.

use std::time::SystemTime;

use proto::admin::{ClientAuthentication, IdentityProvider, Prompt};
use serde::Serialize;

use crate::cli::{
    age,
    table::{self, Page, Row},
};

/// Keys of a provider in JSON.
#[derive(Debug, Serialize)]
pub(super) struct ProviderView {
    pub(super) name: String,
    etag: String,
    display_name: String,
    issuer: String,
    client_id: String,
    client_authentication: &'static str,
    key_id: String,
    client_certificate_pem: String,
    scopes: Vec<String>,
    algorithms: Vec<String>,
    claims: ClaimsView,
    user_domains: Vec<String>,
    plain_groups: bool,
    classes: Vec<String>,
    prompt: &'static str,
    max_age: Option<String>,
    endpoints: EndpointsView,
    ca_pem: String,
    private_network: bool,
    sign_out: bool,
    refresh_every: Option<String>,
    disabled: bool,
    create_time: Option<String>,
    update_time: Option<String>,
    credential_time: Option<String>,
    #[serde(skip)]
    changed: Option<prost_types::Timestamp>,
}

/// Which claims say what; empty: as usual.
#[derive(Debug, Default, Serialize)]
struct ClaimsView {
    user: String,
    display_name: String,
    email: String,
    groups: String,
    kept: Vec<String>,
    kept_groups: Vec<String>,
}

/// Where it answers; empty: as it says itself.
#[derive(Debug, Default, Serialize)]
struct EndpointsView {
    authorization: String,
    token: String,
    keys: String,
    user_info: String,
    end_session: String,
    groups: String,
}

impl From<IdentityProvider> for ProviderView {
    fn from(provider: IdentityProvider) -> Self {
        let client_authentication = match provider.client_authentication() {
            ClientAuthentication::Unspecified | ClientAuthentication::SecretBasic => "secret-basic",
            ClientAuthentication::SecretPost => "secret-post",
            ClientAuthentication::PrivateKeyJwt => "private-key-jwt",
            ClientAuthentication::None => "none",
        };
        let claims = provider.claims.unwrap_or_default();
        let asks = provider.asks.unwrap_or_default();
        let endpoints = provider.endpoints.unwrap_or_default();
        Self {
            client_authentication,
            name: provider.name,
            etag: provider.etag,
            display_name: provider.display_name,
            issuer: provider.issuer,
            client_id: provider.client_id,
            key_id: provider.key_id,
            client_certificate_pem: provider.client_certificate_pem,
            scopes: provider.scopes,
            algorithms: provider.algorithms,
            claims: ClaimsView {
                user: claims.user,
                display_name: claims.display_name,
                email: claims.email,
                groups: claims.groups,
                kept: claims.kept,
                kept_groups: claims.kept_groups,
            },
            user_domains: provider.user_domains,
            plain_groups: provider.plain_groups,
            prompt: match asks.prompt() {
                Prompt::Unspecified => "unsaid",
                Prompt::Login => "login",
                Prompt::SelectAccount => "select-account",
                Prompt::Consent => "consent",
            },
            classes: asks.classes,
            max_age: asks.max_age.as_ref().map(age::span),
            endpoints: EndpointsView {
                authorization: endpoints.authorization,
                token: endpoints.token,
                keys: endpoints.keys,
                user_info: endpoints.user_info,
                end_session: endpoints.end_session,
                groups: endpoints.groups,
            },
            ca_pem: provider.ca_pem,
            private_network: provider.private_network,
            sign_out: provider.sign_out,
            refresh_every: provider.refresh_every.as_ref().map(age::span),
            disabled: provider.disabled,
            create_time: age::rfc3339(provider.create_time),
            update_time: age::rfc3339(provider.update_time),
            credential_time: age::rfc3339(provider.credential_time),
            changed: provider.update_time,
        }
    }
}

impl ProviderView {
    fn state(&self) -> &'static str {
        if self.disabled { "disabled" } else { "active" }
    }
}

impl Row for ProviderView {
    const COLUMNS: &'static [&'static str] =
        &["PROVIDER", "DISPLAY NAME", "ISSUER", "STATE", "CHANGED"];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        vec![
            table::id(&self.name).to_owned(),
            table::or_dash(&self.display_name),
            self.issuer.clone(),
            self.state().to_owned(),
            age::relative(self.changed.as_ref(), now),
        ]
    }
}

impl Page for ProviderView {
    fn facts(&self, _now: SystemTime) -> Vec<(&'static str, String)> {
        let yes = |is_on: bool| if is_on { "yes" } else { "" }.to_owned();
        let time = |time: &Option<String>| age::to_the_second(time.as_deref());
        let (claims, endpoints) = (&self.claims, &self.endpoints);
        vec![
            ("provider", table::id(&self.name).to_owned()),
            ("display name", self.display_name.clone()),
            ("issuer", self.issuer.clone()),
            ("client id", self.client_id.clone()),
            (
                "client authentication",
                self.client_authentication.to_owned(),
            ),
            ("key id", self.key_id.clone()),
            (
                "client certificate",
                yes(!self.client_certificate_pem.is_empty()),
            ),
            ("credential set", time(&self.credential_time)),
            ("scopes", self.scopes.join(", ")),
            ("algorithms", self.algorithms.join(", ")),
            ("user claim", claims.user.clone()),
            ("display name claim", claims.display_name.clone()),
            ("email claim", claims.email.clone()),
            ("groups claim", claims.groups.clone()),
            ("kept claims", claims.kept.join(", ")),
            ("kept groups", claims.kept_groups.join(", ")),
            ("user domains", self.user_domains.join(", ")),
            ("plain groups", yes(self.plain_groups)),
            ("classes", self.classes.join(", ")),
            ("prompt", self.prompt.to_owned()),
            ("max age", self.max_age.clone().unwrap_or_default()),
            ("authorization endpoint", endpoints.authorization.clone()),
            ("token endpoint", endpoints.token.clone()),
            ("keys endpoint", endpoints.keys.clone()),
            ("user info endpoint", endpoints.user_info.clone()),
            ("end session endpoint", endpoints.end_session.clone()),
            ("groups endpoint", endpoints.groups.clone()),
            ("own ca", yes(!self.ca_pem.is_empty())),
            ("private network", yes(self.private_network)),
            ("signs out there", yes(self.sign_out)),
            (
                "refreshed every",
                self.refresh_every.clone().unwrap_or_default(),
            ),
            ("state", self.state().to_owned()),
            ("created", time(&self.create_time)),
            ("changed", time(&self.update_time)),
            ("etag", self.etag.clone()),
        ]
    }
}
