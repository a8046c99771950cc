//! `adit group`: sets of interchangeable agents.

use std::time::SystemTime;

use model::name::GroupId;
use prost_types::FieldMask;
use proto::admin::{
    CreateGroupRequest, DeleteGroupRequest, GetGroupRequest, Group, ListGroupsRequest,
    UpdateGroupRequest,
};
use serde::Serialize;

use super::{
    age,
    client::{Control, PAGE_SIZE},
    failure::Failure,
    screen::Screen,
    table::{self, Page, Row},
};

/// What to do with groups.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum GroupCommand {
    /// Create a group; agents join it with a token made for it.
    #[command(
        after_help = "Example:\n  adit group create office --display-name \"Head office\"\n  adit token create --group office"
    )]
    Create {
        /// Id of the new group: 1-63 of a-z, 0-9 and -.
        id: GroupId,
        /// What people see.
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true
        )]
        display_name: String,
    },
    /// List all groups.
    #[command(after_help = "Example:\n  adit group list")]
    List,
    /// Show one group.
    #[command(after_help = "Example:\n  adit group show office")]
    Show {
        /// Id of the group.
        id: GroupId,
    },
    /// Change what a group is called.
    #[command(after_help = "Example:\n  adit group update office --display-name \"New office\"")]
    Update {
        /// Id of the group.
        id: GroupId,
        /// What people see.
        #[arg(long, value_name = "TEXT")]
        display_name: String,
        /// Update only if the group still has this etag (see `group show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
    /// Delete a group; refused while apps or agents belong to it.
    #[command(after_help = "Example:\n  adit group delete office")]
    Delete {
        /// Id of the group.
        id: GroupId,
        /// Delete only if the group still has this etag (see `group show`).
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
    },
}

impl GroupCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        match self {
            Self::Create { id, display_name } => {
                let group = create(&id, display_name, control).await?;
                written(group, "created", screen)
            }
            Self::List => {
                let views: Vec<_> = all(control)
                    .await?
                    .into_iter()
                    .map(GroupView::from)
                    .collect();
                let empty = "There are no groups. `adit group create ID` makes one.";
                table::list(screen, &views, empty, control.clock.wall())
            }
            Self::Show { id } => show(&id, control, screen).await,
            Self::Update {
                id,
                display_name,
                etag,
            } => {
                let group = update(&id, display_name, etag, control).await?;
                written(group, "updated", screen)
            }
            Self::Delete { id, etag } => delete(&id, etag, control, screen).await,
        }
    }
}

/// Every group of the fabric.
pub(crate) async fn all(control: &Control) -> Result<Vec<Group>, Failure> {
    let fetch = async |page_token| {
        let request = ListGroupsRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = control.groups().list_groups(request).await?.into_inner();
        Ok((page.groups, page.next_page_token))
    };
    control.pages("list groups", fetch).await
}

async fn create(id: &GroupId, display_name: String, control: &Control) -> Result<Group, Failure> {
    let doing = format!("create {}", id.resource_name());
    let request = CreateGroupRequest {
        group_id: id.to_string(),
        group: Some(Group {
            display_name,
            ..Group::default()
        }),
        validate_only: false,
    };
    control
        .call(doing, control.groups().create_group(request))
        .await
}

async fn update(
    id: &GroupId,
    display_name: String,
    etag: String,
    control: &Control,
) -> Result<Group, Failure> {
    let name = id.resource_name();
    let doing = format!("update {name}");
    let request = UpdateGroupRequest {
        group: Some(Group {
            name,
            etag,
            display_name,
            ..Group::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["display_name".to_owned()],
        }),
        allow_missing: false,
        validate_only: false,
    };
    control
        .call(doing, control.groups().update_group(request))
        .await
}

fn written(group: Group, what: &str, screen: &mut Screen) -> Result<(), Failure> {
    let view = GroupView::from(group);
    table::written(screen, &view, &view.name, what)
}

async fn show(id: &GroupId, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let name = id.resource_name();
    let doing = format!("show {name}");
    let request = GetGroupRequest { name };
    let group = control
        .call(doing, control.groups().get_group(request))
        .await?;
    table::show(screen, &GroupView::from(group), control.clock.wall())
}

async fn delete(
    id: &GroupId,
    etag: String,
    control: &Control,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = id.resource_name();
    let request = DeleteGroupRequest {
        name: name.clone(),
        etag,
    };
    let mut groups = control.groups();
    let deletion = groups.delete_group(request);
    control.delete(&name, deletion, screen).await
}

/// Keys of a group in JSON.
#[derive(Debug, Serialize)]
struct GroupView {
    name: String,
    etag: String,
    display_name: String,
    create_time: Option<String>,
    update_time: Option<String>,
    #[serde(skip)]
    changed: Option<prost_types::Timestamp>,
}

impl From<Group> for GroupView {
    fn from(group: Group) -> Self {
        Self {
            name: group.name,
            etag: group.etag,
            display_name: group.display_name,
            create_time: age::rfc3339(group.create_time),
            update_time: age::rfc3339(group.update_time),
            changed: group.update_time,
        }
    }
}

impl Row for GroupView {
    const COLUMNS: &'static [&'static str] = &["GROUP", "DISPLAY NAME", "CHANGED"];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        vec![
            table::id(&self.name).to_owned(),
            table::or_dash(&self.display_name),
            age::relative(self.changed.as_ref(), now),
        ]
    }
}

impl Page for GroupView {
    fn facts(&self, _now: SystemTime) -> Vec<(&'static str, String)> {
        vec![
            ("group", table::id(&self.name).to_owned()),
            ("display name", self.display_name.clone()),
            ("created", age::to_the_second(self.create_time.as_deref())),
            ("changed", age::to_the_second(self.update_time.as_deref())),
            ("etag", self.etag.clone()),
        ]
    }
}
