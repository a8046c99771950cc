//! `adit identity-provider`: who else than the fabric says who users are.

mod settings;
mod view;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use model::name::IdentityProviderId;
use prost_types::FieldMask;
use proto::admin::{
    CreateIdentityProviderRequest, DeleteIdentityProviderRequest, GetIdentityProviderRequest,
    IdentityProvider, ListIdentityProvidersRequest, UpdateIdentityProviderRequest,
};
use runtime::Secret;

pub(crate) use self::settings::{ClientAuthenticationWord, PromptWord};
use self::{settings::Settings, view::ProviderView};
use super::{
    client::{Control, PAGE_SIZE},
    failure::Failure,
    screen::Screen,
    table,
};

const CREATE_EXAMPLES: &str = "Register https://auth.<domain>/sign-in/callback as the redirect URI at the provider, and
https://auth.<domain>/sign-out/back-channel for back-channel logout. The client secret is read from a file or standard input.

Examples:
  adit identity-provider create entra --issuer https://login.microsoftonline.com/TENANT/v2.0 --client-id ID --credential-file secret.txt --user-domain example.com
  adit identity-provider create keycloak --issuer https://sso.internal/realms/staff --client-id adit --credential-file - --private-network --ca sso-ca.pem";

/// What to do with identity providers.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum IdentityProviderCommand {
    /// Let users sign in by a provider.
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Create),
    /// List all identity providers.
    #[command(after_help = "Example:\n  adit identity-provider list")]
    List,
    /// Show one identity provider, without its credential.
    #[command(
        alias = "get",
        after_help = "Example:\n  adit identity-provider show entra"
    )]
    Show {
        /// Id of the provider.
        id: IdentityProviderId,
    },
    /// Change settings of a provider; --disable ends the sessions that it has begun.
    #[command(
        after_help = "Examples:\n  adit identity-provider update entra --credential-file new-secret.txt\n  adit identity-provider update entra --clear user-domains"
    )]
    Update(Update),
    /// Delete a provider; the sessions that it has begun end.
    #[command(after_help = "Example:\n  adit identity-provider delete entra")]
    Delete {
        /// Id of the provider.
        id: IdentityProviderId,
        /// Delete only if the provider still has this etag (see `identity-provider show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
}

/// `adit identity-provider create`.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Id of the new provider: 1-63 of a-z, 0-9 and -. It stands behind the @ of users whom the provider names without a domain.
    id: IdentityProviderId,
    #[command(flatten)]
    settings: Box<Settings>,
    #[command(flatten)]
    credential: Credential,
    /// Check everything and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// `adit identity-provider update`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "adit identity-provider update <ID> <SETTING>... [OPTIONS]")]
pub(crate) struct Update {
    /// Id of the provider.
    id: IdentityProviderId,
    #[command(flatten)]
    settings: Box<Settings>,
    #[command(flatten)]
    credential: Credential,
    /// Setting that takes its default again; may be repeated.
    #[arg(long, value_enum, value_name = "SETTING")]
    clear: Vec<settings::Clearable>,
    /// Update only if the provider still has this etag (see `identity-provider show`).
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    /// Check everything and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Where the credential is read from: never from the command line, which others on the machine can see.
#[derive(Debug, clap::Args)]
struct Credential {
    /// File with the client secret or the private key (PEM), or - for standard input.
    #[arg(long, value_name = "FILE")]
    credential_file: Option<PathBuf>,
}

/// Bytes that are read of a credential: more than control takes, to see that it is too long.
const CREDENTIAL_BYTES_MAX: u64 = 32 * 1024;

impl Credential {
    /// Without the end of its last line; empty: none is given.
    fn read(&self) -> Result<Secret<String>, Failure> {
        let Some(path) = &self.credential_file else {
            return Ok(Secret::new(String::new()));
        };
        let read = if path == Path::new("-") {
            credential(io::stdin().lock())
        } else {
            File::open(path).and_then(credential)
        };
        read.map_err(|source| Failure::Unreadable {
            path: path.clone(),
            source,
        })
    }
}

fn credential(source: impl Read) -> io::Result<Secret<String>> {
    let mut text = String::new();
    source
        .take(CREDENTIAL_BYTES_MAX)
        .read_to_string(&mut text)?;
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    if text.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
    }
    Ok(Secret::new(text))
}

