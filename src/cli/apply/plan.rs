//! What has to change to get from what a fabric has to what a file asks for.

mod fields;
#[cfg(test)]
mod tests;

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashSet},
};

use model::{
    name::{AccessRuleId, AppId, GroupId, LocationId},
    settings::Settings,
};
use proto::admin;
use serde::Serialize;

pub(super) use self::fields::Field;
use super::{access_rule, file::Desired, location, provider::Provider};

/// All changes, in an order in which each can be made: settings first, a group before the apps in it, hosts given up before they are
/// taken. What closes comes before what opens: a rule before the apps that it is about, if they are there already, and rules go last.
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
    Location(admin::Location),
    AccessRule(Box<admin::AccessRule>),
    App(Box<admin::App>),
}

impl Resource {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Settings(settings) => &settings.name,
            Self::Group(group) => &group.name,
            Self::IdentityProvider(provider) => &provider.wire.name,
            Self::Location(location) => &location.name,
            Self::AccessRule(rule) => &rule.name,
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
    pub(super) locations: Vec<admin::Location>,
    pub(super) access_rules: Vec<admin::AccessRule>,
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
    let mut changes = Vec::new();
    changes.extend(settings_change(
        &current.settings,
        desired.settings.as_ref(),
    ));
    changes.extend(desired.groups.values().filter_map(|group| {
        let mut known = current.groups.iter();
        group_change(known.find(|known| known.name == group.name), group)
    }));
    changes.extend(desired.providers.values().filter_map(|provider| {
        let mut known = current.providers.iter();
        let now = known.find(|known| known.name == provider.wire.name);
        provider_change(now, provider)
    }));
    let locations = desired.locations.iter().flat_map(BTreeMap::values);
    changes.extend(locations.filter_map(|location| {
        let mut known = current.locations.iter();
        location_change(known.find(|known| known.name == location.name), location)
    }));
    let gone = Gone::of(current, desired);
    let (late, early) = rule_changes(current, desired);
    changes.extend(early);
    if unnamed == Unnamed::Prune {
        changes.extend(gone.apps.iter().map(|app| deleted_app(app)));
    }
    changes.extend(app_changes(current, desired));
    changes.extend(late);
    let unnamed_count = gone.count();
    if unnamed == Unnamed::Prune {
        changes.extend(gone.deleted_behind_apps());
    }
    Plan {
        changes,
        unnamed: match unnamed {
            Unnamed::Keep => unnamed_count,
            Unnamed::Prune => 0,
        },
    }
}

/// Updates before creations: they give hosts up.
fn app_changes(current: &Current, desired: &Desired) -> Vec<Change> {
    let settings = in_force(desired.settings.as_ref().unwrap_or(&current.settings));
    let apps: BTreeMap<&str, _> = current.apps.iter().map(|a| (a.name.as_str(), a)).collect();
    let written = desired.apps.iter().filter_map(|(id, app)| {
        let now = apps.get(&*id.resource_name()).copied();
        app_change(now, app, &settings)
    });
    let (updates, creations): (Vec<_>, Vec<_>) =
        written.partition(|change| change.action == Action::Update);
    updates.into_iter().chain(creations).collect()
}

/// Those that name apps which are yet to be made, and the others.
fn rule_changes(current: &Current, desired: &Desired) -> (Vec<Change>, Vec<Change>) {
    let there: HashSet<&str> = current.apps.iter().map(|app| app.name.as_str()).collect();
    let names_coming = |rule: &admin::AccessRule| {
        let mut apps = access_rule::apps(rule).into_iter();
        apps.any(|app| {
            let id = app.strip_prefix(AppId::COLLECTION);
            let is_wanted = id.is_some_and(|id| desired.apps.contains_key(id));
            is_wanted && !there.contains(app.as_str())
        })
    };
    let rules = desired.access_rules.iter().flat_map(BTreeMap::values);
    let changes = rules.filter_map(|rule| {
        let mut known = current.access_rules.iter();
        rule_change(known.find(|known| known.name == rule.name), rule)
    });
    changes.partition(|change| match &change.resource {
        Resource::AccessRule(rule) => names_coming(rule),
        Resource::Settings(_)
        | Resource::Group(_)
        | Resource::IdentityProvider(_)
        | Resource::Location(_)
        | Resource::App(_) => false,
    })
}

