//! `adit token`: join tokens, with which agents and edges enrol.

use std::{
    num::NonZeroU32,
    time::{Duration, SystemTime},
};

use model::name::{AgentId, EdgeId, GroupId, JoinTokenId};
use proto::{
    admin::{
        CreateJoinTokenRequest, DeleteJoinTokenRequest, JoinToken, ListJoinTokensRequest, NodeRole,
        RevokeJoinTokenRequest,
    },
    time::wire_duration,
};
use serde::Serialize;

use super::{
    age,
    client::{Control, PAGE_SIZE},
    failure::Failure,
    parse,
    process::JOIN_TOKEN_VARIABLE,
    screen::{Output, Screen},
    table::{self, Row},
};

const CREATE_EXAMPLES: &str =
    "The token alone goes to standard output, so that it can be captured. It is shown this once.

Examples:
  adit token create --group office
  adit token create --role edge --uses 3 --ttl 24h > edge.token
  adit token create --replace-agent a1 > a1.token
  adit agent --join-file agent.token --data-dir /var/lib/adit-agent";

/// What to do with join tokens.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token with which agents of a group, or edges, enrol.
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateToken),
    /// List all join tokens; the tokens themselves are not kept.
    #[command(after_help = "Example:\n  adit token list")]
    List,
    /// Stop a join token from enrolling anyone else; who has joined stays.
    #[command(after_help = "Example:\n  adit token revoke jt-3f2a9c")]
    Revoke {
        /// Id of the token (see `token list`).
        id: JoinTokenId,
    },
    /// Delete a join token: it enrols nobody else, and is no longer listed; who has joined stays.
    #[command(after_help = "Example:\n  adit token delete jt-3f2a9c")]
    Delete {
        /// Id of the token (see `token list`).
        id: JoinTokenId,
    },
}

/// `adit token create`.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateToken {
    /// Group that the agents join.
    #[arg(
        long,
        required_if_eq("role", "agent"),
        required_unless_present_any = ["role", "replace_agent", "replace_edge"]
    )]
    group: Option<GroupId>,
    /// What the token enrols.
    #[arg(long, value_enum, default_value_t = RoleWord::Agent)]
    role: RoleWord,
    /// How many nodes may enrol with it.
    #[arg(long, value_name = "N", default_value = "1")]
    uses: NonZeroU32,
    /// The one agent that may enrol with it, in the place of what has its id now: for an agent that has lost its key.
    #[arg(long, value_name = "ID", conflicts_with_all = ["role", "group", "uses", "replace_edge"])]
    replace_agent: Option<AgentId>,
    /// The same for an edge.
    #[arg(long, value_name = "ID", conflicts_with_all = ["role", "group", "uses"])]
    replace_edge: Option<EdgeId>,
    /// How long it may be used, such as 1h or 30d.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse::duration)]
    ttl: Duration,
}

/// Words for what a join token enrols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum RoleWord {
    /// Processes beside the origins.
    Agent,
    /// Processes that face users.
    Edge,
}

impl TokenCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(control, screen).await,
            Self::List => list(control, screen).await,
            Self::Revoke { id } => revoke(&id, control, screen).await,
            Self::Delete { id } => delete(&id, control, screen).await,
        }
    }
}

impl CreateToken {
    async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let agent = self.replace_agent.as_ref().map(AgentId::resource_name);
        let edge = self.replace_edge.as_ref().map(EdgeId::resource_name);
        let node = agent.or(edge);
        let role = match (&node, self.role) {
            (Some(_), _) => NodeRole::Unspecified,
            (None, RoleWord::Agent) => NodeRole::Agent,
            (None, RoleWord::Edge) => NodeRole::Edge,
        };
        let request = CreateJoinTokenRequest {
            join_token_id: String::new(),
            role: role.into(),
            group: self
                .group
                .as_ref()
                .map_or_else(String::new, GroupId::resource_name),
            uses: self.uses.get(),
            ttl: Some(wire_duration(self.ttl)),
            node: node.unwrap_or_default(),
        };
        let made = control
            .call(
                "create a join token",
                control.join_tokens().create_join_token(request),
            )
            .await?;
        let view = TokenView::from(made.join_token.unwrap_or_default());
        match screen.output {
            Output::Json => screen.json(&CreatedToken {
                token: made.token,
                join_token: view,
            }),
            Output::Table => {
                let expires = age::relative(view.expires.as_ref(), control.clock.wall());
                screen.note(format_args!(
                    "{} enrols {}, ends {expires}, and is shown this once. Give it to adit {} by --join-file or {JOIN_TOKEN_VARIABLE}.",
                    view.name, view.enrols(), view.role
                ))?;
                screen.line(made.token)
            }
        }
    }
}

