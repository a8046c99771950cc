//! `adit agent list|show|move|revoke|delete`: the enrolled agents.

use std::time::SystemTime;

use model::name::{AgentId, GroupId};
use prost_types::FieldMask;
use proto::admin::{
    Agent, DeleteAgentRequest, GetAgentRequest, ListAgentsRequest, RevokeAgentRequest,
    UpdateAgentRequest,
};
use serde::Serialize;

use super::{
    age,
    client::{Control, PAGE_SIZE},
    edge::presence_word,
    failure::Failure,
    screen::Screen,
    table::{self, Page, Row},
};

/// What to do with enrolled agents.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AgentCommand {
    /// List all agents, with their links.
    #[command(after_help = "Example:\n  adit agent list")]
    List,
    /// Show one agent.
    #[command(after_help = "Example:\n  adit agent show branch-1")]
    Show {
        /// Id of the agent.
        id: AgentId,
    },
    /// Move an agent to another group; it serves that within seconds, and has 30 s for what it has begun.
    #[command(after_help = "Example:\n  adit agent move branch-1 --group office")]
    Move {
        /// Id of the agent.
        id: AgentId,
        /// Group to move it to.
        #[arg(long)]
        group: GroupId,
    },
    /// Cut an agent off within two seconds, for good.
    #[command(after_help = "Example:\n  adit agent revoke branch-1")]
    Revoke {
        /// Id of the agent.
        id: AgentId,
        /// Revoke only if the agent still has this etag (see `agent show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Revoke an agent and forget it.
    #[command(after_help = "Example:\n  adit agent delete branch-1")]
    Delete {
        /// Id of the agent.
        id: AgentId,
        /// Delete only if the agent still has this etag (see `agent show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
}

impl AgentCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::List => list(control, screen).await,
            Self::Show { id } => {
                let name = id.resource_name();
                let doing = format!("show {name}");
                let request = GetAgentRequest { name };
                let agent = control
                    .call(doing, control.agents().get_agent(request))
                    .await?;
                table::show(screen, &AgentView::from(agent), control.clock.wall())
            }
            Self::Move { id, group } => {
                let agent = relocate(&id, &group, control).await?;
                written(agent, &format!("moved to {group}"), screen)
            }
            Self::Revoke { id, etag } => {
                let name = id.resource_name();
                let doing = format!("revoke {name}");
                let request = RevokeAgentRequest { name, etag };
                let agent = control
                    .call(doing, control.agents().revoke_agent(request))
                    .await?;
                written(agent, "revoked", screen)
            }
            Self::Delete { id, etag } => delete(&id, etag, control, screen).await,
        }
    }
}

async fn list(control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let fetch = async |page_token| {
        let request = ListAgentsRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = control.agents().list_agents(request).await?.into_inner();
        Ok((page.agents, page.next_page_token))
    };
    let agents = control.pages("list agents", fetch).await?;
    let views: Vec<_> = agents.into_iter().map(AgentView::from).collect();
    let empty = "No agents have joined. `adit token create --group ID` makes a token for one.";
    table::list(screen, &views, empty, control.clock.wall())
}

async fn relocate(id: &AgentId, group: &GroupId, control: &Control) -> Result<Agent, Failure> {
    let name = id.resource_name();
    let doing = format!("move {name}");
    let request = UpdateAgentRequest {
        agent: Some(Agent {
            name,
            group: group.resource_name(),
            ..Agent::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["group".to_owned()],
        }),
    };
    control
        .call(doing, control.agents().update_agent(request))
        .await
}

async fn delete(
    id: &AgentId,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = id.resource_name();
    let request = DeleteAgentRequest {
        name: name.clone(),
        etag,
    };
    let mut agents = control.agents();
    let deletion = agents.delete_agent(request);
    control.delete(&name, deletion, screen).await
}

fn written(agent: Agent, what: &str, screen: &mut Screen) -> Result<(), Failure> {
    let view = AgentView::from(agent);
    table::written(screen, &view, &view.name, what)
}

