//! `adit service-token`: programs that use apps, each by a token of its own.

use std::time::{Duration, SystemTime};

use model::{name::ServiceTokenId, service::SERVICE_TOKEN_LIFE_MAX};
use prost_types::FieldMask;
use proto::{
    admin::{
        CreateServiceTokenRequest, DeleteServiceTokenRequest, GetServiceTokenRequest,
        ListServiceTokensRequest, ServiceToken, UpdateServiceTokenRequest,
    },
    time::wire_duration,
};
use serde::Serialize;

use super::{
    age,
    client::{Control, PAGE_SIZE},
    failure::Failure,
    parse,
    screen::{Output, Screen},
    table::{self, Page, Row},
};

const CREATE_EXAMPLES: &str =
    "The token alone goes to standard output, so that it can be captured. It is shown this once, and opens the apps that are
assigned to it:

  adit service-token create ci --ttl 90d > ci.token
  adit app update wiki --assign-service ci
  printf 'header = \"Authorization: Bearer %s\"' \"$(cat ci.token)\" \\
    | curl -K - https://wiki.example.com/api";

const UPDATE_EXAMPLES: &str = "Examples:
  adit service-token update ci --disable
  adit service-token update ci --enable --display-name \"Nightly jobs\"";

/// What to do with service tokens.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ServiceTokenCommand {
    /// Make a token for a program.
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateServiceToken),
    /// List all service tokens; the tokens themselves are not kept.
    #[command(after_help = "Example:\n  adit service-token list")]
    List,
    /// Show one service token.
    #[command(after_help = "Example:\n  adit service-token show ci")]
    Show {
        /// Id of the token.
        id: ServiceTokenId,
    },
    /// Disable a service token for a while, enable it again, or change what people see.
    #[command(after_help = UPDATE_EXAMPLES)]
    Update(UpdateServiceToken),
    /// Delete a service token; edges refuse it, and cut what is open, within seconds.
    #[command(after_help = "Example:\n  adit service-token delete ci")]
    Delete {
        /// Id of the token.
        id: ServiceTokenId,
        /// Delete only if the token still has this etag (see `service-token show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
}

/// `adit service-token create`.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateServiceToken {
    /// Id of the new token: 1-63 of a-z, 0-9 and -.
    id: ServiceTokenId,
    /// What people see.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    display_name: String,
    /// How long it works, such as 90d; for good where nothing is said.
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<Duration>,
}

/// `adit service-token update`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args(["display_name", "disable", "enable"]))]
pub(crate) struct UpdateServiceToken {
    /// Id of the token.
    id: ServiceTokenId,
    /// What people see.
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Edges refuse it, and cut what is open, within seconds.
    #[arg(long)]
    disable: bool,
    /// It works again.
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Update only if the token still has this etag (see `service-token show`).
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
}

fn ttl(text: &str) -> Result<Duration, String> {
    parse::duration_in(text, (Duration::from_secs(1), SERVICE_TOKEN_LIFE_MAX))
}

impl ServiceTokenCommand {
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

impl CreateServiceToken {
    async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let doing = format!("create {}", self.id.resource_name());
        let request = CreateServiceTokenRequest {
            service_token_id: self.id.to_string(),
            display_name: self.display_name,
            ttl: self.ttl.map(wire_duration),
        };
        let mut tokens = control.service_tokens();
        let made = control
            .call(doing, tokens.create_service_token(request))
            .await?;
        let view = ServiceTokenView::from(made.service_token.unwrap_or_default());
        match screen.output {
            Output::Json => screen.json(&CreatedServiceToken {
                token: made.token,
                service_token: view,
            }),
            Output::Table => {
                screen.note(format_args!(
                    "{} is made; its token is shown this once. It opens the apps that are assigned to it: adit app update APP --assign-service {}",
                    view.name, self.id
                ))?;
                screen.line(made.token)
            }
        }
    }
}

