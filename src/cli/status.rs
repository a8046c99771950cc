//! `adit status`: the fabric at a glance.

use std::time::SystemTime;

use prost_types::Timestamp;
use proto::admin::{AppProblem, FailingPart, GetStatusRequest, GetStatusResponse, GroupStatus};
use serde::Serialize;

use super::{
    age,
    client::Control,
    edge::EdgeView,
    failure::Failure,
    screen::{Output, Screen},
    settings,
    table::{self, Row as _},
};

/// Shows the fabric: control first, then groups and edges.
pub(crate) async fn run(control: &Control, screen: &mut Screen) -> Result<(), Failure> {
    let answer = control
        .call(
            "ask for the status",
            control.status().get_status(GetStatusRequest {}),
        )
        .await?;
    let started = answer.start_time;
    let ca_expires = answer.ca_expire_time;
    let view = StatusView {
        stopped: settings::get(control).await?.stopped,
        ..answer.into()
    };
    if screen.output == Output::Json {
        return screen.json(&view);
    }
    let now = control.clock.wall();
    table::facts(
        screen,
        &[
            ("domain", view.domain.clone()),
            (
                "control",
                format!(
                    "{}, started {}",
                    view.version,
                    age::relative(started.as_ref(), now)
                ),
            ),
            ("revision", view.revision.to_string()),
            ("apps", view.apps_line()),
            ("ca ends", age::relative(ca_expires.as_ref(), now)),
        ],
    )?;
    screen.line("")?;
    let header = ["GROUP", "APPS", "AGENTS", "LINKED"];
    table::columns(screen, &header, view.groups.iter().map(GroupView::cells))?;
    screen.line("")?;
    let edges = view.edges.iter().map(|edge| edge.cells(now));
    table::columns(screen, EdgeView::COLUMNS, edges)?;
    if view.problems.is_empty() {
        return Ok(());
    }
    screen.line("")?;
    let header = ["FAILS", "PART", "FOUND BY", "AGENT", "WHY", "SINCE"];
    let problems = view.problems.iter().map(|problem| problem.cells(now));
    table::columns(screen, &header, problems)
}

/// Keys of the status in JSON.
#[derive(Debug, Serialize)]
struct StatusView {
    domain: String,
    version: String,
    store_id: String,
    revision: u64,
    start_time: Option<String>,
    ca_expire_time: Option<String>,
    apps: u32,
    /// Every app answers 503.
    stopped: bool,
    groups: Vec<GroupView>,
    edges: Vec<EdgeView>,
    problems: Vec<ProblemView>,
}

impl StatusView {
    fn apps_line(&self) -> String {
        if self.stopped {
            return format!("{}, all stopped", self.apps);
        }
        self.apps.to_string()
    }
}

/// Keys of a group's status in JSON.
#[derive(Debug, Serialize)]
struct GroupView {
    group: String,
    apps: u32,
    agents: u32,
    agents_linked: u32,
}

impl From<GetStatusResponse> for StatusView {
    fn from(answer: GetStatusResponse) -> Self {
        Self {
            domain: answer.domain,
            version: answer.version,
            store_id: answer.store_id,
            revision: answer.revision,
            start_time: age::rfc3339(answer.start_time),
            ca_expire_time: age::rfc3339(answer.ca_expire_time),
            apps: answer.apps,
            stopped: false,
            groups: answer.groups.into_iter().map(GroupView::from).collect(),
            edges: answer.edges.into_iter().map(EdgeView::from).collect(),
            problems: answer.problems.into_iter().map(ProblemView::from).collect(),
        }
    }
}

/// Keys of what fails in JSON.
#[derive(Debug, Serialize)]
struct ProblemView {
    app: String,
    /// `edge`, `agent` or `origin`.
    part: &'static str,
    edge: String,
    agent: String,
    reason: String,
    detail: String,
    /// Another agent serves the app.
    partly: bool,
    since: Option<String>,
    #[serde(skip)]
    began: Option<Timestamp>,
}

impl From<AppProblem> for ProblemView {
    fn from(problem: AppProblem) -> Self {
        Self {
            part: match problem.part() {
                FailingPart::Unspecified => "unknown",
                FailingPart::Edge => "edge",
                FailingPart::Agent => "agent",
                FailingPart::Origin => "origin",
            },
            app: problem.app,
            edge: problem.edge,
            agent: problem.agent,
            reason: problem.reason,
            detail: problem.detail,
            partly: problem.partly,
            since: age::rfc3339(problem.since_time),
            began: problem.since_time,
        }
    }
}

impl ProblemView {
    fn cells(&self, now: SystemTime) -> Vec<String> {
        let partly = if self.partly { " (partly)" } else { "" };
        vec![
            format!("{}{partly}", table::id(&self.app)),
            self.part.to_owned(),
            table::id(&self.edge).to_owned(),
            table::id(&self.agent).to_owned(),
            self.detail.clone(),
            age::relative(self.began.as_ref(), now),
        ]
    }
}

impl From<GroupStatus> for GroupView {
    fn from(status: GroupStatus) -> Self {
        Self {
            group: status.group,
            apps: status.apps,
            agents: status.agents,
            agents_linked: status.agents_linked,
        }
    }
}

impl GroupView {
    fn cells(&self) -> Vec<String> {
        vec![
            table::id(&self.group).to_owned(),
            self.apps.to_string(),
            self.agents.to_string(),
            self.agents_linked.to_string(),
        ]
    }
}
