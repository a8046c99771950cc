//! Has control check every change of a plan, and makes them.

use std::collections::HashSet;

use model::name::{AppId, GroupId};
use prost_types::FieldMask;
use proto::admin::{
    App, CreateAppRequest, CreateGroupRequest, DeleteAppRequest, DeleteGroupRequest, Group,
    Settings, UpdateAppRequest, UpdateGroupRequest, UpdateSettingsRequest,
};
use tonic::Code;

use super::{
    access_rule,
    lines::Lines,
    location,
    plan::{Action, Change, Current, Plan, Resource},
    provider,
};
use crate::cli::{
    client::Control,
    failure::{Answer, Failure, Rejected},
};

/// Whether control only says what it would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Check,
    Make,
}

/// Has control check all that is to be created or updated.
pub(super) async fn check(
    plan: &Plan,
    current: &Current,
    lines: &Lines,
    control: &Control,
) -> Result<(), Failure> {
    let coming = Coming::of(plan, current);
    let mut rejected = Vec::new();
    for change in plan
        .changes
        .iter()
        .filter(|change| change.action != Action::Delete)
    {
        let Err(answer) = write(change, Mode::Check, control).await else {
            continue;
        };
        if !is_about_the_change(answer.code) {
            return Err(control.failure(doing(change), answer));
        }
        if let Some(answer) = coming.without_excused(answer, change) {
            rejected.push(Rejected {
                resource: change.resource.name().to_owned(),
                answer: lines.located(answer, &change.resource),
            });
        }
    }
    if rejected.is_empty() {
        Ok(())
    } else {
        Err(Failure::Refused(rejected))
    }
}

/// Makes every change, in order; the first that fails ends it, and what was made stays.
pub(super) async fn make(plan: &Plan, control: &Control) -> Result<(), Failure> {
    let total = plan.changes.len();
    for (made, change) in plan.changes.iter().enumerate() {
        let answer = match change.action {
            Action::Create | Action::Update => write(change, Mode::Make, control).await,
            Action::Delete => delete(&change.resource, control).await,
        };
        answer.map_err(|answer| {
            let doing = doing_after(change, made, total) + &uncovered(&plan.changes, made);
            control.failure(doing, answer)
        })?;
    }
    Ok(())
}

/// What was being done, and how far the changes before it came: those stay.
fn doing_after(change: &Change, made: usize, total: usize) -> String {
    format!(
        "{} after {made} of {total} changes were made",
        doing(change)
    )
}

/// A rule that names a new app can only be made after it. Says which apps are there by now without one that was to follow.
fn uncovered(changes: &[Change], made: usize) -> String {
    let (done, left) = changes.split_at(made.min(changes.len()));
    // Rules that are deleted come behind all others, and open only what is meant to be open.
    let left = left.iter().filter(|change| change.action != Action::Delete);
    let missed: HashSet<String> = left
        .filter_map(|change| match &change.resource {
            Resource::AccessRule(rule) => Some(access_rule::apps(rule)),
            Resource::Settings(_)
            | Resource::Group(_)
            | Resource::IdentityProvider(_)
            | Resource::Location(_)
            | Resource::App(_) => None,
        })
        .flatten()
        .collect();
    let apps: Vec<_> = done
        .iter()
        .filter(|change| change.action == Action::Create)
        .map(|change| change.resource.name())
        .filter(|name| missed.contains(*name))
        .collect();
    if apps.is_empty() {
        return String::new();
    }
    format!(
        " (published already, without an access rule of the file that is about them: {})",
        apps.join(", ")
    )
}

fn doing(change: &Change) -> String {
    let verb = match change.action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
    };
    format!("{verb} {}", change.resource.name())
}

/// Whether a refusal is due to what was asked for, so that others are worth checking too.
fn is_about_the_change(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::AlreadyExists
            | Code::NotFound
            | Code::Aborted
    )
}

async fn write(change: &Change, mode: Mode, control: &Control) -> Result<(), Answer> {
    let mask = FieldMask {
        paths: change
            .fields
            .iter()
            .map(|field| field.path.to_owned())
            .collect(),
    };
    let is_new = change.action == Action::Create;
    match &change.resource {
        Resource::Settings(settings) => update_settings(settings, mask, mode, control).await,
        Resource::Group(group) if is_new => create_group(group, mode, control).await,
        Resource::Group(group) => update_group(group, mask, mode, control).await,
        Resource::IdentityProvider(one) => {
            let how = (is_new, mode == Mode::Check);
            provider::write(change, one, mask, how, control).await
        }
        Resource::Location(one) => {
            location::write(one, mask, (is_new, mode == Mode::Check), control).await
        }
        Resource::AccessRule(one) => {
            access_rule::write(one, mask, (is_new, mode == Mode::Check), control).await
        }
        Resource::App(app) if is_new => create_app(app, mode, control).await,
        Resource::App(app) => update_app(app, mask, mode, control).await,
    }
}

