//! `adit credential`: what agents sign users in to apps with, which have a sign-in of their own.

use std::path::PathBuf;

use model::{
    name::{AppId, GroupId, IdentityProviderId, UserId, VaultKeyId},
    vault::{CredentialName, Holder},
};
use proto::admin::{
    self, DeleteCredentialRequest, GetAppRequest, ListCredentialsRequest, SetCredentialRequest,
};
use runtime::vault::{Credential, PublicKey, SealError};
use serde::Serialize;

use super::{
    age,
    client::{Control, PAGE_SIZE},
    failure::Failure,
    screen::Screen,
    table::{self, Row},
    user::password_in,
    vault_key,
};

const SET_EXAMPLES: &str =
    "The password is sealed here, to the newest vault key of the app's group: only its agents can read it.

Examples:
  adit credential set --app wiki --user alice --password-file -
  adit credential set --app wiki --user alice@example.com --provider entra --login asmith --password-file wiki.password
  adit credential set --app legacy --shared --login reader --password-file legacy.password";

/// What to do with credentials of apps.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum CredentialCommand {
    /// Keep a user name and password of an app, in place of what was kept before.
    #[command(after_help = SET_EXAMPLES)]
    Set(SetCredential),
    /// List whose credentials are kept; neither names nor passwords can be read.
    #[command(after_help = "Examples:\n  adit credential list\n  adit credential list --app wiki")]
    List {
        /// Of this app alone.
        #[arg(long, value_name = "ID")]
        app: Option<AppId>,
    },
    /// Delete a credential; agents forget it, and the sign-ins by it, within seconds.
    #[command(
        after_help = "Examples:\n  adit credential delete --app wiki --user alice\n  adit credential delete --app legacy --shared"
    )]
    Delete {
        #[command(flatten)]
        whose: Whose,
        /// Delete only if it still has this etag (see `credential list --output json`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
}

/// Whose credential it is.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("holder").required(true).args(["user", "shared"]))]
pub(crate) struct Whose {
    /// Id of the app.
    #[arg(long, value_name = "ID")]
    app: AppId,
    /// Id of the user whose own it is.
    #[arg(long, value_name = "ID")]
    user: Option<UserId>,
    /// Identity provider that says who the user is [default: the fabric itself]
    #[arg(long, value_name = "ID", requires = "user")]
    provider: Option<IdentityProviderId>,
    /// One for all users of the app.
    #[arg(long)]
    shared: bool,
}

impl Whose {
    fn name(&self) -> CredentialName {
        let holder = match &self.user {
            Some(user) => Holder::User {
                provider: self.provider.clone(),
                user: user.clone(),
            },
            None => Holder::Shared,
        };
        CredentialName {
            app: self.app.clone(),
            holder,
        }
    }
}

/// `adit credential set`.
#[derive(Debug, clap::Args)]
pub(crate) struct SetCredential {
    #[command(flatten)]
    whose: Whose,
    /// User name at the app [default: the user's id]
    #[arg(long, value_name = "NAME", required_if_eq("shared", "true"))]
    login: Option<String>,
    /// File with the password, or - for standard input.
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// Seal to this vault key or not at all: whoever trusts the file, and not control.
    #[arg(long, value_name = "ID")]
    key: Option<VaultKeyId>,
    /// Replace only what still has this etag (see `credential list --output json`).
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
}

impl CredentialCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Set(wanted) => set(wanted, control, screen).await,
            Self::List { app } => {
                let kept = all(app.as_ref(), control).await?.into_iter();
                let views: Vec<_> = kept.map(CredentialView::from).collect();
                let empty = "No credentials are kept. `adit credential set --help` shows how.";
                table::list(screen, &views, empty, control.clock.wall())
            }
            Self::Delete { whose, etag } => {
                let name = whose.name().to_string();
                let request = DeleteCredentialRequest {
                    name: name.clone(),
                    etag,
                };
                let mut vault = control.vault();
                let deletion = vault.delete_credential(request);
                control.delete(&name, deletion, screen).await
            }
        }
    }
}

async fn all(app: Option<&AppId>, control: &Control) -> Result<Vec<admin::Credential>, Failure> {
    let app = app.map(AppId::resource_name).unwrap_or_default();
    let fetch = async |page_token| {
        let request = ListCredentialsRequest {
            page_size: PAGE_SIZE,
            page_token,
            app: app.clone(),
        };
        let page = control.vault().list_credentials(request).await?;
        let page = page.into_inner();
        Ok((page.credentials, page.next_page_token))
    };
    control.pages("list credentials", fetch).await
}

