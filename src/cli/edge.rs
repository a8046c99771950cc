//! `adit edge list|show|revoke|delete`: the enrolled edges.

use std::time::SystemTime;

use model::name::EdgeId;
use proto::admin::{
    DeleteEdgeRequest, Edge, GetEdgeRequest, ListEdgesRequest, Presence, RevokeEdgeRequest,
};
use serde::Serialize;

use super::{
    age,
    client::{Control, PAGE_SIZE},
    failure::Failure,
    screen::{Output, Screen},
    table::{self, Page, Row},
};

/// What to do with enrolled edges.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum EdgeCommand {
    /// List all edges.
    #[command(after_help = "Example:\n  adit edge list")]
    List,
    /// Show one edge.
    #[command(after_help = "Example:\n  adit edge show north-1")]
    Show {
        /// Id of the edge.
        id: EdgeId,
    },
    /// Cut an edge off, for good.
    #[command(after_help = "Example:\n  adit edge revoke north-1")]
    Revoke {
        /// Id of the edge.
        id: EdgeId,
        /// Revoke only if the edge still has this etag (see `edge show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Revoke an edge and forget it.
    #[command(after_help = "Example:\n  adit edge delete north-1")]
    Delete {
        /// Id of the edge.
        id: EdgeId,
        /// Delete only if the edge still has this etag (see `edge show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
}

impl EdgeCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::List => list(control, screen).await,
            Self::Show { id } => {
                let name = id.resource_name();
                let doing = format!("show {name}");
                let request = GetEdgeRequest { name };
                let edge = control
                    .call(doing, control.edges().get_edge(request))
                    .await?;
                table::show(screen, &EdgeView::from(edge), control.clock.wall())
            }
            Self::Revoke { id, etag } => revoke(&id, etag, control, screen).await,
            Self::Delete { id, etag } => delete(&id, etag, control, screen).await,
        }
    }
}

async fn list(control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let fetch = async |page_token| {
        let request = ListEdgesRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = control.edges().list_edges(request).await?.into_inner();
        Ok((page.edges, page.next_page_token))
    };
    let edges = control.pages("list edges", fetch).await?;
    let views: Vec<_> = edges.into_iter().map(EdgeView::from).collect();
    let empty = "No edges have joined. `adit token create --role edge` makes a token for one.";
    table::list(screen, &views, empty, control.clock.wall())
}

async fn revoke(
    id: &EdgeId,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = id.resource_name();
    let doing = format!("revoke {name}");
    let request = RevokeEdgeRequest { name, etag };
    let edge = control
        .call(doing, control.edges().revoke_edge(request))
        .await?;
    let view = EdgeView::from(edge);
    match screen.output {
        Output::Json => screen.json(&view),
        Output::Table => table::done(screen, &view.name, "revoked"),
    }
}

async fn delete(
    id: &EdgeId,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = id.resource_name();
    let request = DeleteEdgeRequest {
        name: name.clone(),
        etag,
    };
    let mut edges = control.edges();
    let deletion = edges.delete_edge(request);
    control.delete(&name, deletion, screen).await
}

/// Word for whether a node is reachable.
pub(crate) fn presence_word(presence: Presence) -> &'static str {
    match presence {
        Presence::Unspecified => "unknown",
        Presence::Online => "online",
        Presence::Offline => "offline",
        Presence::Revoked => "revoked",
    }
}

/// Keys of an edge in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct EdgeView {
    name: String,
    etag: String,
    presence: &'static str,
    revoked: bool,
    tunnel_address: String,
    tcp_address: String,
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

impl From<Edge> for EdgeView {
    fn from(edge: Edge) -> Self {
        Self {
            presence: presence_word(edge.presence()),
            name: edge.name,
            etag: edge.etag,
            revoked: edge.revoked,
            tunnel_address: edge.tunnel_address,
            tcp_address: edge.tcp_address,
            version: edge.version,
            applied_revision: edge.applied_revision,
            create_time: age::rfc3339(edge.create_time),
            last_seen_time: age::rfc3339(edge.last_seen_time),
            certificate_expire_time: age::rfc3339(edge.certificate_expire_time),
            seen: edge.last_seen_time,
            expires: edge.certificate_expire_time,
        }
    }
}

impl Row for EdgeView {
    const COLUMNS: &'static [&'static str] = &[
        "EDGE",
        "PRESENCE",
        "TUNNEL ADDRESS",
        "LAST SEEN",
        "REVISION",
        "VERSION",
        "EXPIRES",
    ];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        vec![
            table::id(&self.name).to_owned(),
            self.presence.to_owned(),
            table::or_dash(&self.tunnel_address),
            table::or_dash(&age::relative(self.seen.as_ref(), now)),
            self.applied_revision.to_string(),
            table::or_dash(&self.version),
            table::or_dash(&age::relative(self.expires.as_ref(), now)),
        ]
    }
}

impl Page for EdgeView {
    fn facts(&self, now: SystemTime) -> Vec<(&'static str, String)> {
        vec![
            ("edge", table::id(&self.name).to_owned()),
            ("presence", self.presence.to_owned()),
            ("tunnel address", self.tunnel_address.clone()),
            ("tunnel over tcp", self.tcp_address.clone()),
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
