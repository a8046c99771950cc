//! `adit audit`: who changed what.

use std::time::SystemTime;

use proto::admin::{AuditEvent, ListAuditEventsRequest};
use serde::Serialize;

use super::{
    age,
    client::{Control, PAGE_SIZE},
    failure::Failure,
    parse,
    screen::Screen,
    table::{self, Row},
};

/// What to do with the audit trail.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AuditCommand {
    /// List changes and refused attempts, newest first.
    #[command(
        after_help = "Examples:\n  adit audit list --since 24h\n  adit audit list --resource apps/wiki --output json"
    )]
    List {
        /// Only changes of this resource, such as apps/wiki.
        #[arg(
            long,
            value_name = "NAME",
            default_value = "",
            hide_default_value = true
        )]
        resource: String,
        /// Only changes since a time (2026-01-31T08:00:00Z) or within a span (2h).
        #[arg(long, value_name = "TIME", value_parser = parse::since)]
        since: Option<SystemTime>,
    },
}

impl AuditCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let Self::List { resource, since } = self;
        let fetch = async |page_token| {
            let request = ListAuditEventsRequest {
                page_size: PAGE_SIZE,
                page_token,
                resource: resource.clone(),
                since: since.map(proto::time::wire_timestamp),
            };
            let page = control.audit().list_audit_events(request).await?;
            let page = page.into_inner();
            Ok((page.audit_events, page.next_page_token))
        };
        let events = control.pages("list audit events", fetch).await?;
        let views: Vec<_> = events.into_iter().map(AuditView::from).collect();
        table::list(screen, &views, "Nothing was changed.", control.clock.wall())
    }
}

/// Keys of an audit event in JSON.
#[derive(Debug, Serialize)]
struct AuditView {
    name: String,
    time: Option<String>,
    actor: String,
    method: String,
    resource: String,
    peer: String,
    changed_fields: Vec<String>,
    /// An attempt that was refused: nothing changed.
    refused: bool,
    #[serde(skip)]
    at: Option<prost_types::Timestamp>,
}

impl From<AuditEvent> for AuditView {
    fn from(event: AuditEvent) -> Self {
        Self {
            name: event.name,
            time: age::rfc3339(event.time),
            actor: event.actor,
            refused: event.refused,
            method: event.method,
            resource: event.resource,
            peer: event.peer,
            changed_fields: event.changed_fields,
            at: event.time,
        }
    }
}

impl AuditView {
    /// What changed, or that nothing did.
    fn outcome(&self) -> String {
        match (self.refused, self.resource.as_str()) {
            (false, resource) => resource.to_owned(),
            (true, "") => "(refused)".to_owned(),
            (true, resource) => format!("{resource} (refused)"),
        }
    }
}

impl Row for AuditView {
    const COLUMNS: &'static [&'static str] =
        &["WHEN", "ACTOR", "METHOD", "RESOURCE", "FIELDS", "PEER"];

    fn cells(&self, now: SystemTime) -> Vec<String> {
        vec![
            age::relative(self.at.as_ref(), now),
            self.actor.clone(),
            self.method.clone(),
            self.outcome(),
            table::or_dash(&self.changed_fields.join(", ")),
            table::or_dash(&self.peer),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_attempts_are_told_from_changes() {
        let shown = |resource: &str, refused| {
            let view = AuditView::from(AuditEvent {
                method: "RevokeAgent".to_owned(),
                resource: resource.to_owned(),
                refused,
                ..AuditEvent::default()
            });
            (view.refused, view.cells(SystemTime::UNIX_EPOCH)[3].clone())
        };
        assert_eq!(shown("agents/a", false), (false, "agents/a".to_owned()));
        assert_eq!(shown("", true), (true, "(refused)".to_owned()));
        let named = "agents/a (refused)".to_owned();
        assert_eq!(shown("agents/a", true), (true, named));
    }
}
