//! `adit audit`: who changed what.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use prost_types::Timestamp;
use proto::{
    admin::{AuditEvent, ListAuditEventsRequest},
    time::{system_time, wire_timestamp},
};
use serde::Serialize;

use super::{
    age,
    client::{Control, PAGE_SIZE},
    failure::Failure,
    parse,
    screen::Screen,
    table::{self, Row},
};

/// Between two looks at what is new.
const LOOK: Duration = Duration::from_secs(1);
/// How far a look reaches back behind the one before: events bear the time when a change began, and the clocks of several controls differ.
const OVERLAP: Duration = Duration::from_secs(60);

/// What to do with the audit trail.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AuditCommand {
    /// List changes and refused attempts, newest first, or follow them.
    #[command(
        after_help = "Examples:\n  adit audit list --since 24h\n  adit audit list --resource apps/wiki --output json\n  adit audit list --actor apiTokens/ci --method UpdateApp\n  adit audit list --refused --follow"
    )]
    List(Wanted),
}

/// `adit audit list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Wanted {
    /// Only what this operator, user or node did, such as apiTokens/ci.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    actor: String,
    /// Only this kind of change, such as UpdateApp.
    #[arg(
        long,
        value_name = "METHOD",
        default_value = "",
        hide_default_value = true
    )]
    method: String,
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
    /// Only attempts that were refused.
    #[arg(long)]
    refused: bool,
    /// Go on with what comes, one line each, until interrupted; in JSON one object a line.
    #[arg(long)]
    follow: bool,
}

/// What one look has found.
struct Found {
    /// Newest first.
    events: Vec<AuditEvent>,
    /// When control began to look, by its own clock.
    as_of: Option<Timestamp>,
}

impl AuditCommand {
    pub(crate) async fn run(self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let Self::List(wanted) = self;
        if wanted.follow {
            return wanted.follow(control, screen).await;
        }
        let found = wanted.fetch(control, wanted.since).await?;
        let views: Vec<_> = found.events.into_iter().map(AuditView::from).collect();
        table::list(screen, &views, "Nothing was changed.", control.clock.wall())
    }
}

impl Wanted {
    async fn follow(&self, control: &Control, screen: &mut Screen) -> Result<(), Failure> {
        let mut found = self.fetch(control, self.since).await?;
        // Of the last look only: the next reaches back no further.
        let mut shown = HashSet::new();
        loop {
            let new = unseen(&found.events, &shown);
            for event in new.into_iter().rev() {
                let view = AuditView::from(event.clone());
                table::follow(screen, &view, age::to_the_second(view.time.as_deref()))?;
            }
            let since = self.next_since(found.as_of.as_ref());
            shown = found.events.into_iter().map(|event| event.name).collect();
            tokio::time::sleep(LOOK).await;
            found = self.fetch(control, since).await?;
        }
    }

    /// From when on the next look has to see everything.
    fn next_since(&self, as_of: Option<&Timestamp>) -> Option<SystemTime> {
        let as_of = as_of.and_then(|time| system_time(time).ok());
        let again = as_of.and_then(|time| time.checked_sub(OVERLAP));
        // Never earlier than asked for; an older control does not say when it looked.
        again.max(self.since)
    }

    /// All that is there since then, as far as pages go.
    async fn fetch(&self, control: &Control, since: Option<SystemTime>) -> Result<Found, Failure> {
        let mut as_of = None;
        let fetch = async |page_token| {
            let request = ListAuditEventsRequest {
                page_size: PAGE_SIZE,
                page_token,
                actor: self.actor.clone(),
                method: self.method.clone(),
                resource: self.resource.clone(),
                since: since.map(wire_timestamp),
                refused: self.refused,
            };
            let page = control.audit().list_audit_events(request).await?;
            let page = page.into_inner();
            // What the later pages do not hold any more, the next look has to.
            as_of = as_of.or(page.read_time);
            Ok((page.audit_events, page.next_page_token))
        };
        let events = control.pages("list audit events", fetch).await?;
        Ok(Found { events, as_of })
    }
}

/// Those that were not shown yet.
fn unseen<'e>(events: &'e [AuditEvent], shown: &HashSet<String>) -> Vec<&'e AuditEvent> {
    let new = events.iter().filter(|event| !shown.contains(&event.name));
    new.collect()
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
    /// Whom else it was about; empty: nobody.
    subject: String,
    /// An attempt that was refused: nothing changed.
    refused: bool,
    #[serde(skip)]
    at: Option<Timestamp>,
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
            subject: event.subject,
            at: event.time,
        }
    }
}

impl AuditView {
    /// What changed, or that nothing did.
    fn outcome(&self) -> String {
        match (self.refused, self.resource.as_str(), self.subject.as_str()) {
            (false, resource, "") => resource.to_owned(),
            (false, resource, subject) => format!("{resource} for {subject}"),
            (true, "", _) => "(refused)".to_owned(),
            (true, resource, _) => format!("{resource} (refused)"),
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

    fn follower(since: Option<SystemTime>) -> Wanted {
        Wanted {
            actor: String::new(),
            method: String::new(),
            resource: String::new(),
            since,
            refused: false,
            follow: true,
        }
    }

    #[test]
    fn a_look_reaches_back_behind_the_one_before_and_shows_nothing_twice() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let looked = wire_timestamp(at(1_000));
        for (since, want) in [
            (None, Some(at(940))),
            (Some(at(10)), Some(at(940))),
            (Some(at(990)), Some(at(990))),
        ] {
            assert_eq!(follower(since).next_since(Some(&looked)), want, "{since:?}");
            assert_eq!(follower(since).next_since(None), since);
        }
        let named = |names: &[&str]| {
            let named = |name: &&str| AuditEvent {
                name: (*name).to_owned(),
                ..AuditEvent::default()
            };
            names.iter().map(named).collect::<Vec<_>>()
        };
        // One that another control wrote lies below what was shown.
        let shown: HashSet<_> = ["b".to_owned(), "a".to_owned()].into();
        let events = named(&["c", "b", "late", "a"]);
        let new = unseen(&events, &shown);
        let names: Vec<_> = new.iter().map(|event| &*event.name).collect();
        assert_eq!(names, ["c", "late"]);
    }

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
