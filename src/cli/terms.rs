//! `adit terms`: terms of use, and who has accepted them.

mod view;

use std::{fs::File, io::Read as _, path::Path, path::PathBuf, time::Duration};

use model::{
    name::{TermsId, UserId},
    terms::TEXT_BYTES_MAX,
};
use prost_types::FieldMask;
use proto::{
    admin::{
        CreateTermsRequest, DeleteTermsRequest, GetTermsRequest, ListTermsAcceptancesRequest,
        ListTermsRequest, Terms, UpdateTermsRequest,
    },
    time::wire_duration,
};

use self::view::{AcceptanceView, TermsView};
use super::{
    client::{self, Control, PAGE_SIZE},
    failure::Failure,
    parse,
    screen::Screen,
    table,
};

/// What to do with terms of use.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum TermsCommand {
    /// Create terms, for access rules to ask for.
    #[command(
        after_help = "Examples:\n  adit terms create aup --title \"Acceptable use\" --file aup.md\n  adit terms create guests --title \"For guests\" --file guests.txt --again-after 90d\n  adit access-rule create aup --everyone --all-apps --require-terms aup"
    )]
    Create(TextFlags),
    /// List all terms.
    #[command(after_help = "Example:\n  adit terms list")]
    List,
    /// Show terms with their text.
    #[command(after_help = "Example:\n  adit terms show aup")]
    Show {
        /// Id of the terms.
        id: TermsId,
    },
    /// Change terms. With another text everybody is asked again.
    #[command(after_help = "Example:\n  adit terms update aup --file aup.md")]
    Update {
        #[command(flatten)]
        text: TextFlags,
        /// Ask who has accepted only when the text changes.
        #[arg(long, conflicts_with = "again_after")]
        never_again: bool,
        /// Update only if the terms still have this etag (see `terms show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Delete terms; refused while a rule names them. Who has accepted them stays known.
    #[command(after_help = "Example:\n  adit terms delete guests")]
    Delete {
        /// Id of the terms.
        id: TermsId,
        /// Delete only if the terms still have this etag (see `terms show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// List who has accepted which text, when and from where.
    #[command(
        after_help = "Examples:\n  adit terms acceptances aup\n  adit terms acceptances --user alice --output json"
    )]
    Acceptances {
        /// Id of the terms [default: all]
        id: Option<TermsId>,
        /// Of this user alone.
        #[arg(long, value_name = "ID")]
        user: Option<UserId>,
    },
}

/// What terms say.
#[derive(Debug, clap::Args)]
pub(crate) struct TextFlags {
    /// Id of the terms: 1-63 of a-z, 0-9 and -.
    id: TermsId,
    /// What users see above the text.
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// The text, up to 64 KiB of UTF-8: lines with # are headings, those with - items of a list, all else is shown as it is.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Ask again who has accepted that long ago: 1h to 3650d.
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    again_after: Option<Duration>,
}

impl TextFlags {
    /// The terms, and what of them was given.
    fn read(self) -> Result<(Terms, Vec<String>), Failure> {
        let text = self.file.as_deref().map(read_text).transpose()?;
        let given = [
            ("title", self.title.is_some()),
            ("text", text.is_some()),
            ("again_after", self.again_after.is_some()),
        ];
        let paths = client::given(&given);
        let terms = Terms {
            name: self.id.resource_name(),
            title: self.title.unwrap_or_default(),
            text: text.unwrap_or_default(),
            again_after: self.again_after.map(wire_duration),
            ..Terms::default()
        };
        Ok((terms, paths))
    }
}

/// One byte more than there may be is read, so that control says what is too much.
fn read_text(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let most = TEXT_BYTES_MAX as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(most).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(source) => Err(Failure::Unreadable {
            path: path.to_owned(),
            source,
        }),
    }
}

impl TermsCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Create(text) => create(text, control, screen).await,
            Self::List => {
                let terms = all(control).await?.into_iter();
                let views: Vec<_> = terms.map(TermsView::from).collect();
                let empty = "There are no terms of use. `adit terms create --help` shows how.";
                table::list(screen, &views, empty, control.clock.wall())
            }
            Self::Show { id } => show(&id, control, screen).await,
            Self::Update {
                text,
                never_again,
                etag,
            } => {
                let more = never_again.then(|| "again_after".to_owned());
                update(text, more, etag, control, screen).await
            }
            Self::Delete { id, etag } => delete(&id, etag, control, screen).await,
            Self::Acceptances { id, user } => acceptances(id, user, control, screen).await,
        }
    }
}

/// All that the fabric has, without their texts.
async fn all(control: &Control) -> Result<Vec<Terms>, Failure> {
    let fetch = async |page_token| {
        let request = ListTermsRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = control.terms().list_terms(request).await?.into_inner();
        Ok((page.terms, page.next_page_token))
    };
    control.pages("list terms", fetch).await
}

async fn create(text: TextFlags, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let (terms_id, doing) = (
        text.id.to_string(),
        format!("create {}", text.id.resource_name()),
    );
    let request = CreateTermsRequest {
        terms_id,
        terms: Some(text.read()?.0),
        validate_only: false,
    };
    let mut service = control.terms();
    let created = control.call(doing, service.create_terms(request));
    written(created.await?, "created", screen)
}

async fn update(
    text: TextFlags,
    more: Option<String>,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let doing = format!("update {}", text.id.resource_name());
    let (terms, mut paths) = text.read()?;
    paths.extend(more);
    let request = UpdateTermsRequest {
        terms: Some(Terms { etag, ..terms }),
        update_mask: Some(FieldMask { paths }),
        allow_missing: false,
        validate_only: false,
    };
    let mut service = control.terms();
    let updated = control.call(doing, service.update_terms(request));
    written(updated.await?, "updated", screen)
}

fn written(terms: Terms, what: &str, screen: &mut Screen) -> Result<(), Failure> {
    let view = TermsView::from(terms);
    table::written(screen, &view, &view.name, what)
}

async fn show(id: &TermsId, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let name = id.resource_name();
    let doing = format!("show {name}");
    let mut service = control.terms();
    let terms = control.call(doing, service.get_terms(GetTermsRequest { name }));
    let view = TermsView::from(terms.await?);
    table::show(screen, &view, control.clock.wall())
}

async fn delete(
    id: &TermsId,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = id.resource_name();
    let request = DeleteTermsRequest {
        name: name.clone(),
        etag,
    };
    let mut terms = control.terms();
    let deletion = terms.delete_terms(request);
    control.delete(&name, deletion, screen).await
}

async fn acceptances(
    id: Option<TermsId>,
    user: Option<UserId>,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let terms = id.map(|id| id.resource_name()).unwrap_or_default();
    let user = user.map(|id| id.resource_name()).unwrap_or_default();
    let fetch = async |page_token| {
        let request = ListTermsAcceptancesRequest {
            page_size: PAGE_SIZE,
            page_token,
            terms: terms.clone(),
            user: user.clone(),
        };
        let mut service = control.terms();
        let page = service.list_terms_acceptances(request).await?.into_inner();
        Ok((page.acceptances, page.next_page_token))
    };
    let accepted = control.pages("list acceptances", fetch).await?.into_iter();
    let views: Vec<_> = accepted.map(AcceptanceView::from).collect();
    table::list(
        screen,
        &views,
        "Nobody has accepted any.",
        control.clock.wall(),
    )
}
