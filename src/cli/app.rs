//! `adit app`: publications.

mod assign;
pub(crate) mod flag_names;
mod flags;
mod kept;
mod more;
mod sso;
mod sso_test;
mod tile;
mod view;
pub(crate) mod words;

use model::name::AppId;
use proto::admin::{
    App, CreateAppRequest, DeleteAppRequest, GetAppRequest, ListAppsRequest, UpdateAppRequest,
};

pub(crate) use self::{flags::AccessWord, view::AppView};
use self::{
    flags::{Publish, Update},
    sso_test::SsoCommand,
};
use super::{
    client::{Control, PAGE_SIZE},
    failure::Failure,
    screen::{Output, Screen},
    table,
};

/// What to do with apps.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AppCommand {
    /// Publish a private app under public hostnames.
    ///
    /// Edges serve it within a second. Everything that is wrong with the request is reported at once.
    #[command(after_help = flags::PUBLISH_EXAMPLES)]
    Publish(Box<Publish>),
    /// List all apps.
    #[command(after_help = "Examples:\n  adit app list\n  adit app list --output json")]
    List,
    /// Show one app with all its settings.
    #[command(after_help = "Example:\n  adit app show wiki")]
    Show {
        /// Id of the app.
        id: AppId,
    },
    /// Change some settings of an app and leave the others.
    #[command(after_help = flags::UPDATE_EXAMPLES)]
    Update(Box<Update>),
    /// Try out single sign-on for a user.
    #[command(subcommand)]
    Sso(SsoCommand),
    /// Withdraw an app; edges answer 404 within a second.
    #[command(after_help = "Example:\n  adit app delete wiki")]
    Delete {
        /// Id of the app.
        id: AppId,
        /// Delete only if the app still has this etag (see `app show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
}

impl AppCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Publish(publish) => create(&publish, control, screen).await,
            Self::List => {
                let views: Vec<_> = all(control).await?.into_iter().map(AppView::from).collect();
                let empty = "No apps are published. `adit app publish --help` shows how.";
                table::list(screen, &views, empty, control.clock.wall())
            }
            Self::Show { id } => show(&id, control, screen).await,
            Self::Update(change) => update(&change, control, screen).await,
            Self::Sso(command) => command.run(control, screen).await,
            Self::Delete { id, etag } => delete(&id, etag, control, screen).await,
        }
    }
}

/// Every app of the fabric.
pub(crate) async fn all(control: &Control) -> Result<Vec<App>, Failure> {
    let fetch = async |page_token| {
        let request = ListAppsRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = control.apps().list_apps(request).await?.into_inner();
        Ok((page.apps, page.next_page_token))
    };
    control.pages("list apps", fetch).await
}

async fn create(publish: &Publish, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let doing = format!("publish {}", publish.id.resource_name());
    let request = CreateAppRequest {
        app_id: publish.id.to_string(),
        validate_only: publish.dry_run,
        app: Some(publish.app()?),
    };
    let app = control
        .call(doing, Box::pin(control.apps().create_app(request)))
        .await
        .map_err(Failure::naming_flags)?;
    let done = if publish.dry_run {
        "would be published at"
    } else {
        "is published at"
    };
    written(app, done, screen)
}

async fn update(change: &Update, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let doing = format!("update {}", change.id.resource_name());
    let (app, update_mask) = change.app()?;
    let request = UpdateAppRequest {
        app: Some(app),
        update_mask: Some(update_mask),
        allow_missing: false,
        validate_only: change.dry_run,
    };
    let app = control
        .call(doing, Box::pin(control.apps().update_app(request)))
        .await
        .map_err(Failure::naming_flags)?;
    let done = if change.dry_run {
        "would be updated at"
    } else {
        "is updated at"
    };
    written(app, done, screen)
}

/// Tells what a write led to.
fn written(app: App, done: &str, screen: &mut Screen) -> Result<(), Failure> {
    let view = AppView::from(app);
    match screen.output {
        Output::Json => screen.json(&view),
        Output::Table => screen.line(format_args!("{} {done} {}", view.name, view.addresses())),
    }
}

async fn show(id: &AppId, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let name = id.resource_name();
    let doing = format!("show {name}");
    let request = GetAppRequest { name };
    let app = control.call(doing, control.apps().get_app(request)).await?;
    table::show(screen, &AppView::from(app), control.clock.wall())
}

async fn delete(
    id: &AppId,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = id.resource_name();
    let request = DeleteAppRequest {
        name: name.clone(),
        etag,
    };
    let mut apps = control.apps();
    let deletion = apps.delete_app(request);
    control.delete(&name, deletion, screen).await
}
