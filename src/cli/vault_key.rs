//! `adit vault-key`: keys of groups, to which credentials of apps are sealed.

use std::{io::Write as _, path::Path, path::PathBuf};

use model::name::{GroupId, VaultKeyId};
use proto::admin::{CreateVaultKeyRequest, DeleteVaultKeyRequest, ListVaultKeysRequest, VaultKey};
use runtime::{file, vault::KeyPair};
use serde::Serialize;

use super::{
    age,
    client::{Control, PAGE_SIZE},
    failure::Failure,
    screen::Screen,
    table::{self, Row},
};

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum VaultKeyCommand {
    /// Make a key for a group here, and tell control its public half.
    ///
    /// The private half goes to a file that only you can read: put it beside each agent of the group, as its vault_key_file. Nobody else
    /// has it, and nobody can make it anew: without it, credentials must be entered again. From now on credentials are sealed to it; for
    /// those that are sealed to an older key, let the agents' file hold the lines of both.
    #[command(
        after_help = "Examples:\n  adit vault-key create --group office --out office.vault-key\n  adit vault-key create --group office --out office-2.vault-key"
    )]
    Create {
        /// Id of the group whose agents shall have it.
        #[arg(long, value_name = "ID")]
        group: GroupId,
        /// File for the private half; must not be there yet.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// List the keys of all groups, or of one.
    #[command(
        after_help = "Examples:\n  adit vault-key list\n  adit vault-key list --group office"
    )]
    List {
        /// Of this group alone.
        #[arg(long, value_name = "ID")]
        group: Option<GroupId>,
    },
    /// Delete a key; refused while credentials are sealed to it.
    #[command(after_help = "Example:\n  adit vault-key delete 0123456789abcdef")]
    Delete {
        /// Id of the key.
        id: VaultKeyId,
        /// Delete what is sealed to it as well: it must be entered again.
        #[arg(long)]
        force: bool,
        /// Delete only if the key still has this etag (see `vault-key list --output json`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
}

impl VaultKeyCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Create { group, out } => create(group, &out, control, screen).await,
            Self::List { group } => {
                let keys = all(group.as_ref(), control).await?.into_iter();
                let views: Vec<_> = keys.map(VaultKeyView::from).collect();
                let empty = "There are no vault keys. `adit vault-key create --help` shows how.";
                table::list(screen, &views, empty, control.clock.wall())
            }
            Self::Delete { id, force, etag } => {
                let name = id.resource_name();
                let request = DeleteVaultKeyRequest {
                    name: name.clone(),
                    etag,
                    force,
                };
                let mut vault = control.vault();
                let deletion = vault.delete_vault_key(request);
                control.delete(&name, deletion, screen).await
            }
        }
    }
}

/// The keys of a group, or of all, newest first.
pub(super) async fn all(
    group: Option<&GroupId>,
    control: &Control,
) -> Result<Vec<VaultKey>, Failure> {
    let group = group.map(GroupId::resource_name).unwrap_or_default();
    let fetch = async |page_token| {
        let request = ListVaultKeysRequest {
            page_size: PAGE_SIZE,
            page_token,
            group: group.clone(),
        };
        let page = control.vault().list_vault_keys(request).await?.into_inner();
        Ok((page.vault_keys, page.next_page_token))
    };
    let mut keys = control.pages("list vault keys", fetch).await?;
    let since = |key: &VaultKey| {
        let time = key.create_time.unwrap_or_default();
        (time.seconds, time.nanos)
    };
    keys.sort_by(|one, other| {
        let groups = one.group.cmp(&other.group);
        // As control orders them.
        let ages = (since(other), &other.name).cmp(&(since(one), &one.name));
        groups.then(ages)
    });
    Ok(keys)
}

/// The file comes first: a key that control knows and nobody has would be sealed to.
async fn create(
    group: GroupId,
    out: &Path,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let doing = format!("create a vault key for {}", group.resource_name());
    let wanted = group.resource_name();
    let pair = KeyPair::generate(group).map_err(Failure::Seal)?;
    write(out, &pair).map_err(|source| Failure::Unwritable {
        path: out.to_owned(),
        source,
    })?;
    let request = CreateVaultKeyRequest {
        vault_key: Some(VaultKey {
            group: wanted,
            public_key: pair.public().point().to_vec().into(),
            ..VaultKey::default()
        }),
        validate_only: false,
    };
    let mut vault = control.vault();
    let made = match control.answer(vault.create_vault_key(request)).await {
        Ok(made) => made,
        Err(answer) => {
            if answer.is_refusal() {
                // Nothing is sealed to it. What cannot be removed is in nobody's way.
                let _ = file::remove(out);
            } else {
                screen.note(format_args!(
                    "It is not known whether control has taken the key: its private half stays in {}. `adit vault-key list` shows what there is; delete the file only if the key is not there.",
                    out.display()
                ))?;
            }
            return Err(control.failure(doing, answer));
        }
    };
    let view = VaultKeyView::from(made);
    table::written(screen, &view, &view.name, "created")?;
    screen.note(format_args!(
        "Its private half is in {}: put it beside each agent of the group, as its vault_key_file.",
        out.display()
    ))
}

fn write(out: &Path, pair: &KeyPair) -> std::io::Result<()> {
    let mut file = file::new(out, file::PRIVATE)?;
    file.write_all(pair.written().as_bytes())?;
    file.sync_all()
}

/// Keys of a vault key in JSON.
#[derive(Debug, Serialize)]
struct VaultKeyView {
    name: String,
    etag: String,
    group: String,
    create_time: Option<String>,
    #[serde(skip)]
    created: Option<prost_types::Timestamp>,
}

impl From<VaultKey> for VaultKeyView {
    fn from(key: VaultKey) -> Self {
        Self {
            name: key.name,
            etag: key.etag,
            group: key.group,
            create_time: age::rfc3339(key.create_time),
            created: key.create_time,
        }
    }
}

impl Row for VaultKeyView {
    const COLUMNS: &'static [&'static str] = &["KEY", "GROUP", "CREATED"];

    fn cells(&self, now: std::time::SystemTime) -> Vec<String> {
        vec![
            table::id(&self.name).to_owned(),
            table::id(&self.group).to_owned(),
            age::relative(self.created.as_ref(), now),
        ]
    }
}