async fn update_settings(
    settings: &Settings,
    mask: FieldMask,
    mode: Mode,
    control: &Control,
) -> Result<(), Answer> {
    let request = UpdateSettingsRequest {
        settings: Some(settings.clone()),
        update_mask: Some(mask),
        validate_only: mode == Mode::Check,
    };
    let made = control
        .answer(control.settings().update_settings(request))
        .await;
    made.map(drop)
}

async fn create_group(group: &Group, mode: Mode, control: &Control) -> Result<(), Answer> {
    let id = group.name.strip_prefix(GroupId::COLLECTION);
    let request = CreateGroupRequest {
        group_id: id.unwrap_or_default().to_owned(),
        group: Some(group.clone()),
        validate_only: mode == Mode::Check,
    };
    let made = control.answer(control.groups().create_group(request)).await;
    made.map(drop)
}

async fn update_group(
    group: &Group,
    mask: FieldMask,
    mode: Mode,
    control: &Control,
) -> Result<(), Answer> {
    let request = UpdateGroupRequest {
        group: Some(group.clone()),
        update_mask: Some(mask),
        allow_missing: false,
        validate_only: mode == Mode::Check,
    };
    let made = control.answer(control.groups().update_group(request)).await;
    made.map(drop)
}

async fn create_app(app: &App, mode: Mode, control: &Control) -> Result<(), Answer> {
    let id = app.name.strip_prefix(AppId::COLLECTION);
    let request = CreateAppRequest {
        app_id: id.unwrap_or_default().to_owned(),
        app: Some(app.clone()),
        validate_only: mode == Mode::Check,
    };
    let made = control
        .answer(Box::pin(control.apps().create_app(request)))
        .await;
    made.map(drop)
}

async fn update_app(
    app: &App,
    mask: FieldMask,
    mode: Mode,
    control: &Control,
) -> Result<(), Answer> {
    let request = UpdateAppRequest {
        app: Some(app.clone()),
        update_mask: Some(mask),
        allow_missing: false,
        validate_only: mode == Mode::Check,
    };
    let made = control
        .answer(Box::pin(control.apps().update_app(request)))
        .await;
    made.map(drop)
}

async fn delete(resource: &Resource, control: &Control) -> Result<(), Answer> {
    match resource {
        // Settings are always there, and no plan deletes these.
        Resource::Settings(_) | Resource::IdentityProvider(_) => Ok(()),
        Resource::Group(group) => {
            let request = DeleteGroupRequest {
                name: group.name.clone(),
                etag: group.etag.clone(),
            };
            control.answer(control.groups().delete_group(request)).await
        }
        Resource::Location(location) => location::delete(location, control).await,
        Resource::AccessRule(rule) => access_rule::delete(rule, control).await,
        Resource::App(app) => {
            let request = DeleteAppRequest {
                name: app.name.clone(),
                etag: app.etag.clone(),
            };
            control.answer(control.apps().delete_app(request)).await
        }
    }
}

/// What will be true once the changes before are made, and which control, checking one change alone, cannot know.
#[derive(Debug, Default)]
struct Coming {
    /// Names of groups, locations and apps that will be there.
    made: HashSet<String>,
    /// Host and path of apps that will have gone from there.
    freed: HashSet<(String, String)>,
}

impl Coming {
    fn of(plan: &Plan, current: &Current) -> Self {
        let mut coming = Self::default();
        for change in &plan.changes {
            match (&change.resource, change.action) {
                (Resource::Group(_) | Resource::Location(_) | Resource::App(_), Action::Create) => {
                    coming.made.insert(change.resource.name().to_owned());
                }
                (
                    Resource::Settings(_) | Resource::IdentityProvider(_) | Resource::AccessRule(_),
                    _,
                )
                | (Resource::Group(_) | Resource::Location(_), Action::Update | Action::Delete) => {
                }
                (Resource::App(app), Action::Update | Action::Delete) => {
                    let held = current.apps.iter().filter(|held| held.name == app.name);
                    let held: HashSet<_> = held.flat_map(places).collect();
                    let kept: HashSet<_> = match change.action {
                        Action::Delete => HashSet::new(),
                        Action::Create | Action::Update => places(app).collect(),
                    };
                    coming.freed.extend(held.difference(&kept).cloned());
                }
            }
        }
        coming
    }

    /// The refusal less what will be no hindrance any more; `None` if nothing is left.
    fn without_excused(&self, mut answer: Answer, change: &Change) -> Option<Answer> {
        let before = answer.violations.len();
        answer
            .violations
            .retain(|(field, what)| match &change.resource {
                Resource::App(app) => !self.excuses(field, app),
                Resource::AccessRule(_) => !self.made.contains(missing_name(what)),
                Resource::Settings(_)
                | Resource::Group(_)
                | Resource::IdentityProvider(_)
                | Resource::Location(_) => true,
            });
        let all_excused = before > 0 && answer.violations.is_empty();
        (!all_excused).then_some(answer)
    }

    fn excuses(&self, field: &str, app: &App) -> bool {
        if field == "app.group" {
            return self.made.contains(&app.group);
        }
        place(field, app).is_some_and(|place| self.freed.contains(&place))
    }
}