impl UpdateServiceToken {
    async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let name = self.id.resource_name();
        let doing = format!("update {name}");
        let given = [
            ("display_name", self.display_name.is_some()),
            ("disabled", self.disable || self.enable),
        ];
        let given = given.iter().filter(|(_, given)| *given);
        let request = UpdateServiceTokenRequest {
            update_mask: Some(FieldMask {
                paths: given.map(|(path, _)| (*path).to_owned()).collect(),
            }),
            service_token: Some(ServiceToken {
                name: name.clone(),
                etag: self.etag,
                display_name: self.display_name.unwrap_or_default(),
                disabled: self.disable,
                ..ServiceToken::default()
            }),
        };
        let mut tokens = control.service_tokens();
        control
            .call(doing, tokens.update_service_token(request))
            .await?;
        table::done(screen, &name, "updated")
    }
}

async fn list(control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let fetch = async |page_token| {
        let request = ListServiceTokensRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = control
            .service_tokens()
            .list_service_tokens(request)
            .await?;
        let page = page.into_inner();
        Ok((page.service_tokens, page.next_page_token))
    };
    let tokens = control.pages("list service tokens", fetch).await?;
    let views: Vec<_> = tokens.into_iter().map(ServiceTokenView::from).collect();
    let empty = "There are no service tokens. `adit service-token create --help` shows how.";
    table::list(screen, &views, empty, control.clock.wall())
}

async fn show(id: &ServiceTokenId, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let name = id.resource_name();
    let doing = format!("show {name}");
    let request = GetServiceTokenRequest { name };
    let mut tokens = control.service_tokens();
    let token = control
        .call(doing, tokens.get_service_token(request))
        .await?;
    table::show(screen, &ServiceTokenView::from(token), control.clock.wall())
}

async fn delete(
    id: &ServiceTokenId,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = id.resource_name();
    let request = DeleteServiceTokenRequest {
        name: name.clone(),
        etag,
    };
    let mut tokens = control.service_tokens();
    let deletion = tokens.delete_service_token(request);
    control.delete(&name, deletion, screen).await
}

/// Keys of a new service token in JSON.
#[derive(Serialize)]
struct CreatedServiceToken {
    token: String,
    service_token: ServiceTokenView,
}

/// Keys of a service token in JSON.
#[derive(Debug, Serialize)]
struct ServiceTokenView {
    name: String,
    etag: String,
    display_name: String,
    disabled: bool,
    create_time: Option<String>,
    update_time: Option<String>,
    expire_time: Option<String>,
    #[serde(skip)]
    created: Option<prost_types::Timestamp>,
    #[serde(skip)]
    expires: Option<prost_types::Timestamp>,
}

impl From<ServiceToken> for ServiceTokenView {
    fn from(token: ServiceToken) -> Self {
        Self {
            name: token.name,
            etag: token.etag,
            display_name: token.display_name,
            disabled: token.disabled,
            create_time: age::rfc3339(token.create_time),
            update_time: age::rfc3339(token.update_time),
            expire_time: age::rfc3339(token.expire_time),
            created: token.create_time,
            expires: token.expire_time,
        }
    }
}

impl ServiceTokenView {
    fn state(&self) -> &'static str {
        if self.disabled { "disabled" } else { "active" }
    }

    fn ends(&self, now: SystemTime) -> String {
        match &self.expires {
            None => "never".to_owned(),
            Some(_) => age::relative(self.expires.as_ref(), now),
        }
    }
}

impl Row for ServiceTokenView {
    const COLUMNS: &'static [&'static str] =
        &["SERVICE TOKEN", "DISPLAY NAME", "STATE", "CREATED", "ENDS"];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        vec![
            table::id(&self.name).to_owned(),
            table::or_dash(&self.display_name),
            self.state().to_owned(),
            age::relative(self.created.as_ref(), now),
            self.ends(now),
        ]
    }
}

impl Page for ServiceTokenView {
    fn facts(&self, now: SystemTime) -> Vec<(&'static str, String)> {
        vec![
            ("service token", table::id(&self.name).to_owned()),
            ("display name", self.display_name.clone()),
            ("state", self.state().to_owned()),
            ("ends", self.ends(now)),
            ("created", age::to_the_second(self.create_time.as_deref())),
            ("changed", age::to_the_second(self.update_time.as_deref())),
            ("etag", self.etag.clone()),
        ]
    }
}