/// Keys of an agent in JSON.
#[derive(Debug, Serialize)]
struct AgentView {
    name: String,
    etag: String,
    group: String,
    presence: &'static str,
    revoked: bool,
    ephemeral: bool,
    links: Vec<LinksView>,
    version: String,
    applied_revision: u64,
    create_time: Option<String>,
    last_seen_time: Option<String>,
    certificate_expire_time: Option<String>,
    #[serde(skip)]
    seen: Option<prost_types::Timestamp>,
    #[serde(skip)]
    expires: Option<prost_types::Timestamp>,
}

/// Keys of an agent's links at one edge in JSON.
#[derive(Debug, Serialize)]
struct LinksView {
    edge: String,
    links: u32,
    tcp_links: u32,
}

impl LinksView {
    fn quic_links(&self) -> u32 {
        self.links.saturating_sub(self.tcp_links)
    }
}

/// What carries so many links: `quic`, `tcp`, or both while an agent changes from one to the other.
fn transports(quic: u32, tcp: u32) -> &'static str {
    match (quic, tcp) {
        (0, 0) => "-",
        (_, 0) => "quic",
        (0, _) => "tcp",
        (_, _) => "quic, tcp",
    }
}

impl From<Agent> for AgentView {
    fn from(agent: Agent) -> Self {
        let links = agent.links.iter().map(|count| LinksView {
            edge: count.edge.clone(),
            links: count.links,
            tcp_links: count.tcp_links,
        });
        Self {
            presence: presence_word(agent.presence()),
            links: links.collect(),
            name: agent.name,
            etag: agent.etag,
            group: agent.group,
            revoked: agent.revoked,
            ephemeral: agent.ephemeral,
            version: agent.version,
            applied_revision: agent.applied_revision,
            create_time: age::rfc3339(agent.create_time),
            last_seen_time: age::rfc3339(agent.last_seen_time),
            certificate_expire_time: age::rfc3339(agent.certificate_expire_time),
            seen: agent.last_seen_time,
            expires: agent.certificate_expire_time,
        }
    }
}

impl Row for AgentView {
    const COLUMNS: &'static [&'static str] = &[
        "AGENT",
        "GROUP",
        "PRESENCE",
        "LINKS",
        "TRANSPORT",
        "LAST SEEN",
        "REVISION",
        "VERSION",
        "EXPIRES",
    ];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        let links: u32 = self.links.iter().map(|at| at.links).sum();
        let quic = self.links.iter().map(LinksView::quic_links).sum();
        let tcp = self.links.iter().map(|at| at.tcp_links).sum();
        vec![
            table::id(&self.name).to_owned(),
            table::id(&self.group).to_owned(),
            self.presence.to_owned(),
            links.to_string(),
            transports(quic, tcp).to_owned(),
            table::or_dash(&age::relative(self.seen.as_ref(), now)),
            self.applied_revision.to_string(),
            table::or_dash(&self.version),
            table::or_dash(&age::relative(self.expires.as_ref(), now)),
        ]
    }
}

impl Page for AgentView {
    fn facts(&self, now: SystemTime) -> Vec<(&'static str, String)> {
        let links = self.links.iter();
        let links: Vec<_> = links
            .map(|at| {
                let over = transports(at.quic_links(), at.tcp_links);
                format!("{} at {} over {over}", at.links, table::id(&at.edge))
            })
            .collect();
        vec![
            ("agent", table::id(&self.name).to_owned()),
            ("group", table::id(&self.group).to_owned()),
            ("presence", self.presence.to_owned()),
            (
                "keeps",
                if self.ephemeral {
                    "nothing (ephemeral)"
                } else {
                    ""
                }
                .to_owned(),
            ),
            ("links", links.join("\n")),
            ("last seen", age::relative(self.seen.as_ref(), now)),
            ("revision", self.applied_revision.to_string()),
            ("version", self.version.clone()),
            (
                "certificate ends",
                age::relative(self.expires.as_ref(), now),
            ),
            ("joined", age::to_the_second(self.create_time.as_deref())),
            ("etag", self.etag.clone()),
        ]
    }
}
