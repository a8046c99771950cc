//! Identity providers in a file.
//!
//! Control does not tell what credential it has, so that of a file is written when the provider is made, and with any other change of it.
//! Providers that the file does not name stay, also where the rest is pruned: with one go the sessions of all its users.

use std::{collections::BTreeMap, fs, path::PathBuf};

use model::name::IdentityProviderId;
use prost_types::FieldMask;
use proto::admin::{
    Asks, ClaimNames, CreateIdentityProviderRequest, IdentityProvider, ProviderEndpoints,
    UpdateIdentityProviderRequest,
};
use runtime::Secret;
use serde::Deserialize;

use super::plan::{Change, Resource};
use crate::cli::{
    app::words::Reading,
    client::Control,
    failure::Answer,
    identity_provider::{ClientAuthenticationWord, PromptWord},
};

/// A provider as the file asks for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Provider {
    pub(super) wire: IdentityProvider,
    /// Empty: the file names none.
    pub(super) credential: Secret<String>,
}

/// What a provider cannot be without has a default too: control then tells of it, with everything else that is wrong.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawProvider {
    display_name: String,
    issuer: String,
    client_id: String,
    client_authentication: Option<String>,
    credential_file: Option<PathBuf>,
    key_id: String,
    client_certificate_file: Option<PathBuf>,
    scopes: Vec<String>,
    algorithms: Vec<String>,
    claims: RawClaims,
    user_domains: Vec<String>,
    plain_groups: bool,
    classes: Vec<String>,
    prompt: Option<String>,
    max_age: Option<String>,
    endpoints: RawEndpoints,
    ca_file: Option<PathBuf>,
    private_network: bool,
    sign_out: bool,
    refresh_every: Option<String>,
    disabled: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawClaims {
    user: String,
    display_name: String,
    email: String,
    groups: String,
    kept: Vec<String>,
    kept_groups: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawEndpoints {
    authorization: String,
    token: String,
    keys: String,
    user_info: String,
    end_session: String,
    groups: String,
}

/// All of the file's, and what is wrong with them.
pub(super) fn all_meant(
    raw: BTreeMap<String, RawProvider>,
    reading: &mut Reading<'_>,
) -> BTreeMap<IdentityProviderId, Provider> {
    let mut providers = BTreeMap::new();
    for (id, raw) in raw {
        let key = format!("identity_provider.{id}");
        if let Some(id) = reading
            .problems
            .take(&key, id.parse::<IdentityProviderId>())
        {
            let provider = raw.meant(&id, &key, reading);
            providers.insert(id, provider);
        }
    }
    providers
}

impl RawProvider {
    fn meant(self, id: &IdentityProviderId, key: &str, reading: &mut Reading<'_>) -> Provider {
        let key = |field: &str| format!("{key}.{field}");
        let how = word(
            &key("client_authentication"),
            self.client_authentication,
            reading,
        );
        let how = how.map(ClientAuthenticationWord::wire);
        let credential = text_of(&key("credential_file"), self.credential_file, reading);
        let credential = credential.trim_end_matches(['\r', '\n']).to_owned();
        let wire = IdentityProvider {
            name: id.resource_name(),
            display_name: self.display_name,
            issuer: self.issuer,
            client_id: self.client_id,
            client_authentication: how.unwrap_or_default().into(),
            key_id: self.key_id,
            client_certificate_pem: text_of(
                &key("client_certificate_file"),
                self.client_certificate_file,
                reading,
            ),
            scopes: self.scopes,
            algorithms: self.algorithms,
            claims: said(ClaimNames {
                user: self.claims.user,
                display_name: self.claims.display_name,
                email: self.claims.email,
                groups: self.claims.groups,
                kept: self.claims.kept,
                kept_groups: self.claims.kept_groups,
            }),
            user_domains: self.user_domains,
            plain_groups: self.plain_groups,
            asks: said(Asks {
                classes: self.classes,
                prompt: word(&key("prompt"), self.prompt, reading)
                    .map(PromptWord::wire)
                    .unwrap_or_default()
                    .into(),
                max_age: reading.span(&key("max_age"), self.max_age.as_ref()),
            }),
            endpoints: said(ProviderEndpoints {
                authorization: self.endpoints.authorization,
                token: self.endpoints.token,
                keys: self.endpoints.keys,
                user_info: self.endpoints.user_info,
                end_session: self.endpoints.end_session,
                groups: self.endpoints.groups,
            }),
            ca_pem: text_of(&key("ca_file"), self.ca_file, reading),
            private_network: self.private_network,
            sign_out: self.sign_out,
            refresh_every: reading.span(&key("refresh_every"), self.refresh_every.as_ref()),
            disabled: self.disabled,
            ..IdentityProvider::default()
        };
        Provider {
            wire,
            credential: Secret::new(credential),
        }
    }
}

/// Nothing, where nothing is said: so control keeps it.
fn said<M: Default + PartialEq>(message: M) -> Option<M> {
    (message != M::default()).then_some(message)
}

/// One of the words that flags have.
fn word<W: clap::ValueEnum>(
    key: &str,
    text: Option<String>,
    reading: &mut Reading<'_>,
) -> Option<W> {
    reading.problems.take(key, W::from_str(&text?, false))
}

/// What is in a file that is named from the file.
fn text_of(key: &str, file: Option<PathBuf>, reading: &mut Reading<'_>) -> String {
    let Some(file) = file else {
        return String::new();
    };
    let read = fs::read_to_string(reading.beside.join(&file));
    let read = read.map_err(|error| format!("{}: {error}", file.display()));
    reading.problems.take(key, read).unwrap_or_default()
}

/// Creates or updates; `validate_only`: control only says what it would do.
pub(super) async fn write(
    change: &Change,
    provider: &Provider,
    mask: FieldMask,
    (is_new, validate_only): (bool, bool),
    control: &Control,
) -> Result<(), Answer> {
    debug_assert!(matches!(change.resource, Resource::IdentityProvider(_)));
    let mut providers = control.identity_providers();
    let credential = provider.credential.expose().clone();
    let wire = &provider.wire;
    let made = if is_new {
        let id = wire.name.strip_prefix(IdentityProviderId::COLLECTION);
        let request = CreateIdentityProviderRequest {
            identity_provider_id: id.unwrap_or_default().to_owned(),
            identity_provider: Some(wire.clone()),
            credential,
            validate_only,
        };
        let made = control.answer(Box::pin(providers.create_identity_provider(request)));
        made.await
    } else {
        let request = UpdateIdentityProviderRequest {
            identity_provider: Some(wire.clone()),
            update_mask: Some(mask),
            allow_missing: false,
            validate_only,
            credential,
        };
        let made = control.answer(Box::pin(providers.update_identity_provider(request)));
        made.await
    };
    made.map(drop)
}

#[cfg(test)]
mod tests {
    use proto::admin::ClientAuthentication;
    use runtime::config::Problems;

    use super::*;

    fn read(text: &str) -> (BTreeMap<IdentityProviderId, Provider>, String) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "s3cret\n").unwrap();
        fs::write(folder.path().join("ca.pem"), "PEM\n").unwrap();
        let mut problems = Problems::of_file(folder.path());
        let raw = toml::from_str(text).unwrap();
        let providers = all_meant(
            raw,
            &mut Reading {
                beside: folder.path(),
                problems: &mut problems,
            },
        );
        let wrong = problems.finish(Some(())).err();
        (
            providers,
            wrong.map(|wrong| wrong.to_string()).unwrap_or_default(),
        )
    }

    #[test]
    fn a_provider_is_written_the_way_control_keeps_it() {
        let (providers, wrong) = read(
            "[entra]\nissuer = \"https://a.example\"\nclient_authentication = \"secret-post\"\ncredential_file = \"secret\"\nca_file = \"ca.pem\"\nmax_age = \"1h\"\n",
        );
        assert_eq!(wrong, "");
        let Provider { wire, credential } = &providers["entra"];
        assert_eq!(credential.expose(), "s3cret");
        assert_eq!(wire.name, "identityProviders/entra");
        assert_eq!(wire.ca_pem, "PEM\n");
        assert_eq!(
            wire.client_authentication(),
            ClientAuthentication::SecretPost
        );
        assert_eq!(wire.asks.as_ref().unwrap().max_age.unwrap().seconds, 3_600);
        assert_eq!((&wire.claims, &wire.endpoints), (&None, &None));
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let (_, wrong) = read(
            "[Entra]\n[a]\nprompt = \"please\"\nclient_authentication = \"x\"\nmax_age = \"soon\"\nca_file = \"none\"\ncredential_file = \"none\"\n",
        );
        for key in [
            "identity_provider.Entra",
            "identity_provider.a.prompt",
            "identity_provider.a.client_authentication",
            "identity_provider.a.max_age",
            "identity_provider.a.ca_file",
            "identity_provider.a.credential_file",
        ] {
            assert!(wrong.contains(key), "{key}: {wrong}");
        }
        assert!(toml::from_str::<BTreeMap<String, RawProvider>>("[a]\nsecret = \"x\"").is_err());
    }
}
