//! `adit client-ca`: CAs whose certificates users' devices, or programs, show in the TLS handshake.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use model::{client_ca::Serial, name::ClientCaId};
use prost_types::{FieldMask, Timestamp};
use proto::admin::{
    CaCertificate, ClientCa, ClientCaHolders, CreateClientCaRequest, Crl, DeleteClientCaRequest,
    GetClientCaRequest, ListClientCasRequest, UpdateClientCaRequest,
};
use serde::Serialize;

use super::{
    age,
    client::{Control, PAGE_SIZE},
    failure::Failure,
    screen::Screen,
    table::{self, Page, Row},
};

const CREATE_EXAMPLES: &str = "Examples:
  adit client-ca create laptops --for devices --file laptops-ca.pem
  adit client-ca create jobs --for programs --file jobs-ca.pem \\
    --crl jobs.crl.pem
Then name it where its certificates are to count:
  adit app update wiki --client-ca laptops
  adit access-rule create laptops-only --everyone --app wiki \\
    --require device-certificate";

const UPDATE_EXAMPLES: &str = "Examples:
  adit client-ca update laptops --revoke-serial 1A:2B:3C
  adit client-ca update laptops --restore-serial 1A:2B:3C
  adit client-ca update laptops --crl laptops.crl.pem
  adit client-ca update laptops --file old-and-new-ca.pem";

/// What is said where nothing was to be done.
const CHECKED: &str = "is fine; nothing was changed";

/// What to do with CAs of devices and programs.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ClientCaCommand {
    /// Make the certificates of a CA known, for apps to name.
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateClientCa),
    /// List all CAs of devices and programs.
    #[command(after_help = "Example:\n  adit client-ca list")]
    List,
    /// Show one CA, with its certificates and lists of what was revoked.
    #[command(after_help = "Example:\n  adit client-ca show laptops")]
    Show {
        /// Id of the CA.
        id: ClientCaId,
    },
    /// Change a CA, or revoke certificates of it; edges follow, and cut what is open, within seconds.
    #[command(after_help = UPDATE_EXAMPLES)]
    Update(UpdateClientCa),
    /// Delete a CA; none of its certificates counts any more, and what is open by them is cut within seconds.
    #[command(after_help = "Example:\n  adit client-ca delete laptops")]
    Delete {
        /// Id of the CA.
        id: ClientCaId,
        /// Delete only if the CA still has this etag (see `client-ca show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
}

/// `adit client-ca create`.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateClientCa {
    /// Id of the new CA: 1-63 of a-z, 0-9 and -.
    id: ClientCaId,
    /// What its certificates are of. Cannot be changed.
    #[arg(long = "for", value_enum, value_name = "WHOM")]
    holders: HoldersWord,
    /// PEM file with the CA's certificates: one, or several that follow one another.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// PEM file with the CA's list of revoked certificates. Once there is one, each CA of a chain needs its own.
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// What people see.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    display_name: String,
    /// Check everything and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// `adit client-ca update`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true)
    .args(["file", "crl", "no_crl", "revoke_serials", "restore_serials", "display_name"]))]
pub(crate) struct UpdateClientCa {
    /// Id of the CA.
    id: ClientCaId,
    /// PEM file with the CA's certificates, in place of those there are.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// PEM file with lists of revoked certificates, in place of those there are.
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// Give the lists up.
    #[arg(long, conflicts_with = "crl")]
    no_crl: bool,
    /// A certificate that shall not count any more, by its serial number in hexadecimal; may be repeated.
    #[arg(long = "revoke-serial", value_name = "HEX")]
    revoke_serials: Vec<Serial>,
    /// One that shall count again; may be repeated.
    #[arg(long = "restore-serial", value_name = "HEX")]
    restore_serials: Vec<Serial>,
    /// What people see.
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Update only if the CA still has this etag (see `client-ca show`).
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    /// Check everything and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Words for what a CA's certificates are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum HoldersWord {
    /// Users' devices, which access rules may ask for.
    Devices,
    /// Programs, each by the name in its certificate.
    Programs,
}

impl HoldersWord {
    const fn wire(self) -> ClientCaHolders {
        match self {
            Self::Devices => ClientCaHolders::Devices,
            Self::Programs => ClientCaHolders::Programs,
        }
    }
}

impl ClientCaCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(control, screen).await,
            Self::List => {
                let all = all(control).await?;
                let views: Vec<_> = all.into_iter().map(ClientCaView::from).collect();
                let empty = "There are no CAs of devices or programs. `adit client-ca create --help` shows how.";
                table::list(screen, &views, empty, control.clock.wall())
            }
            Self::Show { id } => {
                let view = ClientCaView::from(get(&id, "show", control).await?);
                table::show(screen, &view, control.clock.wall())
            }
            Self::Update(update) => update.run(control, screen).await,
            Self::Delete { id, etag } => delete(&id, etag, control, screen).await,
        }
    }
}