/// What the file does not name, and what nothing that stays needs.
#[derive(Debug)]
struct Gone<'a> {
    groups: Vec<&'a admin::Group>,
    apps: Vec<&'a admin::App>,
    /// None of a file that has no table of rules: it says nothing of them, and without them more would be let in.
    access_rules: Vec<&'a admin::AccessRule>,
    /// As for rules.
    locations: Vec<&'a admin::Location>,
}

impl<'a> Gone<'a> {
    /// A group that an app of the file is in counts as named, and so does a location that a rule names which stays.
    fn of(current: &'a Current, desired: &Desired) -> Self {
        let (groups, apps) = gone(current, desired);
        let access_rules: Vec<_> = match &desired.access_rules {
            Some(named) => {
                let rules = current.access_rules.iter();
                let unnamed =
                    rules.filter(|rule| !has(named, &rule.name, AccessRuleId::COLLECTION));
                unnamed.collect()
            }
            None => Vec::new(),
        };
        let staying = current.access_rules.iter();
        let staying = staying.filter(|_| desired.access_rules.is_none());
        let wanted = desired.access_rules.iter().flat_map(BTreeMap::values);
        let used = staying.chain(wanted).flat_map(access_rule::locations);
        let used: HashSet<String> = used.collect();
        let locations = match &desired.locations {
            Some(named) => {
                let locations = current.locations.iter();
                let unnamed = locations.filter(|location| {
                    !has(named, &location.name, LocationId::COLLECTION)
                        && !used.contains(&location.name)
                });
                unnamed.collect()
            }
            None => Vec::new(),
        };
        Self {
            groups,
            apps,
            access_rules,
            locations,
        }
    }

    fn count(&self) -> usize {
        self.groups.len() + self.apps.len() + self.access_rules.len() + self.locations.len()
    }

    /// A location can go once no rule names it, and a group once no app is in it.
    fn deleted_behind_apps(self) -> Vec<Change> {
        let rules = self.access_rules.into_iter();
        let rules = rules.map(|rule| Resource::AccessRule(Box::new(rule.clone())));
        let locations = self.locations.into_iter();
        let locations = locations.map(|location| Resource::Location(location.clone()));
        let groups = self.groups.into_iter();
        let groups = groups.map(|group| Resource::Group(group.clone()));
        rules.chain(locations).chain(groups).map(deleted).collect()
    }
}

/// Whether a resource is among those of a file.
fn has<I: Ord + Borrow<str>, T>(named: &BTreeMap<I, T>, name: &str, collection: &str) -> bool {
    let id = name.strip_prefix(collection);
    id.is_some_and(|id| named.contains_key(id))
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

fn location_change(now: Option<&admin::Location>, wanted: &admin::Location) -> Option<Change> {
    let resource = Resource::Location(admin::Location {
        etag: now.map_or_else(String::new, |location| location.etag.clone()),
        ..wanted.clone()
    });
    let of = |location: &admin::Location| {
        fields::of_location(&location.display_name, &location::area(location))
    };
    change(now.map(of), of(wanted), resource)
}

fn rule_change(now: Option<&admin::AccessRule>, wanted: &admin::AccessRule) -> Option<Change> {
    let resource = Resource::AccessRule(Box::new(admin::AccessRule {
        etag: now.map_or_else(String::new, |rule| rule.etag.clone()),
        ..wanted.clone()
    }));
    let now = now.map(fields::of_access_rule);
    change(now, fields::of_access_rule(wanted), resource)
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

fn deleted(resource: Resource) -> Change {
    Change {
        action: Action::Delete,
        resource,
        fields: Vec::new(),
    }
}

fn deleted_app(app: &admin::App) -> Change {
    deleted(Resource::App(Box::new(app.clone())))
}