impl IdentityProviderCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(control, screen).await,
            Self::List => list(control, screen).await,
            Self::Show { id } => show(&id, control, screen).await,
            Self::Update(update) => update.run(control, screen).await,
            Self::Delete { id, etag } => delete(&id, etag, control, screen).await,
        }
    }
}

impl Create {
    async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let doing = format!("create {}", self.id.resource_name());
        let mut provider = IdentityProvider::default();
        self.settings.write(&mut provider)?;
        let request = CreateIdentityProviderRequest {
            identity_provider_id: self.id.to_string(),
            identity_provider: Some(provider),
            credential: self.credential.read()?.into_exposed(),
            validate_only: self.dry_run,
        };
        let mut providers = control.identity_providers();
        let made = control.call(doing, Box::pin(providers.create_identity_provider(request)));
        let done = if self.dry_run {
            "would be created"
        } else {
            "created"
        };
        written(made.await?, done, screen)
    }
}

impl Update {
    async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let name = self.id.resource_name();
        let doing = format!("update {name}");
        let mut provider = IdentityProvider {
            name,
            etag: self.etag,
            ..IdentityProvider::default()
        };
        let mut paths = self.settings.write(&mut provider)?;
        paths.extend(self.clear.iter().map(|one| one.path()));
        let request = UpdateIdentityProviderRequest {
            identity_provider: Some(provider),
            update_mask: Some(FieldMask {
                paths: paths.into_iter().map(str::to_owned).collect(),
            }),
            allow_missing: false,
            validate_only: self.dry_run,
            credential: self.credential.read()?.into_exposed(),
        };
        let mut providers = control.identity_providers();
        let made = control.call(doing, Box::pin(providers.update_identity_provider(request)));
        let done = if self.dry_run {
            "would be updated"
        } else {
            "updated"
        };
        written(made.await?, done, screen)
    }
}

fn written(provider: IdentityProvider, done: &str, screen: &mut Screen) -> Result<(), Failure> {
    let view = ProviderView::from(provider);
    table::written(screen, &view, &view.name, done)
}

/// Every provider of the fabric.
pub(crate) async fn all(control: &Control) -> Result<Vec<IdentityProvider>, Failure> {
    let fetch = async |page_token| {
        let request = ListIdentityProvidersRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let mut providers = control.identity_providers();
        let page = providers.list_identity_providers(request).await?;
        let page = page.into_inner();
        Ok((page.identity_providers, page.next_page_token))
    };
    control.pages("list identity providers", fetch).await
}

async fn list(control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let providers = all(control).await?;
    let views: Vec<_> = providers.into_iter().map(ProviderView::from).collect();
    let empty = "There are no identity providers. `adit identity-provider create ID` makes one.";
    table::list(screen, &views, empty, control.clock.wall())
}

async fn show(
    id: &IdentityProviderId,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = id.resource_name();
    let doing = format!("show {name}");
    let request = GetIdentityProviderRequest { name };
    let mut providers = control.identity_providers();
    let got = control.call(doing, providers.get_identity_provider(request));
    table::show(
        screen,
        &ProviderView::from(got.await?),
        control.clock.wall(),
    )
}

async fn delete(
    id: &IdentityProviderId,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = id.resource_name();
    let request = DeleteIdentityProviderRequest {
        name: name.clone(),
        etag,
    };
    let mut providers = control.identity_providers();
    let deletion = providers.delete_identity_provider(request);
    control.delete(&name, deletion, screen).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_all_of_the_file_without_its_end() {
        for (text, want) in [
            ("s3cret\n", Some("s3cret")),
            ("s3cret\r\n", Some("s3cret")),
            ("-----BEGIN\nAA\n", Some("-----BEGIN\nAA")),
            ("", None),
            ("\n", None),
        ] {
            let read = credential(text.as_bytes());
            assert_eq!(read.ok().map(Secret::into_exposed).as_deref(), want);
        }
    }
}