impl CreateClientCa {
    async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let doing = format!("create {}", self.id.resource_name());
        let request = CreateClientCaRequest {
            client_ca_id: self.id.to_string(),
            client_ca: Some(ClientCa {
                display_name: self.display_name,
                holders: self.holders.wire().into(),
                ca_pem: read(&self.file)?,
                crl_pem: self
                    .crl
                    .as_deref()
                    .map_or_else(|| Ok(String::new()), read)?,
                ..ClientCa::default()
            }),
            validate_only: self.dry_run,
        };
        let mut authorities = control.client_cas();
        let created = control.call(doing, authorities.create_client_ca(request));
        let what = if self.dry_run { CHECKED } else { "created" };
        written(created.await?, what, screen)
    }
}

impl UpdateClientCa {
    async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let doing = format!("update {}", self.id.resource_name());
        let changes_serials = !self.revoke_serials.is_empty() || !self.restore_serials.is_empty();
        let given = [
            ("ca_pem", self.file.is_some()),
            ("crl_pem", self.crl.is_some() || self.no_crl),
            ("revoked_serials", changes_serials),
            ("display_name", self.display_name.is_some()),
        ];
        let given = given.iter().filter(|(_, given)| *given);
        let paths = given.map(|(path, _)| (*path).to_owned()).collect();
        let mut ca = ClientCa {
            name: self.id.resource_name(),
            etag: self.etag.clone(),
            ca_pem: self
                .file
                .as_deref()
                .map_or_else(|| Ok(String::new()), read)?,
            crl_pem: self
                .crl
                .as_deref()
                .map_or_else(|| Ok(String::new()), read)?,
            display_name: self.display_name.clone().unwrap_or_default(),
            ..ClientCa::default()
        };
        if changes_serials {
            let now = get(&self.id, "update", control).await?;
            ca.revoked_serials = self.serials(now.revoked_serials);
            if ca.etag.is_empty() {
                // So that nothing is lost that somebody else revokes meanwhile.
                ca.etag = now.etag;
            }
        }
        let request = UpdateClientCaRequest {
            client_ca: Some(ca),
            update_mask: Some(FieldMask { paths }),
            validate_only: self.dry_run,
        };
        let mut authorities = control.client_cas();
        let updated = control.call(doing, authorities.update_client_ca(request));
        let what = if self.dry_run { CHECKED } else { "updated" };
        written(updated.await?, what, screen)
    }

    /// Those that are revoked then, of those that are now.
    fn serials(&self, now: Vec<String>) -> Vec<String> {
        let stays = |text: &String| {
            let serial = text.parse();
            !serial.is_ok_and(|serial| self.restore_serials.contains(&serial))
        };
        let added = self.revoke_serials.iter().map(ToString::to_string);
        let mut serials: Vec<_> = now.into_iter().filter(stays).chain(added).collect();
        serials.sort_unstable();
        serials.dedup();
        serials
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|source| Failure::Unreadable {
        path: path.to_owned(),
        source,
    })
}

async fn all(control: &Control) -> Result<Vec<ClientCa>, Failure> {
    let fetch = async |page_token| {
        let request = ListClientCasRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let mut authorities = control.client_cas();
        let page = authorities.list_client_cas(request).await?.into_inner();
        Ok((page.client_cas, page.next_page_token))
    };
    control.pages("list client CAs", fetch).await
}

async fn get(id: &ClientCaId, what: &str, control: &Control) -> Result<ClientCa, Failure> {
    let name = id.resource_name();
    let doing = format!("{what} {name}");
    let request = GetClientCaRequest { name };
    let mut authorities = control.client_cas();
    control
        .call(doing, authorities.get_client_ca(request))
        .await
}

async fn delete(
    id: &ClientCaId,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = id.resource_name();
    let request = DeleteClientCaRequest {
        name: name.clone(),
        etag,
    };
    let mut authorities = control.client_cas();
    let deletion = authorities.delete_client_ca(request);
    control.delete(&name, deletion, screen).await
}

fn written(ca: ClientCa, what: &str, screen: &mut Screen) -> Result<(), Failure> {
    let view = ClientCaView::from(ca);
    table::written(screen, &view, &view.name, what)
}

/// Keys of a CA in JSON.
#[derive(Debug, Serialize)]
struct ClientCaView {
    name: String,
    etag: String,
    display_name: String,
    holders: &'static str,
    certificates: Vec<CertificateView>,
    crls: Vec<CrlView>,
    revoked_serials: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    ca_pem: String,
    create_time: Option<String>,
    update_time: Option<String>,
}

/// One of a CA's certificates.
#[derive(Debug, Serialize)]
struct CertificateView {
    subject: String,
    expire_time: Option<String>,
    sha256: String,
    #[serde(skip)]
    expires: Option<Timestamp>,
}

/// One of its lists of revoked certificates.
#[derive(Debug, Serialize)]
struct CrlView {
    issuer: String,
    revoked: u32,
    update_time: Option<String>,
    next_update_time: Option<String>,
    #[serde(skip)]
    next: Option<Timestamp>,
}