/// What control says is not there: `names apps/wiki, which does not exist`.
fn missing_name(what: &str) -> &str {
    let name = what.strip_prefix("names ");
    let name = name.and_then(|rest| rest.strip_suffix(", which does not exist"));
    name.unwrap_or_default()
}

/// Host and path that a violation is about: `app.hosts[0]` or `app.segments[1].hosts[0]`.
fn place(field: &str, app: &App) -> Option<(String, String)> {
    let field = field.strip_prefix("app.")?;
    let (hosts, path, field) = match index(field, "segments[") {
        Some((number, rest)) => {
            let segment = app.segments.get(number)?;
            (&segment.hosts, &segment.path, rest.strip_prefix('.')?)
        }
        None => (&app.hosts, &app.path, field),
    };
    let (number, _) = index(field, "hosts[").filter(|(_, rest)| rest.is_empty())?;
    Some((hosts.get(number)?.clone(), path.clone()))
}

/// The number behind `name[`, and what follows its bracket.
fn index<'a>(field: &'a str, name: &str) -> Option<(usize, &'a str)> {
    let (digits, rest) = field.strip_prefix(name)?.split_once(']')?;
    Some((digits.parse().ok()?, rest))
}

fn places(app: &App) -> impl Iterator<Item = (String, String)> {
    let own = app.hosts.iter().map(|host| (host, &app.path));
    let others = app.segments.iter();
    let others = others.flat_map(|segment| segment.hosts.iter().map(|host| (host, &segment.path)));
    own.chain(others)
        .map(|(host, path)| (host.clone(), path.clone()))
}

#[cfg(test)]
mod tests {
    use proto::{access, admin};
    use tonic::Status;
    use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

    use super::*;

    fn app(id: &str, host: &str) -> App {
        App {
            name: format!("apps/{id}"),
            hosts: vec![host.to_owned()],
            path: "/".to_owned(),
            group: "groups/new".to_owned(),
            ..App::default()
        }
    }

    fn change(action: Action, resource: Resource) -> Change {
        Change {
            action,
            resource,
            fields: Vec::new(),
        }
    }

    fn refusal(fields: &[&str]) -> Answer {
        let violations = fields
            .iter()
            .map(|&field| FieldViolation::new(field, "is wrong"));
        let mut details = ErrorDetails::new();
        details.set_bad_request(violations.collect::<Vec<_>>());
        Status::with_error_details(Code::InvalidArgument, "wrong", details).into()
    }

    #[test]
    fn a_failure_halfway_says_how_far_it_came() {
        let change = change(
            Action::Delete,
            Resource::App(Box::new(app("a", "a.example.com"))),
        );
        assert_eq!(
            doing_after(&change, 2, 5),
            "delete apps/a after 2 of 5 changes were made"
        );
    }

    #[test]
    fn a_failure_halfway_names_apps_that_a_rule_was_to_follow() {
        let published = |id: &str| {
            let app = app(id, "a.example.com");
            change(Action::Create, Resource::App(Box::new(app)))
        };
        let rule = admin::AccessRule {
            policy: Some(access::Policy {
                which: Some(access::Which {
                    apps: vec!["apps/wiki".to_owned()],
                    ..access::Which::default()
                }),
                ..access::Policy::default()
            }),
            ..admin::AccessRule::default()
        };
        let rule = change(Action::Create, Resource::AccessRule(Box::new(rule)));
        let changes = [published("wiki"), published("crm"), rule];
        let said = uncovered(&changes, 2);
        assert!(said.ends_with("about them: apps/wiki)"), "{said}");
        for made in [0, 3] {
            assert_eq!(uncovered(&changes, made), "", "{made}");
        }
    }

    #[test]
    fn only_what_earlier_changes_settle_is_excused() {
        let group = Group {
            name: "groups/new".to_owned(),
            ..Group::default()
        };
        let plan = Plan {
            changes: vec![
                change(Action::Create, Resource::Group(group)),
                change(
                    Action::Delete,
                    Resource::App(Box::new(app("old", "a.example.com"))),
                ),
            ],
            unnamed: 0,
        };
        let current = Current {
            apps: vec![app("old", "a.example.com"), app("kept", "b.example.com")],
            ..Current::default()
        };
        let coming = Coming::of(&plan, &current);
        for (host, fields, left) in [
            ("a.example.com", &["app.group"][..], 0),
            ("a.example.com", &["app.group", "app.hosts[0]"], 0),
            ("b.example.com", &["app.group", "app.hosts[0]"], 1),
            ("a.example.com", &["app.path", "app.hosts[0]"], 1),
            ("a.example.com", &["app.hosts[7]"], 1),
        ] {
            let new = change(Action::Create, Resource::App(Box::new(app("new", host))));
            let answer = coming.without_excused(refusal(fields), &new);
            let found = answer.map_or(0, |answer| answer.violations.len());
            assert_eq!(found, left, "{host} {fields:?}");
        }
        let bare = coming.without_excused(
            Status::already_exists("there").into(),
            &change(
                Action::Create,
                Resource::App(Box::new(app("new", "a.example.com"))),
            ),
        );
        assert!(
            bare.is_some(),
            "a refusal without violations is never excused"
        );
    }
}