async fn list(control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let fetch = async |page_token| {
        let request = ListJoinTokensRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = control.join_tokens().list_join_tokens(request).await?;
        let page = page.into_inner();
        Ok((page.join_tokens, page.next_page_token))
    };
    let tokens = control.pages("list join tokens", fetch).await?;
    let views: Vec<_> = tokens.into_iter().map(TokenView::from).collect();
    let empty = "There are no join tokens. `adit token create --group ID` makes one.";
    table::list(screen, &views, empty, control.clock.wall())
}

async fn revoke(id: &JoinTokenId, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let name = id.resource_name();
    let doing = format!("revoke {name}");
    let request = RevokeJoinTokenRequest {
        name,
        etag: String::new(),
    };
    let token = control
        .call(doing, control.join_tokens().revoke_join_token(request))
        .await?;
    let view = TokenView::from(token);
    match screen.output {
        Output::Json => screen.json(&view),
        Output::Table => table::done(screen, &view.name, "revoked"),
    }
}

async fn delete(id: &JoinTokenId, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let name = id.resource_name();
    let request = DeleteJoinTokenRequest {
        name: name.clone(),
        etag: String::new(),
    };
    let mut tokens = control.join_tokens();
    let deletion = tokens.delete_join_token(request);
    control.delete(&name, deletion, screen).await
}

/// Keys of a new join token in JSON.
#[derive(Serialize)]
struct CreatedToken {
    token: String,
    join_token: TokenView,
}

/// Keys of a join token in JSON.
#[derive(Debug, Serialize)]
struct TokenView {
    name: String,
    etag: String,
    role: &'static str,
    group: String,
    node: String,
    uses: u32,
    used: u32,
    revoked: bool,
    create_time: Option<String>,
    expire_time: Option<String>,
    #[serde(skip)]
    expires: Option<prost_types::Timestamp>,
}

impl From<JoinToken> for TokenView {
    fn from(token: JoinToken) -> Self {
        Self {
            role: match token.role() {
                NodeRole::Unspecified => "unspecified",
                NodeRole::Agent => "agent",
                NodeRole::Edge => "edge",
            },
            name: token.name,
            etag: token.etag,
            group: token.group,
            node: token.node,
            uses: token.uses,
            used: token.used,
            revoked: token.revoked,
            create_time: age::rfc3339(token.create_time),
            expire_time: age::rfc3339(token.expire_time),
            expires: token.expire_time,
        }
    }
}

impl TokenView {
    /// What it enrols, in words.
    fn enrols(&self) -> String {
        if !self.node.is_empty() {
            return format!("{} {} anew", self.role, table::id(&self.node));
        }
        let plural = if self.uses == 1 { "" } else { "s" };
        if self.group.is_empty() {
            return format!("{} {}{plural}", self.uses, self.role);
        }
        let group = table::id(&self.group);
        format!("{} {}{plural} of group {group}", self.uses, self.role)
    }
}

impl Row for TokenView {
    const COLUMNS: &'static [&'static str] =
        &["TOKEN", "ROLE", "GROUP", "NODE", "USED", "ENDS", "REVOKED"];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        vec![
            table::id(&self.name).to_owned(),
            self.role.to_owned(),
            table::or_dash(table::id(&self.group)),
            table::or_dash(table::id(&self.node)),
            format!("{} of {}", self.used, self.uses),
            age::relative(self.expires.as_ref(), now),
            if self.revoked { "yes" } else { "no" }.to_owned(),
        ]
    }
}