async fn set(wanted: SetCredential, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let name = wanted.whose.name();
    let login = match (&wanted.login, &name.holder) {
        (Some(login), _) => login.clone(),
        (None, Holder::User { user, .. }) => user.to_string(),
        (None, Holder::Shared) => String::new(),
    };
    let password = password_in(&wanted.password_file)?.into_exposed();
    let credential = Credential::new(login, password);
    let key = newest_key(&name, wanted.key.as_ref(), control).await?;
    let sealed = key.seal(&name, &credential).map_err(Failure::Seal)?;
    let request = SetCredentialRequest {
        credential: Some(admin::Credential {
            name: name.to_string(),
            etag: wanted.etag,
            vault_key: key.id().resource_name(),
            sealed: sealed.into(),
            ..admin::Credential::default()
        }),
    };
    let doing = format!("set {name}");
    let mut vault = control.vault();
    let kept = control.call(doing, vault.set_credential(request)).await?;
    let view = CredentialView::from(kept);
    table::written(screen, &view, &view.name, "set")
}

/// The key of the app's group to which credentials are sealed now.
async fn newest_key(
    name: &CredentialName,
    wanted: Option<&VaultKeyId>,
    control: &Control,
) -> Result<PublicKey, Failure> {
    let app = name.app.resource_name();
    let request = GetAppRequest { name: app.clone() };
    let mut apps = control.apps();
    let app = control.call(format!("set {name}"), apps.get_app(request));
    let group = app.await?.group;
    let group: Option<GroupId> =
        GroupId::from_resource_name(&group).and_then(|read: Result<GroupId, _>| read.ok());
    let keys = vault_key::all(group.as_ref(), control).await?;
    let Some(newest) = keys.first() else {
        return Err(Failure::NoVaultKey(
            group.map(|group| group.to_string()).unwrap_or_default(),
        ));
    };
    let key = PublicKey::of_point(&newest.public_key);
    let key = key.map_err(|_| Failure::Seal(SealError::Failed))?;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != key.id()) {
        return Err(Failure::OtherVaultKey {
            wanted: wanted.clone(),
            newest: key.id().clone(),
        });
    }
    Ok(key)
}

/// Keys of a credential in JSON.
#[derive(Debug, Serialize)]
struct CredentialView {
    name: String,
    etag: String,
    app: String,
    /// Empty: one for all.
    user: String,
    /// Empty: the fabric itself.
    provider: String,
    vault_key: String,
    group: String,
    by_user: bool,
    update_time: Option<String>,
    #[serde(skip)]
    changed: Option<prost_types::Timestamp>,
}

impl From<admin::Credential> for CredentialView {
    fn from(kept: admin::Credential) -> Self {
        let name: Option<CredentialName> = kept.name.parse().ok();
        let app = name.as_ref().map(|name| name.app.to_string());
        let (user, provider) = match name.map(|name| name.holder) {
            Some(Holder::User { user, provider }) => {
                let provider = provider.map(|provider| provider.to_string());
                (user.to_string(), provider.unwrap_or_default())
            }
            Some(Holder::Shared) | None => (String::new(), String::new()),
        };
        Self {
            name: kept.name,
            etag: kept.etag,
            app: app.unwrap_or_default(),
            user,
            provider,
            vault_key: kept.vault_key,
            group: kept.group,
            by_user: kept.by_user,
            update_time: age::rfc3339(kept.update_time),
            changed: kept.update_time,
        }
    }
}

impl Row for CredentialView {
    const COLUMNS: &'static [&'static str] =
        &["APP", "USER", "PROVIDER", "KEY", "SET BY", "CHANGED"];

    fn cells(&self, now: std::time::SystemTime) -> Vec<String> {
        let user = match &*self.user {
            "" => "(all)",
            user => user,
        };
        vec![
            self.app.clone(),
            user.to_owned(),
            table::or_dash(&self.provider),
            table::id(&self.vault_key).to_owned(),
            if self.by_user { "user" } else { "operator" }.to_owned(),
            age::relative(self.changed.as_ref(), now),
        ]
    }
}
