//! `adit api-token`: bearer tokens of the admin API.

use std::time::{Duration, SystemTime};

use model::name::ApiTokenId;
use proto::{
    admin::{
        ApiToken, CreateApiTokenRequest, DeleteApiTokenRequest, ListApiTokensRequest, OperatorRole,
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
    table::{self, Row},
};

const CREATE_EXAMPLES: &str =
    "The token alone goes to standard output, so that it can be captured. It is shown this once.

Examples:
  adit api-token create deploy --role publisher --ttl 90d > deploy.token
  adit api-token create dashboard --role viewer";

/// What to do with API tokens.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ApiTokenCommand {
    /// Make a token for the admin API.
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateApiToken),
    /// List all API tokens; the tokens themselves are not kept.
    #[command(after_help = "Example:\n  adit api-token list")]
    List,
    /// Delete an API token; it stops working at once.
    #[command(after_help = "Example:\n  adit api-token delete deploy")]
    Delete {
        /// Id of the token.
        id: ApiTokenId,
    },
}

/// `adit api-token create`.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateApiToken {
    /// Id of the new token: 1-63 of a-z, 0-9 and -.
    id: ApiTokenId,
    /// What the token may do.
    #[arg(long, value_enum)]
    role: RoleWord,
    /// What people see.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    display_name: String,
    /// How long it works, such as 90d; for good where nothing is said.
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    ttl: Option<Duration>,
}

/// Words for what an API token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum RoleWord {
    /// Reads everything but audit.
    Viewer,
    /// And writes apps.
    Publisher,
    /// And everything else.
    Admin,
}

impl ApiTokenCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(control, screen).await,
            Self::List => list(control, screen).await,
            Self::Delete { id } => delete(&id, control, screen).await,
        }
    }
}

impl CreateApiToken {
    async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let role = match self.role {
            RoleWord::Viewer => OperatorRole::Viewer,
            RoleWord::Publisher => OperatorRole::Publisher,
            RoleWord::Admin => OperatorRole::Admin,
        };
        let doing = format!("create {}", self.id.resource_name());
        let request = CreateApiTokenRequest {
            api_token_id: self.id.to_string(),
            display_name: self.display_name,
            role: role.into(),
            ttl: self.ttl.map(wire_duration),
        };
        let made = control
            .call(doing, control.api_tokens().create_api_token(request))
            .await?;
        let view = ApiTokenView::from(made.api_token.unwrap_or_default());
        match screen.output {
            Output::Json => screen.json(&CreatedApiToken {
                token: made.token,
                api_token: view,
            }),
            Output::Table => {
                screen.note(format_args!(
                    "{} has the role {}; its token is shown this once.",
                    view.name, view.role
                ))?;
                screen.line(made.token)
            }
        }
    }
}

async fn list(control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let fetch = async |page_token| {
        let request = ListApiTokensRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = control.api_tokens().list_api_tokens(request).await?;
        let page = page.into_inner();
        Ok((page.api_tokens, page.next_page_token))
    };
    let tokens = control.pages("list API tokens", fetch).await?;
    let views: Vec<_> = tokens.into_iter().map(ApiTokenView::from).collect();
    table::list(
        screen,
        &views,
        "There are no API tokens.",
        control.clock.wall(),
    )
}

async fn delete(id: &ApiTokenId, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let name = id.resource_name();
    let request = DeleteApiTokenRequest {
        name: name.clone(),
        etag: String::new(),
    };
    let mut tokens = control.api_tokens();
    let deletion = tokens.delete_api_token(request);
    control.delete(&name, deletion, screen).await
}

/// Keys of a new API token in JSON.
#[derive(Serialize)]
struct CreatedApiToken {
    token: String,
    api_token: ApiTokenView,
}

/// Keys of an API token in JSON.
#[derive(Debug, Serialize)]
struct ApiTokenView {
    name: String,
    etag: String,
    display_name: String,
    role: &'static str,
    create_time: Option<String>,
    expire_time: Option<String>,
    #[serde(skip)]
    created: Option<prost_types::Timestamp>,
    #[serde(skip)]
    expires: Option<prost_types::Timestamp>,
}

impl From<ApiToken> for ApiTokenView {
    fn from(token: ApiToken) -> Self {
        Self {
            role: match token.role() {
                OperatorRole::Unspecified => "unspecified",
                OperatorRole::Viewer => "viewer",
                OperatorRole::Publisher => "publisher",
                OperatorRole::Admin => "admin",
            },
            name: token.name,
            etag: token.etag,
            display_name: token.display_name,
            create_time: age::rfc3339(token.create_time),
            expire_time: age::rfc3339(token.expire_time),
            created: token.create_time,
            expires: token.expire_time,
        }
    }
}

impl Row for ApiTokenView {
    const COLUMNS: &'static [&'static str] = &["TOKEN", "ROLE", "DISPLAY NAME", "CREATED", "ENDS"];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        let ends = match &self.expires {
            None => "never".to_owned(),
            Some(_) => age::relative(self.expires.as_ref(), now),
        };
        vec![
            table::id(&self.name).to_owned(),
            self.role.to_owned(),
            table::or_dash(&self.display_name),
            age::relative(self.created.as_ref(), now),
            ends,
        ]
    }
}
