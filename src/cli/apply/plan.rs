//! What has to change to get from what a fabric has to what a file asks for.

mod fields;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use model::{
    name::{AppId, GroupId},
    settings::Settings,
};
use proto::admin;
use serde::Serialize;

pub(super) use self::fields::Field;
use super::{file::Desired, provider::Provider};

/// All changes, in an order in which each can be made: settings first, a group before the apps in it, hosts given up before they are
/// taken.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    /// Resources that the fabric has and the file does not name, and that stay because pruning was not asked for.
    pub(super) unnamed: usize,
}

/// One change of one resource.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    pub(super) action: Action,
    pub(super) resource: Resource,
    /// Fields that differ, for updates; those that say something, for new resources.
    pub(super) fields: Vec<FieldChange>,
}

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    /// It is new.
    Create,
    /// Some of its fields change.
    Update,
    /// It goes.
    Delete,
}

/// The resource as it shall be, or as it is when it goes; with the etag it has now.
#[derive(Debug, PartialEq)]
pub(super) enum Resource {
    Settings(Box<admin::Settings>),
    Group(admin::Group),
    IdentityProvider(Box<Provider>),
    App(Box<admin::App>),
}

impl Resource {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Settings(settings) => &settings.name,
            Self::Group(group) => &group.name,
            Self::IdentityProvider(provider) => &provider.wire.name,
            Self::App(app) => &app.name,
        }
    }
}

/// A field with what it is and what it shall be.
#[derive(Debug, PartialEq)]
pub(super) struct FieldChange {
    /// As in a field mask.
    pub(super) path: &'static str,
    pub(super) from: Option<Field>,
    pub(super) to: Field,
}

/// What a fabric has.
#[derive(Debug, Default)]
pub(super) struct Current {
    pub(super) settings: admin::Settings,
    pub(super) groups: Vec<admin::Group>,
    pub(super) providers: Vec<admin::IdentityProvider>,
    pub(super) apps: Vec<admin::App>,
}

/// Whether what the file does not name is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unnamed {
    Keep,
    Prune,
}

/// Compares the two.
pub(super) fn plan(current: &Current, desired: &Desired, unnamed: Unnamed) -> Plan {
    let groups: BTreeMap<&str, _> = current
        .groups
        .iter()
        .map(|g| (g.name.as_str(), g))
        .collect();
    let apps: BTreeMap<&str, _> = current.apps.iter().map(|a| (a.name.as_str(), a)).collect();
    let mut changes = Vec::new();
    changes.extend(settings_change(
        &current.settings,
        desired.settings.as_ref(),
    ));
    let settings = in_force(desired.settings.as_ref().unwrap_or(&current.settings));
    for (id, group) in &desired.groups {
        changes.extend(group_change(
            groups.get(&*id.resource_name()).copied(),
            group,
        ));
    }
    for provider in desired.providers.values() {
        let mut known = current.providers.iter();
        let now = known.find(|known| known.name == provider.wire.name);
        changes.extend(provider_change(now, provider));
    }
    let (gone_groups, gone_apps) = gone(current, desired);
    let unnamed_count = gone_groups.len() + gone_apps.len();
    if unnamed == Unnamed::Prune {
        changes.extend(gone_apps.into_iter().map(deleted_app));
    }
    let written = desired.apps.iter().filter_map(|(id, app)| {
        let now = apps.get(&*id.resource_name()).copied();
        app_change(now, app, &settings)
    });
    let (updates, creations): (Vec<_>, Vec<_>) =
        written.partition(|change| change.action == Action::Update);
    changes.extend(updates);
    changes.extend(creations);
    if unnamed == Unnamed::Prune {
        changes.extend(gone_groups.into_iter().map(deleted_group));
    }
    Plan {
        changes,
        unnamed: match unnamed {
            Unnamed::Keep => unnamed_count,
            Unnamed::Prune => 0,
        },
    }
}