impl From<CaCertificate> for CertificateView {
    fn from(certificate: CaCertificate) -> Self {
        Self {
            subject: certificate.subject,
            expire_time: age::rfc3339(certificate.expire_time),
            sha256: certificate.sha256,
            expires: certificate.expire_time,
        }
    }
}

impl From<Crl> for CrlView {
    fn from(crl: Crl) -> Self {
        Self {
            issuer: crl.issuer,
            revoked: crl.revoked,
            update_time: age::rfc3339(crl.update_time),
            next_update_time: age::rfc3339(crl.next_update_time),
            next: crl.next_update_time,
        }
    }
}

impl From<ClientCa> for ClientCaView {
    fn from(ca: ClientCa) -> Self {
        Self {
            holders: match ca.holders() {
                ClientCaHolders::Devices => "devices",
                ClientCaHolders::Programs => "programs",
                ClientCaHolders::Unspecified => "unspecified",
            },
            name: ca.name,
            etag: ca.etag,
            display_name: ca.display_name,
            certificates: ca.certificates.into_iter().map(Into::into).collect(),
            crls: ca.crls.into_iter().map(Into::into).collect(),
            revoked_serials: ca.revoked_serials,
            ca_pem: ca.ca_pem,
            create_time: age::rfc3339(ca.create_time),
            update_time: age::rfc3339(ca.update_time),
        }
    }
}

impl ClientCaView {
    /// When the certificate ends that ends first.
    fn ends(&self, now: SystemTime) -> String {
        let ends = self
            .certificates
            .iter()
            .filter_map(|one| one.expires.as_ref());
        age::relative(ends.min_by_key(|time| time.seconds), now)
    }

    /// When a newer list is due, of that which is due first.
    fn lists_due(&self, now: SystemTime) -> String {
        let due = self.crls.iter().filter_map(|one| one.next.as_ref());
        age::relative(due.min_by_key(|time| time.seconds), now)
    }

    fn revoked(&self) -> String {
        let listed: u32 = self.crls.iter().map(|crl| crl.revoked).sum();
        let single = u32::try_from(self.revoked_serials.len()).unwrap_or(u32::MAX);
        match listed.saturating_add(single) {
            0 => String::new(),
            count => count.to_string(),
        }
    }
}

impl Row for ClientCaView {
    const COLUMNS: &'static [&'static str] = &[
        "CLIENT CA",
        "DISPLAY NAME",
        "FOR",
        "ENDS",
        "REVOKED",
        "LIST DUE",
    ];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        vec![
            table::id(&self.name).to_owned(),
            table::or_dash(&self.display_name),
            self.holders.to_owned(),
            self.ends(now),
            table::or_dash(&self.revoked()),
            table::or_dash(&self.lists_due(now)),
        ]
    }
}

impl Page for ClientCaView {
    fn facts(&self, now: SystemTime) -> Vec<(&'static str, String)> {
        let certificates = self.certificates.iter().map(|one| {
            let ends = age::relative(one.expires.as_ref(), now);
            format!("{}, ends {ends}, SHA-256 {}", one.subject, one.sha256)
        });
        let crls = self.crls.iter().map(|one| {
            let due = table::or_dash(&age::relative(one.next.as_ref(), now));
            format!("{}: {} revoked, next due {due}", one.issuer, one.revoked)
        });
        vec![
            ("client CA", table::id(&self.name).to_owned()),
            ("display name", self.display_name.clone()),
            ("for", self.holders.to_owned()),
            ("certificates", certificates.collect::<Vec<_>>().join("\n")),
            ("lists of revoked", crls.collect::<Vec<_>>().join("\n")),
            ("revoked serials", self.revoked_serials.join("\n")),
            ("created", age::to_the_second(self.create_time.as_deref())),
            ("changed", age::to_the_second(self.update_time.as_deref())),
            ("etag", self.etag.clone()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: ClientCaCommand,
    }

    fn update(flags: &[&str]) -> Result<UpdateClientCa, clap::Error> {
        let words = ["client-ca", "update", "laptops"].iter().chain(flags);
        match Line::try_parse_from(words)?.command {
            ClientCaCommand::Update(update) => Ok(update),
            _ => unreachable!("the words say update"),
        }
    }

    #[test]
    fn serials_are_added_to_and_taken_from_those_there_are() {
        let line = ["--revoke-serial", "1A:2B", "--restore-serial", "0007"];
        let update = update(&line).unwrap();
        let now = ["07", "0c", "1a2b"].map(str::to_owned).into();
        assert_eq!(update.serials(now), ["0c", "1a2b"]);
    }

    #[test]
    fn an_update_says_something_that_can_be_meant() {
        for flags in [
            &[][..],
            &["--etag", "5"],
            &["--revoke-serial", "x"],
            &["--crl", "a", "--no-crl"],
        ] {
            assert!(update(flags).is_err(), "{flags:?}");
        }
    }
}