/// What the file does not name. A group that an app of the file is in counts as named.
fn gone<'a>(
    current: &'a Current,
    desired: &Desired,
) -> (Vec<&'a admin::Group>, Vec<&'a admin::App>) {
    let used: HashSet<&str> = desired
        .apps
        .values()
        .map(|app| app.group.as_str())
        .collect();
    let groups = current.groups.iter().filter(|group| {
        let id = group.name.strip_prefix(GroupId::COLLECTION);
        let named = id.is_some_and(|id| desired.groups.contains_key(id));
        !named && !used.contains(group.name.as_str())
    });
    let apps = current.apps.iter().filter(|app| {
        let id = app.name.strip_prefix(AppId::COLLECTION);
        !id.is_some_and(|id| desired.apps.contains_key(id))
    });
    (groups.collect(), apps.collect())
}

fn group_change(now: Option<&admin::Group>, wanted: &admin::Group) -> Option<Change> {
    let resource = Resource::Group(admin::Group {
        etag: now.map_or_else(String::new, |group| group.etag.clone()),
        ..wanted.clone()
    });
    let now = now.map(fields::of_group);
    change(now, fields::of_group(wanted), resource)
}

fn provider_change(now: Option<&admin::IdentityProvider>, wanted: &Provider) -> Option<Change> {
    let resource = Resource::IdentityProvider(Box::new(Provider {
        wire: admin::IdentityProvider {
            etag: now.map_or_else(String::new, |provider| provider.etag.clone()),
            ..wanted.wire.clone()
        },
        credential: wanted.credential.clone(),
    }));
    let now = now.map(fields::of_identity_provider);
    change(now, fields::of_identity_provider(&wanted.wire), resource)
}

fn settings_change(now: &admin::Settings, wanted: Option<&admin::Settings>) -> Option<Change> {
    let wanted = wanted?;
    let resource = Resource::Settings(Box::new(admin::Settings {
        etag: now.etag.clone(),
        ..wanted.clone()
    }));
    let filled = proto::settings::filled_settings(wanted.clone());
    change(
        Some(fields::of_settings(now)),
        fields::of_settings(&filled),
        resource,
    )
}

/// What apps get that say nothing themselves. Of settings that cannot be read control says what is wrong with them.
fn in_force(settings: &admin::Settings) -> Settings {
    proto::settings::settings(settings).unwrap_or_default()
}

fn app_change(
    now: Option<&admin::App>,
    wanted: &admin::App,
    settings: &Settings,
) -> Option<Change> {
    let resource = Resource::App(Box::new(admin::App {
        etag: now.map_or_else(String::new, |app| app.etag.clone()),
        ..wanted.clone()
    }));
    let now = now.map(fields::of_app);
    let filled = proto::app::filled_app(wanted.clone(), settings);
    change(now, fields::of_app(&filled), resource)
}

fn change(
    now: Option<Vec<(&'static str, Field)>>,
    wanted: Vec<(&'static str, Field)>,
    resource: Resource,
) -> Option<Change> {
    let Some(now) = now else {
        let said = wanted.into_iter().filter(|(_, field)| !field.is_empty());
        let fields = said.map(|(path, to)| FieldChange {
            path,
            from: None,
            to,
        });
        return Some(Change {
            action: Action::Create,
            resource,
            fields: fields.collect(),
        });
    };
    let differing = now.into_iter().zip(wanted);
    let fields: Vec<_> = differing
        .filter(|((_, from), (_, to))| from != to)
        .map(|((path, from), (_, to))| FieldChange {
            path,
            from: Some(from),
            to,
        })
        .collect();
    (!fields.is_empty()).then_some(Change {
        action: Action::Update,
        resource,
        fields,
    })
}

fn deleted_group(group: &admin::Group) -> Change {
    Change {
        action: Action::Delete,
        resource: Resource::Group(group.clone()),
        fields: Vec::new(),
    }
}

fn deleted_app(app: &admin::App) -> Change {
    Change {
        action: Action::Delete,
        resource: Resource::App(Box::new(app.clone())),
        fields: Vec::new(),
    }
}
